import { spawnSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { expect, test } from "vitest";

const sdk = path.join(import.meta.dirname, "../../sdk");
const root = path.dirname(sdk);

const bundle = async (text: string) => {
  const { outputFiles, metafile } = await build({
    stdin: { contents: text, resolveDir: sdk, loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    write: false,
    metafile: true,
  });
  return { text: outputFiles[0]?.text ?? "", inputs: Object.values(metafile.inputs) };
};

test("The core entry is at most 8 KB minified and compressed, imports nothing, and looks at no runtime.", async () => {
  const { text, inputs } = await bundle('export * from "./src/index.ts";');
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(8 * 1024);
  expect(inputs.flatMap((each) => each.imports.filter((found) => found.external))).toEqual([]);
  for (const file of readdirSync(path.join(sdk, "src"))) {
    expect(readFileSync(path.join(sdk, "src", file), "utf8"), file).not.toMatch(
      /\bprocess\.|\bDeno\b|\bBun\b|\bnavigator\b|\bglobalThis\b|\brequire\(|from "(?!\.\/)/,
    );
  }
});

test("The live entry is at most 3 KB minified and compressed with all that it needs, and imports nothing.", async () => {
  const { text, inputs } = await bundle('export * from "./src/live.ts";');
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(3 * 1024);
  expect(inputs.flatMap((each) => each.imports.filter((found) => found.external))).toEqual([]);
});

test("The approvals entry adds at most 2 KB to the core, minified and compressed, and imports nothing.", async () => {
  const core = await bundle('export * from "./src/index.ts";');
  const both = await bundle('export * from "./src/index.ts"; export * from "./src/approvals.ts";');
  const [less, more] = [core, both].map(({ text }) => gzipSync(text, { level: 9 }).length);
  expect((more ?? Number.NaN) - (less ?? Number.NaN)).toBeLessThanOrEqual(2 * 1024);
  expect(both.inputs.flatMap((each) => each.imports.filter((found) => found.external))).toEqual([]);
});

test("What is built has each exported entry and its types, and who uses all of them needs no newer library than ES2022.", async () => {
  await inFolder(async (folder) => {
    const dist = path.join(folder, "node_modules/@agentsentinel/sdk/dist");
    expect(tsc("-p", path.join(sdk, "tsconfig.build.json"), "--outDir", dist)).toEqual(["", 0]);
    copyFileSync(path.join(sdk, "package.json"), path.join(dist, "../package.json"));
    const user = `
import { createSentinel, type Session } from "@agentsentinel/sdk";
import { guard, type Held, resume } from "@agentsentinel/sdk/approvals";
import { follow, tail, type Following, type LiveEvent } from "@agentsentinel/sdk/live";
const sentinel = createSentinel({ url: "https://gate.test", token: "t" });
export const started: [(session: Session) => Following, () => AsyncIterable<LiveEvent>] = [(session) => follow(sentinel, session), () => tail(sentinel)];
export const held: [(session: Session) => () => Promise<number>, () => Promise<Held>] = [
  (session) => guard(session, { action: "a", onHold: "wait" }, () => 1),
  () => resume(sentinel, "ses_1/dec_1"),
];
`;
    writeFileSync(path.join(folder, "user.mts"), user);
    expect(
      tsc("--ignoreConfig", "--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom", "--module", "node20", path.join(folder, "user.mts")),
    ).toEqual(["", 0]);
    const run =
      'import { createSentinel } from "@agentsentinel/sdk"; import * as live from "@agentsentinel/sdk/live"; import * as approvals from "@agentsentinel/sdk/approvals";';
    writeFileSync(
      path.join(folder, "run.mjs"),
      `${run} await using f = live.follow(createSentinel({ url: "http://127.0.0.1:9", token: "t" })); console.log(Object.keys({ ...approvals, ...live }).join());`,
    );
    expect(spawnSync(process.execPath, [path.join(folder, "run.mjs")], { encoding: "utf8" }).stdout).toBe("guard,resume,follow,tail\n");
  });
}, 60_000);

const tsc = (...args: string[]) => {
  const { stdout, status } = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), ...args], { encoding: "utf8" });
  return [stdout, status];
};

async function inFolder(act: (folder: string) => unknown): Promise<void> {
  const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-sdk-"));
  try {
    await act(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("The README's snippets compile against the SDK as they stand.", async () => {
  const snippets = [...readFileSync(path.join(sdk, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);
  expect(snippets).toHaveLength(7);
  const given = `
declare function readToken(): Promise<string>;
declare function searchWeb(query: string): Promise<string[]>;
declare function sendMoney(to: string): Promise<void>;
declare function writeLog(line: string): void;
declare const queue: { push(text: string): Promise<void>; take(): Promise<string> };
export {};
`;
  await inFolder((folder) => {
    writeFileSync(path.join(folder, "snippets.ts"), `${snippets.join("\n")}${given}`);
    const paths = Object.fromEntries(
      ["index", "approvals", "live"].map((entry) => [
        `@agentsentinel/sdk${entry === "index" ? "" : `/${entry}`}`,
        [path.join(sdk, `src/${entry}.ts`)],
      ]),
    );
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: path.join(sdk, "tsconfig.json"), compilerOptions: { paths }, include: ["snippets.ts"] }),
    );
    expect(tsc("-p", folder)).toEqual(["", 0]);
  });
}, 30_000);
