import { type ApprovalNow, askApproval } from "./approval.ts";
import { type AnyFn, type AnyOptions, ended, type HoldOptions, likeGuarded, onceHeld, useIdOf } from "./approval_guard.ts";
import { answered, type Decision, type WaitOptions } from "./decision.ts";
import { AgentSentinelError } from "./errors.ts";
import type { CallContext, Guarded, GuardOptions } from "./guard.ts";
import { insideOf } from "./inside.ts";
import type { Sentinel } from "./sentinel.ts";
import type { Session } from "./session.ts";
import type { ActionRequest, CallOptions, DecisionNow } from "./surface.ts";
import { goesOn, type Hold } from "./take_up.ts";

/** What names a hold: an `ApprovalRequiredError` or what JSON made of it, a decision, or the session's and the decision's id with a slash between. */
export type HoldName = string | { readonly session: string; readonly decisionId: string } | { readonly session: string; readonly id: string };

export interface ResumeOptions extends CallOptions {
  /**
   * The name of the call that goes on, where `guard` was given one: then a use whose answer was lost is taken up again, wherever that is. Without it
   * each that resumes is another, and of all that try at once the gateway allows one.
   */
  readonly callId?: string | undefined;
}

/** A hold that was taken up: what can be done about it, and with it once it was answered. */
export interface Held extends Hold {
  readonly session: Session;
  readonly action: string;
  /** The approval in the gateway's API, for whoever has a token; no page. See `ApprovalRequiredError`. */
  readonly url: string;
  /** How it stands once nobody is waited for any more, or `timeoutMs` is over. */
  wait(options?: WaitOptions): Promise<DecisionNow>;
  /** What was answered, by whom, and what was changed. The token needs `approvals:read`. */
  read(call?: CallOptions): Promise<ApprovalNow>;
  /** Tells the person who asked for more. */
  respond(response: string, call?: CallOptions): Promise<ApprovalNow>;
  /** Takes the question back: nobody can approve it any more. */
  cancel(options?: CallOptions & { readonly note?: string | undefined }): Promise<ApprovalNow>;
  /** The guarded function with which the call goes on: called with the same arguments, it runs `fn` if it was approved. Throws the typed error otherwise. */
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, NoInfer<Result>> & HoldOptions<Args> & { readonly context: true },
    fn: (this: This, context: CallContext, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
  guard<This, Args extends unknown[], Result>(
    options: GuardOptions<Args, NoInfer<Result>> & HoldOptions<Args> & { readonly context?: false | undefined },
    fn: (this: This, ...args: Args) => Result,
  ): Guarded<This, Args, Result>;
  /** Asks for it again with the approval, where a guard does not fit: with just what was asked for, or what a person made of it. */
  use(request: ActionRequest, call?: CallOptions): Promise<Decision>;
}

/**
 * Takes up what waits for a person: in any process, after a restart of anything, hours later. Asks for nothing anew. Throws a `TypeError` for a
 * decision that was not held.
 */
export async function resume(sentinel: Sentinel, name: HoldName, { signal, callId }: ResumeOptions = {}): Promise<Held> {
  const [sessionId, id, ...more] = typeof name === "string" ? name.split("/") : [name.session, "decisionId" in name ? name.decisionId : name.id];
  // It may be what JSON made of anything.
  if (typeof sessionId !== "string" || typeof id !== "string" || more.length > 0)
    throw new TypeError('Cannot resume this: wanted an ApprovalRequiredError, a decision, or the ids of a session and a decision with "/" between');
  const session = await sentinel.session(sessionId, { signal });
  const { approval, run, action } = await session.readDecision(id, { signal });
  if (approval === null) throw new TypeError(`Cannot resume ${id}: it was decided and not held`);
  const { ask, ambience, newId } = insideOf(sentinel);
  const { id: approvalId, url, expiresAt } = approval;
  const hold = { decisionId: id, approvalId, run, expiresAt };
  const kept = callId === undefined ? undefined : await useIdOf(hold, callId);

  let spare: string | undefined;
  /** Lends the id of a use to one at a time. One that brought no answer is used again; who comes meanwhile is told by the gateway that he is late. */
  const lent = async <T>(use: (id: string) => Promise<T>): Promise<T> => {
    const lentId = kept ?? spare ?? `dec_${newId()}`;
    spare = undefined;
    try {
      return await use(lentId);
    } catch (error) {
      if (!(error instanceof AgentSentinelError && error.decision)) spare = lentId;
      throw error;
    }
  };

  return {
    ...hold,
    session,
    action,
    url,
    wait: (options) => answered((call, waitMs) => session.readDecision(id, { ...call, waitMs }), ambience, options, expiresAt),
    read: (call) => askApproval(ask, approvalId, call),
    respond: (response, call) => askApproval(ask, approvalId, call, "respond", { response }),
    cancel: ({ note, ...call } = {}) => askApproval(ask, approvalId, call, "cancel", { note }),
    guard: <This, Args extends unknown[], Result>(options: AnyOptions<Args, Result> & HoldOptions<Args>, fn: AnyFn<This, Result>) => {
      const { onHold: _, timeoutMs: __, toArguments: ___, ...plain } = options;
      return likeGuarded(session, plain, fn, async (self, args): Promise<Awaited<Result>> => {
        return ended(await lent((useId) => onceHeld(session, options, fn, self, args, hold, useId, kept !== undefined)));
      });
    },
    use: (request, call = {}) =>
      lent(async (useId) => {
        const nextId = kept === undefined ? useId : await goesOn(session, useId, call);
        return session.decide({ ...request, run, id: nextId, approval: approvalId }, call);
      }),
  };
}
