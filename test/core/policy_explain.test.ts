import { describe, expect, it } from "vitest";
import { policyOf } from "../../src/cli/policy_file.ts";
import { Session, ttlOf } from "../../src/cli/session.ts";
import type { JsonValue } from "../../src/core/json.ts";
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
  for (const { action, in: inputs, out: outputs, usd: estimate, at = 0, outcome, resource } of calls) {
    const wire = { action, inputs, outcome, resource, estimate_usd: estimate === undefined ? undefined : usd(estimate) };
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
