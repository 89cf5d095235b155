import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { Problem } from "../../../sdk/src/wire.ts";
import { build, QUIET } from "../build.ts";
import { makeRootKey, makeSigningKeys } from "../keys.ts";
import { migrate } from "../migrate.ts";
import { startRuntime } from "../runtime.ts";

/** A gateway to drive, and the key that may make a tenant there. */
export interface Gateway {
  readonly url: string;
  readonly rootKey: string;
  stop(): Promise<void>;
}

/** Starts a gateway for this run alone: its own keys, an empty state in a temporary directory, a free port. Stopping it leaves nothing. */
export async function startGateway(say: (line: string) => void): Promise<Gateway> {
  Object.assign(process.env, QUIET);
  const state = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-demo-"));
  // However this program ends; what can be waited for is waited for in `stop`.
  const remove = (): void => {
    try {
      rmSync(state, { recursive: true, force: true, maxRetries: 3 });
    } catch {
      // A runtime that is only just ending may still write there; it is the system's temporary directory.
    }
  };
  process.once("exit", remove);
  const secrets = { ROOT_KEY: makeRootKey(), SIGNING_KEYS: makeSigningKeys() };
  const built = await build(() => say("Building the Worker; this takes a few seconds, and only when its sources have changed."));
  const onDeath = (how: string): void => {
    process.stderr.write(`The Workers runtime ended by itself (${how}).\n`);
    process.exit(1);
  };
  const runtime = await startRuntime({ built, secrets, state, port: 0, onDeath });
  await migrate(runtime.miniflare, built.migrations);
  return {
    url: runtime.url,
    rootKey: secrets.ROOT_KEY,
    async stop() {
      await runtime.stop();
      remove();
      process.removeListener("exit", remove);
    },
  };
}

/** What the demo is in a gateway: a tenant of its own, with the policy in force, so that nobody else's money or record is touched. */
export interface Stage {
  readonly tenant: string;
  /** Opens sessions and asks. */
  readonly agentToken: string;
  /** Reads the record and the costs; nothing else. */
  readonly auditorToken: string;
}

export async function setStage({ url, rootKey }: Gateway, policyYaml: string): Promise<Stage> {
  const tenant = `airline-demo-${Date.now().toString(36)}`;
  await ask(url, "POST", "/v1/tenants", rootKey, { id: tenant, name: "Recorded airline runs" });
  const issue = async (subject: string, kind: string, scopes: readonly string[]): Promise<string> => {
    const { token } = JSON.parse(await ask(url, "POST", "/v1/tokens", rootKey, { tenant, subject, kind, scopes, ttl_ms: 3_600_000 }));
    return String(token);
  };
  const author = await issue("demo-author", "human", ["policies:write"]);
  await ask(url, "PUT", "/v1/policies/airline-demo", author, policyYaml);
  return {
    tenant,
    agentToken: await issue("airline-agent", "agent", ["sessions:write", "decisions:write"]),
    auditorToken: await issue("demo-auditor", "service", ["ledger:read"]),
  };
}

/** Asks the gateway and gives the answer's text; anything but a 2xx throws with what it answered. A text is sent as YAML. */
export async function ask(url: string, method: string, route: string, token: string, body?: object | string): Promise<string> {
  const type = typeof body === "string" ? "application/yaml" : "application/json";
  const answer = await fetch(`${url}${route}`, {
    method,
    headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": type }) },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  }).catch((fault: unknown) => {
    throw new Error(`${method} ${route}: the gateway at ${url} did not answer`, { cause: fault });
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${route} answered ${answer.status}: ${refusalIn(text)}`);
  return text;
}

/** A problem document in words, its issues below it; anything else as it came. */
function refusalIn(text: string): string {
  try {
    const { code, detail, issues = [] }: Problem = JSON.parse(text);
    const found = issues.map(({ pointer, message, line }) => `  ${pointer}${line === undefined ? "" : ` (line ${line})`}: ${message}`);
    return [`${code}: ${detail}`, ...found].join("\n");
  } catch {
    return text.slice(0, 1000);
  }
}
