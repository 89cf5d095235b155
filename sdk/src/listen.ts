import { AgentSentinelError, GatewayRefusedError, GatewayUnavailableError } from "./errors.ts";
import { observe, type StreamState } from "./observers.ts";
import { type Read, ShapeFault } from "./read.ts";
import type { SessionContext } from "./session.ts";
import { type Message, messageReader } from "./sse.ts";
import { type Ambience, abortable, link, pause, repeatAfter } from "./transport.ts";

/** One listener of the gateway's stream of events, which comes back after every cut, to where it was. */

export interface Wanted<Event> {
  /** What is asked of `/v1/events`. */
  readonly query: Record<string, string>;
  /** The id of the last event that was seen. */
  readonly after: string | null;
  readonly signal: AbortSignal;
  /** Reads what is wanted of an event. */
  readonly read: Read<Event>;
  /** Called, and waited for, when the stream stands: whether it goes on after an event that was seen, and what cuts it again. */
  readonly opened?: (resumed: boolean, cut: (why: unknown) => void) => Promise<void>;
}

/** The gateway says something every 15 seconds. */
const SILENCE_MS = 40_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

/**
 * The wanted events, in order, each once; reads no faster than it is asked. Ends by throwing alone: the signal's reason, or the error for which
 * coming back is no use.
 */
export async function* listen<Event>(
  { ask, ambience, observers }: SessionContext,
  { query, after, signal, read, opened }: Wanted<Event>,
): AsyncGenerator<Event, never, void> {
  const tell = (stream: StreamState): void => observe(observers.onStream, stream);
  let last = after;
  for (let cuts = 0; ; cuts++) {
    const stream = new AbortController();
    const unlink = link(signal, stream);
    let error = errorOf(undefined);
    try {
      const asked = new URLSearchParams(last === null ? query : { ...query, last_event_id: last });
      const response = await ask({ what: "listen", path: `/v1/events?${asked}`, read: eventStream, stream, tries: 1 }, signal);
      await opened?.(last !== null, (why) => stream.abort(why));
      tell({ state: "live" });
      for await (const { id, data } of messagesOf(response, ambience, stream)) {
        cuts = 0;
        if (id !== "") last = id;
        if (data !== "") yield read(parsed(data), "");
      }
    } catch (fault) {
      signal.throwIfAborted();
      error = errorOf(fault);
    } finally {
      unlink();
      stream.abort();
    }
    const againMs = error.code === "token_unavailable" ? 0 : repeatAfter(error);
    tell({ state: againMs === null ? "ended" : "cut", error });
    if (againMs === null) throw error;
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** cuts) * (0.5 + ambience.random() / 2);
    await pause(ambience, Math.max(againMs, pauseMs), signal);
  }
}

const eventStream: Read<Response> = (response, at) => {
  // A call that streams reads the response.
  const found = response as Response;
  if (!found.headers.get("content-type")?.startsWith("text/event-stream")) throw new ShapeFault(at, "an event stream");
  return found;
};

/** A stream's messages until it ends. A stream that says nothing for long counts as broken. */
async function* messagesOf({ body }: Response, ambience: Ambience, stream: AbortController): AsyncGenerator<Message, void, void> {
  if (body === null) return;
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const read = messageReader();
  try {
    for (;;) {
      const { done, value } = await chunkOf(reader, ambience, stream);
      if (done) return;
      yield* read(decoder.decode(value, { stream: true }));
    }
  } finally {
    // Lets go of it also where fetch ignores its signal.
    void reader.cancel().catch(() => undefined);
  }
}

type Chunk = Awaited<ReturnType<ReadableStreamDefaultReader<Uint8Array>["read"]>>;

const chunkOf = (reader: ReadableStreamDefaultReader<Uint8Array>, { schedule }: Ambience, stream: AbortController): Promise<Chunk> =>
  abortable(stream.signal, (resolve, reject) => {
    reader.read().then(resolve, reject);
    return schedule(() => stream.abort(new Error("Nothing was heard for too long")), SILENCE_MS);
  });

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    throw new ShapeFault("", "JSON");
  }
}

function errorOf(fault: unknown): AgentSentinelError {
  if (fault instanceof AgentSentinelError) return fault;
  if (fault instanceof ShapeFault) return new GatewayRefusedError("listen", { status: 200, code: "answer_malformed", detail: fault.message });
  return new GatewayUnavailableError("Cannot listen: the stream broke off", { cause: fault });
}
