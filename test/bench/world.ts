import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { build as bundle } from "esbuild";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { type Built, build, ROOT } from "../../src/local/build.ts";
import { makeRootKey, makeSigningKeys } from "../../src/local/keys.ts";
import { migrate } from "../../src/local/migrate.ts";
import { type Runtime, startRuntime } from "../../src/local/runtime.ts";
import { post } from "./client.ts";
import { cpuMsOf, runtimes } from "./cpu.ts";
import { ENTITIES } from "./policies.ts";

/** A gateway of a group's own: the built Worker in workerd, reached directly, with an empty state that goes with it. */
export interface World {
  readonly url: URL;
  readonly built: Built;
  /** Where its objects and its D1 lie. */
  readonly state: string;
  readonly miniflare: Miniflare;
  /** Processor time that the runtime has had so far, in milliseconds; `NaN` where the system does not tell. */
  cpuMs(): number;
  /** Makes a tenant with this policy, whose tokens may ask as often as they can. */
  newTenant(id: string, policy: string | object): Promise<Tenant>;
  /** Stops the runtime, lets something be done to its state, and starts it again. Ports change, tokens do not: tenants stay good. */
  restart(meanwhile: () => void | Promise<void>): Promise<void>;
}

export interface Tenant {
  readonly id: string;
  /** May open sessions and decide. */
  readonly agent: string;
  /** A person who may do everything else. */
  readonly operator: string;
  /** Opens so many sessions, some at a time. */
  open(count: number): Promise<readonly string[]>;
  /** The text of a request to decide in a session. */
  decision(session: string, body: object): string;
  commit(session: string, decision: string, costUsd: string): string;
  release(session: string, decision: string): string;
  send(bearer: string, method: string, route: string, body?: unknown): Promise<Answer>;
}

/** Whatever the route answers: who asks knows what it asked for. */
export interface Answer {
  readonly id?: string;
  readonly token?: string;
  readonly [member: string]: unknown;
}

/** What is measured against: see `baselines.ts`. */
export interface Baselines {
  readonly url: URL;
  cpuMs(): number;
  readonly miniflare: Miniflare;
}

const OPENED_AT_ONCE = 32;
const AGENT_SCOPES = ["sessions:write", "decisions:write"];
const OPERATOR_SCOPES = ["policies:write", "policies:read", "interventions:write", "events:read", "ledger:read"];
/** The most that a tenant may allow: a bench measures what is behind the door. */
const NO_THROTTLE = { throttle: { requests: 1_000_000, window_ms: 1_000 } };

export async function withWorld<T>(say: (text: string) => void, work: (world: World) => Promise<T>): Promise<T> {
  const state = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-bench-"));
  const secrets = { ROOT_KEY: makeRootKey(), SIGNING_KEYS: makeSigningKeys() };
  const built = await build(() => say("building the gateway"));
  let pid: number | null = null;
  const start = async (): Promise<Runtime> => {
    const before = runtimes();
    const onDeath = (how: string) => console.error(`\nThe gateway's runtime went away: ${how}.`);
    const started = await startRuntime({ built, secrets, state, port: 0, onDeath });
    pid = runtimes().find((one) => !before.includes(one)) ?? null;
    return started;
  };
  let runtime: Runtime | null = await start();
  const running = (): Runtime => {
    if (runtime === null) throw new Error("the gateway is stopped just now");
    return runtime;
  };
  const url = () => new URL(running().url);
  try {
    await migrate(running().miniflare, built.migrations);
    return await work({
      get url() {
        return url();
      },
      get miniflare() {
        return running().miniflare;
      },
      built,
      state,
      cpuMs: () => cpuMsOf(pid),
      newTenant: (id, policy) => newTenant(url, secrets.ROOT_KEY, id, policy),
      async restart(meanwhile) {
        await running().stop();
        runtime = null;
        await meanwhile();
        runtime = await start();
      },
    });
  } finally {
    await runtime?.stop();
    rmSync(state, { recursive: true, force: true });
  }
}

async function newTenant(url: () => URL, rootKey: string, id: string, policy: string | object): Promise<Tenant> {
  const send: Tenant["send"] = (bearer, method, route, body) => sendTo(url(), bearer, method, route, body);
  await send(rootKey, "POST", "/v1/tenants", { id });
  const issue = async (subject: string, kind: string, scopes: readonly string[]) =>
    (await send(rootKey, "POST", "/v1/tokens", { tenant: id, subject, kind, scopes })).token ?? "";
  const operator = await issue("operator", "human", OPERATOR_SCOPES);
  const agent = await issue("bot", "agent", AGENT_SCOPES);
  await send(operator, "PUT", "/v1/settings", NO_THROTTLE);
  for (const [route, properties] of Object.entries(ENTITIES)) await send(operator, "PUT", route, { properties });
  await send(operator, "PUT", "/v1/policies/bench", policy);
  const headers = { authorization: `Bearer ${agent}` };
  return {
    id,
    agent,
    operator,
    async open(count) {
      const opened: string[] = [];
      let left = count;
      await Promise.all(
        Array.from({ length: Math.min(count, OPENED_AT_ONCE) }, async () => {
          while (left-- > 0) opened.push((await send(agent, "POST", "/v1/sessions", {})).id ?? "");
        }),
      );
      return opened;
    },
    decision: (session, body) => post(url(), `/v1/sessions/${session}/decisions`, headers, JSON.stringify(body)),
    commit: (session, decision, costUsd) =>
      post(url(), `/v1/sessions/${session}/decisions/${decision}/commit`, headers, JSON.stringify({ cost_usd: costUsd, outcome: "success" })),
    release: (session, decision) => post(url(), `/v1/sessions/${session}/decisions/${decision}/release`, headers, "{}"),
    send,
  };
}

/** Sends one request by ordinary means. A text is YAML; everything else is sent as JSON. Throws at whatever is no success. */
async function sendTo(url: URL, bearer: string, method: string, route: string, body?: unknown): Promise<Answer> {
  const type = typeof body === "string" ? "application/yaml" : "application/json";
  const answer = await fetch(new URL(route, url), {
    method,
    headers: { authorization: `Bearer ${bearer}`, ...(body !== undefined && { "content-type": type }) },
    body: body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${route} answered ${answer.status}: ${text.slice(0, 500)}`);
  return JSON.parse(text);
}

/** Starts what the gateway is measured against, in a runtime of its own, with a D1 that has the gateway's tables. */
export async function withBaselines<T>(migrations: Built["migrations"], work: (baselines: Baselines) => Promise<T>): Promise<T> {
  const state = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-baselines-"));
  const outfile = path.join(state, "baselines.js");
  await bundle({
    entryPoints: [path.join(ROOT, "test/bench/baselines.ts")],
    bundle: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:*", "node:*"],
    outfile,
  });
  const before = runtimes();
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "baselines",
      modules: [{ type: "ESModule", path: outfile }],
      modulesRoot: state,
      compatibilityDate: "2026-10-01",
      durableObjects: {
        COUNTERS: { className: "Counter", useSQLite: true },
        RECORDERS: { className: "Recorder", useSQLite: true },
        LEDGERS: { className: "TenantLedger", useSQLite: true },
      },
      d1Databases: { DB: "baselines" },
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      resourcePersistencePath: path.join(state, "objects"),
    }),
  );
  try {
    await miniflare.ready;
    const pid = runtimes().find((one) => !before.includes(one)) ?? null;
    await migrate(miniflare, migrations);
    return await work({ miniflare, cpuMs: () => cpuMsOf(pid), url: new URL((await miniflare.unsafeGetDirectURL()).origin) });
  } finally {
    await miniflare.dispose();
    rmSync(state, { recursive: true, force: true });
  }
}
