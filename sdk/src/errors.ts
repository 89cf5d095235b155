import type { DecisionAnswer, KnownReason, Remediation } from "./surface.ts";

/**
 * Everything the SDK throws on its own account. A verdict against an action, a gateway that could not be asked and a gateway that
 * refused to answer are different classes; what a guarded function throws itself is never wrapped.
 */

/** Which error a reason becomes. `null`: none, the action may run. A new reason does not compile until it has its row. */
const ERROR_OF = {
  session_closed: "AgentKilledError",
  run_closed: "AgentKilledError",
  tenant_killed: "AgentKilledError",
  agent_killed: "AgentKilledError",
  session_killed: "AgentKilledError",
  run_killed: "AgentKilledError",
  action_killed: "AgentKilledError",
  tenant_paused: "AgentKilledError",
  agent_paused: "AgentKilledError",
  session_paused: "AgentKilledError",
  run_paused: "AgentKilledError",
  action_paused: "AgentKilledError",
  authority_stale: "GatewayUnavailableError",
  policy_missing: "PolicyViolationError",
  policy_invalid: "PolicyViolationError",
  action_denied: "PolicyViolationError",
  action_not_allowed: "PolicyViolationError",
  rule_forbids: "PolicyViolationError",
  inputs_required: "PolicyViolationError",
  arguments_invalid: "PolicyViolationError",
  prerequisite_missing: "PolicyViolationError",
  history_forbids: "PolicyViolationError",
  loop_detected: "PolicyViolationError",
  retries_exceeded: "PolicyViolationError",
  concurrency_exceeded: "RateLimitError",
  rate_exceeded: "RateLimitError",
  price_unknown: "PolicyViolationError",
  action_budget_exceeded: "BudgetExceededError",
  run_budget_exceeded: "BudgetExceededError",
  session_budget_exceeded: "BudgetExceededError",
  agent_budget_exceeded: "BudgetExceededError",
  tenant_budget_exceeded: "BudgetExceededError",
  approval_rejected: "ApprovalRejectedError",
  approval_expired: "ApprovalRejectedError",
  approval_mismatch: "ApprovalRejectedError",
  approval_consumed: "ApprovalRejectedError",
  batch_refused: "PolicyViolationError",
  approval_required: "ApprovalRequiredError",
  permitted: null,
  unrecognized: "PolicyViolationError",
} as const satisfies { readonly [R in KnownReason]: AgentSentinelErrorName | null };

/** The reasons that become the error of that name. */
type ReasonOf<Name> = { [R in KnownReason]: (typeof ERROR_OF)[R] extends Name ? R : never }[KnownReason];

/** Reads a reason from outside: one that this SDK does not know yet is `unrecognized`. */
export const knownReason = (code: string): KnownReason =>
  // The table has exactly the known reasons as its members.
  Object.hasOwn(ERROR_OF, code) ? (code as KnownReason) : "unrecognized";

/** The error a decision stands for, or `null` when its action may run. */
export function errorFor(decision: DecisionAnswer): AnyAgentSentinelError | null {
  if (decision.superseded) return new AgentKilledError(sentence(decision), "superseded", decision);
  if (decision.verdict === "allow") return null;
  if (decision.verdict === "hold") return new ApprovalRequiredError(decision);
  const name = ERROR_OF[decision.reason.code] ?? "PolicyViolationError";
  if (name === "GatewayUnavailableError") return new GatewayUnavailableError(sentence(decision), { code: "authority_stale", decision });
  // The table says so of these reasons.
  if (name === "AgentKilledError") return new AgentKilledError(sentence(decision), decision.reason.code as AgentKilledError["code"], decision);
  return new CLASSES[name](decision);
}

/** The members of an error. `recoverable` and `remediation` are what the decision says of them, unless they are said here. */
interface ErrorFacts {
  readonly recoverable?: boolean;
  readonly decision?: DecisionAnswer | null | undefined;
  readonly remediation?: Remediation;
  readonly cause?: unknown;
}

/** What all errors of this SDK have in common. `name` and `code` are literals, stable across versions. */
export abstract class AgentSentinelError extends Error {
  abstract override readonly name: AgentSentinelErrorName;
  abstract readonly code: string;
  /** Whether this run may go on: by doing something else, by waiting, or by asking a person. */
  declare readonly recoverable: boolean;
  /** The decision it reports, or `null` when there is none. */
  declare readonly decision: DecisionAnswer | null;
  /** What can be done about it. */
  declare readonly remediation: Remediation;

  constructor(message: string, { cause, decision = null, ...facts }: ErrorFacts & { readonly [member: string]: unknown }) {
    super(message, cause ? { cause } : {});
    Object.assign(this, {
      recoverable: decision !== null && mayGoOn(decision),
      decision,
      remediation: decision?.reason.remediation ?? { retryAfterMs: null, hint: null },
      ...facts,
    });
  }

  /** Everything but the stack. What JSON makes of it is still told by `isAgentSentinelError`, and taken up by `resume`. */
  toJSON(): object {
    return { ...this, message: this.message };
  }
}

abstract class VerdictError<Name extends AgentSentinelErrorName> extends AgentSentinelError {
  declare readonly code: ReasonOf<Name>;
  declare readonly decision: DecisionAnswer;

  // `errorFor` picks the class by this very reason.
  constructor(decision: DecisionAnswer, members?: object) {
    super(sentence(decision), { decision, code: decision.reason.code, ...members });
  }
}

/** A budget does not cover the estimate. */
export class BudgetExceededError extends VerdictError<"BudgetExceededError"> {
  override readonly name = "BudgetExceededError";
}

/** The policy does not allow the action, or there is none that could. */
export class PolicyViolationError extends VerdictError<"PolicyViolationError"> {
  override readonly name = "PolicyViolationError";
}

/** Too many within a window, or too many at once. The same request can be tried again after `retryAfterMs`. */
export class RateLimitError extends VerdictError<"RateLimitError"> {
  override readonly name = "RateLimitError";
  /** `null`: when another one ends, at a time that nobody knows. */
  declare readonly retryAfterMs: number | null;

  constructor(decision: DecisionAnswer) {
    super(decision, { retryAfterMs: decision.reason.remediation.retryAfterMs });
  }
}

/**
 * A person must approve it first. `resume` of `@agentsentinel/sdk/approvals` takes it up with this error or with what JSON made of it, in any
 * process and after any time.
 */
export class ApprovalRequiredError extends VerdictError<"ApprovalRequiredError"> {
  override readonly name = "ApprovalRequiredError";
  declare readonly session: string;
  declare readonly run: string;
  declare readonly decisionId: string;
  declare readonly approvalId: string;
  /**
   * The approval in the gateway's API: no page, and nobody opens it without a token. With a token of kind `human` that has `approvals:write` a person
   * answers it there (`GET`, then `POST …/decide`), or with `agentsentinel approvals`. A link that a person can open is made by whoever holds
   * `tokens:write`, which no agent does: `POST …/links`, where the tenant's settings have `approval_links`.
   */
  declare readonly url: string;
  declare readonly expiresAt: string;

  constructor(decision: DecisionAnswer) {
    const { session, run, id: decisionId, approval } = decision;
    // A hold without its approval does not get past the mapping.
    super(decision, { session, run, decisionId, approvalId: approval?.id, url: approval?.url, expiresAt: approval?.expiresAt });
  }
}

/** The approval that was shown does not permit it: rejected, expired, used before, or given for something else. */
export class ApprovalRejectedError extends VerdictError<"ApprovalRejectedError"> {
  override readonly name = "ApprovalRejectedError";
}

/** The agent may not act any more, or not now: killed, paused, or its session or run is closed. */
export class AgentKilledError extends AgentSentinelError {
  override readonly name = "AgentKilledError";
  /** `superseded`: it had been allowed, or a person was waited for, and a kill or pause came into force before it started. */
  declare readonly code: ReasonOf<"AgentKilledError"> | "superseded";

  /** `decision`: none where a kill was not told by a decision, but by the session's state or the live stream. */
  constructor(message: string, code: AgentKilledError["code"], decision?: DecisionAnswer) {
    super(message, { decision, code });
  }
}

/** Nobody could decide: the gateway could not be reached, did not answer in time, or cannot reach what decides. Nothing was run. */
export class GatewayUnavailableError extends AgentSentinelError {
  override readonly name = "GatewayUnavailableError";
  /** `authority_stale`: the gateway answered that its own authority has lapsed. */
  declare readonly code: "gateway_unavailable" | "authority_stale";

  constructor(message: string, facts: Omit<ErrorFacts, "recoverable"> & { readonly code?: "authority_stale" } = {}) {
    super(message, { code: "gateway_unavailable", ...facts, recoverable: true });
  }
}

/** Where a request's body was wrong, by RFC 6901 pointer. */
export interface RefusalIssue {
  readonly pointer: string;
  readonly message: string;
}

export interface Refusal {
  /** Default `null`: it never came to an HTTP answer. */
  readonly status?: number | null;
  readonly code: string;
  readonly detail: string;
  readonly issues?: readonly RefusalIssue[];
  readonly requestId?: string | null;
  readonly retryAfterMs?: number | null;
  readonly cause?: unknown;
}

/** The gateway did not answer the question: a bad token, a bad body, or an answer that cannot be trusted. Never a verdict. Nothing was run. */
export class GatewayRefusedError extends AgentSentinelError {
  override readonly name = "GatewayRefusedError";
  /** `null`: it is no HTTP answer that refused. */
  declare readonly status: number | null;
  /**
   * The gateway's own code (`scope_insufficient`, `body_invalid`, ...), or what only this side can see: `redirected` (a token is never
   * sent elsewhere), `answer_malformed` (no answer to what was asked), `token_unavailable` (`token` gave none), `obligation_unknown`
   * (it may run only under a condition that a guard cannot keep), `inputs_changed` (of the arguments something else would be asked by now), `decision_settled` (a call under this id runs, ran or is over, here or by
   * the record), `problem_malformed` (a refusal without a code).
   */
  declare readonly code: string;
  declare readonly detail: string;
  /** Where the body was wrong. */
  declare readonly issues: readonly RefusalIssue[];
  declare readonly requestId: string | null;

  /** `what` could not be done: `decide "send_email"`. */
  constructor(what: string, { status = null, code, detail, issues = [], requestId = null, retryAfterMs = null, cause }: Refusal) {
    super(`Cannot ${what}: ${code}${status ? ` (status ${status})` : ""}: ${detail}`, {
      recoverable: status === 429,
      remediation: { retryAfterMs, hint: null },
      cause,
      status,
      code,
      detail,
      issues,
      requestId,
    });
  }
}

const CLASSES = {
  BudgetExceededError,
  PolicyViolationError,
  RateLimitError,
  ApprovalRequiredError,
  ApprovalRejectedError,
  AgentKilledError,
  GatewayUnavailableError,
  GatewayRefusedError,
  // Only `./local` throws these, and has their classes: they are told by their names alone.
  LedgerError: null,
  LocalRefusedError: null,
  ReplayDivergenceError: null,
} as const;

export type AgentSentinelErrorName = keyof typeof CLASSES;

/** Every error of the core by its name; `switch (error.name)` narrows. */
export type AnyAgentSentinelError =
  | BudgetExceededError
  | PolicyViolationError
  | RateLimitError
  | ApprovalRequiredError
  | ApprovalRejectedError
  | AgentKilledError
  | GatewayUnavailableError
  | GatewayRefusedError;

/** The errors that only `@agentsentinel/sdk/local` throws, as far as they are like all others. Its classes tell more. */
type LocalSentinelError = {
  [Name in Exclude<AgentSentinelErrorName, AnyAgentSentinelError["name"]>]: AgentSentinelError & { readonly name: Name };
}[Exclude<AgentSentinelErrorName, AnyAgentSentinelError["name"]>];

/**
 * Whether `error` is one of this SDK's, those of every entry, or the one of that name. Goes by name, so that it also holds for an error of
 * another realm or of another copy of this package, where `instanceof` does not.
 */
export function isAgentSentinelError<Name extends AgentSentinelErrorName = AgentSentinelErrorName>(
  error: unknown,
  name?: Name,
): error is Extract<AnyAgentSentinelError | LocalSentinelError, { readonly name: Name }> {
  try {
    // What is no object has none of these members.
    const { name: found, recoverable }: { readonly name?: unknown; readonly recoverable?: unknown } = Object(error);
    // Whatever a name is, `hasOwn` makes a key of it.
    return typeof recoverable === "boolean" && (name === undefined ? Object.hasOwn(CLASSES, found as PropertyKey) : found === name);
  } catch {
    // None of ours throws when it is looked at.
    return false;
  }
}

/**
 * `Cannot run "send_email": the policy denies the action by name`; of what a person can approve, also how. Without an address there is no gateway, and
 * nobody can.
 */
function sentence({ action, reason, superseded, approval }: DecisionAnswer): string {
  const why = superseded ? `a ${superseded.kind} stopped it` : reason.message;
  const how = !superseded && approval?.url ? `, by "agentsentinel approvals show ${approval.id}"` : "";
  return `Cannot run "${action}": ${why.charAt(0).toLowerCase()}${why.slice(1).replace(/\.$/, "")}${how}`;
}

const mayGoOn = ({ stops, superseded, reason }: DecisionAnswer): boolean =>
  superseded ? superseded.kind === "pause" : stops === null || stops === "action" || reason.code.endsWith("_paused");
