import type { ApprovalId } from "../core/ids.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type { ApprovalTold } from "../flow/ports.ts";
import type { SessionBook } from "./session_book.ts";

/** About so much text of approvals the tenant is told at once. */
const MOST_TOLD_CHARACTERS = 1_000_000;

/** Carries what becomes of a session's approvals to who waits for it: agents in long polls, and the tenant's desk, where people find what they are asked. */
export class ApprovalNews {
  readonly #book: SessionBook;
  readonly #tellDesk: (untold: readonly ApprovalTold[]) => Promise<void>;
  readonly #watchers = new Map<ApprovalId, Set<() => void>>();
  #telling: Promise<void> | null = null;

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
   * Tells the tenant of every approval of which it has not heard; one that it does not take keeps none of the others from it, and rejects in the end. One
   * telling is under way at a time: a hundred answers that share a turn would each tell of all hundred. Who comes meanwhile tells the rest.
   */
  async tell(): Promise<void> {
    // The one under way may have looked before the newest was there. A tenant that does not answer it is not waited for.
    if (this.#telling !== null)
      await inTime(
        ANSWER_MS,
        this.#telling.catch(() => undefined),
      );
    this.#telling ??= this.#tellAll().finally(() => {
      this.#telling = null;
    });
    await this.#telling;
  }

  async #tellAll(): Promise<void> {
    let fault: unknown = null;
    for (let untold = this.#untold(null); untold.length > 0; untold = this.#untold(untold.at(-1)?.approval.id ?? null)) {
      const failed = await this.#tellOf(untold);
      if (failed === null) continue;
      fault = failed;
      if (untold.length > 1) for (const one of untold) await this.#tellOf([one]);
    }
    if (fault !== null) throw fault;
  }

  /** Answers what went wrong, or `null`. */
  async #tellOf(untold: readonly ApprovalTold[]): Promise<unknown> {
    try {
      const heard = await inTime(ANSWER_MS, this.#tellDesk(untold));
      if (!heard.ok) return new Error(`the tenant said nothing for ${ANSWER_MS} ms`);
      this.#book.store.setApprovalsTold(untold.map(({ approval, version }) => ({ id: approval.id, version })));
      return null;
    } catch (fault) {
      return fault ?? new Error("the tenant did not take it");
    }
  }

  #untold(after: ApprovalId | null): readonly ApprovalTold[] {
    const { session, agent } = this.#book.read();
    return this.#book.store.untoldApprovals(after, MOST_TOLD_CHARACTERS).map((stored) => ({ session, agent, ...stored }));
  }
}
