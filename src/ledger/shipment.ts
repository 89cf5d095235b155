import { getTableColumns, getTableName, type Table } from "drizzle-orm";
import { type EntryRow, entries, type PayloadRow, payloads } from "./schema.ts";

/**
 * Writes rows to D1 in one transaction, one statement a table whatever the number of rows. Doing it again changes nothing: entries that are there
 * are passed over, and payloads go in before their entries because none is taken once its entry is there (it may have been erased since).
 * Throws when D1 does not confirm, in which case it may have been done all the same.
 */
export async function writeRows(db: D1Database, entryRows: readonly EntryRow[], payloadRows: readonly PayloadRow[]): Promise<void> {
  const statements = [db.prepare(INSERT_ENTRIES).bind(JSON.stringify(entryRows))];
  if (payloadRows.length > 0) statements.unshift(db.prepare(INSERT_PAYLOADS).bind(JSON.stringify(payloadRows)));
  await db.batch(statements);
}

/** Whether these rows, alone, are small enough for D1: a bound parameter and a row are at most 2 MB each. */
export function fitsD1(entryRow: EntryRow, payloadRow: PayloadRow | null): boolean {
  const characters = entryRow.canonical.length + (payloadRow?.inputs?.length ?? 0) + (payloadRow?.outputs?.length ?? 0);
  if (characters <= SURELY_FITTING) return true;
  return couldFit(entryRow) && (payloadRow === null || couldFit(payloadRow));
}

const MOST_OCTETS = 1_900_000;
/** Texts of this many characters together fit however they are written: a character is at most six octets of JSON, and the rest of a row is small. */
const SURELY_FITTING = 100_000;

function couldFit(row: EntryRow | PayloadRow): boolean {
  const text = JSON.stringify(row);
  // A UTF-16 unit is at most three octets of UTF-8, so that short texts need no count.
  return text.length * 3 <= MOST_OCTETS || new TextEncoder().encode(text).length <= MOST_OCTETS;
}

/** Rows arrive as a JSON array of objects with the members of the typed schema; what they lack is NULL. */
function insertFromJson(table: Table): string {
  const columns = Object.entries(getTableColumns(table));
  const names = columns.map(([, column]) => column.name).join(", ");
  const values = columns.map(([member]) => `value ->> '$.${member}'`).join(", ");
  return `INSERT INTO ${getTableName(table)} (${names}) SELECT ${values} FROM json_each(?)`;
}

const INSERT_ENTRIES = insertFromJson(entries);
const INSERT_PAYLOADS = insertFromJson(payloads);
