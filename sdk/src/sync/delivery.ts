import { type AgentSentinelError, GatewayRefusedError } from "../errors.ts";
import { CHECK, NO_TOKEN, parsed, problem, quoted, readToken, retryAfter, unavailable, whyNot } from "../transport.ts";
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
  const alarm = setTimeout(() => controller.abort(new Error("no answer in time")), settings.timeoutMs);
  const seen = { token: "" };
  unref(alarm);
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", abort);
    const cut = new Promise<never>((_, reject) => {
      controller.signal.addEventListener("abort", () => reject(controller.signal.reason));
    });
    // A fetch or a token source that ignores its signal must not hold the others.
    return await Promise.race([exchange(settings, batch, seen, controller.signal, isLeaving), cut]);
  } catch (cause) {
    if (cause instanceof NoToken) {
      const error = new GatewayRefusedError(WHAT, { code: "token_unavailable", detail: NO_TOKEN, cause: cause.cause });
      return { kind: "failed", error, retryAfterMs: 0 };
    }
    const why = controller.signal.aborted || signal.aborted ? "no answer in time" : whyNot(cause, seen.token);
    return { kind: "failed", error: unavailable(WHAT, settings.base, why, { cause }), retryAfterMs: 0 };
  } finally {
    clearTimeout(alarm);
    signal.removeEventListener("abort", abort);
  }
}

async function exchange(settings: Settings, batch: Batch, seen: { token: string }, signal: AbortSignal, isLeaving: boolean): Promise<Delivered> {
  const token = await tokenFrom(settings);
  seen.token = token;
  const first = await attempt(settings, batch, token, signal, isLeaving);
  if (first.kind !== "barred" || first.error.status !== 401) return first;
  const fresh = await tokenFrom(settings);
  if (fresh === token) return first;
  seen.token = fresh;
  return attempt(settings, batch, fresh, signal, isLeaving);
}

/** The token's source failed: it may be out of reach for a while, as a gateway may. */
class NoToken extends Error {}

async function tokenFrom({ token }: Settings): Promise<string> {
  try {
    return await readToken(token);
  } catch (cause) {
    throw new NoToken("no token", { cause });
  }
}

async function attempt({ base, fetch }: Settings, batch: Batch, token: string, signal: AbortSignal, isLeaving: boolean): Promise<Delivered> {
  const url = `${base}/v1/ledger/entries`;
  const response = await fetch(url, {
    method: "POST",
    headers: { accept: "application/json", "content-type": "application/json", authorization: `Bearer ${token}` },
    body: batch.body,
    // A token is never sent elsewhere.
    redirect: "manual",
    keepalive: isLeaving,
    signal,
  });
  const found = parsed(await textOf(response));
  const { status } = response;
  if (status === 202) {
    const taken = takenFrom(found, batch.lines.length, token);
    if (taken !== null) return taken;
    const detail = "the answer does not say what became of each line";
    return { kind: "failed", retryAfterMs: 0, error: new GatewayRefusedError(WHAT, { status, code: "answer_malformed", detail }) };
  }
  const retryAfterMs = retryAfter(response.headers.get("retry-after") ?? "", Date.now()) ?? 0;
  if (status >= 500 && status !== 501) {
    return { kind: "failed", error: unavailable(WHAT, base, `status ${status}`, { remediation: { retryAfterMs, hint: null } }), retryAfterMs };
  }
  const { code, detail } = problem(found, token, `${url} answered "${quoted(response.headers.get("content-type"), token)}"${CHECK}`);
  if (status === 429 || status === 408)
    return { kind: "failed", error: new GatewayRefusedError(WHAT, { status, code, detail, retryAfterMs }), retryAfterMs };
  const error = new GatewayRefusedError(WHAT, { status, code, detail });
  return status === 413 || ((status === 400 || status === 422) && UNFIT.has(code)) ? { kind: "unfit", error } : { kind: "barred", error };
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

/** `null`: an answer that leaves open what became of some line. */
function takenFrom(found: unknown, lines: number, token: string): Delivered | null {
  const { accepted, duplicates, rejected } = Object(found);
  if (!isCount(accepted) || !isCount(duplicates) || !Array.isArray(rejected)) return null;
  const places = new Map<number, Rejected>();
  for (const one of rejected) {
    const { index, code, message } = Object(one);
    if (!isCount(index) || index >= lines) continue;
    places.set(index, {
      index,
      code: /^\w{1,64}$/.test(String(code)) ? String(code) : quoted(String(code), token),
      message: quoted(String(message), token),
    });
  }
  const isWhole = places.size === rejected.length && accepted + duplicates + places.size === lines;
  return isWhole ? { kind: "taken", accepted, duplicates, rejected: [...places.values()] } : null;
}

const isCount = (value: unknown): value is number => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
