import { AgentSentinelError, GatewayUnavailableError } from "../errors.ts";
import type { LedgerLine, LedgerStore } from "../local/ledger/line.ts";
import { observe } from "../observers.ts";
import { type Batch, batchOf, MOST_BODY_BYTES, MOST_LEAVING_BYTES } from "./batch.ts";
import type { Settings } from "./config.ts";
import { type Cursor, type CursorStore, placeAfter } from "./cursor.ts";
import { type Delivered, deliver } from "./delivery.ts";
import { RefusedLines } from "./refused.ts";
import { unref } from "./timers.ts";

/** What one flush did. */
export interface SyncReport {
  /** Lines that are on the gateway's record now. */
  readonly accepted: number;
  /** Lines that were on it already. */
  readonly duplicates: number;
  /** Lines that it does not take: they are set aside. */
  readonly refused: number;
  /** Why lines were left, which wait for the next flush; `null`: none were. */
  readonly error: AgentSentinelError | null;
}

export const NOTHING_DONE: SyncReport = { accepted: 0, duplicates: 0, refused: 0, error: null };

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** Who is to come back later than this is not waited for within a flush. */
const LONGEST_WAIT_MS = 60_000;

/** Reports lines in their order, batch by batch, and remembers how far it came. At most one batch is in memory. */
export class Reporter {
  readonly refused: RefusedLines;
  readonly #settings: Settings;
  readonly #store: LedgerStore;
  readonly #cursors: CursorStore;
  /** How far this instance came, should that not have been kept. */
  #acknowledged: Cursor = { seq: 0, hash: null };
  /** Lines from here on that name no run are of the settings' run. */
  #ownFrom = Number.POSITIVE_INFINITY;
  #endPause: (() => void) | null = null;
  #isLeaving = false;

  constructor(settings: Settings, store: LedgerStore, cursors: CursorStore) {
    this.#settings = settings;
    this.#store = store;
    this.#cursors = cursors;
    this.refused = new RefusedLines(store);
  }

  /** A line was added while we listened: it, and what comes after it, belongs to the run that is under way. */
  heard({ seq }: LedgerLine): void {
    this.#ownFrom = Math.min(this.#ownFrom, seq);
  }

  /** Whether there is anything to report. */
  hasMore(): boolean {
    try {
      return this.#store.after(this.#place(), 1).length > 0;
    } catch {
      return false;
    }
  }

  /** Up to which line the gateway has the ledger. */
  get acknowledged(): number {
    return this.#acknowledged.seq;
  }

  /** Nobody waits any more: a pause between two tries ends now. */
  hurry(): void {
    this.#endPause?.();
  }

  /** Reports everything that is there. Never rejects. `isBarred`: the gateway takes nothing from us until something is changed. */
  async flush(signal: AbortSignal): Promise<{ readonly report: SyncReport; readonly isBarred: boolean }> {
    const tally = { accepted: 0, duplicates: 0, refused: 0 };
    try {
      const barred = await this.#drain(tally, signal);
      return { report: { ...tally, error: barred }, isBarred: barred !== null };
    } catch (error) {
      return { report: { ...tally, error: asOurs(error) }, isBarred: false };
    }
  }

  /** Reports what fits into what a browser still sends for a page that goes away, and does not wait. What is lost is told again. */
  leave(): void {
    if (this.#isLeaving) return;
    try {
      const batch = this.#next(this.#place(), this.#settings.batchSize, MOST_LEAVING_BYTES);
      if (batch === null || batch.bytes > MOST_LEAVING_BYTES) return;
      this.#isLeaving = true;
      const before = this.#acknowledged;
      void deliver(this.#settings, batch, new AbortController().signal, true).then((delivered) => {
        this.#isLeaving = false;
        // Where a flush came further meanwhile, it has the word.
        if (delivered.kind === "taken" && this.#acknowledged === before) this.#take(batch, delivered);
      });
    } catch {
      // The lines are where they were.
    }
  }

  /** Throws what left lines behind; gives what bars us, or `null` when nothing is left. */
  async #drain(tally: { accepted: number; duplicates: number; refused: number }, signal: AbortSignal): Promise<AgentSentinelError | null> {
    const { batchSize, maxRetries } = this.#settings;
    let size = batchSize;
    let tried = 0;
    let takenAfter = -1;
    let beginsAnew = 0;
    for (;;) {
      // Looked up each time: others may have come further with the same ledger meanwhile.
      const place = this.#place();
      // A ledger can be begun anew once while it is reported. One that has two lines for a place, or goes on changing, must not be told for ever.
      if (place <= takenAfter && ++beginsAnew > 1) throw new Error("it changes while it is reported, or its lines are not in their order");
      const batch = this.#next(place, size, MOST_BODY_BYTES);
      if (batch === null) return null;
      signal.throwIfAborted();
      const delivered = await deliver(this.#settings, batch, signal);
      switch (delivered.kind) {
        case "taken":
          tally.accepted += delivered.accepted;
          tally.duplicates += delivered.duplicates;
          tally.refused += delivered.rejected.length;
          this.#take(batch, delivered);
          takenAfter = place;
          // It had all that there was: what was added meanwhile is for the next flush, or whoever waits for this one might wait for ever.
          if (batch.isRest) return null;
          size = Math.min(batchSize, size * 2);
          tried = 0;
          break;
        case "unfit": {
          const { code, detail } = delivered.error;
          // Halved until the one that cannot be taken stands alone.
          if (batch.lines.length > 1) size = Math.ceil(batch.lines.length / 2);
          else {
            tally.refused++;
            const rejected = [{ index: 0, code, message: detail }];
            this.#take(batch, { kind: "taken", accepted: 0, duplicates: 0, rejected });
            takenAfter = place;
            size = Math.min(batchSize, size * 2);
          }
          break;
        }
        case "failed":
          if (signal.aborted || tried >= maxRetries || delivered.retryAfterMs > LONGEST_WAIT_MS) throw delivered.error;
          await this.#pause(Math.max(delivered.retryAfterMs, Math.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tried)), signal);
          tried++;
          break;
        case "barred":
          return delivered.error;
      }
    }
  }

  /** Lines of before the start are not mixed with those of the settings' run: each is said to be of its own. */
  #next(place: number, size: number, mostBytes: number): (Batch & { readonly isRest: boolean }) | null {
    const lines = this.#store.after(place, size);
    const isOwn = lines[0] !== undefined && lines[0].seq >= this.#ownFrom;
    const alike = isOwn ? lines : lines.filter(({ seq }) => seq < this.#ownFrom);
    const batch = batchOf(alike, isOwn ? this.#settings.run : null, mostBytes);
    return batch === null ? null : { ...batch, isRest: lines.length < size && batch.lines.length === lines.length };
  }

  /** What was not taken is set aside before the cursor passes it. */
  #take({ lines }: Batch, { rejected }: Extract<Delivered, { kind: "taken" }>): void {
    for (const { index, code, message } of rejected) {
      const line = lines[index];
      if (line !== undefined) observe(this.#settings.onRefused, this.refused.add(line, code, message));
    }
    // Should there be two lines of its place, the first is the one that is looked at when the place is looked up.
    const last = lines.find(({ seq }) => seq === lines.at(-1)?.seq);
    if (last === undefined) return;
    this.#acknowledged = { seq: last.seq, hash: this.#store.path === undefined ? null : last.hash };
    try {
      this.#cursors.save(this.#settings.base, last);
    } catch {
      // Whoever starts next reports these lines again, and the gateway knows them.
    }
  }

  /** Where to go on: others may have reported for us, and the ledger may have been begun anew. */
  #place(): number {
    let kept: Cursor | null = null;
    try {
      kept = this.#cursors.load(this.#settings.base);
    } catch {
      // As if there were none.
    }
    return Math.max(placeAfter(kept, this.#store), placeAfter(this.#acknowledged, this.#store));
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (settle: () => void) => () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        this.#endPause = null;
        settle();
      };
      const abort = done(() => reject(signal.reason));
      const end = done(resolve);
      const timer = setTimeout(end, ms);
      // An agent that has nothing left to do is not kept alive by lines that will be told at the next start.
      unref(timer);
      signal.addEventListener("abort", abort);
      this.#endPause = end;
    });
  }
}

const asOurs = (error: unknown): AgentSentinelError =>
  error instanceof AgentSentinelError
    ? error
    : new GatewayUnavailableError(`Cannot report the ledger's lines: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
