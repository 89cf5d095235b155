import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { makeSigningKeys } from "../../../src/local/keys.ts";

/**
 * Writes down what a version of the gateway leaves behind: `node test/workerd/states/record.ts CLONE NAME`, where CLONE is a clone of this repository at
 * that version, installed. It starts there what `npm start` starts, has a session live through a little of everything that the version knows, stops it, and
 * leaves beside this file NAME.sql, the tables of the tenant's, the session's and the ledger's object and D1's rows, and NAME.json, what was asked and
 * answered. `older_states.test.ts` lets the gateway of today go on with it.
 */

const ROOT_KEY = "the-root-key-of-a-recorded-state";
const SCOPES = ["sessions:write", "decisions:write", "ledger:read", "policies:read"];
const PERSONS_SCOPES = [...SCOPES, "policies:write", "approvals:read", "approvals:write", "interventions:write"];
const DAY_MS = 86_400_000;

const [clone, name] = process.argv.slice(2);
if (clone === undefined || name === undefined) throw new Error("Usage: node test/workerd/states/record.ts CLONE NAME");
const TENANT = `old-${name}`;
const state = mkdtempSync(path.join(tmpdir(), "agentsentinel-state-"));

function begin(): Promise<{ readonly program: ChildProcess; readonly origin: string }> {
  const environment = { ...process.env, ROOT_KEY, SIGNING_KEYS: makeSigningKeys(), NO_COLOR: "1" };
  const program = spawn("npm", ["start", "--", "--port", "0", "--persist-to", state], {
    cwd: clone,
    env: environment,
    stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((resolve, reject) => {
    let said = "";
    program.stdout?.on("data", (chunk) => {
      said += chunk;
      const [, origin] = /ready at (\S+)[\s\S]*Ctrl-C stops it/.exec(said) ?? [];
      if (origin !== undefined) resolve({ program, origin });
    });
    program.once("close", () => reject(new Error(`It did not start:\n${said}`)));
  });
}

const { program, origin } = await begin();

async function ask(token: string, method: string, route: string, body?: object | string) {
  const headers = { authorization: `Bearer ${token}`, "content-type": typeof body === "string" ? "application/yaml" : "application/json" };
  const answer = await fetch(`${origin}${route}`, {
    method,
    headers,
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${route} answered ${answer.status} ${text}`);
  return { text, body: text === "" ? null : JSON.parse(text) };
}

const { paths } = (await ask(ROOT_KEY, "GET", "/openapi.json")).body;
const knows = (route: string): boolean => route in paths;
const [hasApprovals, hasShared, hasLeases] = [
  knows("/v1/approvals/{approval}/decide"),
  knows("/v1/interventions"),
  knows("/v1/sessions/{session}/leases"),
];

await ask(ROOT_KEY, "POST", "/v1/tenants", { id: TENANT });
const tokenOf = async (subject: string, kind: string, scopes: readonly string[]): Promise<string> =>
  (await ask(ROOT_KEY, "POST", "/v1/tokens", { tenant: TENANT, subject, kind, scopes, ttl_ms: DAY_MS })).body.token;
const [bot, ann] = [await tokenOf("bot", "agent", SCOPES), await tokenOf("ann", "human", PERSONS_SCOPES)];

const POLICY = `budgets:
  session: 1.00
  actions: { "llm.*": 0.30 }
${hasShared ? "  agent: { total: 1.20 }\n" : ""}denied_actions: [wipe]
rate_limits: { ping: { max_count: 2, window_seconds: 86400 } }
approvals: { actions: [pay], timeout_seconds: 3600 }
`;
await ask(ann, "PUT", "/v1/policies/main", "denied_actions: [everything]");
await ask(ann, "PUT", "/v1/policies/main", POLICY);

const session: string = (await ask(bot, "POST", "/v1/sessions", { labels: { team: "claims" }, ttl_ms: DAY_MS })).body.id;
const asked: { readonly route: string; readonly body: object; readonly text: string }[] = [];
async function repeatable(route: string, body: object) {
  const { text, body: answer } = await ask(bot, "POST", `/v1/sessions/${session}${route}`, body);
  asked.push({ route, body, text });
  return answer;
}
let made = 0;
const decide = (action: string, estimate_usd = "0", more: object = {}) =>
  repeatable("/decisions", { id: `dec_019a9c1e-7f00-7abc-8def-${String(++made).padStart(12, "0")}`, action, estimate_usd, ...more });

const posted = await decide("fetch", "0.10", { inputs: { url: "https://example.com" }, tags: ["web"], rationale: "It is needed." });
await repeatable(`/decisions/${posted.id}/commit`, { cost_usd: "0.08", outcome: "success", duration_ms: 7, outputs: { found: true } });
const overrun = await decide("llm.chat", "0.05");
await repeatable(`/decisions/${overrun.id}/commit`, { cost_usd: "0.07", outcome: "error", error: "It broke off." });
const released = await decide("llm.chat", "0.20");
await repeatable(`/decisions/${released.id}/release`, { reason: "It was not needed." });
const pending = await decide("fetch", "0.04", { ttl_ms: DAY_MS });
await decide("wipe");
await decide("ping");
const hold = { inputs: { to: "acct_1" }, tags: ["money"] };
const [waits, approved] = [await decide("pay", "0.03", hold), await decide("pay", "0.02", hold)];
if (hasApprovals) {
  const { action_digest } = (await ask(ann, "GET", `/v1/approvals/${approved.approval.id}`)).body;
  await ask(ann, "POST", `/v1/approvals/${approved.approval.id}/decide`, { decision: "approve", action_digest });
}
let lease: { readonly id: string } | null = null;
if (hasLeases) {
  lease = (await ask(bot, "POST", `/v1/sessions/${session}/leases`, { amount_usd: "0.10", actions: ["work*"], ttl_ms: 60_000 })).body;
  const entry = { id: "dec_019a9c1e-7f00-7abc-8def-0000000000ff", action: "work.a", cost_usd: "0.03", outcome: "success" };
  await ask(bot, "POST", `/v1/sessions/${session}/leases/${lease?.id}/settle`, { entries: [entry], final: false });
}
if (hasShared) await ask(ann, "POST", "/v1/interventions", { kind: "kill", target: { type: "action", id: "danger*" }, reason: "It is." });

const read = (await ask(bot, "GET", `/v1/sessions/${session}`)).body;
const at = Date.now();
/** What was shipped is erased a little later; from what is recorded here nothing is to be shipped twice. */
await new Promise((resolve) => setTimeout(resolve, 15_000));
const entries: number = (await ask(ann, "GET", "/v1/ledger?limit=1000")).body.items.length;
program.kill("SIGTERM");
await new Promise((resolve) => program.once("close", resolve));

const literal = (value: unknown): string =>
  typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : value === null ? "NULL" : String(value);
const databases = readdirSync(state, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".sqlite"))
  .map((file) => new DatabaseSync(path.join(state, file)));
const rowsOf = (database: DatabaseSync, sql: string): readonly Record<string, unknown>[] => {
  try {
    return database.prepare(sql).all();
  } catch {
    return [];
  }
};
const inserts = (database: DatabaseSync, table: string, where = ""): readonly string[] =>
  rowsOf(database, `SELECT * FROM ${table} ${where}`).map(
    (row) => `INSERT INTO ${table} (${Object.keys(row).join(", ")}) VALUES (${Object.values(row).map(literal).join(", ")});`,
  );

/** An object's tables and rows, as statements that make them again. */
function dumped(isIt: (database: DatabaseSync) => boolean): readonly string[] {
  const database = databases.find(isIt);
  if (database === undefined) throw new Error("An object is missing.");
  const made = rowsOf(
    database,
    "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE '\\_cf\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid",
  );
  return made.flatMap(({ type, name: table, sql }) => [`${sql};`, ...(type === "table" ? inserts(database, String(table)) : [])]);
}

const has = (sql: string) => (database: DatabaseSync) => rowsOf(database, sql).length > 0;
const sections = {
  tenant: dumped(has(`SELECT 1 FROM tenant WHERE id = '${TENANT}'`)),
  session: dumped(has(`SELECT 1 FROM session WHERE id = '${session}'`)),
  ledger: dumped(has(`SELECT 1 FROM chains WHERE chain = '${session}'`)),
  rows: databases.flatMap((database) => ["entries", "payloads"].flatMap((table) => inserts(database, table, `WHERE tenant = '${TENANT}'`))),
};
const sql = Object.entries(sections).map(([section, statements]) => `-- ${section}\n${statements.join("\n")}\n`);
writeFileSync(path.join(import.meta.dirname, `${name}.sql`), sql.join(""));
const told = {
  at,
  origin,
  tenant: TENANT,
  session,
  entries,
  policy: POLICY,
  pending: pending.id,
  waits: waits.approval,
  approved: approved.approval,
  hold,
  lease: lease?.id ?? null,
};
writeFileSync(path.join(import.meta.dirname, `${name}.json`), `${JSON.stringify({ ...told, read, asked }, null, 2)}\n`);
for (const database of databases) database.close();
rmSync(state, { recursive: true });
