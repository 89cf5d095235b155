// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are texts of lines in which placeholders stand.

import type { Argued } from "./argued.ts";

/** As in `argued.ts`, of conditions and of simulations: several mutants of one file for one reason: by line, what stood there and what stands there now. */
interface Reason {
  readonly file: string;
  readonly because: string;
  readonly mutants: readonly (readonly [line: string, ...changes: (readonly [from: string, to: string])[]])[];
}

const REASONS: readonly Reason[] = [
  {
    file: "src/core/policy/expression_build.ts",
    because: "The list of macros is only asked whether it is empty; a list of values for variables that nobody binds is not looked at.",
    mutants: [["const scope: Scope = { locals: [], history: [], macros: [], regexes: [] };", ["[]", '["Stryker was here"]']]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because:
      "With one list for all evaluations, or with one more than is needed, the answers are the same: a variable is bound before it is looked at.",
    mutants: [
      [
        "return { piece, usesLocals: scope.macros.length > 0, history: scope.history, instructions };",
        ["scope.macros.length > 0", "true"],
        ["scope.macros.length > 0", "false"],
        ["scope.macros.length > 0", "scope.macros.length >= 0"],
        ["scope.macros.length > 0", "scope.macros.length <= 0"],
      ],
      ["scope.macros.push(name);", ["scope.macros.push(name);", ";"]],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "The parser knows no optional access, and refuses the text before.",
    mutants: [
      ['case ".?":', ['".?"', '""']],
      [
        'case "[?]":',
        ['case "[?]":\n      throw new Refused(node, "optional access is not available: use has(…)");', 'case "[?]":'],
        ['"[?]"', '""'],
      ],
      ['throw new Refused(node, "optional access is not available: use has(…)");', ['"optional access is not available: use has(…)"', '""']],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "A way that begins with what is no name is no type's name, whatever stands for its beginning.",
    mutants: [
      [
        'const dotted = (node: ASTNode): string => (node.op === "id" ? node.args : node.op === "." ? `${dotted(node.args[0])}.${node.args[1]}` : "");',
        ['""', '"Stryker was here!"'],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "Only a name of a variable is asked for: the check lets nobody ask a literal text for a member.",
    mutants: [
      [
        'const isVariable = (node: ASTNode, name: string, scope: Scope): boolean => node.op === "id" && node.args === name && !scope.locals.includes(name);',
        ['node.op === "id"', "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "Nothing but a literal number is that number.",
    mutants: [['if (of.op === "value" && of.args === 9223372036854775808n) return () => -9223372036854775808n;', ['of.op === "value"', "true"]]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "What is no number has no difference from 0 either: it is a fault both ways.",
    mutants: [['return typeof value === "bigint" ? arithmetic("-", 0n, value, frame) : FAULT;', ['typeof value === "bigint"', "true"]]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "A shorter way to the same answer: what is a fault has no members to ask for.",
    mutants: [["if (value === FAULT || collection === FAULT) return FAULT;", ["collection === FAULT", "false"]]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "A fault is never a key.",
    mutants: [["if (collection instanceof Map) return key !== FAULT && collection.has(key);", ["key !== FAULT", "true"]]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "It only asks whether the collection has members at all, whatever their names.",
    mutants: [
      [
        'return typeof key === "string" ? hasMember(collection, key) : hasMember(collection, "") === FAULT ? FAULT : false;',
        ['""', '"Stryker was here!"'],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "The check of types refuses has, matches and the macros with too few arguments.",
    mutants: [
      ['if (name === "has" && first !== undefined) return has(first, scope);', ["first !== undefined", "true"]],
      [
        "if (first !== undefined && second !== undefined && MACROS.has(name)) return macro(node, name, receiver, [first, second, third], scope);",
        ["first !== undefined && second !== undefined", "true"],
        ["first !== undefined && second !== undefined", "first !== undefined || second !== undefined"],
        ["first !== undefined", "true"],
        ["second !== undefined", "true"],
      ],
      ['if (name === "matches" && first !== undefined) return matches(receiver, first, scope);', ["first !== undefined", "true"]],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "The check of types refuses has(…) of what is no member.",
    mutants: [
      [
        'if (of.op !== ".") throw new Refused(of, "has(…) asks for a member, such as has(inputs.order_id)");',
        ['of.op !== "."', "false"],
        ['"has(…) asks for a member, such as has(inputs.order_id)"', '""'],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "What begins neither with inputs nor with outputs hides neither.",
    mutants: [
      [
        "const looked = reads.history.flatMap((look) => (look.windowMs === null && look.pattern === pattern && look.path !== null ? [look.path] : []));",
        ["[]", '["Stryker was here"]'],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "A shorter way to the same answer: what is not given is null.",
    mutants: [["if (args.length === 1) return (frame) => compute(frame, of(frame), null, null);", ["args.length === 1", "false"]]],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "What a regular expression remembers costs memory and changes no answer.",
    mutants: [
      ["seen += text.length;", ["seen += text.length", "seen -= text.length"]],
      [
        "if (seen > CHARACTERS_TO_FORGET) {",
        ["seen > CHARACTERS_TO_FORGET", "true"],
        ["seen > CHARACTERS_TO_FORGET", "false"],
        ["seen > CHARACTERS_TO_FORGET", "seen >= CHARACTERS_TO_FORGET"],
        ["seen > CHARACTERS_TO_FORGET", "seen <= CHARACTERS_TO_FORGET"],
        ["{\n      regex.reset();\n      seen = 0;\n    }", "{}"],
      ],
      ["regex.reset();", ["regex.reset();", ";"]],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "No zone is named by what is no text.",
    mutants: [
      ['const zone = node.op === "value" && typeof node.args === "string" ? zoneOf(node.args) : null;', ['typeof node.args === "string"', "true"]],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "The check of types refuses a macro whose variable is no name.",
    mutants: [
      [
        'if (variableNode.op !== "id") throw new Refused(variableNode, `the first argument of ${name} is the name of a variable`);',
        ['variableNode.op !== "id"', "false"],
        ["`the first argument of ${name} is the name of a variable`", "``"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_build.ts",
    because: "The check of types refuses a macro other than map with three arguments.",
    mutants: [
      [
        'if ((third === undefined) !== (name !== "map") && third !== undefined) throw new Refused(node, `${name} has two arguments`);',
        ['(third === undefined) !== (name !== "map") && third !== undefined', "false"],
        ["third === undefined", "false"],
        ['name !== "map"', "false"],
        ["`${name} has two arguments`", "``"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "A text that was found to be of good type has a type.",
    mutants: [['const type = checked.type ?? "dyn";', ['"dyn"', '""']]],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "The parser says no by a sentence of its own long before its stack ends; nothing else is thrown there, unless this code is wrong.",
    mutants: [
      ["if (error instanceof ParseError) return err(faultOf(error, kind));", ["error instanceof ParseError", "true"]],
      [
        "if (error instanceof RangeError) return err({ message: `an expression is nested at most ${MOST_DEPTH} deep`, offset: null });",
        ["error instanceof RangeError", "true"],
        ["error instanceof RangeError", "false"],
        ["{ message: `an expression is nested at most ${MOST_DEPTH} deep`, offset: null }", "{}"],
        ["`an expression is nested at most ${MOST_DEPTH} deep`", "``"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "Only types are looked at there: what is registered is never called.",
    mutants: [
      ["const never = (): never => {", ['{\n    throw new TypeError("types only");\n  }', "{}"]],
      ['throw new TypeError("types only");', ['"types only"', '""']],
    ],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "What the library says of a text says where.",
    mutants: [["return { message: messageOf(error, kind), offset: error.range?.start ?? null };", ["error.range?.start", "error.range.start"]]],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "The library says of these two faults at which name or call they are.",
    mutants: [
      [
        'if (error.code === "unknown_variable" && node?.op === "id") return unknownVariable(String(node.args), kind);',
        ['node?.op === "id"', "true"],
        ["node?.op", "node.op"],
      ],
      [
        'if (error.code === "no_matching_overload" && (node?.op === "call" || node?.op === "rcall") && Array.isArray(node.args)) {',
        ['node?.op === "call" || node?.op === "rcall"', "true"],
        ["node?.op", "node.op"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "There is always a name that is nearest.",
    mutants: [
      [
        'return near !== undefined && near.apart <= (name.length < 4 ? 1 : Math.max(2, Math.floor(name.length / 3))) ? `, did you mean ${near.other}?` : "";',
        ["near !== undefined", "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_check.ts",
    because: "The library's sentences have single blanks.",
    mutants: [
      [
        'const plain = (summary: string): string => TOKENS.reduce((text, [token, word]) => text.replace(token, word), summary.replace(/\\s+/g, " "));',
        ["/\\s+/g", "/\\s/g"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_functions.ts",
    because: "Every text has a size.",
    mutants: [["if (size === FAULT || first === FAULT || last === FAULT || first > last || last > size) return FAULT;", ["size === FAULT", "false"]]],
  },
  {
    file: "src/core/policy/expression_functions.ts",
    because: "Only a number is a whole number: it is asked for the compiler.",
    mutants: [['return typeof at === "number" && Number.isInteger(at) && at >= 0 ? at : FAULT;', ['typeof at === "number"', "true"]]],
  },
  {
    file: "src/core/policy/expression_functions.ts",
    because: "None of these words is anything but a text.",
    mutants: [['if (typeof of !== "string") return FAULT;', ['typeof of !== "string"', "false"]]],
  },
  {
    file: "src/core/policy/expression_functions.ts",
    because: "The runtime reads a whole number with its plus sign, too.",
    mutants: [['if (typeof of === "string") return /^[+-]?\\d{1,19}$/.test(of) ? intOf(BigInt(of.replace("+", ""))) : FAULT;', ['"+"', '""']]],
  },
  {
    file: "src/core/policy/expression_functions.ts",
    because: "Of what is neither finite nor NaN, nothing is 0.",
    mutants: [
      [
        'if (typeof of === "number") return Object.is(of, -0) ? "-0" : Number.isFinite(of) || Number.isNaN(of) ? String(of) : of > 0 ? "+Inf" : "-Inf";',
        ["of > 0", "of >= 0"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_history.ts",
    because: "The check of types refuses a history function with other arguments before.",
    mutants: [
      ["const pattern = first === undefined ? null : literal(first);", ["first === undefined", "false"]],
      [
        'if (first === undefined || typeof pattern !== "string" || !PATTERN.test(pattern) || pattern.split("*").length - 1 > MOST_STARS) {',
        ['first === undefined || typeof pattern !== "string"', "false"],
        ['first === undefined || typeof pattern !== "string"', 'first === undefined && typeof pattern !== "string"'],
        ["first === undefined", "false"],
        ['typeof pattern !== "string"', "false"],
      ],
      [
        'if (seconds === undefined || rest.length !== (path === undefined ? 1 : 2) || (name === "count") !== (path === undefined && name !== "sum")) {',
        [
          'seconds === undefined || rest.length !== (path === undefined ? 1 : 2) || (name === "count") !== (path === undefined && name !== "sum")',
          "false",
        ],
        [
          'seconds === undefined || rest.length !== (path === undefined ? 1 : 2) || (name === "count") !== (path === undefined && name !== "sum")',
          '(seconds === undefined || rest.length !== (path === undefined ? 1 : 2)) && name === "count" !== (path === undefined && name !== "sum")',
        ],
        ["seconds === undefined || rest.length !== (path === undefined ? 1 : 2)", "false"],
        [
          "seconds === undefined || rest.length !== (path === undefined ? 1 : 2)",
          "seconds === undefined && rest.length !== (path === undefined ? 1 : 2)",
        ],
        ["seconds === undefined", "false"],
        ["rest.length !== (path === undefined ? 1 : 2)", "false"],
        ['(name === "count") !== (path === undefined && name !== "sum")', "false"],
        ["{\n    return wrong(first, `wanted ${wanted}`);\n  }", "{}"],
      ],
      ["return wrong(first, `wanted ${wanted}`);", ["`wanted ${wanted}`", "``"]],
      ["return isRequested && more.length === 0", ["more.length === 0", "true"]],
      [
        'if (typeof seconds !== "number" && typeof seconds !== "bigint") return null;',
        ['typeof seconds !== "number" && typeof seconds !== "bigint"', "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_history.ts",
    because: "What is no literal was refused before.",
    mutants: [['const literal = (node: ASTNode): unknown => (node.op === "value" ? node.args : undefined);', ['node.op === "value"', "true"]]],
  },
  {
    file: "src/core/policy/expression_history.ts",
    because: "The check of types refuses a history function without arguments.",
    mutants: [
      [
        "const wrong = (node: ASTNode | undefined, message: string): Result<never, Misplaced> => err({ message, offset: node?.start ?? 0 });",
        ["node?.start", "node.start"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "What is not named is not among what a request states.",
    mutants: [
      [
        'subject: of("subject").some(([attribute]) => attribute === undefined || !STATED_OF_SUBJECT.has(attribute)),',
        ["attribute === undefined", "false"],
      ],
      [
        'resource: of("resource").some(([attribute]) => attribute === undefined || !STATED_OF_RESOURCE.has(attribute)),',
        ["attribute === undefined", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "Nothing but such a call binds a name: it is asked for the compiler.",
    mutants: [['if (node.op === "rcall" && bound?.op === "id") {', ['node.op === "rcall"', "true"]]],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "A name that is bound is not looked at.",
    mutants: [["for (const part of node.args[2].slice(1)) walk(part, inner, ways, history);", ["node.args[2].slice(1)", "node.args[2]"]]],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "A shorter way to the same answer: what does not begin with last is none either way.",
    mutants: [["else if (newestOf(of) !== null) return null;", ["newestOf(of) !== null", "true"]]],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "What is no look back was refused before.",
    mutants: [["if (!read.ok) return null;", ["!read.ok", "false"]]],
  },
  {
    file: "src/core/policy/expression_reads.ts",
    because: "A shorter way to the same answer: without a literal name there is no way.",
    mutants: [['const way = typeof name === "string" ? wayOf(of, shadowed) : null;', ['typeof name === "string"', "true"]]],
  },
  {
    file: "src/core/policy/expression_regex.ts",
    because: "Nothing else is thrown there, unless this code is wrong.",
    mutants: [["if (!(error instanceof RE2JSSyntaxException)) throw error;", ["!(error instanceof RE2JSSyntaxException)", "false"]]],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "A shorter way to the same answer: no date-time is as long.",
    mutants: [
      ["const parts = text.length > 40 ? null : RFC_3339.exec(text);", ["text.length > 40", "false"], ["text.length > 40", "text.length >= 40"]],
    ],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "A shorter way to the same answer: what is no number of milliseconds is no instant either.",
    mutants: [
      ["const at = parts === null ? Number.NaN : Date.parse(text);", ["parts === null", "false"]],
      [
        "if (parts === null || Number.isNaN(at)) return FAULT;",
        ["parts === null || Number.isNaN(at)", "parts === null && Number.isNaN(at)"],
        ["parts === null", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "The leap years before 2000 lie as those after it.",
    mutants: [
      [
        "const daysOfMonth = new Date(Date.UTC(2000 + (Number(parts[1]) % 400), Number(parts[2]), 0)).getUTCDate();",
        ["2000 + (Number(parts[1]) % 400)", "2000 - Number(parts[1]) % 400"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "A part of a span always has its unit.",
    mutants: [
      [
        'for (const [, amount, unit] of text.matchAll(PART)) ms += Number(amount) * (UNIT_MS[unit ?? ""] ?? Number.NaN);',
        ['""', '"Stryker was here!"'],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "There is one Z, and it is the last character.",
    mutants: [
      [
        'export const textOfTimestamp = (at: Timestamp): string => new Date(at.ms).toISOString().replace(/\\.?0{1,3}Z$/, "Z");',
        ["/\\.?0{1,3}Z$/", "/\\.?0{1,3}Z/"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_tree.ts",
    because: "The parser knows no optional access, and refuses the text before.",
    mutants: [['case ".?":', ['".?"', '""']]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A shorter way to the same answer: a fault is no list and no mapping, and neither an index nor a name.",
    mutants: [
      [
        "if (value === FAULT || key === FAULT) return FAULT;",
        ["value === FAULT || key === FAULT", "false"],
        ["value === FAULT || key === FAULT", "value === FAULT && key === FAULT"],
        ["value === FAULT", "false"],
        ["key === FAULT", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "Only a number is a whole number: it is asked for the compiler.",
    mutants: [['if (typeof at !== "number" || !Number.isInteger(at) || at < 0) return FAULT;', ['typeof at !== "number"', "false"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A fault is never a key.",
    mutants: [["const found = known === FAULT ? undefined : value.get(known);", ["known === FAULT", "false"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A shorter way to the same answer: what is no object has no members, by the lines below.",
    mutants: [['if (typeof value !== "object" || value === null || Array.isArray(value)) return FAULT;', ['typeof value !== "object"', "false"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "Only a number is a safe integer: it is asked for the compiler.",
    mutants: [['return typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : FAULT;', ['typeof value === "number"', "true"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because:
      "Two texts are told apart by their length and their characters; one text beside another value costs nothing and is unequal by the lines below.",
    mutants: [
      [
        'if (typeof a === "string" || typeof b === "string") {',
        ['typeof a === "string" || typeof b === "string"', 'typeof a === "string" && typeof b === "string"'],
        ['typeof a === "string"', "false"],
        ['"string"', '""'],
        ['typeof b === "string"', "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A number is equal to nothing but a number, by the comparison that follows.",
    mutants: [
      ['if (typeof a === "number" && typeof b === "bigint") return a === Number(b) && BigInt(a) === b;', ['typeof a === "number"', "true"]],
      ['if (typeof a === "bigint" && typeof b === "number") return b === Number(a) && BigInt(b) === a;', ['typeof b === "number"', "true"]],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A shorter way to the same answer: what is no object has no members to compare.",
    mutants: [
      [
        'if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;',
        ['typeof a !== "object"', "false"],
        ["a === null", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "What has no keys to list has no size that another could have.",
    mutants: [["if (keys === FAULT || sizeOf(b, purse) !== keys.length) return false;", ["keys === FAULT", "false"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "What could not be paid for is worth nothing, whatever it says.",
    mutants: [["if (--purse.steps < 0) return false;", ["false", "true"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A member that was listed is there: only one that is undefined is not, which no JSON holds.",
    mutants: [
      [
        "if (mine === FAULT || theirs === FAULT || !areEqual(mine, theirs, purse)) return false;",
        ["mine === FAULT || theirs === FAULT", "false"],
        ["mine === FAULT || theirs === FAULT", "mine === FAULT && theirs === FAULT"],
        ["mine === FAULT", "false"],
        ["theirs === FAULT", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "A shorter way to the same answer: a list's keys are the list.",
    mutants: [["if (Array.isArray(value)) return value.length;", ["Array.isArray(value)", "false"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "Pairs that are not there are not counted.",
    mutants: [
      [
        "if (!/[\\ud800-\\udbff]/.test(value) || !spend(purse, value.length >> 1)) return value.length;",
        ["!/[\\ud800-\\udbff]/.test(value) || !spend(purse, value.length >> 1)", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "Beyond its end a text has no character that is half of a pair.",
    mutants: [["for (let i = 1; i < value.length; i++) if (isPair(value, i)) pairs++;", ["i < value.length", "i <= value.length"]]],
  },
  {
    file: "src/core/policy/expression_values.ts",
    because: "Beyond the end of the shorter one nothing is equal.",
    mutants: [["while (at < length && a.charCodeAt(at) === b.charCodeAt(at)) at++;", ["at < length", "true"], ["at < length", "at <= length"]]],
  },
  {
    file: "src/core/policy/arguments.ts",
    because: "A shorter way to the same answer: where nobody asks what was looked at, it is noted for nobody.",
    mutants: [["const own = seen === null ? null : unseen();", ["seen === null", "false"]]],
  },
  {
    file: "src/core/policy/arguments_formats.ts",
    because: "Where the brackets are, there is what they enclose.",
    mutants: [
      [
        'if (literal !== null) return isIpv6(literal[1] ?? "") || /^[Vv][0-9A-Fa-f]+\\.[A-Za-z0-9._~!$&\'()*+,;=:-]+$/.test(literal[1] ?? "");',
        ['""', '"Stryker was here!"'],
      ],
    ],
  },
  {
    file: "src/core/policy/arguments_patterns.ts",
    because: "A property's letter stands before its name.",
    mutants: [
      [
        "if (letter !== undefined && property !== undefined) return `\\\\${letter}{${CATEGORIES.get(property) ?? property}}`;",
        ["property !== undefined", "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/document.ts",
    because: "No two of them are equal.",
    mutants: [
      [
        "const distinct = [...new Map(lists.map((list) => [JSON.stringify(sortedSet(list)), new Set(list)])).entries()].sort(([a], [b]) => (a < b ? -1 : 1));",
        ["a < b", "a <= b"],
      ],
    ],
  },
  {
    file: "src/core/policy/evaluate.ts",
    because: "What permits does not stand among the rules.",
    mutants: [['if (said === false || rule.effect === "permit") continue;', ['rule.effect === "permit"', "false"]]],
  },
  {
    file: "src/core/policy/expression_times.ts",
    because: "The runtime reads no date-time with anything after it.",
    mutants: [
      [
        "const RFC_3339 = /^(\\d{4})-(\\d{2})-(\\d{2})T(\\d{2}):(\\d{2}):(\\d{2})(?:\\.\\d{1,9})?(?:Z|[+-](\\d{2}):(\\d{2}))$/;",
        [
          "/^(\\d{4})-(\\d{2})-(\\d{2})T(\\d{2}):(\\d{2}):(\\d{2})(?:\\.\\d{1,9})?(?:Z|[+-](\\d{2}):(\\d{2}))$/",
          "/^(\\d{4})-(\\d{2})-(\\d{2})T(\\d{2}):(\\d{2}):(\\d{2})(?:\\.\\d{1,9})?(?:Z|[+-](\\d{2}):(\\d{2}))/",
        ],
      ],
    ],
  },
  {
    file: "src/core/policy/arguments_schema.ts",
    because: "What is a safe integer is a number.",
    mutants: [
      [
        'return wants(Number.isSafeInteger(value) && typeof value === "number" && value >= 0, "a whole number that is not negative");',
        ['typeof value === "number"', "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/compile.ts",
    because: "No call is, with what it returned, what is asked.",
    mutants: [["same: (same ?? []).map((text) => parsePath(text) ?? [text]),", ["[text]", "[]"]]],
  },
  {
    file: "src/core/policy/parse.ts",
    because: "A shorter way to the same answer: what is so long is near to no member.",
    mutants: [
      [
        "const meant = key.length <= 64 ? closest(key.toLowerCase(), members) : null;",
        ["key.length <= 64", "true"],
        ["key.length <= 64", "key.length < 64"],
      ],
    ],
  },
  {
    file: "src/core/policy/parse.ts",
    because: "What is wrong with a value is told at a place that the value has.",
    mutants: [
      [
        'return path.reduce((value: unknown, step) => (typeof value === "object" && value !== null ? Reflect.get(value, step) : undefined), root);',
        ['typeof value === "object"', "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/play.ts",
    because: "What is told twice is told with the same fingerprint, whichever that is.",
    mutants: [
      ['return this.#turn(now, (turn) => commit(turn, this.record(id), this.#stage.principal, report, ""));', ['""', '"Stryker was here!"']],
      ['return this.#turn(now, (turn) => release(turn, this.record(id), this.#stage.principal, null, ""));', ['""', '"Stryker was here!"']],
    ],
  },
  {
    file: "src/core/policy/text.ts",
    because: "Nobody knows a text at which the library throws: this is for the one that somebody will find.",
    mutants: [
      [
        'return err([{ pointer: "", message: `the text cannot be read: ${error instanceof Error ? error.message.slice(0, 200) : "unknown fault"}` }]);',
        ["error.message.slice(0, 200)", "error.message"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "Only a decision has a step.",
    mutants: [
      [
        'const isRequest = kind === "decision" && step === "decide";',
        ['kind === "decision" && step === "decide"', "true"],
        ['kind === "decision"', "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What stands after these decides nothing either.",
    mutants: [
      ['case "session":', ['"session"', '""']],
      ['case "approval":', ['"approval"', '""']],
      ['case "intervention":', ['"intervention"', '""']],
      ['case "policy":', ['"policy"', '""']],
      ['case "lease":', ['"lease"', '""']],
      ['case "token":', ['"token"', '""']],
      ['case "ingest":', ['"ingest"', '""'], ['case "ingest":\n        return;', 'case "ingest":']],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "Only a denial has such a reason, and every denial has a reason.",
    mutants: [
      [
        'const beyond = verdict === "deny" && reason !== null && (BEYOND_POLICY.has(reason) || isOfOthers(recorded.entry)) ? reason : null;',
        ['verdict === "deny" && reason !== null && (BEYOND_POLICY.has(reason) || isOfOthers(recorded.entry))', "true"],
        ['verdict === "deny" && reason !== null', "true"],
        ['verdict === "deny" && reason !== null', 'verdict === "deny" || reason !== null'],
        ['verdict === "deny"', "true"],
        ["reason !== null", "true"],
      ],
      [
        'if (entry.verdict === "deny" && entry.reason !== null && BEYOND_POLICY.has(entry.reason)) {',
        ['entry.verdict === "deny" && entry.reason !== null && BEYOND_POLICY.has(entry.reason)', "true"],
        ['entry.verdict === "deny" && entry.reason !== null', "true"],
        ['entry.verdict === "deny" && entry.reason !== null', 'entry.verdict === "deny" || entry.reason !== null'],
        ['entry.verdict === "deny"', "true"],
        ["entry.reason !== null", "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What was allowed has its matter while it runs.",
    mutants: [
      [
        "this.#pastHidden ||= (this.#play.record(id).matter?.keepOutputs.length ?? 0) > 0;",
        ["this.#play.record(id).matter?.keepOutputs", "this.#play.record(id).matter.keepOutputs"],
      ],
      [
        "const kept = this.#play.record(decision).matter?.keepOutputs ?? [];",
        ["this.#play.record(decision).matter?.keepOutputs", "this.#play.record(decision).matter.keepOutputs"],
        ["[]", '["Stryker was here"]'],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "A larger sum was asked on record of what ran there; here it runs, too, or was never begun.",
    mutants: [
      [
        'if (running === null || running.state !== "pending" || running.matter === null || running.reservation === null) {',
        ['running.state !== "pending"', "false"],
        ["running.matter === null", "false"],
        ["running.reservation === null", "false"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What is played next passes the time first.",
    mutants: [["this.#play.pass(at);", ["this.#play.pass(at);", ";"]]],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "An extension says of which decision and until when.",
    mutants: [
      [
        "if (decision !== null && expiresAt !== null && this.#play.has(decision)) this.#play.extend(decision, Math.max(1, expiresAt - at), at);",
        ["decision !== null && expiresAt !== null", "true"],
        ["expiresAt !== null", "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What became of an action says of which decision.",
    mutants: [["if (decision === null) return;", ["decision === null", "false"]]],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "A report says its outcome.",
    mutants: [
      [
        'this.#play.commit(decision, { costMicroUsd, outcome: outcome ?? "success", durationMs: duration_ms, outputs, error, usage }, at);',
        ['"success"', '""'],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "No instant is before none.",
    mutants: [
      ["return this.#from === null || at >= this.#from;", ["this.#from === null || at >= this.#from", "false"], ["this.#from === null", "false"]],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What differs from its record has a reason there.",
    mutants: [
      [
        'const why = verdict === "allow" ? { reason: entry.reason ?? "permitted", rule: entry.rule } : { reason: reason.code, rule: reason.rule };',
        ['"permitted"', '""'],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "Only what ran is settled, and what ran is a decision.",
    mutants: [
      [
        "if (ran && recorded.decision !== null) this.#open.set(recorded.decision, change);",
        ["ran && recorded.decision !== null", "true"],
        ["ran && recorded.decision !== null", "ran || recorded.decision !== null"],
        ["recorded.decision !== null", "true"],
      ],
    ],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "A decision has an action.",
    mutants: [['const looks = looksOf(this.#policy.ofAction(entry.action ?? ""));', ['""', '"Stryker was here!"']]],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "What is not there bears no mark.",
    mutants: [
      ['const told = [entry.rationale ?? "", ...entry.sources.map(({ source }) => source)].some(isMarked);', ['""', '"Stryker was here!"']],
      [
        'inputs.some(isHidden) || (past && this.#pastHidden) || (context && told) || (resource && isMarked(entry.resource?.id ?? "")),',
        ['""', '"Stryker was here!"'],
      ],
      ['if (root === "resource") return isMarked(entry.resource?.id ?? "");', ['""', '"Stryker was here!"']],
    ],
  },
  {
    file: "src/core/policy/arguments_patterns.ts",
    because: "Both halves of a pair are of one part of the expression: where the first is found, the second is.",
    mutants: [
      [
        "if (high !== undefined && low !== undefined) {",
        ["high !== undefined", "true"],
        ["low !== undefined", "true"],
        ["high !== undefined && low !== undefined", "high !== undefined || low !== undefined"],
      ],
    ],
  },
  {
    file: "src/core/policy/arguments_schema.ts",
    because: "Whoever goes through what was found passes over what is no object, and a text is none.",
    mutants: [["const found: Found[] = [];", ["[]", '["Stryker was here"]']]],
  },
  {
    file: "src/core/policy/arguments_schema.ts",
    because: "A list of texts includes nothing else.",
    mutants: [
      [
        'return wants(typeof value === "string" && FORMATS.includes(value), `one of ${FORMATS.join(", ")}, which are those that are checked`);',
        ['typeof value === "string"', "true"],
      ],
      ['.filter((type) => typeof type !== "string" || !TYPES.includes(type))', ['typeof type !== "string"', "false"]],
    ],
  },
  {
    file: "src/core/policy/arguments_schema.ts",
    because: "A shorter way to the same answer: a schema that is no object is true or false, in which no other stands.",
    mutants: [["if (!isObject(schema)) return 1;", ["!isObject(schema)", "false"]]],
  },
  {
    file: "src/core/policy/arguments_formats.ts",
    because:
      "That expression finds something in every text, if only nothing; and what stands for no authority is asked only whether it could be one.",
    mutants: [['const authority = rest.startsWith("//") ? (/^[^/?]*/.exec(rest.slice(2))?.[0] ?? "") : "";', ['""', '"Stryker was here!"']]],
  },
  {
    file: "src/core/policy/document.ts",
    because: "Only a number is more than 1: it is asked for the compiler.",
    mutants: [
      ["...(approvals.quorum !== undefined && approvals.quorum > 1 && { quorum: approvals.quorum }),", ["approvals.quorum !== undefined", "true"]],
    ],
  },
  {
    file: "src/core/policy/document.ts",
    because: "What it puts in order are texts of which no two are equal.",
    mutants: [["const byCodeUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);", ["a < b", "a <= b"]]],
  },
  {
    file: "src/core/policy/simulate.ts",
    because: "Inputs are asked for where only their digest was sent, and then none are kept in which a place could be looked for.",
    mutants: [
      ['const isUnshown = judgement.reason.code === "inputs_required" && this.#isHidden(recorded, "inputs", []);', ["[]", '["Stryker was here"]']],
    ],
  },
  {
    file: "src/core/policy/text.ts",
    because: "It only spares the exact count, which is never above this one.",
    mutants: [
      [
        "if ((source.match(/,|-(?!\\S)/g)?.length ?? 0) <= MOST_NODES) return false;",
        ["(source.match(/,|-(?!\\S)/g)?.length ?? 0) <= MOST_NODES", "false"],
        ["(source.match(/,|-(?!\\S)/g)?.length ?? 0) <= MOST_NODES", "(source.match(/,|-(?!\\S)/g)?.length ?? 0) < MOST_NODES"],
      ],
    ],
  },
  {
    file: "src/core/policy/text.ts",
    because: "Where the engine shows a part of the text, these are the last words of its sentence, and the longest match ends with the last.",
    mutants: [
      [
        'const plain = message.replace(/ in JSON at position .*$|, (?:"|\\.\\.\\.).* is not valid JSON$/s, "").slice(0, 200);',
        ['/ in JSON at position .*$|, (?:"|\\.\\.\\.).* is not valid JSON$/s', '/ in JSON at position .*$|, (?:"|\\.\\.\\.).* is not valid JSON/s'],
      ],
    ],
  },
  {
    file: "src/core/policy/text.ts",
    because: "What is split has a first part, always.",
    mutants: [['const [mantissa = "", exponent = "0"] = decimal.replace(/^-/, "").toLowerCase().split("e");', ['""', '"Stryker was here!"']]],
  },
];

export const ARGUED_OF_POLICIES: readonly Argued[] = REASONS.flatMap(({ file, because, mutants }) =>
  mutants.flatMap(([line, ...changes]) => changes.map(([from, to]) => ({ file, line, from, to, because }))),
);
