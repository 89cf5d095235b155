import { sql } from "drizzle-orm";
import { index, integer, primaryKey, sqliteTable, text, uniqueIndex } from "drizzle-orm/sqlite-core";

/**
 * The tables of `migrations/`, as types. The migrations are written by hand (drizzle knows neither STRICT nor triggers) and are the truth;
 * a test holds this file against the tables they make.
 */
export const entries = sqliteTable(
  "entries",
  {
    tenant: text("tenant").notNull(),
    /** The place in the tenant's ledger, from 0 without gaps: the index of the entry's leaf in the tenant's tree. */
    index: integer("idx").notNull(),
    id: text("id").notNull(),
    kind: text("kind").notNull(),
    /** `null`: the entry belongs to the tenant's own chain. */
    session: text("session"),
    seq: integer("seq").notNull(),
    run: text("run"),
    agent: text("agent"),
    action: text("action"),
    /** A JSON array of strings. */
    tags: text("tags").notNull(),
    decisionId: text("decision_id"),
    verdict: text("verdict"),
    reason: text("reason"),
    outcome: text("outcome"),
    atMs: integer("at_ms").notNull(),
    costMicroUsd: integer("cost_micro_usd").notNull(),
    correctedMicroUsd: integer("corrected_micro_usd").notNull(),
    hash: text("hash").notNull(),
    prevHash: text("prev_hash").notNull(),
    canonical: text("canonical").notNull(),
  },
  (t) => [
    primaryKey({ columns: [t.tenant, t.index] }),
    uniqueIndex("entries_by_id").on(t.tenant, t.id),
    index("entries_by_session").on(t.tenant, t.session, t.index).where(sql`session is not null`),
    index("entries_by_run").on(t.tenant, t.run, t.index).where(sql`run is not null`),
    index("entries_that_intervene").on(t.tenant, t.index).where(sql`kind = 'intervention'`),
    index("entries_that_post")
      .on(t.tenant, t.atMs, t.action, t.run, t.session, t.agent, t.decisionId, t.costMicroUsd, t.correctedMicroUsd, t.kind)
      .where(posts()),
    index("entries_that_post_by_decision").on(t.tenant, t.decisionId).where(sql`kind <> 'ingest' and decision_id is not null and ${posts()}`),
  ],
);

/** What lies beside an entry until it is erased. `null` was not sent; a JSON `null` that was sent is the text `null`. */
export const payloads = sqliteTable(
  "payloads",
  {
    tenant: text("tenant").notNull(),
    entry: text("entry").notNull(),
    salt: text("salt").notNull(),
    inputs: text("inputs"),
    outputs: text("outputs"),
  },
  (t) => [primaryKey({ columns: [t.tenant, t.entry] })],
);

export type EntryRow = typeof entries.$inferSelect;
export type PayloadRow = typeof payloads.$inferSelect;

/** An entry that says something about money spent. Written out, with no parameter in it: only so does SQLite see that the index of the same words serves it. */
export function posts() {
  return sql`(kind = 'commit' or cost_micro_usd > 0 or corrected_micro_usd > 0)`;
}
