import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { MAKERS } from "./keys.ts";

export interface Secrets {
  readonly values: { readonly [name: string]: string };
  /** Names of those that were made just now and written to the file. */
  readonly made: readonly string[];
  /** Where each one came from, for the person who looks for it. */
  readonly origin: { readonly [name: string]: "environment" | "file" };
}

/**
 * The secrets a local gateway needs: from the environment, else from the file, else made and added to the file, which only its owner can
 * read. What the file holds besides stays as it is.
 */
export function readSecrets(file: string, names: readonly string[], environment: { readonly [name: string]: string | undefined }): Secrets {
  const text = existsSync(file) ? readFileSync(file, "utf8") : "";
  const written = parseEnv(text);
  const values: { [name: string]: string } = {};
  const origin: { [name: string]: "environment" | "file" } = {};
  const made: string[] = [];
  for (const name of names) {
    const given = environment[name];
    const found = given || written[name];
    const make = MAKERS[name];
    if (found === undefined || found === "") {
      if (make === undefined) throw new Error(`wrangler.toml requires the secret ${name}, which src/local/keys.ts does not know how to make.`);
      values[name] = make();
      made.push(name);
    } else {
      values[name] = found;
    }
    origin[name] = given ? "environment" : "file";
  }
  if (made.length > 0) {
    const heading = text === "" ? "# Secrets of the gateway on this machine, made by `npm start`. Not for production, never committed.\n" : "";
    const gap = text === "" || text.endsWith("\n") ? "" : "\n";
    // Written beside and moved into place: a crash leaves the old file or the new one, never half a key.
    writeFileSync(`${file}.new`, `${text}${gap}${heading}${made.map((name) => `${name}='${values[name]}'\n`).join("")}`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  return { values, made, origin };
}
