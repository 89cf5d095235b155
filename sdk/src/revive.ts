import type { Json } from "./surface.ts";
import { isObject, type Members, type Tag } from "./values.ts";

/** What a recorded value was, or the place (RFC 6901 pointer) and tag of the first part that cannot be made again. */
export type Revived = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly pointer: string; readonly tag: string };

/**
 * Makes again what was recorded, exactly: the same types, the same order of members. Refuses a value of which a part was cut, was an instance of a
 * class, a function, an accessor or anything else that is more than its data. Knows nothing of redaction: who recorded it knows whether there was any.
 */
export function revived(value: Json): Revived {
  try {
    return { ok: true, value: revive(value, "") };
  } catch (lost) {
    if (lost instanceof Lost) return { ok: false, pointer: lost.pointer, tag: lost.tag };
    // Only a record that nobody wrote with `recordValue` comes here: a date or a base64 text that is none.
    return { ok: false, pointer: "", tag: "malformed" };
  }
}

class Lost {
  readonly pointer: string;
  readonly tag: string;

  constructor(pointer: string, tag: string) {
    this.pointer = pointer;
    this.tag = tag;
  }
}

function revive(value: Json, pointer: string): unknown {
  if (value === null || typeof value !== "object") return value;
  if (isList(value)) return reviveItems(value, pointer);
  if (Object.hasOwn(value, "$value")) return reviveTag(value, pointer);
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      unescaped(name),
      revive(member, `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`),
    ]),
  );
}

function reviveItems(items: readonly Json[], pointer: string): unknown[] {
  const array: unknown[] = new Array(items.length);
  for (const [place, item] of items.entries()) if (!isTag(item, "hole")) array[place] = revive(item, `${pointer}/${place}`);
  return array;
}

function reviveTag(tag: Members, pointer: string): unknown {
  const name = String(tag.$value);
  // Of a class of its own: the data is there, the class is not.
  if (Object.hasOwn(tag, "class")) throw new Lost(pointer, name);
  switch (name) {
    case "undefined":
      return undefined;
    case "number":
      return Number(tag.text);
    case "bigint":
      if (typeof tag.text === "string") return BigInt(tag.text);
      break;
    case "date":
      return new Date(typeof tag.at === "string" ? tag.at : Number.NaN);
    case "regexp":
      if (typeof tag.source === "string" && typeof tag.flags === "string") return new RegExp(tag.source, tag.flags);
      break;
    case "url":
      if (typeof tag.href === "string") return new URL(tag.href);
      break;
    case "map":
      if (isList(tag.entries) && tag.entries.length === tag.size) return new Map(tag.entries.map((pair, at) => revivePair(pair, `${pointer}/${at}`)));
      break;
    case "set":
      if (isList(tag.items) && tag.items.length === tag.size) return new Set(reviveItems(tag.items, pointer));
      break;
    case "bytes":
      return reviveBytes(tag, pointer);
  }
  throw new Lost(pointer, name);
}

function revivePair(pair: Json, pointer: string): [unknown, unknown] {
  if (isList(pair)) return [revive(pair[0] ?? null, `${pointer}/0`), revive(pair[1] ?? null, `${pointer}/1`)];
  const [entry] = Object.entries(pair ?? {});
  if (entry === undefined) throw new Lost(pointer, "malformed");
  return [unescaped(entry[0]), revive(entry[1], pointer)];
}

const VIEWS = {
  Uint8Array,
  Uint8ClampedArray,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
} as const;

function reviveBytes({ of, length, base64 }: Members, pointer: string): unknown {
  const bytes = typeof base64 === "string" ? Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)) : null;
  if (bytes === null || bytes.length !== length) throw new Lost(pointer, "bytes");
  if (of === "ArrayBuffer") return bytes.buffer;
  const { Buffer }: { readonly Buffer?: { from(buffer: ArrayBuffer): unknown } } = globalThis as object;
  if (of === "Buffer" && Buffer !== undefined) return Buffer.from(bytes.buffer);
  if (typeof of !== "string" || !Object.hasOwn(VIEWS, of)) throw new Lost(pointer, "bytes");
  // The table has exactly its own members.
  return Reflect.construct(VIEWS[of as keyof typeof VIEWS], [bytes.buffer]);
}

const isTag = (value: Json, tag: Tag): boolean => isObject(value) && !isList(value) && Object.hasOwn(value, "$value") && value.$value === tag;

const unescaped = (name: string): string => (/^\$\$+value$/.test(name) ? name.slice(1) : name);

/** `Array.isArray` does not narrow a readonly array. */
const isList = (value: unknown): value is readonly Json[] => Array.isArray(value);
