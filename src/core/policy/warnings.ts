import { matchesGlob } from "../glob.ts";
import { allowlistsOf, hasBudget, type PolicyDocument, storedUsd } from "./document.ts";
import type { Finding } from "./parse.ts";
import { indexOf, isGlob } from "./patterns.ts";
import type { WrittenPolicy } from "./written.ts";

/**
 * What a good policy says in vain, or may not mean: it is enforced exactly as written all the same.
 * `written` is the policy in its author's order, so that a warning can point at the very item.
 */
export function* policyWarnings(written: WrittenPolicy, document: PolicyDocument): Iterable<Finding> {
  yield* ofTheWhole(document);
  yield* doubled(written);
  yield* neverReached(written, document);
  yield* budgetsOutOfReach(document);
  yield* notEnforced(document);
}

function* ofTheWhole(document: PolicyDocument): Iterable<Finding> {
  const { strict_mode, allowed_actions, approvals, budgets } = document;
  const { denied_actions, rate_limits, concurrency, loops, retries, requires, history, rules } = document;
  const limits = [denied_actions, allowed_actions, rate_limits, concurrency, loops, retries, requires, history, rules, document.arguments, approvals];
  if (limits.every((section) => section === undefined) && !hasBudget(document) && budgets?.default_price !== "deny") {
    yield warning([], "the policy limits nothing: every action is allowed");
  }
  if (!strict_mode) yield warning(["strict_mode"], "the policy only observes: what it would refuse is recorded and allowed");
  if (allowed_actions?.length === 0) yield warning(["allowed_actions"], "no action is allowed: the allowlists have nothing in common or are empty");
  const holding = rules?.some(({ effect }) => effect === "hold") ?? false;
  if (
    approvals !== undefined &&
    !holding &&
    !approvals.actions &&
    !approvals.tags &&
    !approvals.risk_levels &&
    approvals.threshold_usd === undefined
  ) {
    yield warning(["approvals"], "approvals names nothing that needs one: no request is ever held");
  }
  const groups = approvals?.approvers ?? [];
  const people = new Set(groups.flatMap(({ subjects = [] }) => subjects));
  // Who has a scope is not known here.
  if (groups.length > 0 && groups.every(({ scopes = [] }) => scopes.length === 0) && people.size < (approvals?.quorum ?? 1)) {
    yield warning(
      ["approvals", "quorum"],
      `never reached: ${people.size} may approve, and ${approvals?.quorum} must: what is held waits until it expires`,
    );
  }
  if (document.wind_down !== undefined && !hasBudget(document)) {
    yield warning(["wind_down"], "in vain: there is no budget of a session, a run or an action that could be gone");
  }
  if (budgets?.alerts !== undefined && !hasBudget(document)) yield warning(["budgets", "alerts"], "in vain: there is no budget to be reached");
}

function* doubled(written: WrittenPolicy): Iterable<Finding> {
  const lists: readonly (readonly [readonly string[], readonly string[] | undefined])[] = [
    [["denied_actions"], written.denied_actions],
    [["allowed_actions"], written.allowed_actions],
    [["approvals", "actions"], written.approvals?.actions],
    [["approvals", "tags"], written.approvals?.tags],
    [["approvals", "risk_levels"], written.approvals?.risk_levels],
    [["redact", "keys"], written.redact?.keys],
    [["wind_down", "actions"], written.wind_down?.actions],
  ];
  for (const [path, list] of lists) {
    const seen = new Set<string>();
    for (const [index, item] of (list ?? []).entries()) {
      if (seen.has(item)) yield warning([...path, index], `${JSON.stringify(item)} is in the list twice`);
      seen.add(item);
    }
  }
}

function* neverReached(written: WrittenPolicy, document: PolicyDocument): Iterable<Finding> {
  const { denied_actions = [], rules = [], history = [] } = document;
  const allowlists = allowlistsOf(document);
  const limited: readonly (readonly [readonly PropertyKey[], string])[] = [
    ...Object.keys(written.budgets?.actions ?? {}).map((name) => [["budgets", "actions", name], name] as const),
    ...Object.keys(written.rate_limits ?? {}).map((name) => [["rate_limits", name], name] as const),
    ...Object.keys(written.concurrency ?? {}).map((name) => [["concurrency", name], name] as const),
    ...Object.keys(written.requires ?? {}).map((name) => [["requires", name], name] as const),
    ...Object.keys(written.arguments ?? {}).map((name) => [["arguments", name], name] as const),
    ...(written.approvals?.actions ?? []).map((name, index) => [["approvals", "actions", index], name] as const),
    ...(written.wind_down?.actions ?? []).map((name, index) => [["wind_down", "actions", index], name] as const),
  ];
  const aimed: readonly (readonly [readonly PropertyKey[], readonly string[]])[] = [
    ...rules.map(({ actions }, index) => [["rules", index], actions] as const),
    ...history.map(({ forbid }, index) => [["history", index], forbid] as const),
  ];
  const globs = [...denied_actions, ...allowlists.flat()].filter(isGlob).length;
  const names = limited.length + (written.allowed_actions?.length ?? 0) + aimed.reduce((sum, [, patterns]) => sum + patterns.length, 0);
  // Every name would be held against every glob. A warning is a courtesy, and not worth a text that makes it slow.
  if (globs * names > MOST_COMPARISONS) return;

  const denied = indexOf(denied_actions);
  const deniedGlobs = new Set(denied_actions.filter(isGlob));
  const allowed = allowlists.map(indexOf);
  const deniedBy = (pattern: string): string | undefined =>
    isGlob(pattern) ? (deniedGlobs.has(pattern) ? pattern : undefined) : denied.naming(pattern)[0]?.pattern;
  const whyNever = (name: string): string | null => {
    if (isGlob(name)) return null;
    if (denied.naming(name).length > 0) return `denied_actions names ${JSON.stringify(name)}`;
    return allowed.some((list) => list.naming(name).length === 0) ? `allowed_actions does not name ${JSON.stringify(name)}` : null;
  };

  for (const [index, pattern] of (written.allowed_actions ?? []).entries()) {
    const by = deniedBy(pattern);
    if (by !== undefined) yield warning(["allowed_actions", index], `never allowed: denied_actions has ${JSON.stringify(by)}, and deny wins`);
  }
  for (const [path, name] of limited) {
    const why = whyNever(name);
    if (why !== null) yield warning(path, `in vain: ${why}`);
  }
  for (const [path, patterns] of aimed) {
    if (patterns.every((pattern) => deniedBy(pattern) !== undefined || whyNever(pattern) !== null)) {
      yield warning(path, "in vain: its actions are all denied or not allowed before any rule is asked");
    }
  }
  for (const [index, rule] of rules.entries()) {
    if (rule.effect === "permit" && rule.group === undefined && document.allowed_actions !== undefined) {
      yield warning(["rules", index], "in vain: next to allowed_actions a rule that permits does not matter");
    }
  }
  yield* neverSatisfied(written, whyNever);
}

const MOST_COMPARISONS = 200_000;

/** Prerequisites that can never stand in the record, so that what requires them is never allowed. */
function* neverSatisfied(written: WrittenPolicy, whyNever: (name: string) => string | null): Iterable<Finding> {
  for (const [pattern, said] of Object.entries(written.requires ?? {})) {
    const listed = "length" in said;
    for (const [index, { after }] of (listed ? said : [said]).entries()) {
      for (const [place, earlier] of after.entries()) {
        const path = ["requires", pattern, ...(listed ? [index] : []), "after", place];
        const why = whyNever(earlier);
        if (earlier === pattern || (!isGlob(earlier) && matchesGlob(pattern, earlier))) {
          yield warning(path, `never satisfied: ${JSON.stringify(earlier)} would have to come before itself`);
        } else if (why !== null) yield warning(path, `never satisfied: ${why}`);
      }
    }
  }
}

function* notEnforced({ rules, history }: PolicyDocument): Iterable<Finding> {
  for (const [section, list] of [
    ["rules", rules ?? []],
    ["history", history ?? []],
  ] as const) {
    for (const [index, { mode }] of list.entries()) {
      if (mode === "observe") yield warning([section, index, "mode"], "the rule only observes: its no is recorded and does not count");
      if (mode === "warn") yield warning([section, index, "mode"], "the rule only warns: its no is advice and does not count");
    }
  }
}

function* budgetsOutOfReach({ budgets }: PolicyDocument): Iterable<Finding> {
  if (budgets?.session === undefined || budgets.run === undefined) return;
  if (storedUsd(budgets.run) > storedUsd(budgets.session)) {
    yield warning(["budgets", "run"], `out of reach: the session's budget of ${budgets.session} USD ends before it`);
  }
}

const warning = (path: readonly PropertyKey[], message: string): Finding => ({ path, part: "value", message });
