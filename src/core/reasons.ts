/**
 * Why a decision came out as it did: one closed list, in order of precedence. If several hold, the first listed is the answer.
 * The order is that of the documentation and of the tests; `SENTENCES` fails the build until a new reason has its own.
 */
export const REASONS = [
  "session_closed",
  "run_closed",
  "tenant_killed",
  "agent_killed",
  "session_killed",
  "run_killed",
  "action_killed",
  "tenant_paused",
  "agent_paused",
  "session_paused",
  "run_paused",
  "action_paused",
  "authority_stale",
  "policy_missing",
  "policy_invalid",
  "action_denied",
  "action_not_allowed",
  "rule_forbids",
  "inputs_required",
  "arguments_invalid",
  "prerequisite_missing",
  "history_forbids",
  "loop_detected",
  "retries_exceeded",
  "concurrency_exceeded",
  "rate_exceeded",
  "price_unknown",
  "action_budget_exceeded",
  "run_budget_exceeded",
  "session_budget_exceeded",
  "agent_budget_exceeded",
  "tenant_budget_exceeded",
  "approval_rejected",
  "approval_expired",
  "approval_mismatch",
  "approval_consumed",
  "batch_refused",
  "approval_required",
  "permitted",
] as const;

export type ReasonCode = (typeof REASONS)[number];

/**
 * Why a client lease is not granted: for what would deny or hold a decision, because the policy must see each action by itself, or because who repeats its
 * question would be given what was used. The last two are never the reason of a decision, and so they stand in no place of the order.
 */
export const LEASE_REASONS = [...REASONS, "not_leasable", "lease_used"] as const;

export type LeaseReasonCode = (typeof LEASE_REASONS)[number];

/** What each reason means, in one sentence; the OpenAPI document and the documentation quote it. */
export const SENTENCES: { readonly [R in ReasonCode]: string } = {
  session_closed: "The session is closed or has expired.",
  run_closed: "The run is closed.",
  tenant_killed: "Everything of this tenant was killed.",
  agent_killed: "The agent was killed.",
  session_killed: "The session was killed.",
  run_killed: "The run was killed.",
  action_killed: "The action was killed by name.",
  tenant_paused: "Everything of this tenant is paused.",
  agent_paused: "The agent is paused.",
  session_paused: "The session is paused.",
  run_paused: "The run is paused.",
  action_paused: "The action is paused by name.",
  authority_stale: "The session's lease has ended and could not be renewed.",
  policy_missing: "No policy is active, and without one nothing is allowed.",
  policy_invalid: "The policy in force cannot be read by this gateway.",
  action_denied: "The policy denies the action by name.",
  action_not_allowed: "The policy allows a list of actions and this is not one of them.",
  rule_forbids: "A rule of the policy forbids it.",
  inputs_required: "A rule needs the inputs themselves and they were not sent.",
  arguments_invalid: "The inputs do not fit the action's schema.",
  prerequisite_missing: "An action that must come first has not.",
  history_forbids: "What happened before in this session forbids it.",
  loop_detected: "The same call was made too often.",
  retries_exceeded: "The action failed too often.",
  concurrency_exceeded: "Too many of these actions are in progress.",
  rate_exceeded: "Too many of these actions were allowed within the window.",
  price_unknown: "The price of the model is not known.",
  action_budget_exceeded: "The action's budget does not cover the estimate.",
  run_budget_exceeded: "The run's budget does not cover the estimate.",
  session_budget_exceeded: "The session's budget does not cover the estimate.",
  agent_budget_exceeded: "The agent's budget does not cover the estimate.",
  tenant_budget_exceeded: "The tenant's budget does not cover the estimate.",
  approval_rejected: "A person rejected it.",
  approval_expired: "The approval expired before it was used.",
  approval_mismatch: "The approval is not for this request.",
  approval_consumed: "The approval was used before.",
  batch_refused: "Another decision of the same all-or-nothing batch was not allowed.",
  approval_required: "A person must approve it first.",
  permitted: "Every check passed.",
};
