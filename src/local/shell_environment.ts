import { renameSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { DemoTokens } from "./demo_tenant.ts";

/**
 * Writes what a shell needs to ask this gateway as the demo tenant, and gives the line that reads it into a shell, from wherever it is pasted. The tokens
 * are in a file beside the state, which only its owner can read: so they are in no shell's history and in no list of processes.
 */
export function writeEnvironment(url: string, tokens: DemoTokens, state: string): string {
  const file = path.resolve(state, "demo.env");
  // Written beside and moved into place: whoever reads it reads all of the old one or all of the new one.
  writeFileSync(`${file}.new`, environmentText(url, tokens), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return `. ${quoted(file)}`;
}

const environmentText = (url: string, { agent, operator }: DemoTokens): string => `# Written by each \`npm start\`, for a shell: . demo.env
export GATE=${quoted(url)}
export AGENT_TOKEN=${quoted(agent)}
export OPERATOR_TOKEN=${quoted(operator)}
# What the command line reads. It asks as the operator.
export AGENTSENTINEL_URL="$GATE"
export AGENTSENTINEL_TOKEN="$OPERATOR_TOKEN"
`;

/** One word for a shell, whatever is in it. What needs no quotes has none. */
const quoted = (text: string): string => (/^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
