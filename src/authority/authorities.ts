import type { Decision } from "../core/decision.ts";
import type { Refusal } from "../core/refusals.ts";
import { ok, type Result } from "../core/result.ts";
import type { DecideReply, Sessions, Tenants } from "../flow/ports.ts";
import { type AuthorityEnv, sessionObjectName } from "./env.ts";
import { reach, TRIES } from "./reach.ts";
import type { DecideReplyText, SessionAuthority } from "./session_authority.ts";
import type { TenantAuthority } from "./tenant_authority.ts";

/** The sessions' objects behind the port of that name. */
export function openSessions(env: AuthorityEnv): Sessions {
  const at = (tenant: string, session: string): Called<SessionAuthority> => called(env.SESSIONS.getByName(sessionObjectName(tenant, session)));
  return {
    open: (order) => reach(() => at(order.principal.tenant, order.id).open(order)),
    decide: (tenant, session, call) => {
      const text = JSON.stringify(call);
      return reach(async () => readDecided(await at(tenant, session).decide(text)));
    },
    commit: (tenant, session, principal, id, report, fingerprint) => reach(() => at(tenant, session).commit(principal, id, report, fingerprint)),
    release: (tenant, session, principal, id, reason) => reach(() => at(tenant, session).release(principal, id, reason)),
    extend: (tenant, session, principal, id, ttlMs) => reach(() => at(tenant, session).extend(principal, id, ttlMs)),
    topup: (tenant, session, call) => reach(() => at(tenant, session).topup(call)),
    grantLease: (tenant, session, call) => reach(() => at(tenant, session).grantLease(call)),
    readLease: (tenant, session, principal, id) => reach(() => at(tenant, session).readClientLease(principal, id)),
    settleLease: (tenant, session, call) => reach(() => at(tenant, session).settleLease(call)),
    readApproval: (tenant, session, principal, id) => reach(() => at(tenant, session).readApproval(principal, id)),
    answerApproval: (tenant, session, answering) => reach(() => at(tenant, session).answerApproval(answering)),
    respondApproval: (tenant, session, principal, id, response) => reach(() => at(tenant, session).respondApproval(principal, id, response)),
    cancelApproval: (tenant, session, principal, id, mayApprove, why) =>
      reach(() => at(tenant, session).cancelApproval(principal, id, mayApprove, why)),
    readDecision: (tenant, session, principal, id, waitMs) => reach(() => at(tenant, session).readDecision(principal, id, waitMs)),
    openRun: (tenant, session, principal, run) => reach(() => at(tenant, session).openRun(principal, run)),
    closeRun: (tenant, session, principal, run) => reach(() => at(tenant, session).closeRun(principal, run)),
    close: (tenant, session, principal) => reach(() => at(tenant, session).close(principal)),
    read: (tenant, session, principal) => reach(() => at(tenant, session).read(principal)),
    renewLease: (tenant, session) => reach(() => at(tenant, session).renewLease()),
    ship: async (tenant, session) => at(tenant, session).ship(),
  };
}

function readDecided(reply: DecideReplyText): Result<DecideReply, Refusal> {
  if (reply.kind === "other") return reply.reply;
  // Printed by the session's store, from values of this very type.
  const decisions = reply.texts.map((text, place) => ({
    answer: JSON.parse(text) as Decision,
    replayed: reply.replayed[place] === true,
    superseded: reply.superseded[place] ?? null,
  }));
  return ok({ kind: "decided", decisions });
}

/** The tenants' objects behind the port of that name. */
export function openTenants(env: AuthorityEnv): Tenants {
  const at = (tenant: string): Called<TenantAuthority> => called(env.TENANTS.getByName(tenant));
  return {
    create: (tenant) => reach(() => at(tenant.id).create(tenant)),
    claimRootKey: (key, fingerprint) => reach(() => at(ROOT_KEYS).claimRootKey(key, fingerprint)),
    listSessions: (tenant, page, agent) => reach(() => at(tenant).listSessions(page, agent)),
    liveSessions: async (tenant, most) => at(tenant).liveSessions(most),
    intervene: (tenant, principal, intervention) => reach(() => at(tenant).intervene(principal, intervention)),
    findApproval: (tenant, id) => reach(() => at(tenant).findApproval(id)),
    listApprovals: (tenant, filter, page) => reach(() => at(tenant).listApprovals(filter, page)),
    approvalSignals: (tenant, from, to) => reach(() => at(tenant).approvalSignals(from, to)),
    admitLease: (tenant, principal, session, ttlMs) => reach(() => at(tenant).admitLease(principal, session, ttlMs)),
    standing: (tenant, agent) => reach(() => at(tenant).standing(agent)),
    // What must not be there is there the second time, if the first did it.
    putPolicy: (tenant, principal, put) => reach(() => at(tenant).putPolicy(principal, put), put.onlyIf?.isNot == null ? TRIES : 1),
    activatePolicy: (tenant, principal, name, version) => reach(() => at(tenant).activatePolicy(principal, name, version)),
    deletePolicy: (tenant, principal, name) => reach(() => at(tenant).deletePolicy(principal, name)),
    listPolicies: (tenant, page) => reach(() => at(tenant).listPolicies(page)),
    readPolicy: (tenant, name, version) => reach(() => at(tenant).readPolicy(name, version)),
    listPolicyVersions: (tenant, name, page) => reach(() => at(tenant).listPolicyVersions(name, page)),
    effectivePolicy: (tenant, agent) => reach(() => at(tenant).effectivePolicy(agent)),
    putEntity: (tenant, principal, entity) => reach(() => at(tenant).putEntity(principal, entity)),
    deleteEntity: (tenant, principal, ref) => reach(() => at(tenant).deleteEntity(principal, ref)),
    readEntity: (tenant, ref) => reach(() => at(tenant).readEntity(ref)),
    listEntities: (tenant, page, type) => reach(() => at(tenant).listEntities(page, type)),
    readEntities: (tenant, refs) => reach(() => at(tenant).readEntities(refs)),
    readSettings: (tenant) => reach(() => at(tenant).readSettings()),
    putSettings: (tenant, principal, settings) => reach(() => at(tenant).putSettings(principal, settings)),
    putIssuer: (tenant, principal, wish) => reach(() => at(tenant).putIssuer(principal, wish)),
    deleteIssuer: (tenant, principal, name) => reach(() => at(tenant).deleteIssuer(principal, name)),
    readIssuer: (tenant, name) => reach(() => at(tenant).readIssuer(name)),
    listIssuers: (tenant, page) => reach(() => at(tenant).listIssuers(page)),
    recordToken: (tenant, principal, token, fingerprint) => reach(() => at(tenant).recordToken(principal, token, fingerprint)),
    listTokens: (tenant, page) => reach(() => at(tenant).listTokens(page)),
    revokeToken: (tenant, principal, id) => reach(() => at(tenant).revokeToken(principal, id)),
    isTokenGood: async (tenant, token) => at(tenant).isTokenGood(token),
    ship: async (tenant) => at(tenant).ship(),
  };
}

/** The object that remembers the root key's idempotency keys: no tenant can have this id. */
const ROOT_KEYS = "~root";

/** An object's methods as its caller sees them: each answers later, with plain data. */
export type Called<T> = { readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never };

/** A stub seen so. The platform's own type wraps every answer in disposal machinery, which for plain data is not there when it runs. */
export const called = <T extends Rpc.DurableObjectBranded>(stub: DurableObjectStub<T>): Called<T> => stub as unknown as Called<T>;
