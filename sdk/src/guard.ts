import { AGAIN_MS } from "./bounds.ts";
import { assertAllowed } from "./decision.ts";
import { GatewayRefusedError, GatewayUnavailableError } from "./errors.ts";
import { attempt, observe } from "./observers.ts";
import { assertNoClass, shown, shownArguments, UNSHOWN } from "./plain.ts";
import type { Running, Session, SessionContext } from "./session.ts";
import { type End, isStream, unsupportedStream, watched } from "./stream.ts";
import type { ActionFacts, ActionRequest, CallOptions, CommitReport, DecisionAnswer, Json, Resource, UsdInput } from "./surface.ts";
import { pause, repeatAfter } from "./transport.ts";
import { usdText } from "./usd.ts";

/** A function of the guarded function's arguments, or of the first of them. Through `infer`, what an option is given says nothing of what they are. */
type OfArguments<Args, Made> = Args extends infer Known extends readonly unknown[] ? (...args: Known) => Made : never;

/** How a function is guarded. None of it ever travels in the function's own arguments. */
export interface GuardOptions<Args extends readonly unknown[], Result> extends ActionFacts {
  /** 1 to 128 letters, digits, `_ - . : /`: the name that policies know it by. */
  readonly action: string;
  /** The most it may cost, reserved before it runs. Default 0. */
  readonly costUsd?: UsdInput | OfArguments<Args, UsdInput> | undefined;
  /**
   * What it did cost, from its result; for a stream, asked once it has ended. Without it, and when it fails, is cancelled or gives no
   * amount, the estimate is charged: nobody knows that it was less.
   */
  readonly actualUsd?: ((result: Awaited<Result>) => UsdInput) | undefined;
  readonly resource?: Resource | OfArguments<Args, Resource> | undefined;
  /**
   * What the gateway is shown of the call: plain JSON data of at most 64,000 characters. Default: the arguments (a single plain object as itself,
   * anything else as the list). What is no such data, or `undefined`, is not shown, and the gateway is told so: what a rule or a person must see of it
   * is denied with `inputs_required`, and all else is decided without it.
   */
  readonly inputs?: OfArguments<Args, Json | undefined> | undefined;
  /** What the record keeps of the result: plain JSON data of moderate size, otherwise nothing. Default: nothing. */
  readonly outputs?: ((result: Awaited<Result>) => unknown) | undefined;
  /**
   * What happens when the gateway cannot be reached. Default `deny`: the error is thrown and nothing runs. `allow`: it runs without a
   * decision and `onUnguarded` is told; what it cost is told the gateway all the same, without waiting, in case that has decided. A refusal or
   * a malformed answer never counts as unreachable, and nothing runs once its run is known to be over.
   */
  readonly onUnavailable?: "deny" | "allow" | undefined;
  /**
   * For a call that is made once: under which decision id, `dec_` and a UUID. Made again under it, it gets the same answer, and what may have been
   * reserved is kept for that where no answer comes. It runs once with one sentinel, and not where the gateway knows it as settled
   * (`GatewayRefusedError`, `decision_settled`) or said yes and cannot say more; nor undecided once that sentinel was told an answer. Default: a new
   * one for each call.
   */
  readonly id?: string | undefined;
  /** Default: the session's current one when it is called. */
  readonly run?: string | undefined;
  /** Stops the asking. What has started runs on, and its commit is always sent. */
  readonly signal?: AbortSignal | undefined;
}

/** What a guarded function is given before its arguments with `context: true`. */
export interface CallContext {
  /**
   * Aborts, with an `AgentKilledError` as its reason, when the call is killed while it runs: its action, run, session, agent or tenant. What it
   * did until then is committed all the same.
   */
  readonly signal: AbortSignal;
  /** What it runs under, or was asked for under where nobody answered: for the `parents` of what follows from it. */
  readonly decisionId: string;
  /**
   * Asks for more. `estimateUsd` is the new sum, not the difference; where it is granted, it is what is charged without `actualUsd`. Throws the typed error
   * for a no, and then the old sum stands. Of what was stopped since less is granted, with `superseded`, and never more.
   */
  readonly topUp: (estimateUsd: UsdInput) => Promise<DecisionAnswer>;
}

/** The guarded function: same parameters and `this`; a promise of the same result. */
export type Guarded<This, Args extends unknown[], Result> = (this: This, ...args: Args) => Promise<Awaited<Result>>;

type Options<Args extends readonly unknown[], Result> = GuardOptions<Args, Result> & {
  readonly context?: boolean | undefined;
  /** Its `id` was made for this very call, as the default is: nobody has asked under it. */
  readonly isNew?: boolean | undefined;
};

/** Whom a guard asks, and tells what came of it. What a lease decides is there without being waited for. */
export interface Desk extends Pick<Session, "id" | "run" | "signal" | "readDecision"> {
  decide(request: ActionRequest & { readonly id: string; readonly run: string }, call: CallOptions): DecisionAnswer | Promise<DecisionAnswer>;
  commit(decisionId: string, report: CommitReport): unknown;
  release(decisionId: string, call: { readonly reason: string }): unknown;
  topup(decisionId: string, estimateUsd: UsdInput): Promise<DecisionAnswer>;
}

/** What a guard needs of its session. */
export interface Post extends SessionContext {
  readonly session: Desk;
  /** What a kill stops; a call is in it while it is in flight. */
  readonly running: Set<Running>;
}

export function guard<This, Args extends unknown[], Result>(
  post: Post,
  options: Options<Args, Result>,
  fn: (this: This, ...args: never) => Result,
): Guarded<This, Args, Result> {
  assertNoClass(fn, options.action);
  // What such a function gives runs while it is read, and could not wait for its commit.
  if (Reflect.get(fn, Symbol.toStringTag) === "GeneratorFunction") throw unsupportedStream(options.action);

  async function guarded(this: This, ...args: Args): Promise<Awaited<Result>> {
    const { session, running, used } = post;
    const { id = `dec_${post.newId()}`, run = session.run, action, signal } = options;
    const request = { ...requestOf(options, args), id, run };
    // What is no plain data is not watched.
    const look = (made: unknown) => JSON.stringify(made);
    const asked = look(request);
    const seen = look(args.map(shown));
    signal?.throwIfAborted();
    if (post.ended) throw post.ended;
    /** Somebody else, or an earlier life of the call, may have asked under its id. */
    const isNamed = options.id && !options.isNew;
    if (isNamed) {
      if (used.has(id)) throw settled(action);
      used.add(id);
    }
    // In flight from before it is asked: a kill that is told while the answer travels stops it too.
    const call: Running = { run, action, stop: new AbortController() };
    const killed = call.stop.signal;
    running.add(call);
    let decision: DecisionAnswer | undefined;
    try {
      decision = await session.decide(request, { signal });
      if (isNamed) used.add(id + id);
      if (isNamed && decision.verdict === "allow") {
        const found = await session.readDecision(id, { signal });
        // What has expired was not told of: it has not run, as far as anybody knows, and its cost is posted late.
        if (found.state !== "pending" && found.state !== "expired") throw settled(action);
        decision = found;
      }
      signal?.throwIfAborted();
      assertAllowed(decision);
      // A yes under obligations is a yes only to who keeps them, and this version knows none.
      if (decision.obligations.length) throw refused(action, "obligation_unknown");
      // What runs is what was decided, also where its caller went on changing what it had passed. What was not asked about may change.
      if (seen !== look(args.map(shown)) && asked !== look({ ...requestOf(options, args), id, run })) throw refused(action, "inputs_changed");
      killed.throwIfAborted();
      call.decision = id;
    } catch (error) {
      // What was answered before is not undecided, and a signal's reason may be any error, one of ours included.
      if (
        used.has(id + id) ||
        options.onUnavailable !== "allow" ||
        decision ||
        signal?.aborted ||
        killed.aborted ||
        session.signal.aborted ||
        !(error instanceof GatewayUnavailableError)
      ) {
        running.delete(call);
        used.delete(id);
        // Under an id of its own an earlier life of the call may have run.
        if (!isNamed && (decision ? decision.decision : !options.id && mayHaveReserved(error, signal))) void abandon(post, session, id);
        throw error;
      }
      observe(post.observers.onUnguarded, { session: session.id, decisionId: id, action, error });
    }
    const startedAt = post.ambience.now();
    let { estimateUsd = 0 } = request;
    /**
     * Ends the call: the first end is the end, and what is not whole costs the estimate, since nobody knows that it was less. Never rejects: the action has run, and nothing said about it afterwards may replace what it gave or
     * threw. What ran undecided is told without waiting, and without a word where it is not taken: it may be that nobody knows of it.
     */
    const settle = async (end: End): Promise<void> => {
      if (!running.delete(call)) return;
      const isError = typeof end === "object";
      const report: { -readonly [Member in keyof CommitReport]: CommitReport[Member] } = {
        outcome: isError ? "error" : "success",
        costUsd: estimateUsd,
        durationMs: Math.max(0, Math.round(post.ambience.now() - startedAt)),
        error: isError ? described(end.error) : undefined,
      };
      const failed = (error: unknown): void => {
        if (decision) observe(post.observers.onCommitFailed, { session: session.id, decisionId: id, action, report, error });
      };
      if (end === "whole") {
        report.costUsd = (await attempt(() => usdText(options.actualUsd?.(result) ?? estimateUsd, "actualUsd"), failed)) ?? estimateUsd;
        report.outputs = await attempt(() => shown(options.outputs?.(result)), failed);
      }
      const told = attempt(() => session.commit(id, report), failed);
      if (decision) await told;
    };

    const topUp: CallContext["topUp"] = async (sum) => {
      const more = await session.topup(id, sum);
      // A yes to less stands also where something was stopped since.
      if (!more.decision) assertAllowed(more);
      estimateUsd = sum;
      return more;
    };

    let result: Awaited<Result>;
    try {
      const given = options.context ? [{ signal: killed, decisionId: id, topUp } satisfies CallContext, ...args] : args;
      // `fn` takes what the overloads of `Session.guard` say it takes with this option.
      result = await fn.apply(this, given as never);
      if (isStream(result)) {
        const stream = watched(result, settle);
        if (stream) return stream;
        throw unsupportedStream(action);
      }
    } catch (error) {
      await settle({ error });
      throw error;
    }
    await settle("whole");
    return result;
  }

  return Object.defineProperties(guarded, {
    name: { value: fn.name, configurable: true },
    length: { value: Math.max(0, fn.length - (options.context ? 1 : 0)), configurable: true },
  });
}

/** What is asked about a call. */
function requestOf<Args extends unknown[], Result>(options: Options<Args, Result>, args: Args): ActionRequest {
  const { costUsd, actualUsd: _, outputs: __, resource, inputs, onUnavailable: ___, signal: ____, context: _____, isNew: ______, ...facts } = options;
  const seen = inputs ? shown(inputs(...args)) : shownArguments(args);
  return {
    ...facts,
    estimateUsd: typeof costUsd === "function" ? costUsd(...args) : costUsd,
    resource: typeof resource === "function" ? resource(...args) : resource,
    inputs: seen,
    inputsDigest: seen === undefined ? UNSHOWN : undefined,
  };
}

/** What only this side can see: it does not run. */
export const refused = (action: string, code: string): GatewayRefusedError => new GatewayRefusedError(`run "${action}"`, { code, detail: "not run" });

/** Nothing runs twice under an id. */
export const settled = (action: string): GatewayRefusedError => refused(action, "decision_settled");

/**
 * Gives back, without anybody waiting for it, what may have been reserved for a call that does not run. A question that was let go may arrive after this:
 * what is not known yet is given back once more. It is not asked again, which could take what others need, or ask a person. Its expiry
 * covers for a loss.
 */
export const abandon = (post: Pick<Post, "ambience">, session: Pick<Desk, "release">, id: string, isAgain?: boolean): Promise<unknown> =>
  attempt(
    () => session.release(id, { reason: "not run" }),
    (error) => {
      if (!isAgain && error instanceof GatewayRefusedError && error.status === 404)
        void pause(post.ambience, AGAIN_MS).then(() => abandon(post, session, id, true));
    },
  );

/** Whether the gateway may have said yes although this side heard none: also to an earlier try than the one that failed in the end. */
export const mayHaveReserved = (error: unknown, signal: AbortSignal | undefined): boolean =>
  signal?.aborted || repeatAfter(error) !== null || (error instanceof GatewayRefusedError && error.code === "answer_malformed");

/** An exception as text: its name and message. An exception can be anything, getters that throw included. */
export function described(error: unknown): string {
  try {
    return String(error).slice(0, 500);
  } catch {
    return "thrown";
  }
}
