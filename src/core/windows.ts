import type { Instant } from "./time.ts";

/**
 * Exact sliding windows. A log is the instants of allowed calls, oldest first; a call leaves a window of length `windowMs` that long after it was made.
 * So any half-open stretch of that length holds at most as many calls as the limit says. A refused call is never in a log.
 */
export type HitLog = readonly Instant[];

/** How many calls of the log are within the window that ends now. */
export const countWithin = (log: HitLog, windowMs: number, now: Instant): number => log.length - firstWithin(log, windowMs, now);

/**
 * How long until one more call fits under `max`, in milliseconds: 0 when it fits now, `null` when it never will (a limit of zero).
 * Waiting that long is enough and nothing shorter is.
 */
export function waitMs(log: HitLog, max: number, windowMs: number, now: Instant): number | null {
  return max === 0 ? null : waitFor(log[log.length - max], windowMs, now);
}

/** How long until the call made at `blocking` has left the window; 0 where there is none. */
export const waitFor = (blocking: Instant | undefined, windowMs: number, now: Instant): number =>
  blocking === undefined ? 0 : Math.max(0, blocking + windowMs - now);

/** How long until the oldest call that still counts leaves the window; 0 when none counts. */
export function resetMs(log: HitLog, windowMs: number, now: Instant): number {
  const oldest = log[firstWithin(log, windowMs, now)];
  return oldest === undefined ? 0 : oldest + windowMs - now;
}

/** The place of the first call that is still within the window; the log's length when none is. */
export function firstWithin(log: HitLog, windowMs: number, now: Instant): number {
  let low = 0;
  let high = log.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    // Within the array by construction of low and high.
    if ((log[middle] as Instant) + windowMs > now) high = middle;
    else low = middle + 1;
  }
  return low;
}
