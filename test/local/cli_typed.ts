import { spawn } from "node:child_process";
import path from "node:path";
import { main } from "../../src/cli/main.ts";
import { type Terminal, terminalOf } from "../../src/cli/terminal.ts";
import { ROOT } from "./gateway.ts";

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** As much of a stream as the program uses. */
const stream = (isTTY: boolean, columns: number, write: (text: string) => void) => ({ isTTY, columns, write }) as unknown as NodeJS.WriteStream;

/** A terminal or, where `columns` is not given, a pipe, of which nothing is kept. */
export const terminalFor = (columns?: number, environment: NodeJS.ProcessEnv = { NO_COLOR: "1" }): Terminal => {
  const side = stream(columns !== undefined, columns ?? 0, () => undefined);
  return terminalOf(side, side, environment);
};

/** Types a command as if into a pipe; or, with `says`, on a terminal where somebody answers each question with the next of them. */
export async function typed(args: readonly string[], given: { readonly says?: readonly string[]; readonly directory?: string } = {}) {
  const ended = { out: "", err: "", asked: [] as string[] };
  const side = (name: "out" | "err") =>
    stream(given.says !== undefined, 100, (text) => {
      ended[name] += text;
    });
  const terminal = terminalOf(side("out"), side("err"), { NO_COLOR: "1" });
  const says = [...(given.says ?? [])];
  const ask = async (question: string) => {
    ended.asked.push(question);
    return says.shift() ?? "";
  };
  const code = await main(args, given.directory ?? ROOT, given.says === undefined ? terminal : { ...terminal, ask });
  return { code, ...ended };
}

/** Runs the program as a shell would. */
export function program(args: readonly string[], given: { readonly cwd?: string; readonly environment?: object; readonly input?: string } = {}) {
  const { NO_COLOR: _, ...inherited } = process.env;
  const environment = { ...inherited, npm_lifecycle_event: "test", ...given.environment };
  const child = spawn(process.execPath, ["--no-warnings", path.join(ROOT, "src/cli/agentsentinel.ts"), ...args], {
    cwd: given.cwd ?? ROOT,
    env: environment,
  });
  const heard = { out: "", err: "" };
  child.stdout.on("data", (chunk) => (heard.out += chunk));
  child.stderr.on("data", (chunk) => (heard.err += chunk));
  if (given.input !== undefined) child.stdin.end(given.input);
  const ended = new Promise<Ended>((resolve) => child.once("close", (code) => resolve({ code, ...heard })));
  return { child, heard, ended };
}
