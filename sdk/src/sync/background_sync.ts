import type { AgentSentinelError } from "../errors.ts";
import type { LedgerLine, LedgerStore } from "../local/ledger/line.ts";
import { observe } from "../observers.ts";
import { type Settings, type SyncConfig, settingsOf } from "./config.ts";
import { cursorBeside } from "./cursor.ts";
import type { RefusedLine } from "./refused.ts";
import { Reporter, type SyncReport } from "./reporter.ts";
import { unref } from "./timers.ts";

/** How long `stop` and the end of a process wait for the last report. */
const LAST_REPORT_MS = 10_000;
const LONGEST_INTERVAL_MS = 300_000;

/**
 * Reports the lines of a local ledger to a gateway, in the background: each at least once, and by its id on record there once. Nothing of it throws into
 * the agent, keeps the process alive or takes a line out of the ledger. Where the gateway cannot be reached the lines wait; how far it came is kept
 * beside a ledger that is a file, so that the next process goes on there. Several may report one ledger.
 *
 * At the end of a process it reports what is left when the event loop runs empty, and when a page is hidden as much as a browser lets it. After
 * `process.exit()` or a crash the rest is reported at the next start. Where no process stays (serverless), await `flushNow()` in `waitUntil`.
 */
export class BackgroundSync {
  readonly #settings: Settings;
  readonly #store: LedgerStore;
  readonly #reporter: Reporter;
  #undo: (() => void) | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #flushing: Flush | null = null;
  /** The one that follows it, for whoever asked meanwhile. */
  #following: Flush | null = null;
  #failures = 0;
  #added = 0;
  #stoppedBy: AgentSentinelError | null = null;
  #hasGivenUp = false;

  /** Throws a `TypeError` or a `RangeError` for a configuration that cannot be used. */
  constructor(config: SyncConfig, store: LedgerStore) {
    this.#settings = settingsOf(config);
    this.#store = store;
    this.#reporter = new Reporter(this.#settings, store, config.cursor ?? cursorBeside(store));
  }

  /** Up to which line the gateway has the ledger, as far as this instance told it. */
  get acknowledged(): number {
    return this.#reporter.acknowledged;
  }

  /** The latest lines that the gateway did not take, at most a thousand. A ledger that is a file has them all beside it, in `<ledger>.refused.jsonl`. */
  get refused(): readonly RefusedLine[] {
    return this.#reporter.refused.latest;
  }

  /** Why reporting has ended, as when the token is refused; `null`: it has not. */
  get stoppedBy(): AgentSentinelError | null {
    return this.#stoppedBy;
  }

  /** Begins to report, with what earlier runs left. Starting again what runs changes nothing. */
  start(): void {
    this.#stoppedBy = null;
    if (this.#undo === null) this.#begin();
    this.#wakeAfter(0);
  }

  #begin(): void {
    const forget = this.#store.onAppend((line) => this.#heard(line));
    const unlisten = this.#listenForTheEnd();
    this.#undo = () => {
      forget();
      unlisten();
      this.#sleep();
    };
  }

  /**
   * Reports everything that was recorded before the call, and says what became of it. Never rejects. `timeoutMs`: what is left by then waits for the next
   * flush, as where a runtime grants so much time and no more.
   */
  flushNow({ timeoutMs }: { readonly timeoutMs?: number } = {}): Promise<SyncReport> {
    return timeoutMs === undefined ? this.#flushSoon().report : this.#flushWithin(timeoutMs);
  }

  #flushSoon(): Flush {
    const ending = new AbortController();
    if (this.#following !== null) return this.#following;
    if (this.#flushing === null) return this.#flush(ending);
    // The flush under way may have read the ledger before the newest line was in it.
    const report = this.#flushing.report.then(() => {
      this.#following = null;
      return this.#flush(ending).report;
    });
    this.#following = { report, ending };
    return this.#following;
  }

  /** Reports what is left, for at most so long, and ends. Never rejects. It can be started again. */
  async stop({ timeoutMs = LAST_REPORT_MS }: { readonly timeoutMs?: number } = {}): Promise<SyncReport> {
    this.#undo?.();
    this.#undo = null;
    this.#reporter.hurry();
    return this.#flushWithin(timeoutMs);
  }

  async #flushWithin(timeoutMs: number): Promise<SyncReport> {
    const own = this.#flushSoon();
    const end = (): void => {
      // Its own, and the one that it still waits for.
      for (const flush of [own, this.#flushing]) flush?.ending.abort(new Error("there is no more time"));
    };
    const timer = setTimeout(end, timeoutMs);
    try {
      return await own.report;
    } finally {
      clearTimeout(timer);
    }
  }

  #flush(ending: AbortController): Flush {
    this.#sleep();
    this.#added = 0;
    const report = this.#report(ending.signal).finally(() => {
      this.#flushing = null;
    });
    this.#flushing = { report, ending };
    return this.#flushing;
  }

  async #report(signal: AbortSignal): Promise<SyncReport> {
    const { report, isBarred } = await this.#reporter.flush(signal);
    const { error } = report;
    this.#failures = error === null ? 0 : this.#failures + 1;
    if (error !== null && !isBarred) observe(this.#settings.onFailed, error);
    if (error !== null && isBarred && this.#stoppedBy === null) observe(this.#settings.onStopped, error);
    this.#stoppedBy = isBarred ? error : null;
    this.#wakeAfter(this.#pauseAfter(report));
    return report;
  }

  /** After failures longer and longer, and not at the same time as everybody else. */
  #pauseAfter({ error }: SyncReport): number {
    const { intervalMs } = this.#settings;
    if (error === null) return intervalMs;
    const longest = Math.max(intervalMs, LONGEST_INTERVAL_MS);
    const pauseMs = Math.min(longest, intervalMs * 2 ** Math.min(this.#failures - 1, 30)) * (0.5 + Math.random() / 2);
    return Math.max(pauseMs, error.remediation.retryAfterMs ?? 0);
  }

  #heard(line: LedgerLine): void {
    this.#reporter.heard(line);
    this.#hasGivenUp = false;
    this.#added++;
    // A whole batch does not wait for its time, unless the gateway is not well.
    if (this.#added === this.#settings.batchSize && this.#failures === 0 && this.#flushing === null) this.#wakeAfter(0);
  }

  #wakeAfter(ms: number): void {
    this.#sleep();
    if (this.#undo === null || this.#stoppedBy !== null) return;
    // Timers count 31 bits of milliseconds.
    this.#timer = setTimeout(() => void this.#flushSoon().report, Math.min(ms, 2 ** 31 - 1));
    unref(this.#timer);
  }

  #sleep(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  /** The event loop of a process runs empty; a page is hidden, which may be the last that it is told. */
  #listenForTheEnd(): () => void {
    // What is here of a process or of a page; on the edge neither is.
    const { process, document }: Surroundings = globalThis as object;
    const page: Partial<Listenable> = document === undefined ? {} : (globalThis as object);
    const empty = (): void => {
      // The event comes again after each thing that was done in it: what failed once is left to the next start.
      if (this.#hasGivenUp || this.#stoppedBy !== null || !this.#reporter.hasMore()) return;
      this.#reporter.hurry();
      void this.#flushWithin(LAST_REPORT_MS).then(({ error }) => {
        this.#hasGivenUp = error !== null;
      });
    };
    const leave = (): void => this.#reporter.leave();
    const hide = (): void => {
      if (document?.visibilityState === "hidden") leave();
    };
    process?.on?.("beforeExit", empty);
    document?.addEventListener?.("visibilitychange", hide);
    page.addEventListener?.("pagehide", leave);
    return () => {
      process?.off?.("beforeExit", empty);
      document?.removeEventListener?.("visibilitychange", hide);
      page.removeEventListener?.("pagehide", leave);
    };
  }
}

/** One that is under way, or to come, and what ends it before its time. */
interface Flush {
  readonly report: Promise<SyncReport>;
  readonly ending: AbortController;
}

/** As much as is used of what surrounds it, which may have none of it. */
interface Surroundings {
  readonly process?: {
    on?(event: "beforeExit", listener: () => void): void;
    off?(event: "beforeExit", listener: () => void): void;
  };
  readonly document?: Partial<Listenable> & { readonly visibilityState?: string };
}

interface Listenable {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}
