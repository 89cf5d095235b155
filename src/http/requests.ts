import * as z from "zod";
import type { BatchSemantics, RiskLevel, SimulateRequest } from "../../sdk/src/wire.ts";
import { APPROVAL_STATUSES } from "../core/approvals.ts";
import { LEASE_TTL_MS } from "../core/client_lease.ts";
import { INTERVENTION_KINDS, TARGETS } from "../core/orders.ts";
import { ACTION_NAME, RISK_LEVELS } from "../core/request.ts";
import { SCOPES } from "../core/scopes.ts";
import type { NoKind } from "../flow/ports.ts";
import { LONGEST_SESSION_MS } from "../flow/simulate.ts";
import { attributes, DAY_MS, digest, HOUR_MS, id, instant, json, labels, oneLine, patterned, SECOND_MS, usage, usd, whole } from "./fields.ts";
import { found } from "./issues.ts";
import { ingestEntry } from "./lines.ts";

/** What requests may say. These schemas parse every body and query, and the OpenAPI document is made from them. */

const KIND = ["agent", "human", "service"] as const;
const SEMANTICS = ["independent", "all_or_nothing", "stop_on_deny"] as const satisfies readonly BatchSemantics[];

const actionName = patterned(ACTION_NAME, "1 to 128 letters, digits or _ - . : /", 128);
const tenantId = patterned(/^[a-z0-9-]{1,63}$/, "1 to 63 of a-z, 0-9 and -", 63);
const subject = oneLine(255);

export const nothing = z.strictObject({});

export const openSession = z.strictObject({
  agent: subject.optional().meta({ description: "Whose session it is. Defaults to the token's subject." }),
  labels: labels.optional(),
  budget_usd: usd.optional().meta({ description: "Can only tighten the policy: the smaller counts." }),
  ttl_ms: whole(SECOND_MS, LONGEST_SESSION_MS).optional().meta({ description: "1 second to 30 days.", default: DAY_MS }),
});

const tokens = whole(0, 1_000_000_000);

export const expectedUsage = z.strictObject({
  input_tokens: tokens.optional().meta({ description: "Cached ones included." }),
  output_tokens: tokens.optional(),
  cache_read_tokens: tokens.optional(),
  cache_write_tokens: tokens.optional(),
});

/** What may be said of an action, whoever decides it. */
const ofAction = {
  resource: z.strictObject({ type: oneLine(128), id: oneLine(512) }).optional(),
  tags: z.array(oneLine(128)).max(64).optional(),
  risk_level: z.enum(RISK_LEVELS satisfies readonly RiskLevel[]).optional(),
  inputs: json.optional().meta({ description: "What the action is called with. Any JSON, within the limit of the body." }),
  inputs_digest: digest.optional().meta({ description: "SHA-256 of the inputs' RFC 8785 form, instead of the inputs." }),
  rationale: z.string().max(8192).optional().meta({ description: "Why, in the agent's words." }),
  confidence: z.number().min(0).max(1).optional(),
  sources: z
    .array(z.strictObject({ source: oneLine(512), version: oneLine(128).optional() }))
    .max(64)
    .optional(),
  parents: z.array(id("dec")).max(64).optional().meta({ description: "Decisions that led to this one." }),
  model: z.strictObject({ provider: oneLine(128).optional(), name: oneLine(128), version: oneLine(128).optional() }).optional(),
};

/** What may be told of an action that has ended. */
const ofOutcome = {
  outcome: z.enum(["success", "error"]),
  duration_ms: whole(0, 366 * DAY_MS).optional(),
  outputs: json.optional().meta({ description: "What the action returned. Any JSON, within the limit of the body." }),
  error: z.string().max(8192).optional(),
  usage: usage.optional(),
};

const hasOneOfInputs = ({ inputs, inputs_digest }: { readonly inputs?: unknown; readonly inputs_digest?: unknown }): boolean =>
  inputs === undefined || inputs_digest === undefined;
const BOTH_INPUTS = { path: ["inputs_digest"], error: "stands in place of the inputs: send one of them, found both" };

export const decision = z
  .strictObject({
    id: id("dec").optional().meta({ description: "Made by the client before its first try, so that trying again asks the same question." }),
    run: id("run").optional().meta({ description: "Defaults to the session's current run." }),
    action: actionName.meta({ description: "What the agent wants to do.", examples: ["send_email"] }),
    ...ofAction,
    estimate_usd: usd.optional().meta({ description: "What it may cost; this much is reserved. Defaults to 0." }),
    usage: expectedUsage.optional().meta({ description: "What a call to the model is expected to use at most: priced where no estimate is stated." }),
    approval: id("apr").optional().meta({
      description:
        "The approval of an earlier, held request: all but `id`, `parents`, `rationale` and `ttl_ms` must be as it was, or as a person edited it.",
    }),
    ttl_ms: whole(1, DAY_MS).optional().meta({ description: "How long the reservation stands.", default: 300_000 }),
  })
  .refine(hasOneOfInputs, BOTH_INPUTS);

const APPROVAL_TEXT = z.string().min(1).max(8192);

const approvalSaid = {
  decision: z.enum(["approve", "reject", "request_info"]),
  note: APPROVAL_TEXT.optional(),
  action_digest: digest.meta({ description: "The one that was shown." }),
};

const approvalEdits = z
  .strictObject({
    inputs: json.optional(),
    resource: z.strictObject({ type: oneLine(128), id: oneLine(512) }).optional(),
    estimate_usd: usd.optional(),
  })
  .refine((edits) => Object.values(edits).some((edit) => edit !== undefined), { error: "wanted at least one of inputs, resource, estimate_usd" });

export const approvalDecide = z
  .strictObject({
    ...approvalSaid,
    edits: approvalEdits.optional().meta({ description: "What is approved instead of what was asked: the agent must then ask for exactly that." }),
  })
  .refine(({ decision, edits }) => edits === undefined || decision === "approve", {
    path: ["edits"],
    error: "only what is approved can be edited",
  });

export type ApprovalSaid = z.output<typeof approvalDecide>;

export const approvalBatch = z.strictObject({
  answers: z
    .array(z.strictObject({ id: id("apr"), ...approvalSaid }))
    .min(1)
    .max(100),
});

export const approvalRespond = z.strictObject({ response: APPROVAL_TEXT });
export const approvalCancel = z.strictObject({ note: APPROVAL_TEXT.optional() });

const actionOrGlob = patterned(/^[A-Za-z0-9_\-.:/*]{1,128}$/, "an action's name, or a glob of names with *", 128);
const TARGET_IDS = { tenant: tenantId, agent: subject, session: id("ses"), run: id("run"), action: actionOrGlob } as const;

export const intervene = z.strictObject({
  target: z
    .strictObject({ type: z.enum(TARGETS), id: z.string().min(1).max(255) })
    .superRefine(({ type, id: named }, ctx) => {
      const parsed = TARGET_IDS[type].safeParse(named);
      for (const { message } of parsed.error?.issues ?? []) ctx.addIssue({ code: "custom", path: ["id"], message, input: named });
    })
    .meta({ description: "An action is named exactly, or by a glob. A tenant is named by its own id." }),
  kind: z.enum(INTERVENTION_KINDS),
  reason: z.string().min(1).max(2000).meta({
    description: "Why, for the record, which shows it without what the policies hide that are in force for the target.",
  }),
});

export const DECISION_TTL_MS = 300_000;
export const SESSION_TTL_MS = DAY_MS;
export const TOKEN_TTL_MS = DAY_MS;
export const LINK_TTL_MS = HOUR_MS;

export const decisionBatch = z.strictObject({
  decisions: z.array(decision).min(1).max(100),
  semantics: z.enum(SEMANTICS).optional().meta({
    description:
      "`stop_on_deny` answers up to and including the first denial; `all_or_nothing` allows all or none, and where one is denied asks no person about another.",
    default: "independent",
  }),
});

export const commit = z
  .strictObject({
    cost_usd: usd.optional().meta({
      description:
        "What it cost. Always recorded, beyond the reservation too. Left out, it is reckoned from the usage; where nobody knows the price, it is what was reserved.",
    }),
    ...ofOutcome,
  })
  .refine(({ cost_usd, usage: used }) => cost_usd !== undefined || used !== undefined, {
    path: ["cost_usd"],
    error: "is left out only where the usage is told, found neither",
  });

export const release = z.strictObject({ reason: z.string().max(1024).optional() });

export const extend = z.strictObject({ ttl_ms: whole(1, DAY_MS).meta({ description: "How long the reservation stands from now on." }) });

export const topup = z.strictObject({ estimate_usd: usd.meta({ description: "The new sum, not the difference." }) });

export const grantLease = z.strictObject({
  amount_usd: usd
    .refine((amount) => amount > 0, { error: "found 0; wanted an amount above 0" })
    .meta({ description: "Taken at once from every budget that it may be spent from, until it is spent or given back." }),
  actions: z.array(actionOrGlob).min(1).max(20).meta({ description: "Names of actions, or globs of them: nothing else is decided with it." }),
  ttl_ms: whole(LEASE_TTL_MS.least, LEASE_TTL_MS.most)
    .optional()
    .meta({ description: "1 to 60 seconds: for so long a kill may go unheard by whoever holds it.", default: LEASE_TTL_MS.usual }),
  run: id("run").optional().meta({ description: "Defaults to the session's current run." }),
});

const leaseEntry = z
  .strictObject({
    id: id("dec").meta({ description: "Made by whoever decided. However often it is told, it counts once." }),
    action: actionName.meta({ description: "One that the lease is for." }),
    cost_usd: usd.meta({ description: "What it cost. Always recorded, beyond the lease too." }),
    at: instant.optional().meta({ description: "When it was decided, by its decider's clock." }),
    estimate_usd: usd.optional().meta({ description: "What was reserved for it. Defaults to its cost." }),
    ...ofAction,
    ...ofOutcome,
  })
  .refine(hasOneOfInputs, BOTH_INPUTS);

export const settleLease = z.strictObject({
  entries: z.array(leaseEntry).max(100).meta({ description: "What was decided with it and has ended." }),
  final: z.boolean().optional().meta({ description: "Whether nothing more is spent with it: what is left goes back to the budgets.", default: true }),
});

export const activate = z.strictObject({ version: whole(1, 1_000_000_000) });

/** What an entity may be called; both stand in its path. */
export const entityRef = z.strictObject({ type: oneLine(128), id: oneLine(512) });
export const putEntity = z.strictObject({ properties: attributes });

export const createTenant = z.strictObject({
  id: tenantId.meta({ examples: ["demo"] }),
  name: oneLine(255).optional(),
});

export const issueToken = z.strictObject({
  tenant: tenantId.optional().meta({ description: "With the root key: whose token it is. A tenant's own token issues for its own tenant only." }),
  subject,
  kind: z.enum(KIND),
  scopes: z.array(z.enum(SCOPES)).max(SCOPES.length),
  ttl_ms: whole(SECOND_MS, 366 * DAY_MS)
    .optional()
    .meta({ description: "1 second to 366 days.", default: DAY_MS }),
});

export const linkApproval = z.strictObject({
  subject: subject.meta({ description: "Whose link it is: who answers by it answers as this person." }),
  ttl_ms: whole(SECOND_MS, DAY_MS)
    .optional()
    .meta({ description: "1 second to 24 hours, and never longer than the approval waits.", default: LINK_TTL_MS }),
});

// Queries. Numbers and booleans are read from their text before the schema sees them (query.ts).

const page = {
  limit: whole(1, 1000).optional().meta({ description: "At most so many items.", default: 100 }),
  cursor: patterned(/^[\x21-\x7e]{1,1024}$/, "the next_cursor of an earlier page, unchanged", 1024)
    .optional()
    .meta({ description: "The `next_cursor` of the page before." }),
};

export const DEFAULT_LIMIT = 100;

export const noQuery = z.strictObject({});
export const pageQuery = z.strictObject(page);
export const sessionsQuery = z.strictObject({ ...page, agent: subject.optional() });
export const waitQuery = z.strictObject({
  wait_ms: whole(0, 30_000).optional().meta({ description: "Wait so long for a held decision to be answered.", default: 0 }),
});
export const putPolicyQuery = z
  .strictObject({
    activate: z.boolean().optional().meta({ description: "Whether the document comes into force at once.", default: true }),
    scope: z.enum(["tenant", "agent"]).optional().meta({ default: "tenant" }),
    target: subject.optional().meta({ description: "With `scope=agent`: the agent." }),
  })
  .superRefine((query, ctx) => {
    if (query.scope === "agent" && query.target === undefined) {
      ctx.addIssue({ code: "custom", path: ["target"], message: "is missing; wanted the agent that a policy of scope agent is for" });
    }
    if (query.scope !== "agent" && query.target !== undefined) {
      ctx.addIssue({ code: "custom", path: ["target"], message: "goes with scope=agent only" });
    }
  });
export const effectiveQuery = z.strictObject({
  agent: subject.optional().meta({ description: "For which agent. Defaults to an agent's own subject, else to the tenant's policies alone." }),
});
export const entitiesQuery = z.strictObject({ ...page, type: oneLine(128).optional().meta({ description: "Of this type only." }) });
export const tenantQuery = z.strictObject({
  tenant: tenantId.optional().meta({ description: "Whose, with the root key." }),
});
export const tokensQuery = z.strictObject({ ...page, ...tenantQuery.shape });

const period = {
  from: instant.optional().meta({ description: "Inclusive." }),
  to: instant.optional().meta({ description: "Exclusive." }),
};

const ordered = (query: { readonly from?: number | undefined; readonly to?: number | undefined }, ctx: z.RefinementCtx): void => {
  if (query.from !== undefined && query.to !== undefined && query.from > query.to) {
    ctx.addIssue({ code: "custom", path: ["to"], message: "is before from" });
  }
};

export const ENTRY_KINDS = [
  "decision",
  "commit",
  "release",
  "expiry",
  "approval",
  "intervention",
  "policy",
  "session",
  "lease",
  "token",
  "ingest",
] as const;

/** What was reported may name sessions, runs and actions of its own. */
const ledgerFilter = {
  session: oneLine(255).optional(),
  run: oneLine(255).optional(),
  agent: subject.optional(),
  action: oneLine(256).optional(),
  kind: z.enum(ENTRY_KINDS).optional(),
  verdict: z.enum(["allow", "deny", "hold"]).optional(),
  outcome: z.enum(["success", "error"]).optional(),
  tag: oneLine(128).optional(),
  ...period,
};

export const periodQuery = z.strictObject(period).superRefine(ordered);

export const approvalsQuery = z.strictObject({
  ...page,
  status: z.enum(APPROVAL_STATUSES).optional(),
  session: id("ses").optional(),
  agent: subject.optional(),
});

export const ledgerQuery = z.strictObject({ ...page, ...ledgerFilter }).superRefine(ordered);
export const exportQuery = z
  .strictObject({
    ...ledgerFilter,
    after: whole(0, Number.MAX_SAFE_INTEGER).optional().meta({ description: "Only entries after this `index`: the last that an export before had." }),
  })
  .superRefine(ordered);

export const MOST_INGEST_BYTES = 4 * 1024 * 1024;

/** What an engine elsewhere recorded. Each entry is read by itself. */
export const ingest = z.strictObject({
  run: oneLine(255).optional().meta({ description: "The `run_id` of the entries that name none." }),
  entries: z.array(ingestEntry).min(1).max(1000),
});

/** Names separated by commas. */
const namesOf = (pattern: RegExp, wanted: string) =>
  z
    .string()
    .max(2000)
    .transform((text, ctx): readonly string[] => {
      const names = text.split(",").map((name) => name.trim());
      const odd = names.find((name) => !pattern.test(name));
      if (odd === undefined) return names;
      ctx.addIssue({ code: "custom", input: text, message: found(odd, wanted) });
      return z.NEVER;
    });

/** An event's name, or a glob of such names. */
export const EVENT_NAME = /^(\*|(decision|intervention|policy|session|token|budget|lease|approval|ledger|ingest)\.[a-z_*]+)$/;

export const eventsQuery = z.strictObject({
  types: namesOf(EVENT_NAME, "names of events or globs of them, such as decision.deny,intervention.*")
    .optional()
    .meta({ description: "Only these, by name or glob, separated by commas.", examples: ["intervention.*,decision.deny"] }),
  session: id("ses").optional(),
  agent: subject.optional(),
  action: actionName.optional(),
  last_event_id: oneLine(32).optional().meta({ description: "As the header `Last-Event-ID`, which counts before it." }),
});

/** In what the system said no, or was told to. */
export const NO_KINDS = [
  "kill",
  "pause",
  "resume",
  "revive",
  "deny",
  "hold",
  "reject",
  "timeout",
  "cancel",
  "answer_refused",
  "lease_denied",
  "reported_deny",
  "reported_hold",
  "overrun",
  "expiry",
] as const satisfies readonly NoKind[];

export const interventionsQuery = z
  .strictObject({
    ...page,
    kinds: namesOf(new RegExp(`^(${NO_KINDS.join("|")})$`), `some of ${NO_KINDS.join(", ")}, separated by commas`)
      .transform((names) => NO_KINDS.filter((kind) => names.includes(kind)))
      .optional()
      .meta({ description: `Only these, separated by commas: ${NO_KINDS.join(", ")}. All unless said.`, examples: ["kill,pause"] }),
    session: id("ses").optional(),
    agent: subject.optional(),
    action: actionName.optional(),
    ...period,
  })
  .superRefine(ordered);

export const costsQuery = z
  .strictObject({ group_by: z.enum(["action", "run", "session", "agent", "day"]).optional().meta({ default: "action" }), ...period })
  .superRefine(ordered);

/** What a path's `name` is in other lists than that of policies. */
export const issuerName = z.strictObject({
  name: patterned(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "1 to 63 letters, digits or _ - . of which the first is a letter or a digit", 63),
});

export const pageOnly = z.strictObject(page);

/** The claims that most issuers use. */
export const DEFAULT_CLAIMS = { subject: "sub", scopes: "scope", kind: "kind" } as const;

const absoluteUrl = oneLine(2048);
const claimName = oneLine(255);

export const putIssuer = z
  .strictObject({
    issuer: absoluteUrl.meta({ description: "Its `iss`, exactly.", examples: ["https://id.example.com"] }),
    jwks_uri: absoluteUrl.optional().meta({ description: "Where its keys are (RFC 7517): https, under a public name, without redirects." }),
    jwks: z
      .record(z.string(), json, { error: (issue) => found(issue.input, "a JSON Web Key Set") })
      .optional()
      .meta({ description: "Its public keys, in place of `jwks_uri`: 1 to 16 of them." }),
    audience: oneLine(255).meta({ description: "What the `aud` of its tokens must contain." }),
    claims: z.strictObject({ subject: claimName.optional(), scopes: claimName.optional(), kind: claimName.optional() }).optional().meta({
      description:
        "Names of claims, or paths to them with dots between: who it is, what it may do, and whether it is an agent, a human or a service.",
      default: DEFAULT_CLAIMS,
    }),
  })
  .refine(({ jwks_uri, jwks }) => jwks_uri === undefined || jwks === undefined, {
    path: ["jwks"],
    error: "stands in place of jwks_uri: send one of them, found both",
  })
  .refine(({ jwks_uri, jwks }) => jwks_uri !== undefined || jwks !== undefined, {
    path: ["jwks_uri"],
    error: "is needed, or jwks in its place; found neither",
  });

export const LEAST_RETENTION_DAYS = 183;

/** An origin as browsers send it: of https, or of this machine. */
const ORIGIN = /^(https:\/\/[a-z0-9]([a-z0-9.-]*[a-z0-9])?|http:\/\/(localhost|127\.0\.0\.1))(:[1-9]\d{0,4})?$/;

export const putSettings = z.strictObject({
  cors_origins: z
    .array(patterned(ORIGIN, "an origin such as https://app.example (http only for localhost), in small letters, without a path", 255))
    .max(50)
    .optional()
    .meta({ description: "Pages of these origins may read the answers to this tenant's tokens. None unless said.", default: [] }),
  retention_days: whole(LEAST_RETENTION_DAYS, 36_500)
    .optional()
    .meta({ description: "Entries are kept at least so long. As yet nothing is ever deleted.", default: LEAST_RETENTION_DAYS }),
  default_policy: patterned(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "a policy's name", 128)
    .nullable()
    .optional()
    .meta({
      description: "The stored policy that is in force for agents for whom no active policy is. null: then everything is denied.",
      default: null,
    }),
  throttle: z
    .strictObject({ requests: whole(1, 1_000_000), window_ms: whole(SECOND_MS, 3_600_000) })
    .nullable()
    .optional()
    .meta({
      description:
        "How many requests each of the tenant's tokens may make at once; they come back evenly within the window. Interventions and answers to approvals are counted by themselves, by the gateway's own limit. null: the gateway's own limit.",
      default: null,
    }),
  approval_links: z.boolean().optional().meta({
    description: "Whether an approval can be answered by a one-time link. Links that were made before are refused where it is not said.",
    default: false,
  }),
  client_leases: z.boolean().optional().meta({
    description: "Whether anybody may decide by a client lease. Those that were granted before run to their end, at most a minute.",
    default: true,
  }),
});

/** A policy's name, of which a path shows the same. */
export const POLICY_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
export const POLICY_NAME_WANTED = "1 to 128 letters, digits or _ - . of which the first is a letter or a digit";

type PolicyInBody = SimulateRequest["policy"];

/** The core parses it, which knows what may stand in a policy and tells every mistake at once. */
const policyInBody = (z.unknown() as z.ZodType<PolicyInBody, PolicyInBody>)
  .superRefine((input: unknown, ctx) => {
    if (typeof input === "string" || (typeof input === "object" && input !== null && !Array.isArray(input))) return;
    ctx.addIssue({ code: "custom", input, message: found(input, "a policy: the document as an object, or its text in YAML or JSON") });
  })
  .meta({
    description: "The document, or its text in YAML or JSON.",
    anyOf: [{ type: "object" }, { type: "string" }],
    examples: [{ version: 1, budgets: { session: "2" } }],
  });

export const simulate = z
  .strictObject({
    policy: policyInBody,
    from: instant.optional().meta({ description: "Decisions from here on are compared; earlier ones of the same sessions give them their state." }),
    to: instant.optional().meta({ description: "Decisions before this are compared." }),
    agent: subject.optional().meta({ description: "Of this agent's sessions only." }),
    session: id("ses").optional().meta({ description: "Of this session only." }),
    replaces: patterned(POLICY_NAME, POLICY_NAME_WANTED, 128).optional().meta({
      description: "The policy in whose place the candidate stands, beside the other active ones. Without it the candidate stands alone.",
    }),
    cursor: page.cursor.meta({ description: "The `next` of the part before, with the same question." }),
  })
  .superRefine(ordered);
