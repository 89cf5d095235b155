import { createServer } from "node:net";
import path from "node:path";
import { parseStart, START_USAGE } from "./arguments.ts";
import { build, QUIET, ROOT } from "./build.ts";
import { type DemoTokens, isDemoPrepared, prepareDemo, Unanswered } from "./demo_tenant.ts";
import { readSecrets } from "./dev_vars.ts";
import { isMigrated, migrate, noteMigrated } from "./migrate.ts";
import { type Runtime, startRuntime } from "./runtime.ts";
import { writeEnvironment } from "./shell_environment.ts";
import { lockState, whyUnwritable } from "./state_lock.ts";
import { welcome } from "./welcome.ts";

// `npm start`: from a fresh clone to a gateway that answers. Everything it makes it makes once; a second start only starts.

Object.assign(process.env, QUIET);
const DEV_VARS = path.join(ROOT, ".dev.vars");
const HEALTHY_WITHIN_MS = 60_000;
/** Objects refuse tables that are newer than their code, and what they refuse with tells nobody outside why. */
const NEWER =
  "If a newer version of the gateway has run on this state, it has what this one does not know, and this one will not guess: start the newer one, or keep this one's state elsewhere: --persist-to DIR.";

/** A sentence for the person at the terminal, where a stack would tell them nothing. */
class Stop extends Error {}

let runtime: Runtime | null = null;
let ending = false;

/** Ends everything this program started, then the program. The second signal does not wait. */
async function end(code: number): Promise<void> {
  if (ending) process.exit(code);
  ending = true;
  await runtime?.stop();
  process.exit(code);
}

async function start(port: number, state: string): Promise<void> {
  if (port !== 0 && !(await isFree(port))) {
    throw new Stop(`Port ${port} on 127.0.0.1 is in use. Stop what uses it, or choose another: npm start -- --port ${port + 1}`);
  }
  const why = whyUnwritable(state);
  if (why !== null) throw new Stop(`Nothing can be written to ${state} (${why}), so nothing was started. What is recorded there stays as it is.`);
  if (!(await lockState(state)))
    throw new Stop(`Another gateway is running on ${state}. Stop it, or keep this one's state elsewhere: --persist-to DIR`);

  const built = await build(() => note("Building the Worker; this takes a few seconds, and only when its sources have changed."));
  const { values: secrets, made, origin } = readSecretsOrStop(built.secrets);
  if (made.length > 0) note(`Made ${made.join(" and ")}; kept in .dev.vars, which only you can read and git ignores.`);

  const run = async (at: number): Promise<Runtime> => {
    const running = await startRuntime({ built, secrets, state, port: at, onDeath });
    runtime = running;
    // A signal during the start found no runtime to stop: stop it now.
    if (ending) await running.stop();
    listenToSignals();
    return running;
  };
  const prepare = async ({ miniflare, url }: Runtime): Promise<DemoTokens> => {
    const applied = await migrate(miniflare, built.migrations);
    if (applied.length > 0) note(`Applied ${applied.length === 1 ? "the migration" : "the migrations"} ${applied.join(", ")} to the local database.`);
    noteMigrated(state, built.migrations);
    await healthy(url);
    return prepareDemo(url, secrets.ROOT_KEY ?? "", secrets.SIGNING_KEYS ?? "", state).catch((fault: unknown) => {
      throw fault instanceof Unanswered && fault.status === 503 ? new Stop(`${fault.message}\n${NEWER}`) : fault;
    });
  };
  // Whoever waits for `/healthz` uses the demo tenant at once, and reads the ledger by indexes that an older version's state does not have: on a new state,
  // and on one of before, all of that is made at a port that nobody knows.
  if (!isDemoPrepared(state) || !isMigrated(state, built.migrations)) {
    const first = await run(0);
    await prepare(first);
    await first.stop();
  }
  const running = await run(port);
  const tokens = await prepare(running);
  const rootKey = origin.ROOT_KEY === "environment" ? "yours, from the environment" : "in .dev.vars: grep ROOT_KEY .dev.vars";
  const paste = writeEnvironment(running.url, tokens, state);
  const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
  process.stdout.write(welcome({ url: running.url, tokens, paste, rootKey, colour }));
}

function onDeath(how: string): void {
  process.stderr.write(`The Workers runtime ended by itself (${how}). What it had answered is on disk; start again with npm start.\n`);
  process.exit(1);
}

function readSecretsOrStop(names: readonly string[]) {
  try {
    return readSecrets(DEV_VARS, names, process.env);
  } catch (fault) {
    throw new Stop(fault instanceof Error ? fault.message : String(fault));
  }
}

/** Waits for `GET /healthz` to answer 200 `{"status":"ok"}`. */
async function healthy(url: string): Promise<void> {
  const deadline = Date.now() + HEALTHY_WITHIN_MS;
  let last = "nothing";
  while (Date.now() < deadline) {
    try {
      const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5000) });
      last = `${answer.status} ${(await answer.text()).slice(0, 200)}`;
      if (answer.status === 200 && JSON.parse(last.slice(4)).status === "ok") return;
      // Only 503 says "not yet". Anything else would be the same a minute later.
      if (answer.status !== 503) break;
    } catch (fault) {
      last = String(fault);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Stop(`The gateway did not become healthy: GET ${url}/healthz answered ${last}`);
}

function listenToSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    // Miniflare's own listeners end the process at once; ours waits until the runtime is gone.
    process.removeAllListeners(signal);
    process.on(signal, () => void end(0));
  }
}

/** npm that is killed outright tells nobody: its child notices that it has another parent, and stops. */
function stopWithNpm(): void {
  if (process.env.npm_lifecycle_event === undefined) return;
  const npm = process.ppid;
  setInterval(() => {
    if (process.ppid !== npm) void end(0);
  }, 250).unref();
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}

const note = (line: string): void => void process.stdout.write(`${line}\n`);

for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
const parsed = parseStart(process.argv.slice(2), process.env.INIT_CWD ?? process.cwd(), path.join(ROOT, ".wrangler/state"));
if (parsed.kind === "help") {
  process.stdout.write(`${START_USAGE}\n`);
} else if (parsed.kind === "mistake") {
  process.stderr.write(`${parsed.message}\n\n${START_USAGE}\n`);
  process.exitCode = 2;
} else {
  listenToSignals();
  stopWithNpm();
  try {
    await start(parsed.value.port, parsed.value.state);
  } catch (fault) {
    process.stderr.write(`${fault instanceof Stop ? fault.message : fault instanceof Error ? (fault.stack ?? fault.message) : String(fault)}\n`);
    await end(1);
  }
}
