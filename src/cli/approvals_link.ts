import { approvalId } from "./approvals_show.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { type Gateway, gatewayOf, gatewayOptions, noGateway } from "./gateway.ts";
import { lengthOf } from "./period.ts";
import { plain, type Terminal } from "./terminal.ts";

export const options = { for: { type: "string" }, ttl: { type: "string" }, ...gatewayOptions } as const satisfies Command["options"];

export const help = `Usage: agentsentinel approvals link APPROVAL --for NAME [--ttl LENGTH] [--url URL] [--token TOKEN] [--json]

Makes a link for one person: a page that shows what is asked, and three answers. Whoever opens it answers as NAME, so send it to nobody else. It reads
and answers this approval alone, and ends with an answer, with the approval, or when its time is over. The tenant's settings must allow links.

  APPROVAL       its id (apr_...)
  --for NAME     whose link it is; what is answered by it is on record as theirs
  --ttl LENGTH   how long it is good, like 15m or 4h (1h), never longer than the approval waits
  --url URL      the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN  a token of scope tokens:write that may approve (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json         {"url", "subject", "expires_at"}

  ${CALLED} approvals link apr_... --for ann

Exit code: 0 when it was made, 1 when it was not, 2 for a mistake in the command.`;

/** `approvals link`: whether it was made. In a pipe, standard output has the link alone. */
export async function run(line: CommandLine, _directory: string, terminal: Terminal): Promise<boolean> {
  const id = approvalId(line, "link");
  const subject = line.text("for");
  if (subject === undefined) throw new Usage("approvals link wants --for NAME: whoever answers by the link answers as that person", "link");
  const ttlMs = lengthOf("ttl", line.text("ttl"), "link");
  const gateway = gatewayOf(line, "approvals link", "link");
  const made = await makeLink(gateway, id, { subject, ...(ttlMs !== undefined && { ttl_ms: ttlMs }) });
  const { url, expires_at: until } = made;
  if (typeof url !== "string" || typeof until !== "string") throw noGateway(gateway.url, "201", JSON.stringify(made));
  if (line.has("json")) {
    terminal.out(`${JSON.stringify(made)}\n`);
    return true;
  }
  terminal.out(`${plain(url)}\n`);
  terminal.err(`${terminal.paint.dim(`For ${plain(subject)} alone: it answers ${id} as them, once, until ${plain(until)}.`)}\n`);
  return true;
}

async function makeLink({ ask }: Gateway, id: string, body: object): Promise<{ readonly [member: string]: unknown }> {
  try {
    return await ask("POST", `/v1/approvals/${id}/links`, body);
  } catch (fault) {
    if (!(fault instanceof Stop) || !(await areOff(ask))) throw fault;
    const wayOut = `The tenant's settings allow no links. Whoever may write policies turns them on: PUT /v1/settings, as GET has it but "approval_links": true`;
    throw new Stop(`${fault.message}\n${wayOut}`);
  }
}

/** Whether the tenant's settings are known to allow no links. Not every token may read them. */
const areOff = (ask: Gateway["ask"]): Promise<boolean> =>
  ask("GET", "/v1/settings").then(
    (settings) => settings.approval_links === false,
    () => false,
  );
