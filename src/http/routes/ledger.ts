import { type Refusal, refusal } from "../../core/refusals.ts";
import type { Principal } from "../../core/request.ts";
import { err, ok, type Result } from "../../core/result.ts";
import { ingest } from "../../flow/ingest.ts";
import type { CostQuery, LedgerFilter, LedgerRow } from "../../flow/ports.ts";
import { exportEntries, listEntries, readEntry, reportCosts } from "../../flow/read_ledger.ts";
import * as answers from "../answers.ts";
import * as examples from "../examples.ts";
import { agentToRead } from "../own.ts";
import * as present from "../present.ts";
import * as requests from "../requests.ts";
import {
  answered,
  ENTRIES_WEIGHT,
  EXPORT_WEIGHT,
  jsonAnswer,
  jsonBody,
  pageQuery,
  REPORT_WEIGHT,
  replay,
  reply,
  route,
  SUMS_WEIGHT,
} from "../route.ts";

const READS = { caller: "bearer", scopes: ["ledger:read"], body: null, reads: ENTRIES_WEIGHT } as const;

export const ledgerRoutes = [
  route({
    ...READS,
    method: "GET",
    path: "/v1/ledger",
    id: "listEntries",
    tag: "Ledger",
    summary: "List the record, newest first",
    description: "Everything that was answered before the request is in it. A token of kind agent sees its own entries only.",
    query: requests.ledgerQuery,
    answers: [jsonAnswer(200, "A page of entries.", answers.ledgerPage, { items: [examples.ledgerEntry], next_cursor: null })],
    refuses: ["not_your_session", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, query, went }) => {
      const { limit, cursor, ...wanted } = query;
      const filter = ownOf(principal, wanted);
      if (!filter.ok) return filter;
      const rows = await listEntries(ports, principal.tenant, filter.value, pageQuery({ limit, cursor }), went);
      return reply(rows, (found) => ({ status: 200, body: { text: present.ledgerPageText(found), type: "application/json" } }));
    },
  }),
  route({
    ...READS,
    method: "GET",
    path: "/v1/ledger/export",
    id: "exportEntries",
    reads: EXPORT_WEIGHT,
    tag: "Ledger",
    summary: "Export the record, oldest first, one JSON entry a line",
    description:
      "A stream of what was on record when it was asked for: an export that breaks off does not end its transfer, so it never looks whole. `after` the last `index` that came goes on from there.",
    query: requests.exportQuery,
    answers: [
      {
        status: 200,
        means: "The entries.",
        types: ["application/x-ndjson"],
        alsoAccepted: ["application/json", "application/jsonl", "application/ndjson"],
        example: `${JSON.stringify(examples.ledgerEntry)}\n`,
      },
    ],
    refuses: ["not_your_session", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, query, went, turn }) => {
      const filter = ownOf(principal, query);
      if (!filter.ok) return filter;
      const pages = await exportEntries(ports, principal.tenant, filter.value, went);
      if (!pages.ok) return pages;
      // The first page is read before anything is sent: a ledger that cannot be read at all is then still a problem document.
      const reading = pages.value[Symbol.asyncIterator]();
      const first = await reading.next();
      return ok({ status: 200, body: { text: lines(first, reading, turn), type: "application/x-ndjson" } });
    },
  }),
  route({
    caller: "bearer",
    scopes: ["ledger:write"],
    method: "POST",
    path: "/v1/ledger/entries",
    id: "ingestEntries",
    tag: "Ledger",
    summary: "Report what was recorded elsewhere, up to 1000 entries at once",
    description:
      "Testimony: it is recorded as kind `ingest`, with who reported it, and moves no budget. Each entry is on record once, by its `id` and agent, however often it is told: after an answer that was lost, tell it again. An `Idempotency-Key` is known for a day: with it the same report gets the same answer. One that cannot be taken is named in `rejected` and stands in no other's way.",
    query: requests.noQuery,
    body: {
      ...jsonBody(requests.ingest, { entries: [examples.ingestEntry] }),
      apart: "entries",
      mostBytes: requests.MOST_INGEST_BYTES,
    },
    creates: true,
    weight: REPORT_WEIGHT,
    answers: [jsonAnswer(202, "What became of the entries.", answers.ingested, { accepted: 1, duplicates: 0, rejected: [] })],
    refuses: ["authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, body, key }) => {
      const lines = body.entries.map((line) => (line.ok ? ok({ ...line.value, run: line.value.run ?? body.run ?? null }) : line));
      return reply(await ingest(ports, principal, lines, key), ({ answer, replayed }) => answered(202, present.ingested(answer), replay(replayed)));
    },
  }),
  route({
    ...READS,
    method: "GET",
    path: "/v1/ledger/{entry}",
    id: "readEntry",
    tag: "Ledger",
    summary: "Read one entry",
    query: requests.noQuery,
    answers: [jsonAnswer(200, "The entry.", answers.ledgerEntry, examples.ledgerEntry)],
    refuses: ["not_found", "authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, parameters, went }) => {
      const read = await readEntry(ports, principal.tenant, parameters.entry, went);
      if (read.ok && principal.kind === "agent" && agentOf(read.value) !== principal.subject)
        return err(refusal("not_found", "There is no such entry."));
      return reply(read, (row) => ({ status: 200, body: { text: present.ledgerEntryText(row), type: "application/json" } }));
    },
  }),
  route({
    ...READS,
    method: "GET",
    path: "/v1/costs",
    id: "reportCosts",
    reads: SUMS_WEIGHT,
    tag: "Ledger",
    summary: "Sum what was spent, by action, run, session, agent or day",
    description:
      "A token of kind agent is told its own sums only. What was reported (`POST /v1/ledger/entries`) is summed apart, and not at all where the gateway has posted the same decision itself.",
    query: requests.costsQuery,
    answers: [
      jsonAnswer(200, "The sums, exact to the micro-dollar.", answers.costReport, {
        items: [{ key: "send_email", posted_usd: "0.043", count: 1, reported_usd: "0" }],
        total_usd: "0.043",
        reported_usd: "0",
      }),
    ],
    refuses: ["authority_unavailable", "ledger_unavailable"],
    answer: async ({ ports, principal, query, went }) => {
      const agent = agentToRead(principal, undefined);
      if (!agent.ok) return agent;
      const wanted: CostQuery = { groupBy: query.group_by ?? "action", agent: agent.value ?? undefined, from: query.from, to: query.to };
      return reply(await reportCosts(ports, principal.tenant, wanted, went), (sums) => answered(200, present.costReport(sums)));
    },
  }),
];

/** The filter, narrowed to what the caller may see. */
function ownOf(principal: Principal, filter: LedgerFilter): Result<LedgerFilter, Refusal> {
  const agent = agentToRead(principal, filter.agent);
  if (!agent.ok) return agent;
  return ok(agent.value === null ? filter : { ...filter, agent: agent.value });
}

function agentOf(row: LedgerRow): unknown {
  const entry: unknown = JSON.parse(row.canonical);
  return typeof entry === "object" && entry !== null && "agent_id" in entry ? entry.agent_id : null;
}

/** Reads a page when the client has taken the one before, and when it has its turn: an export of any size needs the memory of one page. */
function lines(
  first: IteratorResult<readonly LedgerRow[]>,
  reading: AsyncIterator<readonly LedgerRow[]>,
  turn: () => Promise<void>,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let next: IteratorResult<readonly LedgerRow[]> | null = first;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        for (;;) {
          if (next === null) await turn();
          const { done, value } = next ?? (await reading.next());
          next = null;
          if (done === true) return controller.close();
          // A page without rows would leave the pull unanswered, and the stream would wait for ever.
          if (value.length === 0) continue;
          return controller.enqueue(encoder.encode(`${value.map(present.ledgerEntryText).join("\n")}\n`));
        }
      },
      async cancel() {
        await reading.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}
