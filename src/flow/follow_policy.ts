import type { SessionId } from "../core/ids.ts";
import { refusal } from "../core/refusals.ts";
import { err, ok } from "../core/result.ts";
import type { Evaluated, PolicyMoved, Ports, Questions, Reply } from "./ports.ts";

/** A policy that moves this often within one call is a storm, not a change. */
const MOST_MOVES = 8;

/**
 * Asks a session under the policy that was last seen in force, and again whenever it answers that the policy has moved. The session's word counts:
 * should its tenant name another policy than it does, it has missed a change, and is told to renew its lease.
 */
export async function followPolicy<T extends { readonly kind: "decided" }>(
  ports: Ports,
  tenant: string,
  session: SessionId,
  first: Evaluated | null,
  ask: (seen: Evaluated | null, entitiesFloor: number | null) => Reply<T | (PolicyMoved & { readonly questions: Questions })>,
): Reply<T> {
  let seen = first;
  // What was changed after this call had begun is as good as changed after it: attributes need not be newer than what the first answer asked for.
  let entitiesFloor: number | null = null;
  for (let move = 0; move <= MOST_MOVES; move++) {
    const reply = await ask(seen, entitiesFloor);
    if (!reply.ok) return reply;
    if (reply.value.kind === "decided") return ok(reply.value);
    const moved = reply.value;
    entitiesFloor ??= moved.entities;
    const evaluated = await ports.policies.evaluateUnder(tenant, session, moved, moved.questions);
    if (!evaluated.ok) return evaluated;
    seen = evaluated.value;
    if (seen?.under === moved.policy.digest) continue;
    const renewed = await ports.sessions.renewLease(tenant, session);
    if (!renewed.ok) return renewed;
  }
  return err(refusal("authority_unavailable", "The policy in force kept changing while the request was decided."));
}
