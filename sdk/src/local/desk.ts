import type { Decision } from "../../../src/core/decision.ts";
import type { DecisionId, RunId, SessionId } from "../../../src/core/ids.ts";
import { lessUsd, type MicroUsd } from "../../../src/core/money.ts";
import type { ActionRequest } from "../../../src/core/request.ts";
import type { DecisionRecord } from "../../../src/core/settle.ts";
import type { Shares } from "../../../src/core/shares.ts";
import { type AnyAgentSentinelError, errorFor } from "../errors.ts";
import { observe } from "../observers.ts";
import { decisionAnswer } from "./answer.ts";
import { answered } from "./answered.ts";
import { Authority } from "./authority.ts";
import { type Contexts, contexts } from "./contexts.ts";
import type { Frame, Run, Scope } from "./frames.ts";
import { Generations } from "./generations.ts";
import { Ledger, type LedgerContext } from "./ledger/ledger.ts";
import type { Recorder } from "./ledger/recorder.ts";
import { recorderOf } from "./payload.ts";
import { readLocalPolicy } from "./policy_source.ts";
import { Records, type Told, toldDecision } from "./records.ts";
import { LocalRefusedError } from "./refused_error.ts";
import type { Replay } from "./replay.ts";
import { microUsd } from "./request.ts";
import type { LocalObservers, LocalSentinelOptions } from "./types.ts";
import { fastUuid } from "./uuid.ts";

/** So many calls that ran out are remembered, at least, for the line that says how they ended after all. */
const LEAST_CHARGED = 2_048;

/**
 * What everything of one local sentinel shares: its authority, its ledger, its runs, and what belongs to the code that runs now. A decision is made
 * here, and is on record before anybody hears of it.
 */
export class Desk {
  readonly authority: Authority;
  /** `null`: nothing is kept. */
  readonly records: Records | null;
  readonly ledger: Ledger | null;
  readonly observers: LocalObservers;
  readonly replay: Replay | null;
  readonly now: () => number;
  readonly contexts: Contexts<Frame> = contexts();
  recorder: Recorder = recorderOf(null);
  /** Why the whole session stopped. A new run does not undo it. */
  stopped: AnyAgentSentinelError | null = null;
  readonly #newId: () => string;
  /** The calls that run without the gateway's answer. Of all others in its sessions the gateway has the record. */
  readonly unguarded = new Set<DecisionId>();
  readonly #isGateways: boolean;
  /** What was charged for calls that ran out, until their end comes after all. */
  readonly #charged = new Generations<DecisionId, MicroUsd>(LEAST_CHARGED);
  readonly #runs = new Map<string, Run>();
  readonly #outside: Frame;
  #versions = 0;

  /** `of`: the session that it belongs to, its current run, and what it shares with others. Default: one of its own. */
  constructor(
    { policy = null, agent = "local", budgetUsd, ledger, now = Date.now, newId, replay, ...observers }: LocalSentinelOptions,
    of?: { readonly session: SessionId; readonly run: RunId; readonly shares: Shares },
  ) {
    this.now = now;
    this.observers = observers;
    this.replay = replay ?? null;
    this.#isGateways = of !== undefined;
    this.#newId = newId ?? (() => fastUuid(now()));
    this.records = ledger === undefined ? null : new Records(ledger, observers, now, newId);
    this.ledger = ledger === undefined ? null : new Ledger({ store: ledger, recorder: () => this.recorder, context: () => this.#names(), now });
    const run: RunId = of?.run ?? `run_${this.#newId()}`;
    const budgetMicroUsd = budgetUsd === undefined ? null : microUsd(budgetUsd, "budgetUsd");
    this.authority = new Authority({
      tenant: "local",
      session: of?.session ?? `ses_${this.#newId()}`,
      agent,
      run,
      now,
      budgetMicroUsd,
      shares: of?.shares,
      onExpired: (record, request) => this.#expired(record, request),
    });
    this.#outside = { scope: { run: this.#begun(run) }, parents: [] };
    if (policy !== null) this.use(policy, "use the policy");
  }

  /** Puts a policy in force, whole, or throws and leaves in force what is; `what` is what cannot be done then. */
  use(policy: string | object | null, what: string): void {
    const read = policy === null ? null : readLocalPolicy(policy, this.#versions + 1, what);
    if (read !== null) this.#versions++;
    this.authority.use(read);
    this.recorder = recorderOf(read);
  }

  newDecisionId(): DecisionId {
    return `dec_${this.#newId()}`;
  }

  frame(): Frame {
    return this.contexts.get() ?? this.#outside;
  }

  /** Decides. Nobody may hear of it before it is on record: see `record`. `isGuards`: who asks settles it too. */
  decide(request: ActionRequest, isGuards: boolean): Decision {
    return answered(`decide "${request.action}"`, this.authority.decide(request, isGuards));
  }

  /**
   * Writes a decision down. What is allowed and cannot be written is given back, and throws: it does not run. `wasKnown`: it was asked before, and may be
   * under way.
   */
  record(decision: Decision, told: Told, wasKnown: boolean): void {
    this.#put(decision, told, () => {
      if (!wasKnown) this.authority.release(decision.id, "not recorded");
    });
  }

  /**
   * Asks for a new sum while an action runs. What is allowed and cannot be written stands, and throws. Throws too where the reservation has run out: it
   * was charged at its estimate then, and there is nothing left that could grow.
   */
  topup(told: Told, estimateUsd: string | number): { readonly decision: Decision; readonly told: Told } {
    const estimateMicroUsd = microUsd(estimateUsd, "estimateUsd");
    this.authority.pass();
    if (this.authority.read(told.decision.id)?.state === "expired") {
      const detail = 'its reservation has run out, and its estimate was charged: what runs for longer states a longer "ttlMs" (5 minutes otherwise)';
      throw new LocalRefusedError(`top up "${told.decision.action}"`, { code: "decision_settled", detail });
    }
    const decision = answered(`top up ${told.decision.id}`, this.authority.topup(told.decision.id, estimateMicroUsd));
    const now: Told = { ...told, decision: toldDecision(decision), estimateMicroUsd };
    this.#put(decision, now, () => undefined);
    return { decision, told: now };
  }

  /** The error that a decision stands for; `null` when its action may run. What it says is over is stopped. */
  errorOf(decision: Decision): AnyAgentSentinelError | null {
    if (decision.verdict === "allow") return null;
    const error = errorFor(decisionAnswer(decision));
    if (error !== null) this.#stop(decision, error);
    return error;
  }

  /** What a call has cost beyond what is on record of it already, which nobody asks twice. */
  uncharged(id: DecisionId, postedMicroUsd: MicroUsd): MicroUsd {
    const charged = this.#charged.get(id);
    if (charged === undefined) return postedMicroUsd;
    this.#charged.delete(id);
    return lessUsd(postedMicroUsd, charged);
  }

  openRun(scope: Scope | null): Run {
    const id: RunId = `run_${this.#newId()}`;
    this.authority.openRun(id);
    const run = this.#begun(id);
    if (this.stopped !== null) run.stop.abort(this.stopped);
    if (scope !== null) scope.run = run;
    return run;
  }

  signalOf(run: RunId): AbortSignal {
    return (this.#runs.get(run) ?? this.frame().scope.run).signal;
  }

  /** Runs something as part of a run, apart from all else. */
  within<Args extends unknown[], Result>(run: Run, act: (...args: Args) => Result, ...args: Args): Result {
    return this.contexts.run({ scope: { run }, parents: [] }, act, ...args);
  }

  #put(decision: Decision, told: Told, undo: () => unknown): void {
    try {
      this.records?.decided(told);
    } catch (error) {
      if (decision.verdict === "allow") undo();
      throw error;
    }
    if (this.observers.onDecision !== undefined) observe(this.observers.onDecision, decisionAnswer(decision));
  }

  /** What was charged although nobody said how it ended goes on record, as all that was spent does. */
  #expired({ decision, reservation, postedMicroUsd }: DecisionRecord, request: ActionRequest | null): void {
    const isUnguarded = this.unguarded.delete(decision.id);
    if (this.records === null || reservation === null || (this.#isGateways && !isUnguarded)) return;
    const told: Told = {
      tags: request?.tags ?? [],
      agent: this.authority.book.agent,
      inputs: null,
      parents: request?.parents ?? [],
      estimateMicroUsd: reservation.amountMicroUsd,
      decision: toldDecision(decision),
      ...(isUnguarded && { unguarded: true }),
    };
    this.#charged.add(decision.id, postedMicroUsd);
    this.records.expired(told, postedMicroUsd, request?.ttlMs ?? 0);
  }

  /** Whose lines are recorded here. */
  #names(): LedgerContext {
    const { agent, session } = this.authority.book;
    return { agent_id: agent, run_id: this.frame().scope.run.id, session_id: session };
  }

  #begun(id: RunId): Run {
    const stop = new AbortController();
    const run: Run = {
      id,
      stop,
      signal: stop.signal,
      call: (fn, ...args) => this.within(run, fn, ...args),
      close: () => {
        this.authority.closeRun(id);
        this.#runs.delete(id);
      },
    };
    this.#runs.set(id, run);
    return run;
  }

  #stop({ stops, run }: Decision, error: AnyAgentSentinelError): void {
    if (stops === "session") {
      this.stopped ??= error;
      for (const one of this.#runs.values()) one.stop.abort(error);
    } else if (stops === "run") this.#runs.get(run)?.stop.abort(error);
  }
}
