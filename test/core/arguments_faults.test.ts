import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { checkSchema, compileSchema } from "../../src/core/policy/arguments.ts";
import { FORMATS, isFormat } from "../../src/core/policy/arguments_formats.ts";

function told(schema: JsonValue, inputs: JsonValue): string | null {
  expect(checkSchema(schema)).toEqual([]);
  return compileSchema(schema).faultOf(inputs);
}
const BIG = "a".repeat(81);

describe("what is wrong with inputs is told in words, with its place", () => {
  it.each<readonly [schema: JsonValue, inputs: JsonValue, fault: string | null]>([
    [false, 1, "the inputs: found a value, wanted none here"],
    [{ type: "string" }, 1, "the inputs: found a number, wanted a string"],
    [{ type: "integer" }, 1.5, "the inputs: found a number, wanted an integer"],
    [{ type: ["object", "array", "null"] }, "x", "the inputs: found a string, wanted an object or an array or null"],
    [{ type: "boolean" }, [], "the inputs: found an array, wanted a boolean"],
    [{ type: "number" }, null, "the inputs: found null, wanted a number"],
    [{ type: "number" }, {}, "the inputs: found an object, wanted a number"],
    [{ type: "number" }, true, "the inputs: found a boolean, wanted a number"],
    [{ const: 1 }, 2, "the inputs: found another value, wanted the value that the schema fixes"],
    [{ const: 1 }, [1], "the inputs: found another array, wanted the value that the schema fixes"],
    [{ const: { a: 1 } }, { a: 2 }, "the inputs: found another object, wanted the value that the schema fixes"],
    [{ enum: ["a", "b"] }, "c", "the inputs: found another value, wanted one of the 2 values that the schema lists"],
    [{ minLength: 2 }, "a", "the inputs: found a shorter text, wanted at least 2 characters"],
    [{ minLength: 1 }, "", "the inputs: found a shorter text, wanted at least 1 character"],
    [{ maxLength: 1 }, "ab", "the inputs: found a longer text, wanted at most 1 character"],
    [{ maxLength: 1 }, "a".repeat(1_000), "the inputs: found a longer text, wanted at most 1 character"],
    [{ pattern: "^a$" }, "b", 'the inputs: found a text that does not match, wanted the pattern "^a$"'],
    [{ pattern: BIG }, "b", `the inputs: found a text that does not match, wanted the pattern "${"a".repeat(80)}…"`],
    [{ pattern: "a".repeat(80) }, "b", `the inputs: found a text that does not match, wanted the pattern "${"a".repeat(80)}"`],
    [{ format: "date" }, "b", 'the inputs: found another text, wanted the format "date"'],
    [{ minimum: 2 }, 1, "the inputs: found another number, wanted at least 2"],
    [{ exclusiveMinimum: 2 }, 2, "the inputs: found another number, wanted more than 2"],
    [{ maximum: 2 }, 3, "the inputs: found another number, wanted at most 2"],
    [{ exclusiveMaximum: 2 }, 2, "the inputs: found another number, wanted less than 2"],
    [{ multipleOf: 2 }, 3, "the inputs: found another number, wanted a multiple of 2"],
    [{ minItems: 2 }, [1], "the inputs: found 1 item, wanted at least 2 items"],
    [{ maxItems: 1 }, [1, 2], "the inputs: found 2 items, wanted at most 1 item"],
    [{ maxItems: 0 }, [1], "the inputs: found 1 item, wanted at most 0 items"],
    [{ minProperties: 1 }, {}, "the inputs: found 0 members, wanted at least 1 member"],
    [{ maxProperties: 1 }, { a: 1, b: 2 }, "the inputs: found 2 members, wanted at most 1 member"],
    [{ uniqueItems: true }, ["x", 1, 1], 'inputs at "/2": found the same as item 1, wanted items that all differ'],
    [{ uniqueItems: false }, [1, 1], null],
    [{ anyOf: [{ type: "string" }, { type: "null" }] }, 1, "the inputs: found a number that fits none, wanted to fit one of 2 alternatives"],
    [{ oneOf: [true, true, false] }, 1, "the inputs: found a number that fits 2, wanted to fit exactly one of 3 alternatives"],
    [{ oneOf: [false] }, [], "the inputs: found an array that fits none, wanted to fit exactly one of 1 alternatives"],
    [{ not: { type: "string" } }, "x", 'the inputs: found what fits, wanted what does not fit the schema\'s "not"'],
    [{ required: ["a", "b/~"] }, { a: 1 }, 'inputs at "/b~1~0": found nothing, wanted a value'],
    [{ dependentRequired: { a: ["b"] } }, { a: 1 }, 'inputs at "/b": found nothing, wanted a value'],
    [{ propertyNames: { maxLength: 1 } }, { ab: 1 }, 'inputs at "/ab": found a name that is a longer text, wanted at most 1 character'],
    [{ properties: { a: { items: { type: "null" } } } }, { a: [null, 1] }, 'inputs at "/a/1": found a number, wanted null'],
    [{ properties: { a: {} }, additionalProperties: false }, { b: 1 }, 'inputs at "/b": found a member, wanted no member of this name'],
    [{ additionalProperties: { type: "null" } }, { b: 1 }, 'inputs at "/b": found a number, wanted null'],
    [{ additionalProperties: { type: "null" } }, { ["k".repeat(101)]: 1 }, `inputs at "/${"k".repeat(100)}…": found a number, wanted null`],
    [{ additionalProperties: { type: "null" } }, { ["k".repeat(100)]: 1 }, `inputs at "/${"k".repeat(100)}": found a number, wanted null`],
    [{ contains: { type: "null" } }, [1], "the inputs: found 0 fitting items, wanted at least 1 fitting item"],
    [{ contains: { type: "null" }, minContains: 2 }, [null], "the inputs: found 1 fitting items, wanted at least 2 fitting items"],
    [{ contains: { type: "null" }, maxContains: 1 }, [null, null], "the inputs: found 2 fitting items, wanted at most 1 fitting item"],
    [{ unevaluatedProperties: { type: "null" } }, { a: 1 }, 'inputs at "/a": found a number, wanted null'],
    [{ unevaluatedItems: { type: "null" }, prefixItems: [true] }, [1, 2], 'inputs at "/1": found a number, wanted null'],
    // What is wrong first is told.
    [{ type: "object", required: ["a"] }, [], "the inputs: found an array, wanted an object"],
    [{ required: ["a"], properties: { b: { type: "null" } } }, { b: 1 }, 'inputs at "/a": found nothing, wanted a value'],
  ])("%j of %j: %s", (schema, inputs, fault) => {
    expect(told(schema, inputs)).toBe(fault);
  });
});

/** Texts that differ in one thing only. */
const TEXTS: { readonly [format: string]: readonly [good: readonly string[], bad: readonly string[]] } = {
  "date-time": [
    [
      "2026-02-28T00:00:00Z",
      "2026-02-28t23:59:59.1z",
      "2026-02-28T00:00:00.123456789012+23:59",
      "2016-12-31T23:59:60Z",
      "2016-12-31T22:59:60.5-01:00",
    ],
    [
      "2026-02-28",
      "2026-02-28T00:00:00",
      "2026-02-28T00:00:00+24:00",
      "2026-02-28T00:00:00+00:60",
      "2026-02-28T00:00:00.Z",
      "2026-02-28T24:00:00Z",
      "2016-12-31T23:58:60Z",
      "2026-02-30T00:00:00Z",
      "x2026-02-28T00:00:00Z",
      "2026-02-28T00:00:00Zx",
    ],
  ],
  date: [
    ["2026-02-28", "2024-02-29"],
    ["2026-02-29", "x2026-02-28", "2026-02-28x", "2026-2-28", "2026-02-28T00:00:00Z", "12026-02-28"],
  ],
  time: [
    ["00:00:00Z", "23:59:60Z", "01:02:03.5+01:00"],
    ["00:00:00", "24:00:00Z", "0:00:00Z", "", "00:00:00+24:00", "00:00:00-00:60"],
  ],
  duration: [
    [
      "P1W",
      "P1Y",
      "P1Y2M3D",
      "P1M",
      "P1M2D",
      "P3D",
      "PT1H",
      "PT1H2M3S",
      "PT1M",
      "PT1M2S",
      "PT3S",
      "P1DT12H",
      "P10Y",
      "PT36H",
      "P10M",
      "P10D",
      "P10W",
      "PT10M",
      "PT10S",
      "P10Y10M10DT10H10M10S",
    ],
    ["P", "PT", "P1", "1D", "P1D1Y", "P1YT", "P1W1D", "PT1D", "P1H", "xP1D", "P1Dx", "P1Y1D", "PT1H1S", "P-1D", "P1.5D", "p1d"],
  ],
  email: [
    ["a@b", "a.b+c@example.com", `${"a".repeat(64)}@b.c`, '"a b"@c.d', '"a\\"b"@c', "a@[127.0.0.1]", "a@[IPv6:::1]", "a@[ipv6:::1]"],
    [
      "@b",
      "a",
      "a@",
      ".a@b",
      "a.@b",
      "a..b@c",
      "a b@c",
      `${"a".repeat(65)}@b`,
      '"a@c',
      'a"b"@c',
      "a@[127.0.0.256]",
      "a@[::1]",
      "a@[IPv6:x]",
      "a@[xIPv6::1]",
      "a@-b",
      "a@b@c",
      "a@[127.0.0.1",
    ],
  ],
  hostname: [
    ["a", "a.b", "a-b.c1", "xn--nxasmq6b.x", "1.2", `${"a".repeat(63)}.b`, `${"a.".repeat(126)}a`],
    ["", "-a", "a-", "a..b", "a.", "a_b", "ab--c", `${"a".repeat(64)}.b`, `${"a.".repeat(126)}ab`, "xn--", "xn---a", "ab--xn--c"],
  ],
  ipv4: [
    ["0.0.0.0", "255.255.255.255", "1.20.3.199"],
    ["1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.", "a.2.3.4", "1.2.3.4x", "x1.2.3.4", "1.2.3.1000"],
  ],
  ipv6: [
    ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1::1.2.3.4", "abcd:EF01::"],
    [
      "",
      ":",
      "1",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1::2::3",
      ":::",
      "12345::",
      "g::",
      "1.2.3.4",
      "1.2.3.4::",
      "::1.2.3.4:5",
      "::1.2.3.256",
      "1:2:3:4:5:6:7:1.2.3.4",
      "1::2:3:4:5:6:7:8",
      `${"0".repeat(46)}`,
    ],
  ],
  uri: [
    ["http://a", "a:b", "A1+.-:x", "http://u:p@h:80/p?q#f", "http://[::1]:1/", "http://[v1.a:b]/", "http://[v1F.a]/", "mailto:a@b", "a:%41", "a:"],
    [
      "/a",
      "a",
      "//a",
      "1a:b",
      ":a",
      "http://[::1",
      "http://[::1]x",
      "http://a b",
      "http://a#b#c",
      "a:%4",
      "a:%gg",
      "http://a[b]",
      "a:[",
      "http://u@v@w",
      "http://a:b:c",
      "http://[v.a]/",
      "http://a:x",
      "http://a#[",
      "http://a?[",
      "a:\\",
      "http://[:1]/",
    ],
  ],
  "uri-reference": [
    ["", "a", "/a", "//h/p", "?q", "#f", "a/b:c", "./a:b", "http://h"],
    ["1a:b", "a b", "[", "#a#b", "a%", "//h:x", "//[1]/"],
  ],
  uuid: [
    ["01234567-89ab-CDEF-0123-456789abcdef"],
    [
      "0123456789abcdef0123456789abcdef",
      "01234567-89ab-cdef-0123-456789abcde",
      "01234567-89ab-cdef-0123-456789abcdefa",
      "g1234567-89ab-cdef-0123-456789abcdef",
      "x01234567-89ab-cdef-0123-456789abcdef",
      "01234567-89ab-cdef-0123",
    ],
  ],
  "json-pointer": [
    ["", "/", "/a/b", "/a~0~1", "//"],
    ["a", "/~", "/~2", "#/a", "/a~"],
  ],
};

describe("a format is told by its text alone", () => {
  it("each that is known has rows here", () => {
    expect(Object.keys(TEXTS).sort()).toEqual([...FORMATS].sort());
  });

  it.each(Object.entries(TEXTS))("%s", (format, [good, bad]) => {
    for (const text of good) expect([text, isFormat(format, text)]).toEqual([text, true]);
    for (const text of bad) expect([text, isFormat(format, text)]).toEqual([text, false]);
  });

  it("one that nobody knows is told by none", () => {
    expect(isFormat("regex", "a")).toBe(false);
  });
});
