/** Arithmetic of JSON's numbers as they are written: money in rules is of tenths and hundredths, which a double only comes near. */

/** Millionths: as fine as money is. */
const FINE = 1_000_000;

/** A number as whole millionths; `null` where it has more than six decimals, or is so large that a double does not carry them. */
function millionthsOf(n: number): number | null {
  const whole = Math.round(n * FINE);
  // The division is rounded to the nearest double, and so was `n` when it was read: they are alike exactly where `n` was written with so few decimals.
  return Number.isSafeInteger(whole) && whole / FINE === n ? whole : null;
}

/** The sum, exact where both have at most six decimals: 0.1 and 0.2 are 0.3, which their binary sum is not. Otherwise that of doubles. */
export function plus(a: number, b: number): number {
  const sum = a + b;
  // Of whole numbers a double's is exact, or as near as it can be.
  if (Number.isInteger(a) && Number.isInteger(b)) return sum;
  const [x, y] = [millionthsOf(a), millionthsOf(b)];
  if (x === null || y === null) return sum;
  return Number.isSafeInteger(x + y) ? (x + y) / FINE : Number(`${BigInt(x) + BigInt(y)}e-6`);
}

/** The product, exact as the sum is. */
export function times(a: number, b: number): number {
  if (Number.isInteger(a)) return Number.isInteger(b) ? a * b : timesWhole(b, a);
  if (Number.isInteger(b)) return timesWhole(a, b);
  const [x, y] = [millionthsOf(a), millionthsOf(b)];
  if (x === null || y === null) return a * b;
  // Beyond 9007 a product in trillionths is no safe integer: its digits are read as a number is, which rounds to the nearest double.
  return Number.isSafeInteger(x * y) ? (x * y) / (FINE * FINE) : Number(`${BigInt(x) * BigInt(y)}e-12`);
}

function timesWhole(a: number, whole: number): number {
  const x = millionthsOf(a);
  if (x === null) return a * whole;
  return Number.isSafeInteger(x * whole) ? (x * whole) / FINE : Number(`${BigInt(x) * BigInt(whole)}e-6`);
}
