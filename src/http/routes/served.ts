import { ok } from "../../core/result.ts";
import { SCOPES } from "../../core/scopes.ts";
import * as answers from "../answers.ts";
import { type ApprovePage, approvePage } from "../approve_page.ts";
import { docsPage, LANDING_PAGE, PAGE_HEADERS, PROBLEMS_PAGE } from "../docs.ts";
import { openApiDocument } from "../openapi.ts";
import * as requests from "../requests.ts";
import { answered, jsonAnswer, type Route, route } from "../route.ts";

const OPEN = { method: "GET", tag: "Served", caller: "anyone", query: requests.noQuery, body: null } as const;

const LINKS = { name: "AgentSentinel", docs: "/docs", openapi: "/openapi.json", health: "/healthz" };

const html = (means: string) => ({ status: 200, means, types: ["text/html"] }) as const;

/** No `jwks_uri`: that would be keys of this gateway as a resource, which signs no answer; those of its tokens are an issuer's. */
const protectedResource = (origin: string) => ({
  resource: origin,
  resource_name: "AgentSentinel",
  resource_documentation: `${origin}/docs`,
  scopes_supported: [...SCOPES],
  bearer_methods_supported: ["header" as const],
});

/** What is served to anyone: health, keys, and the description of all `others`, among which these routes are themselves. */
export function servedRoutes(others: readonly Route[]): readonly Route[] {
  let openApiText: string | null = null;
  let approve: ApprovePage | null = null;
  let docs: { readonly text: string; readonly headers: { readonly [name: string]: string } } | null = null;
  const page = (path: `/${string}`, id: string, summary: string, text: string) =>
    route({
      ...OPEN,
      path,
      id,
      summary,
      documented: false,
      answers: [html(summary)],
      answer: async () => ok({ status: 200, body: { text, type: "text/html; charset=utf-8" }, headers: PAGE_HEADERS }),
    });
  const routes: readonly Route[] = [
    route({
      ...OPEN,
      path: "/healthz",
      id: "readHealth",
      summary: "Whether the gateway answers",
      answers: [jsonAnswer(200, "It does.", answers.health, { status: "ok" })],
      // Cloudflare tells the time with every answer, and a gateway on somebody's machine with none: whoever compares clocks finds one here.
      answer: async ({ now }) => ok(answered(200, { status: "ok" }, { Date: new Date(now).toUTCString() })),
    }),
    route({
      ...OPEN,
      path: "/openapi.json",
      id: "readOpenApi",
      summary: "This document",
      answers: [
        {
          status: 200,
          means: "The OpenAPI document.",
          types: ["application/json", "application/vnd.oai.openapi+json"],
          example: { openapi: "3.1.1" },
        },
      ],
      answer: async ({ accepts }) => {
        // Made once per isolate, when it is first asked for.
        openApiText ??= JSON.stringify(openApiDocument([...others, ...routes]));
        return ok({ status: 200, body: { text: openApiText, type: accepts }, headers: { "Cache-Control": "no-cache" } });
      },
    }),
    route({
      ...OPEN,
      path: "/.well-known/jwks.json",
      id: "readKeySet",
      summary: "The public keys of the gateway's tokens (RFC 7517)",
      answers: [
        {
          ...jsonAnswer(200, "The keys.", answers.keySet, {
            keys: [{ kty: "OKP", crv: "Ed25519", x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", kid: "1" }],
          }),
          alsoAccepted: ["application/jwk-set+json"],
        },
      ],
      answer: async ({ ports }) => ok(answered(200, await ports.identity.keySet(), { "Cache-Control": "public, max-age=300" })),
    }),
    route({
      ...OPEN,
      path: "/.well-known/oauth-protected-resource",
      id: "readProtectedResource",
      summary: "How this gateway is protected (RFC 9728)",
      description: "Tokens are those that this gateway issues, and those of issuers that tenants registered: which, each tenant knows.",
      answers: [jsonAnswer(200, "The metadata.", answers.protectedResource, protectedResource("https://gate.example"))],
      answer: async ({ origin }) => ok(answered(200, protectedResource(origin), { "Cache-Control": "public, max-age=300" })),
    }),
    route({
      ...OPEN,
      path: "/",
      id: "readLanding",
      summary: "Where things are",
      documented: false,
      answers: [{ status: 200, means: "Links.", types: ["application/json", "text/html"], schema: answers.landing, example: LINKS }],
      answer: async ({ accepts }) =>
        ok(
          accepts === "text/html"
            ? { status: 200, body: { text: LANDING_PAGE, type: "text/html; charset=utf-8" }, headers: { ...PAGE_HEADERS, Vary: "Accept" } }
            : answered(200, LINKS, { Vary: "Accept" }),
        ),
    }),
    route({
      ...OPEN,
      path: "/docs",
      id: "readDocs",
      summary: "The API, to read",
      documented: false,
      answers: [html("The page.")],
      answer: async ({ ports }) => {
        docs ??= docsPage([...others, ...routes], ports.sha256);
        return ok({ status: 200, body: { text: docs.text, type: "text/html; charset=utf-8" }, headers: docs.headers });
      },
    }),
    route({
      ...OPEN,
      path: "/approve",
      id: "readApprovePage",
      summary: "Where a one-time link leads: what is asked, and the three answers",
      documented: false,
      answers: [html("The page.")],
      answer: async ({ ports }) => {
        approve ??= approvePage(ports.sha256);
        return ok({ status: 200, body: { text: approve.text, type: "text/html; charset=utf-8" }, headers: approve.headers });
      },
    }),
    page("/docs/problems", "readProblems", "What problems and reasons mean", PROBLEMS_PAGE),
  ];
  return routes;
}
