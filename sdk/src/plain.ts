import type { Json } from "./wire.ts";

const MOST_LEVELS = 24;
/** Three bytes a character at worst: it stays below the gateway's limit for a body. */
const MOST_CHARACTERS = 64_000;

/**
 * The arguments of a call as they are shown to the gateway when nothing else is said: one plain object as itself, anything else as the list.
 * `undefined`: they are not plain JSON data, or too large. They are never bent into shape, because a rule or a person would then
 * judge something that is not what runs.
 */
export function shownArguments(args: readonly unknown[]): Json | undefined {
  try {
    let length = args.length;
    while (length > 0 && args[length - 1] === undefined) length--;
    const [first] = args;
    return shown(length === 1 && isObject(first) && !Array.isArray(first) ? first : args.slice(0, length));
  } catch {
    // A proxy's trap threw. Whatever it is, it is not plain data.
    return undefined;
  }
}

/** A value as it is shown: itself when it is plain JSON data of moderate size, else `undefined`. Throws only what the value itself throws. */
export const shown = (value: unknown): Json | undefined => (isPlain(value, 0) && JSON.stringify(value).length <= MOST_CHARACTERS ? value : undefined);

function isPlain(value: unknown, level: number): value is Json {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (!isObject(value) || level > MOST_LEVELS) return false;
  if (Array.isArray(value)) {
    // `every` skips holes, which JSON would turn into null.
    return Object.keys(value).length === value.length && value.every((item) => isPlain(item, level + 1));
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  // Another realm's Object.prototype is plain too: it is what has nothing above it.
  if (isObject(prototype) && Object.getPrototypeOf(prototype) !== null) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  return Object.values(Object.getOwnPropertyDescriptors(value)).every(
    (member) => "value" in member && member.enumerable === true && (member.value === undefined || isPlain(member.value, level + 1)),
  );
}

const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** A class can only be made with `new`: called, it would be charged and throw. */
export function assertNoClass(fn: object, action: string): void {
  if (Reflect.getOwnPropertyDescriptor(fn, "prototype")?.writable === false)
    throw new TypeError(`Cannot guard "${action}": wanted a function, found a class`);
}
