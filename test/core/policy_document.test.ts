import { describe, expect, it } from "vitest";
import { documentOf } from "./playing.ts";

const BARE = { version: 1, strict_mode: true };
const rate = (max_count: number, window_seconds = 60, more: object = {}) => ({ max_count, window_seconds, ...more });
const loop = (threshold: number, window_seconds = 60, more: object = {}) => ({ threshold, window_seconds, ...more });
const RULE = { effect: "hold", actions: ["a"], mode: "enforce" };

describe("a policy's normal form says what it says once, in one order, and nothing that it does not say", () => {
  it.each<readonly [written: object, normal: object]>([
    [{ version: 1 }, {}],
    [{ name: "n" }, { name: "n" }],
    [{ strict_mode: false }, { strict_mode: false }],
    [{ budgets: { on_expiry: "release" } }, { budgets: { on_expiry: "release" } }],
    [{ budgets: { session: 5.5 } }, { budgets: { session: "5.5", on_expiry: "post" } }],
    [{ budgets: { run: "0.10" } }, { budgets: { run: "0.1", on_expiry: "post" } }],
    [{ budgets: { actions: {}, alerts: [] } }, { budgets: { on_expiry: "post" } }],
    [{ budgets: { actions: { a: 1 } } }, { budgets: { actions: { a: "1" }, on_expiry: "post" } }],
    [{ budgets: { agent: {}, tenant: 3 } }, { budgets: { tenant: { total: "3" }, on_expiry: "post" } }],
    [{ budgets: { agent: { month: 2, hour: 1 } } }, { budgets: { agent: { hour: "1", month: "2" }, on_expiry: "post" } }],
    [{ budgets: { default_price: "deny" } }, { budgets: { on_expiry: "post", default_price: "deny" } }],
    [{ budgets: { default_price: 0.5 } }, { budgets: { on_expiry: "post", default_price: "0.5" } }],
    [{ budgets: { alerts: [0.8, 0.5, 0.8] } }, { budgets: { on_expiry: "post", alerts: [0.5, 0.8] } }],
    [{ denied_actions: [] }, {}],
    [{ denied_actions: ["b", "a", "b"] }, { denied_actions: ["a", "b"] }],
    [{ allowed_actions: [] }, { allowed_actions: [] }],
    [{ allowed_actions: ["b", "a*", "b"] }, { allowed_actions: ["a*", "b"] }],
    // Of lists that must all name an action, exact names are looked up in the others.
    [{ allowed_actions: ["a*"], also_allowed_actions: [["ab", "b", "ac"]] }, { allowed_actions: ["ab", "ac"] }],
    [
      { allowed_actions: ["b*"], also_allowed_actions: [["a*"], ["b*", "c*"]] },
      { allowed_actions: ["a*"], also_allowed_actions: [["b*"]] },
    ],
    [{ also_allowed_actions: [["a*"], ["a*"]] }, { allowed_actions: ["a*"] }],
    [{ allowed_actions: ["a"], also_allowed_actions: [["b"]] }, { allowed_actions: [] }],
    [{ rate_limits: {} }, {}],
    [{ rate_limits: { a: rate(1, 1, { per: "session" }) } }, { rate_limits: { a: [rate(1, 1)] } }],
    [
      { rate_limits: { a: [rate(5), rate(2), rate(9, 1), rate(3, 60, { per: "run" }), rate(4, 60, { per: "agent" })] } },
      { rate_limits: { a: [rate(9, 1), rate(2), rate(4, 60, { per: "agent" }), rate(3, 60, { per: "run" })] } },
    ],
    [{ concurrency: {} }, {}],
    [{ concurrency: { a: 1 } }, { concurrency: { a: 1 } }],
    [{ loops: [], retries: [] }, {}],
    [{ loops: loop(5) }, { loops: [loop(5)] }],
    [
      { loops: [loop(5), loop(3), loop(9, 1), loop(4, 60, { ignore: ["inputs.b", 'inputs["a"]', "inputs.b"] })] },
      { loops: [loop(9, 1), loop(4, 60, { ignore: ["inputs.a", "inputs.b"] }), loop(3)] },
    ],
    [{ loops: loop(5, 60, { ignore: [] }) }, { loops: [loop(5)] }],
    [{ retries: [loop(5), loop(3)] }, { retries: [loop(3)] }],
    [{ requires: {} }, {}],
    [{ requires: { a: { after: ["c", "b", "c"] } } }, { requires: { a: [{ after: ["b", "c"] }] } }],
    [
      { requires: { a: { after: ["b"], within_seconds: 5, same: ['inputs["x"]'], where: "true" } } },
      { requires: { a: [{ after: ["b"], within_seconds: 5, same: ["inputs.x"], where: "true" }] } },
    ],
    [{ requires: { a: { after: ["b"], same: [] } } }, { requires: { a: [{ after: ["b"] }] } }],
    [{ history: [] }, {}],
    [{ history: [{ forbid: "a", when: "true" }] }, { history: [{ forbid: ["a"], when: "true", mode: "enforce", stops: "action" }] }],
    [
      { history: [{ id: "r", forbid: ["b", "a"], when: "true", mode: "warn", stops: "run" }] },
      { history: [{ id: "r", forbid: ["a", "b"], when: "true", mode: "warn", stops: "run" }] },
    ],
    [{ approvals: {} }, { approvals: { timeout_seconds: 3600 } }],
    [
      { approvals: { actions: ["b", "a"], tags: ["t", "s"], risk_levels: ["critical", "low"], threshold_usd: 1, quorum: 2, four_eyes: true } },
      {
        approvals: {
          actions: ["a", "b"],
          tags: ["s", "t"],
          risk_levels: ["low", "critical"],
          threshold_usd: "1",
          timeout_seconds: 3600,
          quorum: 2,
          four_eyes: true,
        },
      },
    ],
    [{ approvals: { actions: [], tags: [], risk_levels: [], quorum: 1, approvers: [], four_eyes: false } }, { approvals: { timeout_seconds: 3600 } }],
    [
      { approvals: { approvers: [{ scopes: ["b", "a"] }, {}, { subjects: ["s"], scopes: [] }, { subjects: ["s"] }] } },
      { approvals: { timeout_seconds: 3600, approvers: [{ scopes: ["a", "b"] }, { subjects: ["s"] }] } },
    ],
    [{ rules: [] }, {}],
    [{ rules: [{ effect: "hold", actions: ["a", "a"] }] }, { rules: [RULE] }],
    [{ rules: [{ effect: "forbid", actions: ["a"] }] }, { rules: [{ ...RULE, effect: "forbid", stops: "action" }] }],
    [
      { rules: [{ id: "r", effect: "forbid", actions: ["a"], when: "true", mode: "observe", stops: "session" }] },
      { rules: [{ ...RULE, id: "r", effect: "forbid", when: "true", mode: "observe", stops: "session" }] },
    ],
    [{ rules: [{ effect: "permit", actions: ["a"], group: "g" }] }, { rules: [{ ...RULE, effect: "permit", group: "g" }] }],
    [{ arguments: {} }, {}],
    [{ arguments: { a: true, b: [{}, { minimum: 0 }] } }, { arguments: { a: [true], b: [{}, { minimum: 0 }] } }],
    [{ redact: {} }, { redact: { store_inputs: "full", store_outputs: "full" } }],
    [{ redact: { store_inputs: "none" } }, { redact: { store_inputs: "none", store_outputs: "none" } }],
    [
      { redact: { store_outputs: "digest", keys: [], detect: [] } },
      { redact: { store_inputs: "full", store_outputs: "digest", keys: [], detect: [] } },
    ],
    [
      { redact: { keys: ["B", "a", "A"], detect: ["token", "email", "token"] } },
      { redact: { store_inputs: "full", store_outputs: "full", keys: ["a", "b"], detect: ["email", "token"] } },
    ],
    [
      { budgets: { session: 1 }, wind_down: { actions: ["b", "a", "b"], budget: 0.5 } },
      { budgets: { session: "1", on_expiry: "post" }, wind_down: { actions: ["a", "b"], budget: "0.5" } },
    ],
    [{ compliance: {} }, {}],
    [{ compliance: { a: "x" } }, { compliance: { a: "x" } }],
  ])("%j", (written, normal) => {
    const document = documentOf({ version: 1, ...written });
    expect(document).toStrictEqual({ ...BARE, ...normal });
    // The normal form of a normal form is itself.
    expect(documentOf(document)).toStrictEqual(document);
  });
});
