import { assert } from "../core/assert.ts";
import { CHAIN_START, type ChainHead } from "../core/entry.ts";
import { insertsOf } from "../core/insert.ts";
import type { Instant } from "../core/time.ts";
import type { Report, ShippedEntry, Taken } from "../flow/ports.ts";

/** An entry with its place, waiting for D1. */
export interface Waiting extends ShippedEntry {
  readonly index: number;
}

export interface Progress {
  /** How many entries the tenant's ledger has: the index that the next one gets. */
  readonly accepted: number;
  /** How many of them, from 0, D1 has confirmed. */
  readonly shipped: number;
  /** How often in a row D1 has failed. */
  readonly failures: number;
}

/** Of so many chains it is remembered where they stand. */
const MOST_HEADS = 4_096;
/** So long the answer to a report is known by its key. Its lines are known by their own ids for good: told later they are duplicates. */
const ANSWERS_MS = 24 * 60 * 60 * 1000;

/**
 * The ledger object's own tables: where each chain stands, and the entries that D1 has not confirmed yet. Every method is synchronous, so that a
 * caller can put several into one transaction. The tables are made by the first write: reading a tenant that has no ledger leaves none behind.
 *
 * What every shipment of every session asks is remembered as it was last written: this object alone writes it.
 */
export class Journal {
  readonly #storage: DurableObjectStorage;
  readonly #sql: SqlStorage;
  #hasTables = false;
  #hasWatch = false;
  #hasReported = false;
  #hasAnswered = false;
  #progress: Progress | null = null;
  #isWatched: boolean | null = null;
  readonly #heads = new Map<string, ChainHead>();

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#sql = storage.sql;
  }

  /** Everything that is written meanwhile is one transaction. Where it fails it was never, and what is remembered of it is forgotten. */
  transact<T>(work: () => T): T {
    try {
      return this.#storage.transactionSync(work);
    } catch (fault) {
      // The tables themselves may have been made in it.
      this.#hasTables = false;
      this.#hasWatch = false;
      this.#hasReported = false;
      this.#hasAnswered = false;
      this.#progress = null;
      this.#isWatched = null;
      this.#heads.clear();
      throw fault;
    }
  }

  progress(): Progress {
    if (this.#progress !== null) return this.#progress;
    if (!this.#tablesExist()) return { accepted: 0, shipped: 0, failures: 0 };
    this.#progress = this.#sql
      .exec<{ accepted: number; shipped: number; failures: number }>("SELECT accepted, shipped, failures FROM progress")
      .one();
    return this.#progress;
  }

  head(chain: string): ChainHead {
    const known = this.#heads.get(chain);
    if (known !== undefined) return known;
    if (!this.#tablesExist()) return CHAIN_START;
    const head = this.#sql.exec<{ seq: number; hash: string }>("SELECT seq, hash FROM chains WHERE chain = ?", chain).toArray()[0] ?? CHAIN_START;
    this.#remember(chain, head);
    return head;
  }

  #remember(chain: string, head: ChainHead): void {
    if (this.#heads.size >= MOST_HEADS) this.#heads.clear();
    this.#heads.set(chain, head);
  }

  /** The hash of an entry that is still waiting, or `null`. Looks at all that wait: it is asked only about late repeats. */
  waitingHash(chain: string, seq: number): string | null {
    if (!this.#tablesExist()) return null;
    return this.#sql.exec<{ hash: string }>("SELECT hash FROM waiting WHERE chain = ? AND seq = ?", chain, seq).toArray()[0]?.hash ?? null;
  }

  /** Gives entries that continue a chain the tenant's next places and keeps them until D1 has them. The caller has checked that they continue it. */
  append(chain: string, continuing: readonly ShippedEntry[]): void {
    const last = continuing.at(-1);
    if (last === undefined) return;
    this.#makeTables();
    // The order in which entries get their index is the order of the leaves in the tenant's tree, and is settled here for good.
    const progress = this.progress();
    const { accepted } = progress;
    const rows = continuing.map(({ seq, hash, canonical, beside }, place) => [accepted + place, chain, seq, hash, canonical, beside]);
    for (const { text, values } of insertsOf("waiting", ["idx", "chain", "seq", "hash", "canonical", "payload"], rows))
      this.#sql.exec(text, ...values);
    this.#sql.exec(
      "INSERT INTO chains (chain, seq, hash) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
      chain,
      last.seq,
      last.hash,
    );
    this.#sql.exec("UPDATE progress SET accepted = ?", accepted + continuing.length);
    this.#remember(chain, { seq: last.seq, hash: last.hash });
    this.#progress = { ...progress, accepted: accepted + continuing.length };
  }

  /** The next entries for D1, in order: at most `most` of them and about `octets` of text, but always one when any waits. */
  next(most: number, octets: number): readonly Waiting[] {
    if (!this.#tablesExist()) return [];
    const batch: Waiting[] = [];
    let total = 0;
    for (const row of this.#sql.exec<WaitingRow>(
      "SELECT idx, seq, hash, canonical, payload, octet_length(canonical) + coalesce(octet_length(payload), 0) AS octets FROM waiting ORDER BY idx LIMIT ?",
      most,
    )) {
      total += row.octets;
      if (batch.length > 0 && total > octets) break;
      batch.push({
        index: row.idx,
        seq: row.seq,
        hash: row.hash,
        canonical: row.canonical,
        beside: row.payload,
      });
    }
    return batch;
  }

  /** Entries that wait for D1, from an index on, without what lies beside them. */
  waitingFrom(index: number, most: number): readonly { readonly index: number; readonly canonical: string; readonly hash: string }[] {
    if (!this.#tablesExist()) return [];
    return this.#sql
      .exec<{ idx: number; canonical: string; hash: string }>(
        "SELECT idx, canonical, hash FROM waiting WHERE idx >= ? ORDER BY idx LIMIT ?",
        index,
        most,
      )
      .toArray()
      .map(({ idx, canonical, hash }) => ({ index: idx, canonical, hash }));
  }

  /** D1 has every entry up to and with this index. */
  confirm(through: number): void {
    const { accepted, shipped } = this.progress();
    assert(through >= shipped && through < accepted, "what is confirmed was accepted, and had not been confirmed before");
    this.#sql.exec("DELETE FROM waiting WHERE idx <= ?", through);
    this.#sql.exec("UPDATE progress SET shipped = ?, failures = 0", through + 1);
    this.#progress = { accepted, shipped: through + 1, failures: 0 };
  }

  /** Whether somebody wants to hear of what is new, also when nobody else is awake. */
  isWatched(): boolean {
    this.#isWatched ??= this.#watchExists() && this.#sql.exec<{ webhooks: number }>("SELECT webhooks FROM watch").toArray()[0]?.webhooks === 1;
    return this.#isWatched;
  }

  watch(isWatched: boolean): void {
    if (this.isWatched() === isWatched) return;
    this.#makeTables();
    this.#sql.exec("UPDATE watch SET webhooks = ?", isWatched ? 1 : 0);
    this.#isWatched = isWatched;
  }

  noteFailure(): void {
    const progress = this.progress();
    const failures = progress.failures + 1;
    this.#sql.exec("UPDATE progress SET failures = ?", failures);
    this.#progress = { ...progress, failures };
  }

  /** The fingerprint under which an entry was reported, or `null`: it never was. */
  reported(entry: string): string | null {
    if (!this.#reportedExists()) return null;
    return this.#sql.exec<{ fingerprint: string }>("SELECT fingerprint FROM reported WHERE entry = ?", entry).toArray()[0]?.fingerprint ?? null;
  }

  /** Remembers for good what was reported, in the transaction that appends it. */
  noteReported(lines: readonly { readonly entry: string; readonly fingerprint: string }[]): void {
    this.#makeTables();
    const rows = lines.map(({ entry, fingerprint }) => [entry, fingerprint]);
    for (const { text, values } of insertsOf("reported", ["entry", "fingerprint"], rows)) this.#sql.exec(text, ...values);
  }

  /** What became of the lines of a report with this key, and its fingerprint; `null`: none is known. */
  answered(key: string): { readonly fingerprint: string; readonly taken: readonly Taken[] } | null {
    if (!this.#answeredExists()) return null;
    const row = this.#sql.exec<{ fingerprint: string; taken: string }>("SELECT fingerprint, taken FROM answered WHERE key = ?", key).toArray()[0];
    // Our own text, written by `noteAnswered`.
    return row === undefined ? null : { fingerprint: row.fingerprint, taken: JSON.parse(row.taken) as readonly Taken[] };
  }

  /** Remembers that for a day, in the transaction that takes the report. */
  noteAnswered({ key, fingerprint }: NonNullable<Report["key"]>, taken: readonly Taken[], at: Instant): void {
    this.#makeTables();
    this.#sql.exec("DELETE FROM answered WHERE at_ms <= ?", at - ANSWERS_MS);
    this.#sql.exec("INSERT INTO answered (key, fingerprint, taken, at_ms) VALUES (?, ?, ?, ?)", key, fingerprint, JSON.stringify(taken), at);
  }

  #tablesExist(): boolean {
    this.#hasTables ||= this.#has("schema_version");
    return this.#hasTables;
  }

  #watchExists(): boolean {
    this.#hasWatch ||= this.#has("watch");
    return this.#hasWatch;
  }

  #reportedExists(): boolean {
    this.#hasReported ||= this.#has("reported");
    return this.#hasReported;
  }

  #answeredExists(): boolean {
    this.#hasAnswered ||= this.#has("answered");
    return this.#hasAnswered;
  }

  #has(table: string): boolean {
    return this.#sql.exec("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", table).toArray().length > 0;
  }

  /** Brings the tables to the newest version. */
  #makeTables(): void {
    if (!this.#tablesExist()) this.#sql.exec(TABLES);
    if (!this.#watchExists()) this.#sql.exec(WATCH_TABLE);
    if (!this.#reportedExists()) this.#sql.exec(REPORTED_TABLE);
    if (!this.#answeredExists()) this.#sql.exec(ANSWERED_TABLE);
  }
}

type WaitingRow = { idx: number; seq: number; hash: string; canonical: string; payload: string | null; octets: number };

/** Version 1. */
const TABLES = `
CREATE TABLE schema_version (version INTEGER PRIMARY KEY CHECK (version >= 1)) STRICT;
INSERT INTO schema_version (version) VALUES (1);

CREATE TABLE progress (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  accepted INTEGER NOT NULL CHECK (accepted >= shipped),
  shipped INTEGER NOT NULL CHECK (shipped >= 0),
  failures INTEGER NOT NULL CHECK (failures >= 0)
) STRICT;
INSERT INTO progress (one, accepted, shipped, failures) VALUES (1, 0, 0, 0);

CREATE TABLE chains (
  chain TEXT PRIMARY KEY,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  hash TEXT NOT NULL CHECK (length(hash) = 64)
) STRICT, WITHOUT ROWID;

CREATE TABLE waiting (
  idx INTEGER PRIMARY KEY CHECK (idx >= 0),
  chain TEXT NOT NULL,
  seq INTEGER NOT NULL CHECK (seq >= 1),
  hash TEXT NOT NULL CHECK (length(hash) = 64),
  canonical TEXT NOT NULL,
  payload TEXT CHECK (json_valid(payload))
) STRICT;
`;

/** Version 4. A later one is added in the same way. */
const ANSWERED_TABLE = `
CREATE TABLE answered (
  key TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64),
  taken TEXT NOT NULL CHECK (json_valid(taken)),
  at_ms INTEGER NOT NULL CHECK (at_ms >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX answered_at ON answered (at_ms);
INSERT INTO schema_version (version) VALUES (4);
`;

/** Version 3. */
const REPORTED_TABLE = `
CREATE TABLE reported (
  entry TEXT PRIMARY KEY,
  fingerprint TEXT NOT NULL CHECK (length(fingerprint) = 64)
) STRICT, WITHOUT ROWID;
INSERT INTO schema_version (version) VALUES (3);
`;

/** Version 2. */
const WATCH_TABLE = `
CREATE TABLE watch (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  webhooks INTEGER NOT NULL CHECK (webhooks IN (0, 1))
) STRICT;
INSERT INTO watch (one, webhooks) VALUES (1, 0);
INSERT INTO schema_version (version) VALUES (2);
`;
