import type * as wire from "../../sdk/src/wire.ts";
import type { RefusalCode } from "../../src/core/refusals.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { type Names, PUBLIC_KEYS, type Question } from "./isolation_estate.ts";

/** Every operation of the API, and what it is to those who have no business with what it names. Said here a second time, and not read from the routes. */
export interface Row {
  readonly id: string;
  /** Which way of asking, where an operation has several. */
  readonly way?: string;
  readonly caller: "anyone" | "root" | "bearer" | "root or bearer";
  /** Any one of these scopes is enough. */
  readonly scopes: readonly wire.Scope[];
  /** What its maker must hold as well, since it gives that away. */
  readonly gives?: readonly wire.Scope[];
  /** The path and what is sent, with the names of one estate. */
  readonly path: (of: Names) => string;
  readonly body?: (of: Names) => unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Whose own request it is, and with which status it is answered. */
  readonly by: "agent" | "operator" | "root" | "anyone";
  readonly status: number;
  /** Whether anything is different afterwards. */
  readonly changes: boolean;
  /** What another tenant is told that names this one's things. `own`: an answer about its own things. */
  readonly stranger: Told;
  /** What another agent of the same tenant is told. */
  readonly peer: Told;
}

export type Told = RefusalCode | "own";

type Rest = Partial<Row> & Pick<Row, "path">;

const READS_SESSIONS: readonly wire.Scope[] = ["sessions:write", "decisions:write", "ledger:read"];
const READS_POLICIES: readonly wire.Scope[] = ["policies:read", "policies:write"];
const APPROVES: readonly wire.Scope[] = ["approvals:read", "approvals:write"];
const NOT_SHOWN = `sha-256:${"0".repeat(64)}`;
const READS_NOES: readonly wire.Scope[] = ["interventions:write", "ledger:read", "events:read"];

const row = (id: string, defaults: Partial<Row>, rest: Rest): Row => ({
  id,
  caller: "bearer",
  scopes: [],
  by: "agent",
  status: 200,
  changes: false,
  stranger: "not_found",
  peer: "not_your_session",
  ...defaults,
  ...rest,
});

/** What is done to a session of the agent's. */
const asks = (id: string, rest: Rest): Row => row(id, { scopes: ["decisions:write"], changes: true }, rest);
const moves = (id: string, rest: Rest): Row => row(id, { scopes: ["sessions:write"], changes: true }, rest);
/** Lists show everybody their own. */
const lists = (id: string, scopes: readonly wire.Scope[], rest: Rest): Row => row(id, { scopes, stranger: "own", peer: "own" }, rest);
/** What no token of kind agent may do. */
const governs = (id: string, scopes: readonly wire.Scope[], rest: Rest): Row =>
  row(id, { scopes, by: "operator", changes: true, peer: "scope_insufficient" }, rest);
const serves = (id: string, path: string): Row => row(id, { caller: "anyone", by: "anyone", stranger: "own", peer: "own" }, { path: () => path });

const session = (of: Names): string => `/v1/sessions/${of.session}`;
const decision = (of: Names): string => `${session(of)}/decisions/${of.pending}`;
const leases = (of: Names): string => `${session(of)}/leases`;
const approval = (of: Names): string => `/v1/approvals/${of.approval}`;
const policy = (of: Names): string => `/v1/policies/${of.policy}`;
const entity = (of: Names): string => `/v1/entities/${of.type}/${of.thing}`;
const issuer = (of: Names): string => `/v1/issuers/${of.issuer}`;
const webhook = (of: Names): string => `/v1/webhooks/${of.webhook}`;
const SOCKET = { Upgrade: "websocket" };

const stops = (way: string, target: (of: Names) => object, rest: Partial<Row> = {}): Row =>
  governs("intervene", ["interventions:write"], {
    way,
    path: () => "/v1/interventions",
    body: (of) => ({ target: target(of), kind: "pause", reason: "for the test" }),
    status: 201,
    ...rest,
  });

export const ROWS: readonly Row[] = [
  asks("decide", { path: (of) => `${session(of)}/decisions`, body: (of) => ({ action: "look", run: of.run, parents: [of.pending] }) }),
  asks("decide", {
    way: "with an approval",
    path: (of) => `${session(of)}/decisions`,
    body: (of) => ({ action: "pay", approval: of.approval, resource: { type: of.type, id: of.thing } }),
  }),
  asks("decide", {
    way: "under an id that was used",
    path: (of) => `${session(of)}/decisions`,
    body: (of) => ({ id: of.pending, action: "look" }),
    status: 409,
    changes: false,
  }),
  asks("decideBatch", {
    path: (of) => `${session(of)}/decisions/batch`,
    body: (of) => ({
      decisions: [
        { action: "look", run: of.run },
        { action: of.action, parents: [of.posted] },
      ],
    }),
  }),
  row("readDecision", { scopes: READS_SESSIONS }, { path: decision }),
  row("readDecision", { scopes: READS_SESSIONS }, { way: "of one that is settled", path: (of) => `${session(of)}/decisions/${of.posted}` }),
  row("readDecision", { scopes: READS_SESSIONS }, { way: "of one that is held", path: (of) => `${session(of)}/decisions/${of.held}?wait_ms=1` }),
  asks("commitDecision", { path: (of) => `${decision(of)}/commit`, body: () => ({ cost_usd: "0.01", outcome: "success" }) }),
  asks("commitDecision", {
    way: "again and differently",
    path: (of) => `${session(of)}/decisions/${of.posted}/commit`,
    body: () => ({ cost_usd: "0.01", outcome: "error" }),
    status: 409,
    changes: false,
  }),
  asks("releaseDecision", { path: (of) => `${decision(of)}/release`, body: () => ({ reason: "not done" }) }),
  asks("extendDecision", { path: (of) => `${decision(of)}/extend`, body: () => ({ ttl_ms: 3_600_000 }) }),
  asks("topupDecision", { path: (of) => `${decision(of)}/topup`, body: () => ({ estimate_usd: "0.07" }) }),

  asks("grantLease", { path: leases, body: () => ({ amount_usd: "0.01", actions: ["look"] }), status: 201 }),
  asks("grantLease", { way: "of what is denied", path: leases, body: () => ({ amount_usd: "0.01", actions: ["r*"] }), status: 409 }),
  row("readLease", { scopes: READS_SESSIONS }, { path: (of) => `${leases(of)}/${of.lease}` }),
  asks("settleLease", {
    path: (of) => `${leases(of)}/${of.lease}/settle`,
    body: () => ({ entries: [{ id: `dec_${crypto.randomUUID()}`, action: "look", cost_usd: "0", outcome: "success" }] }),
  }),
  asks("settleLease", {
    way: "with a decision that was asked for",
    path: (of) => `${leases(of)}/${of.lease}/settle`,
    body: (of) => ({ entries: [{ id: of.pending, action: "look", cost_usd: "0", outcome: "success" }] }),
    status: 409,
    changes: false,
  }),

  lists("listApprovals", APPROVES, { path: () => "/v1/approvals" }),
  lists("listApprovals", APPROVES, { way: "of an agent", path: (of) => `/v1/approvals?agent=${of.agent}`, peer: "not_your_session" }),
  governs("readApprovalSignals", ["approvals:write"], { path: () => "/v1/approvals/signals", changes: false, stranger: "own" }),
  // Each answer is told of by itself: a stranger's is `not_found`, and its owner's has a digest that was not shown, which goes on record.
  governs("decideApprovals", ["approvals:write"], {
    path: () => "/v1/approvals/decide",
    body: (of) => ({ answers: [{ id: of.approval, decision: "reject", action_digest: NOT_SHOWN }] }),
    stranger: "own",
  }),
  // That a person saw it is recorded.
  row("readApproval", { scopes: APPROVES, by: "operator", changes: true }, { path: approval }),
  governs("decideApproval", ["approvals:write"], {
    path: (of) => `${approval(of)}/decide`,
    body: () => ({ decision: "reject", action_digest: NOT_SHOWN }),
    status: 422,
  }),
  asks("respondApproval", { path: (of) => `${approval(of)}/respond`, body: () => ({ response: "Nobody asked." }), status: 409 }),
  governs("linkApproval", ["tokens:write"], {
    gives: APPROVES,
    path: (of) => `${approval(of)}/links`,
    body: () => ({ subject: "ann" }),
    status: 201,
  }),
  row("cancelApproval", { scopes: ["decisions:write", "approvals:write"], changes: true }, { path: (of) => `${approval(of)}/cancel` }),

  moves("openSession", { path: () => "/v1/sessions", body: (of) => ({ agent: of.agent, labels: { team: "x" } }), status: 201, stranger: "own" }),
  lists("listSessions", READS_SESSIONS, { path: () => "/v1/sessions" }),
  lists("listSessions", READS_SESSIONS, { way: "of an agent", path: (of) => `/v1/sessions?agent=${of.agent}`, peer: "not_your_session" }),
  lists("listSessions", READS_SESSIONS, { way: "after another's", path: (of) => `/v1/sessions?cursor=9999999999999.${of.session}` }),
  row("readSession", { scopes: READS_SESSIONS }, { path: session }),
  moves("closeSession", { path: (of) => `${session(of)}/close` }),
  moves("openRun", { path: (of) => `${session(of)}/runs`, status: 201 }),
  moves("closeRun", { path: (of) => `${session(of)}/runs/${of.run}/close` }),

  lists("listPolicies", READS_POLICIES, { path: () => "/v1/policies" }),
  lists("readEffectivePolicy", READS_POLICIES, { path: (of) => `/v1/policies/effective?agent=${of.agent}`, peer: "not_your_session" }),
  lists("validatePolicy", READS_POLICIES, { path: () => "/v1/policies/validate", body: (of) => ({ denied_actions: [of.action] }) }),
  row(
    "simulatePolicy",
    { scopes: READS_POLICIES, peer: "not_your_session" },
    {
      path: () => "/v1/policies/simulate",
      body: (of) => ({ policy: { denied_actions: [of.action] }, session: of.session, replaces: of.policy }),
    },
  ),
  lists("simulatePolicy", READS_POLICIES, {
    way: "over an agent's sessions",
    path: () => "/v1/policies/simulate",
    body: (of) => ({ policy: { denied_actions: [of.action] }, agent: of.agent }),
    peer: "not_your_session",
  }),
  lists("simulatePolicy", READS_POLICIES, {
    way: "over everything",
    path: () => "/v1/policies/simulate",
    body: () => ({ policy: { denied_actions: ["x"] } }),
  }),
  governs("putPolicy", ["policies:write"], {
    path: (of) => `${policy(of)}?activate=false`,
    body: () => ({ denied_actions: ["y"] }),
    status: 201,
    stranger: "own",
  }),
  governs("putPolicy", ["policies:write"], {
    way: "for an agent",
    path: (of) => `/v1/policies/of-${of.agent}?scope=agent&target=${of.agent}`,
    body: () => ({ denied_actions: ["y"] }),
    status: 201,
    stranger: "own",
  }),
  row("readPolicy", { scopes: READS_POLICIES, peer: "own" }, { path: policy }),
  governs("deletePolicy", ["policies:write"], { path: policy, status: 204 }),
  row("listPolicyVersions", { scopes: READS_POLICIES, peer: "own" }, { path: (of) => `${policy(of)}/versions` }),
  row(
    "readPolicyVersion",
    { scopes: READS_POLICIES, peer: "own" },
    { path: (of) => `${policy(of)}/versions/1`, headers: { Accept: "application/yaml" } },
  ),
  governs("activatePolicy", ["policies:write"], { path: (of) => `${policy(of)}/activate`, body: () => ({ version: 1 }) }),
  serves("readPolicySchema", "/v1/policy-schema.json"),

  lists("listEntities", READS_POLICIES, { path: () => "/v1/entities", by: "operator", peer: "not_your_session" }),
  lists("listEntities", READS_POLICIES, { way: "of a type", path: (of) => `/v1/entities?type=${of.type}`, by: "operator", peer: "not_your_session" }),
  governs("putEntity", ["policies:write"], { path: entity, body: () => ({ properties: { note: 1 } }), stranger: "own" }),
  row("readEntity", { scopes: READS_POLICIES, by: "operator" }, { path: entity }),
  row("readEntity", { scopes: READS_POLICIES }, { way: "of an agent", path: (of) => `/v1/entities/agent/${of.agent}` }),
  governs("deleteEntity", ["policies:write"], { path: entity, status: 204 }),

  lists("streamEvents", ["events:read"], { path: () => "/v1/events?last_event_id=0" }),
  lists("streamEvents", ["events:read"], {
    way: "of an agent",
    path: (of) => `/v1/events?last_event_id=0&agent=${of.agent}`,
    peer: "not_your_session",
  }),
  lists("streamEvents", ["events:read"], {
    way: "of a session",
    path: (of) => `/v1/events?last_event_id=0&session=${of.session}&action=${of.action}`,
  }),
  lists("openEventSocket", ["events:read"], { path: () => "/v1/events/ws?last_event_id=0", headers: SOCKET, status: 101 }),
  lists("openEventSocket", ["events:read"], {
    way: "of an agent",
    path: (of) => `/v1/events/ws?last_event_id=0&agent=${of.agent}`,
    headers: SOCKET,
    status: 101,
    peer: "not_your_session",
  }),
  lists("openEventSocket", ["events:read"], {
    way: "of a session",
    path: (of) => `/v1/events/ws?last_event_id=0&session=${of.session}`,
    headers: SOCKET,
    status: 101,
  }),

  lists("listInterventions", READS_NOES, { path: () => "/v1/interventions" }),
  lists("listInterventions", READS_NOES, { way: "against an agent", path: (of) => `/v1/interventions?agent=${of.agent}`, peer: "not_your_session" }),
  lists("listInterventions", READS_NOES, { way: "in a session", path: (of) => `/v1/interventions?session=${of.session}&action=rm` }),
  stops("on a session", (of) => ({ type: "session", id: of.session })),
  stops("on a tenant", (of) => ({ type: "tenant", id: of.tenant })),
  stops("on a run", (of) => ({ type: "run", id: of.run }), { stranger: "own" }),
  stops("on an agent", (of) => ({ type: "agent", id: of.agent }), { stranger: "own" }),
  stops("on an action", (of) => ({ type: "action", id: of.action }), { stranger: "own" }),

  lists("listEntries", ["ledger:read"], { path: () => "/v1/ledger" }),
  lists("listEntries", ["ledger:read"], { way: "of an agent", path: (of) => `/v1/ledger?agent=${of.agent}`, peer: "not_your_session" }),
  lists("listEntries", ["ledger:read"], { way: "of a session", path: (of) => `/v1/ledger?session=${of.session}` }),
  lists("listEntries", ["ledger:read"], { way: "of a run", path: (of) => `/v1/ledger?run=${of.run}&action=${of.action}&tag=${of.tag}` }),
  lists("exportEntries", ["ledger:read"], { path: () => "/v1/ledger/export" }),
  lists("exportEntries", ["ledger:read"], { way: "of an agent", path: (of) => `/v1/ledger/export?agent=${of.agent}`, peer: "not_your_session" }),
  lists("exportEntries", ["ledger:read"], { way: "of a session", path: (of) => `/v1/ledger/export?session=${of.session}` }),
  // Who reports says whose it is: of the agent's own, another agent is told of the entry alone that it was not taken.
  row(
    "ingestEntries",
    { scopes: ["ledger:write"], changes: true, status: 202, stranger: "own", peer: "own" },
    {
      path: () => "/v1/ledger/entries",
      body: (of) => {
        const names = { agent_id: of.agent, session_id: of.session, run_id: of.run, decision_id: of.posted, parents: [of.pending] };
        return { run: of.run, entries: [{ id: crypto.randomUUID(), action: of.action, tags: [of.tag], cost_usd: 1, ...names }] };
      },
    },
  ),
  row("readEntry", { scopes: ["ledger:read"], peer: "not_found" }, { path: (of) => `/v1/ledger/${of.entry}` }),
  lists("reportCosts", ["ledger:read"], { path: () => "/v1/costs?group_by=session" }),

  lists("readSettings", READS_POLICIES, { path: () => "/v1/settings" }),
  governs("putSettings", ["policies:write"], {
    path: () => "/v1/settings",
    body: (of) => ({ cors_origins: [of.page], default_policy: of.policy }),
    stranger: "body_invalid",
  }),

  governs("listIssuers", ["tokens:write"], { path: () => "/v1/issuers", changes: false, stranger: "own" }),
  governs("putIssuer", ["tokens:write"], {
    path: issuer,
    body: (of) => ({ issuer: of.issuerUrl, audience: of.audience, jwks: PUBLIC_KEYS, claims: { scopes: "scopes" } }),
    stranger: "own",
  }),
  governs("readIssuer", ["tokens:write"], { path: issuer, changes: false }),
  governs("deleteIssuer", ["tokens:write"], { path: issuer, status: 204 }),

  governs("createWebhook", ["webhooks:write"], {
    path: () => "/v1/webhooks",
    body: (of) => ({ url: `${of.page}/in`, events: ["ingest.*"] }),
    status: 201,
    stranger: "own",
  }),
  governs("listWebhooks", ["webhooks:write"], { path: () => "/v1/webhooks", changes: false, stranger: "own" }),
  governs("readWebhook", ["webhooks:write"], { path: webhook, changes: false }),
  governs("deleteWebhook", ["webhooks:write"], { path: webhook, status: 204 }),
  governs("rotateWebhook", ["webhooks:write"], { path: (of) => `${webhook(of)}/rotate`, status: 201 }),
  governs("resumeWebhook", ["webhooks:write"], { path: (of) => `${webhook(of)}/resume`, body: () => ({ from: "0" }) }),
  governs("listDeliveries", ["webhooks:write"], { path: (of) => `${webhook(of)}/deliveries?status=delivered`, changes: false }),
  governs("redeliver", ["webhooks:write"], { path: (of) => `${webhook(of)}/deliveries/${of.delivery}/redeliver` }),

  row(
    "createTenant",
    { caller: "root", by: "root", stranger: "scope_insufficient", peer: "scope_insufficient" },
    {
      path: () => "/v1/tenants",
      body: (of) => ({ id: of.tenant, name: "another" }),
      // It is there, under another name.
      status: 409,
    },
  ),
  governs("issueToken", ["tokens:write"], {
    caller: "root or bearer",
    path: () => "/v1/tokens",
    body: (of) => ({ subject: of.agent, kind: "human", scopes: ["tokens:write"] }),
    status: 201,
    stranger: "own",
  }),
  governs("issueToken", ["tokens:write"], {
    way: "of a tenant",
    caller: "root or bearer",
    path: () => "/v1/tokens",
    body: (of) => ({ tenant: of.tenant, subject: of.agent, kind: "human", scopes: ["tokens:write"] }),
    status: 201,
  }),
  governs("listTokens", ["tokens:write"], { caller: "root or bearer", path: () => "/v1/tokens", changes: false, stranger: "own" }),
  governs("listTokens", ["tokens:write"], {
    way: "of a tenant",
    caller: "root or bearer",
    path: (of) => `/v1/tokens?tenant=${of.tenant}`,
    changes: false,
  }),
  // Who has issuers of its own may name tokens that nobody here has seen: a foreign one and none at all are then the same.
  governs("revokeToken", ["tokens:write"], { caller: "root or bearer", path: (of) => `/v1/tokens/${of.token}`, status: 204, stranger: "own" }),
  governs("revokeToken", ["tokens:write"], {
    way: "of a tenant",
    caller: "root or bearer",
    path: (of) => `/v1/tokens/${of.token}?tenant=${of.tenant}`,
    status: 204,
  }),

  serves("readHealth", "/healthz"),
  serves("readOpenApi", "/openapi.json"),
  serves("readKeySet", "/.well-known/jwks.json"),
  serves("readProtectedResource", "/.well-known/oauth-protected-resource"),
  serves("readLanding", "/"),
  serves("readDocs", "/docs"),
  serves("readApprovePage", "/approve"),
  serves("readProblems", "/docs/problems"),
];

/** The operation that a row is about. */
export const routeOf = (row: Row) => {
  const route = ROUTES.find(({ id }) => id === row.id);
  if (route === undefined) throw new Error(`there is no operation "${row.id}"`);
  return route;
};

/** What a row asks, with these names. By another method than its own it has no body, and opens no socket. */
export function question(row: Row, names: Names, more: Pick<Question, "headers"> & { readonly method?: string } = {}): Question {
  const { method } = routeOf(row);
  const isOwn = more.method === undefined || more.method === method;
  return {
    method: more.method ?? method,
    path: row.path(names),
    ...(isOwn && row.body !== undefined && { body: row.body(names) }),
    headers: { ...(isOwn && row.headers), ...more.headers },
  };
}
