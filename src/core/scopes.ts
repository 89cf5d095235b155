/** What a token may do. */
export const SCOPES = [
  "sessions:write",
  "decisions:write",
  "ledger:read",
  "ledger:write",
  "policies:read",
  "policies:write",
  "approvals:read",
  "approvals:write",
  "interventions:write",
  "events:read",
  "tokens:write",
  "webhooks:write",
] as const;

export type Scope = (typeof SCOPES)[number];

/** What a token of kind `agent` never holds: an agent does not widen its own authority. */
export const SCOPES_NO_AGENT_HOLDS: readonly Scope[] = ["approvals:write", "interventions:write", "policies:write", "tokens:write", "webhooks:write"];
