import { Desk } from "./desk.ts";
import type { LedgerStore } from "./ledger/line.ts";
import { ledgerPath, openLedgerSync } from "./ledger/open.ts";

/** The desk behind `guardedAction`, `PolicyEngine`, `CostTracker` and `Ledger`: one for the whole process, made when it is first needed. */
let desk: Desk | null = null;
/** Its ledger, with where that is: the environment can name another place before the next desk is made. */
let kept: { readonly path: string; readonly store: LedgerStore } | null = null;

export function theDesk(): Desk {
  desk ??= new Desk({ ledger: theStore() });
  return desk;
}

/** Where the process's own ledger is kept: `$AGENT_SENTINEL_HOME/ledger.jsonl`, else `./.agent-sentinel/ledger.jsonl`; without files, in memory. */
export function theStore(): LedgerStore {
  const path = ledgerPath();
  if (kept?.path !== path) kept = { path, store: openLedgerSync({ path }) };
  return kept.store;
}

/** What is under way is settled where it was decided. */
export function forgetDesk(): void {
  desk = null;
}
