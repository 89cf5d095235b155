import { expect, it } from "vitest";
import { compilePolicy } from "../../src/core/policy/compile.ts";
import { documentOf } from "./playing.ts";

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
