import { describe, expect, it } from "vitest";
import { mergePolicies } from "../../src/core/policy/merge.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";

/** What is told of two layers, the tenant's and the agent's, of versions 3 and 7. */
function told(...documents: readonly object[]): readonly string[] {
  const layers = documents.map((written, place) => {
    const read = readPolicy(written);
    if (!read.ok) throw new Error(JSON.stringify(read.error));
    return { name: ["tenant", "agent", "third"][place] ?? "", version: 3 + 4 * place, document: read.value };
  });
  return mergePolicies(layers).conflicts.map(({ pointer, message }) => `${pointer}: ${message}`);
}

const differ = (pointer: string, a: unknown, b: unknown, counts: unknown): string =>
  `${pointer}: tenant (version 3) says ${a}, agent (version 7) says ${b}; ${counts} counts`;

describe("where layers disagree people are told who says what, and what counts", () => {
  const rate = (max_count: number, more: object = {}) => ({ max_count, window_seconds: 60, ...more });
  const loop = (threshold: number, more: object = {}) => ({ threshold, window_seconds: 60, ...more });
  const winds = (budget: number, ...actions: readonly string[]) => ({ budgets: { session: 9 }, wind_down: { actions, budget } });
  const hold = (id: string, action: string) => ({ rules: [{ id, effect: "hold", actions: [action] }] });
  const back = (id: string, action: string) => ({ history: [{ id, forbid: action, when: "true" }] });

  it.each<readonly [tenant: object, agent: object, conflicts: readonly string[]]>([
    [{ strict_mode: true, version: 1 }, { strict_mode: false }, [differ("/strict_mode", true, false, true)]],
    [{ budgets: { session: 1 } }, { budgets: { session: 2 } }, [differ("/budgets/session", 1, 2, 1)]],
    [{ budgets: { run: 2 } }, { budgets: { run: 1 } }, [differ("/budgets/run", 2, 1, 1)]],
    [{ budgets: { actions: { "a/b": 1 } } }, { budgets: { actions: { "a/b": 2 } } }, [differ("/budgets/actions/a~1b", 1, 2, 1)]],
    [{ budgets: { agent: { day: 1, hour: 5 } } }, { budgets: { agent: { day: 2 } } }, [differ("/budgets/agent/day", 1, 2, 1)]],
    [{ budgets: { tenant: { total: 3 } } }, { budgets: { tenant: 2 } }, [differ("/budgets/tenant/total", 3, 2, 2)]],
    [{ budgets: { run: 1, on_expiry: "release" } }, { budgets: { run: 1 } }, [differ("/budgets/on_expiry", "release", "post", "post")]],
    [{ budgets: { default_price: 1 } }, { budgets: { default_price: "deny" } }, [differ("/budgets/default_price", 1, "deny", "deny")]],
    [{ budgets: { default_price: 1 } }, { budgets: { default_price: 2 } }, [differ("/budgets/default_price", 1, 2, 2)]],
    [{ concurrency: { "a/b": 5 } }, { concurrency: { "a/b": 2 } }, [differ("/concurrency/a~1b", 5, 2, 2)]],
    [{ rate_limits: { "a/b": rate(5) } }, { rate_limits: { "a/b": rate(2) } }, [differ("/rate_limits/a~1b", 5, 2, 2)]],
    // Of another window, or other callers, they speak of different things.
    [{ rate_limits: { a: rate(5) } }, { rate_limits: { a: rate(2, { per: "run" }) } }, []],
    [{ rate_limits: { a: rate(5) } }, { rate_limits: { a: rate(2, { window_seconds: 1 }) } }, []],
    [{ rate_limits: { a: rate(5) } }, { rate_limits: { a: [rate(5), rate(2, { window_seconds: 1 })] } }, []],
    [{ loops: loop(5) }, { loops: loop(9) }, [differ("/loops", 5, 9, 5)]],
    [{ loops: loop(5) }, { loops: loop(9, { window_seconds: 1 }) }, []],
    [{ loops: loop(5) }, { loops: loop(9, { ignore: ["inputs.a"] }) }, []],
    [{ loops: [loop(2, { window_seconds: 1 }), loop(5)] }, { loops: [loop(9)] }, [differ("/loops", 5, 9, 5)]],
    [{ retries: loop(9) }, { retries: loop(5) }, [differ("/retries", 9, 5, 5)]],
    [
      { approvals: { actions: ["a"], timeout_seconds: 5 } },
      { approvals: { actions: ["a"], timeout_seconds: 9 } },
      [differ("/approvals/timeout_seconds", 5, 9, 5)],
    ],
    [{ approvals: { actions: ["a"], quorum: 2 } }, { approvals: { actions: ["a"] } }, [differ("/approvals/quorum", 2, 1, 2)]],
    [{ approvals: { threshold_usd: 5 } }, { approvals: { threshold_usd: 2 } }, [differ("/approvals/threshold_usd", 5, 2, 2)]],
    [
      { redact: { store_inputs: "full" } },
      { redact: { store_inputs: "digest", store_outputs: "full" } },
      [differ("/redact/store_inputs", "full", "digest", "digest")],
    ],
    [{ redact: { store_outputs: "digest" } }, { redact: { store_outputs: "none" } }, [differ("/redact/store_outputs", "digest", "none", "none")]],
    [{ compliance: { "a.b": "x" } }, { compliance: { "a.b": "y" } }, [differ("/compliance/a.b", "x", "y", "x; y")]],
    [winds(5, "a", "b"), winds(2, "b"), [differ("/wind_down/budget", 5, 2, 2)]],
    [winds(5, "a"), winds(5, "b"), ["/wind_down: the lists of tenant, agent share no pattern; nothing is allowed after a budget is gone"]],
    [
      winds(5, "a"),
      { budgets: { session: 9 } },
      ["/wind_down: agent has a budget and no reserve to wind down with; nothing is allowed after a budget is gone"],
    ],
    // Who has no budget has no say in what is done when it is gone.
    [winds(5, "a"), { denied_actions: ["x"] }, []],
    [{ denied_actions: ["x"], wind_down: { actions: ["a"], budget: 1 } }, { denied_actions: ["y"] }, []],
    [
      { allowed_actions: ["a"] },
      { allowed_actions: ["b"] },
      ["/allowed_actions: the allowlists of tenant, agent have nothing in common; no action is allowed"],
    ],
    [{ allowed_actions: ["a"] }, { allowed_actions: [] }, []],
    [{ allowed_actions: ["a"] }, { allowed_actions: ["a", "b"] }, []],
    [
      { denied_actions: ["d*"] },
      { allowed_actions: ["da", "db", "d*", "e"] },
      ["/denied_actions: tenant denies da, which agent allows; deny wins", "/denied_actions: tenant denies db, which agent allows; deny wins"],
    ],
    [{ allowed_actions: ["da"] }, { denied_actions: ["d*"] }, ["/denied_actions: agent denies da, which tenant allows; deny wins"]],
    [{ allowed_actions: ["a", "b"], denied_actions: ["a"] }, { denied_actions: ["x"] }, []],
    [hold("r", "a"), hold("r", "b"), ["/rules: tenant and agent have different rules with the id r; both count"]],
    [back("r", "a"), back("r", "b"), ["/history: tenant and agent have different rules with the id r; both count"]],
    [hold("r", "a"), { ...hold("r", "a"), denied_actions: ["x"] }, []],
    [hold("r", "a"), hold("s", "b"), []],
    [hold("r", "a"), back("r", "b"), []],
    // What only one of them says is no disagreement, nor is what both say.
    [{ budgets: { session: 1 } }, { budgets: { run: 1 } }, []],
    [{ concurrency: { a: 1 }, compliance: { a: "x" } }, { concurrency: { a: 1, b: 1 }, compliance: { a: "x" } }, []],
  ])("%j and %j: %j", (tenant, agent, conflicts) => {
    expect(told(tenant, agent)).toEqual(conflicts);
  });

  it("of three the two that differ, and who says nothing is not named", () => {
    expect(told({ budgets: { session: 1 } }, { denied_actions: ["a"] }, { budgets: { session: 2 } })).toEqual([
      "/budgets/session: tenant (version 3) says 1, third (version 11) says 2; 1 counts",
    ]);
  });

  it("a hundred times and no more", () => {
    const many = (max: number, count: number) => ({
      concurrency: Object.fromEntries(Array.from({ length: count }, (_, place) => [`a${place}`, max])),
    });
    expect([99, 100, 101].map((count) => told(many(1, count), many(2, count)).length)).toEqual([99, 100, 100]);
    const denied = { denied_actions: ["a*"] };
    const allowed = { allowed_actions: Array.from({ length: 150 }, (_, place) => `a${place}`) };
    expect(told(denied, allowed)).toHaveLength(100);
  });
});

describe("what a good policy says in vain is told whole", () => {
  const warned = (policy: object): readonly string[] => {
    const parsed = parsePolicy(JSON.stringify(policy), "json");
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
    return parsed.value.warnings.map(({ pointer, message }) => `${pointer}: ${message}`);
  };
  const rule = (more: object) => ({ effect: "hold", actions: ["a"], ...more });
  const VAIN = "in vain: its actions are all denied or not allowed before any rule is asked";
  const NOTHING = ": the policy limits nothing: every action is allowed";

  it.each<readonly [policy: object, warnings: readonly string[]]>([
    [{ version: 1 }, [NOTHING]],
    [{ budgets: { alerts: [0.5] } }, [NOTHING, "/budgets/alerts: in vain: there is no budget to be reached"]],
    [{ budgets: { session: 1, alerts: [0.5] } }, []],
    [{ strict_mode: false, denied_actions: ["a"] }, ["/strict_mode: the policy only observes: what it would refuse is recorded and allowed"]],
    [{ allowed_actions: [] }, ["/allowed_actions: no action is allowed: the allowlists have nothing in common or are empty"]],
    [{ approvals: { quorum: 2 } }, ["/approvals: approvals names nothing that needs one: no request is ever held"]],
    ...([{ actions: ["a"] }, { tags: ["t"] }, { risk_levels: ["high"] }, { threshold_usd: 0 }] as const).map(
      (approvals): readonly [object, readonly string[]] => [{ approvals }, []],
    ),
    [
      { approvals: { actions: ["a"], quorum: 3, approvers: [{ subjects: ["ann", "bob"] }, { subjects: ["bob"] }] } },
      ["/approvals/quorum: never reached: 2 may approve, and 3 must: what is held waits until it expires"],
    ],
    [{ approvals: { actions: ["a"], quorum: 2, approvers: [{ subjects: ["ann", "bob"] }] } }, []],
    [{ approvals: { actions: ["a"], quorum: 2, approvers: [{ subjects: ["ann"] }, { scopes: ["approvals:write"] }] } }, []],
    [
      { denied_actions: ["x"], wind_down: { actions: ["a"], budget: 1 } },
      ["/wind_down: in vain: there is no budget of a session, a run or an action that could be gone"],
    ],
    ...([{ session: 1 }, { run: 1 }, { actions: { b: 1 } }, { agent: 1 }, { tenant: { day: 1 } }] as const).map(
      (budgets): readonly [object, readonly string[]] => [{ budgets: { ...budgets, alerts: [0.5] }, wind_down: { actions: ["a"], budget: 1 } }, []],
    ),
    ...(
      [
        [{ denied_actions: ["a", "b", "a"] }, "/denied_actions/2", '"a"'],
        [{ allowed_actions: ["a", "a"] }, "/allowed_actions/1", '"a"'],
        [{ approvals: { actions: ["a", "a"] } }, "/approvals/actions/1", '"a"'],
        [{ approvals: { tags: ["t", "t"] } }, "/approvals/tags/1", '"t"'],
        [{ approvals: { risk_levels: ["high", "high"] } }, "/approvals/risk_levels/1", '"high"'],
        [{ denied_actions: ["x"], redact: { keys: ["k", "k"] } }, "/redact/keys/1", '"k"'],
        [{ budgets: { session: 1 }, wind_down: { actions: ["a", "a"], budget: 1 } }, "/wind_down/actions/1", '"a"'],
      ] as const
    ).map(([policy, pointer, item]): readonly [object, readonly string[]] => [policy, [`${pointer}: ${item} is in the list twice`]]),
    [
      { denied_actions: ["b*", "c"], allowed_actions: ["a", "bc", "b*", "c", "c*"] },
      [
        '/allowed_actions/1: never allowed: denied_actions has "b*", and deny wins',
        '/allowed_actions/2: never allowed: denied_actions has "b*", and deny wins',
        '/allowed_actions/3: never allowed: denied_actions has "c", and deny wins',
      ],
    ],
    ...(
      [
        ["/budgets/actions/d", { budgets: { actions: { d: 1, "d*": 1 } } }],
        ["/rate_limits/d", { rate_limits: { d: { max_count: 1, window_seconds: 1 } } }],
        ["/concurrency/d", { concurrency: { d: 1 } }],
        ["/requires/d", { requires: { d: { after: ["x"] } } }],
        ["/arguments/d", { arguments: { d: true } }],
        ["/approvals/actions/1", { approvals: { actions: ["x", "d"] } }],
        ["/wind_down/actions/1", { budgets: { session: 1 }, wind_down: { actions: ["x", "d"], budget: 1 } }],
      ] as const
    ).flatMap(([pointer, policy]): (readonly [object, readonly string[]])[] => [
      [{ ...policy, denied_actions: ["d"] }, [`${pointer}: in vain: denied_actions names "d"`]],
      [{ ...policy, allowed_actions: ["x", "y"] }, [`${pointer}: in vain: allowed_actions does not name "d"`]],
      [{ ...policy, allowed_actions: ["x", "d"] }, []],
    ]),
    [{ denied_actions: ["a"], rules: [rule({}), rule({ actions: ["a", "b"] })] }, [`/rules/0: ${VAIN}`]],
    [{ denied_actions: ["a*"], rules: [rule({ actions: ["a*", "ab"] }), rule({ actions: ["*"] })] }, [`/rules/0: ${VAIN}`]],
    [
      {
        allowed_actions: ["b"],
        history: [
          { forbid: ["a"], when: "true" },
          { forbid: ["b"], when: "true" },
        ],
      },
      [`/history/0: ${VAIN}`],
    ],
    [
      {
        allowed_actions: ["a"],
        rules: [
          { effect: "permit", actions: ["a"] },
          { effect: "permit", actions: ["a"], group: "g" },
        ],
      },
      ["/rules/0: in vain: next to allowed_actions a rule that permits does not matter"],
    ],
    [{ requires: { a: { after: ["b", "a"] } } }, ['/requires/a/after/1: never satisfied: "a" would have to come before itself']],
    [
      { denied_actions: ["x"], requires: { "a*": [{ after: ["b"] }, { after: ["ab", "a*", "*b", "x"] }] } },
      [
        '/requires/a*/1/after/0: never satisfied: "ab" would have to come before itself',
        '/requires/a*/1/after/1: never satisfied: "a*" would have to come before itself',
        '/requires/a*/1/after/3: never satisfied: denied_actions names "x"',
      ],
    ],
    [
      {
        rules: [rule({ mode: "observe" }), rule({ mode: "warn" }), rule({ mode: "enforce" })],
        history: [{ forbid: "a", when: "true", mode: "observe" }],
      },
      [
        "/rules/0/mode: the rule only observes: its no is recorded and does not count",
        "/rules/1/mode: the rule only warns: its no is advice and does not count",
        "/history/0/mode: the rule only observes: its no is recorded and does not count",
      ],
    ],
    [{ budgets: { session: 1, run: 2 } }, ["/budgets/run: out of reach: the session's budget of 1 USD ends before it"]],
    [{ budgets: { session: 2, run: 2 } }, []],
  ])("%j: %j", (policy, warnings) => {
    expect(warned(policy)).toEqual(warnings);
  });
});
