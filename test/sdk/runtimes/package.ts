import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { build } from "../../../sdk/build.ts";

const SDK = path.join(import.meta.dirname, "../../../sdk");
export const NAME = "@agentsentinel/sdk";

export interface Packed {
  readonly tarball: string;
  /** The package's own `exports`: each entry's subpath and its module. */
  readonly entries: { readonly [subpath: string]: string };
}

/** Builds the package and packs it as it would be published, below `folder` alone: what lies in `sdk/dist` is neither read nor written. */
export async function pack(folder: string): Promise<Packed> {
  const source = path.join(folder, "package");
  mkdirSync(source, { recursive: true });
  for (const file of ["package.json", "README.md", "LICENSE"]) copyFileSync(path.join(SDK, file), path.join(source, file));
  await build(path.join(source, "dist"));
  const [packed]: readonly { readonly filename: string }[] = JSON.parse(
    npm(source, "pack", "--ignore-scripts", "--json", "--pack-destination", folder),
  );
  if (packed === undefined) throw new Error("npm pack has packed nothing");
  const { exports }: { readonly exports: { readonly [subpath: string]: { readonly default: string } | string } } = JSON.parse(
    readFileSync(path.join(source, "package.json"), "utf8"),
  );
  const entries = Object.entries(exports).flatMap(([subpath, to]) => (typeof to === "string" ? [] : [[subpath, to.default] as const]));
  return { tarball: path.join(folder, path.basename(packed.filename)), entries: Object.fromEntries(entries) };
}

/** A project that has installed the tarball, and nothing else. Nothing is asked of any registry. */
export function install({ tarball }: Packed, project: string): void {
  mkdirSync(project, { recursive: true });
  writeFileSync(path.join(project, "package.json"), JSON.stringify({ name: "user", private: true, type: "module" }));
  npm(project, "install", "--offline", "--ignore-scripts", "--no-audit", "--no-fund", tarball);
  if (!existsSync(path.join(project, "node_modules", NAME, "package.json"))) throw new Error("npm has installed nothing");
}

function npm(cwd: string, ...args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync("npm", args, { cwd, encoding: "utf8", env: { ...process.env, npm_config_update_notifier: "false" } });
  if (status !== 0) throw new Error(`npm ${args.join(" ")} failed:\n${stdout}${stderr}`);
  return stdout;
}
