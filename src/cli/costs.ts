import { statSync } from "node:fs";
import path from "node:path";
import type { CostItem, CostReport } from "../../sdk/src/wire.ts";
import { parseUsd } from "../core/money.ts";
import { parseInstant } from "../core/time.ts";
import { didYouMean } from "../http/issues.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { gatewayOf, gatewayOptions, isMapping, noGateway } from "./gateway.ts";
import { type Line, linesOf, shownName } from "./ledger_lines.ts";
import { instantOf } from "./period.ts";
import { pad, plain, type Terminal } from "./terminal.ts";
import { filesOf, verifyFiles } from "./verify.ts";

export const options = {
  "group-by": { type: "string" },
  from: { type: "string" },
  to: { type: "string" },
  ledger: { type: "string" },
  ...gatewayOptions,
} as const satisfies Command["options"];

const GROUPS = ["action", "run", "session", "agent", "day"] as const;
type Group = (typeof GROUPS)[number];

export const help = `Usage: agentsentinel costs [--group-by ${GROUPS.join("|")}] [--from TIME] [--to TIME] [--ledger FILE] [--url URL] [--token TOKEN] [--json]

What was spent, the dearest first, exact to the micro-dollar: as a gateway has it on record, or of a local ledger. An agent's token is told its own.

  --group-by WORD  ${GROUPS.join(", ")} (action). Days are those of UTC
  --from, --to     RFC 3339 (2026-11-01T00:00:00Z), or how long ago: 30d, 12h, 45m. From is included, to is not
  --ledger FILE    a ledger of JSON Lines instead of a gateway; a directory: the ledger in it, with its rotated files; - is standard input.
                   Where verify calls a file broken, that is said on standard error; what its lines say is added up all the same
  --url URL        the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN    a token that may read the ledger (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json           {"items": [{"key", "posted_usd", "count", "reported_usd"}], "total_usd", "reported_usd"}; money as decimal strings;
                   the key is null of what names none, such as a report without an agent

  ${CALLED} costs --group-by agent --from 30d

Exit code: 0 when they were read, 1 when they could not be, 2 for a mistake in the command.`;

/** `costs`: whether they could be read. */
export async function run(line: CommandLine, directory: string, terminal: Terminal): Promise<boolean> {
  if (line.positionals.length > 0) throw new Usage("costs takes options only; a file is named by --ledger", "costs");
  const group = groupOf(line.text("group-by") ?? "action");
  const from = instantOf("from", line.text("from"), "costs");
  const to = instantOf("to", line.text("to"), "costs");
  if (from !== undefined && to !== undefined && from >= to) throw new Usage("--from is before --to", "costs");
  const file = line.text("ledger");
  const report =
    file === undefined ? await ofGateway(line, group, from, to) : ofLedger(filesOf(file, directory), directory, group, from, to, terminal);
  terminal.out(line.has("json") ? `${JSON.stringify(report)}\n` : inWords(report, group, terminal));
  return true;
}

function groupOf(word: string): Group {
  const group = GROUPS.find((known) => known === word);
  if (group === undefined)
    throw new Usage(`--group-by is one of ${GROUPS.join(", ")}, found ${JSON.stringify(word)}${near(didYouMean(word, GROUPS))}`, "costs");
  return group;
}

const near = (hint: string): string => (hint.startsWith("; did") ? hint : "");

async function ofGateway(line: CommandLine, group: Group, from: string | undefined, to: string | undefined): Promise<CostReport> {
  const { url, ask } = gatewayOf(line, "costs", "costs");
  const query = new URLSearchParams({ group_by: group, ...(from !== undefined && { from }), ...(to !== undefined && { to }) });
  const answer = await ask("GET", `/v1/costs?${query}`);
  if (!("items" in answer && "total_usd" in answer)) throw noGateway(url, "200", JSON.stringify(answer));
  // The gateway holds its answers against this very contract when it is compiled.
  return answer as unknown as CostReport;
}

/** What the sum is of, how many calls stand behind it, and what was only reported beside it. */
interface Sum {
  micro: bigint;
  reported: bigint;
  readonly calls: Set<string>;
}

/**
 * Adds a local ledger up. A chain that is broken is told of, and counts all the same: whether it was is for `verify` to say. What a cost is cannot be guessed, so a line without one that is exact to the
 * micro-dollar stops it; only the last line may be torn, and then it was never told to anybody.
 */
function ofLedger(
  files: readonly string[],
  directory: string,
  group: Group,
  from: string | undefined,
  to: string | undefined,
  terminal: Terminal,
): CostReport {
  const sums = new Map<string | null, Sum>();
  const [since, before] = [
    from === undefined ? Number.NEGATIVE_INFINITY : Date.parse(from),
    to === undefined ? Number.POSITIVE_INFINITY : Date.parse(to),
  ];
  let total = 0n;
  let reported = 0n;
  const sumOf = (key: string | null): Sum => {
    const sum = sums.get(key) ?? { micro: 0n, reported: 0n, calls: new Set() };
    sums.set(key, sum);
    return sum;
  };
  // What a gateway was told stands beside what it posted itself, and not where both are of one decision: that is known when all is read.
  const posted = new Set<string>();
  const told: { readonly entry: Entry; readonly micro: bigint; readonly key: string | null }[] = [];
  let [read, isChained] = [0, false];
  for (const { file, text, number, isEnded } of linesOfAll(files, directory)) {
    const place = `${shownName(file)}:${number}`;
    const entry = entryOf(text);
    // An array has no line feed at its end either, and is more than half a line.
    if (entry === null && !isEnded && !text?.startsWith("[")) break;
    if (entry === null) throw new Stop(`${place} is no entry of a ledger, so the sum would not be true; ${CALLED} verify says more`);
    read++;
    isChained ||= "prev_hash" in entry;
    const at = parseInstant(String(entry.timestamp));
    if (at === null) throw new Stop(`${place} has no timestamp that can be read, found ${JSON.stringify(entry.timestamp)}`);
    // Whenever that was: what a decision has cost by the gateway's own books is not counted again where it is reported later.
    if (entry.kind !== "ingest" && entry.decision_id != null && movesMoney(entry)) {
      posted.add(decisionOf(entry));
      posted.add(decisionOf({ ...entry, session_id: null }));
    }
    if (at < since || at >= before) continue;
    const micro = costOf(entry, place);
    const key = keyOf(entry, group, at);
    if (entry.kind === "ingest") {
      told.push({ entry, micro, key });
      continue;
    }
    total += micro;
    if (!counts(entry, key, micro)) continue;
    const sum = sumOf(key);
    sum.micro += micro;
    // What a gateway posts for a lease of which nobody told anything is of no decision.
    if ("tenant_id" in entry && entry.decision_id == null) continue;
    sum.calls.add("tenant_id" in entry ? decisionOf(entry) : String(entry.decision_id ?? entry.id ?? number));
  }
  for (const { entry, micro, key } of told) {
    if (micro === 0n || posted.has(decisionOf(entry))) continue;
    reported += micro;
    sumOf(key).reported += micro;
  }
  if (read === 0) terminal.err(`agentsentinel: ${files.map(shownName).join(", ")} has no line of a ledger, so nothing was added up\n`);
  // What the Python SDK writes has no chain, and standard input was read.
  else if (isChained && files.every((file) => canBeReadAgain(file, directory))) tellBroken(files, directory, terminal);
  const items = [...sums].sort(([a, { micro: one }], [b, { micro: other }]) => (one === other ? byKey(a, b) : one > other ? -1 : 1));
  return {
    items: items.map(
      ([key, { micro, calls, reported: beside }]): CostItem => ({ key, posted_usd: usd(micro), count: calls.size, reported_usd: usd(beside) }),
    ),
    total_usd: usd(total),
    reported_usd: usd(reported),
  };
}

type Entry = { readonly [member: string]: unknown };

/**
 * A decision, by whose it is: its id is made by a client, so that two sessions may have the same. A report that names no session is of any of its
 * agent's.
 */
const decisionOf = ({ decision_id, agent_id, session_id }: Entry): string =>
  JSON.stringify([decision_id ?? null, agent_id ?? null, session_id ?? null]);

/** As a gateway sees it: a report of what it cost, or an amount that was posted or taken back. What is no amount is told where it is added up. */
function movesMoney({ kind, cost_usd, corrected_usd }: Entry): boolean {
  const isSome = (amount: unknown): boolean => {
    const parsed = parseUsd(amount);
    return parsed.ok && parsed.value > 0;
  };
  return kind === "commit" || isSome(cost_usd) || isSome(corrected_usd);
}

/**
 * Whether an entry is of a call that is counted. Of a gateway's export one that moves money, as the gateway counts. Of a local ledger a decision spends
 * nothing, and counted is what ended, or was recorded by hand; a file of the Python SDK has only such lines.
 */
const counts = (entry: Entry, key: string | null, micro: bigint): boolean =>
  "tenant_id" in entry ? movesMoney(entry) : (entry.kind !== "decision" || micro > 0n) && (key !== null || micro !== 0n || entry.kind === "commit");

/** As a gateway orders what cost the same: what has no key before all that has one. */
const byKey = (a: string | null, b: string | null): number => (a === null || (b !== null && a < b) ? -1 : 1);

/** A pipe gives its lines once, and waits for ever to be asked again. */
const canBeReadAgain = (file: string, directory: string): boolean =>
  file !== "-" && statSync(path.resolve(directory, file), { throwIfNoEntry: false })?.isFile() === true;

function tellBroken(files: readonly string[], directory: string, terminal: Terminal): void {
  const { bad } = verifyFiles(files, directory, terminal, null);
  if (bad !== null)
    terminal.err(`agentsentinel: the ledger is broken, or was filtered, so the sum may not be true: ${bad.file}:${bad.line} ${plain(bad.why)}\n`);
}

function* linesOfAll(files: readonly string[], directory: string): Generator<Line & { readonly file: string }, void, void> {
  for (const file of files) for (const line of linesOf(file, directory)) yield { ...line, file };
}

function entryOf(text: string | null): { readonly [member: string]: unknown } | null {
  try {
    const entry: unknown = JSON.parse(text ?? "");
    return isMapping(entry) ? entry : null;
  } catch {
    return null;
  }
}

/** What an entry adds. An entry of a gateway's export may also take back what an earlier one posted. */
function costOf(entry: { readonly [member: string]: unknown }, place: string): bigint {
  const [cost, corrected] = [parseUsd(entry.cost_usd), parseUsd(entry.corrected_usd ?? 0)];
  if (!cost.ok) throw new Stop(`${place} has no exact cost: ${cost.error.message}`);
  if (!corrected.ok) throw new Stop(`${place} has no exact correction: ${corrected.error.message}`);
  return BigInt(cost.value) - BigInt(corrected.value);
}

function keyOf(entry: { readonly [member: string]: unknown }, group: Group, at: number): string | null {
  if (group === "day") return new Date(at).toISOString().slice(0, 10);
  const key = entry[group === "action" ? "action" : `${group}_id`];
  return typeof key === "string" ? key : null;
}

const UNIT = 1_000_000n;

function usd(micro: bigint): string {
  const [sign, size] = micro < 0n ? ["-", -micro] : ["", micro];
  const rest = size % UNIT;
  return `${sign}${size / UNIT}${rest === 0n ? "" : `.${String(rest).padStart(6, "0").replace(/0+$/, "")}`}`;
}

/** A table whose decimal points stand below each other, and the total under it. */
export function inWords({ items, total_usd, reported_usd }: CostReport, group: Group, { paint, columns }: Terminal): string {
  // A gateway of before reports were told of says nothing of them.
  const beside = reported_usd === undefined || reported_usd === "0" ? "" : `Beside that ${reported_usd} USD were reported, and are in no account.\n`;
  if (items.length === 0) return `Nothing was spent.\n${beside}`;
  const decimals = Math.max(2, ...[...items.map(({ posted_usd }) => posted_usd), total_usd].map((each) => each.split(".")[1]?.length ?? 0));
  const rows = [
    { key: group.toUpperCase(), count: "CALLS", usd: "USD" },
    ...items.map(({ key, count, posted_usd }) => ({
      key: key === null ? `(no ${group})` : plain(key),
      count: String(count),
      usd: filled(posted_usd, decimals),
    })),
    // One call may have posted on two days, and would be counted twice.
    { key: "total", count: group === "day" ? "" : String(items.reduce((sum, { count }) => sum + count, 0)), usd: filled(total_usd, decimals) },
  ];
  const [wideCount, wideUsd] = [Math.max(...rows.map(({ count }) => count.length)), Math.max(...rows.map(({ usd }) => usd.length))];
  const room = Math.max(8, columns - wideCount - wideUsd - 4);
  const wideKey = Math.min(room, Math.max(...rows.map(({ key }) => key.length)));
  const lines = rows.map(({ key, count, usd }) => `${pad(cut(key, wideKey), wideKey)}  ${count.padStart(wideCount)}  ${usd.padStart(wideUsd)}`);
  const [head = "", total = ""] = [lines[0], lines.at(-1)];
  return `${[paint.bold(head), ...lines.slice(1, -1), paint.dim("─".repeat(Math.min(head.length, columns))), paint.bold(total)].join("\n")}\n${beside}`;
}

function filled(amount: string, decimals: number): string {
  const [whole = "", rest = ""] = amount.split(".");
  return `${whole}.${rest.padEnd(decimals, "0")}`;
}

const cut = (text: string, width: number): string => (text.length > width ? `${text.slice(0, width - 1)}…` : text);
