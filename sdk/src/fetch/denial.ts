import { type AgentSentinelErrorName, isAgentSentinelError } from "../errors.ts";
import type { Remediation, Stops } from "../surface.ts";
import type { Shape } from "./call.ts";
import { isObject } from "./json.ts";

/** Why a model call was not made, or was stopped: what a client's error tells of our own, as plain data. */
export interface Denial {
  /** Of the error that a guarded function would have thrown. `isAgentSentinelError` tells denials like errors. */
  readonly name: AgentSentinelErrorName;
  readonly code: string;
  readonly message: string;
  readonly recoverable: boolean;
  readonly remediation: Remediation;
  /** `null`: it came to no decision. */
  readonly decisionId: string | null;
  readonly session: string | null;
  readonly run: string | null;
  /** How far the no reaches. `null`: nobody said no, or it is not known. */
  readonly stops: Stops | null;
  /** What it waits for, if that is a person's answer; `url` is in the gateway's API, and no page. `${session}/${decisionId}` is what `resume` takes. */
  readonly approval: { readonly id: string; readonly url: string; readonly expiresAt: string } | null;
}

export function denialOf(error: unknown): Denial {
  if (!isAgentSentinelError(error)) return { ...STOPPED, message: `The call was stopped: ${error instanceof Error ? error.message : String(error)}` };
  const { name, code, message, recoverable, remediation, decision } = error;
  return {
    name,
    code,
    message,
    recoverable,
    remediation,
    decisionId: decision?.id ?? null,
    session: decision?.session ?? null,
    run: decision?.run ?? null,
    stops: decision?.stops ?? null,
    approval: decision?.approval ?? null,
  };
}

/** `session.stop` was called with a reason that is none of ours. */
const STOPPED = {
  name: "AgentKilledError",
  code: "stopped",
  recoverable: false,
  remediation: { retryAfterMs: null, hint: null },
  decisionId: null,
  session: null,
  run: null,
  stops: null,
  approval: null,
} as const;

/** Tells it whole, for clients that keep an answer's headers but not its body. */
const HEADER = "x-authority-denial";

/**
 * The denial as an answer of the provider, in the shape that its clients read. A denial that is thrown would be tried again by most of them, and so would a
 * 429: no client tries 402 or 403 again.
 */
export function denialResponse(denial: Denial, shape: Shape | undefined): Response {
  const { decisionId, remediation, code } = denial;
  const status = denial.name === "BudgetExceededError" ? 402 : 403;
  const message = `${denial.message}${decisionId === null ? "" : ` (decision ${decisionId})`}`;
  const headers = new Headers({
    "content-type": "application/json",
    "x-should-retry": "false",
    [HEADER]: encodeURIComponent(JSON.stringify(denial)),
  });
  if (decisionId !== null) headers.set("x-authority-decision", decisionId);
  if (remediation.retryAfterMs !== null) headers.set("retry-after", String(Math.ceil(remediation.retryAfterMs / 1000)));
  const ours = { decision_id: decisionId, authority: denial };
  const body =
    shape === "messages"
      ? { type: "error", error: { type: status === 402 ? "billing_error" : "permission_error", message, code, ...ours } }
      : shape === "gemini"
        ? {
            error: {
              code: status,
              message,
              status: "PERMISSION_DENIED",
              details: [{ "@type": ERROR_INFO, reason: code, domain: "agentsentinel" }],
              ...ours,
            },
          }
        : { error: { message, type: "authority_denied", code, param: null, ...ours } };
  return new Response(JSON.stringify(body), { status, headers });
}

const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";

/** Where clients put what they were answered, and what they wrap errors in. */
const PLACES = ["authority", "error", "cause", "data", "responseBody", "responseHeaders", "headers", "message", HEADER];
/** No client wraps as much. What goes on for ever, or in a circle, is none of ours. */
const MOST_LOOKED_AT = 100;

/**
 * Finds the denial in whatever a client made of it: an error of the `openai`, `@anthropic-ai/sdk` or `@google/genai` client, of the AI SDK or LangChain, or
 * one of ours. `null`: it is about something else. Throws nothing.
 */
export function decisionOf(error: unknown): Denial | null {
  try {
    return found(error, new Set());
  } catch {
    // A getter of a foreign error threw.
    return null;
  }
}

/** Whether an error says that a call was denied, held or stopped here, or that nobody could decide. */
export const isAuthorityError = (error: unknown): boolean => decisionOf(error) !== null;

function found(from: unknown, seen: Set<unknown>): Denial | null {
  const value = typeof from === "string" ? parsed(from) : from instanceof Headers ? parsed(from.get(HEADER) ?? "") : from;
  if (!isObject(value) || seen.has(value) || seen.size > MOST_LOOKED_AT) return null;
  seen.add(value);
  // Errors have their decision as a member, and what else is told by the same name is what `denialOf` made.
  if (isAgentSentinelError(value)) return "decision" in value ? denialOf(value) : (value as Denial);
  for (const place of PLACES) {
    const deeper = found(value[place], seen);
    if (deeper !== null) return deeper;
  }
  return null;
}

/** Some messages are a body, or end with one. Anything else is no denial's text. */
function parsed(text: string): unknown {
  for (const make of [() => text.slice(text.indexOf("{")), () => decodeURIComponent(text)]) {
    try {
      return JSON.parse(make());
    } catch {
      // Then it is not written that way.
    }
  }
  return undefined;
}
