import { assert } from "../core/assert.ts";
import type { SealedEntry } from "../core/entry.ts";
import { insertsOf } from "../core/insert.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type { ShippedEntry } from "../flow/ports.ts";
import type { LedgerIntake } from "./env.ts";

/** The outbox's table, in the object that writes the entries: an entry is in it from the transaction that made it until the ledger has it. */
export const OUTBOX_TABLE = `
  CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    canonical TEXT NOT NULL,
    hash TEXT NOT NULL CHECK (length(hash) = 64),
    payload TEXT
  ) STRICT`;

/** With its payload; a character is at most three octets, and a row of D1 at most two million. */
const MOST_ENTRY_CHARACTERS = 600_000;
/** Entries shipped in one call, at most: by count, and by characters so that a call stays well within what object RPC carries. */
const MOST_ENTRIES = 100;
const MOST_CHARACTERS = 4_000_000;

/** Carries entries from the object that recorded them to the tenant's ledger: in order, at least once, until the ledger says it has them. */
export class Outbox {
  readonly #sql: SqlStorage;
  #shipping: Promise<void> | null = null;
  /** Whether anything may be in it: `false` only after it was seen empty and nothing was added since. */
  #mayHold = true;
  /** The ledger has everything up to here. It is erased with what is added next, or by an alarm: in a transaction of its own it would cost as much as a decision. */
  #takenThrough = 0;
  /** So it was told. Where that transaction was rolled back it is erased later, with more. */
  #erasedThrough = 0;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Puts sealed entries in, in the transaction around the call. */
  add(entries: readonly SealedEntry[]): void {
    if (entries.length === 0) return;
    for (const { canonical, beside } of entries) {
      // An entry that the ledger could never store would block its chain for ever: rather is the act refused that it would record.
      assert(canonical.length + (beside?.length ?? 0) <= MOST_ENTRY_CHARACTERS, "an entry is small enough to be stored");
    }
    // What was set back behind what the ledger has would never be shipped: it is a fault, and not an answer without a record.
    assert((entries[0]?.entry.seq ?? 0) > this.#takenThrough, "what is recorded follows what the ledger has");
    this.#mayHold = true;
    if (this.#erasedThrough < this.#takenThrough) this.erase();
    const rows = entries.map(({ entry, canonical, hash, beside }) => [entry.seq, canonical, hash, beside]);
    for (const { text, values } of insertsOf("outbox", ["seq", "canonical", "hash", "payload"], rows)) this.#sql.exec(text, ...values);
  }

  isEmpty(): boolean {
    return !this.#mayHold;
  }

  /** Erases what the ledger has, in the transaction around the call. */
  erase(): void {
    this.#sql.exec("DELETE FROM outbox WHERE seq <= ?", this.#takenThrough);
    this.#erasedThrough = this.#takenThrough;
  }

  /**
   * Ships everything recorded before the call. One shipment is under way at a time; who comes meanwhile waits for it and ships the rest.
   * Rejects when the ledger cannot be reached, and just ends when it leaves a call unanswered for `answerMs`: either way the entries stay, and `isEmpty`
   * says so.
   */
  async ship(ledger: DurableObjectStub<LedgerIntake>, chain: string, answerMs: number = ANSWER_MS): Promise<void> {
    // The shipment under way may have read the outbox before the newest entry was in it.
    if (this.#shipping !== null) await this.#shipping.catch(() => undefined);
    this.#shipping ??= this.#shipAll(ledger, chain, answerMs).finally(() => {
      this.#shipping = null;
    });
    await this.#shipping;
  }

  async #shipAll(ledger: DurableObjectStub<LedgerIntake>, chain: string, answerMs: number): Promise<void> {
    for (let entries = this.#next(); entries.length > 0; entries = this.#next()) {
      const answer = await inTime(answerMs, ledger.accept({ chain, entries }));
      // Sent again with the next shipment: what the ledger took all the same it passes over.
      if (!answer.ok) return;
      const { acceptedThrough } = answer.value;
      const first = entries[0]?.seq ?? 0;
      if (acceptedThrough < first) throw new Error(`the ledger has chain ${chain} only up to ${acceptedThrough}, and ${first} comes next`);
      this.#takenThrough = acceptedThrough;
      // Who loses its memory ships what is still here once more. What fills a whole call the ledger compares with D1, which may be away for long.
      if (this.#takenThrough - this.#erasedThrough >= MOST_ENTRIES) this.erase();
    }
    this.#mayHold = false;
  }

  #next(): ShippedEntry[] {
    const entries: ShippedEntry[] = [];
    let characters = 0;
    for (const row of this.#sql.exec<OutboxRow>(
      "SELECT seq, canonical, hash, payload FROM outbox WHERE seq > ? ORDER BY seq LIMIT ?",
      this.#takenThrough,
      MOST_ENTRIES,
    )) {
      characters += row.canonical.length + (row.payload?.length ?? 0);
      if (entries.length > 0 && characters > MOST_CHARACTERS) break;
      entries.push({ seq: row.seq, canonical: row.canonical, hash: row.hash, beside: row.payload });
    }
    return entries;
  }
}

type OutboxRow = { seq: number; canonical: string; hash: string; payload: string | null };
