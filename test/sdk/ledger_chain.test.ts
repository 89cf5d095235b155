import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHAIN_START, hashOf, printed, sealed } from "../../sdk/src/local/ledger/chain.ts";
import { Ledger } from "../../sdk/src/local/ledger/ledger.ts";
import { LedgerError } from "../../sdk/src/local/ledger/ledger_error.ts";
import type { LedgerLine, LedgerStore } from "../../sdk/src/local/ledger/line.ts";
import { createMemoryStore, quiet } from "../../sdk/src/local/ledger/memory_store.ts";
import { createRecorder } from "../../sdk/src/local/ledger/recorder.ts";
import { verifyChain, verifyLines } from "../../sdk/src/local/ledger/verify.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { recordOf } from "./ledger_records.ts";

/** A chain of so many lines, as their texts. */
function chain(length: number, seed = 0): readonly string[] {
  let end = CHAIN_START;
  return Array.from({ length }, (_, n) => {
    const line = sealed(recordOf(seed + n), end);
    end = line;
    return printed(line);
  });
}

const parsed = (text: string | undefined): LedgerLine => JSON.parse(text ?? "null");

/** The lines with another content from `at` on, hashed anew up to and without `until`: what somebody can do who knows how it is done. */
function forged(lines: readonly string[], at: number, until: number): readonly string[] {
  let end = at === 0 ? CHAIN_START : parsed(lines[at - 1]);
  return lines.map((text, n) => {
    if (n < at || n >= until) return text;
    const { seq: _, prev_hash: __, hash: ___, ...record } = parsed(text);
    const line = sealed({ ...record, cost_usd: record.cost_usd + 1 }, end);
    end = line;
    return printed(line);
  });
}

const someChain = fc.record({ length: fc.integer({ min: 3, max: 12 }), seed: fc.integer({ min: 0, max: 1_000 }) });
const place = fc.nat();

describe("A whole chain", () => {
  it("is good, and its report says where it begins and ends", () => {
    const lines = chain(5);
    expect(verifyLines(lines, { after: CHAIN_START })).toEqual({
      ok: true,
      lines: 5,
      firstSeq: 1,
      end: { seq: 5, hash: parsed(lines[4]).hash },
      setAside: [],
      fault: null,
    });
    expect(verifyLines([])).toMatchObject({ ok: true, lines: 0, firstSeq: null, end: CHAIN_START });
    expect(verifyLines([...lines, ""])).toMatchObject({ ok: true, lines: 5 });
  });

  it("is good as one text too, whole as a file has it, and what is wrong with it is told by its line", () => {
    const lines = chain(5);
    const whole = `${lines.join("\n")}\n`;
    expect(verifyLines(whole, { after: CHAIN_START })).toEqual(verifyLines(lines, { after: CHAIN_START }));
    expect([verifyLines(lines.join("\n")), verifyLines(lines[0] ?? ""), verifyLines("")].map(({ ok, lines: good }) => [ok, good])).toEqual([
      [true, 5],
      [true, 1],
      [true, 0],
    ]);
    expect(verifyLines(whole.replace('"seq":3', '"seq":4'))).toMatchObject({ ok: false, lines: 2, fault: { line: 3 } });
    expect(verifyLines(whole.slice(0, -20))).toMatchObject({ ok: false, lines: 4, fault: { line: 5, kind: "torn" } });
  });

  it.each<[string, object]>([
    ["a file's bytes", new TextEncoder().encode(chain(2).join("\n"))],
    ["lines that were read already", chain(2).map(parsed)],
  ])("is not looked for in %s", (_, given) => {
    // What TypeScript refuses, JavaScript can give.
    expect(() => verifyLines(given as string[])).toThrow(/^Cannot verify line 1: wanted its text, found (?:number|object)$/);
  });

  it("has the hash of each line's RFC 8785 form without the hash, as anybody can compute it", () => {
    for (const text of chain(3)) {
      const { hash, ...rest } = parsed(text);
      expect(createHash("sha256").update(canonicalJson(rest)).digest("hex")).toBe(hash);
    }
  });

  it("goes on from file to file, and a file of its middle is good by itself", () => {
    const lines = chain(9);
    const first = verifyLines(lines.slice(0, 4));
    expect(verifyLines(lines.slice(4), { after: first.end })).toMatchObject({ ok: true, lines: 5, firstSeq: 5 });
    expect(verifyLines(lines.slice(4))).toMatchObject({ ok: true, firstSeq: 5 });
    expect(verifyLines(lines.slice(5), { after: first.end })).toMatchObject({ ok: false, fault: { line: 1, seq: 6, kind: "dropped" } });
    expect(verifyLines(chain(9, 50).slice(4), { after: first.end })).toMatchObject({ ok: false, fault: { line: 1, seq: 5, kind: "forged" } });
  });
});

describe("The first bad line is named:", () => {
  it("any byte of any line that is changed to any other", () => {
    fc.assert(
      fc.property(someChain, place, place, fc.integer({ min: 1, max: 255 }), ({ length, seed }, which, where, flip) => {
        const lines = chain(length, seed);
        const at = which % length;
        const bytes = Buffer.from(lines[at] ?? "");
        const byte = where % bytes.length;
        bytes[byte] = (bytes[byte] ?? 0) ^ flip;
        // A line feed makes two lines of one, as it would in the file.
        const broken = bytes.toString().split("\n");
        const report = verifyLines([...lines.slice(0, at), ...broken, ...lines.slice(at + 1)], { after: CHAIN_START, end: parsed(lines.at(-1)) });
        // At its first character, the first of the two is an empty one.
        expect(report).toMatchObject({ ok: false, lines: at, fault: { line: at + (broken[0] === "" ? 2 : 1) } });
        // Cut at its last character by a line feed, the last line is but half a line.
        expect(report.fault?.kind).toMatch(at === length - 1 ? /^(?:changed|torn)$/ : /^changed$/);
      }),
      { numRuns: 500 },
    );
  });

  it("lines that were dropped, wherever they stood", () => {
    fc.assert(
      fc.property(someChain, place, place, ({ length, seed }, from, count) => {
        const lines = chain(length, seed);
        const first = from % length;
        const dropped = 1 + (count % (length - first));
        const report = verifyLines([...lines.slice(0, first), ...lines.slice(first + dropped)], { after: CHAIN_START, end: parsed(lines.at(-1)) });
        expect(report).toMatchObject({ ok: false, lines: first, fault: { line: first + 1, kind: "dropped" } });
        expect(report.fault?.message).toContain(`seq ${first + 1} `);
      }),
    );
  });

  it("two lines that changed places", () => {
    fc.assert(
      fc.property(someChain, place, place, ({ length, seed }, one, other) => {
        const lines = [...chain(length, seed)];
        const [a, b] = [one % length, other % length].sort((x, y) => x - y);
        if (a === undefined || b === undefined || a === b) return;
        [lines[a], lines[b]] = [lines[b] ?? "", lines[a] ?? ""];
        expect(verifyLines(lines, { after: CHAIN_START })).toMatchObject({
          ok: false,
          lines: a,
          fault: { line: a + 1, seq: b + 1, kind: "swapped" },
        });
      }),
    );
  });

  it("a line that stands there twice", () => {
    const lines = chain(4);
    const report = verifyLines([...lines.slice(0, 3), ...lines.slice(1)]);
    expect(report).toMatchObject({ ok: false, lines: 3, fault: { line: 4, seq: 2, kind: "repeated" } });
  });

  it("lines that were written anew, with hashes that are right", () => {
    fc.assert(
      fc.property(someChain, place, place, ({ length, seed }, from, count) => {
        const lines = chain(length, seed);
        const at = from % length;
        const until = at + 1 + (count % (length - at));
        const report = verifyLines(forged(lines, at, until), { after: CHAIN_START, end: parsed(lines.at(-1)) });
        // The last of those that were written anew is the one that the next was not chained to.
        expect(report).toMatchObject({ ok: false, fault: { line: until, seq: until, kind: "forged" } });
      }),
    );
  });

  it("a line that was put in anew without the line before it", () => {
    const lines = [...chain(5)];
    const { hash: _, ...line } = { ...parsed(lines[2]), prev_hash: "a".repeat(64) };
    lines[2] = printed({ ...line, hash: hashOf(line) });
    expect(verifyLines(lines)).toMatchObject({ ok: false, lines: 2, fault: { line: 3, seq: 3, kind: "forged" } });
  });

  it.each(["1.0", "1e0", "1E0"])("a number that means the same and is written as %s", (number) => {
    const [text = ""] = chain(1);
    const changed = text.replace('"seq":1', `"seq":${number}`);
    expect(changed).not.toBe(text);
    expect(verifyLines([changed])).toMatchObject({ ok: false, fault: { line: 1, kind: "changed" } });
  });

  it("half a line at the end, cut off at any byte", () => {
    const lines = chain(3);
    const last = lines[2] ?? "";
    for (let length = 1; length < last.length; length++) {
      const report = verifyLines([...lines.slice(0, 2), last.slice(0, length)]);
      expect(report).toMatchObject({ ok: false, lines: 2, fault: { line: 3, seq: null, kind: "torn" } });
    }
  });

  it.each(["[]", "null", "{}", "x", '{"seq":1}', '"a"'])("%s is no line, and what follows is not looked at", (text) => {
    const [first = "", ...rest] = chain(3);
    expect(verifyLines([first, text, ...rest])).toMatchObject({ ok: false, lines: 1, fault: { line: 2, seq: null, kind: "changed" } });
  });
});

describe("A ledger in memory", () => {
  const ledgerIn = (store: LedgerStore) => new Ledger({ store, recorder: () => createRecorder({ redaction: undefined }), now: () => 0 });

  it("is a chain like any other, whichever line's hash is read first", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), place, (length, first) => {
        const store = createMemoryStore();
        const appended = Array.from({ length }, (_, n) => store.append(recordOf(n)));
        const texts = chain(length);
        expect(appended[first % length]?.hash).toBe(parsed(texts[first % length]).hash);
        expect(appended.map(printed)).toEqual(texts);
        expect({ ...appended[length - 1] }).toEqual(parsed(texts.at(-1)));
        expect(verifyChain(store.after(0, length))).toMatchObject({ ok: true, lines: length });
      }),
    );
  });

  it("hashes a long way back without climbing it", () => {
    const store = createMemoryStore();
    for (let n = 0; n < 20_000; n++) store.append(recordOf(0));
    expect(verifyChain(store.after(19_999, 1))).toMatchObject({ ok: true, firstSeq: 20_000 });
  });

  it("forgets its oldest lines when it is full, and the rest is a chain", () => {
    const store = createMemoryStore({ mostLines: 16 });
    for (let n = 0; n < 40; n++) store.append(recordOf(n));
    const lines = store.after(0, 100);
    expect(lines.length).toBeLessThanOrEqual(16);
    expect(verifyChain(lines)).toMatchObject({ ok: true, end: { seq: 40 } });
    expect(store.after(38, 10).map(({ seq }) => seq)).toEqual([39, 40]);
  });

  it("begins its chain anew where lines were dropped that nobody had looked at, and not where somebody had", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 16, max: 40 }), fc.nat(60), (length, mostLines, looked) => {
        const store = createMemoryStore({ mostLines });
        const keep = quiet.get(store);
        const seen: LedgerLine[] = [];
        const texts = chain(length);
        for (let n = 0; n < length; n++) {
          const record = recordOf(n);
          keep?.({ action: record.action, record: () => record });
          if (n === looked) seen.push(...store.after(0, 1_000));
        }
        const left = store.after(0, 1_000);
        expect(verifyChain(left)).toMatchObject({ ok: true, end: { seq: length } });
        // What was seen goes on without a gap in what is left, or something between was dropped.
        const joined = [...seen, ...left.filter(({ seq }) => seq > (seen.at(-1)?.seq ?? 0))];
        const isWhole = joined.every(({ seq }, place) => seq === (joined[0]?.seq ?? 0) + place);
        expect(verifyChain(joined).ok).toBe(isWhole);
        // Nothing was dropped: it is the chain that it would be in a file.
        if (length <= mostLines) expect(left.map(printed)).toEqual(texts);
        else if (looked >= length) expect(left[0]?.prev_hash).toBe(CHAIN_START.hash);
      }),
    );
  });

  it("makes a record once, whenever somebody looks at its line", () => {
    const store = createMemoryStore();
    let made = 0;
    quiet.get(store)?.({ action: "a", record: () => recordOf(made++) });
    expect(made).toBe(0);
    const [line] = store.after(0, 1);
    expect([line?.hash === "", store.after(0, 1)[0] === line, made]).toEqual([false, true, 1]);
  });

  it("tells who listens, whatever another listener does, until they stop", () => {
    const store = createMemoryStore();
    const heard: number[] = [];
    store.onAppend(() => {
      throw new Error("mine");
    });
    const stop = store.onAppend(({ seq }) => heard.push(seq));
    store.append(recordOf(1));
    stop();
    store.append(recordOf(2));
    expect(heard).toEqual([1]);
  });

  it("keeps what is recorded by hand, with the original's members, redacted", () => {
    const ledger = ledgerIn(createMemoryStore());
    const line = ledger.record({
      action: "manual_entry",
      inputs: { key: "value", api_key: "hunter2" },
      outputs: { result: 42n },
      costUsd: 0.1 + 0.2,
      durationMs: 100.5,
      outcome: "error",
      tags: ["manual"],
    });
    expect(line).toMatchObject({
      kind: "record",
      timestamp: "1970-01-01T00:00:00.000Z",
      action: "manual_entry",
      cost_usd: 0.3,
      duration_ms: 100.5,
      outcome: "error",
      tags: ["manual"],
      payload: { inputs: { key: "value", api_key: "[redacted]" }, outputs: { result: { $value: "bigint", text: "42" } } },
      redacted: { inputs: 1, outputs: 0 },
    });
    expect([...ledger]).toEqual([line]);
    expect(ledger.path).toBeNull();
    expect(ledger.verify()).toMatchObject({ ok: true, lines: 1 });
  });

  it.each<readonly [what: string, record: Parameters<Ledger["record"]>[0]]>([
    ["a name that is none", { action: "a b" }],
    ["no name", { action: "" }],
    ["a cost below nothing", { action: "a", costUsd: -1 }],
    ["a cost that is no number", { action: "a", costUsd: Number.NaN }],
    ["a duration that is none", { action: "a", durationMs: Number.POSITIVE_INFINITY }],
    ["a tag that is empty", { action: "a", tags: [""] }],
    ["a tag of two lines", { action: "a", tags: ["a\nb"] }],
    ["a tag that is too long", { action: "a", tags: ["x".repeat(129)] }],
    ["too many tags", { action: "a", tags: Array(65).fill("x") }],
  ])("refuses %s, and keeps nothing", (_what, record) => {
    const ledger = ledgerIn(createMemoryStore());
    expect(() => ledger.record(record)).toThrow(RangeError);
    expect([...ledger]).toEqual([]);
  });

  it("keeps nothing once it is closed", () => {
    const store = createMemoryStore();
    store.close();
    expect(() => store.append(recordOf(1))).toThrow(LedgerError);
  });
});
