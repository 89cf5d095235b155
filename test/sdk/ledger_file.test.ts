import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import fs, {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, it, vi } from "vitest";
import { CHAIN_START, parsedLine, printed } from "../../sdk/src/local/ledger/chain.ts";
import { createFileStore, type FileStoreOptions } from "../../sdk/src/local/ledger/file_store.ts";
import { LedgerError } from "../../sdk/src/local/ledger/ledger_error.ts";
import type { LedgerLine, LedgerStore } from "../../sdk/src/local/ledger/line.ts";
import { ledgerPath, openLedger, openLedgerSync } from "../../sdk/src/local/ledger/open.ts";
import { type ChainReport, verifyLines } from "../../sdk/src/local/ledger/verify.ts";
import { recordOf } from "./ledger_records.ts";

/** Processes are begun by the dozen, on a machine that may have others to run. */
const LONG_MS = 300_000;

const scratch = mkdtempSync(path.join(tmpdir(), "ledger-"));
const running = new Set<ChildProcess>();
afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(scratch, { recursive: true, force: true });
});

let folders = 0;
const folder = (): string => {
  const made = path.join(scratch, String(++folders));
  mkdirSync(made);
  return made;
};
const freshPath = (): string => path.join(folder(), "ledger.jsonl");

const store = (file: string, options: Partial<FileStoreOptions> = {}): LedgerStore => createFileStore({ path: file, ...options });
const fill = (into: LedgerStore, count: number, from = 0): readonly LedgerLine[] =>
  Array.from({ length: count }, (_, n) => into.append(recordOf(from + n)));
const textsOf = (file: string): readonly string[] => readFileSync(file, "utf8").split("\n");
const verified = (...files: readonly string[]): ChainReport => verifyLines(files.flatMap(textsOf), { after: CHAIN_START });
const besides = (file: string): readonly string[] => readdirSync(path.dirname(file)).filter((name) => name !== "ledger.jsonl");
const seqs = (lines: readonly LedgerLine[]): readonly number[] => lines.map(({ seq }) => seq);
const upTo = (last: number, first = 1): readonly number[] => Array.from({ length: last - first + 1 }, (_, n) => first + n);

function writer(...args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ["--no-warnings", path.join(import.meta.dirname, "ledger_writer.ts"), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
}

/** What a process says, line by line; `until`: and kills it when it has said so many. Resolves when it is gone. */
async function said(child: ChildProcess, until = Number.POSITIVE_INFINITY): Promise<readonly string[]> {
  const gone = once(child, "exit");
  const heard: string[] = [];
  if (child.stdout === null) throw new Error("its output is not read");
  for await (const line of createInterface({ input: child.stdout })) {
    heard.push(line);
    if (heard.length === until) child.kill("SIGKILL");
  }
  await gone;
  return heard;
}

/** The owner text of a process that has taken a ledger's lock and was then killed. */
async function deadOwner(file: string): Promise<string> {
  const child = writer("hold", file);
  await said(child, 1);
  return readlinkSync(`${file}.lock`);
}

/** How this process begins an owner's text: its id, and when it began. */
function thisProcess(): string {
  const stat = existsSync("/proc/self/stat") ? readFileSync("/proc/self/stat", "utf8") : "";
  return `${process.pid}:${stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""}`;
}

describe("A ledger in a file", () => {
  it("is JSON Lines that anybody can read, sum and filter, and only its owner", () => {
    const file = freshPath();
    const lines = fill(store(file), 5);
    expect(textsOf(file)).toEqual([...lines.map(printed), ""]);
    const read = textsOf(file).flatMap((text) => (text === "" ? [] : [parsedLine(text)]));
    expect(read.reduce((sum, line) => sum + (line?.cost_usd ?? 0), 0)).toBeCloseTo(0.1, 9);
    expect(verified(file)).toMatchObject({ ok: true, lines: 5 });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(besides(file)).toEqual([]);
  });

  it("goes on where an earlier process ended, and makes its folder", () => {
    const file = path.join(folder(), "a", "b", "ledger.jsonl");
    const first = store(file);
    fill(first, 3);
    first.close();
    expect(() => first.append(recordOf(3))).toThrow(expect.objectContaining({ name: "LedgerError", code: "closed" }));
    fill(store(file, { fsync: "always" }), 2, 3);
    expect(verified(file)).toMatchObject({ ok: true, lines: 5 });
  });

  it("is where it was opened, wherever the process goes", () => {
    const home = folder();
    const before = process.env.AGENT_SENTINEL_HOME;
    process.env.AGENT_SENTINEL_HOME = home;
    expect(ledgerPath()).toBe(path.join(home, "ledger.jsonl"));
    expect(openLedgerSync().path).toBe(path.join(home, "ledger.jsonl"));
    process.env.AGENT_SENTINEL_HOME = "";
    expect(openLedgerSync().path).toBe(path.resolve(".agent-sentinel/ledger.jsonl"));
    if (before === undefined) delete process.env.AGENT_SENTINEL_HOME;
    else process.env.AGENT_SENTINEL_HOME = before;
    expect(existsSync(".agent-sentinel")).toBe(false);
  });

  it("is what `openLedger` opens here, and flushes to the disk", async () => {
    const file = freshPath();
    const opened = await openLedger({ path: file });
    await opened.flush();
    fill(opened, 2);
    await opened.flush();
    expect(verified(file)).toMatchObject({ ok: true, lines: 2 });
    opened.close();
  });

  it("gives what comes after any line, however long lines and file are", () => {
    const file = freshPath();
    const written = store(file);
    fc.assert(
      fc.property(fc.array(fc.oneof(fc.constant(10), fc.integer({ min: 0, max: 200_000 })), { minLength: 1, maxLength: 25 }), (sizes) => {
        const before = written.after(0, Number.POSITIVE_INFINITY).length;
        for (const size of sizes) written.append({ ...recordOf(1), payload: { inputs: null, outputs: "é".repeat(size / 2) } });
        const length = before + sizes.length;
        for (const seq of [0, before, before + 1, length - 1, length, length + 5, Math.floor(length / 2)]) {
          expect(seqs(written.after(seq, 3))).toEqual(upTo(length).slice(seq, seq + 3));
        }
        expect(seqs(written.after(0, Number.POSITIVE_INFINITY))).toEqual(upTo(length));
      }),
      { numRuns: 12 },
    );
  });

  it("passes over what somebody wrote into it that is no line, and still gives the rest", () => {
    const file = freshPath();
    const written = store(file);
    for (let n = 0; n < 300; n++) written.append({ ...recordOf(n), payload: { inputs: null, outputs: "x".repeat(2_000) } });
    const lines = textsOf(file);
    writeFileSync(file, [...lines.slice(0, 150), "not a line", ...lines.slice(150)].join("\n"));
    expect(seqs(written.after(0, 1_000))).toEqual(upTo(300));
    for (const seq of [0, 100, 149, 150, 151, 250, 299]) expect(seqs(written.after(seq, 2))).toEqual(upTo(300).slice(seq, seq + 2));
    expect(verified(file)).toMatchObject({ ok: false, lines: 150, fault: { line: 151, kind: "changed" } });
  });

  it.each([
    ["rotateBytes", 0],
    ["rotateBytes", Number.NaN],
    ["patienceMs", -1],
  ])("is not opened with a %s of %d", (option, value) => {
    expect(() => store(freshPath(), { [option]: value })).toThrow(new RegExp(`^Cannot use ${option} ${value}: wanted a number from`));
  });

  it("in which 80 MB without a line feed stand is read in no more time than its length takes", () => {
    const file = freshPath();
    const open = store(file);
    fill(open, 2);
    // As a file system leaves it that lost its power.
    truncateSync(file, statSync(file).size + 80_000_000);
    appendFileSync(file, "\n");
    expect(seqs(open.after(1, 10))).toEqual([2]);
  });

  it("is not continued after a last line that is none", () => {
    const file = freshPath();
    const original = '{"id":"550e8400-e29b-41d4-a716-446655440000","action":"search_tool","cost_usd":0.01}\n';
    writeFileSync(file, original);
    expect(() => store(file).append(recordOf(1))).toThrow(expect.objectContaining({ code: "malformed", recoverable: false }));
    expect(readFileSync(file, "utf8")).toBe(original);
    renameSync(file, file.replace(".jsonl", "-old.jsonl"));
    fill(store(file), 1);
    expect(verified(file)).toMatchObject({ ok: true, firstSeq: 1 });
  });
});

describe("Two who write one ledger", () => {
  it("in one process, in turns, make one chain", () => {
    const file = freshPath();
    const [a, b] = [store(file), store(file)];
    for (let n = 0; n < 20; n++) (n % 3 === 0 ? a : b).append(recordOf(n));
    expect(verified(file)).toMatchObject({ ok: true, lines: 20 });
    expect(seqs(a.after(0, 100))).toEqual(upTo(20));
  });

  it("by two names, one of them a symbolic link, make one chain", async () => {
    const file = freshPath();
    const link = freshPath();
    symlinkSync(path.relative(path.dirname(link), file), link);
    const both = [writer("meet", file, "300", "0"), writer("meet", link, "300", "0")];
    const hearing = both.map((child) => said(child));
    await Promise.all(both.map((child) => child.stdout !== null && once(child.stdout, "data")));
    for (const child of both) child.stdin?.end("x");
    await Promise.all(hearing);
    expect(verified(file)).toMatchObject({ ok: true, lines: 600 });
    expect([besides(file), besides(link)]).toEqual([[], []]);
  });

  it("two real processes, 500 lines each, make one chain, and each line is where its writer was told", async () => {
    const file = freshPath();
    const both = [writer("meet", file, "500", "0"), writer("meet", file, "500", "100")];
    const hearing = both.map((child) => said(child));
    await Promise.all(both.map((child) => child.stdout !== null && once(child.stdout, "data")));
    for (const child of both) child.stdin?.end("x");
    const heard = (await Promise.all(hearing)).map(([_ready, ...lines]) => lines);
    expect(heard.map((lines) => lines.length)).toEqual([500, 500]);
    expect(verified(file)).toMatchObject({ ok: true, lines: 1_000, setAside: [] });
    const kept = store(file)
      .after(0, 2_000)
      .map(({ seq, hash }) => `${seq} ${hash}`);
    expect(new Set(kept)).toEqual(new Set(heard.flat()));
    // They did write at the same time: one of them was told of a place that does not follow its last one.
    const places = heard.map((lines) => lines.map((line) => Number.parseInt(line, 10)));
    expect(places.some((own) => own.some((seq, n) => n > 0 && seq !== (own[n - 1] ?? 0) + 1))).toBe(true);
    expect(besides(file)).toEqual([]);
  });

  it(
    "lose nothing that they were told is kept when one of them is killed, round after round",
    async () => {
      const file = freshPath();
      const acknowledged: string[] = [];
      for (let round = 0; round < 8; round++) {
        const victim = said(writer("write", file, "100000", String((round % 3) * 20_000)), 1 + ((round * 7) % 20));
        const survivor = said(writer("write", file, "12", "0"));
        acknowledged.push(...(await victim), ...(await survivor));
      }
      const after = store(file);
      fill(after, 1);
      expect(verified(file)).toMatchObject({ ok: true });
      const kept = new Set(after.after(0, Number.POSITIVE_INFINITY).map(({ seq, hash }) => `${seq} ${hash}`));
      expect(acknowledged.filter((line) => !kept.has(line))).toEqual([]);
      expect(besides(file).filter((name) => name.includes(".lock"))).toEqual([]);
    },
    LONG_MS,
  );

  it(
    "lose nothing when one of them is killed at any step of an append, mending what another left half written",
    async () => {
      const killedAt = async (step: number): Promise<boolean> => {
        const file = freshPath();
        const before = fill(store(file), 2).map(({ seq, hash }) => `${seq} ${hash}`);
        appendFileSync(file, '{"id":"half');
        const acknowledged = await said(writer("write", file, "2", "0", String(step)));
        const next = store(file);
        fill(next, 1, 9);
        const report = verified(file);
        expect(report, `killed at step ${step}`).toMatchObject({ ok: true, fault: null });
        const kept = next.after(0, 10).map(({ seq, hash }) => `${seq} ${hash}`);
        expect(kept, `killed at step ${step}`).toEqual(expect.arrayContaining([...before, ...acknowledged]));
        // Nothing that was half written is lost, and each file beside the ledger is named by a line of it.
        const aside = report.setAside.map(({ file: name }) => name).sort();
        expect(
          aside.map((name) => readFileSync(path.join(path.dirname(file), name), "utf8")),
          `killed at step ${step}`,
        ).toContain('{"id":"half');
        expect(besides(file), `killed at step ${step}`).toEqual(aside);
        return acknowledged.length < 2;
      };
      let step = 1;
      // Two at a time, until one is through before its step comes.
      for (; (await Promise.all([killedAt(step), killedAt(step + 1)])).every(Boolean); step += 2);
      expect(step).toBeGreaterThan(8);
    },
    LONG_MS,
  );

  it("wait for a living owner of the lock, and say who it is when it takes too long", async () => {
    const file = freshPath();
    fill(store(file), 1);
    const child = writer("hold", file);
    const heard = said(child, 2);
    await expect.poll(() => lstatSync(`${file}.lock`, { throwIfNoEntry: false }), { timeout: 60_000 }).toBeDefined();
    const size = statSync(file).size;
    expect(() => store(file, { patienceMs: 50 }).append(recordOf(1))).toThrow(
      expect.objectContaining({ code: "busy", message: expect.stringContaining(`process ${child.pid}`) }),
    );
    expect(statSync(file).size).toBe(size);
    child.kill("SIGKILL");
    await heard;
    fill(store(file), 1, 1);
    expect(verified(file)).toMatchObject({ ok: true, lines: 2 });
  });

  it("wait no longer because the clock is set back meanwhile", () => {
    const file = freshPath();
    symlinkSync(`1:::aaaaaaaaaaaa:elsewhere`, `${file}.lock`);
    const began = performance.now();
    const now = Date.now();
    const clock = vi.spyOn(Date, "now").mockImplementation(() => now - (performance.now() - began));
    try {
      expect(() => store(file, { patienceMs: 50 }).append(recordOf(1))).toThrow(expect.objectContaining({ code: "busy" }));
    } finally {
      clock.mockRestore();
    }
  });

  it("take a dead owner's lock, and its claims on others', and leave nothing of them", async () => {
    const file = freshPath();
    const owner = await deadOwner(file);
    const token = (of: string): string => of.split(":")[3] ?? "";
    const claimant = owner.replace(token(owner), "aaaaaaaaaaaa");
    const second = owner.replace(token(owner), "bbbbbbbbbbbb");
    symlinkSync(claimant, `${file}.lock-${token(owner)}`);
    symlinkSync(second, `${file}.lock-${token(claimant)}`);
    fill(store(file), 2);
    expect(verified(file)).toMatchObject({ ok: true, lines: 2 });
    expect(besides(file)).toEqual([]);
  });

  it.each<readonly [whose: string, change: (owner: string) => string]>([
    ["a living process with another beginning, which has a dead one's id", (owner) => owner.replace(/^\d+/, String(process.pid))],
    ["another thread of this process, which was ended in the middle of a line", (owner) => owner.replace(/^\d+:\d*/, thisProcess())],
    ["a process of the same machine under an older start of its system", (owner) => owner.replace(/^(\d+:\d*:)[^:]*/, "$1old-1")],
  ])("do not wait for %s", async (_whose, change) => {
    const file = freshPath();
    const owner = await deadOwner(file);
    unlinkSync(`${file}.lock`);
    symlinkSync(change(owner), `${file}.lock`);
    // By age where there is nothing else to tell by.
    execFileSync("touch", ["-h", "-d", "1 minute ago", `${file}.lock`]);
    fill(store(file, { patienceMs: 2_000 }), 1);
    expect(besides(file)).toEqual([]);
  });

  it("never take the lock of another machine", async () => {
    const file = freshPath();
    const owner = await deadOwner(file);
    unlinkSync(`${file}.lock`);
    symlinkSync(owner.replace(/[^:]*$/, "elsewhere"), `${file}.lock`);
    expect(() => store(file, { patienceMs: 50 }).append(recordOf(1))).toThrow(
      expect.objectContaining({ code: "busy", message: expect.stringContaining("elsewhere") }),
    );
    expect(existsSync(file)).toBe(false);
  });

  it("understand a lock that is a file, as it is where links cannot be made", async () => {
    const file = freshPath();
    const owner = await deadOwner(file);
    unlinkSync(`${file}.lock`);
    writeFileSync(`${file}.lock`, owner);
    fill(store(file), 1);
    // One that says nothing: its maker died before it could. Young, it may still be about to.
    writeFileSync(`${file}.lock`, "");
    expect(() => store(file, { patienceMs: 50 }).append(recordOf(1))).toThrow(expect.objectContaining({ code: "busy" }));
    execFileSync("touch", ["-d", "1 minute ago", `${file}.lock`]);
    fill(store(file), 1, 1);
    expect(verified(file)).toMatchObject({ ok: true, lines: 2 });
    expect(besides(file)).toEqual([]);
  });
});

describe("Half a line at the end", () => {
  it("is set aside and named by the next line, wherever it was cut; a whole one without its line feed is kept", () => {
    const file = freshPath();
    const [, , last] = fill(store(file), 3);
    const whole = readFileSync(file);
    const lastBytes = Buffer.from(`${last === undefined ? "" : printed(last)}\n`);
    const before = whole.length - lastBytes.length;
    for (let kept = 0; kept < lastBytes.length; kept++) {
      writeFileSync(file, whole.subarray(0, before + kept));
      const [next] = fill(store(file), 1, 7);
      const isWhole = kept === lastBytes.length - 1;
      expect(next?.seq).toBe(isWhole ? 4 : 3);
      const aside = kept === 0 || isWhole ? [] : [{ file: "ledger.jsonl.torn-3", bytes: kept }];
      expect(verified(file)).toMatchObject({ ok: true, lines: next?.seq, setAside: aside });
      expect(next?.set_aside ?? []).toEqual(aside);
      expect(besides(file)).toEqual(aside.map((one) => one.file));
      for (const one of besides(file)) {
        expect(readFileSync(path.join(path.dirname(file), one)).equals(lastBytes.subarray(0, kept))).toBe(true);
        unlinkSync(path.join(path.dirname(file), one));
      }
    }
  });

  it("of a store that is open is noticed too, and one of the first line", () => {
    const file = freshPath();
    const open = store(file);
    writeFileSync(file, '{"id":"0');
    expect(open.append(recordOf(0)).set_aside).toEqual([{ file: "ledger.jsonl.torn-1", bytes: 8 }]);
    appendFileSync(file, '{"id"');
    expect(open.append(recordOf(1)).set_aside).toEqual([{ file: "ledger.jsonl.torn-2", bytes: 5 }]);
    expect(open.append(recordOf(2)).set_aside).toBeUndefined();
    expect(verified(file)).toMatchObject({ ok: true, lines: 3 });
  });

  it("is never read as a line", () => {
    const file = freshPath();
    const open = store(file);
    fill(open, 2);
    appendFileSync(file, printed({ ...open.append(recordOf(2)), seq: 4 }));
    expect(seqs(open.after(0, 10))).toEqual([1, 2, 3]);
  });

  it("that was set aside by somebody who died before saying so is named by whoever takes over, once", async () => {
    const file = freshPath();
    fill(store(file), 2);
    const owner = await deadOwner(file);
    writeFileSync(`${file}.torn-3`, "half");
    const [third] = fill(store(file), 1, 2);
    expect(third?.set_aside).toEqual([{ file: "ledger.jsonl.torn-3", bytes: 4 }]);
    symlinkSync(owner, `${file}.lock`);
    const [fourth] = fill(store(file), 1, 3);
    expect(fourth?.set_aside).toBeUndefined();
    expect(verified(file)).toMatchObject({ ok: true, lines: 4 });
  });
});

/** Whether this machine lets a test have a small disk of its own. */
const mayMount = ((): boolean => {
  try {
    execFileSync("unshare", ["-m", "sh", "-c", `mount -t tmpfs -o size=64k none ${scratch}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe("A full disk", () => {
  const script = `"$0" --no-warnings "$1" write "$2" 1000 3000`;
  const writerFile = path.join(import.meta.dirname, "ledger_writer.ts");

  it("is told by its own error, and nothing is kept of the line", async () => {
    const file = freshPath();
    symlinkSync("/dev/full", file);
    const open = store(file);
    let thrown: unknown;
    try {
      open.append(recordOf(1));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(LedgerError);
    expect(thrown).toMatchObject({ name: "LedgerError", code: "disk_full", recoverable: true, cause: { code: "ENOSPC" } });
    unlinkSync(file);
    // Whoever flushes now is told that what was in the file before may not last.
    expect(open.append(recordOf(1)).seq).toBe(1);
    await expect(open.flush()).rejects.toMatchObject({ code: "unwritable" });
    await open.flush();
    expect(verified(file)).toMatchObject({ ok: true, lines: 1 });
  });

  it("that takes a part of a line has nothing of it afterwards, and the chain goes on when there is room", () => {
    const file = freshPath();
    // Sixteen or thirty-two kilobytes, by the shell's idea of a block: no whole number of lines.
    const heard = execFileSync("sh", ["-c", `ulimit -f 33; ${script}`, process.execPath, writerFile, file], { encoding: "utf8" })
      .trim()
      .split("\n");
    expect(heard.at(-1)).toBe("disk_full");
    expect(heard.length).toBeGreaterThan(3);
    expect(readFileSync(file, "utf8").endsWith("}\n")).toBe(true);
    expect(verified(file)).toMatchObject({ ok: true, lines: heard.length - 1 });
    expect(besides(file)).toEqual([]);
    fill(store(file), 1);
    expect(verified(file)).toMatchObject({ ok: true, lines: heard.length });
  });

  it.skipIf(!mayMount)("of a real file system is the same", () => {
    const file = freshPath();
    const copy = `${file}.copy`;
    const mounted = `mount -t tmpfs -o size=64k none "$3"; ${script}; cp "$2" "$4"; ls "$3"`;
    const small = folder();
    const args = [process.execPath, writerFile, path.join(small, "ledger.jsonl"), small, copy];
    const heard = execFileSync("unshare", ["-m", "sh", "-c", mounted, ...args], { encoding: "utf8" })
      .trim()
      .split("\n");
    expect(heard.slice(-2)).toEqual(["disk_full", "ledger.jsonl"]);
    expect(verified(copy)).toMatchObject({ ok: true, lines: heard.length - 2 });
  });
});

describe("Rotation", () => {
  it("by `mv` is survived by all who write, and the chain goes on in the new file", () => {
    const file = freshPath();
    const moved = (name: string): string => path.join(path.dirname(file), `ledger-${name}.jsonl`);
    const [a, b] = [store(file), store(file)];
    fill(a, 3);
    fill(b, 2, 3);
    renameSync(file, moved("20250115"));
    // What `a` has not seen was written by `b`, into the file that is gone.
    fill(a, 2, 5);
    fill(b, 1, 7);
    renameSync(file, moved("20250116"));
    // One that has seen nothing of it.
    fill(store(file), 2, 8);
    fill(b, 1, 10);
    expect(verified(moved("20250115"), moved("20250116"), file)).toMatchObject({ ok: true, lines: 11 });
    for (const one of [a, b, store(file)]) {
      expect(seqs(one.after(0, 100))).toEqual(upTo(11));
      expect(seqs(one.after(4, 5))).toEqual(upTo(9, 5));
      expect(seqs(one.after(10, 5))).toEqual([11]);
    }
  });

  it("goes on after files that were packed", () => {
    const file = freshPath();
    fill(store(file), 3);
    writeFileSync(path.join(path.dirname(file), "ledger-20250115.jsonl.gz"), gzipSync(readFileSync(file)));
    unlinkSync(file);
    expect(fill(store(file), 1)[0]?.seq).toBe(4);
    expect(seqs(store(file).after(0, 10))).toEqual([4]);
  });

  it("by copying and emptying is survived", () => {
    const file = freshPath();
    const [open, other] = [store(file), store(file)];
    fill(open, 3);
    const copy = path.join(path.dirname(file), "ledger-1.jsonl");
    writeFileSync(copy, readFileSync(file));
    truncateSync(file, 0);
    // The file is shorter now than what one of them has read of it.
    fill(other, 1, 3);
    fill(open, 2, 4);
    expect(verified(copy, file)).toMatchObject({ ok: true, lines: 6 });
  });

  it("by copying and emptying is survived by who looks only when others have filled it again as far as that, and further", () => {
    for (const more of [0, 1, 2]) {
      const file = freshPath();
      const [open, other] = [store(file), store(file)];
      fill(open, 3);
      const [fourth] = fill(other, 1, 3);
      fill(open, 1, 4);
      const copy = path.join(path.dirname(file), "ledger-1.jsonl");
      const size = statSync(file).size;
      writeFileSync(copy, readFileSync(file));
      truncateSync(file, 0);
      // As long as it was, or a little longer: what one of them has read up to lies in the middle of a line now, or at the end of another.
      for (let n = 5; statSync(file).size < size; n++) {
        const lacking = size - statSync(file).size;
        const line = lineBytes(fourth);
        other.append(lacking >= 2 * line ? recordOf(n) : { ...recordOf(n), reason: "x".repeat(Math.max(0, lacking - line)) });
      }
      fill(other, more, 20);
      fill(open, 1, 30);
      expect(verified(copy, file), `${more} more`).toMatchObject({ ok: true });
    }
  });

  it("loses nothing to who reads while it happens", () => {
    const file = freshPath();
    const [open, reader] = [store(file), store(file)];
    fill(open, 3);
    renameSync(file, path.join(path.dirname(file), "ledger-1.jsonl"));
    fill(open, 3, 3);
    // The others are looked for, and before their lines are read the file is moved and begun anew.
    const list = fs.readdirSync;
    let isMoved = false;
    const listing = vi.spyOn(fs, "readdirSync").mockImplementation(((folder: string) => {
      const names = list(folder);
      if (!isMoved) {
        isMoved = true;
        renameSync(file, path.join(path.dirname(file), "ledger-2.jsonl"));
        fill(open, 3, 6);
      }
      return names;
      // The one way in which the store calls it.
    }) as typeof list);
    try {
      for (const after of [0, 2, 6]) {
        isMoved &&= after !== 0;
        const found = seqs(reader.after(after, 100));
        expect(found, `after ${after}`).toEqual(upTo(after + found.length, after + 1));
      }
      expect(seqs(reader.after(0, 100))).toEqual(upTo(9));
    } finally {
      listing.mockRestore();
    }
  });

  it("leaves a file of which somebody spoiled the first line readable from the second on", () => {
    const file = freshPath();
    fill(store(file), 3);
    const moved = path.join(path.dirname(file), "ledger-1.jsonl");
    writeFileSync(moved, readFileSync(file, "utf8").replace("{", "<"));
    unlinkSync(file);
    fill(store(file), 1, 3);
    expect(seqs(store(file).after(0, 10))).toEqual([2, 3, 4]);
  });

  it("is never seen in another ledger beside it whose name begins alike", () => {
    const file = freshPath();
    const other = store(path.join(path.dirname(file), "ledger-support.jsonl"));
    fill(other, 5);
    const open = store(file);
    expect(fill(open, 2)[0]?.seq).toBe(1);
    expect(seqs(open.after(0, 10))).toEqual([1, 2]);
    expect(seqs(open.after(2, 10))).toEqual([]);
  });

  it("by size leaves files of about that size, in order, that are one chain and read as one", () => {
    const file = freshPath();
    const open = store(file, { rotateBytes: 2_000 });
    fill(open, 30);
    const rotated = besides(file).map((name) => path.join(path.dirname(file), name));
    expect(rotated.length).toBeGreaterThan(5);
    for (const one of rotated) expect(statSync(one).size).toBeLessThan(3_000);
    const bySeq = [...rotated].sort((a, b) => statOf(a) - statOf(b));
    expect(verified(...bySeq, file)).toMatchObject({ ok: true, lines: 30 });
    expect(seqs(open.after(0, 100))).toEqual(upTo(30));
    expect(seqs(open.after(13, 4))).toEqual(upTo(17, 14));
  });

  it("into another folder is survived by who has not seen all that was written before", () => {
    const file = freshPath();
    const [a, b] = [store(file), store(file)];
    fill(a, 3);
    fill(b, 2, 3);
    const elsewhere = path.join(folder(), "old.jsonl");
    renameSync(file, elsewhere);
    fill(a, 1, 5);
    expect(verified(elsewhere, file)).toMatchObject({ ok: true, lines: 6 });
  });

  it("of a file that is gone for good begins no second chain while somebody remembers the first", () => {
    const file = freshPath();
    const open = store(file);
    fill(open, 2);
    unlinkSync(file);
    expect(fill(open, 1, 2)[0]?.seq).toBe(3);
    expect(verifyLines(textsOf(file))).toMatchObject({ ok: true, firstSeq: 3 });
  });
});

const lineBytes = (line: LedgerLine | undefined): number => (line === undefined ? 0 : Buffer.byteLength(printed(line)) + 1);

const statOf = (file: string): number => parsedLine(textsOf(file)[0] ?? "")?.seq ?? 0;
