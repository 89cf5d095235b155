/**
 * What a lease pays with, in whole micro-USD: what is reserved is taken at once, so that all that runs at the same time never has more than there is. What
 * something cost beyond what was reserved for it is gone too.
 */
export class Purse {
  readonly #amount: number;
  #reserved = 0;
  #spent = 0;

  constructor(amountMicroUsd: number) {
    this.#amount = amountMicroUsd;
  }

  /** What can still be reserved. */
  get leftMicroUsd(): number {
    return Math.max(0, this.#amount - this.#reserved - this.#spent);
  }

  /** Takes so much, or nothing where there is less: where more was spent than there was, not even what costs nothing. */
  reserve(microUsd: number): boolean {
    const isThere = this.#reserved + this.#spent + microUsd <= this.#amount;
    if (isThere) this.#reserved += microUsd;
    return isThere;
  }

  /** What was reserved is gone, or what was spent instead of it; `0`: it comes back. */
  spend(reservedMicroUsd: number, spentMicroUsd: number): void {
    this.#reserved -= reservedMicroUsd;
    this.#spent += spentMicroUsd;
  }
}
