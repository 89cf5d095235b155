import { describe, expect, it } from "vitest";
import * as z from "zod";
import { authorFindings } from "../../src/core/policy/authored.ts";
import { AUTHOR_BOUNDS } from "../../src/core/policy/document.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { policyJsonSchema } from "../../src/core/policy/schema.ts";
import { policySchema } from "../../src/core/policy/written.ts";

const BIG = "x".repeat(61);

/** What is wrong with a policy, in words and with its place among the members: whoever writes one reads just this. */
function told(policy: object): readonly string[] {
  const parsed = parsePolicy(JSON.stringify(policy), "json");
  return parsed.ok ? [] : parsed.error.map(({ pointer, message }) => `${pointer}: ${message}`);
}

interface Shape {
  readonly properties?: { readonly [member: string]: Shape };
  readonly additionalProperties?: Shape | boolean;
  readonly items?: Shape;
  readonly anyOf?: readonly Shape[];
}
// Made from nothing but plain values.
const SCHEMA = policyJsonSchema() as Shape;
const within = (shape: Shape | undefined): readonly string[] => {
  if (shape === undefined) return [];
  if (shape.properties !== undefined) return Object.keys(shape.properties);
  const { additionalProperties: each, items, anyOf = [] } = shape;
  for (const inner of [items, typeof each === "object" ? each : undefined, ...anyOf]) {
    const found = within(inner);
    if (found.length > 0) return found;
  }
  return [];
};
const member = (...path: readonly string[]): Shape | undefined => path.reduce<Shape | undefined>((shape, name) => shape?.properties?.[name], SCHEMA);

describe("a member that is almost one is told which was meant, in every section", () => {
  type Section = readonly [pointer: string, shape: Shape | undefined, around: (wrong: object) => object, unsaid?: readonly string[]];
  const SECTIONS: readonly Section[] = [
    // Merged policies have what no author writes.
    ["", SCHEMA, (wrong) => wrong, ["also_allowed_actions"]],
    ["/budgets", member("budgets"), (wrong) => ({ budgets: wrong })],
    ["/budgets/agent", member("budgets", "agent"), (wrong) => ({ budgets: { agent: wrong } })],
    ["/budgets/tenant", member("budgets", "tenant"), (wrong) => ({ budgets: { tenant: wrong } })],
    ["/rate_limits/a", member("rate_limits"), (wrong) => ({ rate_limits: { a: wrong } })],
    ["/loops", member("loops"), (wrong) => ({ loops: wrong })],
    ["/retries/0", member("retries"), (wrong) => ({ retries: [wrong] })],
    ["/requires/a", member("requires"), (wrong) => ({ requires: { a: wrong } })],
    ["/history/0", member("history"), (wrong) => ({ history: [wrong] })],
    ["/approvals", member("approvals"), (wrong) => ({ approvals: wrong })],
    ["/approvals/approvers", member("approvals", "approvers"), (wrong) => ({ approvals: { approvers: wrong } })],
    ["/rules/0", member("rules"), (wrong) => ({ rules: [wrong] }), ["group"]],
    ["/redact", member("redact"), (wrong) => ({ redact: wrong })],
    ["/wind_down", member("wind_down"), (wrong) => ({ wind_down: wrong })],
  ];

  it.each(SECTIONS.map((section): [string, Section] => [section[0], section]))("%s", (pointer, [, shape, around, unsaid = []]) => {
    const members = within(shape).filter((name) => !unsaid.includes(name));
    expect(members.length).toBeGreaterThan(1);
    for (const name of members) {
      const wrong = `${name}Z`;
      expect(told(around({ [wrong]: 1 }))).toContain(`${pointer}/${wrong}: "${wrong}" is not known here; did you mean "${name}"?`);
      expect(told(around({ [wrong.toUpperCase()]: 1 })).join()).toContain(`did you mean "${name}"?`);
    }
    const [unknown] = told(around({ qqqqqqqqqq: 1 })).filter((line) => line.startsWith(`${pointer}/qqqqqqqqqq: `));
    const [, listed = ""] = /^.*"qqqqqqqqqq" is not known here; wanted one of (.*)$/.exec(unknown ?? "") ?? [];
    expect(listed.split(", ").sort()).toEqual([...members].sort());
  });

  it("and a long one is cut", () => {
    expect(told({ [BIG]: 1 })[0]).toMatch(new RegExp(`^/${BIG}: "${"x".repeat(60)}…" is not known here; wanted one of version, name`));
    expect(told({ ["x".repeat(60)]: 1 })[0]).toContain(`: "${"x".repeat(60)}" is not known here; wanted one of version, name`);
  });
});

it("a section for patterns says how many of them it may have, and what is copied into every record how many keys", () => {
  const few = policySchema({ ...AUTHOR_BOUNDS, patterns: 2 });
  expect(few.safeParse({ concurrency: { a: 1, b: 1 } }).success).toBe(true);
  expect(few.safeParse({ concurrency: { a: 1, b: 1, c: 1 } }).error?.issues.map(({ message }) => message)).toEqual([
    "wanted at most 2 patterns, found a mapping",
  ]);
  expect(few.safeParse({ denied_actions: ["a", "b", "c"] }).error?.issues.map(({ message }) => message)).toEqual([
    "wanted at most 2 patterns, found a list of 3",
  ]);
  const noted = policySchema({ ...AUTHOR_BOUNDS, notes: 2 });
  expect(noted.safeParse({ compliance: { a: "x", b: "x", c: "x" } }).error?.issues.map(({ message }) => message)).toEqual([
    "wanted at most 2 keys, found a mapping",
  ]);
  expect(z.toJSONSchema(few, { io: "input" })).toMatchObject({
    properties: { concurrency: { maxProperties: 2 }, compliance: { maxProperties: AUTHOR_BOUNDS.notes } },
  });
});

it("a schema is as deep as it may be, through lists as through mappings", () => {
  const shallow = policySchema({ ...AUTHOR_BOUNDS, depth: 3 });
  const isFit = (schema: object): boolean => shallow.safeParse({ arguments: { a: schema } }).success;
  expect([{ const: [[1]] }, { const: [[[1]]] }, { const: { a: { b: 1 } } }, { const: { a: { b: { c: 1 } } } }].map(isFit)).toEqual([
    true,
    false,
    true,
    false,
  ]);
});

it.each([
  [15_000, 5_001, "/rules"],
  [10_001, 10_001, "/rules"],
  [5_001, 15_000, "/history"],
])("of %d rules and %d of history the longer list is named", (rules, history, pointer) => {
  const many = { rules: Array.from({ length: rules }, () => ({})), history: Array.from({ length: history }, () => ({})) };
  expect(authorFindings(many).map(({ path, message }) => `/${path.join("/")}: ${message}`)).toEqual([
    `${pointer}: wanted at most 20000 rules, those of history among them, found ${rules + history}`,
  ]);
});

describe("what is wrong is told whole", () => {
  const nothing = "nothing; leave the key out to say nothing";
  const window = { max_count: 1, window_seconds: 1 };
  it.each<readonly [policy: object, mistakes: readonly string[]]>([
    [{ name: BIG.repeat(5) }, [`/name: wanted a name: 1 to 256 characters, none of them a control character, found "${BIG.slice(0, 60)}…"`]],
    [{ name: "a\u0007" }, ['/name: wanted a name: 1 to 256 characters, none of them a control character, found "a\\u0007"']],
    [{ version: null }, [`/version: wanted 1, the version of the policy language, found ${nothing}`]],
    [{ strict_mode: {} }, ["/strict_mode: wanted true or false, found a mapping"]],
    [
      { denied_actions: [] as readonly string[], allowed_actions: {} },
      ["/allowed_actions: wanted a list of action names and globs ([] allows none), found a mapping"],
    ],
    [{ denied_actions: [["a"]] }, ["/denied_actions/0: wanted an action's name or a glob, found a list of 1"]],
    [{ denied_actions: ["a b"] }, ['/denied_actions/0: wanted an action\'s name or a glob: 1 to 128 letters, digits, _ - . : / and *, found "a b"']],
    [{ also_allowed_actions: "a" }, ['/also_allowed_actions: wanted a list of allowlists, found "a"']],
    [{ also_allowed_actions: Array.from({ length: 17 }, () => ["a"]) }, ["/also_allowed_actions: wanted at most 16 lists, found a list of 17"]],
    [{ also_allowed_actions: ["a"] }, ['/also_allowed_actions/0: wanted a list of action names and globs, found "a"']],
    [
      { rules: [{ effect: "forbid", actions: ["a"], when: "" }] },
      ['/rules/0/when: wanted when the rule holds, a condition in CEL of 1 to 4096 characters, found ""'],
    ],
    [{ budgets: [] }, ["/budgets: wanted the members session, run, actions, agent, tenant, on_expiry, default_price, alerts, found an empty list"]],
    [{ budgets: { actions: 1 } }, ["/budgets/actions: wanted a USD amount per action's name or glob, found 1"]],
    [{ budgets: { on_expiry: 1 } }, ['/budgets/on_expiry: wanted "post" or "release", found 1']],
    [{ rate_limits: 1 }, ["/rate_limits: wanted a rate per action's name or glob, found 1"]],
    [{ rate_limits: { a: 1 } }, ["/rate_limits/a: wanted max_count and window_seconds, or a list of such rates, found 1"]],
    [{ rate_limits: { a: [1] } }, ["/rate_limits/a/0: wanted max_count and window_seconds, found 1"]],
    [
      { rate_limits: { a: { ...window, window_seconds: "1" } } },
      ['/rate_limits/a/window_seconds: wanted a number of seconds from 0.001 to 2678400, with at most three decimals, found "1"'],
    ],
    [{ concurrency: [] }, ["/concurrency: wanted a whole number per action's name or glob, found an empty list"]],
    [{ loops: [1] }, ["/loops/0: wanted threshold and window_seconds, found 1"]],
    [
      { loops: { threshold: 2, window_seconds: 1, ignore: Array.from({ length: 17 }, () => "inputs.a") } },
      ["/loops/ignore: wanted at most 16 paths, found a list of 17"],
    ],
    [{ retries: 1 }, ["/retries: wanted threshold and window_seconds, or a list of such limits, found 1"]],
    [{ retries: [1] }, ["/retries/0: wanted threshold and window_seconds, found 1"]],
    [{ requires: { a: [1] } }, ["/requires/a/0: wanted after, the actions that must come before, found 1"]],
    [
      { requires: { a: { after: ["b"], same: ["x"] } } },
      ['/requires/a/same/0: wanted a path such as inputs.order_id, or resource, resource.id or resource.type, found "x"'],
    ],
    [{ history: [{ forbid: ["b"], when: "" }] }, ['/history/0/when: wanted when it forbids, a condition in CEL of 1 to 4096 characters, found ""']],
    [{ history: [1] }, ["/history/0: wanted a rule with forbid and when, found 1"]],
    [{ history: [{ id: 1, forbid: ["b"], when: "true" }] }, ["/history/0/id: wanted an id, found 1"]],
    [
      { history: [{ forbid: { a: 1 }, when: "true" }] },
      ["/history/0/forbid: wanted an action's name or a glob, or a list of such patterns, found a mapping"],
    ],
    [
      { approvals: 1 },
      ["/approvals: wanted the members actions, tags, risk_levels, threshold_usd, timeout_seconds, quorum, approvers, four_eyes, found 1"],
    ],
    [{ approvals: { actions: 1 } }, ["/approvals/actions: wanted a list of action names and globs, found 1"]],
    [{ approvals: { tags: 1 } }, ["/approvals/tags: wanted a list of tags, found 1"]],
    [{ approvals: { tags: [""] } }, ['/approvals/tags/0: wanted a tag: 1 to 256 characters, none of them a control character, found ""']],
    [{ approvals: { risk_levels: 1 } }, ["/approvals/risk_levels: wanted a list of risk levels, found 1"]],
    [{ approvals: { four_eyes: 1 } }, ["/approvals/four_eyes: wanted true or false, found 1"]],
    [
      { approvals: { timeout_seconds: "1" } },
      ['/approvals/timeout_seconds: wanted a number of seconds from 1 to 2592000, with at most three decimals, found "1"'],
    ],
    [{ approvals: { approvers: [1] } }, ["/approvals/approvers/0: wanted subjects or scopes, found 1"]],
    [{ approvals: { approvers: { scopes: 1 } } }, ["/approvals/approvers/scopes: wanted a list of scopes, found 1"]],
    [
      { approvals: { approvers: { scopes: [1], subjects: [1] } } },
      ["/approvals/approvers/scopes/0: wanted a scope, found 1", "/approvals/approvers/subjects/0: wanted a subject, found 1"],
    ],
    [{ rules: [{ effect: 5, actions: ["a"] }] }, ['/rules/0/effect: wanted "permit", "forbid" or "hold", found 5']],
    [{ rules: [{ effect: "hold", actions: 1 }] }, ["/rules/0/actions: wanted a list of action names and globs, found 1"]],
    [{ arguments: [1] }, ["/arguments: wanted a JSON Schema per action's name or glob, found a list of 1"]],
    [{ redact: 1 }, ["/redact: wanted the members store_inputs, store_outputs, keys, detect, found 1"]],
    [{ redact: { keys: 1 } }, ["/redact/keys: wanted a list of members' names, found 1"]],
    [{ redact: { keys: [""] } }, ['/redact/keys/0: wanted a member\'s name: 1 to 256 characters, none of them a control character, found ""']],
    [{ redact: { detect: 1 } }, ["/redact/detect: wanted a list of detectors, found 1"]],
    [{ redact: { detect: Array.from({ length: 17 }, () => "email") } }, ["/redact/detect: wanted at most 16 detectors, found a list of 17"]],
    [{ wind_down: 1 }, ["/wind_down: wanted the members actions, budget, found 1"]],
    [{ wind_down: { actions: 1, budget: 1 } }, ["/wind_down/actions: wanted a list of action names and globs, found 1"]],
    [{ compliance: 1 }, ["/compliance: wanted texts by key, found 1"]],
    [{ compliance: { a: true } }, ["/compliance/a: wanted a text (numbers and true or false in quotes), found true"]],
    [{ compliance: { "": "x" } }, ['/compliance/: wanted a key of 1 to 64 letters, digits, _ . -, found ""']],
    [
      { compliance: { ["k".repeat(65)]: "x" } },
      [`/compliance/${"k".repeat(65)}: wanted a key of 1 to 64 letters, digits, _ . -, found "${"k".repeat(60)}…"`],
    ],
  ])("%j", (policy, mistakes) => {
    expect([...told(policy)].sort()).toEqual([...mistakes].sort());
  });
});

it("what is just within its bounds is taken", () => {
  const rate = { max_count: 1_000_000, window_seconds: 2_678_400 };
  const good: object = {
    version: 1,
    name: "n".repeat(256),
    budgets: { session: "0.000001", alerts: [0.000001, 1] },
    denied_actions: ["*a".repeat(16), "x".repeat(128)],
    rate_limits: { a: Array.from({ length: 16 }, () => rate), b: { max_count: 0, window_seconds: 0.001, per: "tenant" } },
    concurrency: { a: 0, b: 100_000 },
    loops: [
      { threshold: 2, window_seconds: 0.001, ignore: Array.from({ length: 16 }, (_, place) => `inputs.a${place}`) },
      { threshold: 10_000, window_seconds: 2_678_400 },
    ],
    retries: [
      { threshold: 1, window_seconds: 1 },
      { threshold: 10_000, window_seconds: 1 },
    ],
    requires: { a: { after: ["b"], within_seconds: 0.001, same: ["resource", "resource.id", "resource.type", "inputs.x.y"], where: "true" } },
    approvals: { timeout_seconds: 2_592_000, quorum: 20, approvers: [] },
    rules: [{ id: "i".repeat(128), effect: "hold", actions: ["a"], when: `${" ".repeat(4_092)}true` }],
    compliance: { ["k".repeat(64)]: "v" },
  };
  expect(told(good)).toEqual([]);
  expect(told({ approvals: { timeout_seconds: 1, quorum: 1 }, loops: [], retries: [] })).toEqual([]);
});
