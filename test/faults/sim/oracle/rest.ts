import { stretchAt } from "../../../../src/core/calendar.ts";
import type { CostQuery } from "../../../../src/flow/ports.ts";
import type { Listener } from "../actors/listener.ts";
import type { Reader } from "../actors/reader.ts";
import type { Platform } from "../platform/platform.ts";
import type { Oracle } from "./oracle.ts";
import type { SessionModel } from "./session.ts";
import type { TenantModel } from "./tenant.ts";
import { demand } from "./violation.ts";

/** What has not come to rest, though nothing goes wrong any more and nobody asks for anything; `null`: everything has. */
export function unrest(
  oracle: Oracle,
  platform: Platform,
  listeners: readonly Listener[],
): { readonly law: string; readonly details: object } | null {
  for (const tenant of oracle.tenants.values()) {
    const chains = [tenant, ...tenant.sessions.values()];
    for (const { chain, host } of chains) {
      const [left] = host.storage.hasTable("outbox") ? host.storage.look<{ n: number }>("SELECT COUNT(*) AS n FROM outbox") : [];
      if ((left?.n ?? 0) > 0)
        return { law: "every outbox becomes empty", details: { chain: chain.name, left, alarm: host.storage.durableAlarm, now: platform.world.now } };
      if (tenant.ledger.acceptedOf(chain.name) !== chain.seq)
        return {
          law: "a ledger gets every entry",
          details: { chain: chain.name, recorded: chain.seq, accepted: tenant.ledger.acceptedOf(chain.name) },
        };
    }
    if (tenant.ledger.stored !== tenant.ledger.placed.length)
      return { law: "D1 gets every entry", details: { tenant: tenant.id, stored: tenant.ledger.stored, accepted: tenant.ledger.placed.length } };
    for (const session of tenant.sessions.values()) {
      const pending = [...session.decisions.values()].find(({ state }) => state === "pending");
      if (pending !== undefined)
        return {
          law: "what nobody settles expires",
          details: { session: session.id, decision: pending.id, expiresAt: pending.expiresAt, now: platform.world.now },
        };
    }
    for (const session of tenant.sessions.values()) {
      const open = [...session.leases.values()].find(({ state }) => state === "open");
      if (open !== undefined) return { law: "a lease ends", details: { session: session.id, lease: open, now: platform.world.now } };
    }
    for (const { id, host } of tenant.sessions.values()) {
      const { durableAlarm } = host.storage;
      if (durableAlarm !== null && durableAlarm < platform.world.now + SOON_MS)
        return { law: "a session that has nothing to do sleeps", details: { session: id, alarm: durableAlarm, now: platform.world.now } };
    }
    const waiting = unanswered(tenant);
    if (waiting !== null) return waiting;
    const held = unreturned(tenant, platform);
    const wrong = misbelieved(tenant, platform);
    if (wrong.length > 0) return { law: "a tenant learns in the end what each session has spent", details: wrong };
    if (held.length > 0) return { law: "what a session no longer uses comes back", details: held };
  }
  const late = listeners.find((listener) => !listener.hasAll());
  return late === undefined ? null : { law: "a listener is told everything", details: { listener: late.name, heard: late.heard } };
}

/** Sooner than an alarm of a session that sleeps rings; one that rings again and again is set for sooner. */
const SOON_MS = 60_000;

/** An approval that neither ended nor ran out, or of which the tenant's desk says something else than its session. */
function unanswered(tenant: TenantModel): { readonly law: string; readonly details: object } | null {
  const { storage } = tenant.host;
  const rows = storage.hasTable("approvals")
    ? storage.look<{ id: string; session: string; status: string }>("SELECT id, session, status FROM approvals")
    : [];
  const desk = new Map(rows.map(({ id, session, status }) => [`${session} ${id}`, status]));
  let known = 0;
  for (const session of tenant.sessions.values()) {
    for (const [id, { status, expiresAt }] of session.approvals.asked) {
      known++;
      const details = { session: session.id, id, status, expiresAt, desk: desk.get(`${session.id} ${id}`) ?? null };
      if (["pending", "info_requested", "approved"].includes(status)) return { law: "what nobody answers or uses runs out", details };
      if (details.desk !== status) return { law: SAYS_THE_SAME, details };
    }
  }
  return known === desk.size ? null : { law: SAYS_THE_SAME, details: { tenant: tenant.id, known, desk: desk.size } };
}

const SAYS_THE_SAME = "a desk says of every approval what its session says";

/** What a tenant believes that a session has spent, in stretches that go on, and is not so. */
function misbelieved(tenant: TenantModel, platform: Platform): readonly object[] {
  const { storage } = tenant.host;
  if (!storage.hasTable("holdings")) return [];
  return storage
    .look<{
      session: string;
      scope: string;
      span: "hour" | "day" | "month" | "total";
      starts_at: number;
      posted_micro_usd: number;
      pending_micro_usd: number;
    }>("SELECT session, scope, span, starts_at, posted_micro_usd, pending_micro_usd FROM holdings")
    .flatMap((held) => {
      if (held.starts_at !== stretchAt(held.span, platform.world.now).startsAt) return [];
      const session = tenant.sessions.get(held.session);
      // A session whose clock was set ahead has left that stretch behind: what becomes of its money there is told to nobody any more.
      if (session !== undefined && spansOf(session).some(({ window, startsAt }) => window === held.span && startsAt > held.starts_at)) return [];
      const spent = session?.spentIn(`${held.span} ${held.starts_at}`);
      return spent?.posted === held.posted_micro_usd && spent.pending === held.pending_micro_usd ? [] : [{ ...held, spent }];
    });
}

/** The stretches in which a session counts, as its store writes them. */
function spansOf({ host }: SessionModel): readonly { readonly window: string; readonly startsAt: number }[] {
  const [row] = host.storage.look<{ shares: string }>("SELECT shares FROM session");
  return row === undefined
    ? []
    : (JSON.parse(row.shares) as { readonly spans: readonly { readonly window: string; readonly startsAt: number }[] }).spans;
}

/** Demands that everything has come to rest. */
export function demandRest(oracle: Oracle, platform: Platform, listeners: readonly Listener[]): void {
  const found = unrest(oracle, platform, listeners);
  demand(found === null, found?.law ?? "", () => found?.details);
}

/** What is given to sessions whose lease has ended, unspent, in stretches that go on. */
function unreturned(tenant: TenantModel, platform: Platform): readonly object[] {
  const { storage } = tenant.host;
  if (!storage.hasTable("holdings")) return [];
  const money = storage
    .look<{ session: string; scope: string; span: "hour" | "day" | "month" | "total"; starts_at: number }>(
      "SELECT session, scope, span, starts_at FROM holdings WHERE granted_micro_usd > posted_micro_usd + pending_micro_usd",
    )
    .filter(({ span, starts_at }) => starts_at === stretchAt(span, platform.world.now).startsAt);
  const calls = storage.look<{ session: string }>("SELECT session, per, pattern, unused FROM call_holdings WHERE unused > 0");
  return [...money, ...calls].map((held) => {
    const session = tenant.sessions.get(held.session);
    const [row] =
      session?.host.storage.look<{ shares: string; closed: number; tenant_told: number }>("SELECT shares, closed, tenant_told FROM session") ?? [];
    // Its own text, as its store writes it.
    const { ask, heard } = JSON.parse(row?.shares ?? "{}") as { readonly ask?: number; readonly heard?: number };
    return { ...held, closed: row?.closed, told: row?.tenant_told, ask, heard };
  });
}

/** When all is well, the record read is the whole of it, and its costs are what was spent. */
export async function demandRecord(reader: Reader, tenant: TenantModel, oracle: Oracle): Promise<void> {
  const rows = await reader.export();
  oracle.check(() => {
    demand(rows?.length === tenant.ledger.placed.length, "an export is whole", () => ({
      read: rows?.length ?? null,
      placed: tenant.ledger.placed.length,
    }));
  });
  const sessions = [...tenant.sessions.values()];
  await demandCosts("session", (session) => [[session.id, session.total.posted]]);
  await demandCosts("run", (session) => Array.from(session.runs, ([id, { posted }]) => [id, posted]));
  await demandCosts("action", (session) => Array.from(session.actions, ([name, { posted }]) => [name, posted]));
  await demandCosts("agent", (session) => [[session.agent, session.total.posted]]);

  async function demandCosts(groupBy: CostQuery["groupBy"], of: (session: SessionModel) => readonly (readonly [string, number])[]): Promise<void> {
    const reported = await reader.costs(groupBy);
    const sums = new Map<string, number>();
    for (const session of sessions) for (const [key, posted] of of(session)) sums.set(key, (sums.get(key) ?? 0) + posted);
    oracle.check(() => {
      if (reported?.ok !== true) return demand(false, "when all is well costs can be read", () => reported);
      const told = new Map(reported.value.items.map(({ key, postedMicroUsd }) => [key, postedMicroUsd]));
      for (const [key, posted] of sums)
        demand((told.get(key) ?? 0n) === BigInt(posted), "costs are the sum of what was posted", () => ({
          groupBy,
          key,
          posted,
          told: Number(told.get(key) ?? 0n),
        }));
      const total = sessions.reduce((sum, { total: { posted } }) => sum + posted, 0);
      demand(reported.value.totalMicroUsd === BigInt(total), "costs are the sum of what was posted", () => ({
        groupBy,
        total,
        told: Number(reported.value.totalMicroUsd),
      }));
    });
  }
}
