import { env, exports } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { commit } from "../../src/flow/commit.ts";
import { decideOne, got, newSession, newTenant, ports, refusalOf, usd } from "./world.ts";

/** Two dollars and a half for a million tokens read, a quarter less where they come from a cache, ten for a million written. */
const MODEL = { model: "gpt-4o", provider: "openai" };

describe("a report that leaves its cost to the gateway", () => {
  async function allowed(estimate = "1") {
    const { tenant, agent } = await newTenant("budgets: { session: 100 }");
    const session = await newSession(agent);
    const { id } = await decideOne(agent, session, "llm.chat", { estimateMicroUsd: usd(estimate) });
    const tell = (usage: { readonly [key: string]: JsonValue } | null, cost: string | null = null, over = ports) => {
      const costMicroUsd = cost === null ? null : usd(cost);
      return commit(
        over,
        agent,
        session,
        id,
        { costMicroUsd, outcome: "success", durationMs: null, outputs: undefined, error: null, usage },
        Date.now(),
      );
    };
    return { tenant, agent, session, id, tell };
  }

  it.each<[string, { readonly [key: string]: JsonValue }, string]>([
    ["tokens read and written", { ...MODEL, input_tokens: 120, output_tokens: 40 }, "0.0007"],
    ["a model that only one provider has", { model: "gpt-4o-2024-08-06", input_tokens: 1_000, output_tokens: 0 }, "0.0025"],
    ["some of them from a cache", { ...MODEL, input_tokens: 120, output_tokens: 40, cache_read_tokens: 100, cache_write_tokens: 0 }, "0.000575"],
    ["a part of a micro-dollar, rounded up", { ...MODEL, input_tokens: 1, output_tokens: 0 }, "0.000003"],
  ])("is charged what the usage costs: %s", async (_, usage, cost) => {
    const { tell } = await allowed();
    expect(got(await tell(usage)).answer).toMatchObject({ postedMicroUsd: usd(cost), overrunMicroUsd: 0 });
  });

  it.each<[string, { readonly [key: string]: JsonValue }]>([
    ["a model without a price", { model: "mine-1", input_tokens: 120, output_tokens: 40 }],
    ["no model", { input_tokens: 120, output_tokens: 40 }],
    ["no tokens written", { ...MODEL, input_tokens: 120 }],
    ["nothing used", { ...MODEL, input_tokens: 0, output_tokens: 0 }],
    ["cached tokens that are counted beside the input", { ...MODEL, input_tokens: 12, output_tokens: 40, cache_read_input_tokens: 100_000 }],
    ["more than any model reads", { ...MODEL, input_tokens: 1e12, output_tokens: 40 }],
    ["half a token", { ...MODEL, input_tokens: 12, output_tokens: 40, cache_read_tokens: 0.5, cache_write_tokens: 0 }],
  ])("is charged what was reserved where the price is not certain: %s", async (_, usage) => {
    const { tell } = await allowed("0.4");
    expect(got(await tell(usage)).answer).toMatchObject({ postedMicroUsd: usd("0.4"), overrunMicroUsd: 0 });
  });

  it("may cost more than was reserved, which is an overrun as ever", async () => {
    const { tell } = await allowed("0.0001");
    expect(got(await tell({ ...MODEL, input_tokens: 120, output_tokens: 40 })).answer).toMatchObject({
      postedMicroUsd: usd("0.0007"),
      overrunMicroUsd: usd("0.0006"),
    });
  });

  it("told again is the same report, whatever prices are by then; told with a cost it is another", async () => {
    const { tell } = await allowed();
    const usage = { ...MODEL, input_tokens: 120, output_tokens: 40 };
    const first = got(await tell(usage));
    const dearer = { ...ports, prices: { ...ports.prices, costOf: () => usd("0.5") } };
    const again = got(await tell(usage, null, dearer));
    expect([again.replayed, again.answer.postedMicroUsd]).toEqual([true, first.answer.postedMicroUsd]);
    expect(refusalOf(await tell(usage, "0.0007"))).toBe("decision_settled");
  });

  it("says on record what it went by, and over HTTP wants the cost or the usage", async () => {
    const { tenant, session, id } = await allowed();
    const root = (method: string, path: string, token: string, body?: object) =>
      exports.default.fetch(`https://gate.example${path}`, {
        method,
        headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    const scopes: wire.Scope[] = ["decisions:write", "ledger:read"];
    const issued = await root("POST", "/v1/tokens", env.ROOT_KEY, { tenant, subject: "ops", kind: "service", scopes });
    const { token }: wire.IssuedToken = await issued.json();
    const told = (body: object) => root("POST", `/v1/sessions/${session}/decisions/${id}/commit`, token, body);
    const neither = await told({ outcome: "success" });
    const problem: wire.Problem = await neither.json();
    expect([neither.status, problem.issues?.[0]?.pointer]).toEqual([422, "/cost_usd"]);
    const done = await told({ outcome: "success", usage: { ...MODEL, input_tokens: 120, output_tokens: 40 } });
    expect([done.status, await done.json()]).toMatchObject([200, { posted_usd: "0.0007" }]);
    const read = await root("GET", `/v1/ledger?session=${session}&kind=commit`, token);
    const { items }: wire.Page<wire.LedgerEntry> = await read.json();
    expect(items).toMatchObject([{ cost_usd: "0.0007", price: { basis: "computed", known: true, data: expect.stringContaining("genai-prices") } }]);
  });
});
