import { err, ok, type Result } from "../result.ts";
import { build } from "./expression_build.ts";
import { check, type ExpressionFault, type ExpressionKind } from "./expression_check.ts";
import type { Frame, Piece } from "./expression_frame.ts";
import { type Reads, readsOf } from "./expression_reads.ts";
import type { Outcome } from "./expression_values.ts";
import type { Conditions, Past, Prior, Scene, WorkBudget } from "./findings.ts";

export type { ExpressionFault, ExpressionKind, Reads };

/** A condition of a policy, in CEL, ready to be asked. */
export interface Expression {
  readonly text: string;
  readonly reads: Reads;
  /**
   * Whether the condition holds. Never throws. `null`: it could not be evaluated, because something is missing, is not of the type that is
   * wanted, overflows, is divided by zero, was too much work (more than a million steps), or is neither true nor false in the end.
   * `past` and `prior` may be `null` where the expression does not read them.
   */
  evaluate(scene: Scene, past: Past | null, prior: Prior | null, budget?: WorkBudget): boolean | null;
}

/** About 10 nanoseconds each: what hostile inputs can make one evaluation cost is some tens of milliseconds. */
const MOST_STEPS = 1_000_000;
const NO_LOCALS: Outcome[] = [];

/** Why a text is no condition, or `null` where it is one. */
export function checkExpression(text: string, kind: ExpressionKind): ExpressionFault | null {
  const compiled = compileExpression(text, kind);
  return compiled.ok ? null : compiled.error;
}

/**
 * Compiles a condition in CEL. Refuses what cannot be read, names nobody knows, types that do not go together, a value that is neither true nor false,
 * history calls whose arguments are not literals, and what is too large: more than 4096 characters, 2000 parts, 250 levels, macros nested three deep.
 */
export function compileExpression(text: string, kind: ExpressionKind): Result<Expression, ExpressionFault> {
  const checked = check(text, kind);
  if (!checked.ok) return checked;
  const made = build(checked.value);
  if ("message" in made) return err(made);
  const { piece, usesLocals, history } = made;
  const reads = readsOf(checked.value, history);
  const about = { usesLocals, reads };
  return ok({ text, reads, evaluate: (scene, past, prior, budget) => run(piece, about, scene, past, prior, budget) });
}

function run(
  piece: Piece,
  { usesLocals, reads }: { readonly usesLocals: boolean; readonly reads: Reads },
  scene: Scene,
  past: Past | null,
  prior: Prior | null,
  budget: WorkBudget | undefined,
): boolean | null {
  const steps = Math.min(MOST_STEPS, budget?.steps ?? MOST_STEPS);
  const frame: Frame = { scene, past, prior, reads, locals: usesLocals ? [] : NO_LOCALS, steps };
  try {
    const value = piece(frame);
    // An expression that could not pay for its work may have gone on without it (`||`): then nothing it says counts.
    return typeof value === "boolean" && frame.steps >= 0 ? value : null;
  } catch {
    // Values nested so deep that comparing them leaves no stack. Whatever it was, a condition without an answer fails to the safe side.
    return null;
  } finally {
    if (budget !== undefined) budget.steps -= steps - Math.max(0, frame.steps);
  }
}

/**
 * Remembers compiled conditions by their text, at most `most` of each kind; what was asked longest ago is forgotten first.
 * A text that does not compile is remembered too, and answers `null`.
 */
export class ExpressionMemory implements Conditions {
  readonly #most: number;
  readonly #known: { readonly [kind in ExpressionKind]: Map<string, Expression | null> } = { rule: new Map(), where: new Map() };

  constructor(most = 20_000) {
    this.#most = most;
  }

  rule(text: string, scene: Scene, past: Past, budget: WorkBudget): boolean | null {
    return this.find(text, "rule")?.evaluate(scene, past, null, budget) ?? null;
  }

  where(text: string, scene: Scene, prior: Prior, budget: WorkBudget): boolean | null {
    return this.find(text, "where")?.evaluate(scene, null, prior, budget) ?? null;
  }

  /** The compiled condition, or `null` where the text is none. */
  find(text: string, kind: ExpressionKind): Expression | null {
    const known = this.#known[kind];
    let expression = known.get(text);
    if (expression !== undefined) {
      known.delete(text);
    } else {
      const compiled = compileExpression(text, kind);
      expression = compiled.ok ? compiled.value : null;
      const [oldest] = known.size >= this.#most ? known.keys() : [];
      if (oldest !== undefined) known.delete(oldest);
    }
    known.set(text, expression);
    return expression;
  }
}
