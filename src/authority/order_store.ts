import type { InterventionId, SessionId } from "../core/ids.ts";
import type { InterventionKind, Order, Target } from "../core/orders.ts";
import type { Instant } from "../core/time.ts";
import type { Intervened, Intervention } from "../flow/ports.ts";

/** The tables of interventions, and of what they left in force. */
export const ORDER_TABLES = `
  CREATE TABLE interventions (
    id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    epoch INTEGER NOT NULL CHECK (epoch >= 0),
    answer TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE orders (
    target TEXT NOT NULL CHECK (target IN ('tenant', 'agent', 'session', 'run', 'action')),
    id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('killed', 'paused')),
    intervention TEXT NOT NULL,
    at INTEGER NOT NULL CHECK (at >= 0),
    session TEXT,
    PRIMARY KEY (target, id, state)
  ) STRICT, WITHOUT ROWID;
`;

/** An intervention that was put in force before: its answer is `null` while its sessions are being told. */
export interface PutBefore {
  readonly fingerprint: string;
  readonly at: Instant;
  readonly epoch: number;
  readonly answer: Intervened | null;
}

/** What a tenant's object keeps of interventions. Every write is inside the caller's transaction. */
export class OrderStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  find(id: InterventionId): PutBefore | null {
    const row = this.#sql
      .exec<{ fingerprint: string; at: number; epoch: number; answer: string | null }>(
        "SELECT fingerprint, at, epoch, answer FROM interventions WHERE id = ?",
        id,
      )
      .toArray()[0];
    if (row === undefined) return null;
    // Our own text, written by `answer`.
    return {
      fingerprint: row.fingerprint,
      at: row.at,
      epoch: row.epoch,
      answer: row.answer === null ? null : (JSON.parse(row.answer) as Intervened),
    };
  }

  /** Records an intervention, and what it leaves in force: a kill or a pause stands until it is revived or resumed. */
  put({ id, fingerprint, target, kind }: Intervention, epoch: number, now: Instant): void {
    this.#sql.exec("INSERT INTO interventions (id, fingerprint, at, epoch) VALUES (?, ?, ?, ?)", id, fingerprint, now, epoch);
    const state = STATE[kind];
    if (kind === "resume" || kind === "revive") {
      this.#sql.exec("DELETE FROM orders WHERE target = ? AND id = ? AND state = ?", target.type, target.id, state);
      return;
    }
    this.#sql.exec(
      `INSERT INTO orders (target, id, state, intervention, at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET intervention = excluded.intervention, at = excluded.at`,
      target.type,
      target.id,
      state,
      id,
      now,
    );
  }

  answer(id: InterventionId, answer: Intervened): void {
    this.#sql.exec("UPDATE interventions SET answer = ? WHERE id = ?", JSON.stringify(answer), id);
  }

  /** The session of a run that was stopped, once that is known: from then on no other session is told of it. */
  placeRun(run: string, session: SessionId): void {
    this.#sql.exec("UPDATE orders SET session = ? WHERE target = 'run' AND id = ?", session, run);
  }

  /** Everything in force, each with the session that it concerns alone, where that is known. */
  all(): readonly StandingOrder[] {
    return this.#sql
      .exec<{ target: string; id: string; state: string; intervention: string; at: number; session: string | null }>(
        "SELECT target, id, state, intervention, at, session FROM orders",
      )
      .toArray()
      .map(({ target, id, state, intervention, at, session }) => ({
        // Written by `put`, from values that were parsed at the door.
        order: { target: target as Target, id, state: state as Order["state"], intervention: intervention as InterventionId, at },
        session: session as SessionId | null,
      }));
  }
}

export interface StandingOrder {
  readonly order: Order;
  readonly session: SessionId | null;
}

/** Whether a session must be told of an order: not of one against another session, agent or another session's run. */
export function concerns(
  { order, session }: StandingOrder,
  of: { readonly tenant: string; readonly session: SessionId; readonly agent: string },
): boolean {
  switch (order.target) {
    case "tenant":
    case "action":
      return true;
    case "agent":
      return order.id === of.agent;
    case "session":
      return order.id === of.session;
    case "run":
      return session === null || session === of.session;
  }
}

/** What each kind puts in force, or lifts. */
export const STATE: { readonly [K in InterventionKind]: Order["state"] } = { kill: "killed", revive: "killed", pause: "paused", resume: "paused" };
