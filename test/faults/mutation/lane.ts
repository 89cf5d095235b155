import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Answer, Order } from "./child.ts";
import type { Errand, Line } from "./errand.ts";

/** Without any mutant a file of tests is silent for so long at most. */
const PATIENCE_MS = 180_000;
const LOOK_MS = 250;

export interface Told {
  readonly lines: readonly Line[];
  /** `null`: it hung, and its process was ended. */
  readonly ok: boolean | null;
  readonly error: string;
}

/** One process with tests at a time. Who hangs is ended, and the next errand gets a new one. */
export class Lane {
  readonly #root: string;
  readonly #folder: string;
  readonly #env: NodeJS.ProcessEnv;
  #child: ChildProcess | null = null;
  #errands = 0;

  /** `folder` is the lane's own, and holds `texts.json`. */
  constructor(root: string, folder: string, seed: number) {
    this.#root = root;
    this.#folder = folder;
    this.#env = { ...process.env, MUTATION_SEED: String(seed) };
  }

  async send(errand: Errand): Promise<Told> {
    const child = await this.#started();
    const told = path.join(this.#folder, `told-${this.#errands++}.jsonl`);
    writeFileSync(told, "");
    const answered = Promise.withResolvers<Answer | null>();
    const onMessage = (answer: Answer) => answered.resolve(answer);
    const onExit = () => answered.resolve(null);
    child.once("message", onMessage).once("exit", onExit);
    const order: Order = { errand, told };
    child.send(order);
    const watch = setInterval(() => {
      if (Date.now() - statSync(told).mtimeMs > patienceOf(linesOf(told).at(-1), errand)) child.kill("SIGKILL");
    }, LOOK_MS);
    const answer = await answered.promise;
    clearInterval(watch);
    child.off("message", onMessage).off("exit", onExit);
    if (answer === null) this.#child = null;
    return { lines: linesOf(told), ok: answer?.ok ?? null, error: answer?.error ?? "" };
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child === null || child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async #started(): Promise<ChildProcess> {
    if (this.#child !== null) return this.#child;
    const child = fork(path.join(import.meta.dirname, "child.ts"), [this.#root, path.join(this.#folder, "texts.json")], {
      cwd: this.#root,
      env: this.#env,
      execArgv: ["--no-warnings"],
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    });
    await Promise.race([
      once(child, "message"),
      once(child, "exit").then(() => {
        throw new Error("The tests could not be started.");
      }),
    ]);
    this.#child = child;
    return child;
  }
}

function patienceOf(line: Line | undefined, errand: Errand): number {
  if (errand.how === "alone") return 60_000;
  return line?.say === "try" || line?.say === "again" ? line.limitMs + 5_000 : PATIENCE_MS;
}

function linesOf(told: string): readonly Line[] {
  if (!existsSync(told)) return [];
  const lines = readFileSync(told, "utf8").split("\n");
  // What follows the last line end is not yet a line. Written by the runner, one `Line` each.
  return lines.slice(0, -1).map((line) => JSON.parse(line) as Line);
}
