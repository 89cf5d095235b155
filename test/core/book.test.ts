import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideAll } from "../../src/core/batch.ts";
import { type Account, type Book, type Effect, EMPTY_ACCOUNT, emptyBook, freeOf, spentOf } from "../../src/core/book.ts";
import { type Ask, conclude, judge } from "../../src/core/conclude.ts";
import type { Decision } from "../../src/core/decision.ts";
import { CHAIN_START, type Entry } from "../../src/core/entry.ts";
import { matchesGlob } from "../../src/core/glob.ts";
import { type DecisionId, idFromDigest, type RunId } from "../../src/core/ids.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { formatUsd, microUsdOf, parseUsd, ZERO_USD } from "../../src/core/money.ts";
import type { BudgetLimit, Findings } from "../../src/core/policy/findings.ts";
import { REASONS, type ReasonCode } from "../../src/core/reasons.ts";
import type { ActionRequest, CommitReport } from "../../src/core/request.ts";
import { commit, type DecisionRecord, extend, recordOf, release, topup } from "../../src/core/settle.ts";
import { Trail } from "../../src/core/trail.ts";
import { happen, openTurn, type Turn } from "../../src/core/turn.ts";
import { ENDLESS, NO_CONDITIONS, noFindings } from "./nothing.ts";
import { sha256 } from "./sha256.ts";

const RUN: RunId = "run_00000000-0000-7000-8000-000000000001";
const POLICY = { name: "p", version: 1, digest: `sha-256:${"a".repeat(64)}` } as const;
const PRINCIPAL = { tokenId: "tok_00000000-0000-7000-8000-000000000001", tenant: "t", subject: "bot", kind: "agent" } as const;

let entries = 0;
const tools = { sha256, fresh: () => ({ entryId: idFromDigest("ent", sha256(String(entries++))), salt: "0".repeat(32) }) };

/** A session with its store: what a turn did is kept as the object keeps it, so that a decision can be settled later. */
class Session {
  readonly book: Book = emptyBook(
    {
      tenant: "t",
      session: "ses_00000000-0000-7000-8000-000000000001",
      agent: "bot",
      openedAt: 0,
      expiresAt: 1_000_000,
      budgetMicroUsd: null,
      run: RUN,
    },
    new Trail(null),
  );
  readonly records = new Map<string, DecisionRecord>();
  readonly ledger: { readonly entry: Entry; readonly canonical: string; readonly hash: string }[] = [];

  constructor() {
    this.turn(0, (turn) => happen(turn, { kind: "run_opened", run: RUN }));
  }

  turn<T>(now: number, act: (turn: Turn) => T): T {
    const turn = openTurn(this.book, now, tools);
    this.#keep(turn.effects.splice(0));
    const result = act(turn);
    this.#keep(turn.effects.splice(0));
    return result;
  }

  record(id: string): DecisionRecord {
    const found = this.records.get(id);
    if (found === undefined) throw new Error(`no decision ${id}`);
    return found;
  }

  #keep(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "recorded") this.ledger.push(effect.sealed);
      if (effect.kind === "decided") {
        this.records.set(effect.decided.decision.id, recordOf(effect.decided));
      }
      if (effect.kind === "settled") this.records.set(effect.settled.id, { ...this.record(effect.settled.id), ...effect.settled });
      if (effect.kind === "changed")
        this.records.set(effect.id, { ...this.record(effect.id), reservation: effect.reservation, pieces: effect.pieces });
    }
  }
}

let ids = 0;
const newId = (): DecisionId => idFromDigest("dec", sha256(`d${ids++}`));

const findings = (more: Partial<Findings> = {}): Findings => ({ ...noFindings(POLICY), ...more });

const request = (more: Partial<ActionRequest> = {}): ActionRequest => ({
  id: newId(),
  run: null,
  action: "pay",
  resource: null,
  estimateMicroUsd: ZERO_USD,
  price: null,
  tags: [],
  riskLevel: null,
  inputs: undefined,
  inputsDigest: null,
  rationale: null,
  confidence: null,
  sources: [],
  parents: [],
  model: null,
  approval: null,
  ttlMs: 1_000,
  ...more,
});

const APPROVAL = "apr_00000000-0000-7000-8000-000000000001";

const ask = (req: ActionRequest, says: Partial<Findings> = {}, more: Partial<Ask> = {}): Ask => ({
  request: req,
  principal: PRINCIPAL,
  evaluation: { kind: "findings", findings: findings({ estimateMicroUsd: req.estimateMicroUsd, ...says }) },
  conditions: NO_CONDITIONS,
  budget: ENDLESS,
  tenant: "unasked",
  lease: { fresh: true, policy: POLICY, orders: [] },
  presented: "none",
  ...more,
});

const report = (cost: number, more: Partial<CommitReport> = {}): CommitReport => ({
  costMicroUsd: microUsdOf(cost),
  outcome: "success",
  durationMs: null,
  outputs: undefined,
  error: null,
  usage: null,
  ...more,
});

const decideOn = (session: Session, now: number, a: Ask): Decision =>
  session.turn(now, (turn) => conclude(turn, a, judge(turn.book, a, turn.now, turn.sha256), "f"));

const limit = (scope: "run" | "session", micro: number): BudgetLimit => ({ scope, limitMicroUsd: microUsdOf(micro) });
const actionLimit = (pattern: string, micro: number): Extract<BudgetLimit, { scope: "action" }> => ({
  scope: "action",
  pattern,
  limitMicroUsd: microUsdOf(micro),
});

describe("reasons", () => {
  // Each row makes everything from its reason downwards say no, so that the order is seen and not only the reason.
  const worse: readonly [ReasonCode, (session: Session) => Ask][] = [
    [
      "session_closed",
      (session) => {
        session.turn(0, (turn) => happen(turn, { kind: "session_closed" }));
        return all({ lease: { fresh: false, policy: null, orders: [] } });
      },
    ],
    [
      "run_closed",
      (session) => {
        session.turn(0, (turn) => happen(turn, { kind: "run_closed", run: RUN }));
        return all({ lease: { fresh: false, policy: null, orders: [] } });
      },
    ],
    ["authority_stale", () => all({ lease: { fresh: false, policy: null, orders: [] } })],
    ["policy_missing", () => all({ lease: { fresh: true, policy: null, orders: [] } })],
    ["policy_invalid", () => all({ evaluation: { kind: "invalid", policy: POLICY } })],
    ["action_denied", () => all({}, { deniedBy: "pay" })],
    ["action_not_allowed", () => all()],
    ["concurrency_exceeded", () => all({}, { listed: true })],
    ["rate_exceeded", () => all({}, { listed: true, concurrency: [] })],
    ["action_budget_exceeded", () => all({}, { listed: true, concurrency: [], rates: [] })],
    ["run_budget_exceeded", () => all({}, { listed: true, concurrency: [], rates: [], budgets: [limit("run", 1), limit("session", 1)] })],
    ["session_budget_exceeded", () => all({}, { listed: true, concurrency: [], rates: [], budgets: [limit("session", 1)] })],
    ...(
      [
        ["approval_rejected", "rejected"],
        ["approval_rejected", "cancelled"],
        ["approval_expired", "expired"],
        ["approval_mismatch", "unknown"],
        ["approval_consumed", "consumed"],
      ] as const
    ).map(([code, presented]): [ReasonCode, () => Ask] => [
      code,
      () => all({ presented, request: request({ approval: APPROVAL }) }, { listed: true, concurrency: [], rates: [], budgets: [] }),
    ]),
    ["approval_required", () => all({}, { listed: true, concurrency: [], rates: [], budgets: [] })],
    ["permitted", () => all({}, { listed: true, concurrency: [], rates: [], budgets: [], hold: null })],
  ];
  const all = (more: Partial<Ask> = {}, says: Partial<Findings> = {}): Ask =>
    ask(
      request({ estimateMicroUsd: microUsdOf(2) }),
      {
        listed: false,
        concurrency: [{ pattern: "*", max: 0 }],
        rates: [{ pattern: "*", max: 0, windowMs: 1_000, per: "session" }],
        budgets: [actionLimit("p*", 1), limit("run", 1), limit("session", 1)],
        hold: { rule: "/approvals/actions" },
        ...says,
      },
      more,
    );

  it.each(worse)("%s comes before all that follow it", (code, prepare) => {
    const session = new Session();
    expect(decideOn(session, 0, prepare(session)).reason.code).toBe(code);
  });

  it("the rows above stand in the order of the list", () => {
    const places = worse.map(([code]) => REASONS.indexOf(code));
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });

  it("an expired session is closed", () => {
    expect(decideOn(new Session(), 1_000_000, ask(request())).reason.code).toBe("session_closed");
  });

  it("a policy that only observes allows, and says what it would have refused", () => {
    const decision = decideOn(new Session(), 0, { ...all({}, { strict: false, deniedBy: "pay" }) });
    expect(decision).toMatchObject({ verdict: "allow", reason: { code: "permitted" } });
    expect(decision.warnings.map(({ code }) => code)).toEqual([
      "action_denied",
      "concurrency_exceeded",
      "action_budget_exceeded",
      "approval_required",
    ]);
  });

  it("what is above any policy is enforced even where the policy only observes", () => {
    expect(decideOn(new Session(), 0, all({ lease: { fresh: false, policy: POLICY, orders: [] } }, { strict: false })).reason.code).toBe(
      "authority_stale",
    );
  });
});

describe("how far a no reaches", () => {
  // 50 of each budget are spent before the question, or only reserved.
  it.each([
    ["as long as anything is left the agent may do something smaller", 60, [limit("run", 100), limit("session", 100)], "action", "action"],
    ["with nothing left of its budget the run is over, unless it is only reserved", 1, [limit("run", 50), limit("session", 100)], "run", "action"],
    ["with nothing left of its budget the session is over, unless it is only reserved", 1, [limit("session", 50)], "session", "action"],
    ["an action's budget ends only the action", 1, [actionLimit("pay", 50)], "action", "action"],
  ] as const)("%s", (_, amount, budgets, spent, reserved) => {
    const stops = (isSpent: boolean) => {
      const session = new Session();
      const { id } = decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(50) }), { budgets }));
      if (isSpent) expect(session.turn(0, (turn) => commit(turn, session.record(id), PRINCIPAL, report(50), "a")).ok).toBe(true);
      return decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(amount) }), { budgets })).stops;
    };
    expect([stops(true), stops(false)]).toEqual([spent, reserved]);
  });

  it("an action that winds down may still take what is left of its reserve", () => {
    const session = new Session();
    const windDown = { scope: "wind_down", limitMicroUsd: microUsdOf(5) } as const;
    const spend = (amount: number) => {
      const decision = decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(amount) }), { budgets: [limit("session", 50)], windDown }));
      if (decision.verdict === "allow") session.turn(0, (turn) => commit(turn, session.record(decision.id), PRINCIPAL, report(amount), "a"));
      return decision;
    };
    expect([spend(50).verdict, spend(4).verdict]).toEqual(["allow", "allow"]);
    expect(spend(2)).toMatchObject({
      verdict: "deny",
      stops: "action",
      reason: { code: "session_budget_exceeded", hint: "Ask for at most 0.000001 USD: so much is left of the reserve for winding down." },
    });
    expect(spend(1).verdict).toBe("allow");
    expect(spend(1)).toMatchObject({ stops: "session", reason: { hint: "Nothing is left. Only more budget helps." } });
  });
});

describe("sums that a number could not tell exactly", () => {
  const HUGE = Number.MAX_SAFE_INTEGER;

  it("are never reached by asking: a session counts up to a bound, whatever its policy says", () => {
    const session = new Session();
    const asked = () => decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(4_000_000_000_000_000) }), { strict: false }));
    expect([asked(), asked(), asked()].map(({ reason }) => reason.code)).toEqual(["permitted", "session_budget_exceeded", "session_budget_exceeded"]);
  });

  it("are never reached by telling: the report that would is refused, and everything goes on", () => {
    const session = new Session();
    const ids = [0, 1].map(() => decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(5), ttlMs: 9_000 }))).id);
    const told = (id: string, cost: number) => session.turn(0, (turn) => commit(turn, session.record(id), PRINCIPAL, report(cost), String(cost)));
    expect(told(ids[0] ?? "", HUGE)).toMatchObject({ ok: false, error: { code: "money_precision" } });
    expect(told(ids[0] ?? "", HUGE - 10)).toMatchObject({ ok: true });
    expect(told(ids[1] ?? "", HUGE - 10)).toMatchObject({ ok: false, error: { code: "money_precision" } });
    session.turn(9_000, () => undefined);
    expect(session.record(ids[1] ?? "").state).toBe("expired");
    expect(decideOn(session, 9_000, ask(request())).reason.code).toBe("session_budget_exceeded");
  });

  it("stop no denial from being recorded: what was prevented stays at the largest number", () => {
    const session = new Session();
    const asked = () => decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(HUGE) }), { deniedBy: "pay" }));
    for (const decision of [asked(), asked(), asked()]) expect(decision.verdict).toBe("deny");
    expect(session.book.preventedMicroUsd).toBe(HUGE);
  });
});

describe("settling", () => {
  const budgets = [limit("session", 100)];
  const reserved = (session: Session, amount = 50): string =>
    decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(amount) }), { budgets })).id;

  // What happens to a reservation of 50 of 100, and what the account says afterwards.
  it.each([
    ["commit of less", 0, (t: Turn, r: DecisionRecord) => commit(t, r, PRINCIPAL, report(30), "a"), { posted: 30, pending: 0, overrun: 0 }, false],
    ["commit of more", 0, (t: Turn, r: DecisionRecord) => commit(t, r, PRINCIPAL, report(80), "a"), { posted: 80, pending: 0, overrun: 30 }, false],
    ["commit of nothing", 0, (t: Turn, r: DecisionRecord) => commit(t, r, PRINCIPAL, report(0), "a"), { posted: 0, pending: 0, overrun: 0 }, false],
    ["release", 0, (t: Turn, r: DecisionRecord) => release(t, r, PRINCIPAL, null, "a"), { posted: 0, pending: 0, overrun: 0 }, false],
    [
      "release after it expired",
      1_000,
      (t: Turn, r: DecisionRecord) => release(t, r, PRINCIPAL, null, "a"),
      { posted: 0, pending: 0, overrun: 0 },
      true,
    ],
    [
      "commit of less after it expired",
      1_000,
      (t: Turn, r: DecisionRecord) => commit(t, r, PRINCIPAL, report(30), "a"),
      { posted: 30, pending: 0, overrun: 0 },
      true,
    ],
    [
      "commit of more after it expired",
      1_000,
      (t: Turn, r: DecisionRecord) => commit(t, r, PRINCIPAL, report(80), "a"),
      { posted: 80, pending: 0, overrun: 30 },
      true,
    ],
  ] as const)("%s", (_, now, act, sides, late) => {
    const session = new Session();
    const id = reserved(session);
    const told = session.turn(now, (turn) => act(turn, session.record(id)));
    expect(told).toMatchObject({ ok: true, value: { settlement: { late, postedMicroUsd: sides.posted, overrunMicroUsd: sides.overrun } } });
    expect(session.book.total).toMatchObject({ postedMicroUsd: sides.posted, pendingMicroUsd: sides.pending, overrunMicroUsd: sides.overrun });
    expect(session.book.pending.size).toBe(0);
  });

  it("a commit after a release takes what is still free, and what is not is an overrun", () => {
    for (const [others, overrun] of [
      [0, 0],
      [70, 20],
      [100, 50],
    ] as const) {
      const session = new Session();
      const id = reserved(session);
      session.turn(0, (turn) => release(turn, session.record(id), PRINCIPAL, null, "r"));
      if (others > 0) reserved(session, others);
      const told = session.turn(0, (turn) => commit(turn, session.record(id), PRINCIPAL, report(50), "a"));
      expect(told).toMatchObject({ ok: true, value: { settlement: { late: true, overrunMicroUsd: overrun, postedMicroUsd: 50 } } });
    }
  });

  it("what was never allowed can be neither committed nor released nor extended nor topped up", () => {
    const session = new Session();
    const { id } = decideOn(session, 0, ask(request(), { deniedBy: "pay" }));
    session.turn(0, (turn) => {
      const record = session.record(id);
      for (const told of [
        commit(turn, record, PRINCIPAL, report(1), "a"),
        release(turn, record, PRINCIPAL, null, "a"),
        extend(turn, record, PRINCIPAL, 5),
        topup(turn, record, ask(request())),
      ])
        expect(told).toMatchObject({ ok: false, error: { code: "decision_settled" } });
    });
  });

  it.each([
    ["post", 50],
    ["release", 0],
  ] as const)("a reservation that nobody settles does as the policy says: %s", (onExpiry, posted) => {
    const session = new Session();
    const { id } = decideOn(session, 0, ask(request({ estimateMicroUsd: microUsdOf(50) }), { onExpiry }));
    session.turn(1_000, () => undefined);
    expect(session.record(id)).toMatchObject({ state: "expired", postedMicroUsd: posted });
    expect(session.book.total).toMatchObject({ postedMicroUsd: posted, pendingMicroUsd: 0, overrunMicroUsd: 0 });
    expect(session.ledger.at(-1)?.entry).toMatchObject({ kind: "expiry", cost_usd: formatUsd(microUsdOf(posted)), decision_id: id });
  });

  it("extending keeps a reservation alive and never shortens it", () => {
    const session = new Session();
    const id = reserved(session);
    session.turn(900, (turn) => extend(turn, session.record(id), PRINCIPAL, 5_000));
    session.turn(1_000, (turn) => extend(turn, session.record(id), PRINCIPAL, 1));
    session.turn(5_899, () => undefined);
    expect(session.record(id)).toMatchObject({ state: "pending", reservation: { expiresAt: 5_900 } });
    session.turn(5_900, () => undefined);
    expect(session.record(id).state).toBe("expired");
  });

  it("topping up asks for the difference, and a denial leaves the reservation as it was", () => {
    const session = new Session();
    const id = reserved(session);
    const to = (amount: number) =>
      session.turn(0, (turn) => topup(turn, session.record(id), ask(request({ estimateMicroUsd: microUsdOf(amount) }), { budgets })));
    expect(to(101)).toMatchObject({
      ok: true,
      value: { verdict: "deny", reason: { code: "session_budget_exceeded" }, reservation: { amountMicroUsd: 50 } },
    });
    expect(to(100)).toMatchObject({ ok: true, value: { verdict: "allow", reservation: { amountMicroUsd: 100 } } });
    expect(to(20)).toMatchObject({ ok: true, value: { verdict: "allow", reservation: { amountMicroUsd: 20 } } });
    expect(session.book.total.pendingMicroUsd).toBe(20);
    const tight = [limit("session", 10)];
    const back = session.turn(0, (turn) => topup(turn, session.record(id), ask(request({ estimateMicroUsd: microUsdOf(15) }), { budgets: tight })));
    expect(back, "giving back needs nobody's leave").toMatchObject({ ok: true, value: { verdict: "allow" } });
  });
});

describe("laws over long random histories", () => {
  const ACTIONS = ["db.read", "db.write", "pay"];
  const BUDGETS: readonly BudgetLimit[] = [actionLimit("db.*", 700), actionLimit("pay", 500), limit("run", 900), limit("session", 1_000)];
  const budgetsOf = (action: string) => BUDGETS.filter((budget) => budget.scope !== "action" || matchesGlob(budget.pattern, action));

  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        do: fc.constant("decide" as const),
        action: fc.constantFrom(...ACTIONS),
        amount: fc.integer({ min: 0, max: 400 }),
        ttl: fc.integer({ min: 1, max: 50 }),
      }),
    },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("commit" as const), which: fc.nat(), amount: fc.integer({ min: 0, max: 500 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const), which: fc.nat() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("topup" as const), which: fc.nat(), amount: fc.integer({ min: 0, max: 500 }) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("batch" as const),
        amounts: fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 4 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: -20, max: 40 }) }) },
  );

  function play(session: Session, steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[], check: () => void): void {
    let now = 0;
    const pick = (which: number): DecisionRecord | undefined => [...session.records.values()][which % Math.max(1, session.records.size)];
    for (const one of steps) {
      const record = "which" in one ? pick(one.which) : undefined;
      switch (one.do) {
        case "decide":
          decideOn(
            session,
            now,
            ask(request({ action: one.action, estimateMicroUsd: microUsdOf(one.amount), ttlMs: one.ttl }), { budgets: budgetsOf(one.action) }),
          );
          break;
        case "commit":
          if (record !== undefined)
            session.turn(now, (turn) => commit(turn, session.record(record.decision.id), PRINCIPAL, report(one.amount), String(one.amount)));
          break;
        case "release":
          if (record !== undefined) session.turn(now, (turn) => release(turn, session.record(record.decision.id), PRINCIPAL, null, "r"));
          break;
        case "topup":
          if (record !== undefined) {
            const { action } = record.decision;
            session.turn(now, (turn) =>
              topup(
                turn,
                session.record(record.decision.id),
                ask(request({ action, estimateMicroUsd: microUsdOf(one.amount) }), { budgets: budgetsOf(action) }),
              ),
            );
          }
          break;
        case "batch": {
          const members = one.amounts.map((amount) => ({
            ask: ask(request({ estimateMicroUsd: microUsdOf(amount) }), { budgets: budgetsOf("pay") }),
            fingerprint: "f",
            prior: null,
          }));
          const decided = session.turn(now, (turn) => decideAll(turn, members, "all_or_nothing"));
          expect(new Set((decided.kind === "decided" ? decided.answers : []).map(({ answer }) => answer.verdict === "allow")).size).toBe(1);
          break;
        }
        case "wait":
          now += one.ms;
      }
      check();
    }
  }

  const accounts = (session: Session): [BudgetLimit, Account][] =>
    BUDGETS.map((budget) => {
      if (budget.scope !== "action")
        return [budget, budget.scope === "session" ? session.book.total : (session.book.runs.get(RUN)?.account ?? EMPTY_ACCOUNT)];
      const named = [...session.book.actions].filter(([name]) => matchesGlob(budget.pattern, name)).map(([, account]) => account);
      return [budget, named.reduce((a, b) => added(a, b), EMPTY_ACCOUNT)];
    });

  const added = (a: Account, b: Account): Account => ({
    postedMicroUsd: microUsdOf(a.postedMicroUsd + b.postedMicroUsd),
    pendingMicroUsd: microUsdOf(a.pendingMicroUsd + b.pendingMicroUsd),
    leasedMicroUsd: ZERO_USD,
    overrunMicroUsd: microUsdOf(a.overrunMicroUsd + b.overrunMicroUsd),
  });

  it("money is conserved: limit = free + leased + pending + posted at every step, and only a named overrun ever exceeds a limit", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const session = new Session();
        play(session, steps, () => {
          for (const [{ limitMicroUsd }, account] of accounts(session)) {
            const excess = Math.max(0, spentOf(account) - limitMicroUsd);
            expect(limitMicroUsd + excess).toBe(
              freeOf(account, limitMicroUsd) + account.leasedMicroUsd + account.pendingMicroUsd + account.postedMicroUsd,
            );
            expect(excess).toBeLessThanOrEqual(account.overrunMicroUsd);
          }
        });
      }),
      { numRuns: 300 },
    );
  });

  it("the accounts agree with each other, with what is pending, and with the sum of the entries", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const session = new Session();
        play(session, steps, () => undefined);
        const { total, runs, actions, pending } = session.book;
        expect(runs.get(RUN)?.account).toEqual(total);
        expect([...actions.values()].reduce(added, EMPTY_ACCOUNT)).toEqual(total);
        expect([...pending.values()].reduce((sum, { reservation }) => sum + reservation.amountMicroUsd, 0)).toBe(total.pendingMicroUsd);
        const micro = (text: string) => {
          const parsed = parseUsd(text);
          return parsed.ok ? parsed.value : Number.NaN;
        };
        const posted = session.ledger.reduce((sum, { entry }) => sum + micro(entry.cost_usd) - micro(entry.corrected_usd), 0);
        expect(posted).toBe(total.postedMicroUsd);
        expect(session.ledger.reduce((sum, { entry }) => sum + micro(entry.overrun_usd), 0)).toBe(total.overrunMicroUsd);
      }),
      { numRuns: 200 },
    );
  });

  it("the chain has no gap, every hash is that of the canonical bytes, and each movement starts where the last one ended", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const session = new Session();
        play(session, steps, () => undefined);
        let prev = CHAIN_START.hash;
        let posted = "0";
        for (const [place, { entry, canonical, hash }] of session.ledger.entries()) {
          expect(entry.seq).toBe(place + 1);
          expect(entry.prev_hash).toBe(prev);
          expect(sha256(canonical)).toBe(hash);
          expect(canonicalJson(JSON.parse(canonical))).toBe(canonical);
          prev = hash;
          const ofSession = entry.accounts.find(({ scope }) => scope === "session");
          if (ofSession === undefined) continue;
          expect(ofSession.before.posted_usd).toBe(posted);
          posted = ofSession.after.posted_usd;
        }
        expect(formatUsd(session.book.total.postedMicroUsd)).toBe(posted);
      }),
      { numRuns: 100 },
    );
  });

  it("a session's clock never goes back", () => {
    const session = new Session();
    session.turn(500, () => undefined);
    session.turn(100, (turn) => expect(turn.now).toBe(500));
  });
});

it("an entry of a decision stands in canonical order from the start, so that it is printed without being sorted", () => {
  const session = new Session();
  const says: Partial<Findings> = {
    budgets: [actionLimit("pay", 5), limit("run", 5)],
    rates: [{ pattern: "pay", max: 1, windowMs: 10, per: "session" }],
    hold: { rule: "/approvals/tags" },
    alerts: [0.1, 0.2],
    price: { basis: "stated", data: "1", known: true },
    rules: [{ rule: "r", effect: "forbid", history: false, mode: "observe", stops: "action", said: "holds" }],
  };
  decideOn(session, 0, ask(request({ resource: { id: "m", type: "mailbox" } }), says));
  const { id } = decideOn(session, 0, ask(request(), { ...says, hold: null }));
  session.turn(0, (turn) => commit(turn, session.record(id), PRINCIPAL, report(1), "a"));
  for (const { entry, canonical } of session.ledger) expect(JSON.stringify(entry)).toBe(canonical);
});
