import { parseArgs } from "node:util";
import { install } from "./platform/globals.ts";
import "./platform/hooks.ts";

const HELP = `npm run test:faults -- [--seed N] [--steps N] [--episode N] [--most N] [--without KIND,...] [--json] [--trace]

Lets simulated worlds live under faults until so many steps were taken, and holds every one of them to what the product promises.
The same seed takes the same steps. A seed that fails is tried smaller, and the smallest that still fails is printed.

  --seed N         where chance begins; without it, anywhere
  --steps N        at least so many steps in all; 1000000
  --episode N      only the Nth world of the seed, for so many steps under faults as --steps says
  --most N         at most N tenants, agents of each, sessions of each agent, and so on
  --without KINDS  of loss, duplicates, delays, crashes, outages, clocks, database, leaps
  --treachery HOW  a platform that breaks its word: loses_writes, leaks_answers, forgets_alarms or loses_rows
  --json           one line of JSON in the end, and nothing else
  --trace          every step
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    steps: { type: "string" },
    episode: { type: "string" },
    most: { type: "string" },
    without: { type: "string" },
    treachery: { type: "string" },
    json: { type: "boolean", default: false },
    trace: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}

/** A whole number that somebody typed. */
function whole(name: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  const number = Number(text);
  if (Number.isSafeInteger(number) && number >= 0) return number;
  process.stderr.write(`--${name} is a whole number, found "${text}".\n`);
  process.exit(2);
}

const seed = whole("seed", values.seed, Math.floor(performance.timeOrigin * 1000) % 0xffff_ffff);
install();
// Only now, so that the gateway's modules find the simulated platform.
const { run } = await import("./run.ts");
process.exitCode = await run({
  seed,
  steps: whole("steps", values.steps, 1_000_000),
  episode: values.episode === undefined ? null : whole("episode", values.episode, 0),
  most: values.most === undefined ? null : whole("most", values.most, 1),
  without: values.without?.split(",") ?? [],
  treachery: values.treachery ?? null,
  json: values.json,
  trace: values.trace,
});
