import type { Refusal } from "../../../src/core/refusals.ts";
import type { Result } from "../../../src/core/result.ts";
import { GatewayRefusedError } from "../errors.ts";

/** A refusal is thrown as the gateway's are; anything else is the answer. */
export function answered<T>(what: string, result: Result<T, Refusal>): T {
  if (result.ok) return result.value;
  const { code, detail, issues } = result.error;
  throw new GatewayRefusedError(what, { status: null, code, detail, ...(issues !== undefined && { issues }) });
}
