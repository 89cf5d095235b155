import { readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Miniflare } from "miniflare";
import type { Built } from "./build.ts";

type Migrations = Built["migrations"];

/**
 * Applies to the local database what it has not seen, in order, each migration with its record in one transaction, as
 * `wrangler d1 migrations apply` does and in the same table. Answers the names of those applied now.
 */
export async function migrate(miniflare: Miniflare, migrations: Migrations): Promise<readonly string[]> {
  const db = await miniflare.getD1Database("DB");
  await db
    .prepare(
      `CREATE TABLE IF NOT EXISTS d1_migrations (
         id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL)`,
    )
    .run();
  const { results } = await db.prepare("SELECT name FROM d1_migrations").all<{ name: string }>();
  const seen = new Set(results.map((row) => row.name));
  const fresh = migrations.filter((migration) => !seen.has(migration.name));
  for (const { name, statements } of fresh) {
    await db.batch([...statements.map((statement) => db.prepare(statement)), db.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name)]);
  }
  return fresh.map((migration) => migration.name);
}

const noteFile = (state: string): string => path.join(state, "migrations.json");

/** Whether a state is known to have all of these. Nothing is known of one that no start has noted it of: an older version of this code left it. */
export function isMigrated(state: string, migrations: Migrations): boolean {
  try {
    const noted: unknown = JSON.parse(readFileSync(noteFile(state), "utf8"));
    return Array.isArray(noted) && migrations.every(({ name }) => noted.includes(name));
  } catch {
    // None, or half of one: whoever starts then finds out from the database itself.
    return false;
  }
}

/** Notes that a state has all of these. */
export function noteMigrated(state: string, migrations: Migrations): void {
  if (isMigrated(state, migrations)) return;
  writeFileSync(`${noteFile(state)}.new`, JSON.stringify(migrations.map(({ name }) => name)));
  renameSync(`${noteFile(state)}.new`, noteFile(state));
}
