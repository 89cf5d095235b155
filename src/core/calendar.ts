import { assert } from "./assert.ts";
import type { Instant } from "./time.ts";

/** The stretches in which money of agents and tenants is counted: those of the UTC calendar, and all time. */
export const BUDGET_WINDOWS = ["hour", "day", "month", "total"] as const;
export type BudgetWindow = (typeof BUDGET_WINDOWS)[number];

/** From when to when a window lasts: the end is not part of it. `null`: it never ends. */
export interface Stretch {
  readonly startsAt: Instant;
  readonly endsAt: Instant | null;
}

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** The stretch of this kind that contains an instant. */
export function stretchAt(window: BudgetWindow, at: Instant): Stretch {
  switch (window) {
    case "hour":
      return even(at, HOUR_MS);
    case "day":
      return even(at, DAY_MS);
    case "month": {
      const date = new Date(at);
      return {
        startsAt: Date.UTC(date.getUTCFullYear(), date.getUTCMonth()),
        endsAt: Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1),
      };
    }
    case "total":
      return { startsAt: 0, endsAt: null };
  }
}

/** UTC has no summer time, and instants know no leap seconds: hours and days are all of one length. */
function even(at: Instant, lengthMs: number): Stretch {
  assert(at >= 0, "no instant is before 1970");
  const startsAt = at - (at % lengthMs);
  return { startsAt, endsAt: startsAt + lengthMs };
}
