import { described } from "../guard.ts";
import { insideOf } from "../inside.ts";
import { observe } from "../observers.ts";
import type { Session } from "../session.ts";
import type { ActionRequest, CommitReport, DecisionAnswer, Json, UsdInput } from "../surface.ts";
import { usdText } from "../usd.ts";
import type { ModelCall } from "./call.ts";
import type { FetchOptions } from "./options.ts";
import type { Spent } from "./usage.ts";

/** How an attempt ended. */
export interface AttemptEnd {
  /** `unknown`: it may have used anything, so what was reserved is charged. `nothing`: it certainly cost nothing. */
  readonly used: Spent | "unknown" | "nothing";
  /** What went wrong. */
  readonly error?: unknown;
}

/** Ends an attempt: the first end is the end. Never rejects: what it cost is told beside the call. */
export type Settle = (end: AttemptEnd) => Promise<void>;

export function settlement(
  session: Session,
  options: FetchOptions,
  call: ModelCall,
  { id, action, estimateUsd }: ActionRequest & { readonly id: string },
  decision: DecisionAnswer | null,
  land: () => void,
): Settle {
  const { ambience, observers } = insideOf(session);
  const startedAt = ambience.now();
  const reserved = decision?.reservation?.amountUsd ?? estimateUsd ?? 0;

  const tell = async ({ used, error }: AttemptEnd): Promise<void> => {
    land();
    if (decision === null) return;
    let report: CommitReport | null = null;
    const failed = (why: unknown): void => observe(observers.onCommitFailed, { session: session.id, decisionId: id, action, report, error: why });
    try {
      let charge: UsdInput | null | undefined;
      try {
        charge = chargeOf(options, call, used);
        if (charge != null) charge = usdText(charge, "the cost");
      } catch (why) {
        charge = reserved;
        failed(why);
      }
      const isReckoned = charge == null && typeof used !== "string" && options.costUsd === undefined;
      report = {
        outcome: error === undefined ? "success" : "error",
        // What was used is told: the gateway knows prices, and charges what was reserved where it does not know this one.
        costUsd: isReckoned ? undefined : (charge ?? reserved),
        durationMs: Math.max(0, Math.round(ambience.now() - startedAt)),
        ...(error === undefined ? {} : { error: described(error) }),
        ...(typeof used === "string" ? {} : { usage: shownUsage(used, call) }),
      };
      await session.commit(id, report);
    } catch (why) {
      failed(why);
    }
  };
  let told: Promise<void> | undefined;
  return (end) => {
    told ??= tell(end);
    return told;
  };
}

/** `null` or `undefined`: nobody here knows. */
function chargeOf({ costUsd, price }: FetchOptions, { provider, model }: ModelCall, used: AttemptEnd["used"]): UsdInput | null | undefined {
  if (used === "nothing") return 0;
  // A fixed price is what was reserved.
  if (used === "unknown" || costUsd !== undefined) return undefined;
  const { served, tokens, raw } = used;
  return used.costUsd ?? price?.({ provider, model, served, usage: tokens, raw });
}

/** The gateway takes 64 members, and a name of 128 characters. */
function shownUsage({ raw, tokens, served }: Spent, { model, provider }: ModelCall): { readonly [key: string]: Json } {
  // What `JSON.parse` gave is JSON.
  const own = Object.fromEntries(Object.entries(raw).slice(0, 50)) as { [key: string]: Json };
  return { ...own, ...tokens, ...(provider !== undefined && { provider }), model: (served ?? model).slice(0, 128) };
}
