import { describe, expect, it } from "vitest";
import type { BudgetLimit, RateLimit, SharedLimit } from "../../src/core/policy/findings.ts";
import {
  beganAt,
  countPiece,
  type Draw,
  draw,
  hear,
  holdsAnything,
  isCovered,
  isPermitted,
  leftOf,
  mustBeTold,
  noPermits,
  noShares,
  type Permits,
  type Piece,
  permitKey,
  resizePieces,
  rollSpans,
  type Shares,
  type Short,
  type Slice,
  type SliceWord,
  settlePieces,
  sliceKey,
  sliceLeft,
  spanOf,
  standAlone,
  unusedOf,
  type Word,
} from "../../src/core/shares.ts";
import { T0, usd } from "./shares_world.ts";

const DAY: SharedLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
const TOTAL: SharedLimit = { scope: "tenant", window: "total", limitMicroUsd: usd(100) };
const NOBODY = { postedMicroUsd: usd(0), pendingMicroUsd: usd(0), leasedMicroUsd: usd(0) };
const CALLS = [{ max: 3, windowMs: 1_000 }];

const short = (amount: number, limit = DAY, least = amount, alerts: readonly number[] = []): Short => ({
  kind: "money",
  limit,
  amountMicroUsd: usd(amount),
  leastMicroUsd: usd(least),
  alerts,
});
const callShort = (more: Partial<Extract<Short, { kind: "calls" }>> = {}): Short => ({
  kind: "calls",
  per: "agent",
  pattern: "pay",
  limits: CALLS,
  ...more,
});

/** A session that has spent, and been given, so much. */
function sharesWith({
  spent = 0,
  allowance = 0,
  slice = {},
  permits,
}: {
  spent?: number;
  allowance?: number;
  slice?: Partial<Slice>;
  permits?: Partial<Permits>;
} = {}): Shares {
  const shares = noShares(T0);
  shares.spans = shares.spans.map((span) => ({ ...span, pendingMicroUsd: usd(spent) }));
  const { startsAt } = spanOf(shares, "day");
  shares.slices.set(sliceKey(DAY), { ...DAY, startsAt, allowanceMicroUsd: usd(allowance), others: NOBODY, isExact: false, ...slice });
  if (permits !== undefined) {
    const one = { ...noPermits({ per: "agent", pattern: "pay" }), limits: CALLS, ...permits };
    shares.permits.set(permitKey(one), one);
  }
  return shares;
}

describe("what may be taken without asking", () => {
  it.each([
    ["up to the slice", { spent: 30, allowance: 50 }, 20, true],
    ["and not more", { spent: 30, allowance: 50 }, 21, false],
    ["under a slice for as much or less", { allowance: 50, slice: { limitMicroUsd: usd(99) } }, 50, true],
    ["not under a slice for more", { allowance: 50, slice: { limitMicroUsd: usd(101) } }, 1, false],
    [
      "nothing, where nothing is overrun",
      { spent: 30, slice: { others: { ...NOBODY, postedMicroUsd: usd(40), pendingMicroUsd: usd(30) } } },
      0,
      true,
    ],
    ["nothing not even, where others' reports passed the limit", { spent: 30, slice: { others: { ...NOBODY, postedMicroUsd: usd(71) } } }, 0, false],
    ["nothing not even, where others' reservations did", { spent: 30, slice: { others: { ...NOBODY, pendingMicroUsd: usd(71) } } }, 0, false],
    [
      "what others were given and have not spent stops nothing that costs nothing",
      { slice: { others: { ...NOBODY, leasedMicroUsd: usd(101) } } },
      0,
      true,
    ],
  ] as const)("%s", (_, put, amount, covered) => {
    expect(isCovered(sharesWith(put), DAY, usd(amount))).toBe(covered);
  });

  it("is nothing of what nobody spoke of, and what is left is told of what was heard", () => {
    const shares = sharesWith({
      spent: 30,
      allowance: 50,
      slice: { others: { postedMicroUsd: usd(5), pendingMicroUsd: usd(6), leasedMicroUsd: usd(7) } },
    });
    expect([isCovered(shares, TOTAL, usd(0)), sliceLeft(shares, TOTAL), leftOf(shares, TOTAL)]).toEqual([false, 0, 0]);
    expect([sliceLeft(shares, DAY), leftOf(shares, DAY)]).toEqual([20, 52]);
    expect([sliceLeft(shares, { ...DAY, limitMicroUsd: usd(99) }), leftOf(shares, { ...DAY, limitMicroUsd: usd(40) })]).toEqual([0, 0]);
    expect(
      unusedOf(sharesWith({ spent: 60, allowance: 50 }), { ...DAY, startsAt: 0, allowanceMicroUsd: usd(50), others: NOBODY, isExact: false }),
    ).toBe(0);
  });

  it.each([
    [0, CALLS, CALLS, false],
    [1, CALLS, CALLS, true],
    [1, CALLS, [], true],
    [1, [], CALLS, false],
    [1, CALLS, [{ max: 2, windowMs: 1_000 }], false],
    [1, CALLS, [{ max: 4, windowMs: 1_000 }], true],
    [1, CALLS, [{ max: 3, windowMs: 999 }], true],
    [1, CALLS, [{ max: 3, windowMs: 1_001 }], false],
    [
      1,
      [...CALLS, { max: 9, windowMs: 9_000 }],
      [
        { max: 3, windowMs: 500 },
        { max: 9, windowMs: 9_000 },
      ],
      true,
    ],
    [1, CALLS, [...CALLS, { max: 9, windowMs: 9_000 }], false],
  ] as const)("of calls: with %i left, given under %j, in force %j: %s", (unused, given, inForce, permitted) => {
    expect(isPermitted({ ...noPermits({ per: "agent", pattern: "pay" }), unused, limits: given }, inForce)).toBe(permitted);
  });
});

describe("pieces of money", () => {
  const pieces = (...sums: readonly number[]): readonly Piece[] => sums.map((microUsd, at) => ({ at, microUsd: usd(microUsd) }));
  const delta = (at: number, posted: number, pending: number, overrun = 0) => ({ at, posted, pending, overrun });

  it.each([
    ["all of it stays", "pending", 8, 0, pieces(5, 3), [delta(0, 5, -5), delta(1, 3, -3)]],
    ["some comes back, of what was taken last", "pending", 6, 0, pieces(5, 1), [delta(0, 5, -5), delta(1, 1, -3)]],
    ["a whole piece comes back", "pending", 5, 0, pieces(5), [delta(0, 5, -5), delta(1, 0, -3)]],
    ["nothing stays", "pending", 0, 0, [], [delta(0, 0, -5), delta(1, 0, -3)]],
    ["more is felt now", "pending", 10, 2, [...pieces(5, 3), { at: 9, microUsd: 2 }], [delta(0, 5, -5), delta(1, 3, -3), delta(9, 2, 0, 2)]],
    ["a correction takes back what was posted", "posted", 6, 0, pieces(5, 1), [delta(0, 0, 0), delta(1, -2, 0)]],
    ["an overrun alone is felt now", "posted", 8, 4, pieces(5, 3), [delta(0, 0, 0), delta(1, 0, 0), delta(9, 0, 0, 4)]],
  ] as const)("that end: %s", (_, was, posted, overrun, stays, deltas) => {
    expect(settlePieces(pieces(5, 3), was, { at: 9, posted: usd(posted), overrun: usd(overrun) })).toEqual({ pieces: stays, deltas });
  });

  it.each([
    ["the same", 8, pieces(5, 3), []],
    ["less", 6, pieces(5, 1), [delta(1, 0, -2)]],
    ["much less", 4, pieces(4), [delta(0, 0, -1), delta(1, 0, -3)]],
    ["nothing", 0, [], [delta(0, 0, -5), delta(1, 0, -3)]],
    ["more", 9, [...pieces(5, 3), { at: 9, microUsd: 1 }], [delta(9, 0, 1)]],
  ] as const)("that get another sum: %s", (_, sum, stays, deltas) => {
    expect(resizePieces(pieces(5, 3), usd(sum), 9)).toEqual({ pieces: stays, deltas });
  });
});

describe("the stretches of the calendar", () => {
  it("begin anew each at its own end, and slices of what has ended are gone", () => {
    const shares = sharesWith({ spent: 30, allowance: 50 });
    shares.slices.set(sliceKey(TOTAL), {
      ...TOTAL,
      startsAt: spanOf(shares, "total").startsAt,
      allowanceMicroUsd: usd(9),
      others: NOBODY,
      isExact: false,
    });
    const spans = shares.spans;
    const endsAt = spanOf(shares, "day").endsAt ?? 0;
    rollSpans(shares, T0 + 1);
    expect(shares.spans).toBe(spans);
    rollSpans(shares, endsAt - 1);
    expect([spanOf(shares, "day").pendingMicroUsd, spanOf(shares, "hour").pendingMicroUsd, shares.slices.size]).toEqual([30, 0, 2]);
    rollSpans(shares, endsAt);
    expect([spanOf(shares, "day").pendingMicroUsd, spanOf(shares, "total").pendingMicroUsd]).toEqual([0, 30]);
    expect(spanOf(shares, "day").startsAt).toBe(endsAt);
    expect([...shares.slices.keys()]).toEqual([sliceKey(TOTAL)]);
    expect(beganAt(shares)).toBe(endsAt);
  });
});

describe("leave that goes back before it was used", () => {
  it("is free again, by all that the session knows: whoever it was given for asks again", () => {
    const shares = sharesWith({ permits: { unused: 2, remaining: 1, isExact: true } });
    draw(shares, [], false);
    expect(shares.permits.get("agent pay")).toMatchObject({ unused: 0, remaining: 3 });
  });
});

describe("what a session tells its tenant", () => {
  const sliceDraw = (draws: Draw, limit = DAY) => draws.slices.find((one) => sliceKey(one) === sliceKey(limit));

  it("is what it holds and what it needs, all needs of one account together", () => {
    const shares = sharesWith({ spent: 30, allowance: 50, permits: { unused: 1, used: [5, 6], told: 4 } });
    const told = draw(
      shares,
      [short(10, DAY, 10, [0.5]), short(20, DAY, 4, [0.8]), short(7, TOTAL), callShort(), callShort(), callShort({ per: "tenant" })],
      false,
    );
    expect(told).toEqual({
      ask: 1,
      hasOverrun: false,
      spans: shares.spans,
      slices: [
        { scope: "agent", window: "day", limitMicroUsd: 100, holdsMicroUsd: 50, needsMicroUsd: 30, leastMicroUsd: 4, alerts: [0.8] },
        { scope: "tenant", window: "total", limitMicroUsd: 100, holdsMicroUsd: 0, needsMicroUsd: 7, leastMicroUsd: 7, alerts: [] },
      ],
      permits: [
        { per: "agent", pattern: "pay", limits: CALLS, unused: 1, used: { from: 4, at: [5, 6] }, needs: 1 },
        { per: "tenant", pattern: "pay", limits: CALLS, unused: 0, used: { from: 0, at: [] }, needs: 1 },
      ],
    });
    expect(shares.permits.get("tenant pay")).toEqual(noPermits({ per: "tenant", pattern: "pay" }));
    expect(draw(shares, [], false)).toMatchObject({
      ask: 2,
      slices: [{ scope: "agent", window: "day", limitMicroUsd: 100, holdsMicroUsd: 50, needsMicroUsd: 0, leastMicroUsd: 0, alerts: [] }],
      permits: [
        { unused: 1, limits: [], needs: 0 },
        { unused: 0, limits: [], needs: 0 },
      ],
    });
  });

  it("needs at most what a number can tell", () => {
    const most = Number.MAX_SAFE_INTEGER;
    expect(sliceDraw(draw(sharesWith(), [short(most), short(most)], false))?.needsMicroUsd).toBe(most);
  });

  it.each<readonly [string, Parameters<typeof sharesWith>[0], readonly Short[], boolean, number]>([
    ["what it was given", { spent: 30, allowance: 50 }, [], false, 50],
    ["nothing unspent, when it gives back", { spent: 30, allowance: 50 }, [], true, 30],
    ["nothing unspent, where little is left", { spent: 30, allowance: 50, slice: { isExact: true } }, [], false, 30],
    ["nothing unspent, where the limit it needs is tighter", { spent: 30, allowance: 50, slice: { limitMicroUsd: usd(101) } }, [short(1)], false, 30],
    [
      "what it was given, where the limit it needs is not tighter",
      { spent: 30, allowance: 50, slice: { limitMicroUsd: usd(99) } },
      [short(1)],
      false,
      50,
    ],
    [
      "what it was given under a larger limit, while it needs nothing",
      { spent: 30, allowance: 50, slice: { limitMicroUsd: usd(101) } },
      [],
      false,
      50,
    ],
    ["never more than it was given, whatever it has spent", { spent: 60, allowance: 50 }, [], true, 50],
  ])("keeps of money %s", (_, put, shorts, givesBack, holds) => {
    const shares = sharesWith(put);
    expect(sliceDraw(draw(shares, shorts, givesBack))?.holdsMicroUsd).toBe(holds);
    expect(shares.slices.get(sliceKey(DAY))?.allowanceMicroUsd).toBe(holds);
  });

  it.each<readonly [string, Partial<Permits>, readonly Short[], boolean, number]>([
    ["all", {}, [], false, 2],
    ["all, if it needs one more of the same", {}, [callShort()], false, 2],
    ["none, when it gives back", {}, [], true, 0],
    ["none, where few are left and none is needed", { isExact: true }, [], false, 0],
    ["all, where few are left and one is needed", { isExact: true }, [callShort()], false, 2],
    ["none, where what it needs is tighter", {}, [callShort({ limits: [{ max: 2, windowMs: 1_000 }] })], false, 0],
  ])("keeps of calls %s", (_, permits, shorts, givesBack, unused) => {
    const shares = sharesWith({ permits: { unused: 2, ...permits } });
    expect(draw(shares, shorts, givesBack).permits).toMatchObject([{ unused }]);
    expect(shares.permits.get("agent pay")?.unused).toBe(unused);
  });
});

describe("what a session hears", () => {
  const others = { postedMicroUsd: usd(1), pendingMicroUsd: usd(2), leasedMicroUsd: usd(3) };
  const word = (shares: Shares, more: Partial<SliceWord> = {}): Word => ({
    ask: shares.ask,
    slices: [{ ...DAY, startsAt: spanOf(shares, "day").startsAt, grantedMicroUsd: usd(20), others, isExact: false, isShort: false, ...more }],
    permits: [],
  });
  const slice = (shares: Shares) => shares.slices.get(sliceKey(DAY));

  it("is what it may spend beyond what it held, under which limit, and how others stand", () => {
    const shares = sharesWith({ spent: 30, allowance: 50 });
    shares.untold = true;
    const told = draw(shares, [short(20)], false);
    expect(hear(shares, word(shares, { limitMicroUsd: usd(90) }), told)).toBe(true);
    const { startsAt } = spanOf(shares, "day");
    expect(slice(shares)).toEqual({ scope: "agent", window: "day", startsAt, limitMicroUsd: 90, allowanceMicroUsd: 70, others, isExact: false });
    expect([shares.heard, shares.untold]).toEqual([1, false]);
    // The same answer once more says nothing new.
    expect(hear(shares, word(shares), told)).toBe(false);
    expect(slice(shares)?.allowanceMicroUsd).toBe(70);
  });

  it("is worth nothing once it has asked again, whichever of the two is late", () => {
    const shares = sharesWith({ allowance: 50 });
    const first = draw(shares, [short(20)], false);
    const late = word(shares);
    const second = draw(shares, [short(20)], false);
    expect([hear(shares, late, first), hear(shares, late, second), hear(shares, word(shares), first)]).toEqual([false, false, false]);
    expect([slice(shares)?.allowanceMicroUsd, shares.heard]).toEqual([50, 0]);
  });

  it("leaves untold what was spent while it was on its way", () => {
    const shares = sharesWith({ allowance: 50 });
    shares.untold = true;
    const told = draw(shares, [], false);
    shares.spans = [...shares.spans];
    expect(hear(shares, word(shares), told)).toBe(true);
    expect(shares.untold).toBe(true);
  });

  it("of a stretch that has ended is nothing", () => {
    const shares = sharesWith({ allowance: 50 });
    const told = draw(shares, [short(20)], false);
    const before = slice(shares);
    hear(shares, word(shares, { startsAt: 0 }), told);
    expect(slice(shares)).toBe(before);
  });

  it.each([
    ["counts from what it had spent, where that is more than it held", 60, 20, 80],
    ["is no leave to keep what it had spent beyond, where nothing was given", 60, 0, 50],
    ["counts from what it held, where that is more", 40, 20, 70],
  ])("%s", (_, spent, granted, allowance) => {
    const shares = sharesWith({ spent, allowance: 50 });
    const told = draw(shares, [short(20)], false);
    hear(shares, word(shares, { grantedMicroUsd: usd(granted) }), told);
    expect(slice(shares)?.allowanceMicroUsd).toBe(allowance);
  });

  it("of an account that it did not name is all given", () => {
    const shares = noShares(T0);
    const told = draw(shares, [], false);
    hear(shares, word(shares), told);
    expect(slice(shares)?.allowanceMicroUsd).toBe(20);
  });

  it.each([
    ["was and is", true, true, false, true],
    ["was, and of what it did not ask for nobody has heard otherwise", true, false, false, true],
    ["was, and of what it asked for is not", true, false, true, false],
    ["was not, and is", false, true, false, true],
    ["was not, and is not", false, false, false, false],
  ] as const)("little is left, or not: %s", (_, was, now, asks, isExact) => {
    const shares = sharesWith({ allowance: 50, slice: { isExact: was } });
    const told = draw(shares, asks ? [short(1)] : [], false);
    hear(shares, word(shares, { isExact: now }), told);
    expect(slice(shares)?.isExact).toBe(isExact);
  });

  const permitWord = (shares: Shares, more = {}): Word => ({
    ask: shares.ask,
    slices: [],
    permits: [{ per: "agent", pattern: "pay", granted: 2, remaining: 7, resetsAt: 8, fitsAt: 9, isExact: false, isShort: false, ...more }],
  });

  it("of calls it asked for is leave, under the limits that it named, and what it told is told", () => {
    const shares = sharesWith({ permits: { unused: 1, used: [5, 6], told: 4 } });
    const limits = [{ max: 9, windowMs: 1_000 }];
    const told = draw(shares, [callShort({ limits })], false);
    const known = shares.permits.get("agent pay");
    if (known !== undefined) shares.permits.set("agent pay", { ...known, used: [5, 6, 7] });
    hear(shares, permitWord(shares), told);
    expect(shares.permits.get("agent pay")).toEqual({
      per: "agent",
      pattern: "pay",
      unused: 3,
      limits,
      used: [7],
      told: 6,
      remaining: 7,
      resetsAt: 8,
      fitsAt: 9,
      isExact: false,
    });
  });

  it("of calls it did not ask for is nothing new, but that few are left", () => {
    for (const [was, now, isExact] of [
      [false, false, false],
      [true, false, true],
      [false, true, true],
    ] as const) {
      const shares = sharesWith({ permits: { unused: 0, remaining: 1, resetsAt: 2, fitsAt: 3, isExact: was } });
      const told = draw(shares, [], false);
      hear(shares, permitWord(shares, { granted: 0, isExact: now }), told);
      expect(shares.permits.get("agent pay")).toMatchObject({ limits: CALLS, remaining: 1, resetsAt: 2, fitsAt: 3, isExact });
    }
  });

  it("of calls that it never made is nothing", () => {
    const shares = noShares(T0);
    const told = draw(shares, [], false);
    expect(hear(shares, permitWord(shares), told)).toBe(true);
    expect(shares.permits.size).toBe(0);
  });
});

describe("a session that is played without a tenant", () => {
  it("has all that its limits leave free", () => {
    const shares = noShares(T0);
    const budgets: readonly BudgetLimit[] = [{ scope: "session", limitMicroUsd: usd(9) }, DAY, TOTAL];
    const rates: readonly RateLimit[] = [
      { pattern: "pay", max: 3, windowMs: 1_000, per: "agent" },
      { pattern: "pay", max: 5, windowMs: 9_000, per: "agent" },
      { pattern: "pay", max: 1, windowMs: 1_000, per: "tenant" },
      { pattern: "other", max: 2, windowMs: 1_000, per: "agent" },
      { pattern: "own", max: 2, windowMs: 1_000, per: "session" },
      { pattern: "own", max: 2, windowMs: 1_000, per: "run" },
    ];
    shares.permits.set("agent pay", { ...noPermits({ per: "agent", pattern: "pay" }), used: [T0 - 2_000, T0 - 500, T0 - 400] });
    standAlone(shares, { budgets, rates }, T0);
    expect([...shares.slices]).toEqual(
      [DAY, TOTAL].map((limit) => [
        sliceKey(limit),
        { ...limit, startsAt: spanOf(shares, limit.window).startsAt, allowanceMicroUsd: limit.limitMicroUsd, others: NOBODY, isExact: false },
      ]),
    );
    expect([...shares.permits.keys()]).toEqual(["agent pay", "tenant pay", "agent other"]);
    expect(shares.permits.get("agent pay")).toMatchObject({
      unused: 1,
      limits: [
        { max: 3, windowMs: 1_000 },
        { max: 5, windowMs: 9_000 },
      ],
      resetsAt: T0 + 7_000,
      fitsAt: T0,
    });
    expect(shares.permits.get("tenant pay")).toMatchObject({ unused: 1, used: [], resetsAt: T0, fitsAt: T0 });
    const full = { ...noPermits({ per: "agent", pattern: "pay" }), used: [T0 - 700, T0 - 600, T0 - 500, T0 - 400] };
    shares.permits.set("agent pay", full);
    standAlone(shares, { budgets, rates }, T0);
    expect(shares.permits.get("agent pay")).toMatchObject({ unused: 0, fitsAt: T0 + 400 });
    standAlone(shares, { budgets, rates: [{ pattern: "pay", max: 0, windowMs: 1_000, per: "agent" }] }, T0);
    expect(shares.permits.get("agent pay")).toMatchObject({ unused: 0, fitsAt: null });
  });
});

describe("what a session should give back", () => {
  it.each<readonly [string, Parameters<typeof sharesWith>[0], boolean, boolean]>([
    ["has nothing", {}, false, false],
    ["has some, and much is left for others", { spent: 30, allowance: 31, permits: { unused: 1 } }, false, true],
    ["has some, and little is left", { spent: 30, allowance: 31, slice: { isExact: true } }, true, true],
    ["has spent all, and little is left", { spent: 31, allowance: 31, slice: { isExact: true }, permits: { isExact: true } }, false, false],
    ["has calls, and few are left", { permits: { isExact: true, unused: 1 } }, true, true],
    ["has made calls that nobody heard of", { permits: { used: [1] } }, false, true],
  ])("one that %s", (_, put, tooMuch, anything) => {
    const shares = sharesWith(put);
    expect([mustBeTold(shares), holdsAnything(shares)]).toEqual([tooMuch, anything]);
  });

  it.each([
    ["overran more than it had an answer to must say so at once", 31, 30, true],
    ["overran what it had an answer to need not", 30, 30, false],
    ["was never given what others share need not", 30, null, false],
  ])("one that %s", (_, overran, heard, must) => {
    const shares = { ...sharesWith(), overrunHeardMicroUsd: heard === null ? null : usd(heard) };
    countPiece(shares, { at: T0, posted: overran, pending: 0, overrun: overran });
    expect([mustBeTold(shares), draw(shares, [], false).hasOverrun]).toEqual([must, must]);
  });

  it("one that spent what no limit in force stopped need not: only its overrun is more than anybody allowed", () => {
    const shares = { ...sharesWith({ allowance: 30 }), overrunHeardMicroUsd: usd(0) };
    countPiece(shares, { at: T0, posted: 0, pending: 31, overrun: 0 });
    expect(mustBeTold(shares)).toBe(false);
  });

  it("one that overran must say so until it has an answer to all of it, also when a day has ended meanwhile", () => {
    const shares = sharesWith({ allowance: 30 });
    const overrun = (at: number) => countPiece(shares, { at, posted: 40, pending: 0, overrun: 40 });
    const answered = (told: Draw, slices: Word["slices"]) => hear(shares, { ask: told.ask, slices, permits: [] }, told);
    const { startsAt } = spanOf(shares, "day");
    const word = { ...DAY, startsAt, grantedMicroUsd: usd(0), others: NOBODY, isExact: true, isShort: false };
    answered(draw(shares, [], false), []);
    overrun(T0);
    expect(mustBeTold(shares)).toBe(false);
    answered(draw(shares, [], false), [word]);
    overrun(T0);
    const told = draw(shares, [], false);
    rollSpans(shares, T0 + 7_200_000);
    overrun(T0 + 7_200_000);
    answered(told, []);
    expect(mustBeTold(shares)).toBe(true);
    answered(draw(shares, [], false), []);
    expect(mustBeTold(shares)).toBe(false);
  });

  it("is worth nothing once the account is above its limit, whatever it was given before", () => {
    const under = (others: number) =>
      isCovered(sharesWith({ spent: 10, allowance: 30, slice: { others: { ...NOBODY, postedMicroUsd: usd(others) } } }), DAY, usd(1));
    expect([90, 91].map(under)).toEqual([true, false]);
  });

  it("may hold what it was not yet told of, and must tell what it has spent", () => {
    const shares = noShares(T0);
    expect(holdsAnything(shares)).toBe(false);
    const told = draw(shares, [], false);
    expect(holdsAnything(shares)).toBe(true);
    hear(shares, { ask: 1, slices: [], permits: [] }, told);
    expect(holdsAnything(shares)).toBe(false);
    shares.untold = true;
    expect(holdsAnything(shares)).toBe(true);
  });
});
