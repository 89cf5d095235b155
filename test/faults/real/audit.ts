import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { CostReport, EntryMark, LedgerEntry, SessionDetail } from "../../../sdk/src/wire.ts";
import { each, got, send } from "./calls.ts";
import { assertRate, follow, type Head, markText, micro, NO_ENTRIES, parseEntries } from "./record.ts";
import { CAPS, MOST_JOBS, RATES, type Tenant } from "./world.ts";

/** A decision's money, by the record alone. */
interface Money {
  readonly session: string;
  readonly agent: string;
  readonly action: string;
  readonly askedAt: number;
  /** When what it reserved runs out, if nobody changes that; 0: it reserved nothing. */
  readonly endsAt: number;
  state: "denied" | "pending" | "posted" | "released" | "expired";
  reservedMicroUsd: number;
  postedMicroUsd: number;
}

/** A session, by the record alone. */
interface Session {
  readonly agent: string;
  head: Head;
  postedMicroUsd: number;
  pendingMicroUsd: number;
  readonly decisions: { allow: number; deny: number; hold: number };
  /** Orders that it obeys. */
  readonly orders: Set<string>;
  readonly jobs: Set<string>;
  /** Since which entry it obeys an intervention. */
  readonly obeys: Map<string, number>;
}

/** What an entry did to the sum of an agent and of the tenant, on the day in which the money was asked for. */
interface Movement {
  readonly at: number;
  readonly day: number;
  readonly agent: string;
  readonly microUsd: number;
}

const DAY_MS = 86_400_000;
const dayOf = (at: number): number => Math.floor(at / DAY_MS);

/**
 * One tenant's whole record, followed from life to life: what was read of it before is the beginning of what is read later, chains have no gaps, hashes
 * are right, no sum is ever above its cap, no rate is ever passed, what was stopped allows nothing, and what people are shown is the sum of it.
 */
export class Audit {
  readonly #tenant: Tenant;
  #length = 0;
  readonly #digest = createHash("sha256");
  #entries = 0;
  readonly #sessions = new Map<string, Session>();
  readonly #decisions = new Map<string, Money>();
  readonly #marks = new Map<string, string | null>();
  readonly #movements: Movement[] = [];
  readonly #calls = new Map<string, number[]>();
  #own: Head = NO_ENTRIES;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
  }

  get entries(): number {
    return this.#entries;
  }

  /** Reads the whole record and looks at what is new in it. */
  async follow(url: string): Promise<void> {
    const answer = await fetch(`${url}/v1/ledger/export`, { headers: { authorization: `Bearer ${this.#tenant.operator}` } });
    assert.equal(answer.status, 200);
    const text = await answer.text();
    const before = createHash("sha256").update(text.slice(0, this.#length)).digest("hex");
    assert.equal(before, this.#digest.copy().digest("hex"), "the record that was read before the kill is the beginning of the one after it");
    const news = text.slice(this.#length);
    this.#digest.update(news);
    this.#length = text.length;
    for (const entry of parseEntries(news)) this.#enter(entry);
    this.#assertSums();
    for (const { action, per, most, windowMs } of RATES) {
      for (const [key, at] of this.#calls) if (key.startsWith(`${per} ${action} `)) assertRate(at, most, windowMs, key);
    }
  }

  /** The same, and waits for what nobody settles to run out: until then what is shown of it depends on the moment. */
  async followToRest(url: string): Promise<void> {
    await this.follow(url);
    const brief = this.#brief();
    if (brief.length === 0) return;
    await sleep(Math.max(0, ...brief.map(({ endsAt }) => endsAt - Date.now() + 1)));
    const sessions = new Set(brief.map(({ session }) => session));
    for (const agent of this.#tenant.agents) {
      const own = [...agent.opened].filter((id) => sessions.has(id));
      await each(own, 8, (id) => got(url, { method: "GET", path: `/v1/sessions/${id}`, token: agent.token }));
    }
    await this.follow(url);
    assert.deepEqual(this.#brief(), [], "what ran out has run out in the record");
  }

  #brief(): readonly Money[] {
    return [...this.#decisions.values()].filter(({ action, state }) => action === "brief" && state === "pending");
  }

  /** Whether an answer's entry is in the record, about this decision where it is about one. */
  has(mark: EntryMark, decision: string | null): boolean {
    return this.#marks.get(markText(mark)) === decision;
  }

  find(decision: string): Money | undefined {
    return this.#decisions.get(decision);
  }

  /** What is pending, for those who settle it: of sessions that clients still ask in and of all others. */
  pending(): readonly string[] {
    return [...this.#decisions].flatMap(([id, { state }]) => (state === "pending" ? [id] : []));
  }

  obeysSince(session: string, intervention: string): number | undefined {
    return this.#sessions.get(session)?.obeys.get(intervention);
  }

  /** What is spent and set aside today, over all sessions. */
  spentToday(): number {
    const today = dayOf(Date.now());
    return this.#movements.reduce((sum, { day, microUsd }) => (day === today ? sum + microUsd : sum), 0);
  }

  /** What people are shown is the sum of the record: each session's totals, what all of them have spent of what they share, and costs by any grouping. */
  async assertShown(url: string): Promise<number> {
    let shown = 0;
    const today = dayOf(Date.now());
    for (const agent of this.#tenant.agents) {
      await each(agent.opened, 8, async (id) => {
        const session = this.#sessions.get(id);
        assert.ok(session !== undefined, `session ${id} was opened and has no entry`);
        const read = await got<SessionDetail>(url, { method: "GET", path: `/v1/sessions/${id}`, token: agent.token });
        const { totals, budgets } = read;
        assert.deepEqual(
          [micro(totals.posted_usd), micro(totals.pending_usd), totals.overrun_usd, totals.decisions],
          [session.postedMicroUsd, session.pendingMicroUsd, "0", session.decisions],
          `session ${id}`,
        );
        if (dayOf(Date.now()) !== today) return;
        for (const { scope, posted_usd, pending_usd } of budgets) {
          if (scope !== "agent" && scope !== "tenant") continue;
          const whose = [...this.#decisions.values()].filter(
            (one) => dayOf(one.askedAt) === today && (scope === "tenant" || one.agent === agent.name),
          );
          const posted = whose.reduce((sum, { postedMicroUsd }) => sum + postedMicroUsd, 0);
          const pending = whose.reduce((sum, { state, reservedMicroUsd }) => (state === "pending" ? sum + reservedMicroUsd : sum), 0);
          assert.deepEqual([micro(posted_usd), micro(pending_usd)], [posted, pending], `${scope} of ${agent.name}, shown in ${id}`);
        }
        shown++;
      });
    }
    for (const grouping of ["session", "agent", "action"] as const) {
      const costs = await got<CostReport>(url, { method: "GET", path: `/v1/costs?group_by=${grouping}`, token: this.#tenant.operator });
      const sums = new Map<string, number>();
      for (const money of this.#decisions.values()) sums.set(money[grouping], (sums.get(money[grouping]) ?? 0) + money.postedMicroUsd);
      for (const { key, posted_usd } of costs.items) assert.equal(micro(posted_usd), sums.get(key) ?? 0, `costs of ${grouping} ${key}`);
      assert.equal(
        micro(costs.total_usd),
        [...sums.values()].reduce((sum, one) => sum + one, 0),
        `costs by ${grouping}`,
      );
    }
    return shown;
  }

  /** Whether the gateway says of a decision what the record says. */
  async assertState(url: string, token: string, decision: string): Promise<void> {
    const money = this.#decisions.get(decision);
    assert.ok(money !== undefined, `${decision} was answered and has no entry`);
    const { body } = await send<{ state: string; posted_usd: string }>(url, {
      method: "GET",
      path: `/v1/sessions/${money.session}/decisions/${decision}`,
      token,
    });
    assert.deepEqual([body.state, micro(body.posted_usd)], [money.state, money.postedMicroUsd], decision);
  }

  #enter(entry: LedgerEntry): void {
    assert.equal(entry.index, this.#entries++, "no index is missing");
    assert.equal(entry.tenant_id, this.#tenant.id);
    this.#marks.set(markText(entry), entry.decision_id);
    if (entry.session_id === null) {
      this.#own = follow(this.#own, entry);
      return;
    }
    const session = this.#sessions.get(entry.session_id) ?? this.#meet(entry.session_id, entry.agent_id ?? "");
    session.head = follow(session.head, entry);
    if (entry.kind === "intervention") obey(session, entry);
    if (entry.decision_id === null) return;
    if (entry.kind === "decision" && entry.step === "decide") this.#decided(session, entry);
    else this.#moved(session, entry, entry.decision_id);
    assert.ok(session.postedMicroUsd + session.pendingMicroUsd <= micro(CAPS.session), `session ${entry.session_id} is above its cap`);
    for (const { scope, limit_usd, after } of entry.accounts) {
      const spent = micro(after.posted_usd) + micro(after.pending_usd);
      assert.ok(limit_usd === null || spent <= micro(limit_usd), `entry ${entry.id}: ${scope} ${spent} of ${limit_usd}`);
      if (scope !== "session") continue;
      assert.deepEqual([micro(after.posted_usd), micro(after.pending_usd)], [session.postedMicroUsd, session.pendingMicroUsd], `entry ${entry.id}`);
    }
  }

  #meet(id: string, agent: string): Session {
    const session: Session = {
      agent,
      head: NO_ENTRIES,
      postedMicroUsd: 0,
      pendingMicroUsd: 0,
      decisions: { allow: 0, deny: 0, hold: 0 },
      orders: new Set(),
      jobs: new Set(),
      obeys: new Map(),
    };
    this.#sessions.set(id, session);
    return session;
  }

  #decided(session: Session, entry: LedgerEntry): void {
    const { decision_id: id, session_id, verdict, action, agent_id } = entry;
    assert.ok(id !== null && session_id !== null && verdict !== null && action !== null && agent_id !== null, `entry ${entry.id} is whole`);
    assert.ok(!this.#decisions.has(id), `${id} is decided once`);
    session.decisions[verdict]++;
    const askedAt = Date.parse(entry.timestamp);
    const isAllowed = verdict === "allow";
    const reservedMicroUsd = isAllowed ? micro(entry.estimate_usd ?? "") : 0;
    const state = isAllowed ? "pending" : "denied";
    const endsAt = entry.reservation === null ? 0 : Date.parse(entry.reservation.expires_at);
    const money: Money = { session: session_id, agent: agent_id, action, askedAt, endsAt, state, reservedMicroUsd, postedMicroUsd: 0 };
    this.#decisions.set(id, money);
    if (!isAllowed) return;
    const against = [...session.orders].find((order) => !order.includes(" action ") || order.endsWith(` action ${action}`));
    assert.equal(against, undefined, `entry ${entry.id} allows what is stopped`);
    this.#move(session, money, askedAt, { pending: reservedMicroUsd, posted: 0 });
    if (action === "job") session.jobs.add(id);
    assert.ok(session.jobs.size <= MOST_JOBS, `${session.jobs.size} jobs at once`);
    for (const { per, action: counted } of RATES) {
      if (counted !== action) continue;
      const key = `${per} ${action} ${per === "session" ? session_id : per === "agent" ? agent_id : ""}`;
      this.#calls.set(key, [...(this.#calls.get(key) ?? []), askedAt]);
    }
  }

  #moved(session: Session, entry: LedgerEntry, id: string): void {
    const money = this.#decisions.get(id);
    assert.ok(money !== undefined, `entry ${entry.id} is about a decision`);
    const at = Date.parse(entry.timestamp);
    if (entry.kind === "decision") {
      if (entry.step !== "topup" || entry.verdict !== "allow") return;
      const wanted = micro(entry.estimate_usd ?? "");
      this.#move(session, money, at, { pending: wanted - money.reservedMicroUsd, posted: 0 });
      money.reservedMicroUsd = wanted;
      return;
    }
    const state = ENDS[entry.kind];
    assert.ok(state !== undefined && money.state === "pending", `entry ${entry.id} ends what is pending`);
    const posted = micro(entry.cost_usd) - micro(entry.corrected_usd);
    this.#move(session, money, at, { pending: -money.reservedMicroUsd, posted });
    money.state = state;
    money.postedMicroUsd += posted;
    session.jobs.delete(id);
  }

  #move(session: Session, { agent, askedAt }: Money, at: number, by: { readonly pending: number; readonly posted: number }): void {
    session.pendingMicroUsd += by.pending;
    session.postedMicroUsd += by.posted;
    this.#movements.push({ at, day: dayOf(askedAt), agent, microUsd: by.pending + by.posted });
  }

  /** At every instant, over all sessions. Of what happens in one millisecond the record does not say which was first: what gave back is taken to be. */
  #assertSums(): void {
    const sums = new Map<string, number>();
    for (const { day, agent, microUsd } of this.#movements.sort((a, b) => a.at - b.at || a.microUsd - b.microUsd)) {
      for (const [key, cap] of [
        [`agent ${agent}`, CAPS.agent],
        ["tenant", CAPS.tenant],
      ] as const) {
        const sum = (sums.get(`${key} ${day}`) ?? 0) + microUsd;
        assert.ok(sum <= micro(cap), `${key} of ${this.#tenant.id} has spent ${sum} of ${cap} USD`);
        sums.set(`${key} ${day}`, sum);
      }
    }
  }
}

const ENDS: { readonly [kind in LedgerEntry["kind"]]?: Money["state"] } = { commit: "posted", release: "released", expiry: "expired" };

function obey(session: Session, { details, seq }: LedgerEntry): void {
  // What the entry's format promises of this kind.
  const { event, intervention, target, kind } = (details ?? {}) as {
    readonly event?: string;
    readonly intervention?: string;
    readonly kind?: string;
    readonly target?: { readonly type: string; readonly id: string };
  };
  const order = `${kind === "kill" || kind === "revive" ? "killed" : "paused"} ${target?.type} ${target?.id}`;
  if (event === "obeyed") {
    session.orders.add(order);
    session.obeys.set(intervention ?? "", seq);
  } else {
    session.orders.delete(order);
  }
}
