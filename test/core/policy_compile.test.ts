import { expect, it } from "vitest";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { DEFAULT_DETECTORS, DEFAULT_KEYS } from "../../src/core/redact.ts";
import { documentOf } from "./playing.ts";

it("what permits stands by itself, and what forbids or holds among the rules", () => {
  const rules = (["permit", "forbid", "hold"] as const).map((effect) => ({ id: effect, effect, actions: ["a"] }));
  const found = compilePolicy(documentOf({ rules })).ofAction("a");
  expect(found.rules.map(({ rule }) => rule)).toEqual(["forbid", "hold"]);
  expect(found.permits.map((group) => group.map(({ rule }) => rule))).toEqual([["permit"]]);
});

it("what is hidden is what the policy says; where it says no keys, or no detectors, those that everybody means", () => {
  const redactionOf = (redact?: object) => compilePolicy(documentOf({ version: 1, ...(redact !== undefined && { redact }) })).redaction;
  const [keys, detect] = [DEFAULT_KEYS, DEFAULT_DETECTORS];
  expect(redactionOf()).toEqual({ storeInputs: "full", storeOutputs: "full", keys, detect });
  expect(redactionOf({})).toEqual(redactionOf());
  expect(redactionOf({ keys: ["pin"] })).toEqual({ storeInputs: "full", storeOutputs: "full", keys: ["pin"], detect });
  expect(redactionOf({ detect: ["email"], store_inputs: "none" })).toEqual({ storeInputs: "none", storeOutputs: "none", keys, detect: ["email"] });
  expect(redactionOf({ keys: [] })).toEqual({ storeInputs: "full", storeOutputs: "full", keys: [], detect });
  expect(redactionOf({ detect: [] })).toEqual({ storeInputs: "full", storeOutputs: "full", keys, detect: [] });
  expect(redactionOf({ keys: [], detect: [] }), "nothing").toBe(null);
  expect(redactionOf({ keys: [], detect: [], store_outputs: "none" })?.storeOutputs).toBe("none");
});

it("of a policy that names nobody, anybody may approve", () => {
  expect(compilePolicy(documentOf({ approvals: { actions: ["a"] } })).holds.chain).toEqual({ needed: 1, groups: [], fourEyes: false });
});

it("of a call is kept what some rule looks at, and nothing where none does", () => {
  const keepOf = (policy: object, action: string) => compilePolicy(documentOf(policy)).ofAction(action).keep;
  expect(keepOf({ requires: { pay: { after: ["look"] } } }, "look")).toBe(null);
  const same = { after: ["look"], same: ["inputs.id"] };
  expect(keepOf({ requires: { pay: same } }, "look")).toEqual({ paths: [["inputs", "id"]], forMs: null });
  // A call made exactly as long ago as is allowed still fits.
  expect(keepOf({ requires: { pay: { ...same, within_seconds: 60 } } }, "look")).toEqual({ paths: [["inputs", "id"]], forMs: 60_001 });
  expect(keepOf({ requires: { pay: same } }, "pay")).toBe(null);
  const where = { after: ["look"], where: "prior.inputs.a == 1 && prior.outputs.b == 2" };
  expect(keepOf({ requires: { pay: where } }, "look")?.paths).toEqual([
    ["inputs", "a"],
    ["outputs", "b"],
  ]);
  const within = { after: ["look"], same: ["inputs.id", "inputs.a"], where: "prior.inputs.id.x == prior.inputs.id.y" };
  expect(keepOf({ requires: { pay: within } }, "look")?.paths).toEqual([
    ["inputs", "a"],
    ["inputs", "id"],
  ]);
  const times = { id: "h", forbid: "pay", when: "distinct('look', 'inputs.to', 60) > 1 && last('look').outputs.ok" };
  expect(keepOf({ history: [times] }, "look")).toEqual({
    paths: [
      ["inputs", "to"],
      ["outputs", "ok"],
    ],
    forMs: null,
  });
  expect(keepOf({ history: [{ ...times, when: "distinct('look', 'inputs.to', 60) > 1" }] }, "look")).toEqual({
    paths: [["inputs", "to"]],
    forMs: 60_000,
  });
  expect(keepOf({ history: [{ id: "h", forbid: "pay", when: "count('look', 60) > 1 && sum('look', 60) > 1.0" }] }, "look")).toBe(null);
});

it("what was found for an action is remembered, for so many actions and rules and no more", () => {
  const bare = compilePolicy(documentOf({ denied_actions: ["x"] }));
  const first = bare.ofAction("a");
  expect(bare.ofAction("a")).toBe(first);
  for (let place = 1; place < 1_000; place++) bare.ofAction(`a${place}`);
  expect(bare.ofAction("a")).toBe(first);
  bare.ofAction("one more");
  expect(bare.ofAction("a")).not.toBe(first);
  expect(bare.ofAction("a")).toEqual(first);
});
