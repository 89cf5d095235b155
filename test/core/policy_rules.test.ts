import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import type { Decision } from "../../src/core/decision.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { mergePolicies } from "../../src/core/policy/merge.ts";
import { REASONS } from "../../src/core/reasons.ts";
import {
  type Asks,
  ask,
  documentOf,
  done,
  failed,
  lineOf,
  more,
  newRun,
  Playing,
  playOf,
  type Row,
  released,
  reportOf,
  requestOf,
  SECOND_RUN,
  scenario,
  usd,
} from "./playing.ts";

const agrees = (_: string, policy: Row[1], steps: Row[2]): void => {
  const { wanted, found } = scenario(policy, steps);
  for (const { by, lines } of found) expect(lines, by).toEqual(wanted);
};

const rows = (name: string, of: readonly Row[]): void => {
  describe(name, () => {
    test.each(of)("%s", agrees);
  });
};

describe("the order of precedence", () => {
  const UNPRICED = { known: false, basis: "none", data: "d" } as const;
  // What each reason needs of the policy to be a reason against the same request: `pay`, 0.02 USD, after two calls like it of which one failed.
  const NO: readonly (readonly [code: string, policy: { readonly [section: string]: unknown }, asks?: Asks])[] = [
    ["action_denied", { denied_actions: ["pay"] }],
    ["action_not_allowed", { allowed_actions: ["other"] }],
    ["action_not_allowed", { rules: [{ effect: "permit", actions: ["pay"], when: "estimate_usd < 0.0" }] }],
    ["rule_forbids", { rules: [{ effect: "forbid", actions: ["pay"], when: "estimate_usd > 0.0" }] }],
    ["inputs_required", { rules: [{ effect: "hold", actions: ["pay"], when: "inputs.n == 2" }] }, { digest: true }],
    ["arguments_invalid", { arguments: { pay: { required: ["to"] } } }],
    ["prerequisite_missing", { requires: { pay: { after: ["lookup"] } } }],
    ["history_forbids", { history: [{ forbid: "pay", when: "count('pay', 60) > 1" }] }],
    ["loop_detected", { loops: { threshold: 2, window_seconds: 60 } }],
    ["retries_exceeded", { retries: { threshold: 1, window_seconds: 60 } }],
    ["concurrency_exceeded", { concurrency: { pay: 1 } }],
    ["rate_exceeded", { rate_limits: { pay: { max_count: 2, window_seconds: 60 } } }],
    ["price_unknown", { budgets: { default_price: "deny" } }, { price: UNPRICED }],
    ["action_budget_exceeded", { budgets: { actions: { pay: 0.01 } } }],
    ["run_budget_exceeded", { budgets: { run: 0.01 } }],
    ["session_budget_exceeded", { budgets: { session: 0.01 } }],
    ["approval_required", { approvals: { actions: ["pay"] } }],
  ];

  const united = (policies: readonly { readonly [section: string]: unknown }[]): object => {
    const all: { [section: string]: unknown } = {};
    for (const policy of policies) {
      for (const [section, value] of Object.entries(policy)) {
        const before = all[section];
        if (before === undefined) all[section] = value;
        else if (Array.isArray(before) && Array.isArray(value)) all[section] = [...before, ...value];
        else all[section] = { ...(before as object), ...(value as object) };
      }
    }
    return all;
  };

  /** The last of three like calls, under a policy that has come into force before it. */
  function decideUnder(policy: object, asks: Asks): { readonly playing: Playing; readonly decision: Decision } {
    const playing = new Playing({ loops: { threshold: 99, window_seconds: 60 }, rate_limits: { pay: { max_count: 99, window_seconds: 60 } } });
    const inputs = { n: 1 };
    const first = playing.decide(requestOf("pay", { in: inputs, usd: "0.02" }), 0);
    playing.decide(requestOf("pay", { in: inputs, usd: "0.02" }), 1);
    playing.commit(first.id, { outcome: "error" }, 2);
    playing.use(policy);
    return { playing, decision: playing.decide(requestOf("pay", { in: inputs, usd: "0.02", ...asks }), 3) };
  }

  test.each(NO.map(([code, policy, asks]) => [code, policy, asks ?? {}] as const))(
    "%s alone is the reason, and nothing is charged",
    (code, policy, asks) => {
      const { playing, decision } = decideUnder(policy, asks);
      expect(decision.reason.code).toBe(code);
      expect(decision.verdict).toBe(code === "approval_required" ? "hold" : "deny");
      expect(playing.book).toMatchObject({ total: { pendingMicroUsd: 20_000 }, pending: { size: 1 } });
      expect(playing.book.hits.get("pay")).toHaveLength(2);
      expect(playing.book.trail.calls("*", 60_000, 3)).toHaveLength(2);
      expect(playing.decided.at(-1)).toMatchObject({ matter: null, trace: null });
    },
  );

  const pairs = NO.flatMap((earlier, place) => NO.slice(place + 1).map((later) => [earlier, later] as const)).filter(([[, a], [b, c]]) => {
    // Next to a list of what is allowed no permit matters, and of inputs that were not sent no shape is known.
    if ("allowed_actions" in a && JSON.stringify(c).includes("permit")) return false;
    return !(JSON.stringify(a).includes("inputs.n") && b === "arguments_invalid");
  });

  it("of any two that say no, the earlier is the answer", () => {
    for (const [[earlier, a, asksA], [later, b, asksB]] of pairs) {
      const { decision } = decideUnder(united([a, b]), { ...asksA, ...asksB });
      expect(decision.reason.code, `${earlier} before ${later}`).toBe(earlier);
    }
  });

  it("the rows stand in the order of the list, and each of its policy's reasons has one", () => {
    const places = NO.map(([code]) => (REASONS as readonly string[]).indexOf(code));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    const elsewhere = /_(closed|killed|paused|stale|missing|invalid|rejected|expired|mismatch|consumed|refused)$|^(agent|tenant)_|permitted/;
    const missing = REASONS.filter((reason) => !elsewhere.test(reason) && !NO.some(([code]) => code === reason));
    expect(missing).toEqual([]);
  });

  it("an action against which nothing speaks is charged", () => {
    const { playing, decision } = decideUnder({ strict_mode: true }, {});
    expect(decision).toMatchObject({ verdict: "allow", reason: { code: "permitted", rule: null }, stops: null });
    expect(playing.book.total.pendingMicroUsd).toBe(40_000);
  });
});

rows("names and globs", [
  [
    "a name is exact",
    "denied_actions: [rm]",
    [ask(0, "rm", {}, "deny action_denied /denied_actions"), ask(0, "rmdir", {}, "allow"), ask(0, "Rm", {}, "allow")],
  ],
  [
    "a star stands for any run of characters, also for none, within the whole name",
    'denied_actions: ["fs.rm*", "*.drop", "a*z"]',
    [
      ask(0, "fs.rm", {}, "deny action_denied /denied_actions"),
      ask(0, "fs.rmdir", {}, "deny action_denied /denied_actions"),
      ask(0, "xfs.rm", {}, "allow"),
      ask(0, "db.drop", {}, "deny action_denied /denied_actions"),
      ask(0, "db.drops", {}, "allow"),
      ask(0, "az", {}, "deny action_denied /denied_actions"),
      ask(0, "a/b:c-z", {}, "deny action_denied /denied_actions"),
    ],
  ],
  ["nothing else is a wildcard", "denied_actions: [a.c]", [ask(0, "abc", {}, "allow"), ask(0, "a.c", {}, "deny action_denied /denied_actions")]],
  ["no list allows all", "denied_actions: []", [ask(0, "x", {}, "allow")]],
  ["an empty list allows none", "allowed_actions: []", [ask(0, "x", {}, "deny action_not_allowed /allowed_actions")]],
  ["what is denied and allowed is denied", "{denied_actions: [x], allowed_actions: [x]}", [ask(0, "x", {}, "deny action_denied /denied_actions")]],
]);

rows("permit", [
  [
    "matters where it names the action and nothing lists what is allowed",
    'rules: [{ id: own, effect: permit, actions: ["order.*"], when: "inputs.ok" }]',
    [
      ask(0, "order.buy", { in: { ok: true } }, "allow"),
      ask(0, "order.buy", { in: { ok: false } }, "deny action_not_allowed own"),
      ask(0, "other", { in: { ok: false } }, "allow"),
    ],
  ],
  [
    "one of several is enough, and none is named by the first",
    "rules: [{ id: a, effect: permit, actions: [x], when: 'inputs.n == 1' }, { id: b, effect: permit, actions: ['*'], when: 'inputs.n == 2' }]",
    [
      ask(0, "x", { in: { n: 1 } }, "allow"),
      ask(0, "x", { in: { n: 2 } }, "allow"),
      ask(0, "x", { in: { n: 3 } }, "deny action_not_allowed a"),
      ask(0, "y", { in: { n: 1 } }, "deny action_not_allowed b"),
    ],
  ],
  [
    "an error does not permit, and stops no other from permitting",
    "rules: [{ effect: permit, actions: [x], when: 'inputs.n == 1' }, { effect: permit, actions: [x], when: 'has(inputs.m)' }]",
    [ask(0, "x", {}, "deny action_not_allowed /rules/0"), ask(0, "x", { in: { m: 1 } }, "allow")],
  ],
  [
    "does not matter beside a list that allows the action, and cannot open one that does not",
    "{ allowed_actions: [x], rules: [{ effect: permit, actions: [x], when: 'false' }, { effect: permit, actions: [y] }] }",
    [ask(0, "x", {}, "allow"), ask(0, "y", {}, "deny action_not_allowed /allowed_actions")],
  ],
  ["without a condition it permits", "rules: [{ effect: permit, actions: [x] }]", [ask(0, "x", {}, "allow"), ask(0, "y", {}, "allow")]],
  [
    "that is only observed stands in the warnings",
    "rules: [{ id: p, effect: permit, actions: [x], when: 'inputs.ok', mode: observe }]",
    [ask(0, "x", { in: { ok: false } }, "allow ~ action_not_allowed p"), ask(0, "x", { in: { ok: true } }, "allow")],
  ],
  [
    "that is only observed permits nothing where another is enforced",
    "rules: [{ id: o, effect: permit, actions: [x], mode: observe }, { id: p, effect: permit, actions: [x], when: 'inputs.ok' }]",
    [ask(0, "x", { in: { ok: false } }, "deny action_not_allowed p"), ask(0, "x", { in: { ok: true } }, "allow")],
  ],
  [
    "of which each group must be satisfied on its own, beside a list too",
    `{ allowed_actions: [x], rules: [
      { id: a1, effect: permit, group: a, actions: [x], when: 'inputs.n > 1' }, { id: a2, effect: permit, group: a, actions: [x], when: 'inputs.n < 0' },
      { id: b1, effect: permit, group: b, actions: ["*"], when: 'inputs.m' }] }`,
    [
      ask(0, "x", { in: { n: 2, m: true } }, "allow"),
      ask(0, "x", { in: { n: -1, m: true } }, "allow"),
      ask(0, "x", { in: { n: 2, m: false } }, "deny action_not_allowed b1"),
      ask(0, "x", { in: { n: 1, m: true } }, "deny action_not_allowed a1"),
    ],
  ],
  [
    "may look back",
    "rules: [{ id: p, effect: permit, actions: [x], when: \"count('login', 60) > 0\" }, { id: q, effect: permit, actions: [x], when: 'inputs.ok' }]",
    [
      ask(0, "x", { in: { ok: false } }, "deny action_not_allowed p"),
      ask(0, "x", { in: { ok: true } }, "allow"),
      ask(0, "login", {}, "allow"),
      ask(59_999, "x", { in: { ok: false } }, "allow"),
      ask(60_000, "x", { in: { ok: false } }, "deny action_not_allowed p"),
    ],
  ],
  [
    "that looks back and cannot be evaluated does not permit",
    "rules: [{ id: p, effect: permit, actions: [x], when: \"sum('pay', 'inputs.n', 60) < 10.0\" }]",
    [ask(0, "x", {}, "allow"), ask(0, "pay", { in: { n: "1" } }, "allow"), ask(0, "x", {}, "deny action_not_allowed p")],
  ],
]);

rows("forbid", [
  [
    "when its condition holds",
    "rules: [{ id: no-prod, effect: forbid, actions: ['db.*'], when: \"inputs.env == 'prod'\" }]",
    [
      ask(0, "db.x", { in: { env: "prod" } }, "deny rule_forbids no-prod"),
      ask(0, "db.x", { in: { env: "test" } }, "allow"),
      ask(0, "api", { in: { env: "prod" } }, "allow"),
    ],
  ],
  [
    "when its condition cannot be evaluated",
    "rules: [{ effect: forbid, actions: [x], when: \"inputs.env == 'prod'\" }]",
    [
      ask(0, "x", {}, "deny rule_forbids /rules/0"),
      ask(0, "x", { in: { env: 1 } }, "allow"),
      ask(0, "x", { in: [] }, "deny rule_forbids /rules/0"),
      ask(0, "x", { in: null }, "deny rule_forbids /rules/0"),
    ],
  ],
  [
    "always, without a condition",
    "rules: [{ effect: forbid, actions: [x] }]",
    [ask(0, "x", {}, "deny rule_forbids /rules/0"), ask(0, "y", {}, "allow")],
  ],
  [
    "as far as it says",
    `rules: [{ id: a, effect: forbid, actions: [a] }, { id: b, effect: forbid, actions: [b], stops: action },
      { id: c, effect: forbid, actions: [c], stops: run }, { id: d, effect: forbid, actions: [d], stops: session, when: 'inputs.x' }]`,
    [
      ask(0, "a", {}, "deny rule_forbids a"),
      ask(0, "b", {}, "deny rule_forbids b"),
      ask(0, "c", {}, "deny rule_forbids c stops run"),
      ask(0, "d", {}, "deny rule_forbids d stops session"),
    ],
  ],
  [
    "only on paper, when it observes or warns; what is enforced comes on top",
    `rules: [{ id: o, effect: forbid, actions: ["*"], mode: observe }, { id: w, effect: forbid, actions: [x, y], mode: warn, stops: run },
      { id: e, effect: forbid, actions: [y] }]`,
    [
      ask(0, "x", {}, "allow ~ rule_forbids o ~ rule_forbids w"),
      ask(0, "y", {}, "deny rule_forbids e ~ rule_forbids o ~ rule_forbids w"),
      ask(0, "z", {}, "allow ~ rule_forbids o"),
    ],
  ],
  [
    "the first in the author's order is named, by its id or its place",
    `rules: [{ effect: permit, actions: [a, x] }, { effect: forbid, actions: ["x*"], when: 'inputs.n > 1' }, { id: exact, effect: forbid, actions: [x] }]`,
    [ask(0, "x", { in: { n: 2 } }, "deny rule_forbids /rules/1"), ask(0, "x", { in: { n: 1 } }, "deny rule_forbids exact")],
  ],
  [
    "and deny beats hold beats allow, whatever their order",
    `rules: [{ id: h, effect: hold, actions: ["*"], when: 'inputs.n > 0' }, { id: p, effect: permit, actions: ["*"] }, { id: f, effect: forbid, actions: ["*"], when: 'inputs.n > 1' }]`,
    [
      ask(0, "x", { in: { n: 0 } }, "allow"),
      ask(0, "x", { in: { n: 1 } }, "hold approval_required h"),
      ask(0, "x", { in: { n: 2 } }, "deny rule_forbids f"),
    ],
  ],
  [
    "looks at the subject, the action, the resource, the inputs, the tags, the estimate, the context and the time",
    `rules: [
      { id: subject, effect: forbid, actions: [a], when: "!(subject.id == 'bot' && subject.team == 'red' && subject.type == 'agent')" },
      { id: action, effect: forbid, actions: [a], when: "action != 'a'" },
      { id: resource, effect: forbid, actions: [order], when: "resource.owner != subject.id || resource.type != 'order'" },
      { id: tags, effect: forbid, actions: [a], when: "'bad' in tags" },
      { id: estimate, effect: forbid, actions: [a], when: "estimate_usd > 0.5" },
      { id: context, effect: forbid, actions: [a], when: "context.principal.subject != 'bot' || context.tenant != 't'" },
      { id: risk, effect: forbid, actions: [a], when: "context.risk_level == 'critical'" },
      { id: now, effect: forbid, actions: [a], when: "now >= timestamp('1970-01-01T00:00:02Z')" }]`,
    [
      ask(0, "a", { usd: "0.5" }, "allow"),
      ask(0, "a", { usd: "0.500001" }, "deny rule_forbids estimate"),
      ask(0, "a", { tags: ["good", "bad"] }, "deny rule_forbids tags"),
      ask(0, "a", { risk: "critical" }, "deny rule_forbids risk"),
      ask(0, "order", { resource: { type: "order", id: "o1" } }, "allow"),
      ask(0, "order", { resource: { type: "order", id: "o2" } }, "deny rule_forbids resource"),
      ask(0, "order", {}, "deny rule_forbids resource"),
      ask(1_999, "a", {}, "allow"),
      ask(2_000, "a", {}, "deny rule_forbids now"),
    ],
  ],
  [
    "what a request says of its resource wins over what is stored",
    "rules: [{ id: r, effect: forbid, actions: [x], when: \"resource.id != 'o1'\" }]",
    [ask(0, "x", { resource: { type: "order", id: "o1" } }, "allow"), ask(0, "x", { resource: { type: "order", id: "o2" } }, "deny rule_forbids r")],
  ],
]);

describe("strict_mode: false", () => {
  it("allows all and says everything that would have been said, gate after gate", () => {
    const playing = new Playing(`
      strict_mode: false
      denied_actions: [x]
      rules:
        - { id: p, effect: permit, actions: [x], when: "false" }
        - { id: f, effect: forbid, actions: [x], stops: session }
        - { id: h, effect: hold, actions: [x] }
      arguments: { x: { required: [to] } }
      requires: { x: { after: [lookup] } }
      history: [{ id: past, forbid: x, when: "count('x', 60) == 0" }]
      concurrency: { x: 0 }
      budgets: { actions: { x: 0.01 }, session: 0.01, default_price: deny }
      wind_down: { actions: [x], budget: 9 }
      approvals: { actions: [x] }`);
    const decision = playing.decide(requestOf("x", { usd: "5", price: { known: false, basis: "stated", data: "d" } }), 0);
    expect(lineOf(decision)).toBe(
      [
        "allow",
        "action_denied /denied_actions",
        "action_not_allowed p",
        "rule_forbids f",
        "arguments_invalid /arguments/x",
        "prerequisite_missing /requires/x",
        "history_forbids past",
        "concurrency_exceeded /concurrency/x",
        "price_unknown /budgets/default_price",
        "action_budget_exceeded /budgets/actions/x",
        "approval_required /approvals/actions",
        "approval_required h",
      ].join(" ~ "),
    );
    expect(decision.stops).toBe(null);
    expect(playing.book.total.pendingMicroUsd, "what only observes is charged all the same, to the budgets").toBe(5_000_000);
    expect(playing.ledger.at(-1)?.entry.warnings).toEqual(decision.warnings.map(({ code, rule }) => ({ code, rule })));
  });

  it("warns the agent only of rules that say so, enforced or not", () => {
    const rules = `rules: [{ id: o, effect: forbid, actions: [x], mode: observe }, { id: w, effect: forbid, actions: [x], mode: warn }, { id: p, effect: permit, actions: [x], when: "false", mode: warn }, { id: h, effect: hold, actions: [x], mode: warn }]`;
    for (const policy of [rules, `strict_mode: false\n${rules}`]) {
      const { advice, verdict } = new Playing(policy).decide(requestOf("x"), 0);
      expect(verdict).toBe("allow");
      expect(advice.map(({ code, details }) => [code, details])).toEqual([
        ["rule_warns", { reason: "action_not_allowed", rule: "p" }],
        ["rule_warns", { reason: "rule_forbids", rule: "w" }],
        ["rule_warns", { reason: "approval_required", rule: "h" }],
      ]);
    }
  });
});

rows("hold", [
  [
    "when its condition holds or cannot be evaluated",
    "rules: [{ id: big, effect: hold, actions: ['*'], when: 'estimate_usd > 0.5' }, { id: h, effect: hold, actions: [x], when: 'inputs.n > 1' }]",
    [
      ask(0, "x", { in: { n: 1 }, usd: "0.5" }, "allow"),
      ask(0, "x", { in: { n: 2 } }, "hold approval_required h"),
      ask(0, "x", {}, "hold approval_required h"),
      ask(0, "x", { in: { n: 2 }, usd: "0.51" }, "hold approval_required big"),
    ],
  ],
  [
    "is named by the first that asks: the approvals section in its order, then the rules in theirs",
    `{ approvals: { actions: [a], tags: [t], risk_levels: [high], threshold_usd: 1 }, rules: [{ id: r, effect: hold, actions: ["*"] }] }`,
    [
      ask(0, "a", { tags: ["t"], risk: "high", usd: "2" }, "hold approval_required /approvals/actions"),
      ask(0, "b", { tags: ["u", "t"], risk: "high", usd: "2" }, "hold approval_required /approvals/tags"),
      ask(0, "b", { risk: "high", usd: "2" }, "hold approval_required /approvals/risk_levels"),
      ask(0, "b", { risk: "critical", usd: "1.000001" }, "hold approval_required /approvals/threshold_usd"),
      ask(0, "b", { usd: "1" }, "hold approval_required r"),
    ],
  ],
  [
    "is only written down, when it observes",
    "rules: [{ id: o, effect: hold, actions: [x], mode: observe }, { id: w, effect: hold, actions: [x], mode: warn, when: 'inputs.a' }]",
    [ask(0, "x", {}, "allow ~ approval_required o ~ approval_required w"), ask(0, "x", { in: { a: false } }, "allow ~ approval_required o")],
  ],
  [
    "may look back",
    "rules: [{ id: h, effect: hold, actions: [x], when: \"count('x', 60) >= 2\" }]",
    [ask(0, "x", {}, "allow"), ask(0, "x", {}, "allow"), ask(0, "x", {}, "hold approval_required h"), ask(60_000, "x", {}, "allow")],
  ],
  [
    "happens only if nothing says no",
    "{ approvals: { actions: [x] }, budgets: { session: 1 } }",
    [
      ask(0, "x", { usd: "1" }, "hold approval_required /approvals/actions"),
      ask(0, "x", { usd: "1.01" }, "deny session_budget_exceeded /budgets/session"),
    ],
  ],
]);

it("whatever asks for a person waits as long as the policy says", () => {
  for (const [policy, wait] of [
    ["rules: [{ effect: hold, actions: [x] }]", 3_600_000],
    ["{ rules: [{ effect: hold, actions: [x] }], approvals: { timeout_seconds: 30 } }", 30_000],
    ["approvals: { actions: [x], timeout_seconds: 1.5 }", 1_500],
  ] as const) {
    expect(new Playing(policy).decide(requestOf("x"), 500).approval?.expiresAt).toBe(500 + wait);
  }
});

it("a larger sum looks back at the other calls, and not at its own", () => {
  const playing = new Playing("rules: [{ id: r, effect: forbid, actions: [x], when: \"estimate_usd > 0.3 && count('x', 60) > 0\" }]");
  const first = requestOf("x", { usd: "0.1" });
  playing.decide(first, 0);
  const verdict = (amount: string) => {
    const told = playing.topup(first.id, amount, 1);
    return told.ok ? told.value.verdict : told.error.code;
  };
  expect(verdict("0.4")).toBe("allow");
  playing.decide(requestOf("x", { usd: "0.1" }), 1);
  expect(verdict("0.5")).toBe("deny");
});

it("a stored condition that cannot be read any more counts as one that failed", () => {
  const playing = new Playing("strict_mode: true");
  const [when, mode] = ["no longer ( CEL", "enforce"] as const;
  playing.useStored({
    version: 1,
    strict_mode: true,
    rules: [
      { id: "f", effect: "forbid", actions: ["f"], when, mode, stops: "action" },
      { id: "p", effect: "permit", actions: ["p"], when, mode },
      { id: "h", effect: "hold", actions: ["h"], when, mode },
    ],
    history: [{ id: "l", forbid: ["l"], when, mode, stops: "action" }],
    requires: { r: [{ after: ["a"], where: when }], s: [{ after: ["a"], same: ["no [ path"] }] },
  });
  expect(["a", "f", "p", "h", "l", "r", "s"].map((action) => lineOf(playing.decide(requestOf(action), 0)))).toEqual([
    "allow",
    "deny rule_forbids f",
    "deny action_not_allowed p",
    "hold approval_required h",
    "deny history_forbids l",
    "deny prerequisite_missing /requires/r",
    "deny prerequisite_missing /requires/s",
  ]);
});

rows("a digest in place of the inputs", [
  [
    "is refused by what needs the inputs: forbids, holds, permits, schemas, prerequisites, the past",
    `rules: [{ id: f, effect: forbid, actions: [f], when: 'inputs.n == 2' }, { id: h, effect: hold, actions: [h], when: 'inputs == {}' },
       { id: p, effect: permit, actions: [p], when: 'inputs.n == 1' }, { id: l, effect: forbid, actions: [l], when: "count('l', 60) > inputs.n" }]
arguments: { a: { type: object } }
requires: { s: { after: [l2], same: [inputs.n] }, w: { after: [l2], where: "inputs.n == 1" } }
history: [{ id: hist, forbid: hi, when: "count('x', 60) > inputs.n" }]`,
    [
      ask(0, "l2", { in: { n: 1 } }, "allow"),
      ask(0, "f", { digest: true, in: { n: 1 } }, "deny inputs_required f"),
      ask(0, "h", { digest: true, in: { n: 1 } }, "deny inputs_required h"),
      ask(0, "p", { digest: true, in: { n: 1 } }, "deny inputs_required p"),
      ask(0, "l", { digest: true, in: { n: 1 } }, "deny inputs_required l"),
      ask(0, "a", { digest: true, in: { n: 1 } }, "deny inputs_required /arguments"),
      ask(0, "s", { digest: true, in: { n: 1 } }, "deny inputs_required /requires/s"),
      ask(0, "w", { digest: true, in: { n: 1 } }, "deny inputs_required /requires/w"),
      ask(0, "hi", { digest: true, in: { n: 1 } }, "deny inputs_required hist"),
    ],
  ],
  [
    "names the rules before the history",
    "{ rules: [{ effect: forbid, actions: [y] }, { id: r, effect: forbid, actions: [x], when: 'inputs.n == 1' }], history: [{ id: h, forbid: x, when: 'inputs.n == 1' }] }",
    [ask(0, "x", { digest: true, in: {} }, "deny inputs_required r")],
  ],
  [
    "is enough for what does not need them",
    `rules: [{ id: f, effect: forbid, actions: [x], when: 'estimate_usd > 1.0' }, { id: p, effect: permit, actions: [x], when: "subject.id == 'bot'" },
       { id: q, effect: permit, actions: [x], when: "inputs.n == 1" }, { id: l, effect: hold, actions: [x], when: "count('x', 60) > 1" }]
requires: { x: { after: [l2], where: "prior.outcome == 'success'" } }
history: [{ forbid: x, when: "count('x', 60) > 5" }]`,
    [
      ask(0, "l2", {}, "allow"),
      done(0, 0),
      ask(0, "x", { digest: true, in: { n: 1 } }, "allow"),
      ask(0, "x", { digest: true, in: { n: 1 }, usd: "2" }, "deny rule_forbids f"),
    ],
  ],
  [
    "is warned of, where the rule that needs the inputs only observes",
    "rules: [{ id: f, effect: forbid, actions: [x], when: 'inputs.n == 2', mode: observe }]",
    [ask(0, "x", { digest: true, in: { n: 1 } }, "allow ~ inputs_required f")],
  ],
  [
    "while inputs that were not sent at all are an empty mapping",
    `{ rules: [{ id: f, effect: forbid, actions: [x], when: 'size(inputs) > 0' }], arguments: { y: { required: [to] }, z: { type: object, maxProperties: 0 } } }`,
    [
      ask(0, "x", {}, "allow"),
      ask(0, "x", { in: { a: 1 } }, "deny rule_forbids f"),
      ask(0, "y", {}, "deny arguments_invalid /arguments/y"),
      ask(0, "z", {}, "allow"),
    ],
  ],
]);

rows("arguments", [
  [
    "must fit every schema whose pattern names the action, and the first that they do not fit is named",
    `arguments: { send: { required: [to], properties: { to: { type: string, pattern: ".+@corp\\\\.example$" } } }, "s*": { required: [id] }, "q/a~b": false }`.replace(
      ', "q/a~b": false',
      "",
    ),
    [
      ask(0, "send", { in: { to: "a@corp.example", id: 1 } }, "allow"),
      ask(0, "send", { in: { to: "a@corp.example.org", id: 1 } }, "deny arguments_invalid /arguments/send"),
      ask(0, "send", { in: { to: "a@corp.example" } }, "deny arguments_invalid /arguments/s*"),
      ask(0, "send", { in: {} }, "deny arguments_invalid /arguments/send"),
      ask(0, "see", { in: {} }, "deny arguments_invalid /arguments/s*"),
      ask(0, "other", { in: {} }, "allow"),
    ],
  ],
  [
    "that a schema names members of are an object, and a schema that names none takes what it says",
    "arguments: { x: { required: [to] }, y: { properties: { to: { pattern: corp } } }, z: { minLength: 2 }, v: { type: [array, object], required: [to] } }",
    [
      ...[["evil"], [{ to: "corp" }], "evil", 5, true, null].flatMap((inputs) => [
        ask(0, "x", { in: inputs }, "deny arguments_invalid /arguments/x"),
        ask(0, "y", { in: inputs }, "deny arguments_invalid /arguments/y"),
      ]),
      ask(0, "x", { in: { to: 1 } }, "allow"),
      ask(0, "y", {}, "allow"),
      ask(0, "y", { in: [] }, "allow"),
      ask(0, "x", { in: [] }, "deny arguments_invalid /arguments/x"),
      ask(0, "z", { in: "evil" }, "allow"),
      ask(0, "z", { in: "e" }, "deny arguments_invalid /arguments/z"),
      ask(0, "v", { in: [] }, "allow"),
      ask(0, "v", { in: null }, "deny arguments_invalid /arguments/v"),
    ],
  ],
  [
    "several schemas of one pattern all count",
    "arguments: { x: [{ required: [a] }, { required: [b] }] }",
    [
      ask(0, "x", { in: { a: 1, b: 1 } }, "allow"),
      ask(0, "x", { in: { a: 1 } }, "deny arguments_invalid /arguments/x"),
      ask(0, "x", { in: { b: 1 } }, "deny arguments_invalid /arguments/x"),
    ],
  ],
]);

it("arguments that do not fit are named by their place, and never quoted", () => {
  const playing = new Playing("arguments: { x: { properties: { a: { properties: { 'b/c': { type: integer } } } } } }");
  const { reason } = playing.decide(requestOf("x", { in: { a: { "b/c": "secret" } } }), 0);
  expect(reason.message).toContain("/a/b~1c");
  expect(reason.message).not.toContain("secret");
});

const CABIN = `requires:
  cancel:
    after: [details]
    same: ["inputs.reservation_id"]
    where: "prior.outputs.cabin == 'business' || prior.outputs.insurance == 'yes'"`;

rows("requires", [
  [
    "the same booking was looked up before, and that lookup said business class, or insured",
    CABIN,
    [
      ask(0, "cancel", { in: { reservation_id: "A" } }, "deny prerequisite_missing /requires/cancel"),
      ask(0, "details", { in: { reservation_id: "A" } }, "allow"),
      done(0, 1, { cabin: "economy", insurance: "no" }),
      ask(0, "cancel", { in: { reservation_id: "A" } }, "deny prerequisite_missing /requires/cancel"),
      ask(0, "details", { in: { reservation_id: "B" } }, "allow"),
      done(0, 3, { cabin: "business" }),
      ask(0, "cancel", { in: { reservation_id: "B" } }, "allow"),
      ask(0, "cancel", { in: { reservation_id: "A" } }, "deny prerequisite_missing /requires/cancel"),
      ask(0, "details", { in: { reservation_id: "A" } }, "allow"),
      done(0, 6, { cabin: "economy", insurance: "yes" }),
      ask(0, "cancel", { in: { reservation_id: "A" } }, "allow"),
    ],
  ],
  [
    "the newest counts, and what an older one said may no longer be so",
    CABIN,
    [
      ask(0, "details", { in: { reservation_id: "A" } }, "allow"),
      done(0, 0, { cabin: "business" }),
      ask(1, "cancel", { in: { reservation_id: "A" } }, "allow"),
      ask(2, "details", { in: { reservation_id: "A" } }, "allow"),
      done(3, 2, { cabin: "economy", insurance: "no" }),
      ask(4, "cancel", { in: { reservation_id: "A" } }, "deny prerequisite_missing /requires/cancel"),
    ],
  ],
  [
    "outputs count from when they are reported",
    CABIN,
    [
      ask(0, "details", { in: { reservation_id: "A" } }, "allow"),
      ask(1, "cancel", { in: { reservation_id: "A" } }, "deny prerequisite_missing /requires/cancel"),
      done(2, 0, { cabin: "business" }),
      ask(3, "cancel", { in: { reservation_id: "A" } }, "allow"),
    ],
  ],
  [
    "each of several must have come before; the first that is missing is named",
    "requires: { x: { after: [b, 'a*'] } }",
    [ask(0, "b", {}, "allow"), ask(0, "x", {}, "deny prerequisite_missing /requires/x"), ask(0, "abc", {}, "allow"), ask(0, "x", {}, "allow")],
  ],
  [
    "whichever of them is missing",
    "requires: { x: { after: [b, 'a*'] } }",
    [ask(0, "abc", {}, "allow"), ask(0, "x", {}, "deny prerequisite_missing /requires/x"), ask(0, "b", {}, "allow"), ask(0, "x", {}, "allow")],
  ],
  [
    "several requirements, of the name and of globs, all count",
    "requires: { x: [{ after: [a] }, { after: [b] }], '*': { after: [c] }, 'c': { after: [c] } }",
    [ask(0, "a", {}, "deny prerequisite_missing /requires/*"), ask(0, "c", {}, "deny prerequisite_missing /requires/c")],
  ],
  [
    "it is not its own",
    "requires: { x: { after: [x] } }",
    [ask(0, "x", {}, "deny prerequisite_missing /requires/x"), ask(0, "x", {}, "deny prerequisite_missing /requires/x")],
  ],
  [
    "so long ago passes, a millisecond longer does not",
    "requires: { x: { after: [a], within_seconds: 600 } }",
    [ask(0, "a", {}, "allow"), ask(600_000, "x", {}, "allow"), ask(600_001, "x", {}, "deny prerequisite_missing /requires/x")],
  ],
  [
    "so long ago passes where something was kept of it too",
    "requires: { x: { after: [a], within_seconds: 600, same: [inputs.n], where: \"prior.age <= duration('600s')\" } }",
    [
      ask(0, "a", { in: { n: 1 } }, "allow"),
      ask(600_000, "x", { in: { n: 1 } }, "allow"),
      ask(600_001, "x", { in: { n: 1 } }, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "without a window as long as the session",
    "requires: { x: { after: [a], same: [inputs.n] } }",
    [ask(0, "a", { in: { n: 1 } }, "allow"), done(0, 0), ask(999_999_999, "x", { in: { n: 1 } }, "allow")],
  ],
  [
    "alike: by value, whatever the order of members; nested; and never where something is missing on either side",
    "requires: { x: { after: [a], same: [inputs.o.id, inputs.p] } }",
    [
      ask(0, "a", { in: { o: { id: 1 }, p: { q: 1, r: [1] } } }, "allow"),
      ask(0, "x", { in: { p: { r: [1], q: 1 }, o: { id: 1, z: 2 } } }, "allow"),
      ask(0, "x", { in: { p: { r: [1], q: 2 }, o: { id: 1 } } }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", { in: { p: { r: [1], q: 1 }, o: { id: "1" } } }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", { in: { p: { r: [1], q: 1 } } }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", { in: { p: { r: [1], q: 1 }, o: 1 } }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "what is missing on both sides is not alike",
    "requires: { x: { after: [a], same: [inputs.id] } }",
    [
      ask(0, "a", { in: {} }, "allow"),
      ask(0, "a", {}, "allow"),
      ask(0, "x", { in: {} }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "null is a value",
    "requires: { x: { after: [a], same: [inputs.id] } }",
    [
      ask(0, "a", { in: { id: null } }, "allow"),
      ask(0, "x", { in: { id: null } }, "allow"),
      ask(0, "x", { in: {} }, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "the same resource",
    "requires: { x: { after: [a], same: [resource.id] }, y: { after: [a], same: [resource] } }",
    [
      ask(0, "a", { resource: { type: "order", id: "o1" } }, "allow"),
      ask(0, "x", { resource: { type: "box", id: "o1" } }, "allow"),
      ask(0, "y", { resource: { type: "box", id: "o1" } }, "deny prerequisite_missing /requires/y"),
      ask(0, "y", { resource: { type: "order", id: "o1" } }, "allow"),
      ask(0, "x", { resource: { type: "order", id: "o2" } }, "deny prerequisite_missing /requires/x"),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "of those alike the newest counts, not of all",
    "requires: { x: { after: [a], same: [inputs.id], where: 'prior.outputs.ok' } }",
    [
      ask(0, "a", { in: { id: 1 } }, "allow"),
      done(0, 0, { ok: true }),
      ask(1, "a", { in: { id: 2 } }, "allow"),
      done(1, 1, { ok: false }),
      ask(2, "x", { in: { id: 1 } }, "allow"),
      ask(2, "x", { in: { id: 2 } }, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "where looks at the earlier inputs, outcome and age, and at the request beside them",
    `requires: { x: { after: [a], where: "prior.inputs.limit >= inputs.amount && prior.age < duration('5s') && prior.outcome != 'error' && estimate_usd < 1.0 && prior.action == 'a'" } }`,
    [
      ask(0, "a", { in: { limit: 10 } }, "allow"),
      ask(4_999, "x", { in: { amount: 10 } }, "allow"),
      ask(4_999, "x", { in: { amount: 11 } }, "deny prerequisite_missing /requires/x"),
      ask(4_999, "x", { in: { amount: 10 }, usd: "1" }, "deny prerequisite_missing /requires/x"),
      ask(5_000, "x", { in: { amount: 10 } }, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "where cannot be evaluated: it does not fit",
    "requires: { x: { after: [a], where: 'prior.outputs.n > 1' } }",
    [
      ask(0, "a", {}, "allow"),
      done(0, 0, { n: "2" }),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
      ask(0, "a", {}, "allow"),
      done(0, 2, { n: 2 }),
      ask(0, "x", {}, "allow"),
    ],
  ],
  [
    "what runs counts; what failed, was released or expired does not",
    "requires: { x: { after: [a] } }",
    [
      ask(0, "a", { ttl: 10 }, "allow"),
      ask(9, "x", {}, "allow"),
      ask(10, "x", {}, "deny prerequisite_missing /requires/x"),
      ask(20, "a", {}, "allow"),
      failed(20, 3),
      ask(20, "x", {}, "deny prerequisite_missing /requires/x"),
      ask(20, "a", {}, "allow"),
      ask(20, "x", {}, "allow"),
      released(20, 5),
      ask(20, "x", {}, "deny prerequisite_missing /requires/x"),
      ask(20, "a", {}, "allow"),
      done(20, 8),
      ask(20, "x", {}, "allow"),
    ],
  ],
  [
    "a failed one does not hide the good one before it",
    "requires: { x: { after: [a] } }",
    [ask(0, "a", {}, "allow"), done(0, 0), ask(1, "a", {}, "allow"), failed(1, 1), ask(2, "x", {}, "allow")],
  ],
  [
    "unless where asks how it went: then the newest counts however it did",
    "requires: { x: { after: [a], where: \"prior.outcome == 'error' || prior.outcome == 'released' || prior.outcome == 'expired'\" } }",
    [
      ask(0, "a", {}, "allow"),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
      failed(0, 0),
      ask(0, "x", {}, "allow"),
      ask(1, "a", {}, "allow"),
      released(1, 3),
      ask(1, "x", {}, "allow"),
      ask(2, "a", { ttl: 5 }, "allow"),
      ask(7, "x", {}, "allow"),
      ask(8, "a", {}, "allow"),
      done(8, 7),
      ask(8, "x", {}, "deny prerequisite_missing /requires/x"),
    ],
  ],
  [
    "a late report makes an expired one fit",
    "requires: { x: { after: [a], where: 'prior.outputs.ok' } }",
    [
      ask(0, "a", { ttl: 5 }, "allow"),
      ask(10, "x", {}, "deny prerequisite_missing /requires/x"),
      done(11, 0, { ok: true }),
      ask(12, "x", {}, "allow"),
    ],
  ],
  [
    "what was denied or held never counts",
    "{ denied_actions: [a], approvals: { actions: [b] }, requires: { x: { after: [a] }, y: { after: [b] } } }",
    [
      ask(0, "a", {}, "deny action_denied /denied_actions"),
      ask(0, "x", {}, "deny prerequisite_missing /requires/x"),
      ask(0, "b", {}, "hold approval_required /approvals/actions"),
      ask(0, "y", {}, "deny prerequisite_missing /requires/y"),
    ],
  ],
  [
    "an earlier call whose inputs were only a digest is alike to nothing",
    "requires: { x: { after: [a], same: [inputs.id] } }",
    [ask(0, "a", { in: { id: 1 }, digest: true }, "allow"), ask(0, "x", { in: { id: 1 } }, "deny prerequisite_missing /requires/x")],
  ],
]);

rows("history", [
  [
    "an agent that has read customers posts nowhere",
    "history: [{ id: exfil, forbid: 'post_*', when: \"count('read_customers', 3600) > 0\" }]",
    [
      ask(0, "post_blog", {}, "allow"),
      ask(0, "read_customers", {}, "allow"),
      ask(3_599_999, "post_blog", {}, "deny history_forbids exfil"),
      ask(3_599_999, "get_blog", {}, "allow"),
      ask(3_600_000, "post_blog", {}, "allow"),
    ],
  ],
  [
    "counts what was allowed, also when it was released or failed, and nothing that was denied or held",
    "{ denied_actions: [d], approvals: { actions: [h] }, history: [{ forbid: x, when: \"count('*', 60) > 2\" }] }",
    [
      ask(0, "d", {}, "deny action_denied /denied_actions"),
      ask(0, "h", {}, "hold approval_required /approvals/actions"),
      ask(0, "a", {}, "allow"),
      released(0, 2),
      ask(0, "a", {}, "allow"),
      failed(0, 3),
      ask(0, "x", {}, "allow"),
      ask(0, "x", {}, "deny history_forbids /history/0"),
      ask(0, "x", {}, "deny history_forbids /history/0"),
      ask(60_000, "x", {}, "allow"),
    ],
  ],
  [
    "distinct counts different values, and calls without one for nothing",
    "history: [{ forbid: mail, when: \"distinct('mail', 'inputs.to', 60) >= 2\" }]",
    [
      ask(0, "mail", { in: { to: "a" } }, "allow"),
      ask(0, "mail", { in: { to: "a" } }, "allow"),
      ask(0, "mail", { in: {} }, "allow"),
      ask(0, "mail", {}, "allow"),
      ask(1, "mail", { in: { to: { a: 1, b: 2 } } }, "allow"),
      ask(1, "mail", { in: { to: "a" } }, "deny history_forbids /history/0"),
      ask(60_000, "mail", { in: { to: { b: 2, a: 1 } } }, "allow"),
      ask(60_000, "mail", { in: { to: "a" } }, "allow"),
    ],
  ],
  [
    "sum adds what was asked for",
    "history: [{ id: cap, forbid: pay, when: \"sum('pay', 'inputs.n', 60) + double(inputs.n) > 10.0\" }]",
    [
      ask(0, "pay", { in: { n: 4 } }, "allow"),
      ask(0, "pay", { in: { n: 7 } }, "deny history_forbids cap"),
      ask(0, "pay", { in: { n: 6 } }, "allow"),
      ask(59_999, "pay", { in: { n: 1 } }, "deny history_forbids cap"),
      ask(60_000, "pay", { in: { n: 10 } }, "allow"),
    ],
  ],
  [
    "sum of what is no number cannot be known, and forbids",
    "history: [{ id: cap, forbid: x, when: \"sum('pay', 'inputs.n', 60) > 10.0\" }]",
    [ask(0, "pay", { in: { n: "4" } }, "allow"), ask(0, "x", {}, "deny history_forbids cap"), ask(60_000, "x", {}, "allow")],
  ],
  [
    "what a digest hides cannot be known, and forbids",
    "history: [{ id: cap, forbid: x, when: \"distinct('pay', 'inputs.n', 60) > 10\" }, { id: n, forbid: y, when: \"count('pay', 60) > 1\" }]",
    [ask(0, "pay", { in: { n: 4 }, digest: true }, "allow"), ask(0, "x", {}, "deny history_forbids cap"), ask(0, "y", {}, "allow")],
  ],
  [
    "sum of outputs, once they are reported",
    "history: [{ id: cap, forbid: x, when: \"sum('find', 'outputs.rows', 60) >= 5.0\" }]",
    [
      ask(0, "x", {}, "allow"),
      ask(0, "find", {}, "allow"),
      // What is under way may return anything.
      ask(0, "x", {}, "deny history_forbids cap"),
      done(0, 1, { rows: 4, more: 1 }),
      ask(0, "x", {}, "allow"),
      ask(0, "find", {}, "allow"),
      done(0, 4, { rows: 1 }),
      ask(0, "x", {}, "deny history_forbids cap"),
    ],
  ],
  [
    "sum of cost: reserved while it runs, then what was posted, and nothing of what was given back",
    "history: [{ id: cap, forbid: x, when: \"sum('pay', 60) >= 0.5\" }]",
    [
      ask(0, "pay", { usd: "0.5" }, "allow"),
      ask(0, "x", {}, "deny history_forbids cap"),
      done(0, 0, undefined, "0.499999"),
      ask(0, "x", {}, "allow"),
      ask(0, "pay", { usd: "0.000001" }, "allow"),
      ask(0, "x", {}, "deny history_forbids cap"),
      released(0, 3),
      ask(0, "x", {}, "allow"),
      ask(0, "pay", { usd: "0.1", ttl: 5 }, "allow"),
      ask(5, "x", {}, "deny history_forbids cap"),
    ],
  ],
  [
    "what expires and is given back costs nothing either",
    "{ budgets: { on_expiry: release }, history: [{ id: cap, forbid: x, when: \"sum('pay', 60) >= 0.1\" }] }",
    [ask(0, "pay", { usd: "0.1", ttl: 5 }, "allow"), ask(4, "x", {}, "deny history_forbids cap"), ask(5, "x", {}, "allow")],
  ],
  [
    "stops as far as it says, and observes or warns",
    `history: [{ id: o, forbid: x, when: "true", mode: observe }, { id: w, forbid: [x, z], when: "true", mode: warn }, { id: r, forbid: [y], when: "count('x', 60) > 0", stops: run }, { id: s, forbid: z, when: "inputs.n > 1", stops: session }]`,
    [
      ask(0, "x", {}, "allow ~ history_forbids o ~ history_forbids w"),
      ask(0, "y", {}, "deny history_forbids r stops run"),
      ask(0, "z", {}, "deny history_forbids s stops session ~ history_forbids w"),
    ],
  ],
  [
    "rules of the other section may look back too, and are named before",
    `{ rules: [{ id: f, effect: forbid, actions: [x], when: "count('x', 60) >= 1" }], history: [{ id: h, forbid: x, when: "count('x', 60) >= 1" }] }`,
    [ask(0, "x", {}, "allow"), ask(0, "x", {}, "deny rule_forbids f")],
  ],
]);

const loopRow = (n: number, says: string, at = 0): ReturnType<typeof ask> => ask(at, "x", { in: { n } }, says);

rows("loops", [
  [
    "the fifth call of one action with the same inputs is denied, others are free",
    "loops: { threshold: 5, window_seconds: 10 }",
    [
      ...[0, 1, 2, 3].map((at) => loopRow(1, "allow", at)),
      loopRow(1, "deny loop_detected /loops", 4),
      loopRow(2, "allow", 4),
      ask(4, "y", { in: { n: 1 } }, "allow"),
      loopRow(1, "deny loop_detected /loops", 9_999),
      loopRow(1, "allow", 10_000),
      loopRow(1, "deny loop_detected /loops", 10_000),
      loopRow(1, "allow", 10_001),
    ],
  ],
  [
    "a denied call is none",
    "loops: { threshold: 2, window_seconds: 10 }",
    [loopRow(1, "allow"), loopRow(1, "deny loop_detected /loops", 9_000), loopRow(1, "allow", 10_000)],
  ],
  [
    "inputs are the same by value, not by how they are written; and so are their digest and they",
    "loops: { threshold: 2, window_seconds: 10 }",
    [
      ask(0, "x", { in: { a: 1, b: 2 } }, "allow"),
      ask(0, "x", { in: { b: 2, a: 1 } }, "deny loop_detected /loops"),
      ask(0, "x", { in: { b: 2, a: 1 }, digest: true }, "deny loop_detected /loops"),
      ask(0, "x", { in: { b: 2 }, digest: true }, "allow"),
      ask(0, "x", { in: { b: 2 }, digest: true }, "deny loop_detected /loops"),
      ask(0, "x", {}, "allow"),
      ask(0, "x", {}, "deny loop_detected /loops"),
    ],
  ],
  [
    "what is ignored may differ",
    "loops: { threshold: 2, window_seconds: 10, ignore: [inputs.cursor, inputs.page.n] }",
    [
      ask(0, "x", { in: { q: 1, cursor: 1, page: { n: 1, size: 5 } } }, "allow"),
      ask(0, "x", { in: { q: 1, cursor: 2, page: { n: 2, size: 5 } } }, "deny loop_detected /loops"),
      ask(0, "x", { in: { q: 1, page: { size: 5 } } }, "deny loop_detected /loops"),
      ask(0, "x", { in: { q: 1, cursor: 2, page: { n: 2, size: 6 } } }, "allow"),
      ask(0, "x", { in: { q: 2, cursor: 2, page: { n: 2, size: 5 } } }, "allow"),
      ask(0, "x", { in: { q: 3, cursor: 1 }, digest: true }, "deny inputs_required /loops"),
    ],
  ],
  [
    "two that ignore different parts do not take each other's calls for their own",
    "loops: [{ threshold: 2, window_seconds: 10, ignore: [inputs.a] }, { threshold: 2, window_seconds: 10, ignore: [inputs.b] }]",
    [ask(0, "x", { in: { a: 1 } }, "allow"), ask(0, "x", { in: { b: 1 } }, "allow"), ask(0, "x", { in: { a: 2 } }, "deny loop_detected /loops")],
  ],
  [
    "several windows all count",
    "loops: [{ threshold: 2, window_seconds: 1 }, { threshold: 3, window_seconds: 10 }]",
    [
      loopRow(1, "allow"),
      loopRow(1, "deny loop_detected /loops", 999),
      loopRow(1, "allow", 1_000),
      loopRow(1, "deny loop_detected /loops", 9_999),
      loopRow(1, "allow", 10_000),
    ],
  ],
]);

rows("retries", [
  [
    "after so many failures the action is denied, whatever its inputs, until the window has moved on",
    "retries: { threshold: 2, window_seconds: 60 }",
    [
      ask(0, "x", { in: 1 }, "allow"),
      ask(0, "x", { in: 2 }, "allow"),
      ask(0, "y", {}, "allow"),
      failed(1_000, 0),
      ask(1_000, "x", { in: 3 }, "allow"),
      failed(2_000, 1),
      ask(2_000, "x", { in: 4 }, "deny retries_exceeded /retries"),
      ask(2_000, "y", {}, "allow"),
      done(2_000, 3),
      ask(60_999, "x", { in: 5 }, "deny retries_exceeded /retries"),
      ask(61_000, "x", { in: 5 }, "allow"),
    ],
  ],
  [
    "a success in between takes no failure back; what was released or expired is none",
    "retries: { threshold: 2, window_seconds: 60 }",
    [
      ask(0, "x", {}, "allow"),
      failed(0, 0),
      ask(0, "x", {}, "allow"),
      done(0, 1),
      ask(0, "x", {}, "allow"),
      released(0, 2),
      ask(0, "x", { ttl: 1 }, "allow"),
      ask(1, "x", {}, "allow"),
      failed(1, 4),
      ask(1, "x", {}, "deny retries_exceeded /retries"),
    ],
  ],
  [
    "a failure that is told late counts from when it is told",
    "retries: { threshold: 1, window_seconds: 1 }",
    [
      ask(0, "x", { ttl: 1 }, "allow"),
      ask(10, "x", {}, "allow"),
      failed(5_000, 0),
      ask(5_999, "x", {}, "deny retries_exceeded /retries"),
      ask(6_000, "x", {}, "allow"),
    ],
  ],
]);

describe("waiting as long as the answer says is enough, and a millisecond less is not", () => {
  test.each([
    ["loops: { threshold: 3, window_seconds: 10 }", "loop_detected", false],
    ["retries: { threshold: 2, window_seconds: 7 }", "retries_exceeded", true],
    ["rate_limits: { x: { max_count: 2, window_seconds: 3 } }", "rate_exceeded", false],
    [
      "rate_limits: { x: [{ max_count: 2, window_seconds: 3 }, { max_count: 2, window_seconds: 9 }], '*': { max_count: 2, window_seconds: 5, per: run } }",
      "rate_exceeded",
      false,
    ],
  ])("%s", (policy, code, fails) => {
    const playing = new Playing(policy);
    for (const at of [100, 1_300]) {
      const { id, verdict } = playing.decide(requestOf("x"), at);
      expect(verdict).toBe("allow");
      if (fails) playing.commit(id, { outcome: "error" }, at);
    }
    const { reason } = playing.decide(requestOf("x"), 1_500);
    expect(reason.code).toBe(code);
    const wait = reason.retryAfterMs ?? Number.NaN;
    expect(playing.judge(requestOf("x"), 1_500 + wait - 1).reason.code).toBe(code);
    expect(playing.judge(requestOf("x"), 1_500 + wait).verdict).toBe("allow");
  });
});

rows("concurrency, rates, budgets", [
  [
    "so many may be pending at once, under one glob together",
    'concurrency: { "browser.*": 2 }',
    [
      ask(0, "browser.a", {}, "allow"),
      ask(0, "browser.b", { ttl: 10 }, "allow"),
      ask(0, "browser.c", {}, "deny concurrency_exceeded /concurrency/browser.*"),
      ask(0, "other", {}, "allow"),
      ask(10, "browser.c", {}, "allow"),
      ask(10, "browser.c", {}, "deny concurrency_exceeded /concurrency/browser.*"),
      done(10, 0),
      ask(10, "browser.c", {}, "allow"),
    ],
  ],
  [
    "rates count the session, or each run by itself",
    'rate_limits: { mail: [{ max_count: 3, window_seconds: 60 }, { max_count: 2, window_seconds: 60, per: run }], "m*": { max_count: 9, window_seconds: 60 } }',
    [
      ask(0, "mail", {}, "allow"),
      ask(0, "mail", {}, "allow"),
      ask(0, "mail", {}, "deny rate_exceeded /rate_limits/mail"),
      newRun(0, SECOND_RUN),
      ask(0, "mail", {}, "allow"),
      ask(0, "mail", {}, "deny rate_exceeded /rate_limits/mail"),
      ask(59_999, "mail", {}, "deny rate_exceeded /rate_limits/mail"),
      ask(60_000, "mail", {}, "allow"),
    ],
  ],
  [
    "a rate of none is never allowed",
    "rate_limits: { x: { max_count: 0, window_seconds: 1 } }",
    [ask(0, "x", {}, "deny rate_exceeded /rate_limits/x"), ask(0, "y", {}, "allow")],
  ],
  [
    "spent and estimate up to the limit pass, from the narrowest account to the widest; a glob is one shared account",
    'budgets: { session: 5, run: 1, actions: { llm: 0.5, "db.*": 0.1 } }',
    [
      ask(0, "llm", { usd: "0.5" }, "allow"),
      ask(0, "llm", { usd: "0.000001" }, "deny action_budget_exceeded /budgets/actions/llm"),
      ask(0, "db.read", { usd: "0.06" }, "allow"),
      ask(0, "db.write", { usd: "0.05" }, "deny action_budget_exceeded /budgets/actions/db.*"),
      ask(0, "db.write", { usd: "0.04" }, "allow"),
      ask(0, "other", { usd: "0.5" }, "deny run_budget_exceeded /budgets/run"),
      ask(0, "other", { usd: "0.4" }, "allow"),
      ask(0, "other", { usd: "0.000001" }, "deny run_budget_exceeded /budgets/run"),
      ask(0, "other", {}, "allow"),
      newRun(0, SECOND_RUN),
      ask(0, "other", { usd: "1" }, "allow"),
    ],
  ],
  [
    "a cost of zero still needs an account that is not overrun",
    "budgets: { session: 1 }",
    [
      ask(0, "x", { usd: "1" }, "allow"),
      ask(0, "x", {}, "allow"),
      done(0, 0, undefined, "1.000001"),
      ask(0, "x", {}, "deny session_budget_exceeded /budgets/session stops session"),
    ],
  ],
]);

describe("batches", () => {
  const lines = (playing: Playing, all: readonly [string, Asks][], semantics: "independent" | "all_or_nothing" | "stop_on_deny" = "independent") =>
    playing.batch(
      all.map(([action, asks]) => requestOf(action, asks)),
      semantics,
      0,
    );

  it("a member sees what those before it did: the past, loops, prerequisites", () => {
    for (const stored of [false, true]) {
      const playing = new Playing(
        `{ requires: { x: { after: [a], same: [inputs.id] } }, loops: { threshold: 3, window_seconds: 60 }, history: [{ id: h, forbid: post, when: "sum('a', 'inputs.id', 60) > 1.0" }] }`,
        { stored },
      );
      const all: [string, Asks][] = [
        ["x", { in: { id: 1 } }],
        ["post", {}],
        ["a", { in: { id: 1 } }],
        ["x", { in: { id: 1 } }],
        ["a", { in: { id: 1 } }],
        ["a", { in: { id: 1 } }],
        ["post", {}],
      ];
      expect(lines(playing, all).map(lineOf)).toEqual([
        "deny prerequisite_missing /requires/x",
        "allow",
        "allow",
        "allow",
        "allow",
        "deny loop_detected /loops",
        "deny history_forbids h",
      ]);
    }
  });

  it("a batch that is refused whole leaves no trace, no hit and no money", () => {
    for (const stored of [false, true]) {
      const playing = new Playing(
        `{ requires: { x: { after: [a] }, y: { after: [b] } }, loops: { threshold: 2, window_seconds: 60 }, rate_limits: { a: { max_count: 1, window_seconds: 60 } }, budgets: { session: 1 } }`,
        { stored },
      );
      playing.decide(requestOf("z"), 0);
      const refused: [string, Asks][] = [
        ["a", { usd: "1" }],
        ["x", {}],
        ["y", {}],
      ];
      for (let again = 0; again < 2; again++) {
        expect(lines(playing, refused, "all_or_nothing").map(lineOf)).toEqual([
          "deny batch_refused",
          "deny batch_refused",
          "deny prerequisite_missing /requires/y",
        ]);
        expect(playing.book.trail.calls("*", 60_000, 0)).toHaveLength(1);
        expect(playing.book.total.pendingMicroUsd).toBe(0);
      }
      expect(lineOf(playing.decide(requestOf("x"), 0))).toBe("deny prerequisite_missing /requires/x");
      expect(lines(playing, refused.slice(0, 2), "all_or_nothing").map(lineOf)).toEqual(["allow", "allow"]);
      expect(playing.book.trail.calls("*", 60_000, 0)).toHaveLength(3);
      expect(lineOf(playing.decide(requestOf("a", { in: 1 }), 0))).toBe("deny rate_exceeded /rate_limits/a");
    }
  });

  it("what stops on a denial never asks what follows", () => {
    const playing = new Playing("{ requires: { x: { after: [a] } } }");
    expect(
      lines(
        playing,
        [
          ["a", {}],
          ["x", {}],
          ["a", {}],
        ],
        "stop_on_deny",
      ).map(lineOf),
    ).toEqual(["allow", "allow", "allow"]);
    const other = new Playing("{ requires: { x: { after: [a] } } }");
    expect(
      lines(
        other,
        [
          ["x", {}],
          ["a", {}],
        ],
        "stop_on_deny",
      ).map(lineOf),
    ).toEqual(["deny prerequisite_missing /requires/x"]);
    expect(other.book.trail.calls("*", 60_000, 0)).toEqual([]);
  });
});

rows("asking for more", [
  [
    "asks the rules that look at the estimate again, with the new sum",
    "rules: [{ id: big, effect: forbid, actions: [x], when: 'estimate_usd > 1.0' }, { id: q, effect: permit, actions: [y], when: 'estimate_usd <= 1.0' }]",
    [
      ask(0, "x", { usd: "0.5" }, "allow"),
      more(0, 0, "1", "allow"),
      more(0, 0, "1.000001", "deny rule_forbids big"),
      ask(0, "y", { usd: "0.5" }, "allow"),
      more(0, 1, "2", "deny action_not_allowed q"),
      more(0, 1, "0.1", "allow"),
    ],
  ],
  [
    "with the inputs that they need, kept for it",
    "rules: [{ id: big, effect: forbid, actions: [x], when: 'estimate_usd > inputs.limits.most && resource.id == \"r\"' }]",
    [
      ask(0, "x", { usd: "0.5", in: { limits: { most: 1, other: 2 }, else: 3 }, resource: { type: "t", id: "r" } }, "allow"),
      more(0, 0, "1.5", "deny rule_forbids big"),
      more(0, 0, "1", "allow"),
    ],
  ],
  [
    "asks no rule where none looks at the estimate",
    "rules: [{ id: once, effect: forbid, actions: [x], when: \"now > timestamp('1970-01-01T00:00:01Z')\" }]",
    [ask(0, "x", { usd: "0.5" }, "allow"), more(5_000, 0, "1", "allow")],
  ],
  [
    "and cannot wait for a person: a hold is a denial",
    "{ approvals: { threshold_usd: 1 }, rules: [{ id: h, effect: hold, actions: [y], when: 'estimate_usd > 1.0' }] }",
    [
      ask(0, "x", { usd: "0.5" }, "allow"),
      more(0, 0, "1", "allow"),
      more(0, 0, "1.5", "deny approval_required /approvals/threshold_usd"),
      ask(0, "y", { usd: "0.5" }, "allow"),
      more(0, 1, "1.5", "deny approval_required /approvals/threshold_usd"),
    ],
  ],
  [
    "asks the budgets for the difference, and giving back needs nobody's leave",
    "{ budgets: { session: 1 }, rules: [{ id: small, effect: forbid, actions: [x], when: 'estimate_usd < 0.1' }] }",
    [
      ask(0, "x", { usd: "0.5" }, "allow"),
      more(0, 0, "1", "allow"),
      more(0, 0, "1.1", "deny session_budget_exceeded /budgets/session"),
      more(0, 0, "0.05", "allow"),
    ],
  ],
  [
    "what counts calls has counted it already",
    "{ concurrency: { x: 1 }, loops: { threshold: 2, window_seconds: 60 }, rate_limits: { x: { max_count: 1, window_seconds: 60 } } }",
    [ask(0, "x", { usd: "0.5" }, "allow"), more(0, 0, "1", "allow")],
  ],
  [
    "the new sum is what the past holds",
    "history: [{ id: cap, forbid: y, when: \"sum('x', 60) > 0.5\" }]",
    [ask(0, "x", { usd: "0.5" }, "allow"), ask(0, "y", {}, "allow"), more(0, 0, "0.6", "allow"), ask(0, "y", {}, "deny history_forbids cap")],
  ],
]);

it("of the inputs a reservation keeps only what rules would need to be asked again", () => {
  const playing = new Playing(
    "rules: [{ effect: forbid, actions: [x], when: 'estimate_usd > inputs.a.b' }, { effect: forbid, actions: [y], when: 'inputs.a.b > 1' }]",
  );
  const inputs = { a: { b: 1, secret: "s" }, secret: "s" };
  const asked = (action: string) => playing.record(playing.decide(requestOf(action, { in: inputs }), 0).id).matter?.asked;
  expect(asked("x")).toEqual({ resource: null, inputs: { a: { b: 1 } }, paths: [["a", "b"]] });
  expect(asked("y")).toBe(null);
});

describe("a policy that comes into force later", () => {
  it("counts the calls that were made before it", () => {
    for (const stored of [false, true]) {
      const playing = new Playing("strict_mode: true", { stored });
      playing.decide(requestOf("read"), 0);
      playing.use("{ history: [{ id: h, forbid: post, when: \"count('read', 60) > 0\" }], requires: { x: { after: [read] } } }");
      expect(lineOf(playing.decide(requestOf("post"), 1))).toBe("deny history_forbids h");
      expect(lineOf(playing.decide(requestOf("x"), 1))).toBe("allow");
    }
  });

  it("cannot know what was not kept for it: sums and different values forbid, and nothing is alike", () => {
    for (const stored of [false, true]) {
      const playing = new Playing("strict_mode: true", { stored });
      const { id } = playing.decide(requestOf("read", { in: { n: 1 } }), 0);
      playing.commit(id, { outputs: { ok: true } }, 0);
      playing.use(`
        history: [{ id: s, forbid: a, when: "sum('read', 'inputs.n', 60) > 9.0" }, { id: d, forbid: b, when: "distinct('read', 'inputs.n', 60) > 9" }]
        requires: { x: { after: [read], same: [inputs.n] }, y: { after: [read], where: "prior.outputs.ok" } }`);
      const asked = (action: string, at: number) => lineOf(playing.decide(requestOf(action, { in: { n: 1 } }), at));
      expect(["a", "b", "x", "y"].map((action) => asked(action, 1))).toEqual([
        "deny history_forbids s",
        "deny history_forbids d",
        "deny prerequisite_missing /requires/x",
        "deny prerequisite_missing /requires/y",
      ]);
      expect(asked("a", 60_000), "it has left the window").toBe("allow");
    }
  });
});

describe("layers", () => {
  const merged = (...policies: string[]): Playing =>
    new Playing(mergePolicies(policies.map((policy, place) => ({ name: `l${place}`, version: 1, document: documentOf(policy) }))).document);

  it("each layer's permits must be satisfied on their own, and deny lists, requirements, rules and schemas unite", () => {
    const playing = merged(
      "{ rules: [{ id: t, effect: permit, actions: [x], when: 'inputs.a' }, { id: f, effect: forbid, actions: [y], when: 'inputs.a' }], requires: { z: { after: [a] } } }",
      "{ rules: [{ id: u, effect: permit, actions: [x], when: 'inputs.b' }], requires: { z: { after: [b] } }, denied_actions: [d], arguments: { y: { required: [c] } } }",
    );
    const line = (action: string, inputs: JsonValue): string => playing.decide(requestOf(action, { in: inputs }), 0).reason.code;
    expect(line("x", { a: true, b: true })).toBe("permitted");
    expect(line("x", { a: true, b: false })).toBe("action_not_allowed");
    expect(line("x", { a: false, b: true })).toBe("action_not_allowed");
    expect(line("y", { a: true, c: 1 })).toBe("rule_forbids");
    expect(line("y", { a: false })).toBe("arguments_invalid");
    expect(line("y", { a: false, c: 1 })).toBe("permitted");
    expect(line("d", {})).toBe("action_denied");
    expect(line("a", {})).toBe("permitted");
    expect(line("z", {})).toBe("prerequisite_missing");
    expect(line("b", {})).toBe("permitted");
    expect(line("z", {})).toBe("permitted");
  });

  it("limits take the minimum, and differing windows both apply", () => {
    const playing = merged(
      "{ budgets: { session: 2 }, rate_limits: { x: { max_count: 5, window_seconds: 60 } }, loops: { threshold: 9, window_seconds: 5 } }",
      "{ budgets: { session: 1 }, rate_limits: { x: [{ max_count: 2, window_seconds: 1 }, { max_count: 9, window_seconds: 60 }] }, loops: { threshold: 2, window_seconds: 5 } }",
    );
    const line = (at: number, amount: string, n: number): string => playing.decide(requestOf("x", { usd: amount, in: n }), at).reason.code;
    expect(line(0, "1.5", 0)).toBe("session_budget_exceeded");
    expect([line(0, "0", 1), line(0, "0", 1), line(0, "0", 2), line(0, "0", 3)]).toEqual([
      "permitted",
      "loop_detected",
      "permitted",
      "rate_exceeded",
    ]);
    expect([line(1_000, "0", 4), line(1_000, "0", 5), line(2_000, "0", 6), line(2_000, "0", 7)]).toEqual([
      "permitted",
      "permitted",
      "permitted",
      "rate_exceeded",
    ]);
  });
});

describe("laws over random policies and requests", () => {
  const inputs = fc.oneof(fc.constant(undefined), fc.record({ n: fc.oneof(fc.integer({ min: 0, max: 2 }), fc.constant("1")) }, { requiredKeys: [] }));
  const action = fc.constantFrom("a", "ab", "b");
  const when = fc.constantFrom(
    "true",
    "inputs.n > 0",
    "inputs.n == 1",
    "estimate_usd > 0.2",
    "has(inputs.n)",
    "count('a*', 5) > 1",
    "sum('a', 'inputs.n', 5) > 1.0",
    "distinct('*', 'inputs.n', 9) > 1",
    "sum('*', 9) > 0.4",
  );
  const rule = fc.record({
    effect: fc.constantFrom("permit", "forbid", "hold"),
    actions: fc.subarray(["a", "a*", "b", "*"], { minLength: 1 }),
    when,
    mode: fc.constantFrom("enforce", "enforce", "observe"),
  });
  const policy = fc.record(
    {
      denied_actions: fc.subarray(["b", "c"]),
      rules: fc.array(rule, { maxLength: 4 }),
      requires: fc.constantFrom({ ab: { after: ["a"], same: ["inputs.n"] } }, { b: { after: ["a*"], within_seconds: 3 } }),
      history: fc.array(fc.record({ forbid: action, when }), { maxLength: 2 }),
      loops: fc.constantFrom({ threshold: 2, window_seconds: 4 }, { threshold: 3, window_seconds: 8 }),
      retries: fc.constant({ threshold: 1, window_seconds: 4 }),
      budgets: fc.constantFrom({ session: 1 }, { run: 0.5, actions: { "a*": 0.3 } }),
      approvals: fc.constantFrom({ actions: ["b"] }, { threshold_usd: 0.3 }),
    },
    { requiredKeys: ["rules"] },
  );
  const step = fc.record({
    action,
    inputs,
    digest: fc.constantFrom(false, false, true),
    usd: fc.constantFrom("0", "0.1", "0.25", "0.4"),
    wait: fc.constantFrom(0, 1, 500, 2_000),
    next: fc.constantFrom("nothing", "done", "failed", "released"),
  });

  function play(
    playing: Playing,
    steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[],
    before: (at: number, asks: Asks, action: string) => void,
  ): string[] {
    let at = 0;
    return steps.map(({ action, inputs, digest, usd, wait, next }) => {
      at += wait;
      const asks: Asks = { usd, ...(inputs !== undefined && { in: inputs as JsonValue }), ...(digest && { digest: true }) };
      before(at, asks, action);
      const decision = playing.decide(requestOf(action, asks), at);
      if (decision.verdict === "allow") {
        if (next === "done") playing.commit(decision.id, { outputs: { ok: true } }, at);
        if (next === "failed") playing.commit(decision.id, { outcome: "error" }, at);
        if (next === "released") playing.release(decision.id, at);
      }
      return lineOf(decision);
    });
  }

  it("the same request against the same book always comes out the same, looking changes nothing, and the session plays the same way twice", () => {
    fc.assert(
      fc.property(policy, fc.array(step, { maxLength: 12 }), (rules, steps) => {
        const one = new Playing(rules);
        const lines = play(one, steps, (at, asks, action) => {
          const request = requestOf(action, asks);
          expect(one.judge(request, at)).toEqual(one.judge(request, at));
        });
        const two = new Playing(rules, { stored: true });
        expect(play(two, steps, () => two.evict())).toEqual(lines);
      }),
      { numRuns: 150 },
    );
  });

  it("one more rule that forbids never turns a no into a yes", () => {
    const RANK = { deny: 0, hold: 1, allow: 2 };
    fc.assert(
      fc.property(policy, rule, fc.array(step, { maxLength: 10 }), (rules, added, steps) => {
        const loose = new Playing(rules);
        const strict = new Playing({ ...rules, rules: [...rules.rules, { ...added, effect: "forbid" }] });
        play(loose, steps, (at, asks, action) => {
          const request = requestOf(action, asks);
          const was = loose.judge(request, at);
          // The stricter policy asks of the same book.
          strict.book = loose.book;
          expect(RANK[strict.judge(request, at).verdict]).toBeLessThanOrEqual(RANK[was.verdict]);
        });
      }),
      { numRuns: 150 },
    );
  });

  it("a rule that only observes never changes a verdict", () => {
    fc.assert(
      fc.property(policy, rule, fc.array(step, { maxLength: 10 }), (rules, added, steps) => {
        const effect = added.effect === "permit" ? "forbid" : added.effect;
        const watched = { ...rules, rules: [...rules.rules, { ...added, effect, mode: "observe" }] };
        const first = (line: string): string => line.split(" ~")[0] ?? "";
        const lines = play(new Playing(rules), steps, () => undefined).map(first);
        expect(play(new Playing(watched), steps, () => undefined).map(first)).toEqual(lines);
      }),
      { numRuns: 100 },
    );
  });
});

it("what is played settles as in a session: once, against what is reserved now, and refused where it was never allowed", () => {
  const play = playOf("{ budgets: { session: 1 }, denied_actions: [no] }");
  const asked = requestOf("x", { usd: "0.2" });
  expect(play.has(asked.id)).toBe(false);
  play.decide(asked, 0);
  expect(play.has(asked.id)).toBe(true);
  expect(play.topup(asked.id, usd("0.5"), 0)).toMatchObject({ ok: true, value: { verdict: "allow" } });
  expect(play.record(asked.id)).toMatchObject({ state: "pending", reservation: { amountMicroUsd: 500_000 } });
  expect(play.commit(asked.id, reportOf({ costMicroUsd: usd("0.6") }), 0)).toMatchObject({
    ok: true,
    value: { settlement: { state: "posted", postedMicroUsd: 600_000, overrunMicroUsd: 100_000, late: false } },
  });
  expect(play.record(asked.id)).toMatchObject({ state: "posted", postedMicroUsd: 600_000 });
  expect(play.release(asked.id, 0)).toMatchObject({ ok: false, error: { code: "decision_settled" } });
  expect(play.topup(asked.id, usd("0.9"), 0)).toMatchObject({ ok: false, error: { code: "decision_settled" } });
  const short = requestOf("x", { usd: "0.1", ttl: 5 });
  play.decide(short, 0);
  play.extend(short.id, 8, 4);
  play.pass(11);
  expect(play.record(short.id).state).toBe("pending");
  play.pass(12);
  expect(play.record(short.id)).toMatchObject({ state: "expired", postedMicroUsd: 100_000 });
  expect(play.book.total).toMatchObject({ postedMicroUsd: 700_000, pendingMicroUsd: 0 });
  expect(() => play.record(requestOf("never").id)).toThrow("only what was decided in this play");
  const denied = requestOf("no");
  play.decide(denied, 13);
  expect(play.commit(denied.id, reportOf(), 13)).toMatchObject({ ok: false });
  play.openRun(SECOND_RUN, 13);
  expect(play.decide(requestOf("x"), 13).decision).toMatchObject({ verdict: "allow", run: SECOND_RUN });
});
