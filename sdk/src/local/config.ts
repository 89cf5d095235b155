import type { PolicyDocument } from "../../../src/core/policy/document.ts";
import type { PolicyConfig, PolicyConfigInForce } from "./policy_config.ts";

/** A configuration as the policy it stands for. Its values are checked where every policy is: when it is read. */
export function policyOf(config: PolicyConfig): object {
  const { sessionBudget, runBudget, actionBudgets, deniedActions, allowedActions, rateLimits, strictMode = true, ...unknown } = config;
  // A misspelt limit would limit nothing.
  const [first] = Object.keys(unknown);
  if (first !== undefined) throw new TypeError(`Cannot configure ${JSON.stringify(first)}: wanted ${MEMBERS.join(", ")}`);
  const budgets = {
    ...(sessionBudget != null && { session: exact(sessionBudget) }),
    ...(runBudget != null && { run: exact(runBudget) }),
    ...(actionBudgets != null && { actions: mapped(actionBudgets, exact) }),
  };
  return {
    version: 1,
    strict_mode: strictMode,
    ...(Object.keys(budgets).length > 0 && { budgets }),
    ...(deniedActions != null && { denied_actions: deniedActions }),
    ...(allowedActions != null && { allowed_actions: allowedActions }),
    ...(rateLimits != null && {
      rate_limits: mapped(rateLimits, ({ maxCount, windowSeconds }) => ({ max_count: maxCount, window_seconds: windowSeconds })),
    }),
  };
}

const MEMBERS = ["sessionBudget", "runBudget", "actionBudgets", "deniedActions", "allowedActions", "rateLimits", "strictMode"];

/** What of a policy the original's terms can say. */
export function configOf({ budgets, denied_actions, allowed_actions, rate_limits, strict_mode }: PolicyDocument): PolicyConfigInForce {
  return {
    sessionBudget: budgets?.session === undefined ? null : Number(budgets.session),
    runBudget: budgets?.run === undefined ? null : Number(budgets.run),
    actionBudgets: mapped(budgets?.actions ?? {}, Number),
    deniedActions: denied_actions ?? [],
    allowedActions: allowed_actions ?? null,
    rateLimits: mapped(rate_limits ?? {}, (rates) => {
      const [first, ...others] = rates.map(({ max_count, window_seconds }) => ({ maxCount: max_count, windowSeconds: window_seconds }));
      return first !== undefined && others.length === 0 ? first : [...(first === undefined ? [] : [first]), ...others];
    }),
    strictMode: strict_mode,
  };
}

/** An amount that was computed in floating point (0.1 + 0.2) without the noise of that. What has more than six decimals stays, and is refused. */
const exact = (amount: number | string): number | string =>
  typeof amount === "number" && Number.isFinite(amount) ? Number(amount.toPrecision(15)) : amount;

const mapped = <V, W>(record: { readonly [key: string]: V }, change: (value: V) => W): { [key: string]: W } =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
