import { describe, expect, it } from "vitest";
import { CHAIN_START, type Entry, type EntryDraft, type EntryKind, type Payload, seal } from "../../src/core/entry.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { isMarked, isRedacted, openingOf, principalOf, type Recorded, readRecorded, requestOf } from "../../src/core/policy/recorded.ts";
import { approvalOf } from "../../src/core/policy/recorded_approvals.ts";
import { sha256 } from "./sha256.ts";

const ENTRY = "ent_00000000-0000-7000-8000-000000000001";
const RUN = "run_00000000-0000-7000-8000-000000000001";
const SESSION = "ses_00000000-0000-7000-8000-000000000001";
const DECISION = "dec_00000000-0000-7000-8000-000000000001";
const APPROVAL = "apr_00000000-0000-7000-8000-000000000001";
const TOKEN = "tok_00000000-0000-7000-8000-000000000001";
const AT = Date.UTC(2026, 10, 27, 12);

/** A row as the ledger has it; `spoilt`: members as no gateway wrote them. */
function row(kind: EntryKind, says: Partial<EntryDraft> = {}, payload: Payload | null = null, spoilt: { readonly [member: string]: JsonValue } = {}) {
  const common = { id: ENTRY, kind, timestamp: new Date(AT).toISOString(), tenant_id: "t", session_id: SESSION, agent_id: "bot" } as const;
  const { entry } = seal(sha256, CHAIN_START, { ...common, ...says }, payload);
  return { canonical: JSON.stringify({ ...entry, ...spoilt }), payload };
}
function read(...args: Parameters<typeof row>): Recorded {
  const recorded = readRecorded(row(...args));
  if (recorded === null) throw new Error("it is an entry");
  return recorded;
}

describe("an entry on record", () => {
  it("is read with its instants and amounts", () => {
    const payload = { salt: "0", inputs: { n: 1 } };
    const says = {
      run_id: RUN,
      decision_id: DECISION,
      estimate_usd: "0.5",
      cost_usd: "0.25",
      corrected_usd: "0.125",
      reservation: { amount_usd: "0.5", expires_at: new Date(AT + 60_000).toISOString() },
    };
    const recorded = read("decision", says, payload);
    expect(recorded).toMatchObject({
      id: ENTRY,
      at: AT,
      run: RUN,
      decision: DECISION,
      estimateMicroUsd: 500_000,
      costMicroUsd: 250_000,
      correctedMicroUsd: 125_000,
      expiresAt: AT + 60_000,
      payload,
    });
    expect(recorded.entry).toMatchObject({ kind: "decision", ...says });
    expect(read("commit")).toMatchObject({ run: null, decision: null, estimateMicroUsd: 0, costMicroUsd: 0, expiresAt: null, payload: null });
  });

  it.each<readonly [string, { readonly [member: string]: JsonValue }]>([
    ["its instant", { timestamp: "yesterday" }],
    ["its estimate", { estimate_usd: "x" }],
    ["its cost", { cost_usd: "-1" }],
    ["what it takes back", { corrected_usd: "1e3" }],
    ["its id", { id: "x" }],
    ["its run", { run_id: DECISION }],
    ["its decision", { decision_id: RUN }],
  ])("is none where %s is no such thing", (_, spoilt) => {
    expect(readRecorded(row("decision", {}, null, spoilt))).toBeNull();
  });
});

describe("how a session began", () => {
  const OPENED = {
    run_id: RUN,
    details: { event: "opened", ttl_ms: 5_000, budget_usd: "2" },
    principal: { token_id: TOKEN, subject: "olga", kind: "human" },
  } as const;

  it("is on record", () => {
    const principal = { tokenId: TOKEN, tenant: "t", subject: "olga", kind: "human" };
    const opening = {
      tenant: "t",
      session: SESSION,
      agent: "bot",
      run: RUN,
      openedAt: AT,
      expiresAt: AT + 5_000,
      budgetMicroUsd: 2_000_000,
      principal,
    };
    expect(openingOf(read("session", OPENED))).toEqual(opening);
    expect(openingOf(read("session", { ...OPENED, details: { ...OPENED.details, budget_usd: null } }))).toEqual({ ...opening, budgetMicroUsd: null });
  });

  it.each<readonly [string, EntryKind, Partial<EntryDraft>]>([
    ["of another kind", "approval", {}],
    ["of what happened later", "session", { details: { ...OPENED.details, event: "closed" } }],
    ["that says nothing", "session", { details: null }],
    ["of no session", "session", { session_id: null }],
    ["of what is no session", "session", { session_id: RUN }],
    ["of no agent", "session", { agent_id: null }],
    ["of no run", "session", { run_id: null }],
    ["without a term", "session", { details: { ...OPENED.details, ttl_ms: "5" } }],
    ["with what is no budget", "session", { details: { ...OPENED.details, budget_usd: "x" } }],
  ])("is not told by an entry %s", (_, kind, says) => {
    // One row names what is no session's id, as no gateway would.
    expect(openingOf(read(kind, { ...OPENED, ...says }))).toBeNull();
  });
});

it("who asked is on record; where it is not, it was the agent", () => {
  const entry = (says: Partial<EntryDraft>): Entry => read("decision", says).entry;
  expect(principalOf(entry({ principal: { token_id: TOKEN, subject: "olga", kind: "human" } }))).toEqual({
    tokenId: TOKEN,
    tenant: "t",
    subject: "olga",
    kind: "human",
  });
  expect(principalOf(entry({}))).toEqual({ tokenId: "tok_", tenant: "t", subject: "bot", kind: "agent" });
  expect(principalOf(entry({ agent_id: null }))).toMatchObject({ subject: "", kind: "agent" });
});

describe("the request behind a decision", () => {
  const ASKED = {
    run_id: RUN,
    decision_id: DECISION,
    action: "pay",
    resource: { type: "order", id: "1" },
    estimate_usd: "0.5",
    price: { known: true, basis: "stated", data: "1" },
    tags: ["x"],
    risk_level: "high",
    rationale: "why",
    confidence: 0.5,
    sources: [{ source: "crm" }],
    model: { name: "m" },
    inputs_digest: `sha-256:${"a".repeat(64)}`,
    reservation: { amount_usd: "0.5", expires_at: new Date(AT + 60_000).toISOString() },
  } as const;

  it("is what the record still has of it", () => {
    expect(requestOf(read("decision", ASKED, { salt: "0", inputs: { n: 1 } }), DECISION)).toEqual({
      id: DECISION,
      run: RUN,
      action: "pay",
      resource: ASKED.resource,
      estimateMicroUsd: 500_000,
      price: ASKED.price,
      tags: ["x"],
      riskLevel: "high",
      inputs: { n: 1 },
      inputsDigest: null,
      rationale: "why",
      confidence: 0.5,
      sources: ASKED.sources,
      parents: [],
      model: ASKED.model,
      approval: null,
      ttlMs: 60_000,
    });
  });

  it("has the inputs' digest where it has no inputs, and five minutes where it says no term", () => {
    expect(requestOf(read("decision", ASKED), DECISION)).toMatchObject({ inputs: undefined, inputsDigest: ASKED.inputs_digest });
    expect(requestOf(read("decision", ASKED, { salt: "0", outputs: 1 }), DECISION)).toMatchObject({
      inputs: undefined,
      inputsDigest: ASKED.inputs_digest,
    });
    const bare = requestOf(read("decision"), DECISION);
    expect(bare).toMatchObject({ action: "", ttlMs: 300_000, inputsDigest: null });
    const over = { ...ASKED, reservation: { amount_usd: "0.5", expires_at: new Date(AT - 5).toISOString() } };
    expect(requestOf(read("decision", over), DECISION).ttlMs).toBe(1);
  });
});

it("which approval a decision waits for is on record, or none is", () => {
  const approval = (id: string): Partial<EntryDraft> => ({ approval: { id, expires_at: new Date(AT).toISOString() } });
  expect([approval(APPROVAL), approval(DECISION), {}].map((says) => approvalOf(read("decision", says)))).toEqual([APPROVAL, null, null]);
});

describe("what redaction took is known by its mark", () => {
  it.each([
    ["[redacted]", true],
    ["to [redacted:email] now", true],
    ["redacted", false],
    ["[red]", false],
    ["", false],
  ])("%j: %s", (text, marked) => {
    expect(isMarked(text)).toBe(marked);
  });

  it.each<readonly [JsonValue | undefined, readonly string[], boolean]>([
    [{ a: "[redacted]" }, ["a"], true],
    [{ a: "x" }, ["a"], false],
    [{ a: "[redacted]" }, ["b"], false],
    // On the way there: nobody knows what stood in it.
    [{ a: "[redacted]" }, ["a", "b"], true],
    ["[redacted:token]", ["a"], true],
    [{ a: { b: { c: "[redacted]" } } }, ["a"], true],
    [{ a: { b: ["x", "[redacted]"] } }, ["a"], true],
    [{ a: { b: "x" } }, [], false],
    [{ a: { b: "[redacted]" } }, [], true],
    // A name that was redacted may have been the one.
    [{ "[redacted:email]": 1 }, ["a"], true],
    [{ "[redacted:email]": 1, a: 2 }, ["a"], false],
    [{ a: { "[redacted:email]": 1 } }, ["a", "b"], true],
    [{ a: [{ b: "[redacted]" }] }, ["a", "b"], false],
    [{ a: null }, ["a", "b"], false],
    [{ a: 5 }, ["a", "b"], false],
    [{ a: "x" }, ["a", "length"], false],
    [{}, ["toString"], false],
    [undefined, [], false],
    [undefined, ["a"], false],
  ])("in %j at %j: %s", (value, path, redacted) => {
    expect(isRedacted(value, path)).toBe(redacted);
  });
});
