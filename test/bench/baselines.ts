import { DurableObject } from "cloudflare:workers";
import { Hono } from "hono";

/** What the gateway is measured against, in the same runtime: a route that does nothing, one call of an object, and one call with two writes. */
interface Env {
  readonly COUNTERS: DurableObjectNamespace<Counter>;
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

export default app;
