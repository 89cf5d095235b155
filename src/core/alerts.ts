import type { Book } from "./book.ts";
import type { Advice, Balance } from "./decision.ts";
import { formatUsd, type MicroUsd, microUsdOf } from "./money.ts";
import { happen, type Turn } from "./turn.ts";

/** An account that has reached a part of its limit which the policy wants to be told of. */
export interface Alert {
  readonly scope: Balance["scope"];
  readonly name: string;
  readonly limitMicroUsd: MicroUsd;
  /** Posted, pending and leased together. */
  readonly spentMicroUsd: MicroUsd;
  /** The part of the limit, as the policy writes it: 0.8. */
  readonly threshold: number;
}

/**
 * Alerts for the parts of limits that these balances have reached and that were not told of before. Each is told once for as long as the limit
 * stands: money that is given back and reserved again crosses nothing new.
 */
export function alertsOf(book: Book, balances: readonly Balance[], thresholds: readonly number[]): readonly Alert[] {
  if (thresholds.length === 0) return [];
  return balances.flatMap(({ scope, name, limitMicroUsd, postedMicroUsd, pendingMicroUsd, leasedMicroUsd }): Alert[] => {
    // What sessions share reaches its thresholds in the eyes of their tenant, which tells it once.
    if (limitMicroUsd === null || limitMicroUsd === 0 || scope === "agent" || scope === "tenant") return [];
    const spentMicroUsd = microUsdOf(postedMicroUsd + pendingMicroUsd + leasedMicroUsd);
    const told = book.alerted.get(alertKey({ scope, name, limitMicroUsd })) ?? 0;
    return reached(limitMicroUsd, spentMicroUsd, thresholds, told).map((threshold) => ({ scope, name, limitMicroUsd, spentMicroUsd, threshold }));
  });
}

/** The thresholds that a sum has reached, above `told`: the highest that was told of, in millionths. */
export const reached = (limitMicroUsd: MicroUsd, spentMicroUsd: MicroUsd, thresholds: readonly number[], told: number): readonly number[] =>
  thresholds.filter((threshold) => millionthsOf(threshold) > told && spentMicroUsd >= partOf(limitMicroUsd, millionthsOf(threshold)));

/** Remembers that these alerts were told. */
export function rememberAlerts(turn: Turn, alerts: readonly Alert[]): void {
  for (const alert of alerts) happen(turn, { kind: "alerted", key: alertKey(alert), millionths: millionthsOf(alert.threshold) });
}

/** An alert as an entry shows it. */
export const alertText = ({ scope, name, limitMicroUsd, spentMicroUsd, threshold }: Alert) => ({
  limit_usd: formatUsd(limitMicroUsd),
  name,
  scope,
  spent_usd: formatUsd(spentMicroUsd),
  threshold,
});

/** The same as an agent is told it. */
export const alertAdvice = (alert: Alert): Advice => ({
  code: "budget_threshold",
  message: `The ${alert.scope} account "${alert.name}" has reached ${Math.round(alert.threshold * 1_000_000) / 10_000} % of ${formatUsd(alert.limitMicroUsd)} USD.`,
  details: alertText(alert),
});

/** An account under one limit: under another limit everything is told anew. */
const alertKey = ({ scope, name, limitMicroUsd }: Pick<Alert, "scope" | "name" | "limitMicroUsd">): string => `${scope} ${name} ${limitMicroUsd}`;

export const millionthsOf = (threshold: number): number => Math.round(threshold * 1_000_000);

/** So many millionths of a limit, rounded up, without ever leaving the integers. */
const partOf = (limit: MicroUsd, millionths: number): number =>
  Math.floor(limit / 1_000_000) * millionths + Math.ceil(((limit % 1_000_000) * millionths) / 1_000_000);
