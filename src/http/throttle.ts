import { MOST_LISTENERS_OF_ONE_TOKEN } from "../core/events.ts";
import { MOST_LOOKUPS } from "../core/ration.ts";
import type { Instant } from "../core/time.ts";

/** So many requests at once, which come back evenly within the window. */
export interface ThrottleLimit {
  readonly requests: number;
  readonly windowMs: number;
}

/** What one request found. */
export interface Throttled {
  readonly isLet: boolean;
  readonly limit: ThrottleLimit;
  /** How many more could come now. */
  readonly remaining: number;
  /** Until one more can come, if none can now; else until all can again. */
  readonly waitMs: number;
}

/** No honest client of a few sessions comes near it: a token may make 2,000 requests a second all day. */
export const DEFAULT_LIMIT: ThrottleLimit = { requests: 20_000, windowMs: 10_000 };

/** Entries that say nothing any more are cleared away when there are so many. */
const MOST_KEPT = 10_000;

/**
 * The gateway's own door, by token: the generic cell rate algorithm (ITU-T I.371). One number for each token, the instant at which its bucket is full
 * again, so what is cleared away is only what says nothing. It protects this part of the gateway from its callers. It is no account: several parts of a
 * large deployment each count by themselves, while money and rates are counted exactly, elsewhere.
 */
export class Throttle {
  readonly #fullAt = new Map<string, number>();
  #most = MOST_KEPT;

  /** Whether a request may pass now. One that may not uses up nothing. */
  admit(key: string, limit: ThrottleLimit, now: Instant): Throttled {
    const each = limit.windowMs / limit.requests;
    // A limit that was lowered meanwhile is not owed more than one window.
    const fullAt = Math.min(Math.max(this.#fullAt.get(key) ?? now, now), now + limit.windowMs);
    const next = fullAt + each;
    const isLet = next - now <= limit.windowMs + TOLERANCE_MS;
    const then = isLet ? next : fullAt;
    if (isLet) this.#keep(key, next, now);
    const remaining = Math.max(0, Math.floor((limit.windowMs - (then - now) + TOLERANCE_MS) / each));
    return { isLet, limit, remaining, waitMs: Math.max(0, remaining > 0 ? then - now : then + each - now - limit.windowMs) };
  }

  #keep(key: string, fullAt: number, now: Instant): void {
    this.#fullAt.set(key, fullAt);
    if (this.#fullAt.size <= this.#most) return;
    for (const [one, at] of this.#fullAt) if (at <= now) this.#fullAt.delete(one);
    // All of them count: the next clearing waits until there are twice as many.
    this.#most = Math.max(MOST_KEPT, this.#fullAt.size * 2);
  }
}

/** Sums of fractions of milliseconds err by less. */
const TOLERANCE_MS = 1e-6;

/** The fields of the RateLimit draft (draft-ietf-httpapi-ratelimit-headers-10), and when to come back. */
export function rateFields({ isLet, limit, remaining, waitMs }: Throttled): Record<string, string> {
  const seconds = Math.ceil(waitMs / 1000);
  return {
    "RateLimit-Policy": `"token";q=${limit.requests};w=${Math.max(1, Math.round(limit.windowMs / 1000))}`,
    RateLimit: `"token";r=${remaining};t=${seconds}`,
    ...(!isLet && { "Retry-After": String(Math.max(1, seconds)) }),
  };
}

/** The same of the gateway's other limits, none of which counts requests by token: what is said where nothing of one is left. */
export const LOOKUPS_SPENT: Readonly<Record<string, string>> = {
  "RateLimit-Policy": `"unknown-issuers";q=${MOST_LOOKUPS};w=1`,
  RateLimit: '"unknown-issuers";r=0;t=1',
  "Retry-After": "1",
};
/** When a listener leaves, nobody knows. */
export const LISTENERS_SPENT: Readonly<Record<string, string>> = {
  "RateLimit-Policy": `"listeners";q=${MOST_LISTENERS_OF_ONE_TOKEN};qu="concurrent-requests"`,
  RateLimit: '"listeners";r=0',
  "Retry-After": "10",
};
