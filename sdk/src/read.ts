import { hasMembers } from "./plain.ts";
import type { Json } from "./wire.ts";

/** Reads what came over the wire, member by member: a checked value, or a `ShapeFault` that names the member. */

/** A name as the wire spells it. */
export const snake = (key: string): string => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** An answer is not what it must be. Says where and what was wanted, never what was found: that is a stranger's text. */
export class ShapeFault extends TypeError {
  constructor(at: string, wanted: string) {
    super(`${at || "/"} must be ${wanted}`);
  }
}

/** Reads a value at a place of an answer, or throws a `ShapeFault`. */
export type Read<T> = (value: unknown, at: string) => T;

const read =
  <T>(wanted: string, fits: (value: unknown) => value is T): Read<T> =>
  (value, at) => {
    if (!fits(value)) throw new ShapeFault(at, wanted);
    return value;
  };

export const text = read("a string", (value) => typeof value === "string");
export const number = read("a finite number", (value): value is number => Number.isFinite(value));
export const flag = read("true or false", (value) => typeof value === "boolean");
/** Ids go into paths, so they may hold nothing that a path would read differently. */
export const id = read("an id of letters, digits, _ or -", (value): value is string => typeof value === "string" && /^[\w-]{1,128}$/.test(value));
/** What `JSON.parse` gave is JSON. */
export const json = read("present", (value): value is Json => value !== undefined);

export const oneOf = <const T extends string>(...values: readonly T[]): Read<T> =>
  // Whatever is in a list of `T` is one.
  read(`one of ${values.join(", ")}`, (value): value is T => values.includes(value as T));

/** A missing member counts as `null`. */
export const nullable =
  <T>(of: Read<T>): Read<T | null> =>
  (value, at) =>
    value == null ? null : of(value, at);

const items = read("an array", (value): value is readonly unknown[] => Array.isArray(value));

export const list =
  <T>(of: Read<T>): Read<readonly T[]> =>
  (value, at) =>
    items(value, at).map((item, place) => of(item, `${at}/${place}`));

const members = read("an object", hasMembers);

export const texts: Read<{ readonly [key: string]: string }> = (value, at) =>
  Object.fromEntries(Object.entries(members(value, at)).map(([key, member]) => [key, text(member, `${at}/${key}`)]));

/** An object of these members, each looked up under its wire name. Members it does not name are a newer gateway's, and left out. */
export const object = <T>(shape: { readonly [K in keyof T]-?: Read<T[K]> }): Read<T> => {
  // Spelled once, not for each answer. What `shape` has under a key reads that key's member.
  const named = Object.entries(shape).map(([key, of]) => [key as keyof T, snake(key), of as Read<T[keyof T]>] as const);
  return (value, at) => {
    const found = members(value, at);
    const made: Partial<T> = {};
    for (const [key, name, of] of named) {
      // An inherited member (`constructor`) is none of the answer's.
      made[key] = of(Object.hasOwn(found, name) ? found[name] : undefined, `${at}/${name}`);
    }
    // Every member of the shape was read.
    return made as T;
  };
};
