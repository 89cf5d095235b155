import type { Fate } from "./hunt.ts";

export interface Counts {
  killed: number;
  timeout: number;
  survived: number;
  unreached: number;
  argued: number;
}

export const counts = (): Counts => ({ killed: 0, timeout: 0, survived: 0, unreached: 0, argued: 0 });

export function count(into: Counts, fate: Fate, isArgued: boolean): void {
  if ((fate.is === "survived" || fate.is === "unreached") && isArgued) into.argued++;
  else into[fate.is]++;
}

/** The share of mutants that some test notices, of those that are not argued away; 1 where there are none. */
export function scoreOf({ killed, timeout, survived, unreached }: Counts): number {
  const all = killed + timeout + survived + unreached;
  return all === 0 ? 1 : (killed + timeout) / all;
}

/**
 * Wilson's 95 % interval for the share in a population of which `drawn` were drawn and `noticed` of them noticed.
 * Where all were drawn, there is nothing to guess: `population` narrows it as far as the share that was drawn says.
 */
export function interval(noticed: number, drawn: number, population: number): readonly [number, number] {
  if (drawn === 0) return [0, 1];
  const z = 1.96 * Math.sqrt(Math.max(0, population - drawn) / Math.max(1, population - 1));
  const share = noticed / drawn;
  const middle = (share + z ** 2 / (2 * drawn)) / (1 + z ** 2 / drawn);
  const half = (z / (1 + z ** 2 / drawn)) * Math.sqrt((share * (1 - share)) / drawn + z ** 2 / (4 * drawn ** 2));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
