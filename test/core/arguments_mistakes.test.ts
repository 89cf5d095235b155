// biome-ignore-all lint/suspicious/noThenProperty: "then" is a keyword of JSON Schema, and no schema here is awaited
import { expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { checkSchema } from "../../src/core/policy/arguments.ts";

const FORMATS = "date-time, date, time, duration, email, hostname, ipv4, ipv6, uri, uri-reference, uuid, json-pointer";
const BIG = "x".repeat(41);

/** What is wrong with a schema, in words: whoever writes a policy reads just this. */
const told = (schema: JsonValue): readonly string[] =>
  checkSchema(schema).map(({ path, message }) => `${path.map((key) => `/${String(key)}`).join("")}: ${message}`);

it.each<readonly [schema: JsonValue, mistakes: readonly string[]]>([
  [5, [": a schema is an object, or true or false, found a number"]],
  ["x", [": a schema is an object, or true or false, found a string"]],
  [null, [": a schema is an object, or true or false, found null"]],
  [[], [": a schema is an object, or true or false, found an empty array"]],
  [[1], [": a schema is an object, or true or false, found an array"]],
  // Each keyword wants what it wants, and is told what it found.
  ...["maxLength", "minLength", "maxItems", "minItems", "maxProperties", "minProperties"].flatMap(
    (keyword): (readonly [JsonValue, readonly string[]])[] => [
      [{ [keyword]: 0 }, []],
      [{ [keyword]: 2 ** 53 - 1 }, []],
      ...(
        [
          ["-1", -1],
          ["1.5", 1.5],
          ['"1"', "1"],
          ["9007199254740992", 2 ** 53],
          ["null", null],
        ] as const
      ).map(([found, value]): readonly [JsonValue, readonly string[]] => [
        { [keyword]: value },
        [`/${keyword}: "${keyword}" is a whole number that is not negative, found ${found}`],
      ]),
    ],
  ),
  [
    { contains: {}, minContains: -1, maxContains: "x" },
    [
      '/minContains: "minContains" is a whole number that is not negative, found -1',
      '/maxContains: "maxContains" is a whole number that is not negative, found "x"',
    ],
  ],
  ...["maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"].flatMap((keyword): (readonly [JsonValue, readonly string[]])[] => [
    [{ [keyword]: -1.5 }, []],
    [{ [keyword]: "1" }, [`/${keyword}: "${keyword}" is a number, found "1"`]],
  ]),
  [{ multipleOf: 0.1 }, []],
  [{ multipleOf: 0 }, ['/multipleOf: "multipleOf" is a number greater than 0, found 0']],
  [{ multipleOf: true }, ['/multipleOf: "multipleOf" is a number greater than 0, found true']],
  ...["uniqueItems", "deprecated", "readOnly", "writeOnly"].flatMap((keyword): (readonly [JsonValue, readonly string[]])[] => [
    [{ [keyword]: false }, []],
    [{ [keyword]: 0 }, [`/${keyword}: "${keyword}" is true or false, found 0`]],
  ]),
  ...["title", "description", "$comment"].flatMap((keyword): (readonly [JsonValue, readonly string[]])[] => [
    [{ [keyword]: "" }, []],
    [{ [keyword]: {} }, [`/${keyword}: "${keyword}" is a text, found an object`]],
  ]),
  [{ default: null, const: [1] }, []],
  [{ examples: [] }, []],
  [{ examples: {} }, ['/examples: "examples" is a list of values, found an object']],
  [{ enum: [null] }, []],
  [{ enum: [] }, ['/enum: "enum" is a list of at least one value, found an empty array']],
  [{ enum: "a" }, ['/enum: "enum" is a list of at least one value, found "a"']],
  [{ required: [] }, []],
  [{ required: ["a", "b"] }, []],
  [{ required: ["a", "a"] }, ['/required: "required" is a list of names that all differ, found an array']],
  [{ required: ["a", 1] }, ['/required: "required" is a list of names that all differ, found an array']],
  [{ required: "a" }, ['/required: "required" is a list of names that all differ, found "a"']],
  [{ dependentRequired: { a: ["b"], c: [] } }, []],
  [
    { dependentRequired: { a: ["b"], c: "d" } },
    ['/dependentRequired: "dependentRequired" is an object of lists of names that all differ, found an object'],
  ],
  [{ dependentRequired: [["a"]] }, ['/dependentRequired: "dependentRequired" is an object of lists of names that all differ, found an array']],
  ...["string", "number", "integer", "boolean", "object", "array", "null"].map((type): readonly [JsonValue, readonly string[]] => [{ type }, []]),
  [{ type: ["string", "null"] }, []],
  [{ type: "str" }, ['/type: "type" is one of string, number, integer, boolean, object, array, null, found "str"']],
  [
    { type: ["string", "any", 1] },
    [
      '/type: "type" is one of string, number, integer, boolean, object, array, null, found "any"',
      '/type: "type" is one of string, number, integer, boolean, object, array, null, found 1',
    ],
  ],
  [{ type: [] }, ['/type: "type" is one type, or a list of types that differ, found an empty array']],
  [{ type: ["null", "null"] }, ['/type: "type" is one type, or a list of types that differ, found an array']],
  [{ format: "e-mail" }, [`/format: "format" is one of ${FORMATS}, which are those that are checked, found "e-mail"`]],
  [{ format: 1 }, [`/format: "format" is one of ${FORMATS}, which are those that are checked, found 1`]],
  [{ pattern: 1 }, ['/pattern: "pattern" is a regular expression, found 1']],
  [{ pattern: "(" }, ["/pattern: is not a regular expression of ECMA-262: Unterminated group"]],
  [{ pattern: BIG, title: [BIG] }, ['/title: "title" is a text, found an array']],
  // A long value is cut where it is shown.
  [{ maximum: "x".repeat(40) }, [`/maximum: "maximum" is a number, found "${"x".repeat(40)}"`]],
  [{ maximum: BIG }, [`/maximum: "maximum" is a number, found "${"x".repeat(40)}…"`]],
  // What stands only at the top, and what names what.
  [{ $schema: "https://json-schema.org/draft/2020-12/schema" }, []],
  [{ $schema: "https://json-schema.org/draft/2020-12/schema#" }, []],
  [
    { $schema: "http://json-schema.org/draft-07/schema#" },
    ['/$schema: "$schema" is "https://json-schema.org/draft/2020-12/schema", found "http://json-schema.org/draft-07/schema#"'],
  ],
  [{ not: { $schema: "https://json-schema.org/draft/2020-12/schema" } }, ['/not/$schema: "$schema" stands only at the top']],
  [{ $id: "https://example.com/a" }, []],
  [{ $id: "https://example.com/a#b" }, ['/$id: "$id" is an identifier without a fragment, found "https://example.com/a#b"']],
  [{ $id: 1 }, ['/$id: "$id" is an identifier without a fragment, found 1']],
  [{ not: { $id: "a" } }, ['/not/$id: "$id" stands only at the top: below, it would change what references mean']],
  [
    { $ref: "https://example.com" },
    ['/$ref: "$ref" is a reference within this schema, "#/…" or "#anchor"; nothing is fetched, found "https://example.com"'],
  ],
  [{ $ref: 1 }, ['/$ref: "$ref" is a reference within this schema, "#/…" or "#anchor"; nothing is fetched, found 1']],
  [{ $anchor: "a.b-c_D9" }, []],
  ...(["9a", "a b", "", "-a", "a#", " a"] as const).map((anchor): readonly [JsonValue, readonly string[]] => [
    { $anchor: anchor },
    [`/$anchor: "$anchor" is a name of letters, digits, dots, dashes and underscores, found "${anchor}"`],
  ]),
  [{ $anchor: 1 }, ['/$anchor: "$anchor" is a name of letters, digits, dots, dashes and underscores, found 1']],
  [{ $anchor: "a", not: { $anchor: "a" } }, ['/not/$anchor: the anchor "a" is already taken']],
  [{ $anchor: "a", not: { $anchor: "b" } }, []],
  // Of what holds schemas, what they are, and what is wrong in them, with the way there.
  ...["allOf", "anyOf", "oneOf", "prefixItems"].flatMap((keyword): (readonly [JsonValue, readonly string[]])[] => [
    [{ [keyword]: [{}, true] }, []],
    [{ [keyword]: [] }, [`/${keyword}: "${keyword}" is a list of at least one schema, found an empty array`]],
    [{ [keyword]: {} }, [`/${keyword}: "${keyword}" is a list of at least one schema, found an object`]],
    [{ [keyword]: [{}, 1] }, [`/${keyword}/1: a schema is an object, or true or false, found a number`]],
  ]),
  ...["not", "if", "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"].flatMap(
    (keyword): (readonly [JsonValue, readonly string[]])[] => [
      [{ [keyword]: false }, []],
      [{ [keyword]: { minimum: "1" } }, [`/${keyword}/minimum: "minimum" is a number, found "1"`]],
      [{ [keyword]: 1 }, [`/${keyword}: a schema is an object, or true or false, found a number`]],
    ],
  ),
  [{ items: [{}] }, ['/items: "items" is one schema; write "prefixItems" for a list of them']],
  [{ contains: [{}] }, ["/contains: a schema is an object, or true or false, found an array"]],
  ...["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"].flatMap(
    (keyword): (readonly [JsonValue, readonly string[]])[] => [
      [{ [keyword]: { a: {} } }, []],
      [{ [keyword]: [{}] }, [`/${keyword}: "${keyword}" is an object of schemas, found an array`]],
      [{ [keyword]: { a: 1 } }, [`/${keyword}/a: a schema is an object, or true or false, found a number`]],
    ],
  ),
  [{ properties: { "(": {} } }, []],
  // What does nothing alone.
  [{ if: {}, then: {}, else: {} }, []],
  [{ then: {} }, ['/then: "then" does nothing without "if" beside it']],
  [{ not: { else: {} } }, ['/not/else: "else" does nothing without "if" beside it']],
  [{ minContains: 1 }, ['/minContains: "minContains" does nothing without "contains" beside it']],
  [{ maxContains: 1 }, ['/maxContains: "maxContains" does nothing without "contains" beside it']],
  // What is no keyword, with what was meant.
  ...(
    [
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
    ] as const
  ).map(([keyword, instead]): readonly [JsonValue, readonly string[]] => [
    { [keyword]: true },
    [`/${keyword}: "${keyword}" is no keyword here: ${instead}`],
  ]),
  [{ maxlength: 1 }, ['/maxlength: "maxlength" is no keyword of JSON Schema 2020-12; did you mean "maxLength"?']],
  [{ MINITEMS: 1 }, ['/MINITEMS: "MINITEMS" is no keyword of JSON Schema 2020-12; did you mean "minItems"?']],
  [{ additionalProps: {} }, ['/additionalProps: "additionalProps" is no keyword of JSON Schema 2020-12; did you mean "additionalProperties"?']],
  [{ xyzzy: 1 }, ['/xyzzy: "xyzzy" is no keyword of JSON Schema 2020-12']],
  [{ typ: 1 }, ['/typ: "typ" is no keyword of JSON Schema 2020-12; did you mean "type"?']],
  [{ tabby: 1 }, ['/tabby: "tabby" is no keyword of JSON Schema 2020-12']],
  [{ ["k".repeat(65)]: 1 }, [`/${"k".repeat(65)}: "${"k".repeat(64)}…" is no keyword of JSON Schema 2020-12`]],
  [{ ["k".repeat(64)]: 1 }, [`/${"k".repeat(64)}: "${"k".repeat(64)}" is no keyword of JSON Schema 2020-12`]],
  [{ not: { xyzzy: 1 }, minimum: "1" }, ['/not/xyzzy: "xyzzy" is no keyword of JSON Schema 2020-12', '/minimum: "minimum" is a number, found "1"']],
  // References.
  [{ $ref: "#/$defs/b", $defs: { a: {} } }, ['/$ref: "#/$defs/b" names no schema in here']],
  [{ $ref: "#/$defs", $defs: { a: {} } }, ['/$ref: "#/$defs" names no schema in here']],
  [{ $ref: "#b", $defs: { a: { $anchor: "a" } } }, ['/$ref: "#b" names no schema in here']],
  [{ $ref: "#/%", $defs: { a: {} } }, ['/$ref: "#/%" names no schema in here']],
  [{ $ref: "#/$defs/a/x", $defs: { a: true } }, ['/$ref: "#/$defs/a/x" names no schema in here']],
  [{ $ref: "#/title/0", title: "a" }, ['/$ref: "#/title/0" names no schema in here']],
  [{ properties: { n: { $ref: "#/default" } }, default: {} }, ['/properties/n/$ref: "#/default" names no schema in here']],
  [{ properties: { n: { $ref: "#/toString" } } }, ['/properties/n/$ref: "#/toString" names no schema in here']],
  [{ $ref: "#/$defs/a", $defs: { a: false } }, []],
  [{ $ref: "#/allOf/1", $defs: { a: {} }, allOf: [{}, { minimum: 1 }] }, []],
  ...(["allOf", "anyOf", "oneOf"] as const).map((keyword): readonly [JsonValue, readonly string[]] => [
    { [keyword]: [{}, { $ref: "#" }] },
    [": this schema refers to itself about the same value, which would never end"],
  ]),
  ...(["not", "if"] as const).map((keyword): readonly [JsonValue, readonly string[]] => [
    { [keyword]: { $ref: "#" } },
    [": this schema refers to itself about the same value, which would never end"],
  ]),
  [{ if: {}, then: { $ref: "#" } }, [": this schema refers to itself about the same value, which would never end"]],
  [{ if: {}, else: { $ref: "#" } }, [": this schema refers to itself about the same value, which would never end"]],
  [{ dependentSchemas: { a: { $ref: "#" } } }, [": this schema refers to itself about the same value, which would never end"]],
  [{ $ref: "#" }, [": this schema refers to itself about the same value, which would never end"]],
  [{ $ref: "#me", $anchor: "me" }, [": this schema refers to itself about the same value, which would never end"]],
  [{ properties: { a: { $ref: "#" } }, items: { $ref: "#" }, contains: { $ref: "#" } }, []],
])("%j: %j", (schema, mistakes) => {
  expect(told(schema)).toEqual(mistakes);
});

it("no keyword is there by its parents' grace", () => {
  const schema = JSON.parse('{"__proto__": {"then": {}}, "constructor": 1}') as JsonValue;
  expect(told(schema)).toEqual([
    '/__proto__: "__proto__" is no keyword of JSON Schema 2020-12',
    '/constructor: "constructor" is no keyword of JSON Schema 2020-12',
  ]);
});

it("a schema may be as large, as deep, as rich and as dear as is said, and not more", () => {
  const deep = (levels: number): JsonValue => (levels === 0 ? {} : { not: deep(levels - 1) });
  expect(told(deep(32))).toEqual([]);
  expect(told(deep(33))).toEqual([": a schema is at most 32 levels deep, found more"]);
  const values = (count: number): JsonValue => ({ enum: Array.from({ length: count - 2 }, () => 0) });
  expect(told(values(20_000))).toEqual([]);
  expect(told(values(20_001))).toEqual([": a schema has at most 20000 values, found more"]);
  const bytes = (count: number): JsonValue => ({ title: "é".repeat((count - 12) / 2) });
  expect(told(bytes(65_536))).toEqual([]);
  expect(told(bytes(65_538))).toEqual([": a schema is at most 65536 bytes of canonical JSON, found 65538"]);
  for (const number of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(told({ enum: [number] })).toEqual([": a schema holds only finite numbers, found NaN or Infinity"]);
  const dear = (count: number): JsonValue => ({ $ref: "#/$defs/many", $defs: { many: { allOf: Array.from({ length: count }, () => true) } } });
  expect(told(dear(4_998))).toEqual([]);
  expect(told(dear(4_999))).toEqual([": at most 5000 schemas may be asked about one value, found 5001 through references"]);
});

it("of many mistakes the first fifty or so are told", () => {
  const schema = { allOf: Array.from({ length: 200 }, () => ({ minimum: "x" })) };
  expect(told(schema)).toHaveLength(50);
});
