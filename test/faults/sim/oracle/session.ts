import { LEASE_TERM_MS } from "../../../../src/authority/lease_term.ts";
import type { Entry } from "../../../../src/core/entry.ts";
import { parseInstant } from "../../../../src/core/time.ts";
import type { Lease } from "../../../../src/flow/ports.ts";
import { ACTIONS } from "../actors/policies.ts";
import type { ObjectHost } from "../platform/objects.ts";
import { Approvals } from "./approvals.ts";
import { Chain } from "./chain.ts";
import { fits, type Limits, usd } from "./limits.ts";
import { type Contributor, stretchesOf } from "./shared.ts";
import type { TenantModel } from "./tenant.ts";
import { demand, Violation } from "./violation.ts";

interface Sides {
  posted: number;
  pending: number;
  leased: number;
  overrun: number;
}

const noSides = (): Sides => ({ posted: 0, pending: 0, leased: 0, overrun: 0 });

interface Seen extends Contributor {
  readonly seq: number;
  readonly run: string;
  readonly action: string;
  readonly verdict: "allow" | "deny" | "hold";
  state: "pending" | "posted" | "released" | "expired" | "denied" | "held";
  reserved: number;
  expiresAt: number;
  posted: number;
  overrun: number;
  readonly postsOnExpiry: boolean;
  /** Where its money counts. */
  pieces: { at: number; amount: number }[];
  /** With which lease its holder decided it; `null`: the session did. */
  readonly lease: LeaseModel | null;
  /** What the lease had for it. */
  leaseHad: number;
}

/** A slice of the session's money in the hands of whoever decides with it. */
export interface LeaseModel extends Contributor {
  readonly seq: number;
  readonly run: string;
  readonly actions: readonly string[];
  /** What of all that anybody asks for here it names. */
  readonly covered: readonly string[];
  readonly amount: number;
  readonly grantedAt: number;
  readonly expiresAt: number;
  state: "open" | "settled" | "expired";
  held: number;
  returned: number;
  posted: number;
  overrun: number;
}

/** What the gateway writes of a lease. */
interface LeaseSaid {
  readonly event?: string;
  readonly lease?: string;
  readonly actions?: readonly string[];
  readonly final?: boolean;
  readonly posted_usd?: string;
  readonly overrun_usd?: string;
  readonly returned_usd?: string;
  readonly remaining_usd?: string;
}

/** Whoever holds a lease hears of a kill by then. */
const MOST_LEASE_MS = 60_000;

const spent = ({ posted, pending, leased }: Sides): number => posted + pending + leased;

/** Something that was allowed, for whoever learns later that it should not have been. */
export interface Allowed {
  readonly seq: number;
  readonly writtenAt: number;
  readonly run: string;
  readonly action: string;
}

/**
 * One session as its own entries tell of it, reckoned again by an observer: its money, its calls, what it was told to obey. After everything that becomes
 * durable, the session's tables must say the same.
 */
export class SessionModel {
  readonly chain: Chain;
  readonly host: ObjectHost;
  readonly tenant: TenantModel;
  readonly id: string;
  agent = "";
  isClosed = false;
  expiresAt = Number.POSITIVE_INFINITY;
  readonly allowed: Allowed[] = [];
  readonly decisions = new Map<string, Seen>();
  readonly runs = new Map<string, Sides & { isClosed: boolean }>();
  readonly actions = new Map<string, Sides>();
  readonly approvals = new Approvals(this);
  readonly leases = new Map<string, LeaseModel>();
  readonly total = noSides();
  #budget: number | null = null;
  #prevented = 0;
  readonly #counts = { allow: 0, deny: 0, hold: 0 };
  #clock = 0;
  readonly #spans = new Map<string, Sides>();
  readonly #calls = new Map<string, number[]>();
  readonly #leasedCalls = new Map<string, number>();
  /** What it obeys by its own record: by whom or what is stopped, the intervention that says so. */
  readonly #obeyed = new Map<string, string>();
  readonly #touched = { runs: new Set<string>(), actions: new Set<string>(), decisions: new Set<string>(), leases: new Set<LeaseModel>() };
  readonly #pending = new Set<Seen>();
  #allowedAt = 0;
  #sharesText: string | null = null;
  #leaseText = "";
  #epoch = 0;

  constructor(host: ObjectHost, id: string, tenant: TenantModel) {
    this.host = host;
    this.id = id;
    this.tenant = tenant;
    this.chain = new Chain(id);
  }

  /** Takes in what has become durable, and holds the session's tables to it. */
  durable(now: number): void {
    const { storage } = this.host;
    if (!storage.hasTable("session")) return;
    let hasAllowed = false;
    const leaseText = storage.look<{ lease: string }>("SELECT lease FROM lease")[0]?.lease ?? "";
    for (const { entry, payload } of this.chain.take(this.host)) {
      this.#take(entry, payload);
      hasAllowed ||= entry.kind === "decision" && entry.verdict === "allow";
    }
    const [row] = storage.look<SessionRow>("SELECT * FROM session");
    if (row === undefined) return;
    this.chain.demandHead(row.seq, row.head_hash);
    this.#demandBook(row);
    this.#demandRows();
    this.approvals.demandWhole();
    this.approvals.demandRows();
    if (row.shares !== this.#sharesText) {
      this.#sharesText = row.shares;
      if (row.shares !== null) this.#demandShares(JSON.parse(row.shares) as StoredShares);
    }
    if (leaseText !== this.#leaseText || hasAllowed) {
      this.#leaseText = leaseText;
      const lease = JSON.parse(leaseText) as Lease;
      demand(lease.epoch >= this.#epoch, "an older lease never replaces a newer one", () => ({
        session: this.id,
        epoch: lease.epoch,
        before: this.#epoch,
      }));
      this.#epoch = lease.epoch;
      const latest = Math.max(now + this.host.offsetMs, row.clock) + LEASE_TERM_MS;
      // Its clock may have been set back since, and then it is believed for so much longer.
      demand(lease.endsAt <= latest + this.host.setBackMs, "a lease runs one term from when it was asked for", () => ({
        session: this.id,
        endsAt: lease.endsAt,
        latest,
      }));
      if (hasAllowed)
        demand(lease.endsAt > this.#allowedAt, "nothing is allowed under a lapsed lease", () => ({
          session: this.id,
          endsAt: lease.endsAt,
          at: this.#allowedAt,
        }));
    }
    const shipped = (storage.look<{ seq: number | null }>("SELECT MIN(seq) AS seq FROM outbox")[0]?.seq ?? row.seq + 1) - 1;
    this.tenant.ledger.demandHas(this.id, shipped);
  }

  #take(entry: Entry, payload: string | null): void {
    const at = parseInstant(entry.timestamp);
    if (at === null) throw new Violation("an entry has an instant", entry.timestamp);
    demand(at >= this.#clock, "a session's clock never goes back", () => ({ session: this.id, seq: entry.seq, at, clock: this.#clock }));
    this.#clock = at;
    if (entry.kind !== "approval") this.approvals.demandWhole();
    switch (entry.kind) {
      case "session":
        this.#takeSession(entry);
        return;
      case "lease":
        this.#takeLease(entry, at);
        return;
      case "decision":
        if (entry.step === "topup") this.#takeTopup(entry, at);
        else if (entry.step === "extend") this.#takeExtension(entry);
        else this.#takeDecision(entry, payload, at);
        return;
      case "expiry":
        if (entry.decision_id === null) this.#takeLeaseEnd(entry, at);
        else this.#takeEnding(entry, at);
        return;
      case "commit":
      case "release":
        this.#takeEnding(entry, at);
        return;
      case "intervention":
        this.#takeOrder(entry);
        return;
      case "approval":
        this.tenant.demandToken(entry.principal?.token_id ?? "", this.chain.writtenAt(entry.seq), this, entry.seq);
        this.approvals.take(entry, at);
        return;
      default:
        throw new Violation("a session records only what sessions do", entry.kind);
    }
  }

  #takeSession({ details, run_id, agent_id }: Entry): void {
    const run = run_id ?? "";
    switch (details?.event) {
      case "opened":
        this.agent = agent_id ?? "";
        this.#budget = typeof details.budget_usd === "string" ? usd(details.budget_usd) : null;
        this.expiresAt = this.#clock + Number(details.ttl_ms);
        this.runs.set(run, { ...noSides(), isClosed: false });
        break;
      case "run_opened":
        this.runs.set(run, { ...noSides(), isClosed: false });
        break;
      case "run_closed":
        this.#runOf(run).isClosed = true;
        break;
      case "closed":
        this.isClosed = true;
        break;
      default:
        throw new Violation("a session's event is known", details);
    }
    if (run_id !== null) this.#touched.runs.add(run);
  }

  #takeDecision(entry: Entry, payload: string | null, at: number): void {
    const { decision_id, verdict, run_id, action, seq } = entry;
    if (decision_id === null || verdict === null || run_id === null || action === null) throw new Violation("a decision says what it decides", entry);
    const known = this.decisions.get(decision_id);
    demand(known === undefined, "one id is decided once", () => ({ session: this.id, decision: decision_id, first: known?.seq, again: seq }));
    this.#counts[verdict]++;
    if (verdict === "deny") this.#prevented += usd(entry.estimate_usd);
    const writtenAt = this.chain.writtenAt(seq);
    this.tenant.demandToken(entry.principal?.token_id ?? "", writtenAt, this, seq);
    const lease = this.#leaseOf(entry);
    const limits = lease?.limits ?? (verdict === "deny" ? NO_LIMITS : this.#limitsOf(entry, writtenAt));
    if (verdict !== "deny" && lease === null) this.approvals.decided(entry, inputsIn(payload), limits, at);
    const seen: Seen = {
      id: decision_id,
      agent: this.agent,
      seq,
      run: run_id,
      action,
      verdict,
      limits,
      first: limits,
      postsOnExpiry: limits.postsOnExpiry,
      state: verdict === "allow" ? "pending" : verdict === "deny" ? "denied" : "held",
      reserved: verdict === "allow" ? usd(entry.reservation?.amount_usd ?? null) : 0,
      expiresAt: parseInstant(entry.reservation?.expires_at ?? "") ?? 0,
      posted: 0,
      overrun: 0,
      pieces: [],
      lease,
      leaseHad: lease?.held ?? 0,
    };
    this.decisions.set(decision_id, seen);
    this.#touched.decisions.add(decision_id);
    if (verdict !== "allow") return;
    this.#pending.add(seen);
    if (lease !== null) {
      this.#payFromLease(seen, lease, at, entry);
      return;
    }
    seen.pieces = [{ at, amount: seen.reserved }];
    this.#move(seen, at, 0, seen.reserved, 0);
    this.#demandAllowed(seen, at, writtenAt, seq);
    this.#count(seen, at, seq);
  }

  #takeTopup(entry: Entry, at: number): void {
    const seen = this.#known(entry);
    if (entry.verdict !== "allow") return;
    demand(seen.state === "pending", "only what is pending is topped up", () => ({ session: this.id, seq: entry.seq }));
    const sum = usd(entry.reservation?.amount_usd ?? null);
    const isMore = sum > seen.reserved;
    // To give some of it back needs nobody's leave.
    if (isMore) {
      seen.limits = this.#limitsOf(entry, this.chain.writtenAt(entry.seq));
      this.approvals.toppedUp(entry, seen.limits, seen.action, sum);
    }
    let left = sum;
    const pieces: Seen["pieces"] = [];
    for (const piece of seen.pieces) {
      const kept = Math.min(piece.amount, left);
      left -= kept;
      this.#move(seen, piece.at, 0, kept - piece.amount, 0);
      if (kept > 0) pieces.push({ at: piece.at, amount: kept });
    }
    if (left > 0) {
      this.#move(seen, at, 0, left, 0);
      pieces.push({ at, amount: left });
    }
    seen.pieces = pieces;
    seen.reserved = sum;
    if (isMore) this.#demandAllowed(seen, at, this.chain.writtenAt(entry.seq), entry.seq);
  }

  #takeExtension(entry: Entry): void {
    const seen = this.#known(entry);
    demand(seen.state === "pending", "only what is pending is extended", () => ({ session: this.id, seq: entry.seq }));
    const expiresAt = parseInstant(entry.reservation?.expires_at ?? "") ?? 0;
    demand(expiresAt >= seen.expiresAt, "an extension never shortens", () => ({ session: this.id, seq: entry.seq }));
    seen.expiresAt = expiresAt;
  }

  /** A commit, a release or an expiry: where a decision's money ends. */
  #takeEnding(entry: Entry, at: number): void {
    const seen = this.#known(entry);
    const details = () => ({ session: this.id, seq: entry.seq, kind: entry.kind, was: seen.state, decision: seen.id });
    const cost = usd(entry.cost_usd);
    const overrun = usd(entry.overrun_usd);
    const was = seen.state;
    const isLate = seen.lease === null ? was !== "pending" : seen.lease.state !== "open";
    demand(usd(entry.corrected_usd) === (entry.kind === "expiry" ? 0 : seen.posted), "what was posted before is taken back in full", details);
    if (entry.kind === "expiry") {
      demand(was === "pending" && seen.expiresAt <= at, "a reservation expires at its end, once", details);
      demand(cost === (seen.postsOnExpiry ? seen.reserved : 0), "what expires is posted as its policy says", details);
    } else if (entry.kind === "release") {
      demand((was === "pending" || was === "expired") && cost === 0, "only what is pending or expired is released", details);
      demand(entry.late === (was === "expired"), "late is late", details);
    } else {
      demand(was === "pending" || was === "released" || was === "expired", "only what was allowed is committed, once", details);
      demand(entry.late === isLate, "late is late", details);
      if (was === "pending") demand(overrun === Math.max(0, cost - seen.reserved), "what no reservation covered is an overrun", details);
      else
        demand(
          overrun >= Math.max(0, cost - Math.max(seen.reserved, seen.posted)) && overrun <= cost,
          "what no reservation covered is an overrun",
          details,
        );
    }
    const pieces: Seen["pieces"] = [];
    let left = cost;
    for (const piece of seen.pieces) {
      const kept = Math.min(piece.amount, left);
      left -= kept;
      if (was === "pending") this.#move(seen, piece.at, kept, -piece.amount, 0);
      else this.#move(seen, piece.at, kept - piece.amount, 0, 0);
      if (kept > 0) pieces.push({ at: piece.at, amount: kept });
    }
    if (left > 0) {
      this.#move(seen, at, left, 0, overrun);
      pieces.push({ at, amount: left });
    }
    seen.pieces = pieces;
    seen.state = entry.kind === "commit" ? "posted" : entry.kind === "release" ? "released" : "expired";
    this.#pending.delete(seen);
    seen.posted = cost;
    seen.overrun = overrun;
    if (seen.lease !== null) {
      const paid = Math.min(cost, seen.leaseHad);
      demand(isLate ? seen.reserved >= paid : seen.reserved === paid, "a lease pays for what is done with it as long as it has something", details);
      seen.lease.posted += cost;
      seen.lease.overrun += overrun;
    }
    if (was !== "pending" && entry.kind === "commit") this.tenant.shared.demandWithin(seen, at, this.id, entry.seq);
  }

  #takeOrder({ details }: Entry): void {
    // Written by the session from orders of its lease.
    const { event, intervention, target, kind } = details as {
      event: string;
      intervention: string;
      target: { type: string; id: string };
      kind: string;
    };
    const key = `${target.type} ${target.id} ${kind === "kill" || kind === "revive" ? "killed" : "paused"}`;
    if (event === "obeyed") this.#obeyed.set(key, intervention);
    else if (this.#obeyed.get(key) === intervention) this.#obeyed.delete(key);
  }

  /** The policy that allowed or held something is one that was in force within a lease's term, and is known. */
  #limitsOf({ policy, seq }: Entry, writtenAt: number): Limits {
    if (policy === null) throw new Violation("nothing is allowed or held without a policy", { session: this.id, seq });
    return this.tenant.policies.limitsInForce(this.agent, policy.digest, writtenAt, this.host.setBackMs, this.id, seq);
  }

  #demandAllowed(seen: Seen, at: number, writtenAt: number, seq: number): void {
    const details = (): object => ({
      session: this.id,
      seq,
      action: seen.action,
      run: seen.run,
      reserved: seen.reserved,
      limits: seen.limits,
      total: this.total,
    });
    const run = this.#runOf(seen.run);
    this.#allowedAt = at;
    demand(!this.isClosed && at < this.expiresAt && !run.isClosed, "nothing is allowed in a session or run that is over", details);
    demand(!seen.limits.denied.some((pattern) => fits(pattern, seen.action)), "what a policy denies is denied", details);
    const subject = { tenant: this.tenant.id, agent: this.agent, session: this.id, run: seen.run, action: seen.action };
    for (const [key, intervention] of this.#obeyed)
      demand(!isAbout(key, subject), "what was obeyed is obeyed until it is lifted", () => ({ ...details(), key, intervention }));
    this.tenant.demandNotStopped(this, subject, writtenAt, seq);
    this.allowed.push({ seq, writtenAt, run: seen.run, action: seen.action });

    const { limits } = seen;
    const ofSession = Math.min(limits.session ?? Number.POSITIVE_INFINITY, this.#budget ?? Number.POSITIVE_INFINITY);
    demand(spent(this.total) <= ofSession, "a session stays within its budget", details);
    demand(spent(run) <= (limits.run ?? Number.POSITIVE_INFINITY), "a run stays within its budget", details);
    for (const { pattern, limit } of limits.actions) {
      if (!fits(pattern, seen.action)) continue;
      const sum = this.#spentOn(pattern);
      demand(sum <= limit, "an action stays within its budget", () => ({ ...details(), pattern, sum }));
    }
    if (seen.reserved > 0) this.tenant.shared.demandWithin(seen, at, this.id, seq);
  }

  /** What is spent, reserved or leased for actions that a pattern names; of a lease it is not known yet for which. */
  #spentOn(pattern: string): number {
    let sum = 0;
    for (const [action, sides] of this.actions) if (fits(pattern, action)) sum += spent(sides);
    for (const { held, covered } of this.leases.values()) if (covered.some((action) => fits(pattern, action))) sum += held;
    return sum;
  }

  /** Something about a lease: it was granted or not, or its holder has told what was done with it. */
  #takeLease(entry: Entry, at: number): void {
    // The gateway's own words of what happened.
    const said = (entry.details ?? {}) as LeaseSaid;
    const writtenAt = this.chain.writtenAt(entry.seq);
    this.tenant.demandToken(entry.principal?.token_id ?? "", writtenAt, this, entry.seq);
    if (said.event === "refused") return;
    if (said.event === "granted") {
      this.#grant(entry, said, at, writtenAt);
      return;
    }
    const lease = this.#leaseOf(entry);
    if (lease === null || said.event !== "settled") throw new Violation("what is told of a lease is told of one that was granted", entry);
    const details = (): object => ({ session: this.id, seq: entry.seq, lease, said });
    demand(entry.late === (lease.state !== "open"), "late is late", details);
    if (said.final) {
      const { held } = lease;
      this.#hold(lease, held, lease.state === "open", 0, false);
      lease.returned += held;
      lease.state = "settled";
    }
    const sums = [lease.posted, lease.overrun, lease.returned, lease.held];
    const told = [said.posted_usd, said.overrun_usd, said.returned_usd, said.remaining_usd].map((text) => usd(text ?? null));
    demand(JSON.stringify(sums) === JSON.stringify(told), "what is told of a lease is the sum of what was told before", details);
  }

  /** A lease is granted for what its policy need not see, by nobody who is stopped, and from what is free. */
  #grant({ seq, policy, run_id, reservation }: Entry, { lease: id = "", actions = [] }: LeaseSaid, at: number, writtenAt: number): void {
    demand(!this.leases.has(id), "a lease is granted once", () => ({ session: this.id, seq, id }));
    if (policy === null) throw new Violation("nothing is leased without a policy", { session: this.id, seq });
    const limits = this.tenant.policies.limitsInForce(this.agent, policy.digest, writtenAt, this.host.setBackMs, this.id, seq);
    const lease: LeaseModel = {
      id,
      agent: this.agent,
      seq,
      run: run_id ?? "",
      actions,
      covered: ACTIONS.filter((action) => actions.some((glob) => fits(glob, action))),
      amount: usd(reservation?.amount_usd ?? null),
      grantedAt: at,
      expiresAt: parseInstant(reservation?.expires_at ?? "") ?? 0,
      limits,
      first: limits,
      state: "open",
      held: 0,
      returned: 0,
      posted: 0,
      overrun: 0,
    };
    this.leases.set(id, lease);
    this.#hold(lease, 0, true, lease.amount, true);
    const run = this.#runOf(lease.run);
    const details = (): object => ({ session: this.id, seq, lease, total: this.total, run });
    this.#allowedAt = at;
    demand(!this.isClosed && at < this.expiresAt && !run.isClosed, "nothing is allowed in a session or run that is over", details);
    demand(lease.amount > 0 && lease.expiresAt > at && lease.expiresAt <= Math.min(this.expiresAt, at + MOST_LEASE_MS), "a lease is short", details);
    for (const action of lease.covered) {
      const subject = { tenant: this.tenant.id, agent: this.agent, session: this.id, run: lease.run, action };
      for (const [key, intervention] of this.#obeyed)
        demand(!isAbout(key, subject), "what was obeyed is obeyed until it is lifted", () => ({ ...details(), key, intervention }));
      this.tenant.demandNotStopped(this, subject, writtenAt, seq);
      this.allowed.push({ seq, writtenAt, run: lease.run, action });
      const mustBeSeen =
        limits.denied.some((pattern) => fits(pattern, action)) ||
        limits.holds.some((pattern) => fits(pattern, action)) ||
        limits.rates.some(({ pattern }) => fits(pattern, action)) ||
        limits.concurrency.some(({ pattern }) => fits(pattern, action));
      demand(!mustBeSeen, "what a policy must see by itself is not leased", () => ({ ...details(), action }));
    }
    demand(limits.holdsAbove === null || lease.amount <= limits.holdsAbove, "what a person must approve is not leased", details);
    const ofSession = Math.min(limits.session ?? Number.POSITIVE_INFINITY, this.#budget ?? Number.POSITIVE_INFINITY);
    demand(spent(this.total) <= ofSession, "a session stays within its budget", details);
    demand(spent(run) <= (limits.run ?? Number.POSITIVE_INFINITY), "a run stays within its budget", details);
    for (const { pattern, limit } of limits.actions) {
      if (lease.covered.some((action) => fits(pattern, action)))
        demand(this.#spentOn(pattern) <= limit, "an action stays within its budget", () => ({ ...details(), pattern }));
    }
    this.tenant.shared.demandWithin(lease, at, this.id, seq);
  }

  /** A lease has run out: what nobody has told of is posted, unless its policy says otherwise. */
  #takeLeaseEnd(entry: Entry, at: number): void {
    const lease = this.#leaseOf(entry);
    if (lease === null) throw new Violation("what expires was reserved or leased", entry);
    const { held } = lease;
    const details = (): object => ({ session: this.id, seq: entry.seq, lease });
    demand(lease.state === "open" && lease.expiresAt <= at, "a lease expires at its end, once", details);
    demand(usd(entry.cost_usd) === (lease.limits.postsOnExpiry ? held : 0), "what expires is posted as its policy says", details);
    lease.state = "expired";
    if (!lease.limits.postsOnExpiry) lease.returned += held;
    this.#hold(lease, held, true, lease.limits.postsOnExpiry ? held : 0, false);
  }

  /** What was decided with a lease is paid from it; above it, late, from what went back and is still free. */
  #payFromLease(seen: Seen, lease: LeaseModel, at: number, entry: Entry): void {
    const details = (): object => ({ session: this.id, seq: entry.seq, decision: seen.id, reserved: seen.reserved, lease });
    demand(lease.covered.includes(seen.action) && seen.run === lease.run, "a lease pays for what it was granted for", details);
    this.#leasedCalls.set(seen.action, 1 + (this.#leasedCalls.get(seen.action) ?? 0));
    const paid = Math.min(seen.reserved, lease.held);
    const again = seen.reserved - paid;
    demand(again === 0 || (lease.state !== "open" && again <= lease.returned), "a lease pays no more than it has", details);
    this.#hold(lease, lease.held, lease.state === "open", lease.held - paid, lease.state === "open");
    lease.returned -= again;
    // What it was counted against is the policy of that time, which nobody has written down.
    if (again > 0) seen.limits = NO_LIMITS;
    seen.pieces = [
      { at: lease.grantedAt, amount: paid },
      { at, amount: again },
    ].filter(({ amount }) => amount > 0);
    for (const piece of seen.pieces) this.#move(seen, piece.at, 0, piece.amount, 0);
  }

  /** How many calls that a pattern names were done with leases. */
  leasedCalls(pattern: string): number {
    let calls = 0;
    for (const [action, count] of this.#leasedCalls) if (fits(pattern, action)) calls += count;
    return calls;
  }

  #leaseOf({ details }: Entry): LeaseModel | null {
    return this.leases.get(String(Reflect.get(Object(details), "lease"))) ?? null;
  }

  /** Counts an allowed call, and holds rates and concurrency to it. */
  #count(seen: Seen, at: number, seq: number): void {
    const { limits, action, run } = seen;
    for (const { pattern, max } of limits.concurrency) {
      if (!fits(pattern, action)) continue;
      let pending = 0;
      for (const other of this.#pending) if (fits(pattern, other.action)) pending++;
      demand(pending <= max, "no more are in progress at once than a policy lets", () => ({ session: this.id, seq, pattern, max, pending }));
    }
    const own = limits.rates.filter((rate) => (rate.per === "session" || rate.per === "run") && fits(rate.pattern, action));
    for (const log of new Set(own.map(({ per, pattern }) => (per === "run" ? `${pattern} ${run}` : pattern)))) {
      const calls = this.#calls.get(log) ?? [];
      calls.push(at);
      this.#calls.set(log, calls);
    }
    for (const { per, pattern, max, windowMs } of own) {
      const calls = this.#calls.get(per === "run" ? `${pattern} ${run}` : pattern) ?? [];
      const before = calls.at(-1 - max);
      demand(before === undefined || before <= at - windowMs, "a session stays within a rate", () => ({
        session: this.id,
        seq,
        pattern,
        per,
        max,
        windowMs,
        calls: calls.slice(-1 - max),
      }));
    }
    const wide = limits.rates.filter((rate) => (rate.per === "agent" || rate.per === "tenant") && fits(rate.pattern, action));
    if (wide.length > 0) this.tenant.shared.call(this.agent, at, wide, this.tenant.hasTrueClocks, this.id, seq);
  }

  #move(seen: Seen, at: number, posted: number, pending: number, overrun: number): void {
    if (posted === 0 && pending === 0 && overrun === 0) return;
    const run = this.#runOf(seen.run);
    const action = this.actions.get(seen.action) ?? noSides();
    this.actions.set(seen.action, action);
    for (const sides of [this.total, run, action, ...this.#spansAt(at)]) {
      sides.posted += posted;
      sides.pending += pending;
      sides.overrun += overrun;
    }
    this.#touched.runs.add(seen.run);
    this.#touched.actions.add(seen.action);
    this.tenant.shared.move(seen, at, posted + pending - overrun);
  }

  /** What a lease holds becomes so much more or less: where it is depends on whether it has ended. Where sessions share, what is leased is pending. */
  #hold(lease: LeaseModel, wasHeld: number, wasOpen: boolean, held: number, isOpen: boolean): void {
    const leased = (isOpen ? held : 0) - (wasOpen ? wasHeld : 0);
    const posted = (isOpen ? 0 : held) - (wasOpen ? 0 : wasHeld);
    for (const sides of [this.total, this.#runOf(lease.run)]) {
      sides.leased += leased;
      sides.posted += posted;
    }
    for (const span of this.#spansAt(lease.grantedAt)) {
      span.pending += leased;
      span.posted += posted;
    }
    lease.held = held;
    this.#touched.runs.add(lease.run);
    this.#touched.leases.add(lease);
    this.tenant.shared.move(lease, lease.grantedAt, leased + posted);
  }

  #spansAt(at: number): readonly Sides[] {
    return stretchesOf(at).map(({ key }) => {
      const span = this.#spans.get(key) ?? noSides();
      this.#spans.set(key, span);
      return span;
    });
  }

  #demandBook(row: SessionRow): void {
    const { posted, pending, overrun, leased } = this.total;
    const seen = { posted, pending, overrun, leased, ...this.#counts, prevented: this.#prevented, closed: this.isClosed };
    const stored = {
      posted: row.posted_micro_usd,
      pending: row.pending_micro_usd,
      overrun: row.overrun_micro_usd,
      leased: row.leased_micro_usd,
      allow: row.allowed,
      deny: row.denied,
      hold: row.held,
      prevented: row.prevented_micro_usd,
      closed: row.closed === 1,
    };
    demand(JSON.stringify(seen) === JSON.stringify(stored), "a session's book is the sum of its entries", () => ({ session: this.id, seen, stored }));
  }

  #demandRows(): void {
    const { storage } = this.host;
    const { runs, actions, decisions, leases } = this.#touched;
    for (const id of runs) {
      const run = this.#runOf(id);
      const [row] = storage.look<SidesRow & { closed: number }>("SELECT * FROM runs WHERE id = ?", id);
      demand(isSame(run, row) && (row?.closed === 1) === run.isClosed, "a run's account is the sum of its entries", () => ({
        session: this.id,
        id,
        run,
        row,
      }));
    }
    for (const name of actions) {
      const [row] = storage.look<SidesRow>("SELECT * FROM actions WHERE name = ?", name);
      demand(isSame(this.actions.get(name), row), "an action's account is the sum of its entries", () => ({
        session: this.id,
        name,
        row,
        seen: this.actions.get(name),
      }));
    }
    for (const id of decisions) {
      const seen = this.decisions.get(id);
      const [row] = storage.look<{ state: string; posted_micro_usd: number; overrun_micro_usd: number; reserved_micro_usd: number | null }>(
        "SELECT state, posted_micro_usd, overrun_micro_usd, reserved_micro_usd FROM decisions WHERE id = ?",
        id,
      );
      const isTrue =
        row !== undefined &&
        row.state === seen?.state &&
        row.posted_micro_usd === seen.posted &&
        row.overrun_micro_usd === seen.overrun &&
        (row.reserved_micro_usd ?? 0) === seen.reserved;
      demand(isTrue, "a decision stands as its entries say", () => ({
        session: this.id,
        id,
        row: row ?? null,
        seen: { ...seen, limits: undefined },
      }));
    }
    for (const { id, state, amount, held, returned, posted, overrun } of leases) {
      const [row] = storage.look<LeaseRow>("SELECT * FROM client_leases WHERE id = ?", id);
      const isTrue =
        row?.state === state &&
        row.amount_micro_usd === amount &&
        row.held_micro_usd === held &&
        row.returned_micro_usd === returned &&
        row.posted_micro_usd === posted &&
        row.overrun_micro_usd === overrun;
      const details = (): object => ({ session: this.id, row: { ...row, lease: null }, id, state, amount, held, returned, posted, overrun });
      demand(isTrue, "a lease stands as its entries say", details);
      demand(amount === held + returned + posted - overrun, "what was leased is held, given back or spent", details);
    }
    runs.clear();
    actions.clear();
    decisions.clear();
    leases.clear();
  }

  /** What the session shares is what its entries say it spent; and it believes to have no more than its tenant has given it. */
  #demandShares({ spans, slices, permits }: StoredShares): void {
    for (const span of spans) {
      const seen = this.#spans.get(`${span.window} ${span.startsAt}`) ?? noSides();
      demand(
        seen.posted === span.postedMicroUsd && seen.pending === span.pendingMicroUsd && seen.overrun === span.overrunMicroUsd,
        "a session's stretch is the sum of its entries there",
        () => ({ session: this.id, span, seen }),
      );
    }
    for (const slice of slices) this.tenant.demandGiven(this, slice);
    for (const one of permits) this.tenant.demandPermits(this, one);
  }

  /** What it has spent in a stretch, by `window startsAt`. */
  spentIn(stretch: string): Readonly<Sides> {
    return this.#spans.get(stretch) ?? noSides();
  }

  #runOf(id: string): Sides & { isClosed: boolean } {
    const run = this.runs.get(id);
    if (run === undefined) throw new Violation("what happens in a run happens in one of the session", { session: this.id, run: id });
    return run;
  }

  #known({ decision_id, seq }: Entry): Seen {
    const seen = this.decisions.get(decision_id ?? "");
    if (seen === undefined) throw new Violation("no money moves without a decision", { session: this.id, seq });
    this.#touched.decisions.add(seen.id);
    return seen;
  }
}

/** Whether what is stopped, as `target id state`, is about this. */
export function isAbout(key: string, subject: { readonly [target: string]: string }): boolean {
  const [target = "", id = ""] = key.split(" ");
  return target === "action" ? fits(id, subject.action ?? "") : subject[target] === id;
}

/** What lies beside an entry, as the gateway printed it. */
const inputsIn = (payload: string | null): unknown => (payload === null ? undefined : (JSON.parse(payload) as { readonly inputs?: unknown }).inputs);

const NO_LIMITS: Limits = {
  denied: [],
  session: null,
  run: null,
  actions: [],
  shared: [],
  rates: [],
  concurrency: [],
  postsOnExpiry: true,
  holds: [],
  holdsAbove: null,
  holdMs: 0,
  quorum: 1,
  fourEyes: false,
  groups: [],
};

const isSame = (sides: Sides | undefined, row: SidesRow | undefined): boolean =>
  sides !== undefined &&
  row !== undefined &&
  sides.posted === row.posted_micro_usd &&
  sides.pending === row.pending_micro_usd &&
  sides.overrun === row.overrun_micro_usd &&
  sides.leased === row.leased_micro_usd;

interface SidesRow {
  readonly posted_micro_usd: number;
  readonly pending_micro_usd: number;
  readonly leased_micro_usd: number;
  readonly overrun_micro_usd: number;
}

interface LeaseRow {
  readonly state: string;
  readonly amount_micro_usd: number;
  readonly held_micro_usd: number;
  readonly returned_micro_usd: number;
  readonly posted_micro_usd: number;
  readonly overrun_micro_usd: number;
}

interface SessionRow extends SidesRow {
  readonly seq: number;
  readonly head_hash: string;
  readonly clock: number;
  readonly closed: number;
  readonly allowed: number;
  readonly denied: number;
  readonly held: number;
  readonly prevented_micro_usd: number;
  readonly shares: string | null;
}

export interface StoredSlice {
  readonly scope: "agent" | "tenant";
  readonly window: string;
  readonly startsAt: number;
  readonly allowanceMicroUsd: number;
}

export interface StoredPermits {
  readonly per: "agent" | "tenant";
  readonly pattern: string;
  readonly unused: number;
  readonly used: readonly number[];
  readonly told: number;
}

interface StoredShares {
  readonly spans: readonly { window: string; startsAt: number; postedMicroUsd: number; pendingMicroUsd: number; overrunMicroUsd: number }[];
  readonly slices: readonly StoredSlice[];
  readonly permits: readonly StoredPermits[];
}
