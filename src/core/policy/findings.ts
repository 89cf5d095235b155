import type { Digest } from "../digest.ts";
import type { MicroUsd } from "../money.ts";

/** Which policy a decision was made under. Of several merged documents the names are joined by `+` and the version is the most specific one's. */
export interface PolicyRef {
  readonly name: string;
  readonly version: number;
  readonly digest: Digest;
}

/** A limit on money that an action is counted against. `pattern` of an action's budget may be a glob: one account shared by all it names. */
export type BudgetLimit =
  | { readonly scope: "action"; readonly pattern: string; readonly limitMicroUsd: MicroUsd }
  | { readonly scope: "run" | "session"; readonly limitMicroUsd: MicroUsd };

/** At most `max` allowed calls of the actions that `pattern` names within any `windowMs`. */
export interface RateLimit {
  readonly pattern: string;
  readonly max: number;
  readonly windowMs: number;
}

/** At most `max` reservations pending at once of the actions that `pattern` names. */
export interface ConcurrencyLimit {
  readonly pattern: string;
  readonly max: number;
}

/**
 * What a policy says about one request before any state is looked at. Plain data, small, so that it crosses object RPC.
 * The lists hold only what applies to the request's action, in the order in which it is checked.
 */
export interface Findings {
  readonly policy: PolicyRef;
  /** `false`: the policy only observes; what it would have refused stands in the decision's warnings. */
  readonly strict: boolean;
  /** The entry of `denied_actions` that names the action. */
  readonly deniedBy: string | null;
  /** Whether `allowed_actions` is absent or names the action. */
  readonly listed: boolean;
  readonly concurrency: readonly ConcurrencyLimit[];
  readonly rates: readonly RateLimit[];
  /** From the narrowest scope to the widest. */
  readonly budgets: readonly BudgetLimit[];
  /** Why a person must answer first, or `null`. `rule` is a pointer into the policy such as `/approvals/threshold_usd`. */
  readonly hold: { readonly rule: string; readonly timeoutMs: number } | null;
  /** What becomes of a reservation that nobody settles. */
  readonly onExpiry: "post" | "release";
  /** The policy's `compliance` section, copied into the record. */
  readonly compliance: { readonly [key: string]: string } | null;
}

/** What the policy in force says of a request, or why it says nothing. */
export type Evaluation =
  | { readonly kind: "findings"; readonly findings: Findings }
  /** The policy in force cannot be read by this gateway. */
  | { readonly kind: "invalid"; readonly policy: PolicyRef };
