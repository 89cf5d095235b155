import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { SCOPES, SCOPES_NO_AGENT_HOLDS } from "../../../src/core/scopes.ts";
import { build } from "../../../src/local/build.ts";
import { makeRootKey, makeSigningKeys } from "../../../src/local/keys.ts";
import { migrate } from "../../../src/local/migrate.ts";
import { startRuntime } from "../../../src/local/runtime.ts";
import type { OpenApi } from "./operations.ts";
import type { Schema } from "./values.ts";

/** The real gateway: the built Worker in workerd, reached over a socket of its own, with a fresh state that is removed afterwards. */
export interface Gateway {
  readonly url: URL;
  readonly rootKey: string;
  /** Whether the runtime went away by itself; how. */
  readonly death: () => string | null;
  stop(): Promise<void>;
}

export async function startGateway(say: (text: string) => void): Promise<Gateway> {
  const state = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-fuzz-"));
  // However the program ends, nothing of it stays.
  process.once("exit", () => rmSync(state, { recursive: true, force: true }));
  const secrets = { ROOT_KEY: makeRootKey(), SIGNING_KEYS: makeSigningKeys() };
  let death: string | null = null;
  const built = await build(() => say("building the gateway …\n"));
  const runtime = await startRuntime({
    built,
    secrets,
    state,
    port: 0,
    onDeath: (how) => {
      death = how;
    },
  });
  await migrate(runtime.miniflare, built.migrations);
  return {
    url: new URL(runtime.url),
    rootKey: secrets.ROOT_KEY,
    death: () => death,
    async stop() {
      await runtime.stop();
      rmSync(state, { recursive: true, force: true });
    },
  };
}

/** What the gateway says that it serves, and the language of its policies: read from itself, for what they say is what is wanted of it. */
export async function readDocuments(gateway: Gateway): Promise<{ readonly document: OpenApi; readonly policySchema: Schema }> {
  const read = async (route: string): Promise<unknown> => (await fetch(new URL(route, gateway.url))).json();
  const [document, policySchema] = await Promise.all([read("/openapi.json"), read("/v1/policy-schema.json")]);
  // Both have the shape of their specification; where they had not, nothing would be found in them.
  return { document: document as OpenApi, policySchema: policySchema as Schema };
}

/** Asks as an honest client would, and wants the status that is stated. */
export async function ask(
  gateway: Gateway,
  bearer: string,
  method: string,
  route: string,
  wanted: number,
  body?: unknown,
  type = "application/json",
) {
  const answer = await fetch(new URL(route, gateway.url), {
    method,
    headers: { authorization: `Bearer ${bearer}`, "content-type": type },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await answer.text();
  if (answer.status !== wanted) throw new Error(`${method} ${route} answered ${answer.status}, wanted ${wanted}: ${text.slice(0, 1000)}`);
  return text === "" ? null : JSON.parse(text);
}

const AGENT_SCOPES = SCOPES.filter((scope) => !SCOPES_NO_AGENT_HOLDS.includes(scope));

/** What a lane of the fuzzer works in: a tenant of its own, which no other lane can change, so that a lane's answers depend on its seed alone. */
export interface Tenant {
  readonly id: string;
  readonly tokens: { readonly [T in TokenName]: string };
  readonly tokenIds: readonly string[];
  /** What the stranger's tenant has, by the name that paths have for it. */
  readonly foreign: { readonly [parameter: string]: string };
}

export type TokenName = "operator" | "agent" | "otherAgent" | "service" | "scopeless" | "stranger" | "revoked" | "expired";

/** Loose enough that decisions are allowed for long, and with each kind of rule in it. */
const POLICY = `
budgets: { session: 1000, run: 900, actions: { "db.*": 400, search: 300 }, alerts: [0.5] }
denied_actions: [delete_database, "fs.rm*"]
rate_limits: { "rated*": { max_count: 3, window_seconds: 60 } }
concurrency: { "browser.*": 10 }
approvals: { actions: [send_money], threshold_usd: 500 }
redact: { keys: [password], detect: [email] }
`;

let tenants = 0;

export async function openTenant(gateway: Gateway): Promise<Tenant> {
  const id = `fuzz-${++tenants}`;
  const stranger = `other-${tenants}`;
  await Promise.all([id, stranger].map((each) => ask(gateway, gateway.rootKey, "POST", "/v1/tenants", 201, { id: each })));
  const ids: string[] = [];
  const issue = async (tenant: string, subject: string, kind: string, scopes: readonly string[], ttl_ms = 86_400_000): Promise<string> => {
    const issued = await ask(gateway, gateway.rootKey, "POST", "/v1/tokens", 201, { tenant, subject, kind, scopes, ttl_ms });
    ids.push(issued.id);
    return issued.token;
  };
  const operator = await issue(id, "operator", "human", SCOPES);
  const revoked = await issue(id, "bot", "agent", AGENT_SCOPES);
  await ask(gateway, operator, "DELETE", `/v1/tokens/${ids[1]}`, 204);
  const tokens = {
    operator,
    revoked,
    agent: await issue(id, "bot", "agent", AGENT_SCOPES),
    otherAgent: await issue(id, "bot-2", "agent", AGENT_SCOPES),
    service: await issue(id, "pep", "service", SCOPES),
    scopeless: await issue(id, "nobody", "human", []),
    stranger: await issue(stranger, "operator", "human", SCOPES),
    expired: await issue(id, "bot", "agent", AGENT_SCOPES, 1000),
  };
  await ask(gateway, operator, "PUT", "/v1/policies/base", 201, POLICY, "application/yaml");
  return { id, tokens, tokenIds: ids, foreign: await openForeign(gateway, tokens.stranger) };
}

/** Something of each kind that only the stranger may see. */
async function openForeign(gateway: Gateway, stranger: string): Promise<Tenant["foreign"]> {
  await ask(gateway, stranger, "PUT", "/v1/policies/base", 201, POLICY, "application/yaml");
  const { id: session, run } = await ask(gateway, stranger, "POST", "/v1/sessions", 201, { agent: "bot" });
  const held = await ask(gateway, stranger, "POST", `/v1/sessions/${session}/decisions`, 200, { action: "send_money", inputs: { to: "x" } });
  const webhook = await ask(gateway, stranger, "POST", "/v1/webhooks", 201, { url: NOWHERE, events: ["approval.*"] });
  return { session, run, decision: held.id, approval: held.approval.id, webhook: webhook.id };
}

/** This machine's own closed port: nobody outside is ever asked by a test. */
export const NOWHERE = "http://127.0.0.1:9/hook";
