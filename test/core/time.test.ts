import { expect, it } from "vitest";
import { formatInstant, parseInstant, spokenTime } from "../../src/core/time.ts";

it.each([
  ["2026-11-22T18:48:26.123Z", 1795373306123],
  ["2026-11-22t18:48:26z", 1795373306000],
  ["2026-11-22T20:48:26.1239+02:00", 1795373306123],
  ["2024-02-29T00:00:00Z", 1709164800000],
])("parseInstant() reads %s", (text, at) => {
  expect(parseInstant(text)).toBe(at);
});

it.each(["2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-22", "2026-11-22T18:48:26", "now", ""])(
  "parseInstant() refuses %j",
  (text) => {
    expect(parseInstant(text)).toBeNull();
  },
);

it("formatInstant() writes milliseconds and UTC", () => {
  expect(formatInstant(0)).toBe("1970-01-01T00:00:00.000Z");
});

it.each([
  [1, "a second"],
  [1_000, "a second"],
  [1_001, "2 seconds"],
  [119_000, "119 seconds"],
  [119_001, "about 2 minutes"],
  [3_278_229, "about 55 minutes"],
  [7_169_999, "about 119 minutes"],
  [7_170_000, "about 2 hours"],
  [86_399_995, "about 24 hours"],
  [257_399_999, "about 71 hours"],
  [257_400_000, "about 3 days"],
  [2_592_000_000, "about 30 days"],
])("%i ms are said as %s", (ms, words) => {
  expect(spokenTime(ms)).toBe(words);
});
