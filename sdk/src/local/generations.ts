/**
 * Remembers the newest of what comes, at least so many, and all that must not be forgotten yet. What is old goes all at once, which costs little: taking
 * the oldest out of a map one by one makes each look past all that went before it.
 */
export class Generations<Key, Value> {
  readonly #least: number;
  readonly #mustStay: (value: Value) => boolean;
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();
  #most: number;

  constructor(least: number, mustStay: (value: Value) => boolean = () => false) {
    this.#least = least;
    this.#most = least;
    this.#mustStay = mustStay;
  }

  get(key: Key): Value | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  /** Adds what is not there yet. */
  add(key: Key, value: Value): void {
    if (this.#young.size >= this.#most) this.#age();
    this.#young.set(key, value);
  }

  /** Makes what is there one of the newest, if it is about to be forgotten. */
  renew(key: Key, value: Value): void {
    if (this.#old.delete(key)) this.add(key, value);
  }

  /** Whether it was there. */
  delete(key: Key): boolean {
    return this.#young.delete(key) || this.#old.delete(key);
  }

  *values(): Iterable<Value> {
    yield* this.#old.values();
    yield* this.#young.values();
  }

  #age(): void {
    const gone = this.#old;
    this.#old = this.#young;
    this.#young = new Map();
    gone.forEach((value, key) => {
      if (this.#mustStay(value)) this.#young.set(key, value);
    });
    // As many new ones fit beside those that stayed: else thousands that stay would be moved at every step.
    this.#most = this.#young.size + this.#least;
  }
}
