import { BackgroundSync as StoreSync } from "../sync/background_sync.ts";
import type { SyncConfig } from "../sync/config.ts";
import { startRemoteSync } from "../sync/remote_sync.ts";
import { theStore } from "./default.ts";
import type { LedgerStore } from "./ledger/line.ts";

/** {@inheritDoc StoreSync} Without a store it is the process's own ledger. */
export class BackgroundSync extends StoreSync {
  constructor(config: SyncConfig, store: LedgerStore = theStore()) {
    super(config, store);
  }
}

/**
 * Starts to report a ledger to a gateway in the background: the process's own unless `store` says another. What was started so before ends with a last
 * report. Throws a `TypeError` or a `RangeError` for a configuration that cannot be used, and nothing afterwards.
 */
export const enableRemoteSync = ({ store = theStore(), ...config }: SyncConfig & { readonly store?: LedgerStore | undefined }): StoreSync =>
  startRemoteSync(config, store);
