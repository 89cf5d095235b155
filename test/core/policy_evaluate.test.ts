import { describe, expect, test } from "vitest";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import { compilePolicy, policyLimits } from "../../src/core/policy/compile.ts";
import { type Asked, evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import type { Findings, PolicyRef } from "../../src/core/policy/findings.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";
import { AROUND, NOT_ASKED, noFindings } from "./nothing.ts";

const REF: PolicyRef = { name: "p", version: 3, digest: `sha-256:${"0".repeat(64)}` };

function written(yaml: string) {
  const result = parsePolicy(yaml, "yaml");
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value.document;
}

const compiled = (yaml: string) => compilePolicy(written(yaml));

const asked = (request: Partial<Asked>): Asked => ({ ...NOT_ASKED, ...request });

const usd = microUsdOf;

/** What is hidden where the policy says nothing of it. */
const UNSAID = compiled("version: 1").redaction;

describe("what a policy says of a request", () => {
  test.each<[string, Partial<Asked>, Partial<Findings>]>([
    ["version: 1", {}, {}],
    ["strict_mode: false", {}, { strict: false }],
    ["budgets: { on_expiry: release }", {}, { onExpiry: "release" }],
    ["compliance: { system: s }", {}, { compliance: { system: "s" } }],
    ["denied_actions: [b]", {}, {}],
    ["denied_actions: [a]", {}, { deniedBy: "a" }],
    ["denied_actions: ['*', a]", {}, { deniedBy: "a" }],
    ["denied_actions: ['*', 'fs.*', 'f*']", { action: "fs.rm" }, { deniedBy: "fs.*" }],
    ["denied_actions: [__proto__]", { action: "__proto__" }, { deniedBy: "__proto__" }],
    ["denied_actions: [b]", { action: "constructor" }, {}],
    ["allowed_actions: []", {}, { listed: false }],
    ["allowed_actions: [b]", {}, { listed: false }],
    ["allowed_actions: [b, 'a*']", {}, { listed: true }],
    ["allowed_actions: ['a*', b]\nalso_allowed_actions: [['*c', b]]", { action: "a-c" }, { listed: true }],
    ["allowed_actions: ['a*', b]\nalso_allowed_actions: [['*c', b]]", { action: "a-d" }, { listed: false }],
    ["allowed_actions: [a]\ndenied_actions: [a]", {}, { listed: true, deniedBy: "a" }],
    [
      "concurrency: { '*': 9, a: 1, b: 2 }",
      {},
      {
        concurrency: [
          { pattern: "a", max: 1 },
          { pattern: "*", max: 9 },
        ],
      },
    ],
    [
      "rate_limits: { '*': { max_count: 9, window_seconds: 0.5 }, a: [{ max_count: 2, window_seconds: 60 }, { max_count: 1, window_seconds: 1 }] }",
      {},
      {
        rates: [
          { pattern: "a", max: 1, windowMs: 1000, per: "session" },
          { pattern: "a", max: 2, windowMs: 60_000, per: "session" },
          { pattern: "*", max: 9, windowMs: 500, per: "session" },
        ],
      },
    ],
    [
      "budgets: { session: 5, run: 1, actions: { '*': 4, 'db.*': 0.1, 'db.read*': 0.3, db.read: 0.2, web: 1 } }",
      { action: "db.read" },
      {
        budgets: [
          { scope: "action", pattern: "db.read", limitMicroUsd: usd(200_000) },
          { scope: "action", pattern: "db.read*", limitMicroUsd: usd(300_000) },
          { scope: "action", pattern: "db.*", limitMicroUsd: usd(100_000) },
          { scope: "action", pattern: "*", limitMicroUsd: usd(4_000_000) },
          { scope: "run", limitMicroUsd: usd(1_000_000) },
          { scope: "session", limitMicroUsd: usd(5_000_000) },
        ],
      },
    ],
    ["budgets: { session: 0 }", {}, { budgets: [{ scope: "session", limitMicroUsd: ZERO_USD }] }],
    ["approvals: { actions: ['a*'] }", {}, { hold: { rule: "/approvals/actions" } }],
    ["approvals: { actions: [b] }", {}, {}],
    ["approvals: { tags: [t], timeout_seconds: 1.5 }", { tags: ["s", "t"] }, { hold: { rule: "/approvals/tags" }, holdTimeoutMs: 1500 }],
    ["approvals: { tags: [t] }", { tags: ["T"] }, {}],
    ["approvals: { risk_levels: [high] }", { riskLevel: "high" }, { hold: { rule: "/approvals/risk_levels" } }],
    ["approvals: { risk_levels: [high] }", { riskLevel: "critical" }, {}],
    ["approvals: { threshold_usd: 1 }", { estimateMicroUsd: usd(1_000_001) }, { hold: { rule: "/approvals/threshold_usd" } }],
    ["approvals: { threshold_usd: 1 }", { estimateMicroUsd: usd(1_000_000) }, {}],
    ["approvals: { threshold_usd: 0 }", { estimateMicroUsd: ZERO_USD }, {}],
    ["approvals: { threshold_usd: 0 }", { estimateMicroUsd: usd(1) }, { hold: { rule: "/approvals/threshold_usd" } }],
    [
      "approvals: { threshold_usd: 0, tags: [t], risk_levels: [low] }",
      { estimateMicroUsd: usd(1), tags: ["t"], riskLevel: "low" },
      { hold: { rule: "/approvals/tags" } },
    ],
    [
      "approvals: { threshold_usd: 0, risk_levels: [low] }",
      { estimateMicroUsd: usd(1), riskLevel: "low" },
      { hold: { rule: "/approvals/risk_levels" } },
    ],
    // What does not look back is answered at once: nothing is left to be asked where the history is.
    [
      "rules: [{ effect: hold, actions: [a], when: \"'t' in tags\" }]",
      { tags: ["t"] },
      { rules: [{ rule: "/rules/0", effect: "hold", history: false, mode: "enforce", stops: "action", said: "holds" }] },
    ],
    [
      "rules: [{ effect: permit, actions: [a], when: \"'t' in tags\" }]",
      {},
      { permits: [{ rule: "/rules/0", mode: "enforce", inputsMissing: false, asks: [] }] },
    ],
  ])("%s, asked %j", (yaml, request, findings) => {
    const policy = compiled(yaml);
    const expected = { ...noFindings(REF), redaction: UNSAID, estimateMicroUsd: request.estimateMicroUsd ?? ZERO_USD, ...findings };
    expect(evaluatePolicy(policy, REF, asked(request), AROUND)).toEqual(expected);
    expect(evaluatePolicy(policy, REF, asked(request), AROUND), "asked again").toEqual(expected);
  });

  test("is the same however many other actions were asked about before", () => {
    const policy = compiled("denied_actions: ['n7*']\nallowed_actions: ['n*']");
    for (let i = 0; i < 2500; i++) {
      const { deniedBy, listed } = evaluatePolicy(policy, REF, asked({ action: `n${i}` }), AROUND);
      expect([deniedBy, listed]).toEqual([String(i).startsWith("7") ? "n7*" : null, true]);
    }
    expect(evaluatePolicy(policy, REF, asked({ action: "m" }), AROUND).listed).toBe(false);
  });

  test("finds one of 10,000 names and 10,000 globs", () => {
    const names = Array.from({ length: 10_000 }, (_, i) => `n${i}`);
    const read = readPolicy({ denied_actions: [...names, ...names.map((name) => `${name}.*`)] });
    if (!read.ok) throw new Error("refused");
    const policy = compilePolicy(read.value);
    expect(evaluatePolicy(policy, REF, asked({ action: "n9999" }), AROUND).deniedBy).toBe("n9999");
    expect(evaluatePolicy(policy, REF, asked({ action: "n9999.x" }), AROUND).deniedBy).toBe("n9999.*");
    expect(evaluatePolicy(policy, REF, asked({ action: "n10000" }), AROUND).deniedBy).toBeNull();
  });
});

test("a policy's limits on money stand by themselves for the view of a session's balances", () => {
  expect(policyLimits(written("budgets: { session: 5, actions: { 'b*': 0.2, a: 0.1 } }"))).toEqual({
    sessionMicroUsd: 5_000_000,
    runMicroUsd: null,
    actions: [
      { pattern: "a", limitMicroUsd: 100_000 },
      { pattern: "b*", limitMicroUsd: 200_000 },
    ],
    shared: [],
    windDownMicroUsd: null,
  });
  expect(policyLimits(written("budgets: { tenant: { month: 9, hour: 1 }, agent: 3 }")).shared).toEqual([
    { scope: "agent", window: "total", limitMicroUsd: 3_000_000 },
    { scope: "tenant", window: "hour", limitMicroUsd: 1_000_000 },
    { scope: "tenant", window: "month", limitMicroUsd: 9_000_000 },
  ]);
});

test("of a larger sum only what looks at sums is asked, and nothing of the past where nothing looks at it", () => {
  const policy = compiled("requires: { a: { after: [b], where: prior.outputs.ok } }\nloops: { threshold: 2, window_seconds: 9 }");
  const of = (isTopup: boolean) => evaluatePolicy(policy, REF, asked({}), { ...AROUND, isTopup });
  expect([of(false).requirements.length, of(false).loops.length, of(false).scene === null]).toEqual([1, 1, false]);
  expect([of(true).requirements, of(true).loops, of(true).scene]).toEqual([[], [], null]);
});
