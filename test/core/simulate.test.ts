import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type Approval, answer, cancel, type Edits, noteSeen, type PersonsAnswer } from "../../src/core/approvals.ts";
import { decideAll } from "../../src/core/batch.ts";
import { type Book, type Effect, emptyBook } from "../../src/core/book.ts";
import type { Ask } from "../../src/core/conclude.ts";
import type { Payload } from "../../src/core/entry.ts";
import { grantLease } from "../../src/core/grant_lease.ts";
import { type ApprovalId, type DecisionId, idFromDigest, type LeaseId, type RunId, type SessionId } from "../../src/core/ids.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf, parseUsd, ZERO_USD } from "../../src/core/money.ts";
import { circumstancesOf } from "../../src/core/policy/circumstances.ts";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { policyDigest } from "../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../src/core/policy/document.ts";
import { evaluatePolicy } from "../../src/core/policy/evaluate.ts";
import { ExpressionMemory } from "../../src/core/policy/expressions.ts";
import { leaseFindings } from "../../src/core/policy/leasable.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { openingOf, readRecorded } from "../../src/core/policy/recorded.ts";
import { ASSUMPTIONS, CHANGES, looksAtStored, SessionSimulation, type Surroundings, Tally } from "../../src/core/policy/simulate.ts";
import { REASONS } from "../../src/core/reasons.ts";
import type { ActionRequest, CommitReport, Principal } from "../../src/core/request.ts";
import { commit, type DecisionRecord, extend, recordOf, release, topup } from "../../src/core/settle.ts";
import { settleLease } from "../../src/core/settle_lease.ts";
import { Trail } from "../../src/core/trail.ts";
import { happen, openTurn, record, signature, type Turn } from "../../src/core/turn.ts";
import { sha256 } from "./sha256.ts";

const START = Date.UTC(2026, 10, 22, 12);
const PRINCIPAL: Principal = { tokenId: idFromDigest("tok", sha256("tok")), tenant: "t", subject: "bot", kind: "agent" };
const SESSION: SessionId = idFromDigest("ses", sha256("ses"));
const RUN: RunId = idFromDigest("run", sha256("run 0"));
const TTL_MS = 3_600_000;

const written = (yaml: string): PolicyDocument => {
  const parsed = parsePolicy(yaml, "yaml");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.error));
  return parsed.value.document;
};

const refOf = (document: PolicyDocument) => ({ name: "p", version: 1, digest: policyDigest(sha256, document) });

const usd = (text: string) => {
  const amount = parseUsd(text);
  if (!amount.ok) throw new Error(amount.error.message);
  return amount.value;
};

interface Row {
  readonly canonical: string;
  readonly payload: Payload | null;
}

type Wanted = Partial<Omit<ActionRequest, "estimateMicroUsd">> & { readonly usd?: string };

/** A session as its object leads it: one book, turns, batches, and every entry that they leave. It shares no line with a play. */
class Live {
  readonly rows: Row[] = [];
  readonly attributes = new Map<string, { readonly [attribute: string]: JsonValue }>();
  now = START;
  principal = PRINCIPAL;
  document: PolicyDocument;
  #book: Book;
  readonly #records = new Map<DecisionId, DecisionRecord>();
  readonly #approvals = new Map<ApprovalId, Approval>();
  readonly #conditions = new ExpressionMemory();
  #compiled;
  #made = 0;

  constructor(yaml: string, budget: string | null = null) {
    this.document = written(yaml);
    this.#compiled = compilePolicy(this.document);
    const budgetMicroUsd = budget === null ? null : usd(budget);
    const opening = { tenant: "t", session: SESSION, agent: "bot", openedAt: START, expiresAt: START + TTL_MS, budgetMicroUsd, run: RUN };
    this.#book = emptyBook(opening, new Trail(null));
    this.#turn((turn) => {
      happen(turn, { kind: "run_opened", run: RUN });
      record(
        turn,
        "session",
        { run_id: RUN, principal: signature(PRINCIPAL), details: { event: "opened", labels: {}, budget_usd: budget, ttl_ms: TTL_MS } },
        null,
      );
    });
  }

  put(yaml: string): void {
    this.document = written(yaml);
    this.#compiled = compilePolicy(this.document);
  }

  wait(ms: number): this {
    this.now += ms;
    return this;
  }

  ask(action: string, wanted: Wanted = {}): DecisionId {
    const [id] = this.batch([{ action, ...wanted }], "independent");
    if (id === undefined) throw new Error("a decision was expected");
    return id;
  }

  /** `null` in `lease`: there is no policy; `stale`: the lease has lapsed. */
  batch(
    wanted: readonly (Wanted & { readonly action: string })[],
    semantics: "independent" | "all_or_nothing",
    lease?: "stale" | null,
  ): DecisionId[] {
    return this.#turn((turn) => {
      const members = wanted.map(({ usd: estimate, ...more }) => {
        const id = idFromDigest("dec", sha256(`decision ${this.#made++}`));
        const request: ActionRequest = { ...REQUEST, ...more, id, estimateMicroUsd: usd(estimate ?? "0") };
        const ref = refOf(this.document);
        const ask: Ask = {
          request,
          principal: this.principal,
          presented: this.#presented(request.approval),
          conditions: this.#conditions,
          budget: { steps: 5_000_000 },
          tenant: "heard",
          lease: { fresh: lease !== "stale", policy: lease === null ? null : ref, orders: [] },
          evaluation: lease === null ? null : { kind: "findings", findings: this.#findings(request, turn.now, false) },
        };
        return { ask, fingerprint: "", prior: null };
      });
      decideAll(turn, members, semantics);
      return members.map(({ ask }) => ask.request.id);
    });
  }

  commit(id: DecisionId, cost: string, more: Partial<CommitReport> = {}): this {
    const report: CommitReport = {
      outcome: "success",
      durationMs: null,
      outputs: undefined,
      error: null,
      usage: null,
      costMicroUsd: usd(cost),
      ...more,
    };
    this.#turn((turn) => commit(turn, this.#record(id), PRINCIPAL, report, "f"));
    return this;
  }

  release(id: DecisionId): this {
    this.#turn((turn) => release(turn, this.#record(id), PRINCIPAL, null, "f"));
    return this;
  }

  extend(id: DecisionId, ttlMs: number): this {
    this.#turn((turn) => extend(turn, this.#record(id), PRINCIPAL, ttlMs));
    return this;
  }

  topup(id: DecisionId, sum: string): this {
    this.#turn((turn) => {
      const decided = this.#record(id);
      const { matter } = decided;
      if (matter === null) return;
      const { action, run, tags, riskLevel } = matter;
      const request: ActionRequest = { ...REQUEST, ...matter.asked, id, action, run, tags, riskLevel, estimateMicroUsd: usd(sum) };
      const evaluation = { kind: "findings", findings: this.#findings(request, turn.now, true) } as const;
      const lease = { fresh: true, policy: refOf(this.document), orders: [] };
      topup(turn, decided, {
        request,
        principal: PRINCIPAL,
        presented: "none",
        conditions: this.#conditions,
        budget: { steps: 5_000_000 },
        tenant: "heard",
        lease,
        evaluation,
      });
    });
    return this;
  }

  /** The approval that a held request waits for. */
  approvalOf(id: DecisionId): ApprovalId {
    return this.#record(id).decision.approval?.id ?? expect.fail("a hold was expected");
  }

  /** A person says something of a hold. What is refused is on record, too. */
  answer(id: DecisionId, person: string, decision: PersonsAnswer["decision"] = "approve", edits: Edits | null = null): this {
    this.#turn((turn) => {
      const approval = this.#found(this.approvalOf(id));
      const { digest } = approval;
      noteSeen(turn, approval, personOf(person));
      const by = { principal: personOf(person), scopes: ["approvals:write"], owners: ["owner"] };
      return answer(turn, this.#found(approval.id), by, { decision, note: null, digest, edits });
    });
    return this;
  }

  cancel(id: DecisionId): this {
    this.#turn((turn) => cancel(turn, this.#found(this.approvalOf(id)), PRINCIPAL, false, null));
    return this;
  }

  /** Held, approved by these people, and asked again with that: the decision that uses it. */
  approved(action: string, wanted: Wanted = {}, people: readonly string[] = ["ann"]): DecisionId {
    const held = this.ask(action, wanted);
    for (const person of people) this.answer(held, person);
    return this.ask(action, { ...wanted, approval: this.approvalOf(held) });
  }

  #found(id: ApprovalId): Approval {
    return this.#book.approvals.get(id) ?? this.#approvals.get(id) ?? expect.fail("an approval was expected");
  }

  /** As the object knows it: the book has those that are open, the store the others. */
  #presented(id: ApprovalId | null): Ask["presented"] {
    if (id === null) return "none";
    const status = this.#approvals.get(id)?.status;
    return status === "rejected" || status === "cancelled" || status === "expired" || status === "consumed" ? status : "unknown";
  }

  /** A lease of 1 USD for anything, in the current run. */
  lease(): LeaseId {
    const policy = refOf(this.document);
    const request = {
      id: idFromDigest("lse", sha256(`lease ${this.#made++}`)),
      run: null,
      actions: ["*"],
      amountMicroUsd: usd("1"),
      ttlMs: 60_000,
      endsBy: START + TTL_MS,
    };
    const findings = leaseFindings(this.document, this.#compiled, policy, request);
    this.#turn((turn) =>
      grantLease(turn, {
        request,
        principal: PRINCIPAL,
        lease: { fresh: true, policy, orders: [] },
        evaluation: { kind: "findings", findings },
        allowed: true,
        tenant: "heard",
      }),
    );
    return request.id;
  }

  /** What was done with a lease. */
  tell(lease: LeaseId, action: string, cost: string): this {
    const id = idFromDigest("dec", sha256(`decision ${this.#made++}`));
    const request: ActionRequest = { ...REQUEST, id, action, estimateMicroUsd: usd(cost) };
    this.#turn((turn) => {
      const open = turn.book.leases.get(lease);
      if (open === undefined) throw new Error("unknown lease");
      const report = { outcome: "success", durationMs: null, outputs: undefined, error: null, usage: null, costMicroUsd: usd(cost) } as const;
      const findings = this.#findings(request, turn.now, false);
      settleLease(turn, open, {
        actions: [{ pointer: "/entries/0", request, report, decidedAt: null, fingerprint: "f", findings, known: null }],
        final: false,
        principal: PRINCIPAL,
      });
    });
    return this;
  }

  openRun(run: RunId): this {
    this.#turn((turn) => {
      happen(turn, { kind: "run_opened", run });
      record(turn, "session", { run_id: run, principal: signature(PRINCIPAL), details: { event: "run_opened" } }, null);
    });
    return this;
  }

  closeRun(run: RunId): this {
    this.#turn((turn) => {
      happen(turn, { kind: "run_closed", run });
      record(turn, "session", { run_id: run, principal: signature(PRINCIPAL), details: { event: "run_closed" } }, null);
    });
    return this;
  }

  close(): this {
    this.#turn((turn) => {
      happen(turn, { kind: "session_closed" });
      record(turn, "session", { principal: signature(PRINCIPAL), details: { event: "closed" } }, null);
    });
    return this;
  }

  state(id: DecisionId): DecisionRecord["state"] {
    return this.#record(id).state;
  }

  get currentRun(): RunId {
    return this.#book.currentRun;
  }

  #findings(request: ActionRequest, now: number, isTopup: boolean) {
    const stored = ({ type, id }: { readonly type: string; readonly id: string }) => this.attributes.get(`${type}/${id}`) ?? {};
    const around = circumstancesOf({
      tenant: "t",
      session: SESSION,
      agent: "bot",
      principal: this.principal,
      request,
      stored,
      now,
      isTopup,
      sha256,
      budget: { steps: 5_000_000 },
    });
    return evaluatePolicy(this.#compiled, refOf(this.document), request, around);
  }

  #record(id: DecisionId): DecisionRecord {
    const found = this.#records.get(id);
    if (found === undefined) throw new Error("unknown decision");
    return found;
  }

  #turn<T>(act: (turn: Turn) => T): T {
    const fresh = () => {
      const digest = sha256(`live ${this.rows.length} ${this.#made++}`);
      return { entryId: idFromDigest("ent", digest), salt: digest.slice(32) };
    };
    const turn = openTurn(this.#book, this.now, { sha256, fresh });
    const begun = turn.effects.length;
    this.#keep(turn.effects);
    const result = act(turn);
    this.#keep(turn.effects.slice(begun));
    return result;
  }

  #keep(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.kind === "recorded") {
        // A row crosses the ledger as text.
        const payload = effect.sealed.payload === null ? null : JSON.parse(JSON.stringify(effect.sealed.payload));
        this.rows.push({ canonical: effect.sealed.canonical, payload });
      } else if (effect.kind === "approval") {
        this.#approvals.set(effect.approval.id, effect.approval);
      } else if (effect.kind === "decided") {
        this.#records.set(effect.decided.decision.id, recordOf(effect.decided));
      } else if (effect.kind === "settled") {
        this.#records.set(effect.settled.id, { ...this.#record(effect.settled.id), ...effect.settled });
      } else if (effect.kind === "changed") {
        this.#records.set(effect.id, { ...this.#record(effect.id), reservation: effect.reservation, pieces: effect.pieces });
      }
    }
  }
}

const personOf = (subject: string): Principal => ({ ...PRINCIPAL, subject, kind: "human" });

const REQUEST: Omit<ActionRequest, "action"> & { readonly action: string } = {
  id: idFromDigest("dec", sha256("none")),
  run: RUN,
  action: "a",
  resource: null,
  estimateMicroUsd: ZERO_USD,
  price: null,
  tags: [],
  riskLevel: null,
  inputs: undefined,
  inputsDigest: null,
  rationale: null,
  confidence: null,
  sources: [],
  parents: [],
  model: null,
  approval: null,
  ttlMs: 300_000,
};

interface Asked {
  readonly from?: number;
  /** What is known of what the policies of then keep: everything, unless said otherwise. */
  readonly keepingOf?: Surroundings["keepingOf"];
  readonly rows?: readonly Row[];
}

/** Simulates a live session under a candidate. */
function simulate(live: Live, yaml: string | PolicyDocument, { from, keepingOf, rows = live.rows }: Asked = {}): Tally {
  const document = typeof yaml === "string" ? written(yaml) : yaml;
  const tally = new Tally();
  const entries = rows.map((row) => readRecorded(row) ?? expect.fail(`unreadable: ${row.canonical}`));
  const opening = entries[0] === undefined ? null : openingOf(entries[0]);
  if (opening === null) throw new Error("a session begins with its opening");
  const around: Surroundings = {
    sha256,
    attributesOf: ({ type, id }) => live.attributes.get(`${type}/${id}`) ?? {},
    keepingOf: keepingOf ?? (() => ({ inputs: "full", outputs: "full" })),
  };
  const simulation = new SessionSimulation({ policy: compilePolicy(document), ref: refOf(document) }, opening, from ?? null, tally, around);
  for (const entry of entries) Array.from(simulation.see(entry));
  Array.from(simulation.finish());
  return tally;
}

/** The figures that are not nothing. */
function figures(tally: Tally) {
  const counts: { [name: string]: number | string } = { decisions: tally.decisions, same: tally.same };
  for (const kind of CHANGES)
    if (tally.changed[kind].count > 0) counts[kind] = `${tally.changed[kind].count} for ${tally.changed[kind].moneyMicroUsd}`;
  if (tally.uncertain.count > 0) counts.uncertain = tally.uncertain.count;
  for (const [reason, { count }] of tally.notComparable) counts[reason] = count;
  if (tally.preventedMicroUsd > 0) counts.prevented = tally.preventedMicroUsd;
  return counts;
}

const entryOf = (live: Live, id: DecisionId) => live.rows.map((row) => JSON.parse(row.canonical)).find((entry) => entry.decision_id === id)?.id;

describe("what a candidate would have changed", () => {
  it("counts a denial with what the action cost on record, and skips what became of it", () => {
    const live = new Live("version: 1");
    const id = live.ask("a", { usd: "0.5" });
    live.commit(id, "0.7");
    live.ask("b", { usd: "0.1" });
    const tally = simulate(live, "denied_actions: [a]");
    expect(figures(tally)).toEqual({ decisions: 2, same: 1, newly_denied: "1 for 700000", prevented: 700_000 });
    expect(tally.changed.newly_denied.entries).toEqual([entryOf(live, id)]);
    expect(tally.byRule).toMatchObject([
      { rule: "/denied_actions", reason: "action_denied", changed: { newly_denied: { count: 1 } }, preventedMicroUsd: 700_000 },
    ]);
    expect(tally.afterFirstChange).toBe(1);
  });

  test.each<[string, (live: Live, id: DecisionId) => unknown, number]>([
    ["its estimate, where nothing settled it", () => null, 500_000],
    ["nothing, where it was released", (live, id) => live.release(id), 0],
    ["its estimate, where it expired", (live) => live.wait(301_000).ask("b"), 500_000],
    ["what a late report corrected it to", (live, id) => live.wait(301_000).commit(id, "0.2"), 200_000],
    ["nothing, where it was released after it had expired", (live, id) => live.wait(301_000).release(id), 0],
  ])("prevents %s", (_, settle, prevented) => {
    const live = new Live("version: 1");
    settle(live, live.ask("a", { usd: "0.5" }));
    expect(simulate(live, "denied_actions: [a]").preventedMicroUsd).toBe(prevented);
  });

  it("lets a denial free the budget for what came later", () => {
    const live = new Live("budgets: { session: 1 }");
    live.commit(live.ask("big", { usd: "0.9" }), "0.9");
    live.ask("small", { usd: "0.2" });
    const tally = simulate(live, "budgets: { session: 1 }\ndenied_actions: [big]");
    expect(figures(tally)).toEqual({ decisions: 2, same: 0, newly_denied: "1 for 900000", newly_allowed: "1 for 200000", prevented: 900_000 });
    // The rule that no longer denies.
    expect(tally.byRule.find(({ changed }) => changed.newly_allowed.count > 0)).toMatchObject({
      rule: "/budgets/session",
      reason: "session_budget_exceeded",
    });
  });

  it("lets a denial take away a prerequisite and a place in a window", () => {
    const policy = "requires: { refund: { after: [look_up] } }\nrate_limits: { 'look*': { max_count: 2, window_seconds: 60 } }";
    const live = new Live(policy);
    live.commit(live.ask("look_up"), "0");
    live.commit(live.ask("refund", { usd: "5" }), "5");
    live.ask("look_around");
    live.ask("look_again");
    expect(figures(simulate(live, policy))).toEqual({ decisions: 4, same: 4 });
    const tally = simulate(live, `${policy}\ndenied_actions: [look_up]`);
    expect(figures(tally)).toEqual({ decisions: 4, same: 1, newly_denied: "2 for 5000000", newly_allowed: "1 for 0", prevented: 5_000_000 });
    expect(tally.byRule.map(({ reason }) => reason).sort()).toEqual(["action_denied", "prerequisite_missing", "rate_exceeded"]);
  });

  it("takes what is newly allowed for run with success at its estimate", () => {
    const live = new Live("denied_actions: [look_up]\nrequires: { refund: { after: [look_up] } }\nbudgets: { session: 1 }");
    live.ask("look_up", { usd: "0.6" });
    live.ask("refund", { usd: "0.4" });
    live.ask("refund", { usd: "0.000001" });
    const tally = simulate(live, "requires: { refund: { after: [look_up] } }\nbudgets: { session: 1 }");
    expect(figures(tally)).toEqual({ decisions: 3, same: 1, newly_allowed: "2 for 1000000" });
    expect(tally.sameForAnotherReason).toBe(1);
  });

  test.each<[string, string, string, { readonly [figure: string]: unknown }]>([
    ["allowed and now held", "version: 1", "approvals: { actions: [a] }", { newly_held: "1 for 300000" }],
    ["denied and now held", "denied_actions: [a]", "approvals: { actions: [a] }", { newly_held: "1 for 500000" }],
    ["held and now allowed", "approvals: { actions: [a] }", "version: 1", { no_longer_held: "1 for 500000" }],
    ["held and now denied", "approvals: { actions: [a] }", "denied_actions: [a]", { newly_denied: "1 for 500000" }],
    ["denied and now allowed", "denied_actions: [a]", "version: 1", { newly_allowed: "1 for 500000" }],
    ["denied as before, by another rule", "denied_actions: [a]", "allowed_actions: [b]", { same: 1 }],
    ["only observed", "version: 1", "strict_mode: false\ndenied_actions: [a]", { same: 1 }],
  ])("%s is one change of its kind", (_, recorded, candidate, expected) => {
    const live = new Live(recorded);
    const id = live.ask("a", { usd: "0.5" });
    if (live.state(id) === "pending") live.commit(id, "0.3");
    expect(figures(simulate(live, candidate))).toEqual({ decisions: 1, same: 0, ...expected });
  });

  it("takes it for over at once, and knows nothing of what it would have returned", () => {
    const live = new Live("denied_actions: [a]");
    live.ask("a");
    live.ask("a");
    live.ask("b");
    expect(figures(simulate(live, "concurrency: { a: 1 }"))).toEqual({ decisions: 3, same: 1, newly_allowed: "2 for 0" });
    const where = (when: string) => `requires: { b: { after: [a], where: "${when}" } }`;
    expect(figures(simulate(live, where("prior.outcome == 'success'")))).toEqual({ decisions: 3, same: 1, newly_allowed: "2 for 0" });
    expect(figures(simulate(live, where("prior.outputs.ok == true")))).toEqual({ decisions: 3, same: 0, newly_allowed: "2 for 0", uncertain: 1 });
  });

  it("asks for whoever asked", () => {
    const live = new Live("version: 1");
    live.ask("a");
    live.principal = { ...PRINCIPAL, subject: "desk", kind: "service" };
    live.ask("a");
    const candidate = "rules: [{ id: r, effect: forbid, actions: [a], when: \"context.principal.kind == 'service'\" }]";
    expect(figures(simulate(live, candidate))).toEqual({ decisions: 2, same: 1, newly_denied: "1 for 0" });
  });

  it("names a hundred entries behind a figure and counts them all", () => {
    const live = new Live("version: 1");
    for (let n = 0; n < 120; n++) live.ask("a");
    const { newly_denied } = simulate(live, "denied_actions: [a]").changed;
    expect(newly_denied.count).toBe(120);
    expect(newly_denied.entries).toHaveLength(100);
  });
});

describe("what people approved", () => {
  const PAYS = "budgets: { session: 1 }\napprovals: { actions: [pay] }";
  const TWO = "approvals: { actions: [pay], quorum: 2 }";

  test.each<[string, string, (live: Live) => unknown, object]>([
    [
      "what one person approved, was used, and left no money for more",
      PAYS,
      (live) => live.commit(live.approved("pay", { usd: "0.9" }), "0.9").ask("x", { usd: "0.5" }),
      { decisions: 3, same: 3 },
    ],
    ["what two people approved", TWO, (live) => live.approved("pay", {}, ["ann", "bob"]), { decisions: 2, same: 2 }],
    ["what waits for a second person, asked again meanwhile", TWO, (live) => live.approved("pay", {}, ["ann"]), { decisions: 2, same: 2 }],
    [
      "what a group approved, and not the agent's owner",
      "approvals: { actions: [pay], four_eyes: true, approvers: [{ subjects: [ann] }, { scopes: ['approvals:write'] }] }",
      (live) => live.approved("pay", {}, ["owner", "ann", "bob"]),
      { decisions: 2, same: 2 },
    ],
    [
      "what was edited",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.8", inputs: { n: 1 } });
        live.answer(held, "ann", "approve", { inputs: { n: 2 }, estimateMicroUsd: usd("0.9") });
        live.ask("pay", { usd: "0.9", inputs: { n: 2 }, approval: live.approvalOf(held) });
        live.ask("x", { usd: "0.5" });
      },
      { decisions: 3, same: 3 },
    ],
    [
      "what was rejected",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.9" });
        live.answer(held, "ann", "reject").ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
        live.ask("x", { usd: "1" });
      },
      { decisions: 3, same: 2, approval_rejected: 1 },
    ],
    [
      "what was cancelled",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.9" });
        live
          .answer(held, "ann")
          .cancel(held)
          .ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
      },
      { decisions: 2, same: 1, approval_rejected: 1 },
    ],
    [
      "what expired",
      "approvals: { actions: [pay], timeout_seconds: 60 }",
      (live) => {
        const held = live.ask("pay");
        live
          .answer(held, "ann")
          .wait(60_000)
          .ask("pay", { approval: live.approvalOf(held) });
      },
      { decisions: 2, same: 1, approval_expired: 1 },
    ],
    [
      "what was used twice",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.3" });
        const approval = live.answer(held, "ann").approvalOf(held);
        live.ask("pay", { usd: "0.3", approval });
        live.ask("pay", { usd: "0.3", approval });
        live.ask("x", { usd: "0.8" });
      },
      { decisions: 4, same: 3, approval_consumed: 1 },
    ],
    [
      "what was refused for the budget although it was approved",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.9" });
        live.answer(held, "ann").ask("x", { usd: "0.5" });
        live.ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
      },
      { decisions: 3, same: 3 },
    ],
    [
      "of which more was asked for",
      PAYS,
      (live) => live.topup(live.approved("pay", { usd: "0.5" }), "0.9").ask("x", { usd: "0.5" }),
      { decisions: 4, same: 4 },
    ],
    [
      "all of a batch",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.4" });
        const approval = live.answer(held, "ann").approvalOf(held);
        live.batch([{ action: "x" }, { action: "pay", usd: "0.4", approval }, { action: "x", usd: "0.5" }], "all_or_nothing");
        live.ask("x", { usd: "0.5" });
      },
      { decisions: 5, same: 5 },
    ],
    [
      "a batch that was refused whole, which used nothing up",
      PAYS,
      (live) => {
        const held = live.ask("pay", { usd: "0.4" });
        const approval = live.answer(held, "ann").approvalOf(held);
        live.wait(1).batch(
          [
            { action: "pay", usd: "0.4", approval },
            { action: "x", usd: "2" },
          ],
          "all_or_nothing",
        );
        live.wait(1).ask("pay", { usd: "0.4", approval });
        live.ask("x", { usd: "0.7" });
      },
      { decisions: 5, same: 3, batch_refused: 2 },
    ],
    [
      "holds of a batch that was refused whole, one after the other",
      "requires: { 'pay*': { after: [x] } }\napprovals: { actions: ['pay*'] }",
      (live) => live.batch([{ action: "x" }, { action: "pay" }, { action: "pay_more" }], "all_or_nothing"),
      { decisions: 3, same: 0, batch_refused: 3 },
    ],
    [
      "what a rule holds, in a policy that keeps the digests of inputs only",
      "redact: { store_inputs: digest }\napprovals: { actions: [pay] }",
      (live) => live.approved("pay", { inputs: { to: "x" } }),
      { decisions: 2, same: 2 },
    ],
    [
      "what counts calls",
      "approvals: { actions: [pay] }\nrate_limits: { pay: { max_count: 1, window_seconds: 60 } }\nconcurrency: { pay: 1 }\nloops: { threshold: 2, window_seconds: 60 }",
      (live) => live.commit(live.approved("pay", { inputs: { n: 1 } }), "0").ask("pay", { inputs: { n: 1 } }),
      { decisions: 3, same: 3 },
    ],
    [
      "what is paid from the reserve for winding down",
      "budgets: { session: 0.5 }\nwind_down: { actions: [pay], budget: 0.3 }\napprovals: { actions: [pay] }",
      (live) => {
        live.ask("x", { usd: "0.5" });
        live.approved("pay", { usd: "0.2" });
        live.ask("pay", { usd: "0.2" });
      },
      { decisions: 4, same: 4 },
    ],
    ["what is only observed", "strict_mode: false\napprovals: { actions: [pay] }", (live) => live.ask("pay"), { decisions: 1, same: 1 }],
    [
      "what was held when as much waited already as may",
      "approvals: { actions: [pay] }",
      (live) =>
        live.batch(
          Array.from({ length: 501 }, () => ({ action: "pay" })),
          "independent",
        ),
      { decisions: 501, same: 501 },
    ],
  ])("is approved under the same policy: %s", (_, policy, act, expected) => {
    const live = new Live(policy);
    act(live);
    const tally = simulate(live, policy, { keepingOf: () => ({ inputs: policy.includes("digest") ? "digest" : "full", outputs: "full" }) });
    expect(figures(tally)).toEqual(expected);
    expect(tally.sameForAnotherReason).toBe(0);
  });

  const group = (who: string) => `approvals: { actions: [pay], approvers: [{ subjects: [${who}] }] }`;
  const used = (live: Live) => live.commit(live.approved("pay", { usd: "0.9" }), "0.9").ask("x", { usd: "0.5" });
  const quorum = (n: number) => `budgets: { session: 1 }\napprovals: { actions: [pay], quorum: ${n} }`;

  test.each<[string, string, (live: Live) => unknown, string, object]>([
    ["holds it by another rule", PAYS, used, "budgets: { session: 1 }\napprovals: { threshold_usd: 0.6 }", { decisions: 3, same: 3 }],
    [
      "asks for more people than had approved, and the money is there for others",
      PAYS,
      used,
      quorum(2),
      { decisions: 3, same: 1, newly_held: "1 for 900000", newly_allowed: "1 for 500000" },
    ],
    ["asks for fewer people", quorum(3), (live) => live.approved("pay", {}, ["ann", "bob", "cyd"]), quorum(2), { decisions: 2, same: 2 }],
    [
      "asks for as many as approved what was edited last",
      quorum(2),
      (live) => {
        const held = live.ask("pay", { usd: "0.8" });
        live
          .answer(held, "ann")
          .answer(held, "bob", "approve", { estimateMicroUsd: usd("0.9") })
          .answer(held, "cyd");
        live.ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
      },
      quorum(3),
      { decisions: 2, same: 1, newly_held: "1 for 900000" },
    ],
    ["asks for another group", PAYS, used, `budgets: { session: 1 }\n${group("ann")}`, { decisions: 3, same: 2, uncertain: 1 }],
    ["asks for nobody in particular any more", group("ann"), used, "approvals: { actions: [pay] }", { decisions: 3, same: 3 }],
    ["does not want the owner", PAYS, used, PAYS.replace("[pay]", "[pay], four_eyes: true"), { decisions: 3, same: 2, uncertain: 1 }],
    ["takes the owner again", "approvals: { actions: [pay], four_eyes: true }", used, "approvals: { actions: [pay] }", { decisions: 3, same: 3 }],
    [
      "asks nobody: it ran when it was first asked, once",
      PAYS,
      used,
      "budgets: { session: 1 }",
      { decisions: 3, same: 2, no_longer_held: "1 for 900000" },
    ],
    [
      "asks nobody, and it was asked for again while people were asked",
      TWO,
      (live) => {
        const held = live.ask("pay", { usd: "0.9" });
        live.answer(held, "ann").ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
        const id = live.answer(held, "bob").ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
        live.topup(id, "1");
        live.ask("x", { usd: "0.1" });
      },
      "budgets: { session: 1 }",
      { decisions: 5, same: 2, no_longer_held: "2 for 900000", never_begun: 1 },
    ],
    [
      "denied what was asked first, so that nobody had been asked for what was made of it",
      "approvals: { actions: [pay] }",
      (live) => {
        const held = live.ask("pay", { usd: "5" });
        live.answer(held, "ann", "approve", { estimateMicroUsd: usd("0.9") });
        live.ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
      },
      PAYS,
      { decisions: 2, same: 0, newly_denied: "1 for 5000000", newly_held: "1 for 900000" },
    ],
    [
      "denied only what was asked while people were asked",
      TWO,
      (live) => {
        const held = live.ask("pay");
        live.answer(held, "ann").wait(1_000).ask("x");
        live.ask("pay", { approval: live.approvalOf(held) });
        live
          .answer(held, "bob")
          .wait(60_000)
          .ask("pay", { approval: live.approvalOf(held) });
      },
      `${TWO}\nhistory: [{ id: h, forbid: pay, when: "count('x', 60) > 0" }]`,
      { decisions: 4, same: 3, newly_denied: "1 for 0" },
    ],
    [
      "denies it",
      PAYS,
      used,
      "denied_actions: [pay]",
      { decisions: 3, same: 0, newly_denied: "2 for 1800000", newly_allowed: "1 for 500000", prevented: 900_000 },
    ],
    [
      "holds what may have been sent as a digest, under a policy that keeps digests",
      "redact: { store_inputs: digest }",
      (live) => live.ask("pay", { inputs: { n: 1 } }),
      "approvals: { actions: [pay] }",
      { decisions: 1, same: 0, uncertain: 1 },
    ],
    [
      "holds what was not sent itself",
      "version: 1",
      (live) => live.ask("pay", { inputsDigest: `sha-256:${"0".repeat(64)}` }),
      "approvals: { actions: [pay] }",
      { decisions: 1, same: 0, newly_denied: "1 for 0" },
    ],
  ])("counts for a candidate that %s", (_, policy, act, candidate, expected) => {
    const live = new Live(policy);
    act(live);
    const keepingOf = () => ({ inputs: policy.includes("digest") ? "digest" : "full", outputs: "full" }) as const;
    expect(figures(simulate(live, candidate, { keepingOf }))).toEqual(expected);
  });

  it("before the window stands, and is asked for enough people in it", () => {
    const live = new Live(PAYS);
    const held = live.ask("pay", { usd: "0.9" });
    const from = live.answer(held, "ann").wait(1_000).now;
    live.ask("pay", { usd: "0.9", approval: live.approvalOf(held) });
    live.ask("x", { usd: "0.5" });
    expect(figures(simulate(live, PAYS, { from }))).toEqual({ decisions: 2, same: 2 });
    expect(figures(simulate(live, "budgets: { session: 1 }", { from }))).toEqual({ decisions: 2, same: 2 });
    expect(figures(simulate(live, quorum(2), { from }))).toEqual({
      decisions: 2,
      same: 0,
      newly_held: "1 for 900000",
      newly_allowed: "1 for 500000",
    });
  });

  it("under the policy that came later, from when that was in force on: what it did not know of stays refused", () => {
    const live = new Live(PAYS);
    const first = live.ask("pay", { usd: "0.9" });
    live.answer(first, "ann");
    live.put(quorum(2));
    const from = live.wait(1_000).now;
    live.ask("pay", { usd: "0.9", approval: live.approvalOf(first) });
    live.approved("pay", { usd: "0.9" }, ["ann", "bob"]);
    live.ask("x", { usd: "0.5" });
    expect(figures(simulate(live, quorum(2), { from }))).toEqual({ decisions: 4, same: 3, approval_mismatch: 1 });
  });

  it("and what waited for them, is told with the rule that held it, as often as it was asked for", () => {
    const live = new Live(PAYS);
    const held = live.ask("pay");
    live.ask("pay", { approval: live.approvalOf(held) });
    const { byRule } = simulate(live, "budgets: { session: 1 }");
    expect(byRule.map(({ reason, rule, changed }) => [reason, rule, changed.no_longer_held.count])).toEqual([
      ["approval_required", "/approvals/actions", 2],
    ]);
  });

  it("is uncertain where the record does not say who was asked", () => {
    const live = new Live(PAYS);
    used(live);
    const rows = live.rows.filter(({ canonical }) => JSON.parse(canonical).kind !== "approval");
    expect(figures(simulate(live, PAYS, { rows }))).toEqual({ decisions: 3, same: 2, uncertain: 1 });
  });
});

describe("what the reserve for winding down paid", () => {
  const policy = (session: string) => `budgets: { session: ${session} }\nwind_down: { actions: [save], budget: 0.3 }`;
  const live = () => {
    const one = new Live(policy("0.35"));
    one.ask("x", { usd: "0.35" });
    one.ask("save", { usd: "0.2" });
    one.ask("y", { usd: "0.2" });
    return one;
  };

  it("counts where the candidate finds it: in a budget that has room now", () => {
    expect(figures(simulate(live(), policy("0.35")))).toEqual({ decisions: 3, same: 3 });
    expect(figures(simulate(live(), policy("0.55")))).toEqual({ decisions: 3, same: 3 });
  });

  it("is not what a budget paid, nor what a lease left no room for", () => {
    const room = new Live(policy("0.55"));
    room.ask("save", { usd: "0.2" });
    room.ask("x", { usd: "0.35" });
    room.ask("y", { usd: "0.1" });
    expect(figures(simulate(room, policy("0.55")))).toEqual({ decisions: 3, same: 3 });
    const leased = new Live(policy("1"));
    leased.lease();
    leased.ask("save", { usd: "0.2" });
    leased.ask("y", { usd: "0.9" });
    expect(figures(simulate(leased, policy("1")))).toEqual({ decisions: 2, same: 2 });
  });

  it("because others had used up what sessions share, it paid still", () => {
    // As the record shows it where only the agent's budget was used up, and the session's own was larger all along.
    const one = live();
    const rows = one.rows.map((row) => ({ ...row, canonical: row.canonical.replaceAll('"limit_usd":"0.35"', '"limit_usd":"0.55"') }));
    expect(figures(simulate(one, policy("0.55"), { rows }))).toEqual({ decisions: 3, same: 2, newly_allowed: "1 for 200000" });
    expect(figures(simulate(one, "budgets: { session: 0.55 }", { rows }))).toEqual({ decisions: 3, same: 3 });
  });

  it.each(["agent", "tenant"])("because the %s's budget was used up, it paid still", (scope) => {
    const one = live();
    const used = { scope, pattern: null, window: "total", limit_usd: "0.35" };
    const spent = { posted_usd: "0.35", pending_usd: "0", leased_usd: "0" };
    const rows = one.rows.map((row) => ({
      ...row,
      canonical: row.canonical
        .replaceAll('"limit_usd":"0.35"', '"limit_usd":"0.55"')
        .replaceAll('"accounts":[{', `"accounts":[${JSON.stringify({ ...used, before: spent, after: spent })},{`),
    }));
    expect(figures(simulate(one, policy("0.55"), { rows }))).toEqual({ decisions: 3, same: 2, newly_allowed: "1 for 200000" });
  });

  it("what fills a session to the last that it can count is counted", () => {
    const full = new Live("{ version: 1 }");
    full.ask("x", { usd: "4500000000" });
    full.ask("y", { usd: "0.000001" });
    expect(figures(simulate(full, "denied_actions: [z]"))).toEqual({ decisions: 2, same: 2 });
  });
});

describe("larger sums", () => {
  it("are decided again, and one that is denied leaves its action running", () => {
    const live = new Live("budgets: { session: 2 }");
    const id = live.ask("a", { usd: "0.5" });
    live.topup(id, "1.5").commit(id, "1.4");
    live.ask("a", { usd: "0.6" });
    expect(figures(simulate(live, "budgets: { session: 2 }"))).toEqual({ decisions: 3, same: 3 });
    expect(figures(simulate(live, "budgets: { session: 1.4 }"))).toEqual({
      decisions: 3,
      same: 1,
      newly_denied: "2 for 1600000",
      prevented: 600_000,
    });
  });

  it("of an action that the candidate had not allowed never began", () => {
    const live = new Live("version: 1");
    const id = live.ask("a", { usd: "0.5" });
    live.topup(id, "1").commit(id, "1");
    expect(figures(simulate(live, "denied_actions: [a]"))).toEqual({
      decisions: 2,
      same: 0,
      newly_denied: "1 for 1000000",
      never_begun: 1,
      prevented: 1_000_000,
    });
  });
});

describe("denials that no policy decides", () => {
  test.each<[string, (live: Live) => unknown]>([
    ["session_closed", (live) => live.close().ask("a")],
    ["session_closed", (live) => live.wait(TTL_MS).ask("a")],
    ["run_closed", (live) => live.closeRun(RUN).ask("a")],
    ["authority_stale", (live) => live.batch([{ action: "a" }], "independent", "stale")],
    ["policy_missing", (live) => live.batch([{ action: "a" }], "independent", null)],
  ])("%s stays as it was, under any candidate", (reason, act) => {
    const live = new Live("version: 1");
    act(live);
    for (const candidate of ["version: 1", "denied_actions: [a]", "approvals: { actions: [a] }"]) {
      expect(figures(simulate(live, candidate))).toEqual({ decisions: 1, same: 0, [reason]: 1 });
    }
  });

  it("keeps a batch that was refused whole as it was, with the denials that counted on it", () => {
    const live = new Live("budgets: { session: 1 }");
    live.batch(
      [
        { action: "a", usd: "0.9" },
        { action: "b", usd: "0.9" },
      ],
      "all_or_nothing",
    );
    live.wait(1).ask("c", { usd: "1" });
    expect(figures(simulate(live, "budgets: { session: 1 }"))).toEqual({ decisions: 3, same: 1, batch_refused: 2 });
  });

  it("keeps of one instant only what was not allowed, and nothing of another instant", () => {
    const live = new Live("budgets: { session: 1 }");
    const both = [
      { action: "a", usd: "0.9" },
      { action: "b", usd: "0.9" },
    ];
    live.batch(both, "all_or_nothing");
    live.ask("c");
    live.wait(1).ask("d", { usd: "2" });
    expect(figures(simulate(live, "budgets: { session: 1 }"))).toEqual({ decisions: 4, same: 2, batch_refused: 2 });
  });

  it("keeps the holds that counted on it too", () => {
    const policy = "{ requires: { b: { after: [a] } }, approvals: { actions: [b] } }";
    const live = new Live(policy);
    live.batch([{ action: "a" }, { action: "b" }], "all_or_nothing");
    expect(figures(simulate(live, policy))).toEqual({ decisions: 2, same: 0, batch_refused: 2 });
  });
});

describe("a window", () => {
  it("counts what lies in it, on the state that the session had at its beginning", () => {
    const live = new Live("version: 1");
    live.commit(live.ask("a", { usd: "0.9" }), "0.9");
    live.wait(1000);
    const from = live.now;
    live.commit(live.ask("a", { usd: "0.2" }), "0.2");
    // Before the window the candidate was not in force: what it would have denied there was spent.
    expect(figures(simulate(live, "budgets: { session: 1 }", { from }))).toEqual({
      decisions: 1,
      same: 0,
      newly_denied: "1 for 200000",
      prevented: 200_000,
    });
    expect(figures(simulate(live, "budgets: { session: 0.5 }", { from }))).toEqual({
      decisions: 1,
      same: 0,
      newly_denied: "1 for 200000",
      prevented: 200_000,
    });
    expect(figures(simulate(live, "budgets: { session: 1.1 }", { from }))).toEqual({ decisions: 1, same: 1 });
    expect(figures(simulate(live, "budgets: { session: 0.5 }"))).toEqual({ decisions: 2, same: 1, newly_denied: "1 for 900000", prevented: 900_000 });
  });

  it("has no larger sum from before it in its figures", () => {
    const live = new Live("budgets: { session: 2 }");
    const id = live.ask("a", { usd: "0.5" });
    live.topup(id, "1").topup(id, "3");
    const from = live.wait(1000).now;
    live.ask("b", { usd: "0.9" });
    expect(figures(simulate(live, "budgets: { session: 2 }", { from }))).toEqual({ decisions: 1, same: 1 });
    expect(figures(simulate(live, "budgets: { session: 1.5 }", { from }))).toEqual({
      decisions: 1,
      same: 0,
      newly_denied: "1 for 900000",
      prevented: 900_000,
    });
    const others = live.rows.map((row) => ({ ...row, canonical: row.canonical.replace('"session_budget_exceeded"', '"agent_budget_exceeded"') }));
    expect(figures(simulate(live, "budgets: { session: 2 }", { from, rows: others }))).toEqual({ decisions: 1, same: 1 });
  });

  it("lets what was denied before it be denied still", () => {
    const live = new Live("denied_actions: [a]");
    live.ask("a", { usd: "0.9" });
    const from = live.wait(1000).now;
    live.ask("b", { usd: "0.9" });
    expect(figures(simulate(live, "budgets: { session: 1 }", { from }))).toEqual({ decisions: 1, same: 1 });
  });
});

describe("what the record no longer has", () => {
  const forbid = (when: string) => `rules: [{ id: r, effect: forbid, actions: [a], when: "${when}" }]`;
  const keeps = (inputs: "full" | "digest" | "none") => () => ({ inputs, outputs: "full" }) as const;

  test.each<[string, string, Wanted, string, Asked, { readonly [figure: string]: unknown }]>([
    ["a member that was redacted", "redact: { keys: [to] }", { inputs: { to: "x" } }, forbid("inputs.to == '[redacted]'"), {}, { uncertain: 1 }],
    [
      "a part of a text",
      "redact: { detect: [email] }",
      { inputs: { to: "to a@example.org" } },
      forbid("inputs.to != 'to a@example.org'"),
      {},
      { uncertain: 1 },
    ],
    [
      "a member inside one that was redacted",
      "redact: { keys: [to] }",
      { inputs: { to: { name: "x" } } },
      forbid("inputs.to.name == 'x'"),
      {},
      { uncertain: 1 },
    ],
    [
      "another member than what was redacted",
      "redact: { keys: [to] }",
      { inputs: { to: "x", n: 1 } },
      forbid("inputs.n == 1"),
      {},
      { newly_denied: "1 for 0" },
    ],
    [
      "redacted inputs that no rule looks at",
      "redact: { keys: [to] }",
      { inputs: { to: "x" } },
      "denied_actions: [a]",
      {},
      { newly_denied: "1 for 0" },
    ],
    [
      "inputs kept as a digest",
      "redact: { store_inputs: digest }",
      { inputs: { n: 1 } },
      forbid("inputs.n == 1"),
      { keepingOf: keeps("digest") },
      { uncertain: 1 },
    ],
    [
      "inputs not kept",
      "redact: { store_inputs: none }",
      { inputs: { n: 1 } },
      forbid("inputs.n == 1"),
      { keepingOf: keeps("none") },
      { uncertain: 1 },
    ],
    ["inputs under a policy that nobody knows any more", "version: 1", {}, forbid("inputs.n == 1"), { keepingOf: () => null }, { uncertain: 1 }],
    ["inputs that were never sent", "version: 1", {}, forbid("inputs.n == 1"), {}, { newly_denied: "1 for 0" }],
    [
      "inputs never sent to a policy that keeps digests",
      "redact: { store_inputs: digest }",
      {},
      forbid("inputs.n == 1"),
      { keepingOf: keeps("digest") },
      { newly_denied: "1 for 0" },
    ],
    [
      "inputs sent as a digest",
      "version: 1",
      { inputsDigest: `sha-256:${"0".repeat(64)}` },
      forbid("inputs.n == 1"),
      {},
      { newly_denied: "1 for 0" },
    ],
    [
      "a rule that no longer forbids",
      forbid("inputs.to == 'x'").concat("\nredact: { keys: [to] }"),
      { inputs: { to: "x" } },
      forbid("inputs.to == 'x'"),
      {},
      { uncertain: 1 },
    ],
    [
      "a permit rule",
      "redact: { keys: [to] }",
      { inputs: { to: "x" } },
      "rules: [{ id: r, effect: permit, actions: [a], when: \"inputs.to == 'x'\" }]",
      {},
      { uncertain: 1 },
    ],
    ["a schema", "redact: { keys: [to] }", { inputs: { to: 5 } }, "arguments: { a: { properties: { to: { type: number } } } }", {}, { uncertain: 1 }],
    [
      "a resource's id",
      "redact: { detect: [email] }",
      { resource: { type: "box", id: "a@example.org" } },
      forbid("resource.id != 'a@example.org'"),
      {},
      { uncertain: 1 },
    ],
    [
      "a rationale",
      "redact: { detect: [email] }",
      { rationale: "for a@example.org" },
      forbid("context.rationale != 'for a@example.org'"),
      {},
      { uncertain: 1 },
    ],
  ])("%s", (_, recorded, wanted, candidate, asked, expected) => {
    const live = new Live(recorded);
    live.ask("a", wanted);
    expect(figures(simulate(live, candidate, asked))).toEqual({ decisions: 1, same: 0, ...expected });
  });

  it("was erased", () => {
    const live = new Live("version: 1");
    live.ask("a", { inputs: { n: 2 } });
    const rows = live.rows.map((row) => ({ ...row, payload: null }));
    expect(figures(simulate(live, forbid("inputs.n == 1"), { rows }))).toEqual({ decisions: 1, same: 0, uncertain: 1 });
  });

  it("is what an earlier action returned", () => {
    const policy = "requires: { b: { after: [a], where: 'prior.outputs.ok == true' } }";
    for (const [redact, expected] of [
      ["{ keys: [ok] }", { decisions: 2, same: 1, uncertain: 1 }],
      ["{ keys: [other] }", { decisions: 2, same: 2 }],
    ] as const) {
      const live = new Live(`redact: ${redact}`);
      live.commit(live.ask("a"), "0", { outputs: { ok: true } });
      live.ask("b");
      expect(figures(simulate(live, policy))).toEqual(expected);
    }
  });

  it("makes two calls look alike that were not, and a recorded allow stands for what follows", () => {
    const live = new Live("redact: { keys: [to] }");
    for (const to of ["x", "y", "z"]) live.ask("a", { inputs: { to }, usd: "0.3" });
    live.ask("b", { usd: "0.3" });
    const candidate = "loops: { threshold: 2, window_seconds: 60 }\nbudgets: { session: 1 }";
    expect(figures(simulate(live, candidate))).toEqual({ decisions: 4, same: 1, uncertain: 2, newly_denied: "1 for 300000", prevented: 300_000 });
  });

  it("is an estimate that stood before the price that took its place", () => {
    const model = { model: { name: "m" }, price: { basis: "stated", data: "1", known: false } } as const;
    const live = new Live("budgets: { default_price: 0.5 }");
    live.ask("a", { ...model, usd: "0.1" });
    expect(figures(simulate(live, "budgets: { default_price: 0.5, session: 0.5 }"))).toEqual({ decisions: 1, same: 1 });
    expect(figures(simulate(live, "budgets: { default_price: 0.5, session: 0.4 }"))).toEqual({
      decisions: 1,
      same: 0,
      newly_denied: "1 for 500000",
      prevented: 500_000,
    });
    expect(figures(simulate(live, "budgets: { default_price: 0.7, session: 0.6 }"))).toEqual({ decisions: 1, same: 0, uncertain: 1 });
    expect(figures(simulate(live, "budgets: { session: 0.4 }"))).toEqual({ decisions: 1, same: 0, uncertain: 1 });
  });
});

it("looks at stored attributes as they stand", () => {
  const candidate = "rules: [{ id: r, effect: forbid, actions: [a], when: \"resource.tier == 'gold' && subject.team == 'red'\" }]";
  const live = new Live("version: 1");
  live.ask("a", { resource: { type: "customer", id: "c" } });
  live.attributes.set("customer/c", { tier: "gold" });
  live.attributes.set("agent/bot", { team: "red" });
  expect(figures(simulate(live, candidate))).toEqual({ decisions: 1, same: 0, newly_denied: "1 for 0" });
  live.attributes.set("agent/bot", { team: "blue" });
  expect(figures(simulate(live, candidate))).toEqual({ decisions: 1, same: 1 });
});

describe("what became of an action in the play is what became of it on record:", () => {
  test.each<[string, string, (live: Live) => unknown]>([
    [
      "it was extended",
      "concurrency: { a: 1 }",
      (live) =>
        live
          .extend(live.ask("a", { ttlMs: 1_000 }), 10_000)
          .wait(5_000)
          .ask("a"),
    ],
    [
      "its extension ran out",
      "concurrency: { a: 1 }",
      (live) =>
        live
          .extend(live.ask("a", { ttlMs: 1_000 }), 2_000)
          .wait(5_000)
          .ask("a"),
    ],
    [
      "it was released",
      "{ concurrency: { a: 1 }, budgets: { session: 1 } }",
      (live) => live.release(live.ask("a", { usd: "0.9" })).ask("a", { usd: "0.9" }),
    ],
    ["it cost more", "budgets: { session: 1 }", (live) => live.commit(live.ask("a", { usd: "0.1" }), "0.9").ask("a", { usd: "0.2" })],
    ["it cost less", "budgets: { session: 1 }", (live) => live.commit(live.ask("a", { usd: "0.9" }), "0.1").ask("a", { usd: "0.9" })],
    ["it ran out", "{ budgets: { session: 1 } }", (live) => live.ask("a", { usd: "0.9", ttlMs: 1_000 }) && live.wait(2_000).ask("a", { usd: "0.2" })],
    [
      "it ran out and nobody committed it",
      "requires: { b: { after: [a], where: \"prior.outcome == 'expired'\" } }",
      (live) => live.ask("a", { ttlMs: 1_000 }) && live.wait(2_000).ask("b"),
    ],
    [
      "it failed",
      "requires: { b: { after: [a], where: \"prior.outcome == 'error'\" } }",
      (live) => live.commit(live.ask("a"), "0", { outcome: "error" }).ask("b"),
    ],
    [
      "it was in a run of its own",
      "budgets: { run: 0.5 }",
      (live) => {
        live.ask("a", { usd: "0.4" });
        const run = idFromDigest("run", sha256("run 1"));
        live.openRun(run).ask("a", { usd: "0.4", run });
        live.closeRun(run).ask("a", { usd: "0.4" });
      },
    ],
    [
      "a lease let it run, and it was told of after its run was closed",
      "budgets: { session: 1 }",
      (live) => {
        const lease = live.lease();
        live.tell(lease, "a", "0.4").closeRun(RUN).tell(lease, "a", "0.4");
      },
    ],
  ])("%s", (_, policy, act) => {
    const live = new Live(policy);
    act(live);
    const { decisions } = simulate(live, policy);
    expect(figures(simulate(live, policy))).toEqual({ decisions, same: decisions });
    expect(decisions).toBeGreaterThan(1);
    // Nothing became of what is not allowed.
    expect(figures(simulate(live, "denied_actions: ['*']"))).toMatchObject({
      same: live.rows.filter(({ canonical }) => JSON.parse(canonical).verdict === "deny").length,
    });
  });
});

describe("what a lease holds is not counted, as the assumptions say: under the same policy", () => {
  test.each<[string, (live: Live) => unknown, object]>([
    [
      "what was denied because a lease held the money is newly allowed",
      (live) => live.lease() && live.ask("b", { usd: "0.5" }),
      { decisions: 1, same: 0, newly_allowed: "1 for 500000" },
    ],
    ["what was told of within its lease is the same", (live) => live.tell(live.lease(), "a", "1"), { decisions: 1, same: 1 }],
    [
      "what was told of above its lease is newly denied",
      (live) => live.tell(live.lease(), "a", "1.5"),
      { decisions: 1, same: 0, newly_denied: "1 for 1500000", prevented: 1_500_000 },
    ],
    [
      "what was told of after its session is newly denied",
      (live) => {
        const lease = live.wait(TTL_MS - 10).lease();
        live.wait(10).tell(lease, "a", "0.5");
      },
      { decisions: 1, same: 0, newly_denied: "1 for 500000", prevented: 500_000 },
    ],
  ])("%s", (_, act, expected) => {
    const policy = "budgets: { session: 1 }";
    const live = new Live(policy);
    act(live);
    expect(figures(simulate(live, policy))).toEqual(expected);
  });
});

it("says how many were denied or held as before, and by another rule", () => {
  const forbids = (id: string) => `rules: [{ id: ${id}, effect: forbid, actions: [a] }]`;
  const live = new Live(forbids("r"));
  live.ask("a");
  live.ask("b");
  for (const [candidate, other] of [
    [forbids("r"), 0],
    [forbids("s"), 1],
    ["denied_actions: [a]", 1],
  ] as const) {
    const tally = simulate(live, candidate);
    expect(figures(tally)).toEqual({ decisions: 2, same: 2 });
    expect(tally.sameForAnotherReason).toBe(other);
  }
  const larger = new Live("budgets: { session: 1 }");
  larger.topup(larger.ask("a", { usd: "0.5" }), "2");
  expect(simulate(larger, "budgets: { session: 1 }").sameForAnotherReason).toBe(0);
  const tally = simulate(larger, "budgets: { actions: { a: 1 } }");
  expect(figures(tally)).toEqual({ decisions: 2, same: 2 });
  expect(tally.sameForAnotherReason).toBe(1);
});

test.each(["decision_id", "run_id", "verdict"])("an entry without %s is no decision, and is passed over", (member) => {
  const live = new Live("version: 1");
  live.topup(live.ask("a", { usd: "0.5" }), "1");
  const rows = live.rows.map((row) => {
    const entry = JSON.parse(row.canonical);
    return entry.kind === "decision" ? { ...row, canonical: JSON.stringify({ ...entry, [member]: null }) } : row;
  });
  const { decisions } = simulate(live, "denied_actions: [a]", { rows });
  // A larger sum says by its id alone of what it is.
  expect(decisions).toBe(member === "run_id" ? 1 : 0);
});

describe("what a rule looked at tells whether the record can still say", () => {
  const mail = "a@example.org";
  const requires = "same: [inputs.to]";
  /** Lets the past be hidden, whatever else is asked: it looks at what "a" was called with. */
  const looking = "x: { after: [a], same: [inputs.to] }";
  const hidden: Wanted = { inputs: { to: mail } };
  const forbidden = (more: string) => `rules: [{ id: r, effect: forbid, actions: [b]${more} }]`;

  test.each<[string, Wanted, Wanted, string, "uncertain" | "newly_denied"]>([
    // A prerequisite that compares.
    ["the request's own place", { inputs: { to: "x" } }, hidden, `requires: { b: { after: [a], ${requires} } }`, "uncertain"],
    ["the earlier call's place", hidden, { inputs: { to: "x" } }, `requires: { b: { after: [a], ${requires} } }`, "uncertain"],
    [
      "places that are not compared",
      { inputs: { to: "x", by: mail }, rationale: mail, resource: { type: "box", id: mail } },
      { inputs: { to: "y", by: mail }, rationale: mail, resource: { type: "box", id: mail } },
      `requires: { b: { after: [a], ${requires} } }`,
      "newly_denied",
    ],
    [
      "the request's resource",
      { resource: { type: "box", id: "1" } },
      { resource: { type: "box", id: mail } },
      "requires: { b: { after: [a], same: [resource.id] } }",
      "uncertain",
    ],
    [
      "the earlier call's resource",
      { resource: { type: "box", id: mail } },
      { resource: { type: "box", id: "1" } },
      "requires: { b: { after: [a], same: [resource.id] } }",
      "uncertain",
    ],
    [
      "one of two places",
      { inputs: { to: "x" }, resource: { type: "box", id: "1" } },
      { inputs: { to: "x" }, resource: { type: "box", id: mail } },
      "requires: { b: { after: [a], same: [inputs.to, resource.id] } }",
      "uncertain",
    ],
    [
      "an input of the same name as what is compared of the resource",
      { inputs: { id: mail }, resource: { type: "box", id: "1" } },
      { inputs: { id: mail }, resource: { type: "box", id: "2" } },
      "requires: { b: { after: [a], same: [resource.id] } }",
      "newly_denied",
    ],
    ["what a where compares", { inputs: { id: "x" } }, hidden, "requires: { b: { after: [a], where: 'prior.inputs.id == inputs.to' } }", "uncertain"],
    [
      "a rationale that a where looks at",
      {},
      { rationale: mail },
      `requires: { b: { after: [a], where: "context.rationale == '${mail}'" } }`,
      "uncertain",
    ],
    ["nothing, where only that it was called counts", hidden, {}, `requires: { b: { after: [c] }, ${looking} }`, "newly_denied"],
    // A rule.
    [
      "nothing, without a condition",
      hidden,
      { ...hidden, rationale: mail, resource: { type: "box", id: mail } },
      `${forbidden("")}\nrequires: { ${looking} }`,
      "newly_denied",
    ],
    ["nothing, by a condition that always holds", hidden, { resource: { type: "box", id: mail } }, forbidden(", when: '1 == 1'"), "newly_denied"],
    ["the request alone", hidden, { inputs: { n: 1 } }, `${forbidden(", when: 'inputs.n == 1'")}\nrequires: { ${looking} }`, "newly_denied"],
    ["how often something was called", hidden, {}, `${forbidden(", when: \"count('a', 60) > 0\"")}\nrequires: { ${looking} }`, "newly_denied"],
    ["what it cost", hidden, {}, `${forbidden(", when: \"sum('a', 60) >= 0.0\"")}\nrequires: { ${looking} }`, "newly_denied"],
    ["what it was called with", hidden, {}, forbidden(", when: \"distinct('a', 'inputs.to', 60) > 0\""), "uncertain"],
    ["how often, and with what", hidden, {}, forbidden(", when: \"count('a', 60) > 0 && distinct('a', 'inputs.to', 60) > 0\""), "uncertain"],
    ["what another action was called with", hidden, {}, forbidden(", when: \"distinct('c', 'inputs.to', 60) == 0\""), "newly_denied"],
    ["a source", {}, { sources: [{ source: mail }] }, forbidden(`, when: "context.sources.exists(s, s.source != '${mail}')"`), "uncertain"],
    // What permits, and what denies beside it.
    [
      "what one of two permits looks at",
      {},
      { inputs: { to: mail, n: 1 } },
      `rules: [{ id: p, effect: permit, actions: [b], when: "inputs.to == '${mail}'" }, { id: q, effect: permit, actions: [b, a], when: "inputs.n == 2" }, { id: o, effect: permit, actions: [a] }]`,
      "uncertain",
    ],
    [
      "what the other of two permits looks at",
      {},
      { inputs: { to: mail, n: 1 } },
      `rules: [{ id: q, effect: permit, actions: [b, a], when: "inputs.n == 2" }, { id: p, effect: permit, actions: [b], when: "inputs.to == '${mail}'" }, { id: o, effect: permit, actions: [a] }]`,
      "uncertain",
    ],
    [
      "nothing, by a permit beside a rule that looks",
      {},
      { inputs: { to: mail, n: 1 } },
      `rules: [{ id: p, effect: permit, actions: [a] }, { id: q, effect: permit, actions: [b], when: "inputs.n == 2" }, { id: f, effect: forbid, actions: [b], when: "inputs.to == 'x'" }]`,
      "newly_denied",
    ],
    [
      "nothing, denied by a list beside a permit that looks",
      {},
      hidden,
      `denied_actions: [b]\nrules: [{ id: p, effect: permit, actions: [a] }, { id: q, effect: permit, actions: [b], when: "inputs.to == 'x'" }]`,
      "newly_denied",
    ],
    [
      "nothing, denied by a list beside a schema that looks",
      {},
      hidden,
      "denied_actions: [b]\narguments: { b: { properties: { to: { type: string } } } }",
      "newly_denied",
    ],
    [
      "nothing, not on the list of what is allowed, beside rules that look",
      hidden,
      hidden,
      `allowed_actions: [a]\nloops: { threshold: 3, window_seconds: 60 }\narguments: { b: { properties: { to: { type: string } } } }\nrequires: { b: { after: [a], ${requires} } }`,
      "newly_denied",
    ],
    [
      "inputs that a schema sees, beside a rule that looks at the resource",
      {},
      { inputs: { n: 1 }, resource: { type: "box", id: mail } },
      `${forbidden(", when: \"resource.id == 'x'\"")}\narguments: { b: { properties: { n: { type: string } } } }`,
      "newly_denied",
    ],
    [
      "inputs that a schema sees, and nothing else",
      {},
      { inputs: { n: 1 }, rationale: mail, resource: { type: "box", id: mail } },
      "arguments: { b: { properties: { n: { type: string } } } }",
      "newly_denied",
    ],
  ])("%s", (_, first, second, candidate, expected) => {
    const live = new Live("redact: { detect: [email] }");
    live.ask("a", first);
    live.ask("b", second);
    expect(figures(simulate(live, candidate))).toEqual({ decisions: 2, same: 1, [expected]: expected === "uncertain" ? 1 : "1 for 0" });
  });

  test.each<[string, readonly Wanted[], "uncertain" | "newly_denied"]>([
    ["a call between them that cannot be compared", [{ inputs: { to: "x" } }, hidden, { inputs: { to: "x" } }], "uncertain"],
    ["nothing, where all is kept that is compared", [{ inputs: { to: "x" } }, { inputs: { to: "x" }, rationale: mail }], "newly_denied"],
  ])("of a call made again: %s", (_, calls, expected) => {
    const live = new Live("redact: { detect: [email] }");
    for (const one of calls) live.ask("a", one);
    const candidate = "loops: { threshold: 2, window_seconds: 60 }";
    expect(figures(simulate(live, candidate))).toEqual({
      decisions: calls.length,
      same: calls.length - 1,
      [expected]: expected === "uncertain" ? 1 : "1 for 0",
    });
  });

  test.each<[string, string, Partial<CommitReport>, Asked, "uncertain" | "newly_denied"]>([
    ["are on record", "version: 1", { outputs: { ok: false } }, {}, "newly_denied"],
    ["are on record in part", "redact: { keys: [id] }", { outputs: { ok: true, id: "x" } }, {}, "uncertain"],
    ["never were, and all is kept", "version: 1", {}, {}, "newly_denied"],
    [
      "never were, and their digest would be kept",
      "redact: { store_inputs: digest, store_outputs: digest }",
      {},
      { keepingOf: () => ({ inputs: "digest", outputs: "digest" }) },
      "newly_denied",
    ],
    [
      "are kept as a digest",
      "redact: { store_outputs: digest }",
      { outputs: { ok: true } },
      { keepingOf: () => ({ inputs: "full", outputs: "digest" }) },
      "uncertain",
    ],
    ["may have been, under a policy that nobody knows any more", "version: 1", {}, { keepingOf: () => null }, "uncertain"],
  ])("outputs that %s", (_, recorded, report, asked, expected) => {
    const live = new Live(recorded);
    live.commit(live.ask("a", { inputs: { n: 1 } }), "0", report);
    live.ask("b");
    const candidate = "requires: { b: { after: [a], where: \"prior.outputs.ok == true && prior.outputs.id == 'x'\" } }";
    expect(figures(simulate(live, candidate, asked))).toEqual({ decisions: 2, same: 1, [expected]: expected === "uncertain" ? 1 : "1 for 0" });
  });

  it("inputs that were not kept, to a schema that then sees none", () => {
    const live = new Live("redact: { store_inputs: none }");
    live.ask("a", { inputs: { n: 1 } });
    const candidate = "arguments: { a: { required: [n] } }";
    expect(figures(simulate(live, candidate, { keepingOf: () => ({ inputs: "none", outputs: "full" }) }))).toEqual({
      decisions: 1,
      same: 0,
      uncertain: 1,
    });
  });

  it("what is taken to have run was asked on record, and what it was called with is known", () => {
    const live = new Live("denied_actions: [a]");
    live.ask("a", { inputs: { to: "x" } });
    live.ask("b");
    expect(figures(simulate(live, forbidden(", when: \"distinct('a', 'inputs.to', 60) > 0\"")))).toEqual({
      decisions: 2,
      same: 0,
      newly_allowed: "1 for 0",
      newly_denied: "1 for 0",
    });
  });

  it("a larger sum looks at what the first request said", () => {
    const live = new Live("redact: { detect: [email] }");
    live.topup(live.ask("a", { usd: "0.1", ...hidden }), "0.5");
    const candidate = `rules: [{ id: r, effect: forbid, actions: [a], when: "inputs.to != '${mail}' && estimate_usd > 0.3" }]`;
    expect(figures(simulate(live, candidate))).toEqual({ decisions: 2, same: 1, uncertain: 1 });
  });
});

test("stored attributes are looked up for decisions only, and only where the candidate looks at them", () => {
  const live = new Live("version: 1");
  live.commit(live.ask("a"), "0");
  const [opened, decided, told] = live.rows.map((row) => readRecorded(row) ?? expect.fail());
  if (opened === undefined || decided === undefined || told === undefined) throw new Error("three entries were expected");
  const looks = (when: string) =>
    [opened, decided, told].map((recorded) =>
      looksAtStored(compilePolicy(written(`rules: [{ id: r, effect: forbid, actions: [a], when: "${when}" }]`)), recorded),
    );
  const nothing = { subject: false, resource: false };
  expect(looks("resource.tier == 'gold'")).toEqual([nothing, { ...nothing, resource: true }, nothing]);
  expect(looks("subject.team == 'red'")).toEqual([nothing, { ...nothing, subject: true }, nothing]);
  expect(looks("inputs.n == 1")).toEqual([nothing, nothing, nothing]);
});

// Laws, over random histories under random policies.

const APPROVALS: readonly string[] = [
  "approvals: { threshold_usd: 0.25 }",
  "approvals: { tags: [prod] }",
  "approvals: { actions: [a, 'c.*'], quorum: 2, timeout_seconds: 8 }",
  "approvals: { threshold_usd: 0.1, four_eyes: true, approvers: [{ subjects: [ann] }, { scopes: ['approvals:write'] }] }",
];

const SECTIONS: readonly (readonly string[])[] = [
  [
    "budgets: { session: 1, run: 0.6, actions: { a: 0.3, 'c.*': 0.4 } }",
    "budgets: { session: 0.5, on_expiry: release, default_price: 0.05 }",
    "budgets: { run: 0.3, default_price: deny }",
  ],
  ["denied_actions: [b]", "denied_actions: ['c.*']"],
  ["allowed_actions: [a, 'c.*']", "allowed_actions: ['*']"],
  [
    "rate_limits: { a: { max_count: 2, window_seconds: 3 }, 'c.*': { max_count: 3, window_seconds: 10, per: run } }",
    "rate_limits: { '*': { max_count: 5, window_seconds: 8 } }",
  ],
  ["concurrency: { '*': 2 }", "concurrency: { 'c.*': 1, a: 3 }"],
  ["loops: { threshold: 3, window_seconds: 6 }", "loops: { threshold: 2, window_seconds: 20, ignore: [inputs.n] }"],
  ["retries: { threshold: 2, window_seconds: 8 }"],
  [
    "requires: { b: { after: [a], within_seconds: 8 } }",
    "requires: { 'c.*': { after: [a], same: [inputs.k], where: 'prior.outputs.ok == true' } }",
    "requires: { a: { after: ['c.x'], where: \"prior.outcome == 'expired' || prior.age < duration('5s')\" } }",
  ],
  [
    "history: [{ id: h, forbid: 'c.*', when: \"count('a', 6) > 1\" }]",
    "history: [{ id: h, forbid: a, when: \"sum('*', 20) > 0.4 || distinct('*', 'inputs.k', 20) > 2\" }]",
  ],
  APPROVALS,
  [
    "rules: [{ id: r, effect: forbid, actions: [a], when: 'inputs.n > 1' }]",
    "rules: [{ id: r, effect: hold, actions: ['*'], when: 'estimate_usd > 0.15' }, { id: s, effect: forbid, actions: [b], mode: observe }]",
    "rules: [{ id: p, effect: permit, actions: ['c.*'], when: \"'prod' in tags || has(inputs.k)\" }]",
  ],
  ["wind_down: { actions: [b, 'c.x'], budget: 0.2 }"],
  ["arguments: { a: { properties: { n: { maximum: 2 } } } }"],
  ["strict_mode: false"],
];

const aPolicy: fc.Arbitrary<string> = fc
  .tuple(...SECTIONS.map((texts) => fc.oneof({ weight: 1, arbitrary: fc.constantFrom(...texts) }, { weight: 2, arbitrary: fc.constant(null) })))
  .map((chosen) => ["version: 1", ...chosen.filter((text) => text !== null)].join("\n"))
  .filter((yaml) => parsePolicy(yaml, "yaml").ok);

/** As many policies that hold as others: what is held, answered and used takes several steps. */
const anyPolicy: fc.Arbitrary<string> = fc.oneof(
  aPolicy,
  fc
    .tuple(aPolicy, fc.constantFrom(...APPROVALS))
    .map(([policy, approvals]) => [...policy.split("\n").filter((section) => !section.startsWith("approvals:")), approvals].join("\n")),
);

type Step =
  | {
      readonly kind: "ask";
      readonly all: readonly (Wanted & { readonly action: string })[];
      readonly whole: boolean;
      readonly lease: "stale" | null | undefined;
    }
  | { readonly kind: "commit" | "release" | "extend" | "topup"; readonly which: number; readonly cents: number; readonly good: boolean }
  | {
      readonly kind: "answer";
      readonly which: number;
      readonly person: string;
      readonly says: PersonsAnswer["decision"];
      readonly edit: number | null;
    }
  | { readonly kind: "use"; readonly which: number; readonly people: readonly string[] }
  | { readonly kind: "cancel"; readonly which: number }
  | { readonly kind: "run" | "close_run" }
  | { readonly kind: "wait"; readonly ms: number };

const cents = fc.integer({ min: 0, max: 30 });

const anAsk = fc.record(
  {
    action: fc.constantFrom("a", "b", "c.x", "c.y"),
    usd: cents.map((n) => String(n / 100)),
    inputs: fc.record({ n: fc.integer({ min: 0, max: 3 }), k: fc.constantFrom("p", "q", "r") }, { requiredKeys: [] }),
    tags: fc.constantFrom([], ["prod"]),
    ttlMs: fc.integer({ min: 1, max: 6000 }),
    ...{
      price: fc.constantFrom(
        null,
        { basis: "stated", data: "1", known: true } as const,
        { basis: "none", data: "1", known: false } as const,
        { basis: "unpriced", data: "1", known: false } as const,
      ),
    },
  },
  { requiredKeys: ["action"] },
);

const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      all: fc.array(anAsk, { minLength: 1, maxLength: 3 }),
      whole: fc.boolean(),
      lease: fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom("stale" as const, null) }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom("commit", "release", "extend", "topup"), which: fc.nat(20), cents, good: fc.boolean() }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("answer" as const),
      which: fc.nat(5),
      person: fc.constantFrom("ann", "bob", "cyd", "owner"),
      says: fc.oneof(
        { weight: 8, arbitrary: fc.constant("approve" as const) },
        { weight: 1, arbitrary: fc.constantFrom("reject" as const, "request_info" as const) },
      ),
      edit: fc.oneof({ weight: 5, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: cents }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("use" as const), which: fc.nat(3), people: fc.subarray(["bob", "ann", "cyd"]) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), which: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("run", "close_run") }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 4000 }) }) },
);

const aHistory = fc.array(aStep, { maxLength: 40, size: "max" });

function play(live: Live, steps: readonly Step[]): void {
  const asked: DecisionId[] = [];
  /** Holds, the latest first, with what would now be asked with their approvals. */
  const held: { id: DecisionId; wanted: Wanted & { readonly action: string } }[] = [];
  let runs = 0;
  for (const step of steps) {
    switch (step.kind) {
      case "wait":
        live.wait(step.ms);
        break;
      case "run":
        live.openRun(idFromDigest("run", sha256(`run ${++runs}`)));
        break;
      case "close_run":
        live.closeRun(live.currentRun);
        break;
      case "ask": {
        const run = live.currentRun;
        const all = step.all.map((one) => ({ ...one, run }));
        for (const [place, id] of live.batch(all, step.whole ? "all_or_nothing" : "independent", step.lease).entries()) {
          asked.push(id);
          const wanted = all[place];
          if (live.state(id) === "held" && wanted !== undefined) held.unshift({ id, wanted: { ...wanted, approval: live.approvalOf(id) } });
        }
        break;
      }
      case "answer": {
        const one = held[step.which % Math.max(1, held.length)];
        if (one === undefined) break;
        const edits = step.edit === null || step.says !== "approve" ? null : { estimateMicroUsd: usd(String(step.edit / 100)) };
        live.answer(one.id, step.person, step.says, edits);
        // It may have been refused: then what is asked is of something else.
        if (edits !== null) one.wanted = { ...one.wanted, usd: String((step.edit ?? 0) / 100) };
        break;
      }
      case "use":
      case "cancel": {
        const one = held[step.which % Math.max(1, held.length)];
        if (one === undefined) break;
        if (step.kind === "cancel") live.cancel(one.id);
        else {
          for (const person of step.people) live.answer(one.id, person);
          asked.push(live.ask(one.wanted.action, one.wanted));
        }
        break;
      }
      default: {
        const id = asked[step.which % Math.max(1, asked.length)];
        if (id === undefined) break;
        const sum = String(step.cents / 100);
        if (step.kind === "commit") live.commit(id, sum, step.good ? { outputs: { ok: step.cents > 9 } } : { outcome: "error" });
        else if (step.kind === "release") live.release(id);
        else if (step.kind === "extend") live.extend(id, 1 + step.cents * 200);
        else live.topup(id, sum);
      }
    }
  }
}

const changes = (tally: Tally): number => CHANGES.reduce((sum, kind) => sum + tally.changed[kind].count, 0);
const kept = (tally: Tally): number => [...tally.notComparable.values()].reduce((sum, { count }) => sum + count, 0);

describe("laws", () => {
  it("under the policy that was in force all along nothing differs, from whichever instant on", () => {
    const seen = { deny: 0, hold: 0, allow: 0, used: 0 };
    fc.assert(
      fc.property(anyPolicy, aHistory, fc.option(fc.nat(60_000), { nil: undefined }), (policy, steps, after) => {
        const live = new Live(policy);
        play(live, steps);
        const tally = simulate(live, policy, after === undefined ? {} : { from: START + after });
        expect(figures(tally), policy).toMatchObject({ decisions: tally.same + kept(tally), same: tally.same });
        expect({ changes: changes(tally), other: tally.sameForAnotherReason, uncertain: tally.uncertain.count }).toEqual({
          changes: 0,
          other: 0,
          uncertain: 0,
        });
        for (const { canonical } of live.rows) {
          const { verdict, step, approval } = JSON.parse(canonical);
          if (verdict === "allow" && approval !== null) seen.used++;
          if (step === "decide" && (verdict === "deny" || verdict === "hold" || verdict === "allow")) seen[verdict as keyof typeof seen]++;
        }
      }),
      { numRuns: 250 },
    );
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(20);
  });

  it("every decision is counted once, whatever the candidate, and money is only prevented where something is newly denied", () => {
    let changed = 0;
    fc.assert(
      fc.property(anyPolicy, anyPolicy, aHistory, (policy, candidate, steps) => {
        const live = new Live(policy);
        play(live, steps);
        const tally = simulate(live, candidate);
        const decisions = live.rows.map(({ canonical }) => JSON.parse(canonical)).filter(({ step }) => step === "decide" || step === "topup");
        expect(tally.decisions).toBe(decisions.length);
        expect(tally.same + changes(tally) + kept(tally) + tally.uncertain.count).toBe(tally.decisions);
        for (const kind of CHANGES) expect(tally.byRule.reduce((sum, rule) => sum + rule.changed[kind].count, 0)).toBe(tally.changed[kind].count);
        expect(tally.byRule.reduce((sum, { preventedMicroUsd }) => sum + preventedMicroUsd, 0)).toBe(tally.preventedMicroUsd);
        if (tally.changed.newly_denied.count === 0) expect(tally.preventedMicroUsd).toBe(0);
        expect(tally.preventedMicroUsd).toBeLessThanOrEqual(tally.changed.newly_denied.moneyMicroUsd);
        changed += changes(tally);
      }),
      { numRuns: 200 },
    );
    expect(changed).toBeGreaterThan(100);
  });

  it("a stricter list denies exactly what it names and, where nothing is shared, changes nothing else", () => {
    fc.assert(
      fc.property(aHistory, (steps) => {
        const live = new Live("version: 1");
        play(live, steps);
        const tally = simulate(live, "denied_actions: [a]");
        const entries = live.rows.map(({ canonical }) => JSON.parse(canonical));
        const named = entries.filter(({ step, action, verdict }) => step === "decide" && action === "a" && verdict === "allow");
        expect(tally.changed.newly_denied.entries).toEqual(named.map(({ id }) => id).slice(0, 100));
        expect(tally.changed.newly_allowed.count + tally.changed.newly_held.count + tally.changed.no_longer_held.count).toBe(0);
        const ids = new Set(named.map(({ decision_id }) => decision_id));
        const net = new Map<string, number>(named.map(({ decision_id, estimate_usd }) => [decision_id, usd(estimate_usd)]));
        const settled = new Map<string, number>();
        for (const { kind, decision_id, cost_usd, corrected_usd } of entries) {
          if (ids.has(decision_id) && kind !== "decision")
            settled.set(decision_id, (settled.get(decision_id) ?? 0) + usd(cost_usd) - usd(corrected_usd));
        }
        for (const [id, cost] of settled) net.set(id, cost);
        expect(tally.preventedMicroUsd).toBe(microUsdOf([...net.values()].reduce((a, b) => a + b, 0)));
      }),
      { numRuns: 150 },
    );
  });
});

describe("a denial on record, by its reason,", () => {
  /** The same rows, where a decision of this action was denied for another reason. */
  const denied = (live: Live, says: object): readonly Row[] =>
    live.rows.map((row) => {
      const entry = JSON.parse(row.canonical);
      return entry.kind === "decision" && entry.verdict === "deny" ? { ...row, canonical: JSON.stringify({ ...entry, ...says }) } : row;
    });
  const live = () => {
    const one = new Live("denied_actions: [a]");
    one.ask("a", { usd: "0.5" });
    return one;
  };
  const BY_POLICY = REASONS.slice(REASONS.indexOf("action_denied"), REASONS.indexOf("permitted")).filter(
    (reason) => !/^(agent|tenant)_budget_|^approval_(?!required)|^batch_refused$/.test(reason),
  );

  it.each(REASONS.filter((reason) => reason !== "permitted"))("%s: is one that a policy decides, or stays as it was", (reason) => {
    const one = live();
    const expected = BY_POLICY.includes(reason) ? { newly_allowed: "1 for 500000" } : { [reason]: 1 };
    expect(figures(simulate(one, "version: 1", { rows: denied(one, { reason }) }))).toEqual({ decisions: 1, same: 0, ...expected });
  });

  it.each<readonly [string, readonly object[], boolean]>([
    ["a rate of all sessions of the agent", [{ per: "agent", remaining: 0 }], true],
    [
      "a rate of all sessions of the tenant",
      [
        { per: "tenant", remaining: 0 },
        { per: "session", remaining: 1 },
      ],
      true,
    ],
    ["a rate of its own", [{ per: "session", remaining: 0 }], false],
    [
      "a rate of its own and another's",
      [
        { per: "agent", remaining: 0 },
        { per: "run", remaining: 0 },
      ],
      false,
    ],
    ["no rate that is told", [{ per: "agent", remaining: 1 }], false],
  ])("where %s was used up: stays as it was: %s", (_, rates, stays) => {
    const one = live();
    const rows = denied(one, { reason: "rate_exceeded", rates: rates.map((rate) => ({ name: "a", limit: 1, window_ms: 1_000, ...rate })) });
    const expected = stays ? { rate_exceeded: 1 } : { newly_allowed: "1 for 500000" };
    expect(figures(simulate(one, "version: 1", { rows }))).toEqual({ decisions: 1, same: 0, ...expected });
  });

  it("other than that of a rate is the policy's, whatever rates were used up", () => {
    const one = live();
    const rows = denied(one, { reason: "rule_forbids", rates: [{ name: "a", limit: 1, window_ms: 1_000, per: "agent", remaining: 0 }] });
    expect(figures(simulate(one, "version: 1", { rows }))).toEqual({ decisions: 1, same: 0, newly_allowed: "1 for 500000" });
  });

  it("of a larger sum stays, too, and is told of what it was", () => {
    const one = new Live("budgets: { session: 1 }");
    one.topup(one.ask("a", { usd: "0.5" }), "2");
    expect(figures(simulate(one, "budgets: { session: 5 }"))).toEqual({ decisions: 2, same: 1, newly_allowed: "1 for 1500000" });
    const tally = simulate(one, "budgets: { session: 5 }", { rows: denied(one, { reason: "tenant_budget_exceeded" }) });
    expect(figures(tally)).toEqual({ decisions: 2, same: 1, tenant_budget_exceeded: 1 });
    expect(tally.notComparable.get("tenant_budget_exceeded")).toMatchObject({ count: 1, moneyMicroUsd: 2_000_000 });
  });

  it("before the window stays, and is in no figure", () => {
    const one = live();
    const from = one.wait(1_000).now;
    one.ask("b");
    expect(figures(simulate(one, "version: 1", { from, rows: denied(one, { reason: "agent_budget_exceeded" }) }))).toEqual({ decisions: 1, same: 1 });
  });
});

it("figures of money stay at the largest number, and the rule with the most changes is told first", () => {
  const tally = new Tally();
  const most = microUsdOf(Number.MAX_SAFE_INTEGER);
  const entry = idFromDigest("ent", sha256("entry"));
  const change = (rule: string, kind: (typeof CHANGES)[number]) => tally.addChange({ kind, entry, rule, reason: "rule_forbids" }, most, most);
  change("few", "newly_denied");
  change("many", "newly_denied");
  change("many", "newly_held");
  expect(tally.changed.newly_denied).toEqual({ count: 2, moneyMicroUsd: most, entries: [entry, entry] });
  expect(tally.preventedMicroUsd).toBe(most);
  expect(tally.byRule.map(({ rule, changed }) => [rule, CHANGES.map((kind) => changed[kind].count)])).toEqual([
    ["many", [1, 0, 1, 0]],
    ["few", [1, 0, 0, 0]],
  ]);
});

it("says what it takes for granted, in sentences that an author can weigh", () => {
  expect(ASSUMPTIONS.length).toBeGreaterThan(5);
  for (const sentence of ASSUMPTIONS) expect(sentence).toMatch(/^[A-Z].{40,}\.$/);
  expect(new Set(ASSUMPTIONS).size).toBe(ASSUMPTIONS.length);
});
