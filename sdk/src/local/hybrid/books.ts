import type { Decision } from "../../../../src/core/decision.ts";
import type { MicroUsd } from "../../../../src/core/money.ts";
import type { Authority } from "../authority.ts";
import type { Synced } from "./policy_sync.ts";

/**
 * One call on the books of this process: what the floor and the gateway's policy said of it, and what each keeps reserved for it. Its first end is its
 * end. None of this is ever the last word where the gateway can be asked, so nothing here throws.
 */
export class Books {
  readonly floor: Decision;
  /** `null`: the gateway's policy is not known. */
  policy: Decision | null = null;
  /** What was known of the gateway's policy when it said that. */
  under: Synced | null = null;
  readonly #authority: { readonly floor: Authority; readonly mirror: Authority };
  readonly #startedAt: number;
  readonly #now: () => number;
  #isOver = false;

  constructor(desk: Authority, floor: Decision, mirror: Authority, now: () => number) {
    this.floor = floor;
    this.#authority = { floor: desk, mirror };
    this.#now = now;
    this.#startedAt = now();
  }

  /** What the gateway's policy says, in the place of what another one said: what that kept is given back first. */
  judge(under: Synced | null, decide: () => Decision | null): void {
    this.#release(this.#authority.mirror, this.policy);
    this.under = under;
    this.policy = decide();
  }

  /** What the call cost, under both. */
  settle(outcome: "success" | "error", costMicroUsd: MicroUsd): void {
    if (!this.#isOver) this.#settle(this.#authority.floor, this.floor, outcome, costMicroUsd);
    this.settleMirror(costMicroUsd, outcome);
  }

  /** The same under the gateway's policy alone: the floor hears it from the call itself. */
  settleMirror(costMicroUsd: MicroUsd, outcome: "success" | "error" = "success"): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { mirror } = this.#authority;
    const { run, action } = this.floor;
    if (this.policy?.verdict === "allow") this.#settle(mirror, this.policy, outcome, costMicroUsd);
    // The gateway allowed what could not be allowed here: it is spent all the same.
    else attempt(() => mirror.spent(run, action, costMicroUsd));
  }

  /** It does not run. `keepsFloor`: yet it may be asked again under its id, and what the floor keeps for it stands until then. */
  giveBack(keepsFloor = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!keepsFloor) this.#release(this.#authority.floor, this.floor);
    this.#release(this.#authority.mirror, this.policy);
  }

  #release(authority: Authority, decision: Decision | null): void {
    if (decision?.verdict === "allow") attempt(() => authority.release(decision.id, "not run"));
  }

  #settle(authority: Authority, { id }: Decision, outcome: "success" | "error", costMicroUsd: MicroUsd): void {
    const durationMs = Math.max(0, Math.round(this.#now() - this.#startedAt));
    attempt(() => authority.commit(id, { costMicroUsd, outcome, durationMs, outputs: undefined, error: null, usage: null }, ""));
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
