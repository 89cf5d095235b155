import { errorFor, GatewayRefusedError, GatewayUnavailableError } from "../errors.ts";
import { insideOf } from "../inside.ts";
import { anything } from "../mapping.ts";
import { observe } from "../observers.ts";
import type { Running, Session } from "../session.ts";
import type { ActionRequest, DecisionAnswer } from "../surface.ts";
import { repeatAfter } from "../transport.ts";
import type { FetchOptions } from "./options.ts";

/** The decision, or `null`: there is none, and the options say to send it all the same. Throws otherwise. */
export async function permitted(
  session: Session,
  { onUnavailable }: FetchOptions,
  request: ActionRequest & { readonly id: string },
  flight: Running,
  caller: AbortSignal | undefined,
): Promise<DecisionAnswer | null> {
  const killed = flight.stop.signal;
  const { ask, observers } = insideOf(session);
  /** Says, once and without waiting, that what may have been reserved will not be sent. Its expiry covers for a loss. */
  const abandon = (): void => {
    const path = `/v1/sessions/${session.id}/decisions/${request.id}/release`;
    ask({ what: `release ${request.id}`, path, body: { reason: "not sent" }, read: anything, tries: 1 }).catch(() => undefined);
  };
  let decision: DecisionAnswer;
  try {
    decision = await session.decide(request, { signal: caller });
    caller?.throwIfAborted();
  } catch (error) {
    // A signal's reason may be any error, one of ours included.
    const isOver = caller?.aborted || killed.aborted || session.signal.aborted;
    if (error instanceof GatewayUnavailableError && !isOver && onUnavailable === "allow") {
      observe(observers.onUnguarded, { session: session.id, decisionId: request.id, action: request.action, error });
      return null;
    }
    if (caller?.aborted || repeatAfter(error) !== null || (error instanceof GatewayRefusedError && error.code === "answer_malformed")) abandon();
    throw error;
  }
  const error = errorFor(decision) ?? (decision.obligations.length > 0 ? unkept(request) : null);
  if (error === null && !killed.aborted) {
    flight.decision = request.id;
    return decision;
  }
  if (decision.verdict === "allow") abandon();
  throw error ?? killed.reason;
}

/** A yes under obligations is a yes only to who keeps them, and this version knows none. */
const unkept = ({ action }: ActionRequest): GatewayRefusedError =>
  new GatewayRefusedError(`run "${action}"`, {
    status: 200,
    code: "obligation_unknown",
    detail: "it is allowed under obligations that this version cannot keep",
  });
