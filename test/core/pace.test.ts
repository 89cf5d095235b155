import { describe, expect, it } from "vitest";
import { Pace } from "../../src/http/pace.ts";

/** A gateway that can do so much and no more, asked by callers who come evenly: by the pace, everybody who is let in is answered in the order of coming. */
class Busy {
  readonly #pace = new Pace();
  readonly #canDo: number;
  #waiting: number[] = [];
  now = 1_000_000;

  constructor(canDoPerSecond: number) {
    this.#canDo = canDoPerSecond;
  }

  /** Answers how many came, how many were turned away and how long the slowest answer took, over so many seconds. */
  go(seconds: number, comePerSecond: number): { came: number; turnedAway: number; slowestMs: number } {
    const seen = { came: 0, turnedAway: 0, slowestMs: 0 };
    let coming = 0;
    let doing = 0;
    for (const end = this.now + seconds * 1_000; this.now < end; this.now += 10) {
      for (coming += comePerSecond / 100; coming >= 1; coming--) {
        seen.came++;
        if (this.#come()) continue;
        seen.turnedAway++;
      }
      for (doing = Math.min(doing + this.#canDo / 100, 10); doing >= 1; doing--) {
        const since = this.#waiting.shift();
        if (since === undefined) break;
        const tookMs = this.now - since;
        seen.slowestMs = Math.max(seen.slowestMs, tookMs);
        this.#pace.end(tookMs, this.now);
      }
    }
    return seen;
  }

  /** So many at one moment. */
  at(once: number): number {
    let turnedAway = 0;
    for (let n = 0; n < once; n++) {
      if (!this.#come()) turnedAway++;
    }
    return turnedAway;
  }

  #come(): boolean {
    if (!this.#pace.admits(this.now)) return false;
    this.#pace.begin();
    this.#waiting.push(this.now);
    return true;
  }
}

describe("the pace", () => {
  it.each([50, 200, 1_000])("of a gateway that can do %i a second turns nobody away while it can", (canDo) => {
    expect(new Busy(canDo).go(60, canDo * 0.9).turnedAway).toBe(0);
  });

  it.each([50, 200, 1_000])("of one that can do %i lets a thousand in at one moment, however long they take", (canDo) => {
    const busy = new Busy(canDo);
    busy.go(5, canDo / 2);
    expect(busy.at(1_000)).toBe(0);
    expect(busy.go(1_000 / canDo + 5, canDo / 10).turnedAway).toBe(0);
  });

  it.each([50, 200, 1_000])("of one that can do %i, asked for ten times as much, turns the rest away and answers the others in time", (canDo) => {
    const busy = new Busy(canDo);
    busy.go(5, canDo / 2);
    // The burst is let in, and has to be done first.
    busy.go(2 * (1_200 / canDo) + 10, canDo * 10);
    const { came, turnedAway, slowestMs } = busy.go(60, canDo * 10);
    expect(slowestMs).toBeLessThan(3_000);
    const done = (came - turnedAway) / 60 / canDo;
    expect(done).toBeGreaterThan(0.6);
    expect(done).toBeLessThan(1.1);
  });

  it("lets everybody in again within seconds of a flood", () => {
    const busy = new Busy(200);
    busy.go(60, 2_000);
    busy.go(3, 50);
    expect(busy.go(30, 150)).toMatchObject({ turnedAway: 0 });
  });
});
