import { createHash } from "node:crypto";
import { Random } from "../random.ts";

/** Somebody who lives in the world: a client, an isolate, an object, a database. It has a clock of its own, and forgets everything when it falls. */
export interface Party {
  readonly name: string;
  /** How far its clock is from the world's. */
  offsetMs: number;
  /** Counts its lives: what was under way in an earlier one never comes back to it. */
  life: number;
  /** Sends a message, or keeps it back until what was written before is durable. */
  emit(send: () => void): void;
  /** An event of its is through. */
  settle(): void;
}

interface Event {
  readonly at: number;
  /** Among events of one instant, chance decides. */
  readonly order: number;
  readonly party: Party;
  /** `null`: whichever it is in by then. */
  readonly life: number | null;
  readonly what: string;
  run: (() => void) | null;
}

/** What was put on the list of what will happen, and can be taken off again. */
export interface Planned {
  cancel(): void;
}

/** What happens to a client that paused of its own accord. */
export const GOES_ON = "goes on";

const captured = { setImmediate: globalThis.setImmediate };

/**
 * Time, and the order in which things happen. One event happens at a time: whoever it happens to runs until it waits for somebody else. All that parties
 * know of each other crosses here. The same seed gives the same events in the same order.
 */
export class World {
  now: number;
  readonly random: Random;
  /**
   * What the gateway takes for random bytes. A chance of its own: the gateway fetches bytes for many uses at once and keeps what is left for the next world,
   * which must not change what happens there.
   */
  readonly bytes: Random;
  /** Whose code is running. */
  current: Party | null = null;
  /** Whose code ran last. */
  last: Party | null = null;
  steps = 0;
  /** What happened last, for whoever looks for a cause. */
  readonly recent: string[] = [];
  /** Says everything that happens. */
  trace: ((line: string) => void) | null = null;
  readonly #events: Event[] = [];
  readonly #noted = createHash("sha256");

  constructor(now: number, random: Random) {
    this.now = now;
    this.random = random;
    this.bytes = new Random(random.seed());
  }

  /** Lets something happen to a party in a while, unless it has fallen by then; `anyLife`: also then. */
  plan(inMs: number, party: Party, what: string, run: () => void, anyLife = false): Planned {
    const at = this.now + Math.max(0, Math.round(inMs));
    const event: Event = { at, order: this.random.next(), party, life: anyLife ? null : party.life, what, run };
    push(this.#events, event);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }

  /** Nobody does anything of its own accord for a while: what clients would do next they do later, and everything else goes on. */
  leap(ms: number): void {
    const later = this.#events.filter(({ what }) => what === GOES_ON);
    const others = this.#events.filter(({ what }) => what !== GOES_ON);
    this.#events.length = 0;
    for (const event of others) push(this.#events, event);
    for (const event of later) push(this.#events, { ...event, at: event.at + ms });
  }

  /** Lets the next thing happen, and everything that follows from it at once. Answers whether there was any until that instant. */
  async step(until: number): Promise<boolean> {
    for (;;) {
      const next = this.#events[0];
      if (next === undefined || next.at > until) return false;
      pop(this.#events);
      const { run, party, life } = next;
      if (run === null || (life !== null && party.life !== life)) continue;
      this.now = Math.max(this.now, next.at);
      this.steps++;
      this.note(`${party.name} ${next.what}`);
      await this.runAs(party, run);
      return true;
    }
  }

  /** Runs code as a party, until it waits for somebody. */
  async runAs(party: Party, run: () => void): Promise<void> {
    this.current = party;
    run();
    // All microtasks are through when this comes back: promises are resolved by events alone, so nothing else can be under way.
    await new Promise((resolve) => captured.setImmediate(resolve));
    this.current = null;
    this.last = party;
    party.settle();
  }

  note(what: string): void {
    this.#noted.update(`${this.now} ${what}\n`);
    this.trace?.(`${this.steps} +${this.now % 1_000_000_000} ${what}`);
    this.recent.push(`${this.steps} ${new Date(this.now).toISOString()} ${what}`);
    if (this.recent.length > 400) this.recent.splice(0, 200);
  }

  /** Of everything that was noted. */
  digest(): string {
    return this.#noted.copy().digest("hex");
  }

  clockOf(party: Party | null): number {
    return this.now + (party?.offsetMs ?? 0);
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

function push(heap: Event[], event: Event): void {
  let place = heap.push(event) - 1;
  while (place > 0) {
    const parent = (place - 1) >> 1;
    const above = heap[parent];
    if (above === undefined || !isBefore(event, above)) break;
    heap[place] = above;
    place = parent;
  }
  heap[place] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let place = 0;
  for (;;) {
    const left = heap[2 * place + 1];
    const right = heap[2 * place + 2];
    if (left === undefined) break;
    const isRight = right !== undefined && isBefore(right, left);
    const least = isRight ? right : left;
    if (!isBefore(least, last)) break;
    heap[place] = least;
    place = 2 * place + (isRight ? 2 : 1);
  }
  heap[place] = last;
}
