import type { Miniflare } from "miniflare";
import type { Built } from "./build.ts";

/**
 * Applies to the local database what it has not seen, in order, each migration with its record in one transaction, as
 * `wrangler d1 migrations apply` does and in the same table. Answers the names of those applied now.
 */
export async function migrate(miniflare: Miniflare, migrations: Built["migrations"]): Promise<readonly string[]> {
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
