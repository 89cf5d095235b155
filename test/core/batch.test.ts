import { describe, expect, it } from "vitest";
import { type BatchSemantics, decideAll, type Member } from "../../src/core/batch.ts";
import type { Decision, Verdict } from "../../src/core/decision.ts";
import type { ApprovalId, RunId } from "../../src/core/ids.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { BudgetLimit, Findings, RateLimit, SharedLimit } from "../../src/core/policy/findings.ts";
import type { CallLimit, Permits } from "../../src/core/shares.ts";
import { type Put, Sitting } from "./sitting.ts";

const ALL: readonly BatchSemantics[] = ["independent", "stop_on_deny", "all_or_nothing"];
const usd = microUsdOf;
const SESSION: BudgetLimit = { scope: "session", limitMicroUsd: usd(100) };
const DAY: SharedLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
/** Others have spent what a slice of 50 leaves of the day. */
const OTHER_HALF = { others: { postedMicroUsd: usd(50), pendingMicroUsd: usd(0), leasedMicroUsd: usd(0) } };
const TOTAL: SharedLimit = { scope: "tenant", window: "total", limitMicroUsd: usd(100) };
const RATE: RateLimit = { pattern: "pay", max: 3, windowMs: 10_000, per: "agent" };
const HOLD: Partial<Findings> = { hold: { rule: "/approvals/actions" } };
const DENY: Partial<Findings> = { deniedBy: "pay" };

const member = (sitting: Sitting, put: Put, prior: Decision | null = null): Member => ({ ask: sitting.ask(put), fingerprint: "f", prior });
const decide = (sitting: Sitting, members: readonly Member[], semantics: BatchSemantics = "independent") =>
  sitting.turn(0, (turn) => decideAll(turn, members, semantics));

/** The answers of a batch that must not be short of anything. */
function answers(sitting: Sitting, members: readonly Member[], semantics: BatchSemantics = "independent") {
  const decided = decide(sitting, members, semantics);
  if (decided.kind === "short") throw new Error(`short of ${JSON.stringify(decided.shorts)}`);
  return decided.answers;
}
const verdicts = (sitting: Sitting, members: readonly Member[], semantics: BatchSemantics = "independent"): readonly Verdict[] =>
  answers(sitting, members, semantics).map(({ answer }) => answer.verdict);

/** What nobody was told of has not happened. */
function expectUntouched(sitting: Sitting): void {
  expect(sitting.decided).toEqual([]);
  expect(sitting.ledger).toEqual([]);
  expect(sitting.book).toMatchObject({ head: { seq: 0 }, counts: { allow: 0, deny: 0, hold: 0 }, total: { pendingMicroUsd: 0 } });
}

describe("the answers of a batch", () => {
  it("all_or_nothing counts what was called before the batch", () => {
    const sitting = new Sitting();
    const one = () => member(sitting, { finds: { rates: [{ ...RATE, per: "session" }] } });
    expect(verdicts(sitting, [one()])).toEqual(["allow"]);
    expect(verdicts(sitting, [one(), one(), one()], "all_or_nothing")).toEqual(["deny", "deny", "deny"]);
    expect(verdicts(sitting, [one(), one()], "all_or_nothing")).toEqual(["allow", "allow"]);
  });

  const costs = (sitting: Sitting, ...sums: readonly number[]) => sums.map((sum) => member(sitting, { costs: sum, finds: { budgets: [SESSION] } }));

  it.each<readonly [BatchSemantics, readonly number[], readonly string[], number]>([
    ["independent", [60, 60, 40], ["permitted", "session_budget_exceeded", "permitted"], 100],
    ["stop_on_deny", [60, 60, 40], ["permitted", "session_budget_exceeded"], 60],
    ["all_or_nothing", [60, 60, 40], ["batch_refused", "session_budget_exceeded", "batch_refused"], 0],
    ["all_or_nothing", [60, 40], ["permitted", "permitted"], 100],
    ["stop_on_deny", [60, 40], ["permitted", "permitted"], 100],
    ["independent", [101], ["session_budget_exceeded"], 0],
    ["all_or_nothing", [100], ["permitted"], 100],
    ["independent", [], [], 0],
  ])("%s, of %j from 100", (semantics, sums, codes, taken) => {
    const sitting = new Sitting();
    const found = answers(sitting, costs(sitting, ...sums), semantics);
    expect(found.map(({ answer }) => answer.reason.code)).toEqual(codes);
    expect(found.every(({ replayed }) => !replayed)).toBe(true);
    expect(sitting.book.total.pendingMicroUsd).toBe(taken);
    // What was not asked is not on record; what was, is, once and in order.
    expect(sitting.ledger.map(({ entry }) => entry.reason)).toEqual(codes);
    expect(sitting.decided.map(({ decision }) => decision)).toEqual(found.map(({ answer }) => answer));
    expect(sitting.decided.map(({ fingerprint }) => fingerprint)).toEqual(codes.map(() => "f"));
  });

  it("where one is refused the others say that it was not they, and keep what else they were told", () => {
    const sitting = new Sitting();
    const warns: Partial<Findings> = {
      rules: [{ rule: "w", effect: "forbid", history: false, mode: "warn", stops: "action", said: "holds" }],
    };
    const [first] = answers(sitting, [member(sitting, { costs: 5, finds: warns }), member(sitting, { finds: DENY })], "all_or_nothing");
    expect(first?.answer).toMatchObject({
      verdict: "deny",
      stops: "action",
      reason: {
        code: "batch_refused",
        message: "Another decision of the same all-or-nothing batch was not allowed.",
        rule: null,
        retryAfterMs: null,
        hint: "Ask again without the decision that was not allowed.",
      },
      warnings: [{ code: "rule_forbids", rule: "w" }],
      advice: [{ code: "rule_warns" }],
      reservation: null,
      approval: null,
    });
  });

  it("a hold ends nothing, but is no leave for all", () => {
    for (const [semantics, found] of [
      ["independent", ["hold", "allow"]],
      ["stop_on_deny", ["hold", "allow"]],
      ["all_or_nothing", ["hold", "deny"]],
    ] as const) {
      const sitting = new Sitting();
      expect(verdicts(sitting, [member(sitting, { finds: HOLD }), member(sitting, {})], semantics)).toEqual(found);
    }
  });

  it("nobody is asked about one of a batch that all of it is denied with; who was asked before still is", () => {
    const sitting = new Sitting();
    const before = sitting.decide({ finds: HOLD });
    const asks = (approval: ApprovalId | null) => [member(sitting, { finds: HOLD, request: { approval } }), member(sitting, { finds: DENY })];
    expect(answers(sitting, asks(null), "all_or_nothing").map(({ answer }) => [answer.reason.code, answer.approval])).toEqual([
      ["batch_refused", null],
      ["action_denied", null],
    ]);
    expect(sitting.book.approvals.size).toBe(1);
    const [again] = answers(sitting, asks(before.approval?.id ?? null), "all_or_nothing");
    expect([again?.answer.verdict, again?.answer.approval?.id]).toEqual(["hold", before.approval?.id]);
    // Alone it asks.
    expect(verdicts(sitting, asks(null))).toEqual(["hold", "deny"]);
    expect(sitting.book.approvals.size).toBe(2);
  });

  it("an approval that a batch could not use is still there", () => {
    const sitting = new Sitting();
    const held = sitting.decide({ finds: HOLD });
    const id = held.approval?.id ?? "apr_00000000-0000-7000-8000-000000000000";
    const approval = sitting.book.approvals.get(id);
    if (approval === undefined) throw new Error("a person was asked");
    sitting.book.approvals.set(id, { ...approval, status: "approved" });
    const asks = () => [member(sitting, { finds: HOLD, request: { approval: id } }), member(sitting, { finds: DENY })];
    expect(verdicts(sitting, asks(), "all_or_nothing")).toEqual(["deny", "deny"]);
    expect(sitting.book.approvals.get(id)?.status).toBe("approved");
    expect(verdicts(sitting, asks())).toEqual(["allow", "deny"]);
  });

  it.each(ALL)("%s: a member is judged after all that came before it", (semantics) => {
    const sitting = new Sitting();
    const finds: Partial<Findings> = {
      requirements: [{ rule: "/requires/pay", after: ["check"], withinMs: null, same: [], where: null, looksAtOutcome: false, inputsMissing: false }],
    };
    const check = () => member(sitting, { request: { action: "check" } });
    expect(verdicts(sitting, [check(), member(sitting, { finds })], semantics)).toEqual(["allow", "allow"]);
  });
});

describe("a member that was asked before", () => {
  const RUN_GONE: RunId = "run_00000000-0000-7000-8000-000000000009";

  it.each(ALL)("%s: has its recorded answer, and is charged and written down once", (semantics) => {
    const sitting = new Sitting();
    const prior = sitting.decide({ costs: 60, finds: { budgets: [SESSION] } });
    // What would be refused now was allowed then.
    const asked = member(sitting, { request: { run: RUN_GONE } }, prior);
    const fresh = member(sitting, { costs: 40, finds: { budgets: [SESSION] } });
    const found = answers(sitting, [asked, fresh], semantics);
    expect(found.map(({ answer, replayed }) => [answer.verdict, replayed])).toEqual([
      ["allow", true],
      ["allow", false],
    ]);
    expect(found[0]?.answer).toBe(prior);
    expect(sitting.book.total.pendingMicroUsd).toBe(100);
    expect(sitting.ledger).toHaveLength(2);
  });

  it.each(ALL)("%s: alone gets it too", (semantics) => {
    const sitting = new Sitting();
    const prior = sitting.decide();
    expect(answers(sitting, [member(sitting, {}, prior)], semantics)).toEqual([{ answer: prior, replayed: true }]);
    expect(sitting.ledger).toHaveLength(1);
  });

  it.each([
    ["independent", ["permitted"], 2],
    ["stop_on_deny", [], 1],
    ["all_or_nothing", ["batch_refused"], 2],
  ] as const)("%s: and was denied counts as denied", (semantics, rest, count) => {
    const sitting = new Sitting();
    const prior = sitting.decide({ finds: DENY });
    const found = answers(sitting, [member(sitting, {}, prior), member(sitting, {})], semantics);
    expect(found).toHaveLength(count);
    expect(found.slice(1).map(({ answer }) => answer.reason.code)).toEqual(rest);
  });
});

describe("what a batch is short of", () => {
  const money = (limit: SharedLimit, amountMicroUsd: number, leastMicroUsd = amountMicroUsd) => ({
    kind: "money",
    limit,
    amountMicroUsd,
    leastMicroUsd,
    alerts: [],
  });
  const calls = (per: Permits["per"], pattern: string, limits: readonly CallLimit[]) => ({ kind: "calls", per, pattern, limits });
  const CALL = calls("agent", "pay", [{ max: 3, windowMs: 10_000 }]);
  const unasked = (finds: Partial<Findings>, costs = 0): Put => ({ costs, finds, around: { tenant: "unasked" } });
  const spends = (costs: number, budgets: readonly BudgetLimit[] = [DAY]) => unasked({ budgets }, costs);
  const permitted = (sitting: Sitting, unused: number, used: readonly number[] = []): void => {
    const said = { used, told: 0, remaining: 0, resetsAt: null, fitsAt: null, isExact: false } as const;
    sitting.book.shares.permits.set("agent pay", { per: "agent", pattern: "pay", unused, limits: [{ max: 3, windowMs: 10_000 }], ...said });
  };

  it.each<readonly [string, (sitting: Sitting) => void, readonly Put[], readonly object[]]>([
    ["one call alone, of all that it costs", () => undefined, [spends(30)], [money(DAY, 30)]],
    ["all that all take together, though one alone would fit", (s) => s.give(DAY, 50), [spends(30), spends(30)], [money(DAY, 60, 30)]],
    ["the least of it that is of use: the first's", (s) => s.give(DAY, 5), [spends(10), spends(40)], [money(DAY, 50, 10)]],
    ["the least of it that is of use: the last's", (s) => s.give(DAY, 5), [spends(40), spends(10)], [money(DAY, 50, 10)]],
    ["two accounts, each once", () => undefined, [spends(30, [DAY, TOTAL]), spends(20, [DAY])], [money(DAY, 50, 20), money(TOTAL, 50, 30)]],
    ["what it takes with a call that shares nothing", (s) => s.give(DAY, 5), [spends(7), spends(9, [SESSION])], [money(DAY, 16, 7)]],
    ["of the tenant's account what all take together", (s) => s.give(TOTAL, 50), [spends(30, [TOTAL]), spends(30, [TOTAL])], [money(TOTAL, 60, 30)]],
    [
      "what is held, as much as one of them takes",
      () => undefined,
      [unasked({ budgets: [DAY], ...HOLD }, 30), unasked({ budgets: [DAY], ...HOLD }, 30)],
      [money(DAY, 30)],
    ],
    [
      "what is held, beside what is taken before it",
      (s) => s.give(DAY, 50),
      [spends(30), unasked({ budgets: [DAY], ...HOLD }, 30)],
      [money(DAY, 60, 30)],
    ],
    [
      "what is held and what is taken before and after it, however much of that is less",
      (s) => s.give(DAY, 50),
      [spends(30), unasked({ budgets: [DAY], ...HOLD }, 60), spends(40)],
      [money(DAY, 90, 40)],
    ],
    [
      "a leave for what is held, beside one for what is not",
      (s) => permitted(s, 1),
      [unasked({ rates: [RATE] }), unasked({ rates: [RATE], ...HOLD })],
      [CALL, CALL],
    ],
    ["one call alone under a rate", () => undefined, [unasked({ rates: [RATE] })], [CALL]],
    [
      "a leave for each call",
      () => undefined,
      [unasked({ rates: [RATE] }), unasked({ rates: [RATE] }), unasked({ rates: [RATE] })],
      [CALL, CALL, CALL],
    ],
    ["a leave for each, where there was one", (s) => permitted(s, 1), [unasked({ rates: [RATE] }), unasked({ rates: [RATE] })], [CALL, CALL]],
    [
      "a leave for each, beside those that were used",
      (s) => permitted(s, 0, [0, 0]),
      [unasked({ rates: [RATE] }), unasked({ rates: [RATE] })],
      [CALL, CALL],
    ],
    ["one leave for what is held", () => undefined, [unasked({ rates: [RATE], ...HOLD }), unasked({ rates: [RATE], ...HOLD })], [CALL]],
    ["calls of the tenant", () => undefined, [unasked({ rates: [{ ...RATE, per: "tenant" }] }), unasked({})], [{ ...CALL, per: "tenant" }]],
    ["leave, where the money is there", (s) => s.give(DAY, 100), [unasked({ budgets: [DAY], rates: [RATE] }, 5), spends(5)], [CALL]],
    ["leave beside a rate of its own", () => undefined, [unasked({ rates: [{ ...RATE, per: "run" }, RATE] }), unasked({})], [CALL]],
    [
      "what was given under a larger limit than one of them has",
      (s) => s.give(DAY, 100),
      [spends(10), spends(10, [{ ...DAY, limitMicroUsd: usd(50) }])],
      [money({ ...DAY, limitMicroUsd: usd(50) }, 20, 10)],
    ],
    [
      "an account that is overrun, for what costs nothing",
      (s) => s.give(DAY, 100, { others: { postedMicroUsd: usd(101), pendingMicroUsd: usd(0), leasedMicroUsd: usd(0) } }),
      [spends(10), spends(0)],
      [money(DAY, 10, 0)],
    ],
  ])("%s", (_, before, puts, shorts) => {
    for (const semantics of ALL) {
      const sitting = new Sitting();
      before(sitting);
      const { shares } = sitting.book;
      const known = { slices: [...shares.slices], permits: [...shares.permits], spans: shares.spans };
      const members = puts.map((put) => member(sitting, put));
      expect(decide(sitting, members, semantics)).toEqual({ kind: "short", shorts });
      expectUntouched(sitting);
      expect({ slices: [...shares.slices], permits: [...shares.permits], spans: shares.spans }).toEqual(known);
    }
  });

  it("is nothing where the tenant was asked, or cannot be: then it is decided with what there is", () => {
    for (const [tenant, code] of [
      ["heard", "agent_budget_exceeded"],
      ["lost", "authority_stale"],
    ] as const) {
      const sitting = new Sitting();
      sitting.give(DAY, 50, OTHER_HALF);
      const puts = [30, 30, 20].map((costs) => member(sitting, { costs, finds: { budgets: [DAY] }, around: { tenant } }));
      expect(answers(sitting, puts).map(({ answer }) => answer.reason.code)).toEqual(["permitted", code, "permitted"]);
    }
  });

  it("is nothing that a member has already taken", () => {
    const sitting = new Sitting();
    permitted(sitting, 2);
    const put = unasked({ rates: [RATE] });
    const prior = sitting.decide(put);
    expect(verdicts(sitting, [member(sitting, put, prior), member(sitting, put)])).toEqual(["allow", "allow"]);
    sitting.give(DAY, 60);
    const paid = sitting.decide(spends(30));
    expect(verdicts(sitting, [member(sitting, spends(30), paid), member(sitting, spends(30))])).toEqual(["allow", "allow"]);
    expect(decide(sitting, [member(sitting, spends(30), paid), member(sitting, spends(1)), member(sitting, spends(1))])).toEqual({
      kind: "short",
      shorts: [money(DAY, 2, 1)],
    });
  });

  it("is found only of sums that a number can tell", () => {
    const sitting = new Sitting();
    const limit: SharedLimit = { ...DAY, limitMicroUsd: usd(4_500_000_000_000_000) };
    sitting.give(limit, limit.limitMicroUsd);
    const puts = [4e15, 4e15, 4e15].map((costs) => member(sitting, spends(costs, [limit])));
    expect(verdicts(sitting, puts)).toEqual(["allow", "deny", "deny"]);
  });

  it.each<readonly [string, number, (sitting: Sitting) => readonly Member[]]>([
    ["shares nothing", 2, (s) => [member(s, spends(9, [SESSION])), member(s, unasked({ rates: [{ ...RATE, per: "session" }] }))]],
    ["has no policy", 2, (s) => [0, 1].map(() => member(s, { around: { evaluation: null, tenant: "unasked" } }))],
    ["was all asked before", 0, (s) => [0, 1].map(() => member(s, spends(30), s.decide({ costs: 30 })))],
    ["cannot ask", 2, (s) => [0, 1].map(() => member(s, { costs: 30, finds: { budgets: [DAY] }, around: { tenant: "lost" } }))],
    ["has enough for all, to the last of it", 2, (s) => [member(s, spends(30)), member(s, spends(20, [SESSION, DAY]))]],
    ["is of one, and has heard what there is", 1, (s) => [member(s, { costs: 60, finds: { budgets: [DAY] } })]],
    ["has enough, and a rate of its own", 2, (s) => [0, 1].map(() => member(s, unasked({ budgets: [DAY], rates: [{ ...RATE, per: "run" }] }, 20)))],
    ["has enough beside what it has taken", 1, (s) => [member(s, spends(30), s.decide({ costs: 30 })), member(s, spends(20))]],
    ["has enough beside what has no policy", 2, (s) => [member(s, spends(50)), member(s, { around: { evaluation: null } })]],
  ])("is not looked for in a batch that %s: each is judged and written once", (_, count, members) => {
    const sitting = new Sitting();
    sitting.give(DAY, 50, OTHER_HALF);
    const asked = members(sitting);
    const before = sitting.drawn;
    decide(sitting, asked);
    expect(sitting.drawn - before).toBe(count);
    expect(sitting.trials).toBe(0);
  });

  it.each<readonly [string, BatchSemantics, number, (sitting: Sitting) => readonly Member[]]>([
    ["is allowed as a whole or not at all", "all_or_nothing", 3, (s) => [1, 2, 3].map((costs) => member(s, { costs }))],
    ["is refused as a whole", "all_or_nothing", 2, (s) => [member(s, {}), member(s, { finds: DENY })]],
    ["lacks what its tenant must be asked for", "independent", 0, (s) => [30, 40].map((costs) => member(s, spends(costs)))],
  ])("is tried, where a batch %s, without an entry of what is only tried", (_, semantics, count, members) => {
    const sitting = new Sitting();
    decide(sitting, members(sitting), semantics);
    expect(sitting.trials).toBe(1);
    expect(sitting.drawn).toBe(count);
    expect(sitting.ledger).toHaveLength(count);
  });
});
