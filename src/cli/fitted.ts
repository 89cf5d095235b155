import { wrapped } from "./terminal.ts";

/** A part of a help: what its first line begins with, how far the others are indented, and what they say. */
interface Part {
  readonly first: string;
  /** `null`: it stands as it is. */
  readonly indent: number | null;
  text: string;
  /** It goes on with the part before it, where that is as far indented. */
  readonly goesOn: boolean;
}

const USAGE = "Usage: ";
/** In the place of a blank at which no line is broken. */
const TIE = "\u00a0";

/**
 * A help as it is read in a terminal of so many columns. Its lines are written for a wide one: where they do not fit, they are broken anew between words,
 * and those of an option stay in their column. A command to be typed stays on its line.
 */
export function fitted(help: string, columns: number): string {
  const lines = help.split("\n");
  if (lines.every((line) => line.length <= columns)) return help;
  const parts: Part[] = [];
  for (const line of lines) {
    const last = parts.at(-1);
    const part = partOf(line);
    if (last !== undefined && part.goesOn && part.indent === last.indent) last.text += ` ${part.text}`;
    else parts.push(part);
  }
  return parts
    .map(({ first, indent, text }) => first + (indent === null ? text : wrapped(text, columns, " ".repeat(indent))))
    .join("\n")
    .replaceAll(TIE, " ");
}

/** What a line is by itself: of a usage, of an option, to be typed, or of a sentence. */
function partOf(line: string): Part {
  const [, usage] = /^(?:Usage: | {7}(?=agentsentinel )| +(?=\[))(.*)$/.exec(line) ?? [];
  if (usage !== undefined) {
    const text = usage.replaceAll(/\[[^\]]*\]/g, (option) => option.replaceAll(" ", TIE));
    return { first: line.startsWith(USAGE) ? USAGE : " ".repeat(USAGE.length), indent: USAGE.length, text, goesOn: false };
  }
  const [, option, told = ""] = /^( {2}\S(?: ?\S)* {2,})(\S.*)$/.exec(line) ?? [];
  if (option !== undefined) return { first: option, indent: option.length, text: told, goesOn: false };
  if (line === "" || /^ {2}\S/.test(line)) return { first: "", indent: null, text: line, goesOn: false };
  const text = line.trimStart();
  const indent = line.length - text.length;
  return { first: " ".repeat(indent), indent, text, goesOn: true };
}
