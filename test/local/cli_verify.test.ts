import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createFileStore } from "../../sdk/src/local/ledger/file_store.ts";
import { Ledger } from "../../sdk/src/local/ledger/ledger.ts";
import { createRecorder } from "../../sdk/src/local/ledger/recorder.ts";
import { ExportedChains } from "../../src/cli/exported_chains.ts";
import { linesOf } from "../../src/cli/ledger_lines.ts";
import { verifyFiles } from "../../src/cli/verify.ts";
import { CHAIN_START, type ChainHead, type SealedEntry, seal } from "../../src/core/entry.ts";
import { idFromDigest } from "../../src/core/ids.ts";
import { ledgerEntryText } from "../../src/http/present.ts";
import { program, terminalFor, typed } from "./cli_typed.ts";

const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-verify-"));
afterAll(() => rmSync(home, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

let folder = home;
beforeEach(() => {
  folder = mkdtempSync(path.join(home, "case-"));
});
const verify = (...args: string[]) => typed(["verify", ...args], { directory: folder });
const put = (name: string, text: string | Uint8Array) => writeFileSync(path.join(folder, name), text);

/** A ledger as the SDK writes it. */
async function record(count: number, options: { readonly rotateBytes?: number } = {}): Promise<void> {
  const store = createFileStore({ path: path.join(folder, ".agent-sentinel/ledger.jsonl"), ...options });
  const ledger = new Ledger({ store, recorder: () => createRecorder({ redaction: null }) });
  for (let n = 0; n < count; n++) ledger.record({ action: "search", costUsd: "0.01", inputs: { n, "7": "\u2028 é" } });
  await ledger.flush();
  ledger.close();
}
const LEDGER = ".agent-sentinel/ledger.jsonl";
const read = (name = LEDGER) => readFileSync(path.join(folder, name), "utf8");

describe("agentsentinel verify", () => {
  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel verify[\s\S]*Proofs against signed checkpoints are not looked at/],
    ["no ledger here", [], 1, /there is no ledger \.agent-sentinel/],
    ["a file that is not there", ["gone.jsonl"], 1, /there is no ledger gone\.jsonl/],
    ["standard input twice", ["-", "-"], 2, /can be read once/],
    ["a head that is none", ["--head", "12"], 2, /--head is SEQ:HASH/],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENT_SENTINEL_HOME", "");
    const ended = await verify(...args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
  });

  it("finds the ledger where the SDK keeps it, and tells where it ends", async () => {
    await record(3);
    vi.stubEnv("AGENT_SENTINEL_HOME", "");
    const { hash } = JSON.parse(read().trimEnd().split("\n").at(-1) ?? "");
    expect(await verify()).toMatchObject({ code: 0, out: `✓ 3 lines: nothing was changed or left out.\n  It ends with --head 3:${hash}\n` });
    vi.stubEnv("AGENT_SENTINEL_HOME", path.join(folder, ".agent-sentinel"));
    const elsewhere = await typed(["verify", "--json"], { directory: home });
    expect(JSON.parse(elsewhere.out)).toMatchObject({ valid: true, lines: 3, chains: 1, head: { seq: 3, hash } });
    expect(await verify("--head", `3:${hash}`)).toMatchObject({ code: 0 });
  });

  it("reads rotated files in their order, packed ones too, and misses one that is gone", async () => {
    await record(30, { rotateBytes: 4_000 });
    const parts = readdirSync(path.join(folder, ".agent-sentinel")).filter((part) => part !== "ledger.jsonl");
    expect(parts.length).toBeGreaterThan(1);
    const [first = "", second = ""] = parts.sort();
    const place = (part: string) => path.join(folder, ".agent-sentinel", part);
    // A name that somebody gave it says nothing of the order.
    writeFileSync(place("ledger-zz.jsonl.gz"), gzipSync(readFileSync(place(first))));
    rmSync(place(first));
    expect((await verify(".agent-sentinel")).out).toMatch(new RegExp(`^✓ 30 lines of ${parts.length + 1} files: `));
    rmSync(place(second));
    const missing = await verify(".agent-sentinel", "--json");
    expect([missing.code, JSON.parse(missing.out).bad.why]).toEqual([1, expect.stringMatching(/seq \d+ to \d+ are missing/)]);
  });

  it.each<[string, (lines: string[]) => string[], number, number, RegExp]>([
    [
      "a cost was changed",
      (lines) => lines.with(2, (lines[2] ?? "").replace('"cost_usd":0.01', '"cost_usd":0.02')),
      3,
      2,
      /it was changed after it was written/,
    ],
    ["a line is gone", (lines) => lines.toSpliced(2, 1), 3, 2, /seq 3 is missing/],
    [
      "two lines changed places",
      (lines) => lines.with(2, lines[3] ?? "").with(3, lines[2] ?? ""),
      3,
      2,
      /seq 3, which belongs there, stands on line 4/,
    ],
    ["a line is there twice", (lines) => lines.toSpliced(2, 0, lines[1] ?? ""), 3, 2, /stands on an earlier line/],
    ["a line was written in between", (lines) => lines.toSpliced(2, 0, '{"action":"search"}'), 3, 2, /cannot be read as a line of a ledger/],
  ])("names the first bad line where %s, and how many are good", async (_what, change, line, good, why) => {
    await record(6);
    put("changed.jsonl", `${change(read().trimEnd().split("\n")).join("\n")}\n`);
    const { code, out } = await verify("changed.jsonl", "--json");
    expect([code, JSON.parse(out)]).toMatchObject([
      1,
      { valid: false, lines: good, bad: { file: "changed.jsonl", line, why: expect.stringMatching(why) } },
    ]);
    expect((await verify("changed.jsonl")).out).toMatch(new RegExp(`^✗ changed\\.jsonl:${line} [\\s\\S]*${good} lines before it are good`));
  });

  it("finds any change of any byte", async () => {
    await record(4);
    const bytes = Buffer.from(read());
    fc.assert(
      fc.property(fc.nat(bytes.length - 2), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ by;
        put("changed.jsonl", changed);
        const { bad, torn } = verifyFiles(["changed.jsonl"], folder, terminalFor(), null);
        expect(bad ?? torn).not.toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  it("tells a line that a crash left half-written from one that was changed, and a cut end by --head alone", async () => {
    await record(3);
    const head = `3:${JSON.parse(read().trimEnd().split("\n")[2] ?? "").hash}`;
    appendFileSync(path.join(folder, LEDGER), '{"id":"half');
    const torn = await verify(LEDGER);
    expect([torn.code, torn.out]).toEqual([0, expect.stringMatching(/^✓ 3 lines[\s\S]*! \.agent-sentinel\/ledger\.jsonl:4 Line 4 is half a line/)]);
    expect((await verify(LEDGER, "--strict")).code).toBe(1);
    expect((await verify(LEDGER, "--head", head)).code).toBe(0);

    const two = read().split("\n").slice(0, 2);
    put("cut.jsonl", `${two.join("\n")}\n`);
    expect((await verify("cut.jsonl")).code).toBe(0);
    const cut = await verify("cut.jsonl", "--head", head);
    expect([cut.code, cut.out]).toEqual([1, expect.stringContaining("ends with seq 2: seq 3 to 3 are missing")]);
    put("torn.jsonl", `${two.join("\n")}\n{"id":"half`);
    expect((await verify("torn.jsonl", "--head", head)).out).toMatch(/ends with seq 2 and half a line, and not with seq 3/);
  });

  it("says where a beginning is not there", async () => {
    await record(5);
    put("end.jsonl", read().split("\n").slice(3).join("\n"));
    const end = await verify("end.jsonl");
    expect([end.code, end.out]).toEqual([0, expect.stringMatching(/^✓ 2 lines[\s\S]*It begins later than with seq 1/)]);
    expect((await verify("end.jsonl", "--strict")).code).toBe(1);
  });

  it("reads a file of any length with little memory, from a pipe too", async () => {
    await record(2_000);
    const ended = await program(["verify", "-", "--json"], { cwd: folder, input: read(), environment: { NODE_OPTIONS: "--max-old-space-size=64" } })
      .ended;
    expect([ended.code, JSON.parse(ended.out)]).toMatchObject([0, { valid: true, lines: 2_000 }]);
  });

  it.each([
    ["", []],
    ["a", [["a", false]]],
    [
      "a\nb\n",
      [
        ["a", true],
        ["b", true],
      ],
    ],
    [
      "a\r\n\n\u2028",
      [
        ["a\r", true],
        ["", true],
        ["\u2028", false],
      ],
    ],
  ])("%j has the lines %j", (text, lines) => {
    put("any", text);
    expect([...linesOf("any", folder)].map((line) => [line.text, line.isEnded])).toEqual(lines);
  });
});

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** What a gateway exports: the tenant's own chain and those of two sessions, one among the other. */
function exported(searched = "search"): string[] {
  const heads = new Map<string | null, ChainHead>();
  let index = 0;
  const one = (
    session: string | null,
    say: object,
    payload: { readonly salt: string; readonly inputs: { readonly [name: string]: string } } | null = null,
  ): string => {
    const draft = {
      id: idFromDigest("ent", sha256(String(index))),
      kind: "decision" as const,
      timestamp: "2026-01-01T00:00:00.000Z",
      tenant_id: "acme",
      session_id: null,
      ...say,
    };
    // Of a session's id only the text counts here.
    const sealed: SealedEntry = seal(
      sha256,
      heads.get(session) ?? CHAIN_START,
      { ...draft, session_id: session as typeof draft.session_id },
      payload,
    );
    heads.set(session, { seq: sealed.entry.seq, hash: sealed.hash });
    return ledgerEntryText({ canonical: sealed.canonical, hash: sealed.hash, index: index++, payload: sealed.payload });
  };
  return [
    one(null, { details: { event: "tenant_created", "10": "b", "-": "a" } }),
    one("ses_a", { action: "send_email" }, { salt: "s1", inputs: { to: "a@b.c" } }),
    one("ses_b", { action: searched }),
    one("ses_a", { action: "send_email", cost_usd: "0.05" }),
    one(null, { details: { event: "issued" } }),
    one("ses_b", { action: "search" }, { salt: "s2", inputs: { q: "x" } }),
    one("ses_a", { action: "send_email" }),
  ];
}

describe("agentsentinel verify, of what a gateway exports", () => {
  const check = async (lines: readonly string[], ...args: string[]) => {
    put("export.ndjson", lines.map((line) => `${line}\n`).join(""));
    return verify("export.ndjson", ...args);
  };

  it("follows every session's chain and the tenant's, and is not troubled by what was erased", async () => {
    expect(await check(exported())).toMatchObject({ code: 0, out: "✓ 7 lines in 3 chains: nothing was changed or left out.\n" });
    const erased = exported().map((line) => line.replace(/"payload":\{.*\}\}$/, '"payload":null}'));
    const told = await check(erased);
    expect([told.code, told.out]).toEqual([0, expect.stringContaining("The inputs and outputs of 2 entries are not here")]);
  });

  it.each<[string, (lines: string[]) => string[], number, RegExp]>([
    [
      "an amount was changed",
      (lines) => lines.with(3, (lines[3] ?? "").replace('"cost_usd":"0.05"', '"cost_usd":"0.01"')),
      4,
      /Seq 2 is not what its hash was made of/,
    ],
    [
      "inputs were changed",
      (lines) => lines.with(1, (lines[1] ?? "").replace("a@b.c", "x@y.z")),
      2,
      /The inputs and outputs of seq 1 are not what its payload_digest/,
    ],
    [
      "inputs were put where there were none",
      (lines) => lines.with(2, (lines[2] ?? "").replace('"payload":null', '"payload":{"salt":"s"}')),
      3,
      /inputs and outputs of seq 1/,
    ],
    [
      "the tenant's first is named by its second",
      (lines) => lines.with(0, (lines[2] ?? "").replace("ses_b", "ses_c")),
      1,
      /Seq 1 is not what its hash/,
    ],
    [
      "two changed places",
      (lines) => lines.with(1, lines[3] ?? "").with(3, lines[1] ?? ""),
      4,
      /Seq 1 of ses_a comes after seq 2: entries are out of order, or there twice/,
    ],
    ["one is there twice", (lines) => lines.toSpliced(3, 0, lines[2] ?? ""), 4, /Seq 1 of ses_b comes after seq 1/],
    [
      "a member is there twice",
      (lines) => lines.with(0, (lines[0] ?? "").replace('{"accounts"', '{"reason":"permitted","accounts"')),
      1,
      /has a member twice/,
    ],
    ["one was moved to another session", (lines) => lines.with(5, (lines[5] ?? "").replace("ses_b", "ses_a")), 6, /Seq 2 is not what its hash/],
    ["one is no entry", (lines) => lines.with(4, "{}"), 5, /has no seq, prev_hash and hash/],
    ["one is nothing", (lines) => lines.with(4, ""), 5, /It is no JSON/],
  ])("names the first bad line where %s", async (_what, change, line, why) => {
    const { code, out } = await check(change(exported()), "--json");
    expect([code, JSON.parse(out).bad]).toEqual([1, { file: "export.ndjson", line, why: expect.stringMatching(why) }]);
  });

  it("misses what is gone from the middle of a chain, and its end only where it is told of it", async () => {
    const lines = exported();
    const gap = await check(lines.toSpliced(3, 1), "--json");
    expect([gap.code, JSON.parse(gap.out).bad]).toEqual([
      1,
      { file: "export.ndjson", line: 6, why: expect.stringMatching(/^Seq 3 of ses_a comes after seq 1: seq 2 is missing, or/) },
    ]);
    const head = `2:${JSON.parse(lines[5] ?? "").hash}`;
    expect((await check(lines, "--head", head)).code).toBe(0);
    expect((await check(lines.toSpliced(5, 1), "--head", head)).out).toMatch(/No chain ends with seq 2 and the hash of --head/);
  });

  it("finds an entry that was written anew with a hash of its own", async () => {
    const forged = await check(exported().with(2, exported("pay")[2] ?? ""), "--json");
    const why = "Seq 2 of ses_b was not chained to the seq 1 that stands before it: one of them was written anew.";
    expect([forged.code, JSON.parse(forged.out).bad]).toEqual([1, { file: "export.ndjson", line: 6, why }]);
  });

  it("says of which chains the beginning is not there", async () => {
    const end = exported().slice(3);
    expect((await check(end)).out).toMatch(/^✓ 4 lines in 3 chains[\s\S]*! 3 chains begin later than with seq 1/);
    expect((await check(end, "--strict")).code).toBe(1);
  });

  it("tells where an export broke off", async () => {
    put("export.ndjson", exported().join("\n").slice(0, -20));
    expect((await verify("export.ndjson")).out).toMatch(
      /^✓ 6 lines in 3 chains[\s\S]*! export\.ndjson:7 Line 7 is half a line: the export broke off there/,
    );
    expect((await verify("export.ndjson", "--strict")).code).toBe(1);
  });

  it("finds any change of any character of an entry", () => {
    const lines = exported();
    fc.assert(
      fc.property(fc.nat(lines.length - 1), fc.nat(), fc.constantFrom(...'x7,}:"\\ é'), (at, seed, character) => {
        const line = lines[at] ?? "";
        // Where it stands in the tenant's tree is in no hash, and is proven by the tree.
        const place = seed % line.indexOf(',"index":');
        if (line[place] === character || /\s/.test(character)) return;
        const chains = new ExportedChains();
        const wrong = lines.map((each, n) => chains.take(n === at ? line.slice(0, place) + character + line.slice(place + 1) : each));
        expect(wrong.some((why) => why !== null)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
