import type { AgentSentinelError } from "./errors.ts";
import type { CommitReport, DecisionAnswer, LeaseSettlement } from "./surface.ts";

/** Told what happens beside the calls. An observer that throws is ignored: it may not change what an action does. */
export interface Observers {
  /** Every answer to `decide`, `decideAll`, `topup` and a guard. */
  readonly onDecision?: ((decision: DecisionAnswer) => void) | undefined;
  /** An action ran and its commit did not come through. Its reservation is posted at the estimate when it expires. */
  readonly onCommitFailed?: ((event: CommitFailed) => void) | undefined;
  /** The live stream (`@agentsentinel/sdk/live`) stands, was cut, or has ended for good, as when the token is refused. */
  readonly onStream?: ((stream: StreamState) => void) | undefined;
  /** A client lease (`@agentsentinel/sdk/leases`) has told the gateway what was decided with it, or could not yet. */
  readonly onLease?: ((news: LeaseNews) => void) | undefined;
  /** An action runs without a decision, because the gateway is unreachable and its guard says `onUnavailable: "allow"`. */
  readonly onUnguarded?: ((event: Unguarded) => void) | undefined;
}

/** What became of what a lease had to tell. `waiting`: the gateway could not be told; it is kept, and told again. */
export type LeaseNews = { readonly lease: string; readonly session: string } & (
  | { readonly state: "settled"; readonly settlement: LeaseSettlement }
  | { readonly state: "waiting"; readonly entries: number; readonly error: unknown }
);

/** How a live stream stands. `cut`: it will be back, where it was; `ended`: it will not. */
export type StreamState = { readonly state: "live" } | { readonly state: "cut" | "ended"; readonly error: AgentSentinelError };

export interface CommitFailed {
  readonly session: string;
  readonly decisionId: string;
  readonly action: string;
  /** What was to be said. `null`: the guard's own options gave no cost that could be said. */
  readonly report: CommitReport | null;
  readonly error: unknown;
}

export interface Unguarded {
  readonly session: string;
  /** The id under which it was asked for; the gateway may have recorded it although no answer came. */
  readonly decisionId: string;
  readonly action: string;
  readonly error: AgentSentinelError;
}

/** Tells an observer, whatever it does: it may not change what an action does, and its rejection is its own affair. */
export const observe = <Event>(observer: ((event: Event) => void) | undefined, event: Event): void => void attempt(() => observer?.(event));

/** What this gives, begun at once; `undefined` where it throws or rejects, which is told. */
export async function attempt<T>(make: () => T, tell?: (error: unknown) => void): Promise<Awaited<T> | undefined> {
  try {
    return await make();
  } catch (error) {
    tell?.(error);
    return undefined;
  }
}
