import { describe, expect, test } from "vitest";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import { compileExpression } from "../../src/core/policy/expressions.ts";
import type { Path, Prior, Scene } from "../../src/core/policy/findings.ts";
import { pastOf, type Trace, Trail } from "../../src/core/trail.ts";
import { checkExpression } from "./expression_fault.ts";

/** `last('action')` and `last('action', 'inputs.path')`: the newest earlier call, as a rule sees it. */

const SCENE: Scene = {
  subject: { id: "bot" },
  action: "cancel",
  resource: { type: "booking", id: "b1" },
  inputs: { id: "r1", by: "who" },
  tags: [],
  estimateMicroUsd: microUsdOf(0),
  context: {},
  now: 10_000,
};

let made = 0;
const trace = (at: number, action: string, inputs: JsonValue, outputs: JsonValue, more: Partial<Trace> = {}): Trace => ({
  // Any id of the right shape will do.
  id: `dec_00000000-0000-7000-8000-${String(made++).padStart(12, "0")}` as Trace["id"],
  run: "run_00000000-0000-7000-8000-000000000001",
  action,
  at,
  outcome: "success",
  endedAt: at,
  amountMicroUsd: microUsdOf(0),
  kept: { paths: [["inputs"], ["outputs"], ["resource"]], inputs, outputs, resource: { type: "booking", id: "b1" }, loopKeys: [] },
  keptUntil: null,
  ...more,
});

function ask(text: string, traces: readonly Trace[], scene: Scene = SCENE): boolean | null {
  const compiled = compileExpression(text, "rule");
  if (!compiled.ok) throw new Error(compiled.error.message);
  const trail = new Trail(null);
  for (const one of traces) trail.add(one);
  return compiled.value.evaluate(scene, pastOf(trail, scene.now), null);
}

const R1 = trace(1_000, "look", { id: "r1" }, { cabin: "economy", seats: [1, 2] });
const R1_LATER = trace(2_000, "look", { id: "r1" }, { cabin: "business" });
const R2 = trace(3_000, "look", { id: "r2" }, { cabin: "first" });

describe("the newest call", () => {
  test.each<[string, readonly Trace[], boolean | null]>([
    ["last('look').found", [], false],
    ["last('look').found", [R1], true],
    ["last('look', 'inputs.id').found", [R2], false],
    ["last('look').outputs.cabin == 'first'", [R1, R1_LATER, R2], true],
    ["last('look', 'inputs.id').outputs.cabin == 'business'", [R1, R1_LATER, R2], true],
    ["last('lo*', 'inputs.id').outputs.cabin == 'business'", [R1, R1_LATER, R2], true],
    ["last('look', 'resource.id').outputs.cabin == 'first'", [R1, R2], true],
    ["last('look').action == 'look' && last('look').outcome == 'success'", [R1], true],
    ["last('look').age == duration('9s')", [R1], true],
    ["last('look')['outputs']['seats'][1] == 2", [R1], true],
    ["last('look').outputs.seats.exists(s, s == 2)", [R1], true],
    ["last('look').outputs[inputs.by] == 1", [trace(1, "look", {}, { who: 1 })], true],
    // What is not there cannot be looked at, and then the rule fails to its safe side.
    ["last('look').outputs.cabin == 'economy'", [], null],
    ["last('look').outputs.nothing == 1", [R1], null],
    ["last('look', 'inputs.missing').found", [R1], null],
    ["!last('look').found || last('look').outputs.cabin == 'economy'", [], true],
    // What failed, was given back or ran out told nobody anything.
    ["last('look').outputs.cabin == 'business'", [R1_LATER, trace(5_000, "look", { id: "r1" }, {}, { outcome: "error" })], true],
    ["last('look').found", [trace(1, "look", {}, {}, { outcome: "released" }), trace(2, "look", {}, {}, { outcome: "expired" })], false],
    // One that is under way is the newest, and has nothing to show yet.
    ["last('look').outputs.cabin == 'economy'", [R1, trace(5_000, "look", { id: "r1" }, {}, { outcome: "pending" })], null],
    // What was not kept must not pass for what was not there.
    ["!('fraud' in last('look').outputs)", [R1], true],
    ["!('fraud' in last('look').outputs)", [{ ...R1, kept: { paths: [["inputs"]], inputs: {}, loopKeys: [] } }], null],
    ["last('look').found", [{ ...R1, kept: null }], true],
    // What nobody was told to keep is not known to be alike.
    ["last('look', 'inputs.id').found", [{ ...R1, kept: null }], false],
  ])("%s", (text, traces, wanted) => expect(ask(text, traces)).toBe(wanted));
});

test("null is alike to null, and not to what nobody kept", () => {
  const scene = { ...SCENE, inputs: { id: null } };
  const look = "last('look', 'inputs.id').found";
  expect(ask(look, [trace(1, "look", { id: null }, {})], scene)).toBe(true);
  expect(ask(look, [trace(1, "look", {}, {})], scene)).toBe(false);
  expect(ask(look, [{ ...R1, kept: null }], scene)).toBe(false);
});

test("a rule says beforehand what of earlier calls it will look at, and of the request", () => {
  const reads = (text: string) => {
    const compiled = compileExpression(text, "rule");
    if (!compiled.ok) throw new Error(compiled.error.message);
    return compiled.value.reads;
  };
  const look = (pattern: string, path: Path | null) => ({ pattern, windowMs: null, path });
  expect(reads("last('look', 'inputs.id').outputs.cabin == inputs.cabin")).toMatchObject({
    inputs: [["cabin"], ["id"]],
    history: [look("look", ["inputs", "id"]), look("look", ["outputs", "cabin"])],
  });
  expect(reads("last('look').outputs[inputs.by].x == 1")).toMatchObject({
    inputs: [["by"]],
    history: [look("look", null), look("look", ["outputs"])],
  });
  expect(reads("last('look').found && last('look').age < duration('1m')").history).toEqual([look("look", null), look("look", null)]);
  for (const text of ["last('look')['outputs'].cabin == 'x'", "last('look')['outputs']['cabin'] == 'x'"])
    expect(reads(text).history).toEqual([look("look", null), look("look", ["outputs", "cabin"])]);
  expect(reads("last('look').inputs.id == 'x'").history).toEqual([look("look", null), look("look", ["inputs", "id"])]);
  expect(reads("last('look').outputs.seats[0] == 1").history).toEqual([look("look", null), look("look", ["outputs", "seats"])]);
  // What is only known later may be anything.
  for (const text of ["last('look')[action] == 'x'", "last('look')[inputs.by].x == 1"])
    expect(reads(text).history).toEqual([look("look", null), look("look", ["inputs"]), look("look", ["outputs"])]);
  expect(reads("size(last('look')) == 6").history).toEqual([look("look", null), look("look", ["inputs"]), look("look", ["outputs"])]);
});

test.each<[string, string]>([
  ["last(action).found", "literals"],
  ["last('a b').found", "an action's name or a glob"],
  ["last('a', 'outputs.x').found", "'inputs.order_id' or 'resource.id'"],
  ["last('a', 'inputs').found", "'inputs.order_id' or 'resource.id'"],
  ["last('a', 60).found", "last("],
  ["last('a', 'inputs.x', 60).found", "last("],
  ["last('a')", "true or false"],
])("%s is refused: %s", (text, said) => expect(checkExpression(text, "rule")?.message).toContain(said));

test("where of a prerequisite has its own prior, and no last", () => expect(checkExpression("last('a').found", "where")).not.toBeNull());

const prior: Prior | null = pastOf(new Trail(null), 0).last("x", null, undefined);
test("a past without calls has no newest", () => expect(prior).toBeNull());
