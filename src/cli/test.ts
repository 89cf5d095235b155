import { type Dirent, readdirSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { parsePolicy } from "../core/policy/parse.ts";
import type { Issue } from "../core/refusals.ts";
import { type CaseFile, caseSchema, pathOf, readCases } from "./case_format.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { Coverage } from "./coverage.ts";
import { issueText, placeOf, readSource, type Source, whyNot } from "./files.ts";
import { checkSource, type Policy, policyOf } from "./policy_file.ts";
import { type Failure, runCase } from "./run_case.ts";
import { count, pad, plain, type Terminal, wrapped } from "./terminal.ts";

export const options = {
  grep: { type: "string" },
  file: { type: "string" },
  coverage: { type: "boolean" },
  list: { type: "boolean" },
  schema: { type: "boolean" },
} as const satisfies Command["options"];

export const help = `Usage: agentsentinel policy test [DIR|FILE]... [--grep TEXT] [--file POLICY] [--coverage] [--json]

Plays the cases of *.test.yaml files, each in a session of its own, with the code that decides in the gateway: a history, then requests with what must
come out for each. What a case may say: src/cli/README.md, or --schema.

  DIR|FILE       directories are searched for *.test.yaml, *.test.yml and *.test.json (without any: this one),
                 links are followed, and each file is played once
  --grep TEXT    only cases whose name contains TEXT; /TEXT/ is a regular expression
  --file POLICY  this policy instead of the one that each file names: would a candidate pass?
  --coverage     which parts of each policy no case had to do with
  --list         the names of the cases, and nothing is played
  --schema       the JSON Schema of case files
  --json         {"ok", "passed", "failed", "files": [{"file", "policy", "issues", "cases": [{"name", "line", "passed", "failures"}]}], "coverage"}

Exit code: 0 when every case passes, 1 when one fails, a file has mistakes, or there is no case; 2 for a mistake in the command.`;

interface Played {
  readonly name: string;
  readonly line: number;
  readonly failures: readonly Failure[];
}

interface FilePlayed {
  readonly source: Source;
  /** What the policy is called: its file, or the case file where it stands in it. */
  readonly policy: string | null;
  /** Mistakes of the case file, or of the policy that it names: then it has no cases. */
  readonly issues: readonly { readonly of: Source; readonly issue: Issue }[];
  readonly cases: readonly Played[];
}

/** `policy test`: whether there are cases, and all of them pass. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  if (line.has("schema")) {
    terminal.out(`${JSON.stringify(caseSchema(), null, 2)}\n`);
    return true;
  }
  const matches = matcherOf(line.text("grep"));
  const candidate = line.text("file");
  const instead = candidate === undefined ? null : policyFrom(readSource(candidate, directory));
  if (instead !== null && "issues" in instead) {
    const json = line.has("json");
    if (json)
      terminal.out(
        `${JSON.stringify({ ok: false, passed: 0, failed: 0, files: [{ file: candidate, policy: candidate, ...instead, cases: [] }] })}\n`,
      );
    else for (const issue of instead.issues) terminal.out(issueText(instead.source, issue, "mistake", terminal));
    return false;
  }
  const coverages = new Map<string, Coverage>();
  const files: FilePlayed[] = [];
  let done = 0;
  for (const file of caseFiles(line.positionals.length === 0 ? ["."] : line.positionals, directory)) {
    const source = readSource(file, directory);
    const read = readCases(source);
    if (!read.ok) {
      files.push({ source, policy: null, issues: read.error.map((issue) => ({ of: source, issue })), cases: [] });
      continue;
    }
    const named = instead === null ? policyNamed(source, read.value, directory) : { ...instead, name: candidate ?? "" };
    if ("issues" in named) {
      files.push({ source, policy: named.source.name, issues: named.issues.map((issue) => ({ of: named.source, issue })), cases: [] });
      continue;
    }
    const coverage = coverages.get(named.name) ?? new Coverage(named.policy);
    coverages.set(named.name, coverage);
    const cases: Played[] = [];
    for (const [place, { name }] of read.value.suite.cases.entries()) {
      if (!matches(name)) continue;
      terminal.progress(`${++done} ${source.name}: ${plain(name)}`);
      const failures = line.has("list") ? [] : runCase(named.policy, read.value, place, (answer) => coverage.count(answer));
      cases.push({ name, line: read.value.placeOf(["cases", place]).line, failures });
    }
    files.push({ source, policy: named.name, issues: [], cases });
  }
  terminal.progress("");
  const all = files.flatMap(({ cases }) => cases);
  const failed = all.filter(({ failures }) => failures.length > 0).length;
  const ok = failed === 0 && all.length > 0 && files.every(({ issues }) => issues.length === 0);
  if (line.has("json")) terminal.out(`${JSON.stringify(inJson(ok, failed, files, coverages))}\n`);
  else if (line.has("list"))
    for (const { source, cases } of files) for (const one of cases) terminal.out(`${source.name}:${one.line} ${plain(one.name)}\n`);
  else inWords(files, failed, line.has("coverage") ? coverages : null, line.text("grep"), terminal);
  if (line.has("list") && !line.has("json")) printIssues(files, terminal);
  return ok;
}

function matcherOf(grep: string | undefined): (name: string) => boolean {
  if (grep === undefined) return () => true;
  const written = /^\/(.+)\/(i?)$/.exec(grep);
  if (written === null) return (name) => name.toLowerCase().includes(grep.toLowerCase());
  try {
    const expression = new RegExp(written[1] ?? "", written[2]);
    return (name) => expression.test(name);
  } catch (fault) {
    throw new Usage(`--grep is no regular expression: ${whyNot(fault)}`, "test");
  }
}

/**
 * The case files that are meant, each once however often and by whichever way it was found; a file that is named counts whatever it is called. A link
 * stands for the file that it leads to: what the cases mean must not depend on which way was the first.
 */
function caseFiles(names: readonly string[], directory: string): readonly string[] {
  const searched = new Set<string>();
  const found = names.flatMap((name) => {
    if (name === "-") return [name];
    let isDirectory: boolean;
    try {
      isDirectory = statSync(path.resolve(directory, name)).isDirectory();
    } catch (fault) {
      throw new Stop(`${name} cannot be read: ${whyNot(fault)}`);
    }
    return isDirectory ? casesIn(name, directory, searched) : [name];
  });
  const files = new Map<string, string>();
  for (const name of found) {
    const at = name === "-" ? name : realPath(name, directory);
    if (!files.has(at)) files.set(at, name === "-" ? name : realName(name, at, directory));
  }
  return [...files.values()];
}

function realPath(name: string, directory: string): string {
  try {
    return realpathSync(path.resolve(directory, name));
  } catch (fault) {
    throw new Stop(`${name} cannot be read: ${whyNot(fault)}`);
  }
}

/** As it was typed, unless a link is on the way. */
function realName(name: string, at: string, directory: string): string {
  const base = realpathSync(directory);
  if (path.resolve(base, name) === at) return name;
  return path.isAbsolute(name) ? at : path.relative(base, at);
}

/** The case files below a directory, unless it was searched already: links may lead in a circle. */
function casesIn(name: string, directory: string, searched: Set<string>): readonly string[] {
  const real = realPath(name, directory);
  if (searched.has(real)) return [];
  searched.add(real);
  const inside = readdirSync(path.resolve(directory, name), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1));
  return inside.flatMap((entry) => {
    const at = path.join(name, entry.name);
    if (leadsToDirectory(entry, path.resolve(directory, at)))
      return entry.name === "node_modules" || entry.name.startsWith(".") ? [] : casesIn(at, directory, searched);
    return /\.test\.(?:ya?ml|json)$/i.test(entry.name) ? [at] : [];
  });
}

function leadsToDirectory(entry: Dirent, at: string): boolean {
  if (!entry.isSymbolicLink()) return entry.isDirectory();
  try {
    return statSync(at).isDirectory();
  } catch {
    // A link that leads nowhere: if it is called like a case file, reading it says so.
    return false;
  }
}

type Named = { readonly name: string; readonly policy: Policy };
type Mistaken = { readonly source: Source; readonly issues: readonly Issue[] };

function policyNamed(source: Source, file: CaseFile, directory: string): Named | Mistaken {
  const { policy } = file.suite;
  if (typeof policy !== "string") return policyWithin(source, file, policy);
  const at = source.name === "(standard input)" ? policy : path.join(path.dirname(source.name), policy);
  const name = path.isAbsolute(policy) ? policy : at;
  try {
    return policyFrom(readSource(name, directory));
  } catch (fault) {
    if (!(fault instanceof Stop) && !(fault instanceof Usage)) throw fault;
    return { source, issues: [{ pointer: "/policy", message: fault.message, ...file.placeOf(["policy"]) }] };
  }
}

/** A policy that stands in the case file itself. Its mistakes have their places there. */
function policyWithin(source: Source, file: CaseFile, document: unknown): Named | Mistaken {
  const parsed = parsePolicy(JSON.stringify(document), "json");
  if (parsed.ok) return { name: source.name, policy: policyOf(parsed.value.document) };
  const issues = parsed.error.map(({ pointer, message }) => ({
    pointer: `/policy${pointer}`,
    message,
    ...file.placeOf(["policy", ...pathOf(pointer)]),
  }));
  return { source, issues };
}

function policyFrom(source: Source): Named | Mistaken {
  const { parsed, issues } = checkSource(source);
  return parsed === null ? { source, issues } : { name: source.name, policy: policyOf(parsed.document) };
}

function inJson(ok: boolean, failed: number, files: readonly FilePlayed[], coverages: ReadonlyMap<string, Coverage>): object {
  return {
    ok,
    passed: files.flatMap(({ cases }) => cases).length - failed,
    failed,
    files: files.map(({ source, policy, issues, cases }) => ({
      file: source.name,
      policy,
      issues: issues.map(({ of, issue }) => ({ file: of.name, ...issue })),
      cases: cases.map(({ name, line, failures }) => ({
        name,
        line,
        passed: failures.length === 0,
        failures: failures.map(({ place, ...rest }) => ({ ...rest, ...place })),
      })),
    })),
    coverage: [...coverages].map(([policy, { parts }]) => ({
      policy,
      parts,
      never_asked: parts.filter(({ asked }) => !asked).map(({ rule }) => rule),
      never_fired: parts.filter(({ asked, fired }) => asked && !fired).map(({ rule }) => rule),
    })),
  };
}

function printIssues(files: readonly FilePlayed[], terminal: Terminal): void {
  for (const { of, issue } of files.flatMap(({ issues }) => issues)) terminal.out(issueText(of, issue, "mistake", terminal));
}

function inWords(
  files: readonly FilePlayed[],
  failed: number,
  coverages: ReadonlyMap<string, Coverage> | null,
  grep: string | undefined,
  terminal: Terminal,
): void {
  const { paint, out } = terminal;
  const mistaken = files.filter(({ issues }) => issues.length > 0).length;
  const total = files.flatMap(({ cases }) => cases).length;
  for (const { source, issues, cases } of files) {
    const wrong = cases.filter(({ failures }) => failures.length > 0);
    if (issues.length > 0) {
      out(`${paint.red("✗")} ${paint.bold(source.name)} has ${count(issues.length, "mistake")}, and none of its cases was played\n`);
      for (const { of, issue } of issues) out(indented(issueText(of, issue, "mistake", terminal)));
    } else if (wrong.length > 0) {
      out(`${paint.red("✗")} ${paint.bold(source.name)}: ${wrong.length} of ${count(cases.length, "case")} failed\n`);
      for (const one of wrong) printFailed(source, one, terminal);
    } else if (cases.length > 0) {
      out(`${paint.green("✓")} ${source.name} ${paint.dim(count(cases.length, "case"))}\n`);
    }
  }
  if (coverages !== null) for (const [name, coverage] of coverages) printCoverage(name, coverage, terminal);
  if (total === 0 && mistaken === 0) {
    out(grep === undefined ? "No case was found: cases stand in files called *.test.yaml.\n" : `No case has a name that matches ${plain(grep)}.\n`);
    return;
  }
  const parts = [
    ...(failed > 0 ? [paint.red(`${failed} failed`)] : []),
    paint.green(`${total - failed} passed`),
    ...(mistaken > 0 ? [paint.red(`${count(mistaken, "file")} with mistakes`)] : []),
  ];
  out(`\n${parts.join(", ")}\n`);
}

/** A case that failed: every request that came out otherwise, with what was expected beside what was found, and why it came out so. */
function printFailed(source: Source, { name, line, failures }: Played, { out, paint, columns }: Terminal): void {
  out(`\n  ${paint.red("✗")} ${paint.bold(plain(name))} ${paint.dim(`${source.name}:${line}`)}\n`);
  for (const [at, wrong] of Map.groupBy(failures, (failure) => failure.at)) {
    const [first] = wrong;
    if (first === undefined) continue;
    out(`    ${at} ${paint.dim(`(${placeOf(source.name, first.place)})`)}\n`);
    const whats = Math.max(...wrong.map(({ what }) => what.length), 6);
    const wanted = Math.min(60, Math.max(8, ...wrong.map(({ expected }) => expected.length)));
    out(paint.dim(`      ${pad("", whats)}  ${pad("expected", wanted)}  found\n`));
    for (const { what, expected, found } of wrong) {
      out(`      ${pad(what, whats)}  ${paint.green(pad(plain(expected), wanted))}  ${paint.red(plain(found))}\n`);
    }
    const { answer } = first;
    if (answer === null) continue;
    const rule = answer.rule === null ? "" : ` by ${plain(answer.rule)}`;
    out(
      `      ${pad("why", whats)}  ${wrapped(`${plain(answer.message)} (${answer.reason}${rule})`, Math.min(columns, 140), " ".repeat(whats + 8))}\n`,
    );
  }
}

const indented = (text: string): string => text.replace(/^(?=.)/gm, "  ");

function printCoverage(name: string, { parts }: Coverage, { out, paint }: Terminal): void {
  const untouched = parts.filter(({ asked }) => !asked);
  const silent = parts.filter(({ asked, fired }) => asked && !fired);
  const fired = parts.length - untouched.length - silent.length;
  out(`\n${paint.bold("Coverage")} of ${name}: ${fired} of ${count(parts.length, "part")} decided something in some case\n`);
  if (untouched.length > 0) out(`  ${paint.yellow("no case came to")}\n${untouched.map(({ rule }) => `    ${plain(rule)}\n`).join("")}`);
  if (silent.length > 0) out(`  ${paint.yellow("asked, and never decided")}\n${silent.map(({ rule }) => `    ${plain(rule)}\n`).join("")}`);
}
