import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { decodeJwt, decodeProtectedHeader } from "jose";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import type { Entry } from "../../src/core/entry.ts";
import type { DecisionId, LeaseId, RunId, SessionId } from "../../src/core/ids.ts";
import type { InterventionKind, Target } from "../../src/core/orders.ts";
import type { Principal } from "../../src/core/request.ts";
import type { Result } from "../../src/core/result.ts";
import { grantLease, type LeaseWished, type SignedLease, settleLease, type ToldAction } from "../../src/flow/client_lease.ts";
import { intervene } from "../../src/flow/intervene.ts";
import { type Answered, DEFAULT_SETTINGS } from "../../src/flow/ports.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { readSession } from "../../src/flow/read_session.ts";
import * as present from "../../src/http/present.ts";
import { commitOf, decideOne, got, newDecisionId, newSession, newTenant, ports, readOf, refusalOf, report, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
});

const sessionStub = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));
const tenantStub = (tenant: string) => env.TENANTS.getByName(tenant);

/** Stops the clock there. */
const at = (now: number) => vi.useFakeTimers({ now, toFake: ["Date"] });

const wish = (amount: string, more: Partial<LeaseWished> = {}): LeaseWished => ({
  amountMicroUsd: usd(amount),
  actions: ["search*"],
  ttlMs: 30_000,
  run: null,
  ...more,
});

const grant = (principal: Principal, session: SessionId, wanted: LeaseWished, key: string | null = null) =>
  grantLease(ports, principal, session, wanted, key, Date.now());

/** The reason for which no lease was granted. */
const whyNot = (
  granting: Result<
    Answered<SignedLease>,
    { readonly code: string; readonly reason?: { readonly code: string; readonly rule: string | null } | undefined }
  >,
) => (granting.ok ? "granted" : `${granting.error.code} ${granting.error.reason?.code} ${granting.error.reason?.rule}`);

const done = (action: string, cost: string, id: DecisionId = newDecisionId()): ToldAction => ({
  request: {
    id,
    action,
    resource: null,
    estimateMicroUsd: usd(cost),
    tags: [],
    riskLevel: null,
    inputs: { q: action },
    inputsDigest: null,
    rationale: null,
    confidence: null,
    sources: [],
    parents: [],
    model: null,
  },
  report: { ...report(cost), costMicroUsd: usd(cost) },
  decidedAt: null,
});

const settle = (principal: Principal, session: SessionId, id: LeaseId, actions: readonly ToldAction[], final = true) =>
  settleLease(ports, principal, session, id, { actions, final }, Date.now());

const moneyOf = async (principal: Principal, session: SessionId) => {
  const { total } = await readOf(principal, session);
  return [total.leasedMicroUsd, total.pendingMicroUsd, total.postedMicroUsd].map((sum) => sum / 1e6);
};

const entriesOf = async (tenant: string, session: SessionId): Promise<readonly Entry[]> =>
  got(await listEntries(ports, tenant, { session }, { limit: 1000, cursor: null }))
    .items.map(({ canonical }) => JSON.parse(canonical))
    .reverse();

/** A lease that was granted, and whom and what it is for. */
interface Leased {
  readonly tenant: string;
  readonly agent: Principal;
  readonly session: SessionId;
  readonly run: RunId;
  readonly lease: SignedLease["lease"];
  stop(type: Target, id: string, kind?: InterventionKind): Promise<unknown>;
}

/** What a session has spent by its record alone. */
const spentByRecord = (entries: readonly Entry[]): number =>
  entries.reduce((sum, { cost_usd, corrected_usd }) => sum + usd(cost_usd) - usd(corrected_usd), 0) / 1e6;

describe("a client lease", () => {
  it("takes its amount at once, is spent by telling, and gives back what is left, with every object dying between any two steps", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1.0, actions: { search_web: 0.8, pay: 0.3 } }");
    const session = await newSession(agent);
    const sleep = async () => {
      await evictDurableObject(sessionStub(tenant, session));
      await evictDurableObject(tenantStub(tenant)).catch(() => undefined);
    };
    const { lease } = got(await grant(agent, session, wish("0.6"))).answer;
    await sleep();
    expect(await moneyOf(agent, session)).toEqual([0.6, 0, 0]);
    // What is leased is gone from the session, and from the one budget of an action that it may be spent on.
    await sleep();
    expect((await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.3") })).verdict).toBe("allow");
    expect((await decideOne(agent, session, "write", { estimateMicroUsd: usd("0.2") })).reason.code).toBe("session_budget_exceeded");
    await sleep();
    expect((await decideOne(agent, session, "search_web", { estimateMicroUsd: usd("0.21") })).reason.code).toBe("action_budget_exceeded");
    await sleep();
    const [first, second] = [done("search_web", "0.2"), done("search.files", "0.1")];
    expect(got(await settle(agent, session, lease.id, [first, second], false))).toMatchObject({
      state: "open",
      accepted: 2,
      duplicates: 0,
      postedMicroUsd: 300_000,
      heldMicroUsd: 300_000,
      late: false,
    });
    await sleep();
    expect(await moneyOf(agent, session)).toEqual([0.3, 0.3, 0.3]);
    const told = await settle(agent, session, lease.id, [first, done("search_web", "0.05")]);
    expect(got(told)).toMatchObject({
      state: "settled",
      accepted: 1,
      duplicates: 1,
      postedMicroUsd: 350_000,
      returnedMicroUsd: 250_000,
      heldMicroUsd: 0,
    });
    await sleep();
    expect(await moneyOf(agent, session)).toEqual([0, 0.3, 0.35]);
    expect(got(await ports.sessions.readLease(tenant, session, agent, lease.id))).toMatchObject({ state: "settled", postedMicroUsd: 350_000 });
    // Each is a decision like any other: it can be read, is in the record once, and its sums are the session's.
    expect(got(await ports.sessions.readDecision(tenant, session, agent, first.request.id, 0))).toMatchObject({
      state: "posted",
      postedMicroUsd: 200_000,
    });
    const entries = await entriesOf(tenant, session);
    expect(entries.map(({ kind, details }) => (kind === "lease" ? `lease ${details?.event}` : kind))).toEqual([
      "session",
      "lease granted",
      "decision",
      "decision",
      "decision",
      "decision",
      "commit",
      "decision",
      "commit",
      "lease settled",
      "decision",
      "commit",
      "lease settled",
    ]);
    expect(spentByRecord(entries)).toBeCloseTo(0.35, 9);
    expect(entries.at(1)?.accounts.find(({ scope }) => scope === "session")).toMatchObject({
      before: { pending_usd: "0", posted_usd: "0" },
      after: { leased_usd: "0.6", pending_usd: "0", posted_usd: "0" },
    });
  });

  it("shows in every budget that it may be spent from, and adds up there", async () => {
    const { agent } = await newTenant("budgets: { session: 2, run: 1.5, actions: { 'search*': 1, pay: 1 }, agent: { day: 5 } }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("0.4"))).answer;
    got(await settle(agent, session, lease.id, [done("search", "0.1")], false));
    const shown = present.sessionDetail(got(await readSession(ports, agent, session))).budgets;
    expect(
      shown.map(({ scope, name, leased_usd, posted_usd, pending_usd }) => [
        scope,
        scope === "action" ? name : "",
        leased_usd,
        pending_usd,
        posted_usd,
      ]),
    ).toEqual([
      ["session", "", "0.3", "0", "0.1"],
      ["run", "", "0.3", "0", "0.1"],
      ["action", "pay", "0", "0", "0"],
      ["action", "search*", "0.3", "0", "0.1"],
      // Of what sessions share, what is leased out is pending.
      ["agent", "", expect.any(String), "0.3", "0.1"],
    ]);
    for (const { limit_usd, posted_usd, pending_usd, leased_usd, remaining_usd } of shown) {
      const sum = [posted_usd, pending_usd, leased_usd, remaining_usd ?? ""].reduce((all, text) => all + usd(text), 0);
      expect(sum).toBe(usd(limit_usd ?? ""));
    }
  });

  it("is granted to as many at once as fit, and together with decisions never above the limit", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0, tenant: { day: 0.9 } }");
    const session = await newSession(agent);
    const asked = await Promise.all(
      Array.from({ length: 12 }, async (_, n) =>
        n % 2 === 0
          ? (await grant(agent, session, wish("0.2"))).ok
          : (await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1") })).verdict === "allow",
      ),
    );
    const [leased = 0, pending = 0] = await moneyOf(agent, session);
    expect(asked.filter(Boolean).length).toBeGreaterThan(4);
    expect(leased + pending).toBeLessThanOrEqual(0.9);
    expect(leased + pending).toBeGreaterThan(0.7);
  });

  it("of money that sessions share is not another session's, comes back to it at once, and keeps its day", async () => {
    const { tenant, agent } = await newTenant("budgets: { tenant: { day: 1 } }");
    const noon = Date.UTC(2027, 0, 15, 23, 59, 50);
    at(noon);
    const [a, b] = [await newSession(agent), await newSession(agent)];
    const { lease } = got(await grant(agent, a, wish("0.8"))).answer;
    expect((await decideOne(agent, b, "pay", { estimateMicroUsd: usd("0.3") })).reason.code).toBe("tenant_budget_exceeded");
    got(await settle(agent, a, lease.id, [done("search", "0.1")], true));
    expect((await decideOne(agent, b, "pay", { estimateMicroUsd: usd("0.3") })).verdict).toBe("allow");
    // Taken on the one day and told on the next: it counts where it was taken, and the new day has all of its money.
    const { lease: late } = got(await grant(agent, a, wish("0.5"))).answer;
    at(noon + 15_000);
    got(await settle(agent, a, late.id, [done("search", "0.5")]));
    const day = got(await ports.tenants.standing(tenant, agent.subject)).find(({ scope, window }) => scope === "tenant" && window === "day");
    expect(day).toMatchObject({ postedMicroUsd: 0, pendingMicroUsd: 0 });
    expect((await decideOne(agent, b, "pay", { estimateMicroUsd: usd("0.9") })).verdict).toBe("allow");
  });
});

describe("when it ends", () => {
  it.each([
    ["post", 0.6],
    ["release", 0],
  ])("what nobody told of becomes what the policy says (%s), by the alarm too, and a late settlement corrects it", async (onExpiry, posted) => {
    const { tenant, agent } = await newTenant(`budgets: { session: 1.0, actions: { search: 0.9 }, on_expiry: ${onExpiry} }`);
    const session = await newSession(agent);
    const start = Date.now();
    at(start);
    const { lease } = got(await grant(agent, session, wish("0.7"))).answer;
    const early = done("search", "0.1");
    got(await settle(agent, session, lease.id, [early], false));
    at(start + 30_001);
    await evictDurableObject(sessionStub(tenant, session));
    expect(await runDurableObjectAlarm(sessionStub(tenant, session))).toBe(true);
    expect(await moneyOf(agent, session)).toEqual([0, 0, expect.closeTo(posted + 0.1, 9)]);
    // As the session's sums: what is posted for it is spent, until somebody tells of it.
    const shown = present.leaseNow(got(await ports.sessions.readLease(tenant, session, agent, lease.id)));
    expect(shown).toMatchObject({ state: "expired", posted_usd: String(posted + 0.1), remaining_usd: "0" });
    // Which action it was spent on nobody knows: it stands against all that it may have been.
    const more = await decideOne(agent, session, "search", { estimateMicroUsd: usd("0.25") });
    expect(more.verdict).toBe(onExpiry === "post" ? "deny" : "allow");
    await evictDurableObject(sessionStub(tenant, session));
    const told = [early, done("search", "0.3")];
    const late = got(await settle(agent, session, lease.id, told));
    expect(late).toMatchObject({ state: "settled", accepted: 1, duplicates: 1, postedMicroUsd: 400_000, overrunMicroUsd: 0, late: true });
    const again = got(await settle(agent, session, lease.id, told));
    expect(again).toEqual({ ...late, accepted: 0, duplicates: 2 });
    await evictDurableObject(sessionStub(tenant, session));
    const [leased, , spent] = await moneyOf(agent, session);
    expect([leased, spent]).toEqual([0, 0.4]);
    const entries = await entriesOf(tenant, session);
    expect(spentByRecord(entries)).toBeCloseTo(0.4, 9);
    expect(entries.find(({ kind }) => kind === "expiry")).toMatchObject({ details: { lease: lease.id }, decision_id: null });
    expect(entries.filter(({ kind }) => kind === "commit").map((entry) => entry.late)).toEqual([false, true]);
  });

  it("nothing that came too late is refused: of a closed session, without a policy, above the lease, or told by a lapsed one", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("0.5"))).answer;
    got(await ports.sessions.close(tenant, session, agent));
    got(await ports.tenants.deletePolicy(tenant, operator, "main"));
    const told = got(await settle(agent, session, lease.id, [done("search", "0.4"), done("search", "0.3")]));
    expect(told).toMatchObject({ postedMicroUsd: 700_000, overrunMicroUsd: 200_000, returnedMicroUsd: 0, state: "settled" });
    expect(await moneyOf(agent, session)).toEqual([0, 0, 0.7]);
    at(Date.now() + 3 * LEASE_TERM_MS);
    expect(got(await settle(agent, session, lease.id, [done("search", "0.2")]))).toMatchObject({ late: true, overrunMicroUsd: 400_000 });
  });

  it("never outlives its session, and 64 that nobody told of are the last", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 100 }");
    const session = await newSession(agent);
    const start = Date.now();
    for (let n = 0; n < 4; n++) {
      at(start + n * 2_000);
      for (let m = 0; m < 16; m++) got(await grant(agent, session, wish("0.01", { ttlMs: 1_000 })));
      expect(whyNot(await grant(agent, session, wish("0.01")))).toBe("lease_refused concurrency_exceeded null");
    }
    at(start + 8_000);
    expect(whyNot(await grant(agent, session, wish("0.01")))).toBe("lease_refused concurrency_exceeded null");
    const { expiresAt } = await readOf(agent, session);
    at(expiresAt - 5_000);
    const other = await newSession(agent);
    const { expiresAt: ends } = await readOf(agent, other);
    at(ends - 5_000);
    expect(got(await grant(agent, other, wish("0.01"))).answer.lease.expiresAt).toBe(ends);
    expect((await readOf(agent, session)).tenant).toBe(tenant);
  });
});

describe("asking for one", () => {
  it("again under the same key gives the very same answer, a refusal too, and another body is refused", async () => {
    const { agent, put } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const first = got(await grant(agent, session, wish("0.4"), "k"));
    const [again, parallel] = await Promise.all([grant(agent, session, wish("0.4"), "k"), grant(agent, session, wish("0.4"), "k")]);
    expect(got(again)).toEqual({ answer: first.answer, replayed: true });
    expect(got(parallel)).toEqual({ answer: first.answer, replayed: true });
    expect(refusalOf(await grant(agent, session, wish("0.5"), "k"))).toBe("idempotency_mismatch");
    expect(await moneyOf(agent, session)).toEqual([0.4, 0, 0]);
    expect(whyNot(await grant(agent, session, wish("0.7"), "no"))).toBe("lease_refused session_budget_exceeded /budgets/session");
    await put("budgets: { session: 5 }");
    expect(whyNot(await grant(agent, session, wish("0.7"), "no"))).toBe("lease_refused session_budget_exceeded /budgets/session");
    expect((await grant(agent, session, wish("0.7"), "yes")).ok).toBe(true);
    const refused = (await entriesOf(agent.tenant, session)).filter(({ details }) => details?.event === "refused");
    expect(refused).toMatchObject([{ kind: "lease", reason: "session_budget_exceeded", rule: "/budgets/session", details: { amount_usd: "0.7" } }]);
  });

  it.each<[string, string, (of: Leased) => unknown]>([
    ["its tenant was killed", "tenant_killed", ({ stop, tenant }) => stop("tenant", tenant)],
    ["its agent was killed", "agent_killed", ({ stop, agent }) => stop("agent", agent.subject)],
    ["its session was killed", "session_killed", ({ stop, session }) => stop("session", session)],
    ["its run was killed", "run_killed", ({ stop, run }) => stop("run", run)],
    ["some of its actions were killed", "action_killed", ({ stop }) => stop("action", "*_web")],
    ["its session is paused", "session_paused", ({ stop, session }) => stop("session", session, "pause")],
    ["its run is closed", "run_closed", ({ tenant, agent, session, run }) => ports.sessions.closeRun(tenant, session, agent, run)],
    ["its session is closed", "session_closed", ({ tenant, agent, session }) => ports.sessions.close(tenant, session, agent)],
    ["it has expired", "lease_used", ({ lease }) => at(lease.expiresAt)],
    ["it was settled", "lease_used", async ({ agent, session, lease }) => got(await settle(agent, session, lease.id, []))],
    [
      "some of it is spent",
      "lease_used",
      async ({ agent, session, lease }) => got(await settle(agent, session, lease.id, [done("search", "0.1")], false)),
    ],
  ])("again under the same key is no lease where meanwhile %s, and nothing is done", async (meanwhile, reason, happens) => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const { run } = await readOf(agent, session);
    const { lease } = got(await grant(agent, session, wish("0.4"), "k")).answer;
    const stop = async (type: Target, id: string, kind: InterventionKind = "kill") =>
      got(await intervene(ports, operator, { target: { type, id }, kind, reason: "stop" }, null));
    await happens({ tenant, agent, session, run, lease, stop });
    const before = [await moneyOf(agent, session), (await entriesOf(tenant, session)).length];
    // A session that has lost its memory answers alike.
    await evictDurableObject(sessionStub(tenant, session));
    for (let n = 0; n < 2; n++) {
      const again = await grant(agent, session, wish("0.4"), "k");
      expect(whyNot(again)).toBe(`lease_refused ${reason} null`);
      // Who has never heard of it can settle it: else what it holds would be posted at its end, though nobody spent it.
      expect(again).toMatchObject({ error: { detail: expect.stringContaining(`The lease "${lease.id}" was granted under this Idempotency-Key`) } });
    }
    expect([await moneyOf(agent, session), (await entriesOf(tenant, session)).length]).toEqual(before);
    expect(got(await settle(agent, session, lease.id, [])).state).toBe("settled");
    expect(await moneyOf(agent, session)).toEqual([0, 0, meanwhile === "some of it is spent" ? 0.1 : 0]);
  });

  it("again under the same key is unsure while nobody can say whether it was stopped", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const start = Date.now();
    at(start);
    const wanted = wish("0.4", { ttlMs: 60_000 });
    const first = got(await grant(agent, session, wanted, "k"));
    at(start + LEASE_TERM_MS);
    const reaches = (tenants: object) =>
      runInDurableObject(sessionStub(tenant, session), (object) => Reflect.set(object, "env", { ...env, TENANTS: tenants }));
    await reaches({ getByName: () => ({ draw: () => Promise.reject(new Error("unreachable")) }) });
    expect(refusalOf(await grant(agent, session, wanted, "k"))).toBe("authority_unavailable");
    await reaches(env.TENANTS);
    expect(got(await grant(agent, session, wanted, "k"))).toEqual({ answer: first.answer, replayed: true });
  });

  it("again under the same key is that lease once more when what stopped it is lifted, and its money ends as ever", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const start = Date.now();
    at(start);
    const first = got(await grant(agent, session, wish("0.4"), "k"));
    const intervenes = async (kind: InterventionKind) =>
      got(await intervene(ports, operator, { target: { type: "agent", id: agent.subject }, kind, reason: "stop" }, null));
    await intervenes("kill");
    expect(whyNot(await grant(agent, session, wish("0.4"), "k"))).toBe("lease_refused agent_killed null");
    expect(await moneyOf(agent, session)).toEqual([0.4, 0, 0]);
    await intervenes("revive");
    expect(got(await grant(agent, session, wish("0.4"), "k"))).toEqual({ answer: first.answer, replayed: true });
    await intervenes("kill");
    // Whoever heard of it may tell what was done with it, as before.
    const told = got(await settle(agent, session, first.answer.lease.id, [done("search", "0.1")], false));
    expect(told).toMatchObject({ state: "open", late: false, postedMicroUsd: 100_000 });
    at(start + 30_001);
    expect(await moneyOf(agent, session)).toEqual([0, 0, 0.4]);
    expect(spentByRecord(await entriesOf(tenant, session))).toBeCloseTo(0.4, 9);
  });

  it.each<[string, string | null, Partial<LeaseWished>, string]>([
    ["no policy is in force", null, {}, "policy_missing null"],
    ["the policy denies some of it", "denied_actions: [search_dark]", {}, "action_denied /denied_actions"],
    ["the policy counts calls", "rate_limits: { 'search*': { max_count: 3, window_seconds: 60 } }", {}, "not_leasable /rate_limits/search*"],
    ["it is for a run that is closed", "budgets: { session: 5 }", {}, "run_closed null"],
  ])("is refused where %s", async (what, policy, more, reason) => {
    const { tenant, agent } = await newTenant(policy);
    const session = await newSession(agent);
    const { run } = await readOf(agent, session);
    if (what.includes("run")) got(await ports.sessions.closeRun(tenant, session, agent, run));
    expect(whyNot(await grant(agent, session, wish("0.1", more)))).toBe(`lease_refused ${reason}`);
    expect(await moneyOf(agent, session)).toEqual([0, 0, 0]);
  });

  it("is the tenant's to allow, and the setting keeps nobody from settling", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("0.1"))).answer;
    got(await ports.tenants.putSettings(tenant, operator, { ...DEFAULT_SETTINGS, clientLeases: false }));
    expect(whyNot(await grant(agent, session, wish("0.1")))).toBe("lease_refused not_leasable null");
    expect(got(await settle(agent, session, lease.id, [done("search", "0.1")])).state).toBe("settled");
    got(await ports.tenants.putSettings(tenant, operator, DEFAULT_SETTINGS));
    expect((await grant(agent, session, wish("0.1"))).ok).toBe(true);
  });

  it("is refused to another agent and to another tenant, as are reading and settling", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("0.1"))).answer;
    const other: Principal = { ...agent, subject: "other" };
    const { agent: stranger } = await newTenant("budgets: { session: 1 }");
    for (const [who, code] of [
      [other, "not_your_session"],
      [stranger, "not_found"],
    ] as const) {
      expect(refusalOf(await grant(who, session, wish("0.1")))).toBe(code);
      expect(refusalOf(await ports.sessions.readLease(who.tenant, session, who, lease.id))).toBe(code);
      expect(refusalOf(await settle(who, session, lease.id, []))).toBe(code);
    }
    expect(refusalOf(await settle(agent, session, ports.newId("lse"), []))).toBe("not_found");
    expect(refusalOf(await settle(agent, await newSession(agent), lease.id, []))).toBe("not_found");
    expect(got(await ports.sessions.readLease(tenant, session, agent, lease.id)).state).toBe("open");
  });

  it("gives a token that says the same, signed, and that is no access token", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1 }");
    const session = await newSession(agent);
    const { lease, token } = got(await grant(agent, session, wish("0.1"))).answer;
    expect(decodeProtectedHeader(token)).toMatchObject({ alg: "EdDSA", typ: "lease+jwt" });
    expect(decodeJwt(token)).toMatchObject({
      aud: "agentsentinel:lease",
      sub: agent.subject,
      tid: tenant,
      jti: lease.id,
      ses: session,
      act: ["search*"],
      amt: "0.1",
      pol: lease.policy.digest,
      exp: Math.floor(lease.expiresAt / 1000),
    });
    expect(refusalOf(await ports.identity.authenticate(`Bearer ${token}`, Date.now()))).toBe("token_invalid");
  });
});

describe("telling", () => {
  it("the same at once, many times, counts once", async () => {
    const { agent } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("5"))).answer;
    const told = Array.from({ length: 100 }, () => done("search", "0.01"));
    const answers = await Promise.all(Array.from({ length: 8 }, () => settle(agent, session, lease.id, told)));
    expect(answers.map((answer) => got(answer).accepted).sort()).toEqual([0, 0, 0, 0, 0, 0, 0, 100]);
    expect(await moneyOf(agent, session)).toEqual([0, 0, 1]);
    expect((await readOf(agent, session)).decisions.allow).toBe(100);
  });

  it.each<[string, (known: DecisionId) => readonly ToldAction[], string]>([
    ["known with another body", (known) => [done("search", "0.1"), done("search", "0.2", known)], "idempotency_mismatch /entries/1/id"],
    ["not covered by the lease", () => [done("search", "0.1"), done("pay", "0.1")], "body_invalid /entries/1/action"],
    ["there twice", (known) => [done("search", "0.1", known), done("search", "0.1", known)], "body_invalid /entries/1/id"],
    ["too much to be told exactly", () => [done("search", "9000000000"), done("search", "9000000000")], "money_precision /entries/1/cost_usd"],
  ])("an entry that is %s refuses the whole, and nothing is done", async (_what, entries, says) => {
    const { agent } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("5"))).answer;
    const known = done("search", "0.1");
    got(await settle(agent, session, lease.id, [known], false));
    const refused = await settle(agent, session, lease.id, entries(known.request.id));
    expect(refused.ok ? "" : `${refused.error.code} ${refused.error.issues?.[0]?.pointer}`).toBe(says);
    expect(await moneyOf(agent, session)).toEqual([4.9, 0, 0.1]);
  });

  it("a decision's id that was asked for cannot be told, and one that was told cannot be asked for with another body", async () => {
    const { agent } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("5"))).answer;
    const asked = await decideOne(agent, session, "search");
    expect(refusalOf(await settle(agent, session, lease.id, [done("search", "0", asked.id)]))).toBe("idempotency_mismatch");
    const told = done("search", "0.5");
    got(await settle(agent, session, lease.id, [told]));
    expect(refusalOf(await commitOf(agent, session, told.request.id, "0.1"))).toBe("decision_settled");
  });

  it("counts for what looks back under a policy that came later, and is hidden as that policy says", async () => {
    const { agent, put } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("5"))).answer;
    await put("budgets: { session: 10 }\nrate_limits: { search: { max_count: 2, window_seconds: 60 } }\nredact: { store_inputs: none }");
    got(await settle(agent, session, lease.id, [done("search", "0.1"), done("search", "0.1"), done("search", "0.1")]));
    expect((await decideOne(agent, session, "search")).reason.code).toBe("rate_exceeded");
    const { items } = got(await listEntries(ports, agent.tenant, { session, kind: "decision" }, { limit: 10, cursor: null }));
    expect(items.map(({ payload }) => payload)).toEqual([null, null, null, null]);
  });
});

describe("a kill", () => {
  const stop = async (operator: Principal, type: "tenant" | "agent" | "session" | "run" | "action", id: string) =>
    got(await intervene(ports, operator, { target: { type, id }, kind: "kill", reason: "stop" }, null)).answer;

  /** What the tenant tells reaches nobody. */
  const deafen = (tenant: string) =>
    runInDurableObject(tenantStub(tenant), (object) => {
      const deaf = { receive: () => new Promise(() => undefined) };
      Reflect.set(object, "env", { ...env, SESSIONS: { getByName: () => deaf } });
    });

  it.each(["agent", "session", "run", "action"] as const)(
    "of the %s says until when holders of leases may not have heard of it, and no new one is granted",
    async (type) => {
      const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
      const session = await newSession(agent);
      const { run } = await readOf(agent, session);
      const [short, long] = [got(await grant(agent, session, wish("1"))), got(await grant(agent, session, wish("1", { ttlMs: 60_000 })))];
      got(await settle(agent, session, short.answer.lease.id, []));
      const id = { agent: agent.subject, session, run, action: "*_web" }[type];
      await evictDurableObject(sessionStub(tenant, session));
      const killed = await stop(operator, type, id);
      const until = long.answer.lease.expiresAt;
      expect(killed.acknowledged).toMatchObject([{ session, leasedUntil: until }]);
      expect(killed.inForceEverywhereBy).toBe(until);
      expect(whyNot(await grant(agent, session, wish("1")))).toBe(`lease_refused ${type}_killed null`);
      expect(got(await settle(agent, session, long.answer.lease.id, [done("search", "0.1")]))).toMatchObject({ state: "settled", late: false });
    },
  );

  it("of what no lease is for says that nobody holds one, and reaches a session whose own lease lapsed while its client's runs", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const start = Date.now();
    at(start);
    const { lease } = got(await grant(agent, session, wish("1", { ttlMs: 60_000 }))).answer;
    expect((await stop(operator, "action", "pay*")).acknowledged).toMatchObject([{ leasedUntil: null }]);
    // Twice its lease's term later nobody would tell the session of anything, were it not for who holds a lease of it.
    at(start + 59_000);
    await runInDurableObject(
      tenantStub(tenant),
      (_, { storage }) => void storage.sql.exec("UPDATE sessions SET lease_ends_at = ?", start - LEASE_TERM_MS),
    );
    expect((await stop(operator, "agent", agent.subject)).acknowledged).toMatchObject([{ session, leasedUntil: lease.expiresAt }]);
  });

  it("that a session does not hear of is in force everywhere when the last lease that it may have granted has ended", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    const { lease } = got(await grant(agent, session, wish("1", { ttlMs: 60_000 }))).answer;
    await deafen(tenant);
    const killed = await stop(operator, "agent", agent.subject);
    expect(killed.unanswered).toEqual([session]);
    expect(killed.inForceEverywhereBy).toBeGreaterThanOrEqual(lease.expiresAt);
    expect(killed.inForceEverywhereBy).toBeLessThanOrEqual(lease.expiresAt + 15_000);
  });

  it("that a session does not hear of keeps it from granting another and from repeating one, also while it cannot ask", async () => {
    const { tenant, agent, operator } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    got(await grant(agent, session, wish("1", { ttlMs: 60_000 }), "before"));
    await deafen(tenant);
    const killed = await stop(operator, "agent", agent.subject);
    expect(killed.unanswered).toEqual([session]);
    const reaches = (tenants: object) =>
      runInDurableObject(sessionStub(tenant, session), (object) => Reflect.set(object, "env", { ...env, TENANTS: tenants }));
    await reaches({ getByName: () => ({ draw: () => Promise.reject(new Error("unreachable")) }) });
    const wanted = wish("1", { ttlMs: 60_000 });
    for (const key of [null, "before"]) expect(refusalOf(await grant(agent, session, wanted, key))).toBe("authority_unavailable");
    await reaches(env.TENANTS);
    for (const key of ["before", null]) expect(whyNot(await grant(agent, session, wanted, key))).toBe("lease_refused agent_killed null");
  });
});
