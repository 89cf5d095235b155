import type { DemoTokens } from "./demo_tenant.ts";

export interface Welcome {
  readonly url: string;
  readonly tokens: DemoTokens;
  /** Where the root key is, in words. */
  readonly rootKey: string;
  readonly colour: boolean;
}

/** What a newcomer reads when the gateway is ready: where it is, who one can be, and what to try. */
export function welcome({ url, tokens, rootKey, colour }: Welcome): string {
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

${bold("Try it")} ${dim("(paste the two lines above, then these: open a session, ask whether an agent may send an email, ask for what is denied)")}

${tryIt(url)}

${dim("Ctrl-C stops it; what was recorded stays.")}
`;
}

/** Commands for any shell with curl. */
export const tryIt = (url: string): string => `SESSION=$(curl -s ${url}/v1/sessions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{}' | sed 's/.*"id":"\\(ses_[^"]*\\)".*/\\1/')
curl -s ${url}/v1/sessions/$SESSION/decisions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{"action":"send_email","estimate_usd":"0.05"}'
curl -s ${url}/v1/sessions/$SESSION/decisions -H "Authorization: Bearer $AGENT_TOKEN" \\
  -H 'Content-Type: application/json' -d '{"action":"delete_database"}'`;
