import { getTableColumns, getTableName, type Table } from "drizzle-orm";
import { payloadRowOf } from "./row.ts";
import { type EntryRow, entries, type PayloadRow, payloads } from "./schema.ts";

/**
 * Writes rows to D1 in one transaction, one statement a table whatever the number of rows. Doing it again changes nothing: entries that are there
 * are passed over, and payloads go in before their entries because none is taken once its entry is there (it may have been erased since).
 * Throws when D1 does not confirm, in which case it may have been done all the same.
 */
export async function writeRows(db: D1Database, entryRows: readonly EntryRow[], payloadRows: readonly PayloadRow[]): Promise<void> {
  const statements = [db.prepare(INSERT_ENTRIES.sql).bind(INSERT_ENTRIES.textOf(entryRows))];
  if (payloadRows.length > 0) statements.unshift(db.prepare(INSERT_PAYLOADS.sql).bind(INSERT_PAYLOADS.textOf(payloadRows)));
  await db.batch(statements);
}

/** Whether a row, and what lies beside its entry, are alone small enough for D1: a bound parameter and a row are at most 2 MB each. */
export function fitsD1(entryRow: EntryRow, beside: string | null): boolean {
  if (entryRow.canonical.length + (beside?.length ?? 0) <= SURELY_FITTING) return true;
  return couldFit(entryRow) && (beside === null || couldFit(payloadRowOf(entryRow.tenant, entryRow.id, beside)));
}

const MOST_OCTETS = 1_900_000;
/** Texts of this many characters together fit however they are written: a character is at most six octets of JSON, and the rest of a row is small. */
const SURELY_FITTING = 100_000;

function couldFit(row: EntryRow | PayloadRow | null): boolean {
  const text = JSON.stringify(row);
  // A UTF-16 unit is at most three octets of UTF-8, so that short texts need no count.
  return text.length * 3 <= MOST_OCTETS || new TextEncoder().encode(text).length <= MOST_OCTETS;
}

/**
 * Rows travel as JSON arrays, a value for each column of the typed schema in its order: SQLite finds a place faster than a name. Each row is materialized
 * once: `json_each` would print it again for every column that asks for it.
 */
function insertFromJson<Row extends object>(table: Table) {
  const columns = Object.entries(getTableColumns(table));
  const names = columns.map(([, column]) => column.name).join(", ");
  const values = columns.map((_, place) => `row ->> ${place}`).join(", ");
  return {
    sql: `WITH rows (row) AS MATERIALIZED (SELECT value FROM json_each(?)) INSERT INTO ${getTableName(table)} (${names}) SELECT ${values} FROM rows`,
    // The members of a row are those of its table's typed schema.
    textOf: (rows: readonly Row[]) => JSON.stringify(rows.map((row) => columns.map(([member]) => row[member as keyof Row]))),
  };
}

const INSERT_ENTRIES = insertFromJson<EntryRow>(entries);
const INSERT_PAYLOADS = insertFromJson<PayloadRow>(payloads);
