import { readFileSync } from "node:fs";
import path from "node:path";
import { didYouMean } from "../http/issues.ts";
import { CALLED } from "./called_as.ts";
import { type Command, readCommandLine, Stop, Usage } from "./command_line.ts";
import { fitted } from "./fitted.ts";
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
      link: { does: "make a link by which one person answers", load: () => import("./approvals_link.ts") },
      ask: { does: "ask the agent for more first", load: async () => (await import("./approvals_answer.ts")).ask },
      cancel: { does: "take the question back, or a yes that was not used", load: async () => (await import("./approvals_answer.ts")).cancel },
    },
  },
};

/** What needs no second word. */
const COMMANDS: Room["commands"] = {
  init: { does: "write a policy to begin with, every part of it explained", load: () => import("./init.ts") },
  doctor: { does: "find what is set up wrong here, and how to put it right", load: () => import("./doctor.ts") },
  tail: { does: "show what is decided, as it happens", load: () => import("./tail.ts") },
  costs: { does: "add up what was spent", load: () => import("./costs.ts") },
  verify: { does: "check that the lines of a ledger hold together, and end as they did", load: () => import("./verify.ts") },
  kill: { does: "stop an agent, a session, a run, an action or everything", load: async () => (await import("./intervene.ts")).kill },
  pause: { does: "the same for a while, ending nothing", load: async () => (await import("./intervene.ts")).pause },
  resume: { does: "let go on what was paused", load: async () => (await import("./intervene.ts")).resume },
  revive: { does: "let go on what was killed", load: async () => (await import("./intervene.ts")).revive },
};

const linesOf = (commands: Room["commands"]): string =>
  Object.entries(commands)
    .map(([name, { does }]) => `  ${name.padEnd(10)} ${does}`)
    .join("\n");

const AFTER = `Here it is called as: ${CALLED} <command> ...

Every command takes --help and --json; --version alone tells which this is. Colour is for terminals only, and NO_COLOR takes it away.

Exit code: 0 good, 1 not, 2 for a mistake in the command; where a command has others, its --help says so.`;

const HELP = `Usage: ${[...Object.keys(ROOMS), null].map((name) => `agentsentinel ${name === null ? "" : `${name} `}<command> ...`).join("\n       ")}

${linesOf(COMMANDS)}

${Object.entries(ROOMS)
  .map(([name, { does, commands }]) => `${name}: ${does}\n${linesOf(commands)}`)
  .join("\n\n")}

${AFTER}`;

const helpOf = (name: string, room: Room): string => `Usage: agentsentinel ${name} <command> ...\n\n${linesOf(room.commands)}\n\n${AFTER}`;

/** Which program this is, and what runs it: what is asked first where something does not work. */
function version(): string {
  const { version } = JSON.parse(readFileSync(path.join(import.meta.dirname, "../../package.json"), "utf8"));
  return `agentsentinel ${version}, Node ${process.versions.node}`;
}

const isVersion = (word: string | undefined): boolean => word === "--version" || word === "-v" || word === "version";
const isHelp = (word: string | undefined): boolean => word === undefined || word === "help" || word === "--help" || word === "-h";
const of = <T>(table: { readonly [name: string]: T }, name: string): T | undefined => (Object.hasOwn(table, name) ? table[name] : undefined);

/** Finds the command that is meant, or what is told at once; or says which is nearest. */
function commandOf(args: readonly string[]): { readonly command: Known; readonly rest: readonly string[] } | { readonly tells: string } {
  const [first = "", name = "", ...rest] = args;
  if (isVersion(args[0])) return { tells: version() };
  if (isHelp(args[0])) return { tells: HELP };
  const alone = of(COMMANDS, first);
  if (alone !== undefined) return { command: alone, rest: args.slice(1) };
  const room = of(ROOMS, first);
  if (room === undefined) {
    const [found] = Object.entries(ROOMS).find(([, { commands }]) => Object.hasOwn(commands, first)) ?? [];
    throw new Usage(
      `there is no command ${first}${found === undefined ? didYouMean(first, [...Object.keys(ROOMS), ...Object.keys(COMMANDS)]) : `; did you mean "${found} ${first}"?`}`,
    );
  }
  if (isHelp(args[1])) return { tells: helpOf(first, room) };
  const command = of(room.commands, name);
  if (command === undefined) throw new Usage(`there is no command ${first} ${name}${didYouMean(name, Object.keys(room.commands))}`, first);
  return { command, rest };
}

/**
 * Runs what a command line asks for. `directory` is where it was typed. The exit code: 0 good, 1 not, 2 for a mistake in the command, and what else
 * the command's own help says.
 */
export async function main(args: readonly string[], directory: string, terminal: Terminal): Promise<number> {
  let help = HELP;
  try {
    const found = commandOf(args);
    if ("tells" in found) {
      terminal.out(`${fitted(found.tells, terminal.columns)}\n`);
      return 0;
    }
    const command = await found.command.load();
    help = command.help;
    const line = readCommandLine(found.rest, command.options);
    if (line.has("help")) {
      terminal.out(`${fitted(help, terminal.columns)}\n`);
      return 0;
    }
    const ended = await command.run(line, directory, terminal);
    return typeof ended === "number" ? ended : ended ? 0 : 1;
  } catch (fault) {
    terminal.progress("");
    if (fault instanceof Usage) {
      const room = fault.about === null ? undefined : of(ROOMS, fault.about);
      if (room !== undefined) help = helpOf(fault.about ?? "", room);
      terminal.err(`agentsentinel: ${fault.message}\n\n${fitted(help.split("\n\n", 1)[0] ?? "", terminal.columns)}\n`);
      return 2;
    }
    if (!(fault instanceof Stop)) throw fault;
    terminal.err(`agentsentinel: ${fault.message}\n`);
    return 1;
  }
}
