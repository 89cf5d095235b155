import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalJson, type JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compileExpression, type Expression } from "../../src/core/policy/expressions.ts";
import type { Past, Scene } from "../../src/core/policy/findings.ts";

/** What the work of a condition costs in steps, that nobody is served who cannot pay, and laws of texts and of equality. */

const PLENTY = 1_000_000;
const NUMBERS = Array.from({ length: 100 }, (_, n) => n);
const MEMBERS = Object.fromEntries(NUMBERS.slice(0, 10).map((n) => [`k${n}`, n]));

const INPUTS: JsonValue = {
  n: 3,
  yes: true,
  no: null,
  long: "a".repeat(640),
  other: "b".repeat(640),
  short: "a".repeat(128),
  /** As long as the long one, in UTF-16 units. */
  cat: `${"a".repeat(638)}🐱`,
  foreign: `${"a".repeat(639)}é`,
  numbers: NUMBERS,
  same: [...NUMBERS],
  texts: Array(10).fill("a".repeat(16)),
  members: MEMBERS,
  alike: { ...MEMBERS },
};

const SCENE: Scene = {
  subject: { id: "bot" },
  action: "a",
  resource: {},
  inputs: INPUTS,
  tags: [],
  estimateMicroUsd: microUsdOf(0),
  context: {},
  now: Date.UTC(2026, 1, 3, 4, 5, 6, 70),
};

const PAST: Past = { count: () => 1, distinct: () => 1, sum: () => 1, last: () => null };

function compiled(text: string): Expression {
  const made = compileExpression(text, "rule");
  if (!made.ok) throw new Error(`${text}: ${made.error.message}`);
  return made.value;
}

/** The answer, and how many steps it took of so many. */
function paid(text: string, steps: number, inputs: JsonValue = INPUTS): { readonly answer: boolean | null; readonly spent: number } {
  const budget = { steps };
  const answer = compiled(text).evaluate({ ...SCENE, inputs }, PAST, null, budget);
  return { answer, spent: steps - budget.steps };
}

/** Steps by what is asked. About one for 10 nanoseconds: what takes the runtime longer costs more. */
const PRICES: readonly (readonly [string, number])[] = [
  ["inputs.n == 3 && inputs.yes", 0],
  // A list that is written out is made once; one that is computed, every time.
  ["inputs.n in [1, 2, 3]", 3],
  ["inputs.n in [3, 2, 1]", 1],
  ["!(-1 in inputs.numbers)", 100],
  ["[inputs.n, 1, 2].size() == 3", 3],
  ["{'a': inputs.n, 'b': 2}.size() == 2", 2],
  // A text is compared 64 characters at a time, and put in order 16 at a time up to where the two differ.
  ["inputs.long != inputs.other", 10],
  ["inputs.long != inputs.short && inputs.short != inputs.long", 4],
  ["inputs.long > inputs.short", 2 + 8],
  ["inputs.long < inputs.other", 10],
  ["inputs.long <= inputs.long", 10],
  ["inputs.numbers == inputs.same", 100],
  // Listing the members of a mapping is slow.
  ["inputs.members.size() == 10", 40],
  ["inputs.members == inputs.alike", 40 + 40 + 10],
  ["inputs.members.all(k, true)", 40 + 10 * (4 + 2)],
  ["'k3' in inputs.members && has(inputs.members.k3)", 0],
  ["inputs.long.size() == 640", 40],
  ["inputs.cat.size() == 639", 40 + 320],
  ["inputs.long.contains('a')", 10],
  // What is looked for counts as far as it is long.
  ["!inputs.long.contains(inputs.short + 'b')", ((128 + 1) >> 3) + ((640 * 129) >> 8)],
  ["inputs.long.startsWith('a') && inputs.long.endsWith('a')", 0],
  ["inputs.long.indexOf('b') == -1", 10],
  ["inputs.foreign.indexOf('é') == 639", 10 + 39],
  ["inputs.long.lowerAscii() != ''", 80],
  ["inputs.foreign.upperAscii() != ''", 80 + 2 * 640],
  ["inputs.long.trim() != ''", 80],
  ["inputs.long.split(',').size() == 1", 640 + 10],
  ["inputs.texts.join('aaaaaaaaaaaaaaaa') != ''", 10 * (1 + 4)],
  ["inputs.texts.join() != ''", 10 * (1 + 2)],
  ["inputs.long.substring(639) == 'a'", 40],
  ["inputs.cat.substring(638) == '🐱'", 40 + 320 + 640],
  ["inputs.long + inputs.short != ''", 96],
  ["(inputs.numbers + inputs.numbers).size() == 200", 200],
  ["string(now) != ''", 60],
  ["timestamp('2026-01-01T00:00:00Z') < now", 60],
  ["duration('1s') > duration('1ms')", 120],
  ["now.getHours() == 4", 20],
  ["now.getHours('+01:00') == 5", 400],
  ["now.getHours('Europe/Berlin') == 5", 400],
  // What a macro does for each item costs by the parts of its body.
  ["inputs.numbers.all(x, x >= 0)", 100 * (4 + 2 * 3)],
  ["inputs.numbers.exists(x, x == 9)", 10 * (4 + 2 * 3)],
  ["inputs.numbers.map(x, x + 1).size() == 100", 100 * (4 + 2 * 3)],
  ["inputs.numbers.map(x, x > 5, x).size() == 94", 100 * (4 + 2 * 4)],
  ["inputs.numbers.filter(x, x > 5).size() == 94", 100 * (4 + 2 * 3)],
  // What the past was asked once it remembers.
  ["count('a', 60) == 1", 0],
  ["distinct('a', 'inputs.x', 60) == 1", 20],
  ["sum('a', 60) == 1.0", 20],
  ["!last('a').found", 20],
];

describe("what is asked costs", () => {
  it.each(PRICES)("%s: %d steps", (text, steps) => expect(paid(text, PLENTY)).toEqual({ answer: true, spent: steps }));

  it.each(["null", "true", "1", "'a'", "[]", "now", "duration('0s')", "int"])("nothing, to tell a mapping from %s", (other) => {
    const made = `dyn(${other}) != inputs.members && inputs.members != dyn(${other})`;
    const { answer, spent } = paid(made, PLENTY);
    // Twice what it takes to read a span of time.
    expect({ answer, spent: spent - (other.startsWith("duration") ? 120 : 0) }).toEqual({ answer: true, spent: 0 });
  });

  it("a regular expression by its size and the length of the text", () => {
    const short = paid("inputs.short.matches('b')", PLENTY).spent;
    expect(paid("inputs.long.matches('b')", PLENTY).spent).toBe(5 * short);
    expect(paid("inputs.short.matches('b{100}')", PLENTY).spent).toBeGreaterThan(20 * short);
  });
});

describe("who cannot pay", () => {
  it.each(PRICES.filter(([, steps]) => steps > 0))(
    "has no answer to %s with one step less than its price, and has it with all of them",
    (text, steps) => {
      expect(paid(text, steps)).toEqual({ answer: true, spent: steps });
      expect(paid(text, steps - 1)).toEqual({ answer: null, spent: steps - 1 });
      // The other side cannot save it: what could not pay for its work may have gone on without it.
      expect(paid(`!(${text}) || true`, steps - 1).answer).toBe(null);
    },
  );

  it.each([
    "inputs.list.all(x, true)",
    "inputs.list.exists(x, false)",
    "inputs.list.exists_one(x, true)",
    "inputs.list.filter(x, true).size() == 100",
    "inputs.list.map(x, x).size() == 100",
    "-1 in inputs.list",
    "inputs.list == inputs.same",
    "inputs.same == inputs.list",
    "inputs.mapping == inputs.members",
    "inputs.members == inputs.mapping",
    `[${NUMBERS.map((n) => `inputs.list[${n}]`).join(", ")}].size() == 100`,
    `{${NUMBERS.map((n) => `${n}: inputs.list[${n}]`).join(", ")}}.size() == 100`,
  ])("is not served: %s looks at no more than it can pay for", (text) => {
    let looks = 0;
    // Every element and member that is looked at is counted.
    const counted = <T extends object>(of: T): T =>
      new Proxy(of, {
        get: (target, key, receiver) => {
          if (typeof key === "string" && /\d/.test(key)) looks++;
          return Reflect.get(target, key, receiver);
        },
      });
    const inputs = { ...INPUTS, list: counted(NUMBERS), mapping: counted(MEMBERS) };
    const steps = 8;
    expect(paid(text, steps, inputs)).toEqual({ answer: null, spent: steps });
    expect(looks).toBeLessThanOrEqual(steps + 1);
  });
});

/** Characters of which some are two UTF-16 units, and units of which some are no character. */
const CHARACTERS = ["a", "b", "B", "é", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{103fe}", "\u{103ff}", "🐱", "\u{10ffff}"];
const aText = fc.array(fc.constantFrom(...CHARACTERS), { maxLength: 6 }).map((characters) => characters.join(""));
const anyUnits = fc.array(fc.constantFrom(...CHARACTERS, "\ud800", "\udbff", "\udc00", "\udfff"), { maxLength: 8 }).map((units) => units.join(""));

const holds = (text: string, inputs: JsonValue): boolean | null => compiled(text).evaluate({ ...SCENE, inputs }, null, null);

describe("texts are of characters, whatever JavaScript counts", () => {
  it("size and substring", () => {
    fc.assert(
      fc.property(anyUnits, fc.nat(8), fc.nat(8), (text, one, other) => {
        const characters = [...text];
        const from = Math.min(one, other, characters.length);
        const to = Math.min(Math.max(one, other), characters.length);
        const inputs = { text, size: characters.length, from, to, part: characters.slice(from, to).join(""), rest: characters.slice(from).join("") };
        expect(holds("inputs.text.size() == inputs.size", inputs)).toBe(true);
        expect(holds("inputs.text.substring(inputs.from, inputs.to) == inputs.part", inputs)).toBe(true);
        expect(holds("inputs.text.substring(inputs.from) == inputs.rest", inputs)).toBe(true);
        expect(holds("inputs.text.substring(0, inputs.size + 1) == inputs.text", inputs)).toBe(null);
      }),
      { numRuns: 500 },
    );
  });

  it("indexOf", () => {
    fc.assert(
      fc.property(aText, fc.constantFrom(...CHARACTERS), (text, part) => {
        expect(holds("inputs.text.indexOf(inputs.part) == inputs.at", { text, part, at: [...text].indexOf(part) })).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it("their order is that of their code points", () => {
    fc.assert(
      fc.property(aText, aText, aText, (beginning, one, other) => {
        const [a, b] = [beginning + one, beginning + other];
        const points = (text: string): readonly number[] => Array.from(text, (character) => character.codePointAt(0) ?? 0);
        const [ofA, ofB] = [points(a), points(b)];
        const at = ofA.findIndex((point, place) => point !== ofB[place]);
        const order = at < 0 ? ofA.length - ofB.length : (ofA[at] ?? 0) - (ofB[at] ?? -1);
        expect(holds("inputs.a < inputs.b", { a, b })).toBe(order < 0);
        expect(holds("inputs.a <= inputs.b", { a, b })).toBe(order <= 0);
        expect(holds("inputs.a > inputs.b", { a, b })).toBe(order > 0);
        expect(holds("inputs.a >= inputs.b", { a, b })).toBe(order >= 0);
      }),
      { numRuns: 1000 },
    );
  });
});

/** So few values that two are often equal. */
const { value: aValue } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom<JsonValue>(null, true, false, 0, 1, 2.5, "", "a", "1"),
    fc.array(tie("value"), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom("a", "b", "length"), tie("value"), { maxKeys: 2, noNullPrototype: true }),
  ),
}));

it("values are equal that are written alike", () => {
  let equal = 0;
  fc.assert(
    fc.property(aValue, aValue, (a, b) => {
      const isEqual = canonicalJson(a) === canonicalJson(b);
      if (isEqual) equal++;
      expect(holds("inputs.a == inputs.b", { a, b })).toBe(isEqual);
      expect(holds("inputs.b != inputs.a", { a, b })).toBe(!isEqual);
      expect(holds("inputs.a == inputs.b", { a: [a, { a }], b: [structuredClone(a), { a: b }] })).toBe(isEqual);
    }),
    { numRuns: 1000 },
  );
  expect(equal).toBeGreaterThan(20);
});
