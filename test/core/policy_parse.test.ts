import { createHash } from "node:crypto";
import fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, test, vi } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { patternFault } from "../../src/core/policy/arguments_patterns.ts";
import { MOST_REGEX_INSTRUCTIONS, roomOf, sizeOf } from "../../src/core/policy/authored.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import { parsePolicy, readPolicy } from "../../src/core/policy/parse.ts";
import { formatPath, parsePath } from "../../src/core/policy/paths.ts";
import { instructionsAtMost } from "../../src/core/policy/regex_bound.ts";
import { policyJsonSchema } from "../../src/core/policy/schema.ts";
import { readText } from "../../src/core/policy/text.ts";
import { checkExpression } from "./expression_fault.ts";

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

/** The document that explains the language, as it stands there. */
const EXAMPLE = `
version: 1
name: support-bots
strict_mode: true            # true: enforce. false: warn, i.e. every rule observes only; the record says what would have happened
budgets:
  session: 5.0               # per session
  run: 1.0                   # per run
  actions: { expensive_llm: 0.50, "db.*": 0.10 }       # cumulative per session and action (a glob is one shared account)
  agent:  { hour: 10, day: 50 }                        # across all sessions of an agent; windows: hour day month, UTC
  tenant: { day: 500, month: 5000 }
  on_expiry: post            # or release
  default_price: deny        # an estimate that names a model without a known price: deny, or a USD amount
  alerts: [0.5, 0.8, 0.95]   # budget.threshold events, once per crossing, again after each reset
denied_actions: [delete_database, "fs.rm*"]
allowed_actions: [search_web, "crm.*"]                  # absent: all; []: none
rate_limits:
  send_email: { max_count: 10, window_seconds: 60 }                      # per session
  "llm.*":    { max_count: 1000, window_seconds: 60, per: agent }        # or run, tenant
concurrency: { "browser.*": 3 }                         # reservations pending at once
loops: { threshold: 5, window_seconds: 10, ignore: ["inputs.cursor"] }   # the 5th call of one action with the same inputs digest is denied
retries: { threshold: 8, window_seconds: 60 }           # after 8 failures of one action, whatever its inputs, it is denied until the window has moved on
requires:
  issue_refund: { after: [lookup_order], within_seconds: 600, same: ["inputs.order_id"] }
  cancel_reservation:                                   # looks at what the earlier action returned (its committed outputs)
    after: [get_reservation_details]
    same: ["inputs.reservation_id"]
    where: "prior.outputs.cabin == 'business' || prior.outputs.insurance == 'yes'"
history:                                                # count, distinct, sum over this session's past decisions
  - { id: exfil, forbid: "post_*", when: "count('read_customers', 3600) > 0" }
approvals:
  actions: [send_money]
  tags: [production]
  risk_levels: [high, critical]
  threshold_usd: 1.00
  timeout_seconds: 3600
  quorum: 1
  approvers: { subjects: [], scopes: [] }
rules:
  - { id: own-orders, effect: permit, actions: ["order.*"], when: "resource.owner == subject.id" }
  - { id: no-prod, effect: forbid, actions: ["db.*"], when: "inputs.env == 'prod'", mode: observe }
  - { id: big, effect: hold, actions: ["*"], when: "estimate_usd > 0.5" }
  - { id: stop-it, effect: forbid, actions: ["shell.*"], when: "inputs.cmd.contains('rm -rf')", stops: run }
arguments:
  send_email: { required: [to], properties: { to: { type: string, pattern: ".+@corp\\\\.example$" } } }    # JSON Schema
redact: { store_inputs: full, keys: [password, api_key], detect: [email, credit_card, private_key] }      # or digest, none
compliance: { risk_level: high_risk, system: support-bot, oversight: named-team }
wind_down: { actions: [save_state, notify_user], budget: 0.05 }   # still allowed, from their own small reserve, after a budget is gone
`;

const warned = (text: string): string[] => {
  const result = parsePolicy(text, "yaml");
  return result.ok ? result.value.warnings.map(({ pointer, line, column, message }) => `${pointer} ${line}:${column} ${message}`) : ["refused"];
};

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
    ["budgets: { default_price: deny }", { budgets: { on_expiry: "post", default_price: "deny" } }],
    ["budgets: { default_price: 0.50 }", { budgets: { on_expiry: "post", default_price: "0.5" } }],
    ["budgets: { alerts: [0.95, 0.5, 1, 0.000001, 0.5] }", { budgets: { on_expiry: "post", alerts: [0.000001, 0.5, 0.95, 1] } }],
    ["budgets: { alerts: [] }", { budgets: { on_expiry: "post" } }],
    [
      "rate_limits: { a: [{ max_count: 9, window_seconds: 60, per: run }, { max_count: 5, window_seconds: 60 }, { max_count: 7, window_seconds: 60, per: run }, { max_count: 1, window_seconds: 1, per: run }] }",
      {
        rate_limits: {
          a: [
            { max_count: 1, window_seconds: 1, per: "run" },
            { max_count: 5, window_seconds: 60 },
            { max_count: 7, window_seconds: 60, per: "run" },
          ],
        },
      },
    ],
    ["approvals: { quorum: 3 }", { approvals: { timeout_seconds: 3600, quorum: 3 } }],
    ["approvals: { approvers: { subjects: [], scopes: [] } }", { approvals: { timeout_seconds: 3600 } }],
    ["approvals: { approvers: [] }", { approvals: { timeout_seconds: 3600 } }],
    [
      "approvals: { approvers: [{ subjects: [b, a, b] }, {}, { scopes: [s], subjects: [] }, { subjects: [a, b] }] }",
      { approvals: { timeout_seconds: 3600, approvers: [{ scopes: ["s"] }, { subjects: ["a", "b"] }] } },
    ],
    ["loops: { threshold: 5, window_seconds: 10 }", { loops: [{ threshold: 5, window_seconds: 10 }] }],
    ["loops: []\nretries: []\nrequires: {}\nhistory: []\nrules: []\narguments: {}", {}],
    [
      "loops: [{ threshold: 5, window_seconds: 10, ignore: ['inputs[\"b\"]', inputs.a, inputs.b] }, { threshold: 9, window_seconds: 1, ignore: [] }, { threshold: 3, window_seconds: 10, ignore: [inputs.a, inputs.b] }, { threshold: 4, window_seconds: 10 }]",
      {
        loops: [
          { threshold: 9, window_seconds: 1 },
          { threshold: 3, window_seconds: 10, ignore: ["inputs.a", "inputs.b"] },
          { threshold: 4, window_seconds: 10 },
        ],
      },
    ],
    ["retries: { threshold: 8, window_seconds: 60 }", { retries: [{ threshold: 8, window_seconds: 60 }] }],
    [
      "retries: [{ threshold: 8, window_seconds: 60 }, { threshold: 2, window_seconds: 60 }, { threshold: 1, window_seconds: 0.5 }]",
      {
        retries: [
          { threshold: 1, window_seconds: 0.5 },
          { threshold: 2, window_seconds: 60 },
        ],
      },
    ],
    [
      "requires: { issue_refund: { after: [lookup_order], within_seconds: 600, same: ['inputs.order_id'] } }",
      { requires: { issue_refund: [{ after: ["lookup_order"], within_seconds: 600, same: ["inputs.order_id"] }] } },
    ],
    [
      "requires: { 'a*': [{ after: [c, b, c], same: [resource.type, resource, resource.id, 'inputs[\"odd name\"].x'] }, { after: [b], where: prior.outputs.ok == true }] }",
      {
        requires: {
          "a*": [
            { after: ["b", "c"], same: ['inputs["odd name"].x', "resource", "resource.id", "resource.type"] },
            { after: ["b"], where: "prior.outputs.ok == true" },
          ],
        },
      },
    ],
    [
      `history: [{ id: exfil, forbid: "post_*", when: "count('read_customers', 3600) > 0" }, { forbid: [b, a, b], when: 'true', mode: warn, stops: run }]`,
      {
        history: [
          { id: "exfil", forbid: ["post_*"], when: "count('read_customers', 3600) > 0", mode: "enforce", stops: "action" },
          { forbid: ["a", "b"], when: "true", mode: "warn", stops: "run" },
        ],
      },
    ],
    [
      "rules: [{ id: z, effect: permit, actions: [b, a] }, { id: a, effect: forbid, actions: ['*'], when: action == 'x', mode: observe }, { effect: forbid, actions: [c], stops: session }, { effect: hold, actions: [c], mode: warn }, { effect: permit, actions: [c], group: g/1 }]",
      {
        rules: [
          { id: "z", effect: "permit", actions: ["a", "b"], mode: "enforce" },
          { id: "a", effect: "forbid", actions: ["*"], when: "action == 'x'", mode: "observe", stops: "action" },
          { effect: "forbid", actions: ["c"], mode: "enforce", stops: "session" },
          { effect: "hold", actions: ["c"], mode: "warn" },
          { effect: "permit", actions: ["c"], mode: "enforce", group: "g/1" },
        ],
      },
    ],
    [
      "rules:\n  - effect: hold\n    actions: [a]\n    when: |\n      inputs.a > 1 &&\n      inputs.b > 2\n",
      { rules: [{ effect: "hold", actions: ["a"], when: "inputs.a > 1 &&\ninputs.b > 2\n", mode: "enforce" }] },
    ],
    [
      "arguments: { send_email: { required: [to], properties: { to: { type: string } } }, 'b*': [true, { minProperties: -0 }] }",
      {
        arguments: {
          send_email: [{ required: ["to"], properties: { to: { type: "string" } } }],
          "b*": [true, { minProperties: 0 }],
        },
      },
    ],
    ["redact: {}", { redact: { store_inputs: "full", store_outputs: "full" } }],
    ["redact: { store_inputs: digest }", { redact: { store_inputs: "digest", store_outputs: "digest" } }],
    ["redact: { store_outputs: none, keys: [], detect: [] }", { redact: { store_inputs: "full", store_outputs: "none", keys: [], detect: [] } }],
    [
      "redact: { keys: [Password, api_key, PASSWORD], detect: [token, email, private_key, credit_card, email] }",
      {
        redact: {
          store_inputs: "full",
          store_outputs: "full",
          keys: ["api_key", "password"],
          detect: ["email", "credit_card", "private_key", "token"],
        },
      },
    ],
    [
      "wind_down: { actions: [save_state, notify_user, save_state], budget: 0.050 }",
      { wind_down: { actions: ["notify_user", "save_state"], budget: "0.05" } },
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

describe("what sessions share", () => {
  test.each([
    ["budgets: { agent: { hour: 10, day: 50 } }", { agent: { hour: "10", day: "50" } }],
    ["budgets: { tenant: { month: 5000, day: 500.5, total: '7' } }", { tenant: { day: "500.5", month: "5000", total: "7" } }],
    ["budgets: { agent: 3 }", { agent: { total: "3" } }],
    ["budgets: { agent: {}, session: 1 }", { session: "1" }],
  ])("%s", (text, members) => {
    expect(parsed(text).budgets).toEqual({ on_expiry: "post", ...members });
  });

  test.each(["agent", "tenant"] as const)("rates may be per %s", (per) => {
    expect(parsed(`rate_limits: { a: { max_count: 1, window_seconds: 1, per: ${per} } }`).rate_limits).toEqual({
      a: [{ max_count: 1, window_seconds: 1, per }],
    });
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
    [
      "rate_limits: { a: { max_count: 1, window_seconds: 1, per: hour } }",
      ['/rate_limits/a/per 1:59 wanted "session", "run", "agent" or "tenant", found "hour"'],
    ],
    ["budgets: { agent: { hours: 1 } }", ['/budgets/agent/hours 1:21 "hours" is not known here; did you mean "hour"?']],
    ["budgets: { tenant: { week: 1 } }", ['/budgets/tenant/week 1:22 "week" is not known here; wanted one of hour, day, month, total']],
    ["budgets: { tenant: { day: -1 } }", ["/budgets/tenant/day 1:27 ", "found -1"]],
    ["budgets: { agent: [1] }", ["/budgets/agent 1:19 wanted USD amounts by window (hour, day, month, total), or one amount in all"]],
    ["budgets: { default_price: allow }", ["/budgets/default_price 1:27 ", 'found "allow"']],
    ["budgets: { default_price: -1 }", ["/budgets/default_price 1:27 ", "found -1"]],
    ["budgets: { default_price: }", ["/budgets/default_price 1:", 'wanted "deny" or a USD amount, found nothing']],
    ["budgets: { alerts: 0.5 }", ["/budgets/alerts 1:20 wanted a list of fractions of a limit, found 0.5"]],
    ["budgets: { alerts: [0] }", ["/budgets/alerts/0 1:21 wanted a fraction above 0 and at most 1, with at most six decimals, found 0"]],
    ["budgets: { alerts: [0.5, 1.01] }", ["/budgets/alerts/1 1:26 wanted a fraction", "found 1.01"]],
    ["budgets: { alerts: [0.1234567] }", ["/budgets/alerts/0 1:21 wanted a fraction", "found 0.1234567"]],
    ["budgets: { alerts: ['0.5'] }", ["/budgets/alerts/0 1:21 wanted a fraction", 'found "0.5"']],
    [`budgets: { alerts: [${"0.5,".repeat(17)}] }`, ["/budgets/alerts 1:20 wanted at most 16 fractions, found a list of 17"]],
    ["budgets: { alert: [0.5] }", ['did you mean "alerts"?']],
    ["budgets: { defaultprice: deny }", ['did you mean "default_price"?']],
    ["loops: 5", ["/loops 1:8 wanted threshold and window_seconds, or a list of such loops, found 5"]],
    ["loops: { threshold: 1, window_seconds: 1 }", ["/loops/threshold 1:21 wanted a whole number from 2 to 10000, found 1"]],
    ["loops: { threshold: 10001, window_seconds: 1 }", ["/loops/threshold 1:21 ", "found 10001"]],
    ["loops: { threshold: 5 }", ["/loops/window_seconds 1:1 wanted a number of seconds", "it is missing"]],
    ["loops: [{ threshold: 5, window_seconds: -10 }]", ["/loops/0/window_seconds 1:41 wanted a number of seconds", "found -10"]],
    [
      "loops: { threshold: 5, window_seconds: 1, ignore: [resource.id] }",
      ["/loops/ignore/0 1:52 wanted a path under the inputs, such as inputs.cursor"],
    ],
    ["loops: { threshold: 5, window_seconds: 1, ignore: [inputs] }", ["/loops/ignore/0 1:52 wanted a path under the inputs"]],
    ["loops: { threshold: 5, window_seconds: 1, ignore: inputs.a }", ["/loops/ignore 1:51 wanted a list of paths"]],
    ["loops: { threshold: 5, window_seconds: 1, ignor: [] }", ['/loops/ignor 1:43 "ignor" is not known here; did you mean "ignore"?']],
    [`loops: [${"{ threshold: 5, window_seconds: 1 },".repeat(17)}]`, ["/loops 1:8 wanted 0 to 16 loops, found a list of 17"]],
    ["loops:", ["/loops 1:", "found nothing"]],
    ["retries: { threshold: 0, window_seconds: 1 }", ["/retries/threshold 1:23 wanted a whole number from 1 to 10000, found 0"]],
    ["retries: [{ threshold: 1, window: 1 }]", ['/retries/0/window 1:27 "window" is not known here; wanted one of threshold, window_seconds']],
    ["retries: [{ threshold: 1, window_second: 1 }]", ['/retries/0/window_second 1:27 "window_second"', 'did you mean "window_seconds"?']],
    ["retries: { threshold: 1, window_seconds: 1, ignore: [inputs.a] }", ['/retries/ignore 1:45 "ignore" is not known here']],
    ["requires: [a]", ["/requires 1:11 wanted a requirement per action's name or glob, found a list of 1"]],
    ["requires: { a: b }", ["/requires/a 1:16 wanted after, the actions that must come before, or a list of such requirements", 'found "b"']],
    ["requires: { a: [] }", ["/requires/a 1:16 wanted 1 to 16 requirements, found an empty list"]],
    ["requires: { a: {} }", ["/requires/a/after 1:13 wanted a list of action names and globs, but it is missing"]],
    ["requires: { a: { after: [] } }", ["/requires/a/after 1:25 wanted at least one action name or glob, found an empty list"]],
    ["requires: { a: { after: [b], within_seconds: -1 } }", ["/requires/a/within_seconds 1:46 wanted a number of seconds", "found -1"]],
    ["requires: { a: { after: [b], same: [output.x] } }", ["/requires/a/same/0 1:37 wanted a path such as inputs.order_id", 'found "output.x"']],
    ["requires: { a: { after: [b], same: [resource.owner] } }", ["/requires/a/same/0 1:37 wanted a path such as inputs.order_id"]],
    ["requires: { a: { after: [b], same: [resource.id.x] } }", ["/requires/a/same/0 1:37 "]],
    ["requires: { a: { after: [b], same: [inputs] } }", ["/requires/a/same/0 1:37 "]],
    ["requires: { a: { after: [b], same: ['inputs..x'] } }", ["/requires/a/same/0 1:37 "]],
    [
      "requires: { a: { after: [b], where: '' } }",
      ["/requires/a/where 1:37 wanted what must hold of the earlier action, a condition in CEL of 1 to 4096 characters"],
    ],
    ["requires: { a: { after: [b], where: prior.outputs.x + } }", ["/requires/a/where 1:5"]],
    [
      "requires: { a: [{ after: [b] }, { after: [b], withinseconds: 5 }] }",
      ['/requires/a/1/withinseconds 1:47 "withinseconds"', 'did you mean "within_seconds"?'],
    ],
    [
      `requires:\n${Array.from({ length: 1001 }, (_, i) => `  a${i}: { after: [b] }\n`).join("")}`,
      ["/requires 2:3 wanted at most 1000 requirements, found 1001"],
    ],
    ["history: { forbid: a }", ["/history 1:10 wanted a list of rules with forbid and when, found a mapping"]],
    ["history: [{ when: 'true' }]", ["/history/0/forbid 1:11 wanted an action's name or a glob, or a list of such patterns, but it is missing"]],
    ["history: [{ forbid: a }]", ["/history/0/when 1:11 wanted when it forbids, a condition in CEL", "but it is missing"]],
    ["history: [{ forbid: [], when: 'true' }]", ["/history/0/forbid 1:21 wanted 1 to 1000 patterns, found an empty list"]],
    ["history: [{ forbid: a, when: true }]", ["/history/0/when 1:30 wanted when it forbids, a condition in CEL of 1 to 4096 characters, found true"]],
    ["history: [{ forbid: a, when: 'true', mode: off }]", ['/history/0/mode 1:44 wanted "enforce", "warn" or "observe", found "off"']],
    ["history: [{ forbid: a, when: 'true', stops: tenant }]", ['/history/0/stops 1:45 wanted "action", "run" or "session", found "tenant"']],
    ["history: [{ forbid: a, whn: 'true' }]", ['/history/0/whn 1:24 "whn" is not known here; did you mean "when"?']],
    ["history: [{ forbid: a, when: 'count(5) > 0' }]", ["/history/0/when 1:3"]],
    ["rules: forbid", ['/rules 1:8 wanted a list of rules with effect and actions, found "forbid"']],
    ["rules: [forbid]", ['/rules/0 1:9 wanted a rule with effect and actions, found "forbid"']],
    ["rules: [{ actions: [a] }]", ['/rules/0/effect 1:9 wanted "permit", "forbid" or "hold", but it is missing']],
    ["rules: [{ effect: deny, actions: [a] }]", ['/rules/0/effect 1:19 wanted "permit", "forbid" or "hold", found "deny"']],
    ["rules: [{ effect: forbid }]", ["/rules/0/actions 1:9 wanted a list of action names and globs, but it is missing"]],
    ["rules: [{ effect: forbid, actions: [] }]", ["/rules/0/actions 1:36 wanted at least one action name or glob, found an empty list"]],
    ["rules: [{ effect: forbid, actions: [a b] }]", ["/rules/0/actions/0 1:37 wanted an action's name or a glob"]],
    [`rules: [{ effect: forbid, actions: ['${"*".repeat(1000)}'] }]`, ["/rules/0/actions/0 1:37 "]],
    [`rules: [{ effect: forbid, actions: [${"a,".repeat(1001)}] }]`, ["/rules/0/actions 1:36 wanted at most 1000 patterns, found a list of 1001"]],
    [
      "rules: [{ effect: permit, actions: [a], stops: run }]",
      ['/rules/0/stops 1:48 only a rule that forbids stops anything; this one\'s effect is "permit"'],
    ],
    ["rules: [{ effect: hold, actions: [a], stops: action }]", ["/rules/0/stops 1:46 only a rule that forbids stops anything"]],
    [
      "rules: [{ effect: forbid, actions: [a], group: g }]",
      ['/rules/0/group 1:48 only rules that permit are grouped; this one\'s effect is "forbid"'],
    ],
    ["rules: [{ effect: forbid, actions: [a], id: a b }]", ["/rules/0/id 1:45 wanted an id: 1 to 128 letters, digits, _ - . : /", 'found "a b"']],
    [`rules: [{ effect: forbid, actions: [a], id: ${"x".repeat(129)} }]`, ["/rules/0/id 1:45 wanted an id"]],
    ["rules: [{ efect: forbid, actions: [a] }]", ['/rules/0/efect 1:11 "efect" is not known here; did you mean "effect"?']],
    [
      "rules:\n- { id: a, effect: hold, actions: [a] }\n- { id: a, effect: hold, actions: [b] }",
      ['/rules/1/id 3:9 "a" is the id of /rules/0 already'],
    ],
    [
      "history: [{ id: a, forbid: x, when: 'true' }]\nrules: [{ id: a, effect: hold, actions: [b] }]",
      ['/history/0/id 1:17 "a" is the id of /rules/0 already'],
    ],
    ["rules: [{ effect: hold, actions: [a], when: inputs.x > }]", ["/rules/0/when 1:5"]],
    ['rules: [{ effect: hold, actions: [a], when: "1 + 1" }]', ["/rules/0/when 1:46 "]],
    [
      `rules: [{ effect: hold, actions: [a], when: "${"x".repeat(4097)}" }]`,
      ["/rules/0/when 1:45 wanted when the rule holds, a condition in CEL of 1 to 4096"],
    ],
    ['rules: [{ effect: hold, actions: [a], when: "a\\u0000" }]', ["/rules/0/when 1:45 wanted when the rule holds"]],
    [
      `rules:\n${"- &r { effect: hold, actions: [a] }\n".repeat(12_000)}history:\n${"- { forbid: a, when: 'true' }\n".repeat(8_001)}`,
      ["/rules 2:1 wanted at most 20000 rules, those of history among them, found 20001"],
    ],
    [
      `rules:\n${"- { effect: hold, actions: [a] }\n".repeat(8_001)}history:\n${"- { forbid: a, when: 'true' }\n".repeat(12_000)}`,
      ["/history 8004:1 wanted at most 20000 rules, those of history among them, found 20001"],
    ],
    [`rules:\n${"- {effect: hold, actions: [a]}\n".repeat(20_001)}`, ["/rules 2:1 wanted at most 20000 rules, found a list of 20001"]],
    [
      `rules:\n- { effect: hold, actions: &a [${"a,".repeat(1000)}] }\n${"- { effect: hold, actions: *a }\n".repeat(50)}`,
      ["/rules 2:1 wanted at most 50000 action names and globs in all rules together, found 51000"],
    ],
    ["arguments: { a: 5 }", ["/arguments/a 1:17 wanted a JSON Schema: a mapping, or true or false, or a list of such schemas, found 5"]],
    ["arguments: { a: [] }", ["/arguments/a 1:17 wanted 1 to 16 schemas, found an empty list"]],
    ["arguments: { a: [{}, x] }", ['/arguments/a/1 1:22 wanted a JSON Schema: a mapping, or true or false, found "x"']],
    ["arguments: { 'a b': {} }", ["/arguments/a b 1:14 wanted an action's name or a glob"]],
    ["arguments: { a: { minimum: .nan } }", ["/arguments/a/minimum 1:28 wanted a number in decimal digits, found .nan"]],
    [`arguments: { a: { description: "${"x".repeat(70_000)}" } }`, ["/arguments/a 1:17 wanted a JSON Schema of at most 65536 characters of JSON"]],
    [
      `arguments:\n  a: &a { not: { not: { not: { not: { not: { not: {} } } } } } }\n${Array.from({ length: 6 }, (_, i) => `  a${i}: &a${i} { not: { not: { not: { not: { not: *a${i === 0 ? "" : i - 1} } } } } }\n`).join("")}`,
      ["/arguments/a5", "wanted a JSON Schema of plain JSON values, at most 32 levels deep"],
    ],
    [`arguments:\n${Array.from({ length: 1001 }, (_, i) => `  a${i}: true\n`).join("")}`, ["/arguments 2:3 wanted at most 1000 schemas, found 1001"]],
    [
      `arguments:\n  a: &a [${`{ description: "${"x".repeat(30_000)}" },`.repeat(16)}]\n${Array.from({ length: 90 }, (_, i) => `  a${i}: *a\n`).join("")}`,
      [" 1:1 the policy is too large: with its aliases and defaults written out it may have 1800000 bytes of JSON"],
    ],
    ["redact: full", ['/redact 1:9 wanted the members store_inputs, store_outputs, keys, detect, found "full"']],
    ["redact: { store_inputs: hash }", ['/redact/store_inputs 1:25 wanted "full", "digest" or "none", found "hash"']],
    ["redact: { store_outputs: some }", ['/redact/store_outputs 1:26 wanted "full", "digest" or "none", found "some"']],
    ["redact: { detect: [emails] }", ['/redact/detect/0 1:20 wanted one of email, credit_card, private_key, token, found "emails"']],
    ["redact: { keys: [5] }", ["/redact/keys/0 1:18 wanted a member's name, found 5"]],
    ["redact: { detects: [email] }", ['did you mean "detect"?']],
    ["wind_down: { actions: [a] }", ["/wind_down/budget 1:1 wanted a USD amount, but it is missing"]],
    ["wind_down: { budget: 1 }", ["/wind_down/actions 1:1 wanted a list of action names and globs, but it is missing"]],
    ["wind_down: { actions: [], budget: 1 }", ["/wind_down/actions 1:23 wanted at least one action name or glob"]],
    ["wind_down: { actions: [a], budget: .nan }", ["/wind_down/budget 1:36 wanted a number in decimal digits, found .nan"]],
    ["wind_down: { action: [a], budget: 1 }", ['did you mean "actions"?']],
    ["approvals: { quorum: 21 }", ["/approvals/quorum 1:22 wanted a whole number from 1 to 20, found 21"]],
    ["approvals: { approvers: ann }", ['/approvals/approvers 1:25 wanted subjects or scopes, or a list of such groups, found "ann"']],
    ["approvals: { approvers: { subjects: ann } }", ['/approvals/approvers/subjects 1:37 wanted a list of subjects, found "ann"']],
    ["approvals: { approvers: [{ scope: [x] }] }", ['/approvals/approvers/0/scope 1:28 "scope" is not known here; did you mean "scopes"?']],
    [`also_allowed_actions: [[${"a,".repeat(101)}]]`, ["/also_allowed_actions 1:23 wanted at most 100 patterns in all lists together, found 101"]],
    ["concurrency: { a: 100001 }", ["/concurrency/a 1:19 wanted a whole number from 0 to 100000, found 100001"]],
    ["concurrency: { a: '1' }", ["/concurrency/a 1:19 wanted a whole number", 'found "1"']],
    ["approvals: { risk_levels: [severe] }", ['/approvals/risk_levels/0 1:28 wanted low, medium, high or critical, found "severe"']],
    ["approvals: { tags: [5] }", ["/approvals/tags/0 1:21 wanted a tag, found 5"]],
    ["approvals: { timeout_seconds: 0 }", ["/approvals/timeout_seconds 1:31 ", "found 0"]],
    ["approvals: { timeout_seconds: 2592001 }", ["/approvals/timeout_seconds 1:31 ", "found 2592001"]],
    ["approvals: { quorum: 0 }", ["/approvals/quorum 1:22 wanted a whole number from 1 to 20, found 0"]],
    ["compliance: { a: 5 }", ["/compliance/a 1:18 wanted a text", "found 5"]],
    ["compliance: { 'a b': x }", ["/compliance/a b 1:15 wanted a key"]],
    ["name: a\nname: b", ['/name 2:1 "name" is written twice']],
    ["budgets: { actions: { a: 1, a: 2 } }", ['/budgets/actions/a 1:29 "a" is written twice']],
    ["concurrency: { 404: 1 }", ["/concurrency 1:16 wanted a text as key"]],
    ["concurrency: { ? [a] : 1 }", ["/concurrency 1:", "wanted a text as key"]],
    ["budgets: { actions: { 1: 5 } }", ["/budgets/actions 1:23 wanted a text as key"]],
    ["budgets: { actions: { true: 5 } }", ["/budgets/actions 1:23 wanted a text as key"]],
    ["<<: { name: a }", ["/<< 1:1 merge keys are not read here"]],
    ["concurrency: { __proto__: 1 }", ["/concurrency/__proto__ 1:16 __proto__ cannot be a key"]],
    ["name: !!str 5", ["1:7 tags are not read here"]],
    ["%YAML 1.1\n---\nname: a", ["1:1 directives are not read here"]],
    ["name: a\n---\nname: b", ["a policy is one document, found a second"]],
    ["name: *b", ["/name 1:7 no anchor &b comes before this alias"]],
    ["denied_actions: &a [*a]", ["/denied_actions/0 1:21 no anchor &a"]],
    [`a: &a x\nb: [${"*a, ".repeat(101)}]`, ["a policy has at most 100 aliases"]],
    [`a: &a [${"x,".repeat(1000)}]\nb: &b [${"*a,".repeat(20)}]\nc: [${"*b,".repeat(20)}]`, ["those that aliases repeat among them"]],
    [`a: ${"[".repeat(100)}`, ["nested too deeply"]],
    ["name: [", ["1:8 "]],
    ["name: 'a' 'b'", ["a quoted text follows another"]],
    ["\tname: a", ["1:1 Tabs are not allowed as indentation"]],
    ["x".repeat(1_048_577), ["a policy is at most 1048576 bytes"]],
    ["€".repeat(360_000), ["a policy is at most 1048576 bytes"]],
  ];
  test.each(mistakes.map(([text, parts]) => ({ shown: JSON.stringify(text).slice(0, 80), text, parts })))(
    "$shown",
    ({ text, parts }) => {
      const issues = refused(text).join("\n");
      for (const part of parts) expect(issues).toContain(part);
    },
    30_000,
  );

  test("all mistakes are told at once, in the order of the text", () => {
    expect(
      refused("version: 3\nbudgets:\n  sesion: 1\n  run: 0x1\nrules: [{ effect: forbid, actions: [a], when: nobody == 1 }]\nname: a\nname: b").map(
        (line) => line.split(" ").slice(0, 2),
      ),
    ).toEqual([
      ["/version", "1:10"],
      ["/budgets/sesion", "3:3"],
      ["/budgets/run", "4:8"],
      ["/rules/0/when", "5:47"],
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

describe("a mistake in a condition", () => {
  const rule = (when: string) => `rules:\n  - { effect: forbid, actions: [a], when: ${when} }`;
  const place = (text: string, format: "yaml" | "json" = "yaml") => refused(text, format).map((issue) => issue.split(" ").slice(0, 2).join(" "));
  test("has the column of what is wrong, where the condition stands in one piece", () => {
    const fault = checkExpression("true && nobody == 1", "rule");
    expect(fault?.offset).toBe(8);
    expect(place(rule("true && nobody == 1"))).toEqual(["/rules/0/when 2:51"]);
    expect(place(rule('"true && nobody == 1"'))).toEqual(["/rules/0/when 2:52"]);
    expect(place(rule("'true && nobody == 1'"))).toEqual(["/rules/0/when 2:52"]);
    expect(place('{"rules":[{"effect":"hold","actions":["a"],"when":"true && nobody == 1"}]}', "json")).toEqual(["/rules/0/when 1:60"]);
    expect(refused(rule("true && nobody == 1"))[0]).toBe(`/rules/0/when 2:51 ${fault?.message}`);
  });

  test("has the condition's own place and says how far in, where it is folded, escaped or stands elsewhere", () => {
    for (const when of ['"true \\x26& nobody == 1"', "'true && nobody\n      == 1'", "|\n      true && nobody == 1"]) {
      const text = when.startsWith("|") ? `rules:\n  - effect: forbid\n    actions: [a]\n    when: ${when}` : rule(when);
      expect(refused(text)[0], text).toContain("(at its character 9)");
    }
    expect(refused(`name: &x nobody == 1\n${rule("*x")}`)[0]).toMatch(/^\/rules\/0\/when 3:43 .*\(at its character 1\)$/);
  });

  test("is told for every rule, in history and in requirements too, and each text is checked for what it may look at", () => {
    const text = [
      "history: [{ forbid: a, when: prior.age > 1 }]",
      "requires: { a: { after: [b], where: \"count('x', 5) > 1\" } }",
      "rules: [{ effect: hold, actions: [a], when: \"count('x', 5) > 1\" }, { effect: hold, actions: [a], when: prior.age > 1 }]",
    ].join("\n");
    expect(place(text).map((issue) => issue.split(" ")[0])).toEqual(["/history/0/when", "/requires/a/where", "/rules/1/when"]);
  });

  test("a hundred of them are told of ten thousand", () => {
    expect(refused(`rules:\n${"- { effect: hold, actions: [a], when: nobody == 1 }\n".repeat(10_000)}`)).toHaveLength(100);
  }, 30_000);
});

test("ten thousand rules with conditions of their own fit into one text", () => {
  const rules = Array.from({ length: 10_000 }, (_, i) => ({ id: `r${i}`, effect: "forbid", actions: [`t.${i}`], when: `inputs.amount > ${i}.5` }));
  expect(parsed(JSON.stringify({ rules }), "json").rules).toHaveLength(10_000);
}, 30_000);

test("a mistake in a schema stands at its place", () => {
  const [issue] = refused("arguments:\n  a: { properties: { to: { type: 5 } } }\n  b: [true, { pattern: '(' }]");
  expect(issue).toMatch(/^\/arguments\/a\/properties\/to\/type 2:34 /);
  expect(refused("arguments:\n  b: [true, { pattern: '(' }]")[0]).toMatch(/^\/arguments\/b\/1\/pattern 2:24 /);
});

describe("a path", () => {
  test.each<[string, string[] | null]>([
    ["inputs", ["inputs"]],
    ["inputs.order_id", ["inputs", "order_id"]],
    ["a.b._c.D9", ["a", "b", "_c", "D9"]],
    ['inputs["odd name"].x', ["inputs", "odd name", "x"]],
    ["inputs['odd \"name\"']", ["inputs", 'odd "name"']],
    ['inputs["a\\"]\\u0041"]', ["inputs", 'a"]A']],
    ['inputs[""]', ["inputs", ""]],
    ["inputs.constructor", ["inputs", "constructor"]],
    [`a${".b".repeat(15)}`, ["a", ..."b".repeat(15)]],
    [`a${".b".repeat(16)}`, null],
    [`a.${"b".repeat(510)}`, ["a", "b".repeat(510)]],
    [`a.${"b".repeat(511)}`, null],
    [`a['${'"'.repeat(300)}']`, null],
    ["", null],
    [".a", null],
    ["a.", null],
    ["a..b", null],
    ["a.9", null],
    ["9a", null],
    ["a b", null],
    ["a.b ", null],
    ["a[0]", null],
    ["a[b]", null],
    ['a["b"', null],
    ['a["b]', null],
    ['a["\\x"]', null],
    ["a['b\\'']", null],
    ["a.__proto__", null],
    ['a["__proto__"].b', null],
    ["a.b-c", null],
    ["a.ä", null],
  ])("%j is %j", (text, path) => {
    expect(parsePath(text)).toEqual(path);
  });

  test("is written in one way, and read back the same", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.string({ maxLength: 8 }), fc.string({ unit: "binary", maxLength: 8 })), { maxLength: 6 }), (members) => {
        fc.pre(!members.includes("__proto__"));
        const text = formatPath(["inputs", ...members]);
        expect(parsePath(text)).toEqual(["inputs", ...members]);
        expect(formatPath(parsePath(text) ?? [])).toBe(text);
      }),
    );
  });

  test("any text is a path or none", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("a", "b_9", ".", "[", "]", '"', "'", "\\", " ", "0"), { maxLength: 12 }), (parts) => {
        const path = parsePath(parts.join(""));
        if (path !== null) expect(parsePath(formatPath(path))).toEqual(path);
      }),
    );
  });
});

test("the whole example of the language is one good policy", () => {
  expect(parsed(EXAMPLE)).toEqual({
    version: 1,
    name: "support-bots",
    strict_mode: true,
    budgets: {
      session: "5",
      run: "1",
      actions: { expensive_llm: "0.5", "db.*": "0.1" },
      agent: { hour: "10", day: "50" },
      tenant: { day: "500", month: "5000" },
      on_expiry: "post",
      default_price: "deny",
      alerts: [0.5, 0.8, 0.95],
    },
    denied_actions: ["delete_database", "fs.rm*"],
    allowed_actions: ["crm.*", "search_web"],
    rate_limits: {
      send_email: [{ max_count: 10, window_seconds: 60 }],
      "llm.*": [{ max_count: 1000, window_seconds: 60, per: "agent" }],
    },
    concurrency: { "browser.*": 3 },
    loops: [{ threshold: 5, window_seconds: 10, ignore: ["inputs.cursor"] }],
    retries: [{ threshold: 8, window_seconds: 60 }],
    requires: {
      issue_refund: [{ after: ["lookup_order"], within_seconds: 600, same: ["inputs.order_id"] }],
      cancel_reservation: [
        {
          after: ["get_reservation_details"],
          same: ["inputs.reservation_id"],
          where: "prior.outputs.cabin == 'business' || prior.outputs.insurance == 'yes'",
        },
      ],
    },
    history: [{ id: "exfil", forbid: ["post_*"], when: "count('read_customers', 3600) > 0", mode: "enforce", stops: "action" }],
    approvals: {
      actions: ["send_money"],
      tags: ["production"],
      risk_levels: ["high", "critical"],
      threshold_usd: "1",
      timeout_seconds: 3600,
    },
    rules: [
      { id: "own-orders", effect: "permit", actions: ["order.*"], when: "resource.owner == subject.id", mode: "enforce" },
      { id: "no-prod", effect: "forbid", actions: ["db.*"], when: "inputs.env == 'prod'", mode: "observe", stops: "action" },
      { id: "big", effect: "hold", actions: ["*"], when: "estimate_usd > 0.5", mode: "enforce" },
      { id: "stop-it", effect: "forbid", actions: ["shell.*"], when: "inputs.cmd.contains('rm -rf')", mode: "enforce", stops: "run" },
    ],
    arguments: { send_email: [{ required: ["to"], properties: { to: { type: "string", pattern: ".+@corp\\.example$" } } }] },
    redact: {
      store_inputs: "full",
      store_outputs: "full",
      keys: ["api_key", "password"],
      detect: ["email", "credit_card", "private_key"],
    },
    wind_down: { actions: ["notify_user", "save_state"], budget: "0.05" },
    compliance: { risk_level: "high_risk", system: "support-bot", oversight: "named-team" },
  });
  expect(parsed(canonicalJson(parsed(EXAMPLE)), "json")).toEqual(parsed(EXAMPLE));
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

test("a policy that would take long to look through is not warned of", () => {
  const globs = Array.from({ length: 200 }, (_, i) => `g${i}.*`);
  const isTold = (names: number): boolean =>
    warned(JSON.stringify({ denied_actions: globs, concurrency: Object.fromEntries(Array.from({ length: names }, (_, i) => [`g1.${i}`, 1])) }))
      .length > 0;
  expect(isTold(1_000)).toBe(true);
  expect(isTold(1_001)).toBe(false);
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
    ...["loops: { threshold: 5, window_seconds: 10 }", "retries: { threshold: 5, window_seconds: 10 }", "requires: { a: { after: [b] } }"].map(
      (text): [string, string[]] => [text, []],
    ),
    ["history: [{ forbid: a, when: 'true' }]", []],
    ["rules: [{ effect: hold, actions: [a] }]", []],
    ["arguments: { a: true }", []],
    ["budgets: { default_price: deny }", []],
    ["budgets: { default_price: 1 }", [" 1:1 the policy limits nothing"]],
    ["redact: { store_inputs: none }", [" 1:1 the policy limits nothing"]],
    ["rules: [{ effect: hold, actions: [a] }]\napprovals: { timeout_seconds: 60, quorum: 2 }", []],
    ["rules: [{ effect: forbid, actions: [a] }, { effect: hold, actions: [b] }]\napprovals: { timeout_seconds: 60 }", []],
    ["rules: [{ effect: forbid, actions: [a] }]\napprovals: { quorum: 2 }", ["/approvals 2:12 approvals names nothing"]],
    ["denied_actions: [x]\nwind_down: { actions: [a], budget: 1 }", ["/wind_down 2:12 in vain: there is no budget"]],
    ["budgets: { session: 5 }\nwind_down: { actions: [a, a], budget: 1 }", ['/wind_down/actions/1 2:27 "a" is in the list twice']],
    ["denied_actions: [x]\nbudgets: { alerts: [0.5] }", ["/budgets/alerts 2:20 in vain: there is no budget"]],
    ["budgets: { run: 1, alerts: [0.5] }", []],
    ["denied_actions: [x]\nredact: { keys: [a, a] }", ['/redact/keys/1 2:21 "a" is in the list twice']],
    [
      "denied_actions: ['d*']\nrules: [{ effect: hold, actions: [da, 'd*'] }, { effect: hold, actions: [da, x] }]\nhistory: [{ forbid: dd, when: 'true' }]",
      ["/rules/0 2:9 in vain: its actions are all denied", "/history/0 3:11 in vain: its actions are all denied"],
    ],
    ["allowed_actions: ['c*']\nrules: [{ effect: forbid, actions: [d] }, { effect: forbid, actions: ['*'] }]", ["/rules/0 2:9 in vain: its actions"]],
    [
      "allowed_actions: [a]\nrules: [{ effect: permit, actions: [a] }, { effect: permit, actions: [a], group: g }]",
      ["/rules/0 2:9 in vain: next to allowed_actions"],
    ],
    ["rules: [{ effect: permit, actions: [a] }]", []],
    ["requires: { a: { after: [b, a] } }", ['/requires/a/after/1 1:29 never satisfied: "a" would have to come before itself']],
    ["requires: { 'a*': [{ after: [ab, 'a*', '*b'] }] }", ["/requires/a*/0/after/0 1:30 never satisfied", "/requires/a*/0/after/1 1:34 never"]],
    [
      "denied_actions: [b]\nrequires: { b: { after: [x] }, a: { after: [b] } }",
      ["/requires/b 2:16 in vain: denied_actions", '/requires/a/after/0 2:45 never satisfied: denied_actions names "b"'],
    ],
    ["denied_actions: [b]\narguments: { b: true }", ['/arguments/b 2:17 in vain: denied_actions names "b"']],
    [
      "rules: [{ effect: hold, actions: [a], mode: observe }, { effect: hold, actions: [a], mode: warn }]\nhistory: [{ forbid: a, when: 'true', mode: warn }]",
      ["/rules/0/mode 1:45 the rule only observes", "/rules/1/mode 1:92 the rule only warns", "/history/0/mode 2:44 the rule only warns"],
    ],
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
    [{ version: 1, rules: [{}] }],
    [{ version: 1, arguments: { a: { minimum: Number.NaN } } }],
    [{ version: 1, arguments: { a: { minimum: undefined } } }],
    [{ version: 1, arguments: { a: { minimum: new Map() } } }],
    [{ version: 1, arguments: { a: JSON.parse(`${'{"not":'.repeat(65)}{}${"}".repeat(65)}`) } }],
    [{ version: 1, arguments: { a: JSON.parse(`${'{"not":'.repeat(20)}{"__proto__":{}}${"}".repeat(20)}`) } }],
    [{ version: 1, allowed_actions: null }],
    [JSON.parse('{"version":1,"concurrency":{"__proto__":1}}')],
  ])("refuses %j", (document) => {
    expect(readPolicy(document).ok).toBe(false);
  });

  test.each([
    ['{"concurrency":{"__proto__":1}}', "/concurrency/__proto__"],
    ['{"rules":[{"effect":"hold","actions":["a"]},{"__proto__":{}}]}', "/rules/1/__proto__"],
  ])("says where %s has a key that cannot be one", (text, pointer) => {
    expect(readPolicy(JSON.parse(text))).toEqual({ ok: false, error: [{ pointer, message: "__proto__ cannot be a key" }] });
  });

  test("does not count again what the gateway merged from good policies", () => {
    const denied_actions = Array.from({ length: 20_000 }, (_, i) => `a${i}`);
    expect(readPolicy({ denied_actions }).ok).toBe(true);
    const rules = Array.from({ length: 20_001 }, () => ({ effect: "hold", actions: ["a"], when: "x".repeat(5000) }));
    expect(readPolicy({ rules }).ok).toBe(true);
  });

  test("does not count ids again: layers may have different rules of one id", () => {
    const rules = [
      { id: "a", effect: "hold", actions: ["a"] },
      { id: "a", effect: "hold", actions: ["b"] },
    ];
    expect(readPolicy({ rules }).ok).toBe(true);
    expect(parsePolicy(JSON.stringify({ rules }), "json").ok).toBe(false);
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

  const MIB = 1_048_576;
  test.each([
    ["open brackets", "[".repeat(MIB)],
    ["matched brackets", "[".repeat(MIB / 2) + "]".repeat(MIB / 2)],
    ["open mappings", "{a: ".repeat(MIB / 4)],
    ["nested lists", "- ".repeat(MIB / 2)],
    ["nested keys", "? ".repeat(MIB / 2)],
    ["closing brackets", "]".repeat(MIB)],
    ["braces", "{}".repeat(MIB / 2)],
    ["commas", `[${",".repeat(MIB - 1)}`],
    ["anchors", "&a ".repeat(MIB / 3)],
    ["quotes", '"'.repeat(MIB)],
    ["documents", "---\n".repeat(MIB / 4)],
    ["open parentheses in a condition", `rules: [{ effect: hold, actions: [a], when: "${"(".repeat(4096)}" }]`],
    ["negations in a condition", `rules: [{ effect: hold, actions: [a], when: "${"!".repeat(4096)}" }]`],
    ["nested lists in a condition", `rules: [{ effect: hold, actions: [a], when: '${"[".repeat(2000)}${"]".repeat(2000)} == []' }]`],
    ["one condition", `rules: [{ effect: hold, actions: [a], when: "${"a||".repeat(300_000)}a" }]`],
  ])(
    "a mebibyte (or what fits) of %s is refused at once",
    (_, text) => {
      expect(refused(text)).toHaveLength(1);
    },
    30_000,
  );
});

test("the JSON Schema is a 2020-12 schema that describes every member and refuses others", () => {
  const schema = JSON.parse(JSON.stringify(policyJsonSchema()));
  expect(schema.$schema).toBe("https://json-schema.org/draft/2020-12/schema");
  expect(schema.title).toBe("AgentSentinel policy");
  expect(schema.additionalProperties).toBe(false);
  expect(schema.required ?? []).toEqual([]);
  const { budgets, approvals, redact, wind_down, rules, history, loops, retries, requires, rate_limits } = schema.properties;
  const oneOrMany = (union: { anyOf: object[] }) => union.anyOf.map((branch) => ("items" in branch ? branch.items : branch));
  const items = [loops, retries, requires.additionalProperties, rate_limits.additionalProperties, approvals.properties.approvers].flatMap(oneOrMany);
  expect(items).toHaveLength(10);
  for (const section of [schema, budgets, approvals, redact, wind_down, rules.items, history.items, ...items]) {
    expect(section.additionalProperties).toBe(false);
    for (const [name, member] of Object.entries<{ description?: string }>(section.properties)) expect(member.description, name).toBeTruthy();
  }
  expect(schema.properties.budgets.properties.session.type).toEqual(["string", "number"]);
  expect(schema.properties.denied_actions.maxItems).toBe(10_000);
  expect(schema.properties.rules.maxItems).toBe(20_000);
  expect(rules.items.required).toEqual(["effect", "actions"]);
  expect(rules.items.properties.when.maxLength).toBe(4096);
  expect(history.items.required).toEqual(["forbid", "when"]);
  expect(schema.properties.arguments.additionalProperties.anyOf[1].anyOf.map(({ type }: { type: string }) => type)).toEqual(["boolean", "object"]);
});

describe("merge keys", () => {
  const read = (text: string, mergeKeys: boolean) => {
    const reading = readText(text, "yaml", { mergeKeys });
    if (!reading.ok) throw new Error(JSON.stringify(reading.error));
    return { value: reading.value.value, issues: reading.value.issues };
  };

  test("are read for test cases, and what is written beside one counts before it", () => {
    expect(read("a: &a { x: 1, y: { z: 1 } }\nb: { <<: *a, x: 2, w: 3 }\nc: { x: 4, <<: { x: 5, v: 6 } }", true)).toEqual({
      value: { a: { x: 1, y: { z: 1 } }, b: { x: 2, y: { z: 1 }, w: 3 }, c: { x: 4, v: 6 } },
      issues: [],
    });
  });

  test("take one mapping", () => {
    expect(read("a: &a [1]\nb: { <<: *a }", true).issues).toMatchObject([
      { pointer: "/b/<<", message: "a merge key takes one mapping, such as *anchor", line: 2 },
    ]);
    expect(read("a: { <<: 1 }", true).issues).toMatchObject([{ pointer: "/a/<<" }]);
  });

  test("are refused in a policy, which says what it says where it says it", () => {
    expect(read("a: &a { x: 1 }\nb: { <<: *a }", false).issues).toMatchObject([
      { pointer: "/b/<<", message: "merge keys are not read here: write the members out" },
    ]);
  });
});

test("a text of thousands of members is refused before it is read", () => {
  const many = Array.from({ length: 90_000 }, (_, n) => `k${n}: 1`).join("\n");
  expect(parsePolicy(many, "yaml")).toMatchObject({ ok: false, error: [{ message: "a policy has a few sections, found 90000 members" }] });
});

test.each([
  ["comments", `${"#\n".repeat(500_000)}version: 1`, "a policy has at most 20000 lines that are empty or only a comment, found 500000"],
  [
    "comments that are set in",
    `version: 1\n${"  # a\r\n".repeat(20_001)}name: a`,
    "a policy has at most 20000 lines that are empty or only a comment, found 20001",
  ],
  ["nothing", `${"\n".repeat(1_000_000)}version: 1`, "a policy has at most 20000 lines that are empty or only a comment, found 1000000"],
  ["small mappings", Array.from({ length: 80_000 }, () => "- {a,b,c}").join("\n"), "a policy has at most 200000 values"],
  ["dashes", "- a\n".repeat(200_001), "a policy has at most 200000 values"],
  ["dashes behind dashes", "- -\n    a\n".repeat(100_001), "a policy has at most 200000 values"],
])("a text of thousands of %s is refused before it is read", (_, text, message) => {
  expect(parsePolicy(text, "yaml")).toEqual({ ok: false, error: [{ pointer: "", message }] });
});

test("what is only signs is refused by its number, and signs in a comment are none", () => {
  expect(parsePolicy(`[${",".repeat(200_001)}]`, "yaml")).toEqual({
    ok: false,
    error: [{ pointer: "", message: "a policy has at most 200000 values" }],
  });
  expect(parsed(`name: a # ${",".repeat(200_001)}`).name).toBe("a");
});

test("a policy may have thousands of words, and not as many signs without one", () => {
  expect(parsed(`denied_actions: [${"a,".repeat(1_001)}]`).denied_actions).toEqual(["a"]);
  expect(refused(`[${",".repeat(1_000)}]`)).toEqual([" 1:1000 this is not a policy: too many signs without a word between them"]);
});

test("a block of text is a text, whatever sign it begins with", () => {
  for (const sign of ["!", "*", "%"])
    expect(refused(`|\n${sign}abc`)).toEqual([` 1:1 wanted a policy: sections like budgets, denied_actions, rate_limits, found "${sign}abc\\n"`]);
});

test("what takes more bytes than characters is too large by its bytes", () => {
  const schemas = `{ description: "${"é".repeat(1_100)}" },`.repeat(16);
  const text = `arguments:\n  a: &a [${schemas}]\n${Array.from({ length: 60 }, (_, n) => `  a${n}: *a\n`).join("")}`;
  expect(refused(text)).toEqual([" 1:1 the policy is too large: with its aliases and defaults written out it may have 1800000 bytes of JSON"]);
  expect(parsePolicy(text.replaceAll("é", "e"), "yaml").ok).toBe(true);
});

test("a text has at most a MiB of bytes, whatever its characters", () => {
  // A byte order mark has three, and the rest is blank.
  const ofBytes = (count: number): string => `\uFEFF${" ".repeat(count - 3)}`;
  expect(refused(ofBytes(1024 * 1024))).toEqual([expect.stringMatching(/^ 1:1 the policy is empty;/)]);
  expect(parsePolicy(ofBytes(1024 * 1024 + 1), "yaml")).toEqual({
    ok: false,
    error: [{ pointer: "", message: "a policy is at most 1048576 bytes of text" }],
  });
});

test("mistakes are told in the order of their places, those of one line too", () => {
  const places = [":15 wanted texts by key, found 5", ":24 wanted a name", ":36 wanted the members session"];
  expect(refused("{ compliance: 5, name: 5, budgets: 5 }").map((line) => line.replace(/^\S+ 1/, ""))).toEqual(
    places.map((place) => expect.stringContaining(place)),
  );
});

test("signs in a text or a comment are no values, and a policy has as many idle lines as it says", () => {
  expect(parsed(`name: a # ${"a,".repeat(200_001)}`).name).toBe("a");
  expect(refused(`name: "${"a,".repeat(200_001)}"`).join()).not.toContain("values");
  expect(parsed(`${"# why\n\n".repeat(10_000)}name: a`).name).toBe("a");
  expect(parsed(`${"\r\n".repeat(19_000)}name: a\r\ndenied_actions:\r\n${"  - a\r\n".repeat(9_900)}`).name).toBe("a");
});

test("a pair in a list is a mapping of one member, as YAML has it", () => {
  expect(parsed("arguments: { a: { enum: [x: 1, { y: 2 }, z] } }").arguments).toEqual(
    parsed('{ "arguments": { "a": { "enum": [{ "x": 1 }, { "y": 2 }, "z"] } } }', "json").arguments,
  );
  expect(JSON.stringify(parsed("arguments: { a: { enum: [x: 1] } }").arguments)).toContain('[{"x":1}]');
});

test("what is no mapping at all is told what a policy is", () => {
  for (const value of [5, true, "", null]) {
    const read = readPolicy(value);
    expect(read.ok ? "" : read.error[0]?.message).toMatch(/^wanted a policy: sections like budgets/);
  }
  const empty = readPolicy({});
  expect(empty.ok ? "" : empty.error[0]?.message).not.toMatch(/^wanted a policy: sections like budgets/);
});

test("what aliases make too large is told once, at its first value too many", () => {
  const listOf = (what: string, times: number): string => `[${Array.from({ length: times }, () => what).join(", ")}]`;
  const multiplied = `a: &a ${listOf("x", 100)}\nb: &b ${listOf("*a", 10)}\nc: &c ${listOf("*b", 10)}\nd: &d ${listOf("*c", 10)}`;
  expect(refused(`${multiplied}\ne: ${listOf("*d", 30)}`)).toEqual([
    expect.stringMatching(/^\/e\/0\S* \d+:\d+ a policy has at most 200000 values, those that aliases repeat among them$/),
  ]);
});

test("a policy may have as many aliases and comments as it says", () => {
  expect(parsed(`denied_actions: [&a x${", *a".repeat(100)}]`).denied_actions).toEqual(["x"]);
  expect(parsed(`${"# why\n".repeat(1_500)}name: a`).name).toBe("a");
});

test("a policy has as many values as it says, and not one more", () => {
  const listOf = (what: string, times: number): string => `[${Array.from({ length: times }, () => what).join(", ")}]`;
  // The list that stands for itself has 1,999 values, and each alias is one more; with those that hold them it is 198,001.
  const text = `a: &a ${listOf("x", 1_998)}\nb: ${listOf("*a", 98)}`;
  const limit = "a policy has at most 200000 values";
  expect(refused(`${text}\nc: ${listOf("x", 1_998)}`)).toHaveLength(3);
  expect(refused(`${text}\nc: ${listOf("x", 1_999)}`)).toEqual([expect.stringMatching(new RegExp(`^/c/1998 3:\\d+ ${limit}`))]);
});

test("a text of many signs with no word between them is no policy", () => {
  const signs = (count: number): string[] => refused(`denied_actions: [a${",".repeat(count)}]`);
  expect(signs(1_001)).toEqual([expect.stringMatching(/^ 1:\d+ this is not a policy: too many signs without a word between them$/)]);
  expect(signs(900).join()).not.toContain("signs");
  const between = (word: string): string[] => refused(`name: &a x\ndenied_actions: [${",".repeat(600)}${word}${",".repeat(600)}]`);
  for (const word of ["a", "'a'", "*a"]) expect(between(word).join()).not.toContain("signs");
});

test("an empty text is an empty policy in either form", () => {
  for (const text of ["", " \n"])
    for (const format of ["yaml", "json"] as const) expect(refused(text, format)).toEqual([expect.stringMatching(/^ 1:1 the policy is empty;/)]);
});

test("a schema that aliases make too deep is told once, whatever else is wrong at its bottom", () => {
  const links = Array.from({ length: 6 }, (_, i) => `  a${i}: &a${i} { not: { not: { not: { not: { not: *a${i === 0 ? "" : i - 1} } } } } }\n`).join(
    "",
  );
  const wrong = (bottom: string): string => `arguments:\n  a: &a { not: { not: { not: { not: { not: { not: ${bottom} } } } } } }\n${links}`;
  const said = refused(wrong("{ minimumm: 1 }"));
  expect(said.filter((line) => line.startsWith("/arguments/a5"))).toEqual([expect.stringContaining("at most 32 levels deep")]);
  expect(said.filter((line) => line.startsWith("/arguments/a0"))).toEqual([expect.stringContaining('did you mean "minimum"?')]);
});

test("how large a value is, is found out without printing what aliases multiply", () => {
  let multiplied: unknown = "x".repeat(100);
  // Two to the sixtieth copies.
  for (let n = 0; n < 60; n++) multiplied = [multiplied, multiplied];
  expect(sizeOf(multiplied, 1_000)).toBeGreaterThan(1_000);
  for (const value of ["", 'a"b', 5, null, [], [1, [2]], { a: 1, b: "x" }]) expect(sizeOf(value, 1_000)).toBe(canonicalJson(value).length);
});

test("of what is too large no more is looked at than it takes to know that", () => {
  let looks = 0;
  const item = {
    get looked() {
      return ++looks;
    },
  };
  expect(sizeOf(["x".repeat(990), Array.from({ length: 1_000 }, () => item)], 1_000)).toBeGreaterThan(1_000);
  expect(looks).toBe(1);
});

describe("regular expressions, which take far more room than their text", () => {
  const rule = (n: number) => ({ effect: "forbid", actions: ["a"], when: `inputs.t.matches("(a|b${n + 100}){150}")` });
  const rules = (count: number) => JSON.stringify({ rules: Array.from({ length: count }, (_, n) => rule(n)) });
  const schema = (count: number) => ({
    // A name that is a keyword elsewhere hides nothing.
    properties: { default: Object.fromEntries([["pattern", "^(x|y){300}$"]]) },
    patternProperties: Object.fromEntries(Array.from({ length: count }, (_, n) => [`^(x|y${n}){300}$`, true])),
  });
  const large = "wanted at most 100000 instructions in all regular expressions together";

  test("are bounded together, in conditions and in schemas, and the one that is too much is named", () => {
    expect(parsePolicy(rules(80), "json").ok).toBe(true);
    const [first, ...more] = refused(rules(200), "json");
    expect(more).toEqual([]);
    expect(first).toMatch(/^\/rules\/8\d\/when /);
    expect(first).toContain(large);
    expect(parsePolicy(JSON.stringify({ arguments: { a: schema(20) } }), "json").ok).toBe(true);
    expect(refused(JSON.stringify({ arguments: { a: schema(20), b: schema(60) } }), "json")).toEqual([expect.stringContaining(`/arguments/b 1:`)]);
    // A name that looks like a pattern is none where members have plain names.
    const named = { properties: schema(200).patternProperties };
    expect(parsePolicy(JSON.stringify({ arguments: { a: named } }), "json").ok).toBe(true);
    // Each alone has room, and both together have none.
    const half = { ...JSON.parse(rules(60)), arguments: { a: schema(40) } };
    expect(refused(JSON.stringify(half), "json")).toEqual([expect.stringContaining(large)]);
  });

  test("are counted in the room that a policy takes, each layer's", () => {
    const plain = parsed(JSON.stringify({ rules: [{ effect: "forbid", actions: ["a"], when: "inputs.t == 'x'" }] }), "json");
    const asJson = (document: PolicyDocument): JsonValue => JSON.parse(JSON.stringify(document));
    expect(roomOf(asJson(plain))).toBe(JSON.stringify(plain).length);
    const large = parsed(rules(80), "json");
    const always = parsed("rules: [{ effect: forbid, actions: [a] }]");
    expect(roomOf(asJson(always))).toBe(JSON.stringify(always).length);
    expect(roomOf(asJson(large))).toBeGreaterThan(JSON.stringify(large).length + 200_000);
    const withSchemas = parsed(JSON.stringify({ arguments: { a: schema(20) } }), "json");
    expect(roomOf(asJson(withSchemas))).toBeGreaterThan(JSON.stringify(withSchemas).length + 50_000);
  });

  const when = (n: number, said: (n: number) => string) =>
    JSON.stringify({ rules: Array.from({ length: n }, (_, i) => ({ effect: "forbid", actions: ["a"], when: said(i) })) });
  const patterns = (schemas: number, each: number, said: (n: number) => string) => {
    const of = (from: number) => ({ properties: Object.fromEntries(Array.from({ length: each }, (_, n) => [`m${n}`, { pattern: said(from + n) }])) });
    return JSON.stringify({ arguments: Object.fromEntries(Array.from({ length: schemas }, (_, n) => [`a${n}`, of(n * each)])) });
  };
  const LONG = "abcdefgh".repeat(50);
  const of50 = (n: number) => Array.from({ length: 50 }, (_, m) => `inputs.t.matches("[^a${n}b${m}]{1,900}")`).join(" || ");

  test.each([
    ["in many conditions", when(400, (n) => `inputs.t.matches("[^a${n}]{1,900}")`)],
    ["in conditions of many each", when(100, (n) => of50(n))],
    ["in conditions of many each, and a mistake behind them", when(100, (n) => `${of50(n)} || inputs.t.matches("(")`)],
    ["in conditions, each far too large", when(100, (n) => `inputs.t.matches("(${LONG}${n}){1,1000}")`)],
    ["in one schema", patterns(1, 1_000, (n) => `^a${n}{1,1000}$`)],
    ["in many schemas", patterns(100, 10, (n) => `^a${n}{1,1000}$`)],
    ["in schemas, each too large", patterns(100, 1, (n) => `^(a|b${n}){1,1000}c{1,1000}$`)],
    ["in schemas, each far too large", patterns(100, 1, (n) => `^(${LONG}${n}){1,1000}$`)],
  ])("%s: most of them are not even compiled", (_, text) => {
    let instructions = 0;
    const compile = RE2JS.compile.bind(RE2JS);
    const compiling = vi.spyOn(RE2JS, "compile").mockImplementation((...of) => {
      const made = compile(...of);
      instructions += made.programSize();
      return made;
    });
    try {
      expect(parsePolicy(text, "json").ok).toBe(false);
      expect(instructions).toBeLessThan(5 * MOST_REGEX_INSTRUCTIONS);
    } finally {
      compiling.mockRestore();
    }
  });

  test("compile to about as many instructions as their text tells, or to fewer", () => {
    const atom = fc.constantFrom(
      "a",
      "é",
      "😀",
      ".",
      "\\.",
      "\\(",
      "\\pL",
      "\\p{Greek}",
      "\\x{61}",
      "[a-c]",
      "[]a]",
      "[^]a]",
      "[(]",
      "[[:alpha:]]",
      "[\\]]",
      "^",
      "$",
      "\\Q[(\\E",
    );
    const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
      pattern: fc.oneof(
        { maxDepth: 4 },
        atom,
        fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => a + b),
        fc.tuple(tie("pattern"), tie("pattern")).map(([a, b]) => `(?:${a}|${b})`),
        fc.tuple(fc.constantFrom("", "?:", "?i:", "?P<name>", "?<n>"), tie("pattern")).map(([flags, a]) => `(${flags}${a})`),
        fc.tuple(tie("pattern"), fc.constantFrom("*", "+", "?", "{3}", "{2,}", "{0,9}", "{20}", "{1,30}")).map(([a, times]) => `(?:${a})${times}`),
      ),
    }));
    fc.assert(
      fc.property(pattern, (text) => {
        let size: number;
        try {
          size = RE2JS.compile(text).programSize();
        } catch {
          return;
        }
        expect(size).toBeLessThanOrEqual(2 * instructionsAtMost(text) + 5);
      }),
      { numRuns: 2_000, examples: ["[(]", "\\(", "\\Q(\\E", "(?i)", "[]()]", "[[:alpha:](]"].map((hides) => [`(?:abcdefghijkl${hides}){30}`]) },
    );
  });

  test.each(["(a|b|c|d|e|f|g|h){1,200}", "^[a-z0-9._%+-]{1,500}@[a-z0-9.-]+$", "(http|https|ftp)://.{1,900}", "^(?:[a-f0-9]{4}:){7}[a-f0-9]{4}$"])(
    "that are not too large are not taken for that: %s",
    (pattern) => {
      expect(checkExpression(`inputs.t.matches("${pattern}")`, "rule")).toBeNull();
      expect(patternFault(pattern)).toBeNull();
    },
  );

  test.each([
    ["ab\\*{100}", "ab\\.{100}"],
    ["ab\\+{100}", "ab\\.{100}"],
    ["ab\\?{100}", "ab\\.{100}"],
    ["ab\\Q*", "ab\\Q."],
  ])("in which a sign is escaped are of the size of any other escape: %s", (sign, other) => {
    expect(instructionsAtMost(sign)).toBe(instructionsAtMost(other));
  });

  test.each(["a", "[abc]", "a|b|c"])("of one character, whichever of some, are one instruction: %s", (pattern) => {
    expect(instructionsAtMost(pattern)).toBe(1);
  });

  test("in texts that match nothing are no regular expressions", () => {
    const said = Array.from({ length: 300 }, (_, n) => ({ effect: "forbid", actions: ["a"], when: `inputs.t == "matches(a{1000}) ${n}"` }));
    expect(parsePolicy(JSON.stringify({ rules: said }), "json").ok).toBe(true);
  });
});
