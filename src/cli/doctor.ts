import { accessSync, constants, existsSync, statSync } from "node:fs";
import path from "node:path";
import { SCOPES } from "../core/scopes.ts";
import { didYouMean } from "../http/issues.ts";
import { span } from "./approvals_list.ts";
import { CALLED } from "./called_as.ts";
import { type Claims, claimsOf } from "./claims.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { whyNot } from "./files.ts";
import { clockOf, DEFAULT_URL, gatewayOptions, isMapping, urlOf, whyNoAnswer } from "./gateway.ts";
import { policyCalled } from "./policy_called.ts";
import { count, pad, plain, type Terminal, wrapped } from "./terminal.ts";
import { ledgerFiles, ledgerHome, verifyFiles } from "./verify.ts";

export const options = { ...gatewayOptions, local: { type: "boolean" } } as const satisfies Command["options"];

export const help = `Usage: agentsentinel doctor [--local] [--url URL] [--token TOKEN] [--json]

Looks at everything that may be set up wrong, and says how to put it right: Node, the environment, the local ledger; the gateway, its clock, the
token and what it may do, the policy in force. Changes nothing.

  --local        only what needs no gateway
  --url URL      the gateway (AGENTSENTINEL_URL, else ${DEFAULT_URL})
  --token TOKEN  a token of its (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json         {"healthy", "checks": [{"name", "state": "ok" | "warning" | "failed" | "skipped", "found", "way_out"}]}

  ${CALLED} doctor --url https://gate.example.com

Exit code: 0 when nothing failed (warnings do not count), 1 when something did, 2 for a mistake in the command.`;

/** What was looked at. `wayOut`: what to do about it, where it is not well. */
export interface Check {
  readonly name: string;
  /** `skipped`: it could not be looked at, because of another that failed or because there is nothing to look at. */
  readonly state: "ok" | "warning" | "failed" | "skipped";
  readonly found: string;
  readonly wayOut: string | null;
}

const check = (name: string, state: Check["state"], found: string, wayOut: string | null = null): Check => ({ name, state, found, wayOut });

/** `doctor`: whether nothing failed. */
export async function run(line: CommandLine, directory: string, terminal: Terminal): Promise<boolean> {
  if (line.positionals.length > 0) throw new Usage("doctor takes options only", "doctor");
  const checks: Check[] = [];
  const tell = (...more: readonly Check[]): void => {
    checks.push(...more);
    if (!line.has("json")) for (const each of more) terminal.out(lineOf(each, terminal));
  };
  tell(nodeCheck(process.versions.node), environmentCheck(process.env));
  tell(...ledgerChecks(process.env, directory, terminal));
  if (!line.has("local")) await askAround(line, tell, terminal);
  const failed = checks.filter(({ state }) => state === "failed").length;
  const warned = checks.filter(({ state }) => state === "warning").length;
  if (line.has("json"))
    terminal.out(
      `${JSON.stringify({ healthy: failed === 0, checks: checks.map(({ name, state, found, wayOut }) => ({ name, state, found, way_out: wayOut })) })}\n`,
    );
  else terminal.out(`\n${sumOf(failed, warned, terminal)}\n`);
  return failed === 0;
}

function sumOf(failed: number, warned: number, { paint }: Terminal): string {
  const warnings = warned === 0 ? "" : `, ${paint.yellow(count(warned, "warning"))}`;
  return failed === 0 ? `${paint.green("Nothing is wrong")}${warnings}.` : `${paint.red(`${failed} failed`)}${warnings}.`;
}

const NAME_WIDE = 12;

export function lineOf({ name, state, found, wayOut }: Check, { paint, columns }: Terminal): string {
  const mark = { ok: paint.green("ok      "), warning: paint.yellow("warning "), failed: paint.red("failed  "), skipped: paint.dim("skipped ") }[
    state
  ];
  const indent = " ".repeat(9 + NAME_WIDE + 2);
  const width = Math.min(columns, 140);
  const way = wayOut === null ? "" : `\n${indent}${paint.cyan("→")} ${wrapped(wayOut, width, `${indent}  `)}`;
  return `${mark} ${paint.bold(pad(name, NAME_WIDE))}  ${wrapped(plain(found), width, indent)}${way}\n`;
}

// Here

/** The command line is TypeScript, which Node runs as it stands from here on. */
const OLDEST_NODE = [22, 18] as const;

export function nodeCheck(version: string): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isEnough = major > OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor >= OLDEST_NODE[1]);
  if (isEnough) return check("node", "ok", version);
  const wayOut = "The SDK needs Node 20 or later, this program 22.18: npx in the clone brings one, or install a newer Node.";
  return check("node", major >= 20 ? "warning" : "failed", version, wayOut);
}

/** What is read from the environment, and by whom. */
const VARIABLES = ["AGENTSENTINEL_URL", "AGENTSENTINEL_TOKEN", "AGENT_SENTINEL_HOME"] as const;

export function environmentCheck(environment: NodeJS.ProcessEnv): Check {
  const set = VARIABLES.filter((name) => environment[name] !== undefined && environment[name] !== "");
  const odd = Object.keys(environment).filter((name) => /^AGENT_?SENTINEL/i.test(name) && !VARIABLES.some((known) => known === name));
  const found = set.length === 0 ? `none of ${VARIABLES.join(", ")} is set` : `${set.join(", ")} ${set.length === 1 ? "is" : "are"} set`;
  const [first] = odd;
  if (first === undefined) return check("environment", "ok", found);
  const meant = bare(first) === "" ? undefined : VARIABLES.find((known) => bare(known) === bare(first));
  const hint = meant === undefined ? didYouMean(first, VARIABLES).replace(/^; /, "") : `did you mean "${meant}"?`;
  return check("environment", "warning", `${found}; nobody reads ${odd.join(", ")}`, `${hint[0]?.toUpperCase() ?? ""}${hint.slice(1)}`);
}

const bare = (name: string): string => name.toUpperCase().replaceAll("_", "");

export function ledgerChecks(environment: NodeJS.ProcessEnv, directory: string, terminal: Terminal): readonly Check[] {
  const home = ledgerHome(environment, directory);
  const place = path.resolve(directory, home);
  const where = check("ledger", "ok", `${home} can be written to`);
  const there = existsSync(place);
  if (there && !statSync(place).isDirectory())
    return [
      check(
        "ledger",
        "failed",
        `${home} is no directory`,
        "AGENT_SENTINEL_HOME names the directory in which the ledger lies: name another, or move that file.",
      ),
    ];
  const nearest = nearestOf(place);
  try {
    accessSync(nearest, constants.W_OK | constants.X_OK);
  } catch {
    const wayOut = `Give it to the user that runs the agents (chown, chmod u+rwx), or set AGENT_SENTINEL_HOME to a directory of theirs.`;
    return [check("ledger", "failed", `nothing can be written to ${path.relative(directory, nearest) || "."}`, wayOut)];
  }
  if (!there) return [{ ...where, found: `${home} is not there yet; the SDK makes it` }, check("chain", "skipped", "there is no local ledger yet")];
  return [where, chainCheck(home, directory, terminal)];
}

/** The directory itself, or the one in which it would be made. */
const nearestOf = (place: string): string => (existsSync(place) ? place : nearestOf(path.dirname(place)));

function chainCheck(home: string, directory: string, terminal: Terminal): Check {
  try {
    const files = ledgerFiles(home, directory);
    if (files.length === 0) return check("chain", "skipped", "there is no local ledger yet");
    const { bad, instead, torn, lines, begunLater } = verifyFiles(files, directory, terminal, null);
    const wayOut = `Keep the file as it is and find out who wrote to it. ${CALLED} verify tells more; a new AGENT_SENTINEL_HOME begins a new chain.`;
    if (bad !== null)
      return check(
        "chain",
        "failed",
        `${bad.file}:${bad.line} ${bad.why} ${count(lines, "line")} before it ${lines === 1 ? "is" : "are"} good.`,
        wayOut,
      );
    const whole = `${count(lines, "line")}${files.length > 1 ? ` of ${files.length} files` : ""}, whole`;
    if (torn !== null)
      return check(
        "chain",
        "warning",
        `${whole}, but ${torn.file}:${torn.line} is half-written`,
        "Whoever wrote it was stopped. The SDK sets it aside when it next writes; nothing needs to be done.",
      );
    if (instead !== null) return check("chain", "failed", `${files.join(", ")}: ${instead}`, wayOut);
    return begunLater > 0
      ? check("chain", "warning", `${whole}, but its beginning is not here`, "If somebody moved older files away, all is well.")
      : check("chain", "ok", whole);
  } catch (fault) {
    return check(
      "chain",
      "failed",
      fault instanceof Stop ? fault.message : whyNot(fault),
      "Make it readable for you (chmod u+r), or run this as the user that runs the agents.",
    );
  }
}

// There

const PATIENCE_MS = 10_000;

interface Answer {
  readonly status: number;
  readonly body: { readonly [member: string]: unknown };
  readonly clock: number | null;
}

async function get(url: string, token: string | null): Promise<Answer> {
  const headers = { accept: "application/json", ...(token !== null && { authorization: `Bearer ${token}` }) };
  const response = await fetch(url, { headers, redirect: "manual", signal: AbortSignal.timeout(PATIENCE_MS) });
  const clock = clockOf(response);
  const text = await response.text();
  let body: unknown = null;
  try {
    body = JSON.parse(text);
  } catch {
    // Then it is no gateway's, which is said where it is looked at.
  }
  return { status: response.status, body: isMapping(body) ? body : {}, clock };
}

async function askAround(line: CommandLine, tell: (...checks: readonly Check[]) => void, terminal: Terminal): Promise<void> {
  const url = urlOf(line.text("url") ?? process.env.AGENTSENTINEL_URL ?? DEFAULT_URL, "doctor");
  const given = line.text("token") ?? process.env.AGENTSENTINEL_TOKEN ?? "";
  terminal.progress(`Asking ${url} …`);
  const asked = Date.now();
  const reach = await reachCheck(url);
  tell(reach.check);
  if (reach.check.state !== "failed") tell(clockCheck(reach.clock, asked, Date.now()));
  const shape = tokenCheck(given, Date.now());
  tell(shape);
  const claims = shape.state === "failed" ? null : claimsOf(given);
  if (claims !== null) tell(scopesCheck(claims));
  if (reach.check.state === "failed") return tell(check("accepted", "skipped", "no gateway to ask"), check("policy", "skipped", "no gateway to ask"));
  if (shape.state === "failed") return tell(check("accepted", "skipped", "no token to show"), check("policy", "skipped", "no token to show"));
  terminal.progress(`Asking ${url} …`);
  tell(...(await policyChecks(url, given)));
}

async function reachCheck(url: string): Promise<{ readonly check: Check; readonly clock: number | null }> {
  const failed = (found: string, wayOut: string) => ({ check: check("gateway", "failed", found, wayOut), clock: null });
  const elsewhere = "Set AGENTSENTINEL_URL, or --url, to the gateway's address, without /v1.";
  try {
    const health = await get(`${url}/healthz`, null);
    if (health.status !== 200 || health.body.status !== "ok")
      return failed(`${url} answers ${health.status} at /healthz, and it is no gateway's answer`, elsewhere);
    const { body } = await get(`${url}/openapi.json`, null);
    const version = isMapping(body.info) ? body.info.version : undefined;
    const told = typeof version === "string" ? `, API version ${plain(version)}` : "";
    const isOpen = new URL(url).protocol === "http:" && !/^(127\.\d+\.\d+\.\d+|localhost|\[::1\])$/.test(new URL(url).hostname);
    const answers = `${url} answers${told}`;
    return isOpen
      ? {
          check: check(
            "gateway",
            "warning",
            answers,
            "It is asked over http:// beyond this machine: whoever is on the way can read the token. Use https://.",
          ),
          clock: health.clock,
        }
      : { check: check("gateway", "ok", answers), clock: health.clock };
  } catch (fault) {
    const isHere =
      url === DEFAULT_URL
        ? "Start one here with npm start in the clone. Where one runs at another address, set AGENTSENTINEL_URL: the line that npm start prints does."
        : elsewhere;
    return failed(`no answer from ${url}: ${plain(whyNoAnswer(fault, url))}`, isHere);
  }
}

const WARN_SKEW_MS = 5_000;
/** Signatures of webhooks are good for so long (Standard Webhooks), and tokens of other issuers seldom for longer. */
const BAD_SKEW_MS = 300_000;

/** The header is cut to whole seconds, and was written somewhere between `asked` and `answered`: only what is beyond both is a difference. */
export function clockCheck(clock: number | null, asked: number, answered: number): Check {
  if (clock === null) return check("clock", "skipped", "the gateway does not tell the time (no Date header)");
  const aheadMs = Math.max(0, asked - (clock + 999));
  const behindMs = Math.max(0, clock - answered);
  const offMs = Math.max(aheadMs, behindMs);
  if (offMs <= WARN_SKEW_MS) return check("clock", "ok", `agrees with the gateway's within ${WARN_SKEW_MS / 1000}s`);
  const found = `this machine is ${span(offMs)} ${aheadMs > 0 ? "ahead of" : "behind"} the gateway`;
  return check(
    "clock",
    offMs > BAD_SKEW_MS ? "failed" : "warning",
    found,
    "Set this machine's clock by NTP (timedatectl set-ntp true). Decisions go by the gateway's clock.",
  );
}

const SOON_MS = 3_600_000;

/** What can be said of a token by looking at it. */
export function tokenCheck(token: string, now: number): Check {
  const name = "token";
  if (token === "")
    return check(
      name,
      "failed",
      "there is none",
      "Set AGENTSENTINEL_TOKEN, or --token: the line that npm start prints does (. .wrangler/state/demo.env). POST /v1/tokens makes others.",
    );
  if (/^bearer\s/i.test(token)) return check(name, "failed", 'it begins with "Bearer"', "Set the token alone: the word is added when it is sent.");
  if (!/^[\x21-\x7e]+$/.test(token))
    return check(name, "failed", "it has blanks, line ends or other odd characters in it", "Copy it again, as one word.");
  const claims = claimsOf(token);
  if (claims === null)
    return check(
      name,
      "warning",
      "it is no JWT, so nothing can be read in it",
      "The root key makes tenants and tokens, and is no token for anything else: POST /v1/tokens makes one.",
    );
  const { expiresAt, notBefore } = claims;
  if (expiresAt === null)
    return check(name, "warning", "it can be read, and does not say when it expires", "The gateway takes none that does not expire.");
  if (expiresAt <= now)
    return check(name, "failed", `it expired ${span(now - expiresAt)} ago`, "Ask for a new one: POST /v1/tokens. npm start prints fresh ones.");
  if (notBefore !== null && notBefore > now + WARN_SKEW_MS)
    return check(name, "failed", `it is good only in ${span(notBefore - now)}`, "Wait, or set this machine's clock if it is behind.");
  const left = `it can be read, and is good for ${span(expiresAt - now)}`;
  return expiresAt - now < SOON_MS
    ? check(name, "warning", left, "It ends soon; ask for a new one in time: POST /v1/tokens.")
    : check(name, "ok", left);
}

const AGENTS_NEED = ["sessions:write", "decisions:write"];

/** What the token says that it may. */
export function scopesCheck({ kind, subject, tenant, scopes }: Claims): Check {
  const whose = plain(`${kind ?? "a token"} ${subject ?? "of nobody"}${tenant === null ? "" : `, tenant ${tenant}`}`);
  if (scopes.length === 0)
    return check(
      "scopes",
      tenant === null ? "skipped" : "failed",
      `${whose}: no scopes are named`,
      tenant === null ? null : "It may do nothing. Ask for one with scopes: POST /v1/tokens.",
    );
  const told = scopes.length === SCOPES.length ? "every scope" : plain(scopes.join(" "));
  const missing = kind === "agent" ? AGENTS_NEED.filter((scope) => !scopes.includes(scope)) : [];
  return missing.length === 0
    ? check("scopes", "ok", `${whose}: ${told}`)
    : check("scopes", "warning", `${whose}: ${told}`, `To be guarded, an agent needs ${missing.join(" and ")} too.`);
}

/** Whether the gateway takes the token, and what is in force for it. One call says both. */
async function policyChecks(url: string, token: string): Promise<readonly Check[]> {
  let answer: Answer;
  try {
    answer = await get(`${url}/v1/policies/effective`, token);
  } catch (fault) {
    return [check("accepted", "failed", `no answer: ${plain(whyNoAnswer(fault, url))}`, "Try again; the gateway answered a moment ago.")];
  }
  const { status, body } = answer;
  const detail = plain(String(body.detail ?? `it answered ${status}`));
  if (status === 401)
    return [
      check("accepted", "failed", `the gateway refuses it: ${detail}`, WAYS_OUT[String(body.code)] ?? WAYS_OUT.token_invalid),
      check("policy", "skipped", "the token was refused"),
    ];
  if (status === 403 && body.code === "scope_insufficient")
    return [check("accepted", "ok", "the gateway takes it"), check("policy", "skipped", "it may not read policies (policies:read)")];
  if (status !== 200)
    return [
      check(
        "accepted",
        "failed",
        `the gateway does not answer it: ${detail}`,
        "Try again in a moment; if it stays so, look at the gateway's own log.",
      ),
    ];
  const accepted = check("accepted", "ok", "the gateway takes it");
  const { policy } = body;
  if (!isMapping(policy))
    return [
      accepted,
      check(
        "policy",
        "failed",
        "none is in force, so everything is denied (policy_missing)",
        `${CALLED} init writes one and says how to publish it.`,
      ),
    ];
  const document = isMapping(body.document) ? body.document : {};
  const named = `${plain(policyCalled({ name: String(policy.name), version: Number(policy.version) }))} is in force`;
  return [
    accepted,
    document.strict_mode === false
      ? check(
          "policy",
          "warning",
          `${named}, and only observes`,
          "strict_mode: false allows everything. Publish it with true when it says what you want.",
        )
      : check("policy", "ok", named),
  ];
}

const WAYS_OUT: { readonly [code: string]: string } = {
  token_invalid: "It may be another gateway's, or was cut when it was copied. POST /v1/tokens makes a new one.",
  token_expired: "Ask for a new one: POST /v1/tokens. npm start prints fresh ones.",
  token_revoked: "Somebody revoked it. Ask whoever makes tokens: POST /v1/tokens.",
};
