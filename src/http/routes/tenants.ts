import { type Refusal, refusal } from "../../core/refusals.ts";
import type { Principal } from "../../core/request.ts";
import { err, ok, type Result } from "../../core/result.ts";
import { createTenant } from "../../flow/create_tenant.ts";
import { issueToken } from "../../flow/issue_token.ts";
import type { Caller } from "../../flow/ports.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, LIST_WEIGHT, noContent, pageQuery, replay, reply, route } from "../route.ts";

const ROOT_OR_TOKENS = { caller: "root or bearer", scopes: ["tokens:write"] } as const;

export const tenantRoutes = [
  route({
    method: "POST",
    path: "/v1/tenants",
    id: "createTenant",
    tag: "Tenants and tokens",
    summary: "Make a tenant",
    caller: "root",
    query: requests.noQuery,
    body: jsonBody(requests.createTenant, { id: "demo", name: "Demonstration" }),
    creates: true,
    answers: [jsonAnswer(201, "The tenant is there.", answers.createdTenant, { id: "demo" })],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, body, key }) =>
      reply(await createTenant(ports, { id: body.id, name: body.name ?? null }, key), ({ answer, replayed }) =>
        answered(201, { id: answer.id }, replay(replayed)),
      ),
  }),
  route({
    ...ROOT_OR_TOKENS,
    method: "POST",
    path: "/v1/tokens",
    id: "issueToken",
    tag: "Tenants and tokens",
    summary: "Issue a token, shown once",
    description:
      "A token gives away only scopes it holds itself; the root key gives any. A token of kind agent never holds a scope that widens its own authority.",
    query: requests.noQuery,
    body: jsonBody(requests.issueToken, {
      tenant: "demo",
      subject: "support-1",
      kind: "agent",
      scopes: ["sessions:write", "decisions:write"],
      ttl_ms: 86_400_000,
    }),
    creates: true,
    answers: [jsonAnswer(201, "The token.", answers.issuedToken, examples.issuedToken)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, caller, body, key, now }) => {
      const tenant = tenantMeant(caller, body.tenant, "body");
      if (!tenant.ok) return tenant;
      const wish = { tenant: tenant.value, subject: body.subject, kind: body.kind, scopes: body.scopes, ttlMs: body.ttl_ms ?? requests.TOKEN_TTL_MS };
      const issued = await issueToken(ports, caller, wish, key, now);
      return reply(issued, ({ answer, replayed }) => answered(201, present.issuedToken(answer), replay(replayed)));
    },
  }),
  route({
    ...ROOT_OR_TOKENS,
    method: "GET",
    path: "/v1/tokens",
    id: "listTokens",
    reads: LIST_WEIGHT,
    tag: "Tenants and tokens",
    summary: "List tokens, newest first, without the tokens themselves",
    query: requests.tokensQuery,
    body: null,
    answers: [jsonAnswer(200, "A page of tokens.", answers.tokenPage, { items: [examples.tokenSummary], next_cursor: null })],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, caller, query }) => {
      const tenant = tenantMeant(caller, query.tenant, "query");
      if (!tenant.ok) return tenant;
      return reply(await ports.tenants.listTokens(tenant.value, pageQuery(query)), (rows) => answered(200, present.page(rows, present.tokenSummary)));
    },
  }),
  route({
    ...ROOT_OR_TOKENS,
    method: "DELETE",
    path: "/v1/tokens/{token}",
    id: "revokeToken",
    tag: "Tenants and tokens",
    summary: "Revoke a token",
    description:
      "Refused at once where a session's lease is fresh, and never later than one lease term. Of the tenant's own issuers 1000 tokens are revoked one by one, each for 366 days, which is as long as one may live.",
    query: requests.tenantQuery,
    body: null,
    answers: [noContent("The token is revoked.")],
    refuses: ["body_invalid", "not_found", "authority_unavailable"],
    answer: async ({ ports, caller, parameters, query }) => {
      const tenant = tenantMeant(caller, query.tenant, "query");
      if (!tenant.ok) return tenant;
      return reply(await ports.tenants.revokeToken(tenant.value, principalOf(caller), parameters.token), () => ({ status: 204, body: null }));
    },
  }),
];

const principalOf = (caller: Caller): Principal | null => (caller.kind === "bearer" ? caller.principal : null);

/** The root key names a tenant; a token means its own, and another's does not exist for it. */
function tenantMeant(caller: Caller, named: string | undefined, place: "body" | "query"): Result<string, Refusal> {
  if (caller.kind === "root") {
    if (named !== undefined) return ok(named);
    const message = "is missing; wanted the id of the tenant, since the root key belongs to none";
    return err(refusal("body_invalid", `The ${place} is not valid: /tenant ${message}.`, [{ pointer: "/tenant", message }]));
  }
  if (named === undefined || named === caller.principal.tenant) return ok(caller.principal.tenant);
  return err(refusal("not_found", "There is no such tenant."));
}
