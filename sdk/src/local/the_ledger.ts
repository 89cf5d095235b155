import { theDesk } from "./default.ts";
import type { Ledger as LinesOf, ManualRecord } from "./ledger/ledger.ts";
import type { LedgerLine } from "./ledger/line.ts";
import type { ChainReport } from "./ledger/verify.ts";

/** The process's own ledger: what `guardedAction` decides and does, and what is recorded by hand. */
export const Ledger = {
  /** Records something by hand, with the cost of it. It decides nothing and counts against no budget. Throws when it cannot be kept. */
  record: (record: ManualRecord): LedgerLine => theLedger().record(record),

  /** All lines, oldest first. */
  read: (): Iterable<LedgerLine> => theLedger().read(),

  /** Looks at every hash and every link. */
  verify: (): ChainReport => theLedger().verify(),

  /** The file in which the lines stand; `null`: they stand in none. */
  get path(): string | null {
    return theLedger().path;
  },

  /** All that was recorded lasts when this resolves. */
  flush: (): Promise<void> => theLedger().flush(),
};

function theLedger(): LinesOf {
  const { ledger } = theDesk();
  if (ledger === null) throw new TypeError("Cannot read the ledger: the process has none");
  return ledger;
}
