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
    // Whoever falls meanwhile starts anew: nothing is written twice for the sake of a database that nobody else has.
    for (const setting of ["synchronous = OFF", "journal_mode = OFF", "cache_size = -262144"]) db.exec(`PRAGMA ${setting}`);
    const { first } = one(db, "SELECT max(idx) + 1 AS first FROM entries WHERE tenant = ?", tenant);
    const triggers = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'entries'").all();
    db.exec("BEGIN");
    for (const { name } of triggers) db.exec(`DROP TRIGGER ${name}`);
    // Found by their turn: looked through for each of a million rows they would take most of the time.
    db.prepare(
      `CREATE TEMP TABLE examples AS SELECT row_number() OVER (ORDER BY idx) - 1 AS turn, *
       FROM (SELECT * FROM main.entries WHERE tenant = ? AND kind IN ('decision', 'commit') ORDER BY idx DESC LIMIT 100)`,
    ).run(tenant);
    db.exec("CREATE UNIQUE INDEX temp.examples_by_turn ON examples (turn)");
    // As whole numbers: a number of ours would be stored as a REAL.
    db.prepare(
      `WITH RECURSIVE place(idx) AS (SELECT :first UNION ALL SELECT idx + 1 FROM place WHERE idx + 1 < :total)
       INSERT INTO entries
       SELECT tenant, place.idx, printf('ent_${UUID}', place.idx), kind, printf('ses_${UUID}', place.idx % ${SESSIONS}), place.idx / ${SESSIONS} + 1,
         printf('run_${UUID}', place.idx % ${SESSIONS}), agent, action, tags, printf('dec_${UUID}', place.idx), verdict, reason, outcome,
         at_ms - (:total - place.idx) * 1000, cost_micro_usd, corrected_micro_usd, printf('%064x', place.idx), prev_hash, canonical
       FROM place CROSS JOIN examples ON examples.turn = place.idx % (SELECT count(*) FROM examples)`,
    ).run({ first: BigInt(String(first)), total: BigInt(total) });
    for (const { sql } of triggers) db.exec(String(sql));
    db.exec("COMMIT");
    db.exec("PRAGMA journal_mode = WAL");
  } finally {
    db.close();
  }
  withObject(state, "TenantLedger", {}, (ledger) => {
    if (!has(ledger, "chains") || ledger.prepare("SELECT 1 FROM chains WHERE chain = ?").get(tenant) === undefined) return null;
    ledger.prepare("UPDATE progress SET accepted = ?, shipped = ?").run(total, total);
    return true;
  });
}

/**
 * Makes a tenant have `total` sessions that live: copies of one that it admitted, opened one after the other before it, none of which expires or loses its lease
 * within a day. The runtime must be stopped. They are in the tenant's own object alone, which is what all that is done for one session of many goes through:
 * whatever is told to every session would find nobody there.
 */
export function fillSessions(state: string, tenant: string, total: number): void {
  withObject(state, "TenantAuthority", {}, (db) => {
    if (!has(db, "tenant") || db.prepare("SELECT 1 FROM tenant WHERE id = ?").get(tenant) === undefined) return null;
    db.prepare(
      `WITH RECURSIVE
         had AS MATERIALIZED (SELECT count(*) AS sessions FROM sessions),
         place(n) AS (SELECT sessions FROM had UNION ALL SELECT n + 1 FROM place WHERE n + 1 < :total),
         example AS MATERIALIZED (SELECT * FROM sessions ORDER BY opened_at LIMIT 1)
       INSERT INTO sessions (id, agent, labels, opened_at, expires_at, lease_ends_at)
       SELECT printf('ses_${UUID}', n), agent, labels, opened_at - :total + n, expires_at + 86400000, lease_ends_at + 86400000
       FROM place JOIN example WHERE n < :total`,
    ).run({ total: BigInt(total) });
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
