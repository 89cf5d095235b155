import { type JWTPayload, jwtVerify, SignJWT } from "jose";
import { assert } from "../core/assert.ts";
import { parsePublicUrl } from "../core/public_url.ts";
import { type RefusalCode, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { Caller, Identity } from "../flow/ports.ts";
import { AUDIENCE, claimsOf, LEASE_TYPE, leaseClaims, parseClaims, TYPE } from "./claims.ts";
import { ForeignTokens, issuerOf, type Registrations } from "./foreign.ts";
import { ALGORITHM, type KeyRing, openKeyRing } from "./key_ring.ts";
import { type Fetch, parsePublicKeys } from "./remote_keys.ts";
import { type RootKey, readRootKey } from "./root_key.ts";

export interface IdentityEnv {
  readonly ROOT_KEY: string;
  /** A JSON Web Key Set of private Ed25519 keys: the first signs, all verify. */
  readonly SIGNING_KEYS: string;
  readonly TOKEN_ISSUER: string;
  /** "true" in development only: keys of tenants' issuers may then be fetched from private addresses, and without TLS. */
  readonly ALLOW_PRIVATE_ISSUERS?: string;
}

/** A longer header is refused before anything of it is read. */
const MOST_HEADER_CHARACTERS = 8192;
/** A token that is not yet good by this much is good: clocks differ. Its end is exact, because a token never outlives its record. */
const CLOCK_TOLERANCE_SECONDS = 5;
const MOST_REMEMBERED = 2000;

const BEARER = /^bearer +([\x21-\x7e]+) *$/i;
const OTHER_SCHEME = /^(?!bearer(?: |$))[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?: |$)/i;
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;
/** Nothing in a token's header chooses a key or changes how it is read: no `jwk`, `jku`, `x5u`, `x5c` or `crit`. */
const HEADER_MEMBERS: readonly string[] = ["alg", "typ", "kid"];

/** What one isolate remembers for one set of secrets: values only, because a promise of one request must not be awaited by another. */
interface Remembered {
  ring: Result<KeyRing, string> | null;
  root: RootKey | null;
  /** Verified tokens by their text, oldest first. */
  readonly tokens: Map<string, VerifiedToken>;
  foreign: ForeignTokens | null;
}

interface VerifiedToken {
  readonly caller: Extract<Caller, { kind: "bearer" }>;
  readonly notBefore: Instant;
}

const memory = new Map<string, Remembered>();
const MOST_ENVIRONMENTS = 8;

/**
 * Opens the door: checks the root key and the tokens of this gateway, and signs them.
 * Fails closed: with signing keys that cannot be read every caller is refused with `authority_unavailable`.
 */
export function openIdentity(env: IdentityEnv, registrations: Registrations, fetch: Fetch = (url, init) => globalThis.fetch(url, init)): Identity {
  const remembered = recall(env);
  remembered.foreign ??= new ForeignTokens(registrations, fetch, env.ALLOW_PRIVATE_ISSUERS === "true");
  const { foreign } = remembered;

  async function ring(): Promise<Result<KeyRing, string>> {
    remembered.ring ??= await openKeyRing(env.SIGNING_KEYS);
    return remembered.ring;
  }

  async function signed(claims: JWTPayload, typ: string): Promise<string> {
    const keys = await ring();
    // Nobody gets here without having been authenticated, which the same keys decide.
    assert(keys.ok, `a token is signed only with good signing keys: ${keys.ok ? "" : keys.error}`);
    const { kid, privateKey } = keys.value.signer;
    return new SignJWT(claims).setProtectedHeader({ alg: ALGORITHM, typ, kid }).sign(privateKey);
  }

  return {
    async authenticate(authorization, now) {
      const keys = await ring();
      if (!keys.ok) return err(refusal("authority_unavailable", `SIGNING_KEYS cannot be used: ${keys.error}`));
      const bearer = readBearer(authorization);
      if (!bearer.ok) return bearer;
      const token = bearer.value;

      const known = remembered.tokens.get(token);
      if (known !== undefined) {
        const timely = inTime(known, now);
        if (!timely.ok && timely.error.code === "token_expired") remembered.tokens.delete(token);
        return timely;
      }
      remembered.root ??= await readRootKey(env.ROOT_KEY);
      if (await remembered.root.is(token)) return ok({ kind: "root" });

      const issuer = issuerOf(token);
      if (issuer !== null && issuer !== env.TOKEN_ISSUER) return foreign.authenticate(token, issuer, now);
      const verified = await verify(token, keys.value, env.TOKEN_ISSUER, now);
      if (!verified.ok) return verified;
      const timely = inTime(verified.value, now);
      if (timely.ok) remember(remembered.tokens, token, verified.value);
      return timely;
    },

    vetIssuer({ issuer, keys }) {
      const unfit = (pointer: string, message: string) =>
        err(refusal("body_invalid", `The issuer is not valid: ${pointer} ${message}.`, [{ pointer, message }]));
      if (issuer === env.TOKEN_ISSUER) return unfit("/issuer", "is this gateway's own");
      if ("uri" in keys) {
        const uri = parsePublicUrl(keys.uri, env.ALLOW_PRIVATE_ISSUERS === "true");
        return uri.ok ? ok(null) : unfit("/jwks_uri", `${uri.error}; wanted an https URL under a public name, without a user`);
      }
      const set = parsePublicKeys(keys.set);
      if (set.ok) return ok(null);
      const [place = "", ...said] = set.error.split(" ");
      return unfit(`/jwks${place}`, said.join(" "));
    },

    forgetIssuer: (issuer) => foreign.forgetIssuer(issuer),

    forget(authorization) {
      const bearer = readBearer(authorization);
      if (bearer.ok) foreign.forget(bearer.value);
    },

    sign: (tenant, record) => signed(claimsOf(env.TOKEN_ISSUER, tenant, record), TYPE),

    signLease: (tenant, lease) => signed(leaseClaims(env.TOKEN_ISSUER, tenant, lease), LEASE_TYPE),

    async keySet() {
      const keys = await ring();
      // Without usable keys no token is good, and an empty set says so.
      return { keys: keys.ok ? keys.value.published : [] };
    },
  };
}

function readBearer(authorization: string | null) {
  if (authorization === null || authorization.trim() === "") {
    return refuse("token_missing", "Send a token: `Authorization: Bearer <token>`.");
  }
  if (authorization.length > MOST_HEADER_CHARACTERS) {
    return refuse("token_invalid", `The Authorization header is longer than ${MOST_HEADER_CHARACTERS} characters.`);
  }
  if (OTHER_SCHEME.test(authorization)) {
    return refuse("token_missing", "The Authorization header uses another scheme; send `Authorization: Bearer <token>`.");
  }
  const token = BEARER.exec(authorization)?.[1];
  return token === undefined ? refuse("token_invalid", "The Authorization header is not `Bearer`, a blank and one token.") : ok(token);
}

async function verify(token: string, ring: KeyRing, issuer: string, now: Instant) {
  if (!COMPACT_JWS.test(token)) return refuse("token_invalid", "The token is neither a JWT nor the root key.");
  let payload: unknown;
  try {
    const verified = await jwtVerify(
      token,
      (header) => {
        const odd = Object.keys(header).find((member) => !HEADER_MEMBERS.includes(member));
        const key = odd === undefined && typeof header.kid === "string" ? ring.verifiers.get(header.kid) : undefined;
        // What is thrown here only ends the verification; the caller is told no more than that it failed.
        if (key === undefined) throw new Error("no key of ours");
        return key;
      },
      {
        algorithms: [ALGORITHM],
        typ: TYPE,
        issuer,
        audience: AUDIENCE,
        requiredClaims: ["exp", "jti", "sub", "tid", "kind", "scope"],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(now),
      },
    );
    payload = verified.payload;
  } catch (fault) {
    if (fault instanceof Error && "code" in fault && fault.code === "ERR_JWT_EXPIRED") return expired();
    // Whatever went wrong, nothing was proven, so nothing is believed.
    return refuse("token_invalid", "The token was not made by this gateway for this use, or was changed.");
  }
  const parsed = parseClaims(payload);
  return parsed.ok ? parsed : refuse("token_invalid", `The token's claims are not those of this gateway: ${parsed.error}.`);
}

function inTime(token: VerifiedToken, now: Instant): Result<Caller, ReturnType<typeof refusal>> {
  if (now >= token.caller.expiresAt) return expired();
  if (now < token.notBefore - CLOCK_TOLERANCE_SECONDS * 1000) return refuse("token_invalid", "The token is not good yet.");
  return ok(token.caller);
}

function remember(tokens: Map<string, VerifiedToken>, token: string, verified: VerifiedToken): void {
  if (tokens.size >= MOST_REMEMBERED) {
    const oldest = tokens.keys().next();
    if (!oldest.done) tokens.delete(oldest.value);
  }
  tokens.set(token, verified);
}

function recall(env: IdentityEnv): Remembered {
  const name = JSON.stringify([env.ROOT_KEY, env.SIGNING_KEYS, env.TOKEN_ISSUER]);
  const known = memory.get(name);
  if (known !== undefined) return known;
  if (memory.size >= MOST_ENVIRONMENTS) memory.clear();
  const fresh: Remembered = { ring: null, root: null, tokens: new Map(), foreign: null };
  memory.set(name, fresh);
  return fresh;
}

const expired = () => refuse("token_expired", "The token has expired; ask for a new one.");

const refuse = (code: RefusalCode, detail: string) => err(refusal(code, detail));
