import fc from "fast-check";
import { afterEach, describe, expect, test, vi } from "vitest";
import { matchesGlob } from "../../sdk/src/glob.ts";
import { microUsdOf, textOf } from "../../sdk/src/leases/micro_usd.ts";
import { Purse } from "../../sdk/src/leases/purse.ts";
import { Term } from "../../sdk/src/leases/term.ts";
import { bare, entryOf, reportOf, Waiting, wireEntry } from "../../sdk/src/leases/waiting.ts";
import { usdText } from "../../sdk/src/usd.ts";
import { matchesGlob as coreMatches } from "../../src/core/glob.ts";
import { microUsdOf as coreMicroUsdOf } from "../../src/core/money.ts";

const MOST_MICRO_USD = 9_007_199_254_740_991;

describe("money of a lease", () => {
  test.each([
    ["0", 0],
    ["1", 1_000_000],
    ["0.000001", 1],
    ["0.05", 50_000],
    ["1.50", 1_500_000],
    ["9007199254.740991", MOST_MICRO_USD],
  ])("%s USD are %i micro-USD", (text, microUsd) => {
    expect(microUsdOf(text)).toBe(microUsd);
    expect(microUsdOf(textOf(microUsd))).toBe(microUsd);
    expect(microUsd).toBe(coreMicroUsdOf(microUsd));
  });

  test("is what it was, written and read, to the last micro-dollar; and what no lease can have is more than any has", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: MOST_MICRO_USD }), (microUsd) => {
        expect(microUsdOf(usdText(textOf(microUsd), "it"))).toBe(microUsd);
      }),
    );
    expect(microUsdOf("9999999999.999999")).toBeGreaterThan(MOST_MICRO_USD);
  });

  test("is never reserved above the amount, whatever is reserved, spent and given back in whatever order; and all of it comes back", () => {
    const step = fc.record({ at: fc.nat(), microUsd: fc.integer({ min: 0, max: 60 }), does: fc.constantFrom("reserve", "spend", "giveBack") });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.array(step, { maxLength: 60 }), (amount, steps) => {
        const purse = new Purse(amount);
        const open: number[] = [];
        let spent = 0;
        const sum = (): number => open.reduce((all, each) => all + each, 0);
        for (const { at, microUsd, does } of steps) {
          const [one] = does === "reserve" || open.length === 0 ? [] : open.splice(at % open.length, 1);
          if (one === undefined) {
            const fits = spent + sum() + microUsd <= amount;
            expect(purse.reserve(microUsd)).toBe(fits);
            if (fits) open.push(microUsd);
          } else if (does === "giveBack") purse.spend(one, 0);
          else {
            purse.spend(one, microUsd);
            spent += microUsd;
          }
          expect(purse.leftMicroUsd).toBe(Math.max(0, amount - spent - sum()));
        }
        for (const one of open) purse.spend(one, 0);
        expect(purse.leftMicroUsd).toBe(Math.max(0, amount - spent));
      }),
    );
  });
});

describe("the term of a lease", () => {
  afterEach(() => vi.restoreAllMocks());

  test.each([
    ["both clocks go", 400, 400, 600],
    ["the wall's clock is set back", -3_600_000, 400, 600],
    ["the machine sleeps, and the steady clock with it", 5_000, 10, -4_000],
    ["the wall's clock is set forward", 3_600_000, 10, 1_000 - 3_600_000],
    ["neither goes while one thing is computed", 0, 0, 1_000],
  ])("%s", (_, wallMs, steadyMs, leftMs) => {
    const steady = vi.spyOn(performance, "now").mockReturnValue(50);
    let wall = 1_000_000;
    const term = new Term(() => wall);
    expect(term.leftMs).toBeLessThanOrEqual(0);
    term.lasts(1_000);
    wall += wallMs;
    steady.mockReturnValue(50 + steadyMs);
    expect(term.leftMs).toBe(leftMs);
  });
});

test("An action is covered by the very globs by which the gateway covers it.", () => {
  const text = (...letters: string[]) => fc.string({ unit: fc.constantFrom(...letters), maxLength: 7 });
  fc.assert(
    fc.property(text("a", "b", "*"), text("a", "b"), (glob, action) => {
      expect(matchesGlob(glob, action)).toBe(coreMatches(glob, action));
    }),
    { numRuns: 2_000 },
  );
});

describe("what waits to be told", () => {
  const END = { outcome: "success", estimateUsd: "0.5", costUsd: "0.25" } as const;
  const FACTS = { id: "dec_1", action: "search", at: Date.parse("2026-11-22T12:00:00.000Z"), riskLevel: "low", inputs: { q: "x" } };
  const of = (id: string, outputs = "") => entryOf(JSON.stringify({ id, action: "search" }), id, "search", { ...END, outputs });

  test("is told as the wire has it, and a second time without what could be wrong with it", () => {
    const entry = entryOf(JSON.stringify(FACTS), "dec_1", "search", { ...END, durationMs: 7, outputs: [1] });
    expect(wireEntry(entry)).toEqual({
      id: "dec_1",
      action: "search",
      at: "2026-11-22T12:00:00.000Z",
      risk_level: "low",
      inputs: { q: "x" },
      outcome: "success",
      estimate_usd: "0.5",
      cost_usd: "0.25",
      duration_ms: 7,
      outputs: [1],
    });
    expect(reportOf(entry)).toEqual({ outcome: "success", costUsd: "0.25", durationMs: 7, outputs: [1] });
    expect(wireEntry(bare(entry))).toEqual({ id: "dec_1", action: "search", outcome: "success", estimate_usd: "0.5", cost_usd: "0.25" });
    expect([entry.isBare, bare(entry).isBare]).toEqual([false, true]);
  });

  test.each([
    ["fits, with its outputs", "x".repeat(60_000), true],
    ["does not fit, without them", "☃".repeat(90_000), false],
  ])("that %s into a request", (_, outputs, isTold) => {
    const entry = of("dec_1", outputs);
    expect("outputs" in wireEntry(entry)).toBe(isTold);
    expect(new TextEncoder().encode(JSON.stringify({ entries: [wireEntry(entry)], final: true })).length).toBeLessThan(256 * 1024);
  });

  test("is told in its order, in requests of at most 100 that the gateway reads; each once", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(10, 3_000, 60_000), { minLength: 1, maxLength: 300 }), fc.integer({ min: 1, max: 200 }), (sizes, most) => {
        const waiting = new Waiting();
        for (const [place, size] of sizes.entries()) waiting.add(of(`dec_${place}`, "x".repeat(size)));
        const told: string[] = [];
        while (waiting.size > 0) {
          const batch = waiting.batch(most);
          expect(batch.length).toBeLessThanOrEqual(Math.min(100, most));
          expect(JSON.stringify({ entries: batch.map(wireEntry) }).length).toBeLessThan(256 * 1024);
          told.push(...batch.map(({ id }) => id));
          waiting.take(batch);
        }
        expect(told).toEqual(sizes.map((_, place) => `dec_${place}`));
        expect([waiting.isFull, waiting.isBatch]).toEqual([false, false]);
      }),
      { numRuns: 20 },
    );
  });

  test.each([
    ["1000 of them", 1_000, 1],
    ["four megabytes of them", 67, 60_000],
  ])("is full with %s", (_, entries, size) => {
    const waiting = new Waiting();
    for (let n = 1; n < entries; n++) waiting.add(of(`dec_${n}`, "x".repeat(size)));
    expect([waiting.isFull, waiting.isBatch]).toEqual([false, true]);
    waiting.add(of("dec_0", "x".repeat(size)));
    expect(waiting.isFull).toBe(true);
    waiting.take(waiting.all());
    expect([waiting.isFull, waiting.isBatch, waiting.size]).toEqual([false, false, 0]);
  });
});
