import { readFileSync } from "node:fs";
import { audit, readRecord } from "./audit.ts";
import { drive } from "./drive.ts";
import { type Gateway, setStage, startGateway } from "./gateway.ts";
import { DEMO_USAGE, type DemoOptions, readOptions } from "./options.ts";
import { startProgress } from "./progress.ts";
import { inWords, type Report, reportOf } from "./report.ts";
import { SHORT_TRACE } from "./short_trace.ts";
import { readTrace } from "./trace.ts";

// `npm run demo`: a real agent's recorded tool calls, each decided, charged and recorded, and the record held against what happened.

/** What there is to stop: at first nothing. */
let running: Gateway | null = null;

/** Plays the runs and reports: whether everything holds. The report goes to standard output, what is said on the way there to standard error. */
async function demo({ gateway: given, policy, data, atOnce, json }: DemoOptions): Promise<boolean> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  const trace = data === null ? SHORT_TRACE : readTrace(data.file, data.source);
  const gateway: Gateway = given === null ? await startGateway(say) : { ...given, stop: async () => undefined };
  running = gateway;
  listenToSignals();
  try {
    const stage = await setStage(gateway, readFileSync(policy, "utf8"));
    const bar = startProgress(process.stderr, trace.runs.flatMap(({ calls }) => calls).length, "calls");
    const driven = await drive(trace.runs, { url: gateway.url, token: stage.agentToken, atOnce, onCall: bar.step }).finally(bar.end);
    const record = await readRecord(gateway.url, stage.auditorToken);
    const checks = audit(driven, record);
    const report = reportOf({ source: trace.source, gateway: gateway.url, tenant: stage.tenant, driven, record, checks });
    const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
    process.stdout.write(
      json ? `${JSON.stringify(report)}\n` : `\n${inWords(report, colour)}\n\n${next(report, given !== null, stage.auditorToken)}\n`,
    );
    return report.ok;
  } finally {
    await gateway.stop();
  }
}

/** Where to look from here. */
function next({ gateway }: Report, stays: boolean, auditorToken: string): string {
  const record = stays
    ? `  the record   curl -s '${gateway}/v1/ledger?verdict=deny&limit=1' -H 'Authorization: Bearer ${auditorToken}'
               (that token reads this tenant's ledger, for an hour)
  the API      ${gateway}/docs`
    : `  the record   this gateway was the demo's own and is gone. To keep and read one: npm start, then npm run demo -- --help (its last lines)`;
  return `What to look at next
  the policy   src/local/demo/policy.yaml: copy it, change a limit, and run this again with --policy yours.yaml;
               with strict_mode: false it allows everything and says what it would have refused
  the agent    src/local/demo/drive.ts: it asks before each call and tells afterwards what came of it; a tool of yours needs
               only session.guard(...) around it
${record}`;
}

/** A signal ends what this program started, then the program. The second one does not wait. */
function listenToSignals(): void {
  let ending = false;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // Miniflare's own listeners end the process at once; ours waits until the runtime is gone.
    process.removeAllListeners(signal);
    process.on(signal, () => {
      if (ending || running === null) process.exit(130);
      ending = true;
      void running.stop().finally(() => process.exit(130));
    });
  }
}

// A reader that has seen enough (`| head`) is no fault.
for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
const read = readOptions(process.argv.slice(2), process.env, process.env.INIT_CWD ?? process.cwd());
if (read.kind === "help") {
  process.stdout.write(`${DEMO_USAGE}\n`);
} else if (read.kind === "mistake") {
  process.stderr.write(`${read.message}\n\n${DEMO_USAGE}\n`);
  process.exitCode = 2;
} else {
  listenToSignals();
  try {
    process.exitCode = (await demo(read.options)) ? 0 : 1;
  } catch (fault) {
    process.stderr.write(`${fault instanceof Error ? fault.message : String(fault)}\n`);
    process.exitCode = 1;
  }
}
