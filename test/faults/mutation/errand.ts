/** What the process with the tests is asked, and what it finds. */

export interface Errand {
  readonly testFile: string;
  readonly mutants: readonly string[];
  /**
   * `together`: the file is loaded once, and each of its tests is run again for every mutant that it reaches.
   * `alone`: the one mutant is switched on before anything is loaded. So it must be where code runs only then, or where a memory hides what changed.
   */
  readonly how: "together" | "alone";
  /** Of these tests, by id; `null`: of all. */
  readonly tests: readonly string[] | null;
  /** And of these not: they had their turn before the process was ended. */
  readonly without: readonly string[];
  /** Tests that take longer are told of, and no mutant is tried on them. */
  readonly mostMs: number;
  /** No more time than this is spent on one mutant. */
  readonly budgetMs: number;
}

/** One line of what the tests tell while they run. It is in a file, so that it is there even if they hang. */
export type Line =
  | { readonly say: "try"; readonly mutant: string; readonly limitMs: number }
  /** The test failed with the mutant; now it must pass without. */
  | { readonly say: "again"; readonly mutant: string; readonly limitMs: number }
  | { readonly say: "killed"; readonly mutant: string; readonly by: string }
  /** Whether it would be killed can only be told alone. */
  | { readonly say: "alone"; readonly mutant: string }
  /** A mutant left something behind: nothing more is to be learnt in this process. */
  | { readonly say: "tainted" }
  | {
      readonly say: "test";
      readonly id: string;
      readonly name: string;
      readonly ms: number;
      readonly reached: readonly string[];
      readonly tried: boolean;
    }
  /** What was spent on each mutant that is still open. */
  | { readonly say: "spent"; readonly ms: { readonly [mutant: string]: number } }
  /** It fails with all mutants off: the switches alone make it too slow for what it demands. */
  | { readonly say: "broken"; readonly name: string; readonly message: string }
  /** Reached while the files were loaded. */
  | { readonly say: "loaded"; readonly reached: readonly string[] };

declare module "vitest" {
  interface ProvidedContext {
    errand: Errand;
    /** The file to tell lines in. */
    told: string;
  }
}
