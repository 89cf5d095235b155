import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

/** The files of this repository that a file names in its imports. Paths are relative to the root. */
export function importedBy(root: string, file: string): readonly string[] {
  const text = readFileSync(path.join(root, file), "utf8");
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]*)"/g)]
    .map(([, name = ""]) => path.join(path.dirname(file), name))
    .filter((imported) => imported.endsWith(".ts") && existsSync(path.join(root, imported)));
}

/** The files of this repository that a file imports, itself among them, straight or by way of others. Paths are relative to the root. */
export function importsOf(root: string, file: string, known = new Set<string>()): ReadonlySet<string> {
  if (known.has(file)) return known;
  known.add(file);
  for (const imported of importedBy(root, file)) importsOf(root, imported, known);
  return known;
}
