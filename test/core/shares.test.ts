import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BUDGET_WINDOWS, stretchAt } from "../../src/core/calendar.ts";
import { EMPTY_HOLDING, give, giveCalls, type Pool } from "../../src/core/pool.ts";
import {
  type CallLimit,
  draw,
  hear,
  isCovered,
  isPermitted,
  leftOf,
  noPermits,
  noShares,
  type Piece,
  permitKey,
  resizePieces,
  type Shares,
  settlePieces,
} from "../../src/core/shares.ts";
import { calmStep, play, T0, tenantLimit, usd, World } from "./shares_world.ts";

describe("money that sessions share", () => {
  it("is never given twice, whatever is lost, repeated or late", () => {
    fc.assert(
      fc.property(fc.constantFrom(...BUDGET_WINDOWS), fc.array(calmStep, { maxLength: 120 }), (window, steps) => {
        play(new World(5, window, 0).bindAll(10_000), steps);
      }),
      { numRuns: 400 },
    );
  });

  it("comes back to the last micro-dollar when everybody gives back", () => {
    fc.assert(
      fc.property(fc.array(calmStep, { maxLength: 120 }), (steps) => {
        const world = play(new World(5, "total", 0).bindAll(10_000), steps);
        world.settleDown();
        world.check();
        const left = 10_000 - world.spent();
        if (left === 0) return;
        expect(world.ask(0, left)).toBe(true);
        expect(leftOf(world.at(0).shares, tenantLimit("total", 10_000))).toBe(0);
        expect(world.spend(1, 1)).not.toBeNull();
      }),
      { numRuns: 200 },
    );
  });

  it("is felt by the next decision where an overrun has passed the limit", () => {
    const world = new World(2, "day", 0).bindAll(10_000);
    expect(world.ask(0, 6_000)).toBe(true);
    world.settle(0, 0, 2);
    world.settleDown();
    expect(world.overruns()).toBe(6_000);
    expect(world.ask(1, 1)).toBe(false);
    expect(world.ask(0, 1)).toBe(false);
  });

  it("is not taken under a slice that was given under a larger limit", () => {
    const world = new World(1, "day", 0).bindAll(10_000);
    expect(world.ask(0, 100)).toBe(true);
    const isCoveredUnder = (limit: number) => isCovered(world.at(0).shares, tenantLimit("day", limit), usd(100));
    expect([9_999, 10_000, 10_001].map(isCoveredUnder)).toEqual([false, true, true]);
  });

  it.each([
    [
      "the first of many takes a fourth of its part",
      { limit: 8_000, others: 0, holders: 1, needs: 10 },
      { granted: 1_000, isExact: false, isShort: false },
    ],
    [
      "one that needs more than its part gets that, exactly",
      { limit: 8_000, others: 0, holders: 1, needs: 1_001 },
      { granted: 1_001, isExact: true, isShort: false },
    ],
    ["what is left goes to whom it suffices", { limit: 8_000, others: 7_990, holders: 7, needs: 10 }, { granted: 10, isExact: true, isShort: false }],
    [
      "and to whom it does not, as far as it goes",
      { limit: 8_000, others: 7_995, holders: 7, needs: 10 },
      { granted: 5, isExact: true, isShort: true },
    ],
    [
      "but nothing of it to whom all of it is of no use",
      { limit: 8_000, others: 7_995, holders: 7, needs: 10, least: 6 },
      { granted: 0, isExact: true, isShort: true },
    ],
    ["nothing is given of what is gone", { limit: 8_000, others: 8_000, holders: 7, needs: 10 }, { granted: 0, isExact: true, isShort: true }],
    ["who needs nothing gets nothing", { limit: 8_000, others: 0, holders: 1, needs: 0 }, { granted: 0, isExact: false, isShort: false }],
  ])("%s", (_, { limit, others, holders, needs, least = Math.min(needs, 1) }: Account, wanted) => {
    const pool: Pool = { grantedMicroUsd: usd(others), postedMicroUsd: usd(0), pendingMicroUsd: usd(0), holders };
    const { grantedMicroUsd, isExact, isShort } = give(pool, EMPTY_HOLDING, EMPTY_HOLDING, {
      limitMicroUsd: usd(limit),
      holdsMicroUsd: usd(0),
      needsMicroUsd: usd(needs),
      leastMicroUsd: usd(least),
    });
    expect({ granted: grantedMicroUsd, isExact, isShort }).toEqual(wanted);
  });
});

describe("pieces of money", () => {
  const pieces = fc.array(fc.record({ at: fc.integer({ min: 0, max: 50 }), microUsd: fc.integer({ min: 1, max: 100 }).map(usd) }), { maxLength: 4 });
  const total = (all: readonly Piece[]) => all.reduce((sum, { microUsd }) => sum + microUsd, 0);

  it("sum to what is posted, and the changes take from pending exactly what was there", () => {
    fc.assert(
      fc.property(pieces, fc.nat(500), fc.constantFrom("pending" as const, "posted" as const), (were, posted, was) => {
        const done = settlePieces(were, was, { at: 99, posted: usd(posted), overrun: usd(0) });
        expect(total(done.pieces)).toBe(posted);
        const change = done.deltas.reduce((sum, delta) => ({ posted: sum.posted + delta.posted, pending: sum.pending + delta.pending }), {
          posted: 0,
          pending: 0,
        });
        expect(change).toEqual(was === "pending" ? { posted, pending: 0 - total(were) } : { posted: posted - total(were), pending: 0 });
      }),
    );
  });

  it("take what is more at the later instant, and give back what was taken last", () => {
    fc.assert(
      fc.property(pieces, fc.nat(500), (were, sum) => {
        const done = resizePieces(were, usd(sum), 99);
        expect(total(done.pieces)).toBe(sum);
        expect(done.deltas.reduce((all, { pending }) => all + pending, 0)).toBe(sum - total(were));
      }),
    );
  });
});

describe("calls that sessions share", () => {
  const whose = { per: "tenant", pattern: "pay" } as const;
  const WINDOW_MS = 1_000;
  const callStep = fc.record({
    session: fc.nat(3),
    // So many at once that limits are reached.
    passes: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, 1, 90, 400, WINDOW_MS),
    lost: fc.boolean(),
    // Mostly the looser of two limits, under which more is given than one needs: it is worth nothing under the tighter.
    max: fc.constantFrom(12, 12, 12, 3),
  });

  it("are at most the limit in any window, and all of it is used when somebody asks for it", () => {
    fc.assert(
      fc.property(fc.array(callStep, { maxLength: 150 }), (steps) => {
        let pool = { log: [] as readonly number[], unused: 0, holders: 0 };
        const sessions = Array.from({ length: 4 }, () => ({ shares: noShares(0), holding: { unused: 0, told: 0 } }));
        const made: number[] = [];
        let now = 0;
        const say = (one: (typeof sessions)[number], limits: readonly CallLimit[] | null, isLost: boolean) => {
          const said = draw(one.shares, limits === null ? [] : [{ kind: "calls", ...whose, limits }], limits === null);
          const asked = said.permits.find((permits) => permitKey(permits) === permitKey(whose));
          if (asked === undefined) return;
          const given = giveCalls(pool, one.holding, asked, now);
          pool = given.pool;
          one.holding = given.holding;
          if (!isLost) hear(one.shares, { ask: said.ask, slices: [], permits: [given.word] }, said);
        };
        const permitsOf = (shares: Shares) => shares.permits.get(permitKey(whose)) ?? noPermits(whose);
        for (const { session, passes, lost, max } of steps) {
          now += passes;
          const limits: readonly CallLimit[] = [{ max, windowMs: WINDOW_MS }];
          const one = sessions[session];
          if (one === undefined) throw new Error("there is a session");
          if (!isPermitted(permitsOf(one.shares), limits)) {
            // Whoever holds some gives it back, as when the tenant asks them.
            for (const other of sessions) if (other !== one) say(other, null, true);
            say(one, limits, lost);
          }
          const within = made.filter((at) => at + WINDOW_MS > now);
          const permits = permitsOf(one.shares);
          if (isPermitted(permits, limits)) {
            one.shares.permits.set(permitKey(whose), { ...permits, unused: permits.unused - 1, used: [...permits.used, now] });
            made.push(now);
            expect(within.length).toBeLessThan(max);
          } else if (!lost) {
            expect(within.length).toBeGreaterThanOrEqual(max);
            expect(permits.fitsAt).toBe((within[within.length - max] ?? 0) + WINDOW_MS);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("stretches of the calendar", () => {
  it.each([
    ["hour", "2026-11-23T12:34:56.789Z", "2026-11-23T12:00:00.000Z", "2026-11-23T13:00:00.000Z"],
    ["day", "2026-11-23T23:59:59.999Z", "2026-11-23T00:00:00.000Z", "2026-11-24T00:00:00.000Z"],
    ["day", "2026-11-24T00:00:00.000Z", "2026-11-24T00:00:00.000Z", "2026-11-25T00:00:00.000Z"],
    ["month", "2028-02-29T10:00:00.000Z", "2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"],
    ["month", "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"],
  ] as const)("the %s of %s", (window, at, from, to) => {
    expect(stretchAt(window, Date.parse(at))).toEqual({ startsAt: Date.parse(from), endsAt: Date.parse(to) });
  });

  it.each(["hour", "day"] as const)("%s: no instant is before 1970", (window) => {
    expect(() => stretchAt(window, -1)).toThrow("no instant is before 1970");
    expect(stretchAt(window, 0).startsAt).toBe(0);
  });

  it("all time has no end", () => expect(stretchAt("total", T0)).toEqual({ startsAt: 0, endsAt: null }));
});

/** An account at its tenant, and what somebody asks of it. `least`: what is of any use to them; 1 where nothing is said. */
interface Account {
  readonly limit: number;
  readonly others: number;
  readonly holders: number;
  readonly needs: number;
  readonly least?: number;
}
