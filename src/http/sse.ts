import { placeAfter } from "../core/events.ts";

/** Proxies and clients that hear nothing for long take a stream for dead. */
const HEARTBEAT_MS = 15_000;
/** How long a client waits before it comes back. */
const RETRY_MS = 1_000;

/**
 * Server-Sent Events (WHATWG HTML section 9.2) from a socket on which each message is one event as JSON. The client reads as fast as it can: what waits
 * for it here is acknowledged to the other side only when it was read, which lets go who does not keep up. When either side ends, both do.
 */
export function eventStream(socket: WebSocket): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const waiting: string[] = [`retry: ${RETRY_MS}\n\n`];
  let wake: (() => void) | null = null;
  let isOver = false;
  const add = (text: string): void => {
    waiting.push(text);
    wake?.();
  };
  const end = (): void => {
    isOver = true;
    clearInterval(beating);
    wake?.();
  };
  const beating = setInterval(() => {
    // A client that reads nothing needs no sign of life.
    if (waiting.length === 0) add(": still here\n\n");
  }, HEARTBEAT_MS);
  socket.accept();
  socket.addEventListener("message", ({ data }) => {
    if (typeof data === "string") add(messageOf(data));
  });
  socket.addEventListener("close", end);
  socket.addEventListener("error", end);
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        if (waiting.length === 0 && !isOver) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
          wake = null;
        }
        const texts = waiting.splice(0);
        for (const text of texts) controller.enqueue(encoder.encode(text));
        if (isOver) controller.close();
        // Read, all of it: more may come.
        else if (texts.length > 0) socket.send("read");
      },
      cancel() {
        end();
        socket.close(1000, "the client is gone");
      },
    },
    { highWaterMark: 0 },
  );
}

/** One event as its lines. JSON has no line ends in it, so its data is one line. */
function messageOf(text: string): string {
  // Our own text: an event with an id and a type.
  const { id, type } = JSON.parse(text) as { readonly id: string; readonly type: string };
  return `id: ${id}\nevent: ${type}\ndata: ${text}\n\n`;
}

/** The event that a client saw last: the header that browsers send by themselves, else what it says in the query. `undefined`: that is no event's id. */
export function resumeAfter(header: string | null, query: string | undefined): ReturnType<typeof placeAfter> | undefined {
  const last = header ?? query ?? null;
  if (last === null || last === "") return null;
  return placeAfter(last) ?? undefined;
}
