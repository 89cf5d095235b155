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
 * Lines in memory, for as long as the process lives. They are chained like those of a file, but hashed only when somebody reads a hash or when they are
 * dropped: until the first are, appending costs about a microsecond.
 */
export function createMemoryStore({ mostLines = 50_000, lines: before = [] }: MemoryStoreOptions = {}): LedgerStore {
  const listeners = new Listeners();
  const last = before.at(-1);
  /** Lines that nobody has looked at yet are links only: what makes a line of them costs more than all the rest. */
  const lines: (LedgerLine | Kept)[] = [...before];
  let link: Link = { record: null, seq: last?.seq ?? CHAIN_START.seq, before: null, prevHash: "", hash: last?.hash ?? CHAIN_START.hash };
  let isClosed = false;
  const keep = (record: LedgerRecord): void => {
    if (isClosed) throw new LedgerError("closed", `Cannot record "${record.action}": the ledger was closed`);
    if (lines.length >= mostLines) drop(lines, Math.max(1, mostLines >> 4));
    const kept: Kept = { record, seq: link.seq + 1, before: link, prevHash: "", hash: null };
    link = kept;
    lines.push(kept);
    if (!listeners.isEmpty()) listeners.tell(lineAt(lines, lines.length - 1));
  };
  const store: LedgerStore = {
    append(record) {
      keep(record);
      return lineAt(lines, lines.length - 1);
    },
    after(seq, most) {
      const from = Math.max(0, seq + 1 - (lines[0]?.seq ?? 1));
      return lines.slice(from, from + most).map((_, place) => lineAt(lines, from + place));
    },
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
export const quiet = new WeakMap<LedgerStore, (record: LedgerRecord) => void>();

/** A line that was not hashed holds on to those before it: what is dropped is hashed first. */
function drop(lines: (LedgerLine | Kept)[], count: number): void {
  if (count < lines.length) void lineAt(lines, count).prev_hash;
  lines.splice(0, count);
}

/** The line at a place, made when somebody looks at it first: everybody is given the same. */
function lineAt(lines: (LedgerLine | Kept)[], place: number): LedgerLine {
  const kept = lines[place];
  if (kept === undefined) throw new RangeError(`There is no line at place ${place}`);
  if (!("prevHash" in kept)) return kept;
  const line = lazyLine(kept.record, kept);
  lines[place] = line;
  return line;
}

/** A line's place in the chain. `before` is let go of, and the hashes are there, once it is settled. */
interface Link {
  readonly record: LedgerRecord | null;
  readonly seq: number;
  before: Link | null;
  prevHash: string;
  hash: string | null;
}

/** The place of a record: every link but the one that a chain begins after. */
interface Kept extends Link {
  readonly record: LedgerRecord;
}

/** A line whose two hashes are computed when they are first read, and are members like any other to whoever copies or prints it. */
const lazyLine = (record: LedgerRecord, link: Link): LedgerLine => ({
  ...record,
  seq: link.seq,
  get prev_hash() {
    settledHash(link);
    return link.prevHash;
  },
  get hash() {
    return settledHash(link);
  },
});

/** Hashes what comes before and was not hashed yet, oldest first: however many there are, the stack stays flat. */
function settledHash(link: Link): string {
  const waiting: Link[] = [];
  for (let at: Link | null = link; at !== null && at.hash === null; at = at.before) waiting.push(at);
  let hash = waiting.at(-1)?.before?.hash ?? link.hash ?? CHAIN_START.hash;
  for (const at of waiting.reverse()) {
    at.prevHash = hash;
    hash = hashOf({ ...at.record, seq: at.seq, prev_hash: hash });
    at.hash = hash;
    at.before = null;
  }
  return hash;
}
