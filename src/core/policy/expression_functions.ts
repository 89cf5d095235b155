import { durationFrom, textOfDuration, textOfTimestamp, timestampFrom } from "./expression_times.ts";
import { Duration, FAULT, type Fault, intOf, type Outcome, type Purse, sizeOf, spend, Timestamp, timestampOf, typeOf } from "./expression_values.ts";

/** A function of values. It answers with a fault where the values are not of its types, and pays for work that grows with them. */
export type Computed = (purse: Purse, of: Outcome, a: Outcome, b: Outcome) => Outcome;

/** To read or write an instant or a span of time takes this much longer than a comparison. */
const STEPS_PER_TEXT = 60;

/** Functions by `name/arguments`. */
export const FUNCTIONS: ReadonlyMap<string, Computed> = new Map<string, Computed>([
  ["size/1", (purse, of) => countOf(sizeOf(of, purse))],
  ["type/1", (_, of) => (of === FAULT ? FAULT : typeOf(of))],
  ["dyn/1", (_, of) => of],
  ["bool/1", (_, of) => boolOf(of)],
  ["int/1", (_, of) => wholeOf(of)],
  ["double/1", (_, of) => doubleOf(of)],
  ["string/1", (purse, of) => (spend(purse, STEPS_PER_TEXT) ? textOf(of) : FAULT)],
  ["timestamp/1", (purse, of) => (spend(purse, STEPS_PER_TEXT) ? instantOf(of) : FAULT)],
  ["duration/1", (purse, of) => (spend(purse, STEPS_PER_TEXT) ? spanOf(of) : FAULT)],
]);

/** Methods by `name/arguments`; the receiver is not counted. */
export const METHODS: ReadonlyMap<string, Computed> = new Map<string, Computed>([
  ["size/0", (purse, of) => countOf(sizeOf(of, purse))],
  ["contains/1", (purse, of, a) => onTexts(purse, of, a, contains)],
  ["startsWith/1", (purse, of, a) => onTexts(purse, of, a, (_, text, part) => text.startsWith(part))],
  ["endsWith/1", (purse, of, a) => onTexts(purse, of, a, (_, text, part) => text.endsWith(part))],
  ["lowerAscii/0", (purse, of) => recased(purse, of, (text) => text.toLowerCase(), /[A-Z]/g)],
  ["upperAscii/0", (purse, of) => recased(purse, of, (text) => text.toUpperCase(), /[a-z]/g)],
  ["trim/0", (purse, of) => (typeof of === "string" && spend(purse, of.length >> 3) ? of.trim() : FAULT)],
  ["split/1", (purse, of, a) => onTexts(purse, of, a, split)],
  ["join/0", (purse, of) => join(purse, of, "")],
  ["join/1", join],
  ["substring/1", (purse, of, a) => (typeof of === "string" ? substring(purse, of, a, null) : FAULT)],
  ["substring/2", (purse, of, a, b) => (typeof of === "string" ? substring(purse, of, a, b) : FAULT)],
  ["indexOf/1", (purse, of, a) => onTexts(purse, of, a, indexOf)],
]);

const countOf = (n: number | Fault): bigint | Fault => (n === FAULT ? FAULT : BigInt(n));

function onTexts(purse: Purse, of: Outcome, part: Outcome, compute: (purse: Purse, of: string, part: string) => Outcome): Outcome {
  return typeof of === "string" && typeof part === "string" ? compute(purse, of, part) : FAULT;
}

/** Part of a text that is looked for may be as long as the text and made to look for slowly: a long one is paid for by the product. */
const searchSteps = (of: string, part: string): number => (of.length * Math.min(Math.max(part.length, 4), 4096)) >> 8;

const contains = (purse: Purse, of: string, part: string): Outcome => (spend(purse, searchSteps(of, part)) ? of.includes(part) : FAULT);

function indexOf(purse: Purse, of: string, part: string): Outcome {
  if (!spend(purse, searchSteps(of, part))) return FAULT;
  const at = of.indexOf(part);
  return at < 0 ? -1n : countOf(sizeOf(of.slice(0, at), purse));
}

/** Changes the case of ASCII letters and leaves all others. */
function recased(purse: Purse, of: Outcome, change: (text: string) => string, letters: RegExp): Outcome {
  if (typeof of !== "string" || !spend(purse, of.length >> 3)) return FAULT;
  if (!/[\u0080-\uffff]/.test(of)) return change(of);
  return spend(purse, 2 * of.length) ? of.replace(letters, change) : FAULT;
}

function split(purse: Purse, of: string, separator: string): Outcome {
  return spend(purse, of.length + searchSteps(of, separator)) ? (separator === "" ? [...of] : of.split(separator)) : FAULT;
}

function join(purse: Purse, of: Outcome, separator: Outcome): Outcome {
  if (!Array.isArray(of) || typeof separator !== "string") return FAULT;
  const texts: string[] = [];
  for (const item of of) {
    if (typeof item !== "string" || !spend(purse, 1 + ((item.length + separator.length) >> 3))) return FAULT;
    texts.push(item);
  }
  return texts.join(separator);
}

/** Places are counted in characters (code points), not in UTF-16 units. */
function substring(purse: Purse, of: string, from: Outcome, to: Outcome): Outcome {
  const size = sizeOf(of, purse);
  const first = placeOf(from);
  const last = to === null ? size : placeOf(to);
  if (size === FAULT || first === FAULT || last === FAULT || first > last || last > size) return FAULT;
  if (size === of.length) return of.slice(first, last);
  return spend(purse, of.length) ? [...of].slice(first, last).join("") : FAULT;
}

function placeOf(value: Outcome): number | Fault {
  const at = typeof value === "bigint" ? Number(value) : value;
  return typeof at === "number" && Number.isInteger(at) && at >= 0 ? at : FAULT;
}

const TRUE = new Set(["1", "t", "true", "TRUE", "True"]);
const FALSE = new Set(["0", "f", "false", "FALSE", "False"]);

function boolOf(of: Outcome): Outcome {
  if (typeof of === "boolean") return of;
  if (typeof of !== "string") return FAULT;
  return TRUE.has(of) ? true : FALSE.has(of) ? false : FAULT;
}

function wholeOf(of: Outcome): Outcome {
  if (typeof of === "bigint") return of;
  if (typeof of === "number") return Number.isFinite(of) ? intOf(BigInt(Math.trunc(of))) : FAULT;
  if (typeof of === "string") return /^[+-]?\d{1,19}$/.test(of) ? intOf(BigInt(of.replace("+", ""))) : FAULT;
  return of instanceof Timestamp ? BigInt(Math.floor(of.ms / 1000)) : FAULT;
}

function doubleOf(of: Outcome): Outcome {
  if (typeof of === "number") return of;
  if (typeof of === "bigint") return Number(of);
  return typeof of === "string" && /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(of) && of.length <= 400 ? Number(of) : FAULT;
}

function textOf(of: Outcome): Outcome {
  if (typeof of === "string") return of;
  if (typeof of === "number") return Object.is(of, -0) ? "-0" : Number.isFinite(of) || Number.isNaN(of) ? String(of) : of > 0 ? "+Inf" : "-Inf";
  if (typeof of === "bigint" || typeof of === "boolean") return String(of);
  if (of instanceof Timestamp) return textOfTimestamp(of);
  return of instanceof Duration ? textOfDuration(of) : FAULT;
}

function instantOf(of: Outcome): Outcome {
  if (typeof of === "string") return timestampFrom(of);
  if (typeof of === "bigint") return timestampOf(Number(of) * 1000);
  return of instanceof Timestamp ? of : FAULT;
}

function spanOf(of: Outcome): Outcome {
  if (typeof of === "string") return durationFrom(of);
  return of instanceof Duration ? of : FAULT;
}
