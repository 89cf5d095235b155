import type { Problem } from "../../sdk/src/wire.ts";
import { type Command, type CommandLine, Stop, Usage } from "./command_line.ts";
import { whyNot } from "./files.ts";
import { plain } from "./terminal.ts";

/** What a command that asks a gateway takes beside its own options. */
export const gatewayOptions = { url: { type: "string" }, token: { type: "string" } } as const satisfies Command["options"];

/**
 * One request to the gateway that was named, and its answer. Anything but a success is a {@link Stop}; a request that it cannot read, as what was typed
 * made it, is a mistake in the command ({@link Usage}). `again`: it is given up after so long; with a `key` it was asked before, or may be, with
 * that as its `Idempotency-Key`.
 */
export type AskGateway = (
  method: "GET" | "POST",
  path: string,
  body?: object,
  again?: { readonly key?: string; readonly patienceMs: number },
) => Promise<{ readonly [member: string]: unknown }>;

export interface Gateway {
  readonly url: string;
  readonly token: string;
  readonly ask: AskGateway;
  /** What its clock showed when it last answered, less what ours shows; `0` where it does not tell. */
  readonly aheadMs: () => number;
}

/** Nobody knows whether the gateway did it. */
export class NoAnswer extends Stop {}

/** The gateway did nothing, and says when to come back. */
export class Busy extends Stop {
  readonly waitMs: number;

  constructor(sentence: string, waitMs: number) {
    super(sentence);
    this.waitMs = waitMs;
  }
}

/** Where a gateway is expected when nobody says. */
export const DEFAULT_URL = "http://127.0.0.1:8787";

/** The gateway that the options or the environment name. `command`: who asks, for what is said when no token is given. */
export function gatewayOf(line: CommandLine, command: string, about: string): Gateway {
  const url = urlOf(line.text("url") ?? process.env.AGENTSENTINEL_URL ?? DEFAULT_URL, about);
  const token = line.text("token") ?? process.env.AGENTSENTINEL_TOKEN;
  if (token === undefined || token === "")
    throw new Usage(`${command} wants a token: --token, or AGENTSENTINEL_TOKEN in the environment, which the line that npm start prints sets`, about);
  // What `fetch` says of a bad header would quote it.
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new Usage("the token has blanks, line ends or other odd characters in it; copy it again, as one word", about);
  let aheadMs = 0;
  return {
    url,
    token,
    aheadMs: () => aheadMs,
    async ask(method, path, body, again) {
      const { response, text } = await exchange(url, token, method, path, body, again);
      aheadMs = (clockOf(response) ?? Date.now()) - Date.now();
      return answerOf(url, response, text);
    },
  };
}

/** What a server's clock showed when it answered, cut to whole seconds; `null` where it does not tell. */
export function clockOf({ headers }: Response): number | null {
  const at = Date.parse(headers.get("date") ?? "");
  return Number.isNaN(at) ? null : at;
}

export function urlOf(text: string, about: string): string {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:"))
    throw new Usage(`--url is an http(s) address, found ${JSON.stringify(text)}`, about);
  return text.replace(/\/+$/, "");
}

async function exchange(
  url: string,
  token: string,
  method: string,
  path: string,
  body: object | undefined,
  again: { readonly key?: string; readonly patienceMs: number } | undefined,
): Promise<{ readonly response: Response; readonly text: string }> {
  try {
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(again?.key !== undefined && { "idempotency-key": again.key }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      redirect: "error",
      signal: again === undefined ? null : AbortSignal.timeout(again.patienceMs),
    });
    return { response, text: await response.text() };
  } catch (fault) {
    throw new NoAnswer(`no answer from ${url}: ${plain(whyNoAnswer(fault, url))}`);
  }
}

/** Why a request to an address came to nothing: `fetch` keeps the reason one deeper. The wrong scheme is said in words, with the one to try. */
export function whyNoAnswer(fault: unknown, url: string): string {
  const why = fault instanceof Error && fault.cause instanceof Error ? fault.cause : fault;
  const code = why instanceof Error && "code" in why ? String(why.code) : "";
  if (/^https:/i.test(url) && /^ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|RECORD|HTTP_REQUEST)/.test(code))
    return `that port speaks no https; try ${url.replace(/^https/i, "http")}`;
  if (/^http:/i.test(url) && /^(UND_ERR_SOCKET|HPE_|ECONNRESET)/.test(code))
    return `it ${code.startsWith("HPE_") ? "answered no HTTP" : "hung up without a word"}; if it speaks https, try ${url.replace(/^http/i, "https")}`;
  return whyNot(why);
}

function answerOf(url: string, { ok, status, headers }: Response, text: string): { readonly [member: string]: unknown } {
  const answer = parsed(text);
  if (ok && isMapping(answer)) return answer;
  if (isMapping(answer) && "detail" in answer) {
    const { code, detail, issues = [] } = answer as unknown as Problem; // RFC 9457, as everything that the gateway refuses with
    const told = issues
      .map(
        ({ pointer, message }) => `
  ${plain(`${pointer} ${message}`)}`,
      )
      .join("");
    const sentence = `the gateway refuses (${status} ${plain(String(code))}): ${plain(String(detail))}${told}`;
    // What the gateway cannot read it was told by the command line: that is a mistake in it, though only the gateway sees it.
    if (code === "body_invalid") throw new Usage(sentence);
    if (status === 429) throw new Busy(sentence, Number(headers.get("retry-after") ?? 1) * 1000);
    const { origin, pathname } = new URL(url);
    // What is behind an address that is no gateway's root is answered like anything else that is not there.
    const root = status === 404 && pathname !== "/" ? `\nIs ${url} the gateway's root? Try ${origin}` : "";
    throw status === 503 ? new NoAnswer(sentence) : new Stop(`${sentence}${root}`);
  }
  throw noGateway(url, `${status}`, text);
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

export const isMapping = (value: unknown): value is { readonly [member: string]: unknown } =>
  typeof value === "object" && value !== null && !Array.isArray(value);
