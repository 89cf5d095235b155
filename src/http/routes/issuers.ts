import type { Scope } from "../../core/scopes.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { parseWith } from "../issues.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, jsonBody, LIST_WEIGHT, noContent, pageQuery, reply, route } from "../route.ts";

const ISSUERS: { readonly caller: "bearer"; readonly tag: "Tenants and tokens"; readonly scopes: readonly Scope[] } = {
  caller: "bearer",
  tag: "Tenants and tokens",
  scopes: ["tokens:write"],
};

export const issuerRoutes = [
  route({
    ...ISSUERS,
    method: "GET",
    path: "/v1/issuers",
    id: "listIssuers",
    reads: LIST_WEIGHT,
    summary: "List the tenant's own issuers, by name",
    query: requests.pageOnly,
    body: null,
    answers: [jsonAnswer(200, "A page of issuers.", answers.issuerPage, { items: [examples.issuer], next_cursor: null })],
    refuses: ["authority_unavailable"],
    answer: async ({ ports, principal, query }) =>
      reply(await ports.tenants.listIssuers(principal.tenant, pageQuery(query)), (rows) => answered(200, present.page(rows, present.issuer))),
  }),
  route({
    ...ISSUERS,
    method: "PUT",
    path: "/v1/issuers/{name}",
    id: "putIssuer",
    summary: "Register an issuer whose tokens work for this tenant only",
    description:
      "Its tokens are believed by its keys alone: asymmetric algorithms, `aud` must contain the audience, `exp` is needed and at most 366 days after `iat` (without one, after now); ID tokens are refused. Choose an audience that ends with `/` and your tenant's id: where several tenants registered one issuer for one audience, a token counts for the tenant that its `tid` or the end of its audience names, and one that names none is refused. A change is in force at once in sessions that hear of it, and everywhere within one lease term (30 s). Keys at a URL are read again after 10 minutes, or when a token names one that is not known, at most every 30 seconds; while their URL is down they are used for an hour. All tenants together register one issuer at most 1000 times.",
    query: requests.noQuery,
    body: jsonBody(requests.putIssuer, examples.putIssuer),
    answers: [
      jsonAnswer(201, "It is registered.", answers.issuer, examples.issuer),
      jsonAnswer(200, "It is registered in place of what was there.", answers.issuer, examples.issuer),
    ],
    refuses: ["body_invalid", "authority_unavailable"],
    answer: async ({ ports, principal, parameters, body }) => {
      const named = parseWith(requests.issuerName, parameters, "request");
      if (!named.ok) return named;
      const keys = body.jwks_uri !== undefined ? { uri: body.jwks_uri } : { set: body.jwks ?? null };
      const wish = {
        name: named.value.name,
        issuer: body.issuer,
        keys,
        audience: body.audience,
        claims: {
          subject: body.claims?.subject ?? requests.DEFAULT_CLAIMS.subject,
          scopes: body.claims?.scopes ?? requests.DEFAULT_CLAIMS.scopes,
          kind: body.claims?.kind ?? requests.DEFAULT_CLAIMS.kind,
        },
      };
      const vetted = ports.identity.vetIssuer(wish);
      if (!vetted.ok) return vetted;
      const put = await ports.tenants.putIssuer(principal.tenant, principal, wish);
      ports.identity.forgetIssuer(wish.issuer);
      return reply(put, ({ issuer, created }) => answered(created ? 201 : 200, present.issuer(issuer)));
    },
  }),
  route({
    ...ISSUERS,
    method: "GET",
    path: "/v1/issuers/{name}",
    id: "readIssuer",
    summary: "Read an issuer of the tenant's own",
    query: requests.noQuery,
    body: null,
    answers: [jsonAnswer(200, "The issuer.", answers.issuer, examples.issuer)],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.tenants.readIssuer(principal.tenant, parameters.name), (row) => answered(200, present.issuer(row))),
  }),
  route({
    ...ISSUERS,
    method: "DELETE",
    path: "/v1/issuers/{name}",
    id: "deleteIssuer",
    summary: "Believe an issuer no more",
    description: "Its tokens are refused at once where a session's lease is fresh, and never later than one lease term.",
    query: requests.noQuery,
    body: null,
    answers: [noContent("Its tokens are refused.")],
    refuses: ["not_found", "authority_unavailable"],
    answer: async ({ ports, principal, parameters }) =>
      reply(await ports.tenants.deleteIssuer(principal.tenant, principal, parameters.name), () => ({ status: 204, body: null })),
  }),
];
