import type { ActionRequest } from "../request.ts";
import type { CompiledPolicy, PolicyLimits } from "./compile.ts";
import type { Findings, PolicyRef } from "./findings.ts";

/** What of a request a policy looks at. */
export type Asked = Pick<ActionRequest, "action" | "tags" | "riskLevel" | "estimateMicroUsd">;

/**
 * What the policy says of a request before any state is looked at. Total: every request has findings, and the same request the same ones.
 * Limits come from the narrowest to the widest: an exact name, globs by how many letters of their own they have, then run and session.
 */
export function evaluatePolicy(compiled: CompiledPolicy, ref: PolicyRef, request: Asked): Findings {
  const { deniedBy, listed, concurrency, rates, budgets, needsApproval } = compiled.ofAction(request.action);
  const rule = holdingRule(compiled, needsApproval, request);
  return {
    policy: ref,
    strict: compiled.strict,
    deniedBy,
    listed,
    concurrency,
    rates,
    budgets,
    hold: rule === null ? null : { rule, timeoutMs: compiled.holds.timeoutMs },
    onExpiry: compiled.onExpiry,
    compliance: compiled.compliance,
  };
}

/** The limits on money that hold for a session whatever the action. */
export const limitsOf = (compiled: CompiledPolicy): PolicyLimits => compiled.limits;

/**
 * The first member of `approvals` that asks for a person.
 * An estimate is held when it is strictly above `threshold_usd`: the language's law is that equality passes a limit, its own example of a hold on
 * an estimate is `estimate_usd > 0.5`, and a threshold of 0 then means every action that costs anything, which nothing else could say.
 */
function holdingRule({ holds }: CompiledPolicy, needsApproval: boolean, request: Asked): string | null {
  if (needsApproval) return "/approvals/actions";
  if (request.tags.some((tag) => holds.tags.has(tag))) return "/approvals/tags";
  if (request.riskLevel !== null && holds.riskLevels.has(request.riskLevel)) return "/approvals/risk_levels";
  if (holds.thresholdMicroUsd !== null && request.estimateMicroUsd > holds.thresholdMicroUsd) return "/approvals/threshold_usd";
  return null;
}
