import { type Approval, answer, cancelAll, isOpen } from "../../../src/core/approvals.ts";
import { assert } from "../../../src/core/assert.ts";
import { type Book, balancesOf, type Decided, emptyBook, limitsFor, type Settled } from "../../../src/core/book.ts";
import { type Ask, conclude, judge } from "../../../src/core/conclude.ts";
import type { Balance, Decision } from "../../../src/core/decision.ts";
import type { ApprovalId, DecisionId, RunId, SessionId } from "../../../src/core/ids.ts";
import { type MicroUsd, ZERO_USD } from "../../../src/core/money.ts";
import { circumstancesOf } from "../../../src/core/policy/circumstances.ts";
import { policyLimits } from "../../../src/core/policy/compile.ts";
import { type Asked, evaluatePolicy } from "../../../src/core/policy/evaluate.ts";
import { ExpressionMemory } from "../../../src/core/policy/expressions.ts";
import { type Limit, workBudget } from "../../../src/core/policy/findings.ts";
import { type Refusal, refusal } from "../../../src/core/refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "../../../src/core/request.ts";
import { err, ok, type Result } from "../../../src/core/result.ts";
import { commit, type DecisionRecord, extend, NOT_ASKED_AGAIN, reconsidered, recordOf, release, type Told, topup } from "../../../src/core/settle.ts";
import { type Shares, settlePieces, standAlone } from "../../../src/core/shares.ts";
import type { Instant } from "../../../src/core/time.ts";
import { changed, Trail } from "../../../src/core/trail.ts";
import { happen, openTurn, type Turn } from "../../../src/core/turn.ts";
import { Generations } from "./generations.ts";
import type { LocalPolicy } from "./policy_source.ts";
import { sha256 } from "./sha256.ts";
import { type Remembered, TraceMemory } from "./trace_memory.ts";

/** So many of the newest decisions are remembered, at least, for whoever asks or tells again under their ids, and all that are not settled. */
const LEAST_KNOWN = 2_048;
/** A guard settles what it asked for, and then nobody is expected to name it again. What is remembered of it costs more than deciding it. */
const LEAST_GUARDED = 256;

/** So many closed runs are remembered, at least, for whoever asks in them or for what they spent. */
const LEAST_CLOSED = 2_048;

/** No session of a process runs out by itself: a hundred years. */
const LIFE_MS = 100 * 365 * 86_400_000;

export interface AuthorityOptions {
  readonly tenant: string;
  readonly session: SessionId;
  readonly agent: string;
  readonly run: RunId;
  readonly now: () => Instant;
  /** A cap of the session's own, which can only tighten the policy's. */
  readonly budgetMicroUsd: MicroUsd | null;
  /** What its agent and its tenant spend together with other sessions that are decided here, by one clock. Default: nothing is shared. */
  readonly shares?: Shares | undefined;
  /** Told of what ran out, before anything else is asked about it; it never throws. */
  readonly onExpired?: ((record: DecisionRecord, request: ActionRequest | null) => void) | undefined;
}

/**
 * The authority of one session, in this process's memory: the gateway's own evaluation, gates and book, turn by turn, without waiting. What the
 * gateway's session object does with storage and a lease, this does without: its policy is in force until another takes its place, and what agents
 * and tenants share is this session's alone, or that of the sessions beside it. Should a law of the core ever break here, nothing is allowed any more.
 */
export class Authority {
  readonly book: Book;
  /** How many calls of each action were reported, by name. */
  readonly reported = new Map<string, number>();
  #policy: LocalPolicy | null = null;
  #lease: Ask["lease"] = UNLEASED;
  #broken: unknown = null;
  readonly #now: () => Instant;
  readonly #onExpired: AuthorityOptions["onExpired"];
  readonly #principal: Principal;
  readonly #traces = new TraceMemory();
  readonly #conditions = new ExpressionMemory();
  readonly #known = new Generations<DecisionId, Known>(LEAST_KNOWN, isPending);
  readonly #guarded = new Generations<DecisionId, Known>(LEAST_GUARDED, isPending);
  readonly #closedApprovals = new Generations<ApprovalId, Approval>(LEAST_KNOWN);
  /** Oldest first. */
  #closed: RunId[] = [];

  constructor({ now, run, onExpired, shares, ...about }: AuthorityOptions) {
    const openedAt = now();
    this.#now = now;
    this.#onExpired = onExpired;
    this.#principal = { tokenId: "tok_local", tenant: about.tenant, subject: about.agent, kind: "agent" };
    const book = emptyBook({ ...about, run, openedAt, expiresAt: openedAt + LIFE_MS }, new Trail(this.#traces));
    this.book = shares === undefined ? book : { ...book, shares };
    this.openRun(run);
  }

  /** What is in force. `null`: nothing, and everything is denied. */
  get policy(): LocalPolicy | null {
    return this.#policy;
  }

  /** Puts another policy in force, whole, from the next decision on. What was spent stays spent. */
  use(policy: LocalPolicy | null): void {
    this.#policy = policy;
    this.#lease = policy === null ? UNLEASED : { fresh: true, policy: policy.ref, orders: [] };
  }

  /**
   * Decides a request, or gives the recorded answer to its id. Refuses a known id with another request, and a run that was never opened. `isGuards`: who
   * asks settles it too.
   */
  decide(request: ActionRequest, isGuards = false): Result<Decision, Refusal> {
    return this.#turn((turn) => {
      const known = this.#find(request.id);
      if (known !== undefined) return asBefore(known, request);
      if (request.run !== null && !turn.book.runs.has(request.run))
        return err(refusal("body_invalid", `There is no run "${request.run}" in this session.`));
      const ask: Ask = this.#askOf(request, request, turn.now, false, this.#presented(request.approval));
      const judgement = judge(turn.book, ask, turn.now, turn.sha256);
      assert(judgement.shorts.length === 0, "a session that shares with nobody has nobody to ask");
      const answer = conclude(turn, ask, judgement, "");
      this.#keep(turn, request, isGuards ? this.#guarded : this.#known);
      return ok(answer);
    });
  }

  /** Takes the caller's word for what an action cost. */
  commit(id: DecisionId, report: CommitReport, fingerprint: string): Told {
    return this.#settle(id, (turn, record) => commit(turn, record, this.#principal, report, fingerprint));
  }

  /** Counts what was spent on a yes that was given elsewhere, above every limit if it must be. */
  spent(run: RunId, action: string, microUsd: MicroUsd): void {
    this.#turn((turn) => {
      const { deltas } = settlePieces([], "pending", { at: turn.now, posted: microUsd, overrun: ZERO_USD });
      happen(turn, { kind: "money", fund: "budgets", run, action, delta: { posted: microUsd, pending: 0, overrun: 0 }, pieces: deltas });
    });
  }

  /** Gives a reservation back. */
  release(id: DecisionId, reason: string | null): Told {
    return this.#settle(id, (turn, record) => release(turn, record, this.#principal, reason, "release"));
  }

  /** Lets a reservation stand until `ttlMs` from now. */
  extend(id: DecisionId, ttlMs: number): Told {
    return this.#settle(id, (turn, record) => extend(turn, record, this.#principal, ttlMs));
  }

  /** Asks for a new sum while an action runs. */
  topup(id: DecisionId, estimateMicroUsd: MicroUsd): Result<Decision, Refusal> {
    return this.#turn((turn) => {
      const known = this.#find(id);
      if (known === undefined) return err(noSuch(id));
      const request = { ...NOT_ASKED_AGAIN, ...reconsidered(known.record), estimateMicroUsd };
      const done = topup(turn, known.record, this.#askOf(request, request, turn.now, true));
      if (!done.ok) return done;
      assert(!("shorts" in done.value), "a session that shares with nobody has nobody to ask");
      this.#keep(turn, null);
      return ok(done.value);
    });
  }

  /** Takes a person's answer to what is held. Refuses what the gateway refuses: an answer of the agent's own, of a stranger, to what is closed. */
  answer(id: DecisionId, { subject, scopes, ...said }: LocalAnswer): Result<Approval, Refusal> {
    return this.#turn((turn) => {
      const approval = this.#approvalOf(id);
      if (approval === null) return err(refusal("not_found", `The decision "${id}" waits for nobody.`));
      const principal: Principal = { ...this.#principal, subject, kind: "human" };
      const answered = answer(turn, approval, { principal, scopes, owners: [] }, { ...said, digest: approval.digest, edits: null });
      this.#keep(turn, null);
      return answered.ok ? ok(answered.value.approval) : answered;
    });
  }

  /** What became of an approval; `null`: it is not known, or not any more. */
  approval(id: ApprovalId): Approval | null {
    this.pass();
    return this.book.approvals.get(id) ?? this.#closedApprovals.get(id) ?? null;
  }

  /** The approval that a held decision waits for; `null`: it waits for none. */
  #approvalOf(id: DecisionId): Approval | null {
    const asked = this.read(id)?.decision.approval;
    return asked == null ? null : (this.book.approvals.get(asked.id) ?? this.#closedApprovals.get(asked.id) ?? null);
  }

  /** What an approval is worth that the book has no more; of one that it has, it says so itself. */
  #presented(id: ApprovalId | null): Ask["presented"] {
    if (id === null || this.book.approvals.has(id)) return "none";
    const status = this.#closedApprovals.get(id)?.status;
    return status === "rejected" || status === "cancelled" || status === "expired" || status === "consumed" ? status : "unknown";
  }

  openRun(run: RunId): void {
    this.#turn((turn) => happen(turn, { kind: "run_opened", run }));
  }

  /** Lets nothing more begin in a run. Old closed runs are forgotten, as if they had never been, but for what the session has spent in them. */
  closeRun(run: RunId): void {
    this.#turn((turn) => {
      if (turn.book.runs.get(run)?.closed !== false) return;
      happen(turn, { kind: "run_closed", run });
      cancelAll(turn, run);
      this.#keep(turn, null);
      this.#closed.push(run);
      if (this.#closed.length >= 2 * LEAST_CLOSED) this.#forgetRuns();
    });
  }

  /** What of a run is not settled, or can still be reported late, moves its money: as long as one such decision is remembered, so is the run. */
  #forgetRuns(): void {
    const needed = new Set([...this.#guarded.values(), ...this.#known.values()].map(({ record }) => record.matter?.run));
    needed.add(this.book.currentRun);
    const newest = this.#closed.splice(-LEAST_CLOSED);
    this.#closed = [...this.#closed.filter((run) => needed.has(run) || !this.book.runs.delete(run)), ...newest];
  }

  /** Nothing is decided any more. What runs may still be reported. */
  close(): void {
    this.#turn((turn) => {
      if (turn.book.closed) return;
      happen(turn, { kind: "session_closed" });
      cancelAll(turn, null);
      this.#keep(turn, null);
    });
  }

  /** Lets time pass: what has run out by now is posted. */
  pass(): void {
    this.#turn(() => undefined);
  }

  /** How all that the policy limits stands, with the current run and the session. */
  balances(): readonly Balance[] {
    this.pass();
    const { book } = this;
    const limits = this.#policy === null ? [] : limitsOf(this.#policy.document);
    const reserve = limits.filter(({ scope }) => scope === "wind_down");
    const own = limits.filter((limit) => limit.scope !== "wind_down");
    return balancesOf(book, [...limitsFor(book, own), ...reserve], book.currentRun);
  }

  /** How a decision stands; `null` when it is not known, or not any more. */
  read(id: DecisionId): DecisionRecord | null {
    return this.#find(id)?.record ?? null;
  }

  /** What a decision's report said that it cost; `null`: there is none. */
  reportedMicroUsd(id: DecisionId): MicroUsd | null {
    const record = this.read(id);
    return record?.state === "posted" ? record.postedMicroUsd : null;
  }

  #settle(id: DecisionId, step: (turn: Turn, record: DecisionRecord) => Told): Told {
    return this.#turn((turn) => {
      const known = this.#find(id);
      if (known === undefined) return err(noSuch(id));
      const told = step(turn, known.record);
      this.#keep(turn, null);
      return told;
    });
  }

  /** The request with the policy's word on it, and under which authority it is asked. `asked`: the same request, as whoever decides it takes it. */
  #askOf<Request>(
    request: Asked & Pick<ActionRequest, Looked>,
    asked: Request,
    now: Instant,
    isTopup: boolean,
    presented: Ask["presented"] = "none",
  ): Omit<Ask, "request"> & { readonly request: Request } {
    const policy = this.#policy;
    const principal = this.#principal;
    const conditions = this.#conditions;
    const budget = workBudget();
    if (policy === null) return { request: asked, principal, presented, conditions, budget, tenant: "heard", evaluation: null, lease: UNLEASED };
    const { tenant, session, agent } = this.book;
    const around = circumstancesOf({ tenant, session, agent, principal, request, stored: nothingStored, now, isTopup, sha256, budget });
    const findings = evaluatePolicy(policy.compiled, policy.ref, request, around);
    standAlone(this.book.shares, findings, now);
    const evaluation = { kind: "findings", findings } as const;
    return { request: asked, principal, presented, conditions, budget, tenant: "heard", evaluation, lease: this.#lease };
  }

  #turn<T>(act: (turn: Turn) => T): T {
    if (this.#broken !== null) throw this.#broken;
    try {
      const turn = openTurn(this.book, this.#now(), TOOLS);
      // What has run out by now has its new state before anything is asked about it.
      this.#keep(turn, null);
      return act(turn);
    } catch (fault) {
      // The book may be half changed, and there is no store to read it from again.
      this.#broken = fault;
      throw fault;
    }
  }

  #find(id: DecisionId): Known | undefined {
    return this.#guarded.get(id) ?? this.#known.get(id);
  }

  /** Takes up what happened in a turn so far. `request`: the one that was decided, and `memory` where it is remembered. */
  #keep(turn: Turn, request: ActionRequest | null, memory = this.#known): void {
    const { effects } = turn;
    if (effects.length === 0) return;
    for (const effect of effects) {
      if (effect.kind === "decided") this.#begins(effect.decided, request, memory);
      else if (effect.kind === "settled") this.#isOver(effect.settled);
      else if (effect.kind === "approval") {
        if (!isOpen(effect.approval)) this.#closedApprovals.add(effect.approval.id, effect.approval);
      } else if (effect.kind === "changed") {
        const known = this.#find(effect.id);
        if (known === undefined) continue;
        known.record = { ...known.record, reservation: effect.reservation, pieces: effect.pieces };
        if (known.call !== null) known.call.trace = changed(known.call.trace, { amountMicroUsd: effect.reservation.amountMicroUsd });
      }
    }
    effects.length = 0;
  }

  #begins(decided: Decided, request: ActionRequest | null, memory: Generations<DecisionId, Known>): void {
    const { decision, trace } = decided;
    const call = trace === null ? null : this.#traces.add(trace, this.#policy?.looksBack === true);
    memory.add(decision.id, { record: recordOf(decided), request, call });
  }

  #isOver({ id, action, state, became, postedMicroUsd, overrunMicroUsd, pieces, told }: Settled): void {
    if (state === "posted" && told !== null) this.reported.set(action, (this.reported.get(action) ?? 0) + 1);
    const known = this.#find(id);
    if (known === undefined) return;
    known.record = { ...known.record, state, postedMicroUsd, overrunMicroUsd, pieces, told };
    if (known.call !== null) known.call.trace = changed(known.call.trace, became);
    // What ran out may still run, and its guard reports it late.
    if (state === "expired" && this.#guarded.delete(id)) this.#known.add(id, known);
    // From now on it may be forgotten, and not before others that ended earlier.
    this.#guarded.renew(id, known);
    this.#known.renew(id, known);
    if (state === "expired") this.#onExpired?.(known.record, known.request);
  }
}

/** Every limit on money that a policy has. */
function limitsOf(document: LocalPolicy["document"]): readonly Limit[] {
  const { actions, runMicroUsd, sessionMicroUsd, shared, windDownMicroUsd } = policyLimits(document);
  return [
    ...actions.map((limit) => ({ scope: "action" as const, ...limit })),
    ...(runMicroUsd === null ? [] : [{ scope: "run" as const, limitMicroUsd: runMicroUsd }]),
    ...(sessionMicroUsd === null ? [] : [{ scope: "session" as const, limitMicroUsd: sessionMicroUsd }]),
    ...shared,
    ...(windDownMicroUsd === null ? [] : [{ scope: "wind_down" as const, limitMicroUsd: windDownMicroUsd }]),
  ];
}

/** What a person says, and who that is. */
export interface LocalAnswer {
  readonly decision: "approve" | "reject";
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly note: string | null;
}

/** A decision, the request that it answers, and the call that it allowed. */
interface Known {
  record: DecisionRecord;
  readonly request: ActionRequest | null;
  readonly call: Remembered | null;
}

const isPending = ({ record }: Known): boolean => record.state === "pending";

type Looked = "resource" | "riskLevel" | "confidence" | "rationale" | "sources" | "model";

const UNLEASED: Ask["lease"] = { fresh: true, policy: null, orders: [] };
const nothingStored = () => NOTHING;
const NOTHING = Object.freeze({});

/** The core's own entries are not made here: the local ledger has lines of its own. */
const TOOLS = { sha256, fresh: null };

function asBefore({ record, request }: Known, again: ActionRequest): Result<Decision, Refusal> {
  const isSame = request !== null && JSON.stringify(request) === JSON.stringify(again);
  return isSame ? ok(record.decision) : err(refusal("idempotency_mismatch", `The decision "${again.id}" was asked before with another request.`));
}

const noSuch = (id: DecisionId | ApprovalId): Refusal => refusal("not_found", `There is no decision "${id}" in this session.`);
