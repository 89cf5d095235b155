// biome-ignore-all lint/suspicious/noThenProperty: "then" is a keyword of JSON Schema, and no schema here is awaited
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { checkSchema, compileArguments, compileSchema } from "../../src/core/policy/arguments.ts";

const faultOf = (schema: JsonValue, inputs: JsonValue): string | null => {
  expect(checkSchema(schema)).toEqual([]);
  return compileSchema(schema).faultOf(inputs);
};
const fits = (schema: JsonValue, inputs: JsonValue): boolean => faultOf(schema, inputs) === null;
const parsed = (text: string): JsonValue => JSON.parse(text) as JsonValue;
const pointers = (schema: JsonValue): readonly string[] => checkSchema(schema).map(({ path }) => path.map((key) => `/${String(key)}`).join(""));

describe("inputs fit or do not, as the official suite has it", () => {
  it.each<readonly [name: string, schema: JsonValue, good: readonly JsonValue[], bad: readonly JsonValue[]]>([
    ["true", true, [1, null, {}], []],
    ["false", false, [], [1, null, {}]],
    ["type integer", { type: "integer" }, [1, 1.0, -0, 1e20], [1.5, "1", null]],
    ["type number", { type: "number" }, [1, 0.5], ["1", null, true]],
    ["type null", { type: "null" }, [null], [0, "", false, {}, []]],
    ["type object", { type: "object" }, [{}], [[], null, "x"]],
    ["type array", { type: "array" }, [[]], [{}, null]],
    ["type boolean", { type: "boolean" }, [true, false], [0, "true", null]],
    ["several types", { type: ["string", "null"] }, ["a", null], [1, []]],
    ["const", { const: { a: [1, 2], b: false } }, [{ b: false, a: [1, 2] }], [{ a: [2, 1], b: false }, { a: [1, 2], b: 0 }, {}]],
    ["const 0", { const: 0 }, [0, -0], [false, "0", null, [], {}]],
    ["enum", { enum: [6, "foo", [], true, { foo: 12 }] }, [6, [], { foo: 12 }], [1, "6", null, { foo: false }, { foo: 12, bar: 42 }]],
    ["enum of scalars", { enum: ["a", "b"] }, ["a"], ["c", ["a"], { a: "a" }]],
    ["minLength in code points", { minLength: 2 }, ["ab", "😀a", "😀😀", 5], ["a", "😀", ""]],
    ["maxLength in code points", { maxLength: 2 }, ["😀😀", "ab", ""], ["abc", "😀😀a"]],
    ["pattern is a search", { pattern: "a+" }, ["xxaayy", 5, {}], ["b", ""]],
    ["pattern by a category's long name", { pattern: "^\\p{Letter}\\P{Number}$" }, ["éé", "a-"], ["1a", "a1", "-a"]],
    ["pattern by a pair of escapes", { pattern: "^\\ud83d\\ude00\\cJ$" }, ["😀\n"], ["😀", "😁\n"]],
    ["format uri with its scheme first", { format: "uri" }, ["a:b", "a+1.-:"], ["//a:80/b", "/a:b", "1a:b", "?a:b"]],
    ["pattern by a category", { pattern: "^\\p{Lu}\\p{Nd}$" }, ["É1"], ["é1", "ÉÉ"]],
    ["pattern with anchors", { pattern: "^a*$" }, ["aaa", ""], ["aab", "aa\n"]],
    ["minimum", { minimum: 1.1 }, [1.1, 2, "x"], [1.0999, -1]],
    ["exclusive bounds", { exclusiveMinimum: 0, exclusiveMaximum: 3 }, [1, 2.999], [0, 3, -1]],
    ["maximum", { maximum: 3 }, [3, -3], [3.0001]],
    ["multipleOf 0.01", { multipleOf: 0.01 }, [19.99, 0.07, 4.35, 1.1, 0, -8.2, 4, "x"], [0.0101, 19.995]],
    ["multipleOf of far apart sizes", { multipleOf: 1e-8 }, [12391239123, 1e300, 0.00000001], [1e-9]],
    ["items", { items: { type: "integer" } }, [[1, 2], [], { 0: "x" }], [[1, "x"]]],
    ["prefixItems and items", { prefixItems: [{ type: "string" }], items: { type: "integer" } }, [["a", 1], ["a"], []], [[1], ["a", "b"]]],
    ["items false", { prefixItems: [{}], items: false }, [[1], []], [[1, 2]]],
    ["minItems, maxItems", { minItems: 1, maxItems: 2 }, [[1], [1, 2]], [[], [1, 2, 3]]],
    [
      "uniqueItems",
      { uniqueItems: true },
      [
        [1, "1", true, { a: 1 }],
        [[1], ["1"]],
      ],
      [
        [1, 1.0],
        [
          { a: 1, b: 2 },
          { b: 2, a: 1 },
        ],
      ],
    ],
    ["contains", { contains: { minimum: 5 } }, [[1, 5]], [[], [1, 2]]],
    [
      "minContains, maxContains",
      { contains: { const: 1 }, minContains: 2, maxContains: 3 },
      [
        [1, 1],
        [1, 1, 1, 2],
      ],
      [[1], [1, 1, 1, 1]],
    ],
    ["minContains 0", { contains: { const: 1 }, minContains: 0 }, [[], [2]], []],
    ["required", { required: ["a"] }, [{ a: null }, []], [{}, { b: 1 }]],
    ["minProperties, maxProperties", { minProperties: 1, maxProperties: 2 }, [{ a: 1 }], [{}, { a: 1, b: 2, c: 3 }]],
    ["properties", { properties: { a: { type: "integer" } } }, [{ a: 1 }, { b: "x" }, []], [{ a: "x" }]],
    ["patternProperties", { patternProperties: { "f.*o": { type: "integer" } } }, [{ foo: 1, bar: "x" }], [{ xfooo: "x" }]],
    [
      "additionalProperties",
      { properties: { a: {} }, patternProperties: { "^v": {} }, additionalProperties: false },
      [{ a: 1, v1: 2 }],
      [{ a: 1, b: 2 }],
    ],
    [
      "additionalProperties looks at its neighbours only",
      { allOf: [{ properties: { a: {} } }], additionalProperties: { type: "boolean" } },
      [{ b: true }],
      [{ a: 1 }],
    ],
    ["propertyNames", { propertyNames: { maxLength: 3 } }, [{ abc: 1 }, {}], [{ abcd: 1 }]],
    ["dependentRequired", { dependentRequired: { a: ["b"] } }, [{ a: 1, b: 2 }, { c: 1 }], [{ a: 1 }]],
    ["dependentSchemas", { dependentSchemas: { a: { required: ["b"] } } }, [{ a: 1, b: 1 }, {}], [{ a: 1 }]],
    ["allOf", { allOf: [{ minimum: 1 }, { maximum: 3 }] }, [2], [0, 4]],
    ["anyOf", { anyOf: [{ type: "integer" }, { minimum: 2 }] }, [1, 2.5], [1.5]],
    ["oneOf", { oneOf: [{ type: "integer" }, { minimum: 2 }] }, [1, 2.5], [3, 1.5]],
    ["not", { not: { type: "integer" } }, ["x"], [1]],
    ["if, then, else", { if: { exclusiveMaximum: 0 }, then: { minimum: -10 }, else: { multipleOf: 2 } }, [-1, 4], [-100, 3]],
    [
      "a reference beside other keywords",
      { $defs: { a: { type: "array" } }, properties: { x: { $ref: "#/$defs/a", maxItems: 2 } } },
      [{ x: [] }],
      [{ x: [1, 2, 3] }, { x: "s" }],
    ],
    ["a reference with escapes", { $defs: { "a~b/c%": { type: "integer" } }, $ref: "#/$defs/a~0b~1c%25" }, [1], ["x"]],
    [
      "a reference to the whole",
      { properties: { foo: { $ref: "#" } }, additionalProperties: false },
      [{ foo: { foo: {} } }],
      [{ foo: { bar: false } }],
    ],
    ["an anchor", { $ref: "#it", $defs: { a: { $anchor: "it", type: "integer" } } }, [1], ["a"]],
    ["a tree", { type: "object", required: ["n"], properties: { n: { type: "array", items: { $ref: "#" } } } }, [{ n: [{ n: [] }] }], [{ n: [{}] }]],
    [
      "unevaluatedProperties",
      { allOf: [{ properties: { a: {} } }], anyOf: [{ properties: { b: { const: 1 } }, required: ["b"] }, true], unevaluatedProperties: false },
      [{ a: 1 }, { a: 1, b: 1 }],
      [{ b: 2 }, { c: 1 }],
    ],
    [
      "unevaluatedProperties through a reference",
      { $ref: "#/$defs/x", $defs: { x: { properties: { a: {} } } }, unevaluatedProperties: false },
      [{ a: 1 }],
      [{ b: 1 }],
    ],
    [
      "unevaluatedProperties of what if looked at",
      { if: { properties: { a: { const: 1 } }, required: ["a"] }, then: { properties: { b: {} } }, unevaluatedProperties: false },
      [{ a: 1, b: 2 }, {}],
      [{ a: 2 }, { b: 1 }],
    ],
    ["unevaluatedItems", { prefixItems: [{}], contains: { type: "string" }, unevaluatedItems: false }, [[1, "a"], ["a"]], [[1, "a", 2]]],
    [
      "nested unevaluatedProperties",
      { allOf: [{ unevaluatedProperties: { type: "integer" } }], unevaluatedProperties: false },
      [{ a: 1, b: 2 }],
      [{ a: 1, b: "x" }],
    ],
    ["nested unevaluatedItems", { allOf: [{ prefixItems: [true], unevaluatedItems: true }], unevaluatedItems: false }, [[1, 2, 3]], []],
  ])("%s", (_name, schema, good, bad) => {
    for (const inputs of good) expect(faultOf(schema, inputs)).toBeNull();
    for (const inputs of bad) expect(fits(schema, inputs), JSON.stringify(inputs)).toBe(false);
  });

  it.each<readonly [format: string, good: readonly string[], bad: readonly string[]]>([
    [
      "date-time",
      ["1963-06-19T08:30:06.283185Z", "1998-12-31T23:59:60Z", "1998-12-31T15:59:60.123-08:00", "1963-06-19t08:30:06z"],
      [
        "1990-02-31T15:59:59Z",
        "1998-12-31T22:59:60Z",
        "2000-01-01T24:00:00Z",
        "2000-01-01",
        "1985-04-12T23:20:50.52Z\n",
        "2000-01-01T00:00:00.+01:00",
      ],
    ],
    ["date", ["2024-02-29"], ["2023-02-29", "2024-13-01", "24-01-01", "2024-1-1"]],
    ["time", ["08:30:06Z", "23:59:60Z", "12:00:00.5+01:30"], ["08:30:06", "24:00:00Z", "12:00:00+24:00"]],
    ["duration", ["P4DT12H30M5S", "P4Y", "PT0S", "P2W", "P1M2D", "P10M20D"], ["P", "PT", "P1DT", "PT1D", "4DT12H", "P1Y2W", "P2D1Y", "P1D2H"]],
    [
      "email",
      ["joe.bloggs@example.com", "te~st@example.com", '"joe bloggs"@example.com', "joe@[127.0.0.1]", "joe@[IPv6:::1]"],
      ["2962", ".a@b.com", "a..b@c.com", "a@", "a@b@c.com", "joe@[127.0.0.300]", "a b@c.com"],
    ],
    ["hostname", ["www.example.com", "xn--4gbwdl.xn--wgbh1c", "a"], ["-a.com", "a-.com", "a..b", "", "a_b", `${"a".repeat(64)}.com`, "aa--bb"]],
    ["ipv4", ["192.168.0.1"], ["256.1.1.1", "1.1.1", "01.1.1.1", "1.1.1.1/8", "1.1.1.1 "]],
    [
      "ipv6",
      ["::1", "::", "1:2:3:4:5:6:7:8", "::ffff:192.168.0.1", "fe80::a"],
      ["12345::", "1::2::3", "1:2:3:4:5:6:7", ":1", "::1%eth0", "1:2:3:4:5:6:7:8:9", "::192.168.0.300"],
    ],
    [
      "uri",
      ["http://foo.bar/?q=a%20b#x", "urn:oasis:x", "http://[::1]:80/", "mailto:a@b.c"],
      ["//foo.bar/", "/abc", "http://a b", "bar,baz:x y", "http://[::1/", "http://x/%zz", ":// fail"],
    ],
    ["uri-reference", ["//foo.bar/", "/abc", "abc", "#frag", ""], ["\\\\WINDOWS\\share", "#a#b", "a b"]],
    ["uuid", ["2EB8AA08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08-aa98-11ea-b4aa-73b441d1638", "2eb8aa08aa9811eab4aa73b441d16380"]],
    ["json-pointer", ["", "/a~0b/c~1d", "/"], ["a", "/a~", "/~2"]],
  ])("the format %s is asserted, of texts only", (format, good, bad) => {
    for (const text of good) expect(faultOf({ format }, text)).toBeNull();
    for (const text of bad) expect(fits({ format }, text), text).toBe(false);
    expect(fits({ format }, 5)).toBe(true);
  });
});

it.each<readonly [schema: JsonValue]>([
  [{ properties: {} }],
  [{ required: [] }],
  [{ additionalProperties: true }],
  [{ patternProperties: {} }],
  [{ propertyNames: true }],
  [{ minProperties: 0 }],
  [{ maxProperties: 9 }],
  [{ dependentRequired: {} }],
  [{ dependentSchemas: {} }],
  [{ unevaluatedProperties: true }],
])("inputs that are no object do not fit a policy's schema that speaks of members without naming a type: %j", (schema) => {
  const { faultOf: told } = compileArguments(schema);
  expect([told({ a: 1 }), told([])]).toEqual([null, null]);
  expect(told("text")).toMatch(/found a string, wanted an object, since the schema speaks of its members$/);
});

describe("names that a prototype has too", () => {
  it.each(["constructor", "toString", "__proto__", "hasOwnProperty"])("%s is there only where it is its own", (name) => {
    const own = parsed(`{${JSON.stringify(name)}: 1}`);
    expect(fits({ required: [name] }, {})).toBe(false);
    expect(fits({ required: [name] }, own)).toBe(true);
    expect(fits({ additionalProperties: false }, own)).toBe(false);
    expect(fits({ unevaluatedProperties: false }, own)).toBe(false);
    expect(fits({ dependentRequired: parsed(`{${JSON.stringify(name)}: ["x"]}`) }, {})).toBe(true);
    expect(fits({ dependentSchemas: parsed(`{${JSON.stringify(name)}: false}`) }, {})).toBe(true);
    const typed = { properties: parsed(`{${JSON.stringify(name)}: {"type": "string"}}`), additionalProperties: false };
    expect(fits(typed, {})).toBe(true);
    expect(fits(typed, own)).toBe(false);
    expect(fits(typed, parsed(`{${JSON.stringify(name)}: "x"}`))).toBe(true);
  });

  it("a reference leads only to what is the schema's own", () => {
    expect(pointers({ $ref: "#/constructor" })).toEqual(["/$ref"]);
    expect(pointers({ $ref: "#/__proto__" })).toEqual(["/$ref"]);
  });
});

describe("a sentence", () => {
  const schema = {
    type: "object",
    required: ["to"],
    properties: {
      to: { type: "string", pattern: ".+@corp\\.example$" },
      "a/b": { items: { type: "integer" } },
      n: { maximum: 5 },
      few: { maxItems: 1 },
    },
    additionalProperties: false,
  };

  it.each<readonly [inputs: JsonValue, sentence: string]>([
    [[], "the inputs: found an array, wanted an object"],
    [{}, 'inputs at "/to": found nothing, wanted a value'],
    [{ to: 5 }, 'inputs at "/to": found a number, wanted a string'],
    [{ to: "secret@evil.example" }, 'inputs at "/to": found a text that does not match, wanted the pattern ".+@corp\\\\.example$"'],
    [{ to: "a@corp.example", "a/b": [1, "secret"] }, 'inputs at "/a~1b/1": found a string, wanted an integer'],
    [{ to: "a@corp.example", n: 77 }, 'inputs at "/n": found another number, wanted at most 5'],
    [{ to: "a@corp.example", few: [1, 2] }, 'inputs at "/few": found 2 items, wanted at most 1 item'],
    [{ to: "a@corp.example", bcc: "secret" }, 'inputs at "/bcc": found a member, wanted no member of this name'],
  ])("for %j is %s", (inputs, sentence) => expect(faultOf(schema, inputs)).toBe(sentence));

  it("never holds a value of the inputs", () => {
    const schemas: readonly JsonValue[] = [
      { type: "object" },
      { const: 1 },
      { enum: ["a"] },
      { pattern: "^x$" },
      { minLength: 99 },
      { maxLength: 1 },
      { format: "email" },
      { multipleOf: 7 },
      { maximum: 1 },
      { not: {} },
      false,
      { anyOf: [false, false] },
      { oneOf: [true, true] },
      { items: false },
      { uniqueItems: true },
      { contains: false },
      { additionalProperties: { const: 1 } },
      { unevaluatedProperties: false },
    ];
    const secret = fc.stringMatching(/^[G-Z]{8,12}$/);
    const inputs = fc.oneof(
      secret,
      secret.map((text) => [text, text]),
      secret.map((text) => ({ a: text })),
      fc.constant(7654321.5),
    );
    fc.assert(
      fc.property(fc.constantFrom(...schemas), inputs, (schema, value) => {
        const fault = faultOf(schema, value);
        if (fault !== null) expect(fault).not.toMatch(/[G-Z]{8}|7654321/);
      }),
    );
  });
});

describe("a mistake in a schema is refused, with its place", () => {
  it.each<readonly [schema: JsonValue, path: string, message: RegExp]>([
    [5, "", /a schema is an object, or true or false, found a number/],
    [{ propertees: {} }, "/propertees", /did you mean "properties"/],
    [{ properties: { to: { patern: "x" } } }, "/properties/to/patern", /did you mean "pattern"/],
    [{ Required: ["a"] }, "/Required", /did you mean "required"/],
    [{ properties: { a: { requierd: ["x"] } } }, "/properties/a/requierd", /did you mean "required"/],
    [{ nullable: true }, "/nullable", /add "null" to "type"/],
    [{ dependencies: {} }, "/dependencies", /dependentRequired/],
    [{ additionalItems: false }, "/additionalItems", /prefixItems/],
    [{ $dynamicRef: "#x" }, "/$dynamicRef", /write "\$ref"/],
    [{ contentEncoding: "base64" }, "/contentEncoding", /guard nothing/],
    [{ items: [{}] }, "/items", /prefixItems/],
    [{ type: "strnig" }, "/type", /one of string, number/],
    [{ type: [] }, "/type", /list of types/],
    [{ type: ["string", "string"] }, "/type", /differ/],
    [{ type: null }, "/type", /found null/],
    [{ required: "to" }, "/required", /list of names/],
    [{ required: ["a", "a"] }, "/required", /differ/],
    [{ required: [1] }, "/required", /list of names/],
    [{ dependentRequired: { a: "b" } }, "/dependentRequired", /lists of names/],
    [{ minLength: -1 }, "/minLength", /not negative, found -1/],
    [{ minLength: 1.5 }, "/minLength", /whole number/],
    [{ maxLength: "5" }, "/maxLength", /found "5"/],
    [{ minimum: "5" }, "/minimum", /a number/],
    [{ multipleOf: 0 }, "/multipleOf", /greater than 0/],
    [{ uniqueItems: "yes" }, "/uniqueItems", /true or false/],
    [{ enum: "a" }, "/enum", /list of at least one/],
    [{ enum: [] }, "/enum", /list of at least one/],
    [{ allOf: [] }, "/allOf", /at least one schema/],
    [{ anyOf: { type: "string" } }, "/anyOf", /at least one schema/],
    [{ oneOf: [5] }, "/oneOf/0", /a schema is an object/],
    [{ not: "x" }, "/not", /a schema is an object/],
    [{ properties: [] }, "/properties", /an object of schemas/],
    [{ properties: { a: null } }, "/properties/a", /found null/],
    [{ format: "emial" }, "/format", /one of date-time/],
    [{ format: "regex" }, "/format", /those that are checked/],
    [{ then: { required: ["a"] } }, "/then", /without "if"/],
    [{ minContains: 1 }, "/minContains", /without "contains"/],
    [{ $schema: "http://json-schema.org/draft-07/schema#" }, "/$schema", /2020-12/],
    [{ properties: { a: { $schema: "x" } } }, "/properties/a/$schema", /only at the top/],
    [{ properties: { a: { $id: "x" } } }, "/properties/a/$id", /only at the top/],
    [{ $ref: "https://example.com/x.json" }, "/$ref", /nothing is fetched/],
    [{ $ref: "other.json" }, "/$ref", /nothing is fetched/],
    [{ $ref: "#/$defs/none" }, "/$ref", /names no schema/],
    [{ $ref: "#/enum", enum: [true] }, "/$ref", /names no schema/],
    [{ $ref: "#/const", const: { type: "string" } }, "/$ref", /names no schema/],
    [{ $ref: "#/%zz" }, "/$ref", /names no schema/],
    [{ $defs: { a: { $anchor: "x" }, b: { $anchor: "x" } } }, "/$defs/b/$anchor", /already taken/],
    [{ $ref: "#" }, "", /refers to itself/],
    [{ $defs: { a: { $ref: "#/$defs/b" }, b: { anyOf: [{ not: { $ref: "#/$defs/a" } }] } } }, "/$defs/a", /refers to itself/],
    [{ if: true, then: { dependentSchemas: { a: { $ref: "#" } } } }, "", /refers to itself/],
    [{ pattern: "(" }, "/pattern", /ECMA-262/],
    [{ pattern: "(?=a)" }, "/pattern", /linear time/],
    [{ pattern: "(a)\\1" }, "/pattern", /linear time/],
    [{ pattern: "\\A" }, "/pattern", /ECMA-262/],
    [{ pattern: "((a{99}){99}){99}" }, "/pattern", /linear time|at most/],
    [{ pattern: "a".repeat(1001) }, "/pattern", /at most 1000 characters/],
    [{ pattern: "a{1000}b{1000}c{1000}" }, "/pattern", /at most 2500 steps/],
    [{ pattern: 5 }, "/pattern", /regular expression/],
    [{ patternProperties: { "(?!x)": {} } }, "/patternProperties/(?!x)", /linear time/],
    [{ maximum: Number.NaN }, "", /finite/],
    [{ description: "x".repeat(70_000) }, "", /65536 bytes/],
    [{ enum: Array.from({ length: 20_001 }, () => 0) }, "", /20000 values/],
    [Array.from({ length: 40 }).reduce<JsonValue>((inner) => ({ not: inner }), true), "", /32 levels/],
  ])("%j", (schema, path, message) => {
    const [first] = checkSchema(schema);
    expect(first?.path.map((key) => `/${String(key)}`).join("")).toBe(path);
    expect(first?.message).toMatch(message);
  });

  it("every mistake is told, not only the first", () => {
    expect(pointers({ type: "x", properties: { a: { minLength: -1 }, b: { foo: 1 } }, required: 5 })).toEqual([
      "/type",
      "/properties/a/minLength",
      "/properties/b/foo",
      "/required",
    ]);
  });

  it("what doubles with every reference is refused before it can be asked", () => {
    const $defs = Object.fromEntries(
      Array.from({ length: 20 }, (_, i) => [`d${i}`, { anyOf: [{ $ref: `#/$defs/d${i + 1}` }, { $ref: `#/$defs/d${i + 1}` }] }]),
    );
    expect(checkSchema({ $ref: "#/$defs/d0", $defs: { ...$defs, d20: false } })[0]?.message).toMatch(/at most 5000 schemas/);
  });

  it("an alias bomb, shared a billion times, is refused at once", () => {
    const bomb = Array.from({ length: 30 }).reduce<JsonValue>((inner) => ({ allOf: [inner, inner] }), true);
    expect(checkSchema(bomb)).toHaveLength(1);
  });

  it("no value at all makes it throw", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (schema) => {
        // fast-check's JSON values are ours.
        const value = schema as JsonValue;
        if (checkSchema(value).length === 0) compileSchema(value).faultOf(value);
      }),
    );
  });
});

describe("patterns mean what they mean in ECMA-262", () => {
  it.each([
    ["\\u{41}", "A"],
    ["\\u{1F600}", "😀"],
    ["\\ud83d\\ude00", "😀"],
    ["\\u0041", "A"],
    ["\\x41", "A"],
    ["\\x411", "A1"],
    ["\\cJ", "\n"],
    ["\\0", "\u0000"],
  ])("the escape %s", (written, one) => {
    expect(new RegExp(`^${written}$`, "u").test(one)).toBe(true);
    expect([one, `${one}1`, "x"].map((text) => fits({ pattern: `^${written}$` }, text))).toEqual([true, false, false]);
  });

  it.each([
    ["Letter", "a"],
    ["Lowercase_Letter", "a"],
    ["Uppercase_Letter", "A"],
    ["Mark", "\u0301"],
    ["Number", "½"],
    ["Decimal_Number", "1"],
    ["digit", "1"],
    ["Punctuation", "!"],
    ["punct", "!"],
    ["Symbol", "+"],
    ["Separator", "\u2028"],
    ["Space_Separator", " "],
  ])("the category %s by its long name", (name, one) => {
    const whole = new RegExp(`^\\p{${name}}$`, "u");
    for (const text of [one, "x1"]) expect(fits({ pattern: `^\\p{${name}}$` }, text)).toBe(whole.test(text));
    expect(whole.test(one)).toBe(true);
  });

  const pieces = fc.constantFrom(
    "a",
    "b",
    ".",
    "\\s",
    "\\S",
    "\\d",
    "\\w",
    "[^\\s]",
    "[\\s\\S]",
    "[a-c.]",
    "[^a]",
    "\\b",
    "^",
    "$",
    "(?:a|b)",
    "(a)",
    "\\.",
    "\\/",
    "\\u0061",
    "\\x41B",
    "\\u{1F600}",
    "\\ud83d\\ude00",
    "\\cJ",
    "\\0",
    "[\\b]",
    "[[]",
    "[[:alpha:]",
    "\\p{L}",
    "\\p{Letter}",
    "\\P{Lu}",
    "\\p{Script=Greek}",
    "[\\S]",
    "\\n",
    "\\t",
    "\\v",
    "\\f",
    "\\r",
  );
  const repeated = fc
    .tuple(pieces, fc.constantFrom("", "", "*", "+", "?", "{1,2}", "*?"))
    .map(([piece, times]) => (/^[\^$]$|^\\b$/.test(piece) ? piece : piece + times));
  const pattern = fc.array(repeated, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(""));
  const text = fc
    .array(
      fc.constantFrom(
        "a",
        "b",
        "A",
        "B",
        "c",
        "1",
        " ",
        "\n",
        "\r",
        "\t",
        "\v",
        "\f",
        "\u00a0",
        "\u2028",
        "\ufeff",
        "\u2003",
        "é",
        "α",
        "😀",
        "\b",
        "\0",
        ".",
        "/",
        "[",
        "١",
      ),
      { maxLength: 4 },
    )
    .map((parts) => parts.join(""));

  it("a random one finds what the native engine finds", () => {
    fc.assert(
      fc.property(pattern, text, (source, subject) => {
        expect(fits({ pattern: source }, subject)).toBe(new RegExp(source, "u").test(subject));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["(a+)+$", "a".repeat(500_000)],
    ["(a|a)*b", "a".repeat(500_000)],
    ["^(([a-z])+.)+[A-Z]([a-z])+$", "a".repeat(500_000)],
    ["(.*)(.*)(.*)x$", "a".repeat(200_000)],
    ["(a?){200}a{200}$", `${"a".repeat(500_000)}!`],
  ])("%s ends soon, whatever the text", (source, subject) => {
    expect(compileSchema({ pattern: source }).faultOf({ a: subject })).toBeNull();
    expect(fits({ pattern: source }, `${subject}!`)).toBe(false);
    expect(fits({ patternProperties: { [source]: true }, additionalProperties: false }, { [`${subject}!`]: 1 })).toBe(false);
  });
});

describe("work is bounded", () => {
  it("what is cut short does not fit, even where not to fit is what was wanted", () => {
    const inputs = Array.from({ length: 1000 }, () => Array.from({ length: 1000 }, (_, i) => i));
    const schema = { not: { items: { items: { allOf: [{ type: "number" }, { minimum: -1 }], maximum: -1 } } } };
    const slow = { not: { items: { items: { allOf: [{ type: "number" }, { minimum: -1 }] } } } };
    expect(faultOf(schema, inputs)).toBeNull();
    expect(faultOf(slow, inputs)).toMatch(/too many steps/);
  });

  it("a hundred thousand items that must differ are compared in linear time", () => {
    const items = Array.from({ length: 100_000 }, (_, i) => `item ${i}`);
    expect(faultOf({ uniqueItems: true }, items)).toBeNull();
    expect(faultOf({ uniqueItems: true }, [...items, "item 5"])).toBe('inputs at "/100000": found the same as item 5, wanted items that all differ');
    expect(faultOf({ items: { type: "string" } }, items)).toBeNull();
    expect(faultOf({ items: { type: "number" } }, items)).toBe('inputs at "/0": found a string, wanted a number');
  });

  it("an enumeration of thousands is one look", () => {
    const values = Array.from({ length: 5000 }, (_, i) => `v${i}`);
    expect(
      fits(
        { items: { enum: values } },
        Array.from({ length: 20_000 }, () => "v4999"),
      ),
    ).toBe(true);
    expect(fits({ enum: values }, "v5000")).toBe(false);
  });

  it("inputs nested without end are refused, whatever the schema", () => {
    const deep = Array.from({ length: 50_000 }).reduce<JsonValue>((inner) => [inner], 1);
    for (const schema of [true, { items: { $ref: "#" } }, { const: [] }, { uniqueItems: true }])
      expect(faultOf(schema, deep)).toMatch(/nested more than 256/);
  });

  it("a chain of alternatives over a deep value ends", () => {
    const schema = { anyOf: [{ items: { $ref: "#" }, minItems: 1 }, { items: { $ref: "#" }, maxItems: 1 }, { const: 0 }] };
    const deep = Array.from({ length: 100 }).reduce<JsonValue>((inner) => [inner], "x");
    expect(faultOf(schema, deep)).not.toBeNull();
  });
});

it("many checks that are cheap each are too many, and half of them are not", () => {
  const cheap: JsonValue = { items: { allOf: Array.from({ length: 20 }, () => ({ type: "number" })) } };
  const numbers = (count: number): JsonValue => Array.from({ length: count }, () => 1);
  expect(faultOf(cheap, numbers(60_000))).toMatch(/too many steps/);
  expect(faultOf(cheap, numbers(15_000))).toBe(null);
});
