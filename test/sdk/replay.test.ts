import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { AgentSentinelError, ApprovalRequiredError, BudgetExceededError, PolicyViolationError } from "../../sdk/src/errors.ts";
import { redactedPlaces } from "../../sdk/src/local/ledger/ledger.ts";
import type { LedgerRecord, LedgerStore } from "../../sdk/src/local/ledger/line.ts";
import { createMemoryStore } from "../../sdk/src/local/ledger/memory_store.ts";
import { createRecorder } from "../../sdk/src/local/ledger/recorder.ts";
import { createReplay, type Replay } from "../../sdk/src/local/replay.ts";
import type { ReplayDivergenceError } from "../../sdk/src/local/replay_error.ts";
import { replayExport, replayMode } from "../../sdk/src/local/replay_mode.ts";
import { createLocalSentinel } from "../../sdk/src/local/sentinel.ts";
import type { Json } from "../../sdk/src/surface.ts";
import { recordOf } from "./ledger_records.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "replay-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const recorder = createRecorder({ redaction: undefined });

/** One call of a recorded run. */
interface Ran {
  readonly action: string;
  readonly args: readonly unknown[];
  readonly gave?: unknown;
  readonly threw?: unknown;
  readonly refused?: { readonly verdict: "deny" | "hold"; readonly reason: string };
  readonly run?: string;
  /** It was begun, and the process died. */
  readonly dies?: true;
}

const asked = ({ action, args }: Pick<Ran, "action" | "args">) => ({ action, inputs: recorder.inputs({ args, kwargs: {} }).value });

let decisions = 0;

/** Records calls as a guard does: a line when one begins, and a line when it ends; `ends` gives the order of the ends. */
function recorded(calls: readonly Ran[], ends: (lines: LedgerRecord[]) => LedgerRecord[] = (lines) => lines): LedgerStore {
  const store = createMemoryStore();
  const outcomes: LedgerRecord[] = [];
  for (const call of calls) {
    const { action, args, gave, threw, refused, run = "run_1", dies } = call;
    const inputs = recorder.inputs({ args, kwargs: {} });
    const told = { ...recordOf(0), action, run_id: run, decision_id: `dec_${++decisions}` };
    const beginning = { payload: { inputs: inputs.value, outputs: null }, ...redactedPlaces(inputs.redacted, 0) };
    if (refused !== undefined) {
      store.append({ ...told, ...beginning, ...refused, outcome: refused.verdict === "deny" ? "denied" : "held" });
      continue;
    }
    store.append({ ...told, ...beginning });
    const outputs = recorder.outputs("threw" in call ? threw : gave);
    const payload = { inputs: inputs.value, outputs: outputs.value };
    const end = { ...told, kind: "outcome" as const, payload, ...redactedPlaces(inputs.redacted, outputs.redacted) };
    if (dies !== true) outcomes.push({ ...end, outcome: "threw" in call ? "error" : "success" });
  }
  for (const line of ends(outcomes)) store.append(line);
  return store;
}

const replayOf = (...calls: readonly Ran[]): Replay => replayMode({ ledger: recorded(calls) });

/** What somebody who catches it sees. */
function caught(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

describe("A replayed call", () => {
  it.each<readonly [what: string, value: unknown]>([
    ["plain data", { results: ["a"], count: 10 }],
    ["members in the order in which they were", { z: 1, a: 2, 1: 3 }],
    ["nothing", undefined],
    ["null", null],
    ["what JSON has not", [new Map([["a", 1n]]), new Set([-0]), new Date(5), new Uint8Array([1, 2])]],
    ["what looks like a tag", { $value: "undefined" }],
  ])("gets what it got: %s", (_what, value) => {
    const replay = replayOf({ action: "search", args: ["x"], gave: value });
    const replayed = replay.next(asked({ action: "search", args: ["x"] }));
    expect(replayed).toEqual({ kind: "output", value });
    if (replayed.kind === "output") expect(recorder.outputs(replayed.value)).toEqual(recorder.outputs(value));
  });

  it("gets a value of its own, which nobody else has changed", () => {
    const replay = replayOf({ action: "a", args: [], gave: { list: [1] } }, { action: "a", args: [], gave: { list: [1] } });
    const [first, second] = [replay.take(asked({ action: "a", args: [] })), replay.take(asked({ action: "a", args: [] }))];
    expect(first).toEqual(second);
    expect(first).not.toBe(second);
  });

  it("throws what it threw: name, message, cause and members", () => {
    class QuotaError extends Error {
      override readonly name = "QuotaError";
      readonly status = 429;
    }
    const thrown = new QuotaError("no more", { cause: new TypeError("inner") });
    const error = caught(() => replayOf({ action: "a", args: [], threw: thrown }).take(asked({ action: "a", args: [] })));
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: "QuotaError",
      message: "no more",
      status: 429,
      cause: { name: "TypeError", message: "inner" },
      replayed: true,
    });
    expect(Object.keys(Object(error))).toEqual(["status"]);
  });

  it.each([new TypeError("t"), new RangeError("r"), new SyntaxError("s")])("throws an instance of the language's own class: $name", (thrown) => {
    const error = caught(() => replayOf({ action: "a", args: [], threw: thrown }).take(asked({ action: "a", args: [] })));
    expect(error).toBeInstanceOf(thrown.constructor);
    expect(error).not.toBe(thrown);
  });

  it("throws the errors of an AggregateError, and what was thrown that is no error", () => {
    const all = caught(() =>
      replayOf({ action: "a", args: [], threw: new AggregateError([new Error("x"), 7], "all") }).take(asked({ action: "a", args: [] })),
    );
    expect(all).toBeInstanceOf(AggregateError);
    expect(all).toMatchObject({ message: "all", errors: [{ message: "x" }, 7] });
    expect(caught(() => replayOf({ action: "a", args: [], threw: "text" }).take(asked({ action: "a", args: [] })))).toBe("text");
  });

  it.each<readonly [reason: string, of: new (...args: never[]) => Error]>([
    ["run_budget_exceeded", BudgetExceededError],
    ["action_denied", PolicyViolationError],
    ["some_newer_reason", PolicyViolationError],
  ])("that was refused (%s) is refused again by the same class", (reason, of) => {
    const error = caught(() => replayOf({ action: "a", args: [1], refused: { verdict: "deny", reason } }).take(asked({ action: "a", args: [1] })));
    expect(error).toBeInstanceOf(of);
    expect(error).toMatchObject({ message: expect.stringContaining(reason), decision: { verdict: "deny", action: "a" } });
  });

  it("that was held and then approved gets what it got when it ran; one that was only held is held", () => {
    const held = { action: "a", args: [1], refused: { verdict: "hold", reason: "approval_required" } } as const;
    const replay = replayOf(held, { action: "a", args: [1], gave: "sent" });
    expect(replay.take(asked(held))).toBe("sent");
    expect(replay.leftovers()).toEqual([]);
    expect(caught(() => replayOf(held).take(asked(held)))).toBeInstanceOf(ApprovalRequiredError);
  });
});

describe("Calls are matched by what they are", () => {
  it("the n-th that is alike by the n-th that began, in whatever order they come and ended", () => {
    const call = fc.record({
      action: fc.constantFrom("a", "b"),
      args: fc.array(fc.constantFrom<unknown>(1, "x", { q: 1 }, undefined), { maxLength: 2 }),
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (calls, chance) => {
        const shuffled = <T>(items: readonly T[]): T[] => {
          const left = [...items];
          return items.flatMap(() => left.splice((chance.next().value ?? 0) % left.length, 1));
        };
        const key = (of: Ran): string => JSON.stringify(asked(of));
        const ran: Ran[] = calls.map((of, n) => ({ ...of, gave: n }));
        const replay = replayMode({ ledger: recorded(ran, shuffled) });
        const nth = new Map<string, number>();
        for (const of of shuffled(ran)) {
          const n = nth.get(key(of)) ?? 0;
          nth.set(key(of), n + 1);
          expect(replay.take(asked(of))).toBe(ran.filter((other) => key(other) === key(of))[n]?.gave);
        }
        expect(replay.leftovers()).toEqual([]);
        for (const of of ran.slice(0, 1)) expect(replay.next(asked(of))).toMatchObject({ kind: "diverged", error: { code: "not_recorded" } });
      }),
    );
  });

  it("never another action's, nor another run's where one is named", () => {
    const ledger = recorded([
      { action: "a", args: [1], gave: "first", run: "run_1" },
      { action: "a", args: [1], gave: "second", run: "run_2" },
      { action: "b", args: [1], gave: "other", run: "run_2" },
    ]);
    const replay = replayMode({ ledger, runId: "run_2" });
    expect(replay.take(asked({ action: "a", args: [1] }))).toBe("second");
    expect(replay.next(asked({ action: "a", args: [1] })).kind).toBe("diverged");
    expect(replay.leftovers()).toMatchObject([{ action: "b", runId: "run_2", inputs: { args: [1], kwargs: {} } }]);
    expect(() => replayMode({ ledger, runId: "run_3" })).toThrow('Cannot replay run "run_3": it is not on record; there are "run_2", "run_1"');
  });

  it("what was recorded by hand and what never ran are no calls", () => {
    const ledger = recorded([]);
    ledger.append({ ...recordOf(0), kind: "record", outcome: "success" });
    expect(replayMode({ ledger }).leftovers()).toEqual([]);
  });
});

describe("A call that is not on record", () => {
  const diverged = (replay: Replay, call: Pick<Ran, "action" | "args">): ReplayDivergenceError => {
    const replayed = replay.next(asked(call));
    if (replayed.kind !== "diverged") throw new Error("it is on record");
    expect(replayed.mayRun).toBe(false);
    return replayed.error;
  };

  it("is told with the nearest one on record, place by place", () => {
    const replay = replayOf(
      { action: "send", args: [{ to: "x", subject: "far", body: ["other"] }], gave: 1 },
      { action: "send", args: [{ to: "ada", subject: "hi", body: ["one", "two"], "a/b": 1 }], gave: 1 },
    );
    const error = diverged(replay, { action: "send", args: [{ to: "bob", subject: "hi", body: ["one"], cc: "eve", "a/b": 2 }] });
    expect(error).toBeInstanceOf(AgentSentinelError);
    expect(error).toMatchObject({ name: "ReplayDivergenceError", code: "inputs_differ", action: "send", recoverable: false });
    expect(error.message.split("\n")).toEqual([
      'Cannot replay "send": its inputs differ from those on record',
      '  /args/0/to: recorded "ada", now "bob"',
      '  /args/0/body/1: recorded "two", now nothing',
      "  /args/0/a~1b: recorded 1, now 2",
      '  /args/0/cc: recorded nothing, now "eve"',
    ]);
    expect(replay.leftovers()).toHaveLength(2);
  });

  it("is told in a few short lines, however much differs", () => {
    const long = (text: string) => Object.fromEntries(Array.from({ length: 50 }, (_, n) => [`k${n}`, text.repeat(500)]));
    const { message } = diverged(replayOf({ action: "a", args: [long("x")], gave: 1 }), { action: "a", args: [long("y")] });
    expect(message.split("\n")).toHaveLength(12);
    expect(message.length).toBeLessThan(4_000);
  });

  it("of an action that is not, or not so often, is told as that", () => {
    const replay = replayOf({ action: "a", args: [1], gave: 1 }, { action: "b", args: [], gave: 1 });
    expect(diverged(replay, { action: "c", args: [] }).message).toBe('Cannot replay "c": no call of it is on record; there are "a", "b"');
    replay.take(asked({ action: "a", args: [1] }));
    expect(diverged(replay, { action: "a", args: [1] }).message).toBe('Cannot replay "a": one call of it on record, and this is one more');
  });

  it("was begun, but its end is not: no other call's end is taken for it", () => {
    expect(diverged(replayOf({ action: "a", args: [], dies: true }), { action: "a", args: [] })).toMatchObject({ code: "unfinished" });
  });

  it.each<readonly [what: string, value: unknown, why: string]>([
    ["an instance", { conn: new (class Connection {})() }, '/conn is of the kind "instance"'],
    ["a text that was cut", "x".repeat(100_000), 'it is of the kind "text"'],
    ["a stream", new ReadableStream(), 'it is of the kind "opaque"'],
    ["what was redacted", { password: "hunter2", mail: "a@b.io" }, "2 places of what it gave was redacted"],
  ])("whole cannot be given back as the real thing: %s", (_what, gave, why) => {
    const error = diverged(replayOf({ action: "a", args: [], gave }), { action: "a", args: [] });
    expect(error).toMatchObject({ code: "lossy", message: expect.stringContaining(why) });
  });

  it("runs as if there were no replay where that is wanted", () => {
    const replay = replayMode({ ledger: recorded([]), strict: false });
    expect(replay.next(asked({ action: "a", args: [] }))).toMatchObject({ kind: "diverged", mayRun: true });
  });
});

describe("The record", () => {
  it("is a file too, whose half-written last line is passed over, and the Python original's", () => {
    const file = path.join(scratch, "ledger.jsonl");
    const [begin, end] = recorded([{ action: "a", args: [1], gave: "ours" }]).after(0, 2);
    const python = {
      id: "550e8400",
      timestamp: "2025-01-15T10:30:00.123456Z",
      action: "search_tool",
      cost_usd: 0.01,
      duration_ms: 234.5,
      outcome: "success",
      tags: [],
    };
    const inputs = { args: [], kwargs: { query: "Python best practices" } };
    const lines = [begin, end, { ...python, payload: { inputs, outputs: { count: 10 } } }].map((line) => JSON.stringify(line));
    writeFileSync(file, `${lines.join("\n")}\n{"id":"torn`);
    const replay = replayMode({ path: file });
    expect(replay.take(asked({ action: "a", args: [1] }))).toBe("ours");
    expect(replay.take({ action: "search_tool", inputs })).toEqual({ count: 10 });
    writeFileSync(file, `${lines[0]}\nnot a line\n${lines[1]}\n`);
    expect(() => replayMode({ path: file })).toThrow("line 2 cannot be read");
  });

  /** An entry of a gateway's, of which only these members matter. */
  const entry = (kind: string, id: string, members: object): object => ({
    kind,
    decision_id: id,
    tenant_id: "demo",
    session_id: "ses_1",
    run_id: "run_1",
    action: "send",
    step: kind === "decision" ? "decide" : null,
    redacted: 0,
    payload: null,
    ...members,
  });
  const allowed = (id: string, inputs: Json, more: object = {}): object =>
    entry("decision", id, { verdict: "allow", payload: { salt: "s", inputs }, ...more });
  const committed = (id: string, outputs: Json): object => entry("commit", id, { outcome: "success", payload: { salt: "s", outputs } });

  it.each<readonly [what: string, lines: readonly object[], args: readonly unknown[], gives: object]>([
    [
      "one plain object, shown as itself",
      [allowed("d", { to: "a" }), committed("d", { ok: true })],
      [{ to: "a" }],
      { kind: "output", value: { ok: true } },
    ],
    ["a list of arguments", [allowed("d", ["a", 1]), committed("d", 5)], ["a", 1], { kind: "output", value: 5 }],
    [
      "data that looks like a tag",
      [allowed("d", { $value: "undefined" }), committed("d", { $value: "date" })],
      [{ $value: "undefined" }],
      { kind: "output", value: { $value: "date" } },
    ],
    [
      "an error, of which the gateway is told a text",
      [allowed("d", []), entry("commit", "d", { outcome: "error", error: "TypeError: no\nmore" })],
      [],
      { kind: "error", error: expect.objectContaining({ name: "TypeError", message: "no\nmore" }) },
    ],
    [
      "outputs that were redacted",
      [allowed("d", []), { ...committed("d", "[redacted:email]"), redacted: 1 }],
      [],
      { kind: "diverged", error: expect.objectContaining({ code: "lossy" }), mayRun: false },
    ],
    [
      "outputs that are not stored",
      [allowed("d", []), entry("commit", "d", { outcome: "success" })],
      [],
      { kind: "diverged", error: expect.objectContaining({ code: "lossy" }), mayRun: false },
    ],
    ["inputs that are not stored", [allowed("d", null, { payload: null }), committed("d", 1)], ["any"], { kind: "output", value: 1 }],
    [
      "a reservation that was changed later",
      [allowed("d", [1]), entry("decision", "d", { step: "topup", verdict: "allow" }), committed("d", 1)],
      [1],
      { kind: "output", value: 1 },
    ],
    [
      "a change of a reservation whose beginning is not in it",
      [entry("decision", "d", { step: "topup", verdict: "allow" }), committed("d", 1)],
      [],
      { kind: "diverged", error: expect.objectContaining({ code: "not_recorded" }), mayRun: false },
    ],
    [
      "a reservation that ran out",
      [allowed("d", []), entry("expiry", "d", {})],
      [],
      { kind: "diverged", error: expect.objectContaining({ code: "unfinished" }), mayRun: false },
    ],
    [
      "what was given back, which never ran",
      [allowed("d", []), entry("release", "d", {})],
      [],
      { kind: "diverged", error: expect.objectContaining({ code: "not_recorded" }), mayRun: false },
    ],
    [
      "a denial",
      [entry("decision", "d", { verdict: "deny", reason: "action_denied", payload: { salt: "s", inputs: [] } })],
      [],
      { kind: "error", error: expect.any(PolicyViolationError) },
    ],
  ])("is a gateway's export too: %s", (_what, lines, args, gives) => {
    const replay = createReplay({ lines: lines.map((line) => JSON.stringify(line)) });
    expect(replay.next(asked({ action: "send", args }))).toEqual(gives);
    // Nobody can know whether what a gateway was told of a result was the result.
    expect(replay.asTold()).toHaveLength("value" in gives ? 1 : 0);
  });

  it("is what a local ledger reported to a gateway, as far as the gateway kept it", () => {
    const lines = recorded([
      { action: "send", args: [1], gave: new Map([["a", 1n]]) },
      { action: "send", args: [2], threw: new TypeError("no") },
      { action: "send", args: [3], gave: "a@b.io, unhidden" },
      { action: "send", args: [4], gave: "not stored" },
    ]).after(0, 10);
    const entries = lines.map(({ payload, ...line }) => {
      const hides = Object(payload.inputs).args[0] === 3 && line.kind === "outcome";
      const stores = Object(payload.inputs).args[0] !== 4;
      const beside = { payload: stores ? { salt: "s", ...payload } : null, redacted: hides ? 1 : 0 };
      return { ...entry("ingest", String(line.decision_id), { run_id: line.run_id, details: { event: "reported", line } }), ...beside };
    });
    const replay = replayMode({ lines: entries, runId: "run_1" });
    expect(replay.take(asked({ action: "send", args: [1] }))).toEqual(new Map([["a", 1n]]));
    expect(caught(() => replay.take(asked({ action: "send", args: [2] })))).toBeInstanceOf(TypeError);
    for (const args of [[3], [4]]) expect(replay.next(asked({ action: "send", args }))).toMatchObject({ kind: "diverged", error: { code: "lossy" } });
    expect(replay.leftovers()).toEqual([]);
  });

  it("that a gateway serves is fetched with the token, whole or not at all", async () => {
    const seen: unknown[] = [];
    const server = createServer((request, response) => {
      seen.push([request.method, request.url, request.headers.authorization]);
      const run = request.url?.slice(-5);
      response.writeHead(run === "run_9" ? 403 : 200, { "content-type": "application/x-ndjson" });
      response.write(`${JSON.stringify(allowed("d", [1]))}\n`);
      // The stream of one breaks off after what looks like its last line.
      if (run === "run_2") setImmediate(() => response.destroy());
      else response.end(`${JSON.stringify(committed("d", "sent"))}\n`);
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    // It listens on a port.
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const replay = await replayExport({ url, token: () => "secret", runId: "run_1" });
    expect(replay.take(asked({ action: "send", args: [1] }))).toBe("sent");
    expect(seen).toEqual([["GET", "/v1/ledger/export?run=run_1", "Bearer secret"]]);
    await expect(replayExport({ url, token: "secret", runId: "run_2" })).rejects.toThrow();
    await expect(replayExport({ url, token: "secret", runId: "run_9" })).rejects.toThrow("status 403");
    await new Promise((closed) => server.close(closed));
  });
});

describe("A guarded run", () => {
  const policy = "version: 1\nname: replayed\nallowed_actions: [search, send]\n";

  it("is replayed through the guard: no function runs, and what is denied now stays denied", async () => {
    const store = createMemoryStore();
    const ran: string[] = [];
    const agent = async (sentinel: ReturnType<typeof createLocalSentinel>) => {
      const search = sentinel.guard({ action: "search" }, async (query: string) => {
        ran.push(query);
        return { query, hits: ran.length };
      });
      const send = sentinel.guard({ action: "send" }, (to: string): string => {
        ran.push(to);
        throw new TypeError(`no such mailbox: ${to}`);
      });
      const found = await Promise.all([search("a"), search("b"), search("a")]);
      return [found, caught(() => send("ann"))];
    };
    const first = await agent(createLocalSentinel({ policy, ledger: store }));
    expect(ran).toHaveLength(4);
    const replay = replayMode({ ledger: store });
    expect(await agent(createLocalSentinel({ policy, replay }))).toEqual(first);
    expect(ran).toHaveLength(4);
    expect(replay.leftovers()).toEqual([]);

    const again = replayMode({ ledger: store });
    const denying = createLocalSentinel({
      policy: "version: 1\nname: none\ndenied_actions: [search]\nallowed_actions: [search, send]\n",
      replay: again,
    });
    await expect(agent(denying)).rejects.toBeInstanceOf(PolicyViolationError);
    expect(again.leftovers()).toHaveLength(4);
    expect(ran).toHaveLength(4);
  });
});
