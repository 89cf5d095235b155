import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import type { SessionId } from "../../src/core/ids.ts";
import type { Principal } from "../../src/core/request.ts";
import { intervene } from "../../src/flow/intervene.ts";
import { CLOSE, MOST_UNHEARD } from "../../src/ledger/tenant_feed.ts";
import { MOST_READ_CHARACTERS } from "../../src/ledger/tenant_ledger.ts";
import { SILENCES, silentOnce } from "./silence.ts";
import { asked, commitOf, decideMany, decideOne, got, newSession, newTenant, ports, usd } from "./world.ts";

const ORIGIN = "https://gate.example";

const tokenOf = async (tenant: string, subject: string, kind: string, scopes: readonly string[]): Promise<string> => {
  const response = await exports.default.fetch(`${ORIGIN}/v1/tokens`, {
    method: "POST",
    headers: { Authorization: `Bearer ${env.ROOT_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify({ tenant, subject, kind, scopes }),
  });
  const { token }: { token: string } = await response.json();
  return token;
};

/** Reads Server-Sent Events from a response as they come. */
class Listener {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #text = "";
  constructor(response: Response) {
    if (response.body === null) throw new Error("a stream has a body");
    this.#reader = response.body.getReader();
  }

  async next(): Promise<(wire.LedgerEvent & { readonly name: string }) | null> {
    for (;;) {
      const end = this.#text.indexOf("\n\n");
      if (end < 0) {
        const { done, value } = await this.#reader.read();
        if (done) return null;
        this.#text += new TextDecoder().decode(value);
        continue;
      }
      const lines = this.#text.slice(0, end).split("\n");
      this.#text = this.#text.slice(end + 2);
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field("data");
      if (data === undefined) continue;
      const event: wire.LedgerEvent = JSON.parse(data);
      expect(field("id")).toBe(event.id);
      return { ...event, name: field("event") ?? "" };
    }
  }

  async take(count: number): Promise<(wire.LedgerEvent & { readonly name: string })[]> {
    const taken: (wire.LedgerEvent & { readonly name: string })[] = [];
    while (taken.length < count) {
      const event = await this.next();
      if (event === null) break;
      taken.push(event);
    }
    return taken;
  }

  stop(): Promise<void> {
    return this.#reader.cancel();
  }
}

const listen = async (token: string, query = "", headers: Record<string, string> = {}): Promise<Listener> => {
  const response = await exports.default.fetch(`${ORIGIN}/v1/events${query}`, { headers: { Authorization: `Bearer ${token}`, ...headers } });
  expect(response.status, response.status === 200 ? "" : await response.text()).toBe(200);
  expect(response.headers.get("Content-Type")).toBe("text/event-stream");
  return new Listener(response);
};

/** Longer than the feed takes to look at the ledger unasked. */
const DEADLINE_MS = 20_000;

/** A WebSocket with what came on it. */
async function openSocket(token: string, query = "") {
  const response = await exports.default.fetch(`${ORIGIN}/v1/events/ws${query}`, {
    headers: { Authorization: `Bearer ${token}`, Upgrade: "websocket" },
  });
  expect(response.status, response.status === 101 ? "" : await response.text()).toBe(101);
  const socket = response.webSocket;
  if (socket == null) throw new Error("a socket was expected");
  const events: wire.LedgerEvent[] = [];
  let wake = () => {};
  let closed: CloseEvent | null = null;
  socket.addEventListener("message", ({ data }) => {
    events.push(JSON.parse(String(data)));
    wake();
  });
  socket.addEventListener("close", (event) => {
    closed = event;
    wake();
  });
  socket.accept();
  const until = async (isDone: () => boolean) => {
    const deadline = setTimeout(() => wake(), DEADLINE_MS);
    const end = Date.now() + DEADLINE_MS;
    while (!isDone() && Date.now() < end) await new Promise<void>((resolve) => (wake = resolve));
    clearTimeout(deadline);
    expect(isDone(), `${events.length} events came, and ${closed === null ? "it is open" : "it was closed"}`).toBe(true);
  };
  return { socket, events, until, closed: () => closed };
}

/** Changes what a feed remembers of its listeners. */
const remember = (tenant: string, changes: object) =>
  runInDurableObject(env.FEEDS.getByName(tenant), (_, state) => {
    for (const socket of state.getWebSockets()) socket.serializeAttachment({ ...socket.deserializeAttachment(), ...changes });
  });

const placesTaken = (tenant: string) => runInDurableObject(env.FEEDS.getByName(tenant), (_, state) => state.getWebSockets().length);

/** Puts another database in the place of D1. */
const readFrom = (tenant: string, database: D1Database) =>
  runInDurableObject(env.LEDGERS.getByName(tenant), (ledger) => {
    ledger.database = database;
  });
/** A database that cannot even be asked: it has none of what the type promises. */
const AWAY = {} as D1Database;

afterEach(() => {
  vi.restoreAllMocks();
});

const shipAll = (tenant: string, ...sessions: SessionId[]) =>
  Promise.all([ports.tenants.ship(tenant), ...sessions.map((session) => ports.sessions.ship(tenant, session))]);

/** What is not in memory has nothing to lose. */
const notRunning = (fault: Error): void => expect(fault.message).toContain("not currently running");

const namesOf = (events: readonly { readonly type: string }[]): string[] => events.map(({ type }) => type);

async function newWorld() {
  const { tenant, agent, operator } = await newTenant("budgets: { session: 10, tenant: { day: 1 }, alerts: [0.5] }\ndenied_actions: [rm]");
  const watcher = await tokenOf(tenant, "watcher", "human", ["events:read", "ledger:read", "interventions:write"]);
  return { tenant, agent, operator, watcher };
}

describe("the stream", () => {
  it("tells everything that happens, in the ledger's order, and each entry's alerts beside it", async () => {
    const { tenant, agent, operator, watcher } = await newWorld();
    const listener = await listen(watcher, "?types=session.*,decision.*,intervention.*");
    const session = await newSession(agent);
    const allowed = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.6") });
    await decideOne(agent, session, "rm");
    got(await commitOf(agent, session, allowed.id, "0.5"));
    await shipAll(tenant, session);
    const first = await listener.take(4);
    expect(namesOf(first)).toEqual(["session.opened", "decision.allow", "decision.deny", "decision.commit"]);
    expect(first[1]).toMatchObject({ session, agent: "bot", action: "pay", decision: allowed.id, estimate_usd: "0.6", name: "decision.allow" });
    expect(first[2]).toMatchObject({ verdict: "deny", reason: "action_denied", rule: "/denied_actions" });
    expect(JSON.stringify(first)).not.toContain('"inputs"');
    got(await intervene(ports, operator, { target: { type: "agent", id: "bot" }, kind: "kill", reason: "enough" }, null));
    const killed = await listener.next();
    expect(killed).toMatchObject({ type: "intervention.kill", session: null, details: { reason: "enough", target: { type: "agent", id: "bot" } } });
    await shipAll(tenant, session);
    const rest = await listener.take(2);
    expect(namesOf(rest).sort()).toEqual(["intervention.evidence", "intervention.obeyed"]);
    const places = [...first, ...rest].map(({ entry }) => entry.index);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    await listener.stop();
    await ports.tenants.standing(tenant, "bot");
    await shipAll(tenant);
    const alerts = await listen(watcher, "?types=budget.*&last_event_id=0");
    expect(await alerts.next()).toMatchObject({ type: "budget.threshold", details: { scope: "tenant", threshold: 0.5, window: "day" } });
    await alerts.stop();
  });

  it("goes on after the last event that was seen, wherever that now lies, and repeats nothing", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const listener = await listen(watcher, "?types=decision.*");
    const session = await newSession(agent);
    for (let n = 0; n < 5; n++) await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    const seen = await listener.take(2);
    await listener.stop();
    // All of it is in D1 now, and what comes next is not.
    got(await ports.ledger.settle(tenant));
    await decideOne(agent, session, "rm");
    await shipAll(tenant, session);
    const again = await listen(watcher, "?types=decision.*", { "Last-Event-ID": seen[1]?.id ?? "" });
    const rest = await again.take(4);
    expect(namesOf(rest)).toEqual(["decision.allow", "decision.allow", "decision.allow", "decision.deny"]);
    const ids = [...seen, ...rest].map(({ id }) => Number(id));
    expect(ids).toEqual(Array.from({ length: 6 }, (_, n) => (ids[0] ?? 0) + n));
    await again.stop();
    const fromStart = await listen(watcher, "?types=session.opened&last_event_id=0");
    expect(await fromStart.next()).toMatchObject({ type: "session.opened", session });
    await fromStart.stop();
  });

  it("tells every event once to a listener who stays, though the feed, the ledger and the session die under it", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const listener = await listen(watcher, "?types=decision.*");
    const session = await newSession(agent);
    const decisions: string[] = [];
    for (let n = 0; n < 30; n++) {
      if (n % 7 === 3) await evictDurableObject(env.FEEDS.getByName(tenant), { webSockets: "hibernate" }).catch(notRunning);
      if (n % 11 === 5) await evictDurableObject(env.LEDGERS.getByName(tenant)).catch(notRunning);
      if (n % 13 === 8) got(await ports.ledger.settle(tenant));
      decisions.push((await decideOne(agent, session, n % 3 === 0 ? "rm" : "look")).id);
      await ports.sessions.ship(tenant, session);
    }
    // A ledger that died forgot that somebody listens: the feed looks by itself.
    await runDurableObjectAlarm(env.FEEDS.getByName(tenant));
    expect((await listener.take(30)).map(({ decision }) => decision)).toEqual(decisions);
    await listener.stop();
  });

  it("is filtered by what is asked for, and an agent hears of itself alone", async () => {
    const { tenant, agent, operator, watcher } = await newWorld();
    const other: Principal = { ...agent, subject: "other" };
    const [mine, theirs] = [await newSession(agent), await newSession(other)];
    const agents = await tokenOf(tenant, "bot", "agent", ["events:read"]);
    const own = await listen(agents, "?types=decision.*,intervention.*");
    const one = await listen(watcher, `?session=${theirs}&action=look`);
    await decideOne(other, theirs, "look");
    await decideOne(other, theirs, "rm");
    await decideOne(agent, mine, "look");
    got(await intervene(ports, operator, { target: { type: "action", id: "x" }, kind: "pause", reason: "r" }, null));
    await shipAll(tenant, mine, theirs);
    expect(await own.take(2)).toMatchObject([
      { type: "decision.allow", agent: "bot" },
      { type: "intervention.obeyed", agent: "bot", session: mine },
    ]);
    expect(await one.next()).toMatchObject({ type: "decision.allow", session: theirs, action: "look" });
    await Promise.all([own.stop(), one.stop()]);
    const refused = await exports.default.fetch(`${ORIGIN}/v1/events?agent=other`, { headers: { Authorization: `Bearer ${agents}` } });
    expect(refused.status).toBe(403);
  });

  it.each([
    ["?last_event_id=x", 422],
    ["?types=Decision", 422],
    ["?session=ses_1", 422],
    ["?nonsense=1", 422],
  ])("%s is answered with %i", async (query, status) => {
    const { watcher } = await newWorld();
    expect((await exports.default.fetch(`${ORIGIN}/v1/events${query}`, { headers: { Authorization: `Bearer ${watcher}` } })).status).toBe(status);
  });

  it("ends when its token is revoked or has expired", async () => {
    const { tenant, operator, agent } = await newWorld();
    const token = await tokenOf(tenant, "short", "human", ["events:read"]);
    const listener = await listen(token);
    const { items } = got(await ports.tenants.listTokens(tenant, { limit: 10, cursor: null }));
    got(await ports.tenants.revokeToken(tenant, operator, items.find(({ subject }) => subject === "short")?.id ?? agent.tokenId));
    const feed = env.FEEDS.getByName(tenant);
    await remember(tenant, { checkedAt: Date.now() - 30_000 });
    await runDurableObjectAlarm(feed);
    // What was recorded of the revocation itself may still come; then the stream is over.
    let last = await listener.next();
    while (last !== null) last = await listener.next();
    const second = await listen(await tokenOf(tenant, "long", "human", ["events:read"]));
    await remember(tenant, { expiresAt: 0 });
    await runDurableObjectAlarm(feed);
    let after = await second.next();
    while (after !== null) after = await second.next();
  });

  it("ends where the record says that its token was revoked, and tells it nothing after that", async () => {
    const { tenant, operator, agent, watcher } = await newWorld();
    const token = await tokenOf(tenant, "short", "human", ["events:read"]);
    const short = await openSocket(token, "?types=decision.*");
    const other = await openSocket(watcher, "?types=decision.*");
    const session = await newSession(agent);
    const before = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    const { items } = got(await ports.tenants.listTokens(tenant, { limit: 10, cursor: null }));
    got(await ports.tenants.revokeToken(tenant, operator, items.find(({ subject }) => subject === "short")?.id ?? agent.tokenId));
    await shipAll(tenant);
    const after = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    // No alarm rings here: the record alone tells the feed.
    await short.until(() => short.closed() !== null);
    expect(short.closed()).toMatchObject(CLOSE.revoked);
    await other.until(() => other.events.length === 2);
    expect([short.events.map(({ decision }) => decision), other.events.map(({ decision }) => decision)]).toEqual([
      [before.id],
      [before.id, after.id],
    ]);
    other.socket.close();
  });

  it("has room for a hundred listeners of a tenant, ten for each token", async () => {
    const { tenant, watcher } = await newWorld();
    const tokens = await Promise.all(Array.from({ length: 10 }, (_, n) => tokenOf(tenant, `bot-${n}`, "agent", ["events:read"])));
    const refused = (token: string) => exports.default.fetch(`${ORIGIN}/v1/events`, { headers: { Authorization: `Bearer ${token}` } });
    const first = await Promise.all(Array.from({ length: 10 }, () => listen(tokens[0] ?? "")));
    // A token that has all it may have leaves the others theirs.
    const eleventh = await refused(tokens[0] ?? "");
    expect(eleventh.status).toBe(429);
    expect(eleventh.headers.get("RateLimit-Policy")).toBe('"listeners";q=10;qu="concurrent-requests"');
    expect(eleventh.headers.get("RateLimit")).toBe('"listeners";r=0');
    expect(Number(eleventh.headers.get("Retry-After"))).toBeGreaterThan(0);
    const others = await Promise.all(tokens.slice(1).flatMap((token) => Array.from({ length: 10 }, () => listen(token))));
    expect((await refused(watcher)).status).toBe(429);
    await Promise.all(others.map((listener) => listener.stop()));
    await (await listen(watcher)).stop();
    await Promise.all(first.map((listener) => listener.stop()));
  });

  it("begins with what comes next where the last event that was seen is one that nobody has seen", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const { socket, events, until } = await openSocket(watcher, "?types=decision.*&last_event_id=99999999999");
    const session = await newSession(agent);
    const { id } = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    await until(() => events.length > 0);
    expect(events[0]).toMatchObject({ type: "decision.allow", decision: id });
    socket.close();
  });

  it.each([
    ["tells nothing to a token that has expired, before anybody else has noticed", () => ({ expiresAt: Date.now() - 1 }), CLOSE.expired],
    ["tells nothing more to a token on which the last good word is a minute old", () => ({ checkedAt: Date.now() - 61_000 }), CLOSE.unproven],
  ])("%s", async (_, known, why) => {
    const { tenant, agent, watcher } = await newWorld();
    const { events, until, closed } = await openSocket(watcher, "?types=decision.*");
    await remember(tenant, known());
    const session = await newSession(agent);
    await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    await until(() => closed() !== null);
    expect(closed()).toMatchObject(why);
    expect(events).toEqual([]);
  });

  it.each([
    ["cannot be asked", () => Promise.reject(new Error("the tenant is away"))],
    ["does not answer", () => new Promise<boolean>(() => undefined)],
  ])("ends when the last good word on its token is a minute old and the tenant %s, and not before", async (_, isTokenGood) => {
    const { tenant, watcher } = await newWorld();
    const feed = env.FEEDS.getByName(tenant);
    const { until, closed } = await openSocket(watcher);
    await runInDurableObject(feed, (object) => {
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => ({ isTokenGood }) } });
    });
    await remember(tenant, { checkedAt: Date.now() - 45_000 });
    await runDurableObjectAlarm(feed);
    expect(await placesTaken(tenant)).toBe(1);
    await remember(tenant, { checkedAt: Date.now() - 61_000 });
    await runDurableObjectAlarm(feed);
    await until(() => closed() !== null);
    expect(closed()).toMatchObject(CLOSE.unproven);
  });

  it("resumed while D1 is away tells all of it when D1 is back, and holds nobody's place meanwhile", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    got(await ports.ledger.settle(tenant));
    await readFrom(tenant, AWAY);
    const left = await openSocket(watcher, "?types=decision.*&last_event_id=0");
    const stays = await openSocket(watcher, "?types=decision.*&last_event_id=0");
    left.socket.close();
    await left.until(() => left.closed() !== null);
    expect(await placesTaken(tenant)).toBe(1);
    await readFrom(tenant, env.DB);
    await runDurableObjectAlarm(env.FEEDS.getByName(tenant));
    await stays.until(() => stays.events.length === 1);
    expect(stays.events[0]).toMatchObject({ type: "decision.allow", session });
    stays.socket.close();
  });

  it("goes on while D1 is away for who stands at its end, whoever resumes from far behind", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    got(await ports.ledger.settle(tenant));
    const live = await openSocket(watcher, "?types=decision.*");
    await readFrom(tenant, AWAY);
    const behind = await openSocket(watcher, "?types=decision.*&last_event_id=0");
    const { id } = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    await live.until(() => live.events.length === 1);
    expect(live.events[0]?.decision).toBe(id);
    expect(behind.events).toEqual([]);
    await readFrom(tenant, env.DB);
    live.socket.close();
    behind.socket.close();
  });

  it("goes on for who stands at its end however slowly what lies behind is read for another", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    const old = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    const live = await openSocket(watcher, "?types=decision.*");
    let isSlow = true;
    const end = await env.LEDGERS.getByName(tenant).listen(0);
    await runInDurableObject(env.FEEDS.getByName(tenant), (object) => {
      const ledger = env.LEDGERS.getByName(tenant);
      const slow = {
        listen: (until: number) => ledger.listen(until),
        readFrom: async (index: number, most: number) => {
          while (isSlow && index < end) await scheduler.wait(10);
          return ledger.readFrom(index, most);
        },
      };
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => slow } });
    });
    const behind = await openSocket(watcher, "?types=decision.*&last_event_id=0");
    const { id } = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    await live.until(() => live.events.length === 1);
    expect(live.events[0]?.decision).toBe(id);
    expect(behind.events).toEqual([]);
    isSlow = false;
    await behind.until(() => behind.events.length === 2);
    expect(behind.events.map(({ decision }) => decision)).toEqual([old.id, id]);
    live.socket.close();
    behind.socket.close();
  });

  it.each(SILENCES)("is told what its ledger did not say, having fallen under the call, where it %s", async (_, does) => {
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    const { socket, events } = await openSocket(watcher, "?types=decision.*");
    const feed = env.FEEDS.getByName(tenant);
    await runInDurableObject(feed, (object) => {
      const { object: ledger } = silentOnce(env.LEDGERS.getByName(tenant), "readFrom", does);
      object.patienceMs = 20;
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ledger } });
    });
    const { id } = await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    const rung = async () => {
      await runDurableObjectAlarm(feed);
      return events.map(({ decision }) => decision);
    };
    await expect.poll(rung, { timeout: DEADLINE_MS }).toEqual([id]);
    socket.close();
  });

  it("cannot begin while the ledger says nothing, and can as soon as it does", async () => {
    const { tenant, watcher } = await newWorld();
    await runInDurableObject(env.FEEDS.getByName(tenant), (object) => {
      const { object: ledger } = silentOnce(env.LEDGERS.getByName(tenant), "listen", false);
      object.patienceMs = 20;
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ledger } });
    });
    const open = () => exports.default.fetch(`${ORIGIN}/v1/events`, { headers: { Authorization: `Bearer ${watcher}` } });
    const refused = await open();
    expect({ status: refused.status, ...(await refused.json<object>()) }).toMatchObject({ status: 503, code: "ledger_unavailable" });
    expect(await placesTaken(tenant)).toBe(0);
    const opened = await open();
    expect(opened.status).toBe(200);
    await opened.body?.cancel();
  });

  it("reads no more text at once than fits with that of a hundred others, and leaves out nothing", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    const large = {
      sources: Array.from({ length: 64 }, () => ({ source: "ж".repeat(512), version: "ж".repeat(128) })),
      tags: Array.from({ length: 64 }, () => "ж".repeat(128)),
      rationale: "ж".repeat(8192),
    };
    for (let n = 0; n < 24; n++) await decideOne(agent, session, "rm", large);
    await shipAll(tenant, session);
    const ledger = env.LEDGERS.getByName(tenant);
    const end = await ledger.listen(0);
    for (const settle of [async () => {}, async () => void got(await ports.ledger.settle(tenant))]) {
      await settle();
      const sizes: number[] = [];
      for (let index = 0; index < end; ) {
        const page = await ledger.readFrom(index, 500);
        expect(page.map((entry) => entry.index)).toEqual(page.map((_, place) => index + place));
        sizes.push(page.reduce((sum, { canonical }) => sum + canonical.length, 0));
        index += page.length;
      }
      expect(Math.max(...sizes)).toBeLessThanOrEqual(MOST_READ_CHARACTERS);
      expect(sizes.length).toBeLessThan(12);
    }
    const { socket, events, until } = await openSocket(watcher, "?types=decision.deny&last_event_id=0");
    await until(() => events.length === 24);
    socket.close();
  });
});

describe("a WebSocket", () => {
  it("carries the same events", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const { socket, events, until } = await openSocket(watcher, "?types=decision.*");
    const session = await newSession(agent);
    await decideOne(agent, session, "look");
    await shipAll(tenant, session);
    await until(() => events.length > 0);
    expect(events[0]).toMatchObject({ type: "decision.allow", session });
    socket.close();
  });

  it("whose client says nothing is let go after so many events, and can resume without a gap", async () => {
    const { tenant, agent, watcher } = await newWorld();
    const session = await newSession(agent);
    for (let n = 0; n < 11; n++)
      await decideMany(
        agent,
        session,
        Array.from({ length: 100 }, () => asked("rm")),
        "independent",
      );
    await shipAll(tenant, session);
    const slow = await openSocket(watcher, "?types=decision.deny&last_event_id=0");
    await slow.until(() => slow.closed() !== null);
    expect(slow.closed()).toMatchObject({ code: CLOSE.slow.code, reason: CLOSE.slow.reason });
    expect(slow.events).toHaveLength(MOST_UNHEARD);
    const rest = await openSocket(watcher, `?types=decision.deny&last_event_id=${slow.events.at(-1)?.id}`);
    await rest.until(() => rest.events.length === 100);
    const seqs = [...slow.events, ...rest.events].map(({ entry }) => entry.seq);
    expect(seqs).toEqual(Array.from({ length: 1_100 }, (_, n) => n + (seqs[0] ?? 0)));
    rest.socket.close();
  });

  it("is needed where one is opened", async () => {
    const { watcher } = await newWorld();
    const response = await exports.default.fetch(`${ORIGIN}/v1/events/ws`, { headers: { Authorization: `Bearer ${watcher}` } });
    expect(response.status).toBe(400);
  });
});
