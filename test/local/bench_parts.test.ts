import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { load, post, sendAll } from "../bench/client.ts";
import { compare, comparison, type Recorded, readHistory, record } from "../bench/history.ts";
import { atLeast, atMost, isAsWanted, shownFigure } from "../bench/report.ts";
import { median, quantile, ratioOf, takeTurns } from "../bench/rounds.ts";

const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-bench-parts-"));
afterAll(() => rmSync(folder, { recursive: true }));

const round = (perSecond: number) => ({ perSecond, p50Ms: 1, p95Ms: 2, p99Ms: 3 });
const line = (commit: string, ratios: Recorded["ratios"]): Recorded => ({
  date: "2026-11-27T00:00:00.000Z",
  commit,
  cores: 2,
  rounds: 5,
  seconds: 2,
  large: false,
  ratios,
});

describe("the middle and the tail", () => {
  it.each([
    { numbers: [], middle: Number.NaN, p99: Number.NaN },
    { numbers: [7], middle: 7, p99: 7 },
    { numbers: [3, 1, 2], middle: 2, p99: 3 },
    { numbers: [4, 1, 3, 2], middle: 2.5, p99: 4 },
    { numbers: [10, 9], middle: 9.5, p99: 10 },
  ])("of $numbers are $middle and $p99", ({ numbers, middle, p99 }) => {
    expect(median(numbers)).toBe(middle);
    expect(quantile(numbers, 0.99)).toBe(p99);
  });

  it("a quantile is one of the numbers, and at least its part of them is not above it", () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1 }), fc.double({ min: 0.01, max: 1, noNaN: true }), (numbers, part) => {
        const found = quantile(numbers, part);
        expect(numbers).toContain(found);
        const below = (limit: (one: number) => boolean) => numbers.filter(limit).length / numbers.length;
        expect(below((one) => one <= found)).toBeGreaterThanOrEqual(part);
        expect(below((one) => one < found)).toBeLessThan(part);
      }),
    );
  });
});

describe("turns", () => {
  it("warm up once, go forwards and backwards, and prepare what they measure", async () => {
    const order: string[] = [];
    const one = (name: string, perSecond: number) => ({
      name,
      prepare: async () => void order.push(`ready ${name}`),
      run: async (ms: number) => {
        order.push(`${name} ${ms}`);
        return round(perSecond);
      },
    });
    const found = await takeTurns([one("a", 1), one("b", 4)], { rounds: 2, seconds: 2, large: false }, () => undefined);
    const warmUp = ["ready a", "a 500", "ready b", "b 500"];
    expect(order).toEqual([...warmUp, "ready b", "b 2000", "ready a", "a 2000", "ready a", "a 2000", "ready b", "b 2000"]);
    expect([found.get("a")?.length, found.get("b")?.length]).toEqual([2, 2]);
  });

  it("a ratio is the median of what each round says, so that one slow round of both changes nothing", () => {
    const found = new Map([
      ["a", [round(100), round(10), round(90)]],
      ["b", [round(50), round(5), round(30)]],
    ]);
    expect(ratioOf(found, "a", "b")).toBe(2);
    expect(ratioOf(found, "a", "nobody")).toBeNaN();
  });
});

describe("the history", () => {
  const history = [line("one", { "g: a": 1, "g: b": 2 }), line("two", { "g: a": 0.5 })];

  it.each([
    { ratio: atLeast(1, "g: a", 0.5), verdict: "alike", before: 0.5 },
    { ratio: atLeast(1, "g: a", 0.45), verdict: "alike", before: 0.5 },
    { ratio: atLeast(1, "g: a", 0.4), verdict: "worse", before: 0.5 },
    { ratio: atLeast(1, "g: a", 0.7), verdict: "better", before: 0.5 },
    { ratio: atMost(1, "g: a", 0.7), verdict: "worse", before: 0.5 },
    { ratio: atMost(1, "g: a", 0.4), verdict: "better", before: 0.5 },
    { ratio: atLeast(null, "g: b", 1), verdict: "worse", before: 2 },
    { ratio: atLeast(null, "g: c", 1), verdict: "new", before: undefined },
  ])("$ratio.name, $ratio.found where $ratio.better is better, is $verdict", ({ ratio, verdict, before }) => {
    const [compared] = compare([ratio], history);
    expect([compared?.verdict, compared?.before?.found]).toEqual([verdict, before]);
  });

  it("nothing that was nothing before is worse for being nothing still, and something where nothing was is", () => {
    const none = [line("one", { "g: faults": 0 })];
    expect(compare([atMost(0, "g: faults", 0)], none)[0]?.verdict).toBe("alike");
    expect(compare([atMost(0, "g: faults", 1)], none)[0]?.verdict).toBe("worse");
  });

  it("says in a sentence what got worse, and when it was better", () => {
    const text = comparison(compare([atLeast(1, "g: a", 0.1), atLeast(1, "g: b", 2)], history));
    expect(text).toContain("Worse than at two: g: a, 0.50 then, 0.10 now.");
    expect(text).not.toContain("g: b, ");
    expect(text.split("\n").find((row) => row.startsWith("g: b"))).toMatch(/>= 1\.00 +yes +2\.00 +2026-11-27 one$/);
  });

  it("is read as it was recorded, a line a run, without what could not be measured", () => {
    const file = path.join(folder, "history.ndjson");
    expect(readHistory(file)).toEqual([]);
    record(file, line("one", { "g: a": 1.23456, "g: gone": Number.NaN }));
    record(file, line("two", { "g: b": 2 }));
    expect(readHistory(file)).toEqual([line("one", { "g: a": 1.235 }), line("two", { "g: b": 2 })]);
  });

  it("names the line that is no run", () => {
    const file = path.join(folder, "broken.ndjson");
    writeFileSync(file, `${JSON.stringify(line("one", {}))}\n{"date":\n`);
    expect(() => readHistory(file)).toThrow("line 2");
  });
});

it.each([
  [atLeast(1, "", 1), true],
  [atLeast(1, "", 0.99), false],
  [atMost(1.1, "", 1.1), true],
  [atMost(1.1, "", 1.2), false],
  [atMost(null, "", 99), true],
])("%o is as wanted: %s", (ratio, wanted) => {
  expect(isAsWanted(ratio)).toBe(wanted);
});

it.each([
  [1234.5, "1235"],
  [99.95, "100.0"],
  [9.999, "10.00"],
  [0.004, "0.00"],
  [Number.NaN, "-"],
])("%s is shown as %s", (figure, text) => {
  expect(shownFigure(figure)).toBe(text);
});

describe("the client", () => {
  /** Answers the n-th request with these pieces, each on its way by itself: one with its length, several in chunks. */
  const serving = async (piecesOf: (n: number) => readonly string[]) => {
    const asked: string[] = [];
    const server = createServer(async (request, response) => {
      const pieces = piecesOf(asked.length);
      asked.push(await text(request));
      if (pieces.length === 1) response.setHeader("content-length", Buffer.byteLength(pieces[0] ?? ""));
      for (const piece of pieces) {
        await new Promise((sent) => response.write(piece, sent));
        await new Promise(setImmediate);
      }
      response.end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    // Bound to a port, so not a pipe's name.
    const { port } = server.address() as AddressInfo;
    return { url: new URL(`http://127.0.0.1:${port}`), asked, close: () => new Promise((resolve) => server.close(resolve)) };
  };

  it("reads answers whole, however they come, and sends the next only then", async () => {
    const long = "x".repeat(200_000);
    const answers = [["short"], ["in ", "two"], [long], [long, "end"]];
    const server = await serving((n) => answers[n] ?? []);
    const bodies: string[] = [];
    const texts = ["a", "b", "c", "d"].map((body) => post(server.url, "/", {}, body));
    await sendAll(server.url, texts, (_, body) => bodies.push(body) > 0);
    expect(server.asked).toEqual(["a", "b", "c", "d"]);
    expect(bodies).toEqual(["short", "3\r\nin \r\n3\r\ntwo\r\n0\r\n\r\n", long, `30d40\r\n${long}\r\n3\r\nend\r\n0\r\n\r\n`]);
    await server.close();
  });

  it("counts a step when all its requests are answered, and ends with whole steps", async () => {
    const server = await serving(() => ["fine"]);
    const stop = new AbortController();
    const next = (_: number, answered: number) => {
      if (answered === 7) stop.abort();
      return post(server.url, "/", {}, `${answered}`);
    };
    const { signal } = stop;
    await load({ target: server.url, connections: 1, durationMs: 60_000, requestsPerStep: 3, signal, next, accept: () => true });
    expect(server.asked).toEqual(["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    await server.close();
  });

  it("rejects at an answer that is not accepted, when the other connections have ended too", async () => {
    const server = await serving((n) => [n === 5 ? "not fine" : "fine"]);
    const asking = load({
      target: server.url,
      connections: 3,
      durationMs: 60_000,
      next: () => post(server.url, "/", {}, ""),
      accept: (_, body) => body === "fine",
    });
    await expect(asking).rejects.toThrow("not fine");
    await server.close();
  });
});
