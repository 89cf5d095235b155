import * as z from "zod";
import { AUTHOR_BOUNDS, policySchema } from "./document.ts";

/** The JSON Schema (2020-12) of a policy as an author writes it, for editors. The gateway checks more than a JSON Schema can say. */
export function policyJsonSchema(): object {
  return {
    ...z.toJSONSchema(policySchema(AUTHOR_BOUNDS), { io: "input", target: "draft-2020-12" }),
    title: "AgentSentinel policy",
    description: "What an agent may do: budgets, lists of actions, rates, concurrency and approvals. Unknown members are refused.",
  };
}
