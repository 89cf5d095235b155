import type { SessionId } from "../core/ids.ts";
import type { Draw } from "../core/shares.ts";
import type { Instant } from "../core/time.ts";
import { inTime } from "../flow/patience.ts";
import type { Intervention, Lease } from "../flow/ports.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import type { LeasedSession, TenantStore } from "./tenant_store.ts";

/** How long a change waits for live sessions to hear of it before it answers; who has not by then does at its lease's end. */
const PUSH_PATIENCE_MS = 2_000;

/** The intervention for which sessions are told what is now in force. */
export type Because = Pick<Intervention, "target" | "kind">;

/** What a session answers to what it is told. */
export interface Heard {
  /** Its entry from which on it obeys; 0 where it is being opened, and opens with it. */
  readonly seq: number;
  readonly at: Instant;
  readonly hasRun: boolean;
  /** Until then whoever holds a client lease that the news stops may go on; `null`: nobody does. */
  readonly leasedUntil: Instant | null;
  /** Where it stands, where the news is that a limit may look at that. */
  readonly draw: Draw | null;
}

/** Who has heard what is now in force, and who has not. */
export interface Told {
  readonly heard: readonly (Omit<Heard, "draw"> & { readonly session: SessionId })[];
  readonly silent: readonly LeasedSession[];
}

/** What the news needs of its tenant's object. */
export interface LeaseNewsEnd {
  /** Leases of this instant, by what is in force now; what all of them have in common is read once. */
  leases(now: Instant): (session: SessionId, agent: string) => Lease;
  /** Tells a session. Rejects where it cannot be reached. */
  tell(session: SessionId, lease: Lease, because: Because | null): Promise<Heard>;
  /** Takes in what a session says of where it stands. */
  hear(session: SessionId, draw: Draw): void;
}

/** Carries what is in force to the sessions whose leases run. */
export class LeaseNews {
  readonly #store: TenantStore;
  readonly #end: LeaseNewsEnd;
  /** Ends when sessions may be told again of changed entities. */
  #entityRest: Promise<unknown> = Promise.resolve();
  /** The telling that has not begun: it will say what is in force when it begins, so whoever changes an entity until then waits for it. */
  #nextEntityPush: Promise<void> | null = null;
  /** The revision of entities that every session is known to have heard of. */
  #entitiesHeard = -1;

  constructor(store: TenantStore, end: LeaseNewsEnd) {
    this.#store = store;
    this.#end = end;
  }

  /**
   * Tells every session whose lease may still run what is now in force. Waits a little for them to have heard it. A session counts its lease by its
   * clock, from when it asked: one term of slack covers any clock that is off by less. Answers whether all of them have heard it.
   */
  async push(): Promise<boolean> {
    const { silent } = await this.tell(() => true, null);
    return silent.length === 0;
  }

  /** The same, to some of them, with who has heard and who has not. `because`: the intervention that is the news. */
  async tell(isTold: (session: LeasedSession) => boolean, because: Because | null): Promise<Told> {
    const now = Date.now();
    const lease = this.#end.leases(now);
    const silent = new Map(
      this.#store
        .leasedSessions(now - LEASE_TERM_MS, now)
        .filter(isTold)
        .map((one) => [one.id, one]),
    );
    const heard: Told["heard"][number][] = [];
    const tell = async ({ id: session, agent }: LeasedSession): Promise<void> => {
      const { draw, ...obeys } = await this.#end.tell(session, lease(session, agent), because);
      silent.delete(session);
      heard.push({ session, ...obeys });
      if (draw !== null) this.#end.hear(session, draw);
    };
    await inTime(PUSH_PATIENCE_MS, Promise.allSettled(Array.from(silent.values(), tell)));
    return { heard: [...heard], silent: [...silent.values()] };
  }

  /**
   * Tells sessions of changed entities. Entities change far more often than policies, so one telling is under way at a time, and all that changes
   * meanwhile is told together by the next. A policy or a revocation never waits behind them. What all have heard is not told again; what one of them
   * may have missed is, when the same write comes once more.
   */
  async pushEntities(): Promise<void> {
    if (this.#entitiesHeard === this.#store.readTenant().entities) return;
    this.#nextEntityPush ??= this.#entityRest.then(async () => {
      this.#nextEntityPush = null;
      const { entities } = this.#store.readTenant();
      const began = Date.now();
      const push = this.push();
      // As long as the telling took: who writes entities all day leaves the object half of its time for everybody else.
      const rest = () => scheduler.wait(Date.now() - began);
      this.#entityRest = push.then(rest, rest);
      if (await push) this.#entitiesHeard = entities;
    });
    await inTime(PUSH_PATIENCE_MS, this.#nextEntityPush);
  }
}
