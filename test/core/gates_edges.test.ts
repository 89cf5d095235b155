import { describe, expect, it, test } from "vitest";
import type { Stops } from "../../src/core/decision.ts";
import { budgetRule, type PresentedApproval, type TenantWord } from "../../src/core/gates.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { type Order, TARGETS, type Target } from "../../src/core/orders.ts";
import type { BudgetLimit, Conditions, Findings, RateLimit, Requirement, RuleFinding, Scene, SharedLimit } from "../../src/core/policy/findings.ts";
import type { ReasonCode } from "../../src/core/reasons.ts";
import { draw, hear, noShares, type Shares, type Word } from "../../src/core/shares.ts";
import { happen } from "../../src/core/turn.ts";
import { EXPIRES_AT, POLICY, type Put, RUN, Sitting } from "./sitting.ts";

/** A no as it is told, whole: agents and people act on its words. */
interface Told {
  readonly code: ReasonCode;
  readonly message: string;
  readonly rule?: string;
  readonly wait?: number;
  readonly hint: string;
  readonly stops?: Stops | null;
}

const whole = ({ code, message, rule = undefined, wait = undefined, hint, stops = "action" }: Told) => ({
  stops,
  reason: { code, message, rule: rule ?? null, retryAfterMs: wait ?? null, hint },
});

const usd = microUsdOf;
const NOTHING_BEFORE = (): void => undefined;
const calls =
  (count: number, put: Put = {}, at = 0) =>
  (sitting: Sitting): void => {
    for (let call = 0; call < count; call++) sitting.decide(put, at);
  };
const spends = (costs: number) => (sitting: Sitting) => void sitting.commit(sitting.decide({ costs }).id, costs, 0);
const fails = (count: number) => (sitting: Sitting) => {
  for (let call = 0; call < count; call++) sitting.commit(sitting.decide().id, 0, 0, { outcome: "error", error: "no" });
};

const rule = (more: Partial<RuleFinding> = {}): RuleFinding => ({
  rule: "r1",
  effect: "forbid",
  history: false,
  mode: "enforce",
  stops: "action",
  said: "holds",
  ...more,
});
const needs = (more: Partial<Requirement> = {}): Requirement => ({
  rule: "/requires/pay",
  after: ["check"],
  withinMs: null,
  same: [],
  where: null,
  looksAtOutcome: false,
  inputsMissing: false,
  ...more,
});
const rate = (more: Partial<RateLimit> = {}): RateLimit => ({ pattern: "pay", max: 1, windowMs: 10_000, per: "session", ...more });
const scene: Omit<Scene, "inputs"> = { subject: {}, action: "pay", resource: {}, tags: [], estimateMicroUsd: usd(0), context: {}, now: 0 };

/** Which answers one text only, as the history would. */
const answering = (answer: boolean | null): Conditions => ({ rule: (text) => (text === "asked" ? answer : null), where: () => answer });

const UNSEEN = {
  code: "inputs_required",
  message: "The policy looks at the inputs themselves, and only their digest was sent.",
  hint: "Send the inputs instead of their digest.",
} as const;
const STALE = { code: "authority_stale", wait: 1000, hint: "Try again shortly." } as const;

type Row = readonly [what: string, before: (sitting: Sitting) => void, put: Put, told: Told, now?: number];

const ABOVE: readonly Row[] = [
  [
    "a session that was closed",
    (sitting) => sitting.turn(0, (turn) => happen(turn, { kind: "session_closed" })),
    {},
    { code: "session_closed", message: "The session is closed.", hint: "Open a new session.", stops: "session" },
  ],
  [
    "a session at its last instant",
    NOTHING_BEFORE,
    {},
    { code: "session_closed", message: "The session has expired.", hint: "Open a new session.", stops: "session" },
    EXPIRES_AT,
  ],
  [
    "a run that was closed",
    (sitting) => sitting.turn(0, (turn) => happen(turn, { kind: "run_closed", run: RUN })),
    {},
    { code: "run_closed", message: "The run is closed.", hint: "Start a new run.", stops: "run" },
  ],
  [
    "a run that never was",
    NOTHING_BEFORE,
    { request: { run: "run_00000000-0000-7000-8000-000000000009" } },
    { code: "run_closed", message: "The run is closed.", hint: "Start a new run.", stops: "run" },
  ],
  [
    "a lease that lapsed",
    NOTHING_BEFORE,
    { around: { lease: { fresh: false, policy: POLICY, orders: [] } } },
    { ...STALE, message: "The session could not renew its authority, and without it nothing is allowed." },
  ],
  [
    "no policy",
    NOTHING_BEFORE,
    { around: { lease: { fresh: true, policy: null, orders: [] } } },
    {
      code: "policy_missing",
      message: "No policy is active, and without one nothing is allowed.",
      hint: "An operator must activate a policy.",
    },
  ],
  ...([{ kind: "invalid", policy: POLICY }, null] as const).map(
    (evaluation): Row => [
      `a policy of which ${evaluation === null ? "nothing" : "no finding"} is known`,
      NOTHING_BEFORE,
      { around: { evaluation } },
      {
        code: "policy_invalid",
        message: "The policy in force cannot be read by this gateway.",
        hint: "An operator must activate a valid policy.",
      },
    ],
  ),
  [
    "more than a session can count",
    NOTHING_BEFORE,
    { costs: 4_500_000_000_000_001 },
    {
      code: "session_budget_exceeded",
      message: "A session counts up to 4500000000 USD, and this would pass it.",
      hint: "State what it really may cost.",
      stops: "action",
    },
  ],
];

const BY_POLICY: readonly Row[] = [
  [
    "what the policy denies",
    NOTHING_BEFORE,
    { finds: { deniedBy: "p*" } },
    {
      code: "action_denied",
      message: 'The policy denies "pay".',
      rule: "/denied_actions",
      hint: "Do not try this action again; use another one.",
    },
  ],
  [
    "what is not on the list",
    NOTHING_BEFORE,
    { finds: { listed: false } },
    {
      code: "action_not_allowed",
      message: '"pay" is not among the allowed actions.',
      rule: "/allowed_actions",
      hint: "Use one of the allowed actions.",
    },
  ],
  ...([false, null] as const).map(
    (answer): Row => [
      `what no rule permits, since one that was asked says ${answer}`,
      NOTHING_BEFORE,
      {
        finds: { scene, permits: [{ rule: "p1", mode: "enforce", inputsMissing: false, asks: ["asked"] }] },
        around: { conditions: answering(answer) },
      },
      {
        code: "action_not_allowed",
        message: 'No rule that permits "pay" holds for this request.',
        rule: "p1",
        hint: "Meet the conditions of a rule that permits it.",
      },
    ],
  ),
  [
    "what a rule forbids",
    NOTHING_BEFORE,
    { finds: { rules: [rule()] } },
    { code: "rule_forbids", message: 'The rule "r1" forbids this.', rule: "r1", hint: "Do not try this again unchanged." },
  ],
  [
    "what a rule forbids for the rest of the run",
    NOTHING_BEFORE,
    { finds: { rules: [rule({ stops: "run" })] } },
    { code: "rule_forbids", message: 'The rule "r1" forbids this.', rule: "r1", hint: "Do not try this again unchanged.", stops: "run" },
  ],
  [
    "what a rule could not be evaluated for",
    NOTHING_BEFORE,
    { finds: { rules: [rule({ said: "failed", stops: "session" })] } },
    {
      code: "rule_forbids",
      message: 'The rule "r1" could not be evaluated for this request, and then it forbids.',
      rule: "r1",
      hint: "Send every input that the rule looks at.",
      stops: "session",
    },
  ],
  [
    "what a rule of the history forbids",
    NOTHING_BEFORE,
    { finds: { scene, rules: [rule({ history: true, said: { ask: "asked" } })] }, around: { conditions: answering(true) } },
    {
      code: "history_forbids",
      message: 'What happened before in this session forbids this, says the rule "r1".',
      rule: "r1",
      hint: "Do not try this again in this session.",
    },
  ],
  ...(
    [
      ["that fails", { scene, rules: [rule({ history: true, said: { ask: "asked" } })] }],
      ["whose scene is missing", { rules: [rule({ history: true, said: { ask: "asked" } })] }],
    ] as const
  ).map(
    ([what, finds]): Row => [
      `a rule of the history ${what}`,
      NOTHING_BEFORE,
      { finds, around: { conditions: answering(what === "that fails" ? null : true) } },
      {
        code: "history_forbids",
        message: 'The rule "r1" could not be evaluated over this session\'s history, and then it forbids.',
        rule: "r1",
        hint: "A new session has no history.",
      },
    ],
  ),
  ["inputs that a rule needs", NOTHING_BEFORE, { finds: { rules: [rule({ said: "inputs_missing" })] } }, { ...UNSEEN, rule: "r1" }],
  ["inputs that a schema needs", NOTHING_BEFORE, { finds: { argumentsUnseen: true } }, { ...UNSEEN, rule: "/arguments" }],
  [
    "inputs that a requirement needs",
    NOTHING_BEFORE,
    { finds: { requirements: [needs({ inputsMissing: true })] } },
    { ...UNSEEN, rule: "/requires/pay" },
  ],
  [
    "inputs that a permit needs",
    NOTHING_BEFORE,
    {
      finds: { scene, permits: [{ rule: "p1", mode: "enforce", inputsMissing: true, asks: ["asked"] }] },
      around: { conditions: answering(false) },
    },
    { ...UNSEEN, rule: "p1" },
  ],
  [
    "inputs that do not fit",
    NOTHING_BEFORE,
    { finds: { argumentsFault: { rule: "/arguments/pay", message: "n is too large." } } },
    { code: "arguments_invalid", message: "n is too large.", rule: "/arguments/pay", hint: "Correct the inputs and ask again." },
  ],
  ...(
    [
      [{}, '"check" must come before "pay".'],
      [{ withinMs: 90_000 }, '"check" must come before "pay" within the last 90 s.'],
      [{ same: [["inputs", "a", "b"], ["resource"]] }, '"check" must come before "pay", with the same inputs.a.b and resource.'],
      [{ where: "w" }, '"check" must come before "pay", and with a result that the policy asks for.'],
      [
        { withinMs: 500, same: [["resource"]], where: "w" },
        '"check" must come before "pay" within the last 0.5 s, with the same resource, and with a result that the policy asks for.',
      ],
    ] as const
  ).map(
    ([more, message]): Row => [
      `what must come first: ${message}`,
      NOTHING_BEFORE,
      { finds: { requirements: [needs(more)] } },
      { code: "prerequisite_missing", message, rule: "/requires/pay", hint: 'Do "check" first, then ask again.' },
    ],
  ),
  [
    "a call that closes a loop",
    calls(2, { finds: { loops: [{ threshold: 9, windowMs: 30_000, key: "k" }] } }),
    { finds: { loops: [{ threshold: 3, windowMs: 30_000, key: "k" }] } },
    {
      code: "loop_detected",
      message: 'This would be call 3 of "pay" with the same inputs within 30 s, and 3 make a loop.',
      rule: "/loops",
      wait: 20_000,
      hint: "Change the inputs, or do something else.",
    },
    10_000,
  ],
  [
    "a loop of one call",
    NOTHING_BEFORE,
    { finds: { loops: [{ threshold: 1, windowMs: 30_000, key: "k" }] } },
    {
      code: "loop_detected",
      message: 'This would be call 1 of "pay" with the same inputs within 30 s, and 1 make a loop.',
      rule: "/loops",
      hint: "Change the inputs, or do something else.",
    },
  ],
  [
    "what failed too often",
    fails(2),
    { finds: { retries: [{ threshold: 2, windowMs: 30_000 }] } },
    {
      code: "retries_exceeded",
      message: '"pay" failed 2 times within 30 s, and after 2 it is denied.',
      rule: "/retries",
      wait: 25_000,
      hint: "Find out why it fails before trying again.",
    },
    5_000,
  ],
  [
    "as many in progress as may be",
    calls(2),
    {
      finds: {
        concurrency: [
          { pattern: "p/~*", max: 9 },
          { pattern: "*", max: 2 },
        ],
      },
    },
    {
      code: "concurrency_exceeded",
      message: '2 of "*" may be in progress at once, and as many are.',
      rule: "/concurrency/*",
      hint: "Finish one of them first.",
    },
  ],
  [
    "a rate that is full",
    calls(1, { finds: { rates: [rate()] } }),
    { finds: { rates: [rate()] } },
    {
      code: "rate_exceeded",
      message: '1 of "pay" are allowed within 10 s, and as many were.',
      rule: "/rate_limits/pay",
      wait: 6_000,
      hint: "Try again in 6 seconds.",
    },
    4_000,
  ],
  [
    "a rate of nothing, with a name that a pointer must escape",
    NOTHING_BEFORE,
    { finds: { rates: [rate({ pattern: "p~/a~/*", max: 0, per: "run" })] } },
    {
      code: "rate_exceeded",
      message: '0 of "p~/a~/*" are allowed within 10 s, and as many were.',
      rule: "/rate_limits/p~0~1a~0~1*",
      hint: "This action is never allowed under the present limit.",
    },
  ],
  ...(["agent", "tenant"] as const).map(
    (per): Row => [
      `a rate of nothing for all sessions of the ${per}`,
      NOTHING_BEFORE,
      { finds: { rates: [rate({ max: 0, per })] } },
      {
        code: "rate_exceeded",
        message: `0 of "pay" are allowed to all sessions of the ${per} within 10 s, and as many were.`,
        rule: "/rate_limits/pay",
        hint: "This action is never allowed under the present limit.",
      },
    ],
  ),
  [
    "a price that nobody knows",
    NOTHING_BEFORE,
    { finds: { priceUnknown: true } },
    {
      code: "price_unknown",
      message: "What this costs cannot be known: the model has no known price, or no usage was stated to price.",
      rule: "/budgets/default_price",
      hint: "State the estimate with a model whose price is known, or have a default price set.",
    },
  ],
  ...(
    [
      ["action", "action's budget", { scope: "action", pattern: "p*", limitMicroUsd: usd(100) }, "/budgets/actions/p*"],
      ["run", "run's budget", { scope: "run", limitMicroUsd: usd(100) }, "/budgets/run"],
      ["session", "session's budget", { scope: "session", limitMicroUsd: usd(100) }, "/budgets/session"],
    ] as const
  ).flatMap(([scope, noun, limit, pointer]): Row[] => [
    [
      `more than is left of the ${noun}`,
      calls(1, { costs: 40 }),
      { costs: 61, finds: { budgets: [limit] } },
      {
        code: `${scope}_budget_exceeded`,
        message: `The ${noun} has 0.00006 USD left of 0.0001, and this takes 0.000061.`,
        rule: pointer,
        hint: "Ask for at most 0.00006 USD.",
      },
    ],
    [
      `anything of the ${noun} when it is gone`,
      spends(100),
      { costs: 1, finds: { budgets: [limit] } },
      {
        code: `${scope}_budget_exceeded`,
        message: `The ${noun} has 0 USD left of 0.0001, and this takes 0.000001.`,
        rule: pointer,
        hint: "Nothing is left. Only more budget helps.",
        stops: scope,
      },
    ],
    [
      `anything of the ${noun} while all of it is set aside: that may come back, and ends nothing`,
      calls(1, { costs: 100 }),
      { costs: 1, finds: { budgets: [limit] } },
      {
        code: `${scope}_budget_exceeded`,
        message: `The ${noun} has 0 USD left of 0.0001, and this takes 0.000001.`,
        rule: pointer,
        hint: "What is left is set aside for what is under way, and some of it may come back when that is settled.",
      },
    ],
  ]),
];

const ANSWERS: readonly (readonly [PresentedApproval, ReasonCode, string, string])[] = [
  ["none", "approval_required", "A person must approve this first.", "Wait for the approval, then ask again with it."],
  ["open", "approval_required", "This is not approved yet.", "Wait for the approval, then ask again with it."],
  ["expired", "approval_expired", "The approval has expired.", "Ask again without it to open a new one."],
  ["rejected", "approval_rejected", "A person rejected this.", "Do not try this again; do something else."],
  ["cancelled", "approval_rejected", "The request for approval was cancelled.", "Ask again without it to open a new one."],
  ["consumed", "approval_consumed", "The approval was used before.", "Ask again without it to open a new one."],
  ["mismatch", "approval_mismatch", "The approval named is not an approval of this request.", "Ask again without it to open a new one."],
  ["unknown", "approval_mismatch", "The approval named is not an approval of this request.", "Ask again without it to open a new one."],
];
const HELD: readonly Row[] = ANSWERS.flatMap(([presented, code, message, hint]): Row[] =>
  (
    [
      ["the policy holds", { hold: { rule: "/approvals/actions" } }, "/approvals/actions"],
      ["a rule holds", { rules: [rule({ effect: "hold" })] }, "r1"],
    ] as const
  ).map(
    ([what, finds, pointer]): Row => [
      `${what}, with an approval that is ${presented}`,
      NOTHING_BEFORE,
      { finds, ...(presented !== "none" && { request: { approval: "apr_00000000-0000-7000-8000-000000000001" } }), around: { presented } },
      { code, message, rule: pointer, hint, ...(code === "approval_required" && { stops: null }) },
    ],
  ),
);

test.each([...ABOVE, ...BY_POLICY, ...HELD].map((row): [string, Row] => [row[0], row]))("the whole no: %s", (_, [, before, put, told, now = 0]) => {
  const sitting = new Sitting();
  before(sitting);
  expect(sitting.judge(put, now)).toMatchObject(whole(told));
});

describe("what stands just on this side of a limit is let through", () => {
  it.each<readonly [string, (sitting: Sitting) => void, Put, number]>([
    ["the last instant of a session", NOTHING_BEFORE, {}, EXPIRES_AT - 1],
    ["all that a session can count", NOTHING_BEFORE, { costs: 4_500_000_000_000_000 }, 0],
    ["the last of a budget", calls(1, { costs: 40 }), { costs: 60, finds: { budgets: [{ scope: "session", limitMicroUsd: usd(100) }] } }, 0],
    ["one fewer in progress", calls(1), { finds: { concurrency: [{ pattern: "pay", max: 2 }] } }, 0],
    ["a call when the oldest has just left", calls(1, { finds: { rates: [rate()] } }), { finds: { rates: [rate()] } }, 10_000],
    [
      "the same call when the first has just left",
      calls(1, { finds: { loops: [{ threshold: 2, windowMs: 30_000, key: "k" }] } }),
      { finds: { loops: [{ threshold: 2, windowMs: 30_000, key: "k" }] } },
      30_000,
    ],
    ["one failure fewer", fails(1), { finds: { retries: [{ threshold: 2, windowMs: 30_000 }] } }, 0],
    [
      "a permit that the history grants",
      NOTHING_BEFORE,
      {
        finds: { scene, permits: [{ rule: "p1", mode: "enforce", inputsMissing: false, asks: ["other", "asked"] }] },
        around: { conditions: answering(true) },
      },
      0,
    ],
    [
      "a permit that the history grants, though another needs the inputs",
      NOTHING_BEFORE,
      {
        finds: { scene, permits: [{ rule: "p1", mode: "enforce", inputsMissing: true, asks: ["other", "asked"] }] },
        around: { conditions: answering(true) },
      },
      0,
    ],
    [
      "a rule that the history does not bear out",
      NOTHING_BEFORE,
      { finds: { scene, rules: [rule({ said: { ask: "asked" } })] }, around: { conditions: answering(false) } },
      0,
    ],
  ])("%s", (_, before, put, now) => {
    const sitting = new Sitting();
    before(sitting);
    expect(sitting.judge(put, now)).toMatchObject({
      verdict: "allow",
      warnings: [],
      reason: { code: "permitted", message: "Every check passed.", rule: null, retryAfterMs: null, hint: null },
    });
  });
});

describe("an order", () => {
  const ids: Readonly<Record<Target, string>> = {
    tenant: "t",
    agent: "bot",
    session: "ses_00000000-0000-7000-8000-000000000001",
    run: RUN,
    action: "p*",
  };
  const order = (target: Target, state: Order["state"], id = ids[target]): Order => ({
    target,
    id,
    state,
    intervention: "int_00000000-0000-7000-8000-000000000001",
    at: 0,
  });
  const put = (one: Order): Put => ({ around: { lease: { fresh: false, policy: null, orders: [one] } } });
  const reaches: Readonly<Record<Target, Stops>> = { tenant: "session", agent: "session", session: "session", run: "run", action: "action" };

  it.each(TARGETS)("that kills the %s says what it reaches, before anything else", (target) => {
    const named = target === "tenant" ? "Everything of this tenant" : `The ${target} "${ids[target]}"`;
    const hint = "A person must revive it first. Do not try to go on another way.";
    expect(new Sitting().judge(put(order(target, "killed")))).toMatchObject(
      whole({ code: `${target}_killed`, message: `${named} was killed.`, hint, stops: reaches[target] }),
    );
  });

  it.each(TARGETS)("that pauses the %s stops this action and no more", (target) => {
    const named = target === "tenant" ? "Everything of this tenant" : `The ${target} "${ids[target]}"`;
    expect(new Sitting().judge(put(order(target, "paused")))).toMatchObject(
      whole({ code: `${target}_paused`, message: `${named} is paused.`, hint: "Wait until a person resumes it." }),
    );
  });

  it.each(TARGETS)("about another %s stops nobody", (target) => {
    const sitting = new Sitting();
    const lease = { fresh: true, policy: POLICY, orders: [order(target, "killed", "another")] };
    expect(sitting.judge({ around: { lease } }).verdict).toBe("allow");
  });
});

describe("of several that say no", () => {
  it("the rate that lasts longest says when to come back, and one that never ends lasts longest", () => {
    const sitting = new Sitting();
    const short = rate({ windowMs: 5_000 });
    const long = rate({ pattern: "p*", windowMs: 9_000 });
    const never = rate({ pattern: "*", max: 0 });
    const wide = rate({ pattern: "pa*", max: 5 });
    const waits = (...rates: RateLimit[]) => sitting.judge({ finds: { rates } }).reason.retryAfterMs;
    sitting.decide({ finds: { rates: [short, long] } });
    expect([waits(short, long), waits(long, short), waits(long, wide), waits(wide, short)]).toEqual([9_000, 9_000, 9_000, 5_000]);
    expect([waits(never, short), waits(short, never, long)]).toEqual([null, null]);
  });

  it("rules that only warn are told as warnings, in order, and only those that warn as advice", () => {
    const rules = [
      rule({ rule: "a", mode: "observe" }),
      rule({ rule: "b", mode: "warn" }),
      rule({ rule: "c", mode: "observe", said: "inputs_missing" }),
      rule({ rule: "d", mode: "warn", history: true }),
      rule({ rule: "e", mode: "observe", effect: "hold" }),
    ];
    const { verdict, warnings, advice } = new Sitting().judge({ finds: { rules } });
    expect(verdict).toBe("allow");
    expect(warnings.map(({ code, rule: of }) => `${code} ${of}`)).toEqual([
      "rule_forbids a",
      "rule_forbids b",
      "inputs_required c",
      "history_forbids d",
      "approval_required e",
    ]);
    expect(advice).toEqual([
      { code: "rule_warns", message: 'The rule "b" forbids this.', details: { reason: "rule_forbids", rule: "b" } },
      {
        code: "rule_warns",
        message: 'What happened before in this session forbids this, says the rule "d".',
        details: { reason: "history_forbids", rule: "d" },
      },
    ]);
  });

  it("a hundred warnings are told and no more", () => {
    const rules = Array.from({ length: 101 }, (_, place) => rule({ rule: `r${place}`, mode: "observe" }));
    const told = (count: number) => new Sitting().judge({ finds: { rules: rules.slice(0, count) } }).warnings.length;
    expect([told(99), told(100), told(101)]).toEqual([99, 100, 100]);
  });
});

describe("what must come first", () => {
  const asks = (sitting: Sitting, more: Partial<Requirement>, put: Put = {}, now = 0) =>
    sitting.judge({ ...put, finds: { requirements: [needs(more)], ...put.finds } }, now).verdict;
  const KEEP: Partial<Findings> = { keep: { paths: [["inputs", "n"], ["resource"]], forMs: null } };

  it.each([
    ["pending", true, () => undefined],
    ["success", true, (sitting: Sitting, id: `dec_${string}`) => sitting.commit(id, 0)],
    ["error", false, (sitting: Sitting, id: `dec_${string}`) => sitting.commit(id, 0, 0, { outcome: "error", error: "no" })],
    ["released", false, (sitting: Sitting, id: `dec_${string}`) => sitting.release(id)],
  ] as const)("counts with the outcome %s: %s, unless its condition looks at the outcome itself", (_, counts, end) => {
    const sitting = new Sitting();
    end(sitting, sitting.decide({ request: { action: "check" } }).id);
    expect(asks(sitting, {})).toBe(counts ? "allow" : "deny");
    expect(asks(sitting, { looksAtOutcome: true })).toBe("allow");
  });

  it("all of it must, in whatever order", () => {
    const sitting = new Sitting();
    sitting.decide({ request: { action: "second" } });
    expect(asks(sitting, { after: ["first", "second"] })).toBe("deny");
    sitting.decide({ request: { action: "first" } });
    expect(asks(sitting, { after: ["first", "second"] })).toBe("allow");
  });

  it("may be exactly as old as is allowed, and no older", () => {
    const sitting = new Sitting();
    sitting.decide({ request: { action: "check" } });
    expect([1_000, 1_001].map((now) => asks(sitting, { withinMs: 1_000 }, {}, now))).toEqual(["allow", "deny"]);
  });

  it.each<readonly [string, Put["request"], Put["request"], "allow" | "deny"]>([
    ["the same input", { inputs: { n: 1 } }, { inputs: { n: 1 } }, "allow"],
    ["another input", { inputs: { n: 1 } }, { inputs: { n: 2 } }, "deny"],
    ["no input then", {}, { inputs: { n: 1 } }, "deny"],
    ["no input now", { inputs: { n: 1 } }, {}, "deny"],
    ["no input at all", {}, {}, "deny"],
  ])("about the same: %s", (_, then, now, verdict) => {
    const sitting = new Sitting();
    sitting.decide({ request: { action: "check", ...then }, finds: KEEP });
    expect(asks(sitting, { same: [["inputs", "n"]] }, { request: now ?? {} })).toBe(verdict);
  });

  it("about the same resource", () => {
    const sitting = new Sitting();
    const resource = { type: "order", id: "o1" };
    sitting.decide({ request: { action: "check", resource }, finds: KEEP });
    expect(asks(sitting, { same: [["resource"]] }, { request: { resource } })).toBe("allow");
    expect(asks(sitting, { same: [["resource"]] }, { request: { resource: { type: "order", id: "o2" } } })).toBe("deny");
    expect(asks(sitting, { same: [["resource"]] })).toBe("deny");
  });

  it.each([
    [true, "allow"],
    [false, "deny"],
    [null, "deny"],
  ] as const)("and what it said must be as asked: a condition that answers %s", (answer, verdict) => {
    const sitting = new Sitting();
    sitting.decide({ request: { action: "check" } });
    expect(asks(sitting, { where: "w" }, { finds: { scene }, around: { conditions: answering(answer) } })).toBe(verdict);
    // Without a scene nothing can be asked.
    expect(asks(sitting, { where: "w" }, { around: { conditions: answering(answer) } })).toBe("deny");
  });
});

it.each([
  ["less", 50, "Ask for at most 0.00001 USD."],
  ["nothing", 40, "The run's budget, which counts as well, has nothing left."],
])("of what an action has left no more is told to be asked for than the run lets through: that has %s", (_, ofRun, hint) => {
  const sitting = new Sitting();
  const finds: Put["finds"] = {
    budgets: [
      { scope: "action", pattern: "p*", limitMicroUsd: usd(100) },
      { scope: "run", limitMicroUsd: usd(ofRun) },
      { scope: "session", limitMicroUsd: usd(100) },
    ],
  };
  sitting.decide({ costs: 40, finds });
  const { reason } = sitting.judge({ costs: 61, finds });
  expect(reason).toMatchObject({ code: "action_budget_exceeded", rule: "/budgets/actions/p*", hint });
});

it.each<[string, BudgetLimit, string]>([
  ["its own", { scope: "session", limitMicroUsd: usd(100) }, "The session's budget of 0.0001 USD"],
  ["others'", { scope: "tenant", window: "total", limitMicroUsd: usd(100) }, "The tenant's budget of 0.0001 USD in all"],
])("what takes nothing is told that a budget is overspent, and not that it has too little for it: %s", (_, limit, named) => {
  const sitting = new Sitting();
  if (limit.scope === "tenant") sitting.give(limit, 100);
  sitting.commit(sitting.decide({ costs: 40, finds: { budgets: [limit] } }).id, 130);
  const { verdict, reason } = sitting.judge({ costs: 0, finds: { budgets: [limit] } });
  const message = `${named} is overspent by 0.00003 USD, and until more is there it lets nothing through, not even what takes nothing.`;
  expect({ verdict, ...reason }).toMatchObject({ verdict: "deny", code: `${limit.scope}_budget_exceeded`, message });
});

it("a larger sum is refused with the sum that can be had, and not with the difference: that would give most of it back", () => {
  const sitting = new Sitting();
  const finds: Put["finds"] = { budgets: [{ scope: "session", limitMicroUsd: usd(100) }] };
  const { id } = sitting.decide({ costs: 60, finds });
  expect(sitting.topup(id, 101, 1, { finds })).toMatchObject({
    value: {
      verdict: "deny",
      reason: {
        message: "The session's budget has 0.00004 USD left of 0.0001, and this takes 0.000041.",
        hint: "Ask for at most 0.0001 USD in all.",
      },
    },
  });
  expect(sitting.topup(id, 100, 1, { finds })).toMatchObject({ value: { verdict: "allow" } });
});

describe("what sessions share", () => {
  const AGENT_DAY = { scope: "agent", window: "day", limitMicroUsd: usd(100) } as const;
  const TENANT_ALL = { scope: "tenant", window: "total", limitMicroUsd: usd(100) } as const;
  const DAY_MS = 86_400_000;

  /** The tenant says how much of one account this session may spend, and what others have. */
  function given(sitting: Sitting, limit: SharedLimit, granted: number, others: number, pending = 0): void {
    const { shares } = sitting.book;
    const told = draw(shares, [{ kind: "money", limit, amountMicroUsd: usd(granted), leastMicroUsd: usd(0), alerts: [] }], false);
    const { scope, window, limitMicroUsd } = limit;
    const word: Word = {
      ask: told.ask,
      slices: [
        {
          scope,
          window,
          startsAt: noShares(0).spans.find((span) => span.window === window)?.startsAt ?? 0,
          limitMicroUsd,
          grantedMicroUsd: usd(granted),
          others: { postedMicroUsd: usd(others), pendingMicroUsd: usd(pending), leasedMicroUsd: usd(0) },
          isExact: false,
          isShort: false,
        },
      ],
      permits: [],
    };
    expect(hear(shares, word, told)).toBe(true);
  }

  it.each<readonly [string, typeof AGENT_DAY | typeof TENANT_ALL, number, number, Told]>([
    [
      "more of the agent's day than is left",
      AGENT_DAY,
      30,
      71,
      {
        code: "agent_budget_exceeded",
        message: "The agent's budget has 0.00003 USD left of 0.0001 for each day, and this takes 0.000071.",
        rule: "/budgets/agent/day",
        wait: DAY_MS - 5,
        hint: `Ask for at most 0.00003 USD. More is there in about 24 hours.`,
      },
    ],
    [
      "more than a whole day has",
      AGENT_DAY,
      30,
      101,
      {
        code: "agent_budget_exceeded",
        message: "The agent's budget has 0.00003 USD left of 0.0001 for each day, and this takes 0.000101.",
        rule: "/budgets/agent/day",
        hint: "Ask for at most 0.00003 USD. Only more budget helps.",
      },
    ],
    [
      "a day that is gone",
      AGENT_DAY,
      0,
      100,
      {
        code: "agent_budget_exceeded",
        message: "The agent's budget has 0 USD left of 0.0001 for each day, and this takes 0.0001.",
        rule: "/budgets/agent/day",
        wait: DAY_MS - 5,
        hint: `Nothing is left. More is there in about 24 hours.`,
        stops: "session",
      },
    ],
    [
      "what the tenant has in all, when it is gone",
      TENANT_ALL,
      0,
      1,
      {
        code: "tenant_budget_exceeded",
        message: "The tenant's budget has 0 USD left of 0.0001 in all, and this takes 0.000001.",
        rule: "/budgets/tenant/total",
        hint: "Nothing is left. Only more budget helps.",
        stops: "session",
      },
    ],
  ])("%s", (_, limit, left, costs, told) => {
    const sitting = new Sitting();
    given(sitting, limit, 0, 100 - left);
    expect(sitting.judge({ costs, finds: { budgets: [limit] } }, 5)).toMatchObject({ ...whole(told), shorts: [] });
    // Not yet asked, the tenant may know better: nothing is final, and it must be asked for exactly this.
    const unasked = sitting.judge({ costs, finds: { budgets: [limit], alerts: [0.5] }, around: { tenant: "unasked" } }, 5);
    expect(unasked.shorts).toEqual([{ kind: "money", limit, amountMicroUsd: costs, leastMicroUsd: costs, alerts: [0.5] }]);
    expect(sitting.judge({ costs, finds: { budgets: [limit] }, around: { tenant: "lost" } }, 5)).toMatchObject(
      whole({ ...STALE, message: "What the session may use without asking is used up, and its tenant gave no more in time." }),
    );
  });

  it("of which there is enough, by all that was heard, is not waited for where a person has said no", () => {
    const sitting = new Sitting();
    given(sitting, AGENT_DAY, 0, 30);
    const put = (tenant: TenantWord, presented: PresentedApproval): Put => ({
      costs: 70,
      finds: { budgets: [AGENT_DAY], hold: { rule: "/approvals/actions" } },
      request: { approval: "apr_00000000-0000-7000-8000-000000000001" },
      around: { tenant, presented },
    });
    expect(sitting.judge(put("heard", "rejected"))).toMatchObject({ verdict: "deny", reason: { code: "approval_rejected" }, shorts: [] });
    expect(sitting.judge(put("unasked", "rejected")).shorts).toHaveLength(1);
    expect(sitting.judge(put("heard", "granted")).shorts).toHaveLength(1);
  });

  it("is denied where the others have posted and this session has set aside the largest amount there is", () => {
    const sitting = new Sitting();
    const limit = { ...AGENT_DAY, limitMicroUsd: usd(100_000_000) };
    sitting.give(limit, 50_000_000);
    expect(sitting.decide({ costs: 1_000_000, finds: { budgets: [limit] } }).verdict).toBe("allow");
    sitting.give(limit, 1_000_000, { others: { postedMicroUsd: usd(Number.MAX_SAFE_INTEGER), pendingMicroUsd: usd(0), leasedMicroUsd: usd(0) } });
    expect(sitting.judge({ costs: 1, finds: { budgets: [limit] } })).toMatchObject({ verdict: "deny", reason: { code: "agent_budget_exceeded" } });
  });

  it("what others have set aside of an account may come back: it ends nothing", () => {
    const sitting = new Sitting();
    given(sitting, AGENT_DAY, 0, 0, 100);
    expect(sitting.judge({ costs: 1, finds: { budgets: [AGENT_DAY] } }, 5)).toMatchObject({
      stops: "action",
      reason: {
        code: "agent_budget_exceeded",
        hint: "What is left is set aside for what is under way, and some of it may come back when that is settled. More is there in about 24 hours.",
        retryAfterMs: DAY_MS - 5,
      },
      shorts: [],
    });
    given(sitting, TENANT_ALL, 0, 0, 100);
    const hint = "What is left is set aside for what is under way, and some of it may come back when that is settled.";
    expect(sitting.judge({ costs: 1, finds: { budgets: [TENANT_ALL] } }, 5)).toMatchObject({ stops: "action", reason: { hint, retryAfterMs: null } });
  });

  it.each([
    ["one that never comes back", 100, 0, "Nothing is left. Only more budget helps."],
    ["one that is set aside, until nobody knows when", 0, 100, "Nothing is left."],
  ])(
    "of several accounts that are gone the narrowest is the reason, and what lasts longest says when to come back: %s",
    (_, posted, pending, hint) => {
      const sitting = new Sitting();
      given(sitting, AGENT_DAY, 0, 100);
      given(sitting, TENANT_ALL, 0, posted, pending);
      expect(sitting.judge({ costs: 1, finds: { budgets: [AGENT_DAY, TENANT_ALL] } }, 5)).toMatchObject({
        stops: "session",
        reason: { code: "agent_budget_exceeded", rule: "/budgets/agent/day", hint, retryAfterMs: null },
        shorts: [],
      });
    },
  );

  it("where its tenant cannot be reached it is one no, of however many accounts: a policy that only observes warns once", () => {
    const lost = { costs: 1, finds: { strict: false, budgets: [AGENT_DAY, TENANT_ALL] }, around: { tenant: "lost" } } as const;
    expect(new Sitting().judge(lost, 5)).toMatchObject({ verdict: "allow", warnings: [{ code: "authority_stale" }], shorts: [] });
  });

  it.each([
    ["less", 80, "Ask for at most 0.00002 USD."],
    ["nothing", 100, "The tenant's budget, which counts as well, has nothing left. Only more budget helps."],
  ])("of what the narrowest has left no more is told to be asked for than another lets through: that has %s", (_, posted, hint) => {
    const sitting = new Sitting();
    given(sitting, AGENT_DAY, 0, 70);
    given(sitting, TENANT_ALL, 0, posted);
    const { reason } = sitting.judge({ costs: 31, finds: { budgets: [AGENT_DAY, TENANT_ALL] } }, 5);
    const message = "The agent's budget has 0.00003 USD left of 0.0001 for each day, and this takes 0.000031.";
    expect(reason).toMatchObject({ code: "agent_budget_exceeded", message, hint: expect.stringContaining(hint) });
  });

  it.each([
    ["the agent's", AGENT_DAY],
    ["the tenant's", TENANT_ALL],
  ])("of what the session has left no more is told to be asked for than others have left, as its tenant last told it: %s", (_, limit) => {
    const hintOf = (others: number) => {
      const sitting = new Sitting();
      given(sitting, limit, 0, others);
      return sitting.judge({ costs: 51, finds: { budgets: [{ scope: "session", limitMicroUsd: usd(50) }, limit] } }, 5).reason.hint;
    };
    expect([0, 60, 100].map(hintOf)).toEqual(["Ask for at most 0.00005 USD.", "Ask for at most 0.00004 USD.", "Ask for at most 0.00005 USD."]);
  });

  it("of two that come back the later one says when", () => {
    const sitting = new Sitting();
    const hour = { ...AGENT_DAY, window: "hour" } as const;
    given(sitting, hour, 0, 100);
    given(sitting, AGENT_DAY, 0, 100);
    const { reason } = sitting.judge({ costs: 1, finds: { budgets: [hour, AGENT_DAY] } }, 5);
    expect(reason).toMatchObject({ rule: "/budgets/agent/hour", retryAfterMs: DAY_MS - 5 });
  });

  it("what was given is spent to the last, whatever became of the tenant", () => {
    const sitting = new Sitting();
    given(sitting, TENANT_ALL, 50, 0);
    const verdict = (costs: number) => sitting.judge({ costs, finds: { budgets: [TENANT_ALL] }, around: { tenant: "lost" } }).verdict;
    expect([verdict(50), verdict(51)]).toEqual(["allow", "deny"]);
  });

  it("while there is enough, by all that was heard, no budget is the reason: what was given may have gone back for another account's sake", () => {
    const sitting = new Sitting();
    // 100 less 30 of others; and of what it was given it has nothing any more.
    given(sitting, AGENT_DAY, 0, 30);
    const judged = (costs: number, budgets: readonly (typeof AGENT_DAY | typeof TENANT_ALL)[] = [AGENT_DAY]) =>
      sitting.judge({ costs, finds: { budgets } });
    const short = (costs: number) => ({ kind: "money", limit: AGENT_DAY, amountMicroUsd: costs, leastMicroUsd: costs, alerts: [] });
    expect(judged(70).shorts).toEqual([short(70)]);
    expect(judged(71)).toMatchObject({ reason: { code: "agent_budget_exceeded" }, shorts: [] });
    // Where another account is the reason, that is what is told, and nobody is asked for anything.
    given(sitting, TENANT_ALL, 0, 100);
    expect(judged(70, [AGENT_DAY, TENANT_ALL])).toMatchObject({ reason: { code: "tenant_budget_exceeded" }, shorts: [] });
    // Heard of under a larger limit than is in force, it says nothing of what there is under this one.
    const tighter = { ...AGENT_DAY, limitMicroUsd: microUsdOf(90) };
    expect(sitting.judge({ costs: 1, finds: { budgets: [tighter] } }).shorts).toEqual([]);
  });

  it("of a stretch of which nothing was heard the tenant is asked, even if it has just spoken", () => {
    expect(new Sitting().judge({ costs: 1, finds: { budgets: [AGENT_DAY] } }).shorts).toHaveLength(1);
  });

  it("what takes nothing is not told that a budget is overspent which is only tighter than the one that was heard of", () => {
    const sitting = new Sitting();
    given(sitting, AGENT_DAY, 0, 30);
    expect(sitting.judge({ costs: 0, finds: { budgets: [{ ...AGENT_DAY, limitMicroUsd: usd(90) }] } })).toMatchObject({
      verdict: "deny",
      reason: { message: "The agent's budget has 0.00006 USD left of 0.00009 for each day, and this takes 0." },
    });
  });

  it("what the tenant must be asked for is asked for together, each account once", () => {
    const { shorts } = new Sitting().judge({ costs: 1, finds: { budgets: [AGENT_DAY, TENANT_ALL] }, around: { tenant: "unasked" } });
    expect(shorts.map((short) => short.kind === "money" && short.limit)).toEqual([AGENT_DAY, TENANT_ALL]);
  });

  /** What the tenant last said of calls. */
  const permits = (shares: Shares, unused: number, fitsAt: number | null): void => {
    const limits = [{ max: 3, windowMs: 10_000 }];
    const of = { per: "agent", pattern: "pay", used: [], told: 0, remaining: 0, resetsAt: null, isExact: false } as const;
    shares.permits.set("agent pay", { ...of, unused, limits, fitsAt });
  };
  const shared = rate({ max: 3, per: "agent" });

  it("calls of which there are some, by all that was heard, are asked for again", () => {
    const sitting = new Sitting();
    permits(sitting.book.shares, 0, 0);
    const [[key, known] = ["", undefined]] = sitting.book.shares.permits;
    const judged = (remaining: number, max = 3) => {
      if (known !== undefined) sitting.book.shares.permits.set(key, { ...known, remaining });
      return sitting.judge({ finds: { rates: [rate({ max, per: "agent" })] } });
    };
    expect(judged(0)).toMatchObject({ reason: { code: "rate_exceeded" }, shorts: [] });
    expect(judged(1).shorts).toEqual([{ kind: "calls", per: "agent", pattern: "pay", limits: [{ max: 3, windowMs: 10_000 }] }]);
    // Under a tighter limit than is in force now it says nothing.
    expect(judged(1, 2)).toMatchObject({ reason: { code: "rate_exceeded" }, shorts: [] });
  });

  it("what there is enough of, by all that was heard, is not waited for where something else says no for good", () => {
    const sitting = new Sitting();
    permits(sitting.book.shares, 0, 0);
    const [[key, known] = ["", undefined]] = sitting.book.shares.permits;
    if (known !== undefined) sitting.book.shares.permits.set(key, { ...known, remaining: 1 });
    given(sitting, AGENT_DAY, 0, 100);
    const put = (tenant: TenantWord): Put => ({ costs: 1, finds: { rates: [shared], budgets: [AGENT_DAY] }, around: { tenant } });
    expect(sitting.judge(put("heard"))).toMatchObject({ verdict: "deny", reason: { code: "agent_budget_exceeded" }, shorts: [] });
    // Before the tenant was asked nothing is for good.
    expect(sitting.judge(put("unasked")).shorts).toHaveLength(2);
    // Where nothing else says no, it decides.
    expect(sitting.judge({ ...put("heard"), costs: 0, finds: { rates: [shared] } }).shorts).toHaveLength(1);
  });

  it.each([
    ["a call fits later", 7_000, 2_000, 5_000],
    ["a call fits by now: then in a moment", 1_000, 2_000, 1],
    ["nobody knows when", null, 2_000, null],
  ] as const)("calls of all sessions: %s", (_, fitsAt, now, wait) => {
    const sitting = new Sitting();
    permits(sitting.book.shares, 0, fitsAt);
    expect(sitting.judge({ finds: { rates: [shared, shared] } }, now)).toMatchObject(
      whole({
        code: "rate_exceeded",
        message: '3 of "pay" are allowed to all sessions of the agent within 10 s, and as many were.',
        rule: "/rate_limits/pay",
        ...(wait !== null && { wait }),
        hint: wait === null ? "This action is never allowed under the present limit." : `Try again in ${wait === 1 ? "a second" : "5 seconds"}.`,
      }),
    );
    const { shorts } = sitting.judge(
      { finds: { rates: [shared, rate({ max: 9, per: "agent" }), rate({ per: "tenant" })] }, around: { tenant: "unasked" } },
      now,
    );
    expect(shorts).toEqual([
      {
        kind: "calls",
        per: "agent",
        pattern: "pay",
        limits: [
          { max: 3, windowMs: 10_000 },
          { max: 9, windowMs: 10_000 },
        ],
      },
      { kind: "calls", per: "tenant", pattern: "pay", limits: [{ max: 1, windowMs: 10_000 }] },
    ]);
    expect(sitting.judge({ finds: { rates: [shared] }, around: { tenant: "lost" } }, now).reason.code).toBe("authority_stale");
  });

  it("a call that leave was given for is made, however many the session has counted by itself under an earlier policy", () => {
    const sitting = new Sitting();
    calls(3, { finds: { rates: [rate({ max: 9 })] } })(sitting);
    permits(sitting.book.shares, 1, null);
    expect(sitting.judge({ finds: { rates: [shared] } }).verdict).toBe("allow");
  });

  it("a call that leave was given for is made, and is none of the session's own", () => {
    const sitting = new Sitting();
    permits(sitting.book.shares, 1, null);
    const put: Put = { finds: { rates: [shared] }, around: { tenant: "lost" } };
    expect([sitting.decide(put).verdict, sitting.decide(put).verdict]).toEqual(["allow", "deny"]);
    expect(sitting.book.hits.size).toBe(0);
  });
});

describe("the reserve for winding down", () => {
  const windDown = { scope: "wind_down", limitMicroUsd: usd(50) } as const;
  const budgets: readonly BudgetLimit[] = [{ scope: "session", limitMicroUsd: usd(100) }];

  it("pays what no budget does, to the last of it, and says so", () => {
    const sitting = new Sitting();
    const asked = (costs: number) => sitting.judge({ costs, finds: { budgets, windDown } });
    sitting.decide({ costs: 100, finds: { budgets } });
    expect(asked(50)).toMatchObject({
      verdict: "allow",
      fund: "wind_down",
      advice: [
        {
          code: "wind_down",
          message: "The session's budget has 0 USD left of 0.0001, and this takes 0.00005. It is paid from the reserve for winding down.",
          details: { rule: "/wind_down" },
        },
      ],
    });
    expect(asked(51)).toMatchObject({ verdict: "deny", reason: { code: "session_budget_exceeded", rule: "/budgets/session" } });
  });

  it.each([
    ["has something left", 49, "Ask for at most 0.000001 USD: so much is left of the reserve for winding down."],
    [
      "is set aside",
      50,
      "What is left of the reserve for winding down is set aside for what is under way, and some of it may come back when that is settled.",
    ],
  ])("is what the agent is told of where it has too little: one that %s", (_, taken, hint) => {
    const sitting = new Sitting();
    sitting.decide({ costs: 100, finds: { budgets } });
    sitting.decide({ costs: taken, finds: { budgets, windDown } });
    expect(sitting.judge({ costs: 2, finds: { budgets, windDown } })).toMatchObject({ verdict: "deny", stops: "action", reason: { hint } });
  });

  it.each([
    [
      "with a reserve",
      windDown,
      "The reserve for winding down has 0.00001 USD left, and this takes 0.000011.",
      "Ask for at most 0.00005 USD in all.",
    ],
    [
      "under a policy that has none any more",
      null,
      "The reserve for winding down has 0 USD left, and this takes 0.000011.",
      "What is set aside for it already is all that it can have.",
    ],
  ] as const)("refuses a larger sum than it has: %s", (_, present, message, hint) => {
    const sitting = new Sitting();
    sitting.decide({ costs: 100, finds: { budgets } });
    const { id } = sitting.decide({ costs: 40, finds: { budgets, windDown } });
    const told = sitting.topup(id, 51, 0, { finds: { budgets, windDown: present } });
    expect(told).toMatchObject({
      ok: true,
      value: {
        verdict: "deny",
        ...whole({ code: "session_budget_exceeded", message, rule: "/wind_down/budget", hint }),
        reservation: { amountMicroUsd: 40 },
      },
    });
    if (present !== null) expect(sitting.topup(id, 50, 0, { finds: { budgets, windDown } })).toMatchObject({ value: { verdict: "allow" } });
  });
});

it.each<readonly [BudgetLimit, string]>([
  [{ scope: "action", pattern: "a/~b/~*", limitMicroUsd: usd(1) }, "/budgets/actions/a~1~0b~1~0*"],
  [{ scope: "run", limitMicroUsd: usd(1) }, "/budgets/run"],
  [{ scope: "session", limitMicroUsd: usd(1) }, "/budgets/session"],
  [{ scope: "agent", window: "hour", limitMicroUsd: usd(1) }, "/budgets/agent/hour"],
  [{ scope: "tenant", window: "month", limitMicroUsd: usd(1) }, "/budgets/tenant/month"],
])("a limit is named by where the policy says it: %j", (limit, pointer) => {
  expect(budgetRule(limit)).toBe(pointer);
});
