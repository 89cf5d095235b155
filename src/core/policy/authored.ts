import { canonicalJson, type JsonValue } from "../json.ts";
import { checkSchema } from "./arguments.ts";
import { compilePattern, patternFault, sizeOfPattern } from "./arguments_patterns.ts";
import { AUTHOR_BOUNDS } from "./document.ts";
import { CHARACTERS_PER_INSTRUCTION, compileExpression, type ExpressionFault } from "./expressions.ts";
import type { Finding } from "./parse.ts";
import { MOST_ISSUES, pointerOf } from "./text.ts";

/** Bounds on a whole text, over all of its sections: nothing that an author can write may make a decision slow or a store full. */
const MOST_RULE_PATTERNS = 50_000;
/** Each of them meets each of `allowed_actions`. */
const MOST_FURTHER_PATTERNS = 100;
const MOST_REQUIREMENTS = 1000;
const MOST_SCHEMAS = 1000;
const MOST_SCHEMA_CHARACTERS = 64 * 1024;
/** Of all regular expressions together, in conditions and in schemas. A short one may have thousands, of some 90 bytes each, in memory that tenants share. */
export const MOST_REGEX_INSTRUCTIONS = 100_000;
/** What those of a condition with a mistake count for, each: nobody knows how many of them were compiled before it was found. */
const INSTRUCTIONS_OF_FAULTY = 1_000;

type Path = readonly PropertyKey[];

/**
 * What an author's text is asked once, where it is published: every condition compiles, every schema is one, no id is given twice, and the sections
 * together keep within bounds. `value` is the text as it was read, whatever else is wrong with it, so that all mistakes are told at once; what has
 * not the form for a question is passed over here and refused by the form. A stored document was asked before.
 */
export function authorFindings(value: unknown, work: AuthorsWork = { instructions: 0 }): readonly Finding[] {
  const excess = [...beyondBounds(value)];
  return excess.length > 0 ? excess : [...doubledIds(value), ...badConditions(value, work), ...badSchemas(value, work)];
}

/** How many instructions of regular expressions were made for a text, about: a short text can have very many, and they are most of what it costs. */
export interface AuthorsWork {
  instructions: number;
}

/** How much room a policy takes in memory when it is ready to be asked, in characters of text: its own, and what stands for its regular expressions. */
export function roomOf(document: JsonValue): number {
  let room = JSON.stringify(document).length;
  for (const { instructions } of regexes(document)) room += instructions * CHARACTERS_PER_INSTRUCTION;
  return room;
}

/** Where the regular expressions of a text have grown too large together, nothing of it is looked at any further: each is compiled to find its size. */
const isTooMuch = ({ instructions }: AuthorsWork): boolean => instructions > MOST_REGEX_INSTRUCTIONS;

const tooMuch = (path: Path): Finding => {
  const most = `at most ${MOST_REGEX_INSTRUCTIONS} instructions in all regular expressions together`;
  return mistake(path, `wanted ${most}, and with those of this one there are more: fewer of them, or fewer repetitions, are less`);
};

function* regexes(value: unknown): Iterable<{ readonly path: Path; readonly instructions: number }> {
  for (const { path, text, kind } of conditions(value)) {
    // Most conditions have none, and need not be compiled once more to find that out.
    if (typeof text !== "string" || !text.includes("matches")) continue;
    const compiled = compileExpression(text, kind);
    if (compiled.ok) yield { path, instructions: compiled.value.instructions };
  }
  for (const [path, schema] of perPattern(value, "arguments"))
    for (const pattern of patternsIn(schema)) if (patternFault(pattern) === null) yield { path, instructions: compilePattern(pattern).size };
}

/** The regular expressions of a schema that has no mistake. What is data and looks like one counts too: rather too much than too little. */
function* patternsIn(schema: unknown): Iterable<string> {
  if (Array.isArray(schema)) for (const part of schema) yield* patternsIn(part);
  if (!isMapping(schema)) return;
  for (const [keyword, said] of Object.entries(schema)) {
    if (keyword === "pattern" && typeof said === "string") yield said;
    if (keyword === "patternProperties" && isMapping(said)) yield* Object.keys(said);
    yield* patternsIn(said);
  }
}

function* beyondBounds(value: unknown): Iterable<Finding> {
  const rules = listAt(value, "rules");
  const history = listAt(value, "history");
  // One list that is too long by itself is refused by the form.
  const longest = Math.max(rules.length, history.length);
  if (longest <= AUTHOR_BOUNDS.rules && rules.length + history.length > AUTHOR_BOUNDS.rules) {
    yield mistake(
      [rules.length >= history.length ? "rules" : "history"],
      `wanted at most ${AUTHOR_BOUNDS.rules} rules, those of history among them, found ${rules.length + history.length}`,
    );
  }
  const patterns = [...rules.map((rule) => memberOf(rule, "actions")), ...history.map((rule) => memberOf(rule, "forbid"))]
    .map((list) => (Array.isArray(list) ? list.length : 1))
    .reduce((a, b) => a + b, 0);
  if (patterns > MOST_RULE_PATTERNS) {
    yield mistake(["rules"], `wanted at most ${MOST_RULE_PATTERNS} action names and globs in all rules together, found ${patterns}`);
  }
  const furtherLists = listAt(value, "also_allowed_actions");
  const further = furtherLists.reduce((sum: number, list) => sum + (Array.isArray(list) ? list.length : 0), 0);
  if (further > MOST_FURTHER_PATTERNS) {
    yield mistake(["also_allowed_actions"], `wanted at most ${MOST_FURTHER_PATTERNS} patterns in all lists together, found ${further}`);
  }
  for (const [section, most, what] of [
    ["requires", MOST_REQUIREMENTS, "requirements"],
    ["arguments", MOST_SCHEMAS, "schemas"],
  ] as const) {
    const count = [...perPattern(value, section)].length;
    if (count > most) yield mistake([section], `wanted at most ${most} ${what}, found ${count}`);
  }
}

function* doubledIds(value: unknown): Iterable<Finding> {
  const places = new Map<string, Path>();
  for (const section of ["rules", "history"]) {
    for (const [index, rule] of listAt(value, section).entries()) {
      const id = memberOf(rule, "id");
      if (typeof id !== "string") continue;
      const other = places.get(id);
      if (other === undefined) places.set(id, [section, index]);
      else yield mistake([section, index, "id"], `${JSON.stringify(id.slice(0, 128))} is the id of ${pointerOf(other)} already; an id is given once`);
    }
  }
}

function* badConditions(value: unknown, work: AuthorsWork): Iterable<Finding> {
  const known = new Map<string, { readonly fault: ExpressionFault | null; readonly instructions: number }>();
  let told = 0;
  for (const { path, text, kind } of conditions(value)) {
    if (told === MOST_ISSUES) return;
    // The form refuses what is too long, and a checker should not have to read it.
    if (typeof text !== "string" || text === "" || text.length > AUTHOR_BOUNDS.condition) continue;
    const key = `${kind} ${text}`;
    const { fault, instructions } = known.get(key) ?? asked(text, kind);
    known.set(key, { fault, instructions });
    work.instructions += instructions;
    if (isTooMuch(work)) return yield tooMuch(path);
    if (fault === null) continue;
    told++;
    yield { ...mistake(path, fault.message), ...(fault.offset !== null && { inside: { text, offset: fault.offset } }) };
  }
}

function asked(text: string, kind: "rule" | "where"): { readonly fault: ExpressionFault | null; readonly instructions: number } {
  const compiled = compileExpression(text, kind);
  if (compiled.ok) return { fault: null, instructions: compiled.value.instructions };
  return { fault: compiled.error, instructions: (text.split("matches").length - 1) * INSTRUCTIONS_OF_FAULTY };
}

function* conditions(value: unknown): Iterable<{ readonly path: Path; readonly text: unknown; readonly kind: "rule" | "where" }> {
  for (const section of ["history", "rules"]) {
    for (const [index, rule] of listAt(value, section).entries())
      yield { path: [section, index, "when"], text: memberOf(rule, "when"), kind: "rule" };
  }
  for (const [path, required] of perPattern(value, "requires")) yield { path: [...path, "where"], text: memberOf(required, "where"), kind: "where" };
}

function* badSchemas(value: unknown, work: AuthorsWork): Iterable<Finding> {
  if (isTooMuch(work)) return;
  let told = 0;
  for (const [path, schema] of perPattern(value, "arguments")) {
    if (told >= MOST_ISSUES) return;
    if (typeof schema !== "boolean" && !isMapping(schema)) continue;
    const size = sizeOf(schema, MOST_SCHEMA_CHARACTERS);
    if (size > MOST_SCHEMA_CHARACTERS) {
      told++;
      yield mistake(path, `wanted a JSON Schema of at most ${MOST_SCHEMA_CHARACTERS} characters of JSON, found more`);
      continue;
    }
    // It was read from text, so JSON can carry it; what is too deep the form refuses.
    if (isDeeper(schema, AUTHOR_BOUNDS.depth)) continue;
    for (const pattern of patternsIn(schema)) {
      work.instructions += sizeOfPattern(pattern);
      if (isTooMuch(work)) return yield tooMuch(path);
    }
    for (const fault of checkSchema(schema as JsonValue)) {
      told++;
      yield mistake([...path, ...fault.path], fault.message);
    }
  }
}

const isDeeper = (value: unknown, levels: number): boolean =>
  typeof value === "object" && value !== null && (levels === 0 || Object.values(value).some((member) => isDeeper(member, levels - 1)));

/**
 * How many characters the value's JSON has; above `most` it may be any number above. What aliases multiply is not printed to find out: a first
 * look that adds up the lengths stops early.
 */
export function sizeOf(value: unknown, most: number): number {
  const rough = roughSize(value, most);
  return rough > most ? rough : canonicalJson(value).length;
}

function roughSize(value: unknown, most: number): number {
  if (typeof value === "string") return value.length + 2;
  if (typeof value !== "object" || value === null) return 1;
  let size = 2;
  for (const [key, member] of Object.entries(value)) {
    size += (Array.isArray(value) ? 1 : key.length + 4) + roughSize(member, most - size);
    if (size > most) return size;
  }
  return size;
}

/** What a section says of each of its patterns, which may be one thing or a list of them. */
function* perPattern(value: unknown, section: string): Iterable<readonly [path: Path, item: unknown]> {
  const record = memberOf(value, section);
  if (!isMapping(record)) return;
  for (const [pattern, said] of Object.entries(record)) {
    if (Array.isArray(said)) for (const [index, item] of said.entries()) yield [[section, pattern, index], item];
    else yield [[section, pattern], said];
  }
}

function listAt(value: unknown, section: string): readonly unknown[] {
  const list = memberOf(value, section);
  return Array.isArray(list) ? list : [];
}

const memberOf = (value: unknown, name: string): unknown => (isMapping(value) && Object.hasOwn(value, name) ? value[name] : undefined);

const isMapping = (value: unknown): value is { readonly [key: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const mistake = (path: Path, message: string): Finding => ({ path, part: "value", message });
