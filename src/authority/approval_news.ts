import type { ApprovalId } from "../core/ids.ts";
import { inTime } from "../flow/patience.ts";
import type { ApprovalTold } from "../flow/ports.ts";
import type { SessionBook } from "./session_book.ts";

/** About so much text of approvals the tenant is told at once. */
const MOST_TOLD_CHARACTERS = 1_000_000;
/** So long the tenant is waited for, each of twice: who was asked may have fallen under the call, and in its next life it answers. */
const TELLING_MS = 1_000;
const MOST_TRIES = 2;

/** Why the tenant is not known to have something. */
interface Untaken {
  readonly fault: unknown;
  /** It said nothing, so that to ask for less is of no use either. */
  readonly isSilent: boolean;
}

/** A version of an approval on its way to the tenant. */
interface OnItsWay {
  readonly version: number;
  readonly arrived: Promise<Untaken | null>;
}

/** Carries what becomes of a session's approvals to who waits for it: agents in long polls, and the tenant's desk, where people find what they are asked. */
export class ApprovalNews {
  readonly #book: SessionBook;
  readonly #tellDesk: (untold: readonly ApprovalTold[]) => Promise<void>;
  readonly #watchers = new Map<ApprovalId, Set<() => void>>();
  readonly #onTheirWay = new Map<ApprovalId, OnItsWay>();
  /** Has not looked yet what there is to tell. */
  #next: Promise<void> | null = null;

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
   * Tells the tenant of every approval of which it has not heard, and rejects where it is not known to have all of them; one that it does not take keeps
   * none of the others from it. What is on its way already is waited for and not told again: a hundred answers that share a turn would each tell of all
   * hundred.
   */
  tell(): Promise<void> {
    this.#next ??= Promise.resolve().then(() => {
      this.#next = null;
      return this.#tellAll();
    });
    return this.#next;
  }

  async #tellAll(): Promise<void> {
    let untaken: Untaken | null = null;
    for (let untold = this.#untold(null); untold.length > 0; untold = this.#untold(untold.at(-1)?.approval.id ?? null)) {
      for (const one of await Promise.all(this.#send(untold))) untaken ??= one;
    }
    if (untaken !== null) throw untaken.fault;
  }

  /** Sends what is not on its way. */
  #send(untold: readonly ApprovalTold[]): readonly Promise<Untaken | null>[] {
    const sent = untold.map(({ approval, version }) => {
      const found = this.#onTheirWay.get(approval.id);
      return found?.version === version ? found.arrived : null;
    });
    const left = untold.filter((_, place) => sent[place] === null);
    const before = sent.filter((arrived) => arrived !== null);
    if (left.length === 0) return before;
    const arrived = this.#deliver(left).finally(() => {
      for (const { approval } of left) if (this.#onTheirWay.get(approval.id)?.arrived === arrived) this.#onTheirWay.delete(approval.id);
    });
    for (const { approval, version } of left) this.#onTheirWay.set(approval.id, { version, arrived });
    return [...before, arrived];
  }

  async #deliver(untold: readonly ApprovalTold[], tries = MOST_TRIES): Promise<Untaken | null> {
    // Who takes it late has it all the same.
    const taking = this.#tellDesk(untold).then(() =>
      this.#book.store.setApprovalsTold(untold.map(({ approval: { id }, version }) => ({ id, version }))),
    );
    try {
      if ((await inTime(TELLING_MS, taking)).ok) return null;
      if (tries > 1) return this.#deliver(untold, tries - 1);
      return { fault: new Error(`the tenant said nothing for ${TELLING_MS} ms, ${MOST_TRIES} times`), isSilent: true };
    } catch (fault) {
      return untold.length > 1 ? this.#deliverSingly(untold) : { fault: fault ?? new Error("the tenant did not take it"), isSilent: false };
    }
  }

  async #deliverSingly(untold: readonly ApprovalTold[]): Promise<Untaken | null> {
    let untaken: Untaken | null = null;
    for (const one of untold) {
      untaken = (await this.#deliver([one])) ?? untaken;
      if (untaken?.isSilent === true) break;
    }
    return untaken;
  }

  #untold(after: ApprovalId | null): readonly ApprovalTold[] {
    const { session, agent } = this.#book.read();
    return this.#book.store.untoldApprovals(after, MOST_TOLD_CHARACTERS).map((stored) => ({ session, agent, ...stored }));
  }
}
