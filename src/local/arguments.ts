import path from "node:path";
import { parseArgs } from "node:util";

export interface StartArguments {
  /** 0: any free one. */
  readonly port: number;
  /** Absolute. */
  readonly state: string;
}

export const START_USAGE = `Usage: npm start -- [--port N] [--persist-to DIR]

Starts the gateway on this machine, with everything it needs: keys, database, a tenant "demo" with a policy, and tokens.

  --port N           where it listens on 127.0.0.1 (8787; 0: any free port)
  --persist-to DIR   where sessions and the ledger are kept (.wrangler/state)
  --help             this text

ROOT_KEY in the environment is used instead of the one in .dev.vars.`;

export const DEPLOY_USAGE = `Usage: npm run deploy -- [--dry-run]

Puts the gateway on Cloudflare, after \`npx wrangler login\`: makes its database and secrets where they are missing, migrates, deploys.

  --dry-run   changes nothing and asks nobody: builds the Worker and checks that every binding and secret is named everywhere
  --help      this text`;

export type Parsed<T> =
  | { readonly kind: "go"; readonly value: T }
  | { readonly kind: "help" }
  | { readonly kind: "mistake"; readonly message: string };

/** Reads the command line of `npm start`. A relative directory is one of the place where the command was typed. */
export function parseStart(args: readonly string[], typedIn: string, defaultState: string): Parsed<StartArguments> {
  const parsed = parseFlags(args, { port: { type: "string" }, "persist-to": { type: "string" }, help: { type: "boolean" } });
  if (parsed.kind !== "go") return parsed;
  const { port = "8787", "persist-to": state, help } = parsed.value;
  if (help === true) return { kind: "help" };
  if (typeof port !== "string" || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) {
    return { kind: "mistake", message: `--port is a number from 0 to 65535, found ${JSON.stringify(port)}.` };
  }
  if (state === "" || typeof state === "boolean") return { kind: "mistake", message: "--persist-to names a directory." };
  return { kind: "go", value: { port: Number(port), state: state === undefined ? defaultState : path.resolve(typedIn, state) } };
}

/** Reads the command line of `npm run deploy`. */
export function parseDeploy(args: readonly string[]): Parsed<{ readonly dryRun: boolean }> {
  const parsed = parseFlags(args, { "dry-run": { type: "boolean" }, help: { type: "boolean" } });
  if (parsed.kind !== "go") return parsed;
  if (parsed.value.help === true) return { kind: "help" };
  return { kind: "go", value: { dryRun: parsed.value["dry-run"] === true } };
}

type Flags = { readonly [name: string]: { readonly type: "string" | "boolean" } };

function parseFlags(args: readonly string[], options: Flags): Parsed<{ readonly [name: string]: string | boolean | undefined }> {
  try {
    const { values } = parseArgs({ args: [...args], options, allowPositionals: false });
    const flags: { [name: string]: string | boolean | undefined } = {};
    for (const [name, value] of Object.entries(values)) if (!Array.isArray(value)) flags[name] = value;
    return { kind: "go", value: flags };
  } catch (fault) {
    return { kind: "mistake", message: fault instanceof Error ? fault.message : String(fault) };
  }
}
