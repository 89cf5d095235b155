import { errorFor, GatewayRefusedError, GatewayUnavailableError } from "./errors.ts";
import { observe } from "./observers.ts";
import { assertNoClass, shown, shownArguments } from "./plain.ts";
import type { Running, Session, SessionContext } from "./session.ts";
import { isStream, unsupportedStream, watched } from "./stream.ts";
import type { ActionFacts, ActionRequest, CallOptions, CommitReport, DecisionAnswer, Json, Resource, UsdInput } from "./surface.ts";
import { repeatAfter } from "./transport.ts";
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
   * What the gateway is shown of the call; `undefined`: nothing. Default: the arguments when they are plain JSON data of moderate size
   * (a single plain object as itself, anything else as the list), otherwise nothing, and rules that need them deny.
   */
  readonly inputs?: OfArguments<Args, Json | undefined> | undefined;
  /** What the record keeps of the result: plain JSON data of moderate size, otherwise nothing. Default: nothing. */
  readonly outputs?: ((result: Awaited<Result>) => unknown) | undefined;
  /**
   * What happens when the gateway cannot be reached. Default `deny`: the error is thrown and nothing runs. `allow`: it runs without a
   * decision and `onUnguarded` is told. A refusal or a malformed answer never counts as unreachable, and nothing runs once its run is known to
   * be over.
   */
  readonly onUnavailable?: "deny" | "allow" | undefined;
  /**
   * For a call that is made once: under which decision id, `dec_` and a UUID. Made again under it, it gets the same answer, and what may have been
   * reserved is kept for that where no answer comes. Default: a new one for each call.
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
}

/** The guarded function: same parameters and `this`; a promise of the same result. */
export type Guarded<This, Args extends unknown[], Result> = (this: This, ...args: Args) => Promise<Awaited<Result>>;

type Options<Args extends readonly unknown[], Result> = GuardOptions<Args, Result> & { readonly context?: boolean | undefined };

/** Whom a guard asks, and tells what came of it. What a lease decides is there without being waited for. */
export interface Desk extends Pick<Session, "id" | "run" | "signal"> {
  decide(request: ActionRequest & { readonly id: string; readonly run: string }, call: CallOptions): DecisionAnswer | Promise<DecisionAnswer>;
  commit(decisionId: string, report: CommitReport): unknown;
}

/** What a guard needs of its session. */
export interface Post extends SessionContext {
  readonly session: Desk;
  /** What a kill stops; a call is in it while it is in flight. */
  readonly running: Set<Running>;
  /** Says, once and without waiting, that what may have been reserved will not run. Its expiry covers for a loss. */
  readonly abandon: (decisionId: string) => void;
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
    const { session, running } = post;
    const { now } = post.ambience;
    const { id = `dec_${post.newId()}`, run = session.run, action } = options;
    const request = { ...requestOf(options, args), id, run };
    // In flight from before it is asked: a kill that is told while the answer travels stops it too.
    const call: Running = { run, action, stop: new AbortController() };
    running.add(call);
    let allowed: boolean;
    try {
      allowed = await permitted(post, options, request, call);
    } catch (error) {
      running.delete(call);
      throw error;
    }
    const startedAt = now();
    const estimateUsd = request.estimateUsd ?? 0;
    /**
     * Ends the call: the first end is the end. Never rejects: the action has run, and nothing said about it afterwards may replace what it gave or
     * threw.
     */
    const settle = async (
      outcome: { readonly costUsd: () => UsdInput; readonly outputs?: () => unknown } | { readonly error: unknown },
    ): Promise<void> => {
      if (!running.delete(call) || !allowed) return;
      let report: CommitReport | null = null;
      const failed = (error: unknown): void => observe(post.observers.onCommitFailed, { session: session.id, decisionId: id, action, report, error });
      try {
        report = { outcome: "success", costUsd: estimateUsd, durationMs: Math.max(0, Math.round(now() - startedAt)) };
        if ("error" in outcome) report = { ...report, outcome: "error", error: described(outcome.error) };
        else {
          report = { ...report, costUsd: attempt(() => usdText(outcome.costUsd(), "actualUsd"), estimateUsd, failed) };
          report = { ...report, outputs: attempt(() => shown(outcome.outputs?.()), undefined, failed) };
        }
        await session.commit(id, report);
      } catch (error) {
        failed(error);
      }
    };

    let result: Awaited<Result>;
    try {
      const given = options.context ? [{ signal: call.stop.signal } satisfies CallContext, ...args] : args;
      // `fn` takes what the overloads of `Session.guard` say it takes with this option.
      result = await fn.apply(this, given as never);
    } catch (error) {
      await settle({ error });
      throw error;
    }
    const done = { costUsd: () => options.actualUsd?.(result) ?? estimateUsd, outputs: () => options.outputs?.(result) };
    if (!isStream(result)) {
      await settle(done);
      return result;
    }
    const stream = watched(result, {
      ended: () => settle(done),
      cancelled: () => settle({ costUsd: () => estimateUsd }),
      failed: (error) => settle({ error }),
    });
    if (stream !== null) return stream;
    const unsupported = unsupportedStream(action);
    await settle({ error: unsupported });
    throw unsupported;
  }

  return Object.defineProperties(guarded, {
    name: { value: fn.name, configurable: true },
    length: { value: options.context && fn.length > 0 ? fn.length - 1 : fn.length, configurable: true },
  });
}

function requestOf<Args extends unknown[], Result>(options: Options<Args, Result>, args: Args): ActionRequest {
  const { action, costUsd, actualUsd: _, outputs: __, resource, inputs, onUnavailable: ___, signal: ____, context: _____, ...facts } = options;
  const estimate = typeof costUsd === "function" ? costUsd(...args) : costUsd;
  return {
    ...facts,
    action,
    // Written out before anything is asked, so that what is reserved and what an error is charged are the same text.
    estimateUsd: estimate === undefined ? undefined : usdText(estimate, "costUsd"),
    resource: typeof resource === "function" ? resource(...args) : resource,
    inputs: inputs === undefined ? shownArguments(args) : inputs(...args),
  };
}

/** `true`: allowed. `false`: not decided, and the guard says to run it all the same. Throws otherwise. */
async function permitted<Args extends readonly unknown[], Result>(
  { session, observers, abandon }: Post,
  { signal, onUnavailable, id }: GuardOptions<Args, Result>,
  request: ActionRequest & { readonly id: string; readonly run: string },
  call: Running,
): Promise<boolean> {
  signal?.throwIfAborted();
  const killed = call.stop.signal;
  let decision: DecisionAnswer;
  try {
    decision = await session.decide(request, { signal });
    signal?.throwIfAborted();
  } catch (error) {
    // A signal's reason may be any error, one of ours included.
    const isOver = signal?.aborted || killed.aborted || session.signal.aborted;
    if (error instanceof GatewayUnavailableError && !isOver && onUnavailable === "allow") {
      observe(observers.onUnguarded, { session: session.id, decisionId: request.id, action: request.action, error });
      return false;
    }
    if (!id && mayHaveReserved(error, signal)) abandon(request.id);
    throw error;
  }
  const error = errorFor(decision) ?? unkept(decision);
  if (error === null && !killed.aborted) {
    call.decision = request.id;
    return true;
  }
  // Under an id of its own an earlier life of the call may have run.
  if (!id && decision.verdict === "allow") abandon(request.id);
  throw error ?? killed.reason;
}

/** A yes under obligations is a yes only to who keeps them, and this version knows none. */
function unkept({ action, obligations }: DecisionAnswer): GatewayRefusedError | null {
  if (obligations.length === 0) return null;
  const detail = "it is allowed under obligations that this version cannot keep";
  return new GatewayRefusedError(`run "${action}"`, { status: 200, code: "obligation_unknown", detail });
}

/** Whether the gateway may have said yes although this side heard none: also to an earlier try than the one that failed in the end. */
export const mayHaveReserved = (error: unknown, signal: AbortSignal | undefined): boolean =>
  signal?.aborted || repeatAfter(error) !== null || (error instanceof GatewayRefusedError && error.code === "answer_malformed");

/** What the caller's function gives, or what stands in for it when it throws or gives no such thing, which is told too. */
function attempt<T>(make: () => T, otherwise: T, tell: (error: unknown) => void): T {
  try {
    return make();
  } catch (error) {
    tell(error);
    return otherwise;
  }
}

/** An exception's name and message, or what it is. An exception can be anything, getters that throw included. */
function described(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : typeof error === "string" ? error : `thrown: ${typeof error}`;
    return text.slice(0, 500);
  } catch {
    return "thrown: unreadable";
  }
}
