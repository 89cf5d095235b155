import type { ApprovalId } from "../core/ids.ts";
import { inTime } from "../flow/patience.ts";
import type { ApprovalTold } from "../flow/ports.ts";
import type { SessionBook } from "./session_book.ts";
import { TENANT_PATIENCE_MS } from "./tenant_line.ts";

/** About so much text of approvals the tenant is told at once. */
const MOST_TOLD_CHARACTERS = 1_000_000;

/** The tenant said nothing for as long as it is waited for: it may have fallen under the call. */
class Silence extends Error {}

/** Carries what becomes of a session's approvals to who waits for it: agents in long polls, and the tenant's desk, where people find what they are asked. */
export class ApprovalNews {
  readonly #book: SessionBook;
  readonly #tellDesk: (untold: readonly ApprovalTold[]) => Promise<void>;
  readonly #watchers = new Map<ApprovalId, Set<() => void>>();
  /** The one under way, and the next, which has not looked yet what there is to tell. */
  #telling: Promise<void> | null = null;
  #next: Promise<void> | null = null;
  /** Under each of these the tenant fell silent when it was told of nothing else: they are told by themselves, after all others, the latest to do so last. */
  readonly #suspects = new Set<ApprovalId>();

  /** `tellDesk`: rejects where it is not known that the tenant has them. */
  constructor(book: SessionBook, tellDesk: (untold: readonly ApprovalTold[]) => Promise<void>) {
    this.#book = book;
    this.#tellDesk = tellDesk;
  }

  /** Waits until something happens to an approval, or so long. */
  async until(id: ApprovalId, mostMs: number): Promise<void> {
    const alarmClock = new AbortController();
    const { promise, resolve } = Promise.withResolvers<void>();
    const watchers = this.#watchers.get(id) ?? new Set();
    watchers.add(resolve);
    this.#watchers.set(id, watchers);
    await Promise.race([promise, scheduler.wait(mostMs, { signal: alarmClock.signal }).catch(() => undefined)]);
    alarmClock.abort();
    watchers.delete(resolve);
    if (watchers.size === 0) this.#watchers.delete(id);
  }

  /** Wakes who waits for these, or for any, after whoever read in this very turn has begun to wait. */
  wake(changed: Iterable<ApprovalId> | "all"): void {
    setTimeout(() => {
      for (const id of changed === "all" ? [...this.#watchers.keys()] : changed) for (const wake of this.#watchers.get(id) ?? []) wake();
    });
  }

  /**
   * Tells the tenant of every approval of which it has not heard, and rejects where it is not known to have all of them; one that it does not take, or
   * under which it falls, keeps none of the others from it. One telling is under way at a time, and who comes meanwhile shares the next: a hundred answers
   * of one turn would each tell of all hundred. A tenant that says nothing is given up soon, since the next telling may find it well again.
   */
  tell(): Promise<void> {
    this.#next ??= this.#tellAfter(this.#telling);
    return this.#next;
  }

  async #tellAfter(before: Promise<void> | null): Promise<void> {
    await before?.catch(() => undefined);
    this.#telling = this.#next;
    this.#next = null;
    await this.#tellAll();
  }

  async #tellAll(): Promise<void> {
    const faults: unknown[] = [];
    for (let untold = this.#untold(null); untold.length > 0; untold = this.#untold(untold.at(-1)?.approval.id ?? null)) {
      const lot = untold.filter(({ approval }) => !this.#suspects.has(approval.id));
      if (lot.length > 1 && (await this.#tellOf(lot)) === null) continue;
      // The newest first: somebody may be waiting for it.
      for (const one of lot.toReversed()) await this.#tellAlone(one, faults);
    }
    const { session, agent } = this.#book.read();
    for (const id of [...this.#suspects]) {
      const stored = this.#book.store.untoldApproval(id);
      if (stored === null) this.#suspects.delete(id);
      else await this.#tellAlone({ session, agent, ...stored }, faults);
    }
    if (faults.length > 0) throw faults[0];
  }

  /** Throws where the tenant says nothing: whatever is left waits for the next telling. What it refuses is put to the faults. */
  async #tellAlone(one: ApprovalTold, faults: unknown[]): Promise<void> {
    const fault = await this.#tellOf([one]);
    this.#suspects.delete(one.approval.id);
    if (fault instanceof Silence) {
      this.#suspects.add(one.approval.id);
      throw fault;
    }
    if (fault !== null) faults.push(fault);
  }

  /** Answers what went wrong, or `null`. */
  async #tellOf(untold: readonly ApprovalTold[]): Promise<unknown> {
    const versions = untold.map(({ approval: { id }, version }) => ({ id, version }));
    // Who takes it late has it all the same.
    const taking = this.#tellDesk(untold).then(() => this.#book.store.setApprovalsTold(versions));
    try {
      const { ok } = await inTime(TENANT_PATIENCE_MS, taking);
      return ok ? null : new Silence(`the tenant said nothing for ${TENANT_PATIENCE_MS} ms`);
    } catch (fault) {
      return fault ?? new Error("the tenant did not take it");
    }
  }

  #untold(after: ApprovalId | null): readonly ApprovalTold[] {
    const { session, agent } = this.#book.read();
    return this.#book.store.untoldApprovals(after, MOST_TOLD_CHARACTERS).map((stored) => ({ session, agent, ...stored }));
  }
}
