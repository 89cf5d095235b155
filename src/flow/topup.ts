import type { DecisionId, SessionId } from "../core/ids.ts";
import type { MicroUsd } from "../core/money.ts";
import type { Principal } from "../core/request.ts";
import { ok } from "../core/result.ts";
import { NOT_ASKED_AGAIN } from "../core/settle.ts";
import type { Instant } from "../core/time.ts";
import { followPolicy } from "./follow_policy.ts";
import type { Evaluable, Ports, Reply, ToppedUp, TopupReply } from "./ports.ts";

/** Asks for more money while an action runs: `estimateMicroUsd` is the new sum. A denial leaves the reservation as it was. */
export async function topup(
  ports: Ports,
  principal: Principal,
  session: SessionId,
  id: DecisionId,
  estimateMicroUsd: MicroUsd,
  now: Instant,
): Reply<ToppedUp> {
  // The first look learns what was decided and which policy is in force.
  const decided = await followPolicy<Extract<TopupReply, { kind: "decided" }>>(
    ports,
    principal.tenant,
    session,
    null,
    async (seen, entitiesFloor) => {
      const reply = await ports.sessions.topup(principal.tenant, session, {
        principal,
        id,
        estimateMicroUsd,
        under: seen?.under ?? null,
        entities: seen?.entities ?? null,
        entitiesFloor,
        evaluation: seen?.evaluations[0] ?? null,
      });
      if (!reply.ok) return reply;
      if (reply.value.kind === "decided") return ok(reply.value);
      const again: Evaluable = { ...NOT_ASKED_AGAIN, ...reply.value.request, estimateMicroUsd };
      return ok({ ...reply.value, questions: { requests: [again], principal, now, isTopup: true } });
    },
  );
  if (!decided.ok) return decided;
  const { decision, superseded } = decided.value;
  return ok({ decision, superseded });
}
