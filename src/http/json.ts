import type { JsonValue } from "../core/json.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import { pointerOf } from "./pointer.ts";

/** Arrays and objects may stand in one another so deep. Whatever recurses over a body later may rely on it. */
export const MOST_DEPTH = 64;

/**
 * Reads a JSON text (RFC 8259) that means one thing only. Refuses with `body_malformed`, naming the place: what is no JSON, an object that has a
 * member twice (parsers differ on which one counts), numbers that a double would change (RFC 7493 section 2.2), and more than {@link MOST_DEPTH} levels.
 */
export function parseJson(text: string): Result<JsonValue, Refusal> {
  let value: JsonValue;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return err(malformed(text, error));
  }
  const flaw = firstFlaw(text);
  return flaw === null ? ok(value) : err(refusal("body_malformed", `The body is not unambiguous JSON: ${flaw.message}.`, [flaw]));
}

/** What stands in the place of an item that means more than one thing: where in the item, and what is wrong there. */
export class Unclear implements Flaw {
  readonly pointer: string;
  readonly message: string;

  constructor({ pointer, message }: Flaw) {
    this.pointer = pointer;
    this.message = message;
  }
}

/**
 * As {@link parseJson}, for a body whose items stand or fall by themselves: an item of the body's list `member` that is ambiguous or too deep is an
 * {@link Unclear} in its place, and the rest is read. An item may be nested as deep as a whole body.
 */
export function parseApart(text: string, member: string): Result<unknown, Refusal> {
  const whole = parseJson(text);
  if (whole.ok || !isJsonObject(text)) return whole;
  const spans = itemsOf(text, member);
  if (spans.length === 0) return whole;
  const between = spans.map(([from], place) => text.slice(spans[place - 1]?.[1] ?? 0, from));
  const around = parseJson([...between, text.slice(spans.at(-1)?.[1])].join("null"));
  if (!around.ok) return around;
  const items = spans.map(([from, to]) => {
    const item = text.slice(from, to);
    const flaw = firstFlaw(item);
    return flaw === null ? JSON.parse(item) : new Unclear(flaw);
  });
  return ok({ ...Object(around.value), [member]: items });
}

function isJsonObject(text: string): boolean {
  try {
    return text.trimStart().startsWith("{") && typeof JSON.parse(text) === "object";
  } catch {
    return false;
  }
}

/** Where the items of the outermost object's list of this name begin and end, in a text that `JSON.parse` has accepted. */
function itemsOf(text: string, member: string): readonly (readonly [from: number, to: number])[] {
  const spans: [number, number][] = [];
  let depth = 0;
  let key: string | null = null;
  let isInside = false;
  let from = 0;
  const end = (at: number): void => {
    if (!isInside || depth !== 2) return;
    if (text.slice(from, at).trim() !== "") spans.push([from, at]);
    from = at + 1;
  };
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      const start = i;
      for (i++; text.charCodeAt(i) !== QUOTE; i++) if (text.charCodeAt(i) === BACKSLASH) i++;
      if (depth === 1) key = JSON.parse(text.slice(start, i + 1));
    } else if (c === OPEN_ARRAY || c === OPEN_OBJECT) {
      depth++;
      if (depth !== 2) continue;
      isInside = c === OPEN_ARRAY && key === member;
      from = i + 1;
    } else if (c === COMMA) {
      end(i);
    } else if (c === CLOSE_ARRAY || c === CLOSE_OBJECT) {
      end(i);
      depth--;
      if (depth === 1) isInside = false;
    }
  }
  return spans;
}

interface Flaw {
  readonly pointer: string;
  readonly message: string;
}

/** One open array or object on the way to a character. `keys` is made with an object's first member. */
interface Frame {
  readonly isObject: boolean;
  keys: Set<string> | null;
  at: string | number;
}

const QUOTE = 34;
const COMMA = 44;
const COLON = 58;
const OPEN_ARRAY = 91;
const BACKSLASH = 92;
const CLOSE_ARRAY = 93;
const OPEN_OBJECT = 123;
const CLOSE_OBJECT = 125;

/** One walk over a text that `JSON.parse` has accepted; it need not look for any other mistake. */
function firstFlaw(text: string): Flaw | null {
  const frames: Frame[] = [];
  let top: Frame | null = null;
  let expectsKey = false;
  const here = (): string => pointerOf(frames.map((frame) => frame.at));
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      const start = i;
      let escaped = false;
      for (i++; text.charCodeAt(i) !== QUOTE; i++) {
        if (text.charCodeAt(i) === BACKSLASH) {
          escaped = true;
          i++;
        }
      }
      if (expectsKey && top !== null) {
        const raw = text.slice(start, i + 1);
        const key: string = escaped ? JSON.parse(raw) : raw.slice(1, -1);
        top.keys ??= new Set();
        top.at = key;
        if (top.keys.has(key)) return { pointer: here(), message: `the member ${shown(key)} stands twice in one object` };
        top.keys.add(key);
      }
    } else if (c === OPEN_OBJECT || c === OPEN_ARRAY) {
      if (frames.length === MOST_DEPTH) return { pointer: "", message: `it is nested deeper than ${MOST_DEPTH} levels` };
      top = { isObject: c === OPEN_OBJECT, keys: null, at: 0 };
      frames.push(top);
      expectsKey = top.isObject;
    } else if (c === CLOSE_OBJECT || c === CLOSE_ARRAY) {
      frames.pop();
      top = frames[frames.length - 1] ?? null;
      expectsKey = false;
    } else if (c === COMMA && top !== null) {
      expectsKey = top.isObject;
      if (typeof top.at === "number") top.at++;
    } else if (c === COLON) {
      expectsKey = false;
    } else if ((c >= 48 && c <= 57) || c === 45) {
      const start = i;
      while (i + 1 < text.length && isOfNumber(text.charCodeAt(i + 1))) i++;
      // Fifteen digits always survive; what has more, or an exponent, is looked at.
      if (i - start >= 15 || hasExponent(text, start, i)) {
        const literal = text.slice(start, i + 1);
        if (!Number.isFinite(Number(literal))) return { pointer: here(), message: `the number ${shown(literal)} is beyond the range of a double` };
        if (digitsOf(literal) !== digitsOf(String(Number(literal)))) {
          return { pointer: here(), message: `the number ${shown(literal)} has more digits than a double keeps; send it as a string` };
        }
      }
    }
  }
  return null;
}

function hasExponent(text: string, start: number, end: number): boolean {
  for (let i = start; i <= end; i++) if ((text.charCodeAt(i) | 32) === 101) return true;
  return false;
}

/** A decimal number's significant digits and the place of its point: the same for every way of writing the same number. */
function digitsOf(literal: string): string {
  const [, whole = "", fraction = "", exponent = "0"] = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(literal) ?? [];
  const digits = `${whole}${fraction}`;
  const significant = digits.replace(/^0+/, "");
  if (significant === "") return "0";
  const point = whole.length + Number(exponent) - (digits.length - significant.length);
  return `${significant.replace(/0+$/, "")}e${point}`;
}

/** Digits, `+`, `-`, `.`, `E` and `e`. */
const isOfNumber = (c: number): boolean => (c >= 48 && c <= 57) || c === 43 || c === 45 || c === 46 || c === 69 || c === 101;

const shown = (text: string): string => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** The runtime's message names the position; only the position is taken from it, since its words change and may quote the body. */
function malformed(text: string, error: unknown): Refusal {
  if (text.trim() === "") return refusal("body_malformed", "The body is empty; wanted JSON.");
  const position = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
  const at = position === undefined ? (unexpectedEnd(error) ? text.length : null) : Number(position);
  if (at === null) return refusal("body_malformed", "The body is not JSON.", [{ pointer: "", message: "is not JSON" }]);
  const before = text.slice(0, at);
  const line = before.split("\n").length;
  const column = at - before.lastIndexOf("\n");
  return refusal("body_malformed", `The body is not JSON: it goes wrong at line ${line}, column ${column}.`, [
    { pointer: "", message: "is not JSON from here on", line, column },
  ]);
}

const unexpectedEnd = (error: unknown): boolean => error instanceof Error && error.message.includes("end of JSON");
