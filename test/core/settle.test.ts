import { describe, expect, it } from "vitest";
import { microUsdOf } from "../../src/core/money.ts";
import type { BudgetLimit, Findings, SharedLimit } from "../../src/core/policy/findings.ts";
import { reconsidered } from "../../src/core/settle.ts";
import { spanOf } from "../../src/core/shares.ts";
import { POLICY, RUN, Sitting } from "./sitting.ts";

const usd = microUsdOf;
const SESSION: BudgetLimit = { scope: "session", limitMicroUsd: usd(100) };
const ACTION: BudgetLimit = { scope: "action", pattern: "pay", limitMicroUsd: usd(100) };
const DAY: SharedLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
const TOTAL: SharedLimit = { scope: "tenant", window: "total", limitMicroUsd: usd(100) };
const windDown = { scope: "wind_down", limitMicroUsd: usd(100) } as const;
const TTL_MS = 60_000;

describe("a late report takes what is still free, up to what it once had, and the rest is an overrun", () => {
  // What was reserved is 50; then it ran out and was given back; then others took some; then it was told to have cost 50.
  const late = (budgets: readonly BudgetLimit[], others: number, before: (sitting: Sitting) => void = () => undefined, costs = 50): number => {
    const sitting = new Sitting();
    before(sitting);
    const { id } = sitting.decide({ costs: 50, finds: { budgets, onExpiry: "release" } });
    sitting.turn(TTL_MS, () => undefined);
    if (others > 0) sitting.decide({ costs: others, finds: { budgets } }, TTL_MS);
    const told = sitting.commit(id, costs, TTL_MS);
    if (!told.ok) throw new Error(told.error.detail);
    const { overrunMicroUsd, postedMicroUsd, state, late: isLate } = told.value.settlement;
    expect([postedMicroUsd, state, isLate]).toEqual([costs, "posted", true]);
    return overrunMicroUsd;
  };

  it.each<readonly [string, readonly BudgetLimit[], number, number]>([
    ["nothing limits it", [], 90, 0],
    ["all of it is free", [SESSION], 50, 0],
    ["some is free", [SESSION], 70, 20],
    ["the tightest of two counts, the first", [{ ...ACTION, limitMicroUsd: usd(90) }, SESSION], 70, 30],
    ["the tightest of two counts, the second", [ACTION, { ...SESSION, limitMicroUsd: usd(80) }], 70, 40],
  ])("%s", (_, budgets, others, overrun) => {
    expect(late(budgets, others)).toBe(overrun);
  });

  it.each([DAY, TOTAL])("of what sessions share, what is left of its slice: %j", (limit) => {
    expect(late([limit], 40, (sitting) => sitting.give(limit, 60))).toBe(30);
    expect(late([limit], 0, (sitting) => sitting.give(limit, 60))).toBe(0);
    expect(late([SESSION, limit], 40, (sitting) => sitting.give(limit, 60))).toBe(30);
  });

  it("and never more than it once had, though more is free", () => {
    expect(late([SESSION], 0, undefined, 80)).toBe(30);
  });

  it("what was posted for having run out is covered, whatever is free", () => {
    const sitting = new Sitting();
    const { id } = sitting.decide({ costs: 50, finds: { budgets: [SESSION] } });
    sitting.turn(TTL_MS, () => undefined);
    sitting.decide({ costs: 50, finds: { budgets: [SESSION] } }, TTL_MS);
    const told = sitting.commit(id, 60, TTL_MS);
    expect(told).toMatchObject({ ok: true, value: { settlement: { postedMicroUsd: 60, overrunMicroUsd: 10, late: true } } });
    expect(sitting.ledger.at(-1)?.entry).toMatchObject({ cost_usd: "0.00006", corrected_usd: "0.00005", overrun_usd: "0.00001", late: true });
    // What the calendar counts is what the accounts do.
    const day = spanOf(sitting.book.shares, "day");
    const { postedMicroUsd, pendingMicroUsd, overrunMicroUsd } = sitting.book.total;
    expect(day).toMatchObject({ postedMicroUsd, pendingMicroUsd, overrunMicroUsd });
    expect(day).toMatchObject({ postedMicroUsd: 60, pendingMicroUsd: 50, overrunMicroUsd: 10 });
  });

  it("of the reserve for winding down only that counts; and it counts for nothing else", () => {
    const sitting = new Sitting();
    const finds: Partial<Findings> = { budgets: [SESSION], windDown, onExpiry: "release" };
    sitting.decide({ costs: 100, finds, request: { ttlMs: 9 * TTL_MS } });
    const { id } = sitting.decide({ costs: 50, finds });
    sitting.turn(TTL_MS, () => undefined);
    // No budget has anything left, and the reserve has half of it.
    sitting.decide({ costs: 75, finds }, TTL_MS);
    expect(sitting.commit(id, 50, TTL_MS)).toMatchObject({ value: { settlement: { overrunMicroUsd: 25 } } });
  });
});

it("a report is refused where the session's money and its reserve together could not be told exactly", () => {
  const sitting = new Sitting();
  const finds: Partial<Findings> = { budgets: [{ ...SESSION, limitMicroUsd: usd(0) }], windDown: { ...windDown, limitMicroUsd: usd(4e15) } };
  const { id } = sitting.decide({ costs: 4e15, finds });
  expect(sitting.book.windDown.pendingMicroUsd).toBe(4e15);
  const most = Number.MAX_SAFE_INTEGER - 4e15;
  expect(sitting.commit(id, most + 1)).toMatchObject({ ok: false, error: { code: "money_precision" } });
  expect(sitting.commit(id, most)).toMatchObject({ ok: true });
});

describe("what is told twice", () => {
  it("is told once: a report by its content, giving back whatever is said with it", () => {
    const sitting = new Sitting();
    const [paid, freed] = [sitting.decide({ costs: 5 }).id, sitting.decide({ costs: 5 }).id];
    const [first, back] = [sitting.commit(paid, 4), sitting.release(freed)];
    expect(sitting.commit(paid, 4)).toEqual({ ok: true, value: { ...(first.ok && first.value), replayed: true } });
    expect(sitting.release(freed, 0, "why", "another")).toEqual({ ok: true, value: { ...(back.ok && back.value), replayed: true } });
    expect(sitting.commit(paid, 4, 0, {}, "another")).toEqual({
      ok: false,
      error: { code: "decision_settled", detail: "The decision was committed before, with a different report." },
    });
    expect(sitting.ledger).toHaveLength(4);
  });
});

it("what may be asked again of a decision is what was kept of it for that", () => {
  const sitting = new Sitting();
  const request = { tags: ["x"], riskLevel: "high", resource: { type: "order", id: "1" }, inputs: { n: 1, m: 2 } } as const;
  const again = (finds: Partial<Findings>) => reconsidered(sitting.record(sitting.decide({ request, finds }).id));
  const bare = { run: RUN, action: "pay", tags: ["x"], riskLevel: "high" };
  expect(again({})).toEqual({ ...bare, resource: null, inputs: undefined, inputsKnown: [] });
  expect(again({ topupPaths: [["n"]] })).toEqual({ ...bare, resource: request.resource, inputs: { n: 1 }, inputsKnown: [["n"]] });
  expect(again({ deniedBy: "pay" })).toEqual({ ...bare, tags: [], riskLevel: null, resource: null, inputs: undefined, inputsKnown: [] });
  // A digest in place of the inputs leaves nothing to know them by.
  const digest = { ...request, inputs: undefined, inputsDigest: POLICY.digest };
  const { id } = sitting.decide({ request: digest, finds: { topupPaths: [["n"]] } });
  expect(reconsidered(sitting.record(id))).toMatchObject({ inputs: undefined, inputsKnown: [] });
});

describe("the record of what ends", () => {
  it("shows of an account that sessions share its stretch, and what was left of its slice", () => {
    const sitting = new Sitting();
    sitting.give(DAY, 60, { others: { postedMicroUsd: usd(7), pendingMicroUsd: usd(8), leasedMicroUsd: usd(9) } });
    const { id } = sitting.decide({ costs: 50, finds: { budgets: [DAY] } });
    sitting.commit(id, 40);
    const shared = { scope: "agent", name: "bot", limit_usd: "0.0001", window: "day 1970-01-01T00:00:00.000Z" };
    const [asked, told] = sitting.ledger.map(({ entry }) => entry.accounts.find(({ scope }) => scope === "agent"));
    expect(asked).toEqual({
      ...shared,
      before: { posted_usd: "0.000007", pending_usd: "0.000008", slice_usd: "0.00006" },
      after: { posted_usd: "0.000007", pending_usd: "0.000058", slice_usd: "0.00001" },
    });
    expect(told).toEqual({
      ...shared,
      before: { posted_usd: "0.000007", pending_usd: "0.000058", slice_usd: "0.00001" },
      after: { posted_usd: "0.000047", pending_usd: "0.000008", slice_usd: "0.00002" },
    });
    for (const { entry, canonical } of sitting.ledger) expect(JSON.stringify(entry)).toBe(canonical);
  });

  it.each([
    ["post", "0.00005", 50],
    ["release", "0", 0],
  ] as const)("says what ran out and what became of it: %s", (onExpiry, cost, posted) => {
    const sitting = new Sitting();
    const policy = { ...POLICY, more: "than a reference" };
    const { id } = sitting.decide({
      costs: 50,
      request: { tags: ["a@example.com"], riskLevel: "low" },
      finds: {
        policy,
        onExpiry,
        budgets: [SESSION],
        compliance: { law: "one" },
        redaction: { storeInputs: "full", storeOutputs: "full", keys: [], detect: ["email"] },
      },
    });
    sitting.turn(TTL_MS - 1, () => undefined);
    expect(sitting.ledger).toHaveLength(1);
    sitting.turn(TTL_MS, () => undefined);
    expect(sitting.record(id)).toMatchObject({ state: "expired", postedMicroUsd: posted, overrunMicroUsd: 0, told: null });
    expect(sitting.ledger.at(-1)?.entry).toMatchObject({
      kind: "expiry",
      run_id: RUN,
      action: "pay",
      tags: ["[redacted:email]"],
      risk_level: "low",
      decision_id: id,
      policy: POLICY,
      compliance_metadata: { law: "one" },
      cost_usd: cost,
      reservation: { amount_usd: "0.00005", expires_at: "1970-01-01T00:01:00.000Z" },
      accounts: [
        { scope: "run", before: { pending_usd: "0.00005" }, after: { pending_usd: "0", posted_usd: cost } },
        { scope: "session", before: { pending_usd: "0.00005" }, after: { pending_usd: "0", posted_usd: cost } },
      ],
      principal: null,
    });
    expect(Object.keys(sitting.ledger.at(-1)?.entry.policy ?? {})).toEqual(["digest", "name", "version"]);
    expect(spanOf(sitting.book.shares, "day")).toMatchObject({ postedMicroUsd: posted, pendingMicroUsd: 0 });
  });
});

describe("a turn", () => {
  it("moves the clock only where it is later, and then once", () => {
    const sitting = new Sitting();
    const clocks = (now: number) => sitting.turn(now, (turn) => turn.effects.filter(({ kind }) => kind === "clock").length);
    expect([clocks(0), clocks(5), clocks(5), clocks(4), clocks(6)]).toEqual([0, 1, 0, 0, 1]);
  });

  it("is never before its stretch of the calendar began", () => {
    const sitting = new Sitting();
    const hour = 3_600_000;
    const { shares } = sitting.book;
    shares.spans = shares.spans.map((span) => (span.window === "hour" ? { ...span, startsAt: hour, endsAt: 2 * hour } : span));
    expect(sitting.turn(5, (turn) => turn.now)).toBe(hour);
  });
});
