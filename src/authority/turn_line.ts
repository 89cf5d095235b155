import type { TenantWord } from "../core/gates.ts";
import type { ApprovalId, DecisionId } from "../core/ids.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, type Result } from "../core/result.ts";
import type { Short } from "../core/shares.ts";
import type { Turn } from "../core/turn.ts";
import type { SessionBook } from "./session_book.ts";
import type { Consulted, TenantLine } from "./tenant_line.ts";

/** Decisions made in one storage transaction, at most. */
const MOST_IN_A_TURN = 128;
/** So many may wait for a decision at once. Whoever comes then is turned away: nobody waits for what will come too late. */
const MOST_WAITING = 1_200;
/** Whoever reports what was done, or only reads, finds the line open for longer: a report is about money that is gone already. */
const MOST_WAITING_TO_TELL = 2 * MOST_WAITING;
/** Who has waited so long is refused and not decided: its caller has given up, and would be charged for what it never heard of. */
const WAITS_MS = 10_000;
/** So often a decision asks for what others take before it. */
const MOST_ASKS = 4;

/** What work within a turn came to; `shorts`: what the tenant must be asked for first, and then nothing was done. */
export type Worked<T> = Result<T, Refusal> | { readonly shorts: readonly Short[] };

/** What a line needs of its session's object. */
export interface LineEnd {
  /** Keeps the object alive until this is done. */
  waitUntil(promise: Promise<unknown>): void;
  /** A turn stands, and changed these approvals. Its callers are told next. */
  stands(changed: ReadonlySet<ApprovalId>): void;
  /** Those who shared a turn are told. */
  told(): void;
}

export const CROWDED = refusal(
  "authority_unavailable",
  "Too many wait for this session; nothing was done. Ask again with the same id when Retry-After says.",
);

/** What a caller waits for: an attempt within a turn that answers how to tell it, once the turn stands. */
interface Waiting {
  /** The decisions that it asks about. */
  readonly ids: readonly DecisionId[];
  readonly needsLease: boolean;
  /** Whether the tenant was asked for what it lacked, and how often. */
  tenant: TenantWord;
  asks: number;
  /** What the tenant must be asked for instead of an answer: then nothing was done. */
  attempt(turn: Turn, tenant: TenantWord): (() => void) | readonly Short[];
  reject(fault: unknown): void;
}

interface Lacking {
  readonly waiting: Waiting;
  readonly shorts: readonly Short[];
}

/** The callers of a session in line for its turns: whoever has arrived by the time of a turn shares it, and its transaction. */
export class TurnLine {
  readonly #book: SessionBook;
  readonly #tenant: TenantLine;
  readonly #end: LineEnd;
  readonly #waiting: Waiting[] = [];
  /** How many have come and are not answered, wherever they wait. */
  #inLine = 0;
  #turning = false;
  /** Who waits for what the tenant must give first. */
  readonly #short: Lacking[] = [];
  #asking = false;

  constructor(book: SessionBook, tenant: TenantLine, end: LineEnd) {
    this.#book = book;
    this.#tenant = tenant;
    this.#end = end;
  }

  /** Puts work into the next turn that tells what happened, or reads. */
  async take<T>(ids: readonly DecisionId[], work: (turn: Turn) => Result<T, Refusal>): Promise<Result<T, Refusal>> {
    if (this.#inLine >= MOST_WAITING_TO_TELL) return err(CROWDED);
    // A lapsed lease does not say who was revoked since. Where the tenant cannot be reached, what happened is recorded all the same.
    if (this.#book.isOpened() && this.#tenant.hasLapsed()) await this.#tenant.freshen();
    return this.#enqueue(work, false, ids);
  }

  /** The same for work that needs a lease, and may need more of what sessions share than this one has. */
  takeDeciding<T>(ids: readonly DecisionId[], work: (turn: Turn, tenant: TenantWord) => Worked<T>): Promise<Result<T, Refusal>> {
    if (this.#inLine >= MOST_WAITING) return Promise.resolve(err(CROWDED));
    const until = Date.now() + WAITS_MS;
    // Who is asked for at the tenant waits for that, and within bounds of its own.
    const isTooLate = (tenant: TenantWord): boolean => tenant === "unasked" && Date.now() > until;
    return this.#enqueue((turn, tenant) => (isTooLate(tenant) ? err(CROWDED) : work(turn, tenant)), true, ids);
  }

  /** Puts the object's own work into the next turn, however many wait. */
  takeOwn<T>(work: (turn: Turn) => Result<T, Refusal>): Promise<Result<T, Refusal>> {
    return this.#enqueue(work, false, []);
  }

  #enqueue<T>(work: (turn: Turn, tenant: TenantWord) => Worked<T>, needsLease: boolean, ids: readonly DecisionId[]): Promise<Result<T, Refusal>> {
    if (!this.#book.isOpened()) return Promise.resolve(err(refusal("not_found", "There is no such session.")));
    this.#inLine++;
    return new Promise<Result<T, Refusal>>((resolve, reject) => {
      this.#waiting.push({
        ids,
        needsLease,
        tenant: "unasked",
        asks: 0,
        attempt: (turn, tenant) => {
          const worked = work(turn, tenant);
          return "shorts" in worked ? worked.shorts : () => resolve(worked);
        },
        reject,
      });
      if (!this.#turning) void this.#turn();
    }).finally(() => {
      this.#inLine--;
    });
  }

  /** Asks the tenant for what waiting decisions lack, and lets them try again. Who comes meanwhile is asked for next. */
  async #askTenant(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      while (this.#short.length > 0) {
        const asked = this.#short.splice(0);
        const consulted = await this.#tenant.consult(asked.flatMap(({ shorts }) => shorts)).catch((): Consulted => "lost");
        for (const { waiting } of asked) {
          waiting.asks++;
          // In full, and still somebody else may take it first: then it is asked for again.
          const isFinal = consulted === "short" || waiting.asks >= MOST_ASKS;
          const isLost = consulted === "lost" || waiting.asks >= MOST_ASKS * 4;
          waiting.tenant = isLost ? "lost" : isFinal && consulted !== "overtaken" ? "heard" : "unasked";
        }
        this.#waiting.unshift(...asked.map(({ waiting }) => waiting));
        if (!this.#turning) void this.#turn();
      }
    } finally {
      this.#asking = false;
    }
  }

  /** Takes turns as long as anybody waits. Between two turns it lets in who has arrived meanwhile: they share the second. */
  async #turn(): Promise<void> {
    this.#turning = true;
    try {
      while (this.#waiting.length > 0) {
        if (this.#waiting.some(({ needsLease }) => needsLease)) await this.#tenant.freshen();
        const group = this.#waiting.splice(0, MOST_IN_A_TURN);
        if (!this.#takeTurn(group)) for (const one of group) this.#takeTurn([one], one.reject);
        if (this.#short.length > 0) this.#end.waitUntil(this.#askTenant());
        this.#end.told();
        await scheduler.wait(0);
      }
    } catch (fault) {
      // Nobody is left waiting for a turn that will not come.
      for (const { reject } of this.#waiting.splice(0)) reject(fault);
    } finally {
      this.#turning = false;
    }
  }

  /** One transaction for a group. Answers `false` when it was rolled back: a law broke for one of them, and each must be tried by itself. */
  #takeTurn(group: readonly Waiting[], refuse?: (fault: unknown) => void): boolean {
    try {
      const { came, changed } = this.#book.turn((turn) => {
        this.#book.store.lookUp(group.flatMap(({ ids }) => ids));
        return group.map((waiting) => {
          const answer = waiting.attempt(turn, waiting.tenant);
          this.#book.store.write(turn);
          return { waiting, answer };
        });
      });
      // Point of no return: money and record stand.
      this.#end.stands(changed);
      for (const { waiting, answer } of came) {
        if (typeof answer === "function") answer();
        else this.#short.push({ waiting, shorts: answer });
      }
      return true;
    } catch (fault) {
      refuse?.(fault);
      return false;
    }
  }
}
