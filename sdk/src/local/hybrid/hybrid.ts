import { assert } from "../../../../src/core/assert.ts";
import type { Decision } from "../../../../src/core/decision.ts";
import { isId } from "../../../../src/core/ids.ts";
import { formatUsd } from "../../../../src/core/money.ts";
import type { ReasonCode } from "../../../../src/core/reasons.ts";
import type { ActionRequest } from "../../../../src/core/request.ts";
import { AgentSentinelError, GatewayRefusedError, GatewayUnavailableError } from "../../errors.ts";
import { takeOff } from "../../flights.ts";
import { abandon, type CallContext, type Guarded, type GuardOptions, mayHaveReserved, refused, settled } from "../../guard.ts";
import { insideOf } from "../../inside.ts";
import { observe } from "../../observers.ts";
import { shown } from "../../plain.ts";
import { createSentinel, type SentinelOptions } from "../../sentinel.ts";
import type { Running, Session } from "../../session.ts";
import type { CallOptions, Json, PolicyRef, Resource, SessionOptions } from "../../surface.ts";
import { answered } from "../answered.ts";
import type { Authority } from "../authority.ts";
import { asked, Call, type CallFacts, type Guarding, recordedInputs } from "../call.ts";
import { Desk } from "../desk.ts";
import { guardingOf } from "../guard.ts";
import { LedgerError } from "../ledger/ledger_error.ts";
import type { LedgerStore } from "../ledger/line.ts";
import { toldDecision } from "../records.ts";
import { microUsd } from "../request.ts";
import type { LocalGuardOptions, LocalObservers } from "../types.ts";
import { Authorities, type Both } from "./authorities.ts";
import { Books } from "./books.ts";
import { PolicySync } from "./policy_sync.ts";

export interface HybridOptions extends SentinelOptions, Pick<LocalObservers, "onUnrecorded" | "onOptionFailed"> {
  /**
   * A policy of this process's own: the text (YAML or JSON) or the document. What it denies or holds does not run, whatever the gateway has in force:
   * the gateway can only be stricter. Default: one that permits everything.
   */
  readonly floor?: string | object | undefined;
  /** Where is written what the gateway has no record of: what was denied here, and what ran without its answer. `BackgroundSync` takes it there. */
  readonly ledger?: LedgerStore | undefined;
  /** How old the gateway's policy may get here before it is asked for again. Default 30 s. */
  readonly refreshMs?: number | undefined;
  /** Told of each policy of the gateway's that came into force here; `null`: it has none. */
  readonly onPolicy?: ((policy: PolicyRef | null) => void) | undefined;
  /**
   * The gateway's policy could not be had or read; what was in force here stays. That the token may not read it (`policies:read`) is told once on the
   * console besides.
   */
  readonly onPolicyFault?: ((error: unknown) => void) | undefined;
}

/** A session of the gateway's, with what can be said about it here. */
export interface HybridSession {
  /** The session itself, for everything that is asked of the gateway alone. */
  readonly session: Session;
  /** The gateway's policy as it is known here; `undefined`: it was never heard. `null`: it has none. */
  readonly policy: PolicyRef | null | undefined;
  /** Asks for the gateway's policy now. `true`: another one is in force here. */
  refresh(): Promise<boolean>;
  /**
   * As `Session.guard`, with two differences. What is certain to be denied throws without asking the gateway. And `onUnavailable: "allow"` lets run only
   * what the floor and the gateway's last known policy both allow, by what this process has spent; it is written into the ledger first, and does not run
   * where that fails.
   */
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<NoInfer<Args>, NoInfer<Result>> & { readonly context: true },
    fn: (this: This, context: CallContext, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<NoInfer<Args>, NoInfer<Result>> & { readonly context?: false | undefined },
    fn: (this: This, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
}

/** What is spent in one of its sessions counts in all: in the same session opened again, and for an agent's or its tenant's limits in the agent's others. */
export interface HybridSentinel {
  /** Opens a session at the gateway. Without a gateway there is no session, and nothing runs. */
  openSession(options?: SessionOptions, call?: CallOptions): Promise<HybridSession>;
  /** Takes up a session that is already open, here or elsewhere. What was spent in it elsewhere is not known here; the gateway knows. */
  session(id: string, call?: CallOptions): Promise<HybridSession>;
}

/** A clock that never goes back: what sessions share is counted by one. */
function forwards(now: () => number): () => number {
  let latest = Number.NEGATIVE_INFINITY;
  return () => {
    latest = Math.max(latest, now());
    return latest;
  };
}

const REFRESH_MS = 30_000;
/** A policy that a decision names and that is not known here is asked for at most so often. */
const AGAIN_MS = 1_000;

/**
 * A client of one gateway that checks at home first. The gateway's answer is final: as long as it can be asked, nothing runs that it did not allow.
 * Throws, before anything is asked, for a floor that is no policy.
 */
export function createHybridSentinel(options: HybridOptions): HybridSentinel {
  const { floor = { version: 1 }, ledger, refreshMs = REFRESH_MS, onPolicy, onPolicyFault, token, newId } = options;
  const now = forwards(options.now ?? Date.now);
  if (!Number.isSafeInteger(refreshMs) || refreshMs < 0)
    throw new RangeError(`Cannot use ${refreshMs} as the option "refreshMs": wanted milliseconds, 0 or more`);
  // A floor with a mistake is told now, and not with the first session.
  new Desk({ policy: floor, now, newId });
  const byAgent = new Map<string, PolicySync>();
  const authorities = new Authorities(now);
  let isWarned = false;
  const sentinel = createSentinel({
    ...options,
    onDecision: (answer) => {
      const digest = answer.policy?.digest;
      const all = [...byAgent.values()];
      // The gateway decides under one that is not known here: it has moved.
      if (!all.some(({ synced }) => synced?.ref?.digest === digest)) for (const policies of all) refreshOld(policies, AGAIN_MS);
      options.onDecision?.(answer);
    },
  });
  const policiesOf = (agent: string): PolicySync => {
    const known = byAgent.get(agent);
    if (known !== undefined) return known;
    const made = new PolicySync({
      base: options.url.replace(/\/+$/, ""),
      token: typeof token === "function" ? token : () => token,
      agent,
      // Looked up at each call, and called without a receiver as browsers want it.
      fetch: options.fetch ?? ((url, init) => fetch(url, init)),
      now,
      timeoutMs: options.timeoutMs ?? 10_000,
      onPolicy,
      onPolicyFault: (error) => {
        if (!isWarned && error instanceof GatewayRefusedError && error.status === 403) {
          isWarned = true;
          console.warn(unheard(agent, error));
        }
        onPolicyFault?.(error);
      },
    });
    byAgent.set(agent, made);
    return made;
  };
  const begun = async (opening: Promise<Session>): Promise<HybridSession> => {
    const session = await opening;
    const { id, run, agent } = session;
    if (!isId("ses", id) || !isId("run", run)) throw new TypeError("Cannot use this session: its ids are of another form");
    const policies = policiesOf(agent);
    const { onUnrecorded, onOptionFailed } = options;
    const both = authorities.of(
      id,
      run,
      agent,
      (shares) => new Desk({ policy: floor, agent, ledger, now, newId, onUnrecorded, onOptionFailed }, { session: id, run, shares }),
    );
    // Without it everything is asked, which is no less safe.
    if (policies.isOlderThan(refreshMs)) await policies.refresh().catch(() => undefined);
    return new Hybrid(session, both, policies, refreshMs, options.onUnguarded);
  };
  return {
    openSession: (session, call) => begun(sentinel.openSession(session, call)),
    session: (id, call) => begun(sentinel.session(id, call)),
  };
}

/** Without the policy nothing less is asked of the gateway: it shows only once that is away, when it is too late to mend. So it is said at once. */
const unheard = (agent: string, { message }: GatewayRefusedError): string =>
  `AgentSentinel: the floor alone is checked here for "${agent}", also where onUnavailable: "allow" lets it run without the gateway. ${message}. ` +
  "A hybrid sentinel's token needs policies:read.";

/** Asks for a policy that was not asked for within `ms`, without waiting. What goes wrong its observer is told. */
function refreshOld(policies: PolicySync, ms: number): void {
  if (policies.isOlderThan(ms)) void policies.refresh().catch(() => undefined);
}

class Hybrid implements HybridSession {
  readonly session: Session;
  readonly #policies: PolicySync;
  readonly #refreshMs: number;
  readonly #onUnguarded: HybridOptions["onUnguarded"];
  /** Of every object of this session. It lives as long as any of them. */
  readonly #both: Both;

  constructor(session: Session, both: Both, policies: PolicySync, refreshMs: number, onUnguarded: HybridOptions["onUnguarded"]) {
    this.session = session;
    this.#both = both;
    this.#policies = policies;
    this.#refreshMs = refreshMs;
    this.#onUnguarded = onUnguarded;
  }

  /** Under the floor. Its ledger is the one there is. */
  get #desk(): Desk {
    return this.#both.desk;
  }

  /** Under the gateway's policy, by what was spent here. */
  get #mirror(): Authority {
    return this.#both.mirror;
  }

  get policy(): PolicyRef | null | undefined {
    return this.#policies.synced?.ref;
  }

  refresh(): Promise<boolean> {
    return this.#policies.refresh();
  }

  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, Result> & { readonly context?: boolean | undefined },
    fn: (this: This, ...args: never) => Result,
  ): Guarded<This, Args, Result> {
    const hybrid = this;
    // The call is made with what the overloads say `fn` takes.
    const run = fn as (this: This, ...args: unknown[]) => Result;
    // What the options' functions take are the arguments of this very guard.
    const guarding = guardingOf(options as LocalGuardOptions<readonly unknown[], unknown>);
    // Refuses what no guard can be made of, and has the length and name that the result has.
    const model = this.session.guard(options as GuardOptions<Args, Result>, fn as (this: This, ...args: Args) => Result);
    async function guarded(this: This, ...args: Args): Promise<Awaited<Result>> {
      return hybrid.#call(options, guarding, run, this, args);
    }
    return Object.defineProperties(guarded, {
      name: { value: model.name, configurable: true },
      length: { value: model.length, configurable: true },
    });
  }

  async #call<This, Args extends unknown[], Result>(
    options: HybridGuardOptions<Args, Result>,
    guarding: Guarding,
    run: (this: This, ...args: unknown[]) => Result,
    self: This,
    args: Args,
  ): Promise<Awaited<Result>> {
    options.signal?.throwIfAborted();
    const facts = this.#factsOf(options);
    const again = (): ActionRequest => asked(guarding, args, facts).request;
    const request = again();
    const look = () => JSON.stringify(args.map(shown));
    const seen = look();
    const isChanged = (): boolean => {
      if (seen === look()) return false;
      try {
        return judgedOf(request) !== judgedOf(again());
      } catch {
        // Of what they are now nothing can be asked.
        return true;
      }
    };
    const here = await this.#checked(guarding, request, args);
    // The session's guard is shown the copy that was judged here, and looks at the arguments themselves from now on.
    if (isChanged()) {
      // Under an id of the caller's own an earlier life of the call may have run.
      here.giveBack(options.id !== undefined);
      throw refused(request.action, "inputs_changed");
    }
    // In flight from before it is asked, as far as it may run without an answer: a kill stops that too.
    const flight: Running = { run: here.floor.run, action: request.action, stop: new AbortController() };
    const land = options.onUnavailable === "allow" ? takeOff(this.session, flight) : () => undefined;
    const remote = remoteOptions(options, request, again, here);
    let hasRun = false;
    try {
      const result = await this.session.guard(remote, (...given: unknown[]) => {
        hasRun = true;
        return this.#within(request, () => Reflect.apply(run, self, given));
      })(...args);
      // A stream that has just begun counts as its estimate until `actualUsd` is asked; so does all that has no `actualUsd`.
      if (options.actualUsd === undefined) here.settle("success", request.estimateMicroUsd);
      land();
      // It is what `fn` gave, by the type of `Session.guard`.
      return result as Awaited<Result>;
    } catch (error) {
      if (hasRun) {
        land();
        here.settle("error", request.estimateMicroUsd);
        throw error;
      }
      const isCut = error instanceof GatewayUnavailableError && error.decision === null;
      const isOver = options.signal?.aborted || flight.stop.signal.aborted || this.session.signal.aborted;
      // What was answered before is not undecided.
      const wasAnswered = insideOf(this.session).used.has(request.id + request.id);
      const mayRun = isCut && options.onUnavailable === "allow" && !isOver && !wasAnswered;
      const hasChanged = mayRun && isChanged();
      if (mayRun && !hasChanged)
        return await this.#unguarded({ options, guarding, request, here, error, signal: flight.stop.signal, land }, run, self, args);
      land();
      // The gateway may have said yes although nobody heard it. Under an id of the caller's own that yes is kept for the caller, there and here.
      const mayStand = mayHaveReserved(error, options.signal);
      // So it is where it was said and heard, and the call did not come to run.
      const isNo = error instanceof AgentSentinelError && error.decision !== null;
      const isUsed = error instanceof GatewayRefusedError && error.code === "decision_settled";
      here.giveBack((mayStand || isUsed || (wasAnswered && !isNo)) && options.id !== undefined);
      if (mayStand && options.id === undefined) void abandon(insideOf(this.session), this.session, request.id);
      throw hasChanged ? refused(request.action, "inputs_changed") : error;
    }
  }

  /** Runs what the gateway could not be asked about, where somebody wrote down that it may and nothing that is known here speaks against it. */
  async #unguarded<This, Args extends unknown[], Result>(
    { options, guarding, request, here, error, signal, land }: Unguarded<Args, Result>,
    run: (this: This, ...args: unknown[]) => Result,
    self: This,
    args: Args,
  ): Promise<Awaited<Result>> {
    const { used } = insideOf(this.session);
    if (used.has(request.id)) {
      land();
      here.giveBack(true);
      throw settled(request.action);
    }
    // The policy may have moved while the gateway was asked.
    if (here.under !== this.#policies.synced) here.judge(this.#policies.synced, () => this.#seen(request));
    if (here.policy !== null && here.policy.verdict !== "allow") {
      land();
      here.giveBack();
      throw this.#denied(guarding, request, args, here.policy);
    }
    let call: Call;
    try {
      // What is on record is what the gateway's policy said; without it, the floor.
      call = new Call(this.#desk, guarding, args, {
        request,
        decision: { ...(here.policy ?? here.floor), id: request.id },
        unguarded: true,
        over: land,
      });
    } catch (fault) {
      land();
      here.giveBack();
      throw fault;
    }
    if (options.id !== undefined) used.add(options.id);
    observe(this.#onUnguarded, { session: this.session.id, decisionId: request.id, action: request.action, error });
    here.settleMirror(request.estimateMicroUsd);
    let result: Result;
    try {
      // Nobody who could grant more can be asked.
      const topUp = async (): Promise<never> => {
        throw error;
      };
      const given = options.context === true ? [{ signal, decisionId: request.id, topUp } satisfies CallContext, ...args] : args;
      result = call.within(() => Reflect.apply(run, self, given));
    } catch (thrown) {
      call.failed(thrown);
      throw thrown;
    }
    return await call.gave(result);
  }

  #within<Result>(request: ActionRequest, act: () => Result): Result {
    const { scope } = this.#desk.frame();
    return this.#desk.contexts.run({ scope, parents: [request.id] }, act);
  }

  #factsOf(options: { readonly id?: string | undefined; readonly run?: string | undefined }): CallFacts {
    const { id = this.#desk.newDecisionId(), run = this.session.run } = options;
    if (!isId("dec", id)) throw new TypeError(`Cannot use ${JSON.stringify(id)} as the option "id": wanted dec_ and a UUID`);
    if (!isId("run", run)) throw new TypeError(`Cannot use ${JSON.stringify(run)} as the option "run": wanted run_ and a UUID`);
    // A run that was opened at the gateway is opened here with its first call.
    for (const authority of [this.#desk.authority, this.#mirror]) if (!authority.book.runs.has(run)) authority.openRun(run);
    return { id, run, parents: this.#desk.frame().parents, looks: true, keeps: false };
  }

  /** What can be said here. Throws when it is a no that the gateway would not lift, or that it has no say in. */
  async #checked(guarding: Guarding, request: ActionRequest, args: readonly unknown[]): Promise<Books> {
    const what = `decide "${request.action}"`;
    const floor = answered(what, this.#desk.authority.decide(request));
    if (floor.verdict !== "allow") throw this.#denied(guarding, request, args, floor);
    let under = this.#policies.synced;
    let policy = this.#seen(request);
    // A no may be that of a policy which is no longer in force; a yes is the gateway's to give.
    if (!isCertain(policy)) refreshOld(this.#policies, this.#refreshMs);
    else if (this.#policies.isOlderThan(this.#refreshMs) && (await this.#policies.refresh().catch(() => false))) {
      under = this.#policies.synced;
      policy = this.#seen(request);
    }
    const here = new Books(this.#desk.authority, floor, this.#mirror, this.#desk.now);
    here.judge(under, () => policy);
    if (policy === null || !isCertain(policy)) return here;
    here.giveBack();
    throw this.#denied(guarding, request, args, policy);
  }

  /** What the gateway's policy says by what was spent here. `null`: the gateway was never heard. */
  #seen(request: ActionRequest): Decision | null {
    const { synced } = this.#policies;
    if (synced === null) return null;
    if (this.#mirror.policy !== synced.policy) this.#mirror.use(synced.policy);
    // Under an id of its own: asked again after the policy has moved, the answer may be another.
    return answered(`decide "${request.action}"`, this.#mirror.decide({ ...request, id: this.#desk.newDecisionId() }));
  }

  /** Writes down what is denied here, since nobody else hears of it. It stays denied where that fails, and the error says so. */
  #denied(guarding: Guarding, request: ActionRequest, args: readonly unknown[], decision: Decision): Error {
    const { authority, records, recorder } = this.#desk;
    try {
      records?.decided({
        tags: request.tags,
        agent: authority.book.agent,
        inputs: recordedInputs(recorder, guarding.options, args, { request }),
        parents: request.parents,
        estimateMicroUsd: request.estimateMicroUsd,
        decision: toldDecision({ ...decision, id: request.id }),
      });
    } catch (error) {
      return error instanceof Error ? error : new LedgerError("unwritable", `Cannot write the ledger: ${String(error)}`, error);
    }
    const no = this.#desk.errorOf(decision);
    assert(no !== null, "what is denied or held has an error");
    return no;
  }
}

type HybridGuardOptions<Args extends readonly unknown[], Result> = GuardOptions<Args, Result> & { readonly context?: boolean | undefined };

interface Unguarded<Args extends readonly unknown[], Result> {
  readonly options: HybridGuardOptions<Args, Result>;
  readonly guarding: Guarding;
  readonly request: ActionRequest;
  readonly here: Books;
  readonly error: GatewayUnavailableError;
  /** Aborts when the call is killed. */
  readonly signal: AbortSignal;
  /** It has ended, and nothing need stop it any more. */
  readonly land: () => void;
}

/**
 * The reasons for which the gateway denies too, whatever it knows more: it has at least as much on its books as this process has. What depends on stored
 * attributes, on prices, on approvals or on what happened elsewhere before is for the gateway to say.
 */
const CERTAIN: readonly ReasonCode[] = [
  "action_denied",
  "action_not_allowed",
  "arguments_invalid",
  "loop_detected",
  "retries_exceeded",
  "rate_exceeded",
  "action_budget_exceeded",
  "run_budget_exceeded",
  "session_budget_exceeded",
];

const isCertain = (decision: Decision | null): boolean => decision?.verdict === "deny" && CERTAIN.includes(decision.reason.code);

/** What of a request comes from the arguments. */
const judgedOf = ({ inputs, resource, estimateMicroUsd }: ActionRequest): string => JSON.stringify([inputs, resource, estimateMicroUsd]);

function resourceOf({ resource }: ActionRequest): Resource {
  assert(resource !== null, "what an option gives was checked to be a resource");
  return resource;
}

/** What the gateway is asked: what was looked at here, word for word, under the same id; and `again`, where it is asked what that would be by now. */
function remoteOptions<Args extends unknown[], Result>(
  options: HybridGuardOptions<Args, Result>,
  request: ActionRequest,
  again: () => ActionRequest,
  here: Books,
): GuardOptions<unknown[], unknown> & { readonly isNew: boolean } {
  const { costUsd, actualUsd } = options;
  let told: ActionRequest | null = null;
  return {
    ...options,
    id: request.id,
    isNew: options.id === undefined,
    run: request.run ?? undefined,
    parents: request.parents,
    // A guard asks for the inputs first.
    inputs: (): Json | undefined => {
      told = told === null ? request : again();
      return told.inputs;
    },
    costUsd: costUsd === undefined ? undefined : () => formatUsd((told ?? request).estimateMicroUsd),
    resource: typeof options.resource === "function" ? () => resourceOf(told ?? request) : (request.resource ?? undefined),
    onUnavailable: "deny",
    actualUsd:
      actualUsd === undefined
        ? undefined
        : (result: unknown) => {
            // The result is what `fn` gave, by the type of `Session.guard`.
            const usd = actualUsd(result as Awaited<Result>);
            here.settle("success", microUsd(usd, "actualUsd"));
            return usd;
          },
    // As above.
    outputs: options.outputs as ((result: unknown) => unknown) | undefined,
  };
}
