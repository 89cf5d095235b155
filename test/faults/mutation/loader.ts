import { readFileSync, writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** Imported before the simulation, which runs in a Node of its own: serves instrumented files, with the mutant that the environment names switched on. */

const { MUTATION_TEXTS = "", MUTATION_ROOT = "", MUTATION_REACHED, MUTATION_MUTANT = "nobody" } = process.env;
/** A loop without end passes its switch sooner than this. */
const MOST_HITS = 100_000_000;

// Written by the parent.
const instrumented = new Map(JSON.parse(readFileSync(MUTATION_TEXTS, "utf8")) as readonly [string, string][]);
const coverage: { readonly static: Record<string, number>; readonly perTest: Record<string, Record<string, number>> } = { static: {}, perTest: {} };
// The name and its members are the instrumenter's; nothing else is known by it.
(globalThis as { __stryker__?: object }).__stryker__ = {
  activeMutant: MUTATION_MUTANT,
  hitCount: 0,
  hitLimit: MOST_HITS,
  mutantCoverage: coverage,
};

registerHooks({
  load: (url, context, next) => {
    const source = url.startsWith("file:") ? instrumented.get(path.relative(MUTATION_ROOT, fileURLToPath(url))) : undefined;
    return source === undefined ? next(url, context) : { format: "module-typescript", source, shortCircuit: true };
  },
});

if (MUTATION_REACHED !== undefined) process.on("exit", () => writeFileSync(MUTATION_REACHED, JSON.stringify(Object.keys(coverage.static))));
