import { type BudgetWindow, stretchAt } from "../../../../src/core/calendar.ts";
import type { Limits, Rate } from "./limits.ts";
import { demand } from "./violation.ts";

export interface StretchKey {
  readonly window: BudgetWindow;
  readonly startsAt: number;
  readonly key: string;
}

const HOUR_MS = 3_600_000;
const stretches = new Map<number, readonly StretchKey[]>();

/** The stretches of the calendar in which an instant lies. */
export function stretchesOf(at: number): readonly StretchKey[] {
  const hour = Math.floor(at / HOUR_MS);
  const known = stretches.get(hour);
  if (known !== undefined) return known;
  const made = (["hour", "day", "month", "total"] as const).map((window) => {
    const { startsAt } = stretchAt(window, at);
    return { window, startsAt, key: `${window} ${startsAt}` };
  });
  stretches.set(hour, made);
  return made;
}

/** One decision's part in what sessions share. */
export interface Contributor {
  readonly id: string;
  readonly agent: string;
  /** What limited it when it was first allowed, and when it was last allowed more. */
  readonly first: Limits;
  limits: Limits;
}

interface Account {
  /** Posted and pending, less what overran. */
  covered: number;
  readonly by: Map<Contributor, number>;
}

interface Call {
  readonly at: number;
  readonly rates: readonly Rate[];
}

/** What all sessions of a tenant have spent and called together, by their own entries. */
export class Shared {
  readonly #accounts = new Map<string, Account>();
  readonly #calls = new Map<string, Call[]>();

  /** Some of a decision's money comes into, or goes out of, the stretches of an instant. */
  move(who: Contributor, at: number, covered: number): void {
    if (covered === 0) return;
    for (const { key } of stretchesOf(at)) {
      this.#add(`tenant ${key}`, who, covered);
      this.#add(`agent ${who.agent} ${key}`, who, covered);
    }
  }

  /**
   * Nobody was let over a limit: after more was taken at an instant, no account is above the limit under which that was allowed, unless what stands
   * there already was allowed under a larger one.
   */
  demandWithin(who: Contributor, at: number, chain: string, seq: number): void {
    const now = stretchesOf(at);
    for (const { scope, window, limit } of who.limits.shared) {
      const stretch = now.find((one) => one.window === window);
      const name = scope === "tenant" ? `tenant ${stretch?.key}` : `agent ${who.agent} ${stretch?.key}`;
      const account = this.#accounts.get(name);
      if (account === undefined || account.covered <= limit) continue;
      const limitOf = (limits: Limits): number =>
        limits.shared.find((one) => one.scope === scope && one.window === window)?.limit ?? Number.POSITIVE_INFINITY;
      const largest = Math.max(...Array.from(account.by.keys(), ({ first, limits }) => Math.max(limitOf(first), limitOf(limits))));
      demand(account.covered <= largest, "all sessions together stay within a limit", () => ({
        chain,
        seq,
        account: name,
        covered: account.covered,
        limit,
        largest,
      }));
    }
  }

  coveredOf(account: string): number {
    return this.#accounts.get(account)?.covered ?? 0;
  }

  /** A call was allowed: counted with all others under its rates. */
  call(agent: string, at: number, rates: readonly Rate[], isDemanded: boolean, chain: string, seq: number): void {
    for (const per of ["agent", "tenant"] as const) {
      const patterns = new Set(rates.filter((rate) => rate.per === per).map(({ pattern }) => pattern));
      for (const pattern of patterns) {
        const key = `${per} ${per === "agent" ? agent : ""} ${pattern}`;
        const calls = this.#calls.get(key) ?? [];
        const mine: Call = { at, rates: rates.filter((rate) => rate.per === per && rate.pattern === pattern) };
        let place = calls.length;
        while (place > 0 && (calls[place - 1]?.at ?? 0) > at) place--;
        calls.splice(place, 0, mine);
        this.#calls.set(key, calls);
        if (isDemanded) for (const rate of mine.rates) demandRate(calls, place, rate, key, chain, seq);
      }
    }
  }

  #add(name: string, who: Contributor, covered: number): void {
    const account = this.#accounts.get(name) ?? { covered: 0, by: new Map() };
    this.#accounts.set(name, account);
    account.covered += covered;
    const sum = (account.by.get(who) ?? 0) + covered;
    if (sum === 0) account.by.delete(who);
    else account.by.set(who, sum);
  }
}

/** No stretch of a rate's length that holds this call holds more calls than it lets through, unless an earlier and larger limit did. */
function demandRate(calls: readonly Call[], place: number, { max, windowMs }: Rate, key: string, chain: string, seq: number): void {
  const at = calls[place]?.at ?? 0;
  for (let last = place; last < calls.length && (calls[last]?.at ?? 0) < at + windowMs; last++) {
    const until = calls[last]?.at ?? 0;
    let count = 0;
    for (let n = last; n >= 0 && (calls[n]?.at ?? 0) > until - windowMs; n--) count++;
    if (count <= max) continue;
    const within = calls.slice(last - count + 1, last + 1);
    const largest = Math.max(...within.map(({ rates }) => rates.find((rate) => rate.windowMs === windowMs)?.max ?? Number.POSITIVE_INFINITY));
    demand(count <= largest, "all sessions together stay within a rate", () => ({
      chain,
      seq,
      key,
      count,
      max,
      largest,
      windowMs,
      calls: within.map((one) => one.at),
    }));
  }
}
