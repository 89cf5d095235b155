import type { Chance } from "./chance.ts";
import type { Surroundings } from "./generate.ts";
import type { Tree } from "./tree.ts";
import { fitting, type Known, type Schema } from "./values.ts";

/** Policies that fit their schema, and what in them means something that no schema says. */

export const YAML_POLICIES = [
  "budgets: { session: 5 }\n",
  "version: 1\nbudgets:\n  session: 10\n  actions:\n    send_email: 1\nrate_limits:\n  send_email: { max_count: 5, window_seconds: 60 }\n",
  "denied_actions: [delete_database]\nallowed_actions: ['*']\n",
  "rules:\n  - id: big\n    actions: ['*']\n    effect: hold\n    when: estimate_usd > 5.0\n",
  "x: &a { b: 1 }\ny: *a\n",
];

export function policyTree(chance: Chance, around: Surroundings): Tree {
  const find = (ref: string): Schema =>
    around.policySchema.$defs?.[ref.slice("#/$defs/".length)] ?? around.schemas[ref.slice("#/components/schemas/".length)] ?? {};
  return chance.isLucky(0.4)
    ? { members: [['"budgets"', { members: [['"session"', { raw: String(chance.between(1, 50)) }]] }]] }
    : fitting(around.policySchema, chance, policyKnown(chance), find);
}

const CONDITIONS = [
  "estimate_usd > 5.0",
  "inputs.to.endsWith('@example.org')",
  "'email' in tags",
  "agent.kind == 'agent'",
  "size(tags) > 3 && risk_level == 'high'",
  "inputs.amount > 100",
  "true",
];
const MEANS_MONEY = new Set(["session", "run", "hour", "day", "month", "total", "default_price", "threshold_usd", "budget", "agent", "tenant"]);

/** A policy's amounts, conditions and paths, of which its schema says only that they are texts. */
export const policyKnown =
  (chance: Chance): Known =>
  (at) => {
    const name = at.findLast((part) => !/^\d+$/.test(part)) ?? "";
    if ((at[0] === "budgets" || at[0] === "approvals" || at[0] === "wind_down") && MEANS_MONEY.has(name))
      return chance.pick(["1", 5, "0.05", "100", 0]);
    if (at[0] === "budgets" && at[1] === "actions" && at.length === 3) return chance.pick(["1", 2.5, "0"]);
    if (name === "when" || name === "where") return chance.pick(CONDITIONS);
    if (at.at(-2) === "ignore" || at.at(-2) === "same" || at.at(-2) === "keys") return chance.pick(["inputs.to", "inputs.request_id", "password"]);
    return null;
  };
