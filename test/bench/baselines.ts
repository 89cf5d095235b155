import { DurableObject } from "cloudflare:workers";
import { Hono } from "hono";
import type { EntryBatch } from "../../src/flow/ports.ts";
import type { EntryRow, PayloadRow } from "../../src/ledger/schema.ts";
import { writeRows } from "../../src/ledger/shipment.ts";
import type { TenantLedger } from "../../src/ledger/tenant_ledger.ts";
import type { Example } from "./example.ts";
import type { Recorder } from "./recorder.ts";

export { TenantLedger } from "../../src/ledger/tenant_ledger.ts";
export { Recorder } from "./recorder.ts";

/** What the gateway is measured against, in the same runtime: a route that does nothing, one call of an object, one call with two writes, the record of a decision that nobody takes, one insert. And the ledger's own object, alone. */
interface Env {
  readonly COUNTERS: DurableObjectNamespace<Counter>;
  readonly RECORDERS: DurableObjectNamespace<Recorder>;
  readonly LEDGERS: DurableObjectNamespace<TenantLedger>;
  readonly DB: D1Database;
}

interface Asked {
  readonly action: string;
  readonly estimate_usd: string;
}

export class Counter extends DurableObject<Env> {
  #count = 0;
  #ready = false;

  inMemory(asked: Asked): { readonly verdict: string; readonly action: string; readonly count: number } {
    return { verdict: "allow", action: asked.action, count: ++this.#count };
  }

  /** What somebody writes first: a balance and a log line for each call, in one transaction. */
  naive(asked: Asked): { readonly verdict: string; readonly action: string; readonly spent: number } {
    const { sql } = this.ctx.storage;
    if (!this.#ready) {
      sql.exec("CREATE TABLE IF NOT EXISTS balance (one INTEGER PRIMARY KEY, spent REAL NOT NULL)");
      sql.exec("CREATE TABLE IF NOT EXISTS decisions (id TEXT PRIMARY KEY, action TEXT NOT NULL, cost REAL NOT NULL) WITHOUT ROWID");
      sql.exec("INSERT OR IGNORE INTO balance VALUES (1, 0)");
      this.#ready = true;
    }
    return this.ctx.storage.transactionSync(() => {
      const cost = Number(asked.estimate_usd);
      const { spent } = sql.exec<{ spent: number }>("UPDATE balance SET spent = spent + ? WHERE one = 1 RETURNING spent", cost).one();
      sql.exec("INSERT INTO decisions VALUES (?, ?, ?)", crypto.randomUUID(), asked.action, cost);
      return { verdict: "allow", action: asked.action, spent };
    });
  }
}

const app = new Hono<{ Bindings: Env }>();
app.post("/bare", async (c) => c.json({ verdict: "allow", action: (await c.req.json<Asked>()).action }));
app.post("/memory/:name", async (c) => c.json(await c.env.COUNTERS.getByName(c.req.param("name")).inMemory(await c.req.json<Asked>())));
app.post("/naive/:name", async (c) => c.json(await c.env.COUNTERS.getByName(c.req.param("name")).naive(await c.req.json<Asked>())));

/** A real decision as it goes on record: sent once, before any load. */
let example: Example | null = null;
app.post("/example", async (c) => {
  example = await c.req.json<Example>();
  return c.json({ done: true });
});
app.post("/recorded/:name", async (c) => {
  if (example === null) return c.json({ title: "no example of a record was sent" }, 409);
  const { estimate_usd } = await c.req.json<Asked>();
  const count = Number(c.req.query("count") ?? 1);
  const answer = await c.env.RECORDERS.getByName(c.req.param("name")).record(JSON.stringify(example), estimate_usd, count);
  return c.body(answer, 200, { "content-type": "application/json" });
});

/** Inserts rows that are made already, as the ledger does and with nothing around it: one statement for the entries, one for what lies beside them. */
app.post("/insert", async (c) => {
  const { entries, payloads } = await c.req.json<{ readonly entries: readonly EntryRow[]; readonly payloads: readonly PayloadRow[] }>();
  await writeRows(c.env.DB, entries, payloads);
  return c.json({ done: true });
});

/** Hands entries to a tenant's ledger, as a session's object does. */
app.post("/ledger/:tenant", async (c) => c.json(await c.env.LEDGERS.getByName(c.req.param("tenant")).accept(await c.req.json<EntryBatch>())));

export default app;
