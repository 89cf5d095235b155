import type { Chance } from "./chance.ts";
import { isList, isMembers, type Members, type Spot, spotsOf, type Tree, textOf } from "./tree.ts";

/** How a body is spoilt: in its tree, then in its text. Each change is small, so that what comes of it still gets past the first door. */

const LITERALS: readonly string[] = [
  "null",
  "true",
  "false",
  "0",
  "-0",
  "-1",
  "1",
  "1e2",
  "1E400",
  "-1e999",
  "1e-400",
  "0.1",
  "0.1234567",
  "0.30000000000000004",
  "9007199254740991",
  "9007199254740992",
  "9007199254740993",
  "9007199254.740991",
  "9007199254.740992",
  "18446744073709551616",
  "-9223372036854775809",
  "1.0",
  "01",
  "+1",
  ".5",
  "5.",
  "NaN",
  "Infinity",
  "undefined",
  '""',
  '" "',
  '"0"',
  '"-1"',
  '"1e3"',
  '"0.0000001"',
  '"0.1234567"',
  '"00.5"',
  '".5"',
  '"5."',
  '"1,000"',
  '"$5"',
  '" 5"',
  '"5 "',
  '"٥"',
  '"9007199254.740992"',
  '"99999999999999999999999999999999999999999"',
  '"0x10"',
  '"NaN"',
  '"Infinity"',
  '"\\u0000"',
  '"\\ud800"',
  '"\\udc00\\ud800"',
  '"\\uD83D\\uDE00"',
  '"\\n"',
  '"\\u2028"',
  '"__proto__"',
  '"constructor"',
  '"true"',
  '"null"',
  '"[]"',
  "[]",
  "{}",
  "[null]",
  "[[]]",
  '[""]',
  "[{}]",
  '{"":0}',
  '{"length":3}',
  '{"toString":1}',
  '{"toJSON":1}',
  '{"then":1}',
  '{"valueOf":null}',
  '{"__proto__":{"isAdmin":true}}',
  '{"constructor":{"prototype":{"x":1}}}',
];

const KEYS: readonly string[] = [
  '"__proto__"',
  '"constructor"',
  '"prototype"',
  '"toString"',
  '"hasOwnProperty"',
  '"then"',
  '"toJSON"',
  '"$ref"',
  '"$schema"',
  '""',
  '" "',
  '"\\u0000"',
  '"\\ud800"',
  '"\\u005f_proto__"',
  '"a/b~c"',
  '"\\u{41}"',
  "'single'",
  "bare",
  `"${"k".repeat(5000)}"`,
];

type Change = (spot: Spot, chance: Chance, root: { tree: Tree }) => void;

const CHANGES: readonly Change[] = [
  (spot) => spot.drop(),
  (spot, chance) => spot.put({ raw: chance.pick(LITERALS) }),
  (spot, chance) => spot.put({ raw: chance.pick(LITERALS) }),
  (spot, chance) => spot.put({ raw: chance.pick(LITERALS) }),
  // One member more: unknown, doubled, or with a name that objects have by themselves.
  (spot, chance) => into(spot, (holder) => holder.members.push([chance.pick(KEYS), { raw: chance.pick(LITERALS) }])),
  (spot, chance) => into(spot, (holder) => holder.members.push([...chance.pick(holder.members)])),
  (spot, chance) => into(spot, (holder) => holder.members.push([chance.pick(holder.members)[0], { raw: chance.pick(LITERALS) }])),
  (spot, chance) => into(spot, (holder) => rename(chance.pick(holder.members), chance)),
  (spot, chance) =>
    into(spot, (holder) => {
      holder.members = Array.from({ length: chance.pick([64, 65, 300]) }, (_, index): [string, Tree] => [`"k${index}"`, { raw: "1" }]);
    }),
  // Nested.
  (spot, chance) => spot.put(nested(spot.tree, chance.pick([1, 1, 2, 10, 60, 64, 65, 200, 700]), chance.isLucky(0.5))),
  // More of the same.
  (spot, chance) => {
    if (isList(spot.tree) && spot.tree.items.length > 0) {
      const { items } = spot.tree;
      spot.tree.items = Array.from({ length: chance.pick([2, 17, 65, 101, 1001]) }, (_, index) => items[index % items.length] ?? { raw: "0" });
    } else spot.put({ items: Array.from({ length: chance.pick([0, 1, 65, 101]) }, () => spot.tree) });
  },
  (spot, chance) =>
    spot.put({
      raw: `"${chance.pick(["a", "é", "\\u0000", "\\ud83d\\ude00", "\u{1f600}", " ", "9"]).repeat(chance.pick([65, 129, 257, 513, 1025, 8193, 40_000]))}"`,
    }),
  // A value from elsewhere in the same body.
  (spot, chance, root) => spot.put(copy(chance.pick(spotsOf(root)).tree)),
];

function into(spot: Spot, change: (holder: Members) => void): void {
  const holder = isMembers(spot.tree) ? spot.tree : spot.holder;
  if (holder !== null && isMembers(holder) && holder.members.length > 0) change(holder);
}

function rename(pair: [string, Tree], chance: Chance): void {
  const [key] = pair;
  pair[0] = chance.pick([
    key.toUpperCase(),
    key.replace("_", ""),
    key.replace(/_(\w)/, (_, letter: string) => letter.toUpperCase()),
    key.replace(/"$/, ' "'),
    key.replace(/^"(.)/, (_, letter: string) => `"\\u00${letter.charCodeAt(0).toString(16).padStart(2, "0")}`),
    key.replace(/e/g, "\u0435"),
    chance.pick(KEYS),
  ]);
}

function nested(tree: Tree, levels: number, inArrays: boolean): Tree {
  let around = tree;
  for (let level = 0; level < levels; level++) around = inArrays ? { items: [around] } : { members: [['"a"', around]] };
  return around;
}

/** Whole, down to its leaves: a part of itself within itself would have no end. */
const copy = (tree: Tree): Tree =>
  isList(tree)
    ? { items: tree.items.map(copy) }
    : isMembers(tree)
      ? { members: tree.members.map(([key, member]): [string, Tree] => [key, copy(member)]) }
      : { raw: tree.raw };

/** Spoils a tree in one to four places. */
export function spoil(tree: Tree, chance: Chance): Tree {
  const root = { tree };
  for (let left = chance.pick([1, 1, 1, 2, 2, 3, 4]); left > 0; left--) {
    const spots = spotsOf(root);
    if (spots.length > 5_000) break;
    chance.pick(CHANGES)(chance.pick(spots), chance, root);
  }
  return root.tree;
}

const TEXT_CHANGES: readonly ((text: string, chance: Chance) => Buffer)[] = [
  (text, chance) => Buffer.from(text.slice(0, chance.below(text.length + 1))),
  (text) => Buffer.from(`\ufeff${text}`),
  (text) => Buffer.from(`${text}\0`),
  (text) => Buffer.from(`${text}${text}`),
  (text) => Buffer.from(`${text}\n// a comment`),
  (text) => Buffer.from(text.replaceAll('"', "'")),
  (text) => Buffer.from(text.replace(/[}\]]$/, (end) => `,${end}`)),
  (text) => Buffer.from(` \t\r\n${text}\r\n\t `),
  (text) => Buffer.from(text, "utf16le"),
  (text) => Buffer.from(text, "latin1"),
  (text, chance) => withByte(Buffer.from(text), chance, chance.pick([0x00, 0x80, 0xc0, 0xed, 0xff, 0x1f, 0x22, 0x5c, 0x7b])),
  (text, chance) => withByte(Buffer.from(text), chance, chance.below(256)),
  () => Buffer.from(""),
  () => Buffer.from("   "),
  () => Buffer.from("null"),
  () => Buffer.from("[]"),
  () => Buffer.from('"text"'),
  () => Buffer.from("[".repeat(100_000)),
  () => Buffer.from(`${'{"a":'.repeat(20_000)}1${"}".repeat(20_000)}`),
  () => Buffer.from([0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00]),
  () => Buffer.from([0xed, 0xa0, 0x80]),
  (text) => Buffer.from(`a=1&b=${encodeURIComponent(text)}`),
];

function withByte(bytes: Buffer, chance: Chance, byte: number): Buffer {
  const at = chance.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(chance.isLucky(0.5) ? at : at + 1)]);
}

/** The octets of a body, spoilt in its tree, in its text, or in both. */
export function spoiltBody(tree: Tree, chance: Chance): Buffer {
  const isTextSpoilt = chance.isLucky(0.2);
  const text = textOf(isTextSpoilt && chance.isLucky(0.7) ? tree : spoil(tree, chance));
  return isTextSpoilt ? chance.pick(TEXT_CHANGES)(text, chance) : Buffer.from(text);
}

/** Texts other than JSON, spoilt. */
export function spoiltText(text: string, chance: Chance): Buffer {
  if (chance.isLucky(0.3)) return chance.pick(TEXT_CHANGES)(text, chance);
  const lines = text.split("\n");
  for (let left = chance.between(1, 4); left > 0; left--) {
    const at = chance.below(lines.length);
    const line = lines[at] ?? "";
    const replaced = chance.pick([
      "",
      `${line}\n${line}`,
      line.replace(/:.*/, `: ${chance.pick(LITERALS)}`),
      line.replace(/^\s*/, "\t"),
      `  ${line}`,
      line.slice(1),
      line.replace(
        /[\w-]+:/,
        `${chance.pick(["__proto__", "<<", "? a", "&x", "*x", "!!js/function x", "%YAML 1.1", "---", "...", "1", "yes", "~"])}:`,
      ),
      `${line} # c`,
      line.replace(/(\d+)/, chance.pick(["0x1F", "010", "1e3", "-1", "0.1234567", "99999999999999999999", "1_000"])),
      "key: &a [*a, *a]",
      "...\nkey: 1",
    ]);
    lines[at] = replaced;
  }
  return Buffer.from(lines.join("\n"));
}
