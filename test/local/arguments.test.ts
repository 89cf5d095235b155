import { expect, it } from "vitest";
import { parseDeploy, parseStart } from "../../src/local/arguments.ts";

const go = (port: number, state: string) => ({ kind: "go", value: { port, state } });
const mistake = { kind: "mistake", message: expect.any(String) };

it.each<[string[], object]>([
  [[], go(8787, "/state")],
  [["--port", "9000"], go(9000, "/state")],
  [["--port=0"], go(0, "/state")],
  [["--persist-to", "there"], go(8787, "/typed/there")],
  [["--persist-to", "/there", "--port", "1"], go(1, "/there")],
  [["--help", "--port", "eight"], { kind: "help" }],
  [["--port", "eight"], mistake],
  [["--port", "70000"], mistake],
  [["--port", "-1"], mistake],
  [["--port"], mistake],
  [["--persist-to"], mistake],
  [["--persist-to="], mistake],
  [["--prot", "1"], mistake],
  [["9000"], mistake],
])("npm start -- %j is read as %o", (args, expected) => expect(parseStart(args, "/typed", "/state")).toEqual(expected));

it.each<[string[], object]>([
  [[], { kind: "go", value: { dryRun: false } }],
  [["--dry-run"], { kind: "go", value: { dryRun: true } }],
  [["--help"], { kind: "help" }],
  [["--dryrun"], mistake],
  [["now"], mistake],
])("npm run deploy -- %j is read as %o", (args, expected) => expect(parseDeploy(args)).toEqual(expected));
