import { AgentSentinelError, GatewayRefusedError, GatewayUnavailableError, type Refusal, type RefusalIssue } from "./errors.ts";
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

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

export function createTransport(settings: TransportSettings): Ask {
  return async <T>(call: Call<T>, signal?: AbortSignal): Promise<T> => {
    signal?.throwIfAborted();
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
  let why = "could not be reached";
  try {
    // A fetch or a token source that ignores its signal must not hold the caller.
    return await abortable(signal, (resolve, reject) => {
      const exchanged = async (): Promise<T> => {
        token = await readToken(settings.token);
        controller.signal.throwIfAborted();
        return exchange(settings, call, body, token, controller.signal);
      };
      exchanged().then(resolve, reject);
      return settings.schedule(() => {
        why = "did not answer in time";
        reject(Error("Timed out"));
      }, patienceMs);
    });
  } catch (error) {
    // Lets go of a connection whose answer nobody waits for any more. One whose answer was read is kept for the next call.
    controller.abort(error);
    if (signal?.aborted) throw signal.reason;
    // Without a token the gateway was never asked: that says nothing about whether it can be reached.
    if (!token) {
      throw new GatewayRefusedError(call.what, {
        status: null,
        code: "token_unavailable",
        detail: "the token source gave no token",
        cause: error,
      });
    }
    if (error instanceof AgentSentinelError) throw error;
    throw new GatewayUnavailableError(`Cannot ${call.what}: the gateway ${why}`, { cause: error });
  }
}

/** Aborts `controller` when `signal` aborts, with its reason. What it returns undoes that. */
export function link(signal: AbortSignal | undefined, controller: AbortController): () => void {
  const abort = (): void => controller.abort(signal?.reason);
  signal?.addEventListener("abort", abort, { once: true });
  return () => signal?.removeEventListener("abort", abort);
}

export async function readToken(token: () => string | Promise<string>): Promise<string> {
  const found = await token();
  // A header's own complaint about a bad value would quote it.
  if (typeof found !== "string" || !/^[\x21-\x7e]+$/.test(found)) throw new TypeError("Cannot use the token: wanted printable ASCII without blanks");
  return found;
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
  if (status < 200 || (status >= 300 && status < 400)) {
    throw new GatewayRefusedError(call.what, { status, code: "redirected", detail: "a token is never sent elsewhere" });
  }
  const streams = call.stream && status === 200;
  const text = streams ? "" : await response.text();
  // 200 or 201: what is below them was turned away.
  if (status < 202) {
    try {
      return call.read(streams ? response : JSON.parse(text), "");
    } catch (error) {
      const detail = error instanceof ShapeFault ? error.message : "the answer must be JSON";
      throw new GatewayRefusedError(call.what, { status, code: "answer_malformed", detail });
    }
  }
  const retryAfterMs = status === 429 || status === 503 ? retryAfter(response.headers.get("retry-after") ?? "", now()) : null;
  // 500 is an answer, if a poor one: an agent that can provoke it must not get past `onUnavailable` with it. Nor past 429.
  if (status > 501)
    throw new GatewayUnavailableError(`Cannot ${call.what}: the gateway is unavailable (status ${status})`, {
      remediation: { retryAfterMs, hint: null },
    });
  throw new GatewayRefusedError(call.what, { status, retryAfterMs, ...problem(text, token) });
}

/** A token that is shorter is nobody's secret, and may well be part of a word. */
const SHORTEST_SECRET = 16;

/** Reads a problem document (RFC 9457) as far as it is one. Who quotes the token back at us does not get it into a message or a log. */
function problem(text: string, token: string): Pick<Refusal, "code" | "detail" | "issues" | "requestId"> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    // It is none, and says nothing.
  }
  // Anything is an object that can be asked for any member by name: what is none has none of them.
  const { code, detail, issues, request_id }: Record<string, unknown> = Object(found);
  const said = (quoted: unknown): string | null =>
    typeof quoted === "string" ? (token.length < SHORTEST_SECRET ? quoted : quoted.replaceAll(token, "[token]")).slice(0, 500) : null;
  return {
    code: typeof code === "string" && /^\w{1,64}$/.test(code) ? code : "problem_malformed",
    detail: said(detail)?.replace(/\.$/, "") ?? "no detail was given",
    issues: Array.isArray(issues)
      ? issues.map((each) => ({ pointer: said(Object(each).pointer), message: said(Object(each).message) })).filter(isIssue)
      : [],
    requestId: said(request_id),
  };
}

const isIssue = (found: { readonly [Member in keyof RefusalIssue]: string | null }): found is RefusalIssue =>
  found.pointer !== null && found.message !== null;

/** `Retry-After` (RFC 9110 section 10.2.3), seconds or a date, as milliseconds from now. `null`: unreadable, as one that is absent. */
function retryAfter(value: string, now: number): number | null {
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}
