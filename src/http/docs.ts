import { REASONS, SENTENCES } from "../core/reasons.ts";
import { REFUSALS } from "../core/refusals.ts";
import { PROBLEMS } from "./problems.ts";

/** The pages for people. Everything they load comes from this gateway. */

/** Nothing from elsewhere, no inline script; Swagger UI sets styles on its elements and draws its icons as data. */
export const PAGE_HEADERS = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
} as const;

/** Files of the package swagger-ui-dist that the page needs, and what they are. */
export const SWAGGER_FILES = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
  "favicon-32x32.png": "image/png",
} as const;

const page = (title: string, head: string, body: string): string => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${head}
</head>
<body>
${body}
</body>
</html>
`;

export const DOCS_PAGE = page(
  "AgentSentinel API",
  `<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">`,
  `<div id="swagger-ui"><p>The API is described by its <a href="/openapi.json">OpenAPI document</a>; what its <a href="/docs/problems">problems</a> mean is written down too.</p></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/initializer.js"></script>`,
);

export const DOCS_INITIALIZER = `"use strict";
if (typeof SwaggerUIBundle === "function") {
  SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, defaultModelsExpandDepth: 0 });
}
`;

const STYLE = `<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
:target { background: #fc03; }
</style>`;

export const PROBLEMS_PAGE = page(
  "AgentSentinel: problems and reasons",
  STYLE,
  `<h1>Problems</h1>
<p>A problem means that the question was not answered. A policy's "no" is an answer, never a problem.</p>
<table>
<tr><th>Code</th><th>Status</th><th>Meaning</th></tr>
${REFUSALS.map((code) => `<tr id="${code}"><td><code>${code}</code></td><td>${PROBLEMS[code].status}</td><td>${PROBLEMS[code].title}.</td></tr>`).join("\n")}
</table>
<h1>Reasons of decisions</h1>
<p>In order of precedence: if several hold, the first is the answer.</p>
<table>
<tr><th>Reason</th><th>Meaning</th></tr>
${REASONS.map((reason) => `<tr id="reason-${reason}"><td><code>${reason}</code></td><td>${SENTENCES[reason]}</td></tr>`).join("\n")}
</table>`,
);

export const LANDING_PAGE = page(
  "AgentSentinel",
  STYLE,
  `<h1>AgentSentinel</h1>
<p>Runtime authority for autonomous agents: every action is asked for, decided, charged and recorded before it happens.</p>
<ul>
<li><a href="/docs">The API, to read and to try</a></li>
<li><a href="/openapi.json">Its OpenAPI document</a></li>
<li><a href="/docs/problems">What its problems and reasons mean</a></li>
<li><a href="/v1/policy-schema.json">The JSON Schema of a policy</a></li>
<li><a href="/healthz">Whether it is well</a></li>
</ul>`,
);
