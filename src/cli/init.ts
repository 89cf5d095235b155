import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { policyDigest } from "../core/policy/digest.ts";
import { POLICY_NAME, POLICY_NAME_WANTED } from "../http/requests.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { whyNot } from "./files.ts";
import { DEFAULT_URL } from "./gateway.ts";
import { checkSource, sha256 } from "./policy_file.ts";
import { shown, type Terminal } from "./terminal.ts";

export const options = { name: { type: "string" }, force: { type: "boolean" } } as const satisfies Command["options"];

const FILE = "callguard.yaml";

export const help = `Usage: agentsentinel init [FILE] [--name NAME] [--force] [--json]

Writes a policy to begin with, every part of it explained, and says what to do next. It is in force nowhere until somebody publishes or loads it.

  FILE         where to (${FILE}); .yaml or .yml, and - for standard output
  --name NAME  what the policy is called (support-bots)
  --force      over a file that is there
  --json       {"file", "name", "digest", "next"}

  ${CALLED} init policies/support.yaml --name support-bots

Exit code: 0 when it was written, 1 when it was not, 2 for a mistake in the command.`;

/** `init`: whether it was written. What is there is never overwritten unless that is said. */
export function run(line: CommandLine, directory: string, terminal: Terminal): boolean {
  const [file = FILE, ...others] = line.positionals;
  if (others.length > 0) throw new Usage("init writes one FILE", "init");
  if (file !== "-" && !/\.ya?ml$/i.test(file)) throw new Usage(`a policy that people read is .yaml or .yml, found ${JSON.stringify(file)}`, "init");
  const name = line.text("name") ?? "support-bots";
  if (!POLICY_NAME.test(name)) throw new Usage(`--name: wanted ${POLICY_NAME_WANTED}, found ${shown(name, 60)}`, "init");
  const text = policyText(name);
  const { parsed, issues } = checkSource({ name: file, text, format: "yaml" });
  if (parsed === null) throw new Usage(`--name: ${issues[0]?.message ?? "it is no name for a policy"}`, "init");

  const json = line.has("json");
  if (file === "-" && !json) terminal.out(text);
  if (file !== "-") write(file, directory, text, line.has("force"));
  const next = nextSteps(file, name);
  if (json) terminal.out(`${JSON.stringify({ file: file === "-" ? null : file, name, digest: policyDigest(sha256, parsed.document), next })}\n`);
  else if (file !== "-") terminal.out(inWords(file, next, terminal));
  return true;
}

function write(file: string, directory: string, text: string, force: boolean): void {
  const target = path.resolve(directory, file);
  const folder = path.dirname(target);
  if (!existsSync(folder))
    throw new Stop(`${file} was not written: there is no directory ${path.dirname(file)}. Make it first: mkdir -p '${path.dirname(file)}'`);
  try {
    // "wx" looks and writes in one: what somebody else put there meanwhile is not overwritten either.
    writeFileSync(target, text, { flag: force ? "w" : "wx" });
  } catch (fault) {
    if (fault instanceof Error && "code" in fault && fault.code === "EEXIST")
      throw new Stop(`${file} is there already and was left as it is. Name another FILE, or write over it with --force`);
    const why = fault instanceof Error && "code" in fault && fault.code === "EACCES" ? "you may not write there" : whyNot(fault);
    throw new Stop(`${file} was not written: ${why}`);
  }
}

interface Step {
  readonly does: string;
  readonly command: string;
}

const nextSteps = (file: string, name: string): readonly Step[] => {
  const quoted = /^[\w./-]+$/.test(file) ? file : `'${file.replaceAll("'", "'\\''")}'`;
  return [
    { does: "after each change, find its mistakes", command: `${CALLED} policy check ${quoted}` },
    { does: "see why a request comes out as it does", command: `${CALLED} policy explain ${quoted} send_money` },
    {
      does: "put it in force on a gateway",
      command: `curl -sS -X PUT "\${AGENTSENTINEL_URL:-${DEFAULT_URL}}/v1/policies/${name}" -H "Authorization: Bearer $AGENTSENTINEL_TOKEN" -H 'Content-Type: application/yaml' --data-binary @${quoted}; echo`,
    },
    { does: "see whether everything else is set up", command: `${CALLED} doctor` },
  ];
};

function inWords(file: string, next: readonly Step[], { paint }: Terminal): string {
  const steps = next.map(({ does, command }) => `  ${paint.dim(`# ${does}`)}\n  ${command}\n`);
  return `${paint.green("✓")} ${file} is written. It is in force nowhere yet: read it, and change what does not fit.\n\n${paint.bold("Next")}\n${steps.join("")}`;
}

/** The policy. Its numbers are small on purpose: what is too tight is noticed at once, what is too loose only afterwards. */
export const policyText = (
  name: string,
): string => `# What your agents may do. The command line's "policy check" finds every mistake in here; whatever a line says is enforced, and what cannot
# be enforced is refused. A request must pass every section; a "no" of any of them is a no.
version: 1
name: ${name}

# true: a no is a no. With false everything is allowed, and the record says what would have happened: a way to try this on a live agent first.
strict_mode: true

# Money, in US dollars with up to six decimals. What an action may cost is taken before it runs, so many calls at once cannot spend what one may.
budgets:
  session: 5.00 # all that one session may spend
  run: 1.00 # and each run within it
  actions: # and these actions, added up over the session; "*" stands for any characters
    "llm.*": 0.50
  agent: { day: 20.00 } # all sessions of one agent together; hour, month and total work too
  alerts: [0.5, 0.8] # told once each, when that part of a limit is reached

# Never, whoever asks.
denied_actions:
  - "delete_*"
  - "drop_*"
  - "shell.*"

# To allow nothing but what is named, take away the "#". A list that is empty allows nothing.
# allowed_actions: [search_web, read_file, send_email, send_money]

# How often, in any stretch of that length.
rate_limits:
  send_email: { max_count: 10, window_seconds: 60 }
  "search_*": { max_count: 60, window_seconds: 60, per: agent } # over all sessions of an agent

# The same call again and again, and failing again and again, are not progress.
loops: { threshold: 5, window_seconds: 60 }
retries: { threshold: 8, window_seconds: 300 }

# A person is asked first. The agent waits, or comes back for the answer; without one within the hour the action does not run.
approvals:
  actions: [send_money, "refund_*"]
  threshold_usd: 0.75 # and whatever one call may cost more than this
  timeout_seconds: 3600

# What is written down. Taken out before anything is kept, hashed or shown, at any depth: members with the name of a secret (password, api_key,
# authorization ...; "keys: [iban]" puts your own in their place), and what is recognised in texts.
redact:
  detect: [credit_card, private_key, token] # and email, where nobody who approves needs to see addresses
`;
