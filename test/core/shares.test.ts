import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BUDGET_WINDOWS, stretchAt } from "../../src/core/calendar.ts";
import { type MicroUsd, microUsdOf } from "../../src/core/money.ts";
import type { SharedLimit } from "../../src/core/policy/findings.ts";
import { EMPTY_HOLDING, EMPTY_POOL, give, giveCalls, type Holding, leasedTo, type Pool, sliceWord } from "../../src/core/pool.ts";
import {
  type CallLimit,
  countPiece,
  type Draw,
  draw,
  hear,
  isCovered,
  leftOf,
  noShares,
  type Piece,
  permitKey,
  resizePieces,
  rollSpans,
  type Shares,
  type Short,
  settlePieces,
  sliceOf,
  spanOf,
  spentIn,
  type Word,
} from "../../src/core/shares.ts";

const T0 = Date.UTC(2026, 10, 23, 12);
const usd = (micro: number): MicroUsd => microUsdOf(micro);
const DAY: SharedLimit = { scope: "tenant", window: "day", limitMicroUsd: usd(10_000) };

/** A tenant and its sessions, with a network between them that loses, repeats and reorders what is sent. */
class World {
  readonly sessions: { shares: Shares; pending: (readonly Piece[])[]; overrun: number }[];
  readonly holdings = new Map<string, Holding>();
  readonly pools = new Map<string, Pool>();
  readonly asks: number[];
  limit: SharedLimit;
  now = T0;
  /** On their way, in no order. */
  readonly draws: { session: number; draw: Draw }[] = [];
  readonly words: { session: number; draw: Draw; word: Word }[] = [];

  constructor(count: number, limit: SharedLimit) {
    this.sessions = Array.from({ length: count }, () => ({ shares: noShares(T0), pending: [], overrun: 0 }));
    this.asks = this.sessions.map(() => 0);
    this.limit = limit;
  }

  at(session: number): World["sessions"][number] {
    const found = this.sessions[session % this.sessions.length];
    if (found === undefined) throw new Error("there is a session");
    rollSpans(found.shares, this.now);
    return found;
  }

  /** Spends if it may, else says what it lacks. */
  spend(session: number, amount: number): Short | null {
    const { shares, pending } = this.at(session);
    if (!isCovered(shares, this.limit, usd(amount))) return { kind: "money", limit: this.limit, amountMicroUsd: usd(amount), alerts: [] };
    countPiece(shares, { at: this.now, posted: 0, pending: amount, overrun: 0 });
    pending.push([{ at: this.now, microUsd: usd(amount) }]);
    return null;
  }

  settle(session: number, which: number, factor: number): void {
    const one = this.at(session);
    const [pieces] = one.pending.splice(which % Math.max(1, one.pending.length), 1);
    if (pieces === undefined) return;
    const reserved = pieces.reduce((sum, { microUsd }) => sum + microUsd, 0);
    const posted = Math.floor(reserved * factor);
    const overrun = Math.max(0, posted - reserved);
    for (const delta of settlePieces(pieces, "pending", { at: this.now, posted: usd(posted), overrun: usd(overrun) }).deltas)
      countPiece(one.shares, delta);
  }

  say(session: number, shorts: readonly Short[], givesBack: boolean): void {
    this.draws.push({ session: session % this.sessions.length, draw: draw(this.at(session).shares, shorts, givesBack) });
  }

  /** What the tenant does with a draw, whenever it comes: only the newest word of a session counts. */
  deliver({ session, draw: said }: { session: number; draw: Draw }): void {
    if (said.ask <= (this.asks[session] ?? 0)) return;
    this.asks[session] = said.ask;
    const slices = said.spans.flatMap((span) => {
      const key = `${span.window} ${span.startsAt}`;
      const pool = this.pools.get(key) ?? EMPTY_POOL;
      const holding = this.holdings.get(`${session} ${key}`) ?? EMPTY_HOLDING;
      const asked = said.slices.find((one) => one.window === span.window) ?? null;
      const given = give(pool, holding, span, asked);
      this.pools.set(key, given.pool);
      this.holdings.set(`${session} ${key}`, given.holding);
      return asked === null ? [] : [sliceWord(asked, span.startsAt, given)];
    });
    this.words.push({ session, draw: said, word: { ask: said.ask, slices, permits: [] } });
  }

  hear({ session, draw: said, word }: World["words"][number]): void {
    hear(this.at(session).shares, word, said);
  }

  deliverAll(): void {
    for (const said of this.draws.splice(0)) this.deliver(said);
  }

  hearAll(): void {
    for (const said of this.words.splice(0)) this.hear(said);
  }

  settleDown(): void {
    this.draws.length = 0;
    this.words.length = 0;
    for (const session of this.sessions.keys()) {
      this.say(session, [], true);
      const last = this.draws.pop();
      if (last !== undefined) this.deliver(last);
    }
    this.words.length = 0;
  }

  spent(): number {
    return this.sessions.reduce((sum, _, place) => sum + spentIn(spanOf(this.at(place).shares, this.limit.window)), 0);
  }

  overruns(): number {
    return this.sessions.reduce((sum, _, place) => sum + spanOf(this.at(place).shares, this.limit.window).overrunMicroUsd, 0);
  }

  check(): void {
    const { startsAt } = stretchAt(this.limit.window, this.now);
    const key = `${this.limit.window} ${startsAt}`;
    const pool = this.pools.get(key) ?? EMPTY_POOL;
    const holdings = this.sessions.map((_, place) => this.holdings.get(`${place} ${key}`) ?? EMPTY_HOLDING);
    const sum = (of: (holding: Holding) => number) => holdings.reduce((all, holding) => all + of(holding), 0);
    expect(pool.grantedMicroUsd).toBe(sum(({ grantedMicroUsd }) => grantedMicroUsd));
    expect(pool.postedMicroUsd).toBe(sum(({ postedMicroUsd }) => postedMicroUsd));
    expect(pool.pendingMicroUsd).toBe(sum(({ pendingMicroUsd }) => pendingMicroUsd));
    expect(pool.holders).toBe(holdings.filter(({ grantedMicroUsd, postedMicroUsd }) => grantedMicroUsd > postedMicroUsd).length);
    const overrun = this.overruns();
    // limit = free + leased + pending + posted, by the tenant's book.
    expect(pool.grantedMicroUsd).toBe(leasedTo(pool) + pool.pendingMicroUsd + pool.postedMicroUsd);
    if (overrun === 0) expect(pool.grantedMicroUsd).toBeLessThanOrEqual(this.limit.limitMicroUsd);
    for (const [place, holding] of holdings.entries()) {
      const { shares } = this.at(place);
      const slice = sliceOf(shares, this.limit);
      const allowance = slice?.allowanceMicroUsd ?? 0;
      const span = spanOf(shares, this.limit.window);
      // A session acts on no more than its tenant counts as given to it, and spends no more than that but by a named overrun.
      if (slice !== null && overrun === 0) expect(allowance).toBeLessThanOrEqual(holding.grantedMicroUsd);
      expect(spentIn(span) - span.overrunMicroUsd).toBeLessThanOrEqual(allowance);
    }
    expect(this.spent() - overrun).toBeLessThanOrEqual(this.limit.limitMicroUsd);
  }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("spend" as const), session: fc.nat(4), amount: fc.integer({ min: 1, max: 900 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("settle" as const), session: fc.nat(4), which: fc.nat(9), factor: fc.constantFrom(0, 0.3, 1) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("give back" as const), session: fc.nat(4) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("deliver" as const), which: fc.nat(9), again: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("hear" as const), which: fc.nat(9), again: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const), what: fc.constantFrom("draws" as const, "words" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(1_000, 3_600_000, 12 * 3_600_000) }) },
);

function play(world: World, steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[]): void {
  for (const one of steps) {
    switch (one.do) {
      case "spend": {
        const short = world.spend(one.session, one.amount);
        if (short !== null) world.say(one.session, [short], false);
        break;
      }
      case "settle":
        world.settle(one.session, one.which, one.factor);
        break;
      case "give back":
        world.say(one.session, [], true);
        break;
      case "deliver": {
        const place = one.which % Math.max(1, world.draws.length);
        const said = world.draws[place];
        if (said === undefined) break;
        if (!one.again) world.draws.splice(place, 1);
        world.deliver(said);
        break;
      }
      case "hear": {
        const place = one.which % Math.max(1, world.words.length);
        const said = world.words[place];
        if (said === undefined) break;
        if (!one.again) world.words.splice(place, 1);
        world.hear(said);
        break;
      }
      case "lose":
        world[one.what].length = 0;
        break;
      case "pass":
        world.now += one.ms;
        break;
    }
    world.check();
  }
}

describe("money that sessions share", () => {
  it("is never given twice, whatever is lost, repeated or late", () => {
    fc.assert(
      fc.property(fc.constantFrom(...BUDGET_WINDOWS), fc.array(step, { maxLength: 120 }), (window, steps) => {
        play(new World(5, { ...DAY, window }), steps);
      }),
      { numRuns: 400 },
    );
  });

  it("comes back to the last micro-dollar when everybody gives back", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const world = new World(5, { ...DAY, window: "total" });
        play(world, steps);
        world.settleDown();
        world.check();
        const left = DAY.limitMicroUsd - world.spent();
        if (left === 0) return;
        world.say(0, [{ kind: "money", limit: world.limit, amountMicroUsd: usd(left), alerts: [] }], false);
        world.deliverAll();
        world.hearAll();
        expect(world.spend(0, left)).toBeNull();
        expect(leftOf(world.at(0).shares, world.limit)).toBe(0);
        expect(world.spend(1, 1)).not.toBeNull();
      }),
      { numRuns: 200 },
    );
  });

  it("is felt by the next decision where an overrun has passed the limit", () => {
    const world = new World(2, DAY);
    const ask = (session: number, amount: number) => {
      const short = world.spend(session, amount);
      if (short === null) return true;
      world.say(session, [short], false);
      world.deliverAll();
      world.hearAll();
      return world.spend(session, amount) === null;
    };
    expect(ask(0, 6_000)).toBe(true);
    world.settle(0, 0, 2);
    world.say(0, [], false);
    world.deliverAll();
    expect(world.overruns()).toBe(6_000);
    expect(ask(1, 1)).toBe(false);
    expect(ask(0, 1)).toBe(false);
  });

  it("is not taken under a slice that was given under a larger limit", () => {
    const world = new World(1, DAY);
    const short = world.spend(0, 100);
    world.say(0, short === null ? [] : [short], false);
    world.deliverAll();
    world.hearAll();
    expect(isCovered(world.at(0).shares, DAY, usd(100))).toBe(true);
    expect(isCovered(world.at(0).shares, { ...DAY, limitMicroUsd: usd(9_999) }, usd(100))).toBe(false);
    expect(isCovered(world.at(0).shares, { ...DAY, limitMicroUsd: usd(10_001) }, usd(100))).toBe(true);
  });

  it.each([
    [
      "the first of many takes a fourth of its part",
      { limit: 8_000, others: 0, holders: 1, needs: 10 },
      { granted: 1_000, isExact: false, isShort: false },
    ],
    [
      "one that needs more than its part gets that, exactly",
      { limit: 8_000, others: 0, holders: 1, needs: 1_001 },
      { granted: 1_001, isExact: true, isShort: false },
    ],
    ["what is left goes to whom it suffices", { limit: 8_000, others: 7_990, holders: 7, needs: 10 }, { granted: 10, isExact: true, isShort: false }],
    [
      "and to whom it does not, as far as it goes",
      { limit: 8_000, others: 7_995, holders: 7, needs: 10 },
      { granted: 5, isExact: true, isShort: true },
    ],
    ["nothing is given of what is gone", { limit: 8_000, others: 8_000, holders: 7, needs: 10 }, { granted: 0, isExact: true, isShort: true }],
    ["who needs nothing gets nothing", { limit: 8_000, others: 0, holders: 1, needs: 0 }, { granted: 0, isExact: false, isShort: false }],
  ])("%s", (_, { limit, others, holders, needs }, wanted) => {
    const pool: Pool = { grantedMicroUsd: usd(others), postedMicroUsd: usd(0), pendingMicroUsd: usd(0), holders };
    const { grantedMicroUsd, isExact, isShort } = give(pool, EMPTY_HOLDING, EMPTY_HOLDING, {
      limitMicroUsd: usd(limit),
      holdsMicroUsd: usd(0),
      needsMicroUsd: usd(needs),
    });
    expect({ granted: grantedMicroUsd, isExact, isShort }).toEqual(wanted);
  });
});

describe("pieces of money", () => {
  const pieces = fc.array(fc.record({ at: fc.integer({ min: 0, max: 50 }), microUsd: fc.integer({ min: 1, max: 100 }).map(usd) }), { maxLength: 4 });
  const total = (all: readonly Piece[]) => all.reduce((sum, { microUsd }) => sum + microUsd, 0);

  it("sum to what is posted, and the changes take from pending exactly what was there", () => {
    fc.assert(
      fc.property(pieces, fc.nat(500), fc.constantFrom("pending" as const, "posted" as const), (were, posted, was) => {
        const done = settlePieces(were, was, { at: 99, posted: usd(posted), overrun: usd(0) });
        expect(total(done.pieces)).toBe(posted);
        const change = done.deltas.reduce((sum, delta) => ({ posted: sum.posted + delta.posted, pending: sum.pending + delta.pending }), {
          posted: 0,
          pending: 0,
        });
        expect(change).toEqual(was === "pending" ? { posted, pending: 0 - total(were) } : { posted: posted - total(were), pending: 0 });
      }),
    );
  });

  it("take what is more at the later instant, and give back what was taken last", () => {
    fc.assert(
      fc.property(pieces, fc.nat(500), (were, sum) => {
        const done = resizePieces(were, usd(sum), 99);
        expect(total(done.pieces)).toBe(sum);
        expect(done.deltas.reduce((all, { pending }) => all + pending, 0)).toBe(sum - total(were));
      }),
    );
  });
});

describe("calls that sessions share", () => {
  const limit: CallLimit = { max: 7, windowMs: 1_000 };

  it("are at most the limit in any window, and all of it is used when somebody asks for it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ session: fc.nat(3), passes: fc.constantFrom(0, 0, 1, 90, 400, 1_000), lost: fc.boolean() }), { maxLength: 150 }),
        (steps) => {
          const sessions = Array.from({ length: 4 }, () => noShares(0));
          let pool = { log: [] as readonly number[], unused: 0, holders: 0 };
          const holdings = sessions.map(() => ({ unused: 0, told: 0 }));
          const asks = sessions.map(() => 0);
          const made: number[] = [];
          let now = 0;
          const whose = { per: "tenant", pattern: "pay" } as const;
          const say = (place: number, needs: boolean, givesBack: boolean) => {
            const shares = sessions[place] as Shares;
            const said = draw(shares, needs ? [{ kind: "calls", ...whose, limits: [limit] }] : [], givesBack);
            if (said.ask <= (asks[place] as number)) throw new Error("a later draw has a higher number");
            asks[place] = said.ask;
            const asked = said.permits.find((one) => permitKey(one) === permitKey(whose));
            if (asked === undefined) return { said, word: null };
            const given = giveCalls(pool, holdings[place] as (typeof holdings)[number], asked, now);
            pool = given.pool;
            holdings[place] = given.holding;
            return { said, word: given.word };
          };
          for (const { session, passes, lost } of steps) {
            now += passes;
            const shares = sessions[session] as Shares;
            const has = () => (shares.permits.get(permitKey(whose))?.unused ?? 0) > 0;
            if (!has()) {
              // Whoever holds some gives it back, as when the tenant asks them.
              for (const place of sessions.keys()) if (place !== session) say(place, false, true);
              const { said, word } = say(session, true, false);
              if (word !== null && !lost) hear(shares, { ask: said.ask, slices: [], permits: [word] }, said);
            }
            const within = made.filter((at) => at + limit.windowMs > now).length;
            const permits = shares.permits.get(permitKey(whose));
            if (has() && permits !== undefined) {
              shares.permits.set(permitKey(whose), { ...permits, unused: permits.unused - 1, used: [...permits.used, now] });
              made.push(now);
              expect(within).toBeLessThan(limit.max);
            } else if (!lost) {
              expect(within).toBe(limit.max);
              expect(permits?.fitsAt).toBe((made.filter((at) => at + limit.windowMs > now)[0] ?? 0) + limit.windowMs);
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("stretches of the calendar", () => {
  it.each([
    ["hour", "2026-11-23T12:34:56.789Z", "2026-11-23T12:00:00.000Z", "2026-11-23T13:00:00.000Z"],
    ["day", "2026-11-23T23:59:59.999Z", "2026-11-23T00:00:00.000Z", "2026-11-24T00:00:00.000Z"],
    ["day", "2026-11-24T00:00:00.000Z", "2026-11-24T00:00:00.000Z", "2026-11-25T00:00:00.000Z"],
    ["month", "2028-02-29T10:00:00.000Z", "2028-02-01T00:00:00.000Z", "2028-03-01T00:00:00.000Z"],
    ["month", "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00.000Z", "2027-01-01T00:00:00.000Z"],
  ] as const)("the %s of %s", (window, at, from, to) => {
    expect(stretchAt(window, Date.parse(at))).toEqual({ startsAt: Date.parse(from), endsAt: Date.parse(to) });
  });

  it("all time has no end", () => expect(stretchAt("total", T0)).toEqual({ startsAt: 0, endsAt: null }));
});
