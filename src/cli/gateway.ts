import type { Problem } from "../../sdk/src/wire.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { whyNot } from "./files.ts";
import { plain } from "./terminal.ts";

/** What a command that asks a gateway takes beside its own options. */
export const gatewayOptions = { url: { type: "string" }, token: { type: "string" } } as const satisfies Command["options"];

/** One request to the gateway that was named, and its answer. Anything but a success is a {@link Stop}. */
export type AskGateway = (method: "GET" | "POST", path: string, body?: object) => Promise<{ readonly [member: string]: unknown }>;

export interface Gateway {
  readonly url: string;
  readonly ask: AskGateway;
}

/** The gateway that the options or the environment name. `command`: who asks, for what is said when no token is given. */
export function gatewayOf(line: CommandLine, command: string, about: string): Gateway {
  const url = urlOf(line.text("url") ?? process.env.AGENTSENTINEL_URL ?? "http://127.0.0.1:8787", about);
  const token = line.text("token") ?? process.env.AGENTSENTINEL_TOKEN;
  if (token === undefined || token === "") throw new Usage(`${command} wants a token: --token, or AGENTSENTINEL_TOKEN in the environment`, about);
  return { url, ask: (method, path, body) => ask(url, token, method, path, body) };
}

function urlOf(text: string, about: string): string {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new Usage(`--url is an http(s) address, found ${JSON.stringify(text)}`, about);
  return text.replace(/\/+$/, "");
}

async function ask(url: string, token: string, method: string, path: string, body: object | undefined): ReturnType<AskGateway> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body !== undefined && { "content-type": "application/json" }) },
      body: body === undefined ? null : JSON.stringify(body),
      redirect: "error",
    });
    text = await response.text();
  } catch (fault) {
    const cause = fault instanceof Error && fault.cause instanceof Error ? fault.cause : fault;
    throw new Stop(`no answer from ${url}: ${plain(whyNot(cause))}`);
  }
  const answer = parsed(text);
  if (response.ok && isMapping(answer)) return answer;
  if (isMapping(answer) && "detail" in answer) {
    const { code, detail, issues = [] } = answer as unknown as Problem; // RFC 9457, as everything that the gateway refuses with
    const told = issues.map(({ pointer, message }) => `\n  ${plain(`${pointer} ${message}`)}`).join("");
    throw new Stop(`the gateway refuses (${response.status} ${plain(String(code))}): ${plain(String(detail))}${told}`);
  }
  throw noGateway(url, `${response.status}`, text);
}

/** What answered is something else. */
export const noGateway = (url: string, what: string, text: string): Stop =>
  new Stop(`${url} answered ${what}, and it is no gateway's answer: ${plain(text.slice(0, 120))}`);

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const isMapping = (value: unknown): value is { readonly [member: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);
