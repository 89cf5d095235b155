import type * as wire from "../../sdk/src/wire.ts";
import { type Edits, quorumOf } from "../core/approvals.ts";
import { withLeases } from "../core/book.ts";
import type { Balance, Decision, Reason, Reservation, Settlement } from "../core/decision.ts";
import type { Entry } from "../core/entry.ts";
import { matchesGlob } from "../core/glob.ts";
import { addUsd, formatUsd, formatUsdSum, lessUsd, type MicroUsd, minUsd, ZERO_USD } from "../core/money.ts";
import type { PolicyLimits } from "../core/policy/compile.ts";
import { ASSUMPTIONS, type RuleSums, type Sum } from "../core/policy/simulate.ts";
import type { Issue, Refusal } from "../core/refusals.ts";
import type { Result } from "../core/result.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import type { SignedLease } from "../flow/client_lease.ts";
import type { Ingested } from "../flow/ingest.ts";
import type * as flow from "../flow/ports.ts";
import { APPROVAL_NOES } from "../flow/ports.ts";
import type { SessionNow } from "../flow/read_session.ts";
import type { Simulated, Simulating } from "../flow/simulate.ts";
import { PROBLEMS } from "./problems.ts";

/** From the values of the core to the names of the wire. Nothing is decided here, and nothing is left out in silence. */

export const page = <T, U>(rows: flow.PageOf<T>, present: (row: T) => U): wire.Page<U> => ({
  items: rows.items.map(present),
  next_cursor: rows.nextCursor,
});

export const openedSession = (opened: flow.SessionOpened): wire.OpenedSession => ({
  id: opened.id,
  agent: opened.agent,
  run: opened.run,
  policy: opened.policy,
  expires_at: formatInstant(opened.expiresAt),
});

export const sessionSummary = (row: flow.SessionRow): wire.SessionSummary => ({
  id: row.id,
  agent: row.agent,
  labels: row.labels,
  state: row.state,
  opened_at: formatInstant(row.openedAt),
  expires_at: formatInstant(row.expiresAt),
});

export const sessionDetail = ({ session, limits, standing }: SessionNow): wire.SessionDetail => ({
  ...sessionSummary(session),
  run: session.run,
  policy: session.policy,
  budgets: [...sessionBudgets(session, limits), ...sharedBudgets(session, limits, standing)],
  totals: {
    posted_usd: formatUsd(addUsd(session.total.postedMicroUsd, session.windDown.postedMicroUsd)),
    pending_usd: formatUsd(addUsd(session.total.pendingMicroUsd, session.windDown.pendingMicroUsd)),
    prevented_usd: formatUsd(session.preventedMicroUsd),
    overrun_usd: formatUsd(addUsd(session.total.overrunMicroUsd, session.windDown.overrunMicroUsd)),
    decisions: session.decisions,
  },
});

/** The session, each run, each budget that the policy gives to actions, every action that no such budget counts, and the reserve if there is one. */
function sessionBudgets(session: flow.SessionRead, limits: PolicyLimits | null): readonly wire.SessionBudget[] {
  const patterns = limits?.actions ?? [];
  return [
    sessionBudget("session", session.id, smaller(limits?.sessionMicroUsd ?? null, session.budgetMicroUsd), session.total),
    ...session.runs.map((run) => sessionBudget("run", run.id, limits?.runMicroUsd ?? null, run)),
    ...patterns.map(({ pattern, limitMicroUsd }) => sessionBudget("action", pattern, limitMicroUsd, actionAccount(session, pattern))),
    ...session.actions
      .filter(({ action }) => !patterns.some(({ pattern }) => matchesGlob(pattern, action)))
      .map((account) => sessionBudget("action", account.action, null, account)),
    ...(limits == null || limits.windDownMicroUsd === null
      ? []
      : [sessionBudget("wind_down", "wind_down", limits.windDownMicroUsd, session.windDown)]),
  ];
}

/** What counts against an action's budget: what was spent on the actions that it names, and what client leases hold that may be spent on any of them. */
const actionAccount = (session: flow.SessionRead, pattern: string): flow.AccountRead =>
  withLeases(session.leases, pattern, sumOf(session.actions.filter(({ action }) => matchesGlob(pattern, action))));

/** Each limit on the agent's and the tenant's money, with how its account stands over all sessions. */
const sharedBudgets = (
  session: flow.SessionRead,
  limits: PolicyLimits | null,
  standing: readonly flow.AccountStanding[],
): readonly wire.SessionBudget[] =>
  (limits?.shared ?? []).flatMap(({ scope, window, limitMicroUsd }) =>
    standing
      .filter((account) => account.scope === scope && account.window === window)
      .map((account) => ({
        ...sessionBudget(scope, scope === "agent" ? session.agent : session.tenant, limitMicroUsd, { ...account, overrunMicroUsd: ZERO_USD }),
        window,
        ...resets(account.resetsAt),
      })),
  );

const smaller = (a: MicroUsd | null, b: MicroUsd | null): MicroUsd | null => (a === null ? b : b === null ? a : minUsd(a, b));

const NOTHING: flow.AccountRead = { postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD, leasedMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD };

const sumOf = (accounts: readonly flow.AccountRead[]): flow.AccountRead =>
  accounts.reduce(
    (sum, account) => ({
      postedMicroUsd: addUsd(sum.postedMicroUsd, account.postedMicroUsd),
      pendingMicroUsd: addUsd(sum.pendingMicroUsd, account.pendingMicroUsd),
      leasedMicroUsd: addUsd(sum.leasedMicroUsd, account.leasedMicroUsd),
      overrunMicroUsd: addUsd(sum.overrunMicroUsd, account.overrunMicroUsd),
    }),
    NOTHING,
  );

const sessionBudget = (scope: wire.BudgetScope, name: string, limit: MicroUsd | null, account: flow.AccountRead): wire.SessionBudget => ({
  scope,
  name,
  limit_usd: limit === null ? null : formatUsd(limit),
  posted_usd: formatUsd(account.postedMicroUsd),
  pending_usd: formatUsd(account.pendingMicroUsd),
  leased_usd: formatUsd(account.leasedMicroUsd),
  remaining_usd: remaining(limit, account),
});

/** What can still be reserved. An account that is overrun has nothing left, not less than nothing. */
const remaining = (limit: MicroUsd | null, taken: Pick<flow.AccountRead, "postedMicroUsd" | "pendingMicroUsd" | "leasedMicroUsd">): string | null =>
  limit === null ? null : formatUsd(lessUsd(lessUsd(lessUsd(limit, taken.postedMicroUsd), taken.pendingMicroUsd), taken.leasedMicroUsd));

const reason = (why: Reason): wire.Reason => ({
  code: why.code,
  message: why.message,
  rule: why.rule,
  remediation: { retry_after_ms: why.retryAfterMs, hint: why.hint },
});

const reservation = (held: Reservation | null): wire.Reservation | null =>
  held === null ? null : { amount_usd: formatUsd(held.amountMicroUsd), expires_at: formatInstant(held.expiresAt) };

const balance = (account: Balance): wire.Balance => ({
  scope: account.scope,
  name: account.name,
  limit_usd: account.limitMicroUsd === null ? null : formatUsd(account.limitMicroUsd),
  posted_usd: formatUsd(account.postedMicroUsd),
  pending_usd: formatUsd(account.pendingMicroUsd),
  remaining_usd: remaining(account.limitMicroUsd, account),
  ...(account.leasedMicroUsd > 0 && { leased_usd: formatUsd(account.leasedMicroUsd) }),
  ...(account.window !== undefined && {
    window: account.window.name,
    leased_usd: formatUsd(account.leasedMicroUsd),
    ...resets(account.window.resetsAt),
  }),
});

const resets = (at: Instant | null): { readonly resets_at?: string } => (at === null ? {} : { resets_at: formatInstant(at) });

/** `origin` is the address under which the client reached the gateway: the approval's URL is absolute. */
export const decision = (decided: Decision, origin: string, superseded: flow.Superseded | null = null): wire.Decision => ({
  id: decided.id,
  session: decided.session,
  run: decided.run,
  action: decided.action,
  verdict: decided.verdict,
  decision: decided.verdict === "allow",
  stops: decided.stops,
  reason: reason(decided.reason),
  reservation: reservation(decided.reservation),
  budgets: decided.budgets.map(balance),
  rates: decided.rates.map((rate) => ({ name: rate.name, limit: rate.limit, remaining: rate.remaining, reset_ms: rate.resetMs })),
  policy: decided.policy,
  obligations: [],
  advice: decided.advice.map(({ code, message, details }) => ({ ...details, code, message })),
  warnings: decided.warnings.map(reason),
  approval:
    decided.approval === null
      ? null
      : {
          id: decided.approval.id,
          url: `${origin}/v1/approvals/${decided.approval.id}`,
          expires_at: formatInstant(decided.approval.expiresAt),
        },
  ...supersededBy(superseded),
  entry: decided.entry,
});

export function decisionNow(read: flow.DecisionRead, origin: string): wire.DecisionNow {
  const shown = decision(read.decision, origin, read.superseded);
  const approval = shown.approval === null || read.approval === null ? shown.approval : { ...shown.approval, status: read.approval };
  return {
    ...shown,
    approval,
    state: read.state,
    posted_usd: formatUsd(read.postedMicroUsd),
    overrun_usd: formatUsd(read.overrunMicroUsd),
  };
}

const ON_EXPIRY = "The action does not run.";

export function approval({ session, agent, approval: one, card }: flow.ApprovalRead): wire.Approval {
  const { approved, satisfied } = quorumOf(one);
  return {
    id: one.id,
    status: one.status,
    decision_id: one.decision,
    session,
    run: one.run,
    agent,
    action: one.action,
    resource: card.resource,
    inputs: card.inputs,
    action_digest: one.digest,
    estimate_usd: formatUsd(one.asked.estimateMicroUsd),
    tags: card.tags,
    risk_level: card.riskLevel,
    policy: one.policy,
    rule: card.reason.rule,
    reason: { code: card.reason.code, message: card.reason.message },
    rationale: card.rationale,
    confidence: card.confidence,
    sources: card.sources,
    parents: card.parents,
    model: card.model,
    budgets: card.balances.map(balance),
    opened_at: formatInstant(one.openedAt),
    expires_at: formatInstant(one.expiresAt),
    on_expiry: ON_EXPIRY,
    requester: { kind: one.requester.kind, subject: one.requester.subject },
    quorum: { needed: one.chain.needed, approved },
    approvers: one.chain.groups.map(({ subjects, scopes }, place) => ({ subjects, scopes, satisfied: satisfied[place] ?? false })),
    four_eyes: one.chain.fourEyes,
    answers: one.answers.map(({ subject, decision, note, at }) => ({ subject, decision, note, at: formatInstant(at) })),
    edits: one.edits === null ? null : editsOf(one.edits),
    seen: one.seen.map(({ subject, at }) => ({ subject, at: formatInstant(at) })),
    answered_at: one.answeredAt === null ? null : formatInstant(one.answeredAt),
    waited_ms: one.answeredAt === null ? null : one.answeredAt - one.openedAt,
    used_by: one.usedBy,
  };
}

const editsOf = ({ inputs, resource, estimateMicroUsd }: Edits): wire.ApprovalEdits => ({
  ...(inputs !== undefined && { inputs }),
  ...(resource != null && { resource }),
  ...(estimateMicroUsd !== undefined && { estimate_usd: formatUsd(estimateMicroUsd) }),
});

/** What became of one answer among many. */
export const approvalTold = ({
  id,
  told,
}: {
  readonly id: string;
  readonly told: Result<flow.ApprovalRead, Refusal>;
}): wire.ApprovalBatch["items"][number] =>
  told.ok
    ? { id, approval: approval(told.value) }
    : { id, problem: { status: PROBLEMS[told.error.code].status, code: told.error.code, detail: told.error.detail } };

export const approvalSignals = (signals: flow.ApprovalSignals, from: Instant, to: Instant): wire.ApprovalSignals => {
  const { approved, rejected, medianMs } = signals;
  return {
    from: formatInstant(from),
    to: formatInstant(to),
    approved,
    rejected,
    approve_ratio: approved + rejected === 0 ? null : approved / (approved + rejected),
    median_seconds: medianMs === null ? null : medianMs / 1000,
    people: signals.people.map((one) => ({
      subject: one.subject,
      answers: one.answers,
      approve_ratio: one.approved / one.answers,
      median_seconds: one.medianMs / 1000,
      most_in_an_hour: one.mostInAnHour,
    })),
    pending: signals.pending,
    oldest_pending_at: signals.oldestPendingAt === null ? null : formatInstant(signals.oldestPendingAt),
  };
};

export const extension = ({ answer, superseded }: flow.Extended): wire.Extension => ({ ...settlement(answer), ...supersededBy(superseded) });

export const settlement = (settled: Settlement): wire.Settlement => ({
  id: settled.id,
  state: settled.state,
  posted_usd: formatUsd(settled.postedMicroUsd),
  overrun_usd: formatUsd(settled.overrunMicroUsd),
  late: settled.late,
  reservation: reservation(settled.reservation),
  budgets: settled.budgets.map(balance),
  entry: settled.entry,
});

/** `undefined`: of an object that a deployment has not reached yet, which says nothing of it. */
const supersededBy = (superseded: flow.Superseded | null | undefined): { readonly superseded?: wire.Superseded } =>
  superseded == null ? {} : { superseded: { intervention: superseded.intervention, kind: superseded.kind } };

export const grantedLease = ({ lease, token }: SignedLease): wire.GrantedLease => ({
  id: lease.id,
  session: lease.session,
  run: lease.run,
  actions: lease.actions,
  amount_usd: formatUsd(lease.amountMicroUsd),
  ttl_ms: lease.expiresAt - lease.grantedAt,
  expires_at: formatInstant(lease.expiresAt),
  policy: lease.policy,
  token,
  budgets: lease.budgets.map(balance),
  entry: lease.entry,
});

/** Of a lease that ran out, what it holds is posted, as its session's sums have it, until somebody tells what was spent. */
export const leaseNow = (lease: flow.LeaseRead): wire.LeaseNow => ({
  id: lease.id,
  session: lease.session,
  run: lease.run,
  actions: lease.actions,
  amount_usd: formatUsd(lease.amountMicroUsd),
  posted_usd: formatUsd(lease.state === "expired" ? addUsd(lease.postedMicroUsd, lease.heldMicroUsd) : lease.postedMicroUsd),
  remaining_usd: formatUsd(lease.state === "expired" ? ZERO_USD : lease.heldMicroUsd),
  state: lease.state,
  expires_at: formatInstant(lease.expiresAt),
});

export const settledLease = (settled: flow.LeaseSettled): wire.SettledLease => ({
  id: settled.id,
  state: settled.state,
  accepted: settled.accepted,
  duplicates: settled.duplicates,
  posted_usd: formatUsd(settled.postedMicroUsd),
  overrun_usd: formatUsd(settled.overrunMicroUsd),
  returned_usd: formatUsd(settled.returnedMicroUsd),
  remaining_usd: formatUsd(settled.heldMicroUsd),
  late: settled.late,
  budgets: settled.budgets.map(balance),
  entry: settled.entry,
});

export const intervened = (done: flow.Intervened): wire.Intervened => ({
  id: done.id,
  epoch: done.epoch,
  // An object that a deployment has not reached yet says nothing of either.
  lifted: done.lifted ?? null,
  known: done.known ?? null,
  evidence: {
    acknowledged: done.acknowledged.map(({ session, seq, at, leasedUntil }) => ({
      session,
      seq,
      at: formatInstant(at),
      // What an older version of this code answered says nothing of it.
      leased_until: leasedUntil == null ? null : formatInstant(leasedUntil),
    })),
    unanswered: done.unanswered,
    in_force_everywhere_by: formatInstant(done.inForceEverywhereBy),
  },
});

/** An entry in which the system said no: an intervention under its own id, anything else under its entry's. */
export function no(row: flow.LedgerRow): wire.No {
  // The ledger's own text: it was examined when the ledger took it. What the details of these kinds say was written by our own objects.
  const entry = JSON.parse(row.canonical) as Entry;
  const details = entry.kind === "intervention" ? (entry.details as unknown as Stopped) : null;
  const told = entry.kind === "approval" ? (entry.details as { note?: string | null }) : null;
  return {
    id: details?.id ?? entry.id,
    kind: details?.kind ?? noKind(entry),
    at: entry.timestamp,
    target: details?.target ?? askedFor(entry),
    session: entry.session_id,
    run: entry.run_id,
    agent: entry.agent_id,
    action: entry.action,
    decision: entry.decision_id,
    reason: entry.reason,
    rule: entry.rule,
    note: details?.reason ?? told?.note ?? null,
    overrun_usd: entry.overrun_usd,
    by: entry.principal === null ? null : { subject: entry.principal.subject, kind: entry.principal.kind },
    entry: { id: entry.id, seq: entry.seq, index: row.index },
  };
}

type Stopped = { readonly id: string; readonly kind: wire.InterventionKind; readonly reason: string; readonly target: wire.No["target"] };

/** In which way an entry of the list says no that is no intervention. */
function noKind({ kind, verdict, details }: Entry): wire.No["kind"] {
  switch (kind) {
    case "commit":
      return "overrun";
    case "expiry":
      return "expiry";
    case "lease":
      return "lease_denied";
    case "approval":
      return APPROVAL_KINDS.find((no) => APPROVAL_NOES[no] === details?.event) ?? "answer_refused";
    case "ingest":
      return verdict === "hold" ? "reported_hold" : "reported_deny";
    case "decision":
    case "release":
    case "intervention":
    case "policy":
    case "session":
    case "token":
      return verdict === "hold" ? "hold" : "deny";
  }
}

const APPROVAL_KINDS = ["reject", "timeout", "cancel", "answer_refused"] as const;

/** What was asked for and not given, where that has a name of its own. */
function askedFor({ kind, approval, details }: Entry): wire.No["target"] {
  if (kind === "approval" && approval !== null) return { type: "approval", id: approval.id };
  return kind === "lease" && typeof details?.lease === "string" ? { type: "lease", id: details.lease } : null;
}

export const issuer = (row: flow.IssuerRow): wire.Issuer => ({
  name: row.name,
  version: row.version,
  issuer: row.issuer,
  ...("uri" in row.keys ? { jwks_uri: row.keys.uri } : { jwks: row.keys.set }),
  audience: row.audience,
  claims: row.claims,
  updated_at: formatInstant(row.updatedAt),
  updated_by: row.updatedBy,
});

export const settings = (chosen: flow.Settings): wire.Settings => ({
  cors_origins: chosen.corsOrigins,
  retention_days: chosen.retentionDays,
  default_policy: chosen.defaultPolicy,
  throttle: chosen.throttle === null ? null : { requests: chosen.throttle.requests, window_ms: chosen.throttle.windowMs },
  approval_links: chosen.approvalLinks,
  client_leases: chosen.clientLeases,
});

export const policySummary = (row: flow.PolicyRow): wire.PolicySummary => ({
  name: row.name,
  scope: row.scope,
  target: row.target,
  active_version: row.activeVersion,
  latest_version: row.latestVersion,
  digest: row.digest,
  updated_at: formatInstant(row.updatedAt),
});

export const policyVersion = (row: flow.PolicyVersionRow): wire.PolicyVersion => ({
  name: row.name,
  version: row.version,
  digest: row.digest,
  active: row.active,
  created_at: formatInstant(row.createdAt),
  created_by: row.createdBy,
});

export const policyDetail = (read: flow.PolicyRead): wire.PolicyDetail => ({
  ...policyVersion(read),
  scope: read.scope,
  target: read.target,
  document: read.document,
});

export const effectivePolicy = (effective: flow.EffectivePolicy | null): wire.EffectivePolicy =>
  effective === null
    ? { policy: null, document: null, conflicts: [] }
    : { policy: effective.policy, document: effective.document, conflicts: effective.conflicts };

export function simulation(done: Simulated, asked: Pick<Simulating, "from" | "to" | "replaces">, warnings: readonly Issue[]): wire.Simulation {
  const { tally } = done;
  return {
    policy: { digest: done.digest, replaces: asked.replaces, warnings: warnings.map(problemIssue) },
    window: { from: instantOrNull(asked.from), to: instantOrNull(asked.to), read_from: instantOrNull(done.readFrom) },
    entries: done.entries,
    sessions: done.sessions,
    decisions: tally.decisions,
    same: tally.same,
    same_for_another_reason: tally.sameForAnotherReason,
    changed: simulationChanges(tally.changed),
    prevented_usd: formatUsd(tally.preventedMicroUsd),
    by_rule: tally.byRule.map(({ rule, reason, changed, preventedMicroUsd }) => ({
      rule,
      reason,
      changed: simulationChanges(changed),
      prevented_usd: formatUsd(preventedMicroUsd),
    })),
    not_comparable: Array.from(tally.notComparable, ([reason, { count, entries }]) => ({ reason, count, entries })),
    uncertain: simulationSum(tally.uncertain),
    after_first_change: tally.afterFirstChange,
    cut_sessions: done.cut.map(({ session, through }) => ({ session, through: formatInstant(through) })),
    assumptions: ASSUMPTIONS,
    truncated: done.next !== null,
    next: done.next,
  };
}

const problemIssue = ({ pointer, message, line, column }: Issue): wire.ProblemIssue => ({
  pointer,
  message,
  ...(line === undefined ? {} : { line }),
  ...(column === undefined ? {} : { column }),
});

const instantOrNull = (at: Instant | null): string | null => (at === null ? null : formatInstant(at));

const simulationSum = ({ count, moneyMicroUsd, entries }: Sum): wire.SimulationSum => ({ count, money_usd: formatUsd(moneyMicroUsd), entries });

const simulationChanges = (changed: RuleSums["changed"]): wire.SimulationChanges => ({
  newly_denied: simulationSum(changed.newly_denied),
  newly_allowed: simulationSum(changed.newly_allowed),
  newly_held: simulationSum(changed.newly_held),
  no_longer_held: simulationSum(changed.no_longer_held),
});

export const entity = (row: flow.EntityRow): wire.Entity => ({
  type: row.type,
  id: row.id,
  properties: row.properties,
  updated_at: formatInstant(row.updatedAt),
  updated_by: row.updatedBy,
});

/**
 * The hashed members exactly as they were hashed, with the three that stand beside them. The canonical text is spliced, not parsed and printed
 * again: what a reader hashes is then what was hashed, whatever a JSON library would make of a number.
 */
export function ledgerEntryText(row: flow.LedgerRow): string {
  const beside = JSON.stringify({ hash: row.hash, index: row.index, payload: row.payload });
  return `${row.canonical.slice(0, -1)},${beside.slice(1)}`;
}

export const ledgerPageText = (rows: flow.PageOf<flow.LedgerRow>): string =>
  `{"items":[${rows.items.map(ledgerEntryText).join(",")}],"next_cursor":${JSON.stringify(rows.nextCursor)}}`;

export const costReport = (report: flow.CostReport): wire.CostReport => ({
  items: report.items.map((item) => ({
    key: item.key,
    posted_usd: formatUsdSum(item.postedMicroUsd),
    count: item.count,
    reported_usd: formatUsdSum(item.reportedMicroUsd),
  })),
  total_usd: formatUsdSum(report.totalMicroUsd),
  reported_usd: formatUsdSum(report.reportedMicroUsd),
});

/** One sentence for each: what is wrong, and where in the entry. */
export const ingested = ({ accepted, duplicates, rejected }: Ingested): wire.Ingested => ({
  accepted,
  duplicates,
  rejected: rejected.map(({ index, refusal }) => ({ index, code: refusal.code, message: refusal.detail })),
});

export const issuedToken = (issued: { readonly record: flow.TokenRecord; readonly token: string }): wire.IssuedToken => ({
  id: issued.record.id,
  token: issued.token,
  expires_at: formatInstant(issued.record.expiresAt),
});

/** A browser sends nobody what stands behind `#`: so the token is in no server's log, and in no address that is passed on. */
export const approvalLink = (
  { record, token }: { readonly record: flow.TokenRecord; readonly token: string },
  origin: string,
): wire.ApprovalLink => ({
  url: `${origin}/approve#${token}`,
  subject: record.subject,
  expires_at: formatInstant(record.expiresAt),
});

export const tokenSummary = (row: flow.TokenRow): wire.TokenSummary => ({
  id: row.id,
  subject: row.subject,
  kind: row.kind,
  scopes: row.scopes,
  issued_at: formatInstant(row.issuedAt),
  expires_at: formatInstant(row.expiresAt),
  revoked_at: row.revokedAt === null ? null : formatInstant(row.revokedAt),
  approval: row.approval ?? null,
});
