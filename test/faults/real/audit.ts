import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { CostReport, EntryMark, LedgerEntry, SessionDetail } from "../../../sdk/src/wire.ts";
import { each, got, send } from "./calls.ts";
import { drawn, type Extent } from "./chance.ts";
import { Reading } from "./reading.ts";
import { assertRate, follow, type Head, markText, micro, NO_ENTRIES } from "./record.ts";
import { CAPS, MOST_JOBS, RATES, type Tenant } from "./world.ts";

/** A decision's money, by the record alone. */
interface Money {
  readonly session: string;
  readonly agent: string;
  readonly action: string;
  readonly askedAt: number;
  /** Its agent's and the tenant's, of the day in which it was asked for. */
  readonly accounts: readonly Account[];
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
  /** Whether what is shown of it was held against the record since this last changed it. */
  isShown: boolean;
  postedMicroUsd: number;
  pendingMicroUsd: number;
  readonly decisions: { allow: number; deny: number; hold: number };
  /** Orders that it obeys. */
  readonly orders: Set<string>;
  readonly jobs: Set<string>;
  /** Since which entry it obeys an intervention. */
  readonly obeys: Map<string, number>;
}

/** What an agent, or a tenant, spends in a day, over all sessions. */
interface Account {
  readonly name: string;
  readonly capMicroUsd: number;
  postedMicroUsd: number;
  pendingMicroUsd: number;
  /** Its sum at the instant that {@link Audit} has come to, while it goes through all of them. */
  thenMicroUsd: number;
}

/** What an entry did to the sums of these accounts. */
interface Movement {
  readonly at: number;
  readonly accounts: readonly Account[];
  readonly microUsd: number;
}

const DAY_MS = 86_400_000;
const dayOf = (at: number): number => Math.floor(at / DAY_MS);

/** What is drawn from the old in each life, to be looked at again: sessions of an agent, and entries. */
const DRAWN_SESSIONS = 4;
const DRAWN_ENTRIES = 32;

/**
 * One tenant's whole record, followed from life to life: what was read of it before is the beginning of what is read later, chains have no gaps, hashes
 * are right, no sum is ever above its cap, no rate is ever passed, what was stopped allows nothing, and what people are shown is the sum of it.
 * It is fast because it looks at what is new. What it has seen before it sees again in part, and in whole where it is told to: at the end of a run, and
 * now and then before.
 */
export class Audit {
  readonly #tenant: Tenant;
  readonly #reading: Reading;
  #entries = 0;
  /** Entries that were read when this life's audit began. */
  #before = 0;
  readonly #sessions = new Map<string, Session>();
  readonly #decisions = new Map<string, Money>();
  readonly #pending = new Map<string, Money>();
  readonly #marks = new Map<string, string | null>();
  readonly #accounts = new Map<string, Account>();
  readonly #movements: Movement[] = [];
  readonly #calls = new Map<string, { readonly at: number[]; readonly most: number; readonly windowMs: number }>();
  /** Keys of `#calls` in which something is new. */
  readonly #called = new Set<string>();
  #own: Head = NO_ENTRIES;

  constructor(tenant: Tenant) {
    this.#tenant = tenant;
    this.#reading = new Reading(tenant.operator);
  }

  get entries(): number {
    return this.#entries;
  }

  /** So often an entry was read again and was the same. */
  get readAgain(): number {
    return this.#reading.readAgain;
  }

  /** Reads what is new in the record and looks at it; the last `again` entries before that are read again. */
  async follow(url: string, again = 1): Promise<void> {
    for (const entry of await this.#reading.news(url, again)) this.#enter(entry);
    this.#assertSums();
    // Of a key in which nothing is new nothing else can come out.
    for (const key of this.#called) {
      const { at, most, windowMs } = this.#calls.get(key) ?? assert.fail(key);
      assertRate(at, most, windowMs, key);
    }
    this.#called.clear();
  }

  /**
   * The same in a new life, and waits for what nobody settles to run out: until then what is shown of it depends on the moment. Everything that was read
   * in the life before, whose writes the kill may have met, is read again, and of what is older as much as wanted.
   */
  async followToRest(url: string, extent: Extent): Promise<void> {
    const before = this.#before;
    this.#before = this.#entries;
    await this.follow(url, extent === "everything" ? Number.POSITIVE_INFINITY : Math.max(1, this.#entries - before));
    if (extent !== "everything") await this.#reading.assertSome(url, extent, DRAWN_ENTRIES);
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
    return [...this.#pending.values()].filter(({ action }) => action === "brief");
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
    return [...this.#pending.keys()];
  }

  obeysSince(session: string, intervention: string): number | undefined {
    return this.#sessions.get(session)?.obeys.get(intervention);
  }

  /** What is spent and set aside today, over all sessions. */
  spentToday(): number {
    const { postedMicroUsd, pendingMicroUsd } = this.#tenantAccount(dayOf(Date.now()));
    return postedMicroUsd + pendingMicroUsd;
  }

  /**
   * What people are shown is the sum of the record: each session's totals, what all of them have spent of what they share, and costs by any grouping.
   * Of sessions in which nothing was decided or spent since they were last looked at, as many as wanted. Answers how many were looked at.
   */
  async assertShown(url: string, extent: Extent): Promise<number> {
    let shown = 0;
    const today = dayOf(Date.now());
    for (const agent of this.#tenant.agents) {
      const accounts = { agent: this.#agentAccount(agent.name, today), tenant: this.#tenantAccount(today) };
      await each(this.#toShow(agent.opened, extent), 8, async (id) => {
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
          const { postedMicroUsd, pendingMicroUsd } = accounts[scope];
          assert.deepEqual([micro(posted_usd), micro(pending_usd)], [postedMicroUsd, pendingMicroUsd], `${scope} of ${agent.name}, shown in ${id}`);
        }
        session.isShown = true;
        shown++;
      });
    }
    for (const grouping of ["session", "agent", "action"] as const) {
      const costs = await got<CostReport>(url, { method: "GET", path: `/v1/costs?group_by=${grouping}`, token: this.#tenant.operator });
      const sums = new Map<string, number>();
      for (const money of this.#decisions.values()) sums.set(money[grouping], (sums.get(money[grouping]) ?? 0) + money.postedMicroUsd);
      for (const { key, posted_usd } of costs.items) assert.equal(micro(posted_usd), sums.get(key ?? "") ?? 0, `costs of ${grouping} ${key}`);
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

  #toShow(opened: Iterable<string>, extent: Extent): ReadonlySet<string> {
    const { news = [], old = [] } = Object.groupBy(opened, (id) => (this.#sessions.get(id)?.isShown === true ? "old" : "news"));
    return new Set([...news, ...drawn(extent, old, DRAWN_SESSIONS)]);
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
      isShown: false,
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
    session.isShown = false;
    const askedAt = Date.parse(entry.timestamp);
    const isAllowed = verdict === "allow";
    const reservedMicroUsd = isAllowed ? micro(entry.estimate_usd ?? "") : 0;
    const state = isAllowed ? "pending" : "denied";
    const endsAt = entry.reservation === null ? 0 : Date.parse(entry.reservation.expires_at);
    const day = dayOf(askedAt);
    const accounts = [this.#agentAccount(agent_id, day), this.#tenantAccount(day)];
    const money: Money = { session: session_id, agent: agent_id, action, askedAt, accounts, endsAt, state, reservedMicroUsd, postedMicroUsd: 0 };
    this.#decisions.set(id, money);
    if (!isAllowed) return;
    this.#pending.set(id, money);
    const against = [...session.orders].find((order) => !order.includes(" action ") || order.endsWith(` action ${action}`));
    assert.equal(against, undefined, `entry ${entry.id} allows what is stopped`);
    this.#move(session, money, askedAt, { pending: reservedMicroUsd, posted: 0 });
    if (action === "job") session.jobs.add(id);
    assert.ok(session.jobs.size <= MOST_JOBS, `${session.jobs.size} jobs at once`);
    for (const { per, action: counted, most, windowMs } of RATES) {
      if (counted !== action) continue;
      const key = `${per} ${action} ${per === "session" ? session_id : per === "agent" ? agent_id : ""}`;
      const calls = this.#calls.get(key) ?? { at: [], most, windowMs };
      calls.at.push(askedAt);
      this.#calls.set(key, calls);
      this.#called.add(key);
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
    this.#pending.delete(id);
    session.jobs.delete(id);
  }

  #move(session: Session, { accounts }: Money, at: number, by: { readonly pending: number; readonly posted: number }): void {
    session.isShown = false;
    for (const sum of [session, ...accounts]) {
      sum.pendingMicroUsd += by.pending;
      sum.postedMicroUsd += by.posted;
    }
    this.#movements.push({ at, accounts, microUsd: by.pending + by.posted });
  }

  #agentAccount(agent: string, day: number): Account {
    return this.#account(`agent ${agent} of ${this.#tenant.id} on day ${day}`, CAPS.agent);
  }

  #tenantAccount(day: number): Account {
    return this.#account(`tenant ${this.#tenant.id} on day ${day}`, CAPS.tenant);
  }

  #account(name: string, cap: number): Account {
    const known = this.#accounts.get(name);
    if (known !== undefined) return known;
    const account: Account = { name, capMicroUsd: micro(cap), postedMicroUsd: 0, pendingMicroUsd: 0, thenMicroUsd: 0 };
    this.#accounts.set(name, account);
    return account;
  }

  /**
   * At every instant, over all sessions. Of what happens in one millisecond the record does not say which was first: what gave back is taken to be.
   * All instants anew each time: a session may ship what it recorded long after others shipped what came later.
   */
  #assertSums(): void {
    for (const account of this.#accounts.values()) account.thenMicroUsd = 0;
    for (const { accounts, microUsd } of this.#movements.sort((a, b) => a.at - b.at || a.microUsd - b.microUsd)) {
      for (const account of accounts) {
        account.thenMicroUsd += microUsd;
        if (account.thenMicroUsd > account.capMicroUsd) assert.fail(`${account.name} has spent ${account.thenMicroUsd} of ${account.capMicroUsd}`);
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
