import type { LedgerLine } from "../local/ledger/line.ts";

/** Lines that are reported together, as the bytes that say so. */
export interface Batch {
  readonly lines: readonly LedgerLine[];
  readonly body: string;
  /** Of the body, in UTF-8. */
  readonly bytes: number;
}

/** What a report may have, below the gateway's 4 MiB. */
export const MOST_BODY_BYTES = 3_500_000;
/** What a browser sends for a page that goes away: 64 KiB, for all such requests of the page together. */
export const MOST_LEAVING_BYTES = 60 * 1024;

/** The first lines, as many as fit; one at least, however large it is. `run` is said for those that name none. `null`: there are no lines. */
export function batchOf(lines: readonly LedgerLine[], run: string | null, mostBytes: number): Batch | null {
  const head = `{${run === null ? "" : `"run":${JSON.stringify(run)},`}"entries":[`;
  const texts: string[] = [];
  let bytes = bytesOf(head) + 1;
  for (const line of lines) {
    const text = JSON.stringify(line);
    // With the comma before it, or the bracket behind the last.
    const more = bytesOf(text) + 1;
    if (texts.length > 0 && bytes + more > mostBytes) break;
    bytes += more;
    texts.push(text);
  }
  return texts.length === 0 ? null : { lines: lines.slice(0, texts.length), body: `${head}${texts.join(",")}]}`, bytes };
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length;
