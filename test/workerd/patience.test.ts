import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { OUTBOX_TABLE, Outbox } from "../../src/authority/outbox.ts";
import { CHAIN_START, type SealedEntry, seal } from "../../src/core/entry.ts";
import { idFromDigest } from "../../src/core/ids.ts";
import { formatInstant } from "../../src/core/time.ts";
import { inTime } from "../../src/flow/patience.ts";
import type { EntryBatch } from "../../src/flow/ports.ts";
import { bringIn } from "../../src/flow/read_ledger.ts";
import { openLedger } from "../../src/ledger/ledger.ts";
import { SILENCES, silentOnce } from "./silence.ts";
import { newSession, newTenant, ports } from "./world.ts";

/** What objects do with one that says nothing: they wait so long, and then whoever comes next is served. */

/** So long is waited for who will never answer; whoever does answers sooner than the other time. */
const SOON_MS = 50;
const LONG_MS = 30_000;

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const never = () => new Promise<never>(() => {});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("what is waited for so long", () => {
  it("is its answer, where that comes in time, and else that it was late", async () => {
    expect(await inTime(LONG_MS, Promise.resolve(7))).toEqual({ ok: true, value: 7 });
    expect(await inTime(LONG_MS, scheduler.wait(1))).toEqual({ ok: true, value: undefined });
    expect(await inTime(1, never())).toEqual({ ok: false, error: "late" });
  });

  it("fails as it fails, and disturbs nobody where it fails later", async () => {
    await expect(inTime(LONG_MS, Promise.reject(new Error("away")))).rejects.toThrow("away");
    const { promise, reject } = Promise.withResolvers<number>();
    expect(await inTime(1, promise)).toEqual({ ok: false, error: "late" });
    // A rejection that nobody heard would fail this run.
    reject(new Error("away after all"));
    await scheduler.wait(1);
  });

  it("leaves no alarm clock behind", async () => {
    const [set, cleared] = [vi.spyOn(globalThis, "setTimeout"), vi.spyOn(globalThis, "clearTimeout")];
    await inTime(LONG_MS, Promise.resolve());
    await expect(inTime(LONG_MS, Promise.reject(new Error("away")))).rejects.toThrow("away");
    expect(set.mock.calls.map(([, ms]) => ms)).toEqual([LONG_MS, LONG_MS]);
    expect(cleared.mock.calls.map(([timer]) => timer)).toEqual(set.mock.results.map(({ value }) => value));
  });
});

/** So many entries of a chain, after others. */
function chainOf(tenant: string, count: number, before: readonly SealedEntry[] = []): SealedEntry[] {
  const last = before.at(-1);
  let head = last === undefined ? CHAIN_START : { seq: last.entry.seq, hash: last.hash };
  return Array.from({ length: count }, () => {
    const id = idFromDigest("ent", sha256(`${tenant} ${head.seq}`));
    const sealed = seal(
      sha256,
      head,
      { id, kind: "policy", timestamp: formatInstant(Date.UTC(2026, 10, 22)), tenant_id: tenant, session_id: null },
      null,
    );
    head = { seq: sealed.entry.seq, hash: sealed.hash };
    return sealed;
  });
}

describe("an outbox whose ledger says nothing to a shipment", () => {
  it.each(SILENCES)("keeps what it has, and ships it when it is asked again, where the ledger %s", async (_, does) => {
    const tenant = `outbox-${does}`;
    const entries = chainOf(tenant, 3);
    await runInDurableObject(env.SESSIONS.getByName(tenant), async (_, { storage: { sql } }) => {
      sql.exec(OUTBOX_TABLE);
      const outbox = new Outbox(sql);
      outbox.add(entries);
      const { object: ledger, fell } = silentOnce(env.LEDGERS.getByName(tenant), "accept", does);
      await outbox.ship(ledger, tenant, SOON_MS);
      await fell;
      expect(outbox.isEmpty()).toBe(false);
      await outbox.ship(ledger, tenant);
      expect(outbox.isEmpty()).toBe(true);
    });
    const read = await env.LEDGERS.getByName(tenant).readFrom(0, 500);
    expect(read.map(({ hash }) => hash)).toEqual(entries.map(({ hash }) => hash));
  });

  it("serves who comes meanwhile, and takes no late answer for that to another shipment", async () => {
    const tenant = "outbox-late";
    const entries = chainOf(tenant, 5);
    await runInDurableObject(env.SESSIONS.getByName(tenant), async (_, { storage: { sql } }) => {
      sql.exec(OUTBOX_TABLE);
      const outbox = new Outbox(sql);
      outbox.add(entries.slice(0, 3));
      const real = env.LEDGERS.getByName(tenant);
      const { promise: late, resolve } = Promise.withResolvers<{ readonly acceptedThrough: number }>();
      let calls = 0;
      const accept = (batch: EntryBatch) => (calls++ === 0 ? late : real.accept(batch));
      const ledger = new Proxy(real, { get: (target, name) => (name === "accept" ? accept : Reflect.get(target, name)) });
      // The first gives up; the second, which has waited for it, is answered.
      await Promise.all([outbox.ship(ledger, tenant, SOON_MS), outbox.ship(ledger, tenant)]);
      expect({ calls, isEmpty: outbox.isEmpty() }).toEqual({ calls: 2, isEmpty: true });
      outbox.add(entries.slice(3));
      // As no ledger says it: were it believed, the last two would be nowhere.
      resolve({ acceptedThrough: 5 });
      await scheduler.wait(1);
      await outbox.ship(ledger, tenant);
      expect(outbox.isEmpty()).toBe(true);
    });
    expect(await env.LEDGERS.getByName(tenant).listen(0)).toBe(5);
  });
});

it("an outbox takes nothing that its ledger would pass over, and keeps what it has", async () => {
  const tenant = "outbox-back";
  const entries = chainOf(tenant, 3);
  await runInDurableObject(env.SESSIONS.getByName(tenant), async (_, { storage: { sql } }) => {
    sql.exec(OUTBOX_TABLE);
    const outbox = new Outbox(sql);
    outbox.add(entries.slice(0, 2));
    await outbox.ship(env.LEDGERS.getByName(tenant), tenant);
    // As of an object whose storage was set back to before its second entry.
    expect(() => outbox.add(entries.slice(1, 2))).toThrow("what is recorded follows what the ledger has");
    expect(outbox.isEmpty()).toBe(true);
    outbox.add(entries.slice(2));
    await outbox.ship(env.LEDGERS.getByName(tenant), tenant);
  });
  expect(await env.LEDGERS.getByName(tenant).listen(0)).toBe(3);
});

describe("a session whose ledger says nothing", () => {
  it("ends its alarm before the next would ring, and has set that", async () => {
    const { tenant, agent } = await newTenant("version: 1");
    const session = await newSession(agent);
    await runInDurableObject(env.SESSIONS.getByName(sessionObjectName(tenant, session)), async (object, { storage }) => {
      const { object: ledger } = silentOnce(env.LEDGERS.getByName(tenant), "accept", false);
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ledger } });
      await storage.deleteAlarm();
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
      const ringing = object.alarm();
      await vi.advanceTimersByTimeAsync(5_000);
      await ringing;
      expect(await storage.getAlarm()).not.toBeNull();
    });
  });
});

describe("a tenant", () => {
  it.each(SILENCES)("ships again by its alarm what its ledger said nothing to, where that %s", async (_, does) => {
    const { tenant } = await newTenant("version: 1");
    await runInDurableObject(env.TENANTS.getByName(tenant), async (object, { storage }) => {
      const { object: ledger, fell } = silentOnce(env.LEDGERS.getByName(tenant), "accept", does);
      object.patienceMs = SOON_MS;
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ledger } });
      await storage.deleteAlarm();
      await object.alarm();
      await fell;
      expect(await storage.getAlarm()).not.toBeNull();
      object.patienceMs = LONG_MS;
      await storage.deleteAlarm();
      await object.alarm();
      expect(await storage.getAlarm()).toBeNull();
    });
    const chain = (await env.LEDGERS.getByName(tenant).readFrom(0, 500)).map(({ canonical }) => JSON.parse(canonical).seq);
    expect(chain).toEqual(chain.map((_, place) => place + 1));
    expect(chain.length).toBeGreaterThan(0);
  });
});

describe("a session that hands nothing over", () => {
  const refusing = async () => {
    throw new Error("the ledger has another history");
  };
  it.each([
    ["never answers, keeps nobody from the record of the others", never, undefined, { ok: true }],
    ["never answers, is named to who asks for its own", never, ports.newId("ses"), { ok: false, error: { code: "ledger_unavailable" } }],
    ["cannot, keeps nobody from the record of the others", refusing, undefined, { ok: true }],
    ["cannot, is named to who asks for its own", refusing, ports.newId("ses"), { ok: false, error: { code: "ledger_unavailable" } }],
  ])("because it %s", async (_, ship, session, comes) => {
    const { tenant } = await newTenant("version: 1");
    const silent = {
      ...ports,
      tenants: { ...ports.tenants, liveSessions: async () => [ports.newId("ses")] },
      sessions: { ...ports.sessions, ship },
    };
    expect(await bringIn(silent, tenant, session, SOON_MS)).toMatchObject(comes);
  });
});

describe("a record whose keeper says nothing", () => {
  it.each(["settle", "ingest"] as const)("is out of reach for who asks it to %s, and there again for the next", async (what) => {
    const { tenant } = await newTenant(null);
    const { object } = silentOnce(env.LEDGERS.getByName(tenant), what, false);
    // Of the namespace the port calls nothing else.
    const LEDGERS = { getByName: () => object } as unknown as typeof env.LEDGERS;
    const ask = (answerMs?: number) => {
      const ledger = openLedger({ LEDGERS, DB: env.DB }, answerMs);
      return what === "settle" ? ledger.settle(tenant) : ledger.ingest(tenant, { lines: [], key: null });
    };
    expect(await ask(SOON_MS)).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
    expect(await ask()).toMatchObject({ ok: true });
  });
});
