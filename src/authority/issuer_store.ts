import type { TokenId } from "../core/ids.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import { type IssuerRow, MOST_FOREIGN_LIFE_MS, type PageOf, type PageQuery } from "../flow/ports.ts";
import { CURSORS, parseCursor } from "./cursor.ts";

/** The tables of a tenant's own issuers. A version is never given twice under one name: what was deleted keeps its number. */
export const ISSUER_TABLES = `
  CREATE TABLE issuers (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL CHECK (version > 0),
    wish TEXT CHECK (json_valid(wish)),
    updated_at INTEGER NOT NULL CHECK (updated_at >= 0),
    updated_by TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE revoked_foreign (
    id TEXT PRIMARY KEY,
    revoked_at INTEGER NOT NULL CHECK (revoked_at >= 0)
  ) STRICT, WITHOUT ROWID;
`;

/** What a tenant's object keeps of issuers of its own, and of their tokens that somebody revoked. Every write is inside the caller's transaction. */
export class IssuerStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  find(name: string): IssuerRow | null {
    const row = this.#sql.exec<IssuerStored>("SELECT * FROM issuers WHERE name = ? AND wish IS NOT NULL", name).toArray()[0];
    return row === undefined ? null : rowOf(row);
  }

  /** The version that the next change under a name gets. */
  nextVersion(name: string): number {
    return (this.#sql.exec<{ version: number }>("SELECT version FROM issuers WHERE name = ?", name).toArray()[0]?.version ?? 0) + 1;
  }

  write({ name, version, updatedAt, updatedBy, ...wish }: IssuerRow): void {
    this.#sql.exec(
      `INSERT INTO issuers (name, version, wish, updated_at, updated_by) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET version = excluded.version, wish = excluded.wish, updated_at = excluded.updated_at, updated_by = excluded.updated_by`,
      name,
      version,
      JSON.stringify(wish),
      updatedAt,
      updatedBy,
    );
  }

  delete(name: string, now: Instant): void {
    this.#sql.exec("UPDATE issuers SET wish = NULL, version = version + 1, updated_at = ? WHERE name = ?", now, name);
  }

  /** By name. */
  list(page: PageQuery): Result<PageOf<IssuerRow>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.name);
    if (!cursor.ok) return cursor;
    const rows = this.#sql
      .exec<IssuerStored>("SELECT * FROM issuers WHERE wish IS NOT NULL AND name > ? ORDER BY name LIMIT ?", cursor.value?.[0] ?? "", page.limit + 1)
      .toArray();
    const items = rows.slice(0, page.limit).map(rowOf);
    const last = items.at(-1);
    return ok({ items, nextCursor: rows.length > page.limit && last !== undefined ? `after.${last.name}` : null });
  }

  /** Registrations that vouch, as leases name them. */
  inForce(): readonly string[] {
    return this.#sql
      .exec<{ name: string; version: number }>("SELECT name, version FROM issuers WHERE wish IS NOT NULL")
      .toArray()
      .map(({ name, version }) => `${name}#${version}`);
  }

  count(): number {
    return this.#sql.exec<{ count: number }>("SELECT COUNT(*) AS count FROM issuers WHERE wish IS NOT NULL").one().count;
  }

  /**
   * Whether one more can be revoked: refuses the one too many with `body_invalid`. What was revoked so long ago that no token of then can still be good
   * is forgotten first.
   */
  roomToRevoke(id: TokenId, now: Instant): Result<null, Refusal> {
    this.#sql.exec("DELETE FROM revoked_foreign WHERE revoked_at <= ?", now - KEPT_MS);
    const { others } = this.#sql.exec<{ others: number }>("SELECT COUNT(*) AS others FROM revoked_foreign WHERE id <> ?", id).one();
    return others < MOST_REVOKED ? ok(null) : err(TOO_MANY_REVOKED);
  }

  /** Answers whether it was not revoked before. */
  revoke(id: TokenId, now: Instant): boolean {
    return (
      this.#sql.exec("INSERT INTO revoked_foreign (id, revoked_at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING id", id, now).toArray().length > 0
    );
  }

  isRevoked(id: TokenId): boolean {
    return this.#sql.exec("SELECT 1 FROM revoked_foreign WHERE id = ?", id).toArray().length > 0;
  }

  /** What leases name. Of tokens that this gateway did not make nobody here knows when they end, only how long they may live. */
  revoked(now: Instant): readonly TokenId[] {
    return this.#sql
      .exec<{ id: string }>("SELECT id FROM revoked_foreign WHERE revoked_at > ?", now - KEPT_MS)
      .toArray()
      .map(({ id }) => id as TokenId);
  }
}

/** A token counts as revoked a little beyond its longest life: who lets it in looks at another clock. */
const KEPT_MS = MOST_FOREIGN_LIFE_MS + 60_000;

/** Most tokens that are revoked at one time: every lease names them all. */
const MOST_REVOKED = 1_000;

const TOO_MANY_REVOKED = refusal(
  "body_invalid",
  `At most ${MOST_REVOKED} tokens of the tenant's own issuers are revoked one by one, each for ${MOST_FOREIGN_LIFE_MS / 86_400_000} days. Let the issuer sign with other keys and register it with those alone: then none of its tokens of before is good.`,
  [{ pointer: "/token", message: `found ${MOST_REVOKED} that are revoked; wanted fewer` }],
);

type IssuerStored = { name: string; version: number; wish: string; updated_at: number; updated_by: string };

const rowOf = ({ name, version, wish, updated_at, updated_by }: IssuerStored): IssuerRow => ({
  // Our own text, written above.
  ...(JSON.parse(wish) as Omit<IssuerRow, "name" | "version" | "updatedAt" | "updatedBy">),
  name,
  version,
  updatedAt: updated_at,
  updatedBy: updated_by,
});
