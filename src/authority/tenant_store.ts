import type { Digest } from "../core/digest.ts";
import { CHAIN_START, type ChainHead, type SealedEntry } from "../core/entry.ts";
import type { ApprovalId, SessionId, TokenId } from "../core/ids.ts";
import { canonicalJson, type JsonValue } from "../core/json.ts";
import { DETECTORS, type Detector } from "../core/redact.ts";
import type { Refusal } from "../core/refusals.ts";
import { ok, type Result } from "../core/result.ts";
import type { Scope } from "../core/scopes.ts";
import type { Instant } from "../core/time.ts";
import type {
  EntityRef,
  EntityRow,
  PageOf,
  PageQuery,
  PolicyRead,
  PolicyRow,
  PolicyVersionRow,
  PutPolicy,
  SessionRow,
  TokenRecord,
  TokenRow,
} from "../flow/ports.ts";
import { CURSORS, parseCursor } from "./cursor.ts";
import { DESK_COUNTED, DESK_TABLES } from "./desk_store.ts";
import { ISSUER_TABLES } from "./issuer_store.ts";
import { ORDER_TABLES, ORDERS_LIFTED } from "./order_store.ts";
import { OUTBOX_TABLE, type Outbox } from "./outbox.ts";
import { POOL_TABLES, POOLS_BY_SPAN } from "./pool_store.ts";
import { SETTINGS_LEASES, SETTINGS_LINKS, SETTINGS_TABLES } from "./settings_store.ts";
import { bringTables, type SchemaStep } from "./tables.ts";

/** The tables of one tenant's object. `migrations/README.md` says what each field is for. */
const STEPS: readonly SchemaStep[] = [
  `
  CREATE TABLE tenant (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    display_name TEXT,
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    head_hash TEXT NOT NULL CHECK (length(head_hash) = 64)
  ) STRICT;
  CREATE TABLE policies (
    name TEXT PRIMARY KEY,
    scope TEXT NOT NULL CHECK (scope IN ('tenant', 'agent')),
    target TEXT CHECK ((scope = 'agent') = (target IS NOT NULL)),
    active_version INTEGER CHECK (active_version > 0),
    latest_version INTEGER NOT NULL CHECK (latest_version > 0),
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0),
    deleted INTEGER NOT NULL DEFAULT 0 CHECK (deleted IN (0, 1))
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE policy_versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    digest TEXT NOT NULL,
    document TEXT NOT NULL,
    text TEXT NOT NULL,
    format TEXT NOT NULL CHECK (format IN ('yaml', 'json')),
    created_at INTEGER NOT NULL CHECK (created_at >= 0),
    created_by TEXT NOT NULL,
    PRIMARY KEY (name, version)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL,
    labels TEXT NOT NULL,
    opened_at INTEGER NOT NULL CHECK (opened_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    lease_ends_at INTEGER NOT NULL CHECK (lease_ends_at >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('agent', 'human', 'service')),
    scopes TEXT NOT NULL,
    issued_at INTEGER NOT NULL CHECK (issued_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    revoked_at INTEGER CHECK (revoked_at >= 0)
  ) STRICT, WITHOUT ROWID;
  ${OUTBOX_TABLE};
  `,
  // The index of a column has the row's own key behind it: it lists one type in the order of `place`.
  `
  ALTER TABLE tenant ADD COLUMN entities INTEGER NOT NULL DEFAULT 0 CHECK (entities >= 0);
  CREATE TABLE entities (
    place INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    id TEXT NOT NULL,
    properties TEXT NOT NULL,
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0),
    updated_by TEXT NOT NULL,
    UNIQUE (type, id)
  ) STRICT;
  CREATE INDEX entities_of_type ON entities (type);
  `,
  // A row has room for 2 MB: a document of thousands of rules and its author's text do not fit into one.
  `
  CREATE TABLE policy_texts (
    name TEXT NOT NULL,
    version INTEGER NOT NULL CHECK (version > 0),
    text TEXT NOT NULL,
    PRIMARY KEY (name, version)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO policy_texts (name, version, text) SELECT name, version, text FROM policy_versions;
  ALTER TABLE policy_versions DROP COLUMN text;
  `,
  `${ORDER_TABLES}${POOL_TABLES}${ISSUER_TABLES}${SETTINGS_TABLES}`,
  DESK_TABLES,
  `
  CREATE TABLE webhook_notes (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    heard INTEGER NOT NULL CHECK (heard >= 0)
  ) STRICT;
  `,
  `${SETTINGS_LINKS} ALTER TABLE tokens ADD COLUMN approval TEXT;`,
  `
  ${SETTINGS_LEASES}
  ALTER TABLE sessions ADD COLUMN client_leases_until INTEGER NOT NULL DEFAULT 0 CHECK (client_leases_until >= 0);
  CREATE INDEX sessions_by_client_leases ON sessions (client_leases_until) WHERE client_leases_until > 0;
  `,
  // What ended stays: whatever is asked for again and again must not pass all of it by.
  `
  CREATE INDEX sessions_of_agent ON sessions (agent, opened_at, id);
  CREATE INDEX tokens_by_issue ON tokens (issued_at, id);
  CREATE INDEX tokens_revoked ON tokens (expires_at) WHERE revoked_at IS NOT NULL AND approval IS NULL;
  ${DESK_COUNTED}
  ${POOLS_BY_SPAN}
  `,
  ORDERS_LIFTED,
];

/** A tenant's own row. */
export interface TenantRow {
  readonly id: string;
  readonly displayName: string | null;
  readonly epoch: number;
  /** How often entities have changed. */
  readonly entities: number;
  readonly head: ChainHead;
}

/** A session that may act on what it was last told. */
export interface LeasedSession {
  readonly id: SessionId;
  readonly agent: string;
  readonly leaseEndsAt: Instant;
  /** No client lease that it granted runs longer. */
  readonly clientLeasesUntil: Instant;
}

/** What a tenant's object keeps: policies and which of them are in force, sessions that were admitted, tokens. */
export class TenantStore {
  readonly #sql: SqlStorage;
  readonly #outbox: Outbox;

  constructor(sql: SqlStorage, outbox: Outbox) {
    this.#sql = sql;
    this.#outbox = outbox;
  }

  /** The number of the last thing done to webhooks that is on record here. */
  webhookNotes(): number {
    return this.#sql.exec<{ heard: number }>("SELECT heard FROM webhook_notes").toArray()[0]?.heard ?? 0;
  }

  hearWebhookNotes(heard: number): void {
    this.#sql.exec("INSERT INTO webhook_notes (one, heard) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET heard = excluded.heard", heard);
  }

  /** Brings the tables of an object that has some to the newest step. */
  upgrade(): void {
    bringTables(this.#sql, { steps: STEPS });
  }

  create(id: string, displayName: string | null, now: Instant): void {
    bringTables(this.#sql, { steps: STEPS });
    this.#sql.exec(
      "INSERT INTO tenant (one, id, display_name, created_at, epoch, seq, head_hash) VALUES (1, ?, ?, ?, 0, ?, ?)",
      id,
      displayName,
      now,
      CHAIN_START.seq,
      CHAIN_START.hash,
    );
  }

  readTenant(): TenantRow {
    const row = this.#sql
      .exec<{ id: string; display_name: string | null; epoch: number; entities: number; seq: number; head_hash: string }>(
        "SELECT id, display_name, epoch, entities, seq, head_hash FROM tenant",
      )
      .one();
    const { id, epoch, entities } = row;
    return { id, displayName: row.display_name, epoch, entities, head: { seq: row.seq, hash: row.head_hash } };
  }

  /** Counts one more change of what is in force: leases of before are older than leases of after. */
  raiseEpoch(): void {
    this.#sql.exec("UPDATE tenant SET epoch = epoch + 1");
  }

  /** Counts one more change of entities, which leases of before do not know, and answers the count. */
  raiseEntities(): number {
    return this.#sql.exec<{ entities: number }>("UPDATE tenant SET epoch = epoch + 1, entities = entities + 1 RETURNING entities").one().entities;
  }

  addEntry(sealed: SealedEntry): void {
    this.#outbox.add([sealed]);
    this.#sql.exec("UPDATE tenant SET seq = ?, head_hash = ?", sealed.entry.seq, sealed.hash);
  }

  // Sessions

  admitSession(session: Omit<SessionRow, "state">, leaseEndsAt: Instant): void {
    this.#sql.exec(
      "INSERT INTO sessions (id, agent, labels, opened_at, expires_at, lease_ends_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET opened_at = excluded.opened_at, expires_at = excluded.expires_at, lease_ends_at = excluded.lease_ends_at",
      session.id,
      session.agent,
      JSON.stringify(session.labels),
      session.openedAt,
      session.expiresAt,
      leaseEndsAt,
    );
  }

  extendLease(session: SessionId, leaseEndsAt: Instant): void {
    this.#sql.exec("UPDATE sessions SET lease_ends_at = ? WHERE id = ? AND lease_ends_at < ?", leaseEndsAt, session, leaseEndsAt);
  }

  /** Whose a session is, and until when its lease may run; `null`: it was never admitted. */
  findSession(session: SessionId): { readonly agent: string; readonly leaseEndsAt: Instant } | null {
    const row = this.#sql
      .exec<{ agent: string; lease_ends_at: number }>("SELECT agent, lease_ends_at FROM sessions WHERE id = ?", session)
      .toArray()[0];
    return row === undefined ? null : { agent: row.agent, leaseEndsAt: row.lease_ends_at };
  }

  /** Whether an agent of that name was ever seen here: it opened a session, has attributes on file, or a policy is or was for it. */
  knowsAgent(agent: string): boolean {
    const { known } = this.#sql
      .exec<{ known: number }>(
        `SELECT EXISTS (SELECT 1 FROM sessions WHERE agent = ?1) OR EXISTS (SELECT 1 FROM entities WHERE type = 'agent' AND id = ?1)
           OR EXISTS (SELECT 1 FROM policies WHERE scope = 'agent' AND target = ?1) AS known`,
        agent,
      )
      .one();
    return known === 1;
  }

  closeSession(session: SessionId): void {
    this.#sql.exec("UPDATE sessions SET closed = 1 WHERE id = ?", session);
  }

  /** The session may grant a client lease that runs until then. */
  admitClientLease(session: SessionId, until: Instant): void {
    this.#sql.exec("UPDATE sessions SET client_leases_until = ? WHERE id = ? AND client_leases_until < ?", until, session, until);
  }

  /** Sessions whose lease still runs, and those that granted client leases which still run: they, or whoever holds one, act on what they were last told. */
  leasedSessions(now: Instant, clientLeasesAt: Instant): readonly LeasedSession[] {
    // Ids were parsed at the door before they were written; the same holds for the casts below.
    return this.#sql
      .exec<{ id: string; agent: string; lease_ends_at: number; client_leases_until: number }>(
        // SQLite begins where the first of two bounds says; the plus keeps it from looking up all leases that have ended.
        `SELECT id, agent, lease_ends_at, client_leases_until FROM sessions WHERE lease_ends_at > ?1
         UNION ALL SELECT id, agent, lease_ends_at, client_leases_until FROM sessions
           WHERE client_leases_until > ?2 AND client_leases_until > 0 AND +lease_ends_at <= ?1`,
        now,
        clientLeasesAt,
      )
      .toArray()
      .map(({ id, agent, lease_ends_at, client_leases_until }) => ({
        id: id as SessionId,
        agent,
        leaseEndsAt: lease_ends_at,
        clientLeasesUntil: client_leases_until,
      }));
  }

  liveSessions(now: Instant, most: number): readonly SessionId[] {
    const rows = this.#sql.exec<{ id: string }>(
      "SELECT id FROM sessions WHERE lease_ends_at > ? ORDER BY lease_ends_at DESC LIMIT ?",
      now - LATELY_MS,
      most,
    );
    return rows.toArray().map(({ id }) => id as SessionId);
  }

  /** Newest first. */
  listSessions(page: PageQuery, agent: string | null, now: Instant): Result<PageOf<SessionRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.time);
    if (!cursor.ok) return cursor;
    const [at, id] = cursor.value ?? END_OF_TIME;
    const rows = this.#sql
      .exec<{ id: string; agent: string; labels: string; opened_at: number; expires_at: number; closed: number }>(
        `SELECT id, agent, labels, opened_at, expires_at, closed FROM sessions
         WHERE (opened_at, id) < (?1, ?2) ${agent === null ? "" : "AND agent = ?4"} ORDER BY opened_at DESC, id DESC LIMIT ?3`,
        Number(at),
        id,
        page.limit + 1,
        ...(agent === null ? [] : [agent]),
      )
      .toArray();
    const listed = pageOf(
      rows,
      page,
      (row) => `${row.opened_at}.${row.id}`,
      (row): SessionRow => ({
        id: row.id as SessionId,
        agent: row.agent,
        labels: JSON.parse(row.labels) as SessionRow["labels"],
        state: row.closed === 1 ? "closed" : now >= row.expires_at ? "expired" : "active",
        openedAt: row.opened_at,
        expiresAt: row.expires_at,
      }),
    );
    return ok(listed);
  }

  // Policies

  /** Not one that was deleted. */
  findPolicy(name: string): PolicyRow | null {
    const known = this.findPolicyEver(name);
    return known === null || known.deleted ? null : known;
  }

  /** Also one that was deleted, and stands where it stood then. */
  findPolicyEver(name: string): (PolicyRow & { readonly deleted: boolean }) | null {
    const row = this.#sql.exec<PolicyStored>(`${POLICY} WHERE p.name = ?`, name).toArray()[0];
    return row === undefined ? null : { ...policyRowOf(row), deleted: row.deleted === 1 };
  }

  /** By name. */
  listPolicies(page: PageQuery): Result<PageOf<PolicyRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.name);
    if (!cursor.ok) return cursor;
    const [after] = cursor.value ?? [""];
    const rows = this.#sql
      .exec<PolicyStored>(`${POLICY} WHERE p.deleted = 0 AND p.name > ? ORDER BY p.name LIMIT ?`, after, page.limit + 1)
      .toArray();
    return ok(pageOf(rows, page, (row) => `after.${row.name}`, policyRowOf));
  }

  /** The highest version a name ever had, also when the policy was deleted since: versions are never given twice. */
  latestVersion(name: string): number {
    return this.#sql.exec<{ latest_version: number }>("SELECT latest_version FROM policies WHERE name = ?", name).toArray()[0]?.latest_version ?? 0;
  }

  writeVersion(put: PutPolicy, version: number, createdBy: string, now: Instant): void {
    this.#sql.exec(
      "INSERT INTO policy_versions (name, version, digest, document, format, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?, ?)",
      put.name,
      version,
      put.digest,
      JSON.stringify(put.document),
      put.format,
      now,
      createdBy,
    );
    this.#sql.exec("INSERT INTO policy_texts (name, version, text) VALUES (?, ?, ?)", put.name, version, put.text);
  }

  /** Points a name at its scope, its newest version and the one in force. */
  pointPolicy(name: string, scope: PolicyRow["scope"], target: string | null, latest: number, active: number | null, now: Instant): void {
    this.#sql.exec(
      `INSERT INTO policies (name, scope, target, active_version, latest_version, updated_at, deleted) VALUES (?, ?, ?, ?, ?, ?, 0)
       ON CONFLICT (name) DO UPDATE SET scope = excluded.scope, target = excluded.target, active_version = excluded.active_version,
         latest_version = excluded.latest_version, updated_at = excluded.updated_at, deleted = 0`,
      name,
      scope,
      target,
      active,
      latest,
      now,
    );
  }

  /** Takes a policy out of force and out of sight. Its versions are kept: what was decided under them can be recomputed, and each can be brought back. */
  deletePolicy(name: string, now: Instant): void {
    this.#sql.exec("UPDATE policies SET deleted = 1, active_version = NULL, updated_at = ? WHERE name = ?", now, name);
  }

  /** Also of a policy that was deleted. */
  readVersion(name: string, version: number): PolicyRead | null {
    const row = this.#sql
      .exec<VersionStored & { scope: string; target: string | null; document: string; text: string; format: string }>(
        `SELECT v.*, t.text, p.scope, p.target, p.active_version FROM policy_versions v
         JOIN policies p ON p.name = v.name JOIN policy_texts t ON t.name = v.name AND t.version = v.version
         WHERE v.name = ? AND v.version = ?`,
        name,
        version,
      )
      .toArray()[0];
    if (row === undefined) return null;
    return {
      ...versionRowOf(row),
      scope: row.scope as PolicyRow["scope"],
      target: row.target,
      document: JSON.parse(row.document) as JsonValue,
      text: row.text,
      format: row.format as PolicyRead["format"],
    };
  }

  /** Newest first; also of a policy that was deleted. */
  listVersions(name: string, page: PageQuery): Result<PageOf<PolicyVersionRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.version);
    if (!cursor.ok) return cursor;
    const [before] = cursor.value ?? [Number.MAX_SAFE_INTEGER];
    const rows = this.#sql
      .exec<VersionStored>(
        `SELECT v.name, v.version, v.digest, v.created_at, v.created_by, p.active_version FROM policy_versions v JOIN policies p ON p.name = v.name
         WHERE v.name = ? AND v.version < ? ORDER BY v.version DESC LIMIT ?`,
        name,
        Number(before),
        page.limit + 1,
      )
      .toArray();
    return ok(pageOf(rows, page, (row) => `before.${row.version}`, versionRowOf));
  }

  /** Which versions are in force for an agent (`null`: for any), the tenant's layer before the agent's. */
  activeVersions(agent: string | null): readonly (readonly [name: string, version: number])[] {
    return this.#sql
      .exec<{ name: string; active_version: number }>(
        `SELECT p.name, p.active_version FROM policies p
         WHERE p.deleted = 0 AND p.active_version IS NOT NULL AND (p.scope = 'tenant' OR p.target = ?) ORDER BY p.scope = 'agent', p.name`,
        agent,
      )
      .toArray()
      .map(({ name, active_version }) => [name, active_version]);
  }

  /** Which versions are in force for one agent or another. */
  activeVersionsOfAgents(): readonly (readonly [name: string, version: number])[] {
    return this.#sql
      .exec<{ name: string; active_version: number }>(
        "SELECT name, active_version FROM policies WHERE deleted = 0 AND active_version IS NOT NULL AND scope = 'agent' ORDER BY name",
      )
      .toArray()
      .map(({ name, active_version }) => [name, active_version]);
  }

  /**
   * The detectors that a version names, looked up where it is stored: a document may be large. `null`: it names none; `undefined`: there is no such
   * version, or it names something else.
   */
  detectorsOf(name: string, version: number): readonly Detector[] | null | undefined {
    const row = this.#sql
      .exec<{ detect: string | null }>(
        "SELECT document -> '$.redact.detect' AS detect FROM policy_versions WHERE name = ? AND version = ?",
        name,
        version,
      )
      .toArray()[0];
    if (row === undefined) return undefined;
    if (row.detect === null) return null;
    const named: unknown = JSON.parse(row.detect);
    return Array.isArray(named) && named.every((each) => DETECTORS.includes(each)) ? named : undefined;
  }

  // Entities

  findEntity({ type, id }: EntityRef): EntityRow | null {
    const row = this.#sql.exec<EntityStored>("SELECT * FROM entities WHERE type = ? AND id = ?", type, id).toArray()[0];
    return row === undefined ? null : entityRowOf(row);
  }

  /** Stores an entity in place of what was there. It keeps its place in the list. */
  writeEntity({ type, id, properties, updatedAt, updatedBy }: EntityRow): void {
    this.#sql.exec(
      `INSERT INTO entities (type, id, properties, updated_at, updated_by) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (type, id) DO UPDATE SET properties = excluded.properties, updated_at = excluded.updated_at, updated_by = excluded.updated_by`,
      type,
      id,
      canonicalJson(properties),
      updatedAt,
      updatedBy,
    );
  }

  deleteEntity({ type, id }: EntityRef): void {
    this.#sql.exec("DELETE FROM entities WHERE type = ? AND id = ?", type, id);
  }

  /** Newest first by when an entity was first stored: what changes while somebody pages through does not move. A page of large ones ends early. */
  listEntities(page: PageQuery, type: string | null): Result<PageOf<EntityRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.place);
    if (!cursor.ok) return cursor;
    const [before] = cursor.value ?? [Number.MAX_SAFE_INTEGER];
    const found = this.#sql.exec<EntityStored>(
      `SELECT * FROM entities WHERE place < ? ${type === null ? "" : "AND type = ?"} ORDER BY place DESC LIMIT ?`,
      ...[Number(before), ...(type === null ? [] : [type]), page.limit + 1],
    );
    const items: EntityRow[] = [];
    let characters = 0;
    let last = 0;
    for (const row of found) {
      characters += row.properties.length;
      if (items.length === page.limit || (items.length > 0 && characters > MOST_PAGE_CHARACTERS)) return ok({ items, nextCursor: `place.${last}` });
      items.push(entityRowOf(row));
      last = row.place;
    }
    return ok({ items, nextCursor: null });
  }

  // Tokens

  findToken(id: TokenId): (TokenRow & { readonly fingerprint: string }) | null {
    const row = this.#sql.exec<TokenStored>("SELECT * FROM tokens WHERE id = ?", id).toArray()[0];
    return row === undefined ? null : { ...tokenRowOf(row), fingerprint: row.fingerprint };
  }

  writeToken(token: TokenRecord, fingerprint: string): void {
    this.#sql.exec(
      "INSERT INTO tokens (id, fingerprint, subject, kind, scopes, issued_at, expires_at, approval) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      token.id,
      fingerprint,
      token.subject,
      token.kind,
      token.scopes.join(" "),
      token.issuedAt,
      token.expiresAt,
      token.approval ?? null,
    );
  }

  revokeToken(id: TokenId, now: Instant): void {
    this.#sql.exec("UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", now, id);
  }

  /** Revoked tokens that would otherwise still be good where a session alone looks at them. A link is not: the tenant is asked at its every use. */
  revokedTokens(now: Instant): readonly TokenId[] {
    const rows = this.#sql.exec<{ id: string }>(
      "SELECT id FROM tokens WHERE revoked_at IS NOT NULL AND expires_at > ? AND approval IS NULL",
      now - CLOCKS_APART_MS,
    );
    return rows.toArray().map(({ id }) => id as TokenId);
  }

  /** Newest first. */
  listTokens(page: PageQuery): Result<PageOf<TokenRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.time);
    if (!cursor.ok) return cursor;
    const [at, id] = cursor.value ?? END_OF_TIME;
    const rows = this.#sql
      .exec<TokenStored>(
        "SELECT * FROM tokens WHERE (issued_at, id) < (?, ?) ORDER BY issued_at DESC, id DESC LIMIT ?",
        Number(at),
        id,
        page.limit + 1,
      )
      .toArray();
    return ok(pageOf(rows, page, (row) => `${row.issued_at}.${row.id}`, tokenRowOf));
  }
}

/** A token counts as revoked a little beyond its end: the clock that finds it expired may be another one. */
const CLOCKS_APART_MS = 60_000;
/** A session whose lease ended this recently may still hold entries that its ledger has not. */
const LATELY_MS = 60_000;
/** A page of entities has so many characters of properties at most: it has to fit into one answer of the object. */
const MOST_PAGE_CHARACTERS = 4_000_000;
/** Later than every row: where the first page of a list in the order of time begins. */
const END_OF_TIME = [String(Number.MAX_SAFE_INTEGER), "~"] as const;

const POLICY = `SELECT p.*, v.digest FROM policies p JOIN policy_versions v ON v.name = p.name AND v.version = COALESCE(p.active_version, p.latest_version)`;

type PolicyStored = {
  name: string;
  scope: string;
  target: string | null;
  active_version: number | null;
  latest_version: number;
  updated_at: number;
  deleted: number;
  digest: string;
};

type VersionStored = {
  name: string;
  version: number;
  digest: string;
  created_at: number;
  created_by: string;
  active_version: number | null;
};

type EntityStored = { place: number; type: string; id: string; properties: string; updated_at: number; updated_by: string };

type TokenStored = {
  id: string;
  fingerprint: string;
  subject: string;
  kind: string;
  scopes: string;
  issued_at: number;
  expires_at: number;
  revoked_at: number | null;
  approval: string | null;
};

const policyRowOf = (row: PolicyStored): PolicyRow => ({
  name: row.name,
  scope: row.scope as PolicyRow["scope"],
  target: row.target,
  activeVersion: row.active_version,
  latestVersion: row.latest_version,
  digest: row.digest as Digest,
  updatedAt: row.updated_at,
});

const versionRowOf = (row: VersionStored): PolicyVersionRow => ({
  name: row.name,
  version: row.version,
  digest: row.digest as Digest,
  active: row.version === row.active_version,
  createdAt: row.created_at,
  createdBy: row.created_by,
});

const entityRowOf = ({ type, id, properties, updated_at, updated_by }: EntityStored): EntityRow => ({
  type,
  id,
  // Our own text, written by `writeEntity` above.
  properties: JSON.parse(properties) as EntityRow["properties"],
  updatedAt: updated_at,
  updatedBy: updated_by,
});

const tokenRowOf = (row: TokenStored): TokenRow => ({
  id: row.id as TokenId,
  subject: row.subject,
  kind: row.kind as TokenRow["kind"],
  scopes: row.scopes.split(" ").filter((scope) => scope !== "") as Scope[],
  issuedAt: row.issued_at,
  expiresAt: row.expires_at,
  revokedAt: row.revoked_at,
  ...(row.approval !== null && { approval: row.approval as ApprovalId }),
});

/** Cuts one row more than was asked for into a page and the cursor of the next. */
function pageOf<Row, Item>(rows: readonly Row[], page: PageQuery, cursorOf: (row: Row) => string, itemOf: (row: Row) => Item): PageOf<Item> {
  const shown = rows.slice(0, page.limit);
  const last = shown.at(-1);
  return { items: shown.map(itemOf), nextCursor: rows.length > page.limit && last !== undefined ? cursorOf(last) : null };
}
