import type { Bounds } from "./call.ts";
import { isObject, type JsonObject } from "./json.ts";

/** More than a picture costs at any of the providers, whatever its size. Other media count by their size, as text does. */
const PICTURE_TOKENS = 5_000;

/** Members that name what a provider keeps and reads as input: it is not in the body, so its size is not known here. */
const STORED = ["previous_response_id", "conversation", "prompt", "cachedContent", "cached_content", "container"];

/**
 * How many tokens of input a body stands for at most: by its size in bytes, because the bytes of a text bound its tokens and counting them exactly
 * takes megabytes of tables. A picture's own data do not count, it counts as one picture.
 */
export function inputTokensOf(body: JsonObject, text: string, { bytesPerToken, storedInputTokens }: Bounds): number {
  let pictures = 0;
  const lean = /image/.test(text)
    ? JSON.stringify(body, function (this: unknown, key, value: unknown) {
        if (isObject(value) && (isPicture(value) || /^(input_)?image(_url)?$/.test(String(value.type)))) pictures++;
        const isData = typeof value === "string" && (/^data:image\//.test(value) || (key === "data" && isPicture(this)));
        // What has blanks in it is no picture's data, and would be read.
        return isData && !/\s/.test(value) ? "" : value;
      })
    : text;
  const stored = STORED.some((name) => body[name] != null) ? storedInputTokens : 0;
  return Math.ceil(new TextEncoder().encode(lean).length / bytesPerToken) + pictures * PICTURE_TOKENS + stored;
}

const isPicture = (holder: unknown): boolean =>
  isObject(holder) && /^image\//.test(String(holder.media_type ?? holder.mimeType ?? holder.mime_type ?? ""));
