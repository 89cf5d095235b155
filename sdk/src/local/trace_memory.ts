import type { Effect } from "../../../src/core/book.ts";
import { matchesGlob } from "../../../src/core/glob.ts";
import type { DecisionId } from "../../../src/core/ids.ts";
import type { Instant } from "../../../src/core/time.ts";
import { type Trace, type TraceChange, type TrailSource, withOutputs } from "../../../src/core/trail.ts";
import { Generations } from "./generations.ts";

/** So many of the newest calls are remembered, at least, where the policy in force looks at none: one that comes later can look back at these. */
const LEAST_UNASKED = 5_000;

/** What a session's store keeps for rules that look back, in memory. While the policy looks back nothing is forgotten that it could ask for. */
export class TraceMemory implements TrailSource {
  readonly #traces = new Generations<DecisionId, Trace>(LEAST_UNASKED);

  /** Takes up what happened to calls. `looksBack`: whether a rule in force may ask for any of them. */
  keep(effect: Effect, looksBack: boolean): void {
    if (effect.kind === "decided" && effect.decided.trace !== null) {
      this.#traces.set(effect.decided.trace.id, effect.decided.trace, looksBack);
    } else if (effect.kind === "changed") this.#change(effect.id, { amountMicroUsd: effect.reservation.amountMicroUsd });
    else if (effect.kind === "settled") this.#change(effect.settled.id, effect.settled.became);
  }

  calls(pattern: string, since: Instant): readonly Trace[] {
    return [...this.#traces.values()].filter(({ action, at }) => at > since && matchesGlob(pattern, action));
  }

  failures(action: string, since: Instant): readonly Instant[] {
    return [...this.#traces.values()]
      .flatMap((trace) => (trace.action === action && trace.outcome === "error" && trace.endedAt !== null ? [trace.endedAt] : []))
      .filter((endedAt) => endedAt > since)
      .sort((a, b) => a - b);
  }

  #change(id: DecisionId, { outputs, losesOutputs, ...became }: TraceChange): void {
    const known = this.#traces.get(id);
    if (known === undefined) return;
    this.#traces.set(id, { ...known, ...became, kept: known.kept === null ? null : withOutputs(known.kept, { outputs, losesOutputs }) });
  }
}
