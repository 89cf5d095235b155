import type { Decision } from "../core/decision.ts";
import type { DecisionId, SessionId } from "../core/ids.ts";
import type { MicroUsd } from "../core/money.ts";
import type { Principal } from "../core/request.ts";
import { ok } from "../core/result.ts";
import { followPolicy } from "./follow_policy.ts";
import type { Ports, Reply } from "./ports.ts";

/** Asks for more money while an action runs: `estimateMicroUsd` is the new sum. A denial leaves the reservation as it was. */
export async function topup(ports: Ports, principal: Principal, session: SessionId, id: DecisionId, estimateMicroUsd: MicroUsd): Reply<Decision> {
  // The first look learns what was decided and which policy is in force.
  const decided = await followPolicy(ports, principal.tenant, session, null, async (seen) => {
    const reply = await ports.sessions.topup(principal.tenant, session, {
      principal,
      id,
      estimateMicroUsd,
      under: seen?.under ?? null,
      evaluation: seen?.evaluations[0] ?? null,
    });
    if (!reply.ok) return reply;
    return reply.value.kind === "decided" ? ok(reply.value) : ok({ ...reply.value, requests: [{ ...reply.value.request, estimateMicroUsd }] });
  });
  return decided.ok ? ok(decided.value.decision) : decided;
}
