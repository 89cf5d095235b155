import type { Decision } from "./decision.ts";
import { decisionOf } from "./decision.ts";
import { AgentKilledError, errorFor } from "./errors.ts";
import { type CallContext, type Guarded, type GuardOptions, guard, type Post } from "./guard.ts";
import { insides } from "./inside.ts";
import { anything, decisionAnswer, decisionAnswers, decisionNow, openedRun, sessionDetail, settlement, wireNames } from "./mapping.ts";
import { attempt, type Observers, observe } from "./observers.ts";
import { id, type Read, ShapeFault } from "./read.ts";
import type {
  ActionRequest,
  BatchSemantics,
  CallOptions,
  CommitReport,
  DecisionAnswer,
  DecisionNow,
  OpenedSession,
  PolicyRef,
  SessionDetail,
  SessionState,
  Settlement,
  UsdInput,
} from "./surface.ts";
import type { Ambience, Ask, Call } from "./transport.ts";
import type * as wire from "./wire.ts";

/** What a signal stops: a run, or one guarded call of it. */
export interface Work {
  readonly run: string;
  /** What the call does. `null`: it is the run. */
  readonly action: string | null;
}

/** Work with what stops it. */
export interface Running extends Work {
  readonly stop: AbortController;
  /** Under which decision a call runs. */
  decision?: string;
}

export interface SessionContext {
  readonly ask: Ask;
  readonly ambience: Ambience;
  readonly newId: () => string;
  readonly observers: Observers;
  /** The decision ids that callers have given their calls, which are in flight here or have run; and, written twice, those that were answered. */
  readonly used: Set<string>;
  /** Why a session was stopped for good: nothing of it may begin any more. */
  ended?: Error | undefined;
}

/** One agent's session: what it asks for, spends and records. Made by `openSession` or `session`. */
export class Session {
  declare readonly id: string;
  declare readonly agent: string;
  /** The policy in force when it was opened or taken up. `null`: none, and everything is denied. */
  declare readonly policy: PolicyRef | null;
  declare readonly expiresAt: string;
  readonly #context: Post;
  /** The runs that were not closed here, and the guarded calls in flight. */
  readonly #running = new Set<Running>();
  #current: Running;
  /** Why the whole session is over; a new run does not undo it. */
  #over?: Error;

  /** `opened`: with its state where it was not opened just now. */
  constructor(opened: OpenedSession & { readonly state?: SessionState }, context: SessionContext) {
    const { id, agent, policy, expiresAt } = opened;
    Object.assign(this, { id, agent, policy, expiresAt });
    this.#current = this.#begun(opened.run);
    this.#context = { ...context, session: this, running: this.#running };
    insides.set(this, this.#context);
    this.#seen(opened.state);
  }

  /** The current run: what is asked for without naming a run belongs to it. */
  get run(): string {
    return this.#current.run;
  }

  /**
   * The current run's signal. Aborts, with the typed error as its reason, as soon as an answer says that the run or the session is over, or
   * `stop` does. `startRun` gives the new run a signal of its own; a session that is over stays so, and what was revived is taken up anew.
   */
  get signal(): AbortSignal {
    return this.#current.stop.signal;
  }

  /** Asks whether an action may run, and reserves its estimate if so. A no is an answer, not an error. */
  async decide(request: ActionRequest, call?: CallOptions): Promise<Decision> {
    const body = this.#body(request);
    return this.#answered(`decide "${request.action}"`, "/decisions", body, body, call);
  }

  /**
   * Asks for up to 100 actions in one transaction. `stop_on_deny` ends the answers at the first one that is not allowed;
   * `all_or_nothing` allows none unless it allows all.
   */
  async decideAll(
    requests: readonly ActionRequest[],
    { signal, semantics }: CallOptions & { readonly semantics?: BatchSemantics | undefined } = {},
  ): Promise<readonly Decision[]> {
    const decisions = requests.map((request) => this.#body(request));
    const answers = await this.#ask(
      `decide ${decisions.length} actions`,
      "/decisions/batch",
      (value, at) => {
        const { decisions: found } = decisionAnswers(value, at);
        const ended = semantics === "stop_on_deny" && found.length < decisions.length && found.at(-1)?.verdict !== "allow";
        if (found.length !== decisions.length && !ended) throw new ShapeFault(`${at}/decisions`, "what was asked for");
        return found.map((answer, place) => answerTo({ ...decisions[place], session: this.id }, () => answer)(null, `${at}/decisions/${place}`));
      },
      { signal },
      { body: { decisions, semantics } },
    );
    return answers.map((answer) => this.#received(answer));
  }

  /** Says what an action cost, after it ran. Repeating it is harmless. */
  commit(decisionId: string, report: CommitReport, call?: CallOptions): Promise<Settlement> {
    return this.#settle("commit", decisionId, call, wireNames(report) satisfies wire.CommitRequest);
  }

  /** Gives a reservation back whole, because the action did not run. */
  release(decisionId: string, call: CallOptions & { readonly reason?: string | undefined } = {}): Promise<Settlement> {
    return this.#settle("release", decisionId, call, { reason: call.reason });
  }

  /** Keeps a reservation standing for `ttlMs` from now. */
  extend(decisionId: string, ttlMs: number, call?: CallOptions): Promise<Settlement> {
    return this.#settle("extend", decisionId, call, wireNames({ ttlMs }) satisfies wire.ExtendRequest);
  }

  /** Asks for more while an action runs. `estimateUsd` is the new sum, not the difference; the answer may be a no, and then the old sum stands. */
  async topup(decisionId: string, estimateUsd: UsdInput, call?: CallOptions): Promise<Decision> {
    const body = wireNames({ estimateUsd }) satisfies wire.TopupRequest;
    return this.#answered(`top up ${decisionId}`, `${decisionPath(decisionId)}/topup`, { id: decisionId }, body, call);
  }

  /** Where a decision and its money are now. With `waitMs`, at most 30 s, the answer is held back so long while a person is waited for. */
  readDecision(decisionId: string, call: CallOptions & { readonly waitMs?: number | undefined } = {}): Promise<DecisionNow> {
    return this.#look(`read ${decisionId}`, { id: decisionId, session: this.id }, call, call.waitMs);
  }

  /** Opens the next run of this session and makes it the current one. */
  async startRun(call?: CallOptions): Promise<string> {
    const { id } = await this.#ask("start a run", "/runs", openedRun, call, { body: {}, idempotencyKey: this.#context.newId() });
    this.#current = this.#begun(id);
    if (this.#over) this.#current.stop.abort(this.#over);
    return id;
  }

  /** Closes the current run: what is asked for in it from now on is denied. */
  async closeRun(call?: CallOptions): Promise<void> {
    const closing = this.#current;
    await this.#ask("close the run", `/runs/${closing.run}/close`, anything, call, { body: {} });
    this.#running.delete(closing);
    closing.stop.abort(overBy("run_closed"));
  }

  /** Closes the session: what is asked for in it from now on is denied. */
  async close(call?: CallOptions): Promise<void> {
    await this.#ask("close the session", "/close", anything, call, { body: {} });
    this.#seen("closed");
  }

  /** State, balances and totals. A session that is found killed stops; one that is found closed is over. */
  async read(call?: CallOptions): Promise<SessionDetail> {
    const found = await this.#ask("read the session", "", sessionDetail, call);
    this.#seen(found.state);
    return found;
  }

  /** Asks whether what runs may go on: reads the session, and the decision of each guarded call in flight. What was killed stops. */
  async check(call?: CallOptions): Promise<void> {
    await this.read(call);
    for (const { decision } of [...this.#running]) if (decision) await this.readDecision(decision, call);
  }

  /**
   * Aborts, here, the signals of what `which` picks of the session's runs and guarded calls; without it those of all, for good: nothing that is
   * guarded begins any more. Tells the gateway nothing.
   */
  stop(reason: Error, which?: (work: Work) => boolean): void {
    if (!which) {
      this.#over ??= reason;
      this.#context.ended ??= reason;
    }
    for (const work of new Set(this.#running).add(this.#current)) if (which?.(work) !== false) work.stop.abort(reason);
  }

  /**
   * A function that asks before it runs `fn` and tells afterwards what it cost. Throws the typed error, and does not run `fn`, unless the
   * answer is yes. `fn`'s own exceptions pass unchanged. With `context: true` it is given a `CallContext` before its arguments: write out
   * its type where an option is a function of the arguments. See `GuardOptions`.
   */
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, NoInfer<Result>> & { readonly context: true },
    fn: (this: This, context: CallContext, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, NoInfer<Result>> & { readonly context?: false | undefined },
    fn: (this: This, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, Result> & { readonly context?: boolean | undefined },
    fn: (this: This, ...args: never) => Result,
  ): Guarded<This, Args, Result> {
    return guard(this.#context, options, fn);
  }

  #begun(run: string): Running {
    const begun = { run, action: null, stop: new AbortController() };
    this.#running.add(begun);
    return begun;
  }

  #body(request: ActionRequest) {
    return wireNames({ ...request, id: request.id ?? `dec_${this.#context.newId()}`, run: request.run ?? this.run }) satisfies wire.DecisionRequest;
  }

  #ask<T>(what: string, path: string, read: Read<T>, { signal }: CallOptions = {}, more: Partial<Call<T>> = {}): Promise<T> {
    return this.#context.ask({ what, path: `/v1/sessions/${this.id}${path}`, read, ...more }, signal);
  }

  async #settle(verb: string, id: string, call: CallOptions | undefined, body: object): Promise<Settlement> {
    return this.#ask(`${verb} ${id}`, `${decisionPath(id)}/${verb}`, answerTo({ id }, settlement), call, { body });
  }

  async #answered(what: string, path: string, asked: Asked, body: object, call: CallOptions | undefined): Promise<Decision> {
    const read = answerTo({ ...asked, session: this.id }, decisionAnswer);
    return this.#received(await this.#ask(what, path, read, call, { body }));
  }

  #received(answer: DecisionAnswer): Decision {
    this.#note(answer);
    const { ambience, observers } = this.#context;
    observe(observers.onDecision, answer);
    return decisionOf(answer, ambience, (call, waitMs) => this.#look(`wait for "${answer.action}"`, answer, call, waitMs));
  }

  async #look(what: string, asked: Asked & { readonly id: string }, call: CallOptions | undefined, waitMs?: number): Promise<DecisionNow> {
    const path = decisionPath(asked.id) + (waitMs == null ? "" : `?wait_ms=${waitMs}`);
    const found = await this.#ask(what, path, answerTo(asked, decisionNow), call, { waitMs });
    this.#note(found);
    return found;
  }

  /** Stops what an answer says is over: a run or all of them; after a kill also the calls in flight, which otherwise may finish. */
  #note(answer: DecisionAnswer): void {
    const { run, action, stops, superseded, reason } = answer;
    const error = errorFor(answer);
    if (!error) return;
    const isSuperseded = superseded?.kind === "kill";
    const isKill = isSuperseded || reason.code.endsWith("_killed");
    if (stops === "session") this.#ends(error, isKill);
    else
      this.stop(
        error,
        (work) => (stops === "action" || work.run === run) && (stops === "run" || work.action === action) && (isKill || work.action === null),
      );
    // It does not say how far the kill reaches.
    if (isSuperseded) void attempt(() => this.read());
  }

  /** What is paused goes on. */
  #seen(state?: SessionState): void {
    const isKill = state === "killed";
    if (isKill || state === "closed" || state === "expired") this.#ends(overBy(`session_${isKill ? state : "closed"}`), isKill);
  }

  /** It is over. Unless it was killed, what was allowed may finish. */
  #ends(error: Error, isKill: boolean): void {
    this.#over ??= error;
    this.stop(error, isKill ? undefined : ({ action }) => action === null);
  }
}

const overBy = (code: "session_killed" | "session_closed" | "run_closed"): AgentKilledError =>
  new AgentKilledError(`Cannot go on: ${code.replace("_", " ")}`, code);

/** What an answer is held against. */
type Asked = { readonly id?: string | undefined; readonly session?: string; readonly run?: string | undefined; readonly action?: string | undefined };

/** An answer to another question than the one asked is none: a yes to something else must not let this run. */
const answerTo =
  <T extends Asked>(asked: Asked, read: Read<T>): Read<T> =>
  (value, at) => {
    const answer = read(value, at);
    for (const member of ["id", "session", "run", "action"] as const) {
      if (asked[member] !== undefined && asked[member] !== answer[member]) throw new ShapeFault(`${at}/${member}`, "what was asked for");
    }
    return answer;
  };

function decisionPath(id: string): string {
  assertId(id);
  return `/decisions/${id}`;
}

/** Ids go into paths: one that a path would read differently (`..`) is a `TypeError`. */
export const assertId = (found: string): void => void id(found, `"${found}"`);
