import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Order, orderAgainst, TARGETS } from "../../src/core/orders.ts";

const SUBJECT = { tenant: "acme", agent: "bot", session: "ses_1", run: "run_1", action: "mail.send" };
/** What names the subject, and what comes close to it. */
const IDS = {
  tenant: ["acme", "acm", "bot"],
  agent: ["bot", "acme", "*"],
  session: ["ses_1", "run_1", "ses_*"],
  run: ["run_1", "ses_1", "run_*"],
  action: ["mail.send", "mail.*", "*", "mail.read", "bot"],
} as const;
const NAMING: ReadonlySet<string> = new Set([
  "tenant acme",
  "agent bot",
  "session ses_1",
  "run run_1",
  "action mail.send",
  "action mail.*",
  "action *",
]);

let interventions = 0;
const order = (target: Order["target"], id: string, state: Order["state"]): Order => ({
  target,
  id,
  state,
  intervention: `int_${interventions++}`,
  at: 0,
});

const orders = fc.array(
  fc
    .constantFrom(...TARGETS)
    .chain((target) => fc.tuple(fc.constant(target), fc.constantFrom<string>(...IDS[target]), fc.constantFrom<Order["state"]>("killed", "paused")))
    .map(([target, id, state]) => order(target, id, state)),
  { maxLength: 8 },
);

describe("the order that stands against something", () => {
  it.each(TARGETS)("names its %s, and no other", (target) => {
    for (const id of IDS[target]) {
      const one = order(target, id, "paused");
      expect(orderAgainst([one], SUBJECT), id).toBe(NAMING.has(`${target} ${id}`) ? one : null);
    }
  });

  it("is a kill before a pause, then what is wider before what is narrower, then the older", () => {
    fc.assert(
      fc.property(orders, (all) => {
        const rank = ({ state, target }: Order) => (state === "killed" ? 0 : TARGETS.length) + TARGETS.indexOf(target);
        const [first = null] = all.filter(({ target, id }) => NAMING.has(`${target} ${id}`)).toSorted((a, b) => rank(a) - rank(b));
        expect(orderAgainst(all, SUBJECT)).toBe(first);
      }),
    );
  });
});
