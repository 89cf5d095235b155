import { Readable } from "node:stream";
import { describe, expect, expectTypeOf, test } from "vitest";
import { fakeGateway, openFake } from "./gateway.ts";

/** Guards `fn`, lets `use` have its result, and says what was committed: before it was used, and in the end. */
async function streamed<T>(fn: () => T, use: (stream: Awaited<T>) => Promise<unknown>) {
  await using gateway = await fakeGateway();
  const { session } = await openFake(gateway);
  const commits = () => gateway.seen.flatMap(({ path, body }) => (/commit/.test(path) ? [[body.outcome, body.cost_usd]] : []));
  const stream = await session.guard({ action: "stream", costUsd: "0.5", actualUsd: () => "0.2" }, fn)();
  const before = commits();
  const used = await use(stream).catch((error) => error);
  return { before, used, commits: commits() };
}

async function* letters() {
  yield "a";
  yield "b";
  return 2;
}

const collect = async (stream: AsyncIterable<unknown>) => {
  const found: unknown[] = [];
  for await (const each of stream) found.push(each);
  return found;
};

const broken = new Error("cut off");
const readable = (type?: "bytes") => {
  let left = 2;
  const pull = (controller: { enqueue(chunk: Uint8Array<ArrayBuffer>): void; close(): void; byobRequest?: ReadableStreamBYOBRequest | null }) => {
    if (left-- > 0) return controller.enqueue(new Uint8Array([left]));
    controller.close();
    controller.byobRequest?.respond(0);
  };
  return type === undefined ? new ReadableStream({ pull }) : new ReadableStream({ type, pull });
};

/** One that never gives anything. */
const silent = (type?: "bytes") => {
  const pull = () => new Promise<void>(() => undefined);
  return type === undefined ? new ReadableStream({ pull }) : new ReadableStream({ type, pull });
};

const cancelledWhileReading = async (stream: ReadableStream<unknown>) => {
  const reader = stream.getReader();
  const piece = reader.read();
  await reader.cancel("too slow");
  return piece;
};

describe("a guarded stream is committed once", () => {
  const cases: readonly [string, () => Promise<{ before: unknown; used: unknown; commits: unknown }>, used: unknown, commits: unknown][] = [
    ["when a generator was consumed", () => streamed(letters, collect), ["a", "b"], [["success", "0.2"]]],
    [
      "when its return value was read",
      () => streamed(letters, async (s) => [await s.next(), await s.next(), await s.next(), await s.next()].at(2)),
      { value: 2, done: true },
      [["success", "0.2"]],
    ],
    [
      "when its reader left early",
      () =>
        streamed(letters, async (s) => {
          for await (const each of s) return each;
          return "nothing";
        }),
      "a",
      [["success", "0.5"]],
    ],
    ["when it was left before it began", () => streamed(letters, (s) => s.return(9)), { value: 9, done: true }, [["success", "0.5"]]],
    ["when it was broken off before it began", () => streamed(letters, (s) => s.throw(broken)), broken, [["error", "0.5"]]],
    [
      "when it failed",
      () =>
        streamed(async function* () {
          yield 1;
          throw broken;
        }, collect),
      broken,
      [["error", "0.5"]],
    ],
    [
      "when a ReadableStream was consumed",
      () => streamed(readable, (s) => collect(s)),
      [new Uint8Array([1]), new Uint8Array([0])],
      [["success", "0.2"]],
    ],
    [
      "when a byte stream was read into own buffers",
      () =>
        streamed(
          async () => readable("bytes"),
          async (s) => {
            const reader = s.getReader({ mode: "byob" });
            const found: number[] = [];
            for (;;) {
              const { done, value } = await reader.read(new Uint8Array(4));
              if (done) return found;
              found.push(...value);
            }
          },
        ),
      [1, 0],
      [["success", "0.2"]],
    ],
    ["when it was cancelled", () => streamed(readable, (s) => s.cancel("bored")), undefined, [["success", "0.5"]]],
    ...[undefined, "bytes" as const].map((type): (typeof cases)[number] => [
      `when it was cancelled while a piece was waited for, ${type ?? "values"}`,
      () => streamed(() => silent(type), cancelledWhileReading),
      { done: true, value: undefined },
      [["success", "0.5"]],
    ]),
    ["when it was cut off", () => streamed(() => new ReadableStream({ pull: (c) => c.error(broken) }), collect), broken, [["error", "0.5"]]],
  ];
  test.each(cases)("%s", async (_, run, used, commits) => {
    expect(await run()).toEqual({ before: [], used, commits });
  });
});

test("Leaving a guarded generator that never began also leaves its source.", async () => {
  let left = 0;
  const source = {
    ...{ [Symbol.asyncIterator]: () => source },
    next: async () => ({ done: false, value: 1 }),
    throw: async (error: unknown) => Promise.reject(error),
    return: async (value: unknown) => {
      left++;
      return { done: true, value };
    },
  };
  await streamed(
    () => source,
    (s) => s.return(0),
  );
  expect(left).toBe(1);
});

test.each<[string, () => unknown]>([
  ["a Node stream", () => Readable.from(["a"])],
  ["an async iterable that is no generator", () => ({ [Symbol.asyncIterator]: letters })],
  ["an iterator", () => [1, 2][Symbol.iterator]()],
  [
    "what only looks like a ReadableStream",
    () => ({
      getReader: throwing,
      cancel: throwing,
      get controller() {
        return throwing();
      },
    }),
  ],
  [
    "a locked ReadableStream",
    () => {
      const stream = readable();
      stream.getReader();
      return stream;
    },
  ],
])("%s cannot be watched whole: it is refused, and charged at its estimate.", async (_, fn) => {
  await using gateway = await fakeGateway();
  const { session } = await openFake(gateway);
  await expect(session.guard({ action: "stream", costUsd: "0.5" }, fn)()).rejects.toThrow(/Cannot guard "stream": wanted an async generator/);
  expect(gateway.seen.at(-1)?.body).toMatchObject({ outcome: "error", cost_usd: "0.5" });
});

test.each([[[1, 2]], ["text"], [new Map([[1, 2]])], [null], [new Response("x")]])("%o is a whole result.", async (value) => {
  const { before, used } = await streamed(
    () => value,
    async (result) => result === value,
  );
  expect([before, used]).toEqual([[["success", "0.2"]], true]);
});

const throwing = (): never => {
  throw new Error("a look at it");
};

test.each<[string, () => object]>([
  ["a getter that throws", () => Object.defineProperty({}, "getReader", { get: throwing })],
  ["an iterator that cannot be looked at", () => Object.defineProperty({}, Symbol.asyncIterator, { get: throwing })],
  // What is no promise says so by having no `then`.
  ["a proxy whose traps throw", () => new Proxy({}, { get: (_, member) => (member === "then" ? undefined : throwing()), getPrototypeOf: throwing })],
])("A result with %s is a whole result.", async (_, make) => {
  const value = make();
  const { before, used } = await streamed(
    () => value,
    async (result) => result === value,
  );
  expect([before, used]).toEqual([[["success", "0.2"]], true]);
});

test("A guarded generator function gives a promise of the same generator type.", async () => {
  await using gateway = await fakeGateway();
  const { session } = await openFake(gateway);
  expectTypeOf(session.guard({ action: "stream" }, letters)).returns.toEqualTypeOf<Promise<AsyncGenerator<"a" | "b", number, unknown>>>();
});
