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

// What is said of lines that hold together, and of their end.
const HOLD = "hold together: each has the hash of what it says and follows the one before it";
const WHOLE = `${HOLD}, and none between is missing.`;
const UNKNOWN = "  Whether its end was cut off, or all of it written anew, no line can tell: only a head that was kept elsewhere.";
// Of an export its places are looked at, which are in no hash.
const WHOLE_EXPORT = `${HOLD}, and no place between is missing.`;
const UNKNOWN_EXPORT =
  "  Whether an end was cut off, a whole chain left out with its places, or all of it written anew, no line can tell: only a head that was kept elsewhere.";
const AS_IT_WAS = "what it was when that --head was printed. Nothing was cut off its end, and it was not written anew.";
const keep = (head: string): string => `  Keep this elsewhere, and add it next time: --head ${head}`;

describe("agentsentinel verify", () => {
  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel verify[\s\S]*A gateway signs nothing of its record yet/],
    ["no ledger here", [], 1, /there is no ledger \.agent-sentinel/],
    ["a file that is not there", ["gone.jsonl"], 1, /there is no ledger gone\.jsonl/],
    ["standard input twice", ["-", "-"], 2, /can be read once/],
    ["a head that is none", ["--head", "12"], 2, /--head is SEQ:HASH or all:INDEX:HASH/],
    ["a head of no place", ["--head", `0:${"a".repeat(64)}`], 2, /--head is SEQ:HASH or all:INDEX:HASH/],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENT_SENTINEL_HOME", "");
    const ended = await verify(...args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
  });

  it("finds the ledger where the SDK keeps it, and tells where it ends", async () => {
    await record(3);
    vi.stubEnv("AGENT_SENTINEL_HOME", "");
    const { hash } = JSON.parse(read().trimEnd().split("\n").at(-1) ?? "");
    expect(await verify()).toMatchObject({ code: 0, out: `✓ 3 lines ${WHOLE}\n${UNKNOWN}\n${keep(`3:${hash}`)}\n` });
    vi.stubEnv("AGENT_SENTINEL_HOME", path.join(folder, ".agent-sentinel"));
    const elsewhere = await typed(["verify", "--json"], { directory: home });
    expect(JSON.parse(elsewhere.out)).toMatchObject({ valid: true, lines: 3, chains: 1, head: { seq: 3, hash }, keep: `3:${hash}` });
    expect(await verify("--head", `3:${hash}`)).toMatchObject({ code: 0, out: `✓ 3 lines ${WHOLE}\n  It is ${AS_IT_WAS}\n` });
    const wrong = await verify("--head", `all:3:${hash}`);
    expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining("--head all:INDEX:HASH is of a gateway's export")]);
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
    expect((await verify(".agent-sentinel")).out).toMatch(new RegExp(`^✓ 30 lines of ${parts.length + 1} files hold together: `));
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

  it.each<[string, string | Uint8Array, RegExp]>([
    ["nothing", "", /^nothing came: it is empty$/],
    ["a word", "nonsense\n", /^what came is no line of a ledger: "nonsense"$/],
    ["JSON that is no entry", '{"ok":true}', /^what came is no line of a ledger: "\{/],
    [
      "a gateway's refusal",
      JSON.stringify({ type: "about:blank", title: "Unauthorized", status: 401, code: "token_invalid", detail: "It is of nobody." }),
      /^a problem came, and no ledger: 401 token_invalid: It is of nobody\.$/,
    ],
    ["an export as one array", JSON.stringify([{ seq: 1 }]), /^a JSON array came, and an export is one entry a line/],
    ["the same on many lines", JSON.stringify([{ seq: 1 }, { seq: 2 }], null, 2), /^a JSON array came/],
    ["JSON on many lines", JSON.stringify({ a: 1, b: 2 }, null, 2), /^JSON of several lines came/],
    ["a page of something else", "<html>\n<body>\n</html>\n", /^a page came/],
    ["half a line", '{"id":"half', /^half a line came, and no more$/],
    ["an empty line", "\n", /^it begins with an empty line/],
    ["what is no text", Uint8Array.of(0xff), /^what came is no text in UTF-8$/],
  ])("verifies nothing, and says so, where what comes is %s", async (_what, text, instead) => {
    put("came", text);
    for (const args of [[], ["--strict"]]) {
      const told = await verify("came", ...args);
      expect([told.code, told.out]).toEqual([
        1,
        expect.stringMatching(/^✗ came: [^\n]+\n {2}Not one line of a ledger was read, so nothing was verified\.\n$/),
      ]);
    }
    const json = await verify("came", "--json");
    expect([json.code, JSON.parse(json.out)]).toMatchObject([1, { valid: false, lines: 0, instead: expect.stringMatching(instead) }]);
  });

  it("says where a beginning is not there", async () => {
    await record(5);
    put("end.jsonl", read().split("\n").slice(3).join("\n"));
    const end = await verify("end.jsonl");
    expect([end.code, end.out]).toEqual([
      0,
      expect.stringMatching(/^✓ 2 lines hold together: [^\n]*\. Of what is not here[^\n]*\n! It begins later than with seq 1/),
    ]);
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

/** Makes the lines of a gateway's export, one after another. */
function writer() {
  const heads = new Map<string | null, ChainHead>();
  let index = 0;
  return (
    session: string | null,
    say: { readonly kind?: "ingest"; readonly [member: string]: unknown },
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
    const chain = say.kind === "ingest" ? "~ingest" : session;
    // Of a session's id only the text counts here.
    const sealed: SealedEntry = seal(sha256, heads.get(chain) ?? CHAIN_START, { ...draft, session_id: session as typeof draft.session_id }, payload);
    heads.set(chain, { seq: sealed.entry.seq, hash: sealed.hash });
    return ledgerEntryText({ canonical: sealed.canonical, hash: sealed.hash, index: index++, payload: sealed.payload });
  };
}

/** The tenant's own chain and those of two sessions, one among the other. */
function exported(searched = "search"): string[] {
  const one = writer();
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

/** Two sessions, and what was reported of them. */
function reported(): string[] {
  const one = writer();
  return [
    one("ses_a", { kind: "ingest", action: "look" }),
    one("ses_a", { action: "send_email" }),
    one("ses_b", { kind: "ingest", action: "look" }),
    one("ses_b", { action: "search" }),
    one("ses_b", { kind: "ingest", action: "look" }),
    one("ses_a", { kind: "ingest", action: "look" }),
    one("ses_a", { action: "send_email" }),
  ];
}

const at = (from: number, to = from) => ({ from, to });
/** The same line with another place in the tenant's ledger, which is in no hash. */
const moved = (line = "", index = 0): string => line.replace(/"index":\d+,/, `"index":${index},`);

describe("agentsentinel verify, of what a gateway exports", () => {
  const check = async (lines: readonly string[], ...args: string[]) => {
    put("export.ndjson", lines.map((line) => `${line}\n`).join(""));
    return verify("export.ndjson", ...args);
  };

  it("follows every session's chain and the tenant's, and is not troubled by what was erased, which it counts", async () => {
    const { code, out } = await check(exported());
    expect([code, out.split("\n")]).toEqual([
      0,
      [`✓ 7 lines in 3 chains ${WHOLE_EXPORT}`, UNKNOWN_EXPORT, expect.stringMatching(/^ {2}Keep this .* --head all:6:[0-9a-f]{64}$/), ""],
    ]);
    expect((await check(exported(), "--strict")).code).toBe(0);
    const erased = exported().map((line) => line.replace(/"payload":\{.*\}\}$/, '"payload":null}'));
    const told = await check(erased);
    expect([told.code, told.out]).toEqual([
      0,
      expect.stringMatching(/hold together: [^\n]*\. Of what is not here[^\n]*\n! Payloads that are not here: 2 /),
    ]);
    expect((await check(erased, "--strict")).code).toBe(1);
  });

  it("follows what was reported in a chain of its own, whichever sessions that names", async () => {
    expect(await check(reported(), "--strict")).toMatchObject({ code: 0, out: expect.stringContaining(`✓ 7 lines in 3 chains ${WHOLE_EXPORT}\n`) });
    // What was reported of the other session stands between: it is among the places that are missing.
    const ofOne = await check(reported().filter((line) => line.includes('"ses_a"')));
    expect([ofOne.code, ofOne.out]).toEqual([
      0,
      expect.stringMatching(
        /^✓ 4 lines in 2 chains hold together: .*\n! 3 places .* index 2 to 4\.\n! 1 report follows one that is not here: it was held against no line before\.\n/,
      ),
    ]);
  });

  it.each<[string, (lines: string[]) => string[], RegExp]>([
    [
      "is gone, and the places behind it were moved up",
      (lines) => lines.toSpliced(2, 1).map((line, index) => moved(line, index)),
      /Seq 3 of what was reported to the tenant "acme" comes after seq 1: seq 2 is missing/,
    ],
    [
      "was written anew",
      (lines) => {
        const one = writer();
        one("ses_b", { kind: "ingest", action: "pay" });
        return lines.with(2, moved(one("ses_b", { kind: "ingest", action: "pay" }), 2));
      },
      /Seq 2 of what was reported to the tenant "acme" was not chained to the seq 1/,
    ],
  ])("finds that a report %s", async (_what, change, says) => {
    const found = await check(change(reported()));
    expect([found.code, found.out]).toEqual([1, expect.stringMatching(says)]);
  });

  it("finds that a report is gone from an export of everything, where places alone would be named", async () => {
    const one = writer();
    const lines = [
      one(null, { details: { event: "tenant_created" } }),
      one("ses_a", { kind: "ingest", agent_id: "ann" }),
      one("ses_b", { agent_id: "bob" }),
      one("ses_b", { kind: "ingest", agent_id: "bob" }),
      one("ses_a", { kind: "ingest", agent_id: "ann" }),
      one("ses_c", { agent_id: "bob" }),
    ];
    expect((await check(lines, "--strict")).code).toBe(0);
    const found = await check(lines.toSpliced(3, 1), "--json");
    expect([found.code, JSON.parse(found.out)]).toMatchObject([
      1,
      {
        valid: false,
        lines: 3,
        chains: 3,
        bad: { line: 4, why: 'Seq 3 of what was reported to the tenant "acme" comes after seq 1: seq 2 is missing, or the export was filtered.' },
      },
    ]);
    // What an agent may read is its own, of all its sessions.
    const ofAnn = lines.filter((line) => line.includes('"agent_id":"ann"'));
    expect(JSON.parse((await check(ofAnn, "--json")).out)).toMatchObject({ valid: true, unlinked: 1, missing: { count: 3 } });
  });

  it("says that entries are of more than one tenant", async () => {
    const one = writer();
    const { code, out } = await check([one(null, {}), one("ses_a", {}), moved(writer()("ses_z", { tenant_id: "evil" }), 2)]);
    expect([code, out]).toEqual([
      0,
      expect.stringMatching(/\n! Entries of 2 tenants are here \("acme", "evil"\), and a gateway exports those of one\.\n/),
    ]);
  });

  it.each<[string, (lines: string[]) => string[], number, { from: number; to: number }[], RegExp]>([
    [
      "the tenant's chain",
      (lines) => lines.filter((line) => !line.includes('"session_id":null')),
      2,
      [at(0), at(4)],
      /2 places .* index 0, index 4\.\n/,
    ],
    ["a session", (lines) => lines.filter((line) => !line.includes('"ses_b"')), 2, [at(2), at(5)], /2 places .* index 2, index 5\.\n/],
    ["a beginning", (lines) => lines.slice(2), 2, [at(0, 1)], /2 places .* missing: index 0 to 1\.\n/],
    ["a place, by a changed index", (lines) => lines.with(6, moved(lines[6], 9)), 3, [at(6, 8)], /3 places .* index 6 to 8\.\n/],
    [
      "more than is named",
      (lines) => lines.map((line, n) => moved(line, 2 * n + 1)),
      7,
      [at(0), at(2), at(4), at(6), at(8)],
      /index 8, and 2 more\.\n/,
    ],
  ])("says which places of the tenant's ledger are missing: %s", async (_what, change, count, first, says) => {
    const lines = change(exported());
    const told = await check(lines);
    expect([told.code, told.out]).toEqual([0, expect.stringMatching(says)]);
    expect(told.out).toMatch(/^✓ \d lines.* hold together: .*\. Of what is not here nothing can be said:\n/);
    expect((await check(lines, "--strict")).code).toBe(1);
    expect(JSON.parse((await check(lines, "--json")).out)).toMatchObject({ valid: true, missing: { count, first } });
  });

  it("reads an export and the one that goes on behind it, even where the first has no line", async () => {
    const lines = exported();
    put("empty.ndjson", "");
    put("old.ndjson", `${lines.slice(0, 4).join("\n")}\n`);
    put("new.ndjson", `${lines.slice(4).join("\n")}\n`);
    expect(await verify("old.ndjson", "new.ndjson", "--strict")).toMatchObject({ code: 0 });
    expect((await verify("empty.ndjson", "old.ndjson", "new.ndjson")).out).toContain(`✓ 7 lines in 3 chains of 3 files ${WHOLE_EXPORT}`);
    // The end of the older one was cut off.
    put("old.ndjson", `${lines.slice(0, 1).join("\n")}\n`);
    put("new.ndjson", `${lines.slice(2, 3).join("\n")}\n`);
    expect((await verify("old.ndjson", "new.ndjson")).out).toMatch(/1 place .* is missing: index 1\./);
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
      3,
      /Seq 1 of ses_b has index 2, and stands behind index 3: entries are out of order, or an index was changed/,
    ],
    [
      "two changed places and their indices",
      (lines) => lines.with(1, moved(lines[3], 1)).with(3, moved(lines[1], 3)),
      4,
      /Seq 1 of ses_a comes after seq 2: entries are out of order, or there twice/,
    ],
    ["two have one index", (lines) => lines.with(4, moved(lines[4], 3)), 5, /has index 3, as the entry before it has/],
    ["one has no index", (lines) => lines.with(4, (lines[4] ?? "").replace('"index":4,', "")), 5, /has no index, which is its place/],
    ["an index is no place", (lines) => lines.with(0, moved(lines[0], -1)), 1, /has no index, which is its place/],
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
    const ended = await check(lines, "--head", head);
    expect([ended.code, ended.out]).toEqual([0, expect.stringContaining("\n  One of its chains is what it was when that --head was printed.\n")]);
    expect((await check(lines.toSpliced(5, 1), "--head", head)).out).toMatch(/No chain ends with seq 2 and the hash of --head/);
  });

  it("claims nothing of an end that was cut off, or of an export that was written anew, but with the head that was kept finds both", async () => {
    const lines = exported();
    const { keep: head } = JSON.parse((await check(lines, "--json")).out);
    expect(head).toMatch(/^all:6:[0-9a-f]{64}$/);
    const forged = exported("pay");
    for (const [changed, why] of [
      [lines.slice(0, -1), "It ends with index 5, and --head is of index 6: its end was cut off."],
      [
        lines.filter((line) => !line.includes('"ses_b"')),
        "Up to index 6 it is not what it was when --head was printed: something was cut off, left out or written anew.",
      ],
      [forged, "Up to index 6 it is not what it was when --head was printed: something was cut off, left out or written anew."],
    ] as const) {
      const unasked = await check(changed);
      expect([unasked.code, unasked.out]).toEqual([0, expect.stringContaining(UNKNOWN_EXPORT)]);
      const { code, out } = await check(changed, "--head", head, "--json");
      expect([code, JSON.parse(out)]).toMatchObject([1, { valid: false, keep: null, bad: { line: changed.length, why } }]);
    }
    expect((await check(forged, "--strict")).code, "lines alone cannot tell").toBe(0);
  });

  it("knows an export by the head that was kept: as it was, with what was erased since, and where it went on", async () => {
    const lines = exported();
    const headOf = async (some: readonly string[]): Promise<string> => JSON.parse((await check(some, "--json")).out).keep;
    const last = await headOf(lines);
    expect(await check(lines, "--head", last)).toMatchObject({
      code: 0,
      out: `✓ 7 lines in 3 chains ${WHOLE_EXPORT}\n  Up to index 6 it is ${AS_IT_WAS}\n`,
    });
    const erased = lines.map((line) => line.replace(/"payload":\{.*\}\}$/, '"payload":null}'));
    expect((await check(erased, "--head", last)).code).toBe(0);
    for (const [place] of lines.entries()) {
      const head = await headOf(lines.slice(0, place + 1));
      const told = await check(lines, "--head", head);
      expect(told.code).toBe(0);
      if (place < 6)
        expect(told.out).toBe(
          `✓ 7 lines in 3 chains ${WHOLE_EXPORT}\n  Up to index ${place} it is what it was when that --head was printed.\n${keep(last)}\n`,
        );
    }
  });

  it("finds an entry that was written anew with a hash of its own", async () => {
    const forged = await check(exported().with(2, exported("pay")[2] ?? ""), "--json");
    const why = "Seq 2 of ses_b was not chained to the seq 1 that stands before it: one of them was written anew.";
    expect([forged.code, JSON.parse(forged.out).bad]).toEqual([1, { file: "export.ndjson", line: 6, why }]);
  });

  it("says of which chains the beginning is not there", async () => {
    const end = exported().slice(3);
    expect((await check(end)).out).toMatch(/^✓ 4 lines in 3 chains hold together: .*\. Of what[\s\S]*! 3 chains begin later than with seq 1/);
    expect((await check(end, "--strict")).code).toBe(1);
  });

  it("tells where an export broke off", async () => {
    put("export.ndjson", exported().join("\n").slice(0, -20));
    expect((await verify("export.ndjson")).out).toMatch(
      /^✓ 6 lines in 3 chains[\s\S]*! export\.ndjson:7 Line 7 is half a line: the export broke off there/,
    );
    expect((await verify("export.ndjson", "--strict")).code).toBe(1);
    // Half a line is no reason not to look at what was kept.
    const { keep: whole } = JSON.parse((await check(exported(), "--json")).out);
    const { keep: earlier } = JSON.parse((await check(exported().slice(0, 4), "--json")).out);
    const chain = `3:${JSON.parse(exported()[6] ?? "").hash}`;
    put("export.ndjson", exported().join("\n").slice(0, -20));
    const cut = await verify("export.ndjson", "--head", whole);
    expect([cut.code, cut.out]).toEqual([1, expect.stringContaining("It ends with index 5, and --head is of index 6: its end was cut off.")]);
    expect((await verify("export.ndjson", "--head", chain)).code).toBe(1);
    expect((await verify("export.ndjson", "--head", earlier)).code).toBe(0);
  });

  it("finds any change of any character of an entry", () => {
    const lines = exported();
    fc.assert(
      fc.property(fc.nat(lines.length - 1), fc.nat(), fc.constantFrom(...'x7,}:"\\ é'), (at, seed, character) => {
        const line = lines[at] ?? "";
        // Where it stands in the tenant's tree is in no hash, and is proven by the tree. What else is found of it stands in the table.
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
