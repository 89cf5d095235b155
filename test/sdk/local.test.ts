import { AsyncLocalStorage } from "node:async_hooks";
import { setImmediate as later } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { BudgetExceededError, isAgentSentinelError, PolicyViolationError } from "../../sdk/src/errors.ts";
import { Authority } from "../../sdk/src/local/authority.ts";
import { SyncContexts } from "../../sdk/src/local/contexts.ts";
import { readLocalPolicy } from "../../sdk/src/local/policy_source.ts";
import { readReport, readRequest } from "../../sdk/src/local/request.ts";
import { computedSha256, sha256 } from "../../sdk/src/local/sha256.ts";
import { fastUuid } from "../../sdk/src/local/uuid.ts";
import {
  createLocalSentinel,
  createMemoryStore,
  createReplay,
  guardedAction,
  type LedgerError,
  type LedgerLine,
  type LedgerRecord,
  type LedgerStore,
  type LocalCallContext,
  LocalEngine,
  type LocalObservers,
  LocalRefusedError,
  type LocalRun,
  type Replay,
  ReplayDivergenceError,
  totalUsd,
} from "../../sdk/src/local.ts";
import { isId, type RunId } from "../../src/core/ids.ts";
import { sha256 as nodeSha256 } from "../core/sha256.ts";

/** A sentinel with a ledger that a test can read. */
function world(
  policy: string | object | null = "version: 1",
  more: LocalObservers & { now?: () => number; newId?: () => string; replay?: Replay } = {},
) {
  const store = createMemoryStore();
  const sentinel = createLocalSentinel({ policy, ledger: store, ...more });
  const lines = (): readonly LedgerLine[] => store.after(0, 1_000);
  const told = (): readonly string[] => lines().map(({ kind, action, outcome, cost_usd }) => `${kind} ${action} ${outcome} ${cost_usd}`);
  return { sentinel, store, lines, told };
}

/** What a call throws. */
function thrown(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to throw");
}

const codeOf = (act: () => unknown): unknown => Reflect.get(Object(thrown(act)), "code");

describe("A guarded function", () => {
  it("is decided before it runs, settled after it, and on record both times", () => {
    const { sentinel, lines, told } = world({ budgets: { run: 0.5 } });
    const seenBefore: string[] = [];
    const search = sentinel.guard({ action: "search", costUsd: 0.2, tags: ["web"] }, (query: string) => {
      seenBefore.push(...told());
      return { hits: [query] };
    });
    expect(search("cats")).toEqual({ hits: ["cats"] });
    expect(seenBefore).toEqual(["decision search allowed 0"]);
    expect(told()).toEqual(["decision search allowed 0", "outcome search success 0.2"]);
    const [decision, outcome] = lines();
    expect(outcome).toMatchObject({
      decision_id: decision?.decision_id,
      payload: { inputs: { args: ["cats"], kwargs: {} }, outputs: { hits: ["cats"] } },
      tags: ["web"],
      agent_id: "local",
      session_id: sentinel.session,
      run_id: sentinel.currentRun.id,
      verdict: "allow",
      reason: "permitted",
      estimate_usd: 0.2,
    });
    expect(sentinel.costs()).toEqual({ sessionTotal: 0.2, runTotal: 0.2, actionCosts: { search: 0.2 }, actionCounts: { search: 1 } });
  });

  it("does not run, is charged nothing and is on record as refused when the answer is no", () => {
    const { sentinel, lines } = world({ budgets: { run: 0.3 }, denied_actions: ["drop"] });
    let ran = 0;
    const run = () => ++ran;
    const dear = sentinel.guard({ action: "dear", costUsd: "0.2" }, run);
    dear();
    expect(thrown(dear)).toBeInstanceOf(BudgetExceededError);
    expect(thrown(sentinel.guard({ action: "drop" }, run))).toBeInstanceOf(PolicyViolationError);
    expect(ran).toBe(1);
    expect(lines().map(({ outcome, reason }) => `${outcome} ${reason}`)).toEqual([
      "allowed permitted",
      "success permitted",
      "denied run_budget_exceeded",
      "denied action_denied",
    ]);
    expect(sentinel.costs().sessionTotal).toBe(0.2);
  });

  it.each<[what: string, policy: string | object | null, inputs: unknown, code: string]>([
    ["no policy is there", null, {}, "policy_missing"],
    ["nothing is listed", { allowed_actions: [] }, {}, "action_not_allowed"],
    ["a rule forbids it", { rules: [{ effect: "forbid", actions: ["act"], when: "inputs.to == 'eve'" }] }, { to: "eve" }, "rule_forbids"],
    [
      "a rule needs what is no plain data",
      { rules: [{ effect: "forbid", actions: ["act"], when: "inputs.to == 'eve'" }] },
      new Map(),
      "inputs_required",
    ],
    ["the arguments do not fit", { arguments: { act: { required: ["to"] } } }, {}, "arguments_invalid"],
    ["nothing came before", { requires: { act: { after: ["look"] } } }, {}, "prerequisite_missing"],
    ["a person must approve it", { approvals: { actions: ["act"] } }, {}, "approval_required"],
    ["a person could not see what is to be approved", { approvals: { actions: ["act"] } }, new Map(), "inputs_required"],
    ["the rate is used up", { rate_limits: { act: { max_count: 0, window_seconds: 60 } } }, {}, "rate_exceeded"],
    ["an estimate is above the budget", { budgets: { actions: { act: 0.1 } } }, {}, "action_budget_exceeded"],
  ])("does not run when %s", (_, policy, inputs, code) => {
    const { sentinel } = world(policy);
    let ran = false;
    const act = sentinel.guard({ action: "act", costUsd: 0.2 }, (_input: unknown) => {
      ran = true;
    });
    const error = thrown(() => act(inputs));
    expect(isAgentSentinelError(error)).toBe(true);
    expect(error).toMatchObject({ code });
    expect(ran).toBe(false);
  });

  it.each<[what: string, inputs: () => unknown]>([
    ["undefined", () => undefined],
    ["what is no plain data", () => new Map([["to", "eve"]])],
    ["more than can be shown", () => "x".repeat(64_001)],
  ])("does not run where what it is called with must be seen and its option gives %s, though it is called with nothing", (_, give) => {
    const { sentinel } = world({ approvals: { actions: ["ask"] }, rules: [{ effect: "forbid", actions: ["act"], when: "inputs.to == 'eve'" }] });
    let ran = 0;
    // Whatever a program without types may give.
    const called = (action: string) => sentinel.guard({ action, inputs: give as () => null }, () => ++ran);
    for (const action of ["ask", "act"]) expect(thrown(called(action))).toMatchObject({ name: "PolicyViolationError", code: "inputs_required" });
    expect([ran, called("other")()]).toEqual([0, 1]);
  });

  it("does not run where the option that says what it is called with throws, and nothing is on record of it", () => {
    const { sentinel, lines } = world({ approvals: { actions: ["ask"] } });
    const oops = new Error("Oops!");
    const inputs = (): null => {
      throw oops;
    };
    let ran = 0;
    for (const action of ["ask", "act"]) expect(thrown(sentinel.guard({ action, inputs }, () => ++ran))).toBe(oops);
    expect([ran, lines()]).toEqual([0, []]);
  });

  it("says without a policy what to write", () => {
    const { sentinel } = world(null);
    expect(thrown(sentinel.guard({ action: "a" }, () => 1))).toMatchObject({
      remediation: { hint: expect.stringContaining("PolicyEngine.configure({})") },
    });
  });

  it.each<[costUsd: string | number | ((size: number) => string | number), actual: string | number | undefined, estimate: number, cost: number]>([
    [0.25, undefined, 0.25, 0.25],
    ["0.000001", undefined, 0.000001, 0.000001],
    [(size) => size * 0.1, undefined, 0.3, 0.3],
    [(size) => `0.0${size}`, "0.01", 0.03, 0.01],
    [0.5, 0.75, 0.5, 0.75],
    [0.5, 0, 0.5, 0],
    [0.5, -1, 0.5, 0.5],
  ])("that may cost %s and did cost %s is reserved and charged so", (costUsd, actual, estimate, cost) => {
    const failed: unknown[] = [];
    const { sentinel, lines } = world("version: 1", { onOptionFailed: ({ error }) => failed.push(error) });
    const act = sentinel.guard({ action: "act", costUsd, ...(actual !== undefined && { actualUsd: () => actual }) }, (size: number) => size);
    expect(act(3)).toBe(3);
    expect(lines().map((line) => [line.estimate_usd, line.cost_usd])).toEqual([
      [estimate, 0],
      [estimate, cost],
    ]);
    expect(failed).toHaveLength(actual === -1 ? 1 : 0);
  });

  it("passes its exceptions unchanged, and they are on record as errors at the estimate", async () => {
    const { sentinel, lines } = world();
    for (const oops of [new Error("Oops!"), "text", undefined, null, Object.freeze({ code: 1 })]) {
      const fail = sentinel.guard({ action: "fail", costUsd: 0.01 }, (): number => {
        throw oops;
      });
      const failLater = sentinel.guard({ action: "fail", costUsd: 0.01 }, async (): Promise<number> => {
        await later();
        throw oops;
      });
      expect(thrown(fail)).toBe(oops);
      expect(await failLater().then(undefined, (error: unknown) => error)).toBe(oops);
    }
    const ended = lines().filter(({ kind }) => kind === "outcome");
    expect(ended).toHaveLength(10);
    expect(ended.every(({ outcome, cost_usd }) => outcome === "error" && cost_usd === 0.01)).toBe(true);
    expect(ended[0]?.payload.outputs).toMatchObject({ $value: "error", name: "Error", message: "Oops!" });
  });

  it("keeps this, name, length, its own members and its kind", () => {
    const { sentinel } = world();
    const twice = Object.assign(
      function twice(this: { by: number }, value: number, _other?: string) {
        return value * this.by;
      },
      { version: 7 },
    );
    const guarded = sentinel.guard({ action: "twice" }, twice);
    expect(guarded.call({ by: 2 }, 21)).toBe(42);
    expect([guarded.name, guarded.length, guarded.version]).toEqual(["twice", 2, 7]);
    const slow = async () => 1;
    expect(Object.prototype.toString.call(sentinel.guard({ action: "slow" }, slow))).toBe("[object AsyncFunction]");
    const withContext = sentinel.guard({ action: "c", context: true }, (_context, _one: number, _two: number) => 1);
    expect(withContext.length).toBe(2);
  });

  it("keeps its type exactly", () => {
    const { sentinel } = world();
    function over(value: string): string;
    function over(value: number): number;
    function over(value: string | number): string | number {
      return value;
    }
    const generic = <T>(items: readonly T[]): T | undefined => items[0];
    expectTypeOf(sentinel.guard({ action: "a" }, over)).toEqualTypeOf<typeof over>();
    const same: typeof generic = sentinel.guard({ action: "a" }, generic);
    expectTypeOf(same([1, 2])).toEqualTypeOf<number | undefined>();
    expectTypeOf(sentinel.guard({ action: "a" }, async (to: string) => to.length)).toEqualTypeOf<(to: string) => Promise<number>>();
    expectTypeOf(
      sentinel.guard({ action: "a" }, function* (n: number) {
        yield n;
        return "end";
      }),
    ).toEqualTypeOf<(n: number) => Generator<number, string, unknown>>();
    expectTypeOf(sentinel.guard({ action: "a", context: true }, (_context, to: string) => to.length)).toEqualTypeOf<
      (this: unknown, to: string) => number
    >();
    sentinel.guard({ action: "a", costUsd: (to) => to.length, actualUsd: (result) => result.cost }, async (to: string) => ({ to, cost: 0.1 }));
    // @ts-expect-error: an amount is no boolean.
    sentinel.guard({ action: "a", costUsd: () => true }, (to: string) => to);
  });

  it.each<[what: string, options: object]>([
    ["a name that is none", { action: "two words" }],
    ["no name", { action: "" }],
    ["a price that is none", { action: "a", costUsd: "1e3" }],
    ["a time that is none", { action: "a", ttlMs: 0.5 }],
    ["a risk that is none", { action: "a", riskLevel: "extreme" }],
    ["parents that are none", { action: "a", parents: ["me"] }],
    ["parents that are one text", { action: "a", parents: "dec_1" }],
    ["tags that are one text", { action: "a", tags: "web" }],
    ["sources that are one text", { action: "a", sources: "web" }],
    ["an option that there is not", { action: "a", cost: 1 }],
  ])("is not made with %s", (_, options) => {
    // What a program without types could say.
    expect(() => world().sentinel.guard(options as { action: string }, () => 1)).toThrow(/^Cannot /);
  });

  it("asks its options once, before anything is reserved: rules and the record see the same, and what throws costs nothing", () => {
    const { sentinel, lines } = world({ budgets: { session: 1 }, rules: [{ effect: "forbid", actions: ["a"], when: "inputs.n == 7" }] });
    const broken = new Error("mine");
    for (const action of ["a", "b"]) {
      const act = sentinel.guard(
        {
          action,
          costUsd: 0.6,
          inputs: () => {
            throw broken;
          },
        },
        () => 1,
      );
      expect([thrown(act), thrown(act)]).toEqual([broken, broken]);
    }
    let asked = 0;
    expect(sentinel.guard({ action: "a", costUsd: 1, inputs: () => ({ n: ++asked }) }, () => 2)()).toBe(2);
    expect([asked, lines()[0]?.payload.inputs, sentinel.costs().sessionTotal]).toEqual([1, { n: 1 }, 1]);
  });

  it("gives what throws when it is looked at as it is", async () => {
    const { sentinel, told } = world();
    const odd = (member: string | symbol) =>
      Object.defineProperty({}, member, {
        get() {
          throw new Error("not to be looked at");
        },
      });
    for (const member of ["then", "getReader", Symbol.asyncIterator, "next"]) {
      const one = odd(member);
      expect(sentinel.guard({ action: "a" }, () => one)() === one).toBe(true);
      if (member !== "then") expect((await sentinel.guard({ action: "a" }, async () => one)()) === one).toBe(true);
    }
    expect(told().filter((line) => line === "outcome a success 0")).toHaveLength(7);
  });

  it("does not run under an id that was given before: its money is another call's", () => {
    const { sentinel, told } = world({ budgets: { session: 1 } }, { newId: () => "0190c3b0-0000-7000-8000-000000000000" });
    let ran = 0;
    const act = sentinel.guard({ action: "a", costUsd: 0.6 }, () => ++ran);
    act();
    expect(thrown(act)).toEqual(new TypeError('Cannot run "a": the option "newId" gave an id twice'));
    expect([ran, told()]).toEqual([1, ["decision a allowed 0", "outcome a success 0.6"]]);
  });

  it("that is reported by hand while it runs is on record with that report's cost", () => {
    const { sentinel, told } = world();
    const act = sentinel.guard({ action: "a", costUsd: 0.6, context: true }, ({ decisionId }) =>
      sentinel.commit(decisionId, { costUsd: 0.1, outcome: "success" }),
    );
    expect(act().postedUsd).toBe("0.1");
    expect([told().at(-1), sentinel.costs().sessionTotal]).toEqual(["outcome a success 0.1", 0.1]);
  });

  it("rejects, rather than throws, where it is async", async () => {
    const { sentinel } = world({ denied_actions: ["a"] });
    const denied = sentinel.guard({ action: "a" }, async () => 1);
    await expect(denied()).rejects.toThrow('Cannot run "a": the policy denies "a"');
    await expect(sentinel.guard({ action: "b", signal: AbortSignal.abort("enough") }, async () => 1)()).rejects.toBe("enough");
  });
});

describe("A promise that a guarded function gives", () => {
  class Answer<T> extends Promise<T> {
    raw = "raw";
    #secret = 7;
    secret(): number {
      return this.#secret;
    }
  }

  it("of a kind of its own keeps its members, and is settled once, whoever waits how often", async () => {
    const { sentinel, told } = world();
    const ask = sentinel.guard({ action: "ask", costUsd: 0.01 }, () => new Answer<string>((resolve) => resolve("yes")));
    const answer = ask();
    expect([answer.raw, answer.secret(), answer instanceof Answer]).toEqual(["raw", 7, true]);
    expect(told()).toEqual(["decision ask allowed 0"]);
    expect(await Promise.all([answer, answer.finally(() => undefined), answer.catch(() => "no")])).toEqual(["yes", "yes", "yes"]);
    expect(told()).toEqual(["decision ask allowed 0", "outcome ask success 0.01"]);
  });

  it("that begins when somebody waits for it begins only then, and once", async () => {
    const { sentinel } = world();
    let begun = 0;
    const lazy = sentinel.guard(
      { action: "query" },
      (): PromiseLike<number> => ({
        // biome-ignore lint/suspicious/noThenProperty: it is what query builders do.
        then: (kept) => Promise.resolve(++begun).then(kept),
      }),
    );
    const query = lazy();
    await later();
    expect(begun).toBe(0);
    expect([await query, await query, begun]).toEqual([1, 1, 1]);
  });

  it.each<[string, (kept: (value: number) => unknown, failed: (error: unknown) => unknown) => unknown, unknown, string]>([
    ["a value", (kept) => void kept(5), 5, "success"],
    ["an error", (_, failed) => void failed("no"), "no", "error"],
    [
      "what its then throws",
      () => {
        throw "no";
      },
      "no",
      "error",
    ],
  ])("that is no promise, but can be waited for, gives %s as it would unguarded", async (_, then, given, outcome) => {
    const { sentinel, told } = world();
    // Anything may have a `then`, and whoever waits for it calls it: what it gives is nobody's business.
    const bare = { then } as PromiseLike<number>;
    const wait = async (act: () => PromiseLike<number>): Promise<unknown> => {
      try {
        return await act();
      } catch (error) {
        return error;
      }
    };
    expect([await wait(() => bare), await wait(sentinel.guard({ action: "act" }, () => bare))]).toEqual([given, given]);
    expect(told()).toEqual(["decision act allowed 0", `outcome act ${outcome} 0`]);
  });

  it("with members of its own is settled though nobody waits for it, if it is the language's", async () => {
    const { sentinel, told } = world();
    const act = sentinel.guard({ action: "a" }, () => Object.assign(Promise.resolve("done"), { child: 7 }));
    expect(act().child).toBe(7);
    await later();
    expect(told()).toEqual(["decision a allowed 0", "outcome a success 0"]);
  });

  it("that fails unseen is still told by the runtime, because nothing is swallowed", async () => {
    const { sentinel } = world();
    const unseen = new Promise((resolve) => process.once("unhandledRejection", resolve));
    const listeners = process.listeners("unhandledRejection").filter((listener) => listener !== process.listeners("unhandledRejection").at(-1));
    for (const listener of listeners) process.off("unhandledRejection", listener);
    try {
      const oops = new Error("unseen");
      void sentinel.guard({ action: "fail" }, async () => {
        throw oops;
      })();
      expect(await unseen).toBe(oops);
    } finally {
      for (const listener of listeners) process.on("unhandledRejection", listener);
    }
  });
});

describe("A stream that a guarded function gives", () => {
  const made = (sentinel: ReturnType<typeof world>["sentinel"]) => ({
    generator: sentinel.guard({ action: "s", costUsd: 0.01, actualUsd: () => 0.004 }, function* (): Generator<number, string, string | undefined> {
      try {
        const said = yield 1;
        yield said === "again" ? 1 : 2;
        return "end";
      } finally {
        sentinel.guard({ action: "cleanup" }, () => undefined)();
      }
    }),
    asyncGenerator: sentinel.guard({ action: "s", costUsd: 0.01, actualUsd: () => 0.004 }, async function* () {
      yield 1;
      await later();
      yield 2;
    }),
    readable: sentinel.guard({ action: "s", costUsd: 0.01, actualUsd: () => 0.004 }, async () => {
      const source: Iterator<number> = [1, 2].values();
      return new ReadableStream<number>({
        pull(controller) {
          const { done, value } = source.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
      });
    }),
  });
  const outcomes = ({ lines }: ReturnType<typeof world>) =>
    lines()
      .filter(({ kind, action }) => kind === "outcome" && action === "s")
      .map(({ outcome, cost_usd }) => `${outcome} ${cost_usd}`);

  it("is not over before it was read, and then costs what it did", async () => {
    const one = world();
    const { generator, asyncGenerator, readable } = made(one.sentinel);
    const steps = generator();
    expect([steps.next().value, outcomes(one).length]).toEqual([1, 0]);
    expect([steps.next("again"), steps.next(), steps.next()]).toEqual([
      { value: 1, done: false },
      { value: "end", done: true },
      { value: undefined, done: true },
    ]);
    expect(outcomes(one)).toEqual(["success 0.004"]);
    const found: number[] = [];
    for await (const value of asyncGenerator()) found.push(value);
    const reader = (await readable()).getReader();
    for (let step = await reader.read(); !step.done; step = await reader.read()) found.push(step.value);
    expect(found).toEqual([1, 2, 1, 2]);
    expect(outcomes(one)).toEqual(["success 0.004", "success 0.004", "success 0.004"]);
  });

  it("may be frozen", async () => {
    const { sentinel, told } = world();
    const frozen = sentinel.guard({ action: "s" }, () => {
      const numbers = [1, 2].values();
      return Object.freeze<IterableIterator<number>>({
        next: () => numbers.next(),
        [Symbol.iterator]() {
          return this;
        },
      });
    });
    const frozenAsync = sentinel.guard({ action: "s" }, () => {
      const numbers = [1, 2].values();
      const end = async () => ({ done: true as const, value: undefined });
      return Object.freeze({
        next: async () => numbers.next(),
        return: end,
        throw: end,
        [Symbol.asyncIterator]() {
          return this;
        },
      });
    });
    const read: number[] = [...frozen()];
    for await (const n of frozenAsync()) read.push(n);
    expect(read).toEqual([1, 2, 1, 2]);
    expect(told().filter((line) => line === "outcome s success 0")).toHaveLength(2);
  });

  it("that is left early costs its estimate, and its own end is run", async () => {
    const one = world();
    const { generator, asyncGenerator, readable } = made(one.sentinel);
    for (const _ of generator()) break;
    for await (const _ of asyncGenerator()) break;
    await (await readable()).cancel();
    expect(outcomes(one)).toEqual(["success 0.01", "success 0.01", "success 0.01"]);
    expect(one.told()).toContain("outcome cleanup success 0");
  });

  it("that fails is on record as an error, and its error is the reader's", async () => {
    const one = world();
    const oops = new Error("broken");
    const generator = one.sentinel.guard({ action: "s", costUsd: 0.01 }, function* () {
      yield 1;
      throw oops;
    });
    const readable = one.sentinel.guard({ action: "s", costUsd: 0.01 }, () => new ReadableStream({ pull: () => Promise.reject(oops) }));
    expect(thrown(() => [...generator()])).toBe(oops);
    await expect(readable().getReader().read()).rejects.toBe(oops);
    expect(outcomes(one)).toEqual(["error 0.01", "error 0.01"]);
  });

  it("of a kind that cannot be watched is not let through", () => {
    const one = world();
    let stopped = false;
    const stream = one.sentinel.guard({ action: "s", costUsd: 0.01 }, () => ({
      [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }),
      destroy() {
        stopped = true;
      },
    }));
    expect(() => stream()).toThrow(TypeError);
    expect([stopped, ...outcomes(one)]).toEqual([true, "error 0.01"]);
  });

  it("that nobody reads is posted at its estimate when its reservation ends, and a late end corrects it", () => {
    let now = 1_700_000_000_000;
    const one = world({ budgets: { run: 0.02 } }, { now: () => now });
    const steps = made(one.sentinel).generator();
    now += 300_001;
    expect(one.sentinel.costs().sessionTotal).toBe(0.01);
    expect([...steps]).toEqual([1, 2]);
    expect(one.sentinel.costs().sessionTotal).toBe(0.004);
  });

  it("that is given up is settled when nobody holds it any more", async () => {
    const collect: unknown = Reflect.get(globalThis, "gc") ?? (await exposedGc());
    if (typeof collect !== "function") throw new Error("there is no garbage collector to ask");
    const one = world();
    for (let count = 0; count < 20; count++) made(one.sentinel).generator().next();
    for (let round = 0; round < 100 && outcomes(one).length === 0; round++) {
      collect();
      await later();
    }
    expect(outcomes(one)[0]).toBe("success 0.01");
  });
});

async function exposedGc(): Promise<unknown> {
  const [{ setFlagsFromString }, { runInNewContext }] = await Promise.all([import("node:v8"), import("node:vm")]);
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc");
}

describe("The context of a guarded call", () => {
  it("says under which decision it runs, asks for more, and has the run's signal", () => {
    const { sentinel, lines } = world({ budgets: { run: 0.5 } });
    let seen: LocalCallContext | undefined;
    const write = sentinel.guard({ action: "write", costUsd: 0.1, context: true }, (context, text: string) => {
      seen = context;
      expect(context.topUp("0.3").budgets.find(({ scope }) => scope === "run")).toMatchObject({ pendingUsd: "0.3", remainingUsd: "0.2" });
      expect(codeOf(() => context.topUp(0.7))).toBe("run_budget_exceeded");
      return text.length;
    });
    expect(write("four")).toBe(4);
    expect(lines().map(({ outcome, estimate_usd, cost_usd }) => [outcome, estimate_usd, cost_usd])).toEqual([
      ["allowed", 0.1, 0],
      ["allowed", 0.3, 0],
      ["denied", 0.7, 0],
      ["success", 0.3, 0.3],
    ]);
    expect(seen).toMatchObject({ decisionId: lines()[0]?.decision_id, run: sentinel.currentRun.id, signal: sentinel.currentRun.signal });
  });

  it("cannot ask for more once its reservation has run out, and is told how it could have; what it did cost is committed late", () => {
    let clock = 1e12;
    const { sentinel } = world("version: 1", { now: () => clock });
    const write = sentinel.guard({ action: "write", costUsd: 0.1, actualUsd: () => 0.3, context: true, ttlMs: 1_000 }, ({ topUp }) => {
      topUp(0.2);
      clock += 1_000;
      const error = thrown(() => topUp(0.3));
      expect(error).toBeInstanceOf(LocalRefusedError);
      expect(error).toMatchObject({
        code: "decision_settled",
        message: expect.stringMatching(/^Cannot top up "write": its reservation has run out.*ttlMs/),
      });
      expect(sentinel.costs().sessionTotal).toBe(0.2);
    });
    write();
    expect(sentinel.costs().sessionTotal).toBe(0.3);
  });

  it("gives what is guarded within it its parent, however deep, through awaits, streams and timers", async () => {
    const { sentinel, lines } = world();
    const leaf = sentinel.guard({ action: "leaf" }, async () => {
      await later();
    });
    const steps = sentinel.guard({ action: "steps" }, async function* () {
      await later();
      await leaf();
      yield 1;
    });
    const root = sentinel.guard({ action: "root" }, async () => {
      await later();
      for await (const _ of steps()) await leaf();
      await new Promise<void>((resolve, reject) => setTimeout(() => leaf().then(resolve, reject)));
    });
    await root();
    await leaf();
    const name = new Map(lines().map(({ decision_id, action }) => [decision_id, action]));
    const parents = lines()
      .filter(({ kind }) => kind === "decision")
      .map(({ action, parents }) => `${action} < ${parents.map((id) => name.get(id)).join()}`);
    expect(parents).toEqual(["root < ", "steps < root", "leaf < steps", "leaf < root", "leaf < root", "leaf < "]);
  });

  it("of one run is never another's: whatever runs side by side, each is charged to its own", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(fc.nat(3), { minLength: 1, maxLength: 4 }), { minLength: 2, maxLength: 5 }), async (pauses) => {
        const { sentinel, lines } = world();
        const pay = sentinel.guard({ action: "pay", costUsd: 0.01 }, async (_owner: number, ticks: number) => {
          for (let tick = 0; tick < ticks; tick++) await later();
        });
        const ids = await Promise.all(
          pauses.map((ticks, owner) =>
            sentinel.run(async (run) => {
              for (const count of ticks) {
                await pay(owner, count);
                expect(sentinel.currentRun.id).toBe(run.id);
              }
              expect(sentinel.costs().runTotal).toBeCloseTo(ticks.length * 0.01, 9);
              return run.id;
            }),
          ),
        );
        const charged = lines().filter(({ kind }) => kind === "outcome");
        expect(charged).toHaveLength(pauses.flat().length);
        for (const { run_id, payload } of charged) {
          const [owner] = (payload.inputs as { args: readonly number[] }).args;
          expect(run_id).toBe(ids[owner ?? -1]);
        }
      }),
      { numRuns: 20 },
    );
  });

  it("can be passed by hand where the runtime does not keep it", async () => {
    const contexts = new SyncContexts<string>();
    const seen: (string | undefined)[] = [];
    const both = ["a", "b"].map((name) =>
      contexts.run(name, async () => {
        seen.push(contexts.get());
        await later();
        seen.push(contexts.get());
        contexts.run(name, () => seen.push(contexts.get()));
      }),
    );
    await Promise.all(both);
    expect(seen).toEqual(["a", "b", undefined, "a", undefined, "b"]);
    expect(thrown(() => contexts.run("c", () => expect.unreachable()))).toBeInstanceOf(Error);
    expect(contexts.get()).toBeUndefined();

    const { sentinel, lines } = world();
    const leaf = sentinel.guard({ action: "leaf" }, () => undefined);
    const root = sentinel.guard({ action: "root", context: true }, async (context) => {
      // As if what is around were not known any more.
      await new AsyncLocalStorage().exit(later);
      context.call(leaf);
    });
    const run = sentinel.startRun();
    sentinel.startRun();
    await run.call(root);
    expect(lines().filter(({ run_id }) => run_id !== run.id)).toEqual([]);
    expect(lines()[1]?.parents).toEqual([lines()[0]?.decision_id]);
  });
});

describe("A run", () => {
  it("is stopped by a no that says so, and the next one begins anew", () => {
    const { sentinel } = world({ rules: [{ id: "halt", effect: "forbid", actions: ["bad"], stops: "run" }] });
    const { signal } = sentinel.currentRun;
    const error = thrown(sentinel.guard({ action: "bad" }, () => 1));
    expect([signal.aborted, signal.reason]).toEqual([true, error]);
    expect([sentinel.startRun().signal.aborted, sentinel.stopped]).toEqual([false, null]);
  });

  it("of a session that is over stays stopped, whichever is begun", () => {
    const { sentinel } = world({ budgets: { session: 0.1 }, rules: [{ effect: "forbid", actions: ["bad"], stops: "session" }] });
    const other = sentinel.currentRun;
    sentinel.startRun();
    thrown(sentinel.guard({ action: "bad" }, () => 1));
    expect([other.signal.aborted, sentinel.startRun().signal.aborted, sentinel.stopped?.code]).toEqual([true, true, "rule_forbids"]);
  });

  it("is closed when what it was opened for is done, and takes no more", async () => {
    const { sentinel } = world();
    const act = sentinel.guard({ action: "a" }, () => 1);
    const [one, two] = [sentinel.run((run) => run), await sentinel.run(async (run) => run)];
    expect(codeOf(() => one.call(act))).toBe("run_closed");
    expect(codeOf(() => two.call(act))).toBe("run_closed");
    expect(thrown(() => sentinel.run(() => Promise.reject.call(null)))).toBeInstanceOf(TypeError);
    expect(act()).toBe(1);
    expect(codeOf(sentinel.guard({ action: "a", run: "run_nowhere" }, () => 1))).toBe("body_invalid");
  });

  it.each(["generator", "async generator", "promise of one", "readable"])("lasts until what it gave has been read: a %s", async (kind) => {
    const { sentinel, lines } = world({ budgets: { run: 1 } });
    const outer = sentinel.currentRun;
    const pay = sentinel.guard({ action: "pay", costUsd: 1 }, () => 1);
    const runs: LocalRun[] = [];
    const open = () =>
      sentinel.run((run): Iterable<number> | AsyncIterable<number> | Promise<AsyncIterable<number>> => {
        runs.push(run);
        const slow = async function* () {
          await later();
          yield pay();
        };
        if (kind === "generator")
          return (function* () {
            yield pay();
          })();
        if (kind === "readable")
          return new ReadableStream<number>({
            pull(controller) {
              controller.enqueue(run.call(pay));
              controller.close();
            },
          });
        return kind === "async generator" ? slow() : Promise.resolve(slow());
      });
    // Each has a budget of its own, and the run outside has all of its.
    for (const stream of [await open(), await open()]) for await (const paid of stream) expect(paid).toBe(1);
    expect(lines().map(({ run_id }) => run_id)).toEqual(runs.flatMap(({ id }) => [id, id]));
    for (const run of runs) expect(codeOf(() => run.call(pay))).toBe("run_closed");
    const cursor = [1, 2].values();
    expect(sentinel.run(() => cursor)).toBe(cursor);
    expect([sentinel.currentRun === outer, pay()]).toEqual([true, 1]);
  });
});

describe("A ledger that cannot be written", () => {
  /** Fails while it is told to. */
  function failing() {
    const store = createMemoryStore();
    const state = { fails: false };
    const append = (record: LedgerRecord): LedgerLine => {
      if (state.fails) throw new Error("no space left on device");
      return store.append(record);
    };
    const ledger: LedgerStore = { ...store, append };
    return { ledger, state, store };
  }

  it("lets nothing run, and keeps no money for what did not", () => {
    const { ledger, state } = failing();
    const sentinel = createLocalSentinel({ policy: { budgets: { run: 0.1 } }, ledger });
    let ran = 0;
    const act = sentinel.guard({ action: "act", costUsd: 0.1 }, () => ++ran);
    state.fails = true;
    const error = thrown(act);
    expect(error).toMatchObject({ name: "LedgerError" satisfies LedgerError["name"], message: expect.stringContaining("no space left on device") });
    state.fails = false;
    expect([act(), ran]).toEqual([1, 1]);
  });

  it("takes nothing from what was decided before under the same id", () => {
    const { ledger, state } = failing();
    const sentinel = createLocalSentinel({ policy: { budgets: { run: 0.1 } }, ledger });
    const { id } = sentinel.decide({ action: "act", estimateUsd: 0.1 });
    state.fails = true;
    expect(codeOf(() => sentinel.decide({ id, action: "act", estimateUsd: 0.1 }))).toBe("unwritable");
    state.fails = false;
    // It may be under way.
    expect(sentinel.decide({ action: "other", estimateUsd: 0.1 }).verdict).toBe("deny");
  });

  it("does not change what an action gave or threw; how it ended is written before anything else runs", () => {
    const { ledger, state, store } = failing();
    const unrecorded: string[] = [];
    const sentinel = createLocalSentinel({ policy: "version: 1", ledger, onUnrecorded: ({ record }) => unrecorded.push(record.outcome) });
    const oops = new Error("mine");
    const fill = sentinel.guard({ action: "fill" }, (fails: boolean) => {
      state.fails = true;
      if (fails) throw oops;
      return "done";
    });
    expect(fill(false)).toBe("done");
    expect(thrown(() => fill(false))).toMatchObject({ code: "unwritable" });
    state.fails = false;
    expect(thrown(() => fill(true))).toBe(oops);
    expect(unrecorded).toEqual(["success", "error"]);
    state.fails = false;
    sentinel.guard({ action: "next" }, () => 1)();
    expect(store.after(0, 10).map(({ kind, action, outcome }) => `${kind} ${action} ${outcome}`)).toEqual([
      "decision fill allowed",
      "outcome fill success",
      "decision fill allowed",
      "outcome fill error",
      "decision next allowed",
      "outcome next success",
    ]);
  });
});

describe("A call whose reservation ran out", () => {
  const waiting = (policy: string | object = "version: 1") => {
    const time = { now: 1e12 };
    const made = world(policy, { now: () => time.now });
    const ended = () => made.lines().flatMap(({ kind, outcome, cost_usd }) => (kind === "decision" ? [] : [`${kind} ${outcome} ${cost_usd}`]));
    return { ...made, time, ended };
  };

  it("is on record with what it was charged, before anything that is decided later", () => {
    const { sentinel, lines, time, ended } = waiting();
    const stuck = sentinel.guard({ action: "stuck", costUsd: 0.2, ttlMs: 1_000, tags: ["slow"] }, () => new Promise(() => undefined));
    void stuck();
    const asked = sentinel.decide({ action: "asked", estimateUsd: 0.1, ttlMs: 1_000 });
    time.now += 999;
    sentinel.guard({ action: "next" }, () => 1)();
    expect(ended()).toEqual(["outcome success 0"]);
    time.now += 1;
    sentinel.guard({ action: "after" }, () => 1)();
    expect(ended()).toEqual(["outcome success 0", "expiry expired 0.2", "expiry expired 0.1", "outcome success 0"]);
    expect(lines().filter(({ kind }) => kind === "expiry")).toMatchObject([
      { action: "stuck", decision_id: lines()[0]?.decision_id, tags: ["slow"], estimate_usd: 0.2, duration_ms: 1_000, verdict: "allow" },
      { action: "asked", decision_id: asked.id },
    ]);
    expect(
      lines()
        .map(({ action, kind }) => `${kind} ${action}`)
        .slice(-3),
    ).toEqual(["expiry asked", "decision after", "outcome after"]);
    expect([totalUsd(lines()), sentinel.costs().sessionTotal]).toEqual([0.3, 0.3]);
    expect(createReplay({ lines: lines() }).next({ action: "stuck", inputs: { args: [], kwargs: {} } })).toMatchObject({
      error: { code: "unfinished" },
    });
  });

  it.each<[what: string, policy: object, actualUsd: number, lines: readonly string[], total: number]>([
    ["for more", {}, 0.5, ["expiry expired 0.2", "outcome success 0.3"], 0.5],
    ["for as much", {}, 0.2, ["expiry expired 0.2", "outcome success 0"], 0.2],
    ["for less, which leaves on record that it had been charged more", {}, 0.1, ["expiry expired 0.2", "outcome success 0"], 0.1],
    [
      "where the policy charges nothing until then",
      { budgets: { session: 9, on_expiry: "release" } },
      0.5,
      ["expiry expired 0", "outcome success 0.5"],
      0.5,
    ],
  ])("ends after all, %s", (_, more, actualUsd, wanted, total) => {
    const { sentinel, time, ended } = waiting({ version: 1, ...more });
    sentinel.guard({ action: "slow", costUsd: 0.2, ttlMs: 1_000, actualUsd: () => actualUsd }, () => {
      time.now += 1_000;
    })();
    expect([ended(), sentinel.costs().sessionTotal]).toEqual([wanted, total]);
    const { id } = sentinel.decide({ action: "asked", estimateUsd: 0.2, ttlMs: 1_000 });
    time.now += 1_000;
    sentinel.commit(id, { costUsd: actualUsd, outcome: "success" });
    expect(ended()).toEqual([...wanted, ...wanted]);
  });
});

describe("A replay", () => {
  it("is on record as what it is: nothing ran, and nothing was spent", () => {
    const first = createMemoryStore();
    createLocalSentinel({ policy: "version: 1", ledger: first }).guard({ action: "a", costUsd: "0.2" }, (n: number) => n + 1)(1);
    const second = createMemoryStore();
    const again = createLocalSentinel({ policy: "version: 1", ledger: second, replay: createReplay({ lines: first.after(0, 10) }) });
    expect(() => again.guard({ action: "a", costUsd: "0.2" }, (_: number): number => expect.unreachable())(1)).not.toThrow();
    const told = second.after(0, 10).filter(({ kind }) => kind === "outcome");
    expect(told).toMatchObject([{ outcome: "success", cost_usd: 0, replayed: true, payload: { outputs: 2 } }]);
    // Its limits are felt as they were.
    expect(again.costs().sessionTotal).toBe(0.2);
    // A replay of both has the call once.
    const both = createReplay({ lines: [...first.after(0, 10), ...second.after(0, 10)] });
    expect(both.leftovers()).toHaveLength(1);
  });

  const never = (): never => expect.unreachable();

  it.each<[what: string, fn: () => unknown]>([
    ["kept", () => Promise.resolve({ hits: 1 })],
    ["broken", () => Promise.reject(new RangeError("too far"))],
    ["of an async function", async () => 7],
  ])("gives as a promise what came as one, whatever kind of function stands in its place: %s", async (_, fn) => {
    const { sentinel, lines } = world();
    const end = (given: unknown) => Promise.resolve(given).then(JSON.stringify, String);
    const was = await end(sentinel.guard({ action: "a" }, fn)());
    const again = world("version: 1", { replay: createReplay({ lines: lines() }) });
    const given = again.sentinel.guard({ action: "a" }, never as () => unknown)();
    expect(given).toBeInstanceOf(Promise);
    expect(await end(given)).toBe(was);
    expect([lines().at(-1)?.promised, again.lines().at(-1)?.promised, again.lines().at(-1)?.replayed]).toEqual([true, true, true]);
    expect(again.lines().at(-1)?.outcome).toBe(lines().at(-1)?.outcome);
  });

  it("gives at once what was given or thrown at once", () => {
    const { sentinel, lines } = world();
    sentinel.guard({ action: "a" }, () => 1)();
    thrown(
      sentinel.guard({ action: "b" }, (): Promise<number> => {
        throw new RangeError("before the promise");
      }),
    );
    const again = createLocalSentinel({ policy: "version: 1", replay: createReplay({ lines: lines() }) });
    expect(again.guard({ action: "a" }, never as () => number)()).toBe(1);
    expect(thrown(again.guard({ action: "b" }, never as () => Promise<number>))).toMatchObject({ message: "before the promise" });
    expect(lines().map(({ promised }) => promised)).toEqual([undefined, undefined, undefined, undefined]);
  });

  it("never gives what an option made of a result in the place of it, unless it is told to, and then says of which", () => {
    const { sentinel, lines } = world();
    const account = { owner: "ann", balance: 7 };
    sentinel.guard({ action: "read", outputs: ({ balance }: typeof account) => balance }, () => account)();
    sentinel.guard({ action: "whole", outputs: (result: typeof account) => result }, () => account)();
    expect(lines().map(({ derived }) => derived)).toEqual([undefined, true, undefined, undefined]);
    const replaying = (derived?: "refuse" | "give", strict?: boolean) => {
      const replay = createReplay({ lines: lines(), derived, strict });
      const again = createLocalSentinel({ policy: "version: 1", replay });
      const [read, whole] = ["read", "whole"].map((action) => again.guard({ action }, () => "run"));
      return { replay, read, whole };
    };
    for (const refusing of [replaying(), replaying("refuse")]) {
      const error = thrown(() => refusing.read?.());
      expect(error).toBeInstanceOf(ReplayDivergenceError);
      expect(error).toMatchObject({ code: "lossy", message: expect.stringContaining('its guard\'s option "outputs" made of that') });
      expect([refusing.whole?.(), refusing.replay.asTold()]).toEqual([account, []]);
    }
    const giving = replaying("give");
    expect([giving.read?.(), giving.whole?.()]).toEqual([7, account]);
    expect(giving.replay.asTold()).toMatchObject([{ action: "read", decisionId: lines()[0]?.decision_id }]);
    expect(replaying("refuse", false).read?.()).toBe("run");
  });

  it("gives what is on record without running anything, and only what is allowed now", async () => {
    const { sentinel, lines } = world();
    const recorded = { a: 0, b: 0 };
    sentinel.guard({ action: "a" }, (n: number) => ({ n, count: ++recorded.a }))(1);
    await sentinel.guard({ action: "b" }, async () => ++recorded.b)();
    const oops = new RangeError("too far");
    thrown(
      sentinel.guard({ action: "c" }, () => {
        throw oops;
      }),
    );
    const replay = createReplay({ lines: lines().map((line) => JSON.stringify(line)) });
    const again = createLocalSentinel({ policy: { denied_actions: ["c"] }, replay });
    const a = again.guard({ action: "a" }, (_n: number): { n: number; count: number } => expect.unreachable());
    const b = again.guard({ action: "b" }, async (): Promise<number> => expect.unreachable());
    expect(a(1)).toEqual({ n: 1, count: 1 });
    expect(await b()).toBe(1);
    expect(thrown(() => a(1))).toBeInstanceOf(ReplayDivergenceError);
    expect(codeOf(again.guard({ action: "c" }, () => 1))).toBe("action_denied");
    const permitted = createLocalSentinel({ policy: "version: 1", replay: createReplay({ lines: lines() }) });
    expect(thrown(permitted.guard({ action: "c" }, () => 1))).toMatchObject({ name: "RangeError", message: "too far" });
  });
});

describe("The engine by itself", () => {
  it("gives the same id the same answer, and another request under it none", () => {
    const engine = new LocalEngine({ policy: { budgets: { run: 0.1 } } });
    const id = "dec_00000000-0000-7000-8000-000000000001";
    const first = engine.decide({ id, action: "a", estimateUsd: "0.1" });
    expect(engine.decide({ id, action: "a", estimateUsd: "0.1" })).toEqual(first);
    expect(codeOf(() => engine.decide({ id, action: "b", estimateUsd: "0.1" }))).toBe("idempotency_mismatch");
    const settled = engine.commit(id, { costUsd: 0.05, outcome: "success" });
    expect(engine.commit(id, { costUsd: 0.05, outcome: "success" })).toEqual(settled);
    expect(codeOf(() => engine.commit(id, { costUsd: 0.06, outcome: "success" }))).toBe("decision_settled");
    expect(codeOf(() => engine.release("dec_unknown"))).toBe("not_found");
    expect(engine.decide({ action: "a", estimateUsd: "0.05" }).verdict).toBe("allow");
  });

  it("forgets old decisions rather than grow without end, and never one that is under way", () => {
    const engine = new LocalEngine({ policy: "version: 1" });
    const open = engine.decide({ action: "a", estimateUsd: 1 });
    const old = engine.decide({ action: "a" });
    engine.release(old.id);
    for (let count = 0; count < 5_000; count++) engine.release(engine.decide({ action: "a" }).id);
    expect(codeOf(() => engine.release(old.id))).toBe("not_found");
    expect(engine.commit(open.id, { costUsd: 2, outcome: "success" })).toMatchObject({ state: "posted", overrunUsd: "1" });
  });

  it("remembers what a guard runs until it ends, whatever ran out and came meanwhile, and long ago ended calls briefly", async () => {
    let now = 1_700_000_000_000;
    const sentinel = createLocalSentinel({ policy: { budgets: { session: 100 } }, now: () => now });
    const { promise, resolve } = Promise.withResolvers<number>();
    let id = "";
    const slow = sentinel.guard({ action: "slow", costUsd: 1, actualUsd: (usd: number) => usd, ttlMs: 1_000 }, async () => promise);
    const quick = sentinel.guard({ action: "quick", context: true }, (context) => {
      id = context.decisionId;
    });
    const running = slow();
    now += 2_000;
    quick();
    const first = id;
    for (let count = 0; count < 1_500; count++) quick();
    expect(sentinel.costs().sessionTotal).toBe(1);
    resolve(3);
    await running;
    expect(sentinel.costs().sessionTotal).toBe(3);
    expect(codeOf(() => sentinel.release(id))).toBe("decision_settled");
    expect(codeOf(() => sentinel.release(first))).toBe("not_found");
  });

  it("takes another policy whole or not at all, and keeps what was spent", () => {
    const engine = new LocalEngine({ policy: { budgets: { session: 1 } } });
    const { id } = engine.decide({ action: "a", estimateUsd: 1 });
    engine.commit(id, { costUsd: 1, outcome: "success" });
    const error = thrown(() => engine.use("budgets: { session: lots }\nrules: 7"));
    expect(error).toMatchObject({
      code: "policy_invalid",
      issues: [
        { pointer: "/budgets/session", line: 1 },
        { pointer: "/rules", line: 2 },
      ],
    });
    expect(engine.decide({ action: "a", estimateUsd: "0.1" }).reason.code).toBe("session_budget_exceeded");
    engine.use({ budgets: { session: 1.5 } });
    expect(engine.decide({ action: "a", estimateUsd: "0.5" }).verdict).toBe("allow");
    engine.use(null);
    expect(engine.decide({ action: "a" }).reason.code).toBe("policy_missing");
  });
});

it("A closed run is remembered while anything of it can still move money, and not for ever: a session does not grow with its runs", () => {
  const uuidOf = (count: number) => `01890000-0000-7000-8000-${String(count).padStart(12, "0")}`;
  const runOf = (count: number): RunId => `run_${uuidOf(count)}`;
  const about = { tenant: "local", agent: "a", now: () => 1e12, budgetMicroUsd: null };
  const authority = new Authority({ ...about, session: `ses_${uuidOf(0)}`, run: runOf(0) });
  authority.use(readLocalPolicy("version: 1", 1, "use the policy"));
  const owing = [10, 4_000];
  for (let count = 1; count <= 20_000; count++) {
    authority.openRun(runOf(count));
    if (owing.includes(count)) authority.decide(readRequest({ action: "a", estimateUsd: 1, run: runOf(count) }, `dec_${uuidOf(count)}`, []));
    authority.closeRun(runOf(count));
  }
  expect(authority.book.runs.size).toBeLessThan(5_000);
  const report = { ...readReport({ costUsd: 2, outcome: "success" }) };
  for (const count of owing) expect(authority.commit(`dec_${uuidOf(count)}`, report, "").ok).toBe(true);
  expect(authority.book.total.postedMicroUsd).toBe(4_000_000);
});

it("What lines cost together is exact, however many they are", () => {
  const lines = Array.from({ length: 1_000 }, (_, place) => ({ cost_usd: place % 2 === 0 ? 0.1 : 0.000001 }));
  expect([totalUsd(lines), totalUsd([])]).toEqual([50.0005, 0]);
  expect(lines.reduce((sum, { cost_usd }) => sum + cost_usd, 0)).not.toBe(50.0005);
});

it.each<[what: string, guarding: () => unknown]>([
  [
    "by a local sentinel",
    () => createLocalSentinel({ policy: "version: 1" }).guard({ action: "make", costUsd: 1 }, class {} as unknown as () => void),
  ],
  ["by guardedAction", () => guardedAction({ name: "make", costUsd: 1 })(class {} as unknown as () => void)],
])("A class cannot be guarded, and is refused before it costs anything: %s", (_, guarding) => {
  expect(thrown(guarding)).toMatchObject({ name: "TypeError", message: 'Cannot guard "make": wanted a function, found a class' });
});

it("SHA-256 without the runtime's own is the same, for any text", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary", maxLength: 300 }),
        fc.nat(140).map((length) => "a".repeat(length)),
      ),
      (text) => {
        const wanted = nodeSha256(text);
        expect([sha256(text), computedSha256(text)]).toEqual([wanted, wanted]);
      },
    ),
    { numRuns: 300 },
  );
});

it("Fast UUIDs are UUIDv7 of their instant, each another", () => {
  const made = Array.from({ length: 5_000 }, (_, place) => fastUuid(1_700_000_000_000 + (place >> 8)));
  expect(new Set(made).size).toBe(made.length);
  expect(made.every((uuid) => isId("dec", `dec_${uuid}`) && uuid[14] === "7")).toBe(true);
  expect(Number.parseInt((made.at(-1) ?? "").replace("-", "").slice(0, 12), 16)).toBe(1_700_000_000_000 + (4_999 >> 8));
});
