import { describe, expect, it } from "vitest";
import { microUsdOf } from "../../src/core/money.ts";
import {
  couldComeBack,
  EMPTY_HOLDING,
  EMPTY_POOL,
  give,
  type Holding,
  isOverdrawn,
  leasedTo,
  othersOf,
  type Pool,
  sliceWord,
} from "../../src/core/pool.ts";

const holdingOf = (granted: number, posted: number, pending: number): Holding => ({
  grantedMicroUsd: microUsdOf(granted),
  postedMicroUsd: microUsdOf(posted),
  pendingMicroUsd: microUsdOf(pending),
});
/** What a session says it spent, which is all of 150. */
const SPAN = { postedMicroUsd: microUsdOf(120), pendingMicroUsd: microUsdOf(30) };
const POOL: Pool = { ...holdingOf(1_000, 300, 100), holders: 2 };
/** The session's part of that, as it last said: others have 600. */
const HOLDING = holdingOf(400, 100, 50);
const asks = (limit: number, holds: number, needs: number, least = needs) => ({
  limitMicroUsd: microUsdOf(limit),
  holdsMicroUsd: microUsdOf(holds),
  needsMicroUsd: microUsdOf(needs),
  leastMicroUsd: microUsdOf(least),
});

describe("a slice", () => {
  it.each<readonly [what: string, ReturnType<typeof asks>, granted: number, isExact: boolean, isShort: boolean]>([
    ["is nothing, where what it holds is enough", asks(2_000, 500, 60), 0, false, false],
    ["is nothing, where what it holds is just enough", asks(2_000, 210, 60), 0, false, false],
    ["is a fourth of its part of what is free", asks(2_000, 160, 60), 155, false, false],
    ["is that, where it misses just as much", asks(2_000, 160, 165), 155, false, false],
    ["is what it misses, where that is more", asks(2_000, 160, 166), 156, true, false],
    ["counts as held what was spent above it", asks(2_000, 0, 400), 400, true, false],
    ["is the last of it, to the micro-dollar", asks(800, 150, 50), 50, true, false],
    ["is what there is, where even that is of use", asks(800, 150, 100, 50), 50, true, true],
    ["is nothing, where what there is is of no use", asks(800, 150, 100, 51), 0, true, true],
    ["is nothing, where nothing is asked and nothing free", asks(400, 500, 0), 0, true, false],
    ["is short, where all together spent more than the limit", asks(399, 500, 0), 0, true, true],
  ])("%s", (_what, asked, granted, isExact, isShort) => {
    const given = give(POOL, HOLDING, SPAN, asked);
    expect(given).toMatchObject({ grantedMicroUsd: granted, isExact, isShort });
    const holds = Math.max(asked.holdsMicroUsd, 150) + granted;
    expect(given.holding).toEqual(holdingOf(holds, 120, 30));
    expect(given.pool).toEqual({ ...holdingOf(600 + holds, 320, 80), holders: 2 });
  });

  it("is given up by who asks for nothing more: it holds what it spent", () => {
    expect(give(POOL, HOLDING, SPAN, null)).toEqual({
      pool: { ...holdingOf(750, 320, 80), holders: 2 },
      holding: holdingOf(150, 120, 30),
      grantedMicroUsd: 0,
      isExact: true,
      isShort: false,
    });
  });

  it("is held by who has something that is not posted", () => {
    const posted = (micro: number) => ({ postedMicroUsd: microUsdOf(micro), pendingMicroUsd: microUsdOf(0) });
    const first = give(EMPTY_POOL, EMPTY_HOLDING, posted(0), asks(1_000, 0, 10));
    expect(first).toMatchObject({ grantedMicroUsd: 250, pool: { holders: 1 } });
    expect(give(first.pool, EMPTY_HOLDING, posted(0), asks(1_000, 0, 10))).toMatchObject({ grantedMicroUsd: 93, pool: { holders: 2 } });
    expect(give(first.pool, first.holding, posted(250), null).pool).toEqual({ ...holdingOf(250, 250, 0), holders: 0 });
  });

  it("is nothing where no number could tell the sum, which is counted as far as numbers go: all others feel it", () => {
    const most = Number.MAX_SAFE_INTEGER;
    const pool: Pool = { ...holdingOf(most - 150, 0, 0), holders: 1 };
    expect(give(pool, EMPTY_HOLDING, SPAN, asks(most, 0, 0))).toMatchObject({ pool: { grantedMicroUsd: most, holders: 2 }, isShort: false });
    expect(give(pool, EMPTY_HOLDING, SPAN, asks(most, 151, 1))).toEqual({
      pool: { ...holdingOf(most, 120, 30), holders: 2 },
      holding: holdingOf(150, 120, 30),
      grantedMicroUsd: 0,
      isExact: true,
      isShort: true,
    });
    const spent = (posted: number, pending: number) => ({ postedMicroUsd: microUsdOf(posted), pendingMicroUsd: microUsdOf(pending) });
    const after = (posted: number, pending: number) => give({ ...pool, ...holdingOf(most - 10, 4, 0) }, EMPTY_HOLDING, spent(posted, pending), null);
    expect(after(most, 0)).toMatchObject({ pool: holdingOf(most, 14, 0), holding: holdingOf(10, 10, 0), isExact: true, isShort: false });
    expect(after(7, most - 7)).toMatchObject({ pool: holdingOf(most, 11, 3), holding: holdingOf(10, 7, 3) });
  });
});

describe("an account", () => {
  it.each([
    ["is not overdrawn, where all that is given and spent is the limit", 750, 0, false],
    ["is overdrawn, where a session spent more than others leave", 749, 0, true],
    ["is overdrawn, where it holds more than they leave", 750, 151, true],
  ])("%s", (_, limit, holds, is) => {
    expect(isOverdrawn(POOL, HOLDING, SPAN, asks(limit, holds, 0))).toBe(is);
  });
});

describe("what a session is told of others", () => {
  it("is what they spent and what they could give back", () => {
    expect([leasedTo(POOL), leasedTo(HOLDING), leasedTo(holdingOf(10, 8, 3))]).toEqual([600, 250, 0]);
    expect(othersOf(POOL, HOLDING)).toEqual({ postedMicroUsd: 200, pendingMicroUsd: 50, leasedMicroUsd: 350 });
    const given = give(POOL, HOLDING, SPAN, asks(2_000, 160, 166));
    expect(sliceWord({ scope: "agent", window: "day", limitMicroUsd: microUsdOf(2_000) }, 86_400_000, given)).toEqual({
      scope: "agent",
      window: "day",
      startsAt: 86_400_000,
      limitMicroUsd: 2_000,
      grantedMicroUsd: 156,
      others: { postedMicroUsd: 200, pendingMicroUsd: 50, leasedMicroUsd: 350 },
      isExact: true,
      isShort: false,
    });
  });

  it.each<readonly [boolean, string, Pool, Holding, number, number]>([
    [true, "others hold enough that they have not spent", POOL, HOLDING, 500, 100],
    [false, "what is spent leaves less than it can use", POOL, HOLDING, 500, 101],
    [false, "nobody else holds anything", { ...HOLDING, holders: 1 }, HOLDING, 500, 100],
  ])("could give it something back: %s, where %s", (could, _why, pool, holding, limit, least) => {
    expect(couldComeBack(pool, holding, { limitMicroUsd: microUsdOf(limit), leastMicroUsd: microUsdOf(least) })).toBe(could);
  });
});
