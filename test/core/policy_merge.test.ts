import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import type { Findings } from "../../src/core/policy/findings.ts";
import { type Layer, mergePolicies } from "../../src/core/policy/merge.ts";
import { readPolicy } from "../../src/core/policy/parse.ts";
import { RISK_LEVELS } from "../../src/core/request.ts";

function normal(written: object): PolicyDocument {
  const result = readPolicy(JSON.parse(JSON.stringify(written)));
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}

const layersOf = (documents: readonly PolicyDocument[]): Layer[] =>
  documents.map((document, index) => ({ name: `layer${index}`, version: index + 1, document }));
const merged = (...documents: PolicyDocument[]): PolicyDocument => mergePolicies(layersOf(documents)).document;
const identity = (...documents: PolicyDocument[]): string => canonicalJson(merged(...documents));

// Few names, so that layers meet often.
const pattern = fc.constantFrom("a", "b", "ab", "a*", "*b", "*", "a*b");
const patterns = fc.array(pattern, { maxLength: 4 });
const optionally = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const usd = fc.constantFrom("0", "0.1", "0.25", "1", "10");
const rate = fc.record({ max_count: fc.nat(3), window_seconds: fc.constantFrom(0.5, 1, 60) });
const document: fc.Arbitrary<PolicyDocument> = fc
  .record({
    version: fc.constant(1),
    name: optionally(fc.constantFrom("a", "b", "a+b", "b+a")),
    strict_mode: optionally(fc.boolean()),
    budgets: optionally(
      fc.record({
        session: optionally(usd),
        run: optionally(usd),
        actions: optionally(fc.dictionary(pattern, usd)),
        on_expiry: optionally(fc.constantFrom("post", "release")),
      }),
    ),
    denied_actions: optionally(patterns),
    allowed_actions: optionally(patterns),
    also_allowed_actions: optionally(fc.array(patterns, { maxLength: 2 })),
    rate_limits: optionally(fc.dictionary(pattern, fc.oneof(rate, fc.array(rate, { minLength: 1, maxLength: 3 })))),
    concurrency: optionally(fc.dictionary(pattern, fc.nat(3))),
    approvals: optionally(
      fc.record({
        actions: optionally(patterns),
        tags: optionally(fc.array(fc.constantFrom("t", "u"))),
        risk_levels: optionally(fc.array(fc.constantFrom(...RISK_LEVELS))),
        threshold_usd: optionally(usd),
        timeout_seconds: optionally(fc.constantFrom(1, 60, 7200)),
      }),
    ),
    compliance: optionally(fc.dictionary(fc.constantFrom("k", "l"), fc.constantFrom("x", "y", "x; y", "y; x"))),
  })
  .map(normal);
const request = fc.record({
  action: fc.constantFrom("a", "b", "ab", "ac", "cb", "c", "acb"),
  tags: fc.subarray(["t", "u", "v"]),
  riskLevel: fc.constantFrom(null, ...RISK_LEVELS),
  estimateMicroUsd: fc.constantFrom(0, 100_000, 250_000, 2_000_000).map(microUsdOf),
});

describe("merging", () => {
  test("one layer alone is itself", () => {
    fc.assert(
      fc.property(document, (one) => {
        expect(merged(one)).toEqual(one);
      }),
    );
  });

  test("does not depend on order, grouping or repetition", () => {
    fc.assert(
      fc.property(document, document, document, (a, b, c) => {
        expect(identity(a, b)).toBe(identity(b, a));
        expect(identity(a, a)).toBe(canonicalJson(a));
        expect(identity(merged(a, b), c)).toBe(identity(a, merged(b, c)));
        expect(identity(merged(a, b), c)).toBe(identity(c, b, a));
        expect(identity(merged(a, b), a)).toBe(identity(a, b));
      }),
      { numRuns: 300 },
    );
  });

  test("gives a document in its normal form", () => {
    fc.assert(
      fc.property(document, document, (a, b) => {
        const both = merged(a, b);
        expect(readPolicy(JSON.parse(canonicalJson(both)))).toEqual({ ok: true, value: both });
      }),
    );
  });

  test("permits exactly what every layer permits, and limits it at least as much", () => {
    fc.assert(
      fc.property(fc.array(document, { minLength: 1, maxLength: 3 }), request, (documents, asked) => {
        const ask = (one: PolicyDocument): Findings =>
          evaluatePolicy(compilePolicy(one), { name: "p", version: 1, digest: `sha-256:${"0".repeat(64)}` }, asked);
        const whole = ask(merged(...documents));
        const parts = documents.map(ask);
        expect(whole.deniedBy === null).toBe(parts.every((part) => part.deniedBy === null));
        expect(whole.listed).toBe(parts.every((part) => part.listed));
        expect(whole.hold === null).toBe(parts.every((part) => part.hold === null));
        expect(whole.strict).toBe(parts.some((part) => part.strict));
        for (const [index, part] of parts.entries()) {
          if (documents[index]?.budgets?.on_expiry === "post") expect(whole.onExpiry).toBe("post");
          if (part.hold !== null) expect(whole.hold?.timeoutMs).toBeLessThanOrEqual(part.hold.timeoutMs);
          const within = <T extends object>(limits: readonly T[], limit: T, most: keyof T): boolean => {
            const named = ({ [most]: _, ...name }: T) => canonicalJson(name);
            return limits.some((other) => named(other) === named(limit) && Number(other[most]) <= Number(limit[most]));
          };
          for (const limit of part.budgets) expect(within(whole.budgets, limit, "limitMicroUsd")).toBe(true);
          for (const limit of part.rates) expect(within(whole.rates, limit, "max")).toBe(true);
          for (const limit of part.concurrency) expect(within(whole.concurrency, limit, "max")).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });

  test.each<[string, object, object, object]>([
    ["deny lists unite", { denied_actions: ["b"] }, { denied_actions: ["a", "b"] }, { denied_actions: ["a", "b"] }],
    ["absent allows all", { allowed_actions: ["a"] }, { name: "x" }, { name: "x", allowed_actions: ["a"] }],
    ["exact names intersect", { allowed_actions: ["a", "b"] }, { allowed_actions: ["b", "c"] }, { allowed_actions: ["b"] }],
    ["a glob meets exact names", { allowed_actions: ["db.*", "x"] }, { allowed_actions: ["db.read", "y"] }, { allowed_actions: ["db.read"] }],
    ["nothing in common is none, not all", { allowed_actions: ["a"] }, { allowed_actions: ["b"] }, { allowed_actions: [] }],
    ["none stays none", { allowed_actions: [] }, { allowed_actions: ["*"] }, { allowed_actions: [] }],
    [
      "two lists with globs both stand",
      { allowed_actions: ["db.*"] },
      { allowed_actions: ["*.read"] },
      { allowed_actions: ["*.read"], also_allowed_actions: [["db.*"]] },
    ],
    ["a list that holds all of another falls away", { allowed_actions: ["a*", "b*"] }, { allowed_actions: ["b*"] }, { allowed_actions: ["b*"] }],
    ["the smaller budget", { budgets: { run: "0.9" } }, { budgets: { run: "10", session: 5 } }, { budgets: { run: "0.9", session: "5" } }],
    ["post wins", { budgets: { on_expiry: "release" } }, { budgets: {} }, { budgets: { on_expiry: "post" } }],
    ["no budgets say nothing of expiry", { budgets: { on_expiry: "release" } }, { name: "x" }, { name: "x", budgets: { on_expiry: "release" } }],
    ["strict wins", { strict_mode: false }, { strict_mode: true }, { strict_mode: true }],
    ["two that observe observe", { strict_mode: false }, { strict_mode: false, name: "x" }, { strict_mode: false, name: "x" }],
    [
      "rates of one window take the smaller count, and other windows both apply",
      { rate_limits: { a: { max_count: 5, window_seconds: 60 } } },
      {
        rate_limits: {
          a: [
            { max_count: 3, window_seconds: 60 },
            { max_count: 1, window_seconds: 1 },
          ],
        },
      },
      {
        rate_limits: {
          a: [
            { max_count: 1, window_seconds: 1 },
            { max_count: 3, window_seconds: 60 },
          ],
        },
      },
    ],
    ["the smaller concurrency", { concurrency: { a: 1, b: 2 } }, { concurrency: { a: 2 } }, { concurrency: { a: 1, b: 2 } }],
    [
      "approvals unite, the threshold and the time-out are the smaller",
      { approvals: { actions: ["a"], threshold_usd: 1, risk_levels: ["critical"], timeout_seconds: 7200 } },
      { approvals: { tags: ["t"], threshold_usd: 0.5, risk_levels: ["low"] } },
      { approvals: { actions: ["a"], tags: ["t"], threshold_usd: 0.5, risk_levels: ["low", "critical"], timeout_seconds: 3600 } },
    ],
    ["different notes both stand", { compliance: { k: "y" } }, { compliance: { k: "x", l: "z" } }, { compliance: { k: "x; y", l: "z" } }],
    ["names are joined", { name: "tenant" }, { name: "agent" }, { name: "agent+tenant" }],
  ])("%s", (_, a, b, expected) => {
    expect(merged(normal(a), normal(b))).toEqual(normal(expected));
  });

  test("says where layers disagree and what counts", () => {
    const layers = [
      { name: "tenant", version: 3, document: normal({ budgets: { run: 5 }, allowed_actions: ["a", "b"], compliance: { k: "x" } }) },
      { name: "bot", version: 1, document: normal({ budgets: { run: 1 }, allowed_actions: ["c"], denied_actions: ["a"], compliance: { k: "y" } }) },
    ];
    expect(mergePolicies(layers).conflicts).toEqual([
      { pointer: "/budgets/run", message: "tenant (version 3) says 5, bot (version 1) says 1; 1 counts" },
      { pointer: "/compliance/k", message: "tenant (version 3) says x, bot (version 1) says y; x; y counts" },
      { pointer: "/allowed_actions", message: "the allowlists of tenant, bot have nothing in common; no action is allowed" },
      { pointer: "/denied_actions", message: "bot denies a, which tenant allows; deny wins" },
    ]);
    expect(mergePolicies(layersOf([normal({ budgets: { run: 1 } }), normal({ budgets: { run: "1.00", session: 2 } })])).conflicts).toEqual([]);
  });

  test("of no layers there is no merge: it would permit everything", () => {
    expect(() => mergePolicies([])).toThrow("at least one layer");
  });
});
