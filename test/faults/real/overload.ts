import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { broken, flood } from "./flood.ts";

const HELP = `node test/faults/real/overload.ts [--seed N] [--seconds N] [--times N] [--callers N] [--throttle N] [--json]

Finds out how many callers, each of whom asks again as soon as it was answered, \`npm start\`'s gateway answers in time here; then lets --times (default 10)
as many come for --seconds (default 20), or --callers of them, and looks whether it turns the rest away, goes on deciding, recovers, and stands by every
answer. Who is turned away comes back when it was told to. Ends with code 1 and names what was not so.
--throttle: what the tenant lets each of its two tokens ask for in a second. --json prints the figures as one object.`;

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
const figures = await flood({
  seed,
  seconds: Number(values.seconds),
  times: Number(values.times),
  callers: values.callers === undefined ? null : Number(values.callers),
  throttlePerSecond: values.throttle === undefined ? null : Number(values.throttle),
  say,
});
console.log(
  values.json
    ? JSON.stringify(figures)
    : Object.entries(figures)
        .map(([name, value]) => `${name.replaceAll("_", " ").padEnd(26)} ${value}`)
        .join("\n"),
);
for (const promise of broken(figures)) {
  console.error(`Not kept: ${promise}`);
  process.exitCode = 1;
}
