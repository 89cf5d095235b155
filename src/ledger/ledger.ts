import { refusal } from "../core/refusals.ts";
import { err } from "../core/result.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type { Ledger } from "../flow/ports.ts";
import { exportEntries, listEntries, readEntry, reportCosts } from "./queries.ts";
import type { TenantLedger } from "./tenant_ledger.ts";

/**
 * The tenants' records: what is written goes through each tenant's ledger object, what is read comes from D1. `answerMs`: so long a ledger object has for
 * an answer before it is said to be out of reach.
 */
export function openLedger(
  env: { readonly LEDGERS: DurableObjectNamespace<TenantLedger>; readonly DB: D1Database },
  answerMs: number = ANSWER_MS,
): Ledger {
  return {
    settle: async (tenant) => {
      try {
        const settled = await inTime(answerMs, env.LEDGERS.getByName(tenant).settle());
        return settled.ok ? settled.value : OUT_OF_REACH;
      } catch {
        return OUT_OF_REACH;
      }
    },
    list: (tenant, filter, page, went) => listEntries(env.DB, tenant, filter, page, went),
    read: (tenant, id) => readEntry(env.DB, tenant, id),
    export: (tenant, filter, went) => exportEntries(env.DB, tenant, filter, went),
    ingest: async (tenant, report) => {
      try {
        const told = await inTime(answerMs, env.LEDGERS.getByName(tenant).ingest(JSON.stringify(report)));
        if (told.ok && told.value !== null) return told.value;
      } catch (error) {
        console.error(JSON.stringify({ event: "ledger_not_told", tenant, why: error instanceof Error ? error.message.slice(0, 200) : "unknown" }));
      }
      return err(refusal("ledger_unavailable", "The record takes nothing that is reported just now. Keep it, and tell it again."));
    },
    costs: (tenant, query, went) => reportCosts(env.DB, tenant, query, went),
  };
}

const OUT_OF_REACH = err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: its keeper is out of reach."));
