import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { agreement, databaseId, withDatabaseId } from "../../src/local/deployment.ts";
import { ROOT } from "./gateway.ts";

const env =
  'import type { X } from "./x.ts";\n\nexport interface Env {\n  readonly DB: D1Database;\n  readonly OBJECTS: X<Y>;\n  readonly KEY: string;\n}\n';
const good = { bindings: ["DB", "OBJECTS"], secrets: ["KEY"], classes: ["Y"], migratedClasses: ["Y"] };

describe("the agreement of wrangler.toml, Env and the makers of secrets", () => {
  it.each<[string, Parameters<typeof agreement>, RegExp[]]>([
    ["is silent when all is named", [good, env, ["KEY"]], []],
    ["names a binding that Env lacks", [{ ...good, bindings: [...good.bindings, "QUEUE"] }, env, ["KEY"]], [/^wrangler.toml names QUEUE/]],
    ["names a member of Env that nothing binds", [{ ...good, bindings: ["DB"] }, env, ["KEY"]], [/^Env .* names OBJECTS/]],
    [
      "names a secret that Env lacks and nobody can make",
      [{ ...good, secrets: ["KEY", "PIN"] }, env, ["KEY"]],
      [/names PIN/, /requires the secret PIN/],
    ],
    ["names a secret that is made and not required", [good, env, ["KEY", "PIN"]], [/makes the secret PIN/]],
    ["names a class without a migration", [{ ...good, migratedClasses: [] }, env, ["KEY"]], [/the class Y/]],
    [
      "names a secret that stands in the open",
      [{ ...good, bindings: [...good.bindings, "KEY"] }, env, ["KEY"]],
      [/KEY both as a secret and in the open/],
    ],
    ["says when there is no Env at all", [good, "", ["KEY"]], [/no `export interface Env/]],
  ])("%s", (_what, args, sentences) => {
    const found = agreement(...args);
    expect(found).toHaveLength(sentences.length);
    for (const [i, sentence] of sentences.entries()) expect(found[i]).toMatch(sentence);
  });
});

describe("the database's id in wrangler.toml", () => {
  it("is replaced, and nothing else changes", () => {
    const text = readFileSync(`${ROOT}/wrangler.toml`, "utf8");
    const changed = withDatabaseId(text, "11111111-2222-3333-4444-555555555555");
    expect(databaseId(changed)).toBe("11111111-2222-3333-4444-555555555555");
    expect(withDatabaseId(changed, databaseId(text))).toBe(text);
  });

  it.each(["", '# database_id = "a"', 'database_id = "a"\ndatabase_id = "b"'])("is not guessed in %j", (text) =>
    expect(() => withDatabaseId(text, "x")).toThrow("one is expected"),
  );
});

describe("npm run deploy", () => {
  const deploy = (...args: string[]) => spawnSync("npm", ["run", "-s", "deploy", "--", ...args], { cwd: ROOT, encoding: "utf8" });

  it("-- --dry-run builds what would be uploaded and finds every binding and secret named", () => {
    const before = readFileSync(`${ROOT}/wrangler.toml`, "utf8");
    const ran = deploy("--dry-run");
    expect(ran.stderr).toBe("");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/Total Upload[\s\S]*env\.SESSIONS \(SessionAuthority\)[\s\S]*env\.DB[\s\S]*Nothing was changed\./);
    expect(readFileSync(`${ROOT}/wrangler.toml`, "utf8")).toBe(before);
  }, 60_000);

  it("ends with 2 and its usage for a flag it does not know, and with 0 when asked for it", () => {
    const mistake = deploy("--dry");
    expect([mistake.status, mistake.stderr]).toEqual([2, expect.stringContaining("Usage: npm run deploy")]);
    const help = deploy("--help");
    expect([help.status, help.stdout]).toEqual([0, expect.stringContaining("--dry-run")]);
  }, 30_000);
});
