import { uuidv7 } from "./ids.ts";
import { insides } from "./inside.ts";
import { openedSession, sessionDetail, wireNames } from "./mapping.ts";
import type { Observers } from "./observers.ts";
import { assertId, Session } from "./session.ts";
import type { CallOptions, SessionOptions } from "./surface.ts";
import { createTransport, type Fetch } from "./transport.ts";
import type * as wire from "./wire.ts";

export interface SentinelOptions extends Observers {
  /** The gateway's address: `https://gate.example.com`, with a path when it is served below one. */
  readonly url: string;
  /** The agent's token, or what gives the present one; asked before every try. */
  readonly token: string | (() => string | Promise<string>);
  readonly fetch?: Fetch | undefined;
  /** For one call, all its tries included. Default 10 s. */
  readonly timeoutMs?: number | undefined;
  /** How often a call is tried again after the first time. Default 2. */
  readonly retries?: number | undefined;
  /** Makes a UUID. Default: version 7, from `crypto.randomUUID`, which a browser has where a page came over TLS or from its own machine. */
  readonly newId?: (() => string) | undefined;
  /** Milliseconds since 1970. */
  readonly now?: (() => number) | undefined;
  /** From 0 up to, not including, 1; spreads retries. */
  readonly random?: (() => number) | undefined;
  /** Runs `callback` once after `ms`; what it returns takes that back. */
  readonly schedule?: ((callback: () => void, ms: number) => () => void) | undefined;
}

export interface Sentinel {
  /** Opens a session for an agent. Repeated by itself within bounds, and never opens two. */
  openSession(options?: SessionOptions, call?: CallOptions): Promise<Session>;
  /** Takes up a session that is already open, here or elsewhere. */
  session(id: string, call?: CallOptions): Promise<Session>;
}

/**
 * A client of one gateway, with one token. Touches nothing but what it is given: no environment, no files, no global state.
 * Throws a `TypeError` or `RangeError` for options that can never work.
 */
export function createSentinel(options: SentinelOptions): Sentinel {
  const now = options.now ?? Date.now;
  const newId = options.newId ?? (() => uuidv7(now()));
  const { token } = options;
  const ambience = {
    now,
    random: options.random ?? Math.random,
    schedule:
      options.schedule ??
      ((callback: () => void, ms: number) => {
        const timer = setTimeout(callback, ms);
        return () => clearTimeout(timer);
      }),
  };
  const ask = createTransport({
    ...ambience,
    base: baseOf(options.url),
    token: typeof token === "function" ? token : () => token,
    // Looked up at each call, and called without a receiver as browsers want it.
    fetch: options.fetch ?? ((url, init) => fetch(url, init)),
    timeoutMs: wholeNumber(options.timeoutMs ?? 10_000, "timeoutMs", 1, 600_000),
    tries: 1 + wholeNumber(options.retries ?? 2, "retries", 0, 10),
  });
  const context = { ask, ambience, newId, observers: options, used: new Set<string>() };

  const sentinel: Sentinel = {
    async openSession(session = {}, { signal } = {}) {
      const opened = await ask(
        {
          what: "open a session",
          path: "/v1/sessions",
          body: wireNames(session) satisfies wire.OpenSessionRequest,
          idempotencyKey: newId(),
          read: openedSession,
        },
        signal,
      );
      return new Session(opened, context);
    },
    async session(id, { signal } = {}) {
      assertId(id);
      const detail = await ask({ what: `take up ${id}`, path: `/v1/sessions/${id}`, read: sessionDetail }, signal);
      return new Session({ ...detail, id }, context);
    },
  };
  insides.set(sentinel, context);
  return sentinel;
}

function baseOf(url: string): string {
  try {
    const { href } = new URL(url);
    if (/^https?:\/\/[^/@]+\/[^?#]*$/.test(href)) return href.replace(/\/+$/, "");
  } catch {
    // It is said below, without quoting what may hold a secret.
  }
  throw new TypeError(`Cannot use the option "url": wanted https://host/path`);
}

function wholeNumber(value: number, what: string, least: number, most: number): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new RangeError(`Cannot use the option "${what}": wanted a whole number from ${least} to ${most}, found ${value}`);
}
