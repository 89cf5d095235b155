import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { build as bundle, type Plugin } from "esbuild";

const SDK = import.meta.dirname;
const SRC = path.join(SDK, "src");

/**
 * Builds the package into `dist`. Most entries are their sources, file by file. `./local` decides by the gateway's own code, which lies outside of this
 * package: it is bundled with that and with the libraries that code needs, so that the package depends on nothing. What it shares with the other
 * entries it imports from them, so that an error's class is one class. `./testing` is built on `./local`, and imports that.
 */
export async function build(dist: string): Promise<void> {
  rmSync(dist, { recursive: true, force: true });
  tsc("tsconfig.build.json", dist);
  const shared = new Set(readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".js")));
  const bundled = await bundleOf("local", dist, shared);
  await bundleOf("testing", dist, shared.add("local.js"));
  writeFileSync(path.join(dist, "THIRD_PARTY_NOTICES.txt"), notices(bundled));
  declare(dist);
}

/** Bundles an entry with all that is not shared, and tells what is in the bundle. */
async function bundleOf(entry: string, dist: string, shared: ReadonlySet<string>): Promise<readonly string[]> {
  const { metafile } = await bundle({
    entryPoints: [path.join(SRC, `${entry}.ts`)],
    outfile: path.join(dist, `${entry}.js`),
    absWorkingDir: SDK,
    bundle: true,
    format: "esm",
    platform: "neutral",
    mainFields: ["module", "main"],
    target: "es2022",
    minifySyntax: true,
    // Of an error that nobody caught Node shows the whole line from which it comes: so lines are short, and read like their source.
    lineLimit: 160,
    legalComments: "none",
    banner: { js: "/*! The licences of what is bundled here stand in THIRD_PARTY_NOTICES.txt. */" },
    define: { "Map.groupBy": "mapGroupBy" },
    inject: [path.join(SRC, "local/map_group_by.ts")],
    plugins: [importing(shared)],
    metafile: true,
  });
  return Object.keys(metafile.inputs);
}

/** What another entry has built already is imported from there. */
const importing = (shared: ReadonlySet<string>): Plugin => ({
  name: "shared with the other entries",
  setup({ onResolve }) {
    onResolve({ filter: /^\.{1,2}\// }, ({ path: wanted, resolveDir }) => {
      const inside = path.relative(SRC, path.resolve(resolveDir, wanted)).replace(/\.ts$/, ".js");
      return shared.has(inside) ? { path: `./${inside}`, external: true } : undefined;
    });
  },
});

/**
 * Writes the types of `./local` and `./testing`, with what they show of the gateway's code beside them: whoever installs the package has only the package. What they
 * show of a library would be missing there, and is refused.
 */
function declare(dist: string): void {
  const made = mkdtempSync(path.join(tmpdir(), "agentsentinel-sdk-types-"));
  try {
    tsc("tsconfig.local.json", made);
    const placeOf = (file: string): string =>
      file.startsWith("sdk/src/") ? path.relative("sdk/src", file) : path.join("local", path.relative("src", file));
    const waiting = ["sdk/src/local.d.ts", "sdk/src/testing.d.ts"];
    for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
      const from = file;
      const to = path.join(dist, placeOf(from));
      if (existsSync(to)) continue;
      mkdirSync(path.dirname(to), { recursive: true });
      const text = readFileSync(path.join(made, from), "utf8").replace(/(from |import\()"([^"]+)"/g, (_, before: string, wanted: string) => {
        if (!wanted.startsWith(".")) throw new Error(`The types of ./local show ${wanted}, which is not in the package (${from})`);
        const next = path.join(path.dirname(from), wanted).replace(/(?:\.d)?\.[jt]s$/, ".d.ts");
        waiting.push(next);
        const inside = path.relative(path.dirname(placeOf(from)), placeOf(next)).replace(/\.d\.ts$/, ".js");
        return `${before}"${inside.startsWith(".") ? inside : `./${inside}`}"`;
      });
      writeFileSync(to, text);
    }
  } finally {
    rmSync(made, { recursive: true });
  }
}

function tsc(config: string, outDir: string): void {
  const program = path.join(path.dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin/tsc");
  const { status, stdout } = spawnSync(process.execPath, [program, "-p", path.join(SDK, config), "--outDir", outDir], { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot compile ${config}:\n${stdout}`);
}

/** The licences of the libraries that are in the bundle, as their authors ask for. */
function notices(inputs: readonly string[]): string {
  const folders = new Set(inputs.flatMap((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.slice(1, 2) ?? []));
  return [...folders]
    .sort()
    .map((folder) => {
      const at = path.resolve(SDK, folder);
      const { name, version } = JSON.parse(readFileSync(path.join(at, "package.json"), "utf8"));
      const licence = readdirSync(at).find((file) => /^licen[cs]e/i.test(file));
      if (licence === undefined) throw new Error(`${name} comes without a licence`);
      return `${name} ${version}\n\n${readFileSync(path.join(at, licence), "utf8").trim()}\n`;
    })
    .join(`\n${"-".repeat(80)}\n\n`);
}

if (process.argv[1] === import.meta.filename) await build(path.join(SDK, "dist"));
