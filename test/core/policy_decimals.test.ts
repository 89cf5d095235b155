import fc from "fast-check";
import { expect, test } from "vitest";
import { plus, times } from "../../src/core/decimals.ts";

/** A number of at most six decimals, as a text of its millionths is read. */
const written = (millionths: number, places = 6): number => Number(`${millionths}e-${places}`);

const amount = fc.oneof(fc.integer({ min: -1e15, max: 1e15 }), fc.integer({ min: -100, max: 100 }), fc.constantFrom(100_000, 200_000, 700_000));
const factor = fc.integer({ min: -90_000_000, max: 90_000_000 });

test("numbers of at most six decimals are added as they are written", () => {
  fc.assert(
    fc.property(amount, amount, (a, b) => {
      expect(plus(written(a), written(b))).toBe(written(a + b));
    }),
  );
});

test("they are multiplied as they are written", () => {
  fc.assert(
    fc.property(factor, factor, (a, b) => {
      expect(times(written(a), written(b)) + 0).toBe(written(a * b, 12) + 0);
    }),
  );
});

test("also where the product has more digits than a double tells apart: it is the nearest to what is written", () => {
  const large = fc.integer({ min: -9_000_000_000, max: 9_000_000_000 });
  fc.assert(
    fc.property(large, large, (a, b) => {
      expect(times(written(a), written(b)) + 0).toBe(Number(`${BigInt(a) * BigInt(b)}e-12`) + 0);
    }),
  );
  expect(times(96.86, 93.8)).toBe(9085.468);
  expect(times(1_000_000.1, 9_999)).toBe(9_999_000_999.9);
});

test("any other numbers are what doubles make of them", () => {
  const odd = fc.oneof(fc.double(), fc.constantFrom(1e-7, 2e-7, 1e300, -1e300, 2 ** 53, 2 ** 53 + 2));
  fc.assert(
    fc.property(odd, odd, (a, b) => {
      fc.pre([a, b].some((n) => Number(n.toFixed(6)) !== n || Math.abs(n) > 1e15));
      expect(plus(a, b)).toBe(a + b);
      expect(times(a, b)).toBe(a * b);
    }),
  );
});
