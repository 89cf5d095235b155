import { createLocalJWKSet, type JSONWebKeySet } from "jose";
import { parsePublicUrl } from "../core/public_url.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";

/** How keys are fetched: the platform's `fetch`, or a test's. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Finds the key that a token's header names; throws as jose does where there is none. */
export type KeyFinder = ReturnType<typeof createLocalJWKSet>;

/** So long a key set is taken for current; a key that an issuer took back verifies no longer than that. */
export const KEYS_FRESH_MS = 600_000;
/** So long it is still used while its address does not answer. After that its tokens are refused. */
export const KEYS_STALE_MS = 3_600_000;
/** So long nothing is fetched again after a fetch, whether it succeeded or not: an issuer that is down is not asked by every token. */
export const KEYS_COOLDOWN_MS = 30_000;
const TIMEOUT_MS = 5_000;
const MOST_BYTES = 262_144;
const MOST_SETS = 200;

interface KeptSet {
  keys: KeyFinder | null;
  fetchedAt: Instant;
  triedAt: Instant;
}

/**
 * Key sets by their addresses, as one isolate remembers them. Values only: a promise of one request is never awaited by another. While a fetch is under
 * way others use what is there.
 */
export class RemoteKeys {
  readonly #kept = new Map<string, KeptSet>();
  readonly #fetch: Fetch;
  readonly #allowsPrivate: boolean;

  constructor(fetch: Fetch, allowsPrivate: boolean) {
    this.#fetch = fetch;
    this.#allowsPrivate = allowsPrivate;
  }

  /** The keys at an address. `null`: there are none that may be used. */
  async at(uri: string, now: Instant): Promise<KeyFinder | null> {
    const kept = this.#kept.get(uri);
    if (kept?.keys != null && now - kept.fetchedAt < KEYS_FRESH_MS) return kept.keys;
    await this.#refresh(uri, now);
    const after = this.#kept.get(uri);
    return after?.keys != null && now - after.fetchedAt < KEYS_STALE_MS ? after.keys : null;
  }

  /** The keys after another look, for a token whose key is not among those that were known; `null`: it is too soon for another look, or it was in vain. */
  async again(uri: string, now: Instant): Promise<KeyFinder | null> {
    return (await this.#refresh(uri, now)) ? (this.#kept.get(uri)?.keys ?? null) : null;
  }

  async #refresh(uri: string, now: Instant): Promise<boolean> {
    const before = this.#kept.get(uri);
    if (before !== undefined && now - before.triedAt < KEYS_COOLDOWN_MS) return false;
    const kept: KeptSet = { keys: before?.keys ?? null, fetchedAt: before?.fetchedAt ?? 0, triedAt: now };
    // Before the wait: who comes meanwhile does not fetch too. The first fetch of all is the exception: there is nothing to use meanwhile.
    if (before !== undefined) this.#remember(uri, kept);
    const fetched = await this.#load(uri);
    this.#remember(uri, fetched === null ? kept : { keys: fetched, fetchedAt: now, triedAt: now });
    return fetched !== null;
  }

  async #load(uri: string): Promise<KeyFinder | null> {
    if (!parsePublicUrl(uri, this.#allowsPrivate).ok) return null;
    try {
      const response = await this.#fetch(uri, {
        headers: { Accept: "application/jwk-set+json, application/json" },
        redirect: "manual",
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (response.status !== 200) return null;
      const text = await textOf(response);
      if (text === null) return null;
      const set = parsePublicKeys(JSON.parse(text));
      return set.ok ? createLocalJWKSet(set.value) : null;
    } catch {
      // Out of reach, too slow, or no JSON: nothing was learned.
      return null;
    }
  }

  #remember(uri: string, kept: KeptSet): void {
    if (!this.#kept.has(uri) && this.#kept.size >= MOST_SETS) {
      const oldest = this.#kept.keys().next();
      if (!oldest.done) this.#kept.delete(oldest.value);
    }
    this.#kept.set(uri, kept);
  }
}

const MOST_KEYS = 16;
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] as const;
const KEY_TYPES: readonly unknown[] = ["RSA", "EC", "OKP"];

/** Reads a JSON Web Key Set of public keys (RFC 7517). The error names the place and what is wrong with it. */
export function parsePublicKeys(value: unknown): Result<JSONWebKeySet, string> {
  const list = membersOf(value).get("keys");
  if (!Array.isArray(list) || list.length === 0 || list.length > MOST_KEYS) return err(`/keys is not a list of 1 to ${MOST_KEYS} keys`);
  const seen = new Set<unknown>();
  for (const [place, entry] of list.entries()) {
    const key = membersOf(entry);
    if (!KEY_TYPES.includes(key.get("kty"))) return err(`/keys/${place}/kty is not RSA, EC or OKP`);
    const secret = PRIVATE_MEMBERS.find((member) => key.has(member));
    if (secret !== undefined) return err(`/keys/${place}/${secret} is private: only public keys are registered`);
    const kid = key.get("kid");
    if (kid !== undefined && (typeof kid !== "string" || kid === "" || kid.length > 256))
      return err(`/keys/${place}/kid is not a text of 1 to 256 characters`);
    if (list.length > 1 && kid === undefined) return err(`/keys/${place} has no kid, and there are several keys`);
    if (seen.has(kid)) return err(`/keys/${place}/kid is also an earlier key's`);
    seen.add(kid);
  }
  // Just looked at: a list of objects with the members that keys have.
  return ok({ keys: list } as JSONWebKeySet);
}

const membersOf = (value: unknown): ReadonlyMap<string, unknown> => new Map(typeof value === "object" && value !== null ? Object.entries(value) : []);

/** The body as text; `null` where it is larger than any key set needs. */
async function textOf(response: Response): Promise<string | null> {
  if (response.body === null) return null;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    bytes += value.byteLength;
    if (bytes > MOST_BYTES) {
      await reader.cancel();
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}
