import type { Feed } from "./feed.ts";

/** How an answer ended: of what is said the first counts. */
export interface MeterEnd {
  readonly ended: () => Promise<void>;
  readonly cancelled: () => Promise<void>;
  readonly failed: (error: unknown) => Promise<void>;
}

/**
 * The same stream, listened to on its way. Reads nothing ahead, and lets go of the source at once where the caller does: a stream that were copied to be
 * read twice would run on. The caller sees the end when what it cost has been told. When `stop` aborts, the source is let go and the caller's reader gets
 * its reason.
 */
export function metered(source: ReadableStream<Uint8Array>, feed: Feed, end: MeterEnd, stop: AbortSignal): ReadableStream<Uint8Array> {
  const reader = source.getReader();
  let stopped = (): void => undefined;
  const over = (): void => stop.removeEventListener("abort", stopped);
  return new ReadableStream({
    type: "bytes",
    start(controller) {
      stopped = () => {
        over();
        controller.error(stop.reason);
        // It was aborted by the same signal, and may say so.
        reader.cancel(stop.reason).catch(() => undefined);
        void end.failed(stop.reason);
      };
      stop.addEventListener("abort", stopped);
      if (stop.aborted) stopped();
    },
    async pull(controller) {
      for (;;) {
        let step: Awaited<ReturnType<typeof reader.read>>;
        try {
          step = await reader.read();
        } catch (error) {
          over();
          await end.failed(error);
          throw error;
        }
        // The reader has the reason already.
        if (stop.aborted) return;
        const passed = (step.done ? feed.end() : feed.push(step.value)).filter((bytes) => bytes.length > 0);
        for (const bytes of passed) controller.enqueue(copied(bytes));
        if (step.done) {
          over();
          await end.ended();
          controller.close();
          // A reader that brought its own buffer waits for it to be given back.
          controller.byobRequest?.respond(0);
          return;
        }
        if (passed.length > 0) return;
      }
    },
    async cancel(reason) {
      over();
      try {
        await reader.cancel(reason);
      } finally {
        await end.cancelled();
      }
    },
  });
}

/** A byte stream takes the whole buffer of what it is given, and pieces of one buffer must not be taken with the first. */
const copied = (bytes: Uint8Array): Uint8Array<ArrayBuffer> => new Uint8Array(bytes);
