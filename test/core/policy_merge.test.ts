import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { matchesGlob } from "../../src/core/glob.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import type { PolicyDocument, Rule } from "../../src/core/policy/document.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import type { Findings } from "../../src/core/policy/findings.ts";
import { type Layer, mergePolicies } from "../../src/core/policy/merge.ts";
import { readPolicy } from "../../src/core/policy/parse.ts";
import { DEFAULT_DETECTORS, DEFAULT_KEYS } from "../../src/core/redact.ts";
import { RISK_LEVELS } from "../../src/core/request.ts";
import { AROUND, NOT_ASKED } from "./nothing.ts";

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
const rate = fc.record({
  max_count: fc.nat(3),
  window_seconds: fc.constantFrom(0.5, 1, 60),
  per: optionally(fc.constantFrom("session", "run", "agent", "tenant")),
});
const some = fc.array(pattern, { minLength: 1, maxLength: 2 });
const mode = optionally(fc.constantFrom("enforce", "warn", "observe"));
const loop = fc.record({
  threshold: fc.integer({ min: 2, max: 4 }),
  window_seconds: fc.constantFrom(1, 60),
  ignore: optionally(fc.subarray(["inputs.a", "inputs.b"])),
});
const retry = fc.record({ threshold: fc.integer({ min: 1, max: 4 }), window_seconds: fc.constantFrom(1, 60) });
const requirement = fc.record({
  after: some,
  within_seconds: optionally(fc.constantFrom(1, 60)),
  same: optionally(fc.subarray(["inputs.a", "resource.id"])),
  where: optionally(fc.constant("prior.age > 1")),
});
const lookBack = fc.record({
  id: optionally(fc.constantFrom("x", "y")),
  forbid: some,
  when: fc.constantFrom("true", "count('a', 60) > 1"),
  mode,
  stops: optionally(fc.constantFrom("run", "session")),
});
const rule = fc
  .record({
    id: optionally(fc.constantFrom("x", "y")),
    effect: fc.constantFrom("permit", "permit", "forbid", "hold"),
    actions: some,
    when: optionally(fc.constantFrom("inputs.a > 1", "false")),
    mode,
    stops: optionally(fc.constantFrom("run", "session")),
    group: optionally(fc.constantFrom("1", "2", "g")),
  })
  .map(({ stops, group, ...one }) => ({ ...one, ...(one.effect === "forbid" && { stops }), ...(one.effect === "permit" && { group }) }));
const schema = fc.constantFrom(true, {}, { required: ["to"] }, { type: "object" });
const keeping = fc.constantFrom("full", "digest", "none");
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
        agent: optionally(fc.oneof(usd, fc.record({ hour: optionally(usd), day: optionally(usd), total: optionally(usd) }))),
        tenant: optionally(fc.record({ day: optionally(usd), month: optionally(usd) })),
        on_expiry: optionally(fc.constantFrom("post", "release")),
        default_price: optionally(fc.oneof(usd, fc.constant("deny"))),
        alerts: optionally(fc.subarray([0.5, 0.8, 1])),
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
        quorum: optionally(fc.integer({ min: 1, max: 3 })),
        approvers: optionally(
          fc.array(fc.record({ subjects: optionally(fc.subarray(["s", "t"])), scopes: optionally(fc.subarray(["u"])) }), { maxLength: 2 }),
        ),
      }),
    ),
    loops: optionally(fc.array(loop, { maxLength: 3 })),
    retries: optionally(fc.array(retry, { maxLength: 3 })),
    requires: optionally(fc.dictionary(pattern, fc.array(requirement, { minLength: 1, maxLength: 2 }), { maxKeys: 2 })),
    history: optionally(fc.array(lookBack, { maxLength: 2 })),
    rules: optionally(fc.array(rule, { maxLength: 4 })),
    arguments: optionally(fc.dictionary(pattern, fc.array(schema, { minLength: 1, maxLength: 2 }), { maxKeys: 2 })),
    redact: optionally(
      fc.record({
        store_inputs: optionally(keeping),
        store_outputs: optionally(keeping),
        keys: optionally(fc.subarray(["k", "l", "K"])),
        detect: optionally(fc.subarray(["email", "token"])),
      }),
    ),
    wind_down: optionally(fc.record({ actions: some, budget: usd })),
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
  }, 30_000);

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
          evaluatePolicy(compilePolicy(one), { name: "p", version: 1, digest: `sha-256:${"0".repeat(64)}` }, { ...NOT_ASKED, ...asked }, AROUND);
        const whole = ask(merged(...documents));
        const parts = documents.map(ask);
        expect(whole.deniedBy === null).toBe(parts.every((part) => part.deniedBy === null));
        expect(whole.listed).toBe(parts.every((part) => part.listed));
        expect(whole.hold === null).toBe(parts.every((part) => part.hold === null));
        expect(whole.strict).toBe(parts.some((part) => part.strict));
        for (const [index, part] of parts.entries()) {
          if (documents[index]?.budgets?.on_expiry === "post") expect(whole.onExpiry).toBe("post");
          if (documents[index]?.approvals !== undefined) expect(whole.holdTimeoutMs).toBeLessThanOrEqual(part.holdTimeoutMs);
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
  }, 30_000);

  test("permits by rules exactly what every layer permits by its rules", () => {
    // Which rules hold for a request is anybody's guess here: any set of their texts.
    const heldBy = (texts: readonly string[]) => (one: Rule) => texts.includes(one.when ?? "");
    /** The language's law: next to an allowlist permit rules do not matter but those of a group; of each group that names the action one must hold. */
    const permits = (one: PolicyDocument, action: string, holds: (rule: Rule) => boolean): boolean => {
      const naming = (one.rules ?? []).filter(
        (rule) => rule.effect === "permit" && rule.actions.some((glob) => matchesGlob(glob, action)) && (rule.group ?? !one.allowed_actions),
      );
      return [...new Set(naming.map(({ group }) => group))].every((group) => naming.some((rule) => rule.group === group && holds(rule)));
    };
    fc.assert(
      fc.property(
        fc.array(document, { minLength: 1, maxLength: 3 }),
        fc.constantFrom("a", "b", "ab", "cb"),
        fc.subarray(["", "inputs.a > 1", "false"]),
        (documents, action, texts) => {
          const holds = heldBy(texts);
          expect(permits(merged(...documents), action, holds)).toBe(documents.every((one) => permits(one, action, holds)));
        },
      ),
      { numRuns: 500 },
    );
  }, 30_000);

  test("keeps all that refuses, asks, requires and hides, and adds none of it", () => {
    const texts = (items: readonly unknown[] | undefined): string[] => (items ?? []).map((item) => canonicalJson(item));
    const perPattern = (record: { readonly [pattern: string]: readonly unknown[] } | undefined): string[] =>
      Object.entries(record ?? {}).flatMap(([name, items]) => items.map((item) => `${name} ${canonicalJson(item)}`));
    const refusing = (one: PolicyDocument) => one.rules?.filter(({ effect }) => effect !== "permit");
    const ofEach: ((one: PolicyDocument) => string[])[] = [
      (one) => texts(refusing(one)),
      (one) => texts(one.history),
      (one) => perPattern(one.requires),
      (one) => perPattern(one.arguments),
      (one) => texts(one.approvals?.approvers),
      (one) => texts(one.budgets?.alerts),
      (one) => texts(one.redact?.keys ?? DEFAULT_KEYS),
      (one) => texts(one.redact?.detect ?? DEFAULT_DETECTORS),
    ];
    const kept = ["none", "digest", "full"];
    fc.assert(
      fc.property(document, document, (a, b) => {
        const both = merged(a, b);
        for (const of of ofEach) expect(new Set(of(both))).toEqual(new Set([...of(a), ...of(b)]));
        for (const section of ["loops", "retries"] as const) {
          for (const limit of [...(a[section] ?? []), ...(b[section] ?? [])]) {
            const { threshold, ...kind } = limit;
            const found = both[section]?.filter(({ threshold: _, ...other }) => canonicalJson(other) === canonicalJson(kind));
            expect(found).toHaveLength(1);
            expect(found?.[0]?.threshold).toBeLessThanOrEqual(threshold);
          }
        }
        for (const one of [a, b]) {
          for (const side of ["store_inputs", "store_outputs"] as const) {
            expect(kept.indexOf(both.redact?.[side] ?? "full")).toBeLessThanOrEqual(kept.indexOf(one.redact?.[side] ?? "full"));
          }
          expect(both.approvals?.quorum ?? 1).toBeGreaterThanOrEqual(one.approvals?.quorum ?? 1);
          const price = one.budgets?.default_price;
          if (price === "deny") expect(both.budgets?.default_price).toBe("deny");
          else if (price !== undefined && both.budgets?.default_price !== "deny")
            expect(Number(both.budgets?.default_price)).toBeGreaterThanOrEqual(Number(price));
          if (both.wind_down !== undefined && (one.budgets?.session ?? one.budgets?.run ?? one.budgets?.actions) !== undefined) {
            expect(one.wind_down?.actions).toEqual(expect.arrayContaining([...both.wind_down.actions]));
            expect(Number(both.wind_down.budget)).toBeLessThanOrEqual(Number(one.wind_down?.budget));
          }
        }
      }),
      { numRuns: 300 },
    );
  }, 30_000);

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
    [
      "the smaller budget of each window",
      { budgets: { tenant: { day: 5, month: 9 } } },
      { budgets: { tenant: { day: 6, hour: 1 }, agent: 2 } },
      { budgets: { tenant: { hour: "1", day: "5", month: "9" }, agent: { total: "2" } } },
    ],
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
    [
      "rates of a run and of a session stand side by side",
      { rate_limits: { a: { max_count: 5, window_seconds: 60, per: "run" } } },
      {
        rate_limits: {
          a: [
            { max_count: 7, window_seconds: 60, per: "run" },
            { max_count: 3, window_seconds: 60 },
          ],
        },
      },
      {
        rate_limits: {
          a: [
            { max_count: 3, window_seconds: 60 },
            { max_count: 5, window_seconds: 60, per: "run" },
          ],
        },
      },
    ],
    [
      "the smaller threshold of loops that ignore the same",
      { loops: [{ threshold: 5, window_seconds: 10, ignore: ["inputs.a"] }] },
      {
        loops: [
          { threshold: 3, window_seconds: 10, ignore: ["inputs.a"] },
          { threshold: 4, window_seconds: 10 },
        ],
      },
      {
        loops: [
          { threshold: 3, window_seconds: 10, ignore: ["inputs.a"] },
          { threshold: 4, window_seconds: 10 },
        ],
      },
    ],
    [
      "the smaller number of retries",
      { retries: { threshold: 5, window_seconds: 10 } },
      {
        retries: [
          { threshold: 3, window_seconds: 10 },
          { threshold: 2, window_seconds: 1 },
        ],
      },
      {
        retries: [
          { threshold: 2, window_seconds: 1 },
          { threshold: 3, window_seconds: 10 },
        ],
      },
    ],
    [
      "requirements and schemas of a pattern all apply",
      { requires: { a: { after: ["b"] } }, arguments: { a: { type: "object" } } },
      { requires: { a: [{ after: ["c"] }, { after: ["b"] }], b: { after: ["c"] } }, arguments: { a: [true, { type: "object" }] } },
      { requires: { a: [{ after: ["b"] }, { after: ["c"] }], b: { after: ["c"] } }, arguments: { a: [true, { type: "object" }] } },
    ],
    [
      "the higher price for an unknown model, and alerts of both",
      { budgets: { default_price: "0.5", alerts: [0.5] } },
      { budgets: { default_price: "2", alerts: [0.9, 0.5] } },
      { budgets: { default_price: "2", alerts: [0.5, 0.9] } },
    ],
    [
      "the higher price, wherever it stands",
      { budgets: { default_price: "2" } },
      { budgets: { default_price: "0.5" } },
      { budgets: { default_price: "2" } },
    ],
    ["a price that is denied", { budgets: { default_price: "deny" } }, { budgets: { default_price: "2" } }, { budgets: { default_price: "deny" } }],
    [
      "the larger quorum and all groups of approvers",
      { approvals: { quorum: 2, approvers: { subjects: ["ann"] } } },
      { approvals: { quorum: 3, approvers: [{ scopes: ["x"] }, { subjects: ["ann"] }] } },
      { approvals: { quorum: 3, approvers: [{ scopes: ["x"] }, { subjects: ["ann"] }] } },
    ],
    [
      "the least that is kept",
      { redact: { store_inputs: "digest", keys: ["a"], detect: ["email"] } },
      { redact: { store_outputs: "none", keys: ["B", "a"], detect: ["token"] } },
      { redact: { store_inputs: "digest", store_outputs: "none", keys: ["a", "b"], detect: ["email", "token"] } },
    ],
    [
      "what one hides by name, and what the other hides without saying so",
      { redact: { keys: ["iban"], detect: [] } },
      { denied_actions: ["a"] },
      {
        denied_actions: ["a"],
        redact: { keys: ["iban", ...DEFAULT_KEYS], detect: [...DEFAULT_DETECTORS] },
      },
    ],
    [
      "nothing where both say so",
      { redact: { keys: [], detect: [] } },
      { name: "n", redact: { keys: [], detect: [] } },
      { name: "n", redact: { keys: [], detect: [] } },
    ],
    [
      "permits of two layers must each hold, and what refuses unites",
      {
        rules: [
          { id: "p", effect: "permit", actions: ["a"] },
          { id: "f", effect: "forbid", actions: ["b"] },
        ],
      },
      {
        rules: [
          { effect: "hold", actions: ["b"] },
          { id: "q", effect: "permit", actions: ["a"] },
          { id: "f", effect: "forbid", actions: ["b"] },
        ],
      },
      {
        rules: [
          { id: "p", effect: "permit", actions: ["a"], group: "1" },
          { id: "q", effect: "permit", actions: ["a"], group: "2" },
          { id: "f", effect: "forbid", actions: ["b"] },
          { effect: "hold", actions: ["b"] },
        ],
      },
    ],
    [
      "permits beside an allowlist do not matter, those of another layer do",
      { allowed_actions: ["a"], rules: [{ id: "p", effect: "permit", actions: ["a"] }] },
      { rules: [{ id: "q", effect: "permit", actions: ["a"] }] },
      { allowed_actions: ["a"], rules: [{ id: "q", effect: "permit", actions: ["a"], group: "1" }] },
    ],
    [
      "groups of one name in two layers are two",
      { rules: [{ id: "p", effect: "permit", actions: ["a"], group: "g" }] },
      { rules: [{ id: "q", effect: "permit", actions: ["a"], group: "g" }] },
      {
        rules: [
          { id: "p", effect: "permit", actions: ["a"], group: "1" },
          { id: "q", effect: "permit", actions: ["a"], group: "2" },
        ],
      },
    ],
    [
      "history unites",
      {
        history: [
          { id: "x", forbid: "b", when: "true" },
          { forbid: "a", when: "true" },
        ],
      },
      { history: [{ forbid: "a", when: "true" }] },
      {
        history: [
          { forbid: "a", when: "true" },
          { id: "x", forbid: "b", when: "true" },
        ],
      },
    ],
    [
      "winding down with what both have, from the smaller reserve",
      { budgets: { session: 1 }, wind_down: { actions: ["a", "b*"], budget: 2 } },
      { budgets: { run: 1 }, wind_down: { actions: ["b*", "bc", "a"], budget: "0.5" } },
      { budgets: { session: 1, run: 1 }, wind_down: { actions: ["a", "b*"], budget: "0.5" } },
    ],
    [
      "no winding down past a layer that has a budget and no reserve",
      { budgets: { actions: { x: 1 } } },
      { budgets: { run: 1 }, wind_down: { actions: ["a"], budget: 1 } },
      { budgets: { run: 1, actions: { x: 1 } } },
    ],
    [
      "a layer without a budget has no say in winding down",
      { wind_down: { actions: ["b"], budget: "0.1" } },
      { budgets: { run: 1 }, wind_down: { actions: ["a"], budget: 1 } },
      { budgets: { run: 1 }, wind_down: { actions: ["a"], budget: 1 } },
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
    for (const layer of layers) expect(mergePolicies([layer, layer])).toEqual({ document: layer.document, conflicts: [] });
    expect(mergePolicies(layersOf([normal({ budgets: { run: 1 } }), normal({ budgets: { run: "1.00", session: 2 } })])).conflicts).toEqual([]);
  });

  test("says which rules share an id, which thresholds differ, and why there is no winding down", () => {
    const layers = [
      {
        name: "tenant",
        version: 3,
        document: normal({
          budgets: { session: 1, default_price: "deny" },
          wind_down: { actions: ["a*"], budget: 1 },
          loops: { threshold: 5, window_seconds: 10 },
          rules: [
            { id: "x", effect: "forbid", actions: ["a"] },
            { id: "same", effect: "forbid", actions: ["a"] },
          ],
          history: [{ id: "h", forbid: "a", when: "true" }],
          approvals: { quorum: 2 },
          rate_limits: { a: { max_count: 2, window_seconds: 1, per: "run" } },
          redact: {},
        }),
      },
      {
        name: "bot",
        version: 1,
        document: normal({
          budgets: { session: 1, default_price: "1" },
          wind_down: { actions: ["ab"], budget: 1 },
          loops: { threshold: 4, window_seconds: 10 },
          rules: [
            { id: "x", effect: "forbid", actions: ["b"] },
            { id: "same", effect: "forbid", actions: ["a"] },
          ],
          history: [{ id: "h", forbid: "b", when: "true" }],
          approvals: {},
          rate_limits: {
            a: [
              { max_count: 1, window_seconds: 1, per: "run" },
              { max_count: 9, window_seconds: 1 },
            ],
          },
          redact: { store_inputs: "digest" },
        }),
      },
    ];
    const says = (a: unknown, b: unknown, counts: unknown) => `tenant (version 3) says ${a}, bot (version 1) says ${b}; ${counts} counts`;
    expect(mergePolicies(layers).conflicts).toEqual([
      { pointer: "/budgets/default_price", message: says("deny", "1", "deny") },
      { pointer: "/rate_limits/a", message: says(2, 1, 1) },
      { pointer: "/loops", message: says(5, 4, 4) },
      { pointer: "/approvals/quorum", message: says(2, 1, 2) },
      { pointer: "/redact/store_inputs", message: says("full", "digest", "digest") },
      { pointer: "/redact/store_outputs", message: says("full", "digest", "digest") },
      { pointer: "/rules", message: "tenant and bot have different rules with the id x; both count" },
      { pointer: "/history", message: "tenant and bot have different rules with the id h; both count" },
      { pointer: "/wind_down", message: "the lists of tenant, bot share no pattern; nothing is allowed after a budget is gone" },
    ]);
    const [tenant] = layers;
    if (tenant === undefined) throw new Error("no layer");
    expect(mergePolicies([tenant, { name: "bot", version: 1, document: normal({ budgets: { session: 1 } }) }]).conflicts).toEqual([
      { pointer: "/wind_down", message: "bot has a budget and no reserve to wind down with; nothing is allowed after a budget is gone" },
    ]);
  });

  test("of no layers there is no merge: it would permit everything", () => {
    expect(() => mergePolicies([])).toThrow("at least one layer");
  });
});
