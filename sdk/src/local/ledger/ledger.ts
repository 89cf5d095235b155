import type { UsdInput } from "../../surface.ts";
import { usdText } from "../../usd.ts";
import { fastUuid } from "../uuid.ts";
import type { LedgerLine, LedgerRecord, LedgerStore } from "./line.ts";
import type { Recorder } from "./recorder.ts";
import { type ChainReport, verifyChain } from "./verify.ts";

/** What is recorded by hand: the original's fields. */
export interface ManualRecord {
  /** 1 to 128 letters, digits, `_ - . : /`. */
  readonly action: string;
  /** Anything; written down as `recordValue` does, under the policy's redaction. Default `null`. */
  readonly inputs?: unknown;
  readonly outputs?: unknown;
  /** USD. Default 0. */
  readonly costUsd?: UsdInput | undefined;
  /** Default 0. */
  readonly durationMs?: number | undefined;
  readonly outcome?: "success" | "error" | undefined;
  /** At most 64, of 1 to 128 characters on one line each: as a gateway takes them. */
  readonly tags?: readonly string[] | undefined;
}

/** Whose lines they are, at the instant at which one is written. */
export interface LedgerContext {
  readonly agent_id: string | null;
  readonly run_id: string | null;
  readonly session_id: string | null;
}

export interface LedgerOptions {
  readonly store: LedgerStore;
  /** Asked for each line: a policy's redaction can change. */
  readonly recorder: () => Recorder;
  readonly context?: (() => LedgerContext) | undefined;
  readonly now?: (() => number) | undefined;
}

const NOBODY: LedgerContext = { agent_id: null, run_id: null, session_id: null };
const ACTION = /^[A-Za-z0-9_.:/-]{1,128}$/;
const TAG = /^[^\p{Cc}\p{Cs}]{1,128}$/u;
const PAGE_LINES = 500;

/** What was decided, done and spent, line by line, each chained to the one before. */
export class Ledger {
  readonly store: LedgerStore;
  readonly #options: LedgerOptions;

  constructor(options: LedgerOptions) {
    this.store = options.store;
    this.#options = options;
  }

  /** The file in which the lines stand; `null`: they stand in none. */
  get path(): string | null {
    return this.store.path ?? null;
  }

  /**
   * Records something by hand: a line of kind `record`, with the cost of it. It decides nothing and counts against no budget.
   * Throws a `RangeError` for a name, an amount or tags that are none, a `LedgerError` when it cannot be kept.
   */
  record({ action, inputs = null, outputs = null, costUsd = 0, durationMs = 0, outcome = "success", tags = [] }: ManualRecord): LedgerLine {
    if (!ACTION.test(action))
      throw new RangeError(`Cannot record an action of this name: wanted 1 to 128 letters, digits, "_", "-", ".", ":" or "/"`);
    if (!(durationMs >= 0 && Number.isFinite(durationMs))) throw new RangeError(`Cannot record "${action}": durationMs is a number from 0`);
    if (tags.length > 64 || !tags.every((tag) => TAG.test(tag)))
      throw new RangeError(`Cannot record "${action}": tags are at most 64 texts of 1 to 128 characters on one line`);
    const { inputs: shownInputs, outputs: shownOutputs } = recorded(this.#options.recorder(), inputs, outputs);
    const now = this.#options.now?.() ?? Date.now();
    const record: LedgerRecord = {
      id: fastUuid(now),
      kind: "record",
      timestamp: new Date(now).toISOString(),
      action,
      cost_usd: Number(usdText(costUsd, "costUsd")),
      duration_ms: durationMs,
      outcome,
      tags: tags.map(String),
      payload: { inputs: shownInputs.value, outputs: shownOutputs.value },
      ...(this.#options.context?.() ?? NOBODY),
      decision_id: null,
      verdict: null,
      reason: null,
      rule: null,
      policy: null,
      estimate_usd: null,
      parents: [],
      ...redactedPlaces(shownInputs.redacted, shownOutputs.redacted),
    };
    return this.store.append(record);
  }

  /** All lines, oldest first, those of rotated files and of other processes too. */
  *read(): Generator<LedgerLine, void, undefined> {
    let seq = 0;
    for (;;) {
      const page = this.store.after(seq, PAGE_LINES);
      yield* page;
      const last = page.at(-1);
      if (last === undefined) return;
      seq = last.seq;
    }
  }

  [Symbol.iterator](): Generator<LedgerLine, void, undefined> {
    return this.read();
  }

  /** Looks at every hash and every link of the lines that can be read. A file is looked at more closely by `verifyLines`. */
  verify(): ChainReport {
    return verifyChain(this.read());
  }

  /** All that was recorded lasts when this resolves. */
  flush(): Promise<void> {
    return this.store.flush();
  }

  close(): void {
    this.store.close();
  }
}

const recorded = (recorder: Recorder, inputs: unknown, outputs: unknown) => ({ inputs: recorder.inputs(inputs), outputs: recorder.outputs(outputs) });

/** The member of a record that says how many places were redacted; nothing where none was. */
export const redactedPlaces = (inputs: number, outputs: number): Pick<LedgerRecord, "redacted"> =>
  inputs + outputs === 0 ? {} : { redacted: { inputs, outputs } };
