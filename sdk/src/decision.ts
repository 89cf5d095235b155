import { LOST_PACE_MS, PACE_MS, WAIT_MS } from "./bounds.ts";
import { errorFor } from "./errors.ts";
import type { CallOptions, DecisionAnswer, DecisionNow } from "./surface.ts";
import { type Ambience, pause, repeatAfter } from "./transport.ts";

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
   * How it stands once nobody is waited for any more, or `timeoutMs` is over: its `approval.status` is then not `pending`, or it still is, also where a
   * kill ended the waiting (`superseded`). At once unless its verdict is `hold`. What was approved is used by asking again, with `approval`.
   */
  wait(options?: WaitOptions): Promise<DecisionNow>;
}

/** Reads a decision; the gateway holds the answer back for `waitMs` while a person is waited for. */
export type Look = (call: CallOptions, waitMs: number) => Promise<DecisionNow>;

/**
 * Looks until somebody has answered, or `timeoutMs` is over. A look that brings no answer, because the gateway is out of reach or has no room for it, is
 * repeated until `expiresAt`; without that it is for the caller to do.
 */
export async function answered(
  look: Look,
  ambience: Ambience,
  { signal, timeoutMs = Infinity }: WaitOptions = {},
  expiresAt = "",
): Promise<DecisionNow> {
  const end = ambience.now() + timeoutMs;
  for (;;) {
    const left = (most: number): number => Math.max(0, Math.min(most, end - ambience.now()));
    let pauseMs = PACE_MS;
    try {
      const found = await look({ signal }, Math.round(left(WAIT_MS)));
      if (found.state !== "held" || found.superseded?.kind === "kill" || (found.approval?.status ?? "pending") !== "pending" || !left(1))
        return found;
    } catch (error) {
      pauseMs = Math.max(repeatAfter(error) ?? Infinity, LOST_PACE_MS);
      // A signal's reason may be any error, one of ours included; and nothing is before no date.
      if (signal?.aborted || !(ambience.now() + pauseMs < Math.min(end, Date.parse(expiresAt)))) throw error;
    }
    await pause(ambience, left(pauseMs), signal);
  }
}

/** Throws the typed error for it unless the action may run. */
export function assertAllowed(answer: DecisionAnswer): void {
  const error = errorFor(answer);
  if (error) throw error;
}

export const decisionOf = (answer: DecisionAnswer, ambience: Ambience, look: Look): Decision => ({
  ...answer,
  assertAllowed: () => assertAllowed(answer),
  wait: (options) => answered(look, ambience, options, answer.approval?.expiresAt),
});
