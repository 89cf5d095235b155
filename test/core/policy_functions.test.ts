import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import type { ExpressionKind } from "../../src/core/policy/expression_check.ts";
import { compileExpression } from "../../src/core/policy/expressions.ts";
import type { Past, Prior, Scene } from "../../src/core/policy/findings.ts";
import { checkExpression } from "./expression_fault.ts";

const INPUTS: JsonValue = {
  n: 3,
  half: 2.5,
  neg: -2.5,
  t: "abc",
  e: "a🐱b",
  yes: true,
  no: null,
  xs: ["a", "b"],
  m: { a: 1 },
  inf: 1e308,
  ns: [3, 1, 2],
  blank: [null],
  numbered: { "1": "x" },
  sized: { length: 0 },
  clock: { ms: 5 },
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

function answer(text: string): boolean | null | string {
  const made = compileExpression(text, "rule");
  return made.ok ? made.value.evaluate(SCENE, null, null) : made.error.message;
}

/** Each holds, and none of them would with `!=`: what cannot be evaluated answers neither. */
const HOLDS: { readonly [what: string]: readonly string[] } = {
  sizes: ["size(inputs.t) == 3", "inputs.e.size() == 3", "size([]) == 0", "inputs.m.size() == 1", "size({}) == 0", "inputs.xs.size() == 2"],
  types: [
    "type(inputs.n) == double",
    "type(1) == int",
    "type(inputs.t) == string",
    "type(inputs.yes) == bool",
    "type(inputs.no) == null_type",
    "type(inputs.xs) == list",
    "type(inputs.m) == map",
    "type(now) == google.protobuf.Timestamp",
    "type(now - now) == google.protobuf.Duration",
    "type(type(1)) == type",
    "type({'a': 1}) == map && type([1]) == list",
    "dyn(inputs.n) == 3",
  ],
  "true and false": [
    ...["1", "t", "true", "TRUE", "True"].map((text) => `bool('${text}') == true`),
    ...["0", "f", "false", "FALSE", "False"].map((text) => `bool('${text}') == false`),
    "bool(inputs.yes) == true",
  ],
  "whole numbers": [
    "int(7) == 7",
    "int(inputs.half) == 2",
    "int(inputs.neg) == -2",
    "int('-12') == -12",
    "int('+12') == 12",
    "int('9223372036854775807') == 9223372036854775807",
    "int(timestamp('1970-01-01T00:00:01.999Z')) == 1",
    "int(timestamp('1969-12-31T23:59:58.5Z')) == -2",
  ],
  numbers: [
    "double(3) == 3.0",
    "double(inputs.half) == 2.5",
    "double('1.5') == 1.5",
    "double('-.5e1') == -5.0",
    "double('+2.') == 2.0",
    "double('1E-2') == 0.01",
    "double('12.25') == 12.25 && double('.25') == 0.25 && double('1e10') == 10000000000.0",
    `double('${"0".repeat(399)}1') == 1.0`,
  ],
  texts: [
    "string(inputs.t) == 'abc'",
    "string(inputs.half) == '2.5'",
    "string(-0.0) == '-0'",
    "string(0.0) == '0'",
    "string(inputs.inf * 10.0) == '+Inf'",
    "string(inputs.inf * -10.0) == '-Inf'",
    "string(inputs.inf * 10.0 - inputs.inf * 10.0) == 'NaN'",
    "string(-7) == '-7'",
    "string(inputs.yes) == 'true'",
    "string(now) == '2026-02-03T04:05:06.07Z'",
    "string(timestamp('2026-02-03T04:05:06Z')) == '2026-02-03T04:05:06Z'",
    "string(timestamp('2026-02-03T04:05:00.120Z')) == '2026-02-03T04:05:00.12Z'",
    "string(duration('1h1.5s')) == '3601.5s'",
    "string(duration('-250ms')) == '-0.25s'",
    "string(duration('0')) == '0s'",
    "string(duration('1ns')) == '0.000000001s'",
  ],
  "parts of texts": [
    "inputs.t.contains('b')",
    "!inputs.t.contains('x')",
    "inputs.t.contains('')",
    "inputs.t.startsWith('ab')",
    "!inputs.t.startsWith('b')",
    "inputs.t.endsWith('bc')",
    "!inputs.t.endsWith('b')",
    "inputs.t.indexOf('a') == 0",
    "inputs.t.indexOf('c') == 2",
    "inputs.t.indexOf('x') == -1",
    "inputs.e.indexOf('b') == 2",
    "inputs.t.substring(1) == 'bc'",
    "inputs.t.substring(1, 2) == 'b'",
    "inputs.t.substring(3) == ''",
    "inputs.t.substring(0, 0) == ''",
    "inputs.t.substring(inputs.n - 1.0) == 'c'",
    "inputs.e.substring(1, 2) == '🐱'",
    "inputs.e.substring(0, 2) == 'a🐱'",
    "inputs.e.substring(2) == 'b'",
    "'AbÉ'.lowerAscii() == 'abÉ'",
    "'AbC'.lowerAscii() == 'abc'",
    "'É'.lowerAscii() == 'É' && 'é'.upperAscii() == 'é'",
    "'aBé'.upperAscii() == 'ABé'",
    "'aBc'.upperAscii() == 'ABC'",
    "' \\t a b \\n'.trim() == 'a b'",
    "'a,b,,c'.split(',') == ['a', 'b', '', 'c']",
    "inputs.e.split('') == ['a', '🐱', 'b']",
    "inputs.xs.join() == 'ab'",
    "inputs.xs.join(', ') == 'a, b'",
    "[].join('x') == ''",
    "'ab'.matches('^a.$')",
    "!'ab'.matches('c')",
  ],
  instants: [
    "timestamp('2026-02-28T23:59:59Z') < timestamp('2026-03-01T00:00:00Z')",
    "timestamp('2024-02-29T00:00:00Z') == timestamp('2024-02-29T00:00:00+00:00')",
    "timestamp('2026-02-03T04:05:06.0709Z') == now",
    "timestamp('2026-02-03T06:05:06.07+02:00') == now",
    "timestamp('2026-02-03T02:05:06.07-02:00') == now",
    "timestamp(60) == timestamp('1970-01-01T00:01:00Z')",
    "timestamp(now) == now",
    "duration(duration('5s')) == duration('5s')",
    "duration('1h') == duration('60m') && duration('1m') == duration('60s')",
    "duration('1s') == duration('1000ms') && duration('1ms') == duration('1000us')",
    "duration('1us') == duration('1000ns') && duration('1µs') == duration('1us')",
    "duration('1.5h') == duration('1h30m') && duration('.5s') == duration('500ms') && duration('2.s') == duration('2s')",
    "duration('-1m') == duration('0') - duration('60s') && duration('+1s') == duration('1s')",
    "timestamp('2026-02-03T04:05:06Z') - timestamp('2026-02-03T04:05:01Z') == duration('5s')",
    "now + duration('1s') - duration('1s') == now && now + duration('1s') > now",
    "dyn(duration('1s') + now) == dyn(now + duration('1s')) && dyn(duration('1s') + now) > dyn(now)",
    "duration('1s') + duration('2s') == duration('3s') && duration('3s') - duration('1s') == duration('2s')",
    // The first and the last instant of RFC 3339, and the longest span of protobuf.
    "timestamp('0001-01-01T00:00:00Z') < timestamp('9999-12-31T23:59:59.999Z')",
    "duration('315576000000s') > duration('-315576000000s')",
    `duration('${"0".repeat(62)}1s') == duration('1s')`,
  ],
  "parts of instants": [
    "now.getFullYear() == 2026",
    "now.getMonth() == 1",
    "now.getDate() == 3",
    "now.getDayOfMonth() == 2",
    "now.getDayOfWeek() == 2",
    "now.getDayOfYear() == 33",
    "timestamp('2024-12-31T00:00:00Z').getDayOfYear() == 365",
    "timestamp('2026-01-01T00:00:00Z').getDayOfYear() == 0",
    "now.getHours() == 4",
    "now.getMinutes() == 5",
    "now.getSeconds() == 6",
    "now.getMilliseconds() == 70",
    "now.getHours('+01:30') == 5 && now.getMinutes('+01:30') == 35",
    "now.getHours('-05:00') == 23 && now.getDate('-05:00') == 2",
    "now.getHours('02:00') == 6",
    "now.getHours('Asia/Tokyo') == 13 && now.getMinutes('Asia/Kolkata') == 35",
    "now.getFullYear('Europe/Berlin') == 2026 && now.getMonth('Europe/Berlin') == 1 && now.getSeconds('Europe/Berlin') == 6",
    "timestamp('2026-07-01T22:30:00Z').getHours('Europe/Berlin') == 0",
    "timestamp('2025-12-31T23:30:00Z').getFullYear('Europe/Berlin') == 2026",
    // There is no name for the year before the year 1; it is 0, as in ISO 8601.
    "timestamp('0001-01-01T00:00:00Z').getFullYear('America/New_York') == 0",
    "duration('26h').getHours() == 26 && duration('-90m').getHours() == -1",
    "duration('90m').getMinutes() == 90",
    "duration('1m1.5s').getSeconds() == 61",
    "duration('1.25s').getMilliseconds() == 250",
  ],
  order: [
    "1 < 2 && !(2 < 2) && !(3 < 2)",
    "1 <= 2 && 2 <= 2 && !(3 <= 2)",
    "3 > 2 && !(2 > 2) && !(1 > 2)",
    "3 >= 2 && 2 >= 2 && !(1 >= 2)",
    "2 < inputs.half && inputs.half < 3 && inputs.half <= 2.5",
    "'a' < 'b' && !('b' < 'a') && 'a' <= 'a' && 'b' > 'a' && 'b' >= 'b'",
    "false < true && !(true < false) && true >= true",
    "now > timestamp('2026-01-01T00:00:00Z') && duration('1s') < duration('2s')",
  ],
  equality: [
    "dyn(now) != dyn(now - now) && dyn(duration('1s')) != dyn(timestamp(1)) && dyn(now - now) == dyn(duration('0'))",
    "timestamp(1) != timestamp(2) && duration('1s') != duration('2s') && dyn(timestamp(0)) != dyn({}) && dyn({}) != dyn(duration('0'))",
    "dyn('1') != dyn(1) && dyn(1) != dyn('1') && dyn(true) != dyn(1) && dyn(null) != dyn({}) && dyn([]) != dyn({}) && dyn({}) != dyn([])",
    "dyn(int) != dyn(string) && dyn(int) == type(1) && dyn(int) != dyn({}) && inputs.m != {'b': 1} && {'b': 1} != inputs.m",
    "inputs.ns == [3, 1, 2] && inputs.ns != [3, 1, 4] && inputs.m != {'a': 2} && {'a': 2} != inputs.m",
    "dyn(2) != inputs.half && inputs.half != dyn(2) && dyn(inputs.half) != dyn([inputs.half]) && dyn([inputs.half]) != dyn(inputs.half)",
    "inputs.t != inputs.no && inputs.no != inputs.t && inputs.sized != dyn([]) && dyn([]) != inputs.sized",
    "dyn(9007199254740993) != dyn(9007199254740992.0) && dyn(9007199254740992.0) == dyn(9007199254740992)",
    "'ab' < 'abc' && !('abc' < 'ab') && 'abd' > 'abc' && '\uFFFD' < '😀' && !('😀' < '\uFFFD') && !('a' < 'a')",
  ],
  arithmetic: [
    "1 + 2 == 3 && 5 - 7 == -2 && 3 * 4 == 12 && 7 / 2 == 3 && 7 % 4 == 3 && -7 % 4 == -3",
    "inputs.half + 1 == 3.5 && 1 + inputs.half == 3.5 && inputs.half - 1 == 1.5 && 5 - inputs.half == 2.5",
    "inputs.half * 2 == 5.0 && inputs.half / 2 == 1.25 && 5 / inputs.half == 2.0 && inputs.n % 2 == 1.0",
    "-inputs.half == -2.5 && -(3) == -3",
    "'a' + 'b' == 'ab' && [1] + [2] == [1, 2]",
    "-9223372036854775807 - 1 == -9223372036854775808",
  ],
  lists: [
    "inputs.m[action] == 1 && inputs.m['a'] == 1 && inputs['m'].a == 1 && inputs.xs[int(inputs.n) - 2] == 'b'",
    "[1, 2][0] == 1 && inputs.xs[1] == 'b' && {'a': 1}['a'] == 1 && {'a': 1}.a == 1 && {2: 'x'}[2] == 'x' && {true: 1}[true] == 1",
    "'a' in inputs.m && !('b' in inputs.m) && 'a' in inputs.xs && !('c' in inputs.xs) && 1 in {1: 2} && !(2 in {1: 2})",
    "inputs.ns == [3, 1, 2] && [1] != [1, 2] && inputs.m == {'a': 1} && {'a': 1} != {'b': 1} && {'a': 1} != {'a': 1, 'b': 2}",
    "inputs.ns.all(x, x > 0) && !inputs.ns.all(x, x > 1) && [].all(x, false)",
    "inputs.ns.exists(x, x > 2) && !inputs.ns.exists(x, x > 3) && ![].exists(x, true)",
    "inputs.ns.exists_one(x, x > 2) && !inputs.ns.exists_one(x, x > 1) && !inputs.ns.exists_one(x, x > 5)",
    "inputs.ns.filter(x, x > 1) == [3, 2] && inputs.ns.map(x, x * 2) == [6, 2, 4] && inputs.ns.map(x, x > 1, x * 2) == [6, 4]",
    "inputs.m.all(k, k == 'a') && inputs.m.map(k, k) == ['a'] && {'a': 1}.exists(k, k == 'a')",
    "[inputs.n, 1] == [3, 1] && inputs.blank[0] == null && [null][0] == null",
    // A number is no member's name, and no key that another number is not equal to.
    "!(1 in inputs.numbered) && '1' in inputs.numbered && !(inputs.half in {1: 2}) && inputs.n in {3: 1}",
    "[{'a': 1}].exists(m, has(m.a) && !has(m.b))",
  ],
  choices: [
    "(inputs.n > 2 ? 1 : 2) == 1 && (inputs.n > 5 ? 1 : 2) == 2",
    // What is not chosen may be whatever it is.
    "(inputs.yes ? 1 : inputs.missing) == 1 && (!inputs.yes ? inputs.missing : 2) == 2",
  ],
};

describe("what is so, in conditions:", () => {
  it.each(Object.entries(HOLDS).flatMap(([what, texts]) => texts.map((text): [string, string] => [what, text])))("%s: %s", (_, text) => {
    expect(answer(text)).toBe(true);
    expect(answer(`!(${text})`)).toBe(false);
  });
});

it.each([
  ...["'yes'", "'tRUE'", "''", "inputs.n", "inputs.no"].map((of) => `bool(dyn(${of}))`),
  ...["'1.5'", "''", "'12345678901234567890'", "'9223372036854775808'", "' 1'", "'1 '", "'0x1'", "inputs.yes", "inputs.inf", "inputs.xs"].map(
    (of) => `int(dyn(${of})) == 1 || true == false`,
  ),
  ...["'1e'", "''", "'.'", "'1,5'", "'Infinity'", "'NaN'", "' 1'", "'1x'", "inputs.no", `'${"1".repeat(401)}'`].map(
    (of) => `double(dyn(${of})) == 1.0`,
  ),
  ...["inputs.no", "inputs.xs", "inputs.m"].map((of) => `string(dyn(${of})) == ''`),
  ...[
    "2026-02-30T00:00:00Z",
    "2025-02-29T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "2026-04-31T00:00:00Z",
    "2026-01-01T00:00:00",
    "2026-01-01 00:00:00Z",
    "x2026-01-01T00:00:00Z",
    // The runtime knows years of six digits.
    "+002026-02-03T04:05:06.07Z",
    "2026-01-01T00:00:00Zx",
    "2026-01-01T00:00:00.Z",
    "2026-01-01T00:00:00.1234567890Z",
    "2026-1-01T00:00:00Z",
    "",
  ].map((text) => `timestamp('${text}') == now`),
  ...["1", "1d", "h", "1h x", "x1h", "--1s", "1 s", "", "1h1", ".s", `${"0".repeat(64)}1s`].map((text) => `duration('${text}') == duration('1s')`),
  "inputs.t.substring(4) == ''",
  "inputs.t.substring(2, 1) == ''",
  "inputs.t.substring(0, 4) == 'abc'",
  "inputs.t.substring(-1) == 'c'",
  "inputs.t.substring(inputs.half) == 'c'",
  "dyn(inputs.n).substring(0) == '3'",
  "dyn(inputs.n).trim() == '3'",
  "dyn(inputs.n).lowerAscii() == '3'",
  "inputs.t.split(dyn(1)) == []",
  "inputs.ns.join(',') == '3,1,2'",
  "inputs.t.startsWith(dyn(1))",
  "inputs.n.endsWith('3')",
  "inputs.n.getHours() == 3",
  "inputs.n.matches('3')",
  "inputs.n.contains('3')",
  "inputs.xs.contains('a')",
  "inputs.xs.indexOf('b') == 1",
  "inputs.t.join('-') == 'a-b-c'",
  "inputs.xs.join(dyn(1)) == 'a1b'",
  "dyn(inputs.xs).substring(1) == dyn(['b'])",
  "dyn(inputs.xs).substring(0, 1) == dyn(['a'])",
  "inputs.t.substring(0, -1) == ''",
  "inputs.t.substring(dyn('1')) == 'bc'",
  "double(dyn(['5'])) == 5.0",
  "dyn(duration('1h')).getHours('+01:00') == 1",
  "dyn(duration('1h')).getFullYear() == 0",
  "inputs.xs[2] == 'c'",
  "inputs.xs[-1] == 'b'",
  "inputs.xs['0'] == 'a'",
  "inputs.xs[dyn('0')] == 'a'",
  "inputs.xs[dyn(true)] == 'b'",
  "inputs.numbered[1] == 'x'",
  "{1: 'a'}[2] == 'a'",
  "{inputs.half: 1}.size() == 1",
  "{inputs.no: 1}.size() == 1",
  "{inputs.missing: 1}.size() == 1",
  "has(inputs.no.x)",
  "has(inputs.n.x)",
  "1 in inputs.n",
  "inputs.n.all(x, true)",
  "inputs.no.exists(x, true)",
  "inputs.n.map(x, x) == []",
  "inputs.m['b'] == 1",
  "inputs.n[0] == 3",
  "inputs.no.x == 1",
  "1 / 0 == 1",
  "1 % 0 == 1",
  "9223372036854775807 + 1 == 0",
  "-9223372036854775807 - 2 == 0",
  "9223372036854775807 * 2 == 0",
  "timestamp('9999-12-31T23:59:59.999Z') + duration('1ms') > now",
  "timestamp('0001-01-01T00:00:00Z') - duration('1ms') < now",
  "timestamp(253402300800) > now",
  "duration('315576000000.001s') > duration('1s')",
  "duration('-315576000000.001s') < duration('1s')",
  "inputs.xs < inputs.xs",
  "inputs.n < inputs.t",
  "inputs.yes < inputs.n",
  "inputs.n < inputs.yes",
  "inputs.t < inputs.n",
  "inputs.no < inputs.no",
  "inputs.t - inputs.t == inputs.t",
  "inputs.m + inputs.m == {}",
  // What has an order or a sum has it with its own kind, whatever else may look like one.
  "inputs.n + dyn('1') == 4",
  "inputs.n - inputs.yes == 2",
  "inputs.yes + inputs.n == 4",
  "dyn(1) - inputs.t == 0",
  "inputs.t - dyn(1) == 0",
  "dyn(true) * 2 == 2",
  "2 * dyn(true) == 2",
  "inputs.yes + inputs.t == 'trueabc'",
  "inputs.xs + inputs.t == inputs.xs",
  "inputs.t + inputs.xs == inputs.t",
  "inputs.no + inputs.no == 0",
  "inputs.no - inputs.no == 0",
  "dyn(now) + dyn(now) == now",
  "dyn(now) * dyn(now) == duration('0s')",
  "dyn(now) + inputs.clock == now",
  "inputs.clock + dyn(now) == now",
  "inputs.clock + dyn(duration('1s')) == duration('1.005s')",
  "dyn(duration('1s')) + inputs.clock == duration('1.005s')",
  "dyn(duration('1s')) - inputs.clock == duration('0.995s')",
  "inputs.clock - dyn(duration('1s')) == duration('-0.995s')",
  "dyn(now) < inputs.clock",
  "-inputs.t == 'abc'",
])("%s cannot be evaluated, nor what it is not", (text) => {
  const made = compileExpression(text, "rule");
  if (!made.ok) throw new Error(made.error.message);
  expect(made.value.evaluate(SCENE, null, null)).toBe(null);
  expect(answer(`!(${text})`)).toBe(null);
  // It is an outcome like another: where the other side decides, nothing is spoilt.
  expect(answer(`(${text}) || true`)).toBe(true);
  expect(answer(`(${text}) && false`)).toBe(false);
});

it("what an expression was not given is not there: neither a past nor an earlier call", () => {
  for (const text of ["count('a', 60) == 0", "distinct('a', 'inputs.x', 60) == 0", "sum('a', 60) == 0.0", "last('a').found"]) {
    expect(answer(text)).toBe(null);
    expect(answer(`${text} || true`)).toBe(true);
  }
  const made = compileExpression("prior.outcome == 'success' || true", "where");
  expect(made.ok && made.value.evaluate(SCENE, null, null)).toBe(true);
});

describe("of an earlier action only what is known of it is looked at", () => {
  const prior = (known: readonly string[]): Prior => ({
    action: "look",
    inputs: { id: "R1" },
    outputs: { ok: true },
    knows: (path) => known.includes(path.join(".")),
    outcome: "success",
    ageMs: 1_500,
  });
  it.each([
    ["prior.inputs.id == 'R1'", ["inputs.id"], true],
    ["prior.inputs.id == 'R1'", ["outputs.id"], null],
    ["prior.outputs.ok", ["outputs.ok"], true],
    ["prior.outputs.ok", ["inputs.ok"], null],
    ["prior.inputs.id == 'R1' && prior.outputs.ok", ["inputs.id", "outputs.ok"], true],
    ["prior.inputs.id == 'R1' && prior.inputs.no == 1", ["inputs.id"], null],
    // What is not known must not pass for what is not there.
    ["prior.inputs.id == 'R1' && !has(prior.inputs.no)", ["inputs.id"], null],
    ["prior.outputs.ok && !has(prior.outputs.no)", ["outputs.ok"], null],
    ["prior['outputs'].ok", ["outputs.ok"], true],
    ["has(prior.outcome) && has(prior.outputs)", [], true],
    ["prior.action == 'look' && prior.outcome == 'success' && prior.age == duration('1.5s')", [], true],
  ] as const)("%s, of which %j is known: %s", (text, known, wanted) => {
    const made = compileExpression(text, "where");
    if (!made.ok) throw new Error(made.error.message);
    expect(made.value.evaluate(SCENE, null, prior(known))).toBe(wanted);
  });

  // The same of the newest call; of actions other than "a" there is none.
  it.each([
    ["last('a').inputs.id == 'R1'", ["inputs.id"], true],
    ["last('a').inputs.id == 'R1'", [], null],
    ["last('a').outputs.ok", ["outputs.ok"], true],
    ["last('a').outputs.ok", [], null],
    ["last('a').inputs.id == 'R1' || last('a').inputs.no == 1", ["inputs.id"], null],
    // What one part of a rule may not look at takes nothing from another part.
    ["last('a').inputs.id == 'R1' || last('a').outputs.ok", ["inputs.id"], true],
    ["last('b').inputs.no == 1 || last('a').inputs.id == 'R1'", ["inputs.id"], true],
    ["distinct('a', 'inputs.no', 60) > 5 || last('a').inputs.id == 'R1'", ["inputs.id"], true],
    ["last('a').action == 'look' && last('a').outcome == 'success' && last('a').age == duration('1.5s')", [], true],
  ] as const)("%s, of which %j is known: %s", (text, known, wanted) => {
    const made = compileExpression(text, "rule");
    if (!made.ok) throw new Error(made.error.message);
    const past: Past = { count: () => 0, distinct: () => 0, sum: () => 0, last: (pattern) => (pattern === "a" ? prior(known) : null) };
    expect(made.value.evaluate(SCENE, past, null)).toBe(wanted);
  });
});

/** A literal list of so many numbers. */
const list = (length: number): string => `[${Array(length).fill(1).join(",")}]`;

describe("what is no condition is told in words", () => {
  it.each<readonly [ExpressionKind, string, string]>([
    ["rule", "", "an expression is wanted, found nothing"],
    ["rule", " \n", "an expression is wanted, found nothing"],
    ["rule", "x".repeat(4097), "an expression has at most 4096 characters, found 4097"],
    ["rule", `${Array(252).fill("!").join("")}true`, "an expression has at most 2000 parts and is nested at most 250 deep"],
    ["rule", "1", "an expression is true or false (bool), found int"],
    ["rule", "now", "an expression is true or false (bool), found timestamp"],
    [
      "rule",
      "inputz == 1",
      "unknown name inputz, did you mean inputs? (known are subject, action, resource, inputs, tags, estimate_usd, context, now)",
    ],
    ["rule", "qqqqqq == 1", "unknown name qqqqqq (known are subject, action, resource, inputs, tags, estimate_usd, context, now)"],
    [
      "where",
      "prio == 1",
      "unknown name prio, did you mean prior? (known are subject, action, resource, inputs, tags, estimate_usd, context, now, prior)",
    ],
    ["rule", "noo == 1", "unknown name noo, did you mean now? (known are subject, action, resource, inputs, tags, estimate_usd, context, now)"],
    ["rule", "nxy == 1", "unknown name nxy (known are subject, action, resource, inputs, tags, estimate_usd, context, now)"],
    ["rule", "prior.outcome == 'x'", "prior is known only in where, under requires"],
    ["rule", "outputs == 1", "there is no outputs here: history functions and requires look at them"],
    ["where", "outputs == 1", "there is no outputs here: write prior.outputs"],
    ["where", "count('a', 60) > 1", "count looks at the history, which where does not: see the history section"],
    ["where", "cuont('a', 60) > 1", "unknown function cuont"],
    ["rule", "cuont('a', 60) > 1", "unknown function cuont, did you mean count?"],
    ["rule", "action.startWith('x')", "unknown function startWith, did you mean startsWith?"],
    ["rule", "action.matche('x')", "unknown function matche, did you mean matches?"],
    ["rule", "inputs.a.exist_one(action, action == 'x')", "unknown function exist_one, did you mean exists_one?"],
    ["rule", "inputs.a.mapp(action, action) == []", "unknown function mapp, did you mean map?"],
    ["rule", "hass(inputs.a)", "unknown function hass, did you mean has?"],
    ["rule", "qqqqqq(1)", "unknown function qqqqqq"],
    ["rule", "1u == 1u", "uint and bytes are not available: JSON has neither"],
    ["rule", "9223372036854775808 > 0", "an int is at most 9223372036854775807, found 9223372036854775808"],
    ["where", "has(prior.nothing)", "prior has no nothing: it has action, inputs, outputs, outcome, age"],
    ["rule", "action.matches(inputs.p)", "matches wants its pattern as a literal text, so that it is compiled once"],
    ["rule", "now.getHours(action) == 1", "a time zone is a literal name such as 'Europe/Berlin', or a difference from UTC such as '+02:00'"],
    ["where", "dyn(prior) == 1", "prior is asked for one of its members: action, inputs, outputs, outcome, age"],
    ["rule", "type(inputs.a) == bytes", "bytes is not available"],
    ["rule", "bytes('a') == bytes('b')", "bytes is not available with 1 argument"],
    ["rule", "inputs.a.split(',', 2) == []", "split is not available with 2 arguments"],
    ["rule", "inputs.a.matches(1)", "matches wants its pattern as a literal text, so that it is compiled once"],
    ["rule", "inputs.a.matches(action)", "matches wants its pattern as a literal text, so that it is compiled once"],
    ["rule", `action.matches('${"a".repeat(513)}')`, "a regular expression has at most 512 characters"],
    ["rule", "action.matches('a{1000}a{999}')", "this regular expression is too large: its repetitions multiply"],
    // A variable of that name, not the name of a zone.
    [
      "rule",
      "inputs.a.exists(UTC, now.getHours(UTC) == 1)",
      "a time zone is a literal name such as 'Europe/Berlin', or a difference from UTC such as '+02:00'",
    ],
    ...["x+02:00", "+02:00x", "x02:00", "", "UTC+1x"].map((zone): ["rule", string, string] => [
      "rule",
      `now.getHours('${zone}') == 1`,
      "a time zone is a literal name such as 'Europe/Berlin', or a difference from UTC such as '+02:00'",
    ]),
    ["rule", "action == 1", "no such overload: string == int: these types do not go together"],
    ["rule", "[][0] == 1", "the types in this cannot be told apart (an empty list or mapping has none)"],
    ["rule", "has(inputs)", "has() invalid argument"],
    ["rule", "[1 (2)]", "Expected ], got ("],
    ["rule", "{'a': 1 (2)} == {}", "Expected }, got ("],
    ["rule", "has(last('a'))", "has() invalid argument"],
    ["rule", "tgas == 1", "unknown name tgas, did you mean tags? (known are subject, action, resource, inputs, tags, estimate_usd, context, now)"],
    ["rule", `${"!".repeat(250)}true`, "an expression has at most 2000 parts and is nested at most 250 deep"],
    ["rule", `${list(999)} == ${list(999)}`, "an expression has at most 2000 parts and is nested at most 250 deep"],
    ["rule", "count(action, 60) > 0", "count wants literals, so that it is known beforehand how far it looks back: count('action', seconds)"],
    [
      "rule",
      "distinct('a', 'foo', 60) > 0",
      "the path of distinct begins with inputs or outputs, such as 'inputs.customer', or is cost_usd, found \"foo\"",
    ],
    [
      "rule",
      `count('${"a ".repeat(30)}', 60) > 0`,
      `the first argument of count is an action's name or a glob with at most 16 stars, found "${"a ".repeat(30)}"`,
    ],
    [
      "rule",
      `count('${"a ".repeat(31)}', 60) > 0`,
      `the first argument of count is an action's name or a glob with at most 16 stars, found "${"a ".repeat(30)}…"`,
    ],
    ["rule", "last('a', 'inputs..x').found", "last compares a place such as 'inputs.order_id' or 'resource.id', found \"inputs..x\""],
    ["rule", "inputs.a.exists(x, x.exists(y, y.exists(z, true)))", "all, exists, exists_one, map and filter nest at most 2 deep"],
  ])("%s %s: %s", (kind, text, message) => {
    expect(checkExpression(text, kind)?.message).toBe(message);
  });

  it("and just within its bounds it is one", () => {
    expect(checkExpression(`${" ".repeat(4092)}true`, "rule")).toBe(null);
    expect(checkExpression("inputs.a.exists(x, x.exists(y, y == 1))", "rule")).toBe(null);
    expect(checkExpression(`${"!".repeat(249)}true`, "rule")).toBe(null);
    // With the two lists and their comparison, 2,000 parts.
    expect(checkExpression(`${list(999)} == ${list(998)}`, "rule")).toBe(null);
    expect(checkExpression(`action.matches('${"a".repeat(512)}')`, "rule")).toBe(null);
    expect(checkExpression("action.matches('a{1000}a{998}')", "rule")).toBe(null);
    expect(checkExpression(`count('${"*a".repeat(16)}', 60) > 1`, "rule")).toBe(null);
    expect(checkExpression("dyn(inputs.a)", "rule")).toBe(null);
    expect(checkExpression("dyn(true)", "rule")).toBe(null);
  });
});
