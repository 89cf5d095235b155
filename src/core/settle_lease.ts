import { balancesOf, type Decided, limitsFor, type Matter, spentOf } from "./book.ts";
import { aboutLease, become, type ClientLease } from "./client_lease.ts";
import { matterOf, rateState, reserve, traceOf } from "./conclude.ts";
import type { Balance, Decision } from "./decision.ts";
import { matchesGlob } from "./glob.ts";
import { addUsd, formatUsd, lessUsd, type MicroUsd, minUsd, ZERO_USD } from "./money.ts";
import type { Findings } from "./policy/findings.ts";
import { type Refusal, refusal } from "./refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "./request.ts";
import { err, ok, type Result } from "./result.ts";
import { post, recordOf, tightest } from "./settle.ts";
import { shownRequest } from "./shown.ts";
import { formatInstant, type Instant } from "./time.ts";
import type { Trace } from "./trail.ts";
import { happen, lookedAt, movements, note, reservationText, signature, type Turn } from "./turn.ts";

/** An action that the holder of a lease decided by itself, and what it says that it cost. */
export interface LeasedAction {
  /** Where it stands in the body. */
  readonly pointer: string;
  readonly request: ActionRequest;
  readonly report: CommitReport & { readonly costMicroUsd: MicroUsd };
  /** When it was decided, by its decider's clock. */
  readonly decidedAt: Instant | null;
  readonly fingerprint: string;
  /** What the policy in force says of it; `null` where none could be asked. */
  readonly findings: Findings | null;
  /** The fingerprint of what was recorded under its id before; `null`: nothing was. */
  readonly known: string | null;
}

export interface LeaseSettlement {
  readonly lease: ClientLease;
  readonly accepted: number;
  readonly duplicates: number;
  readonly late: boolean;
  readonly budgets: readonly Balance[];
}

/**
 * Takes its holder's word for what was done with a lease. It is testimony about money already gone: each action becomes a decision that was allowed and
 * committed, paid from the lease, above it (an overrun), or after its end (`late`), which corrects what was posted then. With `final` the rest goes back.
 * The same action again changes nothing. Refuses the whole where one is not this lease's, or was told differently before; then nothing was done.
 */
export function settleLease(
  turn: Turn,
  lease: ClientLease,
  told: { readonly actions: readonly LeasedAction[]; readonly final: boolean; readonly principal: Principal },
): Result<LeaseSettlement, Refusal> {
  const fresh = told.actions.filter(({ known }) => known === null);
  const wrong = refusalOf(turn, lease, told.actions);
  if (wrong !== null) return err(wrong);

  const late = lease.state !== "open";
  let now = lease;
  for (const action of fresh) now = spend(turn, now, action, told.principal, late);
  const ended = told.final && lease.state !== "settled";
  const taken = lessUsd(lease.heldMicroUsd, now.heldMicroUsd);
  const before = lookedAt(turn, () => balancesOf(turn.book, lease.limits, lease.run));
  if (ended) {
    const over: ClientLease = {
      ...now,
      state: "settled",
      heldMicroUsd: ZERO_USD,
      returnedMicroUsd: addUsd(now.returnedMicroUsd, now.heldMicroUsd),
    };
    become(turn, now, over);
    now = over;
  }
  const budgets = balancesOf(turn.book, lease.limits, lease.run);
  if (ended || fresh.length > 0) {
    const settled = now;
    const given = ended ? lessUsd(lease.heldMicroUsd, taken) : ZERO_USD;
    const entry = note(turn, "lease", () => {
      const { details, ...about } = aboutLease(lease, "settled");
      const { actions, event, lease: named } = details;
      return {
        says: {
          ...about,
          // What its end had posted, and now is told of or was never spent.
          corrected_usd: formatUsd(lease.state === "expired" ? addUsd(taken, given) : ZERO_USD),
          late,
          accounts: movements(before, budgets),
          principal: signature(told.principal),
          details: { actions, event, final: ended, lease: named, ...sumsOf(settled), settled: fresh.length },
        },
        payload: null,
      };
    });
    now = { ...settled, entry };
    become(turn, settled, now);
  }
  return ok({ lease: now, accepted: fresh.length, duplicates: told.actions.length - fresh.length, late, budgets });
}

const sumsOf = ({ postedMicroUsd, overrunMicroUsd, returnedMicroUsd, heldMicroUsd }: ClientLease) => ({
  overrun_usd: formatUsd(overrunMicroUsd),
  posted_usd: formatUsd(postedMicroUsd),
  remaining_usd: formatUsd(heldMicroUsd),
  returned_usd: formatUsd(returnedMicroUsd),
});

function refusalOf({ book }: Turn, { id, actions }: ClientLease, told: readonly LeasedAction[]): Refusal | null {
  let sum = spentOf(book.total) + spentOf(book.windDown);
  for (const { pointer, request, report, fingerprint, known } of told) {
    if (known === fingerprint) continue;
    if (known !== null) {
      const issue = { pointer: `${pointer}/id`, message: "is the id of a decision with another body" };
      return refusal("idempotency_mismatch", `The decision "${request.id}" was told or asked before with another body.`, [issue]);
    }
    if (!actions.some((glob) => matchesGlob(glob, request.action))) {
      const message = `must be one of ${actions.map((glob) => `"${glob}"`).join(", ")}, found "${request.action}"`;
      return refusal("body_invalid", `The lease "${id}" is not for "${request.action}".`, [{ pointer: `${pointer}/action`, message }]);
    }
    sum += report.costMicroUsd;
    if (sum <= Number.MAX_SAFE_INTEGER) continue;
    const issue = { pointer: `${pointer}/cost_usd`, message: "would take the session's sum beyond 9007199254.740991 USD" };
    return refusal("money_precision", "The session's sum would be beyond 9007199254.740991 USD and could not be told exactly.", [issue]);
  }
  return null;
}

/** Makes of what was done a decision and its commit, in this very turn. */
function spend(turn: Turn, lease: ClientLease, action: LeasedAction, principal: Principal, late: boolean): ClientLease {
  const { book, now } = turn;
  const { request, report, findings, fingerprint } = action;
  const { costMicroUsd } = report;
  const { run, terms } = lease;
  const limits = findings === null ? lease.limits : limitsFor(book, findings.budgets);
  const matter: Matter =
    findings === null ? matterAsGranted(request, lease) : { ...matterOf(request, run, limits, findings, "budgets"), policy: terms.policy };
  const before = lookedAt(turn, () => balancesOf(book, limits, run));

  const fromLease = minUsd(costMicroUsd, lease.heldMicroUsd);
  // What went back may still be free: then it is taken again, as for any late report.
  const again = late ? minUsd(lessUsd(costMicroUsd, fromLease), minUsd(lease.returnedMicroUsd, tightest(book, matter))) : ZERO_USD;
  const covered = addUsd(fromLease, again);
  const overrunMicroUsd = lessUsd(costMicroUsd, covered);
  const spent: ClientLease = {
    ...lease,
    heldMicroUsd: lessUsd(lease.heldMicroUsd, fromLease),
    returnedMicroUsd: lessUsd(lease.returnedMicroUsd, again),
    postedMicroUsd: addUsd(lease.postedMicroUsd, costMicroUsd),
    overrunMicroUsd: addUsd(lease.overrunMicroUsd, overrunMicroUsd),
  };
  become(turn, lease, spent);
  const reservation = { amountMicroUsd: covered, expiresAt: lease.expiresAt };
  const pieces = [
    { at: lease.grantedAt, microUsd: fromLease },
    { at: now, microUsd: again },
  ].filter(({ microUsd }) => microUsd > 0);
  reserve(turn, request, reservation, matter, findings?.rates ?? [], pieces);
  happen(turn, { kind: "answered", verdict: "allow", preventedMicroUsd: ZERO_USD });

  const budgets = balancesOf(book, limits, run);
  const rates = (findings?.rates ?? []).map((rate) => rateState(book, rate, run, now));
  const entry = note(turn, "decision", () => {
    const shown = shownRequest(turn.sha256, request, matter.redaction);
    return {
      says: {
        ...shown.says,
        run_id: run,
        action: request.action,
        risk_level: request.riskLevel,
        decision_id: request.id,
        step: "decide",
        verdict: "allow",
        reason: "permitted",
        policy: terms.policy,
        estimate_usd: formatUsd(request.estimateMicroUsd),
        late,
        reservation: reservationText(reservation),
        accounts: movements(before, budgets),
        rates: rates.map((rate) => ({ limit: rate.limit, name: rate.name, per: rate.per, remaining: rate.remaining, window_ms: rate.windowMs })),
        confidence: request.confidence,
        parents: request.parents,
        principal: signature(principal),
        compliance_metadata: matter.compliance,
        details: { ...(action.decidedAt !== null && { decided_at: formatInstant(action.decidedAt) }), lease: lease.id },
      },
      payload: shown.payload,
    };
  });
  const decision: Decision = {
    id: request.id,
    session: book.session,
    run,
    action: request.action,
    verdict: "allow",
    stops: null,
    reason: { code: "permitted", message: `It was decided with the lease "${lease.id}".`, rule: null, retryAfterMs: null, hint: null },
    reservation,
    budgets,
    rates,
    policy: terms.policy,
    warnings: [],
    advice: [],
    approval: null,
    entry,
  };
  const trace: Trace =
    findings === null
      ? {
          id: request.id,
          run,
          action: request.action,
          at: now,
          outcome: "pending",
          endedAt: null,
          amountMicroUsd: costMicroUsd,
          kept: null,
          keptUntil: null,
        }
      : traceOf(book, request, run, costMicroUsd, findings, now);
  const decided: Decided = { decision, fingerprint, state: "pending", matter, pieces, trace };
  happen(turn, { kind: "decided", decided });
  post(turn, { ...recordOf(decided), reservation, matter }, principal, report, fingerprint, { costMicroUsd, overrunMicroUsd, late });
  return spent;
}

/** What an action is about where no policy can say so: as the policy stood when the lease was granted. */
const matterAsGranted = (request: ActionRequest, { run, limits, terms }: ClientLease): Matter => ({
  run,
  action: request.action,
  tags: request.tags,
  riskLevel: request.riskLevel,
  policy: terms.policy,
  fund: "budgets",
  limits,
  alerts: terms.alerts,
  keepOutputs: [],
  redaction: terms.redaction,
  asked: null,
  onExpiry: terms.onExpiry,
  compliance: terms.compliance,
});
