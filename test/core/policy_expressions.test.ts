import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compileExpression, type Expression, type ExpressionKind, ExpressionMemory } from "../../src/core/policy/expressions.ts";
import type { Past, Path, Prior, Scene } from "../../src/core/policy/findings.ts";
import { checkExpression } from "./expression_fault.ts";

const NOW = Date.UTC(2026, 6, 1, 12, 30, 15, 250);

const INPUTS: JsonValue = {
  env: "prod",
  n: 3,
  zero: 0,
  big: 9007199254740992,
  huge: 1e300,
  total: 100,
  items: [1, 2],
  cmd: "rm -rf /tmp",
  people: [
    { name: "Ada", age: 36 },
    { name: "Bob", age: 17 },
  ],
  nothing: null,
  yes: true,
  emoji: "a🐱b",
  "odd name": { x: 1 },
};

const SCENE: Scene = {
  subject: { id: "bot", type: "agent", team: "ops" },
  action: "db.drop",
  resource: { type: "table", id: "t1", owner: "bot" },
  inputs: INPUTS,
  tags: ["urgent", "eu"],
  estimateMicroUsd: microUsdOf(600_000),
  context: { ip: "10.0.0.1" },
  now: NOW,
};

const PRIOR: Prior = {
  action: "lookup",
  inputs: { id: "R1" },
  outputs: { cabin: "business", insurance: "no" },
  knows: () => true,
  outcome: "success",
  ageMs: 90_500,
};

const PAST: Past = { count: () => 3, distinct: () => 2, sum: () => 1.5, last: () => null };

function compiled(text: string, kind: ExpressionKind = "rule"): Expression {
  const result = compileExpression(text, kind);
  if (!result.ok) throw new Error(`${text}: ${result.error.message}`);
  return result.value;
}

const asked = (text: string, inputs: JsonValue = INPUTS): boolean | null => compiled(text).evaluate({ ...SCENE, inputs }, PAST, null);

describe("what a condition means", () => {
  test.each<[string, boolean | null]>([
    ["true", true],
    ["inputs.env == 'prod'", true],
    ["inputs['env'] == 'prod'", true],
    ["inputs['odd name'].x == 1", true],
    ["estimate_usd == 0.6", true],
    ["estimate_usd > 0.5", true],
    ["estimate_usd + 1 > 1.5", true],
    ["estimate_usd == 1", false],
    ["resource.owner == subject.id", true],
    ["action == 'db.drop'", true],
    ["action.startsWith('db.')", true],
    ["'eu' in tags", true],
    ["!('us' in tags)", true],
    ["tags.size() == 2", true],
    ["context.ip.startsWith('10.')", true],
    ["now > timestamp('2026-07-01T12:30:15Z')", true],
    ["now - timestamp('2026-07-01T12:30:00Z') == duration('15.25s')", true],
    ["now + duration('1h') > now", true],
    ["now.getHours() == 12 && now.getMinutes() == 30 && now.getSeconds() == 15 && now.getMilliseconds() == 250", true],
    ["now.getHours('Europe/Berlin') == 14", true],
    ["now.getHours('-02:00') == 10", true],
    ["now.getFullYear() == 2026 && now.getMonth() == 6 && now.getDate() == 1 && now.getDayOfMonth() == 0", true],
    ["now.getDayOfWeek() == 3 && now.getDayOfYear() == 181", true],
    ["string(now) == '2026-07-01T12:30:15.25Z'", true],
    ["timestamp('2026-02-30T00:00:00Z') < now", null],
    ["duration('1h30m').getMinutes() == 90 && duration('1234ms').getMilliseconds() == 234", true],
    ["string(duration('-1.5s')) == '-1.5s'", true],
    // Numbers of JSON are doubles, whole ones in a policy's text are ints: they are worth the same.
    ["inputs.n == 3", true],
    ["inputs.n == 3.0", true],
    ["inputs.n != 4", true],
    ["3 == inputs.n", true],
    ["inputs.n * 2 > 4", true],
    ["2 * inputs.n == 6", true],
    ["inputs.n + 1.5 == 4.5", true],
    ["inputs.items.size() * 50 == inputs.total", true],
    ["inputs.n % 2 == 1", true],
    ["inputs.n / 2 == 1.5", true],
    ["3 / 2 == 1", true],
    ["0.1 + 0.2 == 0.3 && 0.1 + 0.7 >= 0.8 && 1.1 + 2.2 <= 3.3", true],
    ["0.3 - 0.1 == 0.2 && 100.3 - 100 == 0.3 && inputs.n - 2.9 == 0.1", true],
    ["3 * 1.1 == 3.3 && 1.1 * 1.1 == 1.21 && inputs.n * 0.1 == 0.3", true],
    ["900000000.123456 + 0.000001 == 900000000.123457", true],
    ["estimate_usd + 0.1 > 0.7 || estimate_usd * 3 > 1.8", false],
    ["-7 / 2 == -3 && -7 % 2 == -1", true],
    ["-inputs.n < 0", true],
    ["inputs.n in [1, 2, 3]", true],
    ["inputs.items == [1, 2]", true],
    ["inputs.items[1] == 2", true],
    ["inputs.items[inputs.n - 2] == 2", true],
    ["inputs.items[2] == 2", null],
    ["inputs.items[-1] == 2", null],
    ["inputs.items[0.5] == 2", null],
    ["1 in {1: 'a'} && inputs.n in {3: 'a'}", true],
    ["{1: 'a'}[inputs.n - 2] == 'a'", true],
    ["{'a': 1, 'a': 2}.a == 1", null],
    ["inputs.big == 9007199254740992", true],
    ["inputs.big == 9007199254740993", false],
    ["9223372036854775807 > 9223372036854775806", true],
    ["-9223372036854775808 < 0", true],
    ["type(inputs.n) == double && type(3) == int && type(now) == google.protobuf.Timestamp", true],
    ["string(inputs.n) == '3' && string(2.5) == '2.5' && string(-0.0) == '-0'", true],
    ["int(2.9) == 2 && int('-12') == -12 && int('0x1f') == 31", null],
    ["double('1e3') == 1000 && bool('true')", true],
    ["-0.0 == 0", true],
    ["'a' < 'b' && 'a' < 'aa' && 'B' < 'a'", true],
    ["'\uFFFF' < '🐱'", true],
    ["false < true", true],
    ["inputs.nothing == null", true],
    ["inputs.yes", true],
    ["inputs.env == 3", false],
    ["inputs.env < 3", null],
    ["inputs.people.all(p, p.age > 18)", false],
    ["inputs.people.exists(p, p.name == 'Bob')", true],
    ["inputs.people.exists_one(p, p.age > 18)", true],
    ["inputs.people.filter(p, p.age > 18).size() == 1", true],
    ["inputs.people.map(p, p.name) == ['Ada', 'Bob']", true],
    ["inputs.people.map(p, p.age > 18, p.name) == ['Ada']", true],
    ["inputs.exists(name, name == 'env')", true],
    ["inputs.items.all(a, inputs.people.all(b, b.age > a))", true],
    ["inputs.people.exists(inputs, inputs.name == 'Ada')", true],
    ["inputs.cmd.contains('rm -rf') && inputs.cmd.endsWith('tmp')", true],
    ["inputs.cmd.matches('^rm\\\\s+-[rf]+')", true],
    ["inputs.cmd.matches('^tmp')", false],
    ["'Straße ABC'.lowerAscii() == 'straße abc' && 'É a'.upperAscii() == 'É A' && 'É A'.lowerAscii() == 'É a'", true],
    ["inputs.emoji.size() == 3 && inputs.emoji.indexOf('b') == 2 && inputs.emoji.substring(2) == 'b'", true],
    ["'abc'.substring(0, 2) == 'ab' && 'abc'.indexOf('z') == -1", true],
    ["'abc'.substring(2, 1) == ''", null],
    ["' a '.trim() == 'a' && 'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b'", true],
    ["size('abc') == 3 && size({'a': 1}) == 1", true],
    ["has(inputs.env) && !has(inputs.missing)", true],
    ["has(inputs.missing.deeper)", null],
    ["has(inputs.env.deeper)", null],
    ["inputs.n > 2 ? inputs.env == 'prod' : false", true],
    ["inputs.n ? true : false", null],
    ["!inputs.n", null],
    ["inputs", null],
    ["inputs.n", null],
    ["inputs == inputs", true],
  ])("%s is %s", (text, wanted) => expect(asked(text)).toBe(wanted));

  test("inputs that were not sent are an empty mapping", () => {
    const { inputs: _, ...bare } = SCENE;
    expect(compiled("inputs == {} && inputs.size() == 0 && !has(inputs.env)").evaluate(bare, null, null)).toBe(true);
    expect(compiled("inputs.env == 'prod'").evaluate(bare, null, null)).toBe(null);
  });

  test.each<[string, boolean | null]>([
    ["prior.outputs.cabin == 'business' || prior.outputs.insurance == 'yes'", true],
    ["prior.inputs.id == inputs.reservation", null],
    ["prior.action == 'lookup' && prior.outcome == 'success'", true],
    ["prior.age < duration('10m')", true],
    ["prior.age == duration('90.5s')", true],
    ["prior.age < duration('90s')", false],
    ["has(prior.outputs.cabin) && !has(prior.outputs.seat)", true],
    ["prior.outputs.seat == 'a'", null],
  ])("of an earlier decision, %s is %s", (text, wanted) => expect(compiled(text, "where").evaluate(SCENE, null, PRIOR)).toBe(wanted));
});

describe("a condition that cannot be evaluated", () => {
  test.each<[string, boolean | null]>([
    // A side that decides is enough, whichever it is and whatever the other came to.
    ["inputs.missing == 1 || true", true],
    ["true || inputs.missing == 1", true],
    ["inputs.missing == 1 && false", false],
    ["false && inputs.missing == 1", false],
    ["inputs.missing == 1 || false", null],
    ["false || inputs.missing == 1", null],
    ["inputs.missing == 1 && true", null],
    ["inputs.n || true", true],
    ["inputs.n && true", null],
    ["!(inputs.missing == 1)", null],
    ["inputs.people.exists(p, p.nick == 'x' || p.age > 18)", true],
    ["inputs.people.exists(p, p.nick == 'x')", null],
    ["[inputs.env, inputs.n].exists(x, x > 2)", true],
    ["[inputs.env, inputs.n].all(x, x > 3)", false],
    ["[inputs.env, inputs.n].all(x, x > 2)", null],
    ["inputs.people.all(p, p.nick == 'x' || p.age < 20)", null],
    ["inputs.people.all(p, p.nick == 'x' && p.age < 0)", false],
    ["inputs.people.exists_one(p, p.nick == 'x' || p.age > 18)", null],
    ["inputs.people.map(p, p.nick).size() == 2", null],
    ["inputs.people.filter(p, p.age).size() == 2", null],
    ["[1, inputs.missing].size() == 2", null],
    ["{'a': inputs.missing}.size() == 1", null],
    ["inputs.missing in [1]", null],
    ["1 in inputs.missing", null],
    ["'a' in inputs.env", null],
    ["1 in inputs", false],
    ["1 / 0 == 1", null],
    ["1 % 0 == 1", null],
    ["inputs.n / 0 > 1", null],
    ["inputs.n / inputs.zero > 1", null],
    ["inputs.n / 0.0 > 1.0", null],
    ["inputs.n % 0 == 1", null],
    ["2.5 + inputs.n % 1.5 > 0.0", null],
    ["9223372036854775807 + 1 > 0", null],
    ["9223372036854775807 * 2 > 0", null],
    ["-9223372036854775808 - 1 < 0", null],
    ["-9223372036854775808 / -1 > 0", null],
    ["-(-9223372036854775808) > 0", null],
    ["int(inputs.huge) > 0", null],
    ["inputs.huge * inputs.huge > 1.0", true],
    ["inputs.huge * inputs.huge - inputs.huge * inputs.huge < 1.0", false],
    ["inputs.cmd.contains(1)", null],
    ["inputs.n.matches('a')", null],
    ["inputs.n.size() == 1", null],
    ["inputs.env + 1 == 'prod1'", null],
    ["timestamp('yesterday') < now", null],
    ["now + duration('9999999h') > now || true", true],
    ["now + duration('9999999999h') > now", null],
    ["duration('1 hour') > duration('1s')", null],
  ])("%s is %s", (text, wanted) => expect(asked(text)).toBe(wanted));

  test("a past that answers null, or is not there, makes its condition unanswerable and no more", () => {
    const blind: Past = { count: () => 1, distinct: () => null, sum: () => null, last: () => null };
    expect(compiled("distinct('a', 'inputs.x', 60) > 1").evaluate(SCENE, blind, null)).toBe(null);
    expect(compiled("sum('a', 60) > 1 || count('a', 60) == 1").evaluate(SCENE, blind, null)).toBe(true);
    expect(compiled("count('a', 60) == 1").evaluate(SCENE, null, null)).toBe(null);
    const broken: Past = {
      ...blind,
      count: () => {
        throw new Error("broken");
      },
    };
    expect(compiled("count('a', 60) == 1").evaluate(SCENE, broken, null)).toBe(null);
    expect(compiled("prior.outcome == 'success'", "where").evaluate(SCENE, null, null)).toBe(null);
  });
});

describe("only what a value has of its own is there", () => {
  const hostile: JsonValue = JSON.parse(
    '{"__proto__": {"admin": true}, "constructor": {"name": "mine"}, "hasOwnProperty": 1, "list": [1], "text": "abc", "toString": "own"}',
  );

  test.each<[string, boolean | null]>([
    ["inputs.constructor == 1", null],
    ["has(inputs.constructor)", false],
    ["has(inputs.__proto__)", false],
    ["has(inputs.toString)", false],
    ["inputs.__proto__ == inputs", null],
    ["inputs['__proto__'] != null", null],
    ["inputs['constructor'] != null", null],
    ["'constructor' in inputs", false],
    ["inputs.items.length == 2", null],
    ["inputs.items['length'] == 2", null],
    ["inputs.env.length == 4", null],
    ["inputs.people.map(p, p.constructor).size() == 2", null],
    ["{'a': 1}.size == 1", null],
    ["has(subject.valueOf) || has(context.hasOwnProperty)", false],
    ["type(inputs.constructor) == string", null],
    ["now.ms == 1", null],
  ])("%s is %s", (text, wanted) => {
    const result = compileExpression(text, "rule");
    // Some the type check finds already.
    expect(result.ok ? result.value.evaluate(SCENE, null, null) : null).toBe(wanted);
  });

  test.each<[string, boolean | null]>([
    ["inputs.__proto__.admin", true],
    ["inputs.admin", null],
    ["has(inputs.admin)", false],
    ["inputs.constructor.name == 'mine'", true],
    ["inputs.toString == 'own' && inputs.text == 'abc'", true],
    ["inputs.hasOwnProperty == 1", true],
    ["inputs.size() == 6", true],
    ["inputs.exists(k, k == '__proto__')", true],
    ["inputs == inputs && inputs != {}", true],
  ])("an own member of such a name is a member like any other: %s is %s", (text, wanted) => expect(asked(text, hostile)).toBe(wanted));

  test("what a caller's literal leaves undefined is not there", () => {
    // No JSON has it; whoever calls from JavaScript may.
    const inputs = { gone: undefined } as unknown as JsonValue;
    expect(asked("has(inputs.gone)", inputs)).toBe(false);
    expect(asked("'gone' in inputs", inputs)).toBe(false);
    expect(asked("inputs.gone == null", inputs)).toBe(null);
    expect(asked("inputs.gone == inputs.gone", inputs)).toBe(null);
    expect(asked("inputs.gone", inputs)).toBe(null);
  });
});

describe("a text that is no condition is refused when it is compiled", () => {
  test.each<[ExpressionKind, string, RegExp, number | null]>([
    ["rule", "", /found nothing/, 0],
    ["rule", "inputs.env ==", /the end/, 13],
    ["rule", "(inputs.n == 3", /Expected \), got the end/, 14],
    ["rule", "inputs.n = 3", /Unexpected character: =/, 9],
    ["rule", "foo == 1", /unknown name foo \(known are subject/, 0],
    ["rule", "true || imputs.n == 1", /unknown name imputs, did you mean inputs\?/, 8],
    ["rule", "outputs.x == 1", /no outputs here/, 0],
    ["rule", "prior.outcome == 'x'", /prior is known only in where/, 0],
    ["rule", "inputs.cmd.containz('x')", /unknown function containz, did you mean contains\?/, 0],
    ["rule", "cuont('a', 60) > 1", /unknown function cuont, did you mean count\?/, 0],
    ["rule", "action == 1", /string == int/, 0],
    ["rule", "true && action < 2.0", /string < double/, 8],
    ["rule", "estimate_usd > '1'", /double > string/, 0],
    ["rule", "now > 5", /Timestamp > int/, 0],
    ["rule", "action", /true or false \(bool\), found string/, 0],
    ["rule", "inputs.n + 1 == 2 ? 1 : 2", /true or false \(bool\), found int/, 0],
    ["rule", "tags[0]", /found string/, 0],
    ["rule", "action.foo == 1", /Cannot index type 'string'/, null],
    ["rule", "action && true", /requires bool operands, got 'string'/, null],
    ["rule", "size(1) == 1", /size\(int\)/, 0],
    ["rule", "1u == 1u", /uint and bytes are not available/, 0],
    ["rule", "b'a' == b'a'", /uint and bytes are not available/, null],
    ["rule", "cel.bind(a, 1, a == 1)", /not available/, 0],
    ["rule", "inputs.?a == 1", /./, null],
    ["rule", "9223372036854775808 > 0", /at most 9223372036854775807/, 0],
    ["rule", "action.matches(inputs.p)", /literal text/, 15],
    ["rule", "action.matches('a(')", /no regular expression of RE2.*missing closing/, 15],
    ["rule", "action.matches('(?=a)')", /no look-around/, 15],
    ["rule", "action.matches('((a{100}){100}){100}')", /RE2|too large/, 15],
    ["rule", `action.matches('${"a".repeat(513)}')`, /at most 512 characters/, 15],
    ["rule", "now.getHours(action) == 1", /a time zone is a literal name/, 13],
    ["rule", "now.getHours('Europe/Atlantis') == 1", /a time zone is a literal name/, 13],
    ["rule", "inputs.a.exists(x, x.exists(y, y.exists(z, true)))", /nest at most 2 deep/, 31],
    ["rule", "inputs.a.exists(1, true)", /./, null],
    ["where", "count('a', 60) > 1", /count looks at the history, which where does not/, 0],
    ["where", "prior == 1", /./, null],
    ["where", "prior.inputz.x == 1", /inputz/, null],
    ["where", "prior.outcome == 1", /string == int/, 0],
    ["where", "prior.age < 10", /Duration < int/, 0],
    ["where", "has(prior.nothing)", /prior has no nothing/, null],
  ])("%s: %s", (kind, text, message, offset) => {
    const fault = checkExpression(text, kind);
    expect(fault?.message).toMatch(message);
    expect(fault?.message).not.toMatch(/\n|\^|RPAREN|google\.protobuf/);
    if (offset !== null) expect(fault?.offset).toBe(offset);
  });

  test("a good one is not", () => expect(checkExpression("inputs.n == 3", "rule")).toBe(null));
});

describe("looking back", () => {
  test.each<[string, string]>([
    ["count('read_*', 3600) > 0", 'count("read_*",3600000)'],
    ["count('a', 0.001) > 0", 'count("a",1)'],
    ["count('a', 2678400) > 0", 'count("a",2678400000)'],
    ["distinct('a', 'inputs.customer', 60) > 0", 'distinct("a",["inputs","customer"],60000)'],
    ["distinct('a', 1.5, 'outputs[\"x y\"].z') > 0", 'distinct("a",["outputs","x y","z"],1500)'],
    ["sum('a', 'inputs.amount', 60) > 0", 'sum("a",["inputs","amount"],60000)'],
    ["sum('a', 60, 'inputs.amount') > 0.0", 'sum("a",["inputs","amount"],60000)'],
    ["sum('a', 60) > 0", 'sum("a",["cost_usd"],60000)'],
    ["sum('a', 'cost_usd', 60) > 0", 'sum("a",["cost_usd"],60000)'],
  ])("%s asks the past for %s", (text, wanted) => {
    const calls: string[] = [];
    const record =
      (name: string) =>
      (...args: readonly unknown[]): number => {
        calls.push(`${name}(${args.map((arg) => JSON.stringify(arg)).join(",")})`);
        return 1;
      };
    const past: Past = { count: record("count"), distinct: record("distinct"), sum: record("sum"), last: () => null };
    const expression = compiled(text);
    expect(expression.evaluate(SCENE, past, null)).toBe(true);
    expect(calls).toEqual([wanted]);
    const [look] = expression.reads.history;
    expect(JSON.stringify([look?.pattern, ...(look?.path === null ? [] : [look?.path]), look?.windowMs])).toBe(
      wanted.replace(/^\w+\((.*)\)$/, "[$1]"),
    );
  });

  test.each<[string, RegExp, number]>([
    ["count(action, 60) > 0", /count wants literals/, 6],
    ["count('a', inputs.n) > 0", /count wants literals/, 11],
    ["count('a', 30 * 60) > 0", /count wants literals/, 11],
    ["count('a', -60) > 0", /count wants literals/, 11],
    ["count('a', 0) > 0", /more than 0 and at most 2678400 seconds \(31 days\)/, 11],
    ["count('a', 2678401) > 0", /found 2678401/, 11],
    ["count('a', 2678400.001) > 0", /found 2678400.001/, 11],
    ["count('a', 1.0005) > 0", /at most three decimals/, 11],
    ["count('a b', 60) > 0", /an action's name or a glob.*found "a b"/, 6],
    ["count('', 60) > 0", /an action's name or a glob/, 6],
    [`count('${"*".repeat(17)}', 60) > 0`, /at most 16 stars/, 6],
    ["count('a', '60') > 0", /wanted count\('action', seconds\)/, 0],
    ["count('a', 'inputs.x', 60) > 0", /wanted count\('action', seconds\)/, 0],
    ["distinct('a', 60) > 0", /wanted distinct\('action', 'inputs.path', seconds\)/, 0],
    ["distinct('a', 'foo.x', 60) > 0", /begins with inputs or outputs.*found "foo.x"/, 14],
    ["distinct('a', 'inputs..x', 60) > 0", /begins with inputs or outputs/, 14],
    ["sum('a', 'cost_usd.x', 60) > 0", /or is cost_usd/, 9],
  ])("%s is refused", (text, message, offset) => {
    const fault = checkExpression(text, "rule");
    expect(fault?.message).toMatch(message);
    expect(fault?.offset).toBe(offset);
  });
});

describe("what a condition reads is known beforehand", () => {
  test.each<[string, readonly Path[]]>([
    ["true", []],
    ["inputs.a.b == 1", [["a", "b"]]],
    ["inputs['a'].b == 1", [["a", "b"]]],
    ["has(inputs.a.b)", [["a", "b"]]],
    ["inputs.a.b == 1 && inputs.a == 2", [["a"]]],
    ["inputs.a == 2 && inputs.a.b.c == 1 && inputs.ab == 1", [["a"], ["ab"]]],
    ["inputs.items[0].name == 'x'", [["items"]]],
    ["inputs.items[inputs.n].name == 'x'", [["items"], ["n"]]],
    ["inputs[inputs.key] == 1", [[]]],
    ["inputs[action] == 1", [[]]],
    ["inputs['a'] == 1", [["a"]]],
    ["inputs == {}", [[]]],
    ["'a' in inputs", [[]]],
    ["inputs.exists(k, k == 'a') && inputs.b == 1", [[]]],
    ["inputs.people.exists(p, p.age > inputs.least)", [["people"], ["least"]]],
    ["inputs.people.exists(inputs, inputs.age > 1)", [["people"]]],
    ["inputs.people.map(inputs, inputs.age) == [inputs.x]", [["people"], ["x"]]],
    ["inputs.a.contains(inputs.b)", [["a"], ["b"]]],
    ["{'a': inputs.c}.a == (inputs.n > 1 ? [inputs.d][0] : -inputs.e)", [["c"], ["n"], ["d"], ["e"]]],
  ])("%s reads %j of the inputs", (text, paths) => {
    const { inputs } = compiled(text).reads;
    expect([...inputs].sort()).toEqual([...paths].sort());
  });

  const BARE = { inputs: [], subject: false, resource: false, estimate: false, context: false, now: false, history: [], constant: false };
  test.each<[string, object]>([
    ["true", { constant: true }],
    ["1 + 1 == 2", { constant: true }],
    ["action == 'a'", {}],
    ["'a' in tags", {}],
    ["subject.id == 'a' && subject.type == 'b' && subject.kind == 'c'", {}],
    ["subject.team == 'a'", { subject: true }],
    ["subject == {}", { subject: true }],
    ["subject[action] == 'a'", { subject: true }],
    ["resource.type == 'a' && resource.id == 'b'", {}],
    ["resource.kind == 'a'", { resource: true }],
    ["has(resource.owner)", { resource: true }],
    ["estimate_usd > 1", { estimate: true }],
    ["context.x == 1", { context: true }],
    ["now.getHours() == 1", { now: true }],
    ...["all(now, now == 'x')", "exists(now, now == 'x')", "exists_one(now, now == 'x')", "map(now, now) == []", "filter(now, now == 'x') == []"].map(
      (bound): [string, object] => [`tags.${bound}`, {}],
    ),
    ["count('a', 60) > 1", { history: [{ pattern: "a", windowMs: 60_000, path: null }] }],
    ["distinct('a', 'inputs.x', 60) > 1", { history: [{ pattern: "a", windowMs: 60_000, path: ["inputs", "x"] }] }],
  ])("%s reads %j", (text, wanted) => {
    expect(compiled(text).reads).toEqual({ ...BARE, prior: { inputs: [], outputs: [], outcome: false }, ...wanted });
  });

  test("of an earlier decision too", () => {
    const reads = compiled(
      "prior.inputs.id == inputs.id && (prior.outputs.a.b == 1 || prior.outputs.a == 2) && prior.age > duration('1s')",
      "where",
    ).reads;
    expect(reads.prior).toEqual({ inputs: [["id"]], outputs: [["a"]], outcome: false });
    expect(reads.inputs).toEqual([["id"]]);
    expect(compiled("prior.outcome == 'error' && prior.outputs == {}", "where").reads.prior).toEqual({ inputs: [], outputs: [[]], outcome: true });
  });
});

const TEXTS = [
  "inputs.a == 1",
  "inputs.a.b == inputs.b.a",
  "has(inputs.a.b) && inputs.a.b != null",
  "inputs.a < inputs.b",
  "inputs.a + inputs.b == inputs.c",
  "inputs.a * 2 > inputs.b.size()",
  "inputs.a % inputs.b == 0",
  "inputs.a.all(x, x == inputs.b || x in inputs.c)",
  "inputs.a.map(x, x.a).exists(y, y == 1)",
  "inputs.a[inputs.b] == 'x'",
  "inputs.a['b'].contains(inputs.c)",
  "inputs.a.matches('^a+$') || inputs.b",
  "inputs.a ? inputs.b : inputs.c",
  "!inputs.a && -inputs.b < 0",
  "string(inputs.a) == inputs.b && int(inputs.c) > 0",
  "timestamp(inputs.a) < now || duration(inputs.b) > duration('1s')",
  "inputs.a.split(inputs.b).join(inputs.c).substring(1) == inputs.a.lowerAscii()",
  "inputs.exists(k, inputs[k] == inputs.a)",
  "size(inputs.a) > 1 && inputs.a == inputs.b",
  "inputs.a in inputs.b || type(inputs.a) == type(inputs.b)",
];

const name = fc.constantFrom("a", "b", "c", "__proto__", "constructor");
const { value: json } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom<JsonValue>(null, true, false, 0, -0, 1, 2, -1, 0.5, 1e300, "", "a", "aa", "x"),
    fc.jsonValue() as fc.Arbitrary<JsonValue>, // it makes nothing but JSON
    fc.array(tie("value"), { maxLength: 4 }),
    fc
      .array(fc.tuple(name, tie("value")), { maxLength: 4 })
      .map((members) => JSON.parse(`{${members.map(([k, v]) => `"${k}":${JSON.stringify(v)}`).join(",")}}`)),
  ),
}));
const mapping = fc.array(fc.tuple(name, json), { maxLength: 5 }).map((members): JsonValue => {
  return JSON.parse(`{${members.map(([k, v]) => `"${k}":${JSON.stringify(v)}`).join(",")}}`);
});

describe("laws", () => {
  const all = TEXTS.map((text) => compiled(text));

  test("whatever the inputs, a condition answers true, false or null and never throws", () => {
    fc.assert(
      fc.property(fc.oneof(mapping, json), fc.constantFrom(...all), (inputs, expression) => {
        expect([true, false, null]).toContain(expression.evaluate({ ...SCENE, inputs }, null, null));
      }),
      { numRuns: 3000 },
    );
  });

  test("what a condition says it reads is all it needs", () => {
    fc.assert(
      fc.property(mapping, fc.constantFrom(...all), (inputs, expression) => {
        const kept = project(inputs, expression.reads.inputs);
        expect(expression.evaluate({ ...SCENE, inputs: kept }, null, null)).toBe(expression.evaluate({ ...SCENE, inputs }, null, null));
      }),
      { numRuns: 3000 },
    );
  });

  test("a text of whatever characters compiles or is refused, and never throws", () => {
    const token = fc.constantFrom(
      ..."inputs . a ( ) [ ] { } : , ? == && || ! - + * in 1 2.5 'x' true null has count 60 x exists map now prior \n \" \\".split(" "),
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(token, { maxLength: 25 }).map((tokens) => tokens.join(" ")),
          fc.string(),
        ),
        (text) => {
          const fault = checkExpression(text, "rule");
          expect(fault === null || fault.message.length > 0).toBe(true);
        },
      ),
      { numRuns: 3000 },
    );
  });
});

/** What is left of a mapping when only what lies on the paths is kept: the mappings on the way stay, emptied. */
function project(value: JsonValue, paths: readonly Path[]): JsonValue {
  if (paths.some((path) => path.length === 0)) return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const members = Object.entries(value).flatMap(([key, member]): [string, JsonValue][] => {
    const below = paths.filter((path) => path[0] === key).map((path) => path.slice(1));
    return below.length === 0 ? [] : [[key, project(member, below)]];
  });
  return JSON.parse(`{${members.map(([key, member]) => `${JSON.stringify(key)}:${JSON.stringify(member)}`).join(",")}}`);
}

describe("hostile texts are refused", () => {
  test.each<[string, string]>([
    ["too long", `true || ${"x".repeat(4096)}`],
    ["parentheses", `${"(".repeat(2000)}true${")".repeat(2000)}`],
    ["lists", `${"[".repeat(2000)}1${"]".repeat(2000)} == []`],
    ["negations", `${"!".repeat(4000)}true`],
    ["a chain of additions", `${Array(900).fill("1").join("+")} == 1`],
    ["a chain of members", `inputs${".a".repeat(1900)} == 1`],
    ["a chain of choices", `${"true ? true : ".repeat(250)}true`],
    ["too many parts", `[${Array(2040).fill("1").join(",")}] == []`],
  ])("%s", (_, text) => {
    const started = performance.now();
    expect(checkExpression(text, "rule")?.message).toMatch(/at most|Exceeded/);
    expect(performance.now() - started).toBeLessThan(500);
  });

  test("a long list of alternatives is not hostile", () => {
    const text = Array.from({ length: 150 }, (_, i) => `inputs.x == ${i}`).join(" || ");
    expect(compiled(text).evaluate({ ...SCENE, inputs: { x: 149 } }, null, null)).toBe(true);
  });
});

describe("hostile inputs of 256 KiB are answered in time, or given up", () => {
  const long = "a".repeat(131_072);
  const numbers = Array.from({ length: 60_000 }, (_, i) => i);
  const nested = (): JsonValue => Array.from({ length: 60_000 }).reduce((inner: JsonValue) => [inner], 1);
  test.each<[string, JsonValue, boolean | null]>([
    ["inputs.xs.all(x, x < 60000)", { xs: numbers }, true],
    ["inputs.xs.all(x, inputs.xs.all(y, x + y >= 0.0))", { xs: numbers }, null],
    ["inputs.xs.all(x, x in inputs.xs)", { xs: numbers }, null],
    // What could not pay for its work cannot be saved by the other side.
    ["inputs.xs.all(x, x in inputs.xs) || true", { xs: numbers }, null],
    ["!(inputs.xs.map(x, inputs.xs.filter(y, y > x)).size() == 1 && false)", { xs: numbers }, null],
    ["inputs.xs.all(x, size(inputs.s) > 0)", { xs: numbers, s: long }, null],
    ["inputs.xs.all(x, !inputs.s.contains('b'))", { xs: numbers, s: long }, null],
    ["inputs.xs.all(x, inputs.s + 'x' != inputs.s)", { xs: numbers, s: long }, null],
    ["inputs.xs.all(x, inputs.m.size() > 0)", { xs: numbers, m: Object.fromEntries(numbers.slice(0, 5000).map((n) => [`k${n}`, n])) }, null],
    ["inputs.xs.all(x, string(now) != '')", { xs: numbers }, null],
    ["inputs.xs.all(x, now.getHours('Europe/Berlin') >= 0)", { xs: numbers }, null],
    ["inputs.s.split('').map(c, inputs.s).join('').size() > 1", { s: long }, null],
    ["inputs.s.contains(inputs.t)", { s: long + long, t: `b${long}` }, null],
    ["inputs.s.matches('(a+)+$')", { s: `${long}${long}b` }, false],
    ["inputs.s.matches('(a|aa)+$')", { s: `${long}b` }, false],
    ["inputs.s.matches('(a?){100}a{100}b$')", { s: long }, null],
    ["inputs.a == inputs.b", { a: nested(), b: nested() }, null],
  ])("%s", (text, inputs, wanted) => {
    const expression = compiled(text);
    const started = performance.now();
    expect(expression.evaluate({ ...SCENE, inputs }, null, null)).toBe(wanted);
    // Some tens of milliseconds; the rest is for a busy machine.
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

describe("conditions are remembered", () => {
  test("a text that compiles answers, one that does not answers null, as often as it is asked", () => {
    const memory = new ExpressionMemory();
    for (let i = 0; i < 2; i++) {
      expect(memory.rule("count('a', 60) == 3", SCENE, PAST, { steps: 1_000_000 })).toBe(true);
      expect(memory.where("prior.outcome == 'success'", SCENE, PRIOR, { steps: 1_000_000 })).toBe(true);
      expect(memory.rule("no such text", SCENE, PAST, { steps: 1_000_000 })).toBe(null);
      expect(memory.rule("prior.outcome == 'success'", SCENE, PAST, { steps: 1_000_000 })).toBe(null);
    }
    expect(memory.find("inputs.n == 3", "rule")).toBe(memory.find("inputs.n == 3", "rule"));
  });

  test("no more than it is to remember, and what was asked longest ago goes first", () => {
    // Of these there is room for two.
    const memory = new ExpressionMemory(150);
    const first = memory.find("inputs.n == 1", "rule");
    const second = memory.find("inputs.n == 2", "rule");
    expect(memory.find("inputs.n == 1", "rule")).toBe(first);
    memory.find("inputs.n == 3", "rule");
    expect(memory.find("inputs.n == 1", "rule")).toBe(first);
    expect(memory.find("inputs.n == 2", "rule")).not.toBe(second);
  });

  test("a regular expression counts for what it takes, not for its few characters", () => {
    const memory = new ExpressionMemory();
    const small = Array.from({ length: 1_000 }, (_, n) => `inputs.n == ${n}`);
    const first = small.map((text) => memory.find(text, "rule"));
    expect(small.map((text) => memory.find(text, "rule"))).toEqual(first);
    // A short text each, and some megabytes of memory.
    for (let n = 1; n <= 10; n++) {
      const large = Array.from({ length: 40 }, (_, place) => `inputs.a.matches('a{900}b{${n}}c{${place}}')`).join(" || ");
      expect(memory.find(large, "rule")).toBe(memory.find(large, "rule"));
    }
    const again = small.map((text) => memory.find(text, "rule"));
    expect(again.filter((expression, place) => expression === first[place])).toEqual([]);
  });

  test("texts that are no conditions do not fill it for ever", () => {
    const memory = new ExpressionMemory(10_000);
    const good = memory.find("inputs.n == 1", "rule");
    for (let n = 0; n < 9; n++) memory.find("(".repeat(1_000 + n), "rule");
    expect(memory.find("inputs.n == 1", "rule")).toBe(good);
    for (let n = 0; n < 9; n++) memory.find("[".repeat(1_000 + n), "rule");
    expect(memory.find("inputs.n == 1", "rule")).toBe(good);
    for (let n = 0; n < 10; n++) memory.find("{".repeat(1_000 + n), "rule");
    expect(memory.find("inputs.n == 1", "rule")).not.toBe(good);
  });
});
