import { type Cases, type Fault, identical, type Opened, refused, type Stage, same, thrown, until } from "./check.ts";

/** Calls to models over a guarded fetch: `@agentsentinel/sdk/fetch`, against a provider on loopback that answers as OpenAI does. */

interface ChatAnswer {
  readonly choices: readonly { readonly message: { readonly content: string } }[];
  readonly usage: { readonly completion_tokens: number };
}

type Options = Parameters<Stage["fetch"]["guardFetch"]>[1];

/** What tokens cost, so that what is charged follows from what was used. */
const price = ({ usage }: { readonly usage: { readonly input_tokens?: number; readonly output_tokens?: number } }): number =>
  ((usage.input_tokens ?? 0) + 4 * (usage.output_tokens ?? 0)) / 1_000_000;

/** A client with a guarded fetch, and what the provider was asked. `way`: how the provider answers. */
async function caller(stage: Stage, options: Options = {}, way: "provider" | "endless" = "provider", fault?: Fault) {
  const opened: Opened = fault === undefined ? await stage.open() : await stage.openOn(fault, { timeoutMs: 5_000 });
  const name = crypto.randomUUID();
  const base = `${stage.world.wire}/${way}/${name}`;
  const guarded = stage.fetch.guardFetch(opened.session, { price, ...options });
  const chat = (more: object = {}, init: RequestInit = {}): Promise<Response> =>
    guarded(`${base}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: "Bearer of-the-provider" },
      body: JSON.stringify({ model: "gpt-4o-mini", max_tokens: 1000, messages: [{ role: "user", content: "Hello" }], ...more }),
      ...init,
    });
  const asked = async (): Promise<readonly string[]> => {
    const seen: readonly string[] = await (await fetch(`${stage.world.wire}/seen/${name}`)).json();
    return seen.filter((line) => !line.startsWith("OPTIONS"));
  };
  return { ...opened, base, guarded, chat, asked };
}

/** A thousand tokens of output were reserved, and forty used. */
async function paidLess({ last }: Opened): Promise<void> {
  const { state, postedUsd, reservation } = await last();
  const [paid, reserved] = [Number(postedUsd), Number(reservation?.amountUsd)];
  same([state, paid > 0 && paid < reserved / 2], ["posted", true], `Of ${paid} paid and ${reserved} reserved, that it`);
}

/** Reads the first piece of an answer. What it gives waits until the rest breaks off, and gives why. */
async function begun({ body }: Response): Promise<() => Promise<unknown>> {
  if (body === null) throw new Error("The answer has no body");
  const reader = body.getReader();
  same((await reader.read()).done, false);
  const rest = async (): Promise<unknown> => {
    for (;;) if ((await reader.read()).done) return "It came to its end";
  };
  const ended = thrown(rest());
  // It is listened to before it is waited for.
  ended.catch(() => undefined);
  return () => ended;
}

export const calling: Cases = {
  async "a model call is asked for, sent, and charged what it used"(stage) {
    const client = await caller(stage);
    const response = await client.chat();
    const { choices, usage }: ChatAnswer = await response.json();
    same([response.status, choices[0]?.message.content, usage.completion_tokens], [200, "Hello", 40]);
    same([client.decisions.length, client.decisions[0]?.action, (await client.asked()).length], [1, "llm.other", 1]);
    await paidLess(client);
    return undefined;
  },

  async "a streamed answer passes as it comes, and is charged at its end"(stage) {
    const client = await caller(stage);
    const response = await client.chat({ stream: true });
    same([response.status, (await client.last()).state], [200, "pending"]);
    const text = await response.text();
    const pieces = [...text.matchAll(/"content":"(\w+)"/g)].map(([, piece]) => piece);
    // The usage that the guard asked for, and the caller did not, is not shown.
    same([pieces, text.includes("prompt_tokens"), text.endsWith("data: [DONE]\n\n")], [["Hel", "lo"], false, true]);
    await paidLess(client);
    return undefined;
  },

  async "a Request is as good as an address"(stage) {
    const client = await caller(stage);
    const body = JSON.stringify({ model: "gpt-4o-mini", max_tokens: 10, messages: [] });
    const request = new Request(`${client.base}/v1/chat/completions`, { method: "POST", headers: { "content-type": "application/json" }, body });
    const response = await client.guarded(request);
    const { usage }: ChatAnswer = await response.json();
    same([response.status, usage.completion_tokens, (await client.last()).state], [200, 40, "posted"]);
    return undefined;
  },

  async "a call that is denied is an answer in the provider's shape, and is never sent"(stage) {
    const client = await caller(stage, { maxCostUsd: "4" });
    const response = await client.chat();
    const body = await response.json();
    const denial = stage.fetch.decisionOf(body);
    same([response.status, denial?.name, denial?.code], [402, "BudgetExceededError", "action_budget_exceeded"]);
    same([stage.fetch.isAuthorityError(body), await client.asked()], [true, []]);
    return undefined;
  },

  async "what only reads passes, and what may cost money and is not known is not sent"(stage) {
    const client = await caller(stage);
    same((await client.guarded(`${client.base}/v1/models`)).status, 200);
    const refusal = await client.guarded(`${client.base}/v1/images/generations`, { method: "POST", body: "{}" });
    same([refusal.status, stage.fetch.decisionOf(await refusal.json())?.code], [403, "traffic_unguarded"]);
    same([(await client.asked()).length, client.decisions.length], [1, 0]);
    return undefined;
  },

  async "a caller who no longer wants the answer gets the reason of their own signal, and the call is charged"(stage) {
    const client = await caller(stage, {}, "endless");
    const controller = new AbortController();
    const reason = new Error("mine");
    const early = await thrown(client.chat({}, { signal: AbortSignal.abort(reason) }));
    identical(early, reason);
    const response = await client.chat({ stream: true }, { signal: controller.signal });
    const broken = await begun(response);
    controller.abort(reason);
    await broken();
    await until(async () => (await client.last()).state === "posted", "it is charged");
    return undefined;
  },

  async "a session that is stopped stops the answer that is on its way"(stage) {
    const client = await caller(stage, {}, "endless");
    const response = await client.chat({ stream: true });
    const broken = await begun(response);
    await stage.desk("POST", "/v1/interventions", { kind: "kill", target: { type: "session", id: client.session.id }, reason: "for the test" });
    await client.session.check();
    await broken();
    await until(async () => (await client.last()).state === "posted", "it is charged");
    const after = await client.chat();
    same([after.status, stage.fetch.decisionOf(await after.json())?.code], [403, "session_killed"]);
    return undefined;
  },

  async "a gateway that cannot be reached lets no call out, unless the options say so in writing"(stage) {
    const client = await caller(stage, {}, "provider", "dead");
    const response = await client.chat();
    same([response.status, stage.fetch.decisionOf(await response.json())?.name, await client.asked()], [403, "GatewayUnavailableError", []]);
    const lenient = await caller(stage, { onUnavailable: "allow" }, "provider", "dead");
    same([(await lenient.chat()).status, (await lenient.asked()).length], [200, 1]);
    // A guard of the same session is told the same.
    await refused(stage, lenient.session.guard({ action: "act" }, () => 1)(), "GatewayUnavailableError");
    return undefined;
  },
};
