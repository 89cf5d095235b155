import type { UsdInput } from "./wire.ts";

const DECIMAL = /^(0|[1-9]\d{0,9})(\.\d{1,6})?$/;
const MOST_USD = 9_007_199_254;

/**
 * Money as the wire wants it: a decimal string with at most six decimals.
 * A string is taken as written. A number is rounded up to the next whole micro-dollar, so that a price computed in floating point
 * is never refused for its tail and never reported too low; the noise of the computation itself (0.1 + 0.2) is not rounded up.
 * Throws a `RangeError` for what is no amount: a sign, an exponent, NaN, more than six decimals in a string, more than about nine billion.
 */
export function usdText(amount: UsdInput, what: string): string {
  if (typeof amount === "string" && DECIMAL.test(amount)) return amount;
  if (typeof amount === "number" && amount >= 0 && amount <= MOST_USD) return roundedUp(amount);
  throw new RangeError(`Cannot use ${JSON.stringify(String(amount).slice(0, 40))} as ${what}: wanted USD from 0 to ${MOST_USD}, up to six decimals`);
}

function roundedUp(amount: number): string {
  const scaled = amount * 1e6;
  // Fifteen significant digits are what a double carries faithfully; above that, what is left is whole anyway.
  const micro = Math.ceil(scaled < 1e15 ? Number(scaled.toPrecision(15)) : scaled);
  return String(micro)
    .padStart(7, "0")
    .replace(/.{6}$/, ".$&")
    .replace(/\.?0+$/, "");
}
