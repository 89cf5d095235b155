import { randomUUID } from "node:crypto";
import type { Intervened, InterveneRequest, InterventionKind } from "../../sdk/src/wire.ts";
import { TARGETS } from "../core/orders.ts";
import { didYouMean } from "../http/issues.ts";
import { CALLED } from "./called_as.ts";
import { claimsOf } from "./claims.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { type Gateway, gatewayOf, gatewayOptions, isMapping, NoAnswer, noGateway } from "./gateway.ts";
import { tellOfLift } from "./lifted.ts";
import { count, plain, type Terminal } from "./terminal.ts";

/** The four buttons. What they print is evidence: who obeys, since when, and who has not answered. */

const options = {
  reason: { type: "string" },
  yes: { type: "boolean" },
  wait: { type: "boolean" },
  ...gatewayOptions,
} as const satisfies Command["options"];

/** The exit code of what is in force, but not yet known to be so everywhere. */
export const SOME_UNANSWERED = 4;
/**
 * The exit code of a stop that is in force, of something that nobody has ever seen: most likely it is mistyped, and what was meant goes on. And of a lift of
 * what nobody ever stopped: what was meant is stopped still.
 */
export const NEVER_SEEN = 5;

const command = (kind: InterventionKind, does: string, example: string): Command => ({
  options,
  help: `Usage: agentsentinel ${kind} TARGET --reason TEXT [--wait] [--yes] [--url URL] [--token TOKEN] [--json]

${does}
Prints which sessions obey and since which entry, which did not answer, and by when it is in force in those too.

  TARGET         agent:NAME, session:ses_..., run:run_..., action:NAME (or a glob, in quotes: 'action:send_*'),
                 or tenant: everything of the token's tenant
  --reason TEXT  why, for the record; asked for at a terminal where it is not given
  --wait         until it is in force everywhere: at most half a minute, or a little over one where client leases run
  --yes          without being asked again, which happens only before everything is killed
  --url URL      the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN  a token that may intervene (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json         the gateway's answer: {"id", "epoch", "lifted", "known", "evidence": {"acknowledged", "unanswered", "in_force_everywhere_by"}}

  ${CALLED} ${example}

Exit code: 0 when every session that it concerns obeys, or with --wait when it is in force everywhere; ${SOME_UNANSWERED} when it is in force and some session did
not answer in time; ${NEVER_SEEN} when a kill or a pause is in force, and no agent of that name, or no such run, was ever seen here, or when a revive or a
resume lifted nothing, because nothing of that name was ever stopped: look for a typing mistake; 1 when it was not done, or nobody knows; 2 for a mistake
in the command.`,
  run: (line, _directory, terminal) => intervene(line, terminal, kind),
});

export const kill = command(
  "kill",
  "Nothing that it names is allowed any more, from the next decision on, until it is revived. What is running is told to stop.",
  `kill agent:support-bot --reason "It mails the wrong people."`,
);
export const pause = command(
  "pause",
  "Nothing that it names is allowed until it is resumed. What is running goes on.",
  `pause 'action:send_*' --reason "The mail server is being moved."`,
);
export const resume = command("resume", "Lets go on what was paused.", `resume 'action:send_*' --reason "It is moved."`);
export const revive = command("revive", "Lets go on what was killed.", `revive agent:support-bot --reason "The address book is mended."`);

async function intervene(line: CommandLine, terminal: Terminal, kind: InterventionKind): Promise<boolean | number> {
  const [named, ...others] = line.positionals;
  if (named === undefined || others.length > 0)
    throw new Usage(`${kind} wants one TARGET: agent:NAME, session:ses_..., run:run_..., action:NAME or tenant`, kind);
  const gateway = gatewayOf(line, kind, kind);
  const target = targetOf(named, claimsOf(gateway.token)?.tenant ?? null, kind);
  const asksFirst = kind === "kill" && !line.has("yes") && (target.type === "tenant" || /^\*+$/.test(target.id));
  if (asksFirst && terminal.ask === null) throw new Usage(`${kind} ${named} stops everything, and wants --yes where nobody can be asked`, kind);
  if (line.text("reason") === undefined && terminal.ask === null)
    throw new Usage(`${kind} wants --reason: why, for those who find it in the record`, kind);
  const reason = line.text("reason") ?? ((await terminal.ask?.("Why? It goes on record: ")) ?? "").trim();
  if (reason === "") throw new Stop("nothing was done: it wants a reason");
  if (asksFirst && !/^y(es)?$/i.test(((await terminal.ask?.(`Kill everything ${wordsOf(target, gateway.url)}? [y/N] `)) ?? "").trim())) {
    terminal.err("agentsentinel: nothing was done\n");
    return false;
  }

  const told = await pressed(gateway, { target, kind, reason }, terminal);
  const json = line.has("json");
  const { unanswered, in_force_everywhere_by: by } = told.evidence;
  terminal.out(json ? `${JSON.stringify(told)}\n` : inWords(told, target, kind, Date.now() + gateway.aheadMs(), terminal));
  const stops = kind === "kill" || kind === "pause";
  if (stops && told.evidence.acknowledged.length + unanswered.length === 0 && (await isStranger(gateway, target, kind, told.known, terminal)))
    return NEVER_SEEN;
  if ((kind === "revive" || kind === "resume") && (await tellOfLift(gateway, told, target, kind, terminal))) return NEVER_SEEN;
  const isLeasedOut = told.evidence.acknowledged.some(({ leased_until }) => leased_until != null);
  if (unanswered.length === 0 && !(isLeasedOut && line.has("wait"))) return true;
  if (!line.has("wait")) return SOME_UNANSWERED;
  await untilOf(by, gateway, terminal);
  if (!json) terminal.out("It is in force everywhere now.\n");
  return true;
}

const wordsOf = ({ type, id }: InterveneRequest["target"], url: string): string =>
  type === "tenant" ? `of the tenant ${plain(id)} on ${url}` : `whose action is ${plain(id)}, on ${url}`;

/** What is meant by `agent:support-bot`. `tenant`: whose the token says it is. */
export function targetOf(text: string, tenant: string | null, about: string): InterveneRequest["target"] {
  if (/^(ses|run)_/.test(text)) return { type: text.startsWith("ses_") ? "session" : "run", id: text };
  const colon = text.indexOf(":");
  const word = colon < 0 ? text : text.slice(0, colon);
  const id = colon < 0 ? "" : text.slice(colon + 1);
  const type = TARGETS.find((known) => known === word);
  if (type === undefined)
    throw new Usage(
      `a TARGET is agent:NAME, session:ses_..., run:run_..., action:NAME or tenant, found ${JSON.stringify(text)}${hint(text, word)}`,
      about,
    );
  if (id !== "") return { type, id };
  if (type !== "tenant") throw new Usage(`which ${type}? Write ${type}:${EXAMPLES[type]}`, about);
  if (tenant === null) throw new Usage("the token does not say whose it is; write tenant:ID", about);
  return { type, id: tenant };
}

const EXAMPLES = { agent: "support-bot", session: "ses_...", run: "run_...", action: "send_email" } as const;

/** A name alone is most often an agent's. */
function hint(text: string, word: string): string {
  const near = didYouMean(word, TARGETS);
  if (near.startsWith("; did")) return near;
  return text === word && text !== "" ? `; for an agent write agent:${plain(text)}` : "";
}

const TRIES = 3;
/** The gateway itself waits up to two seconds for the sessions. */
const PATIENCE_MS = 10_000;

/** Asks again under the same key where no answer came: it is done once, however often it is asked. */
async function pressed({ url, ask }: Gateway, wish: InterveneRequest, terminal: Terminal): Promise<Intervened> {
  const key = randomUUID();
  for (let tried = 1; ; tried++) {
    try {
      const answer = await ask("POST", "/v1/interventions", wish, { key, patienceMs: PATIENCE_MS });
      if (!("evidence" in answer)) throw noGateway(url, "201", JSON.stringify(answer));
      // The gateway holds its answers against this very contract when it is compiled.
      return answer as unknown as Intervened;
    } catch (fault) {
      if (!(fault instanceof NoAnswer)) throw fault;
      if (tried === TRIES)
        throw new Stop(
          `${fault.message}\nWhether the ${wish.kind} is in force is not known. Doing it again does no harm; GET /v1/interventions tells.`,
        );
      terminal.err(`agentsentinel: ${fault.message}; asking again\n`);
    }
  }
}

/** So many sessions are looked through, the newest, for a name that is near. */
const MOST_LOOKED_AT = 1000;

/**
 * Whether a stop that no session answered for is of an agent or a run that nobody has ever seen here, which is then said. (An unknown session the gateway
 * refuses by itself; an action, or the tenant, anybody may ask for next.) Where the gateway does not say so itself, as one of an older version, it is looked
 * up. The token may not be allowed to look: then that is said, and nothing is claimed.
 */
async function isStranger(
  { ask }: Gateway,
  { type, id }: InterveneRequest["target"],
  kind: InterventionKind,
  known: Intervened["known"] | undefined,
  terminal: Terminal,
): Promise<boolean> {
  if ((type !== "agent" && type !== "run") || known === true) return false;
  const items = async (path: string): Promise<readonly unknown[]> => {
    const { items: found } = await ask("GET", path, undefined, { patienceMs: PATIENCE_MS });
    if (!Array.isArray(found)) throw new Stop("what came is no list");
    return found;
  };
  const named = `${type} ${JSON.stringify(plain(id))}`;
  try {
    terminal.progress(`Looking whether ${named} is known …`);
    const route = type === "agent" ? "/v1/sessions" : "/v1/ledger";
    if (known !== false && (await items(`${route}?${type}=${encodeURIComponent(id)}&limit=1`)).length > 0) return false;
    // Where it is certain already, a name that is near is only a help.
    const listed = type === "agent" ? items(`/v1/sessions?limit=${MOST_LOOKED_AT}`) : Promise.resolve([]);
    const sessions = await (known === false ? listed.catch(() => []) : listed);
    const names = [...new Set(sessions.flatMap((session) => (isMapping(session) && typeof session.agent === "string" ? [session.agent] : [])))];
    const near = didYouMean(id, names);
    const never = type === "agent" ? "no agent of that name has ever opened a session here" : "no such run is on record here";
    terminal.err(
      `agentsentinel: the ${kind} of ${named} is in force, BUT ${never}${near.startsWith("; did") ? plain(near) : ""}\nNothing that runs now was stopped. If the name is mistyped, ${kind} the right one; GET ${type === "agent" ? "/v1/sessions" : "/v1/ledger"} lists what is known.\n`,
    );
    return true;
  } catch (fault) {
    if (!(fault instanceof Stop) && !(fault instanceof Usage)) throw fault;
    terminal.err(
      `agentsentinel: whether any ${named} was ever seen here could not be looked up (${fault.message}); see that it is no typing mistake\n`,
    );
    return false;
  } finally {
    terminal.progress("");
  }
}

const MOST_SHOWN = 20;
const DONE = { kill: "Killed", pause: "Paused", resume: "Resumed", revive: "Revived" } as const;

/** The evidence. `now`: as the gateway's clock has it. */
export function inWords(
  told: Intervened,
  { type, id }: InterveneRequest["target"],
  kind: InterventionKind,
  now: number,
  { paint }: Terminal,
): string {
  const { acknowledged, unanswered, in_force_everywhere_by: by } = told.evidence;
  const lines = [`${paint.bold(DONE[kind])} ${type} ${plain(id)}  ${paint.dim(told.id)}`];
  const stops = kind === "kill" || kind === "pause";
  if (acknowledged.length + unanswered.length === 0)
    lines.push(
      `No session that it concerns is at work now. ${stops ? "Whichever asks next obeys." : "Whichever asks next is not stopped by it any more."}`,
    );
  if (acknowledged.length > 0)
    lines.push(
      `${paint.green("✓")} ${count(acknowledged.length, stops ? "session obeys" : "session has lifted it", stops ? "sessions obey" : "sessions have lifted it")}`,
    );
  for (const { session, seq, at, leased_until: leasedUntil } of acknowledged.slice(0, MOST_SHOWN)) {
    lines.push(`    ${session}  ${seq === 0 ? "opens with it" : `since its entry ${seq}`}  ${paint.dim(at)}`);
    // A gateway of an older version says nothing of client leases.
    if (leasedUntil != null) lines.push(`      ${paint.yellow("!")} whoever decides by its client leases hears of it by ${leasedUntil}`);
  }
  if (acknowledged.length > MOST_SHOWN) lines.push(paint.dim(`    and ${acknowledged.length - MOST_SHOWN} more: --json names them all`));
  if (unanswered.length > 0) {
    const seconds = Math.max(0, Math.ceil((Date.parse(by) - now) / 1000));
    const may = stops ? "may still allow something" : "may still deny it";
    lines.push(`${paint.yellow("!")} ${count(unanswered.length, "session")} did not answer, and ${may} until ${by} (${seconds}s)`);
    for (const session of unanswered.slice(0, MOST_SHOWN)) lines.push(`    ${session}`);
    if (unanswered.length > MOST_SHOWN) lines.push(paint.dim(`    and ${unanswered.length - MOST_SHOWN} more: --json names them all`));
  } else lines.push(`In force everywhere ${acknowledged.some(({ leased_until: leasedUntil }) => leasedUntil != null) ? "by" : "since"} ${by}.`);
  return `${lines.join("\n")}\n`;
}

/** Waits until an instant has come by the gateway's clock, or by this machine's where the gateway does not tell the time. */
async function untilOf(by: string, { aheadMs }: Gateway, terminal: Terminal): Promise<void> {
  for (;;) {
    const leftMs = Date.parse(by) - Date.now() - aheadMs();
    if (!(leftMs > 0)) break;
    terminal.progress(`In force everywhere in ${Math.ceil(leftMs / 1000)}s …`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, 1000)));
  }
  terminal.progress("");
}
