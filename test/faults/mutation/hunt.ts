import type { Errand } from "./errand.ts";
import { importedBy, importsOf } from "./imports.ts";
import type { Lane } from "./lane.ts";
import type { Mutant } from "./mutants.ts";
import type { Simulated } from "./simulated.ts";

/** A test that takes longer is tried after all others. */
const QUICK_MS = 60;
/** A test that takes longer is not tried: so a mutant may be called a survivor that `npm test` kills, and never the other way round. */
const MOST_MS = 2_500;
/** A mutant in what runs while files are loaded is tried on so many files of tests: those that import its file themselves first, then the closest. */
const MOST_FILES_ALONE = 4;
/** Tests that measure time may fail with the switches alone. Where more fail, something else is wrong. */
const MOST_BROKEN = 20;
/** So much time, and what the last test takes, is spent on one mutant by quick tests, and by slow ones. */
const QUICK_BUDGET_MS = 2_000;
const SLOW_BUDGET_MS = 4_000;

export type Fate =
  | { readonly is: "killed"; readonly by: string }
  /** The tests hung. */
  | { readonly is: "timeout"; readonly by: string }
  | { readonly is: "survived" }
  /** No test comes by. */
  | { readonly is: "unreached" };

export interface Hunted {
  readonly fates: ReadonlyMap<string, Fate>;
  /** Tests that were left out, since they fail with the switches alone. */
  readonly broken: readonly string[];
}

interface Test {
  readonly id: string;
  readonly ms: number;
  readonly reached: ReadonlySet<string>;
  readonly isTried: boolean;
}

/** Tries every mutant on the tests that reach it, the quick ones first, until one fails. `tell` hears how far it is. */
export async function hunt(
  root: string,
  lane: Lane,
  mutants: readonly Mutant[],
  testFiles: readonly string[],
  simulated: Simulated | null,
  tell: (doing: string, settled: number) => void,
): Promise<Hunted> {
  const fates = new Map<string, Fate>();
  const files = new Map(mutants.map(({ id, file }) => [id, file]));
  const imports = new Map(testFiles.map((file) => [file, importsOf(root, file)]));
  const testsOf = new Map<string, readonly Test[]>();
  const loadedBy = new Map<string, Set<string>>();
  const alone = new Map<string, Set<string>>();
  const broken = new Set<string>();
  const spentMs = new Map<string, number>();
  const open = (ids: Iterable<string>): string[] => [...ids].filter((id) => !fates.has(id));

  /** One file of tests with all mutants that are open, as often as it takes. */
  async function together(
    testFile: string,
    wanted: readonly string[],
    tests: readonly string[] | null,
    mostMs: number,
    budgetMs: number,
  ): Promise<void> {
    const inBudget = (id: string): boolean => (spentMs.get(id) ?? 0) < budgetMs;
    let left = open(wanted).filter(inBudget);
    const untried = new Set<string>();
    const seen: Test[] = [];
    while (left.length > 0) {
      tell(testFile, fates.size);
      const errand: Errand = { testFile, mutants: left, how: "together", tests, without: seen.slice(0, -1).map((test) => test.id), mostMs, budgetMs };
      const { lines, ok, error } = await lane.send(errand);
      for (const line of lines) {
        if (line.say === "broken" && broken.add(`${testFile} · ${line.name}: ${line.message}`).size > MOST_BROKEN)
          throw new Error(`Too many tests fail without any mutant:\n${[...broken].join("\n")}`);
        if (line.say === "killed") fates.set(line.mutant, { is: "killed", by: `${testFile} · ${line.by}` });
        if (line.say === "alone") {
          setOf(alone, line.mutant).add(testFile);
          untried.add(line.mutant);
        }
        if (line.say === "spent") for (const [id, ms] of Object.entries(line.ms)) spentMs.set(id, (spentMs.get(id) ?? 0) + ms);
        if (line.say === "loaded") for (const id of line.reached) setOf(loadedBy, id).add(testFile);
        if (line.say === "test") seen.push({ id: line.id, ms: line.ms, reached: new Set(line.reached), isTried: line.tried });
      }
      if (tests === null) testsOf.set(testFile, seen);
      const last = lines.at(-1);
      const isTainted = lines.some(({ say }) => say === "tainted");
      if (ok === null) {
        if (last?.say !== "try" && last?.say !== "again") throw new Error(`${testFile} hangs without any mutant.`);
        fates.set(last.mutant, { is: "timeout", by: testFile });
      } else if (!isTainted) {
        if (!ok) throw new Error(`${testFile} fails without any mutant: ${error}`);
        return;
      }
      left = open(left).filter((id) => !untried.has(id) && inBudget(id));
    }
  }

  // Tests that import little are about just that, and soonest find what is wrong with it.
  const closest = testFiles.toSorted((a, b) => (imports.get(a)?.size ?? 0) - (imports.get(b)?.size ?? 0));
  const ofFile = (testFile: string): string[] => open(files.keys()).filter((id) => imports.get(testFile)?.has(files.get(id) ?? ""));
  for (const testFile of closest) await together(testFile, ofFile(testFile), null, QUICK_MS, QUICK_BUDGET_MS);

  spentMs.clear();
  const slow = Array.from(testsOf, ([testFile, tests]) => ({
    testFile,
    tests: tests.filter(({ isTried, ms }) => !isTried && ms <= MOST_MS),
  })).sort((a, b) => sumOf(a.tests) - sumOf(b.tests));
  for (const { testFile, tests } of slow) {
    const wanted = open(files.keys()).filter((id) => tests.some(({ reached }) => reached.has(id)));
    const some = tests.filter(({ reached }) => wanted.some((id) => reached.has(id)));
    await together(
      testFile,
      wanted,
      some.map(({ id }) => id),
      Number.MAX_SAFE_INTEGER,
      SLOW_BUDGET_MS,
    );
  }

  const testsAlone = (testFile: string): readonly string[] => (testsOf.get(testFile) ?? []).filter(({ ms }) => ms <= MOST_MS).map(({ id }) => id);
  const runAlone = (testFile: string, ids: readonly string[]) =>
    lane.send({ testFile, mutants: ids, how: "alone", tests: testsAlone(testFile), without: [], mostMs: MOST_MS, budgetMs: 0 });
  /** Whether a file's tests pass where those that were left out do not run. */
  const isFit = new Map<string, boolean>();
  for (const id of open(files.keys())) {
    const must = alone.get(id) ?? new Set();
    const may = [...(loadedBy.get(id) ?? [])].filter((testFile) => !must.has(testFile));
    const isOfOthers = (testFile: string): number => (importedBy(root, testFile).includes(files.get(id) ?? "") ? 0 : 1);
    may.sort((a, b) => isOfOthers(a) - isOfOthers(b) || closest.indexOf(a) - closest.indexOf(b));
    // A memory that was filled without the mutant may have hidden it: so every survivor is tried alone where it is best known.
    const near = closest.filter((testFile) => reaches(testsOf.get(testFile), id)).slice(0, 1);
    for (const testFile of new Set([...must, ...near, ...may].slice(0, MOST_FILES_ALONE))) {
      tell(`${testFile}, alone`, fates.size);
      if (!isFit.has(testFile)) isFit.set(testFile, (await runAlone(testFile, [])).ok === true);
      if (isFit.get(testFile) !== true) continue;
      const { ok } = await runAlone(testFile, [id]);
      if (ok === null) fates.set(id, { is: "timeout", by: testFile });
      else if (!ok) fates.set(id, { is: "killed", by: `${testFile}, loaded with the mutant` });
      if (fates.has(id)) break;
    }
  }

  // What only the objects call, the simulation reaches. A world takes seconds, so it comes last.
  const inWorld = simulated === null || open(files.keys()).length === 0 ? new Set<string>() : simulated.reached();
  for (const id of open(files.keys()).filter((one) => inWorld.has(one))) {
    tell("the simulation", fates.size);
    const outcome = simulated?.under(id);
    if (outcome === "fails") fates.set(id, { is: "killed", by: "the simulation" });
    if (outcome === "hangs") fates.set(id, { is: "timeout", by: "the simulation" });
  }

  const isReached = (id: string): boolean =>
    inWorld.has(id) || loadedBy.has(id) || alone.has(id) || [...testsOf.values()].some((tests) => reaches(tests, id));
  for (const id of open(files.keys())) fates.set(id, { is: isReached(id) ? "survived" : "unreached" });
  return { fates, broken: [...broken] };
}

const reaches = (tests: readonly Test[] = [], id: string): boolean => tests.some(({ reached }) => reached.has(id));

const sumOf = (tests: readonly Test[]): number => tests.reduce((sum, { ms }) => sum + ms, 0);

function setOf(sets: Map<string, Set<string>>, key: string): Set<string> {
  const known = sets.get(key) ?? new Set<string>();
  sets.set(key, known);
  return known;
}
