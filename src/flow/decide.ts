import type { DecisionId, SessionId } from "../core/ids.ts";
import { type MicroUsd, ZERO_USD } from "../core/money.ts";
import { refusal } from "../core/refusals.ts";
import type { ActionRequest, Principal } from "../core/request.ts";
import { err, ok } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import { followPolicy } from "./follow_policy.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { BatchSemantics, DecideCall, DecidedAnswer, ExpectedUsage, Ports, Prices, Questions, Reply } from "./ports.ts";

/** A request as its body states it: the caller may have made its id, or leaves that to us. */
export type AskedAction = Omit<ActionRequest, "id" | "estimateMicroUsd" | "price"> & {
  readonly id: DecisionId | null;
  /** `null`: not stated. */
  readonly estimateMicroUsd: MicroUsd | null;
  /** What a call to the model is expected to use; `null`: not stated. */
  readonly usage: ExpectedUsage | null;
};

export interface Asking {
  readonly principal: Principal;
  readonly session: SessionId;
  readonly asked: readonly AskedAction[];
  /** Whether the body is a batch: its places are then named by their number. */
  readonly batch: boolean;
  readonly semantics: BatchSemantics;
  readonly key: IdempotencyKey;
  readonly now: Instant;
}

/**
 * Decides what an agent asks, in one hop to its session: the policy is evaluated here, under what was last seen in force;
 * the session checks that it still is, and everything that needs state, in one transaction.
 * Answers one decision for each request, in order; with `stop_on_deny` the list ends at the first that is denied.
 */
export async function decide(ports: Ports, asking: Asking): Reply<readonly DecidedAnswer[]> {
  const { principal, session } = asking;
  const requests = asking.asked.map(
    ({ id, estimateMicroUsd, usage, ...asked }, place): ActionRequest => ({
      ...asked,
      id: id ?? idFor(ports, "dec", principal, asking.key, `${session}/${place}`),
      ...priced(ports.prices, asked.model, estimateMicroUsd, usage, asking.now),
    }),
  );
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
  // A batch of one is not what it holds: it is answered otherwise.
  const body = [...(asking.batch ? ["batch"] : []), asking.semantics, ids, fingerprints];
  const key = asking.key === null ? null : { key: `${principal.kind} ${principal.subject} ${asking.key}`, fingerprint: fingerprintOf(ports, body) };

  const questions: Questions = { requests, principal, now: asking.now, isTopup: false };
  const seen = await ports.policies.evaluateLastSeen(principal.tenant, session, questions);
  const decided = await followPolicy(ports, principal.tenant, session, seen, async (under, entitiesFloor) => {
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
      entities: under?.entities ?? null,
      entitiesFloor,
      key,
    };
    const reply = await ports.sessions.decide(principal.tenant, session, call);
    if (!reply.ok) return reply;
    return reply.value.kind === "decided" ? ok(reply.value) : ok({ ...reply.value, questions });
  });
  return decided.ok ? ok(decided.value.decisions) : decided;
}

/** What a request asks for: what its caller states, else what the usage it expects would cost. Which of the two, and under which prices, goes on record. */
export function priced(
  prices: Prices,
  model: ActionRequest["model"],
  stated: MicroUsd | null,
  usage: ExpectedUsage | null,
  now: Instant,
): Pick<ActionRequest, "estimateMicroUsd" | "price"> {
  const { data } = prices;
  // Tokens of no model cannot be priced, and no tokens are no usage.
  const uses = usage !== null && Object.values(usage).some((tokens) => tokens > 0);
  if (model === null)
    return { estimateMicroUsd: stated ?? ZERO_USD, price: uses && stated === null ? { basis: "unpriced", data, known: false } : null };
  const known = prices.knows(model);
  if (stated !== null) return { estimateMicroUsd: stated, price: { basis: "stated", data, known } };
  if (!uses) return { estimateMicroUsd: ZERO_USD, price: { basis: "none", data, known } };
  const cost = prices.costOf(model, usage, now);
  return cost === null
    ? { estimateMicroUsd: ZERO_USD, price: { basis: "unpriced", data, known } }
    : { estimateMicroUsd: cost, price: { basis: "computed", data, known } };
}
