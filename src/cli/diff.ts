import { canonicalJson, type JsonValue } from "../core/json.ts";
import { type Command, type CommandLine, Usage } from "./command_line.ts";
import { readSource } from "./files.ts";
import { type Difference, type Direction, overall, policyDifferences } from "./policy_diff.ts";
import { readPolicyFile } from "./policy_file.ts";
import { count, pad, shown, type Terminal } from "./terminal.ts";

export const options = {} as const satisfies Command["options"];

export const help = `Usage: agentsentinel policy diff A B [--json]

What policy B says otherwise than policy A, in meaning: comments, order of lists, and other ways to write the same are no difference.
Each difference is marked tighter (more is refused), looser (less is), or different (neither for every request), judged as if all else were alike.

  A, B     .yaml, .yml or .json; one of them may be - for standard input
  --json   {"same", "direction", "a", "b", "differences": [{"section", "at", "change", "direction", "before", "after"}]}

Exit code: 0 when both mean the same, 1 when they differ or one has mistakes, 2 for a mistake in the command.`;

/** `policy diff`: whether both mean the same. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const [first, second, ...others] = line.positionals;
  if (first === undefined || second === undefined || others.length > 0) throw new Usage("policy diff wants two files, A and B", "diff");
  if (first === "-" && second === "-") throw new Usage("standard input (-) can be read once", "diff");
  const a = readPolicyFile(readSource(first, directory), terminal);
  const b = readPolicyFile(readSource(second, directory), terminal);
  if (a === null || b === null) return false;
  const differences = policyDifferences(a.document, b.document);
  const direction = overall(differences.map((difference) => difference.direction));
  if (line.has("json")) {
    const of = (file: string, { ref }: typeof a) => ({ file, name: ref.name, digest: ref.digest });
    const told = { same: differences.length === 0, direction, a: of(first, a), b: of(second, b), differences };
    terminal.out(`${JSON.stringify(told)}\n`);
  } else if (differences.length === 0) {
    terminal.out(`${first} and ${second} mean the same.\n`);
  } else {
    inWords(differences, terminal);
    const tallies = (["tighter", "looser", "different"] as const).flatMap((one) => {
      const found = differences.filter((difference) => difference.direction === one).length;
      return found === 0 ? [] : [`${found} ${one}`];
    });
    terminal.out(`\n${count(differences.length, "difference")}: ${tallies.join(", ")}\n`);
  }
  return differences.length === 0;
}

const SIGN = { added: "+", removed: "-", changed: "~" } as const;

function inWords(differences: readonly Difference[], { out, paint, columns }: Terminal): void {
  const colour: { readonly [direction in Direction]: (text: string) => string } = {
    tighter: paint.green,
    looser: paint.red,
    different: paint.yellow,
  };
  const width = Math.min(44, Math.max(...differences.map((difference) => nameIn(difference).length)));
  const room = Number.isFinite(columns) ? Math.max(24, columns - width - 16) : 400;
  for (const [section, inside] of Map.groupBy(differences, (difference) => difference.section)) {
    out(`${paint.bold(section)}\n`);
    for (const difference of inside) {
      const { change, direction, before, after } = difference;
      const head = `  ${SIGN[change]} ${colour[direction](pad(direction, 9))}  ${pad(nameIn(difference), width)}  `;
      if (change === "changed" && isMapping(before) && isMapping(after)) {
        out(`${head.trimEnd()}\n`);
        for (const member of new Set([...Object.keys(before), ...Object.keys(after)])) {
          if (canonicalJson(before[member] ?? null) === canonicalJson(after[member] ?? null)) continue;
          out(`      ${member}: ${shown(before[member], 4000)} → ${shown(after[member], 4000)}\n`);
        }
        continue;
      }
      const line = [before, after].flatMap((value) => (value === undefined ? [] : [shown(value, 4000)])).join(" → ");
      if (line.length <= room) {
        out(`${head}${line}\n`);
        continue;
      }
      out(`${head.trimEnd()}\n`);
      for (const [sign, value] of [
        ["-", before],
        ["+", after],
      ] as const)
        if (value !== undefined) out(`      ${paint.dim(sign)} ${shown(value, 4000)}\n`);
    }
  }
}

const isMapping = (value: JsonValue | undefined): value is { readonly [member: string]: JsonValue } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Without the section, which stands above it. */
const nameIn = ({ section, at }: Difference): string =>
  at.startsWith(`/${section}/`) ? at.slice(section.length + 2) : at === `/${section}` ? "" : at;
