import { isMapping } from "./gateway.ts";

/** What a token says of itself. Nobody has verified it: only the gateway can. */
export interface Claims {
  readonly tenant: string | null;
  readonly subject: string | null;
  readonly kind: string | null;
  readonly scopes: readonly string[];
  /** Milliseconds since 1970. */
  readonly expiresAt: number | null;
  readonly notBefore: number | null;
}

/** Reads the claims of a JWT; `null` where it is none. */
export function claimsOf(token: string): Claims | null {
  const [, payload, signature, ...more] = token.split(".");
  if (payload === undefined || signature === undefined || more.length > 0) return null;
  let claims: unknown;
  try {
    claims = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
  } catch {
    return null;
  }
  if (!isMapping(claims)) return null;
  const text = (name: string): string | null => (typeof claims[name] === "string" ? claims[name] : null);
  const at = (name: string): number | null => (typeof claims[name] === "number" ? claims[name] * 1000 : null);
  return {
    tenant: text("tid"),
    subject: text("sub"),
    kind: text("kind"),
    scopes: (text("scope") ?? "").split(" ").filter((scope) => scope !== ""),
    expiresAt: at("exp"),
    notBefore: at("nbf"),
  };
}
