import { assert } from "./assert.ts";
import { err, ok, type Result } from "./result.ts";

declare const microUsd: unique symbol;

/** An amount of money: a non-negative safe integer of micro-USD (1 USD = 1,000,000). At most 9,007,199,254.740991 USD. */
export type MicroUsd = number & { readonly [microUsd]: true };

/** Why a text or number is not an amount. `money_precision`: it has more than six decimals, and is refused rather than rounded. */
export type MoneyFault = { readonly code: "money_invalid" | "money_precision"; readonly message: string };

const UNIT = 1_000_000;
const DECIMAL = /^(0|[1-9]\d*)(?:\.(\d+))?$/;

/** Asserts that `n` is already a whole, safe, non-negative count of micro-USD. For constants and stored integers, never for outside input. */
export function microUsdOf(n: number): MicroUsd {
  // The sentence is made only where it is said: this is asked dozens of times for every decision.
  if (!Number.isSafeInteger(n) || n < 0) assert(false, `money is a non-negative safe integer of micro-USD, found ${n}`);
  // The assertion above is the whole definition of the brand.
  return n as MicroUsd;
}

export const ZERO_USD: MicroUsd = microUsdOf(0);

/**
 * Reads a USD amount from a decimal string (`"0.05"`) or a number.
 * A number is read by its shortest decimal form, so 0.1 is exactly 100,000 micro-USD.
 * Refuses signs, exponents, blanks, leading zeros, NaN, more than six decimals, and amounts beyond the safe integers; rounds nothing.
 */
export function parseUsd(input: unknown): Result<MicroUsd, MoneyFault> {
  if (typeof input !== "string" && typeof input !== "number") {
    return fault("money_invalid", `a USD amount is a decimal string or a number, found ${describe(input)}`);
  }
  const text = typeof input === "number" ? decimalOf(input) : input;
  const match = text === null || text.length > 40 ? null : DECIMAL.exec(text);
  if (match === null) {
    return fault("money_invalid", `a USD amount is digits with up to six decimals, like "0.05", found ${describe(input)}`);
  }
  const decimals = match[2] ?? "";
  if (decimals.length > 6) {
    return fault("money_precision", `a USD amount has at most six decimals, found ${describe(input)}`);
  }
  const micro = Number(match[1]) * UNIT + Number(decimals.padEnd(6, "0"));
  if (!Number.isSafeInteger(micro)) {
    return fault("money_invalid", `a USD amount is at most 9007199254.740991, found ${describe(input)}`);
  }
  return ok(microUsdOf(micro));
}

/**
 * Reads an amount that somebody else counted, perhaps in floating point: as {@link parseUsd}, but a number of more than six decimals is taken up to the
 * next micro-USD, so that nothing small counts as nothing. What only floating point added, beyond fifteen digits, is left out.
 */
export function parseReportedUsd(input: unknown): Result<MicroUsd, MoneyFault> {
  const exact = parseUsd(input);
  if (exact.ok || exact.error.code !== "money_precision" || typeof input !== "number") return exact;
  // A number that has a seventh decimal is below the largest amount: sixteen digits are all that it has.
  return ok(microUsdOf(Math.ceil(Number((input * UNIT).toPrecision(15)))));
}

/** The shortest decimal string of an amount: `1050000` is `"1.05"`. */
export function formatUsd(amount: MicroUsd): string {
  const whole = Math.floor(amount / UNIT);
  const rest = amount % UNIT;
  if (rest === 0) return String(whole);
  // A unit more gives the decimals all their leading zeros. This is asked some sixty times for every decision.
  const digits = String(UNIT + rest);
  let end = digits.length;
  while (digits[end - 1] === "0") end--;
  return `${whole}.${digits.slice(1, end)}`;
}

/** The same of a sum of amounts, which may be more than any amount. Of what was taken back, with a minus sign. */
export function formatUsdSum(sum: bigint): string {
  if (sum < 0n) return `-${formatUsdSum(-sum)}`;
  const rest = String(sum % BigInt(UNIT)).padStart(6, "0");
  const whole = sum / BigInt(UNIT);
  return rest === "000000" ? String(whole) : `${whole}.${rest.replace(/0+$/, "")}`;
}

export const addUsd = (a: MicroUsd, b: MicroUsd): MicroUsd => microUsdOf(a + b);

/** `a - b`, or zero where `b` is the larger. */
export const lessUsd = (a: MicroUsd, b: MicroUsd): MicroUsd => microUsdOf(Math.max(0, a - b));

export const minUsd = (a: MicroUsd, b: MicroUsd): MicroUsd => (a <= b ? a : b);

/** The plain decimal form of a JSON number. Small amounts print as exponents in JavaScript (1e-7), though their author wrote a decimal. */
function decimalOf(n: number): string | null {
  // Whatever else is no amount prints as none.
  if (Object.is(n, -0)) return null;
  const shortest = String(n);
  const exponent = /^(\d)(?:\.(\d+))?e-(\d+)$/.exec(shortest);
  return exponent === null ? shortest : `0.${"0".repeat(Number(exponent[3]) - 1)}${exponent[1]}${exponent[2] ?? ""}`;
}

const fault = (code: MoneyFault["code"], message: string) => err({ code, message });

function describe(input: unknown): string {
  if (typeof input === "string") return JSON.stringify(input.length > 40 ? `${input.slice(0, 40)}…` : input);
  if (typeof input === "number") return String(input);
  return input === null ? "null" : Array.isArray(input) ? "an array" : `a value of type ${typeof input}`;
}
