/** Chance that can be had again: everything that a simulation leaves to chance comes from one seed. */
export class Random {
  #state: number;

  /** `seed`: a whole number from 0 to 2^32 - 1. */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0, below 1. */
  next(): number {
    // mulberry32: one addition and three multiplications, and every seed has a period of 2^32.
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(among: readonly T[]): T {
    if (among.length === 0) throw new Error("there is nothing to pick from");
    // A place within the list.
    return among[this.between(0, among.length - 1)] as T;
  }

  /** One of the names, each as often as its weight says. */
  weighted<Name extends string>(weights: { readonly [N in Name]: number }): Name {
    // The keys of an object of this very type.
    const entries = Object.entries(weights) as [Name, number][];
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight] of entries) {
      left -= weight;
      if (left < 0) return name;
    }
    return this.pick(entries)[0];
  }

  /** A seed for something that is to have its own chance. */
  seed(): number {
    return this.between(0, 0xffff_ffff);
  }

  fill(bytes: Uint8Array): void {
    for (let place = 0; place < bytes.length; place++) bytes[place] = this.between(0, 255);
  }
}
