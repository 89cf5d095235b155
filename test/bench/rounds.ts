import type { Round } from "./client.ts";

/** How much a measurement may take: `rounds` that count, and how long each case has in one of them. */
export interface Effort {
  readonly rounds: number;
  readonly seconds: number;
  /** Whether sizes that take minutes to make are made too. */
  readonly large: boolean;
}

/** One thing that is measured against others. `prepare` is not counted. */
export interface Case {
  readonly name: string;
  readonly prepare?: () => Promise<void>;
  readonly run: (ms: number) => Promise<Round>;
}

/** What each case measured, round by round: the n-th round of one was within seconds of the n-th of every other. */
export type Rounds = ReadonlyMap<string, readonly Round[]>;

/**
 * Lets cases take turns, so that what else runs on the machine meets them all alike; every other round goes backwards, so that what grows meanwhile
 * does too. One round before the first warms up and does not count.
 */
export async function takeTurns(cases: readonly Case[], { rounds, seconds }: Effort, say: (text: string) => void): Promise<Rounds> {
  const found = new Map<string, Round[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const { name, prepare, run } of round % 2 === 0 ? cases : [...cases].reverse()) {
      say(`round ${round} of ${rounds}: ${name}`);
      await prepare?.();
      const measured = await run(round === 0 ? Math.min(500, seconds * 1000) : seconds * 1000);
      if (round > 0) found.get(name)?.push(measured);
    }
  }
  return found;
}

/** How one case compares with another: the median of what each round says, so that a slow minute of the machine is in both halves of a ratio. */
export function ratioOf(found: Rounds, a: string, b: string, of: (round: Round) => number = ({ perSecond }) => perSecond): number {
  const others = found.get(b) ?? [];
  return median((found.get(a) ?? []).flatMap((round, n) => (others[n] === undefined ? [] : [of(round) / of(others[n])])));
}

/** A round's processor time for each step, to be compared like its speed. `NaN` where nobody could tell. */
export const cpuOf = ({ cpuMs }: Round): number => cpuMs ?? Number.NaN;

/** The middle one; of an even number, the mean of the two in the middle. `NaN` of none. */
export function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return (low + high) / 2;
}

/** The smallest number that at least this part of them does not exceed (0 < `part` <= 1). `NaN` of none. */
export function quantile(numbers: readonly number[], part: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * part) - 1)] ?? Number.NaN;
}
