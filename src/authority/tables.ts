import { assert } from "../core/assert.ts";

/** One step of an object's schema. Steps are only ever added at the end. */
export type SchemaStep = string;

/** `newest`: what all the steps come to, for an object that has no tables yet. Where it is left out, a new object takes the steps as well. */
export interface Schema {
  readonly steps: readonly SchemaStep[];
  readonly newest?: string;
}

/**
 * Whether an object's tables exist. Reading this writes nothing, so that asking for an object that was never opened leaves no trace.
 */
export const hasTables = (sql: SqlStorage): boolean =>
  sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'").toArray().length > 0;

/** Brings an object's tables to the newest step, in the transaction around it. */
export function bringTables(sql: SqlStorage, { steps, newest }: Schema): void {
  sql.exec(
    "CREATE TABLE IF NOT EXISTS schema_version (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL CHECK (version >= 0)) STRICT",
  );
  const at = sql.exec<{ version: number }>("SELECT version FROM schema_version").toArray()[0]?.version ?? 0;
  assert(at <= steps.length, "the stored tables are no newer than this code");
  const scripts = at === 0 && newest !== undefined ? [newest] : steps.slice(at);
  for (const script of scripts) sql.exec(script);
  if (at < steps.length)
    sql.exec("INSERT INTO schema_version (one, version) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET version = excluded.version", steps.length);
}
