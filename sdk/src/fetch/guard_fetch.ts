import { GatewayRefusedError } from "../errors.ts";
import { insideOf } from "../inside.ts";
import type { Session } from "../session.ts";
import { attempt } from "./attempt.ts";
import { modelCallOf, pathOf, type Shape, shapeOf } from "./call.ts";
import { denialOf, denialResponse } from "./denial.ts";
import { boundsOf, type FetchOptions, type WebFetch } from "./options.ts";
import { type Asked, askedOf } from "./request.ts";

/**
 * A `fetch` that asks before each model call and tells afterwards what it cost: for `fetch` options of model clients, whatever their framework. Knows calls by
 * their paths: chat completions, responses and embeddings as OpenAI has them, messages as Anthropic, generateContent as Gemini.
 *
 * A no is an answer with status 403, or 402 where a budget says it, in the provider's own shape, and never a rejection: clients try those again. It rejects
 * only as the `fetch` within does, and with the reason of the caller's own signal. Each call is another attempt with a decision of its own, a client's own
 * retries included. Throws a `TypeError` for a session that this copy of the package has not made, a `RangeError` for options that can never work.
 */
export function guardFetch(session: Session, options: FetchOptions = {}): WebFetch {
  insideOf(session);
  const bounds = boundsOf(options);
  // The global one as it is now: whoever makes this the global one must not have it call itself.
  const send: WebFetch = options.fetch ?? fetch;
  return async (input, init) => {
    const asked = askedOf(input, init);
    const shape = asked?.method === "POST" ? shapeOf(pathOf(asked.url)) : undefined;
    if (asked === null || shape === undefined) {
      if (asked === null || passes(asked, options)) return send(input, init);
      return refused(`send ${asked.method} ${asked.url.pathname}`, "traffic_unguarded", "it is no model call known here, and may cost money", shape);
    }
    asked.signal?.throwIfAborted();
    const text = await asked.text();
    const call = text === null ? null : modelCallOf(shape, asked.url, text, bounds, options.provider);
    if (text === null || call === null) {
      return refused(`judge a call to ${asked.url.pathname}`, "body_malformed", "wanted a JSON object that names a model", shape);
    }
    return attempt(session, options, asked, call, text, (body, signal) => {
      const { headers } = asked;
      // It is counted anew, and JSON is what was read.
      headers.delete("content-length");
      if (!headers.has("content-type")) headers.set("content-type", "application/json");
      return send(input, { ...init, headers, body, signal });
    });
  };
}

const passes = ({ method, url }: Asked, { onOther = "reads" }: FetchOptions): boolean =>
  onOther === "pass" || (onOther === "reads" && (/^(GET|HEAD|OPTIONS)$/.test(method) || /[/:](count_?tokens|input_tokens)$/i.test(pathOf(url))));

const refused = (what: string, code: string, detail: string, shape: Shape | undefined): Response =>
  denialResponse(denialOf(new GatewayRefusedError(what, { status: null, code, detail })), shape);
