import { randomUUID } from "node:crypto";
import {
  AgentSentinelError,
  createSentinel,
  GatewayUnavailableError,
  type Sentinel,
  type SentinelOptions,
  type StreamState,
} from "../../sdk/src/index.ts";
import { type LiveEvent, tail } from "../../sdk/src/live.ts";
import { matchesGlob } from "../core/glob.ts";
import { didYouMean } from "../http/issues.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { type Gateway, gatewayOf, gatewayOptions } from "./gateway.ts";
import { pad, plain, shown, type Terminal } from "./terminal.ts";

export const options = {
  type: { type: "string", multiple: true },
  agent: { type: "string" },
  session: { type: "string" },
  action: { type: "string" },
  after: { type: "string" },
  limit: { type: "string" },
  ...gatewayOptions,
} as const satisfies Command["options"];

export const help = `Usage: agentsentinel tail [--type NAME]... [--agent ID] [--session ID] [--action NAME] [--after EVENT] [--limit N]
                          [--url URL] [--token TOKEN] [--json]

Shows what is decided, spent, stopped and approved, as it happens, until Ctrl-C. After a cut it goes on where it was: nothing comes twice or is left out.

  --type NAME    only events of this name or glob: decision.deny, 'intervention.*' (there are decision, intervention, approval, budget, lease,
                 session, policy, token and ingest). Several times, or with commas: any of them
  --agent ID, --session ID, --action NAME
                 only what is about this
  --after EVENT  goes on after this event (the id in --json), however long ago it was; without it, with what comes next
  --limit N      ends after so many
  --url URL      the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN  a token that may listen (events:read; AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json         one event a line, as the gateway tells it; nothing is coloured or left out

  ${CALLED} tail --type decision.deny --type 'intervention.*'

Exit code: 0 when it was ended (Ctrl-C, SIGTERM, a reader that closes the pipe) or --limit is reached; 1 when it cannot listen, or not any more;
2 for a mistake in the command.`;

/** `tail`: whether it ended because somebody ended it. */
export async function run(line: CommandLine, _directory: string, terminal: Terminal): Promise<boolean> {
  if (line.positionals.length > 0)
    throw new Usage("tail takes options only; what is shown is chosen by --type, --agent, --session and --action", "tail");
  const limit = line.text("limit") === undefined ? Number.POSITIVE_INFINITY : Number(line.text("limit"));
  if (limit !== Number.POSITIVE_INFINITY && (!Number.isSafeInteger(limit) || limit < 1)) throw new Usage("--limit is a whole number from 1", "tail");
  const types = line.texts("type").flatMap((text) => text.split(","));
  const gateway = gatewayOf(line, "tail", "tail");
  for (const odd of types.flatMap(neverCalled)) terminal.err(`agentsentinel: ${odd}\n`);
  const { url, token } = gateway;
  const json = line.has("json");

  const stop = new AbortController();
  const ended = new Error("Somebody ended it");
  const end = (): void => stop.abort(ended);
  const listening = new Listening(url, terminal, (why) => stop.abort(why));
  const sentinel = sentinelOf({ url, token, onStream: (state) => listening.hear(state) });
  // A signal that is listened to does not end the program by itself, and a pipe that is closed is heard of here alone.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, end);
  process.stdout.once("close", end).once("error", end);
  listening.begin();
  try {
    if (await isBeyond(line.text("after"), gateway))
      terminal.err(`agentsentinel: nothing later than event ${line.text("after")} is on record yet; waiting for what comes\n`);
    const wanted = { types: types.length === 0 ? undefined : types, ...only(line), signal: stop.signal };
    await using events = tail(sentinel, wanted);
    let told = 0;
    for await (const event of events) {
      terminal.out(json ? `${JSON.stringify(asTold(event))}\n` : lineOf(event, told === 0, terminal));
      told++;
      if (told >= limit) break;
      listening.begin();
    }
    return true;
  } catch (fault) {
    if (fault === ended) return true;
    if (!(fault instanceof AgentSentinelError)) throw fault;
    const sentence = sentenceOf(fault, url);
    throw fault.code === "body_invalid" ? new Usage(sentence, "tail") : new Stop(sentence);
  } finally {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, end);
    process.stdout.off("close", end).off("error", end);
    terminal.progress("");
  }
}

/** What events are called. After some words the gateway has others too, and may have more. */
const NAMES = [
  ...["allow", "deny", "hold", "commit", "release", "expiry", "topup", "extend", "recorded"].map((word) => `decision.${word}`),
  ...["kill", "pause", "resume", "revive", "obeyed", "lifted", "evidence", "recorded"].map((word) => `intervention.${word}`),
  "budget.threshold",
];
const OPEN = ["approval", "lease", "session", "policy", "token", "ingest"];
const GLOBS = ["decision", "intervention", "budget", ...OPEN].map((word) => `${word}.*`);

/** Whoever waits for what has no such name would wait for ever, and take the silence for peace. */
function neverCalled(pattern: string): readonly string[] {
  const [word = ""] = pattern.split(".", 1);
  if (NAMES.some((name) => matchesGlob(pattern, name)) || word.includes("*") || (OPEN.includes(word) && pattern !== word)) return [];
  const near = didYouMean(pattern, [...NAMES, ...GLOBS]);
  return [`no event is called ${shown(pattern)}${near.startsWith("; did") ? near : `; there are ${GLOBS.join(", ")}`}`];
}

/** Nobody waits longer to be told that they will wait. */
const BEYOND_PATIENCE_MS = 2_000;

/** Whether the newest entry on record, as far as this token may read it, is before the event after which to go on. Who may not read it is not told. */
async function isBeyond(after: string | undefined, { ask }: Gateway): Promise<boolean> {
  const [index] = /^\d{1,15}(?=$|\.)/.exec(after ?? "") ?? [];
  if (index === undefined) return false;
  try {
    const { items } = await ask("GET", "/v1/ledger?limit=1", undefined, { key: randomUUID(), patienceMs: BEYOND_PATIENCE_MS });
    const newest: unknown = Array.isArray(items) ? items[0] : undefined;
    return isRecord(newest) && typeof newest.index === "number" && newest.index < Number(index);
  } catch (fault) {
    // Listening itself tells what is wrong.
    if (fault instanceof Stop || fault instanceof Usage) return false;
    throw fault;
  }
}

function sentinelOf(options: SentinelOptions): Sentinel {
  try {
    return createSentinel(options);
  } catch (fault) {
    throw fault instanceof TypeError ? new Usage(fault.message, "tail") : fault;
  }
}

/** An event under the names of the wire. */
const asTold = ({ estimateUsd, costUsd, overrunUsd, ...rest }: LiveEvent): object => ({
  ...rest,
  estimate_usd: estimateUsd,
  cost_usd: costUsd,
  overrun_usd: overrunUsd,
});

const only = (line: CommandLine) => ({
  agent: line.text("agent"),
  session: line.text("session"),
  action: line.text("action"),
  after: line.text("after"),
});

const sentenceOf = (fault: AgentSentinelError, url: string): string =>
  "status" in fault && "detail" in fault
    ? `the gateway refuses (${fault.status} ${plain(fault.code)}): ${plain(String(fault.detail))}`
    : `no answer from ${url}`;

/** Tells how the connection stands, on standard error: what is told there is about the listening, not about the agents. */
class Listening {
  #stood = false;
  #isCut = false;
  readonly #url: string;
  readonly #terminal: Terminal;
  readonly #giveUp: (why: Stop) => void;

  constructor(url: string, terminal: Terminal, giveUp: (why: Stop) => void) {
    this.#url = url;
    this.#terminal = terminal;
    this.#giveUp = giveUp;
  }

  begin(): void {
    if (!this.#isCut) this.#terminal.progress(`${this.#stood ? "Listening to" : "Asking"} ${this.#url} … (Ctrl-C ends it)`);
  }

  hear(stream: StreamState): void {
    if (stream.state === "live") {
      if (this.#isCut) this.#terminal.err("agentsentinel: it is back, and goes on where it was\n");
      this.#stood = true;
      this.#isCut = false;
      this.begin();
    } else if (stream.state === "cut" && this.#stood) {
      if (!this.#isCut) this.#terminal.err(`agentsentinel: the stream of ${this.#url} was cut; trying to come back\n`);
      this.#isCut = true;
    } else if (stream.state === "cut") {
      // Who has never been there is told so, rather than left waiting.
      const { error } = stream;
      const why = error instanceof GatewayUnavailableError && error.cause instanceof Error ? `: ${plain(causeOf(error.cause))}` : "";
      this.#giveUp(new Stop(`no answer from ${this.#url}${why}`));
    }
  }
}

const causeOf = (fault: Error): string => (fault.cause instanceof Error ? fault.cause.message : fault.message);

/** Names of agents and actions are cut to these, so that columns stay where they are. */
const WIDE = { time: 12, type: 21, agent: 16, action: 22, usd: 10 } as const;
const plainly = (text: string): string => text;
/** On a narrow terminal, where the reason gets a line of its own. */
const NARROW = { time: 8, type: 21, agent: 14, action: 18, usd: 8 } as const;
const ROOM_FOR_WIDE = 120;

/** An event on one line, or on two where the terminal is narrow. `first`: with the names of the columns above it. */
export function lineOf(event: LiveEvent, first: boolean, { paint, columns }: Terminal): string {
  const isNarrow = columns < ROOM_FOR_WIDE;
  const wide = isNarrow ? NARROW : WIDE;
  const { at, type, agent, action, session } = event;
  const about = aboutOf(event);
  const laid = (fields: readonly [string, string, string, string, string, string], dim = plainly, colour = plainly): string => {
    const [time, name, who, what, usd, why] = fields;
    const room = columns - wide.time - wide.type - wide.agent - wide.action - wide.usd - 10;
    const names = `${pad(cut(who, wide.agent), wide.agent)}  ${pad(cut(what, wide.action), wide.action)}`;
    const line = `${dim(pad(time, wide.time))}  ${colour(pad(cut(name, wide.type), wide.type))}  ${names}  ${usd.padStart(wide.usd)}`;
    return `${line}  ${cut(why, room)}`.trimEnd();
  };
  const head = first ? `${paint.bold(laid(["TIME UTC", "EVENT", "AGENT", "ACTION", "USD", isNarrow ? "" : "WHY"]))}\n` : "";
  const why = isNarrow ? "" : about === "" ? (session ?? "") : about;
  const fields = [at.slice(11, 11 + wide.time), plain(type), plain(agent ?? "-"), plain(action ?? "-"), amountOf(event), why] as const;
  const line = laid(fields, paint.dim, colourOf(event, paint));
  const below = isNarrow && about !== "" ? `\n${" ".repeat(wide.time + 2)}${paint.dim(cut(about, columns - wide.time - 2))}` : "";
  return `${head}${line}${below}\n`;
}

const cut = (text: string, width: number): string => (text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text);

/** What an event moves: the cost where something was posted, else what was reserved or would have been. */
const amountOf = ({ costUsd, estimateUsd, verdict }: LiveEvent): string => (costUsd !== "0" ? costUsd : verdict !== null ? (estimateUsd ?? "") : "");

/** The rest in words: why, or what its type has to say. */
function aboutOf({ reason, rule, overrunUsd, outcome, details }: LiveEvent): string {
  const said: string[] = [];
  if (reason !== null && reason !== "permitted") said.push(plain(rule === null ? reason : `${reason} ${rule}`));
  if (outcome === "error") said.push("failed");
  if (overrunUsd !== "0") said.push(`${overrunUsd} above its reservation`);
  if (isRecord(details)) {
    const { target, reason: why, approval, unanswered_count: missing, threshold, name } = details;
    if (isRecord(target)) said.push(plain(`${target.type} ${target.id}`));
    if (typeof why === "string") said.push(shown(why, 80));
    if (typeof approval === "string") said.push(plain(approval));
    if (typeof missing === "number") said.push(missing === 0 ? "all obey" : `${missing} unanswered`);
    if (typeof threshold === "number") said.push(`${Math.round(threshold * 100)} % of ${plain(String(name))}`);
  }
  return said.join(", ");
}

const isRecord = (value: unknown): value is { readonly [member: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function colourOf({ type, verdict }: LiveEvent, paint: Terminal["paint"]): (text: string) => string {
  if (verdict === "deny" || type === "intervention.kill" || type === "approval.rejected") return paint.red;
  if (verdict === "hold" || type === "intervention.pause" || type === "budget.threshold" || type.startsWith("approval.")) return paint.yellow;
  if (verdict === "allow" || type === "intervention.resume" || type === "intervention.revive") return paint.green;
  return type.startsWith("intervention.") ? paint.magenta : paint.cyan;
}
