/**
 * An amount as whole micro-USD, from the decimal text that `usdText` gives. Beyond what a number can carry exactly, some nine billion dollars, it is still
 * not less than any amount below that.
 */
export function microUsdOf(text: string): number {
  const [whole = "", decimals = ""] = text.split(".");
  return Number(whole) * 1_000_000 + Number(decimals.padEnd(6, "0"));
}

/** Whole micro-USD as the decimal text of an amount. */
export function textOf(microUsd: number): string {
  const digits = String(microUsd).padStart(7, "0");
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, "");
}
