import type { BudgetWindow } from "../core/calendar.ts";
import type { SessionId } from "../core/ids.ts";
import { type MicroUsd, microUsdOf } from "../core/money.ts";
import { type CallHolding, type CallPool, EMPTY_HOLDING, EMPTY_POOL, type Holding, type Pool, type PoolKey } from "../core/pool.ts";
import type { Permits } from "../core/shares.ts";
import type { Instant } from "../core/time.ts";

/** The tables of what a tenant's sessions share, and what its table of sessions needs for that. */
export const POOL_TABLES = `
  ALTER TABLE sessions ADD COLUMN ask INTEGER NOT NULL DEFAULT 0 CHECK (ask >= 0);
  CREATE INDEX sessions_by_lease ON sessions (lease_ends_at);
  CREATE INDEX sessions_by_opening ON sessions (opened_at, id);
  CREATE TABLE pools (
    scope TEXT NOT NULL CHECK (scope IN ('agent', 'tenant')),
    target TEXT NOT NULL,
    span TEXT NOT NULL CHECK (span IN ('hour', 'day', 'month', 'total')),
    starts_at INTEGER NOT NULL CHECK (starts_at >= 0),
    granted_micro_usd INTEGER NOT NULL CHECK (granted_micro_usd >= 0),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    holders INTEGER NOT NULL CHECK (holders >= 0),
    alerted TEXT,
    PRIMARY KEY (scope, target, span, starts_at),
    CHECK (granted_micro_usd >= posted_micro_usd + pending_micro_usd)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE holdings (
    session TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('agent', 'tenant')),
    target TEXT NOT NULL,
    span TEXT NOT NULL CHECK (span IN ('hour', 'day', 'month', 'total')),
    starts_at INTEGER NOT NULL CHECK (starts_at >= 0),
    granted_micro_usd INTEGER NOT NULL CHECK (granted_micro_usd >= 0),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    PRIMARY KEY (session, scope, span),
    CHECK (granted_micro_usd >= posted_micro_usd + pending_micro_usd)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX holdings_unspent ON holdings (scope, target, span, starts_at) WHERE granted_micro_usd > posted_micro_usd + pending_micro_usd;
  CREATE TABLE call_pools (
    per TEXT NOT NULL CHECK (per IN ('agent', 'tenant')),
    target TEXT NOT NULL,
    pattern TEXT NOT NULL,
    unused INTEGER NOT NULL CHECK (unused >= 0),
    holders INTEGER NOT NULL CHECK (holders >= 0),
    keep_ms INTEGER NOT NULL CHECK (keep_ms >= 0),
    PRIMARY KEY (per, target, pattern)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE calls (
    per TEXT NOT NULL,
    target TEXT NOT NULL,
    pattern TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (per, target, pattern, at)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE call_holdings (
    session TEXT NOT NULL,
    per TEXT NOT NULL CHECK (per IN ('agent', 'tenant')),
    target TEXT NOT NULL,
    pattern TEXT NOT NULL,
    unused INTEGER NOT NULL CHECK (unused >= 0),
    told INTEGER NOT NULL CHECK (told >= 0),
    PRIMARY KEY (session, per, pattern)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX call_holdings_unused ON call_holdings (per, target, pattern) WHERE unused > 0;
`;

/** A step later: spans that are over are found among all that sessions ever held. */
export const POOLS_BY_SPAN = "CREATE INDEX holdings_by_span ON holdings (span, starts_at);";

/** Whose calls are counted together. */
export interface CallKey extends Pick<Permits, "per" | "pattern"> {
  /** The agent's name; empty for the tenant's own. */
  readonly target: string;
}

/** What a tenant's object keeps of accounts and rates that sessions share. Every write is inside the caller's transaction. */
export class PoolStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Whether a session's word is newer than all it has said; from then on it has said this. */
  hearAsk(session: SessionId, ask: number): boolean {
    return this.#sql.exec("UPDATE sessions SET ask = ?1 WHERE id = ?2 AND ask < ?1 RETURNING ask", ask, session).toArray().length > 0;
  }

  /** The number of a session's last word. */
  lastAsk(session: SessionId): number {
    return this.#sql.exec<{ ask: number }>("SELECT ask FROM sessions WHERE id = ?", session).toArray()[0]?.ask ?? 0;
  }

  readPool({ scope, target, window, startsAt }: PoolKey): Pool {
    const row = this.#sql
      .exec<MoneyRow & { holders: number }>(
        "SELECT granted_micro_usd, posted_micro_usd, pending_micro_usd, holders FROM pools WHERE scope = ? AND target = ? AND span = ? AND starts_at = ?",
        scope,
        target,
        window,
        startsAt,
      )
      .toArray()[0];
    return row === undefined ? EMPTY_POOL : { ...holdingOf(row), holders: row.holders };
  }

  readHolding(session: SessionId, { scope, window, startsAt }: PoolKey): Holding {
    const row = this.#sql
      .exec<MoneyRow & { starts_at: number }>(
        "SELECT granted_micro_usd, posted_micro_usd, pending_micro_usd, starts_at FROM holdings WHERE session = ? AND scope = ? AND span = ?",
        session,
        scope,
        window,
      )
      .toArray()[0];
    // What it held of an earlier stretch is over with that stretch.
    return row === undefined || row.starts_at !== startsAt ? EMPTY_HOLDING : holdingOf(row);
  }

  write(session: SessionId, { scope, target, window, startsAt }: PoolKey, pool: Pool, holding: Holding): void {
    this.#sql.exec(
      `INSERT INTO pools (scope, target, span, starts_at, granted_micro_usd, posted_micro_usd, pending_micro_usd, holders) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET granted_micro_usd = excluded.granted_micro_usd, posted_micro_usd = excluded.posted_micro_usd,
         pending_micro_usd = excluded.pending_micro_usd, holders = excluded.holders`,
      scope,
      target,
      window,
      startsAt,
      ...sides(pool),
      pool.holders,
    );
    this.#sql.exec(
      `INSERT INTO holdings (session, scope, target, span, starts_at, granted_micro_usd, posted_micro_usd, pending_micro_usd) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET starts_at = excluded.starts_at, granted_micro_usd = excluded.granted_micro_usd,
         posted_micro_usd = excluded.posted_micro_usd, pending_micro_usd = excluded.pending_micro_usd`,
      session,
      scope,
      target,
      window,
      startsAt,
      ...sides(holding),
    );
  }

  /** Sessions that hold some of an account and have not spent it, as far as they have said: those that hold most first. */
  holdersOf({ scope, target, window, startsAt }: PoolKey, but: SessionId, most: number): readonly SessionId[] {
    const rows = this.#sql.exec<{ session: string }>(
      `SELECT session FROM holdings WHERE scope = ? AND target = ? AND span = ? AND starts_at = ? AND granted_micro_usd > posted_micro_usd + pending_micro_usd
         AND session <> ? ORDER BY granted_micro_usd - posted_micro_usd - pending_micro_usd DESC LIMIT ?`,
      scope,
      target,
      window,
      startsAt,
      but,
      most,
    );
    // Ids were parsed at the door before they were written; the same holds below.
    return rows.toArray().map(({ session }) => session as SessionId);
  }

  /** Which thresholds of an account were told of, under which limit; `null` where none was. */
  readAlerted({ scope, target, window, startsAt }: PoolKey): Alerted | null {
    const row = this.#sql
      .exec<{ alerted: string | null }>(
        "SELECT alerted FROM pools WHERE scope = ? AND target = ? AND span = ? AND starts_at = ?",
        scope,
        target,
        window,
        startsAt,
      )
      .toArray()[0];
    // Our own text, written below.
    return row === undefined || row.alerted === null ? null : (JSON.parse(row.alerted) as Alerted);
  }

  writeAlerted({ scope, target, window, startsAt }: PoolKey, alerted: Alerted): void {
    this.#sql.exec(
      "UPDATE pools SET alerted = ? WHERE scope = ? AND target = ? AND span = ? AND starts_at = ?",
      JSON.stringify(alerted),
      scope,
      target,
      window,
      startsAt,
    );
  }

  /** Forgets accounts of stretches that began before an instant, but those that never end, with what was held of them. */
  forgetBefore(window: BudgetWindow, startsAt: Instant): void {
    this.#sql.exec("DELETE FROM pools WHERE span = ? AND starts_at < ?", window, startsAt);
    this.#sql.exec("DELETE FROM holdings WHERE span = ? AND starts_at < ?", window, startsAt);
  }

  readCalls({ per, target, pattern }: CallKey): CallPool & { readonly keepMs: number } {
    const row = this.#sql
      .exec<{ unused: number; holders: number; keep_ms: number }>(
        "SELECT unused, holders, keep_ms FROM call_pools WHERE per = ? AND target = ? AND pattern = ?",
        per,
        target,
        pattern,
      )
      .toArray()[0];
    const log: Instant[] = [];
    for (const { at, count } of this.#sql.exec<{ at: number; count: number }>(
      "SELECT at, count FROM calls WHERE per = ? AND target = ? AND pattern = ? ORDER BY at",
      per,
      target,
      pattern,
    )) {
      for (let n = 0; n < count; n++) log.push(at);
    }
    return { log, unused: row?.unused ?? 0, holders: row?.holders ?? 0, keepMs: row?.keep_ms ?? 0 };
  }

  readCallHolding(session: SessionId, { per, pattern }: CallKey): CallHolding {
    const row = this.#sql
      .exec<{ unused: number; told: number }>(
        "SELECT unused, told FROM call_holdings WHERE session = ? AND per = ? AND pattern = ?",
        session,
        per,
        pattern,
      )
      .toArray()[0];
    return row ?? { unused: 0, told: 0 };
  }

  writeCalls(
    session: SessionId,
    { per, target, pattern }: CallKey,
    { unused, holders }: CallPool,
    keepMs: number,
    holding: CallHolding,
    fresh: readonly Instant[],
    now: Instant,
  ): void {
    this.#sql.exec(
      `INSERT INTO call_pools (per, target, pattern, unused, holders, keep_ms) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET unused = excluded.unused, holders = excluded.holders, keep_ms = excluded.keep_ms`,
      per,
      target,
      pattern,
      unused,
      holders,
      keepMs,
    );
    this.#sql.exec(
      `INSERT INTO call_holdings (session, per, target, pattern, unused, told) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET unused = excluded.unused, told = excluded.told`,
      session,
      per,
      target,
      pattern,
      holding.unused,
      holding.told,
    );
    for (const at of fresh) {
      this.#sql.exec(
        "INSERT INTO calls (per, target, pattern, at, count) VALUES (?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
        per,
        target,
        pattern,
        at,
      );
    }
    if (fresh.length > 0 && keepMs > 0) {
      this.#sql.exec("DELETE FROM calls WHERE per = ? AND target = ? AND pattern = ? AND at <= ?", per, target, pattern, now - keepMs);
    }
  }

  /** Sessions that hold leave for calls which they have not made, as far as they have said. */
  callHoldersOf({ per, target, pattern }: CallKey, but: SessionId, most: number): readonly SessionId[] {
    const rows = this.#sql.exec<{ session: string }>(
      "SELECT session FROM call_holdings WHERE per = ? AND target = ? AND pattern = ? AND unused > 0 AND session <> ? ORDER BY unused DESC LIMIT ?",
      per,
      target,
      pattern,
      but,
      most,
    );
    return rows.toArray().map(({ session }) => session as SessionId);
  }
}

/** The limit that was last asked under and the parts of it that are told of; and for each limit the highest that was, in millionths. */
export interface Alerted {
  readonly limitMicroUsd: MicroUsd;
  readonly alerts: readonly number[];
  readonly told: { readonly [limitMicroUsd: number]: number };
}

type MoneyRow = { granted_micro_usd: number; posted_micro_usd: number; pending_micro_usd: number };

const holdingOf = (row: MoneyRow): Holding => ({
  grantedMicroUsd: microUsdOf(row.granted_micro_usd),
  postedMicroUsd: microUsdOf(row.posted_micro_usd),
  pendingMicroUsd: microUsdOf(row.pending_micro_usd),
});

const sides = ({ grantedMicroUsd, postedMicroUsd, pendingMicroUsd }: Holding): [number, number, number] => [
  grantedMicroUsd,
  postedMicroUsd,
  pendingMicroUsd,
];
