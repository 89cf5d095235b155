import type { WebhookId } from "../core/ids.ts";
import type { Principal } from "../core/request.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Ports, Reply, WebhookRotated } from "./ports.ts";

/** Gives a webhook a new secret; `null`: one is made. Repeated under the same key it gives the same one, so that a lost answer costs no second rotation. */
export function rotateWebhook(
  ports: Ports,
  principal: Principal,
  webhook: WebhookId,
  secret: string | null,
  key: IdempotencyKey,
): Reply<Answered<WebhookRotated>> {
  const request = idFor(ports, "whk", principal, key, `secret of ${webhook}`);
  return ports.webhooks.rotate(principal.tenant, principal, { webhook, request, secret, fingerprint: fingerprintOf(ports, { secret }) });
}
