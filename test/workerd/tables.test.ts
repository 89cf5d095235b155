import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import page from "../../migrations/README.md?raw";
import { DeskStore } from "../../src/authority/desk_store.ts";
import { originKey } from "../../src/authority/directory.ts";
import { sessionObjectName } from "../../src/authority/env.ts";
import { Outbox } from "../../src/authority/outbox.ts";
import { PoolStore } from "../../src/authority/pool_store.ts";
import { SESSION_TABLES } from "../../src/authority/session_tables.ts";
import { bringTables, type Schema } from "../../src/authority/tables.ts";
import { TenantStore } from "../../src/authority/tenant_store.ts";
import type { SessionId } from "../../src/core/ids.ts";
import type { Refusal } from "../../src/core/refusals.ts";
import type { Result } from "../../src/core/result.ts";
import { createWebhook } from "../../src/flow/create_webhook.ts";
import type { PageOf } from "../../src/flow/ports.ts";
import { got, newSession, newTenant, ports } from "./world.ts";

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

describe("migrations/README.md", () => {
  /** Every table that an object has, by its name, with its fields in alphabetical order. */
  type Tables = { readonly [table: string]: readonly string[] };

  const tablesOf = (stub: DurableObjectStub): Promise<Tables> =>
    runInDurableObject(stub, (_, { storage: { sql } }) => {
      const fields = sql.exec<{ table: string; field: string }>(
        `SELECT m.name AS "table", f.name AS field FROM sqlite_master m, pragma_table_info(m.name) f
           WHERE m.type = 'table' AND m.name NOT GLOB '_cf_*' AND m.name NOT GLOB 'sqlite_*' ORDER BY f.name`,
      );
      const tables = Map.groupBy(fields, ({ table }) => table);
      return Object.fromEntries([...tables].map(([table, all]) => [table, all.map(({ field }) => field)]));
    });

  const SIDES = ["posted_micro_usd", "pending_micro_usd", "leased_micro_usd", "overrun_micro_usd"];
  const words = (cell: string): readonly string[] => [...cell.matchAll(/`(\w+)`/g)].flatMap(([, word = ""]) => word);

  /** What the page says of the tables that a file makes. A section without a column for tables is about the one of its file's name. */
  function sectionOf(file: string): Tables {
    const section = page.split(/^### /m).find((part) => part.split("\n", 1)[0]?.includes(`(\`${file}\`)`)) ?? "";
    const rows = [...section.matchAll(/^\|(.*)\|$/gm)].map(([, row = ""]) => row.split("|").map((cell) => cell.trim()));
    const isNamed = rows[0]?.[0] === "table";
    const tables: { [table: string]: string[] } = {};
    let at = /(\w+)\.ts$/.exec(file)?.[1] ?? "";
    for (const row of rows.slice(2)) {
      const [table = "", fields = ""] = isNamed ? row : ["", row[0]];
      at = words(table)[0] ?? at;
      tables[at] = [...(tables[at] ?? []), ...words(fields), ...(fields === "the four sides" ? SIDES : [])];
    }
    return Object.fromEntries(Object.entries(tables).map(([table, fields]) => [table, fields.sort()]));
  }

  const authority = (...names: readonly string[]): readonly string[] => names.map((name) => `src/authority/${name}.ts`);

  it.each([
    ["a session", authority("session_tables", "outbox"), ({ tenant, session }) => env.SESSIONS.getByName(sessionObjectName(tenant, session))],
    [
      "a tenant",
      authority("tenant_store", "pool_store", "order_store", "issuer_store", "desk_store", "settings_store", "outbox"),
      ({ tenant }) => env.TENANTS.getByName(tenant),
    ],
    ["the root key's requests", authority("tenant_authority"), () => env.TENANTS.getByName("~root")],
    ["the directory", authority("directory"), ({ origin }) => env.DIRECTORY.getByName(originKey(origin))],
    ["a ledger", ["src/ledger/journal.ts"], ({ tenant }) => env.LEDGERS.getByName(tenant)],
    ["a tenant's webhooks", ["src/webhooks/webhook_store.ts"], ({ tenant }) => env.WEBHOOKS.getByName(tenant)],
  ] satisfies readonly (readonly [string, readonly string[], (world: World) => DurableObjectStub])[])(
    "%s: every table and every field of the object is named, and no other",
    async (_, files, objectOf) => {
      const told = Object.assign({}, ...files.map(sectionOf));
      expect(await tablesOf(objectOf(await used()))).toEqual(told);
    },
  );
});

interface World {
  readonly tenant: string;
  readonly session: SessionId;
  readonly origin: string;
}

/** A world in which every object has written something. */
async function used(): Promise<World> {
  const { tenant, agent, operator } = await newTenant("version: 1");
  const session = await newSession(agent);
  const origin = `https://${tenant}.example`;
  await env.DIRECTORY.getByName(originKey(origin)).claim({ tenant, name: "" });
  got(await ports.tenants.claimRootKey(tenant, "0"));
  got(await createWebhook(ports, operator, { url: "https://hooks.example.com/", events: ["*"], secret: null }, null));
  await ports.sessions.ship(tenant, session);
  return { tenant, session, origin };
}
