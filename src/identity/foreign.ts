import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, type JWTPayload, jwtVerify } from "jose";
import { idFromDigest } from "../core/ids.ts";
import { MOST_LOOKUPS, Ration } from "../core/ration.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { SCOPES, SCOPES_NO_AGENT_HOLDS, type Scope } from "../core/scopes.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import { type Caller, type Directory, type IssuerRow, MOST_FOREIGN_LIFE_MS } from "../flow/ports.ts";
import { instantOf, isSubject } from "./claims.ts";
import { type Fetch, type KeyFinder, parsePublicKeys, RemoteKeys } from "./remote_keys.ts";

/**
 * Tokens that an issuer of a tenant's own made. A token leads to the tenants that registered its `iss`, and is believed only as far as one of these
 * registrations says: by its keys, for its audience, and for that tenant alone, whatever the token itself says of tenants.
 */

/** What must be asked to know who registered what. */
export interface Registrations extends Pick<Directory, "issuersOf"> {
  /** What a tenant has registered under a name now; `null`: nothing any more. Throws where the tenant cannot be reached. */
  readIssuer(tenant: string, name: string): Promise<IssuerRow | null>;
}

/** Asymmetric ones only: who can verify must not be able to sign (RFC 8725 sections 2.1 and 3.1). jose binds each to its type of key. */
const ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
/** Access tokens say so (RFC 9068), many issuers say only that it is a JWT, and some nothing. */
const TYPES: readonly (string | undefined)[] = [undefined, "jwt", "at+jwt", "application/at+jwt"];
/** Members of a header that would choose a key, or change how the token is read. */
const FORBIDDEN_MEMBERS = ["jwk", "jku", "x5u", "x5c", "crit", "b64"];
/** What only an ID token has: it says who somebody is to an application, and gives leave for nothing (RFC 9068 section 5). */
const ID_TOKEN_CLAIMS = ["nonce", "at_hash", "c_hash"];
const CLOCK_TOLERANCE_SECONDS = 5;
const KINDS: readonly Principal["kind"][] = ["agent", "human", "service"];

/** What is remembered of registrations and of tokens is at most so old: one lease term. */
const REMEMBERED_MS = 30_000;
const MOST_REMEMBERED = 2_000;
/** So soon after a look at who registered an issuer there is no other, whatever becomes of its tokens. */
const LOOK_PAUSE_MS = 1_000;
/** Most tenants that one token asks at once for what they registered. */
const MOST_ASKED_AT_ONCE = 16;

type Bearer = Extract<Caller, { kind: "bearer" }>;

interface Candidate {
  readonly tenant: string;
  readonly row: IssuerRow;
}

type Claim = Awaited<ReturnType<Registrations["issuersOf"]>>[number];

/**
 * Who registered an issuer, when that was looked up, and until when it may be relied on. `rows`: what those tenants have on record that a token had
 * to be held against; `null`: not what the directory says.
 */
interface Looked {
  readonly at: Instant;
  readonly until: Instant;
  readonly claims: readonly Claim[];
  readonly rows: Map<Claim, IssuerRow | null>;
}

const NOBODY: Looked = { at: 0, until: 0, claims: [], rows: new Map() };

/** Who bears foreign tokens, as one isolate knows it. Values only. */
export class ForeignTokens {
  readonly #registrations: Registrations;
  readonly #remote: RemoteKeys;
  readonly #looked = new Map<string, Looked>();
  /** Until when it is believed that nobody registered an issuer. Apart, so that made-up names do not push out those that somebody did register. */
  readonly #nobodys = new Map<string, Instant>();
  readonly #verified = new Map<string, { readonly until: Instant; readonly caller: Bearer }>();
  readonly #inline = new WeakMap<object, KeyFinder>();
  readonly #lookups = new Ration(MOST_LOOKUPS);

  constructor(registrations: Registrations, fetch: Fetch, allowsPrivate: boolean) {
    this.#registrations = registrations;
    this.#remote = new RemoteKeys(fetch, allowsPrivate);
  }

  /** Who bears this token. `null`: nobody registered its issuer, or it is no token. Refuses what is not good under any registration. */
  async authenticate(token: string, issuer: string, now: Instant): Promise<Result<Bearer, Refusal>> {
    const known = this.#verified.get(token);
    if (known !== undefined && now < known.until) return now >= known.caller.expiresAt ? err(EXPIRED) : ok(known.caller);
    const looked = await this.#lookUp(issuer, now);
    if (!looked.ok) return looked;
    const claimed = claimsOf(token);
    if (claimed === null) return err(NOT_GOOD);
    // Whom a token is for costs nothing to read: of a registration for another audience neither the tenant is asked nor the keys are fetched.
    const found = await this.#candidatesFor(new Set([claimed.aud].flat()), issuer, looked.value);
    if (!found.ok) return found;
    const fitting = found.value;
    let refused: Refusal = NOT_GOOD;
    const named = fitting.filter(({ tenant }) => tenant === claimed.tid);
    const meant = named.length > 0 ? named : fitting.filter(isNamedByAudience);
    // Whoever registers another's issuer and audience, before or after them, must not come by their tokens: then one that names nobody is nobody's.
    if (meant.length === 0 && new Set(fitting.map(({ tenant }) => tenant)).size > 1) return err(AMBIGUOUS);
    for (const candidate of meant.length > 0 ? meant : fitting) {
      const verified = await this.#verify(token, candidate, now);
      if (!verified.ok) {
        if (verified.error !== NOT_GOOD) refused = verified.error;
        continue;
      }
      // Clocks may differ about a token's beginning. Its end is exact, now as when it is remembered.
      if (now >= verified.value.expiresAt) {
        refused = EXPIRED;
        continue;
      }
      remember(this.#verified, token, { until: now + REMEMBERED_MS, caller: verified.value });
      return verified;
    }
    return err(refused);
  }

  /** Forgets what is remembered of a token and of its issuer: somebody who knows better has refused it. */
  forget(token: string): void {
    this.#verified.delete(token);
    const issuer = issuerOf(token);
    // A token that was revoked may be sent as often as anybody likes: it makes nobody look again more often than the pause lets.
    if (issuer !== null) this.#doubt(issuer, {});
  }

  /** Forgets who registered an issuer, and how. */
  forgetIssuer(issuer: string): void {
    this.#doubt(issuer, { at: 0 });
  }

  /** The next token of an issuer makes somebody look again. What was known of it is old then, and not unknown: such looks are not rationed. */
  #doubt(issuer: string, looked: Partial<Looked>): void {
    const known = this.#looked.get(issuer);
    if (known !== undefined) {
      // Where it said nothing it may say something by now, and is asked again by the next token that concerns it.
      const rows = new Map([...known.rows].filter(([, row]) => row !== null));
      this.#looked.set(issuer, { ...known, rows, ...looked, until: 0 });
    }
    this.#nobodys.delete(issuer);
  }

  async #lookUp(issuer: string, now: Instant): Promise<Result<Looked, Refusal>> {
    const known = this.#looked.get(issuer);
    if (known !== undefined && (now < known.until || now - known.at < LOOK_PAUSE_MS)) return ok(known);
    if (now < (this.#nobodys.get(issuer) ?? 0)) return ok(NOBODY);
    // An issuer that somebody registered is asked after once a lease term, however many names are made up meanwhile.
    if (known === undefined && !this.#lookups.take(now))
      return err(refusal("throttled", "Too many tokens of issuers that are not known here were sent at once."));
    const claims = await this.#registrations.issuersOf(issuer).catch(() => null);
    if (claims === null) return err(UNASKED);
    if (claims.length === 0) {
      this.#looked.delete(issuer);
      remember(this.#nobodys, issuer, now + REMEMBERED_MS);
      return ok(NOBODY);
    }
    const looked: Looked = { at: now, until: now + REMEMBERED_MS, claims, rows: new Map() };
    this.#nobodys.delete(issuer);
    remember(this.#looked, issuer, looked);
    return ok(looked);
  }

  /** The registrations that a token for these audiences has to be held against. */
  async #candidatesFor(audiences: ReadonlySet<unknown>, issuer: string, looked: Looked): Promise<Result<readonly Candidate[], Refusal>> {
    const concerned = looked.claims.filter(({ audience }) => audience === null || audiences.has(audience));
    const unread = concerned.filter((claim) => !looked.rows.has(claim));
    try {
      for (let next = 0; next < unread.length; next += MOST_ASKED_AT_ONCE) {
        const asked = unread.slice(next, next + MOST_ASKED_AT_ONCE);
        await Promise.all(asked.map(async (claim) => looked.rows.set(claim, await this.#registrations.readIssuer(claim.tenant, claim.name))));
      }
    } catch {
      return err(UNASKED);
    }
    // The directory only says where to ask: what the tenant has on record is the truth.
    return ok(
      concerned.flatMap((claim) => {
        const row = looked.rows.get(claim) ?? null;
        return row !== null && row.issuer === issuer && audiences.has(row.audience) ? [{ tenant: claim.tenant, row }] : [];
      }),
    );
  }

  async #verify(token: string, { tenant, row }: Candidate, now: Instant): Promise<Result<Bearer, Refusal>> {
    const keys = "set" in row.keys ? this.#inlineKeys(row.keys) : await this.#remote.at(row.keys.uri, now);
    if (keys === null) return err(refusal("authority_unavailable", "The keys of the token's issuer cannot be had just now."));
    const first = await this.#check(token, row, keys, now);
    if (first.kind === "no such key" && "uri" in row.keys) {
      // The issuer may have taken a new key into use.
      const newer = await this.#remote.again(row.keys.uri, now);
      const second = newer === null ? first : await this.#check(token, row, newer, now);
      return second.kind === "verified" ? principalOf(second.payload, token, tenant, row, now) : err(second.kind === "expired" ? EXPIRED : NOT_GOOD);
    }
    return first.kind === "verified" ? principalOf(first.payload, token, tenant, row, now) : err(first.kind === "expired" ? EXPIRED : NOT_GOOD);
  }

  async #check(
    token: string,
    row: IssuerRow,
    keys: KeyFinder,
    now: Instant,
  ): Promise<{ readonly kind: "verified"; readonly payload: JWTPayload } | { readonly kind: "no such key" | "expired" | "not good" }> {
    try {
      const { payload } = await jwtVerify(token, keys, {
        algorithms: ALGORITHMS,
        issuer: row.issuer,
        audience: row.audience,
        requiredClaims: ["exp"],
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        currentDate: new Date(now),
      });
      // Made later than now by a clock that is right: nobody can have made it yet (RFC 7519 section 4.1.6 leaves what to do to us).
      const isEarly = payload.iat !== undefined && payload.iat * 1000 > now + CLOCK_TOLERANCE_SECONDS * 1000;
      return isEarly ? { kind: "not good" } : { kind: "verified", payload };
    } catch (fault) {
      const code = fault instanceof Error && "code" in fault ? fault.code : "";
      return { kind: code === "ERR_JWKS_NO_MATCHING_KEY" ? "no such key" : code === "ERR_JWT_EXPIRED" ? "expired" : "not good" };
    }
  }

  #inlineKeys(keys: Extract<IssuerRow["keys"], { readonly set: unknown }>): KeyFinder | null {
    const known = this.#inline.get(keys);
    if (known !== undefined) return known;
    const set = parsePublicKeys(keys.set);
    if (!set.ok) return null;
    const finder = createLocalJWKSet(set.value);
    this.#inline.set(keys, finder);
    return finder;
  }
}

/** Whether the audience that a tenant registered ends with its own id. Whoever else registers the same audience has another id. */
const isNamedByAudience = ({ tenant, row }: Candidate): boolean => row.audience.split(/[/:]/).at(-1) === tenant;

const NOT_GOOD = refusal("token_invalid", "The token was not made for this use by an issuer that is registered here, or was changed.");
const AMBIGUOUS = refusal(
  "token_invalid",
  "Several tenants registered the token's issuer and audience, and it does not say which it means: it needs a `tid`, or an audience that ends with the tenant's id.",
);
const UNASKED = refusal("authority_unavailable", "Who registered the token's issuer could not be asked.");
const EXPIRED = refusal("token_expired", "The token has expired; ask for a new one.");

const tooLong = (expiresAt: Instant): Refusal =>
  refusal(
    "token_invalid",
    `The token lives too long: found an end at ${formatInstant(expiresAt)}; wanted one at most ${MOST_FOREIGN_LIFE_MS / 86_400_000} days after it was made.`,
  );

/** The `iss` that a token states, unproven; `null` where it is none that could be verified at all. */
export function issuerOf(token: string): string | null {
  const claimed = claimsOf(token);
  return typeof claimed?.iss === "string" && claimed.iss.length <= 2048 ? claimed.iss : null;
}

/** What a token states, unproven, if its header is one that is read here at all. */
function claimsOf(token: string): JWTPayload | null {
  try {
    const header = decodeProtectedHeader(token);
    if (FORBIDDEN_MEMBERS.some((member) => Object.hasOwn(header, member))) return null;
    if (typeof header.alg !== "string" || !ALGORITHMS.includes(header.alg)) return null;
    if (header.typ !== undefined && (typeof header.typ !== "string" || !TYPES.includes(header.typ.toLowerCase()))) return null;
    const claims = decodeJwt(token);
    return ID_TOKEN_CLAIMS.some((claim) => Object.hasOwn(claims, claim)) ? null : claims;
  } catch {
    return null;
  }
}

/** Who a verified token speaks for, as the registration says to read it. */
async function principalOf(payload: JWTPayload, token: string, tenant: string, row: IssuerRow, now: Instant): Promise<Result<Bearer, Refusal>> {
  const { claims } = row;
  const subject = claimAt(payload, claims.subject);
  if (typeof subject !== "string" || !isSubject(subject))
    return err(refusal("token_invalid", `The token's claim "${claims.subject}" is not a subject of 1 to 255 characters.`));
  const kind = KINDS.find((known) => known === claimAt(payload, claims.kind));
  if (kind === undefined) return err(refusal("token_invalid", `The token's claim "${claims.kind}" is none of agent, human, service.`));
  const expiresAt = instantOf(payload.exp);
  if (expiresAt === null) return err(NOT_GOOD);
  // From when it was made, where it says so: what lives too long is not believed near its end either, when its revocation may have been forgotten.
  if (expiresAt - (instantOf(payload.iat) ?? now) > MOST_FOREIGN_LIFE_MS) return err(tooLong(expiresAt));
  const principal: Principal = {
    tokenId: await tokenIdOf(payload, token, row.issuer),
    tenant,
    subject,
    kind,
    issuer: `${row.name}#${row.version}`,
  };
  return ok({ kind: "bearer", principal, scopes: scopesOf(claimAt(payload, claims.scopes), kind), expiresAt });
}

/** A claim by its name, or else by a path of names with dots between. */
function claimAt(payload: JWTPayload, name: string): unknown {
  if (Object.hasOwn(payload, name)) return payload[name];
  let value: unknown = payload;
  for (const member of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, member)) return undefined;
    value = Reflect.get(value, member);
  }
  return value;
}

/** A scope that is unknown here, or that no agent holds in the token of an agent, gives nothing. */
function scopesOf(claimed: unknown, kind: Principal["kind"]): readonly Scope[] {
  const names: readonly unknown[] = typeof claimed === "string" ? claimed.split(" ") : Array.isArray(claimed) ? claimed : [];
  return SCOPES.filter((scope) => names.includes(scope) && !(kind === "agent" && SCOPES_NO_AGENT_HOLDS.includes(scope)));
}

/** The id under which a token that we did not make is recorded, and can be revoked: the same token always has the same. */
async function tokenIdOf({ jti }: JWTPayload, token: string, issuer: string): Promise<Principal["tokenId"]> {
  // Without the signature: it can be spelled in several ways, and of one by ECDSA anybody can make a second that is as good.
  const signed = token.slice(0, token.lastIndexOf("."));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify([issuer, jti ?? signed])));
  return idFromDigest("tok", Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(""));
}

function remember<V>(map: Map<string, V>, key: string, value: V): void {
  if (!map.has(key) && map.size >= MOST_REMEMBERED) {
    const oldest = map.keys().next();
    if (!oldest.done) map.delete(oldest.value);
  }
  map.set(key, value);
}
