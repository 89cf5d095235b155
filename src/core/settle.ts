import { alertAdvice, alertsOf, alertText, rememberAlerts } from "./alerts.ts";
import { accountOf, type Book, balancesOf, type Decided, freeOf, type Matter, spentOf } from "./book.ts";
import { type Judgement, judgeTopup, type TopupAsk, warningText } from "./conclude.ts";
import type { Decision, DecisionState, Reservation, Settlement } from "./decision.ts";
import { orderNo } from "./gates.ts";
import { addUsd, formatUsd, lessUsd, type MicroUsd, microUsdOf, minUsd, ZERO_USD } from "./money.ts";
import type { Order } from "./orders.ts";
import type { Path } from "./policy/findings.ts";
import { type Refusal, refusal } from "./refusals.ts";
import type { ActionRequest, CommitReport, Principal } from "./request.ts";
import { err, ok, type Result } from "./result.ts";
import { type Piece, resizePieces, type Short, settlePieces, sliceLeft } from "./shares.ts";
import { shownReport, shownText } from "./shown.ts";
import { keepParts } from "./trail.ts";
import { aboutMatter, happen, lookedAt, movements, note, record, reservationText, type Says, signature, type Turn } from "./turn.ts";

/** A decision as its session has it on record. */
export interface DecisionRecord {
  readonly decision: Decision;
  readonly state: DecisionState;
  /** What is or was reserved; `null` when it was never allowed. */
  readonly reservation: Reservation | null;
  readonly matter: Matter | null;
  /** When the money was taken that is pending or posted. */
  readonly pieces: readonly Piece[];
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  /** The report that settled it and the answer it got. */
  readonly told: { readonly fingerprint: string; readonly settlement: Settlement } | null;
}

/** A decision as it is on record when it has been made and nothing has come of it yet. */
export const recordOf = ({ decision, state, matter, pieces }: Decided): DecisionRecord => ({
  decision,
  state,
  reservation: decision.reservation,
  matter,
  pieces,
  postedMicroUsd: ZERO_USD,
  overrunMicroUsd: ZERO_USD,
  told: null,
});

/** What a larger sum is asked for with: the first request, as far as it was kept for this. */
export type Reconsidered = Pick<ActionRequest, "run" | "action" | "tags" | "riskLevel" | "resource" | "inputs"> & {
  /** Which parts of the inputs are here. */
  readonly inputsKnown: readonly Path[];
};

export const reconsidered = ({ decision: { run, action }, matter }: DecisionRecord): Reconsidered => ({
  run,
  action,
  tags: matter?.tags ?? [],
  riskLevel: matter?.riskLevel ?? null,
  resource: matter?.asked?.resource ?? null,
  inputs: matter?.asked?.inputs,
  inputsKnown: matter?.asked?.paths ?? [],
});

/** What a first request says besides for people and for the record, and a larger sum does not say again. */
export const NOT_ASKED_AGAIN = { inputsDigest: null, price: null, confidence: null, rationale: null, sources: [], model: null } as const;

/** The answer to a report, and whether it is the recorded one of an earlier, equal report. */
export type Told = Result<{ readonly settlement: Settlement; readonly replayed: boolean }, Refusal>;

/**
 * Takes a caller's word for what an action cost. A commit is testimony about money already gone: it is always recorded, above its reservation
 * (`overrun`) or after it (`late`) if it must be. Refuses only what was never allowed and a second, different report.
 */
export function commit(turn: Turn, decided: DecisionRecord, principal: Principal, report: CommitReport, fingerprint: string): Told {
  const { reservation, matter } = decided;
  if (reservation === null || matter === null)
    return err(refusal("decision_settled", `The decision was not allowed (${decided.decision.verdict}): there is nothing to commit.`));
  if (decided.state === "posted") return again(decided, fingerprint, "The decision was committed before, with a different report.");

  const late = decided.state !== "pending";
  const costMicroUsd = report.costMicroUsd ?? reservation.amountMicroUsd;
  if (spentOf(turn.book.total) + spentOf(turn.book.windDown) + costMicroUsd > Number.MAX_SAFE_INTEGER) {
    return err(refusal("money_precision", "The session's sum would be beyond 9007199254.740991 USD and could not be told exactly."));
  }
  // A late report takes what is still free, up to what it once had; what nobody kept for it is an overrun.
  const covered = late
    ? addUsd(decided.postedMicroUsd, minUsd(lessUsd(reservation.amountMicroUsd, decided.postedMicroUsd), tightest(turn.book, matter)))
    : reservation.amountMicroUsd;
  const overrunMicroUsd = lessUsd(costMicroUsd, covered);
  const settlement = post(turn, { ...decided, reservation, matter }, principal, report, fingerprint, { costMicroUsd, overrunMicroUsd, late });
  return ok({ settlement, replayed: false });
}

/** A decision that was allowed, with what was reserved for it. */
export type Allowed = DecisionRecord & { readonly reservation: Reservation; readonly matter: Matter };

/** Posts what a report tells, as it was reckoned, and writes it down. */
export function post(
  turn: Turn,
  decided: Allowed,
  principal: Principal,
  report: CommitReport,
  fingerprint: string,
  { costMicroUsd, overrunMicroUsd, late }: { readonly costMicroUsd: MicroUsd; readonly overrunMicroUsd: MicroUsd; readonly late: boolean },
): Settlement {
  const { reservation, matter } = decided;
  return settle(
    turn,
    decided,
    { reservation, matter },
    {
      state: "posted",
      posted: costMicroUsd,
      overrun: overrunMicroUsd,
      late,
      kind: "commit",
      fingerprint,
      tell: () => {
        const shown = shownReport(turn.sha256, report, matter.redaction);
        return {
          says: {
            ...shown.says,
            outcome: report.outcome,
            duration_ms: report.durationMs,
            price: report.price ?? null,
            principal: signature(principal),
          },
          payload: shown.payload,
        };
      },
      became: report.outcome,
      outputs: keepParts(report.outputs, matter.keepOutputs),
    },
  );
}

/** Gives a reservation back. After it had been posted for having expired, that is taken back too. Refuses what was committed. */
export function release(turn: Turn, decided: DecisionRecord, principal: Principal, reason: string | null, fingerprint: string): Told {
  const { reservation, matter } = decided;
  if (reservation === null || matter === null)
    return err(refusal("decision_settled", `The decision was not allowed (${decided.decision.verdict}): there is nothing to release.`));
  if (decided.state === "posted") return err(refusal("decision_settled", "The decision was committed: what was spent cannot be released."));
  if (decided.state === "released") return again(decided, decided.told?.fingerprint ?? fingerprint, "");
  const settlement = settle(
    turn,
    decided,
    { reservation, matter },
    {
      state: "released",
      posted: ZERO_USD,
      overrun: ZERO_USD,
      late: decided.state === "expired",
      kind: "release",
      fingerprint,
      tell: () => ({
        says: { principal: signature(principal), details: reason === null ? null : { reason: shownText(reason, matter.redaction) } },
        payload: null,
      }),
      became: "released",
      outputs: { parts: undefined, known: matter.keepOutputs },
    },
  );
  return ok({ settlement, replayed: false });
}

/**
 * Lets a pending reservation stand longer: `ttlMs` from now, never shorter than it stood. `order`: what stands against what was allowed. A kill keeps no
 * money for longer than it was kept when it came; what is paused may finish.
 */
export function extend(turn: Turn, decided: DecisionRecord, principal: Principal, ttlMs: number, order: Order | null = null): Told {
  const { reservation, matter } = decided;
  if (decided.state !== "pending" || reservation === null || matter === null)
    return err(refusal("decision_settled", `Only a pending reservation can be extended: this one is ${decided.state}.`));
  if (order?.state === "killed") {
    const { reason } = orderNo(order);
    return err({ ...refusal("decision_stopped", reason.message), reason });
  }
  const longer: Reservation = { ...reservation, expiresAt: Math.max(reservation.expiresAt, turn.now + ttlMs) };
  const entry = record(
    turn,
    "decision",
    { ...aboutMatter(decided.decision.id, matter), step: "extend", reservation: reservationText(longer), principal: signature(principal) },
    null,
  );
  happen(turn, { kind: "changed", id: decided.decision.id, reservation: longer, pieces: decided.pieces });
  const settlement: Settlement = {
    id: decided.decision.id,
    state: "pending",
    postedMicroUsd: ZERO_USD,
    overrunMicroUsd: ZERO_USD,
    late: false,
    reservation: longer,
    budgets: balancesOf(turn.book, matter.limits, matter.run),
    entry,
  };
  return ok({ settlement, replayed: false });
}

/**
 * Asks for a new sum while the action runs. A denial leaves the reservation as it was; a smaller sum gives the difference back. `shorts`: nothing was
 * done, because the tenant must be asked first.
 */
export function topup(turn: Turn, decided: DecisionRecord, ask: TopupAsk): Result<Decision | { readonly shorts: readonly Short[] }, Refusal> {
  const { reservation, matter } = decided;
  if (decided.state !== "pending" || reservation === null || matter === null)
    return err(refusal("decision_settled", `Only a pending reservation can be topped up: this one is ${decided.state}.`));
  const { book, now } = turn;
  const wanted = ask.request.estimateMicroUsd;
  const judgement: Judgement = judgeTopup(book, ask, lessUsd(wanted, reservation.amountMicroUsd), now, decided.decision.id, matter.fund);
  if (judgement.shorts.length > 0) return ok({ shorts: judgement.shorts });
  const allowed = judgement.verdict === "allow";
  const standing: Reservation = allowed ? { ...reservation, amountMicroUsd: wanted } : reservation;
  const before = balancesOf(book, matter.limits, matter.run);
  if (allowed) {
    const { pieces, deltas } = resizePieces(decided.pieces, wanted, now);
    happen(turn, {
      kind: "money",
      fund: matter.fund,
      run: matter.run,
      action: matter.action,
      delta: { posted: 0, pending: wanted - reservation.amountMicroUsd, overrun: 0 },
      pieces: deltas,
    });
    happen(turn, { kind: "changed", id: decided.decision.id, reservation: standing, pieces });
  }
  const budgets = balancesOf(book, matter.limits, matter.run);
  const alerts = allowed ? alertsOf(book, budgets, matter.alerts) : [];
  rememberAlerts(turn, alerts);
  const entry = record(
    turn,
    "decision",
    {
      ...aboutMatter(decided.decision.id, matter),
      step: "topup",
      verdict: judgement.verdict,
      reason: judgement.reason.code,
      rule: judgement.reason.rule,
      warnings: judgement.warnings.map(warningText),
      alerts: alerts.map(alertText),
      policy: ask.lease.policy,
      estimate_usd: formatUsd(wanted),
      reservation: reservationText(standing),
      accounts: movements(before, budgets),
      principal: signature(ask.principal),
    },
    null,
  );
  return ok({
    ...decided.decision,
    verdict: judgement.verdict,
    reason: judgement.reason,
    stops: judgement.stops,
    warnings: judgement.warnings,
    advice: [...judgement.advice, ...alerts.map(alertAdvice)],
    policy: ask.lease.policy,
    reservation: standing,
    budgets,
    rates: [],
    entry,
  });
}

/** More than any account can hold. */
const UNLIMITED = microUsdOf(Number.MAX_SAFE_INTEGER);

interface Ending {
  readonly state: "posted" | "released";
  readonly posted: MicroUsd;
  readonly overrun: MicroUsd;
  readonly late: boolean;
  readonly kind: "commit" | "release";
  readonly fingerprint: string;
  readonly tell: () => Says;
  readonly became: "success" | "error" | "released";
  /** What of the outputs is to be kept for rules that look back. */
  readonly outputs: ReturnType<typeof keepParts>;
}

/** Moves the money to where it ends, and writes it down with what an earlier entry had posted of it taken back. */
function settle(
  turn: Turn,
  decided: DecisionRecord,
  held: { readonly reservation: Reservation; readonly matter: Matter },
  ending: Ending,
): Settlement {
  const { book } = turn;
  const { reservation, matter } = held;
  const { id } = decided.decision;
  const before = lookedAt(turn, () => balancesOf(book, matter.limits, matter.run));
  const was = decided.state === "pending" ? "pending" : "posted";
  const { pieces, deltas } = settlePieces(decided.pieces, was, { at: turn.now, posted: ending.posted, overrun: ending.overrun });
  happen(turn, {
    kind: "money",
    pieces: deltas,
    fund: matter.fund,
    run: matter.run,
    action: matter.action,
    delta: {
      posted: ending.posted - decided.postedMicroUsd,
      pending: decided.state === "pending" ? -reservation.amountMicroUsd : 0,
      overrun: ending.overrun,
    },
  });
  const budgets = balancesOf(book, matter.limits, matter.run);
  const alerts = alertsOf(book, budgets, matter.alerts);
  rememberAlerts(turn, alerts);
  const entry = note(turn, ending.kind, () => {
    const { says, payload } = ending.tell();
    return {
      says: {
        ...aboutMatter(id, matter),
        ...says,
        cost_usd: formatUsd(ending.posted),
        corrected_usd: formatUsd(decided.postedMicroUsd),
        overrun_usd: formatUsd(ending.overrun),
        late: ending.late,
        reservation: reservationText(reservation),
        accounts: movements(before, budgets),
        alerts: alerts.map(alertText),
      },
      payload,
    };
  });
  const losesOutputs = ending.outputs.known.length < matter.keepOutputs.length;
  const settlement: Settlement = {
    id,
    state: ending.state,
    postedMicroUsd: ending.posted,
    overrunMicroUsd: ending.overrun,
    late: ending.late,
    reservation,
    budgets,
    entry,
  };
  happen(turn, {
    kind: "settled",
    settled: {
      id,
      action: matter.action,
      became: { outcome: ending.became, endedAt: turn.now, amountMicroUsd: ending.posted, outputs: ending.outputs.parts, losesOutputs },
      state: ending.state,
      postedMicroUsd: ending.posted,
      overrunMicroUsd: ending.overrun,
      pieces,
      told: { fingerprint: ending.fingerprint, settlement },
    },
  });
  return settlement;
}

/** What the tightest of a decision's accounts still has free. */
export function tightest(book: Book, matter: Pick<Matter, "limits" | "fund" | "run">): MicroUsd {
  let free: MicroUsd | null = null;
  for (const limit of matter.limits) {
    if ((limit.scope === "wind_down") !== (matter.fund === "wind_down")) continue;
    const left =
      limit.scope === "agent" || limit.scope === "tenant"
        ? sliceLeft(book.shares, limit)
        : freeOf(accountOf(book, limit, matter.run), limit.limitMicroUsd);
    free = free === null ? left : minUsd(free, left);
  }
  // Without any limit there is nothing that could be overrun.
  return free ?? UNLIMITED;
}

function again(decided: DecisionRecord, fingerprint: string, different: string): Told {
  if (decided.told === null || decided.told.fingerprint !== fingerprint) return err(refusal("decision_settled", different));
  return ok({ settlement: decided.told.settlement, replayed: true });
}
