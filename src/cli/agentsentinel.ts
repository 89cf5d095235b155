#!/usr/bin/env node
import { typedIn } from "./files.ts";
import { main } from "./main.ts";
import { terminalOf } from "./terminal.ts";

// The command line: what a team runs by hand and in CI.

// A reader that has seen enough (`| head`) is no fault.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (fault: NodeJS.ErrnoException) => {
    if (fault.code !== "EPIPE") throw fault;
  });
}
process.exitCode = await main(process.argv.slice(2), typedIn(process.env), terminalOf(process.stdout, process.stderr, process.env, process.stdin));
