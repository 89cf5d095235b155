import { describe, expect, it } from "vitest";
import {
  type Answer,
  type Answering,
  APPROVAL_STATUSES,
  type Approval,
  type ApprovalStatus,
  type Approver,
  actionDigest,
  answer,
  askedOf,
  cancel,
  cancelAll,
  consume,
  isOpen,
  noteSeen,
  type PersonsAnswer,
  quorumOf,
  respond,
} from "../../src/core/approvals.ts";
import type { Entry } from "../../src/core/entry.ts";
import type { RunId } from "../../src/core/ids.ts";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { Chain } from "../../src/core/policy/findings.ts";
import type { Redaction } from "../../src/core/redact.ts";
import type { ActionRequest, Principal } from "../../src/core/request.ts";
import type { Turn } from "../../src/core/turn.ts";
import { sha256 } from "./sha256.ts";
import { EXPIRES_AT, POLICY, PRINCIPAL, type Put, RUN, Sitting } from "./sitting.ts";

const usd = microUsdOf;
const TERM_MS = 3_600_000;
const HIDES: Redaction = { storeInputs: "full", storeOutputs: "full", keys: ["pin"], detect: ["email"] };

const named = (subject: string, kind: Principal["kind"] = "human"): Principal => ({ ...PRINCIPAL, subject, kind });
const person = (subject: string, more: Partial<Approver> = {}): Approver => ({ principal: named(subject), scopes: [], owners: [], ...more });
const ANN = person("ann");
const BEN = person("ben");
const CY = person("cy");
const BOT = named("bot", "agent");

/** A request of which nothing is said beside what it does. */
const NO_FACTS = { tags: [], riskLevel: null, confidence: null, model: null, sources: [], parents: [] } as const;

const chainOf = (more: Partial<Chain> = {}): Chain => ({ needed: 1, groups: [], fourEyes: false, ...more });

/** One approval, with what became of it: what is over stays here, as it does in the store. */
class Desk {
  readonly sitting = new Sitting();
  approval: Approval;
  readonly first: Approval;

  constructor(put: Put = {}) {
    this.first = this.sitting.held({ request: { inputs: { n: 1 }, ...put.request }, ...put });
    this.approval = this.first;
    this.sitting.ledger.splice(0);
  }

  turn<T>(now: number, act: (turn: Turn) => T): T {
    return this.sitting.turn(now, (turn) => {
      const result = act(turn);
      for (const effect of turn.effects) if (effect.kind === "approval" && effect.approval.id === this.approval.id) this.approval = effect.approval;
      return result;
    });
  }

  say(by: Approver, said: Partial<PersonsAnswer> = {}, now = 10): Answering {
    const { digest } = this.approval;
    return this.turn(now, (turn) => answer(turn, this.approval, by, { decision: "approve", note: null, digest, edits: null, ...said }));
  }

  respond(by: Principal, text: string, now = 20): Answering {
    return this.turn(now, (turn) => respond(turn, this.approval, by, text));
  }

  cancel(by: Principal, mayApprove: boolean, why: string | null = null, now = 20): Answering {
    return this.turn(now, (turn) => cancel(turn, this.approval, by, mayApprove, why));
  }

  /** As it stands, with parts changed that only a long story would change. */
  put(more: Partial<Approval>): this {
    this.approval = { ...this.approval, ...more };
    this.sitting.book.approvals.set(this.approval.id, this.approval);
    return this;
  }

  get last(): Entry | undefined {
    return this.sitting.ledger.at(-1)?.entry;
  }

  /** What the record says of it now, in the words that every note of it has, and others. */
  note(event: string, says: object): object {
    return { ...says, event, approval: this.approval.id, status: this.approval.status, action_digest: this.approval.digest };
  }

  /** That nothing came of it but a note of who tried what. */
  expectRefused(told: Answering, decision: string, code: string, detail: string, before: Approval): void {
    expect(told).toMatchObject({ ok: false, error: { code, detail } });
    expect(this.approval).toBe(before);
    expect(this.last?.details).toEqual(this.note("refused", { decision, why: code }));
  }
}

const given = (subject: string, decision: Answer["decision"], more: Partial<Answer> = {}): Answer => ({
  subject,
  decision,
  note: null,
  at: 10,
  named: null,
  approved: null,
  edits: null,
  groups: [],
  ...more,
});

describe("who answers", () => {
  const GROUPS: Chain["groups"] = [
    { subjects: ["ann", "cy"], scopes: [] },
    { subjects: ["dan"], scopes: ["ops", "sec"] },
  ];
  const ASKER = "Whoever asks for an action does not approve it.";
  const AMONG = "The policy names who may approve this, and you are not among them.";

  it.each<readonly [string, Partial<Chain>, Approver, string, string]>([
    ["an agent", {}, { ...ANN, principal: named("ann", "agent") }, "scope_insufficient", "Only a person answers an approval."],
    ["a service", {}, { ...ANN, principal: named("ann", "service") }, "scope_insufficient", "Only a person answers an approval."],
    ["a person of the agent's name", {}, person("bot"), "self_approval", ASKER],
    ["whoever asked", {}, person("olga"), "self_approval", ASKER],
    ["whoever asked, of a group", { groups: [{ subjects: ["olga"], scopes: [] }] }, person("olga"), "self_approval", ASKER],
    [
      "the owner, where others must",
      { fourEyes: true },
      person("ann", { owners: ["eve", "ann"] }),
      "self_approval",
      "The policy wants somebody other than the agent's owner.",
    ],
    [
      "anybody, where others must and it cannot be read who owns it",
      { fourEyes: true },
      person("ann", { owners: null }),
      "self_approval",
      "Who owns the agent cannot be read, and the policy wants somebody else.",
    ],
    ["a person of no group", { groups: GROUPS }, person("eve"), "scope_insufficient", AMONG],
    ["a person of another scope", { groups: GROUPS }, person("eve", { scopes: ["op", "subjects"] }), "scope_insufficient", AMONG],
  ])("is not %s", (_, chain, by, code, detail) => {
    for (const decision of ["approve", "reject", "request_info"] as const) {
      const desk = new Desk({ finds: { chain: chainOf(chain) }, around: { principal: named("olga") } });
      desk.expectRefused(desk.say(by, { decision }), decision, code, detail, desk.first);
      expect(desk.last?.principal).toMatchObject({ kind: by.principal.kind, subject: by.principal.subject });
    }
  });

  it.each<readonly [string, Partial<Chain>, Approver, readonly number[]]>([
    ["anybody, where nobody is named", {}, ANN, []],
    ["the owner, where nobody minds", {}, person("ann", { owners: ["ann"] }), []],
    ["anybody, where nobody minds who owns it", {}, person("ann", { owners: null }), []],
    ["another than the owner", { fourEyes: true }, person("ann", { owners: ["eve"] }), []],
    ["one who is named", { needed: 9, groups: GROUPS }, person("cy"), [0]],
    ["one who has a scope", { needed: 9, groups: GROUPS }, person("eve", { scopes: ["x", "sec"] }), [1]],
    ["one who is both", { needed: 9, groups: GROUPS }, person("ann", { scopes: ["ops"] }), [0, 1]],
  ])("is %s", (_, chain, by, groups) => {
    const desk = new Desk({ finds: { chain: chainOf(chain) } });
    expect(desk.say(by)).toMatchObject({ ok: true, value: { replayed: false } });
    expect(desk.approval.answers).toMatchObject([{ subject: by.principal.subject, groups }]);
  });
});

describe("a yes", () => {
  it("is kept and on record, and from then on it may be used for as long as it could be waited for", () => {
    const desk = new Desk({ finds: { redaction: HIDES, holdTimeoutMs: 1_000 } });
    const { digest } = desk.first;
    const told = desk.say(ANN, { note: "as a@example.com said" }, 700);
    const note = "as [redacted:email] said";
    const approved: Approval = {
      ...desk.first,
      status: "approved",
      answers: [given("ann", "approve", { note, at: 700, named: digest, approved: digest })],
      answeredAt: 700,
      expiresAt: 1_700,
    };
    expect(told).toEqual({ ok: true, value: { approval: approved, replayed: false } });
    expect(desk.sitting.book.approvals.get(approved.id)).toEqual(approved);
    expect(desk.last).toMatchObject({
      kind: "approval",
      run_id: RUN,
      action: "pay",
      decision_id: approved.decision,
      policy: POLICY,
      approval: { id: approved.id, expires_at: "1970-01-01T00:00:01.700Z" },
      principal: { kind: "human", subject: "ann" },
      payload_digest: null,
      details: desk.note("approved", { note, approved: 1, needed: 1, edited: false, waited_ms: 700 }),
    });
    expect(Object.keys(desk.last?.details ?? {})).toEqual(Object.keys(desk.last?.details ?? {}).sort());
  });

  it("may be used no longer than the session lives", () => {
    const desk = new Desk({ finds: { holdTimeoutMs: EXPIRES_AT } });
    desk.say(ANN, {}, 1);
    expect(desk.approval.expiresAt).toBe(EXPIRES_AT);
  });

  it("of as many people as are wanted is wanted, each counted once; until then it waits as before", () => {
    const desk = new Desk({ finds: { chain: chainOf({ needed: 2 }) } });
    desk.say(ANN);
    expect(desk.approval).toMatchObject({ status: "pending", answeredAt: null, expiresAt: desk.first.expiresAt });
    expect(desk.last?.details).toEqual(desk.note("answered", { note: null, approved: 1, needed: 2, edited: false, waited_ms: 10 }));
    const before = desk.approval;
    const entries = desk.sitting.ledger.length;
    expect(desk.say(ANN)).toEqual({ ok: true, value: { approval: before, replayed: true } });
    expect(desk.sitting.ledger).toHaveLength(entries);
    for (const said of [{ note: "again" }, { edits: { inputs: {} } }, { decision: "reject" }, { decision: "request_info" }] as const)
      desk.expectRefused(
        desk.say(ANN, said),
        "decision" in said ? said.decision : "approve",
        "approval_closed",
        "You have answered this before, and differently.",
        before,
      );
    desk.say(BEN);
    expect(desk.approval.status).toBe("approved");
  });

  it("of each group is wanted", () => {
    const groups = [
      { subjects: ["ann"], scopes: [] },
      { subjects: ["ben", "cy"], scopes: [] },
    ];
    const desk = new Desk({ finds: { chain: chainOf({ groups }) } });
    desk.say(BEN);
    desk.say(CY);
    expect(desk.approval.status).toBe("pending");
    expect(quorumOf(desk.approval)).toEqual({ approved: 2, satisfied: [false, true] });
    desk.say(ANN);
    expect(desk.approval.status).toBe("approved");
  });

  it("to something else than what is asked is none", () => {
    const desk = new Desk();
    const told = desk.say(ANN, { digest: `sha-256:${"0".repeat(64)}` });
    desk.expectRefused(told, "approve", "body_invalid", "What you name is not what is asked for.", desk.first);
    expect(told).toMatchObject({
      error: { issues: [{ pointer: "/action_digest", message: "is not the digest of the request as it stands; look at it again" }] },
    });
  });

  it.each(["approved", "rejected", "expired", "cancelled", "consumed"] as const)("comes too late to what is %s", (status) => {
    const desk = new Desk().put({ status });
    const before = desk.approval;
    desk.expectRefused(desk.say(ANN), "approve", "approval_closed", `The approval is ${status}.`, before);
  });
});

describe("a no", () => {
  it("ends it at once, whatever was said before, and is on record", () => {
    const desk = new Desk({ finds: { chain: chainOf({ needed: 9 }) } });
    desk.say(ANN);
    desk.say(BEN, { decision: "reject", note: "no" }, 400);
    expect(desk.approval).toMatchObject({ status: "rejected", answeredAt: 400, expiresAt: desk.first.expiresAt, edits: null });
    expect(desk.approval.answers[1]).toEqual(given("ben", "reject", { note: "no", at: 400, named: desk.first.digest }));
    expect(desk.last?.details).toEqual(desk.note("rejected", { note: "no", waited_ms: 400 }));
  });

  it("said twice is said once; another answer is refused", () => {
    const desk = new Desk();
    desk.say(ANN, { decision: "reject", note: "no" });
    const before = desk.approval;
    expect(desk.say(ANN, { decision: "reject", note: "no" })).toEqual({ ok: true, value: { approval: before, replayed: true } });
    const differently = "You have answered this before, and differently.";
    desk.expectRefused(desk.say(ANN, { decision: "reject", note: "never" }), "reject", "approval_closed", differently, before);
    desk.expectRefused(desk.say(ANN), "approve", "approval_closed", differently, before);
    desk.expectRefused(desk.say(BEN), "approve", "approval_closed", "The approval is rejected.", before);
  });
});

describe("asking for more, and answering", () => {
  const ask = (desk: Desk, note: string | null = "why?", by = ANN) => desk.say(by, { decision: "request_info", note });

  it("go to and fro, each on record, redacted, and the question stands until it is answered", () => {
    const desk = new Desk({ finds: { redaction: HIDES } });
    ask(desk, "why a@example.com?");
    expect(desk.approval).toMatchObject({ status: "info_requested", answeredAt: null });
    expect(desk.last?.details).toEqual(desk.note("info_requested", { note: "why [redacted:email]?" }));
    expect(desk.respond(BOT, "for b@example.com")).toMatchObject({ ok: true, value: { replayed: false } });
    expect(desk.approval).toMatchObject({ status: "pending" });
    expect(desk.approval.answers).toEqual([
      given("ann", "request_info", { note: "why [redacted:email]?", named: desk.first.digest }),
      given("bot", "respond", { note: "for [redacted:email]", at: 20 }),
    ]);
    expect(desk.last?.details).toEqual(desk.note("responded", { note: "for [redacted:email]" }));
    expect(desk.last?.principal).toMatchObject({ kind: "agent", subject: "bot" });
  });

  it("said twice are said once, but the same may be asked again once it was answered", () => {
    const desk = new Desk();
    ask(desk);
    expect(ask(desk)).toMatchObject({ value: { replayed: true } });
    expect(ask(desk, "how?")).toMatchObject({ value: { replayed: false } });
    desk.respond(BOT, "so");
    const entries = desk.sitting.ledger.length;
    expect(desk.respond(BOT, "so")).toMatchObject({ ok: true, value: { approval: desk.approval, replayed: true } });
    expect(desk.sitting.ledger).toHaveLength(entries);
    expect(ask(desk, "how?")).toMatchObject({ value: { replayed: false } });
    expect(desk.approval.status).toBe("info_requested");
    expect(desk.respond(BOT, "so")).toMatchObject({ value: { replayed: false } });
    expect(desk.approval.answers.map(({ decision }) => decision)).toEqual(["request_info", "request_info", "respond", "request_info", "respond"]);
  });

  it("others may approve meanwhile, and who asked may, too", () => {
    const desk = new Desk({ finds: { chain: chainOf({ needed: 2 }) } });
    ask(desk);
    desk.say(BEN);
    expect(desk.approval.status).toBe("info_requested");
    desk.say(ANN);
    expect(desk.approval.status).toBe("approved");
  });

  it.each([
    ["the agent", BOT, true],
    ["whoever asked", named("olga"), true],
    ["a service of the same name as whoever asked", named("olga", "service"), false],
    ["another person", named("ann"), false],
    ["another agent", named("bee", "agent"), false],
    ["a person of the agent's name", named("bot"), false],
  ] as const)("are answered by %s: %s", (_, by, may) => {
    const desk = new Desk({ around: { principal: named("olga") } });
    ask(desk);
    const before = desk.approval;
    const told = desk.respond(by, "so");
    if (may) expect(told).toMatchObject({ ok: true });
    else desk.expectRefused(told, "respond", "scope_insufficient", "Whoever asked answers, or the agent.", before);
  });

  it.each([
    ["pending", "Nobody has asked for more."],
    ["approved", "The approval is approved."],
    ["rejected", "The approval is rejected."],
  ] as const)("are not answered while it is %s", (status, detail) => {
    const desk = new Desk().put({ status });
    desk.expectRefused(desk.respond(BOT, "so"), "respond", "approval_closed", detail, desk.approval);
  });

  it("are not taken for the same where somebody else says it, or something else was said", () => {
    const desk = new Desk({ around: { principal: named("olga") } });
    ask(desk);
    desk.respond(named("olga"), "so");
    const before = desk.approval;
    desk.expectRefused(desk.respond(BOT, "so"), "respond", "approval_closed", "Nobody has asked for more.", before);
    desk.expectRefused(desk.respond(named("olga"), "no"), "respond", "approval_closed", "Nobody has asked for more.", before);
    // A person's note is no answer of the agent's, though it may read the same.
    const other = new Desk({ around: { principal: named("olga") } }).put({ answers: [given("olga", "request_info", { note: "so" })] });
    expect(other.respond(named("olga"), "so").ok).toBe(false);
  });

  it.each<readonly [string, readonly Answer[], boolean]>([
    ["49 answers", Array.from({ length: 49 }, () => given("x", "respond")), false],
    ["50 answers", Array.from({ length: 50 }, () => given("x", "respond")), true],
    [
      "49,999 characters",
      [given("x", "respond", { note: "n".repeat(49_000) }), given("x", "respond"), given("x", "respond", { note: "n".repeat(999) })],
      false,
    ],
    ["50,000 characters", [given("x", "respond", { note: "n".repeat(49_000) }), given("x", "respond", { note: "n".repeat(1_000) })], true],
  ])("end when much was said: %s", (_, answers, isFull) => {
    const full = "Too much was said about this already: approve it as it is, reject it, or cancel it.";
    const desks = {
      request_info: (desk: Desk) => desk.say(ANN, { decision: "request_info" }),
      approve: (desk: Desk) => desk.say(ANN, { edits: { inputs: {} } }),
      respond: (desk: Desk) => desk.put({ status: "info_requested" }).respond(BOT, "so"),
    };
    for (const [decision, say] of Object.entries(desks)) {
      const desk = new Desk().put({ answers });
      const told = say(desk);
      if (isFull) desk.expectRefused(told, decision, "approval_closed", full, desk.approval);
      else expect(told.ok).toBe(true);
      expect(desk.approval.answers.length).toBe(answers.length + (isFull ? 0 : 1));
    }
    expect(new Desk().put({ answers }).say(ANN).ok).toBe(true);
    expect(new Desk().put({ answers }).say(ANN, { decision: "reject" }).ok).toBe(true);
    expect(new Desk().put({ answers }).cancel(BOT, false).ok).toBe(true);
  });
});

describe("taking it back", () => {
  it.each([
    ["the agent", BOT, false, true],
    ["whoever asked", named("olga"), false, true],
    ["a person who may approve", named("ann"), true, true],
    ["a person who may not", named("ann"), false, false],
    ["another agent, whatever it may", named("bee", "agent"), true, false],
    ["a service, whatever it may", named("olga", "service"), true, false],
  ] as const)("is done by %s", (_, by, mayApprove, may) => {
    const desk = new Desk({ around: { principal: named("olga") } });
    const told = desk.cancel(by, mayApprove);
    if (!may)
      return desk.expectRefused(told, "cancel", "scope_insufficient", "Whoever asked takes it back, or a person who may approve.", desk.first);
    expect(told).toMatchObject({ ok: true, value: { replayed: false, approval: { status: "cancelled" } } });
    expect(desk.approval).toEqual({ ...desk.first, status: "cancelled", answers: [given(by.subject, "cancel", { at: 20 })] });
    expect(desk.last?.details).toEqual(desk.note("cancelled", { note: null }));
    expect(desk.last?.principal).toMatchObject({ subject: by.subject });
  });

  it("is told with why, redacted, and done once", () => {
    const desk = new Desk({ finds: { redaction: HIDES } });
    desk.cancel(BOT, false, "a@example.com left");
    expect(desk.approval.answers).toMatchObject([{ note: "[redacted:email] left" }]);
    expect(desk.last?.details).toMatchObject({ note: "[redacted:email] left" });
    const before = desk.approval;
    const entries = desk.sitting.ledger.length;
    expect(desk.cancel(BOT, false)).toEqual({ ok: true, value: { approval: before, replayed: true } });
    expect(desk.sitting.ledger).toHaveLength(entries);
  });

  it.each(APPROVAL_STATUSES.filter((status) => status !== "cancelled"))("is possible until it is over: %s", (status) => {
    const desk = new Desk().put({ status });
    const told = desk.cancel(BOT, false);
    if (status === "pending" || status === "info_requested" || status === "approved") expect(told.ok).toBe(true);
    else desk.expectRefused(told, "cancel", "approval_closed", `The approval is ${status}.`, desk.approval);
  });
});

describe("what a person edits", () => {
  const resource = { type: "order", id: "o1" };
  const request = { inputs: { n: 1 }, resource };

  it.each<readonly [string, PersonsAnswer["edits"], object, number]>([
    ["the inputs", { inputs: { n: 2 } }, { inputs: { n: 2 }, resource }, 5],
    ["the resource", { resource: { type: "order", id: "o2" } }, { inputs: { n: 1 }, resource: { type: "order", id: "o2" } }, 5],
    ["the resource away", { resource: null }, { inputs: { n: 1 }, resource: null }, 5],
    ["the sum", { estimateMicroUsd: usd(3) }, { inputs: { n: 1 }, resource }, 3],
    ["the sum to nothing", { estimateMicroUsd: usd(0) }, { inputs: { n: 1 }, resource }, 0],
    ["nothing", {}, { inputs: { n: 1 }, resource }, 5],
  ])("is what is approved: %s", (_, edits, after, costs) => {
    const desk = new Desk({ costs: 5, request });
    desk.say(ANN, { edits });
    const asked = askedOf(sha256, { ...NO_FACTS, ...request, ...after }, usd(costs));
    const digest = actionDigest(sha256, desk.sitting.book, RUN, "pay", asked);
    expect(desk.approval).toMatchObject({
      status: "approved",
      asked,
      digest,
      edits,
      answers: [{ named: desk.first.digest, approved: digest, edits: `sha-256:${sha256(canonicalJson(edits))}` }],
    });
    expect(desk.last?.details).toMatchObject({ event: "approved", edited: true, approved: 1 });
    // What is allowed then is this, and not what was asked first.
    const put = (more: object, sum: number): Put => ({
      costs: sum,
      request: { ...request, ...more, approval: desk.approval.id },
      finds: { hold: { rule: "/approvals/actions" } },
    });
    expect(desk.sitting.judge(put(after, costs), 11).verdict).toBe("allow");
    if (digest !== desk.first.digest) expect(desk.sitting.judge(put({}, 5), 11).reason.code).toBe("approval_mismatch");
  });

  it("is approved anew by those who approved what it was; what several edited adds up", () => {
    const desk = new Desk({ costs: 5, request, finds: { chain: chainOf({ needed: 2 }) } });
    desk.say(ANN);
    desk.say(BEN, { edits: { inputs: { n: 2 } } });
    expect(desk.approval).toMatchObject({ status: "pending", edits: { inputs: { n: 2 } } });
    expect(desk.last?.details).toMatchObject({ event: "answered", approved: 1, edited: true });
    // The same message once more is taken once, though it names what was.
    expect(desk.say(ANN, { digest: desk.first.digest })).toMatchObject({ ok: true, value: { replayed: true } });
    expect(desk.say(BEN, { digest: desk.first.digest, edits: { inputs: { n: 2 } } })).toMatchObject({ ok: true, value: { replayed: true } });
    expect(desk.say(BEN, { digest: desk.first.digest, edits: { inputs: { n: 3 } } })).toMatchObject({ ok: false });
    desk.say(CY, { edits: { estimateMicroUsd: usd(1) } });
    expect(desk.approval.edits).toEqual({ inputs: { n: 2 }, estimateMicroUsd: 1 });
    expect(quorumOf(desk.approval)).toEqual({ approved: 1, satisfied: [] });
    desk.say(ANN);
    expect(desk.approval).toMatchObject({ status: "approved", edits: { inputs: { n: 2 }, estimateMicroUsd: 1 } });
    // Who approved something that was edited since has not approved this, and may not approve it when it is done.
    for (const status of ["approved", "consumed"] as const) {
      desk.put({ status });
      expect(desk.say(BEN, { decision: "reject" })).toMatchObject({ error: { detail: "You have answered this before, and differently." } });
    }
    desk.put({ status: "expired" });
    expect(desk.say(BEN, { decision: "reject" })).toMatchObject({ error: { detail: "The approval is expired." } });
  });

  it("is recorded as the record keeps inputs, and not at all where it keeps none", () => {
    const inputs = { pin: 7, to: "a@example.com" };
    const shown = { pin: "[redacted]", to: "[redacted:email]" };
    for (const [redaction, wanted] of [
      [HIDES, shown],
      [null, inputs],
      [{ ...HIDES, storeInputs: "none" }, null],
      [{ ...HIDES, storeInputs: "digest" }, null],
    ] as const) {
      const desk = new Desk({ finds: { redaction } });
      desk.say(ANN, { edits: { inputs } });
      expect(desk.sitting.ledger.at(-1)?.payload?.inputs ?? null).toEqual(wanted);
      // While it waits to be used the agent needs it as it was written.
      expect(desk.approval.edits).toEqual({ inputs });
      desk.cancel(BOT, false);
      expect(desk.approval.edits).toEqual({ inputs: wanted });
    }
  });

  it.each<readonly [string, PersonsAnswer["edits"], object]>([
    [
      "a resource, redacted",
      { resource: { type: "b@example.com", id: "a@example.com" } },
      { resource: { type: "[redacted:email]", id: "[redacted:email]" } },
    ],
    ["no resource", { resource: null }, {}],
    ["a sum", { estimateMicroUsd: usd(0) }, { estimateMicroUsd: 0 }],
  ])("is kept, once it is over, as the record is: %s", (_, edits, kept) => {
    const desk = new Desk({ request, finds: { redaction: HIDES } });
    desk.say(ANN, { edits });
    expect(desk.sitting.ledger.at(-1)?.payload).toBeNull();
    desk.cancel(BOT, false);
    expect(desk.approval.edits).toStrictEqual(kept);
  });
});

describe("what else is on record of it", () => {
  it("that people were asked, who may answer, and until when", () => {
    const sitting = new Sitting();
    const groups = [{ subjects: ["ann"], scopes: ["ops"] }];
    const approval = sitting.held({ finds: { chain: chainOf({ needed: 2, groups, fourEyes: true }) } }, 5);
    const { entry } = sitting.ledger.at(-1) ?? {};
    expect(entry?.principal).toMatchObject({ kind: "agent", subject: "bot" });
    expect(entry?.details).toEqual({
      event: "requested",
      approval: approval.id,
      status: "pending",
      action_digest: approval.digest,
      needed: 2,
      groups,
      four_eyes: true,
      expires_at: new Date(5 + TERM_MS).toISOString(),
    });
  });

  it("that a person has seen it, once for each, and nobody but people", () => {
    const desk = new Desk();
    const see = (by: Principal, now = 30) => desk.turn(now, (turn) => noteSeen(turn, desk.approval, by));
    see(named("ann"));
    expect(desk.approval).toEqual({ ...desk.first, seen: [{ subject: "ann", at: 30 }] });
    expect(desk.last?.details).toEqual(desk.note("shown", {}));
    const before = desk.approval;
    expect([see(named("ann"), 40), see(BOT), see(named("x", "service"))]).toEqual([before, before, before]);
    expect(desk.sitting.ledger).toHaveLength(1);
    expect(see(named("ben")).seen).toHaveLength(2);
    desk.put({ status: "rejected" });
    expect(see(named("cy"))).toBe(desk.approval);
    for (const [count, seen] of [
      [99, 100],
      [100, 100],
    ] as const)
      expect(
        desk.put({ status: "pending", seen: Array.from({ length: count }, (_, place) => ({ subject: `p${place}`, at: 0 })) }) &&
          see(named("dan")).seen,
      ).toHaveLength(seen);
  });

  it("who approved what was used, each once, and not who approved what it was before or said anything else", () => {
    const desk = new Desk();
    const { digest } = desk.first;
    desk.put({
      status: "approved",
      answers: [
        given("old", "approve", { approved: `sha-256:${"0".repeat(64)}` }),
        given("ann", "request_info", { approved: digest }),
        given("ben", "approve", { approved: digest }),
        given("cy", "approve", { approved: digest }),
        given("ben", "approve", { approved: digest }),
      ],
      edits: { inputs: { pin: 1 } },
      redaction: HIDES,
    });
    const by = "dec_00000000-0000-7000-8000-000000000007";
    desk.turn(30, (turn) => consume(turn, desk.approval, by, BOT));
    expect(desk.approval).toMatchObject({ status: "consumed", usedBy: by, edits: { inputs: { pin: "[redacted]" } } });
    expect(desk.last?.details).toEqual(desk.note("consumed", { used_by: by, approved_by: ["ben", "cy"] }));
    expect(desk.last?.principal).toMatchObject({ subject: "bot" });
  });

  it.each(["pending", "info_requested", "approved"] as const)("that nobody answered, or used it, in time: %s", (was) => {
    const desk = new Desk().put({ status: was });
    const later = desk.sitting.held({ finds: { holdTimeoutMs: 2 * TERM_MS } });
    desk.sitting.ledger.splice(0);
    desk.turn(TERM_MS - 1, () => undefined);
    expect([desk.approval.status, desk.sitting.ledger.length]).toEqual([was, 0]);
    desk.turn(TERM_MS, () => undefined);
    expect(desk.approval.status).toBe("expired");
    expect(desk.sitting.ledger).toHaveLength(1);
    expect(desk.last).toMatchObject({ principal: null, details: desk.note("expired", { was }) });
    // What is over leaves the book when the turn that ended it is over, and what waits longer runs out in its own time.
    expect([...desk.sitting.book.approvals.keys()].includes(desk.approval.id)).toBe(true);
    desk.turn(2 * TERM_MS - 1, () => undefined);
    expect([...desk.sitting.book.approvals.keys()]).toEqual([later.id]);
    desk.turn(2 * TERM_MS, () => undefined);
    desk.turn(2 * TERM_MS, () => undefined);
    expect(desk.sitting.book.approvals.size).toBe(0);
    expect(desk.sitting.ledger).toHaveLength(2);
  });

  it("that all of it ended with its session, and what was over before did not", () => {
    const sitting = new Sitting();
    const [one, two, three] = [sitting.held(), sitting.held(), sitting.held()];
    sitting.book.approvals.set(two.id, { ...two, status: "approved" });
    sitting.ledger.splice(0);
    sitting.turn(1, (turn) => {
      sitting.book.approvals.set(three.id, { ...three, status: "rejected" });
      cancelAll(turn, null);
      expect([...turn.book.approvals.values()].map(({ status }) => status)).toEqual(["cancelled", "cancelled", "rejected"]);
      expect(turn.effects.flatMap((effect) => (effect.kind === "approval" ? [effect.card] : []))).toEqual([null, null]);
    });
    expect(sitting.ledger.map(({ entry }) => [entry.details?.approval, entry.details?.event, entry.details?.note, entry.principal])).toEqual(
      [one, two].map(({ id }) => [id, "cancelled", "The session was closed.", null]),
    );
  });

  it("that what waited in a run ended with that run, and nothing else did", () => {
    const sitting = new Sitting();
    const [one, two] = [sitting.held(), sitting.held()];
    sitting.book.approvals.set(two.id, { ...two, run: "run_00000000-0000-7000-8000-000000000002" });
    sitting.ledger.splice(0);
    sitting.turn(1, (turn) => {
      cancelAll(turn, one.run);
      expect([...turn.book.approvals.values()].map(({ status }) => status)).toEqual(["cancelled", "pending"]);
    });
    expect(sitting.ledger.map(({ entry }) => [entry.details?.approval, entry.details?.note])).toEqual([[one.id, "The run was closed."]]);
  });
});

it.each(APPROVAL_STATUSES.map((status): [ApprovalStatus, boolean] => [status, ["pending", "info_requested", "approved"].includes(status)]))(
  "what is %s may still change: %s",
  (status, open) => {
    expect(isOpen({ ...new Desk().first, status })).toBe(open);
  },
);

it("a request is known by everything that it is of, whatever stands in it, and by nothing else", () => {
  const first = {
    tenant: "t",
    agent: "bot",
    session: "ses_00000000-0000-7000-8000-000000000001",
    run: RUN,
    action: "pay",
    inputs: { a: 1, b: 2 },
    costs: 5,
    resource: null,
    ...NO_FACTS,
  } as const;
  interface Of extends Pick<ActionRequest, keyof typeof NO_FACTS> {
    readonly tenant: string;
    readonly agent: string;
    readonly session: `ses_${string}`;
    readonly run: RunId;
    readonly action: string;
    readonly inputs: JsonValue | undefined;
    readonly costs: number;
    readonly resource: ActionRequest["resource"];
  }
  const of = (more: Partial<Of> = {}) => {
    const { tenant, agent, session, run, action, costs, ...request }: Of = { ...first, ...more };
    return actionDigest(sha256, { tenant, agent, session }, run, action, askedOf(sha256, request, usd(costs)));
  };
  const others: readonly Partial<Of>[] = [
    { tenant: "u" },
    { agent: "bee" },
    { session: "ses_00000000-0000-7000-8000-000000000002" },
    { run: "run_00000000-0000-7000-8000-000000000002" },
    { action: "other" },
    { inputs: { a: 1, b: 3 } },
    { inputs: undefined },
    { inputs: null },
    { costs: 6 },
    { resource: { type: "x", id: "y" } },
    { resource: { type: "y", id: "x" } },
    { tags: ["a"] },
    { tags: ["a", "b"] },
    { tags: ["b", "a"] },
    { riskLevel: "low" },
    { riskLevel: "high" },
    { confidence: 0 },
    { confidence: 1 },
    { model: { name: "a" } },
    { model: { name: "a", provider: "b" } },
    { model: { name: "a", version: "b" } },
    { sources: [{ source: "a" }] },
    { sources: [{ source: "a", version: "b" }] },
    { sources: [{ source: "a" }, { source: "b" }] },
  ];
  expect(new Set([of(), ...others.map(of)]).size).toBe(others.length + 1);
  expect(of({ inputs: { b: 2, a: 1 } })).toBe(of());
  // A member that says nothing says what an absent one does.
  expect(of({ sources: [{ source: "a", version: undefined }] })).toBe(of({ sources: [{ source: "a" }] }));
  // Whoever is handed an approval can reckon this again.
  const facts = {
    confidence: 0.5,
    model: { name: "m", provider: null, version: "1" },
    risk_level: "low",
    sources: [{ source: "crm", version: null }],
    tags: ["dev"],
  };
  const bound = {
    action: "pay",
    agent: "bot",
    estimate_usd: "0.000005",
    facts_digest: `sha-256:${sha256(canonicalJson(facts))}`,
    inputs_digest: `sha-256:${sha256('{"a":1,"b":2}')}`,
    resource_digest: `sha-256:${sha256('{"id":"y","type":"x"}')}`,
    run: RUN,
    session: first.session,
    tenant: "t",
  };
  const said: Partial<Of> = {
    resource: { type: "x", id: "y" },
    confidence: 0.5,
    model: { name: "m", version: "1" },
    parents: ["dec_00000000-0000-7000-8000-000000000001"],
    riskLevel: "low",
    sources: [{ source: "crm" }],
    tags: ["dev"],
  };
  expect(of(said)).toBe(`sha-256:${sha256(canonicalJson(bound))}`);
});
