import { type Files, machineFiles } from "../local/ledger/files.ts";
import type { LedgerLine, LedgerStore } from "../local/ledger/line.ts";

/** Up to which line a gateway has a ledger. `hash` tells a ledger that was begun anew from the one that is meant; `null`: there is no other. */
export interface Cursor {
  readonly seq: number;
  readonly hash: string | null;
}

/** Keeps a cursor for each gateway, as long as the ledger's lines last. What it throws stops nothing: lines are then reported again. */
export interface CursorStore {
  load(platformUrl: string): Cursor | null;
  /** The gateway has everything up to this line. */
  save(platformUrl: string, line: Pick<LedgerLine, "seq" | "hash">): void;
}

/** For ledgers that do not outlive the process either. A line in memory is hashed when somebody looks: here nobody does. */
export function createMemoryCursor(): CursorStore {
  const places = new Map<string, number>();
  const load = (url: string): Cursor | null => ({ seq: places.get(url) ?? 0, hash: null });
  return { load, save: (url, { seq }) => void places.set(url, seq) };
}

/** The part of the web's `Storage` that is used. */
export interface KeptTexts {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** What a browser keeps for a page's origin: for a ledger in the browser's database. */
export function createStorageCursor(storage: KeptTexts = localStorage): CursorStore {
  const key = (url: string): string => `agentsentinel.cursor ${url}`;
  return {
    load: (url) => cursorOf(storage.getItem(key(url))),
    save: (url, { seq, hash }) => storage.setItem(key(url), JSON.stringify({ seq, hash })),
  };
}

/**
 * In a file, replaced as a whole: after a crash it is the old one or the new one. What cannot be read counts as no cursor, and then everything is
 * reported again, which the gateway knows by the lines' ids.
 */
export function createFileCursor(path: string): CursorStore {
  const machine = machineFiles();
  if (machine === null) return createMemoryCursor();
  const { files } = machine;
  let saves = 0;
  const read = (): ReadonlyMap<string, unknown> => {
    try {
      return new Map(Object.entries(Object(JSON.parse(new TextDecoder().decode(files.readFileSync(path))))));
    } catch {
      return new Map();
    }
  };
  return {
    load: (url) => cursorIn(read().get(url)),
    save(url, { seq, hash }) {
      // Two processes, or two instances in one, may save at the same time: each has a file of its own until it is renamed.
      const next = `${path}.${uniquePart()}-${++saves}`;
      try {
        writeWhole(files, next, `${JSON.stringify(Object.fromEntries([...read(), [url, { seq, hash }]]))}\n`);
        files.renameSync(next, path);
      } catch (error) {
        forget(files, next);
        throw error;
      }
    },
  };
}

/** Beside a ledger that is a file, else in memory. */
export const cursorBeside = ({ path }: LedgerStore): CursorStore =>
  path === undefined ? createMemoryCursor() : createFileCursor(`${path}.cursor.json`);

/**
 * Where to go on in a store whose cursor is this: after its line, where that is still the same one or was moved away; from the beginning, where the
 * ledger has been begun anew.
 */
export function placeAfter(cursor: Cursor | null, store: LedgerStore): number {
  if (cursor === null || cursor.seq === 0) return 0;
  const there = store.after(cursor.seq - 1, 1)[0];
  if (there?.seq === cursor.seq) return cursor.hash === null || there.hash === cursor.hash ? cursor.seq : 0;
  if (there !== undefined) return cursor.seq;
  // Nothing from there on: an empty ledger goes on with its chain, a shorter one is another.
  return store.after(0, 1).length === 0 ? cursor.seq : 0;
}

function cursorOf(text: string | null): Cursor | null {
  try {
    return text === null ? null : cursorIn(JSON.parse(text));
  } catch {
    return null;
  }
}

function cursorIn(value: unknown): Cursor | null {
  const { seq, hash }: { readonly seq?: unknown; readonly hash?: unknown } = Object(value);
  return typeof seq === "number" && Number.isSafeInteger(seq) && seq >= 0 && typeof hash === "string" ? { seq, hash } : null;
}

const uniquePart = (): string => Math.random().toString(36).slice(2, 10).padEnd(8, "0");

function writeWhole(files: Files, path: string, text: string): void {
  const bytes = new TextEncoder().encode(text);
  const fd = files.openSync(path, "wx", 0o600);
  try {
    for (let at = 0; at < bytes.length; ) at += files.writeSync(fd, bytes, at, bytes.length - at);
    // What is renamed before it is on disk can be an empty file after a power failure.
    files.fdatasyncSync(fd);
  } finally {
    files.closeSync(fd);
  }
}

function forget(files: Files, path: string): void {
  try {
    files.unlinkSync(path);
  } catch {
    // It was never there, or is there no more.
  }
}
