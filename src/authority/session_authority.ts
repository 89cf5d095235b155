import { DurableObject } from "cloudflare:workers";
import { decideAll, type Member } from "../core/batch.ts";
import type { Book } from "../core/book.ts";
import type { Ask } from "../core/conclude.ts";
import type { Decision, Settlement } from "../core/decision.ts";
import type { Digest } from "../core/digest.ts";
import type { PresentedApproval } from "../core/gates.ts";
import type { ApprovalId, DecisionId, RunId } from "../core/ids.ts";
import { formatUsd } from "../core/money.ts";
import { ExpressionMemory } from "../core/policy/expressions.ts";
import { type Evaluation, type PolicyRef, workBudget } from "../core/policy/findings.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { CommitReport, Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { commit, type DecisionRecord, extend, reconsidered, release, type Told, topup } from "../core/settle.ts";
import type { Instant } from "../core/time.ts";
import { happen, openTurn, record, signature, type Turn } from "../core/turn.ts";
import type {
  Answered,
  DecideCall,
  DecideReply,
  DecisionRead,
  Lease,
  OpenSession,
  PolicyMoved,
  Reply,
  SessionOpened,
  SessionRead,
  SessionState,
  TopupCall,
  TopupReply,
} from "../flow/ports.ts";
import type { AuthorityEnv } from "./env.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import { Outbox } from "./outbox.ts";
import { freshForEntry } from "./randomness.ts";
import { SessionStore } from "./session_store.ts";
import { sha256 } from "./sha256.ts";
import { hasTables } from "./tables.ts";

/** Entries wait this long for company before they are shipped; a read of the ledger does not wait for it. */
const SHIP_DELAY_MS = 1_000;
/** The safety net under the delay above: should the object lose its memory, its alarm ships what is left. */
const SHIP_ALARM_MS = 5_000;
/** An alarm never rings sooner than this from now, whatever is due: what is due is done at every call anyway. */
const LEAST_ALARM_MS = 1_000;
const MOST_BACKOFF_MS = 60_000;
/** Decisions made in one storage transaction, at most. */
const MOST_IN_A_TURN = 128;
/** A lease is renewed in passing once less than this is left of it. */
const LEASE_HALF_MS = LEASE_TERM_MS / 2;
/** How long a decision waits for a lapsed lease to be renewed before it is denied as `authority_stale`. */
const RENEWAL_PATIENCE_MS = 2_000;

/**
 * The authority of one session. It alone moves the session's money: each decision is one step of a turn, and a turn is one storage transaction
 * together with its entries. Requests that have arrived by the time of a turn share it. An answer leaves only after its
 * turn is durable (the platform's output gate), so whoever holds an answer holds the truth.
 */
export class SessionAuthority extends DurableObject<AuthorityEnv> {
  readonly #outbox: Outbox;
  readonly #store: SessionStore;
  readonly #conditions = new ExpressionMemory();
  readonly #waiting: Waiting[] = [];
  #book: Book | null = null;
  #lease: Lease | null = null;
  /** Whether the session was ever opened, once that is known: what is open stays so. */
  #opened = false;
  #turning = false;
  #renewal: Promise<void> | null = null;
  #shipSoon: Promise<void> | null = null;
  /** When the alarm is set to ring, as far as this memory knows. */
  #alarmAt: Instant = Number.POSITIVE_INFINITY;
  /** Alarms that failed in a row. */
  #alarmFailures = 0;

  constructor(ctx: DurableObjectState, env: AuthorityEnv) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage.sql);
    this.#store = new SessionStore(ctx.storage.sql, this.#outbox);
    if (this.#isOpened()) ctx.storage.transactionSync(() => this.#store.upgrade());
  }

  async open(order: OpenSession): Reply<Answered<SessionOpened>> {
    const known = this.#answerKnown(order);
    if (known !== null) return known;
    const openedAt = Date.now();
    const expiresAt = openedAt + order.ttlMs;
    const { tenant } = order.principal;
    const admitted = await this.#tenant(tenant).admit({
      session: order.id,
      token: order.principal.tokenId,
      agent: order.agent,
      labels: order.labels,
      openedAt,
      expiresAt,
    });
    if (!admitted.ok) return admitted;
    // Another order under the same id may have been served while the tenant was asked.
    const meanwhile = this.#answerKnown(order);
    if (meanwhile !== null) return meanwhile;

    const opened: SessionOpened = { id: order.id, agent: order.agent, run: order.run, policy: admitted.value.policy, expiresAt };
    this.ctx.storage.transactionSync(() => {
      const { id, agent, labels, fingerprint, budgetMicroUsd, run } = order;
      this.#store.create({ tenant, id, agent, labels, fingerprint, opened, openedAt, expiresAt, budgetMicroUsd, run });
      this.#store.writeLease({ ...admitted.value, endsAt: openedAt + LEASE_TERM_MS });
      const turn = openTurn(this.#store.readBook(), openedAt, TOOLS);
      happen(turn, { kind: "run_opened", run });
      const limits = { labels, budget_usd: budgetMicroUsd === null ? null : formatUsd(budgetMicroUsd), ttl_ms: order.ttlMs };
      record(
        turn,
        "session",
        { run_id: run, policy: opened.policy, principal: signature(order.principal), details: { event: "opened", ...limits } },
        null,
      );
      this.#store.write(turn);
      this.#store.writeTotals(turn.book);
    });
    this.#afterTurn();
    return ok({ answer: opened, replayed: false });
  }

  /** The call and the decisions cross as JSON texts: they are printed anyway, and the runtime's own encoding of objects costs several times as much. */
  async decide(callText: string): Promise<DecideReplyText> {
    // Printed by `openSessions`, from a value of this very type.
    const call = JSON.parse(callText) as DecideCall;
    const reply = await this.#take(call.principal, (turn) => this.#decide(turn, call), true);
    if (!reply.ok) return { kind: "other", reply };
    if (reply.value.kind === "policy_moved") return { kind: "other", reply: ok(reply.value) };
    const { decisions } = reply.value;
    return { kind: "decided", texts: decisions.map(({ answer }) => this.#store.textOf(answer)), replayed: decisions.map(({ replayed }) => replayed) };
  }

  commit(principal: Principal, id: DecisionId, report: CommitReport, fingerprint: string): Reply<Answered<Settlement>> {
    return this.#settle(principal, id, (turn, decided) => commit(turn, decided, principal, report, fingerprint));
  }

  release(principal: Principal, id: DecisionId, reason: string | null): Reply<Answered<Settlement>> {
    return this.#settle(principal, id, (turn, decided) => release(turn, decided, principal, reason, "release"));
  }

  extend(principal: Principal, id: DecisionId, ttlMs: number): Reply<Answered<Settlement>> {
    return this.#settle(principal, id, (turn, decided) => extend(turn, decided, principal, ttlMs));
  }

  topup(call: TopupCall): Reply<TopupReply> {
    return this.#take(
      call.principal,
      (turn): Result<TopupReply, Refusal> => {
        const found = this.#store.findDecision(call.id);
        if (found === null) return err(noSuchDecision(call.id));
        const { matter } = found.record;
        const lease = this.#standing(turn.now);
        const again = reconsidered(found.record);
        if (matter !== null && found.record.state === "pending" && moved(lease, call)) {
          return ok({ kind: "policy_moved", agent: turn.book.agent, policy: lease.policy, entities: lease.entities, request: again });
        }
        const request = { ...again, estimateMicroUsd: call.estimateMicroUsd };
        const decision = topup(turn, found.record, {
          request,
          principal: call.principal,
          evaluation: underLease(call.evaluation, call.under, lease),
          lease,
          presented: "none",
          conditions: this.#conditions,
          budget: workBudget(),
        });
        return decision.ok ? ok({ kind: "decided", decision: decision.value }) : decision;
      },
      true,
    );
  }

  async readDecision(principal: Principal, id: DecisionId, waitMs: number): Reply<DecisionRead> {
    const read = () => this.#take(principal, (turn) => this.#readDecision(turn.now, id));
    const first = await read();
    if (!first.ok || first.value.state !== "held" || waitMs <= 0) return first;
    // Nothing but its expiry ends a hold as yet: sleep until then, or as long as the caller will wait.
    const untilExpiry = (first.value.decision.approval?.expiresAt ?? 0) - Date.now();
    await scheduler.wait(Math.max(1, Math.min(waitMs, untilExpiry)));
    return read();
  }

  openRun(principal: Principal, run: RunId): Reply<Answered<{ readonly id: RunId }>> {
    return this.#take(principal, (turn): Result<Answered<{ readonly id: RunId }>, Refusal> => {
      if (turn.book.runs.has(run)) return ok({ answer: { id: run }, replayed: true });
      if (turn.book.closed || turn.now >= turn.book.expiresAt) return err(refusal("session_closed", "The session is closed or has expired."));
      happen(turn, { kind: "run_opened", run });
      record(turn, "session", { run_id: run, principal: signature(principal), details: { event: "run_opened" } }, null);
      return ok({ answer: { id: run }, replayed: false });
    });
  }

  closeRun(principal: Principal, run: RunId): Reply<{ readonly id: RunId }> {
    return this.#take(principal, (turn) => {
      const found = turn.book.runs.get(run);
      if (found === undefined) return err(refusal("not_found", `There is no run "${run}" in this session.`));
      if (!found.closed) {
        happen(turn, { kind: "run_closed", run });
        record(turn, "session", { run_id: run, principal: signature(principal), details: { event: "run_closed" } }, null);
      }
      return ok({ id: run });
    });
  }

  async close(principal: Principal): Reply<SessionRead> {
    const closed = await this.#take(principal, (turn) => {
      if (!turn.book.closed) {
        happen(turn, { kind: "session_closed" });
        record(turn, "session", { principal: signature(principal), details: { event: "closed" } }, null);
      }
      return ok(this.#readSession(turn));
    });
    // The session is closed whether or not its tenant hears of it now; the alarm tells it again.
    if (closed.ok)
      await Promise.race([this.#tellTenant().catch(() => this.#wakeBy(Date.now() + SHIP_ALARM_MS)), scheduler.wait(RENEWAL_PATIENCE_MS)]);
    return closed;
  }

  read(principal: Principal): Reply<SessionRead> {
    return this.#take(principal, (turn) => ok(this.#readSession(turn)));
  }

  /** Takes from the tenant what is now in force. It does not lengthen the lease: nobody knows how long the message was under way. */
  receive(lease: Lease): void {
    if (!this.#isOpened()) return;
    const current = this.#lease ?? this.#store.readLease();
    this.#keepLease({ ...lease, endsAt: current?.endsAt ?? 0 });
  }

  async renewLease(): Reply<null> {
    if (!this.#isOpened()) return err(refusal("not_found", "There is no such session."));
    await this.#renew();
    return ok(null);
  }

  async ship(): Promise<void> {
    if (!this.#isOpened()) return;
    const { tenant, session } = this.#readBook();
    await this.#outbox.ship(this.env.LEDGERS.getByName(tenant), session);
  }

  override async alarm(): Promise<void> {
    this.#alarmAt = Number.POSITIVE_INFINITY;
    if (!this.#isOpened()) return;
    // Caught here: an alarm that throws is tried six times and then dropped, and what is in the outbox must never be.
    try {
      const expired = await this.#enqueue(() => ok(null), false);
      if (!expired.ok) return;
      await this.ship();
      if (this.#readBook().closed) await this.#tellTenant();
      this.#alarmFailures = 0;
      const { nextExpiry } = this.#readBook();
      this.#wakeBy(Math.min(nextExpiry, this.#store.forgetAt));
      if (!this.#outbox.isEmpty()) this.#wakeBy(Date.now() + SHIP_ALARM_MS);
    } catch (fault) {
      this.#alarmFailures++;
      console.error(`session ${this.ctx.id.toString()}: alarm failed and will ring again: ${String(fault)}`);
      this.#alarmAt = Number.POSITIVE_INFINITY;
      this.#wakeBy(Date.now() + Math.min(MOST_BACKOFF_MS, SHIP_ALARM_MS * 2 ** Math.min(this.#alarmFailures, 16)));
    }
  }

  #decide(turn: Turn, call: DecideCall): Result<DecideReply, Refusal> {
    const { book } = turn;
    const used = call.key === null ? null : this.#store.findKey(call.key.key);
    if (used !== null && used !== call.key?.fingerprint) {
      return err(refusal("idempotency_mismatch", "The Idempotency-Key was used before with another body."));
    }
    const priors: (Decision | null)[] = [];
    for (const item of call.items) {
      const prior = this.#store.findDecision(item.request.id);
      if (prior !== null && prior.fingerprint !== item.fingerprint) {
        return err(
          refusal("idempotency_mismatch", `The decision "${item.request.id}" was asked before with another body.`, [
            { pointer: `${item.pointer}/id`, message: "is the id of a decision with another body" },
          ]),
        );
      }
      const { run } = item.request;
      if (run !== null && !book.runs.has(run)) {
        return err(
          refusal("body_invalid", `There is no run "${run}" in this session.`, [
            { pointer: `${item.pointer}/run`, message: `must be a run of this session, found "${run}"` },
          ]),
        );
      }
      priors.push(prior?.record.decision ?? null);
    }
    const lease = this.#standing(turn.now);
    const isNew = priors.includes(null);
    if (isNew && moved(lease, call)) return ok({ kind: "policy_moved", agent: book.agent, policy: lease.policy, entities: lease.entities });

    if (isNew && used === null && call.key !== null) this.#store.writeKey(call.key.key, call.key.fingerprint);
    const budget = workBudget();
    const members: Member[] = call.items.map(({ request, fingerprint, evaluation }, place) => {
      const ask: Ask = {
        request,
        principal: call.principal,
        evaluation: underLease(evaluation, call.under, lease),
        lease,
        presented: this.#presented(request.approval, turn.now),
        conditions: this.#conditions,
        budget,
      };
      return { ask, fingerprint, prior: priors[place] ?? null };
    });
    return ok({ kind: "decided", decisions: decideAll(turn, members, call.semantics) });
  }

  #settle(principal: Principal, id: DecisionId, step: (turn: Turn, decided: DecisionRecord) => Told): Reply<Answered<Settlement>> {
    return this.#take(principal, (turn) => {
      const found = this.#store.findDecision(id);
      if (found === null) return err(noSuchDecision(id));
      const told = step(turn, found.record);
      return told.ok ? ok({ answer: told.value.settlement, replayed: told.value.replayed }) : told;
    });
  }

  /** Puts work into the next turn, once its caller is known to be one whom this session answers. */
  #take<T>(principal: Principal, work: (turn: Turn) => Result<T, Refusal>, decides = false): Reply<T> {
    return this.#enqueue((turn) => {
      if (principal.kind === "agent" && principal.subject !== turn.book.agent) {
        return err(refusal("not_your_session", "The session belongs to another agent."));
      }
      if (this.#lease?.revokedTokens.includes(principal.tokenId) === true) return err(refusal("token_revoked", "The token was revoked."));
      return work(turn);
    }, decides);
  }

  #enqueue<T>(work: (turn: Turn) => Result<T, Refusal>, needsLease: boolean): Reply<T> {
    if (!this.#isOpened()) return Promise.resolve(err(refusal("not_found", "There is no such session.")));
    return new Promise((resolve, reject) => {
      this.#waiting.push({
        needsLease,
        attempt: (turn) => {
          const result = work(turn);
          return () => resolve(result);
        },
        reject,
      });
      if (!this.#turning) void this.#turn();
    });
  }

  /** Takes turns as long as anybody waits. Between two turns it lets in who has arrived meanwhile: they share the second. */
  async #turn(): Promise<void> {
    this.#turning = true;
    try {
      while (this.#waiting.length > 0) {
        this.#lease ??= this.#store.readLease();
        if (this.#waiting.some(({ needsLease }) => needsLease)) await this.#freshenLease();
        const group = this.#waiting.splice(0, MOST_IN_A_TURN);
        if (!this.#takeTurn(group)) for (const one of group) this.#takeTurn([one], one.reject);
        this.#afterTurn();
        await scheduler.wait(0);
      }
    } catch (fault) {
      // Nobody is left waiting for a turn that will not come.
      for (const { reject } of this.#waiting.splice(0)) reject(fault);
    } finally {
      this.#turning = false;
    }
  }

  /** One transaction for a group. Answers `false` when it was rolled back: a law broke for one of them, and each must be tried by itself. */
  #takeTurn(group: readonly Waiting[], refuse?: (fault: unknown) => void): boolean {
    try {
      const answers = this.ctx.storage.transactionSync(() => {
        const turn = openTurn(this.#readBook(), Date.now(), TOOLS);
        this.#store.write(turn);
        const attempted = group.map((waiting) => {
          const answer = waiting.attempt(turn);
          this.#store.write(turn);
          return answer;
        });
        this.#store.writeTotals(turn.book);
        // Nothing is decided any more once a session is over, so no rule looks back.
        this.#store.forgetKept(turn.book.closed ? Number.POSITIVE_INFINITY : turn.now);
        return attempted;
      });
      // Point of no return: money and record stand.
      for (const answer of answers) answer();
      return true;
    } catch (fault) {
      this.#book = null;
      this.#store.forgetUnwritten();
      refuse?.(fault);
      return false;
    }
  }

  /** Lets entries be shipped soon, and sets the alarm for what must not be forgotten. */
  #afterTurn(): void {
    const { nextExpiry } = this.#readBook();
    this.#wakeBy(Math.min(nextExpiry, this.#store.forgetAt));
    if (this.#shipSoon !== null || this.#outbox.isEmpty()) return;
    this.#wakeBy(Date.now() + SHIP_ALARM_MS);
    this.#shipSoon = scheduler
      .wait(SHIP_DELAY_MS)
      .then(() => {
        this.#shipSoon = null;
        return this.ship();
      })
      // The alarm tries again; until then the entries are safe where they are.
      .catch(() => undefined);
    this.ctx.waitUntil(this.#shipSoon);
  }

  #wakeBy(wanted: Instant): void {
    if (!Number.isFinite(wanted)) return;
    const at = Math.max(wanted, Date.now() + LEAST_ALARM_MS);
    if (at >= this.#alarmAt) return;
    this.#alarmAt = at;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(at));
  }

  /** Renews a lapsed lease before a turn, for as long as patience lasts, and one that is half over in passing. */
  async #freshenLease(): Promise<void> {
    const now = this.#now();
    const endsAt = this.#lease?.endsAt ?? 0;
    if (endsAt - now > LEASE_HALF_MS) return;
    this.#renewal ??= this.#renew().finally(() => {
      this.#renewal = null;
    });
    if (endsAt > now) this.ctx.waitUntil(this.#renewal);
    else await this.#renewal;
  }

  /** Asks the tenant anew, for as long as patience lasts. The lease runs from before it was asked for, by this session's clock. */
  async #renew(): Promise<void> {
    const asked = this.#now();
    const { tenant, session, agent } = this.#readBook();
    try {
      const renewed = await Promise.race([this.#tenant(tenant).renew(session, agent), scheduler.wait(RENEWAL_PATIENCE_MS)]);
      if (renewed?.ok) this.#keepLease({ ...renewed.value, endsAt: asked + LEASE_TERM_MS });
    } catch {
      // Not renewed: the old lease runs out, and then everything is denied as `authority_stale` until the tenant answers again.
    }
  }

  /** An older lease never replaces a newer one, whatever order they arrive in. */
  #keepLease(lease: Lease): void {
    const current = this.#lease ?? this.#store.readLease();
    if (current !== null && lease.epoch < current.epoch) return;
    const kept = { ...lease, endsAt: Math.max(lease.endsAt, current?.endsAt ?? 0) };
    this.#store.writeLease(kept);
    this.#lease = kept;
  }

  /** The session's clock, which never goes back. */
  #now(): Instant {
    return Math.max(Date.now(), this.#readBook().clock);
  }

  #standing(now: Instant): Standing {
    return {
      fresh: this.#lease !== null && this.#lease.endsAt > now,
      policy: this.#lease?.policy ?? null,
      // A lease that an older version of this code stored says nothing of entities.
      entities: this.#lease?.entities ?? 0,
    };
  }

  /** What becomes of the approval that a request names: as yet nobody answers approvals, so it is open or has expired. */
  #presented(approval: ApprovalId | null, now: Instant): PresentedApproval {
    if (approval === null) return "none";
    const expiresAt = this.#store.findApprovalExpiry(approval);
    if (expiresAt === null) return "unknown";
    return expiresAt > now ? "open" : "expired";
  }

  #readDecision(now: Instant, id: DecisionId): Result<DecisionRead, Refusal> {
    const found = this.#store.findDecision(id);
    if (found === null) return err(noSuchDecision(id));
    const { decision, state, reservation, postedMicroUsd, overrunMicroUsd } = found.record;
    const overdue = state === "held" && decision.approval !== null && decision.approval.expiresAt <= now;
    const standing = state === "pending" ? reservation : decision.reservation;
    return ok({ decision: { ...decision, reservation: standing }, state: overdue ? "expired" : state, postedMicroUsd, overrunMicroUsd });
  }

  #readSession(turn: Turn): SessionRead {
    const { book } = turn;
    return {
      id: book.session,
      agent: book.agent,
      labels: this.#store.readOpening().labels,
      state: stateOf(book, turn.now),
      openedAt: book.openedAt,
      expiresAt: book.expiresAt,
      run: book.currentRun,
      policy: this.#lease?.policy ?? null,
      budgetMicroUsd: book.budgetMicroUsd,
      total: book.total,
      windDown: book.windDown,
      runs: Array.from(book.runs, ([id, run]) => ({ id, ...run.account })).sort((a, b) => byName(a.id, b.id)),
      actions: Array.from(book.actions, ([action, account]) => ({ action, ...account })).sort((a, b) => byName(a.action, b.action)),
      preventedMicroUsd: book.preventedMicroUsd,
      decisions: { ...book.counts },
    };
  }

  /** The recorded answer to an order under an id that was opened before; `null` when it was not. */
  #answerKnown(order: OpenSession): Result<Answered<SessionOpened>, Refusal> | null {
    if (!this.#isOpened()) return null;
    const opening = this.#store.readOpening();
    if (opening.fingerprint !== order.fingerprint)
      return err(refusal("idempotency_mismatch", "The Idempotency-Key was used before with another body."));
    return ok({ answer: opening.opened, replayed: true });
  }

  async #tellTenant(): Promise<void> {
    if (this.#store.readOpening().tenantTold) return;
    const { tenant, session } = this.#readBook();
    await this.#tenant(tenant).closeSession(session);
    this.#store.setTenantTold();
  }

  #isOpened(): boolean {
    this.#opened ||= hasTables(this.ctx.storage.sql);
    return this.#opened;
  }

  #readBook(): Book {
    this.#book ??= this.#store.readBook();
    return this.#book;
  }

  #tenant(tenant: string) {
    return this.env.TENANTS.getByName(tenant);
  }
}

/** What `decide` answers over RPC. */
export type DecideReplyText =
  | { readonly kind: "decided"; readonly texts: readonly string[]; readonly replayed: readonly boolean[] }
  | { readonly kind: "other"; readonly reply: Result<PolicyMoved, Refusal> };

/** What a caller waits for: an attempt within a turn that answers how to tell it, once the turn stands. */
interface Waiting {
  readonly needsLease: boolean;
  attempt(turn: Turn): () => void;
  reject(fault: unknown): void;
}

/** A fixed order, whatever order memory or the store has them in. */
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const TOOLS = { sha256, fresh: freshForEntry };

function stateOf(book: Book, now: Instant): SessionState {
  if (book.closed) return "closed";
  return now >= book.expiresAt ? "expired" : "active";
}

/**
 * Whether a request must be evaluated again, under the policy that the lease names. Not under a lapsed lease: that denies whatever the policy says,
 * and must not depend on a tenant that cannot be reached.
 */
const moved = (lease: Standing, call: Pick<DecideCall, "under" | "entities" | "entitiesFloor">): lease is Standing & { readonly policy: PolicyRef } =>
  lease.fresh && lease.policy !== null && (lease.policy.digest !== call.under || isTooOld(lease, call));

/** Whether the attributes that were looked at are older than they may be. */
const isTooOld = (lease: Standing, { entities, entitiesFloor }: Pick<DecideCall, "entities" | "entitiesFloor">): boolean =>
  entities !== null && entities < Math.min(lease.entities, entitiesFloor ?? Number.POSITIVE_INFINITY);

/** What a session's lease says now. */
type Standing = Ask["lease"] & { readonly entities: number };

/**
 * An evaluation under the lease's own name for the policy: the same digest may have got a new version since the worker last looked.
 * `null`: it was not made under the policy that the lease names.
 */
function underLease(evaluation: Evaluation | null, under: Digest | null, { policy }: Ask["lease"]): Evaluation | null {
  if (policy === null || policy.digest !== under) return null;
  return evaluation?.kind === "findings" ? { kind: "findings", findings: { ...evaluation.findings, policy } } : evaluation;
}

const noSuchDecision = (id: DecisionId): Refusal => refusal("not_found", `There is no decision "${id}" in this session.`);
