import { FIRST_PAUSE_MS, LONGEST_PAUSE_MS, LONGEST_RETRY_MS, SHORTEST_SECRET } from "./bounds.ts";
import { AgentSentinelError, GatewayRefusedError, GatewayUnavailableError, type Refusal } from "./errors.ts";
import { type Read, ShapeFault } from "./read.ts";

/** One question to the gateway, asked again within bounds until it is answered. Everything else in the SDK is built on `Ask`. */

/** The part of the web's `fetch` that is used. */
export type Fetch = (
  url: string,
  init: { method: string; headers: Record<string, string>; body: string | null; redirect: "manual"; signal: AbortSignal },
) => Promise<Response>;

/** Where time and chance come from. */
export interface Ambience {
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Runs `callback` once after `ms`; what it returns takes that back. */
  readonly schedule: (callback: () => void, ms: number) => () => void;
  /** From 0 up to, not including, 1. */
  readonly random: () => number;
}

export interface TransportSettings extends Ambience {
  /** The gateway's address, without a slash at its end. */
  readonly base: string;
  readonly token: () => string | Promise<string>;
  readonly fetch: Fetch;
  /** For one call, all its tries included. */
  readonly timeoutMs: number;
  /** How often a call is tried at most. */
  readonly tries: number;
}

/** Every call is safe to repeat: its body names an id that the client made, or it carries an idempotency key. */
export interface Call<T> {
  /** What is being done, for error messages: `decide "send_email"`. */
  readonly what: string;
  /** Below the gateway's address, each segment an id or a literal. */
  readonly path: string;
  /** Makes it a POST; it is a GET without. */
  readonly body?: object;
  readonly idempotencyKey?: string;
  readonly read: Read<T>;
  /** Asks for a stream of events: `read` is given the `Response`, and who aborts this lets go of it. */
  readonly stream?: AbortController;
  /**
   * How long the gateway was asked to hold its answer back. Each try has so long, and its share of `timeoutMs`: none is cut off while the gateway waits.
   * A reply that is lost is asked for again, and may be held back again: the whole takes `timeoutMs` and as often `waitMs` as there are tries, at most.
   */
  readonly waitMs?: number | undefined;
  readonly tries?: number;
}

/**
 * Resolves with a checked answer. Rejects with `GatewayUnavailableError` when there was none in time, `GatewayRefusedError` when it was
 * a refusal or cannot be trusted, or the signal's own reason.
 */
export type Ask = <T>(call: Call<T>, signal?: AbortSignal | undefined) => Promise<T>;

export function createTransport(settings: TransportSettings): Ask {
  return async <T>(call: Call<T>, signal?: AbortSignal): Promise<T> => {
    // Once, before the first try: each try sends the same bytes. Of no body there is no JSON.
    const body = JSON.stringify(call.body) ?? null;
    const tries = call.tries ?? settings.tries;
    const deadline = settings.now() + settings.timeoutMs + tries * (call.waitMs ?? 0);
    for (let tried = 0; ; ) {
      // A try that hangs may use up its share only, so that a lost reply is asked for again.
      const share = (deadline - settings.now()) / (tries - tried);
      try {
        return await attempt(settings, call, body, share, signal);
      } catch (error) {
        tried++;
        const again = repeatAfter(error);
        const pauseMs = Math.max(again ?? 0, settings.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tried));
        // A signal's reason may be any error, one of ours included.
        if (signal?.aborted || again === null || tried >= tries || settings.now() + pauseMs >= deadline) throw error;
        await pause(settings, pauseMs, signal);
      }
    }
  };
}

/** How long to wait before a call that failed is tried again, at least. `null`: it is not. */
export function repeatAfter(error: unknown): number | null {
  const passes = error instanceof GatewayUnavailableError || (error instanceof GatewayRefusedError && (error.recoverable || error.status === 500));
  return passes ? (error.remediation.retryAfterMs ?? 0) : null;
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export const pause = ({ schedule }: Pick<Ambience, "schedule">, ms: number, signal?: AbortSignal): Promise<void> =>
  abortable(signal, (resolve) => schedule(resolve, ms));

/** A promise that rejects with the signal's reason when that aborts first. What `begin` returns is called at the end, whichever comes. */
export function abortable<T>(
  signal: AbortSignal | undefined,
  begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
): Promise<T> {
  let undo = (): void => undefined;
  return new Promise<T>((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = (): void => reject(signal?.reason);
    signal?.addEventListener("abort", abort);
    const ended = begin(resolve, reject);
    undo = () => {
      signal?.removeEventListener("abort", abort);
      ended();
    };
  }).finally(() => undo());
}

/** One try, cut off after `patienceMs`. Rejects as `Ask` does. */
async function attempt<T>(
  settings: TransportSettings,
  call: Call<T>,
  body: string | null,
  patienceMs: number,
  signal: AbortSignal | undefined,
): Promise<T> {
  const controller = call.stream ?? new AbortController();
  let token: string | undefined;
  try {
    // A fetch or a token source that ignores its signal must not hold the caller.
    return await abortable(signal, (resolve, reject) => {
      const exchanged = async (): Promise<T> => {
        token = await readToken(settings.token);
        controller.signal.throwIfAborted();
        return exchange(settings, call, body, token, controller.signal);
      };
      exchanged().then(resolve, reject);
      return settings.schedule(() => reject(Error("no answer in time")), patienceMs);
    });
  } catch (error) {
    // Lets go of a connection whose answer nobody waits for any more. One whose answer was read is kept for the next call.
    controller.abort(error);
    if (signal?.aborted) throw signal.reason;
    // Without a token the gateway was never asked: that says nothing about whether it can be reached.
    if (!token) {
      throw new GatewayRefusedError(call.what, {
        code: "token_unavailable",
        detail: NO_TOKEN,
        cause: error,
      });
    }
    if (error instanceof AgentSentinelError) throw error;
    throw unavailable(call.what, settings.base, whyNot(error, token), { cause: error });
  }
}

/** Aborts `controller` when `signal` aborts, with its reason. What it returns undoes that. */
export function link(signal: AbortSignal | undefined, controller: AbortController): () => void {
  const abort = (): void => controller.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  return () => signal?.removeEventListener("abort", abort);
}

export const NO_TOKEN = "no token: wanted printable ASCII without blanks";

export async function readToken(token: () => string | Promise<string>): Promise<string> {
  const found = await token();
  // A header's own complaint about a bad value would quote it.
  if (typeof found !== "string" || !/^[\x21-\x7e]+$/.test(found)) throw new TypeError(NO_TOKEN);
  return found;
}

export const unavailable = (
  what: string,
  base: string,
  why: string,
  facts: ConstructorParameters<typeof GatewayUnavailableError>[1],
): GatewayUnavailableError => new GatewayUnavailableError(`Cannot ${what}: the gateway at ${base} is unavailable: ${why}`, facts);

export const CHECK = "; is the gateway's address right?";

/** Why there was no answer, as far as an error tells: above its cause, Node's `fetch` says nothing but that it failed. */
export function whyNot(error: unknown, token: string): string {
  const { cause = error } = Object(error);
  const { code, message } = Object(cause);
  return (quoted(code, token) || quoted(message, token) || "no answer") + CHECK;
}

async function exchange<T>(
  { base, fetch, now }: TransportSettings,
  call: Call<T>,
  body: string | null,
  token: string,
  signal: AbortSignal,
): Promise<T> {
  const headers: Record<string, string> = { accept: call.stream ? "text/event-stream" : "application/json", authorization: `Bearer ${token}` };
  if (body) headers["content-type"] = "application/json";
  if (call.idempotencyKey) headers["idempotency-key"] = call.idempotencyKey;
  // "manual" and not "error", which Workers do not know. A browser hides the status of a redirect: 0.
  const response = await fetch(base + call.path, {
    method: body ? "POST" : "GET",
    headers,
    body,
    redirect: "manual",
    signal,
  });
  const { status } = response;
  const header = (name: string): string => `"${quoted(response.headers.get(name), token)}"${CHECK}`;
  if (/^[013]/.test(`${status}`)) {
    throw new GatewayRefusedError(call.what, {
      status,
      code: "redirected",
      detail: `a token is never sent to ${header("location")}`,
    });
  }
  const found = call.stream && status === 200 ? response : parsed(await response.text());
  const strange = `${base}${call.path} answered ${header("content-type")}`;
  // 200 or 201: what is below them was turned away.
  if (status < 202) {
    try {
      return call.read(found, "");
    } catch (error) {
      const detail = found && error instanceof ShapeFault ? error.message : strange;
      throw new GatewayRefusedError(call.what, { status, code: "answer_malformed", detail });
    }
  }
  const retryAfterMs = retryAfter(response.headers.get("retry-after") ?? "", now());
  // 500 is an answer, if a poor one: an agent that can provoke it must not get past `onUnavailable` with it. Nor past 429.
  if (status > 501) throw unavailable(call.what, base, `status ${status}`, { remediation: { retryAfterMs, hint: null } });
  throw new GatewayRefusedError(call.what, { status, retryAfterMs, ...problem(found, token, strange) });
}

/** `undefined`: it is no JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What somebody else says, without the token and not at any length: who quotes it back at us does not get it into a message, a log or a file. */
export const quoted = (said: unknown, token: string): string =>
  typeof said === "string" ? (token.length < SHORTEST_SECRET ? said : said.replaceAll(token, "[token]")).slice(0, 500) : "";

/** Reads a problem document (RFC 9457) as far as it is one; of one that says nothing, the `otherwise`. */
export function problem(found: unknown, token: string, otherwise: string): Pick<Refusal, "code" | "detail" | "issues" | "requestId"> {
  // Anything is an object that can be asked for any member by name: what is none has none of them.
  const { code, detail, issues, request_id }: Record<string, unknown> = Object(found);
  return {
    code: typeof code === "string" && /^\w{1,64}$/.test(code) ? code : "problem_malformed",
    detail: quoted(detail, token).replace(/\.$/, "") || otherwise,
    issues: Array.isArray(issues)
      ? issues
          .map(Object)
          .map(({ pointer, message }) => ({ pointer: quoted(pointer, token), message: quoted(message, token) }))
          .filter(({ message }) => message)
      : [],
    requestId: quoted(request_id, token) || null,
  };
}

/** `Retry-After` (RFC 9110 section 10.2.3), seconds or a date, as milliseconds from now. `null`: at once, or it is absent or unreadable. */
export function retryAfter(value: string, now: number): number | null {
  // No date is a number, and of 0 seconds it is as good to read a date that has passed.
  const ms = Number(value) * 1000 || Date.parse(value) - now;
  return Math.min(LONGEST_RETRY_MS, Math.max(0, ms)) || null;
}
