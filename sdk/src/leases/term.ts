/**
 * How long a lease may be used here: less than the gateway keeps it, because it is counted from before it was asked for. Of two clocks the one that is
 * further counts: the wall's may be set back, the steady one stands still while a machine sleeps.
 */
export class Term {
  readonly #now: () => number;
  readonly #wallBegan: number;
  readonly #steadyBegan = performance.now();
  #ms = 0;

  /** Begins now. */
  constructor(now: () => number) {
    this.#now = now;
    this.#wallBegan = now();
  }

  /** It ends so long after it began. */
  lasts(ms: number): void {
    this.#ms = ms;
  }

  get leftMs(): number {
    return this.#ms - Math.max(this.#now() - this.#wallBegan, performance.now() - this.#steadyBegan);
  }
}
