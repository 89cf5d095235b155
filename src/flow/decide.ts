import type { Decision } from "../core/decision.ts";
import type { DecisionId, SessionId } from "../core/ids.ts";
import { refusal } from "../core/refusals.ts";
import type { ActionRequest, Principal } from "../core/request.ts";
import { err, ok } from "../core/result.ts";
import { followPolicy } from "./follow_policy.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, BatchSemantics, DecideCall, Ports, Reply } from "./ports.ts";

/** A request as its body states it: the caller may have made its id, or leaves that to us. */
export type AskedAction = Omit<ActionRequest, "id"> & { readonly id: DecisionId | null };

export interface Asking {
  readonly principal: Principal;
  readonly session: SessionId;
  readonly asked: readonly AskedAction[];
  /** Whether the body is a batch: its places are then named by their number. */
  readonly batch: boolean;
  readonly semantics: BatchSemantics;
  readonly key: IdempotencyKey;
}

/**
 * Decides what an agent asks, in one hop to its session: the policy is evaluated here, under what was last seen in force;
 * the session checks that it still is, and everything that needs state, in one transaction.
 * Answers one decision for each request, in order; with `stop_on_deny` the list ends at the first that is denied.
 */
export async function decide(ports: Ports, asking: Asking): Reply<readonly Answered<Decision>[]> {
  const { principal, session } = asking;
  const requests = asking.asked.map((asked, place) => ({
    ...asked,
    id: asked.id ?? idFor(ports, "dec", principal, asking.key, `${session}/${place}`),
  }));
  const twice = requests.findIndex((request, place) => requests.findIndex((other) => other.id === request.id) !== place);
  if (twice >= 0) {
    return err(
      refusal("body_invalid", "Two decisions of one batch have the same id.", [
        { pointer: `/decisions/${twice}/id`, message: "is the id of an earlier decision of this batch" },
      ]),
    );
  }
  // Without the id: whoever was given one may repeat the request under it.
  const fingerprints = asking.asked.map((asked) => fingerprintOf(ports, { ...asked, id: undefined }));
  const ids = asking.asked.map(({ id }) => id);
  const key =
    asking.key === null
      ? null
      : { key: `${principal.subject} ${asking.key}`, fingerprint: fingerprintOf(ports, [asking.semantics, ids, fingerprints]) };

  const seen = ports.policies.evaluateLastSeen(principal.tenant, session, requests);
  const decided = await followPolicy(ports, principal.tenant, session, seen, async (under) => {
    const call: DecideCall = {
      principal,
      items: requests.map((request, place) => ({
        pointer: asking.batch ? `/decisions/${place}` : "",
        request,
        fingerprint: fingerprints[place] ?? "",
        evaluation: under?.evaluations[place] ?? null,
      })),
      semantics: asking.semantics,
      under: under?.under ?? null,
      key,
    };
    const reply = await ports.sessions.decide(principal.tenant, session, call);
    if (!reply.ok) return reply;
    return reply.value.kind === "decided" ? ok(reply.value) : ok({ ...reply.value, requests });
  });
  return decided.ok ? ok(decided.value.decisions) : decided;
}
