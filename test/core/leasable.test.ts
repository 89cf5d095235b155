import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf, minUsd } from "../../src/core/money.ts";
import type { Price } from "../../src/core/policy/findings.ts";
import { RISK_LEVELS } from "../../src/core/request.ts";
import { lineOf, Playing, requestOf, usd } from "./playing.ts";

/** Why a policy leases no dollar for these actions, or that it does. */
function noOf(policy: object, actions: readonly string[], amount = "1"): string {
  const { no } = new Playing(policy).leaseFindings(actions, usd(amount));
  return no === null ? "leased" : `${no.code} ${no.rule}`;
}

const RATE = { max_count: 3, window_seconds: 60 };
const PERMIT = { effect: "permit", actions: ["search*"] };

describe("what a policy leases", () => {
  it.each<readonly [string, object, readonly string[], string]>([
    ["nothing is said of it", { budgets: { session: "9" } }, ["search*"], "leased"],
    ["all is denied", { denied_actions: ["*"] }, ["search"], "action_denied /denied_actions"],
    ["a glob meets what is denied", { denied_actions: ["*.delete"] }, ["db.*"], "action_denied /denied_actions"],
    ["only others are denied", { denied_actions: ["db.delete"] }, ["db.read*"], "leased"],
    ["one of several globs meets it", { denied_actions: ["pay"] }, ["search*", "p*"], "action_denied /denied_actions"],
    ["all of it is listed", { allowed_actions: ["s*", "pay"] }, ["search*", "pay"], "leased"],
    ["some of it is not", { allowed_actions: ["search.*", "search"] }, ["search*"], "action_not_allowed /allowed_actions"],
    [
      "of two lists one does not name all of it",
      { allowed_actions: ["search*"], also_allowed_actions: [["*_web"]] },
      ["search*"],
      "action_not_allowed /allowed_actions",
    ],
    ["a rule permits all of it", { rules: [PERMIT] }, ["search.x*"], "leased"],
    ["a rule permits some of it only", { rules: [PERMIT] }, ["s*"], "not_leasable /rules/0"],
    ["a rule permits it under a condition", { rules: [{ ...PERMIT, id: "p", when: "inputs.q == 'a'" }] }, ["search"], "not_leasable p"],
    [
      "another permits it without",
      {
        rules: [
          { ...PERMIT, when: "inputs.q == 'a'" },
          { effect: "permit", actions: ["*"] },
        ],
      },
      ["search"],
      "leased",
    ],
    [
      "one group of rules permits it, and another only under a condition",
      {
        rules: [
          { ...PERMIT, group: "a" },
          { ...PERMIT, group: "b", when: "inputs.q == 'a'" },
        ],
      },
      ["search"],
      "not_leasable /rules/1",
    ],
    ["permit rules name only others", { rules: [PERMIT] }, ["pay"], "leased"],
    ["permit rules stand beside a list", { allowed_actions: ["*"], rules: [{ ...PERMIT, when: "false" }] }, ["search"], "leased"],
    ["a rule forbids some of it", { rules: [{ id: "no", effect: "forbid", actions: ["*_dark"] }] }, ["search*"], "rule_forbids no"],
    ["a rule may forbid it", { rules: [{ effect: "forbid", actions: ["*"], when: "inputs.q == 'a'" }] }, ["search"], "not_leasable /rules/0"],
    ["a rule only observes it", { rules: [{ effect: "forbid", actions: ["*"], when: "inputs.q == 'a'", mode: "observe" }] }, ["search"], "leased"],
    ["a rule only warns of it", { rules: [{ effect: "forbid", actions: ["*"], mode: "warn" }] }, ["search"], "leased"],
    ["a rule asks a person", { rules: [{ effect: "hold", actions: ["search*"] }] }, ["search"], "not_leasable /rules/0"],
    ["it has a schema", { arguments: { "search*": { type: "object" } } }, ["search"], "not_leasable /arguments/search*"],
    ["another has a schema", { arguments: { pay: { type: "object" } } }, ["search"], "leased"],
    ["something must come first", { requires: { search: { after: ["login"] } } }, ["search*"], "not_leasable /requires/search"],
    ["it must come before something", { requires: { pay: { after: ["search"] } } }, ["search*"], "not_leasable /requires/pay"],
    ["others must come one before another", { requires: { pay: { after: ["login"] } } }, ["search*"], "leased"],
    ["how many run is counted", { concurrency: { "s*": 3 } }, ["*h"], "not_leasable /concurrency/s*"],
    ["its calls are counted", { rate_limits: { "db/*": RATE } }, ["db/read"], "not_leasable /rate_limits/db~1*"],
    ["others' calls are counted", { rate_limits: { pay: RATE } }, ["search"], "leased"],
    ["loops are", { loops: [{ threshold: 3, window_seconds: 60 }] }, ["search"], "not_leasable /loops"],
    ["failures are", { retries: [{ threshold: 3, window_seconds: 60 }] }, ["search"], "not_leasable /retries"],
    ["history forbids it", { history: [{ id: "h", forbid: ["search"], when: "count('login', 60) > 1" }] }, ["search*"], "not_leasable h"],
    ["history looks at it", { history: [{ forbid: ["pay"], when: "count('sea*', 60) > 1" }] }, ["search*"], "not_leasable /history/0"],
    ["history looks at others", { history: [{ forbid: ["pay"], when: "count('login', 60) > 1" }] }, ["search*"], "leased"],
    ["history only observes", { history: [{ forbid: ["search"], when: "count('search', 60) > 1", mode: "observe" }] }, ["search"], "leased"],
    [
      "a rule of something else looks back at it",
      { rules: [{ effect: "hold", actions: ["pay"], when: "sum('search', 'cost_usd', 60) > 1.0" }] },
      ["search"],
      "not_leasable /rules/0",
    ],
    [
      "a rule of something else looks back at it, and only observes",
      { rules: [{ effect: "hold", actions: ["pay"], when: "sum('search', 'cost_usd', 60) > 1.0", mode: "observe" }] },
      ["search"],
      "leased",
    ],
    ["an unknown price is denied", { budgets: { default_price: "deny" } }, ["search"], "not_leasable /budgets/default_price"],
    ["an unknown price counts as all of it", { budgets: { default_price: "1" } }, ["search"], "leased"],
    ["an unknown price counts as more", { budgets: { default_price: "1.000001" } }, ["search"], "not_leasable /budgets/default_price"],
    ["a person is asked by name", { approvals: { actions: ["*_web"] } }, ["search*"], "not_leasable /approvals/actions"],
    ["a person is asked about others", { approvals: { actions: ["pay"] } }, ["search*"], "leased"],
    ["a person is asked by tag", { approvals: { tags: ["x"] } }, ["search"], "not_leasable /approvals/tags"],
    ["a person is asked by risk", { approvals: { risk_levels: ["high"] } }, ["search"], "not_leasable /approvals/risk_levels"],
    ["a person is asked above less", { approvals: { threshold_usd: "0.999999" } }, ["search"], "not_leasable /approvals/threshold_usd"],
    ["a person is asked above as much", { approvals: { threshold_usd: "1" } }, ["search"], "leased"],
    ["the policy only observes", { strict_mode: false, denied_actions: ["*"], rate_limits: { "*": RATE } }, ["search"], "leased"],
  ])("where %s", (_what, policy, actions, says) => {
    expect(noOf(policy, actions)).toBe(says);
  });

  it("says which part of the policy must see each of these actions, and why", () => {
    const { no } = new Playing({ rate_limits: { search: RATE } }).leaseFindings(["search"], usd("1"));
    expect(no).toEqual({
      code: "not_leasable",
      message: 'The policy\'s "/rate_limits/search" counts these actions.',
      rule: "/rate_limits/search",
    });
  });

  it("says whose limits it counts against: the actions' that any of it meets, and all wider ones", () => {
    const policy = {
      budgets: { session: "9", run: "8", actions: { search: "1", "s*": "2", "*_web": "3", pay: "4" }, agent: { day: "7" }, tenant: { total: "6" } },
    };
    const { budgets } = new Playing(policy).leaseFindings(["search*"], usd("1"));
    expect(budgets.map((limit) => (limit.scope === "action" ? limit.pattern : limit.scope))).toEqual([
      "search",
      "*_web",
      "s*",
      "run",
      "session",
      "agent",
      "tenant",
    ]);
  });
});

/** Sections of policies, of which any may stand together. */
const SECTIONS: readonly object[] = [
  { denied_actions: ["aa"] },
  { denied_actions: ["*c"] },
  { allowed_actions: ["a*", "b"] },
  { rules: [{ effect: "permit", actions: ["a*"] }] },
  {
    rules: [
      { effect: "permit", actions: ["a*"], when: "inputs.x == 1" },
      { effect: "permit", actions: ["ab"] },
    ],
  },
  { rules: [{ effect: "forbid", actions: ["b*"], when: "estimate_usd > 0.5" }] },
  { rules: [{ effect: "forbid", actions: ["b*"], when: "inputs.x == 1", mode: "warn" }] },
  { rules: [{ effect: "hold", actions: ["ab"] }] },
  { rules: [{ effect: "forbid", actions: ["ba"], when: "count('a*', 60) > 0" }] },
  { arguments: { ab: { type: "object", required: ["x"] } } },
  { requires: { a: { after: ["b"] } } },
  { concurrency: { "a*": 2 } },
  { rate_limits: { "*b": { max_count: 1, window_seconds: 60 } } },
  { loops: [{ threshold: 2, window_seconds: 60 }] },
  { retries: [{ threshold: 1, window_seconds: 60 }] },
  { history: [{ forbid: ["ab"], when: "count('ba', 60) > 0" }] },
  { approvals: { actions: ["b"] } },
  { approvals: { tags: ["t"] } },
  { approvals: { risk_levels: ["high"] } },
  { approvals: { threshold_usd: "0.4" } },
  { approvals: { threshold_usd: "0.4" }, budgets: { default_price: "0.5" } },
  { budgets: { actions: { "a*": "100" }, session: "200" } },
];

it("what is leased is what a decision would allow, whatever the request says and whatever came before", () => {
  const name = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 2 });
  const glob = fc.string({ unit: fc.constantFrom("a", "b", "*"), minLength: 1, maxLength: 3 });
  const request = fc.record({
    action: name,
    micro: fc.integer({ min: 0, max: 1_000_000 }),
    inputs: fc.constantFrom<JsonValue>({}, { x: 1 }, { x: "y" }),
    tags: fc.constantFrom<readonly string[]>([], ["t"]),
    risk: fc.constantFrom(...RISK_LEVELS),
    price: fc.constantFrom<Price | undefined>(undefined, { basis: "stated", data: "d", known: false }, { basis: "none", data: "d", known: true }),
    fails: fc.boolean(),
  });
  let leased = 0;
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.constantFrom(...SECTIONS), { maxLength: 3 }),
      fc.array(glob, { minLength: 1, maxLength: 2 }),
      fc.integer({ min: 1, max: 1_000_000 }),
      fc.array(request, { minLength: 1, maxLength: 12 }),
      (sections, actions, micro, requests) => {
        const playing = new Playing(Object.assign({ compliance: { note: "x" } }, ...sections));
        const { no } = playing.leaseFindings(actions, microUsdOf(micro));
        if (no !== null) return;
        leased++;
        for (const [now, { action, micro: estimate, inputs, tags, risk, price, fails }] of requests.entries()) {
          const wanted = requestOf(action, { in: inputs, tags, risk, ...(price && { price }) });
          // Never for more than the whole lease.
          const asked = { ...wanted, estimateMicroUsd: minUsd(microUsdOf(estimate), microUsdOf(micro)) };
          const isCovered = new Playing({ allowed_actions: [...actions] }).findings(asked, now).listed;
          const decision = playing.decide(asked, now);
          if (isCovered)
            expect([actions, sections, asked.action, lineOf(decision)]).toEqual([actions, sections, asked.action, expect.stringMatching(/^allow/)]);
          if (decision.verdict === "allow" && fails) playing.commit(decision.id, { outcome: "error" }, now);
        }
      },
    ),
    { numRuns: 800 },
  );
  // Otherwise the law was asked of nothing.
  expect(leased).toBeGreaterThan(20);
});
