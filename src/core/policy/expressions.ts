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
  /** How much room it takes in memory, about, in characters of text. */
  readonly room: number;
  /** How many instructions its regular expressions have together. */
  readonly instructions: number;
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

/**
 * What a compiled condition takes was measured: for each character of its text some 30 bytes, as much as 50 characters more for any at all, and 90 bytes for
 * each instruction of a regular expression, of which a short text may have very many.
 */
const CHARACTERS_PER_CONDITION = 50;
export const CHARACTERS_PER_INSTRUCTION = 3;
/** Of each kind some 20 megabytes, of the 128 that all objects of an isolate have together. */
const MOST_CHARACTERS = 700_000;

/**
 * Compiles a condition in CEL. Refuses what cannot be read, names nobody knows, types that do not go together, a value that is neither true nor false,
 * history calls whose arguments are not literals, and what is too large: more than 4096 characters, 2000 parts, 250 levels, macros nested three deep.
 */
export function compileExpression(text: string, kind: ExpressionKind): Result<Expression, ExpressionFault> {
  const checked = check(text, kind);
  if (!checked.ok) return checked;
  const made = build(checked.value);
  if ("message" in made) return err(made);
  const { piece, usesLocals, history, instructions } = made;
  const reads = readsOf(checked.value, history);
  const about = { usesLocals, reads };
  const room = text.length + instructions * CHARACTERS_PER_INSTRUCTION;
  return ok({ text, reads, room, instructions, evaluate: (scene, past, prior, budget) => run(piece, about, scene, past, prior, budget) });
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
 * Remembers compiled conditions by their text, of each kind as many as have room in `most` characters, by what they take in memory; what was asked longest
 * ago is forgotten first, and the newest always stays. A text that does not compile is remembered too, and answers `null`.
 */
export class ExpressionMemory implements Conditions {
  /** How long the texts are that were compiled: what is asked for too many different ones compiles them again and again. */
  compiledCharacters = 0;
  readonly #most: number;
  readonly #known: { readonly [kind in ExpressionKind]: Known } = { rule: { texts: new Map(), room: 0 }, where: { texts: new Map(), room: 0 } };

  constructor(most = MOST_CHARACTERS) {
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
    let expression = known.texts.get(text);
    if (expression !== undefined) {
      known.texts.delete(text);
    } else {
      const compiled = compileExpression(text, kind);
      this.compiledCharacters += CHARACTERS_PER_CONDITION + text.length;
      expression = compiled.ok ? compiled.value : null;
      known.room += roomOf(text, expression);
    }
    known.texts.set(text, expression);
    if (known.room > this.#most) this.#makeRoom(known, text);
    return expression;
  }

  #makeRoom(known: Known, newest: string): void {
    for (const [oldest, gone] of known.texts) {
      if (known.room <= this.#most || oldest === newest) return;
      known.texts.delete(oldest);
      known.room -= roomOf(oldest, gone);
    }
  }
}

interface Known {
  readonly texts: Map<string, Expression | null>;
  room: number;
}

const roomOf = (text: string, expression: Expression | null): number => CHARACTERS_PER_CONDITION + (expression?.room ?? text.length);
