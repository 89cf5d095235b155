import { BUDGET_WINDOWS, type BudgetWindow } from "../../../../src/core/calendar.ts";
import { parseUsd } from "../../../../src/core/money.ts";
import type { PolicyDocument } from "../../../../src/core/policy/document.ts";
import { PEOPLE, scopesOf } from "../actors/policies.ts";

/** What a policy limits, read from its document by the observer itself: not by the code that enforces it. */
export interface Limits {
  readonly denied: readonly string[];
  readonly session: number | null;
  readonly run: number | null;
  readonly actions: readonly { readonly pattern: string; readonly limit: number }[];
  readonly shared: readonly { readonly scope: "agent" | "tenant"; readonly window: BudgetWindow; readonly limit: number }[];
  readonly rates: readonly Rate[];
  readonly concurrency: readonly { readonly pattern: string; readonly max: number }[];
  readonly postsOnExpiry: boolean;
  /** What a person must approve first: by its action, and above an estimate. */
  readonly holds: readonly string[];
  readonly holdsAbove: number | null;
  /** How long an approval waits, and how long it may be used. */
  readonly holdMs: number;
  readonly quorum: number;
  /** Whether the agent's owner must not approve. */
  readonly fourEyes: boolean;
  /** Somebody of each, by name or by a scope, must be among those who approve. */
  readonly groups: readonly (readonly string[])[];
}

export interface Rate {
  readonly pattern: string;
  readonly max: number;
  readonly windowMs: number;
  readonly per: "session" | "run" | "agent" | "tenant";
}

export function readLimits(document: PolicyDocument): Limits {
  const { approvals, budgets } = document;
  const optional = (text: string | undefined): number | null => (text === undefined ? null : usd(text));
  return {
    denied: document.denied_actions ?? [],
    session: optional(budgets?.session),
    run: optional(budgets?.run),
    actions: Object.entries(budgets?.actions ?? {}).map(([pattern, text]) => ({ pattern, limit: usd(text) })),
    shared: (["agent", "tenant"] as const).flatMap((scope) =>
      BUDGET_WINDOWS.flatMap((window) => {
        const text = budgets?.[scope]?.[window];
        return text === undefined ? [] : [{ scope, window, limit: usd(text) }];
      }),
    ),
    rates: Object.entries(document.rate_limits ?? {}).flatMap(([pattern, rates]) =>
      rates.map(({ max_count, window_seconds, per }) => ({
        pattern,
        max: max_count,
        windowMs: Math.round(window_seconds * 1000),
        per: per ?? ("session" as const),
      })),
    ),
    concurrency: Object.entries(document.concurrency ?? {}).map(([pattern, max]) => ({ pattern, max })),
    postsOnExpiry: budgets?.on_expiry !== "release",
    holds: approvals?.actions ?? [],
    holdsAbove: optional(approvals?.threshold_usd),
    holdMs: (approvals?.timeout_seconds ?? 0) * 1000,
    quorum: approvals?.quorum ?? 1,
    fourEyes: approvals?.four_eyes ?? false,
    groups: (approvals?.approvers ?? []).map(({ subjects = [], scopes = [] }) => [
      ...subjects,
      ...PEOPLE.filter((person) => scopesOf(person).some((scope) => scopes.includes(scope))),
    ]),
  };
}

/** An amount that the gateway itself has written. */
export function usd(text: string | null): number {
  const parsed = parseUsd(text ?? "0");
  if (!parsed.ok) throw new Error(parsed.error.message);
  return parsed.value;
}

/** Whether a name fits a pattern in which `*` stands for any characters. */
export function fits(pattern: string, name: string): boolean {
  const known = compiled.get(pattern) ?? new RegExp(`^${pattern.split("*").map(escaped).join(".*")}$`, "s");
  compiled.set(pattern, known);
  return known.test(name);
}

const compiled = new Map<string, RegExp>();
const escaped = (text: string): string => text.replaceAll(/[\\^$.|?+()[\]{}]/g, "\\$&");
