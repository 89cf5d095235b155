import { PACE_MS, WAIT_MS } from "./bounds.ts";
import { errorFor } from "./errors.ts";
import type { CallOptions, DecisionAnswer, DecisionNow } from "./surface.ts";
import { type Ambience, pause } from "./transport.ts";

/** How long to wait, and what ends it early. */
export interface WaitOptions extends CallOptions {
  /**
   * Once it is over the answer is the decision as it then stands; only a reply that was lost on its way is asked for again first. Default: as long as
   * it takes.
   */
  readonly timeoutMs?: number | undefined;
}

/** A decision as `session.decide` gives it: the answer, and what can be done with it. */
export interface Decision extends DecisionAnswer {
  /** Throws the typed error for it unless the action may run. */
  assertAllowed(): void;
  /**
   * How it stands once nobody is waited for any more, or `timeoutMs` is over: its `approval.status` is then not `pending`, or it still is. At once
   * unless its verdict is `hold`. What was approved is used by asking again, with `approval`.
   */
  wait(options?: WaitOptions): Promise<DecisionNow>;
}

/** Reads a decision; the gateway holds the answer back for `waitMs` while a person is waited for. */
export type Look = (call: CallOptions, waitMs: number) => Promise<DecisionNow>;

/** Looks until somebody has answered, or `timeoutMs` is over. */
export async function answered(look: Look, ambience: Ambience, { signal, timeoutMs = Infinity }: WaitOptions = {}): Promise<DecisionNow> {
  const end = ambience.now() + timeoutMs;
  for (;;) {
    const left = (most: number): number => Math.max(0, Math.min(most, end - ambience.now()));
    const found = await look({ signal }, Math.round(left(WAIT_MS)));
    const pauseMs = left(PACE_MS);
    if (found.state !== "held" || (found.approval?.status ?? "pending") !== "pending" || !pauseMs) return found;
    await pause(ambience, pauseMs, signal);
  }
}

export const decisionOf = (answer: DecisionAnswer, ambience: Ambience, look: Look): Decision => ({
  ...answer,
  assertAllowed() {
    const error = errorFor(answer);
    if (error) throw error;
  },
  wait: (options) => answered(look, ambience, options),
});
