import type { Decision } from "./decision.ts";
import { decisionOf } from "./decision.ts";
import { type AgentSentinelError, errorFor } from "./errors.ts";
import { type Guarded, type GuardOptions, guard } from "./guard.ts";
import {
  anything,
  commitBody,
  decisionAnswer,
  decisionAnswers,
  decisionBody,
  decisionNow,
  extendBody,
  openedRun,
  type Read,
  ShapeFault,
  sessionDetail,
  settlement,
  topupBody,
} from "./mapping.ts";
import { type Observers, observe } from "./observers.ts";
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
  Settlement,
  UsdInput,
} from "./surface.ts";
import type { Ambience, Ask } from "./transport.ts";

export interface SessionContext {
  readonly ask: Ask;
  readonly ambience: Ambience;
  readonly newId: () => string;
  readonly observers: Observers;
}

/** One agent's session: what it asks for, spends and records. Made by `openSession` or `session`. */
export class Session {
  readonly id: string;
  readonly agent: string;
  /** The policy in force when it was opened or taken up. `null`: none, and everything is denied. */
  readonly policy: PolicyRef | null;
  readonly expiresAt: string;
  readonly #context: SessionContext;
  #run: string;
  #stop = new AbortController();
  /** Why the whole session stopped; a new run does not undo it. */
  #stopped: AgentSentinelError | null = null;

  constructor(opened: OpenedSession, context: SessionContext) {
    this.id = opened.id;
    this.agent = opened.agent;
    this.policy = opened.policy;
    this.expiresAt = opened.expiresAt;
    this.#run = opened.run;
    this.#context = context;
  }

  /** The current run: what is asked for without naming a run belongs to it. */
  get run(): string {
    return this.#run;
  }

  /**
   * The current run's signal. Aborts, with the typed error as its reason, as soon as a decision says that the run or the session is over.
   * `startRun` gives the new run a signal of its own.
   */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Asks whether an action may run, and reserves its estimate if so. A no is an answer, not an error. */
  async decide(request: ActionRequest, { signal }: CallOptions = {}): Promise<Decision> {
    const body = this.#body(request);
    const answer = await this.#post(`decide "${request.action}"`, "/decisions", body, this.#answerTo(body), signal);
    return this.#received(answer);
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
    const answers = await this.#post(
      `decide ${decisions.length} actions`,
      "/decisions/batch",
      { decisions, semantics },
      (value, at) => {
        const found = decisionAnswers(value, at);
        const ended = semantics === "stop_on_deny" && found.length < decisions.length && found.at(-1)?.verdict !== "allow";
        if (found.length !== decisions.length && !ended) throw new ShapeFault(`${at}/decisions`, "one answer for each request");
        return found.map((answer, place) => this.#matched(answer, decisions[place], `${at}/decisions/${place}`));
      },
      signal,
    );
    return answers.map((answer) => this.#received(answer));
  }

  /** Says what an action cost, after it ran. Repeating it is harmless. */
  commit(decisionId: string, report: CommitReport, { signal }: CallOptions = {}): Promise<Settlement> {
    return this.#settle("commit", decisionId, commitBody(report), signal);
  }

  /** Gives a reservation back whole, because the action did not run. */
  release(decisionId: string, { signal, reason }: CallOptions & { readonly reason?: string | undefined } = {}): Promise<Settlement> {
    return this.#settle("release", decisionId, { reason }, signal);
  }

  /** Keeps a reservation standing for `ttlMs` from now. */
  extend(decisionId: string, ttlMs: number, { signal }: CallOptions = {}): Promise<Settlement> {
    return this.#settle("extend", decisionId, extendBody(ttlMs), signal);
  }

  /** Asks for more while an action runs. `estimateUsd` is the new sum, not the difference; the answer may be a no, and then the old sum stands. */
  async topup(decisionId: string, estimateUsd: UsdInput, { signal }: CallOptions = {}): Promise<Decision> {
    const path = this.#decisionPath(decisionId);
    const asked: Asked = { id: decisionId };
    return this.#received(await this.#post(`top up ${decisionId}`, `${path}/topup`, topupBody(estimateUsd), this.#answerTo(asked), signal));
  }

  /** Where a decision and its money are now. */
  async readDecision(decisionId: string, { signal }: CallOptions = {}): Promise<DecisionNow> {
    const path = `${this.#path()}${this.#decisionPath(decisionId)}`;
    const found = await this.#context.ask({ what: `read ${decisionId}`, method: "GET", path, read: this.#nowOf({ id: decisionId }) }, signal);
    this.#note(found);
    return found;
  }

  /** Opens the next run of this session and makes it the current one. */
  async startRun({ signal }: CallOptions = {}): Promise<string> {
    const { ask, newId } = this.#context;
    const opened = await ask(
      { what: "start a run", method: "POST", path: `${this.#path()}/runs`, body: {}, idempotencyKey: newId(), read: openedRun },
      signal,
    );
    this.#run = opened.id;
    this.#stop = new AbortController();
    if (this.#stopped !== null) this.#stop.abort(this.#stopped);
    return opened.id;
  }

  /** Closes the current run: what is asked for in it from now on is denied. */
  closeRun({ signal }: CallOptions = {}): Promise<void> {
    return this.#post("close the run", `/runs/${this.#run}/close`, {}, anything, signal);
  }

  /** Closes the session: what is asked for in it from now on is denied. */
  close({ signal }: CallOptions = {}): Promise<void> {
    return this.#post("close the session", "/close", {}, anything, signal);
  }

  /** State, balances and totals. */
  read({ signal }: CallOptions = {}): Promise<SessionDetail> {
    return this.#context.ask({ what: "read the session", method: "GET", path: this.#path(), read: sessionDetail }, signal);
  }

  /**
   * A function that asks before it runs `fn` and tells afterwards what it cost. Throws the typed error, and does not run `fn`, unless the
   * answer is yes. `fn`'s own exceptions pass unchanged. See `GuardOptions`.
   */
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<NoInfer<Args>, NoInfer<Result>>,
    fn: (this: This, ...args: Args) => Result,
  ): Guarded<This, Args, Result> {
    const { ambience, newId, observers } = this.#context;
    return guard(
      {
        session: this,
        now: ambience.now,
        newDecisionId: () => `dec_${newId()}`,
        observers,
        abandon: (decisionId) => void this.#settle("release", decisionId, { reason: "not run" }, undefined, 1).catch(() => undefined),
      },
      options,
      fn,
    );
  }

  #body(request: ActionRequest) {
    return decisionBody({ ...request, id: request.id ?? `dec_${this.#context.newId()}`, run: request.run ?? this.#run });
  }

  #path(): string {
    return `/v1/sessions/${this.id}`;
  }

  #decisionPath(decisionId: string): string {
    assertId(decisionId);
    return `/decisions/${decisionId}`;
  }

  #post<T>(what: string, path: string, body: object, read: Read<T>, signal: AbortSignal | undefined): Promise<T> {
    return this.#context.ask({ what, method: "POST", path: `${this.#path()}${path}`, body, read }, signal);
  }

  async #settle(verb: string, decisionId: string, body: object, signal: AbortSignal | undefined, tries?: number): Promise<Settlement> {
    const path = `${this.#path()}${this.#decisionPath(decisionId)}/${verb}`;
    const read: Read<Settlement> = (value, at) => {
      const found = settlement(value, at);
      if (found.id !== decisionId) throw new ShapeFault(`${at}/id`, "the decision that was named");
      return found;
    };
    const call = { what: `${verb} ${decisionId}`, method: "POST", path, body, read } as const;
    return this.#context.ask(tries === undefined ? call : { ...call, tries }, signal);
  }

  #answerTo(asked: Asked): Read<DecisionAnswer> {
    return (value, at) => this.#matched(decisionAnswer(value, at), asked, at);
  }

  #nowOf(asked: Asked): Read<DecisionNow> {
    return (value, at) => this.#matched(decisionNow(value, at), asked, at);
  }

  /** An answer to another question than the one asked is none: a yes to something else must not let this run. */
  #matched<T extends DecisionAnswer>(answer: T, asked: Asked | undefined, at: string): T {
    const right = {
      id: asked?.id,
      session: this.id,
      run: asked?.run ?? answer.run,
      action: asked?.action ?? answer.action,
    };
    for (const member of ["id", "session", "run", "action"] as const) {
      if (answer[member] !== right[member]) throw new ShapeFault(`${at}/${member}`, "the one that was asked for");
    }
    return answer;
  }

  #received(answer: DecisionAnswer): Decision {
    this.#note(answer);
    const { ask, ambience, observers } = this.#context;
    observe(observers.onDecision, answer);
    const path = `${this.#path()}${this.#decisionPath(answer.id)}`;
    return decisionOf(answer, ask, ambience, path, this.#nowOf(answer), (now) => this.#note(now));
  }

  /** Stops what a no says is over. */
  #note(answer: DecisionAnswer): void {
    if (answer.stops === "session" || (answer.stops === "run" && answer.run === this.#run)) {
      const error = errorFor(answer);
      if (answer.stops === "session") this.#stopped ??= error;
      this.#stop.abort(error);
    }
  }
}

/** What an answer is held against. */
type Asked = { readonly id?: string | undefined; readonly run?: string | undefined; readonly action?: string | undefined };

/** Ids go into paths: one that a path would read differently (`..`) is a `TypeError`. */
export function assertId(id: string): void {
  if (!/^[\w-]{1,128}$/.test(id)) throw new TypeError(`Cannot use ${JSON.stringify(id)} as an id: wanted letters, digits, "_" and "-"`);
}
