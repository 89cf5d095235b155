import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";

/** The one place where secrets are made, for a machine of one's own (`npm start`) and for Cloudflare (`npm run deploy`). */
export const MAKERS: { readonly [secret: string]: () => string } = {
  ROOT_KEY: makeRootKey,
  SIGNING_KEYS: makeSigningKeys,
};

/** 256 random bits, in characters that need no quoting anywhere. */
export function makeRootKey(): string {
  return `root_${randomBytes(32).toString("base64url")}`;
}

/** A JSON Web Key Set with one fresh private Ed25519 key (RFC 8037); its `kid` is its thumbprint (RFC 7638), so no two keys share one. */
export function makeSigningKeys(): string {
  const { x, d } = generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" });
  const kid = createHash("sha256")
    .update(JSON.stringify({ crv: "Ed25519", kty: "OKP", x }))
    .digest("base64url");
  return JSON.stringify({ keys: [{ kty: "OKP", crv: "Ed25519", x, d, kid, alg: "EdDSA", use: "sig" }] });
}
