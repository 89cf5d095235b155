import { machineFiles } from "../local/ledger/files.ts";
import type { LedgerLine, LedgerStore } from "../local/ledger/line.ts";

/** A line that the gateway does not take, and why. It stays in the ledger; nobody reports it again. */
export interface RefusedLine {
  readonly id: string;
  readonly seq: number;
  readonly action: string;
  readonly code: string;
  readonly message: string;
}

/** So many are remembered in memory; the file beside a ledger has them all. */
const MOST_REMEMBERED = 1000;

/** Sets lines aside: in memory, and where the ledger is a file, in `<ledger>.refused.jsonl` beside it. */
export class RefusedLines {
  readonly #path: string | null;
  readonly #latest: RefusedLine[] = [];

  constructor({ path }: LedgerStore) {
    this.#path = path === undefined ? null : `${path}.refused.jsonl`;
  }

  get latest(): readonly RefusedLine[] {
    return [...this.#latest];
  }

  /** Never throws: where no room is left for it, the line is still in the ledger. */
  add({ id, seq, action }: LedgerLine, code: string, message: string): RefusedLine {
    const refused = { id, seq, action, code, message };
    this.#latest.push(refused);
    if (this.#latest.length > MOST_REMEMBERED) this.#latest.shift();
    const machine = this.#path === null ? null : machineFiles();
    if (machine !== null && this.#path !== null) append(machine.files, this.#path, `${JSON.stringify(refused)}\n`);
    return refused;
  }
}

function append(files: NonNullable<ReturnType<typeof machineFiles>>["files"], path: string, text: string): void {
  try {
    const bytes = new TextEncoder().encode(text);
    const fd = files.openSync(path, "a", 0o600);
    try {
      files.writeSync(fd, bytes, 0, bytes.length);
    } finally {
      files.closeSync(fd);
    }
  } catch {
    // The observer is told all the same.
  }
}
