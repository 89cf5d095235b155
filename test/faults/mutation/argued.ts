import { ARGUED_OF_EXPRESSIONS } from "./argued_expressions.ts";

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
  ...ARGUED_OF_EXPRESSIONS,
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
  {
    file: "src/core/gates.ts",
    line: 'if (wait === 0) return { wait, message: "" };',
    from: "wait === 0",
    to: "false",
    because: "A shorter way to the same answer: the message of what does not say no is not told.",
  },
  {
    file: "src/core/gates.ts",
    line: 'if (wait === 0) return { wait, message: "" };',
    from: '""',
    to: '"Stryker was here!"',
    because: "The message of what does not say no is not told.",
  },
  {
    file: "src/core/conclude.ts",
    line: "approvals.size < MOST_OPEN_APPROVALS ? approvals.size : [...approvals.values()].filter(isOpen).length;",
    from: "approvals.size < MOST_OPEN_APPROVALS",
    to: "false",
    because: "A shorter way to the same answer: where there are fewer in all, fewer are open.",
  },
  {
    file: "src/core/conclude.ts",
    line: 'kind: "no",',
    from: '"no"',
    to: '""',
    because: "What denies by these is told their reason; only a gate's answer is asked whether it is a no.",
  },
  {
    file: "src/core/conclude.ts",
    line: "usesApproval: false,",
    from: "false",
    to: "true",
    because:
      "In the judgement of a batch's member that is refused: without an approval beside it there is none to use up; where it is every judgement's, a test fails.",
  },
  {
    file: "src/core/batch.ts",
    line: 'const isLess = known?.kind === "money" && short.kind === "money" && known.leastMicroUsd < short.leastMicroUsd;',
    from: "known.leastMicroUsd < short.leastMicroUsd",
    to: "known.leastMicroUsd <= short.leastMicroUsd",
    because: "Of two equal amounts, either is the smaller.",
  },
  {
    file: "src/core/batch.ts",
    line: "return [...wanted.values()].every(({ limit, sum }) => sum <= MOST_SPENT && isCovered(shares, limit, microUsdOf(sum)));",
    from: "sum <= MOST_SPENT",
    to: "sum < MOST_SPENT",
    because: "A shorter way to the same answer: what is not known to be covered is tried.",
  },
  {
    file: "src/core/turn.ts",
    line: "if (now >= book.nextApprovalExpiry) {",
    from: "now >= book.nextApprovalExpiry",
    to: "true",
    because: "A shorter way to the same answer: before that instant none has run out, and the next to do so is the same.",
  },
  {
    file: "src/core/trail.ts",
    line: "if (before !== undefined) return before;",
    from: "before !== undefined",
    to: "false",
    because: "A memory: nothing changes while one request is judged.",
  },
  {
    file: "src/core/trail.ts",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of a line in which the placeholder stands.
    line: 'if (seen.value !== undefined) values.add(typeof seen.value === "string" ? `"${seen.value}` : canonicalJson(seen.value));',
    from: 'typeof seen.value === "string"',
    to: "false",
    because: "A shorter way to tell values apart: no other value's canonical form begins with a quotation mark.",
  },
  {
    file: "src/core/policy/patterns.ts",
    line: "if (!isGlob(pattern)) {",
    from: "!isGlob(pattern)",
    to: "false",
    because: "A shorter way to the same answer: what has no star names what it matches, which is itself.",
  },
  {
    file: "src/core/policy/patterns.ts",
    line: "if (!isGlob(pattern)) {",
    from: "{\n        this.#exact.set(pattern, value);\n        continue;\n      }",
    to: "{}",
    because: "A shorter way to the same answer: what has no star names what it matches, which is itself.",
  },
  {
    file: "src/core/policy/authored.ts",
    line: "return rough > most ? rough : canonicalJson(value).length;",
    from: "rough > most",
    to: "false",
    because: "A shorter way to the same answer: the first look finds at most as many characters as there are.",
  },
  {
    file: "src/core/policy/arguments.ts",
    line: "const isWatched = node.unevaluatedProperties !== undefined || node.unevaluatedItems !== undefined;",
    from: "node.unevaluatedProperties !== undefined || node.unevaluatedItems !== undefined",
    to: "true",
    because: "A shorter way to the same answer: without either keyword nothing is left to be looked at.",
  },
  {
    file: "src/core/trail.ts",
    line: "alike.inOrder &&= until >= (alike.until.at(-1) ?? until);",
    from: "until >= (alike.until.at(-1) ?? until)",
    to: "until > (alike.until.at(-1) ?? until)",
    because: "A shorter way to the same answer: what is not in order is looked through one by one.",
  },
  {
    file: "src/core/policy/merge.ts",
    line: "const least = <K extends string>(a: K, b: K): K => (KEPT.indexOf(a) <= KEPT.indexOf(b) ? a : b);",
    from: "KEPT.indexOf(a) <= KEPT.indexOf(b)",
    to: "KEPT.indexOf(a) < KEPT.indexOf(b)",
    because: "Of two that keep alike, either keeps the least.",
  },
  {
    file: "src/core/policy/expression_build.ts",
    line: "if (error instanceof Refused) return { message: error.message, offset: error.at };",
    from: "error instanceof Refused",
    to: "true",
    because: "Nothing else is thrown there, unless this code is wrong.",
  },
  {
    file: "src/core/policy/expression_values.ts",
    line: "if (a instanceof TypeName || b instanceof TypeName || b instanceof Timestamp || b instanceof Duration) return false;",
    from: "a instanceof TypeName || b instanceof TypeName || b instanceof Timestamp || b instanceof Duration",
    to: "false",
    because: "A shorter way to the same answer: none of these has members to compare, and then nothing is equal.",
  },
  {
    file: "src/core/policy/expression_values.ts",
    line: "if (a === b) return 0;",
    from: "a === b",
    to: "false",
    because: "A shorter way to the same answer: looked through to their ends, equal texts differ nowhere and in no length.",
  },
];
