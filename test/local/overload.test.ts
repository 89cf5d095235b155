import { randomInt } from "node:crypto";
import { describe, expect, it } from "vitest";
import { flood } from "../faults/real/flood.ts";
import { CAN_SEE_PROCESSES } from "./gateway.ts";

const SEED = Number(process.env.FLOOD_SEED ?? randomInt(2 ** 31));
const CALLERS = 128;

describe.skipIf(!CAN_SEE_PROCESSES)(`a gateway that is asked for far more than it can do (FLOOD_SEED=${SEED})`, () => {
  it("turns away uncharged who comes too often, says when to come back, and stands by every decision", async () => {
    // What is asserted of single answers, of the record and of the time after it is in there.
    const figures = await flood({
      seed: SEED,
      seconds: 4,
      times: 10,
      callers: CALLERS,
      throttlePerSecond: 20,
      say: () => undefined,
    });
    expect(figures.turned_away).toBeGreaterThan(0);
    expect(figures.decided).toBeGreaterThan(0);
    // Two tokens, each with a second's worth at once and as much again in each of the seconds after it; and whoever comes before the new limit is learned.
    expect(figures.decided).toBeLessThanOrEqual(CALLERS + 2 * 20 * 6);
    expect(figures.answers_checked).toBeGreaterThan(0);
  }, 180_000);
});
