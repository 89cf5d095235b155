import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { flood } from "./flood.ts";

const HELP = `node test/faults/real/overload.ts [--seed N] [--seconds N] [--callers N] [--times N] [--throttle N] [--json]

Finds out how many decisions a second \`npm start\`'s gateway makes here, asks for --times (default 10) as many for --seconds (default 20; longer on
a slow machine, never more than 60) over --callers connections (default 640) on loopback, and looks whether it turns the rest away, recovers, and stands
by every answer. --throttle: what the tenant lets each of its two tokens ask for in a second. --json prints the figures as one object.`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seconds: { type: "string", default: "20" },
    callers: { type: "string", default: "640" },
    times: { type: "string", default: "10" },
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
  mostSeconds: 60,
  callers: Number(values.callers),
  times: Number(values.times),
  throttlePerSecond: values.throttle === undefined ? null : Number(values.throttle),
  mostRecoveryMs: 10_000,
  say,
});
console.log(
  values.json
    ? JSON.stringify(figures)
    : Object.entries(figures)
        .map(([name, value]) => `${name.replaceAll("_", " ").padEnd(26)} ${value}`)
        .join("\n"),
);
// The point of it all: a flood is turned away, not left standing. A burst may be, so that it is the second half that counts.
if (figures.turned_away === 0 || figures.unheard_late > figures.asked_late / 10) {
  console.error("It did not turn the flood away.");
  process.exitCode = 1;
}
