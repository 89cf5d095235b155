import type { LedgerStore } from "../local/ledger/line.ts";
import { BackgroundSync } from "./background_sync.ts";
import type { SyncConfig } from "./config.ts";
import { NOTHING_DONE, type SyncReport } from "./reporter.ts";

/** The one sync of a process: what `enableRemoteSync` started last. */
let enabled: BackgroundSync | null = null;

/** Starts to report a ledger in the background; what was started so before is ended, with a last report. Throws as `BackgroundSync` does. */
export function startRemoteSync(config: SyncConfig, store: LedgerStore): BackgroundSync {
  const sync = new BackgroundSync(config, store);
  void enabled?.stop();
  enabled = sync;
  sync.start();
  return sync;
}

/** Reports now what is not reported yet. Never rejects; does nothing where no sync was enabled. */
export const flushNow = async (): Promise<SyncReport> => enabled?.flushNow() ?? NOTHING_DONE;

/** Reports what is left, and ends what `enableRemoteSync` began. Never rejects. */
export async function flushAndStop(): Promise<SyncReport> {
  const sync = enabled;
  enabled = null;
  return sync?.stop() ?? NOTHING_DONE;
}
