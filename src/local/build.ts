import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";

export const ROOT = path.resolve(import.meta.dirname, "../..");
const CACHE = path.join(ROOT, ".wrangler/agentsentinel");

/** What no tool of Cloudflare may do while it works for us here: ask home for anything. */
export const QUIET = {
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  DO_NOT_TRACK: "1",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_SEND_ERROR_REPORTS: "false",
  WRANGLER_HIDE_BANNER: "true",
};

/** A Worker ready to be started: all that is read from its sources, so that a start without changes need not load the tools. */
export interface Built {
  /** Its modules, the entry first. */
  readonly modules: readonly Module[];
  /** Worker options of the runtime, in the shape wrangler gives them; no secret is among them. */
  readonly worker: { readonly [option: string]: unknown };
  readonly secrets: readonly string[];
  readonly migrations: readonly { readonly name: string; readonly statements: readonly string[] }[];
}

export interface Module {
  readonly type: "ESModule" | "Text" | "Data" | "CompiledWasm";
  /** Absolute. */
  readonly path: string;
}

/** What kind of module a built file is, by its ending: wrangler's own rules. Other files that a build leaves are no modules. */
const MODULE_TYPES: { readonly [ending: string]: Module["type"] } = {
  ".js": "ESModule",
  ".mjs": "ESModule",
  ".txt": "Text",
  ".html": "Text",
  ".sql": "Text",
  ".bin": "Data",
  ".wasm": "CompiledWasm",
};

/** Builds the Worker as `wrangler deploy` would, unless its sources are those of the last build. */
export async function build(onWork: () => void): Promise<Built> {
  const directory = path.join(CACHE, sourcesDigest());
  const manifest = path.join(directory, "built.json");
  if (!existsSync(manifest)) {
    onWork();
    mkdirSync(CACHE, { recursive: true });
    const draft = mkdtempSync(path.join(CACHE, "draft-"));
    await wrangler(["deploy", "--dry-run", "--outdir", draft]);
    writeFileSync(path.join(draft, "built.json"), JSON.stringify(await readConfiguration()));
    publish(draft, directory);
  }
  const known: Omit<Built, "modules"> = JSON.parse(readFileSync(manifest, "utf8"));
  return { ...known, modules: modulesIn(directory) };
}

function modulesIn(directory: string): readonly Module[] {
  const modules: Module[] = [];
  for (const name of globSync("**/*", { cwd: directory })) {
    const type = MODULE_TYPES[path.extname(name)];
    if (type !== undefined) modules.push({ type, path: path.join(directory, name) });
  }
  const isEntry = (module: Module) => module.path === path.join(directory, "index.js");
  return modules.sort((a, b) => Number(isEntry(b)) - Number(isEntry(a)));
}

/** Moves a finished build to its name in one step. Another start may have been quicker: then its build is the same and ours goes. */
function publish(draft: string, directory: string): void {
  try {
    renameSync(draft, directory);
  } catch (fault) {
    if (!existsSync(path.join(directory, "built.json"))) throw fault;
    rmSync(draft, { recursive: true });
  }
  for (const name of readdirSync(CACHE)) {
    const other = path.join(CACHE, name);
    if (other !== directory && !name.startsWith("draft-")) rmSync(other, { recursive: true, force: true });
  }
}

async function readConfiguration(): Promise<Omit<Built, "modules">> {
  // It would say which secrets it found and which it missed; they are not its business here.
  process.env.WRANGLER_LOG = "error";
  // Loaded only here: it takes seconds, and a start without changes does without it.
  const { unstable_getMiniflareWorkerOptions, unstable_readConfig, unstable_splitSqlQuery } = await import("wrangler");
  const config = unstable_readConfig({ config: path.join(ROOT, "wrangler.toml") }, { hideWarnings: true });
  const secrets = config.secrets?.required ?? [];
  // `modulesRules` said which imports are modules while bundling; the bundle is made.
  const { modulesRules: _, ...workerOptions } = unstable_getMiniflareWorkerOptions(config, undefined).workerOptions;
  const bindings = Object.fromEntries(Object.entries(workerOptions.bindings ?? {}).filter(([name]) => !secrets.includes(name)));
  const directory = path.join(ROOT, config.d1_databases[0]?.migrations_dir ?? "migrations");
  const migrations = globSync("*.sql", { cwd: directory })
    .sort()
    .map((name) => ({ name, statements: unstable_splitSqlQuery(readFileSync(path.join(directory, name), "utf8")) }));
  return { worker: { ...workerOptions, rootPath: ROOT, bindings }, secrets, migrations };
}

/** Everything that the built Worker follows from. */
function sourcesDigest(): string {
  const hash = createHash("sha256");
  const files = globSync(["src/**/*", "sdk/src/**/*", "migrations/*.sql", "wrangler.toml", "package-lock.json", "tsconfig.json"], {
    cwd: ROOT,
    withFileTypes: true,
  })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(ROOT, path.join(entry.parentPath, entry.name)))
    .filter((name) => !/\.(test\.ts|md)$/.test(name) && (!name.startsWith("src/local/") || name === "src/local/build.ts"));
  for (const name of files.sort())
    hash
      .update(`${name}\0`)
      .update(readFileSync(path.join(ROOT, name)))
      .update("\0");
  return hash.digest("hex").slice(0, 32);
}

export interface WranglerCall {
  /** Whether the person sees its output and may answer it; otherwise it is kept for the answer and for the error. */
  readonly shown?: boolean;
  readonly input?: string;
}

/** Runs wrangler, which is offline unless told otherwise, and answers its standard output. Throws with its own words when it fails. */
export function wrangler(args: readonly string[], call: WranglerCall = {}): Promise<string> {
  // Its program itself: the `bin` in front of it only starts a second Node.
  const program = path.join(ROOT, "node_modules/wrangler/wrangler-dist/cli.js");
  const child = spawn(process.execPath, ["--no-warnings", program, ...args], {
    cwd: ROOT,
    env: { ...process.env, ...QUIET, WRANGLER_LOG: "log" },
    stdio: call.shown === true ? "inherit" : [call.input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
  });
  const endIt = () => child.kill("SIGKILL");
  process.once("exit", endIt);
  child.once("close", () => process.removeListener("exit", endIt));
  let out = "";
  let all = "";
  child.stdout?.on("data", (chunk) => {
    out += chunk;
    all += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    all += chunk;
  });
  child.stdin?.end(call.input);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve(out) : reject(new Error(`\`wrangler ${args.join(" ")}\` failed.\n${all.trim()}`))));
  });
}
