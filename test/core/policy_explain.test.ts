import { describe, expect, it } from "vitest";
import { policyOf } from "../../src/cli/policy_file.ts";
import { Session, ttlOf } from "../../src/cli/session.ts";
import type { JsonValue } from "../../src/core/json.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import type { Explanation } from "../../src/core/policy/explain.ts";
import { documentOf, usd } from "./playing.ts";

interface Call {
  readonly action: string;
  readonly in?: JsonValue;
  readonly out?: JsonValue;
  readonly usd?: string;
  readonly at?: number;
  readonly outcome?: "success" | "error" | "pending" | "released";
  readonly resource?: { readonly type: string; readonly id: string };
  readonly digest?: `sha-256:${string}`;
}

/** What is said of the last call, after those before it. */
function explained(policy: object, ...calls: readonly Call[]): Explanation {
  const session = new Session(policyOf(documentOf({ version: 1, ...policy })), {
    agent: "bot",
    openedAt: 0,
    budgetMicroUsd: null,
    entities: { agent: { bot: { team: "blue" } }, order: { o: { owner: "bot" } } },
    defaults: {},
  });
  let last: Explanation | null = null;
  for (const { action, in: inputs, out: outputs, usd: estimate, at = 0, outcome, resource, digest } of calls) {
    const wire = { action, inputs, inputs_digest: digest, outcome, resource, estimate_usd: estimate === undefined ? undefined : usd(estimate) };
    const { decision, explanation } = session.ask(wire, at, ttlOf(wire));
    last = explanation;
    // The gates that are shown are those that decide.
    const first = explanation.gates.find((gate) => gate.outcome === "denied" || gate.outcome === "held");
    expect(first?.said.find(({ counts }) => counts)?.reason ?? null).toEqual(decision.verdict === "allow" ? null : decision.reason);
    expect([explanation.judgement.verdict, explanation.judgement.warnings]).toEqual([decision.verdict, decision.warnings]);
    const noted = explanation.gates.flatMap(({ said }) => said.filter(({ counts }) => !counts).map(({ reason }) => reason));
    const fromReserve = decision.advice.some(({ code }) => code === "wind_down");
    const warned = fromReserve ? noted.filter(({ code }) => !code.endsWith("_budget_exceeded")) : noted;
    if (decision.verdict === "allow") expect(warned).toEqual(decision.warnings);
    if (decision.verdict === "allow" && call(outcome)) expect(session.become(decision, { ...wire, outputs }, at)).toBe(null);
  }
  if (last === null) throw new Error("nothing was asked");
  return last;
}

const call = (outcome: Call["outcome"]): boolean => outcome !== "pending";
const outcomes = ({ gates }: Explanation) =>
  gates.filter(({ outcome }) => outcome !== "passed" && outcome !== "not_asked").map(({ gate, outcome }) => `${gate} ${outcome}`);

const RULES = {
  rules: [
    { id: "own", effect: "permit", actions: ["order.*"], when: "resource.owner == subject.id && subject.team == 'blue'" },
    { id: "prod", effect: "forbid", actions: ["db.*"], when: "inputs.env == 'prod' || inputs.force" },
    { id: "seen", effect: "forbid", actions: ["db.*"], when: "estimate_usd > 0.5", mode: "observe" },
    { id: "ask", effect: "hold", actions: ["*"], when: "inputs.big" },
    { id: "else", effect: "forbid", actions: ["other"] },
  ],
  history: [{ id: "many", forbid: ["post_*"], when: "count('read', 60) > 1" }],
};

describe("an explanation shows the gate that decides, and what came before it", () => {
  it.each<[what: string, policy: object, calls: readonly Call[], gate: readonly string[]]>([
    ["a denied action", { denied_actions: ["r*"] }, [{ action: "rm" }], ["lists denied"]],
    ["an unlisted action", { allowed_actions: ["a"] }, [{ action: "b" }], ["lists denied"]],
    ["no permit holds", RULES, [{ action: "order.x" }], ["permits denied"]],
    ["a permit holds", RULES, [{ action: "order.x", resource: { type: "order", id: "o" }, in: { big: false } }], []],
    ["a rule forbids", RULES, [{ action: "db.q", in: { env: "prod" } }], ["forbids denied"]],
    ["a rule fails", RULES, [{ action: "db.q", in: {} }], ["forbids denied"]],
    ["a schema", { arguments: { a: { required: ["to"] } } }, [{ action: "a", in: {} }], ["arguments denied"]],
    ["a prerequisite", { requires: { b: { after: ["a"] } } }, [{ action: "b" }], ["requirements denied"]],
    [
      "the history",
      RULES,
      [
        { action: "read", in: { big: false } },
        { action: "read", in: { big: false } },
        { action: "post_x", in: { big: false } },
      ],
      ["history denied"],
    ],
    ["a loop", { loops: { threshold: 2, window_seconds: 9 } }, [{ action: "a" }, { action: "a" }], ["repetition denied"]],
    ["too many at once", { concurrency: { a: 1 } }, [{ action: "a", outcome: "pending" }, { action: "a" }], ["use denied"]],
    [
      "a budget",
      { budgets: { session: 1 } },
      [
        { action: "a", usd: "0.6" },
        { action: "a", usd: "0.6" },
      ],
      ["budgets denied"],
    ],
    [
      "a budget that winding down covers",
      { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 } },
      [
        { action: "a", usd: "0.6" },
        { action: "a", usd: "0.6" },
      ],
      [],
    ],
    [
      "too many at once, though winding down covers the budget",
      { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 }, concurrency: { a: 1 } },
      [
        { action: "a", usd: "0.6", outcome: "pending" },
        { action: "a", usd: "0.6" },
      ],
      ["use denied"],
    ],
    ["a session that has expired", {}, [{ action: "a", at: 94 * 86_400_000 }], ["session denied"]],
    ["a hold", RULES, [{ action: "x", in: { big: true } }], ["approval held"]],
    ["what is only observed", { strict_mode: false, denied_actions: ["a"], budgets: { session: 0 } }, [{ action: "a", usd: "1" }], []],
  ])("%s", (_what, policy, calls, gate) => {
    const explanation = explained(policy, ...calls);
    expect(outcomes(explanation)).toEqual(gate);
    const over = explanation.gates.findIndex(({ outcome }) => outcome === "denied" || outcome === "held");
    expect(explanation.gates.map(({ outcome }, place) => (outcome === "not_asked") === (over >= 0 && place > over))).not.toContain(false);
  });
});

describe("every rule that names the action is shown with what it looked at", () => {
  it("holds, with its parts one by one", () => {
    const { rules } = explained(RULES, { action: "db.q", in: { env: "prod", big: false }, usd: "0.7" });
    expect(rules.map(({ rule, said, asked }) => [rule, said, asked])).toEqual([
      ["prod", "holds", true],
      ["seen", "holds", true],
      ["ask", "does_not_hold", false],
    ]);
    expect(rules[0]).toMatchObject({
      parts: [
        { text: "inputs.env == 'prod'", holds: true },
        { text: "inputs.force", holds: null },
      ],
      looks: [{ at: "inputs.env", value: "prod" }, { at: "inputs.force" }],
    });
    expect(rules[1]?.looks).toEqual([{ at: "estimate_usd", value: 0.7 }]);
  });

  it("looks at stored attributes, and at the history", () => {
    const { rules } = explained(RULES, { action: "order.x", resource: { type: "order", id: "o" } });
    expect(rules[0]?.looks).toEqual([
      { at: "resource.owner", value: "bot" },
      { at: "subject.id", value: "bot" },
      { at: "subject.team", value: "blue" },
    ]);
    const after = explained(RULES, { action: "read", in: { big: false } }, { action: "post_x", in: { big: false } });
    expect(after.rules.find(({ rule }) => rule === "many")).toMatchObject({
      said: "does_not_hold",
      section: "history",
      looks: [{ at: "count('read', 60)", value: 1 }],
    });
  });

  const requires = { requires: { b: { after: ["a"], within_seconds: 60, same: ["inputs.id"], where: "prior.outputs.ok == true" } } };
  const a = (more: Partial<Call>): Call => ({ action: "a", in: { id: 1 }, out: { ok: true }, at: 0, ...more });
  it.each<[string, readonly Call[], string, readonly object[]]>([
    ["never_called", [], "never_called", []],
    ["not_recent", [a({})], "not_recent", []],
    ["not_alike", [a({ at: 50_000, in: { id: 2 } })], "not_alike", []],
    ["unsuccessful", [a({ at: 50_000, outcome: "error" })], "unsuccessful", []],
    ["where_fails", [a({ at: 50_000, out: { ok: false } })], "where_fails", [{ at: "prior.outputs.ok", value: false }]],
    ["fits", [a({ at: 50_000 })], "fits", [{ at: "prior.outputs.ok", value: true }]],
    [
      "the newest alike counts alone",
      [a({ at: 50_000 }), a({ at: 51_000, out: { ok: false } }), a({ at: 52_000, in: { id: 2 } })],
      "where_fails",
      [{ at: "prior.outputs.ok", value: false }],
    ],
  ])("a requirement: %s", (_what, before, found, looks) => {
    const { requirements } = explained(requires, ...before, { action: "b", in: { id: 1 }, at: 70_000 });
    expect(requirements).toMatchObject([{ rule: "/requires/b", same: ["inputs.id"], withinMs: 60_000, after: [{ pattern: "a", found, looks }] }]);
  });
});

describe("each gate tells what it looked at, before what is asked now", () => {
  const facts = (explanation: Explanation) =>
    explanation.gates.flatMap(({ gate, facts: told }) => told.map(({ rule, says }) => `${gate} ${rule}: ${says}`));
  const fail: Call = { action: "a", outcome: "error" };
  const window = { window_seconds: 60 };

  it.each<[policy: object, calls: readonly Call[], told: readonly string[]]>([
    [{ denied_actions: ["x", "r*"] }, [{ action: "rm" }], ['lists /denied_actions: "r*" names "rm"']],
    [{ allowed_actions: ["a"] }, [{ action: "b" }], ['lists /allowed_actions: nothing in it names "b"']],
    [{ allowed_actions: ["a"], denied_actions: ["b"] }, [{ action: "a" }], []],
    [
      { loops: { threshold: 3, ...window } },
      [
        { action: "a", in: { n: 1 } },
        { action: "a", in: { n: 2 } },
        { action: "a", in: { n: 1 }, at: 1 },
      ],
      ["repetition /loops: call 2 with these inputs within 60 s, and 3 make a loop"],
    ],
    [
      { strict_mode: false, loops: { threshold: 3, ...window, ignore: ["inputs.n"] } },
      [{ action: "a", digest: `sha-256:${"0".repeat(64)}` }],
      ["repetition /loops: of these inputs only a digest was sent, and parts of them are ignored"],
    ],
    [{ retries: { threshold: 3, window_seconds: 0.5 } }, [fail, fail, { action: "a", at: 1 }], ["repetition /retries: 2 of 3 failures within 0.5 s"]],
    [
      { concurrency: { "a*": 5 } },
      [{ action: "ab", outcome: "pending" }, { action: "b", outcome: "pending" }, { action: "a" }],
      ["use /concurrency/a*: 1 of 5 in progress"],
    ],
    [
      { rate_limits: { "a/b": { max_count: 5, ...window }, "a/*": { max_count: 4, ...window, per: "run" } } },
      [{ action: "a/b" }, { action: "a/c" }, { action: "a/b", at: 1 }],
      ["use /rate_limits/a~1b: 1 of 5 within 60 s", "use /rate_limits/a~1*: 2 of 4 within 60 s"],
    ],
    [
      { rate_limits: { a: { max_count: 5, ...window, per: "agent" } } },
      [{ action: "a" }, { action: "a" }, { action: "a", at: 1 }],
      ["use /rate_limits/a: 2 of 5 within 60 s"],
    ],
    [
      { budgets: { agent: { day: 5 }, tenant: 9 } },
      [
        { action: "a", usd: "0.5" },
        { action: "a", usd: "0.125" },
      ],
      ["budgets /budgets/agent/day: 0.5 taken, 0.125 asked, of 5 USD", "budgets /budgets/tenant/total: 0.5 taken, 0.125 asked, of 9 USD"],
    ],
    [
      { budgets: { session: 5, run: 4, actions: { "a*": 3 } } },
      [
        { action: "ab", usd: "0.5" },
        { action: "b", usd: "0.25" },
        { action: "a", usd: "0.125" },
      ],
      [
        "budgets /budgets/actions/a*: 0.5 taken, 0.125 asked, of 3 USD",
        "budgets /budgets/run: 0.75 taken, 0.125 asked, of 4 USD",
        "budgets /budgets/session: 0.75 taken, 0.125 asked, of 5 USD",
      ],
    ],
  ])("%j: %j", (policy, calls, told) => {
    expect(facts(explained(policy, ...calls))).toEqual(told);
  });

  it("and nothing where it was not asked any more", () => {
    const { gates } = explained({ denied_actions: ["a"], budgets: { session: 1 } }, { action: "a" });
    expect(gates.find(({ gate }) => gate === "budgets")).toEqual({ gate: "budgets", outcome: "not_asked", said: [], facts: [] });
    expect(gates[0]).toMatchObject({ gate: "session", outcome: "passed", said: [] });
  });

  it("and what did not count with what did, and how much it would have", () => {
    const { gates } = explained({ strict_mode: false, denied_actions: ["a"], budgets: { session: 0 } }, { action: "a", usd: "1" });
    const said = gates.flatMap(({ gate, said: all }) => all.map(({ reason, mode, counts }) => [gate, reason.code, mode, counts]));
    expect(said).toEqual([
      ["lists", "action_denied", "enforce", false],
      ["budgets", "session_budget_exceeded", "enforce", false],
    ]);
    const wound = explained(
      { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 } },
      { action: "a", usd: "1" },
      { action: "a", usd: "1" },
    );
    expect(wound.gates.flatMap(({ said: all }) => all.map(({ reason, counts }) => [reason.code, counts]))).toEqual([
      ["session_budget_exceeded", false],
    ]);
  });
});

it("a stored condition that cannot be read any more is said to have failed", () => {
  const document = documentOf({ rules: [{ id: "f", effect: "forbid", actions: ["a"] }] });
  const stored: PolicyDocument = { ...document, rules: (document.rules ?? []).map((rule) => ({ ...rule, when: "no longer ( CEL" })) };
  const session = new Session(policyOf(stored), { agent: "bot", openedAt: 0, budgetMicroUsd: null, entities: {}, defaults: {} });
  const wire = { action: "a", inputs: undefined, outcome: undefined, resource: undefined, estimate_usd: undefined };
  expect(session.ask(wire, 0, ttlOf(wire)).explanation.rules).toMatchObject([{ rule: "f", said: "failed", asked: true }]);
});

it("a condition on inputs of a call that has none has failed: nothing of it was kept back", () => {
  const policy = { rules: [{ id: "r", effect: "forbid", actions: ["a"], when: "inputs.n > 1" }] };
  expect(explained(policy, { action: "a" }).rules).toMatchObject([{ rule: "r", said: "failed", asked: true }]);
});

it("a condition on inputs of which only a digest was sent is said to miss them", () => {
  const rules = [
    { id: "r", effect: "forbid", actions: ["a"], when: "inputs.n > 1" },
    { id: "s", effect: "forbid", actions: ["a"], when: "action == 'a'" },
  ];
  const said = explained({ rules }, { action: "a", digest: `sha-256:${"0".repeat(64)}` }).rules.map(({ rule, said: what }) => `${rule} ${what}`);
  expect(said).toEqual(["r inputs_missing", "s holds"]);
});

it("what stands above the policy counts, however little the policy enforces", () => {
  const [session] = explained({ strict_mode: false, denied_actions: ["x"] }, { action: "a", usd: "4500000000.000001" }).gates;
  expect(session).toMatchObject({ gate: "session", outcome: "denied", said: [{ mode: "enforce", counts: true }] });
});

it("a call that is exactly as old as a requirement allows is looked at, and an older one is not", () => {
  const requires = { requires: { b: { after: ["a"], within_seconds: 60, where: "prior.outputs.ok" } } };
  const at = (now: number) => explained(requires, { action: "a", out: { ok: false } }, { action: "b", at: now }).requirements[0]?.after;
  expect(at(60_000)).toEqual([{ pattern: "a", found: "where_fails", looks: [{ at: "prior.outputs.ok", value: false }] }]);
  expect(at(60_001)).toEqual([{ pattern: "a", found: "not_recent", looks: [] }]);
});

describe("what a condition looked at is shown as it stands there", () => {
  const looked = (when: string, inputs: JsonValue = { a: 1 }, section: "rules" | "history" = "rules") => {
    const policy =
      section === "rules" ? { rules: [{ id: "r", effect: "forbid", actions: ["x"], when }] } : { history: [{ id: "r", forbid: "x", when }] };
    const { rules } = explained(policy, { action: "past", in: { n: 4, xs: ["a", 1] }, usd: "0.5" }, { action: "x", in: inputs, at: 90_500 });
    return rules[0];
  };

  it.each<[when: string, looks: readonly object[]]>([
    ["inputs.a == 1", [{ at: "inputs.a", value: 1 }]],
    ["inputs['odd name'].x == 1", [{ at: 'inputs["odd name"].x' }]],
    ["inputs.a == 1 && inputs.a != 2", [{ at: "inputs.a", value: 1 }]],
    [
      "action == 'x' && 'eu' in tags",
      [
        { at: "action", value: "x" },
        { at: "tags", value: [] },
      ],
    ],
    ["now > timestamp('1970-01-01T00:00:00Z')", [{ at: "now", value: "1970-01-01T00:01:30.500Z" }]],
    ["subject.team == 'blue'", [{ at: "subject.team", value: "blue" }]],
    ["context.ip == 'x'", [{ at: "context.ip" }]],
    ["inputs.xs.exists(a, a == inputs.a)", [{ at: "inputs.xs" }, { at: "inputs.a", value: 1 }]],
    ["'x y'.contains(action)", [{ at: "action", value: "x" }]],
    ["inputs.xs.all(inputs, inputs.a == 1)", [{ at: "inputs.xs" }]],
    ["[inputs.a].map(x, x > 0, x).size() == 1", [{ at: "inputs.a", value: 1 }]],
    [
      "inputs[action] == 1",
      [
        { at: "inputs", value: { a: 1 } },
        { at: "action", value: "x" },
      ],
    ],
    ["count('past', 600) > 5", [{ at: "count('past', 600)", value: 1 }]],
    ["distinct('past', 'inputs.n', 600) > 5", [{ at: "distinct('past', 'inputs.n', 600)", value: 1 }]],
    ["sum('past', 'inputs.n', 600) > 5.0", [{ at: "sum('past', 'inputs.n', 600)", value: 4 }]],
    ["sum('past', 600) > 5.0", [{ at: "sum('past', 600)", value: 0.5 }]],
    ["last('past').found", [{ at: "last('past').found", value: true }]],
    ["last('past').age > duration('1h')", [{ at: "last('past').age", value: "90.5 s" }]],
    ["last('past').inputs.xs.size() == 2", [{ at: "last('past').inputs.xs", value: ["a", 1] }]],
    [
      "last('past').inputs == inputs",
      [
        { at: "last('past').inputs", value: { n: 4, xs: ["a", 1] } },
        { at: "inputs", value: { a: 1 } },
      ],
    ],
    ["last('none').action == 'a'", [{ at: "last('none').action" }]],
    ["1 == 1", []],
  ])("%s: %j", (when, looks) => {
    const history = /count|sum|distinct|last/.test(when);
    expect(looked(when, { a: 1 }, history ? "history" : "rules")?.looks).toEqual(looks);
  });

  it.each<[when: string, parts: readonly (readonly [string, boolean | null])[]]>([
    ["inputs.a == 1", []],
    [
      "inputs.a == 1 && inputs.a == 2",
      [
        ["inputs.a == 1", true],
        ["inputs.a == 2", false],
      ],
    ],
    [
      "inputs.a == 1 || inputs.b == 2 || inputs.a > 5",
      [
        ["inputs.a == 1", true],
        ["inputs.b == 2", null],
        ["inputs.a > 5", false],
      ],
    ],
    [
      "inputs.a == 1 && (inputs.a == 2 || inputs.a == 3)",
      [
        ["inputs.a == 1", true],
        ["(inputs.a == 2 || inputs.a == 3)", false],
      ],
    ],
  ])("%s has the parts %j", (when, parts) => {
    const found = looked(when)?.parts.map(({ text, holds }) => [text.replace(/^\(|\)$/g, ""), holds]);
    expect(found).toEqual(parts.map(([text, holds]) => [text.replace(/^\(|\)$/g, ""), holds]));
  });

  it("and a rule is shown as it is written, with what became of it", () => {
    const rules = [
      { effect: "forbid", actions: ["x", "y"], when: "inputs.a == 2", mode: "warn", stops: "run" },
      { effect: "hold", actions: ["x"], when: "inputs.b == 2" },
      { effect: "permit", actions: ["x"] },
      { effect: "forbid", actions: ["y"] },
    ];
    const told = explained({ rules, history: [{ forbid: ["x"], when: "count('x', 60) > 5" }] }, { action: "x", in: { a: 1 } }).rules;
    expect(told.map(({ parts: _, looks: __, ...one }) => one)).toEqual([
      {
        rule: "/rules/0",
        section: "rules",
        effect: "forbid",
        actions: ["x", "y"],
        mode: "warn",
        stops: "run",
        when: "inputs.a == 2",
        said: "does_not_hold",
        asked: true,
      },
      {
        rule: "/rules/1",
        section: "rules",
        effect: "hold",
        actions: ["x"],
        mode: "enforce",
        stops: "action",
        when: "inputs.b == 2",
        said: "failed",
        asked: true,
      },
      {
        rule: "/rules/2",
        section: "rules",
        effect: "permit",
        actions: ["x"],
        mode: "enforce",
        stops: "action",
        when: null,
        said: "holds",
        asked: true,
      },
      {
        rule: "/history/0",
        section: "history",
        effect: "forbid",
        actions: ["x"],
        mode: "enforce",
        stops: "action",
        when: "count('x', 60) > 5",
        said: "does_not_hold",
        asked: true,
      },
    ]);
    expect(told[2]).toMatchObject({ parts: [], looks: [] });
  });

  it("of an earlier action nothing, where the requirement looks at none of its members", () => {
    const [requirement] = explained({ requires: { b: { after: ["a"] } } }, { action: "a", at: 0 }, { action: "b", at: 1 }).requirements;
    expect(requirement).toMatchObject({ where: null, after: [{ pattern: "a", found: "fits", looks: [] }] });
  });

  it("of an earlier action, as the requirement sees it", () => {
    const where = "prior.inputs.id == inputs.id && prior.outcome == 'success' && prior.age < duration('1h') && prior.outputs.ok";
    const requires = { requires: { b: { after: ["a"], where } } };
    const [requirement] = explained(
      requires,
      { action: "a", in: { id: 1 }, out: { ok: true }, at: 0 },
      { action: "b", in: { id: 1 }, at: 90_500 },
    ).requirements;
    expect(requirement).toEqual({
      rule: "/requires/b",
      action: "b",
      where,
      same: [],
      withinMs: null,
      after: [
        {
          pattern: "a",
          found: "fits",
          looks: [
            { at: "prior.inputs.id", value: 1 },
            { at: "inputs.id", value: 1 },
            { at: "prior.outcome", value: "success" },
            { at: "prior.age", value: "90.5 s" },
            { at: "prior.outputs.ok", value: true },
          ],
        },
      ],
    });
  });
});
