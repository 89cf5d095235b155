import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { coversGlob, globsMeet, matchesGlob } from "../../src/core/glob.ts";
import { byNarrowness, PatternIndex } from "../../src/core/policy/patterns.ts";

/** By definition: a star is nothing, or one more character. */
function matchesNaively(pattern: string, name: string): boolean {
  if (pattern === "") return name === "";
  if (pattern[0] === "*") return matchesNaively(pattern.slice(1), name) || (name !== "" && matchesNaively(pattern, name.slice(1)));
  return name[0] === pattern[0] && matchesNaively(pattern.slice(1), name.slice(1));
}

const letters = (alphabet: string, maxLength: number) => fc.string({ unit: fc.constantFrom(...alphabet), maxLength });

describe("a glob", () => {
  test.each([
    ["db.*", "db.read", true],
    ["db.*", "db.", true],
    ["db.*", "db", false],
    ["*", "", true],
    ["*", "anything:/at-all", true],
    ["fs.rm*", "fs.rmdir", true],
    ["fs.rm*", "xfs.rm", false],
    ["*.read", "crm.read", true],
    ["*.read", "crm.reader", false],
    ["a.b", "axb", false],
    ["send_email", "SEND_EMAIL", false],
    ["a*b*c", "a-b-b-c", true],
    ["a*b*c", "a-c-b", false],
  ])("%s and %s: %s", (pattern, name, matches) => {
    expect(matchesGlob(pattern, name)).toBe(matches);
  });

  test("matches exactly what its definition says", () => {
    fc.assert(
      fc.property(letters("ab*", 8), letters("ab", 10), (pattern, name) => {
        expect(matchesGlob(pattern, name)).toBe(matchesNaively(pattern, name));
      }),
      { numRuns: 2000 },
    );
  });
});

/** By definition: whether some text is one that both write. What is left to write of each is what comes next. */
function meetNaively(a: string, b: string): boolean {
  if (a === "" || b === "") return [...a, ...b].every((letter) => letter === "*");
  if (a[0] === "*") return meetNaively(a.slice(1), b) || meetNaively(a, b.slice(1));
  if (b[0] === "*") return meetNaively(a, b.slice(1)) || meetNaively(a.slice(1), b);
  return a[0] === b[0] && meetNaively(a.slice(1), b.slice(1));
}

describe("two globs", () => {
  test.each([
    ["a*", "*b", true],
    ["a*c", "b*c", false],
    ["*.read", "db.*", true],
    ["*.read", "db.w*", true],
    ["a*.read", "db.w*", false],
    ["a*b*c", "a*x*c", true],
    ["search*", "search", true],
    ["search*", "sear", false],
    ["pay", "pay", true],
    ["pay", "Pay", false],
    ["*ab", "*ba", false],
    ["a*a", "a", false],
    ["*", "*", true],
    ["a*bc*d", "ab*cd", true],
    ["*aab*", "a*b", true],
  ])("%s and %s meet: %s", (a, b, meet) => {
    expect([globsMeet(a, b), globsMeet(b, a)]).toEqual([meet, meet]);
  });

  test("meet exactly where their definition says", () => {
    fc.assert(
      fc.property(letters("ab*", 7), letters("ab*", 7), (a, b) => {
        expect(globsMeet(a, b)).toBe(meetNaively(a, b));
      }),
      { numRuns: 5000 },
    );
  });

  test("of which one names what the other does meet there, and one that covers the other names all that it names", () => {
    fc.assert(
      fc.property(letters("ab*", 7), letters("ab*", 7), letters("ab", 8), (a, b, name) => {
        if (matchesGlob(a, name) && matchesGlob(b, name)) expect(globsMeet(a, b)).toBe(true);
        if (coversGlob(a, b) && matchesGlob(b, name)) expect(matchesGlob(a, name)).toBe(true);
      }),
      { numRuns: 3000 },
    );
  });
});

describe("an index of patterns", () => {
  test("finds exactly the patterns that match, the narrowest first", () => {
    fc.assert(
      fc.property(fc.uniqueArray(letters("ab*", 5), { maxLength: 12 }), letters("ab", 6), (patterns, name) => {
        const found = new PatternIndex(patterns.map((pattern) => [pattern, pattern])).naming(name);
        expect(found.map(({ pattern }) => pattern)).toEqual(patterns.filter((pattern) => matchesGlob(pattern, name)).sort(byNarrowness));
        expect(found.every(({ pattern, value }) => pattern === value)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("puts them in one order, whichever of two is named first", () => {
    const pattern = letters("ab*", 4);
    fc.assert(
      fc.property(pattern, pattern, (a, b) => {
        expect(Math.sign(byNarrowness(a, b)) + Math.sign(byNarrowness(b, a))).toBe(0);
        expect(byNarrowness(a, a)).toBe(0);
      }),
    );
  });

  test("puts an exact name before globs and more letters before fewer", () => {
    const index = new PatternIndex(["*", "a*", "*bc", "abc", "a*c"].map((pattern) => [pattern, 0]));
    expect(index.naming("abc").map(({ pattern }) => pattern)).toEqual(["abc", "*bc", "a*c", "a*", "*"]);
  });
});
