import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";

/**
 * Whose sessions, entries and policies a caller reads: an agent its own only, everybody else those of the agent it names, or all of them (`null`).
 * An agent that asks for another's is refused rather than shown its own: the answer would be to another question.
 */
export function agentToRead(principal: Principal, named: string | undefined): Result<string | null, Refusal> {
  if (principal.kind !== "agent") return ok(named ?? null);
  if (named === undefined || named === principal.subject) return ok(principal.subject);
  return err(
    refusal("not_your_session", "A token of kind agent reads what belongs to its own subject only.", [
      { pointer: "/agent", message: "is another agent" },
    ]),
  );
}
