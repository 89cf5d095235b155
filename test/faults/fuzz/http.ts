import { parseArgs } from "node:util";
import { shown } from "./failure.ts";
import { readDocuments, startGateway } from "./gateway.ts";
import { createJudge } from "./judge.ts";
import { type Found, type Fuzz, nothingFound, runLane } from "./lane.ts";
import { operationsOf } from "./operations.ts";
import { openSanity } from "./sanity.ts";

const HELP = `node test/faults/fuzz/http.ts [--requests N] [--seed N] [--lanes N] [--json]

Sends hostile and honest requests to the real gateway in workerd, made from the OpenAPI document that it serves, and holds every answer against that
document. The same --seed sends the same requests; each of the --lanes (default 12) has a tenant of its own. Ends with 1 when anything is found.`;

export interface Options {
  readonly requests: number;
  readonly seed: number;
  readonly lanes: number;
  readonly say: (text: string) => void;
}

/** So many valid requests to one operation are not all refused for what they happen to name. */
const SURELY_TRIED = 200;

/** A whole run against a fresh gateway. That it no longer counts money exactly, or is gone, is among what was found, like everything else. */
export async function fuzzHttp({ requests, seed, lanes, say }: Options): Promise<Found> {
  const gateway = await startGateway(say);
  try {
    const { document, policySchema } = await readDocuments(gateway);
    const operations = operationsOf(document);
    const judge = createJudge(document, operations, [gateway.rootKey]);
    const found = nothingFound();
    const fuzz: Fuzz = { gateway, operations, schemas: document.components.schemas, policySchema, judge, seed, found };
    const sanity = await openSanity(gateway);
    await sanity.check();
    const startedAt = performance.now();
    // Whoever stops it wants to know what was found so far. Before all others that listen, for the runtime's own ends the program.
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.prependOnceListener(signal, () => console.log(report(found, seed, performance.now() - startedAt)));
    const lost = (error: unknown): void => {
      const what = error instanceof Error ? error.message : String(error);
      found.faults.set(what, { fault: { kind: "not exact", where: "the gateway", what }, count: 1, failure: null, names: (text) => text });
    };
    let isOver = false;
    const watching = (async () => {
      for (let next = 10_000; !isOver; ) {
        await new Promise((resolve) => setTimeout(resolve, 500));
        if (gateway.death() !== null) throw new Error(`The runtime went away: ${gateway.death()}.`);
        const perSecond = found.requests / ((performance.now() - startedAt) / 1000);
        say(`\r${found.requests} of ${requests} requests, ${perSecond.toFixed(0)} a second, ${found.faults.size} kinds of faults `);
        if (found.requests < next) continue;
        next += 10_000;
        say(
          `${found.requests} of ${requests} requests after ${((performance.now() - startedAt) / 1000).toFixed(0)} s: ${[...found.faults.keys()].join("; ") || "no faults"}\n`,
        );
        await sanity.check();
      }
    })().catch(lost);
    await Promise.all(Array.from({ length: lanes }, (_, lane) => runLane(fuzz, lane, Math.ceil(requests / lanes)))).finally(() => {
      isOver = true;
    });
    await watching;
    await sanity.check().catch(lost);
    // What refuses all that is valid was not tried at all: a caller lacks something that it needs.
    for (const [id, { valid, good }] of found.operations)
      if (good === 0 && valid >= SURELY_TRIED) lost(`${id} answered none of ${valid} valid requests well`);
    say(`\r${" ".repeat(80)}\r`);
    return found;
  } finally {
    await gateway.stop();
  }
}

export function report(found: Found, seed: number, tookMs: number): string {
  const lines: string[] = [];
  const table = (title: string, rows: Iterable<readonly [unknown, number]>): void => {
    const sorted = [...rows].sort((a, b) => b[1] - a[1]);
    if (sorted.length > 0) lines.push(`\n${title}`, ...sorted.map(([name, count]) => `  ${String(count).padStart(7)}  ${name}`));
  };
  lines.push(`${found.requests} requests, seed ${seed}, ${(tookMs / 1000).toFixed(0)} s, the slowest answer after ${found.slowestMs.toFixed(0)} ms.`);
  table("By status:", found.statuses);
  lines.push("\nBy operation: requests, of them valid, of these answered well; time of an answer in the middle");
  for (const [id, { asked, valid, good, ms }] of [...found.operations].sort((a, b) => a[1].good - b[1].good)) {
    lines.push(
      `  ${String(asked).padStart(7)} ${String(valid).padStart(7)} ${String(good).padStart(7)} ${(ms / asked).toFixed(1).padStart(8)} ms  ${id}`,
    );
  }
  table("Raw cases:", found.raw);
  table("503:", found.unavailable);
  table("Valid, and refused all the same:", found.refusedThoughValid);
  lines.push(`\n${found.faults.size} kinds of faults.`);
  for (const { fault, count, failure, names } of found.faults.values()) {
    lines.push(`\n${count} times: ${failure === null ? names(`${fault.kind} at ${fault.where}: ${fault.what}`) : shown(failure, names)}`);
  }
  return lines.join("\n");
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      requests: { type: "string", default: "100000" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      lanes: { type: "string", default: "12" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    process.exit(0);
  }
  const seed = Number(values.seed);
  const startedAt = performance.now();
  const say = (text: string) => (process.stderr.isTTY || !text.startsWith("\r") ? process.stderr.write(text) : true);
  say(`seed ${seed}\n`);
  const found = await fuzzHttp({ requests: Number(values.requests), seed, lanes: Number(values.lanes), say });
  const tookMs = performance.now() - startedAt;
  if (values.json) {
    const plain = Object.fromEntries(Object.entries(found).map(([name, value]) => [name, value instanceof Map ? Object.fromEntries(value) : value]));
    console.log(
      JSON.stringify({ seed, took_ms: Math.round(tookMs), ...plain }, (key, value) =>
        key === "names" || key === "sent" || key === "outcome" ? undefined : value,
      ),
    );
  } else console.log(report(found, seed, tookMs));
  process.exit(found.faults.size === 0 ? 0 : 1);
}
