import { createFileStore, type FileStoreOptions } from "./file_store.ts";
import { machineFiles } from "./files.ts";
import { hasIndexedDb, openIndexedDbStore } from "./indexeddb_store.ts";
import type { LedgerStore } from "./line.ts";
import { createMemoryStore } from "./memory_store.ts";

/** `path`: default `$AGENT_SENTINEL_HOME/ledger.jsonl`, else `./.agent-sentinel/ledger.jsonl`. */
export type OpenLedgerOptions = Partial<FileStoreOptions>;

/** Where the ledger's file is: in `$AGENT_SENTINEL_HOME`, else in `./.agent-sentinel`. An empty variable is none. */
export function ledgerPath(): string {
  const { process }: { readonly process?: { readonly env?: { readonly AGENT_SENTINEL_HOME?: string | undefined } } } = globalThis as object;
  return `${process?.env?.AGENT_SENTINEL_HOME || ".agent-sentinel"}/ledger.jsonl`;
}

/** The ledger that lasts longest here, at once: a file where the runtime has files (Node, Deno, Bun), else memory. Nothing is touched before the first line. */
export function openLedgerSync(options: OpenLedgerOptions = {}): LedgerStore {
  return machineFiles() === null ? createMemoryStore() : createFileStore({ ...options, path: options.path ?? ledgerPath() });
}

/** The ledger that lasts longest here: a file, else the browser's database, else memory (on the edge, and in browsers on insecure origins). */
export async function openLedger(options: OpenLedgerOptions = {}): Promise<LedgerStore> {
  if (machineFiles() !== null) return openLedgerSync(options);
  return hasIndexedDb() ? openIndexedDbStore() : createMemoryStore();
}
