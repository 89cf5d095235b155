import type { SessionId } from "../core/ids.ts";
import { isId } from "../core/ids.ts";
import { ok } from "../core/result.ts";
import { ANSWER_MS, inTime } from "./patience.ts";
import type { CostQuery, CostReport, LedgerFilter, LedgerRow, PageOf, PageQuery, Ports, Reply } from "./ports.ts";

/** So many live sessions are asked to ship before a read that names none. Entries of others are there little more than a second later. */
export const SESSIONS_ASKED_BEFORE_A_READ = 100;

/** Entries, newest first: everything that was answered before the read was asked for is in it. */
export async function listEntries(ports: Ports, tenant: string, filter: LedgerFilter, page: PageQuery): Reply<PageOf<LedgerRow>> {
  const settled = await bringIn(ports, tenant, filter.session);
  return settled.ok ? ports.ledger.list(tenant, filter, page) : settled;
}

export async function readEntry(ports: Ports, tenant: string, id: string): Reply<LedgerRow> {
  const found = await ports.ledger.read(tenant, id);
  if (found.ok || found.error.code !== "not_found") return found;
  const settled = await bringIn(ports, tenant, undefined);
  return settled.ok ? ports.ledger.read(tenant, id) : settled;
}

/** The whole of it, oldest first, page by page as it is read. */
export async function exportEntries(ports: Ports, tenant: string, filter: LedgerFilter): Reply<AsyncIterable<readonly LedgerRow[]>> {
  const settled = await bringIn(ports, tenant, filter.session);
  return settled.ok ? ok(ports.ledger.export(tenant, filter)) : settled;
}

export async function reportCosts(ports: Ports, tenant: string, query: CostQuery): Reply<CostReport> {
  const settled = await bringIn(ports, tenant, undefined);
  return settled.ok ? ports.ledger.costs(tenant, query) : settled;
}

/** Asks whoever may hold entries back to hand them over, then waits until they can be read. */
async function bringIn(ports: Ports, tenant: string, session: string | undefined): Reply<null> {
  const sessions =
    session === undefined ? await ports.tenants.liveSessions(tenant, SESSIONS_ASKED_BEFORE_A_READ) : isSession(session) ? [session] : [];
  // Who cannot be reached, or never answers, keeps its entries and ships them later: the read goes on without them.
  await inTime(ANSWER_MS, Promise.allSettled([ports.tenants.ship(tenant), ...sessions.map((id) => ports.sessions.ship(tenant, id))]));
  return ports.ledger.settle(tenant);
}

const isSession = (text: string): text is SessionId => isId("ses", text);
