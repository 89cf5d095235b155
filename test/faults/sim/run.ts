import { createHash } from "node:crypto";
// The world's own is in the place of the global one.
import { performance } from "node:perf_hooks";
import { type EpisodeResult, type EpisodeWish, live } from "./episode.ts";
import { FAULT_KINDS, type FaultKind } from "./faults.ts";
import { TREACHERIES, type Treachery } from "./platform/objects.ts";
import { Random } from "./random.ts";
import { shrink } from "./shrink.ts";

/** What was asked for on the command line. */
export interface RunWish {
  readonly seed: number;
  readonly steps: number;
  /** Only this one world of the seed; `null`: as many as it takes. */
  readonly episode: number | null;
  readonly most: number | null;
  readonly without: readonly string[];
  readonly treachery: string | null;
  readonly json: boolean;
  readonly trace: boolean;
}

/** Steps of one world under faults: from a short life to one in which a lot comes together. */
const LEAST_STEPS = 1_000;
const MOST_STEPS = 12_000;

/** Lets world after world live. Answers the exit code: 0 when every promise was kept, 1 when one was broken, 2 when nothing could be run. */
export async function run(wish: RunWish): Promise<number> {
  const without = wish.without.filter((kind): kind is FaultKind => FAULT_KINDS.some((known) => known === kind));
  const treachery = TREACHERIES.find((known) => known === wish.treachery) ?? null;
  if (without.length !== wish.without.length || (wish.treachery !== null && treachery === null)) {
    const found = treachery === null && wish.treachery !== null ? `--treachery ${wish.treachery}` : `--without ${wish.without.join(",")}`;
    const known = `The kinds of faults are ${FAULT_KINDS.join(", ")}; the treacheries ${TREACHERIES.join(", ")}.`;
    if (wish.json) process.stdout.write(`${JSON.stringify({ ok: false, seed: wish.seed, message: `There is no ${found}. ${known}` })}\n`);
    else process.stderr.write(`There is no ${found}. ${known}\n`);
    return 2;
  }
  // What objects say of outages is what this program makes them say.
  console.error = () => undefined;
  const began = performance.now();
  const totals = new Map<string, number>();
  const digests = createHash("sha256");
  let steps = 0;
  for (let episode = wish.episode ?? 0; steps < wish.steps && (wish.episode === null || episode === wish.episode); episode++) {
    const one = wishOf(wish, episode, new Set(without), treachery);
    const result = await live(one);
    steps += result.steps;
    digests.update(result.digest);
    for (const [what, count] of Object.entries(result.counts)) totals.set(what, (totals.get(what) ?? 0) + count);
    if (result.violation !== null) {
      report(wish, episode, one, result, steps, began);
      if (!wish.json) await shrink(wish, episode, one, result);
      return 1;
    }
    if (wish.episode === null && !wish.json && process.stderr.isTTY)
      process.stderr.write(`\r${steps} steps, ${episode + 1} worlds, ${speed(steps, began)} steps/s `);
  }
  const said = { seed: wish.seed, steps, steps_per_second: speed(steps, began), ...Object.fromEntries(totals) };
  // The same seed and steps, the same digest: of every event, in its order.
  if (wish.json) process.stdout.write(`${JSON.stringify({ ok: true, ...said, digest: digests.digest("hex") })}\n`);
  else {
    const told = Array.from(totals, ([what, count]) => `${count} ${what}`).join(", ");
    process.stdout.write(`\nseed ${wish.seed}: ${steps} steps, ${said.steps_per_second} steps/s; every promise was kept.\n${told}\n`);
  }
  return 0;
}

/** The wish of one world of a seed. */
export function wishOf(
  { seed, steps, episode, most, trace }: RunWish,
  number: number,
  without: ReadonlySet<FaultKind>,
  treachery: Treachery | null,
): EpisodeWish {
  const random = new Random((seed ^ Math.imul(number + 1, 0x9e37_79b1)) >>> 0);
  const own = random.seed();
  const long = random.between(LEAST_STEPS, MOST_STEPS);
  const line = trace ? (text: string) => process.stdout.write(`${text}\n`) : null;
  return {
    seed: own,
    steps: episode === null ? Math.min(long, Math.max(LEAST_STEPS, steps)) : Math.min(long, steps),
    without,
    most,
    treachery,
    trace: line,
  };
}

const speed = (steps: number, began: number): number => Math.round((steps * 1000) / Math.max(1, performance.now() - began));

function report(wish: RunWish, episode: number, one: EpisodeWish, { violation, steps, faults }: EpisodeResult, inAll: number, began: number): void {
  if (wish.json) {
    process.stdout.write(
      `${JSON.stringify({ ok: false, seed: wish.seed, episode, steps, steps_in_all: inAll, law: violation?.law, message: violation?.message })}\n`,
    );
    return;
  }
  process.stdout.write(`\n${violation?.recent.slice(-40).join("\n")}\n\n${violation?.message}\n\n`);
  process.stdout.write(
    `A promise was broken: ${violation?.law}.\nseed ${wish.seed}, world ${episode}, step ${steps} of it (${one.steps} under faults), ${inAll} steps in all, after ${Math.round((performance.now() - began) / 1000)} s. Faults: ${JSON.stringify(faults)}\n`,
  );
}
