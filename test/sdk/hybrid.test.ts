import { randomUUID } from "node:crypto";
import { setImmediate as later } from "node:timers/promises";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AgentKilledError, type Fetch, type GuardOptions, type UsdInput } from "../../sdk/src/index.ts";
import { PolicySync } from "../../sdk/src/local/hybrid/policy_sync.ts";
import {
  createHybridSentinel,
  createMemoryStore,
  type HybridOptions,
  type HybridSession,
  type LedgerStore,
  replayExport,
} from "../../sdk/src/local.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway, ROOT_KEY } from "../local/gateway.ts";

/** What befalls what is sent: it arrives; it does not; it does, and the answer gets lost. */
type Fate = "arrives" | "is lost" | "is answered, and the answer is lost";

/** A way to the gateway that can be cut, and counts what is sent. `meanwhile` happens when a decision is asked for. */
function line() {
  const way = { fate: "arrives" as Fate, decisions: 0, reads: 0, policies: [] as number[], meanwhile: (): unknown => undefined };
  const send: Fetch = async (url, init) => {
    if (url.endsWith("/decisions")) {
      way.decisions++;
      way.meanwhile();
    }
    if (/\/dec_[\w-]+$/.test(url)) way.reads++;
    if (way.fate === "is lost") throw new TypeError("no route to host");
    const response = await fetch(url, init);
    if (url.includes("/policies/effective")) way.policies.push(response.status);
    if (way.fate === "arrives") return response;
    await response.text();
    throw new TypeError("connection reset");
  };
  return { way, send };
}

interface Payment {
  to: string;
  usd: number;
}

const POLICY = "version: 1\nname: mine\nbudgets: { session: 1, actions: { pay: 0.5 } }\ndenied_actions: [drop]\napprovals: { actions: [wire] }\n";

describe.skipIf(!CAN_SEE_PROCESSES)("a hybrid sentinel on a real gateway", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  let clock = Date.now();

  beforeAll(async () => {
    gateway = await ownGateway();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });

  const root = (method: string, route: string, body?: object | string) => ask(gateway.url, ROOT_KEY, method, route, body);
  let tenants = 0;

  /** A tenant with a policy, and an agent's hybrid session in it. */
  async function opened(policy: string | null = POLICY, options: Partial<HybridOptions> = {}) {
    const tenant = `hybrid-${++tenants}`;
    expect((await root("POST", "/v1/tenants", { id: tenant })).status).toBe(201);
    const token = async (subject: string, kind: string, scopes: string[]): Promise<string> =>
      (await root("POST", "/v1/tokens", { tenant, subject, kind, scopes })).body.token;
    const operator = await token("ops", "human", ["policies:read", "policies:write", "ledger:read"]);
    const publish = async (text: string) => {
      const { status, body } = await ask(gateway.url, operator, "PUT", "/v1/policies/mine", text);
      expect([200, 201], JSON.stringify(body)).toContain(status);
    };
    if (policy !== null) await publish(policy);
    const { way, send } = line();
    const ledger: LedgerStore = options.ledger ?? createMemoryStore();
    const told: unknown[] = [];
    const sentinel = createHybridSentinel({
      url: gateway.url,
      token: await token("bot", "agent", ["sessions:write", "decisions:write", "policies:read"]),
      fetch: send,
      retries: 0,
      now: () => clock,
      ledger,
      onUnguarded: (event) => told.push(event.action),
      ...options,
    });
    const hybrid = await sentinel.openSession();
    const ran: string[] = [];
    const guarded = (action: string, costUsd: UsdInput = 0, onUnavailable: "deny" | "allow" = "deny") =>
      hybrid.guard({ action, costUsd, onUnavailable }, (what: string) => {
        ran.push(what);
        return `did ${what}`;
      });
    const balance = async (scope: string) => (await hybrid.session.read()).budgets.find((budget) => budget.scope === scope);
    return { sentinel, hybrid, way, ledger, ran, told, guarded, publish, balance, operator, tenant };
  }

  const lines = (ledger: LedgerStore) =>
    ledger.after(0, 100).map(({ kind, action, outcome, cost_usd, reason, unguarded }) => ({ kind, action, outcome, cost_usd, reason, unguarded }));

  it("asks the gateway, whose record has what was allowed, and needs none here", async () => {
    const { guarded, way, ran, ledger, balance } = await opened();
    expect(await guarded("pay", "0.2")("one")).toBe("did one");
    expect([way.decisions, ran, lines(ledger)]).toEqual([1, ["one"], []]);
    expect((await balance("session"))?.postedUsd).toBe("0.2");
  });

  it("does not run what its caller made of the arguments while they were decided, and nothing is charged", async () => {
    const { hybrid, ran, balance } = await opened();
    const pay = hybrid.guard({ action: "pay", costUsd: "0.2" }, (payment: { to: string }) => ran.push(payment.to));
    const payment = { to: "alice" };
    const going = pay(payment);
    payment.to = "eve";
    await expect(going).rejects.toMatchObject({ name: "GatewayRefusedError", code: "inputs_changed" });
    await expect.poll(async () => (await balance("session"))?.pendingUsd).toBe("0");
    await pay(payment);
    expect([ran, (await balance("session"))?.postedUsd]).toEqual([["eve"], "0.2"]);
  });

  it.each<readonly [string, Partial<GuardOptions<[Payment, AbortSignal], unknown>>]>([
    ["beside what is no plain data", { inputs: ({ to, usd }) => ({ to, usd }) }],
    ["where only the cost is made of them", { inputs: () => null, costUsd: ({ usd }) => usd }],
    ["where only the resource is made of them", { inputs: () => null, resource: ({ to }) => ({ type: "account", id: to }) }],
  ])("does not run what was changed while the gateway was asked, %s", async (_, options) => {
    const { hybrid, ran, way } = await opened();
    const pay = hybrid.guard({ action: "pay", ...options }, (payment: Payment, _signal: AbortSignal) => ran.push(payment.to));
    const payment = { to: "alice", usd: 0.1 };
    way.meanwhile = () => Object.assign(payment, { to: "eve", usd: 0.2 });
    await expect(pay(payment, new AbortController().signal)).rejects.toMatchObject({ code: "inputs_changed" });
    expect([way.decisions, ran]).toEqual([1, []]);
  });

  it("does not run without an answer what was changed while the gateway was tried, though it may run what was not", async () => {
    const { hybrid, ran, way, ledger, told } = await opened();
    const pay = hybrid.guard({ action: "pay", onUnavailable: "allow" }, (payment: Payment) => ran.push(payment.to));
    way.fate = "is lost";
    const payment = { to: "alice", usd: 0.1 };
    way.meanwhile = () => Object.assign(payment, { to: "eve", usd: 1000 });
    await expect(pay(payment)).rejects.toMatchObject({ name: "GatewayRefusedError", code: "inputs_changed" });
    expect([ran, told, lines(ledger)]).toEqual([[], [], []]);
    way.meanwhile = () => undefined;
    await pay({ to: "bob", usd: 0.1 });
    expect([ran, told]).toEqual([["bob"], ["pay"]]);
  });

  describe("whose floor lets it spend 1 USD", () => {
    const ID = "dec_01890000-0000-7000-8000-0000000000ab";

    async function underFloor() {
      const { hybrid, ran, way } = await opened("version: 1\nname: mine\nbudgets: { session: 100 }\n", {
        floor: "version: 1\nbudgets: { session: 1 }\n",
      });
      const costUsd = ({ usd }: Payment): number => {
        if (usd > 100) throw new Error("more than 100");
        return usd;
      };
      const guarded = (more: { readonly id?: string; readonly onUnavailable?: "allow" } = {}) =>
        hybrid.guard({ action: "pay", costUsd, ...more }, (payment: Payment) => ran.push(payment.to));
      return { hybrid, ran, way, guarded };
    }
    const changed = { code: "inputs_changed" };

    it.each(["arrives", "is answered, and the answer is lost"] as const)(
      "keeps that for a call under an id of its own that was changed, where its question %s",
      async (fate) => {
        const { guarded, ran, way } = await underFloor();
        const payment = { to: "alice", usd: 0.9 };
        const pay = guarded({ id: ID });
        way.fate = fate;
        if (fate === "arrives") way.meanwhile = () => Object.assign(payment, { to: "eve" });
        await expect(pay(payment)).rejects.toMatchObject(fate === "arrives" ? changed : { name: "GatewayUnavailableError" });
        way.fate = "arrives";
        way.meanwhile = () => undefined;
        const again = pay(payment);
        Object.assign(payment, { to: "mallory" });
        await expect(again).rejects.toMatchObject(fate === "arrives" ? { code: "idempotency_mismatch" } : changed);
        await expect(guarded()({ to: "carl", usd: 0.9 })).rejects.toMatchObject({ name: "BudgetExceededError" });
        await pay({ to: "alice", usd: 0.9 });
        expect(ran).toEqual(["alice"]);
      },
    );

    it.each(["arrives", "is answered, and the answer is lost"] as const)(
      "has all of that again where of what a call was changed to no cost can be told, and its question %s",
      async (fate) => {
        const { guarded, ran, way } = await underFloor();
        const payment = { to: "alice", usd: 0.9 };
        way.fate = fate;
        if (fate !== "arrives") way.meanwhile = () => Object.assign(payment, { usd: 1000 });
        const paying = guarded({ onUnavailable: "allow" })(payment);
        if (fate === "arrives") payment.usd = 1000;
        await expect(paying).rejects.toMatchObject(changed);
        way.fate = "arrives";
        way.meanwhile = () => undefined;
        await guarded()({ to: "bob", usd: 0.9 });
        expect(ran).toEqual(["bob"]);
      },
    );

    it("has that again where the gateway says no, under an id of its own too", async () => {
      const { hybrid, ran } = await opened("version: 1\nname: mine\nbudgets: { session: 100 }\napprovals: { actions: [wire] }\n", {
        floor: "version: 1\nbudgets: { session: 1 }\n",
      });
      const guarded = (action: string, id?: string) => hybrid.guard({ action, id, costUsd: 0.9 }, (to: string) => ran.push(to));
      await expect(guarded("wire", ID)("alice")).rejects.toMatchObject({ name: "ApprovalRequiredError" });
      await guarded("pay")("bob");
      expect(ran).toEqual(["bob"]);
    });

    it("runs where only that has changed which nobody was asked about", async () => {
      const { hybrid, ran } = await underFloor();
      const stats = { seen: 0 };
      const pay = hybrid.guard({ action: "pay", costUsd: 0.1 }, (payment: Payment, _: { seen: number }, __: AbortSignal) => ran.push(payment.to));
      const paying = pay({ to: "bob", usd: 0.1 }, stats, new AbortController().signal);
      stats.seen++;
      await paying;
      expect(ran).toEqual(["bob"]);
    });
  });

  it("asks nobody about what is certain to be denied, and has it on record", async () => {
    const { guarded, way, ran, ledger } = await opened();
    await expect(guarded("drop")("x")).rejects.toMatchObject({ name: "PolicyViolationError", code: "action_denied" });
    expect(await guarded("pay", "0.4")("one")).toBe("did one");
    await expect(guarded("pay", "0.2")("two")).rejects.toMatchObject({ name: "BudgetExceededError", code: "action_budget_exceeded" });
    expect([way.decisions, ran]).toEqual([1, ["one"]]);
    expect(lines(ledger)).toEqual([
      { kind: "decision", action: "drop", outcome: "denied", cost_usd: 0, reason: "action_denied" },
      { kind: "decision", action: "pay", outcome: "denied", cost_usd: 0, reason: "action_budget_exceeded" },
    ]);
  });

  it("says once on the console that its token may not read the policy, and never of an outage", async () => {
    const said: string[] = [];
    const { warn } = console;
    console.warn = (text: string) => said.push(text);
    try {
      const { tenant, way, hybrid } = await opened();
      way.fate = "is lost";
      await expect(hybrid.refresh()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
      expect(said).toEqual([]);
      const scopes = ["sessions:write", "decisions:write"];
      const { body } = await root("POST", "/v1/tokens", { tenant, subject: "bot", kind: "agent", scopes });
      const faults: unknown[] = [];
      const sentinel = createHybridSentinel({ url: gateway.url, token: body.token, onPolicyFault: (error) => faults.push(error) });
      const blind = await sentinel.openSession();
      await expect(blind.refresh()).rejects.toMatchObject({ code: "scope_insufficient" });
      expect([blind.policy, faults.length, said.length]).toEqual([undefined, 2, 1]);
      expect(said[0]).toMatch(/floor alone is checked here for "bot".*scope_insufficient \(status 403\).*needs policies:read/);
    } finally {
      console.warn = warn;
    }
  });

  it("takes the gateway's no for an answer, gives back what it had reserved, and learns the policy that it was given under", async () => {
    const { hybrid, guarded, publish, ran, way } = await opened();
    await publish(`${POLICY}allowed_actions: [read]\n`);
    clock += 2_000;
    await expect(guarded("pay", "0.5")("one")).rejects.toMatchObject({ name: "PolicyViolationError", code: "action_not_allowed" });
    await expect.poll(() => hybrid.policy?.version).toBe(2);
    await publish(POLICY.replace("drop", "dropped"));
    clock += 31_000;
    // The policy here still forbids it, and is older than it may get: it is asked for before anything is denied by it.
    expect(await guarded("drop")("two")).toBe("did two");
    expect(await guarded("pay", "0.5")("three")).toBe("did three");
    expect(ran).toEqual(["two", "three"]);
    expect(way.policies.filter((status) => status === 200)).toHaveLength(3);
    clock += 31_000;
    await guarded("drop")("four");
    await expect.poll(() => way.policies.at(-1)).toBe(304);
  });

  it("a floor is only ever tightened: what it denies or holds does not run, whatever the gateway allows", async () => {
    const floor =
      "version: 1\nbudgets: { session: 0.3 }\nrules:\n  - { id: no-mail, effect: forbid, actions: [mail] }\napprovals: { actions: [fax] }\n";
    const { guarded, way, ran } = await opened(POLICY, { floor });
    await expect(guarded("mail")("x")).rejects.toMatchObject({ code: "rule_forbids" });
    await expect(guarded("fax")("x")).rejects.toMatchObject({ name: "ApprovalRequiredError" });
    expect(way.decisions).toBe(0);
    expect(await guarded("pay", "0.2")("one")).toBe("did one");
    await expect(guarded("pay", "0.2")("two")).rejects.toMatchObject({ code: "session_budget_exceeded" });
    await expect(guarded("drop")("x")).rejects.toMatchObject({ code: "action_denied" });
    expect(ran).toEqual(["one"]);
    expect(() => createHybridSentinel({ url: gateway.url, token: "t", floor: "budgets: {" })).toThrow(/policy_invalid|not valid|cannot/i);
  });

  it("asks the gateway about what only a person may allow, here and now", async () => {
    const { guarded, way, ran, ledger } = await opened();
    await expect(guarded("wire")("x")).rejects.toMatchObject({ name: "ApprovalRequiredError", approvalId: expect.stringMatching(/^apr_/) });
    expect([way.decisions, ran, lines(ledger)]).toEqual([1, [], []]);
  });

  it("says so where it shows nothing, and then nobody may allow what a person must see", async () => {
    const { hybrid, way } = await opened();
    const given: unknown[] = [];
    const take = (what: object) => given.push(what);
    const order = new Map([["to", "alice"]]);
    const no = { name: "PolicyViolationError", code: "inputs_required" };
    await expect(hybrid.guard({ action: "wire" }, take)(order)).rejects.toMatchObject(no);
    await expect(hybrid.guard({ action: "wire", inputs: () => undefined }, take)({ to: "alice" })).rejects.toMatchObject(no);
    await hybrid.guard({ action: "pay" }, take)(order);
    // What it has made an id for has not been asked about before.
    expect([given, way.reads]).toEqual([[order], 0]);
  });

  it("judges by what was not shown at home, too: by its floor, and without a gateway", async () => {
    const { hybrid, way, ledger } = await opened(POLICY, { floor: "version: 1\napprovals: { actions: [fax] }\n" });
    let ran = 0;
    const called = (action: string) => hybrid.guard({ action, inputs: () => undefined, onUnavailable: "allow" }, () => ++ran)();
    const no = { name: "PolicyViolationError", code: "inputs_required" };
    await expect(called("fax")).rejects.toMatchObject(no);
    expect(way.decisions).toBe(0);
    way.fate = "is lost";
    await expect(called("wire")).rejects.toMatchObject(no);
    expect([ran, lines(ledger).map(({ action, reason }) => `${action} ${reason}`)]).toEqual([0, ["fax inputs_required", "wire inputs_required"]]);
  });

  it("runs once under an id of its own, with the gateway or without", async () => {
    const { hybrid, way } = await opened();
    let runs = 0;
    const pay = (fate: Fate) => {
      way.fate = fate;
      return hybrid.guard({ action: "pay", costUsd: "0.1", id: `dec_${randomUUID()}`, onUnavailable: "allow" }, () => runs++);
    };
    for (const fate of ["arrives", "is lost"] as const) {
      const once = pay(fate);
      await once();
      await expect(once()).rejects.toMatchObject({ name: "GatewayRefusedError", code: "decision_settled" });
    }
    expect(runs).toBe(2);
  });

  describe("without a gateway", () => {
    it("runs nothing, unless it was written down that it may", async () => {
      const { guarded, way, ran, ledger } = await opened();
      way.fate = "is lost";
      await expect(guarded("pay", "0.1")("one")).rejects.toMatchObject({ name: "GatewayUnavailableError" });
      expect([ran, lines(ledger)]).toEqual([[], []]);
      // Nothing was kept for it: all of the budget is there.
      way.fate = "arrives";
      expect(await guarded("pay", "0.5")("two")).toBe("did two");
    });

    it("what an agent and its tenant may spend is spent by all its sessions together; what one session may, by that one, however often it is opened", async () => {
      const policy =
        "version: 1\nbudgets: { session: 0.5, run: 9, agent: { total: 0.8 } }\nrate_limits: { ping: { max_count: 2, window_seconds: 60, per: agent } }\n";
      const { hybrid, way, sentinel } = await opened(policy);
      const [other, again] = [await sentinel.openSession(), await sentinel.session(hybrid.session.id)];
      way.fate = "is lost";
      const pay = (session: HybridSession, costUsd: UsdInput) => session.guard({ action: "pay", costUsd, onUnavailable: "allow" }, () => "paid")();
      const ping = (session: HybridSession) => session.guard({ action: "ping", onUnavailable: "allow" }, () => "pong")();
      expect(await pay(hybrid, "0.3")).toBe("paid");
      await expect(pay(again, "0.3")).rejects.toMatchObject({ code: "session_budget_exceeded" });
      expect(await pay(other, "0.4")).toBe("paid");
      await expect(pay(hybrid, "0.2")).rejects.toMatchObject({ code: "agent_budget_exceeded" });
      expect(await pay(again, "0.1")).toBe("paid");
      await expect(pay(other, "0.1")).rejects.toMatchObject({ code: "agent_budget_exceeded" });
      expect([await ping(hybrid), await ping(other)]).toEqual(["pong", "pong"]);
      await expect(ping(again)).rejects.toMatchObject({ code: "rate_exceeded" });
    });

    it("nothing runs under an id that was answered before, whatever is known here would say", async () => {
      const { hybrid, publish, way, ran, told, ledger } = await opened();
      await publish(`${POLICY}allowed_actions: [read]\n`);
      const pay = hybrid.guard({ action: "pay", costUsd: "0.3", id: `dec_${randomUUID()}`, onUnavailable: "allow" }, (what: string) =>
        ran.push(what),
      );
      await expect(pay("one")).rejects.toMatchObject({ code: "action_not_allowed" });
      way.fate = "is lost";
      await expect(pay("one")).rejects.toMatchObject({ name: "GatewayUnavailableError" });
      expect([hybrid.policy?.version, ran, told, lines(ledger)]).toEqual([1, [], [], []]);
    });

    it("what may run runs within what is known here, and is on record as that", async () => {
      const { guarded, way, ran, told, ledger, hybrid } = await opened();
      expect(await guarded("pay", "0.1")("before")).toBe("did before");
      way.fate = "is lost";
      const pay = guarded("pay", "0.2", "allow");
      expect([await pay("one"), await pay("two")]).toEqual(["did one", "did two"]);
      await expect(pay("three")).rejects.toMatchObject({ name: "BudgetExceededError" });
      await expect(guarded("drop", 0, "allow")("x")).rejects.toMatchObject({ code: "action_denied" });
      await expect(guarded("wire", 0, "allow")("x")).rejects.toMatchObject({ name: "ApprovalRequiredError" });
      expect([ran, told]).toEqual([
        ["before", "one", "two"],
        ["pay", "pay"],
      ]);
      const ranHere = { action: "pay", reason: "permitted", unguarded: true };
      expect(lines(ledger)).toEqual([
        { kind: "decision", outcome: "allowed", cost_usd: 0, ...ranHere },
        { kind: "outcome", outcome: "success", cost_usd: 0.2, ...ranHere },
        { kind: "decision", outcome: "allowed", cost_usd: 0, ...ranHere },
        { kind: "outcome", outcome: "success", cost_usd: 0.2, ...ranHere },
        { kind: "decision", action: "pay", outcome: "denied", cost_usd: 0, reason: "action_budget_exceeded" },
        { kind: "decision", action: "drop", outcome: "denied", cost_usd: 0, reason: "action_denied" },
        { kind: "decision", action: "wire", outcome: "held", cost_usd: 0, reason: "approval_required" },
      ]);
      expect(ledger.after(0, 1)[0]).toMatchObject({
        session_id: hybrid.session.id,
        run_id: hybrid.session.run,
        policy: { name: "mine", version: 1 },
      });
    });

    it("what the gateway had allowed before its answer got lost is on record under the same id", async () => {
      const { guarded, way, ledger, hybrid } = await opened();
      way.fate = "is answered, and the answer is lost";
      expect(await guarded("pay", "0.2", "allow")("one")).toBe("did one");
      way.fate = "arrives";
      const id = ledger.after(0, 1)[0]?.decision_id ?? "";
      expect(await hybrid.session.readDecision(id)).toMatchObject({ verdict: "allow", state: "pending", action: "pay" });
    });

    it("an error of the function is its own, and its estimate is charged", async () => {
      const { hybrid, way, ledger } = await opened();
      way.fate = "is lost";
      const broken = new RangeError("mine");
      const fail = hybrid.guard({ action: "pay", costUsd: "0.1", onUnavailable: "allow" }, (): string => {
        throw broken;
      });
      await expect(fail()).rejects.toBe(broken);
      expect(lines(ledger).map(({ outcome, cost_usd }) => [outcome, cost_usd])).toEqual([
        ["allowed", 0],
        ["error", 0.1],
      ]);
    });

    it("a stream is charged when it has been read", async () => {
      const { hybrid, way, ledger } = await opened();
      way.fate = "is lost";
      const count = hybrid.guard({ action: "pay", costUsd: "0.3", actualUsd: () => "0.1", onUnavailable: "allow" }, async function* (to: number) {
        for (let n = 0; n < to; n++) yield n;
      });
      const read: number[] = [];
      for await (const n of await count(3)) read.push(n);
      expect(read).toEqual([0, 1, 2]);
      expect(lines(ledger).map(({ outcome, cost_usd }) => [outcome, cost_usd])).toEqual([
        ["allowed", 0],
        ["success", 0.1],
      ]);
    });

    it("nothing runs that cannot be put on record", async () => {
      const full: LedgerStore = {
        append() {
          throw new Error("no space left");
        },
        after: () => [],
        onAppend: () => () => undefined,
        flush: async () => undefined,
        close: () => undefined,
      };
      const { guarded, way, ran } = await opened(POLICY, { ledger: full });
      way.fate = "is lost";
      await expect(guarded("pay", "0.1", "allow")("one")).rejects.toThrow(/not on record does not run/);
      expect(ran).toEqual([]);
      // What the gateway allows is on the gateway's record.
      way.fate = "arrives";
      expect(await guarded("pay", "0.5")("two")).toBe("did two");
    });

    it("a gateway that said it has no policy left nothing that may run", async () => {
      const { hybrid, guarded, way } = await opened(null);
      expect(hybrid.policy).toBeNull();
      way.fate = "is lost";
      await expect(guarded("pay", 0, "allow")("one")).rejects.toMatchObject({ code: "policy_missing" });
    });

    it("what cannot be read as a policy changes nothing", async () => {
      const faults: unknown[] = [];
      const { way, send } = line();
      let answer: string | null = null;
      const { hybrid, guarded } = await opened(POLICY, {
        fetch: async (url, init) => (answer !== null && url.includes("/policies/effective") ? new Response(answer) : send(url, init)),
        onPolicyFault: (error) => faults.push(error),
      });
      const bad = [
        "",
        "{}",
        "[]",
        "null",
        '{"policy":null,"document":{}}',
        '{"policy":{"name":"x","version":1,"digest":"y"},"document":{}}',
        "{".repeat(10_000),
      ];
      const good = { name: "x", version: 1, digest: "sha-256:0" };
      bad.push(
        JSON.stringify({ policy: good, document: null }),
        JSON.stringify({ policy: good, document: { version: 1, budgets: { session: -1 } } }),
      );
      for (answer of bad) await expect(hybrid.refresh(), answer).rejects.toMatchObject({ name: "GatewayRefusedError" });
      expect([faults.length, hybrid.policy?.name]).toEqual([bad.length, "mine"]);
      way.fate = "is lost";
      await expect(guarded("drop", 0, "allow")("x")).rejects.toMatchObject({ code: "action_denied" });
    });

    it("nothing runs that was killed while it was asked about, nor under a policy that has moved meanwhile", async () => {
      const { way, send } = line();
      let meanwhile: (() => unknown) | null = null;
      const { hybrid, guarded, ran, publish, told } = await opened(POLICY, {
        fetch: async (url, init) => {
          if (meanwhile === null || !url.endsWith("/decisions")) return send(url, init);
          await meanwhile();
          throw new TypeError("no route to host");
        },
      });
      const killed = new AgentKilledError("Cannot go on: it was killed", "action_killed");
      meanwhile = () => hybrid.session.stop(killed, ({ action }) => action === "pay");
      await expect(guarded("pay", "0.1", "allow")("one")).rejects.toMatchObject({ name: "GatewayUnavailableError" });
      meanwhile = async () => {
        await publish(`${POLICY}allowed_actions: [read]\n`);
        await hybrid.refresh();
      };
      await expect(guarded("pay", "0.5", "allow")("two")).rejects.toMatchObject({ code: "action_not_allowed" });
      meanwhile = () => undefined;
      await publish(POLICY);
      await hybrid.refresh();
      // Nothing of them was kept.
      expect(await guarded("pay", "0.5", "allow")("three")).toBe("did three");
      expect([ran, told, way.decisions]).toEqual([["three"], ["pay"], 0]);
    });

    it("what runs without an answer is stopped by a kill like any other", async () => {
      const { hybrid, way } = await opened();
      way.fate = "is lost";
      const killed = new AgentKilledError("Cannot go on: it was killed", "action_killed");
      const read = hybrid.guard({ action: "read", onUnavailable: "allow", context: true }, async ({ signal, decisionId, topUp }) => {
        expect(decisionId).toMatch(/^dec_/);
        await expect(topUp("9")).rejects.toMatchObject({ name: "GatewayUnavailableError" });
        hybrid.session.stop(killed, ({ action }) => action === "pay");
        expect(signal.aborted).toBe(false);
        hybrid.session.stop(killed, ({ action }) => action === "read");
        return signal.reason;
      });
      expect(await read()).toBe(killed);
    });

    it("what the gateway alone could allow counts here too, once it has run", async () => {
      const held = POLICY.replace("[wire]", "[wire, pay]");
      const { hybrid, guarded, way, publish } = await opened(held);
      await publish(POLICY);
      clock += 500;
      // Here it still waits for a person; the gateway has learnt better.
      expect(await guarded("pay", "0.4")("one")).toBe("did one");
      await hybrid.refresh();
      way.fate = "is lost";
      await expect(guarded("pay", "0.2", "allow")("two")).rejects.toMatchObject({ code: "action_budget_exceeded" });
      expect(await guarded("pay", "0.1", "allow")("three")).toBe("did three");
    });

    it("what is kept for a call under an id of its own stays kept, and is no way past the floor", async () => {
      const { hybrid, guarded, way, ran } = await opened(POLICY, { floor: "version: 1\nbudgets: { session: 0.5 }\n" });
      const pay = hybrid.guard({ action: "pay", costUsd: "0.3", id: `dec_${randomUUID()}` }, async (what: string) => ran.push(what));
      way.fate = "is lost";
      await expect(pay("one")).rejects.toMatchObject({ name: "GatewayUnavailableError" });
      way.fate = "arrives";
      await expect(guarded("read", "0.3")("x")).rejects.toMatchObject({ code: "session_budget_exceeded" });
      await pay("one");
      expect(await guarded("read", "0.2")("two")).toBe("did two");
      await expect(guarded("read", "0.1")("x")).rejects.toMatchObject({ code: "session_budget_exceeded" });
      expect(ran).toEqual(["one", "two"]);
    });

    it("a policy that never comes holds nobody up", async () => {
      const { guarded, hybrid } = await opened(POLICY, {
        timeoutMs: 2_000,
        fetch: (url, init) => (url.includes("/policies/effective") ? new Promise<never>(() => undefined) : line().send(url, init)),
      });
      expect([hybrid.policy, await guarded("read")("one")]).toEqual([undefined, "did one"]);
      await expect(hybrid.refresh()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
    });

    it("a no of the gateway's is not answered with anything", async () => {
      const sent: string[] = [];
      const { send } = line();
      const { guarded } = await opened(POLICY, {
        fetch: async (url, init) => {
          sent.push(url.replace(/.*\//, ""));
          return send(url, init);
        },
      });
      await expect(guarded("wire")("x")).rejects.toMatchObject({ name: "ApprovalRequiredError" });
      await later();
      expect(sent.filter((verb) => verb === "release")).toEqual([]);
    });
  });

  it("the tenant's and the agent's policy count together here too", async () => {
    const { hybrid, guarded, way, operator } = await opened();
    const own = "version: 1\nallowed_actions: [pay, read, 'drop*']\nbudgets: { run: 0.4 }\n";
    expect((await ask(gateway.url, operator, "PUT", "/v1/policies/own?scope=agent&target=bot", own)).status).toBe(201);
    expect(await hybrid.refresh()).toBe(true);
    await expect(guarded("send")("x")).rejects.toMatchObject({ code: "action_not_allowed" });
    await expect(guarded("drop")("x")).rejects.toMatchObject({ code: "action_denied" });
    await expect(guarded("pay", "0.45")("x")).rejects.toMatchObject({ code: "run_budget_exceeded" });
    expect(way.decisions).toBe(0);
  });

  it("a call's cost, its run, its lineage and its signal are the gateway's and this process's alike", async () => {
    const { hybrid, guarded, balance, tenant, operator } = await opened();
    await hybrid.session.startRun();
    const inner = guarded("pay", "0.1");
    const outer = hybrid.guard({ action: "read", costUsd: "0.2", actualUsd: () => "0.05", context: true }, async ({ signal }, what: string) => {
      expect(signal.aborted).toBe(false);
      return inner(what);
    });
    expect([outer.length, await outer("one")]).toEqual([1, "did one"]);
    expect((await balance("session"))?.postedUsd).toBe("0.15");
    const read = async () => (await ask(gateway.url, operator, "GET", "/v1/ledger?kind=decision")).body.items;
    const entries = await expect.poll(read, { timeout: 20_000 }).toHaveLength(2).then(read);
    const of = (action: string) => entries.find((entry: { action: string }) => entry.action === action);
    expect(of("pay")).toMatchObject({ parents: [of("read").decision_id], run_id: hybrid.session.run, tenant_id: tenant });
  });
});

it("A token that is none is quoted nowhere.", async () => {
  const faults: unknown[] = [];
  const settings = {
    base: "http://127.0.0.1:1",
    agent: "bot",
    fetch,
    now: Date.now,
    timeoutMs: 5_000,
    onPolicyFault: (error: unknown) => faults.push(error),
  };
  await expect(new PolicySync({ ...settings, token: () => "the-secret\nof-mine" }).refresh()).rejects.toMatchObject({
    name: "GatewayUnavailableError",
  });
  expect(faults).toHaveLength(1);
  expect(inspect(faults, { depth: 9 })).not.toContain("the-secret");
  const replayed = await replayExport({ url: settings.base, token: "the-secret\nof-mine" }).catch((error: unknown) => error);
  expect(replayed).toBeInstanceOf(TypeError);
  expect(inspect(replayed, { depth: 9 })).not.toContain("the-secret");
});

it("What asks a gateway that is not there says which, and why, and quotes no token.", async () => {
  const url = "http://127.0.0.1:1";
  const fetch = () =>
    Promise.reject(new TypeError("fetch failed", { cause: Object.assign(new Error("no: a-token-of-some-length"), { code: "ECONNREFUSED" }) }));
  const token = () => "a-token-of-some-length";
  const why = `ECONNREFUSED; is the gateway's address right?`;
  const settings = { base: url, agent: "bot", fetch, now: Date.now, timeoutMs: 5_000, token };
  await expect(new PolicySync(settings).refresh()).rejects.toThrow(`Cannot read the policy in force: the gateway at ${url} is unavailable: ${why}`);
  await expect(replayExport({ url, token, fetch })).rejects.toThrow(`Cannot replay the record of ${url}: ${why}`);
});
