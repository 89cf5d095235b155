import * as z from "zod";
import { MOST_POLICY_BYTES } from "../core/policy/text.ts";
import type { RefusalCode } from "../core/refusals.ts";
import * as answers from "./answers.ts";
import { MOST_BODY_BYTES } from "./body.ts";
import { TAGS } from "./conditional.ts";
import * as examples from "./examples.ts";
import { MOST_DEPTH } from "./json.ts";
import { isParameter, PARAMETERS } from "./parameters.ts";
import { PROBLEMS, problemType } from "./problems.ts";
import * as requests from "./requests.ts";
import type { AnswerShape, BodyWanted, Route } from "./route.ts";
import { MOST_TURN_MS, READS_OF_TENANT, READS_OF_TOKEN, URGENT_LIMIT, WORK_OF_TENANT, WORK_OF_TOKEN, type WorkLimit } from "./throttle.ts";

type Json = { [member: string]: unknown };

/** Schemas that have a name of their own in the document; all others stand where they are used. */
const NAMED = {
  Problem: answers.problem,
  PolicyRef: answers.policyRef,
  Issue: answers.issue,
  ReasonCode: answers.reasonCode,
  OpenSessionRequest: requests.openSession,
  OpenedSession: answers.openedSession,
  SessionSummary: answers.sessionSummary,
  SessionPage: answers.sessionPage,
  SessionDetail: answers.sessionDetail,
  OpenedRun: answers.openedRun,
  DecisionRequest: requests.decision,
  DecisionBatchRequest: requests.decisionBatch,
  Decision: answers.decision,
  DecisionNow: answers.decisionNow,
  DecisionBatch: answers.decisionBatch,
  CommitRequest: requests.commit,
  ReleaseRequest: requests.release,
  ExtendRequest: requests.extend,
  TopupRequest: requests.topup,
  Settlement: answers.settlement,
  GrantLeaseRequest: requests.grantLease,
  GrantedLease: answers.grantedLease,
  Lease: answers.leaseNow,
  SettleLeaseRequest: requests.settleLease,
  SettledLease: answers.settledLease,
  PolicyPut: answers.policyPut,
  PolicyPage: answers.policyPage,
  PolicyVersion: answers.policyVersion,
  PolicyVersionPage: answers.policyVersionPage,
  PolicyDetail: answers.policyDetail,
  EffectivePolicy: answers.effectivePolicy,
  PolicyValidation: answers.policyValidation,
  PutEntityRequest: requests.putEntity,
  Entity: answers.entity,
  EntityPage: answers.entityPage,
  LedgerEntry: answers.ledgerEntry,
  LedgerPage: answers.ledgerPage,
  IngestRequest: requests.ingest,
  IngestReport: answers.ingested,
  CostReport: answers.costReport,
  CreateTenantRequest: requests.createTenant,
  CreatedTenant: answers.createdTenant,
  IssueTokenRequest: requests.issueToken,
  IssuedToken: answers.issuedToken,
  TokenPage: answers.tokenPage,
} as const satisfies { readonly [name: string]: z.ZodType };

/**
 * The OpenAPI 3.1 document: made from the table of routes and the very schemas that parse, so it cannot promise anything else.
 * Bounds that no schema states (octets of a body, depth of JSON) are in its description.
 */
export function openApiDocument(routes: readonly Route[]): Json {
  const paths: { [path: string]: Json } = {};
  for (const route of routes) {
    if (!route.documented) continue;
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  }
  const tags = [...new Set(routes.filter(({ documented }) => documented).map(({ tag }) => tag))];
  return {
    openapi: "3.1.1",
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    info: { title: "AgentSentinel", version: "1", description: INTRODUCTION, license: { name: "MIT", identifier: "MIT" } },
    servers: [{ url: "/" }],
    tags: tags.map((name) => ({ name })),
    paths,
    components: {
      schemas: componentSchemas(),
      headers: HEADERS,
      securitySchemes: {
        token: { type: "http", scheme: "bearer", bearerFormat: "JWT", description: "A token of a tenant, made with POST /v1/tokens." },
        rootKey: { type: "http", scheme: "bearer", description: "The gateway's root key. It makes tenants and tokens, and does nothing else." },
      },
    },
  };
}

const INTRODUCTION = `Runtime authority for autonomous agents: every action is asked for, decided, charged and recorded before it happens.

- A policy's "no" is an answer (200). A problem document (RFC 9457) means that the question was not answered.
- Bodies have at most ${MOST_BODY_BYTES} bytes (where a policy is sent, enough for the largest: ${MOST_POLICY_BYTES} bytes of text; where entries are reported, ${requests.MOST_INGEST_BYTES}), are UTF-8, nest at most ${MOST_DEPTH} levels, and name no member twice.
- Money is a decimal string of USD in answers; requests may also use numbers. More than six decimals are refused, never rounded, but in what an engine elsewhere reports to have cost.
- Unknown members and unknown query parameters are refused.
- \`Idempotency-Key\` works on every POST that makes something: the same key and body give the same answer, marked \`Idempotency-Replayed: true\`.
- \`X-Request-ID\` (1 to 128 visible ASCII characters) is echoed, or made.`;

const HEADERS = {
  RequestId: { description: "The request's id: the caller's own, or one that was made.", schema: { type: "string" } },
  IdempotencyReplayed: {
    description: "`true`: this is the recorded answer to an earlier, equal request.",
    schema: { type: "string", enum: ["true"] },
  },
  ETag: { description: "Changes whenever the representation does.", schema: { type: "string" } },
  Challenge: { description: "RFC 6750.", schema: { type: "string" } },
  RetryAfter: { description: "Seconds.", schema: { type: "integer", minimum: 0 } },
  RateLimitPolicy: { description: "The limit that was reached (draft-ietf-httpapi-ratelimit-headers-10).", schema: { type: "string" } },
  RateLimit: { description: "What is left of it, and in how many seconds there is more.", schema: { type: "string" } },
} as const;

/** Input side everywhere: requests are described as they come in, and answers have no other side. */
const JSON_SCHEMA = { io: "input", target: "draft-2020-12", unrepresentable: "throw" } as const;

const reference = (name: string): Json => ({ $ref: `#/components/schemas/${name}` });

function componentSchemas(): Json {
  const registry = z.registry<{ id: string }>();
  for (const [name, schema] of Object.entries(NAMED)) registry.add(schema, { id: name });
  const { schemas } = z.toJSONSchema(registry, { ...JSON_SCHEMA, uri: (id) => `#/components/schemas/${id}` });
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, bare(schema)]));
}

/** Without the members that make sense only in a schema that is a file of its own. */
function bare(schema: object): Json {
  const { $schema: _, $id: __, "~standard": ___, ...rest } = schema as Json;
  return rest;
}

function schemaOf(schema: z.ZodType): Json {
  const named = Object.entries(NAMED).find(([, one]) => one === schema);
  return named === undefined ? bare(z.toJSONSchema(schema, JSON_SCHEMA)) : reference(named[0]);
}

function operation(route: Route): Json {
  const description = [
    route.description ?? "",
    route.weight === null ? "" : WEIGHED,
    route.reads === null ? "" : READ_IN_TURN,
    route.isUrgent ? URGENT : "",
  ]
    .filter((part) => part !== "")
    .join(" ");
  return {
    operationId: route.id,
    tags: [route.tag],
    summary: route.summary,
    ...(description === "" ? {} : { description }),
    security: securityOf(route),
    parameters: [...pathParameters(route), ...queryParameters(route), ...headerParameters(route)],
    ...(route.body === null ? {} : { requestBody: requestBody(route.body) }),
    responses: { ...answersOf(route), ...problemsOf(route) },
  };
}

const seconds = (ms: number): string => `${ms / 1000} second${ms === 1000 ? "" : "s"}`;

/** What is said of every route that has a weight. */
const WEIGHED = `Checks of policies, simulations and reports of one token may be worked on for about ${seconds(WORK_OF_TOKEN.requests)} within ${seconds(WORK_OF_TOKEN.windowMs)}, and those of all tokens of a tenant for ${seconds(WORK_OF_TENANT.requests)}, as their sizes tell; beyond that they are \`throttled\`, and everything else goes on.`;

const share = ({ requests, windowMs }: WorkLimit): string => `${(100 * requests) / windowMs} %`;

/** What is said of every route that is a long read. */
const READ_IN_TURN = `Has its turn: while other tenants ask for anything, the long reads of one token have ${share(READS_OF_TOKEN)} of the gateway's time, and those of a tenant ${share(READS_OF_TENANT)}. What is more waits, and where it would wait longer than ${seconds(MOST_TURN_MS)} it is \`throttled\`.`;

/** What is said of every route that is urgent. */
const URGENT = `Waits behind no other requests of its token: it is counted by itself, up to ${URGENT_LIMIT.requests} within ${seconds(URGENT_LIMIT.windowMs)}, whatever \`throttle\` the tenant has set.`;

function securityOf(route: Route): readonly Json[] {
  const token = { token: route.scopes };
  switch (route.caller) {
    case "anyone":
      return [];
    case "root":
      return [{ rootKey: [] }];
    case "bearer":
      return [token];
    case "root or bearer":
      return [{ rootKey: [] }, token];
  }
}

const pathParameters = (route: Route): readonly Json[] =>
  [...route.path.matchAll(/\{(\w+)\}/g)].flatMap(([, name = ""]) => {
    if (!isParameter(name)) return [];
    const { schema, description, example } = PARAMETERS[name];
    return [{ name, in: "path", required: true, description, schema: schemaOf(schema), example }];
  });

function queryParameters(route: Route): readonly Json[] {
  return Object.entries(route.query.shape).map(([name, field]) => {
    const { description, ...schema } = bare(z.toJSONSchema(field, JSON_SCHEMA));
    return { name, in: "query", required: false, ...(description === undefined ? {} : { description }), schema };
  });
}

/** What a writer may say of what it means to write over. */
const PRECONDITIONS: readonly Json[] = [
  ["If-Match", "`ETag`s of what the writer saw: nothing is done unless it is there still (strong comparison). `*`: there must be something."],
  ["If-None-Match", "`*`: nothing is done if there is something already. Or `ETag`s of what must not be there."],
].map(([name, description]) => ({ name, in: "header", required: false, description, schema: { type: "string", pattern: TAGS } }));

const headerParameters = (route: Route): readonly Json[] => [
  ...(route.creates
    ? [
        {
          name: "Idempotency-Key",
          in: "header",
          required: false,
          description: "The same key and body give the same answer.",
          schema: { type: "string", pattern: "^[\\x21-\\x7e]{1,255}$" },
        },
      ]
    : []),
  ...(route.answers.some(({ status }) => status === 304)
    ? [{ name: "If-None-Match", in: "header", required: false, description: "An `ETag` that the client has.", schema: { type: "string" } }]
    : []),
  ...(route.hasPreconditions ? PRECONDITIONS : []),
];

function requestBody(body: BodyWanted): Json {
  const content: Json = {};
  for (const format of body.formats) {
    const schema = body.schema === null ? { description: "A policy; its schema is served at /v1/policy-schema.json." } : schemaOf(body.schema);
    const text = format === "yaml" && body.schema === null ? { type: "string", ...schema } : schema;
    const example = body.schema === null && format === "json" ? { version: 1, budgets: { session: 5 } } : body.example;
    content[format === "json" ? "application/json" : "application/yaml"] = { schema: text, example };
  }
  return { required: !body.optional, content };
}

function answersOf(route: Route): Json {
  return Object.fromEntries(
    route.answers.map((shape) => [
      shape.status,
      {
        description: shape.means,
        headers: {
          "X-Request-ID": { $ref: "#/components/headers/RequestId" },
          ...(route.creates ? { "Idempotency-Replayed": { $ref: "#/components/headers/IdempotencyReplayed" } } : {}),
          ...(route.answers.some(({ status }) => status === 304) || route.hasPreconditions ? { ETag: { $ref: "#/components/headers/ETag" } } : {}),
        },
        ...(shape.types.length === 0 ? {} : { content: contentOf(shape) }),
      },
    ]),
  );
}

const contentOf = (shape: AnswerShape): Json =>
  Object.fromEntries(
    shape.types.map((type, place) => {
      const isJson = type === "application/json" || type.endsWith("+json");
      const schema = !isJson ? { type: "string" } : shape.schema === undefined ? { type: "object" } : schemaOf(shape.schema);
      return [type, isJson || place === 0 ? { schema, example: shape.example } : { schema }];
    }),
  );

/** Every refusal that can be met on this route: what its doors refuse, and what its story does. */
export function refusalsOf(route: Route): readonly RefusalCode[] {
  const codes = new Set<RefusalCode>(route.refuses);
  const add = (...more: readonly RefusalCode[]) => {
    for (const code of more) codes.add(code);
  };
  // A tenant's token is looked at as far as this on the root key's own route too, before it is told that it does not suffice.
  if (route.caller !== "anyone") {
    add("token_missing", "token_invalid", "token_expired", "token_revoked", "scope_insufficient", "throttled", "authority_unavailable");
  }
  if (route.path.includes("{")) add("not_found");
  if (route.answers.some(({ types }) => types.length > 0)) add("not_acceptable");
  if (route.creates) add("idempotency_mismatch");
  if (route.hasPreconditions) add("precondition_failed");
  add("body_invalid");
  if (route.body !== null) add("body_malformed", "body_too_large", "media_type_unsupported");
  if (
    route.body?.schema !== null &&
    route.body !== null &&
    "cost_usd estimate_usd budget_usd amount_usd decisions".split(" ").some((name) => namesMember(route.body, name))
  ) {
    add("money_precision");
  }
  add("internal");
  return [...codes].sort((a, b) => PROBLEMS[a].status - PROBLEMS[b].status);
}

const namesMember = (body: BodyWanted | null, name: string): boolean => body?.schema instanceof z.ZodObject && Object.hasOwn(body.schema.shape, name);

function problemsOf(route: Route): Json {
  const byStatus = new Map<number, RefusalCode[]>();
  for (const code of refusalsOf(route)) byStatus.set(PROBLEMS[code].status, [...(byStatus.get(PROBLEMS[code].status) ?? []), code]);
  return Object.fromEntries([...byStatus].map(([status, codes]) => [status, problemAnswer(status, codes)]));
}

function problemAnswer(status: number, codes: readonly RefusalCode[]): Json {
  const examples = codes.map((code) => [code, { value: exampleProblem(code) }]);
  return {
    description: codes.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(" "),
    headers: {
      "X-Request-ID": { $ref: "#/components/headers/RequestId" },
      ...(status === 401 || codes.includes("scope_insufficient") ? { "WWW-Authenticate": { $ref: "#/components/headers/Challenge" } } : {}),
      ...(status === 503 || status === 429 ? { "Retry-After": { $ref: "#/components/headers/RetryAfter" } } : {}),
      ...(status === 429
        ? { "RateLimit-Policy": { $ref: "#/components/headers/RateLimitPolicy" }, RateLimit: { $ref: "#/components/headers/RateLimit" } }
        : {}),
    },
    content: { "application/problem+json": { schema: reference("Problem"), examples: Object.fromEntries(examples) } },
  };
}

function exampleProblem(code: RefusalCode): Json {
  const { status, title } = PROBLEMS[code];
  const issues = status === 422 ? { issues: [{ pointer: "/ttl_ms", message: 'found "soon"; wanted a whole number from 1 to 86400000' }] } : {};
  const why = code === "lease_refused" ? examples.leaseReason : code === "decision_stopped" ? examples.stopReason : null;
  const reason = why === null ? {} : { reason: why };
  return {
    type: problemType(code),
    title,
    status,
    detail: `${title}.`,
    code,
    request_id: "req_4c0e5a0a-0c0c-4a57-9d4c-3a6b8f1f2b11",
    ...issues,
    ...reason,
  };
}
