import type {
  BatchSemantics,
  BudgetScope,
  DecisionState,
  EntryMark,
  ExpectedUsage,
  Json,
  LeaseState,
  PolicyRef,
  ReasonCode,
  RiskLevel,
  SessionState,
  Stops,
  Usage,
  UsdInput,
  Verdict,
} from "./wire.ts";

/** What the SDK's callers see: the wire contract in camelCase. `mapping.ts` is the one place that knows both spellings. */

export type {
  BatchSemantics,
  BudgetScope,
  DecisionState,
  EntryMark,
  ExpectedUsage,
  Json,
  LeaseState,
  PolicyRef,
  ReasonCode,
  RiskLevel,
  SessionState,
  Stops,
  Usage,
  UsdInput,
  Verdict,
};

/** Accepted by every call that reaches the network. Aborting rejects with the signal's own reason. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface SessionOptions {
  /** Defaults to the token's subject. */
  readonly agent?: string | undefined;
  readonly labels?: { readonly [key: string]: string } | undefined;
  /** Can only tighten the policy: the smaller counts. */
  readonly budgetUsd?: UsdInput | undefined;
  readonly ttlMs?: number | undefined;
}

export interface Resource {
  readonly type: string;
  readonly id: string;
}

/** What an action says about itself besides its name and its price. */
export interface ActionFacts {
  readonly tags?: readonly string[] | undefined;
  readonly riskLevel?: RiskLevel | undefined;
  readonly rationale?: string | undefined;
  /** From 0 to 1. */
  readonly confidence?: number | undefined;
  readonly sources?: readonly { readonly source: string; readonly version?: string | undefined }[] | undefined;
  /** The decisions this one follows from. */
  readonly parents?: readonly string[] | undefined;
  readonly model?: { readonly provider?: string | undefined; readonly name: string; readonly version?: string | undefined } | undefined;
  /** What a call to the model is expected to use at most: priced by the gateway where no estimate is stated. */
  readonly usage?: ExpectedUsage | undefined;
  /** An approval given for this very request. */
  readonly approval?: string | undefined;
  /** How long the reservation stands before it is posted at its estimate. */
  readonly ttlMs?: number | undefined;
}

export interface ActionRequest extends ActionFacts {
  /** `dec_` and a UUID. Made when absent. The same id always gets the same answer. */
  readonly id?: string | undefined;
  /** Defaults to the session's current run. */
  readonly run?: string | undefined;
  /** 1 to 128 letters, digits, `_ - . : /`. */
  readonly action: string;
  readonly resource?: Resource | undefined;
  /** Defaults to 0. A number is rounded up to whole micro-dollars; a string is sent as written. */
  readonly estimateUsd?: UsdInput | undefined;
  readonly inputs?: Json | undefined;
  /** `sha-256:<hex>` of the RFC 8785 form of the inputs, instead of the inputs. */
  readonly inputsDigest?: string | undefined;
}

export interface CommitReport {
  /**
   * What it really cost. A number is rounded up to whole micro-dollars; a string is sent as written. Left out where `usage` is told, the gateway reckons
   * it from that; where nobody knows the price, it is what was reserved.
   */
  readonly costUsd?: UsdInput | undefined;
  readonly outcome: "success" | "error";
  readonly durationMs?: number | undefined;
  readonly outputs?: Json | undefined;
  readonly error?: string | undefined;
  /** What the model used, in the provider's own member names. */
  readonly usage?: Usage | undefined;
}

/** A reason this SDK knows, or `unrecognized`: a newer gateway's, which its `message` explains. */
export type KnownReason = ReasonCode | "unrecognized";

export interface Remediation {
  readonly retryAfterMs: number | null;
  /** What can be done about it, in words that a model can follow. */
  readonly hint: string | null;
}

export interface Reason {
  readonly code: KnownReason;
  readonly message: string;
  readonly rule: string | null;
  readonly remediation: Remediation;
}

export interface Reservation {
  readonly amountUsd: string;
  readonly expiresAt: string;
}

export interface Balance {
  readonly scope: BudgetScope;
  readonly name: string;
  /** Of an agent's or a tenant's budget: `hour`, `day`, `month` or `total`. */
  readonly window?: string | null | undefined;
  readonly limitUsd: string | null;
  readonly postedUsd: string;
  readonly pendingUsd: string;
  /** What client leases hold of it, where they do. Of an agent's or a tenant's budget: what other sessions hold of it and have not spent. */
  readonly leasedUsd?: string | null | undefined;
  readonly remainingUsd: string | null;
  /** When it is there again, whole. `null`: never. */
  readonly resetsAt?: string | null | undefined;
}

export interface Rate {
  readonly name: string;
  readonly limit: number;
  readonly remaining: number;
  readonly resetMs: number;
}

export interface Approval {
  readonly id: string;
  /** The approval in the gateway's API, for whoever has a token; no page. See `ApprovalRequiredError`. */
  readonly url: string;
  /** Until then it waits for an answer; once it is approved, until then it may be used. */
  readonly expiresAt: string;
  /** Where a decision is read later: `pending`, `info_requested`, `approved`, `rejected`, `expired`, `cancelled`, `consumed`. */
  readonly status?: string | null;
}

/** What the gateway answered, as data. */
export interface DecisionAnswer {
  readonly id: string;
  readonly session: string;
  readonly run: string;
  readonly action: string;
  readonly verdict: Verdict;
  /** `true` exactly when the verdict is `allow`. */
  readonly decision: boolean;
  /** How far a no reaches. `null`: it is not a no. */
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
  /** What a person is asked. Present exactly when the verdict is `hold`. */
  readonly approval: Approval | null;
  readonly entry: EntryMark;
  /** A kill or pause that came into force after it was allowed or held: the action must not start any more. */
  readonly superseded: { readonly intervention: string; readonly kind: string } | null;
}

/** A decision read later: what was answered, and where its money is now. */
export interface DecisionNow extends DecisionAnswer {
  readonly state: DecisionState;
  readonly postedUsd: string;
  readonly overrunUsd: string;
}

/** The answer to a commit, a release or an extension. */
export interface Settlement {
  readonly id: string;
  readonly state: DecisionState;
  /** All that was reported. */
  readonly postedUsd: string;
  /** The part of it that no reservation covered. */
  readonly overrunUsd: string;
  readonly late: boolean;
  readonly reservation: Reservation | null;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

/** What the gateway has of a lease after it was told something. */
export interface LeaseSettlement {
  /** `settled`: what was left went back. `expired`: it ran out before it was settled, and what was told since corrects what was posted then. */
  readonly state: LeaseState;
  /** Of what was told: on record now, and on record since earlier. */
  readonly accepted: number;
  readonly duplicates: number;
  /** What all that was decided with the lease has cost. */
  readonly postedUsd: string;
  /** The part of it that the lease did not cover. */
  readonly overrunUsd: string;
  /** What went back to the budgets. */
  readonly returnedUsd: string;
  readonly remainingUsd: string;
  /** Told after the gateway's end of the lease. */
  readonly late: boolean;
  readonly budgets: readonly Balance[];
  readonly entry: EntryMark;
}

export interface OpenedSession {
  readonly id: string;
  readonly agent: string;
  readonly run: string;
  readonly policy: PolicyRef | null;
  readonly expiresAt: string;
}

export interface SessionBudget extends Balance {
  readonly leasedUsd: string;
  readonly resetsAt: string | null;
}

export interface SessionDetail extends OpenedSession {
  readonly labels: { readonly [key: string]: string };
  readonly state: SessionState;
  readonly openedAt: string;
  readonly budgets: readonly SessionBudget[];
  readonly totals: {
    readonly postedUsd: string;
    readonly pendingUsd: string;
    readonly preventedUsd: string;
    readonly overrunUsd: string;
    readonly decisions: { readonly allow: number; readonly deny: number; readonly hold: number };
  };
}
