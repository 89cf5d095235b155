import type { LeaseReason } from "./decision.ts";

/** A place in a body that is wrong, by RFC 6901 pointer. Policies also give a line and a column, counted from 1. */
export interface Issue {
  readonly pointer: string;
  readonly message: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}

/** Why the gateway did not answer: not a verdict. Each code has one status, chosen in one exhaustive table of the HTTP room. */
export const REFUSALS = [
  "body_malformed",
  "token_missing",
  "token_invalid",
  "token_expired",
  "token_revoked",
  "scope_insufficient",
  "not_your_session",
  "self_approval",
  "not_found",
  "method_not_allowed",
  "not_acceptable",
  "media_type_unsupported",
  "idempotency_mismatch",
  "decision_settled",
  "decision_stopped",
  "approval_closed",
  "session_closed",
  "lease_refused",
  "precondition_failed",
  "body_too_large",
  "body_invalid",
  "policy_invalid",
  "money_precision",
  "throttled",
  "authority_unavailable",
  "ledger_unavailable",
  "internal",
] as const;

export type RefusalCode = (typeof REFUSALS)[number];

/** A refusal as it crosses rooms: plain data, a sentence for a person, and where the body was wrong. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly detail: string;
  readonly issues?: readonly Issue[] | undefined;
  /** Of `lease_refused` and `decision_stopped`: why. */
  readonly reason?: LeaseReason | undefined;
}

export const refusal = (code: RefusalCode, detail: string, issues?: readonly Issue[]): Refusal =>
  issues === undefined ? { code, detail } : { code, detail, issues };

/** Of a key under which something else was asked before: nothing is done. */
export const KEY_REUSED = refusal("idempotency_mismatch", "The Idempotency-Key was used before with another body.");
