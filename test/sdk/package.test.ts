import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { install, type Packed, pack } from "./runtimes/package.ts";

const sdk = path.join(import.meta.dirname, "../../sdk");
const root = path.dirname(sdk);

const bundle = async (text: string) => {
  const { outputFiles, metafile } = await build({
    stdin: { contents: text, resolveDir: sdk, loader: "ts" },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    absWorkingDir: root,
    write: false,
    metafile: true,
  });
  const files = Object.keys(metafile.inputs).filter((file) => file !== "<stdin>");
  return { text: outputFiles[0]?.text ?? "", inputs: Object.values(metafile.inputs), files };
};

test("The core entry is at most 8 KB minified and compressed, imports nothing, and looks at no runtime.", async () => {
  const { text, inputs, files } = await bundle('export * from "./src/index.ts";');
  expect(gzipSync(text, { level: 9 }).length).toBeLessThanOrEqual(8 * 1024);
  expect(inputs.flatMap((each) => each.imports.filter((found) => found.external))).toEqual([]);
  expect(files.length).toBeGreaterThanOrEqual(15);
  for (const file of files) {
    expect(readFileSync(path.join(root, file), "utf8"), file).not.toMatch(
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

test("The leases entry adds at most 4.25 KB to the core, minified and compressed, and imports nothing.", async () => {
  const core = await bundle('export * from "./src/index.ts";');
  const both = await bundle('export * from "./src/index.ts"; export * from "./src/leases.ts";');
  const [less, more] = [core, both].map(({ text }) => gzipSync(text, { level: 9 }).length);
  expect((more ?? Number.NaN) - (less ?? Number.NaN)).toBeLessThanOrEqual(4.25 * 1024);
  expect(both.inputs.flatMap((each) => each.imports.filter((found) => found.external))).toEqual([]);
});

/** Every entry is used as its README says, by name and by type. */
const USER = `
import { createSentinel, type Session } from "@agentsentinel/sdk";
import { guard, type Held, resume } from "@agentsentinel/sdk/approvals";
import * as fetching from "@agentsentinel/sdk/fetch";
import { leaseOf, type ClientLease, type LeaseOptions } from "@agentsentinel/sdk/leases";
import { follow, tail, type Following, type LiveEvent } from "@agentsentinel/sdk/live";
import { createTestSentinel, type TestSentinel } from "@agentsentinel/sdk/testing";
import { createLocalSentinel, CostTracker, guardedAction, Ledger, type LedgerStore, LocalEngine, PolicyEngine } from "@agentsentinel/sdk/local";
const sentinel = createSentinel({ url: "https://gate.test", token: "t" });
export const tested: TestSentinel = createTestSentinel({ policy: { version: 1 } });
export const started: [(session: Session) => Following, () => AsyncIterable<LiveEvent>] = [(session) => follow(sentinel, session), () => tail(sentinel)];
export const held: [(session: Session) => () => Promise<number>, () => Promise<Held>] = [
  (session) => guard(session, { action: "a", onHold: "wait" }, () => 1),
  () => resume(sentinel, "ses_1/dec_1"),
];
export const leased = async (session: Session, wish: LeaseOptions): Promise<number> => {
  await using lease: ClientLease = await leaseOf(session, wish);
  return await lease.guard({ action: "a" }, (n: number) => n)(1);
};
class Tools {
  @guardedAction({ name: "search", costUsd: 0.01 })
  search(query: string): number {
    return query.length;
  }
}
export const local = (ledger: LedgerStore): number => createLocalSentinel({ policy: "version: 1", ledger }).guard({ action: "a" }, (n: number) => n)(1);
export const found: number = new Tools().search("x") + CostTracker.getRunTotal() + Ledger.verify().lines;
export const verdict: "allow" | "deny" | "hold" = new LocalEngine().decide({ action: "a" }).verdict;
PolicyEngine.configure({ runBudget: 1 });
export const entries: object = fetching;
`;

describe("The package as it is published", () => {
  let folder = "";
  let project = "";
  let packed: Packed;

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-sdk-"));
    packed = await pack(folder);
    project = path.join(folder, "project");
    install(packed, project);
    writeFileSync(path.join(project, "user.ts"), USER);
  }, 120_000);

  afterAll(() => rmSync(folder, { recursive: true }));

  test("depends on nothing, and has its licence, those of what is bundled in it, and every entry with its types", () => {
    const at = path.join(project, "node_modules/@agentsentinel/sdk");
    const { dependencies = {}, exports } = JSON.parse(readFileSync(path.join(at, "package.json"), "utf8"));
    expect(dependencies).toEqual({});
    expect(readdirSync(path.join(project, "node_modules/@agentsentinel"))).toEqual(["sdk"]);
    expect(Object.keys(exports)).toEqual([".", "./approvals", "./leases", "./live", "./local", "./fetch", "./testing", "./package.json"]);
    const files: readonly string[] = Object.values<string | { types: string; default: string }>(exports).flatMap((entry) =>
      typeof entry === "string" ? [entry] : [entry.types, entry.default],
    );
    expect(files.filter((file) => !existsSync(path.join(at, file)))).toEqual([]);
    expect(readFileSync(path.join(at, "LICENSE"), "utf8")).toBe(readFileSync(path.join(root, "LICENSE"), "utf8"));
    const notices = readFileSync(path.join(at, "dist/THIRD_PARTY_NOTICES.txt"), "utf8");
    for (const library of ["@marcbachmann/cel-js", "fastest-levenshtein", "re2js", "yaml", "zod"]) expect(notices).toContain(`${library} `);
  });

  // Of Node's two ways to be resolved one knows extensions, the other does not ask for any. No library newer than ES2022 is needed.
  test.each([
    ["node16", "node16"],
    ["node20", "node16"],
    ["esnext", "bundler"],
  ])("compiles for who uses all of it with module %s and moduleResolution %s, libraries checked", (module, moduleResolution) => {
    const options = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2022,dom,esnext.disposable", "--skipLibCheck", "false", "--types", ""];
    const how = ["--module", module, ...(module === "node20" ? [] : ["--moduleResolution", moduleResolution])];
    expect(tsc("--ignoreConfig", ...options, ...how, path.join(project, "user.ts"))).toEqual(["", 0]);
  });

  test("compiles without the browser's types, where Node's are there, and takes the global fetch and what is like a browser's storage", () => {
    writeFileSync(
      path.join(project, "node.ts"),
      `${USER}
import { guardFetch, type WebFetch } from "@agentsentinel/sdk/fetch";
import { createStorageCursor, verifyLines } from "@agentsentinel/sdk/local";
export const asked: [WebFetch, typeof fetch] = [fetch, guardFetch({} as Session, { fetch })];
const kept = new Map<string, string>();
export const cursor = createStorageCursor({ getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value) });
export const good: boolean[] = [verifyLines("").ok, verifyLines([""]).ok];
// @ts-expect-error A file's bytes are no text.
verifyLines(new Uint8Array());
`,
    );
    const types = ["--types", "node", "--typeRoots", path.join(root, "node_modules/@types")];
    const options = ["--strict", "--noEmit", "--target", "es2022", "--lib", "es2022", "--skipLibCheck", "false", "--module", "nodenext"];
    expect(tsc("--ignoreConfig", ...options, ...types, path.join(project, "node.ts"))).toEqual(["", 0]);
    writeFileSync(
      path.join(project, "browser.ts"),
      `import { guardFetch } from "@agentsentinel/sdk/fetch";
import { createStorageCursor } from "@agentsentinel/sdk/local";
export const cursor = createStorageCursor(localStorage);
export const asked: typeof fetch = guardFetch({} as never, { fetch: window.fetch });
`,
    );
    const dom = ["--types", "", "--lib", "es2022,dom,esnext.disposable"];
    expect(
      tsc("--ignoreConfig", "--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", ...dom, path.join(project, "browser.ts")),
    ).toEqual(["", 0]);
  }, 60_000);

  test("runs: every entry can be imported, and an error's class is one class in all of them", () => {
    const run = `
import * as core from "@agentsentinel/sdk";
import * as approvals from "@agentsentinel/sdk/approvals";
import * as fetching from "@agentsentinel/sdk/fetch";
import * as leases from "@agentsentinel/sdk/leases";
import * as live from "@agentsentinel/sdk/live";
import * as local from "@agentsentinel/sdk/local";
const following = live.follow(core.createSentinel({ url: "http://127.0.0.1:9", token: "t" }));
local.PolicyEngine.configure({ deniedActions: ["drop"] });
const drop = local.guardedAction({ name: "drop" })(() => 1);
const policy = "rules: [{ effect: permit, actions: [pick], when: inputs.to.matches('^a') }]";
const pick = local.createLocalSentinel({ policy }).guard({ action: "pick" }, ({ to }) => to);
try { drop(); } catch (error) { console.log(error instanceof core.PolicyViolationError, error.code); }
try { pick({ to: "b" }); } catch (error) { console.log(error instanceof core.AgentSentinelError, error.code); }
console.log(pick({ to: "a" }), Object.keys({ ...approvals, ...leases, ...live }).join(), Object.keys(fetching).length > 0, [...local.Ledger.read()].length, local.Ledger.verify().ok);
await following[Symbol.asyncDispose]();
`;
    writeFileSync(path.join(project, "run.mjs"), run);
    const { stdout, stderr } = spawnSync(process.execPath, ["run.mjs"], {
      cwd: project,
      encoding: "utf8",
      env: { ...process.env, AGENT_SENTINEL_HOME: folder },
      timeout: 20_000,
    });
    expect(`${stdout}${stderr}`).toBe("true action_denied\ntrue action_not_allowed\na guard,resume,leaseOf,follow,tail true 1 true\n");
  });
});

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
  const all = [...readFileSync(path.join(sdk, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code = ""]) => code);
  expect(all).toHaveLength(14);
  // Some are programs of their own; the others go on with the first one's session.
  const alone = all.filter((code) => /"@agentsentinel\/sdk\/(?:local|leases|testing)"/.test(code));
  const snippets = all.filter((code) => !alone.includes(code));
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
    alone.forEach((code, place) => {
      writeFileSync(path.join(folder, `alone_${place}.ts`), `${code}${given}`);
    });
    const paths = {
      ...Object.fromEntries(
        ["index", "approvals", "leases", "live", "fetch", "local", "testing"].map((entry) => [
          `@agentsentinel/sdk${entry === "index" ? "" : `/${entry}`}`,
          [path.join(sdk, `src/${entry}.ts`)],
        ]),
      ),
      openai: [path.join(sdk, "../test/node_modules/openai")],
      "@pydantic/genai-prices": [path.join(sdk, "../node_modules/@pydantic/genai-prices")],
    };
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: path.join(sdk, "tsconfig.json"), compilerOptions: { paths, noUnusedLocals: false }, include: ["*.ts"] }),
    );
    expect(tsc("-p", folder)).toEqual(["", 0]);
  });
}, 30_000);
