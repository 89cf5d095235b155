import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { makeSigningKeys } from "../../src/local/keys.ts";

export const ROOT = path.resolve(import.meta.dirname, "../..");
/** Processes are told apart by their environment, which every descendant inherits; Linux shows it. */
export const CAN_SEE_PROCESSES = existsSync("/proc/self/environ");

export interface Started {
  readonly npm: ChildProcess;
  readonly mark: string;
  readonly output: () => string;
  readonly exit: Promise<number | null>;
}

/** Types `npm start -- …` as a person would, in a process group of its own. */
export function npmStart(args: readonly string[], environment: { readonly [name: string]: string } = {}): Started {
  const mark = `AGENTSENTINEL_TEST_MARK=${randomUUID()}`;
  const [name = "", value = ""] = mark.split("=");
  const npm = spawn("npm", ["start", "--", ...args], {
    cwd: ROOT,
    env: { ...process.env, npm_config_loglevel: "error", ...environment, [name]: value },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let output = "";
  npm.stdout?.on("data", (chunk) => {
    output += chunk;
  });
  npm.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  const exit = new Promise<number | null>((resolve) => npm.once("close", (code) => resolve(code)));
  return { npm, mark, output: () => output, exit };
}

/** Waits until `found` answers something, asking again and again; throws with `story()` when it takes too long. */
export async function until<T>(found: () => T | null | undefined | false, story: () => string, withinMs = 60_000): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const value = found();
    if (value !== null && value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`It took too long. ${story()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export interface Ready {
  readonly url: string;
  readonly agent: string;
  readonly operator: string;
}

/** Waits for the welcome, and reads from it what a person would. */
export async function ready(started: Started): Promise<Ready> {
  const text = await until(() => (started.output().includes("Ctrl-C stops it") || started.npm.exitCode !== null) && started.output(), started.output);
  const read = (pattern: RegExp) => {
    const found = pattern.exec(text)?.[1];
    if (found === undefined) throw new Error(`No ${pattern} in:\n${text}`);
    return found;
  };
  return { url: read(/ready at (\S+)/), agent: read(/AGENT_TOKEN=(\S+)/), operator: read(/OPERATOR_TOKEN=(\S+)/) };
}

/** The living processes of a start, by what they carry in their environment. */
export function processesOf(mark: string): readonly { readonly pid: number; readonly command: string }[] {
  const found: { pid: number; command: string }[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "utf8").split("\0").includes(mark)) continue;
      // A zombie has ended and only waits to be counted; its environment is empty, so it is not here.
      found.push({ pid: Number(pid), command: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim() });
    } catch {
      // It ended while we looked, or is somebody else's.
    }
  }
  return found;
}

export const nothingLeft = (started: Started) =>
  until(
    () => processesOf(started.mark).length === 0,
    () => `Left: ${JSON.stringify(processesOf(started.mark))}\n${started.output()}`,
    10_000,
  );

/** Ends a start for certain, whatever the test did. */
export function clear(started: Started): void {
  for (const { pid } of CAN_SEE_PROCESSES ? processesOf(started.mark) : []) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone already.
    }
  }
}

/** The root key of every gateway that {@link ownGateway} starts. */
export const ROOT_KEY = "a-root-key-for-these-tests";

/** A gateway of a test's own, on a state of its own, until `end`. */
export interface OwnGateway extends Ready {
  end(): Promise<void>;
}

export async function ownGateway(): Promise<OwnGateway> {
  const state = mkdtempSync(path.join(tmpdir(), "agentsentinel-gateway-"));
  const started = npmStart(["--port", "0", "--persist-to", state], { ROOT_KEY, SIGNING_KEYS: makeSigningKeys() });
  const end = async (): Promise<void> => {
    clear(started);
    await nothingLeft(started);
    rmSync(state, { recursive: true, force: true });
  };
  try {
    return { ...(await ready(started)), end };
  } catch (error) {
    await end();
    throw error;
  }
}

export async function ask(url: string, token: string, method: string, route: string, body?: object | string) {
  const answer = await fetch(`${url}${route}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": typeof body === "string" ? "application/yaml" : "application/json" },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}
