import { type ASTNode, Environment, ParseError, TypeError as TypeFault } from "@marcbachmann/cel-js";
import { distance } from "fastest-levenshtein";
import { err, ok, type Result } from "../result.ts";
import { FUNCTIONS, METHODS } from "./expression_functions.ts";
import { HISTORY } from "./expression_history.ts";
import { measure } from "./expression_tree.ts";

/** `where` stands in `requires`: it knows `prior`, and no history functions. `rule` is every other condition. */
export type ExpressionKind = "rule" | "where";

/** Why a text is no expression. `offset`: where in the text, in UTF-16 units, if that can be said. */
export interface ExpressionFault {
  readonly message: string;
  readonly offset: number | null;
}

const MOST_CHARACTERS = 4096;
const MOST_NODES = 2000;
const MOST_DEPTH = 250;

/** Parses a text and checks its types: the names in it are known, every operator and function fits what it is given, and the whole is true or false. */
export function check(text: string, kind: ExpressionKind): Result<ASTNode, ExpressionFault> {
  if (text.length > MOST_CHARACTERS)
    return err({ message: `an expression has at most ${MOST_CHARACTERS} characters, found ${text.length}`, offset: null });
  if (text.trim() === "") return err({ message: "an expression is wanted, found nothing", offset: 0 });
  try {
    const parsed = environments[kind].parse(text);
    const { nodes, depth } = measure(parsed.ast);
    if (nodes > MOST_NODES || depth > MOST_DEPTH) {
      return err({ message: `an expression has at most ${MOST_NODES} parts and is nested at most ${MOST_DEPTH} deep`, offset: null });
    }
    const checked = parsed.check();
    if (!checked.valid) return err(faultOf(checked.error, kind));
    const type = checked.type ?? "dyn";
    if (type !== "bool" && !type.startsWith("dyn"))
      return err({ message: `an expression is true or false (bool), found ${nameOf(type)}`, offset: 0 });
    return ok(parsed.ast);
  } catch (error) {
    if (error instanceof ParseError) return err(faultOf(error, kind));
    // The parser recurses: what is nested beyond its stack is beyond any bound too.
    if (error instanceof RangeError) return err({ message: `an expression is nested at most ${MOST_DEPTH} deep`, offset: null });
    throw error;
  }
}

const NUMBERS = ["int", "double"] as const;

const environments: { readonly [kind in ExpressionKind]: Environment } = { rule: environmentOf("rule"), where: environmentOf("where") };

function environmentOf(kind: ExpressionKind): Environment {
  const environment = new Environment({ homogeneousAggregateLiterals: false, limits: { maxDepth: 100 } })
    .registerVariable("subject", "map<string, dyn>")
    .registerVariable("action", "string")
    .registerVariable("resource", "map<string, dyn>")
    .registerVariable("inputs", "dyn")
    .registerVariable("tags", "list<string>")
    .registerVariable("estimate_usd", "double")
    .registerVariable("context", "map<string, dyn>")
    .registerVariable("now", "google.protobuf.Timestamp");
  // Only types are looked at here: nothing that is registered is ever called.
  const never = (): never => {
    throw new TypeError("types only");
  };
  // JSON has one kind of number, a double, and authors write whole numbers beside it.
  for (const op of ["+", "-", "*", "/"]) {
    environment.registerOperator(`int ${op} double: double`, never).registerOperator(`double ${op} int: double`, never);
  }
  environment.registerOperator("double % double: double", never);
  environment.registerOperator("int % double: double", never).registerOperator("double % int: double", never);
  environment.registerOperator("int == double: bool", never);
  environment
    .registerFunction("string(google.protobuf.Timestamp): string", never)
    .registerFunction("string(google.protobuf.Duration): string", never)
    .registerFunction("int(google.protobuf.Timestamp): int", never)
    .registerFunction("timestamp(google.protobuf.Timestamp): google.protobuf.Timestamp", never)
    .registerFunction("duration(google.protobuf.Duration): google.protobuf.Duration", never);
  if (kind === "where") {
    const fields = { action: "string", inputs: "dyn", outputs: "dyn", outcome: "string", age: "google.protobuf.Duration" };
    return environment.registerVariable({ name: "prior", schema: fields });
  }
  environment.registerFunction("last(string): map<string, dyn>", never).registerFunction("last(string, string): map<string, dyn>", never);
  for (const n of NUMBERS) {
    environment
      .registerFunction(`count(string, ${n}): int`, never)
      .registerFunction(`distinct(string, string, ${n}): int`, never)
      .registerFunction(`distinct(string, ${n}, string): int`, never)
      .registerFunction(`sum(string, ${n}): double`, never)
      .registerFunction(`sum(string, string, ${n}): double`, never)
      .registerFunction(`sum(string, ${n}, string): double`, never);
  }
  return environment;
}

const VARIABLES = ["subject", "action", "resource", "inputs", "tags", "estimate_usd", "context", "now"];
const MACROS = ["has", "all", "exists", "exists_one", "map", "filter", "matches"];

const UNTOLD = "the types in this cannot be told apart (an empty list or mapping has none)";

function faultOf(error: unknown, kind: ExpressionKind): ExpressionFault {
  if (!(error instanceof ParseError) && !(error instanceof TypeFault)) return { message: UNTOLD, offset: null };
  return { message: messageOf(error, kind), offset: error.range?.start ?? null };
}

function messageOf(error: ParseError | TypeFault, kind: ExpressionKind): string {
  const said = plain(error.summary);
  const node = error.node;
  if (error.code === "unknown_variable" && node?.op === "id") return unknownVariable(String(node.args), kind);
  if (error.code === "no_matching_overload" && (node?.op === "call" || node?.op === "rcall") && Array.isArray(node.args)) {
    return unknownFunction(String(node.args[0]), said, kind);
  }
  // What is taken out of an empty list has no type, and the library has only its own word for that.
  if (error.code === "no_such_overload") return /\bundefined\b/.test(said) ? UNTOLD : `${said}: these types do not go together`;
  return said;
}

function unknownVariable(name: string, kind: ExpressionKind): string {
  const known = kind === "where" ? [...VARIABLES, "prior"] : VARIABLES;
  if (name === "prior") return "prior is known only in where, under requires";
  if (name === "outputs")
    return `there is no outputs here: ${kind === "where" ? "write prior.outputs" : "history functions and requires look at them"}`;
  return `unknown name ${name}${didYouMean(name, known)} (known are ${known.join(", ")})`;
}

function unknownFunction(name: string, said: string, kind: ExpressionKind): string {
  const wanted = HISTORY.get(name);
  if (wanted !== undefined)
    return kind === "where" ? `${name} looks at the history, which where does not: see the history section` : `${said}: wanted ${wanted}`;
  const names = [...new Set([...[...FUNCTIONS.keys(), ...METHODS.keys()].map((key) => key.split("/")[0] ?? key), ...MACROS])];
  const functions = kind === "rule" ? [...names, ...HISTORY.keys()] : names;
  return names.includes(name) ? said : `unknown function ${name}${didYouMean(name, functions)}`;
}

function didYouMean(name: string, known: readonly string[]): string {
  const near = known.map((other) => ({ other, apart: distance(name, other) })).sort((a, b) => a.apart - b.apart)[0];
  return near !== undefined && near.apart <= (name.length < 4 ? 1 : Math.max(2, Math.floor(name.length / 3))) ? `, did you mean ${near.other}?` : "";
}

const TOKENS: readonly (readonly [RegExp, string])[] = [
  [/\bEOF\b/g, "the end"],
  [/\bLPAREN\b/g, "("],
  [/\bRPAREN\b/g, ")"],
  [/\bLBRACKET\b/g, "["],
  [/\bRBRACKET\b/g, "]"],
  [/\bLBRACE\b/g, "{"],
  [/\bRBRACE\b/g, "}"],
  [/google\.protobuf\.(Timestamp|Duration)/g, "$1"],
  [/dyn<(\w+)>/g, "$1"],
];

/** The library's one-line sentence, in words of the language instead of its own. */
const plain = (summary: string): string => TOKENS.reduce((text, [token, word]) => text.replace(token, word), summary.replace(/\s+/g, " "));

const nameOf = (type: string): string => plain(type).toLowerCase();
