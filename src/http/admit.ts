import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { Caller, Ports } from "../flow/ports.ts";
import type { Route } from "./route.ts";

/**
 * Lets in who may use a route: first who it is (401), then whether it comes too often (429), then whether the token was revoked (401), then what it may
 * do (403). `throttle` hears that too: an allowance that not everybody has is nobody else's to use up. Who comes too often is turned away before any object is asked. A link is let in to its one approval, whatever its scopes would open.
 * `null` on a route for anyone, where nobody is asked.
 */
export async function admit(
  route: Route,
  segments: Readonly<Record<string, string>>,
  authorization: string | null,
  ports: Ports,
  now: Instant,
  throttle: (principal: Principal, mayUse: boolean) => Refusal | null,
): Promise<Result<Caller | null, Refusal>> {
  if (route.caller === "anyone") return ok(null);
  const known = await ports.identity.authenticate(authorization, now);
  if (!known.ok) return known;
  const caller = known.value;
  if (caller.kind === "root") {
    if (route.caller === "bearer")
      return err(refusal("scope_insufficient", "The root key only makes tenants and tokens; this needs a tenant's token."));
    return ok(caller);
  }
  const hasScope = route.scopes.some((scope) => caller.scopes.includes(scope));
  const { only } = caller.principal;
  const isElsewhere = only !== undefined && !(route.admitsLinks && segments.approval === only);
  const tooMany = throttle(caller.principal, hasScope && !isElsewhere);
  if (tooMany !== null) return err(tooMany);
  if (route.revocation === "tenant" && !(await ports.tenants.isTokenGood(caller.principal.tenant, caller.principal))) {
    return err(refusal("token_revoked", "The token was revoked."));
  }
  if (route.caller === "root") return err(refusal("scope_insufficient", "This needs the root key."));
  if (isElsewhere) return err(ONE_APPROVAL);
  if (!hasScope) return err(refusal("scope_insufficient", `The token lacks the scope ${route.scopes.join(" or ")}.`));
  return ok(caller);
}

const ONE_APPROVAL = refusal("scope_insufficient", "A link is for one approval alone: it reads that one and answers it, and nothing else.");
