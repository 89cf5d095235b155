import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CallHolding, type CallPool, giveCalls } from "../../src/core/pool.ts";
import type { CallLimit } from "../../src/core/shares.ts";

const WHOSE = { per: "tenant", pattern: "mail.*" } as const;
const NOW = 10_000;
const LIMIT: CallLimit = { max: 100, windowMs: 1_000 };

interface Given {
  readonly pool?: Partial<CallPool>;
  readonly holding?: Partial<CallHolding>;
  readonly limits?: readonly CallLimit[];
  readonly unused?: number;
  readonly used?: { readonly from: number; readonly at: readonly number[] };
  readonly needs?: number;
}

const given = ({ pool = {}, holding = {}, limits = [LIMIT], unused = 0, used = { from: 0, at: [] }, needs = 1 }: Given) =>
  giveCalls({ log: [], unused: 0, holders: 0, ...pool }, { unused: 0, told: 0, ...holding }, { ...WHOSE, limits, unused, used, needs }, NOW);

/** Nine calls, of which the oldest leaves the window in 100 ms, and each next one 100 ms later. */
const NINE = Array.from({ length: 9 }, (_, place) => NOW - 900 + place * 100);

describe("leave for calls that sessions share", () => {
  it("is told with all that a session needs to know of it", () => {
    expect(given({ pool: { log: [NOW - 400, NOW - 300], unused: 10, holders: 2 }, holding: { unused: 4, told: 0 }, unused: 4, needs: 1 })).toEqual({
      // 100, less two made, six of another's and four of its own, are 88: a fourth of a half of that is given.
      pool: { log: [NOW - 400, NOW - 300], unused: 21, holders: 2 },
      holding: { unused: 15, told: 0 },
      fresh: [],
      word: { ...WHOSE, granted: 11, remaining: 77, resetsAt: NOW + 600, fitsAt: NOW, isExact: false, isShort: false },
    });
  });

  it.each<readonly [what: string, Given, granted: number, more: object]>([
    ["a fourth of what is free, to who is alone", {}, 25, { remaining: 75, isExact: false, isShort: false }],
    ["a fourth of its part, beside one who holds some", { pool: { unused: 20, holders: 1 } }, 10, { remaining: 70, isExact: false }],
    ["what it needs, where that is more", { needs: 40 }, 40, { remaining: 60, isExact: true, isShort: false }],
    ["what it needs, where that is just its part", { needs: 25 }, 25, { isExact: false, isShort: false }],
    ["all that is free, where it needs more", { needs: 101 }, 100, { remaining: 0, isExact: true, isShort: true }],
    ["the last ones exactly", { pool: { unused: 97, holders: 1 }, needs: 2 }, 2, { remaining: 1, isExact: true, isShort: false }],
    ["nothing, where nothing is asked", { needs: 0 }, 0, { remaining: 100, isExact: false, isShort: false }],
    ["nothing, where nothing is asked and nothing free", { pool: { unused: 100, holders: 1 }, needs: 0 }, 0, { isExact: true, isShort: false }],
    ["nothing, where nothing is limited", { limits: [] }, 0, { remaining: 0, resetsAt: null, fitsAt: NOW, isShort: true }],
    ["nothing, where nothing is free", { pool: { unused: 100, holders: 1 } }, 0, { remaining: 0, isExact: true, isShort: true, fitsAt: NOW + 1_000 }],
    ["nothing, where nothing is allowed", { limits: [{ max: 0, windowMs: 5 }] }, 0, { remaining: 0, isExact: true, isShort: true, fitsAt: null }],
    ["what the tightest of several limits leaves", { limits: [LIMIT, { max: 3, windowMs: 10 }], needs: 9 }, 3, { remaining: 0, isShort: true }],
    ["nothing below what a smaller limit has passed", { pool: { unused: 9, holders: 1 }, limits: [{ max: 3, windowMs: 10 }] }, 0, { remaining: 0 }],
  ])("is %s", (_what, asked, granted, more) => {
    expect(given(asked).word).toMatchObject({ granted, ...more });
  });

  it.each<readonly [what: string, Given, fitsAt: number | null]>([
    ["now, where one more fits", { pool: { log: NINE }, limits: [{ max: 10, windowMs: 1_000 }], needs: 0 }, NOW],
    ["when the oldest leaves the window", { pool: { log: NINE }, limits: [{ max: 9, windowMs: 1_000 }] }, NOW + 100],
    ["when as many have left it as others hold", { pool: { log: NINE, unused: 3, holders: 1 }, limits: [{ max: 9, windowMs: 1_000 }] }, NOW + 400],
    ["after a whole window, where all is given", { pool: { unused: 9, holders: 1 }, limits: [{ max: 9, windowMs: 1_000 }] }, NOW + 1_000],
    [
      "when it fits under all limits",
      {
        pool: { log: NINE },
        limits: [
          { max: 9, windowMs: 1_000 },
          { max: 8, windowMs: 1_000 },
        ],
      },
      NOW + 200,
    ],
  ])("comes %s", (_what, asked, fitsAt) => {
    expect(given(asked).word.fitsAt).toBe(fitsAt);
  });

  it("resets when the oldest call has left the longest window", () => {
    const limits = [
      { max: 100, windowMs: 500 },
      { max: 100, windowMs: 2_000 },
    ];
    expect(given({ pool: { log: NINE }, limits }).word.resetsAt).toBe(NOW + 1_100);
  });

  it("counts its holders by who has some", () => {
    const holders = (held: number, unused: number, needs: number) =>
      given({ pool: { unused: held, holders: Number(held > 0) }, holding: { unused: held, told: 0 }, unused, needs }).pool.holders;
    expect([holders(0, 0, 1), holders(5, 5, 1), holders(5, 0, 0), holders(0, 0, 0)]).toEqual([1, 1, 0, 0]);
  });

  it("takes each call once, in its order, however often and late it is told", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(20)), { maxLength: 12 }), fc.array(fc.nat(NOW), { maxLength: 30 }), (tellings, made) => {
        let pool: CallPool = { log: [NOW], unused: 0, holders: 0 };
        let holding: CallHolding = { unused: 0, told: 0 };
        for (const [from, length] of tellings) {
          // A session tells again what was not answered, and leaves nothing out.
          const start = Math.min(from, holding.told);
          const before = holding.told;
          const at = made.slice(start, start + length);
          const after = giveCalls(pool, holding, { ...WHOSE, limits: [LIMIT], unused: 0, used: { from: start, at }, needs: 0 }, NOW);
          expect(after.fresh).toEqual(made.slice(before, Math.max(before, start + at.length)));
          ({ pool, holding } = after);
          expect(holding.told).toBe(Math.max(before, start + at.length));
          expect(pool.log).toEqual([...made.slice(0, holding.told), NOW].sort((a, b) => a - b));
        }
      }),
    );
  });
});
