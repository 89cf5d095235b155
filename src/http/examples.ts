import type * as wire from "../../sdk/src/wire.ts";
import { ASSUMPTIONS } from "../core/policy/simulate.ts";
import { EXAMPLE_DIGEST, EXAMPLE_IDS } from "./fields.ts";

/** Examples that the OpenAPI document shows. A test parses every one of them with the schema beside which it stands. */

const AT = "2026-11-22T19:00:00.000Z";
const LATER = "2026-11-22T19:05:00.000Z";
const HASH = EXAMPLE_DIGEST.slice(8);

const policy: wire.PolicyRef = { name: "support-bots", version: 3, digest: EXAMPLE_DIGEST };
const entry: wire.EntryMark = { id: EXAMPLE_IDS.ent, seq: 12, hash: HASH };
const runBudget: wire.Balance = {
  scope: "run",
  name: EXAMPLE_IDS.run,
  limit_usd: "1",
  posted_usd: "0",
  pending_usd: "0.05",
  remaining_usd: "0.95",
};

export const decision: wire.Decision = {
  id: EXAMPLE_IDS.dec,
  session: EXAMPLE_IDS.ses,
  run: EXAMPLE_IDS.run,
  action: "send_email",
  verdict: "allow",
  decision: true,
  stops: null,
  reason: { code: "permitted", message: "Every check passed.", rule: null, remediation: { retry_after_ms: null, hint: null } },
  reservation: { amount_usd: "0.05", expires_at: LATER },
  budgets: [runBudget],
  rates: [{ name: "send_email", limit: 10, remaining: 9, reset_ms: 60_000 }],
  policy,
  obligations: [],
  advice: [],
  warnings: [],
  approval: null,
  entry,
};

export const decisionNow: wire.DecisionNow = { ...decision, state: "pending", posted_usd: "0", overrun_usd: "0" };

export const approval: wire.Approval = {
  id: EXAMPLE_IDS.apr,
  status: "pending",
  decision_id: EXAMPLE_IDS.dec,
  session: EXAMPLE_IDS.ses,
  run: EXAMPLE_IDS.run,
  agent: "support-1",
  action: "send_money",
  resource: { type: "account", id: "acct_1" },
  inputs: { to: "acct_1", amount: 30 },
  action_digest: EXAMPLE_DIGEST,
  estimate_usd: "30",
  tags: ["payments"],
  risk_level: "high",
  policy,
  rule: "/approvals/actions",
  reason: { code: "approval_required", message: "A person must approve this first." },
  rationale: "The invoice of order 17 is due.",
  confidence: 0.9,
  sources: [{ source: "crm", version: "7" }],
  parents: [],
  model: null,
  budgets: [runBudget],
  opened_at: AT,
  expires_at: LATER,
  on_expiry: "The action does not run.",
  requester: { kind: "agent", subject: "support-1" },
  quorum: { needed: 1, approved: 0 },
  approvers: [{ subjects: ["ann", "bob"], scopes: [], satisfied: false }],
  four_eyes: false,
  answers: [],
  edits: null,
  seen: [{ subject: "ann", at: AT }],
  answered_at: null,
  waited_ms: null,
  used_by: null,
};

export const approvalLink: wire.ApprovalLink = { url: "https://gate.example/approve#eyJhbGciOiJFZERTQSJ9.…", subject: "ann", expires_at: LATER };

export const approvalSignals: wire.ApprovalSignals = {
  from: AT,
  to: LATER,
  approved: 3,
  rejected: 1,
  approve_ratio: 0.75,
  median_seconds: 41.5,
  people: [{ subject: "ann", answers: 4, approve_ratio: 0.75, median_seconds: 41.5, most_in_an_hour: 3 }],
  pending: 1,
  oldest_pending_at: AT,
};

export const settlement: wire.Settlement = {
  id: EXAMPLE_IDS.dec,
  state: "posted",
  posted_usd: "0.043",
  overrun_usd: "0",
  late: false,
  reservation: null,
  budgets: [{ ...runBudget, posted_usd: "0.043", pending_usd: "0", remaining_usd: "0.957" }],
  entry: { ...entry, seq: 13 },
};

const lease = {
  id: EXAMPLE_IDS.lse,
  session: EXAMPLE_IDS.ses,
  run: EXAMPLE_IDS.run,
  actions: ["search*"],
  amount_usd: "0.50",
  expires_at: LATER,
} as const;

export const grantedLease: wire.GrantedLease = {
  ...lease,
  ttl_ms: 30_000,
  policy,
  token: "eyJhbGciOiJFZERTQSIsInR5cCI6ImxlYXNlK2p3dCJ9.e30.c2lnbmF0dXJl",
  budgets: [{ ...runBudget, pending_usd: "0", leased_usd: "0.50", remaining_usd: "0.5" }],
  entry,
};

export const leaseNow: wire.LeaseNow = { ...lease, posted_usd: "0.12", remaining_usd: "0.38", state: "open" };

export const settledLease: wire.SettledLease = {
  id: EXAMPLE_IDS.lse,
  state: "settled",
  accepted: 1,
  duplicates: 0,
  posted_usd: "0.12",
  overrun_usd: "0",
  returned_usd: "0.38",
  remaining_usd: "0",
  late: false,
  budgets: [{ ...runBudget, posted_usd: "0.12", pending_usd: "0", remaining_usd: "0.88" }],
  entry: { ...entry, seq: 15 },
};

export const leaseReason: wire.LeaseReason = {
  code: "not_leasable",
  message: `The policy's "/rate_limits/search*" counts these actions.`,
  rule: "/rate_limits/search*",
  remediation: { retry_after_ms: null, hint: "Ask for a decision about each of these actions." },
};

export const stopReason: wire.LeaseReason = {
  code: "session_killed",
  message: `The session "${EXAMPLE_IDS.ses}" was killed.`,
  rule: null,
  remediation: { retry_after_ms: null, hint: "A person must revive it first. Do not try to go on another way." },
};

export const ledgerEvent: wire.LedgerEvent = {
  id: "17",
  type: "decision.deny",
  at: AT,
  session: EXAMPLE_IDS.ses,
  run: EXAMPLE_IDS.run,
  agent: "support-1",
  action: "send_email",
  decision: EXAMPLE_IDS.dec,
  verdict: "deny",
  reason: "rate_exceeded",
  rule: "/rate_limits/send_email",
  estimate_usd: "0.05",
  cost_usd: "0",
  overrun_usd: "0",
  outcome: null,
  details: null,
  entry: { ...entry, index: 17 },
};

export const no: wire.No = {
  id: EXAMPLE_IDS.int,
  kind: "kill",
  at: AT,
  target: { type: "agent", id: "support-1" },
  session: null,
  run: null,
  agent: null,
  action: null,
  decision: null,
  reason: null,
  rule: null,
  note: "It mails the wrong people.",
  overrun_usd: "0",
  by: { subject: "ops", kind: "human" },
  entry: { id: EXAMPLE_IDS.ent, seq: 12, index: 40 },
};

export const intervened: wire.Intervened = {
  id: EXAMPLE_IDS.int,
  epoch: 17,
  lifted: null,
  known: true,
  evidence: { acknowledged: [{ session: EXAMPLE_IDS.ses, seq: 13, at: AT, leased_until: null }], unanswered: [], in_force_everywhere_by: AT },
};

export const putIssuer: wire.PutIssuerRequest = {
  issuer: "https://id.example.com",
  jwks_uri: "https://id.example.com/.well-known/jwks.json",
  audience: "agentsentinel/acme",
  claims: { subject: "sub", scopes: "scope", kind: "agent_kind" },
};

export const issuer: wire.Issuer = {
  name: "corporate",
  version: 1,
  issuer: "https://id.example.com",
  jwks_uri: "https://id.example.com/.well-known/jwks.json",
  audience: "agentsentinel/acme",
  claims: { subject: "sub", scopes: "scope", kind: "agent_kind" },
  updated_at: AT,
  updated_by: "ops",
};

export const settings: wire.Settings = {
  cors_origins: ["https://app.example.com"],
  retention_days: 400,
  default_policy: "support-bots",
  throttle: { requests: 600, window_ms: 60_000 },
  approval_links: true,
  client_leases: true,
};

export const openedSession: wire.OpenedSession = { id: EXAMPLE_IDS.ses, agent: "support-1", run: EXAMPLE_IDS.run, policy, expires_at: AT };

export const sessionSummary: wire.SessionSummary = {
  id: EXAMPLE_IDS.ses,
  agent: "support-1",
  labels: { team: "support" },
  state: "active",
  opened_at: AT,
  expires_at: LATER,
};

export const sessionDetail: wire.SessionDetail = {
  ...sessionSummary,
  run: EXAMPLE_IDS.run,
  policy,
  budgets: [
    { scope: "session", name: EXAMPLE_IDS.ses, limit_usd: "5", posted_usd: "0.043", pending_usd: "0", leased_usd: "0", remaining_usd: "4.957" },
  ],
  totals: { posted_usd: "0.043", pending_usd: "0", prevented_usd: "0", overrun_usd: "0", decisions: { allow: 1, deny: 0, hold: 0 } },
};

export const policyPut: wire.PolicyPut = { ...policy, active: true, warnings: [] };

export const policySummary: wire.PolicySummary = {
  name: "support-bots",
  scope: "tenant",
  target: null,
  active_version: 3,
  latest_version: 3,
  digest: EXAMPLE_DIGEST,
  updated_at: AT,
};

export const policyVersion: wire.PolicyVersion = { ...policy, active: true, created_at: AT, created_by: "ada" };

export const policyDocument = { version: 1, budgets: { session: 5, run: 1 }, denied_actions: ["delete_database"] } as const;

export const policyText = `version: 1
budgets:
  session: 5.0
  run: 1.0
denied_actions: [delete_database]
`;

export const policyDetail: wire.PolicyDetail = { ...policyVersion, scope: "tenant", target: null, document: policyDocument };

export const effectivePolicy: wire.EffectivePolicy = { policy, document: policyDocument, conflicts: [] };

export const putEntity: wire.PutEntityRequest = { properties: { department: "support", cleared_for: ["crm"] } };

export const entity: wire.Entity = { type: "agent", id: "support-1", properties: putEntity.properties, updated_at: AT, updated_by: "ada" };

export const ingestEntry: wire.IngestEntry = {
  id: "4b7f0f0e-6a3f-4a52-9f0c-5e6c1b6a7d10",
  timestamp: "2026-11-22T19:00:00.123456Z",
  action: "search_tool",
  cost_usd: 0.01,
  duration_ms: 142.5,
  outcome: "success",
  tags: ["search"],
  payload: { inputs: { query: "weather" }, outputs: { count: 3 } },
  run_id: "nightly",
};

export const ledgerEntry: wire.LedgerEntry = {
  id: EXAMPLE_IDS.ent,
  kind: "commit",
  timestamp: AT,
  tenant_id: "demo",
  session_id: EXAMPLE_IDS.ses,
  agent_id: "support-1",
  run_id: EXAMPLE_IDS.run,
  seq: 13,
  prev_hash: HASH,
  action: "send_email",
  resource: null,
  tags: ["email"],
  risk_level: null,
  decision_id: EXAMPLE_IDS.dec,
  step: null,
  verdict: null,
  reason: null,
  rule: null,
  warnings: [],
  policy,
  estimate_usd: "0.05",
  cost_usd: "0.043",
  corrected_usd: "0",
  overrun_usd: "0",
  late: false,
  outcome: "success",
  error: null,
  duration_ms: 412,
  usage: null,
  reservation: null,
  accounts: [],
  alerts: [],
  rates: [],
  approval: null,
  rationale: null,
  confidence: null,
  sources: [],
  parents: [],
  model: null,
  price: null,
  inputs_digest: null,
  outputs_digest: null,
  redacted: 0,
  payload_digest: null,
  principal: { token_id: EXAMPLE_IDS.tok, subject: "support-1", kind: "agent" },
  compliance_metadata: null,
  details: null,
  engine_version: "1",
  hash: HASH,
  index: 40,
  payload: null,
};

export const tokenSummary: wire.TokenSummary = {
  id: EXAMPLE_IDS.tok,
  subject: "support-1",
  kind: "agent",
  scopes: ["sessions:write", "decisions:write"],
  issued_at: AT,
  expires_at: LATER,
  revoked_at: null,
  approval: null,
};

export const issuedToken: wire.IssuedToken = { id: EXAMPLE_IDS.tok, token: "eyJhbGciOiJFZERTQSJ9.…", expires_at: LATER };

const noSum: wire.SimulationSum = { count: 0, money_usd: "0", entries: [] };
const oneDenied: wire.SimulationChanges = {
  newly_denied: { count: 1, money_usd: "0.043", entries: [EXAMPLE_IDS.ent] },
  newly_allowed: noSum,
  newly_held: noSum,
  no_longer_held: noSum,
};

export const simulate: wire.SimulateRequest = { policy: { version: 1, denied_actions: ["send_email"] }, from: AT };

export const simulation: wire.Simulation = {
  policy: { digest: EXAMPLE_DIGEST, replaces: null, warnings: [] },
  window: { from: AT, to: null, read_from: AT },
  entries: 12,
  sessions: 1,
  decisions: 5,
  same: 3,
  same_for_another_reason: 0,
  changed: oneDenied,
  prevented_usd: "0.043",
  by_rule: [{ rule: "/denied_actions", reason: "action_denied", changed: oneDenied, prevented_usd: "0.043" }],
  not_comparable: [{ reason: "session_closed", count: 1, entries: [EXAMPLE_IDS.ent] }],
  uncertain: noSum,
  after_first_change: 2,
  cut_sessions: [],
  assumptions: [...ASSUMPTIONS],
  truncated: false,
  next: null,
};
