import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { CHAIN_START, type Entry, seal } from "../../../src/core/entry.ts";
import type { EntryBatch, ShippedEntry } from "../../../src/flow/ports.ts";
import { payloadRowOf, rowOf } from "../../../src/ledger/row.ts";
import type { EntryRow, PayloadRow } from "../../../src/ledger/schema.ts";
import { sha256 } from "../../core/sha256.ts";
import { is200, isAllowed, load, post, roundOf, sendAll } from "../client.ts";
import { type Example, takeExample } from "../example.ts";
import type { Group } from "../groups.ts";
import { BARE, SEARCH } from "../policies.ts";
import { atLeast, atMost, type Table } from "../report.ts";
import { median, quantile } from "../rounds.ts";
import { type Baselines, type Tenant, type World, withBaselines, withWorld } from "../world.ts";

/** What is shipped in a round, in chains as sessions have them, and as many at once as a session's outbox ships. */
const CHAINS = 16;
const BATCHES = 4;
const BATCH = 100;
const SHIPPED = CHAINS * BATCHES * BATCH;
/** Rows of one statement, as many as the ledger puts into one. */
const ROWS = 500;
/** The load under which the way from answer to D1 is timed: decisions a second over so many sessions. */
const PACE = 100;
const SESSIONS = 16;
const LOOK_EVERY_MS = 20;
const PATIENCE_MS = 120_000;

/**
 * How fast entries get to D1: the ledger's own object and a D1, in a runtime where nothing else is to be done, fed with chains of real entries as sessions
 * ship them. Beside it the same rows in the ledger's own statements and nothing around them. Then how late entries are in the whole gateway.
 */
export const shipping: Group = {
  name: "shipping",
  what: "entries a second into D1 against the bare insert, and how late they are under load",
  byDefault: true,
  measure: ({ rounds, seconds }, say) =>
    withWorld(say, (world) =>
      withBaselines(world.built.migrations, async (baselines) => {
        const tenant = await world.newTenant("bench", BARE);
        const sessions = await tenant.open(SESSIONS);
        const example = await takeExample(world, tenant, sessions[0] ?? "");
        const rates: { readonly shipped: number[]; readonly inserted: number[] } = { shipped: [], inserted: [] };
        for (let round = 0; round <= rounds; round++) {
          say(`round ${round} of ${rounds}: the ledger`);
          const shipped = await ship(baselines, example, `ledger${round}`);
          say(`round ${round} of ${rounds}: the bare insert`);
          const inserted = await insert(baselines, example, `insert${round}`);
          if (round === 0) continue;
          rates.shipped.push(shipped);
          rates.inserted.push(inserted);
        }
        say("how late entries are");
        const late = await lateness(world, tenant, sessions, rounds * seconds * 1000);
        const speed: Table = {
          title: "entries into D1",
          columns: ["per second"],
          rows: [
            { name: `through the ledger, ${BATCH} a call`, figures: [median(rates.shipped)] },
            { name: `bare insert, ${ROWS} a statement`, figures: [median(rates.inserted)] },
          ],
        };
        const { p50Ms, p95Ms, p99Ms } = roundOf(late, 1);
        const lag: Table = {
          title: `from answer to D1, at ${PACE} decisions a second`,
          columns: ["entries", "p50 ms", "p95 ms", "p99 ms"],
          rows: [{ name: "late by", figures: [late.length, p50Ms, p95Ms, p99Ms] }],
        };
        return {
          tables: [speed, lag],
          ratios: [
            atLeast(null, "through the ledger / bare insert", median(rates.shipped.map((rate, n) => rate / (rates.inserted[n] ?? Number.NaN)))),
            atMost(null, "late by, p99, of 1.1 s", quantile(late, 0.99) / 1100),
          ],
          notes: [`Entries wait a second for company before they are shipped; D1 is looked at every ${LOOK_EVERY_MS} ms.`],
        };
      }),
    ),
};

/** One chain of entries like the example, sealed as a session does. */
function chainOf({ entry, payload }: Example, tenant: string, chain: string, count: number): readonly ShippedEntry[] {
  let head = CHAIN_START;
  return Array.from({ length: count }, () => {
    // Of the form that ids of entries have.
    const id = `ent_${randomUUID()}` as Entry["id"];
    const { entry: sealed, canonical, hash, beside } = seal(sha256, head, { ...entry, id, tenant_id: tenant, session_id: chain }, payload);
    head = { seq: sealed.seq, hash };
    return { ...head, canonical, beside };
  });
}

/** Entries a second from the first call of a ledger that knows nothing yet until D1 has all of them. */
async function ship({ url, miniflare }: Baselines, example: Example, tenant: string): Promise<number> {
  const texts = Array.from({ length: CHAINS }, () => {
    const chain = `ses_${randomUUID()}`;
    const entries = chainOf(example, tenant, chain, BATCHES * BATCH);
    return Array.from({ length: BATCHES }, (_, n) => {
      const batch: EntryBatch = { chain, entries: entries.slice(n * BATCH, (n + 1) * BATCH) };
      return post(url, `/ledger/${tenant}`, {}, JSON.stringify(batch));
    });
  });
  const db = await miniflare.getD1Database("DB");
  const began = performance.now();
  // Each connection is a session: it ships its chain in order, and is done.
  const shipping = Promise.all(texts.map((batches) => sendAll(url, batches, is200)));
  for (;;) {
    const last = await db.prepare("SELECT max(idx) AS last FROM entries WHERE tenant = ?").bind(tenant).first<{ last: number | null }>();
    if (last?.last === SHIPPED - 1) break;
    if (performance.now() - began > PATIENCE_MS) throw new Error(`D1 has ${last?.last} of ${SHIPPED} entries after ${PATIENCE_MS / 1000} s`);
    await sleep(LOOK_EVERY_MS);
  }
  const rate = (SHIPPED / (performance.now() - began)) * 1000;
  await shipping;
  return rate;
}

/** The same number of the same rows, one statement after the other, with nothing around them. */
async function insert({ url }: Baselines, example: Example, tenant: string): Promise<number> {
  const chain = chainOf(example, tenant, `ses_${randomUUID()}`, SHIPPED);
  const texts: string[] = [];
  for (let from = 0; from < SHIPPED; from += ROWS) {
    const [entries, payloads]: readonly [EntryRow[], PayloadRow[]] = [[], []];
    for (const [place, shipped] of chain.slice(from, from + ROWS).entries()) {
      const row = rowOf(tenant, from + place, shipped);
      if (!row.ok) throw new Error(row.error);
      entries.push(row.value);
      const payload = payloadRowOf(tenant, row.value.id, shipped.beside);
      if (payload !== null) payloads.push(payload);
    }
    texts.push(post(url, "/insert", {}, JSON.stringify({ entries, payloads })));
  }
  const began = performance.now();
  await sendAll(url, texts, is200);
  return (SHIPPED / (performance.now() - began)) * 1000;
}

/** Decides at a steady pace and answers, for each decision, how long after its answer D1 had its entry, in milliseconds. */
async function lateness(world: World, tenant: Tenant, sessions: readonly string[], durationMs: number): Promise<readonly number[]> {
  const answered = new Map<string, number>();
  const late: number[] = [];
  const texts = sessions.map((session) => tenant.decision(session, SEARCH));
  const connections = 4;
  let isOver = false;
  const deciding = load({
    target: world.url,
    connections,
    durationMs,
    everyMs: (1000 * connections) / PACE,
    next: (at, n) => texts[(at + n * connections) % texts.length] ?? "",
    accept: (head, body) => {
      const id = /"entry":\{"id":"(ent_[^"]+)"/.exec(body)?.[1];
      if (id !== undefined) answered.set(id, performance.now());
      return isAllowed(head, body);
    },
  }).finally(() => {
    isOver = true;
  });
  const db = await world.miniflare.getD1Database("DB");
  let from = 0;
  const deadline = performance.now() + durationMs + PATIENCE_MS;
  while (!isOver || answered.size > 0) {
    if (performance.now() > deadline) throw new Error(`${answered.size} entries did not get to D1 in ${PATIENCE_MS / 1000} s`);
    await sleep(LOOK_EVERY_MS);
    const { results } = await db
      .prepare("SELECT idx, id FROM entries WHERE tenant = ? AND idx >= ?")
      .bind(tenant.id, from)
      .all<{ idx: number; id: string }>();
    const now = performance.now();
    for (const { idx, id } of results) {
      from = Math.max(from, idx + 1);
      const at = answered.get(id);
      if (at === undefined) continue;
      late.push(now - at);
      answered.delete(id);
    }
  }
  await deciding;
  return late;
}
