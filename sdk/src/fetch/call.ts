import type { Json } from "../surface.ts";
import { inputTokensOf } from "./input_size.ts";
import { countOf, isObject, type JsonObject, memberOf } from "./json.ts";

/** What is asked of a model, read from an HTTP request: whose it is, which one, and what it may use at most. */

/** By whose rules the bodies are read. `chat`, `responses` and `embeddings` are OpenAI's, and those of all that speak like it. */
export type Shape = "chat" | "responses" | "embeddings" | "messages" | "gemini";

export interface ModelCall {
  readonly shape: Shape;
  /** As the gateway's price data name it; `undefined`: the host says nothing, and the model's name alone must. */
  readonly provider: string | undefined;
  /** As it was asked for. */
  readonly model: string;
  readonly stream: boolean;
  /** What is expected at most, in tokens. */
  readonly usage: { readonly [Count in "input_tokens" | "output_tokens" | "cache_write_tokens"]: number };
  readonly url: string;
  /** The request's body. Nothing of it is shown to the gateway unless an option does. */
  readonly body: { readonly [key: string]: Json };
}

/** What stands in for what a body does not say. */
export interface Bounds {
  /** Output tokens of one answer where the body states no limit. */
  readonly defaultMaxOutputTokens: number;
  /** Bytes of the body for one token of input. 1 can never be too little for a text. */
  readonly bytesPerToken: number;
  /** Tokens of input that the provider keeps and the body only names, as with `previous_response_id`. */
  readonly storedInputTokens: number;
}

const SHAPES: readonly (readonly [path: RegExp, shape: Shape])[] = [
  [/\/chat\/completions$/i, "chat"],
  [/\/responses$/i, "responses"],
  [/\/embeddings$/i, "embeddings"],
  // Not the messages of a thread or a channel.
  [/\/v\d+\/messages$/i, "messages"],
  [/:(stream)?generateContent$/i, "gemini"],
];

/** Which kind of model call a path is. `undefined`: none that is known here. */
export const shapeOf = (path: string): Shape | undefined => SHAPES.find(([known]) => known.test(path))?.[1];

/** A URL's path as servers read it: decoded, without slashes at its end. */
export function pathOf(url: URL): string {
  let path = url.pathname;
  try {
    path = decodeURIComponent(path);
  } catch {
    // It is no text, and so none of ours.
  }
  return path.replace(/\/+$/, "");
}

const PROVIDERS: readonly (readonly [host: RegExp, provider: string])[] = [
  [/(^|\.)openai\.com$/, "openai"],
  [/(^|\.)anthropic\.com$/, "anthropic"],
  [/(^|\.)googleapis\.com$/, "google"],
  [/(^|\.)x\.ai$/, "x-ai"],
  [/(^|\.)openrouter\.ai$/, "openrouter"],
  [/\.openai\.azure\.com$/, "azure"],
];

const LONGEST_NAME = 128;
/** More than any model writes, and the most that the gateway takes. */
const MOST_TOKENS = 1_000_000_000;

/** Reads a model call. `null`: its body is not one that could be judged, so nobody may send it. */
export function modelCallOf(shape: Shape, url: URL, text: string, bounds: Bounds, provider?: string): ModelCall | null {
  const body = jsonOf(text);
  if (body === null) return null;
  const path = pathOf(url);
  const inPath = /\/(?:models|tunedModels|deployments|engines)\/([^/:]+)/.exec(path)?.[1];
  const model = shape === "gemini" ? inPath : (body.model ?? inPath);
  if (typeof model !== "string" || model === "" || model.length > LONGEST_NAME) return null;
  const writes = shape === "messages" && text.includes('"cache_control"');
  // The gateway prices five minutes in the cache, 1.25 times the input; an hour costs twice the input, as if 1.6 times as much were kept.
  const times = writes && text.includes('"1h"') ? 1.6 : 1;
  const inputTokens = Math.min(MOST_TOKENS, Math.ceil(inputTokensOf(body, text, bounds) * times));
  return {
    shape,
    provider: provider ?? PROVIDERS.find(([host]) => host.test(url.hostname))?.[1],
    model,
    stream: shape === "gemini" ? /:stream/i.test(path) : body.stream === true,
    usage: {
      input_tokens: inputTokens,
      output_tokens: Math.min(MOST_TOKENS, outputTokensOf(shape, body, bounds.defaultMaxOutputTokens)),
      cache_write_tokens: writes ? inputTokens : 0,
    },
    url: url.href,
    // What `JSON.parse` gives is JSON.
    body: body as ModelCall["body"],
  };
}

function jsonOf(text: string): JsonObject | null {
  try {
    const found: unknown = JSON.parse(text);
    return isObject(found) ? found : null;
  } catch {
    return null;
  }
}

function outputTokensOf(shape: Shape, body: JsonObject, otherwise: number): number {
  if (shape === "embeddings") return 0;
  const config = shape === "gemini" ? (memberOf(body, "generationConfig") ?? memberOf(body, "generation_config") ?? {}) : body;
  const first = (...names: readonly string[]): number | undefined => names.map((name) => countOf(config[name])).find((count) => count !== undefined);
  const most = first("max_completion_tokens", "max_output_tokens", "maxOutputTokens", "max_tokens") ?? otherwise;
  return most * Math.max(1, first("n", "candidateCount", "candidate_count") ?? 1);
}
