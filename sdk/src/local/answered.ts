import type { Refusal } from "../../../src/core/refusals.ts";
import type { Result } from "../../../src/core/result.ts";
import { LocalRefusedError } from "./refused_error.ts";

/** A refusal is thrown; anything else is the answer. */
export function answered<T>(what: string, result: Result<T, Refusal>): T {
  if (result.ok) return result.value;
  const { code, detail, issues } = result.error;
  throw new LocalRefusedError(what, {
    code,
    detail: `${detail.charAt(0).toLowerCase()}${detail.slice(1).replace(/\.$/, "")}`,
    ...(issues !== undefined && { issues }),
  });
}
