import { plus, times } from "../decimals.ts";
import type { JsonValue } from "../json.ts";

/** An instant as CEL sees it: whole milliseconds since 1970, UTC. */
export class Timestamp {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
}

/** A span of time in milliseconds, parts of them included. */
export class Duration {
  readonly ms: number;
  constructor(ms: number) {
    this.ms = ms;
  }
}

/** A type as a value: what `type(x)` gives and `string`, `int`… stand for. */
export class TypeName {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** There is no value: something could not be evaluated. It is an outcome, not an exception, because a condition may well go on without it (`||`). */
export const FAULT: unique symbol = Symbol("fault");
export type Fault = typeof FAULT;

/** What an expression computes with. JSON as it came, CEL's own types beside it: `bigint` is int, `number` is double, `Map` is a mapping that the expression wrote. */
export type Value =
  | JsonValue
  | bigint
  | Timestamp
  | Duration
  | TypeName
  | readonly Value[]
  | ReadonlyMap<Key, Value>
  | { readonly [member: string]: Value };
export type Key = string | bigint | boolean;
export type Outcome = Value | Fault;

/** A mapping of JSON: only its own members are there. */
export type Members = { readonly [member: string]: Value };

/** What evaluation may still spend. Below zero it is over, and everything since is worth nothing. */
export interface Purse {
  steps: number;
}

const MOST_INT = 9223372036854775807n;
const LEAST_INT = -9223372036854775808n;
/** The instants of RFC 3339: the years 1 to 9999. */
const FIRST_INSTANT_MS = -62_135_596_800_000;
const LAST_INSTANT_MS = 253_402_300_799_999;
/** About 10,000 years, as in protobuf's Duration. */
const LONGEST_MS = 315_576_000_000_000;

export const intOf = (n: bigint): bigint | Fault => (n <= MOST_INT && n >= LEAST_INT ? n : FAULT);
export const timestampOf = (ms: number): Timestamp | Fault =>
  ms >= FIRST_INSTANT_MS && ms <= LAST_INSTANT_MS ? new Timestamp(Math.trunc(ms)) : FAULT;
export const durationOf = (ms: number): Duration | Fault => (Math.abs(ms) <= LONGEST_MS ? new Duration(ms) : FAULT);

function isMembers(value: Outcome): value is Members {
  if (typeof value !== "object" || value === null) return false;
  // What JSON made: most are, and this is seen at once.
  if (Object.getPrototypeOf(value) === Object.prototype) return true;
  return (
    !Array.isArray(value) && !(value instanceof Map) && !(value instanceof Timestamp) && !(value instanceof Duration) && !(value instanceof TypeName)
  );
}

const TYPES = new Map(
  ["null_type", "bool", "int", "double", "string", "list", "map", "google.protobuf.Timestamp", "google.protobuf.Duration", "type"].map((name) => [
    name,
    new TypeName(name),
  ]),
);

/** The type that a name such as `int` stands for. */
export const typeNamed = (name: string): TypeName | undefined => TYPES.get(name);

export function typeOf(value: Value): TypeName | Fault {
  return TYPES.get(nameOfType(value)) ?? FAULT;
}

function nameOfType(value: Value): string {
  if (value === null) return "null_type";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return "double";
  if (typeof value === "string") return "string";
  if (Array.isArray(value)) return "list";
  if (value instanceof Timestamp) return "google.protobuf.Timestamp";
  if (value instanceof Duration) return "google.protobuf.Duration";
  return value instanceof TypeName ? "type" : "map";
}

/** The member of a mapping or the element of a list; a fault where there is none. What an object inherits is not there. */
export function memberOf(value: Outcome, key: Outcome): Outcome {
  if (value === FAULT || key === FAULT) return FAULT;
  if (Array.isArray(value)) {
    const at = typeof key === "bigint" ? Number(key) : key;
    if (typeof at !== "number" || !Number.isInteger(at) || at < 0) return FAULT;
    return value[at] ?? (at < value.length ? null : FAULT);
  }
  if (value instanceof Map) {
    const known = keyOf(key);
    const found = known === FAULT ? undefined : value.get(known);
    return found === undefined ? FAULT : found;
  }
  return typeof key === "string" ? ownMember(value, key) : FAULT;
}

/** As {@link memberOf}, where the name is known beforehand. */
export function ownMember(value: Outcome, name: string): Outcome {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return FAULT;
  if (value instanceof Map) return value.get(name) ?? (value.has(name) ? null : FAULT);
  if (!Object.hasOwn(value, name) || !isMembers(value)) return FAULT;
  // `undefined` never comes out of JSON, but a caller's literal may hold it: it is not there.
  const member = value[name];
  return member === undefined ? FAULT : member;
}

/** Whether a mapping has a member; a fault where it is no mapping. */
export function hasMember(value: Outcome, name: string): boolean | Fault {
  if (value instanceof Map) return value.has(name);
  return isMembers(value) ? Object.hasOwn(value, name) && value[name] !== undefined : FAULT;
}

/** A value as the key of a mapping. Numbers that are equal are one key. */
export function keyOf(value: Outcome): Key | Fault {
  if (typeof value === "string" || typeof value === "bigint" || typeof value === "boolean") return value;
  return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : FAULT;
}

/** CEL's equality: numbers by what they are worth, lists and mappings by their parts, and values of different types are unequal. NaN equals nothing. */
export function areEqual(a: Value, b: Value, purse: Purse): boolean {
  if (a === b) return true;
  if (typeof a === "string" || typeof b === "string") {
    if (typeof a === "string" && typeof b === "string") purse.steps -= Math.min(a.length, b.length) >> 6;
    return false;
  }
  // `==` between number and bigint compares what they are worth, exactly; TypeScript would have both alike.
  if (typeof a === "number" && typeof b === "bigint") return a === Number(b) && BigInt(a) === b;
  if (typeof a === "bigint" && typeof b === "number") return b === Number(a) && BigInt(b) === a;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) return Array.isArray(a) && Array.isArray(b) && areEqualLists(a, b, purse);
  if (a instanceof Timestamp) return b instanceof Timestamp && a.ms === b.ms;
  if (a instanceof Duration) return b instanceof Duration && a.ms === b.ms;
  if (a instanceof TypeName || b instanceof TypeName || b instanceof Timestamp || b instanceof Duration) return false;
  return areEqualMappings(a, b, purse);
}

function areEqualLists(a: readonly Value[], b: readonly Value[], purse: Purse): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (--purse.steps < 0 || !areEqual(a[i] ?? null, b[i] ?? null, purse)) return false;
  }
  return true;
}

function areEqualMappings(a: Value, b: Value, purse: Purse): boolean {
  const keys = keysOf(a, purse);
  if (keys === FAULT || sizeOf(b, purse) !== keys.length) return false;
  for (const key of keys) {
    if (--purse.steps < 0) return false;
    const mine = memberOf(a, key);
    const theirs = memberOf(b, key);
    if (mine === FAULT || theirs === FAULT || !areEqual(mine, theirs, purse)) return false;
  }
  return true;
}

/** What a comprehension runs over: a list's elements, a mapping's keys. */
export function keysOf(value: Outcome, purse: Purse): readonly Value[] | Fault {
  if (Array.isArray(value)) return value;
  const keys = value instanceof Map ? [...value.keys()] : isMembers(value) ? Object.keys(value) : FAULT;
  // Listing the members of a large object is slow.
  if (keys !== FAULT) purse.steps -= 4 * keys.length;
  return keys;
}

/** How many characters (Unicode code points), elements or members there are. */
export function sizeOf(value: Outcome, purse: Purse): number | Fault {
  if (Array.isArray(value)) return value.length;
  if (typeof value !== "string") {
    const keys = value instanceof Map ? value.size : keysOf(value, purse);
    return typeof keys === "object" ? keys.length : keys;
  }
  purse.steps -= value.length >> 4;
  // Most texts have no character beyond U+FFFF, which is found out much faster than counted.
  if (!/[\ud800-\udbff]/.test(value) || !spend(purse, value.length >> 1)) return value.length;
  let pairs = 0;
  for (let i = 1; i < value.length; i++) if (isPair(value, i)) pairs++;
  return value.length - pairs;
}

const isPair = (text: string, at: number): boolean => (text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800;

/** Less than zero, zero or more as `a` stands before, with or after `b`; NaN where one is NaN, a fault where they have no order. */
export function orderOf(a: Outcome, b: Outcome, purse: Purse): number | Fault {
  if (isNumber(a) && isNumber(b)) return a < b ? -1 : a > b ? 1 : areEqual(a, b, purse) ? 0 : Number.NaN;
  if (typeof a === "string" && typeof b === "string") return orderOfTexts(a, b, purse);
  if (typeof a === "boolean" && typeof b === "boolean") return Number(a) - Number(b);
  if (a instanceof Timestamp && b instanceof Timestamp) return a.ms - b.ms;
  return a instanceof Duration && b instanceof Duration ? a.ms - b.ms : FAULT;
}

const isNumber = (value: Outcome): value is number | bigint => typeof value === "number" || typeof value === "bigint";

/** By code points: JavaScript compares UTF-16 units, which puts what lies beyond U+FFFF before U+E000. */
function orderOfTexts(a: string, b: string, purse: Purse): number {
  const length = Math.min(a.length, b.length);
  purse.steps -= length >> 6;
  if (a === b) return 0;
  let at = 0;
  while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  purse.steps -= at >> 4;
  if (at === length) return a.length - b.length;
  const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
  return rank(a.charCodeAt(at)) - rank(b.charCodeAt(at));
}

/** `+ - * / %`. Where a double meets an int, both are doubles. Overflow of an int and division by zero, of doubles too, are faults. */
export function arithmetic(op: "+" | "-" | "*" | "/" | "%", a: Outcome, b: Outcome, purse: Purse): Outcome {
  if (typeof a === "number" && typeof b === "number") return doubles(op, a, b);
  if (typeof a === "number" && typeof b === "bigint") return doubles(op, a, Number(b));
  if (typeof a === "bigint" && typeof b === "number") return doubles(op, Number(a), b);
  if (typeof a === "bigint" && typeof b === "bigint") return ints(op, a, b);
  if (op === "+") return sum(a, b, purse);
  if (op !== "-") return FAULT;
  if (a instanceof Timestamp && b instanceof Timestamp) return durationOf(a.ms - b.ms);
  if (a instanceof Timestamp && b instanceof Duration) return timestampOf(a.ms - b.ms);
  return a instanceof Duration && b instanceof Duration ? durationOf(a.ms - b.ms) : FAULT;
}

function doubles(op: "+" | "-" | "*" | "/" | "%", a: number, b: number): number | Fault {
  if (op === "+") return plus(a, b);
  if (op === "-") return plus(a, -b);
  if (op === "*") return times(a, b);
  // A number of JSON is a double even where its author means 0: an infinity that then passes every limit would be a trap.
  if (b === 0) return FAULT;
  if (op === "/") return a / b;
  // CEL has `%` for ints only. A whole number of JSON is as good.
  return Number.isSafeInteger(a) && Number.isSafeInteger(b) ? a % b : FAULT;
}

function ints(op: "+" | "-" | "*" | "/" | "%", a: bigint, b: bigint): bigint | Fault {
  if (op === "+") return intOf(a + b);
  if (op === "-") return intOf(a - b);
  if (op === "*") return intOf(a * b);
  if (b === 0n) return FAULT;
  return op === "/" ? intOf(a / b) : a % b;
}

function sum(a: Outcome, b: Outcome, purse: Purse): Outcome {
  if (typeof a === "string" && typeof b === "string") return spend(purse, (a.length + b.length) >> 3) ? a + b : FAULT;
  if (Array.isArray(a) && Array.isArray(b)) return spend(purse, a.length + b.length) ? a.concat(b) : FAULT;
  if (a instanceof Timestamp && b instanceof Duration) return timestampOf(a.ms + b.ms);
  if (a instanceof Duration && b instanceof Timestamp) return timestampOf(a.ms + b.ms);
  return a instanceof Duration && b instanceof Duration ? durationOf(a.ms + b.ms) : FAULT;
}

/** Pays for work before it is done. `false`: it is too much, and is not to be done. */
export function spend(purse: Purse, steps: number): boolean {
  purse.steps -= steps;
  return purse.steps >= 0;
}
