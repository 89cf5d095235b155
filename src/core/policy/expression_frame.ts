import type { Reads } from "./expression_reads.ts";
import type { Outcome, Purse } from "./expression_values.ts";
import type { Past, Prior, Scene } from "./findings.ts";

/** What one evaluation is about, and what it has done so far. */
export interface Frame extends Purse {
  readonly scene: Scene;
  readonly past: Past | null;
  readonly prior: Prior | null;
  /** What the whole expression looks at: what was not kept of it must not pass for what was not there. */
  readonly reads: Reads;
  /** Values of the variables that macros bind, by their depth. */
  readonly locals: Outcome[];
}

/** A piece of an expression, ready to be evaluated. Nothing is generated: pieces are closures over smaller pieces. */
export type Piece = (frame: Frame) => Outcome;
