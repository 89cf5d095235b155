import { parseArgs } from "node:util";
import { Chance } from "./chance.ts";

/** What a fuzzer that needs no gateway found: of each kind of fault the first input that showed it, and how often it was seen. */
export interface Findings {
  readonly tried: number;
  /** How often each thing came out: a fuzzer that only ever sees refusals tests little. */
  readonly outcomes: ReadonlyMap<string, number>;
  readonly faults: ReadonlyMap<string, { readonly turn: number; readonly input: string; count: number }>;
  readonly slowestMs: number;
}

/** Looks at one input of chance: what came out, in a word; or what is wrong, with the input. Throwing counts as wrong too. */
export type Look = (chance: Chance) => Promise<Seen> | Seen;

export type Seen = { readonly outcome: string } | { readonly fault: string; readonly input: string };

/** `count` inputs, each of them a matter of the seed and its turn alone, so that one turn can be repeated by itself. */
export async function fuzz(look: Look, seed: number, count: number, from = 0): Promise<Findings> {
  const outcomes = new Map<string, number>();
  const faults = new Map<string, { readonly turn: number; readonly input: string; count: number }>();
  let slowestMs = 0;
  for (let turn = from; turn < from + count; turn++) {
    const startedAt = performance.now();
    let seen: Seen;
    try {
      seen = await look(new Chance(seed * 1_000_003 + turn));
    } catch (error) {
      seen = {
        fault: `threw ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
        input: error instanceof Error ? (error.stack ?? "") : "",
      };
    }
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    if ("outcome" in seen) outcomes.set(seen.outcome, (outcomes.get(seen.outcome) ?? 0) + 1);
    else {
      const known = faults.get(seen.fault);
      if (known === undefined) faults.set(seen.fault, { turn, input: seen.input.slice(0, 3000), count: 1 });
      else known.count++;
    }
  }
  return { tried: count, outcomes, faults, slowestMs };
}

/** The faults as a person wants them; empty: there are none. */
export const told = ({ faults }: Findings, seed: number): string =>
  [...faults].map(([fault, { turn, input, count }]) => `${count} times: ${fault}\n  seed ${seed}, turn ${turn}\n  ${input}`).join("\n");

/** A fuzzer as a program: `--count`, `--seed`, and `--turn` for one input again. */
export async function main(name: string, look: Look, count: number): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: "string", default: String(count) },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      turn: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const seed = Number(values.seed);
  const startedAt = performance.now();
  const found = values.turn === undefined ? await fuzz(look, seed, Number(values.count)) : await fuzz(look, seed, 1, Number(values.turn));
  const tookMs = Math.round(performance.now() - startedAt);
  if (values.json) {
    console.log(
      JSON.stringify({
        name,
        seed,
        took_ms: tookMs,
        ...found,
        outcomes: Object.fromEntries(found.outcomes),
        faults: Object.fromEntries(found.faults),
      }),
    );
  } else {
    console.log(`${name}: ${found.tried} inputs, seed ${seed}, ${(tookMs / 1000).toFixed(1)} s, the slowest ${found.slowestMs.toFixed(0)} ms.`);
    for (const [outcome, times] of [...found.outcomes].sort((a, b) => b[1] - a[1])) console.log(`  ${String(times).padStart(7)}  ${outcome}`);
    console.log(found.faults.size === 0 ? "No faults." : told(found, seed));
  }
  process.exit(found.faults.size === 0 ? 0 : 1);
}
