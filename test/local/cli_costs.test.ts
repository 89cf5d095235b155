import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSentinel } from "../../sdk/src/index.ts";
import { CHAIN_START, hashOf } from "../../sdk/src/local/ledger/chain.ts";
import type { CostReport } from "../../sdk/src/wire.ts";
import { inWords } from "../../src/cli/costs.ts";
import { formatUsd, microUsdOf } from "../../src/core/money.ts";
import { program, terminalFor, typed } from "./cli_typed.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway } from "./gateway.ts";

const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-costs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(() => vi.unstubAllEnvs());

interface Line {
  readonly action?: string | null;
  readonly cost_usd: unknown;
  readonly [member: string]: unknown;
}

/** Puts a ledger of such lines; the second of them was an hour later, and so on. */
function ledger(lines: readonly Line[], after = ""): string {
  const text = lines.map((line, n) =>
    JSON.stringify({ id: `id-${n}`, timestamp: new Date(Date.UTC(2026, 0, 1, 22 + n)).toISOString(), action: "a", ...line }),
  );
  writeFileSync(path.join(folder, "ledger.jsonl"), `${text.map((each) => `${each}\n`).join("")}${after}`);
  return "ledger.jsonl";
}
const costs = (...args: string[]) => typed(["costs", ...args], { directory: folder });
const told = async (...args: string[]) => JSON.parse((await costs("--json", ...args)).out);

const CALLS: readonly Line[] = [
  { action: "send", kind: "decision", cost_usd: 0, decision_id: "dec_1", agent_id: "ann", run_id: "run_1", session_id: "ses_1" },
  { action: "send", kind: "outcome", cost_usd: 0.1, decision_id: "dec_1", agent_id: "ann", run_id: "run_1", session_id: "ses_1" },
  { action: "send", kind: "outcome", cost_usd: 0.2, decision_id: "dec_2", agent_id: "bob", run_id: "run_2", session_id: "ses_1" },
  { action: "send", kind: "decision", cost_usd: 0, decision_id: "dec_denied", agent_id: "ann", run_id: "run_1", session_id: "ses_1" },
  { action: "look", kind: "record", cost_usd: 0.000001, decision_id: null, agent_id: null, run_id: null, session_id: null },
];

describe("agentsentinel costs", () => {
  it.each<[string, string[], number, RegExp]>([
    ["--help", ["--help"], 0, /^Usage: agentsentinel costs \[--group-by action\|run\|session\|agent\|day\]/],
    ["a file without its option", ["ledger.jsonl"], 2, /a file is named by --ledger/],
    ["another group", ["--group-by", "sesion"], 2, /is one of action.*did you mean "session"\?/],
    ["no time", ["--from", "yesterday"], 2, /--from is an RFC 3339 date-time/],
    ["an end before the beginning", ["--from", "1h", "--to", "2h"], 2, /--from is before --to/],
    ["no token", [], 2, /costs wants a token/],
    ["a ledger that is not there", ["--ledger", "gone"], 1, /there is no ledger gone/],
  ])("%s: %j ends with %i and says so", async (_what, args, code, says) => {
    vi.stubEnv("AGENTSENTINEL_TOKEN", "");
    const ended = await costs(...args);
    expect({ code: ended.code, said: code === 0 ? ended.out : ended.err }).toEqual({ code, said: expect.stringMatching(says) });
  });

  it.each<[string, object]>([
    [
      "action",
      {
        items: [
          { key: "send", posted_usd: "0.3", count: 2, reported_usd: "0" },
          { key: "look", posted_usd: "0.000001", count: 1, reported_usd: "0" },
        ],
        total_usd: "0.300001",
        reported_usd: "0",
      },
    ],
    [
      "agent",
      {
        items: [
          { key: "bob", posted_usd: "0.2", count: 1, reported_usd: "0" },
          { key: "ann", posted_usd: "0.1", count: 1, reported_usd: "0" },
          { key: null, posted_usd: "0.000001", count: 1, reported_usd: "0" },
        ],
        total_usd: "0.300001",
        reported_usd: "0",
      },
    ],
    [
      "run",
      {
        items: [
          { key: "run_2", posted_usd: "0.2", count: 1, reported_usd: "0" },
          { key: "run_1", posted_usd: "0.1", count: 1, reported_usd: "0" },
          { key: null, posted_usd: "0.000001", count: 1, reported_usd: "0" },
        ],
        total_usd: "0.300001",
        reported_usd: "0",
      },
    ],
    [
      "session",
      {
        items: [
          { key: "ses_1", posted_usd: "0.3", count: 2, reported_usd: "0" },
          { key: null, posted_usd: "0.000001", count: 1, reported_usd: "0" },
        ],
        total_usd: "0.300001",
        reported_usd: "0",
      },
    ],
    [
      "day",
      {
        items: [
          { key: "2026-01-02", posted_usd: "0.200001", count: 2, reported_usd: "0" },
          { key: "2026-01-01", posted_usd: "0.1", count: 1, reported_usd: "0" },
        ],
        total_usd: "0.300001",
        reported_usd: "0",
      },
    ],
  ])("adds a local ledger up by %s", async (group, report) => {
    expect(await told("--ledger", ledger(CALLS), "--group-by", group)).toEqual(report);
  });

  it("takes back what an entry of an export corrects, and counts no decision that spent nothing", async () => {
    const posted = { kind: "commit", cost_usd: "0.3", corrected_usd: "0", decision_id: "dec_1" };
    const file = ledger([{ kind: "decision", cost_usd: "0", decision_id: "dec_2" }, posted, { ...posted, cost_usd: "0.05", corrected_usd: "0.3" }]);
    expect(await told("--ledger", file)).toEqual({
      items: [{ key: "a", posted_usd: "0.05", count: 1, reported_usd: "0" }],
      total_usd: "0.05",
      reported_usd: "0",
    });
  });

  it("tells what an export has of reports beside what was posted, and never both of one decision", async () => {
    const posted = { kind: "commit", cost_usd: "0.3", decision_id: "dec_1" };
    const reports = [
      { kind: "ingest", cost_usd: "0.2", decision_id: "dec_1" },
      { kind: "ingest", cost_usd: "0.04", decision_id: "dec_2" },
      { kind: "ingest", cost_usd: "0.001", decision_id: null, action: null },
    ];
    for (const file of [ledger([posted, ...reports]), ledger([...reports, posted])])
      expect(await told("--ledger", file)).toEqual({
        items: [
          { key: "a", posted_usd: "0.3", count: 1, reported_usd: "0.04" },
          { key: null, posted_usd: "0", count: 0, reported_usd: "0.001" },
        ],
        total_usd: "0.3",
        reported_usd: "0.041",
      });
    expect(inWords({ items: [], total_usd: "0", reported_usd: "0.041" }, "action", terminalFor())).toContain("Beside that 0.041 USD were reported");
  });

  it("counts an export's calls as its gateway does, and hides no report behind what was posted for another", async () => {
    const entry = { tenant_id: "acme", agent_id: "ann", session_id: "ses_a", decision_id: "dec_1", cost_usd: "0" };
    const file = ledger([
      { ...entry, kind: "session", action: null, decision_id: null },
      { ...entry, kind: "decision" },
      { ...entry, kind: "commit", cost_usd: "0.3" },
      { ...entry, kind: "commit", cost_usd: "0.2", session_id: "ses_b" },
      { ...entry, kind: "release", decision_id: "dec_2" },
      { ...entry, kind: "ingest", cost_usd: "0.01" },
      { ...entry, kind: "ingest", cost_usd: "0.02", session_id: null },
      { ...entry, kind: "ingest", cost_usd: "0.04", session_id: "ses_c" },
      { ...entry, kind: "ingest", cost_usd: "0.08", agent_id: "bob" },
    ]);
    expect(await told("--ledger", file)).toEqual({
      items: [{ key: "a", posted_usd: "0.5", count: 2, reported_usd: "0.12" }],
      total_usd: "0.5",
      reported_usd: "0.12",
    });
    expect((await told("--ledger", file, "--group-by", "session")).items).toEqual([
      { key: "ses_a", posted_usd: "0.3", count: 1, reported_usd: "0.08" },
      { key: "ses_b", posted_usd: "0.2", count: 1, reported_usd: "0" },
      { key: "ses_c", posted_usd: "0", count: 0, reported_usd: "0.04" },
    ]);
    // What was posted before that time is not told again as reported.
    expect((await told("--ledger", file, "--from", "2026-01-02T03:00:00Z")).reported_usd).toBe("0.12");
  });

  it("takes what lies between --from and --to, and of a torn last line nothing", async () => {
    const file = ledger(CALLS, '{"cost_usd": 99');
    expect((await told("--ledger", file, "--from", "2026-01-02T00:00:00Z")).total_usd).toBe("0.200001");
    expect((await told("--ledger", file, "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-02T01:00:00Z")).total_usd).toBe("0.2");
    const piped = await program(["costs", "--ledger", "-", "--json"], { input: JSON.stringify({ ...CALLS[1], timestamp: "2026-01-01T00:00:00Z" }) })
      .ended;
    expect(JSON.parse(piped.out).total_usd).toBe("0.1");
  });

  it.each<[string, Line]>([
    ["more decimals than a micro-dollar", { cost_usd: 0.30000000000000004 }],
    ["a negative cost", { cost_usd: -1 }],
    ["a cost that is a word", { cost_usd: "free" }],
    ["no cost", { cost_usd: undefined }],
    ["no time", { cost_usd: 1, timestamp: "then" }],
  ])("stops at a line with %s rather than telling a sum that is not true", async (_what, line) => {
    const ended = await costs("--ledger", ledger([{ cost_usd: 1 }, line]));
    expect([ended.code, ended.out, ended.err]).toEqual([1, "", expect.stringMatching(/ledger\.jsonl:2 has no/)]);
  });

  it("says of a ledger whose chain is broken that its sum may not be true, and of an empty one that nothing was added up", async () => {
    const file = ledger([]);
    const sealed = (cost_usd: number) => ({
      ...CALLS[2],
      cost_usd,
      timestamp: "2026-01-01T00:00:00.000Z",
      seq: 1,
      prev_hash: CHAIN_START.hash,
    });
    const write = (body: object, hash: string) => writeFileSync(path.join(folder, file), `${JSON.stringify({ ...body, hash })}\n`);
    write(sealed(0.2), hashOf(sealed(0.2)));
    expect(await costs("--ledger", file)).toMatchObject({ code: 0, err: "", out: expect.stringContaining("0.20") });
    write(sealed(0.1), hashOf(sealed(0.2)));
    const broken = await costs("--ledger", file);
    expect([broken.code, broken.out, broken.err]).toEqual([
      0,
      expect.stringContaining("0.10"),
      expect.stringMatching(/^agentsentinel: the ledger is broken, .* ledger\.jsonl:1 Line 1 \(seq 1\) is not what its hash was made of/),
    ]);
    expect(await costs("--ledger", ledger([]))).toMatchObject({
      code: 0,
      err: "agentsentinel: ledger.jsonl has no line of a ledger, so nothing was added up\n",
    });
    expect(await costs("--ledger", ledger([], "[]"))).toMatchObject({
      code: 1,
      err: expect.stringContaining("ledger.jsonl:1 is no entry of a ledger"),
    });
  });

  it.skipIf(process.platform === "win32")("reads a pipe once: it gives its lines to nobody twice", { timeout: 20_000 }, async () => {
    const pipe = path.join(folder, "pipe");
    execFileSync("mkfifo", [pipe]);
    const line = { ...CALLS[1], id: "id-1", timestamp: "2026-01-01T00:00:00.000Z", seq: 1, prev_hash: CHAIN_START.hash };
    const { child, ended } = program(["costs", "--ledger", pipe, "--json"]);
    // Who would read it again waits for ever.
    onTestFinished(() => void child.kill());
    await writeFile(pipe, `${JSON.stringify({ ...line, hash: hashOf(line) })}\n`);
    expect(await ended).toMatchObject({ code: 0, err: "", out: expect.stringContaining('"total_usd":"0.1"') });
  });

  it("adds exactly, however many and however small", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(2_000_000_000), { minLength: 1, maxLength: 60 }), async (amounts) => {
        const file = ledger(amounts.map((micro, n) => ({ action: `a${n % 3}`, cost_usd: micro / 1e6, timestamp: "2026-01-01T00:00:00.000Z" })));
        const report = await told("--ledger", file);
        const usd = (micros: readonly number[]) => formatUsd(microUsdOf(micros.reduce((sum, micro) => sum + micro, 0)));
        expect(report.total_usd).toBe(usd(amounts));
        for (const { key, posted_usd } of report.items) expect(posted_usd).toBe(usd(amounts.filter((_, n) => key === `a${n % 3}`)));
      }),
      { numRuns: 40 },
    );
  });

  it("sets decimal points below each other, and nothing of strangers moves the cursor", () => {
    const items = [
      { key: "send_email", posted_usd: "1200", count: 12, reported_usd: "0" },
      { key: "a\u001b[2J", posted_usd: "0.000001", count: 1, reported_usd: "0" },
    ];
    const text = inWords({ items, total_usd: "1200.000001", reported_usd: "0" }, "action", terminalFor());
    expect(text.split("\n")).toEqual([
      "ACTION      CALLS          USD",
      "send_email     12  1200.000000",
      "a\\u001b[2J      1     0.000001",
      "──────────────────────────────",
      "total          13  1200.000001",
      "",
    ]);
    const narrow = inWords(
      { items: [{ key: "x".repeat(200), posted_usd: "1", count: 1, reported_usd: "0" }], total_usd: "1", reported_usd: "0" },
      "action",
      terminalFor(40),
    );
    for (const line of narrow.split("\n")) expect(line.length).toBeLessThanOrEqual(40);
    const nobodys = inWords(
      { items: [{ key: null, posted_usd: "1", count: 2, reported_usd: "0" }], total_usd: "1", reported_usd: "0" },
      "agent",
      terminalFor(),
    );
    expect(nobodys).toContain("\n(no agent)      2  1.00\n");
    expect(inWords({ items: [], total_usd: "0", reported_usd: "0" }, "day", terminalFor())).toBe("Nothing was spent.\n");
  });
});

describe.skipIf(!CAN_SEE_PROCESSES)("agentsentinel costs and verify, of a real gateway", { timeout: 60_000 }, () => {
  let gateway: OwnGateway;
  beforeAll(async () => {
    gateway = await ownGateway();
    const session = await createSentinel({ url: gateway.url, token: gateway.agent }).openSession();
    await session.guard({ action: "send_email", costUsd: "0.10" }, async () => "sent")();
    await session.guard({ action: "send_email", costUsd: "0.20" }, async () => "sent")();
    await session.guard({ action: "search", costUsd: "0.000001" }, async () => "found")();
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });

  it("tells what was spent, as a table and as JSON", async () => {
    const asked = ["--url", gateway.url, "--token", gateway.operator];
    expect((await costs(...asked)).out).toMatch(/send_email +2 +0\.300000\nsearch +1 +0\.000001\n─+\ntotal +3 +0\.300001\n$/);
    expect(await told(...asked, "--group-by", "agent", "--from", "1h")).toEqual({
      items: [{ key: "demo-agent", posted_usd: "0.300001", count: 3, reported_usd: "0" }],
      total_usd: "0.300001",
      reported_usd: "0",
    });
    expect(await told(...asked, "--to", "1h")).toEqual({ items: [], total_usd: "0", reported_usd: "0" });
  });

  it("reads its environment as a program of its own, and is plain in a pipe", async () => {
    const environment = { AGENTSENTINEL_URL: gateway.url, AGENTSENTINEL_TOKEN: gateway.agent, FORCE_COLOR: "1" };
    const ended = await program(["costs"], { environment }).ended;
    expect([ended.code, ended.err, ended.out]).toEqual([0, "", expect.not.stringContaining("\u001b")]);
  });

  it("adds its export up to the same, and finds its chains whole until a byte of it is changed", async () => {
    const answer = await fetch(`${gateway.url}/v1/ledger/export`, { headers: { authorization: `Bearer ${gateway.operator}` } });
    const text = await answer.text();
    writeFileSync(path.join(folder, "export.ndjson"), text);
    expect((await told("--ledger", "export.ndjson")).items).toEqual(
      await told("--url", gateway.url, "--token", gateway.operator).then(({ items }) => items),
    );
    const verify = (name: string) => typed(["verify", name, "--json"], { directory: folder });
    const whole = JSON.parse((await verify("export.ndjson")).out);
    expect(whole).toMatchObject({ valid: true, lines: text.trimEnd().split("\n").length, chains: 2, begun_later: 0, missing: { count: 0 } });
    writeFileSync(path.join(folder, "changed.ndjson"), text.replace('"cost_usd":"0.2"', '"cost_usd":"0.1"'));
    expect(await verify("changed.ndjson")).toMatchObject({ code: 1 });
    const refused = await fetch(`${gateway.url}/v1/ledger/export`, { headers: { authorization: "Bearer nonsense" } });
    writeFileSync(path.join(folder, "refused.ndjson"), await refused.text());
    const instead = await verify("refused.ndjson");
    expect([instead.code, JSON.parse(instead.out).instead]).toEqual([
      1,
      expect.stringMatching(/^a problem came, and no ledger: 401 token_invalid: /),
    ]);
  });

  it("adds its export up as it does itself, whatever it is grouped by and from whenever on: late reports, releases, equal ids and reports too", async () => {
    const post = async (route: string, body: object, token = gateway.agent) => {
      const answer = await ask(gateway.url, token, "POST", route, body);
      expect(answer.status).toBeLessThan(300);
      return answer.body;
    };
    const [one, other] = [await post("/v1/sessions", {}), await post("/v1/sessions", {})];
    const decide = (session: string, says: object) => post(`/v1/sessions/${session}/decisions`, { estimate_usd: "0.5", ...says });
    const commit = (session: string, decision: string, cost_usd: string) =>
      post(`/v1/sessions/${session}/decisions/${decision}/commit`, { cost_usd, outcome: "success" });
    // Two sessions' decisions of one name.
    const id = "dec_019a9c1e-7f00-7abc-8def-0000000000aa";
    for (const { id: session } of [one, other]) {
      await decide(session, { id, action: "twice" });
      await commit(session, id, "0.2");
    }
    const { id: freed } = await decide(one.id, { action: "freed" });
    await post(`/v1/sessions/${one.id}/decisions/${freed}/release`, {});
    const { id: late } = await decide(one.id, { action: "late", ttl_ms: 1 });
    await vi.waitFor(async () =>
      expect((await ask(gateway.url, gateway.agent, "GET", `/v1/sessions/${one.id}/decisions/${late}`)).body.state).toBe("expired"),
    );
    const halfway = new Date().toISOString();
    await commit(one.id, late, "0.1");
    const report = (id: string, says: object) => ({ id, action: "told", cost_usd: "0.01", agent_id: "demo-agent", ...says });
    await post("/v1/ledger/entries", { entries: [report("1", { decision_id: id }), report("2", { decision_id: id, session_id: other.id })] });
    await post("/v1/ledger/entries", {
      entries: [report("3", { decision_id: id, session_id: "ses_elsewhere" }), report("4", { decision_id: freed })],
    });

    const answer = await fetch(`${gateway.url}/v1/ledger/export`, { headers: { authorization: `Bearer ${gateway.operator}` } });
    writeFileSync(path.join(folder, "all.ndjson"), await answer.text());
    // Of what was reported and is not counted a gateway shows the line, with nothing in it.
    const shown = ({ items, ...sums }: CostReport) => ({
      ...sums,
      items: items.filter(({ count, reported_usd }) => count > 0 || reported_usd !== "0"),
    });
    for (const group of ["action", "run", "session", "agent", "day"]) {
      for (const period of [[], ["--from", halfway], ["--to", halfway]]) {
        const asked = ["--group-by", group, ...period];
        const itself = shown(await told("--url", gateway.url, "--token", gateway.operator, ...asked));
        expect({ asked, ...(await told("--ledger", "all.ndjson", ...asked)) }).toEqual({ asked, ...itself });
        const micro = (usd: string) => Math.round(Number(usd) * 1e6);
        expect(itself.items.reduce((sum, { posted_usd }) => sum + micro(posted_usd), 0)).toBe(micro(itself.total_usd));
      }
    }
    expect(shown(await told("--ledger", "all.ndjson", "--from", halfway))).toMatchObject({
      items: [
        { key: "told", posted_usd: "0", count: 0, reported_usd: "0.02" },
        { key: "late", posted_usd: "-0.4", count: 1 },
      ],
      total_usd: "-0.4",
    });
  });
});
