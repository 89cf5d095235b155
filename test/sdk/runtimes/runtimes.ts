import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { build } from "esbuild";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare, type V4MiniflareOptions } from "miniflare";
import { openChromium } from "../../local/chromium.ts";
import type { Report, World } from "./check.ts";
import { NAME, type Packed } from "./package.ts";

/** How the suite is begun on each runtime, always with the installed package. */

/** A project with the package installed, and the suite as plain JavaScript beside it. */
export interface Project {
  readonly folder: string;
  readonly packed: Packed;
}

const SUITE = path.join(import.meta.dirname, "suite.ts");
const ROOT = path.resolve(import.meta.dirname, "../../..");

/** Nothing of the package is in it: each runtime resolves and loads the package itself. */
export async function writeSuite({ folder }: Project): Promise<void> {
  await build({ entryPoints: [SUITE], outfile: path.join(folder, "suite.js"), bundle: true, format: "esm", platform: "neutral", target: "es2022" });
  const entries = [
    ["core", ""],
    ["live", "/live"],
    ["approvals", "/approvals"],
    ["leases", "/leases"],
    ["local", "/local"],
    ["fetch", "/fetch"],
  ];
  const lines = entries.map(([name, subpath]) => `import * as ${name} from ${JSON.stringify(NAME + subpath)};`);
  const text = `${lines.join("\n")}\nexport { runSuite } from "./suite.js";\nexport const entries = { ${entries.map(([name]) => name).join()} };\n`;
  writeFileSync(path.join(folder, "with_package.js"), text);
}

const begin = (world: World, heed: string): string => `import { entries, runSuite } from "./with_package.js";
const run = () => runSuite(entries, ${JSON.stringify(world)}, ${heed});
`;

/** As the web says it; `preventDefault` keeps the runtime from ending over it. */
const HEED_EVENT = `(unheard) => globalThis.addEventListener("unhandledrejection", (event) => { event.preventDefault(); unheard(event.reason); })`;
/** As Node says it. */
const HEED_PROCESS = `(unheard) => void process.on("unhandledRejection", unheard)`;

/** How long a program may take to end once it has nothing more to do. */
const END_MS = 20_000;
const MARK = "\u0001report ";

/** Runs the suite in a program of its own, which must end by itself: a timer or a connection that is left behind keeps it alive. */
export async function onProgram({ folder }: Project, world: World, program: string, args: readonly string[], isWeb = false): Promise<Report> {
  const file = path.join(folder, `main_${path.basename(program)}_${Date.now()}.js`);
  const told = `console.log(${JSON.stringify(MARK)} + JSON.stringify(await run()));\n`;
  writeFileSync(file, begin(world, isWeb ? HEED_EVENT : HEED_PROCESS) + told);
  const home = path.join(folder, "home");
  mkdirSync(home, { recursive: true });
  // Nothing of this machine's environment is given on: the package reads none.
  const env = {
    AGENT_SENTINEL_HOME: path.join(home, `${path.basename(file, ".js")}_ledger`),
    HOME: home,
    TMPDIR: home,
    DENO_DIR: path.join(home, "deno"),
    DENO_NO_UPDATE_CHECK: "1",
    DO_NOT_TRACK: "1",
    NO_COLOR: "1",
  };
  const child = spawn(program, [...args, file], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  let lingering: NodeJS.Timeout | undefined;
  let hasLingered = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (lingering === undefined && output.includes(MARK)) {
        lingering = setTimeout(() => {
          hasLingered = true;
          child.kill("SIGKILL");
        }, END_MS);
      }
    });
  }
  const code = await new Promise<number | null>((resolve, reject) => child.once("error", reject).once("close", resolve));
  clearTimeout(lingering);
  const report = new RegExp(`^${MARK}(.*)$`, "m").exec(output)?.[1];
  if (report === undefined) throw new Error(`${program} ended with ${code} and without a report:\n${output}`);
  const found: Report = JSON.parse(report);
  const end = hasLingered ? `It had done everything and did not end within ${END_MS} ms` : code === 0 ? null : `It ended with ${code}:\n${output}`;
  return end === null ? found : [...found, { name: "the program ends by itself", wrong: end, absent: null, ms: 0 }];
}

/** Runs the suite in a Worker, bundled as Workers are. */
export async function onWorkerd(
  { folder }: Project,
  world: World,
  compatibilityDate: string,
  compatibilityFlags: readonly string[] = [],
): Promise<Report> {
  const answer = "export default { fetch: async () => Response.json(await run()) };\n";
  const { outputFiles } = await build({
    stdin: { contents: begin(world, HEED_EVENT) + answer, resolveDir: folder, loader: "js" },
    bundle: true,
    format: "esm",
    platform: "neutral",
    conditions: ["workerd", "worker", "browser"],
    target: "es2022",
    write: false,
  });
  const options = {
    name: "suite",
    modules: [{ type: "ESModule", path: path.join(folder, "worker.js"), contents: outputFiles[0]?.text ?? "" }],
    modulesRoot: folder,
    compatibilityDate,
    compatibilityFlags,
    cf: false,
    log: new Log(LogLevel.WARN),
    telemetry: { enabled: false },
  };
  // Miniflare parses the options again and names what it does not like.
  const miniflare = new Miniflare(convertV4MiniflareOptions(options as V4MiniflareOptions));
  try {
    const answered = await miniflare.dispatchFetch("http://suite.test/");
    const text = await answered.text();
    if (answered.status !== 200) throw new Error(`The Worker answered ${answered.status}:\n${text}`);
    return JSON.parse(text);
  } finally {
    await miniflare.dispose();
  }
}

/** The date of the gateway's own Worker: with all that workerd has, Node's modules included. */
export const DATE_NOW = /^compatibility_date = "([\d-]+)"/m.exec(readFileSync(path.join(ROOT, "wrangler.toml"), "utf8"))?.[1] ?? "";
/** A Worker that nobody has touched for long: without Node's modules. */
export const DATE_OLD = "2024-01-01";
/** Without it a Worker of that time is told of rejections that are listened to a moment later. */
export const FLAGS_OLD = ["unhandled_rejection_after_microtask_checkpoint"];

/** Runs the suite in a page, from the package's files as they are: an import map is all that it needs. `allow` has the gateway let the page in. */
export async function onChromium({ folder, packed }: Project, world: World, allow: (origin: string) => Promise<void>): Promise<Report> {
  const imports = Object.fromEntries(
    Object.entries(packed.entries).map(([subpath, to]) => [path.posix.join(NAME, subpath), path.posix.join("/node_modules", NAME, to)]),
  );
  const page = `<!doctype html><meta charset="utf-8"><title>suite</title><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports })}</script>
<script type="module">${begin(world, HEED_EVENT)}globalThis.report = run();</script>`;
  const server = createServer(({ url = "" }, response) => {
    const file = path.join(folder, path.normalize(url));
    if (url === "/") return response.writeHead(200, { "content-type": "text/html" }).end(page);
    if (!file.startsWith(folder) || !existsSync(file)) return response.writeHead(404).end();
    return response.writeHead(200, { "content-type": "text/javascript" }).end(readFileSync(file));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  try {
    await allow(`http://127.0.0.1:${port}`);
    await using browser = await openChromium();
    const tab = await browser.newPage();
    const wrong: string[] = [];
    tab.on("pageerror", (error) => wrong.push(error.message));
    await tab.goto(`http://127.0.0.1:${port}/`);
    const report = await tab.evaluate(async () => {
      // The page's own script has put it there.
      return (globalThis as unknown as { readonly report?: Promise<Report> }).report;
    });
    if (report === undefined) throw new Error(`The page did not begin: ${wrong.join()}`);
    return report;
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** A program of a test-only package, else one that is installed on this machine. `null`: there is none. */
export function programOf(packaged: string, name: string): string | null {
  const own = path.join(ROOT, "test/node_modules", packaged);
  return existsSync(own) ? own : onPath(name);
}

/** A program on the machine's own path, not one that npm has put in front of it. */
export function onPath(name: string): string | null {
  const folders = (process.env.PATH ?? "").split(path.delimiter).filter((folder) => !folder.split(path.sep).includes("node_modules"));
  return folders.map((folder) => path.join(folder, name)).find((file) => existsSync(file)) ?? null;
}

export const versionOf = (program: string): string =>
  /\d+\.\d+\.\d+/.exec(spawnSync(program, ["--version"], { encoding: "utf8" }).stdout ?? "")?.[0] ?? "";
