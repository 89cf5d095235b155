import { Socket } from "node:net";
import { types } from "node:util";
import { createContext, runInContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRecorder } from "../../sdk/src/local/ledger/recorder.ts";
import { plainCopy } from "../../sdk/src/local/plain_copy.ts";
import { shown } from "../../sdk/src/plain.ts";
import { revived } from "../../sdk/src/revive.ts";
import type { Json } from "../../sdk/src/surface.ts";
import { recordValue, type ValueOptions } from "../../sdk/src/values.ts";
import { DETECTORS, redactJson } from "../../src/core/redact.ts";
import { parseJson } from "../../src/http/json.ts";
import { MOST_ENTRY_BYTES } from "../../src/http/lines.ts";

/** What a line has beside the two values. */
const REST_OF_LINE_BYTES = 8_192;

const TOKEN = `sk-ant-${"a1b2c3d4".repeat(6)}`;
const redaction = { storeInputs: "full", storeOutputs: "full", keys: ["password"], detect: DETECTORS } as const;

/** Everything that a value could do when it is looked at ends here. */
const touched = (): never => {
  throw new Error("the value was touched");
};

const revokedProxy = (): object => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};

const touchyProxy = (): object =>
  new Proxy({}, { get: touched, getOwnPropertyDescriptor: touched, getPrototypeOf: touched, has: touched, isExtensible: touched, ownKeys: touched });

const nested = (levels: number): object => {
  let value: object = {};
  for (let level = 0; level < levels; level++) value = { in: value };
  return value;
};

const circular = (): object => {
  const value: { name: string; self?: object } = { name: "ring" };
  value.self = value;
  return value;
};

const sparse = (): unknown[] => {
  const list: unknown[] = [1];
  list[3] = 2;
  return list;
};

class Connection {
  readonly host = "db";
  get password(): string {
    return touched();
  }
}

class Session extends Map<unknown, unknown> {
  readonly user = "ann";
}

class QuotaError extends Error {
  readonly code = "quota";
}

const named = (name: string): object => Object.defineProperty(class {}, "name", { value: name });

/** What a made-up class has to say of itself is never believed. */
const impostor = (name: string): object => Object.create(Object.create(Object.prototype, { constructor: { value: named(name) } }));

const tag = (name: string, members: object = {}): object => ({ $value: name, ...members });

const ODD = "\u0001".repeat(200);
const odd = () => Object.defineProperty(class {}, "name", { value: ODD });

function within(levels: number, around: (inner: unknown) => unknown): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = around(value);
  return value;
}

const withSymbols = (count: number): object =>
  Object.defineProperties({}, Object.fromEntries(Array.from({ length: count }, () => [Symbol(), { value: 1 }])));

const HOSTILE: readonly (readonly [what: string, make: () => unknown, recorded: unknown])[] = [
  ["a socket", () => new Socket(), tag("opaque", { class: "Socket" })],
  ["a revoked proxy", revokedProxy, tag("proxy")],
  ["a proxy of which every trap throws", touchyProxy, tag("proxy")],
  ["a list that is a revoked proxy", () => [revokedProxy()], [tag("proxy")]],
  ["a ring", circular, { name: "ring", self: tag("circular", { levels: 1 }) }],
  [
    "getters that throw",
    () => ({
      get a() {
        return touched();
      },
    }),
    { a: tag("getter") },
  ],
  ["a toJSON that throws", () => ({ toJSON: touched }), { toJSON: tag("function", { name: "touched" }) }],
  ["a toJSON that lies", () => ({ amount: 5, toJSON: () => ({ amount: 1 }) }), { amount: 5, toJSON: tag("function", { name: "toJSON" }) }],
  [
    "a Symbol.toPrimitive and an iterator that throw",
    () => ({ a: 1, [Symbol.toPrimitive]: touched, [Symbol.iterator]: touched }),
    tag("object", { members: { a: 1 }, left_out: 2 }),
  ],
  ["a BigInt", () => 2n ** 70n, tag("bigint", { text: "1180591620717411303424" })],
  ["a BigInt of 30,000 digits", () => 10n ** 30_000n, tag("bigint", { text: null })],
  [
    "numbers that JSON has not",
    () => [Number.NaN, Number.POSITIVE_INFINITY, -0],
    [tag("number", { text: "NaN" }), tag("number", { text: "Infinity" }), tag("number", { text: "-0" })],
  ],
  ["undefined", () => [undefined, { a: undefined }], [tag("undefined"), { a: tag("undefined") }]],
  ["functions", () => [touched, class Ship {}], [tag("function", { name: "touched" }), tag("function", { name: "Ship" })]],
  ["symbols", () => [Symbol("s"), Symbol.iterator], [tag("symbol", { text: "Symbol(s)" }), tag("symbol", { text: "Symbol(Symbol.iterator)" })]],
  [
    "a Map",
    () =>
      new Map<unknown, unknown>([
        ["a", 1],
        [{ b: 1 }, new Map()],
      ]),
    tag("map", { size: 2, entries: [{ a: 1 }, [{ b: 1 }, tag("map", { size: 0, entries: [] })]] }),
  ],
  ["a class derived from Map", () => new Session([["a", 1]]), tag("map", { size: 1, entries: [{ a: 1 }], class: "Session" })],
  ["a Set", () => new Set([1, "a"]), tag("set", { size: 2, items: [1, "a"] })],
  ["dates", () => [new Date(0), new Date(Number.NaN)], [tag("date", { at: "1970-01-01T00:00:00.000Z" }), tag("date", { at: null })]],
  ["a RegExp", () => /a+/giu, tag("regexp", { source: "a+", flags: "giu" })],
  [
    "an Error with a cause and members",
    () => Object.assign(new TypeError("no", { cause: new Error("why") }), { status: 500 }),
    tag("error", { name: "TypeError", message: "no", cause: tag("error", { name: "Error", message: "why" }), members: { status: 500 } }),
  ],
  [
    "an Error of a class of its own",
    () => new QuotaError("gone"),
    tag("error", { name: "Error", message: "gone", class: "QuotaError", members: { code: "quota" } }),
  ],
  [
    "an Error whose message throws",
    () => Object.defineProperty(new Error("x"), "message", { get: touched }),
    tag("error", { name: "Error", message: "" }),
  ],
  [
    "an AggregateError",
    () => new AggregateError([new Error("a"), 1], "all"),
    tag("error", { name: "AggregateError", message: "all", errors: [tag("error", { name: "Error", message: "a" }), 1] }),
  ],
  ["an abort", () => AbortSignal.abort().reason, tag("error", { name: "AbortError", message: "This operation was aborted" })],
  ["typed arrays", () => new Float32Array([1.5]), tag("bytes", { of: "Float32Array", length: 4, base64: "AADAPw==" })],
  ["an ArrayBuffer", () => new ArrayBuffer(3), tag("bytes", { of: "ArrayBuffer", length: 3, base64: "AAAA" })],
  ["a Buffer", () => Buffer.from("hi"), tag("bytes", { of: "Buffer", length: 2, base64: "aGk=" })],
  ["an instance of a class", () => new Connection(), tag("instance", { class: "Connection", members: { host: "db" } })],
  ["an object without a prototype", () => Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
  [
    "an object of another realm",
    () => runInContext("({ a: [1], when: new Date(0) })", createContext()),
    { a: [1], when: tag("date", { at: "1970-01-01T00:00:00.000Z" }) },
  ],
  [
    "members called __proto__ and $value",
    () => JSON.parse('{"__proto__":{"a":1},"$value":"bigint"}'),
    JSON.parse('{"__proto__":{"a":1},"$$value":"bigint"}'),
  ],
  [
    "what only bears a known name",
    () => ["Map", "Date", "URL", "Headers", "Error"].map(impostor),
    [...["Map", "Date", "URL", "Headers"].map((name) => tag("instance", { class: name, members: {} })), tag("error", { name: "Error", message: "" })],
  ],
  ["an event target, as DOM nodes are", () => new (class HTMLDivElement extends EventTarget {})(), tag("opaque", { class: "HTMLDivElement" })],
  [
    "a Request",
    () => new Request("https://x.io/a", { headers: { authorization: "Bearer 1", accept: "a" } }),
    tag("request", { method: "GET", url: "https://x.io/a", headers: tag("headers", { members: { accept: "a", authorization: "[redacted]" } }) }),
  ],
  [
    "a Response",
    () => new Response("secret", { status: 201, headers: { "set-cookie": "a=b", "content-type": "a/b" } }),
    tag("response", { status: 201, url: "", headers: tag("headers", { members: { "content-type": "a/b", "set-cookie": "[redacted]" } }) }),
  ],
  [
    "streams",
    () => [new ReadableStream(), new WritableStream()],
    [tag("opaque", { class: "ReadableStream" }), tag("opaque", { class: "WritableStream" })],
  ],
  ["a promise", () => Promise.resolve(1), tag("opaque", { class: "Promise" })],
  ["a WeakMap", () => new WeakMap(), tag("opaque", { class: "WeakMap" })],
  [
    "a URL and its parameters",
    () => [new URL("https://x.io/?a=1"), new URLSearchParams("a=1")],
    [tag("url", { href: "https://x.io/?a=1" }), tag("fields", { class: "URLSearchParams", entries: [{ a: "1" }] })],
  ],
  ["lone surrogates", () => "\ud800x", "\ud800x"],
  ["a list with holes", sparse, [1, tag("hole"), tag("hole"), 2]],
  [
    "values in boxes",
    () => [new String("a"), new Number(1), new Boolean(false), Object(2n), Object(Symbol("s"))],
    Object.entries({
      String: "a",
      Number: 1,
      Boolean: false,
      BigInt: tag("bigint", { text: "2" }),
      Symbol: tag("symbol", { text: "Symbol(s)" }),
    }).map(([name, inside]) => tag("instance", { class: name, members: { valueOf: inside } })),
  ],
  ["a list with members", () => Object.assign([1], { extra: 2 }), tag("array", { length: 1, items: [1], beside: 1 })],
];

/** Too large to be written out here: what is left of them must be bounded, and say how much there was. */
const LARGE: readonly (readonly [what: string, make: () => unknown, looks: object])[] = [
  ["20,000 levels", () => nested(20_000), {}],
  ["a list of a million", () => Array.from({ length: 1_000_000 }, (_, n) => ({ n })), tag("array", { length: 1_000_000 })],
  ["a list of a thousand million holes", () => Object.assign([], { length: 1_000_000_000 }), tag("array", { length: 1_000_000_000 })],
  ["a text of 3 MB", () => "x".repeat(3_000_000), tag("text", { length: 3_000_000 })],
  ["3 MB of control characters", () => "\u0001".repeat(3_000_000), tag("text", { length: 3_000_000 })],
  ["a member whose name has 3 MB", () => ({ ["x".repeat(3_000_000)]: 1, a: 1 }), tag("object", { members: { a: 1 }, left_out: 1 })],
  ["300,000 members", () => Object.fromEntries(Array.from({ length: 300_000 }, (_, n) => [`k${n}`, n])), tag("object", {})],
  ["a Map of 300,000", () => new Map(Array.from({ length: 300_000 }, (_, n) => [n, n])), tag("map", { size: 300_000 })],
  ["10 MB of bytes", () => new Uint8Array(10_000_000), tag("bytes", { length: 10_000_000 })],
  ["a text of 100,000 Chinese characters", () => "\u6f22".repeat(100_000), tag("text", { length: 100_000 })],
  ["10,000 dates", () => new Array(10_000).fill(new Date(0)), tag("array", { length: 10_000 })],
  ["10,000 addresses that are redacted", () => new Array(10_000).fill("a@b.io"), tag("array", { length: 10_000 })],
  ["10,000 of a class with a long name", () => Array.from({ length: 10_000 }, () => Reflect.construct(odd(), [])), tag("array", { length: 10_000 })],
  ["10,000 functions with a long name", () => Array.from({ length: 10_000 }, odd), tag("array", { length: 10_000 })],
  ["10,000 symbols with a long name", () => new Array(10_000).fill(Symbol(ODD)), tag("array", { length: 10_000 })],
  ["names of control characters", () => Object.fromEntries(Array.from({ length: 10_000 }, (_, n) => [`${ODD}${n}`, n])), tag("object", {})],
  ["1,000 Maps one in the other", () => within(1_000, (inner) => new Map([["a", inner]])), tag("map", {})],
  ["1,000 Sets one in the other", () => within(1_000, (inner) => new Set([inner])), tag("set", {})],
  ["1,000 levels, each cut", () => within(1_000, (inner) => ({ inner, [Symbol()]: 1 })), tag("object", {})],
  // What is looked at again and again without a thing of it being written would take hours.
  ["30,000 times the same 100,000 symbols", () => new Array(30_000).fill(withSymbols(100_000)), tag("array", { length: 30_000 })],
  [
    "30,000 times the same 5,000 members whose names are too long",
    () => new Array(30_000).fill(Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`${"x".repeat(1_001)}${n}`, n]))),
    tag("array", { length: 30_000 }),
  ],
  [
    "30,000 times the same list with 100,000 members beside",
    () => new Array(30_000).fill(Object.assign([], Object.fromEntries(Array.from({ length: 100_000 }, (_, n) => [`k${n}`, n])))),
    tag("array", { length: 30_000 }),
  ],
  ["30,000 times the same key of 3 MB", () => new Array(30_000).fill(`-----BEGIN PRIVATE KEY-----${"A".repeat(3_000_000)}`), tag("array", {})],
];

const options: ValueOptions = { isProxy: types.isProxy };

describe("Whatever a function is given or gives,", () => {
  it.each(HOSTILE)("%s is written down", (_what, make, recorded) => {
    const { value, redacted } = recordValue(make(), options);
    expect(value).toEqual(recorded);
    expect(JSON.parse(JSON.stringify(value))).toEqual(value);
    expect(redacted).toBe(JSON.stringify(recorded).includes("[redacted]") ? 1 : 0);
  });

  it.each(LARGE)("%s is cut, and says so, and a gateway takes a line that has it twice", (_what, make, looks) => {
    const value = make();
    const { inputs } = createRecorder({ redaction });
    const recorded = inputs(value).value;
    expect(recorded).toMatchObject(looks);
    const line = JSON.stringify({ payload: { inputs: recorded, outputs: recorded } });
    expect(Buffer.byteLength(line)).toBeLessThan(MOST_ENTRY_BYTES - REST_OF_LINE_BYTES);
    expect(parseJson(line)).toMatchObject({ ok: true });
  });

  it("a proxy's traps that throw do no harm where no runtime can tell what is a proxy", () => {
    for (const make of [revokedProxy, touchyProxy]) expect(recordValue({ a: make() }).value).toEqual({ a: tag("unreadable") });
  });

  it("anything at all comes out as JSON of bounded size, the same each time", () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withNullPrototype: true,
      withObjectString: true,
      withSet: true,
      withSparseArray: true,
      withTypedArray: true,
      withUnicodeString: true,
      maxDepth: 6,
    });
    fc.assert(
      fc.property(anything, fc.integer({ min: 200, max: 2_000 }), (value, mostCharacters) => {
        const first = JSON.stringify(recordValue(value, { mostCharacters }).value);
        expect(first.length).toBeLessThan(6 * mostCharacters + 5_000);
        expect(JSON.stringify(recordValue(value, { mostCharacters }).value)).toBe(first);
      }),
    );
  });
});

/** What a value is made of here: all that JSON has and some that it has not, names and numbers that are special, accessors and hidden members. */
const nearlyPlain = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(null, true, 0, -0, 1.5, Number.NaN, undefined, "", "text", "\ud800", 3n, Symbol.iterator),
    fc.string({ unit: "binary", maxLength: 20 }),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b", "1", "$value", "$$value", "__proto__", "toJSON"), tie("value"), { maxKeys: 3 }),
    fc.tuple(tie("value"), fc.constantFrom("a", "0", "length"), fc.constantFrom("getter", "hidden", "symbol", "hole", "proxy", "inherits")).map(bent),
  ),
})).value;

/** A value with something about it that no JSON shows. */
function bent([value, name, how]: [unknown, string, string]): unknown {
  const made: object = typeof value === "object" && value !== null ? value : { value };
  if (how === "proxy") return new Proxy(made, {});
  if (how === "inherits") return Object.create(made);
  if (how === "hole") return Array.isArray(made) ? Object.assign(new Array(made.length + 1), made) : made;
  if (!Object.isExtensible(made) || (Array.isArray(made) && name === "length")) return made;
  if (how === "getter") return Object.defineProperty(made, name, { get: () => 7, enumerable: true, configurable: true });
  if (how === "hidden") return Object.defineProperty(made, name, { value: 7, enumerable: false, configurable: true });
  return Object.assign(made, { [Symbol.for("beside")]: 7 });
}

describe("A plain copy", () => {
  const options: ValueOptions = { isProxy: types.isProxy };

  it("is what is recorded and what rules are shown, of whatever it is made of", () => {
    let copies = 0;
    fc.assert(
      fc.property(nearlyPlain, (value) => {
        const copy = plainCopy(value);
        if (copy === undefined) return;
        copies++;
        expect(copy).toStrictEqual(recordValue(value, options).value);
        expect(JSON.stringify(copy)).toBe(JSON.stringify(shown(value)));
      }),
      { numRuns: 2_000, examples: [[{ a: { toJSON: null } }]] },
    );
    expect(copies).toBeGreaterThan(400);
  });

  it("stays as it was when the value changes", () => {
    const value = { list: [{ a: 1 }] };
    const copy = plainCopy(value);
    value.list.push({ a: 2 });
    Object.assign(value.list[0] ?? {}, { a: 3 });
    expect(copy).toEqual({ list: [{ a: 1 }] });
  });

  it.each<readonly [what: string, make: () => unknown]>([
    ["is too long", () => "x".repeat(10_000)],
    ["has too many members", () => Array.from({ length: 2_000 }, () => 1)],
    ["has a name that is too long", () => ({ ["n".repeat(300)]: 1 })],
    ["lies too deep", () => nested(13)],
    ["contains itself", circular],
    ["cannot be looked at", touchyProxy],
    ["is a proxy of nothing any more", revokedProxy],
    ["is of another realm", () => runInContext("({ a: 1 })", createContext())],
    ["is an instance", () => new Date()],
  ])("is not made of what %s", (_what, make) => expect(plainCopy(make())).toBeUndefined());

  it("is not made of ten million items, which nobody waits for", () => {
    const items = Array.from({ length: 10_000_000 }, (_, n) => n);
    const began = performance.now();
    expect(plainCopy(items)).toBeUndefined();
    expect(performance.now() - began).toBeLessThan(1_000);
  });
});

describe("What was written down", () => {
  it("comes back as it was, in the order in which it was, whenever all of it can", () => {
    const leaf = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.double(),
      fc.bigInt(),
      fc.constantFrom<unknown>(undefined, null, true, -0),
      fc.date({ noInvalidDate: false }),
      fc.uint8Array(),
      fc.float64Array(),
      fc.constantFrom(/a\/b/gi, new URL("https://x.io/a?b#c")),
    );
    const name = fc.oneof(fc.string(), fc.constantFrom("$value", "$$value", "__proto__", "toJSON", "class", "then"));
    const { any } = fc.letrec<{ any: unknown }>((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie("any")),
        fc.array(fc.tuple(name, tie("any"))).map((members) => Object.fromEntries(members)),
        fc.array(fc.tuple(fc.oneof(name, tie("any")), tie("any"))).map((entries) => new Map(entries)),
        fc.array(tie("any")).map((items) => new Set(items)),
      ),
    }));
    fc.assert(
      fc.property(any, (value) => {
        const { value: recorded } = recordValue(value);
        const back = revived(JSON.parse(JSON.stringify(recorded)));
        expect(back).toEqual({ ok: true, value });
        // Printed the same, the members are in the same order too.
        if (back.ok) expect(JSON.stringify(recordValue(back.value).value)).toBe(JSON.stringify(recorded));
      }),
    );
  });

  it.each<readonly [what: string, value: unknown, pointer: string, tag: string]>([
    ["an instance", { a: [new Connection()] }, "/a/0", "instance"],
    ["an own class", new Session(), "", "map"],
    ["a function", { "a/b": () => 1 }, "/a~1b", "function"],
    ["an error", [new Error("x")], "/0", "error"],
    ["what was cut", "x".repeat(100_000), "", "text"],
    ["a list that was cut", new Array(100_000).fill(1), "", "array"],
    ["bytes that were cut", new Uint8Array(100_000), "", "bytes"],
    ["a Set that was cut", new Set(Array.from({ length: 100_000 }, (_, n) => n)), "", "set"],
    ["a ring", circular(), "/self", "circular"],
    ["a socket", new Socket(), "", "opaque"],
  ])("does not pass for the real thing when it was more than its data: %s", (_what, value, pointer, lost) => {
    expect(revived(recordValue(value).value)).toEqual({ ok: false, pointer, tag: lost });
  });

  it("is told apart from a value that only looks like a tag", () => {
    const lookalike = { $value: "bigint", text: "1" };
    expect(recordValue(lookalike).value).not.toEqual(recordValue(1n).value);
    expect(revived(recordValue(lookalike).value)).toEqual({ ok: true, value: lookalike });
  });

  it("tells long texts apart that begin alike, by their digests", () => {
    const { inputs } = createRecorder({ redaction: null });
    const long = "x".repeat(100_000);
    expect(inputs(`${long}a`).value).not.toEqual(inputs(`${long}b`).value);
  });

  it("that cannot be read as what its tags say is malformed, and throws nothing", () => {
    for (const bad of [
      tag("bigint", { text: "x" }),
      tag("regexp", { source: "(", flags: "" }),
      tag("url", { href: "" }),
      tag("bytes", { of: "Uint8Array", length: 1, base64: "!" }),
      tag("map", { size: 1, entries: [{}] }),
    ]) {
      // Written by hand, and JSON all the same.
      expect(revived(bad as Json)).toMatchObject({ ok: false });
    }
  });
});

/** As long as what is looked at of a text, but for a little. */
const LONG_KEY = `-----BEGIN PRIVATE KEY-----${"A".repeat(60_000)}-----END PRIVATE KEY-----${" ".repeat(7_900)}`;

describe("What must not be kept", () => {
  it.each<readonly [where: string, value: unknown, secret: string]>([
    ["a text", `use ${TOKEN}`, TOKEN],
    ["a member of a secret name", { deep: [{ Password: { a: "hunter2" } }] }, "hunter2"],
    ["a text in a box", new String(TOKEN), '"0":"s"'],
    ["bytes in UTF-16", Buffer.from(TOKEN, "utf16le"), Buffer.from(TOKEN, "utf16le").toString("base64").slice(0, 40)],
    [
      "a text that moves up into what is kept when a key before it is redacted",
      `${LONG_KEY}https://ann:${"hunter2".repeat(50)}@x.io${"x".repeat(9_000)}`,
      "hunter2",
    ],
    ["a Map under a secret name", new Map([["password", "hunter2"]]), "hunter2"],
    ["a form under a secret name", new URLSearchParams("password=hunter2"), "hunter2"],
    ["an instance", Object.assign(new Connection(), { password_: 1, token: TOKEN }), TOKEN],
    ["an error's message", new Error(`401 for ann@example.com`), "ann@example.com"],
    ["an error's cause", new Error("x", { cause: { password: "hunter2" } }), "hunter2"],
    ["a name", { [TOKEN]: 1 }, TOKEN],
    ["a Map's key", new Map([[{ of: TOKEN }, 1]]), TOKEN],
    ["a symbol", Symbol(TOKEN), TOKEN],
    ["a function's name", Object.defineProperty(() => 1, "name", { value: TOKEN }), TOKEN],
    ["a URL", new URL("https://ann:hunter2@x.io/"), "hunter2"],
    ["a card number that is a BigInt", 4111111111111111n, "4111111111111111"],
    ["bytes", Buffer.from(`key: ${TOKEN}`), Buffer.from(`key: ${TOKEN}`).toString("base64").slice(0, 20)],
    ["a text that is cut within it", `${"x ".repeat(31_995)}${TOKEN}${" x".repeat(10_000)}`, TOKEN.slice(0, 7)],
  ])("is redacted in %s, and counted", (_where, value, secret) => {
    const { inputs } = createRecorder({ redaction });
    const { value: kept, redacted } = inputs(value);
    expect(JSON.stringify(kept)).not.toContain(secret);
    expect(redacted).toBeGreaterThan(0);
    // By the gateway's own rules: they find nothing more.
    expect(redactJson(kept, redaction).count).toBe(0);
  });

  it("is withheld whole where the policy keeps a digest or nothing, and where its redaction fails", () => {
    const digest = createRecorder({ redaction: { ...redaction, storeInputs: "digest", storeOutputs: "none" } });
    expect(digest.inputs({ a: 1 }).value).toEqual(tag("digest", { digest: expect.stringMatching(/^sha-256:[0-9a-f]{64}$/) }));
    expect(digest.inputs({ a: 1 })).toEqual(digest.inputs({ a: 1 }));
    expect(digest.inputs({ a: 1 })).not.toEqual(digest.inputs({ a: 2 }));
    expect(digest.outputs({ a: 1 }).value).toEqual(tag("withheld"));
    expect(recordValue(TOKEN, { redact: touched })).toEqual({ value: tag("withheld"), redacted: 1 });
  });

  it("is told by its looks where there is no policy to ask", () => {
    const { inputs } = createRecorder({ redaction: undefined });
    expect(inputs({ api_key: "x", note: TOKEN, n: 1 })).toEqual({ value: { api_key: "[redacted]", note: "[redacted:token]", n: 1 }, redacted: 2 });
    expect(inputs({ headers: { "X-Api-Key": "x", "set-cookie": "x" } })).toMatchObject({ redacted: 2 });
    expect(createRecorder({ redaction: null }).inputs({ api_key: "x" }).value).toEqual({ api_key: "x" });
  });
});
