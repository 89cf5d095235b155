import { coversGlob, globsMeet } from "../glob.ts";
import { type CompiledPolicy, mayLookBack, policyLimits } from "./compile.ts";
import { allowlistsOf, type PolicyDocument, type Rule, storedUsd } from "./document.ts";
import { compileExpression } from "./expressions.ts";
import type { LeaseFindings, LeaseNo, LeaseWish, PolicyRef } from "./findings.ts";
import { pointerOf } from "./text.ts";

/**
 * Whether a policy can answer once for all that a lease lets its holder do. It leases only what it would allow whatever the request says and whatever
 * happened before, up to the amount: where it may forbid, hold, count or look back at anything that a glob names, each of those actions must be asked for.
 * When in doubt it is refused. Total.
 */
export function leaseFindings(document: PolicyDocument, compiled: CompiledPolicy, policy: PolicyRef, wish: LeaseWish): LeaseFindings {
  const limits = policyLimits(document);
  const { strict, alerts, redaction, onExpiry, compliance } = compiled;
  return {
    policy,
    strict,
    no: strict ? noOf(document, wish) : null,
    budgets: [
      ...limits.actions
        .filter(({ pattern }) => meets(wish, pattern))
        .map(({ pattern, limitMicroUsd }) => ({ scope: "action" as const, pattern, limitMicroUsd })),
      ...(limits.runMicroUsd === null ? [] : [{ scope: "run" as const, limitMicroUsd: limits.runMicroUsd }]),
      ...(limits.sessionMicroUsd === null ? [] : [{ scope: "session" as const, limitMicroUsd: limits.sessionMicroUsd }]),
      ...limits.shared,
    ],
    alerts,
    redaction,
    onExpiry,
    compliance,
  };
}

const meets = ({ actions }: LeaseWish, pattern: string): boolean => actions.some((glob) => globsMeet(pattern, glob));

/** The first thing that stands against it, in the order of the gates. */
function noOf(document: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  return (
    listNo(document, wish) ??
    permitNo(document, wish) ??
    ruleNo(document, wish) ??
    countingNo(document, wish) ??
    lookingBackNo(document, wish) ??
    priceNo(document, wish) ??
    approvalNo(document, wish)
  );
}

function listNo(document: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  const denied = (document.denied_actions ?? []).find((pattern) => meets(wish, pattern));
  if (denied !== undefined) return { code: "action_denied", message: `The policy denies "${denied}".`, rule: "/denied_actions" };
  for (const list of allowlistsOf(document)) {
    const outside = wish.actions.find((glob) => !list.some((pattern) => coversGlob(pattern, glob)));
    if (outside === undefined) continue;
    return { code: "action_not_allowed", message: `Not everything that "${outside}" names is among the allowed actions.`, rule: "/allowed_actions" };
  }
  return null;
}

/** Of each group of permit rules that names any of it, one without a condition must name all of it. */
function permitNo(document: PolicyDocument, { actions }: LeaseWish): LeaseNo | null {
  const hasAllowlist = allowlistsOf(document).length > 0;
  const counting = numbered(document.rules).filter(
    ({ rule }) => rule.effect === "permit" && rule.mode === "enforce" && !(hasAllowlist && rule.group === undefined),
  );
  for (const group of Map.groupBy(counting, ({ rule }) => rule.group ?? "").values()) {
    for (const glob of actions) {
      const naming = group.find(({ rule }) => rule.actions.some((pattern) => globsMeet(pattern, glob)));
      const isPermitted = group.some(({ rule }) => rule.when === undefined && rule.actions.some((pattern) => coversGlob(pattern, glob)));
      if (naming !== undefined && !isPermitted) return mustBeSeen(naming.name, "permits only some of these requests");
    }
  }
  return null;
}

function ruleNo(document: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  for (const { rule, name } of numbered(document.rules)) {
    if (rule.effect === "permit" || rule.mode !== "enforce" || !rule.actions.some((pattern) => meets(wish, pattern))) continue;
    if (rule.effect === "hold") return mustBeSeen(name, "may ask a person about each of these actions");
    if (rule.when === undefined) return { code: "rule_forbids", message: `The rule "${name}" forbids something of this.`, rule: name };
    return mustBeSeen(name, "looks at each of these actions");
  }
  return null;
}

/** What counts calls, or looks at what they are called with. */
function countingNo(document: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  const sections = [
    ["arguments", document.arguments, "looks at the inputs of each of these actions"],
    ["requires", document.requires, "wants something done before each of these actions"],
    ["concurrency", document.concurrency, "counts how many of these actions are in progress"],
    ["rate_limits", document.rate_limits, "counts these actions"],
  ] as const;
  for (const [section, patterns, why] of sections) {
    const pattern = Object.keys(patterns ?? {}).find((one) => meets(wish, one));
    if (pattern !== undefined) return mustBeSeen(pointerOf([section, pattern]), why);
  }
  if ((document.loops?.length ?? 0) > 0) return mustBeSeen("/loops", "counts calls that are alike");
  if ((document.retries?.length ?? 0) > 0) return mustBeSeen("/retries", "counts how often an action failed");
  return null;
}

/** What forbids these actions for what came before, and what asks whether one of these came before something else: it would hear of them too late. */
function lookingBackNo(document: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  const why = "looks back at these actions, and would hear of them too late";
  for (const [place, rule] of (document.history ?? []).entries()) {
    if (rule.mode !== "enforce") continue;
    const name = rule.id ?? `/history/${place}`;
    if (rule.forbid.some((pattern) => meets(wish, pattern))) return mustBeSeen(name, "looks at what came before each of these actions");
    if (looksBackAt(rule.when, wish)) return mustBeSeen(name, why);
  }
  for (const { rule, name } of numbered(document.rules)) {
    if (rule.mode === "enforce" && rule.when !== undefined && looksBackAt(rule.when, wish)) return mustBeSeen(name, why);
  }
  for (const [pattern, required] of Object.entries(document.requires ?? {})) {
    if (required.some(({ after }) => after.some((one) => meets(wish, one)))) return mustBeSeen(pointerOf(["requires", pattern]), why);
  }
  return null;
}

/** A condition that cannot be read looks back at nothing: it holds for whatever it names, whoever decides that. */
function looksBackAt(condition: string, wish: LeaseWish): boolean {
  if (!mayLookBack(condition)) return false;
  const compiled = compileExpression(condition, "rule");
  return compiled.ok && compiled.value.reads.history.some(({ pattern }) => meets(wish, pattern));
}

function priceNo({ budgets }: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  const price = budgets?.default_price;
  if (price === "deny") return mustBeSeen("/budgets/default_price", "denies what names a model without a known price");
  if (price !== undefined && storedUsd(price) > wish.amountMicroUsd)
    return mustBeSeen("/budgets/default_price", "counts more than the whole lease for what names a model without a known price");
  return null;
}

function approvalNo({ approvals }: PolicyDocument, wish: LeaseWish): LeaseNo | null {
  if (approvals === undefined) return null;
  const why = "may ask a person about each of these actions";
  if (approvals.actions?.some((pattern) => meets(wish, pattern)) === true) return mustBeSeen("/approvals/actions", why);
  if ((approvals.tags?.length ?? 0) > 0) return mustBeSeen("/approvals/tags", why);
  if ((approvals.risk_levels?.length ?? 0) > 0) return mustBeSeen("/approvals/risk_levels", why);
  if (approvals.threshold_usd !== undefined && wish.amountMicroUsd > storedUsd(approvals.threshold_usd))
    return mustBeSeen("/approvals/threshold_usd", "asks a person about what costs more than its threshold, and one action may cost the whole lease");
  return null;
}

const mustBeSeen = (rule: string, why: string): LeaseNo => ({ code: "not_leasable", message: `The policy's "${rule}" ${why}.`, rule });

const numbered = (rules: readonly Rule[] = []): readonly { readonly rule: Rule; readonly name: string }[] =>
  rules.map((rule, place) => ({ rule, name: rule.id ?? `/rules/${place}` }));
