import { type AgentSentinelError, GatewayRefusedError, GatewayUnavailableError } from "../errors.ts";
import type { Batch } from "./batch.ts";
import type { Settings } from "./config.ts";
import { unref } from "./timers.ts";

/** The part of the web's `fetch` that is used. */
export type SyncFetch = (
  url: string,
  init: {
    readonly method: "POST";
    readonly headers: Record<string, string>;
    readonly body: string;
    readonly redirect: "manual";
    readonly keepalive: boolean;
    readonly signal: AbortSignal;
  },
) => Promise<Response>;

/** What became of one report. */
export type Delivered =
  /** The gateway has all of it but these lines, by their places. */
  | { readonly kind: "taken"; readonly accepted: number; readonly duplicates: number; readonly rejected: readonly Rejected[] }
  /** The gateway cannot take these lines together, and may take some of them. */
  | { readonly kind: "unfit"; readonly error: GatewayRefusedError }
  /** Nobody knows whether it was taken: to be told again, not before that time. */
  | { readonly kind: "failed"; readonly error: AgentSentinelError; readonly retryAfterMs: number }
  /** It would not be taken however often it is told. */
  | { readonly kind: "barred"; readonly error: GatewayRefusedError };

export interface Rejected {
  readonly index: number;
  readonly code: string;
  readonly message: string;
}

const WHAT = "report the ledger's lines";
/** What the gateway says of a body, and not of who sent it. */
const UNFIT: ReadonlySet<string> = new Set(["body_malformed", "body_invalid", "money_precision", "body_too_large"]);

/** Reports a batch once; a token that was refused is asked for once more, where a function gives it. Never rejects, and takes no longer than it may. */
export async function deliver(settings: Settings, batch: Batch, signal: AbortSignal, isLeaving = false): Promise<Delivered> {
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal.reason);
  const alarm = setTimeout(() => controller.abort(new Error("Timed out")), settings.timeoutMs);
  unref(alarm);
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", abort);
    const cut = new Promise<never>((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
    });
    // A fetch or a token source that ignores its signal must not hold the others.
    return await Promise.race([exchange(settings, batch, controller.signal, isLeaving), cut]);
  } catch (cause) {
    if (cause instanceof NoToken) {
      const detail = "the token source gave no token";
      const error = new GatewayRefusedError(WHAT, { status: null, code: "token_unavailable", detail, cause: cause.cause });
      return { kind: "failed", error, retryAfterMs: 0 };
    }
    const why = cause === controller.signal.reason || signal.aborted ? "did not answer in time" : "could not be reached";
    return { kind: "failed", error: new GatewayUnavailableError(`Cannot ${WHAT}: the gateway ${why}`, { cause }), retryAfterMs: 0 };
  } finally {
    clearTimeout(alarm);
    signal.removeEventListener("abort", abort);
  }
}

async function exchange(settings: Settings, batch: Batch, signal: AbortSignal, isLeaving: boolean): Promise<Delivered> {
  const token = await tokenFrom(settings);
  const first = await attempt(settings, batch, token, signal, isLeaving);
  if (first.kind !== "barred" || first.error.status !== 401) return first;
  const fresh = await tokenFrom(settings);
  return fresh === token ? first : attempt(settings, batch, fresh, signal, isLeaving);
}

/** The token's source failed: it may be out of reach for a while, as a gateway may. */
class NoToken extends Error {}

async function tokenFrom({ token }: Settings): Promise<string> {
  try {
    const found = await token();
    // A header's own complaint about a bad value would quote it.
    if (typeof found === "string" && /^[\x21-\x7e]+$/.test(found)) return found;
  } catch (cause) {
    throw new NoToken("the token source failed", { cause });
  }
  throw new NoToken("wanted printable ASCII without blanks");
}

async function attempt({ base, fetch }: Settings, batch: Batch, token: string, signal: AbortSignal, isLeaving: boolean): Promise<Delivered> {
  const response = await fetch(`${base}/v1/ledger/entries`, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json", authorization: `Bearer ${token}` },
    body: batch.body,
    // A token is never sent elsewhere.
    redirect: "manual",
    keepalive: isLeaving,
    signal,
  });
  return read(response.status, await textOf(response), response.headers, batch.lines.length, token);
}

/** More than a gateway says of a thousand lines. */
const MOST_ANSWER_BYTES = 4 * 1024 * 1024;

/** As much of an answer as one may have: who goes on talking is not listened to. */
async function textOf({ body }: Response): Promise<string> {
  if (body === null) return "";
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for (let piece = await reader.read(); piece.value !== undefined; piece = await reader.read()) {
    text += decoder.decode(piece.value, { stream: true });
    bytes += piece.value.length;
    if (bytes > MOST_ANSWER_BYTES) {
      // Whatever becomes of that.
      reader.cancel().catch(() => undefined);
      break;
    }
  }
  return text + decoder.decode();
}

function read(status: number, text: string, headers: Headers, lines: number, token: string): Delivered {
  const found = parsed(text);
  if (status === 202) {
    const taken = takenFrom(found, lines, token);
    if (taken !== null) return taken;
    const detail = "the answer does not say what became of each line";
    return { kind: "failed", retryAfterMs: 0, error: new GatewayRefusedError(WHAT, { status, code: "answer_malformed", detail }) };
  }
  const { code, detail } = problemIn(found, token);
  const retryAfterMs = retryAfter(headers.get("retry-after")) ?? 0;
  if (status === 429 || status === 408 || (status >= 500 && status !== 501)) {
    const error =
      status >= 500
        ? new GatewayUnavailableError(`Cannot ${WHAT}: the gateway is unavailable (status ${status})`, { remediation: { retryAfterMs, hint: null } })
        : new GatewayRefusedError(WHAT, { status, code, detail, retryAfterMs });
    return { kind: "failed", error, retryAfterMs };
  }
  const error = new GatewayRefusedError(WHAT, { status, code, detail });
  return status === 413 || ((status === 400 || status === 422) && UNFIT.has(code)) ? { kind: "unfit", error } : { kind: "barred", error };
}

/** `null`: an answer that leaves open what became of some line. */
function takenFrom(found: unknown, lines: number, token: string): Delivered | null {
  const { accepted, duplicates, rejected } = Object(found);
  if (!isCount(accepted) || !isCount(duplicates) || !Array.isArray(rejected)) return null;
  const places = new Map<number, Rejected>();
  for (const one of rejected) {
    const { index, code, message } = Object(one);
    if (!isCount(index) || index >= lines) continue;
    places.set(index, { index, code: isCode(code) ? code : quoted(String(code), token), message: quoted(String(message), token) });
  }
  const isWhole = places.size === rejected.length && accepted + duplicates + places.size === lines;
  return isWhole ? { kind: "taken", accepted, duplicates, rejected: [...places.values()] } : null;
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

/** A token that is shorter is nobody's secret, and may well be part of a word. */
const SHORTEST_SECRET = 16;

/** What a gateway says, without the token and not at any length: who quotes it back at us does not get it into a message or a file. */
const quoted = (said: string, token: string): string => (token.length < SHORTEST_SECRET ? said : said.replaceAll(token, "[token]")).slice(0, 500);

/** What has the shape of a code is one, whatever else it is. */
const isCode = (said: unknown): said is string => typeof said === "string" && /^\w{1,64}$/.test(said);

/** A problem document (RFC 9457) as far as it is one. */
function problemIn(found: unknown, token: string): { readonly code: string; readonly detail: string } {
  const { code, detail }: { readonly code?: unknown; readonly detail?: unknown } = Object(found);
  return {
    code: isCode(code) ? code : "problem_malformed",
    detail: typeof detail === "string" ? quoted(detail, token).replace(/\.$/, "") : "no detail was given",
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Nobody is believed who says to come back later than this: a clock may be wrong, here or there, and lines in memory do not wait for ever. */
const LONGEST_RETRY_MS = 24 * 60 * 60 * 1000;

/** `Retry-After` (RFC 9110 section 10.2.3), seconds or a date, in milliseconds from now. */
function retryAfter(value: string | null): number | null {
  if (value === null) return null;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? null : Math.min(LONGEST_RETRY_MS, Math.max(0, ms));
}
