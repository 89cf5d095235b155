/**
 * How long a session may act on what its tenant last told it. A policy, a revocation or a kill whose push was lost is obeyed by every session after this
 * long at the latest; without an answer from the tenant for this long, a session denies. Whoever decides by a client lease obeys at the end of that.
 */
export const LEASE_TERM_MS = 30_000;
