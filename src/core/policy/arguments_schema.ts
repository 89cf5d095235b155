import { distance } from "fastest-levenshtein";
import { canonicalJson, type JsonValue } from "../json.ts";
import { FORMATS } from "./arguments_formats.ts";
import { patternFault } from "./arguments_patterns.ts";

/** A mistake in a schema: where it is inside it, and what is wrong. */
export interface SchemaIssue {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** A checked schema that is an object. Keywords that hold a schema for each of many names are given as such. */
export interface SchemaNode {
  readonly [keyword: string]: JsonValue | undefined;
  readonly properties?: { readonly [name: string]: JsonValue };
  readonly patternProperties?: { readonly [pattern: string]: JsonValue };
  readonly dependentSchemas?: { readonly [name: string]: JsonValue };
  readonly dependentRequired?: { readonly [name: string]: JsonValue };
}

/**
 * Every mistake in a JSON Schema (2020-12), with the path inside it. What is silently ignored elsewhere is a mistake here, since it would only look
 * like a guard: unknown keywords and formats, `then` without `if`, `$schema` of another draft. References stay within the schema, and none may
 * lead back to itself about the same value. At most 64 KiB of canonical JSON, 32 levels deep.
 */
export function checkSchema(schema: JsonValue): readonly SchemaIssue[] {
  const tooLarge = sizeFault(schema);
  if (tooLarge !== null) return [{ path: [], message: tooLarge }];
  const issues: SchemaIssue[] = [];
  const found: Found[] = [];
  walk(schema, [], issues, found);
  checkAnchors(found, issues);
  if (issues.length === 0) checkReferences(schema, found, issues);
  if (issues.length === 0) checkCost(schema, found, issues);
  return issues;
}

const LARGEST_BYTES = 65_536;
const DEEPEST = 32;
const MOST_VALUES = 20_000;
/** How many checks of one and the same value a schema may ask for. */
const MOST_CHECKS = 5_000;
const MOST_ISSUES = 50;

function sizeFault(schema: JsonValue): string | null {
  let level: readonly JsonValue[] = [schema];
  let values = 0;
  for (let depth = 0; level.length > 0; depth++) {
    values += level.length;
    if (values > MOST_VALUES) return `a schema has at most ${MOST_VALUES} values, found more`;
    if (depth > DEEPEST) return `a schema is at most ${DEEPEST} levels deep, found more`;
    if (level.some((value) => typeof value === "number" && !Number.isFinite(value)))
      return "a schema holds only finite numbers, found NaN or Infinity";
    level = level.flatMap(childrenOf);
  }
  const bytes = new TextEncoder().encode(canonicalJson(schema)).length;
  return bytes > LARGEST_BYTES ? `a schema is at most ${LARGEST_BYTES} bytes of canonical JSON, found ${bytes}` : null;
}

/** The values one level within a value. */
export const childrenOf = (value: JsonValue): JsonValue[] => (value !== null && typeof value === "object" ? Object.values(value) : []);

// ---- Keywords

type Path = readonly PropertyKey[];

/** A schema within the schema, and where. */
type Found = { readonly path: Path; readonly schema: JsonValue };

/** In which form a keyword holds schemas. */
type Holding = "schema" | "schemas" | "schema map" | "pattern map";
type Shape =
  | Holding
  | "count"
  | "number"
  | "positive"
  | "boolean"
  | "text"
  | "names"
  | "names map"
  | "any"
  | "values"
  | "examples"
  | "type"
  | "pattern"
  | "format"
  | "reference"
  | "anchor"
  | "id"
  | "dialect";

const KEYWORDS: ReadonlyMap<string, Shape> = new Map<string, Shape>([
  ["$schema", "dialect"],
  ["$id", "id"],
  ["$ref", "reference"],
  ["$anchor", "anchor"],
  ["$defs", "schema map"],
  ["definitions", "schema map"],
  ["$comment", "text"],
  ["allOf", "schemas"],
  ["anyOf", "schemas"],
  ["oneOf", "schemas"],
  ["not", "schema"],
  ["if", "schema"],
  ["then", "schema"],
  ["else", "schema"],
  ["dependentSchemas", "schema map"],
  ["prefixItems", "schemas"],
  ["items", "schema"],
  ["contains", "schema"],
  ["properties", "schema map"],
  ["patternProperties", "pattern map"],
  ["additionalProperties", "schema"],
  ["propertyNames", "schema"],
  ["unevaluatedItems", "schema"],
  ["unevaluatedProperties", "schema"],
  ["type", "type"],
  ["enum", "values"],
  ["const", "any"],
  ["multipleOf", "positive"],
  ["maximum", "number"],
  ["exclusiveMaximum", "number"],
  ["minimum", "number"],
  ["exclusiveMinimum", "number"],
  ["maxLength", "count"],
  ["minLength", "count"],
  ["pattern", "pattern"],
  ["maxItems", "count"],
  ["minItems", "count"],
  ["uniqueItems", "boolean"],
  ["maxContains", "count"],
  ["minContains", "count"],
  ["maxProperties", "count"],
  ["minProperties", "count"],
  ["required", "names"],
  ["dependentRequired", "names map"],
  ["format", "format"],
  ["title", "text"],
  ["description", "text"],
  ["default", "any"],
  ["deprecated", "boolean"],
  ["readOnly", "boolean"],
  ["writeOnly", "boolean"],
  ["examples", "examples"],
]);

/** Keywords that people know from elsewhere, and what is written instead. */
const ELSEWHERE: ReadonlyMap<string, string> = new Map([
  ["additionalItems", 'write "items" beside "prefixItems"'],
  ["dependencies", 'write "dependentRequired" or "dependentSchemas"'],
  ["id", 'write "$id"'],
  ["nullable", 'add "null" to "type"'],
  ["$dynamicRef", 'write "$ref"'],
  ["$dynamicAnchor", 'write "$anchor"'],
  ["$recursiveRef", 'write "$ref"'],
  ["$recursiveAnchor", 'write "$anchor"'],
  ["$vocabulary", "only the vocabularies of 2020-12 are known"],
  ["contentEncoding", "content is not looked into, so this would guard nothing"],
  ["contentMediaType", "content is not looked into, so this would guard nothing"],
  ["contentSchema", "content is not looked into, so this would guard nothing"],
]);

/** Keywords that do nothing without another. */
const NEEDS: readonly (readonly [keyword: string, needed: string])[] = [
  ["then", "if"],
  ["else", "if"],
  ["minContains", "contains"],
  ["maxContains", "contains"],
];

const TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"];

const DIALECT = "https://json-schema.org/draft/2020-12/schema";

type JsonObject = { readonly [key: string]: JsonValue };

const isObject = (value: JsonValue | undefined): value is JsonObject => value !== null && typeof value === "object" && !Array.isArray(value);

function walk(schema: JsonValue, path: Path, issues: SchemaIssue[], found: Found[]): void {
  if (issues.length >= MOST_ISSUES) return;
  found.push({ path, schema });
  if (typeof schema === "boolean") return;
  if (!isObject(schema)) {
    issues.push({ path, message: `a schema is an object, or true or false, found ${kindOf(schema)}` });
    return;
  }
  for (const [keyword, value] of Object.entries(schema)) {
    const shape = KEYWORDS.get(keyword);
    const at = [...path, keyword];
    if (shape === undefined) issues.push({ path: at, message: unknownKeyword(keyword) });
    else if (!walkSchemas(shape, keyword, value, at, issues, found)) issues.push(...checkKeyword(shape, keyword, value, at));
  }
  for (const [keyword, needed] of NEEDS) {
    if (Object.hasOwn(schema, keyword) && !Object.hasOwn(schema, needed)) {
      issues.push({ path: [...path, keyword], message: `"${keyword}" does nothing without "${needed}" beside it` });
    }
  }
}

function unknownKeyword(keyword: string): string {
  const shown = keyword.length > 64 ? `${keyword.slice(0, 64)}…` : keyword;
  const instead = ELSEWHERE.get(keyword);
  if (instead !== undefined) return `"${shown}" is no keyword here: ${instead}`;
  let nearest = { keyword: "", far: Number.POSITIVE_INFINITY };
  if (keyword.length <= 64) {
    for (const known of KEYWORDS.keys()) {
      const far = distance(keyword.toLowerCase(), known.toLowerCase());
      if (far < nearest.far) nearest = { keyword: known, far };
    }
  }
  const isNear = nearest.far <= Math.max(2, Math.floor(nearest.keyword.length / 3));
  return `"${shown}" is no keyword of JSON Schema 2020-12${isNear ? `; did you mean "${nearest.keyword}"?` : ""}`;
}

/** Walks the schemas that a keyword holds; `false` when it holds none. */
function walkSchemas(shape: Shape, keyword: string, value: JsonValue, at: Path, issues: SchemaIssue[], found: Found[]): shape is Holding {
  switch (shape) {
    case "schema":
      if (Array.isArray(value) && keyword === "items")
        issues.push({ path: at, message: '"items" is one schema; write "prefixItems" for a list of them' });
      else walk(value, at, issues, found);
      return true;
    case "schemas":
      if (!Array.isArray(value) || value.length === 0) issues.push(wrong(keyword, "a list of at least one schema", value, at));
      else for (const [index, part] of value.entries()) walk(part, [...at, index], issues, found);
      return true;
    case "schema map":
    case "pattern map":
      if (!isObject(value)) {
        issues.push(wrong(keyword, "an object of schemas", value, at));
        return true;
      }
      for (const [name, part] of Object.entries(value)) {
        const fault = shape === "pattern map" ? patternFault(name) : null;
        if (fault !== null) issues.push({ path: [...at, name], message: fault });
        walk(part, [...at, name], issues, found);
      }
      return true;
    default:
      return false;
  }
}

function checkKeyword(shape: Exclude<Shape, Holding>, keyword: string, value: JsonValue, at: Path): readonly SchemaIssue[] {
  const wants = (fits: boolean, wanted: string): readonly SchemaIssue[] => (fits ? [] : [wrong(keyword, wanted, value, at)]);
  switch (shape) {
    case "count":
      return wants(Number.isSafeInteger(value) && typeof value === "number" && value >= 0, "a whole number that is not negative");
    case "number":
      return wants(typeof value === "number", "a number");
    case "positive":
      return wants(typeof value === "number" && value > 0, "a number greater than 0");
    case "boolean":
      return wants(typeof value === "boolean", "true or false");
    case "text":
      return wants(typeof value === "string", "a text");
    case "names":
      return wants(areNames(value), "a list of names that all differ");
    case "names map":
      return wants(isObject(value) && Object.values(value).every(areNames), "an object of lists of names that all differ");
    case "values":
      return wants(Array.isArray(value) && value.length > 0, "a list of at least one value");
    case "examples":
      return wants(Array.isArray(value), "a list of values");
    case "type":
      return typeFaults(value, at);
    case "format":
      return wants(typeof value === "string" && FORMATS.includes(value), `one of ${FORMATS.join(", ")}, which are those that are checked`);
    case "pattern": {
      if (typeof value !== "string") return wants(false, "a regular expression");
      const fault = patternFault(value);
      return fault === null ? [] : [{ path: at, message: fault }];
    }
    case "reference":
      return wants(typeof value === "string" && value.startsWith("#"), 'a reference within this schema, "#/…" or "#anchor"; nothing is fetched');
    case "anchor":
      return wants(typeof value === "string" && /^[A-Za-z_][A-Za-z0-9._-]*$/.test(value), "a name of letters, digits, dots, dashes and underscores");
    case "id":
      if (at.length === 1) return wants(typeof value === "string" && !value.includes("#"), "an identifier without a fragment");
      return [{ path: at, message: '"$id" stands only at the top: below, it would change what references mean' }];
    case "dialect":
      if (at.length > 1) return [{ path: at, message: '"$schema" stands only at the top' }];
      return wants(value === DIALECT || value === `${DIALECT}#`, `"${DIALECT}"`);
    case "any":
      return [];
  }
}

function areNames(value: JsonValue): boolean {
  return Array.isArray(value) && value.every((name) => typeof name === "string") && new Set(value).size === value.length;
}

function typeFaults(value: JsonValue, at: Path): readonly SchemaIssue[] {
  const types: readonly JsonValue[] = Array.isArray(value) ? value : [value];
  if (types.length === 0 || new Set(types).size !== types.length) return [wrong("type", "one type, or a list of types that differ", value, at)];
  return types
    .filter((type) => typeof type !== "string" || !TYPES.includes(type))
    .map((type) => wrong("type", `one of ${TYPES.join(", ")}`, type, at));
}

const wrong = (keyword: string, wanted: string, found: JsonValue, path: Path): SchemaIssue => ({
  path,
  message: `"${keyword}" is ${wanted}, found ${shown(found)}`,
});

function shown(value: JsonValue): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return typeof value === "number" || typeof value === "boolean" ? String(value) : kindOf(value);
}

const kindOf = (value: JsonValue): string => {
  if (value === null) return "null";
  if (Array.isArray(value)) return value.length === 0 ? "an empty array" : "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
};

// ---- References

/** The schemas that carry an `$anchor`, by its name. */
export function anchorsOf(schema: JsonValue): ReadonlyMap<string, JsonValue> {
  const found: Found[] = [];
  walk(schema, [], [], found);
  return anchorsAmong(found);
}

const anchorsAmong = (found: readonly Found[]): ReadonlyMap<string, JsonValue> =>
  new Map(found.flatMap(({ schema }) => (isObject(schema) && typeof schema.$anchor === "string" ? [[schema.$anchor, schema] as const] : [])));

function checkAnchors(found: readonly Found[], issues: SchemaIssue[]): void {
  const met = new Set<string>();
  for (const { path, schema } of found) {
    if (!isObject(schema) || typeof schema.$anchor !== "string") continue;
    if (met.has(schema.$anchor)) issues.push({ path: [...path, "$anchor"], message: `the anchor ${shown(schema.$anchor)} is already taken` });
    met.add(schema.$anchor);
  }
}

/** What a reference within the schema names, or `undefined`. */
export function targetOf(reference: string, root: JsonValue, anchors: ReadonlyMap<string, JsonValue>): JsonValue | undefined {
  let fragment: string;
  try {
    fragment = decodeURIComponent(reference.slice(1));
  } catch {
    return undefined;
  }
  if (fragment !== "" && !fragment.startsWith("/")) return anchors.get(fragment);
  let value: JsonValue | undefined = root;
  for (const token of fragment.split("/").slice(1)) {
    const key = token.replaceAll("~1", "/").replaceAll("~0", "~");
    if (value === null || typeof value !== "object" || !Object.hasOwn(value, key)) return undefined;
    // Own, as was just seen.
    value = (value as JsonObject)[key];
  }
  return value;
}

function checkReferences(root: JsonValue, found: readonly Found[], issues: SchemaIssue[]): void {
  const schemas = new Set(found.filter(({ schema }) => isObject(schema)).map(({ schema }) => schema));
  const anchors = anchorsAmong(found);
  for (const { path, schema } of found) {
    if (!isObject(schema) || typeof schema.$ref !== "string") continue;
    const target = targetOf(schema.$ref, root, anchors);
    const isSchema = typeof target === "boolean" || (target !== undefined && schemas.has(target));
    if (!isSchema) issues.push({ path: [...path, "$ref"], message: `${shown(schema.$ref)} names no schema in here` });
  }
}

/** Keywords whose schemas are about the same value as the schema they stand in. */
const SAME_VALUE = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];

/**
 * How many schemas are asked about one value, each counted as often as it is reached: what refers to itself would never end, and what refers twice to
 * what refers twice … would end too late.
 */
function checkCost(root: JsonValue, found: readonly Found[], issues: SchemaIssue[]): void {
  const anchors = anchorsAmong(found);
  const costs = new Map<JsonValue, number>();
  const begun = new Set<JsonValue>();
  let loops = false;
  const costOf = (schema: JsonValue): number => {
    if (!isObject(schema)) return 1;
    const known = costs.get(schema);
    if (known !== undefined) return known;
    // What was begun and has no cost yet is what is being counted.
    if (begun.has(schema)) {
      loops = true;
      return 1;
    }
    begun.add(schema);
    let cost = 1;
    for (const part of sameValueParts(schema, root, anchors)) cost += costOf(part);
    costs.set(schema, cost);
    return cost;
  };
  for (const { path, schema } of found) {
    const cost = costOf(schema);
    if (loops || cost > MOST_CHECKS) {
      const loop = "this schema refers to itself about the same value, which would never end";
      issues.push({ path, message: loops ? loop : `at most ${MOST_CHECKS} schemas may be asked about one value, found ${cost} through references` });
      return;
    }
  }
}

function sameValueParts(schema: JsonObject, root: JsonValue, anchors: ReadonlyMap<string, JsonValue>): readonly JsonValue[] {
  const parts = SAME_VALUE.flatMap((keyword): readonly JsonValue[] => {
    const value = schema[keyword];
    if (value === undefined || !Object.hasOwn(schema, keyword)) return [];
    return Array.isArray(value) ? value : [value];
  });
  if (isObject(schema.dependentSchemas)) parts.push(...Object.values(schema.dependentSchemas));
  const target = typeof schema.$ref === "string" ? targetOf(schema.$ref, root, anchors) : undefined;
  return target === undefined ? parts : [...parts, target];
}
