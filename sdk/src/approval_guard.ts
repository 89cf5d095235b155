import { ApprovalRequiredError, GatewayRefusedError } from "./errors.ts";
import { abandon, type CallContext, type Guarded, type GuardOptions } from "./guard.ts";
import { uuidOf } from "./ids.ts";
import { insideOf } from "./inside.ts";
import type { Session } from "./session.ts";
import type { Json } from "./surface.ts";
import { type Hold, takeUp } from "./take_up.ts";

// What the arguments are the guarded function alone tells: through `infer`, what an option takes or gives says nothing of it.
type CallId<Args> = Args extends infer Known extends readonly unknown[] ? (...args: Known) => string : never;
type ToArguments<Args> = Args extends infer Known extends readonly unknown[] ? (inputs: Json, args: Known) => readonly [...Known] : never;

/** What a guard does where a person must approve. */
export interface HoldOptions<Args extends readonly unknown[]> {
  /** `throw`, the default: an `ApprovalRequiredError` while nobody has answered. `wait`: the call goes on once it is answered. */
  readonly onHold?: "throw" | "wait" | undefined;
  /** How long `wait` waits; then the error is thrown all the same. Default: until the approval expires. */
  readonly timeoutMs?: number | undefined;
  /**
   * The arguments that show as these inputs, for a person who changed them. What is shown of them is what is asked for, so nothing else than what
   * was approved can run. Without it a call whose inputs were changed does not run: `ApprovalRejectedError`, `approval_mismatch`.
   */
  readonly toArguments?: ToArguments<Args> | undefined;
}

export interface ApprovalOptions<Args extends readonly unknown[]> extends HoldOptions<Args> {
  /**
   * Names the call within its run and action, as a model's tool-call id does. Made again under it, in any process, it is the same call: it gets the
   * same answer, waits for the same approval, and a use whose answer was lost is taken up again. Once its end is on record it does not run again. Do
   * not repeat it in another process while it runs. Default: every call is another.
   */
  readonly callId?: CallId<Args> | undefined;
}

/** With or without a context: what the overloads tell apart. */
export type AnyOptions<Args extends readonly unknown[], Result> = GuardOptions<Args, Result> & { readonly context?: boolean | undefined };
export type AnyFn<This, Result> = (this: This, ...args: never) => Result;

/** `session.guard` for actions that a person may have to approve, with `onHold`, `callId` and `toArguments` beside its own options. */
export function guard<This, Args extends unknown[], Result>(
  session: Session,
  options: GuardOptions<Args, NoInfer<Result>> & ApprovalOptions<Args> & { readonly context: true },
  fn: (this: This, context: CallContext, ...args: Args) => Result,
): Guarded<This, Args, Result>;
export function guard<This, Args extends unknown[], Result>(
  session: Session,
  options: GuardOptions<Args, NoInfer<Result>> & ApprovalOptions<Args> & { readonly context?: false | undefined },
  fn: (this: This, ...args: Args) => Result,
): Guarded<This, Args, Result>;
export function guard<This, Args extends unknown[], Result>(
  session: Session,
  options: AnyOptions<Args, Result> & ApprovalOptions<Args>,
  fn: AnyFn<This, Result>,
): Guarded<This, Args, Result> {
  const { onHold, timeoutMs, toArguments, callId, ...plain } = options;
  return likeGuarded(session, plain, fn, async (self, args): Promise<Awaited<Result>> => {
    const run = plain.run ?? session.run;
    const name = callId?.(...args);
    // A call that was to have a name and has none would be asked about anew each time.
    if (callId !== undefined && typeof name !== "string")
      throw new TypeError(`Cannot name this call of "${plain.action}": callId must give a string`);
    const id = name === undefined ? plain.id : `dec_${await uuidOf(session.id, run, plain.action, name)}`;
    const first = await once(session, { ...plain, id, run }, fn, self, args);
    if (!("hold" in first)) return ended(first);
    const { hold } = first;
    // What nobody has asked for before, nobody has answered yet.
    if (onHold !== "wait" && id === undefined) throw hold;
    const useId = name === undefined ? `dec_${insideOf(session).newId()}` : await useIdOf(hold, name);
    return ended(await onceHeld(session, options, fn, self, args, hold, useId, name !== undefined));
  });
}

/** Under which id the call of that name uses an approval. */
export const useIdOf = async ({ approvalId }: Pick<Hold, "approvalId">, callId: string): Promise<string> => `dec_${await uuidOf(approvalId, callId)}`;

/** How a call ended: with what `fn` gave or threw, or before it was called because a person must approve it. */
type Outcome<T> = { readonly result: T } | { readonly thrown: unknown } | { readonly hold: ApprovalRequiredError };

export function ended<T>(outcome: Outcome<T>): T {
  if ("result" in outcome) return outcome.result;
  throw "thrown" in outcome ? outcome.thrown : outcome.hold;
}

/** Makes a call whose hold has been answered, or throws `ApprovalRequiredError` where it has not. `isKept`: see `takeUp`. */
export function onceHeld<This, Args extends unknown[], Result>(
  session: Session,
  { onHold, timeoutMs = Number.POSITIVE_INFINITY, toArguments, ...options }: AnyOptions<Args, Result> & ApprovalOptions<Args>,
  fn: AnyFn<This, Result>,
  self: This,
  args: Args,
  hold: Hold,
  useId: string,
  isKept: boolean,
): Promise<Outcome<Awaited<Result>>> {
  const { run, approvalId: approval } = hold;
  const waiting = { timeoutMs: onHold === "wait" ? timeoutMs : 0, signal: options.signal, isKept };
  return takeUp(session, hold, useId, waiting, ({ id, edits }) => {
    const given = edits?.inputs != null && toArguments !== undefined ? ([...toArguments(edits.inputs, args)] as Args) : args;
    const costUsd = edits?.estimateUsd ?? options.costUsd;
    // An unreachable gateway lets nothing run for which it has asked a person.
    const call = once(session, { ...options, id, run, approval, costUsd, onUnavailable: "deny" }, fn, self, given);
    if (isKept) return call;
    return call.catch((error: unknown) => {
      // To the guard an id like any other that was given it, and yet nobody makes this call again.
      if (error instanceof GatewayRefusedError && error.code === "inputs_changed") void abandon(insideOf(session), session, id);
      throw error;
    });
  });
}

/** Makes a guarded call. What `fn` throws is told apart from what the guard says, whatever it is. */
async function once<This, Args extends unknown[], Result>(
  session: Session,
  options: AnyOptions<Args, Result>,
  fn: AnyFn<This, Result>,
  self: This,
  args: Args,
): Promise<Outcome<Awaited<Result>>> {
  let hasRun = false;
  const marked = function (this: This, ...given: never): Result {
    hasRun = true;
    return fn.apply(this, given);
  };
  try {
    return { result: await guardedBy(session, options, marked).apply(self, args) };
  } catch (error) {
    if (hasRun) return { thrown: error };
    if (error instanceof ApprovalRequiredError) return { hold: error };
    throw error;
  }
}

/** Looks like what `session.guard` gives, and refuses what it refuses, at once. */
export function likeGuarded<This, Args extends unknown[], Result>(
  session: Session,
  options: AnyOptions<Args, Result>,
  fn: AnyFn<This, Result>,
  call: (self: This, args: Args) => Promise<Awaited<Result>>,
): Guarded<This, Args, Result> {
  const { name, length } = guardedBy(session, options, fn);
  const guarded = function (this: This, ...args: Args): Promise<Awaited<Result>> {
    return call(this, args);
  };
  return Object.defineProperties(guarded, { name: { value: name, configurable: true }, length: { value: length, configurable: true } });
}

/** `session.guard`, whose overloads tell two kinds of functions apart that are one here. */
const guardedBy = <This, Args extends unknown[], Result>(
  session: Session,
  options: AnyOptions<Args, Result>,
  fn: AnyFn<This, Result>,
): Guarded<This, Args, Result> =>
  // Whichever kind it is, the overloads of `guard` and of `Held` have seen that options and function fit.
  session.guard(options as GuardOptions<Args, Result> & { readonly context?: false }, fn as (this: This, ...args: Args) => Result);
