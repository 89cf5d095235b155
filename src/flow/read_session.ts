import type { SessionId } from "../core/ids.ts";
import { type PolicyLimits, policyLimits } from "../core/policy/compile.ts";
import { readPolicy } from "../core/policy/parse.ts";
import type { Principal } from "../core/request.ts";
import { ok } from "../core/result.ts";
import type { AccountStanding, Ports, Reply, SessionRead } from "./ports.ts";

/** A session as it stands, with the limits of the policy now in force for its agent. `limits` is `null` where there is none that can be read. */
export interface SessionNow {
  readonly session: SessionRead;
  readonly limits: PolicyLimits | null;
  /** The accounts that it shares; empty where no limit looks at them. */
  readonly standing: readonly AccountStanding[];
}

export async function readSession(ports: Ports, principal: Principal, id: SessionId): Reply<SessionNow> {
  const read = await ports.sessions.read(principal.tenant, id, principal);
  return read.ok ? withLimits(ports, principal.tenant, read.value) : read;
}

/** Closes a session and answers how it stands then. */
export async function closeSession(ports: Ports, principal: Principal, id: SessionId): Reply<SessionNow> {
  const closed = await ports.sessions.close(principal.tenant, id, principal);
  return closed.ok ? withLimits(ports, principal.tenant, closed.value) : closed;
}

async function withLimits(ports: Ports, tenant: string, session: SessionRead): Reply<SessionNow> {
  const effective = await ports.tenants.effectivePolicy(tenant, session.agent);
  if (!effective.ok) return effective;
  const document = effective.value === null ? null : readPolicy(effective.value.document);
  const limits = document?.ok ? policyLimits(document.value) : null;
  if (limits === null || limits.shared.length === 0) return ok({ session, limits, standing: [] });
  const standing = await ports.tenants.standing(tenant, session.agent);
  return standing.ok ? ok({ session, limits, standing: standing.value }) : standing;
}
