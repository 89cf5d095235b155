import type { Instant } from "./time.ts";

/** So many names that nobody here knows are looked up within a second, at most: made-up ones must not become a flood of questions. */
export const MOST_LOOKUPS = 100;

/** Lets through so many within each second of the clock that it is told. Where that clock goes back, it begins anew. */
export class Ration {
  readonly #most: number;
  #second = 0;
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** Whether one more may pass now; takes it if so. */
  take(now: Instant): boolean {
    const second = Math.floor(now / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#taken = 0;
    }
    if (this.#taken >= this.#most) return false;
    this.#taken++;
    return true;
  }
}
