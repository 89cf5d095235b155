/**
 * The wire contract: what crosses HTTP between a client and the gateway, name by name.
 * The gateway's own schemas are checked against these types when it is compiled, so the two cannot drift apart.
 * Money is a decimal string of USD with at most six decimals (`"0.05"`); requests may also use numbers. Times are RFC 3339, UTC, with milliseconds.
 */

/** Money in a request. */
export type UsdInput = string | number;
/** A value that JSON can carry. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export type Verdict = "allow" | "deny" | "hold";
/** How far a no reaches: this action only, the whole run, or the whole session. */
export type Stops = "action" | "run" | "session";
export type RiskLevel = "low" | "medium" | "high" | "critical";
export type DecisionState = "pending" | "posted" | "released" | "expired" | "denied" | "held";
export type SessionState = "active" | "paused" | "killed" | "closed" | "expired";
/** `wind_down`: the reserve from which a few actions are still paid once a budget is gone. */
export type BudgetScope = "action" | "run" | "session" | "wind_down" | "agent" | "tenant";
/** A window of an account that sessions share, in UTC; `total`: all time. */
export type BudgetWindow = "hour" | "day" | "month" | "total";
export type TokenKind = "agent" | "human" | "service";
export type Scope =
  | "sessions:write"
  | "decisions:write"
  | "ledger:read"
  | "ledger:write"
  | "policies:read"
  | "policies:write"
  | "approvals:read"
  | "approvals:write"
  | "interventions:write"
  | "events:read"
  | "tokens:write"
  | "webhooks:write";

/** Why a decision came out as it did, in order of precedence. */
export type ReasonCode =
  | "session_closed"
  | "run_closed"
  | "tenant_killed"
  | "agent_killed"
  | "session_killed"
  | "run_killed"
  | "action_killed"
  | "tenant_paused"
  | "agent_paused"
  | "session_paused"
  | "run_paused"
  | "action_paused"
  | "authority_stale"
  | "policy_missing"
  | "policy_invalid"
  | "action_denied"
  | "action_not_allowed"
  | "rule_forbids"
  | "inputs_required"
  | "arguments_invalid"
  | "prerequisite_missing"
  | "history_forbids"
  | "loop_detected"
  | "retries_exceeded"
  | "concurrency_exceeded"
  | "rate_exceeded"
  | "price_unknown"
  | "action_budget_exceeded"
  | "run_budget_exceeded"
  | "session_budget_exceeded"
  | "agent_budget_exceeded"
  | "tenant_budget_exceeded"
  | "approval_rejected"
  | "approval_expired"
  | "approval_mismatch"
  | "approval_consumed"
  | "batch_refused"
  | "approval_required"
  | "permitted";

export interface PolicyRef {
  readonly name: string;
  readonly version: number;
  readonly digest: string;
}

export interface Page<T> {
  readonly items: readonly T[];
  readonly next_cursor: string | null;
}

/** RFC 9457 problem: the gateway did not answer the question. Never a verdict. */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly request_id: string;
  readonly issues?: readonly ProblemIssue[];
  /** Of `lease_refused` and `decision_stopped`: why, as a decision says it. */
  readonly reason?: LeaseReason;
}

export interface ProblemIssue {
  readonly pointer: string;
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
}

// Sessions and runs

export interface OpenSessionRequest {
  readonly agent?: string | undefined;
  readonly labels?: { readonly [key: string]: string } | undefined;
  /** Can only tighten the policy: the smaller counts. */
  readonly budget_usd?: UsdInput | undefined;
  readonly ttl_ms?: number | undefined;
}

export interface OpenedSession {
  readonly id: string;
  readonly agent: string;
  readonly run: string;
  readonly policy: PolicyRef | null;
  readonly expires_at: string;
}

export interface SessionSummary {
  readonly id: string;
  readonly agent: string;
  readonly labels: { readonly [key: string]: string };
  readonly state: SessionState;
  readonly opened_at: string;
  readonly expires_at: string;
}

export interface SessionBudget {
  readonly scope: BudgetScope;
  readonly name: string;
  /** Of an agent's or a tenant's budget. */
  readonly window?: BudgetWindow;
  readonly limit_usd: string | null;
  readonly posted_usd: string;
  readonly pending_usd: string;
  readonly leased_usd: string;
  readonly remaining_usd: string | null;
  readonly resets_at?: string;
}

export interface SessionDetail extends SessionSummary {
  readonly run: string;
  readonly policy: PolicyRef | null;
  readonly budgets: readonly SessionBudget[];
  readonly totals: {
    readonly posted_usd: string;
    readonly pending_usd: string;
    readonly prevented_usd: string;
    readonly overrun_usd: string;
    readonly decisions: { readonly allow: number; readonly deny: number; readonly hold: number };
  };
}

export interface OpenedRun {
  readonly id: string;
}

// Decisions

export interface ExpectedUsage {
  readonly input_tokens?: number | undefined;
  readonly output_tokens?: number | undefined;
  readonly cache_read_tokens?: number | undefined;
  readonly cache_write_tokens?: number | undefined;
}

export interface DecisionRequest {
  readonly id?: string | undefined;
  readonly run?: string | undefined;
  readonly action: string;
  readonly resource?: { readonly type: string; readonly id: string } | undefined;
  readonly estimate_usd?: UsdInput | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly risk_level?: RiskLevel | undefined;
  readonly inputs?: Json | undefined;
  /** `sha-256:<hex>` of the RFC 8785 form of the inputs, instead of the inputs. */
  readonly inputs_digest?: string | undefined;
  readonly rationale?: string | undefined;
  readonly confidence?: number | undefined;
  readonly sources?: readonly { readonly source: string; readonly version?: string | undefined }[] | undefined;
  readonly parents?: readonly string[] | undefined;
  readonly model?: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | undefined;
  /** What a call to the model is expected to use at most: priced where no estimate is stated. */
  readonly usage?: ExpectedUsage | undefined;
  readonly approval?: string | undefined;
  readonly ttl_ms?: number | undefined;
}

export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
  readonly rule: string | null;
  readonly remediation: { readonly retry_after_ms: number | null; readonly hint: string | null };
}

export interface Reservation {
  readonly amount_usd: string;
  readonly expires_at: string;
}

export interface Balance {
  readonly scope: BudgetScope;
  readonly name: string;
  /** Of an agent's or a tenant's budget. */
  readonly window?: BudgetWindow;
  readonly limit_usd: string | null;
  readonly posted_usd: string;
  readonly pending_usd: string;
  /** What client leases hold of it, where they do. Of an agent's or a tenant's budget: what other sessions hold of it and have not spent. */
  readonly leased_usd?: string;
  readonly remaining_usd: string | null;
  readonly resets_at?: string;
}

export interface Rate {
  readonly name: string;
  readonly limit: number;
  readonly remaining: number;
  readonly reset_ms: number;
}

/** Where the record of it stands. */
export interface EntryMark {
  readonly id: string;
  readonly seq: number;
  readonly hash: string;
}

export interface Decision {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly action: string;
  readonly verdict: Verdict;
  /** `true` exactly when the verdict is `allow`. */
  readonly decision: boolean;
  readonly stops: Stops | null;
  readonly reason: Reason;
  readonly reservation: Reservation | null;
  readonly budgets: readonly Balance[];
  readonly rates: readonly Rate[];
  readonly policy: PolicyRef | null;
  readonly obligations: readonly Json[];
  readonly advice: readonly Json[];
  /** What a policy that only observes would have refused it for. */
  readonly warnings: readonly Reason[];
  /** Of a hold the approval that it waits for; `status` where a decision is read later. */
  readonly approval: { readonly id: string; readonly url: string; readonly expires_at: string; readonly status?: ApprovalStatus } | null;
  /** The answer is an earlier one, and since then a kill or a pause has come into force: the action must not be run. */
  readonly superseded?: Superseded;
  readonly entry: EntryMark;
}

export type ApprovalStatus = "pending" | "info_requested" | "approved" | "rejected" | "expired" | "cancelled" | "consumed";

/** What a person made of a request. To use it, the agent sends exactly that. */
export interface ApprovalEdits {
  readonly inputs?: Json | undefined;
  readonly resource?: { readonly type: string; readonly id: string } | undefined;
  readonly estimate_usd?: UsdInput | undefined;
}

export interface ApprovalAnswer {
  readonly subject: string;
  readonly decision: "approve" | "reject" | "request_info" | "respond" | "cancel";
  readonly note: string | null;
  readonly at: string;
}

/** Everything that a person needs to decide, and what became of it. */
export interface Approval {
  readonly id: string;
  readonly status: ApprovalStatus;
  readonly decision_id: string;
  readonly session: string;
  readonly run: string;
  readonly agent: string;
  readonly action: string;
  readonly resource: { readonly type: string; readonly id: string } | null;
  /** Redacted; `null`: none were sent, or what the policy keeps nothing of is over. */
  readonly inputs: Json;
  /** Names exactly what is asked for. Whoever answers says it again. */
  readonly action_digest: string;
  readonly estimate_usd: string;
  readonly tags: readonly string[];
  readonly risk_level: RiskLevel | null;
  readonly policy: PolicyRef;
  readonly rule: string | null;
  readonly reason: { readonly code: ReasonCode; readonly message: string };
  readonly rationale: string | null;
  readonly confidence: number | null;
  readonly sources: readonly { readonly source: string; readonly version?: string | undefined }[];
  readonly parents: readonly string[];
  readonly model: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | null;
  /** As they stood when it was asked. */
  readonly budgets: readonly Balance[];
  readonly opened_at: string;
  /** So long it waits for an answer; once it is approved, so long it may be used. */
  readonly expires_at: string;
  readonly on_expiry: string;
  /** Whose token asked. */
  readonly requester: { readonly kind: TokenKind; readonly subject: string };
  readonly quorum: { readonly needed: number; readonly approved: number };
  /** Each of these groups must have approved; none: whoever may approve at all. */
  readonly approvers: readonly { readonly subjects: readonly string[]; readonly scopes: readonly string[]; readonly satisfied: boolean }[];
  /** The agent's owner must not be among those who approve. */
  readonly four_eyes: boolean;
  readonly answers: readonly ApprovalAnswer[];
  readonly edits: ApprovalEdits | null;
  /** Which people it was shown to, and when first. */
  readonly seen: readonly { readonly subject: string; readonly at: string }[];
  /** When it was approved or rejected. */
  readonly answered_at: string | null;
  readonly waited_ms: number | null;
  /** The decision that it allowed. */
  readonly used_by: string | null;
}

export interface ApprovalPage extends Page<Approval> {
  /** How many there are of each status, whatever the page shows. */
  readonly counts: { readonly [status in ApprovalStatus]: number };
}

export interface LinkApprovalRequest {
  /** Who answers by it. */
  readonly subject: string;
  readonly ttl_ms?: number | undefined;
}

/** Opens a page on which one person answers one approval, once. */
export interface ApprovalLink {
  readonly url: string;
  readonly subject: string;
  readonly expires_at: string;
}

export interface ApprovalDecideRequest {
  readonly decision: "approve" | "reject" | "request_info";
  readonly note?: string | undefined;
  /** The one shown. */
  readonly action_digest: string;
  readonly edits?: ApprovalEdits | undefined;
}

export interface ApprovalBatchRequest {
  readonly answers: readonly (Omit<ApprovalDecideRequest, "edits"> & { readonly id: string })[];
}

export interface ApprovalBatch {
  readonly items: readonly (
    | { readonly id: string; readonly approval: Approval }
    | { readonly id: string; readonly problem: { readonly status: number; readonly code: string; readonly detail: string } }
  )[];
}

/** How people answer. */
export interface ApprovalSignals {
  readonly from: string;
  readonly to: string;
  readonly approved: number;
  readonly rejected: number;
  /** Of all answers; `null`: there were none. */
  readonly approve_ratio: number | null;
  /** From asking to the answer. */
  readonly median_seconds: number | null;
  readonly people: readonly {
    readonly subject: string;
    readonly answers: number;
    readonly approve_ratio: number;
    readonly median_seconds: number;
    readonly most_in_an_hour: number;
  }[];
  readonly pending: number;
  readonly oldest_pending_at: string | null;
}

/** What has come into force since a decision was allowed or held. */
export interface Superseded {
  readonly intervention: string;
  readonly kind: "kill" | "pause";
}

/** A decision read later: what was answered, and where its money is now. */
export interface DecisionNow extends Decision {
  readonly state: DecisionState;
  readonly posted_usd: string;
  readonly overrun_usd: string;
}

export type BatchSemantics = "independent" | "all_or_nothing" | "stop_on_deny";

export interface DecisionBatchRequest {
  readonly decisions: readonly DecisionRequest[];
  readonly semantics?: BatchSemantics | undefined;
}

export interface DecisionBatch {
  readonly decisions: readonly Decision[];
}

export interface Usage {
  readonly model?: string | undefined;
  readonly input_tokens?: number | undefined;
  readonly output_tokens?: number | undefined;
  readonly [key: string]: Json | undefined;
}

export interface CommitRequest {
  /** Left out only where the usage is told. */
  readonly cost_usd?: UsdInput | undefined;
  readonly outcome: "success" | "error";
  readonly duration_ms?: number | undefined;
  readonly outputs?: Json | undefined;
  readonly error?: string | undefined;
  readonly usage?: Usage | undefined;
}

export interface ReleaseRequest {
  readonly reason?: string | undefined;
}

export interface ExtendRequest {
  readonly ttl_ms: number;
}

export interface TopupRequest {
  /** The new sum, not the difference. */
  readonly estimate_usd: UsdInput;
}

/** The answer to a commit, a release or an extension. */
export interface Settlement {
  readonly id: string;
  readonly state: DecisionState;
  /** All that was reported. */
  readonly posted_usd: string;
  /** The part of it that no reservation covered. */
  readonly overrun_usd: string;
  readonly late: boolean;
  readonly reservation: Reservation | null;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

export interface Extension extends Settlement {
  /** A pause has come into force since the action was allowed: what runs may finish, and what does not must not be started. */
  readonly superseded?: Superseded;
}

// Client leases

export interface GrantLeaseRequest {
  /** Above zero. It is taken from every budget that it may be spent from, until it is spent or given back. */
  readonly amount_usd: UsdInput;
  /** Names of actions, or globs of them: 1 to 20. Nothing else is decided with it. */
  readonly actions: readonly string[];
  /** 1000 to 60000; 30000 where it is left out. */
  readonly ttl_ms?: number | undefined;
  /** The session's current one where it is left out. */
  readonly run?: string | undefined;
}

/** A slice of a session's budget, with which its holder decides by itself until `expires_at`. */
export interface GrantedLease {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly actions: readonly string[];
  readonly amount_usd: string;
  /** How long it runs from when it was granted. Less than was asked for where the session ends sooner. */
  readonly ttl_ms: number;
  readonly expires_at: string;
  readonly policy: PolicyRef;
  /** The same, signed: a JWT of type `lease+jwt`, which is no access token. */
  readonly token: string;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

/** `expired`: it ran out and nobody said what became of it. */
export type LeaseState = "open" | "settled" | "expired";

/** A lease as it stands. */
export interface LeaseNow {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly actions: readonly string[];
  readonly amount_usd: string;
  /** What its settled entries cost, overruns included; of one that expired also what is posted for it until somebody tells what was spent. */
  readonly posted_usd: string;
  /** Still leased. */
  readonly remaining_usd: string;
  readonly state: LeaseState;
  readonly expires_at: string;
}

/** An action that was decided with a lease, and what it cost. */
export interface LeaseEntry {
  /** A decision's id, `dec_…`, made by whoever decided: however often it is told, it counts once. */
  readonly id: string;
  readonly action: string;
  readonly cost_usd: UsdInput;
  readonly outcome: "success" | "error";
  /** When it was decided, by its decider's clock. */
  readonly at?: string | undefined;
  readonly duration_ms?: number | undefined;
  /** What was reserved for it; its cost where it is left out. */
  readonly estimate_usd?: UsdInput | undefined;
  readonly resource?: { readonly type: string; readonly id: string } | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly risk_level?: RiskLevel | undefined;
  readonly inputs?: Json | undefined;
  /** `sha-256:<hex>` of the RFC 8785 form of the inputs, instead of the inputs. */
  readonly inputs_digest?: string | undefined;
  readonly outputs?: Json | undefined;
  readonly error?: string | undefined;
  readonly usage?: Usage | undefined;
  readonly rationale?: string | undefined;
  readonly confidence?: number | undefined;
  readonly sources?: readonly { readonly source: string; readonly version?: string | undefined }[] | undefined;
  readonly parents?: readonly string[] | undefined;
  readonly model?: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | undefined;
}

export interface SettleLeaseRequest {
  /** At most 100. */
  readonly entries: readonly LeaseEntry[];
  /** `true`, and where it is left out: nothing more is spent with it, and what is left goes back. */
  readonly final?: boolean | undefined;
}

/** What became of a lease so far. The same settlement told again changes nothing and has the same sums. */
export interface SettledLease {
  readonly id: string;
  readonly state: LeaseState;
  /** Of the entries told: on record now, and on record since earlier. */
  readonly accepted: number;
  readonly duplicates: number;
  /** What all its entries cost. */
  readonly posted_usd: string;
  /** The part of it that neither the lease nor, late, what was still free covered. */
  readonly overrun_usd: string;
  /** What went back to the budgets. */
  readonly returned_usd: string;
  readonly remaining_usd: string;
  /** Told after the lease had ended. */
  readonly late: boolean;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

/**
 * Why no lease was granted. `not_leasable`: the policy must see each of these actions by itself, as `rule` says; ask for a decision. `lease_used`: the one
 * of this `Idempotency-Key` has ended, or something was spent with it. Of one that was granted under the key before, `message` has the id.
 */
export interface LeaseReason {
  readonly code: ReasonCode | "not_leasable" | "lease_used";
  readonly message: string;
  readonly rule: string | null;
  readonly remediation: { readonly retry_after_ms: number | null; readonly hint: string | null };
}

// Policies

export interface PolicyPut {
  readonly name: string;
  readonly version: number;
  readonly digest: string;
  readonly active: boolean;
  readonly warnings: readonly ProblemIssue[];
}

export interface PolicySummary {
  readonly name: string;
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
  /** The version in force, or `null`. */
  readonly active_version: number | null;
  readonly latest_version: number;
  readonly digest: string;
  readonly updated_at: string;
}

export interface PolicyVersion {
  readonly name: string;
  readonly version: number;
  readonly digest: string;
  readonly active: boolean;
  readonly created_at: string;
  readonly created_by: string;
}

export interface PolicyDetail extends PolicyVersion {
  readonly scope: "tenant" | "agent";
  readonly target: string | null;
  readonly document: Json;
}

export interface PolicyConflict {
  readonly pointer: string;
  readonly message: string;
}

export interface EffectivePolicy {
  readonly policy: PolicyRef | null;
  readonly document: Json;
  readonly conflicts: readonly PolicyConflict[];
}

export interface PolicyValidation {
  readonly valid: boolean;
  readonly issues: readonly ProblemIssue[];
  readonly warnings: readonly ProblemIssue[];
}

export interface SimulateRequest {
  /** The document, or its text in YAML or JSON. */
  readonly policy: string | { readonly [member: string]: Json };
  /** Decisions from this instant on are compared; earlier ones of the same sessions give them their state. */
  readonly from?: string | undefined;
  /** Decisions before this instant are compared. */
  readonly to?: string | undefined;
  readonly agent?: string | undefined;
  readonly session?: string | undefined;
  /** The active policy in whose place the candidate stands, beside the other active ones. Without it the candidate stands alone. */
  readonly replaces?: string | undefined;
  /** The `next` of the part before, with the same question. */
  readonly cursor?: string | undefined;
}

/** How many, what they are worth, and at most a hundred of the entries. */
export interface SimulationSum {
  readonly count: number;
  /** What they cost on record, or their estimates where they did not run. */
  readonly money_usd: string;
  readonly entries: readonly string[];
}

export interface SimulationChanges {
  readonly newly_denied: SimulationSum;
  readonly newly_allowed: SimulationSum;
  readonly newly_held: SimulationSum;
  /** Held on record, and allowed without a person. */
  readonly no_longer_held: SimulationSum;
}

/** What a rule makes differ: the candidate's that now denies or holds, or the recorded one that no longer does. */
export interface SimulationRule {
  readonly rule: string | null;
  readonly reason: ReasonCode;
  readonly changed: SimulationChanges;
  readonly prevented_usd: string;
}

/** History decided again under a candidate. `decisions` is `same`, the changed, the not comparable and the uncertain ones together. */
export interface Simulation {
  readonly policy: { readonly digest: string; readonly replaces: string | null; readonly warnings: readonly ProblemIssue[] };
  /** `read_from`: how far back sessions were read for their state. */
  readonly window: { readonly from: string | null; readonly to: string | null; readonly read_from: string | null };
  readonly entries: number;
  readonly sessions: number;
  readonly decisions: number;
  readonly same: number;
  /** Of `same`: denied or held as before, but by another rule. */
  readonly same_for_another_reason: number;
  readonly changed: SimulationChanges;
  /** What newly denied actions cost on record. */
  readonly prevented_usd: string;
  readonly by_rule: readonly SimulationRule[];
  /** Kept as recorded, because no policy decides it: by the recorded reason, or `never_begun`. */
  readonly not_comparable: readonly { readonly reason: ReasonCode | "never_begun"; readonly count: number; readonly entries: readonly string[] }[];
  /** Differs by what the record does not have: what a rule looked at, or whether those whom the candidate asks are among those who approved. */
  readonly uncertain: SimulationSum;
  /** Decided after the first change in their session, on a state that rests on the assumptions. */
  readonly after_first_change: number;
  /** Sessions that were too long to be read to their end. */
  readonly cut_sessions: readonly { readonly session: string; readonly through: string }[];
  readonly assumptions: readonly string[];
  /** Whether there is more: `next` goes on, and the figures of the parts add up. */
  readonly truncated: boolean;
  readonly next: string | null;
}

export interface PutEntityRequest {
  readonly properties: { readonly [attribute: string]: Json };
}

/** Stored attributes of a subject or a resource, which rules may look at. */
export interface Entity {
  readonly type: string;
  readonly id: string;
  readonly properties: { readonly [attribute: string]: Json };
  readonly updated_at: string;
  /** The subject of the token that last changed it. */
  readonly updated_by: string;
}

// Interventions

export type InterventionTargetType = "tenant" | "agent" | "session" | "run" | "action";
export type InterventionKind = "kill" | "pause" | "resume" | "revive";

export interface InterveneRequest {
  /** An action is named exactly, or by a glob. A tenant is named by its own id. */
  readonly target: { readonly type: InterventionTargetType; readonly id: string };
  readonly kind: InterventionKind;
  readonly reason: string;
}

/** What an intervention did, and who said so. */
export interface Intervened {
  readonly id: string;
  /** Leases of this epoch and later carry it. */
  readonly epoch: number;
  /** How many kills a revive, or pauses a resume, took out of force: 0 where none of exactly that target stood. `null`: of a kill or a pause. */
  readonly lifted: number | null;
  /** Whether the target was ever seen here; `false`: most likely it is mistyped. `null`: that cannot be told, as of an action, or of a run that no session spoke for. */
  readonly known: boolean | null;
  readonly evidence: {
    /** Sessions that obey since their entry `seq`; 0: the session was being opened, and opens with it. */
    readonly acknowledged: readonly {
      readonly session: string;
      readonly seq: number;
      readonly at: string;
      /** Until then whoever holds a client lease that this stops may go on with it; `null`: nobody holds one. */
      readonly leased_until: string | null;
    }[];
    /** Sessions that did not answer in time. Neither they nor holders of their client leases allow anything against it after `in_force_everywhere_by`. */
    readonly unanswered: readonly string[];
    readonly in_force_everywhere_by: string;
  };
}

/** Something in which the system said no, or was told to. */
export interface No {
  readonly id: string;
  readonly kind:
    | InterventionKind
    | "deny"
    | "hold"
    | "reject"
    | "timeout"
    | "cancel"
    | "answer_refused"
    | "lease_denied"
    | "reported_deny"
    | "reported_hold"
    | "overrun"
    | "expiry";
  readonly at: string;
  readonly target: { readonly type: string; readonly id: string } | null;
  readonly session: string | null;
  readonly run: string | null;
  readonly agent: string | null;
  readonly action: string | null;
  readonly decision: string | null;
  readonly reason: ReasonCode | null;
  readonly rule: string | null;
  /** Why somebody did it, in their words. */
  readonly note: string | null;
  readonly overrun_usd: string;
  readonly by: { readonly subject: string; readonly kind: TokenKind } | null;
  readonly entry: { readonly id: string; readonly seq: number; readonly index: number };
}

// Events

/** What the live stream tells of one entry of the record. */
export interface LedgerEvent {
  /** Names the event for resuming after it. */
  readonly id: string;
  /** Such as `decision.deny`, `intervention.kill`, `intervention.obeyed`, `budget.threshold`. */
  readonly type: string;
  readonly at: string;
  readonly session: string | null;
  readonly run: string | null;
  readonly agent: string | null;
  readonly action: string | null;
  readonly decision: string | null;
  readonly verdict: Verdict | null;
  readonly reason: ReasonCode | null;
  readonly rule: string | null;
  readonly estimate_usd: string | null;
  readonly cost_usd: string;
  readonly overrun_usd: string;
  readonly outcome: "success" | "error" | null;
  readonly details: { readonly [key: string]: Json } | null;
  readonly entry: EntryMark & { readonly index: number };
}

// Ledger and costs

export type EntryKind =
  | "decision"
  | "commit"
  | "release"
  | "expiry"
  | "approval"
  | "intervention"
  | "policy"
  | "session"
  | "lease"
  | "token"
  | "ingest";

/** An account as an entry shows it. */
export interface LedgerMoney {
  readonly posted_usd: string;
  readonly pending_usd: string;
  /** What client leases hold of it, where they hold anything. */
  readonly leased_usd?: string;
  /** Of an agent's or a tenant's budget: what the session could still spend without asking. */
  readonly slice_usd?: string;
}

/** One line of the record. `hash` is the SHA-256 of the RFC 8785 form of all members but `hash`, `index` and `payload`. */
export interface LedgerEntry {
  readonly id: string;
  readonly kind: EntryKind;
  readonly timestamp: string;
  readonly tenant_id: string;
  readonly session_id: string | null;
  readonly agent_id: string | null;
  readonly run_id: string | null;
  readonly seq: number;
  readonly prev_hash: string;
  readonly action: string | null;
  readonly resource: { readonly type: string; readonly id: string } | null;
  readonly tags: readonly string[];
  readonly risk_level: RiskLevel | null;
  readonly decision_id: string | null;
  readonly step: "decide" | "topup" | "extend" | null;
  readonly verdict: Verdict | null;
  readonly reason: ReasonCode | null;
  readonly rule: string | null;
  /** What was not enforced: the reason it would have been, and the rule. */
  readonly warnings: readonly { readonly code: ReasonCode; readonly rule: string | null }[];
  readonly policy: PolicyRef | null;
  readonly estimate_usd: string | null;
  readonly cost_usd: string;
  readonly corrected_usd: string;
  readonly overrun_usd: string;
  readonly late: boolean;
  readonly outcome: "success" | "error" | null;
  readonly error: string | null;
  readonly duration_ms: number | null;
  readonly usage: { readonly [key: string]: Json } | null;
  readonly reservation: Reservation | null;
  readonly accounts: readonly {
    readonly scope: BudgetScope;
    readonly name: string;
    /** Of an agent's or a tenant's budget: the window and when it began, such as `day 2026-11-23T00:00:00.000Z`. */
    readonly window?: string;
    readonly limit_usd: string | null;
    readonly before: LedgerMoney;
    readonly after: LedgerMoney;
  }[];
  /** Parts of limits that were reached for the first time. */
  readonly alerts: readonly {
    readonly scope: BudgetScope;
    readonly name: string;
    readonly limit_usd: string;
    readonly spent_usd: string;
    readonly threshold: number;
  }[];
  readonly rates: readonly {
    readonly name: string;
    readonly per: "session" | "run" | "agent" | "tenant";
    readonly limit: number;
    readonly remaining: number;
    readonly window_ms: number;
  }[];
  readonly approval: { readonly id: string; readonly expires_at: string } | null;
  readonly rationale: string | null;
  readonly confidence: number | null;
  readonly sources: readonly { readonly source: string; readonly version?: string | undefined }[];
  readonly parents: readonly string[];
  readonly model: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | null;
  /** What an estimate rests on where a model is named. */
  readonly price: {
    readonly basis: "stated" | "computed" | "default" | "unpriced" | "none";
    readonly data: string;
    readonly known: boolean;
  } | null;
  /** The caller's digest of its inputs, or that of the redacted inputs where the policy keeps only that. */
  readonly inputs_digest: string | null;
  readonly outputs_digest: string | null;
  /** How many places were redacted before this was written. */
  readonly redacted: number;
  readonly payload_digest: string | null;
  readonly principal: { readonly token_id: string; readonly subject: string; readonly kind: TokenKind } | null;
  readonly compliance_metadata: { readonly [key: string]: string } | null;
  readonly details: { readonly [key: string]: Json } | null;
  readonly engine_version: string;
  readonly hash: string;
  /** The place in the tenant's ledger, from 0: the leaf's index in its tree. */
  readonly index: number;
  /** Inputs and outputs, which lie beside the entry. `null`: none were sent. */
  readonly payload: { readonly salt: string; readonly inputs?: Json; readonly outputs?: Json } | null;
}

export interface CostItem {
  /** `null`: what names no agent, run, session or action. */
  readonly key: string | null;
  /** Below zero where more was taken back in that time than was posted in it. */
  readonly posted_usd: string;
  /** How many decisions stand behind it. */
  readonly count: number;
  /** What was reported beside that (`POST /v1/ledger/entries`): in no account, and in none of the other sums. */
  readonly reported_usd: string;
}

export interface CostReport {
  readonly items: readonly CostItem[];
  /** The sum of the items. */
  readonly total_usd: string;
  readonly reported_usd: string;
}

/** An entry that an engine elsewhere recorded. Members that are not named here are kept too. */
export interface IngestEntry {
  /** One for each, made by whoever wrote it: however often it is told, it is on record once. */
  readonly id: string;
  readonly action: string;
  readonly timestamp?: string | null | undefined;
  readonly cost_usd?: UsdInput | null | undefined;
  readonly duration_ms?: number | null | undefined;
  readonly outcome?: string | null | undefined;
  readonly tags?: readonly string[] | null | undefined;
  readonly payload?: { readonly [member: string]: Json } | null | undefined;
  readonly agent_id?: string | null | undefined;
  readonly run_id?: string | null | undefined;
  readonly session_id?: string | null | undefined;
  readonly decision_id?: string | null | undefined;
  readonly verdict?: Verdict | null | undefined;
  /** Why. One of this API's codes, a rule and a policy as decisions have them are the entry's own; anything else stands in its details alone. */
  readonly reason?: Json | undefined;
  readonly rule?: Json | undefined;
  readonly policy?: Json | undefined;
  readonly estimate_usd?: UsdInput | null | undefined;
  readonly parents?: readonly string[] | null | undefined;
  readonly unguarded?: boolean | null | undefined;
  readonly [member: string]: Json | undefined;
}

export interface IngestRequest {
  /** The `run_id` of the entries that name none. */
  readonly run?: string | undefined;
  readonly entries: readonly IngestEntry[];
}

export interface Ingested {
  /** On record now. */
  readonly accepted: number;
  /** On record since earlier. */
  readonly duplicates: number;
  /** By their places in what was sent. None of these is on record. */
  readonly rejected: readonly { readonly index: number; readonly code: string; readonly message: string }[];
}

// Tenants and tokens

export interface CreateTenantRequest {
  readonly id: string;
  readonly name?: string | undefined;
}

export interface CreatedTenant {
  readonly id: string;
}

export interface IssueTokenRequest {
  /** With the root key: whose token it is. A tenant's own token issues for its own tenant only. */
  readonly tenant?: string | undefined;
  readonly subject: string;
  readonly kind: TokenKind;
  readonly scopes: readonly Scope[];
  readonly ttl_ms?: number | undefined;
}

export interface IssuedToken {
  readonly id: string;
  /** Shown once. */
  readonly token: string;
  readonly expires_at: string;
}

export interface TokenSummary {
  readonly id: string;
  readonly subject: string;
  readonly kind: TokenKind;
  readonly scopes: readonly Scope[];
  /** Of a link: the approval that it is for. */
  readonly approval: string | null;
  readonly issued_at: string;
  readonly expires_at: string;
  readonly revoked_at: string | null;
}

// Webhooks

export interface CreateWebhookRequest {
  /** Where events are sent: https, under a public name. */
  readonly url: string;
  /** Names of events, or globs of them, such as `approval.*`. */
  readonly events: readonly string[];
  /** `whsec_` and the base64 of 24 to 64 bytes. Made, unless it is sent. */
  readonly secret?: string | undefined;
}

/** A webhook as it was made, with the secret that is shown here and never again. */
export interface CreatedWebhook {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly secret: string;
  readonly created_at: string;
  readonly created_by: string;
}

export interface Webhook {
  readonly id: string;
  readonly url: string;
  readonly events: readonly string[];
  readonly created_at: string;
  readonly created_by: string;
  /** Since when every attempt has failed; `null`: the last one did not. */
  readonly failing_since: string | null;
  /** Nothing is sent until it is resumed: its receiver answered 410 (`gone`), or has failed for five days (`failing`). */
  readonly disabled: { readonly at: string; readonly why: "gone" | "failing" } | null;
  /** Until then a secret that was replaced still signs. */
  readonly old_secrets_until: string | null;
}

export interface RotateWebhookRequest {
  readonly secret?: string | undefined;
}

export interface RotatedWebhook {
  readonly id: string;
  /** Shown here and never again. */
  readonly secret: string;
  readonly created_at: string;
  readonly old_secrets_until: string;
}

export interface ResumeWebhookRequest {
  /** The id of the event from which on everything is sent again, such as `17`. Absent: from where it stopped. */
  readonly from?: string | undefined;
}

export type WebhookDeliveryStatus = "pending" | "delivered" | "dead";

/** One event on its way to one receiver. */
export interface WebhookDelivery {
  /** The `webhook-id` of every attempt. */
  readonly id: string;
  readonly webhook: string;
  readonly event: string;
  readonly type: string;
  readonly status: WebhookDeliveryStatus;
  readonly attempts: number;
  readonly created_at: string;
  readonly next_attempt_at: string | null;
  readonly last_attempt_at: string | null;
  /** What the receiver answered last; `null`: nothing. */
  readonly last_status: number | null;
  readonly last_error: string | null;
}

/** What a webhook is sent: an event of the stream in the envelope of Standard Webhooks. */
export interface WebhookPayload {
  readonly type: string;
  /** When it happened. */
  readonly timestamp: string;
  readonly data: LedgerEvent;
}

// Issuers and settings

export interface PutIssuerRequest {
  /** Its `iss`, exactly. */
  readonly issuer: string;
  readonly jwks_uri?: string | undefined;
  /** Its public keys, in place of `jwks_uri`. */
  readonly jwks?: { readonly [member: string]: Json } | undefined;
  /** What the `aud` of its tokens must contain. */
  readonly audience: string;
  /** Names of claims, or paths to them with dots between. */
  readonly claims?: { readonly subject?: string | undefined; readonly scopes?: string | undefined; readonly kind?: string | undefined } | undefined;
}

/** An issuer whose tokens work for one tenant. */
export interface Issuer {
  readonly name: string;
  /** Grows with every change under the name. */
  readonly version: number;
  readonly issuer: string;
  readonly jwks_uri?: string;
  readonly jwks?: Json;
  readonly audience: string;
  readonly claims: { readonly subject: string; readonly scopes: string; readonly kind: string };
  readonly updated_at: string;
  readonly updated_by: string;
}

export interface Settings {
  readonly cors_origins: readonly string[];
  /** Entries are kept at least so many days. */
  readonly retention_days: number;
  readonly default_policy: string | null;
  readonly throttle: { readonly requests: number; readonly window_ms: number } | null;
  /** Whether an approval can be answered by a one-time link. */
  readonly approval_links: boolean;
  /** Whether anybody may decide by a client lease. */
  readonly client_leases: boolean;
}

/** What is left out takes its default. */
export interface PutSettingsRequest {
  readonly cors_origins?: readonly string[] | undefined;
  readonly retention_days?: number | undefined;
  readonly default_policy?: string | null | undefined;
  readonly throttle?: { readonly requests: number; readonly window_ms: number } | null | undefined;
  readonly approval_links?: boolean | undefined;
  readonly client_leases?: boolean | undefined;
}
