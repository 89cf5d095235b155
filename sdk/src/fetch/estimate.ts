import type { Session } from "../session.ts";
import type { ActionRequest, Json, UsdInput } from "../surface.ts";
import { usdText } from "../usd.ts";
import type { ModelCall } from "./call.ts";
import { type FetchOptions, factsOf } from "./options.ts";

/** What the gateway is asked before a call. */
export async function requestOf(
  session: Session,
  options: FetchOptions,
  call: ModelCall,
  text: string,
  id: string,
): Promise<ActionRequest & { readonly id: string; readonly run: string }> {
  const { action = `llm.${call.provider ?? "other"}`, inputs, run = session.run } = options;
  const estimate = estimateOf(options, call);
  return {
    ...factsOf(options),
    id,
    run,
    action: typeof action === "function" ? action(call) : action,
    resource: { type: "model", id: call.model },
    model: { provider: call.provider, name: call.model },
    usage: call.usage,
    // Written out before anything is asked, so that what is reserved and what is charged for it are the same text.
    estimateUsd: estimate == null ? undefined : usdText(estimate, "the estimate"),
    inputs: inputs === undefined ? await shownOf(call, text) : inputs(call),
  };
}

/** `undefined`: the gateway prices what the call is expected to use. */
function estimateOf({ costUsd, maxCostUsd, price }: FetchOptions, call: ModelCall): UsdInput | null | undefined {
  const stated = costUsd ?? maxCostUsd;
  if (stated !== undefined) return typeof stated === "function" ? stated(call) : stated;
  const { provider, model, usage } = call;
  return price?.({ provider, model, served: null, usage: { ...usage, cache_read_tokens: 0 }, raw: null });
}

/** Tells two calls apart, and one that is made again from another, without telling what they say. */
async function shownOf({ shape, model, stream, usage }: ModelCall, text: string): Promise<Json> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return { endpoint: shape, model, stream, ...usage, body_digest: `sha-256:${hex}` };
}
