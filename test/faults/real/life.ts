import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { makeSigningKeys } from "../../../src/local/keys.ts";
import { clear, nothingLeft, npmStart, processesOf, type Ready, ready, type Started, until } from "../../local/gateway.ts";

/** Whom SIGKILL hits: everything that `npm start` started, in one blow, or only the runtime, under a program that must notice. */
export type Victim = "all" | "runtime";

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** One life of a gateway, from its start to its kill. */
export interface Life extends Ready {
  readonly process: Started;
}

/** A place where a gateway lives again and again on one state, with the same keys. */
export class Home {
  readonly directory: string;
  readonly rootKey = "a-root-key-for-these-tests";
  readonly #environment: { readonly [name: string]: string };
  readonly #started: Started[] = [];
  /** What runs in groups of its own does not hear that the person at the terminal has had enough. */
  readonly #onSignal = (): void => {
    for (const one of this.#started) clear(one);
    rmSync(this.directory, { recursive: true, force: true });
    process.exit(130);
  };

  constructor(name: string) {
    this.directory = mkdtempSync(path.join(tmpdir(), `agentsentinel-${name}-`));
    // What is killed cannot tidy up: its temporary files lie where the end of this removes them.
    this.#environment = { ROOT_KEY: this.rootKey, SIGNING_KEYS: makeSigningKeys(), TMPDIR: this.directory };
    for (const signal of SIGNALS) process.once(signal, this.#onSignal);
  }

  /** Starts `npm start` and does not wait for it. */
  begin(): Started {
    const started = npmStart(["--port", "0", "--persist-to", path.join(this.directory, "state")], this.#environment);
    this.#started.push(started);
    return started;
  }

  async start(): Promise<Life> {
    const started = this.begin();
    return { ...(await ready(started)), process: started };
  }

  /** Ends what still lives, for certain. Its state stays. */
  async stop(): Promise<void> {
    for (const one of this.#started.splice(0)) {
      clear(one);
      await nothingLeft(one);
    }
  }

  /** The same, and removes all of it. */
  async end(): Promise<void> {
    for (const signal of SIGNALS) process.removeListener(signal, this.#onSignal);
    await this.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Sends SIGKILL and returns at once. */
export function strike(started: Started, victim: Victim): void {
  const pid = victim === "all" ? -(started.npm.pid ?? Number.NaN) : runtimeOf(started);
  process.kill(pid, "SIGKILL");
}

/** Waits until a killed gateway is gone. A program that lost its runtime must have said so. */
export async function gone(started: Started, victim: Victim): Promise<void> {
  await nothingLeft(started);
  if (victim === "runtime") {
    await until(
      () => started.output().includes("The Workers runtime ended by itself (signal SIGKILL)"),
      () => `It did not say that it lost its runtime:\n${started.output()}`,
      5_000,
    );
  }
}

/** The process of the Workers runtime. */
export function runtimeOf(started: Started): number {
  const found = processesOf(started.mark).find(({ command }) => /\/workerd serve /.test(command));
  if (found === undefined) throw new Error(`There is no runtime in ${JSON.stringify(processesOf(started.mark))}`);
  return found.pid;
}
