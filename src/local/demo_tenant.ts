import { createHash } from "node:crypto";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

export interface DemoTokens {
  /** For an agent: opens sessions, asks for decisions, reads. */
  readonly agent: string;
  /** For a person: everything. */
  readonly operator: string;
}

const TENANT = "demo";
const DAY_MS = 86_400_000;
const LIFE_MS = 30 * DAY_MS;
/** With less than this left, a kept token is made anew. */
const RENEW_MS = 7 * DAY_MS;

const AGENT_SCOPES = ["sessions:write", "decisions:write", "ledger:read", "ledger:write", "policies:read", "approvals:read", "events:read"];
const OPERATOR_SCOPES = [...AGENT_SCOPES, "policies:write", "approvals:write", "interventions:write", "tokens:write", "webhooks:write"];

/**
 * Makes the tenant `demo`, its tokens and its first policy over the gateway's own HTTP. What is there stays as it is: the tenant, a policy
 * that anybody put, and tokens with a week left, which are kept beside the state in a file only its owner can read.
 */
export async function prepareDemo(url: string, rootKey: string, signingKeys: string, state: string): Promise<DemoTokens> {
  const ask = asker(url);
  await ask("POST", "/v1/tenants", rootKey, { id: TENANT, name: "Demo" });
  const tokens = await keepTokens(tokensFile(state), digest(`${signingKeys}\n${rootKey}`), ask, rootKey);
  const policies = await ask("GET", "/v1/policies?limit=1", tokens.operator);
  if (Array.isArray(policies.items) && policies.items.length === 0) {
    await ask("PUT", "/v1/policies/demo", tokens.operator, readFileSync(path.join(import.meta.dirname, "demo-policy.yaml"), "utf8"));
  }
  return tokens;
}

/** Whether this state has had its demo tenant, and so, whatever became of it since, is nothing that has yet to be made. */
export const isDemoPrepared = (state: string): boolean => existsSync(tokensFile(state));

const tokensFile = (state: string): string => path.join(state, "demo-tokens.json");

async function keepTokens(file: string, madeWith: string, ask: Ask, rootKey: string): Promise<DemoTokens> {
  const kept = readKept(file);
  if (kept?.madeWith === madeWith && kept.expiresAt - Date.now() > RENEW_MS && (await work(ask, kept))) return kept;
  const issue = async (subject: string, kind: string, scopes: readonly string[]) => {
    const made = await ask("POST", "/v1/tokens", rootKey, { tenant: TENANT, subject, kind, scopes, ttl_ms: LIFE_MS });
    return String(made.token);
  };
  const fresh = {
    madeWith,
    expiresAt: Date.now() + LIFE_MS,
    agent: await issue("demo-agent", "agent", AGENT_SCOPES),
    operator: await issue("demo-operator", "human", OPERATOR_SCOPES),
  };
  writeFileSync(`${file}.new`, JSON.stringify(fresh), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return fresh;
}

/** Whether both tokens are still taken: they may have been revoked, or the tenant may be a new one of the same name. */
async function work(ask: Ask, tokens: DemoTokens): Promise<boolean> {
  try {
    await ask("GET", "/v1/policies?limit=1", tokens.operator);
    await ask("GET", "/v1/policies?limit=1", tokens.agent);
    return true;
  } catch {
    return false;
  }
}

function readKept(file: string): (DemoTokens & { readonly madeWith: string; readonly expiresAt: number }) | null {
  if (!existsSync(file)) return null;
  try {
    const { agent, operator, madeWith, expiresAt } = JSON.parse(readFileSync(file, "utf8"));
    const whole = typeof agent === "string" && typeof operator === "string" && typeof madeWith === "string" && typeof expiresAt === "number";
    return whole ? { agent, operator, madeWith, expiresAt } : null;
  } catch {
    // Written by somebody else or half gone: new tokens cost nothing.
    return null;
  }
}

/** What the gateway said instead of what was asked for. */
export class Unanswered extends Error {
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

type Ask = (method: string, route: string, token: string, body?: object | string) => Promise<{ readonly [member: string]: unknown }>;

/** Asks the gateway; anything but a 2xx throws with what it answered. A text is sent as YAML. */
function asker(url: string): Ask {
  return async (method, route, token, body) => {
    const answer = await fetch(`${url}${route}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": typeof body === "string" ? "application/yaml" : "application/json" }),
      },
      body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Unanswered(`${method} ${route} answered ${answer.status}: ${text.slice(0, 1000)}`, answer.status);
    return JSON.parse(text);
  };
}

const digest = (text: string): string => createHash("sha256").update(text).digest("hex");
