import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import type { DecisionAnswer } from "../../sdk/src/index.ts";
import type { LedgerEntry } from "../../sdk/src/wire.ts";
import { CHAIN_START, type EntryDraft, type Payload, type SealedEntry, seal } from "../../src/core/entry.ts";
import { audit, type Record } from "../../src/local/demo/audit.ts";
import type { Driven, Played } from "../../src/local/demo/drive.ts";
import { microOf, usdOf } from "../../src/local/demo/money.ts";
import { type DemoOptions, readOptions } from "../../src/local/demo/options.ts";
import { type Arguments, actualOf, estimateOf, toolNamed } from "../../src/local/demo/prices.ts";
import { startProgress } from "../../src/local/demo/progress.ts";
import { inWords, reportOf } from "../../src/local/demo/report.ts";
import { type Call, type Run, readTrace, type Write } from "../../src/local/demo/trace.ts";
import { writesOf } from "../../src/local/demo/writes.ts";

describe("what the demo checks", () => {
  it("finds nothing wrong with a record that agrees with what the agent was told", () => {
    expect(wrong(story())).toEqual([]);
  });

  const ledger = "The ledger's sum equals the commits, to the micro-dollar";
  const recorded = "Every decision is recorded, exactly as it was answered";
  const committed = "Every allowed call is committed";
  const chains = "Every chain is without gaps, and every hash is the right one";
  const decided = "Every one of the 2 calls is decided";
  it.each<[string, (found: Story) => void, readonly string[]]>([
    ["a call that nobody decided", ({ played }) => change(played, 1, { verdict: null, reason: null, fault: "no answer" }), [decided]],
    [
      "an answer with another hash than the entry's",
      ({ answers }) => change(answers, 1, { entry: { id: "ent_2", seq: 3, hash: "f".repeat(64) } }),
      [recorded],
    ],
    ["an answer with another verdict", ({ answers }) => change(answers, 1, { verdict: "allow" }), [recorded]],
    ["a decision that is not in the record", ({ entries }) => entries.splice(3, 1), [recorded, chains]],
    ["a commit that is not in the record", ({ entries }) => entries.splice(2, 1), [committed, ledger, chains]],
    ["a commit that was lost on the way", (found) => void found.lost++, [committed]],
    ["a micro-dollar more in the costs", ({ costs }) => Object.assign(costs, { total_usd: "0.050001" }), [ledger]],
    ["a micro-dollar less told", ({ played }) => change(played, 0, { committed: 49_999 }), [ledger]],
    ["an entry that was written over", ({ entries }) => change(entries, 2, { duration_ms: 7 }), [chains]],
    ["inputs that were written over", ({ entries }) => change(entries, 1, { payload: { salt: "s", inputs: { to: "b" } } }), [chains]],
    ["two entries in each other's place", ({ entries }) => entries.splice(2, 2, at(entries, 3), at(entries, 2)), [chains]],
    ["a session without a record", (found) => void found.sessions++, [chains]],
    ["an index that is missing", ({ entries }) => change(entries, 4, { index: 9 }), [chains]],
  ])("finds %s", (_what, tamper, names) => {
    const found = story();
    tamper(found);
    expect(wrong(found)).toEqual(names);
  });
});

describe("how the demo prices calls", () => {
  it.each<[string, Arguments, string]>([
    ["think", { thought: "…" }, "0"],
    ["search_onestop_flight", {}, "0.02"],
    ["book_reservation", { payment_methods: [{ amount: 250 }, { amount: 5.5 }] }, "255.75"],
    ["book_reservation", { payment_methods: [] }, "0.25"],
    ["book_reservation", { payment_methods: [{ amount: -5 }] }, "10000.25"],
    ["book_reservation", { payment_methods: "card" }, "10000.25"],
    ["book_reservation", {}, "10000.25"],
    ["update_reservation_flights", { cabin: "economy", flights: [{}, {}] }, "200.25"],
    ["update_reservation_flights", { cabin: "business", flights: [{}, {}] }, "600.25"],
    ["update_reservation_baggages", { nonfree_baggages: 2 }, "100.1"],
    ["send_certificate", { amount: 0.1 + 0.2 }, "0.35"],
    ["a_tool_of_somebody_else", { amount: 5 }, "0.01"],
    ["constructor", {}, "0.01"],
  ])("%s %j is estimated at $%s", (name, args, usd) => {
    expect(usdOf(estimateOf(toolNamed(name), args))).toBe(usd);
  });

  it("charges a tool that answered an error its fee alone", () => {
    expect(actualOf(toolNamed("send_certificate"), 100_050_000, "Error: user not found")).toBe(50_000);
    expect(actualOf(toolNamed("send_certificate"), 100_050_000, "Certificate added")).toBe(100_050_000);
  });

  it("reads back every amount that it writes", () => {
    fc.assert(fc.property(fc.maxSafeNat(), (micro) => microOf(usdOf(micro)) === micro));
    expect(() => microOf("1e5")).toThrow(/"1e5"/);
  });
});

describe("what became of the writes", () => {
  const cancel = (id: string): Write => ({ name: "cancel_reservation", arguments: { reservation_id: id, why: { code: 1, said: "plans" } } });
  const run = (expected: Run["expected"]): Run => ({ task: "7", trial: "2", calls: [], expected });
  const play = (of: Run, write: Write, verdict: Played["verdict"], because: readonly [Played["reason"], string | null], result = "{}"): Played => {
    const call: Call = { ...write, result };
    return { ...at(story().played, 0), run: of, call, action: call.name, verdict, reason: because[0], rule: because[1] };
  };
  const YES = ["permitted", null] as const;
  const RULE = ["rule_forbids", "fare"] as const;
  const wants = run([cancel("A")]);

  it("is not told where no run says what was expected", () => {
    expect(writesOf([play(run(null), cancel("A"), "deny", RULE)])).toBeNull();
    const { driven, record } = parts(story());
    const report = reportOf({ source: "", gateway: "", tenant: "", driven, record, checks: [] });
    expect(report).not.toHaveProperty("writes");
    expect(inWords(report, false)).not.toContain("What was written");
  });

  it("is told in counts that add up, each stop under its first reason", () => {
    const found = writesOf([
      play(wants, cancel("A"), "allow", YES),
      play(wants, cancel("A"), "deny", RULE),
      play(wants, cancel("B"), "deny", RULE),
      play(wants, cancel("B"), "hold", ["approval_required", "/approvals/actions"]),
      play(wants, cancel("B"), "allow", YES, "Error: reservation not found"),
      play(wants, cancel("B"), "allow", YES, "not an Error"),
      play(run([]), cancel("A"), "allow", YES),
      play(run([]), { name: "get_user_details", arguments: {} }, "deny", RULE),
      play(run(null), cancel("A"), "deny", RULE),
    ]);
    expect(found).toEqual({
      expected: { count: 2, passed: 1, stopped: 1 },
      unexpected: { count: 5, stopped: 2, refused_by_tool: 1, took_effect: 2 },
      stops: [
        { reason: "rule_forbids", rule: "fare", expected: 1, unexpected: 1 },
        { reason: "approval_required", rule: "/approvals/actions", expected: 0, unexpected: 1 },
      ],
      stopped_expected: [
        {
          task: "7",
          trial: "2",
          action: "cancel_reservation",
          arguments: cancel("A").arguments,
          verdict: "deny",
          reason: "rule_forbids",
          rule: "fare",
        },
      ],
    });
  });

  it.each<[string, Write, number]>([
    ["members in another order", { name: "cancel_reservation", arguments: { why: { said: "plans", code: 1 }, reservation_id: "A" } }, 1],
    ["another argument", cancel("B"), 0],
    ["one member more", { ...cancel("A"), arguments: { ...cancel("A").arguments, note: "" } }, 0],
    ["another tool with the same arguments", { ...cancel("A"), name: "update_reservation_flights" }, 0],
    ["a number as text", { ...cancel("A"), arguments: { reservation_id: "A", why: { code: "1", said: "plans" } } }, 0],
  ])("%s", (_what, write, expected) => {
    expect(writesOf([play(wants, write, "allow", YES)])?.expected.count).toBe(expected);
  });

  it.each(["book_reservation", "cancel_reservation", "send_certificate", "update_reservation_flights", "update_reservation_insurance"])(
    "%s is a write",
    (name) => {
      expect(writesOf([play(wants, { name, arguments: {} }, "deny", RULE)])?.unexpected.count).toBe(1);
    },
  );
});

describe("recorded runs", () => {
  const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-trace-"));
  afterAll(() => rmSync(home, { recursive: true, force: true }));
  const read = (...lines: readonly string[]) => {
    const file = path.join(home, "runs.ndjson");
    writeFileSync(file, lines.join("\n"));
    return readTrace(file, "runs.ndjson");
  };
  const call = (args: string) => ({ role: "assistant", tool_calls: [{ id: "a", type: "function", function: { name: "think", arguments: args } }] });
  const run = (...messages: readonly object[]) => JSON.stringify({ task_id: 1, trial: 0, messages });

  it("gives each call the first result after it, though the ids repeat", () => {
    const trace = read(
      run(call("{}"), { role: "tool", tool_call_id: "a", content: "one" }, call("{}"), { role: "tool", tool_call_id: "a", content: "two" }),
    );
    expect(trace.runs.map(({ calls }) => calls.map(({ name, result }) => [name, result]))).toEqual([
      [
        ["think", "one"],
        ["think", "two"],
      ],
    ]);
  });

  it("know what was expected of them, if the data says so", () => {
    const expected = (expected_actions?: unknown) => read(JSON.stringify({ messages: [], expected_actions })).runs[0]?.expected;
    expect(expected([{ name: "book", kwargs: { a: [1] } }])).toEqual([{ name: "book", arguments: { a: [1] } }]);
    expect(expected([])).toEqual([]);
    expect(expected(null)).toBeNull();
    expect(expected()).toBeNull();
  });

  it.each([
    ['{"messages":[],"expected_actions":{}}', "runs.ndjson, line 2, /expected_actions: wanted a list"],
    ['{"messages":[],"expected_actions":[{"kwargs":{}}]}', "runs.ndjson, line 2, /expected_actions/0/name: wanted a text"],
    ['{"messages":[],"expected_actions":[{"name":"a"}]}', "runs.ndjson, line 2, /expected_actions/0/kwargs: wanted an object"],
    ["{", "runs.ndjson, line 2: wanted JSON"],
    ["[]", "runs.ndjson, line 2: wanted an object"],
    ["{}", "runs.ndjson, line 2, /messages: wanted a list"],
    [run(call("{")), "runs.ndjson, line 2, /messages/0/tool_calls/0/arguments: wanted JSON"],
    [run(call("[]")), "runs.ndjson, line 2, /messages/0/tool_calls/0/arguments: wanted an object"],
    [run(call("{}")), "runs.ndjson, line 2, /messages/0/tool_calls/0: no tool result with the id a follows"],
  ])("names the place of a mistake: %s", (line, message) => {
    expect(() => read(run(), line)).toThrow(message);
  });
});

describe("the demo's command line", () => {
  const home = mkdtempSync(path.join(tmpdir(), "agentsentinel-options-"));
  afterAll(() => rmSync(home, { recursive: true, force: true }));
  const options = (args: readonly string[], env = {}): DemoOptions | string => {
    const found = readOptions(args, env, import.meta.dirname, path.join(home, ".dev.vars"));
    return found.kind === "go" ? found.options : found.kind === "mistake" ? found.message : found.kind;
  };

  it("plays what is there on a gateway of its own", () => {
    expect(options(["--short"])).toMatchObject({ gateway: null, data: null, atOnce: 8, json: false });
    expect(options(["--help", "--short"])).toBe("help");
  });

  it("takes the gateway from the command or from the environment", () => {
    const gateway = { url: "http://127.0.0.1:8787", rootKey: "k" };
    expect(options(["--url", "http://127.0.0.1:8787/", "--root-key", "k"])).toMatchObject({ gateway });
    expect(options([], { DEMO_URL: "http://127.0.0.1:8787", ROOT_KEY: "k" })).toMatchObject({ gateway });
    expect(options([], { ROOT_KEY: "k" })).toMatchObject({ gateway: null });
  });

  it("finds the key that npm start made, for a gateway on this machine only", () => {
    writeFileSync(path.join(home, ".dev.vars"), "# secrets\nROOT_KEY='kept'\n");
    for (const url of ["http://127.0.0.1:8787", "http://localhost:1", "http://[::1]:2"]) {
      expect(options(["--url", url])).toMatchObject({ gateway: { url, rootKey: "kept" } });
    }
    expect(options(["--url", "https://127.0.0.1.example.com"])).toContain("--url needs --root-key");
    expect(options(["--url", "http://127.0.0.1:8787", "--root-key", "k"])).toMatchObject({ gateway: { rootKey: "k" } });
    rmSync(path.join(home, ".dev.vars"));
  });

  it("reads a file from where the command was typed", () => {
    const file = path.join(import.meta.dirname, "demo_parts.test.ts");
    expect(options(["--data", "demo_parts.test.ts"])).toMatchObject({ data: { file, source: "demo_parts.test.ts" } });
    expect(options(["--short", "--policy", "demo_parts.test.ts"])).toMatchObject({ policy: file });
  });

  it.each([
    [["--bogus"], "--bogus"],
    [["--url", "8787", "--root-key", "k"], "--url is an address"],
    [["--url", "http://127.0.0.1:8787"], "--url needs --root-key"],
    [["--root-key", "k"], "--root-key needs --url"],
    [["--at-once", "0"], "--at-once is a number"],
    [["--data", "nowhere.ndjson"], "--data names no file"],
    [["--policy", "nowhere.yaml"], "--policy names no file"],
    [["--short", "--data", "demo_parts.test.ts"], "exclude each other"],
  ])("%j is a mistake that it names", (args, message) => {
    expect(options(args)).toContain(message);
  });
});

describe("what a person sees", () => {
  const report = reportOf({
    source: "a test",
    gateway: "http://127.0.0.1:1",
    tenant: "t",
    ...parts(story()),
    checks: [{ name: "It holds", holds: false, found: "not" }],
  });

  it("is not well when one check is not", () => {
    expect(report.ok).toBe(false);
    expect(inWords(report, false)).toContain("NO   It holds\n       not");
  });

  it("has colour only when it is asked for, and otherwise the same words", () => {
    const plain = inWords(report, false);
    expect(plain).not.toContain("\u001b");
    const coloured = inWords(report, true);
    expect(coloured).toContain("\u001b[31mNO \u001b[0m");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is looked for.
    expect(coloured.replace(/\u001b\[\d+m/g, "")).toBe(plain);
  });

  it("takes percentiles by the nearest rank", () => {
    const found = parts(story());
    const played = Array.from({ length: 100 }, (_, n) => ({ ...at(found.driven.played, 0), decisionMs: 100 - n }));
    const { decision_ms } = reportOf({ source: "", gateway: "", tenant: "", ...found, driven: { ...found.driven, played }, checks: [] });
    expect(decision_ms).toEqual({ p50: 50, p99: 99, slowest: 100 });
  });

  it("has a bar on a terminal, never wider than it, and none in a pipe", () => {
    const drawn = (isTTY: boolean, columns: number): string => {
      let text = "";
      const stream = { isTTY, columns, write: (part: string) => (text += part) };
      // What the bar uses of a stream.
      const bar = startProgress(stream as unknown as NodeJS.WriteStream, 4, "calls");
      for (let step = 0; step < 4; step++) bar.step();
      bar.end();
      return text;
    };
    expect(drawn(true, 80)).toContain(`${"█".repeat(32)} 4 of 4 calls`);
    expect(drawn(true, 80).endsWith("\r\u001b[K")).toBe(true);
    expect(
      drawn(true, 20)
        .split("\r")
        .every((line) => line.length < 20),
    ).toBe(true);
    expect(drawn(false, 80)).toBe("");
  });
});

interface Story {
  readonly played: Played[];
  readonly answers: DecisionAnswer[];
  readonly entries: LedgerEntry[];
  readonly costs: Record["costs"];
  lost: number;
  sessions: number;
}

/** One session of two calls, one allowed and committed, one denied, as the gateway's own code seals it; and an entry of the tenant's chain. */
function story(): Story {
  const session = { timestamp: "2026-01-01T00:00:00.000Z", tenant_id: "t", session_id: "ses_1" } as const;
  let head = CHAIN_START;
  const sealed: SealedEntry[] = [];
  const record = (draft: Omit<EntryDraft, "id" | "tenant_id">, payload: Payload | null): void => {
    // An entry's id is opaque here.
    const next = seal(sha256, head, { ...draft, id: `ent_${sealed.length}` as EntryDraft["id"], tenant_id: "t" }, payload);
    sealed.push(next);
    head = { seq: next.entry.seq, hash: next.hash };
  };
  const decision = { kind: "decision", step: "decide", action: "search" } as const;
  record({ ...session, kind: "session" }, null);
  record({ ...session, ...decision, decision_id: "dec_1", verdict: "allow", reason: "permitted" }, { salt: "s", inputs: { to: "a" } });
  record({ ...session, kind: "commit", decision_id: "dec_1", cost_usd: "0.05" }, null);
  record({ ...session, ...decision, decision_id: "dec_2", verdict: "deny", reason: "rate_exceeded" }, null);
  head = CHAIN_START;
  record({ ...session, session_id: null, kind: "policy" }, null);

  const entries = sealed.map(
    ({ canonical, hash, payload }, index): LedgerEntry => ({
      ...JSON.parse(canonical),
      hash,
      index,
      payload: payload === null ? null : { ...payload },
    }),
  );
  const answer = (entry: LedgerEntry): DecisionAnswer => {
    const answered = { id: entry.decision_id, action: "search", verdict: entry.verdict, reason: { code: entry.reason }, warnings: [], entry };
    // What the audit reads of an answer.
    return answered as unknown as DecisionAnswer;
  };
  const run: Run = { task: "1", trial: "0", calls: [], expected: null };
  const call = {
    run,
    call: { name: "search", arguments: {}, result: "" },
    action: "search",
    estimate: 50_000,
    decisionMs: 1,
    fault: null,
    rule: null,
  };
  return {
    played: [
      { ...call, verdict: "allow", reason: "permitted", committed: 50_000 },
      { ...call, verdict: "deny", reason: "rate_exceeded", committed: null },
    ],
    answers: [answer(at(entries, 1)), answer(at(entries, 3))],
    entries,
    costs: { items: [{ key: "search", posted_usd: "0.05", count: 1, reported_usd: "0" }], total_usd: "0.05", reported_usd: "0" },
    lost: 0,
    sessions: 1,
  };
}

function parts({ played, answers, lost, sessions, entries, costs }: Story): { readonly driven: Driven; readonly record: Record } {
  return { driven: { played, answers, lost, sessions, ms: 1 }, record: { entries, costs } };
}

function wrong(found: Story): readonly string[] {
  const { driven, record } = parts(found);
  return audit(driven, record)
    .filter(({ holds }) => !holds)
    .map(({ name }) => name);
}

function at<T>(list: readonly T[], place: number): T {
  const found = list[place];
  if (found === undefined) throw new Error(`nothing at ${place}`);
  return found;
}

function change<T extends object>(list: T[], place: number, members: Partial<T>): void {
  list[place] = { ...at(list, place), ...members };
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
