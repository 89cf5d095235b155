import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { SessionId } from "../../src/core/ids.ts";
import type { Principal } from "../../src/core/request.ts";
import { type AskedAction, decide } from "../../src/flow/decide.ts";
import type { EntryBatch, Ports } from "../../src/flow/ports.ts";
import { listEntries } from "../../src/flow/read_ledger.ts";
import { asked, commitOf, decideMany, decideOne, got, newDecisionId, newSession, newTenant, ports, readOf, refusalOf, usd } from "./world.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const stubOf = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));

describe("money", () => {
  it("a thousand parallel attempts of $0.18 against a dollar allow exactly five", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const verdicts = await Promise.all(Array.from({ length: 1_000 }, () => decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.18") })));
    expect(verdicts.filter(({ verdict }) => verdict === "allow")).toHaveLength(5);
    expect(new Set(verdicts.filter(({ verdict }) => verdict === "deny").map(({ reason }) => reason.code))).toEqual(
      new Set(["session_budget_exceeded"]),
    );
    const { total, decisions } = await readOf(agent, session);
    expect(total.pendingMicroUsd).toBe(900_000);
    expect(decisions).toEqual({ allow: 5, deny: 995, hold: 0 });
  });

  it("a hundred decisions of one turn are a hundred in the store and in the record, of an object that woke up since too", async () => {
    const { tenant, agent } = await newTenant("budgets: { session: 1000 }");
    const session = await newSession(agent);
    const all = Array.from({ length: 100 }, () => asked("pay", { id: newDecisionId(), estimateMicroUsd: usd("0.01") }));
    const first = await decideMany(agent, session, all, "independent");
    await evictDurableObject(stubOf(tenant, session));
    expect(await decideMany(agent, session, all, "independent")).toEqual(first);
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(1_000_000);
    const { items } = got(await listEntries(ports, tenant, { session, kind: "decision" }, { limit: 1000, cursor: null }));
    const seqs = items.map(({ canonical }) => JSON.parse(canonical).seq).reverse();
    expect(seqs).toEqual(first.map(({ entry }) => entry.seq));
  });

  it("0.1 and 0.2 fit 0.3 exactly, and then nothing fits but nothing", async () => {
    const { agent } = await newTenant("budgets: { run: 0.3 }");
    const session = await newSession(agent);
    const verdicts = [];
    for (const estimate of ["0.1", "0.2", "0.000001", "0"])
      verdicts.push((await decideOne(agent, session, "pay", { estimateMicroUsd: usd(estimate) })).verdict);
    expect(verdicts).toEqual(["allow", "allow", "deny", "allow"]);
  });

  it("a commit posts what was reported, and what is above the reservation is an overrun that the next decision feels", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const { id } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.9") });
    const { answer } = got(await commitOf(agent, session, id, "1.2"));
    expect(answer).toMatchObject({ state: "posted", postedMicroUsd: 1_200_000, overrunMicroUsd: 300_000, late: false });
    expect((await decideOne(agent, session, "free")).reason.code).toBe("session_budget_exceeded");
  });

  it("a reservation that nobody settles is posted at its estimate, and a late commit corrects it", async () => {
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const { id } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5"), ttlMs: 1_000 });
    vi.setSystemTime(Date.now() + 1_000);
    expect((await readOf(agent, session)).total).toMatchObject({ postedMicroUsd: 500_000, pendingMicroUsd: 0 });
    expect(got(await commitOf(agent, session, id, "0.2")).answer).toMatchObject({
      state: "posted",
      late: true,
      overrunMicroUsd: 0,
      postedMicroUsd: 200_000,
    });
    expect((await readOf(agent, session)).total).toMatchObject({ postedMicroUsd: 200_000, pendingMicroUsd: 0 });
  });

  it("a reservation of a policy that says release gives its money back when it expires", async () => {
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    const { agent } = await newTenant("budgets: { session: 1.0, on_expiry: release }");
    const session = await newSession(agent);
    await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5"), ttlMs: 1_000 });
    vi.setSystemTime(Date.now() + 1_000);
    expect((await readOf(agent, session)).total).toMatchObject({ postedMicroUsd: 0, pendingMicroUsd: 0 });
  });

  it("settling twice is harmless, settling differently is refused", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const { id } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5") });
    const first = got(await commitOf(agent, session, id, "0.4"));
    const second = got(await commitOf(agent, session, id, "0.4"));
    expect(second).toEqual({ answer: first.answer, replayed: true });
    expect(refusalOf(await commitOf(agent, session, id, "0.3"))).toBe("decision_settled");
    expect(refusalOf(await ports.sessions.release(tenant, session, agent, id, null))).toBe("decision_settled");
  });

  it("a session's own budget only tightens", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    for (const [budget, allowed] of [
      ["0.5", 2],
      ["7", 5],
    ] as const) {
      const session = await newSession(agent, budget);
      const verdicts = await decideMany(
        agent,
        session,
        Array.from({ length: 6 }, () => asked("pay", { estimateMicroUsd: usd("0.2") })),
        "independent",
      );
      expect(verdicts.filter(({ verdict }) => verdict === "allow")).toHaveLength(allowed);
    }
  });
});

describe("the same id", () => {
  it("gives the same answer, in parallel and afterwards, denials too", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }\ndenied_actions: [rm]");
    const session = await newSession(agent);
    for (const action of ["pay", "rm"]) {
      const id = newDecisionId();
      const answers = await Promise.all(Array.from({ length: 20 }, () => decideOne(agent, session, action, { id, estimateMicroUsd: usd("0.3") })));
      answers.push(await decideOne(agent, session, action, { id, estimateMicroUsd: usd("0.3") }));
      expect(new Set(answers.map((answer) => JSON.stringify(answer)))).toHaveLength(1);
    }
    expect(await readOf(agent, session)).toMatchObject({ total: { pendingMicroUsd: 300_000 }, decisions: { allow: 1, deny: 1, hold: 0 } });
  });

  it("with another body is refused", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const id = newDecisionId();
    await decideOne(agent, session, "pay", { id });
    const other = await decide(ports, {
      principal: agent,
      session,
      asked: [asked("pay", { id, estimateMicroUsd: usd("0.1") })],
      batch: false,
      semantics: "independent",
      key: null,
      now: Date.now(),
    });
    expect(refusalOf(other)).toBe("idempotency_mismatch");
  });

  it("an idempotency key stands for the ids that the caller did not make", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const ask = (estimate: string) =>
      decide(ports, {
        principal: agent,
        session,
        asked: [asked("pay", { estimateMicroUsd: usd(estimate) })],
        batch: false,
        semantics: "independent",
        key: "k1",
        now: Date.now(),
      });
    const first = got(await ask("0.1"));
    expect(got(await ask("0.1"))).toEqual(first.map(({ answer }) => ({ answer, replayed: true, superseded: null })));
    expect(refusalOf(await ask("0.2"))).toBe("idempotency_mismatch");
  });
});

describe("a key", () => {
  it("with client-made ids that differ is another body", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const ask = () =>
      decide(ports, {
        principal: agent,
        session,
        asked: [asked("pay", { id: newDecisionId(), estimateMicroUsd: usd("0.3") })],
        batch: false,
        semantics: "independent",
        key: "k",
        now: Date.now(),
      });
    got(await ask());
    expect(refusalOf(await ask())).toBe("idempotency_mismatch");
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(300_000);
  });

  it("is its sender's own: another's equal key is another key", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const service: typeof agent = { ...agent, subject: "enforcer", kind: "service" };
    for (const [principal, action] of [
      [agent, "pay"],
      [service, "read"],
    ] as const) {
      expect(
        got(await decide(ports, { principal, session, asked: [asked(action)], batch: false, semantics: "independent", key: "1", now: Date.now() })),
      ).toHaveLength(1);
    }
  });
});

describe("batches", () => {
  const five = (tenantPolicy = "budgets: { session: 1.0 }") => newTenant(tenantPolicy);
  const pay = (estimate: string) => asked("pay", { estimateMicroUsd: usd(estimate) });

  it("all or nothing charges nothing when one is not allowed", async () => {
    const { agent } = await five();
    const session = await newSession(agent);
    const decisions = await decideMany(agent, session, [pay("0.6"), pay("0.6"), pay("0.1")], "all_or_nothing");
    expect(decisions.map(({ reason }) => reason.code)).toEqual(["batch_refused", "session_budget_exceeded", "batch_refused"]);
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(0);
    const fitting = await decideMany(agent, session, [pay("0.6"), pay("0.4")], "all_or_nothing");
    expect(fitting.map(({ verdict }) => verdict)).toEqual(["allow", "allow"]);
  });

  it("stop on deny ends the answers at the first denial", async () => {
    const { agent } = await five();
    const session = await newSession(agent);
    const decisions = await decideMany(agent, session, [pay("0.6"), pay("0.6"), pay("0.1")], "stop_on_deny");
    expect(decisions.map(({ verdict }) => verdict)).toEqual(["allow", "deny"]);
    expect((await readOf(agent, session)).decisions).toEqual({ allow: 1, deny: 1, hold: 0 });
  });

  it("independent ones are each decided against what those before them took", async () => {
    const { agent } = await five();
    const session = await newSession(agent);
    const decisions = await decideMany(agent, session, [pay("0.6"), pay("0.6"), pay("0.1")], "independent");
    expect(decisions.map(({ verdict }) => verdict)).toEqual(["allow", "deny", "allow"]);
  });
});

describe("memory and storage", () => {
  it("eviction between deciding and settling changes nothing", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }\nrate_limits: { pay: { max_count: 2, window_seconds: 60 } }");
    const session = await newSession(agent);
    const first = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.3") });
    await evictDurableObject(stubOf(tenant, session));
    const again = await decideOne(agent, session, "pay", { id: first.id, estimateMicroUsd: usd("0.3") });
    expect(again).toEqual(first);
    await decideOne(agent, session, "pay");
    await evictDurableObject(stubOf(tenant, session));
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("rate_exceeded");
    expect(got(await commitOf(agent, session, first.id, "0.25")).answer.budgets.at(-1)).toMatchObject({
      scope: "session",
      postedMicroUsd: 250_000,
      pendingMicroUsd: 0,
    });
  });

  it("an alarm may ring twice, early, and in an object that was never opened", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.3") });
    const before = await readOf(agent, session);
    const stub = stubOf(tenant, session);
    await runInDurableObject(stub, (instance) => instance.alarm());
    await runInDurableObject(stub, (instance) => instance.alarm());
    expect(await readOf(agent, session)).toEqual(before);
    await runInDurableObject(stubOf(tenant, "ses_never"), (instance) => instance.alarm());
    expect(await runDurableObjectAlarm(stubOf(tenant, "ses_never"))).toBe(false);
  });

  it("an entry that is not shipped has an alarm behind it, also where one has just rung and a shipment is near", async () => {
    const { agent, tenant } = await newTenant("allowed_actions: [read]");
    const session = await newSession(agent);
    const stub = stubOf(tenant, session);
    expect(await runDurableObjectAlarm(stub)).toBe(true);
    expect((await decideOne(agent, session, "pay", {})).verdict).toBe("deny");
    const left = await runInDurableObject(stub, async (_, { storage }) => ({
      entries: storage.sql.exec("SELECT COUNT(*) AS n FROM outbox").one().n,
      rings: await storage.getAlarm(),
    }));
    expect(left).toEqual({ entries: 1, rings: expect.any(Number) });
  });

  it("what the ledger has is not shipped again, and is erased with what is recorded next, or by the alarm", async () => {
    const { agent, tenant } = await newTenant("allowed_actions: [read]");
    const session = await newSession(agent);
    const stub = stubOf(tenant, session);
    const shipped: number[] = [];
    await runInDurableObject(stub, (object) => {
      const accept = (batch: EntryBatch) => {
        shipped.push(...batch.entries.map(({ seq }) => seq));
        return env.LEDGERS.getByName(tenant).accept(batch);
      };
      Reflect.set(object, "env", { ...env, LEDGERS: { getByName: () => ({ accept }) } });
    });
    const kept = () =>
      runInDurableObject(stub, (_, { storage }) =>
        storage.sql
          .exec("SELECT seq FROM outbox ORDER BY seq")
          .toArray()
          .map(({ seq }) => seq),
      );
    await ports.sessions.ship(tenant, session);
    await ports.sessions.ship(tenant, session);
    expect(await kept()).toEqual([1]);
    await decideOne(agent, session, "pay", {});
    expect(await kept()).toEqual([2]);
    await runDurableObjectAlarm(stub);
    expect(await kept()).toEqual([]);
    expect(shipped).toEqual([1, 2]);
  });

  it.each([50, 150])("an object that died after it had shipped %i entries ships the next to its ledger, also while D1 is away", async (count) => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { agent, tenant } = await newTenant("allowed_actions: [read]");
    const session = await newSession(agent);
    for (let n = 0; n < count / 50; n++)
      await decideMany(
        agent,
        session,
        Array.from({ length: 50 }, () => asked("read")),
        "independent",
      );
    await ports.sessions.ship(tenant, session);
    got(await ports.ledger.settle(tenant));
    await evictDurableObject(stubOf(tenant, session));
    const ledger = env.LEDGERS.getByName(tenant);
    await runInDurableObject(ledger, (object) => {
      const away = () => {
        throw new Error("D1 is away");
      };
      object.database = new Proxy(env.DB, { get: () => away });
    });
    const before = await ledger.listen(0);
    await decideOne(agent, session, "read", {});
    await ports.sessions.ship(tenant, session);
    expect(await ledger.listen(0)).toBe(before + 1);
  });

  it("asking for a session that was never opened is not_found and leaves nothing behind", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const unknown = "ses_00000000-0000-7000-8000-000000000000";
    expect(refusalOf(await ports.sessions.read(tenant, unknown, agent))).toBe("not_found");
    const tables = await runInDurableObject(stubOf(tenant, unknown), (_, state) =>
      state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_%' ESCAPE '\\'").toArray(),
    );
    expect(tables).toEqual([]);
  });

  it("the store refuses what the book would never write", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    await runInDurableObject(stubOf(tenant, session), (_, state) => {
      for (const nonsense of ["-1", "0.5", "NULL", "'x'"])
        expect(() => state.storage.sql.exec(`UPDATE session SET posted_micro_usd = ${nonsense}`)).toThrow();
    });
  });

  it("a session with the largest sums there are goes on denying, expiring and recording", async () => {
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    const { agent, tenant } = await newTenant("budgets: { run: 1 }\ndenied_actions: [rm]");
    const session = await newSession(agent);
    const held = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5") });
    await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5"), ttlMs: 1_000 });
    for (let n = 0; n < 3; n++) expect((await decideOne(agent, session, "rm", { estimateMicroUsd: usd("9007199254.740991") })).verdict).toBe("deny");
    expect(refusalOf(await commitOf(agent, session, held.id, "9007199254.740991"))).toBe("money_precision");
    got(await commitOf(agent, session, held.id, "9007199253"));
    vi.setSystemTime(Date.now() + 1_000);
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("session_budget_exceeded");
    expect(got(await ports.sessions.close(tenant, session, agent)).state).toBe("closed");
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(0);
  });

  it("an entry too large for the ledger is refused with its act, and its neighbours stand", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const large = decideOne(agent, session, "pay", { rationale: "x".repeat(700_000) });
    const small = decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1") });
    await expect(large).rejects.toThrow("small enough");
    expect((await small).verdict).toBe("allow");
    expect((await decideOne(agent, session, "pay")).entry.seq).toBe((await small).entry.seq + 1);
  });

  it("a session that could not be opened leaves nothing in the way of its next try", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const order = {
      id: ports.newId("ses"),
      run: ports.newId("run"),
      principal: agent,
      agent: "bot",
      budgetMicroUsd: null,
      ttlMs: 60_000,
      fingerprint: "f",
    };
    await expect(ports.sessions.open({ ...order, labels: { large: "x".repeat(700_000) } })).rejects.toThrow("small enough");
    expect(refusalOf(await ports.sessions.read(tenant, order.id, agent))).toBe("not_found");
    got(await ports.sessions.open({ ...order, labels: {} }));
    expect((await decideOne(agent, order.id, "pay")).entry.seq).toBe(2);
  });

  it("reading a session writes nothing", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const clock = () =>
      runInDurableObject(stubOf(tenant, session), (_, state) => state.storage.sql.exec<{ clock: number }>("SELECT clock FROM session").one().clock);
    const before = await clock();
    vi.useFakeTimers({ now: Date.now() + 5_000, toFake: ["Date"] });
    await readOf(agent, session);
    expect(await clock()).toBe(before);
  });

  it("a crash of every object loses nothing that was answered", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const decisions = await Promise.all(Array.from({ length: 8 }, () => decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.2") })));
    await abortAllDurableObjects();
    for (const decision of decisions) {
      const { state } = got(await ports.sessions.readDecision(agent.tenant, session, agent, decision.id, 0));
      expect(state).toBe(decision.verdict === "allow" ? "pending" : "denied");
    }
    expect((await readOf(agent, session)).total.pendingMicroUsd).toBe(1_000_000);
  });
});

describe("windows and clocks", () => {
  it("of 400 callers at a rate limit of 100 exactly 100 are allowed, and after the window as many again", async () => {
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    const { agent } = await newTenant('rate_limits: { "mail.*": { max_count: 100, window_seconds: 10 } }');
    const session = await newSession(agent);
    const storm = async () =>
      (await Promise.all(Array.from({ length: 400 }, (_, n) => decideOne(agent, session, `mail.${n % 3}`)))).filter(
        ({ verdict }) => verdict === "allow",
      ).length;
    expect(await storm()).toBe(100);
    vi.setSystemTime(Date.now() + 9_999);
    expect(await storm()).toBe(0);
    vi.setSystemTime(Date.now() + 1);
    expect(await storm()).toBe(100);
  });

  it("calls of one turn are each counted, also by an object that woke up since", async () => {
    const { tenant, agent } = await newTenant("rate_limits: { mail: { max_count: 10, window_seconds: 60 } }");
    const session = await newSession(agent);
    const ask = async (count: number) =>
      (
        await decideMany(
          agent,
          session,
          Array.from({ length: count }, () => asked("mail")),
          "independent",
        )
      ).map(({ verdict }) => verdict);
    expect(await ask(6)).toEqual(Array(6).fill("allow"));
    await evictDurableObject(stubOf(tenant, session));
    expect(await ask(6)).toEqual([...Array(4).fill("allow"), ...Array(2).fill("deny")]);
  });

  it("a clock that jumps back does not open a window again", async () => {
    const start = Date.now();
    vi.useFakeTimers({ now: start, toFake: ["Date"] });
    const { agent } = await newTenant("rate_limits: { mail: { max_count: 1, window_seconds: 10 } }");
    const session = await newSession(agent);
    const allowed = async () => (await decideOne(agent, session, "mail")).verdict;
    expect(await allowed()).toBe("allow");
    vi.setSystemTime(start - 5_000);
    expect(await allowed()).toBe("deny");
    vi.setSystemTime(start + 9_999);
    expect(await allowed()).toBe("deny");
    vi.setSystemTime(start + 10_000);
    expect(await allowed()).toBe("allow");
  });

  it("no more reservations are pending at once than the policy says", async () => {
    const { agent, tenant } = await newTenant('concurrency: { "browser.*": 2 }');
    const session = await newSession(agent);
    const [first] = [await decideOne(agent, session, "browser.open"), await decideOne(agent, session, "browser.click")];
    expect((await decideOne(agent, session, "browser.open")).reason.code).toBe("concurrency_exceeded");
    got(await ports.sessions.release(tenant, session, agent, first.id, null));
    expect((await decideOne(agent, session, "browser.open")).verdict).toBe("allow");
  });
});

describe("leases and policies", () => {
  it("without a policy everything is denied, and a policy is in force at the next decision", async () => {
    const { agent, put, operator, tenant } = await newTenant(null);
    const session = await newSession(agent);
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("policy_missing");
    await put("denied_actions: [pay]");
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("action_denied");
    await put("allowed_actions: [pay]");
    expect(await decideOne(agent, session, "pay")).toMatchObject({ verdict: "allow", policy: { name: "main", version: 2 } });
    got(await ports.tenants.activatePolicy(tenant, operator, "main", 1));
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("action_denied");
    got(await ports.tenants.deletePolicy(tenant, operator, "main"));
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("policy_missing");
  });

  it("a decision is one hop to its session from an agent's second session on, and two where the policy has moved meanwhile", async () => {
    const { agent, tenant, put } = await newTenant("denied_actions: [pay]");
    let hops = 0;
    const counted: Ports["sessions"]["decide"] = (...call) => {
      hops++;
      return ports.sessions.decide(...call);
    };
    const counting: Ports = { ...ports, sessions: { ...ports.sessions, decide: counted } };
    const hopsOf = async (principal: Principal, session: SessionId): Promise<[code: string, hops: number]> => {
      hops = 0;
      const asking = { principal, session, asked: [asked("pay")], batch: false, semantics: "independent", key: null, now: Date.now() } as const;
      const [only] = got(await decide(counting, asking));
      return [only?.answer.reason.code ?? "nothing", hops];
    };
    expect(await hopsOf(agent, await newSession(agent))).toEqual(["action_denied", 2]);
    const second = await newSession(agent);
    expect(await hopsOf(agent, second)).toEqual(["action_denied", 1]);
    await put("allowed_actions: [pay]");
    expect(await hopsOf(agent, second)).toEqual(["permitted", 2]);
    expect(await hopsOf(agent, await newSession(agent))).toEqual(["permitted", 1]);
    // Of what another agent's sessions follow nothing is known, and a service's token is no agent's.
    const other: Principal = { ...agent, tenant, subject: "other" };
    expect(await hopsOf(other, await newSession(other))).toEqual(["permitted", 2]);
    expect(await hopsOf({ ...agent, kind: "service" }, await newSession(agent))).toEqual(["permitted", 2]);
  });

  it("a lapsed lease that cannot be renewed denies, and the denial is on record", async () => {
    const { agent, tenant } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    await decideOne(agent, session, "pay");
    // The tenant is lost: its tables are gone, and so it refuses to renew.
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, state) => {
      state.storage.sql.exec("DROP TABLE schema_version");
    });
    vi.useFakeTimers({ now: Date.now() + 31_000, toFake: ["Date"] });
    const denied = await decideOne(agent, session, "pay");
    expect(denied).toMatchObject({ verdict: "deny", stops: "action", reason: { code: "authority_stale" } });
    expect(denied.entry.seq).toBeGreaterThan(0);
  });

  it("a lapsed lease that cannot be renewed repeats a no, and no yes: whether that was killed since, nobody knows", async () => {
    const { agent, tenant } = await newTenant("denied_actions: [wipe]");
    const session = await newSession(agent);
    const [yes, no] = [asked("pay", { id: newDecisionId() }), asked("wipe", { id: newDecisionId() })];
    const ask = (...all: readonly AskedAction[]) =>
      decide(ports, { principal: agent, session, asked: all, batch: true, semantics: "independent", key: null, now: Date.now() });
    const verdicts = [{ answer: { verdict: "allow" } }, { answer: { verdict: "deny" } }];
    expect(got(await ask(yes, no))).toMatchObject(verdicts);
    // The tenant is in trouble for a while: it does not find its sessions.
    const trouble = (sql: string) => runInDurableObject(env.TENANTS.getByName(tenant), (_, state) => void state.storage.sql.exec(sql));
    await trouble("ALTER TABLE sessions RENAME TO away");
    vi.useFakeTimers({ now: Date.now() + 31_000, toFake: ["Date"] });
    expect(refusalOf(await ask(yes, no))).toBe("authority_unavailable");
    expect(refusalOf(await ask(yes))).toBe("authority_unavailable");
    expect(got(await ask(no))).toMatchObject([{ answer: { verdict: "deny" }, replayed: true }]);
    await trouble("ALTER TABLE away RENAME TO sessions");
    expect(got(await ask(yes, no))).toMatchObject(verdicts);
  });

  it("a lapsed lease denies on record also where this isolate has never seen the policy, and nobody can be asked for it", async () => {
    const { agent, tenant } = await newTenant("denied_actions: [only-in-this-test]");
    const session = await newSession(agent);
    await runInDurableObject(env.TENANTS.getByName(tenant), (_, state) => {
      state.storage.sql.exec("DROP TABLE schema_version");
    });
    vi.useFakeTimers({ now: Date.now() + 31_000, toFake: ["Date"] });
    expect(await decideOne(agent, session, "pay")).toMatchObject({ verdict: "deny", reason: { code: "authority_stale" } });
  });

  it("what an action spent before a policy gave it a budget counts against it", async () => {
    const { agent, put } = await newTenant("budgets: { session: 10 }");
    const session = await newSession(agent);
    await decideOne(agent, session, "db.read", { estimateMicroUsd: usd("0.3") });
    await put('budgets: { actions: { "db.*": 0.5 } }');
    expect((await decideOne(agent, session, "db.write", { estimateMicroUsd: usd("0.3") })).reason.code).toBe("action_budget_exceeded");
    expect((await decideOne(agent, session, "db.write", { estimateMicroUsd: usd("0.2") })).verdict).toBe("allow");
  });

  it("a revoked token is refused at once", async () => {
    const { agent, tenant, operator } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const { tokenId } = agent;
    got(
      await ports.tenants.recordToken(
        tenant,
        operator,
        { id: tokenId, subject: "bot", kind: "agent", scopes: [], issuedAt: 0, expiresAt: Date.now() + 60_000 },
        "f",
      ),
    );
    await decideOne(agent, session, "pay");
    got(await ports.tenants.revokeToken(tenant, operator, tokenId));
    expect(
      refusalOf(
        await decide(ports, { principal: agent, session, asked: [asked("pay")], batch: false, semantics: "independent", key: null, now: Date.now() }),
      ),
    ).toBe("token_revoked");
  });
});

describe("approvals", () => {
  it("of one decision id held in two sessions are two", async () => {
    const { agent } = await newTenant("approvals: { actions: [wire] }");
    const id = newDecisionId();
    const held = await Promise.all([await newSession(agent), await newSession(agent)].map((session) => decideOne(agent, session, "wire", { id })));
    expect(new Set(held.map(({ approval }) => approval?.id)).size).toBe(2);
    expect(held[0]).toMatchObject({ verdict: "hold", stops: null, reservation: null, reason: { code: "approval_required" } });
  });

  it("that are open, expired or unknown let nothing through", async () => {
    vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
    const { agent, tenant } = await newTenant("approvals: { actions: [wire], timeout_seconds: 60 }");
    const session = await newSession(agent);
    const { id, approval } = await decideOne(agent, session, "wire");
    const withIt = async (named: typeof approval) => (await decideOne(agent, session, "wire", { approval: named?.id ?? null })).reason.code;
    expect(await withIt(approval)).toBe("approval_required");
    expect(await withIt({ id: "apr_00000000-0000-7000-8000-000000000000", expiresAt: 0 })).toBe("approval_mismatch");
    vi.setSystemTime(Date.now() + 60_000);
    expect(await withIt(approval)).toBe("approval_expired");
    expect(got(await ports.sessions.readDecision(tenant, session, agent, id, 0)).state).toBe("expired");
  });
});

describe("belonging", () => {
  it("another agent's token is refused, another tenant's finds nothing", async () => {
    const { agent } = await newTenant("budgets: { session: 1.0 }");
    const session = await newSession(agent);
    const stranger = (await newTenant("budgets: { session: 1.0 }")).agent;
    const ask = (principal: typeof agent) =>
      decide(ports, { principal, session, asked: [asked("pay")], batch: false, semantics: "independent", key: null, now: Date.now() });
    expect(refusalOf(await ask({ ...agent, subject: "other" }))).toBe("not_your_session");
    expect(refusalOf(await ask(stranger))).toBe("not_found");
    expect(got(await ask({ ...agent, subject: "enforcer", kind: "service" }))).toHaveLength(1);
  });

  it("runs open, become current, and close", async () => {
    const { agent, tenant } = await newTenant("budgets: { run: 0.5 }");
    const session = await newSession(agent);
    const { id, run: first } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.5") });
    // What is only set aside may come back; what is spent is gone.
    expect(await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1") })).toMatchObject({ verdict: "deny", stops: "action" });
    got(await commitOf(agent, session, id, "0.5"));
    expect(await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1") })).toMatchObject({
      stops: "run",
      reason: { code: "run_budget_exceeded" },
    });
    const run = ports.newId("run");
    got(await ports.sessions.openRun(tenant, session, agent, run));
    expect(await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1") })).toMatchObject({ verdict: "allow", run });
    got(await ports.sessions.closeRun(tenant, session, agent, run));
    expect((await decideOne(agent, session, "pay")).reason.code).toBe("run_closed");
    expect((await decideOne(agent, session, "pay", { run: first })).verdict).toBe("allow");
    got(await ports.sessions.close(tenant, session, agent));
    expect(await decideOne(agent, session, "pay", { run: first })).toMatchObject({
      verdict: "deny",
      stops: "session",
      reason: { code: "session_closed" },
    });
  });
});
