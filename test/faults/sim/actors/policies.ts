import { createHash } from "node:crypto";
import { policyDigest } from "../../../../src/core/policy/digest.ts";
import type { PolicyDocument } from "../../../../src/core/policy/document.ts";
import { parsePolicy } from "../../../../src/core/policy/parse.ts";
import type { Scope } from "../../../../src/core/scopes.ts";
import type { Random } from "../random.ts";

export const ACTIONS = ["mail.send", "mail.read", "db.read", "db.write", "pay"] as const;
/** Who answers approvals, and now and then asks on an agent's behalf. */
export const PEOPLE: readonly string[] = ["ann", "bob", "eve"];
/** Who owns every agent: with four eyes, nobody who approves. */
export const OWNER = "eve";
/** With which scopes people answer. */
export const scopesOf = (person: string): readonly Scope[] => (person === "bob" ? ["approvals:write"] : ["approvals:write", "policies:write"]);
/** Whom a policy wants among those who approve: by name, by scope, or by either. */
const GROUPS = [
  [{ subjects: ["ann"] }, { subjects: ["bob", "eve"] }],
  [{ scopes: ["policies:write"] }],
  [{ scopes: ["approvals:write"] }, { subjects: ["bob"], scopes: ["policies:write"] }],
] as const;
const PATTERNS = ["mail.*", "*.read", "pay", "*", "db.write"] as const;

/** How much money a world is about: limits are some times this, estimates are parts of it. */
export const SCALE_MICRO_USD = 1_000_000;

export interface Published {
  readonly text: string;
  readonly document: PolicyDocument;
  readonly digest: ReturnType<typeof policyDigest>;
}

/** What the policies of a world are like. */
export interface PolicyTaste {
  readonly tightness: number;
  /** How probably one wants people to approve some of it. */
  readonly asks: number;
  /** How probably one says nothing that would have to see each action by itself, so that anything may be leased. */
  readonly leases: number;
}

/** A policy of limits of every kind, now tight, now loose. */
export function drawPolicy(random: Random, { tightness, asks, leases }: PolicyTaste): Published {
  const usd = (micro: number): string => (micro / 1_000_000).toFixed(6);
  const some = (least: number, most: number): string =>
    usd(random.between(Math.floor(least * SCALE_MICRO_USD * tightness), Math.floor(most * SCALE_MICRO_USD * tightness)));
  const budgets: Record<string, unknown> = {};
  if (random.chance(0.4)) budgets.session = some(0.5, 3);
  if (random.chance(0.3)) budgets.run = some(0.3, 2);
  if (random.chance(0.3)) budgets.actions = { [random.pick(PATTERNS)]: some(0.2, 2), pay: some(0.2, 2) };
  const wide = (most: number): Record<string, string> => {
    const windows: Record<string, string> = {};
    if (random.chance(0.7)) windows.total = some(0.5, most);
    if (random.chance(0.4)) windows.hour = some(0.3, most);
    if (random.chance(0.2)) windows.day = some(0.5, most);
    if (random.chance(0.1)) windows.month = some(0.5, most);
    return Object.keys(windows).length === 0 ? { total: some(0.5, most) } : windows;
  };
  if (random.chance(0.5)) budgets.agent = wide(4);
  if (random.chance(0.8)) budgets.tenant = wide(6);
  if (Object.keys(budgets).length > 0) {
    if (random.chance(0.3)) budgets.on_expiry = "release";
    if (random.chance(0.3)) budgets.alerts = [0.5, 0.9];
  }
  const policy: Record<string, unknown> = { version: 1 };
  if (Object.keys(budgets).length > 0) policy.budgets = budgets;
  const seesNone = random.chance(leases);
  if (!seesNone && random.chance(0.6)) {
    const rates = Array.from({ length: random.between(1, 3) }, () => {
      const per = random.pick([undefined, undefined, "run", "agent", "tenant"] as const);
      const window_seconds = random.pick([0.5, 2, 10, 60]);
      const rate = { max_count: random.between(1, 8), window_seconds, ...(per === undefined ? {} : { per }) };
      const wider = { ...rate, max_count: rate.max_count * 2, window_seconds: window_seconds * 10 };
      return [random.pick(PATTERNS), random.chance(0.3) ? [rate, wider] : rate];
    });
    policy.rate_limits = Object.fromEntries(rates);
  }
  if (!seesNone && random.chance(0.3)) policy.concurrency = { [random.pick(PATTERNS)]: random.between(1, 4) };
  if (!seesNone && random.chance(0.2)) policy.denied_actions = [random.pick(ACTIONS)];
  if (!seesNone && random.chance(asks)) {
    const quorum = random.pick([1, 1, 2]);
    policy.approvals = {
      actions: random.chance(0.3) ? ["*"] : [random.pick(PATTERNS), random.pick(ACTIONS)],
      timeout_seconds: random.chance(0.5) ? random.between(1, 8) : random.between(10, 120),
      ...(random.chance(0.3) && { threshold_usd: some(0.05, 0.5) }),
      ...(quorum > 1 && { quorum }),
      ...(random.chance(0.3) && { four_eyes: true }),
      ...(random.chance(0.4) && { approvers: random.pick(GROUPS) }),
    };
  }
  if (Object.keys(policy).length === 1) policy.budgets = { tenant: { total: some(0.5, 6) } };
  return publish(JSON.stringify(policy));
}

/** A policy's text as the gateway's door reads it. */
export function publish(text: string): Published {
  const parsed = parsePolicy(text, "json");
  if (!parsed.ok) throw new Error(`${text}: ${JSON.stringify(parsed.error)}`);
  const { document } = parsed.value;
  return { text, document, digest: policyDigest((input) => createHash("sha256").update(input).digest("hex"), document) };
}
