import { execFileSync } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { ROOT } from "../../src/local/build.ts";
import { GROUPS, type Group } from "./groups.ts";
import { compare, comparison, readHistory, record } from "./history.ts";
import { type Ratio, type Report, textOf } from "./report.ts";
import type { Effort } from "./rounds.ts";

const HISTORY = path.join(import.meta.dirname, "history.ndjson");
const WIDTH = 110;

const HELP = `npm run bench -- [--only GROUP[,GROUP]] [--rounds N] [--seconds N] [--large] [--json] [--record]

Measures the built gateway in workerd itself, and what it is measured against in the same run on this machine. The ratios are what counts: cases take
turns, and a ratio is the median of what each round says. Each is held against the last run that was recorded.

  --only     these groups alone; growth names all whose names begin with it
  --rounds   rounds that count, after one that warms up (default 5)
  --seconds  how long each case has in a round (default 2)
  --large    a ledger of 1,000,000 entries in growth.ledger, in place of 100,000
  --json     one object instead of tables
  --record   adds the ratios to test/bench/history.ndjson

Groups:
${GROUPS.map(({ name, what, byDefault }) => `  ${name.padEnd(16)} ${what}${byDefault ? "" : " (only when named)"}`).join("\n")}`;

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "2" },
    large: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    record: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}
const groups = chosen(values.only);
const effort: Effort = { rounds: positive("rounds", values.rounds), seconds: positive("seconds", values.seconds), large: values.large };
const history = readHistory(HISTORY);
const found: (Report & { readonly name: string; readonly tookSeconds: number })[] = [];
for (const { name, measure } of groups) {
  const began = performance.now();
  const report = await measure(effort, (text) => progress(`${name}: ${text}`));
  progress("");
  const tookSeconds = Math.round((performance.now() - began) / 1000);
  found.push({ name, tookSeconds, ...report });
  if (values.json) continue;
  console.log(`\n== ${name}: ${tookSeconds} s\n\n${textOf(report)}`);
  if (report.ratios.length > 0) console.log(`\n${comparison(compare(named(name, report.ratios), history))}`);
}

const run = { date: new Date().toISOString(), commit: commit(), cores: os.availableParallelism(), ...effort };
const ratios = found.flatMap(({ name, ratios }) => named(name, ratios));
if (values.json) console.log(JSON.stringify({ ...run, groups: found, compared: compare(ratios, history) }));
if (values.record) record(HISTORY, { ...run, ratios: Object.fromEntries(ratios.map(({ name, found }) => [name, found])) });

/** One line for whoever sits before it, and none in a file. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.slice(0, WIDTH).padEnd(WIDTH)}${text === "" ? "\r" : ""}`);
}

/** In a history, a ratio is known by its group too. */
function named(group: string, ratios: readonly Ratio[]): readonly Ratio[] {
  return ratios.map((ratio) => ({ ...ratio, name: `${group}: ${ratio.name}` }));
}

function chosen(only: string | undefined): readonly Group[] {
  if (only === undefined) return GROUPS.filter(({ byDefault }) => byDefault);
  return only.split(",").flatMap((name) => {
    const named = GROUPS.filter((one) => one.name === name || one.name.startsWith(`${name}.`));
    return named.length > 0 ? named : wrong(`There is no group "${name}". There are: ${GROUPS.map((one) => one.name).join(", ")}.`);
  });
}

function positive(flag: string, text: string): number {
  const number = Number(text);
  return number > 0 ? number : wrong(`--${flag} is a number above 0, found "${text}".`);
}

function wrong(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

/** The commit that is measured, with a plus where the working tree differs from it; empty outside a repository. */
function commit(): string {
  try {
    const git = (...args: readonly string[]) =>
      execFileSync("git", args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    return (
      git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain", "--", "src", "sdk", "migrations", "package-lock.json") === "" ? "" : "+")
    );
  } catch {
    return "";
  }
}
