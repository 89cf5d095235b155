import type { Decision } from "../../../src/core/decision.ts";
import type { MicroUsd } from "../../../src/core/money.ts";
import { formatInstant } from "../../../src/core/time.ts";
import { observe } from "../observers.ts";
import type { RecordedValue } from "../values.ts";
import { redactedPlaces } from "./ledger/ledger.ts";
import { LedgerError } from "./ledger/ledger_error.ts";
import type { LedgerRecord, LedgerStore } from "./ledger/line.ts";
import { quiet } from "./ledger/memory_store.ts";
import type { LocalObservers } from "./types.ts";

/** What the lines of one call have in common. */
export interface Told {
  readonly tags: readonly string[];
  readonly agent: string;
  /** `null`: nothing is kept of anything. */
  readonly inputs: RecordedValue | null;
  readonly parents: readonly string[];
  readonly estimateMicroUsd: MicroUsd;
  readonly decision: Decision;
  /** The gateway could not be asked. */
  readonly unguarded?: true;
  /** It was not run: its end is that of an earlier call. */
  readonly replayed?: true;
}

/**
 * Writes decisions and how they ended into the ledger. A decision that cannot be written is none: nothing may run. How an action ended is written
 * after it ran, when nothing may change any more what it gave: what could not be written waits, and is written before the next decision or that fails.
 */
export class Records {
  readonly #store: LedgerStore;
  readonly #observers: LocalObservers;
  readonly #now: () => number;
  readonly #newId: () => string;
  /** How actions ended that nobody has on record: as many as were under way when the store failed, for nothing is begun meanwhile. */
  readonly #unwritten: LedgerRecord[] = [];
  #stamped = -1;
  #stamp = "";

  constructor(store: LedgerStore, observers: LocalObservers, now: () => number, newId: () => string) {
    this.#store = store;
    this.#observers = observers;
    this.#now = now;
    this.#newId = newId;
  }

  /** Throws a `LedgerError` when it cannot be kept. */
  decided(told: Told): void {
    const { verdict } = told.decision;
    const outcome = verdict === "allow" ? "allowed" : verdict === "deny" ? "denied" : "held";
    const record = this.#record(told, "decision", outcome, 0, 0, null);
    try {
      this.#append(record);
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
    const record = this.#record(told, "outcome", outcome, costMicroUsd, durationMs, outputs);
    try {
      this.#append(record);
    } catch (error) {
      this.#unwritten.push(record);
      observe(this.#observers.onUnrecorded, { record, error });
    }
  }

  /** After what waits to be written: nothing is written out of its order. */
  #append(record: LedgerRecord): void {
    for (let next = this.#unwritten[0]; next !== undefined; next = this.#unwritten[0]) {
      this.#put(next);
      this.#unwritten.shift();
    }
    this.#put(record);
  }

  #put(record: LedgerRecord): void {
    const keep = quiet.get(this.#store);
    if (keep === undefined) this.#store.append(record);
    else keep(record);
  }

  #record(
    { tags, agent, inputs, parents, estimateMicroUsd, decision, unguarded, replayed }: Told,
    kind: LedgerRecord["kind"],
    outcome: LedgerRecord["outcome"],
    costMicroUsd: number,
    durationMs: number,
    outputs: RecordedValue | null,
  ): LedgerRecord {
    return {
      id: this.#newId(),
      kind,
      timestamp: this.#timestamp(),
      action: decision.action,
      cost_usd: costMicroUsd / 1e6,
      duration_ms: durationMs,
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
      ...(unguarded && { unguarded }),
      ...(replayed && { replayed }),
      ...redactedPlaces(inputs?.redacted ?? 0, outputs?.redacted ?? 0),
    };
  }

  /** Many lines of a busy program have the same millisecond. */
  #timestamp(): string {
    const now = this.#now();
    if (now !== this.#stamped) {
      this.#stamped = now;
      this.#stamp = formatInstant(now);
    }
    return this.#stamp;
  }
}
