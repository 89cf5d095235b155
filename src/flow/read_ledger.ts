import type { SessionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import { refusal } from "../core/refusals.ts";
import { err, ok } from "../core/result.ts";
import { ANSWER_MS, inTime } from "./patience.ts";
import type { CostQuery, CostReport, LedgerFilter, LedgerRow, PageOf, PageQuery, Ports, Reply, Went } from "./ports.ts";

/** So many live sessions are asked to ship before a read that names none. Entries of others are there little more than a second later. */
export const SESSIONS_ASKED_BEFORE_A_READ = 100;

/** Longer than two shipments take, of which neither is answered: who comes during the first waits for the second. */
const BRING_MS = 2 * ANSWER_MS + 5_000;

/** Entries, newest first: everything that was answered before the read was asked for is in it. */
export async function listEntries(ports: Ports, tenant: string, filter: LedgerFilter, page: PageQuery, went?: Went): Reply<PageOf<LedgerRow>> {
  const settled = await bringIn(ports, tenant, filter.session, BRING_MS, went);
  return settled.ok ? ports.ledger.list(tenant, filter, page, went) : settled;
}

export async function readEntry(ports: Ports, tenant: string, id: string, went?: Went): Reply<LedgerRow> {
  const found = await ports.ledger.read(tenant, id);
  if (found.ok || found.error.code !== "not_found") return found;
  const settled = await bringIn(ports, tenant, undefined, BRING_MS, went);
  return settled.ok ? ports.ledger.read(tenant, id) : settled;
}

/** The whole of it, oldest first, page by page as it is read. */
export async function exportEntries(ports: Ports, tenant: string, filter: LedgerFilter, went?: Went): Reply<AsyncIterable<readonly LedgerRow[]>> {
  const settled = await bringIn(ports, tenant, filter.session, BRING_MS, went);
  return settled.ok ? ok(ports.ledger.export(tenant, filter, went)) : settled;
}

export async function reportCosts(ports: Ports, tenant: string, query: CostQuery, went?: Went): Reply<CostReport> {
  const settled = await bringIn(ports, tenant, undefined, BRING_MS, went);
  return settled.ok ? ports.ledger.costs(tenant, query, went) : settled;
}

/**
 * Asks whoever may hold entries back to hand them over, and waits so long for that; then waits until they can be read. Refuses with `ledger_unavailable`
 * where they cannot, or where the one session that was asked for says nothing or cannot hand over: it is out of reach, or its ledger does not take what it
 * recorded, because that does not follow what the ledger has.
 */
export async function bringIn(ports: Ports, tenant: string, session: string | undefined, patienceMs: number = BRING_MS, went?: Went): Reply<null> {
  const sessions =
    session === undefined ? await ports.tenants.liveSessions(tenant, SESSIONS_ASKED_BEFORE_A_READ) : isSession(session) ? [session] : [];
  went?.({ sessions: sessions.length });
  // Who cannot be reached, or never answers, keeps its entries and ships them later: the read goes on without them, unless it is of them that it was asked.
  const brought = await inTime(
    patienceMs,
    Promise.allSettled([ports.tenants.ship(tenant), ...sessions.map((id) => ports.sessions.ship(tenant, id))]),
  );
  const isHeldBack = !brought.ok || brought.value.slice(1).some(({ status }) => status === "rejected");
  if (isHeldBack && session !== undefined)
    return err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: the session does not hand over what it recorded."));
  return ports.ledger.settle(tenant);
}

const isSession = (text: string): text is SessionId => isId("ses", text);
