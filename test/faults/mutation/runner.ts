import { appendFileSync } from "node:fs";
import { inject, type RunnerTestCase, type RunnerTestFile, TestRunner } from "vitest";
import type { Errand, Line } from "./errand.ts";

/** What the switches in the instrumented code look at. */
interface Switches {
  activeMutant: string;
  currentTestId: string;
  hitCount: number;
  hitLimit: number;
  mutantCoverage: { readonly static: Record<string, number>; readonly perTest: Record<string, Record<string, number>> };
}

/** What is counted under this name is not looked at. */
const NOBODY = "nobody";
/** A switch that is passed so many times as often as without any mutant is in a loop without end. */
const MOST_TIMES_HITS = 100;
const MORE_HITS = 10_000;
/** Alone, nobody knows how often a switch is passed. */
const MOST_HITS_ALONE = 3_000_000;

const SWITCHES: Switches = {
  activeMutant: NOBODY,
  currentTestId: "",
  hitCount: 0,
  hitLimit: Number.MAX_SAFE_INTEGER,
  mutantCoverage: { static: {}, perTest: {} },
};
// The name is the instrumenter's; nothing else is known by it.
(globalThis as { __stryker__?: Switches }).__stryker__ = SWITCHES;

/**
 * Runs each test as it is, and then again and again with one mutant after another that it reaches, until each is killed.
 * A failure counts if the test passes right afterwards without the mutant: else something was left behind, and the mutant is tried alone.
 */
export default class MutantRunner extends TestRunner {
  readonly #errand: Errand = inject("errand");
  readonly #told = inject("told");
  readonly #open = new Set<string>(this.#errand.mutants);
  /** Were reached by a test as it is, and whether they were with the mutant, too. */
  readonly #reached = new Map<string, boolean>();
  readonly #spentMs = new Map<string, number>();
  #isTainted = false;

  // Vitest makes a runner for each file, before it loads anything.
  onBeforeCollect(): void {
    if (this.#errand.how !== "alone") return;
    SWITCHES.activeMutant = this.#errand.mutants[0] ?? NOBODY;
    SWITCHES.hitLimit = MOST_HITS_ALONE;
  }

  onCollected(): void {
    if (this.#errand.how === "alone") return;
    SWITCHES.currentTestId = NOBODY;
    this.#tell({ say: "loaded", reached: this.#errand.mutants.filter((id) => id in SWITCHES.mutantCoverage.static) });
  }

  async runTask(test: RunnerTestCase): Promise<void> {
    if (this.#errand.tests !== null && !this.#errand.tests.includes(test.id)) return;
    if (this.#isTainted || this.#errand.without.includes(test.id)) return;
    const run = TestRunner.getTestFn(test);
    if (this.#errand.how === "alone") return run();

    SWITCHES.currentTestId = test.id;
    const began = performance.now();
    try {
      await run();
    } catch (error) {
      this.#tell({ say: "broken", name: test.fullTestName, message: String(error).slice(0, 500) });
      return;
    } finally {
      SWITCHES.currentTestId = NOBODY;
    }
    const ms = performance.now() - began;
    const hits = SWITCHES.mutantCoverage.perTest[test.id] ?? {};
    const reached = [...this.#open].filter((id) => id in hits);
    const isTried = ms <= this.#errand.mostMs && !this.#isTainted;
    this.#tell({ say: "test", id: test.id, name: test.fullTestName, ms, reached, tried: isTried });
    if (!isTried || reached.length === 0) return;
    if (!(await this.#passes(run))) {
      // A test that can run only once says nothing here.
      for (const mutant of reached) this.#leave(mutant);
      return;
    }
    for (const mutant of reached) {
      if (this.#isTainted) return;
      if ((this.#spentMs.get(mutant) ?? 0) >= this.#errand.budgetMs) continue;
      await this.#attempt(mutant, test, run, ms, hits[mutant] ?? 0);
    }
  }

  override onAfterRunFiles(files: RunnerTestFile[]): void {
    super.onAfterRunFiles(files);
    for (const [mutant, isReached] of this.#reached) if (this.#open.has(mutant) && !isReached) this.#leave(mutant);
    this.#tell({ say: "spent", ms: Object.fromEntries([...this.#spentMs].filter(([mutant]) => this.#open.has(mutant))) });
  }

  async #attempt(mutant: string, test: RunnerTestCase, run: () => unknown, ms: number, hits: number): Promise<void> {
    const limitMs = Math.ceil(ms * 10 + 2_000);
    this.#tell({ say: "try", mutant, limitMs });
    SWITCHES.hitCount = 0;
    SWITCHES.hitLimit = hits * MOST_TIMES_HITS + MORE_HITS;
    SWITCHES.activeMutant = mutant;
    const began = performance.now();
    const isAlive = await this.#passes(run, limitMs);
    this.#spentMs.set(mutant, (this.#spentMs.get(mutant) ?? 0) + performance.now() - began);
    SWITCHES.activeMutant = NOBODY;
    this.#reached.set(mutant, this.#reached.get(mutant) === true || SWITCHES.hitCount > 0);
    if (isAlive) return;
    this.#tell({ say: "again", mutant, limitMs });
    if (await this.#passes(run, limitMs)) {
      this.#open.delete(mutant);
      this.#tell({ say: "killed", mutant, by: test.fullTestName });
      return;
    }
    this.#leave(mutant);
    this.#isTainted = true;
    this.#tell({ say: "tainted" });
  }

  async #passes(run: () => unknown, limitMs = 600_000): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(resolve, limitMs, false);
    try {
      return await Promise.race([Promise.resolve(run()).then(() => true), promise]);
    } catch {
      return false;
    } finally {
      clearTimeout(timer);
    }
  }

  #leave(mutant: string): void {
    this.#open.delete(mutant);
    this.#tell({ say: "alone", mutant });
  }

  #tell(line: Line): void {
    appendFileSync(this.#told, `${JSON.stringify(line)}\n`);
  }
}
