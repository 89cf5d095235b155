import { DurableObject } from "cloudflare:workers";
import { assert } from "../core/assert.ts";
import type { Digest } from "../core/digest.ts";
import { type EntryKind, seal } from "../core/entry.ts";
import type { SessionId, TokenId } from "../core/ids.ts";
import { canonicalJson, type JsonValue } from "../core/json.ts";
import { policyDigest } from "../core/policy/digest.ts";
import type { PolicyRef } from "../core/policy/findings.ts";
import { mergePolicies } from "../core/policy/merge.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import { signature } from "../core/turn.ts";
import type {
  Answered,
  EffectivePolicy,
  EntitiesRead,
  EntityRef,
  EntityRow,
  Lease,
  PageOf,
  PageQuery,
  PolicyPutDone,
  PolicyRead,
  PolicyRow,
  PolicyVersionRow,
  PutPolicy,
  SessionRow,
  TokenRecord,
  TokenRow,
} from "../flow/ports.ts";
import { type AuthorityEnv, sessionObjectName } from "./env.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import { Outbox } from "./outbox.ts";
import { freshForEntry } from "./randomness.ts";
import { sha256 } from "./sha256.ts";
import { hasTables } from "./tables.ts";
import { TenantStore } from "./tenant_store.ts";

/** How long a change waits for live sessions to hear of it before it answers; who has not by then does at its lease's end. */
const PUSH_PATIENCE_MS = 2_000;
const SHIP_ALARM_MS = 2_000;
/** So many entities are read at once for an evaluation, at most. */
const MOST_ENTITIES_READ = 16;

type Outcome<T> = Result<T, Refusal>;

/**
 * The authority of one tenant: which policies are in force, which tokens were revoked, which sessions live. Sessions act on leases of it, so that
 * no decision waits for it; a change is told to every session whose lease runs, and is in force everywhere when the last such lease has ended.
 */
export class TenantAuthority extends DurableObject<AuthorityEnv> {
  readonly #outbox: Outbox;
  readonly #store: TenantStore;
  /** What is in force, by the versions that it comes of, until anything changes. */
  readonly #effective = new Map<string, EffectivePolicy | null>();
  /** The same without the documents, which may be large: leases name a policy and do not carry it. */
  readonly #inForce = new Map<string, PolicyRef | null>();
  /** Ends when sessions may be told again of changed entities. */
  #entityRest: Promise<unknown> = Promise.resolve();
  /** The telling that has not begun: it will say what is in force when it begins, so whoever changes an entity until then waits for it. */
  #nextEntityPush: Promise<void> | null = null;
  /** The revision of entities that every session is known to have heard of. */
  #entitiesHeard = -1;

  constructor(ctx: DurableObjectState, env: AuthorityEnv) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage.sql);
    this.#store = new TenantStore(ctx.storage.sql, this.#outbox);
    if (this.#exists()) ctx.storage.transactionSync(() => this.#store.upgrade());
  }

  /** Idempotent: the same tenant again is answered as before, and under another name refused. */
  create(tenant: { readonly id: string; readonly name: string | null }): Outcome<Answered<{ readonly id: string }>> {
    if (this.#exists()) {
      if (this.#store.readTenant().displayName !== tenant.name)
        return err(refusal("idempotency_mismatch", `The tenant "${tenant.id}" exists already, with another name.`));
      return ok({ answer: { id: tenant.id }, replayed: true });
    }
    this.ctx.storage.transactionSync(() => {
      this.#store.create(tenant.id, tenant.name, Date.now());
      this.#record("policy", null, { event: "tenant_created", id: tenant.id, name: tenant.name });
    });
    this.#shipLater();
    return ok({ answer: { id: tenant.id }, replayed: false });
  }

  /** Kept in an object of its own, which is no tenant. */
  claimRootKey(key: string, fingerprint: string): Outcome<null> {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS root_keys (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) STRICT, WITHOUT ROWID");
    const { fingerprint: bound } = sql
      .exec<{ fingerprint: string }>(
        "INSERT INTO root_keys (key, fingerprint) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING fingerprint",
        key,
        fingerprint,
      )
      .one();
    return bound === fingerprint ? ok(null) : err(refusal("idempotency_mismatch", "The Idempotency-Key was used before with another body."));
  }

  // Leases

  /** Registers a session that is being opened, and gives it its first lease. */
  admit(session: {
    readonly session: SessionId;
    readonly token: TokenId;
    readonly agent: string;
    readonly labels: SessionRow["labels"];
    readonly openedAt: Instant;
    readonly expiresAt: Instant;
  }): Outcome<Lease> {
    return this.#known((now) => {
      if (this.#store.findToken(session.token)?.revokedAt != null) return err(refusal("token_revoked", "The token was revoked."));
      const lease = this.#lease(session.agent, now);
      this.#store.admitSession(
        { id: session.session, agent: session.agent, labels: session.labels, openedAt: session.openedAt, expiresAt: session.expiresAt },
        lease.endsAt,
      );
      return ok(lease);
    });
  }

  renew(session: SessionId, agent: string): Outcome<Lease> {
    return this.#known((now) => {
      const lease = this.#lease(agent, now);
      this.#store.extendLease(session, lease.endsAt);
      return ok(lease);
    });
  }

  closeSession(session: SessionId): void {
    if (this.#exists()) this.#store.closeSession(session);
  }

  listSessions(page: PageQuery, agent: string | null): Outcome<PageOf<SessionRow>> {
    return this.#known((now) => this.#store.listSessions(page, agent, now));
  }

  liveSessions(most: number): readonly SessionId[] {
    return this.#exists() ? this.#store.liveSessions(Date.now(), most) : [];
  }

  // Policies

  async putPolicy(principal: Principal, put: PutPolicy): Promise<Outcome<PolicyPutDone>> {
    const done = this.#known((now): Outcome<PolicyPutDone> => {
      const known = this.#store.findPolicy(put.name);
      const latest = known === null ? null : this.#store.readVersion(put.name, known.latestVersion);
      const same =
        known !== null &&
        latest !== null &&
        latest.digest === put.digest &&
        latest.format === put.format &&
        (put.format === "json" || latest.text === put.text);
      const samePlace = known !== null && known.scope === put.scope && known.target === put.target;
      if (known !== null && known.activeVersion !== null && !samePlace) {
        // Whom it bound would be bound no more, and nothing but the record would say so.
        const place = known.scope === "tenant" ? "the whole tenant" : `agent "${known.target}"`;
        const message = `cannot change while version ${known.activeVersion} is in force for ${place}: delete it first, or use another name`;
        return err(refusal("body_invalid", "A policy in force would move to another place.", [{ pointer: "/scope", message }]));
      }
      const version = same ? latest.version : this.#store.latestVersion(put.name) + 1;
      const active = put.activate ? version : (known?.activeVersion ?? null);
      const changed = active !== (known?.activeVersion ?? null) || (!samePlace && active !== null);
      if (!same) this.#store.writeVersion(put, version, principal.subject, now);
      if (!same || changed || !samePlace) {
        this.#store.pointPolicy(put.name, put.scope, put.target, version, active, now);
        const { name, scope, target, digest } = put;
        this.#record("policy", principal, { event: "put", name, version, digest, scope, target, active: active === version });
      }
      if (changed) this.#changed();
      return ok({ name: put.name, version, digest: put.digest, active: active === version, created: !same });
    });
    if (!done.ok) return done;
    const answer = done.value;
    // Also when nothing changed: a push that was lost is repaired by asking again.
    if (answer.active) await this.#push();
    return ok(answer);
  }

  async activatePolicy(principal: Principal, name: string, version: number): Promise<Outcome<PolicyVersionRow>> {
    const done = this.#known((now): Outcome<PolicyVersionRow> => {
      const known = this.#store.findPolicy(name);
      const wanted = known === null ? null : this.#store.readVersion(name, version);
      if (known === null || wanted === null) return err(refusal("not_found", `There is no version ${version} of a policy "${name}".`));
      if (known.activeVersion !== version) {
        // It was good when it was put; the language may have become stricter since.
        const readable = readPolicy(wanted.document);
        if (!readable.ok)
          return err(refusal("policy_invalid", `Version ${version} of "${name}" is no policy that can be enforced now.`, readable.error));
        this.#store.pointPolicy(name, known.scope, known.target, known.latestVersion, version, now);
        this.#record("policy", principal, { event: "activated", name, version, digest: wanted.digest, instead_of: known.activeVersion });
        this.#changed();
      }
      const { digest, createdAt, createdBy } = wanted;
      return ok({ name, version, digest, active: true, createdAt, createdBy });
    });
    if (!done.ok) return done;
    await this.#push();
    return done;
  }

  async deletePolicy(principal: Principal, name: string): Promise<Outcome<null>> {
    const done = this.#known((now): Outcome<boolean> => {
      const known = this.#store.findPolicy(name);
      if (known === null) return err(refusal("not_found", `There is no policy "${name}".`));
      this.#store.deletePolicy(name, now);
      this.#record("policy", principal, { event: "deleted", name, version: known.activeVersion });
      this.#changed();
      return ok(known.activeVersion !== null);
    });
    if (!done.ok) return done;
    if (done.value) await this.#push();
    return ok(null);
  }

  listPolicies(page: PageQuery): Outcome<PageOf<PolicyRow>> {
    return this.#known(() => this.#store.listPolicies(page));
  }

  /** One version of a policy; `null`: the one in force, or the newest where none is. */
  readPolicy(policy: string, version: number | null): Outcome<PolicyRead> {
    return this.#known(() => {
      const known = this.#store.findPolicy(policy);
      const found = known === null ? null : this.#store.readVersion(policy, version ?? known.activeVersion ?? known.latestVersion);
      return found === null
        ? err(refusal("not_found", version === null ? `There is no policy "${policy}".` : `There is no version ${version} of a policy "${policy}".`))
        : ok(found);
    });
  }

  listPolicyVersions(policy: string, page: PageQuery): Outcome<PageOf<PolicyVersionRow>> {
    return this.#known(() =>
      this.#store.findPolicy(policy) === null ? err(refusal("not_found", `There is no policy "${policy}".`)) : this.#store.listVersions(policy, page),
    );
  }

  effectivePolicy(agent: string | null): Outcome<EffectivePolicy | null> {
    return this.#known(() => ok(this.#effectiveFor(agent)));
  }

  // Entities

  /**
   * The entry says what was changed and at which revision. The properties lie beside it, as inputs do: an auditor finds what rules looked at and can
   * verify it by the salted digest in the entry, and they can be erased, for they are about people, without breaking any proof.
   */
  async putEntity(
    principal: Principal,
    entity: Pick<EntityRow, "type" | "id" | "properties">,
  ): Promise<Outcome<{ readonly entity: EntityRow; readonly created: boolean }>> {
    const done = this.#known((now) => {
      const known = this.#store.findEntity(entity);
      if (known !== null && canonicalJson(known.properties) === canonicalJson(entity.properties)) return ok({ entity: known, created: false });
      const { type, id, properties } = entity;
      const row: EntityRow = { type, id, properties, updatedAt: now, updatedBy: principal.subject };
      this.#store.writeEntity(row);
      const created = known === null;
      this.#record("policy", principal, { event: "entity_put", type, id, created, revision: this.#store.raiseEntities() }, { properties });
      return ok({ entity: row, created });
    });
    if (done.ok) await this.#pushEntities();
    return done;
  }

  async deleteEntity(principal: Principal, { type, id }: EntityRef): Promise<Outcome<null>> {
    const done = this.#known((): Outcome<null> => {
      if (this.#store.findEntity({ type, id }) === null) return err(noSuchEntity({ type, id }));
      this.#store.deleteEntity({ type, id });
      this.#record("policy", principal, { event: "entity_deleted", type, id, revision: this.#store.raiseEntities() });
      return ok(null);
    });
    if (done.ok) await this.#pushEntities();
    return done;
  }

  readEntity(ref: EntityRef): Outcome<EntityRow> {
    return this.#known(() => {
      const found = this.#store.findEntity(ref);
      return found === null ? err(noSuchEntity(ref)) : ok(found);
    });
  }

  listEntities(page: PageQuery, type: string | null): Outcome<PageOf<EntityRow>> {
    return this.#known(() => this.#store.listEntities(page, type));
  }

  readEntities(refs: readonly EntityRef[]): Outcome<EntitiesRead> {
    assert(refs.length <= MOST_ENTITIES_READ, "an evaluation looks at a few entities only");
    return this.#known(() => {
      const properties = refs.map((ref) => this.#store.findEntity(ref)?.properties ?? null);
      return ok({ revision: this.#store.readTenant().entities, properties });
    });
  }

  // Tokens

  recordToken(principal: Principal | null, token: TokenRecord, fingerprint: string): Outcome<Answered<TokenRecord>> {
    return this.#known((): Outcome<Answered<TokenRecord>> => {
      const known = this.#store.findToken(token.id);
      if (known !== null) {
        if (known.fingerprint !== fingerprint) return err(refusal("idempotency_mismatch", "The Idempotency-Key was used before with another body."));
        const { id, subject, kind, scopes, issuedAt, expiresAt } = known;
        return ok({ answer: { id, subject, kind, scopes, issuedAt, expiresAt }, replayed: true });
      }
      this.#store.writeToken(token, fingerprint);
      this.#record("token", principal, {
        event: "issued",
        id: token.id,
        subject: token.subject,
        kind: token.kind,
        scopes: token.scopes,
        expires_at: formatInstant(token.expiresAt),
      });
      return ok({ answer: token, replayed: false });
    });
  }

  listTokens(page: PageQuery): Outcome<PageOf<TokenRow>> {
    return this.#known(() => this.#store.listTokens(page));
  }

  async revokeToken(principal: Principal | null, id: TokenId): Promise<Outcome<null>> {
    const done = this.#known((now): Outcome<null> => {
      const known = this.#store.findToken(id);
      if (known === null) return err(refusal("not_found", `There is no token "${id}".`));
      if (known.revokedAt !== null) return ok(null);
      this.#store.revokeToken(id, now);
      this.#record("token", principal, { event: "revoked", id });
      this.#changed();
      return ok(null);
    });
    if (done.ok) await this.#push();
    return done;
  }

  isTokenGood(id: TokenId): boolean {
    return this.#exists() && this.#store.findToken(id)?.revokedAt === null;
  }

  // Entries

  async ship(): Promise<void> {
    if (!this.#exists()) return;
    const { id } = this.#store.readTenant();
    await this.#outbox.ship(this.env.LEDGERS.getByName(id), id);
  }

  override async alarm(): Promise<void> {
    // Caught here: an alarm that throws is tried six times and then dropped.
    try {
      await this.ship();
    } catch (fault) {
      console.error(`tenant ${this.ctx.id.toString()}: entries could not be shipped and will be again: ${String(fault)}`);
      await this.ctx.storage.setAlarm(Date.now() + SHIP_ALARM_MS * 5);
    }
  }

  #exists(): boolean {
    return hasTables(this.ctx.storage.sql);
  }

  /** Does something in one transaction, for a tenant that exists. */
  #known<T>(act: (now: Instant) => Outcome<T>): Outcome<T> {
    if (!this.#exists()) return err(refusal("not_found", "There is no such tenant."));
    const before = this.#store.readTenant().head.seq;
    const outcome = this.ctx.storage.transactionSync(() => act(Date.now()));
    if (this.#store.readTenant().head.seq !== before) this.#shipLater();
    return outcome;
  }

  #lease(agent: string, now: Instant): Lease {
    return this.#leases(now)(agent);
  }

  /** Makes leases for many agents at one instant; what all of them have in common is read once. */
  #leases(now: Instant): (agent: string) => Lease {
    const { epoch, entities } = this.#store.readTenant();
    const common = { epoch, entities, revokedTokens: this.#store.revokedTokens(now), endsAt: now + LEASE_TERM_MS };
    return (agent) => ({ ...common, policy: this.#policyFor(agent) });
  }

  /** Which policy is in force for an agent. Agents under the same versions share what comes of them. */
  #policyFor(agent: string | null): PolicyRef | null {
    const key = JSON.stringify(this.#store.activeVersions(agent));
    const known = this.#inForce.get(key);
    if (known !== undefined) return known;
    const policy = this.#effectiveFor(agent)?.policy ?? null;
    if (this.#inForce.size >= MOST_IN_FORCE) this.#inForce.clear();
    this.#inForce.set(key, policy);
    return policy;
  }

  #effectiveFor(agent: string | null): EffectivePolicy | null {
    const key = JSON.stringify(this.#store.activeVersions(agent));
    const known = this.#effective.get(key);
    if (known !== undefined) return known;
    const effective = this.#merge(agent);
    if (this.#effective.size >= MOST_EFFECTIVE) this.#effective.clear();
    this.#effective.set(key, effective);
    return effective;
  }

  #merge(agent: string | null): EffectivePolicy | null {
    const layers = this.#store.activeDocuments(agent);
    const last = layers.at(-1);
    if (last === undefined) return null;
    if (layers.length === 1)
      return { policy: { name: last.name, version: last.version, digest: last.digest }, document: last.document, conflicts: [] };
    const named = (digest: Digest): PolicyRef => ({ name: layers.map(({ name }) => name).join("+"), version: last.version, digest });
    const readable: Parameters<typeof mergePolicies>[0][number][] = [];
    for (const { name, version, document, digest } of layers) {
      const read = readPolicy(document);
      // A stored layer that this code cannot read must not silently drop out: handed on as it is, it makes every decision `policy_invalid`.
      if (!read.ok) return { policy: named(digest), document, conflicts: [] };
      readable.push({ name, version, document: read.value });
    }
    const { document, conflicts } = mergePolicies(readable);
    // A document is plain JSON; its type says more of its members than JSON's own type can.
    return { policy: named(policyDigest(sha256, document)), document: document as unknown as JsonValue, conflicts };
  }

  #changed(): void {
    this.#store.raiseEpoch();
    this.#effective.clear();
    this.#inForce.clear();
  }

  /** Writes an entry into the tenant's own chain, in the transaction around it. What lies `beside` it can be erased. */
  #record(kind: EntryKind, principal: Principal | null, details: { readonly [key: string]: JsonValue }, beside: JsonValue | null = null): void {
    const tenant = this.#store.readTenant();
    const { entryId, salt } = freshForEntry();
    const draft = {
      id: entryId,
      kind,
      timestamp: formatInstant(Date.now()),
      tenant_id: tenant.id,
      session_id: null,
      principal: principal === null ? null : signature(principal),
      details,
    };
    this.#store.addEntry(seal(sha256, tenant.head, draft, beside === null ? null : { salt, inputs: beside }));
  }

  /** Sets the alarm unless one is set: a later change does not put off an earlier one's shipment. */
  #shipLater(): void {
    const set = async () => {
      if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + SHIP_ALARM_MS);
    };
    this.ctx.waitUntil(set());
  }

  /**
   * Tells every session whose lease may still run what is now in force. Waits a little for them to have heard it. A session counts its lease by its
   * clock, from when it asked: one term of slack covers any clock that is off by less. Answers whether all of them have heard it.
   */
  async #push(): Promise<boolean> {
    const now = Date.now();
    const { id } = this.#store.readTenant();
    const lease = this.#leases(now);
    const told = this.#store.leasedSessions(now - LEASE_TERM_MS).map(async ({ id: session, agent }) => {
      await this.env.SESSIONS.getByName(sessionObjectName(id, session)).receive(lease(agent));
    });
    const all = Promise.allSettled(told).then((each) => each.every(({ status }) => status === "fulfilled"));
    return Promise.race([all, scheduler.wait(PUSH_PATIENCE_MS).then(() => false)]);
  }

  /**
   * Tells sessions of changed entities. Entities change far more often than policies, so one telling is under way at a time, and all that changes
   * meanwhile is told together by the next. A policy or a revocation never waits behind them. What all have heard is not told again; what one of them
   * may have missed is, when the same write comes once more.
   */
  async #pushEntities(): Promise<void> {
    if (this.#entitiesHeard === this.#store.readTenant().entities) return;
    this.#nextEntityPush ??= this.#entityRest.then(async () => {
      this.#nextEntityPush = null;
      const { entities } = this.#store.readTenant();
      const began = Date.now();
      const push = this.#push();
      // As long as the telling took: who writes entities all day leaves the object half of its time for everybody else.
      const rest = () => scheduler.wait(Date.now() - began);
      this.#entityRest = push.then(rest, rest);
      if (await push) this.#entitiesHeard = entities;
    });
    await Promise.race([this.#nextEntityPush, scheduler.wait(PUSH_PATIENCE_MS)]);
  }
}

const noSuchEntity = ({ type, id }: EntityRef): Refusal => refusal("not_found", `Nothing is stored of the ${type} "${id}".`);

/** So many agents' merged policies are kept ready. */
const MOST_EFFECTIVE = 8;
const MOST_IN_FORCE = 1_000;
