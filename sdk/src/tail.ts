/// <reference lib="esnext.disposable" preserve="true" />
import { insideOf } from "./inside.ts";
import { listen } from "./listen.ts";
import { json, nullable, number, object, oneOf, text } from "./read.ts";
import type { Sentinel } from "./sentinel.ts";
import { link } from "./transport.ts";
import type { EntryMark, Json, Verdict } from "./wire.ts";

/** What the stream tells of one entry of the record. */
export interface LiveEvent {
  /** Names the event for resuming after it. */
  readonly id: string;
  /** Such as `decision.deny`, `intervention.kill`, `intervention.obeyed`, `budget.threshold`. */
  readonly type: string;
  readonly at: string;
  readonly session: string | null;
  readonly run: string | null;
  readonly agent: string | null;
  readonly action: string | null;
  readonly decision: string | null;
  readonly verdict: Verdict | null;
  /** A reason's code; a newer gateway may have more than this SDK knows. */
  readonly reason: string | null;
  readonly rule: string | null;
  readonly estimateUsd: string | null;
  readonly costUsd: string;
  readonly overrunUsd: string;
  readonly outcome: "success" | "error" | null;
  /** What its type has to say beyond that, as the wire spells it. */
  readonly details: Json;
  readonly entry: EntryMark & { readonly index: number };
}

export interface TailOptions {
  /** Only these, by name or glob: `["decision.deny", "intervention.*"]`. */
  readonly types?: readonly string[] | undefined;
  readonly session?: string | undefined;
  readonly agent?: string | undefined;
  readonly action?: string | undefined;
  /** Begins after the event of this id, however long ago that was. Without it, with what comes next. */
  readonly after?: string | undefined;
  /** Aborting rejects what waits for the next event with the signal's own reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Events as they happen. Ends when it is closed; throws when it cannot go on. */
export interface Tail extends AsyncIterableIterator<LiveEvent, undefined>, AsyncDisposable {
  /** Lets go of the connection; who waits for an event is told that there are no more. */
  close(): Promise<void>;
}

/**
 * Listens to the gateway's record from the first time an event is asked for, and comes back after a cut to where it was: no event comes twice, and
 * once there is an id to go on after, none is lost. Reads no faster than it is asked; who is a thousand events behind is let go by the gateway, and
 * goes on from there. The token needs `events:read`.
 */
export function tail(sentinel: Sentinel, { types, session, agent, action, after, signal }: TailOptions = {}): Tail {
  const inside = insideOf(sentinel);
  const stop = new AbortController();
  let isClosed = false;
  async function* events(): AsyncGenerator<LiveEvent, undefined, void> {
    const unlink = link(signal, stop);
    const query = Object.fromEntries(
      Object.entries({ types: types?.join(), session, agent, action }).filter((each): each is [string, string] => each[1] !== undefined),
    );
    try {
      signal?.throwIfAborted();
      yield* listen(inside, { query, after: after ?? null, signal: stop.signal, read: liveEvent });
    } catch (error) {
      if (!isClosed) throw error;
    } finally {
      unlink();
    }
  }
  const found = events();
  const close = async (): Promise<void> => {
    isClosed = true;
    // What is waited for is given up first: a generator that waits cannot be ended.
    stop.abort();
    await found.return(undefined);
  };
  return {
    next: () => found.next(),
    return: async () => {
      await close();
      return { done: true, value: undefined };
    },
    close,
    [Symbol.asyncDispose]: close,
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

const liveEvent = object<LiveEvent>({
  id: text,
  type: text,
  at: text,
  session: nullable(text),
  run: nullable(text),
  agent: nullable(text),
  action: nullable(text),
  decision: nullable(text),
  verdict: nullable(oneOf("allow", "deny", "hold")),
  reason: nullable(text),
  rule: nullable(text),
  estimateUsd: nullable(text),
  costUsd: text,
  overrunUsd: text,
  outcome: nullable(oneOf("success", "error")),
  details: json,
  entry: object<LiveEvent["entry"]>({ id: text, seq: number, hash: text, index: number }),
});
