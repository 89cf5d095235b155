import { describe, expect, it } from "vitest";
import { readCases } from "../../src/cli/case_format.ts";
import { policyOf } from "../../src/cli/policy_file.ts";
import { runCase } from "../../src/cli/run_case.ts";
import { documentOf } from "../core/playing.ts";

const source = (text: string, format: "yaml" | "json" = "yaml") => ({ name: "x.test.yaml", text, format });
const one = (inside: string): string => `policy: p.yaml\ncases:\n  - name: a\n    ${inside}\n`;

describe("a case file is refused with every mistake at its place", () => {
  type Mistake = [what: string, text: string, line: number, pointer: string, message: RegExp];
  it.each<Mistake>([
    ["nothing", "", 1, "", /^the case file is empty$/],
    [
      "an unknown member",
      "policy: p.yaml\ncase: []\ncases: [{ name: a, request: { action: b }, expect: allow }]\n",
      2,
      "/case",
      /is unknown; did you mean "cases"\?/,
    ],
    ["no policy", "cases:\n  - { name: a, request: { action: b }, expect: allow }\n", 1, "/policy", /wanted the path of a policy/],
    ["no cases", "policy: p.yaml\ncases: []\n", 2, "/cases", /at least 1 item/],
    [
      "a request's misspelt member",
      one("request: { action: b, estimat_usd: 1 }\n    expect: allow"),
      4,
      "/cases/0/request/estimat_usd",
      /did you mean "estimate_usd"\?/,
    ],
    ["a name that is no action's", one("request: { action: a b }\n    expect: allow"), 4, "/cases/0/request/action", /letters, digits/],
    ["no expectation", one("request: { action: b }"), 3, "/cases/0", /has no expect/],
    ["nothing asked", one("history: []"), 3, "/cases/0", /asks nothing/],
    [
      "request and steps",
      one("request: { action: b }\n    expect: allow\n    steps: [{ action: b, expect: allow }]"),
      4,
      "/cases/0/request",
      /goes not with steps/,
    ],
    ["a verdict that there is not", one("request: { action: b }\n    expect: alow"), 5, "/cases/0/expect/verdict", /did you mean "allow"\?/],
    [
      "a reason that there is not",
      one("request: { action: b }\n    expect: { reason: rate_exceded }"),
      5,
      "/cases/0/expect/reason",
      /did you mean "rate_exceeded"\?/,
    ],
    ["an empty expectation", one("request: { action: b }\n    expect: {}"), 5, "/cases/0/expect", /expects nothing/],
    ["a step without its expectation", one("steps:\n      - { action: b }"), 5, "/cases/0/steps/0/expect", /object|missing/],
    ["money that is none", one("request: { action: b, estimate_usd: -1 }\n    expect: allow"), 4, "/cases/0/request/estimate_usd", /USD amount/],
    [
      "an outcome that there is not",
      one("history: [{ action: b, outcome: failed }]\n    request: { action: b }\n    expect: allow"),
      4,
      "/cases/0/history/0/outcome",
      /one of|wanted success/,
    ],
    [
      "outputs of what is pending",
      one("history: [{ action: b, outcome: pending, outputs: 1 }]\n    request: { action: b }\n    expect: allow"),
      4,
      "/cases/0/history/0/outputs",
      /outcomes success and error/,
    ],
    [
      "given and expected",
      one("history: [{ action: b, given: true, expect: deny }]\n    request: { action: b }\n    expect: allow"),
      4,
      "/cases/0/history/0/expect",
      /goes not with given/,
    ],
    [
      "a history out of order",
      one("history: [{ action: b, ago_seconds: 5 }, { action: b, ago_seconds: 6 }]\n    request: { action: b }\n    expect: allow"),
      4,
      "/cases/0/history/1/ago_seconds",
      /oldest first/,
    ],
    [
      "a negative age",
      one("history: [{ action: b, ago_seconds: -5 }]\n    request: { action: b }\n    expect: allow"),
      4,
      "/cases/0/history/0/ago_seconds",
      /not negative/,
    ],
    [
      "a name twice",
      `${one("request: { action: b }\n    expect: allow")}  - { name: a, request: { action: b }, expect: deny }\n`,
      6,
      "/cases/1/name",
      /case 1 already/,
    ],
    ...["{ remaining_usd: {} }", "{ verdict: allow, remaining_usd: {} }"].map((expect): Mistake => {
      return [expect, one(`request: { action: b }\n    expect: ${expect}`), 5, "/cases/0/expect/remaining_usd", /^expects nothing/];
    }),
    [
      "accounts of actions, and none",
      one("steps:\n      - action: b\n        expect: { remaining_usd: { actions: {} } }"),
      6,
      "/cases/0/steps/0/expect/remaining_usd/actions",
      /^expects nothing/,
    ],
    ...["2026-01-01T12:00:00", "2026-01-01", "2026-02-30T12:00:00Z", "1 Jan 2026 12:00 UTC"].map((now): Mistake => {
      const text = `policy: p.yaml\nnow: "${now}"\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n`;
      return [`the time ${now}`, text, 2, "/now", /RFC 3339/];
    }),
    [
      "a time before 1970",
      "policy: p.yaml\nnow: 1969-12-31T23:59:59Z\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n",
      2,
      "/now",
      /is before 1970/,
    ],
    [
      "a history before 1970",
      "policy: p.yaml\nnow: 1970-01-01T00:00:00Z\ncases:\n  - name: a\n    history: [{ action: b, ago_seconds: 1 }]\n    request: { action: b }\n    expect: allow\n",
      5,
      "/cases/0/history/0/ago_seconds",
      /is before 1970, with the now of this file/,
    ],
    ["a time that is none", "policy: p.yaml\nnow: noon\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n", 2, "/now", /RFC 3339/],
    [
      "a key twice",
      "policy: p.yaml\npolicy: q.yaml\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n",
      2,
      "/policy",
      /written twice/,
    ],
    [
      "an entity that says its own id",
      "policy: p.yaml\nentities: { order: { o1: { id: x } } }\ncases:\n  - { name: a, request: { action: b }, expect: allow }\n",
      2,
      "/entities/order/o1/id",
      /cannot be stored/,
    ],
  ])("%s", (_what, text, line, pointer, message) => {
    const read = readCases(source(text));
    expect(read.ok ? [] : read.error).toEqual([{ pointer, message: expect.stringMatching(message), line, column: expect.any(Number) }]);
  });

  it("tells several at once, in their places", () => {
    const read = readCases(source(one("request: { action: b, ttl_ms: 0, tags: x }\n    expect: { verdict: deni, stops: all }")));
    expect(read.ok ? [] : read.error.map(({ pointer, line }) => [pointer, line])).toEqual([
      ["/cases/0/request/ttl_ms", 4],
      ["/cases/0/request/tags", 4],
      ["/cases/0/expect/verdict", 5],
      ["/cases/0/expect/stops", 5],
    ]);
  });
});

const POLICY = policyOf(
  documentOf({
    version: 1,
    denied_actions: ["rm"],
    budgets: { session: "1", run: "0.8", actions: { "llm.*": "0.5" } },
    concurrency: { open: 1 },
    rules: [
      { id: "own", effect: "permit", actions: ["order"], when: "resource.owner == subject.id" },
      { id: "night", effect: "forbid", actions: ["ship"], when: "now.getHours() < 6" },
      { id: "noted", effect: "forbid", actions: ["llm.*"], when: "inputs.loud", mode: "observe" },
    ],
    history: [{ id: "many", forbid: ["next"], when: "sum('work', 3600) > 0.3" }],
  }),
);

/** What fails, as `what expected/found`. */
function failing(yaml: string): readonly string[] {
  const read = readCases(source(`policy: p.yaml\n${yaml}`));
  if (!read.ok) throw new Error(JSON.stringify(read.error));
  const failures = read.value.suite.cases.flatMap((_one, place) => runCase(POLICY, read.value, place, () => undefined));
  return failures.map(({ at, what, expected, found, place }) => `${place.line} ${at}: ${what} ${expected}/${found}`);
}

describe("a case fails where the policy says otherwise, and nowhere else", () => {
  it.each<[what: string, yaml: string, failures: readonly string[]]>([
    ["a verdict", "cases: [{ name: a, request: { action: rm }, expect: allow }]", ["2 request: verdict allow/deny"]],
    [
      "every part that is expected",
      "cases: [{ name: a, request: { action: rm }, expect: { verdict: hold, reason: permitted, rule: null, stops: run, reserved_usd: 1 } }]",
      [
        "2 request: verdict hold/deny",
        "2 request: reason permitted/action_denied",
        "2 request: rule none//denied_actions",
        "2 request: stops run/action",
        "2 request: reserved_usd 1/none",
      ],
    ],
    [
      "what is left",
      "cases: [{ name: a, request: { action: llm.x, inputs: { loud: false }, estimate_usd: 0.1 }, expect: { remaining_usd: { session: 0.9, run: 0.7, actions: { 'llm.*': 0.3 } } } }]",
      ["2 request: remaining_usd llm.* 0.3/0.4"],
    ],
    [
      "a warning too many",
      "cases: [{ name: a, request: { action: llm.x, inputs: { loud: true } }, expect: { warnings: [] } }]",
      ["2 request: warnings none/rule_forbids noted"],
    ],
    [
      "a warning too few",
      "cases: [{ name: a, request: { action: llm.x, inputs: { loud: false } }, expect: { warnings: [noted] } }]",
      ["2 request: warnings noted/none"],
    ],
    [
      "a history that the policy denies",
      "cases:\n - name: a\n   history:\n    - { action: rm }\n   request: { action: x }\n   expect: deny",
      ["5 history 1 (rm): case allow (it happened; else say expect, or given: true)/deny (action_denied)"],
    ],
    [
      "a history that is expected otherwise",
      "cases: [{ name: a, history: [{ action: x, expect: deny }], request: { action: x }, expect: allow }]",
      ["2 history 1 (x): verdict deny/allow"],
    ],
    [
      "a history that is given",
      "cases: [{ name: a, history: [{ action: rm, given: true, cost_usd: 0.9 }], request: { action: x, estimate_usd: 0.2 }, expect: { rule: /budgets/run } }]",
      [],
    ],
    [
      "defaults, and a request that says it itself",
      "defaults: { estimate_usd: 0.2 }\ncases: [{ name: a, request: { action: x }, expect: { reserved_usd: 0.2 } }, { name: b, request: { action: x, estimate_usd: 0.1 }, expect: { reserved_usd: 0.1 } }]",
      [],
    ],
    [
      "the agent and the entities",
      "agent: bot\nentities: { order: { o: { owner: bot } } }\ncases: [{ name: a, request: { action: order, resource: { type: order, id: o } }, expect: allow }, { name: b, agent: other, request: { action: order, resource: { type: order, id: o } }, expect: { rule: own } }]",
      [],
    ],
    ["the time", "now: 2026-01-01T03:00:00Z\ncases: [{ name: a, request: { action: ship }, expect: { rule: night } }]", []],
    ["a time elsewhere", "now: 2026-01-01T12:00:00+09:00\ncases: [{ name: a, request: { action: ship }, expect: { rule: night } }]", []],
    ["another time", "cases: [{ name: a, request: { action: ship }, expect: allow }]", []],
    [
      "a window that has moved on",
      "cases: [{ name: a, history: [{ action: work, cost_usd: 0.4, ago_seconds: 3601 }], request: { action: next }, expect: allow }, { name: b, history: [{ action: work, cost_usd: 0.4, ago_seconds: 3599 }], request: { action: next }, expect: { rule: many } }]",
      [],
    ],
    [
      "runs of their own",
      "cases: [{ name: a, steps: [{ action: x, estimate_usd: 0.7, run: one, expect: allow }, { action: x, estimate_usd: 0.2, run: one, expect: { rule: /budgets/run } }, { action: x, estimate_usd: 0.2, run: two, expect: allow }] }]",
      [],
    ],
    [
      "what is pending, until it is not",
      "cases: [{ name: a, steps: [{ action: open, outcome: pending, expect: allow }, { action: open, after_seconds: 4000, expect: deny }] }, { name: b, steps: [{ action: open, outcome: released, expect: allow }, { action: open, expect: allow }] }]",
      [],
    ],
    [
      "what it cost",
      "cases: [{ name: a, steps: [{ action: x, estimate_usd: 0.7, cost_usd: 0.1, expect: allow }, { action: x, estimate_usd: 0.7, expect: allow }] }]",
      [],
    ],
    [
      "the session's own cap",
      "session: { budget_usd: 0.3 }\ncases: [{ name: a, request: { action: x, estimate_usd: 0.4 }, expect: { reason: session_budget_exceeded } }]",
      [],
    ],
    [
      "cases that know nothing of each other",
      "cases: [{ name: a, request: { action: x, estimate_usd: 0.8 }, expect: allow }, { name: b, request: { action: x, estimate_usd: 0.8 }, expect: allow }]",
      [],
    ],
  ])("%s", (_what, yaml, failures) => {
    expect(failing(yaml)).toEqual(failures);
  });
});
