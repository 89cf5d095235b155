import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build as bundle, transform } from "esbuild";
import { build, ROOT, wrangler } from "../../../src/local/build.ts";
import type { Group } from "../groups.ts";
import { atMost, type Table } from "../report.ts";
import { median } from "../rounds.ts";

/** What Cloudflare lets a Worker have on its free plan, compressed; paid ones have more. */
const MOST_WORKER_KB = 3 * 1024;
/** What Cloudflare lets a Worker's start take. */
const MOST_START_MS = 1_000;
/** What the SDK promises of its core. */
const MOST_SDK_KB = 8;
const STARTS = 5;
const SHOWN_PARTS = 12;

/** How large the Worker and the SDK's entries are, of what, and what the Worker's start takes. */
export const size: Group = {
  name: "size",
  what: "the Worker's bundle and start, and the SDK's entries",
  byDefault: true,
  async measure(_effort, say) {
    const built = await build(() => say("building the gateway"));
    const text = built.modules.map((module) => readFileSync(module.path, "utf8")).join("\n");
    const minified = (await transform(text, { minify: true, format: "esm", target: "es2024" })).code;
    const worker: Table = {
      title: "kB",
      columns: ["plain", "gzip"],
      rows: [sizeRow("Worker, as it is deployed", text), sizeRow("Worker, minified", minified), ...(await sdkRows())],
    };
    say("what it consists of");
    const starts: Start[] = [];
    for (let n = 0; n < STARTS; n++) {
      say(`start ${n + 1} of ${STARTS}`);
      starts.push(await start());
    }
    const activeMs = median(starts.map((one) => one.activeMs));
    const startTable: Table = {
      title: `start, median of ${STARTS}`,
      columns: ["ms"],
      rows: [
        { name: "busy: scripts, compiling, collecting", figures: [activeMs] },
        { name: "of that, collecting garbage", figures: [median(starts.map((one) => one.garbageMs))] },
      ],
    };
    const core = worker.rows.find(({ name }) => name === "SDK .")?.figures[1] ?? Number.NaN;
    return {
      tables: [worker, await parts(), startTable],
      ratios: [
        atMost(1, "Worker, gzip, of 3 MB", (worker.rows[0]?.figures[1] ?? Number.NaN) / MOST_WORKER_KB),
        atMost(1, "start, of 1 s", activeMs / MOST_START_MS),
        atMost(1, "SDK's core, gzip, of 8 kB", core / MOST_SDK_KB),
      ],
      notes: ["The start is what `wrangler check startup` profiles, on this machine. Parts are of the minified bundle, before compression."],
    };
  },
};

const sizeRow = (name: string, text: string) => ({ name, figures: [Buffer.byteLength(text) / 1024, gzipSync(text, { level: 9 }).length / 1024] });

/** Each entry of the SDK by itself, with all it imports, minified. */
async function sdkRows(): Promise<Table["rows"]> {
  const sdk = path.join(ROOT, "sdk");
  const { exports }: { readonly exports: { readonly [entry: string]: string | { readonly default: string } } } = JSON.parse(
    readFileSync(path.join(sdk, "package.json"), "utf8"),
  );
  // A text is a file that is no code: the package's own description.
  const entries = Object.entries(exports).flatMap(([entry, is]) => (typeof is === "string" ? [] : [{ entry, file: is.default }]));
  return Promise.all(
    entries.map(async ({ entry, file }) => {
      const source = path.join(sdk, file.replace("./dist/", "src/").replace(/\.js$/, ".ts"));
      const { outputFiles } = await bundle({
        entryPoints: [source],
        bundle: true,
        minify: true,
        format: "esm",
        platform: "neutral",
        packages: "external",
        external: ["node:*"],
        write: false,
      });
      return sizeRow(`SDK ${entry}`, outputFiles[0]?.text ?? "");
    }),
  );
}

/** What the bundle consists of, by package and by our own rooms, the heaviest first. */
async function parts(): Promise<Table> {
  const { metafile } = await bundle({
    entryPoints: [path.join(ROOT, "src/index.ts")],
    absWorkingDir: ROOT,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    metafile: true,
    write: false,
    outdir: "out",
  });
  const sums = new Map<string, number>();
  for (const output of Object.values(metafile.outputs)) {
    for (const [input, { bytesInOutput }] of Object.entries(output.inputs)) {
      const name = /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(input)?.[1] ?? path.dirname(input);
      sums.set(name, (sums.get(name) ?? 0) + bytesInOutput);
    }
  }
  const heaviest = [...sums].sort(([, a], [, b]) => b - a).slice(0, SHOWN_PARTS);
  return { title: "parts", columns: ["kB"], rows: heaviest.map(([name, octets]) => ({ name, figures: [octets / 1024] })) };
}

interface Start {
  readonly activeMs: number;
  readonly garbageMs: number;
}

/** What of the profile of a start is not idle, nor the runtime's own waiting. */
async function start(): Promise<Start> {
  const folder = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-start-"));
  try {
    const file = path.join(folder, "start.cpuprofile");
    await wrangler(["check", "startup", "--outfile", file]);
    // The format that V8's profiler writes.
    const profile: Profile = JSON.parse(readFileSync(file, "utf8"));
    const names = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame.functionName]));
    const spent = (wanted: (name: string) => boolean) =>
      profile.samples.reduce((sum, id, n) => (wanted(names.get(id) ?? "") ? sum + (profile.timeDeltas[n] ?? 0) : sum), 0) / 1000;
    return { activeMs: spent((name) => name !== "(idle)" && name !== "(program)"), garbageMs: spent((name) => name === "(garbage collector)") };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Profile {
  readonly nodes: readonly { readonly id: number; readonly callFrame: { readonly functionName: string } }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}
