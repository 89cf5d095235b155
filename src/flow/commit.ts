import type { Settlement } from "../core/decision.ts";
import type { DecisionId, SessionId } from "../core/ids.ts";
import type { MicroUsd } from "../core/money.ts";
import type { CommitReport, Principal } from "../core/request.ts";
import type { Instant } from "../core/time.ts";
import { fingerprintOf } from "./idempotency.ts";
import type { Answered, Ports, Prices, Reply } from "./ports.ts";

/** What a caller tells of an action that has ended. Without a cost the usage must be there: the gateway reckons the cost from it. */
export interface Reported extends Omit<CommitReport, "costMicroUsd" | "price"> {
  readonly costMicroUsd: MicroUsd | null;
}

/**
 * Takes a report to its session. A cost that is left to the gateway is that of the usage at the prices of now; where nobody knows the price, what was
 * reserved is posted: never nothing. The same report told again is the same report, whatever prices have become since.
 */
export function commit(
  ports: Ports,
  principal: Principal,
  session: SessionId,
  decision: DecisionId,
  reported: Reported,
  now: Instant,
): Reply<Answered<Settlement>> {
  const report = { ...reported, ...costed(ports.prices, reported, now) };
  return ports.sessions.commit(principal.tenant, session, principal, decision, report, fingerprintOf(ports, reported));
}

function costed(prices: Prices, { costMicroUsd, usage }: Reported, now: Instant): Pick<CommitReport, "costMicroUsd" | "price"> {
  if (costMicroUsd !== null) return { costMicroUsd };
  const { data } = prices;
  const model = modelOf(usage);
  const tokens = tokensOf(usage);
  const known = model !== null && prices.knows(model);
  const cost = model === null || tokens === null ? null : prices.costOf(model, tokens, now);
  return { costMicroUsd: cost, price: { basis: cost === null ? "unpriced" : "computed", data, known } };
}

function modelOf(usage: CommitReport["usage"]): { readonly name: string; readonly provider?: string } | null {
  const { model, provider } = usage ?? {};
  if (typeof model !== "string") return null;
  return { name: model, ...(typeof provider === "string" && { provider }) };
}

/** The names under which one provider counts what was cached beside the input and not within it. */
const BESIDE = ["cache_read_input_tokens", "cache_creation_input_tokens"];

/** `null`: it is not certain that all tokens are counted, and a cost that leaves some out would be too little. */
function tokensOf(usage: CommitReport["usage"]): Parameters<Prices["costOf"]>[1] | null {
  const { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens } = usage ?? {};
  const isWhole = cache_read_tokens !== undefined && cache_write_tokens !== undefined;
  if (usage === null || (!isWhole && BESIDE.some((name) => Object.hasOwn(usage, name)))) return null;
  const counts = [input_tokens, output_tokens, cache_read_tokens ?? 0, cache_write_tokens ?? 0];
  if (!counts.every((count) => typeof count === "number" && Number.isInteger(count) && count >= 0 && count <= MOST_TOKENS)) return null;
  const [inputTokens = 0, outputTokens = 0, cacheReadTokens = 0, cacheWriteTokens = 0] = counts.map(Number);
  // No call uses nothing: such a usage says nothing.
  return inputTokens + outputTokens === 0 ? null : { inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens };
}

/** More than any model reads or writes in one call. */
const MOST_TOKENS = 1_000_000_000;
