import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { SESSION_TABLES } from "../../src/authority/session_tables.ts";
import { bringTables, type Schema } from "../../src/authority/tables.ts";

/** What an object's tables and indexes are, however their text is spaced, after it was given this schema as a new one. */
function madeFrom(schema: Schema): Promise<readonly string[]> {
  return runInDurableObject(env.SESSIONS.getByName(crypto.randomUUID()), (_, { storage }) => {
    storage.transactionSync(() => bringTables(storage.sql, schema));
    const { version } = storage.sql.exec<{ version: number }>("SELECT version FROM schema_version").one();
    const made = storage.sql
      .exec<{ sql: string }>("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")
      .toArray()
      .map(({ sql }) => sql.replaceAll(/\s+/g, " ").replaceAll(/ ?([(),]) ?/g, "$1"));
    return [`version ${version}`, ...made.sort()];
  });
}

it("a new session has the tables that all the steps lead to, and is at the last of them", async () => {
  const made = await madeFrom(SESSION_TABLES);
  expect(made).toEqual(await madeFrom({ steps: SESSION_TABLES.steps }));
  expect(made.length).toBeGreaterThan(15);
});
