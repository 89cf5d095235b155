import { assert } from "../core/assert.ts";
import type { LedgerEvent, Place } from "../core/events.ts";
import type { DeliveryId, WebhookId } from "../core/ids.ts";
import type { JsonValue } from "../core/json.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { Outcome } from "../core/webhooks.ts";
import type { DeliveryRow, DeliveryStatus, PageOf, PageQuery, WebhookNote, WebhookRow } from "../flow/ports.ts";

/** A webhook as it is kept: what people see of it, and where it stands in the ledger. */
export interface KeptWebhook extends WebhookRow {
  readonly fingerprint: string;
  /** The next event it is told is this one, or a later one. */
  readonly next: Place;
}

/** A secret as a request made it. `secret`: `null` once it signs no longer. */
export interface KeptSecret {
  readonly webhook: WebhookId;
  readonly fingerprint: string;
  readonly secret: string | null;
  readonly createdAt: Instant;
}

/** What an attempt takes of its delivery. */
export interface Claimed {
  readonly id: DeliveryId;
  readonly body: string;
  readonly attempts: number;
}

/** An event that a webhook wants, as it will be sent. */
export interface Addressed {
  readonly id: DeliveryId;
  readonly event: LedgerEvent;
  readonly body: string;
}

/**
 * The tables of one tenant's webhooks. Every method is synchronous, so that a caller can put several into one transaction. The tables are made by the
 * first webhook: asking a tenant that has none leaves nothing behind.
 */
export class WebhookStore {
  readonly #sql: SqlStorage;
  #hasTables = false;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  // Webhooks

  find(id: WebhookId): KeptWebhook | null {
    if (!this.#tablesExist()) return null;
    const row = this.#sql.exec<WebhookStored>(`SELECT ${WEBHOOK} FROM webhooks WHERE id = ? AND deleted_at IS NULL`, id).toArray()[0];
    return row === undefined ? null : keptOf(row);
  }

  /** Those to which something may be sent. */
  active(): readonly KeptWebhook[] {
    if (!this.#tablesExist()) return [];
    return this.#sql
      .exec<WebhookStored>(`SELECT ${WEBHOOK} FROM webhooks WHERE deleted_at IS NULL AND disabled_at IS NULL ORDER BY place`)
      .toArray()
      .map(keptOf);
  }

  count(): number {
    if (!this.#tablesExist()) return 0;
    return this.#sql.exec<{ count: number }>("SELECT COUNT(*) AS count FROM webhooks WHERE deleted_at IS NULL").one().count;
  }

  /** Newest first. */
  list(page: PageQuery): Result<PageOf<WebhookRow>, Refusal> {
    const before = placeOfCursor(page.cursor);
    if (!before.ok) return before;
    if (!this.#tablesExist()) return ok({ items: [], nextCursor: null });
    const rows = this.#sql
      .exec<WebhookStored>(
        `SELECT ${WEBHOOK} FROM webhooks WHERE deleted_at IS NULL AND place < ? ORDER BY place DESC LIMIT ?`,
        before.value,
        page.limit + 1,
      )
      .toArray();
    return ok(pageOf(rows, page.limit, keptOf));
  }

  create(webhook: Pick<KeptWebhook, "id" | "fingerprint" | "url" | "events" | "createdAt" | "createdBy" | "next">): void {
    this.#makeTables();
    const { id, fingerprint, url, events, createdAt, createdBy, next } = webhook;
    this.#sql.exec(
      "INSERT INTO webhooks (id, fingerprint, url, events, created_at, created_by, next_index, next_part) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      id,
      fingerprint,
      url,
      JSON.stringify(events),
      createdAt,
      createdBy,
      next.index,
      next.part,
    );
  }

  /** Whether there was a webhook of this id that was deleted: its id is not given again. */
  wasDeleted(id: WebhookId): boolean {
    return this.#tablesExist() && this.#sql.exec("SELECT 1 FROM webhooks WHERE id = ? AND deleted_at IS NOT NULL", id).toArray().length > 0;
  }

  /** Nothing is left of it but its id. */
  delete(id: WebhookId, now: Instant): void {
    this.#sql.exec("UPDATE webhooks SET deleted_at = ?, url = '', events = '[]' WHERE id = ?", now, id);
    this.#sql.exec("DELETE FROM secrets WHERE webhook = ?", id);
    this.#sql.exec("DELETE FROM deliveries WHERE webhook = ?", id);
  }

  moveTo(id: WebhookId, next: Place): void {
    this.#sql.exec("UPDATE webhooks SET next_index = ?, next_part = ? WHERE id = ?", next.index, next.part, id);
  }

  /** Whatever stopped it is over: what waits is due now. */
  resume(id: WebhookId, now: Instant): void {
    this.#sql.exec("UPDATE webhooks SET failing_since = NULL, disabled_at = NULL, disabled_why = NULL WHERE id = ?", id);
    this.#sql.exec("UPDATE deliveries SET next_at = ? WHERE webhook = ? AND status = 'pending'", now, id);
  }

  noteFailing(id: WebhookId, since: Instant | null): void {
    this.#sql.exec("UPDATE webhooks SET failing_since = ? WHERE id = ?", since, id);
  }

  disable(id: WebhookId, now: Instant, why: "gone" | "failing"): void {
    this.#sql.exec("UPDATE webhooks SET disabled_at = ?, disabled_why = ? WHERE id = ?", now, why, id);
  }

  // Secrets

  findSecret(request: string): KeptSecret | null {
    if (!this.#tablesExist()) return null;
    const row = this.#sql
      .exec<{ webhook: string; fingerprint: string; secret: string | null; created_at: number }>(
        "SELECT webhook, fingerprint, secret, created_at FROM secrets WHERE request = ?",
        request,
      )
      .toArray()[0];
    if (row === undefined) return null;
    // Written below, from an id.
    return { webhook: row.webhook as WebhookId, fingerprint: row.fingerprint, secret: row.secret, createdAt: row.created_at };
  }

  /** Signs from now on. Those before it sign beside it for a while. */
  addSecret(request: string, { webhook, fingerprint, secret, createdAt }: KeptSecret, oldUntil: Instant): void {
    this.#sql.exec("UPDATE secrets SET signs_until = ? WHERE webhook = ? AND signs_until IS NULL", oldUntil, webhook);
    this.#sql.exec(
      "INSERT INTO secrets (request, webhook, fingerprint, secret, created_at) VALUES (?, ?, ?, ?, ?)",
      request,
      webhook,
      fingerprint,
      secret,
      createdAt,
    );
  }

  /** The newest first. */
  signingSecrets(webhook: WebhookId, now: Instant): readonly string[] {
    return this.#sql
      .exec<{ secret: string }>(
        "SELECT secret FROM secrets WHERE webhook = ? AND secret IS NOT NULL AND (signs_until IS NULL OR signs_until > ?) ORDER BY signs_until IS NULL DESC, signs_until DESC, created_at DESC",
        webhook,
        now,
      )
      .toArray()
      .map(({ secret }) => secret);
  }

  // Deliveries

  pendingOf(webhook: WebhookId): number {
    return this.#sql.exec<{ count: number }>("SELECT COUNT(*) AS count FROM deliveries WHERE webhook = ? AND status = 'pending'", webhook).one()
      .count;
  }

  /** One more delivery that is due now. The same one again is sent again: its webhook was set back to before it. */
  add(webhook: WebhookId, { id, event, body }: Addressed, now: Instant): void {
    this.#sql.exec(
      `INSERT INTO deliveries (id, webhook, event, type, body, status, attempts, created_at, next_at) VALUES (?, ?, ?, ?, ?, 'pending', 0, ?, ?)
       ON CONFLICT (id) DO UPDATE SET status = 'pending', attempts = 0, next_at = excluded.next_at, ended_at = NULL`,
      id,
      webhook,
      event.id,
      event.type,
      body,
      now,
      now,
    );
  }

  /** Takes what is due, the longest due first, for an attempt each. Should nothing be heard of an attempt, its delivery is due again `until`. */
  claim(webhook: WebhookId, now: Instant, most: number, until: Instant): readonly Claimed[] {
    const due = this.#sql
      .exec<{ id: string; body: string; attempts: number }>(
        "SELECT id, body, attempts + 1 AS attempts FROM deliveries WHERE webhook = ? AND status = 'pending' AND next_at <= ? ORDER BY next_at, place LIMIT ?",
        webhook,
        now,
        most,
      )
      .toArray();
    for (const { id } of due) this.#sql.exec("UPDATE deliveries SET attempts = attempts + 1, last_at = ?, next_at = ? WHERE id = ?", now, until, id);
    // Written by `add`, from ids.
    return due.map(({ id, body, attempts }) => ({ id: id as DeliveryId, body, attempts }));
  }

  /** Writes down what came of an attempt. What was settled meanwhile, or is there no longer, stays as it is. */
  settle(id: DeliveryId, outcome: Outcome, now: Instant): void {
    const error = outcome.kind === "delivered" ? null : outcome.error;
    const nextAt = outcome.kind === "delivered" ? null : outcome.retryAt;
    const status: DeliveryStatus = outcome.kind === "delivered" ? "delivered" : nextAt === null ? "dead" : "pending";
    this.#sql.exec(
      "UPDATE deliveries SET status = ?, next_at = ?, last_status = ?, last_error = ?, ended_at = ? WHERE id = ? AND status = 'pending'",
      status,
      nextAt,
      outcome.status,
      error,
      status === "pending" ? null : now,
      id,
    );
  }

  findDelivery(webhook: WebhookId, id: DeliveryId): DeliveryRow | null {
    if (!this.#tablesExist()) return null;
    const row = this.#sql.exec<DeliveryStored>(`SELECT ${DELIVERY} FROM deliveries WHERE webhook = ? AND id = ?`, webhook, id).toArray()[0];
    return row === undefined ? null : deliveryOf(row);
  }

  /** Sends it again, from now: from its first attempt where it had ended. */
  requeue(id: DeliveryId, now: Instant): void {
    this.#sql.exec(
      "UPDATE deliveries SET attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END, status = 'pending', next_at = ?, ended_at = NULL WHERE id = ?",
      now,
      id,
    );
  }

  /** Newest first. */
  listDeliveries(webhook: WebhookId, status: DeliveryStatus | null, page: PageQuery): Result<PageOf<DeliveryRow>, Refusal> {
    const before = placeOfCursor(page.cursor);
    if (!before.ok) return before;
    const rows = this.#sql
      .exec<DeliveryStored>(
        `SELECT ${DELIVERY} FROM deliveries WHERE webhook = ? AND place < ? ${status === null ? "" : "AND status = ?"} ORDER BY place DESC LIMIT ?`,
        ...[webhook, before.value, ...(status === null ? [] : [status]), page.limit + 1],
      )
      .toArray();
    return ok(pageOf(rows, page.limit, deliveryOf));
  }

  /** When something of a webhook is due next; `null`: nothing waits. */
  nextDue(webhook: WebhookId): Instant | null {
    return this.#sql.exec<{ at: number | null }>("SELECT MIN(next_at) AS at FROM deliveries WHERE webhook = ? AND status = 'pending'", webhook).one()
      .at;
  }

  /** Forgets what ended before then, what was delivered before the latest so many of its webhook, and the text of secrets that sign no longer. */
  forget(now: Instant, endedBefore: Instant, mostDelivered: number): void {
    if (!this.#tablesExist()) return;
    this.#sql.exec("UPDATE secrets SET secret = NULL WHERE signs_until <= ? AND secret IS NOT NULL", now);
    this.#sql.exec("DELETE FROM deliveries WHERE ended_at < ?", endedBefore);
    for (const { id } of this.#sql.exec<{ id: string }>("SELECT id FROM webhooks WHERE deleted_at IS NULL").toArray())
      this.#sql.exec(
        `DELETE FROM deliveries WHERE webhook = ?1 AND status = 'delivered' AND place <=
           (SELECT place FROM deliveries WHERE webhook = ?1 AND status = 'delivered' ORDER BY place DESC LIMIT 1 OFFSET ?2)`,
        id,
        mostDelivered,
      );
  }

  // Notes

  /** What the tenant is to put on record, in the transaction around it. */
  addNote(principal: Principal | null, details: { readonly [key: string]: JsonValue }): void {
    this.#sql.exec(
      "INSERT INTO notes (principal, details) VALUES (?, ?)",
      principal === null ? null : JSON.stringify(principal),
      JSON.stringify(details),
    );
  }

  notes(): readonly WebhookNote[] {
    if (!this.#tablesExist()) return [];
    return this.#sql
      .exec<{ seq: number; principal: string | null; details: string }>("SELECT seq, principal, details FROM notes ORDER BY seq LIMIT 100")
      .toArray()
      .map(({ seq, principal, details }) => ({
        seq,
        // Our own texts, written above.
        principal: principal === null ? null : (JSON.parse(principal) as Principal),
        details: JSON.parse(details) as WebhookNote["details"],
      }));
  }

  dropNotes(through: number): void {
    this.#sql.exec("DELETE FROM notes WHERE seq <= ?", through);
  }

  #tablesExist(): boolean {
    this.#hasTables ||= this.#sql.exec("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'").toArray().length > 0;
    return this.#hasTables;
  }

  #makeTables(): void {
    if (this.#tablesExist()) return;
    this.#sql.exec(TABLES);
    // Remembered only by the next look: this transaction may still be rolled back.
  }
}

/** The rows of one page out of one more than fit. */
function pageOf<S extends { readonly place: number }, T>(rows: readonly S[], limit: number, rowOf: (stored: S) => T): PageOf<T> {
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { items: shown.map(rowOf), nextCursor: rows.length > limit && last !== undefined ? `place.${last.place}` : null };
}

function placeOfCursor(cursor: string | null): Result<number, Refusal> {
  if (cursor === null) return ok(Number.MAX_SAFE_INTEGER);
  const place = /^place\.(\d{1,15})$/.exec(cursor)?.[1];
  if (place !== undefined) return ok(Number(place));
  const issue = { pointer: "/cursor", message: "wanted the next_cursor of an earlier page" };
  return err(refusal("body_invalid", "The query is not valid: the cursor is none of this list.", [issue]));
}

const WEBHOOK = `place, id, fingerprint, url, events, created_at, created_by, next_index, next_part, failing_since, disabled_at, disabled_why,
  (SELECT MAX(signs_until) FROM secrets WHERE secrets.webhook = webhooks.id AND secret IS NOT NULL) AS old_secrets_until`;

type WebhookStored = {
  place: number;
  id: string;
  fingerprint: string;
  url: string;
  events: string;
  created_at: number;
  created_by: string;
  next_index: number;
  next_part: number;
  failing_since: number | null;
  disabled_at: number | null;
  disabled_why: string | null;
  old_secrets_until: number | null;
};

function keptOf(row: WebhookStored): KeptWebhook {
  const { disabled_at: at, disabled_why: why } = row;
  assert(why === null || why === "gone" || why === "failing", "the table knows two ways of being disabled");
  return {
    // Our own values, written above.
    id: row.id as WebhookId,
    events: JSON.parse(row.events) as readonly string[],
    fingerprint: row.fingerprint,
    url: row.url,
    createdAt: row.created_at,
    createdBy: row.created_by,
    next: { index: row.next_index, part: row.next_part },
    failingSince: row.failing_since,
    disabled: at === null || why === null ? null : { at, why },
    oldSecretsUntil: row.old_secrets_until,
  };
}

const DELIVERY = "place, id, webhook, event, type, status, attempts, created_at, next_at, last_at, last_status, last_error";

type DeliveryStored = {
  place: number;
  id: string;
  webhook: string;
  event: string;
  type: string;
  status: string;
  attempts: number;
  created_at: number;
  next_at: number | null;
  last_at: number | null;
  last_status: number | null;
  last_error: string | null;
};

const deliveryOf = (row: DeliveryStored): DeliveryRow => ({
  // Our own values, written above; the table knows three states.
  id: row.id as DeliveryId,
  webhook: row.webhook as WebhookId,
  status: row.status as DeliveryStatus,
  event: row.event,
  type: row.type,
  attempts: row.attempts,
  createdAt: row.created_at,
  nextAt: row.next_at,
  lastAt: row.last_at,
  lastStatus: row.last_status,
  lastError: row.last_error,
});

/** Version 1. A later version adds its steps here, and runs those that `schema_version` does not have yet. */
const TABLES = `
CREATE TABLE schema_version (version INTEGER PRIMARY KEY CHECK (version >= 1)) STRICT;
INSERT INTO schema_version (version) VALUES (1);

CREATE TABLE webhooks (
  place INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  fingerprint TEXT NOT NULL,
  url TEXT NOT NULL,
  events TEXT NOT NULL CHECK (json_valid(events)),
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  created_by TEXT NOT NULL,
  next_index INTEGER NOT NULL CHECK (next_index >= 0),
  next_part INTEGER NOT NULL CHECK (next_part >= 0),
  failing_since INTEGER CHECK (failing_since >= 0),
  disabled_at INTEGER CHECK (disabled_at >= 0),
  disabled_why TEXT CHECK (disabled_why IN ('gone', 'failing')),
  deleted_at INTEGER CHECK (deleted_at >= 0),
  CHECK ((disabled_at IS NULL) = (disabled_why IS NULL))
) STRICT;

CREATE TABLE secrets (
  request TEXT PRIMARY KEY,
  webhook TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  secret TEXT CHECK (secret LIKE 'whsec_%'),
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  signs_until INTEGER CHECK (signs_until >= 0),
  CHECK (secret IS NOT NULL OR signs_until IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_by_webhook ON secrets (webhook);

CREATE TABLE deliveries (
  place INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  webhook TEXT NOT NULL,
  event TEXT NOT NULL,
  type TEXT NOT NULL,
  body TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('pending', 'delivered', 'dead')),
  attempts INTEGER NOT NULL CHECK (attempts >= 0),
  created_at INTEGER NOT NULL CHECK (created_at >= 0),
  next_at INTEGER CHECK (next_at >= 0),
  last_at INTEGER CHECK (last_at >= 0),
  last_status INTEGER CHECK (last_status >= 0),
  last_error TEXT,
  ended_at INTEGER CHECK (ended_at >= 0),
  CHECK ((status = 'pending') = (next_at IS NOT NULL)),
  CHECK ((status = 'pending') = (ended_at IS NULL))
) STRICT;
CREATE INDEX due ON deliveries (webhook, next_at) WHERE status = 'pending';
CREATE INDEX listed ON deliveries (webhook, status, place);
CREATE INDEX ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE notes (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  principal TEXT CHECK (json_valid(principal)),
  details TEXT NOT NULL CHECK (json_valid(details))
) STRICT;
`;
