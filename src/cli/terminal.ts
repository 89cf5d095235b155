import { createInterface } from "node:readline";

/** Where a command writes, and how. */
export interface Terminal {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly paint: Paint;
  /** Columns to write in: those of the terminal; without one, no line is cut. */
  readonly columns: number;
  /** Draws over its own last line where standard error is a terminal, and else does nothing. An empty text takes the line away. */
  readonly progress: (text: string) => void;
  /** Asks whoever sits there, on standard error, and gives the line that they type. `null`: nobody does. */
  readonly ask: ((question: string) => Promise<string>) | null;
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;

type Paint = { readonly [colour in keyof typeof CODES]: (text: string) => string };

/** Colour is for eyes only: where both sides are a terminal, unless NO_COLOR says otherwise (https://no-color.org). */
export function terminalOf(
  stdout: NodeJS.WriteStream,
  stderr: NodeJS.WriteStream,
  environment: NodeJS.ProcessEnv,
  stdin?: NodeJS.ReadStream,
): Terminal {
  const colour = stdout.isTTY === true && stderr.isTTY === true && !environment.NO_COLOR && environment.TERM !== "dumb";
  let drawn = false;
  const wipe = (): void => {
    if (drawn) stderr.write("\r\u001b[K");
    drawn = false;
  };
  return {
    out: (text) => {
      wipe();
      stdout.write(text);
    },
    err: (text) => {
      wipe();
      stderr.write(text);
    },
    paint: paintOf(colour),
    columns: stdout.isTTY === true ? Math.max(40, stdout.columns || 80) : Number.POSITIVE_INFINITY,
    progress: (text) => {
      if (stderr.isTTY !== true) return;
      wipe();
      if (text === "") return;
      stderr.write(text.slice(0, Math.max(1, (stderr.columns || 80) - 1)));
      drawn = true;
    },
    ask:
      stdin?.isTTY === true && stderr.isTTY === true
        ? async (question) => {
            wipe();
            const lines = createInterface({ input: stdin, output: stderr });
            try {
              return await new Promise<string>((resolve) => {
                lines.once("close", () => resolve(""));
                lines.question(question, resolve);
              });
            } finally {
              lines.close();
            }
          }
        : null,
  };
}

function paintOf(colour: boolean): Paint {
  const with_ = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const { bold, dim, red, green, yellow, blue, magenta, cyan } = CODES;
  return {
    bold: with_(bold),
    dim: with_(dim),
    red: with_(red),
    green: with_(green),
    yellow: with_(yellow),
    blue: with_(blue),
    magenta: with_(magenta),
    cyan: with_(cyan),
  };
}

/** Text of strangers on one line: what could move the cursor or colour the screen, is not seen or looks like a blank is shown as what it is. */
export const plain = (text: string): string =>
  text.replace(/(?! )[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]/gu, (odd) => {
    const code = odd.codePointAt(0) ?? 0;
    return odd === "\t" ? " " : `\\u${code.toString(16).padStart(4, "0")}`;
  });

/** A JSON value on one line, at most `most` characters of it. */
export function shown(value: unknown, most = 120): string {
  const text = value === undefined ? "nothing" : plain(JSON.stringify(value));
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;

export const pad = (text: string, width: number): string => text + " ".repeat(Math.max(0, width - text.length));

/** Words on lines of at most `columns`, every line after the first indented. A word longer than a line stands alone. */
export function wrapped(text: string, columns: number, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent.length + line.length + 1 + word.length > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join(`\n${indent}`);
}
