import type { DecisionId, RunId } from "../../../src/core/ids.ts";
import type { LocalRun } from "./types.ts";

/** A run with what stops it. */
export interface Run extends LocalRun {
  readonly id: RunId;
  readonly stop: AbortController;
}

/** What the code that runs now belongs to. */
export interface Frame {
  readonly scope: Scope;
  /** The guarded call that it is part of, if any. */
  readonly parents: readonly DecisionId[];
}

/** Code that shares a current run. Another run can become its current one. */
export interface Scope {
  run: Run;
}
