import * as z from "zod";
import type { Sha256 } from "../core/digest.ts";
import { REASONS, SENTENCES } from "../core/reasons.ts";
import { REFUSALS } from "../core/refusals.ts";
import { MOST_BODY_BYTES } from "./body.ts";
import { MOST_DEPTH } from "./json.ts";
import { refusalsOf } from "./openapi.ts";
import { PROBLEMS } from "./problems.ts";
import type { Route } from "./route.ts";
import { sourceOf } from "./source_hash.ts";

/** The pages for people. Everything they load comes from this gateway. */

const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Nothing from elsewhere, and no script at all. */
export const PAGE_HEADERS = {
  "Content-Security-Policy": POLICY,
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
} as const;

/**
 * The API for people, made from the same table as its document, and what the page may do: run this one script. It loads no file, and is whole without its
 * script, which only narrows the list of operations down: the browser's own search finds everything.
 */
export function docsPage(routes: readonly Route[], sha256: Sha256): { readonly text: string; readonly headers: { readonly [name: string]: string } } {
  const script = `script-src '${sourceOf(sha256, FIND)}'; require-trusted-types-for 'script'; trusted-types 'none'`;
  return { text: docsText(routes), headers: { ...PAGE_HEADERS, "Content-Security-Policy": `${POLICY}; ${script}` } };
}

function docsText(routes: readonly Route[]): string {
  const documented = routes.filter((route) => route.documented);
  const chapters = [...new Set(documented.map(({ tag }) => tag))].map((tag) => ({
    tag,
    operations: documented.filter((route) => route.tag === tag),
  }));
  const lists = chapters.map(
    ({ tag, operations }) => `<section><h2><a href="#${anchor(tag)}">${tag}</a></h2>\n<ul>${operations.map(contentsLine).join("\n")}</ul></section>`,
  );
  const sections = chapters.map(
    ({ tag, operations }) => `<section><h2 id="${anchor(tag)}">${tag}</h2>\n${operations.map(operationOnce).join("\n")}</section>`,
  );
  return page(
    "AgentSentinel API",
    "/docs",
    `<details class="contents" id="contents">
<summary>Operations <span class="kind">${documented.length}</span></summary>
<nav aria-label="Operations">
<search hidden><input type="search" id="find" aria-label="Find an operation" placeholder="Find an operation" autocomplete="off" autocapitalize="none" spellcheck="false"><output for="find"></output></search>
${lists.join("\n")}
</nav>
</details>
<script>${FIND}</script>`,
    `${INTRODUCTION}\n${sections.join("\n")}`,
  );
}

/**
 * Runs where it stands, before anything is drawn: beside the text the list is open, above it a tap away. What is typed is looked for in how operations are
 * called; only where none is called so, in all that is said of them.
 */
const FIND = `
"use strict";
{
  const box = document.getElementById("contents");
  const find = document.getElementById("find");
  const told = box.querySelector("output");
  const lines = [...box.querySelectorAll("li")];
  const beside = matchMedia("(min-width: 56.01rem)");
  const fold = () => { box.open = beside.matches; };
  beside.addEventListener("change", fold);
  fold();
  find.parentElement.hidden = false;

  // An operation is described further down.
  document.addEventListener("DOMContentLoaded", () => narrow());
  let texts = null;
  const textOf = (line) => {
    const article = document.getElementById(line.querySelector("a").hash.slice(1));
    const [name, path, said] = ["h3", ".path", ".sides > div"].map((part) => article.querySelector(part).textContent.toLowerCase());
    return { line, name: name + " " + path, all: name + " " + path + " " + said };
  };
  const narrow = () => {
    if (document.readyState === "loading") return;
    const words = find.value.toLowerCase().split(/\\s+/).filter((word) => word !== "");
    texts ??= lines.map(textOf);
    const having = (part) => texts.filter((text) => words.every((word) => text[part].includes(word)));
    const named = having("name");
    const found = named.length > 0 ? named : having("all");
    const shown = new Set(found.map((text) => text.line));
    for (const line of lines) line.hidden = !shown.has(line);
    for (const part of box.querySelectorAll("section")) part.hidden = part.querySelector("li:not([hidden])") === null;
    told.value = words.length === 0 ? "" : found.length === 0 ? "None" : named.length > 0 ? found.length + " of " + lines.length : "None is called so; mentioned by " + found.length;
  };
  const leave = () => { if (!beside.matches) box.open = false; };

  find.addEventListener("input", narrow);
  find.addEventListener("keydown", (event) => {
    if (event.key === "Enter") lines.find((line) => !line.hidden)?.querySelector("a").click();
    if (event.key === "Escape" && find.value === "") leave();
  });
  box.addEventListener("click", (event) => {
    if (event.target.closest("a") !== null) leave();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target === find) return;
    event.preventDefault();
    box.open = true;
    find.focus();
  });
}
`;

const INTRODUCTION = `<h1>The API</h1>
<p class="lead">An agent asks before it acts. The answer is <b>allow</b>, <b>deny</b> or <b>hold</b>, always with status 200, and it is on record before it is sent.</p>
<ul>
<li>Send a token with each request: <code>Authorization: Bearer …</code>. Bodies are JSON in UTF-8, at most ${MOST_BODY_BYTES / 1024} KiB and ${MOST_DEPTH} levels deep. Unknown members are refused.</li>
<li>Money is a decimal string of US dollars with at most six decimals. It is never rounded. Instants are RFC 3339 in UTC, durations are milliseconds.</li>
<li>A status from 400 up comes with a <a href="/docs/problems">problem document</a>: the question was not answered. After a lost answer or a 503, send the same request with the same <code>id</code>.</li>
<li>As a machine reads all this: the <a href="/openapi.json">OpenAPI document</a>.</li>
</ul>`;

/** An operation's text depends on its route alone, and a route lives as long as the Worker. */
const shown = new WeakMap<Route, string>();

function operationOnce(route: Route): string {
  const known = shown.get(route) ?? operation(route);
  shown.set(route, known);
  return known;
}

function operation(route: Route): string {
  const { id, path, summary, description, body, answers, creates } = route;
  const query = fieldsOf(route.query);
  const members = body?.schema instanceof z.ZodObject ? fieldsOf(body.schema) : [];
  const examples = [
    ...(body === null ? [] : [example("Request", body.example)]),
    ...answers.flatMap((answer) => (answer.example === undefined ? [] : [example(`Answer ${answer.status}`, answer.example)])),
  ];
  const key = creates ? ["Takes an <code>Idempotency-Key</code>: the same key and body give the same answer."] : [];
  return `<article id="${id}">
<h3><a href="#${id}">${escaped(summary)}</a></h3>
<p class="path">${badge(route)} <code>${breakable(path)}</code></p>
<div class="sides"><div>
${description === undefined ? "" : `<p>${prose(description)}</p>`}
<p>${[needs(route), ...key].join(" ")}</p>
${fieldList("Query", query)}
${fieldList("Body", members)}
${body?.optional === true ? "<p>The body may be left out.</p>" : ""}
<h4>Answers</h4>
<dl>${answers.map(({ status, means }) => `<dt>${status}</dt><dd>${escaped(means)}</dd>`).join("\n")}</dl>
<h4>Problems</h4>
<p class="codes">${refusalsOf(route)
    .map((code) => `<a href="/docs/problems#${code}">${code}</a>`)
    .join(" ")}</p>
</div><div class="examples">${examples.join("\n")}</div></div>
</article>`;
}

function needs({ caller, scopes }: Route): string {
  const scope = scopes.map((one) => `<code>${one}</code>`).join(" or ");
  switch (caller) {
    case "anyone":
      return "Needs no token.";
    case "root":
      return "Needs the root key.";
    case "bearer":
      return `Needs ${scope}.`;
    case "root or bearer":
      return `Needs the root key, or ${scope}.`;
  }
}

interface Field {
  readonly name: string;
  readonly kind: string;
  readonly required: boolean;
  readonly says: string;
}

/** The members of an object as a reader wants them: what they are, and whether they may be left out. */
const fieldsOf = (object: z.ZodObject): readonly Field[] =>
  Object.entries(object.shape).map(([name, field]) => {
    const schema: FieldSchema = z.toJSONSchema(field, { io: "input", unrepresentable: "any" });
    return { name, kind: KINDS[String(schema.type)] ?? "", required: !(field instanceof z.ZodOptional), says: saying(schema) };
  });

const KINDS: { readonly [type: string]: string } = {
  string: "text",
  integer: "whole number",
  number: "number",
  boolean: "true or false",
  array: "list",
  object: "object",
};

interface FieldSchema {
  readonly type?: string | readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly enum?: readonly unknown[] | undefined;
  readonly default?: unknown;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
}

function saying({ description, enum: choices, default: preset, minimum, maximum }: FieldSchema): string {
  const range = minimum === undefined || maximum === undefined ? [] : [`${numeral(minimum)} to ${numeral(maximum)}.`];
  return [
    ...(description === undefined ? [] : [prose(description)]),
    ...(choices === undefined ? [] : [`${choices.map((choice) => `<code>${escaped(String(choice))}</code>`).join(", ")}.`]),
    ...(description?.match(/\d to \d/) ? [] : range),
    ...(preset === undefined ? [] : [`Default <code>${escaped(String(preset))}</code>.`]),
  ].join(" ");
}

const numeral = (n: number): string => n.toLocaleString("en-US");

function fieldList(title: string, fields: readonly Field[]): string {
  if (fields.length === 0) return "";
  const lines = fields.map(
    ({ name, kind, required, says }) =>
      `<dt><code>${escaped(name)}</code> <span class="kind">${kind}</span>${required ? ' <span class="required">required</span>' : ""}</dt><dd>${says}</dd>`,
  );
  return `<h4>${title}</h4>\n<dl class="fields">${lines.join("\n")}</dl>`;
}

const example = (title: string, value: unknown): string =>
  `<figure><figcaption>${title}</figcaption><pre tabindex="0"><code>${escaped(typeof value === "string" ? value : JSON.stringify(value, null, 2))}</code></pre></figure>`;

const contentsLine = (route: Route): string =>
  `<li><a href="#${route.id}">${badge(route)}<span>${breakable(route.path.replace(/^\/v1/, ""))}<small>${escaped(route.summary)}</small></span></a></li>`;

const badge = ({ method }: Pick<Route, "method">): string => `<span class="method ${method.toLowerCase()}">${method}</span>`;

const anchor = (tag: string): string => tag.toLowerCase().replaceAll(" ", "-");

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** A path or a code that a narrow column may break before each slash and after each underscore. */
const breakable = (name: string): string => escaped(name).replaceAll("/", "<wbr>/").replaceAll("_", "_<wbr>");

/** A sentence in which backquotes mark code. */
const prose = (text: string): string => escaped(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");

const PLACES = [
  ["/docs", "API"],
  ["/docs/problems", "Problems and reasons"],
  ["/openapi.json", "OpenAPI"],
] as const;

function page(title: string, at: string, beside: string, body: string): string {
  const places = PLACES.map(([to, name]) => `<a href="${to}"${to === at ? ' aria-current="page"' : ""}>${name}</a>`).join("\n");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
${STYLE}
</head>
<body>
<header><a class="home" href="/">AgentSentinel</a><nav aria-label="Pages">${places}</nav></header>
<div class="page${beside === "" ? " alone" : ""}">
${beside}
<main>
${body}
</main>
</div>
</body>
</html>
`;
}

const STYLE = `<style>
:root {
  color-scheme: light dark;
  --ink: light-dark(#1c2127, #dfe4ea); --quiet: light-dark(#5b6570, #98a3af); --line: light-dark(#dfe3e8, #2d343c);
  --ground: light-dark(#ffffff, #14181d); --raised: light-dark(#f5f7f9, #1b2027); --link: light-dark(#0b5cad, #7ab8f5);
  --get: light-dark(#0b5cad, #7ab8f5); --post: light-dark(#1a7040, #6cca8f); --put: light-dark(#8a5300, #e3b341); --delete: light-dark(#b3261e, #ff9b93);
}
* { box-sizing: border-box; }
html { scroll-padding-top: 4.5rem; }
body { margin: 0; font: 16px/1.6 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
a { color: var(--link); text-underline-offset: .15em; }
header { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .25rem 2rem; align-items: baseline; padding: .7rem 1.5rem; background: var(--ground); border-bottom: 1px solid var(--line); }
header a { text-decoration: none; color: var(--quiet); }
header .home { font-weight: 650; color: var(--ink); }
header nav { display: flex; gap: 1.25rem; font-size: .9rem; }
header [aria-current] { color: var(--ink); box-shadow: 0 2px var(--link); }
.page { display: grid; grid-template-columns: 19rem minmax(0, 1fr); max-width: 92rem; margin: 0 auto; }
.page.alone { grid-template-columns: minmax(0, 1fr); max-width: 56rem; }
main { padding: 2rem 2.5rem 6rem; overflow-wrap: break-word; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: .5rem 0 1rem; }
h2 { font-size: 1.4rem; letter-spacing: -.01em; margin: 4rem 0 0; padding-bottom: .4rem; border-bottom: 2px solid var(--line); }
h3 { font-size: 1.1rem; margin: 0 0 .35rem; }
h3 a { color: inherit; text-decoration: none; }
h3 a:hover { text-decoration: underline; }
h4 { font-size: .78rem; letter-spacing: .05em; text-transform: uppercase; color: var(--quiet); margin: 1.4rem 0 .4rem; }
.lead { font-size: 1.15rem; max-width: 46rem; }
main > p, main > ul { max-width: 46rem; }
li { margin: .3rem 0; }
code, pre { font: .86em/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
:not(pre) > code { background: var(--raised); border-radius: .25rem; padding: .1em .3em; overflow-wrap: anywhere; }
pre { margin: 0; padding: .9rem 1rem; overflow: auto; max-height: 26rem; font-size: .8rem; }
pre code { font-size: inherit; }
.contents { position: sticky; top: 3.1rem; align-self: start; height: calc(100vh - 3.1rem); overflow-y: auto; border-right: 1px solid var(--line); font-size: .82rem; }
.contents summary { padding: .6rem 1.5rem; cursor: pointer; font-weight: 650; font-size: .95rem; }
.contents nav { padding: 0 1rem 3rem 1.5rem; }
.contents search { display: block; position: sticky; top: 0; padding: 1.2rem 0 .5rem; background: var(--ground); }
.contents input { width: 100%; padding: .4rem .6rem; font: inherit; font-size: .9rem; color: inherit; background: var(--raised); border: 1px solid var(--line); border-radius: .4rem; }
.contents output { display: block; color: var(--quiet); }
.contents output:not(:empty) { padding-top: .3rem; }
.contents small { display: none; color: var(--quiet); font-size: .78rem; }
[hidden] { display: none !important; }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
.contents h2 { font-size: .85rem; margin: 1.2rem 0 .3rem; padding: 0; border: 0; }
.contents section:first-of-type h2 { margin-top: .4rem; }
.contents h2 a { color: var(--ink); text-decoration: none; }
.contents ul { list-style: none; margin: 0; padding: 0; }
.contents li { margin: 0; }
.contents li a { display: grid; grid-template-columns: 3.6rem 1fr; align-items: baseline; padding: .2rem 0; color: var(--quiet); text-decoration: none; line-height: 1.35; }
.contents a:hover { color: var(--link); }
.method { font: 650 .7rem/1 ui-monospace, SFMono-Regular, Menlo, monospace; letter-spacing: .03em; color: var(--tone); }
.get { --tone: var(--get); } .post { --tone: var(--post); } .put { --tone: var(--put); } .delete { --tone: var(--delete); }
.path .method { display: inline-block; padding: .35em .6em; border-radius: .3rem; background: color-mix(in srgb, var(--tone) 14%, transparent); }
.path { margin: 0 0 1rem; }
.path code { background: none; padding: 0 .2em; font-size: .95em; }
article { padding: 1.75rem 0; border-bottom: 1px solid var(--line); }
article:last-child { border: 0; }
article:target > h3 a { color: var(--link); text-decoration: underline; }
.sides { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 2.5rem; }
.sides p { margin: 0 0 .7rem; }
.examples { padding-top: .2rem; }
figure { margin: 0 0 1rem; background: var(--raised); border: 1px solid var(--line); border-radius: .5rem; overflow: hidden; }
figcaption { padding: .35rem 1rem; font-size: .78rem; color: var(--quiet); border-bottom: 1px solid var(--line); }
dl { margin: 0; display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .3rem 1rem; font-size: .92rem; }
dt, dd { margin: 0; }
dl.fields { grid-template-columns: minmax(0, 1fr); gap: 0; }
.fields dd { color: var(--quiet); padding-bottom: .5rem; }
.kind { font-size: .8rem; color: var(--quiet); }
.required { font-size: .75rem; color: var(--delete); }
.codes { font: .8rem/1.9 ui-monospace, SFMono-Regular, Menlo, monospace; }
.codes a { margin-right: .6rem; text-decoration: none; white-space: nowrap; }
.codes a:hover { text-decoration: underline; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 3rem; font-size: .95rem; }
th { text-align: left; font-size: .78rem; letter-spacing: .05em; text-transform: uppercase; color: var(--quiet); }
th, td { padding: .5rem 1rem .5rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:target td { background: color-mix(in srgb, var(--put) 18%, transparent); }
td code { white-space: nowrap; }
.cards { list-style: none; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; max-width: none; }
.cards li { margin: 0; }
.cards a { display: block; height: 100%; padding: 1rem 1.2rem; border: 1px solid var(--line); border-radius: .6rem; background: var(--raised); text-decoration: none; color: var(--quiet); font-size: .92rem; }
.cards a:hover { border-color: var(--link); }
.cards b { display: block; color: var(--link); font-size: 1rem; }
@media (min-width: 56.01rem) { .contents[open] > summary { display: none; } }
@media (max-width: 80rem) { .sides { grid-template-columns: minmax(0, 1fr); } .examples { padding-top: 1.2rem; } }
@media (max-width: 56rem) {
  header { position: static; padding: .6rem 1rem; }
  html { scroll-padding-top: 4rem; }
  .page { grid-template-columns: minmax(0, 1fr); }
  .contents { top: 0; z-index: 1; height: auto; overflow: visible; border-right: 0; border-bottom: 1px solid var(--line); background: var(--ground); font-size: .9rem; }
  .contents summary { padding: .75rem 1rem; }
  .contents nav { position: absolute; inset: 100% 0 auto; max-height: calc(100vh - 8rem); max-height: calc(100dvh - 8rem); overflow-y: auto; overscroll-behavior: contain; padding: 0 1rem 1.5rem; background: var(--ground); border-bottom: 1px solid var(--line); box-shadow: 0 .6rem 1.2rem color-mix(in srgb, var(--ink) 18%, transparent); }
  .contents search { padding-top: .4rem; }
  .contents input { font-size: 1rem; padding: .55rem .7rem; }
  .contents li a { padding: .4rem 0; }
  .contents small { display: block; }
  main { padding: 1rem 1rem 4rem; }
  h1 { font-size: 1.6rem; }
  td code { white-space: normal; overflow-wrap: normal; }
  th, td { padding-right: .5rem; }
}
@media print { header, .contents { display: none; } .page { display: block; } pre { max-height: none; } }
</style>`;

export const PROBLEMS_PAGE = page(
  "AgentSentinel: problems and reasons",
  "/docs/problems",
  "",
  `<h1>Problems</h1>
<p class="lead">A problem means that the question was not answered. A policy's "no" is an answer, never a problem: its reasons are <a href="#reasons">below</a>.</p>
<table>
<thead><tr><th scope="col">Code</th><th scope="col">Status</th><th scope="col">Meaning</th></tr></thead>
<tbody>
${REFUSALS.map((code) => `<tr id="${code}"><td><code>${breakable(code)}</code></td><td>${PROBLEMS[code].status}</td><td>${PROBLEMS[code].title}.</td></tr>`).join("\n")}
</tbody>
</table>
<h1 id="reasons">Reasons of decisions</h1>
<p class="lead">In order of precedence: if several hold, the first is the answer.</p>
<table>
<thead><tr><th scope="col">Reason</th><th scope="col">Meaning</th></tr></thead>
<tbody>
${REASONS.map((reason) => `<tr id="reason-${reason}"><td><code>${breakable(reason)}</code></td><td>${SENTENCES[reason]}</td></tr>`).join("\n")}
</tbody>
</table>`,
);

export const LANDING_PAGE = page(
  "AgentSentinel",
  "/",
  "",
  `<h1>AgentSentinel</h1>
<p class="lead">Runtime authority for autonomous agents: every action is asked for, decided, charged and recorded before it happens.</p>
<ul class="cards">
<li><a href="/docs"><b>The API</b>Every operation, with examples</a></li>
<li><a href="/docs/problems"><b>Problems and reasons</b>What each code means</a></li>
<li><a href="/openapi.json"><b>OpenAPI 3.1</b>The same, for machines</a></li>
<li><a href="/v1/policy-schema.json"><b>Policy schema</b>The JSON Schema of a policy</a></li>
<li><a href="/.well-known/jwks.json"><b>Keys</b>The public keys of its tokens</a></li>
<li><a href="/healthz"><b>Health</b>Whether it answers</a></li>
</ul>`,
);
