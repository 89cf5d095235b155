import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { modelCallOf, pathOf, type Shape, shapeOf } from "../../sdk/src/fetch/call.ts";
import { denialOf, denialResponse } from "../../sdk/src/fetch/denial.ts";
import { eventFeed, textFeed } from "../../sdk/src/fetch/feed.ts";
import { frameReader } from "../../sdk/src/fetch/frames.ts";
import { tokensOf, usageReader } from "../../sdk/src/fetch/usage.ts";
import { decisionOf, type FetchOptions, guardFetch, isAuthorityError } from "../../sdk/src/fetch.ts";
import { errorFor, type Session } from "../../sdk/src/index.ts";
import { decisionAnswer } from "../../sdk/src/mapping.ts";
import { CHAT_USAGE, chatEvents, event, fakeProvider, GEMINI_USAGE, geminiParts, messageEvents, responseEvents } from "./fetch_provider.ts";
import { allowed, denied, type FakeGateway, fakeGateway, held, openFake } from "./gateway.ts";

const BOUNDS = { defaultMaxOutputTokens: 1000, bytesPerToken: 1, storedInputTokens: 7000 };
const read = (url: string, body: unknown) => {
  const at = new URL(url);
  const shape = shapeOf(pathOf(at));
  return shape === undefined ? undefined : modelCallOf(shape, at, typeof body === "string" ? body : JSON.stringify(body), BOUNDS);
};

describe("a model call", () => {
  test.each<[url: string, shape: Shape | undefined, provider?: string | undefined]>([
    ["https://api.openai.com/v1/chat/completions", "chat", "openai"],
    ["https://api.openai.com/v1/chat/completions/", "chat", "openai"],
    ["https://api.openai.com/v1/chat%2Fcompletions?x=1", "chat", "openai"],
    ["https://api.openai.com/v1/responses", "responses", "openai"],
    ["https://api.openai.com/v1/embeddings", "embeddings", "openai"],
    ["https://api.x.ai/v1/chat/completions", "chat", "x-ai"],
    ["https://openrouter.ai/api/v1/chat/completions", "chat", "openrouter"],
    ["https://example.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=1", "chat", "azure"],
    ["http://localhost:11434/v1/chat/completions", "chat", undefined],
    ["https://api.anthropic.com/v1/messages", "messages", "anthropic"],
    ["https://gate.example.com/anthropic/v1/messages?beta=true", "messages", undefined],
    ["https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent", "gemini", "google"],
    ["https://us-aiplatform.googleapis.com/v1/projects/p/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "gemini", "google"],
    ["https://notopenai.com/v1/chat/completions", "chat", undefined],
    ["https://api.openai.com/v1/images/generations", undefined],
    ["https://api.openai.com/v1/threads/thread_1/messages", undefined],
    ["https://api.anthropic.com/v1/messages/count_tokens", undefined],
    ["https://api.anthropic.com/v1/messages/batches", undefined],
    ["https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:countTokens", undefined],
    ["https://api.openai.com/%ff/models", undefined],
  ])("%s is %s of %s", (url, shape, provider) => {
    expect(shapeOf(pathOf(new URL(url)))).toBe(shape);
    if (shape !== undefined) expect(read(url, { model: "m", contents: [] })?.provider).toBe(provider);
  });

  const CHAT = "https://api.openai.com/v1/chat/completions";
  const MESSAGES = "https://api.anthropic.com/v1/messages";
  const GEMINI = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent";
  test.each<[what: string, url: string, body: object, most: number]>([
    ["its limit", CHAT, { model: "m", max_completion_tokens: 50 }, 50],
    ["its older limit", CHAT, { model: "m", max_tokens: 50 }, 50],
    ["its limit for each of its answers", CHAT, { model: "m", max_tokens: 50, n: 3 }, 150],
    ["the default without a limit", CHAT, { model: "m", n: 2 }, 2000],
    ["the default for a limit that is none", CHAT, { model: "m", max_tokens: "50" }, 1000],
    ["the default for a limit below nothing", CHAT, { model: "m", max_tokens: -50 }, 1000],
    ["no more than a thousand million", CHAT, { model: "m", max_tokens: 9e15 }, 1e9],
    ["the limit of a response", CHAT.replace("chat/completions", "responses"), { model: "m", max_output_tokens: 50 }, 50],
    ["nothing for an embedding", CHAT.replace("chat/completions", "embeddings"), { model: "m", max_tokens: 50 }, 0],
    ["a message's limit", MESSAGES, { model: "m", max_tokens: 50 }, 50],
    ["Gemini's limit for each candidate", GEMINI, { generationConfig: { maxOutputTokens: 50, candidateCount: 2 } }, 100],
    ["Gemini's limit in its other spelling", GEMINI, { generation_config: { max_output_tokens: 50, candidate_count: 2 } }, 100],
    ["the default where Gemini has no limit", GEMINI, {}, 1000],
  ])("writes at most %s", (_, url, body, most) => {
    expect(read(url, body)?.usage.output_tokens).toBe(most);
  });

  const picture = "A".repeat(100_000);
  const size = (body: object): number => new TextEncoder().encode(JSON.stringify({ model: "m", ...body })).length;
  test.each<[what: string, body: object, most: number]>([
    ["its bytes", { messages: ["é"] }, size({ messages: ["é"] })],
    [
      "a picture as one",
      { input: [{ type: "input_image", image_url: `data:image/png;base64,${picture}` }] },
      5000 + size({ input: [{ type: "input_image", image_url: "" }] }),
    ],
    [
      "a picture of Anthropic's as one",
      { messages: [{ type: "image", source: { type: "base64", media_type: "image/png", data: picture } }] },
      // The block and its source are both counted: too much, and never too little.
      10_000 + size({ messages: [{ type: "image", source: { type: "base64", media_type: "image/png", data: "" } }] }),
    ],
    [
      "a picture of Gemini's as one",
      { contents: [{ inlineData: { mimeType: "image/png", data: picture } }] },
      5000 + size({ contents: [{ inlineData: { mimeType: "image/png", data: "" } }] }),
    ],
    [
      "a picture elsewhere as one",
      { input: [{ type: "input_image", image_url: "https://example.com" }] },
      5000 + size({ input: [{ type: "input_image", image_url: "https://example.com" }] }),
    ],
    [
      "all of a text that calls itself a picture",
      { input: `data:image/png;base64,${"read me ".repeat(9)}` },
      size({ input: `data:image/png;base64,${"read me ".repeat(9)}` }),
    ],
    [
      "other media by their size",
      { input: [{ type: "input_file", file_data: picture }] },
      size({ input: [{ type: "input_file", file_data: picture }] }),
    ],
    ["what is only named", { previous_response_id: "resp_1" }, 7000 + size({ previous_response_id: "resp_1" })],
    ["nothing for what is not named", { previous_response_id: null }, size({ previous_response_id: null })],
  ])("reads %s", (_, body, most) => {
    expect(read(CHAT.replace("chat/completions", "responses"), { model: "m", ...body })?.usage.input_tokens).toBe(most);
  });

  test.each([
    [{}, 1, false],
    [{ system: [{ cache_control: { type: "ephemeral" } }] }, 1, true],
    [{ system: [{ cache_control: { type: "ephemeral", ttl: "1h" } }] }, 1.6, true],
  ])("%j counts %d times its bytes, and all of it as written to a cache: %s", (body, times, writes) => {
    const { input_tokens, cache_write_tokens } = read(MESSAGES, { model: "m", ...body })?.usage ?? {};
    expect(input_tokens).toBe(Math.ceil(size(body) * times));
    expect(cache_write_tokens).toBe(writes ? input_tokens : 0);
  });

  test.each([
    ["", CHAT],
    ["{", CHAT],
    ["[]", CHAT],
    ["null", CHAT],
    ["{}", CHAT],
    ['{"model":""}', CHAT],
    ['{"model":7}', CHAT],
    [`{"model":"${"m".repeat(129)}"}`, CHAT],
    ["{", GEMINI],
  ])("that is %j cannot be judged", (text, url) => {
    expect(read(url, text)).toBe(null);
  });
});

describe("usage", () => {
  test.each<[what: string, shape: Shape, raw: Record<string, unknown>, usage: readonly number[] | null]>([
    ["OpenAI's chat", "chat", CHAT_USAGE, [120, 40, 20, 0]],
    ["xAI's, whose reasoning is in the total only", "chat", { prompt_tokens: 120, completion_tokens: 10, total_tokens: 160 }, [120, 40, 0, 0]],
    [
      "OpenAI's responses",
      "responses",
      { input_tokens: 120, output_tokens: 40, total_tokens: 160, input_tokens_details: { cached_tokens: 20, cache_write_tokens: 5 } },
      [120, 40, 20, 5],
    ],
    ["an embedding's", "embeddings", { prompt_tokens: 120, total_tokens: 120 }, [120, 0, 0, 0]],
    [
      "Anthropic's, which counts apart what was cached",
      "messages",
      { input_tokens: 90, cache_read_input_tokens: 20, cache_creation_input_tokens: 10, output_tokens: 40 },
      [120, 40, 20, 10],
    ],
    ["Gemini's, which counts apart what it thought", "gemini", GEMINI_USAGE, [120, 40, 20, 0]],
    ["Gemini's with tools", "gemini", { promptTokenCount: 100, toolUsePromptTokenCount: 20, candidatesTokenCount: 40 }, [120, 40, 0, 0]],
    ["nothing", "chat", {}, null],
    ["zeros, which no call uses", "chat", { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 }, null],
    ["what is no count", "chat", { prompt_tokens: -1, completion_tokens: "40", total_tokens: 1.5 }, null],
    ["a part that is no count", "chat", { prompt_tokens: 1e18, completion_tokens: 40 }, null],
    ["a part that is a text", "messages", { input_tokens: "90", output_tokens: 40 }, null],
    ["a part that is not known", "gemini", { promptTokenCount: 120, candidatesTokenCount: 40, thoughtsTokenCount: null }, [120, 40, 0, 0]],
  ])("of %s", (_, shape, raw, usage) => {
    const found = tokensOf(shape, raw);
    expect(found && [found.input_tokens, found.output_tokens, found.cache_read_tokens, found.cache_write_tokens]).toEqual(usage);
  });

  test.each<[raw: object, costUsd: number | null]>([
    [{ cost_in_usd_ticks: 37_756_000 }, 0.0037756],
    [{ cost: 0.0125 }, 0.0125],
    [{ cost: 0 }, 0],
    [{ cost: 0.001, is_byok: true, cost_details: { upstream_inference_cost: 0.02 } }, 0.021],
    [{ cost: 0.001, cost_details: { upstream_inference_cost: 0.02 } }, 0.001],
    [{ cost_in_usd_ticks: 1.5, cost: 0.5 }, 0.5],
    [{ cost: -1 }, null],
    [{ cost: "1" }, null],
    [{ cost: { total_cost: 1 } }, null],
    [{}, null],
  ])("that says %j costs %j by its provider's word", (more, costUsd) => {
    const usage = usageReader({ shape: "chat", body: {} });
    usage.whole({ usage: { prompt_tokens: 1, ...more } });
    expect(usage.spent()?.costUsd).toBe(costUsd);
  });

  /** What is known after each event of a stream. */
  const known = (shape: Shape, events: readonly unknown[], body = {}) => {
    const usage = usageReader({ shape, body });
    return events.map((data) => {
      usage.event(data);
      return usage.spent()?.tokens.output_tokens ?? null;
    });
  };
  const jsonOf = (frames: readonly string[]): unknown[] => frames.map((frame) => JSON.parse(/^data: (\{.*)$/m.exec(frame)?.[1] ?? "null"));
  const so_far = { prompt_tokens: 120, completion_tokens: 7 };

  test.each<[what: string, shape: Shape, events: readonly unknown[], known: readonly (number | null)[], body?: object]>([
    ["a chat", "chat", jsonOf(chatEvents(true)), [null, null, null, 40, 40]],
    ["a chat without usage", "chat", jsonOf(chatEvents(false)), [null, null, null, null]],
    [
      "a chat that counts as it goes",
      "chat",
      [
        { choices: [{}], usage: so_far },
        { choices: [{ finish_reason: "stop" }], usage: CHAT_USAGE },
      ],
      [null, 40],
    ],
    [
      "a chat of two answers, one of which has ended",
      "chat",
      [
        { choices: [{ finish_reason: "stop" }], usage: so_far },
        { choices: [{ finish_reason: "stop" }], usage: CHAT_USAGE },
      ],
      [null, 40],
      { n: 2 },
    ],
    ["a response", "responses", jsonOf(responseEvents()), [null, null, 40]],
    ["a message", "messages", jsonOf(messageEvents()), [null, null, null, null, 40, 40]],
    ["Gemini's", "gemini", geminiParts(), [null, 40]],
    [
      "Gemini's that was blocked",
      "gemini",
      [{ promptFeedback: { blockReason: "SAFETY" }, usageMetadata: { promptTokenCount: 120, totalTokenCount: 120 } }],
      [0],
    ],
  ])("of the stream of %s is known once all of it is", (_, shape, events, expected, body) => {
    expect(known(shape, events, body)).toEqual(expected);
  });

  test("of a message adds what its last event leaves out from its first", () => {
    const usage = usageReader({ shape: "messages", body: {} });
    for (const data of jsonOf(messageEvents())) usage.event(data);
    expect(usage.spent()).toMatchObject({ tokens: { input_tokens: 120, cache_read_tokens: 20, cache_write_tokens: 10 }, served: "claude-opus-5" });
  });

  test.each<[Shape, object, string]>([
    ["messages", { type: "error", error: { type: "overloaded_error", message: "Overloaded" } }, "Overloaded"],
    ["responses", { type: "error", message: "No more" }, "No more"],
    ["responses", { type: "response.failed", response: { error: { code: "x", message: "Failed" } } }, "Failed"],
    ["chat", { error: { message: "Broken" } }, "Broken"],
  ])("a failure within a stream of %s is told", (shape, data, failure) => {
    const usage = usageReader({ shape, body: {} });
    usage.event(data);
    expect([usage.failure(), usage.spent()]).toEqual([failure, null]);
  });

  test.each(["chat", "responses", "embeddings", "messages", "gemini"] as const)(
    "whatever comes as an event or answer of %s, reading it throws nothing",
    (shape) => {
      fc.assert(
        fc.property(
          fc.array(fc.json().map((text): unknown => JSON.parse(text))),
          fc.dictionary(
            fc.constantFrom("usage", "choices", "response", "message", "delta", "candidates", "type", "usageMetadata", "error"),
            fc.jsonValue(),
          ),
          (events, odd) => {
            const usage = usageReader({ shape, body: {} });
            for (const data of [...events, odd]) usage.event(data);
            usage.whole(odd);
            const { tokens } = usage.spent() ?? { tokens: { input_tokens: 1 } };
            return (
              Object.values(tokens).every((count) => Number.isSafeInteger(count) && count >= 0) &&
              (usage.failure() === null || typeof usage.failure() === "string")
            );
          },
        ),
      );
    },
  );
});

describe("a stream of events", () => {
  const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
  const textOf = (parts: readonly Uint8Array[]): string => new TextDecoder("utf-8", { fatal: false, ignoreBOM: true }).decode(Buffer.concat(parts));
  /** The bytes cut at these places. */
  const pieces = (bytes: Uint8Array, places: readonly number[]): Uint8Array[] => {
    const cuts = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
    return cuts.slice(1).map((to, index) => bytes.slice(cuts[index], to));
  };
  const dataOf = (text: string, places: readonly number[] = []) => {
    const frames = frameReader();
    const found = [...pieces(bytesOf(text), places).flatMap((piece) => frames.push(piece)), ...frames.end()];
    return { data: found.flatMap(({ data }) => (data === null ? [] : [data])), passed: textOf(found.map(({ bytes }) => bytes)) };
  };

  test.each<[text: string, data: readonly string[]]>([
    ["data: a\n\ndata: b\n\n", ["a", "b"]],
    ["data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
    ["data: a\r\rdata: b\r\r", ["a", "b"]],
    ["data: a\r\n\ndata: b\n\r\n", ["a", "b"]],
    ["data:a\ndata:  b\n\n", ["a\n b"]],
    ["data:a\r\ndata: b\r\n\r\n", ["a\nb"]],
    ["data:a\rdata: b\r\r", ["a\nb"]],
    ["data\n\n", [""]],
    ["\ufeffdata: a\n\n\ufeffdata: b\n\n", ["a"]],
    [": a comment\n\nevent: x\nid: 1\ndata: a\nretry: 5\n\n", ["a"]],
    ["\n\n\ndata: a\n\n\n", ["a"]],
    ["database: a\n\n", []],
    ["data: cut", []],
    ["data: cut\n", []],
    ["", []],
  ])("%j says %j", (text, data) => {
    expect(dataOf(text)).toEqual({ data, passed: text });
  });

  test("says the same wherever it is cut, and passes on the very bytes", () => {
    const line = fc.oneof(fc.constantFrom("data: ", "data:", ": ", "event: x", "data: é\u{1f600}\ufeff", ""), fc.string());
    const text = fc
      .array(fc.tuple(line, fc.constantFrom("\n", "\r\n", "\r", "\n\n", "\r\n\r\n")).map((parts) => parts.join("")))
      .map((lines) => lines.join(""));
    fc.assert(
      fc.property(text, fc.array(fc.nat()), (whole, places) => {
        const found = dataOf(whole, places);
        expect(found).toEqual(dataOf(whole));
        expect(found.passed).toBe(whole);
      }),
    );
  });

  const STREAMS: readonly (readonly [shape: Shape, events: readonly string[]])[] = [
    ["chat", chatEvents(true)],
    ["responses", responseEvents()],
    ["messages", messageEvents()],
    ["gemini", geminiParts().map((part) => event(part))],
  ];
  test.each(STREAMS)(
    "of %s is worth the same usage wherever it is cut and however its lines end, and the caller gets the very bytes",
    (shape, events) => {
      fc.assert(
        fc.property(fc.array(fc.nat()), fc.constantFrom("\n", "\r\n", "\r"), fc.boolean(), (places, lineEnd, strips) => {
          const spelled = (each: readonly string[]): string => each.join("").replaceAll("\n", lineEnd);
          const usage = usageReader({ shape, body: {} });
          const feed = eventFeed(usage, strips);
          const passed = [...pieces(bytesOf(spelled(events)), places).flatMap(feed.push), ...feed.end()];
          const { input_tokens, output_tokens } = usage.spent()?.tokens ?? {};
          expect([input_tokens, output_tokens]).toEqual([120, 40]);
          // What is taken out is the one event without a choice; of it only the second half of its last line end may stay.
          const left = strips ? events.filter((each) => !each.includes('"choices":[]')) : events;
          expect(textOf(passed).replaceAll(/\r\n/g, "\n").replaceAll(/\n{3}/g, "\n\n")).toBe(spelled(left).replaceAll(/\r\n/g, "\n"));
          if (lineEnd !== "\r\n") expect(textOf(passed)).toBe(spelled(left));
        }),
      );
    },
  );

  test("that is taken something out of keeps an event without a choice that tells of no usage", () => {
    const feed = eventFeed(usageReader({ shape: "chat", body: {} }), true);
    const first = event({ choices: [], prompt_filter_results: [] });
    expect(textOf(feed.push(bytesOf(first)))).toBe(first);
  });

  test("that never ends an event is passed on and not kept", () => {
    const frames = frameReader(100);
    const found = [];
    for (let n = 0; n < 50; n++)
      found.push(frames.push(bytesOf(n === 0 ? "data: 0123" : "0123456789")).map(({ bytes, data }) => [bytes.length, data]));
    // Never more than a hundred bytes are held, and one more piece.
    expect(found.flat()).toEqual(Array(4).fill([110, null]));
    // What comes to an end after that is not taken for a whole event, and the next one is.
    expect(frames.push(bytesOf("\n\ndata: a\n\n")).map(({ data }) => data)).toEqual([null, "a"]);
  });

  test("that is one JSON text is read at its end", () => {
    const usage = usageReader({ shape: "gemini", body: {} });
    const feed = textFeed(usage);
    for (const piece of pieces(bytesOf(JSON.stringify(geminiParts())), [10, 11, 200])) feed.push(piece);
    expect(usage.spent()).toBe(null);
    feed.end();
    expect(usage.spent()?.tokens).toMatchObject({ input_tokens: 120, output_tokens: 40 });
  });
});

describe("a denial", () => {
  const ID = "dec_01890000-0000-7000-8000-000000000001";
  const error = errorFor(
    decisionAnswer({ ...allowed(ID, { action: "llm.openai" }), ...denied("run_budget_exceeded", "No more.", { stops: "run" }) }, ""),
  );
  const denial = denialOf(error);

  test.each<[Shape | undefined, object]>([
    ["chat", { error: { type: "authority_denied", code: "run_budget_exceeded", param: null, decision_id: ID } }],
    ["messages", { type: "error", error: { type: "billing_error", code: "run_budget_exceeded", decision_id: ID } }],
    [
      "gemini",
      { error: { code: 402, status: "PERMISSION_DENIED", details: [{ reason: "run_budget_exceeded", domain: "agentsentinel" }], decision_id: ID } },
    ],
    [undefined, { error: { type: "authority_denied" } }],
  ])("is an answer of the provider's in its shape: %s", async (shape, body) => {
    const response = denialResponse(denial, shape);
    expect([response.status, response.headers.get("x-should-retry"), response.headers.get("x-authority-decision")]).toEqual([402, "false", ID]);
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject(body);
    expect(text).toContain(`(decision ${ID})`);
  });

  const { headers } = denialResponse(denial, "chat");
  const record = Object.fromEntries([...headers]);
  test.each<[where: string, error: unknown]>([
    ["our own error", error],
    ["what JSON made of our own error", JSON.parse(JSON.stringify(error))],
    ["what another error was caused by", new Error("Failed", { cause: new Error("Connection error", { cause: error }) })],
    ["a client's error with the body's", { status: 402, error: { authority: denial } }],
    ["a client's error with the whole body", { status: 402, error: { type: "error", error: { authority: denial } } }],
    ["the AI SDK's data", { data: { error: { authority: denial } } }],
    ["the AI SDK's data that were checked, with headers", { data: { error: { message: "m" } }, responseHeaders: record }],
    ["the AI SDK's body", { data: undefined, responseBody: JSON.stringify({ error: { authority: denial } }) }],
    ["a client's headers", { headers }],
    ["a client's message", new Error(JSON.stringify({ error: { authority: denial } }))],
    ["a client's message with a beginning", new Error(`got status: 402. ${JSON.stringify({ error: { authority: denial } })}`)],
  ])("is found in %s", (_, found) => {
    expect(decisionOf(found)).toEqual(denial);
    expect(isAuthorityError(found)).toBe(true);
  });

  const circular: { cause?: unknown } = {};
  circular.cause = circular;
  const hostile = Object.defineProperty({}, "cause", {
    get() {
      throw new Error("no");
    },
  });
  test.each([
    null,
    undefined,
    7,
    "x",
    "{",
    new Error("x"),
    circular,
    hostile,
    { headers: {} },
    { headers: new Headers() },
    { error: { code: "x" } },
    { message: "100%" },
  ])("is not found in %s", (found) => {
    expect([decisionOf(found), isAuthorityError(found)]).toEqual([null, false]);
  });
});

test.each([
  ["is its own cause", (error: object) => error, 1],
  ["has another cause whenever it is asked", (error: object) => Object.create(error), 101],
])("An error that %s is not looked at for ever.", (_, next, most) => {
  let asked = 0;
  const error: object = Object.defineProperty({}, "cause", {
    get() {
      asked++;
      return next(error);
    },
  });
  expect(decisionOf(error)).toBe(null);
  expect(asked).toBe(most);
});

const price: FetchOptions["price"] = ({ usage }) => (usage.input_tokens * 3 + usage.output_tokens * 15) / 1e6;
/** The code of a denial, as OpenAI's clients read it. */
const codeOf = async (response: Response): Promise<unknown> => Object(Object(await response.json()).error).code;

const CHAT_BODY = { model: "gpt-4o-mini", messages: [], max_tokens: 100 };

/** A session and a provider, with what was committed and what was sent. */
async function room(options: FetchOptions = {}) {
  const gateway = await fakeGateway();
  const provider = await fakeProvider();
  const unsaid: unknown[] = [];
  const { session } = await openFake(gateway, { retries: 0, onCommitFailed: (event) => unsaid.push(event) });
  const guarded = guardFetch(session, { price, ...options });
  return {
    gateway,
    provider,
    session,
    unsaid,
    guarded,
    chat: (more: object = {}, init: RequestInit = {}) =>
      guarded(`${provider.url}/v1/chat/completions`, { method: "POST", body: JSON.stringify({ ...CHAT_BODY, ...more }), ...init }),
    reports: () => gateway.seen.filter(({ path }) => path.endsWith("/commit")).map(({ body }) => body),
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await provider[Symbol.asyncDispose]();
    },
  };
}

describe("guardFetch", () => {
  const CHAT = "/v1/chat/completions";
  const text = JSON.stringify(CHAT_BODY);

  test.each<[what: string, send: (url: string, guarded: typeof fetch) => Promise<Response>]>([
    ["a text", (url, guarded) => guarded(url, { method: "POST", body: text })],
    ["bytes", (url, guarded) => guarded(new URL(url), { method: "post", body: new TextEncoder().encode(text) })],
    ["a buffer", (url, guarded) => guarded(url, { method: "POST", body: Uint8Array.from(new TextEncoder().encode(text)).buffer })],
    ["a Blob", (url, guarded) => guarded(url, { method: "POST", body: new Blob([text]) })],
    ["a stream", (url, guarded) => guarded(url, { method: "POST", body: new Blob([text]).stream(), duplex: "half" } as RequestInit)],
    [
      "a Request",
      (url, guarded) => guarded(new Request(url, { method: "POST", body: text, headers: { "x-own": "1", "content-type": "application/json" } })),
    ],
    [
      "a Request with another body",
      (url, guarded) =>
        guarded(new Request(url, { method: "POST", body: "{}", headers: { "x-own": "1", "content-type": "application/json" } }), { body: text }),
    ],
  ])("reads and sends %s", async (what, send) => {
    await using all = await room();
    const response = await send(`${all.provider.url}${CHAT}`, all.guarded);
    expect([response.status, await response.json()]).toEqual([200, expect.objectContaining({ usage: CHAT_USAGE })]);
    expect(all.provider.seen.map((call) => [call.text, call.headers["content-type"]])).toEqual([[text, "application/json"]]);
    if (what.includes("Request")) expect(all.provider.seen[0]?.headers["x-own"]).toBe("1");
    expect(all.reports()).toMatchObject([{ cost_usd: "0.00096", outcome: "success", usage: { model: "gpt-4o-mini-2024-07-18", input_tokens: 120 } }]);
  });

  test.each<[what: string, body: BodyInit | null]>([
    ["no JSON", "model=gpt"],
    ["no text", new Uint8Array([0x7b, 0xff, 0x7d])],
    ["a form", new FormData()],
    ["nothing", null],
    ["compressed", new Uint8Array([0x1f, 0x8b, 8, 0])],
  ])("denies a model call whose body is %s, and sends nothing", async (_, body) => {
    await using all = await room({ onOther: "pass", onUnavailable: "allow" });
    const response = await all.guarded(`${all.provider.url}${CHAT}`, { method: "POST", body });
    expect([response.status, await codeOf(response)]).toEqual([403, "body_malformed"]);
    expect([all.provider.seen.length, all.gateway.seen.length]).toEqual([0, 0]);
  });

  const IMAGES = ["POST", "/v1/images/generations"] as const;
  const MODELS = ["GET", "/v1/models"] as const;
  const COUNT = ["POST", "/v1/messages/count_tokens"] as const;
  const GEMINI_COUNT = ["POST", "/v1beta/models/gemini-2.5-flash:countTokens"] as const;
  test.each([
    [undefined, [MODELS, COUNT, GEMINI_COUNT], [IMAGES, ["DELETE", "/v1/files/1"]]],
    ["reads", [MODELS, COUNT, GEMINI_COUNT], [IMAGES]],
    ["pass", [MODELS, COUNT, IMAGES], []],
    ["refuse", [], [MODELS, COUNT, IMAGES]],
  ] as const)("where other traffic is to be %s lets pass %j and refuses %j", async (onOther, passing, refused) => {
    await using all = await room({ onOther });
    for (const [method, path] of passing) expect((await all.guarded(all.provider.url + path, { method })).status).toBe(200);
    for (const [method, path] of refused) {
      const response = await all.guarded(all.provider.url + path, { method });
      expect([response.status, await codeOf(response)]).toEqual([403, "traffic_unguarded"]);
    }
    expect(all.provider.seen.map(({ path }) => path)).toEqual(passing.map(([, path]) => path));
    expect(all.gateway.seen).toEqual([]);
  });

  test("hands on the very input and options of what passes", async () => {
    const seen: unknown[] = [];
    await using all = await room({
      fetch: async (...given: unknown[]) => {
        seen.push(...given);
        return new Response("x");
      },
    });
    const [input, init] = [new URL("https://example.com/v1/models"), { headers: { a: "b" } }];
    await all.guarded(input, init);
    expect([seen[0] === input, seen[1] === init]).toEqual([true, true]);
  });

  test("that was made the global one does not call itself", async () => {
    await using all = await room();
    const before = globalThis.fetch;
    try {
      globalThis.fetch = all.guarded;
      expect((await fetch(`${all.provider.url}/v1/models`)).status).toBe(200);
    } finally {
      globalThis.fetch = before;
    }
  });

  test("asks what it says it asks, and shows nothing of what the call says", async () => {
    await using all = await room({ price: undefined, tags: ["chat"], riskLevel: "low", ttlMs: 5000 });
    await all.chat({ messages: [{ role: "user", content: "SECRET" }] });
    const [{ body }] = all.gateway.seen as [FakeGateway["seen"][number]];
    const sent = all.provider.seen[0]?.text ?? "";
    expect(body).toMatchObject({
      action: "llm.other",
      resource: { type: "model", id: "gpt-4o-mini" },
      model: { name: "gpt-4o-mini" },
      usage: { input_tokens: Math.ceil(sent.length / 2), output_tokens: 100, cache_write_tokens: 0 },
      tags: ["chat"],
      risk_level: "low",
      ttl_ms: 5000,
      inputs: { endpoint: "chat", model: "gpt-4o-mini", stream: false, body_digest: expect.stringMatching(/^sha-256:[0-9a-f]{64}$/) },
    });
    expect(body.estimate_usd).toBe(undefined);
    expect(JSON.stringify(all.gateway.seen)).not.toContain("SECRET");
  });

  test.each<[what: string, options: FetchOptions, estimate: string, cost: string | undefined]>([
    ["a price", { price }, "0.001581", "0.00096"],
    ["a most", { maxCostUsd: "0.5" }, "0.5", "0.00096"],
    ["a most of the call", { maxCostUsd: ({ usage }) => usage.output_tokens }, "100", "0.00096"],
    ["a fixed price", { costUsd: 0.25 }, "0.25", "0.25"],
    ["no price afterwards", { price: ({ raw }) => (raw === null ? 0.7 : null) }, "0.7", undefined],
  ])("reserves and charges by %s", async (_, options, estimate, cost) => {
    await using all = await room(options);
    await all.chat();
    expect(all.gateway.seen[0]?.body).toMatchObject({ estimate_usd: estimate });
    const [report] = all.reports();
    expect(report).toMatchObject({ usage: { input_tokens: 120 } });
    // What nobody here knows the gateway reckons.
    expect(report?.cost_usd).toBe(cost);
  });

  test("lets a provider's own word of its cost win, and tells of a price that is none", async () => {
    await using all = await room({
      price: ({ raw }) => {
        if (raw === null) return 0.7;
        throw new Error("No table");
      },
    });
    all.provider.replies.push({ status: 200, json: { choices: [], usage: { ...CHAT_USAGE, cost_in_usd_ticks: 37_756_000 } } });
    await all.chat();
    expect(all.unsaid).toEqual([]);
    await all.chat();
    expect(all.unsaid).toMatchObject([{ action: "llm.other", error: { message: "No table" } }]);
    expect(all.reports()).toMatchObject([{ cost_usd: "0.003776" }, { cost_usd: "0.7" }]);
  });

  test("that cannot tell what a call costs leaves it to the gateway, with all that was used", async () => {
    await using all = await room({ price: undefined });
    all.gateway.answers.set("llm.other", { reservation: { amount_usd: "0.0123", expires_at: "2026-11-22T12:01:00.000Z" } });
    await all.chat();
    const [report, ...more] = all.reports();
    expect(report).toMatchObject({
      usage: { model: expect.any(String), input_tokens: 120, output_tokens: 40, cache_read_tokens: expect.any(Number) },
    });
    expect([report !== undefined && "cost_usd" in report, more]).toEqual([false, []]);
  });

  test.each<[options: FetchOptions]>([
    [
      {
        action: () => {
          throw new Error("broken");
        },
      },
    ],
    [{ costUsd: () => -1 }],
    [
      {
        price: () => {
          // As a program without types may throw it.
          throw Object.create(null);
        },
      },
    ],
    [
      {
        inputs: () => {
          throw new Error("broken");
        },
      },
    ],
  ])("turns a fault of its own options into a denial: %j", async (options) => {
    await using all = await room({ ...options, onUnavailable: "allow" });
    const response = await all.chat();
    expect([response.status, await codeOf(response), all.provider.seen.length]).toEqual([403, "guard_failed", 0]);
  });

  test.each([{ bytesPerToken: 0 }, { bytesPerToken: Number.NaN }, { defaultMaxOutputTokens: -1 }])(
    "throws for %j, which can never work",
    async (options) => {
      await using all = await room();
      expect(() => guardFetch(all.session, options)).toThrow(RangeError);
      expect(() => guardFetch(Object.create(all.session))).toThrow(TypeError);
    },
  );

  test("keeps what an answer says of itself, but for its bytes", async () => {
    await using all = await room();
    const response = await all.chat();
    const { body } = { body: await response.clone().text() };
    expect([response.url, response.status, response.ok, response.type, response.redirected, response.headers.get("x-request-id")]).toEqual([
      `${all.provider.url}${CHAT}`,
      200,
      true,
      "basic",
      false,
      "req_provider",
    ]);
    expect([response.headers.has("content-length"), response.clone().url]).toEqual([false, response.url]);
    expect([await response.text(), response.bodyUsed]).toEqual([body, true]);
  });

  test("gives a stream that can be read by a reader with its own buffer", async () => {
    await using all = await room();
    const response = await all.chat({ stream: true });
    const reader = response.body?.getReader({ mode: "byob" });
    const found: Uint8Array[] = [];
    for (;;) {
      const { done, value } = (await reader?.read(new Uint8Array(16))) ?? { done: true, value: undefined };
      if (value !== undefined) found.push(value);
      if (done) break;
    }
    expect(Buffer.concat(found).toString()).not.toContain('"choices":[]');
    expect(Buffer.concat(found).toString()).toContain("[DONE]");
    expect(all.reports()).toMatchObject([{ cost_usd: "0.00096" }]);
  });

  test("asks a chat stream for its usage, unless told not to or asked itself, and changes nothing else", async () => {
    await using all = await room();
    const unasked = guardFetch(all.session, { price, includeUsage: false });
    const texts = [
      // The caller counted the body that it made.
      await (await all.chat({ stream: true, stream_options: { include_obfuscation: false } }, { headers: { "content-length": "120" } })).text(),
      await (await all.chat({ stream: true, stream_options: { include_usage: true } })).text(),
      await (await unasked(`${all.provider.url}${CHAT}`, { method: "POST", body: JSON.stringify({ ...CHAT_BODY, stream: true }) })).text(),
    ];
    expect(texts.map((each) => each.includes('"choices":[]'))).toEqual([false, true, false]);
    expect(all.provider.seen.map(({ body }) => body)).toEqual([
      { ...CHAT_BODY, stream: true, stream_options: { include_obfuscation: false, include_usage: true } },
      { ...CHAT_BODY, stream: true, stream_options: { include_usage: true } },
      { ...CHAT_BODY, stream: true },
    ]);
    expect(all.reports().map(({ cost_usd }) => cost_usd)).toEqual(["0.00096", "0.00096", all.gateway.seen.at(-2)?.body.estimate_usd ?? null]);
  });

  test.each([
    [500, "0", "error"],
    [429, "0", "error"],
    [302, "0", "error"],
    [504, "reserved", "error"],
    [524, "reserved", "error"],
  ])("a provider's %d costs %s, and reaches the caller as it is", async (status, cost, outcome) => {
    await using all = await room();
    all.provider.replies.push({ status, json: { error: { message: "No." } } });
    const response = await all.chat({}, { redirect: "manual" });
    expect([response.status, await response.json()]).toEqual([status, { error: { message: "No." } }]);
    const reserved = all.gateway.seen[0]?.body.estimate_usd;
    expect(all.reports()).toMatchObject([{ cost_usd: cost === "reserved" ? reserved : cost, outcome, error: `HTTP ${status}` }]);
  });

  test("a stream that says that it failed is an error, and costs what was reserved", async () => {
    await using all = await room();
    const failed = event({ type: "error", error: { type: "overloaded_error", message: "Overloaded" } }, "error");
    all.provider.replies.push({ pieces: [...messageEvents().slice(0, 2), failed] });
    const response = await all.guarded(`${all.provider.url}/v1/messages`, { method: "POST", body: JSON.stringify({ ...CHAT_BODY, stream: true }) });
    expect(await response.text()).toContain("overloaded_error");
    expect(all.reports()).toMatchObject([{ outcome: "error", error: "Overloaded", cost_usd: all.gateway.seen[0]?.body.estimate_usd }]);
  });

  test("a stream that breaks gives its reader the break, and costs what was reserved", async () => {
    await using all = await room();
    all.provider.replies.push({ pieces: chatEvents(false).slice(0, 1), ending: "break" });
    const response = await all.chat({ stream: true });
    await expect(response.text()).rejects.toThrow(TypeError);
    expect(all.reports()).toMatchObject([{ outcome: "error", cost_usd: all.gateway.seen[0]?.body.estimate_usd }]);
  });

  describe("and the caller's own signal", () => {
    test("that is aborted already: nothing is asked or sent", async () => {
      await using all = await room();
      const reason = new Error("the caller's");
      await expect(all.chat({}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      // Whatever was sent to the gateway has come before this.
      await all.session.read();
      expect([all.gateway.seen.length, all.provider.seen.length]).toEqual([1, 0]);
    });

    test("that aborts while it is decided: nothing is sent, and what may be reserved is given back", async () => {
      await using all = await room();
      const stop = new AbortController();
      const reason = new Error("the caller's");
      const { time } = await openFake(all.gateway);
      const { session }: { session: Session } = await openFake(all.gateway, {
        ...time,
        fetch: async (url, init) => {
          const response = await time.fetch(url, init);
          if (/decisions$/.test(url)) stop.abort(reason);
          return response;
        },
      });
      const asking = guardFetch(session, { price })(new Request(`${all.provider.url}${CHAT}`, { method: "POST", body: text, signal: stop.signal }));
      await expect(asking).rejects.toBe(reason);
      await expect.poll(() => [...all.gateway.decisions.values()].map(({ state }) => state)).toEqual(["released"]);
      expect(all.provider.seen).toEqual([]);
    });

    test("that aborts as the answer is read: nothing is sent, and the money is given back", async () => {
      await using all = await room();
      const stop = new AbortController();
      const reason = new Error("the caller's");
      const { session } = await openFake(all.gateway, { onDecision: () => stop.abort(reason) });
      await expect(guardFetch(session, { price })(all.provider.url + CHAT, { method: "POST", body: text, signal: stop.signal })).rejects.toBe(reason);
      await expect.poll(() => [...all.gateway.decisions.values()].map(({ state }) => state)).toEqual(["released"]);
      expect(all.provider.seen).toEqual([]);
    });

    test("that aborts before the provider answers: the reason is the caller's, and what was reserved is charged", async () => {
      await using all = await room();
      all.provider.replies.push("silent");
      const stop = new AbortController();
      const reason = new Error("the caller's");
      all.provider.arrived = () => stop.abort(reason);
      await expect(all.chat({}, { signal: stop.signal })).rejects.toBe(reason);
      expect(all.reports()).toMatchObject([{ outcome: "error", cost_usd: all.gateway.seen[0]?.body.estimate_usd }]);
      await expect.poll(all.provider.dropped).toBe(1);
    });

    test("that aborts within a stream: the reader gets the caller's reason, and the provider is let go", async () => {
      await using all = await room();
      all.provider.replies.push({ pieces: chatEvents(false).slice(0, 1), ending: "hang" });
      const stop = new AbortController();
      const reason = new Error("the caller's");
      const response = await all.chat({ stream: true }, { signal: stop.signal });
      const reader = response.body?.getReader();
      await reader?.read();
      const reading = reader?.read();
      stop.abort(reason);
      await expect(reading).rejects.toBe(reason);
      await expect.poll(all.provider.dropped).toBe(1);
      await expect.poll(all.reports).toHaveLength(1);
    });
  });

  describe("and a kill", () => {
    test("that is told while its answer travels: nothing is sent, and the money is given back", async () => {
      await using all = await room();
      const reason = new Error("stopped by hand");
      const { time } = await openFake(all.gateway);
      const { session }: { session: Session } = await openFake(all.gateway, {
        ...time,
        fetch: async (url, init) => {
          const response = await time.fetch(url, init);
          if (/decisions$/.test(url)) session.stop(reason, ({ action }) => action === "llm.other");
          return response;
        },
      });
      const response = await guardFetch(session, { price })(`${all.provider.url}${CHAT}`, { method: "POST", body: text });
      expect(await response.json()).toMatchObject({ error: { code: "stopped", message: expect.stringContaining("stopped by hand") } });
      await expect.poll(() => [...all.gateway.decisions.values()].map(({ state }) => state)).toEqual(["released"]);
      expect(all.provider.seen).toEqual([]);
    });

    test("before the provider answers: it is a denial and no rejection, and what was reserved is charged", async () => {
      await using all = await room();
      all.provider.replies.push("silent");
      all.provider.arrived = () => all.session.stop(new Error("stopped by hand"));
      const response = await all.chat();
      expect([response.status, await codeOf(response)]).toEqual([403, "stopped"]);
      expect(all.reports()).toMatchObject([{ outcome: "error", cost_usd: all.gateway.seen[0]?.body.estimate_usd }]);
    });

    test("of the session that came before: nothing is asked and nothing is sent", async () => {
      await using all = await room({ onUnavailable: "allow" });
      all.session.stop(new Error("stopped by hand"));
      const response = await all.chat();
      expect([response.status, await codeOf(response)]).toEqual([403, "stopped"]);
      expect([all.gateway.count(/decisions/), all.provider.seen]).toEqual([0, []]);
    });

    test("of another action leaves a stream alone; a check finds the kill of its own", async () => {
      await using all = await room();
      all.provider.replies.push({ pieces: chatEvents(false).slice(0, 1), ending: "hang" });
      const response = await all.chat({ stream: true });
      const reading = response.text().catch((thrown: unknown) => thrown);
      all.session.stop(new Error("not this one"), ({ action }) => action === "another");
      await all.session.check();
      expect(all.reports()).toEqual([]);
      const [decision] = all.gateway.decisions.values();
      Object.assign(decision ?? {}, { superseded: { intervention: "int_1", kind: "kill" } });
      await all.session.check();
      expect(await reading).toMatchObject({ name: "AgentKilledError", code: "superseded" });
      await expect.poll(all.reports).toHaveLength(1);
      // What has ended is asked for no more.
      all.gateway.seen.length = 0;
      await all.session.check();
      expect(all.gateway.count(/decisions/)).toBe(0);
    });

    test("of a run: the end of its budget, which is no kill, lets a stream finish", async () => {
      await using all = await room();
      all.gateway.answers.set("other", denied("run_budget_exceeded", "Gone.", { stops: "run" }));
      const response = await all.chat({ stream: true });
      await all.session.decide({ action: "other" });
      expect(all.session.signal.aborted).toBe(true);
      expect(await response.text()).toContain("[DONE]");
      expect(all.reports()).toMatchObject([{ cost_usd: "0.00096" }]);
    });
  });

  test.each([
    ["run", denied("run_killed", "Killed.", { stops: "run" })],
    ["session", denied("tenant_killed", "Killed.", { stops: "session" })],
  ])("sends nothing without an answer once its %s is known to be over, whatever its options say", async (_, answer) => {
    await using all = await room({ onUnavailable: "allow" });
    all.gateway.answers.set("other", answer);
    all.gateway.fates.push("did nothing");
    expect((await all.chat()).status).toBe(200);
    await all.session.decide({ action: "other" });
    all.gateway.fates.push("did nothing");
    expect([(await all.chat()).status, all.provider.seen.length]).toEqual([403, 1]);
  });

  test("under obligations that nobody here keeps is denied, and the money is given back", async () => {
    await using all = await room();
    all.gateway.answers.set("llm.other", { obligations: [{ type: "log" }] });
    expect(await codeOf(await all.chat())).toBe("obligation_unknown");
    await expect.poll(() => [...all.gateway.decisions.values()].map(({ state }) => state)).toEqual(["released"]);
    expect(all.provider.seen).toEqual([]);
  });

  test("leaves the caller's own request as it was", async () => {
    await using all = await room();
    const request = new Request(`${all.provider.url}${CHAT}`, { method: "POST", body: text });
    await all.guarded(request);
    expect([request.bodyUsed, await request.text()]).toEqual([false, text]);
  });

  test("shows who must approve where", async () => {
    await using all = await room();
    all.gateway.answers.set("llm.other", held());
    const response = await all.chat();
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({
      error: { code: "approval_required", authority: { approval: { url: expect.stringMatching(/^https:\/\/gate.test/) } } },
    });
  });

  test.each([
    ["did nothing", "gateway_unavailable"],
    ["did it", "gateway_unavailable"],
    [{ status: 503 }, "gateway_unavailable"],
    [{ status: 401 }, "problem_malformed"],
    [{ status: 500 }, "problem_malformed"],
  ] as const)("sends nothing where the gateway's answer is %j, and lets a refusal through for no option", async (fate, code) => {
    await using all = await room({ onUnavailable: code === "gateway_unavailable" ? "deny" : "allow" });
    all.gateway.fates.push(fate);
    const response = await all.chat();
    expect([response.status, await codeOf(response), all.provider.seen.length]).toEqual([403, code, 0]);
    if (fate === "did it") await expect.poll(() => [...all.gateway.decisions.values()].map(({ state }) => state)).toEqual(["released"]);
  });
});
