import { type ApprovalId, isId } from "../core/ids.ts";
import { formatUsd } from "../core/money.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { SCOPES, SCOPES_NO_AGENT_HOLDS, type Scope } from "../core/scopes.ts";
import type { Instant } from "../core/time.ts";
import type { Caller, LeaseGranted, TokenRecord } from "../flow/ports.ts";

/** The header's `typ` and the `aud` of every token here: a token made for anything else is none (RFC 8725, sections 3.9 and 3.11). */
export const TYPE = "at+jwt";
export const AUDIENCE = "agentsentinel";

const TENANT = /^[a-z0-9-]{1,63}$/;
const KINDS: readonly Principal["kind"][] = ["agent", "human", "service"];

/**
 * The claims of a recorded token. Its beginning is cut downwards to whole seconds; its end is the record's to the millisecond, as a number of seconds
 * may be (RFC 7519, section 2: NumericDate), so that a token of one second is good for one second.
 */
export function claimsOf(issuer: string, tenant: string, record: TokenRecord) {
  const issued = Math.floor(record.issuedAt / 1000);
  return {
    iss: issuer,
    aud: AUDIENCE,
    sub: record.subject,
    tid: tenant,
    kind: record.kind,
    scope: record.scopes.join(" "),
    jti: record.id,
    iat: issued,
    nbf: issued,
    exp: record.expiresAt / 1000,
    ...(record.approval !== undefined && { apr: record.approval }),
  };
}

/** The header's `typ` and the `aud` of a client lease: nobody takes it for an access token, nor an access token for a lease. */
export const LEASE_TYPE = "lease+jwt";
export const LEASE_AUDIENCE = "agentsentinel:lease";

/** The claims of a client lease. Its end is cut downwards to whole seconds: its holder stops rather sooner. */
export const leaseClaims = (issuer: string, tenant: string, lease: LeaseGranted) => ({
  iss: issuer,
  aud: LEASE_AUDIENCE,
  sub: lease.agent,
  tid: tenant,
  jti: lease.id,
  ses: lease.session,
  run: lease.run,
  act: lease.actions,
  amt: formatUsd(lease.amountMicroUsd),
  pol: lease.policy.digest,
  iat: Math.floor(lease.grantedAt / 1000),
  exp: Math.floor(lease.expiresAt / 1000),
});

/**
 * Reads the claims of a token whose signature was verified. A scope that is unknown here, or that no agent holds in the token of an agent,
 * is dropped: it gives nothing. Everything else must be exactly what {@link claimsOf} writes; the error names the claim.
 */
export function parseClaims(payload: unknown): Result<{ readonly caller: Extract<Caller, { kind: "bearer" }>; readonly notBefore: Instant }, string> {
  if (typeof payload !== "object" || payload === null) return err("they are no JSON object");
  const claims = new Map<string, unknown>(Object.entries(payload));

  const audience = claims.get("aud");
  if (audience !== AUDIENCE) return err("`aud` is not this gateway alone");
  const subject = claims.get("sub");
  if (typeof subject !== "string" || !isSubject(subject)) {
    return err("`sub` is not a text of 1 to 255 characters");
  }
  const tenant = claims.get("tid");
  if (typeof tenant !== "string" || !TENANT.test(tenant)) return err("`tid` is not a tenant's id");
  const kind = KINDS.find((known) => known === claims.get("kind"));
  if (kind === undefined) return err("`kind` is none of agent, human, service");
  const tokenId = claims.get("jti");
  if (typeof tokenId !== "string" || !isId("tok", tokenId)) return err("`jti` is not a token's id");
  const scope = claims.get("scope");
  if (typeof scope !== "string") return err("`scope` is not a text");
  const expiresAt = instantOf(claims.get("exp"));
  if (expiresAt === null) return err("`exp` is not a number of seconds");
  const notBefore = claims.has("nbf") ? instantOf(claims.get("nbf")) : 0;
  if (notBefore === null) return err("`nbf` is not a number of seconds");

  const only = claims.has("apr") ? approvalOf(claims.get("apr")) : undefined;
  // A restriction that cannot be read must not fall away.
  if (only === null) return err("`apr` is not an approval's id");

  const principal: Principal = { tokenId, tenant, subject, kind, ...(only !== undefined && { only }) };
  return ok({ caller: { kind: "bearer", principal, scopes: scopesOf(scope, kind), expiresAt }, notBefore });
}

function scopesOf(claimed: string, kind: Principal["kind"]): readonly Scope[] {
  const names = claimed.split(" ");
  return SCOPES.filter((scope) => names.includes(scope) && !(kind === "agent" && SCOPES_NO_AGENT_HOLDS.includes(scope)));
}

const approvalOf = (claim: unknown): ApprovalId | null => (typeof claim === "string" && isId("apr", claim) ? claim : null);

/** A NumericDate, to the nearest millisecond. */
export function instantOf(claim: unknown): Instant | null {
  const at = typeof claim === "number" && claim >= 0 ? Math.round(claim * 1000) : Number.NaN;
  return Number.isSafeInteger(at) ? at : null;
}

/**
 * Whether a text can be a token's subject: 1 to 255 whole characters, none of them a control character. So long a name of an agent may be everywhere
 * else: who may act can be stopped by name.
 */
export const isSubject = (text: string): boolean => SUBJECT.test(text);

const SUBJECT = /^[^\p{Cc}\p{Cs}]{1,255}$/u;
