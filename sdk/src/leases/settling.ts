import { GatewayRefusedError } from "../errors.ts";
import { observe } from "../observers.ts";
import type { SessionContext } from "../session.ts";
import type { CallOptions, LeaseSettlement } from "../surface.ts";
import { abortable, repeatAfter } from "../transport.ts";
import type * as wire from "../wire.ts";
import { type Granted, settlementOf } from "./answers.ts";
import { bare, type Entry, reportOf, Waiting, wireEntry } from "./waiting.ts";

export interface SettleOptions extends CallOptions {
  /** Nothing more is decided with the lease, and what is left of it goes back. Default: it goes on. */
  readonly final?: boolean | undefined;
}

/** What of a lease its settling must know. */
export interface Holder {
  /** Whether nothing more is decided, and nothing runs that was. */
  isDone(): boolean;
  /** For how long nothing has been decided any more. */
  overForMs(): number;
  /** The gateway takes it for over, or does not let its holder speak. */
  end(): void;
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** So long after its end a lease is told of by itself; then by hand. */
const GIVE_UP_MS = 600_000;
/** So many that were told are known again. */
const MOST_REMEMBERED = 1_000;
/** What a request is refused with that is wrong in itself. */
const UNFIT: readonly (number | null)[] = [400, 409, 413, 422];

/**
 * Tells the gateway what was decided and done with a lease: each at least once, which the gateway counts once by its id. What is refused is told once more
 * without what could be wrong with it. What cannot be told waits.
 */
export class Settling {
  readonly #context: SessionContext;
  readonly #lease: Granted;
  readonly #holder: Holder;
  readonly #settleMs: number;
  readonly #waiting = new Waiting();
  /** The last of those that were told. */
  readonly #told = new Set<string>();
  /** The request under way, and whoever waits for the next. */
  #turn: Promise<unknown> = Promise.resolve();
  #isTelling = false;
  #planned: { readonly at: number; readonly cancel: () => void } | null = null;
  #failures = 0;
  /** How many go into a request: fewer while one that is refused is looked for. */
  #most = Number.POSITIVE_INFINITY;
  /** Something that was done could not be put on record: then nothing is given back, and the gateway posts the rest. */
  #hasLost = false;
  #isSettled = false;
  #last: LeaseSettlement | null = null;

  constructor(context: SessionContext, lease: Granted, settleMs: number, holder: Holder) {
    this.#context = context;
    this.#lease = lease;
    this.#settleMs = settleMs;
    this.#holder = holder;
  }

  /** Whether there is room for more. */
  get hasRoom(): boolean {
    return !this.#waiting.isFull;
  }

  /** Whether it was to be told, or has been of late: the gateway would take the same report, once more and by itself, for another one. */
  has(decisionId: string): boolean {
    return this.#waiting.has(decisionId) || this.#told.has(decisionId);
  }

  /** Tells it soon. */
  add(entry: Entry): void {
    this.#waiting.add(entry);
    this.#plan(this.#waiting.isBatch ? 0 : this.#settleMs);
  }

  /** Tells what there is at once, unless it is being waited for a gateway that is out of reach. */
  hurry(): void {
    this.#plan(0);
  }

  /** Tells all that waits, and that it was all where it was. Throws what kept the gateway from hearing it; it waits on, then. */
  async settle(signal?: AbortSignal | undefined): Promise<LeaseSettlement | null> {
    const turn = this.#turn.then(() => this.#drain(signal));
    this.#turn = turn.catch(() => undefined);
    // Whoever gives up does not wait for what others have under way.
    return abortable(signal, (resolve, reject) => {
      turn.then(resolve, reject);
      return () => undefined;
    });
  }

  async #drain(signal: AbortSignal | undefined): Promise<LeaseSettlement | null> {
    this.#isTelling = true;
    try {
      for (;;) {
        const batch = this.#waiting.batch(this.#most);
        const final = !(this.#isSettled || this.#hasLost) && batch.length === this.#waiting.size && this.#holder.isDone();
        if (batch.length === 0 && !final) {
          this.#rest();
          return this.#last;
        }
        try {
          await this.#tell(batch, final, signal);
        } catch (error) {
          if (this.#sorted(batch, error)) continue;
          // Who gives up says nothing about the gateway.
          if (signal?.aborted) this.#plan(this.#settleMs);
          else this.#failed(error);
          throw error;
        }
      }
    } finally {
      this.#isTelling = false;
    }
  }

  async #tell(batch: readonly Entry[], final: boolean, signal: AbortSignal | undefined): Promise<void> {
    const { id, session } = this.#lease;
    const body = { entries: batch.map(wireEntry), final } satisfies wire.SettleLeaseRequest;
    const path = `/v1/sessions/${session}/leases/${id}/settle`;
    const settlement = await this.#context.ask({ what: `settle ${id}`, path, body, read: settlementOf(id, batch.length) }, signal);
    this.#waiting.take(batch);
    for (const { id: told } of batch) this.#told.add(told);
    for (const oldest of this.#told) {
      if (this.#told.size <= MOST_REMEMBERED) break;
      this.#told.delete(oldest);
    }
    this.#isSettled ||= final;
    this.#last = settlement;
    this.#failures = 0;
    this.#most *= 2;
    if (settlement.state !== "open") this.#holder.end();
    observe(this.#context.observers.onLease, { lease: id, session, state: "settled", settlement });
  }

  /** There is nothing left to wake up for. */
  #rest(): void {
    this.#planned?.cancel();
    this.#planned = null;
  }

  /** Whether what was refused is of the batch's own fault, and has been seen to. */
  #sorted(batch: readonly Entry[], error: unknown): boolean {
    if (batch.length === 0 || !(error instanceof GatewayRefusedError) || !UNFIT.includes(error.status)) return false;
    const named = new Set(error.issues.map(({ pointer }) => /^\/entries\/(\d+)(?:\/|$)/.exec(pointer)?.[1]));
    const unfit = batch.length === 1 ? batch : batch.filter((_, place) => named.has(String(place)));
    // It does not say which: halved until the one stands alone.
    if (unfit.length === 0) this.#most = Math.ceil(batch.length / 2);
    for (const entry of unfit) {
      if (!entry.isBare) this.#waiting.add(bare(entry));
      else this.#lose(entry, error);
    }
    return true;
  }

  #lose(entry: Entry, error: unknown): void {
    this.#waiting.take([entry]);
    this.#hasLost = true;
    this.#tellLost(entry, error);
  }

  #tellLost(entry: Entry, error: unknown): void {
    const { id: decisionId, action } = entry;
    observe(this.#context.observers.onCommitFailed, { session: this.#lease.session, decisionId, action, report: reportOf(entry), error });
  }

  /** What waits is told again, by and by. */
  #failed(error: unknown): void {
    const { ambience, observers } = this.#context;
    const { id: lease, session } = this.#lease;
    const isBarred = repeatAfter(error) === null && error instanceof GatewayRefusedError && error.status !== null && error.status >= 300;
    if (isBarred) this.#holder.end();
    observe(observers.onLease, { lease, session, state: "waiting", entries: this.#waiting.size, error });
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures++) * (0.5 + ambience.random() / 2);
    if (this.#holder.overForMs() < GIVE_UP_MS) this.#wake(Math.max(repeatAfter(error) ?? 0, pauseMs));
    else for (const entry of this.#waiting.all()) this.#tellLost(entry, error);
  }

  /** Wakes up within `ms`, unless it waits for a gateway that is out of reach. */
  #plan(ms: number): void {
    const isSooner = this.#planned === null || (this.#failures === 0 && this.#planned.at > this.#context.ambience.now() + ms);
    if (isSooner) this.#wake(ms);
  }

  #wake(ms: number): void {
    const { schedule, now } = this.#context.ambience;
    this.#planned?.cancel();
    const cancel = schedule(() => {
      this.#planned = null;
      // Whoever is telling goes on until nothing is left.
      if (!this.#isTelling) this.settle().catch(() => undefined);
    }, ms);
    this.#planned = { at: now() + ms, cancel };
  }
}
