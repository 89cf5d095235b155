import type { ASTNode } from "@marcbachmann/cel-js";
import { err, ok, type Result } from "../result.ts";
import type { Path } from "./findings.ts";
import { parsePath } from "./paths.ts";
import { MOST_STARS, PATTERN } from "./patterns.ts";

/** A look back, known before anything is evaluated. */
export interface LookBack {
  readonly pattern: string;
  /** `null`: as far back as the session goes. */
  readonly windowMs: number | null;
  /** What of earlier calls it looks at; `null` for a count. For `last` what must be alike, and `null` where nothing must. */
  readonly path: Path | null;
}

export interface Misplaced {
  readonly message: string;
  readonly offset: number;
}

/** The functions that look back at the session's past, with what they want. */
export const HISTORY: ReadonlyMap<string, string> = new Map([
  ["count", "count('action', seconds)"],
  ["distinct", "distinct('action', 'inputs.path', seconds)"],
  ["last", "last('action') or last('action', 'inputs.path') for the newest call with the same value there"],
  ["sum", "sum('action', 'inputs.path', seconds), or sum('action', seconds) for what it cost in USD"],
]);

/** As far back as a session can go. */
const MOST_SECONDS = 31 * 24 * 60 * 60;

/**
 * Reads the arguments of a history function: an action or glob, how many seconds back, and for all but `count` a path, in either order.
 * They must be literals: what has to be kept for a rule, and for how long, must be known before it is asked.
 */
export function lookBackOf(name: string, args: readonly ASTNode[]): Result<LookBack, Misplaced> {
  const wanted = HISTORY.get(name) ?? name;
  for (const arg of args) {
    if (arg.op !== "value") return wrong(arg, `${name} wants literals, so that it is known beforehand how far it looks back: ${wanted}`);
  }
  const [first, ...rest] = args;
  const pattern = first === undefined ? null : literal(first);
  if (first === undefined || typeof pattern !== "string" || !PATTERN.test(pattern) || pattern.split("*").length - 1 > MOST_STARS) {
    return wrong(first, `the first argument of ${name} is an action's name or a glob with at most ${MOST_STARS} stars, found ${shown(pattern)}`);
  }
  if (name === "last") return newest(pattern, rest);
  const seconds = rest.find((arg) => typeof literal(arg) !== "string");
  const path = rest.find((arg) => typeof literal(arg) === "string");
  if (seconds === undefined || rest.length !== (path === undefined ? 1 : 2) || (name === "count") !== (path === undefined && name !== "sum")) {
    return wrong(first, `wanted ${wanted}`);
  }
  const windowMs = windowOf(literal(seconds));
  if (windowMs === null) {
    return wrong(
      seconds,
      `the window of ${name} is more than 0 and at most ${MOST_SECONDS} seconds (31 days), with at most three decimals, found ${shown(literal(seconds))}`,
    );
  }
  if (path === undefined) return ok({ pattern, windowMs, path: name === "count" ? null : ["cost_usd"] });
  const way = parsePath(String(literal(path)));
  if (way === null || !isKept(way)) {
    return wrong(path, `the path of ${name} begins with inputs or outputs, such as 'inputs.customer', or is cost_usd, found ${shown(literal(path))}`);
  }
  return ok({ pattern, windowMs, path: way });
}

/** `last` looks back without a window: what was looked up stands until it is looked up again. */
function newest(pattern: string, [alike, ...more]: readonly ASTNode[]): Result<LookBack, Misplaced> {
  if (alike === undefined) return ok({ pattern, windowMs: null, path: null });
  const way = parsePath(String(literal(alike)));
  const isRequested = way !== null && way.length > 1 && (way[0] === "inputs" || way[0] === "resource");
  return isRequested && more.length === 0
    ? ok({ pattern, windowMs: null, path: way })
    : wrong(alike, `last compares a place such as 'inputs.order_id' or 'resource.id', found ${shown(literal(alike))}`);
}

const isKept = (path: Path): boolean => path[0] === "inputs" || path[0] === "outputs" || (path[0] === "cost_usd" && path.length === 1);

function windowOf(seconds: unknown): number | null {
  if (typeof seconds !== "number" && typeof seconds !== "bigint") return null;
  const ms = Math.round(Number(seconds) * 1000);
  return ms > 0 && Number(seconds) <= MOST_SECONDS && ms / 1000 === Number(seconds) ? ms : null;
}

const literal = (node: ASTNode): unknown => (node.op === "value" ? node.args : undefined);

const shown = (value: unknown): string =>
  typeof value === "string" ? JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value) : String(value);

const wrong = (node: ASTNode | undefined, message: string): Result<never, Misplaced> => err({ message, offset: node?.start ?? 0 });
