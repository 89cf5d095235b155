import type { Simulation, SimulationChanges, SimulationRule, SimulationSum } from "../../sdk/src/wire.ts";
import { addUsd, formatUsd, type MicroUsd, parseUsd, ZERO_USD } from "../core/money.ts";
import { type Command, type CommandLine, Usage } from "./command_line.ts";
import { readSource } from "./files.ts";
import { Busy, type Gateway, gatewayOf, gatewayOptions, noGateway } from "./gateway.ts";
import { instantOf } from "./period.ts";
import { readPolicyFile } from "./policy_file.ts";
import { count, pad, plain, type Terminal, wrapped } from "./terminal.ts";

export const options = {
  from: { type: "string" },
  to: { type: "string" },
  agent: { type: "string" },
  session: { type: "string" },
  replaces: { type: "string" },
  ...gatewayOptions,
  "exit-code": { type: "boolean" },
} as const satisfies Command["options"];

export const help = `Usage: agentsentinel policy simulate FILE --from TIME [--to TIME] [--agent ID] [--session ID] [--replaces NAME]
                                     [--url URL] [--token TOKEN] [--exit-code] [--json]

Has a gateway decide its recorded history again under a candidate, statefully: what the candidate denies takes no money, counts in no window and is
no prerequisite of what came later. Nothing is published or changed.

  FILE             the candidate; .yaml, .yml or .json, or - for standard input
  --from, --to     RFC 3339 (2026-11-01T00:00:00Z), or how long ago: 30d, 12h, 45m. Decisions between them are compared
  --agent ID       only its sessions
  --session ID     only this session; needs no --from
  --replaces NAME  the active policy in whose place the candidate stands, beside the other active ones; without it the candidate stands alone
  --url URL        the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN    a token that may read policies (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --exit-code      1 when anything would have come out otherwise, or might have: when decisions are uncertain, or a session was cut
  --json           the gateway's answer, its parts added up

Exit code: 0 when it was simulated, 1 when it could not be, 2 for a mistake in the command.`;

/** `policy simulate`: whether it could be, or with `--exit-code` whether it is certain that nothing would have changed. */
export async function run(line: CommandLine, directory: string, terminal: Terminal): Promise<boolean> {
  const [file, ...others] = line.positionals;
  if (file === undefined || others.length > 0) throw new Usage("policy simulate wants one FILE", "simulate");
  const from = instantOf("from", line.text("from"), "simulate");
  const to = instantOf("to", line.text("to"), "simulate");
  if (from !== undefined && to !== undefined && from >= to) throw new Usage("--from is before --to", "simulate");
  if (from === undefined && !line.has("session")) throw new Usage("policy simulate wants --from, or --session", "simulate");
  const gateway = gatewayOf(line, "policy simulate", "simulate");
  const source = readSource(file, directory);
  if (readPolicyFile(source, terminal) === null) return false;

  const question = {
    policy: source.format === "json" ? JSON.parse(source.text.replace(/^\ufeff/, "")) : source.text,
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...optional("agent", line),
    ...optional("session", line),
    ...optional("replaces", line),
  };
  let whole: Simulation | null = null;
  for (let cursor: string | null = null, parts = 0; parts === 0 || cursor !== null; parts++) {
    terminal.progress(whole === null ? `Asking ${gateway.url} …` : `${whole.sessions} sessions, ${whole.decisions} decisions so far …`);
    const part: Simulation = await ask(gateway, cursor === null ? question : { ...question, cursor });
    whole = whole === null ? part : added(whole, part);
    cursor = part.next;
  }
  terminal.progress("");
  if (whole === null) return false;
  terminal.out(line.has("json") ? `${JSON.stringify(whole)}\n` : inWords(whole, terminal));
  return !line.has("exit-code") || isUnchanged(whole);
}

/** What is uncertain, or was not read, may have changed. */
const isUnchanged = ({ changed, uncertain, cut_sessions }: Simulation): boolean =>
  countOf(changed) === 0 && uncertain.count === 0 && cut_sessions.length === 0;

const optional = (name: "agent" | "session" | "replaces", line: CommandLine): { readonly [member: string]: string } => {
  const value = line.text(name);
  return value === undefined ? {} : { [name]: value };
};

async function ask({ url, ask }: Gateway, question: object): Promise<Simulation> {
  const answer = await patiently(() => ask("POST", "/v1/policies/simulate", question));
  if (!("changed" in answer)) throw noGateway(url, "200", JSON.stringify(answer));
  // The gateway holds its answers against this very contract when it is compiled.
  return answer as unknown as Simulation;
}

/** The gateway works on simulations for a part of its time only, and says when it goes on with ours. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let waitedMs = 0; ; ) {
    try {
      return await ask();
    } catch (fault) {
      if (!(fault instanceof Busy) || !(fault.waitMs <= MOST_WAIT_MS - waitedMs)) throw fault;
      waitedMs += fault.waitMs;
      await new Promise((resolve) => setTimeout(resolve, fault.waitMs));
    }
  }
}

/** For one part. */
const MOST_WAIT_MS = 120_000;

/** Two parts of one simulation together. */
export function added(a: Simulation, b: Simulation): Simulation {
  const by = new Map<string, SimulationRule>();
  for (const one of [...a.by_rule, ...b.by_rule]) {
    const key = JSON.stringify([one.rule, one.reason]);
    const known = by.get(key);
    by.set(
      key,
      known === undefined
        ? one
        : { ...known, changed: addedChanges(known.changed, one.changed), prevented_usd: money(known.prevented_usd, one.prevented_usd) },
    );
  }
  const kept = new Map<string, Simulation["not_comparable"][number]>();
  for (const one of [...a.not_comparable, ...b.not_comparable]) {
    const known = kept.get(one.reason);
    kept.set(one.reason, known === undefined ? one : { ...known, count: known.count + one.count, entries: entries(known.entries, one.entries) });
  }
  const earlier = [a.window.read_from, b.window.read_from].filter((at) => at !== null).sort()[0] ?? null;
  return {
    ...b,
    window: { ...a.window, read_from: earlier },
    entries: a.entries + b.entries,
    sessions: a.sessions + b.sessions,
    decisions: a.decisions + b.decisions,
    same: a.same + b.same,
    same_for_another_reason: a.same_for_another_reason + b.same_for_another_reason,
    changed: addedChanges(a.changed, b.changed),
    prevented_usd: money(a.prevented_usd, b.prevented_usd),
    // The rules with the most changes first, as in each part.
    by_rule: [...by.values()].sort((one, other) => countOf(other.changed) - countOf(one.changed)),
    not_comparable: [...kept.values()],
    uncertain: addedSum(a.uncertain, b.uncertain),
    after_first_change: a.after_first_change + b.after_first_change,
    cut_sessions: [...a.cut_sessions, ...b.cut_sessions],
  };
}

const addedChanges = (a: SimulationChanges, b: SimulationChanges): SimulationChanges => ({
  newly_denied: addedSum(a.newly_denied, b.newly_denied),
  newly_allowed: addedSum(a.newly_allowed, b.newly_allowed),
  newly_held: addedSum(a.newly_held, b.newly_held),
  no_longer_held: addedSum(a.no_longer_held, b.no_longer_held),
});

const addedSum = (a: SimulationSum, b: SimulationSum): SimulationSum => ({
  count: a.count + b.count,
  money_usd: money(a.money_usd, b.money_usd),
  entries: entries(a.entries, b.entries),
});

const MOST_ENTRIES = 100;
const entries = (a: readonly string[], b: readonly string[]): readonly string[] => [...a, ...b].slice(0, MOST_ENTRIES);

const money = (a: string, b: string): string => formatUsd(addUsd(amountOf(a), amountOf(b)));

function amountOf(text: string): MicroUsd {
  const amount = parseUsd(text);
  return amount.ok ? amount.value : ZERO_USD;
}

const NAMES: { readonly [change in keyof SimulationChanges]: string } = {
  newly_denied: "newly denied",
  newly_allowed: "newly allowed",
  newly_held: "newly held",
  no_longer_held: "no longer held",
};

const changes = (changed: SimulationChanges): readonly (readonly [keyof SimulationChanges, SimulationSum])[] => [
  ["newly_denied", changed.newly_denied],
  ["newly_allowed", changed.newly_allowed],
  ["newly_held", changed.newly_held],
  ["no_longer_held", changed.no_longer_held],
];

const countOf = (changed: SimulationChanges): number => changes(changed).reduce((sum, [, { count }]) => sum + count, 0);

function inWords(done: Simulation, { paint, columns }: Terminal): string {
  const { window, by_rule } = done;
  const lines = [
    `${count(done.decisions, "decision")} of ${count(done.sessions, "session")} decided again ${paint.dim(`from ${window.from ?? "the beginning"} to ${window.to ?? "now"}`)}`,
    "",
  ];
  const colours = { newly_denied: paint.red, newly_allowed: paint.green, newly_held: paint.yellow, no_longer_held: paint.cyan };
  const wide = Math.max(...Object.values(NAMES).map((name) => name.length));
  lines.push(
    `  ${pad("the same", wide)}  ${done.same}${done.same_for_another_reason > 0 ? paint.dim(`, ${done.same_for_another_reason} of them for another reason`) : ""}`,
  );
  for (const [change, sum] of changes(done.changed)) {
    const text = `${pad(NAMES[change], wide)}  ${sum.count}`;
    lines.push(`  ${sum.count === 0 ? paint.dim(text) : `${colours[change](text)}  ${sum.money_usd} USD`}`);
  }
  if (done.uncertain.count > 0) lines.push(`  ${pad("uncertain", wide)}  ${done.uncertain.count}  what would decide it is not in the record`);
  for (const { reason, count: n } of done.not_comparable) lines.push(paint.dim(`  ${pad("not compared", wide)}  ${n}  ${reason}`));
  lines.push("", `It would have prevented ${paint.bold(`${done.prevented_usd} USD`)}.`);
  if (by_rule.length > 0) lines.push("", paint.bold("By rule"));
  for (const { rule, reason, changed, prevented_usd } of by_rule) {
    lines.push(`  ${paint.cyan(plain(rule ?? "(no rule)"))} ${paint.dim(reason)}${prevented_usd === "0" ? "" : `, ${prevented_usd} USD prevented`}`);
    for (const [change, sum] of changes(changed)) {
      if (sum.count === 0) continue;
      const first = sum.entries.slice(0, 3).join(", ");
      const more = sum.count > 3 ? `, and ${sum.count - 3} more` : "";
      lines.push(`    ${colours[change](`${NAMES[change]} ${sum.count}`)}  ${sum.money_usd} USD  ${paint.dim(`${first}${more}`)}`);
    }
  }
  for (const { session, through } of done.cut_sessions)
    lines.push(`${paint.yellow("cut")} ${session} has too much to be read to its end: read through ${through}`);
  if (done.after_first_change > 0) {
    const text = `${count(done.after_first_change, "decision")} came after the first change in a session, and rest on assumptions: ${done.assumptions.join(" ")}`;
    lines.push("", paint.dim(wrapped(plain(text), Math.min(columns, 120), "")));
  }
  return `${lines.join("\n")}\n`;
}
