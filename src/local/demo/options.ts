import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { ROOT } from "../build.ts";

export const DEMO_USAGE = `Usage: npm run demo -- [--url URL [--root-key KEY]] [--policy FILE]
                        [--data FILE | --short] [--at-once N] [--json]

Plays recorded conversations of a real airline agent through a gateway, every tool call asked for with the SDK, and reports what was
allowed, denied and held, what it cost, and whether the record agrees. Where the data says what a right run would have written
("expected_actions": [{"name", "kwargs"}]), it also reports which writes were stopped. The policy is src/local/demo/policy.yaml.

  --url URL        a gateway that runs (DEMO_URL); without it the demo starts one of its own, and leaves nothing behind
  --root-key KEY   its root key (ROOT_KEY; for a gateway on this machine the one in .dev.vars), to make a tenant "airline-demo-..." there;
                   nothing of another tenant is touched
  --policy FILE    another policy, YAML: what would yours have said?
  --data FILE      recorded runs, one JSON object a line (../shared/data/airline-agent-runs.ndjson beside the repository, when it is there)
  --short          the project's own short trace; also what is played when there are no recorded runs
  --at-once N      how many conversations go on side by side (8)
  --json           the report as one JSON object
  --help           this text

Against the gateway of \`npm start\`, whose record stays:
  npm run demo -- --url http://127.0.0.1:8787

Exit code: 0 when every call was decided and recorded and every sum agrees, 1 when not, 2 for a mistake in the command.`;

export interface DemoOptions {
  /** `null`: a gateway of its own. */
  readonly gateway: { readonly url: string; readonly rootKey: string } | null;
  /** A YAML file, absolute. */
  readonly policy: string;
  /** `null`: the project's own short trace. */
  readonly data: { readonly file: string; readonly source: string } | null;
  readonly atOnce: number;
  readonly json: boolean;
}

export type Read =
  | { readonly kind: "go"; readonly options: DemoOptions }
  | { readonly kind: "help" }
  | { readonly kind: "mistake"; readonly message: string };

/** Reads the command line and the two variables it names. A relative file is one of the place where the command was typed. */
export function readOptions(args: readonly string[], env: Environment, typedIn: string, devVars: string = path.join(ROOT, ".dev.vars")): Read {
  const mistake = (message: string): Read => ({ kind: "mistake", message });
  let flags: ReturnType<typeof parseFlags>;
  try {
    flags = parseFlags(args);
  } catch (fault) {
    return mistake(fault instanceof Error ? fault.message : String(fault));
  }
  if (flags.help === true) return { kind: "help" };

  const url = flags.url ?? env.DEMO_URL;
  const rootKey = flags["root-key"] ?? env.ROOT_KEY ?? (isHere(url) ? keptRootKey(devVars) : undefined);
  if (url !== undefined && !/^https?:$/.test(URL.parse(url)?.protocol ?? ""))
    return mistake(`--url is an address like http://127.0.0.1:8787, found ${JSON.stringify(url)}.`);
  if (url !== undefined && !rootKey)
    return mistake("--url needs --root-key, or ROOT_KEY in the environment: the demo makes a tenant of its own there.");
  if (url === undefined && flags["root-key"] !== undefined) return mistake("--root-key needs --url: a gateway that the demo starts makes its own.");

  const atOnce = flags["at-once"] ?? "8";
  if (!/^[1-9]\d{0,2}$/.test(atOnce)) return mistake(`--at-once is a number from 1 to 999, found ${JSON.stringify(atOnce)}.`);

  if (flags.short === true && flags.data !== undefined) return mistake("--short and --data exclude each other.");
  const policy = flags.policy === undefined ? POLICY : path.resolve(typedIn, flags.policy);
  if (!existsSync(policy)) return mistake(`--policy names no file: ${policy}`);
  const file = flags.data === undefined ? RECORDED : path.resolve(typedIn, flags.data);
  const there = existsSync(file);
  if (flags.data !== undefined && !there) return mistake(`--data names no file: ${file}`);

  return {
    kind: "go",
    options: {
      gateway: url === undefined || rootKey === undefined ? null : { url: url.replace(/\/+$/, ""), rootKey },
      data: flags.short !== true && there ? { file, source: path.basename(file) } : null,
      policy,
      atOnce: Number(atOnce),
      json: flags.json === true,
    },
  };
}

const POLICY = path.join(import.meta.dirname, "policy.yaml");
/** Where the recorded runs lie when they are there: beside the repository. */
const RECORDED = path.join(ROOT, "../shared/data/airline-agent-runs.ndjson");

type Environment = { readonly [name: string]: string | undefined };

/** Whether an address is this machine's own: a key that was not given by hand goes nowhere else. */
function isHere(url: string | undefined): boolean {
  const host = url === undefined ? undefined : URL.parse(url)?.hostname;
  return host === "127.0.0.1" || host === "[::1]" || host === "localhost";
}

/** The key that `npm start` made. */
const keptRootKey = (devVars: string): string | undefined => (existsSync(devVars) ? parseEnv(readFileSync(devVars, "utf8")).ROOT_KEY : undefined);

const parseFlags = (args: readonly string[]) =>
  parseArgs({
    args: [...args],
    allowPositionals: false,
    options: {
      url: { type: "string" },
      "root-key": { type: "string" },
      policy: { type: "string" },
      data: { type: "string" },
      short: { type: "boolean" },
      "at-once": { type: "string" },
      json: { type: "boolean" },
      help: { type: "boolean" },
    },
  }).values;
