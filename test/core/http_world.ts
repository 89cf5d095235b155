import { createHash } from "node:crypto";
import type { Decision, Settlement } from "../../src/core/decision.ts";
import { type IdPrefix, idOf } from "../../src/core/ids.ts";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import { refusal } from "../../src/core/refusals.ts";
import { err, ok } from "../../src/core/result.ts";
import { SCOPES, type Scope } from "../../src/core/scopes.ts";
import {
  type AccountRead,
  type ApprovalRead,
  type Caller,
  DEFAULT_SETTINGS,
  type DeliveryRow,
  type IssuerRow,
  type LeaseGranted,
  type Ports,
  type SessionRead,
  type TokenRecord,
  type WebhookRow,
} from "../../src/flow/ports.ts";
import { createApp } from "../../src/http/app.ts";
import { EXAMPLE_DIGEST, EXAMPLE_IDS } from "../../src/http/fields.ts";
import { asDeclared } from "./http_declared.ts";

/** A world in which every port answers as if all were well, so that a test sees what the HTTP room alone does. */

export const AT = Date.UTC(2026, 10, 22, 19);

const POLICY = { name: "demo", version: 3, digest: EXAMPLE_DIGEST as `sha-256:${string}` };
const ENTRY = { id: EXAMPLE_IDS.ent, seq: 2, hash: "ab".repeat(32) };
const EMPTY: AccountRead = { postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD, leasedMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD };

export const aDecision: Decision = {
  id: EXAMPLE_IDS.dec,
  session: EXAMPLE_IDS.ses,
  run: EXAMPLE_IDS.run,
  action: "send_email",
  verdict: "hold",
  stops: null,
  reason: { code: "approval_required", message: "A person must approve it first.", rule: "/approvals/actions", retryAfterMs: null, hint: null },
  reservation: null,
  budgets: [
    {
      scope: "run",
      name: EXAMPLE_IDS.run,
      limitMicroUsd: microUsdOf(1_000_000),
      postedMicroUsd: microUsdOf(1_200_000),
      pendingMicroUsd: ZERO_USD,
      leasedMicroUsd: ZERO_USD,
    },
  ],
  rates: [{ name: "send_email", per: "session", limit: 10, remaining: 9, windowMs: 60_000, resetMs: 60_000 }],
  policy: POLICY,
  advice: [],
  warnings: [],
  approval: { id: EXAMPLE_IDS.apr, expiresAt: AT + 1000 },
  entry: ENTRY,
};

const anApproval: ApprovalRead = {
  session: EXAMPLE_IDS.ses,
  agent: "ada",
  approval: {
    id: EXAMPLE_IDS.apr,
    decision: EXAMPLE_IDS.dec,
    run: EXAMPLE_IDS.run,
    action: "send_email",
    status: "pending",
    digest: EXAMPLE_DIGEST as `sha-256:${string}`,
    policy: POLICY,
    chain: { needed: 2, groups: [{ subjects: ["ann"], scopes: [] }], fourEyes: true },
    requester: { kind: "agent", subject: "ada" },
    redaction: null,
    asked: { resource: null, inputs: EXAMPLE_DIGEST as `sha-256:${string}`, estimateMicroUsd: ZERO_USD },
    openedAt: AT,
    expiresAt: AT + 1000,
    termMs: 1000,
    answers: [],
    edits: { inputs: { to: "a@b.c" }, estimateMicroUsd: microUsdOf(5) },
    seen: [],
    answeredAt: null,
    usedBy: null,
  },
  card: {
    resource: { type: "mailbox", id: "m1" },
    inputs: { to: "a@b.c" },
    tags: [],
    riskLevel: "high",
    reason: { code: "approval_required", message: "A person must approve it first.", rule: "/approvals/actions" },
    rationale: null,
    confidence: null,
    sources: [],
    parents: [],
    model: null,
    balances: aDecision.budgets,
  },
};

export const aSettlement: Settlement = {
  id: EXAMPLE_IDS.dec,
  state: "posted",
  postedMicroUsd: microUsdOf(43_000),
  overrunMicroUsd: ZERO_USD,
  late: false,
  reservation: { amountMicroUsd: microUsdOf(50_000), expiresAt: AT },
  budgets: [],
  entry: ENTRY,
};

const aLease: LeaseGranted = {
  id: EXAMPLE_IDS.lse,
  session: EXAMPLE_IDS.ses,
  agent: "ada",
  run: EXAMPLE_IDS.run,
  actions: ["search*"],
  amountMicroUsd: microUsdOf(500_000),
  grantedAt: AT,
  expiresAt: AT + 30_000,
  policy: POLICY,
  budgets: aDecision.budgets,
  entry: ENTRY,
};

export const aSession: SessionRead = {
  id: EXAMPLE_IDS.ses,
  tenant: "t",
  agent: "ada",
  labels: { team: "support" },
  state: "active",
  openedAt: AT,
  expiresAt: AT + 1000,
  run: EXAMPLE_IDS.run,
  policy: POLICY,
  budgetMicroUsd: microUsdOf(2_000_000),
  total: { ...EMPTY, postedMicroUsd: microUsdOf(300_000) },
  windDown: EMPTY,
  runs: [{ ...EMPTY, id: EXAMPLE_IDS.run, postedMicroUsd: microUsdOf(300_000) }],
  actions: [
    { ...EMPTY, action: "db.read", postedMicroUsd: microUsdOf(100_000) },
    { ...EMPTY, action: "db.write", pendingMicroUsd: microUsdOf(50_000) },
    { ...EMPTY, action: "send_email", postedMicroUsd: microUsdOf(200_000) },
  ],
  leases: [],
  preventedMicroUsd: ZERO_USD,
  decisions: { allow: 1, deny: 0, hold: 0 },
};

export const aToken: TokenRecord = {
  id: EXAMPLE_IDS.tok,
  subject: "ada",
  kind: "agent",
  scopes: ["ledger:read"],
  issuedAt: AT,
  expiresAt: AT + 1000,
};

const aPolicyRow = {
  ...POLICY,
  scope: "tenant" as const,
  target: null,
  activeVersion: 3,
  latestVersion: 3,
  updatedAt: AT,
  active: true,
  createdAt: AT,
  createdBy: "eve",
  document: { version: 1, budgets: { session: "5", run: "1", actions: { "db.*": "0.2" } } },
  text: "version: 1 # the author's\n",
  format: "yaml" as const,
};

const anEntity = { type: "customer", id: "c-1", properties: { tier: "gold" }, updatedAt: AT, updatedBy: "ops" };

const canonical = '{"agent_id":"ada","cost_usd":"0.05","id":"ent_019a9c1e-7f00-7abc-8def-000000000005","principal":null,"score":1e21}';
export const aRow = { index: 4, canonical, hash: "cd".repeat(32), payload: null };

const aCost = (key: string, micro: number) => ({
  key,
  postedMicroUsd: BigInt(micro),
  count: 1,
  costMicroUsd: BigInt(micro),
  correctedMicroUsd: 0n,
  reportedMicroUsd: 0n,
});

const page = <T>(...items: readonly T[]) => ok({ items, nextCursor: null });
const answered = <T>(answer: T, replayed = false) => ok({ answer, replayed });

/** A bearer says who it is in its token: `kind:subject:scope scope`. `root` is the root key; `revoked` a token that was taken back. */
function authenticate(authorization: string | null) {
  if (authorization === null) return err(refusal("token_missing", "A token is needed."));
  const text = authorization.replace(/^Bearer /, "");
  if (text === "root") return ok<Caller>({ kind: "root" });
  const [kind = "", subject = "", scopes = ""] = text.split(":", 2).concat(text.split(":").slice(2).join(":"));
  if (kind !== "agent" && kind !== "human" && kind !== "service") return err(refusal("token_invalid", "The token is not valid."));
  const principal = { tokenId: EXAMPLE_IDS.tok, tenant: "demo", subject, kind } as const;
  // The scopes come from the test's own text.
  return ok<Caller>({ kind: "bearer", principal, scopes: scopes.split(" ") as Scope[], expiresAt: AT + 1000 });
}

export const bearer = (kind: string, subject: string, scopes: readonly string[] = SCOPES): string => `Bearer ${kind}:${subject}:${scopes.join(" ")}`;

export const SERVICE = bearer("service", "ops");

type Overrides = { readonly [P in keyof Ports]?: Partial<Ports[P]> };

const anIssuer: IssuerRow = {
  name: "corp",
  issuer: "https://id.example",
  keys: { uri: "https://id.example/jwks.json" },
  audience: "agents",
  claims: { subject: "sub", scopes: "scope", kind: "kind" },
  version: 1,
  updatedAt: AT,
  updatedBy: "ops",
};

const aWebhook: WebhookRow = {
  id: EXAMPLE_IDS.whk,
  url: "https://hook.example/in",
  events: ["approval.*"],
  createdAt: AT,
  createdBy: "ops",
  failingSince: AT,
  disabled: { at: AT, why: "gone" },
  oldSecretsUntil: AT,
};

const aDelivery: DeliveryRow = {
  id: EXAMPLE_IDS.dlv,
  webhook: EXAMPLE_IDS.whk,
  event: "17",
  type: "approval.requested",
  status: "pending",
  attempts: 2,
  createdAt: AT,
  nextAt: AT,
  lastAt: AT,
  lastStatus: null,
  lastError: "could not be reached",
};

export function portsOf(overrides: Overrides = {}): Ports {
  const settled = async () => answered(aSettlement);
  const ports: Ports = {
    identity: {
      authenticate: async (authorization) => authenticate(authorization),
      forget: () => undefined,
      forgetIssuer: () => undefined,
      vetIssuer: () => ok(null),
      sign: async () => "signed",
      signLease: async () => "signed",
      keySet: async () => ({ keys: [{ kty: "OKP" }] }),
    },
    sessions: {
      open: async (order) => answered({ id: order.id, agent: order.agent, run: order.run, policy: null, expiresAt: AT }),
      decide: async (_tenant, _session, call) =>
        ok({
          kind: "decided",
          decisions: call.items.map(({ request }) => ({
            answer: { ...aDecision, id: request.id, action: request.action },
            replayed: false,
            superseded: null,
          })),
        }),
      commit: settled,
      release: settled,
      extend: async () => ok({ answer: aSettlement, replayed: false, superseded: null }),
      topup: async () => ok({ kind: "decided", decision: aDecision, superseded: null }),
      grantLease: async () => ok({ kind: "decided", answer: { kind: "granted", lease: aLease }, replayed: false }),
      readLease: async () => ok({ ...aLease, state: "open", postedMicroUsd: ZERO_USD, heldMicroUsd: aLease.amountMicroUsd }),
      settleLease: async (_tenant, _session, { id, actions }) =>
        ok({
          kind: "decided",
          settled: {
            id,
            state: "settled",
            accepted: actions.length,
            duplicates: 0,
            postedMicroUsd: microUsdOf(120_000),
            overrunMicroUsd: ZERO_USD,
            returnedMicroUsd: microUsdOf(380_000),
            heldMicroUsd: ZERO_USD,
            late: false,
            budgets: [],
            entry: ENTRY,
          },
        }),
      readDecision: async () =>
        ok({ decision: aDecision, approval: "pending", state: "held", postedMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD, superseded: null }),
      readApproval: async () => ok(anApproval),
      answerApproval: async () => answered(anApproval),
      respondApproval: async () => answered(anApproval),
      cancelApproval: async () => answered(anApproval),
      openRun: async (_tenant, _session, _principal, run) => answered({ id: run }),
      closeRun: async (_tenant, _session, _principal, run) => ok({ id: run }),
      close: async () => ok({ ...aSession, state: "closed" }),
      read: async () => ok(aSession),
      renewLease: async () => ok(null),
      ship: async () => undefined,
    },
    webhooks: {
      create: async (_tenant, principal, { id, url, events, secret }) =>
        answered({ id, url, events, secret: secret ?? "whsec_", createdAt: AT, createdBy: principal.subject }),
      list: async () => page(aWebhook),
      read: async () => ok(aWebhook),
      delete: async () => ok(null),
      rotate: async (_tenant, _principal, { webhook }) => answered({ id: webhook, secret: "whsec_", createdAt: AT, oldSecretsUntil: AT }),
      resume: async () => ok(aWebhook),
      listDeliveries: async () => page(aDelivery),
      redeliver: async () => ok(aDelivery),
    },
    tenants: {
      create: async ({ id }) => answered({ id }),
      claimRootKey: async () => ok(null),
      listSessions: async () => page(aSession),
      liveSessions: async () => [],
      putPolicy: async (_tenant, _principal, put) => ok({ name: put.name, version: 4, digest: put.digest, active: put.activate, created: true }),
      activatePolicy: async () => ok(aPolicyRow),
      deletePolicy: async () => ok(null),
      listPolicies: async () => page(aPolicyRow),
      readPolicy: async () => ok(aPolicyRow),
      listPolicyVersions: async () => page(aPolicyRow),
      effectivePolicy: async () => ok({ policy: POLICY, document: aPolicyRow.document, conflicts: [] }),
      putEntity: async (_tenant, principal, entity) => ok({ entity: { ...entity, updatedAt: AT, updatedBy: principal.subject }, created: true }),
      deleteEntity: async () => ok(null),
      readEntity: async (_tenant, ref) => ok({ ...anEntity, ...ref }),
      listEntities: async () => page(anEntity),
      readEntities: async (_tenant, refs) => ok({ revision: 1, properties: refs.map(() => anEntity.properties) }),
      intervene: async (_tenant, _principal, { id }) =>
        answered({
          id,
          epoch: 3,
          lifted: null,
          known: true,
          acknowledged: [{ session: aSession.id, seq: 4, at: AT, leasedUntil: null }],
          unanswered: [],
          inForceEverywhereBy: AT,
        }),
      findApproval: async () => ok({ session: aSession.id, agent: aSession.agent, owners: [] }),
      listApprovals: async () =>
        ok({ ...page(anApproval).value, counts: { pending: 1, info_requested: 0, approved: 0, rejected: 0, expired: 0, cancelled: 0, consumed: 0 } }),
      approvalSignals: async () => ok({ approved: 0, rejected: 0, medianMs: null, people: [], pending: 1, oldestPendingAt: AT }),
      admitLease: async () => ok({ allowed: true, endsBy: AT + 40_000, epoch: 0 }),
      standing: async () => ok([]),
      readSettings: async () => ok(DEFAULT_SETTINGS),
      putSettings: async (_tenant, _principal, settings) => ok(settings),
      putIssuer: async (_tenant, principal, wish) =>
        ok({ issuer: { ...wish, version: 1, updatedAt: AT, updatedBy: principal.subject }, created: true }),
      deleteIssuer: async () => ok(null),
      readIssuer: async () => ok(anIssuer),
      listIssuers: async () => page(anIssuer),
      recordToken: async (_tenant, _principal, token) => answered(token),
      listTokens: async () => page({ ...aToken, revokedAt: null }),
      revokeToken: async () => ok(null),
      isTokenGood: async () => true,
      ship: async () => undefined,
    },
    ledger: {
      settle: async () => ok(null),
      list: async () => page(aRow),
      read: async () => ok(aRow),
      export: async function* () {
        yield [aRow, { ...aRow, index: 5 }];
        yield [];
        yield [{ ...aRow, index: 6 }];
      },
      costs: async (_tenant, { agent }) => {
        const items = [aCost("ada", 100_000), aCost("eve", 1)].filter(({ key }) => agent === undefined || key === agent);
        return ok({
          items,
          totalMicroUsd: items.reduce((sum, { postedMicroUsd }) => sum + postedMicroUsd, 0n),
          reportedMicroUsd: 0n,
        });
      },
      ingest: async (_tenant, { lines }) => ok({ answer: lines.map(() => "recorded"), replayed: false }),
    },
    events: { listen: async () => err(refusal("ledger_unavailable", "not listened to here")) },
    directory: { issuersOf: async () => [], isOriginKnown: async () => false },
    policies: {
      evaluateLastSeen: async () => null,
      evaluateUnder: async () => err(refusal("authority_unavailable", "not asked for here")),
      redactionFor: async () => ok(null),
    },
    prices: { data: "test", knows: ({ name }) => name === "m", costOf: ({ name }) => (name === "m" ? microUsdOf(70) : null) },
    sha256: (text) => createHash("sha256").update(text).digest("hex"),
    newId: <P extends IdPrefix>(prefix: P) => idOf(prefix, AT, crypto.getRandomValues(new Uint8Array(10))),
  };
  return {
    ...ports,
    sessions: { ...ports.sessions, ...overrides.sessions },
    tenants: { ...ports.tenants, ...overrides.tenants },
    ledger: { ...ports.ledger, ...overrides.ledger },
    policies: { ...ports.policies, ...overrides.policies },
    identity: { ...ports.identity, ...overrides.identity },
    events: { ...ports.events, ...overrides.events },
    directory: { ...ports.directory, ...overrides.directory },
  };
}

/** Sends one request to an app over the given world. */
export function appOver(overrides: Overrides = {}, now = () => AT) {
  const ports = portsOf(overrides);
  const app = createApp({ ports: () => ports, now });
  return async (path: string, init: RequestInit = {}): Promise<Response> => asDeclared(init.method ?? "GET", path, await app.request(path, init, {}));
}
