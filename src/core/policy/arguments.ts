import { canonicalJson, type JsonValue } from "../json.ts";
import { isFormat } from "./arguments_formats.ts";
import { compilePattern, type Pattern } from "./arguments_patterns.ts";
import { anchorsOf, childrenOf, type SchemaNode, targetOf } from "./arguments_schema.ts";

export { checkSchema, type SchemaIssue } from "./arguments_schema.ts";

/** A compiled JSON Schema for an action's inputs. */
export interface ArgumentsSchema {
  /**
   * Why inputs do not fit, as one sentence that names the place by RFC 6901 pointer, what was found and what is wanted; `null` when they fit.
   * No value of the inputs is ever quoted. Total, and bounded: inputs whose check would take more than about a fifth of a second do not fit.
   */
  faultOf(inputs: JsonValue): string | null;
}

/**
 * Compiles a schema in which `checkSchema` found no mistake: JSON Schema 2020-12 without `$dynamicRef` and remote references.
 * Asserted: every validation and applicator keyword, and the formats in `FORMATS`. Patterns run in linear time.
 */
export function compileSchema(schema: JsonValue): ArgumentsSchema {
  const check = compile(schema, { root: schema, anchors: anchorsOf(schema), made: new Map() });
  return {
    faultOf(inputs) {
      if (isDeeper(inputs, DEEPEST)) return `the inputs are nested more than ${DEEPEST} levels deep; wanted at most that`;
      const run: Run = { steps: STEPS, spent: false };
      const fault = check(inputs, null, run, null);
      // Work that was cut short says nothing, whatever a `not` around it made of that.
      if (run.spent) return "the inputs take too many steps to check against this schema; wanted smaller inputs";
      return fault === null ? null : sentenceOf(fault);
    },
  };
}

/**
 * As {@link compileSchema}, for what a policy wants of an action's inputs: a schema that speaks of members and of no type means an object. JSON Schema
 * passes over such keywords where a value is none, so that whoever sent a bare text would be past a rule about its member.
 */
export function compileArguments(schema: JsonValue): ArgumentsSchema {
  const compiled = compileSchema(schema);
  const meansObject =
    isOf("object", schema) && !Object.hasOwn(Object(schema), "type") && OF_OBJECTS.some((word) => Object.hasOwn(Object(schema), word));
  if (!meansObject) return compiled;
  const wanted = `${named("object")}, since the schema speaks of its members`;
  return {
    faultOf(inputs) {
      // A call without arguments is shown as an empty list: nothing was sent.
      if (Array.isArray(inputs) && inputs.length === 0) return compiled.faultOf({});
      return isOf("object", inputs) ? compiled.faultOf(inputs) : sentenceOf({ at: null, found: kindOf(inputs), wanted });
    },
  };
}

const OF_OBJECTS = [
  "properties",
  "required",
  "additionalProperties",
  "patternProperties",
  "propertyNames",
  "minProperties",
  "maxProperties",
  "dependentRequired",
  "dependentSchemas",
  "unevaluatedProperties",
];

const DEEPEST = 256;
const STEPS = 1_000_000;

/** Where a value stands in the inputs: its member or item, and where that stands. */
type Place = { readonly in: Place; readonly key: string | number } | null;

type Fault = { readonly at: Place; readonly found: string; readonly wanted: string };

/** What is left of the work that one check of inputs may take. */
type Run = { steps: number; spent: boolean };

/** Which members and items of one value some keyword has looked at: what the `unevaluated…` keywords leave out. */
type Seen = { readonly members: Set<string>; readonly items: Set<number>; allItems: boolean };

type Check = (value: JsonValue, at: Place, run: Run, seen: Seen | null) => Fault | null;

type Context = { readonly root: JsonValue; readonly anchors: ReadonlyMap<string, JsonValue>; readonly made: Map<JsonValue, Check> };

type JsonObject = { readonly [key: string]: JsonValue };

function compile(schema: JsonValue, context: Context): Check {
  if (schema === true) return () => null;
  if (schema === false) return (_value, at) => ({ at, found: "a value", wanted: "none here" });
  const known = context.made.get(schema);
  if (known !== undefined) return known;
  let whole: Check | null = null;
  // Known before its parts are, which may refer back to it.
  context.made.set(schema, (value, at, run, seen) => (whole === null ? null : whole(value, at, run, seen)));
  // A checked schema that is not a boolean is an object.
  const node = schema as SchemaNode;
  const checks = [
    ...valueChecks(node),
    ...textChecks(node),
    ...numberChecks(node),
    ...sizeChecks(node),
    ...applicators(node, context),
    ...memberChecks(node, context),
    ...itemChecks(node, context),
  ];
  const isWatched = node.unevaluatedProperties !== undefined || node.unevaluatedItems !== undefined;
  const made: Check = isWatched ? watched(node, context, checks) : (value, at, run, seen) => firstFault(checks, value, at, run, seen);
  whole = made;
  context.made.set(schema, made);
  return made;
}

function firstFault(checks: readonly Check[], value: JsonValue, at: Place, run: Run, seen: Seen | null): Fault | null {
  for (const check of checks) {
    if (!spend(run, 1)) return null;
    const fault = check(value, at, run, seen);
    if (fault !== null) return fault;
  }
  return null;
}

function spend(run: Run, steps: number): boolean {
  run.steps -= steps;
  if (run.steps < 0) run.spent = true;
  return !run.spent;
}

// ---- Any value

function valueChecks(node: SchemaNode): Check[] {
  const checks: Check[] = [];
  if (node.type !== undefined) {
    const types = typeof node.type === "string" ? [node.type] : (node.type as readonly string[]);
    const wanted = types.map(named).join(" or ");
    checks.push((value, at) => (types.some((type) => isOf(type, value)) ? null : { at, found: kindOf(value), wanted }));
  }
  if (node.const !== undefined) checks.push(oneOfValues([node.const], "the value that the schema fixes"));
  if (node.enum !== undefined) {
    const values = node.enum as readonly JsonValue[];
    checks.push(oneOfValues(values, `one of the ${values.length} values that the schema lists`));
  }
  return checks;
}

function oneOfValues(values: readonly JsonValue[], wanted: string): Check {
  const allowed = new Set(values.map((value) => canonicalJson(value)));
  const hasCompound = values.some((value) => value !== null && typeof value === "object");
  return (value, at, run) => {
    const isScalar = value === null || typeof value !== "object";
    if ((isScalar || hasCompound) && allowed.has(canonicalOf(value, run))) return null;
    return { at, found: `another ${isScalar ? "value" : kindOf(value).replace(/^an? /, "")}`, wanted };
  };
}

/** The canonical text, paid for by its length. */
function canonicalOf(value: JsonValue, run: Run): string {
  const text = canonicalJson(value);
  spend(run, Math.ceil(text.length / 32));
  return text;
}

function isOf(type: string, value: JsonValue): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    case "string":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "boolean":
      return typeof value === "boolean";
    default:
      return false;
  }
}

const isObject = (value: JsonValue): value is JsonObject => value !== null && typeof value === "object" && !Array.isArray(value);

// ---- Texts and numbers

function textChecks(node: SchemaNode): Check[] {
  const checks: Check[] = [];
  const text = (check: (text: string, at: Place, run: Run) => Fault | null): void => {
    checks.push((value, at, run) => (typeof value === "string" ? check(value, at, run) : null));
  };
  const { minLength, maxLength, pattern, format } = node;
  if (typeof minLength === "number") {
    text((value, at) =>
      isLongerThan(value, minLength - 1) ? null : { at, found: "a shorter text", wanted: counted(minLength, "character", "at least") },
    );
  }
  if (typeof maxLength === "number") {
    text((value, at) => (isLongerThan(value, maxLength) ? { at, found: "a longer text", wanted: counted(maxLength, "character", "at most") } : null));
  }
  if (typeof pattern === "string") {
    const compiled = compilePattern(pattern);
    text((value, at, run) =>
      matches(compiled, value, run) ? null : { at, found: "a text that does not match", wanted: `the pattern ${clipped(pattern)}` },
    );
  }
  if (typeof format === "string") {
    text((value, at, run) => {
      spend(run, Math.ceil(value.length / 32));
      return isFormat(format, value) ? null : { at, found: "another text", wanted: `the format "${format}"` };
    });
  }
  return checks;
}

/** Whether a text has more than `count` code points, read no further than that takes. */
function isLongerThan(text: string, count: number): boolean {
  if (text.length <= count) return false;
  if (text.length > 2 * (count + 1)) return true;
  let found = 0;
  for (const _ of text) if (++found > count) return true;
  return false;
}

function matches(pattern: Pattern, text: string, run: Run): boolean {
  // What is refused here is not asked: a long text times a large pattern could take seconds, though never more than that product.
  return spend(run, Math.ceil((text.length * pattern.size) / 50)) && pattern.matches(text);
}

function numberChecks(node: SchemaNode): Check[] {
  const checks: Check[] = [];
  const limit = (bound: JsonValue | undefined, fits: (value: number, bound: number) => boolean, wanted: string): void => {
    if (typeof bound !== "number") return;
    checks.push((value, at) =>
      typeof value !== "number" || fits(value, bound) ? null : { at, found: "another number", wanted: `${wanted} ${bound}` },
    );
  };
  limit(node.minimum, (value, bound) => value >= bound, "at least");
  limit(node.exclusiveMinimum, (value, bound) => value > bound, "more than");
  limit(node.maximum, (value, bound) => value <= bound, "at most");
  limit(node.exclusiveMaximum, (value, bound) => value < bound, "less than");
  limit(node.multipleOf, isMultiple, "a multiple of");
  return checks;
}

/** Of the numbers as they are written: 19.99 is a multiple of 0.01, which no binary division says. */
function isMultiple(value: number, of: number): boolean {
  if (!Number.isFinite(value)) return false;
  const [a, b] = [decimalOf(value), decimalOf(of)];
  const scale = Math.min(a.exponent, b.exponent);
  return (a.digits * 10n ** BigInt(a.exponent - scale)) % (b.digits * 10n ** BigInt(b.exponent - scale)) === 0n;
}

/** A number is `digits` times ten to the `exponent`, by its shortest decimal form. */
function decimalOf(value: number): { readonly digits: bigint; readonly exponent: number } {
  const [mantissa = "0", exponent = "0"] = String(value).split("e");
  const [whole = "0", fraction = ""] = mantissa.split(".");
  return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length };
}

// ---- Sizes

function sizeChecks(node: SchemaNode): Check[] {
  const checks: Check[] = [];
  const items = (bound: JsonValue | undefined, fits: (size: number, bound: number) => boolean, words: "at least" | "at most"): void => {
    if (typeof bound !== "number") return;
    checks.push((value, at) =>
      !Array.isArray(value) || fits(value.length, bound) ? null : { at, found: counted(value.length, "item"), wanted: counted(bound, "item", words) },
    );
  };
  const members = (bound: JsonValue | undefined, fits: (size: number, bound: number) => boolean, words: "at least" | "at most"): void => {
    if (typeof bound !== "number") return;
    checks.push((value, at) => {
      if (!isObject(value)) return null;
      const size = Object.keys(value).length;
      return fits(size, bound) ? null : { at, found: counted(size, "member"), wanted: counted(bound, "member", words) };
    });
  };
  items(node.minItems, (size, bound) => size >= bound, "at least");
  items(node.maxItems, (size, bound) => size <= bound, "at most");
  members(node.minProperties, (size, bound) => size >= bound, "at least");
  members(node.maxProperties, (size, bound) => size <= bound, "at most");
  if (node.uniqueItems === true) checks.push(uniqueItems);
  return checks;
}

const uniqueItems: Check = (value, at, run) => {
  if (!Array.isArray(value)) return null;
  const met = new Map<string, number>();
  for (const [index, item] of value.entries()) {
    if (!spend(run, 1)) return null;
    const text = canonicalOf(item, run);
    const first = met.get(text);
    if (first !== undefined) return { at: { in: at, key: index }, found: `the same as item ${first}`, wanted: "items that all differ" };
    met.set(text, index);
  }
  return null;
};

// ---- Schemas about the same value

function applicators(node: SchemaNode, context: Context): Check[] {
  const checks: Check[] = [];
  if (typeof node.$ref === "string") {
    const target = targetOf(node.$ref, context.root, context.anchors);
    // Compiled when first asked: the target may be what is being compiled. `false` for what is no schema cannot be in a checked one.
    let found: Check | null = null;
    checks.push((value, at, run, seen) => {
      found ??= compile(target ?? false, context);
      return found(value, at, run, seen);
    });
  }
  const { allOf, anyOf, oneOf, not, if: condition } = node;
  if (Array.isArray(allOf)) checks.push(...allOf.map((part: JsonValue) => compile(part, context)));
  if (Array.isArray(anyOf)) checks.push(alternatives(anyOf, context, (count) => count > 0, `to fit one of ${anyOf.length} alternatives`));
  if (Array.isArray(oneOf)) checks.push(alternatives(oneOf, context, (count) => count === 1, `to fit exactly one of ${oneOf.length} alternatives`));
  if (not !== undefined) {
    const refused = compile(not, context);
    checks.push((value, at, run) =>
      refused(value, at, run, null) === null ? { at, found: "what fits", wanted: 'what does not fit the schema\'s "not"' } : null,
    );
  }
  if (condition !== undefined) checks.push(conditional(condition, node, context));
  for (const [name, part] of Object.entries(node.dependentSchemas ?? {})) {
    const check = compile(part, context);
    checks.push((value, at, run, seen) => (isObject(value) && Object.hasOwn(value, name) ? check(value, at, run, seen) : null));
  }
  return checks;
}

function alternatives(parts: readonly JsonValue[], context: Context, fits: (count: number) => boolean, wanted: string): Check {
  const checks = parts.map((part) => compile(part, context));
  return (value, at, run, seen) => {
    let count = 0;
    for (const check of checks) {
      if (!spend(run, 1)) return null;
      const own = seen === null ? null : unseen();
      if (check(value, at, run, own) !== null) continue;
      count++;
      merge(own, seen);
    }
    return fits(count) ? null : { at, found: `${kindOf(value)} that fits ${count === 0 ? "none" : count}`, wanted };
  };
}

function conditional(asked: JsonValue, node: SchemaNode, context: Context): Check {
  const condition = compile(asked, context);
  const [then, otherwise] = [compile(node.then ?? true, context), compile(node.else ?? true, context)];
  return (value, at, run, seen) => {
    const own = seen === null ? null : unseen();
    if (condition(value, at, run, own) !== null) return otherwise(value, at, run, seen);
    merge(own, seen);
    return then(value, at, run, seen);
  };
}

// ---- Members

function memberChecks(node: SchemaNode, context: Context): Check[] {
  const checks: Check[] = [];
  const required = Array.isArray(node.required) ? (node.required as readonly string[]) : [];
  if (required.length > 0) checks.push((value, at) => (isObject(value) ? missing(value, required, at) : null));
  for (const [name, names] of Object.entries(node.dependentRequired ?? {})) {
    // The schema was checked: these are lists of names.
    checks.push((value, at) => (isObject(value) && Object.hasOwn(value, name) ? missing(value, names as readonly string[], at) : null));
  }
  if (node.propertyNames !== undefined) checks.push(names(compile(node.propertyNames, context)));
  if (node.properties !== undefined || node.patternProperties !== undefined || node.additionalProperties !== undefined)
    checks.push(members(node, context));
  return checks;
}

function missing(value: JsonObject, names: readonly string[], at: Place): Fault | null {
  const absent = names.find((name) => !Object.hasOwn(value, name));
  return absent === undefined ? null : { at: { in: at, key: absent }, found: "nothing", wanted: "a value" };
}

const names =
  (check: Check): Check =>
  (value, at, run) => {
    if (!isObject(value)) return null;
    for (const name of Object.keys(value)) {
      if (!spend(run, 1)) return null;
      const fault = check(name, { in: at, key: name }, run, null);
      if (fault !== null) return { ...fault, found: `a name that is ${fault.found}` };
    }
    return null;
  };

function members(node: SchemaNode, context: Context): Check {
  const named = new Map(Object.entries(node.properties ?? {}).map(([name, part]) => [name, compile(part, context)]));
  const patterned = Object.entries(node.patternProperties ?? {}).map(([pattern, part]) => ({
    pattern: compilePattern(pattern),
    check: compile(part, context),
  }));
  const rest = node.additionalProperties;
  const additional = rest === undefined ? null : compile(rest, context);
  return (value, at, run, seen) => {
    if (!isObject(value)) return null;
    for (const [name, member] of Object.entries(value)) {
      if (!spend(run, 1)) return null;
      const place = { in: at, key: name };
      const own = named.get(name);
      let covered = own !== undefined;
      let fault = own?.(member, place, run, null) ?? null;
      for (const { pattern, check } of patterned) {
        if (fault !== null || !matches(pattern, name, run)) continue;
        covered = true;
        fault = check(member, place, run, null);
      }
      if (!covered && additional !== null) {
        fault = rest === false ? { at: place, found: "a member", wanted: "no member of this name" } : additional(member, place, run, null);
        covered = true;
      }
      if (fault !== null) return fault;
      if (covered) seen?.members.add(name);
    }
    return null;
  };
}

// ---- Items

function itemChecks(node: SchemaNode, context: Context): Check[] {
  const checks: Check[] = [];
  const first = (Array.isArray(node.prefixItems) ? node.prefixItems : []).map((part: JsonValue) => compile(part, context));
  const rest = node.items === undefined ? null : compile(node.items, context);
  if (first.length > 0 || rest !== null) {
    checks.push((value, at, run, seen) => {
      if (!Array.isArray(value)) return null;
      for (const [index, item] of value.entries()) {
        const check = first[index] ?? rest;
        if (check === null || !spend(run, 1)) return null;
        const fault = check(item, { in: at, key: index }, run, null);
        if (fault !== null) return fault;
        seen?.items.add(index);
      }
      return null;
    });
  }
  if (node.contains !== undefined) checks.push(contains(node, compile(node.contains, context)));
  return checks;
}

function contains(node: SchemaNode, check: Check): Check {
  const least = typeof node.minContains === "number" ? node.minContains : 1;
  const most = typeof node.maxContains === "number" ? node.maxContains : null;
  return (value, at, run, seen) => {
    if (!Array.isArray(value)) return null;
    let count = 0;
    for (const [index, item] of value.entries()) {
      if (!spend(run, 1)) return null;
      if (check(item, { in: at, key: index }, run, null) !== null) continue;
      count++;
      seen?.items.add(index);
    }
    const found = `${count} fitting items`;
    if (count < least) return { at, found, wanted: counted(least, "fitting item", "at least") };
    return most !== null && count > most ? { at, found, wanted: counted(most, "fitting item", "at most") } : null;
  };
}

// ---- What no other keyword looked at

const unseen = (): Seen => ({ members: new Set(), items: new Set(), allItems: false });

function merge(from: Seen | null, into: Seen | null): void {
  if (from === null || into === null) return;
  for (const name of from.members) into.members.add(name);
  for (const index of from.items) into.items.add(index);
  into.allItems ||= from.allItems;
}

/** The other checks, told to note what they look at, and then the two keywords for what is left. */
function watched(node: SchemaNode, context: Context, others: readonly Check[]): Check {
  const { unevaluatedProperties, unevaluatedItems } = node;
  const member = unevaluatedProperties === undefined ? null : compile(unevaluatedProperties, context);
  const item = unevaluatedItems === undefined ? null : compile(unevaluatedItems, context);
  return (value, at, run, seen) => {
    const own = unseen();
    const fault = firstFault(others, value, at, run, own) ?? leftMembers(value, at, run, own, member) ?? leftItems(value, at, run, own, item);
    if (fault === null) merge(own, seen);
    return fault;
  };
}

function leftMembers(value: JsonValue, at: Place, run: Run, seen: Seen, check: Check | null): Fault | null {
  if (check === null || !isObject(value)) return null;
  for (const [name, member] of Object.entries(value)) {
    if (seen.members.has(name)) continue;
    if (!spend(run, 1)) return null;
    const fault = check(member, { in: at, key: name }, run, null);
    if (fault !== null) return fault;
    seen.members.add(name);
  }
  return null;
}

function leftItems(value: JsonValue, at: Place, run: Run, seen: Seen, check: Check | null): Fault | null {
  if (check === null || !Array.isArray(value) || seen.allItems) return null;
  for (const [index, item] of value.entries()) {
    if (seen.items.has(index)) continue;
    if (!spend(run, 1)) return null;
    const fault = check(item, { in: at, key: index }, run, null);
    if (fault !== null) return fault;
  }
  seen.allItems = true;
  return null;
}

// ---- Sentences

function sentenceOf({ at, found, wanted }: Fault): string {
  const keys: string[] = [];
  for (let place = at; place !== null; place = place.in) keys.push(String(place.key).replaceAll("~", "~0").replaceAll("/", "~1"));
  const pointer = keys
    .reverse()
    .map((key) => `/${key.length > 100 ? `${key.slice(0, 100)}…` : key}`)
    .join("");
  return `${pointer === "" ? "the inputs" : `inputs at ${JSON.stringify(pointer)}`}: found ${found}, wanted ${wanted}`;
}

const named = (type: string): string => (type === "null" ? "null" : `${/^[aio]/.test(type) ? "an" : "a"} ${type}`);

function kindOf(value: JsonValue): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return named(typeof value);
}

const counted = (count: number, what: string, words?: string): string =>
  `${words === undefined ? "" : `${words} `}${count} ${what}${count === 1 ? "" : "s"}`;

const clipped = (pattern: string): string => JSON.stringify(pattern.length > 80 ? `${pattern.slice(0, 80)}…` : pattern);

/** Whether a value is nested more than `limit` levels, found without recursion. */
function isDeeper(value: JsonValue, limit: number): boolean {
  let level: JsonValue[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return true;
    level = level.flatMap(childrenOf);
  }
  return false;
}
