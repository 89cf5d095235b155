import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { alertAdvice, alertsOf, alertText, millionthsOf, reached } from "../../src/core/alerts.ts";
import type { Balance } from "../../src/core/decision.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { Findings } from "../../src/core/policy/findings.ts";
import { Sitting } from "./sitting.ts";

const usd = microUsdOf;
const balance = (more: Partial<Balance> = {}): Balance => ({
  scope: "session",
  name: "s",
  limitMicroUsd: usd(1_000),
  postedMicroUsd: usd(100),
  pendingMicroUsd: usd(200),
  leasedMicroUsd: usd(300),
  ...more,
});
const thresholds = [0.3, 0.6, 0.601];

describe("parts of limits that were reached", () => {
  const told = (more: Partial<Balance> = {}) => alertsOf(new Sitting().book, [balance(more)], thresholds);

  it("count what is posted, pending and leased together, and equality counts", () => {
    const alert = { scope: "session", name: "s", limitMicroUsd: 1_000, spentMicroUsd: 600 };
    expect(told()).toEqual([
      { ...alert, threshold: 0.3 },
      { ...alert, threshold: 0.6 },
    ]);
    expect(told({ postedMicroUsd: usd(99) }).map(({ threshold }) => threshold)).toEqual([0.3]);
    expect(told({ postedMicroUsd: usd(101) }).map(({ threshold }) => threshold)).toEqual(thresholds);
  });

  it.each<readonly [string, Partial<Balance>]>([
    ["without a limit", { limitMicroUsd: null }],
    ["of a limit of nothing", { limitMicroUsd: usd(0), postedMicroUsd: usd(0), pendingMicroUsd: usd(0), leasedMicroUsd: usd(0) }],
    ["of an agent, which its tenant tells", { scope: "agent" }],
    ["of a tenant", { scope: "tenant" }],
  ])("are none %s", (_, more) => {
    expect(told(more)).toEqual([]);
  });

  it("are none where the policy wants none", () => {
    expect(alertsOf(new Sitting().book, [balance()], [])).toEqual([]);
  });

  it("are told once for as long as the limit stands, whatever is given back and taken again", () => {
    const sitting = new Sitting();
    const asked = (costs: number, limit = 100, alerts: Findings["alerts"] = [0.5, 0.8]) => {
      const { id, advice } = sitting.decide({ costs, finds: { budgets: [{ scope: "session", limitMicroUsd: usd(limit) }], alerts } });
      return { id, told: advice.map(({ details }) => details.threshold) };
    };
    const first = asked(60);
    expect(first.told).toEqual([0.5]);
    sitting.release(first.id);
    expect(asked(60).told).toEqual([]);
    expect(asked(20).told).toEqual([0.8]);
    expect(asked(1).told).toEqual([]);
    // Under another limit everything is told anew; of another account, too.
    expect(asked(1, 120).told).toEqual([0.5]);
    const run = sitting.decide({ costs: 1, finds: { budgets: [{ scope: "run", limitMicroUsd: usd(100) }], alerts: [0.5] } });
    expect(run.advice).toHaveLength(1);
  });
});

it("a part of a limit is reckoned to the micro-dollar, rounded up, however large the limit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), fc.integer({ min: 1, max: 1_000_000 }), (limit, millionths) => {
      const part = Number((BigInt(limit) * BigInt(millionths) + 999_999n) / 1_000_000n);
      const threshold = millionths / 1_000_000;
      expect(millionthsOf(threshold)).toBe(millionths);
      expect(reached(usd(limit), usd(part), [threshold], 0)).toEqual([threshold]);
      expect(reached(usd(limit), usd(part - 1), [threshold], 0)).toEqual([]);
      // What was told before is not told again.
      expect(reached(usd(limit), usd(limit), [threshold], millionths)).toEqual([]);
      expect(reached(usd(limit), usd(limit), [threshold], millionths - 1)).toEqual([threshold]);
    }),
  );
});

it("an alert is told in words and in figures", () => {
  const alert = { scope: "run", name: "r", limitMicroUsd: usd(2_000_000), spentMicroUsd: usd(1_500_000), threshold: 0.66666 } as const;
  const text = { limit_usd: "2", name: "r", scope: "run", spent_usd: "1.5", threshold: 0.66666 };
  expect(alertText(alert)).toEqual(text);
  expect(alertAdvice(alert)).toEqual({
    code: "budget_threshold",
    message: 'The run account "r" has reached 66.666 % of 2 USD.',
    details: text,
  });
});
