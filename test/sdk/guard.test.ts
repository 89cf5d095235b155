import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import { guard as guardHeld, resume } from "../../sdk/src/approvals.ts";
import {
  AgentKilledError,
  type CallContext,
  type CommitFailed,
  type GuardOptions,
  isAgentSentinelError,
  type Session,
  type Unguarded,
} from "../../sdk/src/index.ts";
import { createTestSentinel } from "../../sdk/src/testing.ts";
import type * as wire from "../../sdk/src/wire.ts";
import { clientOf, denied, type Fate, fakeGateway, held, json, openFake, problem, RUN, SESSION } from "./gateway.ts";

const DENY = denied("action_denied", "The policy denies the action by name.");

describe("a guarded function", () => {
  test("is decided, runs, and is committed with its estimate", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const search = session.guard({ action: "search_web", costUsd: 0.01, tags: ["search"] }, async (query: string) => `found ${query}`);
    expect(await search("durable objects")).toBe("found durable objects");
    const [decide, commit] = gateway.seen;
    expect(decide?.body).toMatchObject({ action: "search_web", run: RUN, estimate_usd: "0.01", tags: ["search"], inputs: ["durable objects"] });
    expect(commit?.path).toBe(`/v1/sessions/${SESSION}/decisions/${decide?.body.id}/commit`);
    expect(commit?.body).toEqual({ cost_usd: "0.01", outcome: "success", duration_ms: 0 });
  });

  test("keeps this, name, length and the types of the function", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const till = {
      balance: 5,
      spend: session.guard({ action: "spend" }, function spend(this: { balance: number }, amount: number, _note?: string) {
        this.balance -= amount;
        return this.balance;
      }),
    };
    expect(await till.spend(2)).toBe(3);
    expect([till.spend.name, till.spend.length]).toEqual(["spend", 2]);
    expectTypeOf<Parameters<typeof till.spend>>().toEqualTypeOf<[amount: number, _note?: string | undefined]>();
    expectTypeOf(till.spend).returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<ThisParameterType<typeof till.spend>>().toEqualTypeOf<{ balance: number }>();
    const generic = session.guard({ action: "echo" }, async <T>(value: T) => value);
    expectTypeOf(await generic("a" as const)).toEqualTypeOf<"a">();
    const priced = session.guard({ action: "x", costUsd: (n) => n, actualUsd: (result) => result.usd }, async (n: number) => ({ usd: n }));
    expectTypeOf(priced).returns.toEqualTypeOf<Promise<{ usd: number }>>();
    // @ts-expect-error a guarded function takes what the function takes
    const wrong = () => till.spend("2");
    expect(wrong).toBeTypeOf("function");
  });

  test("is charged what it did cost when the guard knows", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const ask = session.guard({ action: "ask", costUsd: (n: number) => n / 10, actualUsd: (r) => r.usd }, (n: number) => ({ usd: n * 0.1 + 0.2 }));
    await ask(1);
    expect(gateway.seen.map((each) => each.body.estimate_usd ?? each.body.cost_usd)).toEqual(["0.1", "0.3"]);
  });

  test("tells of its result what the guard says, and nothing of what is not plain data or cannot be told", async () => {
    for (const [outputs, told] of [
      [(r: { cabin: string }) => r.cabin, "business"],
      [(r: { cabin: string }) => ({ cabin: r.cabin }), { cabin: "business" }],
      [() => new Map(), undefined],
      [() => 1n, undefined],
      [() => "x".repeat(100_000), undefined],
      [
        () => {
          throw new Error("no");
        },
        undefined,
      ],
      [undefined, undefined],
    ] as const) {
      await using gateway = await fakeGateway();
      const { session } = await openFake(gateway);
      expect(await session.guard({ action: "look", outputs }, () => ({ cabin: "business" }))()).toEqual({ cabin: "business" });
      expect(gateway.seen[1]?.body).toMatchObject({ outcome: "success" });
      expect(gateway.seen[1]?.body.outputs).toEqual(told);
    }
  });

  test("that throws passes its exception unchanged, and is committed as an error at its estimate", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const thrown = new TypeError("no such city");
    const fn = session.guard({ action: "weather", costUsd: "0.02" }, () => {
      throw thrown;
    });
    await expect(fn()).rejects.toBe(thrown);
    expect(gateway.seen[1]?.body).toEqual({ cost_usd: "0.02", outcome: "error", error: "TypeError: no such city", duration_ms: 0 });
  });

  test.each([
    ["undefined", undefined],
    ["a text", "boom"],
    [
      "an object whose name throws",
      Object.defineProperty(new Error("x"), "name", {
        get: () => {
          throw 1;
        },
      }),
    ],
  ])("that throws %s throws just that", async (_, thrown) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const caught = await session
      .guard({ action: "x" }, () => {
        throw thrown;
      })()
      .then(
        () => "resolved",
        (error) => ({ error }),
      );
    expect(caught).toEqual({ error: thrown });
    expect(gateway.count(/commit/)).toBe(1);
  });

  test.each([
    ["denied", DENY, "PolicyViolationError", "action_denied"],
    ["held", held(), "ApprovalRequiredError", "approval_required"],
    [
      "over budget",
      denied("run_budget_exceeded", "The run's budget does not cover the estimate.", { stops: "run" }),
      "BudgetExceededError",
      "run_budget_exceeded",
    ],
    ["rate limited", denied("rate_exceeded", "Too many."), "RateLimitError", "rate_exceeded"],
    ["killed", denied("session_killed", "The session was killed.", { stops: "session" }), "AgentKilledError", "session_killed"],
    ["decided by nobody", denied("authority_stale", "The lease has ended."), "GatewayUnavailableError", "authority_stale"],
    ["allowed and superseded by a kill", { superseded: { intervention: "int_1", kind: "kill" as const } }, "AgentKilledError", "superseded"],
    ["allowed under an obligation", { obligations: [{ redact: "to" }] }, "GatewayRefusedError", "obligation_unknown"],
  ])("does not run when it is %s, not even where an unreachable gateway would let it", async (_, answer, name, code) => {
    await using gateway = await fakeGateway();
    gateway.answers.set("send", answer);
    const { session } = await openFake(gateway);
    let runs = 0;
    await expect(session.guard({ action: "send", onUnavailable: "allow" }, () => runs++)()).rejects.toMatchObject({ name, code });
    expect([runs, gateway.count(/commit/)]).toEqual([0, 0]);
  });

  test("is not run, and its money is given back, when the caller gives up while it is decided", async () => {
    await using gateway = await fakeGateway();
    const stop = new AbortController();
    const { session, time } = await openFake(gateway);
    const { session: leaving } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        const response = await time.fetch(url, init);
        if (/decisions$/.test(url)) stop.abort(new Error("the user left"));
        return response;
      },
    });
    let runs = 0;
    await expect(leaving.guard({ action: "send", signal: stop.signal, onUnavailable: "allow" }, () => runs++)()).rejects.toThrow("the user left");
    await expect.poll(() => [...gateway.decisions.values()].map((each) => each.state)).toEqual(["released"]);
    expect([runs, session.signal.aborted]).toEqual([0, false]);
  });

  test.each<readonly [string, Partial<GuardOptions<[{ to: string }], unknown>>]>([
    ["as they are", {}],
    ["as `inputs` shows them", { inputs: ({ to }) => ({ to }) }],
    ["as its cost is made of them", { inputs: () => null, costUsd: ({ to }) => (to === "eve" ? 1 : 0.5) }],
    ["as its resource is made of them", { inputs: () => null, resource: ({ to }) => ({ type: "account", id: to }) }],
  ])("does not run what its caller made of the arguments while they were decided, and gives its money back: %s", async (_, options) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const ran: unknown[] = [];
    const pay = session.guard({ action: "pay", costUsd: 0.5, ...options }, (payment: { to: string }) => ran.push(payment.to));
    const payment = { to: "alice" };
    const paying = pay(payment);
    payment.to = "eve";
    await expect(paying).rejects.toMatchObject({ name: "GatewayRefusedError", code: "inputs_changed" });
    await expect.poll(() => [...gateway.decisions.values()].map((each) => each.state)).toEqual(["released"]);
    expect(ran).toEqual([]);
  });

  test("does not run arguments that were changed beside what is no plain data", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const ran: unknown[] = [];
    const pay = session.guard({ action: "pay", inputs: (payment: { to: string }) => payment }, (payment: { to: string }, _: AbortSignal) =>
      ran.push(payment.to),
    );
    const payment = { to: "alice" };
    const paying = pay(payment, new AbortController().signal);
    payment.to = "eve";
    await expect(paying).rejects.toMatchObject({ code: "inputs_changed" });
    expect(ran).toEqual([]);
  });

  test("gives nothing back under an id of its own, where an earlier life of the call may have run", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const id = "dec_01890000-0000-7000-8000-000000000001";
    const pay = session.guard({ action: "pay", costUsd: 0.5, id }, (payment: { to: string }) => payment.to);
    const payment = { to: "alice" };
    const paying = pay(payment);
    payment.to = "eve";
    await expect(paying).rejects.toMatchObject({ code: "inputs_changed" });
    await session.read();
    expect([...gateway.decisions.values()].map((each) => each.state)).toEqual(["pending"]);
    expect(gateway.count(/release/)).toBe(0);
  });

  test("runs where its caller changed what was not asked about, and where `inputs` says something else each time", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const look = session.guard({ action: "look", inputs: (asked: { n: number }) => asked }, ({ n }: { n: number }, stats: { seen: number }) => {
      stats.seen++;
      return n;
    });
    const stats = { seen: 0 };
    expect(await Promise.all([look({ n: 1 }, stats), look({ n: 2 }, stats), look({ n: 3 }, stats)])).toEqual([1, 2, 3]);
    let asked = 0;
    const count = session.guard({ action: "count", inputs: () => ++asked }, (what: string) => what);
    expect(await count("one")).toBe("one");
  });

  test("does not take what JSON spells alike for the same", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const limit = session.guard({ action: "limit" }, ({ most }: { most: number | null }) => most);
    const asked: { most: number | null } = { most: null };
    const going = limit(asked);
    asked.most = Number.POSITIVE_INFINITY;
    await expect(going).rejects.toMatchObject({ code: "inputs_changed" });
  });

  test("runs where what its caller changed is not what it runs with", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const parents: string[] = [];
    const step = session.guard({ action: "step", parents, context: true }, async ({ decisionId }, n: number) => {
      parents.push(decisionId);
      return n;
    });
    expect(await Promise.all([step(1), step(2), step(3)])).toEqual([1, 2, 3]);
  });

  test("whose signal is a run's that is stopped meanwhile does not mistake that for an unreachable gateway", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("first", denied("authority_stale", "The lease has ended.", { stops: "session" }));
    const { session: other } = await openFake(gateway);
    let runs = 0;
    const session: Session = await clientOf(async () => {
      await other.decide({ action: "first" });
      return new Promise<Response>(() => {});
    }).open();
    const fn = session.guard({ action: "second", signal: other.signal, onUnavailable: "allow" }, () => runs++);
    await expect(fn()).rejects.toMatchObject({ code: "authority_stale" });
    expect(runs).toBe(0);
  });

  test("knows under which decision it runs, and can ask for more with that", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const grow = session.guard({ action: "grow", costUsd: 1, actualUsd: () => 3, context: true }, async ({ decisionId }, usd: number) => {
      const more = await session.topup(decisionId, usd);
      more.assertAllowed();
      await session.decide({ action: "inner", parents: [decisionId] });
      return usd;
    });
    expect(await grow(3)).toBe(3);
    const [id] = gateway.decisions.keys();
    expect(gateway.decisions.get(String(id))).toMatchObject({ action: "grow", state: "posted", posted_usd: "3" });
    const seen = gateway.seen.map(({ path, body }) => [path.replace(/.*decisions/, ""), body.estimate_usd, body.parents]);
    expect(seen.slice(1, 3)).toEqual([
      [`/${id}/topup`, "3", undefined],
      ["", undefined, [id]],
    ]);
  });

  test.each<[string, (context: CallContext) => Promise<unknown>, string, string]>([
    ["was granted more is charged the new sum", ({ topUp }) => topUp("3"), "success", "3"],
    ["was granted less is charged the new sum", ({ topUp }) => topUp(0.25), "success", "0.25"],
    ["gave some back while it was paused, and may finish, is charged the new sum", ({ topUp }) => topUp("0.5"), "success", "0.5"],
    ["gave some back although it was killed is charged the new sum", ({ topUp }) => topUp("0.4"), "success", "0.4"],
    ["was granted more and throws is charged the new sum", ({ topUp }) => topUp(3).then(() => Promise.reject(new Error("late"))), "error", "3"],
    [
      "was granted more while more was asked for is charged what was granted",
      async ({ topUp }) => Promise.allSettled([topUp(3), topUp("9")]),
      "success",
      "3",
    ],
    [
      "was refused more is charged the old sum",
      ({ topUp }) => topUp("9").catch((error) => expect(error.code).toBe("run_budget_exceeded")),
      "success",
      "1",
    ],
    [
      "heard nothing is charged the old sum",
      ({ topUp }) => topUp("8").catch((error) => expect(error.code).toBe("gateway_unavailable")),
      "success",
      "1",
    ],
    [
      "asks for what is no amount is charged the old sum",
      ({ topUp }) => topUp(-1).catch((error) => expect(error).toBeInstanceOf(RangeError)),
      "success",
      "1",
    ],
  ])("that %s where it does not know better", async (_, act, outcome, charged) => {
    await using gateway = await fakeGateway();
    const { time } = await openFake(gateway);
    const { session } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        if (!url.endsWith("/topup")) return time.fetch(url, init);
        const { estimate_usd } = JSON.parse(String(init.body));
        if (estimate_usd === "8") throw new TypeError("fetch failed");
        const response = await time.fetch(url, init);
        const kind = { "0.5": "pause", "0.4": "kill" }[String(estimate_usd)];
        if (kind !== undefined) return json(200, { ...Object(await response.json()), superseded: { intervention: "int_1", kind } });
        if (estimate_usd !== "9") return response;
        return json(200, { ...Object(await response.json()), ...denied("run_budget_exceeded", "The run's budget does not cover it.") });
      },
    });
    const grow = session.guard({ action: "grow", costUsd: 1, context: true }, (context: CallContext) => act(context));
    await grow().catch((error) => expect(error.message).toBe("late"));
    expect(gateway.seen.at(-1)?.body).toMatchObject({ outcome, cost_usd: charged });
  });

  test("works for names that are known only when it is called", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const tools: Record<string, (input: { q: string }) => string> = { "crm/find": ({ q }) => q, "web.search": ({ q }) => q.toUpperCase() };
    const call = (name: string, input: { q: string }) => session.guard({ action: name, costUsd: 0.001 }, tools[name] ?? (() => ""))(input);
    expect([await call("crm/find", { q: "a" }), await call("web.search", { q: "b" })]).toEqual(["a", "B"]);
    expect(gateway.seen.filter((each) => /decisions$/.test(each.path)).map((each) => [each.body.action, each.body.inputs])).toEqual([
      ["crm/find", { q: "a" }],
      ["web.search", { q: "b" }],
    ]);
  });

  test("a class is refused before it is ever called: it would be charged, and throw", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    class Paid {}
    // As a program without types writes it.
    expect(() => session.guard({ action: "pay", costUsd: 1 }, Paid as unknown as () => Paid)).toThrow(
      'Cannot guard "pay": wanted a function, found a class',
    );
  });

  test("a synchronous generator function is refused before it is ever called", async () => {
    const session = await clientOf(async () => json(500, {})).open();
    expect(() =>
      session.guard({ action: "count" }, function* () {
        yield 1;
      }),
    ).toThrow(/Cannot guard "count": wanted an async generator/);
  });
});

describe("what a call does not show", () => {
  const throwing = (): never => {
    throw new Error("a look at it");
  };
  class Order {
    to = "alice";
  }
  const ring: { in?: object } = {};
  ring.in = ring;
  /** Some ten objects, of which a text would have to write sixteen million. */
  const shared = Array.from({ length: 12 }).reduce<unknown>((inner) => [inner, { a: inner, b: inner }, inner], "x");
  // As a program without types writes it.
  const gives = (value: unknown) => ({ inputs: () => value as null });

  test.each<[string, Pick<GuardOptions<[unknown], unknown>, "inputs">, unknown]>([
    ["an instance of a class", {}, new Order()],
    ["what is too long", {}, "x".repeat(65_000)],
    ["what is written as often as it is shared", {}, shared],
    ["a function", {}, throwing],
    ["what cannot be looked at", {}, new Proxy({}, { getPrototypeOf: throwing, ownKeys: throwing })],
    ["what cannot be looked at any more", {}, revoked()],
    ["what its option keeps back", gives(undefined), { to: "alice" }],
    ["what its option makes a BigInt", gives(1n), { to: "alice" }],
    ["what its option makes a ring", gives(ring), { to: "alice" }],
    ["what its option makes a getter that throws", gives({ in: Object.defineProperty({}, "to", { enumerable: true, get: throwing }) }), null],
    ["what its option makes a proxy that throws", gives(new Proxy({}, { getPrototypeOf: throwing })), null],
    ["what its option shares too often", gives(shared), { to: "alice" }],
    ["one text, thousands of times", {}, Array.from({ length: 8_000 }, () => "x".repeat(60_000))],
    ["what its option makes too long", gives("x".repeat(3_000_000)), { to: "alice" }],
  ])("%s is told to be there and not to be shown; where nobody must see it, it runs", async (_, options, argument) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    const got: unknown[] = [];
    const began = performance.now();
    const running = session.guard({ action: "send", ...options }, (given: unknown) => void got.push(given))(argument);
    expect(performance.now() - began, "to look at it holds nobody up").toBeLessThan(2_000);
    await running;
    expect(got[0] === argument && got.length === 1).toBe(true);
    expect(gateway.seen[0]?.body).toEqual({ id: expect.any(String), run: RUN, action: "send", inputs_digest: `sha-256:${"0".repeat(64)}` });
  });

  test.each<[string, readonly unknown[], unknown]>([
    ["no arguments", [], []],
    ["none that say anything", [undefined, undefined], []],
    ["a plain object", [{ to: "alice" }], { to: "alice" }],
    ["a list", [["alice"]], [["alice"]]],
  ])("is not there where there are %s: all is shown", async (_, args, shown) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    await session.guard({ action: "send" }, (..._given: unknown[]) => undefined)(...args);
    expect(gateway.seen[0]?.body).toEqual({ id: expect.any(String), run: RUN, action: "send", inputs: shown });
  });

  test("nobody can approve, and so nothing else runs in its place", async () => {
    const { sentinel } = createTestSentinel({ policy: "version: 1\napprovals: { actions: [pay] }" });
    const session = await sentinel.openSession();
    let runs = 0;
    const pay = (_: Order) => runs++;
    const denied = { name: "PolicyViolationError", code: "inputs_required" };
    await expect(session.guard({ action: "pay" }, pay)(new Order())).rejects.toMatchObject(denied);
    await expect(guardHeld(session, { action: "pay", onHold: "wait" }, pay)(new Order())).rejects.toMatchObject(denied);
    await expect(session.guard({ action: "pay", inputs: () => undefined }, pay)({ to: "alice" })).rejects.toMatchObject(denied);
    // What was approved as plain data lets no other run.
    const error = await session
      .guard(
        { action: "pay" },
        pay,
      )({ to: "alice" })
      .catch((held: unknown) => held);
    if (!isAgentSentinelError(error, "ApprovalRequiredError")) throw error;
    await expect((await resume(sentinel, error)).guard({ action: "pay" }, pay)(new Order())).rejects.toMatchObject({ name: "ApprovalRequiredError" });
    expect(runs).toBe(0);
  });

  function revoked(): object {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  }
});

describe("a call that does not run gives back what was reserved", () => {
  test("although neither its answer nor the first word about it came through", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push("did it", "did it", "did it", "did nothing", { status: 503 });
    let runs = 0;
    await expect(session.guard({ action: "send" }, () => runs++)()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
    await expect.poll(() => [...gateway.decisions.values()].map((each) => each.state)).toEqual(["released"]);
    expect([runs, gateway.count(/decisions$/)]).toEqual([0, 3]);
  });

  test("and asks nothing again: what never arrived takes no money, no place in a rate and nobody's time", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push("did nothing", "did nothing", "did nothing");
    await expect(session.guard({ action: "send" }, () => 1)()).rejects.toMatchObject({ name: "GatewayUnavailableError" });
    await expect.poll(() => gateway.count(/release/)).toBe(2);
    expect([gateway.decisions.size, gateway.count(/decisions$/)]).toEqual([0, 3]);
  });

  test("although it is decided only once it was given up", async () => {
    await using gateway = await fakeGateway();
    const stop = new AbortController();
    const { time } = await openFake(gateway);
    let late: (() => Promise<Response>) | undefined;
    const { session } = await openFake(gateway, {
      ...time,
      fetch: async (url, init) => {
        if (/decisions$/.test(url)) {
          late = () => time.fetch(url, { ...init, signal: new AbortController().signal });
          stop.abort(new Error("the user left"));
          return new Promise(() => undefined);
        }
        const answer = await time.fetch(url, init);
        // It was on its way, and arrives after the first word about it.
        await late?.();
        return answer;
      },
    });
    await expect(session.guard({ action: "send", signal: stop.signal }, () => 1)()).rejects.toThrow("the user left");
    await expect.poll(() => [...gateway.decisions.values()].map((each) => each.state)).toEqual(["released"]);
  });

  test("and asks once more about nothing that was denied or was never asked", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("send", DENY);
    const { session } = await openFake(gateway);
    await expect(session.guard({ action: "send" }, () => 1)()).rejects.toMatchObject({ code: "action_denied" });
    await expect(session.guard({ action: "send", signal: AbortSignal.abort(new Error("left")) }, () => 1)()).rejects.toThrow("left");
    await session.read();
    expect(gateway.seen.map(({ path }) => path.replace(/.*\//, ""))).toEqual(["decisions", SESSION]);
  });
});

describe("a call with an id of its own", () => {
  const id = "dec_01890000-0000-7000-8000-000000000009";
  const SETTLED = { name: "GatewayRefusedError", code: "decision_settled" };
  const thrown = (call: Promise<unknown>) =>
    call.then(
      () => null,
      (error: unknown) => error,
    );

  test("runs once, however often it is made at once or afterwards, and nothing is asked for the others", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    let runs = 0;
    const send = session.guard({ action: "send", id }, () => runs++);
    const [first, ...others] = await Promise.all([thrown(send()), thrown(send()), thrown(send())]);
    expect([first, ...others, await thrown(send())]).toMatchObject([null, SETTLED, SETTLED, SETTLED]);
    expect([runs, gateway.count(/decisions$/), gateway.count(/commit/)]).toEqual([1, 1, 1]);
  });

  test.each<[string, wire.DecisionState, number]>([
    ["has not ended", "pending", 1],
    ["was reported", "posted", 0],
    ["was given back", "released", 0],
    ["has expired", "expired", 1],
  ])("that was made elsewhere runs only where it %s, by the record", async (_, state, times) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    await session.decide({ action: "send", id, inputs: [] });
    for (const decision of gateway.decisions.values()) decision.state = state;
    let runs = 0;
    const error = await thrown(session.guard({ action: "send", id }, () => runs++)());
    if (times === 0) expect(error).toMatchObject(SETTLED);
    expect([runs, gateway.count(/release/)]).toEqual([times, 0]);
  });

  test("does not run where nobody can say whether it has, whatever its options say", async () => {
    await using gateway = await fakeGateway();
    const { time } = await openFake(gateway);
    const { session } = await openFake(gateway, {
      ...time,
      fetch: (url, init) => (init.method === "GET" ? Promise.reject(new TypeError("fetch failed")) : time.fetch(url, init)),
    });
    let runs = 0;
    const send = session.guard({ action: "send", id, onUnavailable: "allow" }, () => runs++);
    expect(await thrown(send())).toMatchObject({ name: "GatewayUnavailableError" });
    expect([runs, gateway.count(/release/)]).toEqual([0, 0]);
  });

  test.each<[string, Partial<wire.Decision>]>([
    ["denied", DENY],
    ["held", held()],
  ])("that was %s once does not run undecided, whatever its options say", async (_, says) => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.answers.set("send", says);
    let runs = 0;
    const send = (own: string) => session.guard({ action: "send", id: own, onUnavailable: "allow" }, () => runs++)();
    expect(isAgentSentinelError(await thrown(send(id)))).toBe(true);
    const lost = ["did nothing", "did nothing", "did nothing"] as const;
    gateway.fates.push(...lost);
    expect(await thrown(send(id))).toMatchObject({ name: "GatewayUnavailableError" });
    expect(runs).toBe(0);
    // A first question that nobody answers is what the option is for.
    gateway.fates.push(...lost);
    expect([await thrown(send(id.replace(/9$/, "8"))), runs]).toEqual([null, 1]);
  });

  test("can be made again as long as it has not run", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    gateway.fates.push("did it", "did it", "did it");
    let runs = 0;
    const send = session.guard({ action: "send", id }, () => runs++);
    expect(await thrown(send())).toMatchObject({ name: "GatewayUnavailableError" });
    expect([await thrown(send()), runs]).toEqual([null, 1]);
  });
});

describe("a commit that fails", () => {
  test.each([
    ["is never answered", ["did nothing", "did nothing", "did nothing"] as const, "GatewayUnavailableError", 3],
    ["is refused", [problem(409, "decision_settled")], "GatewayRefusedError", 1],
  ])("and %s is told to its observer, and replaces neither result nor exception", async (_, fates, name, tries) => {
    await using gateway = await fakeGateway();
    const told: CommitFailed[] = [];
    const { session } = await openFake(gateway, {
      onCommitFailed: (event) => {
        told.push(event);
        throw new Error("an observer's own trouble");
      },
    });
    const run = (fn: () => unknown) =>
      session.guard({ action: "pay", costUsd: "0.3" }, () => {
        gateway.fates.push(...fates);
        return fn();
      })();
    expect(await run(() => "paid")).toBe("paid");
    await expect(
      run(() => {
        throw new RangeError("own");
      }),
    ).rejects.toThrow(RangeError);
    expect(told.map(({ action, report, error }) => [action, report?.outcome, report?.costUsd, (error as Error).name])).toEqual([
      ["pay", "success", "0.3", name],
      ["pay", "error", "0.3", name],
    ]);
    expect(gateway.count(/commit/)).toBe(2 * tries);
  });

  test("although it was done is repeated and posted once with the same words", async () => {
    await using gateway = await fakeGateway();
    const { session } = await openFake(gateway);
    await session.guard({ action: "pay", costUsd: "0.3" }, () => void gateway.fates.push("did it"))();
    const commits = gateway.seen.filter((each) => /commit/.test(each.path)).map((each) => each.body);
    expect(commits).toHaveLength(2);
    expect(commits[0]).toEqual(commits[1]);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("no usage");
      },
    ],
    ["gives NaN", () => Number.NaN],
    ["gives a text", () => "a lot"],
  ])("because actualUsd %s charges the estimate and says so", async (_, actualUsd) => {
    await using gateway = await fakeGateway();
    const told: CommitFailed[] = [];
    const { session } = await openFake(gateway, { onCommitFailed: (event) => void told.push(event) });
    expect(await session.guard({ action: "ask", costUsd: "0.5", actualUsd }, () => "answer")()).toBe("answer");
    expect(gateway.seen[1]?.body).toMatchObject({ cost_usd: "0.5", outcome: "success" });
    expect(told).toHaveLength(1);
  });
});

describe("an unreachable gateway", () => {
  const dead = async (): Promise<never> => Promise.reject(new TypeError("fetch failed"));

  test("lets nothing run, and says that it may be tried again", async () => {
    const session = await clientOf(dead).open();
    let runs = 0;
    await expect(session.guard({ action: "pay" }, () => runs++)()).rejects.toMatchObject({
      name: "GatewayUnavailableError",
      code: "gateway_unavailable",
      recoverable: true,
      message: 'Cannot decide "pay": the gateway at https://gate.test is unavailable: fetch failed; is the gateway\'s address right?',
    });
    expect(runs).toBe(0);
  });

  test.each<[string, Fate, string | undefined]>([
    ["had decided all the same is told what it did cost", "did it", "0.1"],
    ["had not is told in vain, and nobody hears of that", "did nothing", undefined],
  ])("that %s", async (_, fate, posted) => {
    await using gateway = await fakeGateway();
    const told: string[] = [];
    const { session } = await openFake(gateway, { onUnguarded: () => void told.push("unguarded"), onCommitFailed: () => void told.push("failed") });
    gateway.fates.push(fate, fate, fate);
    const log = session.guard({ action: "log", costUsd: "0.5", actualUsd: () => "0.1", onUnavailable: "allow" }, () => "logged");
    expect(await log()).toBe("logged");
    await expect.poll(() => gateway.count(/commit/)).toBe(1);
    await session.read();
    expect([[...gateway.decisions.values()].map(({ posted_usd }) => posted_usd)[0], told]).toEqual([posted, ["unguarded"]]);
  });

  test("is told of what was denied meanwhile, and nobody hears of that either", async () => {
    await using gateway = await fakeGateway();
    gateway.answers.set("log", DENY);
    const told: string[] = [];
    const { session } = await openFake(gateway, { onCommitFailed: () => void told.push("failed") });
    gateway.fates.push("did it", "did it", "did it");
    expect(await session.guard({ action: "log", onUnavailable: "allow" }, () => "logged")()).toBe("logged");
    await expect.poll(() => gateway.count(/commit/)).toBe(1);
    await session.read();
    expect(told).toEqual([]);
  });

  test("lets run what says so in writing, and reports it", async () => {
    const told: Unguarded[] = [];
    const session = await clientOf(dead, { onUnguarded: (event) => void told.push(event) }).open();
    expect(await session.guard({ action: "log", onUnavailable: "allow" }, () => "logged")()).toBe("logged");
    expect(told).toMatchObject([{ action: "log", session: SESSION, error: { name: "GatewayUnavailableError" } }]);
  });
});

test("A decision that stops the run aborts the run's signal, and a new run has its own; one that stops the session stays.", async () => {
  await using gateway = await fakeGateway();
  gateway.answers.set("run over", denied("run_budget_exceeded", "Gone.", { stops: "run" }));
  gateway.answers.set("all over", denied("session_killed", "The session was killed.", { stops: "session" }));
  gateway.answers.set("only this", DENY);
  const { session } = await openFake(gateway);
  await session.decide({ action: "only this" });
  await session.decide({ action: "run over", run: "run_another" });
  expect(session.signal.aborted).toBe(false);
  const first = session.signal;
  await session.decide({ action: "run over" });
  expect([first.aborted, (first.reason as Error).name]).toEqual([true, "BudgetExceededError"]);
  await session.startRun();
  expect(session.signal.aborted).toBe(false);
  await session.decide({ action: "all over" });
  await session.startRun();
  expect(session.signal.reason).toBeInstanceOf(AgentKilledError);
});

test("However the gateway answers and fails, a function runs at most once for each allow, and never without one.", async () => {
  await using gateway = await fakeGateway();
  const { session } = await openFake(gateway);
  gateway.answers.set("deny", DENY).set("hold", held());
  const call = fc.record({
    action: fc.constantFrom("allow", "deny", "hold"),
    fates: fc.array(fc.constantFrom("did nothing" as const, "did it" as const, { status: 503 }, { status: 200, body: { verdict: "allow" } }), {
      maxLength: 3,
    }),
    throws: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 1, maxLength: 6 }), async (calls) => {
      gateway.decisions.clear();
      let runs = 0;
      for (const { action, fates, throws } of calls) {
        gateway.fates.splice(0, Number.POSITIVE_INFINITY, ...fates);
        const before = runs;
        await guarded(session, action, throws, () => runs++)().catch(() => undefined);
        expect(runs - before).toBeLessThanOrEqual(action === "allow" ? 1 : 0);
      }
      const allows = [...gateway.decisions.values()].filter((each) => each.verdict === "allow").length;
      expect(runs).toBeLessThanOrEqual(allows);
    }),
    { numRuns: 40 },
  );
});

const guarded = (session: Session, action: string, throws: boolean, ran: () => void) =>
  session.guard({ action }, () => {
    ran();
    if (throws) throw new Error("own");
  });
