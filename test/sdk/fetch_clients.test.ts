import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { decisionOf, type FetchOptions, guardFetch, isAuthorityError } from "../../sdk/src/fetch.ts";
import { createSentinel, type DecisionAnswer, isAgentSentinelError, type Session, type SessionDetail } from "../../sdk/src/index.ts";
import { follow } from "../../sdk/src/live.ts";
import { ask, CAN_SEE_PROCESSES, type OwnGateway, ownGateway } from "../local/gateway.ts";
import { chatEvents, fakeProvider, messageEvents, type Provider } from "./fetch_provider.ts";

const POLICY = `
version: 1
name: demo
budgets: { session: 10, actions: { llm.poor: 0.000001 } }
denied_actions: [llm.denied]
rate_limits: { llm.rare: { max_count: 1, window_seconds: 3600 } }
approvals: { actions: [llm.held] }
`;

/** 120 tokens in and 40 out, at 3 and 15 USD for a million, are 0.00096 USD. */
const price: FetchOptions["price"] = ({ usage }) => (usage.input_tokens * 3 + usage.output_tokens * 15) / 1e6;
const COST = "0.00096";
const HELLO = [{ role: "user" as const, content: "Say hello." }];

/** The real clients, as their makers ship them, with the real gateway; only the models are ours. */
describe.skipIf(!CAN_SEE_PROCESSES)("with a real gateway", () => {
  let gateway: OwnGateway;
  let provider: Provider;
  let session: Session;
  const decisions: DecisionAnswer[] = [];
  const unsaid: unknown[] = [];

  const sentinel = (options: { readonly token?: string; readonly url?: string; readonly retries?: number } = {}) =>
    createSentinel({
      url: gateway.url,
      token: gateway.agent,
      onDecision: (decision) => decisions.push(decision),
      onCommitFailed: (event) => unsaid.push(event),
      ...options,
    });

  beforeAll(async () => {
    gateway = await ownGateway();
    expect((await ask(gateway.url, gateway.operator, "PUT", "/v1/policies/demo", POLICY)).status).toBe(201);
  }, 120_000);
  afterAll(async () => {
    await gateway?.end();
  });
  beforeEach(async () => {
    provider = await fakeProvider();
    session = await sentinel().openSession();
  });
  afterEach(async () => {
    await provider[Symbol.asyncDispose]();
    expect(unsaid.splice(0)).toEqual([]);
    decisions.length = 0;
  });

  const openai = (options: FetchOptions = {}, more: { readonly maxRetries?: number } = {}) =>
    new OpenAI({ apiKey: "key", baseURL: `${provider.url}/v1`, fetch: guardFetch(session, { price, ...options }), ...more });
  const anthropic = (options: FetchOptions = {}) =>
    new Anthropic({ apiKey: "key", baseURL: provider.url, fetch: guardFetch(session, { price, ...options }) });
  const google = (options: FetchOptions = {}) =>
    new GoogleGenAI({ apiKey: "key", httpOptions: { baseUrl: provider.url, fetch: guardFetch(session, { price, ...options }) } });

  /** What the gateway's book says of it all. */
  const book = async (): Promise<Pick<SessionDetail["totals"], "postedUsd" | "pendingUsd"> & { readonly allowed: number }> => {
    const { totals } = await session.read();
    return { postedUsd: totals.postedUsd, pendingUsd: totals.pendingUsd, allowed: totals.decisions.allow };
  };
  const paid = (postedUsd: string, allowed = 1) => ({ postedUsd, pendingUsd: "0", allowed });
  /** What its ledger says of how each call ended. */
  const ends = async (): Promise<readonly Record<string, unknown>[]> => {
    const { body } = await ask(gateway.url, gateway.operator, "GET", `/v1/ledger?session=${session.id}&kind=commit`);
    return body.items;
  };

  const chat = { model: "gpt-4o-mini", messages: HELLO, max_completion_tokens: 100 };
  const message = { model: "claude-opus-5", messages: HELLO, max_tokens: 100 };
  const gemini = { model: "gemini-2.5-flash", contents: "Say hello.", config: { maxOutputTokens: 100 } };

  const CALLS: readonly (readonly [name: string, call: (options?: FetchOptions) => Promise<unknown>, cost: string])[] = [
    ["OpenAI's chat", async (options) => (await openai(options).chat.completions.create(chat)).choices[0]?.message.content, COST],
    [
      "OpenAI's chat stream",
      async (options) => {
        const parts = [];
        for await (const part of await openai(options).chat.completions.create({ ...chat, stream: true })) parts.push(part);
        // Nobody asked for usage, so there is no part without a choice.
        expect(parts.map(({ choices }) => choices.length)).toEqual([1, 1, 1]);
        return parts.map(({ choices }) => choices[0]?.delta.content ?? "").join("");
      },
      COST,
    ],
    [
      "OpenAI's chat stream that asked for its usage itself",
      async (options) => {
        const stream = await openai(options).chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } });
        const parts = [];
        for await (const part of stream) parts.push(part);
        expect(parts.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 120 } });
        return parts.map(({ choices }) => choices[0]?.delta.content ?? "").join("");
      },
      COST,
    ],
    [
      "OpenAI's chat stream helper",
      async (options) => {
        return (await openai(options).chat.completions.stream(chat).finalChatCompletion()).choices[0]?.message.content;
      },
      COST,
    ],
    [
      "OpenAI's responses",
      async (options) => (await openai(options).responses.create({ model: "gpt-4o-mini", input: "Say hello.", max_output_tokens: 100 })).output_text,
      COST,
    ],
    [
      "OpenAI's responses stream",
      async (options) => {
        let text = "";
        for await (const event of await openai(options).responses.create({ model: "gpt-4o-mini", input: "Say hello.", stream: true })) {
          if (event.type === "response.output_text.delta") text += event.delta;
        }
        return text;
      },
      COST,
    ],
    [
      "OpenAI's embeddings",
      async (options) => {
        const { data } = await openai(options).embeddings.create({ model: "text-embedding-3-small", input: "Hello", encoding_format: "float" });
        return data[0]?.embedding[0] === 0.5 && "Hello";
      },
      "0.00036",
    ],
    [
      "Anthropic's messages",
      async (options) => {
        const [block] = (await anthropic(options).messages.create(message)).content;
        return block?.type === "text" && block.text;
      },
      COST,
    ],
    [
      "Anthropic's message stream",
      async (options) => {
        const [block] = (await anthropic(options).messages.stream(message).finalMessage()).content;
        return block?.type === "text" && block.text;
      },
      COST,
    ],
    ["Gemini", async (options) => (await google(options).models.generateContent(gemini)).text, COST],
    [
      "Gemini's stream",
      async (options) => {
        let text = "";
        for await (const part of await google(options).models.generateContentStream(gemini)) text += part.text;
        return text;
      },
      COST,
    ],
  ];

  test.each(CALLS)("%s is decided, sent once, and paid to the micro-dollar", async (_, call, cost) => {
    expect(await call()).toBe("Hello");
    expect(provider.seen).toHaveLength(1);
    expect(await book()).toEqual(paid(cost));
    const [end, ...more] = await ends();
    expect(more).toEqual([]);
    expect(end).toMatchObject({ outcome: "success", cost_usd: cost, usage: { input_tokens: 120, output_tokens: cost === COST ? 40 : 0 } });
  });

  test.each(CALLS)("%s is priced by the gateway where nobody else does, before and after", async (_, call) => {
    expect(await call({ price: undefined, provider: /Anthropic/.test(_) ? "anthropic" : /Gemini/.test(_) ? "google" : "openai" })).toBe("Hello");
    const reserved = Number(decisions.at(-1)?.reservation?.amountUsd);
    const { postedUsd, pendingUsd } = await book();
    expect([Number(postedUsd) > 0, Number(postedUsd) === reserved, pendingUsd]).toEqual([true, false, "0"]);
    expect(await ends()).toMatchObject([{ price: { basis: "computed", known: true } }]);
  });

  /** Every way in which a call is not let through, and what a client is told of it. */
  const NOES = [
    ["the policy denies it", "llm.denied", 403, { name: "PolicyViolationError", code: "action_denied" }],
    ["its budget does not cover it", "llm.poor", 402, { name: "BudgetExceededError", code: "action_budget_exceeded" }],
    ["there were too many", "llm.rare", 403, { name: "RateLimitError", code: "rate_exceeded" }],
    ["a person must approve it", "llm.held", 403, { name: "ApprovalRequiredError", code: "approval_required" }],
  ] as const;

  test.each(NOES.flatMap((no) => CALLS.map((call) => [call[0], no[0], no, call[1]] as const)))(
    "%s is asked for once and not sent when %s",
    async (_, __, [, action, status, denial], call) => {
      if (action === "llm.rare") await session.decide({ action });
      decisions.length = 0;
      const error = await call({ action }).catch((thrown: unknown) => thrown);
      expect(error).toMatchObject({ status });
      expect([isAuthorityError(error), decisions.length, provider.seen.length]).toEqual([true, 1, 0]);
      const found = decisionOf(error);
      expect(found).toMatchObject({ ...denial, decisionId: decisions[0]?.id, session: session.id, run: session.run });
      expect(isAgentSentinelError(found, denial.name)).toBe(true);
      if (action === "llm.held") {
        expect(found?.approval?.url).toMatch(/^http.*apr_/);
        expect(String(error)).toContain(`agentsentinel approvals show ${found?.approval?.id}`);
      } else expect(found?.approval).toBe(null);
      if (action === "llm.rare") expect(found?.remediation.retryAfterMs).toBeGreaterThan(3_000_000);
    },
  );

  test.each(CALLS)("%s is not sent when the gateway is gone, and sent when the options say so", async (_, call) => {
    const unreachable = await closedPort();
    const here = session;
    const unguarded: unknown[] = [];
    // The same session, asked for through an address where nobody listens.
    let isGone = false;
    session = await createSentinel({
      url: gateway.url,
      token: gateway.agent,
      retries: 0,
      onUnguarded: (event) => unguarded.push(event),
      fetch: (url, init) => fetch(isGone ? url.replace(gateway.url, unreachable) : url, init),
    }).session(here.id);
    isGone = true;
    const error = await call().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 403 });
    expect(decisionOf(error)).toMatchObject({ name: "GatewayUnavailableError", code: "gateway_unavailable", decisionId: null });
    expect([provider.seen.length, unguarded.length]).toEqual([0, 0]);
    expect(await call({ onUnavailable: "allow" })).toBe("Hello");
    expect([provider.seen.length, unguarded.length]).toEqual([1, 1]);
    session = here;
    expect(await book()).toEqual(paid("0", 0));
  });

  test("a provider's errors cost nothing, and each retry of a client is an attempt of its own", async () => {
    provider.replies.push({ status: 500, headers: { "retry-after-ms": "1" }, json: { error: { message: "Overloaded" } } });
    await openai().chat.completions.create(chat);
    expect(provider.seen).toHaveLength(2);
    expect(new Set(decisions.map(({ id }) => id)).size).toBe(2);
    expect(await book()).toEqual(paid(COST, 2));
    expect((await ends()).map(({ outcome, cost_usd, error }) => [outcome, cost_usd, error])).toEqual([
      ["success", COST, null],
      ["error", "0", "HTTP 500"],
    ]);
  });

  test("a client's error is the provider's own where the provider says no", async () => {
    provider.replies.push({
      status: 400,
      json: { error: { message: "No such parameter.", code: "unknown_parameter", type: "invalid_request_error" } },
    });
    const error = await openai()
      .chat.completions.create(chat)
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ status: 400, code: "unknown_parameter" });
    expect([decisionOf(error), isAuthorityError(error)]).toEqual([null, false]);
    expect(await book()).toEqual(paid("0"));
  });

  test("a connection that dies under an attempt costs what was reserved: nobody knows what the model did", async () => {
    provider.replies.push("broken");
    await openai({}, { maxRetries: 1 }).chat.completions.create(chat);
    const reserved = Number(decisions[0]?.reservation?.amountUsd);
    expect(provider.seen).toHaveLength(2);
    const { postedUsd, pendingUsd } = await book();
    expect([Number(postedUsd), pendingUsd]).toEqual([Number((reserved + 0.00096).toFixed(6)), "0"]);
  });

  test("nothing is charged for what could not be sent", async () => {
    const gone = new OpenAI({ apiKey: "key", baseURL: await closedPort(), fetch: guardFetch(session, { price }), maxRetries: 0 });
    await expect(gone.chat.completions.create(chat)).rejects.toThrow("Connection error");
    expect(await book()).toEqual(paid("0"));
  });

  test.each([
    ["its usage was told", chatEvents(true).length - 1, COST],
    ["nothing was told of it", 1, null],
  ])("a stream that its reader leaves after %s costs that, and the provider is let go at once", async (_, pieces, cost) => {
    provider.replies.push({ pieces: chatEvents(true).slice(0, pieces), ending: "hang" });
    const stream = await openai().chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } });
    let seen = 0;
    for await (const _part of stream) if (++seen === pieces) break;
    await expect.poll(async () => await book()).toEqual(paid(cost ?? String(decisions[0]?.reservation?.amountUsd)));
    await expect.poll(provider.dropped).toBe(1);
  });

  test("a message that is left early costs what was reserved, although its first event tells of usage", async () => {
    provider.replies.push({ pieces: messageEvents().slice(0, 3), ending: "hang" });
    for await (const part of await anthropic().messages.create({ ...message, stream: true })) if (part.type === "content_block_delta") break;
    await expect.poll(async () => await book()).toEqual(paid(String(decisions[0]?.reservation?.amountUsd)));
    await expect.poll(provider.dropped).toBe(1);
  });

  test.each(["session", "action"] as const)("a kill of the %s ends a stream at once, with our own error, and lets the provider go", async (type) => {
    await using _following = follow(sentinel(), session);
    provider.replies.push({ pieces: chatEvents(false).slice(0, 1), ending: "hang" });
    const action = `llm.kill_${type}`;
    const stream = await openai({ action }).chat.completions.create({ ...chat, stream: true });
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const part of stream) seen.push(part);
    })().catch((thrown: unknown) => thrown);
    await expect.poll(() => seen.length).toBe(1);
    const target = { type, id: type === "session" ? session.id : action };
    await ask(gateway.url, gateway.operator, "POST", "/v1/interventions", { target, kind: "kill", reason: "a test" });
    const error = await reading;
    expect(isAgentSentinelError(error, "AgentKilledError") && error.code).toBe(`${type}_killed`);
    expect(decisionOf(error)).toMatchObject({ name: "AgentKilledError", code: `${type}_killed` });
    expect(session.signal.aborted).toBe(type === "session");
    await expect.poll(provider.dropped).toBe(1);
    // What it did until then is paid.
    await expect.poll(async () => await book()).toEqual(paid(String(decisions[0]?.reservation?.amountUsd)));
  });

  test("a kill before the provider has answered is a denial, and no client tries it again", async () => {
    await using _following = follow(sentinel(), session);
    provider.replies.push("silent");
    const arrived = new Promise<void>((resolve) => {
      provider.arrived = resolve;
    });
    const asking = openai()
      .chat.completions.create(chat)
      .catch((thrown: unknown) => thrown);
    await arrived;
    await ask(gateway.url, gateway.operator, "POST", "/v1/interventions", {
      target: { type: "session", id: session.id },
      kind: "kill",
      reason: "a test",
    });
    const error = await asking;
    expect(error).toMatchObject({ status: 403 });
    // By the event itself, or by the check that `follow` begins with, whichever is heard first.
    expect(decisionOf(error)).toMatchObject({ name: "AgentKilledError", code: expect.stringMatching(/^(session_killed|superseded)$/) });
    expect([provider.seen.length, decisions.length]).toEqual([1, 1]);
    await expect.poll(provider.dropped).toBe(1);
  });

  test("what is approved is sent when it is asked for with the approval", async () => {
    const options = { action: "llm.held" };
    const error = await openai(options)
      .chat.completions.create(chat)
      .catch((thrown: unknown) => thrown);
    const { id } = decisionOf(error)?.approval ?? { id: "" };
    const { body } = await ask(gateway.url, gateway.operator, "GET", `/v1/approvals/${id}`);
    await ask(gateway.url, gateway.operator, "POST", `/v1/approvals/${id}/decide`, { decision: "approve", action_digest: body.action_digest });
    await openai({ ...options, approval: id }).chat.completions.create(chat);
    expect(provider.seen).toHaveLength(1);
    // It was given for one call, and for this one.
    const again = await openai({ ...options, approval: id })
      .chat.completions.create(chat)
      .catch((thrown: unknown) => thrown);
    expect(decisionOf(again)).toMatchObject({ name: "ApprovalRejectedError", code: "approval_consumed" });
  });

  test("a model whose price nobody knows is denied, and not taken to be free", async () => {
    const error = await openai({ price: undefined })
      .chat.completions.create({ ...chat, model: "nobodys-model-1" })
      .catch((thrown: unknown) => thrown);
    expect(decisionOf(error)).toMatchObject({ code: "price_unknown" });
    expect(provider.seen).toHaveLength(0);
  });

  test("forty calls at once spend no more than the budget", async () => {
    session = await sentinel().openSession({ budgetUsd: "0.0096" });
    const client = openai({ maxCostUsd: COST }, { maxRetries: 0 });
    const calls = await Promise.allSettled(Array.from({ length: 40 }, () => client.chat.completions.create(chat)));
    const sent = calls.filter(({ status }) => status === "fulfilled").length;
    expect([sent, provider.seen.length]).toEqual([10, 10]);
    expect(await book()).toEqual(paid("0.0096", 10));
  });
});

/** An address where nobody listens. */
async function closedPort(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}
