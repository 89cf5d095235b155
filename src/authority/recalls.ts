import type { SessionId } from "../core/ids.ts";
import type { Instant } from "../core/time.ts";
import { inTime } from "../flow/patience.ts";
import type { PoolStore } from "./pool_store.ts";
import type { Given, Scarce } from "./shared_accounts.ts";

/** So many are asked to give back at once. */
const MOST_RECALLED = 32;
/** The place of whoever waits behind nobody. */
const BEFORE_ALL = 0;

/** A draw that waits for what others hold. */
interface Drawing {
  /** How many began to wait before it. */
  readonly place: number;
  readonly ended: Promise<void>;
}

/** What recalls need of their tenant's object. */
export interface RecallsEnd {
  /** Asks a session to give back what it has not spent, and takes in what it says. Rejects where it cannot be reached. */
  askBack(session: SessionId): Promise<void>;
  /** So long a session that is asked to give back is not asked again. */
  patienceMs(): number;
}

/** Brings back what sessions were given of what is scarce and have not spent, in an order in which everybody who wants it is answered. */
export class Recalls {
  readonly #pools: PoolStore;
  readonly #end: RecallsEnd;
  /** Sessions that are being asked. */
  readonly #recalls = new Map<SessionId, Promise<unknown>>();
  /** Whose draws wait for what others hold, and how many ever began to. */
  readonly #drawing = new Map<SessionId, Drawing>();
  #draws = 0;

  constructor(pools: PoolStore, end: RecallsEnd) {
    this.#pools = pools;
    this.#end = end;
  }

  /**
   * Has what is scarce brought back for a session until `giveAgain` finds that there is enough, nobody is left to ask, or it is `until`. Answers what was
   * given last; `null`: the session has said something newer meanwhile.
   */
  async giveInTurn(session: SessionId, first: Given, until: Instant, giveAgain: () => Given | null): Promise<Given | null> {
    const ended = Promise.withResolvers<void>();
    const drawing: Drawing = { place: ++this.#draws, ended: ended.promise };
    this.#drawing.set(session, drawing);
    try {
      const asked = new Set<SessionId>();
      let given: Given | null = first;
      while (given !== null && given.scarce.length > 0 && Date.now() < until) {
        if (!(await this.#bringBack(session, given.scarce, asked, until - Date.now(), drawing.place))) break;
        given = giveAgain();
      }
      return given;
    } finally {
      if (this.#drawing.get(session) === drawing) this.#drawing.delete(session);
      ended.resolve();
    }
  }

  /** Asks all who hold some of what is overdrawn, however many they are and however long that takes. */
  async bringAllBack(asker: SessionId, overdrawn: readonly Scarce[]): Promise<void> {
    const asked = new Set<SessionId>();
    while (await this.#bringBack(asker, overdrawn, asked, this.#end.patienceMs(), BEFORE_ALL));
  }

  /** Asks those who hold what is scarce, and were not asked `before`, to give back what they have not spent. Answers whether there was anybody to ask. */
  async #bringBack(asker: SessionId, scarce: readonly Scarce[], before: Set<SessionId>, patienceMs: number, place: number): Promise<boolean> {
    const holders = new Set(
      scarce.flatMap(({ kind, key }) =>
        kind === "money"
          ? this.#pools.holdersOf(key, asker, MOST_RECALLED + before.size)
          : this.#pools.callHoldersOf(key, asker, MOST_RECALLED + before.size),
      ),
    );
    const asked = [...holders].filter((one) => !before.has(one)).slice(0, MOST_RECALLED);
    if (asked.length === 0) return false;
    for (const one of asked) before.add(one);
    await inTime(patienceMs, Promise.allSettled(asked.map((one) => this.#recallInTurn(one, place))));
    return true;
  }

  /**
   * Who asked for what is scarce before, and waits for it, is answered first: asked to give back meanwhile it would ask again from the beginning, and of many
   * that want the last of something none would ever be answered.
   */
  async #recallInTurn(session: SessionId, place: number): Promise<unknown> {
    const drawing = this.#drawing.get(session);
    if (drawing !== undefined && drawing.place < place) await drawing.ended;
    return this.#recall(session);
  }

  /** One session is asked to give back once at a time, whoever wants it; again where it says nothing for long. Its word counts whenever it comes. */
  #recall(session: SessionId): Promise<unknown> {
    const underway = this.#recalls.get(session);
    if (underway !== undefined) return underway;
    const recall = inTime(this.#end.patienceMs(), this.#end.askBack(session)).finally(() => this.#recalls.delete(session));
    this.#recalls.set(session, recall);
    return recall;
  }
}
