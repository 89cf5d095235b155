import { type Approval, isOpen } from "./approvals.ts";
import { assert } from "./assert.ts";
import { type ClientLease, heldBy } from "./client_lease.ts";
import type { Balance, Decision, DecisionState, Reservation, Settlement, Verdict } from "./decision.ts";
import { CHAIN_START, type ChainHead, type SealedEntry } from "./entry.ts";
import { globsMeet, matchesGlob } from "./glob.ts";
import type { ApprovalId, DecisionId, LeaseId, RunId, SessionId } from "./ids.ts";
import type { JsonValue } from "./json.ts";
import { lessUsd, type MicroUsd, microUsdOf, minUsd, ZERO_USD } from "./money.ts";
import { Pendings } from "./pendings.ts";
import type { BudgetLimit, Findings, Limit, Path, PolicyRef, RateLimit, SharedLimit } from "./policy/findings.ts";
import type { Redaction } from "./redact.ts";
import type { ActionRequest, RiskLevel } from "./request.ts";
import {
  countPiece,
  forkShares,
  noPermits,
  noShares,
  type Permits,
  type Piece,
  type PieceDelta,
  permitKey,
  rollSpans,
  type Shares,
  sliceOf,
  spanOf,
  unusedOf,
} from "./shares.ts";
import type { Instant } from "./time.ts";
import type { Trace, TraceChange, Trail } from "./trail.ts";
import { firstWithin, type HitLog } from "./windows.ts";

/**
 * One account. The law of conservation, for a limit L: L + excess = free + leased + pending + posted, where free = max(0, L - spent),
 * excess = max(0, spent - L) and spent = leased + pending + posted. While the policy stands and nothing overran, excess is zero.
 */
export interface Account {
  /** All that was reported as spent, overruns included. */
  readonly postedMicroUsd: MicroUsd;
  /** Reserved and not yet settled. */
  readonly pendingMicroUsd: MicroUsd;
  /** Handed out in client leases. */
  readonly leasedMicroUsd: MicroUsd;
  /** The part of what was posted that no reservation covered. */
  readonly overrunMicroUsd: MicroUsd;
}

/**
 * What a session spends at most before everything is denied: half of what a number tells exactly. So a report of any single amount that the door
 * lets in can still be recorded on top.
 */
export const MOST_SPENT: MicroUsd = microUsdOf(4_500_000_000_000_000);

export const EMPTY_ACCOUNT: Account = { postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD, leasedMicroUsd: ZERO_USD, overrunMicroUsd: ZERO_USD };

export const spentOf = (account: Account): MicroUsd => microUsdOf(account.postedMicroUsd + account.pendingMicroUsd + account.leasedMicroUsd);

export const freeOf = (account: Account, limit: MicroUsd): MicroUsd => lessUsd(limit, spentOf(account));

/** What a decision was about, kept for as long as it may still be settled. */
export interface Matter {
  readonly run: RunId;
  readonly action: string;
  readonly tags: readonly string[];
  readonly riskLevel: RiskLevel | null;
  readonly policy: PolicyRef;
  /** Which accounts its money is in: those of the budgets, or the reserve for winding down. */
  readonly fund: Fund;
  /** The limits it was counted against. */
  readonly limits: readonly Limit[];
  readonly alerts: readonly number[];
  /** What of its outputs is to be kept for rules that look back. */
  readonly keepOutputs: readonly Path[];
  readonly redaction: Redaction | null;
  /** What rules that look at the estimate need of the request, should more be asked for later; `null` when no rule does. */
  readonly asked: (Pick<ActionRequest, "resource" | "inputs"> & { readonly paths: readonly Path[] }) | null;
  readonly onExpiry: Findings["onExpiry"];
  readonly compliance: Findings["compliance"];
}

/** Where an action is paid from. */
export type Fund = "budgets" | "wind_down";

/** A reservation that nobody has settled yet. */
export interface Pending {
  readonly id: DecisionId;
  readonly reservation: Reservation;
  readonly matter: Matter;
  /** When its money was taken; none for what is paid from the reserve for winding down. */
  readonly pieces: readonly Piece[];
}

/** A decision as it is kept for whoever asks again. */
export interface Decided {
  readonly decision: Decision;
  /** Digest of the request's body. */
  readonly fingerprint: string;
  readonly state: Extract<DecisionState, "pending" | "denied" | "held">;
  /** `null` unless it was allowed; the same holds for the trace it leaves. */
  readonly matter: Matter | null;
  readonly pieces: readonly Piece[];
  readonly trace: Trace | null;
}

/** Where a decision's money is, once it is no longer pending. */
export interface Settled {
  readonly id: DecisionId;
  readonly action: string;
  readonly became: TraceChange;
  readonly state: Extract<DecisionState, "posted" | "released" | "expired">;
  readonly postedMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
  /** Of what is posted. */
  readonly pieces: readonly Piece[];
  /** The report that settled it and the answer it got; `null` when it expired. */
  readonly told: { readonly fingerprint: string; readonly settlement: Settlement } | null;
}

/**
 * Everything one session knows about its money, windows, runs and chain: what a decision is made from. It holds what is unsettled and what
 * windows still look at; decisions that are over live in the store. Only `apply` changes it, and only a turn calls `apply`.
 */
export interface Book {
  readonly tenant: string;
  readonly session: SessionId;
  readonly agent: string;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
  /** The session's own cap, which can only tighten the policy's. */
  readonly budgetMicroUsd: MicroUsd | null;
  closed: boolean;
  /** The latest instant seen. A session's clock never goes back. */
  clock: Instant;
  head: ChainHead;
  currentRun: RunId;
  total: Account;
  readonly runs: Map<RunId, RunBook>;
  /** What was paid from the reserve for winding down; in none of the other accounts. */
  windDown: Account;
  /** By exact action name: what a glob's account holds is the sum over the names it matches, so that a new policy counts what went before. */
  readonly actions: Map<string, Account>;
  readonly pending: Pendings;
  /** Allowed calls by the log that counts them: see `logOf`. */
  readonly hits: Map<string, Instant[]>;
  readonly counts: { allow: number; deny: number; hold: number };
  preventedMicroUsd: MicroUsd;
  /** What rules look back at. */
  readonly trail: Trail;
  /** Of accounts that have reached one, the highest part of their limit, in millionths, that was said. By `alertKey`. */
  readonly alerted: Map<string, number>;
  /** What the session spends together with others. */
  readonly shares: Shares;
  /** Approvals that may still be answered or used, and those that were closed in this turn. */
  readonly approvals: Map<ApprovalId, Approval>;
  /** No approval expires before this instant. */
  nextApprovalExpiry: Instant;
  /** Client leases that are open, and those that ran out of which nobody has said yet what became of their money. */
  readonly leases: Map<LeaseId, ClientLease>;
  /** No client lease ends before this instant. */
  nextLeaseEnd: Instant;
  /** Sums over `actions` by glob, made when first asked for and kept up to date. */
  readonly sums: Map<string, Account>;
}

/** What a book begins with. */
export interface Opening {
  readonly tenant: string;
  readonly session: SessionId;
  readonly agent: string;
  readonly openedAt: Instant;
  readonly expiresAt: Instant;
  readonly budgetMicroUsd: MicroUsd | null;
  /** The first run, which a `run_opened` effect opens. */
  readonly run: RunId;
}

/** The book of a session to which nothing has happened. */
export const emptyBook = ({ run, ...opening }: Opening, trail: Trail): Book => ({
  ...opening,
  closed: false,
  clock: opening.openedAt,
  head: CHAIN_START,
  currentRun: run,
  total: EMPTY_ACCOUNT,
  windDown: EMPTY_ACCOUNT,
  runs: new Map(),
  actions: new Map(),
  pending: new Pendings(),
  hits: new Map(),
  counts: { allow: 0, deny: 0, hold: 0 },
  preventedMicroUsd: ZERO_USD,
  trail,
  alerted: new Map(),
  shares: noShares(opening.openedAt),
  approvals: new Map(),
  nextApprovalExpiry: Number.POSITIVE_INFINITY,
  leases: new Map(),
  nextLeaseEnd: Number.POSITIVE_INFINITY,
  sums: new Map(),
});

export interface RunBook {
  closed: boolean;
  account: Account;
}

/** One thing that happened to a book. A decision is a list of them, applied together or not at all. */
export type Effect =
  | { readonly kind: "clock"; readonly at: Instant }
  | {
      readonly kind: "money";
      readonly fund: Fund;
      readonly run: RunId;
      readonly action: string;
      readonly delta: Delta;
      readonly pieces: readonly PieceDelta[];
    }
  | { readonly kind: "reserved"; readonly pending: Pending }
  | { readonly kind: "changed"; readonly id: DecisionId; readonly reservation: Reservation; readonly pieces: readonly Piece[] }
  | { readonly kind: "decided"; readonly decided: Decided }
  | { readonly kind: "settled"; readonly settled: Settled }
  | { readonly kind: "hit"; readonly log: string; readonly at: Instant; readonly keepMs: number }
  | { readonly kind: "permit_used"; readonly permits: Pick<Permits, "per" | "pattern">; readonly at: Instant }
  | { readonly kind: "alerted"; readonly key: string; readonly millionths: number }
  | { readonly kind: "answered"; readonly verdict: Verdict; readonly preventedMicroUsd: MicroUsd }
  | { readonly kind: "run_opened"; readonly run: RunId }
  | { readonly kind: "run_closed"; readonly run: RunId }
  | { readonly kind: "session_closed" }
  /** `card`: what people are shown, where that is new. */
  | { readonly kind: "approval"; readonly approval: Approval; readonly card: JsonValue | null }
  /** A client lease was granted, or is now as it says: what it holds more or less than before has moved with it. */
  | { readonly kind: "lease"; readonly lease: ClientLease; readonly pieces: readonly PieceDelta[] }
  | { readonly kind: "recorded"; readonly sealed: SealedEntry };

/** Signed changes in micro-USD. */
export interface Delta {
  readonly posted: number;
  readonly pending: number;
  readonly overrun: number;
  /** Absent: none. */
  readonly leased?: number;
}

/** The account that a limit limits: of one that sessions share, what is known of it here. */
export function accountOf(book: Book, limit: Limit, run: RunId): Account {
  switch (limit.scope) {
    case "agent":
    case "tenant":
      return sharedAccount(book, limit);
    case "session":
      return book.total;
    case "run":
      return book.runs.get(run)?.account ?? EMPTY_ACCOUNT;
    case "wind_down":
      return book.windDown;
    case "action":
      return withLeases(
        book.leases.values(),
        limit.pattern,
        limit.pattern.includes("*") ? sumOf(book, limit.pattern) : (book.actions.get(limit.pattern) ?? EMPTY_ACCOUNT),
      );
  }
}

/** An action's account with what client leases hold that may be spent on it: on which action it will be nobody knows before it is told. */
export function withLeases(leases: Iterable<ClientLease>, pattern: string, account: Account): Account {
  let sum = account;
  for (const lease of leases) {
    if (!lease.actions.some((glob) => globsMeet(pattern, glob))) continue;
    sum = moved(sum, { ...heldBy(lease), pending: 0, overrun: 0 });
  }
  return sum;
}

/** The limits that count for a session: the policy's, with the session's own cap where that is tighter. */
export function limitsFor(book: Book, limits: readonly BudgetLimit[]): readonly BudgetLimit[] {
  const cap = book.budgetMicroUsd;
  if (cap === null) return limits;
  const ofSession = limits.find((limit) => limit.scope === "session");
  const tighter: BudgetLimit = { scope: "session", limitMicroUsd: ofSession === undefined ? cap : minUsd(cap, ofSession.limitMicroUsd) };
  const isWider = ({ scope }: BudgetLimit): boolean => scope === "agent" || scope === "tenant";
  const narrower = limits.filter((limit) => limit.scope !== "session" && !isWider(limit));
  return [...narrower, tighter, ...limits.filter(isWider)];
}

/** The balances that a decision shows: every limit that counts for it, its run and session even where they have none, and the reserve if it has one. */
export function balancesOf(book: Book, limits: readonly Limit[], run: RunId): readonly Balance[] {
  if (limits.length === 0) return [ofRun(book, run, null), balance("session", book.session, null, book.total)];
  const balances: Balance[] = [];
  for (const limit of limits) {
    if (limit.scope === "action") balances.push(balance(limit.scope, limit.pattern, limit.limitMicroUsd, accountOf(book, limit, run)));
  }
  const runLimit = limits.find((limit) => limit.scope === "run");
  const ofSession = limits.find((limit) => limit.scope === "session");
  const reserve = limits.find((limit) => limit.scope === "wind_down");
  balances.push(ofRun(book, run, runLimit?.limitMicroUsd ?? null));
  balances.push(balance("session", book.session, ofSession?.limitMicroUsd ?? null, book.total));
  if (reserve !== undefined) balances.push(balance("wind_down", "wind_down", reserve.limitMicroUsd, book.windDown));
  for (const limit of limits) {
    if (limit.scope !== "agent" && limit.scope !== "tenant") continue;
    const slice = sliceOf(book.shares, limit);
    balances.push({
      ...balance(limit.scope, limit.scope === "agent" ? book.agent : book.tenant, limit.limitMicroUsd, sharedAccount(book, limit)),
      window: { name: limit.window, startsAt: spanOf(book.shares, limit.window).startsAt, resetsAt: spanOf(book.shares, limit.window).endsAt },
      sliceMicroUsd: slice === null ? ZERO_USD : unusedOf(book.shares, slice),
    });
  }
  return balances;
}

const ofRun = (book: Book, run: RunId, limitMicroUsd: MicroUsd | null): Balance =>
  balance("run", run, limitMicroUsd, book.runs.get(run)?.account ?? EMPTY_ACCOUNT);

/** An account that sessions share: what this one has in it, and the others by their tenant's last word. */
function sharedAccount({ shares }: Book, limit: SharedLimit): Account {
  const { postedMicroUsd, pendingMicroUsd, overrunMicroUsd } = spanOf(shares, limit.window);
  const others = sliceOf(shares, limit)?.others;
  return {
    // A figure for people: what decides is the slice. It stays at the largest number rather than stop the record.
    postedMicroUsd: microUsdOf(Math.min(Number.MAX_SAFE_INTEGER, postedMicroUsd + (others?.postedMicroUsd ?? 0))),
    pendingMicroUsd: microUsdOf(Math.min(Number.MAX_SAFE_INTEGER, pendingMicroUsd + (others?.pendingMicroUsd ?? 0))),
    leasedMicroUsd: others?.leasedMicroUsd ?? ZERO_USD,
    overrunMicroUsd,
  };
}

/** Makes what happened part of the book. Cannot fail but by a broken law, and then the caller drops the book and reads it again from its store. */
export function apply(book: Book, effect: Effect): void {
  switch (effect.kind) {
    case "clock":
      assert(effect.at >= book.clock, "a session's clock never goes back");
      book.clock = effect.at;
      rollSpans(book.shares, effect.at);
      return;
    case "money": {
      if (effect.fund === "wind_down") {
        book.windDown = moved(book.windDown, effect.delta);
        return;
      }
      for (const piece of effect.pieces) countPiece(book.shares, piece);
      const run = book.runs.get(effect.run);
      assert(run !== undefined, "money moves only in a run of the session");
      book.total = moved(book.total, effect.delta);
      run.account = moved(run.account, effect.delta);
      book.actions.set(effect.action, moved(book.actions.get(effect.action) ?? EMPTY_ACCOUNT, effect.delta));
      if (book.sums.size === 0) return;
      for (const [pattern, sum] of book.sums) {
        if (matchesGlob(pattern, effect.action)) book.sums.set(pattern, moved(sum, effect.delta));
      }
      return;
    }
    case "reserved":
      assert(!book.pending.has(effect.pending.id), "a decision reserves once");
      book.pending.set(effect.pending);
      return;
    case "changed": {
      const pending = book.pending.get(effect.id);
      assert(pending !== undefined, "only a pending reservation is changed");
      book.pending.set({ ...pending, reservation: effect.reservation, pieces: effect.pieces });
      book.trail.change(effect.id, pending.matter.action, { amountMicroUsd: effect.reservation.amountMicroUsd });
      return;
    }
    case "decided":
      if (effect.decided.trace !== null) book.trail.add(effect.decided.trace);
      return;
    case "settled":
      book.pending.delete(effect.settled.id);
      book.trail.change(effect.settled.id, effect.settled.action, effect.settled.became);
      return;
    case "alerted":
      book.alerted.set(effect.key, effect.millionths);
      return;
    case "hit": {
      const log = book.hits.get(effect.log) ?? [];
      const gone = firstWithin(log, effect.keepMs, effect.at);
      // Cut only now and then: cutting moves everything that stays.
      if (gone > 64 && gone * 2 > log.length) log.splice(0, gone);
      log.push(effect.at);
      book.hits.set(effect.log, log);
      return;
    }
    case "permit_used": {
      const key = permitKey(effect.permits);
      const known = book.shares.permits.get(key) ?? noPermits(effect.permits);
      // A policy that only observes lets calls through that nobody gave leave for.
      book.shares.permits.set(key, { ...known, unused: Math.max(0, known.unused - 1), used: [...known.used, effect.at] });
      return;
    }
    case "answered":
      book.counts[effect.verdict]++;
      // A figure for people, which nothing is decided by: it stays at the largest number rather than stop the record.
      book.preventedMicroUsd = microUsdOf(Math.min(Number.MAX_SAFE_INTEGER, book.preventedMicroUsd + effect.preventedMicroUsd));
      return;
    case "run_opened":
      assert(!book.runs.has(effect.run), "a run is opened once");
      book.runs.set(effect.run, { closed: false, account: EMPTY_ACCOUNT });
      book.currentRun = effect.run;
      return;
    case "run_closed": {
      const run = book.runs.get(effect.run);
      assert(run !== undefined, "only a run of the session is closed");
      run.closed = true;
      return;
    }
    case "session_closed":
      book.closed = true;
      return;
    case "approval":
      book.approvals.set(effect.approval.id, effect.approval);
      if (isOpen(effect.approval)) book.nextApprovalExpiry = Math.min(book.nextApprovalExpiry, effect.approval.expiresAt);
      return;
    case "lease": {
      const { lease } = effect;
      const run = book.runs.get(lease.run);
      assert(run !== undefined, "a lease is of a run of the session");
      const was = heldBy(book.leases.get(lease.id) ?? null);
      const is = heldBy(lease);
      const delta: Delta = { posted: is.posted - was.posted, leased: is.leased - was.leased, pending: 0, overrun: 0 };
      for (const piece of effect.pieces) countPiece(book.shares, piece);
      book.total = moved(book.total, delta);
      run.account = moved(run.account, delta);
      // What is over and holds nothing moves nothing any more, but by what somebody tells of it.
      if (lease.state === "open" || lease.heldMicroUsd > 0) book.leases.set(lease.id, lease);
      else book.leases.delete(lease.id);
      if (lease.state === "open") book.nextLeaseEnd = Math.min(book.nextLeaseEnd, lease.expiresAt);
      return;
    }
    case "recorded":
      assert(effect.sealed.entry.seq === book.head.seq + 1 && effect.sealed.entry.prev_hash === book.head.hash, "an entry follows the one before it");
      book.head = { seq: effect.sealed.entry.seq, hash: effect.sealed.hash };
      return;
  }
}

/** A copy whose changes the book does not see: for trying a batch before deciding it. */
export const forkBook = (book: Book): Book => ({
  ...book,
  runs: new Map(Array.from(book.runs, ([id, run]) => [id, { ...run }])),
  actions: new Map(book.actions),
  pending: book.pending.fork(),
  hits: new Map(Array.from(book.hits, ([pattern, log]) => [pattern, [...log]])),
  counts: { ...book.counts },
  trail: book.trail.fork(),
  alerted: new Map(book.alerted),
  shares: forkShares(book.shares),
  approvals: new Map(book.approvals),
  leases: new Map(book.leases),
  sums: new Map(book.sums),
});

/** Whose calls a rate counts, where it is not this session's alone. */
export const sharedRate = ({ per, pattern }: Pick<RateLimit, "pattern" | "per">): Pick<Permits, "per" | "pattern"> | null =>
  per === "agent" || per === "tenant" ? { per, pattern } : null;

/** The log that counts calls for a rate: the session's, or one for each run. A pattern has no spaces, so neither is taken for the other. */
export const logOf = (rate: Pick<RateLimit, "pattern" | "per">, run: RunId): string => (rate.per === "run" ? `${rate.pattern} ${run}` : rate.pattern);

export const hitsOf = (book: Book, log: string): HitLog => book.hits.get(log) ?? [];

function sumOf(book: Book, pattern: string): Account {
  const known = book.sums.get(pattern);
  if (known !== undefined) return known;
  let sum = EMPTY_ACCOUNT;
  for (const [action, account] of book.actions) {
    if (!matchesGlob(pattern, action)) continue;
    sum = {
      postedMicroUsd: microUsdOf(sum.postedMicroUsd + account.postedMicroUsd),
      pendingMicroUsd: microUsdOf(sum.pendingMicroUsd + account.pendingMicroUsd),
      leasedMicroUsd: microUsdOf(sum.leasedMicroUsd + account.leasedMicroUsd),
      overrunMicroUsd: microUsdOf(sum.overrunMicroUsd + account.overrunMicroUsd),
    };
  }
  book.sums.set(pattern, sum);
  return sum;
}

const balance = (scope: Balance["scope"], name: string, limitMicroUsd: MicroUsd | null, account: Account): Balance => ({
  scope,
  name,
  limitMicroUsd,
  postedMicroUsd: account.postedMicroUsd,
  pendingMicroUsd: account.pendingMicroUsd,
  leasedMicroUsd: account.leasedMicroUsd,
});

const moved = (account: Account, delta: Delta): Account => ({
  postedMicroUsd: microUsdOf(account.postedMicroUsd + delta.posted),
  pendingMicroUsd: microUsdOf(account.pendingMicroUsd + delta.pending),
  leasedMicroUsd: microUsdOf(account.leasedMicroUsd + (delta.leased ?? 0)),
  overrunMicroUsd: microUsdOf(account.overrunMicroUsd + delta.overrun),
});
