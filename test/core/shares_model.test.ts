import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BUDGET_WINDOWS } from "../../src/core/calendar.ts";
import { EMPTY_HOLDING, EMPTY_POOL, give } from "../../src/core/pool.ts";
import { play, usd, World, wildStep } from "./shares_world.ts";

/** Sessions whose clocks differ, each under the policy it has heard of, overruns, crashes, and a network that loses, repeats and reorders. */
const SKEW_MS = 7;
const windows = fc.constantFrom(...BUDGET_WINDOWS);

describe("money that sessions share, whatever policies and clocks do", () => {
  it("never passes the largest limit that was in force, but for what no limit could stop", () => {
    fc.assert(
      fc.property(windows, fc.array(wildStep, { maxLength: 150 }), (window, steps) => {
        play(new World(5, window, SKEW_MS), steps);
      }),
      { numRuns: 500 },
    );
  });

  it("is to be had at the first ask, if it is left, once all have given back", () => {
    fc.assert(
      fc.property(windows, fc.array(wildStep, { maxLength: 80 }), fc.integer({ min: 1, max: 3_000 }), (window, steps, amount) => {
        const world = play(new World(5, window, SKEW_MS), steps);
        world.settleDown();
        world.bindAll(10_000);
        const fits = world.spent() + amount <= 10_000;
        expect(world.ask(0, amount)).toBe(fits);
        world.check();
      }),
      { numRuns: 400 },
    );
  });

  it("has a sum that no number tells, and then nothing of it is given and nothing breaks", () => {
    const posted = (sum: number) => ({ postedMicroUsd: usd(sum), pendingMicroUsd: usd(0) });
    const [some, all] = [4_500_000_000_000_000, Number.MAX_SAFE_INTEGER];
    const pool = [some, some, some, some].reduce((sum, one) => give(sum, EMPTY_HOLDING, posted(one), null).pool, EMPTY_POOL);
    const asked = { limitMicroUsd: usd(10), holdsMicroUsd: usd(0), needsMicroUsd: usd(1), leastMicroUsd: usd(1) };
    expect(give(pool, EMPTY_HOLDING, posted(all), asked)).toMatchObject({ pool, grantedMicroUsd: 0, isShort: true });
    expect(give(EMPTY_POOL, EMPTY_HOLDING, posted(all), null).pool).toMatchObject(posted(all));
  });
});
