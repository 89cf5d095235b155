import fs, { readSync, writeSync } from "node:fs";
import { FileLock } from "../../sdk/src/local/ledger/file_lock.ts";
import { createFileStore } from "../../sdk/src/local/ledger/file_store.ts";
import { type Files, machineFiles } from "../../sdk/src/local/ledger/files.ts";
import { LedgerError } from "../../sdk/src/local/ledger/ledger_error.ts";
import { recordOf } from "./ledger_records.ts";

/**
 * A process that writes a ledger, for tests that need more than one or kill it. `write <path> <lines> <bytes>` appends so many lines, each of at least so
 * many bytes, and says `<seq> <hash>` when a line is kept, or its error and no more; with `<step>` it kills itself at that step of it, counted in calls
 * to the file system, half a line being written where the step is a write. `meet ...` is `write ...`, once it is told to begin. `hold <path>` takes the lock and
 * keeps it.
 */
const [what, path = "", lines = "0", bytes = "0", step = "0"] = process.argv.slice(2);
const tell = writeSync;
const say = (text: string): void => {
  tell(1, `${text}\n`);
};

// A limit on the size of files is an error of the write that passes it, and not the end of the process.
process.on("SIGXFSZ", () => undefined);

if (what === "hold") {
  // Node has files.
  const { files } = machineFiles() as { readonly files: Files };
  new FileLock(files, `${path}.lock`, 5_000).acquire();
  say("held");
  setInterval(() => undefined, 1_000);
} else {
  if (what === "meet") {
    say("ready");
    readSync(0, new Uint8Array(1));
  }
  const store = createFileStore({ path, patienceMs: 60_000 });
  if (step !== "0") dieAt(Number(step));
  try {
    for (let n = 0; n < Number(lines); n++) {
      const record = recordOf(n);
      const line = store.append({ ...record, payload: { ...record.payload, outputs: "x".repeat(Number(bytes)) } });
      say(`${line.seq} ${line.hash}`);
    }
  } catch (error) {
    if (!(error instanceof LedgerError)) throw error;
    say(error.code);
  }
  store.close();
}

/** Counts what the store asks of the file system, and ends the process at the n-th: before it is done, or, of a write, when half of it is. */
function dieAt(step: number): void {
  let steps = 0;
  const names = [
    "openSync",
    "closeSync",
    "writeSync",
    "ftruncateSync",
    "fdatasyncSync",
    "symlinkSync",
    "unlinkSync",
    "readdirSync",
    "mkdirSync",
  ] as const;
  for (const name of names) {
    // Called with whatever the store gave it.
    const real = fs[name] as (...args: readonly unknown[]) => unknown;
    const counted = (...args: unknown[]): unknown => {
      if (++steps === step) {
        const [fd, data, at, length] = args;
        if (name === "writeSync") real(fd, data, at, Math.floor(Number(length) / 2));
        process.kill(process.pid, "SIGKILL");
      }
      return real(...args);
    };
    Object.defineProperty(fs, name, { value: counted });
  }
}
