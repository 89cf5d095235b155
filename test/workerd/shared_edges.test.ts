import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import type { DrawCall } from "../../src/authority/shared_accounts.ts";
import type { TenantAuthority } from "../../src/authority/tenant_authority.ts";
import { BUDGET_WINDOWS, stretchAt } from "../../src/core/calendar.ts";
import type { Decision } from "../../src/core/decision.ts";
import type { SessionId } from "../../src/core/ids.ts";
import { ZERO_USD } from "../../src/core/money.ts";
import type { Principal } from "../../src/core/request.ts";
import type { EntryBatch } from "../../src/flow/ports.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { readSession } from "../../src/flow/read_session.ts";
import { SILENCES, silentOnce } from "./silence.ts";
import { asked, commitOf, decideMany, decideOne, got, newSession, newTenant, ports, usd } from "./world.ts";

/** What goes wrong with what sessions share at its edges: of a stretch, of a lease, of a policy, of a message, of what a number tells. */

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const NOON = Date.UTC(2027, 0, 15, 12);
const MIDNIGHT = NOON + 43_200_000;

/** Stops the clock there: leases, spans and windows are then exactly where a test says. */
const at = (now: number) => vi.useFakeTimers({ now, toFake: ["Date"] });

const sessionStub = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));
const tenantStub = (tenant: string) => env.TENANTS.getByName(tenant);

const pay = (principal: Principal, session: SessionId, amount: string) => decideOne(principal, session, "pay", { estimateMicroUsd: usd(amount) });
const many = (count: number, amount: string) => Array.from({ length: count }, () => asked("pay", { estimateMicroUsd: usd(amount) }));
const outcome = ({ verdict, reason }: Decision) => `${verdict} ${reason.code}`;
const ALLOWED = "allow permitted";

/** Pays so often, and answers how often it could. */
async function countAllowed(principal: Principal, sessions: readonly SessionId[], rounds: number, amount: string): Promise<number> {
  let allowed = 0;
  for (let round = 0; round < rounds; round++)
    for (const session of sessions) if ((await pay(principal, session, amount)).verdict === "allow") allowed++;
  return allowed;
}

/** What the tenant counts as given of its own budget of a day, in every day of which it knows. */
const grantedOfDays = (tenant: string) =>
  runInDurableObject(tenantStub(tenant), (_, { storage }) =>
    storage.sql
      .exec<{ granted: number }>(
        "SELECT granted_micro_usd AS granted FROM pools WHERE scope = 'tenant' AND span = 'day' AND granted_micro_usd > 0 ORDER BY starts_at",
      )
      .toArray()
      .map(({ granted }) => granted),
  );

type Drawn = ReturnType<TenantAuthority["draw"]>;

/** Puts something between a session and its tenant: `draw` gets what the session asks and what the tenant would do, and answers instead. */
const between = (tenant: string, session: SessionId, draw: (real: () => Drawn) => Promise<unknown>) =>
  runInDurableObject(sessionStub(tenant, session), (object) => {
    const real = tenantStub(tenant);
    Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => ({ draw: (call: DrawCall) => draw(() => real.draw(call)) }) } });
  });
const heal = (tenant: string, session: SessionId) =>
  runInDurableObject(sessionStub(tenant, session), (object) => void Reflect.set(object, "env", env));

/** Rings a session's alarm when its lease has lapsed. */
async function lapse(tenant: string, session: SessionId): Promise<void> {
  at(Date.now() + LEASE_TERM_MS + 1);
  expect(await runDurableObjectAlarm(sessionStub(tenant, session))).toBe(true);
  vi.useRealTimers();
}

describe("a stretch of a shared budget", () => {
  it("that ends while the tenant is asked denies nothing that the new one has", async () => {
    at(MIDNIGHT - 1_000);
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [single, batch] = [await newSession(agent), await newSession(agent)];
    expect(outcome(await pay(agent, single, "0.9"))).toBe(ALLOWED);
    for (const session of [single, batch])
      await between(tenant, session, async (real) => {
        const word = await real();
        at(MIDNIGHT + 1);
        return word;
      });
    expect(outcome(await pay(agent, single, "0.5"))).toBe(ALLOWED);
    at(MIDNIGHT - 1_000);
    expect((await decideMany(agent, batch, many(2, "0.2"), "independent")).map(outcome)).toEqual([ALLOWED, ALLOWED]);
  });

  it.each([
    [
      "somebody read the session, whose object then died",
      async (tenant: string, agent: Principal, session: SessionId) => {
        got(await readSession(ports, agent, session));
        at(MIDNIGHT - 10);
        await evictDurableObject(sessionStub(tenant, session));
      },
    ],
    [
      "somebody read the tenant's accounts",
      async (tenant: string, agent: Principal) => {
        got(await ports.tenants.standing(tenant, agent.subject));
        at(MIDNIGHT - 10);
      },
    ],
  ])("that a clock went into and came back from counts all that is spent: %s", async (_, look) => {
    at(MIDNIGHT - 1_000);
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const session = await newSession(agent);
    expect(outcome(await pay(agent, session, "0.1"))).toBe(ALLOWED);
    at(MIDNIGHT + 10);
    await look(tenant, agent, session);
    // The session's clock does not go back: it is the new day, and that has one dollar.
    expect(await countAllowed(agent, [session], 8, "0.2")).toBe(5);
  });

  it("that only a clock far ahead is in makes the tenant forget nothing of the present one", async () => {
    const { agent, tenant } = await newTenant("budgets: { tenant: { hour: 1 } }");
    const [a, ahead, c] = [await newSession(agent), await newSession(agent), await newSession(agent)];
    expect(outcome(await pay(agent, a, "1"))).toBe(ALLOWED);
    const then = Date.now() + 4 * 3_600_000;
    const none = { pendingMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD };
    const spans = BUDGET_WINDOWS.map((window) => ({ window, ...stretchAt(window, then), postedMicroUsd: usd("0.1"), ...none }));
    await tenantStub(tenant).draw({
      session: ahead,
      agent: agent.subject,
      under: null,
      renews: true,
      draw: { ask: 1_000, hasOverrun: false, spans, slices: [], permits: [] },
    });
    expect(outcome(await pay(agent, c, "1"))).toBe("deny tenant_budget_exceeded");
  });
});

it("an hour that only a clock far behind is in stays counted for a day: nobody gives its money out again", async () => {
  at(NOON);
  const { tenant, agent } = await newTenant("budgets: { tenant: { hour: 1 } }");
  const behind = await newSession(agent);
  const givenOfHours = () =>
    runInDurableObject(tenantStub(tenant), (_, { storage }) =>
      storage.sql.exec("SELECT starts_at FROM pools WHERE scope = 'tenant' AND span = 'hour' AND granted_micro_usd > 0 ORDER BY starts_at").toArray(),
    );
  expect(outcome(await pay(agent, behind, "0.1"))).toBe(ALLOWED);
  at(NOON + 5 * 3_600_000);
  expect(outcome(await pay(agent, await newSession(agent), "0.1"))).toBe(ALLOWED);
  expect(await givenOfHours()).toEqual([{ starts_at: NOON }, { starts_at: NOON + 5 * 3_600_000 }]);
});

describe("a limit that comes later", () => {
  it("leaves a session that spent before it what is free", async () => {
    const { agent, put } = await newTenant("budgets: { session: 100 }");
    const session = await newSession(agent);
    expect(outcome(await pay(agent, session, "10"))).toBe(ALLOWED);
    await put("budgets: { tenant: { day: 12 } }");
    expect(outcome(await pay(agent, session, "2.000001"))).toBe("deny tenant_budget_exceeded");
    expect(outcome(await pay(agent, session, "2"))).toBe(ALLOWED);
  });

  it("counts what was spent by sessions that have long fallen silent", async () => {
    at(NOON);
    const { tenant, agent, put } = await newTenant("budgets: { session: 100 }");
    const [idle, other] = [await newSession(agent), await newSession(agent)];
    expect(outcome(await pay(agent, idle, "3"))).toBe(ALLOWED);
    await evictDurableObject(sessionStub(tenant, idle));
    at(NOON + 3 * LEASE_TERM_MS);
    expect(await runDurableObjectAlarm(sessionStub(tenant, idle))).toBe(true);
    await put("budgets: { tenant: { day: 5 } }");
    expect(outcome(await pay(agent, other, "2.000001"))).toBe("deny tenant_budget_exceeded");
    expect(outcome(await pay(agent, other, "2"))).toBe(ALLOWED);
  });

  it("leaves one that has overrun what is free", async () => {
    const { agent } = await newTenant("budgets: { tenant: { day: 12 } }");
    const session = await newSession(agent);
    const taken = await pay(agent, session, "1");
    got(await commitOf(agent, session, taken.id, "10"));
    expect(outcome(await pay(agent, session, "2"))).toBe(ALLOWED);
    expect(outcome(await pay(agent, session, "0.000001"))).toBe("deny tenant_budget_exceeded");
  });

  it("and goes and comes again tells each of its thresholds once", async () => {
    const { tenant, agent, put } = await newTenant(null);
    const session = await newSession(agent);
    for (const limit of [5, 4, 5, 4]) {
      await put(`budgets: { tenant: { day: ${limit} }, alerts: [0.1] }`);
      expect(outcome(await pay(agent, session, "0.8"))).toBe(ALLOWED);
    }
    got(await readSession(ports, agent, session));
    const { items } = got(await listEntries(ports, tenant, { kind: "lease" }, { limit: 50, cursor: null }));
    const told = items.flatMap(({ canonical }) => JSON.parse(canonical).alerts);
    expect(told.map(({ limit_usd, threshold }) => [limit_usd, threshold]).sort()).toEqual([
      ["4", 0.1],
      ["5", 0.1],
    ]);
  });
});

describe("money that was given", () => {
  it("and freed after its session had closed comes back", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    const taken = await pay(agent, session, "1");
    got(await ports.sessions.close(tenant, session, agent));
    expect(await grantedOfDays(tenant)).toEqual([1_000_000]);
    got(await commitOf(agent, session, taken.id, "0.1"));
    await lapse(tenant, session);
    expect(await grantedOfDays(tenant)).toEqual([100_000]);
  });

  it("and not spent when its session has expired comes back at its next word", async () => {
    at(NOON);
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    expect(outcome(await pay(agent, session, "0.01"))).toBe(ALLOWED);
    expect(await grantedOfDays(tenant)).not.toEqual([10_000]);
    at(NOON + 3_600_001);
    got(await ports.sessions.renewLease(tenant, session));
    expect(await grantedOfDays(tenant)).toEqual([10_000]);
  });

  it("and freed where little is left is another's at once, also after its lease was renewed", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const taken = await pay(agent, a, "0.9");
    got(await ports.sessions.renewLease(tenant, a));
    got(await ports.sessions.release(tenant, a, agent, taken.id, null));
    expect(outcome(await pay(agent, b, "0.9"))).toBe(ALLOWED);
  });

  it("and not spent comes back also where the lease lapses while the ledger keeps an alarm waiting", async () => {
    at(NOON);
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    const { id } = await pay(agent, session, "0.01");
    got(await commitOf(agent, session, id, "0.01"));
    const [called, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    await runInDurableObject(sessionStub(tenant, session), (object) => {
      const accept = async (batch: EntryBatch) => {
        called.resolve();
        await goesOn.promise;
        return env.LEDGERS.getByName(tenant).accept(batch);
      };
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ({ accept }) } });
    });
    const ringing = runDurableObjectAlarm(sessionStub(tenant, session));
    await called.promise;
    at(NOON + LEASE_TERM_MS + 1);
    await heal(tenant, session);
    goesOn.resolve();
    await ringing;
    expect(await runDurableObjectAlarm(sessionStub(tenant, session))).toBe(true);
    expect(await grantedOfDays(tenant)).toEqual([10_000]);
  });

  it("and freed while an alarm waits for a ledger that then fails is told no later for that", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    const { id } = await pay(agent, session, "1");
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const [called, goesOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let waits = false;
    await runInDurableObject(sessionStub(tenant, session), (object) => {
      const accept = async () => {
        if (waits) {
          called.resolve();
          await goesOn.promise;
        }
        throw new Error("away");
      };
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ({ accept }) } });
    });
    // By now it rings once a minute.
    for (let failed = 0; failed < 5; failed++) await runDurableObjectAlarm(sessionStub(tenant, session));
    waits = true;
    const ringing = runDurableObjectAlarm(sessionStub(tenant, session));
    await called.promise;
    got(await ports.sessions.release(tenant, session, agent, id, null));
    goesOn.resolve();
    await ringing;
    const rings = await runInDurableObject(sessionStub(tenant, session), (_, { storage }) => storage.getAlarm());
    expect((rings ?? Number.POSITIVE_INFINITY) - Date.now()).toBeLessThanOrEqual(6_000);
  });

  it("and never heard of comes back when the lease lapses", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    await between(tenant, session, async (real) => {
      await real();
      throw new Error("the answer was lost");
    });
    expect(outcome(await pay(agent, session, "4"))).toBe("deny authority_stale");
    await heal(tenant, session);
    expect(await grantedOfDays(tenant)).toEqual([4_000_000]);
    await lapse(tenant, session);
    expect(await grantedOfDays(tenant)).toEqual([]);
  });

  it("stays with those who have it when somebody asks for what nobody could give", async () => {
    const { agent, tenant } = await newTenant("budgets: { tenant: { day: 1000 } }");
    const others = await Promise.all(Array.from({ length: 5 }, () => newSession(agent)));
    for (const session of others) expect(outcome(await pay(agent, session, "0.01"))).toBe(ALLOWED);
    const before = await grantedOfDays(tenant);
    expect(outcome(await pay(agent, await newSession(agent), "1000.01"))).toBe("deny tenant_budget_exceeded");
    expect(await grantedOfDays(tenant)).toEqual(before);
  });
});

describe("a session of which nobody asks anything more", () => {
  const LIMIT = "budgets: { tenant: { day: 10 } }";

  it.each([
    ["its policy stays", LIMIT, LIMIT, false],
    ["another policy is published after its lease has lapsed, and then a reservation runs out", LIMIT, "budgets: { tenant: { day: 11 } }", false],
    ["it is closed where no policy ever was", null, null, true],
  ])("falls silent when it has told all, where %s", async (_, before, after, closes) => {
    at(NOON);
    const { tenant, agent, put } = await newTenant(before);
    const session = await newSession(agent);
    await pay(agent, session, "0.01");
    if (closes) got(await ports.sessions.close(tenant, session, agent));
    const dueAlarm = async (until: number): Promise<number | null> => {
      const rings = await runInDurableObject(sessionStub(tenant, session), (_, { storage }) => storage.getAlarm());
      return rings !== null && rings <= until ? rings : null;
    };
    /** Lets time pass for this session's alarms alone, and answers how often one rang. */
    const ringUntil = async (until: number): Promise<number> => {
      let rung = 0;
      for (let rings = await dueAlarm(until); rings !== null && rung < 20; rings = await dueAlarm(until), rung++) {
        at(Math.max(rings, Date.now()));
        await runDurableObjectAlarm(sessionStub(tenant, session));
      }
      at(until);
      return rung;
    };
    await ringUntil(NOON + 3 * LEASE_TERM_MS);
    if (after !== null && after !== before) await put(after);
    await ringUntil(NOON + 600_000);
    expect(await ringUntil(NOON + 3_600_000)).toBe(0);
    if (before !== null) expect(await grantedOfDays(tenant)).toEqual([10_000]);
  });
});

describe("a session that is asked to give back", () => {
  it.each(SILENCES)("is asked again where it fell under the call, said nothing and %s", async (_, does) => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const [mine, theirs] = [await newSession(agent), await newSession(agent)];
    expect(outcome(await pay(agent, theirs, "0.01"))).toBe(ALLOWED);
    await runInDurableObject(tenantStub(tenant), (object) => {
      const { object: silent } = silentOnce(sessionStub(tenant, theirs), "report", does);
      const getByName = (name: string) => (name === sessionObjectName(tenant, theirs) ? silent : env.SESSIONS.getByName(name));
      object.patienceMs = 20;
      Reflect.set(object, "env", { ...env, SESSIONS: { getByName } });
    });
    // The first may be short, since nothing is heard of what it has asked back; the second has it.
    expect([outcome(await pay(agent, mine, "9.9")), outcome(await pay(agent, mine, "9.9"))]).toContain(ALLOWED);
  });
});

describe("a sum that no number tells", () => {
  it("stops nobody who has no part in it", async () => {
    const { agent } = await newTenant("allowed_actions: ['*']");
    const large: Principal = { ...agent, subject: "large" };
    const mine = await newSession(agent);
    // To the last micro-dollar that a number tells, and then some.
    for (const amount of ["4500000000", "4500000000", "7199254.740991", "4500000000"]) {
      const session = await newSession(large);
      expect(outcome(await pay(large, session, amount))).toBe(ALLOWED);
      got(await ports.sessions.renewLease(agent.tenant, session));
    }
    expect(outcome(await pay(agent, mine, "0.01"))).toBe(ALLOWED);
    at(Date.now() + LEASE_TERM_MS + 1);
    expect(outcome(await pay(agent, mine, "0.01"))).toBe(ALLOWED);
  });

  it("is on record as far as a number tells it", async () => {
    const { agent, tenant } = await newTenant("budgets: { tenant: { day: 10 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const [mine, theirs] = [await pay(agent, a, "1"), await pay(agent, b, "1")];
    got(await commitOf(agent, b, theirs.id, "9000000000"));
    for (const session of [b, a]) got(await ports.sessions.renewLease(tenant, session));
    expect(got(await commitOf(agent, a, mine.id, "5000000000")).answer).toMatchObject({ overrunMicroUsd: usd("4999999999") });
    const { items } = got(await listEntries(ports, tenant, { session: a, kind: "commit" }, { limit: 1, cursor: null }));
    const { accounts } = JSON.parse(items[0]?.canonical ?? "{}");
    expect(accounts.find(({ scope }: { scope: string }) => scope === "tenant").after).toMatchObject({ posted_usd: "9007199254.740991" });
  });
});

describe("a tenant that is asked", () => {
  it("and hangs is waited for once, and not by everybody who gave back before", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    const all = await decideMany(agent, session, many(10, "1"), "independent");
    expect(all.map(outcome)).toEqual(all.map(() => ALLOWED));
    let draws = 0;
    await between(tenant, session, () => {
      draws++;
      return new Promise(() => {});
    });
    await Promise.all(all.map(async ({ id }) => got(await ports.sessions.release(tenant, session, agent, id, null))));
    expect(outcome(await pay(agent, session, "20"))).toBe("deny authority_stale");
    // One that was under way, one that speaks for all who gave back, its own; and one more on a slow machine. Each is waited for two seconds.
    expect(draws).toBeLessThanOrEqual(4);
  });

  it("and cannot be reached is told no sooner what comes back because somebody asks under the lapsed lease", async () => {
    at(NOON);
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 10 } }");
    const session = await newSession(agent);
    expect(outcome(await pay(agent, session, "1"))).toBe(ALLOWED);
    at(NOON + LEASE_TERM_MS + 1);
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    await between(tenant, session, () => Promise.reject(new Error("away")));
    // What was set for the end of the lease; it fails, and rings again in ten seconds.
    await runDurableObjectAlarm(sessionStub(tenant, session));
    expect(outcome(await pay(agent, session, "1"))).toBe("deny authority_stale");
    // The alarm behind the entry, and none sooner.
    expect(await runInDurableObject(sessionStub(tenant, session), (_, { storage }) => storage.getAlarm())).toBe(Date.now() + 5_000);
  });

  it("is heard by a session at which somebody looks all the time", async () => {
    const { agent, tenant } = await newTenant("budgets: { tenant: { day: 1000 } }");
    const session = await newSession(agent);
    await runInDurableObject(sessionStub(tenant, session), (object) => {
      const real = tenantStub(tenant);
      const draw = async (call: DrawCall) => {
        const word = await real.draw(call);
        // Comes while the answer is on its way. It is not waited for: it may itself wait for this answer.
        void object.report(false);
        return word;
      };
      Reflect.set(object, "env", { ...env, TENANTS: { getByName: () => ({ draw }) } });
    });
    expect(outcome(await pay(agent, session, "1"))).toBe(ALLOWED);
  });

  it("for what costs nothing is asked once before it is denied", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const taken = await pay(agent, a, "0.5");
    got(await commitOf(agent, a, taken.id, "3"));
    got(await ports.sessions.renewLease(tenant, a));
    let draws = 0;
    await between(tenant, b, (real) => {
      draws++;
      return real();
    });
    expect(outcome(await pay(agent, b, "0"))).toBe("deny tenant_budget_exceeded");
    expect(draws).toBe(1);
  });
});

describe("a rate that sessions share", () => {
  const rate = (most: number) => `rate_limits: { pay: { max_count: ${most}, window_seconds: 60, per: tenant } }`;

  it("is obeyed when it gets tighter, whatever leave was given under the looser one", async () => {
    at(NOON);
    const { agent, put } = await newTenant(rate(100));
    const sessions = [await newSession(agent), await newSession(agent)];
    expect(await countAllowed(agent, sessions, 1, "0")).toBe(2);
    await put(rate(3));
    expect(await countAllowed(agent, sessions, 5, "0")).toBe(1);
    at(NOON + 60_000);
    expect(await countAllowed(agent, sessions, 5, "0")).toBe(3);
  });

  it("shows what is left of it also after a renewal, at which nothing was asked of it", async () => {
    at(NOON);
    const { tenant, agent } = await newTenant(rate(100));
    const session = await newSession(agent);
    expect((await pay(agent, session, "0")).rates).toMatchObject([{ remaining: 99 }]);
    got(await ports.sessions.renewLease(tenant, session));
    expect((await pay(agent, session, "0")).rates).toMatchObject([{ remaining: 98 }]);
  });
});
