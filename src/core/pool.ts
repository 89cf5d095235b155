import type { BudgetWindow } from "./calendar.ts";
import { lessUsd, type MicroUsd, microUsdOf, ZERO_USD } from "./money.ts";
import type { CallLimit, Others, PermitDraw, PermitWord, SliceDraw, SliceWord, Span } from "./shares.ts";
import type { Instant } from "./time.ts";
import { countWithin, type HitLog, resetMs, waitMs } from "./windows.ts";

/**
 * A tenant's side of the accounts that sessions share: how much of each it has given to whom. What it has given counts as taken until the session
 * itself says less, so nothing is ever given twice, whoever crashes and whichever answer is lost. The session's side is `shares.ts`.
 */

/** What one session has of an account in one stretch. */
export interface Holding {
  /** All it was given, spent or not: the session spends no more than that, but for overruns. */
  readonly grantedMicroUsd: MicroUsd;
  /** As it last said. */
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
}

/** An account in one stretch: the sums over all holdings. `limit = free + leased + pending + posted`, where leased is what was given and not spent. */
export interface Pool extends Holding {
  /** How many hold something that they have not posted. */
  readonly holders: number;
}

export const EMPTY_HOLDING: Holding = { grantedMicroUsd: ZERO_USD, postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD };
export const EMPTY_POOL: Pool = { ...EMPTY_HOLDING, holders: 0 };

/** Each session gets at most a fourth of its equal part of what is free: slices shrink as the remainder does, and the last ones are exact. */
const PARTS = 4;

/** What was given to others and not spent, by their last word: what could come back if they were asked. */
export const leasedTo = (held: Holding): MicroUsd => microUsdOf(Math.max(0, held.grantedMicroUsd - held.postedMicroUsd - held.pendingMicroUsd));

/** Takes a session's word on where it stands, and gives it what it needs, as far as there is some: then a little more, for what comes next. */
export function give(
  pool: Pool,
  holding: Holding,
  span: Pick<Span, "postedMicroUsd" | "pendingMicroUsd">,
  asked: Pick<SliceDraw, "limitMicroUsd" | "holdsMicroUsd" | "needsMicroUsd" | "leastMicroUsd"> | null,
): { readonly pool: Pool; readonly holding: Holding; readonly grantedMicroUsd: MicroUsd; readonly isExact: boolean; readonly isShort: boolean } {
  const { postedMicroUsd, pendingMicroUsd } = span;
  const spent = postedMicroUsd + pendingMicroUsd;
  const holds = Math.max(asked?.holdsMicroUsd ?? 0, spent);
  const others = pool.grantedMicroUsd - holding.grantedMicroUsd;
  // What no number tells is beyond every limit: it is counted as far as numbers go, so that all others feel it, and nothing is given of such an account.
  const most = Number.MAX_SAFE_INTEGER - others;
  if (holds > most) {
    const posted = Math.min(postedMicroUsd, most);
    const next: Holding = {
      grantedMicroUsd: microUsdOf(most),
      postedMicroUsd: microUsdOf(posted),
      pendingMicroUsd: microUsdOf(Math.min(pendingMicroUsd, most - posted)),
    };
    return { pool: replaced(pool, holding, next), holding: next, grantedMicroUsd: ZERO_USD, isExact: true, isShort: asked !== null };
  }
  const free = Math.max(0, (asked?.limitMicroUsd ?? 0) - others - holds);
  const missing = Math.max(0, spent + (asked?.needsMicroUsd ?? 0) - holds);
  const part = Math.floor(free / (PARTS * Math.max(1, pool.holders + (isHolder(holding) ? 0 : 1))));
  const isOverrun =
    asked !== null && spent + pool.postedMicroUsd - holding.postedMicroUsd + pool.pendingMicroUsd - holding.pendingMicroUsd > asked.limitMicroUsd;
  const isShort = missing > free || isOverrun;
  // Nobody is given more than it asked for who asked for nothing, nor anything that is of no use to it.
  const isUseless = spent + (asked?.leastMicroUsd ?? 0) - holds > free;
  const granted = missing === 0 || isUseless ? 0 : Math.min(free, Math.max(missing, part));
  const next: Holding = { grantedMicroUsd: microUsdOf(holds + granted), postedMicroUsd, pendingMicroUsd };
  return {
    pool: replaced(pool, holding, next),
    holding: next,
    grantedMicroUsd: microUsdOf(granted),
    isExact: isShort || part < missing || free === 0,
    isShort,
  };
}

/** Whether more is spent and given of an account than there is, once a session's word is taken in. */
export const isOverdrawn = (
  pool: Pool,
  holding: Holding,
  { postedMicroUsd, pendingMicroUsd }: Pick<Span, "postedMicroUsd" | "pendingMicroUsd">,
  { limitMicroUsd, holdsMicroUsd }: Pick<SliceDraw, "limitMicroUsd" | "holdsMicroUsd">,
): boolean => pool.grantedMicroUsd - holding.grantedMicroUsd + Math.max(holdsMicroUsd, postedMicroUsd + pendingMicroUsd) > limitMicroUsd;

/** What a session is told of the others in an account. */
export const othersOf = (pool: Pool, holding: Holding): Others => ({
  postedMicroUsd: microUsdOf(pool.postedMicroUsd - holding.postedMicroUsd),
  pendingMicroUsd: microUsdOf(pool.pendingMicroUsd - holding.pendingMicroUsd),
  leasedMicroUsd: lessUsd(leasedTo(pool), leasedTo(holding)),
});

/** What a session is told of one account. */
export const sliceWord = (
  { scope, window, limitMicroUsd }: Pick<SliceDraw, "scope" | "window" | "limitMicroUsd">,
  startsAt: Instant,
  given: ReturnType<typeof give>,
): SliceWord => ({
  scope,
  window,
  startsAt,
  limitMicroUsd,
  grantedMicroUsd: given.grantedMicroUsd,
  others: othersOf(given.pool, given.holding),
  isExact: given.isExact,
  isShort: given.isShort,
});

/** Calls counted over many sessions: those made, and those that were given and not made. */
export interface CallPool {
  /** Instants of calls that sessions have said they made, oldest first. */
  readonly log: HitLog;
  /** Given to sessions and not made, as far as they have said. */
  readonly unused: number;
  /** How many sessions hold some. */
  readonly holders: number;
}

export interface CallHolding {
  readonly unused: number;
  /** How many uses it has told of. */
  readonly told: number;
}

/** Takes a session's word on the calls it made, and gives it leave for more. A call that was given counts as made now until the session says otherwise. */
export function giveCalls(
  pool: CallPool,
  holding: CallHolding,
  asked: PermitDraw,
  now: Instant,
): { readonly pool: CallPool; readonly holding: CallHolding; readonly fresh: readonly Instant[]; readonly word: PermitWord } {
  const { per, pattern, limits, unused, used, needs } = asked;
  // What an answer that was lost had taken in already is not counted again.
  const fresh = used.at.slice(Math.max(0, holding.told - used.from));
  const log = fresh.length === 0 ? pool.log : [...pool.log, ...fresh].sort((a, b) => a - b);
  const others = pool.unused - holding.unused;
  const room = (limit: CallLimit): number => limit.max - countWithin(log, limit.windowMs, now) - others - unused;
  const free = Math.max(0, Math.min(...limits.map(room), Number.MAX_SAFE_INTEGER));
  const holders = pool.holders + (holding.unused > 0 ? 0 : 1);
  const part = Math.floor(free / (PARTS * holders));
  const granted = limits.length === 0 || needs === 0 ? 0 : Math.min(free, Math.max(needs, part));
  const after: CallHolding = { unused: unused + granted, told: Math.max(holding.told, used.from + used.at.length) };
  const outstanding = others + after.unused;
  return {
    pool: { log, unused: outstanding, holders: pool.holders + Number(after.unused > 0) - Number(holding.unused > 0) },
    holding: after,
    fresh,
    word: {
      per,
      pattern,
      granted,
      remaining: limits.length === 0 ? 0 : Math.max(0, free - granted),
      resetsAt: limits.length === 0 ? null : now + Math.max(...limits.map(({ windowMs }) => resetMs(log, windowMs, now))),
      fitsAt: fitsAt(log, limits, outstanding, now),
      isExact: part < needs || free === 0,
      isShort: needs > granted,
    },
  };
}

/** When one more call fits at the earliest, if nobody makes another; `null` when never. What was given and not made counts as made now. */
function fitsAt(log: HitLog, limits: readonly CallLimit[], outstanding: number, now: Instant): Instant | null {
  let at = now;
  for (const { max, windowMs } of limits) {
    const wait = max <= outstanding ? (max === 0 ? null : windowMs) : waitMs(log, max - outstanding, windowMs, now);
    if (wait === null) return null;
    at = Math.max(at, now + wait);
  }
  return at;
}

const isHolder = ({ grantedMicroUsd, postedMicroUsd }: Holding): boolean => grantedMicroUsd > postedMicroUsd;

const replaced = (pool: Pool, before: Holding, after: Holding): Pool => ({
  grantedMicroUsd: microUsdOf(pool.grantedMicroUsd - before.grantedMicroUsd + after.grantedMicroUsd),
  postedMicroUsd: microUsdOf(pool.postedMicroUsd - before.postedMicroUsd + after.postedMicroUsd),
  pendingMicroUsd: microUsdOf(pool.pendingMicroUsd - before.pendingMicroUsd + after.pendingMicroUsd),
  holders: pool.holders + Number(isHolder(after)) - Number(isHolder(before)),
});

/** Whether others hold enough, unspent, that asking them could give at least some of what is missing. */
export const couldComeBack = (pool: Pool, holding: Holding, asked: Pick<SliceDraw, "limitMicroUsd" | "leastMicroUsd">): boolean =>
  leasedTo(pool) > leasedTo(holding) && pool.postedMicroUsd + pool.pendingMicroUsd + asked.leastMicroUsd <= asked.limitMicroUsd;

/** An account of a tenant, in one stretch. */
export interface PoolKey {
  readonly scope: "agent" | "tenant";
  /** The agent's name; empty for the tenant's own account. */
  readonly target: string;
  readonly window: BudgetWindow;
  readonly startsAt: Instant;
}
