import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LEASE_TERM_MS } from "../../src/authority/lease_term.ts";
import { MOST_SPENT } from "../../src/core/book.ts";
import { LEASE_TTL_MS, MOST_OPEN_LEASES, MOST_UNTOLD_LEASES } from "../../src/core/client_lease.ts";
import { formatUsd, microUsdOf } from "../../src/core/money.ts";
import { MOST_REGEX_INSTRUCTIONS } from "../../src/core/policy/authored.ts";
import { AUTHOR_BOUNDS, DEFAULT_APPROVAL_TIMEOUT_SECONDS } from "../../src/core/policy/document.ts";
import { parsePolicy } from "../../src/core/policy/parse.ts";
import { MOST_IDLE_LINES, MOST_ISSUES, MOST_POLICY_BYTES } from "../../src/core/policy/text.ts";
import { MOST_ATTEMPTS, OLD_SECRET_SIGNS_MS, RETRY_DELAYS_MS } from "../../src/core/webhooks.ts";
import { MOST_AGENTS_AT_ONCE } from "../../src/flow/ingest.ts";
import { MOST_FOREIGN_LIFE_MS } from "../../src/flow/ports.ts";
import { SESSIONS_ASKED_BEFORE_A_READ } from "../../src/flow/read_ledger.ts";
import * as simulate from "../../src/flow/simulate.ts";
import { MOST_BODY_BYTES } from "../../src/http/body.ts";
import { EXAMPLE_DIGEST, EXAMPLE_IDS } from "../../src/http/fields.ts";
import { MOST_DEPTH } from "../../src/http/json.ts";
import { MOST_ENTRY_BYTES } from "../../src/http/lines.ts";
import * as requests from "../../src/http/requests.ts";
import { ROUTES } from "../../src/http/routes.ts";
import * as throttle from "../../src/http/throttle.ts";
import { createWebhook } from "../../src/http/webhook_shapes.ts";
import { makeSigningKeys } from "../../src/local/keys.ts";
import { checkExpression } from "../core/expression_fault.ts";
import { ask, clear, npmStart, type Ready, ready, type Started } from "../local/gateway.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const PAGES = ["README.md", "src/README.md", "sdk/README.md", "test/README.md", "migrations/README.md"];
const read = (file: string): string => readFileSync(path.join(ROOT, file), "utf8");
const blocks = (text: string, language: string): readonly string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"))].map(([, code = ""]) => code);
const only = <T>(items: readonly T[]): T => {
  const [item] = items;
  if (item === undefined || items.length !== 1) throw new Error(`${items.length} items; one is expected`);
  return item;
};

/** The first page's only block of commands in which this stands. */
const blockWith = (text: string): string => only(blocks(read("README.md"), "bash").filter((block) => block.includes(text)));

/** Commands of the first page as they stand, but that the file which they read lies beside a state of the test's own. */
function beside(state: string, ...commands: readonly string[]): string {
  const [first = "", ...rest] = commands.join("").split("\n");
  expect(first).toBe(". .wrangler/state/demo.env");
  return [`. ${state}/demo.env`, ...rest].join("\n");
}

describe.each(PAGES)("%s", (page) => {
  const text = read(page);

  it("links only to what is there", () => {
    const links = [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].flatMap(([, link = ""]) => (/^https?:/.test(link) ? [] : [link]));
    expect(links.filter((link) => !existsSync(path.join(ROOT, path.dirname(page), link)))).toEqual([]);
  });

  it("names only files that are there", () => {
    const named = [...text.matchAll(/`((?:src|sdk|test|migrations|\.ci)\/[\w./-]+|[\w-]+\.(?:toml|config\.ts))`/g)].flatMap(([, file = ""]) => file);
    expect(named.filter((file) => file !== "sdk/dist" && !existsSync(path.join(ROOT, file)))).toEqual([]);
  });

  it("names only npm scripts that are there", () => {
    const { scripts }: { readonly scripts: object } = JSON.parse(read("package.json"));
    const named = [...text.matchAll(/npm (?:run )?([a-z]+)/g)].flatMap(([, name = ""]) => name);
    const ofNpm = ["brings", "yet", "run", "install"];
    expect(named.filter((name) => !(name in scripts || name === "build" || ofNpm.includes(name)))).toEqual([]);
  });

  it("names only routes that are served", () => {
    const served = new Set(ROUTES.map((route) => route.path.replaceAll(/\{\w+\}/g, "{}")));
    const named = [...text.matchAll(/`(?:(?:GET|POST|PUT|DELETE) )?(\/(?:v1\/[\w/{}.-]+|docs|openapi\.json))[^`]*`/g)].flatMap(
      ([, route = ""]) => route,
    );
    expect(named.filter((route) => route !== "/v1/approvals" && !served.has(route.replaceAll(/\{\w+\}/g, "{}")))).toEqual([]);
  });
});

it("every test that test/README.md names is in the file that it names", () => {
  const lines = [...read("test/README.md").matchAll(/^- `(test\/\S+\.test\.ts)` · (.+)$/gm)];
  expect(lines.length).toBeGreaterThan(50);
  const missing = lines.filter(([, file = "", name = ""]) => {
    const source = existsSync(path.join(ROOT, file)) ? read(file) : "";
    return !['"', "'", "`"].some((quote) => source.includes(`${quote}${name}${quote}`));
  });
  expect(missing.map(([line]) => line)).toEqual([]);
});

it("test/README.md has each of the 27 promises once, in order, with a test or with what is missing", () => {
  const promises = read("test/README.md").split(/^### /m).slice(1);
  expect(promises.map((promise) => Number.parseInt(promise, 10))).toEqual(Array.from({ length: 27 }, (_, n) => n + 1));
  for (const promise of promises) expect(promise).toMatch(/^- `test\/|Not yet kept|no test measures/m);
});

/** A number that a file keeps to itself, by the name of its constant. */
function own(file: string, name: string): number {
  const found = new RegExp(`const ${name} = ([\\d_]+(?: \\* [\\d_]+)*);`).exec(read(file))?.[1];
  if (found === undefined) throw new Error(`${file} has no number ${name}`);
  return found
    .replaceAll("_", "")
    .split(" * ")
    .reduce((product, factor) => product * Number(factor), 1);
}

/** The bounds of a field, from what the schema takes and what it refuses. */
function takes(schema: { safeParse(value: unknown): { success: boolean } }, value: unknown, refused: unknown): void {
  expect(schema.safeParse(value).success, JSON.stringify(value)?.slice(0, 80)).toBe(true);
  expect(schema.safeParse(refused).success, JSON.stringify(refused)?.slice(0, 80)).toBe(false);
}

const DAY_MS = 86_400_000;
const minutes = (ms: number) => `${ms / 60_000} minutes`;
const seconds = (ms: number) => `${ms / 1000} seconds`;
const days = (ms: number) => `${ms / DAY_MS} day`;
const SESSION = "src/authority/session_authority.ts";
const TENANT_LINE = "src/authority/tenant_line.ts";
const TURN_LINE = "src/authority/turn_line.ts";
const LEDGER = "src/ledger/tenant_ledger.ts";
const WEBHOOKS = "src/webhooks/tenant_webhooks.ts";
const LEASE_NEWS = "src/authority/lease_news.ts";
const TENANT = "src/authority/tenant_authority.ts";
const FEED = "src/ledger/tenant_feed.ts";
const many = (length: number, of: unknown = "x") => Array.from({ length }, () => of);
const policy = (text: string) => parsePolicy(text, "json").ok;

/** What the table on the first page must say, made from the code. Checks what it says where the code states it only as behaviour. */
const LIMITS: { readonly [what: string]: () => string } = {
  "request body": () =>
    `${MOST_BODY_BYTES / 1024} KiB; a policy ${MOST_POLICY_BYTES / 1024 ** 2} MiB; a report ${requests.MOST_INGEST_BYTES / 1024 ** 2} MiB`,
  "depth of JSON": () => `${MOST_DEPTH} levels`,
  "amount of money": () =>
    `${formatUsd(microUsdOf(Number.MAX_SAFE_INTEGER))} USD, in steps of ${formatUsd(microUsdOf(1))} USD; more decimals are refused, never rounded`,
  "what one session counts": () => `${formatUsd(MOST_SPENT)} USD; beyond that it denies`,
  "action's name": () => {
    takes(requests.decision, { action: "aZ9_-.:/".repeat(16) }, { action: "a".repeat(129) });
    takes(requests.decision, { action: "a" }, { action: "a b" });
    return "128 of letters, digits, `_ - . : /`";
  },
  "tags, sources and parents of a decision": () => {
    const id = "dec_019a9c1e-7f00-7abc-8def-000000000003";
    for (const [member, of] of [
      ["tags", "x"],
      ["sources", { source: "x" }],
      ["parents", id],
    ] as const)
      takes(requests.decision, { action: "a", [member]: many(64, of) }, { action: "a", [member]: many(65, of) });
    return "64 each";
  },
  rationale: () => {
    takes(requests.decision, { action: "a", rationale: "x".repeat(8192) }, { action: "a", rationale: "x".repeat(8193) });
    return "8192 characters";
  },
  "decisions in a batch": () => {
    takes(requests.decisionBatch, { decisions: many(100, { action: "a" }) }, { decisions: many(101, { action: "a" }) });
    return "100";
  },
  "decisions in one storage transaction": () => String(own(TURN_LINE, "MOST_IN_A_TURN")),
  "waiting for one session at once": () => {
    expect(read(TURN_LINE)).toContain("const MOST_WAITING_TO_TELL = 2 * MOST_WAITING;");
    return `${own(TURN_LINE, "MOST_WAITING")}; ${2 * own(TURN_LINE, "MOST_WAITING")} with reports and reads`;
  },
  reservation: () => {
    takes(requests.decision, { action: "a", ttl_ms: DAY_MS }, { action: "a", ttl_ms: DAY_MS + 1 });
    takes(requests.decision, { action: "a", ttl_ms: 1 }, { action: "a", ttl_ms: 0 });
    return `${minutes(requests.DECISION_TTL_MS)} by default, 1 ms to 1 day`;
  },
  session: () => {
    takes(requests.openSession, { ttl_ms: 30 * DAY_MS }, { ttl_ms: 30 * DAY_MS + 1 });
    takes(requests.openSession, { ttl_ms: 1000 }, { ttl_ms: 999 });
    return `${days(requests.SESSION_TTL_MS)} by default, 1 second to 30 days`;
  },
  token: () => {
    const token = { subject: "a", kind: "agent", scopes: [] };
    takes(requests.issueToken, { ...token, ttl_ms: 366 * DAY_MS }, { ...token, ttl_ms: 366 * DAY_MS + 1 });
    takes(requests.issueToken, { ...token, ttl_ms: 1000 }, { ...token, ttl_ms: 999 });
    return `${days(requests.TOKEN_TTL_MS)} by default, 1 second to 366 days`;
  },
  "lease of a session": () => {
    expect(read(TENANT_LINE)).toContain("const LEASE_HALF_MS = LEASE_TERM_MS / 2;");
    return `${seconds(LEASE_TERM_MS)}, renewed in passing after ${LEASE_TERM_MS / 2000}`;
  },
  "client lease": () => {
    const lease = { amount_usd: "1", actions: ["a"] };
    takes(requests.grantLease, { ...lease, ttl_ms: 1000 }, { ...lease, ttl_ms: 999 });
    takes(requests.grantLease, { ...lease, ttl_ms: 60_000 }, { ...lease, ttl_ms: 60_001 });
    takes(requests.grantLease, { ...lease, actions: many(20, "a*") }, { ...lease, actions: many(21, "a*") });
    takes(requests.grantLease, lease, { ...lease, actions: [] });
    return `${seconds(LEASE_TTL_MS.usual)} by default, 1 to 60, and never longer than its session; 1 to 20 actions or globs`;
  },
  "client leases of one session": () => `${MOST_OPEN_LEASES} open; with ${MOST_UNTOLD_LEASES} that ran out and were not told of, no more`,
  "entries in one settlement of a client lease": () => {
    const entry = { id: "dec_019a9c1e-7f00-7abc-8def-000000000003", action: "a", cost_usd: "0", outcome: "success" };
    takes(requests.settleLease, { entries: many(100, entry) }, { entries: many(101, entry) });
    return "100";
  },
  "waiting for a lapsed lease": () => seconds(own(TENANT_LINE, "TENANT_PATIENCE_MS")),
  "waiting for sessions to hear of a new policy": () => seconds(own(LEASE_NEWS, "PUSH_PATIENCE_MS")),
  "labels of a session": () => {
    const labels = (count: number, name: number, text: number) => ({
      labels: Object.fromEntries(Array.from({ length: count }, (_, n) => [String(n).padStart(name, "x"), "x".repeat(text)])),
    });
    takes(requests.openSession, labels(64, 64, 256), labels(65, 64, 256));
    takes(requests.openSession, labels(1, 64, 256), labels(1, 65, 256));
    takes(requests.openSession, labels(1, 64, 256), labels(1, 64, 257));
    return "64, each name 64 and each text 256 characters";
  },
  "page of a list": () => {
    takes(requests.pageQuery, { limit: 1000 }, { limit: 1001 });
    takes(requests.pageQuery, { limit: 1 }, { limit: 0 });
    return `${requests.DEFAULT_LIMIT} items by default, 1 to 1000`;
  },
  "waiting for a held decision": () => {
    takes(requests.waitQuery, { wait_ms: 30_000 }, { wait_ms: 30_001 });
    return "30 seconds a request";
  },
  "requests that wait for held decisions at once": () =>
    `${throttle.MOST_WAITS_OF_TOKEN} of one token, ${throttle.MOST_WAITS_OF_TENANT} of a tenant; one more is \`throttled\`, and may ask without waiting`,
  "waiting for sessions to hear of a kill or pause": () => `${seconds(own(LEASE_NEWS, "PUSH_PATIENCE_MS"))}, then they are named as unanswered`,
  "waiting for what others hold of a shared budget": () => seconds(own(TENANT, "RECALL_PATIENCE_MS")),
  "listeners of one tenant": () => `${own(FEED, "MOST_LISTENERS")}; ${own(FEED, "MOST_UNHEARD")} events without a word from the other side`,
  "listeners of one token": () => String(own("src/core/events.ts", "MOST_LISTENERS_OF_ONE_TOKEN")),
  "standing kills and pauses, beside those of the tenant itself": () => String(own("src/authority/order_store.ts", "MOST_STANDING")),
  "requests of one token": () =>
    `${throttle.DEFAULT_LIMIT.requests} within ${seconds(throttle.DEFAULT_LIMIT.windowMs)}, unless the tenant's settings say otherwise`,
  "work on checks of policies, simulations and reports, by their sizes": () => {
    const { WORK_OF_TOKEN: token, WORK_OF_TENANT: tenant } = throttle;
    expect(tenant.windowMs).toBe(token.windowMs);
    return `of one token ${token.requests / 1000} second within ${token.windowMs / 1000}, of all tokens of a tenant ${tenant.requests / 1000}; one more may begin while any is left`;
  },
  "lists, the ledger, its export and costs, by what they go through": () => {
    const share = ({ requests: ms, windowMs }: throttle.WorkLimit): number => ms / windowMs;
    const [token, tenant] = [throttle.READS_OF_TOKEN, throttle.READS_OF_TENANT].map(share);
    const [loneToken, loneTenant] = [throttle.LONE_READS_OF_TOKEN, throttle.LONE_READS_OF_TENANT].map(share);
    expect(loneTenant).toBe(1);
    const waits = seconds(throttle.MOST_TURN_MS);
    return `beside other tenants' requests one token's have ${token} of the time, a tenant's ${tenant}, and else ${loneToken} and all of it; what is more waits up to ${waits}, and what would wait longer is \`throttled\``;
  },
  "issuers of one tenant": () => String(own(TENANT, "MOST_ISSUERS")),
  "registrations of one issuer, by all tenants together": () => String(own("src/authority/directory.ts", "MOST_REGISTRATIONS")),
  "token of a tenant's own issuer": () => `${MOST_FOREIGN_LIFE_MS / DAY_MS} days from its \`iat\` to its \`exp\`; without \`iat\`, from now`,
  "revoked tokens of one tenant's own issuers": () =>
    `${own("src/authority/issuer_store.ts", "MOST_REVOKED")}, each for ${MOST_FOREIGN_LIFE_MS / DAY_MS} days`,
  "webhooks of one tenant": () => {
    const hook = (events: number) => ({ url: "https://hooks.example.com/", events: many(events, "decision.deny") });
    takes(createWebhook, hook(32), hook(33));
    return `${own(WEBHOOKS, "MOST_WEBHOOKS")}, each with 32 names or globs of events`;
  },
  "attempts to deliver an event to a webhook": () => {
    expect(read("src/core/webhooks.ts")).toContain("const JITTER = 0.2;");
    const span = (ms: number) => (ms < 60_000 ? `${ms / 1000} s` : ms < 3_600_000 ? `${ms / 60_000} min` : `${ms / 3_600_000} h`);
    const each = seconds(own("src/webhooks/courier.ts", "TIMEOUT_MS"));
    return `${MOST_ATTEMPTS}, each of ${each}, after ${RETRY_DELAYS_MS.map(span).join(", ")} and up to a fifth more`;
  },
  "attempts under way to one receiver": () => `${own(WEBHOOKS, "MOST_AT_ONCE")}, and 1 while it fails`,
  "deliveries of one webhook that are listed": () =>
    `${own(WEBHOOKS, "MOST_PENDING")} that wait, ${own(WEBHOOKS, "MOST_DELIVERED")} delivered; ${own(WEBHOOKS, "KEPT_MS") / DAY_MS} days after they ended`,
  "secrets of one webhook that sign at once": () => `${own(WEBHOOKS, "MOST_SECRETS")}; a replaced one for ${OLD_SECRET_SIGNS_MS / 3_600_000} hours`,
  "`Idempotency-Key`": () => {
    expect(read("src/http/app.ts")).toContain("[\\x21-\\x7e]{1,255}");
    return "255 visible ASCII characters";
  },
  "rate limit's window": () => {
    const rate = (window_seconds: number, max_count: number) => policy(JSON.stringify({ rate_limits: { a: { window_seconds, max_count } } }));
    expect([rate(0.001, 1_000_000), rate(31 * 86_400, 0), rate(31 * 86_400 + 1, 1), rate(0.0001, 1), rate(1, 1_000_001)]).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
    return "0.001 seconds to 31 days, up to 1000000 calls";
  },
  "rates per pattern": () => String(AUTHOR_BOUNDS.rates),
  "patterns in one section of a policy": () => String(AUTHOR_BOUNDS.patterns),
  "rules of one policy, those over the history with them": () => String(AUTHOR_BOUNDS.rules),
  "a rule's condition": () => {
    const atMost = AUTHOR_BOUNDS.condition;
    expect(checkExpression(`true${" ".repeat(atMost - 4)}`, "rule")).toBeNull();
    expect(checkExpression(`true${" ".repeat(atMost - 3)}`, "rule")).not.toBeNull();
    return `${atMost} characters; one evaluation at most ${own("src/core/policy/expressions.ts", "MOST_STEPS")} steps`;
  },
  "one call of a simulation": () => {
    expect([simulate.MOST_ENTRIES_OF_A_SESSION]).toEqual([simulate.MOST_ENTRIES]);
    return `${simulate.MOST_ENTRIES} entries, ${simulate.MOST_SESSIONS} sessions, ${simulate.MOST_LOOKUPS} look-ups, ${simulate.MOST_STEPS} steps; then \`next\`, or a session is cut`;
  },
  "regular expressions of one policy, in conditions and schemas": () => `${MOST_REGEX_INSTRUCTIONS} instructions of RE2 together`,
  "how far a rule looks back": () => {
    expect(checkExpression("count('a', 2678400) > 0", "rule")).toBeNull();
    expect(checkExpression("count('a', 2678401) > 0", "rule")).not.toBeNull();
    return "31 days, or the whole session";
  },
  "attributes of an entity": () => `${own("src/http/fields.ts", "MOST_ATTRIBUTE_BYTES") / 1024} KiB`,
  "lines of one policy that are empty or only a comment": () => String(MOST_IDLE_LINES),
  "mistakes told of one policy": () => String(MOST_ISSUES),
  hold: () => {
    const hold = (timeout_seconds: number) => policy(JSON.stringify({ approvals: { actions: ["a"], timeout_seconds } }));
    expect([hold(1), hold(30 * 86_400), hold(0.9), hold(30 * 86_400 + 1)]).toEqual([true, true, false, false]);
    return `${DEFAULT_APPROVAL_TIMEOUT_SECONDS} seconds by default, 1 second to 30 days`;
  },
  "an approved request may be used": () => "as long again as a hold waits, and never after its session",
  "answers to approvals in one request": () => {
    const answer = { id: EXAMPLE_IDS.apr, decision: "reject", action_digest: EXAMPLE_DIGEST };
    takes(requests.approvalBatch, { answers: Array(100).fill(answer) }, { answers: Array(101).fill(answer) });
    return "100";
  },
  "closed approvals on the desk": () => {
    expect(read("src/authority/desk_store.ts")).toContain("CLOSED_KEPT_MS = 30 * 24 * 3_600_000");
    return "30 days; the record keeps them";
  },
  "entries in one report": () => {
    const report = (count: number) => ({ entries: many(count, { id: "1", action: "a" }) });
    takes(requests.ingest, report(1000), report(1001));
    return `1000 of ${MOST_AGENTS_AT_ONCE} agents, ${requests.MOST_INGEST_BYTES / 1024 ** 2} MiB, each ${MOST_ENTRY_BYTES / 1024} KiB`;
  },
  "the `Idempotency-Key` of a report (`POST /v1/ledger/entries`) is known": () => `${own("src/ledger/journal.ts", "ANSWERS_MS") / 3_600_000} hours`,
  "entries that wait for D1 while reports are taken": () => String(own(LEDGER, "MOST_WAITING")),
  "entries shipped to D1 in one statement": () => String(own(LEDGER, "MOST_ENTRIES")),
  "from an answer to D1": () => {
    expect(own(SESSION, "SHIP_DELAY_MS") + own(LEDGER, "GATHER_MS")).toBe(1100);
    return "about 1.1 seconds; a read of the ledger brings in what it asks for first";
  },
  "sessions asked before a read that names none": () => `${SESSIONS_ASKED_BEFORE_A_READ}; entries of the others are about 1.1 seconds late`,
  "retries while D1 is down": () => `after ${own(LEDGER, "FIRST_BACKOFF_MS") / 1000} second, doubling to ${seconds(own(LEDGER, "MOST_BACKOFF_MS"))}`,
  SDK: () => {
    expect(read("sdk/src/sentinel.ts")).toMatch(/options\.timeoutMs \?\? 10_000[\s\S]*1 \+ wholeNumber\(options\.retries \?\? 2/);
    expect(read("test/sdk/package.test.ts")).toContain("at most 8 KB");
    return "3 tries within 10 seconds; at most 8 KB compressed";
  },
};

it("the limits on the first page are those of the code", () => {
  const section = /^## Limits in numbers$(.*?)^## /ms.exec(read("README.md"))?.[1] ?? "";
  const stated = Object.fromEntries(
    [...section.matchAll(/^\| (?!what \||---)(.+?) \| (.+) \|$/gm)].map(([, what = "", limit = ""]) => [what, limit]),
  );
  expect(stated).toEqual(Object.fromEntries(Object.entries(LIMITS).map(([what, limit]) => [what, limit()])));
});

describe("the first page", () => {
  const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-readme-"));
  const snippet = path.join(folder, "snippet.ts");
  const state = path.join(folder, "state");
  let gateway: Started | null = null;
  let at: Ready = { url: "", agent: "", operator: "" };

  beforeAll(async () => {
    writeFileSync(snippet, only(blocks(read("README.md"), "ts")));
    gateway = npmStart(["--port", "0", "--persist-to", state], {
      ROOT_KEY: "a-root-key-for-these-tests",
      SIGNING_KEYS: makeSigningKeys(),
    });
    at = await ready(gateway);
  }, 120_000);
  afterAll(async () => {
    if (gateway !== null) {
      gateway.npm.kill("SIGTERM");
      await gateway.exit;
      clear(gateway);
    }
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  it("the commands of the first page run as they stand, and say what they are said to", async () => {
    const { output, status } = await run("sh", ["-c", beside(state, only(blocks(read("README.md"), "sh")))]);
    expect(status).toBe(0);
    const [allowed, denied, tooDear, ledger] = output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(allowed).toMatchObject({ verdict: "allow", reservation: { amount_usd: "0.05" } });
    expect(denied).toMatchObject({ verdict: "deny", reason: { code: "action_denied" } });
    expect(tooDear).toMatchObject({ verdict: "deny", reason: { code: "action_budget_exceeded" } });
    const steps = ledger.items.map((entry: { kind: string; verdict: string | null }) => entry.verdict ?? entry.kind);
    expect(steps).toEqual(["deny", "deny", "allow", "session"]);
  }, 60_000);

  it("the button of the first page stops the agent, says who obeys, and lets it go on", async () => {
    const { output, status } = await run("bash", ["-c", beside(state, blockWith("button()"))]);
    expect(status).toBe(0);
    const [killed, revived, listed] = output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(killed.evidence).toMatchObject({ acknowledged: [{ session: expect.stringMatching(/^ses_/) }], unanswered: [] });
    expect(revived.evidence).toMatchObject({ acknowledged: [{ session: killed.evidence.acknowledged[0].session }], unanswered: [] });
    expect(listed.items).toMatchObject([{ kind: "revive" }, { kind: "kill", note: "it mails the wrong people" }]);
  }, 60_000);

  it("what is held is found on the desk, approved and used; a link is made for another person", async () => {
    const { output, status } = await run("bash", ["-c", beside(state, blockWith("held()"), blockWith("--for ann"))], { NO_COLOR: "1" });
    expect({ output, status }).toMatchObject({ status: 0 });
    const [, id = ""] = /^(apr_\S+) +pending .* send_money +\/approvals\/actions$/m.exec(output) ?? [];
    expect(output).toMatch(/^Approved\. The agent may do it once/m);
    const [again = "", settings = ""] = output.split("\n").filter((line) => line.startsWith("{"));
    expect(JSON.parse(again)).toMatchObject({ verdict: "allow", reservation: { amount_usd: "0.3" } });
    expect((await ask(at.url, at.operator, "GET", `/v1/approvals/${id}`)).body).toMatchObject({ status: "consumed", used_by: JSON.parse(again).id });
    expect(JSON.parse(settings)).toMatchObject({ approval_links: true });
    const [, link = ""] = /^(http:\S+\/approve)#\S+$/m.exec(output) ?? [];
    expect((await fetch(link)).status).toBe(200);
  }, 60_000);

  it("its snippet compiles against the SDK as it stands", async () => {
    const compilerOptions = {
      paths: { "@agentsentinel/sdk": [path.join(ROOT, "sdk/src/index.ts")] },
      types: ["node"],
      typeRoots: [path.join(ROOT, "node_modules/@types")],
    };
    writeFileSync(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: path.join(ROOT, "sdk/tsconfig.json"), compilerOptions, include: ["snippet.ts"] }),
    );
    expect(await run(process.execPath, [path.join(ROOT, "node_modules/typescript/bin/tsc"), "-p", folder])).toEqual({ output: "", status: 0 });
  }, 60_000);

  it("its snippet runs, prints what it says, and is charged", async () => {
    const resolved = path.join(folder, "resolved.ts");
    writeFileSync(resolved, readFileSync(snippet, "utf8").replace('"@agentsentinel/sdk"', JSON.stringify(path.join(ROOT, "sdk/src/index.ts"))));
    const { output, status } = await run(process.execPath, ["--no-warnings", resolved], { GATE: at.url, AGENT_TOKEN: at.agent });
    expect([output.trim().split("\n"), status]).toEqual([["sent to ann@example.org", "action_denied"], 0]);
    const { body } = await ask(at.url, at.agent, "GET", "/v1/ledger?kind=commit");
    expect(body.items).toEqual([expect.objectContaining({ action: "send_email", outcome: "success", cost_usd: "0.05" })]);
  }, 60_000);
});

/** What the SDK's page takes as given: an agent's session, what pays, and a queue. Beside them a person, who answers with `edits` whatever waits. */
const GIVEN = `
import { createSentinel, isAgentSentinelError } from "@agentsentinel/sdk";
const GATE = process.env.GATE ?? "";
const sentinel = createSentinel({ url: GATE, token: process.env.AGENT_TOKEN ?? "" });
const session = await sentinel.openSession();
const sendMoney = async (to: string) => console.log("paid", to);
const desk = async (path: string, body?: object) => {
  const headers = { authorization: "Bearer " + process.env.OPERATOR_TOKEN, "content-type": "application/json" };
  return (await fetch(GATE + "/v1/approvals" + path, body ? { method: "POST", headers, body: JSON.stringify(body) } : { headers })).json();
};
const answerNext = async (edits?: object): Promise<void> => {
  const { items } = await desk("?status=pending&session=" + session.id);
  if (items.length === 0) return new Promise((resolve) => setTimeout(resolve, 20)).then(() => answerNext(edits));
  const { status } = await desk("/" + items[0].id + "/decide", { decision: "approve", action_digest: items[0].action_digest, edits });
  console.log(status);
};
const queued: string[] = [];
const queue = { push: async (text: string) => void queued.push(text), take: async () => (await answerNext(), queued.pop() ?? "") };
`;

it("the approvals of the SDK's page run as they stand: one in another process' stead, one that waits and was changed", async () => {
  const page = read("sdk/README.md");
  const section = /^## When a person must approve$(.*?)^## /ms.exec(page)?.[1] ?? "";
  const [later = "", waits = "", ...more] = blocks(section, "ts");
  expect(more).toEqual([]);
  const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-readme-"));
  const gateway = npmStart(["--port", "0", "--persist-to", path.join(folder, "state")], {
    ROOT_KEY: "a-root-key-for-these-tests",
    SIGNING_KEYS: makeSigningKeys(),
  });
  try {
    const at = await ready(gateway);
    const person = 'const person = answerNext({ inputs: { to: "acct_2" } });';
    const program = [GIVEN, later, person, waits, "await person;"].join("\n");
    const entries = { "@agentsentinel/sdk": "index", "@agentsentinel/sdk/approvals": "approvals" };
    const resolved = Object.entries(entries).reduce(
      (text, [name, entry]) => text.replaceAll(`"${name}"`, JSON.stringify(path.join(ROOT, `sdk/src/${entry}.ts`))),
      program,
    );
    writeFileSync(path.join(folder, "approvals.ts"), resolved);
    const env = { GATE: at.url, AGENT_TOKEN: at.agent, OPERATOR_TOKEN: at.operator };
    const { output, status } = await run(process.execPath, ["--no-warnings", path.join(folder, "approvals.ts")], env);
    expect([output.trim().split("\n").sort(), status]).toEqual([["approved", "approved", "paid acct_1", "paid acct_2"], 0]);
    const { body } = await ask(at.url, at.agent, "GET", "/v1/ledger?kind=commit");
    expect(body.items).toMatchObject([{ action: "send_money", cost_usd: "0.3" }, { cost_usd: "0.3" }]);
  } finally {
    gateway.npm.kill("SIGTERM");
    await gateway.exit;
    clear(gateway);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}, 120_000);

/** Runs a program to its end. What it writes, to either side, is its output. */
function run(
  program: string,
  args: readonly string[],
  environment: { readonly [name: string]: string } = {},
): Promise<{ output: string; status: number | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const side of [child.stdout, child.stderr]) side.on("data", (chunk) => (output += chunk));
    child.once("error", reject);
    child.once("close", (status) => resolve({ output, status }));
  });
}

it("every folder of src is on the map of src/README.md", () => {
  const rooms = readdirSync(path.join(ROOT, "src"), { recursive: true, withFileTypes: true }).filter((entry) => entry.isDirectory());
  const named = rooms.map((room) => path.relative(ROOT, path.join(room.parentPath, room.name)));
  const parts = ["src/http/routes", "src/local/demo"];
  expect(named.filter((room) => !parts.includes(room) && !read("src/README.md").includes(`\`${room}\``))).toEqual([]);
});
