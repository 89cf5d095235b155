import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { forkBook } from "../../src/core/book.ts";
import { type DecisionId, idFromDigest } from "../../src/core/ids.ts";
import type { JsonValue } from "../../src/core/json.ts";
import { microUsdOf } from "../../src/core/money.ts";
import {
  insideOf,
  keepParts,
  partsOf,
  pastOf,
  priorOf,
  seenAt,
  type Trace,
  type TraceChange,
  Trail,
  type TrailSource,
  valueAt,
  withOutputs,
} from "../../src/core/trail.ts";
import { Playing, RUN, requestOf, TraceStore } from "./playing.ts";
import { sha256 } from "./sha256.ts";

it("of paths into something is kept what comes after it, and of none nothing", () => {
  expect(insideOf("inputs", [["inputs", "a"], ["outputs", "b"], ["inputs"]])).toEqual([["a"], []]);
  expect(insideOf("inputs", [])).toEqual([]);
});

const idOf = (n: number): DecisionId => idFromDigest("dec", sha256(`trace ${n}`));

const traceOf = (n: number, action: string, at: number, more: Partial<Trace> = {}): Trace => ({
  id: idOf(n),
  run: RUN,
  action,
  at,
  outcome: "pending",
  endedAt: null,
  amountMicroUsd: microUsdOf(1),
  kept: null,
  keptUntil: null,
  ...more,
});

/** Stores what it is told, and answers as the table does. Counts how far back it was asked. */
class Table implements TrailSource {
  readonly traces = new Map<DecisionId, Trace>();
  readonly asked: number[] = [];

  calls(pattern: string, since: number): readonly Trace[] {
    this.asked.push(since);
    const store = new TraceStore();
    for (const [id, trace] of this.traces) store.traces.set(id, trace);
    return store.calls(pattern, since);
  }

  failures(action: string, since: number): readonly number[] {
    this.asked.push(since);
    const failed = [...this.traces.values()].filter((trace) => trace.action === action && trace.outcome === "error");
    return failed.flatMap(({ endedAt }) => (endedAt !== null && endedAt > since ? [endedAt] : [])).sort((a, b) => a - b);
  }
}

describe("calls with the same inputs", () => {
  const step = fc.record({
    wait: fc.nat({ max: 8 }),
    action: fc.constantFrom("a", "b"),
    keys: fc.constantFrom<readonly string[]>([], ["k"], ["l"], ["k", "k"], ["k", "l"]),
    keptFor: fc.option(fc.nat({ max: 20 }), { nil: null, freq: 6 }),
    isKept: fc.boolean(),
    window: fc.constantFrom(3, 10, 40),
    nth: fc.integer({ min: 1, max: 5 }),
    forks: fc.boolean(),
  });

  it("are found by their number from the newest on, as if all were looked through, whatever windows were asked for before", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), fc.boolean(), (steps, isStored) => {
        const table = isStored ? new Table() : null;
        let trail = new Trail(table);
        const all: Trace[] = [];
        let now = 0;
        for (const [n, { wait, action, keys, keptFor, isKept, window, nth, forks }] of steps.entries()) {
          now += wait;
          if (forks) trail = trail.fork();
          trail.begin();
          const kept = isKept || keys.length > 0 ? { paths: [], loopKeys: keys } : null;
          const trace = traceOf(n, action, now, { kept, keptUntil: keptFor === null ? null : now + keptFor });
          trail.add(trace);
          table?.traces.set(trace.id, trace);
          all.push(trace);
          const alike = all.filter(
            (one) => one.action === "a" && one.kept?.loopKeys.includes("k") && (one.keptUntil === null || one.keptUntil > now),
          );
          const wanted = alike.at(-nth)?.at;
          const got = trail.nthAlike("a", "k", nth, window, now);
          // Beyond the window it may answer with what it still remembers, or not.
          if (wanted !== undefined && wanted > now - window) expect(got).toBe(wanted);
          else expect(got === undefined || got <= now - window).toBe(true);
        }
      }),
    );
  });
});

describe("a window of the past", () => {
  it("holds what was made less than its length ago, oldest first", () => {
    for (const source of [null, new Table()]) {
      const trail = new Trail(source);
      for (const [n, at] of [0, 10, 10, 20].entries()) trail.add(traceOf(n, "a", at));
      const at = (windowMs: number, now: number) => trail.calls("a", windowMs, now).map((trace) => trace.at);
      expect(at(10, 20)).toEqual([20]);
      expect(at(11, 20)).toEqual([10, 10, 20]);
      expect(at(20, 20)).toEqual([10, 10, 20]);
      expect(at(21, 20)).toEqual([0, 10, 10, 20]);
      expect(at(Number.POSITIVE_INFINITY, 20)).toEqual([0, 10, 10, 20]);
      expect(at(10, 29)).toEqual([20]);
      expect(at(10, 30)).toEqual([]);
    }
  });

  it("of a shorter one that was asked first, a longer one is read again", () => {
    const table = new Table();
    table.traces.set(idOf(0), traceOf(0, "a", 0));
    const trail = new Trail(table);
    expect(trail.calls("a", 5, 10)).toEqual([]);
    expect(trail.calls("a", 50, 10)).toHaveLength(1);
    expect(trail.calls("a", 5, 10)).toEqual([]);
    expect(table.asked).toEqual([5, -40]);
  });

  it("is read from the store once, and never further back than asked", () => {
    const table = new Table();
    const trail = new Trail(table);
    for (let at = 0; at < 100; at++) {
      trail.begin();
      trail.calls("a*", 50, at);
      trail.failures("ab", 20, at);
      const trace = traceOf(at, "ab", at);
      trail.add(trace);
      table.traces.set(trace.id, trace);
    }
    expect(trail.calls("a*", 50, 99)).toHaveLength(50);
    expect(table.asked).toEqual([-50, -20]);
  });
});

describe("what becomes of a call", () => {
  it("is seen wherever the call is remembered", () => {
    for (const stored of [false, true]) {
      const table = new Table();
      const trail = new Trail(stored ? table : null);
      trail.calls("*", 100, 0);
      trail.failures("a", 100, 0);
      trail.add(traceOf(0, "a", 0, { kept: { paths: [["outputs", "n"]], loopKeys: [] } }));
      trail.calls("a", 100, 0);
      trail.change(idOf(0), "a", { outcome: "error", endedAt: 7, amountMicroUsd: microUsdOf(9), outputs: { n: 1 } });
      for (const pattern of ["*", "a"]) {
        expect(trail.calls(pattern, 100, 7)).toMatchObject([{ outcome: "error", endedAt: 7, amountMicroUsd: 9, kept: { outputs: { n: 1 } } }]);
      }
      expect(trail.failures("a", 100, 7)).toEqual([7]);
      expect(trail.failures("a", 100, 106)).toEqual([7]);
      expect(trail.failures("a", 100, 107)).toEqual([]);
    }
  });

  it("keeps what was kept, where nothing new is to be kept", () => {
    const trail = new Trail(null);
    trail.add(traceOf(0, "a", 0, { kept: { paths: [["inputs"]], inputs: { n: 1 }, loopKeys: ["k"] } }));
    trail.add(traceOf(1, "a", 0));
    trail.change(idOf(0), "a", { outcome: "success" });
    trail.change(idOf(1), "a", { outputs: { n: 1 } });
    expect(trail.calls("a", 10, 0).map(({ kept }) => kept)).toEqual([{ paths: [["inputs"]], inputs: { n: 1 }, loopKeys: ["k"] }, null]);
  });
});

describe("a copy", () => {
  it("neither shows what happens in it nor sees what happens elsewhere", () => {
    for (const source of [null, new Table()]) {
      const trail = new Trail(source);
      trail.calls("a", 100, 0);
      trail.failures("a", 100, 0);
      trail.add(traceOf(0, "a", 0));
      const copy = trail.fork();
      copy.add(traceOf(1, "a", 1));
      copy.change(idOf(0), "a", { outcome: "error", endedAt: 1 });
      trail.add(traceOf(2, "a", 2));
      const ids = (of: Trail) => of.calls("a", 100, 2).map(({ id, outcome }) => [id, outcome]);
      expect(ids(trail)).toEqual([
        [idOf(0), "pending"],
        [idOf(2), "pending"],
      ]);
      expect(ids(copy)).toEqual([
        [idOf(0), "error"],
        [idOf(1), "pending"],
      ]);
      expect([trail.failures("a", 100, 2), copy.failures("a", 100, 2)]).toEqual([[], [1]]);
      // Nor what was not looked at yet.
      expect(trail.calls("*", 100, 2)).toHaveLength(2);
      expect(copy.calls("*", 100, 2)).toHaveLength(2);
    }
  });

  it("of a book has a trail of its own", () => {
    const playing = new Playing("strict_mode: true");
    playing.decide(requestOf("a"), 0);
    const copy = forkBook(playing.book);
    copy.trail.add(traceOf(9, "a", 0));
    expect([playing.book.trail.calls("a", 10, 0).length, copy.trail.calls("a", 10, 0).length]).toEqual([1, 2]);
  });
});

describe("paths", () => {
  it.each<[JsonValue | undefined, string[], JsonValue | undefined]>([
    [{ a: { b: 1 } }, ["a", "b"], 1],
    [{ a: { b: 1 } }, [], { a: { b: 1 } }],
    [{ a: null }, ["a"], null],
    [{ a: null }, ["a", "b"], undefined],
    [{ a: [1] }, ["a", "0"], undefined],
    [{ a: "xy" }, ["a", "length"], undefined],
    [{}, ["constructor"], undefined],
    [{}, ["toString", "name"], undefined],
    [undefined, ["a"], undefined],
  ])("%j at %j is %j", (value, path, found) => {
    expect(valueAt(value, path)).toEqual(found);
  });

  it.each<[JsonValue | undefined, string[][], JsonValue | undefined]>([
    [{ a: { b: 1, c: 2 }, d: 3 }, [["a", "b"]], { a: { b: 1 } }],
    [{ a: { b: 1, c: 2 }, d: 3 }, [["a", "b"], ["d"]], { a: { b: 1 }, d: 3 }],
    [{ a: { b: 1, c: 2 } }, [["a", "b"], ["a"]], { a: { b: 1, c: 2 } }],
    [{ a: { b: 1 } }, [[]], { a: { b: 1 } }],
    [{ a: 5 }, [["a", "b"]], { a: 5 }],
    [{ a: [{ b: 1 }] }, [["a", "b"]], { a: [{ b: 1 }] }],
    [{ x: 1 }, [["a"]], {}],
    [{ x: 1 }, [], undefined],
    [undefined, [["a"]], undefined],
    ["text", [["a"]], "text"],
  ])("of %j, %j keeps %j", (value, paths, kept) => {
    expect(partsOf(value, paths)).toEqual(kept);
  });

  it("a place says what stood there, that nothing did, or that nobody kept it", () => {
    const kept = {
      paths: [["inputs", "a"], ["outputs"], ["resource", "id"]],
      inputs: { a: { b: 1 } },
      resource: { type: "t", id: "i" },
      loopKeys: [],
    };
    const trace = traceOf(0, "a", 0, { kept });
    expect(seenAt(trace, ["inputs", "a", "b"], 0)).toEqual({ value: 1 });
    expect(seenAt(trace, ["inputs", "a", "c"], 0)).toEqual({ value: undefined });
    expect(seenAt(trace, ["inputs", "b"], 0)).toBe(null);
    expect(seenAt(trace, ["outputs", "x"], 0), "nothing has been told of it yet").toBe(null);
    expect(seenAt({ ...trace, endedAt: 1 }, ["outputs", "x"], 1)).toEqual({ value: undefined });
    expect(seenAt({ ...trace, keptUntil: 5 }, ["inputs", "a", "b"], 4)).toEqual({ value: 1 });
    expect(seenAt({ ...trace, keptUntil: 5 }, ["inputs", "a", "b"], 5), "kept long enough").toBe(null);
    expect(seenAt(trace, ["resource", "id"], 0)).toEqual({ value: "i" });
    expect(seenAt(trace, ["resource"], 0)).toBe(null);
    expect(seenAt(traceOf(0, "a", 0), ["inputs"], 0)).toBe(null);
  });
});

it("what is larger than a session has room for is not kept, and is then not known, and all else still is", () => {
  const text = (characters: number) => "x".repeat(characters - '{"a":""}'.length);
  const paths = [["a"]];
  expect(keepParts({ a: text(200_000), b: 1 }, paths)).toEqual({ parts: { a: text(200_000) }, known: paths });
  expect(keepParts({ a: text(200_001), b: 1 }, paths)).toEqual({ parts: undefined, known: [] });
  const kept = { paths: [["inputs", "a"], ["outputs", "b"], ["resource"]], inputs: { a: 1 }, loopKeys: ["k"] };
  expect(withOutputs(kept, { outputs: undefined, losesOutputs: true })).toEqual({ ...kept, paths: [["inputs", "a"], ["resource"]] });
  expect(withOutputs(kept, { outputs: { b: 2 }, losesOutputs: false })).toEqual({ ...kept, outputs: { b: 2 } });
  expect(withOutputs(kept, {})).toBe(kept);
});

it("an earlier call is seen with what was kept, how it went, and how long ago it was made", () => {
  const trace = traceOf(0, "a", 5, {
    outcome: "success",
    endedAt: 9,
    kept: { paths: [["inputs"]], inputs: { n: 1 }, outputs: { m: 2 }, loopKeys: [] },
  });
  expect(priorOf(trace, 12)).toMatchObject({ action: "a", inputs: { n: 1 }, outputs: { m: 2 }, outcome: "success", ageMs: 7 });
});

it("the past counts, tells apart and adds; what it cannot know it does not guess", () => {
  const trail = new Trail(null);
  const kept = (n: JsonValue | undefined) => ({ paths: [["inputs", "n"]], inputs: n === undefined ? {} : { n }, loopKeys: [] });
  for (const [place, n] of [1, 1, 2.5, undefined].entries())
    trail.add(traceOf(place, "a", place, { kept: kept(n), amountMicroUsd: microUsdOf(250_000) }));
  let past = pastOf(trail, 3);
  expect(past.count("a", 100)).toBe(4);
  expect(past.count("a", 3)).toBe(3);
  expect(past.count("b", 100)).toBe(0);
  expect(past.distinct("a", ["inputs", "n"], 100)).toBe(2);
  expect(past.sum("a", ["inputs", "n"], 100)).toBe(4.5);
  expect(past.sum("a", ["cost_usd"], 100)).toBe(1);
  expect(past.sum("b", ["cost_usd"], 100)).toBe(0);
  trail.add(traceOf(9, "a", 3, { kept: null, amountMicroUsd: microUsdOf(250_000) }));
  expect(past.sum("a", ["cost_usd"], 100), "what one request is judged by stays as it was").toBe(1);
  past = pastOf(trail, 3);
  expect(past.distinct("a", ["inputs", "n"], 100)).toBe(null);
  expect(past.sum("a", ["inputs", "n"], 100)).toBe(null);
  expect(past.sum("a", ["cost_usd"], 100)).toBe(1.25);
  trail.add(traceOf(10, "c", 3, { kept: kept("1") }));
  expect(past.sum("c", ["inputs", "n"], 100)).toBe(null);
  expect(past.distinct("c", ["inputs", "n"], 100)).toBe(1);
});

it("amounts add up as they are written", () => {
  const trail = new Trail(null);
  for (let place = 0; place < 10; place++)
    trail.add(traceOf(place, "a", place, { kept: { paths: [["inputs", "usd"]], inputs: { usd: 0.1 }, loopKeys: [] } }));
  expect(pastOf(trail, 10).sum("a", ["inputs", "usd"], 100)).toBe(1);
});

describe("laws over random lives", () => {
  const ACTIONS = ["a", "ab", "b"];
  const step = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("add" as const), action: fc.constantFrom(...ACTIONS), n: fc.integer({ min: 0, max: 2 }) }) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("end" as const),
        which: fc.nat(),
        outcome: fc.constantFrom("success" as const, "error" as const, "released" as const, "expired" as const),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("look" as const),
        pattern: fc.constantFrom("a", "a*", "*", "b"),
        windowMs: fc.constantFrom(1, 3, 10, 40, Number.POSITIVE_INFINITY),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 5 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("fork" as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("evict" as const) }) },
  );

  it("a trail over a store, turn after turn and evicted at any time, sees what one that keeps all sees, which is what plainly happened", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const plain: Trace[] = [];
        const alone = new Trail(null);
        const table = new Table();
        let over = new Trail(table);
        let now = 0;
        for (const one of steps) {
          switch (one.do) {
            case "add": {
              const trace = traceOf(plain.length, one.action, now, { kept: { paths: [["outputs"]], inputs: { n: one.n }, loopKeys: [] } });
              plain.push(trace);
              alone.add(trace);
              over.add(trace);
              // Within a turn the store may already know it.
              if (one.n > 0) table.traces.set(trace.id, trace);
              else {
                over.calls(one.action, 1, now);
                table.traces.set(trace.id, trace);
              }
              break;
            }
            case "end": {
              const place = one.which % Math.max(1, plain.length);
              const trace = plain[place];
              if (trace === undefined || trace.outcome === "error" || trace.outcome === "success") break;
              const outputs = { at: now };
              const change: TraceChange = { outcome: one.outcome, endedAt: now, amountMicroUsd: microUsdOf(3), outputs };
              const ended = {
                ...trace,
                outcome: one.outcome,
                endedAt: now,
                amountMicroUsd: microUsdOf(3),
                kept: trace.kept && { ...trace.kept, outputs },
              };
              plain[place] = ended;
              alone.change(trace.id, trace.action, change);
              over.change(trace.id, trace.action, change);
              table.traces.set(trace.id, ended);
              break;
            }
            case "look": {
              const wanted = plain.filter(
                ({ action, at }) =>
                  at > now - one.windowMs && (one.pattern === "*" || (one.pattern === "a*" ? action.startsWith("a") : action === one.pattern)),
              );
              for (const trail of [alone, over]) {
                expect(trail.calls(one.pattern, one.windowMs, now)).toEqual(wanted);
                const failures = plain
                  .filter(({ action, outcome }) => action === "a" && outcome === "error")
                  .flatMap(({ endedAt }) => (endedAt === null ? [] : [endedAt]));
                expect(trail.failures("a", one.windowMs, now)).toEqual(failures.filter((at) => at > now - one.windowMs).sort((a, b) => a - b));
              }
              break;
            }
            case "wait":
              now += one.ms;
              over.begin();
              alone.begin();
              break;
            case "fork":
              for (const trail of [alone, over]) {
                const copy = trail.fork();
                copy.add(traceOf(100_000, "a", now));
                expect(copy.calls("a", 40, now).at(-1)?.id).toBe(idOf(100_000));
              }
              break;
            case "evict":
              over = new Trail(table);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("memory", () => {
  /** How many calls are remembered: to a look from the beginning of time all of them are recent. */
  const remembered = (trail: Trail, pattern: string, windowMs: number): number => trail.calls(pattern, windowMs, 0).length;

  it("holds what the longest look still sees and little more, however many calls there were", () => {
    const table = new Table();
    const trail = new Trail(table);
    trail.calls("a", 100, 0);
    for (let at = 0; at < 10_000; at++) {
      trail.begin();
      trail.add(traceOf(at, "a", at));
      trail.calls("a", 100, at);
    }
    expect(remembered(trail, "a", 100)).toBeLessThan(300);
    expect(trail.calls("a", 100, 9_999)).toHaveLength(100);
  });

  it("forgets all names where there are too many, and reads them again, so that no caller fills it with names", () => {
    const table = new Table();
    const trail = new Trail(table);
    const look = (n: number) => trail.calls(`a${n}`, 10, 0);
    for (let n = 0; n < 1_000; n++) look(n);
    for (let n = 0; n < 1_000; n++) look(n);
    expect(table.asked).toHaveLength(1_000);
    look(1_000);
    look(0);
    expect(table.asked).toHaveLength(1_002);
    look(1_000);
    look(0);
    expect(table.asked).toHaveLength(1_002);
  });

  it("holds nothing of what nobody looks back at", () => {
    const table = new Table();
    const trail = new Trail(table);
    for (let at = 0; at < 1_000; at++) {
      trail.begin();
      trail.add(traceOf(at, "a", at));
    }
    trail.begin();
    // The store was never told, so whatever is found is remembered.
    expect(remembered(trail, "a", 1_000)).toBe(0);
  });
});
