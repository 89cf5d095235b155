import type { DemoTokens } from "./demo_tenant.ts";

export interface Welcome {
  readonly url: string;
  readonly tokens: DemoTokens;
  /** The line that reads address and tokens into a shell. */
  readonly paste: string;
  /** Where the root key is, in words. */
  readonly rootKey: string;
  readonly colour: boolean;
}

/** What a newcomer reads when the gateway is ready: where it is, who one can be, and last, where the eye rests, what to paste and what to try. */
export function welcome({ url, tokens, paste, rootKey, colour }: Welcome): string {
  const paint = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [bold, dim, green] = [paint(1), paint(2), paint(32)];
  return `
${green("●")} ${bold("AgentSentinel")} is ready at ${bold(url)}

  Docs        ${url}/docs
  Tenant      demo ${dim("(policy: GET /v1/policies/demo, from src/local/demo-policy.yaml)")}
  Root key    ${rootKey}

${bold("Tokens")} ${dim("(good for 30 days, kept for the next start; the agent's asks, the operator's may do everything)")}

export AGENT_TOKEN=${tokens.agent}
export OPERATOR_TOKEN=${tokens.operator}

${bold("In another shell")} ${dim("(one line sets both, GATE for curl and the SDK, and AGENTSENTINEL_URL and AGENTSENTINEL_TOKEN for npx agentsentinel)")}

${paste}

${bold("Try it")} ${dim("(there: open a session, ask whether an agent may send an email, ask for what is denied, see whether all is well)")}

${TRY_IT}

${dim("Ctrl-C stops it; what was recorded stays.")}
`;
}

/** Commands for any shell with curl, in the root of the clone. */
export const TRY_IT = `SESSION=$(curl -s $GATE/v1/sessions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{}' | sed 's/.*"id":"\\(ses_[^"]*\\)".*/\\1/')
curl -s $GATE/v1/sessions/$SESSION/decisions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{"action":"send_email","estimate_usd":"0.05"}'; echo
curl -s $GATE/v1/sessions/$SESSION/decisions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{"action":"delete_database"}'; echo
npx agentsentinel doctor`;
