import type { Problem } from "../../sdk/src/wire.ts";
import type { Refusal, RefusalCode } from "../core/refusals.ts";
import type { Scope } from "../core/scopes.ts";

interface ProblemKind {
  readonly status: 400 | 401 | 403 | 404 | 405 | 406 | 409 | 412 | 413 | 415 | 422 | 429 | 500 | 503;
  readonly title: string;
}

/** Every way in which the gateway does not answer. A refusal without a row here does not compile. */
export const PROBLEMS = {
  body_malformed: { status: 400, title: "The body cannot be read" },
  token_missing: { status: 401, title: "A token is needed" },
  token_invalid: { status: 401, title: "The token is not valid" },
  token_expired: { status: 401, title: "The token has expired" },
  token_revoked: { status: 401, title: "The token was revoked" },
  scope_insufficient: { status: 403, title: "The caller may not do this" },
  not_your_session: { status: 403, title: "The session belongs to another agent" },
  self_approval: { status: 403, title: "Nobody approves a request of their own" },
  not_found: { status: 404, title: "There is no such thing" },
  method_not_allowed: { status: 405, title: "The method is not offered here" },
  not_acceptable: { status: 406, title: "No acceptable representation" },
  idempotency_mismatch: { status: 409, title: "Used before with another body" },
  decision_settled: { status: 409, title: "The decision cannot be settled so" },
  decision_stopped: { status: 409, title: "The decision is stopped" },
  approval_closed: { status: 409, title: "The approval does not take this now" },
  session_closed: { status: 409, title: "The session is closed" },
  lease_refused: { status: 409, title: "No lease is granted" },
  precondition_failed: { status: 412, title: "A condition of the request does not hold" },
  body_too_large: { status: 413, title: "The body is too large" },
  media_type_unsupported: { status: 415, title: "The media type is not supported" },
  body_invalid: { status: 422, title: "The request does not fit the contract" },
  policy_invalid: { status: 422, title: "The policy has mistakes" },
  money_precision: { status: 422, title: "The amount cannot be told exactly" },
  throttled: { status: 429, title: "Too many requests" },
  internal: { status: 500, title: "The gateway made a mistake" },
  authority_unavailable: { status: 503, title: "The authority cannot be reached" },
  ledger_unavailable: { status: 503, title: "The ledger cannot be reached" },
} as const satisfies { readonly [C in RefusalCode]: ProblemKind };

export const REALM = "agentsentinel";

/** Where a problem's code is explained: a reference relative to the gateway's own address (RFC 9457 section 3.1.1). */
export const problemType = (code: RefusalCode): string => `/docs/problems#${code}`;

/** What every answer carries, good or bad, and under which address the gateway was reached. */
export interface Door {
  readonly requestId: string;
  readonly headers: Record<string, string>;
  readonly origin: string;
}

/** A refusal as a problem document (RFC 9457). `scopes` are those that would have sufficed; they go into the challenge of a 403. */
export function problemResponse(refused: Refusal, { requestId, headers: common, origin }: Door, scopes: readonly Scope[] = []): Response {
  const { status, title } = PROBLEMS[refused.code];
  const problem: Problem = {
    type: problemType(refused.code),
    title,
    status,
    detail: refused.detail,
    code: refused.code,
    request_id: requestId,
    ...(refused.issues === undefined ? {} : { issues: refused.issues.map(issueOnTheWire) }),
    ...(refused.reason === undefined ? {} : { reason: reasonOnTheWire(refused.reason) }),
  };
  const headers = new Headers({ ...common, "Content-Type": "application/problem+json", "Cache-Control": "no-store" });
  const challenge = challengeFor(refused, scopes, origin);
  if (challenge !== null) headers.set("WWW-Authenticate", challenge);
  if (status === 503) headers.set("Retry-After", "1");
  return new Response(JSON.stringify(problem), { status, headers });
}

/**
 * RFC 6750 section 3: no error code where no token was sent, so that a client without one learns only that one is needed. RFC 9728 section 5.1: where
 * it is said how to get one.
 */
function challengeFor(refused: Refusal, scopes: readonly Scope[], origin: string): string | null {
  const { status } = PROBLEMS[refused.code];
  const metadata = `resource_metadata="${origin}/.well-known/oauth-protected-resource"`;
  if (status === 401) {
    const error = refused.code === "token_missing" ? "" : ', error="invalid_token"';
    return `Bearer realm="${REALM}"${error}, ${metadata}`;
  }
  if (refused.code !== "scope_insufficient") return null;
  const wanted = scopes.length === 0 ? "" : `, scope="${scopes.join(" ")}"`;
  return `Bearer realm="${REALM}", error="insufficient_scope"${wanted}, ${metadata}`;
}

const reasonOnTheWire = ({ code, message, rule, retryAfterMs, hint }: NonNullable<Refusal["reason"]>) => ({
  code,
  message,
  rule,
  remediation: { retry_after_ms: retryAfterMs, hint },
});

const issueOnTheWire = (issue: NonNullable<Refusal["issues"]>[number]) => ({
  pointer: issue.pointer,
  message: issue.message,
  ...(issue.line === undefined ? {} : { line: issue.line }),
  ...(issue.column === undefined ? {} : { column: issue.column }),
});
