import { createHash } from "node:crypto";

/** Numbers from 0 up to, not including, 1. */
export type Chance = () => number;

/** Numbers of a seed and a name: the same for both, whatever else is drawn (a counter through SHA-256). */
export function chanceOf(seed: number, name: string): Chance {
  let count = 0;
  return () => createHash("sha256").update(`${seed} ${name} ${count++}`).digest().readUInt32BE() / 2 ** 32;
}

/** One of a list that is not empty. */
export function oneOf<T>(chance: Chance, list: readonly T[]): T {
  const one = list[Math.floor(chance() * list.length)];
  if (one === undefined) throw new Error("There is nothing to choose from.");
  return one;
}

/** How much of what was seen before is seen again: all of it, or a part that chance draws. */
export type Extent = Chance | "everything";

/** Of a list all, or what so many draws meet, and not more draws than it is long. */
export function drawn<T>(extent: Extent, list: readonly T[], draws: number): ReadonlySet<T> {
  if (extent === "everything") return new Set(list);
  return new Set(Array.from({ length: Math.min(draws, list.length) }, () => oneOf(extent, list)));
}

/** One of several, by how heavy each is. */
export function weighed<T extends string>(chance: Chance, weights: { readonly [K in T]: number }): T {
  // What Object.entries of this very type lists.
  const entries = Object.entries(weights) as [T, number][];
  let left = chance() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of entries) {
    left -= weight;
    if (left < 0) return name;
  }
  throw new Error("There is nothing to choose from.");
}
