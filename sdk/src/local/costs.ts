import type { RunId } from "../../../src/core/ids.ts";
import type { Authority } from "./authority.ts";
import type { CostSnapshot } from "./types.ts";

/** What a session has spent, in USD: what was reported, and what ran out without a report. */
export function costsOf(authority: Authority, run: RunId): CostSnapshot {
  // What has run out by now counts.
  authority.pass();
  const { total, windDown, runs, actions } = authority.book;
  return {
    sessionTotal: usd(total.postedMicroUsd + windDown.postedMicroUsd),
    runTotal: usd(runs.get(run)?.account.postedMicroUsd ?? 0),
    actionCosts: Object.fromEntries(Array.from(actions, ([action, account]) => [action, usd(account.postedMicroUsd)])),
    actionCounts: Object.fromEntries(authority.reported),
  };
}

/** Exact: a number of USD with six decimals is the double next to it. */
const usd = (microUsd: number): number => microUsd / 1e6;
