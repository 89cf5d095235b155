import { globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { setPriority, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Chance } from "../fuzz/chance.ts";
import { ARGUED, type Argued } from "./argued.ts";
import { type Hunted, hunt } from "./hunt.ts";
import { Lane } from "./lane.ts";
import { type Mutant, mutantsOf } from "./mutants.ts";
import { type Counts, count, counts, interval, scoreOf } from "./score.ts";
import { Simulated } from "./simulated.ts";

const HELP = `node --no-warnings test/faults/mutation/mutate.ts [--only FILE,...] [--sample N] [--seed S] [--tests FILE,...] [--without FILE,...] [--json]

Changes src/core in one small way after another and looks whether a test of test/core fails. Who finds a change that no test notices has found
a test that is missing, or code that does nothing. Exits with 0 where at least 90 % are noticed, 1 below that, 2 where it could not be found out.

  --only FILES     only these files of src/core, named by how their paths end: money.ts,policy/merge.ts
  --sample N       only N mutants, drawn evenly from all
  --seed S         where chance begins, of the draw and of the properties; without it, anywhere
  --tests FILES    only these files of test/core
  --without FILES  not these: what they alone would notice counts as a survivor, so that the score is one that it is at least
  --json           one line of JSON in the end, and nothing else
`;

const WANTED = 0.9;
const ROOT = path.join(import.meta.dirname, "../../..");
/** A process of its own, in which mutants are switched on by `loader.ts`. */
const SIMULATION = "test/core/sim.test.ts";
/** It asks Cedar thousands of times, and takes too long for each mutant. */
const SLOW = "test/core/policy_cedar.test.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    sample: { type: "string" },
    seed: { type: "string" },
    tests: { type: "string" },
    without: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}

function refuse(sentence: string): never {
  process.stderr.write(`${sentence}\n`);
  process.exit(2);
}

/** A whole number that somebody typed. */
function whole(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text);
  return Number.isSafeInteger(number) && number >= 0 ? number : refuse(`--${name} is a whole number, found "${text}".`);
}

/** The files whose paths end as somebody typed. */
function chosen(pattern: string, ends: string | undefined): readonly string[] {
  const all = globSync(pattern, { cwd: ROOT }).sort();
  if (ends === undefined) return all;
  return ends.split(",").flatMap((end) => {
    const found = all.filter((file) => file === end || file.endsWith(`/${end}`));
    return found.length > 0 ? found : refuse(`No file of ${pattern} ends in "${end}".`);
  });
}

/** The same share of all mutants as of any one: each is drawn at most once, and all are as likely. */
function drawn(mutants: readonly Mutant[], size: number, chance: Chance): readonly Mutant[] {
  const left = [...mutants];
  for (let at = 0; at < Math.min(size, left.length); at++) {
    const other = chance.between(at, left.length - 1);
    const [here, there] = [left[at], left[other]];
    // Both are within the list.
    if (here !== undefined && there !== undefined) [left[at], left[other]] = [there, here];
  }
  return left.slice(0, size);
}

const fits = (argued: Argued, { file, text, original, replacement }: Mutant): boolean =>
  argued.file === file && argued.line === text && argued.from === original && argued.to === replacement;

const seed = whole("seed", values.seed, Math.floor(performance.timeOrigin * 1000) % 0xffff_ffff);
const files = chosen("src/core/**/*.ts", values.only);
const without = new Set([SLOW, ...(values.without === undefined ? [] : chosen("test/core/**/*.test.ts", values.without))]);
const testFiles = chosen("test/core/**/*.test.ts", values.tests).filter((file) => !without.has(file));
const size = whole("sample", values.sample, Number.MAX_SAFE_INTEGER);

// Whoever else works on this machine comes first.
setPriority(10);
const began = performance.now();
const { mutants: all, texts } = await mutantsOf(files);
const mutants = drawn(all, size, new Chance(seed));
const folder = mkdtempSync(path.join(tmpdir(), "mutation-"));
const touched = new Set(mutants.map(({ file }) => file));
writeFileSync(path.join(folder, "texts.json"), JSON.stringify([...texts].filter(([file]) => touched.has(file))));
const ofVitest = testFiles.filter((file) => file !== SIMULATION);
const simulated = testFiles.includes(SIMULATION) ? new Simulated(ROOT, folder) : null;
const lane = new Lane(ROOT, folder, seed);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, async () => {
    await lane.stop();
    rmSync(folder, { recursive: true });
    process.exit(130);
  });
}

let hunted: Hunted = { fates: new Map(), broken: [] };
try {
  hunted = await hunt(ROOT, lane, mutants, ofVitest, simulated, (doing, settled) => {
    if (!values.json && process.stderr.isTTY) process.stderr.write(`\r\u001b[K${settled} of ${mutants.length} settled; ${doing} `);
  });
} catch (error) {
  process.stderr.write(`\n${error instanceof Error ? error.message : error}\n`);
  process.exitCode = 2;
} finally {
  await lane.stop();
  rmSync(folder, { recursive: true });
}
if (process.exitCode === undefined) report();

function report(): void {
  const total = counts();
  const byFile = new Map<string, Counts>();
  const survivors: { readonly mutant: Mutant; readonly isReached: boolean }[] = [];
  for (const mutant of mutants) {
    const fate = hunted.fates.get(mutant.id) ?? { is: "unreached" };
    const isArgued = ARGUED.some((argued) => fits(argued, mutant));
    const ofFile = byFile.get(mutant.file) ?? counts();
    byFile.set(mutant.file, ofFile);
    for (const into of [total, ofFile]) count(into, fate, isArgued);
    if (!isArgued && (fate.is === "survived" || fate.is === "unreached")) survivors.push({ mutant, isReached: fate.is === "survived" });
  }
  survivors.sort((a, b) => a.mutant.file.localeCompare(b.mutant.file) || a.mutant.line - b.mutant.line || a.mutant.column - b.mutant.column);
  // Only what was looked at whole can say that nothing fits an argument.
  const stale = ARGUED.filter((argued) => files.includes(argued.file) && !all.some((mutant) => fits(argued, mutant)));
  const score = scoreOf(total);
  const noticed = total.killed + total.timeout;
  const tried = mutants.length - total.argued;
  const [low, high] = interval(noticed, tried, all.length - total.argued);
  const isGood = score >= WANTED && stale.length === 0;
  process.exitCode = isGood ? 0 : 1;
  if (values.json) {
    const said = { ok: isGood, seed, of: all.length, drawn: mutants.length, ...total, score, interval: [low, high] };
    const told = survivors.map(({ mutant: { id: _, ...mutant }, isReached }) => ({ ...mutant, isReached }));
    process.stdout.write(`${JSON.stringify({ ...said, files: Object.fromEntries(byFile), survivors: told, stale, broken: hunted.broken })}\n`);
    return;
  }
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  for (const { mutant, isReached } of survivors) {
    process.stdout.write(`${mutant.file}:${mutant.line}:${mutant.column} ${mutant.mutator}${isReached ? "" : ", where no test comes by"}\n`);
    process.stdout.write(`  ${mutant.text}\n  - ${mutant.original}\n  + ${mutant.replacement}\n`);
  }
  for (const { file, line, from, to } of stale)
    process.stdout.write(`argued.ts names a mutant that there is not: ${file} "${line}", "${from}" to "${to}"\n`);
  for (const test of hunted.broken) process.stdout.write(`left out, since it fails with the switches alone: ${test}\n`);
  const name = Math.max(...Array.from(byFile.keys(), (file) => file.length), 5);
  process.stdout.write(`\n${"file".padEnd(name)}  killed  timeouts  survived  unreached  argued    score\n`);
  for (const [file, ofFile] of [...[...byFile].sort(([a], [b]) => a.localeCompare(b)), ["total", total] as const]) {
    process.stdout.write(
      `${file.padEnd(name)}  ${String(ofFile.killed).padStart(6)}  ${String(ofFile.timeout).padStart(8)}  ${String(ofFile.survived).padStart(8)}  ${String(ofFile.unreached).padStart(9)}  ${String(ofFile.argued).padStart(6)}  ${percent(scoreOf(ofFile)).padStart(7)}\n`,
    );
  }
  const seconds = Math.round((performance.now() - began) / 1000);
  const range = tried < all.length - total.argued ? `, 95 % sure: ${percent(low)} to ${percent(high)}` : "";
  process.stdout.write(
    `\nseed ${seed}: ${noticed} of ${tried} noticed, ${percent(score)}${range}; ${mutants.length} of ${all.length} mutants, ${seconds} s\n`,
  );
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}
