import { policyDigest } from "../core/policy/digest.ts";
import { type Command, type CommandLine, Usage } from "./command_line.ts";
import { issueText, readSource } from "./files.ts";
import { checkSource, sha256 } from "./policy_file.ts";
import { count, type Terminal } from "./terminal.ts";

export const options = { strict: { type: "boolean" } } as const satisfies Command["options"];

export const help = `Usage: agentsentinel policy check FILE... [--json] [--strict]

Reads policies as the gateway would, and tells every mistake: its place, what was found there and what is wanted.
Warnings are about what a good policy says in vain, or may not mean.

  FILE       .yaml, .yml or .json; - is standard input
  --strict   warnings count as mistakes
  --json     {"files": [{"file", "valid", "digest", "issues", "warnings"}]}

Exit code: 0 when every policy is good, 1 when one is not, 2 for a mistake in the command.`;

/** `policy check`: whether everything is good. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const names = line.positionals;
  if (names.length === 0) throw new Usage("policy check wants at least one FILE", "check");
  if (names.filter((name) => name === "-").length > 1) throw new Usage("standard input (-) can be read once", "check");
  const strict = line.has("strict");
  const files = names.map((name) => {
    const source = readSource(name, directory);
    return { source, ...checkSource(source) };
  });
  const good = files.filter(({ valid, warnings }) => valid && !(strict && warnings.length > 0)).length;
  if (line.has("json")) {
    const told = files.map(({ source, valid, issues, warnings, parsed }) => ({
      file: source.name,
      valid,
      digest: parsed === null ? null : policyDigest(sha256, parsed.document),
      issues,
      warnings,
    }));
    terminal.out(`${JSON.stringify({ files: told })}\n`);
    return good === files.length;
  }
  const { paint } = terminal;
  for (const { source, valid, issues, warnings, parsed } of files) {
    for (const issue of issues) terminal.out(issueText(source, issue, "mistake", terminal));
    for (const warning of warnings) terminal.out(issueText(source, warning, "warning", terminal));
    const said = warnings.length === 0 ? "" : `, ${paint.yellow(count(warnings.length, "warning"))}`;
    const name = parsed?.document.name === undefined ? "" : ` "${parsed.document.name}"`;
    terminal.out(
      valid
        ? `${paint.green("✓")} ${source.name}${name} is good${said}\n`
        : `${paint.red("✗")} ${source.name} has ${count(issues.length, "mistake")}\n`,
    );
  }
  if (files.length > 1) terminal.out(`\n${good} of ${count(files.length, "policy", "policies")} ${good === 1 ? "is" : "are"} good\n`);
  return good === files.length;
}
