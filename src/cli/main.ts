import { didYouMean } from "../http/issues.ts";
import { type Command, readCommandLine, Stop, Usage } from "./command_line.ts";
import type { Terminal } from "./terminal.ts";

interface Known {
  readonly does: string;
  readonly load: () => Promise<Command>;
}

interface Room {
  readonly does: string;
  readonly commands: { readonly [name: string]: Known };
}

const ROOMS: { readonly [name: string]: Room } = {
  policy: {
    does: "what a policy says",
    commands: {
      check: { does: "tell every mistake in policies", load: () => import("./check.ts") },
      test: { does: "play the cases that a policy must decide as they say", load: () => import("./test.ts") },
      diff: { does: "what one policy says otherwise than another", load: () => import("./diff.ts") },
      explain: { does: "why a request comes out as it does", load: () => import("./explain.ts") },
      simulate: { does: "what a gateway's recorded decisions would have been", load: () => import("./simulate.ts") },
    },
  },
  approvals: {
    does: "what waits for a person, on a gateway",
    commands: {
      list: { does: "what people are asked, and how many", load: () => import("./approvals_list.ts") },
      show: { does: "everything that one needs to decide", load: () => import("./approvals_show.ts") },
      approve: { does: "say yes to exactly what is shown", load: async () => (await import("./approvals_answer.ts")).approve },
      reject: { does: "say no", load: async () => (await import("./approvals_answer.ts")).reject },
      cancel: { does: "take the question back, or a yes that was not used", load: async () => (await import("./approvals_answer.ts")).cancel },
    },
  },
};

const linesOf = ({ commands }: Room): string =>
  Object.entries(commands)
    .map(([name, { does }]) => `  ${name.padEnd(10)} ${does}`)
    .join("\n");

const AFTER = `Every command takes --help and --json. Colour is for terminals only, and NO_COLOR takes it away.

Exit code: 0 good, 1 not, 2 for a mistake in the command.`;

const HELP = `Usage: ${Object.keys(ROOMS)
  .map((name) => `agentsentinel ${name} <command> ...`)
  .join("\n       ")}

${Object.entries(ROOMS)
  .map(([name, room]) => `${name}: ${room.does}\n${linesOf(room)}`)
  .join("\n\n")}

${AFTER}`;

const helpOf = (name: string, room: Room): string => `Usage: agentsentinel ${name} <command> ...\n\n${linesOf(room)}\n\n${AFTER}`;

const isHelp = (word: string | undefined): boolean => word === undefined || word === "help" || word === "--help" || word === "-h";
const of = <T>(table: { readonly [name: string]: T }, name: string): T | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);

/** Finds the command that is meant, or the help; or says which is nearest. */
function commandOf(args: readonly string[]): { readonly command: Known; readonly rest: readonly string[] } | { readonly help: string } {
  const [first = "", name = "", ...rest] = args;
  if (isHelp(args[0])) return { help: HELP };
  const room = of(ROOMS, first);
  if (room === undefined) {
    const [found] = Object.entries(ROOMS).find(([, { commands }]) => Object.hasOwn(commands, first)) ?? [];
    throw new Usage(
      `there is no command ${first}${found === undefined ? didYouMean(first, Object.keys(ROOMS)) : `; did you mean "${found} ${first}"?`}`,
    );
  }
  if (isHelp(args[1])) return { help: helpOf(first, room) };
  const command = of(room.commands, name);
  if (command === undefined) throw new Usage(`there is no command ${first} ${name}${didYouMean(name, Object.keys(room.commands))}`);
  return { command, rest };
}

/** Runs what a command line asks for. `directory` is where it was typed. The exit code: 0 good, 1 not, 2 for a mistake in the command. */
export async function main(args: readonly string[], directory: string, terminal: Terminal): Promise<number> {
  let help = HELP;
  try {
    const found = commandOf(args);
    if ("help" in found) {
      terminal.out(`${found.help}\n`);
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
