import type { Json, RiskLevel } from "../../../sdk/src/index.ts";
import { type MicroUsd, microOf } from "./money.ts";

/**
 * How the demo prices calls. The recording says what was called, not what it cost, so this table does, plausibly:
 *
 *   estimate = the tool's fee + the customer's money the call would move, read from its arguments
 *   actual   = the estimate when the tool did it; the fee alone when it answered "Error: ..."
 *
 * A real agent takes its fees from its contracts and the amounts from wherever it computes them.
 */
export interface Tool {
  /** What one call costs whoever runs the agent, USD. */
  readonly feeUsd: string;
  /** What the call moves of the customer's or the airline's money; `null`: its arguments do not say. Absent: nothing. */
  readonly moves?: (args: Arguments) => MicroUsd | null;
  readonly riskLevel: RiskLevel;
  readonly tags: readonly string[];
}

export type Arguments = { readonly [name: string]: Json };

const READ = { riskLevel: "low", tags: ["read"] } as const;
const WRITE = { riskLevel: "medium", tags: ["write"] } as const;

/** A changed flight is refunded or charged by rules that are not in the arguments; this stands for it, per flight. */
const CHANGE_USD = { business: 300, other: 100 };
/** "Each extra baggage is 50 dollars." */
const BAG_USD = 50;
/** What nobody can price is priced so high that a person looks at it: never zero. */
const UNPRICEABLE_USD = "10000";

export const TOOLS: { readonly [name: string]: Tool } = {
  think: { feeUsd: "0", riskLevel: "low", tags: ["free"] },
  calculate: { feeUsd: "0.0001", riskLevel: "low", tags: ["free"] },
  get_user_details: { feeUsd: "0.001", ...READ },
  get_reservation_details: { feeUsd: "0.001", ...READ },
  list_all_airports: { feeUsd: "0.002", ...READ },
  search_direct_flight: { feeUsd: "0.01", ...READ },
  search_onestop_flight: { feeUsd: "0.02", ...READ }, // two legs, two looks
  book_reservation: {
    feeUsd: "0.25",
    moves: ({ payment_methods }) =>
      Array.isArray(payment_methods) ? sum(payment_methods.map((payment) => dollars(member(payment, "amount")))) : null,
    ...WRITE,
  },
  update_reservation_flights: {
    feeUsd: "0.25",
    moves: ({ cabin, flights }) =>
      Array.isArray(flights) ? dollars(flights.length * (cabin === "business" ? CHANGE_USD.business : CHANGE_USD.other)) : null,
    ...WRITE,
  },
  update_reservation_baggages: {
    feeUsd: "0.1",
    moves: ({ nonfree_baggages }) => (typeof nonfree_baggages === "number" ? dollars(nonfree_baggages * BAG_USD) : null),
    ...WRITE,
  },
  update_reservation_passengers: { feeUsd: "0.1", ...WRITE },
  cancel_reservation: { feeUsd: "0.1", riskLevel: "high", tags: ["write", "irreversible"] },
  send_certificate: { feeUsd: "0.05", moves: ({ amount }) => dollars(amount), riskLevel: "high", tags: ["write", "goodwill"] },
  transfer_to_human_agents: { feeUsd: "1.5", riskLevel: "low", tags: ["handover"] }, // some minutes of a person
};

/** A tool that is not in the table. The policy's allowlist does not know it either. */
const UNKNOWN: Tool = { feeUsd: "0.01", riskLevel: "high", tags: ["unknown"] };

export const toolNamed = (name: string): Tool => (Object.hasOwn(TOOLS, name) ? TOOLS[name] : undefined) ?? UNKNOWN;

export function estimateOf(tool: Tool, args: Arguments): MicroUsd {
  const moved = tool.moves === undefined ? 0 : tool.moves(args);
  return microOf(tool.feeUsd) + (moved ?? microOf(UNPRICEABLE_USD));
}

/** What the call did cost, once its result is known. */
export const actualOf = (tool: Tool, estimate: MicroUsd, result: string): MicroUsd => (isFailure(result) ? microOf(tool.feeUsd) : estimate);

/** The airline's API answers with a text when it does not do a thing. */
export const isFailure = (result: string): boolean => result.startsWith("Error");

/** A number of dollars from an argument, rounded up to whole micro-dollars; `null`: it is none, or not one to believe. */
function dollars(value: Json | undefined): MicroUsd | null {
  return typeof value === "number" && value >= 0 && value <= 1_000_000 ? Math.ceil(Number((value * 1e6).toPrecision(15))) : null;
}

function sum(amounts: readonly (MicroUsd | null)[]): MicroUsd | null {
  let total = 0;
  for (const amount of amounts) {
    if (amount === null) return null;
    total += amount;
  }
  return total;
}

const member = (value: Json, name: string): Json | undefined =>
  // `isArray` does not take readonly arrays out of the union by itself.
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Arguments)[name] : undefined;
