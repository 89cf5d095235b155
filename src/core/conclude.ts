import { alertAdvice, alertsOf, alertText, rememberAlerts } from "./alerts.ts";
import { type Approval, actionDigest, askedOf, consume, isBoundTo, isOpen, openApproval } from "./approvals.ts";
import { assert } from "./assert.ts";
import { type Book, balancesOf, type Fund, hitsOf, limitsFor, logOf, type Matter, sharedRate } from "./book.ts";
import type { Advice, Balance, Decision, RateState, Reason, Reservation, Stops, Verdict } from "./decision.ts";
import type { Sha256 } from "./digest.ts";
import {
  type Authority,
  authorityGate,
  capacityGate,
  enforced,
  type Gate,
  type No,
  POLICY_GATES,
  type PresentedApproval,
  type Question,
  reserveGate,
  type TenantWord,
  windingDown,
  windsDown,
} from "./gates.ts";
import { type ApprovalId, type DecisionId, idFromDigest, type RunId } from "./ids.ts";
import type { JsonValue } from "./json.ts";
import { formatUsd, lessUsd, type MicroUsd, ZERO_USD } from "./money.ts";
import type { Conditions, Findings, Limit, Path, RateLimit, WorkBudget } from "./policy/findings.ts";
import type { ReasonCode } from "./reasons.ts";
import { redactJson } from "./redact.ts";
import type { ActionRequest, Principal } from "./request.ts";
import { type Piece, permitKey, type Short } from "./shares.ts";
import { shownRequest } from "./shown.ts";
import { formatInstant, type Instant } from "./time.ts";
import { insideOf, type Kept, keepParts, pastOf, type Trace } from "./trail.ts";
import { happen, lookedAt, movements, note, reservationText, type Says, signature, type Turn } from "./turn.ts";
import { countWithin, resetMs } from "./windows.ts";

/** One request as it reaches the book: what is asked, what the policy says of it, and under which authority. */
export interface Ask extends Authority {
  readonly request: ActionRequest;
  readonly principal: Principal;
  /** What the store knows of the approval that is named, where it is closed; the book knows of those that are not. */
  readonly presented: PresentedApproval;
  readonly conditions: Conditions;
  /** Shared by all that is asked in one call. */
  readonly budget: WorkBudget;
  readonly tenant: TenantWord;
}

/** What is asked when a reservation is to have a new sum. */
export interface TopupAsk extends Authority {
  readonly request: Pick<ActionRequest, "action" | "run" | "estimateMicroUsd" | "resource" | "inputs">;
  readonly principal: Principal;
  readonly presented: PresentedApproval;
  readonly conditions: Conditions;
  /** Shared by all that is asked in one call. */
  readonly budget: WorkBudget;
  readonly tenant: TenantWord;
}

/** What comes out for a request, before it is written down. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly reason: Reason;
  readonly stops: Stops | null;
  readonly warnings: readonly Reason[];
  readonly advice: readonly Advice[];
  /** Where it is paid from, if it is allowed. */
  readonly fund: Fund;
  /** What the tenant must be asked for first: unless this is empty, nothing is concluded, and it is judged again with the tenant's word. */
  readonly shorts: readonly Short[];
  /** Whether it is allowed only because a person approved it. */
  readonly usesApproval: boolean;
  /** The approval that is used up by it, or that it goes on waiting for. */
  readonly approval: Approval | null;
}

/**
 * Decides one request. This function and nothing else decides: every gate in the order of precedence, the first no is the reason,
 * a hold only if nothing says no. Looks at the book, changes nothing. Total.
 */
export function judge(book: Book, ask: Ask, now: Instant, sha256: Sha256): Judgement {
  const { request, conditions, budget, tenant } = ask;
  const approval = request.approval === null ? null : (book.approvals.get(request.approval) ?? null);
  const presented = presentedOf(book, ask, approval, sha256);
  const asked: Question = {
    tenant,
    book,
    request,
    amountMicroUsd: request.estimateMicroUsd,
    now,
    conditions,
    presented,
    past: pastOf(book.trail, now),
    budget,
  };
  const authority = authorityGate(asked, ask);
  if (authority.kind === "no") return denied(authority, [], []);
  const { findings } = authority;
  const question: Question = findings.estimateMicroUsd === asked.amountMicroUsd ? asked : { ...asked, amountMicroUsd: findings.estimateMicroUsd };
  const full = capacityGate(question);
  if (full !== null) return denied(full, [], []);
  const judgement = passed(question, findings, POLICY_GATES);
  // A person is shown the inputs; what cannot be shown cannot be approved.
  if (judgement.verdict === "hold" && request.inputsDigest !== null && request.inputs === undefined)
    return { ...denied(unshown(judgement.reason.rule), judgement.warnings, judgement.advice), shorts: judgement.shorts };
  if (judgement.verdict === "hold" && presented !== "open" && openApprovals(book) >= MOST_OPEN_APPROVALS)
    return { ...denied(crowded(judgement.reason.rule), judgement.warnings, judgement.advice), shorts: judgement.shorts };
  const isBound = judgement.usesApproval || (judgement.verdict === "hold" && presented === "open");
  return isBound ? { ...judgement, approval } : judgement;
}

/** What the approval that a request names is worth for exactly this request, under the policy in force. */
function presentedOf(book: Book, ask: Ask, approval: Approval | null, sha256: Sha256): PresentedApproval {
  const { request, evaluation } = ask;
  if (request.approval === null) return "none";
  if (approval === null || evaluation?.kind !== "findings") return ask.presented;
  if (approval.status === "rejected" || approval.status === "cancelled" || approval.status === "expired" || approval.status === "consumed")
    return approval.status;
  if (request.inputs === undefined && request.inputsDigest !== null) return "mismatch";
  const { policy, estimateMicroUsd } = evaluation.findings;
  const asked = askedOf(sha256, request, estimateMicroUsd);
  const isThis = approval.policy.digest === policy.digest && isBoundTo(sha256, book, approval, request.run ?? book.currentRun, request.action, asked);
  // Whoever approved does not ask: somebody else must want it, also where it was edited.
  const isOwn = approval.answers.some(({ decision, subject }) => decision === "approve" && subject === ask.principal.subject);
  return isThis && !isOwn ? (approval.status === "approved" ? "granted" : "open") : "mismatch";
}

/** So many of one session may wait for people, or to be used, at once. */
const MOST_OPEN_APPROVALS = 500;

/** Those that were closed in this turn are still in the book: they are counted only where it matters. */
const openApprovals = ({ approvals }: Book): number =>
  approvals.size < MOST_OPEN_APPROVALS ? approvals.size : [...approvals.values()].filter(isOpen).length;

const crowded = (rule: string | null): No => ({
  kind: "no",
  stops: "action",
  reason: {
    code: "approval_required",
    message: `A person must approve this, and ${MOST_OPEN_APPROVALS} requests of this session wait for one already.`,
    rule,
    retryAfterMs: null,
    hint: "Wait until some of them are answered, or cancel them.",
  },
});

const unshown = (rule: string | null): No => ({
  kind: "no",
  stops: "action",
  reason: {
    code: "inputs_required",
    message: "A person must approve this, and is shown the inputs: only their digest was sent.",
    rule,
    retryAfterMs: null,
    hint: "Send the inputs instead of their digest.",
  },
});

/**
 * Decides whether a pending reservation may have a new sum: the same gates, but what counts calls has already counted this one, and of the rules
 * the findings hold only those that look at the estimate. Giving some of it back needs nobody's leave.
 */
export function judgeTopup(book: Book, ask: TopupAsk, moreMicroUsd: MicroUsd, now: Instant, of: DecisionId, fund: Fund): Judgement {
  if (moreMicroUsd === 0) return PERMITTED;
  const { request, conditions, presented, budget, tenant } = ask;
  const question: Question = {
    tenant,
    book,
    request,
    amountMicroUsd: moreMicroUsd,
    hasMicroUsd: lessUsd(request.estimateMicroUsd, moreMicroUsd),
    now,
    conditions,
    presented,
    past: pastOf(book.trail, now, of),
    budget,
  };
  const authority = authorityGate(question, ask);
  if (authority.kind === "no") return denied(authority, [], []);
  const { findings } = authority;
  const full = capacityGate(question);
  if (full !== null) return denied(full, [], []);
  // What runs does not change where it is paid from.
  const judgement = passed(question, fund === "wind_down" ? findings : { ...findings, windDown: null }, fund === "wind_down" ? RESERVE_TOPUP : TOPUP);
  if (judgement.verdict !== "hold") return judgement;
  // An action that runs cannot wait for a person: what would be held is refused, and its reservation stays as it was.
  const hint = "Nobody is asked while an action runs: end this one with what it has, and ask for the rest anew.";
  return { ...judgement, verdict: "deny", stops: "action", reason: { ...judgement.reason, hint } };
}

/** The judgement of a batch's member that would have been allowed, had all been. */
export const batchRefused = (judgement: Judgement): Judgement => ({
  verdict: "deny",
  stops: "action",
  warnings: judgement.warnings,
  advice: judgement.advice,
  fund: judgement.fund,
  shorts: [],
  usesApproval: false,
  approval: null,
  reason: {
    code: "batch_refused",
    message: "Another decision of the same all-or-nothing batch was not allowed.",
    rule: null,
    retryAfterMs: null,
    hint: "Ask again without the decision that was not allowed.",
  },
});

/** Writes a judgement down: its money, its entry and its answer, which is the answer to this id for ever. */
export function conclude(turn: Turn, ask: Ask, judgement: Judgement, fingerprint: string): Decision {
  assert(judgement.shorts.length === 0, "nothing is concluded before the tenant was asked");
  const { book, now } = turn;
  const { request } = ask;
  const { verdict } = judgement;
  const run = request.run ?? book.currentRun;
  const findings = ask.evaluation?.kind === "findings" ? ask.evaluation.findings : null;
  const budgets = limitsFor(book, findings?.budgets ?? []);
  const limits: readonly Limit[] = judgement.fund === "wind_down" && findings?.windDown ? [...budgets, findings.windDown] : budgets;
  const before = lookedAt(turn, () => balancesOf(book, limits, run));
  const estimateMicroUsd = findings?.estimateMicroUsd ?? request.estimateMicroUsd;

  let reservation: Reservation | null = null;
  let matter: Matter | null = null;
  if (verdict === "allow") {
    assert(findings !== null, "nothing is allowed without a policy");
    reservation = { amountMicroUsd: estimateMicroUsd, expiresAt: now + request.ttlMs };
    matter = matterOf(request, run, limits, findings, judgement.fund);
    reserve(turn, request, reservation, matter, findings.rates);
  }
  happen(turn, { kind: "answered", verdict, preventedMicroUsd: verdict === "deny" ? estimateMicroUsd : ZERO_USD });

  const after = balancesOf(book, limits, run);
  const alerts = verdict === "allow" ? alertsOf(book, after, findings?.alerts ?? []) : [];
  rememberAlerts(turn, alerts);
  const rates = (findings?.rates ?? []).map((rate) => rateState(book, rate, run, now));
  const waits = verdict === "hold" && findings !== null ? (judgement.approval ?? newApproval(turn, ask, findings, run)) : null;
  const used = judgement.usesApproval ? judgement.approval : null;
  const named = waits ?? used;
  const approval = named === null ? null : { id: named.id, expiresAt: named.expiresAt };
  const policy = findings?.policy ?? ask.lease.policy;
  const entry = note(turn, "decision", () => {
    const shown = shownRequest(turn.sha256, request, findings === null ? undefined : findings.redaction);
    const says: Says["says"] = {
      ...shown.says,
      run_id: run,
      action: request.action,
      risk_level: request.riskLevel,
      decision_id: request.id,
      step: "decide",
      verdict,
      reason: judgement.reason.code,
      rule: judgement.reason.rule,
      warnings: judgement.warnings.map(warningText),
      policy,
      estimate_usd: formatUsd(estimateMicroUsd),
      price: findings?.price ?? null,
      reservation: reservation === null ? null : reservationText(reservation),
      accounts: movements(before, after),
      alerts: alerts.map(alertText),
      rates: rates.map((rate) => ({ limit: rate.limit, name: rate.name, per: rate.per, remaining: rate.remaining, window_ms: rate.windowMs })),
      approval: approval === null ? null : { expires_at: formatInstant(approval.expiresAt), id: approval.id },
      confidence: request.confidence,
      parents: request.parents,
      principal: signature(ask.principal),
      compliance_metadata: findings?.compliance ?? null,
    };
    return { says, payload: shown.payload };
  });

  if (used !== null) consume(turn, used, request.id, ask.principal);
  if (waits !== null && judgement.approval === null)
    openApproval(turn, waits, cardOf(turn, ask, judgement, waits, balancesOf(book, limits, run)), ask.principal);

  const decision: Decision = {
    id: request.id,
    session: book.session,
    run,
    action: request.action,
    verdict,
    stops: judgement.stops,
    reason: judgement.reason,
    reservation,
    budgets: after,
    rates,
    policy,
    warnings: judgement.warnings,
    advice: alerts.length === 0 ? judgement.advice : [...judgement.advice, ...alerts.map(alertAdvice)],
    approval: waits === null ? null : approval,
    entry,
  };
  const state = verdict === "allow" ? "pending" : verdict === "deny" ? "denied" : "held";
  const trace = verdict === "allow" && findings !== null ? traceOf(book, request, run, estimateMicroUsd, findings, now) : null;
  const pieces = reservation === null ? [] : [{ at: now, microUsd: reservation.amountMicroUsd }];
  happen(turn, { kind: "decided", decided: { decision, fingerprint, state, matter, pieces, trace } });
  return decision;
}

/** Takes the money and counts the call: from here on both stand against every later request. `pieces`: when the money counts as taken, if not now. */
export function reserve(
  turn: Turn,
  request: ActionRequest,
  reservation: Reservation,
  matter: Matter,
  rates: Findings["rates"],
  pieces: readonly Piece[] = [{ at: turn.now, microUsd: reservation.amountMicroUsd }],
): void {
  const { now } = turn;
  const delta = { posted: 0, pending: reservation.amountMicroUsd, overrun: 0 };
  const taken = pieces.map(({ at, microUsd }) => ({ at, posted: 0, pending: microUsd, overrun: 0 }));
  happen(turn, { kind: "money", fund: matter.fund, run: matter.run, action: request.action, delta, pieces: taken });
  happen(turn, { kind: "reserved", pending: { id: request.id, reservation, matter, pieces } });
  if (rates.length === 0) return;
  // Two limits of one pattern look at one log, which is kept as long as the longer of them looks back.
  const keepMs = new Map<string, number>();
  const shared = new Map<string, NonNullable<ReturnType<typeof sharedRate>>>();
  for (const rate of rates) {
    const whose = sharedRate(rate);
    if (whose !== null) {
      shared.set(permitKey(whose), whose);
      continue;
    }
    const log = logOf(rate, matter.run);
    keepMs.set(log, Math.max(rate.windowMs, keepMs.get(log) ?? 0));
  }
  for (const [log, keep] of keepMs) happen(turn, { kind: "hit", log, at: now, keepMs: keep });
  for (const permits of shared.values()) happen(turn, { kind: "permit_used", permits, at: now });
}

/** The code and the rule of a no that was not enforced, as an entry keeps it. */
export const warningText = ({ code, rule }: Reason) => ({ code, rule });

/** What counts calls has counted a topped-up call already, and its inputs were looked at. */
const ONCE: ReadonlySet<string> = new Set(["arguments", "requirements", "repetition", "use", "price"]);
const TOPUP = POLICY_GATES.filter(({ gate }) => !ONCE.has(gate));
const RESERVE_TOPUP = TOPUP.map((one) => (one.gate === "budgets" ? { ...one, asks: enforced(reserveGate) } : one));

/**
 * Goes through the gates in order. A no that is not enforced becomes a warning and the next is asked. Where it is only a budget that says no, an
 * action that winds down is paid from its reserve.
 */
function passed(question: Question, findings: Findings, gates: readonly { readonly asks: Gate }[]): Judgement {
  const warnings: Reason[] = [];
  const advice: Advice[] = [];
  const reserve: Advice[] = [];
  const shorts: Short[] = [];
  /** Those of them of which there is enough, by what the tenant said. */
  const there = new Set<Short>();
  let usesApproval = false;
  for (const { asks } of gates) {
    const objections = asks(question, findings);
    if (objections.length === 0) continue;
    for (const { mode, no, short, isThere, granted } of objections) {
      if (short !== undefined) {
        shorts.push(short);
        if (isThere) there.add(short);
        continue;
      }
      if (findings.strict && mode === "enforce") {
        if (IS_BUDGET.has(no.reason.code) && windsDown(question, findings)) {
          reserve.push({
            code: "wind_down",
            message: `${no.reason.message} It is paid from the reserve for winding down.`,
            details: { rule: "/wind_down" },
          });
          continue;
        }
        if (granted === true) {
          usesApproval = true;
          continue;
        }
        if (no.reason.code === "approval_required") return { ...held(no, warnings, advice), shorts };
        // Who is denied whatever it gets would only take from others what it has no use for.
        const told = IS_BUDGET.has(no.reason.code) ? windingDown(no, question, findings) : no;
        return { ...denied(told, warnings, advice), shorts: shorts.filter((short) => !there.has(short)) };
      }
      if (warnings.length >= MOST_WARNINGS) continue;
      warnings.push(no.reason);
      if (mode === "warn") advice.push({ code: "rule_warns", message: no.reason.message, details: { reason: no.reason.code, rule: no.reason.rule } });
    }
  }
  const isPlain = warnings.length === 0 && reserve.length === 0 && shorts.length === 0 && !usesApproval;
  if (isPlain) return PERMITTED;
  return { ...PERMITTED, warnings, advice: [...advice, ...reserve], fund: reserve.length === 0 ? "budgets" : "wind_down", shorts, usesApproval };
}

/** So many are written down: a policy of thousands of rules that only observe must not make a record that nobody can store. */
const MOST_WARNINGS = 100;

const IS_BUDGET: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "action_budget_exceeded",
  "run_budget_exceeded",
  "session_budget_exceeded",
  "agent_budget_exceeded",
  "tenant_budget_exceeded",
]);

const PERMITTED: Judgement = {
  verdict: "allow",
  stops: null,
  warnings: [],
  advice: [],
  fund: "budgets",
  shorts: [],
  usesApproval: false,
  approval: null,
  reason: { code: "permitted", message: "Every check passed.", rule: null, retryAfterMs: null, hint: null },
};

const denied = (no: No, warnings: readonly Reason[], advice: readonly Advice[]): Judgement => ({
  ...PERMITTED,
  verdict: "deny",
  reason: no.reason,
  stops: no.stops,
  warnings,
  advice,
});

const held = (no: No, warnings: readonly Reason[], advice: readonly Advice[]): Judgement => ({
  ...PERMITTED,
  verdict: "hold",
  reason: no.reason,
  warnings,
  advice,
});

/** A new approval, of exactly what is asked. */
function newApproval(turn: Turn, { request, principal }: Ask, findings: Findings, run: RunId): Approval {
  const { book, now } = turn;
  const { policy, chain, redaction, estimateMicroUsd, holdTimeoutMs: termMs } = findings;
  const asked = askedOf(turn.sha256, request, estimateMicroUsd);
  return {
    id: approvalIdOf(turn, request.id),
    decision: request.id,
    run,
    action: request.action,
    status: "pending",
    digest: actionDigest(turn.sha256, book, run, request.action, asked),
    policy: { name: policy.name, version: policy.version, digest: policy.digest },
    chain,
    requester: { kind: principal.kind, subject: principal.subject },
    redaction,
    asked,
    openedAt: now,
    expiresAt: Math.min(book.expiresAt, now + termMs),
    termMs,
    answers: [],
    edits: null,
    seen: [],
    answeredAt: null,
    usedBy: null,
  };
}

/** What people are shown beside the approval itself: redacted as the record is, but the inputs are shown even where none are kept. */
function cardOf(turn: Turn, { request }: Ask, { reason }: Judgement, { redaction }: Approval, balances: readonly Balance[]): JsonValue {
  const shown = shownRequest(turn.sha256, request, redaction);
  const { rationale = null, resource = null, sources = [], tags = [], model = null } = shown.says;
  const inputs = request.inputs === undefined ? null : redaction === null ? request.inputs : redactJson(request.inputs, redaction).value;
  const card = {
    resource,
    inputs,
    tags,
    riskLevel: request.riskLevel,
    reason: { code: reason.code, message: reason.message, rule: reason.rule },
    rationale,
    confidence: request.confidence,
    sources,
    parents: request.parents,
    model,
    balances,
  };
  // Plain data, made of parsed values: members that are absent are left out, as in any JSON text.
  return JSON.parse(JSON.stringify(card)) as JsonValue;
}

/** An approval's id follows from its decision's, and from its session's: a client may have used the same decision id elsewhere. */
const approvalIdOf = (turn: Turn, decision: DecisionId): ApprovalId =>
  idFromDigest("apr", turn.sha256(`${turn.book.tenant}/${turn.book.session}/${decision}`));

export const matterOf = (request: ActionRequest, run: RunId, limits: readonly Limit[], findings: Findings, fund: Fund): Matter => ({
  run,
  action: request.action,
  tags: request.tags,
  riskLevel: request.riskLevel,
  policy: findings.policy,
  fund,
  limits,
  alerts: findings.alerts,
  keepOutputs: insideOf("outputs", findings.keep?.paths ?? []),
  redaction: findings.redaction,
  asked: findings.topupPaths === null ? null : askedAgain(request, findings.topupPaths),
  onExpiry: findings.onExpiry,
  compliance: findings.compliance,
});

/** What rules that look at the estimate need of a request, should more be asked for later. */
function askedAgain({ resource, inputs, inputsDigest }: ActionRequest, paths: readonly Path[]): Matter["asked"] {
  const { parts, known } = keepParts(inputs, paths);
  // A digest in place of the inputs leaves nothing to know them by.
  return { resource, inputs: parts, paths: inputsDigest === null ? known : [] };
}

/** What a call leaves behind for rules that look back, by what they will look at. */
export function traceOf(book: Book, request: ActionRequest, run: RunId, amountMicroUsd: MicroUsd, findings: Findings, now: Instant): Trace {
  const paths = findings.keep?.paths ?? [];
  const { id, action } = request;
  if (paths.length === 0 && findings.loops.length === 0)
    return { id, run, action, at: now, outcome: "pending", endedAt: null, amountMicroUsd, kept: null, keptUntil: null };
  const loopKeys = findings.loops.flatMap(({ key }) => key ?? []);
  const inputs = keepParts(request.inputs, insideOf("inputs", paths));
  // A digest in place of the inputs leaves nothing to know them by.
  const areInputsKnown = request.inputsDigest === null && inputs.known.length > 0;
  const kept: Kept = {
    paths: areInputsKnown ? paths : paths.filter(([root]) => root !== "inputs"),
    inputs: inputs.parts,
    resource: insideOf("resource", paths).length === 0 ? undefined : (request.resource ?? undefined),
    loopKeys,
  };
  return { id, run, action, at: now, outcome: "pending", endedAt: null, amountMicroUsd, kept, keptUntil: untilWhen(book, findings, now) };
}

/** What is kept is needed until it has left every window that looks at it, and never after the session. */
function untilWhen(book: Book, { keep, loops }: Findings, now: Instant): Instant {
  if (keep?.forMs === null) return book.expiresAt;
  const longest = Math.max(keep?.forMs ?? 0, ...loops.map(({ windowMs }) => windowMs));
  return Math.min(book.expiresAt, now + longest);
}

export function rateState(book: Book, rate: RateLimit, run: RunId, now: Instant): RateState {
  const shared = sharedRate(rate);
  if (shared !== null) {
    const permits = book.shares.permits.get(permitKey(shared));
    const { pattern: name, per, max: limit, windowMs } = rate;
    const remaining = Math.min(limit, (permits?.unused ?? 0) + (permits?.remaining ?? 0));
    // A call made since the tenant's last word has the whole window before it.
    const resetsAt = permits?.resetsAt ?? (permits?.used[0] === undefined ? now : permits.used[0] + windowMs);
    return { name, per, limit, remaining, windowMs, resetMs: Math.max(0, resetsAt - now) };
  }
  const log = hitsOf(book, logOf(rate, run));
  return {
    name: rate.pattern,
    per: rate.per,
    limit: rate.max,
    remaining: Math.max(0, rate.max - countWithin(log, rate.windowMs, now)),
    windowMs: rate.windowMs,
    resetMs: resetMs(log, rate.windowMs, now),
  };
}
