import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { build } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { install, NAME, type Packed, pack } from "./runtimes/package.ts";

/** The package as it would be published: what is in it, and whether everybody's tools can read it. */
describe("the packed package", { timeout: 120_000 }, () => {
  let home: string;
  let packed: Packed;
  /** Where it is installed in a project that has nothing else. */
  let installed: string;
  beforeAll(async () => {
    home = mkdtempSync(path.join(tmpdir(), "agentsentinel-packaging-"));
    packed = await pack(home);
    install(packed, path.join(home, "project"));
    installed = path.join(home, "project/node_modules", NAME);
  }, 120_000);
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  const files = (): readonly string[] => readdirSync(installed, { recursive: true, encoding: "utf8" });

  it("has every entry with its types, the licences and the page, and nothing else", () => {
    const { exports }: { readonly exports: { readonly [subpath: string]: { readonly types: string; readonly default: string } } } = JSON.parse(
      readFileSync(path.join(installed, "package.json"), "utf8"),
    );
    expect(Object.keys(packed.entries)).toEqual(
      expect.arrayContaining([".", "./approvals", "./fetch", "./leases", "./live", "./local", "./testing"]),
    );
    const named = Object.keys(packed.entries).flatMap((entry) => [exports[entry]?.types ?? entry, exports[entry]?.default ?? entry]);
    expect(files()).toEqual(expect.arrayContaining([...named.map((file) => path.normalize(file)), "LICENSE", "README.md", "package.json"]));
    const wanted = /^(?:dist(?:\/|$)(?:.*\.js|.*\.d\.ts|THIRD_PARTY_NOTICES\.txt|[\w/]*)|LICENSE|README\.md|package\.json)$/;
    expect(files().filter((file) => !wanted.test(file))).toEqual([]);
  });

  it("depends on nothing, runs nothing when it is installed, and names no place on the machine that built it", () => {
    const manifest: Record<string, unknown> = JSON.parse(readFileSync(path.join(installed, "package.json"), "utf8"));
    for (const member of ["dependencies", "optionalDependencies", "peerDependencies", "bundleDependencies"])
      expect(manifest).not.toHaveProperty(member);
    expect(Object.keys(Object(manifest.scripts)).filter((name) => /^(?:(?:pre|post)?install|prepare)$/.test(name))).toEqual([]);
    const texts = files().filter((file) => /\.(?:js|ts|json|md|txt)$/.test(file));
    const root = path.resolve(import.meta.dirname, "../..");
    expect(texts.filter((file) => [root, home].some((place) => readFileSync(path.join(installed, file), "utf8").includes(place)))).toEqual([]);
  });

  it("has no long line, since of an error that nobody caught Node shows the line from which it comes", () => {
    const longest = files()
      .filter((file) => file.endsWith(".js"))
      .map((file) =>
        Math.max(
          ...readFileSync(path.join(installed, file), "utf8")
            .split("\n")
            .map((line) => line.length),
        ),
      );
    // A library's regular expressions are as long as they are.
    expect(Math.max(...longest)).toBeLessThanOrEqual(600);
    const script = `import { createLocalSentinel } from "${NAME}/local"; createLocalSentinel({ policy: "version: 2" });`;
    const { stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { cwd: path.join(home, "project"), encoding: "utf8" });
    expect(stderr).toMatch(/version/);
    expect(stderr.length).toBeLessThan(4_000);
  });

  it("is found clean by publint", async () => {
    const tarball = readFileSync(packed.tarball);
    const { messages, pkg } = await publint({
      pack: { tarball: tarball.buffer.slice(tarball.byteOffset, tarball.byteOffset + tarball.byteLength) },
      strict: true,
    });
    expect(messages.map((message) => `${message.type}: ${formatMessage(message, pkg, { color: false })}`)).toEqual([]);
  });

  it("has types that every resolution of modules finds, as are-the-types-wrong sees them", () => {
    const attw = path.join(import.meta.dirname, "../node_modules/@arethetypeswrong/cli/dist/index.js");
    const { stdout, stderr } = spawnSync(
      process.execPath,
      [attw, packed.tarball, "--format", "json", "--profile", "esm-only", "--no-definitely-typed"],
      { encoding: "utf8" },
    );
    expect(stdout, stderr).toMatch(/^\s*\{/);
    const { analysis }: { readonly analysis: { readonly types: unknown; readonly entrypoints: object; readonly problems: readonly Problem[] } } =
      JSON.parse(stdout);
    expect(analysis.types).toMatchObject({ kind: "included" });
    expect(Object.keys(analysis.entrypoints)).toEqual(expect.arrayContaining(Object.keys(packed.entries)));
    // The package is of ES modules alone, and `exports` is how it has entries: what came before either is not asked.
    expect(analysis.problems.filter(({ resolutionKind }) => resolutionKind !== "node10" && resolutionKind !== "node16-cjs")).toEqual([]);
  });

  it("imports nothing but itself, from any entry, and of Node's modules nothing at all", async () => {
    for (const entry of Object.keys(packed.entries)) {
      const { metafile } = await build({
        stdin: { contents: `export * from ${JSON.stringify(path.posix.join(NAME, entry))};`, resolveDir: path.join(home, "project") },
        bundle: true,
        format: "esm",
        platform: "neutral",
        conditions: ["import"],
        external: ["node:*"],
        write: false,
        metafile: true,
      });
      const inputs = Object.entries(metafile.inputs);
      expect(inputs.length, entry).toBeGreaterThan(1);
      expect(
        inputs.flatMap(([file, { imports }]) => imports.filter(({ external }) => external).map(({ path: wanted }) => `${file}: ${wanted}`)),
        entry,
      ).toEqual([]);
      const outside = inputs.map(([file]) => file).filter((file) => file !== "<stdin>" && !path.resolve(file).startsWith(installed));
      expect(outside, entry).toEqual([]);
    }
  });

  it("keeps what is large out of the core: no entry but its own reaches the local engine", () => {
    const reached = new Set<string>();
    const walk = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      const text = readFileSync(path.join(installed, file), "utf8");
      for (const [, wanted = ""] of text.matchAll(/(?:from|import)\s*\(?"(\.[^"]+)"/g)) walk(path.join(path.dirname(file), wanted));
    };
    for (const [entry, file] of Object.entries(packed.entries)) if (entry !== "./local" && entry !== "./testing") walk(path.normalize(file));
    expect([...reached].filter((file) => file.includes("local"))).toEqual([]);
    expect(reached.size).toBeGreaterThan(10);
  });
});

interface Problem {
  readonly kind: string;
  readonly resolutionKind?: string;
}
