import * as z from "zod";
import { AUTHOR_BOUNDS } from "./document.ts";
import { policySchema } from "./written.ts";

/** The JSON Schema (2020-12) of a policy as an author writes it, for editors. The gateway checks more than a JSON Schema can say. */
export function policyJsonSchema(): object {
  return {
    ...z.toJSONSchema(policySchema(AUTHOR_BOUNDS), { io: "input", target: "draft-2020-12" }),
    title: "AgentSentinel policy",
    description:
      "What an agent may do: budgets, lists of actions, rates, concurrency, loops and retries, rules, what must come before, the shape of arguments, what is kept, and approvals. Unknown members are refused.",
  };
}
