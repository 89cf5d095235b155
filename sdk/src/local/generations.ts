/**
 * Remembers the newest of what comes, at least so many and at most twice as many. What is old goes all at once, which costs nothing: taking the oldest
 * out of a map one by one makes each look past all that went before it.
 */
export class Generations<Key, Value> {
  readonly #least: number;
  #young = new Map<Key, Value>();
  #old = new Map<Key, Value>();

  constructor(least: number) {
    this.#least = least;
  }

  get(key: Key): Value | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }

  /** Adds, or puts in the place of what is there. `keepsAll`: nothing may be forgotten for it. */
  set(key: Key, value: Value, keepsAll = false): void {
    if (this.#old.has(key)) {
      this.#old.set(key, value);
      return;
    }
    if (!keepsAll && this.#young.size >= this.#least) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }

  delete(key: Key): void {
    if (!this.#young.delete(key)) this.#old.delete(key);
  }

  /** In the order in which they came. */
  *values(): Iterable<Value> {
    yield* this.#old.values();
    yield* this.#young.values();
  }
}
