import { expect, it } from "vitest";
import { type PolicyStanding, type PutIf, unmet } from "../../src/core/precondition.ts";

const V1: PolicyStanding = { version: 1, active: true, scope: "tenant", target: null };
const V2: PolicyStanding = { ...V1, version: 2 };
const ASLEEP: PolicyStanding = { ...V1, active: false };
const OF_BOT: PolicyStanding = { version: 1, active: true, scope: "agent", target: "bot" };
const OF_EVE: PolicyStanding = { ...OF_BOT, target: "eve" };

it.each<[condition: PutIf, now: PolicyStanding | null, failed: ReturnType<typeof unmet>]>([
  [{ is: null, isNot: null }, null, null],
  [{ is: null, isNot: null }, V1, null],
  [{ is: "anything", isNot: null }, V1, null],
  [{ is: "anything", isNot: null }, null, "If-Match"],
  [{ is: [V1], isNot: null }, V1, null],
  [{ is: [V2, V1], isNot: null }, { ...V1 }, null],
  [{ is: [V1], isNot: null }, V2, "If-Match"],
  [{ is: [V1], isNot: null }, ASLEEP, "If-Match"],
  [{ is: [V1], isNot: null }, OF_BOT, "If-Match"],
  [{ is: [OF_BOT], isNot: null }, OF_EVE, "If-Match"],
  [{ is: [OF_BOT], isNot: null }, OF_BOT, null],
  [{ is: [V1], isNot: null }, null, "If-Match"],
  [{ is: [], isNot: null }, V1, "If-Match"],
  [{ is: null, isNot: "anything" }, null, null],
  [{ is: null, isNot: "anything" }, V1, "If-None-Match"],
  [{ is: null, isNot: [V1] }, V1, "If-None-Match"],
  [{ is: null, isNot: [V1] }, V2, null],
  [{ is: null, isNot: [] }, V1, null],
  [{ is: [V1], isNot: "anything" }, V1, "If-None-Match"],
  [{ is: [V1], isNot: "anything" }, V2, "If-Match"],
  [{ is: "anything", isNot: "anything" }, null, "If-Match"],
])("where %j is wanted and %j stands, what fails is %j", (condition, now, failed) => {
  expect(unmet(condition, now)).toBe(failed);
});
