import { assert } from "./assert.ts";
import { type Book, balancesOf, hitsOf, limitsFor, type Matter } from "./book.ts";
import type { Decision, RateState, Reason, Reservation, Stops, Verdict } from "./decision.ts";
import {
  type Authority,
  approvalGate,
  authorityGate,
  budgetGate,
  capacityGate,
  listGate,
  type No,
  type PresentedApproval,
  type Question,
  useGate,
} from "./gates.ts";
import { type ApprovalId, type DecisionId, idFromDigest, type RunId } from "./ids.ts";
import { formatUsd, type MicroUsd, ZERO_USD } from "./money.ts";
import type { BudgetLimit, Findings, RateLimit } from "./policy/findings.ts";
import type { ActionRequest, Principal } from "./request.ts";
import { formatInstant, type Instant } from "./time.ts";
import { happen, movements, record, reservationText, signature, type Turn } from "./turn.ts";
import { countWithin, resetMs } from "./windows.ts";

/** One request as it reaches the book: what is asked, what the policy says of it, and under which authority. */
export interface Ask extends Authority {
  readonly request: ActionRequest;
  readonly principal: Principal;
  readonly presented: PresentedApproval;
}

/** What is asked when a reservation is to have a new sum. */
export interface TopupAsk extends Authority {
  readonly request: Pick<ActionRequest, "action" | "run" | "estimateMicroUsd">;
  readonly principal: Principal;
  readonly presented: PresentedApproval;
}

/** What comes out for a request, before it is written down. */
export interface Judgement {
  readonly verdict: Verdict;
  readonly reason: Reason;
  readonly stops: Stops | null;
  readonly warnings: readonly Reason[];
}

/**
 * Decides one request. This function and nothing else decides: every gate in the order of precedence, the first no is the reason,
 * a hold only if nothing says no. Looks at the book, changes nothing. Total.
 */
export function judge(book: Book, ask: Ask, now: Instant): Judgement {
  const question: Question = { book, request: ask.request, amountMicroUsd: ask.request.estimateMicroUsd, now };
  const authority = authorityGate(question, ask);
  if (authority.kind === "no") return denied(authority, []);
  const { findings } = authority;
  const full = capacityGate(question);
  if (full !== null) return denied(full, []);
  const gates = [
    () => listGate(question, findings),
    () => useGate(question, findings),
    () => budgetGate(question, findings),
    () => approvalGate(findings, ask.presented),
  ];
  return passed(gates, findings);
}

/**
 * Decides whether a pending reservation may have a new sum: the same gates, but what counts calls has already counted this one.
 * Giving some of it back needs nobody's leave.
 */
export function judgeTopup(book: Book, ask: TopupAsk, moreMicroUsd: MicroUsd, now: Instant): Judgement {
  if (moreMicroUsd === 0) return PERMITTED;
  const question: Question = { book, request: ask.request, amountMicroUsd: moreMicroUsd, now };
  const authority = authorityGate(question, ask);
  if (authority.kind === "no") return denied(authority, []);
  const { findings } = authority;
  const full = capacityGate(question);
  if (full !== null) return denied(full, []);
  const judgement = passed(
    [() => listGate(question, findings), () => budgetGate(question, findings), () => approvalGate(findings, ask.presented)],
    findings,
  );
  // An action that runs cannot wait for a person: what would be held is refused, and its reservation stays as it was.
  return judgement.verdict === "hold" ? { ...judgement, verdict: "deny", stops: "action" } : judgement;
}

/** The judgement of a batch's member that would have been allowed, had all been. */
export const batchRefused = (judgement: Judgement): Judgement => ({
  verdict: "deny",
  stops: "action",
  warnings: judgement.warnings,
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
  const { book, now } = turn;
  const { request } = ask;
  const { verdict } = judgement;
  const run = request.run ?? book.currentRun;
  const findings = ask.evaluation?.kind === "findings" ? ask.evaluation.findings : null;
  const limits = limitsFor(book, findings?.budgets ?? []);
  const before = balancesOf(book, limits, run);

  let reservation: Reservation | null = null;
  let matter: Matter | null = null;
  if (verdict === "allow") {
    assert(findings !== null, "nothing is allowed without a policy");
    reservation = { amountMicroUsd: request.estimateMicroUsd, expiresAt: now + request.ttlMs };
    matter = matterOf(request, run, limits, findings);
    reserve(turn, request, reservation, matter, findings.rates);
  }
  happen(turn, { kind: "answered", verdict, preventedMicroUsd: verdict === "deny" ? request.estimateMicroUsd : ZERO_USD });

  const after = balancesOf(book, limits, run);
  const rates = (findings?.rates ?? []).map((rate) => rateState(book, rate, now));
  const hold = verdict === "hold" ? (findings?.hold ?? null) : null;
  const approval = hold === null ? null : { id: approvalIdOf(turn, request.id), expiresAt: now + hold.timeoutMs };
  const policy = findings?.policy ?? ask.lease.policy;
  const entry = record(
    turn,
    "decision",
    {
      run_id: run,
      action: request.action,
      resource: request.resource,
      tags: request.tags,
      risk_level: request.riskLevel,
      decision_id: request.id,
      step: "decide",
      verdict,
      reason: judgement.reason.code,
      rule: judgement.reason.rule,
      warnings: judgement.warnings.map((warning) => warning.code),
      policy,
      estimate_usd: formatUsd(request.estimateMicroUsd),
      reservation: reservation === null ? null : reservationText(reservation),
      accounts: movements(before, after),
      rates: rates.map((rate) => ({ limit: rate.limit, name: rate.name, remaining: rate.remaining, window_ms: rate.windowMs })),
      approval: approval === null ? null : { expires_at: formatInstant(approval.expiresAt), id: approval.id },
      rationale: request.rationale,
      confidence: request.confidence,
      sources: request.sources,
      parents: request.parents,
      model: request.model,
      inputs_digest: request.inputsDigest,
      principal: signature(ask.principal),
      compliance_metadata: findings?.compliance ?? null,
    },
    request.inputs === undefined ? null : { inputs: request.inputs },
  );

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
    approval,
    entry,
  };
  const state = verdict === "allow" ? "pending" : verdict === "deny" ? "denied" : "held";
  happen(turn, { kind: "decided", decided: { decision, fingerprint, state, matter } });
  return decision;
}

/** Takes the money and counts the call: from here on both stand against every later request. */
export function reserve(turn: Turn, request: ActionRequest, reservation: Reservation, matter: Matter, rates: Findings["rates"]): void {
  const { now } = turn;
  happen(turn, { kind: "money", run: matter.run, action: request.action, delta: { posted: 0, pending: reservation.amountMicroUsd, overrun: 0 } });
  happen(turn, { kind: "reserved", pending: { id: request.id, reservation, matter } });
  // Two limits of one pattern look at one log, which is kept as long as the longer of them looks back.
  const keepMs = new Map<string, number>();
  for (const rate of rates) keepMs.set(rate.pattern, Math.max(rate.windowMs, keepMs.get(rate.pattern) ?? 0));
  for (const [pattern, keep] of keepMs) happen(turn, { kind: "hit", pattern, at: now, keepMs: keep });
}

/** Goes through the gates in order. Where the policy only observes, a no becomes a warning and the next gate is asked. */
function passed(gates: readonly (() => No | null)[], findings: Findings): Judgement {
  const warnings: Reason[] = [];
  for (const gate of gates) {
    const no = gate();
    if (no === null) continue;
    if (findings.strict) return no.reason.code === "approval_required" ? held(no) : denied(no, warnings);
    warnings.push(no.reason);
  }
  return { ...PERMITTED, warnings };
}

const PERMITTED: Judgement = {
  verdict: "allow",
  stops: null,
  warnings: [],
  reason: { code: "permitted", message: "Every check passed.", rule: null, retryAfterMs: null, hint: null },
};

const denied = (no: No, warnings: readonly Reason[]): Judgement => ({ verdict: "deny", reason: no.reason, stops: no.stops, warnings });

const held = (no: No): Judgement => ({ verdict: "hold", reason: no.reason, stops: null, warnings: [] });

/** An approval's id follows from its decision's, and from its session's: a client may have used the same decision id elsewhere. */
const approvalIdOf = (turn: Turn, decision: DecisionId): ApprovalId =>
  idFromDigest("apr", turn.sha256(`${turn.book.tenant}/${turn.book.session}/${decision}`));

const matterOf = (request: ActionRequest, run: RunId, limits: readonly BudgetLimit[], findings: Findings): Matter => ({
  run,
  action: request.action,
  tags: request.tags,
  riskLevel: request.riskLevel,
  policy: findings.policy,
  limits,
  onExpiry: findings.onExpiry,
  compliance: findings.compliance,
});

function rateState(book: Book, rate: RateLimit, now: Instant): RateState {
  const log = hitsOf(book, rate.pattern);
  return {
    name: rate.pattern,
    limit: rate.max,
    remaining: Math.max(0, rate.max - countWithin(log, rate.windowMs, now)),
    windowMs: rate.windowMs,
    resetMs: resetMs(log, rate.windowMs, now),
  };
}
