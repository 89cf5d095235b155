import { describe, expect, it, test } from "vitest";
import { CHAIN_START, type EntryDraft, seal } from "../../src/core/entry.ts";
import { idFromDigest, type SessionId } from "../../src/core/ids.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { REASONS, type ReasonCode } from "../../src/core/reasons.ts";
import { refusal } from "../../src/core/refusals.ts";
import { err, ok } from "../../src/core/result.ts";
import { formatInstant } from "../../src/core/time.ts";
import type { LedgerRow, Ports } from "../../src/flow/ports.ts";
import {
  MOST_ENTRIES_OF_A_SESSION,
  MOST_LOOKUPS,
  MOST_SESSIONS,
  MOST_STEPS,
  type Simulated,
  type Simulating,
  simulate,
} from "../../src/flow/simulate.ts";
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
  /** So many times the stored attributes and policies were asked for. */
  lookups = 0;

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

  /** A session whose every decision is about a resource, and under a policy, of its own; each a millisecond after the one before. */
  addLooking(name: string, decisions: number, hasPolicies: boolean, reason: ReasonCode = "rule_forbids"): SessionId {
    const session = this.add(name);
    const run_id = idFromDigest("run", sha256(`run ${name}`));
    const common = { tenant_id: "demo", session_id: session, agent_id: "ada", run_id, kind: "decision", step: "decide", action: "a" } as const;
    for (let n = 0; n < decisions; n++) {
      const decision_id = idFromDigest("dec", sha256(`dec ${name} ${n}`));
      const policy = hasPolicies ? { name: "old", version: n + 1, digest: `sha-256:${sha256(`${name} ${n}`)}` as const } : null;
      const resource = { type: "order", id: `${name} ${n}` };
      this.#add(session, { ...common, decision_id, resource, policy, verdict: "deny", reason }, AT + 2 + n);
    }
    return session;
  }

  /** A session of so many decisions, all of one instant. */
  addAtOnce(name: string, decisions: number): SessionId {
    const session = this.add(name);
    const run_id = idFromDigest("run", sha256(`run ${name}`));
    const common = { tenant_id: "demo", session_id: session, agent_id: "ada", run_id, kind: "decision", step: "decide", action: "a" } as const;
    for (let n = 0; n < decisions; n++) {
      const decision_id = idFromDigest("dec", sha256(`dec ${name} ${n}`));
      this.#add(session, { ...common, decision_id, verdict: "deny", reason: "rule_forbids" }, AT + 2);
    }
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
      tenants: {
        readEntities: async (_tenant, refs) => {
          that.lookups++;
          return ok({ revision: 1, properties: refs.map(() => null) });
        },
        readPolicy: async () => {
          that.lookups++;
          return err(refusal("not_found", "It is not kept."));
        },
      },
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

const written = (yaml: string) => {
  const parsed = parsePolicy(yaml, "yaml");
  if (!parsed.ok) throw new Error("a policy was expected");
  return parsed.value.document;
};
const candidate = written("denied_actions: [a]");
const looking = written("rules: [{ id: r, effect: forbid, actions: [a], when: \"resource.tier == 'gold'\" }]");

/** Each decision takes nearly two million steps, and is newly allowed. */
const thinking = written(
  `rules:\n${Array.from({ length: 50 }, (_, n) => `- { id: r${n}, effect: forbid, actions: [a], when: "(action + '${"x".repeat(3000)}').split('').all(a, a != 'z') && false" }`).join("\n")}`,
);

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

  test.each<[string, boolean, number]>([
    // A page of 500 takes 32 look-ups, and the last one has eight left.
    ["resources", false, 498 + 5 * 500 + 8 * 16],
    // Each policy takes one, and sixteen resources another.
    ["resources and policies", true, 188],
  ])("cuts a session that has more different %s than may be looked up, and says where", async (_, hasPolicies, looked) => {
    const record = new Record();
    const session = record.addLooking("greedy", 20_000 - 3, hasPolicies);
    const done = await part(record.ports(), { candidate: looking });
    expect(record.lookups).toBe(MOST_LOOKUPS);
    expect(done.cut).toEqual([{ session, through: AT + 2 + looked - 1 }]);
    expect({ decisions: done.tally.decisions, next: done.next !== null }).toEqual({ decisions: 1 + looked, next: true });
  });

  it("lets a session look up as much whatever the ones before it did, and begins no further one", async () => {
    const record = new Record();
    for (const name of ["third", "second", "first"]) record.addLooking(name, 2800, false);
    const first = await part(record.ports(), { candidate: looking });
    expect({ sessions: first.sessions, cut: first.cut, lookups: record.lookups }).toEqual({ sessions: 2, cut: [], lookups: 2 * 179 });
    expect(await part(record.ports(), { candidate: looking, cursor: first.next })).toMatchObject({ sessions: 1, cut: [], next: null });
  });

  it("cuts a session whose decisions take too many steps, within an instant too, counts what was decided, and lets others have their turn meanwhile", async () => {
    const record = new Record();
    const session = record.addAtOnce("thinking", 100);
    let turns = 0;
    let isDone = false;
    const others = (): void => {
      turns++;
      if (!isDone) setTimeout(others, 0);
    };
    setTimeout(others, 0);
    const done = await part(record.ports(), { candidate: thinking });
    isDone = true;
    expect(done.cut).toMatchObject([{ session }]);
    expect(done.steps).toBeGreaterThanOrEqual(MOST_STEPS);
    expect(done.steps).toBeLessThan(1.1 * MOST_STEPS);
    expect(done.tally.decisions).toBeLessThan(100);
    expect(done.tally.changed.newly_allowed.count).toBe(done.tally.decisions - 1);
    // About fifty milliseconds each.
    expect(turns).toBeGreaterThan(15);
  }, 60_000);

  it("lets a session take as many steps whatever the ones before it did, and begins no further one", async () => {
    const record = new Record();
    for (const name of ["third", "second", "first"]) record.addAtOnce(name, 35);
    const first = await part(record.ports(), { candidate: thinking });
    expect({ sessions: first.sessions, cut: first.cut, ended: first.next === null }).toEqual({ sessions: 2, cut: [], ended: false });
    expect(first.tally.changed.newly_allowed.count).toBe(70);
    expect(await part(record.ports(), { candidate: thinking, cursor: first.next })).toMatchObject({ sessions: 1, cut: [], next: null });
  }, 60_000);

  it("reads of the policies beside the candidate only those of agents whose sessions there are", async () => {
    const record = new Record();
    record.add("one");
    const ports = record.ports();
    const read: string[] = [];
    const row = { version: 1, digest: `sha-256:${sha256("p")}` as const, latestVersion: 1, activeVersion: 1, updatedAt: AT };
    const rows = Array.from({ length: 900 }, (_, n) => ({ ...row, name: `p${n}`, scope: "agent" as const, target: n === 7 ? "ada" : `agent ${n}` }));
    const items = [
      ...rows,
      { ...row, name: "main", scope: "tenant" as const, target: null },
      { ...row, name: "all", scope: "tenant" as const, target: null },
    ];
    const told = await portsOf({}).tenants.readPolicy("demo", "demo", 3);
    const tenants = {
      ...ports.tenants,
      listPolicies: async () => ok({ items, nextCursor: null }),
      readPolicy: async (_tenant: string, name: string) => {
        read.push(name);
        return told;
      },
    };
    await part({ ...ports, tenants }, { replaces: "main" });
    expect(read).toEqual(["p7", "all"]);
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

/** Whether a policy decides it; a new reason does not compile before it is said of it. */
const IS_POLICYS: { readonly [R in ReasonCode]: boolean } = {
  session_closed: false,
  run_closed: false,
  tenant_killed: false,
  agent_killed: false,
  session_killed: false,
  run_killed: false,
  action_killed: false,
  tenant_paused: false,
  agent_paused: false,
  session_paused: false,
  run_paused: false,
  action_paused: false,
  authority_stale: false,
  policy_missing: false,
  policy_invalid: false,
  action_denied: true,
  action_not_allowed: true,
  rule_forbids: true,
  inputs_required: true,
  arguments_invalid: true,
  prerequisite_missing: true,
  history_forbids: true,
  loop_detected: true,
  retries_exceeded: true,
  concurrency_exceeded: true,
  rate_exceeded: true,
  price_unknown: true,
  action_budget_exceeded: true,
  run_budget_exceeded: true,
  session_budget_exceeded: true,
  agent_budget_exceeded: false,
  tenant_budget_exceeded: false,
  approval_rejected: false,
  approval_expired: false,
  approval_mismatch: false,
  approval_consumed: false,
  batch_refused: false,
  approval_required: true,
  permitted: true,
};

it.each(REASONS)("a denial on record by %s is newly allowed only where a policy decides it", async (reason) => {
  const record = new Record();
  record.addLooking("one", 1, false, reason);
  const { tally } = await part(record.ports(), { candidate: written("version: 1") });
  const isPolicys = IS_POLICYS[reason];
  expect({ allowed: tally.changed.newly_allowed.count, kept: tally.notComparable.get(reason)?.count ?? 0 }).toEqual({
    allowed: isPolicys ? 1 : 0,
    kept: isPolicys ? 0 : 1,
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
