import fc from "fast-check";
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  AgentSentinelError,
  type AgentSentinelErrorName,
  type AnyAgentSentinelError,
  errorFor,
  isAgentSentinelError,
  knownReason,
} from "../../sdk/src/errors.ts";
import { uuidv7 } from "../../sdk/src/ids.ts";
import type * as surface from "../../sdk/src/index.ts";
import * as core from "../../sdk/src/index.ts";
import type { Granted } from "../../sdk/src/leases/answers.ts";
import type * as live from "../../sdk/src/live.ts";
import { LedgerError } from "../../sdk/src/local/ledger/ledger_error.ts";
import { LocalRefusedError } from "../../sdk/src/local/refused_error.ts";
import { ReplayDivergenceError } from "../../sdk/src/local/replay_error.ts";
import * as local from "../../sdk/src/local.ts";
import { decisionAnswer, wireNames } from "../../sdk/src/mapping.ts";
import { shownArguments } from "../../sdk/src/plain.ts";
import { usdText } from "../../sdk/src/usd.ts";
import type * as wire from "../../sdk/src/wire.ts";
import { isId } from "../../src/core/ids.ts";
import { formatUsd, microUsdOf } from "../../src/core/money.ts";
import { REASONS } from "../../src/core/reasons.ts";
import { allowed, denied, held, RUN } from "./gateway.ts";

const ID = "dec_01890000-0000-7000-8000-000000000001";
const answer = (more: object = {}) => decisionAnswer({ ...allowed(ID, { action: "pay" }), ...more }, "");

describe("each reason", () => {
  test("is known to the SDK, and only those", () => {
    expect(REASONS.map(knownReason)).toEqual([...REASONS]);
    expect(["", "toString", "__proto__", "Permitted"].map(knownReason)).toEqual(Array(4).fill("unrecognized"));
  });

  test.each(REASONS.filter((code) => code !== "permitted"))("%s has an error of this SDK, which names the action and the reason", (code) => {
    const found = errorFor(answer(code === "approval_required" ? held() : denied(code, "The Sentence of it.")));
    expect(isAgentSentinelError(found) && found.code).toBe(code);
    expect(found?.message).toMatch(/^Cannot run "pay": [a-z].*[^.]$/);
  });

  test.each([
    ["action", "rule_forbids", true],
    ["run", "run_budget_exceeded", false],
    ["session", "session_killed", false],
    ["session", "session_paused", true],
  ] as const)("that stops the %s (%s) is recoverable: %s", (stops, code, recoverable) => {
    expect(errorFor(answer(denied(code, "No.", { stops })))?.recoverable).toBe(recoverable);
  });

  test("is told apart by name where classes are of another realm", () => {
    const foreign = { name: "RateLimitError", code: "rate_exceeded", recoverable: true };
    expect([
      isAgentSentinelError(foreign),
      isAgentSentinelError(foreign, "RateLimitError"),
      isAgentSentinelError(foreign, "AgentKilledError"),
    ]).toEqual([true, true, false]);
    expect([isAgentSentinelError(new Error("x")), isAgentSentinelError(null), isAgentSentinelError({ ...foreign, name: "toString" })]).toEqual([
      false,
      false,
      false,
    ]);
  });
});

/** Every class that any entry throws. */
const FAMILY = Object.entries({ ...core, ...local }).flatMap(([name, made]) => {
  const isClass = typeof made === "function" && made.prototype instanceof AgentSentinelError;
  return isClass ? [name] : [];
});

test("Each error of any entry is told by its name, of this realm or another, and nothing else is.", () => {
  expectTypeOf<AgentSentinelErrorName>().toEqualTypeOf<
    AnyAgentSentinelError["name"] | LedgerError["name"] | LocalRefusedError["name"] | ReplayDivergenceError["name"]
  >();
  expect(FAMILY).toHaveLength(11);
  for (const name of FAMILY) expect([name, isAgentSentinelError({ name, code: "x", recoverable: false })]).toEqual([name, true]);
  const errors = [
    new LedgerError("busy", "It is busy."),
    new LocalRefusedError("decide", { code: "body_invalid", detail: "it is" }),
    new ReplayDivergenceError("lossy", "roll", "It is lossy."),
  ];
  for (const error of errors) {
    expect([isAgentSentinelError(error), isAgentSentinelError(error, error.name), isAgentSentinelError(error, "RateLimitError")]).toEqual([
      true,
      true,
      false,
    ]);
    expect(isAgentSentinelError(JSON.parse(JSON.stringify(error)), error.name)).toBe(true);
  }
  const others = [undefined, 1, { name: "LedgerError" }, { name: "Error", recoverable: true }, { name: Symbol("x"), recoverable: true }];
  const throwing = (): never => {
    throw new Error("a look at it");
  };
  // Whoever asks has caught something, and must not lose it for another error.
  others.push(new Proxy({}, { get: throwing }) as never, { name: { toString: throwing }, recoverable: true } as never);
  expect(others.map((other) => isAgentSentinelError(other))).toEqual(others.map(() => false));
  expect(others.map((other) => isAgentSentinelError(other, "RateLimitError"))).toEqual(others.map(() => false));
});

/** The wire's names as the SDK spells them, at every level but in what is the caller's own JSON. */
type Camel<T> = wire.Json extends T
  ? T
  : T extends readonly (infer Item)[]
    ? readonly Camel<Item>[]
    : T extends object
      ? { readonly [K in keyof T as CamelKey<K & string>]: Camel<T[K]> }
      : T;
type CamelKey<K extends string> = K extends `${infer Head}_${infer Next}${infer Rest}` ? `${Head}${Uppercase<Next>}${CamelKey<Rest>}` : K;

test("The SDK's names are the wire's names, all of them.", () => {
  expectTypeOf<keyof surface.ActionRequest>().toEqualTypeOf<CamelKey<keyof wire.DecisionRequest>>();
  expectTypeOf<keyof surface.CommitReport>().toEqualTypeOf<CamelKey<keyof wire.CommitRequest>>();
  expectTypeOf<keyof surface.SessionOptions>().toEqualTypeOf<CamelKey<keyof wire.OpenSessionRequest>>();
  expectTypeOf<Exclude<keyof surface.DecisionNow, "superseded">>().toEqualTypeOf<CamelKey<Exclude<keyof wire.DecisionNow, "superseded">>>();
  expectTypeOf<keyof surface.SessionDetail>().toEqualTypeOf<CamelKey<keyof wire.SessionDetail>>();
  expectTypeOf<Camel<wire.Settlement>>().toExtend<surface.Settlement>();
  expectTypeOf<"id" | keyof surface.LeaseSettlement>().toEqualTypeOf<CamelKey<keyof wire.SettledLease>>();
  expectTypeOf<Camel<wire.SettledLease>>().toExtend<surface.LeaseSettlement>();
  expectTypeOf<Camel<wire.GrantedLease>>().toExtend<Granted>();
  expectTypeOf<Camel<wire.DecisionNow>>().toExtend<Omit<surface.DecisionNow, "superseded">>();
  expectTypeOf<keyof live.LiveEvent>().toEqualTypeOf<CamelKey<keyof wire.LedgerEvent>>();
  expectTypeOf<Camel<wire.LedgerEvent>>().toExtend<live.LiveEvent>();
  expectTypeOf<Camel<Omit<wire.SessionDetail, "budgets">>>().toExtend<Omit<surface.SessionDetail, "budgets">>();
});

test("Spelling an answer as the wire does and reading it gives the answer back; what is the caller's own JSON keeps its names.", () => {
  const toWire = (value: unknown): unknown =>
    Array.isArray(value)
      ? value.map(toWire)
      : typeof value === "object" && value !== null
        ? Object.fromEntries(
            Object.entries(value).map(([k, v]) => [
              k.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
              k === "obligations" || k === "advice" ? v : toWire(v),
            ]),
          )
        : value;
  const text = fc.string({ maxLength: 5 });
  const member = fc.oneof(fc.constant(null), fc.record({ amountUsd: text, expiresAt: text }));
  const varied = fc.record({
    reservation: member,
    obligations: fc.array(fc.jsonValue()),
    advice: fc.array(fc.dictionary(fc.constantFrom("camelCase", "snake_case"), fc.jsonValue())),
    rates: fc.array(fc.record({ name: text, limit: fc.nat(), remaining: fc.nat(), resetMs: fc.nat() })),
  });
  fc.assert(
    fc.property(varied, (more) => {
      const whole = { ...answer(), ...more };
      expect(decisionAnswer(JSON.parse(JSON.stringify(toWire(whole))), "")).toEqual(JSON.parse(JSON.stringify(whole)));
    }),
  );
});

test("An answer lacking any of its members is none, and the fault names the member.", () => {
  const whole: object = allowed(ID, { action: "pay" });
  const mayBeAbsent = ["stops", "reservation", "policy", "approval"];
  for (const name of Object.keys(whole).filter((each) => !mayBeAbsent.includes(each))) {
    expect(() => decisionAnswer({ ...whole, [name]: undefined }, "")).toThrow(`/${name} must be`);
  }
});

test("A request is spelled as the wire spells it.", () => {
  const request = {
    id: ID,
    run: RUN,
    action: "pay",
    estimateUsd: 0.1 + 0.2,
    riskLevel: "high",
    inputsDigest: "sha-256:00",
    ttlMs: 5,
    inputs: { camelCase: 1 },
  } as const;
  expect(wireNames(request)).toEqual({
    id: ID,
    run: RUN,
    action: "pay",
    estimate_usd: "0.3",
    risk_level: "high",
    inputs_digest: "sha-256:00",
    ttl_ms: 5,
    inputs: { camelCase: 1 },
  });
});

describe("USD", () => {
  test("that is a whole number of micro-dollars is written exactly, from a text or a number", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 ** 15 - 1 }), (micro) => {
        const text = formatUsd(microUsdOf(micro));
        expect([usdText(text, "x"), usdText(Number(text), "x")]).toEqual([text, text]);
      }),
    );
  });

  test("in floating point is never reported too low, nor a whole micro-dollar too high", () => {
    fc.assert(
      fc.property(fc.double({ min: 0, max: 1e6, noNaN: true }), (amount) => {
        const written = Number(usdText(amount, "x"));
        expect(written - amount).toBeGreaterThan(-1e-9);
        expect(written - amount).toBeLessThan(1e-6 + 1e-9);
      }),
    );
  });

  test.each([
    [0, "0"],
    [-0, "0"],
    [1e-7, "0.000001"],
    [0.1 + 0.2, "0.3"],
    [10, "10"],
    [100.5, "100.5"],
    ["0.050", "0.050"],
  ])("%s is %s", (amount, text) => {
    expect(usdText(amount, "costUsd")).toBe(text);
  });

  test.each([[-1], [Number.NaN], [Number.POSITIVE_INFINITY], [1e10], ["-1"], ["1e3"], [""], ["0.1234567"], ["01"], [" 1"], [null], [{}]])(
    "%s is no amount, and the option is named",
    (amount) => {
      expect(() => usdText(amount as number, "costUsd")).toThrow(/^Cannot use .* as costUsd: wanted USD/);
    },
  );
});

describe("arguments", () => {
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  /** What JSON shows of it is not what a function is given. */
  class Recipients extends Array<string> {
    toJSON(): string[] {
      return this.slice(0, 1);
    }
  }
  test.each<[string, unknown[], unknown]>([
    ["one plain object", [{ to: "a" }], { to: "a" }],
    ["one list, told from a list of arguments", [[1]], [[1]]],
    ["several", ["a", 1, null], ["a", 1, null]],
    ["optional ones left out", ["a", undefined], ["a"]],
    ["none", [], []],
    ["an object without a prototype", [Object.assign(Object.create(null), { a: 1 })], { a: 1 }],
    ["a date", [new Date(0)], undefined],
    [
      "an instance",
      [
        new (class Account {
          id = 1;
        })(),
      ],
      undefined,
    ],
    ["a function", [() => 1], undefined],
    ["a bigint", [1n], undefined],
    ["NaN", [Number.NaN], undefined],
    [
      "a getter",
      [
        {
          get a() {
            throw new Error("read");
          },
        },
      ],
      undefined,
    ],
    ["a hidden toJSON", [Object.defineProperty({}, "toJSON", { value: () => "other" })], undefined],
    ["a hidden toJSON of a list", [Object.defineProperty([1], "toJSON", { value: () => [] })], undefined],
    ["a toJSON of a list's class", [Recipients.from(["a", "b"])], undefined],
    [
      "a toJSON from above",
      [Object.create(Object.assign(Object.create(null), { toJSON: () => "other" }), { to: { value: 1, enumerable: true } })],
      undefined,
    ],
    [
      "a proxy that throws",
      [
        new Proxy(
          {},
          {
            ownKeys: () => {
              throw new Error("trap");
            },
          },
        ),
      ],
      undefined,
    ],
    ["a circle", [cyclic], undefined],
    ["a list with a hole", [[1, undefined, 2]], undefined],
    ["what is too large", ["x".repeat(64_001)], undefined],
  ])("that are %s are shown as they are or not at all", (_, args, shown) => {
    expect(shownArguments(args)).toEqual(shown);
  });

  test("of any JSON are shown as JSON carries them", () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { minLength: 2 }), (args) => {
        expect(JSON.stringify(shownArguments(args))).toBe(JSON.stringify(args));
      }),
    );
  });
});

test("A made id is one that the gateway takes, and ids sort by the time they were made, whatever part of a millisecond a clock tells.", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.nat(2 ** 31), fc.constantFrom(0, 0.25, 0.9), (a, b, part) => {
      const [x, y] = [uuidv7(1.7e12 + a + part), uuidv7(1.7e12 + b)];
      expect(isId("dec", `dec_${x}`)).toBe(true);
      if (a !== b) expect(x < y).toBe(a < b);
    }),
  );
});
