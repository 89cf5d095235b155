import { CHAIN_START } from "./chain.ts";
import { LedgerError } from "./ledger_error.ts";
import type { LedgerLine, LedgerStore } from "./line.ts";
import { createMemoryStore } from "./memory_store.ts";

export interface IndexedDbStoreOptions {
  /** Default `agent-sentinel-ledger`. */
  readonly name?: string | undefined;
  /** So many of the newest lines are read when it is opened, and kept in memory. Default 10,000. All of them stay in the database. */
  readonly mostLines?: number | undefined;
}

/** What it uses of IndexedDB and of Web Locks. */
interface Browser {
  readonly indexedDB?: { open(name: string, version: number): Asked<Database> & { onupgradeneeded: (() => void) | null } };
  readonly IDBKeyRange?: { lowerBound(key: number): unknown };
  readonly navigator?: { readonly locks?: Locks };
}

interface Locks {
  request(name: string, options: { readonly ifAvailable: true }, held: (lock: object | null) => unknown): Promise<unknown>;
}

interface Asked<T> {
  readonly result: T;
  readonly error: unknown;
  onsuccess: (() => void) | null;
  onerror: (() => void) | null;
}

interface Database {
  createObjectStore(name: string, options: { readonly keyPath: string }): unknown;
  transaction(name: string, mode?: "readwrite", options?: { readonly durability: "strict" }): Transaction;
  close(): void;
}

interface Transaction {
  readonly error: unknown;
  oncomplete: (() => void) | null;
  onabort: (() => void) | null;
  objectStore(name: string): {
    put(value: object): unknown;
    getAll(range: unknown): Asked<unknown>;
    openCursor(range: null, direction: "prev"): Asked<{ readonly key: unknown } | null>;
  };
}

const browser = (): Browser => globalThis as object;

/** Whether this is a browser that has what the store needs. */
export const hasIndexedDb = (): boolean => browser().indexedDB !== undefined && browser().navigator?.locks !== undefined;

const LINES = "lines";
const MOST_TABS = 100;

/**
 * Lines in a browser's database, with memory in front: `append` gives its line at once, and the line is in the database a moment later, and for certain
 * after `flush`. Each tab that is open at the same time has a database of its own (`name`, `name-2`, ...), held by a Web Lock for as long as it is
 * open, so each chain has one writer; the next one to open it goes on with it. Throws a `LedgerError` where there are no such locks (insecure origins).
 */
export async function openIndexedDbStore({ name = "agent-sentinel-ledger", mostLines = 10_000 }: IndexedDbStoreOptions = {}): Promise<LedgerStore> {
  const held = await holdOne(name);
  try {
    const database = await opened(held.name);
    const memory = createMemoryStore({ mostLines, lines: await newest(database, mostLines) });
    return new IndexedDbStore(database, memory, mostLines, held.release);
  } catch (cause) {
    held.release();
    throw new LedgerError("unwritable", `Cannot open the ledger's database ${held.name}`, cause);
  }
}

class IndexedDbStore implements LedgerStore {
  readonly #database: Database;
  readonly #memory: LedgerStore;
  readonly #mostLines: number;
  readonly #release: () => void;
  #unwritten: LedgerLine[] = [];
  /** The transactions that were begun, one after the other: settles when the last of them has. */
  #writing: Promise<void> = Promise.resolve();
  #isDue = false;
  #isClosed = false;

  constructor(database: Database, memory: LedgerStore, mostLines: number, release: () => void) {
    this.#database = database;
    this.#memory = memory;
    this.#mostLines = mostLines;
    this.#release = release;
    // First among the listeners: a line is on its way before anybody hears of it.
    memory.onAppend((line) => this.#keep(line));
  }

  append(record: Parameters<LedgerStore["append"]>[0]): LedgerLine {
    return this.#memory.append(record);
  }

  after(seq: number, most: number): readonly LedgerLine[] {
    return this.#memory.after(seq, most);
  }

  onAppend(listener: (line: LedgerLine) => void): () => void {
    return this.#memory.onAppend(listener);
  }

  /** Rejects with a `LedgerError` when the database takes them not: they are in memory then, and are tried again with the next. */
  async flush(): Promise<void> {
    this.#write();
    await this.#writing;
    if (this.#unwritten.length > 0)
      throw new LedgerError("disk_full", `Cannot flush the ledger: the browser's database did not take ${this.#unwritten.length} lines`);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#memory.close();
    this.#write();
    // A transaction that was begun ends before a database that is closed is let go of.
    void this.#writing.then(() => {
      this.#database.close();
      this.#release();
    });
  }

  /** Lines of one turn of the event loop are one transaction. */
  #keep(line: LedgerLine): void {
    this.#unwritten.push(line);
    if (this.#isDue) return;
    this.#isDue = true;
    queueMicrotask(() => this.#write());
  }

  #write(): void {
    this.#isDue = false;
    this.#writing = this.#writing.then(async () => {
      // All that are left by then: a line is never in the database without those before it that were not taken.
      const lines = this.#unwritten;
      if (lines.length === 0) return;
      this.#unwritten = [];
      try {
        await written(this.#database, lines);
      } catch {
        // For as long as the database takes none, no more than are kept in memory.
        this.#unwritten = [...lines, ...this.#unwritten].slice(-this.#mostLines);
      }
    });
  }
}

/** A copy of each line: a line in memory computes its hashes when they are read, and a database keeps no such members. */
function written(database: Database, lines: readonly LedgerLine[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(LINES, "readwrite", { durability: "strict" });
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
    for (const line of lines) transaction.objectStore(LINES).put({ ...line });
  });
}

function opened(name: string): Promise<Database> {
  return new Promise((resolve, reject) => {
    const request = browser().indexedDB?.open(name, 1);
    if (request === undefined) return reject(new Error("there is no IndexedDB"));
    request.onupgradeneeded = () => {
      request.result.createObjectStore(LINES, { keyPath: "seq" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function newest(database: Database, most: number): Promise<readonly LedgerLine[]> {
  return new Promise((resolve, reject) => {
    const store = database.transaction(LINES).objectStore(LINES);
    const last = store.openCursor(null, "prev");
    last.onerror = () => reject(last.error);
    last.onsuccess = () => {
      const lastSeq = Number(last.result?.key ?? CHAIN_START.seq);
      const lines = store.getAll(browser().IDBKeyRange?.lowerBound(Math.max(1, lastSeq - most + 1)));
      lines.onerror = () => reject(lines.error);
      // Nobody else writes into this database.
      lines.onsuccess = () => resolve(unbroken(lines.result as readonly LedgerLine[]));
    };
  });
}

/** Those after the last gap: while the database took none, more may have been recorded than memory kept. */
function unbroken(lines: readonly LedgerLine[]): readonly LedgerLine[] {
  const gap = lines.findLastIndex(({ seq }, place) => place > 0 && seq !== (lines[place - 1]?.seq ?? 0) + 1);
  return lines.slice(Math.max(0, gap));
}

/** Takes the first name that no other tab holds. */
async function holdOne(name: string): Promise<{ readonly name: string; readonly release: () => void }> {
  const locks = browser().navigator?.locks;
  if (locks === undefined)
    throw new LedgerError("unwritable", "Cannot keep a ledger in a database here: there are no Web Locks, and two tabs would write one chain");
  for (let tab = 1; tab <= MOST_TABS; tab++) {
    const own = tab === 1 ? name : `${name}-${tab}`;
    const release = await new Promise<(() => void) | null>((held, failed) => {
      locks.request(own, { ifAvailable: true }, (lock) => (lock === null ? held(null) : new Promise<void>((done) => held(done)))).catch(failed);
    });
    if (release !== null) return { name: own, release };
  }
  throw new LedgerError("busy", `Cannot keep a ledger in a database here: ${MOST_TABS} tabs have one open`);
}
