import { isStream, unsupportedStream, watched } from "../stream.ts";

/** How what a guarded function gave came to its end. Each is told at once, and of what is told only the first counts. */
export interface Ending {
  /** It gave all it had. */
  readonly ended: () => void;
  /** Its reader wants no more, or nobody reads it any more. */
  readonly cancelled: () => void;
  readonly failed: (error: unknown) => void;
}

/** Runs a step within the context of the guarded call. */
export type Within = <Result>(step: () => Result) => Result;

/**
 * What a guarded function gave, watched to its end: a generator, an iterator, an async generator or a `ReadableStream` of the same kind. `null`: it is
 * no stream. Throws a `TypeError` for a stream that cannot be watched; it has been stopped as far as it lets itself be.
 */
export function watchedStream<Result>(result: Result, end: Ending, within: Within, action: string): Result | null {
  if (!isStream(result)) return null;
  const found: unknown = result;
  const stream = isIterator(found)
    ? // An iterator's methods and symbol are all that it is asked for, and what is made of it has everything else from it.
      (watchedIterator(found, end, within) as Result)
    : watched(isAsyncGenerator(found) ? (steppedWithin(found, within) as Result) : result, (how) =>
        how === "whole" ? end.ended() : how === "cut" ? end.cancelled() : end.failed(how.error),
      );
  if (stream === null) throw unsupportedStream(action);
  abandoned?.register(Object(stream), end.cancelled);
  return stream;
}

/** Whether a result is a stream. What throws when it is looked at is none: it is its caller's as it is. */
export function isReadLater(result: unknown): boolean {
  try {
    return isStream(result);
  } catch {
    return false;
  }
}

/** Whether code of its own runs while it is read: a generator of the language's, or a `ReadableStream` that nobody reads yet. */
export const runsWhileRead = (result: unknown): boolean =>
  isReadLater(result) &&
  (/^(Async)?Generator$/.test(String(Reflect.get(Object(result), Symbol.toStringTag))) ||
    (has(result, "getReader") && Reflect.get(Object(result), "locked") === false));

/** Tells of streams that nobody holds any more. A runtime without it leaves them to the expiry of their reservations. */
const abandoned = typeof FinalizationRegistry === "function" ? new FinalizationRegistry<() => void>((cancelled) => cancelled()) : null;

function watchedIterator<T, Return, Next>(source: Iterator<T, Return, Next>, end: Ending, within: Within): Iterator<T, Return, Next> {
  const watching = (step: () => IteratorResult<T, Return>, over: () => void): IteratorResult<T, Return> => {
    let result: IteratorResult<T, Return>;
    try {
      result = within(step);
    } catch (error) {
      end.failed(error);
      throw error;
    }
    if (result.done) over();
    return result;
  };
  const { return: stop, throw: fail } = source;
  // What is not said here, such as its disposal and the helpers of iterators, it has from its source.
  const made: Iterator<T, Return, Next> = inPlaceOf(Object(source), {
    next: (...value: [] | [Next]) => watching(() => source.next(...value), end.ended),
    ...(stop !== undefined && { return: (value?: Return) => watching(() => stop.call(source, value), end.cancelled) }),
    ...(fail !== undefined && { throw: (error: unknown) => watching(() => fail.call(source, error), end.ended) }),
    [Symbol.iterator]: () => made,
  });
  return made;
}

/** An async generator whose steps run within the context of their call. */
function steppedWithin<T, Return, Next>(source: AsyncGenerator<T, Return, Next>, within: Within): AsyncGenerator<T, Return, Next> {
  const made: AsyncGenerator<T, Return, Next> = inPlaceOf(source, {
    next: (...value: [] | [Next]) => within(() => source.next(...value)),
    return: (value: Return | PromiseLike<Return>) => within(() => source.return(value)),
    throw: (error: unknown) => within(() => source.throw(error)),
    [Symbol.asyncIterator]: () => made,
  });
  return made;
}

/** What has some members of its own and all else from its source. They are defined and not set: those of a frozen source cannot be. */
const inPlaceOf = <Source extends object>(source: Source, members: Partial<Source>): Source =>
  Object.create(
    source,
    Object.fromEntries(Reflect.ownKeys(members).map((name) => [name, { value: Reflect.get(members, name), configurable: true, writable: true }])),
  );

const isIterator = (value: unknown): value is Iterator<unknown, unknown, unknown> => has(value, "next") && has(value, Symbol.iterator);

const isAsyncGenerator = (value: unknown): value is AsyncGenerator<unknown, unknown, unknown> =>
  has(value, Symbol.asyncIterator) && has(value, "next") && has(value, "return") && has(value, "throw");

const has = (value: unknown, member: PropertyKey): boolean =>
  typeof value === "object" && value !== null && typeof Reflect.get(value, member) === "function";
