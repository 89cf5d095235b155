import { randomUUID } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { LedgerRecord } from "../../sdk/src/local/ledger/line.ts";
import type * as wire from "../../sdk/src/wire.ts";

/** Takes reports on loopback as the gateway does: each id once, what is bad by its place. And it fails in every way that a report can meet. */

/** What befalls one report. `did nothing`: the connection dies first. `did it`: it dies before the reply. `hangs`: no reply ever comes. */
export type Fate =
  | "did nothing"
  | "did it"
  | "hangs"
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: unknown; readonly didIt?: true };

export interface Collector extends AsyncDisposable {
  readonly url: string;
  /** What is on record, by id, in the order in which it came. */
  readonly record: Map<string, wire.IngestEntry & { readonly run: string | null }>;
  readonly reports: {
    readonly run: string | null;
    readonly ids: readonly string[];
    readonly bytes: number;
    readonly token: string;
    readonly at: number;
  }[];
  /** Taken one for each report, the first first; then all goes well. */
  readonly fates: Fate[];
  /** Lines that it names as bad. */
  readonly bad: Set<string>;
  /** Lines for which it refuses a whole report, with this status. */
  readonly poison: Map<string, number>;
  readonly goodTokens: Set<string>;
}

export const TOKEN = "token-eyJhbGciOiJFZERTQSJ9";

export async function newCollector(): Promise<Collector> {
  const record: Collector["record"] = new Map();
  const reports: Collector["reports"] = [];
  const fates: Fate[] = [];
  const bad: Collector["bad"] = new Set();
  const poison: Collector["poison"] = new Map();
  const goodTokens: Collector["goodTokens"] = new Set([TOKEN]);

  const take = (run: string | null, entries: readonly wire.IngestEntry[]): wire.Ingested => {
    const rejected = entries.flatMap(({ id }, index) => (bad.has(id) ? [{ index, code: "body_invalid", message: "/action is missing" }] : []));
    const good = entries.filter(({ id }) => !bad.has(id));
    const news = good.filter(({ id }) => !record.has(id));
    for (const entry of news) record.set(entry.id, { ...entry, run: entry.run_id ?? run });
    return { accepted: news.length, duplicates: good.length - news.length, rejected };
  };

  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request.setEncoding("utf8")) text += chunk;
    const { run = null, entries }: { run?: string | null; entries: wire.IngestEntry[] } = JSON.parse(text);
    const token = String(request.headers.authorization).replace("Bearer ", "");
    reports.push({ run, ids: entries.map(({ id }) => id), bytes: Buffer.byteLength(text), token, at: Date.now() });
    const fate = fates.shift();
    if (fate === "hangs") return;
    if (fate === "did nothing") return request.socket.destroy();
    const isForUs = request.method === "POST" && request.url === "/v1/ledger/entries" && request.headers["content-type"] === "application/json";
    if (!isForUs) return answer(response, 404, { code: "not_found" });
    if (!goodTokens.has(token)) return answer(response, 401, { code: "token_invalid", detail: `The token ${token} is not valid.` });
    const poisoned = entries.map(({ id }) => poison.get(id)).find((status) => status !== undefined);
    if (poisoned !== undefined)
      return answer(response, poisoned, { code: poisoned === 413 ? "body_too_large" : "body_malformed", detail: "It cannot be read." });
    if (fate === "did it") {
      take(run, entries);
      return request.socket.destroy();
    }
    if (fate !== undefined) {
      if (fate.didIt) take(run, entries);
      return answer(response, fate.status, fate.body ?? {}, fate.headers);
    }
    answer(response, 202, take(run, entries));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    record,
    reports,
    fates,
    bad,
    poison,
    goodTokens,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answer(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}

/** A record as the local ledger writes it. */
export const lineRecord = (more: Partial<LedgerRecord> = {}): LedgerRecord => ({
  id: randomUUID(),
  kind: "record",
  timestamp: "2026-11-27T08:00:00.000Z",
  action: "search_tool",
  cost_usd: 0.01,
  duration_ms: 12.5,
  outcome: "success",
  tags: ["search"],
  payload: { inputs: { query: "x" }, outputs: [1, 2] },
  agent_id: null,
  run_id: null,
  session_id: null,
  decision_id: null,
  verdict: null,
  reason: null,
  rule: null,
  policy: null,
  estimate_usd: null,
  parents: [],
  ...more,
});
