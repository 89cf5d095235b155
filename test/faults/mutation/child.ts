import { readFileSync } from "node:fs";
import path from "node:path";
import { createVitest } from "vitest/node";
import type { Errand } from "./errand.ts";

/**
 * A process with the tests. Its parent sends errands, one at a time, and kills it if a mutant hangs.
 * The instrumented text of a file is served in place of the file: nothing in the working tree is touched.
 */

export interface Order {
  readonly errand: Errand;
  readonly told: string;
}

export interface Answer {
  /** Whether every test passed. */
  readonly ok: boolean;
  /** Where not: what went wrong first. */
  readonly error: string;
}

const [root = ".", texts = ""] = process.argv.slice(2);
// Written by the parent.
const instrumented = new Map(JSON.parse(readFileSync(texts, "utf8")) as readonly [string, string][]);

const vitest = await createVitest(
  "test",
  {
    root,
    config: false,
    watch: false,
    // What is instrumented is never remembered: another draw has other switches, and the suites of `npm test` must have none.
    fsModuleCache: false,
    include: ["test/core/**/*.test.ts"],
    pool: "threads",
    maxWorkers: 1,
    bail: 1,
    testTimeout: 60_000,
    silent: true,
    reporters: [{}],
    runner: path.join(import.meta.dirname, "runner.ts"),
    setupFiles: [path.join(import.meta.dirname, "setup.ts")],
  },
  {
    plugins: [
      {
        name: "mutants",
        enforce: "pre",
        transform: (_code, id) => instrumented.get(path.relative(root, id.split("?")[0] ?? id)) ?? null,
      },
    ],
  },
);

process.on("message", (message) => {
  // Only the parent sends anything.
  const { errand, told } = message as Order;
  vitest.provide("errand", errand);
  vitest.provide("told", told);
  const file = path.join(root, errand.testFile);
  vitest.runTestSpecifications([vitest.getRootProject().createSpecification(file)]).then(
    ({ testModules }) => {
      // Vitest names the files of earlier errands, too.
      const module = testModules.find(({ moduleId }) => moduleId === file);
      const errors = [...(module?.errors() ?? []), ...Array.from(module?.children.allTests("failed") ?? [], (test) => test.result().errors?.[0])];
      const answer: Answer = { ok: module?.ok() ?? false, error: errors[0]?.message.slice(0, 500) ?? "" };
      process.send?.(answer);
    },
    (error: unknown) => {
      process.stderr.write(`${error}\n`);
      process.exit(2);
    },
  );
});
process.on("disconnect", () => process.exit());
process.send?.("ready");
