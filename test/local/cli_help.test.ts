import { describe, expect, it } from "vitest";
import { fitted } from "../../src/cli/fitted.ts";
import { main } from "../../src/cli/main.ts";
import { terminalOf } from "../../src/cli/terminal.ts";
import { ROOT } from "./gateway.ts";

const COMMANDS = [
  ...["", "policy", "approvals", "init", "doctor", "tail", "costs", "verify", "kill", "pause", "resume", "revive"],
  ...["check", "test", "diff", "explain", "simulate"].map((name) => `policy ${name}`),
  ...["list", "show", "approve", "reject", "link", "ask", "cancel"].map((name) => `approvals ${name}`),
];

async function help(command: string, columns: number | null): Promise<string> {
  const told: string[] = [];
  // As much of a stream as the program uses.
  const side = { isTTY: columns !== null, columns, write: (text: string) => told.push(text) } as unknown as NodeJS.WriteStream;
  await main([...command.split(" ").filter(Boolean), "--help"], ROOT, terminalOf(side, side, { NO_COLOR: "1" }));
  return told.join("");
}

/** What is typed as it stands is one line however long it is. */
const isTyped = (line: string): boolean => /^ {2}(npx |curl )/.test(line);
const words = (text: string): readonly string[] => text.split(/\s+/).filter(Boolean);

describe("the help of a command", () => {
  it.each(COMMANDS)("%s fits into a terminal of 80 columns, in the same words, and is told to a pipe as it is written", async (command) => {
    const [piped, narrow] = [await help(command, null), await help(command, 80)];
    expect(narrow.split("\n").filter((line) => line.length > 80 && !isTyped(line))).toEqual([]);
    expect(words(narrow)).toEqual(words(piped));
    expect(await help(command, 160)).toBe(piped);
  });

  it("keeps the column in which options are told, and joins what was broken for a wider one", () => {
    const text = `Usage: agentsentinel do [--more TEXT] [--json]
                        [--even-more] [--or ELSE]

Does something that takes a long
sentence.

  --more TEXT    why it is so, and what
                 else there is
  --this ONE, --that ONE
                 only these`;
    expect(fitted(text, 38)).toBe(`Usage: agentsentinel do [--more TEXT]
       [--json]
       [--even-more] [--or ELSE]

Does something that takes a long
sentence.

  --more TEXT    why it is so, and
                 what else there is
  --this ONE, --that ONE
                 only these`);
    expect(fitted(text, 30)).toContain(`
Does something that takes a
long sentence.

  --more TEXT    why it is so,
                 and what else
                 there is
`);
  });
});
