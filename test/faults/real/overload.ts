import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { type AloneFigures, alone } from "./alone.ts";
import { type FloodFigures, flood } from "./flood.ts";
import { broken } from "./flood_promises.ts";

const HELP = `node test/faults/real/overload.ts [--seed N] [--seconds N] [--times N] [--callers N] [--throttle N] [--json]

Finds out how many callers, each of whom asks again as soon as it was answered, \`npm start\`'s gateway answers in time here; then lets --times (default 10)
as many come for --seconds (default 20), or --callers of them, and looks whether it goes on deciding, recovers, and stands by every answer. Who is turned
away comes back when it was told to. Then as many come for as long, twice, to a Worker that only computes, for as much processor time as one of the gateway's
decisions takes: no more callers may be passed over by the gateway than by the runtime alone. Ends with code 1 and names what was not so.
--throttle: what the tenant lets each of its two tokens ask for in a second. --json prints the figures of both as one object.
Whatever else uses the machine meanwhile changes the figures: let it be idle.`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seconds: { type: "string", default: "20" },
    times: { type: "string", default: "10" },
    callers: { type: "string" },
    throttle: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) {
  console.log(HELP);
  process.exit(0);
}

const seed = Number(values.seed ?? randomInt(2 ** 31));
const say = (line: string): void => void process.stderr.write(`${line}\n`);
say(`seed ${seed}`);
const seconds = Number(values.seconds);
const flooded = await flood({
  seed,
  seconds,
  times: Number(values.times),
  callers: values.callers === undefined ? null : Number(values.callers),
  throttlePerSecond: values.throttle === undefined ? null : Number(values.throttle),
  say,
});
const { callers, served_callers: servedCallers, served_cpu_ms: cpuMs } = flooded;
const beside = await alone({ seed, seconds, callers, servedCallers, cpuMs, say });
const listed = (figures: FloodFigures | AloneFigures): string =>
  Object.entries(figures)
    .map(([name, value]) => `  ${name.replaceAll("_", " ").padEnd(26)} ${value}`)
    .join("\n");
console.log(
  values.json
    ? JSON.stringify({ gateway: flooded, alone: beside })
    : [`the gateway\n${listed(flooded)}`, ...beside.map((one) => `the runtime alone\n${listed(one)}`)].join("\n"),
);
for (const promise of broken(flooded, beside)) {
  console.error(`Not kept: ${promise}`);
  process.exitCode = 1;
}
