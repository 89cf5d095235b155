import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A provider of models on loopback: it answers as OpenAI, Anthropic and Gemini do, by the path, and always uses 120 tokens of input and 40 of output. */

export interface Call {
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  // A request's parsed body; a test knows what it sent.
  readonly body: Record<string, unknown>;
}

/** What befalls one request. `ending`: what comes after the pieces; `hang` leaves the rest to the caller, `break` cuts the connection. */
export type Reply =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly json: unknown }
  | { readonly pieces: readonly (string | Uint8Array)[]; readonly ending?: "hang" | "break"; readonly type?: string }
  | "silent"
  | "broken";

export interface Provider extends AsyncDisposable {
  readonly url: string;
  readonly seen: Call[];
  /** Taken one for each request, the first first; then it answers as usual. */
  readonly replies: Reply[];
  /** Called when a request was read, before it is answered. */
  arrived: (() => void) | undefined;
  /** How many requests were let go by the caller before they were answered whole. */
  readonly dropped: () => number;
}

export async function fakeProvider(): Promise<Provider> {
  const seen: Call[] = [];
  const replies: Reply[] = [];
  let dropped = 0;
  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const call: Call = { path: request.url ?? "", headers: request.headers, text, body: jsonOr(text) };
    seen.push(call);
    response.on("close", () => {
      if (!response.writableFinished) dropped++;
    });
    provider.arrived?.();
    const reply = replies.shift() ?? usual(call);
    if (reply === "silent") return;
    if (reply === "broken") {
      request.socket.destroy();
      return;
    }
    if ("json" in reply) {
      response.writeHead(reply.status, { "content-type": "application/json", ...reply.headers });
      response.end(JSON.stringify(reply.json));
      return;
    }
    response.writeHead(200, { "content-type": reply.type ?? "text/event-stream" });
    response.flushHeaders();
    for (const piece of reply.pieces) if (!response.write(piece)) await once(response, "drain");
    if (reply.ending === undefined) response.end();
    // What was written is on its way before the connection dies.
    if (reply.ending === "break") setImmediate(() => request.socket.end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  const provider: Provider = {
    url: `http://127.0.0.1:${port}`,
    seen,
    replies,
    arrived: undefined,
    dropped: () => dropped,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return provider;
}

const jsonOr = (text: string): Record<string, unknown> => {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
};

export const event = (data: unknown, name?: string): string => `${name === undefined ? "" : `event: ${name}\n`}data: ${JSON.stringify(data)}\n\n`;

export const CHAT_USAGE = { prompt_tokens: 120, completion_tokens: 40, total_tokens: 160, prompt_tokens_details: { cached_tokens: 20 } };
const RESPONSES_USAGE = { input_tokens: 120, output_tokens: 40, total_tokens: 160, input_tokens_details: { cached_tokens: 20 } };
export const GEMINI_USAGE = {
  promptTokenCount: 120,
  candidatesTokenCount: 30,
  thoughtsTokenCount: 10,
  totalTokenCount: 160,
  cachedContentTokenCount: 20,
};
const MESSAGE_USAGE = { input_tokens: 90, cache_read_input_tokens: 20, cache_creation_input_tokens: 10, output_tokens: 40 };

const choice = (delta: object, finish_reason: string | null = null) => ({ index: 0, delta, finish_reason });
const chunk = (more: object) => ({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "gpt-4o-mini-2024-07-18", ...more });

export const chatEvents = (includesUsage: boolean): string[] => [
  ...["Hel", "lo"].map((content) => event(chunk({ choices: [choice({ role: "assistant", content })], ...(includesUsage && { usage: null }) }))),
  event(chunk({ choices: [choice({}, "stop")], ...(includesUsage && { usage: null }) })),
  ...(includesUsage ? [event(chunk({ choices: [], usage: CHAT_USAGE }))] : []),
  "data: [DONE]\n\n",
];

const message = (usage: object) => ({
  id: "msg_1",
  type: "message",
  role: "assistant",
  model: "claude-opus-5",
  content: [],
  stop_reason: null,
  stop_sequence: null,
  usage,
});

export const messageEvents = (): string[] =>
  [
    { type: "message_start", message: message({ ...MESSAGE_USAGE, output_tokens: 1 }) },
    { type: "content_block_start", index: 0, content_block: { type: "text", text: "" } },
    { type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Hello" } },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { input_tokens: null, output_tokens: 40 } },
    { type: "message_stop" },
  ].map((data) => event(data, data.type));

const answered = (status: string) => ({
  id: "resp_1",
  object: "response",
  created_at: 1,
  status,
  model: "gpt-4o-mini",
  output: [{ type: "message", id: "m", role: "assistant", status, content: [{ type: "output_text", text: "Hello", annotations: [] }] }],
  usage: status === "completed" ? RESPONSES_USAGE : null,
});

export const responseEvents = (): string[] =>
  [
    { type: "response.created", sequence_number: 0, response: answered("in_progress") },
    { type: "response.output_text.delta", sequence_number: 1, item_id: "m", output_index: 0, content_index: 0, delta: "Hello", logprobs: [] },
    { type: "response.completed", sequence_number: 2, response: answered("completed") },
  ].map((data) => event(data, data.type));

const candidate = (text: string, finishReason?: string) => ({
  index: 0,
  content: { role: "model", parts: [{ text }] },
  ...(finishReason && { finishReason }),
});

export const geminiParts = () => [
  {
    candidates: [candidate("Hel")],
    usageMetadata: { promptTokenCount: 120, totalTokenCount: 121, candidatesTokenCount: 1 },
    modelVersion: "gemini-2.5-flash",
  },
  { candidates: [candidate("lo", "STOP")], usageMetadata: GEMINI_USAGE, modelVersion: "gemini-2.5-flash" },
];

/** How the provider answers when nothing else was said. */
function usual({ path, body }: Call): Reply {
  const found = (json: unknown): Reply => ({ status: 200, headers: { "x-request-id": "req_provider" }, json });
  if (/\/chat\/completions/.test(path)) {
    const { include_usage = false } = Object(body.stream_options);
    if (body.stream === true) return { pieces: chatEvents(include_usage) };
    const choices = [{ index: 0, message: { role: "assistant", content: "Hello", refusal: null }, finish_reason: "stop", logprobs: null }];
    return found({ id: "chatcmpl-1", object: "chat.completion", created: 1, model: "gpt-4o-mini-2024-07-18", choices, usage: CHAT_USAGE });
  }
  if (/\/responses/.test(path)) return body.stream === true ? { pieces: responseEvents() } : found(answered("completed"));
  if (/\/embeddings/.test(path)) {
    return found({
      object: "list",
      model: "text-embedding-3-small",
      data: [{ object: "embedding", index: 0, embedding: [0.5] }],
      usage: { prompt_tokens: 120, total_tokens: 120 },
    });
  }
  if (/\/messages$/.test(path)) {
    if (body.stream === true) return { pieces: messageEvents() };
    return found({ ...message(MESSAGE_USAGE), content: [{ type: "text", text: "Hello" }], stop_reason: "end_turn" });
  }
  if (/:streamGenerateContent/.test(path)) {
    if (/alt=sse/.test(path)) return { pieces: geminiParts().map((part) => `data: ${JSON.stringify(part)}\r\n\r\n`) };
    return { pieces: [JSON.stringify(geminiParts())], type: "application/json" };
  }
  if (/:generateContent/.test(path)) return found({ ...geminiParts()[1], candidates: [candidate("Hello", "STOP")] });
  return found({ object: "list", data: [] });
}
