import type { MicroUsd } from "../money.ts";
import type { RiskLevel } from "../request.ts";
import { allowlistsOf, millisecondsOf, type PolicyDocument, storedUsd } from "./document.ts";
import type { BudgetLimit, ConcurrencyLimit, RateLimit } from "./findings.ts";
import { byNarrowness, indexOf, PatternIndex } from "./patterns.ts";

/** A policy ready to be asked. What it says of an action's name alone is found once and remembered for the next request. */
export interface CompiledPolicy {
  readonly strict: boolean;
  readonly onExpiry: "post" | "release";
  readonly compliance: { readonly [key: string]: string } | null;
  readonly limits: PolicyLimits;
  readonly holds: {
    readonly tags: ReadonlySet<string>;
    readonly riskLevels: ReadonlySet<RiskLevel>;
    readonly thresholdMicroUsd: MicroUsd | null;
    readonly timeoutMs: number;
  };
  /** What the policy says of an action by its name, in the order in which it is checked. */
  readonly ofAction: (action: string) => ActionFindings;
}

/** The limits on money that a session has before any action is named, for the view of its balances. `null`: there is none. */
export interface PolicyLimits {
  readonly sessionMicroUsd: MicroUsd | null;
  readonly runMicroUsd: MicroUsd | null;
  /** The narrowest first. */
  readonly actions: readonly { readonly pattern: string; readonly limitMicroUsd: MicroUsd }[];
}

export interface ActionFindings {
  readonly deniedBy: string | null;
  readonly listed: boolean;
  readonly concurrency: readonly ConcurrencyLimit[];
  readonly rates: readonly RateLimit[];
  readonly budgets: readonly BudgetLimit[];
  readonly needsApproval: boolean;
}

/** Callers choose the names of actions: what is remembered of them is bounded. */
const MOST_REMEMBERED = 1000;

/** Compiles a policy that was parsed or read before; there is nothing left to fail. */
export function compilePolicy(document: PolicyDocument): CompiledPolicy {
  const limits = policyLimits(document);
  const ask = askByName(document, limits);
  const remembered = new Map<string, ActionFindings>();
  return {
    strict: document.strict_mode,
    onExpiry: document.budgets?.on_expiry ?? "post",
    compliance: document.compliance ?? null,
    limits,
    holds: {
      tags: new Set(document.approvals?.tags),
      riskLevels: new Set(document.approvals?.risk_levels),
      thresholdMicroUsd: amountOf(document.approvals?.threshold_usd),
      timeoutMs: millisecondsOf(document.approvals?.timeout_seconds ?? 0),
    },
    ofAction: (action) => {
      const known = remembered.get(action);
      if (known !== undefined) return known;
      const found = ask(action);
      if (remembered.size >= MOST_REMEMBERED) remembered.clear();
      remembered.set(action, found);
      return found;
    },
  };
}

function policyLimits({ budgets }: PolicyDocument): PolicyLimits {
  return {
    sessionMicroUsd: amountOf(budgets?.session),
    runMicroUsd: amountOf(budgets?.run),
    actions: Object.entries(budgets?.actions ?? {})
      .sort(([a], [b]) => byNarrowness(a, b))
      .map(([pattern, amount]) => ({ pattern, limitMicroUsd: storedUsd(amount) })),
  };
}

function askByName(document: PolicyDocument, limits: PolicyLimits): (action: string) => ActionFindings {
  const denied = indexOf(document.denied_actions ?? []);
  const allowed = allowlistsOf(document).map(indexOf);
  const held = indexOf(document.approvals?.actions ?? []);
  const concurrency = new PatternIndex(Object.entries(document.concurrency ?? {}));
  const rates = new PatternIndex(Object.entries(document.rate_limits ?? {}));
  const budgets = new PatternIndex(limits.actions.map(({ pattern, limitMicroUsd }) => [pattern, limitMicroUsd]));
  const widerBudgets: readonly BudgetLimit[] = [
    ...(limits.runMicroUsd === null ? [] : [{ scope: "run" as const, limitMicroUsd: limits.runMicroUsd }]),
    ...(limits.sessionMicroUsd === null ? [] : [{ scope: "session" as const, limitMicroUsd: limits.sessionMicroUsd }]),
  ];
  return (action) => ({
    deniedBy: denied.naming(action)[0]?.pattern ?? null,
    listed: allowed.every((list) => list.naming(action).length > 0),
    concurrency: concurrency.naming(action).map(({ pattern, value }) => ({ pattern, max: value })),
    rates: rates
      .naming(action)
      .flatMap(({ pattern, value }) => value.map((rate) => ({ pattern, max: rate.max_count, windowMs: millisecondsOf(rate.window_seconds) }))),
    budgets: [...budgets.naming(action).map(({ pattern, value }) => ({ scope: "action" as const, pattern, limitMicroUsd: value })), ...widerBudgets],
    needsApproval: held.naming(action).length > 0,
  });
}

const amountOf = (amount: string | undefined): MicroUsd | null => (amount === undefined ? null : storedUsd(amount));
