import { refusal } from "../core/refusals.ts";
import { err, ok } from "../core/result.ts";
import type { Ledger } from "../flow/ports.ts";
import { exportEntries, listEntries, readEntry, reportCosts } from "./queries.ts";
import type { TenantLedger } from "./tenant_ledger.ts";

/** The tenants' records: what is written goes through each tenant's ledger object, what is read comes from D1. */
export function openLedger(env: { readonly LEDGERS: DurableObjectNamespace<TenantLedger>; readonly DB: D1Database }): Ledger {
  return {
    settle: async (tenant) => {
      try {
        return await env.LEDGERS.getByName(tenant).settle();
      } catch {
        return err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: its keeper is out of reach."));
      }
    },
    list: (tenant, filter, page) => listEntries(env.DB, tenant, filter, page),
    read: (tenant, id) => readEntry(env.DB, tenant, id),
    export: (tenant, filter) => exportEntries(env.DB, tenant, filter),
    ingest: async (tenant, lines) => {
      try {
        const taken = await env.LEDGERS.getByName(tenant).ingest(JSON.stringify(lines));
        if (taken !== null) return ok(taken);
      } catch (error) {
        console.error(JSON.stringify({ event: "ledger_not_told", tenant, why: error instanceof Error ? error.message.slice(0, 200) : "unknown" }));
      }
      return err(refusal("ledger_unavailable", "The record takes nothing that is reported just now. Keep it, and tell it again."));
    },
    costs: (tenant, query) => reportCosts(env.DB, tenant, query),
  };
}
