import { readFileSync } from "node:fs";
import { Instrumenter } from "@stryker-mutator/instrumenter";

/** One small change of one place of the code. */
export interface Mutant {
  /** Counted over all files that were instrumented together. */
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly mutator: string;
  readonly original: string;
  readonly replacement: string;
  /** The line where the change begins, without the blanks around it: with `original` and `replacement` it names the mutant for good. */
  readonly text: string;
}

export interface Mutated {
  readonly mutants: readonly Mutant[];
  /** Each file's text with all its mutants behind switches. */
  readonly texts: ReadonlyMap<string, string>;
}

/** The instrumenter says how far it is; nobody wants to know. What it warns of is said. */
const LOG = {
  isTraceEnabled: () => false,
  isDebugEnabled: () => false,
  isInfoEnabled: () => false,
  isWarnEnabled: () => true,
  isErrorEnabled: () => true,
  isFatalEnabled: () => true,
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: (message: string) => void process.stderr.write(`${message}\n`),
  error: (message: string) => void process.stderr.write(`${message}\n`),
  fatal: (message: string) => void process.stderr.write(`${message}\n`),
};

/** Every mutant that Stryker's mutators make of these files. The same texts give the same ids. */
export async function mutantsOf(files: readonly string[]): Promise<Mutated> {
  const sources = new Map(files.map((file) => [file, readFileSync(file, "utf8")]));
  const { files: instrumented, mutants } = await new Instrumenter(LOG).instrument(
    Array.from(sources, ([name, content]) => ({ name, mutate: true, content })),
    { plugins: null, excludedMutations: [], ignorers: [] },
  );
  return {
    mutants: mutants.map(({ id, fileName, location: { start, end }, mutatorName, replacement }) => {
      const source = sources.get(fileName) ?? "";
      const lines = source.split("\n");
      return {
        id,
        file: fileName,
        line: start.line + 1,
        column: start.column + 1,
        mutator: mutatorName,
        original: source.slice(offsetOf(lines, start), offsetOf(lines, end)),
        replacement,
        text: (lines[start.line] ?? "").trim(),
      };
    }),
    texts: new Map(instrumented.map(({ name, content }) => [name, content])),
  };
}

function offsetOf(lines: readonly string[], { line, column }: { readonly line: number; readonly column: number }): number {
  return lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, column);
}
