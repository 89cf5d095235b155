import type { InterventionId, SessionId } from "../core/ids.ts";
import type { InterventionKind, Order, Target } from "../core/orders.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
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

/** What an intervention found and did is answered the same, however often it is asked for and whenever its object dies. */
export const ORDERS_LIFTED = `
  ALTER TABLE interventions ADD COLUMN lifted INTEGER CHECK (lifted >= 0);
  ALTER TABLE interventions ADD COLUMN known INTEGER CHECK (known IN (0, 1));
`;

/** No session lives longer: whoever had a run then is over. */
const LONGEST_SESSION_MS = 30 * 24 * 60 * 60 * 1000;
/** So many orders may stand beside those on the tenant itself: every lease carries what concerns its session, and is one row of its storage. */
const MOST_STANDING = 5_000;

/** An intervention that was put in force before: its answer is `null` while its sessions are being told. */
export interface PutBefore extends Pick<Intervened, "lifted" | "known"> {
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
      .exec<{ fingerprint: string; at: number; epoch: number; answer: string | null; lifted: number | null; known: number | null }>(
        "SELECT fingerprint, at, epoch, answer, lifted, known FROM interventions WHERE id = ?",
        id,
      )
      .toArray()[0];
    if (row === undefined) return null;
    const found = { lifted: row.lifted, known: row.known === null ? null : row.known === 1 };
    return {
      ...found,
      fingerprint: row.fingerprint,
      at: row.at,
      epoch: row.epoch,
      // Our own text, written by `answer`. That of an older version says nothing of what was found.
      answer: row.answer === null ? null : { ...found, ...(JSON.parse(row.answer) as Intervened) },
    };
  }

  /**
   * Whether an intervention finds room for what it leaves in force: refuses the one order too many with `body_invalid`. Never one on the tenant itself,
   * one that takes an older one's place, or what lifts one.
   */
  roomFor({ target, kind }: Pick<Intervention, "target" | "kind">, now: Instant): Result<null, Refusal> {
    if (target.type === "tenant" || kind === "resume" || kind === "revive") return ok(null);
    const others = this.#sql
      .exec<{ count: number }>(
        `SELECT COUNT(*) AS count FROM orders
         WHERE target <> 'tenant' AND NOT (target IN ('session', 'run') AND at < ?) AND NOT (target = ? AND id = ? AND state = ?)`,
        now - LONGEST_SESSION_MS,
        target.type,
        target.id,
        STATE[kind],
      )
      .one().count;
    return others < MOST_STANDING ? ok(null) : err(TOO_MANY);
  }

  /**
   * Records an intervention, and what it leaves in force: a kill or a pause stands until it is revived or resumed, or until what it was about is over in
   * any case. Answers how many a revive or a resume lifted.
   */
  put({ id, fingerprint, target, kind }: Intervention, epoch: number, known: boolean | null, now: Instant): number | null {
    this.#sql.exec("DELETE FROM orders WHERE target IN ('session', 'run') AND at < ?", now - LONGEST_SESSION_MS);
    const state = STATE[kind];
    const lifts = kind === "resume" || kind === "revive";
    const lifted = lifts
      ? this.#sql.exec("DELETE FROM orders WHERE target = ? AND id = ? AND state = ? RETURNING intervention", target.type, target.id, state).toArray()
          .length
      : null;
    this.#sql.exec(
      "INSERT INTO interventions (id, fingerprint, at, epoch, lifted, known) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      fingerprint,
      now,
      epoch,
      lifted,
      known === null ? null : Number(known),
    );
    if (lifts) return lifted;
    this.#sql.exec(
      `INSERT INTO orders (target, id, state, intervention, at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET intervention = excluded.intervention, at = excluded.at`,
      target.type,
      target.id,
      state,
      id,
      now,
    );
    return lifted;
  }

  answer(id: InterventionId, answer: Intervened): void {
    this.#sql.exec("UPDATE interventions SET answer = ? WHERE id = ?", JSON.stringify(answer), id);
  }

  /** The session of a run that was stopped, once that is known: from then on no other session is told of it. */
  placeRun(run: string, session: SessionId): void {
    this.#sql.exec("UPDATE orders SET session = ? WHERE target = 'run' AND id = ?", session, run);
  }

  /** A session is over: what was ordered of it alone concerns nobody any more. */
  forgetSession(session: SessionId): void {
    this.#sql.exec("DELETE FROM orders WHERE (target = 'session' AND id = ?1) OR session = ?1", session);
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

const TOO_MANY = refusal(
  "body_invalid",
  `At most ${MOST_STANDING} kills and pauses of actions, agents, runs and sessions stand at once. Resume or revive some, or stop the tenant as a whole.`,
  [{ pointer: "/target", message: "is one too many" }],
);

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
