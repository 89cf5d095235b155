import { matchesGlob } from "../glob.ts";

/**
 * Patterns with what each stands for, found by an action's name. An exact name is one look-up; a glob is tried only when the name begins
 * with the letters before the glob's first star. So thousands of patterns cost little for an action that few of them name.
 */
export class PatternIndex<T> {
  readonly #exact = new Map<string, T>();
  readonly #globs = new Map<string, { readonly pattern: string; readonly value: T }[]>();
  #longestPrefix = 0;

  constructor(entries: Iterable<readonly [pattern: string, value: T]>) {
    for (const [pattern, value] of entries) {
      const star = pattern.indexOf("*");
      if (star < 0) {
        this.#exact.set(pattern, value);
        continue;
      }
      const prefix = pattern.slice(0, star);
      const sharing = this.#globs.get(prefix) ?? [];
      sharing.push({ pattern, value });
      this.#globs.set(prefix, sharing);
      this.#longestPrefix = Math.max(this.#longestPrefix, prefix.length);
    }
  }

  /** All patterns that name `action`, the narrowest first: see {@link byNarrowness}. */
  naming(action: string): readonly { readonly pattern: string; readonly value: T }[] {
    const found: { readonly pattern: string; readonly value: T }[] = [];
    const exact = this.#exact.get(action);
    if (exact !== undefined) found.push({ pattern: action, value: exact });
    for (let length = 0; length <= Math.min(this.#longestPrefix, action.length); length++) {
      for (const glob of this.#globs.get(action.slice(0, length)) ?? []) {
        if (matchesGlob(glob.pattern, action)) found.push(glob);
      }
    }
    return found.sort((a, b) => byNarrowness(a.pattern, b.pattern));
  }
}

export const indexOf = (patterns: readonly string[]): PatternIndex<true> => new PatternIndex(patterns.map((pattern) => [pattern, true]));

export const isGlob = (pattern: string): boolean => pattern.includes("*");

/** An exact name before every glob, then the glob with more letters of its own, then by code units so that the order is one. */
export function byNarrowness(a: string, b: string): number {
  if (isGlob(a) !== isGlob(b)) return isGlob(a) ? 1 : -1;
  const letters = (pattern: string): number => pattern.replaceAll("*", "").length;
  return letters(b) - letters(a) || (a < b ? -1 : a > b ? 1 : 0);
}
