import type { ASTNode } from "@marcbachmann/cel-js";
import { type LookBack, lookBackOf } from "./expression_history.ts";
import { below } from "./expression_tree.ts";
import type { Path } from "./findings.ts";

/**
 * What an expression looks at, known without evaluating it. Paths begin below what they are paths of (`inputs.a.b` is `["a", "b"]`, and
 * `[]` is the whole); one that begins with another of them is not listed. Whoever keeps only these places and keeps the mappings around them
 * gives the expression all it needs.
 */
export interface Reads {
  readonly inputs: readonly Path[];
  /** Looks at attributes that a request does not state itself: other than `id`, `type` and `kind`, or at the whole. */
  readonly subject: boolean;
  /** As `subject`, for other than `type` and `id`. */
  readonly resource: boolean;
  readonly estimate: boolean;
  readonly context: boolean;
  readonly now: boolean;
  /** Every look back; its path is the whole way, such as `["inputs", "customer"]`, and `null` for a count. */
  readonly history: readonly LookBack[];
  readonly prior: { readonly inputs: readonly Path[]; readonly outputs: readonly Path[]; readonly outcome: boolean };
  /** It reads nothing at all: a literal `true` or the like. */
  readonly constant: boolean;
}

const STATED_OF_SUBJECT = new Set(["id", "type", "kind"]);
const STATED_OF_RESOURCE = new Set(["id", "type"]);
const MACROS = new Set(["all", "exists", "exists_one", "map", "filter"]);
const VARIABLES = new Set(["subject", "action", "resource", "inputs", "tags", "estimate_usd", "context", "now", "prior"]);

/** Finds what a compiled expression's tree looks at. */
export function readsOf(root: ASTNode, looks: readonly LookBack[]): Reads {
  const ways: Path[] = [];
  const history = [...looks];
  walk(root, new Set(), ways, history);
  // What must be alike is looked at here too.
  for (const { windowMs, path } of looks) if (windowMs === null && path !== null) ways.push(path);
  const of = (name: string): readonly Path[] => ways.filter((way) => way[0] === name).map((way) => way.slice(1));
  const prior = of("prior");
  const ofPrior = (name: string): readonly Path[] => shortest(prior.filter((way) => way[0] === name).map((way) => way.slice(1)));
  return {
    inputs: shortest(of("inputs")),
    subject: of("subject").some(([attribute]) => attribute === undefined || !STATED_OF_SUBJECT.has(attribute)),
    resource: of("resource").some(([attribute]) => attribute === undefined || !STATED_OF_RESOURCE.has(attribute)),
    estimate: of("estimate_usd").length > 0,
    context: of("context").length > 0,
    now: of("now").length > 0,
    history,
    prior: { inputs: ofPrior("inputs"), outputs: ofPrior("outputs"), outcome: ofPrior("outcome").length > 0 },
    constant: ways.length === 0 && history.length === 0,
  };
}

function walk(node: ASTNode, shadowed: ReadonlySet<string>, ways: Path[], history: LookBack[]): void {
  const look = newestOf(node);
  if (look !== null) {
    history.push(...look);
    return;
  }
  const way = wayOf(node, shadowed);
  if (way !== null) {
    ways.push(way);
    return;
  }
  const bound = node.op === "rcall" && MACROS.has(node.args[0]) ? node.args[2][0] : undefined;
  if (node.op === "rcall" && bound?.op === "id") {
    walk(node.args[1], shadowed, ways, history);
    const inner = new Set(shadowed).add(bound.args);
    for (const part of node.args[2].slice(1)) walk(part, inner, ways, history);
    return;
  }
  for (const part of below(node)) walk(part, shadowed, ways, history);
}

/** What a chain of members that begins with `last(…)` looks at of that call, or `null` where the node is none. */
function newestOf(node: ASTNode): readonly LookBack[] | null {
  const steps: string[] = [];
  let at = node;
  while (at.op === "." || at.op === "[]") {
    const [of, member] = at.args;
    const name = typeof member === "string" ? member : member.op === "value" ? member.args : null;
    // What comes after a name that is only known later may be anything.
    if (typeof name === "string") steps.unshift(name);
    else if (newestOf(of) !== null) return null;
    else steps.length = 0;
    at = of;
  }
  if (at.op !== "call" || at.args[0] !== "last") return null;
  const read = lookBackOf("last", at.args[1]);
  if (!read.ok) return null;
  const { pattern } = read.value;
  const kept = steps[0] === undefined ? [["inputs"], ["outputs"]] : steps[0] === "inputs" || steps[0] === "outputs" ? [steps] : [];
  return kept.map((path) => ({ pattern, windowMs: null, path }));
}

/** The way that a chain of members with literal names takes, or `null` where it is none. */
function wayOf(node: ASTNode, shadowed: ReadonlySet<string>): Path | null {
  if (node.op === "id") return VARIABLES.has(node.args) && !shadowed.has(node.args) ? [node.args] : null;
  if (node.op !== "." && node.op !== "[]") return null;
  const [of, member] = node.args;
  const name = typeof member === "string" ? member : member.op === "value" ? member.args : null;
  const way = typeof name === "string" ? wayOf(of, shadowed) : null;
  return way === null || typeof name !== "string" ? null : [...way, name];
}

function shortest(paths: readonly Path[]): readonly Path[] {
  const sorted = [...paths].sort((a, b) => a.length - b.length);
  const kept: Path[] = [];
  for (const path of sorted) {
    if (!kept.some((other) => other.every((name, at) => path[at] === name))) kept.push(path);
  }
  return kept;
}
