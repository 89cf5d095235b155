import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import { eventsOf } from "../../src/core/events.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { refusal } from "../../src/core/refusals.ts";
import { err } from "../../src/core/result.ts";
import { ingest } from "../../src/flow/ingest.ts";
import type { Ports } from "../../src/flow/ports.ts";
import * as answers from "../../src/http/answers.ts";
import { ingestEntry } from "../../src/http/lines.ts";
import type { TenantLedger } from "../../src/ledger/tenant_ledger.ts";
import { ask, ROOT, type Sender, told } from "./isolation_estate.ts";
import { newTenant, ports } from "./world.ts";

/** What engines elsewhere recorded, on record here: once, whole, and as testimony. */

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const uuid = (): string => crypto.randomUUID();

const DAY_MS = 24 * 60 * 60 * 1000;

const REDACTS = `redact:
  keys: [password]
  detect: [email]
`;

interface Place {
  readonly tenant: string;
  readonly service: Sender;
  readonly agent: Sender;
  readonly put: (text: string) => Promise<void>;
}

async function newPlace(policy: string | null = "strict_mode: false"): Promise<Place> {
  const { tenant, put } = await newTenant(policy);
  const issue = async (subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]): Promise<Sender> => {
    const { token } = await told<wire.IssuedToken>(201, ROOT, { method: "POST", path: "/v1/tokens", body: { tenant, subject, kind, scopes } });
    return { tenant, authorization: `Bearer ${token}` };
  };
  const service = await issue("collector", "service", ["ledger:read", "ledger:write"]);
  const agent = await issue("ada", "agent", ["ledger:read", "ledger:write", "sessions:write", "decisions:write"]);
  return { tenant, service, agent, put };
}

/** What the original writes for `guarded_action(name="search_tool", cost_usd=0.01, tags=["search"])`. */
const original = (more: Partial<wire.IngestEntry> = {}): wire.IngestEntry => ({
  id: uuid(),
  timestamp: "2025-01-15T10:30:00.123456Z",
  action: "search_tool",
  cost_usd: 0.01,
  duration_ms: 145.23,
  outcome: "success",
  tags: ["search", "api"],
  payload: { inputs: { args: ["durable objects"], kwargs: {} }, outputs: { results: [1, 2], count: 2 } },
  agent_id: null,
  run_id: "nightly",
  ...more,
});
const many = (count: number): wire.IngestEntry[] => Array.from({ length: count }, (_, n) => original({ action: `step_${n}` }));

const report = (sender: Sender, body: unknown, status = 202, headers: Readonly<Record<string, string>> = {}): Promise<wire.Ingested> =>
  told(status, sender, { method: "POST", path: "/v1/ledger/entries", body, headers });

async function exported(sender: Sender, query = ""): Promise<wire.LedgerEntry[]> {
  const { status, text } = await ask(sender, { method: "GET", path: `/v1/ledger/export${query}` });
  expect(status, text).toBe(200);
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

const reported = (sender: Sender): Promise<wire.LedgerEntry[]> => exported(sender, "?kind=ingest");

/** The line as it was reported: what the entry's details keep, with what lies beside it. */
function lineOf({ details, payload }: wire.LedgerEntry): { readonly [member: string]: unknown } {
  const line = { ...Object(details?.line) };
  if (payload === null) return line;
  const { salt: _, ...beside } = payload;
  return { ...line, payload: beside };
}

/** Entries of one chain, oldest first: no gap, each the successor of the one before, and each what its hash says. */
function expectChain(entries: readonly wire.LedgerEntry[]): void {
  let before = { seq: 0, hash: "0".repeat(64) };
  for (const { hash, index: _, payload, ...hashed } of entries) {
    expect([hashed.seq, hashed.prev_hash]).toEqual([before.seq + 1, before.hash]);
    expect(sha256(canonicalJson(hashed))).toBe(hash);
    if (payload !== null) expect(hashed.payload_digest).toBe(`sha-256:${sha256(canonicalJson(payload))}`);
    before = { seq: hashed.seq, hash };
  }
}

const ledgerOf = (tenant: string) => env.LEDGERS.getByName(tenant);

let errors: MockInstance<typeof console.error>;
beforeEach(() => {
  errors = vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  errors.mockRestore();
});

it("what a failed transaction would have taken is neither kept nor remembered", async () => {
  const { tenant, service } = await newPlace();
  await report(service, { entries: many(2) });
  const onLedger = (sql: string) =>
    runInDurableObject<TenantLedger, void>(env.LEDGERS.getByName(tenant), (_, { storage }) => void storage.sql.exec(sql));
  // The last statement of the transaction: the entries before it are in their tables by then.
  await onLedger("CREATE TRIGGER full BEFORE INSERT ON reported BEGIN SELECT RAISE(ABORT, 'no room'); END");
  const lines = many(3);
  await ask(service, { method: "POST", path: "/v1/ledger/entries", body: { entries: lines } });
  await onLedger("DROP TRIGGER full");
  await report(service, { entries: lines });
  const entries = await reported(service);
  expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5]);
  expectChain(entries);
});

describe("a line that was recorded elsewhere", () => {
  it("is taken as the original writes it, and all of it is kept", async () => {
    const { service, tenant } = await newPlace();
    const line = original({ agent_id: "ada", note: { of: ["the", "caller"] }, score: 1e-7 });
    expect(await report(service, { entries: [line] })).toEqual({ accepted: 1, duplicates: 0, rejected: [] });
    const [entry, ...rest] = await reported(service);
    if (entry === undefined) throw new Error("one entry was reported");
    expect(rest).toEqual([]);
    answers.ledgerEntry.parse(entry);
    expect(lineOf(entry)).toEqual(line);
    expect(entry).toMatchObject({
      kind: "ingest",
      tenant_id: tenant,
      agent_id: "ada",
      run_id: "nightly",
      session_id: null,
      action: "search_tool",
      cost_usd: "0.01",
      duration_ms: 145.23,
      outcome: "success",
      tags: ["search", "api"],
      verdict: null,
      reason: null,
      policy: null,
      accounts: [],
      principal: { subject: "collector", kind: "service" },
      details: { event: "reported" },
    });
    expect(entry.timestamp).not.toBe(line.timestamp);
    expectChain([entry]);
  });

  const POLICY = { name: "hybrid", version: 3, digest: `sha-256:${"5".repeat(64)}` };
  const WHY = { verdict: "deny", reason: "action_denied", rule: "/denied_actions/0", policy: POLICY } as const;
  const NOTHING = { reason: null, rule: null, policy: null };
  it.each<[string, Partial<wire.IngestEntry>, object]>([
    ["what the SDK's engine says", WHY, WHY],
    ["more of its policy than has a place", { ...WHY, policy: { ...POLICY, active: true } }, WHY],
    ["no rule, since none decided", { ...WHY, reason: "run_budget_exceeded", rule: null }, { ...WHY, reason: "run_budget_exceeded", rule: null }],
    ["no policy", { ...WHY, policy: null }, { ...WHY, policy: null }],
    ["a reason that is none of this API's", { ...WHY, reason: "Too dear for a Monday." }, { ...WHY, reason: null }],
    ["a name that every object has", { ...WHY, reason: "constructor" }, { ...WHY, reason: null }],
    ["why, in another shape", { verdict: "deny", reason: { code: "action_denied" }, rule: 7, policy: "hybrid" }, NOTHING],
    ["a rule that is longer than any", { ...WHY, rule: "/".repeat(1025) }, { ...WHY, rule: null }],
    ["a rule with what nobody sees", { ...WHY, rule: "/rules\u202e/1" }, { ...WHY, rule: "/rules\ufffd/1" }],
    ["a policy without a digest", { ...WHY, policy: { name: "hybrid", version: 3 } }, { ...WHY, policy: null }],
    ["a policy with another digest", { ...WHY, policy: { ...POLICY, digest: "sha-256:5" } }, { ...WHY, policy: null }],
    ["half a version", { ...WHY, policy: { ...POLICY, version: 1.5 } }, { ...WHY, policy: null }],
    ["a policy without a name", { ...WHY, policy: { ...POLICY, name: "" } }, { ...WHY, policy: null }],
  ])("says why where every entry does, and has all that it said: %s", async (_, why, shown) => {
    const { service } = await newPlace();
    const line = original(why);
    expect(await report(service, { entries: [line] })).toEqual({ accepted: 1, duplicates: 0, rejected: [] });
    const [entry] = await reported(service);
    answers.ledgerEntry.parse(entry);
    expect(entry).toMatchObject({ kind: "ingest", verdict: "deny", ...shown });
    expect(entry && lineOf(entry)).toEqual(line);
    expect(await report(service, { entries: [line] })).toEqual({ accepted: 0, duplicates: 1, rejected: [] });
  });

  it("needs no more than an id and an action", async () => {
    const { agent } = await newPlace();
    expect(await report(agent, { run: "of the batch", entries: [{ id: "1", action: "<lambda>" }] })).toMatchObject({ accepted: 1 });
    expect(await reported(agent)).toMatchObject([{ agent_id: "ada", run_id: "of the batch", cost_usd: "0", action: "<lambda>", payload: null }]);
    expect(await exported(agent, `?run=${encodeURIComponent("of the batch")}&action=${encodeURIComponent("<lambda>")}`)).toHaveLength(1);
  });

  it.each([
    ["a mark that turns what follows around", "!! bad \u202e name", "!! bad \ufffd name"],
    ["letters of no width", "pay\u200b\u2060", "pay\ufffd\ufffd"],
    ["blanks that are none", "a\u00a0b\u3000c\u2028", "a\ufffdb\ufffdc\ufffd"],
    ["letters of a plane that nobody sees", "pay\u{e0061}", "pay\ufffd"],
    ["nothing but such", "\u200b", "\ufffd"],
    ["whatever everybody sees", "Größe.<lambda> \u4f60\u597d \u{1f642}", "Größe.<lambda> \u4f60\u597d \u{1f642}"],
  ])("shows a name of a function as what it is, and keeps it as it was told: with %s", async (_, told, action) => {
    const { agent } = await newPlace();
    expect(await report(agent, { entries: [{ id: "1", action: told }] })).toMatchObject({ accepted: 1, rejected: [] });
    expect(await reported(agent)).toMatchObject([{ action, details: { line: { action: told } } }]);
    expect(await exported(agent, `?action=${encodeURIComponent(action)}`)).toHaveLength(1);
    expect(await report(agent, { entries: [{ id: "1", action: told }] })).toMatchObject({ accepted: 0, duplicates: 1 });
  });

  it("keeps members that are called like a part of every object, and texts that are no whole characters", async () => {
    const { service } = await newPlace();
    const line = (payload: string) =>
      `{"id":"p","action":"a","__proto__":{"admin":true},"constructor":1,"half":"\\ud800","payload":{${payload}"more":3}}`;
    const inputs = '{"__proto__":2}';
    expect(await report(service, `{"entries":[${line(`"inputs":${inputs},`)}]}`)).toMatchObject({ accepted: 1 });
    const [entry] = await reported(service);
    expect(canonicalJson(entry?.details?.line)).toBe(canonicalJson(JSON.parse(line(""))));
    expect(canonicalJson(entry?.payload?.inputs)).toBe(inputs);
  });

  it("is an event of its own, and says when it ran without anybody having been asked", async () => {
    const { service } = await newPlace();
    await report(service, { entries: [original(), original({ unguarded: true })] });
    const types = (await reported(service)).flatMap((entry) => {
      // The stream makes its events of this very text.
      const { hash, index, payload: _, ...hashed } = entry;
      return eventsOf(hashed as unknown as Parameters<typeof eventsOf>[0], hash, index).map(({ type }) => type);
    });
    expect(types).toEqual(["ingest.reported", "ingest.unguarded"]);
  });

  it.each([
    ["floating point's noise is left out", 0.1 + 0.2, "0.3"],
    ["what is less than a micro-dollar is one", 1.5e-7, "0.000001"],
    ["more than six decimals are rounded up", 0.0000015, "0.000002"],
    ["a decimal text is exact", "12.000001", "12.000001"],
    ["none was said", null, "0"],
  ])("has its cost: %s", async (_, cost_usd, recorded) => {
    const { service } = await newPlace();
    await report(service, { entries: [original({ cost_usd })] });
    const [entry] = await reported(service);
    expect(entry?.cost_usd).toBe(recorded);
    expect(entry?.details?.line).toMatchObject({ cost_usd });
  });
});

describe("of many lines", () => {
  it("one bad among a thousand stands in no other's way", async () => {
    const { service } = await newPlace();
    const lines: unknown[] = many(1000);
    lines[500] = { id: uuid(), action: 5 };
    expect(await report(service, { entries: lines })).toEqual({
      accepted: 999,
      duplicates: 0,
      rejected: [
        {
          index: 500,
          code: "body_invalid",
          message: expect.stringContaining("/action found 5; wanted 1 to 256 characters without control characters"),
        },
      ],
    });
    const entries = await reported(service);
    expect(entries.map(lineOf)).toEqual(lines.toSpliced(500, 1));
    expectChain(entries);
    expect(await report(service, { entries: lines })).toMatchObject({ accepted: 0, duplicates: 999 });
    expect(await reported(service)).toEqual(entries);
  });

  const BAD: readonly (readonly [what: string, entry: unknown, code: string, message: string])[] = [
    ["nothing", null, "body_invalid", "It found null; wanted an object"],
    ["a list", [], "body_invalid", "It found an array of 0 items; wanted an object"],
    ["no id", { action: "a" }, "body_invalid", "/id is missing; wanted 1 to 128"],
    ["an id that is too long", { id: "x".repeat(129), action: "a" }, "body_invalid", "/id found"],
    ["an id of two lines", { id: "a\nb", action: "a" }, "body_invalid", "/id found"],
    ["no action", { id: "1" }, "body_invalid", "/action is missing"],
    ["an empty action", { id: "1", action: "" }, "body_invalid", '/action found ""'],
    ["a negative cost", { id: "1", action: "a", cost_usd: -1 }, "body_invalid", "/cost_usd a USD amount is digits"],
    [
      "a cost that is a word",
      { id: "1", action: "a", cost_usd: "much" },
      "body_invalid",
      '/cost_usd a USD amount is digits with up to six decimals, like "0.05"',
    ],
    ["a cost that is an object", { id: "1", action: "a", cost_usd: {} }, "body_invalid", "/cost_usd a USD amount is a decimal string or a number"],
    ["a cost beyond all money", { id: "1", action: "a", cost_usd: 1e15 }, "body_invalid", "/cost_usd a USD amount is at most"],
    [
      "a negative duration",
      { id: "1", action: "a", duration_ms: -1 },
      "body_invalid",
      "/duration_ms found -1; wanted a number of milliseconds, not negative",
    ],
    ["an outcome that is a number", { id: "1", action: "a", outcome: 1 }, "body_invalid", "/outcome found 1; wanted a string"],
    ["tags that are a text", { id: "1", action: "a", tags: "x" }, "body_invalid", '/tags found "x"; wanted an array'],
    ["too many tags", { id: "1", action: "a", tags: Array(65).fill("x") }, "body_invalid", "/tags found an array of 65 items"],
    ["a payload that is a text", { id: "1", action: "a", payload: "x" }, "body_invalid", '/payload found "x"; wanted an object'],
    ["an agent without a name", { id: "1", action: "a", agent_id: "" }, "body_invalid", '/agent_id found ""'],
    ["a run that is a number", { id: "1", action: "a", run_id: 7 }, "body_invalid", "/run_id found 7"],
    ["a verdict that is none", { id: "1", action: "a", verdict: "maybe" }, "body_invalid", '/verdict found "maybe"; wanted one of allow, deny, hold'],
    ["two mistakes", { id: 1, action: 2 }, "body_invalid", "has 2 mistakes"],
    ["more octets than an entry may have", { id: "1", action: "a", x: "ü".repeat(131_072) }, "body_too_large", "wanted at most 262144"],
  ];
  it.each(BAD)("%s is refused alone, in a sentence that names it", async (_, entry, code, message) => {
    const { service } = await newPlace();
    const answer = await report(service, { entries: [original(), entry, original()] });
    expect(answer).toMatchObject({ accepted: 2, rejected: [{ index: 1, code }] });
    expect(answer.rejected[0]?.message).toContain(message);
    expect(await reported(service)).toHaveLength(2);
  });

  it.each([
    ["a member twice", '{"id":"1","action":"a","action":"b"}', 'the member "action" stands twice in one object'],
    ["a number that a double would change", '{"id":"1","action":"a","n":12345678901234567890}', "has more digits than a double keeps"],
    ["a number beyond a double", '{"id":"1","action":"a","n":1e999}', "is beyond the range of a double"],
    ["65 levels", `{"id":"1","action":"a","n":${"[".repeat(64)}${"]".repeat(64)}}`, "it is nested deeper than 64 levels"],
  ])("%s is refused alone, though the text is read as one", async (_, entry, message) => {
    const { service } = await newPlace();
    const [before, after] = [original({ note: '},{"entries":[' }), original()];
    const answer = await report(service, `{"run":"r","entries": [ ${JSON.stringify(before)} ,${entry},${JSON.stringify(after)}]}`);
    expect(answer).toMatchObject({ accepted: 2, rejected: [{ index: 1, code: "body_malformed" }] });
    expect(answer.rejected[0]?.message).toContain(message);
    expect((await reported(service)).map(lineOf)).toEqual([before, after]);
  });

  it.each([
    ["no JSON", '{"entries":[{"id":"1","action":"a"}', 400, "body_malformed"],
    ["the list twice", '{"entries":[{"id":"1","action":"a"}],"entries":[{"id":"2","action":"a"}]}', 400, "body_malformed"],
    ["an ambiguous run", '{"run":"a","run":"b","entries":[{"id":"1","action":"a","n":1e999}]}', 400, "body_malformed"],
    ["a list of lists", '[["entries",[{"id":"1","action":"a","n":1e999}]]]', 400, "body_malformed"],
    ["no entries", '{"run":"a"}', 422, "body_invalid"],
    ["an empty list", '{"entries":[]}', 422, "body_invalid"],
    ["an unknown member", '{"entries":[{"id":"1","action":"a"}],"batch":1}', 422, "body_invalid"],
    ["1001 entries", JSON.stringify({ entries: many(1001) }), 422, "body_invalid"],
    ["101 agents", JSON.stringify({ entries: many(101).map((line, n) => ({ ...line, agent_id: `agent ${n}` })) }), 422, "body_invalid"],
    ["more than 4 MiB", JSON.stringify({ entries: many(17).map((line) => ({ ...line, x: "x".repeat(250_000) })) }), 413, "body_too_large"],
  ])("%s is no report at all", async (_, body, status, code) => {
    const { service } = await newPlace();
    expect(await report(service, body, status)).toMatchObject({ code });
    expect(await reported(service)).toEqual([]);
  });

  it("a thousand of 100 agents fit into one report", async () => {
    const { service } = await newPlace();
    const lines = many(1000).map((line, n) => ({ ...line, agent_id: `agent ${n % 100}` }));
    expect(await report(service, { entries: lines })).toMatchObject({ accepted: 1000 });
  });
});

describe("an id", () => {
  it("names one line for ever: the same again is no second one, and another under it is refused", async () => {
    const { service, tenant } = await newPlace();
    const line = original();
    const other = { ...line, cost_usd: 0.02 };
    expect(await report(service, { entries: [line, line, other] })).toEqual({
      accepted: 1,
      duplicates: 1,
      rejected: [{ index: 2, code: "idempotency_mismatch", message: "Another entry was reported under this id." }],
    });
    await evictDurableObject(ledgerOf(tenant));
    expect(await report(service, { entries: [other, line] })).toMatchObject({
      duplicates: 1,
      rejected: [{ index: 0, code: "idempotency_mismatch" }],
    });
    // The order of members, and whether the run is said once for all, make no other line of it.
    const { run_id: run, ...rest } = line;
    const turned = Object.fromEntries(Object.entries(line).reverse());
    expect(await report(service, { entries: [turned] })).toMatchObject({ duplicates: 1 });
    expect(await report(service, { run, entries: [{ ...rest, id: "2" }] })).toMatchObject({ accepted: 1 });
    expect(await report(service, { run: "another", entries: [{ ...rest, id: "2" }] })).toMatchObject({ duplicates: 1 });
    expect((await reported(service)).map(lineOf)).toEqual([line, { ...rest, id: "2" }]);
  });

  it("is its agent's and its tenant's: the same one of another is another line", async () => {
    const [here, there] = await Promise.all([newPlace(), newPlace()]);
    const line = original({ id: "1" });
    for (const sender of [here.service, here.agent, there.service, there.agent]) {
      expect(await report(sender, { entries: [line] })).toMatchObject({ accepted: 1 });
    }
    // Whoever reports an agent's line reports the agent's line.
    expect(await report(here.service, { entries: [{ ...line, agent_id: "ada" }] })).toMatchObject({
      rejected: [{ code: "idempotency_mismatch" }],
    });
    const own = original({ agent_id: "ada" });
    expect(await report(here.service, { entries: [own] })).toMatchObject({ accepted: 1 });
    expect(await report(here.agent, { entries: [own] })).toMatchObject({ duplicates: 1 });
    expect((await reported(here.service)).map(({ agent_id, principal }) => [agent_id, principal?.subject])).toEqual([
      [null, "collector"],
      ["ada", "ada"],
      ["ada", "collector"],
    ]);
    expect(await reported(there.service)).toHaveLength(2);
  });

  it("is told at once by many, and is on record once", async () => {
    const { service } = await newPlace();
    const lines = many(300);
    const batches = Array.from({ length: 12 }, (_, n) => [...lines.slice(n * 20), ...lines.slice(0, n * 20)].slice(0, 200));
    const told = await Promise.all(batches.map((entries) => report(service, { entries })));
    const entries = await reported(service);
    expect(told.reduce((sum, { accepted }) => sum + accepted, 0)).toBe(300);
    expect(told.reduce((sum, { accepted, duplicates }) => sum + accepted + duplicates, 0)).toBe(12 * 200);
    expect(new Set(entries.map((entry) => lineOf(entry).id))).toEqual(new Set(lines.map(({ id }) => id)));
    expect(entries).toHaveLength(300);
    expectChain(entries);
  });
});

describe("who reports", () => {
  it("as an agent reports its own lines only", async () => {
    const { agent, service } = await newPlace();
    const answer = await report(agent, { entries: [original({ agent_id: "eve" }), original({ agent_id: "ada" }), original()] });
    expect(answer).toEqual({
      accepted: 2,
      duplicates: 0,
      rejected: [{ index: 0, code: "not_your_session", message: "A token of kind agent reports what its own subject did only." }],
    });
    await report(service, { entries: [original({ agent_id: "eve" }), original()] });
    expect((await reported(agent)).map(({ agent_id }) => agent_id)).toEqual(["ada", "ada"]);
    expect((await reported(service)).map(({ agent_id }) => agent_id)).toEqual(["ada", "ada", "eve", null]);
  });
});

describe("what is hidden", () => {
  const SECRET = { password: "hunter2", note: "write to ann@example.org" };
  const line = (more: Partial<wire.IngestEntry> = {}) =>
    original({ tags: ["to ann@example.org"], payload: { inputs: SECRET, outputs: SECRET, more: SECRET }, context: SECRET, ...more });

  it("by the policy in force is hidden before anything is stored, and the same line again is still the same", async () => {
    const { service, tenant, put } = await newPlace(REDACTS);
    const told = line();
    await report(service, { entries: [told] });
    const stored = await runInDurableObject(ledgerOf(tenant), (_, { storage: { sql } }) =>
      JSON.stringify(sql.exec("SELECT * FROM waiting").toArray()),
    );
    const [entry] = await reported(service);
    const shown = { password: "[redacted]", note: "write to [redacted:email]" };
    expect(entry?.payload).toMatchObject({ inputs: shown, outputs: shown });
    expect(entry?.tags).toEqual(["to [redacted:email]"]);
    expect(entry?.details?.line).toMatchObject({ context: shown, payload: { more: shown } });
    expect(entry?.redacted).toBeGreaterThanOrEqual(8);
    expect(stored + JSON.stringify(entry)).not.toMatch(/hunter2|ann@/);
    await put("redact:\n  keys: [note]\n");
    expect(await report(service, { entries: [told] })).toMatchObject({ duplicates: 1 });
  });

  it.each([
    ["none", "redact:\n  keys: []\n  store_inputs: none\n  store_outputs: full\n", null, null],
    ["digest", "redact:\n  keys: []\n  store_inputs: digest\n  store_outputs: full\n", expect.stringMatching(/^sha-256:/), null],
  ])("is all that the inputs have, where the policy keeps %s of them", async (_, policy, inputs_digest, outputs_digest) => {
    const { service } = await newPlace(policy);
    await report(service, { entries: [line()] });
    const [entry] = await reported(service);
    expect(entry).toMatchObject({ inputs_digest, outputs_digest, payload: { outputs: SECRET } });
    expect(entry?.payload).not.toHaveProperty("inputs");
    expect(entry?.details?.line).not.toHaveProperty("payload");
  });

  it("is everything that any detector finds, where no policy says what to hide: and then neither inputs nor outputs are kept", async () => {
    const { service } = await newPlace(null);
    await report(service, { entries: [line()] });
    const [entry] = await reported(service);
    expect(entry?.payload).toBeNull();
    expect(JSON.stringify(entry)).not.toContain("ann@");
  });

  it("is what the agent's own policy hides, for each agent of a report", async () => {
    const { service, tenant } = await newPlace();
    const operator = await told<wire.IssuedToken>(201, ROOT, {
      method: "POST",
      path: "/v1/tokens",
      body: { tenant, subject: "ops", kind: "human", scopes: ["policies:write"] },
    });
    const body = { redact: { keys: ["note"] } };
    const path = "/v1/policies/ada?scope=agent&target=ada";
    await told(201, { tenant, authorization: `Bearer ${operator.token}` }, { method: "PUT", path, body });
    await report(service, { entries: [line({ agent_id: "ada" }), line({ agent_id: "eve" })] });
    expect((await reported(service)).map(({ payload }) => payload?.inputs)).toEqual([
      { note: "[redacted]", password: "[redacted]" },
      { ...SECRET, password: "[redacted]" },
    ]);
  });
});

describe("a report with an Idempotency-Key", () => {
  const post = async (sender: Sender, key: string, body: unknown) => {
    const { status, headers, text } = await ask(sender, { method: "POST", path: "/v1/ledger/entries", body, headers: { "Idempotency-Key": key } });
    return { status, replayed: /^idempotency-replayed: true$/im.test(headers), told: JSON.parse(text) };
  };
  const taken = (accepted: number, duplicates: number) => ({ accepted, duplicates, rejected: [] });

  it("gets the same answer again, also after its keeper slept", async () => {
    const { service, tenant } = await newPlace();
    const body = { entries: many(3) };
    expect(await post(service, "k", body)).toEqual({ status: 202, replayed: false, told: taken(3, 0) });
    expect(await post(service, "k", body)).toEqual({ status: 202, replayed: true, told: taken(3, 0) });
    await evictDurableObject(ledgerOf(tenant));
    expect(await post(service, "k", body)).toEqual({ status: 202, replayed: true, told: taken(3, 0) });
    expect(await post(service, "another", body)).toEqual({ status: 202, replayed: false, told: taken(0, 3) });
    expect(await reported(service)).toHaveLength(3);
  });

  it("gets it with what was refused in its place, whatever the record has become since", async () => {
    const { service } = await newPlace();
    const [first, second] = [original(), original()];
    await report(service, { entries: [{ ...second, action: "another" }] });
    const body = { entries: [first, { ...first, cost_usd: -1 }, second, first] };
    const once = await post(service, "k", body);
    expect(once).toMatchObject({
      status: 202,
      told: { accepted: 1, duplicates: 1, rejected: [{ index: 1 }, { index: 2, code: "idempotency_mismatch" }] },
    });
    expect(await post(service, "k", body)).toEqual({ ...once, replayed: true });
  });

  it.each<[what: string, entries: unknown[]]>([
    ["of which something was taken", many(1)],
    ["of which nothing could be", [{ id: "no id" }]],
  ])("%s has it for itself: another body under it is refused whole, and another's key is another", async (_, entries) => {
    const { service, agent } = await newPlace();
    const once = await post(service, "k", { entries });
    expect(await post(service, "k", { entries: many(2) })).toMatchObject({ status: 409, told: { code: "idempotency_mismatch" } });
    expect(await post(service, "k", { entries })).toEqual({ ...once, replayed: true });
    expect(await post(agent, "k", { entries: many(2) })).toEqual({ status: 202, replayed: false, told: taken(2, 0) });
  });

  it("is taken once when many tell it at once, and all of them hear the same", async () => {
    const { service } = await newPlace();
    const body = { entries: many(4) };
    const answers = await Promise.all(Array.from({ length: 8 }, () => post(service, "k", body)));
    expect(answers.map(({ told }) => told)).toEqual(answers.map(() => taken(4, 0)));
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
  });

  it("is known by its key for a day, and by its lines afterwards", async () => {
    const { service, tenant } = await newPlace();
    const body = { entries: many(2) };
    await post(service, "k", body);
    const later = (ms: number) =>
      runInDurableObject(ledgerOf(tenant), (_, { storage }) => void storage.sql.exec("UPDATE answered SET at_ms = at_ms - ?", ms));
    await later(DAY_MS - 60_000);
    expect(await post(service, "another", { entries: many(1) })).toMatchObject({ status: 202 });
    expect(await post(service, "k", body)).toMatchObject({ replayed: true });
    await later(60_000);
    expect(await post(service, "third", { entries: many(1) })).toMatchObject({ status: 202 });
    expect(await post(service, "k", body)).toEqual({ status: 202, replayed: false, told: taken(0, 2) });
  });
});

describe("when something fails", () => {
  const reporter = (tenant: string) => ({ tokenId: ports.newId("tok"), tenant, subject: "collector", kind: "service" as const });
  const parsed = (lines: readonly wire.IngestEntry[]) => lines.map((line) => ingestEntry.parse(line) as never);

  it("a lost reply, told again, is not told twice", async () => {
    const { service, tenant } = await newPlace();
    const lost: Ports = {
      ...ports,
      ledger: {
        ...ports.ledger,
        ingest: async (...asked) => {
          await ports.ledger.ingest(...asked);
          return err(refusal("ledger_unavailable", "The reply was lost."));
        },
      },
    };
    const lines = many(10);
    expect(await ingest(lost, reporter(tenant), parsed(lines), null)).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
    expect(await report(service, { entries: [...lines, original()] })).toMatchObject({ accepted: 1, duplicates: 10 });
    expect(await reported(service)).toHaveLength(11);
  });

  /** Steps of the one transaction, each of which is made to fail. */
  it.each([
    ["before it has its place", "waiting"],
    ["before its chain goes on", "chains"],
    ["before it is known as reported", "reported"],
    ["before its answer is known by its key", "answered"],
  ])("%s nothing of the report is there, and the next try takes all of it", async (_, table) => {
    const { service, tenant } = await newPlace();
    const keyed = (key: string) => ({ "Idempotency-Key": key });
    await report(service, { entries: many(3) }, 202, keyed("first"));
    const lines = many(5);
    const sql = (text: string) => runInDurableObject(ledgerOf(tenant), (_instance, { storage }) => void storage.sql.exec(text));
    for (const event of ["INSERT", "UPDATE"]) {
      await sql(`CREATE TRIGGER crash_${event} BEFORE ${event} ON ${table} BEGIN SELECT RAISE(ABORT, 'crash'); END`);
    }
    expect(await report(service, { entries: lines }, 503, keyed("second"))).toMatchObject({ code: "ledger_unavailable" });
    for (const event of ["INSERT", "UPDATE"]) await sql(`DROP TRIGGER crash_${event}`);
    await evictDurableObject(ledgerOf(tenant));
    expect(await report(service, { entries: lines }, 202, keyed("second"))).toEqual({ accepted: 5, duplicates: 0, rejected: [] });
    const entries = await reported(service);
    expect(entries).toHaveLength(8);
    expectChain(entries);
  });

  it("an object that dies before D1 has it, and a D1 that fails after it has, lose and double nothing", async () => {
    const { service, tenant } = await newPlace();
    const broken = (batch: (statements: D1PreparedStatement[]) => Promise<D1Result[]>) =>
      runInDurableObject<TenantLedger, void>(ledgerOf(tenant), (instance) => {
        instance.database = new Proxy(env.DB, {
          get: (target, member) => {
            const value: unknown = member === "batch" ? batch : Reflect.get(target, member);
            return typeof value === "function" && member !== "batch" ? value.bind(target) : value;
          },
        });
      });
    const lines = many(20);
    await broken(() => Promise.reject(new Error("D1_ERROR: away")));
    await report(service, { entries: lines.slice(0, 10) });
    await runDurableObjectAlarm(ledgerOf(tenant));
    await evictDurableObject(ledgerOf(tenant));
    await broken(async (statements) => {
      await env.DB.batch(statements);
      throw new Error("D1_ERROR: connection lost");
    });
    await report(service, { entries: lines.slice(5, 20) });
    await runDurableObjectAlarm(ledgerOf(tenant));
    await evictDurableObject(ledgerOf(tenant));
    expect(await report(service, { entries: lines })).toMatchObject({ accepted: 0, duplicates: 20 });
    const entries = await reported(service);
    expect(entries.map(lineOf)).toEqual(lines);
    expectChain(entries);
  });

  it("so much waits for D1 already, nothing that is reported is taken, and whoever reports is told when to come back", async () => {
    const { service, tenant } = await newPlace();
    await report(service, { entries: many(1) });
    await reported(service);
    const more = async (count: number) => {
      await runInDurableObject(ledgerOf(tenant), (_, { storage }) => void storage.sql.exec("UPDATE progress SET accepted = accepted + ?", count));
      // It remembers what it wrote itself, and knows nothing of other hands.
      await evictDurableObject(ledgerOf(tenant));
    };
    await more(20_000);
    const answer = await ask(service, { method: "POST", path: "/v1/ledger/entries", body: { entries: many(1) } });
    expect([answer.status, answer.headers]).toEqual([503, expect.stringMatching(/^retry-after: 1$/m)]);
    await more(-1);
    expect(await report(service, { entries: many(1) })).toMatchObject({ accepted: 1 });
  });

  it("whatever fails and whenever, each line is on record once, in one chain", async () => {
    const step = fc.oneof(
      fc.record({ do: fc.constant("tell" as const), from: fc.nat(29), count: fc.integer({ min: 1, max: 12 }), isBad: fc.boolean() }),
      fc.constant({ do: "evict" as const }),
      fc.constant({ do: "alarm" as const }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const { service, tenant } = await newPlace();
        const lines = many(40);
        const taken = new Set<number>();
        for (const one of steps) {
          if (one.do === "evict") {
            // Only what runs can be evicted.
            await runInDurableObject(ledgerOf(tenant), () => undefined);
            await evictDurableObject(ledgerOf(tenant));
          }
          if (one.do === "alarm") await runDurableObjectAlarm(ledgerOf(tenant));
          if (one.do === "tell") {
            const places = Array.from({ length: Math.min(one.count, 40 - one.from) }, (_, n) => one.from + n);
            const news = places.filter((place) => !taken.has(place)).length;
            const entries: unknown[] = places.map((place) => lines[place]);
            if (one.isBad) entries.unshift({ id: "bad" });
            expect(await report(service, { entries })).toMatchObject({
              accepted: news,
              duplicates: places.length - news,
              rejected: one.isBad ? [{ index: 0 }] : [],
            });
            for (const place of places) taken.add(place);
          }
        }
        const entries = await reported(service);
        expect(entries.map(lineOf).map(({ id }) => id)).toEqual([...taken].map((place) => lines[place]?.id));
        expectChain(entries);
      }),
      { numRuns: 25 },
    );
  });
});

describe("beside what the gateway decided", () => {
  async function spent(place: Place): Promise<{ readonly session: wire.OpenedSession; readonly decision: wire.Decision }> {
    const post = <T>(path: string, body: unknown, status = 200): Promise<T> => told<T>(status, place.agent, { method: "POST", path, body });
    const session = await post<wire.OpenedSession>("/v1/sessions", {}, 201);
    const decision = await post<wire.Decision>(`/v1/sessions/${session.id}/decisions`, { action: "search_tool", estimate_usd: "0.05" });
    await post(`/v1/sessions/${session.id}/decisions/${decision.id}/commit`, { cost_usd: "0.04", outcome: "success" });
    return { session, decision };
  }

  it("what was reported without an agent or a session is in an item of costs all the same", async () => {
    const { service } = await newPlace();
    const lines = [original({ agent_id: "ada", cost_usd: "0.05" }), original({ cost_usd: "0.350001", run_id: null })];
    await report(service, { entries: lines });
    const items = async (by: string) => {
      const { items, reported_usd } = await told<wire.CostReport>(200, service, { method: "GET", path: `/v1/costs?group_by=${by}` });
      expect(reported_usd).toBe("0.400001");
      return items.map((item) => [item.key, item.reported_usd, item.posted_usd, item.count]);
    };
    const nobodys = [null, "0.350001", "0", 0];
    expect(await items("agent")).toEqual([nobodys, ["ada", "0.05", "0", 0]]);
    expect(await items("run")).toEqual([nobodys, ["nightly", "0.05", "0", 0]]);
    expect(await items("session")).toEqual([[null, "0.400001", "0", 0]]);
    expect(await items("action")).toEqual([["search_tool", "0.400001", "0", 0]]);
  });

  it("a report moves no budget, is no part of the session's chain, and counts in costs by itself, never twice", async () => {
    const place = await newPlace("budgets:\n  session: 1\n");
    const { session, decision } = await spent(place);
    const of = { session_id: session.id, run_id: session.run };
    const lines = [
      original({ ...of, decision_id: decision.id, cost_usd: 0.04 }),
      original({ ...of, decision_id: `dec_${uuid()}`, cost_usd: 0.5, unguarded: true }),
      original({ ...of, cost_usd: 0.7, action: "think" }),
    ];
    expect(await report(place.agent, { entries: lines })).toMatchObject({ accepted: 3 });
    const read = await told<wire.SessionDetail>(200, place.agent, { method: "GET", path: `/v1/sessions/${session.id}` });
    expect(read.totals.posted_usd).toBe("0.04");
    const costs = (by: string) => told<wire.CostReport>(200, place.service, { method: "GET", path: `/v1/costs?group_by=${by}` });
    expect(await costs("action")).toEqual({
      items: [
        { key: "search_tool", posted_usd: "0.04", count: 1, reported_usd: "0.5" },
        { key: "think", posted_usd: "0", count: 0, reported_usd: "0.7" },
      ],
      total_usd: "0.04",
      reported_usd: "1.2",
    });
    expect(await costs("session")).toMatchObject({ items: [{ key: session.id, posted_usd: "0.04", reported_usd: "1.2" }], total_usd: "0.04" });
    const entries = await exported(place.service, `?session=${session.id}`);
    expect(entries.filter(({ kind }) => kind === "ingest")).toHaveLength(3);
    expectChain(entries.filter(({ kind }) => kind !== "ingest"));
    expectChain(entries.filter(({ kind }) => kind === "ingest"));
  });

  it.each<[whose: string, told: (spent: { session: string; decision: string }) => Partial<wire.IngestEntry>, counts: boolean]>([
    ["the agent's own", ({ session, decision }) => ({ agent_id: "ada", session_id: session, decision_id: decision }), false],
    ["the agent's own, of no session", ({ decision }) => ({ agent_id: "ada", decision_id: decision }), false],
    ["another agent's", ({ session, decision }) => ({ agent_id: "eve", session_id: session, decision_id: decision }), true],
    ["nobody's", ({ session, decision }) => ({ agent_id: null, session_id: session, decision_id: decision }), true],
    ["another session's", ({ decision }) => ({ agent_id: "ada", session_id: `ses_${uuid()}`, decision_id: decision }), true],
  ])("what was reported counts beside a decision of %s, or is that decision", async (_, tell, counts) => {
    const place = await newPlace("budgets:\n  session: 1\n");
    const { session, decision } = await spent(place);
    await report(place.service, { entries: [original({ ...tell({ session: session.id, decision: decision.id }), cost_usd: 7 })] });
    expect(await told<wire.CostReport>(200, place.service, { method: "GET", path: "/v1/costs?group_by=action" })).toMatchObject({
      total_usd: "0.04",
      reported_usd: counts ? "7" : "0",
    });
  });

  it("a session whose batch comes late is compared with its own chain, whatever was reported of it", async () => {
    const place = await newPlace();
    const { session } = await spent(place);
    await report(place.agent, { entries: many(20).map((line) => ({ ...line, session_id: session.id })) });
    const own = (await exported(place.service, `?session=${session.id}`)).filter(({ kind }) => kind !== "ingest");
    const entries = own.slice(0, -1).map(({ hash, index: _, payload: __, ...hashed }) => ({
      seq: hashed.seq,
      canonical: canonicalJson(hashed),
      hash,
      beside: null,
    }));
    expect(entries.length).toBeGreaterThan(1);
    expect(await ledgerOf(place.tenant).accept({ chain: session.id, entries })).toEqual({ acceptedThrough: entries.length });
  });

  it("no session and no tenant can put anything into the chain of reports, nor its kind into its own", async () => {
    const place = await newPlace();
    await report(place.service, { entries: many(2) });
    const [first] = await reported(place.service);
    if (first === undefined) throw new Error("two entries were reported");
    const { hash: _, index: __, payload: ___, ...hashed } = first;
    // Under names of their own, so that nothing but its kind is in its way: it would be the first entry of either chain.
    const tenant = `t-${uuid()}`;
    for (const session_id of [null, "ses_x"]) {
      const canonical = canonicalJson({ ...hashed, tenant_id: tenant, session_id, payload_digest: null });
      const batch = { chain: session_id ?? tenant, entries: [{ seq: 1, canonical, hash: sha256(canonical), beside: null }] };
      expect(await ledgerOf(tenant).accept(batch)).toEqual({ acceptedThrough: 0 });
    }
    expect(errors.mock.calls.flat().join()).toContain("it belongs to another chain");
  });
});

describe("an export", () => {
  it("is of what was on record when it was asked for, however slowly it is read, and goes on after the last index that came", async () => {
    const { service } = await newPlace();
    const lines = many(1200);
    await report(service, { entries: lines.slice(0, 1000) });
    await report(service, { entries: lines.slice(1000) });
    const before = await exported(service);
    const pages = ports.ledger.export(service.tenant, {})[Symbol.asyncIterator]();
    const first = await pages.next();
    await report(service, { entries: many(10) });
    await exported(service);
    const seen = [...(first.value ?? [])].map(({ index }) => index);
    for (let page = await pages.next(); page.done !== true; page = await pages.next()) seen.push(...page.value.map(({ index }) => index));
    expect(seen).toEqual(before.map(({ index }) => index));

    const all = await exported(service);
    expect(all).toHaveLength(before.length + 10);
    const at = all[600]?.index ?? 0;
    expect(await exported(service, `?after=${at}`)).toEqual(all.slice(601));
    expect(await exported(service, `?after=${all.at(-1)?.index}`)).toEqual([]);
    expect(await exported(service, `?after=${at}&kind=ingest&action=step_9`)).toEqual(all.slice(601).filter(({ action }) => action === "step_9"));
  });
});
