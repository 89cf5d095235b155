import { openSessions, openTenants } from "./authority/authorities.ts";
import { openDirectory } from "./authority/directory.ts";
import { freshId } from "./authority/randomness.ts";
import { sha256 } from "./authority/sha256.ts";
import type { Env } from "./env.ts";
import { openPolicyCache, PolicyMemory } from "./flow/policy_cache.ts";
import type { Ports } from "./flow/ports.ts";
import { openIdentity } from "./identity/identity.ts";
import { openLedger } from "./ledger/ledger.ts";
import { openEvents } from "./ledger/tenant_feed.ts";
import { genaiPrices } from "./prices/prices.ts";
import { openWebhooks } from "./webhooks/webhooks.ts";

/** Ports by environment: they hold bindings and values that requests may share, never anything of one request. */
const known = new WeakMap<Env, Ports>();

/** Every port, behind it the real thing. */
export function openPorts(env: Env): Ports {
  const before = known.get(env);
  if (before !== undefined) return before;
  const tenants = openTenants(env);
  const directory = openDirectory(env);
  const ports: Ports = {
    sessions: openSessions(env),
    tenants,
    ledger: openLedger(env),
    directory,
    events: openEvents(env),
    webhooks: openWebhooks(env),
    policies: openPolicyCache(new PolicyMemory(), tenants, sha256),
    prices: genaiPrices,
    identity: openIdentity(env, {
      issuersOf: (issuer) => directory.issuersOf(issuer),
      readIssuer: async (tenant, name) => {
        const read = await tenants.readIssuer(tenant, name);
        if (!read.ok && read.error.code !== "not_found") throw new Error(read.error.detail);
        return read.ok ? read.value : null;
      },
    }),
    sha256,
    newId: freshId,
  };
  known.set(env, ports);
  return ports;
}
