import type { Verdict } from "../../../sdk/src/index.ts";
import type { Check, Record } from "./audit.ts";
import type { Driven, Played } from "./drive.ts";
import { microOf, usdOf } from "./money.ts";
import { type Writes, writesOf } from "./writes.ts";

/** What the demo found, as `--json` prints it: names as on the wire. */
export interface Report {
  readonly source: string;
  readonly gateway: string;
  readonly tenant: string;
  readonly runs: number;
  readonly calls: number;
  readonly seconds: number;
  readonly verdicts: { readonly [V in Verdict]: number };
  readonly reasons: readonly {
    readonly verdict: Verdict;
    readonly reason: string;
    readonly count: number;
    readonly actions: { readonly [action: string]: number };
  }[];
  /** What a policy that only observes (`strict_mode: false`) would have refused, by its first reason. */
  readonly observed: readonly { readonly reason: string; readonly count: number; readonly actions: { readonly [action: string]: number } }[];
  /** Only where the data says what was expected. */
  readonly writes?: Writes;
  readonly costs: readonly { readonly action: string; readonly calls: number; readonly allowed: number; readonly posted_usd: string }[];
  readonly total_usd: string;
  /** The estimates of what was denied or held: asked for and never spent. */
  readonly prevented_usd: string;
  readonly decision_ms: { readonly p50: number; readonly p99: number; readonly slowest: number };
  readonly checks: readonly Check[];
  readonly ok: boolean;
}

export interface Found {
  readonly source: string;
  readonly gateway: string;
  readonly tenant: string;
  readonly driven: Driven;
  readonly record: Record;
  readonly checks: readonly Check[];
}

export function reportOf({ source, gateway, tenant, driven, record, checks }: Found): Report {
  const { played } = driven;
  const count = (verdict: Verdict) => played.filter((call) => call.verdict === verdict).length;
  const writes = writesOf(played);
  const refused = played.filter(({ verdict }) => verdict === "deny" || verdict === "hold");
  return {
    source,
    gateway,
    tenant,
    runs: driven.sessions,
    calls: played.length,
    seconds: rounded(driven.ms / 1000),
    verdicts: { allow: count("allow"), deny: count("deny"), hold: count("hold") },
    reasons: reasonsOf(played),
    observed: observedOf(driven.answers),
    ...(writes === null ? {} : { writes }),
    costs: costsOf(played, record),
    total_usd: record.costs.total_usd,
    prevented_usd: usdOf(refused.reduce((total, { estimate }) => total + estimate, 0)),
    decision_ms: latencyOf(played),
    checks,
    ok: checks.every(({ holds }) => holds),
  };
}

function reasonsOf(played: readonly Played[]): Report["reasons"] {
  const groups = Map.groupBy(played, ({ verdict, reason }) => `${verdict} ${reason}`);
  return [...groups.values()]
    .flatMap((calls) => {
      const { verdict, reason } = calls[0] ?? { verdict: null, reason: null };
      return verdict === null ? [] : [{ verdict, reason: String(reason), count: calls.length, actions: tally(calls) }];
    })
    .sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict) || b.count - a.count);
}

const ORDER: readonly Verdict[] = ["allow", "deny", "hold"];

function observedOf(answers: Driven["answers"]): Report["observed"] {
  const warned = answers.flatMap(({ action, warnings }) => (warnings[0] === undefined ? [] : [{ action, reason: warnings[0].code }]));
  return [...Map.groupBy(warned, ({ reason }) => reason)]
    .map(([reason, calls]) => ({ reason, count: calls.length, actions: tally(calls) }))
    .sort((a, b) => b.count - a.count);
}

function tally(calls: readonly { readonly action: string }[]): { readonly [action: string]: number } {
  const groups = [...Map.groupBy(calls, ({ action }) => action)].map(([action, group]) => [action, group.length] as const);
  return Object.fromEntries(groups.sort(([, a], [, b]) => b - a));
}

/** Every action that was asked for, with what `GET /v1/costs` says it cost: the dearest first. */
function costsOf(played: readonly Played[], { costs }: Record): Report["costs"] {
  const posted = new Map(costs.items.map(({ key, posted_usd }) => [key, posted_usd]));
  return [...Map.groupBy(played, ({ action }) => action)]
    .map(([action, calls]) => ({
      action,
      calls: calls.length,
      allowed: calls.filter(({ verdict }) => verdict === "allow").length,
      posted_usd: posted.get(action) ?? "0",
    }))
    .sort((a, b) => microOf(b.posted_usd) - microOf(a.posted_usd) || b.calls - a.calls);
}

function latencyOf(played: readonly Played[]): Report["decision_ms"] {
  const sorted = played.map(({ decisionMs }) => decisionMs).sort((a, b) => a - b);
  // The nearest rank: the smallest value that so many per cent do not exceed.
  const percentile = (share: number) => rounded(sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
  return { p50: percentile(0.5), p99: percentile(0.99), slowest: percentile(1) };
}

const rounded = (value: number): number => Number(value.toFixed(2));

/** The report as a person reads it. */
export function inWords(report: Report, colour: boolean): string {
  const paint = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [bold, dim, red, green, yellow] = [paint(1), paint(2), paint(31), paint(32), paint(33)];
  const because = ({ reason, count, actions }: Report["observed"][number]): string[] => [
    `    ${column(reason, 32)}${right(count, 6)}`,
    ...Object.entries(actions).map(([action, of]) => dim(`      ${column(action, 30)}${right(of, 6)}`)),
  ];
  const decided = (verdict: Verdict, said: string): string[] => [
    `  ${said}${right(report.verdicts[verdict], 6)}  ${dim(percent(report.verdicts[verdict], report.calls))}`,
    ...report.reasons.filter((row) => row.verdict === verdict && verdict !== "allow").flatMap(because),
  ];
  const cost = (name: string, calls: number, allowed: number, usd: string): string =>
    `  ${column(name, 34)}${right(calls, 6)}${right(allowed, 9)}${right(aligned(usd), 15)}`;

  return [
    `${bold("AgentSentinel")}: ${report.runs} recorded runs, ${report.calls} tool calls, each asked for before it ran`,
    dim(`${report.source}; tenant ${report.tenant} at ${report.gateway}; ${report.seconds} s`),
    "",
    bold("What was decided"),
    ...decided("allow", green(column("allowed", 34))),
    ...decided("deny", red(column("denied", 34))),
    ...decided("hold", yellow(column("held for a person", 34))),
    ...(report.observed.length === 0 ? [] : ["", bold("What the policy would have refused, and only observed")]),
    ...report.observed.flatMap(because),
    ...(report.writes === undefined ? [] : ["", ...writesInWords(report.writes, bold, dim)]),
    "",
    `${bold("What it cost")} ${dim("(GET /v1/costs; how calls are priced: src/local/demo/prices.ts)")}`,
    dim(`  ${column("action", 34)}${right("calls", 6)}${right("allowed", 9)}${right("USD", 15)}`),
    ...report.costs.map((row) => cost(row.action, row.calls, row.allowed, row.posted_usd)),
    bold(cost("all", report.calls, report.verdicts.allow, report.total_usd)),
    `  ${column("asked for and never spent", 49)}${right(aligned(report.prevented_usd), 15)}`,
    "",
    `${bold("How long a decision took")} ${dim("(from asking to knowing, as the agent waits for it)")}`,
    `  p50 ${report.decision_ms.p50} ms, p99 ${report.decision_ms.p99} ms, slowest ${report.decision_ms.slowest} ms`,
    "",
    bold("What must hold"),
    ...report.checks.flatMap(({ name, holds, found }) => [`  ${holds ? green("yes") : red("NO ")}  ${name}`, dim(`       ${found}`)]),
  ].join("\n");
}

function writesInWords({ expected, unexpected, stops, stopped_expected }: Writes, bold: Paint, dim: Paint): readonly string[] {
  const row = (said: string, count: number, of: number) => `  ${column(said, 34)}${right(count, 6)}  ${dim(percent(count, of))}`;
  const stop = ({ reason, rule, ...counts }: Writes["stops"][number]) =>
    `  ${column(`${reason} ${rule ?? ""}`, 62)}${right(counts.expected, 9)}${right(counts.unexpected, 12)}`;
  return [
    `${bold("What was written")} ${dim("(against what the data says a right run would have written; stopped: denied or held)")}`,
    `  ${column("expected", 34)}${right(expected.count, 6)}`,
    row("  passed", expected.passed, expected.count),
    row("  stopped", expected.stopped, expected.count),
    `  ${column("not expected", 34)}${right(unexpected.count, 6)}`,
    row("  stopped", unexpected.stopped, unexpected.count),
    row("  passed, and the tool refused it", unexpected.refused_by_tool, unexpected.count),
    row("  passed and took effect", unexpected.took_effect, unexpected.count),
    ...(stops.length === 0 ? [] : [dim(`  ${column("stopped by", 62)}${right("expected", 9)}${right("unexpected", 12)}`)]),
    ...stops.map(stop),
    ...stopped_expected.flatMap(({ task, trial, action, arguments: args, reason, rule }) => [
      `  expected and stopped: task ${task}, trial ${trial}: ${action} because of ${reason} ${rule ?? ""}`.trimEnd(),
      dim(`    ${JSON.stringify(args)}`),
    ]),
  ];
}

type Paint = (text: string) => string;

const column = (text: string, width: number): string => text.padEnd(width);
const right = (text: string | number, width: number): string => String(text).padStart(width);

/** Money with all its decimals, so that points stand below each other. */
function aligned(usd: string): string {
  const [whole = "0", rest = ""] = usd.split(".");
  return `${whole}.${rest.padEnd(6, "0")}`;
}

const percent = (part: number, whole: number): string => (whole === 0 ? "" : `${((100 * part) / whole).toFixed(1)} %`.padStart(7));
