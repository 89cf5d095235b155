import { bodyFor } from "./bodies.ts";
import type { Chance } from "./chance.ts";
import type { Tenant } from "./gateway.ts";
import type { Operation, Parameter } from "./operations.ts";
import type { PoolName, Pools } from "./pools.ts";
import { spoilRequest } from "./spoil.ts";
import { anyText, fitting, type Schema } from "./values.ts";
import type { Sent } from "./wire.ts";

/** One request, and what it was meant to be. */
export interface Asked {
  readonly sent: Sent;
  readonly operation: Operation;
  readonly path: { readonly [name: string]: string };
  /** Whether everything in it is as the document wants it, and whoever asks may. */
  readonly isValid: boolean;
}

export interface Surroundings {
  readonly operations: readonly Operation[];
  readonly schemas: { readonly [name: string]: Schema };
  readonly policySchema: Schema;
  readonly tenant: Tenant;
  readonly rootKey: string;
  readonly pools: Pools;
}

export function requestFor(operation: Operation, isValid: boolean, chance: Chance, around: Surroundings): Asked {
  const path = pathValues(operation, isValid, chance, around);
  const token = tokenFor(operation, chance, around);
  const isRoot = token === around.rootKey;
  const query = [
    ...queryValues(operation, chance, around),
    ...(isRoot && NAMES_TENANT.has(operation.id) ? [["tenant", around.tenant.id] as [string, string]] : []),
  ];
  const content = bodyFor(operation, path, chance, around);
  const draft: Draft = {
    method: operation.method,
    target: targetOf(operation, path, query),
    headers: [
      ...(token === null ? [] : [["Authorization", `Bearer ${token}`] as [string, string]]),
      ...(content === null ? [] : [["Content-Type", content.type] as [string, string]]),
      ...headerValues(operation, chance, around),
    ],
    body: content === null ? null : Buffer.from(content.text),
    framing: chance.isLucky(0.1) ? "chunked" : "length",
  };
  if (!isValid) spoilRequest(draft, content?.tree ?? null, chance, around);
  return { sent: draft, operation, path, isValid };
}

/** A request on its way, which may still be spoilt. */
export interface Draft {
  method: string;
  target: string;
  headers: [string, string][];
  body: Buffer | null;
  framing: "length" | "chunked";
}

function pathValues(operation: Operation, isValid: boolean, chance: Chance, { pools, tenant }: Surroundings): { readonly [name: string]: string } {
  const names = operation.parameters.filter((parameter) => parameter.in === "path").map(({ name }) => name);
  const values: { [name: string]: string } = {};
  const take = (pool: Parameters<Pools["pick"]>[0], ...into: readonly string[]): void => {
    const found = pools.pick(pool, chance);
    into.forEach((name, index) => {
      values[name] = found?.[index] ?? "none";
    });
  };
  if (names.includes("decision")) take(SETTLES.has(operation.id) && chance.isLucky(0.8) ? "pending" : "decision", "session", "decision");
  else if (names.includes("lease")) take("lease", "session", "lease");
  else if (names.includes("run")) take("run", "session", "run");
  else if (names.includes("session")) take("session", "session");
  if (names.includes("entry")) take("entry", "entry");
  if (names.includes("approval")) take(answerable(operation, chance, pools), "approval");
  if (names.includes("delivery")) take("delivery", "webhook", "delivery");
  else if (names.includes("webhook")) take("webhook", "webhook");
  if (names.includes("token")) take("token", "token");
  if (names.includes("version")) take("version", "name", "version");
  else if (names.includes("name") && operation.path.includes("/issuers/")) {
    if (operation.method === "PUT") values.name = chance.pick(["idp", "idp-2", "corp.example", `i${chance.below(50)}`]);
    else take("issuer", "name");
  } else if (names.includes("name")) {
    if (operation.method === "PUT") values.name = chance.pick(["p1", "p2", "bots-3", `n${chance.below(100)}`]);
    else take("policy", "name");
  }
  if (names.includes("type")) {
    if (operation.method === "PUT") {
      values.type = chance.pick(["agent", "mailbox", "customer", "日本", "a b", "x/y"]);
      values.id = chance.pick(["bot", "m1", "é%", "..", "a/b", "?", "x".repeat(512), `e${chance.below(100)}`]);
    } else take("entity", "type", "id");
  }
  // Now and then something that nobody has, in a place where something stands.
  if (!isValid && chance.isLucky(0.15) && names.length > 0) {
    const name = chance.pick(names);
    values[name] = chance.pick([
      `${PREFIX[name] ?? "x"}_${chance.uuid()}`,
      tenant.foreign[name] ?? "",
      tenant.foreign[name] ?? "",
      anyText(chance),
      "..",
      ".",
      "",
      "0",
      "-1",
      "999999999999",
      "constructor",
      "__proto__",
      "x".repeat(3000),
    ]);
  }
  return values;
}

/** Mostly what can be answered. */
function answerable({ id }: Operation, chance: Chance, pools: Pools): PoolName {
  const pool = id === "respondApproval" ? "questioned" : "waiting";
  return pools.last(pool) !== null && chance.isLucky(id === "readApproval" ? 0.4 : 0.8) ? pool : "approval";
}

/** With the root key these say whose. */
const NAMES_TENANT = new Set(["listTokens", "revokeToken"]);
const SETTLES = new Set(["commitDecision", "releaseDecision", "extendDecision", "topupDecision"]);
const PREFIX: { readonly [name: string]: string } = {
  session: "ses",
  run: "run",
  decision: "dec",
  entry: "ent",
  token: "tok",
  approval: "apr",
  webhook: "whk",
  delivery: "dlv",
  lease: "lse",
};

type Pairs = [name: string, value: string][];

function queryValues(operation: Operation, chance: Chance, around: Surroundings): Pairs {
  const pairs: Pairs = [];
  for (const parameter of operation.parameters) {
    if (parameter.in !== "query" || parameter.name === "tenant" || !chance.isLucky(parameter.name === "activate" ? 0.8 : 0.2)) continue;
    const value = queryValue(operation, parameter, chance, around);
    if (value !== null) pairs.push([parameter.name, value]);
  }
  const find = (name: string): string | undefined => pairs.find(([one]) => one === name)?.[1];
  // What belongs together, which a schema of one parameter does not say.
  if (operation.id === "putPolicy") {
    const rest = pairs.filter(([name]) => name !== "scope" && name !== "target");
    // A policy that comes into force for all would soon deny everything that is tried here.
    return chance.isLucky(0.5)
      ? [...rest.filter(([name]) => name !== "activate"), ["scope", "agent"], ["target", chance.pick(["bot-2", "nobody"])]]
      : [...rest.filter(([name]) => name !== "activate"), ["activate", chance.isLucky(0.1) ? "true" : "false"]];
  }
  const [from, to] = [find("from"), find("to")];
  if (from !== undefined && to !== undefined && Date.parse(from) > Date.parse(to)) return pairs.filter(([name]) => name !== "to");
  return pairs;
}

function queryValue(operation: Operation, { name, schema }: Parameter, chance: Chance, { pools }: Surroundings): string | null {
  switch (name) {
    case "cursor":
      return pools.pick(`cursor ${operation.id}`, chance)?.[0] ?? null;
    case "session":
      return pools.pick("session", chance)?.[0] ?? null;
    case "run":
      return pools.pick("run", chance)?.[1] ?? null;
    case "agent":
      return chance.pick(["bot", "bot-2", "operator", "日本語"]);
    case "types":
      return chance.pick(["*", "decision.*", "decision.deny,intervention.*", "policy.*, session.*"]);
    case "kinds":
      return chance.pick(["kill", "deny,hold", "overrun, expiry", "kill,pause,resume,revive"]);
    case "last_event_id":
      return chance.pick(["0", "1", "17", "17.1"]);
    case "wait_ms":
      return String(chance.pick([0, 1, 20, 100]));
    default: {
      const tree = fitting(
        schema,
        chance,
        () => null,
        () => schema,
      );
      return "raw" in tree ? String(JSON.parse(tree.raw)) : null;
    }
  }
}

const targetOf = (operation: Operation, path: { readonly [name: string]: string }, query: Pairs): string => {
  const filled = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encoded(path[name] ?? ""));
  return query.length === 0 ? filled : `${filled}?${query.map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join("&")}`;
};

/** Percent-encoded; dots too where a segment is nothing else, which URLs would take away. */
const encoded = (text: string): string => {
  const whole = encodeURIComponent(text.toWellFormed());
  return /^\.{1,2}$/.test(whole) ? whole.replaceAll(".", "%2E") : whole;
};

function tokenFor(operation: Operation, chance: Chance, { tenant, rootKey }: Surroundings): string | null {
  if (operation.callers.length === 0) return chance.isLucky(0.8) ? null : tenant.tokens.agent;
  const caller = chance.pick(operation.callers);
  if (caller.isRoot) return rootKey;
  const { tokens } = tenant;
  const isForAgents = caller.scopes.some((scope) =>
    ["sessions:write", "decisions:write", "ledger:read", "policies:read", "events:read"].includes(scope),
  );
  // Sessions are an agent's own: most of what happens in them happens with its token.
  const isAgents = operation.path.startsWith("/v1/sessions") || operation.id === "respondApproval";
  if (isForAgents && isAgents) return chance.isLucky(0.85) ? tokens.agent : tokens.service;
  // Only a person answers an approval.
  if (operation.id === "decideApproval" && chance.isLucky(0.8)) return tokens.operator;
  return chance.pick([tokens.operator, tokens.operator, tokens.service, ...(isForAgents ? [tokens.agent] : [])]);
}

function headerValues(operation: Operation, chance: Chance, { pools }: Surroundings): [string, string][] {
  const headers: [string, string][] = [];
  for (const { name } of operation.parameters.filter((parameter) => parameter.in === "header")) {
    if (name === "Idempotency-Key" && chance.isLucky(0.3)) headers.push([name, chance.isLucky(0.5) ? `k-${chance.below(20)}` : chance.hex(32)]);
    const etag = pools.pick("etag", chance)?.[0];
    if (name === "If-None-Match" && etag !== undefined && chance.isLucky(0.3)) headers.push([name, etag]);
    // Of something else, nearly always: then nothing is done.
    if (name === "If-Match" && etag !== undefined && chance.isLucky(0.1)) headers.push([name, etag]);
  }
  if (chance.isLucky(0.3)) headers.push(["X-Request-ID", chance.pick(["r", chance.hex(64), "~!@#$", "x".repeat(128)])]);
  if (chance.isLucky(0.2)) headers.push(["Accept", chance.pick(["*/*", "application/*, */*;q=0.1", "text/html, */*;q=0.8"])]);
  if (chance.isLucky(0.1)) headers.push(["Origin", "https://app.example.com"]);
  if (operation.id === "openEventSocket") {
    headers.push(
      ["Upgrade", "websocket"],
      ["Connection", "Upgrade"],
      ["Sec-WebSocket-Version", "13"],
      ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
    );
  }
  return headers;
}
