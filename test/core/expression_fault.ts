import { compileExpression, type ExpressionFault, type ExpressionKind } from "../../src/core/policy/expressions.ts";

/** Why a text is no condition, or `null` where it is one. */
export function checkExpression(text: string, kind: ExpressionKind): ExpressionFault | null {
  const compiled = compileExpression(text, kind);
  return compiled.ok ? null : compiled.error;
}
