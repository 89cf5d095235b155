import { matchesGlob } from "../glob.ts";

/**
 * Patterns with what each stands for, found by an action's name. An exact name is one look-up; a glob is tried only when the name begins and ends
 * as the glob does, and has its longest piece between stars. So thousands of patterns cost little for an action that few of them name.
 */
export class PatternIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #globs = new Shelf<Shelf<Glob<T>[]>>();

  constructor(entries: Iterable<readonly [pattern: string, value: T]>) {
    for (const [pattern, value] of entries) {
      if (!isGlob(pattern)) {
        this.#exact.set(pattern, value);
        continue;
      }
      const [beginning = "", ...rest] = pattern.split("*");
      const end = rest.pop() ?? "";
      const between = rest.reduce((longest, piece) => (piece.length > longest.length ? piece : longest), "");
      this.#globs
        .at(beginning, () => new Shelf())
        .at(end, () => [])
        .push({ pattern, between, value });
    }
  }

  /** All patterns that name `action`, the narrowest first: see {@link byNarrowness}. */
  naming(action: string): readonly { readonly pattern: string; readonly value: T }[] {
    const found: { readonly pattern: string; readonly value: T }[] = [];
    const exact = this.#exact.get(action);
    if (exact !== undefined) found.push({ pattern: action, value: exact });
    for (const byEnd of this.#globs.along(action, (length) => action.slice(0, length))) {
      for (const globs of byEnd.along(action, (length) => action.slice(action.length - length))) {
        for (const glob of globs) {
          if (action.includes(glob.between) && matchesGlob(glob.pattern, action)) found.push(glob);
        }
      }
    }
    return found.sort((a, b) => byNarrowness(a.pattern, b.pattern));
  }
}

interface Glob<T> {
  readonly pattern: string;
  /** The longest piece between two stars. */
  readonly between: string;
  readonly value: T;
}

/** Things by a text that is the beginning, or the end, of what is looked for. */
class Shelf<T> {
  readonly #things = new Map<string, T>();
  #longest = 0;

  at(text: string, make: () => T): T {
    let thing = this.#things.get(text);
    if (thing === undefined) {
      thing = make();
      this.#things.set(text, thing);
      this.#longest = Math.max(this.#longest, text.length);
    }
    return thing;
  }

  /** What stands under any part of `name`, cut by `part` at every length. */
  along(name: string, part: (length: number) => string): readonly T[] {
    const found: T[] = [];
    for (let length = 0; length <= Math.min(this.#longest, name.length); length++) {
      const thing = this.#things.get(part(length));
      if (thing !== undefined) found.push(thing);
    }
    return found;
  }
}

export const indexOf = (patterns: readonly string[]): PatternIndex<true> => new PatternIndex(patterns.map((pattern) => [pattern, true]));

/** An action's name, or a glob: 1 to 128 letters, digits, `_ - . : /` and `*`. */
export const PATTERN = /^[A-Za-z0-9_\-.:/*]{1,128}$/;
export const MOST_STARS = 16;

export const isGlob = (pattern: string): boolean => pattern.includes("*");

/** An exact name before every glob, then the glob with more letters of its own, then by code units so that the order is one. */
export function byNarrowness(a: string, b: string): number {
  if (isGlob(a) !== isGlob(b)) return isGlob(a) ? 1 : -1;
  const letters = (pattern: string): number => pattern.replaceAll("*", "").length;
  return letters(b) - letters(a) || (a < b ? -1 : a > b ? 1 : 0);
}
