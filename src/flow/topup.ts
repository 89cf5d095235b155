import type { Decision } from "../core/decision.ts";
import type { DecisionId, SessionId } from "../core/ids.ts";
import type { MicroUsd } from "../core/money.ts";
import { refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok } from "../core/result.ts";
import type { Ports, Reply, TopupCall } from "./ports.ts";

const MOST_MOVES = 3;

/** Asks for more money while an action runs: `estimateMicroUsd` is the new sum. A denial leaves the reservation as it was. */
export async function topup(ports: Ports, principal: Principal, session: SessionId, id: DecisionId, estimateMicroUsd: MicroUsd): Reply<Decision> {
  let call: TopupCall = { principal, id, estimateMicroUsd, under: null, evaluation: null };
  // One look to learn what was decided and which policy is in force, then one under that policy, and again should it move meanwhile.
  for (let move = 0; move <= MOST_MOVES; move++) {
    const reply = await ports.sessions.topup(principal.tenant, session, call);
    if (!reply.ok) return reply;
    if (reply.value.kind === "decided") return ok(reply.value.decision);
    const evaluated = await ports.policies.evaluateUnder(principal.tenant, session, reply.value, [{ ...reply.value.request, estimateMicroUsd }]);
    if (!evaluated.ok) return evaluated;
    call = { ...call, under: evaluated.value.under, evaluation: evaluated.value.evaluations[0] ?? null };
  }
  return err(refusal("authority_unavailable", "The policy in force kept changing while the request was decided."));
}
