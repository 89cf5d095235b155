import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

/** One world of `test/core/sim.test.ts`, with the same seed and steps. */
const WORLD = ["test/faults/sim/sim.ts", "--json", "--seed", "7", "--steps", "6000"];
const LEAST_LIMIT_MS = 20_000;

/** The simulation under mutants: a process for each, since it replaces the clock and the timers of the one it runs in. */
export class Simulated {
  readonly #root: string;
  readonly #folder: string;
  #limitMs = 600_000;

  /** `folder` is the lane's, and holds `texts.json`. */
  constructor(root: string, folder: string) {
    this.#root = root;
    this.#folder = folder;
  }

  /** The mutants that it comes by. */
  reached(): ReadonlySet<string> {
    const file = path.join(this.#folder, "simulated.json");
    const began = performance.now();
    if (this.#run({ MUTATION_REACHED: file }) !== "passes") throw new Error("The simulation fails without any mutant.");
    this.#limitMs = Math.max(LEAST_LIMIT_MS, Math.ceil((performance.now() - began) * 5));
    // Written by `loader.ts`.
    return new Set(JSON.parse(readFileSync(file, "utf8")) as readonly string[]);
  }

  under(mutant: string): "passes" | "fails" | "hangs" {
    return this.#run({ MUTATION_MUTANT: mutant });
  }

  #run(env: NodeJS.ProcessEnv): "passes" | "fails" | "hangs" {
    const { status, error } = spawnSync(process.execPath, ["--no-warnings", "--import", path.join(import.meta.dirname, "loader.ts"), ...WORLD], {
      cwd: this.#root,
      env: { ...process.env, MUTATION_ROOT: this.#root, MUTATION_TEXTS: path.join(this.#folder, "texts.json"), ...env },
      stdio: "ignore",
      timeout: this.#limitMs,
      killSignal: "SIGKILL",
    });
    if (error !== undefined) return "hangs";
    return status === 0 ? "passes" : "fails";
  }
}
