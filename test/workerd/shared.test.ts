import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import type { DrawCall } from "../../src/authority/shared_accounts.ts";
import type { SessionId } from "../../src/core/ids.ts";
import type { Principal } from "../../src/core/request.ts";
import type { Draw } from "../../src/core/shares.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { closeSession, readSession } from "../../src/flow/read_session.ts";
import { topup } from "../../src/flow/topup.ts";
import * as present from "../../src/http/present.ts";
import { asked, commitOf, decideMany, decideOne, got, newSession, newTenant, ports, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
});

const NOON = Date.UTC(2027, 0, 15, 12);

/** Stops the clock there: leases, spans and windows are then exactly where a test says. */
const at = (now: number) => vi.useFakeTimers({ now, toFake: ["Date"] });

const sessionStub = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));
const tenantStub = (tenant: string) => env.TENANTS.getByName(tenant);

const pay = (principal: Principal, session: SessionId, amount: string) => decideOne(principal, session, "pay", { estimateMicroUsd: usd(amount) });

const budgetsOf = async (principal: Principal, session: SessionId) =>
  present
    .sessionDetail(got(await readSession(ports, principal, session)))
    .budgets.filter(({ scope }) => scope === "agent" || scope === "tenant")
    .map(({ scope, window, limit_usd, posted_usd, pending_usd, leased_usd, remaining_usd }) => ({
      is: `${scope} ${window}`,
      limit_usd,
      posted_usd,
      pending_usd,
      leased_usd,
      remaining_usd,
    }));

const granted = (tenant: string) =>
  runInDurableObject(tenantStub(tenant), (_, { storage }) =>
    storage.sql
      .exec<{ scope: string; span: string; granted: number }>(
        "SELECT scope, span, granted_micro_usd AS granted FROM pools WHERE granted_micro_usd > 0",
      )
      .toArray()
      .map(({ scope, span, granted: sum }) => `${scope} ${span} ${sum}`),
  );

/** From now on an object finds others where the row says. */
const inside = (stub: DurableObjectStub, finds: Readonly<Record<string, unknown>>) =>
  runInDurableObject(stub, (object) => void Reflect.set(object, "env", { ...env, ...finds }));

/** From now on whatever needs a table of the object fails. */
const loseTables = (stub: DurableObjectStub) =>
  runInDurableObject(stub, (_, { storage: { sql } }) => {
    const tables = sql.exec("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '_cf*' AND name NOT GLOB 'sqlite*'").toArray();
    for (const { name } of tables) sql.exec(`ALTER TABLE "${name}" RENAME TO "lost_${name}"`);
  });

describe("money of a tenant", () => {
  it("is spent by fifty sessions at once to the last decision that fits, with objects dying meanwhile, and never above", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 20 } }");
    const sessions = await Promise.all(Array.from({ length: 50 }, () => newSession(agent)));
    const verdicts: string[] = [];
    await Promise.all(
      sessions.map(async (session, place) => {
        for (let n = 0; n < 4; n++) {
          if ((place + n) % 17 === 0) await evictDurableObject(sessionStub(tenant, session));
          if ((place + n) % 61 === 0) await evictDurableObject(tenantStub(tenant));
          verdicts.push((await pay(agent, session, "0.18").catch(() => ({ verdict: "lost" }))).verdict);
        }
      }),
    );
    // Who lost an answer has what it took on record all the same.
    const reads = await Promise.all(sessions.map(async (session) => got(await ports.sessions.read(tenant, session, agent))));
    const spent = reads.reduce((sum, { total }) => sum + total.pendingMicroUsd, 0);
    expect(spent).toBeLessThanOrEqual(20_000_000);
    // Whoever is left unserved asks once more, now that nobody dies: then what fits is gone.
    for (const session of sessions.slice(0, 5)) await pay(agent, session, "0.18");
    const after = await Promise.all(sessions.map(async (session) => got(await ports.sessions.read(tenant, session, agent))));
    const total = after.reduce((sum, { total: { pendingMicroUsd } }) => sum + pendingMicroUsd, 0);
    expect(total).toBeLessThanOrEqual(20_000_000);
    expect(total).toBeGreaterThanOrEqual(19_800_000);
    expect((await pay(agent, sessions[7] as SessionId, "0.18")).verdict).toBe("deny");
    expect(verdicts.filter((verdict) => verdict === "allow").length).toBeGreaterThan(100);
  });

  it("one session has given back is another's at once, and what is gone says when there is more", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const first = await pay(agent, a, "0.7");
    expect(first).toMatchObject({ verdict: "allow" });
    expect((await pay(agent, b, "0.2")).verdict).toBe("allow");
    const denied = await pay(agent, b, "0.2");
    expect(denied).toMatchObject({ verdict: "deny", stops: "action", reason: { code: "tenant_budget_exceeded", rule: "/budgets/tenant/day" } });
    expect(denied.reason.message).toContain("0.1 USD left of 1");
    const untilMidnight = 86_400_000 - (Date.now() % 86_400_000);
    expect(Math.abs((denied.reason.retryAfterMs ?? 0) - untilMidnight)).toBeLessThan(5_000);
    expect((await pay(agent, b, "0.1")).verdict).toBe("allow");
    // Nothing is spent yet: it may all come back.
    expect(await pay(agent, b, "0.000001")).toMatchObject({ verdict: "deny", stops: "action" });
    got(await ports.sessions.release(agent.tenant, a, agent, first.id, null));
    const last = await pay(agent, b, "0.7");
    expect(last.verdict).toBe("allow");
    expect((await pay(agent, a, "0.000001")).verdict).toBe("deny");
    // What another session has spent of it is as gone as one's own.
    got(await commitOf(agent, b, last.id, "1"));
    expect(await pay(agent, a, "0.000001")).toMatchObject({ verdict: "deny", stops: "session" });
  });

  it("not spent goes back when less is reported, when a session closes, and when its lease has lapsed", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b, c] = [await newSession(agent), await newSession(agent), await newSession(agent)];
    const taken = await pay(agent, a, "0.9");
    expect((await pay(agent, b, "0.2")).verdict).toBe("deny");
    got(await commitOf(agent, a, taken.id, "0.1"));
    expect((await pay(agent, b, "0.2")).verdict).toBe("allow");
    got(await ports.sessions.close(tenant, b, agent));
    expect((await granted(tenant)).filter((line) => line.startsWith("tenant day"))).toEqual(["tenant day 300000"]);
    // A slice: more than was asked for, which its session then leaves alone.
    expect((await pay(agent, c, "0.01")).verdict).toBe("allow");
    expect((await granted(tenant)).filter((line) => line.startsWith("tenant day"))).not.toEqual(["tenant day 310000"]);
    at(Date.now() + LEASE_TERM_MS + 1);
    expect(await runDurableObjectAlarm(sessionStub(tenant, c))).toBe(true);
    vi.useRealTimers();
    expect((await granted(tenant)).filter((line) => line.startsWith("tenant day"))).toEqual(["tenant day 310000"]);
  });

  it("and freed later goes back at once where what was not spent was asked back: others are short", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 6 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "1");
    while ((await pay(agent, b, "0.5")).verdict === "allow");
    // The tenant takes its time: who gives back waits a little, so that it is there when that is answered.
    const busy = runInDurableObject(tenantStub(tenant), (_, state) => state.blockConcurrencyWhile(() => scheduler.wait(100)));
    got(await ports.sessions.release(tenant, a, agent, id, null));
    const shares = await runInDurableObject(sessionStub(tenant, a), (_, { storage }) =>
      String(storage.sql.exec("SELECT shares FROM session").one().shares),
    );
    const { ask, heard } = JSON.parse(shares);
    expect(heard).toBe(ask);
    await busy;
    expect((await pay(agent, b, "0.5")).verdict).toBe("allow");
  });

  it("renews no lease where nobody asks any more, whatever expires there", async () => {
    // Not over the end of an hour: of one that has ended the tenant keeps what was given until it is asked again.
    at(Math.floor(Date.now() / 3_600_000) * 3_600_000);
    const { tenant, agent } = await newTenant("budgets: { on_expiry: release, tenant: { day: 100 } }");
    const session = await newSession(agent);
    for (let n = 1; n <= 4; n++) await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5"), ttlMs: 60_000 * n });
    const leaseEndsAt = () =>
      runInDurableObject(tenantStub(tenant), (_, { storage }) => storage.sql.exec("SELECT lease_ends_at AS at FROM sessions").one().at);
    const before = await leaseEndsAt();
    const ring = () => runInDurableObject(sessionStub(tenant, session), (_, state) => state.storage.getAlarm());
    for (let set = await ring(), rung = 0; set !== null && rung < 40; set = await ring(), rung++) {
      at(set);
      await runDurableObjectAlarm(sessionStub(tenant, session));
    }
    expect(await granted(tenant)).toEqual([]);
    expect(await leaseEndsAt()).toBe(before);
  });

  it.each([
    ["", false],
    [", also while the ledger cannot be reached", true],
  ])("and freed where nobody asks any more is there for others within six seconds%s", async (_, isLedgerAway) => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 6 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const alarm = async () => {
      const set = await runInDurableObject(sessionStub(tenant, a), (_, state) => state.storage.getAlarm());
      at(set ?? Number.NaN);
      await runDurableObjectAlarm(sessionStub(tenant, a));
    };
    const [{ id }] = [await pay(agent, a, "1"), await pay(agent, a, "0.5")];
    const pending = () =>
      runInDurableObject(env.TENANTS.getByName(tenant), (_, state) =>
        Number(state.storage.sql.exec("SELECT pending_micro_usd FROM pools WHERE scope = 'tenant' AND span = 'day'").one().pending_micro_usd),
      );
    // The tenant hears that all of it is set aside: so nobody asks for any of it.
    for (let rung = 0; (await pending()) < usd("1.5") && rung < 5; rung++) await alarm();
    while ((await pay(agent, b, "0.5")).verdict === "allow");
    if (isLedgerAway) await loseTables(env.LEDGERS.getByName(tenant));
    const freedAt = Date.now();
    got(await ports.sessions.release(tenant, a, agent, id, null));
    expect((await pay(agent, b, "0.5")).verdict).toBe("deny");
    for (let rung = 0; (await pay(agent, b, "0.5")).verdict === "deny" && rung < 5; rung++) await alarm();
    expect(Date.now() - freedAt).toBeLessThanOrEqual(6_000);
  });

  it("is shown as it stands over all sessions, and adds up", async () => {
    const { agent } = await newTenant("budgets: { agent: { hour: 2 }, tenant: { day: 10, month: 50, total: 100 } }");
    const other: Principal = { ...agent, subject: "other" };
    const [mine, theirs] = [await newSession(agent), await newSession(other)];
    const taken = await pay(agent, mine, "0.5");
    got(await commitOf(agent, mine, taken.id, "0.3"));
    await pay(other, theirs, "0.4");
    const shown = await budgetsOf(agent, mine);
    expect(shown.map(({ is, posted_usd, pending_usd }) => [is, posted_usd, pending_usd])).toEqual([
      ["agent hour", "0.3", "0"],
      ["tenant day", "0.3", "0.4"],
      ["tenant month", "0.3", "0.4"],
      ["tenant total", "0.3", "0.4"],
    ]);
    for (const { limit_usd, posted_usd, pending_usd, leased_usd, remaining_usd } of shown) {
      const sum = [posted_usd, pending_usd, leased_usd, remaining_usd ?? ""].reduce((all, text) => all + usd(text), 0);
      expect(sum).toBe(usd(limit_usd ?? ""));
    }
    const { budgets } = await pay(other, theirs, "0.1");
    expect(
      budgets.filter(({ scope }) => scope === "agent" || scope === "tenant").map(({ scope, name, window }) => [scope, name, window?.name]),
    ).toEqual([
      ["agent", "other", "hour"],
      ["tenant", agent.tenant, "day"],
      ["tenant", agent.tenant, "month"],
      ["tenant", agent.tenant, "total"],
    ]);
    const { items } = got(await listEntries(ports, agent.tenant, { session: theirs, kind: "decision" }, { limit: 1, cursor: null }));
    const entry = JSON.parse(items[0]?.canonical ?? "{}");
    expect(
      entry.accounts.find(({ scope, window }: { scope: string; window?: string }) => scope === "tenant" && window?.startsWith("day")),
    ).toMatchObject({
      window: expect.stringMatching(/^day \d{4}-\d\d-\d\dT00:00:00\.000Z$/),
      limit_usd: "10",
      before: { slice_usd: expect.any(String) },
      after: { pending_usd: "0.5" },
    });
  });

  it("of an agent is none of another's, and a new day is a new budget while the month goes on", async () => {
    at(NOON);
    const { agent } = await newTenant("budgets: { agent: { day: 1, month: 1.5 } }");
    const other: Principal = { ...agent, subject: "other" };
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const theirs = await newSession(other);
    expect((await pay(agent, a, "1")).verdict).toBe("allow");
    expect((await pay(agent, b, "0.1")).reason).toMatchObject({
      code: "agent_budget_exceeded",
      rule: "/budgets/agent/day",
      retryAfterMs: 43_200_000,
    });
    expect((await pay(other, theirs, "1")).verdict).toBe("allow");
    at(NOON + 43_200_000);
    const [c, d] = [await newSession(agent), await newSession(agent)];
    expect((await pay(agent, c, "0.4")).verdict).toBe("allow");
    expect((await pay(agent, d, "0.2")).reason).toMatchObject({ code: "agent_budget_exceeded", rule: "/budgets/agent/month" });
    expect((await pay(agent, d, "0.1")).verdict).toBe("allow");
  });

  it("reserved yesterday and reported today counts yesterday, and what is above it today", async () => {
    at(NOON + 43_190_000);
    const { agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const session = await newSession(agent);
    const late = await pay(agent, session, "0.8");
    at(NOON + 43_210_000);
    got(await commitOf(agent, session, late.id, "0.9"));
    expect((await budgetsOf(agent, session))[0]).toMatchObject({ is: "tenant day", posted_usd: "0.1", pending_usd: "0" });
    expect((await pay(agent, session, "0.95")).verdict).toBe("deny");
    expect((await pay(agent, session, "0.9")).verdict).toBe("allow");
  });

  it("that was overrun by one session is felt by the next decision of each, whatever they were given before", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const sessions = await Promise.all(Array.from({ length: 6 }, () => newSession(agent)));
    const pay = (session: SessionId, amount: string) => decideOne(agent, session, "pay", { estimateMicroUsd: usd(amount) });
    const firsts = [];
    for (const session of sessions) firsts.push(await pay(session, "0.01"));
    const [first] = sessions;
    const [taken] = firsts;
    if (first === undefined || taken === undefined) throw new Error("six sessions were opened");
    expect(got(await commitOf(agent, first, taken.id, "500")).answer).toMatchObject({ overrunMicroUsd: usd("499.99") });
    for (const session of sessions) expect((await pay(session, "1")).reason.code).toBe("tenant_budget_exceeded");
  });

  it("that an overrun has left less of than others were given is felt by their next decision, though it is not above its limit", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "0.01");
    expect((await pay(agent, b, "0.01")).verdict).toBe("allow");
    got(await commitOf(agent, a, id, "99"));
    expect((await pay(agent, b, "1")).reason.code).toBe("tenant_budget_exceeded");
    expect((await pay(agent, b, "0.99")).verdict).toBe("allow");
  });

  it("that was overrun comes back from all who were given some, also where they are more than are asked at once", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 1000 } }");
    const sessions = await Promise.all(Array.from({ length: 40 }, () => newSession(agent)));
    const firsts = [];
    for (const session of sessions) firsts.push(await pay(agent, session, "0.01"));
    got(await commitOf(agent, sessions[0] as SessionId, (firsts[0] as (typeof firsts)[number]).id, "5000"));
    const verdicts = [];
    for (const session of sessions) verdicts.push((await pay(agent, session, "0.05")).verdict);
    expect(verdicts.filter((verdict) => verdict === "allow")).toEqual([]);
  });

  it("that was overrun in a stretch in which its session had asked for nothing is felt by those who had", async () => {
    at(NOON + 43_190_000);
    const { agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "1");
    at(NOON + 43_210_000);
    expect((await pay(agent, b, "1")).verdict).toBe("allow");
    got(await commitOf(agent, a, id, "500"));
    expect((await pay(agent, b, "1")).reason.code).toBe("tenant_budget_exceeded");
  });

  it("that was overrun is told of by a session that older code stored, too", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "0.01");
    expect((await pay(agent, b, "0.01")).verdict).toBe("allow");
    await runInDurableObject(sessionStub(tenant, a), (_, { storage: { sql } }) => {
      sql.exec("UPDATE session SET shares = json_remove(shares, '$.overrunHeardMicroUsd')");
    });
    await evictDurableObject(sessionStub(tenant, a));
    got(await commitOf(agent, a, id, "99"));
    expect((await pay(agent, b, "1")).reason.code).toBe("tenant_budget_exceeded");
  });

  it("under a limit that was lifted is asked for no more: the tenant is not asked at each decision", async () => {
    const { tenant, agent, put } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    await pay(agent, session, "0.01");
    await put("budgets: { session: 1000 }");
    expect((await pay(agent, session, "9")).verdict).toBe("allow");
    const asks = async () => {
      const { shares } = await runInDurableObject(sessionStub(tenant, session), (_, { storage }) =>
        storage.sql.exec("SELECT shares FROM session").one(),
      );
      return Number(JSON.parse(String(shares)).ask);
    };
    const before = await asks();
    for (let n = 0; n < 20; n++) await pay(agent, session, "0.1");
    // Once in some seconds it says how it stands.
    expect((await asks()) - before).toBeLessThanOrEqual(3);
  });

  it("that was overrun by one session is felt by the next decision of another", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const taken = await pay(agent, a, "0.5");
    expect((await pay(agent, b, "0.1")).verdict).toBe("allow");
    expect(got(await commitOf(agent, a, taken.id, "3")).answer).toMatchObject({ overrunMicroUsd: 2_500_000 });
    await budgetsOf(agent, a);
    expect((await pay(agent, b, "0.4")).reason.code).toBe("tenant_budget_exceeded");
    expect((await pay(agent, b, "0")).reason.code).toBe("tenant_budget_exceeded");
  });

  it("obeys a tighter policy at the next decision, whatever was handed out under the looser one, and counts what was spent without any", async () => {
    const { agent, put } = await newTenant("budgets: { session: 100 }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    expect((await pay(agent, a, "3")).verdict).toBe("allow");
    await put("budgets: { tenant: { day: 100 } }");
    expect((await pay(agent, b, "1")).verdict).toBe("allow");
    await put("budgets: { tenant: { day: 5 } }");
    expect((await pay(agent, b, "1.5")).reason.code).toBe("tenant_budget_exceeded");
    expect((await pay(agent, b, "1")).verdict).toBe("allow");
    expect((await pay(agent, a, "0.000001")).verdict).toBe("deny");
    await put("budgets: { tenant: { day: 6 } }");
    expect((await pay(agent, a, "1")).verdict).toBe("allow");
  });

  it("that is scarce is given in the order in which it was asked for: who waits for it is not asked to give back what it waits with", async () => {
    const { tenant, agent } = await newTenant("budgets: { agent: { day: 8 }, tenant: { day: 10 } }");
    const other: Principal = { ...agent, subject: "other" };
    const [a, b, c] = [await newSession(agent), await newSession(agent), await newSession(other)];
    const held = await pay(other, c, "8");
    // What it gives back its tenant hears when it asks, and not before.
    await inside(sessionStub(tenant, c), { TENANTS: { getByName: () => ({ draw: () => Promise.reject(new Error("away")) }) } });
    got(await ports.sessions.release(tenant, c, other, held.id, null));
    const { promise: answers, resolve: answer } = Promise.withResolvers<void>();
    await inside(tenantStub(tenant), {
      SESSIONS: {
        getByName: (name: string) => ({
          report: async (givesBack: boolean) => {
            if (name === sessionObjectName(tenant, c)) await answers;
            return env.SESSIONS.getByName(name).report(givesBack);
          },
        }),
      },
    });
    const heard: boolean[] = [];
    await inside(sessionStub(tenant, a), {
      TENANTS: {
        getByName: () => ({
          draw: async (call: DrawCall) => {
            const drawn = await tenantStub(tenant).draw(call);
            heard.push(drawn.ok && drawn.value.word !== null);
            return drawn;
          },
        }),
      },
    });
    const lastAsk = async (session: SessionId) =>
      runInDurableObject(tenantStub(tenant), (_, { storage }) => storage.sql.exec("SELECT ask FROM sessions WHERE id = ?", session).one().ask);
    const first = pay(agent, a, "6");
    await vi.waitUntil(async () => (await lastAsk(a)) !== 0);
    const second = pay(agent, b, "3");
    await vi.waitUntil(async () => (await lastAsk(b)) !== 0);
    answer();
    expect((await first).verdict).toBe("allow");
    expect((await second).reason.code).toBe("agent_budget_exceeded");
    expect(heard).toEqual([true]);
  });

  it("that is gone is the reason of every no, and not an agent's of which there is enough", async () => {
    const { agent } = await newTenant("budgets: { agent: { day: 2.5 }, tenant: { day: 1 } }");
    const agents = ["ann", "bob", "cy", "dan"].map((subject): Principal => ({ ...agent, subject }));
    const seats = await Promise.all([...agents, ...agents].map(async (one) => ({ one, session: await newSession(one) })));
    const decided = await Promise.all(seats.flatMap(({ one, session }) => Array.from({ length: 8 }, () => pay(one, session, "0.07"))));
    expect(Object.entries(Object.groupBy(decided, ({ reason }) => reason.code)).map(([code, of]) => `${code} ${of?.length}`)).toEqual([
      "permitted 14",
      "tenant_budget_exceeded 50",
    ]);
    // Each says what was left, and that is less than was asked for.
    for (const { reason } of decided.filter(({ verdict }) => verdict === "deny"))
      expect(reason.message).toMatch(/ has 0(\.0[0-6]\d*)? USD left of 1 /);
  });

  it("in a batch is asked for once and whole, and in a top-up too", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const many = (count: number, amount: string) => Array.from({ length: count }, () => asked("pay", { estimateMicroUsd: usd(amount) }));
    const verdicts = async (...args: Parameters<typeof decideMany>) =>
      (await decideMany(...args)).map(({ verdict, reason }) => `${verdict} ${reason.code}`);
    expect(await verdicts(agent, a, many(3, "0.4"), "all_or_nothing")).toEqual([
      "deny batch_refused",
      "deny batch_refused",
      "deny tenant_budget_exceeded",
    ]);
    expect(await verdicts(agent, a, many(2, "0.4"), "all_or_nothing")).toEqual(["allow permitted", "allow permitted"]);
    expect(await verdicts(agent, b, many(3, "0.1"), "independent")).toEqual(["allow permitted", "allow permitted", "deny tenant_budget_exceeded"]);
    const { agent: one } = await newTenant("budgets: { tenant: { day: 1 } }");
    const session = await newSession(one);
    const first = await pay(one, session, "0.1");
    expect(got(await topup(ports, one, session, first.id, usd("1"), Date.now())).decision).toMatchObject({ verdict: "allow" });
    expect(got(await topup(ports, one, session, first.id, usd("1.1"), Date.now())).decision).toMatchObject({
      verdict: "deny",
      reason: { code: "tenant_budget_exceeded" },
      reservation: { amountMicroUsd: 1_000_000 },
    });
  });

  it("tells each threshold once, in the tenant's own chain", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 }, alerts: [0.5, 0.9] }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    await pay(agent, a, "0.3");
    await pay(agent, b, "0.3");
    await budgetsOf(agent, a);
    await budgetsOf(agent, a);
    await pay(agent, b, "0.35");
    await budgetsOf(agent, a);
    const { items } = got(await listEntries(ports, tenant, { kind: "lease" }, { limit: 10, cursor: null }));
    const alerts = items.map(({ canonical }) => JSON.parse(canonical)).reverse();
    expect(alerts.map(({ session_id, alerts: said }) => [session_id, said])).toMatchObject([
      [null, [{ scope: "tenant", name: tenant, limit_usd: "1", threshold: 0.5 }]],
      [null, [{ scope: "tenant", name: tenant, limit_usd: "1", threshold: 0.9 }]],
    ]);
  });
});

describe("a tenant that cannot be reached", () => {
  const silence = (tenant: string, session: SessionId, draws: (call: unknown) => Promise<unknown>) =>
    runInDurableObject(sessionStub(tenant, session), (object) => {
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => ({ draw: draws }) } });
    });
  const heal = (tenant: string, session: SessionId) =>
    runInDurableObject(sessionStub(tenant, session), (object) => void Reflect.set(object, "env", env));

  it("denies what no slice covers, and lets through what one does", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    expect((await pay(agent, session, "0.1")).verdict).toBe("allow");
    await silence(tenant, session, () => Promise.reject(new Error("away")));
    expect((await pay(agent, session, "0.1")).verdict).toBe("allow");
    expect((await pay(agent, session, "5")).reason).toMatchObject({ code: "authority_stale", retryAfterMs: 1_000 });
    await heal(tenant, session);
    expect((await pay(agent, session, "5")).verdict).toBe("allow");
  });

  it.each([
    ["did nothing", false],
    ["did it all the same", true],
  ])("and was told of an overrun is told again by the alarm within six seconds, and others feel it then: it %s", async (_, does) => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "0.01");
    expect((await pay(agent, b, "0.01")).verdict).toBe("allow");
    await silence(tenant, a, async (call) => {
      if (does) await tenantStub(tenant).draw(call as Parameters<ReturnType<typeof tenantStub>["draw"]>[0]);
      throw new Error("nobody hears of it");
    });
    got(await commitOf(agent, a, id, "99"));
    expect((await pay(agent, b, "1")).verdict).toBe(does ? "deny" : "allow");
    await heal(tenant, a);
    const heard = () =>
      runInDurableObject(sessionStub(tenant, a), (_, { storage }) =>
        storage.sql.exec("SELECT json_extract(shares, '$.overrunHeardMicroUsd') AS heard FROM session").one(),
      );
    const spentAt = Date.now();
    for (let rung = 0; (await heard()).heard !== usd("98.99") && rung < 5; rung++) {
      at((await runInDurableObject(sessionStub(tenant, a), (_, { storage }) => storage.getAlarm())) ?? Number.NaN);
      await runDurableObjectAlarm(sessionStub(tenant, a));
    }
    expect(Date.now() - spentAt).toBeLessThanOrEqual(6_000);
    expect((await pay(agent, b, "1")).verdict).toBe("deny");
  });

  it("and hears of an overrun only when its session is closed has it felt by others at once", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 100 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { id } = await pay(agent, a, "0.01");
    expect((await pay(agent, b, "0.01")).verdict).toBe("allow");
    const closes = (session: SessionId, last: Draw) => tenantStub(tenant).closeSession(session, last);
    await inside(sessionStub(tenant, a), {
      TENANTS: { getByName: () => ({ draw: () => Promise.reject(new Error("away")), closeSession: closes }) },
    });
    got(await commitOf(agent, a, id, "99"));
    got(await closeSession(ports, agent, a));
    // All that is given is what is spent: the other has given back what it was given.
    await vi.waitUntil(async () => (await granted(tenant)).includes("tenant day 99010000"), { timeout: 3_000 });
    expect((await pay(agent, b, "1")).reason.code).toBe("tenant_budget_exceeded");
    await heal(tenant, a);
  });

  it("may have given and not been heard: what is asked again is not given twice", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    await silence(tenant, a, async (call) => {
      // It did it, and nobody hears of it.
      await tenantStub(tenant).draw(call as Parameters<ReturnType<typeof tenantStub>["draw"]>[0]);
      throw new Error("the answer was lost");
    });
    expect((await pay(agent, a, "4")).reason.code).toBe("authority_stale");
    expect((await granted(tenant)).filter((line) => line.startsWith("tenant day"))).toEqual(["tenant day 4000000"]);
    await heal(tenant, a);
    expect((await pay(agent, a, "4")).verdict).toBe("allow");
    expect((await pay(agent, b, "6")).verdict).toBe("allow");
    expect((await pay(agent, b, "0.000001")).verdict).toBe("deny");
  });
});

describe("calls that sessions share", () => {
  it.each(["agent", "tenant"] as const)(
    "per %s are exactly as many as the rate says, however many sessions ask at once, and as many again after the window",
    async (per) => {
      at(NOON);
      const { agent } = await newTenant(`rate_limits: { pay: { max_count: 20, window_seconds: 60, per: ${per} } }`);
      const sessions = await Promise.all(Array.from({ length: 10 }, () => newSession(agent)));
      const storm = async () =>
        (await Promise.all(sessions.flatMap((session) => Array.from({ length: 5 }, () => pay(agent, session, "0"))))).map(({ verdict }) => verdict);
      expect((await storm()).filter((verdict) => verdict === "allow").length).toBe(20);
      const denied = await pay(agent, sessions[0] as SessionId, "0");
      expect(denied.reason).toMatchObject({ code: "rate_exceeded", rule: "/rate_limits/pay", retryAfterMs: 60_000 });
      expect(denied.rates).toMatchObject([{ name: "pay", per, limit: 20, remaining: 0, resetMs: 60_000 }]);
      at(NOON + 59_999);
      expect((await pay(agent, sessions[3] as SessionId, "0")).reason).toMatchObject({ code: "rate_exceeded", retryAfterMs: 1 });
      at(NOON + 60_000);
      expect((await storm()).filter((verdict) => verdict === "allow").length).toBe(20);
    },
  );

  it("per agent leave another agent's alone", async () => {
    const { agent } = await newTenant("rate_limits: { pay: { max_count: 1, window_seconds: 60, per: agent } }");
    const other: Principal = { ...agent, subject: "other" };
    expect((await pay(agent, await newSession(agent), "0")).verdict).toBe("allow");
    expect((await pay(agent, await newSession(agent), "0")).reason.code).toBe("rate_exceeded");
    expect((await pay(other, await newSession(other), "0")).verdict).toBe("allow");
  });
});
