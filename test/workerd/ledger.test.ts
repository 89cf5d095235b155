import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { getTableConfig } from "drizzle-orm/sqlite-core";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, type MockInstance, vi } from "vitest";
import { CHAIN_START, type ChainHead, type EntryDraft, type Payload, type SealedEntry, seal } from "../../src/core/entry.ts";
import { type EntryId, idFromDigest, type SessionId } from "../../src/core/ids.ts";
import { formatUsd, microUsdOf, parseUsd } from "../../src/core/money.ts";
import type { Testimony } from "../../src/core/testimony.ts";
import { formatInstant } from "../../src/core/time.ts";
import type { CostQuery, LedgerFilter, LedgerRow, ShippedEntry, Went } from "../../src/flow/ports.ts";
import { Journal } from "../../src/ledger/journal.ts";
import { openLedger } from "../../src/ledger/ledger.ts";
import { exportEntries, listEntries, readEntry, reportCosts } from "../../src/ledger/queries.ts";
import { entries, payloads } from "../../src/ledger/schema.ts";
import type { TenantLedger } from "../../src/ledger/tenant_ledger.ts";
import { SILENCES, silentOnce } from "./silence.ts";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
const ledger = openLedger(env);

let count = 0;
/** Every test has a tenant of its own: D1 forgets nothing between them. */
const newTenant = (): string => `tenant-${++count}`;
const sessionOf = (name: string): SessionId => idFromDigest("ses", sha256(name));
const newEntryId = (): EntryId => idFromDigest("ent", sha256(`entry ${++count}`));

type Saying = Partial<Omit<EntryDraft, "id" | "tenant_id">> & { readonly payload?: Payload };

/** A chain of sealed entries, from what each of them says. */
function chainOf(tenant: string, session: SessionId | null, sayings: readonly Saying[], from: ChainHead = CHAIN_START): SealedEntry[] {
  let head = from;
  return sayings.map(({ payload, ...saying }) => {
    const timestamp = formatInstant(Date.UTC(2026, 10, 22, 12) + head.seq);
    const sealed = seal(
      sha256,
      head,
      { kind: "decision", timestamp, session_id: session, id: newEntryId(), tenant_id: tenant, ...saying },
      payload ?? null,
    );
    head = { seq: sealed.entry.seq, hash: sealed.hash };
    return sealed;
  });
}

const many = (n: number, saying: Saying = {}): Saying[] => Array.from({ length: n }, () => saying);
const shippedOf = (sealed: readonly SealedEntry[]): ShippedEntry[] =>
  sealed.map(({ entry, canonical, hash, beside }) => ({ seq: entry.seq, canonical, hash, beside }));
const headOf = (sealed: readonly SealedEntry[]): ChainHead => {
  const last = sealed.at(-1);
  return last === undefined ? CHAIN_START : { seq: last.entry.seq, hash: last.hash };
};

async function acceptThrough(tenant: string, chain: string, sealed: readonly SealedEntry[]): Promise<number> {
  return (await env.LEDGERS.getByName(tenant).accept({ chain, entries: shippedOf(sealed) })).acceptedThrough;
}

/** Makes a ledger of one session and brings it to D1. */
async function record(tenant: string, session: SessionId | null, sayings: readonly Saying[]): Promise<SealedEntry[]> {
  const sealed = chainOf(tenant, session, sayings);
  expect(await acceptThrough(tenant, session ?? tenant, sealed)).toBe(sealed.length);
  expect(await ledger.settle(tenant)).toEqual({ ok: true, value: null });
  return sealed;
}

async function everything(tenant: string, filter: LedgerFilter = {}): Promise<LedgerRow[]> {
  const rows: LedgerRow[] = [];
  for await (const page of exportEntries(env.DB, tenant, filter)) rows.push(...page);
  return rows;
}

const hashes = (rows: readonly { readonly hash: string }[]): string[] => rows.map(({ hash }) => hash);

/** Puts another database between the tenant's ledger and D1. */
async function shipTo(tenant: string, database: (real: D1Database) => D1Database): Promise<void> {
  await runInDurableObject<TenantLedger, void>(env.LEDGERS.getByName(tenant), (instance) => {
    instance.database = database(env.DB);
  });
}

const withBatch = (real: D1Database, batch: (statements: D1PreparedStatement[]) => Promise<D1Result[]>): D1Database =>
  new Proxy(real, {
    get: (target, member) => {
      if (member === "batch") return batch;
      const value: unknown = Reflect.get(target, member);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });

/** The first fake of the house: it fails and has done nothing. */
const failing = (real: D1Database): D1Database => withBatch(real, () => Promise.reject(new Error("D1_ERROR: away")));
/** The second: it fails and has done it. */
const failingAfter = (real: D1Database): D1Database =>
  withBatch(real, async (statements) => {
    await real.batch(statements);
    throw new Error("D1_ERROR: connection lost");
  });

/** What the object holds, asked in its own tables; `null` when it has none. */
const inside = (tenant: string): Promise<{ waiting: number; accepted: number; shipped: number; failures: number } | null> =>
  runInDurableObject(env.LEDGERS.getByName(tenant), (_, state) => {
    const { sql } = state.storage;
    if (sql.exec("SELECT name FROM sqlite_schema WHERE name = 'progress'").toArray().length === 0) return null;
    return sql
      .exec<{ waiting: number; accepted: number; shipped: number; failures: number }>(
        "SELECT (SELECT count(*) FROM waiting) AS waiting, accepted, shipped, failures FROM progress",
      )
      .one();
  });

let errors: MockInstance<typeof console.error>;
beforeEach(() => {
  errors = vi.spyOn(console, "error").mockImplementation(() => undefined);
});
afterEach(() => {
  errors.mockRestore();
});
const logged = (): string[] => errors.mock.calls.map(([line]) => String(line));

describe("accepting a chain", () => {
  it("takes the same batch twice, and overlapping ones, as one", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, many(10));
    for (const [from, to, through] of [
      [0, 4, 4],
      [0, 4, 4],
      [2, 7, 7],
      [0, 3, 3],
      [6, 10, 10],
      [0, 10, 10],
    ] as const) {
      expect(await acceptThrough(tenant, session, sealed.slice(from, to)), `entries ${from + 1} to ${to}`).toBe(through);
    }
    await ledger.settle(tenant);
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
    expect((await everything(tenant)).map(({ index }) => index)).toEqual(sealed.map((_, index) => index));
    expect(logged()).toEqual([]);
  });

  it("confirms a repeat that comes late, whether its entries still wait or are in D1 already", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, many(6));
    await acceptThrough(tenant, session, sealed);
    expect(await acceptThrough(tenant, session, sealed.slice(0, 3))).toBe(3);
    await ledger.settle(tenant);
    expect(await acceptThrough(tenant, session, sealed.slice(0, 3))).toBe(3);
    await shipTo(tenant, () => ({}) as D1Database); // A database that cannot even be asked: the repeat is not confirmed, and nothing breaks.
    expect(await acceptThrough(tenant, session, sealed.slice(0, 3))).toBe(0);
  });

  it("stops at a gap, before the batch and within it", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, many(8));
    expect(await acceptThrough(tenant, session, sealed.slice(1))).toBe(0);
    expect(await inside(tenant)).toBeNull();
    expect(await acceptThrough(tenant, session, [...sealed.slice(0, 2), ...sealed.slice(4)])).toBe(2);
    expect(await acceptThrough(tenant, session, sealed.slice(4))).toBe(2);
    expect(await acceptThrough(tenant, session, [])).toBe(2);
    expect(await acceptThrough(tenant, session, sealed.slice(2))).toBe(8);
    await ledger.settle(tenant);
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
    expect(logged()).toEqual([]);
  });

  it("refuses a forked chain wherever it forks, and says so by ids alone", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, many(6));
    const forkAt = (seq: number, length: number): SealedEntry[] =>
      chainOf(tenant, session, many(length, { rationale: "another story" }), headOf(sealed.slice(0, seq - 1)));
    await acceptThrough(tenant, session, sealed);
    const cases = (): [string, SealedEntry[], number][] => [
      ["another entry at the head", forkAt(6, 1), 5],
      ["another entry at the head, and more after it", forkAt(6, 3), 5],
      ["another history ending below the head", forkAt(3, 2), 2],
      ["another history from the start that goes on past the head", forkAt(1, 9), 0],
      ["the true history with another ending", [...sealed.slice(3, 5), ...forkAt(6, 2)], 3],
    ];
    for (const settled of [false, true]) {
      if (settled) await ledger.settle(tenant);
      for (const [name, batch, through] of cases()) {
        errors.mockClear();
        expect(await acceptThrough(tenant, session, batch), `${name}, ${settled ? "shipped" : "waiting"}`).toBe(through);
        expect(logged(), name).toHaveLength(1);
        expect(JSON.parse(logged()[0] ?? "")).toMatchObject({ event: "ledger_chain_broken", tenant, chain: session });
        expect(logged()[0]).not.toContain("another story");
      }
    }
    await ledger.settle(tenant);
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
  });

  it("takes what precedes an entry that is not what it claims, and nothing from there on", async () => {
    const lone = seal(
      sha256,
      CHAIN_START,
      { kind: "decision", timestamp: formatInstant(0), session_id: sessionOf("x"), id: newEntryId(), tenant_id: "elsewhere" },
      null,
    );
    const changes: [string, (entry: ShippedEntry, sealed: SealedEntry) => ShippedEntry][] = [
      ["a hash that is not its text's", (entry) => ({ ...entry, hash: "0".repeat(64) })],
      ["another text", (entry) => ({ ...entry, canonical: entry.canonical.replace('"cost_usd":"0"', '"cost_usd":"1"') })],
      ["a text that is no JSON", (entry) => ({ ...entry, canonical: "{", hash: sha256("{") })],
      ["a payload that was never sealed", (entry) => ({ ...entry, beside: '{"inputs":1,"salt":"s"}' })],
      ["a payload that is no JSON", (entry) => ({ ...entry, beside: "{" })],
      ["another tenant's entry", () => ({ seq: 3, canonical: lone.canonical, hash: lone.hash, beside: null })],
      [
        "money with a seventh decimal",
        (entry) => {
          const canonical = entry.canonical.replace('"cost_usd":"0"', '"cost_usd":"0.0000001"');
          return { ...entry, canonical, hash: sha256(canonical) };
        },
      ],
    ];
    for (const [name, change] of changes) {
      const tenant = newTenant();
      const session = sessionOf(tenant);
      const sealed = chainOf(tenant, session, many(5));
      const batch = shippedOf(sealed).map((entry, i) => (i === 2 ? change(entry, sealed[i] ?? lone) : entry));
      errors.mockClear();
      expect((await env.LEDGERS.getByName(tenant).accept({ chain: session, entries: batch })).acceptedThrough, name).toBe(2);
      expect(logged(), name).toHaveLength(1);
      expect(await acceptThrough(tenant, session, sealed), name).toBe(5);
    }
  });

  it("refuses an entry larger than D1 can store instead of letting it stand in the way of all others", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, [{}, { payload: { salt: "s", inputs: "\\".repeat(1_000_000) } }]);
    expect(await acceptThrough(tenant, session, sealed)).toBe(1);
    expect(await ledger.settle(tenant)).toEqual({ ok: true, value: null });
  });

  it("orders the entries of many chains by their arrival, each chain in its own order", async () => {
    const tenant = newTenant();
    const chains = [null, sessionOf("a"), sessionOf("b")].map((session) => chainOf(tenant, session, many(12)));
    const arrived: string[] = [];
    for (let from = 0; from < 12; from += 4) {
      for (const chain of chains) {
        const batch = chain.slice(from, from + 4);
        await acceptThrough(tenant, chain[0]?.entry.session_id ?? tenant, batch);
        arrived.push(...hashes(batch));
      }
    }
    await ledger.settle(tenant);
    expect(hashes(await everything(tenant))).toEqual(arrived);
  });

  it("leaves nothing behind in a tenant that is only read", async () => {
    const tenant = newTenant();
    expect(await ledger.settle(tenant)).toEqual({ ok: true, value: null });
    expect(await ledger.list(tenant, {}, { limit: 10, cursor: null })).toEqual({ ok: true, value: { items: [], nextCursor: null } });
    const left = await runInDurableObject(env.LEDGERS.getByName(tenant), async (_, state) => ({
      tables: state.storage.sql.exec("SELECT name FROM sqlite_schema WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
      alarm: await state.storage.getAlarm(),
    }));
    expect(left).toEqual({ tables: [], alarm: null });
  });
});

it("where the very first transaction of a ledger fails its tables are gone with it, and the next one makes them", async () => {
  const tenant = newTenant();
  const line: Testimony = { entry: newEntryId(), fingerprint: sha256("line"), says: { action: "pay" }, payload: null };
  const onLedger = <T>(act: (instance: TenantLedger, storage: DurableObjectStorage) => T) =>
    runInDurableObject<TenantLedger, T>(env.LEDGERS.getByName(tenant), (instance, { storage }) => act(instance, storage));
  // All tables but this one are made before the statement that fails.
  await onLedger((_, { sql }) => void sql.exec("CREATE TABLE reported (entry TEXT, fingerprint TEXT CHECK (fingerprint = ''))"));
  const failed = await onLedger((instance) => instance.ingest(JSON.stringify({ lines: [line], key: null })).catch(String));
  expect(failed).toMatch(/CHECK constraint failed/);
  await onLedger((_, { sql }) => void sql.exec("DROP TABLE reported"));
  expect(await onLedger((instance) => [instance.watch(true), instance.watch(false), instance.listen(0)])).toEqual([0, 0, 0]);
  expect(await env.LEDGERS.getByName(tenant).ingest(JSON.stringify({ lines: [line], key: null }))).toEqual({
    ok: true,
    value: { answer: ["recorded"], replayed: false },
  });
  expect(await ledger.settle(tenant)).toEqual({ ok: true, value: null });
  expect((await everything(tenant)).map(({ index }) => index)).toEqual([0]);
});

it("what a journal remembers is what its tables say, whatever is written and whichever transactions fail", async () => {
  const chains = ["a", "b", "c"];
  const step = fc.oneof(
    fc.record({ what: fc.constant("append" as const), chain: fc.constantFrom(...chains), count: fc.integer({ min: 1, max: 3 }) }),
    fc.record({ what: fc.constant("confirm" as const), count: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ what: fc.constant("watch" as const), isWatched: fc.boolean() }),
    fc.record({ what: fc.constant("report" as const) }),
    fc.record({ what: fc.constant("note a failure" as const) }),
    fc.record({ what: fc.constant("look" as const), chain: fc.constantFrom(...chains) }),
  );
  const transactions = fc.array(fc.record({ steps: fc.array(step, { minLength: 1, maxLength: 4 }), fails: fc.boolean() }), {
    minLength: 1,
    maxLength: 12,
  });
  const saidBy = (journal: Journal) => [journal.progress(), journal.isWatched(), ...chains.map((chain) => journal.head(chain))];
  await fc.assert(
    fc.asyncProperty(transactions, async (all) => {
      await runInDurableObject(env.LEDGERS.getByName(newTenant()), (_, { storage }) => {
        const journal = new Journal(storage);
        for (const { steps, fails } of all) {
          const work = () => {
            for (const one of steps) {
              const { accepted, shipped } = journal.progress();
              if (one.what === "append") {
                const { seq } = journal.head(one.chain);
                const entry = (place: number) => ({
                  seq: seq + place + 1,
                  hash: sha256(`${one.chain} ${seq + place}`),
                  canonical: "{}",
                  beside: null,
                });
                journal.append(
                  one.chain,
                  Array.from({ length: one.count }, (_, place) => entry(place)),
                );
              } else if (one.what === "confirm" && accepted > shipped) journal.confirm(Math.min(accepted, shipped + one.count) - 1);
              else if (one.what === "watch") journal.watch(one.isWatched);
              else if (one.what === "report") journal.noteReported([{ entry: newEntryId(), fingerprint: sha256("line") }]);
              else if (one.what === "note a failure" && accepted > shipped) journal.noteFailure();
              else if (one.what === "look") journal.head(one.chain);
            }
            if (fails) throw new Error("no room");
          };
          if (fails) expect(() => journal.transact(work)).toThrow("no room");
          else journal.transact(work);
          expect(saidBy(journal)).toEqual(saidBy(new Journal(storage)));
        }
      });
    }),
    { numRuns: 60 },
  );
});

describe("shipping to D1", () => {
  it("ships by itself shortly after the burst, and clears what D1 has", async () => {
    const tenant = newTenant();
    const sealed = chainOf(tenant, sessionOf(tenant), many(5));
    await acceptThrough(tenant, sessionOf(tenant), sealed);
    await vi.waitFor(async () => expect(await inside(tenant)).toEqual({ waiting: 0, accepted: 5, shipped: 5, failures: 0 }), { timeout: 3000 });
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
  });

  it("survives an eviction between accepting and shipping: the alarm ships, and twice is once", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const stub = env.LEDGERS.getByName(tenant);
    const sealed = chainOf(tenant, session, many(5));
    await shipTo(tenant, failing);
    await acceptThrough(tenant, session, sealed);
    await evictDurableObject(stub);
    expect((await inside(tenant))?.waiting).toBe(5);
    expect(await runDurableObjectAlarm(stub)).toBe(true);
    expect(await inside(tenant)).toEqual({ waiting: 0, accepted: 5, shipped: 5, failures: 0 });
    const more = chainOf(tenant, session, many(3), headOf(sealed));
    await acceptThrough(tenant, session, more);
    expect(await runDurableObjectAlarm(stub)).toBe(true);
    await runInDurableObject<TenantLedger, void>(stub, (instance) => instance.alarm());
    expect(hashes(await everything(tenant))).toEqual(hashes([...sealed, ...more]));
  });

  for (const [name, fake, reached] of [
    ["fails and does nothing", failing, 0],
    ["fails but has done it", failingAfter, 7],
  ] as const) {
    it(`loses nothing and stores nothing twice when D1 ${name}`, async () => {
      const tenant = newTenant();
      const session = sessionOf(tenant);
      const stub = env.LEDGERS.getByName(tenant);
      const sealed = chainOf(
        tenant,
        session,
        many(7).map((_, i) => ({ payload: { salt: `s${i}`, inputs: i } })),
      );
      await shipTo(tenant, fake);
      await acceptThrough(tenant, session, sealed);
      for (let turn = 1; turn <= 3; turn++) {
        await runInDurableObject<TenantLedger, void>(stub, (instance) => instance.alarm());
        expect(await inside(tenant)).toMatchObject({ waiting: 7, shipped: 0 });
      }
      expect((await everything(tenant)).length).toBe(reached);
      expect(await runInDurableObject(stub, (_, state) => state.storage.getAlarm())).toBeGreaterThan(Date.now());
      const more = chainOf(tenant, session, many(2), headOf(sealed));
      expect(await acceptThrough(tenant, session, more)).toBe(9);
      await shipTo(tenant, (real) => real);
      expect(await runDurableObjectAlarm(stub)).toBe(true);
      expect(await inside(tenant)).toEqual({ waiting: 0, accepted: 9, shipped: 9, failures: 0 });
      const rows = await everything(tenant);
      expect(hashes(rows)).toEqual(hashes([...sealed, ...more]));
      expect(rows.slice(0, 7).map(({ payload }) => payload)).toEqual(sealed.map(({ payload }) => payload));
    });
  }

  it("waits longer after each failure, up to a minute, also across evictions", async () => {
    const tenant = newTenant();
    const stub = env.LEDGERS.getByName(tenant);
    await shipTo(tenant, failing);
    await acceptThrough(tenant, sessionOf(tenant), chainOf(tenant, sessionOf(tenant), many(1)));
    const waits: number[] = [];
    for (let turn = 0; turn < 9; turn++) {
      if (turn === 4) {
        await evictDurableObject(stub);
        await shipTo(tenant, failing);
      }
      const before = Date.now();
      await runInDurableObject<TenantLedger, void>(stub, (instance) => instance.alarm());
      const at = await runInDurableObject(stub, (_, state) => state.storage.getAlarm());
      waits.push(Math.round(((at ?? 0) - before) / 1000));
    }
    expect(waits.slice(-2)).toEqual([60, 60]);
    expect(waits).toEqual([...waits].sort((a, b) => a - b));
    expect(waits[0]).toBeLessThanOrEqual(2);
  });

  it("answers ledger_unavailable within about five seconds when D1 is away, or never answers, and recovers", { timeout: 20_000 }, async () => {
    await Promise.all(
      [true, false].map(async (answers) => {
        const unanswered: (() => void)[] = [];
        const fake = (real: D1Database): D1Database =>
          answers
            ? failing(real)
            : withBatch(real, () => new Promise<never>((_, reject) => unanswered.push(() => reject(new Error("D1_ERROR: gone")))));
        const tenant = newTenant();
        await shipTo(tenant, fake);
        await acceptThrough(tenant, sessionOf(tenant), chainOf(tenant, sessionOf(tenant), many(1)));
        const from = Date.now();
        expect(await ledger.settle(tenant)).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
        expect(Date.now() - from).toBeGreaterThan(4_000);
        expect(Date.now() - from).toBeLessThan(6_500);
        await shipTo(tenant, (real) => real);
        await runInDurableObject(env.LEDGERS.getByName(tenant), () => {
          for (const end of unanswered) end();
        });
        expect(await ledger.settle(tenant)).toEqual({ ok: true, value: null });
        expect(await everything(tenant)).toHaveLength(1);
      }),
    );
  });

  it.each(SILENCES)("ships again, and once, what D1 never said a word to, where it %s", async (_, does) => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const [first, ...others] = chainOf(tenant, session, many(3));
    if (first === undefined) throw new Error("unreachable");
    await shipTo(tenant, (real) => {
      const { object } = silentOnce({ batch: (statements: D1PreparedStatement[]) => real.batch(statements) }, "batch", does);
      return withBatch(real, (statements) => object.batch(statements));
    });
    await acceptThrough(tenant, session, [first]);
    await runInDurableObject<TenantLedger, void>(env.LEDGERS.getByName(tenant), async (instance) => {
      instance.patienceMs = 20;
      await instance.alarm();
      instance.patienceMs = 30_000;
    });
    expect(await inside(tenant)).toMatchObject({ waiting: 1, failures: 1 });
    await acceptThrough(tenant, session, others);
    await runInDurableObject<TenantLedger, void>(env.LEDGERS.getByName(tenant), (instance) => instance.alarm());
    expect(await inside(tenant)).toMatchObject({ waiting: 0, shipped: 3, failures: 0 });
    expect(hashes(await everything(tenant))).toEqual(hashes([first, ...others]));
  });

  it("brings everything before a refused entry to D1, and keeps the entry and what is behind it", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = chainOf(tenant, session, many(16));
    const [ninth, tenth] = [sealed[8]?.hash, sealed[9]?.hash];
    await shipTo(
      tenant,
      (real) =>
        ({
          ...withBatch(real, (s) => real.batch(s)),
          prepare: (query: string) => {
            const statement = real.prepare(query);
            return new Proxy(statement, {
              get: (target, member) =>
                member === "bind"
                  ? (text: string) => (text.includes(`"${tenth}","${ninth}"`) ? target.bind("not JSON") : target.bind(text))
                  : Reflect.get(target, member),
            });
          },
          batch: (s: D1PreparedStatement[]) => real.batch(s),
        }) as D1Database,
    ); // Only what the object calls is there.
    await acceptThrough(tenant, session, sealed);
    for (let turn = 0; turn < 8; turn++) {
      await runInDurableObject<TenantLedger, void>(env.LEDGERS.getByName(tenant), (instance) => instance.alarm());
    }
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed.slice(0, 9)));
    expect(await inside(tenant)).toMatchObject({ waiting: 7, accepted: 16, shipped: 9 });
    await shipTo(tenant, (real) => real);
    await ledger.settle(tenant);
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
  });

  it("ships ten thousand entries in large batches", { timeout: 60_000 }, async () => {
    const tenant = newTenant();
    let batches = 0;
    await shipTo(tenant, (real) =>
      withBatch(real, (statements) => {
        batches++;
        return real.batch(statements);
      }),
    );
    const saying = (i: number): Saying => ({
      action: "send_email",
      agent_id: "mailer",
      run_id: idFromDigest("run", sha256("r")),
      verdict: "allow",
      reason: "permitted",
      cost_usd: formatUsd(microUsdOf(i)),
      payload: { salt: sha256(String(i)), inputs: { to: "a@b.c", text: "x".repeat(100) } },
    });
    const chains = Array.from({ length: 10 }, (_, c) =>
      chainOf(
        tenant,
        sessionOf(`${tenant} ${c}`),
        Array.from({ length: 1000 }, (_, i) => saying(c * 1000 + i)),
      ),
    );
    const from = Date.now();
    await Promise.all(
      chains.map(async (chain) => {
        for (let at = 0; at < 1000; at += 200) await acceptThrough(tenant, chain[0]?.entry.session_id ?? "", chain.slice(at, at + 200));
      }),
    );
    const accepted = Date.now();
    while (!(await ledger.settle(tenant)).ok);
    const shipped = Date.now();
    console.info(
      `10,000 entries of ${chains[0]?.[0]?.canonical.length} characters: accepted in ${accepted - from} ms, in D1 after ${shipped - from} ms (${Math.round(10_000_000 / (shipped - from))}/s), ${batches} batches`,
    );
    expect(batches).toBeLessThan(60);
    const report = await reportCosts(env.DB, tenant, { groupBy: "action" });
    expect(report).toMatchObject({ ok: true, value: { totalMicroUsd: BigInt((9999 * 10_000) / 2) } });
    expect((await everything(tenant)).map(({ index }) => index)).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
  });
});

describe("the tables in D1", () => {
  const row = (tenant: string) => env.DB.prepare("SELECT * FROM entries WHERE tenant = ?").bind(tenant).all();

  it("are what the typed schema says", async () => {
    for (const table of [entries, payloads]) {
      const { name, columns, primaryKeys, indexes } = getTableConfig(table);
      const key = (primaryKeys[0]?.columns ?? []).map((column) => column.name);
      const real = await env.DB.prepare('SELECT name, type, "notnull", pk FROM pragma_table_info(?)').bind(name).all();
      expect(real.results).toEqual(
        columns.map((column) => ({
          name: column.name,
          type: column.getSQLType().toUpperCase(),
          notnull: column.notNull ? 1 : 0,
          pk: key.indexOf(column.name) + 1,
        })),
      );
      const realIndexes = await env.DB.prepare("SELECT name, \"unique\", partial FROM pragma_index_list(?) WHERE origin = 'c' ORDER BY name")
        .bind(name)
        .all();
      expect(realIndexes.results).toEqual(
        indexes
          .map(({ config }) => ({ name: config.name, unique: config.unique ? 1 : 0, partial: config.where === undefined ? 0 : 1 }))
          .sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1)),
      );
      for (const { config } of indexes) {
        const real = await env.DB.prepare("SELECT name FROM pragma_index_info(?) ORDER BY seqno").bind(config.name).all();
        expect(real.results.map((r) => r.name)).toEqual(config.columns.map((column) => ("name" in column ? column.name : null)));
      }
    }
  });

  it("refuse to change, delete or replace an entry", async () => {
    const tenant = newTenant();
    await record(tenant, sessionOf(tenant), [{ cost_usd: "1", kind: "commit" }, {}]);
    const before = await row(tenant);
    const columns = "tenant idx id kind session seq tags at_ms cost_micro_usd corrected_micro_usd hash prev_hash canonical".split(" ");
    /** A copy of the first entry with some columns changed, put in by force. */
    const forced = (changed: { readonly [column: string]: string }, into = columns): string =>
      `INSERT OR REPLACE INTO entries (${into.join(", ")}) SELECT ${into.map((column) => changed[column] ?? column).join(", ")} FROM entries WHERE tenant = '${tenant}' AND idx = 0`;
    for (const attempt of [
      `UPDATE entries SET cost_micro_usd = 0 WHERE tenant = '${tenant}'`,
      `UPDATE OR REPLACE entries SET idx = 1 WHERE tenant = '${tenant}' AND idx = 0`,
      `DELETE FROM entries WHERE tenant = '${tenant}'`,
      forced({ hash: `'${"f".repeat(64)}'` }),
      forced({ id: "'ent_other'" }),
      forced({ idx: "7" }),
      forced({ idx: "8", id: "'ent_other'" }, ["rowid", ...columns]),
      `${forced({ id: "'ent_other'" }).replace("OR REPLACE ", "")} ON CONFLICT DO UPDATE SET cost_micro_usd = 5`,
    ]) {
      const refused = await env.DB.prepare(attempt)
        .run()
        .then(
          () => "done",
          (error: unknown) => String(error),
        );
      expect(refused, attempt).toContain("ledger is append-only");
      expect(await row(tenant).then(({ results }) => results), attempt).toEqual(before.results);
    }
    // The same entry in its own place is passed over, whatever else is said of it.
    await env.DB.prepare(forced({ cost_micro_usd: "999" })).run();
    expect((await row(tenant)).results).toEqual(before.results);
  });

  it("refuse values that no entry can have", async () => {
    const columns = "tenant, idx, id, kind, seq, tags, at_ms, cost_micro_usd, corrected_micro_usd, hash, prev_hash, canonical";
    const good = ["'t'", "0", "'ent_1'", "'commit'", "1", "'[]'", "0", "0", "0", `'${"a".repeat(64)}'`, `'${"0".repeat(64)}'`, "'{}'"];
    for (const [at, bad] of [
      [1, "-1"],
      [1, "'x'"],
      [2, "'dec_1'"],
      [3, "'invoice'"],
      [4, "0"],
      [5, "'{}'"],
      [6, "-1"],
      [7, "-1"],
      [7, "0.5"],
      [7, "NULL"],
      [8, "-1"],
      [9, "'abc'"],
      [10, `'${"G".repeat(64)}'`],
      [11, "''"],
    ] as const) {
      const values = good.map((value, i) => (i === at ? bad : value)).join(", ");
      await expect(env.DB.prepare(`INSERT INTO entries (${columns}) VALUES (${values})`).run(), values).rejects.toThrow(
        /constraint|CHECK|malformed|cannot store/i,
      );
    }
  });

  it("keep a payload as it was until it is erased, and never take an erased one back", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const [sealed] = await record(tenant, session, [{ payload: { salt: "s", inputs: { a: null }, outputs: null } }]);
    const id = sealed?.entry.id ?? "";
    expect(await readEntry(env.DB, tenant, id)).toMatchObject({ ok: true, value: { payload: { salt: "s", inputs: { a: null }, outputs: null } } });
    await expect(env.DB.prepare("UPDATE payloads SET inputs = '1' WHERE tenant = ?").bind(tenant).run()).rejects.toThrow("payloads are written once");
    await env.DB.prepare("INSERT OR REPLACE INTO payloads (tenant, entry, salt, inputs) VALUES (?, ?, 'x', '1')").bind(tenant, id).run();
    expect(await readEntry(env.DB, tenant, id)).toMatchObject({ ok: true, value: { payload: { salt: "s" } } });
    await env.DB.prepare("DELETE FROM payloads WHERE tenant = ?").bind(tenant).run();
    await env.DB.prepare("INSERT INTO payloads (tenant, entry, salt, inputs) VALUES (?, ?, 's', '1')").bind(tenant, id).run();
    expect(await readEntry(env.DB, tenant, id)).toMatchObject({ ok: true, value: { hash: sealed?.hash, payload: null } });
  });
});

describe("reading", () => {
  const run = (n: number) => idFromDigest("run", sha256(`run ${n}`));
  const day = (d: number, ms = 0): string => formatInstant(Date.UTC(2026, 0, d) + ms);
  const story: readonly Saying[] = [
    { kind: "session", agent_id: "mailer", run_id: run(1), timestamp: day(1) },
    { agent_id: "mailer", run_id: run(1), action: "send_email", verdict: "allow", tags: ["email", "bulk"], timestamp: day(2) },
    {
      kind: "commit",
      agent_id: "mailer",
      run_id: run(1),
      action: "send_email",
      outcome: "success",
      cost_usd: "0.05",
      tags: ["email"],
      timestamp: day(3),
    },
    { agent_id: "mailer", run_id: run(2), action: "send", verdict: "deny", tags: ["emails"], timestamp: day(4) },
    { agent_id: "clerk", run_id: run(3), action: "book", verdict: "hold", timestamp: day(5) },
    { kind: "commit", agent_id: "clerk", run_id: run(3), action: "book", outcome: "error", cost_usd: "1.5", tags: ["%", 'a"b'], timestamp: day(6) },
  ];

  it("finds by every filter what a plain loop would", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const other = sessionOf(`${tenant} other`);
    const sealed = [
      ...(await record(tenant, session, story)),
      ...(await record(tenant, other, story)),
      ...(await record(tenant, null, [{ kind: "policy" }])),
    ];
    const filters: [LedgerFilter, (entry: SealedEntry["entry"]) => boolean][] = [
      [{}, () => true],
      [{ session }, (e) => e.session_id === session],
      [{ session: "ses_none" }, () => false],
      [{ run: run(1) }, (e) => e.run_id === run(1)],
      [{ agent: "clerk" }, (e) => e.agent_id === "clerk"],
      [{ action: "send" }, (e) => e.action === "send"],
      [{ kind: "commit" }, (e) => e.kind === "commit"],
      [{ kind: "policy" }, (e) => e.kind === "policy"],
      [{ verdict: "hold" }, (e) => e.verdict === "hold"],
      [{ outcome: "error" }, (e) => e.outcome === "error"],
      [{ tag: "email" }, (e) => e.tags.includes("email")],
      [{ tag: "%" }, (e) => e.tags.includes("%")],
      [{ tag: 'a"b' }, (e) => e.tags.includes('a"b')],
      [{ tag: "nothing" }, () => false],
      [{ from: Date.UTC(2026, 0, 3) }, (e) => e.timestamp >= day(3)],
      [{ to: Date.UTC(2026, 0, 3) }, (e) => e.timestamp < day(3)],
      [{ from: Date.UTC(2026, 0, 3), to: Date.UTC(2026, 0, 3) + 1 }, (e) => e.timestamp === day(3)],
      [{ session, kind: "commit", agent: "mailer", tag: "email" }, (e) => e.session_id === session && e.kind === "commit" && e.agent_id === "mailer"],
    ];
    for (const [filter, holds] of filters) {
      const expected = sealed.filter(({ entry }) => holds(entry));
      const listed = await listEntries(env.DB, tenant, filter, { limit: 1000, cursor: null });
      expect(listed.ok && hashes(listed.value.items), JSON.stringify(filter)).toEqual(hashes(expected).reverse());
      expect(hashes(await everything(tenant, filter)), JSON.stringify(filter)).toEqual(hashes(expected));
    }
  });

  it("tells what it went through: rows also that it did not want, and the characters that came out of them", async () => {
    const tenant = newTenant();
    const sealed = await record(tenant, sessionOf(tenant), many(300));
    const through = async (read: (went: Went) => Promise<unknown>) => {
      const sum = { rows: 0, characters: 0 };
      await read(({ rows = 0, characters = 0 }) => {
        sum.rows += rows;
        sum.characters += characters;
      });
      return sum;
    };
    const page = { limit: 1000, cursor: null };
    const characters = sealed.reduce((sum, { canonical }) => sum + canonical.length, 0);
    const listed = await through((went) => listEntries(env.DB, tenant, {}, page, went));
    expect(listed.characters).toBe(characters);
    expect(listed.rows).toBeGreaterThanOrEqual(300);
    const unwanted = await through((went) => listEntries(env.DB, tenant, { tag: "nothing" }, page, went));
    expect(unwanted.characters).toBe(0);
    expect(unwanted.rows).toBeGreaterThanOrEqual(300);
    const few = await through((went) => listEntries(env.DB, tenant, {}, { limit: 1, cursor: null }, went));
    expect(few.rows).toBeLessThan(20);
    const exported = await through(async (went) => {
      for await (const rows of exportEntries(env.DB, tenant, {}, went)) expect(rows).toHaveLength(300);
    });
    expect(exported.characters).toBe(characters);
    expect((await through((went) => reportCosts(env.DB, tenant, { groupBy: "day" }, went))).rows).toBeGreaterThan(0);
  });

  it("pages through everything once, whatever the page's length, also while entries arrive", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed = await record(tenant, session, many(23));
    for (const limit of [1, 2, 7, 23, 24, 1000]) {
      const seen: string[] = [];
      let cursor: string | null = null;
      do {
        const page = await listEntries(env.DB, tenant, {}, { limit, cursor });
        if (!page.ok) throw new Error(page.error.detail);
        expect(page.value.items.length).toBeGreaterThan(0);
        expect(page.value.items.length).toBeLessThanOrEqual(limit);
        seen.push(...hashes(page.value.items));
        cursor = page.value.nextCursor;
        if (seen.length === limit && limit === 7) {
          sealed.push(...chainOf(tenant, session, many(2), headOf(sealed)));
          await acceptThrough(tenant, session, sealed);
          await ledger.settle(tenant);
        }
      } while (cursor !== null);
      const known = limit <= 7 ? 23 : 25;
      expect(seen, `pages of ${limit}`).toEqual(hashes(sealed.slice(0, known)).reverse());
    }
  });

  it("cuts a page short when its entries are large, and misses none", async () => {
    const tenant = newTenant();
    const session = sessionOf(tenant);
    const sealed: SealedEntry[] = [];
    for (let i = 0; i < 12; i++) {
      const next = chainOf(tenant, session, [{ payload: { salt: `${i}`, inputs: "x".repeat(1_000_000) } }], headOf(sealed));
      await acceptThrough(tenant, session, next);
      sealed.push(...next);
    }
    await ledger.settle(tenant);
    const seen: string[][] = [];
    let cursor: string | null = null;
    do {
      const page = await listEntries(env.DB, tenant, {}, { limit: 12, cursor });
      if (!page.ok) throw new Error(page.error.detail);
      seen.push(hashes(page.value.items));
      cursor = page.value.nextCursor;
    } while (cursor !== null);
    expect(seen.length).toBeGreaterThan(1);
    expect(seen.length).toBeLessThan(12);
    expect(seen.flat()).toEqual(hashes(sealed).reverse());
    expect(hashes(await everything(tenant))).toEqual(hashes(sealed));
  });

  it("refuses a cursor that it did not make", async () => {
    for (const cursor of ["", "e", "x", "e-1", "E1", "e01", "e1 ", "e1.5", "ezzzzzzzzzzzzzzz", "' OR 1=1"]) {
      expect(await listEntries(env.DB, newTenant(), {}, { limit: 10, cursor }), cursor).toMatchObject({
        ok: false,
        error: { code: "body_invalid", issues: [{ pointer: "/cursor" }] },
      });
    }
  });

  it("shows a tenant nothing of another", async () => {
    const [ours, theirs] = [newTenant(), newTenant()];
    const session = sessionOf("shared name");
    const [secret] = await record(theirs, session, [{ kind: "commit", action: "pay", cost_usd: "5", payload: { salt: "s", inputs: "secret" } }]);
    await record(ours, session, [{ kind: "commit", action: "pay", cost_usd: "1" }]);
    expect(await readEntry(env.DB, ours, secret?.entry.id ?? "")).toMatchObject({ ok: false, error: { code: "not_found" } });
    expect(await readEntry(env.DB, theirs, secret?.entry.id ?? "")).toMatchObject({ ok: true, value: { index: 0 } });
    for (const filter of [{}, { session }, { action: "pay" }, { kind: "commit" }]) {
      expect(await everything(ours, filter)).toHaveLength(1);
      expect(await listEntries(env.DB, ours, filter, { limit: 10, cursor: null })).toMatchObject({ ok: true, value: { items: [{ payload: null }] } });
    }
    expect(await reportCosts(env.DB, ours, { groupBy: "session" })).toMatchObject({ ok: true, value: { totalMicroUsd: 1_000_000n } });
  });

  it("refuses with ledger_unavailable while D1 does not answer, and breaks an export off", async () => {
    const away = {
      prepare: () => {
        throw new Error("D1_ERROR: away");
      },
      batch: () => Promise.reject(new Error("D1_ERROR: away")),
    } as unknown as D1Database; // Only what drizzle calls.
    for (const reply of [
      await listEntries(away, "t", {}, { limit: 1, cursor: null }),
      await readEntry(away, "t", "ent_1"),
      await reportCosts(away, "t", { groupBy: "day" }),
    ]) {
      expect(reply).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
    }
    await expect(exportEntries(away, "t", {}).next()).rejects.toThrow();
  });

  it("asks an index where few rows are wanted of many, and never sorts a whole ledger", async () => {
    const asked: [string, readonly unknown[]][] = [];
    const watched = new Proxy(env.DB, {
      get: (db, member) =>
        member === "prepare"
          ? (query: string) => {
              const statement = db.prepare(query);
              return new Proxy(statement, {
                get: (target, name) =>
                  name === "bind"
                    ? (...values: unknown[]) => {
                        asked.push([query, values]);
                        return target.bind(...values);
                      }
                    : Reflect.get(target, name),
              });
            }
          : Reflect.get(db, member).bind(db),
    });
    const plan = async (read: () => Promise<unknown>): Promise<string> => {
      asked.length = 0;
      await read();
      const [query, values] = asked[0] ?? ["", []];
      const { results } = await env.DB.prepare(`EXPLAIN QUERY PLAN ${query}`)
        .bind(...values)
        .all<{ detail: string }>();
      return results.map(({ detail }) => detail).join("\n");
    };
    const page = { limit: 10, cursor: null };
    expect(await plan(() => listEntries(watched, "t", { session: "s" }, page))).toContain("entries_by_session (tenant=? AND session=?)");
    const noes = await plan(() => listEntries(watched, "t", { noes: ["kill", "deny"], session: "s", aims: true }, page));
    expect(noes).toContain("entries_by_session (tenant=? AND session=?)");
    expect(noes).toContain("entries_that_intervene (tenant=?)");
    expect(noes).toContain("MERGE (UNION ALL)");
    expect(noes).toContain("SEARCH entries USING INDEX sqlite_autoindex_entries_1 (tenant=? AND idx=?)");
    expect(noes.split("SCAN")[0]).not.toContain("TEMP B-TREE");
    expect(await plan(() => listEntries(watched, "t", { run: "r" }, page))).toContain("entries_by_run (tenant=? AND run=?)");
    expect(await plan(() => readEntry(watched, "t", "ent_1"))).toContain("entries_by_id (tenant=? AND id=?)");
    const newest = await plan(() => listEntries(watched, "t", { agent: "a" }, page));
    expect(newest).toContain("sqlite_autoindex_entries_1 (tenant=?)");
    // The steps up to the first scan find the page's entries. What is sorted after it is the page.
    expect(newest.split("SCAN")[0]).not.toContain("TEMP B-TREE");
    for (const groupBy of ["action", "run", "session", "agent", "day"] as const) {
      const costs = await plan(() => reportCosts(watched, "t", { groupBy, from: 1, to: 2 }));
      expect(costs).toContain("COVERING INDEX entries_that_post (tenant=? AND at_ms>? AND at_ms<?)");
      expect(costs).toContain("INDEX entries_that_post_by_decision (tenant=? AND decision_id=?)");
    }
  });
});

describe("costs", () => {
  it("sum to the micro-dollar what was posted less what was taken back, for every grouping and time", { timeout: 60_000 }, async () => {
    const pick = <T>(...values: T[]) => fc.constantFrom(...values);
    const saying = fc.record({
      kind: pick("decision", "commit", "release", "expiry"),
      agent_id: pick<string | null>("mailer", "clerk", null),
      run_id: pick<string | null>("run_1", "run_2", null),
      action: pick<string | null>("send", "book", "pay", null),
      decision_id: pick("dec_1", "dec_2", "dec_3", "dec_4"),
      cost: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3_000_000 }), fc.integer({ min: 0, max: 1_000_000_000_000 }), fc.maxSafeNat()),
      corrected: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 0, max: 100_000 }) }),
      at: fc.integer({ min: 0, max: 4 * 86_400_000 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(saying, { minLength: 1, maxLength: 40 }), fc.integer({ min: 0, max: 4 * 86_400_000 }), async (sayings, cut) => {
        const tenant = newTenant();
        const sealed = await record(
          tenant,
          sessionOf(tenant),
          sayings.map(({ cost, corrected, at, kind, ...rest }) => ({
            ...rest,
            kind: kind as "decision", // One of the four above.
            timestamp: formatInstant(at),
            cost_usd: formatUsd(microUsdOf(cost)),
            corrected_usd: formatUsd(microUsdOf(corrected)),
          })),
        );
        for (const query of [{}, { from: cut }, { to: cut }]) {
          for (const groupBy of ["action", "run", "session", "agent", "day"] as const) {
            const report = await reportCosts(env.DB, tenant, { ...query, groupBy });
            expect(report).toEqual({ ok: true, value: modelOf(sealed, { ...query, groupBy }) });
            if (!report.ok) throw new Error("unreachable");
            const { items, totalMicroUsd } = report.value;
            expect(items.reduce((sum, { postedMicroUsd }) => sum + postedMicroUsd, 0n)).toBe(totalMicroUsd);
          }
        }
      }),
      { numRuns: 15 },
    );
  });

  it("counts a decision that posted nothing but was committed, and no decision that was only asked", async () => {
    const tenant = newTenant();
    await record(tenant, sessionOf(tenant), [
      { action: "read", decision_id: "dec_1", estimate_usd: "1" },
      { kind: "commit", action: "read", decision_id: "dec_1" },
      { action: "write", decision_id: "dec_2", estimate_usd: "1" },
    ]);
    expect(await reportCosts(env.DB, tenant, { groupBy: "action" })).toMatchObject({
      ok: true,
      value: { items: [{ key: "read", postedMicroUsd: 0n, count: 1 }], totalMicroUsd: 0n },
    });
  });

  it("are told for one agent alone, whatever they are grouped by", async () => {
    const tenant = newTenant();
    await record(tenant, sessionOf(tenant), [
      { kind: "commit", action: "read", decision_id: "dec_1", agent_id: "ada", cost_usd: "1" },
      { kind: "commit", action: "read", decision_id: "dec_2", agent_id: "eve", cost_usd: "2" },
    ]);
    expect(await reportCosts(env.DB, tenant, { groupBy: "action", agent: "ada" })).toMatchObject({
      ok: true,
      value: { items: [{ key: "read", postedMicroUsd: 1_000_000n, count: 1 }], totalMicroUsd: 1_000_000n },
    });
  });

  it("of what names no agent, run, session or action are an item without a key: the items are the total, also of what was reported", async () => {
    const tenant = newTenant();
    await record(tenant, sessionOf(tenant), [
      { kind: "commit", action: "read", decision_id: "dec_1", agent_id: "ada", run_id: "run_1", cost_usd: "1" },
      { kind: "commit", action: null, decision_id: "dec_2", agent_id: null, run_id: null, cost_usd: "2" },
    ]);
    for (const groupBy of ["action", "run", "agent"] as const) {
      const report = await reportCosts(env.DB, tenant, { groupBy });
      expect(report).toMatchObject({
        ok: true,
        value: {
          items: [
            { key: null, postedMicroUsd: 2_000_000n, count: 1 },
            { key: { action: "read", run: "run_1", agent: "ada" }[groupBy], postedMicroUsd: 1_000_000n, count: 1 },
          ],
          totalMicroUsd: 3_000_000n,
        },
      });
    }
  });

  it("are the total also where one of them takes back what was posted before that time, or on another day", async () => {
    const tenant = newTenant();
    const [before, after] = ["2026-01-01T23:59:59.999Z", "2026-01-02T00:00:00.000Z"];
    await record(tenant, sessionOf(tenant), [
      { kind: "expiry", action: "read", decision_id: "dec_1", timestamp: before, cost_usd: "1" },
      { kind: "commit", action: "read", decision_id: "dec_1", timestamp: after, cost_usd: "0.4", corrected_usd: "1" },
      { kind: "commit", action: "mail", decision_id: "dec_2", timestamp: after, cost_usd: "0.5" },
    ]);
    const told = async (query: CostQuery) => {
      const report = await reportCosts(env.DB, tenant, query);
      return report.ok && [report.value.items.map(({ key, postedMicroUsd }) => [key, postedMicroUsd]), report.value.totalMicroUsd];
    };
    expect(await told({ groupBy: "day" })).toEqual([
      [
        ["2026-01-01", 1_000_000n],
        ["2026-01-02", -100_000n],
      ],
      900_000n,
    ]);
    expect(await told({ groupBy: "action", from: Date.parse(after) })).toEqual([
      [
        ["mail", 500_000n],
        ["read", -600_000n],
      ],
      -100_000n,
    ]);
  });

  it("count a decision of each session, also where their ids are one", async () => {
    const tenant = newTenant();
    for (const session of ["one", "another"]) {
      await record(tenant, sessionOf(`${tenant} ${session}`), [
        { kind: "commit", action: "read", decision_id: "dec_1", cost_usd: "1" },
        { kind: "commit", action: "read", decision_id: "dec_1", cost_usd: "0" },
      ]);
    }
    expect(await reportCosts(env.DB, tenant, { groupBy: "action" })).toMatchObject({
      ok: true,
      value: { items: [{ key: "read", postedMicroUsd: 2_000_000n, count: 2 }] },
    });
  });

  it("are told to the last micro-dollar beyond what a number holds, and beyond what SQLite can add up", async () => {
    const tenant = newTenant();
    const most = 9_007_199_254_740_991n;
    await record(tenant, sessionOf(tenant), [
      ...many(1_100, { kind: "commit", action: "buy", cost_usd: "9007199254.740991", decision_id: "dec_1" }),
      { kind: "commit", action: "sell", cost_usd: "0.000001", decision_id: "dec_2" },
      { kind: "release", action: "sell", corrected_usd: "0.5", decision_id: "dec_2" },
      { kind: "commit", action: "tip", cost_usd: "0.000002", decision_id: "dec_3" },
    ]);
    expect(await reportCosts(env.DB, tenant, { groupBy: "action" })).toMatchObject({
      ok: true,
      value: {
        items: [
          { key: "buy", postedMicroUsd: 1_100n * most, count: 1 },
          { key: "tip", postedMicroUsd: 2n },
          { key: "sell", postedMicroUsd: -499_999n, costMicroUsd: 1n, correctedMicroUsd: 500_000n },
        ],
        totalMicroUsd: 1_100n * most + 3n - 500_000n,
      },
    });
  });
});

/** The report by the plainest means: loops and maps over the entries' own decimals. */
function modelOf(sealed: readonly SealedEntry[], { groupBy, from, to }: CostQuery) {
  const micro = (text: string): bigint => {
    const parsed = parseUsd(text);
    if (!parsed.ok) throw new Error(parsed.error.message);
    return BigInt(parsed.value);
  };
  const lines = new Map<string | null, { cost: bigint; corrected: bigint; decisions: Set<string | null> }>();
  const total = { cost: 0n, corrected: 0n };
  for (const { entry } of sealed) {
    const at = Date.parse(entry.timestamp);
    const cost = micro(entry.cost_usd);
    const corrected = micro(entry.corrected_usd);
    if ((from !== undefined && at < from) || (to !== undefined && at >= to)) continue;
    if (entry.kind !== "commit" && cost === 0n && corrected === 0n) continue;
    total.cost += cost;
    total.corrected += corrected;
    const key = {
      action: entry.action,
      run: entry.run_id,
      session: entry.session_id,
      agent: entry.agent_id,
      day: entry.timestamp.slice(0, 10),
    }[groupBy];
    const line = lines.get(key) ?? { cost: 0n, corrected: 0n, decisions: new Set() };
    line.cost += cost;
    line.corrected += corrected;
    line.decisions.add(entry.decision_id);
    lines.set(key, line);
  }
  return {
    items: [...lines]
      .sort(([a, x], [b, y]) => Number(y.cost - y.corrected - (x.cost - x.corrected)) || (b !== null && (a === null || a < b) ? -1 : 1))
      .map(([key, { cost, corrected, decisions }]) => ({
        key,
        postedMicroUsd: cost - corrected,
        count: decisions.size,
        costMicroUsd: cost,
        correctedMicroUsd: corrected,
        reportedMicroUsd: 0n,
      })),
    totalMicroUsd: total.cost - total.corrected,
    reportedMicroUsd: 0n,
  };
}
