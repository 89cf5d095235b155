import { CHAIN_START, type ChainEnd, hashOf, parsedLine, printed, sealed } from "./chain.ts";
import { FileLock } from "./file_lock.ts";
import { codeOf, type Files, machineFiles, type Paths, unlessMissing } from "./files.ts";
import { LedgerError } from "./ledger_error.ts";
import type { LedgerLine, LedgerRecord, LedgerStore, SetAside } from "./line.ts";
import { linesAfter, readBytes, tailOf } from "./line_file.ts";
import { Listeners } from "./listeners.ts";
import { openable, rotatedEnd, rotatedOf, withFile } from "./rotated.ts";

export interface FileStoreOptions {
  readonly path: string;
  /**
   * When a line lasts a power failure. `always`: when `append` returns; each then costs what the disk needs. `flush` (the default): after `flush` and
   * `close`. A crash of the process alone loses nothing in either case.
   */
  readonly fsync?: "always" | "flush" | undefined;
  /** From this size on, 1 at least, a file is rotated: renamed to `ledger-<time>-<seq>.jsonl` beside it. Default: never. */
  readonly rotateBytes?: number | undefined;
  /** How long `append` waits for another process that is writing before it throws. Default 5,000. */
  readonly patienceMs?: number | undefined;
}

/**
 * Lines in a file, JSON Lines, one chain for all processes and threads that write it: each append takes the file's lock, reads what others have added
 * since, and writes its line at the end in one piece.
 *
 * A line that a crash left half written is moved into a file of its own, and the next line says so. When a line cannot be written whole (the disk is
 * full), what was written of it is taken away again and `append` throws. The file may be moved away at any time: the next line begins a new one and
 * goes on with the chain. Throws a `LedgerError`, and a `RangeError` for options that cannot be used.
 */
export function createFileStore(options: FileStoreOptions): LedgerStore {
  const machine = machineFiles();
  if (machine === null) throw new LedgerError("unwritable", "Cannot keep a ledger in a file: this runtime has none");
  return new FileStore(machine.files, machine.paths, options);
}

/** The open file, and what is known of it. */
interface Open {
  readonly fd: number;
  readonly dev: number;
  readonly ino: number;
  /** Up to here it was read; `null`: not at all. Always the end of a whole line. */
  offset: number | null;
}

/** How the file stands when a line is to be added. */
interface Standing {
  readonly fd: number;
  readonly size: number;
  readonly end: ChainEnd;
  /** The last line is whole but for its line feed. */
  readonly isUnended: boolean;
  readonly setAside: readonly SetAside[];
}

class FileStore implements LedgerStore {
  readonly path: string;
  readonly #files: Files;
  readonly #paths: Paths;
  readonly #lock: FileLock;
  readonly #listeners = new Listeners();
  readonly #syncs: boolean;
  readonly #rotateBytes: number;
  #open: Open | null = null;
  /** The end of the chain as far as this store has seen it. */
  #end = CHAIN_START;
  /** Why lines of a file that was let go of may not last. */
  #unflushed: unknown = null;
  #isClosed = false;

  constructor(files: Files, paths: Paths, { path, fsync = "flush", rotateBytes = Number.POSITIVE_INFINITY, patienceMs = 5_000 }: FileStoreOptions) {
    if (!(rotateBytes >= 1)) throw new RangeError(`Cannot use rotateBytes ${rotateBytes}: wanted a number from 1, or nothing for never`);
    if (!(patienceMs >= 0)) throw new RangeError(`Cannot use patienceMs ${patienceMs}: wanted a number from 0`);
    this.#files = files;
    this.#paths = paths;
    // Who changes the working directory later does not change the ledger.
    this.path = meant(files, paths, paths.resolve(path));
    this.#lock = new FileLock(files, `${this.path}.lock`, patienceMs);
    this.#syncs = fsync === "always";
    this.#rotateBytes = rotateBytes;
  }

  append(record: LedgerRecord): LedgerLine {
    if (this.#isClosed) throw new LedgerError("closed", `Cannot record "${record.action}": the ledger was closed`);
    let line: LedgerLine;
    try {
      line = this.#locked((tookOver) => this.#write(record, this.#standing(tookOver)));
    } catch (cause) {
      throw asLedgerError(`record "${record.action}"`, this.path, cause);
    }
    this.#listeners.tell(line);
    return line;
  }

  after(seq: number, most: number): readonly LedgerLine[] {
    const files = this.#files;
    const read = (fd: number, from: number, wanted: number): readonly LedgerLine[] => linesAfter(files, fd, files.fstatSync(fd).size, from, wanted);
    const found: LedgerLine[] = [];
    const readRotated = (): void => {
      for (const { path } of openable(files, rotatedOf(files, this.#paths, this.path))) {
        if (found.length >= most) return;
        found.push(...(unlessMissing(() => withFile(files, path, (fd) => read(fd, found.at(-1)?.seq ?? seq, most - found.length))) ?? []));
      }
    };
    // Open before the others are looked for: the lines of a file that is rotated meanwhile are read here or there, and never passed over.
    const all = unlessMissing(() =>
      withFile(files, this.path, (fd) => {
        // Most who ask have seen nearly everything: when the very next line is in the present file, the others are not looked at.
        const present = read(fd, seq, most);
        if (most < 1 || present[0]?.seq === seq + 1) return present;
        readRotated();
        return [...found, ...read(fd, found.at(-1)?.seq ?? seq, most - found.length)];
      }),
    );
    if (all !== null) return all;
    readRotated();
    return found;
  }

  onAppend(listener: (line: LedgerLine) => void): () => void {
    return this.#listeners.add(listener);
  }

  flush(): Promise<void> {
    const open = this.#open;
    return new Promise<void>((resolve, reject) => {
      if (open === null) resolve();
      else this.#files.fdatasync(open.fd, (error) => (error == null || this.#open !== open ? resolve() : reject(error)));
    })
      .then(() => {
        // A file that was let go of meanwhile was flushed then.
        const failure = this.#unflushed;
        this.#unflushed = null;
        if (failure !== null) throw failure;
      })
      .catch((cause) => {
        throw asLedgerError("flush the ledger", this.path, cause);
      });
  }

  close(): void {
    this.#isClosed = true;
    this.#letGo();
  }

  #locked<T>(act: (tookOver: boolean) => T): T {
    const { tookOver } = this.#acquire();
    try {
      return act(tookOver);
    } finally {
      this.#lock.release();
    }
  }

  /** The folder is made when it is first missed. */
  #acquire(): { readonly tookOver: boolean } {
    const acquired = unlessMissing(() => this.#lock.acquire());
    if (acquired !== null) return acquired;
    this.#files.mkdirSync(this.#paths.dirname(this.path), { recursive: true, mode: 0o700 });
    return this.#lock.acquire();
  }

  #write(record: LedgerRecord, { fd, size, end, isUnended, setAside }: Standing): LedgerLine {
    const line = sealed(record, end, setAside);
    const bytes = new TextEncoder().encode(`${isUnended ? "\n" : ""}${printed(line)}\n`);
    try {
      writeWhole(this.#files, fd, bytes);
      if (this.#syncs) this.#files.fdatasyncSync(fd);
    } catch (cause) {
      this.#undo(fd, size);
      throw cause;
    }
    if (this.#open !== null) this.#open.offset = size + bytes.length;
    this.#end = { seq: line.seq, hash: line.hash };
    return line;
  }

  /** Takes away what was written of a line. Where even that fails, it is half a line, which the next append sets aside. */
  #undo(fd: number, size: number): void {
    if (this.#open !== null) this.#open.offset = null;
    try {
      this.#files.ftruncateSync(fd, size);
    } catch {
      // The error that is thrown already says more.
    }
  }

  /** Reads what is new, follows a file that was moved away, and mends what a crash left. */
  #standing(tookOver: boolean): Standing {
    this.#leaveMoved();
    const open = this.#opened();
    const size = this.#files.fstatSync(open.fd).size;
    // Somebody emptied it, cut it off or put another in its place; it may have grown again since.
    if (open.offset !== null && (size < open.offset || !this.#endsAt(open.fd, open.offset))) open.offset = null;
    const standing = this.#mended(open, size);
    if (standing.size >= this.#rotateBytes && !standing.isUnended) return this.#rotated(standing, tookOver);
    return tookOver ? { ...standing, setAside: [...standing.setAside, ...this.#leftBehind(standing.setAside)] } : standing;
  }

  /** Whether the last line that was seen still ends there. A line ends with its hash. */
  #endsAt(fd: number, offset: number): boolean {
    const ending = `"${this.#end.hash}"}\n`;
    return offset === 0 || new TextDecoder().decode(readBytes(this.#files, fd, Math.max(0, offset - ending.length), offset)) === ending;
  }

  #mended(open: Open, size: number): Standing {
    const from = open.offset ?? 0;
    const tail = tailOf(this.#files, open.fd, from, size);
    if (tail.last !== null) this.#end = endOfLine(tail.last, this.path);
    else if (from === 0) this.#end = later(this.#end, rotatedEnd(this.#files, this.#paths, this.path));
    const whole = size - tail.rest.length;
    open.offset = whole;
    if (tail.rest.length === 0) return { fd: open.fd, size, end: this.#end, isUnended: false, setAside: [] };
    const unended = followsOn(tail.rest, this.#end);
    if (unended !== null) {
      this.#end = { seq: unended.seq, hash: unended.hash };
      return { fd: open.fd, size, end: this.#end, isUnended: true, setAside: [] };
    }
    const setAside = this.#setAside(tail.rest);
    this.#files.ftruncateSync(open.fd, whole);
    return { fd: open.fd, size: whole, end: this.#end, isUnended: false, setAside: [setAside] };
  }

  /** Puts half a line into a file of its own, named after the line that comes next. It lasts before it is taken away where it was. */
  #setAside(bytes: Uint8Array): SetAside {
    for (let copy = 1; ; copy++) {
      const path = `${this.path}.torn-${this.#end.seq + 1}${copy === 1 ? "" : `-${copy}`}`;
      let fd: number;
      try {
        fd = this.#files.openSync(path, "wx", 0o600);
      } catch (error) {
        if (codeOf(error) === "EEXIST") continue;
        throw error;
      }
      try {
        writeWhole(this.#files, fd, bytes);
        this.#files.fdatasyncSync(fd);
      } catch (error) {
        this.#files.unlinkSync(path);
        throw error;
      } finally {
        this.#files.closeSync(fd);
      }
      return { file: this.#paths.basename(path), bytes: bytes.length };
    }
  }

  /** What somebody set aside who died before a line of theirs could say so. */
  #leftBehind(known: readonly SetAside[]): readonly SetAside[] {
    const folder = this.#paths.dirname(this.path);
    const beginning = `${this.#paths.basename(this.path)}.torn-`;
    return this.#files.readdirSync(folder).flatMap((file) => {
      const next = file.startsWith(beginning) ? Number.parseInt(file.slice(beginning.length), 10) : Number.NaN;
      if (Number.isNaN(next) || isAmong(known, file)) return [];
      const isNamed = this.after(next - 1, Number.POSITIVE_INFINITY).some((line) => isAmong(line.set_aside ?? [], file));
      const bytes = this.#files.statSync(this.#paths.resolve(folder, file), { throwIfNoEntry: false })?.size;
      return isNamed || bytes === undefined ? [] : [{ file, bytes }];
    });
  }

  #rotated({ end, setAside }: Standing, tookOver: boolean): Standing {
    const time = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
    const stem = this.#paths.basename(this.path, ".jsonl");
    this.#files.renameSync(this.path, this.#paths.resolve(this.#paths.dirname(this.path), `${stem}-${time}-${end.seq}.jsonl`));
    const next = this.#standing(tookOver);
    return { ...next, setAside: [...setAside, ...next.setAside.filter(({ file }) => !isAmong(setAside, file))] };
  }

  #opened(): Open {
    if (this.#open !== null) return this.#open;
    const fd = this.#files.openSync(this.path, "a+", 0o600);
    const { dev, ino } = this.#files.fstatSync(fd);
    this.#open = { fd, dev, ino, offset: null };
    return this.#open;
  }

  /** Lets go of a file that stands under its name no more, after the last look at it: others may have added lines before it was moved. */
  #leaveMoved(): void {
    if (this.#open === null) return;
    const { fd, dev, ino, offset } = this.#open;
    const there = this.#files.statSync(this.path, { throwIfNoEntry: false });
    if (there?.ino === ino && there.dev === dev) return;
    const { last } = tailOf(this.#files, fd, offset ?? 0, this.#files.fstatSync(fd).size);
    const line = last === null ? null : parsedLine(last);
    if (line !== null) this.#end = later(this.#end, line);
    this.#letGo();
  }

  #letGo(): void {
    if (this.#open === null) return;
    const { fd } = this.#open;
    this.#open = null;
    try {
      this.#files.fdatasyncSync(fd);
    } catch (error) {
      // The line that is to be written now is not one of them.
      this.#unflushed = error;
    } finally {
      this.#files.closeSync(fd);
    }
  }
}

const MOST_LINKS = 40;

/** The file itself where its name is a symbolic link: all who write it take one lock, by whatever name they know it. It need not be there yet. */
function meant(files: Files, paths: Paths, path: string, links = 0): string {
  try {
    // The folder may be reached by a link too, and `..` is the real one's parent.
    const target = paths.resolve(files.realpathSync(paths.dirname(path)), files.readlinkSync(path));
    // Beside what is no file, as `/dev/stderr` is none, is no place for a lock.
    const isNoFile = files.statSync(target, { throwIfNoEntry: false })?.isFile() === false;
    return isNoFile || links === MOST_LINKS ? path : meant(files, paths, target, links + 1);
  } catch {
    // It is no link.
    return path;
  }
}

function writeWhole(files: Files, fd: number, bytes: Uint8Array): void {
  // A disk that gets full in the middle takes a part first, and says so only when it is asked for the rest.
  for (let at = 0; at < bytes.length; ) at += files.writeSync(fd, bytes, at, bytes.length - at);
}

function endOfLine(text: string, path: string): ChainEnd {
  const line = parsedLine(text);
  if (line !== null) return { seq: line.seq, hash: line.hash };
  throw new LedgerError(
    "malformed",
    `Cannot write the ledger: the last line of ${path} is no line of a chain, so nothing can follow it. Move the file away, and a new one is begun`,
  );
}

/** The bytes as a line that is whole and belongs here, but for its line feed; `null`: they are not. */
function followsOn(bytes: Uint8Array, end: ChainEnd): LedgerLine | null {
  const line = parsedLine(new TextDecoder().decode(bytes));
  return line !== null && line.seq === end.seq + 1 && line.prev_hash === end.hash && hashOf(line) === line.hash ? line : null;
}

const isAmong = (known: readonly SetAside[], file: string): boolean => known.some((one) => one.file === file);

const later = (end: ChainEnd, other: ChainEnd | null): ChainEnd =>
  other !== null && other.seq > end.seq ? { seq: other.seq, hash: other.hash } : end;

const FULL: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EFBIG"]);

function asLedgerError(what: string, path: string, cause: unknown): LedgerError {
  if (cause instanceof LedgerError) return cause;
  const why = cause instanceof Error ? cause.message : String(cause);
  return FULL.has(codeOf(cause))
    ? new LedgerError("disk_full", `Cannot ${what}: there is no room for it in ${path} (${why})`, cause)
    : new LedgerError("unwritable", `Cannot ${what} in ${path}: ${why}`, cause);
}
