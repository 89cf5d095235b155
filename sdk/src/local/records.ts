import type { Decision } from "../../../src/core/decision.ts";
import { type MicroUsd, ZERO_USD } from "../../../src/core/money.ts";
import { formatInstant } from "../../../src/core/time.ts";
import { observe } from "../observers.ts";
import type { RecordedValue } from "../values.ts";
import { redactedPlaces } from "./ledger/ledger.ts";
import { LedgerError } from "./ledger/ledger_error.ts";
import type { LedgerRecord, LedgerStore } from "./ledger/line.ts";
import { quiet, type Unmade } from "./ledger/memory_store.ts";
import type { LocalObservers } from "./types.ts";
import { fastUuid } from "./uuid.ts";

/** What the lines of one call have in common. Lines in memory hold on to it: it has no more of a decision than they say. */
export interface Told {
  readonly tags: readonly string[];
  readonly agent: string;
  /** `null`: nothing is kept of anything. */
  readonly inputs: RecordedValue | null;
  readonly parents: readonly string[];
  readonly estimateMicroUsd: MicroUsd;
  readonly decision: ToldDecision;
  /** The gateway could not be asked. */
  readonly unguarded?: boolean;
  /** It was not run: its end is that of an earlier call. */
  readonly replayed?: boolean;
  readonly promised?: LedgerRecord["promised"];
  readonly derived?: LedgerRecord["derived"];
}

export type ToldDecision = Pick<Decision, "id" | "session" | "run" | "action" | "verdict" | "reason" | "policy">;

/** Of a decision, what goes on record. */
export const toldDecision = ({ id, session, run, action, verdict, reason, policy }: Decision): ToldDecision => ({
  id,
  session,
  run,
  action,
  verdict,
  reason,
  policy,
});

/**
 * Writes decisions and how they ended into the ledger. A decision that cannot be written is none: nothing may run. How an action ended is written
 * after it ran, when nothing may change any more what it gave: what could not be written waits, and is written before the next decision or that fails.
 */
export class Records {
  readonly #store: LedgerStore;
  readonly #observers: LocalObservers;
  readonly #now: () => number;
  /** `undefined`: ids are made with the lines that have them. */
  readonly #newId: (() => string) | undefined;
  /** How actions ended that nobody has on record: as many as were under way when the store failed, for nothing is begun meanwhile. */
  readonly #unwritten: Note[] = [];

  constructor(store: LedgerStore, observers: LocalObservers, now: () => number, newId: (() => string) | undefined) {
    this.#store = store;
    this.#observers = observers;
    this.#now = now;
    this.#newId = newId;
  }

  /** Throws a `LedgerError` when it cannot be kept. */
  decided(told: Told): void {
    const { verdict } = told.decision;
    const outcome = verdict === "allow" ? "allowed" : verdict === "deny" ? "denied" : "held";
    try {
      this.#append(this.#noted(told, outcome, ZERO_USD, 0, null));
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : "it says no more";
      const code = cause instanceof LedgerError ? cause.code : "unwritable";
      throw new LedgerError(
        code,
        `Cannot run "${told.decision.action}": what is not on record does not run, and the ledger cannot be written: ${why}`,
        cause,
      );
    }
  }

  /** Never throws. */
  ended(told: Told, outcome: "success" | "error", costMicroUsd: MicroUsd, durationMs: number, outputs: RecordedValue): void {
    this.#happened(this.#noted(told, outcome, costMicroUsd, durationMs, outputs));
  }

  /** A call was charged, of which nobody has said how it ended. Never throws. */
  expired(told: Told, costMicroUsd: MicroUsd, durationMs: number): void {
    this.#happened(this.#noted(told, "expired", costMicroUsd, durationMs, null));
  }

  #happened(note: Note): void {
    try {
      this.#append(note);
    } catch (error) {
      this.#unwritten.push(note);
      observe(this.#observers.onUnrecorded, { record: note.record(), error });
    }
  }

  /** After what waits to be written: nothing is written out of its order. */
  #append(note: Note): void {
    for (let next = this.#unwritten[0]; next !== undefined; next = this.#unwritten[0]) {
      this.#put(next);
      this.#unwritten.shift();
    }
    this.#put(note);
  }

  #put(note: Note): void {
    const keep = quiet.get(this.#store);
    if (keep === undefined) this.#store.append(note.record());
    else keep(note);
  }

  #noted(told: Told, outcome: LedgerRecord["outcome"], costMicroUsd: MicroUsd, durationMs: number, outputs: RecordedValue | null): Note {
    return new Note(told, outcome, costMicroUsd, durationMs, outputs, this.#now(), this.#newId?.() ?? null);
  }
}

/** What a line will say, as it was when it happened. Most lines in memory are never looked at, and need no more than this. */
class Note implements Unmade {
  readonly #told: Told;
  readonly #outcome: LedgerRecord["outcome"];
  readonly #costMicroUsd: MicroUsd;
  readonly #durationMs: number;
  readonly #outputs: RecordedValue | null;
  readonly #at: number;
  #id: string | null;

  constructor(
    told: Told,
    outcome: LedgerRecord["outcome"],
    costMicroUsd: MicroUsd,
    durationMs: number,
    outputs: RecordedValue | null,
    at: number,
    id: string | null,
  ) {
    this.#told = told;
    this.#outcome = outcome;
    this.#costMicroUsd = costMicroUsd;
    this.#durationMs = durationMs;
    this.#outputs = outputs;
    this.#at = at;
    this.#id = id;
  }

  get action(): string {
    return this.#told.decision.action;
  }

  record(): LedgerRecord {
    const { tags, agent, inputs, parents, estimateMicroUsd, decision, unguarded, replayed, promised, derived } = this.#told;
    const outcome = this.#outcome;
    const outputs = this.#outputs;
    this.#id ??= fastUuid(this.#at);
    return {
      id: this.#id,
      kind: KINDS[outcome],
      timestamp: stampOf(this.#at),
      action: decision.action,
      cost_usd: this.#costMicroUsd / 1e6,
      duration_ms: this.#durationMs,
      outcome,
      tags,
      payload: { inputs: inputs?.value ?? null, outputs: outputs?.value ?? null },
      agent_id: agent,
      run_id: decision.run,
      session_id: decision.session,
      decision_id: decision.id,
      verdict: decision.verdict,
      reason: decision.reason.code,
      rule: decision.reason.rule,
      policy: decision.policy,
      estimate_usd: estimateMicroUsd / 1e6,
      parents,
      ...(unguarded && { unguarded: true }),
      ...(replayed && { replayed: true }),
      ...(promised && { promised }),
      ...(derived && { derived }),
      ...redactedPlaces(inputs?.redacted ?? 0, outputs?.redacted ?? 0),
    };
  }
}

const KINDS = {
  allowed: "decision",
  denied: "decision",
  held: "decision",
  success: "outcome",
  error: "outcome",
  expired: "expiry",
} as const satisfies { readonly [Outcome in LedgerRecord["outcome"]]: LedgerRecord["kind"] };

let stamped = -1;
let stamp = "";

/** Many lines of a busy program have the same millisecond. */
function stampOf(at: number): string {
  if (at !== stamped) {
    stamped = at;
    stamp = formatInstant(at);
  }
  return stamp;
}
