import type { Instant } from "../core/time.ts";

/** Answers that take longer than this, on the mean, are those of a gateway that is asked for more than it can do. */
const SLOW_MS = 500;
/** So long is looked before anything is concluded, at least; twice as long where little was answered. */
const LOOK_MS = 500;
const FEW = 8;
/** So many are let in all the same when it becomes slow: a thousand calls of one moment are all answered, a flood is not. */
const BURST = 1_200;
/** After so many looks in a row at which all was well the burst is there again: a flood that pauses for a moment is no new one. */
const WELL = 10;
/** While it is slow this part of what it does at its best is let in, and less at each look; when it is not, so much more. */
const LESS = 0.8;
const MORE = 1.1;
const LEAST_PER_SECOND = 20;
/** So many of one tenant are answered at once, at most: what those who wait hold in memory is bounded. */
const MOST_AT_ONCE = 2_048;
/** The platform lets no request go on for so long after its caller has gone. Whoever still counts then has ended without a word. */
const LOST_AFTER_MS = 60_000;
/** What it does at its best is forgotten by so much at each look: the machine may have less to give than it had. */
const FADES = 0.95;

/**
 * Lets in as many requests as are answered in good time, by how long the last ones took. While answers are quick everybody is let in. When they are slow,
 * whoever comes beyond what can be done is turned away at once and before anything was done, instead of waiting for what would come too late: so those who
 * are let in are answered, and nothing is decided for callers who have gone. It is over with the first look in which nobody was turned away.
 * It is no account: each isolate goes by what it sees of one tenant.
 */
export class Pace {
  #perSecond = Number.POSITIVE_INFINITY;
  #burst = BURST;
  /** When the next may come, while there is a limit. */
  #nextAt: Instant = 0;
  /** How many looks in a row found all well. */
  #well = 0;
  #best = 0;
  #inside = 0;
  #endedAt: Instant = 0;
  #since: Instant = 0;
  #answered = 0;
  #turnedAway = 0;
  #tookMs = 0;

  /** Whether one more may come in now. */
  admits(now: Instant): boolean {
    this.#look(now);
    if (this.#inside >= MOST_AT_ONCE) {
      this.#turnedAway++;
      if (now - this.#endedAt > LOST_AFTER_MS) this.#inside = 0;
      return false;
    }
    if (this.#perSecond === Number.POSITIVE_INFINITY) return true;
    if (this.#burst > 0) {
      this.#burst--;
      return true;
    }
    if (this.#nextAt > now) {
      this.#turnedAway++;
      return false;
    }
    // A place that nobody took is free for a moment and then gone: what was not used is not owed.
    this.#nextAt = Math.max(this.#nextAt, now - LOOK_MS / 5) + 1_000 / this.#perSecond;
    return true;
  }

  /** One that was let in is being answered. */
  begin(): void {
    this.#inside++;
  }

  /** It has its answer. */
  end(tookMs: number, now: Instant): void {
    this.#inside = Math.max(0, this.#inside - 1);
    this.#endedAt = now;
    this.#answered++;
    this.#tookMs += tookMs;
    this.#look(now);
  }

  #look(now: Instant): void {
    const elapsed = now - this.#since;
    if (elapsed < (this.#answered < FEW ? 2 * LOOK_MS : LOOK_MS)) return;
    this.#best = Math.max(this.#best * FADES, (this.#answered * 1_000) / elapsed);
    if (this.#answered > 0 && this.#tookMs / this.#answered > SLOW_MS) {
      this.#perSecond = Math.max(LEAST_PER_SECOND, Math.min(this.#perSecond, this.#best) * LESS);
      this.#well = 0;
    } else if (this.#turnedAway > 0) {
      this.#perSecond *= MORE;
      this.#well = 0;
    } else {
      this.#perSecond = Number.POSITIVE_INFINITY;
      if (++this.#well >= WELL) this.#burst = BURST;
    }
    this.#since = now;
    this.#answered = 0;
    this.#turnedAway = 0;
    this.#tookMs = 0;
  }
}
