import fc from "fast-check";
import { expect, it } from "vitest";
import { BUDGET_WINDOWS, stretchAt } from "../../src/core/calendar.ts";

const at = (text: string): number => Date.parse(text);

it.each([
  ["hour", "2026-11-27T12:34:56.789Z", "2026-11-27T12:00:00Z", "2026-11-27T13:00:00Z"],
  ["hour", "2026-11-27T12:00:00Z", "2026-11-27T12:00:00Z", "2026-11-27T13:00:00Z"],
  ["day", "2026-11-27T12:34:56.789Z", "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z"],
  ["month", "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"],
  ["month", "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"],
] as const)("the %s of %s lasts from %s to %s", (window, now, startsAt, endsAt) => {
  expect(stretchAt(window, at(now))).toEqual({ startsAt: at(startsAt), endsAt: at(endsAt) });
});

it("all time never ends, and no stretch is before time began", () => {
  expect(stretchAt("total", at("2026-11-27T00:00:00Z"))).toEqual({ startsAt: 0, endsAt: null });
  expect(stretchAt("day", 0)).toEqual({ startsAt: 0, endsAt: 86_400_000 });
  expect(() => stretchAt("day", -1)).toThrow("no instant is before 1970");
});

it("every instant lies in its stretch, and the next stretch begins where it ends", () => {
  fc.assert(
    fc.property(fc.constantFrom(...BUDGET_WINDOWS), fc.integer({ min: 0, max: 4_102_444_800_000 }), (window, now) => {
      const { startsAt, endsAt } = stretchAt(window, now);
      expect(startsAt <= now && (endsAt === null || now < endsAt)).toBe(true);
      if (endsAt !== null) expect(stretchAt(window, endsAt).startsAt).toBe(endsAt);
    }),
  );
});
