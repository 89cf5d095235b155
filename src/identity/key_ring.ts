import { importJWK } from "jose";
import type { JsonValue } from "../core/json.ts";
import { err, ok, type Result } from "../core/result.ts";

/** The one algorithm of our tokens, with Ed25519 keys only (RFC 8037). A token cannot choose another. */
export const ALGORITHM = "EdDSA";

export interface KeyRing {
  readonly signer: { readonly kid: string; readonly privateKey: CryptoKey };
  readonly verifiers: ReadonlyMap<string, CryptoKey>;
  /** The public members alone, in order. */
  readonly published: readonly JsonValue[];
}

interface Jwk {
  readonly kid: string;
  readonly x: string;
  /** `null`: a retired key, of which only the public part was kept. */
  readonly d: string | null;
}

const MOST_KEYS = 16;
const THIRTY_TWO_BYTES = /^[A-Za-z0-9_-]{43}$/;

/**
 * Reads a JSON Web Key Set of Ed25519 keys: the first must be private and signs, all verify, so that a key can be replaced while its
 * tokens still live. The error says what is wrong and where, and shows nothing of the keys.
 */
export async function openKeyRing(text: string | undefined): Promise<Result<KeyRing, string>> {
  const keys = parseKeySet(text);
  if (!keys.ok) return keys;
  const verifiers = new Map<string, CryptoKey>();
  let signer: KeyRing["signer"] | null = null;
  for (const [index, { kid, x, d }] of keys.value.entries()) {
    const publicKey = await imported({ kty: "OKP", crv: "Ed25519", x });
    if (publicKey === null) return err(`/keys/${index} is not a point of Ed25519`);
    verifiers.set(kid, publicKey);
    if (d === null) continue;
    const privateKey = await imported({ kty: "OKP", crv: "Ed25519", x, d });
    if (privateKey === null || !(await belongTogether(privateKey, publicKey))) return err(`/keys/${index}: x is not the public part of d`);
    signer ??= { kid, privateKey };
  }
  if (signer === null) return err("/keys/0 has no d, and the first key signs");
  return ok({ signer, verifiers, published: keys.value.map(({ kid, x }) => ({ kty: "OKP", crv: "Ed25519", x, kid, alg: ALGORITHM, use: "sig" })) });
}

function parseKeySet(text: string | undefined): Result<readonly Jwk[], string> {
  if (text === undefined || text === "") return err("it is not set");
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return err("it is not JSON");
  }
  const list = membersOf(document).get("keys");
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_KEYS) return err(`/keys is not a list of 1 to ${MOST_KEYS} keys`);
  const keys: Jwk[] = [];
  for (const [index, entry] of list.entries()) {
    const key = membersOf(entry);
    const at = `/keys/${index}`;
    if (key.get("kty") !== "OKP" || key.get("crv") !== "Ed25519") return err(`${at} is not an Ed25519 key (kty OKP, crv Ed25519)`);
    if (key.has("alg") && key.get("alg") !== ALGORITHM) return err(`${at}/alg is not ${ALGORITHM}`);
    if (key.has("use") && key.get("use") !== "sig") return err(`${at}/use is not sig`);
    const kid = key.get("kid");
    if (typeof kid !== "string" || kid === "" || kid.length > 256) return err(`${at}/kid is not a text of 1 to 256 characters`);
    if (keys.some((other) => other.kid === kid)) return err(`${at}/kid is also an earlier key's`);
    const x = key.get("x");
    if (typeof x !== "string" || !THIRTY_TWO_BYTES.test(x)) return err(`${at}/x is not 32 bytes in base64url`);
    const d = key.has("d") ? key.get("d") : null;
    if (d !== null && (typeof d !== "string" || !THIRTY_TWO_BYTES.test(d))) return err(`${at}/d is not 32 bytes in base64url`);
    if (index === 0 && d === null) return err(`${at} has no d, and the first key signs`);
    keys.push({ kid, x, d });
  }
  return ok(keys);
}

const membersOf = (value: unknown): ReadonlyMap<string, unknown> => new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);

async function imported(jwk: { kty: "OKP"; crv: "Ed25519"; x: string; d?: string }): Promise<CryptoKey | null> {
  try {
    const key = await importJWK(jwk, ALGORITHM);
    return key instanceof Uint8Array ? null : key;
  } catch {
    // What the runtime says about a key it will not take may quote the key.
    return null;
  }
}

async function belongTogether(privateKey: CryptoKey, publicKey: CryptoKey): Promise<boolean> {
  const probe = new TextEncoder().encode("agentsentinel");
  const signature = await crypto.subtle.sign("Ed25519", privateKey, probe);
  return crypto.subtle.verify("Ed25519", publicKey, signature, probe);
}
