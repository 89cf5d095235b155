import { AgentSentinelError } from "../../errors.ts";

/**
 * The ledger could not keep a line, and nothing of it was kept. What was to be recorded has no record: a guard does not run its action then.
 * `disk_full`: there is no room, or a limit on the size of files; `busy`: another process held the ledger's lock for longer than anybody waits;
 * `unwritable`: it cannot be opened or written; `closed`: the store was closed; `malformed`: its last line is none, and where the chain goes on from is unknown.
 */
export class LedgerError extends AgentSentinelError {
  override readonly name = "LedgerError";
  declare readonly code: "disk_full" | "busy" | "unwritable" | "closed" | "malformed";

  constructor(code: LedgerError["code"], message: string, cause?: unknown) {
    super(message, { recoverable: code === "busy" || code === "disk_full", cause });
    Object.assign(this, { code });
  }
}
