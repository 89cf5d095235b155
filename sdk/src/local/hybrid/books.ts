import type { Decision } from "../../../../src/core/decision.ts";
import type { DecisionId } from "../../../../src/core/ids.ts";
import type { MicroUsd } from "../../../../src/core/money.ts";
import type { Authority } from "../authority.ts";

interface Standing {
  readonly authority: Authority;
  readonly id: DecisionId;
}

/**
 * One call on the books of this process: what the floor and the gateway's policy said of it, and what each keeps reserved for it. Its first end is its
 * end. None of this is ever the last word where the gateway can be asked, so nothing here throws.
 */
export class Books {
  readonly floor: Decision;
  /** `null`: the gateway's policy is not known. */
  readonly policy: Decision | null;
  readonly #startedAt: number;
  readonly #now: () => number;
  #floor: Standing | null;
  #mirror: Standing | null;

  constructor(desk: Authority, floor: Decision, mirror: Authority, policy: Decision | null, now: () => number) {
    this.floor = floor;
    this.policy = policy;
    this.#now = now;
    this.#startedAt = now();
    this.#floor = { authority: desk, id: floor.id };
    this.#mirror = policy?.verdict === "allow" ? { authority: mirror, id: policy.id } : null;
  }

  /** What the call cost, under both. */
  settle(outcome: "success" | "error", costMicroUsd: MicroUsd): void {
    const settled = (standing: Standing | null) => this.#settle(standing, outcome, costMicroUsd);
    settled(this.#floor);
    settled(this.#mirror);
    this.#floor = this.#mirror = null;
  }

  /** The same under the gateway's policy alone: the floor hears it from the call itself. */
  settleMirror(costMicroUsd: MicroUsd): void {
    this.#settle(this.#mirror, "success", costMicroUsd);
    this.#floor = this.#mirror = null;
  }

  /** It does not run. */
  giveBack(): void {
    for (const standing of [this.#floor, this.#mirror]) attempt(() => standing?.authority.release(standing.id, "not run"));
    this.#floor = this.#mirror = null;
  }

  #settle(standing: Standing | null, outcome: "success" | "error", costMicroUsd: MicroUsd): void {
    const durationMs = Math.max(0, Math.round(this.#now() - this.#startedAt));
    const report = { costMicroUsd, outcome, durationMs, outputs: undefined, error: null, usage: null };
    attempt(() => standing?.authority.commit(standing.id, report, ""));
  }
}

/** A book whose laws broke allows nothing any more, and says so at the next call: what has run is not changed by it. */
function attempt(step: () => unknown): void {
  try {
    step();
  } catch {
    // See above.
  }
}
