import type { Chance } from "./chance.ts";
import { type Tree, treeOf } from "./tree.ts";

/** A JSON Schema as the OpenAPI document has it; only what is looked at here has a name. */
export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly properties?: { readonly [name: string]: Schema };
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly propertyNames?: Schema;
  readonly items?: Schema;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly pattern?: string;
  readonly format?: string;
  readonly examples?: readonly unknown[];
  readonly $defs?: { readonly [name: string]: Schema };
}

/** Gives a value that is known to mean something in a place, such as a session's id; `null`: the schema alone says what goes there. */
export type Known = (path: readonly string[]) => unknown;

/** A value that fits the schema, now and then one at the edge of what fits. */
export function fitting(schema: Schema, chance: Chance, known: Known, find: (ref: string) => Schema, path: readonly string[] = []): Tree {
  const meant = known(path);
  if (meant !== null && meant !== undefined) return treeOf(meant);
  if (schema.$ref !== undefined) return fitting(find(schema.$ref), chance, known, find, path);
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives !== undefined) return fitting(chance.pick(alternatives), chance, known, find, path);
  if (schema.enum !== undefined) return treeOf(chance.pick(schema.enum));
  if (schema.const !== undefined) return treeOf(schema.const);
  const type = Array.isArray(schema.type) ? chance.pick(schema.type) : schema.type;
  switch (type) {
    case "object":
      return fittingObject(schema, chance, known, find, path);
    case "array": {
      const least = schema.minItems ?? 0;
      const most = Math.min(schema.maxItems ?? 8, chance.isLucky(0.03) ? 1000 : 3);
      const count = chance.between(least, Math.max(least, most));
      return { items: Array.from({ length: count }, (_, index) => fitting(schema.items ?? {}, chance, known, find, [...path, String(index)])) };
    }
    case "string":
      return treeOf(fittingText(schema, chance));
    case "integer":
      return treeOf(wholeWithin(schema.minimum ?? 0, schema.maximum ?? Number.MAX_SAFE_INTEGER, chance));
    case "number":
      return treeOf(numberWithin(schema.minimum ?? schema.exclusiveMinimum ?? -1e9, schema.maximum ?? 1e9, chance));
    case "boolean":
      return treeOf(chance.isLucky(0.5));
    case "null":
      return treeOf(null);
    default:
      return treeOf(anyJson(chance, 3));
  }
}

function fittingObject(schema: Schema, chance: Chance, known: Known, find: (ref: string) => Schema, path: readonly string[]): Tree {
  const isNeeded = new Set(schema.required);
  const members: [string, Tree][] = [];
  for (const [name, member] of Object.entries(schema.properties ?? {})) {
    if (!isNeeded.has(name) && !chance.isLucky(path.length === 0 ? 0.35 : 0.5)) continue;
    members.push([JSON.stringify(name), fitting(member, chance, known, find, [...path, name])]);
  }
  const more = schema.additionalProperties;
  if (schema.properties === undefined || (typeof more === "object" && chance.isLucky(0.3))) {
    const names = new Set(
      Array.from({ length: chance.below(5) }, () =>
        schema.propertyNames?.pattern === undefined ? shortText(chance, 40) : fittingText(schema.propertyNames, chance),
      ),
    );
    for (const name of names) {
      if (STATED.has(name)) continue;
      members.push([
        JSON.stringify(name),
        typeof more === "object" ? fitting(more, chance, known, find, [...path, name]) : treeOf(anyJson(chance, 2)),
      ]);
    }
  }
  return { members };
}

/** Names that no attribute may have. */
const STATED = new Set(["id", "type", "kind", "__proto__", ""]);

/** Makers of texts for the patterns that the document has. A pattern without one is told, not guessed at. */
const BY_PATTERN: readonly (readonly [start: string, make: (chance: Chance) => string])[] = [
  [
    "^(0|[1-9]\\d*)",
    (chance) => chance.pick(["0", "0.000001", "0.05", "1", "0.1", "2.5", "12.345678", "9007199254.740991", `0.${chance.below(1_000_000) + 1}`]),
  ],
  ["^sha-256:", (chance) => `sha-256:${chance.hex(64)}`],
  [
    "^[A-Za-z0-9_\\-.:/]{1,128}$",
    (chance) => chance.pick(["search", "send_email", "db.read", "fs.rm", "a", "x:y/z", "A".repeat(128), "-", "..", "__proto__", "constructor"]),
  ],
  ["^[A-Za-z0-9_\\-.:/*]{1,128}$", (chance) => chance.pick(["*", "db.*", "search", "*.*.*", "**", "a*b*c", "*".repeat(128), "send_email"])],
  ["^[A-Za-z0-9_.-]{1,64}$", (chance) => chance.pick(["rule-1", "a.b", "_", "x".repeat(64), `r${chance.below(1000)}`])],
  ["^(?:[^\\p{Cc}\\p{Cs}]|[\\n\\r\\t])+$", (chance) => `${shortText(chance, 20)}\n\t${shortText(chance, 20)}`],
  ["^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$", (chance) => chance.pick(["p", "base", "policy-1", "a..b", "0", "constructor", "X".repeat(128)])],
  ["^[a-z0-9-]{1,63}$", (chance) => chance.pick(["t", "-", "other", "a".repeat(63), `t-${chance.hex(6)}`])],
  ["^[\\x21-\\x7e]{1,", (chance) => chance.pick(["k", "~", "key-1", chance.hex(40), "!\"#$%&'()"])],
  [
    "^(https:",
    (chance) => chance.pick(["https://app.example.com", "https://a", "http://localhost:3000", "http://127.0.0.1:1", "https://x.example:65535"]),
  ],
  ["^[^\\p{Cc}\\p{Cs}]+$", (chance) => shortText(chance, 20)],
  ["^(ses|run|dec|apr|tok|ent|int|lse)_", (chance) => chance.uuid()],
  ["^(\\*|(decision|", (chance) => chance.pick(["*", "approval.*", "decision.deny", "intervention.kill", "policy.*", "budget.threshold"])],
  ["^whsec_", (chance) => `whsec_${chance.hex(48)}`],
];

const ID_PATTERN = /^\^(ses|run|dec|apr|tok|ent|int|whk|dlv|lse)_\[0-9a-f\]/;

function fittingText(schema: Schema, chance: Chance): string {
  if (schema.pattern !== undefined) {
    const prefix = ID_PATTERN.exec(schema.pattern)?.[1];
    if (prefix !== undefined) return `${prefix}_${chance.uuid()}`;
    const maker = BY_PATTERN.find(([start]) => schema.pattern?.startsWith(start));
    if (maker !== undefined) {
      const made = maker[1](chance);
      // As many characters as there may be, where nothing but their number is told.
      const most = schema.maxLength ?? made.length;
      return maker[0].startsWith("^[^\\p{Cc}") && chance.isLucky(0.05) ? "é".repeat(most) : made.slice(0, most);
    }
    const matches = (schema.examples ?? []).filter((one): one is string => typeof one === "string");
    if (matches.length > 0) return chance.pick(matches);
    throw new Error(`No text can be made for the pattern ${schema.pattern}: give it a maker in values.ts.`);
  }
  if (schema.format === "date-time") {
    return chance.pick(["2026-11-22T19:00:00.000Z", "2020-01-01T00:00:00Z", "2099-12-31T23:59:59.999Z", "2026-11-22T19:00:00+02:00"]);
  }
  const most = schema.maxLength ?? 100;
  if (chance.isLucky(0.05)) return "n".repeat(Math.min(most, 10_000));
  const text = anyText(chance).slice(0, most);
  return text.length < (schema.minLength ?? 0) ? "x".repeat(schema.minLength ?? 1) : text;
}

const wholeWithin = (least: number, most: number, chance: Chance): number => {
  const kind = chance.below(10);
  if (kind === 0) return least;
  if (kind === 1) return most;
  if (kind === 2) return Math.min(most, least + 1);
  return Math.min(most, least + chance.below(Math.min(most - least, 100_000) + 1));
};

const numberWithin = (least: number, most: number, chance: Chance): number =>
  chance.pick([least, most, Math.round((least + chance.next() * (Math.min(most, least + 1000) - least)) * 1e6) / 1e6]);

/** One line of whole characters, of the kinds that people and machines use. */
export const shortText = (chance: Chance, most: number): string => chance.pick(LINES).slice(0, most) || "x";

/** No control characters and no halves of pairs; of many scripts, widths and directions. */
const LINES = [
  "a",
  "email",
  "bot",
  "user-1",
  "Ünïcödé",
  "日本語",
  "שלום",
  "مرحبا",
  "e\u0301",
  "ﬀ",
  "a b",
  "a/b",
  "a%2Fb",
  "%",
  "..",
  ".",
  "?q=1",
  "#x",
  "'; DROP TABLE entries; --",
  '"',
  "\\",
  "<script>alert(1)</script>",
  "#{7*7}",
  "constructor",
  "toString",
  "hasOwnProperty",
  "*",
  "null",
  "0",
  "\u2028",
  "\u200b",
  "\ufeff",
  "\ufffd",
  "\u{1f600}",
  "\u{10ffff}",
  "I\u0307",
];

/** Any text at all that JSON can carry, halves of pairs and NUL among them. */
export const anyText = (chance: Chance): string =>
  chance.pick([...LINES, "", " ", "\0", "a\0b", "\n", "\r\nX: y", "\t", "\u001b[31m", "\ud800", "\udc00\ud800", "a\udfff", "\u0085"]);

/** A little of any JSON. */
export function anyJson(chance: Chance, depth: number): unknown {
  const kind = chance.below(depth > 0 ? 8 : 6);
  if (kind < 2) return anyText(chance);
  if (kind === 2) return chance.pick([0, 1, -1, 0.1, 1e21, 1e-7, 9007199254740991, -0, 123456.789]);
  if (kind === 3) return chance.isLucky(0.5);
  if (kind < 6) return null;
  if (kind === 6) return Array.from({ length: chance.below(4) }, () => anyJson(chance, depth - 1));
  return Object.fromEntries(Array.from({ length: chance.below(4) }, () => [anyText(chance), anyJson(chance, depth - 1)]));
}
