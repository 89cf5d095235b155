import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** The files of this repository that a file imports, itself among them, straight or by way of others. Paths are relative to the root. */
export function importsOf(root: string, file: string, known = new Set<string>()): ReadonlySet<string> {
  if (known.has(file)) return known;
  known.add(file);
  const text = readFileSync(path.join(root, file), "utf8");
  for (const [, name = ""] of text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]*)"/g)) {
    const imported = path.join(path.dirname(file), name);
    if (imported.endsWith(".ts") && existsSync(path.join(root, imported))) importsOf(root, imported, known);
  }
  return known;
}
