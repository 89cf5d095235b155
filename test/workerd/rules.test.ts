import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { sessionObjectName } from "../../src/authority/env.ts";
import type { Decision } from "../../src/core/decision.ts";
import type { DecisionId, SessionId } from "../../src/core/ids.ts";
import type { JsonValue } from "../../src/core/json.ts";
import type { ActionRequest, CommitReport, Principal } from "../../src/core/request.ts";
import { decide } from "../../src/flow/decide.ts";
import type { Ports } from "../../src/flow/ports.ts";
import { topup } from "../../src/flow/topup.ts";
import { asked, decideMany, decideOne, got, newSession, newTenant, ports, readOf, refusalOf, report, usd } from "./world.ts";

beforeEach(() => {
  vi.useFakeTimers({ now: Date.now(), toFake: ["Date"] });
});

afterEach(() => {
  vi.useRealTimers();
});

const stubOf = (tenant: string, session: string) => env.SESSIONS.getByName(sessionObjectName(tenant, session));

/** A live session, whose objects can be evicted at any moment. */
async function live(policy: string | null, budget: string | null = null) {
  const { tenant, agent, operator, put } = await newTenant(policy);
  const session = await newSession(agent, budget);
  const line = ({ verdict, reason, warnings }: Decision): string =>
    [verdict === "allow" ? verdict : `${verdict} ${reason.code}`, ...warnings.map(({ code }) => `~ ${code}`)].join(" ");
  return {
    tenant,
    agent,
    operator,
    put,
    session,
    evict: abortAllDurableObjects,
    ask: async (action: string, inputs?: JsonValue, more: Partial<ActionRequest> = {}): Promise<string> =>
      line(await decideOne(agent, session, action, { inputs, ...more })),
    batch: async (...all: (readonly [action: string, inputs?: JsonValue])[]): Promise<string[]> =>
      (
        await decideMany(
          agent,
          session,
          all.map(([action, inputs]) => asked(action, { inputs })),
          "independent",
        )
      ).map(line),
    /** Asks, and reports what came of it. */
    act: async (action: string, inputs: JsonValue | undefined, more: Partial<CommitReport> & { readonly cost?: string }) => {
      const { id, verdict } = await decideOne(agent, session, action, { inputs });
      expect(verdict).toBe("allow");
      await settle(agent, session, id, more);
    },
    wait: (ms: number) => vi.setSystemTime(Date.now() + ms),
    /** What the object keeps for rules that look back. */
    kept: () =>
      runInDurableObject(stubOf(tenant, session), (_, state) =>
        state.storage.sql
          .exec<{ kept: string }>("SELECT kept FROM decisions WHERE kept IS NOT NULL ORDER BY at")
          .toArray()
          .map(({ kept }) => JSON.parse(kept) as JsonValue),
      ),
  };
}

async function settle(agent: Principal, session: SessionId, id: DecisionId, { cost, ...more }: Partial<CommitReport> & { readonly cost?: string }) {
  const told = report(cost ?? "0", more);
  got(await ports.sessions.commit(agent.tenant, session, agent, id, told, ports.sha256(JSON.stringify(told))));
}

const CABIN = `requires:
  cancel:
    after: [details]
    within_seconds: 600
    same: ["inputs.reservation_id"]
    where: "prior.outputs.cabin == 'business' || prior.outputs.insurance == 'yes'"`;

describe("what rules look back at survives the eviction of every object", () => {
  it("what an earlier lookup returned", async () => {
    const { ask, act, evict, wait } = await live(`${CABIN}\nredact: { store_inputs: none }`);
    await act("details", { reservation_id: "A" }, { outputs: { cabin: "business" } });
    await act("details", { reservation_id: "B" }, { outputs: { cabin: "economy", insurance: "no" } });
    await evict();
    expect(await ask("cancel", { reservation_id: "A" })).toBe("allow");
    expect(await ask("cancel", { reservation_id: "B" })).toBe("deny prerequisite_missing");
    expect(await ask("cancel", { reservation_id: "C" })).toBe("deny prerequisite_missing");
    expect(await ask("details", { reservation_id: "B" })).toBe("allow");
    expect(await ask("cancel", { reservation_id: "B" }), "the newest has not returned yet").toBe("deny prerequisite_missing");
    wait(600_000);
    expect(await ask("cancel", { reservation_id: "A" }), "ten minutes ago is recent enough").toBe("allow");
    wait(1);
    await evict();
    expect(await ask("cancel", { reservation_id: "A" })).toBe("deny prerequisite_missing");
  });

  it("outputs that are reported after an eviction", async () => {
    const { agent, session, ask, evict } = await live(CABIN);
    const { id } = await decideOne(agent, session, "details", { inputs: { reservation_id: "A" } });
    expect(await ask("cancel", { reservation_id: "A" })).toBe("deny prerequisite_missing");
    await evict();
    await settle(agent, session, id, { outputs: { insurance: "yes", other: 1 } });
    expect(await ask("cancel", { reservation_id: "A" })).toBe("allow");
    await evict();
    expect(await ask("cancel", { reservation_id: "A" })).toBe("allow");
  });

  it("whether it runs, succeeded, failed, was released or expired", async () => {
    const { agent, tenant, session, ask, evict, wait } = await live("requires: { x: { after: [a] } }");
    const outcomes: [string, (id: DecisionId) => Promise<unknown>][] = [
      ["allow", async () => undefined],
      ["deny prerequisite_missing", (id) => settle(agent, session, id, { outcome: "error" })],
      ["deny prerequisite_missing", (id) => ports.sessions.release(tenant, session, agent, id, null)],
      ["allow", (id) => settle(agent, session, id, {})],
    ];
    for (const [wanted, become] of outcomes) {
      const { id } = await decideOne(agent, session, "a", { ttlMs: 1_000 });
      await become(id);
      await evict();
      expect(await ask("x")).toBe(wanted);
      // Only the successful one, the last, outlives this.
      wait(1_000);
      await evict();
      expect(await ask("x")).toBe(wanted === "allow" && outcomes.at(-1)?.[1] === become ? "allow" : "deny prerequisite_missing");
    }
  });

  it("loops, retries and counts, to the millisecond", async () => {
    const { ask, act, evict, wait } = await live(`
loops: { threshold: 2, window_seconds: 10, ignore: [inputs.cursor] }
retries: { threshold: 2, window_seconds: 10 }
history: [{ forbid: post, when: "count('read_*', 10) >= 2" }, { forbid: mail, when: "distinct('read_*', 'inputs.who', 10) >= 2 || sum('pay', 10) > 0.5" }]`);
    expect(await ask("read_a", { who: 1, cursor: 1 })).toBe("allow");
    await evict();
    expect(await ask("read_a", { who: 1, cursor: 2 })).toBe("deny loop_detected");
    expect([await ask("post"), await ask("mail")]).toEqual(["allow", "allow"]);
    await act("read_b", { who: 2 }, { outcome: "error" });
    await act("read_b", { who: 3 }, { outcome: "error" });
    await evict();
    expect([await ask("post", 1), await ask("mail", 1)]).toEqual(["deny history_forbids", "deny history_forbids"]);
    expect(await ask("read_b", { who: 4 })).toBe("deny retries_exceeded");
    wait(9_999);
    await evict();
    expect(await ask("read_a", { who: 1, cursor: 2 })).toBe("deny loop_detected");
    expect(await ask("read_b", { who: 4 })).toBe("deny retries_exceeded");
    expect(await ask("post", 2)).toBe("deny history_forbids");
    wait(1);
    await evict();
    expect(await ask("read_a", { who: 1, cursor: 2 })).toBe("allow");
    expect(await ask("read_b", { who: 4 })).toBe("allow");
    expect(await ask("post", 3)).toBe("deny history_forbids");
    wait(10_000);
    expect(await ask("post", 4)).toBe("allow");
    await act("pay", {}, { cost: "0.6" });
    await evict();
    expect(await ask("mail", 5)).toBe("deny history_forbids");
  });

  it("failures of one action are not those of another, nor is a success one", async () => {
    const { ask, act, evict } = await live("retries: { threshold: 1, window_seconds: 10 }");
    await act("a", 1, {});
    await act("ab", 1, { outcome: "error" });
    await evict();
    expect([await ask("a", 2), await ask("ab", 2), await ask("b", 2)]).toEqual(["allow", "deny retries_exceeded", "allow"]);
  });

  it("a glob is one in the store too, and has no other signs", async () => {
    const { ask, evict } = await live("history: [{ forbid: x, when: \"count('a.*:b', 60) > 0 || count('q/*-z', 60) > 0\" }]");
    for (const action of ["aX1:b", "a.1:bb", "q/-Z"]) await ask(action);
    await evict();
    expect(await ask("x")).toBe("allow");
    await ask("a.1:b");
    await evict();
    expect(await ask("x")).toBe("deny history_forbids");
  });

  it("the reserve for winding down", async () => {
    const { agent, session, ask, evict } = await live(
      "{ budgets: { session: 1, actions: { '*': 1 } }, wind_down: { actions: [save], budget: 0.05 } }",
    );
    expect(await ask("x", 1, { estimateMicroUsd: usd("1") })).toBe("allow");
    const { id } = await decideOne(agent, session, "save", { estimateMicroUsd: usd("0.03") });
    await evict();
    expect(await ask("save", 1, { estimateMicroUsd: usd("0.03") })).toBe("deny action_budget_exceeded");
    expect(got(await topup(ports, agent, session, id, usd("0.051"), Date.now())).decision).toMatchObject({
      verdict: "deny",
      reason: { rule: "/wind_down/budget" },
    });
    expect(got(await topup(ports, agent, session, id, usd("0.04"), Date.now())).decision).toMatchObject({ verdict: "allow" });
    await evict();
    await settle(agent, session, id, { cost: "0.045" });
    await evict();
    expect(await ask("save", 1, { estimateMicroUsd: usd("0.005001") })).toBe("deny action_budget_exceeded");
    expect(await ask("save", 1, { estimateMicroUsd: usd("0.005") })).toBe("allow");
    expect((await readOf(agent, session)).total, "the session's own account knows nothing of it").toMatchObject({
      postedMicroUsd: 0,
      pendingMicroUsd: 1_000_000,
      overrunMicroUsd: 0,
    });
  });

  it("which alerts were told", async () => {
    const { agent, session, evict } = await live("budgets: { session: 1, alerts: [0.5, 0.8] }");
    const told = async (amount: string) => {
      const { advice } = await decideOne(agent, session, "x", { estimateMicroUsd: usd(amount) });
      return advice.map(({ details }) => details.threshold);
    };
    expect(await told("0.5")).toEqual([0.5]);
    await evict();
    expect(await told("0.1")).toEqual([]);
    expect(await told("0.2")).toEqual([0.8]);
    await evict();
    expect(await told("0.01")).toEqual([]);
  });

  it("what a larger sum is judged by", async () => {
    const { agent, session, evict } = await live("rules: [{ id: cap, effect: forbid, actions: [pay], when: 'estimate_usd > inputs.limits.most' }]");
    const { id } = await decideOne(agent, session, "pay", { estimateMicroUsd: usd("0.1"), inputs: { limits: { most: 1 }, secret: "s" } });
    const stored = await runInDurableObject(stubOf(agent.tenant, session), (_, state) =>
      state.storage.sql.exec<{ matter: string }>("SELECT matter FROM decisions").one(),
    );
    expect(JSON.parse(stored.matter).asked).toEqual({ resource: null, inputs: { limits: { most: 1 } }, paths: [["limits", "most"]] });
    await evict();
    expect(got(await topup(ports, agent, session, id, usd("1.1"), Date.now())).decision).toMatchObject({
      verdict: "deny",
      reason: { code: "rule_forbids", rule: "cap" },
    });
    expect(got(await topup(ports, agent, session, id, usd("1"), Date.now())).decision).toMatchObject({ verdict: "allow" });
    // Once it is settled nothing of the inputs is needed any more, and nothing is left.
    got(await ports.sessions.commit(agent.tenant, session, agent, id, report("0.1"), "f"));
    const left = await runInDurableObject(stubOf(agent.tenant, session), (_, state) =>
      state.storage.sql.exec<{ matter: string }>("SELECT matter FROM decisions").one(),
    );
    expect(JSON.parse(left.matter)).not.toHaveProperty("asked");
  });
});

describe("a policy that comes into force while a session lives", () => {
  it("sees the calls that were made before it, at the very next decision", async () => {
    const { ask, put, evict } = await live("strict_mode: true");
    for (const n of [1, 2]) expect(await ask("read", { n })).toBe("allow");
    expect(await ask("post")).toBe("allow");
    await put("history: [{ forbid: post, when: \"count('read', 3600) >= 2\" }]");
    expect(await ask("post")).toBe("deny history_forbids");
    await evict();
    expect(await ask("post")).toBe("deny history_forbids");
    await put("history: [{ forbid: post, when: \"sum('read', 'inputs.n', 3600) > 100.0\" }]");
    expect(await ask("post"), "what was not kept cannot be summed").toBe("deny history_forbids");
  });

  it("finds nothing alike among calls of which nothing was kept", async () => {
    const { ask, put, evict } = await live("strict_mode: true");
    expect(await ask("details", { reservation_id: "A" })).toBe("allow");
    await put("requires: { cancel: { after: [details], same: [inputs.reservation_id] }, close: { after: [details] } }");
    expect([await ask("cancel", { reservation_id: "A" }), await ask("close")]).toEqual(["deny prerequisite_missing", "allow"]);
    await evict();
    expect([await ask("cancel", { reservation_id: "A" }), await ask("close")]).toEqual(["deny prerequisite_missing", "allow"]);
  });
});

describe("what is kept for rules", () => {
  const POLICY = "history: [{ forbid: x, when: \"sum('read', 'inputs.n', 60) > 5.0\" }]";

  it("is its path alone, whatever redaction says, and is erased within a second of leaving the window", async () => {
    const { act, ask, kept, wait } = await live(`${POLICY}\nredact: { store_inputs: none }`);
    await act("read", { n: 3, secret: "s" }, { outputs: { secret: "s" } });
    await ask("other", { n: 3 });
    expect(await kept()).toEqual([{ paths: [["inputs", "n"]], inputs: { n: 3 }, loopKeys: [] }]);
    wait(59_999);
    expect(await ask("other")).toBe("allow");
    expect(await kept()).toHaveLength(1);
    wait(1_000);
    await ask("other");
    expect(await kept()).toEqual([]);
  });

  it("is erased by the alarm within eleven seconds, if nobody asks anything any more", async () => {
    const { tenant, session, ask, kept } = await live(POLICY);
    const asked = Date.now();
    await ask("read", { n: 3 });
    const stub = stubOf(tenant, session);
    let wakings = 0;
    for (; (await kept()).length > 0 && wakings < 10; wakings++) {
      vi.setSystemTime((await runInDurableObject(stub, (_, state) => state.storage.getAlarm())) ?? Number.NaN);
      await runDurableObjectAlarm(stub);
    }
    expect(Date.now() - asked).toBeGreaterThan(60_000);
    expect(Date.now() - asked).toBeLessThanOrEqual(71_000);
    // For its entries, when its lease ends, and for this.
    expect(wakings).toBeLessThanOrEqual(3);
    expect(await kept()).toEqual([]);
  });

  it("is erased when the session is closed", async () => {
    const { tenant, agent, session, ask, kept } = await live(CABIN.replace("    within_seconds: 600\n", ""));
    await ask("details", { reservation_id: "A" });
    expect(await kept()).toHaveLength(1);
    got(await ports.sessions.close(tenant, session, agent));
    expect(await kept()).toEqual([]);
  });

  it("leaves nothing of what is redacted in the entries that go to the ledger, nor in the answers", async () => {
    const { agent, session, tenant } = await live(`${CABIN}\nredact: { keys: [pin], detect: [email] }`);
    const { id } = await decideOne(agent, session, "details", {
      inputs: { reservation_id: "A", pin: "hunter2-raw", mail: "ann@example.com" },
      rationale: "ann@example.com asked",
      resource: { type: "mailbox", id: "ann@example.com" },
    });
    await settle(agent, session, id, {
      outputs: { cabin: "business", pin: "hunter2-raw" },
      error: "ann@example.com",
      usage: { note: "ann@example.com" },
    });
    const all = await runInDurableObject(stubOf(tenant, session), (_, state) => {
      const tables = state.storage.sql
        .exec<{ name: string }>(
          "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'",
        )
        .toArray();
      return tables.map(({ name }) => JSON.stringify(state.storage.sql.exec(`SELECT * FROM "${name}"`).toArray())).join("\n");
    });
    expect(all).toContain("[redacted:email]");
    expect(all).toContain("reservation_id");
    expect(all).not.toContain("hunter2-raw");
    expect(all).not.toContain("ann@example.com");
  });
});

describe("decisions of one batch, and of one turn", () => {
  it("a lookup and what needs it may come together, in their order", async () => {
    const { batch } = await live("requires: { x: { after: [a], same: [inputs.id] } }\nloops: { threshold: 2, window_seconds: 60 }");
    expect(await batch(["x", { id: 1 }], ["a", { id: 1 }], ["x", { id: 1 }], ["x", { id: 2 }], ["a", { id: 1 }])).toEqual([
      "deny prerequisite_missing",
      "allow",
      "allow",
      "deny prerequisite_missing",
      "deny loop_detected",
    ]);
  });

  it("of many at once that may be allowed so often, exactly so many are", async () => {
    const { ask } = await live("history: [{ forbid: x, when: \"count('x', 60) >= 3\" }]\nloops: { threshold: 4, window_seconds: 60 }");
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => ask(n % 2 === 0 ? "x" : "y", { same: 1 })));
    expect(answers.filter((_, n) => n % 2 === 0).sort()).toEqual([...Array(3).fill("allow"), ...Array(17).fill("deny history_forbids")]);
    expect(answers.filter((_, n) => n % 2 === 1).sort()).toEqual([...Array(3).fill("allow"), ...Array(17).fill("deny loop_detected")]);
  });

  it("a batch that is refused whole in the same turn as others leaves nothing behind, and sees what they did", async () => {
    const { agent, session, ask } = await live("requires: { x: { after: [a] }, y: { after: [never] } }");
    const whole = (...actions: string[]) =>
      decideMany(
        agent,
        session,
        actions.map((action) => asked(action)),
        "all_or_nothing",
      ).then((all) => all.map(({ reason }) => reason.code));
    const [first, second, third, fourth] = await Promise.all([whole("a", "y"), ask("x"), ask("a"), whole("x", "x")]);
    expect(first).toEqual(["batch_refused", "prerequisite_missing"]);
    expect(second).toBe("deny prerequisite_missing");
    expect(third).toBe("allow");
    expect(fourth).toEqual(["permitted", "permitted"]);
  });
});

describe("stored attributes", () => {
  it("of the agent and of a resource are what rules see, and a change is in force at the next decision", async () => {
    const { tenant, operator, ask, evict } = await live(`rules:
  - { id: own, effect: permit, actions: [order], when: "resource.owner == subject.id" }
  - { id: level, effect: forbid, actions: [deploy], when: "subject.level < 3" }`);
    const put = async (type: string, id: string, properties: { readonly [name: string]: JsonValue }) =>
      got(await ports.tenants.putEntity(tenant, operator, { type, id, properties }));
    const order = () => ask("order", undefined, { resource: { type: "order", id: "o1" } });
    expect([await order(), await ask("deploy")], "nothing is stored, and both fail to the safe side").toEqual([
      "deny action_not_allowed",
      "deny rule_forbids",
    ]);
    await put("order", "o1", { owner: "bot" });
    expect(await order()).toBe("allow");
    await put("agent", "bot", { level: 2 });
    expect(await ask("deploy")).toBe("deny rule_forbids");
    await put("agent", "bot", { level: 3 });
    expect(await ask("deploy")).toBe("allow");
    await put("agent", "bot", { level: 3, id: "ann" });
    expect(await order(), "what is stored never says who it is").toBe("allow");
    await evict();
    expect([await order(), await ask("deploy")]).toEqual(["allow", "allow"]);
    await put("order", "o1", { owner: "ann" });
    expect(await order()).toBe("deny action_not_allowed");
    got(await ports.tenants.deleteEntity(tenant, operator, { type: "agent", id: "bot" }));
    expect(await ask("deploy")).toBe("deny rule_forbids");
  });

  it("are those of a session's own agent, as they stand, also in what its first decision is guessed from", async () => {
    const { tenant, agent, operator } = await newTenant(`rules:
  - { id: level, effect: forbid, actions: [deploy], when: "subject.level < 3" }`);
    const put = async (id: string, level: number) =>
      got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id, properties: { level } }));
    const first = async (by: Principal) => (await decideOne(by, await newSession(by), "deploy")).reason.code;
    // Agents that are told apart by one odd character, or that look like a session or like another tenant's agent.
    const agents = ["bot", "bot/", "Bot", `${tenant}/bot`, "bot\u0301", "é", "e\u0301", "ses_0/bot"].map(
      (subject): Principal => ({ ...agent, subject }),
    );
    const codes = async () => {
      const found: string[] = [];
      for (const by of agents) found.push(await first(by));
      return found;
    };
    for (const [place, { subject }] of agents.entries()) await put(subject, place % 2 === 0 ? 5 : 1);
    const wanted = agents.map((_, place) => (place % 2 === 0 ? "permitted" : "rule_forbids"));
    expect(await codes()).toEqual(wanted);
    expect(await codes(), "guessed by now").toEqual(wanted);
    for (const [place, { subject }] of agents.entries()) await put(subject, place % 2 === 0 ? 1 : 5);
    expect(await codes(), "changed since").toEqual(agents.map((_, place) => (place % 2 === 0 ? "rule_forbids" : "permitted")));
    // Of an equal name in another tenant nothing is known here.
    const elsewhere = await newTenant("strict_mode: false");
    expect(await first(elsewhere.agent)).toBe("permitted");
    expect(await first(agent)).toBe("rule_forbids");
  });

  it("of one agent let nobody into the session of another", async () => {
    const { tenant, agent, operator } = await newTenant(`rules:
  - { id: level, effect: forbid, actions: [deploy], when: "subject.level < 3" }`);
    const weak: Principal = { ...agent, subject: "weak" };
    for (const { subject, level } of [
      { subject: "bot", level: 5 },
      { subject: "weak", level: 1 },
    ])
      got(await ports.tenants.putEntity(tenant, operator, { type: "agent", id: subject, properties: { level } }));
    for (const by of [agent, weak]) await decideOne(by, await newSession(by), "deploy");
    const theirs = await newSession(weak);
    const ask = (by: Principal) =>
      decide(ports, { principal: by, session: theirs, asked: [asked("deploy")], batch: false, semantics: "independent", key: null, now: Date.now() });
    // First whoever knows of a policy that would let it, in a session of which nothing was seen; then another's token that acts for all.
    expect(refusalOf(await ask(agent))).toBe("not_your_session");
    expect(got(await ask({ ...agent, kind: "service" })).map(({ answer }) => answer.reason.code)).toEqual(["rule_forbids"]);
    expect(got(await ask(weak)).map(({ answer }) => answer.reason.code)).toEqual(["rule_forbids"]);
  });

  it("that somebody changes without end do not keep decisions waiting", async () => {
    const { agent, tenant, operator, session } = await live(
      "rules: [{ id: off, effect: forbid, actions: [x], when: 'has(subject.off) && subject.off' }]",
    );
    await decideOne(agent, session, "x");
    // Between the answer that attributes have moved and the next try, they move once more, every time.
    const moving: Ports = {
      ...ports,
      policies: {
        ...ports.policies,
        evaluateUnder: async (...asked) => {
          const evaluated = await ports.policies.evaluateUnder(...asked);
          got(await ports.tenants.putEntity(tenant, operator, { type: "customer", id: "c", properties: { n: Math.random() } }));
          return evaluated;
        },
      },
    };
    got(await ports.tenants.putEntity(tenant, operator, { type: "customer", id: "c", properties: {} }));
    const asking = { principal: agent, session, asked: [asked("x")], batch: false, semantics: "independent", key: null, now: Date.now() } as const;
    expect(got(await decide(moving, asking)).map(({ answer }) => answer.verdict)).toEqual(["allow"]);
  });
});

describe("what windows no longer look at", () => {
  it("does not pile up in a session that is slow and wakes up often", async () => {
    const { tenant, session, ask, evict, wait } = await live("rate_limits: { x: { max_count: 5, window_seconds: 1 } }");
    // So many are kept before it is worth the while to forget them.
    for (let n = 0; n < 68; n++) {
      expect(await ask("x")).toBe("allow");
      await evict();
      wait(5_000);
    }
    const rows = await runInDurableObject(stubOf(tenant, session), (_, state) => state.storage.sql.exec("SELECT * FROM hits").toArray().length);
    expect(rows).toBeLessThan(4);
  });

  it("is counted again by a longer one, and neither more nor less where the session slept meanwhile", async () => {
    const { put, ask, evict, wait } = await live("rate_limits: { x: { max_count: 3, window_seconds: 1 } }");
    for (let n = 0; n < 3; n++) expect(await ask("x")).toBe("allow");
    wait(2_000);
    await evict();
    expect(await ask("x")).toBe("allow");
    await evict();
    await put("rate_limits: { x: { max_count: 5, window_seconds: 10 } }");
    expect(await ask("x")).toBe("allow");
    expect(await ask("x")).toBe("deny rate_exceeded");
  });

  it("goes with the run that it was counted in", async () => {
    const { tenant, agent, session, ask } = await live("rate_limits: { x: { max_count: 5, window_seconds: 3600, per: run } }");
    expect(await ask("x")).toBe("allow");
    const { run } = await readOf(agent, session);
    got(await ports.sessions.closeRun(tenant, session, agent, run));
    const rows = await runInDurableObject(stubOf(tenant, session), (_, state) => state.storage.sql.exec("SELECT * FROM hits").toArray().length);
    expect(rows).toBe(0);
  });
});

it("a glob of any length that a policy may have finds what it names, and nothing else", async () => {
  const long = "a".repeat(120);
  const { ask } = await live(`history: [{ id: h, forbid: x, when: "count('${long}*b', 60) > 0" }]`);
  for (const action of [`${long}c`, "a", "b"]) expect(await ask(action)).toBe("allow");
  expect(await ask("x")).toBe("allow");
  expect(await ask(`${long}.b`)).toBe("allow");
  expect(await ask("x")).toBe("deny history_forbids");
});
