import { accountOf, type Book, freeOf, hitsOf, limitsFor, MOST_SPENT, pendingOf, spentOf } from "./book.ts";
import type { Reason, Stops } from "./decision.ts";
import { formatUsd, type MicroUsd } from "./money.ts";
import type { BudgetLimit, Evaluation, Findings, PolicyRef } from "./policy/findings.ts";
import type { ReasonCode } from "./reasons.ts";
import type { ActionRequest } from "./request.ts";
import type { Instant } from "./time.ts";
import { waitMs } from "./windows.ts";

/** A gate's no: why, how far it reaches, and what helps. */
export interface No {
  readonly kind: "no";
  readonly reason: Reason;
  readonly stops: Stops;
}

/** What the gates look at. `amountMicroUsd` is what the request would newly take from the accounts. */
export interface Question {
  readonly book: Book;
  readonly request: Pick<ActionRequest, "action" | "run">;
  readonly amountMicroUsd: MicroUsd;
  readonly now: Instant;
}

/** Asks what stands above any policy: the session's and run's life, the lease, and that there is a policy at all, whose findings are the answer. */
export function authorityGate(question: Question, ask: Authority): No | Extract<Evaluation, { kind: "findings" }> {
  const { lease, evaluation } = ask;
  const { book, request, now } = question;
  if (book.closed) return no("session_closed", "session", "The session is closed.", null, null, "Open a new session.");
  if (now >= book.expiresAt) return no("session_closed", "session", "The session has expired.", null, null, "Open a new session.");
  if (book.runs.get(request.run ?? book.currentRun)?.closed !== false)
    return no("run_closed", "run", "The run is closed.", null, null, "Start a new run.");
  if (!lease.fresh) {
    return no(
      "authority_stale",
      "action",
      "The session could not renew its authority, and without it nothing is allowed.",
      null,
      1000,
      "Try again shortly.",
    );
  }
  if (lease.policy === null) {
    return no(
      "policy_missing",
      "action",
      "No policy is active, and without one nothing is allowed.",
      null,
      null,
      "An operator must activate a policy.",
    );
  }
  if (evaluation?.kind !== "findings") {
    return no(
      "policy_invalid",
      "action",
      "The policy in force cannot be read by this gateway.",
      null,
      null,
      "An operator must activate a valid policy.",
    );
  }
  return evaluation;
}

/** Under which authority a request is decided. */
export interface Authority {
  /** Whether the session's lease still runs, and which policy it names. */
  readonly lease: { readonly fresh: boolean; readonly policy: PolicyRef | null };
  /** `null` where no policy is in force. */
  readonly evaluation: Evaluation | null;
}

/** Asks whether the session can still count this exactly, whatever its policy says. No real session comes near; without the gate a hostile one would. */
export function capacityGate({ book, amountMicroUsd }: Question): No | null {
  if (spentOf(book.total) + amountMicroUsd <= MOST_SPENT) return null;
  const message = `A session counts up to ${formatUsd(MOST_SPENT)} USD, and this would pass it.`;
  return no("session_budget_exceeded", "session", message, null, null, "Open a new session.");
}

/** Asks the policy's lists. */
export function listGate(question: Question, findings: Findings): No | null {
  const { action } = question.request;
  if (findings.deniedBy !== null) {
    return no("action_denied", "action", `The policy denies "${action}".`, "/denied_actions", null, "Do not try this action again; use another one.");
  }
  if (!findings.listed) {
    return no(
      "action_not_allowed",
      "action",
      `"${action}" is not among the allowed actions.`,
      "/allowed_actions",
      null,
      "Use one of the allowed actions.",
    );
  }
  return null;
}

/** Asks whether one more of these may be in progress, and whether one more fits into every window. */
export function useGate(question: Question, findings: Findings): No | null {
  const { book, now } = question;
  for (const { pattern, max } of findings.concurrency) {
    if (pendingOf(book, pattern) >= max) {
      return no(
        "concurrency_exceeded",
        "action",
        `${max} of "${pattern}" may be in progress at once, and as many are.`,
        pointer("concurrency", pattern),
        null,
        "Finish one of them first.",
      );
    }
  }
  // Of several full windows the one that stays full longest says when to come back: sooner would be refused again.
  let longest: No | null = null;
  for (const { pattern, max, windowMs } of findings.rates) {
    const wait = waitMs(hitsOf(book, pattern), max, windowMs, now);
    if (wait === 0) continue;
    const message = `${max} of "${pattern}" are allowed within ${windowMs / 1000} s, and as many were.`;
    const hint = wait === null ? "This action is never allowed under the present limit." : `Try again in ${wait} ms.`;
    const found = no("rate_exceeded", "action", message, pointer("rate_limits", pattern), wait, hint);
    if (wait === null) return found;
    if (longest === null || wait > (longest.reason.retryAfterMs ?? 0)) longest = found;
  }
  return longest;
}

/**
 * Asks every account, from the narrowest to the widest. `spent + amount <= limit` passes; equality passes. A no ends the run or the session only when
 * nothing of its budget is left: as long as something is, the agent may do something smaller.
 */
export function budgetGate(question: Question, findings: Findings): No | null {
  const { book, request, amountMicroUsd } = question;
  for (const limit of limitsFor(book, findings.budgets)) {
    const account = accountOf(book, limit, request.run ?? book.currentRun);
    if (spentOf(account) + amountMicroUsd <= limit.limitMicroUsd) continue;
    const left = formatUsd(freeOf(account, limit.limitMicroUsd));
    const message = `The ${NOUN[limit.scope]} has ${left} USD left of ${formatUsd(limit.limitMicroUsd)}, and this takes ${formatUsd(amountMicroUsd)}.`;
    const gone = left === "0" && limit.scope !== "action";
    const hint = left === "0" ? "Nothing is left; only more budget helps." : `Ask for at most ${left} USD.`;
    return no(BUDGET_REASON[limit.scope], gone ? limit.scope : "action", message, budgetRule(limit), null, hint);
  }
  return null;
}

/** Asks whether a person must answer first, and what became of the approval that the request names. */
export function approvalGate(findings: Findings, presented: PresentedApproval): No | null {
  if (findings.hold === null) return null;
  const { rule } = findings.hold;
  switch (presented) {
    case "none":
      return no("approval_required", "action", "A person must approve this first.", rule, null, "Wait for the approval, then ask again with it.");
    case "expired":
      return no("approval_expired", "action", "The approval has expired.", rule, null, "Ask again without it to open a new one.");
    case "open":
    case "unknown":
      return no(
        "approval_mismatch",
        "action",
        "The approval named is not an approval of this request.",
        rule,
        null,
        "Ask again without it to open a new one.",
      );
  }
}

/** What the session knows of the approval that a request names. */
export type PresentedApproval = "none" | "open" | "expired" | "unknown";

function budgetRule(limit: BudgetLimit): string {
  return limit.scope === "action" ? pointer("budgets/actions", limit.pattern) : `/budgets/${limit.scope}`;
}

const BUDGET_REASON = { action: "action_budget_exceeded", run: "run_budget_exceeded", session: "session_budget_exceeded" } as const;
const NOUN = { action: "action's budget", run: "run's budget", session: "session's budget" } as const;

/** An RFC 6901 pointer to a member of a policy's section. */
const pointer = (section: string, member: string): string => `/${section}/${member.replaceAll("~", "~0").replaceAll("/", "~1")}`;

const no = (code: ReasonCode, stops: Stops, message: string, rule: string | null, retryAfterMs: number | null, hint: string): No => ({
  kind: "no",
  reason: { code, message, rule, retryAfterMs, hint },
  stops,
});
