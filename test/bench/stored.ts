import { globSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";

/** The runtime's own files, read and written past it: to see how large a store is, and to fill one faster than any caller could. */

/** How large a session's own database is, in octets, its free pages not counted. The runtime may run. */
export function sessionOctets(state: string, session: string): number {
  return withObject(state, "SessionAuthority", { readOnly: true }, (db) => {
    if (!has(db, "session") || db.prepare("SELECT 1 FROM session WHERE id = ?").get(session) === undefined) return null;
    const { octets } = one(
      db,
      `SELECT (pages.page_count - free.freelist_count) * size.page_size AS octets
       FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size`,
    );
    return Number(octets);
  });
}

/** A form of ids that can be asked for over HTTP; its number is the entry's place, or that of its session. */
const UUID = "019a9c1e-7f00-7abc-8def-%012x";
const SESSIONS = 1_000;
export const filledId = (prefix: string, number: number): string => `${prefix}_${UUID.replace("%012x", number.toString(16).padStart(12, "0"))}`;

/**
 * Makes a tenant's ledger `total` entries long, in D1 and in the object that gives entries their places. The runtime must be stopped. Entries are copies
 * of the tenant's decisions and commits, each under an id of its own, over 1,000 sessions; nobody can tell them from real ones but by their hashes.
 * D1's triggers are put aside meanwhile: they ask three questions of every row, and what is copied is known to be new.
 */
export function fillLedger(state: string, tenant: string, total: number): void {
  const [file] = globSync(path.join(state, "v3/d1/*/*.sqlite")).filter((name) => !name.endsWith("metadata.sqlite"));
  if (file === undefined) throw new Error("there is no D1 to fill");
  const db = new DatabaseSync(file);
  try {
    db.exec("PRAGMA synchronous = OFF");
    const { first } = one(db, "SELECT max(idx) + 1 AS first FROM entries WHERE tenant = ?", tenant);
    const triggers = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'entries'").all();
    db.exec("BEGIN");
    for (const { name } of triggers) db.exec(`DROP TRIGGER ${name}`);
    // As whole numbers: a number of ours would be stored as a REAL.
    db.prepare(
      `WITH RECURSIVE
         place(idx) AS (SELECT :first UNION ALL SELECT idx + 1 FROM place WHERE idx + 1 < :total),
         example AS MATERIALIZED (
           SELECT *, row_number() OVER (ORDER BY idx) - 1 AS turn, count(*) OVER () AS turns
           FROM (SELECT * FROM entries WHERE tenant = :tenant AND kind IN ('decision', 'commit') ORDER BY idx DESC LIMIT 100))
       INSERT INTO entries
       SELECT tenant, place.idx, printf('ent_${UUID}', place.idx), kind, printf('ses_${UUID}', place.idx % ${SESSIONS}), place.idx / ${SESSIONS} + 1,
         printf('run_${UUID}', place.idx % ${SESSIONS}), agent, action, tags, printf('dec_${UUID}', place.idx), verdict, reason, outcome,
         at_ms - (:total - place.idx) * 1000, cost_micro_usd, corrected_micro_usd, printf('%064x', place.idx), prev_hash, canonical
       FROM place JOIN example ON example.turn = place.idx % example.turns
       ORDER BY place.idx`,
    ).run({ first: BigInt(String(first)), total: BigInt(total), tenant });
    for (const { sql } of triggers) db.exec(String(sql));
    db.exec("COMMIT");
    db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  } finally {
    db.close();
  }
  withObject(state, "TenantLedger", {}, (ledger) => {
    if (!has(ledger, "chains") || ledger.prepare("SELECT 1 FROM chains WHERE chain = ?").get(tenant) === undefined) return null;
    ledger.prepare("UPDATE progress SET accepted = ?, shipped = ?").run(total, total);
    return true;
  });
}

/** Opens the objects of a class one after the other until `look` finds something in one of them. */
function withObject<T>(state: string, className: string, options: { readonly readOnly?: boolean }, look: (db: DatabaseSync) => T | null): T {
  for (const file of globSync(path.join(state, `v3/do/agentsentinel-${className}/*.sqlite`))) {
    const db = new DatabaseSync(file, options);
    try {
      const found = look(db);
      if (found !== null) return found;
    } finally {
      db.close();
    }
  }
  throw new Error(`no ${className} has it`);
}

const has = (db: DatabaseSync, table: string): boolean => db.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?").get(table) !== undefined;

function one(db: DatabaseSync, sql: string, ...values: readonly string[]) {
  const row = db.prepare(sql).get(...values);
  if (row === undefined) throw new Error(`nothing found by: ${sql}`);
  return row;
}
