import { builtin } from "../builtin.ts";
import { codeOf, type Files, unlessMissing } from "./files.ts";
import { LedgerError } from "./ledger_error.ts";

/**
 * One writer at a time among all threads and processes that use a file: a symbolic link beside it whose target names its owner. Making one is atomic,
 * and who it belongs to is readable from its first instant, so a crash at any point leaves either no lock or one whose owner is known to be dead. Where
 * links may not be made (Windows, Deno without leave) a file with the same content takes its place.
 *
 * The lock of a dead owner is taken away by whoever makes the claim on it, a second lock named after the dead one. Without it, two who see the same dead
 * lock would both remove it, and the slower one would remove the quicker one's.
 */
export class FileLock {
  readonly #files: Files;
  readonly #path: string;
  readonly #patienceMs: number;
  readonly #me: string;
  #makesLinks = true;

  constructor(files: Files, path: string, patienceMs: number) {
    this.#files = files;
    this.#path = path;
    this.#patienceMs = patienceMs;
    this.#me = ownerText(files);
  }

  /** Waits, without giving way to anything else of this thread, until the lock is its own. Says whether a dead owner's lock had to be taken away first. */
  acquire(): { readonly tookOver: boolean } {
    // A clock that is set back meanwhile must not hold this thread.
    const until = performance.now() + this.#patienceMs;
    let tookOver = false;
    for (let round = 0; ; round++) {
      if (this.#make(this.#path)) return { tookOver };
      const owner = this.#ownerOf(this.#path);
      // It was given back meanwhile.
      if (owner === null) continue;
      // It could not be removed the last time.
      if (owner === this.#me) return { tookOver };
      // A living owner is done in less than it takes to ask whether it lives.
      if (round >= FEW_ROUNDS && this.#isDead(this.#path, owner)) {
        tookOver = this.#takeAway(this.#path, owner) || tookOver;
        continue;
      }
      if (performance.now() > until) throw this.#busy(owner);
      sleep(round < FEW_ROUNDS ? 0.05 : 0.5 + Math.random() * 2);
    }
  }

  release(): void {
    try {
      this.#files.unlinkSync(this.#path);
    } catch {
      // It stays this thread's own, and `acquire` knows it again.
    }
  }

  #make(path: string): boolean {
    if (this.#makesLinks) {
      try {
        this.#files.symlinkSync(this.#me, path);
        return true;
      } catch (error) {
        if (codeOf(error) === "EEXIST") return false;
        if (!NO_LINKS.has(codeOf(error)) && !isNotAllowed(error)) throw error;
        this.#makesLinks = false;
      }
    }
    let fd: number;
    try {
      fd = this.#files.openSync(path, "wx", 0o600);
    } catch (error) {
      if (codeOf(error) === "EEXIST") return false;
      throw error;
    }
    const text = new TextEncoder().encode(this.#me);
    this.#files.writeSync(fd, text, 0, text.length);
    this.#files.closeSync(fd);
    return true;
  }

  #ownerOf(path: string): string | null {
    try {
      return this.#files.readlinkSync(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      return unlessMissing(() => new TextDecoder().decode(this.#files.readFileSync(path)));
    }
  }

  /** Says whether it took the lock away itself. */
  #takeAway(path: string, owner: string): boolean {
    const claim = `${this.#path}-${tokenOf(owner)}`;
    if (!this.#make(claim)) {
      const claimant = this.#ownerOf(claim);
      if (claimant !== null && claimant !== this.#me && this.#isDead(claim, claimant)) this.#takeAway(claim, claimant);
      sleep(0.5);
      return false;
    }
    try {
      // Nobody but who has the claim removes this lock, and its owner is dead: it cannot become another's between these two.
      if (this.#ownerOf(path) !== owner) return false;
      this.#files.unlinkSync(path);
      return true;
    } finally {
      this.#files.unlinkSync(claim);
    }
  }

  /** Only what is known to be dead is: of an owner on another machine nothing is. */
  #isDead(path: string, owner: string): boolean {
    const [pid = "", start = "", place = "", , host = ""] = owner.split(":");
    const mine = this.#me.split(":");
    if (!/^[1-9][0-9]*$/.test(pid)) return this.#isOld(path);
    // Without either name nothing says that it is this machine.
    if (host !== mine[4] || (host === "" && place === "")) return false;
    // The same name and another system: it was started anew. Two that bear one name at the same time would be told apart by age alone.
    if (place !== mine[2]) return this.#isOld(path);
    // Another thread of this process: it can be ended at any point, and nothing says whether it was.
    if (pid === mine[0] && start === mine[1]) return this.#isOld(path);
    return !isAlive(this.#files, Number(pid), start);
  }

  #isOld(path: string): boolean {
    const made = this.#files.lstatSync(path, { throwIfNoEntry: false })?.mtimeMs;
    return made !== undefined && Date.now() - made > OLD_MS;
  }

  #busy(owner: string): LedgerError {
    const [pid, , , , host] = owner.split(":");
    return new LedgerError(
      "busy",
      `Cannot write the ledger: process ${pid} on ${host} has held ${this.#path} for ${this.#patienceMs} ms. If no such process runs any more, remove that file`,
    );
  }
}

const FEW_ROUNDS = 20;
/** Nobody holds a lock for so long who still lives. */
const OLD_MS = 10_000;
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "EACCES", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EINVAL"]);

/** Deno's word for what it was not given leave to do. */
const isNotAllowed = (error: unknown): boolean => error instanceof Error && (error.name === "NotCapable" || error.name === "PermissionDenied");

/** The owner as a lock names it: its process, when that began, on which system, which of its threads it is, and the machine's name. */
function ownerText(files: Files): string {
  const { process }: { readonly process?: { readonly pid?: number } } = globalThis as object;
  const host = hostName();
  const pid = process?.pid ?? 0;
  const token = Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [pid, startOf(files, pid) ?? "", placeOf(files), token, host.replaceAll(":", "")].join(":");
}

/** Empty where Deno was given no leave to say it. */
function hostName(): string {
  try {
    return builtin<{ readonly hostname: () => string }>("node:os")?.hostname?.() ?? "";
  } catch {
    return "";
  }
}

const tokenOf = (owner: string): string => owner.split(":")[3]?.replace(/[^0-9a-f]/g, "") || "unknown";

/** Two processes with one of these see each other's ids: the same start of the system and the same space of process ids. */
function placeOf(files: Files): string {
  try {
    const boot = new TextDecoder().decode(files.readFileSync("/proc/sys/kernel/random/boot_id")).slice(0, 8);
    return `${boot}-${files.readlinkSync("/proc/self/ns/pid").replace(/[^0-9]/g, "")}`;
  } catch {
    return "";
  }
}

function isAlive(files: Files, pid: number, start: string): boolean {
  const known = startOf(files, pid);
  if (known !== null && start !== "") return known === start;
  const { process }: { readonly process?: { readonly kill?: (pid: number, signal: 0) => unknown } } = globalThis as object;
  try {
    process?.kill?.(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) !== "ESRCH";
  }
}

/**
 * When a process began, in the system's ticks: an id is given again, the two together are not. `dead` of one whose parent has not heard yet that it is.
 * `null`: there is no such process, or the system does not say.
 */
function startOf(files: Files, pid: number): string | null {
  try {
    const stat = new TextDecoder().decode(files.readFileSync(`/proc/${pid}/stat`));
    // The name before the last bracket may hold anything.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? "dead" : (fields[19] ?? null);
  } catch {
    return null;
  }
}

/** Nothing ever wakes it: a wait that always lasts its time. */
const sleep = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
};
