import { balancesOf } from "./book.ts";
import type { EntryMark } from "./decision.ts";
import type { EntryDraft } from "./entry.ts";
import type { LeaseId, RunId } from "./ids.ts";
import { addUsd, formatUsd, type MicroUsd, ZERO_USD } from "./money.ts";
import type { LeaseFindings, Limit } from "./policy/findings.ts";
import { formatInstant, type Instant } from "./time.ts";
import { happen, lookedAt, movements, note, type Turn } from "./turn.ts";

/**
 * A client lease: a slice of a session's budget with which its holder decides by itself until it ends. What it holds is taken already, from every account
 * that it may be spent from, so nothing that its holder does can pass a limit. What was done with it is told later, and never refused.
 */
export interface ClientLease {
  readonly id: LeaseId;
  readonly run: RunId;
  /** Names and globs: nothing else is decided with it. */
  readonly actions: readonly string[];
  readonly amountMicroUsd: MicroUsd;
  readonly grantedAt: Instant;
  readonly expiresAt: Instant;
  /** `expired`: it ran out, and nobody has said yet that nothing more was spent with it. */
  readonly state: "open" | "settled" | "expired";
  /** While it is open, leased and not yet told of. After it ran out, what was posted for it and nobody has told of. Else nothing. */
  readonly heldMicroUsd: MicroUsd;
  /** What went back, less what late reports took of it again. */
  readonly returnedMicroUsd: MicroUsd;
  /** What was told to have been spent with it, overruns included. */
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  /** The limits it was counted against, and what else the policy said when it was granted. */
  readonly limits: readonly Limit[];
  readonly terms: Pick<LeaseFindings, "policy" | "alerts" | "redaction" | "onExpiry" | "compliance">;
  /** The last entry about it. */
  readonly entry: EntryMark;
}

/** So many of one session may be open at once. */
export const MOST_OPEN_LEASES = 16;
/** So many of one session may have run out without a word: whoever leaves more behind is granted none until some are settled. */
export const MOST_UNTOLD_LEASES = 64;

/** How long a lease runs when nobody says, at least, and at most: for so long a kill may go unheard by whoever holds one. */
export const LEASE_TTL_MS = { least: 1_000, usual: 30_000, most: 60_000 } as const;

/** Where the money is that a lease holds. */
export function heldBy(lease: ClientLease | null): { readonly leased: number; readonly posted: number } {
  if (lease === null) return { leased: 0, posted: 0 };
  return lease.state === "open" ? { leased: lease.heldMicroUsd, posted: 0 } : { leased: 0, posted: lease.heldMicroUsd };
}

/** Makes a lease another: what it held as `before` moves to where `after` holds it, counted where it was taken, when it was granted. */
export function become(turn: Turn, before: ClientLease | null, after: ClientLease): void {
  const was = heldBy(before);
  const is = heldBy(after);
  // In what sessions share, leased money is pending.
  const piece = { at: after.grantedAt, pending: is.leased - was.leased, posted: is.posted - was.posted, overrun: 0 };
  happen(turn, { kind: "lease", lease: after, pieces: piece.pending === 0 && piece.posted === 0 ? [] : [piece] });
}

/** What every entry about a lease says of it. */
export const aboutLease = (lease: Pick<ClientLease, "id" | "run" | "actions" | "amountMicroUsd" | "expiresAt" | "terms">, event: string) =>
  ({
    run_id: lease.run,
    policy: lease.terms.policy,
    compliance_metadata: lease.terms.compliance,
    reservation: { amount_usd: formatUsd(lease.amountMicroUsd), expires_at: formatInstant(lease.expiresAt) },
    details: { actions: lease.actions, event, lease: lease.id },
  }) satisfies Partial<EntryDraft>;

/** Ends the leases that have run out: unless the policy says release, what nobody told of is posted, since nobody proved that it was not spent. */
export function expireLeases(turn: Turn): void {
  const { book, now } = turn;
  if (now < book.nextLeaseEnd) return;
  const due = [...book.leases.values()].filter(({ state, expiresAt }) => state === "open" && expiresAt <= now);
  for (const lease of due.sort((a, b) => a.expiresAt - b.expiresAt)) expire(turn, lease);
  book.nextLeaseEnd = Number.POSITIVE_INFINITY;
  for (const { state, expiresAt } of book.leases.values()) if (state === "open") book.nextLeaseEnd = Math.min(book.nextLeaseEnd, expiresAt);
}

function expire(turn: Turn, lease: ClientLease): void {
  const { book } = turn;
  const posts = lease.terms.onExpiry === "post";
  const before = lookedAt(turn, () => balancesOf(book, lease.limits, lease.run));
  const over: ClientLease = posts
    ? { ...lease, state: "expired" }
    : { ...lease, state: "expired", heldMicroUsd: ZERO_USD, returnedMicroUsd: addUsd(lease.returnedMicroUsd, lease.heldMicroUsd) };
  become(turn, lease, over);
  const entry = note(turn, "expiry", () => ({
    says: {
      ...aboutLease(lease, "lease_expired"),
      cost_usd: formatUsd(posts ? lease.heldMicroUsd : ZERO_USD),
      accounts: movements(before, balancesOf(book, lease.limits, lease.run)),
    },
    payload: null,
  }));
  become(turn, over, { ...over, entry });
}
