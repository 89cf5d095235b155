import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addUsd, formatUsd, formatUsdSum, lessUsd, microUsdOf, minUsd, parseReportedUsd, parseUsd } from "../../src/core/money.ts";

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
    [1e-10, "money_precision"],
    [0.1 + 0.2, "money_precision"],
    ["", "money_invalid"],
    [" 1", "money_invalid"],
    ["1 ", "money_invalid"],
    ["+1", "money_invalid"],
    ["-1", "money_invalid"],
    [-1, "money_invalid"],
    [-1e-7, "money_invalid"],
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
    [Number.NEGATIVE_INFINITY, "money_invalid"],
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

describe("parseReportedUsd()", () => {
  it.each<readonly [unknown, number]>([
    ["0.05", 50_000],
    [0.05, 50_000],
    // Never less than was counted, and nothing small counts as nothing.
    [0.0000001, 1],
    [0.1234561, 123_457],
    // What only floating point added is left out.
    [0.1 + 0.2, 300_000],
    [1.1 * 3, 3_300_000],
    [1e-9, 1],
    [8_999_999_999.000002, 8_999_999_999_000_002],
  ])("takes %j as %d millionths", (input, micro) => {
    expect(parseReportedUsd(input)).toEqual({ ok: true, value: micro });
  });

  it("takes whatever number there is, or says that it is none of its", () => {
    fc.assert(
      fc.property(fc.double(), (input) => {
        const read = parseReportedUsd(input);
        if (read.ok) expect(read.value / 1e6).toBeGreaterThanOrEqual(input * (1 - 1e-14));
        else expect(read.error.code).toBe("money_invalid");
      }),
    );
  });

  it.each<readonly [unknown, string, string]>([
    // A text was written by somebody, who can write it exactly.
    ["0.1234561", "money_precision", "at most six decimals"],
    [-1, "money_invalid", "-1"],
    [null, "money_invalid", "null"],
    [9_007_199_254.740992, "money_invalid", "at most 9007199254.740991"],
    [1e300, "money_invalid", "1e+300"],
  ])("refuses %j with %s", (input, code, message) => {
    expect(parseReportedUsd(input)).toMatchObject({ ok: false, error: { code, message: expect.stringContaining(message) } });
  });
});

describe("parseUsd() says", () => {
  it.each([
    [true, "a USD amount is a decimal string or a number, found a value of type boolean"],
    [null, "a USD amount is a decimal string or a number, found null"],
    [[1], "a USD amount is a decimal string or a number, found an array"],
    ["$1", 'a USD amount is digits with up to six decimals, like "0.05", found "$1"'],
    [Number.NaN, 'a USD amount is digits with up to six decimals, like "0.05", found NaN'],
    ["x".repeat(40), `a USD amount is digits with up to six decimals, like "0.05", found "${"x".repeat(40)}"`],
    ["x".repeat(41), `a USD amount is digits with up to six decimals, like "0.05", found "${"x".repeat(40)}…"`],
    ["0.0000001", 'a USD amount has at most six decimals, found "0.0000001"'],
    [1e-7, "a USD amount has at most six decimals, found 1e-7"],
    ["9007199254.740992", 'a USD amount is at most 9007199254.740991, found "9007199254.740992"'],
    // Forty characters are read, one more are not.
    ["1".repeat(40), `a USD amount is at most 9007199254.740991, found "${"1".repeat(40)}"`],
    ["1".repeat(41), `a USD amount is digits with up to six decimals, like "0.05", found "${"1".repeat(40)}…"`],
  ])("of %j: %s", (input, message) => {
    expect(parseUsd(input)).toMatchObject({ ok: false, error: { message } });
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

it.each([
  [0, "0"],
  [1, "0.000001"],
  [10, "0.00001"],
  [1_500_000, "1.5"],
  [1_050_000, "1.05"],
  [20_000_000, "20"],
  [Number.MAX_SAFE_INTEGER, "9007199254.740991"],
])("%i micro-USD are written %s, with no decimal that says nothing", (micro, text) => {
  expect(formatUsd(microUsdOf(micro))).toBe(text);
});

it.each<[bigint, string]>([
  [0n, "0"],
  [1n, "0.000001"],
  [-1n, "-0.000001"],
  [-1_500_000n, "-1.5"],
  [10_000_000_000_000_000_000_000n, "10000000000000000"],
])("a sum of %s micro-USD is written %s", (micro, text) => {
  expect(formatUsdSum(micro)).toBe(text);
});

it("addUsd() is the sum, and asserts that it can be told exactly", () => {
  expect(addUsd(microUsdOf(1), microUsdOf(2))).toBe(3);
  expect(() => addUsd(microUsdOf(Number.MAX_SAFE_INTEGER), microUsdOf(1))).toThrow("money is a non-negative safe integer");
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

it("of two amounts the smaller is the smaller, whichever comes first", () => {
  const [one, two] = [microUsdOf(1), microUsdOf(2)];
  expect([minUsd(one, two), minUsd(two, one), minUsd(two, two)]).toEqual([one, one, two]);
});
