import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { DeskStore } from "../../src/authority/desk_store.ts";
import { Outbox } from "../../src/authority/outbox.ts";
import { PoolStore } from "../../src/authority/pool_store.ts";
import { SESSION_TABLES } from "../../src/authority/session_tables.ts";
import { bringTables, type Schema } from "../../src/authority/tables.ts";
import { TenantStore } from "../../src/authority/tenant_store.ts";
import type { Refusal } from "../../src/core/refusals.ts";
import type { Result } from "../../src/core/result.ts";
import type { PageOf } from "../../src/flow/ports.ts";
import { newTenant } from "./world.ts";

/** What an object's tables and indexes are, however their text is spaced, after it was given this schema as a new one. */
function madeFrom(schema: Schema): Promise<readonly string[]> {
  return runInDurableObject(env.SESSIONS.getByName(crypto.randomUUID()), (_, { storage }) => {
    storage.transactionSync(() => bringTables(storage.sql, schema));
    const { version } = storage.sql.exec<{ version: number }>("SELECT version FROM schema_version").one();
    const made = storage.sql
      .exec<{ sql: string }>("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\'")
      .toArray()
      .map(({ sql }) => sql.replaceAll(/\s+/g, " ").replaceAll(/ ?([(),]) ?/g, "$1"));
    return [`version ${version}`, ...made.sort()];
  });
}

it("a new session has the tables that all the steps lead to, and is at the last of them", async () => {
  const made = await madeFrom(SESSION_TABLES);
  expect(made).toEqual(await madeFrom({ steps: SESSION_TABLES.steps }));
  expect(made.length).toBeGreaterThan(15);
});

describe("what a tenant is asked again and again reads none of what has ended", () => {
  const ENDED = 500;
  const LIVE = 3;
  const NOW = 10_000_000;
  const PAGE = { limit: 10, cursor: null };

  /** The stores of a tenant with many ended sessions, tokens and approvals, and a few live ones. */
  interface Old {
    readonly store: TenantStore;
    readonly desk: DeskStore;
    readonly pools: PoolStore;
  }

  function fill(sql: SqlStorage): void {
    const row = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO";
    // Of a session that ended: its lease did so long ago. It has held what sessions share.
    sql.exec(
      `${row} sessions (id, agent, labels, opened_at, expires_at, lease_ends_at, client_leases_until)
       SELECT 'ses_' || i, iif(i <= ?2, 'rare', 'busy'), '{}', i, i + 1000, iif(i > ?1 - ?2, ?3 + 1, i + 1), iif(i > ?1 - ?2, ?3 + 1, i + 1) FROM n`,
      ENDED + LIVE,
      LIVE,
      NOW,
    );
    sql.exec(
      `${row} tokens (id, fingerprint, subject, kind, scopes, issued_at, expires_at, revoked_at)
       SELECT 'tok_' || i, '', 'bot', 'agent', '', i, ?3 + 1000, iif(i <= ?2, i, NULL) FROM n`,
      ENDED + LIVE,
      LIVE,
      NOW,
    );
    sql.exec(
      `${row} approvals (id, session, agent, status, version, opened_at, expires_at, told)
       SELECT 'apr_' || i, 'ses_1', 'bot', iif(i <= ?2, 'pending', 'consumed'), 1, i, ?3 + i - 2, '{"approval": {}, "card": {}}' FROM n`,
      ENDED + LIVE,
      LIVE,
      NOW,
    );
    sql.exec(
      `${row} holdings (session, scope, target, span, starts_at, granted_micro_usd, posted_micro_usd, pending_micro_usd)
       SELECT 'ses_' || i, 'tenant', 't', 'total', 0, 1, 1, 0 FROM n`,
      ENDED + LIVE,
    );
  }

  it.each<[what: string, act: (old: Old) => number | undefined, found: number]>([
    ["which sessions obey an order", ({ store }) => store.leasedSessions(NOW, NOW).length, LIVE],
    ["which sessions may hold entries", ({ store }) => store.liveSessions(NOW, 100).length, LIVE],
    ["which tokens a lease names as revoked", ({ store }) => store.revokedTokens(NOW).length, LIVE],
    ["the newest sessions", ({ store }) => ended(store.listSessions(PAGE, null, NOW)), PAGE.limit],
    ["the sessions of an agent that has few", ({ store }) => ended(store.listSessions(PAGE, "rare", NOW)), LIVE],
    ["the newest tokens", ({ store }) => ended(store.listTokens(PAGE)), PAGE.limit],
    ["what people are waited for", ({ desk }) => ended(desk.list({ status: "pending" }, PAGE, NOW)), LIVE - 2],
    ["what nobody answered in time", ({ desk }) => ended(desk.list({ status: "expired" }, PAGE, NOW)), 2],
    ["what was used lately", ({ desk }) => ended(desk.list({ status: "consumed" }, PAGE, NOW)), PAGE.limit],
    ["the newest approvals", ({ desk }) => ended(desk.list({}, PAGE, NOW)), PAGE.limit],
    ["what was held in an hour that is over", ({ pools }) => void pools.forgetBefore("hour", NOW), 0],
  ])("%s", async (_, act, found) => {
    const { tenant } = await newTenant(null);
    await runInDurableObject(env.TENANTS.getByName(tenant), (_instance, { storage }) => {
      fill(storage.sql);
      const cursors: { readonly rowsRead: number }[] = [];
      const sql = new Proxy(storage.sql, {
        get: (target, member) =>
          member === "exec"
            ? (...asked: Parameters<SqlStorage["exec"]>) => {
                const cursor = target.exec(...asked);
                cursors.push(cursor);
                return cursor;
              }
            : Reflect.get(target, member),
      });
      expect(act({ store: new TenantStore(sql, new Outbox(sql)), desk: new DeskStore(sql), pools: new PoolStore(sql) }) ?? 0).toBe(found);
      const read = cursors.reduce((sum, { rowsRead }) => sum + rowsRead, 0);
      // A row that an index names is read twice, a page one row further than it goes, and whatever is alive may be looked at.
      expect(read).toBeLessThanOrEqual(2 * (found + 1 + LIVE));
    });
  });
});

const ended = <T>(page: Result<PageOf<T>, Refusal>): number => (page.ok ? page.value.items.length : Number.NaN);
