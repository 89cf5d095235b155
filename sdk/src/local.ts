/** Decides in this process, by the gateway's own code: for tests, scripts and work without a network. The original's surface is here too. */

export { type ActionStats, type AllActionStats, CostTracker } from "./local/cost_tracker.ts";
export { LocalEngine, type LocalEngineOptions, type PersonAtHand } from "./local/engine.ts";
export { type GuardedActionDecorator, type GuardedActionOptions, guardedAction } from "./local/guarded_action.ts";
export { createHybridSentinel, type HybridOptions, type HybridSentinel, type HybridSession } from "./local/hybrid/hybrid.ts";
export { createFileStore, type FileStoreOptions } from "./local/ledger/file_store.ts";
export { openIndexedDbStore } from "./local/ledger/indexeddb_store.ts";
export type { ManualRecord } from "./local/ledger/ledger.ts";
export { LedgerError } from "./local/ledger/ledger_error.ts";
export type { LedgerLine, LedgerRecord, LedgerStore, LineKind, LineOutcome } from "./local/ledger/line.ts";
export { createMemoryStore, type MemoryStoreOptions } from "./local/ledger/memory_store.ts";
export { ledgerPath, openLedger, openLedgerSync } from "./local/ledger/open.ts";
export { totalUsd } from "./local/ledger/total.ts";
export { verifyChain, verifyLines } from "./local/ledger/verify.ts";
export type { PolicyConfig, PolicyConfigInForce, RateLimitConfig } from "./local/policy_config.ts";
export { PolicyEngine } from "./local/policy_engine.ts";
export { LocalRefusedError } from "./local/refused_error.ts";
export { BackgroundSync, enableRemoteSync } from "./local/remote_sync.ts";
export { createReplay, type Leftover, type Replay, type Replayed, type ReplayOptions } from "./local/replay.ts";
export { ReplayDivergenceError } from "./local/replay_error.ts";
export { type ReplayExportOptions, type ReplayModeOptions, replayExport, replayMode } from "./local/replay_mode.ts";
export { createLocalSentinel } from "./local/sentinel.ts";
export { Ledger } from "./local/the_ledger.ts";
export type {
  CostSnapshot,
  LocalCallContext,
  LocalGuardOptions,
  LocalObservers,
  LocalRun,
  LocalSentinel,
  LocalSentinelOptions,
} from "./local/types.ts";
export type { SyncConfig } from "./sync/config.ts";
export { type Cursor, type CursorStore, createFileCursor, createMemoryCursor, createStorageCursor } from "./sync/cursor.ts";
export type { SyncFetch } from "./sync/delivery.ts";
export type { RefusedLine } from "./sync/refused.ts";
export { flushAndStop, flushNow } from "./sync/remote_sync.ts";
export type { SyncReport } from "./sync/reporter.ts";
