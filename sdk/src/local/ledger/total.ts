import type { LedgerRecord } from "./line.ts";

/** What lines have cost together, in USD, exactly: decimals that are added up in floating point drift. */
export function totalUsd(lines: Iterable<Pick<LedgerRecord, "cost_usd">>): number {
  let microUsd = 0;
  for (const { cost_usd } of lines) microUsd += Math.round(cost_usd * 1e6);
  return microUsd / 1e6;
}
