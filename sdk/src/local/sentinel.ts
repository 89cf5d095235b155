import { type DecisionId, isId } from "../../../src/core/ids.ts";
import type { AgentSentinelError } from "../errors.ts";
import type { ActionRequest, CommitReport, DecisionAnswer, PolicyRef, Settlement } from "../surface.ts";
import { decisionAnswer, settlementOf } from "./answer.ts";
import { answered } from "./answered.ts";
import { costsOf } from "./costs.ts";
import { Desk } from "./desk.ts";
import { Generations } from "./generations.ts";
import { assertKnown, guard } from "./guard.ts";
import type { Ledger } from "./ledger/ledger.ts";
import { following, isThenable } from "./promises.ts";
import { type Told, toldDecision } from "./records.ts";
import { readReport, readRequest } from "./request.ts";
import { runsWhileRead, watchedStream } from "./streams.ts";
import type { AnyFunction, CostSnapshot, LocalGuardOptions, LocalRun, LocalSentinel, LocalSentinelOptions } from "./types.ts";

/**
 * An agent's authority in this process: it decides at once, by the gateway's own code and in memory, and writes down what it decided. For tests,
 * scripts and work without a network. Each one has a session of its own; nothing of it is shared with another.
 *
 * Without a `policy` everything is denied (`policy_missing`). What a policy holds for a person is held, and nobody can approve it here. Throws a
 * `TypeError` for an option that is none: a misspelt cap would cap nothing.
 */
export function createLocalSentinel(options: LocalSentinelOptions = {}): LocalSentinel {
  assertKnown(options, OPTIONS, "make a local sentinel");
  return new Sentinel(new Desk(options));
}

const OPTIONS = ["policy", "agent", "budgetUsd", "ledger", "now", "newId", "replay", "onDecision", "onUnrecorded", "onOptionFailed"];

/** So many decisions that were asked for without a guard are remembered, at least, for the line that says how they ended. */
const LEAST_OPEN = 2_048;

class Sentinel implements LocalSentinel {
  readonly session: string;
  readonly agent: string;
  readonly #desk: Desk;
  readonly #open = new Generations<DecisionId, Told>(LEAST_OPEN);

  constructor(desk: Desk) {
    this.#desk = desk;
    this.session = desk.authority.book.session;
    this.agent = desk.authority.book.agent;
  }

  get policy(): PolicyRef | null {
    return this.#desk.authority.policy?.ref ?? null;
  }

  get currentRun(): LocalRun {
    return this.#desk.frame().scope.run;
  }

  get ledger(): Ledger | null {
    return this.#desk.ledger;
  }

  get stopped(): AgentSentinelError | null {
    return this.#desk.stopped;
  }

  use(policy: string | object | null): PolicyRef | null {
    this.#desk.use(policy, "use the policy");
    return this.policy;
  }

  decide(request: ActionRequest): DecisionAnswer {
    const desk = this.#desk;
    const { scope, parents } = desk.frame();
    const read = readRequest({ ...request, run: request.run ?? scope.run.id }, request.id ?? desk.newDecisionId(), parents);
    const known = this.#open.get(read.id);
    const wasKnown = desk.authority.read(read.id) !== null;
    const decision = desk.decide(read, false);
    const told: Told = {
      tags: read.tags,
      agent: this.agent,
      inputs: desk.recorder.inputs(request.inputs ?? null),
      parents: read.parents,
      estimateMicroUsd: read.estimateMicroUsd,
      decision: toldDecision(decision),
    };
    desk.record(decision, told, wasKnown);
    desk.errorOf(decision);
    if (known === undefined && decision.verdict === "allow") this.#open.add(decision.id, told);
    return decisionAnswer(decision);
  }

  commit(decisionId: string, report: CommitReport): Settlement {
    const { authority, records, recorder } = this.#desk;
    const id = asDecision(decisionId);
    const read = readReport(report);
    const { settlement, replayed } = answered(`commit ${decisionId}`, authority.commit(id, read, JSON.stringify(report)));
    const told = this.#forget(id);
    if (told !== undefined && !replayed) {
      const outputs = report.outputs === undefined && report.error !== undefined ? report.error : (report.outputs ?? null);
      records?.ended(told, report.outcome, this.#desk.uncharged(id, settlement.postedMicroUsd), report.durationMs ?? 0, recorder.outputs(outputs));
    }
    return settlementOf(settlement);
  }

  release(decisionId: string, { reason }: { readonly reason?: string | undefined } = {}): Settlement {
    const { authority } = this.#desk;
    const id = asDecision(decisionId);
    const { settlement } = answered(`release ${decisionId}`, authority.release(id, reason ?? null));
    // It did not run: the decision's own line has said all there is to say, and nothing was spent.
    this.#forget(id);
    return settlementOf(settlement);
  }

  guard<This, Args extends unknown[], Result>(
    options: LocalGuardOptions<Args, Result>,
    fn: (this: This, ...args: never) => Result,
  ): (this: This, ...args: Args) => Result;
  guard<Guarded extends AnyFunction>(options: LocalGuardOptions<Parameters<Guarded>, ReturnType<Guarded>>, fn: Guarded): Guarded;
  guard(options: LocalGuardOptions<readonly unknown[], unknown>, fn: AnyFunction): AnyFunction {
    return guard(() => this.#desk, options, fn);
  }

  startRun(): LocalRun {
    return this.#desk.openRun(this.#desk.frame().scope);
  }

  run<Result>(act: (run: LocalRun) => Result): Result {
    const run = this.#desk.openRun(null);
    let result: Result;
    try {
      result = this.#desk.within(run, act, run);
    } catch (error) {
      run.close();
      throw error;
    }
    const close = (): void => run.close();
    const gave = <T>(value: T): T => {
      // What goes on after it was returned is of the run until it has been read.
      if (runsWhileRead(value))
        return watchedStream(value, { ended: close, cancelled: close, failed: close }, (step) => this.#desk.within(run, step), "run") ?? value;
      close();
      return value;
    };
    // What follows a promise is a promise of the same kind: see `following`.
    return isThenable(result) ? (following(result as PromiseLike<unknown>, gave, close) as Result) : gave(result);
  }

  costs(): CostSnapshot {
    return costsOf(this.#desk.authority, this.#desk.frame().scope.run.id);
  }

  #forget(id: DecisionId): Told | undefined {
    const told = this.#open.get(id);
    this.#open.delete(id);
    return told;
  }
}

/** An id of another form is simply not known. */
const asDecision = (id: string): DecisionId => (isId("dec", id) ? id : "dec_");
