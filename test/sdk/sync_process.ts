import { createFileStore } from "../../sdk/src/local/ledger/file_store.ts";
import { BackgroundSync } from "../../sdk/src/sync/background_sync.ts";
import { lineRecord, TOKEN } from "./collector.ts";

/** An agent in a process of its own: writes so many lines while its sync runs, says each line's id, and ends by having nothing left to do. */
const [ledger = "", platformUrl = "", count = "0"] = process.argv.slice(2);
const store = createFileStore({ path: ledger });
new BackgroundSync({ platformUrl, apiToken: TOKEN, flushInterval: 0.02, batchSize: 7 }, store).start();
for (let n = 0; n < Number(count); n++) {
  process.stdout.write(`${store.append(lineRecord({ action: `step_${n}` })).id}\n`);
  await new Promise((resolve) => setImmediate(resolve));
}
