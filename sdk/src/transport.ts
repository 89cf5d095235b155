import { type AgentSentinelError, GatewayRefusedError, GatewayUnavailableError, type Refusal, type RefusalIssue } from "./errors.ts";
import { type Read, ShapeFault } from "./mapping.ts";

/** One question to the gateway, asked again within bounds until it is answered. Everything else in the SDK is built on `Ask`. */

/** The part of the web's `fetch` that is used. */
export type Fetch = (
  url: string,
  init: { method: string; headers: Record<string, string>; body?: string; redirect: "manual"; signal: AbortSignal },
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
  readonly method: "GET" | "POST";
  /** Below the gateway's address, each segment an id or a literal. */
  readonly path: string;
  readonly body?: object;
  readonly idempotencyKey?: string;
  readonly read: Read<T>;
  /** How long the gateway was asked to hold its answer back; added to the time it has. */
  readonly waitMs?: number;
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
    // Once, before the first try: each try sends the same bytes.
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const deadline = settings.now() + settings.timeoutMs + (call.waitMs ?? 0);
    const tries = call.tries ?? settings.tries;
    for (let tried = 0; ; ) {
      // A try that hangs may use up its share only, so that a lost reply is asked for again.
      const share = (deadline - settings.now()) / (tries - tried);
      const outcome = await attempt(settings, call, body, Math.max(1, share), signal);
      if ("answer" in outcome) return outcome.answer;
      tried++;
      const pauseMs = Math.max(outcome.retryAfterMs, settings.random() * Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** tried));
      if (!outcome.again || tried >= tries || settings.now() + pauseMs >= deadline) throw outcome.error;
      await pause(settings, pauseMs, signal);
    }
  };
}

/** Resolves after `ms`, or rejects with the signal's reason. */
export function pause({ schedule }: Pick<Ambience, "schedule">, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      cancel();
      reject(signal?.reason);
    };
    const cancel = schedule(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort, { once: true });
  });
}

type Outcome<T> = { readonly answer: T } | { readonly error: AgentSentinelError; readonly again: boolean; readonly retryAfterMs: number };

async function attempt<T>(
  settings: TransportSettings,
  call: Call<T>,
  body: string | undefined,
  patienceMs: number,
  signal: AbortSignal | undefined,
): Promise<Outcome<T>> {
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal?.reason);
  const cancel = settings.schedule(() => controller.abort(new Error("Timed out")), patienceMs);
  signal?.addEventListener("abort", abort, { once: true });
  // A fetch or a token source that ignores its signal must not hold the caller.
  const stopped = new Promise<never>((_, reject) => {
    controller.signal.addEventListener("abort", () => reject(controller.signal.reason), { once: true });
  });
  let token: string | undefined;
  try {
    token = await Promise.race([readToken(settings.token), stopped]);
    return await Promise.race([exchange(settings, call, body, token, controller.signal), stopped]);
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    // Without a token the gateway was never asked: that says nothing about whether it can be reached.
    if (token === undefined) {
      return refused(call, { status: null, code: "token_unavailable", detail: "the token source gave no token", cause: error });
    }
    const why = controller.signal.aborted ? "did not answer in time" : "could not be reached";
    return { error: new GatewayUnavailableError(`Cannot ${call.what}: the gateway ${why}`, { cause: error }), again: true, retryAfterMs: 0 };
  } finally {
    cancel();
    signal?.removeEventListener("abort", abort);
    // Lets go of a connection whose answer was not read to its end.
    controller.abort();
  }
}

async function readToken(token: () => string | Promise<string>): Promise<string> {
  const found = await token();
  // A header's own complaint about a bad value would quote it.
  if (typeof found !== "string" || !/^[\x21-\x7e]+$/.test(found)) throw new TypeError("Cannot use the token: wanted printable ASCII without blanks");
  return found;
}

async function exchange<T>(
  { base, fetch, now }: TransportSettings,
  call: Call<T>,
  body: string | undefined,
  token: string,
  signal: AbortSignal,
): Promise<Outcome<T>> {
  const headers: Record<string, string> = { accept: "application/json", authorization: `Bearer ${token}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (call.idempotencyKey !== undefined) headers["idempotency-key"] = call.idempotencyKey;
  // "manual" and not "error", which Workers do not know. A browser hides the status of a redirect: 0.
  const response = await fetch(base + call.path, {
    method: call.method,
    headers,
    ...(body === undefined ? {} : { body }),
    redirect: "manual",
    signal,
  });
  const { status } = response;
  if (status < 200 || (status >= 300 && status < 400)) {
    return refused(call, { status, code: "redirected", detail: "it points elsewhere, and a token is never sent elsewhere" });
  }
  const text = await response.text();
  if (status === 200 || status === 201) {
    try {
      return { answer: call.read(JSON.parse(text), "") };
    } catch (error) {
      const detail = error instanceof ShapeFault ? error.message : "the answer must be JSON";
      return refused(call, { status, code: "answer_malformed", detail });
    }
  }
  const retryAfterMs = status === 429 || status === 503 ? retryAfter(response.headers.get("retry-after"), now()) : null;
  const remediation = { retryAfterMs, hint: null };
  // 500 is an answer, if a poor one: an agent that can provoke it must not get past `onUnavailable` with it. Nor past 429.
  if (status > 501) {
    const error = new GatewayUnavailableError(`Cannot ${call.what}: the gateway is unavailable (status ${status})`, { remediation });
    return { error, again: true, retryAfterMs: retryAfterMs ?? 0 };
  }
  return refused(call, { status, retryAfterMs, ...problem(text, token) }, status === 429 || status === 500);
}

function refused<T>(call: Call<T>, refusal: Refusal, again = false): Outcome<T> {
  const { status, code, detail, retryAfterMs } = refusal;
  const error = new GatewayRefusedError(`Cannot ${call.what}: ${code}${status === null ? "" : ` (status ${status})`}: ${detail}`, refusal);
  return { error, again, retryAfterMs: retryAfterMs ?? 0 };
}

/** Reads a problem document (RFC 9457) as far as it is one. Who quotes the token back at us does not get it into a message or a log. */
function problem(text: string, token: string): Pick<Refusal, "code" | "detail" | "issues" | "requestId"> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    found = null;
  }
  const { code, detail, issues, request_id } = members(found);
  const safe = (quoted: string): string => quoted.replaceAll(token, "[token]").slice(0, 500);
  return {
    code: typeof code === "string" && /^\w{1,64}$/.test(code) ? safe(code) : "problem_malformed",
    detail: typeof detail === "string" ? safe(detail).replace(/\.$/, "") : "no detail was given",
    issues: Array.isArray(issues) ? issues.flatMap((each) => issue(each, safe)) : [],
    requestId: typeof request_id === "string" ? safe(request_id) : null,
  };
}

function issue(found: unknown, safe: (quoted: string) => string): RefusalIssue[] {
  const { pointer, message } = members(found);
  return typeof pointer === "string" && typeof message === "string" ? [{ pointer: safe(pointer), message: safe(message) }] : [];
}

// Every object can be asked for any member by name.
const members = (value: unknown): Record<string, unknown> => (typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {});

/** `Retry-After` (RFC 9110 section 10.2.3), seconds or a date, as milliseconds from now. `null`: absent or unreadable. */
function retryAfter(value: string | null, now: number): number | null {
  if (value === null) return null;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : null;
}
