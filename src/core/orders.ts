import { globsMeet, matchesGlob } from "./glob.ts";
import type { InterventionId } from "./ids.ts";
import type { Instant } from "./time.ts";

export const TARGETS = ["tenant", "agent", "session", "run", "action"] as const;
/** What a person can stop. */
export type Target = (typeof TARGETS)[number];

export const INTERVENTION_KINDS = ["kill", "pause", "resume", "revive"] as const;
export type InterventionKind = (typeof INTERVENTION_KINDS)[number];

/** What an intervention left in force: a kill until it is revived, a pause until it is resumed. One target may have both. */
export interface Order {
  readonly target: Target;
  /** The tenant's, session's or run's id, the agent's name, or an action's name or glob. */
  readonly id: string;
  readonly state: "killed" | "paused";
  readonly intervention: InterventionId;
  readonly at: Instant;
}

/** What an order may be about. */
export interface Subject {
  readonly tenant: string;
  readonly agent: string;
  readonly session: string;
  readonly run: string;
  /** Its name; or the globs of which something may be done, each of which an order may concern. */
  readonly action: string | readonly string[];
}

/** The order that stands against something, the first in the order of precedence; `null` where none does. */
export function orderAgainst(orders: readonly Order[], subject: Subject): Order | null {
  if (orders.length === 0) return null;
  for (const state of ["killed", "paused"] as const) {
    for (const target of TARGETS) {
      const found = orders.find((order) => order.state === state && order.target === target && names(order, subject));
      if (found !== undefined) return found;
    }
  }
  return null;
}

/** Whether an order is about this. */
function names({ target, id }: Order, subject: Subject): boolean {
  if (target !== "action") return id === subject[target];
  const { action } = subject;
  return typeof action === "string" ? matchesGlob(id, action) : action.some((glob) => globsMeet(id, glob));
}
