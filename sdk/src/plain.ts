import type { Json } from "./wire.ts";

const MOST_LEVELS = 24;
/** Three bytes a character at worst: it stays below the gateway's limit for a body. */
const MOST_CHARACTERS = 64_000;

/** The digest of no inputs at all: it says that there are some, and that they are not shown. */
export const UNSHOWN = "sha-256:0000000000000000000000000000000000000000000000000000000000000000";

/**
 * The arguments of a call as they are shown to the gateway when nothing else is said: one plain object as itself, anything else as the list.
 * `undefined`: they are not plain JSON data, or too large. They are never bent into shape, because a rule or a person would then
 * judge something that is not what runs.
 */
export function shownArguments(args: readonly unknown[]): Json | undefined {
  let length = args.length;
  while (length && args[length - 1] === undefined) length--;
  // Known to be plain before it is looked at closer: at whatever else it is, a look may throw.
  const one = length === 1 && shown(args[0]);
  return hasMembers(one) ? one : shown(args.slice(0, length));
}

/** A value as it is shown: itself when it is plain JSON data of moderate size, else `undefined`. Whatever a look at it throws, it is no plain data. */
export function shown(value: unknown): Json | undefined {
  // Every value takes a character, and a text its own: what has more of them is too large. What is shared counts as often as it would be written, which ten
  // objects can make more often than anybody waits for.
  let left = MOST_CHARACTERS;
  const isPlain = (value: unknown, level: number): value is Json => {
    if (!left--) return false;
    if (typeof value === "string") {
      left -= value.length;
      return left >= 0;
    }
    if (value === null || typeof value === "boolean" || Number.isFinite(value)) return true;
    // What it was to show, a function `toJSON` would make something else of; a member of that name that is none is data. Any object can be asked for it.
    if (!isObject(value) || typeof (value as { readonly toJSON?: unknown }).toJSON === "function" || level > MOST_LEVELS) return false;
    if (Array.isArray(value)) {
      // `every` skips holes, which JSON would turn into null.
      return value.length <= left && Object.keys(value).length === value.length && value.every((item) => isPlain(item, level + 1));
    }
    return (
      // Another realm's Object.prototype is plain too: it is what has nothing above it.
      !Object.getPrototypeOf(Object.getPrototypeOf(value) ?? Object.prototype) &&
      !Object.getOwnPropertySymbols(value).length &&
      Object.keys(value).length <= left &&
      Object.values(Object.getOwnPropertyDescriptors(value)).every(
        (member) => "value" in member && member.enumerable && (member.value === undefined || isPlain(member.value, level + 1)),
      )
    );
  };
  try {
    return isPlain(value, 0) && JSON.stringify(value).length <= MOST_CHARACTERS ? value : undefined;
  } catch {
    return undefined;
  }
}

export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

export const hasMembers = <Value>(value: Value): value is Value & { readonly [member: string]: unknown } => isObject(value) && !Array.isArray(value);

/** A class can only be made with `new`: called, it would be charged and throw. */
export function assertNoClass(fn: object, action: string): void {
  if (Object.getOwnPropertyDescriptor(fn, "prototype")?.writable === false)
    throw new TypeError(`Cannot guard "${action}": wanted a function, found a class`);
}
