/** The platform binds at most so many parameters to one statement. */
const MOST_PARAMETERS = 100;

/** A value that SQLite stores as it is. */
export type Stored = string | number | null;

/** One statement with its bindings. */
export interface Insert {
  readonly text: string;
  readonly values: readonly Stored[];
}

/**
 * Rows of one table as few statements as the platform's bound on parameters allows: a call into a store costs more than the row it writes.
 * Each row has a value for each of the columns (at most 100), in their order.
 */
export function insertsOf(table: string, columns: readonly string[], rows: readonly (readonly Stored[])[]): readonly Insert[] {
  const most = Math.floor(MOST_PARAMETERS / columns.length);
  const inserts: Insert[] = [];
  for (let from = 0; from < rows.length; from += most) {
    const some = rows.slice(from, from + most);
    inserts.push({ text: textFor(table, columns, some.length), values: some.flat() });
  }
  return inserts;
}

/** A store knows a statement that it has prepared by its text, so texts are few: one for each table and number of rows. */
const texts = new Map<string, string>();

function textFor(table: string, columns: readonly string[], rows: number): string {
  const name = `${table} ${columns.length} ${rows}`;
  const known = texts.get(name);
  if (known !== undefined) return known;
  const places = `(${columns.map(() => "?").join(", ")})`;
  const text = `INSERT INTO ${table} (${columns.join(", ")}) VALUES ${Array.from({ length: rows }, () => places).join(", ")}`;
  texts.set(name, text);
  return text;
}
