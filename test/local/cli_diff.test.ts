import { describe, expect, it } from "vitest";
import { overall, policyDifferences } from "../../src/cli/policy_diff.ts";
import { DEFAULT_KEYS } from "../../src/core/redact.ts";
import { documentOf } from "../core/playing.ts";

type Part = { readonly [member: string]: unknown };
const directions = (a: Part, b: Part) =>
  policyDifferences(documentOf({ version: 1, ...a }), documentOf({ version: 1, ...b })).map(({ at, direction }) => `${at} ${direction}`);

const rule = { id: "r", effect: "forbid", actions: ["a"], when: "inputs.x > 1" };
const permit = { id: "p", effect: "permit", actions: ["a", "b"], when: "inputs.x > 1" };
const requires = (more: Part) => ({ requires: { a: { after: ["b"], ...more } } });
const rate = (max_count: number, window_seconds = 60) => ({ rate_limits: { a: { max_count, window_seconds } } });

/** The second is tighter (or different) than the first; turned around it must be looser (or different again). */
const ROWS: readonly (readonly [what: string, a: Part, b: Part, at: string, direction: "tighter" | "different"])[] = [
  ["enforcing", { strict_mode: false }, { strict_mode: true }, "/strict_mode", "tighter"],
  ["a denied action more", { denied_actions: ["x"] }, { denied_actions: ["x", "y"] }, "/denied_actions", "tighter"],
  ["one that a glob denied already", { denied_actions: ["x.*"] }, { denied_actions: ["x.*", "x.y"] }, "/denied_actions", "different"],
  ["an allowed action fewer", { allowed_actions: ["x", "y"] }, { allowed_actions: ["x"] }, "/allowed_actions", "tighter"],
  ["an allowlist at all", { denied_actions: ["x"] }, { denied_actions: ["x"], allowed_actions: ["y"] }, "/allowed_actions", "tighter"],
  ["an allowlist beside permits", { rules: [permit] }, { rules: [permit], allowed_actions: ["a"] }, "/allowed_actions", "different"],
  ["a session's budget", { budgets: { session: 2 } }, { budgets: { session: 1 } }, "/budgets/session", "tighter"],
  ["a run's budget where there was none", { budgets: { session: 2 } }, { budgets: { session: 2, run: 1 } }, "/budgets/run", "tighter"],
  ["an action's budget", { budgets: { actions: { "a/b": 2 } } }, { budgets: { actions: { "a/b": 1.5 } } }, "/budgets/actions/a~1b", "tighter"],
  ["what expires is posted", { budgets: { session: 1, on_expiry: "release" } }, { budgets: { session: 1 } }, "/budgets/on_expiry", "tighter"],
  [
    "unknown prices are denied",
    { budgets: { session: 1, default_price: 5 } },
    { budgets: { session: 1, default_price: "deny" } },
    "/budgets/default_price",
    "tighter",
  ],
  [
    "unknown prices are higher",
    { budgets: { session: 1, default_price: 5 } },
    { budgets: { session: 1, default_price: 6 } },
    "/budgets/default_price",
    "tighter",
  ],
  [
    "a default price where there was none",
    { budgets: { session: 1 } },
    { budgets: { session: 1, default_price: 6 } },
    "/budgets/default_price",
    "different",
  ],
  ["a rate", rate(5), rate(4), "/rate_limits/a", "tighter"],
  ["another concurrency", { concurrency: { a: 3 } }, { concurrency: { a: 2 } }, "/concurrency/a", "tighter"],
  ["a loop's threshold", { loops: { threshold: 4, window_seconds: 9 } }, { loops: { threshold: 3, window_seconds: 9 } }, "/loops", "tighter"],
  ["retries at all", { denied_actions: ["x"] }, { denied_actions: ["x"], retries: { threshold: 3, window_seconds: 9 } }, "/retries", "tighter"],
  ["a shorter look back", requires({ within_seconds: 60 }), requires({ within_seconds: 30 }), "/requires/a", "tighter"],
  ["something that must be alike", requires({}), requires({ same: ["inputs.id"] }), "/requires/a", "tighter"],
  ["a condition on the earlier call", requires({}), requires({ where: "prior.outputs.ok" }), "/requires/a", "tighter"],
  [
    "another condition on the earlier call",
    requires({ where: "prior.outputs.no" }),
    requires({ where: "prior.outputs.ok" }),
    "/requires/a",
    "different",
  ],
  [
    "a longer look back that asks for more",
    requires({ within_seconds: 60 }),
    requires({ within_seconds: 90, same: ["inputs.id"] }),
    "/requires/a",
    "different",
  ],
  ["a rule that forbids", { denied_actions: ["x"] }, { denied_actions: ["x"], rules: [rule] }, "r", "tighter"],
  ["a rule that only observes", { denied_actions: ["x"] }, { denied_actions: ["x"], rules: [{ ...rule, mode: "observe" }] }, "r", "different"],
  ["a rule that is enforced now", { rules: [{ ...rule, mode: "warn" }] }, { rules: [rule] }, "r", "tighter"],
  ["a rule that reaches further", { rules: [rule] }, { rules: [{ ...rule, stops: "session" }] }, "r", "tighter"],
  ["a rule that names more", { rules: [rule] }, { rules: [{ ...rule, actions: ["a", "b"] }] }, "r", "tighter"],
  ["a rule that forbids without condition", { rules: [rule] }, { rules: [{ id: "r", effect: "forbid", actions: ["a"] }] }, "r", "tighter"],
  ["a rule with another condition", { rules: [rule] }, { rules: [{ ...rule, when: "inputs.x > 2" }] }, "r", "different"],
  ["a hold that forbids now", { rules: [{ ...rule, effect: "hold" }] }, { rules: [rule] }, "r", "tighter"],
  ["the first permit of an action", { denied_actions: ["x"] }, { denied_actions: ["x"], rules: [permit] }, "p", "tighter"],
  ["one way fewer to be permitted", { rules: [permit, { id: "q", effect: "permit", actions: ["a"] }] }, { rules: [permit] }, "q", "tighter"],
  ["a permit with a condition", { rules: [{ id: "p", effect: "permit", actions: ["a", "b"] }] }, { rules: [permit] }, "p", "tighter"],
  ["a permit beside an allowlist", { allowed_actions: ["a"] }, { allowed_actions: ["a"], rules: [permit] }, "p", "different"],
  [
    "a rule over the history",
    { denied_actions: ["x"] },
    { denied_actions: ["x"], history: [{ id: "h", forbid: ["a"], when: "count('b', 9) > 0" }] },
    "h",
    "tighter",
  ],
  ["a schema", { denied_actions: ["x"] }, { denied_actions: ["x"], arguments: { a: { required: ["to"] } } }, "/arguments/a", "tighter"],
  ["a schema that is another", { arguments: { a: { required: ["to"] } } }, { arguments: { a: { required: ["from"] } } }, "/arguments/a", "different"],
  ["more that a person must approve", { approvals: { actions: ["a"] } }, { approvals: { actions: ["a", "b"] } }, "/approvals/actions", "tighter"],
  ["a lower threshold", { approvals: { threshold_usd: 2 } }, { approvals: { threshold_usd: 1 } }, "/approvals/threshold_usd", "tighter"],
  ["a higher quorum", { approvals: { actions: ["a"] } }, { approvals: { actions: ["a"], quorum: 2 } }, "/approvals/quorum", "tighter"],
  [
    "a longer wait",
    { approvals: { actions: ["a"] } },
    { approvals: { actions: ["a"], timeout_seconds: 9 } },
    "/approvals/timeout_seconds",
    "different",
  ],
  ["no reserve", { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 } }, { budgets: { session: 1 } }, "/wind_down", "tighter"],
  [
    "a smaller reserve",
    { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 } },
    { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 0.5 } },
    "/wind_down/budget",
    "tighter",
  ],
  [
    "less that winds down",
    { budgets: { session: 1 }, wind_down: { actions: ["a", "b"], budget: 1 } },
    { budgets: { session: 1 }, wind_down: { actions: ["a"], budget: 1 } },
    "/wind_down/actions",
    "tighter",
  ],
  ["outputs not kept", { denied_actions: ["x"] }, { denied_actions: ["x"], redact: { store_outputs: "none" } }, "/redact/store_outputs", "tighter"],
  [
    "inputs kept as digests",
    { redact: { keys: ["a"] } },
    { redact: { keys: ["a"], store_inputs: "digest", store_outputs: "full" } },
    "/redact/store_inputs",
    "tighter",
  ],
  [
    "a key more, whatever a star there would be elsewhere",
    { redact: { keys: ["a*"] } },
    { redact: { keys: ["a*", "ab"] } },
    "/redact/keys",
    "tighter",
  ],
  [
    "a wait of another length for what rules hold",
    { denied_actions: ["x"] },
    { denied_actions: ["x"], approvals: { timeout_seconds: 60 } },
    "/approvals",
    "different",
  ],
  [
    "a key more to hide",
    { denied_actions: ["x"], redact: { keys: ["a"] } },
    { denied_actions: ["x"], redact: { keys: ["a", "b"] } },
    "/redact/keys",
    "tighter",
  ],
  [
    "cards and private keys hidden again, which they are where nothing is said",
    { denied_actions: ["x"], redact: { detect: ["email"] } },
    { denied_actions: ["x"], redact: { detect: ["email", "credit_card"] } },
    "/redact/detect",
    "tighter",
  ],
  [
    "a section that takes away what is hidden anyway",
    { denied_actions: ["x"], redact: { detect: ["credit_card"] } },
    { denied_actions: ["x"] },
    "/redact/detect",
    "tighter",
  ],
  [
    "another note",
    { denied_actions: ["x"], compliance: { a: "1" } },
    { denied_actions: ["x"], compliance: { a: "2" } },
    "/compliance/a",
    "different",
  ],
  ["another name", { denied_actions: ["x"], name: "a" }, { denied_actions: ["x"], name: "b" }, "/name", "different"],
];

describe("what a policy says otherwise than another is told once, with its direction", () => {
  it.each(ROWS)("%s", (_what, a, b, at, direction) => {
    expect(directions(a, b)).toEqual([`${at} ${direction}`]);
    expect(directions(b, a)).toEqual([`${at} ${direction === "tighter" ? "looser" : "different"}`]);
    expect(directions(a, a)).toEqual([]);
  });

  it.each<[string, Part, Part]>([
    ["a redact section that says nothing", {}, { redact: {} }],
    [
      "what is hidden anyway, at length",
      {},
      { redact: { store_inputs: "full", store_outputs: "full", keys: [...DEFAULT_KEYS], detect: ["private_key", "credit_card"] } },
    ],
    ["that nothing is hidden, and all of it kept", { redact: { keys: [], detect: [] } }, { redact: { detect: [], keys: [], store_outputs: "full" } }],
    ["that outputs are kept as inputs are", { redact: { store_inputs: "digest" } }, { redact: { store_inputs: "digest", store_outputs: "digest" } }],
    ["a key with other capitals and dashes", { redact: { keys: ["api_key", "b"] } }, { redact: { keys: ["b", "apiKey", "API-KEY"] } }],
    ["a detector twice, in another order", { redact: { detect: ["email", "token"] } }, { redact: { detect: ["token", "email", "token"] } }],
    ["an approvals section that asks nobody", {}, { approvals: { timeout_seconds: 3600 } }],
  ])("says nothing of what means the same: %s", (_what, a, b) => {
    const [x, y] = [
      { denied_actions: ["x"], ...a },
      { denied_actions: ["x"], ...b },
    ];
    expect([directions(x, y), directions(y, x)]).toEqual([[], []]);
  });

  it("a window that is another is a limit gone and a limit come", () =>
    expect(directions(rate(5, 60), rate(5, 30))).toEqual(["/rate_limits/a looser", "/rate_limits/a tighter"]));

  it("the order of rules differs only in which one is named; the order of lists not at all", () => {
    const other = { ...rule, id: "s" };
    expect(directions({ rules: [rule, other] }, { rules: [other, rule] })).toEqual(["/rules (order) different"]);
    expect(directions({ denied_actions: ["a", "b"] }, { denied_actions: ["b", "a"] })).toEqual([]);
  });

  it("several together have one direction only where they agree", () => {
    expect([overall([]), overall(["tighter", "tighter"]), overall(["tighter", "looser"]), overall(["looser", "different"])]).toEqual([
      "same",
      "tighter",
      "different",
      "different",
    ]);
  });
});
