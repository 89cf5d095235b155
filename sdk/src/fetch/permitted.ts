import { errorFor, GatewayRefusedError, GatewayUnavailableError } from "../errors.ts";
import { abandon, mayHaveReserved } from "../guard.ts";
import { insideOf } from "../inside.ts";
import { observe } from "../observers.ts";
import type { Running, Session } from "../session.ts";
import type { ActionRequest, DecisionAnswer } from "../surface.ts";
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
  killed.throwIfAborted();
  const asked = { ...request, run: flight.run };
  let decision: DecisionAnswer | undefined;
  try {
    decision = await session.decide(request, { signal: caller });
    caller?.throwIfAborted();
  } catch (error) {
    // A signal's reason may be any error, one of ours included.
    const isOver = caller?.aborted || killed.aborted || session.signal.aborted;
    if (error instanceof GatewayUnavailableError && !isOver && onUnavailable === "allow") {
      observe(insideOf(session).observers.onUnguarded, { session: session.id, decisionId: request.id, action: request.action, error });
      return null;
    }
    if (decision?.decision ?? mayHaveReserved(error, caller)) void abandon(insideOf(session), session, asked.id);
    throw error;
  }
  const error = errorFor(decision) ?? (decision.obligations.length > 0 ? unkept(request) : null);
  if (error === null && !killed.aborted) {
    flight.decision = request.id;
    return decision;
  }
  if (decision.decision) void abandon(insideOf(session), session, asked.id);
  throw error ?? killed.reason;
}

/** A yes under obligations is a yes only to who keeps them, and this version knows none. */
const unkept = ({ action }: ActionRequest): GatewayRefusedError =>
  new GatewayRefusedError(`run "${action}"`, {
    status: 200,
    code: "obligation_unknown",
    detail: "it is allowed under obligations that this version cannot keep",
  });
