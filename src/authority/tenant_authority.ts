import { DurableObject } from "cloudflare:workers";
import { alertText } from "../core/alerts.ts";
import { type ApprovalStatus, NO_LINKS } from "../core/approvals.ts";
import { assert } from "../core/assert.ts";
import { type EntryDraft, type EntryKind, seal } from "../core/entry.ts";
import type { ApprovalId, SessionId, TokenId } from "../core/ids.ts";
import { canonicalJson, type JsonValue } from "../core/json.ts";
import { readPolicy } from "../core/policy/parse.ts";
import { type PutIf, unmet } from "../core/precondition.ts";
import { KEY_REUSED, type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Draw, Word } from "../core/shares.ts";
import { shownText } from "../core/shown.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import { signature } from "../core/turn.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type {
  AccountStanding,
  Answered,
  ApprovalFilter,
  ApprovalRead,
  ApprovalSignals,
  ApprovalTold,
  EffectivePolicy,
  EntitiesRead,
  EntityRef,
  EntityRow,
  Intervened,
  Intervention,
  IssuerRow,
  IssuerWish,
  Lease,
  LeaseAdmitted,
  PageOf,
  PageQuery,
  PolicyPutDone,
  PolicyRead,
  PolicyRow,
  PolicyVersionRow,
  PutPolicy,
  SessionRow,
  Settings,
  TokenRecord,
  TokenRow,
  WebhookNote,
} from "../flow/ports.ts";
import { DeskStore } from "./desk_store.ts";
import { issuerKey, originKey } from "./directory.ts";
import { type AuthorityEnv, sessionObjectName } from "./env.ts";
import { IssuerStore } from "./issuer_store.ts";
import { LeaseNews } from "./lease_news.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import { concerns, OrderStore, type StandingOrder } from "./order_store.ts";
import { Outbox } from "./outbox.ts";
import { PoliciesInForce } from "./policies_in_force.ts";
import { PoolStore } from "./pool_store.ts";
import { freshForEntry } from "./randomness.ts";
import { Recalls } from "./recalls.ts";
import { SettingsStore } from "./settings_store.ts";
import { sha256 } from "./sha256.ts";
import { type AccountAlert, type DrawCall, type Given, type Scarce, SharedAccounts } from "./shared_accounts.ts";
import { hasTables } from "./tables.ts";
import { type LeasedSession, TenantStore } from "./tenant_store.ts";

const SHIP_ALARM_MS = 2_000;
/** So many entities are read at once for an evaluation, at most. */
const MOST_ENTITIES_READ = 16;

/** How long what is scarce is waited for while others are asked for it: a session waits a little longer for the answer. */
const RECALL_PATIENCE_MS = 1_200;
/** So many sessions are asked where they stand before accounts are shown, those that were active last; others are shown as they last said. */
const MOST_ASKED = 100;
const STANDING_PATIENCE_MS = 500;
const MOST_ISSUERS = 16;
/** So many sessions are named in an entry. */
const MOST_NAMED = 100;
type Outcome<T> = Result<T, Refusal>;

/**
 * The authority of one tenant: which policies are in force, which tokens were revoked, which sessions live. Sessions act on leases of it, so that
 * no decision waits for it; a change is told to every session whose lease runs, and is in force everywhere when the last such lease has ended.
 */
export class TenantAuthority extends DurableObject<AuthorityEnv> {
  /**
   * So long the ledger has to take what is shipped, and a session that is asked to give back is not asked again. A field, so that a test need not wait so
   * long. Fields cannot be reached over RPC.
   */
  patienceMs: number = ANSWER_MS;

  readonly #outbox: Outbox;
  readonly #store: TenantStore;
  readonly #orders: OrderStore;
  readonly #pools: PoolStore;
  readonly #settings: SettingsStore;
  readonly #issuers: IssuerStore;
  readonly #desk: DeskStore;
  readonly #inForce: PoliciesInForce;
  readonly #accounts: SharedAccounts;
  readonly #recalls: Recalls;
  readonly #news: LeaseNews;
  /** The tenant's own, once it was read: all of its sessions are reached by it. */
  #id: string | null = null;

  constructor(ctx: DurableObjectState, env: AuthorityEnv) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage.sql);
    this.#store = new TenantStore(ctx.storage.sql, this.#outbox);
    this.#orders = new OrderStore(ctx.storage.sql);
    this.#pools = new PoolStore(ctx.storage.sql);
    this.#settings = new SettingsStore(ctx.storage.sql);
    this.#issuers = new IssuerStore(ctx.storage.sql);
    this.#desk = new DeskStore(ctx.storage.sql);
    this.#inForce = new PoliciesInForce(this.#store, this.#settings);
    this.#accounts = new SharedAccounts(this.#pools, this.#inForce, (alert) => this.#recordAlert(alert));
    this.#recalls = new Recalls(this.#pools, { askBack: (session) => this.#askWhereItStands(session, true), patienceMs: () => this.patienceMs });
    this.#news = new LeaseNews(this.#store, {
      leases: (now) => this.#leases(now),
      tell: async (session, lease, because) => this.#session(session).receive(lease, because),
      hear: (session, draw) => void this.#known((now) => ok(this.#hear(session, draw, now))),
    });
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
    return bound === fingerprint ? ok(null) : err(KEY_REUSED);
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
      const lease = this.#lease(session.session, session.agent, now);
      this.#store.admitSession(
        { id: session.session, agent: session.agent, labels: session.labels, openedAt: session.openedAt, expiresAt: session.expiresAt },
        lease.endsAt,
      );
      return ok(lease);
    });
  }

  /**
   * Hears where a session stands, gives it what it needs of what sessions share, and renews its lease. Where what is free is not enough, those who hold
   * some and have not spent it are asked to give it back first. `word` is `null` where the session has said something newer meanwhile, or would go on
   * acting under a policy that is no longer in force.
   */
  async draw(call: DrawCall): Promise<Outcome<Drawn>> {
    const { session, agent, draw, renews } = call;
    const first = this.#known((now) => {
      if (this.#store.findSession(session) === null) return err(refusal("not_found", "There is no such session."));
      return ok(this.#pools.hearAsk(session, draw.ask) ? this.#accounts.give(call, now, false) : null);
    });
    if (!first.ok) return first;
    let given = first.value;
    const patience = Date.now() + RECALL_PATIENCE_MS;
    const comesBack = given === null || given.overdrawn.length === 0 ? null : this.#bringAllBack(session, given.overdrawn);
    if (given !== null && given.scarce.length > 0)
      given = await this.#recalls.giveInTurn(session, given, patience, () => this.#giveAgain(call, false));
    // An overrun is felt by everybody: what others were given of that account comes back before whoever tells of it is answered.
    if (comesBack !== null) await inTime(Math.max(0, patience - Date.now()), comesBack);
    if (given !== null && (given.scarce.length > 0 || comesBack !== null)) given = this.#giveAgain(call, true);
    const word = given?.word ?? null;
    return this.#known((now) => {
      const lease = this.#lease(session, agent, now);
      if (renews) this.#store.extendLease(session, lease.endsAt);
      return ok({ lease, word });
    });
  }

  /** The session is over, and this is its last word: it keeps nothing. */
  closeSession(session: SessionId, draw: Draw): void {
    if (!this.#exists()) return;
    const heard = this.#known((now) => {
      const given = this.#hear(session, draw, now);
      this.#store.closeSession(session);
      this.#orders.forgetSession(session);
      return ok(given);
    });
    // Of an overrun that it could not tell before, nobody else would hear until the session's alarm tells it again, when its lease ends.
    if (heard.ok && heard.value !== null && heard.value.overdrawn.length > 0) this.#bringAllBack(session, heard.value.overdrawn);
  }

  /** The accounts of an agent and of the tenant in the windows of now, after the sessions that may have spent of them were asked where they stand. */
  async standing(agent: string): Promise<Outcome<readonly AccountStanding[]>> {
    if (!this.#exists()) return err(noSuchTenant());
    const now = Date.now();
    const leased = this.#store.leasedSessions(now - LEASE_TERM_MS, now);
    const asked = [...leased].sort((a, b) => b.leaseEndsAt - a.leaseEndsAt).slice(0, MOST_ASKED);
    await inTime(STANDING_PATIENCE_MS, Promise.allSettled(asked.map(({ id }) => this.#askWhereItStands(id, false))));
    return this.#known((at) => ok(this.#accounts.standing(agent, at)));
  }

  listSessions(page: PageQuery, agent: string | null): Outcome<PageOf<SessionRow>> {
    return this.#known((now) => {
      const rows = this.#store.listSessions(page, agent, now);
      if (!rows.ok) return rows;
      const orders = this.#orders.all();
      const { id: tenant } = this.#store.readTenant();
      const seen = (row: SessionRow): SessionRow =>
        row.state === "active" ? { ...row, state: stateUnder(orders, { tenant, session: row.id, agent: row.agent }) } : row;
      return ok({ ...rows.value, items: rows.value.items.map(seen) });
    });
  }

  // Approvals

  /** Takes what a session tells of its approvals. */
  noteApprovals(told: readonly ApprovalTold[]): void {
    if (!this.#exists()) return;
    this.ctx.storage.transactionSync(() => {
      for (const one of told) this.#desk.note(one);
      this.#desk.clear(Date.now());
    });
  }

  /** Which session asked, and whom the tenant has on file as the owner of its agent. */
  findApproval(id: ApprovalId): Outcome<{ readonly session: SessionId; readonly agent: string; readonly owners: readonly string[] | null }> {
    return this.#known(() => {
      const found = this.#desk.find(id);
      if (found === null) return err(noSuchApproval(id));
      const owner = this.#store.findEntity({ type: "agent", id: found.agent })?.properties.owner;
      return ok({ ...found, owners: namesIn(owner) });
    });
  }

  listApprovals(
    filter: ApprovalFilter,
    page: PageQuery,
  ): Outcome<PageOf<ApprovalRead> & { readonly counts: { readonly [status in ApprovalStatus]: number } }> {
    return this.#known((now) => {
      const listed = this.#desk.list(filter, page, now);
      return listed.ok ? ok({ ...listed.value, counts: this.#desk.counts(filter, now) }) : listed;
    });
  }

  approvalSignals(from: Instant, to: Instant): Outcome<ApprovalSignals> {
    return this.#known((now) => ok(this.#desk.signals(from, to, now)));
  }

  // Interventions

  /** Its reason is on record as everybody's own words are: without what the policies hide that are in force for whom it may concern. */
  async intervene(principal: Principal, said: Intervention): Promise<Outcome<Answered<Intervened>>> {
    if (!this.#exists()) return err(noSuchTenant());
    return this.#intervene(principal, { ...said, reason: shownText(said.reason, this.#inForce.hiddenFor(this.#agentOf(said.target))) });
  }

  /** What an intervention says is in force from the moment it is recorded: no lease given afterwards lacks it. Then those who have leases are told. */
  async #intervene(principal: Principal, intervention: Intervention): Promise<Outcome<Answered<Intervened>>> {
    const { id, target, kind, reason } = intervention;
    const put = this.#known((now): Outcome<Pick<Intervened, "epoch" | "lifted" | "known"> & { readonly answer: Intervened | null }> => {
      const before = this.#orders.find(id);
      if (before !== null && before.fingerprint !== intervention.fingerprint) return err(KEY_REUSED);
      if (before !== null) return ok(before);
      if (target.type === "tenant" && target.id !== this.#store.readTenant().id) return err(noSuchTenant());
      if (target.type === "session" && this.#store.findSession(target.id as SessionId) === null)
        return err(refusal("not_found", `There is no session "${target.id}".`));
      const room = this.#orders.roomFor(intervention, now);
      if (!room.ok) return room;
      this.#store.raiseEpoch();
      const { epoch } = this.#store.readTenant();
      const known = this.#knows(target);
      const lifted = this.#orders.put(intervention, epoch, known, now);
      this.#record("intervention", principal, { event: "intervention", id, target: { ...target }, kind, reason, epoch });
      return ok({ epoch, lifted, known, answer: null });
    });
    if (!put.ok) return put;
    if (put.value.answer !== null) return ok({ answer: put.value.answer, replayed: true });
    // Who watches the record sees it now, and not when the alarm rings.
    this.ctx.waitUntil(this.ship().catch(() => undefined));

    const told = await this.#news.tell((session) => isAbout(target, session), intervention);
    // Of a run only the session that has it can obey.
    const acknowledged = target.type === "run" ? told.heard.filter(({ hasRun }) => hasRun) : told.heard;
    // Who was not heard of may have leased out what it could; of the others it is known until when somebody may go on.
    const silent = told.silent.flatMap(({ leaseEndsAt, clientLeasesUntil }) => [leaseEndsAt, clientLeasesUntil]);
    const latest = Math.max(0, ...silent, ...acknowledged.map(({ leasedUntil }) => leasedUntil ?? 0));
    // In the order in which the store gives it back: the same evidence to the byte.
    const answer: Intervened = {
      lifted: put.value.lifted,
      // A run is known to whoever has it. Who did not answer, or sleeps, may have it too.
      known: target.type === "run" && acknowledged.length > 0 ? true : put.value.known,
      id,
      epoch: put.value.epoch,
      acknowledged: acknowledged.map(({ session, seq, at, leasedUntil }) => ({ session, seq, at, leasedUntil })),
      unanswered: told.silent.map(({ id: session }) => session),
      inForceEverywhereBy: Math.max(Date.now(), latest),
    };
    return this.#known((): Outcome<Answered<Intervened>> => {
      // The same may have been asked twice at once, and answered meanwhile: there is one evidence.
      const meanwhile = this.#orders.find(id)?.answer ?? null;
      if (meanwhile !== null) return ok({ answer: meanwhile, replayed: true });
      this.#orders.answer(id, answer);
      const [only] = acknowledged;
      if (target.type === "run" && only !== undefined) this.#orders.placeRun(target.id, only.session);
      this.#record("intervention", principal, {
        event: "evidence",
        intervention: id,
        acknowledged: answer.acknowledged.length,
        unanswered: answer.unanswered.slice(0, MOST_NAMED),
        unanswered_count: answer.unanswered.length,
        in_force_everywhere_by: formatInstant(answer.inForceEverywhereBy),
      });
      return ok({ answer, replayed: false });
    });
  }

  /** The one agent that an intervention can concern; `null`: it may be any. */
  #agentOf({ type, id }: Intervention["target"]): string | null {
    switch (type) {
      case "agent":
        return id;
      case "session":
        // Ids were parsed at the door.
        return this.#store.findSession(id as SessionId)?.agent ?? null;
      case "tenant":
      case "run":
      case "action":
        return null;
    }
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
      const refused = put.onlyIf == null ? null : refusedBy(put.onlyIf, put.name, known, same && samePlace && !changed);
      if (refused !== null) return err(refused);
      if (!same) this.#store.writeVersion(put, version, principal.subject, now);
      if (!same || changed || !samePlace) {
        this.#store.pointPolicy(put.name, put.scope, put.target, version, active, now);
        const { name, scope, target, digest } = put;
        this.#record("policy", principal, { event: "put", name, version, digest, scope, target, active: active === version });
      }
      // What is the default may be in force without being active.
      if (changed || (!same && this.#settings.read().defaultPolicy === put.name)) this.#changed();
      return ok({ name: put.name, version, digest: put.digest, active: active === version, created: !same });
    });
    if (!done.ok) return done;
    const answer = done.value;
    // Also when nothing changed: a push that was lost is repaired by asking again.
    if (answer.active || this.#settings.read().defaultPolicy === put.name) await this.#news.push();
    return ok(answer);
  }

  /** Brings a version into force for whom its policy is; of one that was deleted, for whom it was. */
  async activatePolicy(principal: Principal, name: string, version: number): Promise<Outcome<PolicyVersionRow>> {
    const done = this.#known((now): Outcome<PolicyVersionRow> => {
      const known = this.#store.findPolicyEver(name);
      const wanted = known === null ? null : this.#store.readVersion(name, version);
      if (known === null || wanted === null) return err(refusal("not_found", `There is no version ${version} of a policy "${name}".`));
      if (known.activeVersion !== version) {
        // It was good when it was put; the language may have become stricter since.
        const readable = readPolicy(wanted.document);
        if (!readable.ok)
          return err(refusal("policy_invalid", `Version ${version} of "${name}" is no policy that can be enforced now.`, readable.error));
        this.#store.pointPolicy(name, known.scope, known.target, known.latestVersion, version, now);
        const details = { event: "activated", name, version, digest: wanted.digest, instead_of: known.activeVersion };
        this.#record("policy", principal, known.deleted ? { ...details, was_deleted: true } : details);
        this.#changed();
      }
      const { digest, createdAt, createdBy } = wanted;
      return ok({ name, version, digest, active: true, createdAt, createdBy });
    });
    if (!done.ok) return done;
    await this.#news.push();
    return done;
  }

  async deletePolicy(principal: Principal, name: string): Promise<Outcome<null>> {
    const done = this.#known((now): Outcome<boolean> => {
      const known = this.#store.findPolicy(name);
      if (known === null) return err(refusal("not_found", `There is no policy "${name}".`));
      this.#store.deletePolicy(name, now);
      const settings = this.#settings.read();
      const wasDefault = settings.defaultPolicy === name;
      if (wasDefault) this.#settings.write({ ...settings, defaultPolicy: null }, now);
      this.#record("policy", principal, { event: "deleted", name, version: known.activeVersion, was_default: wasDefault });
      this.#changed();
      return ok(known.activeVersion !== null || wasDefault);
    });
    if (!done.ok) return done;
    if (done.value) await this.#news.push();
    return ok(null);
  }

  listPolicies(page: PageQuery): Outcome<PageOf<PolicyRow>> {
    return this.#known(() => this.#store.listPolicies(page));
  }

  /** One version of a policy, also of one that was deleted; `null`: the one in force, or the newest where none is. */
  readPolicy(policy: string, version: number | null): Outcome<PolicyRead> {
    return this.#known(() => {
      const known = version === null ? this.#store.findPolicy(policy) : this.#store.findPolicyEver(policy);
      const found = known === null ? null : this.#store.readVersion(policy, version ?? known.activeVersion ?? known.latestVersion);
      return found === null
        ? err(refusal("not_found", version === null ? `There is no policy "${policy}".` : `There is no version ${version} of a policy "${policy}".`))
        : ok(found);
    });
  }

  listPolicyVersions(policy: string, page: PageQuery): Outcome<PageOf<PolicyVersionRow>> {
    return this.#known(() =>
      this.#store.findPolicyEver(policy) === null
        ? err(refusal("not_found", `There is no policy "${policy}".`))
        : this.#store.listVersions(policy, page),
    );
  }

  effectivePolicy(agent: string | null): Outcome<EffectivePolicy | null> {
    return this.#known(() => ok(this.#inForce.effectiveFor(agent)));
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
    if (done.ok) await this.#news.pushEntities();
    return done;
  }

  async deleteEntity(principal: Principal, { type, id }: EntityRef): Promise<Outcome<null>> {
    const done = this.#known((): Outcome<null> => {
      if (this.#store.findEntity({ type, id }) === null) return err(noSuchEntity({ type, id }));
      this.#store.deleteEntity({ type, id });
      this.#record("policy", principal, { event: "entity_deleted", type, id, revision: this.#store.raiseEntities() });
      return ok(null);
    });
    if (done.ok) await this.#news.pushEntities();
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

  // Client leases

  /**
   * Says whether a session may grant one, and remembers until when: a kill that comes meanwhile says by when the last holder has heard of it. Of a kill that
   * came before, the session must have heard first: `epoch`.
   */
  admitLease(principal: Principal, session: SessionId, ttlMs: number): Outcome<LeaseAdmitted> {
    return this.#known((now) => {
      const known = this.#store.findSession(session);
      if (known === null) return err(refusal("not_found", `There is no session "${session}".`));
      if (principal.kind === "agent" && principal.subject !== known.agent)
        return err(refusal("not_your_session", "The session belongs to another agent."));
      const allowed = this.#settings.read().clientLeases;
      const endsBy = now + ttlMs + CLIENT_LEASE_SLACK_MS;
      if (allowed) this.#store.admitClientLease(session, endsBy);
      return ok({ allowed, endsBy, epoch: this.#store.readTenant().epoch });
    });
  }

  // Settings

  readSettings(): Outcome<Settings> {
    return this.#known(() => ok(this.#settings.read()));
  }

  /** Takes the place of all settings. The same settings again are not recorded. */
  async putSettings(principal: Principal, settings: Settings): Promise<Outcome<Settings>> {
    const before = this.readSettings();
    if (!before.ok) return before;
    const { id: tenant } = this.#store.readTenant();
    const gone = before.value.corsOrigins.filter((origin) => !settings.corsOrigins.includes(origin));
    // First, so that nothing is promised that preflights do not find; what is claimed and then not written does nothing.
    await Promise.all(settings.corsOrigins.map((origin) => this.env.DIRECTORY.getByName(originKey(origin)).claim({ tenant, name: "" })));
    const done = this.#known((now): Outcome<boolean> => {
      const { defaultPolicy } = settings;
      if (defaultPolicy !== null && this.#store.findPolicy(defaultPolicy) === null) {
        const message = `must name a stored policy, found "${defaultPolicy}"`;
        return err(refusal("body_invalid", "The default policy is not there.", [{ pointer: "/default_policy", message }]));
      }
      const known = this.#settings.read();
      if (canonicalJson(known) === canonicalJson(settings)) return ok(false);
      this.#settings.write(settings, now);
      this.#record("policy", principal, {
        event: "settings_put",
        cors_origins: settings.corsOrigins,
        retention_days: settings.retentionDays,
        default_policy: defaultPolicy,
        throttle: settings.throttle === null ? null : { requests: settings.throttle.requests, window_ms: settings.throttle.windowMs },
        approval_links: settings.approvalLinks,
        client_leases: settings.clientLeases,
      });
      const isMoved = known.defaultPolicy !== defaultPolicy;
      if (isMoved) this.#changed();
      return ok(isMoved);
    });
    if (!done.ok) return done;
    if (done.value) await this.#news.push();
    await Promise.all(gone.map((origin) => this.env.DIRECTORY.getByName(originKey(origin)).release({ tenant, name: "" })));
    return ok(settings);
  }

  // Issuers

  async putIssuer(principal: Principal, wish: IssuerWish): Promise<Outcome<{ readonly issuer: IssuerRow; readonly created: boolean }>> {
    if (!this.#exists()) return err(noSuchTenant());
    const { id: tenant } = this.#store.readTenant();
    const { name } = wish;
    const before = this.#issuers.find(name);
    // Before the claim: a name that is refused leaves nothing in what tenants share.
    if (before === null && this.#issuers.count() >= MOST_ISSUERS) return err(TOO_MANY_ISSUERS);
    // First, so that a token finds its way here as soon as it is believed here.
    const refused = await this.env.DIRECTORY.getByName(issuerKey(wish.issuer)).claim({ tenant, name, audience: wish.audience });
    if (refused !== null) return err(refused);
    const done = this.#known((now): Outcome<{ readonly issuer: IssuerRow; readonly created: boolean; readonly isSame: boolean }> => {
      const known = this.#issuers.find(name);
      if (known === null && this.#issuers.count() >= MOST_ISSUERS) return err(TOO_MANY_ISSUERS);
      if (known !== null) {
        const { version: _version, updatedAt: _at, updatedBy: _by, ...said } = known;
        if (canonicalJson(said) === canonicalJson(wish)) return ok({ issuer: known, created: false, isSame: true });
      }
      const issuer: IssuerRow = { ...wish, version: this.#issuers.nextVersion(name), updatedAt: now, updatedBy: principal.subject };
      this.#issuers.write(issuer);
      const keys = "uri" in wish.keys ? { jwks_uri: wish.keys.uri } : { jwks: wish.keys.set };
      const { issuer: iss, audience, claims } = wish;
      this.#record("token", principal, { event: "issuer_put", name, version: issuer.version, issuer: iss, audience, claims: { ...claims }, ...keys });
      this.#changed();
      return ok({ issuer, created: known === null, isSame: false });
    });
    if (!done.ok) {
      // Somebody else took the last place while the claim was made.
      await this.#settleClaim(wish.issuer, name);
      return done;
    }
    const { isSame, ...answer } = done.value;
    if (!isSame) await this.#news.push();
    await this.#settleClaim(wish.issuer, name);
    if (before !== null && before.issuer !== wish.issuer) await this.#settleClaim(before.issuer, name);
    return ok(answer);
  }

  async deleteIssuer(principal: Principal, name: string): Promise<Outcome<null>> {
    const done = this.#known((now): Outcome<string> => {
      const known = this.#issuers.find(name);
      if (known === null) return err(noSuchIssuer(name));
      this.#issuers.delete(name, now);
      this.#record("token", principal, { event: "issuer_deleted", name, version: known.version, issuer: known.issuer });
      this.#changed();
      return ok(known.issuer);
    });
    if (!done.ok) return done;
    await this.#news.push();
    await this.#settleClaim(done.value, name);
    return ok(null);
  }

  /** Tells what tenants share of an issuer what this one has on record under a name by now, whoever changed that meanwhile. */
  async #settleClaim(issuer: string, name: string): Promise<void> {
    const { id: tenant } = this.#store.readTenant();
    const known = this.#issuers.find(name);
    const directory = this.env.DIRECTORY.getByName(issuerKey(issuer));
    if (known?.issuer === issuer) await directory.settle({ tenant, name, audience: known.audience });
    else await directory.release({ tenant, name });
  }

  readIssuer(name: string): Outcome<IssuerRow> {
    return this.#known(() => {
      const found = this.#issuers.find(name);
      return found === null ? err(noSuchIssuer(name)) : ok(found);
    });
  }

  listIssuers(page: PageQuery): Outcome<PageOf<IssuerRow>> {
    return this.#known(() => this.#issuers.list(page));
  }

  // Tokens

  recordToken(principal: Principal | null, wanted: TokenRecord, fingerprint: string): Outcome<Answered<TokenRecord>> {
    return this.#known((now): Outcome<Answered<TokenRecord>> => {
      const { approval } = wanted;
      if (approval !== undefined && !this.#settings.read().approvalLinks) return err(NO_LINKS);
      const known = this.#store.findToken(wanted.id);
      if (known !== null) {
        if (known.fingerprint !== fingerprint) return err(KEY_REUSED);
        const { fingerprint: _fingerprint, revokedAt: _revokedAt, ...recorded } = known;
        return ok({ answer: recorded, replayed: true });
      }
      const bounded = approval === undefined ? ok(wanted) : this.#withinApproval(wanted, approval, now);
      if (!bounded.ok) return bounded;
      const token = bounded.value;
      this.#store.writeToken(token, fingerprint);
      this.#record("token", principal, {
        event: "issued",
        id: token.id,
        subject: token.subject,
        kind: token.kind,
        scopes: token.scopes,
        expires_at: formatInstant(token.expiresAt),
        ...(approval !== undefined && { approval }),
      });
      return ok({ answer: token, replayed: false });
    });
  }

  /** A link's token, which is worth nothing once its approval can no longer be answered. */
  #withinApproval(token: TokenRecord, approval: ApprovalId, now: Instant): Outcome<TokenRecord> {
    const found = this.#desk.standing(approval, now);
    if (found === null) return err(noSuchApproval(approval));
    if (found.status !== "pending" && found.status !== "info_requested") return err(refusal("approval_closed", `The approval is ${found.status}.`));
    return ok({ ...token, expiresAt: Math.min(token.expiresAt, found.expiresAt) });
  }

  listTokens(page: PageQuery): Outcome<PageOf<TokenRow>> {
    return this.#known(() => this.#store.listTokens(page));
  }

  async revokeToken(principal: Principal | null, id: TokenId): Promise<Outcome<null>> {
    let concernsSessions = true;
    const done = this.#known((now): Outcome<null> => {
      const known = this.#store.findToken(id);
      // A link is revoked by its answer: no session need hear of that, and leases do not grow with links.
      concernsSessions = known?.approval === undefined;
      // Tokens of the tenant's own issuers are known by nothing but the ids under which they were used.
      if (known === null && this.#issuers.count() === 0) return err(refusal("not_found", `There is no token "${id}".`));
      const room = known === null ? this.#issuers.roomToRevoke(id, now) : ok(null);
      if (!room.ok) return room;
      if (known === null ? !this.#issuers.revoke(id, now) : known.revokedAt !== null) return ok(null);
      if (known !== null) this.#store.revokeToken(id, now);
      this.#record("token", principal, { event: "revoked", id });
      if (concernsSessions) this.#changed();
      return ok(null);
    });
    if (done.ok && concernsSessions) await this.#news.push();
    return done;
  }

  isTokenGood({ tokenId, issuer }: Pick<Principal, "tokenId" | "issuer">): boolean {
    if (!this.#exists()) return false;
    if (issuer === undefined) return this.#store.findToken(tokenId)?.revokedAt === null;
    return this.#issuers.inForce().includes(issuer) && !this.#issuers.isRevoked(tokenId);
  }

  // Webhooks

  /** Puts on record what was done to webhooks: each once, by its number, however often it is told. */
  recordWebhooks(notes: readonly WebhookNote[]): Outcome<null> {
    return this.#known(() => {
      const known = this.#store.webhookNotes();
      for (const { principal, details } of notes.filter(({ seq }) => seq > known)) this.#record("policy", principal, details);
      this.#store.hearWebhookNotes(Math.max(known, ...notes.map(({ seq }) => seq)));
      return ok(null);
    });
  }

  // Entries

  async ship(): Promise<void> {
    if (!this.#exists()) return;
    const { id } = this.#store.readTenant();
    await this.#outbox.ship(this.env.LEDGERS.getByName(id), id, this.patienceMs);
    this.#outbox.erase();
  }

  override async alarm(): Promise<void> {
    // Caught here: an alarm that throws is tried six times and then dropped.
    try {
      await this.ship();
      // What the ledger did not answer to in time.
      if (!this.#outbox.isEmpty()) await this.ctx.storage.setAlarm(Date.now() + SHIP_ALARM_MS);
    } catch (fault) {
      console.error(`tenant ${this.ctx.id.toString()}: entries could not be shipped and will be again: ${String(fault)}`);
      await this.ctx.storage.setAlarm(Date.now() + SHIP_ALARM_MS * 5);
    }
  }

  #exists(): boolean {
    return hasTables(this.ctx.storage.sql);
  }

  /** Whether what an intervention names was ever seen; `null`: this object cannot tell. A tenant or a session that is not there is refused before. */
  #knows({ type, id }: Intervention["target"]): boolean | null {
    switch (type) {
      case "tenant":
      case "session":
        return true;
      case "agent":
        return this.#store.knowsAgent(id);
      case "run":
      case "action":
        return null;
    }
  }

  /** Does something in one transaction, for a tenant that exists. */
  #known<T>(act: (now: Instant) => Outcome<T>): Outcome<T> {
    if (!this.#exists()) return err(noSuchTenant());
    const before = this.#store.readTenant().head.seq;
    const outcome = this.ctx.storage.transactionSync(() => act(Date.now()));
    if (this.#store.readTenant().head.seq !== before) this.#shipLater();
    return outcome;
  }

  #lease(session: SessionId, agent: string, now: Instant): Lease {
    return this.#leases(now)(session, agent);
  }

  /** Makes leases for many sessions at one instant; what all of them have in common is read once. */
  #leases(now: Instant): (session: SessionId, agent: string) => Lease {
    const { id: tenant, epoch, entities } = this.#store.readTenant();
    const common = {
      epoch,
      entities,
      revokedTokens: [...this.#store.revokedTokens(now), ...this.#issuers.revoked(now)],
      issuers: this.#issuers.inForce(),
      endsAt: now + LEASE_TERM_MS,
    };
    const standing = this.#orders.all();
    return (session, agent) => ({
      ...common,
      policy: this.#inForce.policyFor(agent),
      orders: standing.filter((order) => concerns(order, { tenant, session, agent })).map(({ order }) => order),
    });
  }

  /** Takes a session's word in where it stands, and gives it nothing. Not a word that is older than one that was heard: `null`. */
  #hear(session: SessionId, draw: Draw, now: Instant): Given | null {
    const known = this.#store.findSession(session);
    if (known === null || !this.#pools.hearAsk(session, draw.ask)) return null;
    return this.#accounts.give({ session, agent: known.agent, draw, under: null, renews: false }, now, false);
  }

  /** Gives what a draw asks for, if it is still the session's last word. */
  #giveAgain(call: DrawCall, partly: boolean): Given | null {
    const given = this.#known((now) => ok(this.#pools.lastAsk(call.session) === call.draw.ask ? this.#accounts.give(call, now, partly) : null));
    return given.ok ? given.value : null;
  }

  #recordAlert({ key, ...reached }: AccountAlert): void {
    const { scope, window, startsAt } = key;
    const name = scope === "agent" ? key.target : this.#store.readTenant().id;
    const details = { event: "budget_threshold", scope, name, window, starts_at: formatInstant(startsAt) };
    this.#record("lease", null, details, null, { alerts: [alertText({ scope, name, ...reached })], agent_id: scope === "agent" ? name : null });
  }

  /** Has back what others hold of what a session has overdrawn, however many they are and however long that takes. */
  #bringAllBack(session: SessionId, overdrawn: readonly Scarce[]): Promise<void> {
    const comesBack = this.#recalls.bringAllBack(session, overdrawn);
    this.ctx.waitUntil(comesBack);
    return comesBack;
  }

  /** Asks a session where it stands, and takes that in; `givesBack`: and to keep nothing that is not spent. Rejects where it cannot be reached. */
  async #askWhereItStands(session: SessionId, givesBack: boolean): Promise<void> {
    const draw = await this.#session(session).report(givesBack);
    if (draw !== null) this.#known((now) => ok(this.#hear(session, draw, now)));
  }

  #session(session: SessionId) {
    this.#id ??= this.#store.readTenant().id;
    return this.env.SESSIONS.getByName(sessionObjectName(this.#id, session));
  }

  #changed(): void {
    this.#store.raiseEpoch();
    this.#inForce.forget();
  }

  /** Writes an entry into the tenant's own chain, in the transaction around it. What lies `beside` it can be erased. */
  #record(
    kind: EntryKind,
    principal: Principal | null,
    details: { readonly [key: string]: JsonValue },
    beside: JsonValue | null = null,
    says: Pick<EntryDraft, "alerts" | "agent_id"> = {},
  ): void {
    const tenant = this.#store.readTenant();
    const { entryId, salt } = freshForEntry();
    const draft: EntryDraft = {
      ...says,
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
}

export interface Drawn {
  readonly lease: Lease;
  readonly word: Word | null;
}

/** Whether an intervention may concern a session. Which session has a run, the session knows. */
function isAbout(target: Intervention["target"], session: LeasedSession): boolean {
  switch (target.type) {
    case "tenant":
    case "action":
    case "run":
      return true;
    case "agent":
      return session.agent === target.id;
    case "session":
      return session.id === target.id;
  }
}

/** What an open session is under these orders. */
function stateUnder(
  orders: readonly StandingOrder[],
  of: { readonly tenant: string; readonly session: SessionId; readonly agent: string },
): SessionRow["state"] {
  const against = orders.filter((one) => one.order.target !== "run" && one.order.target !== "action" && concerns(one, of));
  if (against.some(({ order }) => order.state === "killed")) return "killed";
  return against.length > 0 ? "paused" : "active";
}

const TOO_MANY_ISSUERS = refusal("body_invalid", `A tenant registers at most ${MOST_ISSUERS} issuers.`, [
  { pointer: "", message: "is one too many" },
]);

const noSuchIssuer = (name: string): Refusal => refusal("not_found", `There is no issuer "${name}".`);

const noSuchApproval = (id: ApprovalId): Refusal => refusal("not_found", `There is no approval "${id}".`);

/**
 * Why a policy is not put under this condition. What is there already just as it is put loses nobody anything: whoever was not answered, and asks again, is
 * not refused for what it did itself (RFC 9110 section 13.1.1).
 */
function refusedBy({ is, isNot }: PutIf, name: string, known: PolicyRow | null, isThere: boolean): Refusal | null {
  const version = known === null ? 0 : (known.activeVersion ?? known.latestVersion);
  const now = known === null ? null : { version, active: known.activeVersion !== null, scope: known.scope, target: known.target };
  switch (unmet({ is: isThere ? null : is, isNot }, now)) {
    case null:
      return null;
    case "If-Match":
      return refusal(
        "precondition_failed",
        now === null
          ? `There is no policy "${name}", and If-Match wants one. Nothing was done.`
          : `The policy "${name}" is not what If-Match says it is: version ${version} is ${now.active ? "in force" : "the newest"} now. Nothing was done; read it and see what was changed.`,
      );
    case "If-None-Match":
      return refusal(
        "precondition_failed",
        `The policy "${name}" is what If-None-Match says must not be there, at version ${version}. Nothing was done.`,
      );
  }
}

const noSuchTenant = (): Refusal => refusal("not_found", "There is no such tenant.");

const noSuchEntity = ({ type, id }: EntityRef): Refusal => refusal("not_found", `Nothing is stored of the ${type} "${id}".`);

/** So much later than it was asked for a client lease may still be granted in full, while its session waits for its turn or for money. */
const CLIENT_LEASE_SLACK_MS = 10_000;

/** An attribute that names people: one, several, or none; `null`: it is something else. */
function namesIn(attribute: JsonValue | undefined): readonly string[] | null {
  if (attribute === undefined) return [];
  const names: readonly JsonValue[] = Array.isArray(attribute) ? attribute : [attribute];
  return names.every((name) => typeof name === "string") ? names : null;
}
