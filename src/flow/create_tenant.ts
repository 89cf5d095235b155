import { fingerprintOf, type IdempotencyKey } from "./idempotency.ts";
import type { Answered, Ports, Reply } from "./ports.ts";

/** Makes a tenant. Its id is the caller's, so a repeated request finds it there; the key, if one was sent, is bound to this body all the same. */
export async function createTenant(
  ports: Ports,
  tenant: { readonly id: string; readonly name: string | null },
  key: IdempotencyKey,
): Reply<Answered<{ readonly id: string }>> {
  if (key !== null) {
    const claimed = await ports.tenants.claimRootKey(key, fingerprintOf(ports, tenant));
    if (!claimed.ok) return claimed;
  }
  return ports.tenants.create(tenant);
}
