import type { Instant } from "../core/time.ts";

/** So many decisions are on their way at once: enough to share a turn, few enough that none of them waits long for its next step. */
const PLACES = 48;
/** The platform lets no request go on for so long after its caller has gone. Whoever still has a place then has ended without a word. */
const LOST_AFTER_MS = 60_000;

interface Place {
  readonly since: Instant;
}

/**
 * Lets `PLACES` in at once, and the others in the order in which they came. It is needed where one thread serves the door and every object, as with
 * `npm start`: there the runtime takes up new requests before it goes on with those that it has, so that of many callers some are answered at once and
 * some not at all. On Cloudflare objects have threads of their own and lines of their own, and nobody passes through here.
 */
export class Turnstile {
  readonly #clock: () => Instant;
  readonly #inside = new Set<Place>();
  readonly #line: ((place: Place) => void)[] = [];

  constructor(clock: () => Instant) {
    this.#clock = clock;
  }

  /** Does the work once there is a place for it, and gives its answer or its fault. */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    const place = await this.#enter();
    try {
      return await work();
    } finally {
      this.#inside.delete(place);
      this.#admit();
    }
  }

  #enter(): Promise<Place> {
    const place = new Promise<Place>((resolve) => this.#line.push(resolve));
    this.#admit();
    return place;
  }

  #admit(): void {
    if (this.#inside.size >= PLACES) this.#forgetLost();
    while (this.#inside.size < PLACES) {
      const next = this.#line.shift();
      if (next === undefined) return;
      const place: Place = { since: this.#clock() };
      this.#inside.add(place);
      next(place);
    }
  }

  /** Those who have been in the longest come first in a set. */
  #forgetLost(): void {
    for (const place of this.#inside) {
      if (this.#clock() - place.since < LOST_AFTER_MS) return;
      this.#inside.delete(place);
    }
  }
}
