import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ROOT } from "../../../src/local/build.ts";
import { is200, isAllowed, load, post } from "../client.ts";
import type { Group } from "../groups.ts";
import { ALL_GATES, BARE, SEARCH } from "../policies.ts";
import { atLeast, loadTable } from "../report.ts";
import { type Case, ratioOf, takeTurns } from "../rounds.ts";
import { type Tenant, type World, withWorld } from "../world.ts";
import { isAllowedOrPosted, livesOf } from "./lifecycle.ts";

/** Not among our own dependencies: installed when this group first runs, beside the runtime's state. */
const PACKAGES = { fastify: "5.12.8", ioredis: "6.0.0", "rate-limiter-flexible": "11.4.0", "@portkey-ai/gateway": "1.15.2" };
const FOLDER = path.join(ROOT, ".wrangler/bench-peers");
const START_PATIENCE_MS = 30_000;
const CHAT = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hello" }] });

/**
 * Beside what a user would pick instead, with the same client in the same run: a budget in Redis behind Fastify, written to disk at every command; a rate
 * limiter on it; and an LLM gateway as one more hop before a provider that answers at once. None of them reads a policy, and the two of Redis know no
 * tokens: what they leave out is part of what they win by.
 */
export const peers: Group = {
  name: "peers",
  what: "Redis with Lua behind Fastify, rate-limiter-flexible, Portkey's gateway; they are installed on first use",
  byDefault: false,
  measure: (effort, say) =>
    withWorld(say, async (world) => {
      const children: ChildProcess[] = [];
      const scratch = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-peers-"));
      const notes: string[] = [];
      try {
        const cases = await ours(world);
        say("installing what others use");
        const why = install();
        if (why !== null) return { tables: [], ratios: [], notes: [`Skipped: ${why}`] };
        const hasRedis = isThere("redis-server");
        if (hasRedis) cases.push(...redisCases(await startRedis(children, scratch)));
        else notes.push("Skipped: everything on Redis, for there is no redis-server here (Debian: `apt-get install redis-server`).");
        cases.push(...(await portkeyCases(children)));
        const found = await takeTurns(cases, effort, say);
        const ratio = (name: string, a: string, b: string) => atLeast(null, name, ratioOf(found, a, b));
        return {
          tables: [loadTable("32 connections, or 1", found)],
          ratios: [
            ...(hasRedis
              ? [
                  ratio("decision, one budget / Redis reserve", "decision, one budget", "Redis reserve"),
                  ratio("full decision / Redis reserve", "full decision", "Redis reserve"),
                  ratio("decide + commit / Redis reserve + commit", "decide + commit, one budget", "Redis reserve + commit"),
                  ratio("decision, one budget / rate-limiter-flexible", "decision, one budget", "rate-limiter-flexible"),
                ]
              : []),
            ratio("decision, one budget / chat through Portkey", "decision, one budget", "chat through Portkey"),
            ratio("full decision / chat through Portkey", "full decision", "chat through Portkey"),
          ],
          notes,
        };
      } finally {
        await Promise.all(children.map(ended));
        rmSync(scratch, { recursive: true, force: true });
      }
    }),
};

async function ours(world: World): Promise<Case[]> {
  const [bare, full] = [await world.newTenant("bare", BARE), await world.newTenant("full", ALL_GATES)];
  let sessions: readonly string[] = [];
  const deciding = (name: string, tenant: Tenant, connections: number): Case => ({
    name,
    prepare: async () => {
      sessions = await tenant.open(1);
    },
    run: (durationMs) => {
      const text = tenant.decision(sessions[0] ?? "", SEARCH);
      return load({ target: world.url, connections, durationMs, next: () => text, accept: isAllowed });
    },
  });
  return [
    deciding("decision, one budget", bare, 32),
    deciding("full decision", full, 32),
    {
      ...deciding("decide + commit, one budget", bare, 32),
      run: (durationMs) =>
        load({ target: world.url, connections: 32, durationMs, requestsPerStep: 2, next: livesOf(bare, sessions), accept: isAllowedOrPosted }),
    },
    deciding("decision, one budget, 1 connection", bare, 1),
  ];
}

function redisCases(target: URL): readonly Case[] {
  const reserve = post(target, "/reserve", {}, JSON.stringify(SEARCH));
  const limit = post(target, "/limit", {}, JSON.stringify(SEARCH));
  const lives = () => {
    const underway = new Map<number, string>();
    return (connection: number): string => {
      const id = underway.get(connection);
      if (id !== undefined) {
        underway.delete(connection);
        return post(target, "/commit", {}, JSON.stringify({ id, cost_usd: "0.000001" }));
      }
      const fresh = randomUUID();
      underway.set(connection, fresh);
      return post(target, "/reserve", {}, JSON.stringify({ id: fresh, ...SEARCH }));
    };
  };
  const constant = (name: string, text: string, connections: number): Case => ({
    name,
    run: (durationMs) => load({ target, connections, durationMs, next: () => text, accept: isAllowed }),
  });
  return [
    constant("Redis reserve", reserve, 32),
    {
      name: "Redis reserve + commit",
      run: (durationMs) => load({ target, connections: 32, durationMs, requestsPerStep: 2, next: lives(), accept: isAllowedOrPosted }),
    },
    constant("rate-limiter-flexible", limit, 32),
    constant("Redis reserve, 1 connection", reserve, 1),
  ];
}

async function portkeyCases(children: ChildProcess[]): Promise<readonly Case[]> {
  const provider = new URL(`http://127.0.0.1:${await portOf(startNode(children, [path.join(ROOT, "test/bench/peers_server.ts"), "provider"]))}`);
  const port = await freePort();
  startNode(children, [path.join(FOLDER, "node_modules/@portkey-ai/gateway/build/start-server.js"), "--headless", `--port=${port}`]);
  await listening(port);
  const portkey = new URL(`http://127.0.0.1:${port}`);
  const through = { "x-portkey-provider": "openai", "x-portkey-custom-host": `${provider.origin}/v1`, authorization: "Bearer none" };
  const chat = (name: string, target: URL, headers: { readonly [name: string]: string }, connections: number): Case => {
    const text = post(target, "/v1/chat/completions", headers, CHAT);
    return { name, run: (durationMs) => load({ target, connections, durationMs, next: () => text, accept: is200 }) };
  };
  return [
    chat("chat with the provider itself", provider, {}, 32),
    chat("chat through Portkey", portkey, through, 32),
    chat("chat with the provider, 1 connection", provider, {}, 1),
    chat("chat through Portkey, 1 connection", portkey, through, 1),
  ];
}

/** Installs the packages at their exact versions, once; answers why it could not. */
function install(): string | null {
  const manifest = JSON.stringify({ private: true, dependencies: PACKAGES });
  const file = path.join(FOLDER, "package.json");
  const done = path.join(FOLDER, "node_modules/.package-lock.json");
  if (existsSync(done) && existsSync(file) && readFileSync(file, "utf8") === manifest) return null;
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(file, manifest);
  try {
    execFileSync("npm", ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
      cwd: FOLDER,
      stdio: ["ignore", "ignore", "pipe"],
    });
    return null;
  } catch (fault) {
    rmSync(FOLDER, { recursive: true, force: true });
    return `npm could not install ${Object.keys(PACKAGES).join(", ")}: ${fault instanceof Error ? fault.message.slice(0, 300) : String(fault)}`;
  }
}

function isThere(program: string): boolean {
  try {
    execFileSync(program, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

async function startRedis(children: ChildProcess[], folder: string): Promise<URL> {
  const port = await freePort();
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"];
  children.push(spawn("redis-server", args, { stdio: "ignore" }));
  await listening(port);
  const server = startNode(children, [path.join(ROOT, "test/bench/peers_server.ts"), "fastify", FOLDER, String(port)]);
  return new URL(`http://127.0.0.1:${await portOf(server)}`);
}

function startNode(children: ChildProcess[], args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, ["--no-warnings", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_ENV: "production" },
  });
  children.push(child);
  // What nobody reads must not fill the pipe: its writer would wait.
  child.stdout?.resume();
  return child;
}

/** The port that a server prints when it listens. */
function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.stdout?.once("data", (text: Buffer) => resolve(Number(text.toString())));
    child.once("exit", (code) => reject(new Error(`a server ended with ${code} before it listened`)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

/** Waits until somebody listens on a port. */
async function listening(port: number): Promise<void> {
  const deadline = performance.now() + START_PATIENCE_MS;
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect({ host: "127.0.0.1", port }, () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (isOpen) return;
    if (performance.now() > deadline) throw new Error(`nobody listens on port ${port} after ${START_PATIENCE_MS / 1000} s`);
    await sleep(50);
  }
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}
