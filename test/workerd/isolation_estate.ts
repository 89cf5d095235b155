import { runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { expect } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { type IdPrefix, idOf } from "../../src/core/ids.ts";
import { SCOPES, SCOPES_NO_AGENT_HOLDS } from "../../src/core/scopes.ts";
import { newReceiver } from "./receiver.ts";
import { ports } from "./world.ts";

/** An estate: a tenant with one of everything that a tenant can have, and all that was ever said about it to its own people. */

const ORIGIN = "https://gate.example";

/** What an estate's things are called: what its own people put into paths, queries and bodies, and what a stranger would have to know. */
export interface Names {
  readonly tenant: string;
  readonly agent: string;
  readonly session: string;
  readonly run: string;
  readonly pending: string;
  readonly posted: string;
  readonly held: string;
  readonly approval: string;
  readonly entry: string;
  readonly token: string;
  readonly policy: string;
  readonly type: string;
  readonly thing: string;
  readonly webhook: string;
  readonly delivery: string;
  readonly lease: string;
  readonly issuer: string;
  readonly issuerUrl: string;
  readonly audience: string;
  readonly page: string;
  readonly action: string;
  readonly tag: string;
}

/** The names that people choose. All others are made by the gateway. */
type Chosen = Pick<Names, "agent" | "policy" | "type" | "thing" | "issuer" | "page" | "action" | "tag">;

/** Who sends a request, and whose listeners are let go when what it gets is a stream. */
export interface Sender {
  readonly tenant: string;
  readonly authorization: string | null;
}

export interface Question {
  readonly method: string;
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An answer as it came: streams and sockets are read to their end. */
export interface Answer {
  readonly status: number;
  readonly headers: string;
  readonly text: string;
}

export interface Estate {
  readonly names: Names;
  /** A person and a service who may do everything, and two agents who may do what agents may. The things are the first agent's. */
  readonly operator: Sender;
  readonly service: Sender;
  readonly agent: Sender;
  readonly peer: Sender;
  /** Who could do everything until the token was revoked. */
  readonly fired: Sender;
  readonly peerSession: string;
  /** Everything by which an answer to somebody else would give something of this estate away. */
  readonly marks: ReadonlySet<string>;
  /** The same of what is the first agent's alone. */
  readonly agentMarks: ReadonlySet<string>;
  /** A token that an issuer of this tenant made, which claims what is said. */
  foreign(claims: object): Promise<Sender>;
  /** A token of a person, or of the first agent, with these scopes. */
  tokenWith(of: "operator" | "agent", scopes: readonly wire.Scope[]): Promise<Sender>;
}

const hex = (bytes: number): string => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes))).toString("hex");

export const AGENT_SCOPES = SCOPES.filter((scope) => !SCOPES_NO_AGENT_HOLDS.includes(scope));

export const ROOT: Sender = { tenant: "", authorization: `Bearer ${env.ROOT_KEY}` };

/** Asks the real Worker. Every request has the same id, so that answers to two of them can be compared byte for byte. */
export async function ask(sender: Sender, { method, path, body, headers }: Question): Promise<Answer> {
  const sent: Record<string, string> = { "X-Request-ID": "isolation", ...headers };
  if (sender.authorization !== null) sent.Authorization = sender.authorization;
  if (body !== undefined) sent["Content-Type"] ??= "application/json";
  const response = await exports.default.fetch(`${ORIGIN}${path}`, {
    method,
    headers: sent,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const lines = [...response.headers].map(([name, value]) => `${name}: ${value}`);
  return { status: response.status, headers: lines.sort().join("\n"), text: await wholeOf(response, sender.tenant) };
}

/** The JSON of an answer that has the wanted status; otherwise the test shows what came instead. */
export async function told<T>(status: number, sender: Sender, question: Question): Promise<T> {
  const answer = await ask(sender, question);
  expect(answer.status, `${question.method} ${question.path}: ${answer.text}`).toBe(status);
  // The caller says what it reads of it.
  return JSON.parse(answer.text) as T;
}

async function wholeOf(response: Response, tenant: string): Promise<string> {
  const socket = response.webSocket;
  if (socket != null) {
    const messages: string[] = [];
    const closed = new Promise<void>((resolve) => socket.addEventListener("close", () => resolve()));
    socket.addEventListener("message", ({ data }) => messages.push(String(data)));
    socket.accept();
    await letGo(tenant);
    await closed;
    return messages.join("\n");
  }
  if (response.body !== null && response.headers.get("Content-Type") === "text/event-stream") await letGo(tenant);
  // Read as octets: the runtime warns of texts whose media type does not say text.
  return new TextDecoder().decode(await response.arrayBuffer());
}

/** Ends every stream of a tenant, as if its token had just expired, once it has told all that is in the ledger. */
async function letGo(tenant: string): Promise<void> {
  const feed = env.FEEDS.getByName(tenant);
  const end = await env.LEDGERS.getByName(tenant).listen(Date.now());
  const isBehind = () =>
    runInDurableObject(feed, async (object, state) => {
      await object.news();
      return state.getWebSockets().some((socket) => socket.readyState === WebSocket.OPEN && socket.deserializeAttachment().next.index < end);
    });
  while (await isBehind());
  await runInDurableObject(feed, async (object, state) => {
    for (const socket of state.getWebSockets()) socket.serializeAttachment({ ...socket.deserializeAttachment(), expiresAt: 0 });
    await object.alarm();
  });
}

const chosenNames = (): Chosen => {
  const mark = hex(5);
  return {
    agent: `ada-${mark}`,
    policy: `rules-${mark}`,
    type: `kind-${mark}`,
    thing: `thing-${mark}`,
    issuer: `corp-${mark}`,
    page: `https://page-${mark}.example`,
    action: `act-${mark}`,
    tag: `tag-${mark}`,
  };
};

/** Names of the same shape, of things that nobody has. */
export function ghostNames(): Names {
  const id = (prefix: IdPrefix): string => idOf(prefix, Date.now(), crypto.getRandomValues(new Uint8Array(10)));
  const tenant = `t-${hex(6)}`;
  return {
    ...chosenNames(),
    tenant,
    session: id("ses"),
    run: id("run"),
    pending: id("dec"),
    posted: id("dec"),
    held: id("dec"),
    approval: id("apr"),
    entry: id("ent"),
    token: id("tok"),
    webhook: id("whk"),
    delivery: id("dlv"),
    lease: id("lse"),
    issuerUrl: `https://id-${hex(5)}.example`,
    audience: `agents/${tenant}`,
  };
}

/** The keys of every estate's issuers. One pair for all: whoever registers another's issuer has its right keys as well, since they are public. */
const { privateKey, publicKey } = await generateKeyPair("ES256", { extractable: true });
export const PUBLIC_KEYS = { keys: [{ ...(await exportJWK(publicKey)), kid: "k", alg: "ES256", use: "sig" }] };

/** Ids and digests as answers show them. A chain begins with a hash of zeros, which is everybody's. */
const IDS = /\b(?:ses|run|dec|apr|tok|ent|int|whk|dlv|lse)_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g;
const DIGESTS = /\b(?!0{64})[0-9a-f]{64}\b/g;

export const idsIn = (text: string): readonly string[] => text.match(IDS) ?? [];

/** `chosen`: names that another estate may have as well. */
export async function newEstate(chosen: Chosen = chosenNames()): Promise<Estate> {
  const tenant = `t-${hex(6)}`;
  const hush = `hush-${hex(8)}`;
  const agentHush = `hush-${hex(8)}`;
  const issuerUrl = `https://id-${hex(5)}.example`;
  const audience = `agents/${tenant}`;
  const tokens = new Map<string, Promise<Sender>>();
  const marks = new Set<string>([hush, agentHush]);
  const agentMarks = new Set<string>([agentHush, chosen.agent]);
  const hear = (text: string, isOfAgent: boolean): void => {
    for (const mark of [...idsIn(text), ...(text.match(DIGESTS) ?? [])]) marks.add(mark);
    if (isOfAgent) for (const mark of idsIn(text)) agentMarks.add(mark);
  };
  const made = async <T>(status: number, sender: Sender, question: Question, isOfAgent = false): Promise<T> => {
    const answer = await told<T>(status, sender, question);
    hear(JSON.stringify(answer), isOfAgent);
    return answer;
  };
  const issue = async (subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]): Promise<Sender & { readonly id: string }> => {
    const body = { tenant, subject, kind, scopes };
    const { id, token } = await made<wire.IssuedToken>(201, ROOT, { method: "POST", path: "/v1/tokens", body });
    marks.add(token);
    return { tenant, id, authorization: `Bearer ${token}` };
  };

  await made(201, ROOT, { method: "POST", path: "/v1/tenants", body: { id: tenant, name: hush } });
  const [operator, service, agent, peer, fired, spare] = await Promise.all([
    issue("ops", "human", SCOPES),
    issue("pep", "service", SCOPES),
    issue(chosen.agent, "agent", AGENT_SCOPES),
    issue("eve", "agent", AGENT_SCOPES),
    issue("fired", "human", SCOPES),
    issue("spare", "agent", AGENT_SCOPES),
  ]);
  const put = (path: string, body: unknown, status = 201) => made(status, operator, { method: "PUT", path, body });
  const policy = (version: number) => ({ denied_actions: ["rm", hush], approvals: { actions: ["pay"] }, compliance: { note: `${hush} ${version}` } });
  await put(`/v1/policies/${chosen.policy}`, policy(1));
  await put(`/v1/policies/${chosen.policy}`, policy(2));
  expect((await ask(operator, { method: "DELETE", path: `/v1/tokens/${fired.id}` })).status).toBe(204);
  await Promise.all([
    put(`/v1/entities/${chosen.type}/${chosen.thing}`, { properties: { note: hush } }),
    put(`/v1/entities/agent/${chosen.agent}`, { properties: { note: hush } }),
    put(`/v1/issuers/${chosen.issuer}`, { issuer: issuerUrl, audience, jwks: PUBLIC_KEYS }),
    put("/v1/issuers/login", { issuer: issuerUrl, audience, jwks: PUBLIC_KEYS }),
    put("/v1/settings", { cors_origins: [chosen.page], retention_days: 999, approval_links: true }, 200),
  ]);

  const open = (by: Sender, note: string) =>
    made<wire.OpenedSession>(201, by, { method: "POST", path: "/v1/sessions", body: { labels: { note }, budget_usd: "7" } }, by === agent);
  const [mine, theirs] = await Promise.all([open(agent, agentHush), open(peer, hush)]);
  const decide = (by: Sender, session: string, body: wire.DecisionRequest) =>
    made<wire.Decision>(200, by, { method: "POST", path: `/v1/sessions/${session}/decisions`, body }, by === agent);
  const about = { tags: [chosen.tag], inputs: { note: agentHush }, rationale: agentHush, ttl_ms: 86_400_000 };
  const posted = await decide(agent, mine.id, { ...about, action: chosen.action, estimate_usd: "0.05" });
  const commit = { cost_usd: "0.06", outcome: "success", outputs: { note: agentHush } };
  await made(200, agent, { method: "POST", path: `/v1/sessions/${mine.id}/decisions/${posted.id}/commit`, body: commit }, true);
  const pending = await decide(agent, mine.id, { ...about, action: chosen.action, estimate_usd: "0.05" });
  const held = await decide(agent, mine.id, { ...about, action: "pay" });
  await decide(agent, mine.id, { ...about, action: "rm" });
  await decide(peer, theirs.id, { action: "look", inputs: { note: hush } });
  const leases = `/v1/sessions/${mine.id}/leases`;
  const wish = { amount_usd: "0.02", actions: ["look"], ttl_ms: 60_000 };
  const lease = await made<wire.GrantedLease>(201, agent, { method: "POST", path: leases, body: wish }, true);
  marks.add(lease.token);
  // Settled, so that nothing ends by itself while it is looked at.
  await made(200, agent, { method: "POST", path: `${leases}/${lease.id}/settle`, body: { entries: [] } }, true);
  const receiver = await newReceiver();
  marks.add(receiver.url);
  const hook = { url: receiver.url, events: ["intervention.pause"] };
  const webhook = await made<wire.CreatedWebhook>(201, operator, { method: "POST", path: "/v1/webhooks", body: hook });
  marks.add(webhook.secret);
  const pause = { target: { type: "action", id: "nothing" }, kind: "pause", reason: hush };
  await made(201, operator, { method: "POST", path: "/v1/interventions", body: pause });
  const [arrival] = await receiver.arrivals(1);
  // To the end of the attempt, so that nothing changes by itself afterwards.
  await runInDurableObject(env.WEBHOOKS.getByName(tenant), (webhooks) => webhooks.work());

  const names: Names = {
    ...chosen,
    tenant,
    session: mine.id,
    run: mine.run,
    pending: pending.id,
    posted: posted.id,
    held: held.id,
    approval: held.approval?.id ?? "",
    entry: posted.entry.id,
    token: spare.id,
    webhook: webhook.id,
    delivery: arrival?.headers["webhook-id"] ?? "",
    lease: lease.id,
    issuerUrl,
    audience,
  };
  for (const name of Object.values(names)) marks.add(name);
  return {
    names,
    operator,
    service,
    agent,
    peer,
    fired,
    peerSession: theirs.id,
    marks,
    agentMarks,
    foreign: async (claims) => {
      const now = Math.floor(Date.now() / 1000);
      const payload = { iss: issuerUrl, aud: audience, sub: "ops", kind: "human", scope: SCOPES.join(" "), exp: now + 600, ...claims };
      const token = await new SignJWT(payload).setProtectedHeader({ alg: "ES256", kid: "k" }).sign(privateKey);
      return { tenant, authorization: `Bearer ${token}` };
    },
    tokenWith: (of, scopes) => {
      const key = `${of} ${scopes.join(" ")}`;
      const token = tokens.get(key) ?? (of === "agent" ? issue(chosen.agent, "agent", scopes) : issue("ops", "human", scopes));
      tokens.set(key, token);
      return token;
    },
  };
}

/** A token of the estate's operator that has ended. */
export async function expiredToken({ names }: Estate): Promise<Sender> {
  const issuedAt = Date.now() - 60_000;
  // The gateway refuses it by its end, before it asks whether it was ever recorded.
  const record = { id: ports.newId("tok"), subject: "ops", kind: "human", scopes: SCOPES, issuedAt, expiresAt: issuedAt + 30_000 } as const;
  return { tenant: names.tenant, authorization: `Bearer ${await ports.identity.sign(names.tenant, record)}` };
}

/** All that the estate's own people can read of it, by the path under which they read it. Two of these are equal when nothing happened between. */
export async function stateOf({ names, peerSession, operator, agent, foreign }: Estate): Promise<Readonly<Record<string, string>>> {
  const { session, pending, posted, held } = names;
  const paths = [
    "/v1/sessions",
    ...[session, peerSession].map((id) => `/v1/sessions/${id}`),
    ...[pending, posted, held].map((id) => `/v1/sessions/${session}/decisions/${id}`),
    `/v1/sessions/${session}/leases/${names.lease}`,
    "/v1/policies",
    "/v1/entities",
    "/v1/issuers",
    "/v1/settings",
    "/v1/webhooks",
    `/v1/webhooks/${names.webhook}/deliveries`,
    "/v1/tokens",
    "/v1/ledger?limit=1000",
    "/v1/interventions?limit=1000",
  ];
  const readers: readonly (readonly [string, Sender])[] = [
    ...paths.map((path) => [path, operator] as const),
    ["/v1/sessions", agent],
    ["/v1/sessions", await foreign({})],
  ];
  const read = readers.map(async ([path, sender], place) => [`${place} ${path}`, (await ask(sender, { method: "GET", path })).text] as const);
  return Object.fromEntries(await Promise.all(read));
}

/** What an answer gives away: everything that is somebody else's, unless the question said it. */
export function leaked(answer: Answer, asked: Question, marks: ReadonlySet<string>): readonly string[] {
  const said = `${decodeURIComponent(asked.path)} ${JSON.stringify(asked.body ?? "")} ${JSON.stringify(asked.headers ?? {})}`;
  const got = `${answer.headers}\n${answer.text}`;
  return [...marks].filter((mark) => got.includes(mark) && !said.includes(mark));
}
