import { MOST_LISTENERS_OF_ONE_TOKEN } from "../core/events.ts";
import { MOST_LOOKUPS } from "../core/ration.ts";
import type { Instant } from "../core/time.ts";

/** So many requests at once, which come back evenly within the window. */
export interface ThrottleLimit {
  readonly requests: number;
  readonly windowMs: number;
  /** Its name for whoever meets it; absent: it is the token's. */
  readonly name?: "token-urgent";
}

/** Of work, what is counted as requests are is milliseconds of it; and what was too heavy for what was left is paid off before anything more is let in. */
export interface WorkLimit extends ThrottleLimit {
  readonly of: "token-work" | "tenant-work" | "token-reads" | "tenant-reads";
}

/** What one request found. */
export interface Throttled {
  readonly isLet: boolean;
  readonly limit: ThrottleLimit | WorkLimit;
  /** How many more could come now. */
  readonly remaining: number;
  /** Until one more can come, if none can now; else until all can again. */
  readonly waitMs: number;
}

/** No honest client of a few sessions comes near it: a token may make 2,000 requests a second all day. */
export const DEFAULT_LIMIT: ThrottleLimit = { requests: 20_000, windowMs: 10_000 };

/**
 * What a person says to stop or to let an agent waits behind nothing that the same token polls, and no tenant can make it scarce. It is counted by itself
 * all the same, for whoever sends nothing else.
 */
export const URGENT_LIMIT: ThrottleLimit = { ...DEFAULT_LIMIT, name: "token-urgent" };

/**
 * Everybody's decisions are made on the thread on which a policy is parsed, so whoever has policies checked makes all others wait. All that one token lets
 * the gateway work on checks of policies, on simulations and reports is a tenth of its time, and all tokens of a tenant together a quarter. Publishing a
 * policy is not counted: no agent may, and whoever mends a policy in a hurry must not be told to wait.
 */
export const WORK_OF_TOKEN: WorkLimit = { of: "token-work", requests: 1_000, windowMs: 10_000 };
export const WORK_OF_TENANT: WorkLimit = { of: "tenant-work", requests: 2_500, windowMs: 10_000 };

/**
 * What is read is read on that thread too: a page of a thousand entries takes it for a tenth of a second. So reads have their turns: beside other tenants'
 * requests those of one token have three tenths of the time, and those of a tenant four. What is too much is not refused but waits, and is refused only
 * where it would wait longer than {@link MOST_TURN_MS}. Where nobody else asks for anything all of the time is theirs, one after another; and of one token seven
 * tenths, so that its tenant's people see their lists beside it.
 */
export const READS_OF_TOKEN: WorkLimit = { of: "token-reads", requests: 300, windowMs: 1_000 };
export const READS_OF_TENANT: WorkLimit = { of: "tenant-reads", requests: 400, windowMs: 1_000 };
export const LONE_READS_OF_TOKEN: WorkLimit = { ...READS_OF_TOKEN, requests: 700 };
export const LONE_READS_OF_TENANT: WorkLimit = { ...READS_OF_TENANT, requests: 1_000 };
export const MOST_TURN_MS = 10_000;

/**
 * What a read took beyond what it went through should have cost. A machine that is slower than the one it was measured on, or has other work, takes longer;
 * so does a database that is far away, of which that thread knows nothing: so at most so many times as much is believed.
 */
export const beyondMs = (workMs: number, tookMs: number): number => Math.max(0, Math.min(tookMs, MOST_TIMES * workMs) - workMs);
const MOST_TIMES = 4;

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

  /** Whether a request may pass now: one of any weight, where there is room for one of weight 1. One that may not uses up nothing. */
  admit(key: string, limit: ThrottleLimit | WorkLimit, now: Instant, weight = 1): Throttled {
    const each = limit.windowMs / limit.requests;
    const owed = Math.max(this.#fullAt.get(key) ?? now, now);
    // A limit that was lowered meanwhile is not owed more than one window. Work was done, and is owed whole.
    const fullAt = "of" in limit ? owed : Math.min(owed, now + limit.windowMs);
    const isLet = fullAt + each - now <= limit.windowMs + TOLERANCE_MS;
    const then = isLet ? fullAt + each * weight : fullAt;
    if (isLet && weight > 0) this.#keep(key, then, now);
    const remaining = Math.max(0, Math.floor((limit.windowMs - (then - now) + TOLERANCE_MS) / each));
    return { isLet, limit, remaining, waitMs: Math.max(0, remaining > 0 ? then - now : then + each - now - limit.windowMs) };
  }

  /** Counts what is known only now; less than nothing gives back what was counted before. */
  add(key: string, limit: WorkLimit, now: Instant, weight: number): void {
    const fullAt = Math.max(this.#fullAt.get(key) ?? now, now) + (weight * limit.windowMs) / limit.requests;
    this.#keep(key, Math.max(fullAt, now), now);
  }

  #keep(key: string, fullAt: number, now: Instant): void {
    this.#fullAt.set(key, fullAt);
    if (this.#fullAt.size <= this.#most) return;
    for (const [one, at] of this.#fullAt) if (at <= now) this.#fullAt.delete(one);
    // All of them count: the next clearing waits until there are twice as many.
    this.#most = Math.max(MOST_KEPT, this.#fullAt.size * 2);
  }
}

/** Most answers that are held back at once while a person is waited for: for one token, and for all tokens of a tenant together. */
export const MOST_WAITS_OF_TOKEN = 512;
export const MOST_WAITS_OF_TENANT = 1_024;

/**
 * What waits now. Each is read when it begins and when it ends, in the session's object, so a thousand that begin at once make all others wait; while it
 * waits it costs only memory. Whoever hangs up ends without a word: a place is held no longer than was asked for.
 */
export class Waits {
  readonly #open = new Map<string, Set<{ readonly until: Instant }>>();
  #most = MOST_KEPT;

  /** Takes a place under every key, or under none where one of them has no more: `null`. What is answered gives them back, once or more often. */
  begin(limits: readonly (readonly [key: string, most: number])[], now: Instant, waitMs: number): (() => void) | null {
    for (const [key, most] of limits) if ((this.#open.get(key)?.size ?? 0) >= most) this.#clear(key, now);
    if (limits.some(([key, most]) => (this.#open.get(key)?.size ?? 0) >= most)) return null;
    const place = { until: now + waitMs };
    for (const [key] of limits) this.#open.set(key, (this.#open.get(key) ?? new Set()).add(place));
    if (this.#open.size > this.#most) {
      for (const key of this.#open.keys()) this.#clear(key, now);
      this.#most = Math.max(MOST_KEPT, this.#open.size * 2);
    }
    return () => {
      for (const [key] of limits) this.#drop(key, place);
    };
  }

  #clear(key: string, now: Instant): void {
    for (const place of this.#open.get(key) ?? []) if (place.until <= now) this.#drop(key, place);
  }

  #drop(key: string, place: { readonly until: Instant }): void {
    const places = this.#open.get(key);
    places?.delete(place);
    if (places?.size === 0) this.#open.delete(key);
  }
}

/** Sums of fractions of milliseconds err by less. */
const TOLERANCE_MS = 1e-6;

/** The fields of the RateLimit draft (draft-ietf-httpapi-ratelimit-headers-10), and when to come back. */
export function rateFields({ isLet, limit, remaining, waitMs }: Throttled): Record<string, string> {
  const seconds = Math.ceil(waitMs / 1000);
  const [name, unit] = "of" in limit ? [limit.of, ';qu="milliseconds"'] : [limit.name ?? "token", ""];
  return {
    "RateLimit-Policy": `"${name}";q=${limit.requests};w=${Math.max(1, Math.round(limit.windowMs / 1000))}${unit}`,
    RateLimit: `"${name}";r=${remaining};t=${seconds}`,
    ...(!isLet && { "Retry-After": String(Math.max(1, seconds)) }),
  };
}

/** The same of the gateway's other limits, none of which counts requests by token: what is said where nothing of one is left. */
export const LOOKUPS_SPENT: Readonly<Record<string, string>> = {
  "RateLimit-Policy": `"unknown-issuers";q=${MOST_LOOKUPS};w=1`,
  RateLimit: '"unknown-issuers";r=0;t=1',
  "Retry-After": "1",
};
/** When one of them is answered, nobody knows. */
export const WAITS_SPENT: Readonly<Record<string, string>> = {
  "RateLimit-Policy": `"waiting";q=${MOST_WAITS_OF_TOKEN};qu="concurrent-requests"`,
  RateLimit: '"waiting";r=0',
  "Retry-After": "5",
};
/** When a listener leaves, nobody knows. */
export const LISTENERS_SPENT: Readonly<Record<string, string>> = {
  "RateLimit-Policy": `"listeners";q=${MOST_LISTENERS_OF_ONE_TOKEN};qu="concurrent-requests"`,
  RateLimit: '"listeners";r=0',
  "Retry-After": "10",
};
