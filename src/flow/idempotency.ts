import { type Id, type IdPrefix, idFromDigest } from "../core/ids.ts";
import { canonicalJson } from "../core/json.ts";
import type { Principal } from "../core/request.ts";
import type { Ports } from "./ports.ts";

/** An `Idempotency-Key` header, 1 to 255 visible ASCII characters, or `null` when none was sent. */
export type IdempotencyKey = string | null;

/**
 * The id of what a POST creates. With a key it follows from the key and from who sent it, so that the repeated request names the same thing
 * and its owner answers as before; nothing else has to be remembered. Without a key it is fresh.
 */
export function idFor<P extends IdPrefix>(
  ports: Ports,
  prefix: P,
  principal: Pick<Principal, "tenant" | "subject"> & { readonly kind: Principal["kind"] | "root" },
  key: IdempotencyKey,
  part: string,
): Id<P> {
  if (key === null) return ports.newId(prefix);
  return idFromDigest(prefix, ports.sha256(canonicalJson([prefix, principal.tenant, principal.kind, principal.subject, key, part])));
}

/** A digest of what was asked: two bodies that mean the same have the same one. */
export const fingerprintOf = (ports: Ports, body: unknown): string => ports.sha256(canonicalJson(body));
