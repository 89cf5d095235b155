import { spawn } from "node:child_process";
import { randomInt } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { CHAIN_START, printed, sealed } from "../../sdk/src/local/ledger/chain.ts";
import { createFileStore } from "../../sdk/src/local/ledger/file_store.ts";
import type { LedgerStore } from "../../sdk/src/local/ledger/line.ts";
import { createMemoryStore } from "../../sdk/src/local/ledger/memory_store.ts";
import { BackgroundSync } from "../../sdk/src/sync/background_sync.ts";
import type { SyncConfig } from "../../sdk/src/sync/config.ts";
import { createStorageCursor } from "../../sdk/src/sync/cursor.ts";
import type { RefusedLine } from "../../sdk/src/sync/refused.ts";
import { flushAndStop, flushNow, startRemoteSync } from "../../sdk/src/sync/remote_sync.ts";
import type { CostReport } from "../../sdk/src/wire.ts";
import { chanceOf } from "../faults/real/chance.ts";
import { gone, Home, type Life, strike } from "../faults/real/life.ts";
import { parseEntries } from "../faults/real/record.ts";
import { CAN_SEE_PROCESSES, until } from "../local/gateway.ts";
import { type Collector, type Fate, lineRecord, newCollector, TOKEN } from "./collector.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const folder = mkdtempSync(path.join(tmpdir(), "agentsentinel-sync-"));
afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));

let ledgers = 0;
const newPath = (): string => path.join(folder, String(++ledgers), "ledger.jsonl");
const newFile = (): LedgerStore & { readonly path: string } => {
  const path_ = newPath();
  return Object.assign(createFileStore({ path: path_ }), { path: path_ });
};

/** Makes room for something else under this name. */
const renamedAway = (file: string): true => {
  unlinkSync(file);
  return true;
};

const running: BackgroundSync[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((sync) => sync.stop({ timeoutMs: 0 })));
});

/** A sync that reports only when it is told to: its own next time is an hour away. */
function syncTo({ url }: Pick<Collector, "url">, store: LedgerStore, more: Partial<SyncConfig> = {}): BackgroundSync {
  const sync = new BackgroundSync({ platformUrl: url, apiToken: TOKEN, flushInterval: 3600, ...more }, store);
  running.push(sync);
  return sync;
}

async function endless(): Promise<{ readonly url: string } & AsyncDisposable> {
  const server = createServer((_, response) => {
    response.writeHead(202, { "content-type": "application/json" });
    const chunk = `"${"x".repeat(65_536)}`;
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once("drain", more);
    };
    more();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const append = (store: LedgerStore, count: number) => Array.from({ length: count }, (_, n) => store.append(lineRecord({ action: `step_${n}` })));
const idsOf = (lines: readonly { readonly id: string }[]): string[] => lines.map(({ id }) => id);
const allOf = (store: LedgerStore) => store.after(0, 1_000_000);

const STORES: readonly (readonly [name: string, make: () => LedgerStore])[] = [
  ["a file", newFile],
  ["memory", () => createMemoryStore()],
];

describe.each(STORES)("a ledger in %s", (_, make) => {
  it("is reported whole, in its order, with every member of its lines, and then there is nothing left to report", async () => {
    await using collector = await newCollector();
    const store = make();
    const lines = append(store, 250);
    const sync = syncTo(collector, store);
    expect(await sync.flushNow()).toEqual({ accepted: 250, duplicates: 0, refused: 0, error: null });
    expect([...collector.record.values()].map(({ run: _run, ...line }) => line)).toEqual(JSON.parse(JSON.stringify(lines)));
    expect(collector.reports.map(({ ids }) => ids.length)).toEqual([100, 100, 50]);
    expect(await sync.flushNow()).toEqual({ accepted: 0, duplicates: 0, refused: 0, error: null });
    expect(collector.reports).toHaveLength(3);
    expect(sync.acknowledged).toBe(250);
    expect(allOf(store)).toEqual(lines);
  });

  const FATES: readonly (readonly [what: string, fate: Fate])[] = [
    ["a connection that dies before anything was done", "did nothing"],
    ["a lost reply", "did it"],
    ["a gateway that says nothing", "hangs"],
    ["503 with Retry-After", { status: 503, headers: { "retry-after": "0" }, body: { code: "ledger_unavailable" } }],
    ["429 with Retry-After", { status: 429, headers: { "retry-after": "0" }, body: { code: "throttled" } }],
    ["500", { status: 500, body: { code: "internal" } }],
    ["502 from somebody between", { status: 502, body: "<html>" }],
    ["an answer that is no JSON", { status: 202, body: "<html>", didIt: true }],
    ["an answer that leaves a line open", { status: 202, body: { accepted: 1, duplicates: 0, rejected: [] }, didIt: true }],
    ["an answer that names a line twice", { status: 202, body: { accepted: 8, duplicates: 0, rejected: [{ index: 0 }, { index: 0 }] }, didIt: true }],
  ];
  it.each(FATES)("loses and doubles nothing by %s", async (_what, fate) => {
    await using collector = await newCollector();
    const store = make();
    const lines = append(store, 30);
    collector.fates.push(fate);
    const sync = syncTo(collector, store, { batchSize: 10, timeoutMs: 300 });
    expect(await sync.flushNow()).toMatchObject({ refused: 0, error: null });
    expect([...collector.record.keys()]).toEqual(idsOf(lines));
    expect(collector.reports.map(({ ids }) => ids.length)).toEqual([10, 10, 10, 10]);
  });

  it("keeps its lines while the gateway is away, says so, and reports them later", async () => {
    await using collector = await newCollector();
    const store = make();
    const lines = append(store, 5);
    const failed: string[] = [];
    const sync = syncTo(collector, store, { maxRetries: 2, onFailed: ({ code }) => failed.push(code) });
    collector.fates.push("did nothing", "did nothing", "did nothing");
    const report = await sync.flushNow();
    expect(report).toMatchObject({ accepted: 0, error: { name: "GatewayUnavailableError" } });
    expect(failed).toEqual(["gateway_unavailable"]);
    expect(collector.reports).toHaveLength(3);
    expect(await sync.flushNow()).toMatchObject({ accepted: 5, error: null });
    expect([...collector.record.keys()]).toEqual(idsOf(lines));
  });

  it("sets aside the lines that are named as bad, tells of each, and reports the others", async () => {
    await using collector = await newCollector();
    const store = make();
    const lines = append(store, 40);
    const bad = [lines[3], lines[4], lines[39]].flatMap((line) => (line === undefined ? [] : [line]));
    for (const { id } of bad) collector.bad.add(id);
    const told: RefusedLine[] = [];
    const sync = syncTo(collector, store, { batchSize: 10, onRefused: (line) => told.push(line) });
    expect(await sync.flushNow()).toEqual({ accepted: 37, duplicates: 0, refused: 3, error: null });
    const refused = bad.map(({ id, seq, action }) => ({ id, seq, action, code: "body_invalid", message: "/action is missing" }));
    expect(told).toEqual(refused);
    expect(sync.refused).toEqual(refused);
    if (store.path !== undefined) {
      expect(readFileSync(`${store.path}.refused.jsonl`, "utf8")).toBe(refused.map((line) => `${JSON.stringify(line)}\n`).join(""));
    }
    expect(await sync.flushNow()).toMatchObject({ refused: 0, error: null });
    expect(allOf(store)).toEqual(lines);
  });

  it.each([[400], [413]])("finds the one line for which a whole report is refused with %i, and only that one waits for nobody", async (status) => {
    await using collector = await newCollector();
    const store = make();
    const lines = append(store, 64);
    const poison = lines[21];
    if (poison === undefined) throw new Error("there are 64 lines");
    collector.poison.set(poison.id, status);
    const sync = syncTo(collector, store, { batchSize: 64 });
    expect(await sync.flushNow()).toEqual({ accepted: 63, duplicates: 0, refused: 1, error: null });
    expect(sync.refused).toMatchObject([{ id: poison.id, seq: 22 }]);
    expect([...collector.record.keys()]).toEqual(idsOf(lines).filter((id) => id !== poison.id));
    expect(collector.reports.length).toBeLessThan(24);
  });

  it("whatever befalls its reports, is on record once and whole in the end", async () => {
    const fate = fc.constantFrom<Fate>(
      "did nothing",
      "did it",
      { status: 503, headers: { "retry-after": "0" } },
      { status: 202, body: "", didIt: true },
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.integer({ min: 1, max: 25 }), fate), { maxLength: 12 }),
        fc.integer({ min: 1, max: 20 }),
        fc.boolean(),
        async (steps, batchSize, isRestarted) => {
          await using collector = await newCollector();
          const store = make();
          let sync = syncTo(collector, store, { batchSize, maxRetries: 0 });
          for (const step of steps) {
            if (typeof step === "number") append(store, step);
            else collector.fates.push(step);
            // Another instance goes on where this one was.
            if (isRestarted) sync = syncTo(collector, store, { batchSize, maxRetries: 0 });
            await sync.flushNow();
          }
          while ((await sync.flushNow()).error !== null);
          expect([...collector.record.keys()]).toEqual(idsOf(allOf(store)));
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe("a report", () => {
  it("waits as long as Retry-After says before it is made again", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    collector.fates.push({ status: 429, headers: { "retry-after": "1" } });
    await syncTo(collector, store).flushNow();
    const [first, second] = collector.reports;
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it("is not waited for where the gateway says to come back much later", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    collector.fates.push({ status: 503, headers: { "retry-after": "3600" } });
    expect(await syncTo(collector, store).flushNow()).toMatchObject({ error: { remediation: { retryAfterMs: 3_600_000 } } });
    expect(collector.reports).toHaveLength(1);
  });

  it.each([["9".repeat(12)], ["9".repeat(400)], ["Fri, 31 Dec 9999 23:59:59 GMT"]])(
    "of which a gateway wants to hear in %s is made within a day",
    async (wanted) => {
      await using collector = await newCollector();
      const store = createMemoryStore();
      append(store, 1);
      collector.fates.push({ status: 503, headers: { "retry-after": wanted } });
      expect(await syncTo(collector, store).flushNow()).toMatchObject({ error: { remediation: { retryAfterMs: 86_400_000 } } });
    },
  );

  it("is not answered for ever", async () => {
    // The answer ends only when nobody reads it any more.
    await using server = await endless();
    const store = createMemoryStore();
    append(store, 1);
    const sync = syncTo(server, store, { maxRetries: 0, timeoutMs: 3_600_000 });
    expect(await sync.flushNow()).toMatchObject({ accepted: 0, error: { code: "answer_malformed" } });
  });

  it("is answered in no more words than anybody reads, and never with the token", async () => {
    await using collector = await newCollector();
    const store = newFile();
    append(store, 1);
    const rejected = [{ index: 0, code: `no_${TOKEN}`, message: `${TOKEN} ${"x".repeat(100_000)}` }];
    collector.fates.push({ status: 202, body: { accepted: 0, duplicates: 0, rejected } });
    const sync = syncTo(collector, store);
    expect(await sync.flushNow()).toMatchObject({ refused: 1, error: null });
    expect(sync.refused).toMatchObject([{ code: "no_[token]", message: expect.stringMatching(/^\[token\] x{1,500}$/) }]);
    expect(readFileSync(`${store.path}.refused.jsonl`, "utf8")).not.toContain(TOKEN);
  });

  it.each([
    ["t", "token_expired", "The token is expired"],
    ["expired", "token_expired", "The token is expired"],
  ])("that is refused to the token %s has its own code and words", async (apiToken, code, detail) => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    collector.goodTokens.add(apiToken);
    collector.fates.push({ status: 401, body: { code, detail } });
    expect(await syncTo(collector, store, { apiToken }).flushNow()).toMatchObject({ error: { code, detail } });
    collector.fates.push({ status: 202, body: { accepted: 0, duplicates: 0, rejected: [{ index: 0, code, message: detail }] } });
    const sync = syncTo(collector, store, { apiToken });
    await sync.flushNow();
    expect(sync.refused).toMatchObject([{ code, message: detail }]);
  });

  it("ends in time where so much time is granted and no more", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    collector.fates.push("hangs");
    const sync = syncTo(collector, store);
    expect(await sync.flushNow({ timeoutMs: 50 })).toMatchObject({ accepted: 0, error: { name: "GatewayUnavailableError" } });
    expect(await sync.flushNow({ timeoutMs: 10_000 })).toMatchObject({ accepted: 1, error: null });
  });

  it.each([
    ["throws", () => Promise.reject(new Error("no network"))],
    ["never answers", () => new Promise<string>(() => undefined)],
    ["gives nonsense", () => "two words"],
  ])("of a token source that %s leaves the lines, and never throws", async (_, apiToken) => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    const report = await syncTo(collector, store, { apiToken, maxRetries: 0, timeoutMs: 50 }).flushNow();
    expect(report.error).not.toBeNull();
    expect(collector.reports).toEqual([]);
  });

  it("with a token that has run out is made again with a fresh one", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 1);
    const tokens = ["old", TOKEN];
    expect(await syncTo(collector, store, { apiToken: () => tokens.shift() ?? TOKEN }).flushNow()).toMatchObject({ accepted: 1, error: null });
    expect(collector.reports.map(({ token }) => token)).toEqual(["old", TOKEN]);
  });

  it.each([
    ["a token that is refused", 401],
    ["a scope that is missing", 403],
    ["an address at which nothing takes reports", 404],
    ["a redirect, to which no token is sent", 302],
    ["a refusal that is no word on the lines", 400],
  ])("ends reporting by %s, says so once, and keeps the lines", async (_, status) => {
    await using collector = await newCollector();
    const store = newFile();
    const lines = append(store, 3);
    const stopped: string[] = [];
    const sync = syncTo(collector, store, { onStopped: ({ message }) => stopped.push(message), flushInterval: 0.01 });
    const headers = { location: "http://127.0.0.1:9/" };
    collector.fates.push(...Array.from({ length: 2 }, (): Fate => ({ status, headers, body: { code: "no", detail: `Not with ${TOKEN}.` } })));
    sync.start();
    await until(
      () => sync.stoppedBy !== null,
      () => "It was not stopped.",
    );
    expect(await sync.flushNow()).toMatchObject({ accepted: 0, error: { name: "GatewayRefusedError" } });
    expect(stopped).toHaveLength(1);
    expect(stopped[0]).not.toContain(TOKEN);
    expect(allOf(store)).toEqual(lines);
    // What was wrong is mended: it goes on by itself afterwards.
    expect(await sync.flushNow()).toMatchObject({ accepted: 3, error: null });
    const [later] = append(store, 1);
    await until(
      () => collector.record.has(later?.id ?? ""),
      () => "It did not go on.",
    );
  });

  it("says of its lines what they say: those of an earlier run stay of that run, and only new ones that name none are of this one", async () => {
    await using collector = await newCollector();
    const store = newFile();
    store.append(lineRecord({ run_id: "yesterday" }));
    store.append(lineRecord());
    const sync = syncTo(collector, store, { runId: "today" });
    sync.start();
    store.append(lineRecord());
    store.append(lineRecord({ run_id: "nested" }));
    await sync.flushNow();
    expect([...collector.record.values()].map(({ run }) => run)).toEqual(["yesterday", null, "today", "nested"]);
  });

  it("stays within what the gateway takes, though the lines are large", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    const inputs = "ü".repeat(100_000);
    for (let n = 0; n < 60; n++) store.append(lineRecord({ payload: { inputs, outputs: null } }));
    expect(await syncTo(collector, store).flushNow()).toMatchObject({ accepted: 60, error: null });
    expect(Math.max(...collector.reports.map(({ bytes }) => bytes))).toBeLessThanOrEqual(3_500_000);
    expect(collector.reports).toHaveLength(4);
  });

  it("ends though lines go on being added while it is made", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 5);
    const sync = syncTo(collector, store, {
      fetch: (url, init) => {
        append(store, 1);
        return fetch(url, init);
      },
    });
    expect(await sync.flushNow()).toMatchObject({ accepted: 5 });
    expect(await sync.flushNow()).toMatchObject({ accepted: 1 });
    expect(collector.reports).toHaveLength(2);
  });

  it("looks at no more lines than a batch at once", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 100);
    const after = vi.spyOn(store, "after");
    await syncTo(collector, store, { batchSize: 9 }).flushNow();
    expect(collector.record.size).toBe(100);
    expect(Math.max(...after.mock.calls.map(([, most]) => most))).toBe(9);
    expect(Math.max(...collector.reports.map(({ ids }) => ids.length))).toBe(9);
  });
});

describe("how far it came", () => {
  it("is kept beside the file, so that the next process goes on there, whatever the first one was told", async () => {
    await using collector = await newCollector();
    const store = newFile();
    append(store, 20);
    await syncTo(collector, store).flushNow();
    const more = append(createFileStore({ path: store.path }), 3);
    expect(await syncTo(collector, createFileStore({ path: store.path })).flushNow()).toMatchObject({ accepted: 3, duplicates: 0 });
    expect(collector.reports.at(-1)?.ids).toEqual(idsOf(more));
    const cursor = JSON.parse(readFileSync(`${store.path}.cursor.json`, "utf8"));
    expect(cursor).toEqual({ [collector.url]: { seq: 23, hash: more.at(-1)?.hash } });
  });

  it.each([
    ["is gone", (file: string) => unlinkSync(file)],
    ["is half a file", (file: string) => writeFileSync(file, '{"http')],
    ["is a folder", (file: string) => mkdirSync(file, { recursive: renamedAway(file) })],
    ["is of another ledger", (file: string) => writeFileSync(file, readFileSync(file, "utf8").replace(/"hash":"[0-9a-f]{4}/, '"hash":"0000'))],
  ])("and %s: everything is told again, and nothing is on record twice", async (_, spoil) => {
    await using collector = await newCollector();
    const store = newFile();
    const lines = append(store, 20);
    await syncTo(collector, store).flushNow();
    spoil(`${store.path}.cursor.json`);
    const again = syncTo(collector, createFileStore({ path: store.path }));
    expect(await again.flushNow()).toMatchObject({ accepted: 0, duplicates: 20, error: null });
    expect([...collector.record.keys()]).toEqual(idsOf(lines));
  });

  it("is of no worth for a ledger that was begun anew: it is reported from its beginning, also by who came further in the old one", async () => {
    await using collector = await newCollector();
    const store = newFile();
    append(store, 20);
    const sync = syncTo(collector, store);
    await sync.flushNow();
    unlinkSync(store.path);
    const begun = append(createFileStore({ path: store.path }), 5);
    expect(begun[0]?.seq).toBe(1);
    expect(await sync.flushNow()).toMatchObject({ accepted: 5, error: null });
    expect([...collector.record.keys()].slice(20)).toEqual(idsOf(begun));
  });

  it("passes lines that have one place in a forked ledger, and ends", async () => {
    await using collector = await newCollector();
    const file = newPath();
    mkdirSync(path.dirname(file), { recursive: true });
    const first = sealed(lineRecord(), CHAIN_START);
    const [one, other] = [sealed(lineRecord(), first), sealed(lineRecord(), first)];
    const lines = [first, one, other, sealed(lineRecord(), other)];
    writeFileSync(file, lines.map((line) => `${printed(line)}\n`).join(""));
    const sync = syncTo(collector, createFileStore({ path: file }), { batchSize: 3 });
    expect(await sync.flushNow({ timeoutMs: 20_000 })).toMatchObject({ accepted: 4, duplicates: 0, error: null });
  });

  it("comes to an end in a ledger that is another each time it is looked at", async () => {
    await using collector = await newCollector();
    const store: LedgerStore = {
      ...createMemoryStore(),
      path: newPath(),
      after: (seq, most) => {
        let end = { ...CHAIN_START, seq };
        return Array.from({ length: Math.min(most, Math.max(0, 10 - seq)) }, () => {
          end = sealed(lineRecord(), end);
          return sealed(lineRecord(), { ...end, seq: end.seq - 1 });
        });
      },
    };
    const { error } = await syncTo(collector, store, { batchSize: 2 }).flushNow({ timeoutMs: 20_000 });
    expect(error?.message).toBe("Cannot report the ledger's lines: it changes while it is reported, or its lines are not in their order");
    expect(collector.reports.length).toBeLessThan(5);
  });

  it("is another for each gateway", async () => {
    await using here = await newCollector();
    await using there = await newCollector();
    const store = newFile();
    append(store, 2);
    await syncTo(here, store).flushNow();
    await syncTo(there, store).flushNow();
    expect([here.record.size, there.record.size]).toEqual([2, 2]);
  });

  it("can be kept where a browser keeps it", async () => {
    await using collector = await newCollector();
    const items = new Map<string, string>();
    const cursor = () => createStorageCursor({ getItem: (key) => items.get(key) ?? null, setItem: (key, text) => void items.set(key, text) });
    const store = createMemoryStore();
    append(store, 2);
    await syncTo(collector, store, { cursor: cursor() }).flushNow();
    append(store, 1);
    expect(await syncTo(collector, store, { cursor: cursor() }).flushNow()).toMatchObject({ accepted: 1, duplicates: 0 });
  });

  it("is shared by all that report one ledger, and they do each other no harm", async () => {
    await using collector = await newCollector();
    const store = newFile();
    const syncs = Array.from({ length: 4 }, () => syncTo(collector, createFileStore({ path: store.path }), { batchSize: 5, flushInterval: 0.01 }));
    for (const sync of syncs) sync.start();
    const lines = append(store, 200);
    await Promise.all(syncs.map((sync) => sync.flushNow()));
    expect(await syncTo(collector, store).flushNow()).toMatchObject({ accepted: 0, error: null });
    expect(new Set(collector.record.keys())).toEqual(new Set(idsOf(lines)));
    expect(collector.record.size).toBe(200);
  });
});

describe("in the background", () => {
  it("reports by itself, what was left first, and a whole batch at once", async () => {
    await using collector = await newCollector();
    const store = newFile();
    append(store, 3);
    const sync = syncTo(collector, store, { batchSize: 10, flushInterval: 3600 });
    sync.start();
    sync.start();
    await until(
      () => collector.record.size === 3,
      () => "What was left was not reported.",
    );
    append(store, 10);
    await until(
      () => collector.record.size === 13,
      () => "A whole batch was not reported.",
    );
    append(store, 9);
    expect(await sync.stop()).toMatchObject({ accepted: 9 });
    append(store, 30);
    expect(collector.record.size).toBe(22);
    sync.start();
    await until(
      () => collector.record.size === 52,
      () => "It was not started again.",
    );
  });

  it("tells an observer that throws, and throws nothing itself", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    const [line] = append(store, 2);
    collector.bad.add(line?.id ?? "");
    const loud = () => {
      throw new Error("the observer's own");
    };
    const sync = syncTo(collector, store, { onRefused: loud, onFailed: loud, onStopped: loud });
    expect(await sync.flushNow()).toMatchObject({ accepted: 1, refused: 1 });
    collector.goodTokens.clear();
    append(store, 1);
    expect(await sync.flushNow()).toMatchObject({ error: { code: "token_invalid" } });
  });

  it("of a store that cannot be read reports nothing, and throws nothing", async () => {
    await using collector = await newCollector();
    const store: LedgerStore = {
      ...createMemoryStore(),
      after: () => {
        throw new Error("EIO");
      },
    };
    expect(await syncTo(collector, store).flushNow()).toMatchObject({ error: { message: "Cannot report the ledger's lines: EIO" } });
  });

  it("is the one sync of the process where it was enabled so", async () => {
    await using collector = await newCollector();
    expect(await flushNow()).toEqual({ accepted: 0, duplicates: 0, refused: 0, error: null });
    const store = createMemoryStore();
    const config = { platformUrl: `${collector.url}/`, apiToken: TOKEN, flushInterval: 3600 };
    startRemoteSync(config, createMemoryStore());
    startRemoteSync(config, store);
    append(store, 2);
    expect(await flushNow()).toMatchObject({ accepted: 2 });
    append(store, 1);
    expect(await flushAndStop()).toMatchObject({ accepted: 1 });
    expect(await flushAndStop()).toMatchObject({ accepted: 0 });
  });

  it("says which gateway, and why, where it is not there or is none", async () => {
    const store = createMemoryStore();
    append(store, 1);
    const said = async (fetch: SyncConfig["fetch"]) => {
      const sync = new BackgroundSync({ platformUrl: "http://127.0.0.1:1", apiToken: TOKEN, fetch, maxRetries: 0 }, store);
      return (await sync.stop()).error?.message;
    };
    const refused = new TypeError("fetch failed", { cause: Object.assign(new Error(`Bearer ${TOKEN}`), { code: "ECONNREFUSED" }) });
    expect(await said(() => Promise.reject(refused))).toBe(
      "Cannot report the ledger's lines: the gateway at http://127.0.0.1:1 is unavailable: ECONNREFUSED; is the gateway's address right?",
    );
    expect(await said(async () => new Response("<p>Hello", { status: 404, headers: { "content-type": "text/html" } }))).toBe(
      "Cannot report the ledger's lines: problem_malformed (status 404): http://127.0.0.1:1/v1/ledger/entries answered \"text/html\"; is the gateway's address right?",
    );
  });

  it("has its time for each who grants some, however much others grant at the same time", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    append(store, 3);
    const sync = syncTo(collector, store);
    collector.fates.push("hangs");
    const LATE = `Cannot report the ledger's lines: the gateway at ${collector.url} is unavailable: no answer in time`;
    const [short, long] = [sync.flushNow({ timeoutMs: 100 }), sync.flushNow({ timeoutMs: 50_000 })];
    expect(await short).toMatchObject({ accepted: 0, error: { message: LATE } });
    expect(await long).toMatchObject({ accepted: 3, error: null });
    append(store, 1);
    const before = sync.flushNow({ timeoutMs: 50_000 });
    const following = sync.flushNow();
    await before;
    append(store, 1);
    collector.fates.push("hangs");
    expect(await sync.stop({ timeoutMs: 100 })).toMatchObject({
      error: { message: LATE },
    });
    await following;
  });

  it("makes one report at a time, whoever asks and when", async () => {
    await using collector = await newCollector();
    const store = createMemoryStore();
    let [underWay, most] = [0, 0];
    const sync = syncTo(collector, store, {
      fetch: async (url, init) => {
        most = Math.max(most, ++underWay);
        return fetch(url, init).finally(() => underWay--);
      },
    });
    append(store, 1);
    const asked = [
      sync.flushNow().then(() => {
        append(store, 1);
        return sync.flushNow();
      }),
      sync.flushNow(),
    ];
    append(store, 1);
    await Promise.all(asked);
    expect([most, collector.record.size]).toEqual([1, 3]);
  });

  it.each([
    ["runId", { runId: "" }, 'Cannot use runId "": wanted 1 to 255 characters on one line'],
    ["runId", { runId: "a\nb" }, "wanted 1 to 255 characters on one line"],
    ["runId", { runId: "x".repeat(256) }, "wanted 1 to 255 characters on one line"],
    ["platformUrl", { platformUrl: "gate" }, 'Cannot use platformUrl "gate": wanted an http(s) address'],
    ["platformUrl", { platformUrl: "file:///etc" }, "wanted an http(s) address"],
    ["apiToken", { apiToken: "" }, "Cannot use apiToken: wanted a token or a function that gives one"],
    ["flushInterval", { flushInterval: 0 }, "Cannot use flushInterval 0: wanted a number from 0.01 to 86400"],
    ["batchSize", { batchSize: 1001 }, "Cannot use batchSize 1001: wanted a number from 1 to 1000"],
    ["maxRetries", { maxRetries: Number.NaN }, "Cannot use maxRetries NaN: wanted a number from 0 to 100"],
  ])("says what is wrong with a %s that cannot be used", (_, more, message) => {
    const config: SyncConfig = { platformUrl: "https://gate.example", apiToken: TOKEN, ...more };
    expect(() => new BackgroundSync(config, createMemoryStore())).toThrow(message);
  });
});

describe("a page", () => {
  afterEach(() => vi.unstubAllGlobals());

  it("that is hidden sends what a browser still takes, and takes it as told only where it is heard of again", async () => {
    const page = Object.assign(new EventTarget(), { visibilityState: "visible" });
    vi.stubGlobal("document", page);
    const window = new EventTarget();
    vi.stubGlobal("addEventListener", window.addEventListener.bind(window));
    vi.stubGlobal("removeEventListener", window.removeEventListener.bind(window));
    await using collector = await newCollector();
    const store = createMemoryStore();
    const kept: boolean[] = [];
    const sync = syncTo(collector, store, {
      fetch: (url, init) => {
        kept.push(init.keepalive);
        return fetch(url, init);
      },
    });
    sync.start();
    await sync.flushNow();
    for (let n = 0; n < 40; n++) store.append(lineRecord({ payload: { inputs: "x".repeat(3000), outputs: null } }));
    page.dispatchEvent(new Event("visibilitychange"));
    expect(kept).toEqual([]);
    page.visibilityState = "hidden";
    page.dispatchEvent(new Event("visibilitychange"));
    window.dispatchEvent(new Event("pagehide"));
    await until(
      () => sync.acknowledged > 0,
      () => "What was sent on leaving was not taken as told.",
    );
    expect(kept).toEqual([true]);
    expect(collector.reports[0]?.bytes).toBeLessThanOrEqual(61_440);
    expect(collector.record.size).toBeGreaterThan(10);
    expect(await sync.flushNow()).toMatchObject({ duplicates: 0, error: null });
    expect(collector.record.size).toBe(40);
    await sync.stop();
    append(store, 1);
    window.dispatchEvent(new Event("pagehide"));
    expect(kept.filter((one) => one)).toHaveLength(1);
  });
});

const SEED = Number(process.env.SYNC_SEED ?? randomInt(2 ** 31));

describe(`a process (SYNC_SEED=${SEED})`, () => {
  /** Runs an agent, kills it after some time or lets it come to its end, and gives the ids of the lines that it said it wrote. */
  async function agent(ledger: string, { url }: Collector, count: number, killAfterLines: number | null) {
    const child = spawn(process.execPath, ["--no-warnings", path.join(ROOT, "test/sdk/sync_process.ts"), ledger, url, String(count)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    child.stdout.on("data", (chunk) => {
      said += chunk;
      if (killAfterLines !== null && said.split("\n").length > killAfterLines) child.kill("SIGKILL");
    });
    const code = await new Promise<number | null>((resolve) => child.once("close", (status) => resolve(status)));
    return { code, ids: said.split("\n").filter((id) => id.length === 36) };
  }

  it("that has nothing left to do reports what is left and ends; of one that is killed the next one does", async () => {
    await using collector = await newCollector();
    const ledger = newPath();
    const random = chanceOf(SEED, "processes");
    const written: string[] = [];
    for (let life = 0; life < 3; life++) {
      collector.fates.push("did it", "did nothing");
      const killed = await agent(ledger, collector, 100_000, 1 + Math.floor(random() * 200));
      expect(killed.code).toBeNull();
      written.push(...killed.ids);
    }
    const last = await agent(ledger, collector, 20, null);
    expect(last.code).toBe(0);
    written.push(...last.ids);
    const lines = createFileStore({ path: ledger }).after(0, 1_000_000);
    expect(new Set(collector.record.keys())).toEqual(new Set(idsOf(lines)));
    expect(collector.record.size).toBe(lines.length);
    for (const id of written) expect(collector.record.has(id), id).toBe(true);
  });

  it("is not kept from ending by a gateway that is away", async () => {
    const collector = await newCollector();
    await collector[Symbol.asyncDispose]();
    const ledger = newPath();
    const { code, ids } = await agent(ledger, collector, 5, null);
    expect(code).toBe(0);
    expect(idsOf(createFileStore({ path: ledger }).after(0, 10))).toEqual(ids);
  });
});

describe.skipIf(!CAN_SEE_PROCESSES)(`the gateway itself, killed again and again (SYNC_SEED=${SEED})`, () => {
  const home = new Home("sync");
  afterAll(() => home.end());

  it("has every line of every writer on record, once, as it was written", async () => {
    const LIVES = 4;
    const random = chanceOf(SEED, "kills");
    let life: Life = await home.start();
    const store = newFile();
    const others = createFileStore({ path: store.path });
    const failures: string[] = [];
    const config: SyncConfig = {
      platformUrl: "http://gate.test",
      apiToken: () => life.operator,
      flushInterval: 0.02,
      batchSize: 50,
      maxRetries: 1,
      onFailed: ({ code }) => failures.push(code),
      // It comes back on another port each time.
      fetch: (url, init) => fetch(url.replace("http://gate.test", life.url), init),
    };
    for (const one of [store, others]) {
      const sync = new BackgroundSync(config, one);
      running.push(sync);
      sync.start();
    }
    let isWriting = true;
    const write = async (one: LedgerStore, name: string): Promise<void> => {
      for (let n = 0; isWriting && n < 20_000; n++) {
        one.append(lineRecord({ action: `${name}_${n}`, agent_id: name, run_id: "sync", cost_usd: 0.000001 }));
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const writing = [write(store, "ann"), write(others, "bob")];
    for (let kill = 0; kill < LIVES; kill++) {
      const before = running.map(({ acknowledged }) => acknowledged);
      await until(
        () => running.some(({ acknowledged }, n) => acknowledged > (before[n] ?? 0)),
        () => "Nothing was reported.",
      );
      await new Promise((resolve) => setTimeout(resolve, 300 * random()));
      strike(life.process, "all");
      await gone(life.process, "all");
      life = await home.start();
    }
    isWriting = false;
    await Promise.all(writing);
    const ending = await Promise.all(running.map((sync) => sync.stop({ timeoutMs: 60_000 })));
    expect(ending.map(({ error, refused }) => ({ error, refused }))).toEqual(running.map(() => ({ error: null, refused: 0 })));
    expect(failures.length).toBeGreaterThan(0);

    const response = await fetch(`${life.url}/v1/ledger/export?kind=ingest&run=sync`, { headers: { authorization: `Bearer ${life.operator}` } });
    const entries = parseEntries(await response.text());
    const lines = allOf(store);
    expect(entries).toHaveLength(lines.length);
    const told = new Map(entries.map(({ details, payload }) => [Object(details?.line).id, { line: Object(details?.line), payload }]));
    for (const { payload, ...line } of lines) {
      const { inputs, outputs } = told.get(line.id)?.payload ?? {};
      expect(told.get(line.id)?.line).toEqual(JSON.parse(JSON.stringify(line)));
      expect({ inputs, outputs }).toEqual(payload);
    }
    const costs = await fetch(`${life.url}/v1/costs?group_by=run`, { headers: { authorization: `Bearer ${life.operator}` } });
    const { items }: CostReport = JSON.parse(await costs.text());
    expect(items.find(({ key }) => key === "sync")?.reported_usd).toBe((lines.length / 1_000_000).toFixed(6).replace(/0+$/, ""));
  }, 300_000);
});
