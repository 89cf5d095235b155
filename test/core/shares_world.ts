import * as fc from "fast-check";
import { expect } from "vitest";
import type { BudgetWindow } from "../../src/core/calendar.ts";
import { type MicroUsd, microUsdOf } from "../../src/core/money.ts";
import type { SharedLimit } from "../../src/core/policy/findings.ts";
import { EMPTY_HOLDING, EMPTY_POOL, give, type Holding, leasedTo, type Pool, sliceWord } from "../../src/core/pool.ts";
import {
  countPiece,
  type Draw,
  draw,
  hear,
  holdsAnything,
  isCovered,
  noShares,
  type Piece,
  rollSpans,
  type Shares,
  type Short,
  settlePieces,
  sliceOf,
  spanOf,
  spentIn,
  type Word,
} from "../../src/core/shares.ts";
import type { Instant } from "../../src/core/time.ts";

/** Two hours before a day and a month end. */
export const T0 = Date.UTC(2026, 10, 30, 22);
export const usd = (micro: number): MicroUsd => microUsdOf(micro);
export const tenantLimit = (window: BudgetWindow, limit: number): SharedLimit => ({ scope: "tenant", window, limitMicroUsd: usd(limit) });

interface Session {
  shares: Shares;
  readonly pending: (readonly Piece[])[];
  /** How far its clock is ahead. */
  skewMs: number;
  /** Its clock, which never goes back. */
  clock: Instant;
  /** The limit of the policy that it knows, which it may have heard of late; `null`: that policy has none. */
  limit: SharedLimit | null;
  /** Spent in each stretch under no limit, or beyond what was reserved: what no limit can have stopped. */
  readonly unstopped: Map<string, number>;
}

/** A tenant and its sessions, with a network between them that loses, repeats and reorders what is sent. */
export class World {
  readonly sessions: readonly Session[];
  readonly #window: BudgetWindow;
  readonly #holdings = new Map<string, Holding>();
  readonly #pools = new Map<string, Pool>();
  readonly #asks = new Map<Session, number>();
  /** The largest limit that was ever in force. */
  #loosest = 0;
  now = T0;
  /** On their way, in no order. */
  draws: { readonly session: number; readonly draw: Draw }[] = [];
  words: { readonly session: number; readonly draw: Draw; readonly word: Word }[] = [];

  /** `skewMs`: so far apart are the clocks of one session and the next. */
  constructor(count: number, window: BudgetWindow, skewMs: number) {
    this.#window = window;
    this.sessions = Array.from({ length: count }, (_, place) => ({
      shares: noShares(T0),
      pending: [],
      skewMs: (place - Math.floor(count / 2)) * skewMs,
      clock: T0,
      limit: null,
      unstopped: new Map(),
    }));
  }

  at(session: number): Session {
    const found = this.sessions[session % this.sessions.length];
    if (found === undefined) throw new Error("there is a session");
    found.clock = Math.max(found.clock, this.now + found.skewMs);
    rollSpans(found.shares, found.clock);
    return found;
  }

  bind(session: number, limit: number | null): void {
    this.at(session).limit = limit === null ? null : tenantLimit(this.#window, limit);
    this.#loosest = Math.max(this.#loosest, limit ?? 0);
  }

  bindAll(limit: number): this {
    for (const session of this.sessions.keys()) this.bind(session, limit);
    return this;
  }

  /** Spends if it may, else says what it lacks. */
  spend(session: number, amount: number): Short | null {
    const one = this.at(session);
    const { shares, limit, clock, pending } = one;
    if (limit !== null && !isCovered(shares, limit, usd(amount)))
      return { kind: "money", limit, amountMicroUsd: usd(amount), leastMicroUsd: usd(amount), alerts: [] };
    if (limit === null) this.#countUnstopped(one, amount);
    countPiece(shares, { at: clock, posted: 0, pending: amount, overrun: 0 });
    pending.push([{ at: clock, microUsd: usd(amount) }]);
    return null;
  }

  /** Reports one of its reservations, `factor` times as much as was reserved. */
  settle(session: number, which: number, factor: number): void {
    const one = this.at(session);
    const [pieces] = one.pending.splice(which % Math.max(1, one.pending.length), 1);
    if (pieces === undefined) return;
    const reserved = pieces.reduce((sum, { microUsd }) => sum + microUsd, 0);
    const posted = Math.floor(reserved * factor);
    const overrun = Math.max(0, posted - reserved);
    this.#countUnstopped(one, overrun);
    for (const delta of settlePieces(pieces, "pending", { at: one.clock, posted: usd(posted), overrun: usd(overrun) }).deltas)
      countPiece(one.shares, delta);
  }

  say(session: number, shorts: readonly Short[], givesBack: boolean): void {
    this.draws.push({ session: session % this.sessions.length, draw: draw(this.at(session).shares, shorts, givesBack) });
  }

  /** What the tenant does with a draw, whenever it comes: only the newest word of a session counts. */
  deliver({ session, draw: said }: World["draws"][number]): void {
    const from = this.at(session);
    if (said.ask <= (this.#asks.get(from) ?? 0)) return;
    this.#asks.set(from, said.ask);
    const slices = said.spans.flatMap((span) => {
      const stretch = `${span.window} ${span.startsAt}`;
      const asked = said.slices.find((one) => one.window === span.window) ?? null;
      const given = give(this.#pools.get(stretch) ?? EMPTY_POOL, this.#holdingOf(session, stretch), span, asked);
      this.#pools.set(stretch, given.pool);
      this.#holdings.set(`${session} ${stretch}`, given.holding);
      return asked === null ? [] : [sliceWord(asked, span.startsAt, given)];
    });
    this.words.push({ session, draw: said, word: { ask: said.ask, slices, permits: [] } });
  }

  hear({ session, draw: said, word }: World["words"][number]): void {
    hear(this.at(session).shares, word, said);
  }

  /** Spends, and where that lacks something asks for it once and tries again. Answers whether it has spent. */
  ask(session: number, amount: number): boolean {
    const short = this.spend(session, amount);
    if (short === null) return true;
    this.say(session, [short], false);
    for (const said of this.draws.splice(0)) this.deliver(said);
    for (const said of this.words.splice(0)) this.hear(said);
    return this.spend(session, amount) === null;
  }

  /** What was stored is what is known: it is stored with every change. */
  crash(session: number): void {
    const one = this.at(session);
    one.shares = structuredClone(one.shares);
  }

  /** Nothing is under way any more, all clocks agree, and everybody has said where it stands and kept nothing unspent. */
  settleDown(): void {
    this.now = Math.max(this.now, ...this.sessions.map(({ clock }) => clock));
    for (const one of this.sessions) one.skewMs = 0;
    this.draws = [];
    for (const session of this.sessions.keys()) this.say(session, [], true);
    for (const said of this.draws.splice(0)) this.deliver(said);
    this.words = [];
  }

  spent(): number {
    return this.sessions.reduce((sum, _, place) => sum + spentIn(spanOf(this.at(place).shares, this.#window)), 0);
  }

  overruns(): number {
    return this.sessions.reduce((sum, _, place) => sum + spanOf(this.at(place).shares, this.#window).overrunMicroUsd, 0);
  }

  /** The laws, which hold at every step. */
  check(): void {
    const spent = new Map<string, number>();
    for (const place of this.sessions.keys()) {
      const one = this.at(place);
      const stretch = this.#stretchOf(one);
      const span = spanOf(one.shares, this.#window);
      const holding = this.#holdingOf(place, stretch);
      const slice = sliceOf(one.shares, { scope: "tenant", window: this.#window });
      // A session acts on no more than its tenant counts as given to it, and spends no more than that but for what nothing could stop.
      if (slice !== null) expect(slice.allowanceMicroUsd).toBeLessThanOrEqual(holding.grantedMicroUsd);
      expect(spentIn(span) - (one.unstopped.get(stretch) ?? 0)).toBeLessThanOrEqual(slice?.allowanceMicroUsd ?? 0);
      // Of one that has nothing to say before it falls silent, the tenant knows all.
      if (!holdsAnything(one.shares)) {
        const { postedMicroUsd, pendingMicroUsd } = span;
        expect(holding).toEqual({ grantedMicroUsd: spentIn(span), postedMicroUsd, pendingMicroUsd });
      }
      spent.set(stretch, (spent.get(stretch) ?? 0) + spentIn(span));
    }
    for (const [stretch, sum] of spent) expect(sum).toBeLessThanOrEqual(this.#loosest + this.#unstoppedIn(stretch));
    for (const [stretch, pool] of this.#pools) {
      const holdings = this.sessions.map((_, place) => this.#holdingOf(place, stretch));
      const sumOf = (of: (holding: Holding) => number) => holdings.reduce((all, holding) => all + of(holding), 0);
      expect(pool).toEqual({
        grantedMicroUsd: sumOf(({ grantedMicroUsd }) => grantedMicroUsd),
        postedMicroUsd: sumOf(({ postedMicroUsd }) => postedMicroUsd),
        pendingMicroUsd: sumOf(({ pendingMicroUsd }) => pendingMicroUsd),
        holders: sumOf(({ grantedMicroUsd, postedMicroUsd }) => Number(grantedMicroUsd > postedMicroUsd)),
      });
      // limit = free + leased + pending + posted, by the tenant's book.
      expect(pool.grantedMicroUsd).toBe(leasedTo(pool) + pool.pendingMicroUsd + pool.postedMicroUsd);
      if (stretch.startsWith(`${this.#window} `)) expect(pool.grantedMicroUsd).toBeLessThanOrEqual(this.#loosest + this.#unstoppedIn(stretch));
    }
  }

  #stretchOf({ shares }: Session): string {
    return `${this.#window} ${spanOf(shares, this.#window).startsAt}`;
  }

  #holdingOf(session: number, stretch: string): Holding {
    return this.#holdings.get(`${session} ${stretch}`) ?? EMPTY_HOLDING;
  }

  #countUnstopped(one: Session, amount: number): void {
    const stretch = this.#stretchOf(one);
    one.unstopped.set(stretch, (one.unstopped.get(stretch) ?? 0) + amount);
  }

  #unstoppedIn(stretch: string): number {
    return this.sessions.reduce((sum, { unstopped }) => sum + (unstopped.get(stretch) ?? 0), 0);
  }
}

const session = fc.nat(4);
const message = { which: fc.nat(9), again: fc.boolean() };
const HOUR_MS = 3_600_000;

const stepOf = (factors: readonly number[], passes: readonly number[]) =>
  [
    { weight: 6, arbitrary: fc.record({ do: fc.constant("spend" as const), session, amount: fc.integer({ min: 1, max: 900 }) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant("settle" as const), session, which: fc.nat(9), factor: fc.constantFrom(...factors) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("say" as const), session, givesBack: fc.boolean() }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("deliver" as const), ...message }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("hear" as const), ...message }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), what: fc.constantFrom("draws" as const, "words" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(...passes) }) },
  ] as const;

/** Under one limit, with clocks that go forward and reports that keep to what was reserved. */
export const calmStep = fc.oneof(...stepOf([0, 0.3, 1], [1_000, HOUR_MS, 12 * HOUR_MS]));

/** And with overruns, clocks that step back, policies that come, go and tighten, and sessions that die. */
export const wildStep = fc.oneof(
  ...stepOf([0, 0.3, 1, 3], [1_000, HOUR_MS, 12 * HOUR_MS, -10, -5_000]),
  { weight: 1, arbitrary: fc.record({ do: fc.constant("policy" as const), session, limit: fc.option(fc.constantFrom(2_000, 5_000, 10_000)) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("crash" as const), session }) },
);

export type Step = typeof wildStep extends fc.Arbitrary<infer S> ? S : never;

/** Plays the steps, and holds the world to its laws after each. */
export function play(world: World, steps: readonly Step[]): World {
  for (const step of steps) {
    take(world, step);
    world.check();
  }
  return world;
}

function take(world: World, step: Step): void {
  switch (step.do) {
    case "spend": {
      const short = world.spend(step.session, step.amount);
      if (short !== null) world.say(step.session, [short], false);
      break;
    }
    case "settle":
      world.settle(step.session, step.which, step.factor);
      break;
    case "say":
      world.say(step.session, [], step.givesBack);
      break;
    case "deliver":
      for (const said of pick(world.draws, step)) world.deliver(said);
      break;
    case "hear":
      for (const said of pick(world.words, step)) world.hear(said);
      break;
    case "lose":
      world[step.what] = [];
      break;
    case "pass":
      world.now += step.ms;
      break;
    case "policy":
      world.bind(step.session, step.limit);
      break;
    case "crash":
      world.crash(step.session);
      break;
  }
}

/** One of the messages under way, if there are any: it may come again. */
function pick<T>(underWay: T[], { which, again }: { readonly which: number; readonly again: boolean }): readonly T[] {
  const place = which % Math.max(1, underWay.length);
  return again ? underWay.slice(place, place + 1) : underWay.splice(place, 1);
}
