import type { ActionFacts, ActionRequest, Json, UsdInput } from "../surface.ts";
import type { ModelCall } from "./call.ts";
import type { TokenUsage } from "./usage.ts";

/** The web's `fetch`, without what single runtimes add to it. */
export type WebFetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** What `price` is asked. */
export interface Priced {
  /** As the gateway's price data name it; `undefined`: not known. */
  readonly provider: string | undefined;
  /** As it was asked for. */
  readonly model: string;
  /** As it answered. `null`: it has not, or did not say. */
  readonly served: string | null;
  readonly usage: TokenUsage;
  /** The provider's own words, with what no other member tells. `null`: before the call. */
  readonly raw: { readonly [key: string]: unknown } | null;
}

/** How model calls are guarded. What does not depend on the call is said once; the rest is asked for each. */
export interface FetchOptions extends Omit<ActionFacts, "model" | "usage"> {
  /** Sends what may be sent. Default: the global `fetch`, as it is when the guard is made. */
  readonly fetch?: WebFetch | undefined;
  /** The name that policies know a call by. Default: `llm.` and the provider, or `llm.other`. */
  readonly action?: string | ((call: ModelCall) => string) | undefined;
  /** Default: what the host says (OpenAI, Anthropic, Google, xAI, OpenRouter, Azure), otherwise nothing, and the model's name must tell its price. */
  readonly provider?: string | undefined;
  /**
   * What tokens cost, in USD: before the call as its estimate and afterwards as its cost. `null` or `undefined`: not known here. Then the gateway prices
   * both, and charges what was reserved where it does not know the price either. A cost that the provider states itself always wins.
   */
  readonly price?: ((asked: Priced) => UsdInput | null | undefined) | undefined;
  /** A fixed price for each call, reserved and charged whatever it used. */
  readonly costUsd?: UsdInput | ((call: ModelCall) => UsdInput) | undefined;
  /** The most that a call may cost: reserved in place of an estimate. What it used is charged as without it. */
  readonly maxCostUsd?: UsdInput | ((call: ModelCall) => UsdInput) | undefined;
  /** Output tokens that count for an answer to a request without a limit of its own. Default 8,192. No bound: what goes above it is an overrun. */
  readonly defaultMaxOutputTokens?: number | undefined;
  /** How many bytes of a request stand for one token of its input. Default 2; 1 is never too little for a text. */
  readonly bytesPerToken?: number | undefined;
  /** Input tokens that count for what a request only names (`previous_response_id`, `conversation`, `cachedContent`, …). Default 32,768. */
  readonly storedInputTokens?: number | undefined;
  /**
   * What the gateway is shown of a call; `undefined`: nothing. Default: endpoint, model, limits, and a digest of the body: no prompt leaves unless this says so.
   */
  readonly inputs?: ((call: ModelCall) => Json | undefined) | undefined;
  /** Whether a chat stream is asked for its usage where the caller did not: what that adds is taken out again. Default `true`. `false` for servers that refuse it. */
  readonly includeUsage?: boolean | undefined;
  /**
   * What is no model call known here. `reads`, the default: what only reads (GET, HEAD, OPTIONS, and counting tokens) passes untouched, and the rest, which may
   * cost money, is refused. `pass`: all passes untouched. `refuse`: nothing does.
   */
  readonly onOther?: "reads" | "pass" | "refuse" | undefined;
  /** As of a guard. Default `deny`. */
  readonly onUnavailable?: "deny" | "allow" | undefined;
  /** Default: the session's current one when it is called. */
  readonly run?: string | undefined;
}

/** The facts of an action that the options state, and nothing else of them. */
export function factsOf({ tags, riskLevel, rationale, confidence, sources, parents, approval, ttlMs }: FetchOptions): Omit<ActionRequest, "action"> {
  return { tags, riskLevel, rationale, confidence, sources, parents, approval, ttlMs: ttlMs ?? LONGEST_CALL_MS };
}

/** Clients wait ten minutes for a model; what is reserved stands as long. */
const LONGEST_CALL_MS = 600_000;

export const boundsOf = ({ defaultMaxOutputTokens = 8_192, bytesPerToken = 2, storedInputTokens = 32_768 }: FetchOptions) => ({
  defaultMaxOutputTokens: positive(defaultMaxOutputTokens, "defaultMaxOutputTokens"),
  bytesPerToken: positive(bytesPerToken, "bytesPerToken"),
  storedInputTokens,
});

function positive(value: number, what: string): number {
  if (Number.isFinite(value) && value > 0) return value;
  throw new RangeError(`Cannot use ${value} as the option "${what}": wanted a number above 0`);
}
