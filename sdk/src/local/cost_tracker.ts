import { costsOf } from "./costs.ts";
import { theDesk } from "./default.ts";
import type { CostSnapshot } from "./types.ts";

/** What one action has cost. */
export interface ActionStats {
  /** Calls that ran, those that failed included. */
  readonly count: number;
  readonly totalCost: number;
}

/** What all actions have cost, each by its name. */
export interface AllActionStats {
  readonly costs: { readonly [action: string]: number };
  readonly counts: { readonly [action: string]: number };
}

/** What `guardedAction` has spent in this process, in USD. What runs still is not among it. */
export const CostTracker = {
  getSessionTotal: (): number => snapshot().sessionTotal,

  /** Of the run that is current here. */
  getRunTotal: (): number => snapshot().runTotal,

  getActionStats,

  getSnapshot: (): CostSnapshot => snapshot(),

  /**
   * Closes the run and begins the next, with its budget whole and its total at zero. What the session has spent stays spent, and its budget with it. What
   * is under way in the old run goes on, and is counted there.
   */
  resetRun(): void {
    const desk = theDesk();
    const { scope } = desk.frame();
    scope.run.close();
    desk.openRun(scope);
  },
};

function getActionStats(action: string): ActionStats;
function getActionStats(): AllActionStats;
function getActionStats(action?: string): ActionStats | AllActionStats {
  const { actionCosts: costs, actionCounts: counts } = snapshot();
  if (action === undefined) return { costs, counts };
  return { count: own(counts, action), totalCost: own(costs, action) };
}

/** Names come from callers: only what was counted is looked at. */
const own = (amounts: { readonly [action: string]: number }, action: string): number => (Object.hasOwn(amounts, action) ? (amounts[action] ?? 0) : 0);

function snapshot(): CostSnapshot {
  const desk = theDesk();
  return costsOf(desk.authority, desk.frame().scope.run.id);
}
