import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { build } from "esbuild";
import { describe, expect, it } from "vitest";
import { CHAIN_START } from "../../sdk/src/local/ledger/chain.ts";
import type { LedgerLine } from "../../sdk/src/local/ledger/line.ts";
import { verifyChain } from "../../sdk/src/local/ledger/verify.ts";
import { HAS_CHROMIUM, openChromium } from "../local/chromium.ts";
import { recordOf } from "./ledger_records.ts";

/** What runs in the page. */
interface Page {
  ledger: {
    openLedger(): Promise<Store>;
    openIndexedDbStore(options: { readonly mostLines: number }): Promise<Store>;
  };
  store: Store;
  IDBDatabase: { readonly prototype: { transaction(this: unknown, ...args: unknown[]): { abort(): void } } };
}

interface Store {
  append(record: object): LedgerLine;
  after(seq: number, most: number): readonly LedgerLine[];
  flush(): Promise<void>;
  close(): void;
}

const LEDGER = path.join(import.meta.dirname, "../../sdk/src/local/ledger");

async function served(): Promise<{ readonly url: string } & AsyncDisposable> {
  const { outputFiles } = await build({
    stdin: { contents: 'export * from "./open.ts"; export * from "./indexeddb_store.ts";', resolveDir: LEDGER, loader: "ts" },
    bundle: true,
    write: false,
    format: "iife",
    globalName: "ledger",
    logLevel: "silent",
  });
  const script = outputFiles[0]?.text ?? "";
  const server = createServer((request, response) => {
    response.writeHead(200, { "content-type": request.url === "/ledger.js" ? "text/javascript" : "text/html" });
    response.end(request.url === "/ledger.js" ? script : '<!doctype html><script src="/ledger.js"></script>');
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  // It listens on a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

describe.skipIf(!HAS_CHROMIUM)("In a browser a ledger", () => {
  it("lasts from one opening to the next as one chain, and two tabs have one each", async () => {
    await using server = await served();
    await using browser = await openChromium();
    const tab = async () => {
      const page = await browser.newPage();
      await page.goto(server.url);
      return page;
    };
    type Tab = Awaited<ReturnType<typeof tab>>;
    /** Opens it, appends so many at once, and gives what `append` gave. */
    const appended = (page: Tab, records: readonly object[]) =>
      page.evaluate(async (all) => {
        // The page has loaded the script that defines it.
        const window = globalThis as unknown as Page;
        window.store ??= await window.ledger.openLedger();
        const lines = all.map((record) => ({ ...window.store.append(record) }));
        await window.store.flush();
        return lines;
      }, records);
    const kept = (page: Tab) =>
      page.evaluate(async () => {
        const window = globalThis as unknown as Page;
        window.store ??= await window.ledger.openLedger();
        return window.store.after(0, 1_000).map((line) => ({ ...line }));
      });

    const first = await tab();
    const lines = [...(await appended(first, [recordOf(0), recordOf(1)])), ...(await appended(first, [recordOf(2)]))];
    expect(verifyChain(lines, { after: CHAIN_START })).toMatchObject({ ok: true, lines: 3 });

    // Another tab beside it begins a chain of its own.
    const second = await tab();
    const others = await appended(second, [recordOf(7)]);
    expect(others).toMatchObject([{ seq: 1 }]);

    // Without so much as a farewell.
    await first.close();
    const third = await tab();
    expect(await kept(third)).toEqual(lines);
    const more = await appended(third, [recordOf(3)]);
    expect(verifyChain([...lines, ...more], { after: CHAIN_START })).toMatchObject({ ok: true, lines: 4 });
    expect(await kept(second)).toEqual(others);
  });

  it("of which the database did not take a line for a while has no gap afterwards, and in memory no more than it may", async () => {
    await using server = await served();
    await using browser = await openChromium();
    const page = await browser.newPage();
    await page.goto(server.url);
    /** Appends each in a turn of its own, while the database refuses so many transactions; nobody waits for the end of one before. */
    const appended = (records: readonly object[], refusals: number) =>
      page.evaluate(
        async ([all, count]) => {
          // The page has loaded the script that defines it.
          const window = globalThis as unknown as Page;
          window.store ??= await window.ledger.openIndexedDbStore({ mostLines: 4 });
          let left = count;
          const { prototype } = window.IDBDatabase;
          const begin = prototype.transaction;
          prototype.transaction = function (...args) {
            const transaction = begin.apply(this, args);
            // What has no room is undone as a whole.
            if (left-- > 0) transaction.abort();
            return transaction;
          };
          for (const record of all) {
            window.store.append(record);
            await Promise.resolve();
          }
          const failure = await window.store.flush().then(
            () => null,
            ({ message }) => message,
          );
          prototype.transaction = begin;
          return failure;
        },
        [records, refusals] as const,
      );
    const opened = (mostLines: number) =>
      page.evaluate(async (most) => {
        const window = globalThis as unknown as Page;
        const store = await window.ledger.openIndexedDbStore({ mostLines: most });
        return store.after(0, 100).map((line) => ({ ...line }));
      }, mostLines);
    const records = Array.from({ length: 20 }, (_, n) => recordOf(n));

    expect(await appended(records.slice(0, 2), 0)).toBeNull();
    // The first of them is refused, and what is written next has it too.
    expect(await appended(records.slice(2, 4), 1)).toBeNull();
    await page.reload();
    expect(verifyChain(await opened(100), { after: CHAIN_START })).toMatchObject({ ok: true, lines: 4 });

    await page.reload();
    expect(await appended(records.slice(4, 12), 100)).toBe("Cannot flush the ledger: the browser's database did not take 4 lines");
    expect(await appended([], 0)).toBeNull();
    await page.reload();
    const rest = await opened(100);
    expect(rest.map(({ seq }) => seq)).toEqual([9, 10, 11, 12]);
    expect(verifyChain(rest)).toMatchObject({ ok: true });
  });
});
