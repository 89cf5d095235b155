/// <reference lib="esnext.disposable" preserve="true" />
import { type Decision, decisionOf } from "../decision.ts";
import { matchesGlob } from "../glob.ts";
import { type CallContext, type Guarded, type GuardOptions, guard, type Post } from "../guard.ts";
import { observe } from "../observers.ts";
import type { Running, Session, SessionContext, Work } from "../session.ts";
import type { ActionRequest, CallOptions, CommitReport, DecisionAnswer, LeaseSettlement, PolicyRef, UsdInput } from "../surface.ts";
import { abortable } from "../transport.ts";
import { usdText } from "../usd.ts";
import { type Granted, permit, tooMuch } from "./answers.ts";
import { microUsdOf, textOf } from "./micro_usd.ts";
import { attend, type Listener } from "./orders.ts";
import { Purse } from "./purse.ts";
import { type SettleOptions, Settling } from "./settling.ts";
import type { Term } from "./term.ts";
import { entryOf, MOST_FACTS } from "./waiting.ts";

/** What was decided here and has not ended. */
interface Reserved {
  readonly answer: DecisionAnswer;
  /** What it said about itself, as JSON. */
  readonly facts: string;
  microUsd: number;
  estimateUsd: string;
}

/** More orders than that are not kept apart. */
const MOST_STOPS = 256;
const MOST_NAMES = 1_000;

/**
 * A slice of a session's budget with which is decided here, without asking. All of its money is taken from the session's budgets already, so what it lets
 * run can never cost more than they allow. Made by `leaseOf`; does nothing more once it was closed, its time is up or its session, its run or its client
 * is stopped: then, and for all that it does not cover, the gateway is asked.
 */
export class ClientLease implements AsyncDisposable {
  declare readonly id: string;
  readonly session: Session;
  /** The run of which it decides. */
  declare readonly run: string;
  /** The names and globs of actions that it covers. */
  declare readonly actions: readonly string[];
  /** All of it. What can still be reserved: `remainingUsd`. */
  declare readonly amountUsd: string;
  /** When the gateway ends it. Here it ends a little before that, so that what is left can be given back in time. */
  declare readonly expiresAt: string;
  declare readonly policy: PolicyRef;
  /** The same, signed by the gateway, for whoever has to be shown it. No access token. */
  declare readonly token: string;
  readonly #granted: Granted;
  readonly #context: SessionContext;
  readonly #term: Term;
  readonly #purse: Purse;
  readonly #settling: Settling;
  readonly #reserved = new Map<string, Reserved>();
  readonly #calls = new Calls(() => this.#heed());
  /** Whether it decides about an action, by name: what was found once, until an order comes. */
  readonly #names = new Map<string, boolean>();
  /** What its session was told to stop since. */
  readonly #stops: ((work: Work) => boolean)[] = [];
  readonly #cancelEnd: () => void;
  readonly #listener: Listener;
  /** Called when nothing could be stopped any more; `null`: it was. */
  #leave: (() => void) | null = null;
  #overSince: number | null = null;
  /** Called when nothing runs any more. */
  #idle: (() => void) | null = null;

  /** Use `leaseOf`. */
  constructor(
    session: Session,
    context: SessionContext,
    granted: Granted,
    term: Term,
    settleMs: number,
    heard: readonly ((listener: Listener) => void)[],
  ) {
    const { id, run, actions, amountUsd, expiresAt, policy, token } = granted;
    Object.assign(this, { id, run, actions, amountUsd, expiresAt, policy, token });
    this.session = session;
    this.#granted = granted;
    this.#context = context;
    this.#term = term;
    this.#purse = new Purse(microUsdOf(amountUsd));
    const { now, schedule } = context.ambience;
    this.#settling = new Settling(context, granted, settleMs, {
      isDone: () => !this.isOpen && this.#reserved.size === 0,
      overForMs: () => (this.#overSince === null ? 0 : now() - this.#overSince),
      end: () => this.#end(),
    });
    this.#listener = {
      stop: (reason, which) => this.#stop(reason, which),
      closes: (closed) => {
        if (closed === null || closed === run) this.#end();
      },
      decided: () => [...this.#calls].filter(({ decision }) => decision !== undefined && !this.#reserved.has(decision)),
    };
    this.#heed();
    this.#cancelEnd = schedule(() => this.#end(), Math.max(0, term.leftMs));
    for (const tell of heard) tell(this.#listener);
  }

  /** Whether it still decides. */
  get isOpen(): boolean {
    if (this.#overSince === null && this.#term.leftMs <= 0) this.#end();
    return this.#overSince === null;
  }

  /** What can still be reserved with it; `"0"` when it decides no more. */
  get remainingUsd(): string {
    return textOf(this.isOpen ? this.#purse.leftMicroUsd : 0);
  }

  /**
   * As `session.guard`: the same options, the same errors. What the lease covers is decided here, and told to the gateway afterwards; anything else the
   * gateway is asked about, also what has an `id` of its own: only the gateway knows whether that was asked before.
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
    const { session } = this;
    const context = this.#context;
    const mayDecide = options.id === undefined;
    const post: Post = {
      ...context,
      get ended() {
        return context.ended;
      },
      session: {
        id: session.id,
        get run() {
          return session.run;
        },
        get signal() {
          return session.signal;
        },
        decide: (request, call) => (mayDecide && this.#permitted(request)) || session.decide(request, call),
        readDecision: (id, call) => session.readDecision(id, call),
        commit: (id, report) => this.#committed(id, report) || session.commit(id, report),
        release: (id, call) => this.#released(id) || session.release(id, call),
        topup: (id, sum) => this.topup(id, sum),
      },
      running: this.#calls,
    };
    return guard(post, options, fn);
  }

  /** As `session.decide`: here where the lease covers it, else by the gateway. What is allowed here must be ended by `commit` or `release` of the lease. */
  async decide(request: ActionRequest, call?: CallOptions): Promise<Decision> {
    call?.signal?.throwIfAborted();
    const { ambience, newId } = this.#context;
    const asked = { ...request, id: request.id ?? `dec_${newId()}`, run: request.run ?? this.session.run };
    const answer = request.id === undefined ? this.#permitted(asked) : null;
    if (answer === null) return this.session.decide(asked, call);
    return decisionOf(answer, ambience, async (looking) =>
      this.#reserved.has(asked.id) ? { ...answer, state: "pending", postedUsd: "0", overrunUsd: "0" } : this.session.readDecision(asked.id, looking),
    );
  }

  /**
   * Says what an action cost, after it ran. What was decided here is noted at once and told to the gateway soon; for what the gateway decided it is told
   * at once. Repeating it is harmless.
   */
  async commit(decisionId: string, report: CommitReport, call?: CallOptions): Promise<void> {
    if (!this.#committed(decisionId, report)) await this.session.commit(decisionId, report, call);
  }

  /** Gives a reservation back whole, because the action did not run. What was decided here leaves no record then. */
  async release(decisionId: string, call?: CallOptions & { readonly reason?: string | undefined }): Promise<void> {
    if (!this.#released(decisionId)) await this.session.release(decisionId, call);
  }

  /** Asks for more while an action runs, as `session.topup`. Where the lease decided, it answers; a no leaves the old sum standing. */
  async topup(decisionId: string, estimateUsd: UsdInput, call?: CallOptions): Promise<Decision> {
    const held = this.#reserved.get(decisionId);
    if (held === undefined) return this.session.topup(decisionId, estimateUsd, call);
    const { answer } = held;
    const text = usdText(estimateUsd, "estimateUsd");
    const more = microUsdOf(text) - held.microUsd;
    const isCovered = more <= 0 || (this.isOpen && this.#covers(answer.action) && this.#purse.reserve(more));
    if (isCovered) {
      if (more < 0) this.#purse.spend(-more, 0);
      Object.assign(held, { estimateUsd: text, microUsd: held.microUsd + more });
    }
    const told = isCovered ? { ...answer, reservation: { amountUsd: text, expiresAt: this.expiresAt } } : tooMuch(answer);
    this.#observe(told);
    return decisionOf(told, this.#context.ambience, async (looking) => this.session.readDecision(decisionId, looking));
  }

  /**
   * Tells the gateway now what was decided here and has ended: what a lease otherwise does by itself within a second, and before its end. With `final` as
   * `close`. `null`: there was never anything to tell. Throws what kept the gateway from hearing it; it is told again, then.
   */
  async settle({ signal, final = false }: SettleOptions = {}): Promise<LeaseSettlement | null> {
    if (final) {
      this.#end();
      await this.#idled(signal);
    }
    return this.#settling.settle(signal);
  }

  /**
   * Decides nothing more, tells what was spent and gives the rest back. Calls that still run are waited for as long as the lease lasts; what they have cost
   * is told when they end. Throws what kept the gateway from hearing it; it is told again, then.
   */
  async close(call?: CallOptions): Promise<void> {
    await this.settle({ ...call, final: true });
  }

  /** As `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Decides, here and now. `null`: it is not for the lease to decide. */
  #permitted(request: ActionRequest & { readonly id: string; readonly run: string }): DecisionAnswer | null {
    const { run, ttlMs: _, approval, usage, estimateUsd, ...said } = request;
    if (!this.isOpen || run !== this.run || approval !== undefined || !this.#covers(said.action) || !this.#settling.hasRoom) return null;
    // What a model's work may cost is the gateway's to say: by the usage expected, or by what the policy counts for a price that is not known.
    if (estimateUsd === undefined && (usage !== undefined || said.model !== undefined)) return null;
    const text = usdText(estimateUsd ?? 0, "estimateUsd");
    const microUsd = microUsdOf(text);
    const facts = JSON.stringify({ ...said, at: this.#context.ambience.now() });
    if (facts.length > MOST_FACTS || !this.#purse.reserve(microUsd)) return null;
    const answer = permit(this.#granted, request, text);
    this.#reserved.set(said.id, { answer, facts, microUsd, estimateUsd: text });
    this.#observe(answer);
    return answer;
  }

  /** Whether it was decided here. What is no amount throws, and the reservation stands. */
  #committed(id: string, report: CommitReport): boolean {
    const held = this.#reserved.get(id);
    if (held === undefined) return this.#settling.has(id);
    const { facts, estimateUsd, microUsd, answer } = held;
    const costUsd = usdText(report.costUsd ?? estimateUsd, "costUsd");
    const entry = entryOf(facts, id, answer.action, { ...report, estimateUsd, costUsd });
    this.#ended(id, microUsd, microUsdOf(costUsd));
    this.#settling.add(entry);
    return true;
  }

  #released(id: string): boolean {
    const held = this.#reserved.get(id);
    if (held !== undefined) this.#ended(id, held.microUsd, 0);
    return held !== undefined;
  }

  #ended(id: string, reservedMicroUsd: number, spentMicroUsd: number): void {
    this.#reserved.delete(id);
    this.#purse.spend(reservedMicroUsd, spentMicroUsd);
    if (this.isOpen || this.#reserved.size > 0) return;
    this.#idle?.();
    this.#settling.hurry();
  }

  #covers(action: string): boolean {
    const known = this.#names.get(action);
    if (known !== undefined) return known;
    const isStopped = this.#stops.some((which) => which({ run: this.run, action }));
    const covers = !isStopped && this.actions.some((glob) => matchesGlob(glob, action));
    if (this.#names.size >= MOST_NAMES) this.#names.clear();
    this.#names.set(action, covers);
    return covers;
  }

  #stop(reason: Error, which?: (work: Work) => boolean): void {
    for (const call of this.#calls) if (which?.(call) ?? true) call.stop.abort(reason);
    if (which === undefined || which({ run: this.run, action: null }) || this.#stops.push(which) > MOST_STOPS) this.#end();
    this.#names.clear();
  }

  #end(): void {
    if (this.#overSince !== null) return;
    this.#overSince = this.#context.ambience.now();
    this.#cancelEnd();
    this.#heed();
    this.#settling.hurry();
  }

  /** Orders are heard as long as something could be stopped: also what was guarded here and begins when the lease is over. */
  #heed(): void {
    if (this.#overSince === null || this.#calls.size > 0) this.#leave ??= attend(this.session, this.#listener);
    else {
      this.#leave?.();
      this.#leave = null;
    }
  }

  /** Waits until nothing runs, or the lease's time is up. */
  #idled(signal: AbortSignal | undefined): Promise<void> {
    if (this.#reserved.size === 0) return Promise.resolve();
    return abortable(signal, (resolve) => {
      const before = this.#idle;
      this.#idle = () => {
        before?.();
        resolve();
      };
      return this.#context.ambience.schedule(resolve, Math.max(0, this.#term.leftMs));
    });
  }

  #observe(answer: DecisionAnswer): void {
    const { onDecision } = this.#context.observers;
    if (onDecision !== undefined) observe(onDecision, answer);
  }
}

/** The guarded calls in flight. Says when one begins or has ended. */
class Calls extends Set<Running> {
  readonly #changed: () => void;

  constructor(changed: () => void) {
    super();
    this.#changed = changed;
  }

  override add(call: Running): this {
    super.add(call);
    this.#changed();
    return this;
  }

  override delete(call: Running): boolean {
    const was = super.delete(call);
    if (was) this.#changed();
    return was;
  }
}
