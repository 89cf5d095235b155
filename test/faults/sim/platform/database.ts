import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { type Network, Outage } from "./network.ts";
import type { Party, World } from "./world.ts";

type Value = string | number | null;

/** How often it breaks its word, where it does. */
const LOST = 0.25;
const MIGRATIONS = path.resolve(import.meta.dirname, "../../../../migrations");

/**
 * D1: the real tables in SQLite. A call of it fails before it did anything, or after it did everything, or nobody hears of it for long; a batch is one
 * transaction.
 */
export class Database implements Party {
  readonly name = "D1";
  readonly offsetMs = 0;
  readonly life = 0;
  readonly db = new DatabaseSync(":memory:");
  /** Called when something may have been written. */
  written: () => void = () => undefined;
  /** Called when a statement was refused: the gateway sends none that can be. */
  broke: (fault: unknown) => void = () => undefined;
  readonly #world: World;
  readonly #network: Network;
  readonly #prepared = new Map<string, { readonly rows: StatementSync; readonly arrays: StatementSync }>();

  readonly #loses: boolean;

  /** `loses`: it breaks its word, and says of some batches that it wrote them and did not. */
  constructor(world: World, network: Network, loses: boolean) {
    this.#world = world;
    this.#network = network;
    this.#loses = loses;
    for (const file of readdirSync(MIGRATIONS)
      .filter((name) => name.endsWith(".sql"))
      .sort())
      this.db.exec(readFileSync(path.join(MIGRATIONS, file), "utf8"));
  }

  emit(send: () => void): void {
    send();
  }

  settle(): void {}

  prepare(query: string): Statement {
    return new Statement(this, query, []);
  }

  async batch(statements: readonly Statement[]): Promise<unknown> {
    return this.run("batch", () => {
      this.db.exec("BEGIN");
      try {
        const results = statements.map((statement) => this.all(statement.query, statement.values));
        this.db.exec(this.#loses && this.#world.random.chance(LOST) ? "ROLLBACK" : "COMMIT");
        return results;
      } catch (fault) {
        this.db.exec("ROLLBACK");
        throw fault;
      }
    });
  }

  all(query: string, values: readonly Value[]): { readonly results: readonly unknown[]; readonly success: true; readonly meta: object } {
    return { results: this.#prepare(query).rows.all(...values), success: true, meta: {} };
  }

  arrays(query: string, values: readonly Value[]): readonly unknown[] {
    return this.#prepare(query).arrays.all(...values);
  }

  /** One call from where the world's code runs now. */
  run<T>(what: string, act: () => T): Promise<T> {
    const world = this.#world;
    const from = world.current;
    if (from === null) throw new Error("nobody asks");
    const { life } = from;
    return new Promise<T>((resolve, reject) => {
      const answer = (inMs: number, tell: () => void): void => {
        if (from.life === life) world.plan(inMs, from, `hears of D1 ${what}`, tell);
      };
      const fail = (inMs: number): void => answer(inMs, () => reject(new Outage("[outage] D1_ERROR: the database is not available", {})));
      from.emit(() => {
        const { random } = world;
        const { faults } = this.#network;
        const going = this.#network.fate(from, this);
        if (going.kind === "fails" || random.chance(faults.database)) {
          fail(random.chance(0.7) ? random.between(0, 30) : random.between(1_000, 60_000));
          return;
        }
        world.plan(
          going.inMs,
          this,
          `is asked ${what} by ${from.name}`,
          () => {
            let result: T;
            try {
              result = structuredClone(act());
            } catch (fault) {
              this.broke(fault);
              answer(this.#network.latencyMs(), () => reject(fault));
              return;
            }
            this.written();
            const coming = this.#network.fate(this, from);
            if (coming.kind === "fails" || random.chance(faults.database))
              fail(random.chance(0.7) ? random.between(0, 30) : random.between(1_000, 60_000));
            else answer(coming.inMs, () => resolve(result));
          },
          true,
        );
      });
    });
  }

  look<T>(query: string, ...values: Value[]): T[] {
    // The caller names the columns that it selects.
    return this.#prepare(query).rows.all(...values) as T[];
  }

  close(): void {
    this.#prepared.clear();
    this.db.close();
  }

  #prepare(query: string): { readonly rows: StatementSync; readonly arrays: StatementSync } {
    const known = this.#prepared.get(query);
    if (known !== undefined) return known;
    const arrays = this.db.prepare(query);
    arrays.setReturnArrays(true);
    const prepared = { rows: this.db.prepare(query), arrays };
    this.#prepared.set(query, prepared);
    return prepared;
  }
}

/** A statement as D1 prepares it. */
class Statement {
  readonly #database: Database;
  readonly query: string;
  readonly values: readonly Value[];

  constructor(database: Database, query: string, values: readonly Value[]) {
    this.#database = database;
    this.query = query;
    this.values = values;
  }

  bind(...values: Value[]): Statement {
    return new Statement(this.#database, this.query, values);
  }

  all(): Promise<unknown> {
    return this.#database.run("all", () => this.#database.all(this.query, this.values));
  }

  run(): Promise<unknown> {
    return this.all();
  }

  raw(): Promise<unknown> {
    return this.#database.run("raw", () => this.#database.arrays(this.query, this.values));
  }
}
