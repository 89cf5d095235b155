import { REASONS, SENTENCES } from "../core/reasons.ts";
import { REFUSALS } from "../core/refusals.ts";
import { refusalsOf } from "./openapi.ts";
import { PROBLEMS } from "./problems.ts";
import type { Route } from "./route.ts";

/** The pages for people. Everything they load comes from this gateway. */

/** Nothing from elsewhere, and no script at all. */
export const PAGE_HEADERS = {
  "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
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

/** The API for people, made from the same table as its document: no script, no file from elsewhere, and the browser's own search finds everything. */
export function docsPage(routes: readonly Route[]): string {
  const documented = routes.filter((route) => route.documented);
  const tags = [...new Set(documented.map(({ tag }) => tag))];
  const sections = tags.map(
    (tag) =>
      `<h2>${tag}</h2>\n${documented
        .filter((route) => route.tag === tag)
        .map(operation)
        .join("\n")}`,
  );
  const reference = `<h1>AgentSentinel API</h1>
<p>As a machine reads it: the <a href="/openapi.json">OpenAPI document</a>. What goes wrong: <a href="/docs/problems">problems and reasons</a>.</p>
${sections.join("\n")}`;
  return page("AgentSentinel API", STYLE, reference);
}

function operation(route: Route): string {
  const { id, method, path, summary, description, scopes, caller, body, answers } = route;
  const who =
    caller === "anyone"
      ? "Needs no token."
      : [caller.includes("root") ? "the root key" : "", scopes.join(" or ")].filter((one) => one !== "").join(", or ");
  const query = Object.keys(route.query.shape);
  const shown = (example: unknown): string => `<pre>${escaped(typeof example === "string" ? example : JSON.stringify(example, null, 2))}</pre>`;
  return `<details id="${id}"><summary><code>${method} ${escaped(path)}</code> ${escaped(summary)}</summary>
${description === undefined ? "" : `<p>${escaped(description)}</p>`}
<p>${caller === "anyone" ? who : `Needs ${who}.`}${query.length === 0 ? "" : ` Query: ${query.join(", ")}.`}</p>
${body === null ? "" : `<p>Request:</p>${shown(body.example)}`}
${answers.map(({ status, means, example }) => `<p>${status}: ${escaped(means)}</p>${example === undefined ? "" : shown(example)}`).join("\n")}
<p>Problems: ${refusalsOf(route)
    .map((code) => `<a href="/docs/problems#${code}">${code}</a>`)
    .join(", ")}</p>
</details>`;
}

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const STYLE = `<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { margin: .5rem 0; }
pre { overflow-x: auto; background: #8882; padding: .75rem; }
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
<li><a href="/docs">The API, to read</a></li>
<li><a href="/openapi.json">Its OpenAPI document</a></li>
<li><a href="/docs/problems">What its problems and reasons mean</a></li>
<li><a href="/v1/policy-schema.json">The JSON Schema of a policy</a></li>
<li><a href="/healthz">Whether it is well</a></li>
</ul>`,
);
