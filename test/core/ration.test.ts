import fc from "fast-check";
import { expect, it } from "vitest";
import { Ration } from "../../src/core/ration.ts";

it("a ration lets through as many as it says within each second of the clock, whenever in it they come, and then no more", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 4 }),
      fc.array(fc.integer({ min: 0, max: 3_999 }), { maxLength: 60 }).map((times) => times.sort((a, b) => a - b)),
      (most, times) => {
        const ration = new Ration(most);
        const came = new Map<number, number>();
        for (const at of times) {
          const second = Math.trunc(at / 1000);
          const before = came.get(second) ?? 0;
          expect(ration.take(at)).toBe(before < most);
          came.set(second, before + 1);
        }
      },
    ),
  );
});

it("a ration begins anew where the clock goes back", () => {
  const ration = new Ration(1);
  expect([5_000, 5_999, 4_999, 4_000, 5_000].map((at) => ration.take(at))).toEqual([true, false, true, false, true]);
});
