import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
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

test("The README's snippets compile against the SDK as they stand.", () => {
  const snippets = [...readFileSync(path.join(sdk, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code);
  expect(snippets).toHaveLength(3);
  const given = `
declare function readToken(): Promise<string>;
declare function searchWeb(query: string): Promise<string[]>;
declare function sendMoney(to: string): Promise<void>;
declare function writeLog(line: string): void;
export {};
`;
  const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-readme-"));
  try {
    writeFileSync(path.join(folder, "snippets.ts"), `${snippets.join("\n")}${given}`);
    const paths = { "@agentsentinel/sdk": [path.join(sdk, "src/index.ts")] };
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: path.join(sdk, "tsconfig.json"), compilerOptions: { paths }, include: ["snippets.ts"] }),
    );
    const { stdout, status } = spawnSync(process.execPath, [path.join(root, "node_modules/typescript/bin/tsc"), "-p", folder], { encoding: "utf8" });
    expect([stdout, status]).toEqual(["", 0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 30_000);
