import { LEASE_TERM_MS } from "../../../../src/authority/lease_term.ts";
import type { Entry } from "../../../../src/core/entry.ts";
import type { Intervened } from "../../../../src/flow/ports.ts";
import type { ObjectHost } from "../platform/objects.ts";
import { Chain } from "./chain.ts";
import type { LedgerModel } from "./ledger.ts";
import { Policies } from "./policies.ts";
import { isAbout, type SessionModel, type StoredPermits, type StoredSlice } from "./session.ts";
import { Shared } from "./shared.ts";
import { demand, Violation } from "./violation.ts";

/** A stop that was put in force: by `target id state`. */
interface Stop {
  readonly key: string;
  /** The interventions that said so, without a lift between them. */
  readonly by: string[];
  readonly since: number;
  /** Evidence: since which entry a session obeys. */
  readonly acknowledged: Map<string, number>;
  /** Everywhere by then, by the tenant's word. */
  everywhereBy: number;
  liftedAt: number;
}

/** One tenant as its own entries and tables tell of it. */
export class TenantModel {
  readonly chain: Chain;
  readonly host: ObjectHost;
  readonly id: string;
  readonly hasTrueClocks: boolean;
  readonly policies: Policies;
  readonly shared = new Shared();
  readonly ledger: LedgerModel;
  readonly sessions = new Map<string, SessionModel>();
  readonly #stops: Stop[] = [];
  readonly #revoked = new Map<string, number>();
  /** What holders of leases have begun, for whoever learns later that it should not have been. */
  readonly #begun: { readonly at: number; readonly subject: { readonly [target: string]: string } }[] = [];
  readonly #now: () => number;

  constructor(host: ObjectHost, id: string, agents: readonly string[], ledger: LedgerModel, hasTrueClocks: boolean, now: () => number) {
    this.host = host;
    this.id = id;
    this.ledger = ledger;
    this.policies = new Policies(agents);
    this.hasTrueClocks = hasTrueClocks;
    this.#now = now;
    this.chain = new Chain(id);
  }

  /** Takes in what has become durable, and holds the tenant's tables to it. */
  durable(_now: number): void {
    const { storage } = this.host;
    if (!storage.hasTable("tenant")) return;
    for (const { entry } of this.chain.take(this.host)) this.#take(entry);
    const [row] = storage.look<{ seq: number; head_hash: string }>("SELECT seq, head_hash FROM tenant");
    if (row === undefined) return;
    this.chain.demandHead(row.seq, row.head_hash);
    this.#demandPools();
    const shipped = (storage.look<{ seq: number | null }>("SELECT MIN(seq) AS seq FROM outbox")[0]?.seq ?? row.seq + 1) - 1;
    this.ledger.demandHas(this.id, shipped);
  }

  /** What is revoked is refused everywhere within a lease's term. */
  demandToken(token: string, at: number, session: SessionModel, seq: number): void {
    const since = this.#revoked.get(token);
    if (since === undefined) return;
    demand(at < since + LEASE_TERM_MS + session.host.setBackMs, "a revoked token decides nothing after a lease's term", () => ({
      session: session.id,
      seq,
      token,
      since,
      at,
    }));
  }

  /** What is killed or paused is not allowed: not where that was acknowledged, and nowhere after a lease's term. */
  demandNotStopped(session: SessionModel, subject: { readonly [target: string]: string }, at: number, seq: number): void {
    for (const stop of this.#stops) {
      if (stop.liftedAt <= at || !isAbout(stop.key, subject)) continue;
      const details = () => ({ session: session.id, seq, at, stop: { ...stop, acknowledged: [...stop.acknowledged] } });
      demand(at < stop.since + LEASE_TERM_MS + session.host.setBackMs, "a kill is obeyed everywhere within a lease's term", details);
      demand(!this.hasTrueClocks || at <= stop.everywhereBy, "a kill is in force everywhere by the instant that its evidence names", details);
      const since = stop.acknowledged.get(session.id);
      demand(since === undefined || seq <= since, "who has acknowledged a kill obeys it", details);
    }
  }

  /** Whoever holds a lease begins what it decided by itself: not after its end, nor after the instant by which the evidence of a kill says that it is heard of. */
  startedLeased(session: string, run: string, action: string, expiresAt: number): void {
    const at = this.#now();
    demand(!this.hasTrueClocks || at < expiresAt, "nobody decides with a lease that has ended", () => ({ session, run, action, at, expiresAt }));
    const subject = { tenant: this.id, agent: this.sessions.get(session)?.agent ?? "", session, run, action };
    this.#begun.push({ at, subject });
    if (this.#begun.length > 2_000) this.#begun.splice(0, 1_000);
    for (const stop of this.#stops) this.#demandHeard(stop, at, subject);
  }

  #demandHeard(stop: Stop, at: number, subject: { readonly [target: string]: string }): void {
    if (!this.hasTrueClocks || at < stop.since || stop.liftedAt <= at || !isAbout(stop.key, subject)) return;
    demand(at <= stop.everywhereBy, "a kill is heard of by whoever holds a lease, by the instant that its evidence names", () => ({
      at,
      subject,
      stop: { ...stop, acknowledged: [...stop.acknowledged] },
    }));
  }

  /** A session has no more of an account than its tenant counts as given to it. */
  demandGiven(session: SessionModel, { scope, window, startsAt, allowanceMicroUsd }: StoredSlice): void {
    if (allowanceMicroUsd === 0) return;
    const [holding] = this.host.storage.look<{ granted_micro_usd: number; starts_at: number }>(
      "SELECT granted_micro_usd, starts_at FROM holdings WHERE session = ? AND scope = ? AND span = ?",
      session.id,
      scope,
      window,
    );
    // Of a later stretch the session has already begun to speak.
    if (holding !== undefined && holding.starts_at > startsAt) return;
    const granted = holding === undefined || holding.starts_at !== startsAt ? 0 : holding.granted_micro_usd;
    demand(allowanceMicroUsd <= granted, "what a session may spend is taken from everybody else", () => ({
      session: session.id,
      scope,
      window,
      startsAt,
      allowanceMicroUsd,
      granted,
    }));
  }

  /** A session has made and may still make no more calls than its tenant counts as given to it, but for those that it was told of when they were done. */
  demandPermits(session: SessionModel, { per, pattern, unused, used, told }: StoredPermits): void {
    const [holding] = this.host.storage.look<{ unused: number; told: number }>(
      "SELECT unused, told FROM call_holdings WHERE session = ? AND per = ? AND pattern = ?",
      session.id,
      per,
      pattern,
    );
    const given = (holding?.told ?? 0) + (holding?.unused ?? 0) + session.leasedCalls(pattern);
    demand(told + used.length + unused <= given, "what calls a session may make are taken from everybody else", () => ({
      session: session.id,
      per,
      pattern,
      unused,
      used: used.length,
      told,
      holding: holding ?? null,
    }));
  }

  /** Every stop that is in force. */
  standing(): readonly string[] {
    return this.#stops.filter(({ liftedAt }) => liftedAt === Number.POSITIVE_INFINITY).map(({ key }) => key);
  }

  #take({ kind, details, seq }: Entry): void {
    const at = this.chain.writtenAt(seq);
    // The gateway's own words of what happened.
    const said = (details ?? {}) as { readonly [member: string]: string };
    if (kind === "policy") this.#takePolicy(said, at);
    else if (kind === "token" && said.event === "revoked") this.#revoked.set(said.id ?? "", at);
    else if (kind === "intervention" && said.event === "intervention") this.#takeIntervention(details as unknown as InterventionSaid, at);
    else if (kind === "intervention") this.#takeEvidence(said.intervention ?? "");
  }

  #takePolicy(said: { readonly [member: string]: string }, at: number): void {
    const { event, name = "", digest = "", scope = "", target } = said;
    const version = Number(said.version);
    // Whether it is active is a truth value among texts.
    if (event === "put") this.policies.put(name, version, digest, scope, target ?? null, (said.active as unknown) === true, at);
    else if (event === "activated") this.policies.activate(name, version, at);
    else if (event === "deleted") this.policies.activate(name, null, at);
  }

  #takeIntervention({ id, target, kind }: InterventionSaid, at: number): void {
    const key = `${target.type} ${target.id} ${kind === "kill" || kind === "revive" ? "killed" : "paused"}`;
    const standing = this.#stops.find((stop) => stop.key === key && stop.liftedAt === Number.POSITIVE_INFINITY);
    if (kind === "resume" || kind === "revive") {
      if (standing !== undefined) standing.liftedAt = at;
    } else if (standing !== undefined) standing.by.push(id);
    else
      this.#stops.push({
        key,
        by: [id],
        since: at,
        acknowledged: new Map(),
        everywhereBy: Number.POSITIVE_INFINITY,
        liftedAt: Number.POSITIVE_INFINITY,
      });
  }

  #takeEvidence(id: string): void {
    const stop = this.#stops.find(({ by }) => by.includes(id));
    const [row] = this.host.storage.look<{ answer: string | null }>("SELECT answer FROM interventions WHERE id = ?", id);
    if (row === undefined || row.answer === null) throw new Violation("evidence is on record with its entry", { tenant: this.id, id });
    const { acknowledged, inForceEverywhereBy } = JSON.parse(row.answer) as Intervened;
    for (const { session, seq } of acknowledged) {
      const model = this.sessions.get(session);
      demand(model === undefined || seq <= model.chain.seq, "evidence names an entry that is there", () => ({
        id,
        session,
        seq,
        has: model?.chain.seq,
      }));
      if (stop === undefined || model === undefined || seq === 0) continue;
      stop.acknowledged.set(session, Math.min(seq, stop.acknowledged.get(session) ?? Number.POSITIVE_INFINITY));
      for (const allowed of model.allowed.toReversed()) {
        if (allowed.seq <= seq) break;
        const subject = { tenant: this.id, agent: model.agent, session, run: allowed.run, action: allowed.action };
        if (isAbout(stop.key, subject))
          demand(stop.liftedAt <= allowed.writtenAt, "who has acknowledged a kill obeys it", () => ({ id, session, acknowledged: seq, allowed }));
      }
    }
    if (stop !== undefined) stop.everywhereBy = Math.min(stop.everywhereBy, inForceEverywhereBy - this.host.offsetMs);
    if (stop !== undefined) for (const { at, subject } of this.#begun) this.#demandHeard(stop, at, subject);
  }

  /** Of each account: what is given is the sum of what each session was given, and so is what is posted and pending. */
  #demandPools(): void {
    const { storage } = this.host;
    const wrong = storage.look<object>(
      `SELECT p.scope, p.target, p.span, p.starts_at, p.granted_micro_usd, s.granted, p.posted_micro_usd, s.posted, p.pending_micro_usd, s.pending
       FROM pools p JOIN (
         SELECT scope, target, span, starts_at, SUM(granted_micro_usd) AS granted, SUM(posted_micro_usd) AS posted, SUM(pending_micro_usd) AS pending
         FROM holdings GROUP BY scope, target, span, starts_at
       ) s ON s.scope = p.scope AND s.target = p.target AND s.span = p.span AND s.starts_at = p.starts_at
       WHERE p.granted_micro_usd < s.granted OR p.posted_micro_usd < s.posted OR p.pending_micro_usd < s.pending`,
    );
    demand(wrong.length === 0, "an account is the sum of what its sessions hold", () => wrong);
    const calls = storage.look<object>(
      `SELECT p.per, p.target, p.pattern, p.unused, s.unused AS held FROM call_pools p JOIN (
         SELECT per, target, pattern, SUM(unused) AS unused FROM call_holdings GROUP BY per, target, pattern
       ) s ON s.per = p.per AND s.target = p.target AND s.pattern = p.pattern WHERE p.unused <> s.unused`,
    );
    demand(calls.length === 0, "leave for calls is the sum of what sessions hold", () => calls);
  }
}

interface InterventionSaid {
  readonly id: string;
  readonly target: { readonly type: string; readonly id: string };
  readonly kind: string;
}
