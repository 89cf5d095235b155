import { describe, expect, it } from "vitest";
import { type Approval, type ApprovalStatus, actionDigest, answer, askedOf } from "../../src/core/approvals.ts";
import type { Effect } from "../../src/core/book.ts";
import { type Ask, conclude, judge } from "../../src/core/conclude.ts";
import type { Decision } from "../../src/core/decision.ts";
import { type ApprovalId, idFromDigest } from "../../src/core/ids.ts";
import { canonicalJson } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { BudgetLimit, Findings, RateLimit, RuleFinding } from "../../src/core/policy/findings.ts";
import type { Redaction } from "../../src/core/redact.ts";
import type { ActionRequest, Principal } from "../../src/core/request.ts";
import { happen } from "../../src/core/turn.ts";
import { sha256 } from "./sha256.ts";
import { EXPIRES_AT, POLICY, PRINCIPAL, type Put, RUN, Sitting } from "./sitting.ts";

const usd = microUsdOf;
const HOLD: Partial<Findings> = { hold: { rule: "/approvals/actions" } };
const OTHER_RUN = "run_00000000-0000-7000-8000-000000000002";
const PARENT = "dec_00000000-0000-7000-8000-000000000009";
const ANN: Principal = { tokenId: "tok_00000000-0000-7000-8000-000000000002", tenant: "t", subject: "ann", kind: "human" };
const SESSION: BudgetLimit = { scope: "session", limitMicroUsd: usd(100) };

/** Decides, and gives everything that happened in it. */
function concluded(sitting: Sitting, ask: Ask, now = 0): { readonly decision: Decision; readonly happened: readonly Effect[] } {
  return sitting.turn(now, (turn) => ({
    decision: conclude(turn, ask, judge(turn.book, ask, turn.now, sha256), "f"),
    happened: [...turn.effects],
  }));
}
const ofKind = <K extends Effect["kind"]>(happened: readonly Effect[], kind: K): Extract<Effect, { kind: K }>[] =>
  happened.filter((effect): effect is Extract<Effect, { kind: K }> => effect.kind === kind);

function only<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined || items.length > 1) throw new Error(`${items.length} and not one`);
  return item;
}

const held = (sitting: Sitting, put: Put = {}): Approval => sitting.held(put);
const stands = (sitting: Sitting, approval: Approval, more: Partial<Approval>): void =>
  void sitting.book.approvals.set(approval.id, { ...approval, ...more });

describe("an approval that a request names", () => {
  const again = (approval: Approval, put: Put = {}): Put => ({
    ...put,
    request: { approval: approval.id, ...put.request },
    finds: { ...HOLD, ...put.finds },
  });

  it.each<readonly [ApprovalStatus, string]>([
    ["pending", "approval_required"],
    ["info_requested", "approval_required"],
    ["approved", "permitted"],
    ["rejected", "approval_rejected"],
    ["cancelled", "approval_rejected"],
    ["expired", "approval_expired"],
    ["consumed", "approval_consumed"],
  ])("and that is %s: %s", (status, code) => {
    const sitting = new Sitting();
    const approval = held(sitting);
    stands(sitting, approval, { status });
    expect(sitting.judge(again(approval)).reason.code).toBe(code);
    // What was closed is closed, whatever else is asked with it.
    const closed = code !== "approval_required" && code !== "permitted";
    expect(sitting.judge(again(approval, { costs: 1 })).reason.code).toBe(closed ? code : "approval_mismatch");
  });

  it.each<readonly [string, Put, Put]>([
    ["another sum", { costs: 5 }, { costs: 6 }],
    ["another action", {}, { request: { action: "other" } }],
    ["another run", {}, { request: { run: OTHER_RUN } }],
    ["other inputs", { request: { inputs: { n: 1 } } }, { request: { inputs: { n: 2 } } }],
    ["no inputs", { request: { inputs: { n: 1 } } }, {}],
    ["another resource", { request: { resource: { type: "order", id: "1" } } }, { request: { resource: { type: "order", id: "2" } } }],
    ["another policy", {}, { finds: { policy: { ...POLICY, digest: `sha-256:${"b".repeat(64)}` } } }],
    ["other tags", { request: { tags: ["dev"] } }, { request: { tags: ["production"] } }],
    ["a tag more", { request: { tags: ["dev"] } }, { request: { tags: ["dev", "production"] } }],
    ["no tags", { request: { tags: ["dev"] } }, {}],
    ["a higher risk", { request: { riskLevel: "low" } }, { request: { riskLevel: "critical" } }],
    ["no risk", { request: { riskLevel: "low" } }, {}],
    ["less confidence", { request: { confidence: 0.9 } }, { request: { confidence: 0.1 } }],
    ["another model", { request: { model: { name: "small" } } }, { request: { model: { name: "large" } } }],
    ["a model's other version", { request: { model: { name: "m", version: "1" } } }, { request: { model: { name: "m", version: "2" } } }],
    ["another source", { request: { sources: [{ source: "crm" }] } }, { request: { sources: [{ source: "web" }] } }],
    ["a source's other version", { request: { sources: [{ source: "crm", version: "1" }] } }, { request: { sources: [{ source: "crm" }] } }],
    [
      "the digest of its inputs, which nobody can hold against it",
      { request: { inputs: { n: 1 } } },
      { request: { inputsDigest: `sha-256:${sha256(canonicalJson({ n: 1 }))}` } },
    ],
  ])("is of nothing but what was shown: not of %s", (_, first, second) => {
    for (const status of ["pending", "approved"] as const) {
      const sitting = new Sitting();
      sitting.turn(0, (turn) => happen(turn, { kind: "run_opened", run: OTHER_RUN }));
      sitting.turn(0, (turn) => {
        turn.book.currentRun = RUN;
      });
      const approval = held(sitting, first);
      stands(sitting, approval, { status });
      expect(sitting.judge(again(approval, second)).reason.code).toBe("approval_mismatch");
      expect(sitting.judge(again(approval, first)).reason.code).toBe(status === "approved" ? "permitted" : "approval_required");
      // The run that is current is the one that was named, and the other way round.
      expect(sitting.judge(again(approval, { ...first, request: { ...first.request, run: RUN } })).reason.code).not.toBe("approval_mismatch");
    }
  });

  it.each<readonly [string, Partial<ActionRequest>]>([
    ["words of why", { rationale: "The same, in other words." }],
    ["term of its reservation", { ttlMs: 86_400_000 }],
    ["decisions that it follows", { parents: [PARENT] }],
  ])("is of what was shown, whatever the %s", (_, more) => {
    const sitting = new Sitting();
    const approval = held(sitting, { request: { rationale: "It is due.", tags: ["dev"] } });
    stands(sitting, approval, { status: "approved" });
    expect(sitting.judge(again(approval, { request: { tags: ["dev"], ...more } })).reason.code).toBe("permitted");
  });

  it("that was asked for before the facts were bound is good for what it was bound to", () => {
    const request = { inputs: { n: 1 }, tags: ["dev"], riskLevel: "low" } as const;
    const sitting = new Sitting();
    const approval = held(sitting, { request });
    const { facts: _, ...asked } = approval.asked;
    stands(sitting, approval, { status: "approved", asked, digest: actionDigest(sha256, sitting.book, RUN, "pay", asked) });
    expect(sitting.judge(again(approval, { request })).reason.code).toBe("permitted");
    expect(sitting.judge(again(approval, { request: { ...request, inputs: { n: 2 } } })).reason.code).toBe("approval_mismatch");
    // Its digest is not that of one that binds more.
    stands(sitting, approval, { status: "approved", digest: actionDigest(sha256, sitting.book, RUN, "pay", asked) });
    expect(sitting.judge(again(approval, { request })).reason.code).toBe("approval_mismatch");
  });

  it("of inputs that were only a digest is of nothing, though it names nothing else", () => {
    const sitting = new Sitting();
    const approval = held(sitting);
    stands(sitting, approval, { status: "approved" });
    const digest = `sha-256:${sha256("{}")}` as const;
    expect(sitting.judge(again(approval, { request: { inputsDigest: digest } })).reason.code).toBe("approval_mismatch");
  });

  it.each([
    ["approve", "bot", "approval_mismatch"],
    ["request_info", "bot", "permitted"],
    ["approve", "ann", "permitted"],
  ] as const)("whom it was approved by may not use it: %s by %s", (decision, subject, code) => {
    const sitting = new Sitting();
    const approval = held(sitting);
    const given = { subject, decision, note: null, at: 0, named: null, approved: null, edits: null, groups: [] } as const;
    const others = { ...given, subject: "eve", decision: "approve" } as const;
    stands(sitting, approval, { status: "approved", answers: [others, given] });
    expect(sitting.judge(again(approval)).reason.code).toBe(code);
  });

  it("is used up by what it allows, on record with who approved it, and allows nothing more", () => {
    const sitting = new Sitting();
    const approval = held(sitting, { costs: 5 });
    sitting.turn(1, (turn) =>
      answer(turn, approval, { principal: ANN, scopes: [], owners: [] }, { decision: "approve", note: null, digest: approval.digest, edits: null }),
    );
    const put = again(approval, { costs: 5 });
    const ask = sitting.ask(put);
    const { decision, happened } = concluded(sitting, ask, 2);
    const expiresAt = 2 + 3_600_000 - 1;
    expect(decision).toMatchObject({ verdict: "allow", reason: { code: "permitted" }, reservation: { amountMicroUsd: 5 }, approval: null });
    const [entry, note] = ofKind(happened, "recorded").map(({ sealed }) => sealed.entry);
    expect(entry).toMatchObject({ kind: "decision", verdict: "allow", approval: { id: approval.id, expires_at: new Date(expiresAt).toISOString() } });
    expect(note).toMatchObject({ kind: "approval", details: { event: "consumed", used_by: decision.id, approved_by: ["ann"] } });
    const used = only(ofKind(happened, "approval"));
    expect(used).toMatchObject({ card: null, approval: { id: approval.id, status: "consumed", usedBy: decision.id } });
    expect(sitting.decide(put, 2)).toMatchObject({ verdict: "hold", approval: { id: expect.not.stringMatching(approval.id) } });
    expect(sitting.decide(again(approval, { costs: 5, around: { presented: "consumed" } }), 2).reason.code).toBe("approval_consumed");
  });

  it("is left alone where nothing asks for it", () => {
    const sitting = new Sitting();
    const approval = held(sitting);
    stands(sitting, approval, { status: "approved" });
    const { decision, happened } = concluded(sitting, sitting.ask({ request: { approval: approval.id } }));
    expect(decision).toMatchObject({ verdict: "allow", approval: null });
    expect(ofKind(happened, "approval")).toEqual([]);
    expect(only(ofKind(happened, "recorded")).sealed.entry.approval).toBeNull();
  });

  it("is left alone, too, by a no for another reason", () => {
    for (const status of ["approved", "pending"] as const) {
      const sitting = new Sitting();
      const approval = held(sitting);
      stands(sitting, approval, { status });
      const { decision, happened } = concluded(sitting, sitting.ask(again(approval, { finds: { deniedBy: "pay" } })));
      expect(decision).toMatchObject({ verdict: "deny", reason: { code: "action_denied" }, approval: null });
      expect(ofKind(happened, "approval")).toEqual([]);
    }
  });

  it("goes on waiting where nobody has answered: it is named again, and nobody is asked twice", () => {
    const sitting = new Sitting();
    const approval = held(sitting);
    const { decision, happened } = concluded(sitting, sitting.ask(again(approval)), 5);
    expect(decision).toMatchObject({ verdict: "hold", approval: { id: approval.id, expiresAt: approval.expiresAt } });
    expect(ofKind(happened, "approval")).toEqual([]);
    expect(only(ofKind(happened, "recorded")).sealed.entry.approval?.id).toBe(approval.id);
    expect(sitting.book.approvals.size).toBe(1);
  });

  it("that nobody has answered allows nothing by being named, where nothing holds", () => {
    const sitting = new Sitting();
    const approval = held(sitting);
    expect(sitting.judge({ request: { approval: approval.id } })).toMatchObject({ verdict: "allow", approval: null, usesApproval: false });
  });

  it("of which the session knows nothing is worth what its store says", () => {
    const named: ApprovalId = "apr_00000000-0000-7000-8000-000000000001";
    for (const [presented, code] of [
      ["rejected", "approval_rejected"],
      ["unknown", "approval_mismatch"],
    ] as const)
      expect(new Sitting().judge({ request: { approval: named }, finds: HOLD, around: { presented } }).reason.code).toBe(code);
  });

  it("is not looked at where none is named, whatever the store says", () => {
    expect(new Sitting().judge({ finds: HOLD, around: { presented: "rejected" } }).reason.code).toBe("approval_required");
  });

  it("is looked at under no policy that cannot be read", () => {
    for (const evaluation of [null, { kind: "invalid", policy: POLICY }] as const) {
      const sitting = new Sitting();
      const approval = held(sitting);
      stands(sitting, approval, { status: "approved" });
      expect(sitting.judge(again(approval, { around: { evaluation } })).reason.code).toBe("policy_invalid");
    }
  });
});

describe("asking a person", () => {
  const REDACTION: Redaction = { storeInputs: "none", storeOutputs: "none", keys: ["pin"], detect: ["email"] };
  const REQUEST: Partial<ActionRequest> = {
    inputs: { pin: 1, to: "a@example.com" },
    resource: { type: "mailbox", id: "b@example.com" },
    tags: ["c@example.com"],
    riskLevel: "high",
    rationale: "for d@example.com",
    confidence: 0.5,
    sources: [{ source: "crm", version: "2" }],
    parents: ["dec_00000000-0000-7000-8000-000000000009"],
    model: { name: "m" },
  };
  const MAIL = "[redacted:email]";
  const CARD = {
    resource: { type: "mailbox", id: MAIL },
    inputs: { pin: "[redacted]", to: MAIL },
    tags: [MAIL],
    riskLevel: "high",
    reason: { code: "approval_required", message: "A person must approve this first.", rule: "/approvals/actions" },
    rationale: `for ${MAIL}`,
    confidence: 0.5,
    sources: [{ source: "crm", version: "2" }],
    parents: ["dec_00000000-0000-7000-8000-000000000009"],
    model: { name: "m" },
  };
  const opened = (put: Put, now = 7) => {
    const sitting = new Sitting();
    const { decision, happened } = concluded(sitting, sitting.ask({ ...put, finds: { ...HOLD, ...put.finds } }), now);
    const [asking, ...more] = ofKind(happened, "approval");
    if (asking === undefined || more.length > 0) throw new Error("one person is asked once");
    return { sitting, decision, happened, ...asking };
  };

  it("keeps exactly what was asked, under which policy, for how long, and by whom", () => {
    const chain = { needed: 2, groups: [{ subjects: ["ann"], scopes: [] }], fourEyes: true };
    const policy = { ...POLICY, name: "more", more: "than a reference" };
    const { sitting, decision, approval, happened } = opened({
      costs: 4,
      request: REQUEST,
      finds: { redaction: REDACTION, chain, policy, holdTimeoutMs: 1_000, estimateMicroUsd: usd(9) },
    });
    const asked = askedOf(sha256, sitting.ask({ request: REQUEST }).request, usd(9));
    expect(approval).toEqual({
      id: idFromDigest("apr", sha256(`t/${sitting.book.session}/${decision.id}`)),
      decision: decision.id,
      run: RUN,
      action: "pay",
      status: "pending",
      digest: actionDigest(sha256, sitting.book, RUN, "pay", asked),
      policy: { name: "more", version: 1, digest: POLICY.digest },
      chain,
      requester: { kind: "agent", subject: "bot" },
      redaction: REDACTION,
      asked,
      openedAt: 7,
      expiresAt: 1_007,
      termMs: 1_000,
      answers: [],
      edits: null,
      seen: [],
      answeredAt: null,
      usedBy: null,
    });
    expect(decision).toMatchObject({ verdict: "hold", stops: null, reservation: null, approval: { id: approval.id, expiresAt: 1_007 } });
    expect(sitting.decided).toMatchObject([{ state: "held", matter: null, pieces: [], trace: null }]);
    const [entry, note] = ofKind(happened, "recorded").map(({ sealed }) => sealed.entry);
    expect(entry?.approval).toEqual({ id: approval.id, expires_at: "1970-01-01T00:00:01.007Z" });
    expect(note).toMatchObject({ kind: "approval", details: { event: "requested", needed: 2, four_eyes: true } });
    expect(sitting.book.preventedMicroUsd).toBe(0);
  });

  it("waits no longer than its session lives", () => {
    expect(opened({ finds: { holdTimeoutMs: EXPIRES_AT } }).approval.expiresAt).toBe(EXPIRES_AT);
  });

  it.each<readonly [string, Partial<ActionRequest>, Redaction | null, object]>([
    ["with all that it is about, redacted as the record is, and the inputs though the record keeps none", REQUEST, REDACTION, CARD],
    [
      "as it was sent where nothing is redacted",
      REQUEST,
      null,
      { ...CARD, inputs: REQUEST.inputs, resource: REQUEST.resource, tags: REQUEST.tags, rationale: REQUEST.rationale },
    ],
    [
      "with what is missing named as missing",
      {},
      REDACTION,
      { ...CARD, inputs: null, resource: null, tags: [], riskLevel: null, rationale: null, confidence: null, sources: [], parents: [], model: null },
    ],
  ])("shows it %s", (_, request, redaction, card) => {
    const { decision, card: shown } = opened({ request, finds: { redaction, budgets: [SESSION] } });
    expect(shown).toEqual({ ...card, balances: JSON.parse(JSON.stringify(decision.budgets)) });
  });

  it("shows what was left of the budgets before it was asked", () => {
    const { card } = opened({ costs: 5, finds: { budgets: [SESSION] } });
    expect(card).toMatchObject({ balances: [{ scope: "run" }, { scope: "session", limitMicroUsd: 100, pendingMicroUsd: 0, postedMicroUsd: 0 }] });
  });

  it("is done only with what can be shown", () => {
    const digest = `sha-256:${sha256("{}")}` as const;
    const warning: RuleFinding = { rule: "w", effect: "forbid", history: false, mode: "warn", stops: "action", said: "holds" };
    const put = (request: Partial<ActionRequest>): Put => ({ request, finds: { ...HOLD, rules: [warning] } });
    const judgement = new Sitting().judge(put({ inputsDigest: digest }));
    expect(judgement).toMatchObject({
      verdict: "deny",
      stops: "action",
      reason: {
        code: "inputs_required",
        message: "A person must approve this, and is shown the inputs: only their digest was sent.",
        rule: "/approvals/actions",
        retryAfterMs: null,
        hint: "Send the inputs instead of their digest.",
      },
      warnings: [{ code: "rule_forbids" }],
      advice: [{ code: "rule_warns" }],
      shorts: [],
    });
    expect(new Sitting().judge(put({ inputs: {}, inputsDigest: digest })).verdict).toBe("hold");
    expect(new Sitting().judge(put({})).verdict).toBe("hold");
    expect(new Sitting().judge({ request: { inputsDigest: digest } }).verdict).toBe("allow");
  });

  it("is done five hundred times at once and no more; those that are over do not count, and who waits goes on waiting", () => {
    const crowd = (sitting: Sitting, count: number, status: ApprovalStatus = "pending"): Approval => {
      const first = held(sitting);
      for (let place = 1; place < count; place++) {
        const id: ApprovalId = `apr_00000000-0000-7000-8000-${String(place).padStart(12, "0")}`;
        sitting.book.approvals.set(id, { ...first, id, status: place === 1 ? status : "pending" });
      }
      return first;
    };
    const verdict = (count: number, status?: ApprovalStatus) => {
      const sitting = new Sitting();
      crowd(sitting, count, status);
      return sitting.judge({ finds: HOLD });
    };
    expect(verdict(499).verdict).toBe("hold");
    expect(verdict(500)).toMatchObject({
      verdict: "deny",
      stops: "action",
      reason: {
        code: "approval_required",
        message: "A person must approve this, and 500 requests of this session wait for one already.",
        rule: "/approvals/actions",
        retryAfterMs: null,
        hint: "Wait until some of them are answered, or cancel them.",
      },
    });
    expect(verdict(500, "cancelled").verdict).toBe("hold");
    expect(verdict(500, "approved").verdict).toBe("deny");
    const sitting = new Sitting();
    const first = crowd(sitting, 500);
    expect(sitting.judge({ request: { approval: first.id }, finds: HOLD }).verdict).toBe("hold");
    expect(sitting.judge().verdict).toBe("allow");
  });

  it("tells what stands beside it, and what the tenant must be asked first", () => {
    const limit: BudgetLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
    for (const request of [{}, { inputsDigest: `sha-256:${sha256("{}")}` as const }]) {
      const { shorts } = new Sitting().judge({ costs: 5, request, finds: { ...HOLD, budgets: [limit] }, around: { tenant: "unasked" } });
      expect(shorts).toHaveLength(1);
    }
  });
});

describe("what is written down", () => {
  const RATES: readonly RateLimit[] = [
    { pattern: "pay", max: 5, windowMs: 10_000, per: "session" },
    { pattern: "pay", max: 9, windowMs: 60_000, per: "session" },
    { pattern: "pay", max: 3, windowMs: 1_000, per: "session" },
    { pattern: "p*", max: 4, windowMs: 2_000, per: "run" },
  ];

  it("of an allowed call: all of it, in the answer, in the entry, and in the book", () => {
    const sitting = new Sitting();
    const ask = sitting.ask({
      costs: 60,
      request: { tags: ["x"], riskLevel: "low", confidence: 0.25, parents: ["dec_00000000-0000-7000-8000-000000000009"], ttlMs: 500 },
      finds: {
        budgets: [SESSION],
        alerts: [0.5],
        rates: RATES,
        compliance: { law: "one" },
        price: { known: true, basis: "stated", data: "2026" },
        rules: [{ rule: "w", effect: "forbid", history: false, mode: "warn", stops: "action", said: "holds" }],
        onExpiry: "release",
      },
    });
    const { decision, happened } = concluded(sitting, ask, 1_000);
    const message = 'The rule "w" forbids this.';
    const spent = { limit_usd: "0.0001", name: sitting.book.session, scope: "session", spent_usd: "0.00006", threshold: 0.5 };
    const rate = ({ pattern, per, max, windowMs }: RateLimit) => ({
      name: pattern,
      per,
      limit: max,
      remaining: max - 1,
      windowMs,
      resetMs: windowMs,
    });
    const session = { scope: "session", name: sitting.book.session, limitMicroUsd: 100, postedMicroUsd: 0, pendingMicroUsd: 60, leasedMicroUsd: 0 };
    expect(decision).toEqual({
      id: ask.request.id,
      session: sitting.book.session,
      run: RUN,
      action: "pay",
      verdict: "allow",
      stops: null,
      reason: { code: "permitted", message: "Every check passed.", rule: null, retryAfterMs: null, hint: null },
      reservation: { amountMicroUsd: 60, expiresAt: 1_500 },
      budgets: [{ ...session, scope: "run", name: RUN, limitMicroUsd: null }, session],
      rates: RATES.map(rate),
      policy: POLICY,
      warnings: [{ code: "rule_forbids", message, rule: "w", retryAfterMs: null, hint: "Do not try this again unchanged." }],
      advice: [
        { code: "rule_warns", message, details: { reason: "rule_forbids", rule: "w" } },
        { code: "budget_threshold", message: `The session account "${sitting.book.session}" has reached 50 % of 0.0001 USD.`, details: spent },
      ],
      approval: null,
      entry: { id: expect.stringMatching(/^ent_/), seq: 1, hash: only(sitting.ledger).hash },
    });
    const { entry } = only(ofKind(happened, "recorded")).sealed;
    const before = { pending_usd: "0", posted_usd: "0" };
    const after = { pending_usd: "0.00006", posted_usd: "0" };
    expect(entry).toMatchObject({
      kind: "decision",
      step: "decide",
      timestamp: "1970-01-01T00:00:01.000Z",
      run_id: RUN,
      action: "pay",
      tags: ["x"],
      risk_level: "low",
      decision_id: ask.request.id,
      verdict: "allow",
      reason: "permitted",
      rule: null,
      warnings: [{ code: "rule_forbids", rule: "w" }],
      policy: POLICY,
      estimate_usd: "0.00006",
      price: { known: true, basis: "stated", data: "2026" },
      reservation: { amount_usd: "0.00006", expires_at: "1970-01-01T00:00:01.500Z" },
      accounts: [
        { scope: "run", name: RUN, limit_usd: null, before, after },
        { scope: "session", name: sitting.book.session, limit_usd: "0.0001", before, after },
      ],
      alerts: [spent],
      rates: RATES.map(({ pattern, per, max, windowMs }) => ({ limit: max, name: pattern, per, remaining: max - 1, window_ms: windowMs })),
      approval: null,
      confidence: 0.25,
      parents: ["dec_00000000-0000-7000-8000-000000000009"],
      principal: { kind: "agent", subject: "bot", token_id: PRINCIPAL.tokenId },
      compliance_metadata: { law: "one" },
    });
    // An account that no session shares says nothing of slices and windows.
    expect(Object.keys(entry.accounts[0] ?? {})).toEqual(["after", "before", "limit_usd", "name", "scope"]);
    expect(ofKind(happened, "money")).toEqual([
      {
        kind: "money",
        fund: "budgets",
        run: RUN,
        action: "pay",
        delta: { posted: 0, pending: 60, overrun: 0 },
        pieces: [{ at: 1_000, posted: 0, pending: 60, overrun: 0 }],
      },
    ]);
    // Two limits of one pattern look at one log, which is kept as long as the longer of them looks back.
    expect(ofKind(happened, "hit")).toEqual([
      { kind: "hit", log: "pay", at: 1_000, keepMs: 60_000 },
      { kind: "hit", log: `p* ${RUN}`, at: 1_000, keepMs: 2_000 },
    ]);
    const pieces = [{ at: 1_000, microUsd: 60 }];
    const matter = { run: RUN, action: "pay", fund: "budgets", limits: [SESSION], alerts: [0.5], onExpiry: "release", keepOutputs: [], asked: null };
    const { pending } = only(ofKind(happened, "reserved"));
    expect(pending).toMatchObject({ id: ask.request.id, reservation: decision.reservation, pieces, matter });
    expect(only(sitting.decided)).toMatchObject({ decision, fingerprint: "f", state: "pending", pieces, matter });
    expect(pending.pieces).toEqual(pieces);
    expect(ofKind(happened, "answered")).toEqual([{ kind: "answered", verdict: "allow", preventedMicroUsd: 0 }]);
  });

  it("of a denied call: nothing is taken or counted, what it would have cost is prevented, and the rates stand as they did", () => {
    const sitting = new Sitting();
    sitting.decide({ finds: { rates: RATES } }, 1_000);
    const ask = sitting.ask({ costs: 60, finds: { budgets: [SESSION], alerts: [0.0001], rates: RATES, deniedBy: "pay", estimateMicroUsd: usd(70) } });
    const { decision, happened } = concluded(sitting, ask, 1_400);
    expect(happened.map(({ kind }) => kind)).toEqual(["clock", "answered", "recorded", "decided"]);
    expect(decision).toMatchObject({
      verdict: "deny",
      reservation: null,
      approval: null,
      rates: RATES.map(({ max, windowMs }) => ({ remaining: max - 1, resetMs: windowMs - 400 })),
    });
    expect(only(ofKind(happened, "recorded")).sealed.entry).toMatchObject({
      reservation: null,
      approval: null,
      alerts: [],
      estimate_usd: "0.00007",
      rule: "/denied_actions",
    });
    expect(sitting.decided.at(-1)).toMatchObject({ state: "denied", matter: null, pieces: [], trace: null });
    expect(ofKind(happened, "answered")).toEqual([{ kind: "answered", verdict: "deny", preventedMicroUsd: 70 }]);
  });

  it("of a call under no policy: what the caller said of it, and nothing of what might be secret", () => {
    const sitting = new Sitting();
    const lease = { fresh: true, policy: POLICY, orders: [] };
    const ask = sitting.ask({ costs: 60, request: { inputs: { n: 1 }, rationale: "a@example.com" }, around: { evaluation: null, lease } });
    const { decision, happened } = concluded(sitting, ask);
    expect(decision).toMatchObject({ verdict: "deny", rates: [], policy: POLICY, reservation: null, approval: null });
    const { sealed } = only(ofKind(happened, "recorded"));
    expect(sealed.entry).toMatchObject({
      policy: POLICY,
      estimate_usd: "0.00006",
      price: null,
      rates: [],
      alerts: [],
      compliance_metadata: null,
      rationale: "[redacted:email]",
      accounts: [{ scope: "run" }, { scope: "session" }],
    });
    expect(sealed.payload).toBeNull();
    expect(sitting.book.preventedMicroUsd).toBe(60);
  });

  it("of a rate that a smaller one replaced: nothing is left, never less", () => {
    const sitting = new Sitting();
    const rate: RateLimit = { pattern: "pay", max: 3, windowMs: 1_000, per: "session" };
    for (let call = 0; call < 3; call++) sitting.decide({ finds: { rates: [rate] } });
    expect(sitting.decide({ finds: { rates: [{ ...rate, max: 1 }] } }).rates).toMatchObject([{ limit: 1, remaining: 0 }]);
  });

  it.each([
    ["nothing was heard", null, 0, 0, 0],
    ["leave was given", { unused: 2, remaining: 3, resetsAt: 4_000 }, 0, 4, 4_000],
    ["some is left, some may be asked for", { unused: 1, remaining: 1, resetsAt: 4_000 }, 1_000, 1, 3_000],
    ["more was said than the limit", { unused: 9, remaining: 9, resetsAt: null }, 0, 6, 10_000],
    ["the last word is of the past", { unused: 1, remaining: 0, resetsAt: 500 }, 1_000, 0, 0],
  ] as const)("of calls of all sessions: %s", (_, said, now, remaining, resetMs) => {
    const sitting = new Sitting();
    const limits = [{ max: 6, windowMs: 10_000 }];
    if (said !== null)
      sitting.book.shares.permits.set("agent pay", {
        per: "agent",
        pattern: "pay",
        limits,
        used: [],
        told: 0,
        fitsAt: null,
        isExact: false,
        ...said,
      });
    const rate: RateLimit = { pattern: "pay", max: 6, windowMs: 10_000, per: "agent" };
    const { decision, happened } = concluded(sitting, sitting.ask({ finds: { rates: [rate, rate] } }), now);
    const state = { name: "pay", per: "agent", limit: 6, remaining, windowMs: 10_000, resetMs };
    expect(decision.rates).toEqual([state, state]);
    const used = { kind: "permit_used", permits: { per: "agent", pattern: "pay" }, at: now };
    expect(ofKind(happened, "permit_used")).toEqual(said === null ? [] : [used]);
    expect(ofKind(happened, "hit")).toEqual([]);
  });

  it("only of what was decided: not before the tenant was asked, and no leave without a policy", () => {
    const sitting = new Sitting();
    const limit: BudgetLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
    const short = sitting.ask({ costs: 5, finds: { budgets: [limit] }, around: { tenant: "unasked" } });
    expect(() => concluded(sitting, short)).toThrow("nothing is concluded before the tenant was asked");
    const leave = sitting.judge();
    const unled = sitting.ask({ around: { evaluation: null } });
    expect(() => sitting.turn(0, (turn) => conclude(turn, unled, leave, "f"))).toThrow("nothing is allowed without a policy");
  });
});

it("what stands above any policy is said alone, whatever else would be", () => {
  const warns: RuleFinding = { rule: "w", effect: "forbid", history: false, mode: "warn", stops: "action", said: "holds" };
  const finds = { rules: [warns], budgets: [{ ...SESSION, limitMicroUsd: usd(0) }] };
  for (const put of [{ around: { lease: { fresh: false, policy: POLICY, orders: [] } } }, { costs: 4_500_000_000_000_001 }])
    expect(new Sitting().judge({ ...put, finds })).toMatchObject({
      verdict: "deny",
      warnings: [],
      advice: [],
      shorts: [],
      approval: null,
      usesApproval: false,
    });
});

it("where only a digest of the inputs was sent, the inputs are asked for, and nothing is taken for a loop", () => {
  const request = { inputsDigest: `sha-256:${sha256("{}")}` } as const;
  const loops = [{ threshold: 1, windowMs: 1_000, key: null }];
  expect(new Sitting().judge({ request, finds: { loops } }).reason.code).toBe("inputs_required");
  expect(new Sitting().judge({ request, finds: { loops, strict: false } }).warnings.map(({ code }) => code)).toEqual(["inputs_required"]);
});

it("of several limits that are full at once the first is named, and of accounts that sessions share the narrowest alone", () => {
  const rates: readonly RateLimit[] = ["p*", "pay"].map((pattern) => ({ pattern, max: 1, windowMs: 5_000, per: "session" }));
  const sitting = new Sitting();
  sitting.decide({ finds: { rates } });
  expect(sitting.judge({ finds: { rates } }).reason.rule).toBe("/rate_limits/p*");
  const budgets: readonly BudgetLimit[] = (["agent", "tenant"] as const).map((scope) => ({ scope, window: "day", limitMicroUsd: usd(5) }));
  for (const limit of budgets) if (limit.scope === "agent" || limit.scope === "tenant") sitting.give(limit, 0);
  expect(sitting.judge({ costs: 6, finds: { strict: false, budgets } }).warnings.map(({ code }) => code)).toEqual(["agent_budget_exceeded"]);
});

describe("another sum for what runs already", () => {
  const DAY: BudgetLimit = { scope: "agent", window: "day", limitMicroUsd: usd(100) };
  const rule = (said: RuleFinding["said"], more: Partial<RuleFinding> = {}): RuleFinding => ({
    rule: "r",
    effect: "forbid",
    history: false,
    mode: "enforce",
    stops: "run",
    said,
    ...more,
  });
  const asked = (finds: Partial<Findings>, more: Omit<Put, "costs" | "finds"> = {}, costs = 60) => {
    const sitting = new Sitting();
    const { id } = sitting.decide({ costs: 50 });
    const told = sitting.topup(id, costs, 1, { ...more, finds });
    if (!told.ok || !("verdict" in told.value)) throw new Error(JSON.stringify(told));
    return { ...told.value, sitting };
  };

  it.each<readonly [string, Partial<Findings>]>([
    ["inputs that do not fit", { argumentsFault: { rule: "/arguments", message: "no" } }],
    [
      "what must come first",
      { requirements: [{ rule: "/requires", after: ["check"], withinMs: null, same: [], where: null, looksAtOutcome: false, inputsMissing: false }] },
    ],
    ["a loop", { loops: [{ threshold: 1, windowMs: 1_000, key: "k" }] }],
    ["retries", { retries: [{ threshold: 0, windowMs: 1_000 }] }],
    ["how many are in progress", { concurrency: [{ pattern: "pay", max: 1 }] }],
    ["how often it is called", { rates: [{ pattern: "pay", max: 0, windowMs: 1_000, per: "session" }] }],
    ["a price that nobody knows", { priceUnknown: true }],
  ])("is not asked for what was asked when it began: %s", (_, finds) => {
    expect(new Sitting().judge({ finds: { ...finds, ...(finds.concurrency && { concurrency: [{ pattern: "pay", max: 0 }] }) } }).verdict).toBe(
      "deny",
    );
    expect(asked(finds)).toMatchObject({ verdict: "allow", reservation: { amountMicroUsd: 60 } });
  });

  it.each<readonly [string, Partial<Findings>, Put["around"], string, string]>([
    ["what the policy denies by now", { deniedBy: "pay" }, {}, "action_denied", "action"],
    ["what a rule forbids", { rules: [rule("holds")] }, {}, "rule_forbids", "run"],
    ["what needs inputs that were not kept", { rules: [rule("inputs_missing")] }, {}, "inputs_required", "action"],
    ["what the history forbids", { rules: [rule("failed", { history: true })] }, {}, "history_forbids", "run"],
    ["what its budget has not", { budgets: [{ ...SESSION, limitMicroUsd: usd(59) }] }, {}, "session_budget_exceeded", "action"],
    ["what a person must approve, since nobody can be waited for", HOLD, {}, "approval_required", "action"],
    ["anything without authority", {}, { lease: { fresh: false, policy: POLICY, orders: [] } }, "authority_stale", "action"],
    ["anything without a policy", {}, { evaluation: null }, "policy_invalid", "action"],
  ])("is refused for %s, and the reservation stays as it was", (_, finds, around, code, stops) => {
    const { sitting, ...decision } = asked(finds, around === undefined ? {} : { around });
    expect(decision).toMatchObject({ verdict: "deny", stops, reason: { code }, reservation: { amountMicroUsd: 50 }, approval: null, rates: [] });
    expect([decision.warnings, decision.advice]).toEqual([[], []]);
    expect(sitting.book.pending.get(decision.id)?.reservation.amountMicroUsd).toBe(50);
    expect(sitting.book.total.pendingMicroUsd).toBe(50);
    expect(sitting.ledger.at(-1)?.entry).toMatchObject({ step: "topup", verdict: "deny", reason: code, warnings: [], estimate_usd: "0.00006" });
  });

  it("is refused beyond what a session can count", () => {
    const told = asked({}, {}, 4_500_000_000_000_001);
    expect(told).toMatchObject({ verdict: "deny", stops: "session", reason: { code: "session_budget_exceeded", hint: "Open a new session." } });
    expect([told.warnings, told.advice]).toEqual([[], []]);
    expect(asked({}, {}, 4_500_000_000_000_000).verdict).toBe("allow");
  });

  it("takes no more than the difference, and of the tenant nothing before it was asked", () => {
    const sitting = new Sitting();
    sitting.give(DAY, 55);
    const { id } = sitting.decide({ costs: 50, finds: { budgets: [DAY] } });
    const before = sitting.ledger.length;
    const put: Put = { finds: { budgets: [DAY] }, around: { tenant: "unasked" } };
    expect(sitting.topup(id, 56, 1, put)).toEqual({
      ok: true,
      value: { shorts: [{ kind: "money", limit: DAY, amountMicroUsd: 6, leastMicroUsd: 6, alerts: [] }] },
    });
    expect([sitting.ledger.length, sitting.book.total.pendingMicroUsd]).toEqual([before, 50]);
    expect(sitting.topup(id, 55, 1, put)).toMatchObject({ ok: true, value: { verdict: "allow", reservation: { amountMicroUsd: 55 } } });
  });

  it("less needs nobody's leave", () => {
    for (const costs of [50, 49, 0]) expect(asked({ deniedBy: "pay" }, {}, costs)).toMatchObject({ verdict: "allow", reason: { code: "permitted" } });
  });

  it("is told of thresholds that it reaches, and of what stands beside it", () => {
    const sitting = new Sitting();
    const budgets = [SESSION];
    const { id } = sitting.decide({ costs: 50, finds: { budgets, alerts: [0.6] } });
    const { ok, value } = { value: null, ...sitting.topup(id, 60, 1, { finds: { budgets, rules: [rule("holds", { mode: "warn" })] } }) };
    expect(ok).toBe(true);
    expect(value).toMatchObject({
      warnings: [{ code: "rule_forbids" }],
      advice: [{ code: "rule_warns" }, { code: "budget_threshold", details: { threshold: 0.6, spent_usd: "0.00006" } }],
    });
    expect(sitting.ledger.at(-1)?.entry).toMatchObject({ warnings: [{ code: "rule_forbids", rule: "r" }], alerts: [{ threshold: 0.6 }] });
  });

  it("is paid from where the call was: a call that a budget pays is not wound down, however much it needs", () => {
    const windDown = { scope: "wind_down", limitMicroUsd: usd(500) } as const;
    const sitting = new Sitting();
    const budgets = [SESSION];
    const { id } = sitting.decide({ costs: 50, finds: { budgets, windDown } });
    expect(sitting.topup(id, 101, 1, { finds: { budgets, windDown } })).toMatchObject({
      value: { verdict: "deny", reason: { code: "session_budget_exceeded", rule: "/budgets/session" } },
    });
    // A call that the reserve pays asks no budget, and obeys all else.
    const { id: reserved } = sitting.decide({ costs: 60, finds: { budgets, windDown } });
    expect(sitting.book.windDown.pendingMicroUsd).toBe(60);
    expect(sitting.topup(reserved, 70, 1, { finds: { budgets, windDown } })).toMatchObject({ value: { verdict: "allow" } });
    expect(sitting.topup(reserved, 80, 1, { finds: { budgets, windDown, ...HOLD } })).toMatchObject({
      value: { verdict: "deny", reason: { code: "approval_required" } },
    });
    expect(sitting.topup(reserved, 80, 1, { finds: { budgets, windDown, deniedBy: "pay" } })).toMatchObject({
      value: { verdict: "deny", reason: { code: "action_denied" } },
    });
  });
});

it.each<readonly [string, BudgetLimit]>([
  ["action", { scope: "action", pattern: "pay", limitMicroUsd: usd(10) }],
  ["run", { scope: "run", limitMicroUsd: usd(10) }],
  ["session", { scope: "session", limitMicroUsd: usd(10) }],
  ["agent", { scope: "agent", window: "day", limitMicroUsd: usd(10) }],
  ["tenant", { scope: "tenant", window: "total", limitMicroUsd: usd(10) }],
])("what the %s's budget has not is paid from the reserve for winding down, and from no account beside", (_, limit) => {
  const sitting = new Sitting();
  if (limit.scope === "agent" || limit.scope === "tenant") sitting.give(limit, 10);
  const { decision, happened } = concluded(
    sitting,
    sitting.ask({ costs: 20, finds: { budgets: [limit], windDown: { scope: "wind_down", limitMicroUsd: usd(20) } } }),
  );
  expect(decision).toMatchObject({ verdict: "allow", advice: [{ code: "wind_down" }], warnings: [] });
  expect(decision.budgets.find(({ scope }) => scope === "wind_down")).toMatchObject({ limitMicroUsd: 20, pendingMicroUsd: 20 });
  expect(only(ofKind(happened, "money"))).toMatchObject({ fund: "wind_down", delta: { pending: 20 } });
  expect([sitting.book.total.pendingMicroUsd, sitting.book.windDown.pendingMicroUsd]).toEqual([0, 20]);
  // What is refused for another reason is not wound down.
  expect(sitting.judge({ costs: 0, finds: { deniedBy: "pay", windDown: { scope: "wind_down", limitMicroUsd: usd(100) } } }).verdict).toBe("deny");
});
