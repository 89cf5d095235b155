import type { Pending } from "./book.ts";
import { matchesGlob } from "./glob.ts";
import type { DecisionId } from "./ids.ts";
import type { Instant } from "./time.ts";

/** A place in the order of expiry. Of two of one instant the one that was reserved first expires first. */
interface Due {
  readonly at: Instant;
  readonly turn: number;
  readonly id: DecisionId;
}

interface Standing {
  readonly pending: Pending;
  readonly due: Due;
}

/** Dues that are worth nothing any more are swept out once they are this many more than the reservations. */
const STALE_DUES = 64;

/**
 * The reservations of a session that nobody has settled: by decision, how many of each action, and which runs out next. Each question costs about the
 * same whether ten stand or ten thousand.
 */
export class Pendings {
  /** Both are new maps whenever nothing is left: those that fill and empty for ever chain each new table to all before it, for the garbage collector. */
  #byId = new Map<DecisionId, Standing>();
  #byAction = new Map<string, number>();
  /** A binary heap, the earliest on top. What was settled or changed since stays in it until it comes up. */
  #dues: Due[] = [];
  #turns = 0;

  /** A copy whose changes this one does not see. */
  fork(): Pendings {
    const copy = new Pendings();
    for (const [id, standing] of this.#byId) copy.#byId.set(id, standing);
    for (const [action, count] of this.#byAction) copy.#byAction.set(action, count);
    copy.#dues = [...this.#dues];
    copy.#turns = this.#turns;
    return copy;
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: DecisionId): Pending | undefined {
    return this.#byId.get(id)?.pending;
  }

  has(id: DecisionId): boolean {
    return this.#byId.has(id);
  }

  *values(): Iterable<Pending> {
    for (const { pending } of this.#byId.values()) yield pending;
  }

  /** Adds a reservation, or puts it in the place of the one that this decision had. */
  set(pending: Pending): void {
    const known = this.#byId.get(pending.id);
    const at = pending.reservation.expiresAt;
    const isMoved = known?.due.at !== at;
    const due = known === undefined || isMoved ? { at, turn: this.#turns++, id: pending.id } : known.due;
    this.#byId.set(pending.id, { pending, due });
    if (known === undefined) this.#count(pending.matter.action, 1);
    if (isMoved) this.#push(due);
  }

  delete(id: DecisionId): void {
    const known = this.#byId.get(id);
    if (known === undefined) return;
    if (this.#byId.size === 1) {
      this.#byId = new Map();
      this.#byAction = new Map();
    } else {
      this.#byId.delete(id);
      this.#count(known.pending.matter.action, -1);
    }
    if (this.#dues.length > 2 * this.#byId.size + STALE_DUES) this.#sweep();
  }

  /** How many are of actions that `pattern` names. */
  count(pattern: string): number {
    if (!pattern.includes("*")) return this.#byAction.get(pattern) ?? 0;
    let count = 0;
    for (const [action, some] of this.#byAction) if (matchesGlob(pattern, action)) count += some;
    return count;
  }

  /** When the next one runs out; `Infinity` where none is. */
  get nextExpiry(): Instant {
    for (let top = this.#dues[0]; top !== undefined; top = this.#dues[0]) {
      if (this.#isDue(top)) return top.at;
      this.#pop();
    }
    return Number.POSITIVE_INFINITY;
  }

  /** Those that have run out by `now`, oldest first. They are told of once: whoever asks ends them. */
  takeExpired(now: Instant): readonly Pending[] {
    const first = this.#dues[0];
    if (first === undefined || first.at > now) return NONE;
    const expired: Pending[] = [];
    for (let top: Due | undefined = first; top !== undefined && top.at <= now; top = this.#dues[0]) {
      const standing = this.#byId.get(top.id);
      if (standing?.due === top) expired.push(standing.pending);
      this.#pop();
    }
    return expired;
  }

  #isDue(due: Due): boolean {
    return this.#byId.get(due.id)?.due === due;
  }

  #count(action: string, change: number): void {
    const count = (this.#byAction.get(action) ?? 0) + change;
    if (count === 0) this.#byAction.delete(action);
    else this.#byAction.set(action, count);
  }

  #sweep(): void {
    const dues = this.#dues.filter((due) => this.#isDue(due));
    this.#dues = [];
    for (const due of dues) this.#push(due);
  }

  #push(due: Due): void {
    const dues = this.#dues;
    let place = dues.length;
    dues.push(due);
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = dues[above];
      if (parent === undefined || !isBefore(due, parent)) break;
      dues[place] = parent;
      place = above;
    }
    dues[place] = due;
  }

  #pop(): void {
    const dues = this.#dues;
    const last = dues.pop();
    if (last === undefined || dues.length === 0) return;
    let place = 0;
    for (;;) {
      const left = dues[2 * place + 1];
      const right = dues[2 * place + 2];
      const isRight = left !== undefined && right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (child === undefined || !isBefore(child, last)) break;
      dues[place] = child;
      place = 2 * place + (isRight ? 2 : 1);
    }
    dues[place] = last;
  }
}

const NONE: readonly Pending[] = [];

const isBefore = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.turn < b.turn);
