import { readToken, whyNot } from "../transport.ts";
import { machineFiles } from "./ledger/files.ts";
import type { LedgerStore } from "./ledger/line.ts";
import { openLedgerSync } from "./ledger/open.ts";
import { createReplay, type Replay, type ReplayOptions } from "./replay.ts";
import { textLines } from "./replay_source.ts";

/** Where a replay's record is; the first that is given counts. */
export interface ReplayModeOptions extends Omit<ReplayOptions, "lines"> {
  readonly lines?: ReplayOptions["lines"] | undefined;
  /** A ledger's file, or a gateway's export that was saved. Files that it was rotated into are not looked for. */
  readonly path?: string | undefined;
  /** Default: the ledger that `openLedgerSync` opens, with the files that it was rotated into. */
  readonly ledger?: Pick<LedgerStore, "after"> | undefined;
}

/** A replay of a local ledger, read once, now: what is recorded while it is replayed is no part of it. Throws an `Error` where there is no such record. */
export function replayMode({ lines, path, ledger, ...options }: ReplayModeOptions = {}): Replay {
  if (lines !== undefined) return createReplay({ ...options, lines });
  if (path !== undefined) return createReplay({ ...options, lines: linesIn(path) });
  return createReplay({ ...options, lines: (ledger ?? openLedgerSync()).after(0, Number.POSITIVE_INFINITY) });
}

function linesIn(path: string): readonly string[] {
  const machine = machineFiles();
  if (machine === null) throw new Error(`Cannot replay ${path}: this runtime has no files`);
  return textLines(new TextDecoder().decode(machine.files.readFileSync(path)));
}

export interface ReplayExportOptions extends Omit<ReplayOptions, "lines"> {
  /** The gateway's address. */
  readonly url: string;
  /** One with `ledger:read`. */
  readonly token: string | (() => string | Promise<string>);
  readonly fetch?: typeof globalThis.fetch | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * A replay of what a gateway has on record: its `GET /v1/ledger/export`, of one run where `runId` names one. Rejects with an `Error` when the export is
 * refused or breaks off; what there is of it is then not replayed. Inputs and outputs are there as far as the policy lets them be stored.
 */
export async function replayExport({ url, token, fetch = globalThis.fetch, signal, ...options }: ReplayExportOptions): Promise<Replay> {
  const query = options.runId === undefined ? "" : `?run=${encodeURIComponent(options.runId)}`;
  const secret = await readToken(typeof token === "string" ? () => token : token);
  const response = await fetch(`${url.replace(/\/+$/, "")}/v1/ledger/export${query}`, {
    headers: { accept: "application/x-ndjson", authorization: `Bearer ${secret}` },
    // A token is never sent elsewhere.
    redirect: "manual",
    ...(signal !== undefined && { signal }),
  }).catch((cause: unknown) => {
    signal?.throwIfAborted();
    throw new Error(`Cannot replay the record of ${url}: ${whyNot(cause, secret)}`, { cause });
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`Cannot replay the record of ${url}: its export was answered with status ${response.status}`);
  }
  return createReplay({ ...options, lines: textLines(await response.text()) });
}
