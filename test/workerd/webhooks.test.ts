import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { Webhook } from "standardwebhooks";
import { afterEach, describe, expect, it, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { TenantAuthority } from "../../src/authority/tenant_authority.ts";
import { GIVEN_UP_AFTER_MS, MOST_ATTEMPTS, OLD_SECRET_SIGNS_MS, RETRY_DELAYS_MS } from "../../src/core/webhooks.ts";
import { MOST_AT_ONCE, MOST_PENDING, MOST_WEBHOOKS, type TenantWebhooks } from "../../src/webhooks/tenant_webhooks.ts";
import { type Arrival, newReceiver } from "./receiver.ts";
import { SILENCES, silentOnce } from "./silence.ts";
import { asked, decideMany, decideOne, newSession, newTenant, ports } from "./world.ts";

/** Webhooks as a tenant's people and their receivers meet them: over HTTP on both sides, with the real objects between. */

const ORIGIN = "https://gate.example";
const DAY_MS = 86_400_000;

const send = (method: string, path: string, token: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  exports.default.fetch(`${ORIGIN}${path}`, {
    method,
    headers: { Authorization: `Bearer ${token}`, ...(body !== undefined && { "Content-Type": "application/json" }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });

const told = async <T>(status: number, response: Promise<Response>): Promise<T> => {
  const text = await (await response).text();
  expect((await response).status, text).toBe(status);
  // The caller says what it reads of it.
  return JSON.parse(text === "" ? "null" : text) as T;
};

const problemOf = async (response: Promise<Response>): Promise<string> => {
  const body: { readonly code?: string; readonly issues?: readonly { readonly pointer: string; readonly message: string }[] } = await (
    await response
  ).json();
  return `${(await response).status} ${body.code ?? "ok"} ${body.issues?.map(({ pointer, message }) => `${pointer} ${message}`).join("; ") ?? ""}`.trim();
};

const tokenOf = async (tenant: string, subject: string, kind: string, scopes: readonly string[]): Promise<string> =>
  (await told<wire.IssuedToken>(201, send("POST", "/v1/tokens", env.ROOT_KEY, { tenant, subject, kind, scopes }))).token;

interface Sent {
  readonly id: string;
  readonly attemptedAt: number;
  readonly signatures: readonly string[];
  readonly event: wire.WebhookPayload;
}

const sentOf = ({ headers, body }: Arrival): Sent => ({
  id: headers["webhook-id"] ?? "",
  attemptedAt: Number(headers["webhook-timestamp"]) * 1000,
  signatures: headers["webhook-signature"]?.split(" ") ?? [],
  event: JSON.parse(body),
});

const idsOf = (arrivals: readonly Arrival[]): readonly string[] => arrivals.map((arrival) => sentOf(arrival).id);
const indexesOf = (arrivals: readonly Arrival[]): readonly number[] => arrivals.map((arrival) => sentOf(arrival).event.data.entry.index);

/** What the standard's own library signs of an attempt with a secret. It refuses to verify what is signed in the future. */
const signedWith = (secret: string, { headers, body }: Arrival): string =>
  new Webhook(secret).sign(headers["webhook-id"] ?? "", new Date(Number(headers["webhook-timestamp"]) * 1000), body);

const objectOf = (tenant: string) => env.WEBHOOKS.getByName(tenant);

/** Does all that is due at an instant, to its end. */
const workAt = (tenant: string, now: number): Promise<void> =>
  runInDurableObject(objectOf(tenant), async (webhooks: TenantWebhooks) => {
    webhooks.clock = () => now;
    await webhooks.work();
    // An object for which time stood still would be woken again and again for what is due by the real clock.
    webhooks.clock = Date.now;
  });

/** What is not in memory has nothing to lose. */
const notRunning = (fault: Error): void => expect(fault.message).toContain("not currently running");
const die = (stub: DurableObjectStub) => evictDurableObject(stub).catch(notRunning);
/** The same, without a moment for what is under way. */
const crash = (stub: DurableObjectStub<TenantWebhooks>) =>
  runInDurableObject(stub, (_, state) => state.abort("a crash of the test's")).catch((fault: Error) => expect(fault.message).toContain("a crash"));

/** Whoever these webhooks ask next by this method falls under the call, and is not waited for long. */
const silence = (tenant: string, whose: "LEDGERS" | "TENANTS", method: string, does: boolean) =>
  runInDurableObject(objectOf(tenant), (webhooks) => {
    // Of the one or the other only what is asked by its name.
    const { object } = silentOnce(env[whose].getByName(tenant) as unknown as Record<string, unknown>, method, does);
    webhooks.patienceMs = 20;
    Reflect.set(webhooks, "env", { ...env, [whose]: { getByName: () => object } });
  });

async function newWorld() {
  const { tenant, agent } = await newTenant("budgets: { session: 1000 }\ndenied_actions: [rm]");
  const operator = await tokenOf(tenant, "ops", "human", ["webhooks:write", "ledger:read", "events:read", "tokens:write", "interventions:write"]);
  const session = await newSession(agent);
  const ship = () => Promise.all([ports.tenants.ship(tenant), ports.sessions.ship(tenant, session)]);
  const happen = async (action = "look") => {
    const { id } = await decideOne(agent, session, action);
    await ship();
    return id;
  };
  const create = (url: string, events: readonly string[] = ["decision.*"], more: object = {}) =>
    told<wire.CreatedWebhook>(201, send("POST", "/v1/webhooks", operator, { url, events, ...more }));
  const read = (id: string) => told<wire.Webhook>(200, send("GET", `/v1/webhooks/${id}`, operator));
  const deliveries = async (id: string, query = "") =>
    (await told<wire.Page<wire.WebhookDelivery>>(200, send("GET", `/v1/webhooks/${id}/deliveries${query}`, operator))).items;
  const recorded = async (): Promise<readonly wire.LedgerEntry[]> => {
    await ports.tenants.ship(tenant);
    const { items } = await told<wire.Page<wire.LedgerEntry>>(200, send("GET", "/v1/ledger?kind=policy&limit=1000", operator));
    return items.filter(({ details }) => String(details?.event).startsWith("webhook_")).reverse();
  };
  return { tenant, agent, operator, session, ship, happen, create, read, deliveries, recorded };
}

/** The deliveries of a webhook once each has had an attempt that ended, and nothing is under way. */
async function settled(world: Awaited<ReturnType<typeof newWorld>>, id: string): Promise<readonly wire.WebhookDelivery[]> {
  await workAt(world.tenant, Date.now());
  return world.deliveries(id);
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a webhook", () => {
  it("is sent what it wants and nothing else, as the stream tells it, signed so that the standard's own library verifies it", async () => {
    const { tenant, operator, happen, create } = await newWorld();
    await happen();
    const receiver = await newReceiver();
    const webhook = await create(receiver.url, ["decision.deny", "intervention.*"]);
    expect(webhook).toMatchObject({ url: receiver.url, events: ["decision.deny", "intervention.*"], created_by: "ops" });
    await happen("look");
    const denied = await happen("rm");
    await told(201, send("POST", "/v1/interventions", operator, { target: { type: "agent", id: "x" }, kind: "kill", reason: "enough" }));
    await ports.tenants.ship(tenant);
    const arrivals = await receiver.arrivals(3);
    const verified = arrivals.map(({ headers, body }) => new Webhook(webhook.secret).verify(body, { ...headers }) as wire.WebhookPayload);
    expect(verified.map(({ type }) => type).sort()).toEqual(["decision.deny", "intervention.evidence", "intervention.kill"]);
    expect(verified.find(({ type }) => type === "decision.deny")?.data).toMatchObject({ decision: denied, reason: "action_denied", agent: "bot" });
    const stream = await send("GET", "/v1/events?types=decision.deny,intervention.*&last_event_id=0", operator);
    const events = await linesOf(stream, 3);
    const byIndex = (one: wire.LedgerEvent, other: wire.LedgerEvent) => one.entry.index - other.entry.index;
    expect(verified.map(({ data }) => data).sort(byIndex)).toEqual(events.sort(byIndex));
    for (const { timestamp, data } of verified) expect(timestamp).toBe(data.at);
    for (const { headers } of arrivals)
      expect(headers).toMatchObject({ "content-type": "application/json", "webhook-id": expect.stringMatching(/^dlv_[0-9a-f-]+$/) });
    const changed = arrivals[0];
    if (changed === undefined) throw new Error("unreachable");
    expect(() => new Webhook(webhook.secret).verify(`${changed.body} `, { ...changed.headers })).toThrow();
  });

  it("has a secret of its tenant's choice, where one is sent", async () => {
    const { happen, create } = await newWorld();
    const receiver = await newReceiver();
    const secret = `whsec_${btoa("0123456789abcdef01234567")}`;
    expect((await create(receiver.url, ["*"], { secret })).secret).toBe(secret);
    await happen();
    const [arrival] = await receiver.arrivals(1);
    if (arrival === undefined) throw new Error("unreachable");
    expect(() => new Webhook(secret).verify(arrival.body, { ...arrival.headers })).not.toThrow();
  });

  it.each([
    [200, "delivered", null],
    [299, "delivered", null],
    [300, "pending", "answered 300: redirects are not followed"],
    [400, "pending", "answered 400"],
    [500, "pending", "answered 500"],
  ] as const)("that answers %s is %s", async (status, expected, error) => {
    const world = await newWorld();
    const receiver = await newReceiver({ status });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    expect(await settled(world, id)).toMatchObject([{ status: expected, attempts: 1, last_status: status, last_error: error }]);
    expect((await world.read(id)).failing_since === null).toBe(expected === "delivered");
  });

  it.each([301, 302, 307, 308])("that redirects with %s is not followed", async (status) => {
    const world = await newWorld();
    const elsewhere = await newReceiver();
    const receiver = await newReceiver({ status, headers: { Location: elsewhere.url } });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    expect(await settled(world, id)).toMatchObject([{ status: "pending", last_error: `answered ${status}: redirects are not followed` }]);
    expect(await elsewhere.arrivals(0)).toEqual([]);
  });

  it("is tried again as the standard says, under one id and freshly signed, until it is dead and listed; then sent again when a person asks", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 500 });
    const { id, secret } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    let delivery = (await settled(world, id))[0];
    for (const [n, delayMs] of RETRY_DELAYS_MS.entries()) {
      const waitedMs = Date.parse(delivery?.next_attempt_at ?? "") - Date.parse(delivery?.last_attempt_at ?? "");
      // From the attempt's beginning: it took a moment, or as long as time stood still.
      expect(waitedMs).toBeGreaterThanOrEqual(delayMs);
      expect(waitedMs).toBeLessThanOrEqual(delayMs * 1.2 + 5_000);
      const due = Date.parse(delivery?.next_attempt_at ?? "");
      await die(objectOf(world.tenant));
      await workAt(world.tenant, due - 1);
      expect(await receiver.arrivals(0)).toHaveLength(n + 1);
      await die(objectOf(world.tenant));
      await workAt(world.tenant, due);
      expect(await receiver.arrivals(0)).toHaveLength(n + 2);
      delivery = (await world.deliveries(id))[0];
      expect(delivery?.attempts).toBe(n + 2);
    }
    expect(delivery).toMatchObject({ status: "dead", attempts: MOST_ATTEMPTS, next_attempt_at: null, last_status: 500, last_error: "answered 500" });
    expect(await world.deliveries(id, "?status=dead")).toEqual([delivery]);
    expect(await world.deliveries(id, "?status=pending")).toEqual([]);
    const arrivals = await receiver.arrivals(MOST_ATTEMPTS);
    expect(new Set(idsOf(arrivals))).toEqual(new Set([delivery?.id]));
    expect(new Set(arrivals.map(({ body }) => body)).size).toBe(1);
    expect(new Set(arrivals.map((arrival) => sentOf(arrival).attemptedAt)).size).toBe(MOST_ATTEMPTS);
    for (const arrival of arrivals) expect(sentOf(arrival).signatures).toEqual([signedWith(secret, arrival)]);

    await receiver.become({ status: 204 });
    const again = await told<wire.WebhookDelivery>(200, send("POST", `/v1/webhooks/${id}/deliveries/${delivery?.id}/redeliver`, world.operator));
    expect(again).toMatchObject({ id: delivery?.id, status: "pending", attempts: 0 });
    expect(idsOf(await receiver.arrivals(MOST_ATTEMPTS + 1)).at(-1)).toBe(delivery?.id);
    await workAt(world.tenant, Date.now() + 10 * DAY_MS);
    expect(await world.deliveries(id)).toMatchObject([{ status: "delivered", attempts: 1, last_error: null }]);
    expect(await world.read(id)).toMatchObject({ failing_since: null, disabled: null });
  });

  it("waits as long as Retry-After says, where that is longer, and at most a day", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 429, headers: { "Retry-After": "3600" } });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    const [first] = await settled(world, id);
    const waitOf = (delivery: wire.WebhookDelivery | undefined) =>
      Date.parse(delivery?.next_attempt_at ?? "") - Date.parse(delivery?.last_attempt_at ?? "");
    expect(waitOf(first)).toBeGreaterThanOrEqual(3_600_000);
    await receiver.become({ status: 503, headers: { "Retry-After": "99999999" } });
    await workAt(world.tenant, Date.parse(first?.next_attempt_at ?? ""));
    expect(waitOf((await world.deliveries(id))[0])).toBe(DAY_MS);
  });

  it("that answers 410 is disabled at once, on record, and goes on where it stopped when a person resumes it", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 410 });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    const [gone] = await settled(world, id);
    expect(gone).toMatchObject({ status: "pending", last_status: 410 });
    expect(await world.read(id)).toMatchObject({ disabled: { why: "gone" } });
    expect((await world.recorded()).at(-1)).toMatchObject({ principal: null, details: { event: "webhook_disabled", id, why: "gone" } });
    await world.happen();
    await workAt(world.tenant, Date.now() + 30 * DAY_MS);
    expect(await receiver.arrivals(0)).toHaveLength(1);
    await receiver.become({ status: 204 });
    await die(objectOf(world.tenant));
    expect(await told<wire.Webhook>(200, send("POST", `/v1/webhooks/${id}/resume`, world.operator))).toMatchObject({
      disabled: null,
      failing_since: null,
    });
    const arrivals = await receiver.arrivals(3);
    expect(new Set(idsOf(arrivals)).size).toBe(2);
    await workAt(world.tenant, Date.now());
    expect((await world.deliveries(id)).map(({ status }) => status)).toEqual(["delivered", "delivered"]);
  });

  it("that has failed for five days is disabled, on record", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 500 });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    await settled(world, id);
    const since = Date.parse((await world.read(id)).failing_since ?? "");
    await workAt(world.tenant, since + GIVEN_UP_AFTER_MS - 1);
    expect((await world.read(id)).disabled).toBeNull();
    await workAt(world.tenant, since + 2 * GIVEN_UP_AFTER_MS);
    expect(await world.read(id)).toMatchObject({ disabled: { why: "failing", at: new Date(since + 2 * GIVEN_UP_AFTER_MS).toISOString() } });
    expect((await world.recorded()).at(-1)?.details).toMatchObject({
      event: "webhook_disabled",
      why: "failing",
      failing_since: new Date(since).toISOString(),
    });
  });

  it("is signed with the old secret and the new one for a day after a change, and then with the new one", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const { id, secret: old } = await world.create(receiver.url);
    const rotated = await told<wire.RotatedWebhook>(201, send("POST", `/v1/webhooks/${id}/rotate`, world.operator));
    expect(rotated.secret).not.toBe(old);
    expect(Date.parse(rotated.old_secrets_until) - Date.parse(rotated.created_at)).toBe(OLD_SECRET_SIGNS_MS);
    expect((await world.read(id)).old_secrets_until).toBe(rotated.old_secrets_until);
    await die(objectOf(world.tenant));
    await world.happen();
    const [during] = await receiver.arrivals(1);
    if (during === undefined) throw new Error("unreachable");
    expect(sentOf(during).signatures).toEqual([signedWith(rotated.secret, during), signedWith(old, during)]);
    for (const secret of [old, rotated.secret]) expect(() => new Webhook(secret).verify(during.body, { ...during.headers })).not.toThrow();

    await workAt(world.tenant, Date.parse(rotated.old_secrets_until));
    await told(200, send("POST", `/v1/webhooks/${id}/deliveries/${sentOf(during).id}/redeliver`, world.operator));
    const after = (await receiver.arrivals(2))[1];
    if (after === undefined) throw new Error("unreachable");
    expect(sentOf(after).signatures).toEqual([signedWith(rotated.secret, after)]);
    expect((await world.read(id)).old_secrets_until).toBeNull();
    expect((await world.recorded()).map(({ details }) => details?.event)).toEqual(["webhook_created", "webhook_rotated"]);
  });

  it("signs with at most five secrets at once", async () => {
    const world = await newWorld();
    const { id } = await world.create((await newReceiver()).url);
    for (let n = 0; n < 4; n++) await told(201, send("POST", `/v1/webhooks/${id}/rotate`, world.operator));
    expect(await problemOf(send("POST", `/v1/webhooks/${id}/rotate`, world.operator))).toBe("429 throttled");
  });

  it("that is slow delays no other, and is given ten seconds", async () => {
    const world = await newWorld();
    const slow = await newReceiver({ status: 204, holds: true });
    const fast = await newReceiver();
    const { id } = await world.create(slow.url);
    await world.create(fast.url);
    for (let n = 0; n < 4; n++) await world.happen();
    expect(new Set(indexesOf(await fast.arrivals(4))).size).toBe(4);
    await slow.arrivals(4);
    expect((await world.deliveries(id)).map(({ status, last_error }) => ({ status, last_error }))).toEqual(
      Array(4).fill({ status: "pending", last_error: null }),
    );
    // Time stands still, so that nothing that fails is due again meanwhile; the attempts themselves are given what they are given.
    await workAt(world.tenant, Date.now());
    expect((await world.deliveries(id)).map(({ last_error }) => last_error)).toEqual(Array(4).fill("no answer within 10 seconds"));
    // Let go, so that nobody outside waits for the end of the tests.
    await slow.become({ status: 204 });
  });

  it("that cannot keep up leaves what comes in the ledger, and is told all of it when it can", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 204, holds: true });
    const { id } = await world.create(receiver.url);
    const count = MOST_PENDING + 100;
    for (let n = 0; n < count / 100; n++)
      await decideMany(
        world.agent,
        world.session,
        Array.from({ length: 100 }, () => asked("look")),
        "independent",
      );
    await world.ship();
    // As many at once as one receiver is sent, and not one more while it is silent.
    expect(await receiver.arrivals(MOST_AT_ONCE)).toHaveLength(MOST_AT_ONCE);
    const waiting = () =>
      runInDurableObject(objectOf(world.tenant), (_, state) => Number(state.storage.sql.exec("SELECT COUNT(*) AS n FROM deliveries").one().n));
    await expect.poll(waiting).toBeGreaterThanOrEqual(MOST_PENDING / 2);
    await runInDurableObject(objectOf(world.tenant), (webhooks) => webhooks.news());
    expect(await waiting()).toBeLessThanOrEqual(MOST_PENDING);
    expect(await receiver.arrivals(0)).toHaveLength(MOST_AT_ONCE);
    await receiver.become({ status: 204 });
    const arrivals = await receiver.arrivals(count);
    expect(new Set(idsOf(arrivals)).size).toBe(count);
    await workAt(world.tenant, Date.now());
    expect((await world.deliveries(id, "?status=delivered&limit=1000")).length).toBe(1000);
    expect(await world.deliveries(id, "?status=pending")).toEqual([]);
  });

  it("is told everything at least once, whatever dies between any two steps", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const { id } = await world.create(receiver.url);
    const decisions: string[] = [];
    const everybody = () => [objectOf(world.tenant), env.LEDGERS.getByName(world.tenant), env.TENANTS.getByName(world.tenant)];
    for (let n = 0; n < 12; n++) {
      decisions.push((await decideOne(world.agent, world.session, "look")).id);
      // Each time another of them, or all: before it is shipped, after it, and while it is on its way.
      for (const [place, stub] of everybody().entries()) if ((n >> place) % 2 === 0) await die(stub);
      await world.ship();
      if (n % 3 === 0) await receiver.become({ status: n % 2 === 0 ? 500 : 204 });
      if (n % 4 === 1) await Promise.all(everybody().map(die));
    }
    await receiver.become({ status: 204 });
    for (let n = 0; n < 4; n++) await workAt(world.tenant, Date.now() + n * 3_600_000);
    const arrivals = await receiver.arrivals(decisions.length);
    expect(new Set(arrivals.map((arrival) => sentOf(arrival).event.data.decision))).toEqual(new Set(decisions));
    expect(new Set(idsOf(arrivals)).size).toBe(decisions.length);
    expect((await world.deliveries(id)).map(({ status }) => status)).toEqual(Array(12).fill("delivered"));
  });

  it("is sent again what was under way when its object died", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 204, holds: true });
    const { id } = await world.create(receiver.url);
    await world.happen();
    await receiver.arrivals(1);
    await crash(objectOf(world.tenant));
    const [lost] = await world.deliveries(id);
    expect(lost).toMatchObject({ status: "pending", attempts: 1, last_status: null, last_error: null });
    await receiver.become({ status: 204 });
    await workAt(world.tenant, Date.parse(lost?.next_attempt_at ?? ""));
    expect(new Set(idsOf(await receiver.arrivals(2)))).toEqual(new Set([lost?.id]));
    expect(await world.deliveries(id)).toMatchObject([{ status: "delivered", attempts: 2 }]);
  });

  it("finds by itself what nobody told it of", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    await world.create(receiver.url);
    await env.LEDGERS.getByName(world.tenant).watch(false);
    await world.happen();
    expect(await receiver.arrivals(0)).toEqual([]);
    expect(await runDurableObjectAlarm(objectOf(world.tenant))).toBe(true);
    expect(await receiver.arrivals(1)).toHaveLength(1);
    // From now on it is told again.
    await world.happen();
    expect(await receiver.arrivals(2)).toHaveLength(2);
  });

  it.each(SILENCES)("is told what its ledger did not say, having fallen under the call, where it %s", async (_, does) => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const world = await newWorld();
    const receiver = await newReceiver();
    await world.create(receiver.url);
    await silence(world.tenant, "LEDGERS", "readFrom", does);
    await world.happen();
    await runInDurableObject(objectOf(world.tenant), async (webhooks, { storage }) => {
      // Ends when the reading has been given up, whoever it was that began it.
      await webhooks.news();
      webhooks.patienceMs = 30_000;
      // Much sooner than it would be looked at unasked.
      expect((await storage.getAlarm()) ?? Number.NaN).toBeLessThanOrEqual(Date.now() + 5_000);
    });
    expect(await runDurableObjectAlarm(objectOf(world.tenant))).toBe(true);
    expect(await receiver.arrivals(1)).toHaveLength(1);
    await workAt(world.tenant, Date.now());
    expect(await receiver.arrivals(0)).toHaveLength(1);
  });

  it("is not made while the ledger says nothing, and is when it is asked for again", async () => {
    const world = await newWorld();
    const { url } = await newReceiver();
    await silence(world.tenant, "LEDGERS", "watch", false);
    expect(await problemOf(send("POST", "/v1/webhooks", world.operator, { url, events: ["*"] }))).toBe("503 ledger_unavailable");
    await world.create(url);
  });

  it("is sent again what a courier was never heard of again with", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const { id } = await world.create(receiver.url);
    await runInDurableObject(objectOf(world.tenant), (webhooks) => {
      const ctx: DurableObjectState = Reflect.get(webhooks, "ctx");
      const { Courier }: { readonly Courier: object } = Reflect.get(ctx, "exports");
      const { object } = silentOnce(Courier as { post(): void }, "post", false);
      webhooks.patienceMs = 20;
      const proxy = new Proxy(ctx, {
        get: (target, name) => {
          if (name === "exports") return { Courier: object };
          const value: unknown = Reflect.get(target, name);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      Reflect.set(webhooks, "ctx", proxy);
    });
    await world.happen();
    const [failed] = await settled(world, id);
    expect(failed).toMatchObject({ status: "pending", attempts: 1, last_error: "was not heard of again" });
    expect(await receiver.arrivals(0)).toEqual([]);
    await workAt(world.tenant, Date.parse(failed?.next_attempt_at ?? ""));
    expect(await receiver.arrivals(1)).toHaveLength(1);
    expect(await world.deliveries(id)).toMatchObject([{ status: "delivered", attempts: 2 }]);
  });

  it("is sent everything again from an event on, under the same ids", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const { id } = await world.create(receiver.url);
    for (let n = 0; n < 3; n++) await world.happen();
    const first = await receiver.arrivals(3);
    const second = first.map(sentOf).sort((a, b) => a.event.data.entry.index - b.event.data.entry.index)[1];
    await workAt(world.tenant, Date.now());
    await told(200, send("POST", `/v1/webhooks/${id}/resume`, world.operator, { from: second?.event.data.id }));
    const again = (await receiver.arrivals(5)).slice(3);
    expect([...idsOf(again)].sort()).toEqual(
      [...idsOf(first)].filter((one) => indexesOf(first)[idsOf(first).indexOf(one)] !== Math.min(...indexesOf(first))).sort(),
    );
    await workAt(world.tenant, Date.now());
    expect(await receiver.arrivals(0)).toHaveLength(5);
    // Also what was recorded before there was a webhook.
    await told(200, send("POST", `/v1/webhooks/${id}/resume`, world.operator, { from: "0" }));
    expect(new Set(idsOf(await receiver.arrivals(8))).size).toBe(3);
    expect(await problemOf(send("POST", `/v1/webhooks/${id}/resume`, world.operator, { from: "999999" }))).toBe(
      "422 body_invalid /from is no event's id yet",
    );
  });

  it("is deleted with what waits for it, and its key makes no second one", async () => {
    const world = await newWorld();
    const receiver = await newReceiver({ status: 500 });
    const body = { url: receiver.url, events: ["decision.*"] };
    const key = { "Idempotency-Key": "once" };
    const { id } = await told<wire.CreatedWebhook>(201, send("POST", "/v1/webhooks", world.operator, body, key));
    await world.happen();
    await receiver.arrivals(1);
    await settled(world, id);
    await told(204, send("DELETE", `/v1/webhooks/${id}`, world.operator));
    await workAt(world.tenant, Date.now() + DAY_MS);
    expect(await receiver.arrivals(0)).toHaveLength(1);
    for (const [method, path] of [
      ["GET", ""],
      ["DELETE", ""],
      ["POST", "/rotate"],
      ["POST", "/resume"],
      ["GET", "/deliveries"],
    ] as const)
      expect(await problemOf(send(method, `/v1/webhooks/${id}${path}`, world.operator)), path).toBe("404 not_found");
    expect(await problemOf(send("POST", "/v1/webhooks", world.operator, body, key))).toBe("404 not_found");
    expect(
      await runInDurableObject(env.LEDGERS.getByName(world.tenant), (_, state) => state.storage.sql.exec("SELECT webhooks FROM watch").one()),
    ).toEqual({ webhooks: 0 });
  });
});

describe("a secret", () => {
  it("is shown where it is made, to whoever repeats that request, and nowhere else", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const body = { url: `${receiver.url}/of-nobody?password=hush-hush`, events: ["*"] };
    const key = { "Idempotency-Key": "made" };
    const made = await told<wire.CreatedWebhook>(201, send("POST", "/v1/webhooks", world.operator, body, key));
    const again = await send("POST", "/v1/webhooks", world.operator, body, key);
    expect(again.headers.get("Idempotency-Replayed")).toBe("true");
    expect(await again.json()).toEqual(made);
    expect(await problemOf(send("POST", "/v1/webhooks", world.operator, { ...body, events: ["decision.*"] }, key))).toBe("409 idempotency_mismatch");
    const rotation = { "Idempotency-Key": "rotated" };
    const rotated = await told<wire.RotatedWebhook>(201, send("POST", `/v1/webhooks/${made.id}/rotate`, world.operator, {}, rotation));
    expect(await told(201, send("POST", `/v1/webhooks/${made.id}/rotate`, world.operator, {}, rotation))).toEqual(rotated);
    await world.ship();
    await receiver.arrivals(2);
    await workAt(world.tenant, Date.now());
    const paths = ["/v1/webhooks", `/v1/webhooks/${made.id}`, `/v1/webhooks/${made.id}/deliveries`, "/v1/ledger?limit=1000"];
    const texts = await Promise.all(paths.map(async (path) => (await send("GET", path, world.operator)).text()));
    const sent = (await receiver.arrivals(0)).map(({ body: text }) => text);
    for (const text of [...texts, ...sent]) for (const secret of [made.secret, rotated.secret]) expect(text).not.toContain(secret.slice(6));
    // Nor is what an address may carry of that kind anybody's who reads the record.
    expect([texts[3], ...sent].join()).not.toContain("hush-hush");
    const old = await send("POST", "/v1/webhooks", world.operator, body, key);
    expect(((await old.json()) as wire.CreatedWebhook).secret).toBe(made.secret);
    // Once it signs no longer, nobody is shown it.
    await workAt(world.tenant, Date.parse(rotated.old_secrets_until));
    expect(await problemOf(send("POST", "/v1/webhooks", world.operator, body, key))).toBe("404 not_found");
  });

  it.each([
    ["whsec_", "0 bytes"],
    [`whsec_${btoa("x".repeat(23))}`, "23 bytes"],
    [`whsec_${btoa("x".repeat(65))}`, "65 bytes"],
    [btoa("x".repeat(32)), "wanted whsec_"],
    ["whsec_not base64 at all, not at all", "wanted whsec_"],
  ])("%s is refused, and not repeated", async (secret, why) => {
    const { operator } = await newWorld();
    const problem = await problemOf(send("POST", "/v1/webhooks", operator, { url: "https://hook.example/", events: ["*"], secret }));
    expect(problem).toMatch(/^422 body_invalid \/secret /);
    expect(problem).toContain(why);
    if (secret !== "whsec_") expect(problem).not.toContain(secret);
  });
});

describe("an address", () => {
  it.each([
    ["http://hook.example/", "is not https"],
    ["https://localhost/", "is not a public name"],
    ["https://127.0.0.1/", "is not a public name"],
    ["https://10.0.0.1/", "is not a public name"],
    ["https://192.168.1.1:8443/", "is not a public name"],
    ["https://169.254.169.254/latest/meta-data", "is not a public name"],
    ["https://[::1]/", "is not a public name"],
    ["https://[fd00::1]/", "is not a public name"],
    ["https://2130706433/", "is not a public name"],
    ["https://metadata.google.internal/", "is not a public name"],
    ["https://printer.local/", "is not a public name"],
    ["https://user:pass@hook.example/", "has a user in it"],
    ["ftp://hook.example/", "is not https"],
    ["hook.example", "is not an absolute URL"],
  ])("%s is refused: it %s", async (url, why) => {
    const { operator } = await newWorld();
    expect(await problemOf(send("POST", "/v1/webhooks", operator, { url, events: ["*"] }))).toContain(`422 body_invalid /url ${why}`);
  });

  it("that is allowed no longer is sent nothing, though it was registered", async () => {
    const world = await newWorld();
    const receiver = await newReceiver();
    const { id } = await world.create(receiver.url);
    await runInDurableObject(objectOf(world.tenant), (_, state) => {
      state.storage.sql.exec("UPDATE webhooks SET url = 'https://169.254.169.254/'");
    });
    await world.happen();
    await expect.poll(async () => (await world.deliveries(id))[0]?.last_error).toBe("the address is not a public name");
    expect(await receiver.arrivals(0)).toEqual([]);
  });

  it("is one of at most sixteen", async () => {
    const { operator, create } = await newWorld();
    for (let n = 0; n < MOST_WEBHOOKS; n++) await create(`https://hook-${n}.example/`);
    expect(await problemOf(send("POST", "/v1/webhooks", operator, { url: "https://hook.example/", events: ["*"] }))).toBe(
      "422 body_invalid  is one too many",
    );
    const pages: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: wire.Page<wire.Webhook> = await told(200, send("GET", `/v1/webhooks?limit=5${cursor === "" ? "" : `&cursor=${cursor}`}`, operator));
      pages.push(...page.items.map(({ url }) => url));
      cursor = page.next_cursor;
    }
    expect(pages).toEqual(Array.from({ length: MOST_WEBHOOKS }, (_, n) => `https://hook-${MOST_WEBHOOKS - 1 - n}.example/`));
  });
});

describe("who", () => {
  it("has no token for it, or one of an agent, makes none; and another tenant's webhook is not there", async () => {
    const [mine, other] = [await newWorld(), await newWorld()];
    const { id } = await mine.create((await newReceiver()).url);
    const agent = await tokenOf(mine.tenant, "bot", "agent", ["sessions:write", "decisions:write", "events:read"]);
    expect(await problemOf(send("POST", "/v1/webhooks", agent, { url: "https://hook.example/", events: ["*"] }))).toBe("403 scope_insufficient");
    expect(await problemOf(send("GET", "/v1/webhooks", agent))).toBe("403 scope_insufficient");
    const greedy = { tenant: mine.tenant, subject: "bot", kind: "agent", scopes: ["webhooks:write"] };
    expect((await send("POST", "/v1/tokens", env.ROOT_KEY, greedy)).status).toBe(422);
    for (const path of ["", "/deliveries"]) expect(await problemOf(send("GET", `/v1/webhooks/${id}${path}`, other.operator))).toBe("404 not_found");
    expect(await problemOf(send("DELETE", `/v1/webhooks/${id}`, other.operator))).toBe("404 not_found");
    expect(await mine.read(id)).toMatchObject({ id });
  });
});

describe("what is done to a webhook", () => {
  it.each(["did it", "did nothing"])(
    "is on record once, by whom, though the tenant %s and nobody heard its answer, and its object dies",
    async (what) => {
      const world = await newWorld();
      const receiver = await newReceiver();
      const { recordWebhooks } = TenantAuthority.prototype;
      const lost = vi.spyOn(TenantAuthority.prototype, "recordWebhooks").mockImplementation(function (this: TenantAuthority, notes) {
        if (what === "did it") recordWebhooks.call(this, notes);
        throw new Error("the answer was lost");
      });
      const { id } = await world.create(receiver.url, ["decision.*"]);
      expect(lost).toHaveBeenCalledOnce();
      vi.restoreAllMocks();
      await die(env.TENANTS.getByName(world.tenant));
      await die(objectOf(world.tenant));
      await workAt(world.tenant, Date.now());
      await told(204, send("DELETE", `/v1/webhooks/${id}`, world.operator));
      const [created, deleted, ...more] = await world.recorded();
      expect(created).toMatchObject({
        principal: { subject: "ops", kind: "human" },
        details: {
          event: "webhook_created",
          id,
          origin: new URL(receiver.url).origin,
          url_digest: expect.stringMatching(/^sha-256:/),
          events: ["decision.*"],
        },
      });
      expect(deleted).toMatchObject({ principal: { subject: "ops" }, details: { event: "webhook_deleted", id } });
      expect(more).toEqual([]);
    },
  );

  it.each(SILENCES)("is on record once, by its alarm, though the tenant said nothing and %s", async (_, does) => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const world = await newWorld();
    await silence(world.tenant, "TENANTS", "recordWebhooks", does);
    const { url } = await newReceiver();
    const { id } = await world.create(url);
    expect(await runDurableObjectAlarm(objectOf(world.tenant))).toBe(true);
    await told(204, send("DELETE", `/v1/webhooks/${id}`, world.operator));
    expect((await world.recorded()).map(({ details }) => details?.event)).toEqual(["webhook_created", "webhook_deleted"]);
  });
});

/** The first events of a stream. */
async function linesOf(stream: Response, count: number): Promise<wire.LedgerEvent[]> {
  if (stream.body === null) throw new Error("a stream has a body");
  const reader = stream.body.getReader();
  const events: wire.LedgerEvent[] = [];
  let text = "";
  while (events.length < count) {
    const { done, value } = await reader.read();
    if (done) break;
    text += new TextDecoder().decode(value);
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith("data: ")) events.push(JSON.parse(line.slice(6)));
  }
  await reader.cancel();
  return events;
}
