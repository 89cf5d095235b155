import { parseArgs } from "node:util";
import { didYouMean } from "../http/issues.ts";
import type { Terminal } from "./terminal.ts";

/** A mistake in how the program was called, in words for whoever typed it. Its exit code is 2. */
export class Usage extends Error {
  /** The sub-command whose help says more, or `null`. */
  readonly about: string | null;
  constructor(message: string, about: string | null = null) {
    super(message);
    this.about = about;
  }
}

/** Something that was asked for cannot be done, and no stack would say why any better. Its exit code is 1. */
export class Stop extends Error {}

interface Option {
  readonly type: "string" | "boolean";
  /** May be given several times. */
  readonly multiple?: boolean;
}

export interface CommandLine {
  readonly positionals: readonly string[];
  readonly has: (flag: string) => boolean;
  /** The last one given; `undefined` where none was. */
  readonly text: (flag: string) => string | undefined;
  readonly texts: (flag: string) => readonly string[];
}

/** A sub-command: a module that is read only when it is asked for. */
export interface Command {
  readonly help: string;
  readonly options: { readonly [name: string]: Option };
  /** Whether all is good: the exit code is 0, else 1. A number is the exit code itself, where there is more to tell than that. */
  readonly run: (line: CommandLine, directory: string, terminal: Terminal) => boolean | Promise<boolean | number>;
}

/** Reads what follows a sub-command. An option that is not known, or has no value where it needs one, is a {@link Usage} mistake. */
export function readCommandLine(args: readonly string[], options: { readonly [name: string]: Option }): CommandLine {
  const known: { readonly [name: string]: Option } = { ...options, json: { type: "boolean" }, help: { type: "boolean" } };
  const { tokens } = parseArgs({ args: [...args], options: known, strict: false, allowPositionals: true, tokens: true });
  const positionals: string[] = [];
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    if (token.rawName === "-h") {
      given.set("help", [""]);
      continue;
    }
    const option = Object.hasOwn(known, token.name) ? known[token.name] : undefined;
    if (option === undefined || !token.rawName.startsWith("--")) throw new Usage(unknownOption(token.rawName, Object.keys(known)));
    if (option.type === "boolean" && token.value !== undefined) throw new Usage(`${token.rawName} takes no value`);
    if (option.type === "string" && (token.value === undefined || token.value === "" || (!token.inlineValue && token.value.startsWith("--")))) {
      throw new Usage(`${token.rawName} needs a value`);
    }
    if (given.has(token.name) && option.multiple !== true && option.type === "string") throw new Usage(`${token.rawName} is given twice`);
    given.set(token.name, [...(given.get(token.name) ?? []), token.value ?? ""]);
  }
  return {
    positionals,
    has: (flag) => given.has(flag),
    text: (flag) => given.get(flag)?.at(-1),
    texts: (flag) => given.get(flag) ?? [],
  };
}

const unknownOption = (written: string, known: readonly string[]): string => {
  const near = didYouMean(written.replace(/^-+/, ""), known);
  const hint = near.startsWith("; did you mean") ? near.replace(/"(.*)"/, '"--$1"') : "";
  return `there is no option ${written}${hint}`;
};
