import type { BudgetWindow } from "../calendar.ts";
import type { Digest } from "../digest.ts";
import type { JsonValue } from "../json.ts";
import type { MicroUsd } from "../money.ts";
import type { LeaseReasonCode } from "../reasons.ts";
import type { Redaction } from "../redact.ts";
import type { Instant } from "../time.ts";

/** Which policy a decision was made under. Of several merged documents the name is all of theirs (`nameOfLayers`) and the version is the last one's. */
export interface PolicyRef {
  readonly name: string;
  readonly version: number;
  readonly digest: Digest;
}

/** A limit on money that an action is counted against. `pattern` of an action's budget may be a glob: one account shared by all it names. */
export type BudgetLimit =
  | { readonly scope: "action"; readonly pattern: string; readonly limitMicroUsd: MicroUsd }
  | { readonly scope: "run" | "session"; readonly limitMicroUsd: MicroUsd }
  | SharedLimit;

/** A limit on what all sessions of an agent, or of a tenant, spend together in a window of UTC; `total`: in all. */
export interface SharedLimit {
  readonly scope: "agent" | "tenant";
  readonly window: BudgetWindow;
  readonly limitMicroUsd: MicroUsd;
}

/** The limit on the reserve from which a few actions are still paid once a budget is gone: an account of its own, and in no other. */
export interface ReserveLimit {
  readonly scope: "wind_down";
  readonly limitMicroUsd: MicroUsd;
}

export type Limit = BudgetLimit | ReserveLimit;

/**
 * At most `max` allowed calls of the actions that `pattern` names within any `windowMs`, counted over the session, over each of its runs, or over all
 * sessions of the agent or of the tenant.
 */
export interface RateLimit {
  readonly pattern: string;
  readonly max: number;
  readonly windowMs: number;
  readonly per: "session" | "run" | "agent" | "tenant";
}

/** At most `max` reservations pending at once of the actions that `pattern` names. */
export interface ConcurrencyLimit {
  readonly pattern: string;
  readonly max: number;
}

/** Whether a rule's no counts (`enforce`), or is only written down: as a warning, and with `warn` as advice to the agent too. */
export type Mode = "enforce" | "warn" | "observe";

/** How far a rule's no reaches. */
export type Reach = "action" | "run" | "session";

/** A way through a JSON value by the names of members. The empty path is the whole value. */
export type Path = readonly string[];

/**
 * What a condition came to without any history: it holds; it could not be evaluated; it needs the inputs and only their digest was sent; or it must
 * be asked where the history is, as `ask` says.
 */
export type Said = "holds" | "failed" | "inputs_missing" | { readonly ask: string };

/** A rule that forbids or holds and whose condition is not plainly false, in the document's order. */
export interface RuleFinding {
  /** The rule's id, or a pointer to it where it has none. */
  readonly rule: string;
  readonly effect: "forbid" | "hold";
  /** From the `history` section: its reason is `history_forbids`, later in the order of precedence. */
  readonly history: boolean;
  readonly mode: Mode;
  readonly stops: Reach;
  readonly said: Said;
}

/** Permit rules of which one must hold and none was found to: `asks` are those that only history can answer. */
export interface PermitFinding {
  /** The first of the rules. */
  readonly rule: string;
  readonly mode: Mode;
  readonly inputsMissing: boolean;
  readonly asks: readonly string[];
}

/**
 * Earlier actions that must stand in the session's record before this one. For every pattern of `after` the newest call that is alike and recent
 * enough counts, and it alone must meet `where`: what an older call said may no longer be so.
 */
export interface Requirement {
  /** A pointer into the policy. */
  readonly rule: string;
  readonly after: readonly string[];
  /** `null`: as far back as the session goes. */
  readonly withinMs: number | null;
  /** Places that must be alike in both requests, such as `["inputs", "order_id"]`. */
  readonly same: readonly Path[];
  /** A condition on the earlier decision, in CEL over `prior` and the request. */
  readonly where: string | null;
  /** Whether `where` speaks of the outcome. If not, what failed or was released does not fit. */
  readonly looksAtOutcome: boolean;
  readonly inputsMissing: boolean;
}

/** The call that makes it `threshold` calls of this action with the same inputs within `windowMs` is refused. */
export interface LoopLimit {
  readonly threshold: number;
  readonly windowMs: number;
  /** Digest of the inputs without what is ignored; `null`: something is ignored, and of the inputs only a digest was sent. */
  readonly key: string | null;
}

/** After `threshold` failures of this action within `windowMs` it is refused until the window has moved on. */
export interface RetryLimit {
  readonly threshold: number;
  readonly windowMs: number;
}

/** What must be kept of this action for rules that may look back at it, by paths such as `["inputs", "order_id"]`; and for how long (`null`: as long as the session). */
export interface Keep {
  readonly paths: readonly Path[];
  readonly forMs: number | null;
}

/** What conditions are about. Plain data: it crosses object RPC where a condition needs the history. */
export interface Scene {
  readonly subject: { readonly [attribute: string]: JsonValue };
  readonly action: string;
  readonly resource: { readonly [attribute: string]: JsonValue };
  /** `undefined`: none were sent, which a condition sees as an empty mapping. */
  readonly inputs?: JsonValue | undefined;
  readonly tags: readonly string[];
  readonly estimateMicroUsd: MicroUsd;
  readonly context: { readonly [member: string]: JsonValue };
  readonly now: Instant;
}

/** An earlier decision as a condition sees it. */
export interface Prior {
  readonly action: string;
  /** What was kept of it. Whether it is all that a condition looks at is for `knows` to say: what is not here may not have been kept. */
  readonly inputs: JsonValue;
  readonly outputs: JsonValue;
  /** Whether what stands at a path such as `["outputs", "cabin"]` is known, be it nothing. */
  knows(path: Path): boolean;
  readonly outcome: "pending" | "success" | "error" | "released" | "expired";
  readonly ageMs: number;
}

/** The session's past, for the history functions. Each answers `null` where it cannot be known: a value was not kept, or is not a number. */
export interface Past {
  /** How many calls of the actions that `pattern` names were allowed within the last `windowMs`. */
  count(pattern: string, windowMs: number): number;
  /** How many different values stand at `path`; calls that have nothing there count for nothing. */
  distinct(pattern: string, path: Path, windowMs: number): number | null;
  /** The sum of the numbers at `path`, or of what the calls cost, in USD, where the path is `["cost_usd"]`. */
  sum(pattern: string, path: Path, windowMs: number): number | null;
  /**
   * The newest call that did not fail, among those that have `here` at the path `alike` where one is named; `null` where there is none.
   */
  last(pattern: string, alike: Path | null, here: JsonValue | undefined): Prior | null;
}

/** Answers conditions where the history is. A text that passed compilation elsewhere compiles here too. Never throws; `null`: it could not be evaluated. */
export interface Conditions {
  rule(text: string, scene: Scene, past: Past, budget: WorkBudget): boolean | null;
  where(text: string, scene: Scene, prior: Prior, budget: WorkBudget): boolean | null;
}

/** What all conditions of one call may still spend together, in steps. What comes when it is spent cannot be evaluated, if it needs any. */
export interface WorkBudget {
  steps: number;
}

/** Some tens of milliseconds: what one call can make everybody else on the machine wait for. */
export const workBudget = (): WorkBudget => ({ steps: MOST_STEPS_OF_A_CALL });
export const MOST_STEPS_OF_A_CALL = 5_000_000;

/** Who must approve what is held. */
export interface Chain {
  /** How many different people. */
  readonly needed: number;
  /** Each of these must be among them: by who they are, or by a scope of their token. None: whoever may approve at all. */
  readonly groups: readonly { readonly subjects: readonly string[]; readonly scopes: readonly string[] }[];
  /** The agent's owner must not be. */
  readonly fourEyes: boolean;
}

/** What an estimate rests on when a request names a model. */
export interface Price {
  /** Whether the price data knows the model. */
  readonly known: boolean;
  /**
   * `stated` by the caller; `computed` from the usage it expects; the policy's `default`; `unpriced`: a usage was stated and nobody knows its price;
   * `none`: neither an estimate nor a usage was stated.
   */
  readonly basis: "stated" | "computed" | "default" | "unpriced" | "none";
  /** The version of the price data. */
  readonly data: string;
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
  readonly permits: readonly PermitFinding[];
  readonly rules: readonly RuleFinding[];
  /** Why the inputs do not fit the action's schemas, or `null`. */
  readonly argumentsFault: { readonly rule: string; readonly message: string } | null;
  /** Whether there is a schema and only a digest of the inputs was sent. */
  readonly argumentsUnseen: boolean;
  readonly requirements: readonly Requirement[];
  readonly loops: readonly LoopLimit[];
  readonly retries: readonly RetryLimit[];
  readonly concurrency: readonly ConcurrencyLimit[];
  readonly rates: readonly RateLimit[];
  /** What is asked for: the caller's estimate, or the policy's where the price is not known. */
  readonly estimateMicroUsd: MicroUsd;
  readonly price: Price | null;
  readonly priceUnknown: boolean;
  /** From the narrowest scope to the widest. */
  readonly budgets: readonly BudgetLimit[];
  /** Where this action may still be paid from when a budget is gone. */
  readonly windDown: ReserveLimit | null;
  /** Parts of a limit at which it is said, once, that they were reached; ascending, above 0 and at most 1. */
  readonly alerts: readonly number[];
  /** Why a person must answer first, or `null`. `rule` is a pointer into the policy such as `/approvals/threshold_usd`. */
  readonly hold: { readonly rule: string } | null;
  /** How long an approval is waited for, whatever asks for it. */
  readonly holdTimeoutMs: number;
  readonly chain: Chain;
  readonly keep: Keep | null;
  /** Paths into the inputs that rules need again should more money be asked for later; `null` when no rule looks at the estimate. */
  readonly topupPaths: readonly Path[] | null;
  /** What conditions that are still to be asked are about; `null` when none is. */
  readonly scene: Omit<Scene, "inputs"> | null;
  readonly redaction: Redaction | null;
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

/** What is wished for: so much money for so many actions, named by globs. */
export interface LeaseWish {
  readonly actions: readonly string[];
  readonly amountMicroUsd: MicroUsd;
}

/** What a policy says of a client lease before any state is looked at. Plain data, which crosses object RPC. */
export interface LeaseFindings {
  readonly policy: PolicyRef;
  /** `false`: the policy only observes. */
  readonly strict: boolean;
  readonly no: LeaseNo | null;
  /** Every limit that anything of the lease may be counted against, from the narrowest to the widest. */
  readonly budgets: readonly BudgetLimit[];
  readonly alerts: readonly number[];
  readonly redaction: Redaction | null;
  readonly onExpiry: "post" | "release";
  readonly compliance: { readonly [key: string]: string } | null;
}

/** Why a policy lets nobody decide these actions by a lease, and where it says so. */
export interface LeaseNo {
  readonly code: Extract<LeaseReasonCode, "action_denied" | "action_not_allowed" | "rule_forbids" | "not_leasable">;
  readonly message: string;
  readonly rule: string;
}
