import { Composer, CST, isAlias, isMap, isScalar, isSeq, Lexer, type ParsedNode, Parser, type Scalar } from "yaml";
import type { Issue } from "../refusals.ts";
import { err, ok, type Result } from "../result.ts";

/** A text read into plain values, with the way back from a value to its place in the text. */
export interface Reading {
  readonly value: unknown;
  /** What is wrong already, whatever the members mean: with the rest it makes one answer. */
  readonly issues: readonly Issue[];
  /** The place of the member at `path`: its key, or its value. What is not there has the place of what would hold it. */
  placeOf(path: readonly PropertyKey[], part: "key" | "value"): Place;
  /** The place of a character of the text at `path`; `null` where the text does not stand in the source as it is, in one piece. */
  placeWithin(path: readonly PropertyKey[], text: string, offset: number): Place | null;
}

export type Place = { readonly line: number; readonly column: number };

export const MOST_ISSUES = 100;
export const MOST_POLICY_BYTES = 1024 * 1024;
const MOST_DEPTH = 32;
const MOST_ALIASES = 100;
const MOST_NODES = 200_000;
const MOST_PUNCTUATION = 1000;
/** Lines that are empty or only a comment. Every one of them takes as long as a word, and a MiB has half a million. */
export const MOST_IDLE_LINES = 20_000;
/** Of the outermost mapping: sections, and lines of texts that only look like one. */
const MOST_MEMBERS = 1000;

/**
 * Reads YAML 1.2 (core schema, no tags, directives, merge keys or further documents; at most 100 aliases) or JSON into plain values.
 * Both are read by the YAML parser, for the places; JSON must be JSON besides. Refuses what could be read in two ways: keys written twice,
 * keys that are no text, numbers that a number cannot carry exactly. Bounded in size, depth and expansion before anything is built. Never throws.
 * A policy says what it says where it says it, so it has no merge keys (`<<`); test cases, which vary one thing at a time, may ask for them.
 */
export function readText(text: string, format: "yaml" | "json", reads: { readonly mergeKeys?: boolean } = {}): Result<Reading, readonly Issue[]> {
  if (text.length > MOST_POLICY_BYTES || new TextEncoder().encode(text).length > MOST_POLICY_BYTES) {
    return err([{ pointer: "", message: `a policy is at most ${MOST_POLICY_BYTES} bytes of text` }]);
  }
  const source = text.startsWith(CST.BOM) ? text.slice(1) : text;
  if (source.trim() === "") return err([{ pointer: "", message: EMPTY_POLICY, line: 1, column: 1 }]);
  // Reading a text takes a second a megabyte: what begins with more members than any policy has is not read on.
  const members = format === "json" ? null : source.match(/^[^\s#\-[\]{}"'%&*|>][^\n]*:/gm);
  if (members !== null && members.length > MOST_MEMBERS)
    return err([{ pointer: "", message: `a policy has a few sections, found ${members.length} members` }]);
  // By line feeds alone: to a regular expression a line ends twice in CR LF.
  const idle = source.match(/(?<![^\n])[ \t\r]*(?:#[^\n]*)?(?![^\n])/g)?.length ?? 0;
  if (idle > MOST_IDLE_LINES)
    return err([{ pointer: "", message: `a policy has at most ${MOST_IDLE_LINES} lines that are empty or only a comment, found ${idle}` }]);
  if (hasTooManyItems(source)) return err([{ pointer: "", message: `a policy has at most ${MOST_NODES} values` }]);
  const fault = format === "json" ? jsonFault(source) : null;
  if (fault !== null) return err([fault]);
  try {
    return compose(source, format, reads.mergeKeys ?? false);
  } catch (error) {
    // The YAML library is not ours, and this text is a stranger's: whatever it throws means that the text cannot be read.
    return err([{ pointer: "", message: `the text cannot be read: ${error instanceof Error ? error.message.slice(0, 200) : "unknown fault"}` }]);
  }
}

/**
 * Whether there are certainly more items of lists and mappings than a policy may have values. To cut a text into signs takes a fifth of what it takes to
 * read it, and is done only where so many commas and dashes stand in it: they may be in texts and comments too.
 */
function hasTooManyItems(source: string): boolean {
  if ((source.match(/,|-(?!\S)/g)?.length ?? 0) <= MOST_NODES) return false;
  let items = 0;
  let atScalar = false;
  for (const lexeme of new Lexer().lex(source)) {
    const type: CST.TokenType | null = atScalar ? "scalar" : CST.tokenType(lexeme);
    atScalar = type === "scalar" && lexeme === CST.SCALAR;
    // A comma may stand after the last of its list too, and then there is none behind it.
    if ((type === "comma" || type === "seq-item-ind") && ++items > MOST_NODES) return true;
  }
  return false;
}

export const EMPTY_POLICY = "the policy is empty; it would limit nothing (to permit everything on purpose, write { version: 1 })";

function jsonFault(source: string): Issue | null {
  const message = jsonMessage(source);
  if (message === null) return null;
  const plain = message.replace(/ in JSON at position .*$|, (?:"|\.\.\.).* is not valid JSON$/s, "").slice(0, 200);
  return { pointer: "", message: `the text is not JSON: ${plain}`, ...placeIn(source, jsonFaultOffset(source)) };
}

/** The engine names the place of some mistakes only: it is the end of the longest beginning that could still become JSON. */
function jsonFaultOffset(source: string): number {
  let sound = 0;
  let broken = source.length + 1;
  while (broken - sound > 1) {
    const middle = (sound + broken) >> 1;
    if (couldBecomeJson(source.slice(0, middle))) sound = middle;
    else broken = middle;
  }
  return sound;
}

function couldBecomeJson(start: string): boolean {
  const message = jsonMessage(start);
  return message === null || /end of JSON input|Unterminated/.test(message) || message.includes(` at position ${start.length}`);
}

function jsonMessage(source: string): string | null {
  try {
    JSON.parse(source);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function compose(source: string, format: "yaml" | "json", mergeKeys: boolean): Result<Reading, readonly Issue[]> {
  const tokens = tokensOf(source);
  if (!tokens.ok) return tokens;
  // Doubled keys are looked for below: the library compares every key with every other.
  const composer = new Composer({ version: "1.2", schema: "core", merge: false, uniqueKeys: false, prettyErrors: false, logLevel: "silent" });
  const [document] = composer.compose(tokens.value, true, source.length);
  const faults = [...(document?.errors ?? []), ...(document?.warnings ?? [])].slice(0, MOST_ISSUES);
  if (faults.length > 0) return err(faults.map(({ message, pos }) => ({ pointer: "", message, ...placeIn(source, pos[0]) })));
  const root = document?.contents ?? null;
  if (root === null) return err([{ pointer: "", message: EMPTY_POLICY, line: 1, column: 1 }]);
  const walk = new Walk(source, mergeKeys);
  const value = walk.valueOf(root, []);
  if (walk.isTooLarge) return err(walk.issues);
  return ok({
    issues: walk.issues,
    value: format === "json" ? JSON.parse(source) : value,
    placeOf: (path, part) => placeIn(source, walk.offsetOf(root, path, part)),
    placeWithin: (path, text, offset) => {
      const start = walk.offsetOf(root, path, "value");
      const first = [start, start + 1].find((at) => source.startsWith(text, at) && (at === start || /["']/.test(source.charAt(start))));
      return first === undefined ? null : placeIn(source, first + offset);
    },
  });
}

/** Cuts the text into the parser's tokens, and stops at the first thing that a policy never has or that would be dear to read on. */
function tokensOf(source: string): Result<CST.Token[], readonly Issue[]> {
  const parser = new Parser();
  const tokens: CST.Token[] = [];
  let aliases = 0;
  let punctuation = 0;
  let atScalar = false;
  let afterQuoted = false;
  const stop = (message: string) => err([{ pointer: "", message, ...placeIn(source, parser.offset) }]);
  for (const lexeme of new Lexer().lex(source)) {
    const type: CST.TokenType | null = atScalar ? "scalar" : CST.tokenType(lexeme);
    atScalar = type === "scalar" && lexeme === CST.SCALAR;
    const quoted = type === "single-quoted-scalar" || type === "double-quoted-scalar";
    if (quoted && afterQuoted) return stop("a quoted text follows another with nothing between them");
    if (type !== "space") afterQuoted = quoted;
    if (type === "tag") return stop(`tags are not read here, found ${lexeme.slice(0, 60)}`);
    if (type === "directive-line") return stop("directives are not read here");
    if (type === "alias" && ++aliases > MOST_ALIASES) return stop(`a policy has at most ${MOST_ALIASES} aliases`);
    if (type === "scalar" || type === "alias" || quoted) punctuation = 0;
    else if (type !== "newline" && type !== "space" && type !== "comment" && ++punctuation > MOST_PUNCTUATION) {
      return stop("this is not a policy: too many signs without a word between them");
    }
    for (const token of parser.next(lexeme)) {
      if (token.type === "error") return err([{ pointer: "", message: token.message, ...placeIn(source, token.offset) }]);
      tokens.push(token);
    }
    if (parser.stack.length > MOST_DEPTH) return stop(`nested too deeply: a policy has at most ${MOST_DEPTH} levels`);
  }
  tokens.push(...parser.end());
  const later = tokens.filter((token) => token.type === "document")[1];
  if (later !== undefined) return err([{ pointer: "", message: "a policy is one document, found a second", ...placeIn(source, later.offset) }]);
  return ok(tokens);
}

/** Turns nodes into plain values, and remembers the anchors so that a path can be followed back. */
class Walk {
  readonly issues: Issue[] = [];
  readonly #source: string;
  readonly #mergeKeys: boolean;
  readonly #anchors = new Map<string, ParsedNode>();
  readonly #aliased = new Map<ParsedNode, ParsedNode>();
  #nodes = 0;

  constructor(source: string, mergeKeys: boolean) {
    this.#source = source;
    this.#mergeKeys = mergeKeys;
  }

  get isTooLarge(): boolean {
    return this.#nodes > MOST_NODES;
  }

  valueOf(node: ParsedNode | null, path: readonly string[]): unknown {
    if (++this.#nodes > MOST_NODES) {
      if (this.#nodes === MOST_NODES + 1) this.#refuse(path, node, `a policy has at most ${MOST_NODES} values, those that aliases repeat among them`);
      return null;
    }
    if (node === null) return null;
    if (isAlias(node)) {
      const target = this.#anchors.get(node.source);
      if (target === undefined) {
        this.#refuse(path, node, `no anchor &${node.source} comes before this alias`);
        return null;
      }
      this.#aliased.set(node, target);
      return this.valueOf(target, path);
    }
    const value = isScalar(node) ? this.#scalar(node, path) : isSeq(node) ? this.#list(node.items, path) : this.#mapping(node.items, path);
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    return value;
  }

  #scalar(node: Scalar.Parsed, path: readonly string[]): unknown {
    const { value, source } = node;
    if (typeof value !== "number") return value;
    // A number that prints otherwise than it is written was rounded, and one like 010 or 0x10 means different things to different readers.
    if (!isPlainNumber(source)) this.#refuse(path, node, `wanted a number in decimal digits, found ${source.slice(0, 60)}`);
    else if (!isExact(source, value)) this.#refuse(path, node, `wanted a number that can be carried exactly, found ${source.slice(0, 60)}`);
    return value;
  }

  #list(items: readonly (ParsedNode | Pair)[], path: readonly string[]): unknown[] {
    return items.map((item, index) =>
      "key" in item ? this.#mapping([item], [...path, String(index)]) : this.valueOf(item, [...path, String(index)]),
    );
  }

  #mapping(items: readonly Pair[], path: readonly string[]): Record<string, unknown> {
    const members: Record<string, unknown> = {};
    const inherited: Record<string, unknown> = {};
    for (const { key, value } of items) {
      if (!isScalar(key) || typeof key.value !== "string") {
        this.#refuse(path, key, "wanted a text as key (numbers and the like in quotes)");
        continue;
      }
      const member = [...path, key.value];
      if (key.value === "<<" && this.#mergeKeys) Object.assign(inherited, this.#merged(value, member));
      else if (key.value === "<<") this.#refuse(member, key, "merge keys are not read here: write the members out");
      else if (key.value === "__proto__") this.#refuse(member, key, "__proto__ cannot be a key");
      else if (Object.hasOwn(members, key.value)) this.#refuse(member, key, `${JSON.stringify(key.value.slice(0, 60))} is written twice`);
      else {
        if (key.anchor !== undefined) this.#anchors.set(key.anchor, key);
        members[key.value] = this.valueOf(value, member);
      }
    }
    return this.#mergeKeys ? { ...inherited, ...members } : members;
  }

  /** The members of the mapping that a merge key names; what is written beside the key counts before them. */
  #merged(value: ParsedNode | null, path: readonly string[]): Record<string, unknown> {
    const merged = this.valueOf(value, path);
    const target = value === null ? null : (this.#aliased.get(value) ?? value);
    if (!isMap(target)) this.#refuse(path, value, "a merge key takes one mapping, such as *anchor");
    // What came of a mapping is one.
    return isMap(target) ? (merged as Record<string, unknown>) : {};
  }

  #refuse(path: readonly string[], node: ParsedNode | null, message: string): void {
    if (this.issues.length < MOST_ISSUES) this.issues.push({ pointer: pointerOf(path), message, ...placeIn(this.#source, node?.range[0] ?? 0) });
  }

  offsetOf(root: ParsedNode, path: readonly PropertyKey[], part: "key" | "value"): number {
    let offset = root.range[0];
    let node: ParsedNode | null = root;
    for (const [depth, step] of path.entries()) {
      const holder: ParsedNode | null = node === null ? null : (this.#aliased.get(node) ?? node);
      let key: ParsedNode | null = null;
      if (isMap(holder)) {
        const pair: Pair | undefined = holder.items.find((item) => isScalar(item.key) && item.key.value === step);
        if (pair === undefined) return offset;
        key = pair.key;
        node = pair.value;
      } else if (isSeq(holder)) {
        node = holder.items[Number(step)] ?? null;
        if (node === null) return offset;
      } else return offset;
      const wantsKey = key !== null && (part === "key" || node === null || depth < path.length - 1);
      offset = (wantsKey ? key : node)?.range[0] ?? offset;
    }
    return offset;
  }
}

type Pair = { readonly key: ParsedNode; readonly value: ParsedNode | null };

const isPlainNumber = (source: string): boolean => /^-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/.test(source);

/** Whether a number's shortest decimal form says the same as its source: same digits, same power of ten. */
function isExact(source: string, value: number): boolean {
  const written = digitsOf(source);
  const carried = Number.isFinite(value) ? digitsOf(String(value)) : null;
  return carried !== null && written.digits === carried.digits && (written.digits === "" || written.power === carried.power);
}

function digitsOf(decimal: string): { readonly digits: string; readonly power: number } {
  const [mantissa = "", exponent = "0"] = decimal.replace(/^-/, "").toLowerCase().split("e");
  const [whole = "", fraction = ""] = mantissa.split(".");
  const all = (whole + fraction).replace(/^0+/, "");
  const digits = all.replace(/0+$/, "");
  return { digits, power: Number(exponent) - fraction.length + (all.length - digits.length) };
}

/** An RFC 6901 pointer. */
export const pointerOf = (path: readonly PropertyKey[]): string =>
  path.map((step) => `/${String(step).replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");

function placeIn(source: string, offset: number): Place {
  const end = Math.min(offset, source.length);
  let line = 1;
  let start = 0;
  for (let next = source.indexOf("\n"); next >= 0 && next < end; next = source.indexOf("\n", start)) {
    line++;
    start = next + 1;
  }
  return { line, column: end - start + 1 };
}
