/** As it was when this was loaded: a test may put fake timers in its place. */
const realTimeout = setTimeout;

/** Resolves once all that could happen without time has happened. */
const settled = (): Promise<void> => new Promise((resolve) => realTimeout(resolve, 0));

/** Time that only a test moves: nothing runs out, and no timer fires, before `advance`. */
export class TestClock {
  readonly #timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  #now: number;

  constructor(startsAt: number) {
    this.#now = startsAt;
  }

  readonly now = (): number => this.#now;

  readonly schedule = (callback: () => void, ms: number): (() => void) => {
    const timer = { at: this.#now + ms, callback };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  };

  /** Moves on by so many milliseconds and fires what is due on the way, in its order. What follows from each has happened before the next. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const [next] = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await settled();
    }
    this.#now = end;
    await settled();
  }
}
