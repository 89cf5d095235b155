import type { ApprovalId } from "../core/ids.ts";
import type { Scope } from "../core/scopes.ts";
import type { IdempotencyKey } from "./idempotency.ts";
import { issueToken } from "./issue_token.ts";
import type { Answered, Caller, Ports, Reply, TokenRecord } from "./ports.ts";

/** What a link needs to show an approval and to answer it. Which approval, its token says. */
const LINK_SCOPES: readonly Scope[] = ["approvals:read", "approvals:write"];

export interface LinkWish {
  readonly approval: ApprovalId;
  /** Who answers by it: what is said with it is on record as this person's. */
  readonly subject: string;
  readonly ttlMs: number;
}

/**
 * Makes the token of a one-time link: a person's, for one approval alone, at most as long as that can be answered. As with every token, nobody gives away
 * scopes it does not hold. Refuses what the tenant's settings do not allow (`scope_insufficient`) and what is over (`approval_closed`).
 */
export const linkApproval = (
  ports: Ports,
  caller: Extract<Caller, { kind: "bearer" }>,
  { approval, subject, ttlMs }: LinkWish,
  key: IdempotencyKey,
  now: number,
): Reply<Answered<{ readonly record: TokenRecord; readonly token: string }>> =>
  issueToken(ports, caller, { tenant: caller.principal.tenant, subject, kind: "human", scopes: LINK_SCOPES, ttlMs, approval }, key, now);
