import fc from "fast-check";
import { expect, test } from "vitest";
import { Turnstile } from "../../src/http/turnstile.ts";

const PLACES = 48;

/** Callers whose work goes on until somebody ends it. */
function doorstep() {
  let now = 1_000;
  const turnstile = new Turnstile(() => now);
  const begun: number[] = [];
  const ends = new Map<number, PromiseWithResolvers<string>>();
  return {
    begun,
    pass: (time: number) => {
      now += time;
    },
    come(caller: number): Promise<string> {
      const ending = Promise.withResolvers<string>();
      ends.set(caller, ending);
      return turnstile.pass(() => {
        begun.push(caller);
        return ending.promise;
      });
    },
    async end(caller: number, how: "answered" | "failed" = "answered"): Promise<void> {
      if (how === "answered") ends.get(caller)?.resolve(`of ${caller}`);
      else ends.get(caller)?.reject(new Error(`of ${caller}`));
      await settled();
    },
  };
}

/** Everything that waits for nothing but what has happened already has happened. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

const callers = (count: number): readonly number[] => Array.from({ length: count }, (_, n) => n);

test("so many are inside at once, and the others come in as they came", () =>
  fc.assert(
    fc.asyncProperty(fc.infiniteStream(fc.nat()), fc.integer({ min: 0, max: 3 * PLACES }), async (choices, count) => {
      const door = doorstep();
      const answers = callers(count).map((caller) => door.come(caller).catch((fault: Error) => fault.message));
      await settled();
      const ended = new Set<number>();
      while (ended.size < count) {
        expect(door.begun).toEqual(callers(Math.min(count, ended.size + PLACES)));
        const inside = door.begun.filter((caller) => !ended.has(caller));
        const caller = inside[(choices.next().value ?? 0) % inside.length] ?? 0;
        ended.add(caller);
        await door.end(caller, caller % 3 === 0 ? "failed" : "answered");
      }
      expect(await Promise.all(answers)).toEqual(callers(count).map((caller) => `of ${caller}`));
    }),
    { numRuns: 30 },
  ));

test.each([
  { afterMs: 59_999, begun: PLACES },
  { afterMs: 60_000, begun: PLACES + 1 },
])("who was let in $afterMs ms ago and never ended keeps no place for more than a minute", async ({ afterMs, begun }) => {
  const door = doorstep();
  for (const caller of callers(PLACES)) void door.come(caller);
  await settled();
  door.pass(afterMs);
  void door.come(PLACES);
  await settled();
  expect(door.begun).toHaveLength(begun);
});

test("a place whose holder was given up and ends after all is not given twice", async () => {
  const door = doorstep();
  for (const caller of callers(PLACES)) void door.come(caller);
  await settled();
  door.pass(60_000);
  for (const caller of callers(2 * PLACES)) void door.come(PLACES + caller);
  await settled();
  expect(door.begun).toHaveLength(2 * PLACES);
  await door.end(0);
  expect(door.begun).toHaveLength(2 * PLACES);
  await door.end(PLACES);
  expect(door.begun).toHaveLength(2 * PLACES + 1);
});
