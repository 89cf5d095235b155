import { describe, expect, it, test } from "vitest";
import { CHAIN_START, type EntryDraft, seal } from "../../src/core/entry.ts";
import { idFromDigest, type SessionId } from "../../src/core/ids.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { refusal } from "../../src/core/refusals.ts";
import { err, ok } from "../../src/core/result.ts";
import { formatInstant } from "../../src/core/time.ts";
import type { LedgerRow, Ports } from "../../src/flow/ports.ts";
import { MOST_ENTRIES_OF_A_SESSION, MOST_SESSIONS, type Simulated, type Simulating, simulate } from "../../src/flow/simulate.ts";
import { AT, portsOf } from "./http_world.ts";
import { sha256 } from "./sha256.ts";

/** How a long record is read: a bounded part at a time, every session once. The ledger is a list; what is decided is the core's affair. */

const TTL_MS = 3_600_000;

interface Kept extends LedgerRow {
  readonly session: SessionId;
  readonly kind: string;
  readonly at: number;
}

class Record {
  readonly rows: Kept[] = [];
  readonly exported: string[] = [];
  breaks = false;

  /** A session with one decision that was allowed, and so many entries more that decide nothing. */
  add(name: string, more = 0, openedAt = AT): SessionId {
    const session = idFromDigest("ses", sha256(`ses ${name}`));
    const run = idFromDigest("run", sha256(`run ${name}`));
    const principal = { kind: "agent", subject: "ada", token_id: "tok" } as const;
    const common = { tenant_id: "demo", session_id: session, agent_id: "ada", run_id: run, principal };
    this.#add(session, { ...common, kind: "session", details: { event: "opened", ttl_ms: TTL_MS, budget_usd: null } }, openedAt);
    const decision_id = idFromDigest("dec", sha256(`dec ${name}`));
    const allowed = { step: "decide", verdict: "allow", reason: "permitted", estimate_usd: "0.5", action: "a", decision_id } as const;
    this.#add(
      session,
      { ...common, ...allowed, kind: "decision", reservation: { amount_usd: "0.5", expires_at: formatInstant(openedAt + 9000) } },
      openedAt + 1,
    );
    for (let n = 0; n < more; n++) this.#add(session, { ...common, kind: "lease" }, openedAt + 2);
    return session;
  }

  #add(session: SessionId, says: Omit<EntryDraft, "id" | "timestamp">, at: number): void {
    const id = idFromDigest("ent", sha256(`entry ${this.rows.length}`));
    const { canonical, hash } = seal(sha256, CHAIN_START, { ...says, id, timestamp: formatInstant(at) }, null);
    this.rows.push({ index: this.rows.length, canonical, hash, payload: null, session, kind: says.kind, at });
  }

  ports(): Ports {
    const rows = this.rows;
    const that = this;
    return portsOf({
      ledger: {
        list: async (_tenant, { kind, session, from = 0 }, { limit, cursor }) => {
          const below = cursor === null ? Number.POSITIVE_INFINITY : Number(cursor);
          const wanted = rows.filter(
            (row) => row.kind === kind && row.index < below && row.at >= from && (session === undefined || row.session === session),
          );
          const items = wanted.reverse().slice(0, limit);
          return ok({ items, nextCursor: wanted.length > limit ? String(items.at(-1)?.index) : null });
        },
        export: async function* (_tenant, { session }) {
          that.exported.push(String(session));
          const all = rows.filter((row) => row.session === session);
          for (let from = 0; from < all.length; from += 500) {
            if (that.breaks) throw new Error("D1 is away");
            yield all.slice(from, from + 500);
          }
        },
      },
    });
  }
}

const candidate = (() => {
  const parsed = parsePolicy("denied_actions: [a]", "yaml");
  if (!parsed.ok) throw new Error("a policy was expected");
  return parsed.value.document;
})();

const ASKED: Simulating = { tenant: "demo", candidate, replaces: null, from: null, to: null, agent: null, session: null, cursor: null };

async function part(ports: Ports, asked: Partial<Simulating> = {}): Promise<Simulated> {
  const done = await simulate(ports, { ...ASKED, ...asked });
  if (!done.ok) throw new Error(JSON.stringify(done.error));
  return done.value;
}

describe("a record too long for one call", () => {
  it("is simulated in parts that add up, every session once, though new ones are opened meanwhile", async () => {
    const record = new Record();
    for (let n = 0; n < 2 * MOST_SESSIONS + 50; n++) record.add(`old ${n}`);
    const wanted = new Set(record.rows.map(({ session }) => session));
    const parts: Simulated[] = [];
    let cursor: string | null = null;
    do {
      const one: Simulated = await part(record.ports(), { cursor });
      parts.push(one);
      cursor = one.next;
      for (let n = 0; n < 30; n++) record.add(`new ${parts.length} ${n}`);
    } while (cursor !== null);
    expect(parts.map(({ sessions }) => sessions)).toEqual([MOST_SESSIONS, MOST_SESSIONS, 50]);
    expect(parts.reduce((sum, { tally }) => sum + tally.changed.newly_denied.count, 0)).toBe(2 * MOST_SESSIONS + 50);
    expect(record.exported).toHaveLength(wanted.size);
    expect(new Set(record.exported)).toEqual(wanted);
  });

  it("ends a part once enough entries were read, and says how many", async () => {
    const record = new Record();
    for (let n = 0; n < 5; n++) record.add(`${n}`, 6000);
    const first = await part(record.ports());
    // Of each session its entries, and the opening by which it was found.
    expect({ sessions: first.sessions, entries: first.entries, cut: first.cut }).toEqual({ sessions: 4, entries: 4 * 6003, cut: [] });
    const rest = await part(record.ports(), { cursor: first.next });
    expect({ sessions: rest.sessions, next: rest.next }).toEqual({ sessions: 1, next: null });
  });

  it("cuts a session that is longer than a part, and says where", async () => {
    const record = new Record();
    const session = record.add("long", MOST_ENTRIES_OF_A_SESSION + 700);
    const done = await part(record.ports());
    expect(done.cut).toEqual([{ session, through: AT + 2 }]);
    expect(done.entries).toBe(MOST_ENTRIES_OF_A_SESSION + 1);
    expect(done.tally.changed.newly_denied.count).toBe(1);
  });

  test.each<[string, Partial<Simulating> | string]>([
    ["another candidate's", { candidate: { ...candidate, denied_actions: ["b"] } }],
    ["another window's", { from: AT }],
    ["another agent's", { agent: "ada" }],
    ["nonsense", "nonsense"],
    ["a number", "17"],
  ])("refuses a cursor that is %s", async (_, other) => {
    const record = new Record();
    for (let n = 0; n < MOST_SESSIONS + 1; n++) record.add(`${n}`);
    const { next } = await part(record.ports());
    const asked = typeof other === "string" ? { ...ASKED, cursor: other } : { ...ASKED, cursor: next, ...other };
    expect(await simulate(record.ports(), asked)).toMatchObject({ ok: false, error: { code: "body_invalid", issues: [{ pointer: "/cursor" }] } });
  });
});

it("does not read sessions that had ended before the window", async () => {
  const record = new Record();
  record.add("ended", 0, AT - TTL_MS - 1);
  const open = record.add("open", 0, AT - TTL_MS);
  const done = await part(record.ports(), { from: AT });
  expect(record.exported).toEqual([open]);
  expect({ readFrom: done.readFrom, decisions: done.tally.decisions }).toEqual({ readFrom: AT - TTL_MS, decisions: 0 });
});

it("refuses as a whole when the record breaks off", async () => {
  const record = new Record();
  record.add("one");
  record.breaks = true;
  expect(await simulate(record.ports(), ASKED)).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
  const away = portsOf({ ledger: { settle: async () => err(refusal("ledger_unavailable", "away")) } });
  expect(await simulate(away, ASKED)).toMatchObject({ ok: false, error: { code: "ledger_unavailable" } });
});
