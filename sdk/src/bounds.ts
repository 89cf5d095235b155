/** How long the core waits, and what it does not believe. In a file that imports nothing, so that a bundler writes each in its place. */

export const FIRST_PAUSE_MS = 100;

export const LONGEST_PAUSE_MS = 2_000;

/** Nobody is believed who says to come back later than this: a clock may be wrong, here or there, and a timer that is longer fires at once. */
export const LONGEST_RETRY_MS = 86_400_000;

/** The gateway holds an answer back for 30 s at most; proxies in between often for less. */
export const WAIT_MS = 25_000;

/** A gateway that answers at once although the decision is held is not asked more often than this. */
export const PACE_MS = 1_000;

/** Nor so often where nobody answers. */
export const LOST_PACE_MS = 5_000;

/** A question that was let go has arrived after so long, or never will. */
export const AGAIN_MS = 3_000;

/** A token that is shorter is nobody's secret, and may well be part of a word. */
export const SHORTEST_SECRET = 16;
