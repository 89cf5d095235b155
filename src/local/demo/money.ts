/** Whole micro-dollars: an integer, so that sums are exact (1 USD = 1,000,000). */
export type MicroUsd = number;

/** Reads money as the wire writes it, `"0.05"`. Throws for anything else. */
export function microOf(usd: string): MicroUsd {
  const found = /^(\d+)(?:\.(\d{1,6}))?$/.exec(usd);
  if (found === null) throw new Error(`The gateway gave ${JSON.stringify(usd)} where an amount like "0.05" was wanted`);
  return Number(found[1]) * 1_000_000 + Number((found[2] ?? "").padEnd(6, "0"));
}

/** Writes it as the wire does: the shortest decimal string. */
export function usdOf(micro: MicroUsd): string {
  const digits = String(micro).padStart(7, "0");
  return `${digits.slice(0, -6)}.${digits.slice(-6)}`.replace(/\.?0+$/, "");
}
