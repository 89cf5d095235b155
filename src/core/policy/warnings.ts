import { allowlistsOf, type PolicyDocument, storedUsd, type WrittenPolicy } from "./document.ts";
import type { Finding } from "./parse.ts";
import { indexOf, isGlob } from "./patterns.ts";

/**
 * What a good policy says in vain, or may not mean: it is enforced exactly as written all the same.
 * `written` is the policy in its author's order, so that a warning can point at the very item.
 */
export function policyWarnings(written: WrittenPolicy, document: PolicyDocument): readonly Finding[] {
  return [...ofTheWhole(document), ...doubled(written), ...neverReached(written, document), ...budgetsOutOfReach(document)];
}

function* ofTheWhole(document: PolicyDocument): Iterable<Finding> {
  const { strict_mode, allowed_actions, approvals, budgets } = document;
  const limits = [document.denied_actions, allowed_actions, document.rate_limits, document.concurrency, approvals];
  if (limits.every((section) => section === undefined) && budgets?.session === undefined && budgets?.run === undefined && !budgets?.actions) {
    yield warning([], "the policy limits nothing: every action is allowed");
  }
  if (!strict_mode) yield warning(["strict_mode"], "the policy only observes: what it would refuse is recorded and allowed");
  if (allowed_actions?.length === 0) yield warning(["allowed_actions"], "no action is allowed: the allowlists have nothing in common or are empty");
  if (approvals !== undefined && !approvals.actions && !approvals.tags && !approvals.risk_levels && approvals.threshold_usd === undefined) {
    yield warning(["approvals"], "approvals names nothing that needs one: no request is ever held");
  }
}

function* doubled(written: WrittenPolicy): Iterable<Finding> {
  const lists: readonly (readonly [readonly string[], readonly string[] | undefined])[] = [
    [["denied_actions"], written.denied_actions],
    [["allowed_actions"], written.allowed_actions],
    [["approvals", "actions"], written.approvals?.actions],
    [["approvals", "tags"], written.approvals?.tags],
    [["approvals", "risk_levels"], written.approvals?.risk_levels],
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
  const denied = indexOf(document.denied_actions ?? []);
  const deniedGlobs = new Set(document.denied_actions?.filter(isGlob));
  const allowed = allowlistsOf(document).map(indexOf);
  for (const [index, pattern] of (written.allowed_actions ?? []).entries()) {
    const by = isGlob(pattern) ? (deniedGlobs.has(pattern) ? pattern : undefined) : denied.naming(pattern)[0]?.pattern;
    if (by !== undefined) yield warning(["allowed_actions", index], `never allowed: denied_actions has ${JSON.stringify(by)}, and deny wins`);
  }
  const limited: readonly (readonly [readonly PropertyKey[], string])[] = [
    ...Object.keys(written.budgets?.actions ?? {}).map((name) => [["budgets", "actions", name], name] as const),
    ...Object.keys(written.rate_limits ?? {}).map((name) => [["rate_limits", name], name] as const),
    ...Object.keys(written.concurrency ?? {}).map((name) => [["concurrency", name], name] as const),
    ...(written.approvals?.actions ?? []).map((name, index) => [["approvals", "actions", index], name] as const),
  ];
  for (const [path, name] of limited) {
    if (isGlob(name)) continue;
    if (denied.naming(name).length > 0) yield warning(path, `in vain: denied_actions names ${JSON.stringify(name)}`);
    else if (allowed.some((list) => list.naming(name).length === 0))
      yield warning(path, `in vain: allowed_actions does not name ${JSON.stringify(name)}`);
  }
}

function* budgetsOutOfReach({ budgets }: PolicyDocument): Iterable<Finding> {
  if (budgets?.session === undefined || budgets.run === undefined) return;
  if (storedUsd(budgets.run) > storedUsd(budgets.session)) {
    yield warning(["budgets", "run"], `out of reach: the session's budget of ${budgets.session} USD ends before it`);
  }
}

const warning = (path: readonly PropertyKey[], message: string): Finding => ({ path, part: "value", message });
