import { describe, expect, it } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { microUsdOf, ZERO_USD } from "../../src/core/money.ts";
import type { Keeping, Redaction } from "../../src/core/redact.ts";
import { draftOf, type Line, testimonyOf } from "../../src/core/testimony.ts";
import { PRINCIPAL } from "./playing.ts";
import { sha256 } from "./sha256.ts";

/** What the record says of a line that somebody else's ledger holds: all that it says, hidden as the policy wants, and nothing of the gateway's own. */

const redaction = (storeInputs: Keeping, storeOutputs: Keeping, more: Partial<Redaction> = {}): Redaction => ({
  storeInputs,
  storeOutputs,
  keys: [],
  detect: [],
  ...more,
});

const lineOf = (payload: JsonValue | undefined, more: Partial<Line> = {}): Line => ({
  id: "1",
  action: "send",
  agent: "bot",
  run: null,
  session: null,
  decision: null,
  verdict: "allow",
  outcome: "success",
  tags: ["to a@example.org"],
  parents: ["p"],
  costMicroUsd: microUsdOf(1_500_000),
  estimateMicroUsd: null,
  durationMs: 12,
  isUnguarded: false,
  reason: null,
  rule: null,
  policy: null,
  told: { id: "1", action: "send", ...(payload !== undefined && { payload }) },
  ...more,
});

const tellBy = (line: Line, how: Redaction | null | undefined) => testimonyOf(sha256, PRINCIPAL, line, how);
const tell = (line: Line) => tellBy(line, null);
const digest = (value: JsonValue) => `sha-256:${sha256(canonicalJson(value))}`;

describe("a line that was reported", () => {
  it("says what it was told, who told it, and what it cost", () => {
    expect(tell(lineOf(undefined, { estimateMicroUsd: ZERO_USD }))).toEqual({
      entry: expect.stringMatching(/^ent_/),
      fingerprint: sha256(canonicalJson({ id: "1", action: "send" })),
      says: {
        action: "send",
        agent_id: "bot",
        run_id: null,
        session_id: null,
        decision_id: null,
        verdict: "allow",
        outcome: "success",
        cost_usd: "1.5",
        estimate_usd: "0",
        duration_ms: 12,
        parents: ["p"],
        principal: { token_id: PRINCIPAL.tokenId, subject: "bot", kind: "agent" },
        reason: null,
        rule: null,
        policy: null,
        tags: ["to a@example.org"],
        details: { event: "reported", line: { id: "1", action: "send" } },
        inputs_digest: null,
        outputs_digest: null,
        redacted: 0,
      },
      payload: null,
    });
    expect(tell(lineOf(undefined)).says.estimate_usd).toBe(null);
    expect(tell(lineOf(undefined, { isUnguarded: true })).says.details).toMatchObject({ event: "unguarded" });
  });

  it("keeps its own hashes as they are, some of whose digits may look like a card's, and hides what only claims to be one", () => {
    const hash = "94642b2c8923e2570a904a1168b5b4b363050791771526fee723e5222daffca0";
    // With something behind it, it is no hash.
    const told = { id: "1", hash, prev_hash: hash, note: `${hash}x` };
    const { says } = tellBy({ ...lineOf(undefined), told }, undefined);
    const hidden = told.note.replace("363050791771526", "[redacted:credit_card]");
    expect([says.details, says.redacted]).toEqual([{ event: "reported", line: { ...told, note: hidden } }, expect.any(Number)]);
    const claimed = { id: "1", hash: "4111111111111111", prev_hash: "ann@example.org" };
    expect(tellBy({ ...lineOf(undefined), told: claimed }, undefined).says.details).toEqual({
      event: "reported",
      line: { id: "1", hash: "[redacted:credit_card]", prev_hash: "[redacted:email]" },
    });
    // A hash with something before or behind it is none.
    const more = { id: "1", hash: `${"a".repeat(64)} ann@example.org`, prev_hash: `ann@example.org ${"a".repeat(64)}` };
    expect(tellBy({ ...lineOf(undefined), told: more }, undefined).says.details).toEqual({
      event: "reported",
      line: { id: "1", hash: `${"a".repeat(64)} [redacted:email]`, prev_hash: `[redacted:email] ${"a".repeat(64)}` },
    });
  });

  it("is named by its reporter's tenant, its agent and its own id", () => {
    const { entry } = tell(lineOf(undefined));
    expect(tell(lineOf({ inputs: 1 }, { action: "other" })).entry).toBe(entry);
    expect(tell(lineOf(undefined, { id: "2" })).entry).not.toBe(entry);
    expect(tell(lineOf(undefined, { agent: "other" })).entry).not.toBe(entry);
    expect(testimonyOf(sha256, { ...PRINCIPAL, tenant: "other" }, lineOf(undefined), null).entry).not.toBe(entry);
  });

  it("has the same name in every version: a line that is reported again after an upgrade is no other line", () => {
    expect(tell(lineOf(undefined)).entry).toBe("ent_01cdde2d-f521-771d-b804-b963d01f19d1");
  });

  it("has the gateway's own instant and the tenant's chain in its entry", () => {
    const told = tell(lineOf(undefined));
    const draft = draftOf("t", told, 0);
    expect(draft).toMatchObject({
      id: told.entry,
      kind: "ingest",
      tenant_id: "t",
      timestamp: "1970-01-01T00:00:00.000Z",
      session_id: null,
      action: "send",
    });
  });
});

describe("of what a line carries", () => {
  const both = { inputs: { n: 1 }, outputs: { ok: true } };
  it.each<[string, JsonValue | undefined, Redaction | null | undefined, JsonValue | null, JsonValue, boolean, boolean]>([
    ["all is kept where no policy says otherwise", both, null, both, {}, false, false],
    ["inputs and outputs are kept each as the policy says", both, redaction("full", "digest"), { inputs: { n: 1 } }, {}, false, true],
    ["and the other way round", both, redaction("digest", "full"), { outputs: { ok: true } }, {}, true, false],
    ["nothing is kept, not even a digest", both, redaction("none", "none"), null, {}, false, false],
    ["only their digests are kept", both, redaction("digest", "digest"), null, {}, true, true],
    ["no inputs and outputs are kept where no policy could be asked", both, undefined, null, {}, false, false],
    ["inputs alone are inputs alone", { inputs: { n: 1 } }, null, { inputs: { n: 1 } }, {}, false, false],
    ["outputs alone are outputs alone", { outputs: 5 }, null, { outputs: 5 }, {}, false, false],
    ["what else there is stands with the line", { inputs: 1, model: "m" }, null, { inputs: 1 }, { payload: { model: "m" } }, false, false],
    ["and goes where inputs are not kept", { outputs: 1, model: "m" }, redaction("digest", "full"), { outputs: 1 }, {}, false, false],
    ...[null, "text", 5, ["inputs"]].map((payload): [string, JsonValue, null, null, JsonValue, boolean, boolean] => [
      `${JSON.stringify(payload)} has no members`,
      payload,
      null,
      null,
      {},
      false,
      false,
    ]),
  ])("%s", (_, payload, how, kept, beside, ofInputs, ofOutputs) => {
    const told = tellBy(lineOf(payload), how);
    expect(told.payload).toEqual(kept);
    expect(told.says.details?.line).toEqual({ id: "1", action: "send", ...Object(beside) });
    expect(told.says.inputs_digest).toBe(ofInputs ? digest(both.inputs) : null);
    expect(told.says.outputs_digest).toBe(ofOutputs ? digest(both.outputs) : null);
  });

  it("what the policy hides is hidden everywhere, and its count told; the fingerprint is of the line as it came", () => {
    const line = lineOf({ inputs: { to: "a@example.org" }, outputs: { pin: 1 } });
    const hidden = tellBy(line, redaction("full", "full", { keys: ["pin"], detect: ["email"] }));
    expect(hidden.payload).toEqual({ inputs: { to: "[redacted:email]" }, outputs: { pin: "[redacted]" } });
    expect(hidden.says.tags).toEqual(["to [redacted:email]"]);
    expect(hidden.says.redacted).toBe(3);
    const policy = { name: "of a@example.org", version: 1, digest: `sha-256:${"0".repeat(64)}` } as const;
    const why = tellBy(
      lineOf(undefined, { verdict: "deny", reason: "rule_forbids", rule: "/denied_actions/a@example.org", policy }),
      redaction("full", "full", { detect: ["email"] }),
    );
    const shown = { ...policy, name: "of [redacted:email]" };
    expect(why.says).toMatchObject({ verdict: "deny", reason: "rule_forbids", rule: "/denied_actions/[redacted:email]", policy: shown, redacted: 3 });
    expect(hidden.fingerprint).toBe(tell(line).fingerprint);
    expect(hidden.fingerprint).not.toBe(tell(lineOf(undefined)).fingerprint);
  });
});
