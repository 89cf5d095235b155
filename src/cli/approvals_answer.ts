import type { Approval, ApprovalEdits, Json } from "../../sdk/src/wire.ts";
import { approvalId, approvalIn, inWords, readApproval } from "./approvals_show.ts";
import { CALLED } from "./called_as.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { gatewayOf, gatewayOptions } from "./gateway.ts";
import type { Terminal } from "./terminal.ts";

/** The commands that answer, and the one that asks back. Each names exactly what it is about; those that end something show it first. */

const options = {
  note: { type: "string" },
  yes: { type: "boolean" },
  digest: { type: "string" },
  ...gatewayOptions,
} as const satisfies Command["options"];

const AFTER = `  --url URL        the gateway (AGENTSENTINEL_URL, else http://127.0.0.1:8787)
  --token TOKEN    the token of a person who may approve (AGENTSENTINEL_TOKEN, which other users of this machine cannot see)
  --json           the approval as it stands then, and nothing else

Exit code: 0 when it was answered, 1 when it was not, 2 for a mistake in the command.`;

const COMMON = `  APPROVAL         its id (apr_...)
  --note TEXT      why; it is kept, and the agent is told
  --yes            without being asked again; needed where nobody sits at the terminal
  --digest DIGEST  only if this is still what it names (digest of approvals show)`;

export const approve: Command = {
  options: { ...options, inputs: { type: "string" }, "estimate-usd": { type: "string" } },
  help: `Usage: agentsentinel approvals approve APPROVAL [--note TEXT] [--yes] [--digest DIGEST] [--inputs JSON] [--estimate-usd USD]
                                        [--url URL] [--token TOKEN] [--json]

Shows what is asked and says yes to exactly that: the agent may do it once, until it expires.

${COMMON}
  --inputs JSON    yes to these inputs instead; the agent must then ask for just these
  --estimate-usd USD
                   yes to this amount instead
${AFTER}`,
  run: (line, _directory, terminal) => answer(line, terminal, "approve", "Approve this?", editsOf(line)),
};

export const reject: Command = {
  options,
  help: `Usage: agentsentinel approvals reject APPROVAL [--note TEXT] [--yes] [--digest DIGEST] [--url URL] [--token TOKEN] [--json]

Shows what is asked and says no: that ends it, whoever else has approved.

${COMMON}
${AFTER}`,
  run: (line, _directory, terminal) => answer(line, terminal, "reject", "Reject this?"),
};

export const cancel: Command = {
  options,
  help: `Usage: agentsentinel approvals cancel APPROVAL [--note TEXT] [--yes] [--digest DIGEST] [--url URL] [--token TOKEN] [--json]

Shows what is asked and takes it back: nobody can approve it any more, and what was approved and not used cannot be used.

${COMMON}
${AFTER}`,
  run: (line, _directory, terminal) => answer(line, terminal, "cancel", "Take this back?"),
};

export const ask: Command = {
  options: { digest: options.digest, ...gatewayOptions },
  help: `Usage: agentsentinel approvals ask APPROVAL QUESTION [--digest DIGEST] [--url URL] [--token TOKEN] [--json]

Asks the agent for more before anybody decides. It goes on waiting, no longer than it would have; its agent answers, and approvals show has both.

  APPROVAL         its id (apr_...)
  QUESTION         one argument: "Which invoice is it?"
  --digest DIGEST  only if this is still what it names (digest of approvals show)
${AFTER}`,
  run: async (line, _directory, terminal) => {
    const [id, question, ...others] = line.positionals;
    if (question === undefined || question.trim() === "" || others.length > 0)
      throw new Usage('approvals ask wants one APPROVAL and one "QUESTION"', "ask");
    const positionals = id === undefined ? [] : [id];
    const about = approvalId({ positionals }, "ask");
    const gateway = gatewayOf(line, "approvals ask", "ask");
    const shown = await readApproval(gateway, about);
    refuseClosed(shown, "ask");
    refuseOther(shown, line);
    const said = { decision: "request_info", note: question, action_digest: shown.action_digest };
    const told = approvalIn(await gateway.ask("POST", `/v1/approvals/${about}/decide`, said), gateway.url, about);
    const outcome = `${terminal.paint.bold("Asked")}. The agent can answer until ${told.expires_at}; ${CALLED} approvals show ${about} has what it says.`;
    terminal.out(line.has("json") ? `${JSON.stringify(told)}\n` : `${outcome}\n`);
    return true;
  },
};

const DONE = { approve: "Approved", reject: "Rejected", cancel: "Cancelled" } as const;

async function answer(line: CommandLine, terminal: Terminal, verb: keyof typeof DONE, question: string, edits?: ApprovalEdits): Promise<boolean> {
  const id = approvalId(line, verb);
  const gateway = gatewayOf(line, `approvals ${verb}`, verb);
  const isJson = line.has("json");
  if (!line.has("yes") && (terminal.ask === null || isJson)) throw new Usage(`approvals ${verb} wants --yes where nobody can be asked`, verb);
  const shown = await readApproval(gateway, id);
  if (!isJson) terminal.out(`${inWords(shown, Date.now(), terminal)}\n`);
  refuseClosed(shown, verb);
  refuseOther(shown, line);
  if (edits !== undefined && !isJson) terminal.out(`As changed: ${JSON.stringify(edits)}\n`);
  if (!line.has("yes") && !/^y(es)?$/i.test(((await terminal.ask?.(`${question} [y/N] `)) ?? "").trim())) {
    terminal.err("agentsentinel: nothing was answered\n");
    return false;
  }
  const note = line.text("note");
  const said = { ...(note !== undefined && { note }) };
  const told = approvalIn(
    verb === "cancel"
      ? await gateway.ask("POST", `/v1/approvals/${id}/cancel`, said)
      : await gateway.ask("POST", `/v1/approvals/${id}/decide`, {
          ...said,
          decision: verb,
          action_digest: shown.action_digest,
          ...(edits !== undefined && { edits }),
        }),
    gateway.url,
    id,
  );
  terminal.out(isJson ? `${JSON.stringify(told)}\n` : `${terminal.paint.bold(DONE[verb])}. ${outcome(told)}\n`);
  return true;
}

/** What is over is not asked about again; the gateway would refuse it. */
function refuseClosed({ id, status }: Approval, verb: keyof typeof DONE | "ask"): void {
  const isOpen = status === "pending" || status === "info_requested" || ((verb === "approve" || verb === "cancel") && status === "approved");
  if (!isOpen) throw new Stop(`${id} is ${status}, so there is nothing to ${verb}`);
}

/** What was looked at must still be what is asked. */
function refuseOther({ id, action_digest }: Approval, line: CommandLine): void {
  const digest = line.text("digest");
  if (digest !== undefined && digest !== action_digest) throw new Stop(`${id} is not what --digest names: it names ${action_digest}`);
}

function outcome({ status, quorum, expires_at }: Approval): string {
  if (status === "pending") return `It waits for ${quorum.needed - quorum.approved} more.`;
  if (status === "approved") return `The agent may do it once, until ${expires_at}.`;
  return "The agent cannot do it.";
}

function editsOf(line: CommandLine): ApprovalEdits | undefined {
  const inputs = line.text("inputs");
  const estimate = line.text("estimate-usd");
  if (inputs === undefined && estimate === undefined) return undefined;
  return { ...(inputs !== undefined && { inputs: jsonOf(inputs) }), ...(estimate !== undefined && { estimate_usd: estimate }) };
}

function jsonOf(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    throw new Usage(`--inputs is JSON, found ${JSON.stringify(text)}`, "approve");
  }
}
