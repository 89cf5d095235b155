import type * as core from "../../../src/core/decision.ts";
import { formatUsd, lessUsd } from "../../../src/core/money.ts";
import { formatInstant } from "../../../src/core/time.ts";
import type { Balance, DecisionAnswer, Reason, Reservation, Settlement } from "../surface.ts";

/** From the values of the core to what callers of the SDK see: member by member what they would see of a gateway. */

export const decisionAnswer = (decided: core.Decision): DecisionAnswer => ({
  id: decided.id,
  session: decided.session,
  run: decided.run,
  action: decided.action,
  verdict: decided.verdict,
  decision: decided.verdict === "allow",
  stops: decided.stops,
  reason: reasonOf(decided.reason),
  reservation: reservationOf(decided.reservation),
  budgets: decided.budgets.map(balanceOf),
  rates: decided.rates.map(({ name, limit, remaining, resetMs }) => ({ name, limit, remaining, resetMs })),
  policy: decided.policy,
  obligations: [],
  advice: decided.advice.map(({ code, message, details }) => ({ ...details, code, message })),
  warnings: decided.warnings.map(reasonOf),
  // Nobody in this process can answer: there is no address to send a person to.
  approval: decided.approval === null ? null : { id: decided.approval.id, url: "", expiresAt: formatInstant(decided.approval.expiresAt) },
  entry: decided.entry,
  superseded: null,
});

export const settlementOf = (settled: core.Settlement): Settlement => ({
  id: settled.id,
  state: settled.state,
  postedUsd: formatUsd(settled.postedMicroUsd),
  overrunUsd: formatUsd(settled.overrunMicroUsd),
  late: settled.late,
  reservation: reservationOf(settled.reservation),
  budgets: settled.budgets.map(balanceOf),
  entry: settled.entry,
});

const reasonOf = ({ code, message, rule, retryAfterMs, hint }: core.Reason): Reason => ({
  code,
  message,
  rule,
  remediation: { retryAfterMs, hint: code === "policy_missing" ? HOW_TO_BEGIN : hint },
});

/** At a gateway an operator puts a policy in force; here it is whoever writes the program. */
const HOW_TO_BEGIN =
  "Say in the program what is allowed: PolicyEngine.configure({}) permits everything and records it, PolicyEngine.loadFromYaml(path) and createLocalSentinel({ policy }) what the policy says.";

export const balanceOf = ({ scope, name, window, limitMicroUsd, postedMicroUsd, pendingMicroUsd, leasedMicroUsd }: core.Balance): Balance => ({
  scope,
  name,
  window: window?.name ?? null,
  limitUsd: limitMicroUsd === null ? null : formatUsd(limitMicroUsd),
  postedUsd: formatUsd(postedMicroUsd),
  pendingUsd: formatUsd(pendingMicroUsd),
  leasedUsd: leasedMicroUsd > 0 || window !== undefined ? formatUsd(leasedMicroUsd) : null,
  remainingUsd: limitMicroUsd === null ? null : formatUsd(lessUsd(lessUsd(lessUsd(limitMicroUsd, postedMicroUsd), pendingMicroUsd), leasedMicroUsd)),
  resetsAt: window?.resetsAt == null ? null : formatInstant(window.resetsAt),
});

const reservationOf = (held: core.Reservation | null): Reservation | null =>
  held === null ? null : { amountUsd: formatUsd(held.amountMicroUsd), expiresAt: formatInstant(held.expiresAt) };
