import { and, asc, count, desc, eq, gt, gte, isNull, lt, lte, ne, or, type SQL, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/d1";
import { unionAll } from "drizzle-orm/sqlite-core";
import type { EntryKind, Payload } from "../core/entry.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import {
  APPROVAL_NOES,
  type CostQuery,
  type CostReport,
  type LedgerFilter,
  type LedgerRow,
  type NoKind,
  type PageOf,
  type PageQuery,
  type Reply,
  type Went,
} from "../flow/ports.ts";
import { entries, payloads, posts } from "./schema.ts";

/**
 * A page of a tenant's entries, newest first. A page may be shorter than asked for when its entries are large; `nextCursor` is `null` only at the end.
 * Refuses a cursor that this function did not make (`body_invalid` at `/cursor`), and everything while D1 does not answer (`ledger_unavailable`).
 */
export async function listEntries(
  db: D1Database,
  tenant: string,
  filter: LedgerFilter,
  page: PageQuery,
  went: Went = nobody,
): Reply<PageOf<LedgerRow>> {
  const below = page.cursor === null ? null : parseCursor(page.cursor);
  if (below === undefined) {
    const message = "a cursor is the next_cursor of an earlier page, unchanged";
    return err(refusal("body_invalid", `The cursor cannot be read: ${message}.`, [{ pointer: "/cursor", message }]));
  }
  const wanted = shelvesOf(tenant, filter, below === null ? undefined : lt(entries.index, below));
  const slice = await asked(() => readSlice(db, tenant, wanted, "newest first", page.limit, went));
  if (!slice.ok) return slice;
  const last = slice.value.rows.at(-1);
  return ok({ items: slice.value.rows, nextCursor: slice.value.more && last !== undefined ? cursorOf(last.index) : null });
}

/** One entry of the tenant. Another tenant's entry is `not_found`, like one that never was. */
export async function readEntry(db: D1Database, tenant: string, id: string): Reply<LedgerRow> {
  const slice = await asked(() =>
    readSlice(db, tenant, [{ from: ALL, where: and(eq(entries.tenant, tenant), eq(entries.id, id)) }], "newest first", 1, nobody),
  );
  if (!slice.ok) return slice;
  const row = slice.value.rows[0];
  return row === undefined ? err(refusal("not_found", "There is no such entry.")) : ok(row);
}

/**
 * Every matching entry, oldest first, in pages read as they are asked for. There is no refusal in the middle of a stream: when D1 fails it throws, so that
 * a broken export never looks like a whole one.
 */
export async function* exportEntries(
  db: D1Database,
  tenant: string,
  filter: LedgerFilter,
  went: Went = nobody,
): AsyncGenerator<readonly LedgerRow[], void, undefined> {
  let above = filter.after ?? -1;
  // What comes while it is read is in the next one.
  const last = await lastIndex(db, tenant);
  for (;;) {
    const wanted = shelvesOf(tenant, filter, lte(entries.index, last), gt(entries.index, above));
    const { rows, more } = await readSlice(db, tenant, wanted, "oldest first", EXPORT_PAGE, went);
    const newest = rows.at(-1);
    if (newest === undefined) return;
    yield rows;
    if (!more) return;
    above = newest.index;
  }
}

/** The index of the tenant's newest entry; -1: it has none. */
async function lastIndex(db: D1Database, tenant: string): Promise<number> {
  const newest = await drizzle(db)
    .select({ index: entries.index })
    .from(entries)
    .where(eq(entries.tenant, tenant))
    .orderBy(desc(entries.index))
    .limit(1);
  return newest[0]?.index ?? -1;
}

/**
 * What was spent, by action, run, session, agent or UTC day of the entry: largest first. Entries that have no such key are an item without one, so that
 * the items are the total. Below zero where more was taken back in that time than was posted in it: what an earlier entry had posted. Exact, however much
 * it is.
 */
export async function reportCosts(db: D1Database, tenant: string, query: CostQuery, went: Went = nobody): Reply<CostReport> {
  const orm = drizzle(counted(db, went));
  const key = COST_KEYS[query.groupBy];
  const posting = and(eq(entries.tenant, tenant), posts(), query.agent === undefined ? undefined : eq(entries.agent, query.agent), ...during(query));
  const sums = {
    ...inParts("cost", entries.costMicroUsd, sql`not ${IS_TOLD}`),
    ...inParts("corrected", entries.correctedMicroUsd, sql`true`),
    ...inParts("reported", entries.costMicroUsd, sql`${IS_TOLD} and not ${IS_POSTED}`),
  };
  // A decision's id is made by its client, and is one of its session.
  const count = sql<number>`count(distinct coalesce(${entries.session}, '') || ' ' || ${entries.decisionId}) filter (where not ${IS_TOLD})`;
  const reply = await asked(() =>
    // One transaction: the total is of the same instant as the lines.
    orm.batch([
      orm
        .select({ key: sql<string | null>`${key}`, count, ...sums })
        .from(entries)
        .where(posting)
        .groupBy(key)
        .orderBy(asc(key)),
      orm.select(sums).from(entries).where(posting),
    ]),
  );
  if (!reply.ok) return reply;
  const [rows, [total]] = reply.value;
  const lines = rows.map((row) => {
    const cost = whole(row.costHigh, row.costLow);
    const corrected = whole(row.correctedHigh, row.correctedLow);
    return { key: row.key, count: row.count, cost, corrected, net: cost - corrected, reported: whole(row.reportedHigh, row.reportedLow) };
  });
  // Here, because what comes back from SQLite in two parts it cannot sort by their sum. Those of one sum stay in the order of their keys.
  lines.sort((a, b) => (a.net === b.net ? 0 : a.net > b.net ? -1 : 1));
  return ok({
    items: lines.map((line) => ({
      key: line.key,
      postedMicroUsd: line.net,
      count: line.count,
      costMicroUsd: line.cost,
      correctedMicroUsd: line.corrected,
      reportedMicroUsd: line.reported,
    })),
    totalMicroUsd: total === undefined ? 0n : whole(total.costHigh, total.costLow) - whole(total.correctedHigh, total.correctedLow),
    reportedMicroUsd: total === undefined ? 0n : whole(total.reportedHigh, total.reportedLow),
  });
}

/** Entries in the order of the tenant's ledger, from an index on, without what lies beside them: at most so many, and fewer where they are large. */
export function entriesFrom(
  db: D1Database,
  tenant: string,
  index: number,
  most: number,
): Reply<readonly { readonly index: number; readonly canonical: string; readonly hash: string }[]> {
  return asked(() => {
    const orm = drizzle(db);
    // Measured first, with what comes before each: of what is too much nothing is read.
    const measured = orm
      .select({
        at: entries.index,
        before: sql<number>`sum(octet_length(${entries.canonical})) over (order by ${entries.index}) - octet_length(${entries.canonical})`.as(
          "before",
        ),
      })
      .from(entries)
      .where(and(eq(entries.tenant, tenant), gte(entries.index, index), lt(entries.index, index + most)))
      .as("measured");
    return orm
      .select({ index: entries.index, canonical: entries.canonical, hash: entries.hash })
      .from(measured)
      .innerJoin(entries, and(eq(entries.tenant, tenant), eq(entries.index, measured.at)))
      .where(lt(measured.before, FEED_OCTETS))
      .orderBy(asc(entries.index));
  });
}

/** The recorded hash at a place of a chain (a session's, or the tenant's own under its name), or `null`. */
export function hashAt(db: D1Database, tenant: string, chain: string, seq: number): Reply<string | null> {
  const ofChain = and(chain === tenant ? isNull(entries.session) : eq(entries.session, chain), ne(entries.kind, "ingest"));
  const wanted = and(eq(entries.tenant, tenant), ofChain, eq(entries.seq, seq));
  return asked(async () => (await drizzle(db).select({ hash: entries.hash }).from(entries).where(wanted).limit(1))[0]?.hash ?? null);
}

const EXPORT_PAGE = 500;
/** A page is cut where its texts pass this: a Worker has 128 MB, and a thousand entries with their payloads could be more. */
const PAGE_OCTETS = 4_000_000;
/** The same for listeners, of whom many may read at once. */
const FEED_OCTETS = 1_000_000;

const IS_TOLD = sql`${entries.kind} = 'ingest'`;

/**
 * Whether the gateway itself has posted something of the decision that a reported line names: then that is what it cost. A decision of the agent that the
 * line is of, and of the session that it names: another's does not hide what was reported. Written out, in the words of the index that serves it, which is
 * named: left to itself SQLite walks all that was ever posted.
 */
const IS_POSTED = sql`exists (
  select 1 from entries as own indexed by entries_that_post_by_decision
  where own.tenant = ${entries.tenant} and own.decision_id = ${entries.decisionId} and own.decision_id is not null and own.kind <> 'ingest'
    and (own.kind = 'commit' or own.cost_micro_usd > 0 or own.corrected_micro_usd > 0)
    and own.agent is ${entries.agent} and (${entries.session} is null or own.session = ${entries.session})
)`;

const COST_KEYS = {
  action: sql`${entries.action}`,
  run: sql`${entries.run}`,
  session: sql`${entries.session}`,
  agent: sql`${entries.agent}`,
  day: sql`date(${entries.atMs} / 1000, 'unixepoch')`,
} satisfies { readonly [G in CostQuery["groupBy"]]: SQL };

/** Where entries are looked for, in the order of the ledger, and which of them. What is on one shelf is on no other. */
interface Shelf {
  readonly from: SQL;
  readonly where: SQL | undefined;
}

type Shelves = readonly [Shelf, Shelf?];

const ALL = sql`${entries}`;

/**
 * A session's own chain, and what was aimed at the session, are two shelves, by an index each, which is named: asked for with an `or` SQLite would walk
 * all that the tenant ever recorded.
 */
function shelvesOf(tenant: string, filter: LedgerFilter, ...within: readonly (SQL | undefined)[]): Shelves {
  const { session, ...others } = filter;
  if (session === undefined || filter.aims !== true) return [{ from: ALL, where: and(matches(tenant, filter), ...within) }];
  const where = and(matches(tenant, others), ...within);
  return [
    { from: sql`${entries} indexed by entries_by_session`, where: and(where, eq(entries.session, session)) },
    {
      from: sql`${entries} indexed by entries_that_intervene`,
      where: and(where, isAimedAt("session", session), sql`${entries.session} is not ${session}`),
    },
  ];
}

function matches(tenant: string, filter: LedgerFilter): SQL | undefined {
  const { session, run, agent, action, kind, verdict, outcome, tag } = filter;
  return and(
    eq(entries.tenant, tenant),
    session === undefined ? undefined : eq(entries.session, session),
    run === undefined ? undefined : eq(entries.run, run),
    agent === undefined ? undefined : filter.aims === true ? or(eq(entries.agent, agent), isAimedAt("agent", agent)) : eq(entries.agent, agent),
    action === undefined
      ? undefined
      : filter.aims === true
        ? or(eq(entries.action, action), isAimedAt("action", action))
        : eq(entries.action, action),
    kind === undefined ? undefined : eq(entries.kind, kind),
    verdict === undefined ? undefined : eq(entries.verdict, verdict),
    outcome === undefined ? undefined : eq(entries.outcome, outcome),
    filter.noes === undefined ? undefined : or(...filter.noes.map(saysNo)),
    tag === undefined ? undefined : sql`exists (select 1 from json_each(${entries.tags}) where value = ${tag})`,
    ...during(filter),
  );
}

/** The kind is written out, in the words of the index. */
const isAimedAt = (type: "agent" | "session" | "action", id: string): SQL | undefined =>
  and(sql`${entries.kind} = 'intervention'`, eq(detail("target.type"), type), eq(detail("target.id"), id));

/** A word of our own, written out: all kinds of no together would be more parameters than D1 takes. */
const written = (word: "event" | "kind" | `target.${"type" | "id"}` | EntryKind | NoKind | NoEvent, before = ""): SQL =>
  sql.raw(`'${before}${word}'`);

type NoEvent = (typeof APPROVAL_NOES)[keyof typeof APPROVAL_NOES];

const detail = (path: "event" | "kind" | "target.type" | "target.id"): SQL<string | null> =>
  sql<string | null>`json_extract(${entries.canonical}, ${written(path, "$.details.")})`;

/** What makes an entry one in which the system said no. */
function saysNo(kind: NoKind): SQL {
  switch (kind) {
    case "kill":
    case "pause":
    case "resume":
    case "revive":
      return sql`(${of("intervention")} and ${detail("event")} = 'intervention' and ${detail("kind")} = ${written(kind)})`;
    case "deny":
    case "hold":
      return sql`(${of("decision")} and ${entries.verdict} = ${written(kind)})`;
    case "reject":
    case "timeout":
    case "cancel":
    case "answer_refused":
      return sql`(${of("approval")} and ${detail("event")} = ${written(APPROVAL_NOES[kind])})`;
    case "lease_denied":
      return sql`(${of("lease")} and ${detail("event")} = 'refused')`;
    case "reported_deny":
      return sql`(${of("ingest")} and ${entries.verdict} = 'deny')`;
    case "reported_hold":
      return sql`(${of("ingest")} and ${entries.verdict} = 'hold')`;
    case "overrun":
      return sql`(${of("commit")} and json_extract(${entries.canonical}, '$.overrun_usd') <> '0')`;
    case "expiry":
      return of("expiry");
  }
}

const of = (kind: EntryKind): SQL => sql`${entries.kind} = ${written(kind)}`;

const during = ({ from, to }: Pick<LedgerFilter, "from" | "to">): (SQL | undefined)[] => [
  from === undefined ? undefined : gte(entries.atMs, from),
  to === undefined ? undefined : lt(entries.atMs, to),
];

interface Slice {
  readonly rows: readonly LedgerRow[];
  readonly more: boolean;
}

/** At most `limit` entries from one end, fewer when they are large, never none when there is one. */
async function readSlice(
  db: D1Database,
  tenant: string,
  wanted: Shelves,
  order: "newest first" | "oldest first",
  limit: number,
  went: Went,
): Promise<Slice> {
  const orm = drizzle(counted(db, went));
  const ordered = order === "newest first" ? desc : asc;
  const beside = and(eq(payloads.tenant, entries.tenant), eq(payloads.entry, entries.id));
  // Three steps in one statement: which entries (one more than asked for, to know whether there are more), how large they are up to each, and their texts.
  const picked = ({ from, where }: Shelf) =>
    orm
      .select({ at: sql<number>`${entries.index}`.as("at"), octets: OCTETS.as("octets") })
      .from(from)
      .leftJoin(payloads, beside)
      .where(where);
  const [one, another] = wanted;
  // Either is read in order, and only as far as the page goes.
  const found = (another === undefined ? picked(one) : unionAll(picked(one), picked(another)))
    .orderBy(ordered(sql`at`))
    .limit(limit + 1)
    .as("found");
  const measured = orm
    .select({
      at: found.at,
      before: sql<number>`sum(${found.octets}) over (order by ${ordered(found.at)}) - ${found.octets}`.as("before"),
      available: sql<number>`${count()} over ()`.as("available"),
    })
    .from(found)
    .as("measured");
  const page = orm
    .select({
      index: entries.index,
      canonical: entries.canonical,
      hash: entries.hash,
      salt: payloads.salt,
      inputs: payloads.inputs,
      outputs: payloads.outputs,
      available: measured.available,
    })
    .from(measured)
    // SQLite keeps to the order of a cross join: the other way round it would walk all that the tenant ever recorded.
    .crossJoin(entries)
    .leftJoin(payloads, beside)
    .where(and(eq(entries.tenant, tenant), eq(entries.index, measured.at), lt(measured.before, PAGE_OCTETS)))
    .orderBy(ordered(measured.at))
    .limit(limit);
  // As a batch, which says how many rows were gone through.
  const [rows] = await orm.batch([page]);
  went({ characters: rows.reduce((sum, row) => sum + row.canonical.length + (row.inputs?.length ?? 0) + (row.outputs?.length ?? 0), 0) });
  return {
    rows: rows.map(({ index, canonical, hash, salt, inputs, outputs }) => ({ index, canonical, hash, payload: payloadOf(salt, inputs, outputs) })),
    more: (rows[0]?.available ?? 0) > rows.length,
  };
}

const OCTETS = sql<number>`octet_length(${entries.canonical}) + coalesce(octet_length(${payloads.inputs}), 0) + coalesce(octet_length(${payloads.outputs}), 0)`;

function payloadOf(salt: string | null, inputs: string | null, outputs: string | null): Payload | null {
  if (salt === null) return null;
  return {
    salt,
    ...(inputs === null ? {} : { inputs: JSON.parse(inputs) }),
    ...(outputs === null ? {} : { outputs: JSON.parse(outputs) }),
  };
}

/**
 * A sum in two parts, of which each is exact: a number from D1 is a double, and SQLite's own sum fails beyond 64 bits, which a thousand amounts can
 * reach. Either part of a hundred million amounts, however large they are, is less than 2^53.
 */
const inParts = <N extends string>(name: N, amount: typeof entries.costMicroUsd | typeof entries.correctedMicroUsd, filter: SQL) =>
  ({
    [`${name}High`]: sql<number>`coalesce(sum(${amount} / ${sql.raw(String(PART))}) filter (where ${filter}), 0)`,
    [`${name}Low`]: sql<number>`coalesce(sum(${amount} % ${sql.raw(String(PART))}) filter (where ${filter}), 0)`,
    // Names that are put together are texts to the compiler.
  }) as { readonly [part in `${N}High` | `${N}Low`]: SQL<number> };

/** About the square root of the largest amount. */
const PART = 100_000_000;

const whole = (high: number, low: number): bigint => BigInt(high) * BigInt(PART) + BigInt(low);

const nobody: Went = () => undefined;

/** The same database, whose batches tell how many rows they went through. */
const counted = (db: D1Database, went: Went): D1Database =>
  new Proxy(db, {
    get(of, name) {
      const member: unknown = Reflect.get(of, name, of);
      if (name === "batch")
        return async (statements: D1PreparedStatement[]) => {
          const results = await of.batch(statements);
          went({ rows: results.reduce((sum, { meta }) => sum + meta.rows_read, 0) });
          return results;
        };
      return typeof member === "function" ? member.bind(of) : member;
    },
  });

const cursorOf = (index: number): string => `e${index.toString(36)}`;

/** `undefined`: not one of ours. */
function parseCursor(text: string): number | undefined {
  const index = Number.parseInt(text.slice(1), 36);
  return Number.isSafeInteger(index) && index >= 0 && cursorOf(index) === text ? index : undefined;
}

/** D1's failures become a refusal; what they say stays inside. */
async function asked<T>(read: () => Promise<T>): Promise<Result<T, Refusal>> {
  try {
    return ok(await read());
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    console.error(JSON.stringify({ event: "ledger_read_failed", why: cause instanceof Error ? cause.message.slice(0, 200) : "unknown" }));
    return err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: the database does not answer."));
  }
}
