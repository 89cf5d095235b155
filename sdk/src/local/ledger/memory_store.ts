import { CHAIN_START, hashOf } from "./chain.ts";
import { LedgerError } from "./ledger_error.ts";
import type { LedgerLine, LedgerRecord, LedgerStore } from "./line.ts";
import { Listeners } from "./listeners.ts";

export interface MemoryStoreOptions {
  /** So many lines are kept; of more, the oldest are dropped, a sixteenth at a time. From 16; default 50,000. */
  readonly mostLines?: number | undefined;
  /** Lines that are there already, in their order, without gaps. */
  readonly lines?: readonly LedgerLine[] | undefined;
}

/**
 * Lines in memory, for as long as the process lives. They are chained like those of a file, but made and hashed only when somebody looks: until then a
 * line costs no more than what it is made of. When lines are dropped of which nobody has looked at any, the chain begins anew with the oldest that is
 * left: its `prev_hash` is that of a first line, for there is nothing that it could be checked against.
 */
export function createMemoryStore({ mostLines = 50_000, lines: before = [] }: MemoryStoreOptions = {}): LedgerStore {
  const lines = new Lines(before);
  const listeners = new Listeners();
  let isClosed = false;
  const keep = (unmade: Unmade): void => {
    if (isClosed) throw new LedgerError("closed", `Cannot record "${unmade.action}": the ledger was closed`);
    if (lines.length >= mostLines) lines.drop(Math.max(1, mostLines >> 4));
    lines.add(unmade);
    if (!listeners.isEmpty()) listeners.tell(lines.at(lines.length - 1));
  };
  const store: LedgerStore = {
    append(record) {
      keep({ action: record.action, record: () => record });
      return lines.at(lines.length - 1);
    },
    after: (seq, most) => lines.after(seq, most),
    onAppend: (listener) => listeners.add(listener),
    flush: () => Promise.resolve(),
    close() {
      isClosed = true;
    },
  };
  quiet.set(store, keep);
  return store;
}

/**
 * `append` of a store for who does not look at the line. By the store itself and not as a member of it: a store that is made of another, with an
 * `append` of its own, must not be passed by.
 */
export const quiet = new WeakMap<LedgerStore, (unmade: Unmade) => void>();

/** A record that is made when somebody wants it, and is the same whenever that is: all that it says was noted when it happened. */
export interface Unmade {
  readonly action: string;
  record(): LedgerRecord;
}

/** A line that somebody has looked at. */
interface Seen {
  readonly line: LedgerLine;
  readonly seal: Seal;
}

/** What its hash is made of, and its hashes once it is sealed. */
interface Seal {
  readonly record: LedgerRecord;
  prevHash: string;
  hash: string | null;
}

/** The lines that are left, each made when it is first looked at, and sealed with all before it when its hash is first read. */
class Lines {
  /** What nobody has looked at is not a line yet. */
  readonly #rows: (Unmade | Seen)[];
  /** The place in the chain of the first row. */
  #firstSeq: number;
  /** Where the chain stands before the first row that is not sealed, and which that is. */
  #sealedTo: number;
  #hash: string;
  /** The last place in the chain that anybody has looked at. */
  #lastSeen: number;

  constructor(before: readonly LedgerLine[]) {
    const last = before.at(-1);
    this.#rows = before.map((line) => ({ line, seal: { record: line, prevHash: line.prev_hash, hash: line.hash } }));
    this.#firstSeq = before[0]?.seq ?? CHAIN_START.seq + 1;
    this.#sealedTo = before.length;
    this.#hash = last?.hash ?? CHAIN_START.hash;
    this.#lastSeen = last?.seq ?? CHAIN_START.seq;
  }

  get length(): number {
    return this.#rows.length;
  }

  add(unmade: Unmade): void {
    this.#rows.push(unmade);
  }

  /** The line at a place, made when somebody looks at it first: everybody is given the same. */
  at(place: number): LedgerLine {
    this.#lastSeen = Math.max(this.#lastSeen, this.#firstSeq + place);
    return this.#seen(place).line;
  }

  after(seq: number, most: number): readonly LedgerLine[] {
    const from = Math.max(0, seq + 1 - this.#firstSeq);
    const to = Math.min(this.#rows.length, from + most);
    return Array.from({ length: Math.max(0, to - from) }, (_, place) => this.at(from + place));
  }

  /** Lets go of the oldest. What somebody has seen of them stays a chain with what comes after. */
  drop(most: number): void {
    const count = Math.min(most, this.#rows.length);
    if (this.#lastSeen >= this.#firstSeq) this.#sealTo(count);
    else this.#hash = CHAIN_START.hash;
    this.#rows.splice(0, count);
    this.#firstSeq += count;
    this.#sealedTo = Math.max(0, this.#sealedTo - count);
  }

  #seen(place: number): Seen {
    const row = this.#rows[place];
    if (row === undefined) throw new RangeError(`There is no line at place ${place}`);
    if ("seal" in row) return row;
    const seal: Seal = { record: row.record(), prevHash: "", hash: null };
    const seen: Seen = { seal, line: lazyLine(seal, this.#firstSeq + place, (seq) => this.#sealTo(seq + 1 - this.#firstSeq)) };
    this.#rows[place] = seen;
    return seen;
  }

  /** Hashes the rows before a place that were not, oldest first. */
  #sealTo(place: number): void {
    for (; this.#sealedTo < place; this.#sealedTo++) {
      const { seal } = this.#seen(this.#sealedTo);
      seal.prevHash = this.#hash;
      this.#hash = hashOf({ ...seal.record, seq: this.#firstSeq + this.#sealedTo, prev_hash: this.#hash });
      seal.hash = this.#hash;
    }
  }
}

/** A line whose two hashes are computed when they are first read, and are members like any other to whoever copies or prints it. */
const lazyLine = (seal: Seal, seq: number, sealTo: (seq: number) => void): LedgerLine => ({
  ...seal.record,
  seq,
  get prev_hash() {
    if (seal.hash === null) sealTo(seq);
    return seal.prevHash;
  },
  get hash() {
    if (seal.hash === null) sealTo(seq);
    return seal.hash ?? "";
  },
});
