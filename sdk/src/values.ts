import type { Json } from "./surface.ts";

/**
 * Any JavaScript value as JSON for a record, whatever it is: bounded, told apart by tags, redacted. It is what people read and what replay compares;
 * never what an approval's digest is made of, since two different values can look alike in it.
 *
 * What JSON can carry stays as it is. Anything else becomes an object with the member `$value`, which names what it was:
 * `{ "$value": "bigint", "text": "12" }`. A member that is itself called `$value` (or `$$value`, ...) is written with one more `$`, so that a tag can
 * not be forged and `revived` (`revive.ts`) gives back exactly what was there, or says that it cannot.
 */

export interface ValueOptions {
  /** About so much JSON is written, at most, a character counting as its octets in UTF-8; the rest is counted. From 200; default 64,000. */
  readonly mostCharacters?: number | undefined;
  /** The JSON without what must not be kept, and how many places that were; applied twice it changes nothing more. Default: all is kept. */
  readonly redact?: ((value: Json) => { readonly value: Json; readonly count: number }) | undefined;
  /** Whether an object is a proxy, where the runtime can tell: it is then written as one, and none of its traps runs. */
  readonly isProxy?: ((value: unknown) => boolean) | undefined;
  /** Names a text that is cut by the whole of it, so that two with the same beginning are told apart. Hexadecimal. */
  readonly sha256?: ((text: string) => string) | undefined;
}

export interface RecordedValue {
  readonly value: Json;
  /** How many places were redacted: with them it is not what was there any more. */
  readonly redacted: number;
}

export const DEFAULT_MOST_CHARACTERS = 64_000;
const LEAST_CHARACTERS = 200;

/**
 * Writes a value down. Never throws, never waits, calls nothing that belongs to the value: no getter, no `toJSON`, no iterator, no method. Only a
 * proxy's traps can still run, where `isProxy` is missing; what they throw is noted in the place of the value.
 *
 * An accessor is written as one. Of an instance of a class its own data members are kept; a socket, a stream, a DOM node, a promise and the like are
 * named and not looked into; of `Headers` and `Request` the headers that carry secrets are redacted always. At most 30 levels are looked at, of `Map`s 20.
 */
export function recordValue(value: unknown, options: ValueOptions = {}): RecordedValue {
  const most = Math.max(LEAST_CHARACTERS, options.mostCharacters ?? DEFAULT_MOST_CHARACTERS);
  const writing: Writing = { options, left: most, above: new Set(), levels: 0, instances: 0, redacted: 0 };
  try {
    const written = write(writing, value);
    const clean = options.redact?.(written);
    return { value: clean?.value ?? written, redacted: writing.redacted + (clean?.count ?? 0) };
  } catch {
    // A redaction that fails has not said what may be kept.
    return { value: { $value: "withheld" }, redacted: 1 };
  }
}

/** What a tag says it was. */
export type Tag =
  | "undefined"
  | "number"
  | "bigint"
  | "symbol"
  | "function"
  | "getter"
  | "hole"
  | "text"
  | "array"
  | "object"
  | "circular"
  | "deep"
  | "proxy"
  | "unreadable"
  | "instance"
  | "opaque"
  | "date"
  | "regexp"
  | "url"
  | "map"
  | "set"
  | "bytes"
  | "error"
  | "headers"
  | "request"
  | "response"
  | "fields"
  | "blob"
  | "digest"
  | "withheld";

/** Of the JSON that is written. A gateway takes 64 of a line, in which two lie above a value. */
const MOST_LEVELS = 61;
/** What an object or a list takes where it has to be tagged, its items within it; and a `Map`, at most. */
const PER_OBJECT = 2;
const PER_MAP = 3;
/** Instances within instances are looked into so far: below that lie the insides of libraries. */
const MOST_INSTANCES = 3;
const LONGEST_NAME = 1_000;
/** A secret that begins before a text's cut and ends after it is still seen whole, unless it is longer. */
const BEYOND_CUT = 4_096;
/** What braces, commas and a short tag take: charged for every value, so that many small ones are bounded too. */
const PER_VALUE = 2;
const PER_TAG = 24;

interface Writing {
  readonly options: ValueOptions;
  /** Octets that may still be written. What was looked at and not written is charged too, or there would be no end to it. */
  left: number;
  /** The objects that the present one lies in. */
  readonly above: Set<object>;
  /** Of the JSON around the present one. */
  levels: number;
  /** How many of them are instances of classes. */
  instances: number;
  /** Places that were redacted on the way, beside those that `redact` counts in the end. */
  redacted: number;
}

export type Members = { readonly [name: string]: Json };

function write(writing: Writing, value: unknown): Json {
  writing.left -= PER_VALUE;
  switch (typeof value) {
    case "string":
      return writeText(writing, value);
    case "number":
      return Number.isFinite(value) && !Object.is(value, -0)
        ? chargedNumber(writing, value)
        : tagged(writing, "number", { text: Object.is(value, -0) ? "-0" : String(value) });
    case "boolean":
      return value;
    case "undefined":
      return tagged(writing, "undefined");
    case "bigint":
      return writeBigint(writing, value);
    case "symbol":
      return tagged(writing, "symbol", { text: charged(writing, short(String(value))) });
    default:
      // Everything else was a case of its own.
      return value === null ? null : writeObject(writing, value as object);
  }
}

function chargedNumber(writing: Writing, value: number): number {
  writing.left -= String(value).length;
  return value;
}

function charged(writing: Writing, text: string | null): string | null {
  if (text !== null) writing.left -= octetsOf(text);
  return text;
}

/** What a text takes when it is printed. */
function octetsOf(text: string): number {
  const printed = JSON.stringify(text);
  return BEYOND_ASCII.test(printed) ? new TextEncoder().encode(printed).length : printed.length;
}

const BEYOND_ASCII = /[^ -~]/;

function tagged(writing: Writing, tag: Tag, members: Members = {}): Json {
  writing.left -= PER_TAG;
  return { $value: tag, ...members };
}

function writeText(writing: Writing, text: string): Json {
  // A text takes at least its length: one that is too long is not printed to find out how long it is.
  const printed = text.length <= writing.left ? octetsOf(text) : Number.POSITIVE_INFINITY;
  if (printed <= writing.left || text.length <= 64) {
    writing.left -= Math.min(printed, 6 * text.length);
    return text;
  }
  const { redact, sha256 } = writing.options;
  const most = Math.max(0, Math.min(writing.left, text.length));
  const seen = most + BEYOND_CUT;
  let start = text.slice(0, seen);
  let kept = most;
  if (redact !== undefined) {
    const clean = redact(start);
    writing.redacted += clean.count;
    start = typeof clean.value === "string" ? clean.value : "";
    // Where much was redacted what comes after it moves up, and what was seen only in part must not be kept.
    if (text.length > seen) kept = Math.max(0, Math.min(most, start.length - BEYOND_CUT));
    if (clean.count > 0) writing.left -= most;
  }
  start = fitting(start.slice(0, kept), most);
  charged(writing, start);
  return tagged(writing, "text", { length: text.length, start, ...(sha256 !== undefined && { digest: `sha-256:${sha256(text)}` }) });
}

/** The longest beginning, by halves, that takes at most so many octets when it is printed. */
function fitting(text: string, most: number): string {
  let fits = text;
  while (fits.length > 0 && octetsOf(fits) > most + 2) fits = fits.slice(0, Math.floor(fits.length / 2));
  return fits;
}

/** A number of more digits than any use has takes long to print: it is not printed. */
function writeBigint(writing: Writing, value: bigint): Json {
  const isShort = BigInt.asIntN(4_096, value) === value;
  const text = isShort ? String(value) : null;
  writing.left -= text?.length ?? 0;
  return tagged(writing, "bigint", { text });
}

function writeObject(writing: Writing, value: object): Json {
  const { isProxy } = writing.options;
  const { above, levels, instances } = writing;
  if (above.has(value)) return tagged(writing, "circular", { levels: [...above].reverse().indexOf(value) + 1 });
  try {
    if (isProxy?.(value) === true) return tagged(writing, "proxy");
    if (typeof value === "function") return tagged(writing, "function", { name: charged(writing, shortOrNull(dataMember(value, "name"))) });
    if (levels + PER_MAP > MOST_LEVELS) return tagged(writing, "deep");
    above.add(value);
    writing.levels += PER_OBJECT;
    if (Array.isArray(value)) return writeArray(writing, value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === null || prototype === Object.prototype) return writePlain(writing, value);
    return writeInstance(writing, value, classesOf(prototype, isProxy));
  } catch {
    // A trap threw, a proxy was revoked, a binding is not there yet. What it threw may be anything, and is not looked at.
    return tagged(writing, "unreadable");
  } finally {
    above.delete(value);
    writing.levels = levels;
    writing.instances = instances;
  }
}

function writeArray(writing: Writing, array: readonly unknown[]): Json {
  const { length } = array;
  const items: Json[] = [];
  let holes = 0;
  for (let place = 0; place < length && writing.left > 0; place++) {
    const member = Object.getOwnPropertyDescriptor(array, place);
    if (member === undefined) holes++;
    items.push(member === undefined ? tagged(writing, "hole") : writeMember(writing, member));
  }
  if (items.length < length) return tagged(writing, "array", { length, items });
  // What was looked at whole can have members beside its items: those of a match, for one. Their names are not worth keeping, but that they were is.
  const beside = Object.keys(array).length - (length - holes);
  writing.left -= PER_VALUE * Math.max(0, beside);
  return beside === 0 ? items : tagged(writing, "array", { length, items, beside });
}

function writePlain(writing: Writing, value: object): Json {
  const { members, leftOut } = writeMembers(writing, value);
  return leftOut === 0 ? members : tagged(writing, "object", { members, left_out: leftOut });
}

/** The own enumerable members. Names are escaped; `leftOut` counts those for which there was no room, and symbols. */
function writeMembers(writing: Writing, value: object, without: ReadonlySet<string> = NONE): { members: Members; leftOut: number } {
  const members: { [name: string]: Json } = {};
  const names = Object.keys(value);
  let leftOut = Object.getOwnPropertySymbols(value).length;
  writing.left -= PER_VALUE * leftOut;
  for (const [place, name] of names.entries()) {
    if (writing.left <= 0) {
      leftOut += names.length - place;
      break;
    }
    if (without.has(name)) continue;
    const member = Object.getOwnPropertyDescriptor(value, name);
    if (member === undefined || name.length > Math.min(LONGEST_NAME, writing.left)) {
      leftOut++;
      writing.left -= PER_VALUE;
      continue;
    }
    writing.left -= (BEYOND_ASCII.test(name) ? octetsOf(name) : name.length + 2) + 2;
    const written = writeMember(writing, member);
    // Setting a member that is called `__proto__` would set a prototype.
    if (name === "__proto__") Object.defineProperty(members, name, { value: written, enumerable: true, configurable: true, writable: true });
    else members[escaped(name)] = written;
  }
  return { members, leftOut };
}

const NONE: ReadonlySet<string> = new Set();

const writeMember = (writing: Writing, member: PropertyDescriptor): Json =>
  "value" in member ? write(writing, member.value) : tagged(writing, "getter");

const escaped = (name: string): string => (name.charCodeAt(0) === DOLLAR && /^\$+value$/.test(name) ? `$${name}` : name);
const DOLLAR = 0x24;

// ---- Instances. What a value is, is told by the names of its classes and then by asking that class's own internals: a name alone proves nothing.

/** The names of the classes of an object, the nearest first. No getter runs, and a class made in another realm has the same name. */
function classesOf(prototype: unknown, isProxy: ValueOptions["isProxy"]): readonly string[] {
  const names: string[] = [];
  for (let at = prototype; isObject(at) && names.length < 12; at = Object.getPrototypeOf(at)) {
    if (isProxy?.(at) === true) break;
    const maker = dataMember(at, "constructor");
    const name = typeof maker === "function" && isProxy?.(maker) !== true ? dataMember(maker, "name") : undefined;
    if (typeof name === "string" && name !== "Object") names.push(short(name));
  }
  return names;
}

function writeInstance(writing: Writing, value: object, classes: readonly string[]): Json {
  charged(writing, classes[0] ?? null);
  if (ArrayBuffer.isView(value)) return writeBytes(writing, viewedBytes(value), classes);
  if (classes.includes("Error") || classes.includes("DOMException")) return writeError(writing, value, classes);
  for (const name of classes) {
    const written = KNOWN.get(name)?.(writing, value, classes);
    if (written !== undefined) return written;
  }
  if (classes.some((name) => OPAQUE.has(name))) return tagged(writing, "opaque", { class: classes[0] ?? null });
  if (classes.length === 0) return writePlainLike(writing, value);
  if (writing.instances >= MOST_INSTANCES) return tagged(writing, "opaque", { class: classes[0] ?? null });
  writing.instances++;
  const { members, leftOut } = writeMembers(writing, value);
  return tagged(writing, "instance", { class: classes[0] ?? null, members, ...(leftOut > 0 && { left_out: leftOut }) });
}

/** Another realm's plain object has nothing above its prototype; an object that inherits from another loses what it inherits. */
function writePlainLike(writing: Writing, value: object): Json {
  const prototype: unknown = Object.getPrototypeOf(value);
  const isPlain = isObject(prototype) && Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype, "hasOwnProperty");
  if (isPlain) return writePlain(writing, value);
  const { members, leftOut } = writeMembers(writing, value);
  return tagged(writing, "instance", { class: null, members, ...(leftOut > 0 && { left_out: leftOut }) });
}

/** Classes whose insides are not the value: what they stand for is in the kernel, in the browser or still to come. */
const OPAQUE: ReadonlySet<string> = new Set([
  "AbortController",
  "AsyncFunction",
  "AsyncGenerator",
  "EventEmitter",
  "EventTarget",
  "FinalizationRegistry",
  "Generator",
  "Iterator",
  "Promise",
  "ReadableStream",
  "TransformStream",
  "WeakMap",
  "WeakRef",
  "WeakSet",
  "WritableStream",
]);

type Writer = (writing: Writing, value: object, classes: readonly string[]) => Json | undefined;

/** `undefined`: it only bears the name. */
const KNOWN: ReadonlyMap<string, Writer> = new Map<string, Writer>([
  ["Date", writeDate],
  ["RegExp", writeRegexp],
  ["String", boxed(String.prototype.valueOf)],
  ["Number", boxed(Number.prototype.valueOf)],
  ["Boolean", boxed(Boolean.prototype.valueOf)],
  ["BigInt", boxed(BigInt.prototype.valueOf)],
  ["Symbol", boxed(Symbol.prototype.valueOf)],
  ["Map", writeMap],
  ["Set", writeSet],
  ["ArrayBuffer", writeBuffer],
  ["SharedArrayBuffer", writeBuffer],
  ["URL", writeUrl],
  ["URLSearchParams", writeFields],
  ["FormData", writeFields],
  ["Headers", writeHeaders],
  ["Request", writeRequest],
  ["Response", writeResponse],
  ["Blob", writeBlob],
]);

/** Marks what is of a class of its own, derived from the one it is written as: it cannot be made again. */
const derived = (classes: readonly string[], name: string): Members => (classes[0] === name ? {} : { class: classes[0] ?? null });

/** What is in the box, whole: letter by letter no secret would be known in it. */
function boxed(unbox: () => unknown): Writer {
  return (writing, value, classes) => {
    const inside = own<unknown>(() => unbox.call(value));
    return inside === undefined
      ? undefined
      : tagged(writing, "instance", { class: classes[0] ?? null, members: { valueOf: write(writing, inside) } });
  };
}

function writeDate(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const at = own<number>(() => Date.prototype.getTime.call(value));
  if (at === undefined) return undefined;
  return tagged(writing, "date", { at: Number.isNaN(at) ? null : new Date(at).toISOString(), ...derived(classes, "Date") });
}

function writeRegexp(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const source = own<string>(() => getter(RegExp.prototype, "source").call(value));
  if (source === undefined) return undefined;
  const flags = FLAGS.filter(([name]) => own<boolean>(() => getter(RegExp.prototype, name).call(value)) === true).map(([, flag]) => flag);
  return tagged(writing, "regexp", { source: write(writing, source), flags: flags.join(""), ...derived(classes, "RegExp") });
}

const FLAGS = [
  ["hasIndices", "d"],
  ["global", "g"],
  ["ignoreCase", "i"],
  ["multiline", "m"],
  ["dotAll", "s"],
  ["unicode", "u"],
  ["unicodeSets", "v"],
  ["sticky", "y"],
] as const;

function writeMap(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const size = own<number>(() => getter(Map.prototype, "size").call(value));
  if (size === undefined) return undefined;
  const entries: Json[] = [];
  writing.levels += PER_MAP - PER_OBJECT;
  // A `Map`'s own iterator: the size was read from its internals, so it is one.
  const iterator: Iterator<readonly [unknown, unknown]> = Map.prototype.entries.call(value);
  for (let next = iterator.next(); next.done !== true && writing.left > 0; next = iterator.next()) {
    const [key, item] = next.value;
    entries.push(writePair(writing, key, item));
  }
  return tagged(writing, "map", { size, entries, ...derived(classes, "Map") });
}

/** A pair under a text is an object with one member, so that what is redacted by its name is redacted here too. */
function writePair(writing: Writing, key: unknown, value: unknown): Json {
  if (typeof key !== "string" || key.length > LONGEST_NAME) return [write(writing, key), write(writing, value)];
  writing.left -= octetsOf(key) + 4;
  return Object.fromEntries([[escaped(key), write(writing, value)]]);
}

function writeSet(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const size = own<number>(() => getter(Set.prototype, "size").call(value));
  if (size === undefined) return undefined;
  const items: Json[] = [];
  const iterator: Iterator<unknown> = Set.prototype.values.call(value);
  for (let next = iterator.next(); next.done !== true && writing.left > 0; next = iterator.next()) items.push(write(writing, next.value));
  return tagged(writing, "set", { size, items, ...derived(classes, "Set") });
}

function writeBuffer(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  // Throws, and is none, unless it is a buffer; a detached one has no bytes.
  const bytes = own<Uint8Array>(() => new Uint8Array(value as ArrayBuffer));
  const isBuffer = own<number>(() =>
    getter(classes.includes("ArrayBuffer") ? ArrayBuffer.prototype : SharedArrayBuffer.prototype, "byteLength").call(value),
  );
  return bytes === undefined || isBuffer === undefined ? undefined : writeBytes(writing, bytes, classes);
}

function viewedBytes(view: ArrayBufferView): Uint8Array {
  const ofView = view instanceof DataView ? DataView.prototype : TYPED_ARRAY;
  // Read from the internals: a member of the view's own could be called the same.
  const [buffer, at, length] = (["buffer", "byteOffset", "byteLength"] as const).map((name) => getter(ofView, name).call(view));
  return new Uint8Array(buffer as ArrayBuffer, at as number, length as number);
}

const TYPED_ARRAY: object = Object.getPrototypeOf(Uint8Array.prototype);

function writeBytes(writing: Writing, bytes: Uint8Array, classes: readonly string[]): Json {
  const { length } = bytes;
  const kept = bytes.subarray(0, Math.max(0, Math.min(length, Math.floor((writing.left * 3) / 4))));
  const of = classes[0] ?? null;
  const found = secretsIn(bytes.subarray(0, kept.length + BEYOND_CUT), writing.options);
  if (found > 0) {
    writing.redacted += found;
    writing.left -= kept.length;
    return tagged(writing, "bytes", { of, length, base64: null });
  }
  const base64 = base64Of(kept);
  writing.left -= base64.length;
  return tagged(writing, "bytes", { of, length, base64 });
}

/** Bytes are often a text: what would be redacted in that must not be kept as base64. */
function secretsIn(bytes: Uint8Array, { redact }: ValueOptions): number {
  if (redact === undefined) return 0;
  const text = new TextDecoder().decode(bytes);
  // Without its zeros a text in UTF-16 or UTF-32 can be read as well, as far as it is ASCII.
  return redact(text).count || (text.includes("\0") ? redact(text.replaceAll("\0", "")).count : 0);
}

function base64Of(bytes: Uint8Array): string {
  let binary = "";
  for (let at = 0; at < bytes.length; at += 4_096) binary += String.fromCharCode(...bytes.subarray(at, at + 4_096));
  return btoa(binary);
}

function writeError(writing: Writing, value: object, classes: readonly string[]): Json {
  const ofDom = (name: "name" | "message"): unknown =>
    classes.includes("DOMException") ? own(() => getter(DOMException.prototype, name).call(value)) : undefined;
  const part = (name: string): Members => {
    const member = Object.getOwnPropertyDescriptor(value, name);
    return member === undefined ? {} : { [name]: writeMember(writing, member) };
  };
  const name = ofDom("name") ?? inherited(value, "name") ?? classes[0];
  const message = ofDom("message") ?? inherited(value, "message") ?? "";
  const known = classes[0] === name || classes[0] === "DOMException" ? {} : { class: classes[0] ?? null };
  const head: Members = { name: write(writing, name), message: write(writing, message), ...known };
  const inside: Members = { ...part("cause"), ...part("errors") };
  const { members, leftOut } = writeMembers(writing, value, TOLD_ELSEWHERE);
  const isBare = Object.keys(members).length === 0;
  return tagged(writing, "error", { ...head, ...inside, ...(!isBare && { members }), ...(leftOut > 0 && { left_out: leftOut }) });
}

/** The stack names files of this machine, and changes with every release. */
const TOLD_ELSEWHERE: ReadonlySet<string> = new Set(["name", "message", "stack", "cause", "errors"]);

function writeUrl(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const href = own<string>(() => getter(URL.prototype, "href").call(value));
  return href === undefined ? undefined : tagged(writing, "url", { href: write(writing, href), ...derived(classes, "URL") });
}

function writeFields(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const of = classes.includes("FormData") ? FormData.prototype : URLSearchParams.prototype;
  const entries: Json[] = [];
  const isOne = own(() => {
    of.forEach.call(value as FormData & URLSearchParams, (item: unknown, name: string) => {
      if (writing.left > 0) entries.push(writePair(writing, name, item));
    });
    return true;
  });
  return isOne === undefined ? undefined : tagged(writing, "fields", { class: classes[0] ?? null, entries });
}

/** Headers that carry secrets, whatever a policy says. */
const SECRET_HEADERS: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
  "x-api-key",
  "api-key",
  "x-goog-api-key",
  "x-auth-token",
]);

function writeHeaders(writing: Writing, value: object): Json | undefined {
  const members: [string, Json][] = [];
  const isOne = own(() => {
    Headers.prototype.forEach.call(value as Headers, (text: string, name: string) => {
      if (writing.left <= 0) return;
      const isSecret = SECRET_HEADERS.has(name);
      if (isSecret) writing.redacted++;
      members.push([name, isSecret ? "[redacted]" : write(writing, text)]);
    });
    return true;
  });
  return isOne === undefined ? undefined : tagged(writing, "headers", { members: Object.fromEntries(members) });
}

function writeRequest(writing: Writing, value: object): Json | undefined {
  const read = (name: string): unknown => own(() => getter(Request.prototype, name).call(value));
  const url = read("url");
  if (url === undefined) return undefined;
  return tagged(writing, "request", { method: write(writing, read("method")), url: write(writing, url), headers: write(writing, read("headers")) });
}

function writeResponse(writing: Writing, value: object): Json | undefined {
  const read = (name: string): unknown => own(() => getter(Response.prototype, name).call(value));
  const status = read("status");
  if (status === undefined) return undefined;
  return tagged(writing, "response", { status: write(writing, status), url: write(writing, read("url")), headers: write(writing, read("headers")) });
}

function writeBlob(writing: Writing, value: object, classes: readonly string[]): Json | undefined {
  const size = own<number>(() => getter(Blob.prototype, "size").call(value));
  if (size === undefined) return undefined;
  return tagged(writing, "blob", {
    class: classes[0] ?? null,
    size,
    type: write(
      writing,
      own(() => getter(Blob.prototype, "type").call(value)),
    ),
  });
}

/** What a class of the platform says of its own internals; `undefined` when they are not there, or the class is not in this runtime. */
function own<T>(read: () => unknown): T | undefined {
  try {
    // Only what the platform's own getters and methods give comes through here, in the types that their standards name.
    return read() as T;
  } catch {
    return undefined;
  }
}

function getter(of: object, name: string): () => unknown {
  const found = Object.getOwnPropertyDescriptor(of, name)?.get;
  if (found === undefined) throw new TypeError(`There is no getter "${name}"`);
  return found;
}

export const isObject = (value: unknown): value is object => typeof value === "object" && value !== null;

/** A member of the object itself that is data. */
const dataMember = (of: object, name: string): unknown => Object.getOwnPropertyDescriptor(of, name)?.value;

/** The nearest data member of that name, its own or inherited: an error's name lies on its class. */
function inherited(of: object, name: string): unknown {
  for (let at: unknown = of, level = 0; isObject(at) && level < 12; at = Object.getPrototypeOf(at), level++) {
    const member = Object.getOwnPropertyDescriptor(at, name);
    if (member !== undefined) return member.value;
  }
  return undefined;
}

const short = (text: string): string => text.slice(0, 200);
const shortOrNull = (value: unknown): string | null => (typeof value === "string" ? short(value) : null);
