import { expireApproval, isOpen } from "./approvals.ts";
import { apply, type Book, balancesOf, type Effect, type Matter, type Pending } from "./book.ts";
import { expireLeases } from "./client_lease.ts";
import type { Balance, EntryMark, Reservation } from "./decision.ts";
import type { Sha256 } from "./digest.ts";
import { type AccountMovement, CHAIN_START, type Entry, type EntryDraft, type EntryKind, type Payload, seal } from "./entry.ts";
import type { EntryId } from "./ids.ts";
import { formatUsd, ZERO_USD } from "./money.ts";
import type { Principal } from "./request.ts";
import { beganAt, settlePieces } from "./shares.ts";
import { shownText } from "./shown.ts";
import { formatInstant, type Instant } from "./time.ts";

/**
 * A turn at a book: one instant, and the list of what happens in it. Whoever owns the book stores that list in one transaction; should that
 * fail, the book is read again from the store, and the turn was never.
 */
export interface Turn {
  readonly book: Book;
  readonly now: Instant;
  readonly effects: Effect[];
  readonly sha256: Sha256;
  /**
   * An entry's id and a salt of 32 hexadecimal digits, made from randomness outside, fresh at every call. `null`: what happens is not written down as
   * entries, because whoever owns the book keeps a record of its own.
   */
  readonly fresh: (() => { readonly entryId: EntryId; readonly salt: string }) | null;
}

/** Opens a turn: moves the session's clock, which never goes back, and expires what has run out by then. */
export function openTurn(book: Book, clock: Instant, tools: Pick<Turn, "sha256" | "fresh">): Turn {
  // Spans may have moved on without a turn: money that counts in them is never of before they began.
  const now = Math.max(clock, book.clock, beganAt(book.shares));
  const turn: Turn = { book, now, effects: [], sha256: tools.sha256, fresh: tools.fresh };
  book.trail.begin();
  const due = book.pending.takeExpired(now);
  if (now > book.clock) happen(turn, { kind: "clock", at: now });
  for (const pending of due) expire(turn, pending);
  expireLeases(turn);
  // What was closed in an earlier turn is in the store by now.
  if (book.approvals.size > 0) for (const [id, approval] of book.approvals) if (!isOpen(approval)) book.approvals.delete(id);
  if (now >= book.nextApprovalExpiry) {
    for (const one of [...book.approvals.values()]) if (one.expiresAt <= now) expireApproval(turn, one);
    book.nextApprovalExpiry = Number.POSITIVE_INFINITY;
    for (const one of book.approvals.values()) if (isOpen(one)) book.nextApprovalExpiry = Math.min(book.nextApprovalExpiry, one.expiresAt);
  }
  return turn;
}

/** Makes something happen: in the book now, in the store with the rest of the turn. */
export function happen(turn: Turn, effect: Effect): void {
  apply(turn.book, effect);
  turn.effects.push(effect);
}

/** What an entry says, and what lies beside it. */
export interface Says {
  readonly says: Partial<EntryDraft>;
  readonly payload: Omit<Payload, "salt"> | null;
}

/** As `record`, and what the entry says is made only where it is written. */
export function note(turn: Turn, kind: EntryKind, make: () => Says): EntryMark {
  if (turn.fresh === null) return UNWRITTEN;
  const { says, payload } = make();
  return record(turn, kind, says, payload);
}

/** What an entry shows from before something happens, where one will be written. */
export const lookedAt = (turn: Turn, look: () => readonly Balance[]): readonly Balance[] => (turn.fresh === null ? [] : look());

/** Stands for an entry that nobody wrote. */
const UNWRITTEN: EntryMark = { id: "ent_00000000-0000-7000-8000-000000000000", ...CHAIN_START };

/** Writes an entry at the end of the session's chain, where the turn writes any. */
export function record(turn: Turn, kind: EntryKind, says: Partial<EntryDraft>, payload: Omit<Payload, "salt"> | null): EntryMark {
  const { book } = turn;
  if (turn.fresh === null) return UNWRITTEN;
  const { entryId, salt } = turn.fresh();
  const policy = says.policy ?? null;
  const draft: EntryDraft = {
    ...says,
    policy: policy === null ? null : { digest: policy.digest, name: policy.name, version: policy.version },
    id: entryId,
    kind,
    timestamp: formatInstant(turn.now),
    tenant_id: book.tenant,
    session_id: book.session,
    agent_id: book.agent,
  };
  const sealed = seal(turn.sha256, book.head, draft, payload === null ? null : { ...payload, salt });
  happen(turn, { kind: "recorded", sealed });
  return { id: entryId, seq: sealed.entry.seq, hash: sealed.hash };
}

/** What an entry about a decided action repeats of it, so that one entry alone can be found and read. */
export const aboutMatter = (id: string, matter: Matter): Partial<EntryDraft> => ({
  run_id: matter.run,
  action: matter.action,
  tags: matter.tags.map((tag) => shownText(tag, matter.redaction)),
  risk_level: matter.riskLevel,
  decision_id: id,
  policy: matter.policy,
  compliance_metadata: matter.compliance,
});

export const signature = (principal: Principal): Entry["principal"] => ({
  kind: principal.kind,
  subject: principal.subject,
  token_id: principal.tokenId,
});

export const reservationText = (reservation: Reservation): NonNullable<Entry["reservation"]> => ({
  amount_usd: formatUsd(reservation.amountMicroUsd),
  expires_at: formatInstant(reservation.expiresAt),
});

/** What happened to accounts between two looks at the same ones. Here and below, members stand in canonical order: see `canonicalJson`. */
export const movements = (before: readonly Balance[], after: readonly Balance[]): readonly AccountMovement[] =>
  before.map((balance, place) => ({
    after: sides(after[place] ?? balance),
    before: sides(balance),
    limit_usd: balance.limitMicroUsd === null ? null : formatUsd(balance.limitMicroUsd),
    name: balance.name,
    scope: balance.scope,
    ...(balance.window !== undefined && { window: `${balance.window.name} ${formatInstant(balance.window.startsAt)}` }),
  }));

const sides = (balance: Balance): AccountMovement["before"] => ({
  // Of an account that sessions share it is the others' money.
  ...(balance.leasedMicroUsd > 0 && balance.window === undefined && { leased_usd: formatUsd(balance.leasedMicroUsd) }),
  pending_usd: formatUsd(balance.pendingMicroUsd),
  posted_usd: formatUsd(balance.postedMicroUsd),
  ...(balance.sliceMicroUsd !== undefined && { slice_usd: formatUsd(balance.sliceMicroUsd) }),
});

/** Nobody has proven that nothing was spent: unless the policy says release, a reservation that runs out is posted at its estimate. */
function expire(turn: Turn, { id, reservation, matter, pieces: were }: Pending): void {
  const { book } = turn;
  const { amountMicroUsd } = reservation;
  const posted = matter.onExpiry === "post" ? amountMicroUsd : ZERO_USD;
  const before = lookedAt(turn, () => balancesOf(book, matter.limits, matter.run));
  const { pieces, deltas } = settlePieces(were, "pending", { at: turn.now, posted, overrun: ZERO_USD });
  const delta = { posted, pending: -amountMicroUsd, overrun: 0 };
  happen(turn, { kind: "money", fund: matter.fund, run: matter.run, action: matter.action, delta, pieces: deltas });
  note(turn, "expiry", () => ({
    says: {
      ...aboutMatter(id, matter),
      cost_usd: formatUsd(posted),
      reservation: reservationText(reservation),
      accounts: movements(before, balancesOf(book, matter.limits, matter.run)),
    },
    payload: null,
  }));
  const became = { outcome: "expired", endedAt: turn.now, amountMicroUsd: posted } as const;
  happen(turn, {
    kind: "settled",
    settled: { id, action: matter.action, became, state: "expired", postedMicroUsd: posted, overrunMicroUsd: ZERO_USD, pieces, told: null },
  });
}
