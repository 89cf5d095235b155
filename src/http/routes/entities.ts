import { type Refusal, refusal } from "../../core/refusals.ts";
import { err, ok, type Result } from "../../core/result.ts";
import type { Scope } from "../../core/scopes.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { parseWith } from "../issues.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, LIST_WEIGHT, noContent, pageQuery, reply, route } from "../route.ts";

const READS: readonly Scope[] = ["policies:read", "policies:write"];
/** No token of kind agent holds it: an agent does not describe itself, nor what it acts on. */
const WRITES: readonly Scope[] = ["policies:write"];

/** What is stored is about customers and other agents as well. */
const NOT_OF_OTHERS = refusal("not_your_session", "A token of kind agent reads what is stored of its own subject only.");

export const entityRoutes = [
  route({
    method: "GET",
    path: "/v1/entities",
    id: "listEntities",
    reads: LIST_WEIGHT,
    tag: "Entities",
    summary: "List stored attributes, newest first by when they were first stored",
    description: "A page of large entities may hold fewer than `limit`; there are more as long as `next_cursor` is not null.",
    caller: "bearer",
    scopes: READS,
    query: requests.entitiesQuery,
    body: null,
    answers: [jsonAnswer(200, "A page of entities.", answers.entityPage, { items: [examples.entity], next_cursor: null })],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, query }) => {
      if (principal.kind === "agent") return err(NOT_OF_OTHERS);
      return reply(await ports.tenants.listEntities(principal.tenant, pageQuery(query), query.type ?? null), (rows) =>
        answered(200, present.page(rows, present.entity)),
      );
    },
  }),
  route({
    method: "PUT",
    path: "/v1/entities/{type}/{id}",
    id: "putEntity",
    tag: "Entities",
    summary: "Store what rules may look at of a subject or a resource",
    description: "Takes the place of all that was stored of it. In force for a session at its next decision, like a policy.",
    caller: "bearer",
    scopes: WRITES,
    query: requests.noQuery,
    body: jsonBody(requests.putEntity, examples.putEntity),
    answers: [
      jsonAnswer(201, "Nothing was stored of it before.", answers.entity, examples.entity),
      jsonAnswer(200, "It is stored in place of what was there.", answers.entity, examples.entity),
    ],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) => {
      const ref = parseWith(requests.entityRef, parameters, "request");
      if (!ref.ok) return ref;
      const stated = assertKindNotStored(ref.value.type, body.properties);
      if (!stated.ok) return stated;
      const put = await ports.tenants.putEntity(principal.tenant, principal, { ...ref.value, properties: body.properties });
      return reply(put, ({ entity, created }) => answered(created ? 201 : 200, present.entity(entity)));
    },
  }),
  route({
    method: "GET",
    path: "/v1/entities/{type}/{id}",
    id: "readEntity",
    tag: "Entities",
    summary: "Read what is stored of a subject or a resource",
    caller: "bearer",
    scopes: READS,
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "What is stored.", answers.entity, examples.entity)],
    refuses: ["not_your_session", "authority_unavailable"],
    answer: async ({ ports, principal, parameters: { type, id } }) => {
      if (principal.kind === "agent" && !(type === "agent" && id === principal.subject)) return err(NOT_OF_OTHERS);
      return reply(await ports.tenants.readEntity(principal.tenant, { type, id }), (row) => answered(200, present.entity(row)));
    },
  }),
  route({
    method: "DELETE",
    path: "/v1/entities/{type}/{id}",
    id: "deleteEntity",
    tag: "Entities",
    summary: "Remove all that is stored of a subject or a resource",
    caller: "bearer",
    scopes: WRITES,
    query: requests.noQuery,
    body: null,
    answers: [noContent("Nothing is stored of it any more.")],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, parameters: { type, id } }) =>
      reply(await ports.tenants.deleteEntity(principal.tenant, principal, { type, id }), () => ({ status: 204, body: null })),
  }),
];

/** What may hold a token. Of these the token says the kind. */
const KINDS: readonly string[] = ["agent", "human", "service"];

function assertKindNotStored(type: string, properties: object): Result<null, Refusal> {
  if (!KINDS.includes(type) || !Object.hasOwn(properties, "kind")) return ok(null);
  const message = "cannot be stored: the token of a subject states it";
  return err(refusal("body_invalid", `The body is not valid: /properties/kind ${message}.`, [{ pointer: "/properties/kind", message }]));
}
