/**
 * Mutants that no test can kill, since they change nothing that anybody could see, each with the reason.
 * A mutant is named by its file, the line where it begins (without blanks around it), what stood there and what stands there now.
 * One that fits nothing any more is told of, and taken out.
 */
export interface Argued {
  readonly file: string;
  readonly line: string;
  readonly from: string;
  readonly to: string;
  readonly because: string;
}

export const ARGUED: readonly Argued[] = [
  {
    file: "src/core/money.ts",
    line: "export const minUsd = (a: MicroUsd, b: MicroUsd): MicroUsd => (a <= b ? a : b);",
    from: "a <= b",
    to: "a < b",
    because: "Of two equal amounts, either is the smaller.",
  },
  {
    file: "src/core/money.ts",
    line: "const exponent = /^(\\d)(?:\\.(\\d+))?e-(\\d+)$/.exec(shortest);",
    from: "/^(\\d)(?:\\.(\\d+))?e-(\\d+)$/",
    to: "/^(\\d)(?:\\.(\\d+))?e-(\\d+)/",
    because: "A number's shortest text ends with its exponent.",
  },
  {
    file: "src/core/money.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a line in which the placeholder stands.
    line: 'return exponent === null ? shortest : `0.${"0".repeat(Number(exponent[3]) - 1)}${exponent[1]}${exponent[2] ?? ""}`;',
    from: "Number(exponent[3]) - 1",
    to: "Number(exponent[3]) + 1",
    because:
      "An exponent is printed for less than a millionth only: with either number of zeros there are too many decimals, and no more is looked at.",
  },
  {
    file: "src/core/orders.ts",
    line: "if (orders.length === 0) return null;",
    from: "orders.length === 0",
    to: "false",
    because: "A shorter way to the same answer: no order is found among none.",
  },
  {
    file: "src/core/insert.ts",
    line: "if (known !== undefined) return known;",
    from: "known !== undefined",
    to: "false",
    because: "A memory: without it the same text is made again.",
  },
  {
    file: "src/core/insert.ts",
    line: "texts.set(name, text);",
    from: "texts.set(name, text);",
    to: ";",
    because: "A memory: without it the same text is made again.",
  },
  {
    file: "src/core/pool.ts",
    line: "const log = fresh.length === 0 ? pool.log : [...pool.log, ...fresh].sort((a, b) => a - b);",
    from: "fresh.length === 0",
    to: "false",
    because: "A shorter way to the same answer: a log is in order already, and without fresh calls stays what it was.",
  },
];
