import { didYouMean } from "../http/issues.ts";
import { type Command, readCommandLine, Stop, Usage } from "./command_line.ts";
import type { Terminal } from "./terminal.ts";

interface Known {
  readonly does: string;
  readonly load: () => Promise<Command>;
}

const COMMANDS: { readonly [name: string]: Known } = {
  check: { does: "tell every mistake in policies", load: () => import("./check.ts") },
  test: { does: "play the cases that a policy must decide as they say", load: () => import("./test.ts") },
  diff: { does: "what one policy says otherwise than another", load: () => import("./diff.ts") },
  explain: { does: "why a request comes out as it does", load: () => import("./explain.ts") },
  simulate: { does: "what a gateway's recorded decisions would have been", load: () => import("./simulate.ts") },
};

const HELP = `Usage: agentsentinel policy <command> ...

${Object.entries(COMMANDS)
  .map(([name, { does }]) => `  ${name.padEnd(10)} ${does}`)
  .join("\n")}

agentsentinel policy <command> --help says more. Every command takes --json. Colour is for terminals only, and NO_COLOR takes it away.

Exit code: 0 good, 1 not, 2 for a mistake in the command.`;

/** Finds the command that is meant, or says which is nearest. */
function commandOf(args: readonly string[]): { readonly command: Known; readonly rest: readonly string[] } | "help" {
  const [room, name, ...rest] = args;
  if (room === undefined || room === "help" || room === "--help" || room === "-h") return "help";
  if (room !== "policy") {
    const known = Object.hasOwn(COMMANDS, room) ? `; did you mean "policy ${room}"?` : didYouMean(room, ["policy"]);
    throw new Usage(`there is no command ${room}${known}`);
  }
  if (name === undefined || name === "help" || name === "--help" || name === "-h") return "help";
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw new Usage(`there is no command policy ${name}${didYouMean(name, Object.keys(COMMANDS))}`);
  return { command, rest };
}

/** Runs what a command line asks for. `directory` is where it was typed. The exit code: 0 good, 1 not, 2 for a mistake in the command. */
export async function main(args: readonly string[], directory: string, terminal: Terminal): Promise<number> {
  let help = HELP;
  try {
    const found = commandOf(args);
    if (found === "help") {
      terminal.out(`${HELP}\n`);
      return 0;
    }
    const command = await found.command.load();
    help = command.help;
    const line = readCommandLine(found.rest, command.options);
    if (line.has("help")) {
      terminal.out(`${help}\n`);
      return 0;
    }
    return (await command.run(line, directory, terminal)) ? 0 : 1;
  } catch (fault) {
    terminal.progress("");
    if (fault instanceof Usage) {
      terminal.err(`agentsentinel: ${fault.message}\n\n${help.split("\n\n")[0]}\n`);
      return 2;
    }
    if (!(fault instanceof Stop)) throw fault;
    terminal.err(`agentsentinel: ${fault.message}\n`);
    return 1;
  }
}
