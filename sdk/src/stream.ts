import { attempt } from "./observers.ts";
import { isObject } from "./plain.ts";

/**
 * Results that go on after they were returned. The action is not done until they are: watched streams say so when they were consumed,
 * cancelled or have failed. What cannot be watched whole is not let through.
 */

/** How a call or its stream ends: it gave all it had, its reader wants no more, or it failed. */
export type End = "whole" | "cut" | { readonly error: unknown };

/** Told, and waited for, how a stream ends. Of what is said the first counts: a stream that ended may be cancelled after it. */
export type StreamEnd = (end: End) => unknown;

/** Whether a result is read piece by piece later: a `ReadableStream`, an async iterable, or an iterator. Arrays, maps and texts are whole. */
export const isStream = (result: unknown): boolean =>
  has(result, "getReader") || has(result, Symbol.asyncIterator) || (has(result, "next") && has(result, Symbol.iterator));

/** The same stream, watched. `null`: it is of a kind that cannot be; it has been stopped as far as it lets itself be. */
export function watched<Stream>(stream: Stream, end: StreamEnd): Stream | null {
  const found: unknown = stream;
  try {
    if (has(found, "getReader") && has(found, "cancel")) {
      // Both methods are those of a ReadableStream, and so is what is made of it.
      const readable = watchedReadable(found as unknown as ReadableStream<unknown>, end) as Stream | null;
      if (readable) return readable;
    } else if (has(found, Symbol.asyncIterator) && has(found, "next") && has(found, "return") && has(found, "throw")) {
      // These four are the interface of an async generator, and so is what is made of it.
      return watchedGenerator(found as unknown as AsyncGenerator<unknown, unknown, unknown>, end) as Stream;
    }
  } catch {
    // It only looks like one.
  }
  // It is an object, since it has a method, and whatever it holds may be tried.
  stop(found as Stoppable);
  return null;
}

/** The error for a guarded function that gives a stream that cannot be watched. */
export const unsupportedStream = (action: string): TypeError =>
  new TypeError(`Cannot guard "${action}": wanted an async generator or unlocked ReadableStream`);

function watchedGenerator<T, Return, Next>(source: AsyncGenerator<T, Return, Next>, end: StreamEnd): AsyncGenerator<T, Return, Next> {
  const watching = async (step: () => Promise<IteratorResult<T, Return>>, over: "whole" | "cut"): Promise<IteratorResult<T, Return>> => {
    let result: IteratorResult<T, Return>;
    try {
      result = await step();
    } catch (error) {
      await end({ error });
      throw error;
    }
    if (result.done) await end(over);
    return result;
  };
  // What is not said here, such as its disposal, it has from its source.
  const made: AsyncGenerator<T, Return, Next> = Object.assign(Object.create(source), {
    next: (...value: [] | [Next]) => watching(() => source.next(...value), "whole"),
    return: (value: Return | PromiseLike<Return>) => watching(() => source.return(value), "cut"),
    throw: (error: unknown) => watching(() => source.throw(error), "whole"),
    [Symbol.asyncIterator]: () => made,
  });
  return made;
}

function watchedReadable(source: ReadableStream<unknown>, end: StreamEnd): ReadableStream<unknown> | null {
  if (source.locked) return null;
  let type: "bytes" | undefined;
  try {
    // Only a byte stream lends a reader for own buffers.
    source.getReader({ mode: "byob" }).releaseLock();
    type = "bytes";
  } catch {
    // It is one of values.
  }
  const reader = source.getReader();
  let isLeft = false;
  const body = {
    async pull(controller: ReadableStreamDefaultController<unknown> | ReadableByteStreamController): Promise<void> {
      let step: Awaited<ReturnType<typeof reader.read>>;
      try {
        step = await reader.read();
      } catch (error) {
        await end({ error });
        throw error;
      }
      // Who is left while a piece is waited for ends, too: that was not all.
      if (isLeft) return;
      if (!step.done) {
        // A byte stream gives bytes, and any other controller takes anything.
        (controller as ReadableStreamDefaultController<unknown>).enqueue(step.value);
        return;
      }
      await end("whole");
      controller.close();
      // A reader that brought its own buffer waits for it to be given back.
      if ("byobRequest" in controller) controller.byobRequest?.respond(0);
    },
    async cancel(reason: unknown): Promise<void> {
      isLeft = true;
      try {
        await reader.cancel(reason);
      } catch (error) {
        await end({ error });
        throw error;
      }
      await end("cut");
    },
  };
  // Reads nothing ahead: what nobody asked for is not pulled.
  // Which of the two kinds it is, its type says; the types of the constructor want to know it beforehand.
  return new ReadableStream({ ...body, type } as ConstructorParameters<typeof ReadableStream>[0], { highWaterMark: 0 });
}

/** What a stream that cannot be let through may understand, or not. */
interface Stoppable {
  readonly controller: { abort(): unknown };
  return(): unknown;
  destroy(): unknown;
  cancel(): unknown;
}

/** Stops it by each, whatever comes of that: what has none of them, or something else by that name, throws where nobody hears of it. */
function stop(stream: Stoppable): void {
  for (const member of ["return", "destroy", "cancel"] as const) void attempt(() => stream[member]());
  void attempt(() => stream.controller.abort());
}

/** Whether a value has such a method. What cannot be looked at has none. */
function has<Member extends PropertyKey>(value: unknown, member: Member): value is Record<Member, () => unknown> {
  try {
    // Any object can be asked for any member.
    return isObject(value) && typeof (value as Partial<Record<Member, unknown>>)[member] === "function";
  } catch {
    return false;
  }
}
