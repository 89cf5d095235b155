import type { BudgetWindow } from "./calendar.ts";
import type { ApprovalId, DecisionId, EntryId, RunId, SessionId } from "./ids.ts";
import type { JsonValue } from "./json.ts";
import type { MicroUsd } from "./money.ts";
import type { PolicyRef, RateLimit } from "./policy/findings.ts";
import type { LeaseReasonCode, ReasonCode } from "./reasons.ts";
import type { Instant } from "./time.ts";

export type Verdict = "allow" | "deny" | "hold";

/** How far a no reaches: this action only, the whole run, or the whole session. */
export type Stops = "action" | "run" | "session";

/** An account and its limit as a decision shows them, after what it did. */
export interface Balance {
  /** `wind_down`: the reserve from which a few actions are still paid once a budget is gone. */
  readonly scope: "action" | "run" | "session" | "wind_down" | "agent" | "tenant";
  /** The budget's pattern, the run's id, the session's id, `wind_down`, the agent, or the tenant's id. */
  readonly name: string;
  /** Of an account that sessions share: in which window it counts, and when that ends (`null`: never). */
  readonly window?: { readonly name: BudgetWindow; readonly startsAt: Instant; readonly resetsAt: Instant | null } | undefined;
  readonly limitMicroUsd: MicroUsd | null;
  /** All that was reported, overruns included. */
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
  /** Handed out: in client leases, or, of a shared account, to other sessions that have not spent it. */
  readonly leasedMicroUsd: MicroUsd;
  /** Of a shared account: what this session may still spend without asking its tenant. */
  readonly sliceMicroUsd?: MicroUsd | undefined;
}

/** A rate limit as a decision shows it, after what it did. */
export interface RateState {
  readonly name: string;
  /** Whose calls are counted. */
  readonly per: RateLimit["per"];
  readonly limit: number;
  readonly remaining: number;
  readonly windowMs: number;
  /** Until the oldest counted call leaves the window; 0 when none is counted. */
  readonly resetMs: number;
}

export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
  /** A pointer into the policy, or `null`. */
  readonly rule: string | null;
  /** When the same request can be tried again, where waiting helps. */
  readonly retryAfterMs: number | null;
  /** What the caller can do about it, in words that a model can follow. */
  readonly hint: string | null;
}

/** Why a client lease is not granted. */
export interface LeaseReason extends Omit<Reason, "code"> {
  readonly code: LeaseReasonCode;
}

/** What an agent may want to know, and may pass over. */
export interface Advice {
  readonly code: "rule_warns" | "budget_threshold" | "wind_down";
  readonly message: string;
  readonly details: { readonly [member: string]: JsonValue };
}

export interface Reservation {
  readonly amountMicroUsd: MicroUsd;
  readonly expiresAt: Instant;
}

/** The answer to a request, as recorded. The same id always gives this same answer. */
export interface Decision {
  readonly id: DecisionId;
  readonly session: SessionId;
  readonly run: RunId;
  readonly action: string;
  readonly verdict: Verdict;
  readonly stops: Stops | null;
  readonly reason: Reason;
  readonly reservation: Reservation | null;
  readonly budgets: readonly Balance[];
  readonly rates: readonly RateState[];
  readonly policy: PolicyRef | null;
  /** What a policy or a rule that only observes would have refused it for. */
  readonly warnings: readonly Reason[];
  readonly advice: readonly Advice[];
  readonly approval: { readonly id: ApprovalId; readonly expiresAt: Instant } | null;
  readonly entry: EntryMark;
}

/** Where a record stands: enough to find and to check it. */
export interface EntryMark {
  readonly id: EntryId;
  readonly seq: number;
  readonly hash: string;
}

/** Where a decision is in its life. */
export type DecisionState = "pending" | "posted" | "released" | "expired" | "denied" | "held";

/** The answer to a commit, a release, an extension: where the decision's money is now. */
export interface Settlement {
  readonly id: DecisionId;
  readonly state: DecisionState;
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  readonly late: boolean;
  readonly reservation: Reservation | null;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}
