import type { Approval, ApprovalPage } from "../../sdk/src/wire.ts";
import { APPROVAL_STATUSES } from "../core/approvals.ts";
import { type Command, type CommandLine, Usage } from "./command_line.ts";
import { type Gateway, gatewayOf, gatewayOptions, noGateway } from "./gateway.ts";
import { pad, plain, type Terminal } from "./terminal.ts";

export const options = {
  status: { type: "string" },
  agent: { type: "string" },
  session: { type: "string" },
  limit: { type: "string" },
  ...gatewayOptions,
} as const satisfies Command["options"];

export const help = `Usage: agentsentinel approvals list [--status STATUS] [--agent ID] [--session ID] [--limit N] [--url URL] [--token TOKEN] [--json]

What people are asked, the newest first, and how many there are of each status.

  --status STATUS  ${APPROVAL_STATUSES.join(", ")},
                   or all (pending)
  --agent ID       only what this agent asks
  --session ID     only what was asked in this session
  --limit N        at most so many (50)
  --url URL        the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN    a token that may read approvals (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json           {"items", "counts", "more"}, the approvals as the gateway gives them

Exit code: 0 when they were read, 1 when they could not be, 2 for a mistake in the command.`;

const MOST = 100_000;
const PAGE = 100;

/** `approvals list`: whether it could be read. */
export async function run(line: CommandLine, _directory: string, terminal: Terminal): Promise<boolean> {
  if (line.positionals.length > 0) throw new Usage("approvals list takes options only; one approval is told by approvals show", "list");
  const status = line.text("status") ?? "pending";
  if (status !== "all" && !APPROVAL_STATUSES.some((known) => known === status))
    throw new Usage(`--status is one of ${APPROVAL_STATUSES.join(", ")} or all, found ${JSON.stringify(status)}`, "list");
  const limit = Number(line.text("limit") ?? 50);
  if (!Number.isInteger(limit) || limit < 1 || limit > MOST) throw new Usage(`--limit is a whole number from 1 to ${MOST}`, "list");
  const gateway = gatewayOf(line, "approvals list", "list");
  const filter = { ...(status !== "all" && { status }), ...given(line, "agent"), ...given(line, "session") };

  const items: Approval[] = [];
  let page: ApprovalPage;
  let cursor: string | null = null;
  do {
    page = await readPage(gateway, { ...filter, limit: String(Math.min(PAGE, limit - items.length)), ...(cursor !== null && { cursor }) });
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null && items.length < limit);

  if (line.has("json")) terminal.out(`${JSON.stringify({ items, counts: page.counts, more: cursor !== null })}\n`);
  else terminal.out(inWords(items, page.counts, cursor !== null, Date.now(), terminal));
  return true;
}

const given = (line: CommandLine, name: "agent" | "session"): { readonly [member: string]: string } => {
  const value = line.text(name);
  return value === undefined ? {} : { [name]: value };
};

async function readPage({ url, ask }: Gateway, query: { readonly [name: string]: string }): Promise<ApprovalPage> {
  const answer = await ask("GET", `/v1/approvals?${new URLSearchParams(query)}`);
  if (!("items" in answer && "counts" in answer)) throw noGateway(url, "200", JSON.stringify(answer));
  // The gateway holds its answers against this very contract when it is compiled.
  return answer as unknown as ApprovalPage;
}

/** A table, and the counts beneath it. */
export function inWords(
  items: readonly Approval[],
  counts: ApprovalPage["counts"],
  more: boolean,
  now: number,
  { paint, columns }: Terminal,
): string {
  const rows = items.map((each) => ({
    id: each.id,
    status: each.status,
    age: span(now - Date.parse(each.opened_at)),
    left: each.status === "pending" || each.status === "info_requested" || each.status === "approved" ? span(Date.parse(each.expires_at) - now) : "-",
    agent: plain(each.agent),
    usd: each.estimate_usd,
    action: plain(each.action),
    rule: plain(each.rule ?? "-"),
  }));
  const heads = { id: "APPROVAL", status: "STATUS", age: "AGE", left: "EXPIRES IN", agent: "AGENT", usd: "USD", action: "ACTION", rule: "RULE" };
  const names = Object.keys(heads) as (keyof typeof heads)[]; // they are its keys
  const wide = Object.fromEntries(names.map((name) => [name, Math.max(heads[name].length, ...rows.map((row) => row[name].length))]));
  const lineOf = (row: typeof heads): string =>
    names.map((name, place) => (place === names.length - 1 ? row[name] : pad(row[name], wide[name] ?? 0))).join("  ");
  const lines =
    items.length === 0 ? ["Nothing waits here."] : [paint.bold(cut(lineOf(heads), columns)), ...rows.map((row) => cut(lineOf(row), columns))];
  if (more) lines.push(paint.dim("There is more: --limit."));
  const told = APPROVAL_STATUSES.filter((status) => counts[status] > 0).map((status) => `${counts[status]} ${status.replace("_", " ")}`);
  return `${lines.join("\n")}\n\n${paint.dim(told.length === 0 ? "None was ever asked." : told.join(", "))}\n`;
}

const cut = (text: string, columns: number): string => (text.length > columns ? `${text.slice(0, columns - 1)}…` : text);

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
] as const;

/** A length of time in its two largest units; `over`: it has passed. */
export function span(ms: number): string {
  if (ms < 0) return "over";
  const first = UNITS.findIndex(([, each]) => ms >= each);
  if (first < 0) return "0s";
  let left = ms;
  const parts: string[] = [];
  for (const [unit, each] of UNITS.slice(first, first + 2)) {
    const whole = Math.floor(left / each);
    if (whole > 0) parts.push(`${whole}${unit}`);
    left -= whole * each;
  }
  return parts.join(" ");
}
