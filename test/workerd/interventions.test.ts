import { evictDurableObject, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import { OrderStore } from "../../src/authority/order_store.ts";
import { eventsOf } from "../../src/core/events.ts";
import type { ApprovalId, DecisionId, RunId, SessionId } from "../../src/core/ids.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { InterventionKind, Target } from "../../src/core/orders.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import { readPolicy } from "../../src/core/policy/parse.ts";
import type { Detector } from "../../src/core/redact.ts";
import type { Principal } from "../../src/core/request.ts";
import { answerApproval, cancelApproval, readApproval } from "../../src/flow/approve.ts";
import { grantLease } from "../../src/flow/client_lease.ts";
import { decide } from "../../src/flow/decide.ts";
import { ingest } from "../../src/flow/ingest.ts";
import { intervene } from "../../src/flow/intervene.ts";
import { openSession } from "../../src/flow/open_session.ts";
import type { Lease } from "../../src/flow/ports.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { LONGEST_SESSION_MS } from "../../src/flow/simulate.ts";
import { topup } from "../../src/flow/topup.ts";
import { ingestEntry } from "../../src/http/lines.ts";
import * as present from "../../src/http/present.ts";
import { NO_KINDS } from "../../src/http/requests.ts";
import { asked, commitOf, decideOne, got, newDecisionId, newSession, newTenant, ports, readOf, refusalOf, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
});

const sessionStub = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));

const stop = (by: Principal, type: Target, id: string, kind: InterventionKind = "kill", key: string | null = null) =>
  intervene(ports, by, { target: { type, id }, kind, reason: "for the test" }, key);

const stopped = async (...args: Parameters<typeof stop>) => got(await stop(...args)).answer;

const entriesOf = async (tenant: string, session: SessionId | undefined, kind: string) => {
  const page = got(await listEntries(ports, tenant, { session, kind }, { limit: 100, cursor: null }));
  return page.items.map(({ canonical }) => JSON.parse(canonical)).reverse();
};

/** A tenant with two agents that have a session each. */
async function twoAgents() {
  const { tenant, agent, operator, put } = await newTenant("budgets: { session: 10 }");
  const other: Principal = { ...agent, subject: "other" };
  const session = await newSession(agent);
  const run = (await readOf(agent, session)).run;
  return { tenant, agent, operator, put, other, session, run, theirs: await newSession(other) };
}

describe("a kill", () => {
  it.each([
    ["tenant", "session", true],
    ["agent", "session", false],
    ["session", "session", false],
    ["run", "run", false],
    ["action", "action", true],
  ] as const)(
    "of a %s is the next decision's answer, of everything it names and of nothing else, until it is revived",
    async (type, stops, reachesOther) => {
      const { tenant, agent, operator, other, session, run, theirs } = await twoAgents();
      const id = { tenant, agent: agent.subject, session, run, action: "pay" }[type];
      const killed = await stopped(operator, type, id);
      expect(killed.unanswered).toEqual([]);
      const named = killed.acknowledged.map((one) => one.session).sort();
      expect(named).toEqual(reachesOther ? [session, theirs].sort() : [session]);
      expect(await decideOne(agent, session, "pay")).toMatchObject({ verdict: "deny", stops, reason: { code: `${type}_killed`, rule: null } });
      expect((await decideOne(other, theirs, "pay")).verdict).toBe(reachesOther ? "deny" : "allow");
      if (type === "action") expect((await decideOne(agent, session, "look")).verdict).toBe("allow");
      // The evidence names the entry since which it is obeyed, and that entry names the intervention.
      const [obeyed] = await entriesOf(tenant, session, "intervention");
      expect(obeyed).toMatchObject({ details: { event: "obeyed", intervention: killed.id, target: { type, id }, kind: "kill" } });
      expect(killed.acknowledged.find((one) => one.session === session)?.seq).toBe(obeyed.seq);
      // A resume lifts pauses alone.
      await stopped(operator, type, id, "resume");
      expect((await decideOne(agent, session, "pay")).verdict).toBe("deny");
      await stopped(operator, type, id, "revive");
      expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
      expect((await entriesOf(tenant, undefined, "intervention")).filter(({ session_id }) => session_id === null)).toMatchObject([
        { principal: { subject: "ops" }, details: { event: "intervention", kind: "kill", reason: "for the test", target: { type, id } } },
        { details: { event: "evidence", intervention: killed.id, acknowledged: named.length, unanswered: [] } },
        { details: { event: "intervention", kind: "resume" } },
        { details: { event: "evidence" } },
        { details: { event: "intervention", kind: "revive" } },
        { details: { event: "evidence" } },
      ]);
    },
  );

  it("of what is killed already lifts nothing, and the new order takes the old one's place", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    await stopped(operator, "agent", agent.subject);
    const again = await stopped(operator, "agent", agent.subject);
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("agent_killed");
    const events = (await entriesOf(tenant, session, "intervention")).map(({ details }) => [details.event, details.intervention]);
    expect(events).toEqual([
      ["obeyed", expect.any(String)],
      ["obeyed", again.id],
    ]);
    await stopped(operator, "agent", agent.subject, "revive");
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
  });

  it("of an action may name many by a glob", async () => {
    const { agent, operator, session } = await twoAgents();
    await stopped(operator, "action", "pay.*");
    expect((await decideOne(agent, session, "pay.card")).reason.code).toBe("action_killed");
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
  });

  it("of a run leaves the session's other runs alone, and reaches a run whose session slept", async () => {
    const { tenant, agent, operator, session, run } = await twoAgents();
    await evictDurableObject(sessionStub(tenant, session));
    expect(await stopped(operator, "run", run)).toMatchObject({ acknowledged: [{ session }], unanswered: [] });
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("run_killed");
    const next: RunId = ports.newId("run");
    got(await ports.sessions.openRun(tenant, session, agent, next));
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
    expect((await decideOne(agent, session, "pay", { run })).reason.code).toBe("run_killed");
  });

  it("is in force for sessions that are opened afterwards, and for one that was being opened", async () => {
    const { tenant, agent, operator } = await twoAgents();
    // The news comes while the session waits for the answer to its being admitted.
    const order = { agent: null, labels: {}, budgetMicroUsd: null, ttlMs: 3_600_000 };
    const [opened] = await Promise.all([openSession(ports, agent, order, "k"), stopped(operator, "agent", agent.subject)]);
    expect((await decideOne(agent, got(opened).answer.id, "pay")).reason.code).toBe("agent_killed");
    expect((await decideOne(agent, await newSession(agent), "pay")).reason.code).toBe("agent_killed");
    const { items } = got(await ports.tenants.listSessions(tenant, { limit: 10, cursor: null }, agent.subject));
    expect(items.map(({ state }) => state)).toEqual(["killed", "killed", "killed"]);
    expect((await readOf(agent, got(opened).answer.id)).state).toBe("killed");
  });

  it("told to a session before it is open is what it opens with", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 10 }");
    const { agent: id, operator } = { agent: ports.newId("ses"), operator: { ...agent, subject: "ops", kind: "human" } as Principal };
    await newSession(agent);
    await stopped(operator, "agent", agent.subject);
    const stub = sessionStub(tenant, id);
    const [first] = got(await ports.tenants.listSessions(tenant, { limit: 1, cursor: null }, null)).items;
    const lease = await runInDurableObject(sessionStub(tenant, first?.id ?? ""), (_, { storage }) =>
      JSON.parse(storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease),
    );
    // As if the tenant's first answer had been made before the kill, and the kill overtook it.
    const admitted = { ...lease, epoch: lease.epoch - 1, orders: [] };
    await runInDurableObject(stub, (object) => {
      const tenants = {
        getByName: () => ({
          admit: async () => {
            object.receive(lease, null);
            return { ok: true, value: admitted };
          },
        }),
      };
      Reflect.set(object, "env", { ...env, TENANTS: tenants });
    });
    const opened = await ports.sessions.open({
      id,
      run: ports.newId("run"),
      principal: agent,
      agent: agent.subject,
      labels: {},
      budgetMicroUsd: null,
      ttlMs: 3_600_000,
      fingerprint: "f",
    });
    got(opened);
    expect((await decideOne(agent, id, "pay")).reason.code).toBe("agent_killed");
  });

  it("lets nothing through that is asked after its answer, however many ask meanwhile", async () => {
    const { agent, operator, tenant } = await twoAgents();
    const sessions = await Promise.all(Array.from({ length: 8 }, () => newSession(agent)));
    let isAnswered = false;
    const late: string[] = [];
    const storm = sessions.map(async (session) => {
      for (let n = 0; n < 12; n++) {
        const askedAfter = isAnswered;
        const { verdict } = await decideOne(agent, session, "pay");
        if (askedAfter) late.push(verdict);
      }
    });
    const evidence = await stopped(operator, "tenant", tenant);
    isAnswered = true;
    await Promise.all(storm);
    expect(evidence.unanswered).toEqual([]);
    expect(late.length).toBeGreaterThan(0);
    expect(new Set(late)).toEqual(new Set(["deny"]));
  });

  it("leaves what was allowed before to be reported, and tells who repeats the question", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    const { ask, id } = repeated(agent, session);
    expect(got(await ask())).toMatchObject([{ answer: { verdict: "allow" }, replayed: false, superseded: null }]);
    const killed = await stopped(operator, "agent", agent.subject);
    const superseded = { intervention: killed.id, kind: "kill" };
    expect(got(await ask())).toMatchObject([{ answer: { verdict: "allow" }, replayed: true, superseded }]);
    expect(got(await ports.sessions.readDecision(tenant, session, agent, id, 0))).toMatchObject({ state: "pending", superseded });
    got(await commitOf(agent, session, id, "0.01"));
    expect((await readOf(agent, session)).total.postedMicroUsd).toBe(10_000);
  });

  it.each([
    ["kill", "session"],
    ["kill", "action"],
    ["pause", "session"],
  ] as const)("is told (%s of the %s) to who gives some of what an action may cost back, or asks for it to be kept longer", async (kind, type) => {
    const { tenant, agent, operator, session } = await twoAgents();
    const { id } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5") });
    const more = (sum: string) => topup(ports, agent, session, id, usd(sum), Date.now());
    const extend = () => ports.sessions.extend(tenant, session, agent, id, 3_600_000);
    expect(got(await more("0.4"))).toMatchObject({ decision: { verdict: "allow" }, superseded: null });
    const longer = got(await extend());
    expect(longer).toMatchObject({ answer: { state: "pending" }, superseded: null });
    const target = { session, action: "pay" }[type];
    const ordered = await stopped(operator, type, target, kind);
    const superseded = { intervention: ordered.id, kind };
    expect(got(await more("0.3"))).toMatchObject({ decision: { verdict: "allow", reservation: { amountMicroUsd: usd("0.3") } }, superseded });
    expect(got(await more("0.5"))).toMatchObject({
      decision: { verdict: "deny", reason: { code: `${type}_${kind}${kind === "kill" ? "ed" : "d"}` } },
    });
    const extended = await extend();
    if (kind === "pause") expect(got(extended)).toMatchObject({ answer: { state: "pending" }, superseded });
    else {
      // What a kill has stopped keeps no money for longer than it had.
      expect(extended).toMatchObject({ ok: false, error: { code: "decision_stopped", reason: { code: `${type}_killed` } } });
      const { decision } = got(await ports.sessions.readDecision(tenant, session, agent, id, 0));
      expect(decision.reservation?.expiresAt).toBe(longer.answer.reservation?.expiresAt);
    }
    got(await commitOf(agent, session, id, "0.3"));
    await stopped(operator, type, target, kind === "kill" ? "revive" : "resume");
    expect(refusalOf(await extend())).toBe("decision_settled");
  });

  it.each([
    ["was reported", "posted", async (agent: Principal, session: SessionId, id: DecisionId) => got(await commitOf(agent, session, id, "0.01"))],
    [
      "was given back",
      "released",
      async (agent: Principal, session: SessionId, id: DecisionId) => got(await ports.sessions.release(agent.tenant, session, agent, id, null)),
    ],
    ["has expired", "expired", async () => vi.setSystemTime(Date.now() + 300_000)],
  ])("tells who repeats the question also of what %s: it would be run once more", async (_, state, end) => {
    const { tenant, agent, operator, session } = await twoAgents();
    const { ask, id } = repeated(agent, session);
    got(await ask());
    await end(agent, session, id);
    expect(got(await ask())).toMatchObject([{ answer: { verdict: "allow" }, replayed: true, superseded: null }]);
    const killed = await stopped(operator, "action", "pay");
    expect(got(await ask())).toMatchObject([{ answer: { verdict: "allow" }, replayed: true, superseded: { intervention: killed.id, kind: "kill" } }]);
    // Whoever only reads it sees whether it is over.
    const superseded = state === "expired" ? { intervention: killed.id, kind: "kill" } : null;
    expect(got(await ports.sessions.readDecision(tenant, session, agent, id, 0))).toMatchObject({ state, superseded });
  });
});

/** One question, asked under the same id each time. */
function repeated(agent: Principal, session: SessionId) {
  const id = newDecisionId();
  const asks = { principal: agent, session, asked: [asked("pay", { id })], batch: false, semantics: "independent", key: null } as const;
  return { id, ask: () => decide(ports, { ...asks, now: Date.now() }) };
}

/** What a session's object has on record of its lease. */
const leaseOf = (storage: DurableObjectStorage): Lease => JSON.parse(storage.sql.exec<{ lease: string }>("SELECT lease FROM lease").one().lease);

describe("a lease", () => {
  it("of attributes that are newer is not replaced by one of older ones that arrives late", async () => {
    const { tenant, session } = await twoAgents();
    const revision = await runInDurableObject(sessionStub(tenant, session), (object, { storage }) => {
      const lease = leaseOf(storage);
      object.receive({ ...lease, entities: 6 }, null);
      object.receive({ ...lease, entities: 5 }, null);
      return leaseOf(storage).entities;
    });
    expect(revision).toBe(6);
  });

  it("that has lapsed settles nothing for a token that was revoked meanwhile", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
    const now = Date.now();
    const token = { id: agent.tokenId, subject: agent.subject, kind: "agent" as const, scopes: ["decisions:write" as const] };
    got(await ports.tenants.recordToken(tenant, operator, { ...token, issuedAt: now, expiresAt: now + 86_400_000 }, "f"));
    const session = await newSession(agent);
    const allowed = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("1"), ttlMs: 3_000_000 });
    // The session's lease is long over when the token is revoked: nobody tells it.
    vi.useFakeTimers({ now: now + 3 * LEASE_TERM_MS, toFake: ["Date"] });
    got(await ports.tenants.revokeToken(tenant, operator, agent.tokenId));
    expect(refusalOf(await commitOf(agent, session, allowed.id, "9"))).toBe("token_revoked");
  });
});

describe("standing orders", () => {
  const ordersOf = (tenant: string) =>
    runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => new OrderStore(storage.sql).all().map(({ order }) => order.id));
  const age = (tenant: string, byMs: number) =>
    runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => void storage.sql.exec("UPDATE orders SET at = at - ?", byMs));

  it("on a session, and on its run, are over with it", async () => {
    const { tenant, agent, operator, session, run } = await twoAgents();
    await stopped(operator, "session", session);
    await stopped(operator, "run", run);
    await stopped(operator, "action", "pay");
    got(await ports.sessions.close(tenant, session, agent));
    expect(await ordersOf(tenant)).toEqual(["pay"]);
  });

  it("on a run or a session are forgotten when no session lives so long, and all others stand until they are lifted", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    const run = ports.newId("run");
    await stopped(operator, "session", session);
    await stopped(operator, "run", run);
    await stopped(operator, "agent", agent.subject);
    await age(tenant, LONGEST_SESSION_MS - 60_000);
    await stopped(operator, "action", "pay");
    expect((await ordersOf(tenant)).sort()).toEqual([agent.subject, "pay", run, session].sort());
    await age(tenant, 60_000);
    await stopped(operator, "action", "look");
    expect((await ordersOf(tenant)).sort()).toEqual([agent.subject, "look", "pay"].sort());
  });

  it("are 5,000 at most, which a lease carries; the tenant as a whole can be stopped all the same", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    const longest = (n: number) => `${"a".repeat(124)}${String(n).padStart(4, "0")}`;
    const kill = (type: Target, id: string) => ({ target: { type, id }, kind: "kill" as const });
    const run = ports.newId("run");
    await stopped(operator, "run", run);
    const room = await runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => {
      const orders = new OrderStore(storage.sql);
      const now = Date.now();
      const codeOf = (type: Target, id: string, at = now): string => refusalOf(orders.roomFor(kill(type, id), at));
      storage.transactionSync(() => {
        for (let n = 0; n < 4_998; n++)
          orders.put({ ...kill("action", longest(n)), id: ports.newId("int"), fingerprint: "f", reason: "r" }, 1, null, now);
      });
      const last = codeOf("action", "last");
      orders.put({ ...kill("action", "last"), id: ports.newId("int"), fingerprint: "f", reason: "r" }, 1, null, now);
      return {
        last,
        oneMore: codeOf("action", "one-more"),
        agent: codeOf("agent", "bot"),
        sameAgain: codeOf("action", "last"),
        tenant: codeOf("tenant", tenant),
        lifting: refusalOf(orders.roomFor({ ...kill("action", "other"), kind: "revive" }, now)),
        afterTheRunIsOver: codeOf("action", "one-more", now + LONGEST_SESSION_MS + 60_000),
      };
    });
    const yes = "answered null";
    const no = "body_invalid";
    expect(room).toEqual({ last: yes, oneMore: no, agent: no, sameAgain: yes, tenant: yes, lifting: yes, afterTheRunIsOver: yes });
    // What a session keeps of its lease with all of them still fits into a row.
    expect(await stopped(operator, "tenant", tenant)).toMatchObject({ unanswered: [] });
    await stopped(operator, "tenant", tenant, "revive");
    expect((await decideOne(agent, session, longest(7))).reason.code).toBe("action_killed");
    expect((await decideOne(agent, await newSession(agent), longest(7))).reason.code).toBe("action_killed");
  });
});

describe("a pause", () => {
  it.each(["tenant", "agent", "session", "run", "action"] as const)("of a %s ends nothing, and is over when it is resumed", async (type) => {
    const { tenant, agent, operator, session, run } = await twoAgents();
    const id = { tenant, agent: agent.subject, session, run, action: "pay" }[type];
    await stopped(operator, type, id, "pause");
    expect(await decideOne(agent, session, "pay")).toMatchObject({ verdict: "deny", stops: "action", reason: { code: `${type}_paused` } });
    if (type !== "run" && type !== "action") expect((await readOf(agent, session)).state).toBe("paused");
    await stopped(operator, type, id, "kill");
    expect((await decideOne(agent, session, "pay")).reason.code).toBe(`${type}_killed`);
    await stopped(operator, type, id, "revive");
    expect((await decideOne(agent, session, "pay")).reason.code).toBe(`${type}_paused`);
    await stopped(operator, type, id, "resume");
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
  });
});

describe("an intervention", () => {
  it("under one key is one, and under another body refused", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    const first = got(await stop(operator, "session", session, "kill", "k1"));
    const again = got(await stop(operator, "session", session, "kill", "k1"));
    expect(again).toEqual({ answer: first.answer, replayed: true });
    expect(refusalOf(await stop(operator, "session", session, "pause", "k1"))).toBe("idempotency_mismatch");
    expect((await entriesOf(tenant, session, "intervention")).length).toBe(1);
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("session_killed");
  });

  it("on what this tenant does not have is not found, and nothing is recorded", async () => {
    const mine = await twoAgents();
    const foreign = await twoAgents();
    expect(refusalOf(await stop(mine.operator, "session", foreign.session))).toBe("not_found");
    expect(refusalOf(await stop(mine.operator, "tenant", foreign.tenant))).toBe("not_found");
    expect(await stopped(mine.operator, "run", foreign.run)).toMatchObject({ acknowledged: [], unanswered: [] });
    await stopped(mine.operator, "agent", "bot");
    expect((await decideOne(foreign.agent, foreign.session, "pay")).verdict).toBe("allow");
    expect((await entriesOf(foreign.tenant, undefined, "intervention")).length).toBe(0);
  });

  it("whose message is lost names who did not answer, and is in force there within one lease term", async () => {
    const { tenant, agent, operator, session, theirs } = await twoAgents();
    const real = env.SESSIONS;
    await runInDurableObject(env.TENANTS.getByName(tenant), (object) => {
      const lost = { receive: () => Promise.reject(new Error("lost")) };
      const sessions = { getByName: (name: string) => (name.endsWith(session) ? lost : real.getByName(name)) };
      Reflect.set(object, "env", { ...env, SESSIONS: sessions });
    });
    const before = Date.now();
    const killed = await stopped(operator, "tenant", tenant);
    expect(killed.unanswered).toEqual([session]);
    expect(killed.acknowledged.map((one) => one.session)).toEqual([theirs]);
    expect(killed.inForceEverywhereBy).toBeGreaterThan(before);
    expect(killed.inForceEverywhereBy).toBeLessThanOrEqual(Date.now() + LEASE_TERM_MS);
    // Its lease says nothing of it, and is believed until it ends.
    expect((await decideOne(agent, session, "pay")).verdict).toBe("allow");
    vi.useFakeTimers({ now: killed.inForceEverywhereBy, toFake: ["Date"] });
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("tenant_killed");
    expect((await entriesOf(tenant, session, "intervention")).map(({ details }) => details.event)).toEqual(["obeyed"]);
  });

  it("was obeyed though the answer was lost: the same key again finds it in force and finishes the evidence", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    const stub = env.TENANTS.getByName(tenant);
    // The object dies after it has recorded the intervention and before it has told anybody.
    await runInDurableObject(stub, (object) => {
      Reflect.set(object, "env", { ...env, SESSIONS: { getByName: () => ({ receive: () => Promise.reject(new Error("the object died")) }) } });
    });
    const first = got(await stop(operator, "session", session, "kill", "k"));
    expect(first.answer.unanswered).toEqual([session]);
    await runInDurableObject(stub, (_, { storage }) => {
      storage.sql.exec("UPDATE interventions SET answer = NULL");
    });
    await evictDurableObject(stub);
    const again = got(await stop(operator, "session", session, "kill", "k"));
    expect(again.answer).toMatchObject({ id: first.answer.id, epoch: first.answer.epoch, acknowledged: [{ session }], unanswered: [] });
    expect((await decideOne(agent, session, "pay", { estimateMicroUsd: microUsdOf(1) })).reason.code).toBe("session_killed");
  });

  it.each([
    ["tenant", true],
    ["agent", true],
    ["session", true],
    ["run", true],
    ["action", null],
  ] as const)("on a %s says how many it lifted, and whether what it names was ever seen: %j", async (type, known) => {
    const { tenant, agent, operator, session, run } = await twoAgents();
    const id = { tenant, agent: agent.subject, session, run, action: "pay" }[type];
    const does: readonly (readonly [InterventionKind, number | null])[] = [
      ["resume", 0],
      ["kill", null],
      ["kill", null],
      ["pause", null],
      ["revive", 1],
      ["revive", 0],
      ["resume", 1],
      ["resume", 0],
    ];
    for (const [kind, lifted] of does)
      expect([kind, await stopped(operator, type, id, kind)]).toEqual([kind, expect.objectContaining({ lifted, known })]);
    // A glob is another target, though it names more.
    await stopped(operator, "action", "p*", "pause");
    expect(await stopped(operator, "action", "pay", "resume")).toMatchObject({ lifted: 0, known: null });
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("action_paused");
  });

  it("knows an agent by a session of it, by what is on file of it, or by a policy for it, and never one of another tenant", async () => {
    const { tenant, agent, operator } = await twoAgents();
    const stranger = (await twoAgents()).agent;
    const gone = await newSession({ ...agent, subject: "gone" });
    got(await ports.sessions.close(tenant, gone, { ...agent, subject: "gone" }));
    got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id: "on-file", properties: {} }));
    got(await ports.tenants.putEntity(tenant, operator, { type: "customer", id: "customer", properties: {} }));
    const document = { version: 1 as const };
    const policy = {
      document,
      digest: policyDigest(ports.sha256, got(readPolicy(document))),
      text: "version: 1",
      format: "yaml",
      activate: false,
    } as const;
    for (const name of ["ruled", "unruled"]) got(await ports.tenants.putPolicy(tenant, operator, { ...policy, name, scope: "agent", target: name }));
    got(await ports.tenants.deletePolicy(tenant, operator, "unruled"));
    await newSession({ ...stranger, subject: "elsewhere" });
    const said = async (name: string) => [name, (await stopped(operator, "agent", name)).known] as const;
    const names = ["bot", "gone", "on-file", "ruled", "unruled", "customer", "elsewhere", "bott", ""];
    expect(await Promise.all(names.map(said))).toEqual(names.map((name, n) => [name, n < 5]));
  });

  it("on a run that nobody speaks for does not say that it was never seen: whose it is may sleep, or not answer", async () => {
    const { tenant, operator, session, run } = await twoAgents();
    expect((await stopped(operator, "run", ports.newId("run"))).known).toBeNull();
    await runInDurableObject(env.TENANTS.getByName(tenant), (object) => {
      Reflect.set(object, "env", { ...env, SESSIONS: { getByName: () => ({ receive: () => Promise.reject(new Error("lost")) }) } });
    });
    expect(await stopped(operator, "run", run)).toMatchObject({ known: null, acknowledged: [], unanswered: expect.arrayContaining([session]) });
    await evictDurableObject(env.TENANTS.getByName(tenant));
    // It sleeps: its lease has ended, and nobody tells it anything.
    vi.useFakeTimers({ now: Date.now() + 10 * LEASE_TERM_MS, toFake: ["Date"] });
    expect(await stopped(operator, "run", run)).toMatchObject({ known: null, acknowledged: [], unanswered: [] });
  });

  it("lifted what it lifted, though its object died before it answered", async () => {
    const { tenant, agent, operator } = await twoAgents();
    await stopped(operator, "agent", agent.subject);
    const first = got(await stop(operator, "agent", agent.subject, "revive", "k"));
    expect(first.answer).toMatchObject({ lifted: 1, known: true });
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => {
      storage.sql.exec("UPDATE interventions SET answer = NULL");
    });
    await evictDurableObject(env.TENANTS.getByName(tenant));
    expect(got(await stop(operator, "agent", agent.subject, "revive", "k")).answer).toMatchObject({ id: first.answer.id, lifted: 1, known: true });
    const stranger = got(await stop(operator, "agent", "nobody", "revive", "n")).answer;
    expect(stranger).toMatchObject({ lifted: 0, known: false });
    expect(got(await stop(operator, "agent", "nobody", "revive", "n"))).toEqual({ answer: stranger, replayed: true });
  });

  it("of before anybody said so does not say what it lifted, and answers as it did", async () => {
    const { tenant, agent, operator } = await twoAgents();
    const answered = got(await stop(operator, "agent", agent.subject, "kill", "told")).answer;
    const unanswered = got(await stop(operator, "agent", agent.subject, "resume", "untold")).answer;
    await runInDurableObject(env.TENANTS.getByName(tenant), async (_, { storage }) => {
      await storage.deleteAlarm();
      storage.sql.exec(`
        ALTER TABLE interventions DROP COLUMN lifted; ALTER TABLE interventions DROP COLUMN known;
        UPDATE interventions SET answer = json_remove(answer, '$.lifted', '$.known');
        UPDATE schema_version SET version = 9`);
      storage.sql.exec("UPDATE interventions SET answer = NULL WHERE id = ?", unanswered.id);
    });
    await evictDurableObject(env.TENANTS.getByName(tenant));
    const nothing = { lifted: null, known: null };
    expect(got(await stop(operator, "agent", agent.subject, "kill", "told")).answer).toEqual({ ...answered, ...nothing });
    expect(got(await stop(operator, "agent", agent.subject, "resume", "untold")).answer).toMatchObject({ id: unanswered.id, ...nothing });
    expect(await stopped(operator, "agent", agent.subject, "revive")).toMatchObject({ lifted: 1, known: true });
  });

  it("survives the eviction of every object", async () => {
    const { tenant, agent, operator, session } = await twoAgents();
    await stopped(operator, "action", "pay");
    await evictDurableObject(env.TENANTS.getByName(tenant));
    await evictDurableObject(sessionStub(tenant, session));
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("action_killed");
    expect((await decideOne(agent, await newSession(agent), "pay")).reason.code).toBe("action_killed");
  });
});

describe("what a person writes with an intervention", () => {
  const REASON = "card 4111 1111 1111 1111 of ann@corp.example, by ghp_abcdefghijklmnopqrstuvwxyz0123456789";
  const hiding = (...hidden: readonly Detector[]) =>
    Object.entries({
      credit_card: "4111 1111 1111 1111",
      email: "ann@corp.example",
      token: "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    }).reduce((text, [name, found]) => (hidden.some((each) => each === name) ? text.replace(found, `[redacted:${name}]`) : text), REASON);
  const [DEFAULT, EVERYTHING, MAIL] = [hiding("credit_card"), hiding("credit_card", "email", "token"), hiding("email")];
  const BOTH = hiding("credit_card", "email");
  const redacts = (detect: string) => `budgets: { session: 10 }\nredact: { keys: [], detect: [${detect}] }`;
  const TARGETED = ["tenant", "agent", "session", "run", "action"] as const;

  /** The reason of the newest kill, as every reader has it: of the ledger, the list and the stream. */
  const recorded = async (tenant: string) => {
    const { items } = got(await listEntries(ports, tenant, { noes: ["kill"] }, { limit: 1, cursor: null }));
    return items.map((row) => {
      const entry = JSON.parse(row.canonical);
      const [event] = eventsOf(entry, row.hash, row.index);
      expect([present.no(row).note, event?.details?.reason]).toEqual([entry.details.reason, entry.details.reason]);
      return entry.details.reason;
    })[0];
  };
  const writes = (by: Principal, type: Target, id: string, kind: InterventionKind = "kill") =>
    intervene(ports, by, { target: { type, id }, kind, reason: REASON }, null);

  it.each([
    ["without what every policy hides that says nothing", "budgets: { session: 10 }", null, [DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT], DEFAULT],
    ["without what the tenant's policy hides", redacts("email"), null, [MAIL, MAIL, MAIL, MAIL, MAIL], MAIL],
    ["as it was written, if the policy hides nothing", redacts(""), null, [REASON, REASON, REASON, REASON, REASON], REASON],
    ["without what any policy hides that is in force for the target", redacts("email"), redacts("credit_card"), [BOTH, BOTH, BOTH, BOTH, BOTH], MAIL],
    ["without what one of them hides that says nothing", redacts("email"), "budgets: { run: 1 }", [BOTH, BOTH, BOTH, BOTH, BOTH], MAIL],
    [
      "without whatever can be found, where none is in force for whom it may concern",
      null,
      redacts(""),
      [EVERYTHING, REASON, REASON, EVERYTHING, EVERYTHING],
      EVERYTHING,
    ],
  ] as const)("is on record as the policies say: %s", async (_, policy, ofAgent, shown, ofAnother) => {
    const { tenant, agent, operator, put } = await newTenant(policy);
    if (ofAgent !== null) await put(ofAgent, "its-own", agent.subject);
    const session = await newSession(agent);
    const theirs = await newSession({ ...agent, subject: "other" });
    const ids = { tenant, agent: agent.subject, session, run: (await readOf(agent, session)).run, action: "pay" };
    for (const [place, type] of TARGETED.entries()) {
      got(await writes(operator, type, ids[type]));
      expect([type, await recorded(tenant)]).toEqual([type, shown[place]]);
    }
    for (const [type, id] of [
      ["agent", "other"],
      ["session", theirs],
    ] as const) {
      got(await writes(operator, type, id));
      expect([type, await recorded(tenant)]).toEqual([type, ofAnother]);
    }
  });

  it.each(["kill", "pause", "resume", "revive"] as const)("is hidden of a %s too", async (kind) => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
    got(await writes(operator, "agent", agent.subject, kind));
    const [said] = await entriesOf(tenant, undefined, "intervention");
    expect(said.details).toMatchObject({ kind, reason: DEFAULT });
  });

  it("is hidden as the tenant's default policy says where none is active", async () => {
    const { tenant, agent, operator, put } = await newTenant(redacts("email"));
    got(await ports.tenants.putSettings(tenant, operator, { ...got(await ports.tenants.readSettings(tenant)), defaultPolicy: "main" }));
    await put("budgets: { session: 10 }", "of-another", "other");
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => {
      storage.sql.exec("UPDATE policies SET active_version = NULL WHERE name = 'main'");
    });
    await evictDurableObject(env.TENANTS.getByName(tenant));
    got(await writes(operator, "agent", agent.subject));
    expect(await recorded(tenant)).toBe(MAIL);
    got(await writes(operator, "action", "pay"));
    expect(await recorded(tenant)).toBe(BOTH);
  });

  it("is hidden whole where what a stored policy hides cannot be read", async () => {
    const { tenant, agent, operator } = await newTenant(redacts(""));
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, { storage }) => {
      storage.sql.exec("UPDATE policy_versions SET document = json_set(document, '$.redact.detect', json('[\"iban\"]'))");
    });
    await evictDurableObject(env.TENANTS.getByName(tenant));
    got(await writes(operator, "agent", agent.subject));
    expect(await recorded(tenant)).toBe(EVERYTHING);
  });

  it("is compared as it was written: under one key another text is another order, though it looks the same once hidden", async () => {
    const { agent, operator } = await newTenant("budgets: { session: 10 }");
    const wish = { target: { type: "agent", id: agent.subject }, kind: "kill" } as const;
    got(await intervene(ports, operator, { ...wish, reason: "card 4111 1111 1111 1111" }, "k"));
    expect(got(await intervene(ports, operator, { ...wish, reason: "card 4111 1111 1111 1111" }, "k")).replayed).toBe(true);
    expect(refusalOf(await intervene(ports, operator, { ...wish, reason: "card 5555 5555 5555 4444" }, "k"))).toBe("idempotency_mismatch");
  });
});

describe("the list of noes", () => {
  const BY = { limit: 50, cursor: null };
  const listed = async (tenant: string, filter: object, page = BY) => {
    const rows = got(await listEntries(ports, tenant, { noes: NO_KINDS, ...filter }, page));
    return { kinds: rows.items.map((row) => present.no(row).kind), items: rows.items.map(present.no), next: rows.nextCursor };
  };

  it("has everything in which the system said no, newest first, and who said it", async () => {
    const { tenant, agent, operator, session, theirs, other, put } = await twoAgents();
    await put("budgets: { session: 10 }\ndenied_actions: [rm]\napprovals: { actions: [send] }");
    await decideOne(agent, session, "look");
    await decideOne(agent, session, "rm");
    await decideOne(agent, session, "send");
    const paid = await decideOne(agent, session, "pay", { estimateMicroUsd: microUsdOf(10) });
    got(await commitOf(agent, session, paid.id, "0.5"));
    await stopped(operator, "agent", "other", "pause");
    await decideOne(other, theirs, "look");
    await stopped(operator, "agent", "other", "resume");
    const all = await listed(tenant, {});
    expect(all.kinds).toHaveLength(6);
    expect([...all.kinds].sort()).toEqual(["deny", "deny", "hold", "overrun", "pause", "resume"]);
    expect(all.items.find(({ kind }) => kind === "pause")).toMatchObject({
      id: expect.stringMatching(/^int_/),
      target: { type: "agent", id: "other" },
      note: "for the test",
      by: { subject: "ops", kind: "human" },
      session: null,
    });
    expect(all.items.find(({ kind }) => kind === "overrun")).toMatchObject({ overrun_usd: "0.49999", action: "pay", session });
    expect((await listed(tenant, { noes: ["pause", "hold"] })).kinds.sort()).toEqual(["hold", "pause"]);
    expect((await listed(tenant, { agent: "other" })).kinds).toEqual(["deny"]);
    expect((await listed(tenant, { agent: "other", aims: true })).kinds.sort()).toEqual(["deny", "pause", "resume"]);
    const first = await listed(tenant, {}, { limit: 4, cursor: null });
    const second = got(await listEntries(ports, tenant, { noes: NO_KINDS }, { limit: 4, cursor: first.next }));
    expect([...first.kinds, ...second.items.map((row) => present.no(row).kind)]).toEqual(all.kinds);
  });

  it("has also what people and time said no to, a lease that was not granted, and what engines elsewhere report that they refused", async () => {
    const { tenant, agent, operator, put } = await newTenant("budgets: { session: 10 }");
    await put("budgets: { session: 10 }\napprovals: { actions: [send], timeout_seconds: 600 }");
    const session = await newSession(agent);
    const hold = async (): Promise<ApprovalId> => {
      const { approval } = await decideOne(agent, session, "send");
      if (approval === null) throw new Error("it is held");
      return approval.id;
    };
    const answers = async (by: Principal, id: ApprovalId) => {
      const { digest } = got(await readApproval(ports, operator, id)).approval;
      return answerApproval(ports, by, ["approvals:write"], id, { decision: "reject", note: "not to them", digest, edits: null });
    };
    const [rejected, cancelled, late] = [await hold(), await hold(), await hold()];
    refusalOf(await answers({ ...operator, subject: agent.subject }, rejected));
    got(await answers(operator, rejected));
    got(await cancelApproval(ports, agent, [], cancelled, "needless"));
    const wish = { run: null, amountMicroUsd: usd("1"), actions: ["send"], ttlMs: 60_000 };
    refusalOf(await grantLease(ports, agent, session, wish, null, Date.now()));
    const line = (id: string, more: object) => ({
      id,
      action: "rm",
      agent_id: "bot",
      session_id: session,
      reason: "action_denied",
      rule: "/denied_actions/0",
      ...more,
    });
    const lines = [line("1", { verdict: "deny" }), line("2", { verdict: "hold" }), line("3", { verdict: "allow" }), line("4", {})];
    got(
      await ingest(
        ports,
        agent,
        lines.map((each) => ingestEntry.parse(each)),
        null,
      ),
    );
    vi.useFakeTimers({ now: Date.now() + 700_000, toFake: ["Date"] });
    got(await readApproval(ports, operator, late));
    const { items } = await listed(tenant, {});
    const seen = items.map(({ kind, target, by, reason, rule, note, action }) => [kind, target, by?.subject ?? null, reason, rule, note, action]);
    const about = (type: string, id: string) => ({ type, id });
    const met = ["action_denied", "/denied_actions/0", null, "rm"];
    const lease = items.find(({ kind }) => kind === "lease_denied")?.target?.id ?? "";
    const wanted = [
      ["answer_refused", about("approval", rejected), agent.subject, null, null, null, "send"],
      ["reject", about("approval", rejected), "ops", null, null, "not to them", "send"],
      ["cancel", about("approval", cancelled), "bot", null, null, "needless", "send"],
      ["timeout", about("approval", late), null, null, null, null, "send"],
      ["lease_denied", about("lease", lease), "bot", null, "/approvals/actions", null, null],
      ["reported_deny", null, "bot", ...met],
      ["reported_hold", null, "bot", ...met],
    ];
    expect(lease).toMatch(/^lse_/);
    expect(seen.filter(([kind]) => kind !== "hold").sort()).toEqual([...wanted].sort());
    expect(seen.filter(([kind]) => kind === "hold")).toHaveLength(3);
    for (const kind of NO_KINDS) {
      const only = (await listed(tenant, { noes: [kind] })).kinds;
      expect([kind, only]).toEqual([kind, items.map((each) => each.kind).filter((each) => each === kind)]);
    }
    // By session too, whichever shelf it is on, and by agent.
    expect((await listed(tenant, { session, aims: true })).items).toEqual(items);
    expect((await listed(tenant, { agent: agent.subject })).items).toEqual(items);
  });

  it("of a session, an action or an agent has what it met, and where that is wanted what was aimed at it", async () => {
    const { tenant, agent, operator, session, theirs, other, put } = await twoAgents();
    await put("budgets: { session: 10 }\ndenied_actions: [rm]");
    await decideOne(agent, session, "rm");
    await decideOne(other, theirs, "rm");
    await stopped(operator, "action", "rm", "pause");
    await stopped(operator, "session", session, "kill");
    await decideOne(agent, session, "look");
    const shown = async (filter: object) => (await listed(tenant, filter)).items.map((one) => [one.kind, one.session].join(" ").trim()).sort();
    const met = [`deny ${session}`, `deny ${session}`];
    expect(await shown({ session, aims: true })).toEqual([...met, "kill"]);
    expect(await shown({ session: theirs, aims: true })).toEqual([`deny ${theirs}`]);
    expect(await shown({ action: "rm", aims: true })).toEqual([`deny ${session}`, `deny ${theirs}`, "pause"].sort());
    expect(await shown({ action: "look", aims: true })).toEqual([`deny ${session}`]);
    expect(await shown({ session })).toEqual(met);
    // In the order of the record, wherever they are from, and page by page the same.
    const aimed = { session, aims: true, noes: NO_KINDS } as const;
    const whole = got(await listEntries(ports, tenant, aimed, { limit: 100, cursor: null }));
    const places = whole.items.map(({ index }) => index);
    expect(places).toEqual(places.toSorted((a, b) => b - a));
    expect(places).toHaveLength(3);
    const turned: unknown[] = [];
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = got(await listEntries(ports, tenant, aimed, { limit: 1, cursor: cursor ?? null }));
      turned.push(...page.items);
      cursor = page.nextCursor;
    }
    expect(turned).toEqual(whole.items);
  });
});
