import type { Approval, Balance } from "../../sdk/src/wire.ts";
import { span } from "./approvals_list.ts";
import { type CommandLine, Usage } from "./command_line.ts";
import { type Gateway, gatewayOf, gatewayOptions, noGateway } from "./gateway.ts";
import { policyCalled } from "./policy_called.ts";
import { pad, plain, type Terminal, wrapped } from "./terminal.ts";

export const options = gatewayOptions;

export const help = `Usage: agentsentinel approvals show APPROVAL [--url URL] [--token TOKEN] [--json]

Everything that a person needs to decide: what exactly is asked, by whom and why, under which rule, and what there was to spend. That a person was
shown it is recorded.

  APPROVAL       its id (apr_...)
  --url URL      the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN  a token that may read approvals (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json         the approval as the gateway gives it

Exit code: 0 when it was read, 1 when it could not be, 2 for a mistake in the command.`;

/** `approvals show`: whether it could be read. */
export async function run(line: CommandLine, _directory: string, terminal: Terminal): Promise<boolean> {
  const id = approvalId(line, "show");
  const found = await readApproval(gatewayOf(line, "approvals show", "show"), id);
  terminal.out(line.has("json") ? `${JSON.stringify(found)}\n` : inWords(found, Date.now(), terminal));
  return true;
}

/** The one approval that a command is about. */
export function approvalId({ positionals }: Pick<CommandLine, "positionals">, command: string): string {
  const [id, ...others] = positionals;
  if (id === undefined || others.length > 0) throw new Usage(`approvals ${command} wants one APPROVAL, as approvals list names it`, command);
  if (!/^apr_[\w-]{1,100}$/.test(id)) throw new Usage(`an approval's id begins with apr_, found ${JSON.stringify(id)}`, command);
  return id;
}

export async function readApproval({ url, ask }: Gateway, id: string): Promise<Approval> {
  return approvalIn(await ask("GET", `/v1/approvals/${id}`), url, id);
}

export function approvalIn(answer: { readonly [member: string]: unknown }, url: string, id: string): Approval {
  if (answer.id !== id || !("action_digest" in answer)) throw noGateway(url, "200", JSON.stringify(answer));
  // The gateway holds its answers against this very contract when it is compiled.
  return answer as unknown as Approval;
}

/** Everything about an approval, for reading. What strangers wrote is shown as what it is. */
export function inWords(found: Approval, now: number, { paint, columns }: Terminal): string {
  const width = Math.min(columns, 120);
  const lines: string[] = [];
  const tell = (label: string, text: string | null): void => {
    if (text !== null && text !== "") lines.push(`  ${paint.dim(pad(label, 12))} ${wrapped(text, width, " ".repeat(15))}`);
  };
  const head = (text: string): void => void lines.push("", paint.bold(text));

  const colours = { pending: paint.yellow, info_requested: paint.yellow, approved: paint.green, consumed: paint.green };
  const colour = Object.hasOwn(colours, found.status) ? colours[found.status as keyof typeof colours] : paint.red; // it has that member
  lines.push(`${paint.bold(plain(found.action))}  ${found.estimate_usd} USD  ${colour(found.status.replace("_", " "))}`);
  lines.push(paint.dim(found.id));

  head("What is asked");
  tell("agent", plain(found.agent));
  tell("asked by", `${plain(found.requester.subject)} (${found.requester.kind})`);
  tell("resource", resourceText(found.resource));
  tell("risk", found.risk_level);
  tell("tags", plain(found.tags.join(", ")));
  if (found.inputs === null) tell("inputs", "none");
  else lines.push(`  ${paint.dim("inputs")}`, ...jsonLines(found.inputs));
  if (found.edits !== null) lines.push(`  ${paint.cyan("changed by a person to")}`, ...jsonLines(found.edits));

  head("Why it waits");
  tell("rule", `${plain(found.rule ?? "-")} of ${plain(policyCalled(found.policy))}`);
  tell("reason", `${plain(found.reason.message)} (${found.reason.code})`);
  tell("needs", needs(found));
  for (const group of found.approvers)
    tell("approver", `${plain([...group.subjects, ...group.scopes].join(" or "))}${group.satisfied ? ", has approved" : ""}`);

  head("Why the agent wants it");
  const before = lines.length;
  tell("rationale", found.rationale === null ? null : plain(found.rationale));
  tell("confidence", found.confidence === null ? null : String(found.confidence));
  tell("sources", plain(found.sources.map(({ source, version }) => (version === undefined ? source : `${source} ${version}`)).join(", ")));
  tell("follows from", found.parents.join(", "));
  tell("model", found.model === null ? null : plain([found.model.provider, found.model.name, found.model.version].filter(Boolean).join(" ")));
  if (lines.length === before) lines.push(paint.dim("  It does not say."));

  if (found.budgets.length > 0) head("Money when it was asked (USD)");
  for (const budget of found.budgets) tell(accountOf(budget), balance(budget));

  head("When");
  tell("opened", `${found.opened_at} (${span(now - Date.parse(found.opened_at))} ago)`);
  tell("expires", expiry(found, now));
  tell("then", plain(found.on_expiry));
  tell("waited", found.waited_ms === null ? null : span(found.waited_ms));
  for (const { subject, at } of found.seen) tell("shown to", `${plain(subject)}, ${at}`);
  for (const { subject, decision, note, at } of found.answers) {
    tell("answer", `${plain(subject)}: ${decision.replace("_", " ")}${note === null ? "" : `, "${plain(note)}"`}  ${at}`);
  }
  tell("used by", found.used_by);

  head("Names");
  tell("session", found.session);
  tell("run", found.run);
  tell("decision", found.decision_id);
  tell("digest", found.action_digest);
  return `${lines.join("\n")}\n`;
}

const resourceText = (resource: Approval["resource"]): string | null => (resource === null ? null : plain(`${resource.type} ${resource.id}`));

/** Whose run, session, agent and tenant it is stands among the names; an action's account may be of a glob. */
const accountOf = ({ scope, name, window }: Balance): string => (scope === "action" ? plain(name) : [scope, window].filter(Boolean).join(" "));

function balance({ window, limit_usd, posted_usd, pending_usd, leased_usd = "0", remaining_usd }: Balance): string {
  const left = remaining_usd === null ? "no limit" : `${remaining_usd} left of ${limit_usd}`;
  // Without it what is left, spent and pending would not add up to the limit.
  const leased = leased_usd === "0" ? "" : `, ${leased_usd} in ${window === undefined ? "leases" : "other sessions"}`;
  return `${left}, ${posted_usd} spent, ${pending_usd} pending${leased}`;
}

const needs = ({ quorum, four_eyes }: Approval): string =>
  `${quorum.approved} of ${quorum.needed} ${quorum.needed === 1 ? "person has" : "people have"} approved${four_eyes ? "; the agent's owner may not" : ""}`;

function expiry({ status, expires_at }: Approval, now: number): string {
  const left = Date.parse(expires_at) - now;
  const isOpen = status === "pending" || status === "info_requested" || status === "approved";
  return isOpen && left > 0 ? `${expires_at} (in ${span(left)}${status === "approved" ? ", unless it is used before" : ""})` : expires_at;
}

/** JSON over several lines, each of them plain. */
const jsonLines = (value: unknown): string[] =>
  JSON.stringify(value, null, 2)
    .split("\n")
    .map((each) => `    ${plain(each)}`);
