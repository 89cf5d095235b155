import { matchesGlob } from "../../../src/core/glob.ts";
import type { Instant } from "../../../src/core/time.ts";
import type { Trace, TrailSource } from "../../../src/core/trail.ts";

/** So many of the newest calls are remembered, at least, where the policy in force looks at none: one that comes later can look back at these. */
const LEAST_UNASKED = 5_000;

/** A call for rules that look back, as it stands now. */
export interface Remembered {
  trace: Trace;
}

/** What a session's store keeps for rules that look back, in memory. While the policy looks back nothing is forgotten that it could ask for. */
export class TraceMemory implements TrailSource {
  /** In the order in which they were allowed. What is old goes all at once. */
  #young: Remembered[] = [];
  #old: Remembered[] = [];

  /** Takes up a call. `looksBack`: whether a rule in force may ask for any of them. */
  add(trace: Trace, looksBack: boolean): Remembered {
    if (!looksBack && this.#young.length >= LEAST_UNASKED) {
      this.#old = this.#young;
      this.#young = [];
    }
    const remembered: Remembered = { trace };
    this.#young.push(remembered);
    return remembered;
  }

  calls(pattern: string, since: Instant): readonly Trace[] {
    return this.#traces().filter(({ action, at }) => at > since && matchesGlob(pattern, action));
  }

  failures(action: string, since: Instant): readonly Instant[] {
    return this.#traces()
      .flatMap((trace) => (trace.action === action && trace.outcome === "error" && trace.endedAt !== null ? [trace.endedAt] : []))
      .filter((endedAt) => endedAt > since)
      .sort((a, b) => a - b);
  }

  #traces(): readonly Trace[] {
    return [...this.#old, ...this.#young].map(({ trace }) => trace);
  }
}
