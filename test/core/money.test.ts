import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatUsd, lessUsd, microUsdOf, parseUsd } from "../../src/core/money.ts";

const amount = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }).map(microUsdOf);

describe("parseUsd() reads", () => {
  it.each([
    ["0", 0],
    ["0.05", 50_000],
    ["1", 1_000_000],
    ["1.000000", 1_000_000],
    ["0.000001", 1],
    ["9007199254.740991", Number.MAX_SAFE_INTEGER],
    [0.1, 100_000],
    [0.000001, 1],
    [5, 5_000_000],
    [0, 0],
  ])("%j as %i micro-USD", (input, micro) => {
    expect(parseUsd(input)).toEqual({ ok: true, value: micro });
  });
});

describe("parseUsd() refuses", () => {
  it.each([
    ["0.0000001", "money_precision"],
    [0.0000001, "money_precision"],
    [1.2345678e-7, "money_precision"],
    [0.1 + 0.2, "money_precision"],
    ["", "money_invalid"],
    [" 1", "money_invalid"],
    ["1 ", "money_invalid"],
    ["+1", "money_invalid"],
    ["-1", "money_invalid"],
    [-1, "money_invalid"],
    [-0, "money_invalid"],
    ["-0", "money_invalid"],
    ["01", "money_invalid"],
    ["1.", "money_invalid"],
    [".5", "money_invalid"],
    ["1e3", "money_invalid"],
    ["1,000", "money_invalid"],
    ["NaN", "money_invalid"],
    [Number.NaN, "money_invalid"],
    [Number.POSITIVE_INFINITY, "money_invalid"],
    [1e21, "money_invalid"],
    ["9007199254.740992", "money_invalid"],
    ["٣", "money_invalid"],
    ["9".repeat(50), "money_invalid"],
    [null, "money_invalid"],
    [undefined, "money_invalid"],
    [true, "money_invalid"],
    [[1], "money_invalid"],
    [{ valueOf: () => 1 }, "money_invalid"],
  ])("%j with %s", (input, code) => {
    expect(parseUsd(input)).toMatchObject({ ok: false, error: { code } });
  });
});

it("formatting and reading give the same amount back", () => {
  fc.assert(
    fc.property(amount, (micro) => {
      expect(parseUsd(formatUsd(micro))).toEqual({ ok: true, value: micro });
    }),
  );
});

it("adding decimals is exact: a sum of cents is the sum of its parts", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 10_000_000 }), { maxLength: 50 }), (micros) => {
      const parsed = micros.map((micro) => parseUsd(formatUsd(microUsdOf(micro)))).map((result) => (result.ok ? result.value : Number.NaN));
      expect(parsed.reduce((sum, part) => sum + part, 0)).toBe(micros.reduce((sum, part) => sum + part, 0));
    }),
  );
});

it("lessUsd() never goes below zero", () => {
  fc.assert(
    fc.property(amount, amount, (a, b) => {
      expect(lessUsd(a, b)).toBe(Math.max(0, a - b));
    }),
  );
});

it("microUsdOf() asserts what is not money", () => {
  for (const broken of [-1, 0.5, Number.NaN, Number.MAX_SAFE_INTEGER + 1])
    expect(() => microUsdOf(broken)).toThrow("money is a non-negative safe integer");
});

it("a bigint is no amount", () => {
  expect(parseUsd(1n)).toMatchObject({ ok: false, error: { code: "money_invalid" } });
});
