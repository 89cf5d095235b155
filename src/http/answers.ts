import * as z from "zod";
import { APPROVAL_STATUSES } from "../core/approvals.ts";
import { BUDGET_WINDOWS } from "../core/calendar.ts";
import { LEASE_REASONS, REASONS, SENTENCES } from "../core/reasons.ts";
import { REFUSALS, type RefusalCode } from "../core/refusals.ts";
import { RISK_LEVELS } from "../core/request.ts";
import { SCOPES } from "../core/scopes.ts";
import { json } from "./fields.ts";
import { ENTRY_KINDS, NO_KINDS } from "./requests.ts";

/**
 * What answers say, for the OpenAPI document and for the tests that hold real answers against it. Nothing is parsed with these at run time:
 * an answer is made from typed values, and the types are those of the wire contract. Members may be added to answers; clients ignore what they do not know.
 */

const usd = z.string().meta({ description: "USD, a decimal string.", examples: ["0.05"] });
const time = z.string().meta({ format: "date-time", examples: ["2026-11-22T19:00:00.000Z"] });
const count = z.int().min(0);
const verdict = z.enum(["allow", "deny", "hold"]);
const decisionState = z.enum(["pending", "posted", "released", "expired", "denied", "held"]);
const sessionState = z.enum(["active", "paused", "killed", "closed", "expired"]);
const budgetScope = z.enum(["action", "run", "session", "wind_down", "agent", "tenant"]);
const budgetWindow = z
  .enum(BUDGET_WINDOWS)
  .meta({ description: "Of an agent's or a tenant's budget: the stretch in which it counts, in UTC. `total`: all time." });
const tokenKind = z.enum(["agent", "human", "service"]);
const policyScope = z.enum(["tenant", "agent"]);

export const reasonCode = z.enum(REASONS).meta({
  description: `Why, in order of precedence. ${REASONS.map((reason) => `\`${reason}\`: ${SENTENCES[reason]}`).join(" ")}`,
});

export const policyRef = z.object({
  name: z.string().meta({
    description:
      "Of several policies that hold together, `name@version` of each, joined by `+`: the tenant's by name, then the agent's. No policy's own name has either sign.",
    examples: ["support-bots", "base@3+support-bots@1"],
  }),
  version: z.int().meta({ description: "Of several, the last one's." }),
  digest: z.string().meta({ description: "Of the document that holds; of several, of what they merge to." }),
});
export const issue = z.object({ pointer: z.string(), message: z.string(), line: z.int().exactOptional(), column: z.int().exactOptional() });

const remediation = z.object({ retry_after_ms: count.nullable(), hint: z.string().nullable() });

const leaseReason = z.object({
  code: z.enum(LEASE_REASONS).meta({
    description:
      "The reason that a decision would have; or `not_leasable`: each of these actions must be asked for; or `lease_used`: the lease of this `Idempotency-Key` has ended, or something was spent with it.",
  }),
  message: z.string(),
  rule: z.string().nullable(),
  remediation,
});

export const problem = z.object({
  type: z.string().meta({ format: "uri-reference" }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.string().meta({ enum: [...REFUSALS] }),
  request_id: z.string(),
  issues: z.array(issue).exactOptional(),
  reason: leaseReason.exactOptional().meta({ description: "Of `lease_refused` and `decision_stopped`: why." }),
});

const pageOf = <S extends z.ZodType>(item: S) => z.object({ items: z.array(item), next_cursor: z.string().nullable() });

export const openedSession = z.object({ id: z.string(), agent: z.string(), run: z.string(), policy: policyRef.nullable(), expires_at: time });

export const sessionSummary = z.object({
  id: z.string(),
  agent: z.string(),
  labels: z.record(z.string(), z.string()),
  state: sessionState,
  opened_at: time,
  expires_at: time,
});
export const sessionPage = pageOf(sessionSummary);

export const sessionDetail = sessionSummary.extend({
  run: z.string(),
  policy: policyRef.nullable(),
  budgets: z.array(
    z.object({
      scope: budgetScope,
      name: z.string(),
      window: budgetWindow.exactOptional(),
      limit_usd: usd.nullable(),
      posted_usd: usd,
      pending_usd: usd,
      leased_usd: usd.meta({ description: "Of an agent's or a tenant's budget: given to sessions and not spent." }),
      remaining_usd: usd.nullable(),
      resets_at: time.exactOptional(),
    }),
  ),
  totals: z.object({
    posted_usd: usd,
    pending_usd: usd,
    prevented_usd: usd,
    overrun_usd: usd,
    decisions: z.object({ allow: count, deny: count, hold: count }),
  }),
});

export const openedRun = z.object({ id: z.string() });

const reason = z.object({
  code: reasonCode,
  message: z.string(),
  rule: z.string().nullable(),
  remediation,
});
const reservation = z.object({ amount_usd: usd, expires_at: time });
const balance = z.object({
  scope: budgetScope,
  name: z.string(),
  window: budgetWindow.exactOptional(),
  limit_usd: usd.nullable(),
  posted_usd: usd,
  pending_usd: usd,
  leased_usd: usd.exactOptional().meta({
    description:
      "What client leases hold of it, where they do. Of an agent's or a tenant's budget: what other sessions hold of it and have not spent, as the tenant last said.",
  }),
  remaining_usd: usd.nullable(),
  resets_at: time.exactOptional(),
});
const entryMark = z.object({ id: z.string(), seq: z.int(), hash: z.string() });

const approvalStatus = z.enum(APPROVAL_STATUSES);
const resource = z.object({ type: z.string(), id: z.string() });

const superseded = z.object({ intervention: z.string(), kind: z.enum(["kill", "pause"]) });

export const decision = z.object({
  id: z.string(),
  session: z.string(),
  run: z.string(),
  action: z.string(),
  verdict,
  decision: z.boolean().meta({ description: "`true` exactly when the verdict is `allow`." }),
  stops: z.enum(["action", "run", "session"]).nullable().meta({ description: "How far a denial reaches." }),
  reason,
  reservation: reservation.nullable(),
  budgets: z.array(balance),
  rates: z.array(z.object({ name: z.string(), limit: z.int(), remaining: z.int(), reset_ms: count })),
  policy: policyRef.nullable(),
  obligations: z.array(json),
  advice: z.array(json),
  warnings: z.array(reason),
  approval: z
    .object({
      id: z.string(),
      url: z.string().meta({ format: "uri" }),
      expires_at: time,
      status: approvalStatus.exactOptional().meta({ description: "Of a decision that is read later." }),
    })
    .nullable(),
  superseded: superseded
    .exactOptional()
    .meta({ description: "The answer is an earlier one, and a kill or a pause has come into force since: the action must not be run." }),
  entry: entryMark,
});
export const decisionBatch = z.object({ decisions: z.array(decision) });
export const decisionNow = decision.extend({ state: decisionState, posted_usd: usd, overrun_usd: usd });

export const approval = z.object({
  id: z.string(),
  status: approvalStatus,
  decision_id: z.string(),
  session: z.string(),
  run: z.string(),
  agent: z.string(),
  action: z.string(),
  resource: resource.nullable(),
  inputs: json.meta({ description: "Redacted. `null`: none were sent, or it is over and the policy keeps none." }),
  action_digest: z.string().meta({
    description:
      "Names exactly what is asked for, as it was sent: agent, session, run, action, resource, inputs, estimate, tags, risk level, confidence, model and sources. Whoever answers says it again.",
  }),
  estimate_usd: usd,
  tags: z.array(z.string()),
  risk_level: z.enum(["low", "medium", "high", "critical"]).nullable(),
  policy: policyRef,
  rule: z.string().nullable(),
  reason: z.object({ code: reasonCode, message: z.string() }),
  rationale: z.string().nullable(),
  confidence: z.number().nullable(),
  sources: z.array(z.object({ source: z.string(), version: z.string().optional() })),
  parents: z.array(z.string()),
  model: z.object({ provider: z.string().optional(), name: z.string(), version: z.string().optional() }).nullable(),
  budgets: z.array(balance),
  opened_at: time,
  expires_at: time.meta({ description: "So long it waits for an answer; once approved, so long it may be used." }),
  on_expiry: z.string(),
  requester: z.object({ kind: z.enum(["agent", "human", "service"]), subject: z.string() }),
  quorum: z.object({ needed: z.int(), approved: z.int() }),
  approvers: z.array(z.object({ subjects: z.array(z.string()), scopes: z.array(z.string()), satisfied: z.boolean() })),
  four_eyes: z.boolean(),
  answers: z.array(
    z.object({
      subject: z.string(),
      decision: z.enum(["approve", "reject", "request_info", "respond", "cancel"]),
      note: z.string().nullable(),
      at: time,
    }),
  ),
  edits: z
    .object({ inputs: json.optional(), resource: resource.optional(), estimate_usd: z.union([z.string(), z.number()]).optional() })
    .nullable()
    .meta({ description: "What people made of the request: to use the approval, the agent asks for exactly that." }),
  seen: z.array(z.object({ subject: z.string(), at: time })),
  answered_at: time.nullable(),
  waited_ms: count.nullable(),
  used_by: z.string().nullable(),
});
export const approvalPage = pageOf(approval).extend({
  counts: z.object({ pending: count, info_requested: count, approved: count, rejected: count, expired: count, cancelled: count, consumed: count }),
});
export const approvalBatch = z.object({
  items: z.array(
    z.union([
      z.object({ id: z.string(), approval }),
      z.object({ id: z.string(), problem: z.object({ status: z.int(), code: z.string(), detail: z.string() }) }),
    ]),
  ),
});
export const approvalSignals = z.object({
  from: time,
  to: time,
  approved: count,
  rejected: count,
  approve_ratio: z.number().nullable(),
  median_seconds: z.number().nullable(),
  people: z.array(z.object({ subject: z.string(), answers: count, approve_ratio: z.number(), median_seconds: z.number(), most_in_an_hour: count })),
  pending: count,
  oldest_pending_at: time.nullable(),
});

export const settlement = z.object({
  id: z.string(),
  state: decisionState,
  posted_usd: usd,
  overrun_usd: usd,
  late: z.boolean().meta({ description: "`true`: told after the reservation had been released or had expired." }),
  reservation: reservation.nullable(),
  budgets: z.array(balance),
  entry: entryMark,
});

export const extension = settlement.extend({
  superseded: superseded
    .exactOptional()
    .meta({ description: "A pause has come into force since the action was allowed: what runs may finish, and what does not must not be started." }),
});

const lease = {
  id: z.string(),
  session: z.string(),
  run: z.string(),
  actions: z.array(z.string()),
  amount_usd: usd,
  expires_at: time,
};

export const grantedLease = z.object({
  ...lease,
  ttl_ms: count,
  policy: policyRef,
  token: z.string().meta({
    description:
      "The lease as a JWT of type `lease+jwt`, signed with a key of `/.well-known/jwks.json`: `iss`, `aud` (`agentsentinel:lease`), `sub` (the agent), `tid`, `jti` (its id), `ses`, `run`, `act` (the actions), `amt` (USD), `pol` (the policy's digest), `iat`, `exp`. It is no access token.",
  }),
  budgets: z.array(balance),
  entry: entryMark,
});

const leaseState = z.enum(["open", "settled", "expired"]);

export const leaseNow = z.object({
  ...lease,
  posted_usd: usd.meta({
    description:
      "What its settled entries cost, overruns included; of one that expired also what is posted for it until somebody tells what was spent.",
  }),
  remaining_usd: usd.meta({ description: "Still leased." }),
  state: leaseState,
});

export const settledLease = z.object({
  id: z.string(),
  state: leaseState,
  accepted: count.meta({ description: "Of the entries told: on record now." }),
  duplicates: count.meta({ description: "Of the entries told: on record since earlier." }),
  posted_usd: usd.meta({ description: "What all its entries cost, in this settlement and before." }),
  overrun_usd: usd.meta({ description: "The part of it that the lease did not cover." }),
  returned_usd: usd.meta({ description: "What went back to the budgets." }),
  remaining_usd: usd,
  late: z.boolean().meta({ description: "Told after the lease had ended." }),
  budgets: z.array(balance),
  entry: entryMark,
});

export const policyPut = z.object({ name: z.string(), version: z.int(), digest: z.string(), active: z.boolean(), warnings: z.array(issue) });
export const policySummary = z.object({
  name: z.string(),
  scope: policyScope,
  target: z.string().nullable(),
  active_version: z.int().nullable(),
  latest_version: z.int(),
  digest: z.string(),
  updated_at: time,
});
export const policyPage = pageOf(policySummary);
export const policyVersion = z.object({
  name: z.string(),
  version: z.int(),
  digest: z.string(),
  active: z.boolean(),
  created_at: time,
  created_by: z.string(),
});
export const policyVersionPage = pageOf(policyVersion);
export const policyDetail = policyVersion.extend({ scope: policyScope, target: z.string().nullable(), document: json });
export const effectivePolicy = z.object({
  policy: policyRef.nullable(),
  document: json,
  conflicts: z.array(z.object({ pointer: z.string(), message: z.string() })),
});
export const policyValidation = z.object({ valid: z.boolean(), issues: z.array(issue), warnings: z.array(issue) });

const simulationSum = z.object({
  count,
  money_usd: usd.meta({ description: "What they cost on record, or their estimates where they did not run." }),
  entries: z.array(z.string()).max(100).meta({ description: "The first hundred of the entries." }),
});
const simulationChanges = z.object({
  newly_denied: simulationSum,
  newly_allowed: simulationSum,
  newly_held: simulationSum,
  no_longer_held: simulationSum.meta({ description: "Held on record, and allowed without a person." }),
});
export const simulation = z.object({
  policy: z.object({ digest: z.string(), replaces: z.string().nullable(), warnings: z.array(issue) }),
  window: z.object({
    from: time.nullable(),
    to: time.nullable(),
    read_from: time.nullable().meta({ description: "How far back sessions were read for their state." }),
  }),
  entries: count.meta({ description: "Entries read." }),
  sessions: count,
  decisions: count.meta({ description: "The `same`, the changed, the not comparable and the uncertain ones together." }),
  same: count,
  same_for_another_reason: count.meta({ description: "Of `same`: denied or held as before, but by another rule." }),
  changed: simulationChanges,
  prevented_usd: usd.meta({ description: "What newly denied actions cost on record." }),
  by_rule: z.array(z.object({ rule: z.string().nullable(), reason: reasonCode, changed: simulationChanges, prevented_usd: usd })).meta({
    description: "By the rule that makes the difference: the candidate's that now denies or holds, or the recorded one that no longer does.",
  }),
  not_comparable: z.array(z.object({ reason: z.enum([...REASONS, "never_begun"]), count, entries: z.array(z.string()).max(100) })).meta({
    description:
      "Kept as recorded, because no policy decides it; `never_begun`: more money for an action that the candidate had not allowed, or had let run without waiting for its approval.",
  }),
  uncertain: simulationSum.meta({
    description:
      "Differs by what the record does not have: inputs or outputs that a rule looked at and that were redacted, kept as a digest, or erased; or whether those whom the candidate asks to approve are among those who did.",
  }),
  after_first_change: count.meta({ description: "Decided after the first change in their session, on a state that rests on the assumptions." }),
  cut_sessions: z
    .array(z.object({ session: z.string(), through: time }))
    .meta({ description: "Sessions that were too long, or had too much to look up or to evaluate, to be read to their end." }),
  assumptions: z.array(z.string()),
  truncated: z.boolean(),
  next: z.string().nullable().meta({ description: "Where to go on: send it as `cursor` with the same question. The figures of the parts add up." }),
});

const jsonObject = z.record(z.string(), json);

export const entity = z.object({
  type: z.string(),
  id: z.string(),
  properties: jsonObject,
  updated_at: time,
  updated_by: z.string().meta({ description: "The subject of the token that last changed it." }),
});
export const entityPage = pageOf(entity);

const money = z.object({ posted_usd: usd, pending_usd: usd, leased_usd: usd.exactOptional(), slice_usd: usd.exactOptional() });

export const ledgerEntry = z.object({
  id: z.string(),
  kind: z.enum(ENTRY_KINDS),
  timestamp: time,
  tenant_id: z.string(),
  session_id: z.string().nullable(),
  agent_id: z.string().nullable(),
  run_id: z.string().nullable(),
  seq: z.int(),
  prev_hash: z.string(),
  action: z.string().nullable(),
  resource: z.object({ type: z.string(), id: z.string() }).nullable(),
  tags: z.array(z.string()),
  risk_level: z.enum(RISK_LEVELS).nullable(),
  decision_id: z.string().nullable(),
  step: z.enum(["decide", "topup", "extend"]).nullable(),
  verdict: verdict.nullable(),
  reason: reasonCode.nullable(),
  rule: z.string().nullable(),
  warnings: z.array(z.object({ code: reasonCode, rule: z.string().nullable() })),
  policy: policyRef.nullable(),
  estimate_usd: usd.nullable(),
  cost_usd: usd,
  corrected_usd: usd,
  overrun_usd: usd,
  late: z.boolean(),
  outcome: z.enum(["success", "error"]).nullable(),
  error: z.string().nullable(),
  duration_ms: z.number().nullable(),
  usage: jsonObject.nullable(),
  reservation: reservation.nullable(),
  accounts: z.array(
    z.object({ scope: budgetScope, name: z.string(), window: z.string().exactOptional(), limit_usd: usd.nullable(), before: money, after: money }),
  ),
  alerts: z.array(z.object({ scope: budgetScope, name: z.string(), limit_usd: usd, spent_usd: usd, threshold: z.number() })),
  rates: z.array(
    z.object({ name: z.string(), per: z.enum(["session", "run", "agent", "tenant"]), limit: z.int(), remaining: z.int(), window_ms: z.int() }),
  ),
  approval: z.object({ id: z.string(), expires_at: time }).nullable(),
  rationale: z.string().nullable(),
  confidence: z.number().nullable(),
  sources: z.array(z.object({ source: z.string(), version: z.string().optional() })),
  parents: z.array(z.string()),
  model: z.object({ provider: z.string().optional(), name: z.string(), version: z.string().optional() }).nullable(),
  price: z.object({ basis: z.enum(["stated", "computed", "default", "unpriced", "none"]), data: z.string(), known: z.boolean() }).nullable(),
  inputs_digest: z.string().nullable(),
  outputs_digest: z.string().nullable(),
  redacted: z.int(),
  payload_digest: z.string().nullable(),
  principal: z.object({ token_id: z.string(), subject: z.string(), kind: tokenKind }).nullable(),
  compliance_metadata: z.record(z.string(), z.string()).nullable(),
  details: jsonObject.nullable(),
  engine_version: z.string(),
  hash: z.string().meta({ description: "SHA-256 of the RFC 8785 form of all members but `hash`, `index` and `payload`." }),
  index: z.int(),
  payload: z.object({ salt: z.string(), inputs: json.exactOptional(), outputs: json.exactOptional() }).nullable(),
});
export const ledgerPage = pageOf(ledgerEntry);

const netUsd = usd.meta({
  description:
    "USD, a decimal string. With a minus sign where more was taken back in that time than was posted in it: a late report or a release corrects what had been posted for an expired reservation.",
});
const reportedUsd = usd.meta({ description: "What was reported beside that, and is in no account and in none of the other sums." });

export const costReport = z.object({
  items: z.array(
    z.object({
      key: z.string().nullable().meta({ description: "null: what names no agent, run, session or action. So the items together are the total." }),
      posted_usd: netUsd,
      count,
      reported_usd: reportedUsd,
    }),
  ),
  total_usd: netUsd,
  reported_usd: reportedUsd,
});

/** Why one entry of several was not taken. */
const INGEST_REFUSALS = [
  "body_malformed",
  "not_your_session",
  "idempotency_mismatch",
  "body_too_large",
  "body_invalid",
] as const satisfies readonly RefusalCode[];

export const ingested = z.object({
  accepted: count.meta({ description: "On record now." }),
  duplicates: count.meta({ description: "On record since earlier." }),
  rejected: z
    .array(z.object({ index: count, code: z.string().meta({ enum: INGEST_REFUSALS }), message: z.string() }))
    .meta({ description: "By their places in what was sent. None of these is on record." }),
});

export const ledgerEvent = z.object({
  id: z.string().meta({ description: "Names the event for resuming after it." }),
  type: z.string(),
  at: time,
  session: z.string().nullable(),
  run: z.string().nullable(),
  agent: z.string().nullable(),
  action: z.string().nullable(),
  decision: z.string().nullable(),
  verdict: verdict.nullable(),
  reason: reasonCode.nullable(),
  rule: z.string().nullable(),
  estimate_usd: usd.nullable(),
  cost_usd: usd,
  overrun_usd: usd,
  outcome: z.enum(["success", "error"]).nullable(),
  details: z.record(z.string(), json).nullable(),
  entry: z.object({ id: z.string(), seq: z.int(), hash: z.string(), index: z.int() }),
});

export const intervened = z.object({
  id: z.string(),
  epoch: z.int().meta({ description: "Leases of this epoch and later carry it." }),
  lifted: z.int().min(0).nullable().meta({
    description:
      "How many kills a revive, or pauses a resume, took out of force: 0 where none of exactly that target stood. null: of a kill or a pause.",
  }),
  known: z.boolean().nullable().meta({
    description:
      "Whether the target was ever seen here: an agent that opened a session, or has an entity or a policy of its own; a run that a session acknowledged. false: most likely it is mistyped. null: that cannot be told, as of an action, or of a run that no session spoke for.",
  }),
  evidence: z.object({
    acknowledged: z
      .array(
        z.object({
          session: z.string(),
          seq: z.int(),
          at: time,
          leased_until: time
            .nullable()
            .meta({ description: "Until then whoever holds a client lease that this stops may go on with it. null: nobody does." }),
        }),
      )
      .meta({ description: "Sessions that obey since their entry `seq`; 0: it was being opened, and opens with it." }),
    unanswered: z.array(z.string()).meta({ description: "Sessions that did not answer in time." }),
    in_force_everywhere_by: time,
  }),
});

export const no = z.object({
  id: z.string(),
  kind: z.enum(NO_KINDS),
  at: time,
  target: z
    .object({ type: z.string(), id: z.string() })
    .nullable()
    .meta({ description: "Whom or what a person's intervention was about; the approval, or the client lease, that was not given." }),
  session: z.string().nullable(),
  run: z.string().nullable(),
  agent: z.string().nullable(),
  action: z.string().nullable(),
  decision: z.string().nullable(),
  reason: reasonCode.nullable(),
  rule: z.string().nullable(),
  note: z.string().nullable().meta({ description: "Why somebody did it, in their words." }),
  overrun_usd: usd,
  by: z.object({ subject: z.string(), kind: tokenKind }).nullable(),
  entry: z.object({ id: z.string(), seq: z.int(), index: z.int() }),
});
export const noPage = pageOf(no);

export const approvalLink = z.object({
  url: z.string().meta({ description: "Shown once. What stands behind `#` is never sent to a server." }),
  subject: z.string(),
  expires_at: time,
});

export const createdTenant = z.object({ id: z.string() });
export const issuedToken = z.object({ id: z.string(), token: z.string().meta({ description: "Shown once." }), expires_at: time });
export const tokenSummary = z.object({
  id: z.string(),
  subject: z.string(),
  kind: tokenKind,
  scopes: z.array(z.enum(SCOPES)),
  issued_at: time,
  expires_at: time,
  revoked_at: time.nullable(),
  approval: z.string().nullable().meta({ description: "Of a link: the approval that it is for." }),
});
export const tokenPage = pageOf(tokenSummary);

export const issuer = z.object({
  name: z.string(),
  version: z.int(),
  issuer: z.string(),
  jwks_uri: z.string().exactOptional(),
  jwks: json.exactOptional(),
  audience: z.string(),
  claims: z.object({ subject: z.string(), scopes: z.string(), kind: z.string() }),
  updated_at: time,
  updated_by: z.string(),
});
export const issuerPage = pageOf(issuer);

export const settings = z.object({
  cors_origins: z.array(z.string()),
  retention_days: z.int(),
  default_policy: z.string().nullable(),
  throttle: z.object({ requests: z.int(), window_ms: z.int() }).nullable(),
  approval_links: z.boolean(),
  client_leases: z.boolean(),
});

export const protectedResource = z.object({
  resource: z.string(),
  resource_name: z.string(),
  resource_documentation: z.string(),
  scopes_supported: z.array(z.enum(SCOPES)),
  bearer_methods_supported: z.array(z.literal("header")),
});

export const health = z.object({ status: z.literal("ok") });
export const keySet = z.object({ keys: z.array(json) });
export const landing = z.object({ name: z.string(), docs: z.string(), openapi: z.string(), health: z.string() });
