/**
 * How long a session may act on what its tenant last told it. A policy, a revocation or (later) a kill whose push was lost is in force everywhere
 * after this long at the latest; without an answer from the tenant for this long, a session denies.
 */
export const LEASE_TERM_MS = 30_000;
