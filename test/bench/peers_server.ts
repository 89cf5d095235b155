import { randomUUID } from "node:crypto";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";

/**
 * What a user might build instead, as its packages' own documents have it: `node peers_server.ts fastify FOLDER REDIS_PORT`, where the packages lie in
 * FOLDER; and a stand-in for a model's provider, `node peers_server.ts provider`. Each prints the port it listens on.
 */

/** Of each package what is used here; they are not among ours, so their own types are not there. */
interface FastifyApp {
  post<T>(route: string, answer: (request: { readonly body: T }) => Promise<object>): void;
  listen(at: { readonly port: number; readonly host: string }): Promise<string>;
}
interface Redis {
  script(command: "LOAD", lua: string): Promise<string>;
  evalsha(sha: string, keys: number, ...args: readonly (string | number)[]): Promise<number>;
}
interface Packages {
  readonly fastify: () => FastifyApp;
  readonly Redis: new (port: number, host: string) => Redis;
  readonly RateLimiterRedis: new (options: object) => { consume(key: string): Promise<unknown> };
}

const LIMIT_MICRO_USD = 1_000_000_000_000;
const TTL_MS = 300_000;

/** One budget, checked and taken in one step. What is never committed stays pending: to give it back at its end would take a job of its own. */
const RESERVE = `
  local spent = tonumber(redis.call('HGET', KEYS[1], 'posted') or '0') + tonumber(redis.call('HGET', KEYS[1], 'pending') or '0')
  if spent + tonumber(ARGV[1]) > tonumber(ARGV[2]) then return 0 end
  redis.call('HINCRBY', KEYS[1], 'pending', ARGV[1])
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
  return 1`;
const COMMIT = `
  local held = redis.call('GETDEL', KEYS[2])
  if not held then return 0 end
  redis.call('HINCRBY', KEYS[1], 'pending', -tonumber(held))
  redis.call('HINCRBY', KEYS[1], 'posted', ARGV[1])
  return 1`;

async function serveFastify(folder: string, redisPort: number): Promise<void> {
  const require = createRequire(path.join(folder, "package.json"));
  // The packages' documented exports.
  const { fastify, Redis, RateLimiterRedis } = { ...require("fastify"), ...require("ioredis"), ...require("rate-limiter-flexible") } as Packages;
  const redis = new Redis(redisPort, "127.0.0.1");
  const [reserve, commit] = [await redis.script("LOAD", RESERVE), await redis.script("LOAD", COMMIT)];
  const limiter = new RateLimiterRedis({ storeClient: redis, points: 1_000_000_000, duration: 60 });
  const app = fastify();
  app.post<{ readonly id?: string; readonly estimate_usd: string }>("/reserve", async ({ body }) => {
    const id = body.id ?? randomUUID();
    const microUsd = Math.round(Number(body.estimate_usd) * 1_000_000);
    const isAllowed = await redis.evalsha(reserve, 2, "account", `reservation:${id}`, microUsd, LIMIT_MICRO_USD, TTL_MS);
    return { id, verdict: isAllowed === 1 ? "allow" : "deny" };
  });
  app.post<{ readonly id: string; readonly cost_usd: string }>("/commit", async ({ body }) => {
    const microUsd = Math.round(Number(body.cost_usd) * 1_000_000);
    const isThere = await redis.evalsha(commit, 2, "account", `reservation:${body.id}`, microUsd);
    return { id: body.id, state: isThere === 1 ? "posted" : "unknown" };
  });
  app.post("/limit", async () => {
    await limiter.consume("bot");
    return { verdict: "allow" };
  });
  console.log(new URL(await app.listen({ port: 0, host: "127.0.0.1" })).port);
}

/** Answers every chat at once with the same words. */
function serveProvider(): void {
  const answer = JSON.stringify({
    id: "chatcmpl-1",
    object: "chat.completion",
    created: 1,
    model: "m",
    choices: [{ index: 0, message: { role: "assistant", content: "hello" }, finish_reason: "stop" }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  });
  const server = http.createServer((request, response) => {
    request.resume();
    request.on("end", () => response.setHeader("content-type", "application/json").end(answer));
  });
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    console.log(typeof address === "object" && address !== null ? address.port : 0);
  });
}

const [role, folder = "", redisPort = ""] = process.argv.slice(2);
if (role === "provider") serveProvider();
else await serveFastify(folder, Number(redisPort));
