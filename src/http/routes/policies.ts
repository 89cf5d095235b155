import type { AuthorsWork } from "../../core/policy/authored.ts";
import { policyDigest } from "../../core/policy/digest.ts";
import { type ParsedPolicy, parsePolicy } from "../../core/policy/parse.ts";
import { policyJsonSchema } from "../../core/policy/schema.ts";
import { MOST_POLICY_BYTES } from "../../core/policy/text.ts";
import type { PutIf } from "../../core/precondition.ts";
import { type Issue, type Refusal, refusal } from "../../core/refusals.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Scope } from "../../core/scopes.ts";
import type { PolicyRead, Ports } from "../../flow/ports.ts";
import { MOST_ENTRIES, MOST_ENTRIES_OF_A_SESSION, MOST_LOOKUPS, MOST_SESSIONS, MOST_STEPS, type Simulating, simulate } from "../../flow/simulate.ts";
import * as answers from "../answers.ts";
import type { BodyFormat } from "../body.ts";
import {
  conditional,
  type Named,
  namesStrongly,
  namesWeakly,
  type Preconditions,
  parsePreconditions,
  type Representation,
  tagOf,
} from "../conditional.ts";
import * as examples from "../examples.ts";
import { parseJson } from "../json.ts";
import { agentToRead } from "../own.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import {
  type Answer,
  answered,
  jsonAnswer,
  jsonBody,
  MS_PER_INSTRUCTION,
  noContent,
  POLICY_WEIGHT,
  pageQuery,
  reply,
  route,
  SIMULATION_WEIGHT,
} from "../route.ts";

const READS: readonly Scope[] = ["policies:read", "policies:write"];

/** A policy as its author wrote it: parsed by the core, which knows lines and columns. */
const policyBody = {
  formats: ["yaml", "json"],
  schema: null,
  optional: false,
  // More than a policy may have, so that one that is too long is told so as a policy.
  mostBytes: MOST_POLICY_BYTES + 64 * 1024,
  example: examples.policyText,
} as const;

const unchangedSince = { status: 304, means: "The client has this already.", types: [] } as const;

export const policyRoutes = [
  route({
    method: "GET",
    path: "/v1/policies",
    id: "listPolicies",
    tag: "Policies",
    summary: "List policies, by name",
    caller: "bearer",
    scopes: READS,
    query: requests.pageQuery,
    body: null,
    answers: [jsonAnswer(200, "A page of policies.", answers.policyPage, { items: [examples.policySummary], next_cursor: null })],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, query }) =>
      reply(await ports.tenants.listPolicies(principal.tenant, pageQuery(query)), (rows) => answered(200, present.page(rows, present.policySummary))),
  }),
  route({
    method: "GET",
    path: "/v1/policies/effective",
    id: "readEffectivePolicy",
    tag: "Policies",
    summary: "Read what is in force for an agent: every active document that applies, merged",
    caller: "bearer",
    scopes: READS,
    query: requests.effectiveQuery,
    body: null,
    answers: [jsonAnswer(200, "The merged document.", answers.effectivePolicy, examples.effectivePolicy), unchangedSince],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, query, headers }) => {
      const agent = agentToRead(principal, query.agent);
      if (!agent.ok) return agent;
      const effective = await ports.tenants.effectivePolicy(principal.tenant, agent.value);
      return reply(effective, (found) =>
        conditional(ports, headers, { text: JSON.stringify(present.effectivePolicy(found)), type: "application/json" }),
      );
    },
  }),
  route({
    method: "POST",
    path: "/v1/policies/validate",
    id: "validatePolicy",
    tag: "Policies",
    summary: "Check a policy without publishing it",
    caller: "bearer",
    scopes: READS,
    query: requests.noQuery,
    body: policyBody,
    weight: POLICY_WEIGHT,
    answers: [jsonAnswer(200, "What is wrong with it, and what is doubtful.", answers.policyValidation, { valid: true, issues: [], warnings: [] })],
    answer: async ({ text, format, spend }) => {
      const readable = assertReadable(text, format);
      if (!readable.ok) return readable;
      const work = { instructions: 0 };
      const parsed = parsePolicy(text, format, work);
      spend(work.instructions * MS_PER_INSTRUCTION);
      const found = parsed.ok ? { valid: true, issues: [], warnings: parsed.value.warnings } : { valid: false, issues: parsed.error, warnings: [] };
      return ok(answered(200, found));
    },
  }),
  route({
    method: "POST",
    path: "/v1/policies/simulate",
    id: "simulatePolicy",
    tag: "Policies",
    summary: "Decide recorded history again under a candidate, and say what would have changed",
    description: `Statefully: what the candidate denies takes no money, counts in no window and is no prerequisite of what came later. What people answered stays as it was recorded, and is worth for the candidate what \`assumptions\` say. The candidate stands alone, or with \`replaces\` beside the tenant's and the agent's other active policies; it is published nowhere. Sessions are read from their beginning, the latest opened first. One call begins no further session after ${MOST_ENTRIES} entries, ${MOST_SESSIONS} sessions, ${MOST_LOOKUPS} look-ups of stored attributes and older policies or ${MOST_STEPS} steps of conditions (reading an entry counts as a thousand and its characters): then \`next\` goes on, and the figures of the parts add up. A single session is read up to ${MOST_ENTRIES_OF_A_SESSION} entries, ${MOST_LOOKUPS} look-ups or ${MOST_STEPS} steps of its own. A token of kind agent is told of its own sessions only.`,
    caller: "bearer",
    scopes: READS,
    query: requests.noQuery,
    // A policy as a text inside JSON takes up to twice its room.
    body: { ...jsonBody(requests.simulate, examples.simulate), mostBytes: 2 * MOST_POLICY_BYTES + 64 * 1024 },
    weight: SIMULATION_WEIGHT,
    answers: [jsonAnswer(200, "What would have changed, with the entries behind every figure.", answers.simulation, examples.simulation)],
    refuses: ["policy_invalid", "not_found", "not_your_session", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, body, spend }) => {
      const agent = agentToRead(principal, body.agent);
      if (!agent.ok) return agent;
      const work = { instructions: 0 };
      const candidate = candidateOf(body.policy, work);
      spend(work.instructions * MS_PER_INSTRUCTION);
      if (!candidate.ok) return candidate;
      const { document, warnings } = candidate.value;
      const asked: Simulating = {
        tenant: principal.tenant,
        candidate: document,
        replaces: body.replaces ?? null,
        from: body.from ?? null,
        to: body.to ?? null,
        agent: agent.value,
        session: body.session ?? null,
        cursor: body.cursor ?? null,
      };
      const done = await simulate(ports, asked);
      if (done.ok) spend(done.value.steps * MS_PER_STEP);
      return reply(done, (simulated) => answered(200, present.simulation(simulated, asked, warnings)));
    },
  }),
  route({
    method: "PUT",
    path: "/v1/policies/{name}",
    id: "putPolicy",
    tag: "Policies",
    summary: "Publish a policy, as YAML or JSON",
    description:
      "A changed document becomes a new version (201). An unchanged one keeps its version (200). `If-Match` with the `ETag` that a GET of the policy answered, of either representation, puts it only where nobody has changed it since; `If-None-Match: *` only where there is no such policy. Of two writers who saw the same, one is refused with `precondition_failed`. Where the document is there already just as it is put, nobody loses anything, and it is answered (200) whatever `If-Match` says: asking again does no harm. The answer's `ETag` is that of the author's text, where that is what a GET shows now.",
    caller: "bearer",
    scopes: ["policies:write"],
    query: requests.putPolicyQuery,
    body: policyBody,
    hasPreconditions: true,
    answers: [
      jsonAnswer(201, "A new version.", answers.policyPut, examples.policyPut),
      jsonAnswer(200, "The document was there already and keeps its version.", answers.policyPut, examples.policyPut),
    ],
    refuses: ["body_invalid", "policy_invalid", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, query, headers, text, format }) => {
      if (!requests.POLICY_NAME.test(parameters.name)) {
        const message = `wanted ${requests.POLICY_NAME_WANTED}`;
        return err(refusal("body_invalid", `The policy's name is not valid: ${message}.`, [{ pointer: "/name", message }]));
      }
      const preconditions = parsePreconditions(headers);
      if (!preconditions.ok) return preconditions;
      const readable = assertReadable(text, format);
      if (!readable.ok) return readable;
      const parsed = parsePolicy(text, format);
      if (!parsed.ok) return err(mistaken(parsed.error));
      const { document, warnings } = parsed.value;
      const onlyIf = await putIfOf(ports, principal.tenant, parameters.name, preconditions.value);
      if (!onlyIf.ok) return onlyIf;
      const put = await ports.tenants.putPolicy(principal.tenant, principal, {
        name: parameters.name,
        scope: query.scope ?? "tenant",
        target: query.target ?? null,
        document,
        digest: policyDigest(ports.sha256, document),
        text,
        format,
        activate: query.activate ?? true,
        onlyIf: onlyIf.value,
      });
      if (!put.ok && put.error.code === "precondition_failed" && hasWeak(preconditions.value.match))
        return err({ ...put.error, detail: `${put.error.detail} ${WEAK}` });
      return reply(put, ({ name, version, digest, active, created }) => {
        // What is in force is what a GET shows. Of JSON that was there already, the text may have been spaced otherwise.
        const isShown = active && (created || format === "yaml");
        const answer = { name, version, digest, active, warnings };
        return answered(created ? 201 : 200, answer, isShown ? { ETag: tagOf(ports, authorsText(text)) } : {});
      });
    },
  }),
  route({
    method: "GET",
    path: "/v1/policies/{name}",
    id: "readPolicy",
    tag: "Policies",
    summary: "Read a policy: the version in force, or the latest where none is",
    description: "`Accept: application/yaml` gives the author's text.",
    caller: "bearer",
    scopes: READS,
    query: requests.noQuery,
    body: null,
    answers: [
      {
        status: 200,
        means: "The policy.",
        types: ["application/json", "application/yaml"],
        schema: answers.policyDetail,
        example: examples.policyDetail,
      },
      unchangedSince,
    ],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, headers, accepts }) =>
      reply(await ports.tenants.readPolicy(principal.tenant, parameters.name, null), (read) => policyAnswer(ports, headers, accepts, read)),
  }),
  route({
    method: "DELETE",
    path: "/v1/policies/{name}",
    id: "deletePolicy",
    tag: "Policies",
    summary: "Take a policy out of force and out of the list",
    description:
      "With no policy left everything is denied (`policy_missing`). Its versions can still be read, for what was decided under them, and `activate` brings one back.",
    caller: "bearer",
    scopes: ["policies:write"],
    query: requests.noQuery,
    body: null,
    answers: [noContent("The policy is gone.")],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.tenants.deletePolicy(principal.tenant, principal, parameters.name), () => ({ status: 204, body: null })),
  }),
  route({
    method: "GET",
    path: "/v1/policies/{name}/versions",
    id: "listPolicyVersions",
    tag: "Policies",
    summary: "List a policy's versions, newest first",
    description: "Also those of a policy that was deleted: none of them is active.",
    caller: "bearer",
    scopes: READS,
    query: requests.pageQuery,
    body: null,
    answers: [jsonAnswer(200, "A page of versions.", answers.policyVersionPage, { items: [examples.policyVersion], next_cursor: null })],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, query }) =>
      reply(await ports.tenants.listPolicyVersions(principal.tenant, parameters.name, pageQuery(query)), (rows) =>
        answered(200, present.page(rows, present.policyVersion)),
      ),
  }),
  route({
    method: "GET",
    path: "/v1/policies/{name}/versions/{version}",
    id: "readPolicyVersion",
    tag: "Policies",
    summary: "Read one version of a policy",
    description: "Also of one that was deleted: entries of the ledger go on naming it. `Accept: application/yaml` gives the author's text.",
    caller: "bearer",
    scopes: READS,
    query: requests.noQuery,
    body: null,
    answers: [
      {
        status: 200,
        means: "The version.",
        types: ["application/json", "application/yaml"],
        schema: answers.policyDetail,
        example: examples.policyDetail,
      },
      unchangedSince,
    ],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, headers, accepts }) =>
      reply(await ports.tenants.readPolicy(principal.tenant, parameters.name, parameters.version), (read) =>
        policyAnswer(ports, headers, accepts, read),
      ),
  }),
  route({
    method: "POST",
    path: "/v1/policies/{name}/activate",
    id: "activatePolicy",
    tag: "Policies",
    summary: "Bring a version into force; rolling back is activating an older one",
    description: "A policy that was deleted comes back with it, for whom it was.",
    caller: "bearer",
    scopes: ["policies:write"],
    query: requests.noQuery,
    body: jsonBody(requests.activate, { version: 2 }),
    answers: [jsonAnswer(200, "The version is in force.", answers.policyVersion, examples.policyVersion)],
    refuses: ["not_found", "policy_invalid", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) =>
      reply(await ports.tenants.activatePolicy(principal.tenant, principal, parameters.name, body.version), (row) =>
        answered(200, present.policyVersion(row)),
      ),
  }),
  route({
    method: "GET",
    path: "/v1/policy-schema.json",
    id: "readPolicySchema",
    tag: "Policies",
    summary: "Read the JSON Schema of the policy language",
    description: "For editors; needs no token.",
    caller: "anyone",
    query: requests.noQuery,
    body: null,
    answers: [
      { status: 200, means: "The schema.", types: ["application/schema+json", "application/json"], example: { title: "AgentSentinel policy" } },
    ],
    answer: async ({ accepts }) => {
      schemaText ??= JSON.stringify(policyJsonSchema());
      return ok({ status: 200, body: { text: schemaText, type: accepts }, headers: { "Cache-Control": "public, max-age=300" } });
    },
  }),
];

const MS_PER_STEP = 1e-5;

/** Made once per isolate: it is a constant, and too dear to make before it is asked for. */
let schemaText: string | null = null;

/** The author's text for who wants YAML. JSON is YAML too (YAML 1.2 section 1.3), so a text that came as JSON is handed out as it is. */
const policyAnswer = (ports: Ports, headers: Headers, accepts: string, read: PolicyRead): Answer =>
  conditional(ports, headers, accepts === "application/yaml" ? authorsText(read.text) : detailOf(read));

const authorsText = (text: string): Representation => ({ text, type: "application/yaml" });
const detailOf = (read: PolicyRead): Representation => ({ text: JSON.stringify(present.policyDetail(read)), type: "application/json" });

/**
 * What a writer says of what it saw, as the tenant's object can hold against what it has then. A tag may be of either representation. What stands when this
 * looks may stand no longer when the policy is put; it is the object that decides.
 */
async function putIfOf(ports: Ports, tenant: string, name: string, { match, noneMatch }: Preconditions): Promise<Result<PutIf | null, Refusal>> {
  if (match === null && noneMatch === null) return ok(null);
  const read = await ports.tenants.readPolicy(tenant, name, null);
  if (!read.ok && read.error.code !== "not_found") return read;
  const standing = read.ok ? [read.value] : [];
  const seen = (named: Named | null, names: typeof namesStrongly): PutIf["is"] => {
    if (named === null) return null;
    if (named === "*") return "anything";
    return standing
      .filter((one) =>
        names(
          named,
          [detailOf(one), authorsText(one.text)].map((representation) => tagOf(ports, representation)),
        ),
      )
      .map(({ version, active, scope, target }) => ({ version, active, scope, target }));
  };
  return ok({ is: seen(match, namesStrongly), isNot: seen(noneMatch, namesWeakly) });
}

const hasWeak = (match: Named | null): boolean => match !== null && match !== "*" && match.some((tag) => tag.startsWith("W/"));

/** What compresses an answer on its way makes its tag weak. */
const WEAK = "A weak tag (W/…) is never what is there: read the policy with `Accept-Encoding: identity` to have its own.";

/** JSON is first held to the same rules as every other body: one meaning, bounded depth. */
function assertReadable(text: string, format: BodyFormat): Result<null, Refusal> {
  const read = format === "json" ? parseJson(text) : ok(null);
  return read.ok ? ok(null) : read;
}

const mistaken = (issues: readonly Issue[]): Refusal =>
  refusal("policy_invalid", issues.length === 1 ? "The policy has one mistake." : `The policy has ${issues.length} mistakes.`, issues);

/** A policy that came inside a body. Its places are below `/policy`; only a text has lines. */
function candidateOf(policy: string | { readonly [member: string]: unknown }, work: AuthorsWork): Result<ParsedPolicy, Refusal> {
  const isText = typeof policy === "string";
  // YAML holds every JSON text.
  const parsed = isText ? parsePolicy(policy, "yaml", work) : parsePolicy(JSON.stringify(policy), "json", work);
  const placed = ({ pointer, message, line, column }: Issue): Issue => {
    const inBody = { pointer: `/policy${pointer}`, message };
    return isText && line !== undefined && column !== undefined ? { ...inBody, line, column } : inBody;
  };
  if (!parsed.ok) return err(mistaken(parsed.error.map(placed)));
  return ok({ document: parsed.value.document, warnings: parsed.value.warnings.map(placed) });
}
