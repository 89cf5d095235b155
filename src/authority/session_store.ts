import { type Approval, isOpen } from "../core/approvals.ts";
import { assert } from "../core/assert.ts";
import { type Book, type Decided, type Effect, EMPTY_ACCOUNT, emptyBook, type Settled } from "../core/book.ts";
import type { ClientLease } from "../core/client_lease.ts";
import type { Decision, DecisionState, Settlement } from "../core/decision.ts";
import { CHAIN_START, type SealedEntry } from "../core/entry.ts";
import { matchesGlob } from "../core/glob.ts";
import type { ApprovalId, DecisionId, LeaseId, RunId, SessionId } from "../core/ids.ts";
import { insertsOf, type Stored } from "../core/insert.ts";
import type { JsonValue } from "../core/json.ts";
import { type MicroUsd, microUsdOf } from "../core/money.ts";
import type { DecisionRecord } from "../core/settle.ts";
import { noShares, type Shares } from "../core/shares.ts";
import type { Instant } from "../core/time.ts";
import { type Kept, type Trace, Trail, withOutputs } from "../core/trail.ts";
import type { Turn } from "../core/turn.ts";
import type { Lease, LeaseAnswer, SessionOpened } from "../flow/ports.ts";
import type { Outbox } from "./outbox.ts";
import {
  type AccountRow,
  type ApprovalRow,
  type ApprovalStored,
  accountOfRow,
  approvalOfRow,
  type DecisionRow,
  keptOf,
  type LeaseRow,
  leaseOfRow,
  matterOf,
  type PendingRow,
  piecesOf,
  type SessionRowStored,
  sharesOf,
  sides,
  type TraceRow,
  textOfShares,
  traceOf,
} from "./session_rows.ts";
import { SESSION_TABLES } from "./session_tables.ts";
import { bringTables } from "./tables.ts";

/** What a session is opened with. */
export interface OpeningRow {
  readonly tenant: string;
  readonly id: SessionId;
  readonly agent: string;
  readonly labels: { readonly [key: string]: string };
  readonly fingerprint: string;
  readonly opened: SessionOpened;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
  readonly budgetMicroUsd: MicroUsd | null;
  readonly run: RunId;
}

/** How a session was opened, for whoever repeats the order, and for showing it. */
export interface Opening {
  readonly fingerprint: string;
  readonly opened: SessionOpened;
  readonly labels: { readonly [key: string]: string };
  readonly tenantTold: boolean;
}

/** What a session's object keeps: the second guard on its money. Every write is inside the caller's transaction. */
export class SessionStore {
  readonly #sql: SqlStorage;
  readonly #outbox: Outbox;
  /** The oldest call that is stored of each pattern. */
  readonly #oldestHits = new Map<string, Instant>();
  readonly #texts = new WeakMap<Decision, string>();
  #forgetAt: Instant = Number.POSITIVE_INFINITY;
  /** What moved since totals were last written. */
  #moved = false;
  readonly #runsMoved = new Set<RunId>();
  readonly #actionsMoved = new Set<string>();
  /** Of this turn and not written yet: what is written together costs less. Whoever reads what may be among it has it written first. */
  readonly #decided = new Map<DecisionId, Decided>();
  readonly #sealed: SealedEntry[] = [];
  /** What a turn was told to look up, as it stands in the table; `null`: it is not there. */
  readonly #looked = new Map<DecisionId, DecisionRow | null>();
  readonly #approvalsChanged = new Set<ApprovalId>();
  readonly #leases = new Map<LeaseId, ClientLease>();
  readonly #hits = new Map<string, { readonly at: Instant; count: number }>();

  constructor(sql: SqlStorage, outbox: Outbox) {
    this.#sql = sql;
    this.#outbox = outbox;
  }

  /** Brings the tables of an object that has some to the newest step. */
  upgrade(): void {
    bringTables(this.#sql, SESSION_TABLES);
  }

  /** Writes the first row of a new session, and answers its book. */
  create(row: OpeningRow): Book {
    bringTables(this.#sql, SESSION_TABLES);
    this.#sql.exec(
      `INSERT INTO session (one, tenant, id, agent, labels, fingerprint, opened, opened_at, expires_at, budget_micro_usd, clock, seq, head_hash, run)
       VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      row.tenant,
      row.id,
      row.agent,
      JSON.stringify(row.labels),
      row.fingerprint,
      JSON.stringify(row.opened),
      row.openedAt,
      row.expiresAt,
      row.budgetMicroUsd,
      row.openedAt,
      CHAIN_START.seq,
      CHAIN_START.hash,
      row.run,
    );
    const { tenant, id: session, agent, openedAt, expiresAt, budgetMicroUsd, run } = row;
    return emptyBook({ tenant, session, agent, openedAt, expiresAt, budgetMicroUsd, run }, this.#trail());
  }

  readOpening(): Opening {
    const row = this.#sql
      .exec<{ fingerprint: string; opened: string; labels: string; tenant_told: number }>(
        "SELECT fingerprint, opened, labels, tenant_told FROM session",
      )
      .one();
    // Both texts are our own, written by `create`.
    return {
      fingerprint: row.fingerprint,
      opened: JSON.parse(row.opened) as SessionOpened,
      labels: JSON.parse(row.labels) as Opening["labels"],
      tenantTold: row.tenant_told === 1,
    };
  }

  setTenantTold(): void {
    this.#sql.exec("UPDATE session SET tenant_told = 1");
  }

  /** Reads the whole book as it was left by the last transaction. */
  readBook(): Book {
    const row = this.#sql.exec<SessionRowStored>("SELECT * FROM session").one();
    const book: Book = {
      // Ids are written by `create` from values that were parsed at the door; the same holds for the casts below.
      ...emptyBook(
        {
          tenant: row.tenant,
          session: row.id as SessionId,
          agent: row.agent,
          openedAt: row.opened_at,
          expiresAt: row.expires_at,
          budgetMicroUsd: row.budget_micro_usd === null ? null : microUsdOf(row.budget_micro_usd),
          run: row.run as RunId,
        },
        this.#trail(),
      ),
      closed: row.closed === 1,
      clock: row.clock,
      head: { seq: row.seq, hash: row.head_hash },
      total: accountOfRow(row),
      windDown: {
        postedMicroUsd: microUsdOf(row.wind_down_posted_micro_usd),
        pendingMicroUsd: microUsdOf(row.wind_down_pending_micro_usd),
        leasedMicroUsd: microUsdOf(row.wind_down_leased_micro_usd),
        overrunMicroUsd: microUsdOf(row.wind_down_overrun_micro_usd),
      },
      counts: { allow: row.allowed, deny: row.denied, hold: row.held },
      preventedMicroUsd: microUsdOf(row.prevented_micro_usd),
      shares: row.shares === null ? noShares(row.clock) : sharesOf(row.shares),
    };
    for (const run of this.#sql.exec<AccountRow & { id: string; closed: number }>("SELECT * FROM runs")) {
      book.runs.set(run.id as RunId, { closed: run.closed === 1, account: accountOfRow(run) });
    }
    for (const action of this.#sql.exec<AccountRow & { name: string }>("SELECT * FROM actions")) book.actions.set(action.name, accountOfRow(action));
    for (const pending of this.#sql.exec<PendingRow>(
      "SELECT id, answer, matter, reserved_micro_usd, expires_at, pieces FROM decisions WHERE state = 'pending'",
    )) {
      book.pending.set({
        id: pending.id as DecisionId,
        reservation: { amountMicroUsd: microUsdOf(pending.reserved_micro_usd), expiresAt: pending.expires_at },
        matter: matterOf(JSON.parse(pending.answer) as Decision, pending.matter),
        pieces: piecesOf(pending.pieces),
      });
    }
    for (const row of this.#sql.exec<ApprovalRow>(
      "SELECT approval, card, version FROM approvals WHERE status IN ('pending', 'info_requested', 'approved')",
    )) {
      const { approval } = approvalOfRow(row);
      book.approvals.set(approval.id, approval);
      book.nextApprovalExpiry = Math.min(book.nextApprovalExpiry, approval.expiresAt);
    }
    for (const row of this.#sql.exec<LeaseRow>("SELECT lease FROM client_leases WHERE state = 'open' OR held_micro_usd > 0")) {
      const lease = leaseOfRow(row);
      book.leases.set(lease.id, lease);
      if (lease.state === "open") book.nextLeaseEnd = Math.min(book.nextLeaseEnd, lease.expiresAt);
    }
    for (const alert of this.#sql.exec<{ account: string; millionths: number }>("SELECT account, millionths FROM alerts")) {
      book.alerted.set(alert.account, alert.millionths);
    }
    for (const hit of this.#sql.exec<{ pattern: string; at: number; count: number }>("SELECT pattern, at, count FROM hits ORDER BY pattern, at")) {
      const log = book.hits.get(hit.pattern) ?? [];
      for (let n = 0; n < hit.count; n++) log.push(hit.at);
      book.hits.set(hit.pattern, log);
    }
    this.#oldestHits.clear();
    for (const [pattern, [oldest]] of book.hits) if (oldest !== undefined) this.#oldestHits.set(pattern, oldest);
    this.#forgetAt = this.#readForgetAt();
    return book;
  }

  #trail(): Trail {
    return new Trail({ calls: (pattern, since) => this.#readCalls(pattern, since), failures: (action, since) => this.#readFailures(action, since) });
  }

  readLease(): Lease | null {
    const row = this.#sql.exec<{ lease: string }>("SELECT lease FROM lease").toArray()[0];
    return row === undefined ? null : (JSON.parse(row.lease) as Lease);
  }

  writeLease(lease: Lease): void {
    this.#sql.exec("INSERT INTO lease (one, lease) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET lease = excluded.lease", JSON.stringify(lease));
  }

  /** Looks decisions up together that a turn will ask for one by one: a call into the store costs more than a row. */
  lookUp(ids: readonly DecisionId[]): void {
    this.#looked.clear();
    if (ids.length < 2) return;
    for (const id of ids) this.#looked.set(id, null);
    const rows = this.#sql.exec<DecisionRow>("SELECT * FROM decisions WHERE id IN (SELECT value FROM json_each(?))", JSON.stringify(ids));
    // Ids are written from values that were parsed at the door.
    for (const row of rows) this.#looked.set(row.id as DecisionId, row);
  }

  /** A decision with the fingerprint of the body it was asked with; `null` when the id was never decided here. */
  findDecision(id: DecisionId): { readonly record: DecisionRecord; readonly fingerprint: string } | null {
    if (this.#decided.has(id)) this.#writeDecided();
    const looked = this.#looked.get(id);
    const row = looked === undefined ? this.#sql.exec<DecisionRow>("SELECT * FROM decisions WHERE id = ?", id).toArray()[0] : looked;
    if (row == null) return null;
    // Our own texts, written by `#rowOf` and `#settleDecision`.
    const decision = this.#parseAnswer(row.answer);
    const record: DecisionRecord = {
      decision,
      state: row.state as DecisionState,
      reservation:
        row.reserved_micro_usd === null || row.expires_at === null
          ? null
          : { amountMicroUsd: microUsdOf(row.reserved_micro_usd), expiresAt: row.expires_at },
      matter: row.matter === null ? null : matterOf(decision, row.matter),
      pieces: piecesOf(row.pieces),
      postedMicroUsd: microUsdOf(row.posted_micro_usd),
      overrunMicroUsd: microUsdOf(row.overrun_micro_usd),
      told:
        row.told === null || row.told_fingerprint === null
          ? null
          : { fingerprint: row.told_fingerprint, settlement: JSON.parse(row.told) as Settlement },
    };
    return { record, fingerprint: row.fingerprint };
  }

  /** An approval that was asked for here, open or closed, with what people are shown of it; `null` when none of this id was. */
  findApproval(id: ApprovalId): ApprovalStored | null {
    const row = this.#sql.exec<ApprovalRow>("SELECT approval, card, version FROM approvals WHERE id = ?", id).toArray()[0];
    return row === undefined ? null : approvalOfRow(row);
  }

  /** Approvals after this id of which the tenant has not confirmed the newest version: about so many characters of them, and always one. */
  untoldApprovals(after: ApprovalId | null, characters: number): readonly ApprovalStored[] {
    const untold: ApprovalStored[] = [];
    let total = 0;
    for (const row of this.#sql.exec<ApprovalRow>(
      "SELECT approval, card, version FROM approvals WHERE told < version AND id > ? ORDER BY id",
      after ?? "",
    )) {
      total += row.approval.length + row.card.length;
      if (untold.length > 0 && total > characters) break;
      untold.push(approvalOfRow(row));
    }
    return untold;
  }

  /** The same of one; `null`: the tenant has its newest version, or there is no such approval. */
  untoldApproval(id: ApprovalId): ApprovalStored | null {
    const row = this.#sql.exec<ApprovalRow>("SELECT approval, card, version FROM approvals WHERE id = ? AND told < version", id).toArray()[0];
    return row === undefined ? null : approvalOfRow(row);
  }

  /** The tenant has these versions. */
  setApprovalsTold(told: readonly { readonly id: ApprovalId; readonly version: number }[]): void {
    for (const { id, version } of told) this.#sql.exec("UPDATE approvals SET told = max(told, ?) WHERE id = ?", version, id);
  }

  /** Which approvals were written since this was last asked. */
  takeApprovalsChanged(): ReadonlySet<ApprovalId> {
    const changed = new Set(this.#approvalsChanged);
    this.#approvalsChanged.clear();
    return changed;
  }

  #writeApproval(approval: Approval, card: JsonValue | null): void {
    this.#approvalsChanged.add(approval.id);
    this.#sql.exec(
      `INSERT INTO approvals (id, status, approval, card, version) VALUES (?, ?, ?, ?, 1)
       ON CONFLICT (id) DO UPDATE SET status = excluded.status, approval = excluded.approval, version = version + 1`,
      approval.id,
      approval.status,
      JSON.stringify(approval),
      JSON.stringify(card),
    );
    // Of what the policy keeps no inputs they are there while somebody may have to look at them, and no longer.
    if (!isOpen(approval) && (approval.redaction?.storeInputs ?? "full") !== "full")
      this.#sql.exec("UPDATE approvals SET card = json_set(card, '$.inputs', json('null')) WHERE id = ?", approval.id);
  }

  /** A client lease that was granted here, whatever became of it; `null` when none of this id was. */
  findLease(id: LeaseId): ClientLease | null {
    const unwritten = this.#leases.get(id);
    if (unwritten !== undefined) return unwritten;
    const row = this.#sql.exec<LeaseRow>("SELECT lease FROM client_leases WHERE id = ?", id).toArray()[0];
    return row === undefined ? null : leaseOfRow(row);
  }

  /** What was answered to whoever asked for the lease of this id, with the fingerprint of what it asked; `null`: nobody has. */
  findLeaseAnswer(id: LeaseId): { readonly fingerprint: string; readonly answer: LeaseAnswer } | null {
    const row = this.#sql
      .exec<{ fingerprint: string; answer: string }>("SELECT fingerprint, answer FROM lease_answers WHERE id = ?", id)
      .toArray()[0];
    // Our own text, written by `keepLeaseAnswer`.
    return row === undefined ? null : { fingerprint: row.fingerprint, answer: JSON.parse(row.answer) as LeaseAnswer };
  }

  keepLeaseAnswer(id: LeaseId, fingerprint: string, answer: LeaseAnswer): void {
    this.#sql.exec("INSERT INTO lease_answers (id, fingerprint, answer) VALUES (?, ?, ?)", id, fingerprint, JSON.stringify(answer));
  }

  #writeLeases(): void {
    for (const lease of this.#leases.values()) {
      this.#sql.exec(
        `INSERT INTO client_leases (id, state, amount_micro_usd, held_micro_usd, returned_micro_usd, posted_micro_usd, overrun_micro_usd, lease)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, held_micro_usd = excluded.held_micro_usd, returned_micro_usd = excluded.returned_micro_usd,
           posted_micro_usd = excluded.posted_micro_usd, overrun_micro_usd = excluded.overrun_micro_usd, lease = excluded.lease`,
        lease.id,
        lease.state,
        lease.amountMicroUsd,
        lease.heldMicroUsd,
        lease.returnedMicroUsd,
        lease.postedMicroUsd,
        lease.overrunMicroUsd,
        JSON.stringify(lease),
      );
    }
    this.#leases.clear();
  }

  /** The fingerprint of the body that an idempotency key was first used with. */
  findKey(key: string): string | null {
    return this.#sql.exec<{ fingerprint: string }>("SELECT fingerprint FROM keys WHERE key = ?", key).toArray()[0]?.fingerprint ?? null;
  }

  writeKey(key: string, fingerprint: string): void {
    this.#sql.exec("INSERT INTO keys (key, fingerprint) VALUES (?, ?)", key, fingerprint);
  }

  /** Writes what has happened in a turn since the last call, but for what many steps move alike: that waits for `writeTotals`. */
  write(turn: Turn): void {
    const runs = this.#runsMoved;
    const actions = this.#actionsMoved;
    // A clock that moved and nothing else is not worth a row: reading a session writes nothing.
    if (turn.effects.some(({ kind }) => kind !== "clock")) this.#moved = true;
    for (const effect of turn.effects.splice(0)) {
      switch (effect.kind) {
        case "money":
          if (effect.fund === "wind_down") break;
          runs.add(effect.run);
          actions.add(effect.action);
          break;
        case "alerted":
          this.#sql.exec(
            "INSERT INTO alerts (account, millionths) VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET millionths = excluded.millionths",
            effect.key,
            effect.millionths,
          );
          break;
        case "run_closed":
          // Nothing of a closed run is allowed any more, so nobody asks how often something was.
          this.#writeHits(turn.book);
          this.#sql.exec("DELETE FROM hits WHERE instr(pattern, ?) > 0", ` ${effect.run}`);
          runs.add(effect.run);
          break;
        case "run_opened":
          runs.add(effect.run);
          break;
        case "decided":
          this.#decided.set(effect.decided.decision.id, effect.decided);
          this.#looked.delete(effect.decided.decision.id);
          break;
        case "settled":
          this.#settleDecision(effect.settled);
          break;
        case "changed":
          this.#writeDecided();
          this.#looked.delete(effect.id);
          this.#sql.exec(
            "UPDATE decisions SET reserved_micro_usd = ?, expires_at = ?, pieces = ? WHERE id = ?",
            effect.reservation.amountMicroUsd,
            effect.reservation.expiresAt,
            JSON.stringify(effect.pieces),
            effect.id,
          );
          break;
        case "hit":
          this.#count(effect);
          break;
        case "approval":
          this.#writeApproval(effect.approval, effect.card);
          break;
        case "lease":
          runs.add(effect.lease.run);
          // Of a settlement of a hundred actions only what becomes of the lease in the end is a row.
          this.#leases.set(effect.lease.id, effect.lease);
          break;
        case "recorded":
          this.#sealed.push(effect.sealed);
          break;
        case "clock":
        case "reserved":
        case "answered":
        case "permit_used":
        case "session_closed":
          break;
      }
    }
  }

  /** Writes what a turn has gathered: its decisions, entries and counts, and, once, as they stand in the end, the session, the runs and the actions. */
  writeTotals(book: Book): void {
    if (!this.#moved) return;
    this.#writeDecided();
    this.#writeLeases();
    this.#outbox.add(this.#sealed);
    this.#writeHits(book);
    for (const id of this.#runsMoved) {
      const run = book.runs.get(id);
      assert(run !== undefined, "a run that changed is in the book");
      this.#sql.exec(
        `INSERT INTO runs (id, closed, posted_micro_usd, pending_micro_usd, leased_micro_usd, overrun_micro_usd) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET closed = excluded.closed, posted_micro_usd = excluded.posted_micro_usd,
           pending_micro_usd = excluded.pending_micro_usd, leased_micro_usd = excluded.leased_micro_usd, overrun_micro_usd = excluded.overrun_micro_usd`,
        id,
        run.closed ? 1 : 0,
        ...sides(run.account),
      );
    }
    for (const name of this.#actionsMoved) {
      this.#sql.exec(
        `INSERT INTO actions (name, posted_micro_usd, pending_micro_usd, leased_micro_usd, overrun_micro_usd) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (name) DO UPDATE SET posted_micro_usd = excluded.posted_micro_usd,
           pending_micro_usd = excluded.pending_micro_usd, leased_micro_usd = excluded.leased_micro_usd, overrun_micro_usd = excluded.overrun_micro_usd`,
        name,
        ...sides(book.actions.get(name) ?? EMPTY_ACCOUNT),
      );
    }
    this.#sql.exec(
      `UPDATE session SET closed = ?, clock = ?, seq = ?, head_hash = ?, run = ?, posted_micro_usd = ?, pending_micro_usd = ?, leased_micro_usd = ?,
         overrun_micro_usd = ?, prevented_micro_usd = ?, allowed = ?, denied = ?, held = ?,
         wind_down_posted_micro_usd = ?, wind_down_pending_micro_usd = ?, wind_down_leased_micro_usd = ?, wind_down_overrun_micro_usd = ?, shares = ?`,
      book.closed ? 1 : 0,
      book.clock,
      book.head.seq,
      book.head.hash,
      book.currentRun,
      ...sides(book.total),
      book.preventedMicroUsd,
      book.counts.allow,
      book.counts.deny,
      book.counts.hold,
      ...sides(book.windDown),
      textOfShares(book.shares),
    );
    this.forgetUnwritten();
  }

  /** Writes what the session shares, where nothing else has changed. */
  writeShares(shares: Shares): void {
    this.#sql.exec("UPDATE session SET shares = ?", textOfShares(shares));
  }

  /** Forgets what moved: it was written, or its transaction was rolled back. */
  forgetUnwritten(): void {
    this.#moved = false;
    this.#runsMoved.clear();
    this.#actionsMoved.clear();
    this.#decided.clear();
    this.#sealed.length = 0;
    this.#hits.clear();
    this.#looked.clear();
    this.#approvalsChanged.clear();
    this.#leases.clear();
  }

  /** A decision's JSON: what is stored, and what is answered to whoever asks again. */
  textOf(decision: Decision): string {
    const text = this.#texts.get(decision) ?? JSON.stringify(decision);
    this.#texts.set(decision, text);
    return text;
  }

  #parseAnswer(text: string): Decision {
    const decision = JSON.parse(text) as Decision;
    this.#texts.set(decision, text);
    return decision;
  }

  #writeDecided(): void {
    if (this.#decided.size === 0) return;
    const rows = Array.from(this.#decided.values(), (decided) => this.#rowOf(decided));
    for (const { text, values } of insertsOf("decisions", DECISION_COLUMNS, rows)) this.#sql.exec(text, ...values);
    for (const { trace } of this.#decided.values()) {
      if (trace !== null && trace.keptUntil !== null) this.#forgetAt = Math.min(this.#forgetAt, forgottenBy(trace.keptUntil));
    }
    this.#decided.clear();
  }

  /** In the order of `DECISION_COLUMNS`. */
  #rowOf({ decision, fingerprint, state, matter, pieces, trace }: Decided): readonly Stored[] {
    return [
      decision.id,
      fingerprint,
      state,
      this.textOf(decision),
      matter === null ? null : JSON.stringify(keptOf(matter)),
      decision.approval?.id ?? null,
      decision.reservation?.amountMicroUsd ?? null,
      decision.reservation?.expiresAt ?? null,
      trace?.action ?? null,
      trace?.at ?? null,
      trace === null || trace.kept === null ? null : JSON.stringify(trace.kept),
      trace?.keptUntil ?? null,
      pieces.length === 0 ? null : JSON.stringify(pieces),
    ];
  }

  #settleDecision({ id, state, became, postedMicroUsd, overrunMicroUsd, pieces, told }: Settled): void {
    this.#writeDecided();
    this.#looked.delete(id);
    const { outcome, outputs, losesOutputs, endedAt } = became;
    this.#sql.exec(
      `UPDATE decisions SET state = ?, posted_micro_usd = ?, overrun_micro_usd = ?, told_fingerprint = ?, told = ?, ended_at = ?, outcome = ?, pieces = ?,
         matter = json_remove(matter, '$.asked') WHERE id = ?`,
      state,
      postedMicroUsd,
      overrunMicroUsd,
      told?.fingerprint ?? null,
      told === null ? null : JSON.stringify(told.settlement),
      endedAt ?? null,
      outcome === "success" || outcome === "error" ? outcome : null,
      pieces.length === 0 ? null : JSON.stringify(pieces),
      id,
    );
    if (outputs === undefined && losesOutputs !== true) return;
    const row = this.#sql.exec<{ kept: string | null }>("SELECT kept FROM decisions WHERE id = ?", id).one();
    if (row.kept === null) return;
    // Our own text, written by `#rowOf`.
    const kept = JSON.parse(row.kept) as Kept;
    this.#sql.exec("UPDATE decisions SET kept = ? WHERE id = ?", JSON.stringify(withOutputs(kept, { outputs, losesOutputs })), id);
  }

  /** When something that was kept for rules is no longer needed; `Infinity` when nothing is kept. */
  get forgetAt(): Instant {
    return this.#forgetAt;
  }

  /** Erases what was kept for rules and has left every window that looks at it; `now` may be `Infinity`: then all of it. */
  forgetKept(now: Instant): void {
    if (now < this.#forgetAt) return;
    const until = Math.min(now, Number.MAX_SAFE_INTEGER);
    this.#sql.exec("UPDATE decisions SET kept = NULL, kept_until = NULL WHERE kept IS NOT NULL AND kept_until <= ?", until);
    this.#forgetAt = this.#readForgetAt();
  }

  #readForgetAt(): Instant {
    const row = this.#sql.exec<{ at: number | null }>("SELECT MIN(kept_until) AS at FROM decisions WHERE kept IS NOT NULL").one();
    return row.at === null ? Number.POSITIVE_INFINITY : forgottenBy(row.at);
  }

  #readCalls(pattern: string, since: Instant): readonly Trace[] {
    this.#writeDecided();
    // The platform takes no pattern of more than 50 bytes: the letters before a glob's first star are looked up, and the glob is held to what that finds.
    const star = pattern.indexOf("*");
    // An exact name is looked up by name and time at once; between two names the index says nothing of time.
    const [which, names] =
      star < 0
        ? (["action = ?", [pattern]] as const)
        : (["action >= ? AND action <= ?", [pattern.slice(0, star), `${pattern.slice(0, star)}~`]] as const);
    const rows = this.#sql.exec<TraceRow>(
      `SELECT id, action, at, state, outcome, ended_at, kept, kept_until, reserved_micro_usd, posted_micro_usd, json_extract(answer, '$.run') AS run
       FROM decisions WHERE at IS NOT NULL AND ${which} AND at > ? ORDER BY at, place`,
      ...names,
      Math.max(since, -1),
    );
    return rows
      .toArray()
      .filter(({ action }) => matchesGlob(pattern, action))
      .map(traceOf);
  }

  #readFailures(action: string, since: Instant): readonly Instant[] {
    const rows = this.#sql.exec<{ at: number }>(
      "SELECT ended_at AS at FROM decisions WHERE outcome = 'error' AND action = ? AND ended_at > ? ORDER BY ended_at",
      action,
      Math.max(since, -1),
    );
    return rows.toArray().map(({ at }) => at);
  }

  /** All calls of one turn are made at one instant: they are one row. */
  #count({ log, at }: Extract<Effect, { kind: "hit" }>): void {
    const known = this.#hits.get(log);
    assert(known === undefined || known.at === at, "a turn is one instant");
    if (known === undefined) this.#hits.set(log, { at, count: 1 });
    else known.count++;
  }

  #writeHits(book: Book): void {
    for (const [pattern, { at, count }] of this.#hits) this.#writeHit(pattern, at, count, book.hits.get(pattern)?.[0] ?? at);
    this.#hits.clear();
  }

  /** What the book has forgotten goes, and nothing else: a session that is read again must count as if it had never slept. */
  #writeHit(pattern: string, at: Instant, count: number, oldest: Instant): void {
    this.#sql.exec(
      "INSERT INTO hits (pattern, at, count) VALUES (?, ?, ?) ON CONFLICT (pattern, at) DO UPDATE SET count = count + excluded.count",
      pattern,
      at,
      count,
    );
    if (oldest > (this.#oldestHits.get(pattern) ?? oldest)) this.#sql.exec("DELETE FROM hits WHERE pattern = ? AND at < ?", pattern, oldest);
    this.#oldestHits.set(pattern, oldest);
  }
}

/** What was kept long enough is erased within this time, together with what comes due until then: nobody looks at it meanwhile. */
const FORGET_MS = 1_000;

/** By when what is kept until then is erased. */
const forgottenBy = (keptUntil: Instant): Instant => Math.ceil(keptUntil / FORGET_MS) * FORGET_MS;

/** What a decision's row is made of, as `#rowOf` says it. */
const DECISION_COLUMNS = [
  "id",
  "fingerprint",
  "state",
  "answer",
  "matter",
  "approval",
  "reserved_micro_usd",
  "expires_at",
  "action",
  "at",
  "kept",
  "kept_until",
  "pieces",
] as const;
