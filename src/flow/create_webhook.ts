import type { Principal } from "../core/request.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Ports, Reply, WebhookCreated } from "./ports.ts";

/** Where somebody wants events sent, which ones, and signed with what; `null`: with a secret that is made. */
export interface WebhookAsked {
  readonly url: string;
  readonly events: readonly string[];
  readonly secret: string | null;
}

/** Has events sent from now on. Repeated under the same key it gives the same webhook, with the secret that it was made with. */
export function createWebhook(ports: Ports, principal: Principal, asked: WebhookAsked, key: IdempotencyKey): Reply<Answered<WebhookCreated>> {
  const id = idFor(ports, "whk", principal, key, "webhook");
  return ports.webhooks.create(principal.tenant, principal, { ...asked, id, fingerprint: fingerprintOf(ports, asked) });
}
