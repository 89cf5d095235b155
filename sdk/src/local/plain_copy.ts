import type { Json } from "../surface.ts";
import { builtin } from "./builtin.ts";

/** A text may take six times its length when it is printed: what is copied here is below every limit on what is shown and on what is recorded. */
const MOST_CHARACTERS = 60_000;
const PER_CHARACTER = 6;
const PER_VALUE = 32;
const MOST_LEVELS = 12;
const LONGEST_NAME = 256;

const isProxy = builtin<{ readonly types: { readonly isProxy: (value: unknown) => boolean } }>("node:util")?.types?.isProxy ?? (() => false);

/**
 * A copy of what is small and plain JSON data beyond doubt: what `shown` and `recordValue` would both give back as it is. `undefined`: it may be
 * something else, and they look closer. No code of the value's runs. Most calls have such arguments, and looking once is enough for them.
 */
export function plainCopy(value: unknown): Json | undefined {
  return copied({ left: MOST_CHARACTERS }, value, 0);
}

/** The same of each argument of a call. */
export function plainCopies(args: readonly unknown[]): readonly Json[] | undefined {
  const room: Room = { left: MOST_CHARACTERS };
  const copies: Json[] = [];
  for (let place = 0; place < args.length; place++) {
    const copy = copied(room, args[place], 0);
    if (copy === undefined) return undefined;
    copies.push(copy);
  }
  return copies;
}

interface Room {
  left: number;
}

function copied(room: Room, value: unknown, level: number): Json | undefined {
  room.left -= PER_VALUE;
  if (typeof value === "string") room.left -= PER_CHARACTER * value.length;
  if (room.left < 0) return undefined;
  if (typeof value === "string" || typeof value === "boolean" || value === null) return value;
  if (typeof value === "number") return Number.isFinite(value) && !Object.is(value, -0) ? value : undefined;
  if (typeof value !== "object" || level >= MOST_LEVELS || isProxy(value)) return undefined;
  return Array.isArray(value) ? copiedList(room, value, level) : copiedMembers(room, value, level);
}

function copiedList(room: Room, list: readonly unknown[], level: number): Json | undefined {
  // To name a million items takes as long as anybody waits.
  if (list.length * PER_VALUE > room.left) return undefined;
  // Its items and its length, and nothing beside them.
  if (Object.getPrototypeOf(list) !== Array.prototype || Object.getOwnPropertyNames(list).length !== list.length + 1) return undefined;
  const copy: Json[] = [];
  for (let place = 0; place < list.length; place++) {
    const item = copiedMember(room, list, String(place), level);
    if (item === undefined) return undefined;
    copy.push(item);
  }
  return copy;
}

function copiedMembers(room: Room, from: object, level: number): Json | undefined {
  const prototype: unknown = Object.getPrototypeOf(from);
  if ((prototype !== Object.prototype && prototype !== null) || Object.getOwnPropertySymbols(from).length > 0) return undefined;
  const copy: { [name: string]: Json } = {};
  for (const name of Object.getOwnPropertyNames(from)) {
    room.left -= PER_CHARACTER * name.length;
    // Names with a dollar sign could be tags, and `__proto__` would not become a member.
    const value = name.startsWith("$") || name === "__proto__" || name.length > LONGEST_NAME ? undefined : copiedMember(room, from, name, level);
    if (value === undefined) return undefined;
    copy[name] = value;
  }
  return copy;
}

/** What has to be called to be known is nobody's to look at, and what is not enumerable no JSON shows. */
function copiedMember(room: Room, of: object, name: string, level: number): Json | undefined {
  const member = Object.getOwnPropertyDescriptor(of, name);
  return member?.enumerable === true ? copied(room, member.value, level + 1) : undefined;
}
