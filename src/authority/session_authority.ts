import { DurableObject } from "cloudflare:workers";
import { type Answering, type Approval, answer, cancel, cancelAll, noteSeen, respond } from "../core/approvals.ts";
import { assert } from "../core/assert.ts";
import { decideAll, type Member } from "../core/batch.ts";
import type { Book } from "../core/book.ts";
import { LEASE_TTL_MS } from "../core/client_lease.ts";
import type { Ask } from "../core/conclude.ts";
import type { Settlement } from "../core/decision.ts";
import type { PresentedApproval, TenantWord } from "../core/gates.ts";
import { type Granting, grantLease, lapseOf } from "../core/grant_lease.ts";
import type { ApprovalId, DecisionId, LeaseId, RunId } from "../core/ids.ts";
import { formatUsd } from "../core/money.ts";
import { ExpressionMemory } from "../core/policy/expressions.ts";
import { workBudget } from "../core/policy/findings.ts";
import { KEY_REUSED, type Refusal, refusal } from "../core/refusals.ts";
import type { CommitReport, Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { commit, type DecisionRecord, extend, reconsidered, release, type Told, topup } from "../core/settle.ts";
import { type LeasedAction, settleLease } from "../core/settle_lease.ts";
import type { Draw } from "../core/shares.ts";
import { heldState, isStopped, moved, stateOf, underLease } from "../core/standing.ts";
import type { Instant } from "../core/time.ts";
import { happen, record, signature, type Turn } from "../core/turn.ts";
import { inTime } from "../flow/patience.ts";
import type {
  AnswerApproval,
  Answered,
  ApprovalRead,
  DecideCall,
  DecideReply,
  DecisionRead,
  Extended,
  GrantLeaseCall,
  GrantLeaseReply,
  Lease,
  LeaseAnswer,
  LeaseGranted,
  LeaseRead,
  OpenSession,
  PolicyMoved,
  Reply,
  SessionOpened,
  SessionRead,
  SettleLeaseCall,
  SettleLeaseReply,
  Superseded,
  TopupCall,
  TopupReply,
} from "../flow/ports.ts";
import { ApprovalNews } from "./approval_news.ts";
import type { AuthorityEnv } from "./env.ts";
import type { Because, Heard } from "./lease_news.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import { Outbox } from "./outbox.ts";
import { SessionBook } from "./session_book.ts";
import type { SessionStore } from "./session_store.ts";
import { TENANT_PATIENCE_MS, TenantLine } from "./tenant_line.ts";
import { CROWDED, TurnLine, type Worked } from "./turn_line.ts";

/** Entries wait this long for company before they are shipped; a read of the ledger does not wait for it. */
const SHIP_DELAY_MS = 1_000;
/**
 * The safety net under the delay above and under all that the tenant must be told: should the object lose its memory or nobody be reached, its alarm
 * does what is left. After alarms that failed in a row it is doubled each time, up to `MOST_BACKOFF_MS`.
 */
const RETRY_ALARM_MS = 5_000;
/** How long an alarm waits for each of its duties: no other alarm rings meanwhile, so no longer than until it would ring again. */
const DUTY_PATIENCE_MS = RETRY_ALARM_MS;
/** An alarm never rings sooner than this from now, whatever is due: what is due is done at every call anyway. */
const LEAST_ALARM_MS = 1_000;
const MOST_BACKOFF_MS = 60_000;
/** So long a hold, or an answer to one, waits for the tenant's desk to know of it. */
const DESK_PATIENCE_MS = 1_000;
/** Where nobody asks any more, what was kept for rules is erased so long after it was due, at most: an alarm a second would cost more than all that it erases. */
const FORGET_LATE_MS = 10_000;
/** An entry that says that this session obeys is shipped sooner than others: somebody watches for it. */
const OBEYED_DELAY_MS = 700;

/**
 * The authority of one session. It alone moves the session's money: each decision is one step of a turn, and a turn is one storage transaction
 * together with its entries. Requests that have arrived by the time of a turn share it. An answer leaves only after its
 * turn is durable (the platform's output gate), so whoever holds an answer holds the truth.
 */
export class SessionAuthority extends DurableObject<AuthorityEnv> {
  readonly #outbox: Outbox;
  readonly #book: SessionBook;
  readonly #store: SessionStore;
  readonly #tenant: TenantLine;
  readonly #news: ApprovalNews;
  readonly #line: TurnLine;
  #shipSoon: Promise<void> | null = null;
  /** When the alarm is set to ring, as far as this memory knows. */
  #alarmAt: Instant = Number.POSITIVE_INFINITY;
  /** Alarms that failed in a row. */
  #alarmFailures = 0;

  constructor(ctx: DurableObjectState, env: AuthorityEnv) {
    super(ctx, env);
    this.#outbox = new Outbox(ctx.storage.sql);
    this.#book = new SessionBook(ctx.storage, this.#outbox);
    this.#store = this.#book.store;
    this.#tenant = new TenantLine(this.#book, (tenant) => this.env.TENANTS.getByName(tenant), {
      waitUntil: (promise) => ctx.waitUntil(promise),
      given: () => this.#wakeForDue(),
      obeyed: () => this.#obeyed(),
    });
    this.#line = new TurnLine(this.#book, this.#tenant, {
      waitUntil: (promise) => ctx.waitUntil(promise),
      stands: (changed) => this.#noteChanged(changed),
      told: () => this.#afterTurn(),
    });
    this.#news = new ApprovalNews(this.#book, (untold) => this.env.TENANTS.getByName(this.#book.read().tenant).noteApprovals(untold));
  }

  async open(order: OpenSession): Reply<Answered<SessionOpened>> {
    const known = this.#answerKnown(order);
    if (known !== null) return known;
    const openedAt = Date.now();
    const expiresAt = openedAt + order.ttlMs;
    const { tenant } = order.principal;
    const admitted = await this.env.TENANTS.getByName(tenant).admit({
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

    const lease = this.#tenant.first(admitted.value);
    const opened: SessionOpened = { id: order.id, agent: order.agent, run: order.run, policy: lease.policy, expiresAt };
    const { id, agent, labels, fingerprint, budgetMicroUsd, run } = order;
    this.#book.open({ tenant, id, agent, labels, fingerprint, opened, openedAt, expiresAt, budgetMicroUsd, run }, (turn) => {
      this.#store.writeLease({ ...lease, endsAt: openedAt + LEASE_TERM_MS });
      happen(turn, { kind: "run_opened", run });
      const limits = { labels, budget_usd: budgetMicroUsd === null ? null : formatUsd(budgetMicroUsd), ttl_ms: order.ttlMs };
      record(
        turn,
        "session",
        { run_id: run, policy: opened.policy, principal: signature(order.principal), details: { event: "opened", ...limits } },
        null,
      );
    });
    this.#afterTurn();
    return ok({ answer: opened, replayed: false });
  }

  /** The call and the decisions cross as JSON texts: they are printed anyway, and the runtime's own encoding of objects costs several times as much. */
  async decide(callText: string): Promise<DecideReplyText> {
    // Printed by `openSessions`, from a value of this very type.
    const call = JSON.parse(callText) as DecideCall;
    const reply = await this.#takeDeciding(
      call.principal,
      call.items.map(({ request }) => request.id),
      (turn, tenant) => this.#decide(turn, call, tenant),
    );
    if (!reply.ok) return { kind: "other", reply };
    if (reply.value.kind === "policy_moved") return { kind: "other", reply: ok(reply.value) };
    const { decisions } = reply.value;
    // Where a person is asked, the person's desk knows of it when the agent does.
    if (decisions.some(({ answer }) => answer.verdict === "hold")) await this.#deskHears();
    return {
      kind: "decided",
      texts: decisions.map(({ answer }) => this.#store.textOf(answer)),
      replayed: decisions.map(({ replayed }) => replayed),
      superseded: decisions.map(({ superseded }) => superseded),
    };
  }

  commit(principal: Principal, id: DecisionId, report: CommitReport, fingerprint: string): Reply<Answered<Settlement>> {
    return this.#settle(principal, id, (turn, decided) => commit(turn, decided, principal, report, fingerprint));
  }

  release(principal: Principal, id: DecisionId, reason: string | null): Reply<Answered<Settlement>> {
    return this.#settle(principal, id, (turn, decided) => release(turn, decided, principal, reason, "release"));
  }

  async extend(principal: Principal, id: DecisionId, ttlMs: number): Reply<Extended> {
    let superseded: Superseded | null = null;
    const extended = await this.#settle(principal, id, (turn, decided) => {
      superseded = this.#superseded(turn.book, decided);
      return extend(turn, decided, principal, ttlMs, this.#tenant.orderAgainst(turn.book, decided.decision));
    });
    return extended.ok ? ok({ ...extended.value, superseded }) : extended;
  }

  topup(call: TopupCall): Reply<TopupReply> {
    return this.#takeDeciding(call.principal, [call.id], (turn, tenant): Worked<TopupReply> => {
      const found = this.#store.findDecision(call.id);
      if (found === null) return err(noSuchDecision(call.id));
      const { matter } = found.record;
      const lease = this.#tenant.standing(turn.now);
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
        conditions,
        budget: workBudget(),
        tenant,
      });
      if (!decision.ok) return decision;
      if ("shorts" in decision.value) return decision.value;
      const superseded = decision.value.verdict === "allow" ? this.#superseded(turn.book, found.record) : null;
      return ok({ kind: "decided", decision: decision.value, superseded });
    });
  }

  async grantLease({ principal, request, fingerprint, allowed, epoch, under, evaluation }: GrantLeaseCall): Reply<GrantLeaseReply> {
    // A kill of which this session has not heard said by when it is in force everywhere: no lease that is granted afterwards may run beyond that.
    if (this.#book.isOpened() && this.#tenant.isOlder(epoch)) await this.#tenant.consult();
    return this.#takeDeciding(principal, [], (turn, tenant): Worked<GrantLeaseReply> => {
      const { book } = turn;
      const known = this.#store.findLeaseAnswer(request.id);
      if (known !== null && known.fingerprint !== fingerprint) return err(KEY_REUSED);
      if (known?.answer.kind === "refused") return ok({ kind: "decided", answer: known.answer, replayed: true });
      const { run } = request;
      if (run !== null && !book.runs.has(run)) {
        const issue = { pointer: "/run", message: `must be a run of this session, found "${run}"` };
        return err(refusal("body_invalid", `There is no run "${run}" in this session.`, [issue]));
      }
      if (this.#tenant.isOlder(epoch)) return err(UNTOLD);
      const lease = this.#tenant.standing(turn.now);
      if (known !== null) {
        const granted = this.#store.findLease(request.id);
        assert(granted !== null, "a lease that was granted is kept");
        const reason = lapseOf(book, granted, lease, turn.now);
        if (reason?.code === "authority_stale") return err(UNSURE);
        return ok({ kind: "decided", answer: reason === null ? known.answer : { kind: "refused", reason }, replayed: true });
      }
      if (moved(lease, { under, entities: null, entitiesFloor: null }))
        return ok({ kind: "policy_moved", agent: book.agent, policy: lease.policy, entities: lease.entities });
      // The tenant knows of no lease that ends later.
      if (turn.now + LEASE_TTL_MS.least > request.endsBy) return err(CROWDED);
      const granting = grantLease(turn, { request, principal, lease, evaluation: underLease(evaluation, under, lease), allowed, tenant });
      if (granting.kind === "short") return { shorts: granting.shorts };
      const answer: LeaseAnswer = granting.kind === "refused" ? granting : { kind: "granted", lease: grantedOf(book, granting) };
      this.#store.keepLeaseAnswer(request.id, fingerprint, answer);
      return ok({ kind: "decided", answer, replayed: false });
    });
  }

  readClientLease(principal: Principal, id: LeaseId): Reply<LeaseRead> {
    return this.#take(principal, ({ book }) => {
      const found = this.#store.findLease(id);
      if (found === null) return err(noSuchLease(id));
      const { run, actions, amountMicroUsd, state, expiresAt, postedMicroUsd, heldMicroUsd } = found;
      return ok({ id, session: book.session, run, actions, amountMicroUsd, state, expiresAt, postedMicroUsd, heldMicroUsd });
    });
  }

  /** What was done with a lease is recorded whatever the session has come to: closed, killed, or without a policy. */
  async settleLease(call: SettleLeaseCall): Reply<SettleLeaseReply> {
    const { principal, id, final, under } = call;
    const work = (turn: Turn): Result<SettleLeaseReply, Refusal> => {
      const found = this.#store.findLease(id);
      if (found === null) return err(noSuchLease(id));
      const known = call.actions.map(({ request }) => this.#store.findDecision(request.id)?.fingerprint ?? null);
      const standing = this.#tenant.standing(turn.now);
      if (!call.asGranted && known.includes(null) && moved(standing, call))
        return ok({ kind: "policy_moved", agent: turn.book.agent, policy: standing.policy, entities: standing.entities });
      const actions = call.actions.map(({ evaluation, ...action }, place): LeasedAction => {
        const inForce = call.asGranted ? null : underLease(evaluation, under, standing);
        return { ...action, findings: inForce?.kind === "findings" ? inForce.findings : null, known: known[place] ?? null };
      });
      const settled = settleLease(turn, found, { actions, final, principal });
      if (!settled.ok) return settled;
      const { lease, ...counts } = settled.value;
      const { state, postedMicroUsd, overrunMicroUsd, returnedMicroUsd, heldMicroUsd, entry } = lease;
      return ok({ kind: "decided", settled: { id, state, postedMicroUsd, overrunMicroUsd, returnedMicroUsd, heldMicroUsd, entry, ...counts } });
    };
    const settled = await this.#take(
      principal,
      work,
      call.actions.map(({ request }) => request.id),
    );
    if (settled.ok) await this.#tenant.awaitReturn();
    return settled;
  }

  async readDecision(principal: Principal, id: DecisionId, waitMs: number): Reply<DecisionRead> {
    const read = () => this.#take(principal, () => this.#readDecision(id));
    const until = Date.now() + waitMs;
    for (;;) {
      const found = await read();
      const isAwaited = found.ok && found.value.state === "held" && found.value.approval === "pending" && found.value.superseded?.kind !== "kill";
      const approval = isAwaited ? found.value.decision.approval : null;
      const leftMs = until - Date.now();
      if (approval === null || leftMs <= 0) return found;
      const untilExpiry = (this.#book.read().approvals.get(approval.id)?.expiresAt ?? 0) - Date.now();
      await this.#news.until(approval.id, Math.max(1, Math.min(leftMs, untilExpiry)));
    }
  }

  readApproval(principal: Principal, id: ApprovalId): Reply<ApprovalRead> {
    return this.#take(principal, (turn) => {
      const found = this.#findApproval(turn.book, id);
      if (found === null) return err(noSuchApproval(id));
      return ok({ ...found, approval: noteSeen(turn, found.approval, principal) });
    });
  }

  answerApproval({ id, by, said }: AnswerApproval): Reply<Answered<ApprovalRead>> {
    return this.#settleApproval(by.principal, id, (turn, approval) => answer(turn, approval, by, said));
  }

  respondApproval(principal: Principal, id: ApprovalId, response: string): Reply<Answered<ApprovalRead>> {
    return this.#settleApproval(principal, id, (turn, approval) => respond(turn, approval, principal, response));
  }

  cancelApproval(principal: Principal, id: ApprovalId, mayApprove: boolean, why: string | null): Reply<Answered<ApprovalRead>> {
    return this.#settleApproval(principal, id, (turn, approval) => cancel(turn, approval, principal, mayApprove, why));
  }

  async #settleApproval(principal: Principal, id: ApprovalId, step: (turn: Turn, approval: Approval) => Answering): Reply<Answered<ApprovalRead>> {
    const settled = await this.#take(principal, (turn): Result<Answered<ApprovalRead>, Refusal> => {
      const found = this.#findApproval(turn.book, id);
      if (found === null) return err(noSuchApproval(id));
      const told = step(turn, found.approval);
      return told.ok ? ok({ answer: { ...found, approval: told.value.approval }, replayed: told.value.replayed }) : told;
    });
    await this.#deskHears();
    return settled;
  }

  /** As it stands in the book, where it is open; else as it was closed. */
  #findApproval(book: Book, id: ApprovalId): ApprovalRead | null {
    const stored = this.#store.findApproval(id);
    if (stored === null) return null;
    return { session: book.session, agent: book.agent, approval: book.approvals.get(id) ?? stored.approval, card: stored.card };
  }

  /** Lets the tenant know what became of approvals, for as long as a person would not mind; the alarm tells it again. */
  async #deskHears(): Promise<void> {
    if (!this.#book.isOpened()) return;
    await inTime(
      DESK_PATIENCE_MS,
      this.#news.tell().catch(() => this.#wakeBy(Date.now() + RETRY_ALARM_MS)),
    );
  }

  /** Wakes who waits for news of these, and sees to it that the tenant's desk hears of them. */
  #noteChanged(changed: ReadonlySet<ApprovalId>): void {
    if (changed.size === 0) return;
    this.#wakeBy(Date.now() + RETRY_ALARM_MS);
    this.#news.wake(changed);
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

  async closeRun(principal: Principal, run: RunId): Reply<{ readonly id: RunId }> {
    const closed = await this.#take(principal, (turn) => {
      const found = turn.book.runs.get(run);
      if (found === undefined) return err(refusal("not_found", `There is no run "${run}" in this session.`));
      if (!found.closed) {
        happen(turn, { kind: "run_closed", run });
        cancelAll(turn, run);
        record(turn, "session", { run_id: run, principal: signature(principal), details: { event: "run_closed" } }, null);
      }
      return ok({ id: run });
    });
    if (closed.ok) await this.#deskHears();
    return closed;
  }

  async close(principal: Principal): Reply<SessionRead> {
    const closed = await this.#take(principal, (turn) => {
      if (!turn.book.closed) {
        happen(turn, { kind: "session_closed" });
        cancelAll(turn, null);
        record(turn, "session", { principal: signature(principal), details: { event: "closed" } }, null);
      }
      return ok(this.#readSession(turn));
    });
    // The session is closed whether or not its tenant hears of it now; the alarm tells it again.
    const heard = () =>
      inTime(
        TENANT_PATIENCE_MS,
        this.#tenant.tellClosed().catch(() => this.#wakeBy(Date.now() + RETRY_ALARM_MS)),
      );
    if (closed.ok) await Promise.all([heard(), this.#deskHears()]);
    return closed;
  }

  read(principal: Principal): Reply<SessionRead> {
    return this.#take(principal, (turn) => ok(this.#readSession(turn)));
  }

  /**
   * Takes from the tenant what is now in force, and answers since which entry it obeys: no turn after this one knows the older lease. It does not
   * lengthen the lease: nobody knows how long the message was under way. `because`: the intervention that is the news, of which is asked whether the session
   * has the run that it names, and until when holders of client leases may not have heard of it.
   */
  receive(lease: Lease, because: Because | null): Heard {
    if (!this.#book.isOpened()) {
      this.#tenant.receiveEarly(lease);
      return { seq: 0, at: Date.now(), hasRun: false, leasedUntil: null, draw: null };
    }
    const draw = this.#tenant.receive(lease);
    const book = this.#book.read();
    const now = this.#book.now();
    const hasRun = because?.target.type === "run" && [...book.runs.keys()].some((id) => id === because.target.id);
    const stops = because !== null && (because.kind === "kill" || because.kind === "pause");
    const running = stops ? [...book.leases.values()].filter((one) => one.state === "open" && one.expiresAt > now && isStopped(one, because)) : [];
    const leasedUntil = running.length === 0 ? null : Math.max(...running.map(({ expiresAt }) => expiresAt));
    return { seq: book.head.seq, at: Math.max(Date.now(), book.clock), hasRun, leasedUntil, draw };
  }

  /** Says where the session stands in what it shares; `givesBack`: and keeps nothing of it unspent. `null`: it was never opened. */
  async report(givesBack: boolean): Promise<Draw | null> {
    if (!this.#book.isOpened()) return null;
    return givesBack ? this.#tenant.giveUp() : this.#tenant.report();
  }

  async renewLease(): Reply<null> {
    if (!this.#book.isOpened()) return err(refusal("not_found", "There is no such session."));
    await this.#tenant.consult();
    return ok(null);
  }

  async ship(): Promise<void> {
    if (!this.#book.isOpened()) return;
    const { tenant, session } = this.#book.read();
    await this.#outbox.ship(this.env.LEDGERS.getByName(tenant), session);
  }

  override async alarm(): Promise<void> {
    this.#alarmAt = Number.POSITIVE_INFINITY;
    if (!this.#book.isOpened()) return;
    // Caught here: an alarm that throws is tried six times and then dropped, and what is in the outbox must never be.
    try {
      if (Math.min(this.#dueAt(), this.#store.forgetAt) <= this.#book.now()) await this.#line.takeOwn(() => ok(null));
      // Each by itself: a ledger that cannot be reached keeps no money from others, and a tenant that cannot be told keeps nothing off the record. No other
      // alarm rings while this one waits, so it waits for none of them longer than until it would ring again.
      const duties = [this.ship(), this.#tenant.tellWhatIsDue(), this.#news.tell()].map((duty) => inTime(DUTY_PATIENCE_MS, duty));
      const [shipped, ...told] = await Promise.allSettled(duties);
      this.#outbox.erase();
      for (const one of told) demandDone(one);
      this.#wakeForDue();
      if (shipped !== undefined) demandDone(shipped);
      this.#alarmFailures = 0;
      if (!this.#outbox.isEmpty()) this.#wakeBy(Date.now() + RETRY_ALARM_MS);
    } catch (fault) {
      this.#alarmFailures++;
      console.error(`session ${this.ctx.id.toString()}: alarm failed and will ring again: ${String(fault)}`);
      this.#wakeBy(Date.now() + Math.min(MOST_BACKOFF_MS, RETRY_ALARM_MS * 2 ** Math.min(this.#alarmFailures, 16)));
    }
  }

  #decide(turn: Turn, call: DecideCall, tenant: TenantWord): Worked<DecideReply> {
    const { book } = turn;
    const used = call.key === null ? null : this.#store.findKey(call.key.key);
    if (used !== null && used !== call.key?.fingerprint) {
      return err(KEY_REUSED);
    }
    const priors: (DecisionRecord | null)[] = [];
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
      priors.push(prior?.record ?? null);
    }
    const lease = this.#tenant.standing(turn.now);
    if (!lease.fresh && priors.some((prior) => prior?.decision.verdict === "allow")) return err(UNSURE);
    const isNew = priors.includes(null);
    if (isNew && moved(lease, call)) return ok({ kind: "policy_moved", agent: book.agent, policy: lease.policy, entities: lease.entities });

    const budget = workBudget();
    const members: Member[] = call.items.map(({ request, fingerprint, evaluation }, place) => {
      const ask: Ask = {
        request,
        principal: call.principal,
        evaluation: underLease(evaluation, call.under, lease),
        lease,
        presented: this.#presented(request.approval),
        conditions,
        budget,
        tenant,
      };
      return { ask, fingerprint, prior: priors[place]?.decision ?? null };
    });
    const decided = decideAll(turn, members, call.semantics);
    if (decided.kind === "short") return decided;
    if (isNew && used === null && call.key !== null) this.#store.writeKey(call.key.key, call.key.fingerprint);
    const decisions = decided.answers.map(({ answer, replayed }, place) => ({
      answer,
      replayed,
      superseded: this.#superseded(turn.book, priors[place] ?? null),
    }));
    return ok({ kind: "decided", decisions });
  }

  /**
   * What has come into force since a decision was allowed, or held: a person's yes would let nothing of what is killed run. Who asks again under its id would run it, whatever has become of its money: what has expired,
   * or was posted because nobody told of it, may not have begun, and what has run is not to run once more.
   */
  #superseded(book: Book, record: DecisionRecord | null): Superseded | null {
    if (record === null || record.decision.verdict === "deny") return null;
    const order = this.#tenant.orderAgainst(book, record.decision);
    return order === null ? null : { intervention: order.intervention, kind: order.state === "killed" ? "kill" : "pause" };
  }

  async #settle(principal: Principal, id: DecisionId, step: (turn: Turn, decided: DecisionRecord) => Told): Reply<Answered<Settlement>> {
    const work = (turn: Turn): Result<Answered<Settlement>, Refusal> => {
      const found = this.#store.findDecision(id);
      if (found === null) return err(noSuchDecision(id));
      const told = step(turn, found.record);
      return told.ok ? ok({ answer: told.value.settlement, replayed: told.value.replayed }) : told;
    };
    const settled = await this.#take(principal, work, [id]);
    if (settled.ok) await this.#tenant.awaitReturn();
    return settled;
  }

  /** Puts work into the next turn, once its caller is known to be one whom this session answers. */
  #take<T>(principal: Principal, work: (turn: Turn) => Result<T, Refusal>, ids: readonly DecisionId[] = []): Reply<T> {
    return this.#line.take(ids, (turn) => this.#turnedAway(principal, turn.book) ?? work(turn));
  }

  /** The same for work that needs a lease, and may need more of what sessions share than this one has. */
  #takeDeciding<T>(principal: Principal, ids: readonly DecisionId[], work: (turn: Turn, tenant: TenantWord) => Worked<T>): Reply<T> {
    return this.#line.takeDeciding(ids, (turn, tenant) => this.#turnedAway(principal, turn.book) ?? work(turn, tenant));
  }

  #turnedAway(principal: Principal, book: Book): Result<never, Refusal> | null {
    if (principal.kind === "agent" && principal.subject !== book.agent) {
      return err(refusal("not_your_session", "The session belongs to another agent."));
    }
    const lease = this.#tenant.lease();
    if (lease?.revokedTokens.includes(principal.tokenId) === true) return err(refusal("token_revoked", "The token was revoked."));
    if (principal.issuer !== undefined && lease?.issuers?.includes(principal.issuer) !== true) {
      // Registered a moment ago, perhaps, and the news was lost: the next call finds out.
      this.#tenant.consultInPassing();
      return err(refusal("token_revoked", "The issuer of the token is not registered as it was when the token was checked."));
    }
    return null;
  }

  /** Lets entries be shipped soon, and sets the alarm for what must not be forgotten. */
  #afterTurn(): void {
    this.#wakeForDue();
    this.#tenant.giveBackScarce();
    if (this.#outbox.isEmpty()) return;
    // Also where a shipment is near: the alarm that stood behind it may have rung since.
    this.#wakeBy(Date.now() + RETRY_ALARM_MS);
    if (this.#shipSoon !== null) return;
    this.#shipSoon = scheduler
      .wait(SHIP_DELAY_MS)
      .then(() => {
        this.#shipSoon = null;
        if (Date.now() >= this.#tenant.tellAt()) this.#tenant.consultInPassing();
        return this.ship();
      })
      // The alarm tries again; until then the entries are safe where they are.
      .catch(() => undefined);
    this.ctx.waitUntil(this.#shipSoon);
  }

  /** When something must be done though nobody asks. */
  #dueAt(): Instant {
    const { pending, closed, nextApprovalExpiry, nextLeaseEnd } = this.#book.read();
    // Its tenant may not have heard that it is closed.
    const close = closed && !this.#store.readOpening().tenantTold ? Date.now() + RETRY_ALARM_MS : Number.POSITIVE_INFINITY;
    const forget = this.#store.forgetAt + FORGET_LATE_MS;
    return Math.min(pending.nextExpiry, nextApprovalExpiry, nextLeaseEnd, forget, close);
  }

  #wakeForDue(): void {
    this.#wakeBy(Math.min(this.#dueAt(), this.#tenant.tellAt(), this.#tenant.goesBackAt(RETRY_ALARM_MS)));
  }

  #wakeBy(wanted: Instant): void {
    if (!Number.isFinite(wanted)) return;
    const at = Math.max(wanted, Date.now() + LEAST_ALARM_MS);
    if (at >= this.#alarmAt) return;
    this.#alarmAt = at;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(at));
  }

  /** What was killed is not waited for any more, and that it is obeyed is shipped soon. */
  #obeyed(): void {
    this.#news.wake("all");
    // Before it is tried: whoever is killed until then ships it in its next life, though nobody asks there.
    this.#wakeBy(Date.now() + RETRY_ALARM_MS);
    this.ctx.waitUntil(
      scheduler
        .wait(OBEYED_DELAY_MS)
        .then(() => this.ship())
        .catch(() => this.#wakeBy(Date.now() + RETRY_ALARM_MS)),
    );
  }

  /** What the store knows of an approval that is closed; the book knows of those that are open. */
  #presented(approval: ApprovalId | null): PresentedApproval {
    if (approval === null) return "none";
    const status = this.#store.findApproval(approval)?.approval.status;
    switch (status) {
      case "rejected":
      case "cancelled":
      case "expired":
      case "consumed":
        return status;
      case "pending":
      case "info_requested":
      case "approved":
      case undefined:
        return "unknown";
    }
  }

  #readDecision(id: DecisionId): Result<DecisionRead, Refusal> {
    const found = this.#store.findDecision(id);
    if (found === null) return err(noSuchDecision(id));
    const { decision, state, reservation, postedMicroUsd, overrunMicroUsd } = found.record;
    const standing = state === "pending" ? reservation : decision.reservation;
    const approval = decision.approval === null ? null : (this.#findApproval(this.#book.read(), decision.approval.id)?.approval ?? null);
    const stands = state === "held" ? heldState(approval?.status ?? "expired") : state;
    // Whoever reads sees that the others are over; what has expired may run all the same, unless it waited for a person.
    const mayRun = state === "held" ? stands === "held" : state === "pending" || state === "expired";
    return ok({
      decision: {
        ...decision,
        reservation: standing,
        approval: approval === null ? decision.approval : { id: approval.id, expiresAt: approval.expiresAt },
      },
      approval: approval?.status ?? null,
      state: stands,
      postedMicroUsd,
      overrunMicroUsd,
      superseded: mayRun ? this.#superseded(this.#book.read(), found.record) : null,
    });
  }

  #readSession(turn: Turn): SessionRead {
    const { book } = turn;
    return {
      id: book.session,
      tenant: book.tenant,
      agent: book.agent,
      labels: this.#store.readOpening().labels,
      state: stateOf(book, turn.now, this.#tenant.orders()),
      openedAt: book.openedAt,
      expiresAt: book.expiresAt,
      run: book.currentRun,
      policy: this.#tenant.lease()?.policy ?? null,
      budgetMicroUsd: book.budgetMicroUsd,
      total: book.total,
      windDown: book.windDown,
      runs: Array.from(book.runs, ([id, run]) => ({ id, ...run.account })).sort((a, b) => byName(a.id, b.id)),
      actions: Array.from(book.actions, ([action, account]) => ({ action, ...account })).sort((a, b) => byName(a.action, b.action)),
      leases: [...book.leases.values()],
      preventedMicroUsd: book.preventedMicroUsd,
      decisions: { ...book.counts },
    };
  }

  /** The recorded answer to an order under an id that was opened before; `null` when it was not. */
  #answerKnown(order: OpenSession): Result<Answered<SessionOpened>, Refusal> | null {
    if (!this.#book.isOpened()) return null;
    const opening = this.#store.readOpening();
    if (opening.fingerprint !== order.fingerprint) return err(KEY_REUSED);
    return ok({ answer: opening.opened, replayed: true });
  }
}

/** What `decide` answers over RPC. */
export type DecideReplyText =
  | {
      readonly kind: "decided";
      readonly texts: readonly string[];
      readonly replayed: readonly boolean[];
      readonly superseded: readonly (Superseded | null)[];
    }
  | { readonly kind: "other"; readonly reply: Result<PolicyMoved, Refusal> };

/** Throws where a duty of an alarm failed, or was not done in time. */
function demandDone(duty: PromiseSettledResult<Result<unknown, "late">>): void {
  if (duty.status === "rejected") throw duty.reason;
  if (!duty.value.ok) throw new Error(`a duty was not done within ${DUTY_PATIENCE_MS} ms`);
}

/** A fixed order, whatever order memory or the store has them in. */
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Compiled conditions are values, known by their text: sessions of one isolate share them. */
const conditions = new ExpressionMemory();

const grantedOf = ({ session, agent }: Book, { lease, budgets }: Extract<Granting, { kind: "granted" }>): LeaseGranted => {
  const { id, run, actions, amountMicroUsd, grantedAt, expiresAt, entry, terms } = lease;
  return { id, session, agent, run, actions, amountMicroUsd, grantedAt, expiresAt, policy: terms.policy, budgets, entry };
};

/** Under a lapsed lease: a yes that is repeated, to an action or to a client lease, may let something begin that was killed more than a lease term ago. */
const UNSURE = refusal(
  "authority_unavailable",
  "It was allowed, and the session could not ask its tenant whether it was stopped since; nothing was done. Ask again with the same id.",
);

const UNTOLD = refusal("authority_unavailable", "The session could not ask its tenant what is in force now; nothing was done. Ask again.");

const noSuchApproval = (id: ApprovalId): Refusal => refusal("not_found", `There is no approval "${id}" in this session.`);

const noSuchLease = (id: LeaseId): Refusal => refusal("not_found", `There is no lease "${id}" in this session.`);

const noSuchDecision = (id: DecisionId): Refusal => refusal("not_found", `There is no decision "${id}" in this session.`);
