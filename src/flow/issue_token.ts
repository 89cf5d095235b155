import type { ApprovalId } from "../core/ids.ts";
import { refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok } from "../core/result.ts";
import { SCOPES_NO_AGENT_HOLDS, type Scope } from "../core/scopes.ts";
import type { Instant } from "../core/time.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Caller, Ports, Reply, TokenRecord } from "./ports.ts";

export interface TokenWish {
  readonly tenant: string;
  readonly subject: string;
  readonly kind: Principal["kind"];
  readonly scopes: readonly Scope[];
  readonly ttlMs: number;
  /** Makes it the token of a link, for this approval alone. */
  readonly approval?: ApprovalId | undefined;
}

/**
 * Makes a token and registers it with its tenant. The token itself is kept nowhere: a repeated request signs the recorded claims again, and the
 * signature (Ed25519) is the same. A bearer gives away only scopes it holds itself; the root key gives any.
 */
export async function issueToken(
  ports: Ports,
  caller: Caller,
  wish: TokenWish,
  key: IdempotencyKey,
  now: Instant,
): Reply<Answered<{ readonly record: TokenRecord; readonly token: string }>> {
  if (wish.kind === "agent") {
    const forbidden = wish.scopes.findIndex((scope) => SCOPES_NO_AGENT_HOLDS.includes(scope));
    if (forbidden >= 0) {
      return err(
        refusal("body_invalid", "A token of kind agent cannot hold that scope.", [
          { pointer: `/scopes/${forbidden}`, message: `"${wish.scopes[forbidden]}" is never held by a token of kind "agent"` },
        ]),
      );
    }
  }
  if (caller.kind === "bearer") {
    const beyond = wish.scopes.find((scope) => !caller.scopes.includes(scope));
    if (beyond !== undefined)
      return err(refusal("scope_insufficient", `A token gives away only scopes it holds itself: it does not hold "${beyond}".`));
  }
  const principal = caller.kind === "bearer" ? caller.principal : null;
  const maker = { tenant: wish.tenant, kind: principal?.kind ?? ("root" as const), subject: principal?.subject ?? "root" };
  const wanted: TokenRecord = {
    // One key sent for a token and for a link names two.
    id: idFor(ports, "tok", maker, key, wish.approval === undefined ? "token" : "link"),
    subject: wish.subject,
    kind: wish.kind,
    scopes: wish.scopes,
    issuedAt: now,
    expiresAt: now + wish.ttlMs,
    ...(wish.approval !== undefined && { approval: wish.approval }),
  };
  const recorded = await ports.tenants.recordToken(wish.tenant, principal, wanted, fingerprintOf(ports, wish));
  if (!recorded.ok) return recorded;
  const record = recorded.value.answer;
  return ok({ answer: { record, token: await ports.identity.sign(wish.tenant, record) }, replayed: recorded.value.replayed });
}
