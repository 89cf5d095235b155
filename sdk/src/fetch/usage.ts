import type { ModelCall, Shape } from "./call.ts";
import { countOf, isObject, type JsonObject, memberOf } from "./json.ts";

/** What a model used, as its provider says it: in one body, or in the events of a stream. */

/** Tokens counted alike for all providers, by the names that price tables use: input with what was read from a cache or written to one, output with reasoning. */
export type TokenUsage = {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_tokens: number;
  readonly cache_write_tokens: number;
};

/** What is known of a call's cost once it has ended. */
export interface Spent {
  readonly tokens: TokenUsage;
  /** What the provider says it charges, in USD. `null`: it does not say. */
  readonly costUsd: number | null;
  /** The provider's own words. */
  readonly raw: JsonObject;
  /** Which model answered. `null`: it was not said. */
  readonly served: string | null;
}

/** Listens to what a provider says of one call. */
export interface UsageReader {
  /** The whole answer. */
  whole(body: unknown): void;
  /** One event of a stream. `true`: it is the one that a chat stream has at its end only because its usage was asked for. */
  event(data: unknown): boolean;
  /** `null`: no usage was told, or not all of it. */
  spent(): Spent | null;
  /** What the provider says went wrong while it answered. */
  failure(): string | null;
}

export function usageReader({ shape, body }: Pick<ModelCall, "shape" | "body">): UsageReader {
  let raw: JsonObject | undefined;
  let served: string | null = null;
  let failure: string | null = null;
  let isWhole = false;
  let answers = 0;
  const wanted = countOf(body.n) ?? 1;

  const take = (data: JsonObject, usage: JsonObject | undefined): void => {
    raw = usage ?? raw;
    const model = data.model ?? data.modelVersion;
    if (typeof model === "string" && model !== "") served = model;
    if (isObject(data.error)) failure = String(data.error.message ?? data.error.type ?? "error");
  };
  // An answer in parts is whole where the provider says so: what a part before that counts is not all.
  const events: { readonly [S in Shape]: (data: JsonObject) => boolean } = {
    chat(data) {
      const usage = memberOf(data, "usage") ?? memberOf(data.x_groq, "usage");
      const choices: readonly unknown[] = Array.isArray(data.choices) ? data.choices : [];
      answers += choices.filter((choice) => isObject(choice) && choice.finish_reason != null).length;
      take(data, usage);
      const isAdded = usage !== undefined && choices.length === 0;
      isWhole ||= isAdded || (raw !== undefined && answers >= wanted);
      return isAdded;
    },
    responses(data) {
      const response = memberOf(data, "response") ?? {};
      const isEnd = /^response\.(completed|incomplete|failed)$/.test(String(data.type));
      take({ ...response, error: data.type === "error" ? data : response.error }, isEnd ? memberOf(response, "usage") : undefined);
      isWhole ||= isEnd;
      return false;
    },
    embeddings: () => false,
    messages(data) {
      const message = memberOf(data, "message") ?? {};
      const told = memberOf(data, "usage") ?? memberOf(message, "usage");
      // Later counts stand for the whole answer so far; what they leave out, or do not know, stays as it was.
      const known = Object.entries(told ?? {}).filter(([, count]) => count !== null);
      take({ ...message, error: data.error }, told && { ...raw, ...Object.fromEntries(known) });
      isWhole ||= data.type === "message_stop" || memberOf(data, "delta")?.stop_reason != null;
      return false;
    },
    gemini(data) {
      take(data, memberOf(data, "usageMetadata"));
      const candidates: readonly unknown[] = Array.isArray(data.candidates) ? data.candidates : [];
      isWhole ||= isObject(data.promptFeedback) || candidates.some((candidate) => isObject(candidate) && candidate.finishReason != null);
      return false;
    },
  };
  return {
    whole(found) {
      // Gemini's streams that are no events are one list of them.
      for (const data of Array.isArray(found) ? found : [found]) {
        if (isObject(data)) take(data, memberOf(data, shape === "gemini" ? "usageMetadata" : "usage"));
      }
      isWhole = true;
    },
    event: (data) => isObject(data) && events[shape](data),
    spent() {
      const tokens = isWhole && raw ? tokensOf(shape, raw) : null;
      return tokens && raw ? { tokens, costUsd: costOf(raw), raw, served } : null;
    },
    failure: () => failure,
  };
}

/**
 * `null`: it does not say what was used, or says some of it in what is no count. No call uses nothing, so a usage of nothing says nothing either.
 */
export function tokensOf(shape: Shape, raw: JsonObject): TokenUsage | null {
  let isWhole = true;
  const sum = (...names: readonly string[]): number =>
    names.reduce((total, name) => {
      const count = countOf(raw[name] ?? 0);
      isWhole &&= count !== undefined;
      return total + (count ?? 0);
    }, 0);
  const detail = (name: string): number => countOf((memberOf(raw, "prompt_tokens_details") ?? memberOf(raw, "input_tokens_details"))?.[name]) ?? 0;
  const usage =
    shape === "gemini"
      ? {
          input_tokens: sum("promptTokenCount", "toolUsePromptTokenCount"),
          output_tokens: sum("candidatesTokenCount", "thoughtsTokenCount"),
          cache_read_tokens: sum("cachedContentTokenCount"),
          cache_write_tokens: 0,
        }
      : shape === "messages"
        ? {
            input_tokens: sum("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"),
            output_tokens: sum("output_tokens"),
            cache_read_tokens: sum("cache_read_input_tokens"),
            cache_write_tokens: sum("cache_creation_input_tokens"),
          }
        : {
            input_tokens: sum("prompt_tokens", "input_tokens"),
            output_tokens: sum("completion_tokens", "output_tokens"),
            cache_read_tokens: detail("cached_tokens"),
            cache_write_tokens: detail("cache_write_tokens"),
          };
  // Some leave reasoning out of the output, and count it in the total alone.
  const output = Math.max(usage.output_tokens, sum(shape === "gemini" ? "totalTokenCount" : "total_tokens") - usage.input_tokens);
  return isWhole && usage.input_tokens + output > 0 ? { ...usage, output_tokens: output } : null;
}

/** xAI counts in ten-billionths of a dollar, OpenRouter in dollars; what it does not charge itself because the caller pays another for it counts too. */
function costOf(raw: JsonObject): number | null {
  const ticks = countOf(raw.cost_in_usd_ticks);
  if (ticks !== undefined) return ticks / 1e10;
  const upstream = raw.is_byok === true ? memberOf(raw, "cost_details")?.upstream_inference_cost : 0;
  const cost = typeof raw.cost === "number" ? raw.cost + (typeof upstream === "number" ? upstream : 0) : Number.NaN;
  return Number.isFinite(cost) && cost >= 0 ? cost : null;
}
