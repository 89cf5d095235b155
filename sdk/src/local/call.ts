import type { Decision } from "../../../src/core/decision.ts";
import type { DecisionId, RunId } from "../../../src/core/ids.ts";
import type { JsonValue } from "../../../src/core/json.ts";
import { type MicroUsd, ZERO_USD } from "../../../src/core/money.ts";
import type { ActionRequest, CommitReport } from "../../../src/core/request.ts";
import { observe } from "../observers.ts";
import { shown, shownArguments } from "../plain.ts";
import type { DecisionAnswer, Json, UsdInput } from "../surface.ts";
import type { RecordedValue } from "../values.ts";
import { decisionAnswer } from "./answer.ts";
import type { Desk } from "./desk.ts";
import type { Frame } from "./frames.ts";
import type { Recorder } from "./ledger/recorder.ts";
import { argumentsOf, lossyDigest } from "./payload.ts";
import { plainCopies } from "./plain_copy.ts";
import { following, isThenable } from "./promises.ts";
import { type Told, toldDecision } from "./records.ts";
import { type Facts, microUsd, requestOf, resourceOf } from "./request.ts";
import { isReadLater, watchedStream } from "./streams.ts";
import type { LocalCallContext, LocalGuardOptions } from "./types.ts";

/** A guard's options, checked once; what of them is a function of the arguments is asked at each call. */
export interface Guarding {
  readonly facts: Facts;
  readonly options: LocalGuardOptions<readonly unknown[], unknown>;
  /** `null`: it is a function of the arguments. */
  readonly fixedMicroUsd: MicroUsd | null;
}

/** One guarded call that was allowed. It runs in a frame of its own, and its first end is its end. */
export class Call {
  readonly #desk: Desk;
  readonly #guarding: Guarding;
  readonly #frame: Frame;
  readonly #startedAt: number;
  #told: Told;
  readonly #over: (() => void) | undefined;
  #isOver = false;
  /** Nothing was done: what it gives is what an earlier call gave. */
  #isReplayed = false;
  #isPromised = false;

  /** Asks whether a call may run. Throws the typed error when the answer is no, or cannot be put on record. `as`: what was asked already. */
  constructor(desk: Desk, guarding: Guarding, args: readonly unknown[], as?: AskedAlready) {
    const { facts, options } = guarding;
    options.signal?.throwIfAborted();
    const outer = desk.frame();
    const { request, copies } = as ?? askedIn(desk, guarding, args, outer);
    // Before anything is reserved: what an option throws leaves nothing behind.
    const inputs = keepsInputs(desk) ? recordedInputs(desk.recorder, options, args, { request, copies }) : null;
    const wasKnown = as !== undefined && desk.authority.read(request.id) !== null;
    const decided = desk.decide(request, true);
    const decision = as?.decision ?? decided;
    const told: Told = {
      tags: facts.tags,
      agent: desk.authority.book.agent,
      inputs,
      parents: request.parents,
      estimateMicroUsd: request.estimateMicroUsd,
      decision: toldDecision(decision),
      unguarded: as?.unguarded === true,
      replayed: false,
    };
    desk.record(decided, told, wasKnown);
    const no = desk.errorOf(decision);
    if (no !== null) throw no;
    if (as?.unguarded) desk.unguarded.add(decision.id);
    this.#over = as?.over;
    this.#desk = desk;
    this.#guarding = guarding;
    this.#told = told;
    this.#frame = { scope: outer.scope, parents: [decision.id] };
    this.#startedAt = desk.now();
  }

  /**
   * What the recording gave for this call, where there is one: what came as a promise comes as one. Throws what the call threw then, and that the call
   * is not on record. `null`: it is to be run.
   */
  replayed(): { readonly value: unknown } | null {
    const { inputs } = this.#told;
    const found = inputs === null ? null : (this.#desk.replay?.next({ action: this.#guarding.facts.action, inputs: inputs.value }) ?? null);
    if (found === null || (found.kind === "diverged" && found.mayRun)) return null;
    this.#isReplayed = true;
    if (found.kind === "output") return { value: found.promised ? Promise.resolve(found.value) : found.value };
    if (found.kind === "error" && found.promised) return { value: Promise.reject(found.error) };
    throw found.error;
  }

  /** Runs something as part of this call. */
  within<Args extends unknown[], Result>(act: (...args: Args) => Result, ...args: Args): Result {
    return this.#desk.contexts.run(this.#frame, act, ...args);
  }

  context(): LocalCallContext {
    const { decision } = this.#told;
    return {
      decisionId: decision.id,
      run: decision.run,
      signal: this.#desk.signalOf(decision.run),
      topUp: (estimateUsd) => this.#topUp(estimateUsd),
      call: (fn, ...args) => this.within(fn, ...args),
    };
  }

  /** What the function gave, as it is handed on: a stream is over when it has been read, everything else when it is there. */
  gave<Result>(result: Result): Result {
    if (!isThenable(result)) return this.#came(result);
    this.#isPromised = true;
    // What follows a promise is a promise of the same kind: see `following`.
    return following(
      result as PromiseLike<unknown>,
      (value) => this.#came(value),
      (error) => this.failed(error),
    ) as Result;
  }

  failed(error: unknown): void {
    this.#end("error", this.#told.estimateMicroUsd, undefined, error);
  }

  #came<Result>(result: Result): Result {
    if (typeof result !== "object" || result === null || !isReadLater(result)) {
      this.#succeeded(result);
      return result;
    }
    try {
      const end = {
        ended: () => this.#succeeded(result),
        cancelled: () => this.#end("success", this.#told.estimateMicroUsd, result, undefined),
        failed: (error: unknown) => this.failed(error),
      };
      return watchedStream(result, end, (step) => this.within(step), this.#told.decision.action) ?? result;
    } catch (error) {
      this.failed(error);
      throw error;
    }
  }

  #succeeded(result: unknown): void {
    if (this.#isOver) return;
    const { actualUsd, outputs } = this.#guarding.options;
    const estimate = this.#told.estimateMicroUsd;
    // `actualUsd` and `outputs` take what the function gives, by the type of `guard`.
    const given = result as never;
    const cost = actualUsd === undefined ? estimate : this.#attempt(() => microUsd(actualUsd(given), "actualUsd"), estimate);
    const kept = outputs === undefined ? result : this.#attempt<unknown>(() => outputs(given), undefined);
    this.#end("success", cost, kept, undefined, !Object.is(kept, result));
  }

  /** Ends the call, once. Never throws: the action has run, and nothing said about it afterwards may replace what it gave or threw. */
  #end(outcome: "success" | "error", costMicroUsd: MicroUsd, result: unknown, error: unknown, isDerived = false): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#over?.();
    const { authority, records, recorder } = this.#desk;
    const told = this.#told;
    const durationMs = Math.max(0, Math.round(this.#desk.now() - this.#startedAt));
    const report: CommitReport = {
      costMicroUsd,
      outcome,
      durationMs,
      outputs: authority.policy?.looksBack === true && outcome === "success" ? (shown(result) as JsonValue | undefined) : undefined,
      error: null,
      usage: null,
    };
    let posted = costMicroUsd;
    try {
      // Who reported the call while it ran has said what it cost.
      if (!authority.commit(told.decision.id, report, "").ok) posted = authority.reportedMicroUsd(told.decision.id) ?? costMicroUsd;
    } catch (fault) {
      // The authority allows nothing any more. What ran is on record all the same.
      this.#tellOptionFailed(fault);
    }
    // Limits are felt as they were then; the record says that nothing was spent now.
    this.#desk.unguarded.delete(told.decision.id);
    const cost = this.#isReplayed ? ZERO_USD : this.#desk.uncharged(told.decision.id, posted);
    records?.ended(this.#marked(isDerived), outcome, cost, durationMs, recorder.outputs(outcome === "error" ? error : result));
  }

  /** What is on record of its end besides how it ended. Most calls have none of these marks. */
  #marked(isDerived: boolean): Told {
    if (!this.#isReplayed && !this.#isPromised && !isDerived) return this.#told;
    return {
      ...this.#told,
      ...(this.#isReplayed && { replayed: true }),
      ...(this.#isPromised && { promised: true }),
      ...(isDerived && { derived: true }),
    };
  }

  #topUp(estimateUsd: UsdInput): DecisionAnswer {
    const { decision, told } = this.#desk.topup(this.#told, estimateUsd);
    const no = this.#desk.errorOf(decision);
    if (no !== null) throw no;
    this.#told = { ...this.#told, estimateMicroUsd: told.estimateMicroUsd };
    return decisionAnswer(decision);
  }

  /** What a guard's option gives, or what stands in for it when it throws. */
  #attempt<T>(make: () => T, otherwise: T): T {
    try {
      return make();
    } catch (error) {
      this.#tellOptionFailed(error);
      return otherwise;
    }
  }

  #tellOptionFailed(error: unknown): void {
    const { id, action } = this.#told.decision;
    observe(this.#desk.observers.onOptionFailed, { decisionId: id, action, error });
  }
}

/** A request of one call. */
export interface CallRequest {
  readonly request: ActionRequest;
  /** Its arguments as they were when it was made, where they are small and plain and somebody looks at them. */
  readonly copies?: readonly Json[] | undefined;
}

/** A request that was decided before under the same id, and as what that goes on record. */
export interface AskedAlready extends CallRequest {
  readonly decision: Decision;
  /** The gateway could not be asked. */
  readonly unguarded: boolean;
  /** Told when the call has ended. */
  readonly over: () => void;
}

const keepsInputs = ({ records, replay }: Desk): boolean => records !== null || replay !== null;

function askedIn(desk: Desk, guarding: Guarding, args: readonly unknown[], { scope, parents }: Frame): CallRequest {
  const id = desk.newDecisionId();
  // Under a known id stands the answer of another call, and the money of that one.
  if (desk.authority.read(id) !== null) throw new TypeError(`Cannot run "${guarding.facts.action}": the option "newId" gave an id twice`);
  return asked(guarding, args, {
    id,
    // An id of another form is no run of this session, and is refused as that.
    run: (guarding.options.run ?? scope.run.id) as RunId,
    parents,
    looks: desk.authority.policy?.looksAtInputs === true,
    keeps: keepsInputs(desk),
  });
}

export interface CallFacts {
  readonly id: DecisionId;
  readonly run: RunId;
  readonly parents: readonly DecisionId[];
  /** Some rule may want what it is called with. */
  readonly looks: boolean;
  /** What it is called with goes on record. */
  readonly keeps: boolean;
}

/** The request of one call. */
export function asked(
  { facts, options, fixedMicroUsd }: Guarding,
  args: readonly unknown[],
  { id, run, parents, looks, keeps }: CallFacts,
): CallRequest {
  const { resource, costUsd, inputs: inputsOf } = options;
  // Plain JSON data, by the check.
  const made = looks && inputsOf !== undefined ? (shown(inputsOf(...args)) as JsonValue | undefined) : undefined;
  const estimateMicroUsd = fixedMicroUsd ?? (typeof costUsd === "function" ? microUsd(costUsd(...args), "costUsd") : null);
  const about = resource === undefined ? null : resourceOf(typeof resource === "function" ? resource(...args) : resource, facts.action);
  // After all that is called with them: it could have changed them, and what runs is what must be judged.
  const copies = inputsOf === undefined && (looks || keeps) ? plainCopies(args) : undefined;
  const inputs = inputsOf === undefined && looks ? shownOf(args, copies) : made;
  const request = requestOf(facts, {
    id,
    run,
    estimateMicroUsd,
    resource: about,
    inputs,
    // Known by a digest alone: a rule that needs the inputs denies, and the same call again is the same.
    inputsDigest: looks && inputs === undefined && (inputsOf !== undefined || args.length > 0) ? lossyDigest(args) : null,
    parents,
  });
  return { request, copies };
}

/** What rules see of arguments: see `shownArguments`. */
function shownOf(args: readonly unknown[], copies: readonly Json[] | undefined): JsonValue | undefined {
  // Plain JSON data, by the check.
  if (copies === undefined) return shownArguments(args) as JsonValue | undefined;
  const [first] = copies;
  const isOne = copies.length === 1 && typeof first === "object" && first !== null && !Array.isArray(first);
  return (isOne ? first : copies) as JsonValue;
}

/** What a call is known by on record: where rules were shown something that was made for them, the same. */
export function recordedInputs(
  recorder: Recorder,
  { inputs }: Guarding["options"],
  args: readonly unknown[],
  { request, copies }: CallRequest,
): RecordedValue {
  if (inputs !== undefined) return recorder.inputs(request.inputs ?? inputs(...args));
  return copies === undefined ? recorder.inputs(argumentsOf(args)) : recorder.copiedInputs(argumentsOf(copies));
}
