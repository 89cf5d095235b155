import type { Book } from "../core/book.ts";
import type { ApprovalId } from "../core/ids.ts";
import { beganAt } from "../core/shares.ts";
import type { Instant } from "../core/time.ts";
import { openTurn, type Turn } from "../core/turn.ts";
import type { Outbox } from "./outbox.ts";
import { freshForEntry } from "./randomness.ts";
import { type OpeningRow, SessionStore } from "./session_store.ts";
import { sha256 } from "./sha256.ts";
import { hasTables } from "./tables.ts";

const TOOLS = { sha256, fresh: freshForEntry };

/** What work within a turn came to, and the approvals that it changed. */
export interface TurnTaken<T> {
  readonly came: T;
  readonly changed: ReadonlySet<ApprovalId>;
}

/** A session's book in memory with the store behind it: both change in one storage transaction, or neither does. */
export class SessionBook {
  readonly store: SessionStore;
  readonly #storage: DurableObjectStorage;
  #book: Book | null = null;
  /** Whether the session was ever opened, once that is known: what is open stays so. */
  #opened = false;

  constructor(storage: DurableObjectStorage, outbox: Outbox) {
    this.#storage = storage;
    this.store = new SessionStore(storage.sql, outbox);
    if (this.isOpened()) storage.transactionSync(() => this.store.upgrade());
  }

  isOpened(): boolean {
    this.#opened ||= hasTables(this.#storage.sql);
    return this.#opened;
  }

  /** As the last transaction left it. */
  read(): Book {
    this.#book ??= this.store.readBook();
    return this.#book;
  }

  /** The session's clock, which never goes back. */
  now(): Instant {
    const { clock, shares } = this.read();
    return Math.max(Date.now(), clock, beganAt(shares));
  }

  /** Makes the session and takes its first turn, in one transaction. */
  open(row: OpeningRow, work: (turn: Turn) => void): void {
    this.#transact(() => this.#turn(this.store.create(row), row.openedAt, work));
  }

  /** Takes one turn, in one transaction. Where `work` throws, nothing was done, and the book is read anew. */
  turn<T>(work: (turn: Turn) => T): TurnTaken<T> {
    return this.#transact(() => this.#turn(this.read(), Date.now(), work));
  }

  /** Changes what no entry tells of, in one transaction. */
  change<T>(work: (book: Book) => T): T {
    return this.#transact(() => work(this.read()));
  }

  #turn<T>(book: Book, at: Instant, work: (turn: Turn) => T): TurnTaken<T> {
    const turn = openTurn(book, at, TOOLS);
    this.store.write(turn);
    const came = work(turn);
    this.store.write(turn);
    const changed = this.store.takeApprovalsChanged();
    this.store.writeTotals(book);
    // Nothing is decided any more once a session is over, so no rule looks back.
    this.store.forgetKept(book.closed ? Number.POSITIVE_INFINITY : turn.now);
    this.#book = book;
    return { came, changed };
  }

  #transact<T>(work: () => T): T {
    try {
      return this.#storage.transactionSync(work);
    } catch (fault) {
      this.#book = null;
      this.store.forgetUnwritten();
      throw fault;
    }
  }
}
