import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CHAIN_START, type EntryDraft, seal } from "../../src/core/entry.ts";
import { idFromDigest } from "../../src/core/ids.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { formatUsd, microUsdOf } from "../../src/core/money.ts";
import { formatInstant } from "../../src/core/time.ts";
import type { ShippedEntry } from "../../src/flow/ports.ts";
import { payloadRowOf, rowOf } from "../../src/ledger/row.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const DRAFT: EntryDraft = {
  id: idFromDigest("ent", sha256("id")),
  kind: "commit",
  timestamp: formatInstant(0),
  tenant_id: "t",
  session_id: null,
};

function shipped(draft: Partial<EntryDraft>): ShippedEntry {
  const { entry, canonical, hash, beside } = seal(sha256, CHAIN_START, { ...DRAFT, ...draft }, null);
  return { seq: entry.seq, canonical, hash, beside };
}

/** The entry with some members replaced, sealed again: what a sender gone wrong would ship. */
function broken(members: { readonly [member: string]: unknown }): ShippedEntry {
  const canonical = canonicalJson({ ...JSON.parse(shipped({}).canonical), ...members });
  return { seq: 1, canonical, hash: sha256(canonical), beside: null };
}

describe("a row of the ledger", () => {
  it("has the entry's money to the micro-dollar", () => {
    const money = fc.oneof(fc.integer({ min: 0, max: 2_000_000 }), fc.maxSafeNat());
    fc.assert(
      fc.property(money, money, (cost, corrected) => {
        const row = rowOf("t", 0, shipped({ cost_usd: formatUsd(microUsdOf(cost)), corrected_usd: formatUsd(microUsdOf(corrected)) }));
        expect(row).toMatchObject({ ok: true, value: { costMicroUsd: cost, correctedMicroUsd: corrected } });
      }),
    );
  });

  it("names the rules by which the entry was made: a recomputation needs these, and no others", () => {
    expect(JSON.parse(shipped({}).canonical)).toMatchObject({ engine_version: "1" });
  });

  it("says of itself what the entry says", () => {
    const session = idFromDigest("ses", sha256("session"));
    const entry = shipped({
      session_id: session,
      run_id: "run_1",
      agent_id: "a",
      action: "x",
      tags: ["b", 'c"'],
      timestamp: "2026-11-22T12:00:00.001Z",
    });
    expect(rowOf("t", 7, entry)).toEqual({
      ok: true,
      value: {
        tenant: "t",
        index: 7,
        id: idFromDigest("ent", sha256("id")),
        kind: "commit",
        session,
        seq: 1,
        run: "run_1",
        agent: "a",
        action: "x",
        tags: '["b","c\\""]',
        decisionId: null,
        verdict: null,
        reason: null,
        outcome: null,
        atMs: Date.UTC(2026, 10, 22, 12) + 1,
        costMicroUsd: 0,
        correctedMicroUsd: 0,
        hash: entry.hash,
        prevHash: CHAIN_START.hash,
        canonical: entry.canonical,
      },
    });
  });

  it.each([
    ["another tenant", { tenant_id: "u" }],
    ["another seq", { seq: 2 }],
    ["a predecessor that is no hash", { prev_hash: "x" }],
    ["an id of another kind", { id: "dec_1" }],
    ["an unknown kind", { kind: "invoice" }],
    ["a kind from the prototype", { kind: "toString" }],
    ["an empty session", { session_id: "" }],
    ["a run that is a number", { run_id: 1 }],
    ["an empty action", { action: "" }],
    ["a reason that is a list", { reason: [] }],
    ["an unknown verdict", { verdict: "maybe" }],
    ["an unknown outcome", { outcome: "fine" }],
    ["tags that are a text", { tags: "x" }],
    ["tags that are numbers", { tags: [1] }],
    ["no instant", { timestamp: "yesterday" }],
    ["an instant before 1970", { timestamp: "1969-12-31T23:59:59.999Z" }],
    ["money as a number of the wrong kind", { cost_usd: -1 }],
    ["money with a seventh decimal", { corrected_usd: "0.0000001" }],
  ])("is refused for %s", (_, members) => {
    expect(rowOf("t", 0, broken(members)).ok).toBe(false);
    expect(rowOf("t", 0, broken({})).ok).toBe(true);
  });

  it("is refused for a text that is no object", () => {
    for (const canonical of ["", "{", "null", "[]", '"x"']) expect(rowOf("t", 0, { ...shipped({}), canonical }).ok).toBe(false);
  });

  it("takes what lies beside it in the spelling of an older outbox, and nothing else in its place", () => {
    const payload = { salt: "s", inputs: { b: 1, a: 2 } };
    const entry = seal(sha256, CHAIN_START, DRAFT, payload);
    const shippedWith = (beside: string) => rowOf("t", 0, { seq: 1, canonical: entry.canonical, hash: entry.hash, beside });
    expect(shippedWith(entry.beside ?? "").ok).toBe(true);
    expect(shippedWith(JSON.stringify(payload)).ok).toBe(true);
    for (const other of ["{", "null", '{"inputs":{"a":2,"b":2},"salt":"s"}']) expect(shippedWith(other).ok, other).toBe(false);
  });

  it("keeps what was not sent apart from a null that was", () => {
    expect(payloadRowOf("t", "ent_1", '{"inputs":null,"salt":"s"}')).toEqual({
      tenant: "t",
      entry: "ent_1",
      salt: "s",
      inputs: "null",
      outputs: null,
    });
    expect(payloadRowOf("t", "ent_1", null)).toBeNull();
  });
});
