import { describe, expect, it } from "vitest";
import { BrokenInvariant } from "../../src/core/assert.ts";
import { accountOf, apply, balancesOf, type Effect, forkBook, limitsFor, logOf, sharedRate } from "../../src/core/book.ts";
import { CHAIN_START, seal } from "../../src/core/entry.ts";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import type { BudgetLimit, Limit, SharedLimit } from "../../src/core/policy/findings.ts";
import { sha256 } from "./sha256.ts";
import { RUN, Sitting } from "./sitting.ts";

const usd = microUsdOf;
const OTHER = "run_00000000-0000-7000-8000-000000000002";
const DAY: SharedLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
const TOTAL: SharedLimit = { scope: "tenant", window: "total", limitMicroUsd: usd(100) };
const session = (limit: number): BudgetLimit => ({ scope: "session", limitMicroUsd: usd(limit) });
const action = (pattern: string): BudgetLimit => ({ scope: "action", pattern, limitMicroUsd: usd(100) });
const run: BudgetLimit = { scope: "run", limitMicroUsd: usd(100) };

describe("what cannot have happened is no part of a book", () => {
  const money = (more: Partial<Extract<Effect, { kind: "money" }>>): Effect => ({
    kind: "money",
    fund: "budgets",
    run: RUN,
    action: "pay",
    delta: { posted: 0, pending: 1, overrun: 0 },
    pieces: [],
    ...more,
  });
  const entry = (seq: number, hash: string): Effect => {
    const draft = { id: "ent_00000000-0000-7000-8000-000000000001", kind: "session", timestamp: "", tenant_id: "t", session_id: null } as const;
    return { kind: "recorded", sealed: seal(sha256, { seq, hash }, draft, null) };
  };
  const pending = (sitting: Sitting) => {
    const { id } = sitting.decide({ costs: 1 });
    const found = sitting.book.pending.get(id);
    if (found === undefined) throw new Error("it pends");
    return found;
  };

  it.each<readonly [string, (sitting: Sitting) => Effect]>([
    ["a session's clock never goes back", (sitting) => sitting.turn(5, () => ({ kind: "clock", at: 4 }))],
    ["money moves only in a run of the session", () => money({ run: OTHER })],
    ["a decision reserves once", (sitting) => ({ kind: "reserved", pending: pending(sitting) })],
    [
      "only a pending reservation is changed",
      (sitting) => {
        const { id, reservation } = pending(sitting);
        sitting.release(id);
        return { kind: "changed", id, reservation, pieces: [] };
      },
    ],
    ["a run is opened once", () => ({ kind: "run_opened", run: RUN })],
    ["only a run of the session is closed", () => ({ kind: "run_closed", run: OTHER })],
    ["an entry follows the one before it", () => entry(1, CHAIN_START.hash)],
    ["an entry follows the one before it", () => entry(0, "1".repeat(64))],
  ])("%s", (law, effectIn) => {
    const sitting = new Sitting();
    const effect = effectIn(sitting);
    expect(() => apply(sitting.book, effect)).toThrow(new BrokenInvariant(law));
  });

  it("what can, is: a clock may stand still, and an entry follows the head", () => {
    const { book } = new Sitting();
    apply(book, { kind: "clock", at: 0 });
    const effect = entry(0, CHAIN_START.hash);
    apply(book, effect);
    expect(book.head).toEqual({ seq: 1, hash: effect.kind === "recorded" ? effect.sealed.hash : "" });
  });
});

describe("accounts", () => {
  const spent = () => {
    const sitting = new Sitting();
    sitting.commit(sitting.decide({ costs: 5, request: { action: "db.read" } }).id, 7);
    sitting.decide({ costs: 11, request: { action: "db.write" } });
    sitting.decide({ costs: 13, request: { action: "pay" } });
    sitting.decide({ costs: 17, finds: { budgets: [session(0)], windDown: { scope: "wind_down", limitMicroUsd: usd(100) } } });
    return sitting;
  };
  const account = (posted: number, pending: number, overrun = 0) => ({
    postedMicroUsd: posted,
    pendingMicroUsd: pending,
    leasedMicroUsd: 0,
    overrunMicroUsd: overrun,
  });

  it.each<readonly [Limit, object]>([
    [session(1), account(7, 24, 2)],
    [run, account(7, 24, 2)],
    [action("db.read"), account(7, 0, 2)],
    [action("db.*"), account(7, 11, 2)],
    [action("*"), account(7, 24, 2)],
    [action("none"), account(0, 0)],
    [action("none.*"), account(0, 0)],
    [{ scope: "wind_down", limitMicroUsd: usd(1) }, account(0, 17)],
    [DAY, account(7, 24, 2)],
    [TOTAL, account(7, 24, 2)],
  ])("of %j", (limit, wanted) => {
    const { book } = spent();
    expect(accountOf(book, limit, RUN)).toEqual(wanted);
    // A sum that was made is kept up to date.
    const again = spent();
    accountOf(again.book, limit, RUN);
    again.decide({ costs: 1, request: { action: "db.read" } });
    again.decide({ costs: 2, request: { action: "other" } });
    const fresh = spent();
    fresh.decide({ costs: 1, request: { action: "db.read" } });
    fresh.decide({ costs: 2, request: { action: "other" } });
    expect(accountOf(again.book, limit, RUN)).toEqual(accountOf(fresh.book, limit, RUN));
  });

  it("of a run that is not there have nothing in them", () => {
    expect(accountOf(spent().book, run, OTHER)).toEqual(account(0, 0));
    expect(balancesOf(spent().book, [], OTHER)).toMatchObject([
      { scope: "run", name: OTHER, pendingMicroUsd: 0 },
      { scope: "session", pendingMicroUsd: 24 },
    ]);
  });

  it("are shown from the narrowest to the widest, the run's and the session's even where nothing limits them", () => {
    const { book } = spent();
    const limits: readonly Limit[] = [TOTAL, session(50), action("db.*"), DAY, run, action("pay"), { scope: "wind_down", limitMicroUsd: usd(30) }];
    expect(
      balancesOf(book, limits, RUN).map(({ scope, name, limitMicroUsd, pendingMicroUsd }) => [scope, name, limitMicroUsd, pendingMicroUsd]),
    ).toEqual([
      ["action", "db.*", 100, 11],
      ["action", "pay", 100, 13],
      ["run", RUN, 100, 24],
      ["session", book.session, 50, 24],
      ["wind_down", "wind_down", 30, 17],
      ["tenant", "t", 100, 24],
      ["agent", "bot", 100, 24],
    ]);
    expect(balancesOf(book, [], RUN).map(({ scope, limitMicroUsd }) => [scope, limitMicroUsd])).toEqual([
      ["run", null],
      ["session", null],
    ]);
  });

  it("that sessions share count others by their tenant's last word, and stay at the largest number", () => {
    const sitting = spent();
    sitting.give(DAY, 40, { others: { postedMicroUsd: usd(100), pendingMicroUsd: usd(200), leasedMicroUsd: usd(300) } });
    const [, , shared] = balancesOf(sitting.book, [DAY], RUN);
    expect(shared).toEqual({
      scope: "agent",
      name: "bot",
      limitMicroUsd: 100,
      postedMicroUsd: 107,
      pendingMicroUsd: 224,
      leasedMicroUsd: 300,
      window: { name: "day", startsAt: 0, resetsAt: 86_400_000 },
      sliceMicroUsd: 9,
    });
    const most = usd(Number.MAX_SAFE_INTEGER);
    sitting.give(DAY, 40, { others: { postedMicroUsd: most, pendingMicroUsd: most, leasedMicroUsd: ZERO_USD } });
    expect(accountOf(sitting.book, DAY, RUN)).toMatchObject({ postedMicroUsd: most, pendingMicroUsd: most });
    expect(balancesOf(sitting.book, [TOTAL], RUN)[2]).toMatchObject({ window: { name: "total", resetsAt: null }, sliceMicroUsd: 0 });
  });
});

describe("the limits that count for a session", () => {
  it.each<readonly [string, number | null, readonly BudgetLimit[], readonly BudgetLimit[]]>([
    ["are the policy's", null, [action("pay"), session(9), DAY], [action("pay"), session(9), DAY]],
    ["are tighter where its own cap is", 5, [action("pay"), run, session(9), DAY, TOTAL], [action("pay"), run, session(5), DAY, TOTAL]],
    ["are the policy's where its own cap is wider", 50, [session(9), DAY], [session(9), DAY]],
    ["are its own cap where the policy has none, before what is wider", 5, [run, DAY], [run, session(5), DAY]],
  ])("%s", (_, budgetMicroUsd, limits, wanted) => {
    const { book } = new Sitting({ budgetMicroUsd: budgetMicroUsd === null ? null : usd(budgetMicroUsd) });
    expect(limitsFor(book, limits)).toEqual(wanted);
  });
});

it("what is tried on a copy leaves the book as it was, whatever happens there", () => {
  const sitting = new Sitting();
  const finds = {
    budgets: [action("p*"), session(100), DAY],
    alerts: [0.1],
    rates: [
      { pattern: "pay", max: 9, windowMs: 1_000, per: "session" },
      { pattern: "pay", max: 9, windowMs: 1_000, per: "agent" },
    ],
  } as const;
  sitting.give(DAY, 90);
  const { book } = sitting;
  book.shares.permits.set("agent pay", {
    per: "agent",
    pattern: "pay",
    unused: 5,
    limits: [{ max: 9, windowMs: 1_000 }],
    used: [],
    told: 0,
    remaining: 0,
    resetsAt: null,
    fitsAt: null,
    isExact: false,
  });
  const kept = sitting.decide({ costs: 5, finds });
  sitting.held();
  const shown = () =>
    JSON.stringify({
      ...book,
      runs: [...book.runs],
      actions: [...book.actions],
      pending: [...book.pending.values()],
      hits: [...book.hits],
      alerted: [...book.alerted],
      approvals: [...book.approvals],
      sums: [...book.sums],
      shares: { ...book.shares, slices: [...book.shares.slices], permits: [...book.shares.permits] },
      past: book.trail.calls("*", 1_000_000, 1),
    });
  const before = shown();
  const copy = forkBook(book);
  const on = new Sitting();
  // The copy stands in for the book of another sitting, where everything happens to it.
  Object.assign(on.book, copy);
  on.decide({ costs: 60, finds, request: { id: "dec_00000000-0000-7000-8000-000000000007" } }, 7);
  on.held({ request: { id: "dec_00000000-0000-7000-8000-000000000008" } }, 8);
  on.turn(9, (turn) => {
    apply(turn.book, { kind: "run_opened", run: OTHER });
    apply(turn.book, { kind: "run_closed", run: RUN });
    apply(turn.book, {
      kind: "settled",
      settled: {
        id: kept.id,
        action: "pay",
        became: {},
        state: "released",
        postedMicroUsd: ZERO_USD,
        overrunMicroUsd: ZERO_USD,
        pieces: [],
        told: null,
      },
    });
    apply(turn.book, { kind: "session_closed" });
  });
  expect(shown()).toBe(before);
  expect(on.book.closed).toBe(true);
});

describe("calls that are counted", () => {
  it("are kept as long as the longest limit looks back, and cut only now and then", () => {
    const { book } = new Sitting();
    const hit = (at: number) => apply(book, { kind: "hit", log: "pay", at, keepMs: 100 });
    for (let at = 1; at <= 65; at++) hit(at);
    expect(book.hits.get("pay")).toHaveLength(65);
    hit(1_000);
    expect(book.hits.get("pay")).toEqual([1_000]);
    for (let at = 1_001; at < 1_064; at++) hit(at);
    hit(1_165);
    // Fewer than are worth the cut stay.
    expect(book.hits.get("pay")).toHaveLength(65);
  });

  it("are the session's, or each run's own, or everybody's", () => {
    const rate = { pattern: "pay" } as const;
    expect([logOf({ ...rate, per: "session" }, RUN), logOf({ ...rate, per: "run" }, RUN), logOf({ ...rate, per: "run" }, OTHER)]).toEqual([
      "pay",
      `pay ${RUN}`,
      `pay ${OTHER}`,
    ]);
    expect((["session", "run", "agent", "tenant"] as const).map((per) => sharedRate({ ...rate, per }))).toEqual([
      null,
      null,
      { per: "agent", pattern: "pay" },
      { per: "tenant", pattern: "pay" },
    ]);
  });

  it("under leave are counted down to none, and told of in their order", () => {
    const { book } = new Sitting();
    const use = (at: number) => apply(book, { kind: "permit_used", permits: { per: "agent", pattern: "pay" }, at });
    use(1);
    const known = book.shares.permits.get("agent pay");
    expect(known).toMatchObject({ unused: 0, used: [1], limits: [] });
    if (known !== undefined) book.shares.permits.set("agent pay", { ...known, unused: 2 });
    use(2);
    expect(book.shares.permits.get("agent pay")).toMatchObject({ unused: 1, used: [1, 2] });
  });
});
