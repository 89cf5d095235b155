import { openSessions, openTenants } from "./authority/authorities.ts";
import { sha256 } from "./authority/sha256.ts";
import { idOf } from "./core/ids.ts";
import type { Env } from "./env.ts";
import { openPolicyCache, PolicyMemory } from "./flow/policy_cache.ts";
import type { Ports } from "./flow/ports.ts";
import { openIdentity } from "./identity/identity.ts";
import { openLedger } from "./ledger/ledger.ts";

/** What this isolate remembers between requests: compiled policies only, which are the same for everybody who may ask. */
const memory = new PolicyMemory();

/** The world of one request: every port, behind it the real thing. */
export function openPorts(env: Env): Ports {
  const tenants = openTenants(env);
  return {
    sessions: openSessions(env),
    tenants,
    ledger: openLedger(env),
    policies: openPolicyCache(memory, tenants),
    identity: openIdentity(env),
    sha256,
    newId: (prefix) => idOf(prefix, Date.now(), crypto.getRandomValues(new Uint8Array(10))),
  };
}
