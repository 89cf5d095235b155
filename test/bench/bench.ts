import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { build as bundle } from "esbuild";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { build, ROOT } from "../../src/local/build.ts";
import { makeRootKey, makeSigningKeys } from "../../src/local/keys.ts";
import { migrate } from "../../src/local/migrate.ts";
import { startRuntime } from "../../src/local/runtime.ts";
import { load, post, type Round } from "./client.ts";
import { measurePolicy, printPolicy } from "./policy.ts";

const HELP = `npm run bench -- [--only gateway|policy] [--rounds N] [--seconds N] [--json]

Measures a full decision against what it is made of, all in workerd itself, in one run on this machine. The ratios are what counts:
the same load, in interleaved rounds, the median of each. --rounds (default 5), --seconds of each round (default 2), --json for one object.
Before that, the policy engine alone, in this process: against Cedar and casbin on the same rules, with 10,000 rules against ten, from a policy's
text to its first answer, and with everything that a session does around it. There a round takes a quarter of --seconds. --only for one of the two.`;

const POLICY = `
budgets: { session: 1000000, run: 1000000, actions: { "db.*": 500000, search: 500000 } }
denied_actions: [delete_database, "fs.rm*"]
rate_limits: { search: { max_count: 1000000, window_seconds: 1 } }
concurrency: { "browser.*": 10 }
approvals: { actions: [send_money], threshold_usd: 5 }
`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
if (values.only !== undefined && values.only !== "gateway" && values.only !== "policy") {
  console.error(`--only is gateway or policy, found ${values.only}`);
  process.exit(2);
}

const say = (text: string) => process.stderr.write(text);
const policy = values.only === "gateway" ? null : await measurePolicy(Number(values.rounds), Number(values.seconds), say);
if (values.only === "policy" && policy !== null) {
  if (values.json) console.log(JSON.stringify({ rounds: Number(values.rounds), cores: os.availableParallelism(), policy }));
  else printPolicy(policy);
  process.exit(0);
}

const state = mkdtempSync(path.join(os.tmpdir(), "agentsentinel-bench-"));
const secrets = { ROOT_KEY: makeRootKey(), SIGNING_KEYS: makeSigningKeys() };
const built = await build(() => say("building the gateway …\n"));
const gateway = await startRuntime({ built, secrets, state, port: 0, onDeath: (how) => say(`the gateway's runtime went away: ${how}\n`) });
await migrate(gateway.miniflare, built.migrations);
const { miniflare: baselines, url: baselinesUrl } = await startBaselines();

try {
  const gate = new URL(gateway.url);
  const base = new URL(baselinesUrl);
  const token = await openTenant(gate);
  const body = JSON.stringify({ action: "search", estimate_usd: "0.000001", tags: ["search"], inputs: { query: "durable objects" } });
  const headers = { authorization: `Bearer ${token}` };
  const is200 = (head: string) => head.startsWith("HTTP/1.1 200");
  const isAllowed = (head: string, answer: string) => is200(head) && answer.includes('"verdict":"allow"');
  let turn = 0;
  const spread = async (count: number) => Promise.all(Array.from({ length: count }, () => openSession(gate, token)));

  const one = await spread(1);
  const many = await spread(64);
  const decision = (session: string) => post(gate, `/v1/sessions/${session}/decisions`, headers, body);
  const decisions = (sessions: readonly string[]) => {
    const texts = sessions.map(decision);
    return () => texts[turn++ % texts.length] ?? "";
  };
  const batch = JSON.stringify({ decisions: Array.from({ length: 100 }, () => JSON.parse(body)) });
  const constant = (text: string) => () => text;
  const names = Array.from({ length: 64 }, (_, n) => post(base, `/naive/many${n}`, headers, body));

  const cases: readonly { readonly name: string; readonly run: (ms: number) => Promise<Round>; readonly factor?: number }[] = [
    { name: "bare route, 32 connections", run: (ms) => load(base, 32, ms, constant(post(base, "/bare", headers, body)), is200) },
    { name: "in-memory object, 32", run: (ms) => load(base, 32, ms, constant(post(base, "/memory/one", headers, body)), is200) },
    { name: "naive object, 32", run: (ms) => load(base, 32, ms, constant(post(base, "/naive/one", headers, body)), is200) },
    { name: "decision, one session, 32", run: (ms) => load(gate, 32, ms, decisions(one), isAllowed) },
    { name: "in-memory object, 64", run: (ms) => load(base, 64, ms, constant(post(base, "/memory/one", headers, body)), is200) },
    { name: "naive object, 64", run: (ms) => load(base, 64, ms, constant(post(base, "/naive/one", headers, body)), is200) },
    { name: "decision, one session, 64", run: (ms) => load(gate, 64, ms, decisions(one), isAllowed) },
    { name: "64 naive objects, 64", run: (ms) => load(base, 64, ms, () => names[turn++ % names.length] ?? "", is200) },
    { name: "decision, 64 sessions, 64", run: (ms) => load(gate, 64, ms, decisions(many), isAllowed) },
    {
      name: "batch of 100, 4",
      factor: 100,
      run: (ms) => load(gate, 4, ms, constant(post(gate, `/v1/sessions/${one[0]}/decisions/batch`, headers, batch)), isAllowed),
    },
  ];

  const rounds = Number(values.rounds);
  const results = new Map<string, Round[]>(cases.map(({ name }) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const { name, run, factor = 1 } of cases) {
      say(`\rround ${round} of ${rounds}: ${name.padEnd(32)}`);
      const measured = await run(round === 0 ? 500 : Number(values.seconds) * 1000);
      // Round 0 warms up: nothing of it counts.
      if (round > 0) results.get(name)?.push({ ...measured, perSecond: measured.perSecond * factor });
    }
  }
  say(`\r${" ".repeat(60)}\r`);
  print(results);
} finally {
  await Promise.all([gateway.stop(), baselines.dispose()]);
  rmSync(state, { recursive: true, force: true });
}

function print(results: ReadonlyMap<string, readonly Round[]>): void {
  const median = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
  const rows = Array.from(results, ([name, rounds]) => ({
    name,
    per_second: median(rounds.map((round) => round.perSecond)),
    p50_ms: median(rounds.map((round) => round.p50Ms)),
    p95_ms: median(rounds.map((round) => round.p95Ms)),
    p99_ms: median(rounds.map((round) => round.p99Ms)),
  }));
  const rate = (name: string) => rows.find((row) => row.name === name)?.per_second ?? Number.NaN;
  const ratio = (name: string, a: string, b: string, wanted: string) => ({ name, ratio: rate(a) / rate(b), wanted });
  const ratios = [
    ratio("decision / bare route (32)", "decision, one session, 32", "bare route, 32 connections", ""),
    ratio("decision / in-memory object (32)", "decision, one session, 32", "in-memory object, 32", "0.7 later"),
    ratio("decision / naive object (32)", "decision, one session, 32", "naive object, 32", "0.7 now, 1.0 later"),
    ratio("decision / in-memory object (64)", "decision, one session, 64", "in-memory object, 64", "0.7 later"),
    ratio("decision / naive object (64)", "decision, one session, 64", "naive object, 64", "0.7 now, 1.0 later"),
    ratio("64 sessions / 64 naive objects (64)", "decision, 64 sessions, 64", "64 naive objects, 64", "0.8 later"),
    ratio("batch of 100 / single decisions", "batch of 100, 4", "decision, one session, 32", "10 later"),
  ];
  if (values.json) {
    console.log(
      JSON.stringify({ rounds: Number(values.rounds), seconds: Number(values.seconds), cores: os.availableParallelism(), rows, ratios, policy }),
    );
    return;
  }
  if (policy !== null) {
    printPolicy(policy);
    console.log("");
  }
  console.log("case                              per second   p50 ms   p95 ms   p99 ms");
  for (const row of rows) {
    const cells = [row.per_second.toFixed(0).padStart(10), ...[row.p50_ms, row.p95_ms, row.p99_ms].map((ms) => ms.toFixed(2).padStart(8))];
    console.log(`${row.name.padEnd(32)}  ${cells.join(" ")}`);
  }
  console.log("\nratio                                 found   wanted");
  for (const row of ratios) console.log(`${row.name.padEnd(36)}  ${row.ratio.toFixed(2).padStart(5)}   ${row.wanted}`);
}

async function startBaselines(): Promise<{ readonly miniflare: Miniflare; readonly url: string }> {
  const outfile = path.join(state, "baselines.js");
  await bundle({
    entryPoints: [path.join(ROOT, "test/bench/baselines.ts")],
    bundle: true,
    format: "esm",
    target: "es2024",
    external: ["cloudflare:workers"],
    outfile,
  });
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "baselines",
      modules: [{ type: "ESModule", path: outfile }],
      modulesRoot: state,
      compatibilityDate: "2026-10-01",
      durableObjects: { COUNTERS: { className: "Counter", useSQLite: true } },
      unsafeDirectSockets: [{ host: "127.0.0.1", port: 0 }],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      resourcePersistencePath: path.join(state, "baselines"),
    }),
  );
  await miniflare.ready;
  return { miniflare, url: (await miniflare.unsafeGetDirectURL()).origin };
}

async function openTenant(gate: URL): Promise<string> {
  await send(gate, "POST", "/v1/tenants", secrets.ROOT_KEY, { id: "bench" });
  const issue = async (subject: string, kind: string, scopes: readonly string[]) =>
    (await send(gate, "POST", "/v1/tokens", secrets.ROOT_KEY, { tenant: "bench", subject, kind, scopes })).token ?? "";
  const operator = await issue("operator", "human", ["policies:write"]);
  await send(gate, "PUT", "/v1/policies/bench", operator, POLICY, "application/yaml");
  return issue("bot", "agent", ["sessions:write", "decisions:write"]);
}

async function openSession(gate: URL, token: string): Promise<string> {
  return (await send(gate, "POST", "/v1/sessions", token, {})).id ?? "";
}

async function send(
  gate: URL,
  method: string,
  route: string,
  bearer: string,
  body: unknown,
  type = "application/json",
): Promise<Record<string, string>> {
  const answer = await fetch(new URL(route, gate), {
    method,
    headers: { authorization: `Bearer ${bearer}`, "content-type": type },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${route} answered ${answer.status}: ${text}`);
  return JSON.parse(text);
}
