import { assert } from "../core/assert.ts";
import { type Account, type Book, type Decided, EMPTY_ACCOUNT, type Matter, type Settled } from "../core/book.ts";
import type { Decision, DecisionState, Settlement } from "../core/decision.ts";
import { CHAIN_START } from "../core/entry.ts";
import type { ApprovalId, DecisionId, RunId, SessionId } from "../core/ids.ts";
import { microUsdOf } from "../core/money.ts";
import type { BudgetLimit } from "../core/policy/findings.ts";
import type { DecisionRecord } from "../core/settle.ts";
import type { Instant } from "../core/time.ts";
import type { Turn } from "../core/turn.ts";
import type { Lease, SessionOpened } from "../flow/ports.ts";
import { OUTBOX_TABLE, type Outbox } from "./outbox.ts";
import { bringTables, type SchemaStep } from "./tables.ts";

/** The tables of one session's object. `migrations/README.md` says what each field is for. */
const STEPS: readonly SchemaStep[] = [
  `
  CREATE TABLE session (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    agent TEXT NOT NULL,
    labels TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    opened TEXT NOT NULL,
    opened_at INTEGER NOT NULL CHECK (opened_at >= 0),
    expires_at INTEGER NOT NULL CHECK (expires_at >= 0),
    budget_micro_usd INTEGER CHECK (budget_micro_usd >= 0),
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    tenant_told INTEGER NOT NULL DEFAULT 0 CHECK (tenant_told IN (0, 1)),
    clock INTEGER NOT NULL CHECK (clock >= 0),
    seq INTEGER NOT NULL CHECK (seq >= 0),
    head_hash TEXT NOT NULL CHECK (length(head_hash) = 64),
    run TEXT NOT NULL,
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    prevented_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (prevented_micro_usd >= 0),
    allowed INTEGER NOT NULL DEFAULT 0 CHECK (allowed >= 0),
    denied INTEGER NOT NULL DEFAULT 0 CHECK (denied >= 0),
    held INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0)
  ) STRICT;
  CREATE TABLE lease (one INTEGER PRIMARY KEY CHECK (one = 1), lease TEXT NOT NULL) STRICT;
  CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)),
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE actions (
    name TEXT PRIMARY KEY,
    posted_micro_usd INTEGER NOT NULL CHECK (posted_micro_usd >= 0),
    pending_micro_usd INTEGER NOT NULL CHECK (pending_micro_usd >= 0),
    leased_micro_usd INTEGER NOT NULL CHECK (leased_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL CHECK (overrun_micro_usd >= 0)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE decisions (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'posted', 'released', 'expired', 'denied', 'held')),
    answer TEXT NOT NULL,
    matter TEXT,
    approval TEXT,
    reserved_micro_usd INTEGER CHECK (reserved_micro_usd >= 0),
    expires_at INTEGER CHECK (expires_at >= 0),
    posted_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (posted_micro_usd >= 0),
    overrun_micro_usd INTEGER NOT NULL DEFAULT 0 CHECK (overrun_micro_usd >= 0),
    told_fingerprint TEXT,
    told TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX pending ON decisions (expires_at) WHERE state = 'pending';
  CREATE UNIQUE INDEX approvals ON decisions (approval) WHERE approval IS NOT NULL;
  CREATE TABLE hits (
    pattern TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    count INTEGER NOT NULL CHECK (count > 0),
    PRIMARY KEY (pattern, at)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE keys (key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) STRICT, WITHOUT ROWID;
  ${OUTBOX_TABLE};
  `,
];

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
  readonly budgetMicroUsd: number | null;
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
  /** Hits written since old ones were last deleted, by pattern. */
  readonly #hitsWritten = new Map<string, number>();
  readonly #texts = new WeakMap<Decision, string>();
  /** What moved since totals were last written. */
  #moved = false;
  readonly #runsMoved = new Set<RunId>();
  readonly #actionsMoved = new Set<string>();

  constructor(sql: SqlStorage, outbox: Outbox) {
    this.#sql = sql;
    this.#outbox = outbox;
  }

  /** Brings the tables of an object that has some to the newest step. */
  upgrade(): void {
    bringTables(this.#sql, STEPS);
  }

  /** Writes the first row of a new session. */
  create(row: OpeningRow): void {
    bringTables(this.#sql, STEPS);
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
      tenant: row.tenant,
      // Ids are written by `create` from values that were parsed at the door; the same holds for the casts below.
      session: row.id as SessionId,
      agent: row.agent,
      openedAt: row.opened_at,
      expiresAt: row.expires_at,
      budgetMicroUsd: row.budget_micro_usd === null ? null : microUsdOf(row.budget_micro_usd),
      closed: row.closed === 1,
      clock: row.clock,
      head: { seq: row.seq, hash: row.head_hash },
      currentRun: row.run as RunId,
      total: accountOfRow(row),
      runs: new Map(),
      actions: new Map(),
      pending: new Map(),
      nextExpiry: Number.POSITIVE_INFINITY,
      hits: new Map(),
      counts: { allow: row.allowed, deny: row.denied, hold: row.held },
      preventedMicroUsd: microUsdOf(row.prevented_micro_usd),
      sums: new Map(),
    };
    for (const run of this.#sql.exec<AccountRow & { id: string; closed: number }>("SELECT * FROM runs")) {
      book.runs.set(run.id as RunId, { closed: run.closed === 1, account: accountOfRow(run) });
    }
    for (const action of this.#sql.exec<AccountRow & { name: string }>("SELECT * FROM actions")) book.actions.set(action.name, accountOfRow(action));
    for (const pending of this.#sql.exec<PendingRow>(
      "SELECT id, answer, matter, reserved_micro_usd, expires_at FROM decisions WHERE state = 'pending'",
    )) {
      book.pending.set(pending.id as DecisionId, {
        id: pending.id as DecisionId,
        reservation: { amountMicroUsd: microUsdOf(pending.reserved_micro_usd), expiresAt: pending.expires_at },
        matter: matterOf(JSON.parse(pending.answer) as Decision, pending.matter),
      });
      book.nextExpiry = Math.min(book.nextExpiry, pending.expires_at);
    }
    for (const hit of this.#sql.exec<{ pattern: string; at: number; count: number }>("SELECT pattern, at, count FROM hits ORDER BY pattern, at")) {
      const log = book.hits.get(hit.pattern) ?? [];
      for (let n = 0; n < hit.count; n++) log.push(hit.at);
      book.hits.set(hit.pattern, log);
    }
    return book;
  }

  readLease(): Lease | null {
    const row = this.#sql.exec<{ lease: string }>("SELECT lease FROM lease").toArray()[0];
    return row === undefined ? null : (JSON.parse(row.lease) as Lease);
  }

  writeLease(lease: Lease): void {
    this.#sql.exec("INSERT INTO lease (one, lease) VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET lease = excluded.lease", JSON.stringify(lease));
  }

  /** A decision with the fingerprint of the body it was asked with; `null` when the id was never decided here. */
  findDecision(id: DecisionId): { readonly record: DecisionRecord; readonly fingerprint: string } | null {
    const row = this.#sql.exec<DecisionRow>("SELECT * FROM decisions WHERE id = ?", id).toArray()[0];
    if (row === undefined) return null;
    // Our own texts, written by `#insertDecision` and `#settleDecision`.
    const decision = this.#known(row.answer);
    const record: DecisionRecord = {
      decision,
      state: row.state as DecisionState,
      reservation:
        row.reserved_micro_usd === null || row.expires_at === null
          ? null
          : { amountMicroUsd: microUsdOf(row.reserved_micro_usd), expiresAt: row.expires_at },
      matter: row.matter === null ? null : matterOf(decision, row.matter),
      postedMicroUsd: microUsdOf(row.posted_micro_usd),
      overrunMicroUsd: microUsdOf(row.overrun_micro_usd),
      told:
        row.told === null || row.told_fingerprint === null
          ? null
          : { fingerprint: row.told_fingerprint, settlement: JSON.parse(row.told) as Settlement },
    };
    return { record, fingerprint: row.fingerprint };
  }

  /** When an approval that was asked for here expires; `null` when none of this id was. */
  findApprovalExpiry(id: ApprovalId): Instant | null {
    const row = this.#sql.exec<{ answer: string }>("SELECT answer FROM decisions WHERE approval = ?", id).toArray()[0];
    return row === undefined ? null : (this.#known(row.answer).approval?.expiresAt ?? null);
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
          runs.add(effect.run);
          actions.add(effect.action);
          break;
        case "run_opened":
        case "run_closed":
          runs.add(effect.run);
          break;
        case "decided":
          this.#insertDecision(effect.decided);
          break;
        case "settled":
          this.#settleDecision(effect.settled);
          break;
        case "changed":
          this.#sql.exec(
            "UPDATE decisions SET reserved_micro_usd = ?, expires_at = ? WHERE id = ?",
            effect.reservation.amountMicroUsd,
            effect.reservation.expiresAt,
            effect.id,
          );
          break;
        case "hit":
          this.#writeHit(effect.pattern, effect.at, effect.keepMs);
          break;
        case "recorded":
          this.#outbox.add(effect.sealed);
          break;
        case "clock":
        case "reserved":
        case "answered":
        case "session_closed":
          break;
      }
    }
  }

  /** Writes the session's row and the runs and actions that moved, once, as they stand in the end. */
  writeTotals(book: Book): void {
    if (!this.#moved) return;
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
         overrun_micro_usd = ?, prevented_micro_usd = ?, allowed = ?, denied = ?, held = ?`,
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
    );
    this.forgetUnwritten();
  }

  /** Forgets what moved: it was written, or its transaction was rolled back. */
  forgetUnwritten(): void {
    this.#moved = false;
    this.#runsMoved.clear();
    this.#actionsMoved.clear();
  }

  /** A decision's JSON: what is stored, and what is answered to whoever asks again. */
  textOf(decision: Decision): string {
    const text = this.#texts.get(decision) ?? JSON.stringify(decision);
    this.#texts.set(decision, text);
    return text;
  }

  #known(text: string): Decision {
    const decision = JSON.parse(text) as Decision;
    this.#texts.set(decision, text);
    return decision;
  }

  #insertDecision({ decision, fingerprint, state, matter }: Decided): void {
    this.#sql.exec(
      "INSERT INTO decisions (id, fingerprint, state, answer, matter, approval, reserved_micro_usd, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      decision.id,
      fingerprint,
      state,
      this.textOf(decision),
      matter === null ? null : JSON.stringify(keptOf(matter)),
      decision.approval?.id ?? null,
      decision.reservation?.amountMicroUsd ?? null,
      decision.reservation?.expiresAt ?? null,
    );
  }

  #settleDecision({ id, state, postedMicroUsd, overrunMicroUsd, told }: Settled): void {
    this.#sql.exec(
      "UPDATE decisions SET state = ?, posted_micro_usd = ?, overrun_micro_usd = ?, told_fingerprint = ?, told = ? WHERE id = ?",
      state,
      postedMicroUsd,
      overrunMicroUsd,
      told?.fingerprint ?? null,
      told === null ? null : JSON.stringify(told.settlement),
      id,
    );
  }

  #writeHit(pattern: string, at: Instant, keepMs: number): void {
    this.#sql.exec("INSERT INTO hits (pattern, at, count) VALUES (?, ?, 1) ON CONFLICT (pattern, at) DO UPDATE SET count = count + 1", pattern, at);
    const written = (this.#hitsWritten.get(pattern) ?? 0) + 1;
    // Deleting what has left every window costs a row each; doing it now and then keeps the table within twice what windows look at.
    if (written >= 64) this.#sql.exec("DELETE FROM hits WHERE pattern = ? AND at <= ?", pattern, at - keepMs);
    this.#hitsWritten.set(pattern, written >= 64 ? 0 : written);
  }
}

type AccountRow = { posted_micro_usd: number; pending_micro_usd: number; leased_micro_usd: number; overrun_micro_usd: number };

type SessionRowStored = AccountRow & {
  tenant: string;
  id: string;
  agent: string;
  opened_at: number;
  expires_at: number;
  budget_micro_usd: number | null;
  closed: number;
  clock: number;
  seq: number;
  head_hash: string;
  run: string;
  prevented_micro_usd: number;
  allowed: number;
  denied: number;
  held: number;
};

type PendingRow = { id: string; answer: string; matter: string; reserved_micro_usd: number; expires_at: number };

type DecisionRow = {
  fingerprint: string;
  state: string;
  answer: string;
  matter: string | null;
  reserved_micro_usd: number | null;
  expires_at: number | null;
  posted_micro_usd: number;
  overrun_micro_usd: number;
  told_fingerprint: string | null;
  told: string | null;
};

/** What the answer does not already say of a decision's matter. */
type KeptMatter = Pick<Matter, "tags" | "riskLevel" | "onExpiry" | "compliance">;

const keptOf = ({ tags, riskLevel, onExpiry, compliance }: Matter): KeptMatter => ({ tags, riskLevel, onExpiry, compliance });

function matterOf(decision: Decision, text: string): Matter {
  // Our own text, written by `#insertDecision`.
  const kept = JSON.parse(text) as KeptMatter;
  assert(decision.policy !== null, "what was allowed was allowed by a policy");
  const limits = decision.budgets.flatMap(({ scope, name, limitMicroUsd }): BudgetLimit[] => {
    if (limitMicroUsd === null) return [];
    return [scope === "action" ? { scope, pattern: name, limitMicroUsd } : { scope, limitMicroUsd }];
  });
  return { ...kept, run: decision.run, action: decision.action, policy: decision.policy, limits };
}

const accountOfRow = (row: AccountRow): Account => ({
  postedMicroUsd: microUsdOf(row.posted_micro_usd),
  pendingMicroUsd: microUsdOf(row.pending_micro_usd),
  leasedMicroUsd: microUsdOf(row.leased_micro_usd),
  overrunMicroUsd: microUsdOf(row.overrun_micro_usd),
});

/** An account's columns, in the order in which the statements name them. */
const sides = (account: Account): [number, number, number, number] => [
  account.postedMicroUsd,
  account.pendingMicroUsd,
  account.leasedMicroUsd,
  account.overrunMicroUsd,
];
