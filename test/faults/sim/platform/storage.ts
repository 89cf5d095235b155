import { DatabaseSync, type StatementSync } from "node:sqlite";

type Row = Record<string, string | number | null>;
type Value = string | number | null;

interface Prepared {
  readonly statement: StatementSync;
  readonly writes: boolean;
}

const WRITES = /^\s*(INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|REPLACE)/i;

/**
 * The storage of one object: SQLite in memory. What is written waits to become durable; until then a crash undoes it, all of it back to what was durable
 * before. The alarm is written with the rest.
 */
export class Storage {
  readonly db = new DatabaseSync(":memory:");
  /** Whether anything was written that is not durable yet. */
  isDirty = false;
  alarmAt: number | null = null;
  /** An alarm that rings is set no more, and is forgotten only when it has rung. */
  isRinging = false;
  #durableAlarm: number | null = null;
  #isOpen = false;
  readonly #prepared = new Map<string, Prepared>();

  exec(query: string, ...bindings: Value[]): Cursor {
    // Several statements at once come without bindings, and are schemas.
    if (bindings.length === 0 && query.trimEnd().replace(/;$/, "").includes(";")) {
      this.#begin(true);
      this.db.exec(query);
      return new Cursor([]);
    }
    const prepared = this.#prepare(query);
    if (prepared.writes) this.#begin(true);
    // node:sqlite gives rows of text, whole numbers and NULL: the tables are STRICT and hold nothing else.
    return new Cursor(prepared.statement.all(...bindings) as Row[]);
  }

  transactionSync<T>(act: () => T): T {
    this.#begin(false);
    this.db.exec("SAVEPOINT act");
    try {
      const result = act();
      this.db.exec("RELEASE act");
      return result;
    } catch (fault) {
      this.db.exec("ROLLBACK TO act");
      this.db.exec("RELEASE act");
      throw fault;
    }
  }

  setAlarm(at: number | null): void {
    this.#begin(true);
    this.alarmAt = at;
  }

  /** What was written is there for good. */
  makeDurable(): void {
    this.isDirty = false;
    if (this.#isOpen) this.db.exec("COMMIT");
    this.#isOpen = false;
    if (!this.isRinging || this.alarmAt !== null) this.#durableAlarm = this.alarmAt;
  }

  /** What was not durable never was. */
  undo(): void {
    if (this.#isOpen) this.db.exec("ROLLBACK");
    this.#isOpen = false;
    this.isDirty = false;
    this.alarmAt = this.#durableAlarm;
  }

  /** The durable alarm, whatever was written since. */
  get durableAlarm(): number | null {
    return this.#durableAlarm;
  }

  /** Looks at what is there, as nobody in the world can. */
  look<T>(query: string, ...bindings: Value[]): T[] {
    // The caller names the columns that it selects.
    return this.#prepare(query).statement.all(...bindings) as T[];
  }

  hasTable(name: string): boolean {
    return this.look("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name).length > 0;
  }

  close(): void {
    this.#prepared.clear();
    this.db.close();
  }

  #begin(dirties: boolean): void {
    if (!this.#isOpen) this.db.exec("BEGIN");
    this.#isOpen = true;
    if (dirties) this.isDirty = true;
  }

  #prepare(query: string): Prepared {
    const known = this.#prepared.get(query);
    if (known !== undefined) return known;
    const prepared = { statement: this.db.prepare(query), writes: WRITES.test(query) };
    this.#prepared.set(query, prepared);
    return prepared;
  }
}

/** What a query found, read whole at once. */
class Cursor {
  readonly #rows: readonly Row[];

  constructor(rows: readonly Row[]) {
    this.#rows = rows;
  }

  toArray(): Row[] {
    return [...this.#rows];
  }

  one(): Row {
    const [only] = this.#rows;
    if (only === undefined || this.#rows.length !== 1) throw new Error(`Expected exactly one result from SQL query, but got ${this.#rows.length}.`);
    return only;
  }

  [Symbol.iterator](): Iterator<Row> {
    return this.#rows[Symbol.iterator]();
  }
}
