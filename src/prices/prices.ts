import { calcPrice, type ModelPrice } from "@pydantic/genai-prices";
import { assert } from "../core/assert.ts";
import { type MicroUsd, microUsdOf } from "../core/money.ts";
import type { Instant } from "../core/time.ts";

/**
 * The tokens that a call is expected to use at most: whole, not negative, each at most {@link MOST_TOKENS}. As in the price data, `inputTokens`
 * include what is read from a cache and what is written to one, and `outputTokens` include reasoning.
 */
export interface ExpectedUsage {
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
}

/** A model by the name its provider gives it; without a provider, by names that only one provider uses. */
export interface Model {
  readonly provider?: string | undefined;
  readonly name: string;
}

/** What models cost. Knows what it was built with and asks nobody. */
export interface Prices {
  /** The version of the price data, for the record. */
  readonly data: string;
  /** Whether the tokens of this model have a price. */
  knows(model: Model): boolean;
  /**
   * What a call would cost at most, in micro-USD, rounded up once; `null` when a price that the usage needs is not known, never zero for that.
   * Prices are those in force at `at`, and of the tier that the input falls into; what is written to a cache is priced for the shortest time it is kept.
   * Cached tokens beyond the input's are charged none the less.
   */
  costOf(model: Model, usage: ExpectedUsage, at: Instant): MicroUsd | null;
}

/** More than any model reads or writes in one call, and small enough that no sum leaves the safe integers. */
export const MOST_TOKENS = 1_000_000_000;

/** A model's name is asked for with expressions of the price data; a long one is no model's. */
const LONGEST_NAME = 200;

/** The prices that come with the package `@pydantic/genai-prices`. The data bears no date of its own: the package's version names it. */
export const genaiPrices: Prices = {
  data: "genai-prices 0.1.8",
  knows: (model) => {
    const price = priceOf(model, 0);
    return price !== null && price.input_mtok !== undefined;
  },
  costOf(model, usage, at) {
    for (const [name, tokens] of Object.entries(usage)) {
      assert(Number.isInteger(tokens) && tokens >= 0 && tokens <= MOST_TOKENS, `${name} is a whole number from 0 to ${MOST_TOKENS}, found ${tokens}`);
    }
    const price = priceOf(model, at);
    return price === null ? null : totalOf(price, usage);
  },
};

/**
 * Models whose price no date and no hour changes, as found before: a search through the data takes a fifth of a millisecond. Bounded, since names come
 * from callers.
 */
const lasting = new Map<string, ModelPrice | null>();
const MOST_LASTING = 500;

function priceOf({ provider, name }: Model, at: Instant): ModelPrice | null {
  if (name === "" || name.length > LONGEST_NAME || (provider !== undefined && (provider === "" || provider.length > LONGEST_NAME))) return null;
  const key = JSON.stringify([provider ?? null, name]);
  const known = lasting.get(key);
  if (known !== undefined) return known;
  // Asked for no usage at all, the package finds the model and answers with its prices, which are counted here: its own sums are binary fractions.
  const found = calcPrice({}, name, { timestamp: new Date(at), ...(provider === undefined ? {} : { providerId: provider }) });
  if (found === null || !Array.isArray(found.model.prices)) {
    if (lasting.size >= MOST_LASTING) lasting.clear();
    lasting.set(key, found?.model_price ?? null);
  }
  return found?.model_price ?? null;
}

/** Prices of parts of the input or output that cost the same as the whole where they have no price of their own. */
function totalOf(price: ModelPrice, usage: ExpectedUsage): MicroUsd | null {
  const { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens } = usage;
  const freshTokens = Math.max(0, inputTokens - cacheReadTokens - cacheWriteTokens);
  // A tier is chosen by the whole input, and then holds for all of the call.
  const input = Math.max(inputTokens, cacheReadTokens + cacheWriteTokens);
  const parts: readonly (readonly [tokens: number, price: ModelPrice[string]])[] = [
    [freshTokens, price.input_mtok],
    [cacheReadTokens, price.cache_read_mtok ?? price.input_mtok],
    [cacheWriteTokens, price.cache_write_mtok ?? price.input_mtok],
    [outputTokens, price.output_mtok],
  ];
  // Without any price for its input this is no model of tokens, or one whose price nobody knows.
  if (price.input_mtok === undefined) return null;
  let total = 0n;
  for (const [tokens, rate] of parts) {
    if (tokens === 0) continue;
    if (rate === undefined) return null;
    total += BigInt(tokens) * scaled(rateIn(rate, input));
  }
  // Some models charge for the request too, in USD per thousand: a thousand micro-USD for each request and dollar.
  if (price.requests_kcount !== undefined) total += 1000n * scaled(rateIn(price.requests_kcount, input));
  return microUsdOf(Number((total + SCALE - 1n) / SCALE));
}

function rateIn(rate: NonNullable<ModelPrice[string]>, input: number): number {
  if (typeof rate === "number") return rate;
  // The last tier that begins below the input, in whatever order they stand.
  const tier = rate.tiers.filter(({ start }) => input > start).reduce((a, b) => (b.start >= a.start ? b : a), { start: -1, price: rate.base });
  return tier.price;
}

const DECIMALS = 24;
const SCALE = 10n ** BigInt(DECIMALS);

/**
 * A rate in USD per million tokens, which is micro-USD per token, as a whole number of 10^-24. A binary number carries fifteen decimal digits
 * faithfully; what stands behind them, as in 0.18000000000000002, nobody wrote.
 */
function scaled(rate: number): bigint {
  assert(Number.isFinite(rate) && rate >= 0, `a price is a number that is not negative, found ${rate}`);
  const [mantissa = "0", exponent = "0"] = rate.toExponential(14).split("e");
  // Fifteen digits, the first of them before the point.
  const digits = BigInt(mantissa.replace(".", ""));
  const shift = Number(exponent) - 14 + DECIMALS;
  return shift >= 0 ? digits * 10n ** BigInt(shift) : digits / 10n ** BigInt(-shift) + 1n;
}
