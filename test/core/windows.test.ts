import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { countWithin, resetMs, waitMs } from "../../src/core/windows.ts";

const log = fc.array(fc.integer({ min: 0, max: 1_000 }), { maxLength: 60 }).map((hits) => hits.sort((a, b) => a - b));

describe("a window", () => {
  it("holds what came less than its length ago", () => {
    fc.assert(
      fc.property(log, fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1_000, max: 1_500 }), (hits, windowMs, now) => {
        expect(countWithin(hits, windowMs, now)).toBe(hits.filter((at) => now - at < windowMs).length);
      }),
    );
  });

  it("says exactly how long to wait: one more fits then, and not a millisecond sooner", () => {
    fc.assert(
      fc.property(
        log,
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 1, max: 500 }),
        fc.integer({ min: 1_000, max: 1_200 }),
        (hits, max, windowMs, now) => {
          const wait = waitMs(hits, max, windowMs, now);
          expect(wait).not.toBeNull();
          const fits = (at: number) => hits.filter((hit) => at - hit < windowMs).length < max;
          expect(fits(now + (wait ?? 0))).toBe(true);
          if (wait !== 0) expect(fits(now + (wait ?? 0) - 1)).toBe(false);
        },
      ),
    );
  });

  it("admits at most its limit in any stretch of its length, however callers come", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 200 }),
        fc.integer({ min: 0, max: 5 }),
        fc.integer({ min: 1, max: 100 }),
        (gaps, max, windowMs) => {
          const allowed: number[] = [];
          let now = 0;
          for (const gap of gaps) {
            now += gap;
            if (waitMs(allowed, max, windowMs, now) === 0) allowed.push(now);
          }
          for (const start of allowed) expect(allowed.filter((at) => at >= start && at < start + windowMs).length).toBeLessThanOrEqual(max);
        },
      ),
    );
  });

  it("lets a call go exactly as long after it as the window is", () => {
    expect([199, 200].map((now) => countWithin([100], 100, now))).toEqual([1, 0]);
    expect([199, 200].map((now) => waitMs([100], 1, 100, now))).toEqual([1, 0]);
  });

  it("of limit zero never admits, and says that waiting does not help", () => {
    expect(waitMs([], 0, 60_000, 5)).toBeNull();
  });

  it("resets when its oldest counted call leaves it", () => {
    expect(resetMs([100, 200, 300], 150, 260)).toBe(90);
    expect(resetMs([100], 100, 200)).toBe(0);
    expect(resetMs([], 100, 200)).toBe(0);
  });
});
