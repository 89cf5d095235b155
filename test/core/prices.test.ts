import { readFileSync } from "node:fs";
import { calcPrice, type Provider, waitForUpdate } from "@pydantic/genai-prices";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type ExpectedUsage, genaiPrices, MOST_TOKENS } from "../../src/prices/prices.ts";

const at = Date.UTC(2026, 10, 22);
const used = (inputTokens: number, outputTokens = 0, cacheReadTokens = 0, cacheWriteTokens = 0): ExpectedUsage => ({
  inputTokens,
  outputTokens,
  cacheReadTokens,
  cacheWriteTokens,
});
const opus = { provider: "anthropic", name: "claude-opus-5" };
const cost = (model: { readonly provider?: string; readonly name: string }, usage: ExpectedUsage, when = at): number | null =>
  genaiPrices.costOf(model, usage, when);

describe("what a call costs", () => {
  it.each<readonly [string, { readonly provider?: string; readonly name: string }, ExpectedUsage, number]>([
    ["nothing for nothing", opus, used(0), 0],
    ["input, at 5 USD a million", opus, used(1_000_000), 5_000_000],
    ["output, at 25 USD a million", opus, used(0, 1_000_000), 25_000_000],
    ["one token", opus, used(1), 5],
    ["cached input at its own price, within the input", opus, used(1_000_000, 0, 1_000_000), 500_000],
    ["cache writes at their own price, within the input", opus, used(1_000_000, 0, 0, 1_000_000), 6_250_000],
    ["a mixture", opus, used(1000, 100, 300, 200), 2500 + 150 + 1250 + 2500],
    ["cached tokens beyond the input none the less", opus, used(0, 0, 1_000_000), 500_000],
    [
      "cached input without a price of its own as any input",
      { provider: "openai", name: "text-embedding-3-small" },
      used(1_000_000, 0, 1_000_000),
      20_000,
    ],
    ["a fraction of a micro-USD as one", { provider: "openai", name: "text-embedding-3-small" }, used(1), 1],
    ["and many of them only once", { provider: "openai", name: "text-embedding-3-small" }, used(51), 2],
    ["the lower tier up to its end", { name: "claude-sonnet-4-5" }, used(200_000, 1000), 600_000 + 15_000],
    ["the higher tier above it, for all of the call", { name: "claude-sonnet-4-5" }, used(200_001, 1000), 1_200_006 + 22_500],
    ["the tier that cached input falls into", { name: "claude-sonnet-4-5" }, used(200_001, 0, 200_001), 120_001],
  ])("%s", (_what, model, usage, micro) => expect(cost(model, usage)).toBe(micro));

  it("0.1 and 0.2 are three tenths, not one more: no dust of binary fractions is rounded up", () => {
    // 2.5 and 10 USD a million; 0.3 as cached input of claude-sonnet-4-5 is 0.30000000000000004 by repeated addition.
    expect(cost({ provider: "openai", name: "gpt-4o" }, used(40_000, 20_000))).toBe(300_000);
    expect(cost({ name: "claude-sonnet-4-5" }, used(100_000, 0, 100_000))).toBe(30_000);
    expect(cost({ provider: "deepseek", name: "deepseek-chat" }, used(1_000_000, 1_000_000), 0)).toBe(135_000 + 550_000);
  });

  it("a name is enough where only one provider has it, and another provider's model is not taken for it", () => {
    expect(cost({ name: "claude-opus-5" }, used(1000))).toBe(5000);
    expect(cost({ provider: "nobody", name: "claude-opus-5" }, used(1000))).toBeNull();
  });

  it.each([["gpt-6"], ["x"], [""], ["a".repeat(10_000)], ["__proto__"], ["constructor"]])(
    "of a model that nobody knows is not known, never zero: %s",
    (name) => {
      for (const provider of [undefined, "openai", "", "__proto__", "p".repeat(10_000)]) {
        expect(genaiPrices.costOf({ provider, name }, used(1000, 1000), at)).toBeNull();
        expect(genaiPrices.knows({ provider, name })).toBe(false);
      }
    },
  );

  it("of tokens that a model has no price for is not known", () => {
    expect(cost({ provider: "openai", name: "text-embedding-3-small" }, used(10, 1))).toBeNull();
    expect(cost({ provider: "openai", name: "whisper-1" }, used(10))).toBeNull();
    expect(cost({ provider: "github-copilot", name: "gpt-4o" }, used(10))).toBeNull();
    expect(genaiPrices.knows({ provider: "openai", name: "whisper-1" })).toBe(false);
    expect(genaiPrices.knows(opus)).toBe(true);
  });

  it.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, MOST_TOKENS + 1])("%d tokens are a broken invariant", (tokens) => {
    for (const usage of [used(tokens), used(0, tokens), used(0, 0, tokens), used(0, 0, 0, tokens)])
      expect(() => cost(opus, usage)).toThrow(/is a whole number from 0/);
  });
});

describe("against the package's own sums", () => {
  const models = waitForUpdate().then((providers: Provider[] | null) =>
    (providers ?? []).flatMap(({ id, models }) => models.map(({ id: name }) => ({ provider: id, name }))),
  );

  it("every model it knows costs the same, but rounded up", async () => {
    const usages = [used(1000, 500), used(300_000, 1000, 1000, 500), used(1, 1), used(1_000_000, 1_000_000, 100_000, 100_000)];
    let compared = 0;
    for (const model of await models) {
      for (const usage of usages) {
        const micro = cost(model, usage);
        if (micro === null) continue;
        const {
          inputTokens: input_tokens,
          outputTokens: output_tokens,
          cacheReadTokens: cache_read_tokens,
          cacheWriteTokens: cache_write_tokens,
        } = usage;
        const theirs = calcPrice({ input_tokens, output_tokens, cache_read_tokens, cache_write_tokens }, model.name, {
          providerId: model.provider,
          timestamp: new Date(at),
        });
        const exact = (theirs?.total_price ?? Number.NaN) * 1_000_000;
        expect(micro, JSON.stringify(model)).toBeGreaterThanOrEqual(exact - exact * 1e-9);
        expect(micro, JSON.stringify(model)).toBeLessThan(exact + 1 + exact * 1e-9);
        compared++;
      }
    }
    expect(compared).toBeGreaterThan(4000);
  });

  it("a price that changed at a date, or changes with the hour, is the one in force then", async () => {
    const moments = [Date.UTC(2023, 0, 1), Date.UTC(2025, 1, 20, 17), Date.UTC(2026, 10, 22, 3), Date.UTC(2026, 10, 22, 17)];
    let changed = 0;
    for (const model of await models) {
      const costs = moments.map((when) => cost(model, used(1_000_000), when));
      if (new Set(costs).size > 1) changed++;
      for (const [i, when] of moments.entries()) {
        const theirs = calcPrice({ input_tokens: 1_000_000 }, model.name, { providerId: model.provider, timestamp: new Date(when) });
        const micro = costs[i] ?? null;
        if (micro !== null) expect(Math.abs(micro - (theirs?.total_price ?? Number.NaN) * 1_000_000)).toBeLessThan(1.01);
      }
    }
    expect(changed).toBeGreaterThan(10);
  });

  it("more tokens never cost less, and a call never more than its parts rounded up", () => {
    const tokens = fc.integer({ min: 0, max: 150_000 });
    fc.assert(
      fc.property(fc.constantFrom("claude-sonnet-4-5", "gemini-2.5-pro", "gpt-5.5"), tokens, tokens, tokens, (name, input, output, more) => {
        const [less, greater] = [cost({ name }, used(input, output)) ?? -1, cost({ name }, used(input + more, output)) ?? -1];
        expect(greater).toBeGreaterThanOrEqual(less);
        expect(less).toBeLessThanOrEqual((cost({ name }, used(input)) ?? -1) + (cost({ name }, used(0, output)) ?? -1));
      }),
    );
  });
});

it("the version in the record is that of the package", () => {
  const { version } = JSON.parse(readFileSync("node_modules/@pydantic/genai-prices/package.json", "utf8")) as { version: string };
  expect(genaiPrices.data).toBe(`genai-prices ${version}`);
});
