import { assert } from "./assert.ts";
import { BUDGET_WINDOWS, type BudgetWindow, stretchAt } from "./calendar.ts";
import { lessUsd, type MicroUsd, microUsdOf, minUsd, ZERO_USD } from "./money.ts";
import type { Findings, SharedLimit } from "./policy/findings.ts";
import type { Instant } from "./time.ts";
import { countWithin, resetMs, waitMs } from "./windows.ts";

/**
 * A session's side of the accounts that it shares with others. What it spends is counted in spans of the calendar; how much it may spend there without
 * asking is a slice, which its tenant gave it and which is already taken from everybody else. So the sum over all sessions never passes a limit, though
 * no session asks before it spends. The tenant's side is `pool.ts`.
 */

/** What a session has spent in one stretch of the calendar, whatever any limit says: agents' and tenants' money is the same money. */
export interface Span {
  readonly window: BudgetWindow;
  readonly startsAt: Instant;
  readonly endsAt: Instant | null;
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
  readonly overrunMicroUsd: MicroUsd;
}

/** What a tenant has let a session spend of one account, in one stretch. */
export interface Slice {
  readonly scope: SharedLimit["scope"];
  readonly window: BudgetWindow;
  /** The stretch that it is for. */
  readonly startsAt: Instant;
  /** The limit under which it was given. */
  readonly limitMicroUsd: MicroUsd;
  /** The session may have spent at most this much in the stretch. */
  readonly allowanceMicroUsd: MicroUsd;
  /** What the tenant last said of all other sessions. */
  readonly others: Others;
  /** Little is left: what is not needed at once goes back at once. */
  readonly isExact: boolean;
}

export interface Others {
  readonly postedMicroUsd: MicroUsd;
  readonly pendingMicroUsd: MicroUsd;
  /** Given to them and not spent. */
  readonly leasedMicroUsd: MicroUsd;
}

/** Calls that a session may still make under a rate that it shares, and those that it has made and its tenant has not heard of. */
export interface Permits {
  readonly per: "agent" | "tenant";
  readonly pattern: string;
  readonly unused: number;
  /** The limits under which leave was given. */
  readonly limits: readonly CallLimit[];
  readonly used: readonly Instant[];
  /** How many uses the tenant has heard of. */
  readonly told: number;
  /** What the tenant last said: how many more there are, when the oldest call leaves, and when one that was refused would fit. */
  readonly remaining: number;
  readonly resetsAt: Instant | null;
  readonly fitsAt: Instant | null;
  readonly isExact: boolean;
}

/** Of which the tenant has said nothing yet. */
export const noPermits = ({ per, pattern }: Pick<Permits, "per" | "pattern">): Permits => ({
  per,
  pattern,
  unused: 0,
  limits: [],
  used: [],
  told: 0,
  remaining: 0,
  resetsAt: null,
  fitsAt: null,
  isExact: false,
});

/** Whether a session may make a call without asking. Not under leave that was given under a looser limit than is in force. */
export const isPermitted = ({ unused, limits }: Permits, inForce: readonly CallLimit[]): boolean => unused > 0 && isAsTight(limits, inForce);

/** Whether what keeps to `limits` keeps to each of `others`. */
export const isAsTight = (limits: readonly CallLimit[], others: readonly CallLimit[]): boolean =>
  others.every(({ max, windowMs }) => limits.some((limit) => limit.max <= max && limit.windowMs >= windowMs));

/** Everything a session shares. */
export interface Shares {
  spans: readonly Span[];
  readonly slices: Map<string, Slice>;
  readonly permits: Map<string, Permits>;
  /** How often the session has told its tenant: what was said later counts, in whatever order it arrives. */
  ask: number;
  /** The last of them that was answered: the same answer again says nothing new. */
  heard: number;
  /** Whether something was spent or given back that the tenant may not have heard of. */
  untold: boolean;
  /** How much of all that it ever overran its tenant has answered to; `null`: it was never given money that others share. */
  overrunHeardMicroUsd: MicroUsd | null;
}

export const noShares = (at: Instant): Shares => ({
  spans: BUDGET_WINDOWS.map((window) => openSpan(window, at)),
  slices: new Map(),
  permits: new Map(),
  ask: 0,
  heard: 0,
  untold: false,
  overrunHeardMicroUsd: null,
});

export const forkShares = (shares: Shares): Shares => ({ ...shares, slices: new Map(shares.slices), permits: new Map(shares.permits) });

export const sliceKey = ({ scope, window }: Pick<SharedLimit, "scope" | "window">): string => `${scope} ${window}`;
export const permitKey = ({ per, pattern }: Pick<Permits, "per" | "pattern">): string => `${per} ${pattern}`;

/** Money with the instant at which it was taken, which says in which spans it counts. */
export interface Piece {
  readonly at: Instant;
  readonly microUsd: MicroUsd;
}

/** A signed change of what was taken at one instant, in micro-USD. */
export interface PieceDelta {
  readonly at: Instant;
  readonly posted: number;
  readonly pending: number;
  readonly overrun: number;
}

/** Moves the spans on to an instant: what has ended begins anew, and slices of what has ended are worth nothing. */
export function rollSpans(shares: Shares, now: Instant): void {
  if (shares.spans.every(({ endsAt }) => endsAt === null || now < endsAt)) return;
  shares.spans = shares.spans.map((span) => (span.endsAt === null || now < span.endsAt ? span : openSpan(span.window, now)));
  for (const [key, slice] of shares.slices) if (spanOf(shares, slice.window).startsAt !== slice.startsAt) shares.slices.delete(key);
}

/** Counts a change where its instant falls. What falls into a stretch that has ended counts nowhere: no limit looks there any more. */
export function countPiece(shares: Shares, { at, posted, pending, overrun }: PieceDelta): void {
  shares.untold = true;
  shares.spans = shares.spans.map((span) =>
    at < span.startsAt || (span.endsAt !== null && at >= span.endsAt)
      ? span
      : {
          ...span,
          postedMicroUsd: microUsdOf(span.postedMicroUsd + posted),
          pendingMicroUsd: microUsdOf(span.pendingMicroUsd + pending),
          overrunMicroUsd: microUsdOf(span.overrunMicroUsd + overrun),
        },
  );
}

/** Since when the youngest of the spans runs: no clock that counts in them may be before it. */
export function beganAt({ spans }: Shares): Instant {
  let youngest = Number.NEGATIVE_INFINITY;
  for (const { startsAt } of spans) if (startsAt > youngest) youngest = startsAt;
  return youngest;
}

export function spanOf(shares: Shares, window: BudgetWindow): Span {
  const span = shares.spans.find((one) => one.window === window);
  assert(span !== undefined, "every window has its span");
  return span;
}

/** A slice that is for the present stretch; `null` where the tenant has said nothing of it yet. */
export const sliceOf = (shares: Shares, limit: Pick<SharedLimit, "scope" | "window">): Slice | null => shares.slices.get(sliceKey(limit)) ?? null;

export const spentIn = ({ postedMicroUsd, pendingMicroUsd }: Span): MicroUsd => microUsdOf(postedMicroUsd + pendingMicroUsd);

/** What is left of a slice. */
export function unusedOf(shares: Shares, slice: Slice): MicroUsd {
  return lessUsd(slice.allowanceMicroUsd, spentIn(spanOf(shares, slice.window)));
}

/** What a session may still take of an account without asking. */
export function sliceLeft(shares: Shares, limit: SharedLimit): MicroUsd {
  const slice = sliceOf(shares, limit);
  return slice === null || slice.limitMicroUsd > limit.limitMicroUsd ? ZERO_USD : unusedOf(shares, slice);
}

/**
 * Whether a session may take this much of a shared account without asking. Not under a slice that was given under a larger limit than is in force:
 * others may hold what the smaller one no longer has.
 */
export function isCovered(shares: Shares, limit: SharedLimit, amountMicroUsd: MicroUsd): boolean {
  const slice = sliceOf(shares, limit);
  if (slice === null || slice.limitMicroUsd > limit.limitMicroUsd) return false;
  const spent = spentIn(spanOf(shares, limit.window));
  // An overrun is felt by everybody: what was given before it is spent no more.
  if (spent + slice.others.postedMicroUsd + slice.others.pendingMicroUsd > limit.limitMicroUsd) return false;
  // What costs nothing needs no slice.
  return amountMicroUsd === 0 || spent + amountMicroUsd <= slice.allowanceMicroUsd;
}

/** What this session could still get of a shared account, by what it last heard. */
export function leftOf(shares: Shares, limit: SharedLimit): MicroUsd {
  const slice = sliceOf(shares, limit);
  if (slice === null) return ZERO_USD;
  const { others } = slice;
  const taken = spentIn(spanOf(shares, limit.window)) + others.postedMicroUsd + others.pendingMicroUsd + others.leasedMicroUsd;
  return microUsdOf(Math.max(0, limit.limitMicroUsd - taken));
}

/** What is taken back of pieces that were pending (or posted, for a correction) and what becomes of them when `posted` of it stays. */
export function settlePieces(
  pieces: readonly Piece[],
  was: "pending" | "posted",
  ending: { readonly at: Instant; readonly posted: MicroUsd; readonly overrun: MicroUsd },
): { readonly pieces: readonly Piece[]; readonly deltas: readonly PieceDelta[] } {
  const only = pieces[0];
  // Most are one piece, of which all is posted: it stays as it is.
  if (pieces.length === 1 && only !== undefined && was === "pending" && only.microUsd === ending.posted && ending.posted > 0 && ending.overrun === 0)
    return { pieces, deltas: [{ at: only.at, posted: only.microUsd, pending: -only.microUsd, overrun: 0 }] };
  const stays: Piece[] = [];
  const deltas: PieceDelta[] = [];
  let left = ending.posted;
  for (const { at, microUsd } of pieces) {
    const kept = minUsd(microUsd, left);
    left = lessUsd(left, kept);
    if (kept > 0) stays.push({ at, microUsd: kept });
    deltas.push(was === "pending" ? { at, posted: kept, pending: -microUsd, overrun: 0 } : { at, posted: kept - microUsd, pending: 0, overrun: 0 });
  }
  // What nobody had set aside is felt now, whenever the action was asked for.
  if (left > 0 || ending.overrun > 0) {
    if (left > 0) stays.push({ at: ending.at, microUsd: left });
    deltas.push({ at: ending.at, posted: left, pending: 0, overrun: ending.overrun });
  }
  return { pieces: stays, deltas };
}

/** What changes when a reservation gets a new sum: more is taken now, less gives back what was taken last. */
export function resizePieces(
  pieces: readonly Piece[],
  sum: MicroUsd,
  now: Instant,
): { readonly pieces: readonly Piece[]; readonly deltas: readonly PieceDelta[] } {
  const stays: Piece[] = [];
  const deltas: PieceDelta[] = [];
  let left = sum;
  for (const { at, microUsd } of pieces) {
    const kept = minUsd(microUsd, left);
    left = lessUsd(left, kept);
    if (kept > 0) stays.push({ at, microUsd: kept });
    if (kept < microUsd) deltas.push({ at, posted: 0, pending: kept - microUsd, overrun: 0 });
  }
  if (left > 0) {
    stays.push({ at: now, microUsd: left });
    deltas.push({ at: now, posted: 0, pending: left, overrun: 0 });
  }
  return { pieces: stays, deltas };
}

/** What a decision found too small to be decided by: the tenant must be asked. */
export type Short =
  | {
      readonly kind: "money";
      readonly limit: SharedLimit;
      readonly amountMicroUsd: MicroUsd;
      readonly leastMicroUsd: MicroUsd;
      readonly alerts: readonly number[];
    }
  | { readonly kind: "calls"; readonly per: Permits["per"]; readonly pattern: string; readonly limits: readonly CallLimit[] };

export interface CallLimit {
  readonly max: number;
  readonly windowMs: number;
}

/** What a session tells its tenant: where it stands, what it keeps, and what it needs. */
export interface Draw {
  readonly ask: number;
  /** Whether it overran what was set aside, and has no answer to that yet: it may have spent what others were given. */
  readonly hasOverrun: boolean;
  readonly spans: readonly Span[];
  /** What it keeps of each slice, spent and unspent; and what it needs beyond what it has spent. */
  readonly slices: readonly SliceDraw[];
  readonly permits: readonly PermitDraw[];
}

export interface SliceDraw {
  readonly scope: SharedLimit["scope"];
  readonly window: BudgetWindow;
  readonly limitMicroUsd: MicroUsd;
  readonly holdsMicroUsd: MicroUsd;
  readonly needsMicroUsd: MicroUsd;
  /** The least of it that is of any use. */
  readonly leastMicroUsd: MicroUsd;
  readonly alerts: readonly number[];
}

export interface PermitDraw {
  readonly per: Permits["per"];
  readonly pattern: string;
  readonly limits: readonly CallLimit[];
  readonly unused: number;
  /** Uses from the `from`th on, counted from 0. */
  readonly used: { readonly from: number; readonly at: readonly Instant[] };
  readonly needs: number;
}

/** What the tenant answers. */
export interface Word {
  readonly ask: number;
  readonly slices: readonly SliceWord[];
  readonly permits: readonly PermitWord[];
}

export interface SliceWord {
  readonly scope: SharedLimit["scope"];
  readonly window: BudgetWindow;
  readonly startsAt: Instant;
  readonly limitMicroUsd: MicroUsd;
  /** On top of what the session said it holds. */
  readonly grantedMicroUsd: MicroUsd;
  readonly others: Others;
  readonly isExact: boolean;
  /** Whether it is less than was needed. */
  readonly isShort: boolean;
}

export interface PermitWord {
  readonly per: Permits["per"];
  readonly pattern: string;
  readonly granted: number;
  readonly remaining: number;
  readonly resetsAt: Instant | null;
  readonly fitsAt: Instant | null;
  readonly isExact: boolean;
  readonly isShort: boolean;
}

/**
 * Makes the next draw. What is said to be held is held no more than that from here on: so the shares must be stored before the draw is sent, and whatever
 * an earlier draw's answer grants is worth nothing once this one was made. `givesBack`: nothing unspent is kept, whatever was granted.
 */
export function draw(shares: Shares, shorts: readonly Short[], givesBack: boolean): Draw {
  shares.ask++;
  const needs = new Map<string, { readonly limit: SharedLimit; sum: number; least: MicroUsd; alerts: readonly number[] }>();
  const calls = new Map<string, { count: number; limits: readonly CallLimit[] }>();
  for (const short of shorts) {
    if (short.kind === "money") {
      const key = sliceKey(short.limit);
      const known = needs.get(key);
      needs.set(key, {
        limit: short.limit,
        sum: (known?.sum ?? 0) + short.amountMicroUsd,
        least: minUsd(known?.least ?? short.leastMicroUsd, short.leastMicroUsd),
        alerts: short.alerts,
      });
    } else {
      const key = permitKey(short);
      const known = calls.get(key);
      calls.set(key, { count: (known?.count ?? 0) + 1, limits: short.limits });
      if (!shares.permits.has(key)) {
        shares.permits.set(key, noPermits(short));
      }
    }
  }
  for (const [key, slice] of shares.slices) {
    const need = needs.get(key);
    const isOld = need !== undefined && slice.limitMicroUsd > need.limit.limitMicroUsd;
    if (givesBack || slice.isExact || isOld)
      shares.slices.set(key, {
        ...slice,
        allowanceMicroUsd: minUsd(slice.allowanceMicroUsd, spentIn(spanOf(shares, slice.window))),
        // Who is asked for what it has not spent learns that little is left: what is freed later goes back at once as well.
        isExact: slice.isExact || givesBack,
      });
  }
  for (const [key, permits] of shares.permits) {
    const call = calls.get(key);
    const isOld = call !== undefined && !isAsTight(permits.limits, call.limits);
    // What goes back is free again, by all that is known here: whoever it was given for, and had no turn since, asks again.
    if (givesBack || isOld || (permits.isExact && call === undefined))
      shares.permits.set(key, { ...permits, unused: 0, remaining: permits.remaining + permits.unused });
  }

  const slices: SliceDraw[] = [];
  for (const key of new Set([...shares.slices.keys(), ...needs.keys()])) {
    const need = needs.get(key);
    const slice = shares.slices.get(key);
    const { scope, window, limitMicroUsd } = need?.limit ?? { scope: "tenant", window: "total", limitMicroUsd: ZERO_USD, ...slice };
    slices.push({
      scope,
      window,
      limitMicroUsd,
      holdsMicroUsd: slice?.allowanceMicroUsd ?? ZERO_USD,
      needsMicroUsd: microUsdOf(Math.min(need?.sum ?? 0, Number.MAX_SAFE_INTEGER)),
      leastMicroUsd: need?.least ?? ZERO_USD,
      alerts: need?.alerts ?? [],
    });
  }
  const permits = Array.from(shares.permits, ([key, { per, pattern, unused, used, told }]): PermitDraw => {
    const call = calls.get(key);
    return { per, pattern, limits: call?.limits ?? [], unused, used: { from: told, at: used }, needs: Math.max(0, (call?.count ?? 0) - unused) };
  });
  return { ask: shares.ask, hasOverrun: hasUnheardOverrun(shares), spans: shares.spans, slices, permits };
}

/** Takes the tenant's word in. A word on an earlier draw than the last is worth nothing; answers whether this one was on the last. */
export function hear(shares: Shares, word: Word, told: Draw): boolean {
  if (word.ask !== shares.ask || told.ask !== shares.ask || shares.heard === shares.ask) return false;
  shares.heard = word.ask;
  // Spans are replaced and not changed.
  if (shares.spans === told.spans) shares.untold = false;
  if (shares.overrunHeardMicroUsd !== null || word.slices.length > 0) shares.overrunHeardMicroUsd = overrunIn(told.spans);
  for (const { scope, window, startsAt, limitMicroUsd, grantedMicroUsd, others, isExact } of word.slices) {
    const key = sliceKey({ scope, window });
    // The stretch has ended while the word was on its way.
    if (spanOf(shares, window).startsAt !== startsAt) continue;
    const said = told.slices.find((one) => sliceKey(one) === key);
    const holds = said?.holdsMicroUsd ?? ZERO_USD;
    // What it had spent beyond what it held, the tenant has counted as given before it gave more.
    const spent = told.spans.find((span) => span.window === window);
    const held = grantedMicroUsd === 0 || spent === undefined ? holds : Math.max(holds, spentIn(spent));
    // Of what was not asked for, little is left for as long as nobody has heard otherwise.
    const staysExact = (said?.needsMicroUsd ?? 0) === 0 && shares.slices.get(key)?.isExact === true;
    shares.slices.set(key, {
      scope,
      window,
      startsAt,
      limitMicroUsd,
      allowanceMicroUsd: microUsdOf(held + grantedMicroUsd),
      others,
      isExact: isExact || staysExact,
    });
  }
  for (const { per, pattern, granted, remaining, resetsAt, fitsAt, isExact } of word.permits) {
    const key = permitKey({ per, pattern });
    const known = shares.permits.get(key);
    const said = told.permits.find((one) => permitKey(one) === key);
    if (known === undefined || said === undefined) continue;
    const heard = said.used.at.length;
    const wasAsked = said.limits.length > 0;
    shares.permits.set(key, {
      ...known,
      unused: known.unused + granted,
      used: known.used.slice(heard),
      told: known.told + heard,
      // Of what it was not asked about the tenant has said nothing new.
      ...(wasAsked ? { limits: said.limits, remaining, resetsAt, fitsAt, isExact } : { isExact: isExact || known.isExact }),
    });
  }
  return true;
}

/**
 * Gives a session all that its limits leave free, as if it shared with nobody: for a session that is played without a tenant. Called before each
 * judgement, which is then made as after the tenant's word (`heard`).
 */
export function standAlone(shares: Shares, { budgets, rates }: Pick<Findings, "budgets" | "rates">, now: Instant): void {
  const nobody: Others = { postedMicroUsd: ZERO_USD, pendingMicroUsd: ZERO_USD, leasedMicroUsd: ZERO_USD };
  for (const limit of budgets) {
    if (limit.scope !== "agent" && limit.scope !== "tenant") continue;
    const { scope, window, limitMicroUsd } = limit;
    const { startsAt } = spanOf(shares, window);
    shares.slices.set(sliceKey(limit), { scope, window, startsAt, limitMicroUsd, allowanceMicroUsd: limitMicroUsd, others: nobody, isExact: false });
  }
  for (const { per, pattern } of rates) {
    if (per !== "agent" && per !== "tenant") continue;
    const key = permitKey({ per, pattern });
    const known = shares.permits.get(key) ?? noPermits({ per, pattern });
    const limits = rates.filter((rate) => rate.per === per && rate.pattern === pattern);
    const waits = limits.map(({ max, windowMs }) => waitMs(known.used, max, windowMs, now));
    shares.permits.set(key, {
      ...known,
      limits: limits.map(({ max, windowMs }) => ({ max, windowMs })),
      unused: Math.max(0, Math.min(...limits.map(({ max, windowMs }) => max - countWithin(known.used, windowMs, now)))),
      resetsAt: now + Math.max(...limits.map(({ windowMs }) => resetMs(known.used, windowMs, now))),
      fitsAt: waits.includes(null) ? null : now + Math.max(...waits.map((wait) => wait ?? 0)),
    });
  }
}

/** Whether there is anything that should go back at once, or be known at once: what was overrun, which others must feel. */
export const mustBeTold = (shares: Shares): boolean =>
  hasUnheardOverrun(shares) ||
  [...shares.slices.values()].some((slice) => slice.isExact && unusedOf(shares, slice) > 0) ||
  [...shares.permits.values()].some(({ isExact, unused }) => isExact && unused > 0);

const hasUnheardOverrun = ({ spans, overrunHeardMicroUsd }: Shares): boolean =>
  overrunHeardMicroUsd !== null && overrunIn(spans) > overrunHeardMicroUsd;

/** All that was ever overrun: the widest of the spans never ends. */
const overrunIn = (spans: readonly Span[]): MicroUsd => spans.find(({ window }) => window === "total")?.overrunMicroUsd ?? ZERO_USD;

/** Whether there is anything that the tenant should hear of before the session falls silent: what is unspent, and what may have been given and not heard of. */
export const holdsAnything = (shares: Shares): boolean =>
  shares.untold ||
  shares.heard < shares.ask ||
  [...shares.slices.values()].some((slice) => unusedOf(shares, slice) > 0) ||
  [...shares.permits.values()].some(({ unused, used }) => unused > 0 || used.length > 0);

const openSpan = (window: BudgetWindow, at: Instant): Span => ({
  window,
  ...stretchAt(window, at),
  postedMicroUsd: ZERO_USD,
  pendingMicroUsd: ZERO_USD,
  overrunMicroUsd: ZERO_USD,
});
