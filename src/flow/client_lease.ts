import type { LeaseId, RunId, SessionId } from "../core/ids.ts";
import type { MicroUsd } from "../core/money.ts";
import { refusal } from "../core/refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "../core/request.ts";
import { err, ok } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import { priced } from "./decide.ts";
import { followPolicy } from "./follow_policy.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type {
  Answered,
  Evaluated,
  GrantLeaseReply,
  LeaseGranted,
  LeaseSettled,
  Ports,
  Questions,
  Reply,
  SettleLeaseCall,
  SettleLeaseReply,
} from "./ports.ts";

export interface LeaseWished {
  readonly amountMicroUsd: MicroUsd;
  readonly actions: readonly string[];
  readonly ttlMs: number;
  readonly run: RunId | null;
}

/** A client lease, and the same signed. */
export interface SignedLease {
  readonly lease: LeaseGranted;
  readonly token: string;
}

/**
 * Grants a slice of a session's budget to whoever decides by itself. The tenant is asked first, so that it knows how long a kill may go unheard; the policy
 * is evaluated here, and the session takes the money in one transaction, or refuses and says why (`lease_refused`).
 */
export async function grantLease(
  ports: Ports,
  principal: Principal,
  session: SessionId,
  wish: LeaseWished,
  key: IdempotencyKey,
  now: Instant,
): Reply<Answered<SignedLease>> {
  const { tenant } = principal;
  const { actions, amountMicroUsd, ttlMs, run } = wish;
  const admitted = await ports.tenants.admitLease(tenant, principal, session, ttlMs);
  if (!admitted.ok) return admitted;
  const { allowed, endsBy, epoch } = admitted.value;
  const request = { id: idFor(ports, "lse", principal, key, session), run, actions, amountMicroUsd, ttlMs, endsBy };
  const fingerprint = fingerprintOf(ports, wish);
  const questions: Questions = { requests: [], principal, now, isTopup: false, lease: { actions, amountMicroUsd } };
  const seen = await ports.policies.evaluateLastSeen(tenant, session, questions);
  const decided = await followPolicy<Extract<GrantLeaseReply, { kind: "decided" }>>(ports, tenant, session, seen, async (under) => {
    const call = { principal, request, fingerprint, allowed, epoch, under: under?.under ?? null, evaluation: under?.lease ?? null };
    const reply = await ports.sessions.grantLease(tenant, session, call);
    if (!reply.ok) return reply;
    return reply.value.kind === "decided" ? ok(reply.value) : ok({ ...reply.value, questions });
  });
  if (!decided.ok) return decided;
  const { answer, replayed } = decided.value;
  if (answer.kind === "refused") return err({ ...refusal("lease_refused", answer.reason.message), reason: answer.reason });
  return ok({ answer: { lease: answer.lease, token: await ports.identity.signLease(tenant, answer.lease) }, replayed });
}

/** An action that was decided with a lease, as its body states it. */
export interface ToldAction {
  readonly request: Omit<ActionRequest, "run" | "price" | "approval" | "ttlMs">;
  readonly report: CommitReport & { readonly costMicroUsd: MicroUsd };
  readonly decidedAt: Instant | null;
}

/**
 * Takes the word of a lease's holder for what was done with it. The policy in force says what of it is shown, kept and counted; where it cannot be asked,
 * what was told is recorded all the same, as the policy stood when the lease was granted.
 */
export async function settleLease(
  ports: Ports,
  principal: Principal,
  session: SessionId,
  lease: LeaseId,
  told: { readonly actions: readonly ToldAction[]; readonly final: boolean },
  now: Instant,
): Reply<LeaseSettled> {
  const { tenant } = principal;
  const twice = told.actions.findIndex(({ request }, place) => told.actions.findIndex((other) => other.request.id === request.id) !== place);
  if (twice >= 0) {
    return err(
      refusal("body_invalid", "Two entries of one settlement have the same id.", [
        { pointer: `/entries/${twice}/id`, message: "is the id of an earlier entry of this settlement" },
      ]),
    );
  }
  const items = told.actions.map((action, place) => ({
    pointer: `/entries/${place}`,
    request: askedBy(ports, action, now),
    report: action.report,
    decidedAt: action.decidedAt,
    fingerprint: fingerprintOf(ports, [lease, action]),
  }));
  const call = (evaluated: Evaluated | null, more: Pick<SettleLeaseCall, "entitiesFloor" | "asGranted">): SettleLeaseCall => ({
    principal,
    id: lease,
    actions: items.map((item, place) => ({ ...item, evaluation: evaluated?.evaluations[place] ?? null })),
    final: told.final,
    under: evaluated?.under ?? null,
    entities: evaluated?.entities ?? null,
    ...more,
  });
  const requests = items.map(({ request }) => request);
  const questions: Questions = { requests, principal, now, isTopup: false };
  const seen = await ports.policies.evaluateLastSeen(tenant, session, questions);
  const settled = await followPolicy<Extract<SettleLeaseReply, { kind: "decided" }>>(ports, tenant, session, seen, async (under, entitiesFloor) => {
    const reply = await ports.sessions.settleLease(tenant, session, call(under, { entitiesFloor, asGranted: false }));
    if (!reply.ok) return reply;
    return reply.value.kind === "decided" ? ok(reply.value) : ok({ ...reply.value, questions });
  });
  if (settled.ok) return ok(settled.value.settled);
  if (settled.error.code !== "authority_unavailable") return settled;
  const again = await ports.sessions.settleLease(tenant, session, call(null, { entitiesFloor: null, asGranted: true }));
  if (!again.ok) return again;
  return again.value.kind === "decided" ? ok(again.value.settled) : settled;
}

/** What was asked of the lease, as if it had been asked of the gateway. */
const askedBy = (ports: Ports, { request }: ToldAction, now: Instant): ActionRequest => ({
  ...request,
  ...priced(ports.prices, request.model, request.estimateMicroUsd, null, now),
  run: null,
  approval: null,
  ttlMs: 1,
});
