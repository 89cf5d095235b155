import type { ASTNode } from "@marcbachmann/cel-js";
import { valueAt } from "../trail.ts";
import type { Piece } from "./expression_frame.ts";
import { type Computed, FUNCTIONS, METHODS } from "./expression_functions.ts";
import { HISTORY, type LookBack, lookBackOf, type Misplaced } from "./expression_history.ts";
import { loop } from "./expression_loops.ts";
import type { Reads } from "./expression_reads.ts";
import { regexOf } from "./expression_regex.ts";
import { PARTS, SPANS, UTC, type Zone, zoneOf } from "./expression_times.ts";
import { nodesIn } from "./expression_tree.ts";
import {
  areEqual,
  arithmetic,
  Duration,
  FAULT,
  type Fault,
  hasMember,
  type Key,
  keyOf,
  keysOf,
  memberOf,
  type Outcome,
  orderOf,
  ownMember,
  spend,
  Timestamp,
  typeNamed,
  type Value,
} from "./expression_values.ts";
import type { Path, Prior } from "./findings.ts";

export interface Built {
  readonly piece: Piece;
  /** Whether it binds variables, in macros. */
  readonly usesLocals: boolean;
  readonly history: readonly LookBack[];
  /** How many instructions its regular expressions have together. */
  readonly instructions: number;
}

const MOST_NESTED_MACROS = 2;
/** A date in parts, and a clock on the wall somewhere: the runtime takes its time for both. */
const STEPS_PER_DATE = 20;
const STEPS_PER_ZONE = 400;
/** A regular expression remembers states of its own while it runs, up to 8 MiB each. After so many characters it is made to forget them. */
const CHARACTERS_TO_FORGET = 65_536;

/** Looking back costs what it costs once: the past answers the same question from memory after that. */
const STEPS_PER_LOOK = 20;

/** Says no to an expression while it is being built; {@link build} turns it into a value. */
class Refused extends Error {
  readonly at: number;
  constructor(node: ASTNode, message: string) {
    super(message);
    this.at = node.start;
  }
}

/** Builds what evaluates an expression that was found to be of good type; refuses what the type check lets pass and has no meaning here. */
export function build(node: ASTNode): Built | Misplaced {
  try {
    const scope: Scope = { locals: [], history: [], macros: [], regexes: [] };
    const piece = built(node, scope);
    const instructions = scope.regexes.reduce((sum, size) => sum + size, 0);
    return { piece, usesLocals: scope.macros.length > 0, history: scope.history, instructions };
  } catch (error) {
    if (error instanceof Refused) return { message: error.message, offset: error.at };
    throw error;
  }
}

interface Scope {
  /** Variables that macros bind, from the outermost. */
  readonly locals: readonly string[];
  readonly history: LookBack[];
  /** The macros found so far. */
  readonly macros: string[];
  /** The sizes of the regular expressions found so far. */
  readonly regexes: number[];
}

const NONE = Object.freeze({});

const VARIABLES: { readonly [name: string]: Piece } = {
  subject: (frame) => frame.scene.subject,
  action: (frame) => frame.scene.action,
  resource: (frame) => frame.scene.resource,
  inputs: (frame) => (frame.scene.inputs === undefined ? NONE : frame.scene.inputs),
  tags: (frame) => frame.scene.tags,
  estimate_usd: (frame) => frame.scene.estimateMicroUsd / 1_000_000,
  context: (frame) => frame.scene.context,
  now: (frame) => new Timestamp(frame.scene.now),
};

const PRIOR: { readonly [name: string]: (prior: Prior, reads: Reads) => Outcome } = {
  action: (prior) => prior.action,
  inputs: (prior, reads) => (reads.prior.inputs.every((path) => prior.knows(["inputs", ...path])) ? prior.inputs : FAULT),
  outputs: (prior, reads) => (reads.prior.outputs.every((path) => prior.knows(["outputs", ...path])) ? prior.outputs : FAULT),
  outcome: (prior) => prior.outcome,
  age: (prior) => new Duration(prior.ageMs),
};

function built(node: ASTNode, scope: Scope): Piece {
  switch (node.op) {
    case "value":
      return literal(node, node.args);
    case "id":
      return variable(node, node.args, scope);
    case ".":
      return member(node, node.args[0], node.args[1], scope);
    case "[]":
      return element(node.args[0], node.args[1], scope);
    case "call":
      return call(node, node.args[0], node.args[1], scope);
    case "rcall":
      return method(node, node.args[0], node.args[1], node.args[2], scope);
    case "list":
      return list(node.args, scope);
    case "map":
      return mapping(node.args, scope);
    case "?:":
      return choice(node.args, scope);
    case "||":
      return logical(true, node.args, scope);
    case "&&":
      return logical(false, node.args, scope);
    case "!_":
      return not(built(node.args, scope));
    case "-_":
      return negative(node.args, scope);
    case "==":
    case "!=":
      return equality(node.op === "==", node.args, scope);
    case "in":
      return within(node.args, scope);
    case "<":
      return comparison((order) => order < 0, node.args, scope);
    case "<=":
      return comparison((order) => order <= 0, node.args, scope);
    case ">":
      return comparison((order) => order > 0, node.args, scope);
    case ">=":
      return comparison((order) => order >= 0, node.args, scope);
    case "+":
    case "-":
    case "*":
    case "/":
    case "%": {
      const op = node.op;
      const [a, b] = pair(node.args, scope);
      return (frame) => arithmetic(op, a(frame), b(frame), frame);
    }
    case ".?":
    case "[?]":
      throw new Refused(node, "optional access is not available: use has(…)");
  }
}

const pair = ([a, b]: readonly [ASTNode, ASTNode], scope: Scope): readonly [Piece, Piece] => [built(a, scope), built(b, scope)];

function literal(node: ASTNode, value: unknown): Piece {
  if (typeof value === "bigint" && value > 9223372036854775807n) throw new Refused(node, `an int is at most 9223372036854775807, found ${value}`);
  if (value === null || typeof value === "string" || typeof value === "number" || typeof value === "boolean" || typeof value === "bigint") {
    return () => value;
  }
  throw new Refused(node, "uint and bytes are not available: JSON has neither");
}

function variable(node: ASTNode, name: string, scope: Scope): Piece {
  const local = scope.locals.lastIndexOf(name);
  if (local >= 0) return (frame) => frame.locals[local] ?? null;
  if (name === "prior") throw new Refused(node, `prior is asked for one of its members: ${Object.keys(PRIOR).join(", ")}`);
  const known = Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined;
  if (known !== undefined) return known;
  const type = typeNamed(name);
  if (type !== undefined) return () => type;
  throw new Refused(node, `${name} is not available`);
}

function member(node: ASTNode, of: ASTNode, name: string, scope: Scope): Piece {
  const type = typeNamed(dotted(node));
  if (type !== undefined) return () => type;
  if (isVariable(of, "prior", scope)) return priorMember(node, name);
  const value = built(of, scope);
  return (frame) => ownMember(value(frame), name);
}

/** `google.protobuf.Timestamp` is a name of three words, not a way through a mapping. */
const dotted = (node: ASTNode): string => (node.op === "id" ? node.args : node.op === "." ? `${dotted(node.args[0])}.${node.args[1]}` : "");

const isVariable = (node: ASTNode, name: string, scope: Scope): boolean => node.op === "id" && node.args === name && !scope.locals.includes(name);

function priorMember(node: ASTNode, name: string): Piece {
  const read = Object.hasOwn(PRIOR, name) ? PRIOR[name] : undefined;
  if (read === undefined) throw new Refused(node, `prior has no ${name}: it has ${Object.keys(PRIOR).join(", ")}`);
  return (frame) => (frame.prior === null ? FAULT : read(frame.prior, frame.reads));
}

function element(of: ASTNode, index: ASTNode, scope: Scope): Piece {
  if (index.op === "value" && typeof index.args === "string") return member(index, of, index.args, scope);
  const value = built(of, scope);
  const key = built(index, scope);
  return (frame) => memberOf(value(frame), key(frame));
}

function list(items: readonly ASTNode[], scope: Scope): Piece {
  const pieces = items.map((item) => built(item, scope));
  if (items.every((item) => item.op === "value")) {
    // Of literals alone: it is the same list every time.
    const always = items.map((item) => (item.op === "value" ? item.args : null)) as readonly Value[]; // built() above refused what is no Value
    return () => always;
  }
  return (frame) => {
    const values: Value[] = [];
    for (const piece of pieces) {
      const value = piece(frame);
      if (value === FAULT || --frame.steps < 0) return FAULT;
      values.push(value);
    }
    return values;
  };
}

function mapping(entries: readonly (readonly [ASTNode, ASTNode])[], scope: Scope): Piece {
  const pieces = entries.map((entry) => pair(entry, scope));
  return (frame) => {
    const map = new Map<Key, Value>();
    for (const [keyPiece, valuePiece] of pieces) {
      const key = keyOf(keyPiece(frame));
      const value = valuePiece(frame);
      // A key that comes twice is an error in CEL.
      if (key === FAULT || value === FAULT || map.has(key) || --frame.steps < 0) return FAULT;
      map.set(key, value);
    }
    return map;
  };
}

function choice([condition, whenTrue, whenFalse]: readonly [ASTNode, ASTNode, ASTNode], scope: Scope): Piece {
  const which = built(condition, scope);
  const yes = built(whenTrue, scope);
  const no = built(whenFalse, scope);
  return (frame) => {
    const holds = which(frame);
    return holds === true ? yes(frame) : holds === false ? no(frame) : FAULT;
  };
}

/** `||` and `&&`: a side that decides is enough, even if the other side is a fault; whichever side it is. */
function logical(decides: boolean, args: readonly [ASTNode, ASTNode], scope: Scope): Piece {
  const [a, b] = pair(args, scope);
  return (frame) => {
    const left = a(frame);
    if (left === decides) return decides;
    const right = b(frame);
    if (right === decides) return decides;
    return left === !decides && right === !decides ? !decides : FAULT;
  };
}

const not =
  (piece: Piece): Piece =>
  (frame) => {
    const value = piece(frame);
    return typeof value === "boolean" ? !value : FAULT;
  };

function negative(of: ASTNode, scope: Scope): Piece {
  if (of.op === "value" && of.args === 9223372036854775808n) return () => -9223372036854775808n;
  const piece = built(of, scope);
  return (frame) => {
    const value = piece(frame);
    if (typeof value === "number") return -value;
    return typeof value === "bigint" ? arithmetic("-", 0n, value, frame) : FAULT;
  };
}

function equality(wanted: boolean, args: readonly [ASTNode, ASTNode], scope: Scope): Piece {
  const [a, b] = pair(args, scope);
  return (frame) => {
    const left = a(frame);
    const right = b(frame);
    if (left === FAULT || right === FAULT) return FAULT;
    return areEqual(left, right, frame) === wanted;
  };
}

function comparison(holds: (order: number) => boolean, args: readonly [ASTNode, ASTNode], scope: Scope): Piece {
  const [a, b] = pair(args, scope);
  return (frame) => {
    const order = orderOf(a(frame), b(frame), frame);
    return order === FAULT ? FAULT : holds(order);
  };
}

function within(args: readonly [ASTNode, ASTNode], scope: Scope): Piece {
  const [a, b] = pair(args, scope);
  return (frame) => {
    const value = a(frame);
    const collection = b(frame);
    if (value === FAULT || collection === FAULT) return FAULT;
    if (Array.isArray(collection)) {
      for (const item of collection) {
        if (--frame.steps < 0) return FAULT;
        if (areEqual(item, value, frame)) return true;
      }
      return false;
    }
    const key = keyOf(value);
    if (collection instanceof Map) return key !== FAULT && collection.has(key);
    // A mapping of JSON has names for keys; another value is simply not one of them. What is no mapping has no members to ask for.
    return typeof key === "string" ? hasMember(collection, key) : hasMember(collection, "") === FAULT ? FAULT : false;
  };
}

function call(node: ASTNode, name: string, args: readonly ASTNode[], scope: Scope): Piece {
  const [first] = args;
  if (name === "has" && first !== undefined) return has(first, scope);
  if (HISTORY.has(name)) return lookBack(node, name, args, scope);
  return computed(node, FUNCTIONS, name, args.length, args, scope);
}

function has(of: ASTNode, scope: Scope): Piece {
  if (of.op !== ".") throw new Refused(of, "has(…) asks for a member, such as has(inputs.order_id)");
  const [owner, name] = of.args;
  if (isVariable(owner, "prior", scope)) {
    priorMember(of, name);
    return () => true;
  }
  const piece = built(owner, scope);
  return (frame) => hasMember(piece(frame), name);
}

function lookBack(node: ASTNode, name: string, args: readonly ASTNode[], scope: Scope): Piece {
  const read = lookBackOf(name, args);
  if (!read.ok) throw new Refused(args.find((arg) => arg.start === read.error.offset) ?? node, read.error.message);
  const { pattern, windowMs, path } = read.value;
  scope.history.push(read.value);
  if (windowMs === null) return newest(pattern, path);
  if (path === null) return (frame) => wholeNumber(frame.past?.count(pattern, windowMs));
  if (name === "distinct") return (frame) => (spend(frame, STEPS_PER_LOOK) ? wholeNumber(frame.past?.distinct(pattern, path, windowMs)) : FAULT);
  return (frame) => (spend(frame, STEPS_PER_LOOK) ? (frame.past?.sum(pattern, path, windowMs) ?? FAULT) : FAULT);
}

/** The newest call as a mapping whose `found` is true; where there is none `found` is all that is there. */
function newest(pattern: string, alike: Path | null): Piece {
  return (frame) => {
    const { past, scene, reads } = frame;
    if (!spend(frame, STEPS_PER_LOOK)) return FAULT;
    const here = alike === null ? undefined : valueAt({ inputs: scene.inputs ?? {}, resource: scene.resource }, alike);
    if (past === null || (alike !== null && here === undefined)) return FAULT;
    const found = past.last(pattern, alike, here);
    if (found === null) return NONE_FOUND;
    const { action, inputs, outputs, outcome, ageMs } = found;
    const looked = reads.history.flatMap((look) => (look.windowMs === null && look.pattern === pattern && look.path !== null ? [look.path] : []));
    const knows = (root: string): boolean => looked.every((path) => path[0] !== root || found.knows(path));
    return {
      found: true,
      action,
      // What was not kept is not there to be asked for.
      ...(knows("inputs") && { inputs }),
      ...(knows("outputs") && { outputs }),
      outcome,
      age: new Duration(ageMs),
    };
  };
}

const NONE_FOUND = Object.freeze({ found: false });

const wholeNumber = (n: number | null | undefined): bigint | Fault => (Number.isSafeInteger(n) ? BigInt(n ?? 0) : FAULT);

function computed(node: ASTNode, table: ReadonlyMap<string, Computed>, name: string, count: number, args: readonly ASTNode[], scope: Scope): Piece {
  const compute = table.get(`${name}/${count}`);
  if (compute === undefined) throw new Refused(node, `${name} is not available with ${count} argument${count === 1 ? "" : "s"}`);
  const [of = absent, a = absent, b = absent] = args.map((arg) => built(arg, scope));
  if (args.length === 1) return (frame) => compute(frame, of(frame), null, null);
  return (frame) => compute(frame, of(frame), a(frame), b(frame));
}

const absent: Piece = () => null;

function method(node: ASTNode, name: string, receiver: ASTNode, args: readonly ASTNode[], scope: Scope): Piece {
  const [first, second, third] = args;
  if (first !== undefined && second !== undefined && MACROS.has(name)) return macro(node, name, receiver, [first, second, third], scope);
  if (name === "matches" && first !== undefined) return matches(receiver, first, scope);
  const part = Object.hasOwn(PARTS, name) ? PARTS[name] : undefined;
  if (part !== undefined) return partOfTime(name, part, receiver, first, scope);
  return computed(node, METHODS, name, args.length, [receiver, ...args], scope);
}

/** A regular expression in RE2's syntax and time: linear in the text, whatever the pattern. */
function matches(receiver: ASTNode, pattern: ASTNode, scope: Scope): Piece {
  if (pattern.op !== "value" || typeof pattern.args !== "string") {
    throw new Refused(pattern, "matches wants its pattern as a literal text, so that it is compiled once");
  }
  const compiled = regexOf(pattern.args);
  if (!compiled.ok) throw new Refused(pattern, compiled.error);
  const regex = compiled.value;
  const size = regex.programSize();
  scope.regexes.push(size);
  let seen = 0;
  const of = built(receiver, scope);
  return (frame) => {
    const text = of(frame);
    if (typeof text !== "string" || !spend(frame, Math.ceil((text.length * size) / 4))) return FAULT;
    // Unlike a matcher, this runs on a table of states (a DFA) as long as that stays small.
    const found = regex.test(text);
    seen += text.length;
    if (seen > CHARACTERS_TO_FORGET) {
      regex.reset();
      seen = 0;
    }
    return found;
  };
}

function partOfTime(name: string, part: (shown: Date) => number, receiver: ASTNode, zoneNode: ASTNode | undefined, scope: Scope): Piece {
  const zone = zoneNode === undefined ? UTC : zoneNamed(zoneNode);
  const of = built(receiver, scope);
  const span = SPANS[name];
  return (frame) => {
    const value = of(frame);
    if (!spend(frame, zone === UTC ? STEPS_PER_DATE : STEPS_PER_ZONE)) return FAULT;
    if (value instanceof Timestamp) return BigInt(part(new Date(value.ms + zone(value.ms) * 60_000)));
    return value instanceof Duration && span !== undefined && zoneNode === undefined ? BigInt(span(value.ms)) : FAULT;
  };
}

function zoneNamed(node: ASTNode): Zone {
  const zone = node.op === "value" && typeof node.args === "string" ? zoneOf(node.args) : null;
  if (zone === null) throw new Refused(node, "a time zone is a literal name such as 'Europe/Berlin', or a difference from UTC such as '+02:00'");
  return zone;
}

const MACROS: ReadonlySet<string> = new Set(["all", "exists", "exists_one", "map", "filter"]);

function macro(
  node: ASTNode,
  name: string,
  receiver: ASTNode,
  [variableNode, second, third]: readonly [ASTNode, ASTNode, ASTNode | undefined],
  scope: Scope,
): Piece {
  if (variableNode.op !== "id") throw new Refused(variableNode, `the first argument of ${name} is the name of a variable`);
  if (scope.locals.length >= MOST_NESTED_MACROS)
    throw new Refused(node, `all, exists, exists_one, map and filter nest at most ${MOST_NESTED_MACROS} deep`);
  if ((third === undefined) !== (name !== "map") && third !== undefined) throw new Refused(node, `${name} has two arguments`);
  scope.macros.push(name);
  const range = built(receiver, scope);
  const slot = scope.locals.length;
  const inner: Scope = { ...scope, locals: [...scope.locals, variableNode.args] };
  const step = built(second, inner);
  const transform = third === undefined ? null : built(third, inner);
  // Each evaluation of the body costs about what it takes.
  const cost = 4 + 2 * (nodesIn(second) + (third === undefined ? 0 : nodesIn(third)));
  const run = loop(name, step, transform, slot, cost);
  return (frame) => {
    const items = keysOf(range(frame), frame);
    return items === FAULT ? FAULT : run(items, frame);
  };
}
