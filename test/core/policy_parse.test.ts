import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";
import { policyJsonSchema } from "../../src/core/policy/schema.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

function parsed(text: string, format: "yaml" | "json" = "yaml"): PolicyDocument {
  const result = parsePolicy(text, format);
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value.document;
}

/** `pointer line:column message` of each issue. */
function refused(text: string, format: "yaml" | "json" = "yaml"): string[] {
  const result = parsePolicy(text, format);
  if (result.ok) throw new Error(`accepted: ${canonicalJson(result.value.document)}`);
  return result.error.map(({ pointer, line, column, message }) => `${pointer} ${line}:${column} ${message}`);
}

const warned = (text: string): string[] => {
  const result = parsePolicy(text, "yaml");
  return result.ok ? result.value.warnings.map(({ pointer, line, column, message }) => `${pointer} ${line}:${column} ${message}`) : ["refused"];
};

const LATER = "this gateway does not enforce";

describe("every line of the language that this gateway enforces", () => {
  test.each<[string, Partial<PolicyDocument>]>([
    ["version: 1", {}],
    ["name: support-bots", { name: "support-bots" }],
    ["strict_mode: true", {}],
    ["strict_mode: false", { strict_mode: false }],
    ["budgets: { session: 5.0 }", { budgets: { session: "5", on_expiry: "post" } }],
    ["budgets: { run: 1.0 }", { budgets: { run: "1", on_expiry: "post" } }],
    ["budgets: { session: 0.1, run: '0.30' }", { budgets: { session: "0.1", run: "0.3", on_expiry: "post" } }],
    ["budgets: { session: 0 }", { budgets: { session: "0", on_expiry: "post" } }],
    ["budgets: { session: .5, run: 5. }", { budgets: { session: "0.5", run: "5", on_expiry: "post" } }],
    ["budgets: { session: 0.000001 }", { budgets: { session: "0.000001", on_expiry: "post" } }],
    [
      'budgets: { actions: { expensive_llm: 0.50, "db.*": 0.10 } }',
      { budgets: { actions: { expensive_llm: "0.5", "db.*": "0.1" }, on_expiry: "post" } },
    ],
    ["budgets: { on_expiry: release }", { budgets: { on_expiry: "release" } }],
    ['denied_actions: [delete_database, "fs.rm*"]', { denied_actions: ["delete_database", "fs.rm*"] }],
    ['allowed_actions: [search_web, "crm.*"]', { allowed_actions: ["crm.*", "search_web"] }],
    ["allowed_actions: []", { allowed_actions: [] }],
    ["denied_actions: []", {}],
    ["budgets: { actions: {} }\nrate_limits: {}\nconcurrency: {}\ncompliance: {}", { budgets: { on_expiry: "post" } }],
    ["approvals: { actions: [], tags: [], risk_levels: [] }", { approvals: { timeout_seconds: 3600 } }],
    ["allowed_actions: ['a*']\nalso_allowed_actions: [[ab, b]]", { allowed_actions: ["ab"] }],
    ["rate_limits: { send_email: { max_count: 10, window_seconds: 60 } }", { rate_limits: { send_email: [{ max_count: 10, window_seconds: 60 }] } }],
    ["rate_limits: { a: { max_count: 0, window_seconds: 0.001, per: session } }", { rate_limits: { a: [{ max_count: 0, window_seconds: 0.001 }] } }],
    [
      "rate_limits: { a: [{ max_count: 9, window_seconds: 3600 }, { max_count: 3, window_seconds: 60 }, { max_count: 2, window_seconds: 3600 }] }",
      {
        rate_limits: {
          a: [
            { max_count: 3, window_seconds: 60 },
            { max_count: 2, window_seconds: 3600 },
          ],
        },
      },
    ],
    ['concurrency: { "browser.*": 3 }', { concurrency: { "browser.*": 3 } }],
    ["approvals: { actions: [send_money] }", { approvals: { actions: ["send_money"], timeout_seconds: 3600 } }],
    ["approvals: { tags: [production] }", { approvals: { tags: ["production"], timeout_seconds: 3600 } }],
    ["approvals: { risk_levels: [critical, high] }", { approvals: { risk_levels: ["high", "critical"], timeout_seconds: 3600 } }],
    ["approvals: { threshold_usd: 1.00 }", { approvals: { threshold_usd: "1", timeout_seconds: 3600 } }],
    ["approvals: { timeout_seconds: 60, quorum: 1 }", { approvals: { timeout_seconds: 60 } }],
    [
      "compliance: { risk_level: high_risk, system: support-bot, oversight: named-team }",
      { compliance: { risk_level: "high_risk", system: "support-bot", oversight: "named-team" } },
    ],
    ["denied_actions: &list [a]\napprovals: { actions: *list }", { denied_actions: ["a"], approvals: { actions: ["a"], timeout_seconds: 3600 } }],
    ["\uFEFFname: with-a-byte-order-mark", { name: "with-a-byte-order-mark" }],
    [
      "denied_actions: [__proto__, constructor]\nconcurrency: { constructor: 1 }",
      { denied_actions: ["__proto__", "constructor"], concurrency: { constructor: 1 } } as never,
    ],
  ])("%s", (text, members) => {
    expect(parsed(text)).toEqual({ version: 1, strict_mode: true, ...members });
  });
});

describe("what is not enforced yet is refused, never passed over", () => {
  test.each([
    ["rules: []", "/rules 1:1"],
    ["requires: {}", "/requires 1:1"],
    ["history: []", "/history 1:1"],
    ["arguments: {}", "/arguments 1:1"],
    ["loops: { threshold: 5, window_seconds: 10 }", "/loops 1:1"],
    ["retries: { threshold: 8, window_seconds: 60 }", "/retries 1:1"],
    ["redact: { store_inputs: full }", "/redact 1:1"],
    ["wind_down: { actions: [save_state] }", "/wind_down 1:1"],
    ["budgets: { agent: { hour: 10 } }", "/budgets/agent 1:12"],
    ["budgets: { tenant: { day: 10 } }", "/budgets/tenant 1:12"],
    ["budgets: { alerts: [0.5] }", "/budgets/alerts 1:12"],
    ["budgets: { default_price: deny }", "/budgets/default_price 1:12"],
    ["rate_limits: { a: { max_count: 1, window_seconds: 1, per: agent } }", "/rate_limits/a/per 1:59"],
    ["rate_limits: { a: { max_count: 1, window_seconds: 1, per: run } }", "/rate_limits/a/per 1:59"],
    ["rate_limits: { a: [{ max_count: 1, window_seconds: 1, per: tenant }] }", "/rate_limits/a/0/per 1:60"],
    ["approvals: { quorum: 2 }", "/approvals/quorum 1:22"],
    ["approvals: { approvers: { subjects: [] } }", "/approvals/approvers 1:14"],
  ])("%s", (text, place) => {
    const [issue, ...others] = refused(text);
    expect(issue).toContain(`${place} ${LATER}`);
    expect(others).toEqual([]);
  });
});

describe("a mistake is refused at its place, saying what was found and what is wanted", () => {
  const mistakes: [string, string[]][] = [
    ["", ["1:1 the policy is empty"]],
    ["# nothing but a comment", ["1:1 the policy is empty"]],
    ["---", ["1:4 wanted a policy", "found nothing"]],
    ["{}", ["1:1 the policy is empty"]],
    ["null", ["1:1 wanted a policy", "found nothing"]],
    ["hello", ["1:1 wanted a policy", 'found "hello"']],
    ["[1]", ["1:1 wanted a policy", "found a list of 1"]],
    ["allowed_actions:\n", ["/allowed_actions 1:", "found nothing; leave the key out"]],
    ["name: x\nbudgets:\nversion: 1", ["/budgets 2:", "found nothing"]],
    ["budgets: { actions: }", ["/budgets/actions 1:", "found nothing"]],
    ["budgets: { session: ~ }", ["/budgets/session 1:21 wanted a USD amount, found nothing"]],
    ["denied_actions:", ["/denied_actions 1:", "found nothing"]],
    ["approvals:", ["/approvals 1:", "found nothing"]],
    ["strict_mode:", ["/strict_mode 1:", "found nothing"]],
    ["rate_limits: { a: }", ["/rate_limits/a 1:", "found nothing"]],
    ["denied_action: [a]", ['/denied_action 1:1 "denied_action" is not known here; did you mean "denied_actions"?']],
    ["Denied_Actions: [a]", ['did you mean "denied_actions"?']],
    ["budgets: { sesion: 1 }", ['/budgets/sesion 1:12 "sesion" is not known here; did you mean "session"?']],
    ["banana: 1", ['/banana 1:1 "banana" is not known here; wanted one of version']],
    ["approvals: { treshold_usd: 1 }", ['did you mean "threshold_usd"?']],
    [
      "rate_limits: { a: { max_cont: 1, max_count: 1, window_seconds: 1 } }",
      ['/rate_limits/a/max_cont 1:21 "max_cont"', 'did you mean "max_count"?'],
    ],
    ["version: 2", ["/version 1:10 wanted 1, the version of the policy language, found 2"]],
    ['version: "1"', ["/version 1:10", 'found "1"']],
    ["name: 5", ["/name 1:7 wanted a name, found 5"]],
    ['name: ""', ["/name 1:7 wanted a name"]],
    ['name: "\\ud800"', ["/name 1:7 wanted a name"]],
    ["strict_mode: yes", ['/strict_mode 1:14 wanted true or false, found "yes"']],
    ["strict_mode: 0", ["/strict_mode 1:14 wanted true or false, found 0"]],
    ["budgets: 5", ["/budgets 1:10 wanted the members session, run", "found 5"]],
    ["budgets: { session: -1 }", ["/budgets/session 1:21 ", "found -1"]],
    ["budgets: { session: 0.1234567 }", ["/budgets/session 1:21 a USD amount has at most six decimals"]],
    ["budgets: { session: '1e3' }", ["/budgets/session 1:21 ", 'found "1e3"']],
    ["budgets: { session: .inf }", ["/budgets/session 1:21 wanted a number in decimal digits, found .inf"]],
    ["budgets: { session: .nan }", ["/budgets/session 1:21 wanted a number in decimal digits, found .nan"]],
    ["budgets: { session: 010 }", ["/budgets/session 1:21 wanted a number in decimal digits, found 010"]],
    ["budgets: { session: 0x10 }", ["/budgets/session 1:21 wanted a number in decimal digits, found 0x10"]],
    ["budgets: { session: 0.1000000000000000055 }", ["/budgets/session 1:21 wanted a number that can be carried exactly"]],
    ["budgets: { session: 9007199254740993 }", ["/budgets/session 1:21 wanted a number that can be carried exactly"]],
    ["budgets: { session: 1e400 }", ["/budgets/session 1:21 wanted a number that can be carried exactly"]],
    ["budgets: { session: true }", ["/budgets/session 1:21 a USD amount is a decimal string or a number"]],
    ["budgets: { session: [1] }", ["/budgets/session 1:21 a USD amount is a decimal string or a number, found an array"]],
    ["budgets: { on_expiry: keep }", ['/budgets/on_expiry 1:23 wanted "post" or "release", found "keep"']],
    ["budgets: { actions: { 'a b': 1 } }", ["/budgets/actions/a b 1:23 wanted an action's name or a glob"]],
    ["denied_actions: delete", ['/denied_actions 1:17 wanted a list of action names and globs, found "delete"']],
    ["denied_actions: [ok, 5]", ["/denied_actions/1 1:22 wanted an action's name or a glob, found 5"]],
    ["denied_actions: ['']", ["/denied_actions/0 1:18 wanted an action's name or a glob"]],
    ["denied_actions: ['a?']", ["/denied_actions/0 1:18 wanted an action's name or a glob"]],
    [`denied_actions: ['${"x".repeat(129)}']`, ["/denied_actions/0 1:18 wanted an action's name or a glob"]],
    [`denied_actions: ['${"*a".repeat(17)}']`, ["/denied_actions/0 1:18 wanted a glob with at most 16 stars"]],
    [`denied_actions: ['${"*".repeat(1000)}']`, ["/denied_actions/0 1:18 "]],
    [`denied_actions: [${"a,".repeat(10_001)}]`, ["/denied_actions 1:17 wanted at most 10000 patterns, found a list of 10001"]],
    [`concurrency:\n${Array.from({ length: 10_001 }, (_, i) => ` a${i}: 1\n`).join("")}`, ["/concurrency 2:2 wanted at most 10000 patterns"]],
    ["rate_limits: { a: 5 }", ["/rate_limits/a 1:19 wanted max_count and window_seconds", "found 5"]],
    ["rate_limits: { a: [] }", ["/rate_limits/a 1:19 wanted 1 to 16 rates, found an empty list"]],
    ["rate_limits: { a: { max_count: 1 } }", ["/rate_limits/a/window_seconds 1:16 wanted a number of seconds", "it is missing"]],
    ["rate_limits: { a: { max_count: -1, window_seconds: 1 } }", ["/rate_limits/a/max_count 1:32 wanted a whole number from 0 to 1000000, found -1"]],
    ["rate_limits: { a: { max_count: 1.5, window_seconds: 1 } }", ["/rate_limits/a/max_count 1:32 wanted a whole number", "found 1.5"]],
    ["rate_limits: { a: { max_count: 1000001, window_seconds: 1 } }", ["/rate_limits/a/max_count 1:32 ", "found 1000001"]],
    ["rate_limits: { a: { max_count: 1, window_seconds: 0 } }", ["/rate_limits/a/window_seconds 1:51 wanted a number of seconds", "found 0"]],
    ["rate_limits: { a: { max_count: 1, window_seconds: 0.0015 } }", ["/rate_limits/a/window_seconds 1:51 ", "found 0.0015"]],
    ["rate_limits: { a: { max_count: 1, window_seconds: 2678401 } }", ["/rate_limits/a/window_seconds 1:51 ", "found 2678401"]],
    ["rate_limits: { a: { max_count: 1, window_seconds: 1, per: hour } }", ['/rate_limits/a/per 1:59 wanted "session", found "hour"']],
    ["concurrency: { a: 100001 }", ["/concurrency/a 1:19 wanted a whole number from 0 to 100000, found 100001"]],
    ["concurrency: { a: '1' }", ["/concurrency/a 1:19 wanted a whole number", 'found "1"']],
    ["approvals: { risk_levels: [severe] }", ['/approvals/risk_levels/0 1:28 wanted low, medium, high or critical, found "severe"']],
    ["approvals: { tags: [5] }", ["/approvals/tags/0 1:21 wanted a tag, found 5"]],
    ["approvals: { timeout_seconds: 0 }", ["/approvals/timeout_seconds 1:31 ", "found 0"]],
    ["approvals: { timeout_seconds: 2592001 }", ["/approvals/timeout_seconds 1:31 ", "found 2592001"]],
    ["approvals: { quorum: 0 }", ["/approvals/quorum 1:22 wanted 1, found 0"]],
    ["compliance: { a: 5 }", ["/compliance/a 1:18 wanted a text", "found 5"]],
    ["compliance: { 'a b': x }", ["/compliance/a b 1:15 wanted a key"]],
    ["name: a\nname: b", ['/name 2:1 "name" is written twice']],
    ["budgets: { actions: { a: 1, a: 2 } }", ['/budgets/actions/a 1:29 "a" is written twice']],
    ["concurrency: { 404: 1 }", ["/concurrency 1:16 wanted a text as key"]],
    ["concurrency: { ? [a] : 1 }", ["/concurrency 1:", "wanted a text as key"]],
    ["<<: { name: a }", ["/<< 1:1 merge keys are not read here"]],
    ["concurrency: { __proto__: 1 }", ["/concurrency/__proto__ 1:16 __proto__ cannot be a key"]],
    ["name: !!str 5", ["1:7 tags are not read here"]],
    ["%YAML 1.1\n---\nname: a", ["1:1 directives are not read here"]],
    ["name: a\n---\nname: b", ["a policy is one document, found a second"]],
    ["name: *b", ["/name 1:7 no anchor &b comes before this alias"]],
    ["denied_actions: &a [*a]", ["/denied_actions/0 1:21 no anchor &a"]],
    [`a: &a x\nb: [${"*a, ".repeat(101)}]`, ["a policy has at most 100 aliases"]],
    [`a: &a [${"x,".repeat(1000)}]\nb: &b [${"*a,".repeat(20)}]\nc: [${"*b,".repeat(20)}]`, ["the aliases make the policy too large"]],
    [`a: ${"[".repeat(100)}`, ["nested too deeply"]],
    ["name: [", ["1:8 "]],
    ["name: 'a' 'b'", ["a quoted text follows another"]],
    ["\tname: a", ["1:1 Tabs are not allowed as indentation"]],
    ["x".repeat(262_145), ["a policy is at most 262144 bytes"]],
    ["€".repeat(90_000), ["a policy is at most 262144 bytes"]],
  ];
  test.each(mistakes.map(([text, parts]) => ({ shown: JSON.stringify(text).slice(0, 80), text, parts })))("$shown", ({ text, parts }) => {
    const issues = refused(text).join("\n");
    for (const part of parts) expect(issues).toContain(part);
  });

  test("all mistakes are told at once, in the order of the text", () => {
    expect(refused("version: 3\nbudgets:\n  sesion: 1\n  run: 0x1\nrules: []\nname: a\nname: b").map((line) => line.split(" ").slice(0, 2))).toEqual([
      ["/version", "1:10"],
      ["/budgets/sesion", "3:3"],
      ["/budgets/run", "4:8"],
      ["/rules", "5:1"],
      ["/name", "7:1"],
    ]);
  });

  test("no more than a hundred are told", () => {
    expect(refused(Array.from({ length: 500 }, (_, i) => `k${i}: 1`).join("\n"))).toHaveLength(100);
    expect(refused("a: 1\n".repeat(500))).toHaveLength(100);
  });

  test("a pointer is escaped as RFC 6901 says", () => {
    expect(refused("budgets: { actions: { 'http://x': -1 } }")[0]).toContain("/budgets/actions/http:~1~1x 1:35 ");
  });
});

describe("JSON", () => {
  const mistakes: [string, string][] = [
    ["{", "1:2 the text is not JSON"],
    ['{"version": }', "1:13 the text is not JSON"],
    ['{\n  "version": 1,\n}', "3:1 the text is not JSON"],
    ['{"version": 1} x', "1:16 the text is not JSON"],
    ["version: 1", "1:1 the text is not JSON"],
    ['{"name": "a",\n "name": "b"}', '/name 2:2 "name" is written twice'],
    ['{"budgets": {\n\t"sesion": 1}}', '/budgets/sesion 2:2 "sesion" is not known here; did you mean "session"?'],
    ['{"allowed_actions": null}', "/allowed_actions 1:21 wanted a list"],
    ['{"budgets": {"session": 0.1000000000000000055}}', "/budgets/session 1:25 wanted a number that can be carried exactly"],
    ['{"concurrency": {"__proto__": 1}}', "/concurrency/__proto__ 1:18 __proto__ cannot be a key"],
    [`${"[".repeat(130_000)}${"]".repeat(130_000)}`, "nested too deeply"],
  ];
  test.each(mistakes.map(([text, start]) => ({ shown: text.slice(0, 60), text, start })))("$shown is refused", ({ text, start }) => {
    expect(refused(text, "json").join("\n")).toContain(start);
  });

  test("means what the same YAML means, however it is laid out", () => {
    const policy = { name: 'ä \u{1F600} / "q"', budgets: { session: 0.1, actions: { "a:b/c": 1 } }, denied_actions: ["*", "x"] };
    for (const space of ["", "  ", "\t"]) expect(parsed(JSON.stringify(policy, null, space), "json")).toEqual(parsed(JSON.stringify(policy), "yaml"));
    expect(parsed('{"name":"\\ud83d\\ude00\\/"}', "json").name).toBe("\u{1F600}/");
  });
});

describe("warnings", () => {
  test.each<[string, string[]]>([
    ["denied_actions: [a]\nbudgets: { session: 1, run: 0.5 }", []],
    ["version: 1", [" 1:1 the policy limits nothing"]],
    ["strict_mode: false\ndenied_actions: [a]", ["/strict_mode 1:14 the policy only observes"]],
    ["allowed_actions: []", ["/allowed_actions 1:18 no action is allowed"]],
    ["denied_actions: [x]\napprovals: { tags: [] }", ["/approvals 2:12 approvals names nothing"]],
    ["denied_actions: [b, a,\n a]", ['/denied_actions/2 2:2 "a" is in the list twice']],
    ["approvals: { tags: [t, t] }", ['/approvals/tags/1 1:24 "t" is in the list twice']],
    ["denied_actions: ['b*']\nallowed_actions: [a, bc]", ['/allowed_actions/1 2:22 never allowed: denied_actions has "b*"']],
    [
      "allowed_actions: ['c*']\nbudgets: { actions: { d: 1, ce: 1, 'x*': 1 } }",
      ['/budgets/actions/d 2:26 in vain: allowed_actions does not name "d"'],
    ],
    ["denied_actions: ['d*']\nconcurrency: { dd: 1 }", ['/concurrency/dd 2:20 in vain: denied_actions names "dd"']],
    ["budgets: { session: 1, run: 2 }", ["/budgets/run 1:29 out of reach"]],
  ])("%s", (text, starts) => {
    const warnings = warned(text);
    expect(warnings).toHaveLength(starts.length);
    for (const [index, start] of starts.entries()) expect(warnings[index]).toContain(start);
  });
});

describe("a policy's identity", () => {
  test("is that of its meaning, not of its text", () => {
    const yaml =
      "# who wrote this\nallowed_actions: [b, a, b]\nbudgets: { session: 5.0 }\nrate_limits: { x: { window_seconds: 60, max_count: 1, per: session } }";
    const json =
      '{"version":1,"strict_mode":true,"rate_limits":{"x":[{"max_count":1,"window_seconds":60}]},"budgets":{"on_expiry":"post","session":"5"},"allowed_actions":["a","b"]}';
    expect(policyDigest(sha256, parsed(yaml))).toBe(policyDigest(sha256, parsed(json, "json")));
    expect(policyDigest(sha256, parsed(json, "json"))).toBe(`sha-256:${sha256(canonicalJson(parsed(json, "json")))}`);
    expect(policyDigest(sha256, parsed("allowed_actions: []"))).not.toBe(policyDigest(sha256, parsed("version: 1")));
  });

  test("a document is a JSON value", () => {
    const value: JsonValue = parsed("name: a");
    expect(value).toEqual({ version: 1, name: "a", strict_mode: true });
  });
});

describe("reading a stored document", () => {
  test("gives the document back", () => {
    const document = parsed(
      "name: a\nallowed_actions: ['a*', b]\nalso_allowed_actions: [['*b']]\nrate_limits: { a: { max_count: 1, window_seconds: 1 } }\napprovals: { threshold_usd: 0 }",
    );
    expect(readPolicy(JSON.parse(canonicalJson(document)))).toEqual({ ok: true, value: document });
    expect(parsed(canonicalJson(document), "json")).toEqual(document);
  });

  test.each([
    [undefined],
    [null],
    [5],
    [{}],
    [[]],
    [{ version: 2 }],
    [{ version: 1, rules: [] }],
    [{ version: 1, allowed_actions: null }],
    [JSON.parse('{"version":1,"concurrency":{"__proto__":1}}')],
  ])("refuses %j", (document) => {
    expect(readPolicy(document).ok).toBe(false);
  });

  test("does not count again what the gateway merged from good policies", () => {
    const denied_actions = Array.from({ length: 20_000 }, (_, i) => `a${i}`);
    expect(readPolicy({ denied_actions }).ok).toBe(true);
  });
});

describe("arbitrary text", () => {
  const words = fc.constantFrom(
    "budgets",
    "denied_actions",
    ": ",
    "\n",
    "  ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "*",
    "&a ",
    "*a",
    "'",
    '"',
    "#",
    "1",
    "null",
    "|",
    ">",
    "? ",
    "!",
    "%",
    "---\n",
    "<<",
    "\t",
    "é",
  );
  test("never makes the parser throw, and what it accepts reads back the same", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.array(words, { maxLength: 40 }).map((parts) => parts.join("")),
        ),
        fc.constantFrom("yaml" as const, "json" as const),
        (text, format) => {
          const result = parsePolicy(text, format);
          if (result.ok) expect(readPolicy(JSON.parse(canonicalJson(result.value.document)))).toEqual({ ok: true, value: result.value.document });
          else expect(result.error.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("any JSON value is answered, and the same however it is laid out", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const outcome = (space: string) => {
          const result = parsePolicy(JSON.stringify(value, null, space), "json");
          return result.ok ? result.value.document : result.error.map(({ pointer, message }) => ({ pointer, message }));
        };
        expect(outcome("\t")).toEqual(outcome("  "));
        expect(readPolicy(value)).toBeDefined();
      }),
    );
  });

  test.each([
    ["open brackets", "[".repeat(262_144)],
    ["matched brackets", "[".repeat(131_072) + "]".repeat(131_072)],
    ["open mappings", "{a: ".repeat(60_000)],
    ["nested lists", "- ".repeat(131_072)],
    ["nested keys", "? ".repeat(131_072)],
    ["closing brackets", "]".repeat(262_144)],
    ["braces", "{}".repeat(131_072)],
    ["commas", `[${",".repeat(262_000)}`],
    ["anchors", "&a ".repeat(87_000)],
    ["quotes", '"'.repeat(262_144)],
    ["documents", "---\n".repeat(65_000)],
  ])("262,144 characters of %s are refused at once", (_, text) => {
    expect(refused(text)).toHaveLength(1);
  });
});

test("the JSON Schema is a 2020-12 schema that describes every member and refuses others", () => {
  const schema = JSON.parse(JSON.stringify(policyJsonSchema()));
  expect(schema.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
  expect(schema.title).toBe("AgentSentinel policy");
  expect(schema.additionalProperties).toBe(false);
  expect(schema.required ?? []).toEqual([]);
  for (const section of [schema, schema.properties.budgets, schema.properties.approvals]) {
    for (const [name, member] of Object.entries<{ description?: string }>(section.properties)) expect(member.description, name).toBeTruthy();
  }
  expect(schema.properties.budgets.properties.session.type).toEqual(["string", "number"]);
  expect(schema.properties.denied_actions.maxItems).toBe(10_000);
});
