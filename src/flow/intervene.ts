import type { InterventionKind, Target } from "../core/orders.ts";
import type { Principal } from "../core/request.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Intervened, Ports, Reply } from "./ports.ts";

/** What a person wants to stop, or to let go on, and why. */
export interface InterventionWish {
  readonly target: { readonly type: Target; readonly id: string };
  readonly kind: InterventionKind;
  readonly reason: string;
}

/**
 * Stops something, or lets it go on. It is in force when this answers, in every session that acknowledged it; in those that did not answer, by the
 * instant that the answer names. Repeated under the same key it does nothing more and gives the same evidence.
 */
export function intervene(ports: Ports, principal: Principal, wish: InterventionWish, key: IdempotencyKey): Reply<Answered<Intervened>> {
  return ports.tenants.intervene(principal.tenant, principal, {
    ...wish,
    id: idFor(ports, "int", principal, key, "intervention"),
    fingerprint: fingerprintOf(ports, wish),
  });
}
