import { type ApprovalStatus, isOpen } from "../core/approvals.ts";
import type { ApprovalId, SessionId } from "../core/ids.ts";
import type { Refusal } from "../core/refusals.ts";
import { ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { ApprovalFilter, ApprovalRead, ApprovalSignals, ApprovalTold, PageOf, PageQuery } from "../flow/ports.ts";
import { CURSORS, parseCursor } from "./cursor.ts";

/** The tables of a tenant's desk: what its sessions told of approvals. */
export const DESK_TABLES = `
  CREATE TABLE approvals (
    id TEXT PRIMARY KEY,
    session TEXT NOT NULL,
    agent TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'info_requested', 'approved', 'rejected', 'expired', 'cancelled', 'consumed')),
    version INTEGER NOT NULL CHECK (version > 0),
    opened_at INTEGER NOT NULL CHECK (opened_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    told TEXT NOT NULL CHECK (json_valid(told))
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX approvals_by_time ON approvals (opened_at, id);
  CREATE INDEX approvals_by_status ON approvals (status, opened_at, id);
  CREATE TABLE approval_answers (
    approval TEXT NOT NULL,
    subject TEXT NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('approve', 'reject')),
    at INTEGER NOT NULL CHECK (at >= 0),
    waited_ms INTEGER NOT NULL CHECK (waited_ms >= 0),
    PRIMARY KEY (approval, subject, at)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX approval_answers_by_time ON approval_answers (at);
`;

/** A step later: the desk is counted without its rows, which have all that people are shown. */
export const DESK_COUNTED = "CREATE INDEX approvals_counted ON approvals (status, expires_at, session, agent);";

/** What is closed stays on the desk so long; the ledger keeps it longer. */
const CLOSED_KEPT_MS = 30 * 24 * 3_600_000;
const NOTED_BETWEEN_CLEARING = 256;
/** Of more than so many what is closed goes sooner. */
const MOST_KEPT = 20_000;
/** About so much text is read for one page: it crosses between objects in one message. */
const MOST_PAGE_CHARACTERS = 2_000_000;

/**
 * A tenant's view of what its people are asked. Its sessions have the word on every approval: this is where people find them, and nothing is decided
 * by it. Every write is inside the caller's transaction.
 */
export class DeskStore {
  readonly #sql: SqlStorage;
  /** How often sessions have told something since this memory began. */
  #noted = 0;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Takes what a session told. An older version never replaces a newer one, whatever order they arrive in. */
  note({ session, agent, approval, card, version }: ApprovalTold): void {
    this.#sql.exec(
      `INSERT INTO approvals (id, session, agent, status, version, opened_at, expires_at, told) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET status = excluded.status, version = excluded.version, expires_at = excluded.expires_at, told = excluded.told
       WHERE excluded.version > approvals.version`,
      approval.id,
      session,
      agent,
      approval.status,
      version,
      approval.openedAt,
      approval.expiresAt,
      JSON.stringify(isOpen(approval) ? { approval, card } : { approval: { ...approval, edits: null }, card: { ...card, inputs: null } }),
    );
    for (const { subject, decision, at } of approval.answers) {
      if (decision !== "approve" && decision !== "reject") continue;
      this.#sql.exec(
        "INSERT INTO approval_answers (approval, subject, decision, at, waited_ms) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        approval.id,
        subject,
        decision,
        at,
        at - approval.openedAt,
      );
    }
  }

  /** Clears what was closed long ago: the first time after waking, and then now and then. */
  clear(now: Instant): void {
    if (++this.#noted % NOTED_BETWEEN_CLEARING !== 1) return;
    this.#sql.exec(
      "DELETE FROM approvals WHERE opened_at < ?1 AND expires_at < ?1 AND status NOT IN ('pending', 'info_requested', 'approved')",
      now - CLOSED_KEPT_MS,
    );
    this.#sql.exec("DELETE FROM approval_answers WHERE at < ?", now - CLOSED_KEPT_MS);
    this.#sql.exec(
      `DELETE FROM approvals WHERE status NOT IN ('pending', 'info_requested', 'approved')
         AND opened_at <= (SELECT opened_at FROM approvals ORDER BY opened_at DESC LIMIT 1 OFFSET ?)`,
      MOST_KEPT,
    );
  }

  find(id: ApprovalId): { readonly session: SessionId; readonly agent: string } | null {
    const row = this.#sql.exec<{ session: string; agent: string }>("SELECT session, agent FROM approvals WHERE id = ?", id).toArray()[0];
    // Written by `note` from what a session told, whose ids were parsed at the door; the same holds below.
    return row === undefined ? null : { session: row.session as SessionId, agent: row.agent };
  }

  /** How an approval stands now, and until when; `null`: the tenant was told of none. */
  standing(id: ApprovalId, now: Instant): { readonly status: ApprovalStatus; readonly expiresAt: Instant } | null {
    const row = this.#sql
      .exec<{ status: string; expires_at: number }>(`SELECT ${STATUS_NOW} AS status, expires_at FROM approvals WHERE id = ?2`, now, id)
      .toArray()[0];
    return row === undefined ? null : { status: row.status as ApprovalStatus, expiresAt: row.expires_at };
  }

  /** Newest first. What has run out by `now` counts as expired, whether or not its session has said so yet. */
  list({ status, session, agent }: ApprovalFilter, page: PageQuery, now: Instant): Result<PageOf<ApprovalRead>, Refusal> {
    const cursor = parseCursor(page.cursor, CURSORS.time);
    if (!cursor.ok) return cursor;
    const [at, id] = cursor.value ?? [Number.MAX_SAFE_INTEGER, "~"];
    const ofStatus = (condition: string): string =>
      `SELECT id, session, agent, opened_at, told, ${STATUS_NOW} AS status FROM approvals
       WHERE ${condition} AND (opened_at, id) < (?2, ?3) AND (?4 IS NULL OR session = ?4) AND (?5 IS NULL OR agent = ?5)`;
    const rows = this.#sql.exec<DeskRow>(
      `${conditionsOf(status).map(ofStatus).join(" UNION ALL ")} ORDER BY opened_at DESC, id DESC LIMIT ?6`,
      now,
      Number(at),
      id,
      session ?? null,
      agent ?? null,
      page.limit + 1,
    );
    const shown: DeskRow[] = [];
    let characters = 0;
    let isWhole = true;
    for (const row of rows) {
      characters += row.told.length;
      isWhole = shown.length < page.limit && (shown.length === 0 || characters <= MOST_PAGE_CHARACTERS);
      if (!isWhole) break;
      shown.push(row);
    }
    const last = shown.at(-1);
    return ok({ items: shown.map(readOf), nextCursor: isWhole || last === undefined ? null : `${last.opened_at}.${last.id}` });
  }

  /** How many there are of each status, of whichever the list would show were no status asked for. */
  counts({ session, agent }: ApprovalFilter, now: Instant): { readonly [status in ApprovalStatus]: number } {
    const counts = { pending: 0, info_requested: 0, approved: 0, rejected: 0, expired: 0, cancelled: 0, consumed: 0 };
    const rows = this.#sql.exec<{ status: ApprovalStatus; count: number }>(
      `SELECT ${STATUS_NOW} AS status, count(*) AS count FROM approvals WHERE (?2 IS NULL OR session = ?2) AND (?3 IS NULL OR agent = ?3) GROUP BY 1`,
      now,
      session ?? null,
      agent ?? null,
    );
    for (const { status, count } of rows) counts[status] = count;
    return counts;
  }

  signals(from: Instant, to: Instant, now: Instant): ApprovalSignals {
    const answers = this.#sql
      .exec<AnswerRow>("SELECT subject, decision, at, waited_ms FROM approval_answers WHERE at >= ? AND at < ? ORDER BY at", from, to)
      .toArray();
    const oldest = this.#sql
      .exec<{ at: number | null; count: number }>(
        "SELECT MIN(opened_at) AS at, count(*) AS count FROM approvals WHERE status IN ('pending', 'info_requested') AND expires_at > ?",
        now,
      )
      .one();
    const approved = answers.filter(({ decision }) => decision === "approve").length;
    const people = [...Map.groupBy(answers, ({ subject }) => subject)].map(([subject, theirs]) => ({
      subject,
      answers: theirs.length,
      approved: theirs.filter(({ decision }) => decision === "approve").length,
      medianMs: medianOf(theirs.map(({ waited_ms }) => waited_ms)) ?? 0,
      mostInAnHour: mostWithin(
        theirs.map(({ at }) => at),
        3_600_000,
      ),
    }));
    return {
      approved,
      rejected: answers.length - approved,
      medianMs: medianOf(answers.map(({ waited_ms }) => waited_ms)),
      people: people.sort((a, b) => b.answers - a.answers || (a.subject < b.subject ? -1 : 1)),
      pending: oldest.count,
      oldestPendingAt: oldest.at,
    };
  }
}

/** Which approvals have a status now, in the words of the index; where it takes two, no approval is in both. `?1` is now. */
function conditionsOf(status: ApprovalStatus | undefined): readonly string[] {
  switch (status) {
    case undefined:
      return ["TRUE"];
    case "pending":
    case "info_requested":
    case "approved":
      return [`status = '${status}' AND expires_at > ?1`];
    case "expired":
      return ["status = 'expired'", "status IN ('pending', 'info_requested', 'approved') AND expires_at <= ?1"];
    case "rejected":
    case "cancelled":
    case "consumed":
      return [`status = '${status}'`];
  }
}

/** `?1` is now. */
const STATUS_NOW = "CASE WHEN status IN ('pending', 'info_requested', 'approved') AND expires_at <= ?1 THEN 'expired' ELSE status END";

type DeskRow = { id: string; session: string; agent: string; opened_at: number; told: string; status: string };
type AnswerRow = { subject: string; decision: string; at: number; waited_ms: number };

function readOf({ session, agent, told, status }: DeskRow): ApprovalRead {
  const { approval, card } = JSON.parse(told) as Pick<ApprovalRead, "approval" | "card">;
  return { session: session as SessionId, agent, approval: { ...approval, status: status as ApprovalStatus }, card };
}

function medianOf(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] ?? null;
}

/** Of instants in order, how many lie within one stretch of this length at most. */
function mostWithin(instants: readonly Instant[], lengthMs: number): number {
  let most = 0;
  let first = 0;
  for (const [place, at] of instants.entries()) {
    while (at - (instants[first] ?? at) >= lengthMs) first++;
    most = Math.max(most, place - first + 1);
  }
  return most;
}
