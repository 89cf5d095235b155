import type { Json } from "../../surface.ts";

/** What a line is about: what was decided, how it ended, that its reservation ran out before that, or what was recorded by hand. */
export type LineKind = "decision" | "outcome" | "expiry" | "record";

/**
 * How it stands after this line. The first three are a decision's; nothing has been spent by them. What is `expired` was charged at its estimate: an end
 * that comes after all adds what it cost above that.
 */
export type LineOutcome = "allowed" | "denied" | "held" | "success" | "error" | "expired";

/**
 * What is to be written: the original's members, in its spelling, on every line, and beside them what a decision says. All lines of one call share
 * `decision_id`. The sum of `cost_usd` over all lines is what was spent (`totalUsd`).
 */
export interface LedgerRecord {
  /** A UUID, one a line: who has seen it once ignores it the second time. */
  readonly id: string;
  readonly kind: LineKind;
  /** RFC 3339, UTC, milliseconds. */
  readonly timestamp: string;
  readonly action: string;
  /** USD: whole micro-dollars, so at most six decimals. */
  readonly cost_usd: number;
  readonly duration_ms: number;
  readonly outcome: LineOutcome;
  readonly tags: readonly string[];
  readonly payload: { readonly inputs: Json; readonly outputs: Json };
  readonly agent_id: string | null;
  readonly run_id: string | null;
  readonly session_id: string | null;
  /** `dec_` and a UUID; `null`: recorded by hand. */
  readonly decision_id: string | null;
  readonly verdict: "allow" | "deny" | "hold" | null;
  readonly reason: string | null;
  readonly rule: string | null;
  readonly policy: { readonly name: string; readonly version: number; readonly digest: string } | null;
  readonly estimate_usd: number | null;
  /** The decisions this one follows from. */
  readonly parents: readonly string[];
  /** It ran without a decision of the gateway, which could not be reached, because its guard said so beforehand. */
  readonly unguarded?: true;
  /** It was not run: its end is that of an earlier call, and nothing was spent. */
  readonly replayed?: true;
  /** What it gave came as a promise, kept or broken. */
  readonly promised?: true;
  /** `payload.outputs` is what the guard's option `outputs` made of the result, and not the result. */
  readonly derived?: true;
  /** How many places were redacted; absent: none. What was redacted cannot be replayed. */
  readonly redacted?: { readonly inputs: number; readonly outputs: number };
}

/** A record with its place in the chain. */
export interface LedgerLine extends LedgerRecord {
  /** From 1, without gaps. */
  readonly seq: number;
  /** The hash of the line before; 64 zeros before the first. */
  readonly prev_hash: string;
  /** Half-written lines that were found before this one, and the files beside the ledger in which they lie now. Absent: none. */
  readonly set_aside?: readonly SetAside[];
  /** SHA-256, hexadecimal, of the RFC 8785 form of this line without `hash`. */
  readonly hash: string;
}

/** What a crash left of a line: nobody was told that it was written. */
export interface SetAside {
  /** The file's name, in the ledger's folder. */
  readonly file: string;
  readonly bytes: number;
}

/** Where lines are kept. Everything but `flush` is synchronous, so that what is guarded may be. */
export interface LedgerStore {
  /** The file, where it is one. */
  readonly path?: string | undefined;
  /** Puts a record at the end and gives the line it became. Throws when it cannot be kept; then nothing was. */
  append(record: LedgerRecord): LedgerLine;
  /** The lines after a `seq`, oldest first, at most `most` of them. */
  after(seq: number, most: number): readonly LedgerLine[];
  /** Told after each line that is kept; what it throws goes nowhere. Gives the way to stop it. */
  onAppend(listener: (line: LedgerLine) => void): () => void;
  /** All that was appended is where it lasts when this resolves. */
  flush(): Promise<void>;
  /** Flushes what it can without waiting and lets go of what it holds. */
  close(): void;
}
