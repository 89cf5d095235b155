import { AgentSentinelError, type RefusalIssue } from "../errors.ts";

/**
 * What this process was asked cannot be done as it was asked, and nothing was: a mistake of whoever wrote the program or the policy, never a verdict.
 * `code` is what a gateway would say to the same: `body_invalid`, `policy_invalid`, `not_found`, `decision_settled`, `idempotency_mismatch`; and
 * `policy_unreadable` for a file that cannot be read.
 */
export class LocalRefusedError extends AgentSentinelError {
  override readonly name = "LocalRefusedError";
  declare readonly code: string;
  declare readonly detail: string;
  /** Where the request or the policy is wrong. */
  declare readonly issues: readonly RefusalIssue[];

  /** `what` could not be done: `decide "send_email"`. */
  constructor(what: string, { code, detail, issues = [], cause }: LocalRefusal) {
    super(`Cannot ${what}: ${detail}`, { recoverable: false, cause });
    Object.assign(this, { code, detail, issues });
  }
}

export interface LocalRefusal {
  readonly code: string;
  readonly detail: string;
  readonly issues?: readonly RefusalIssue[];
  readonly cause?: unknown;
}
