import { assert } from "../assert.ts";
import { BUDGET_WINDOWS } from "../calendar.ts";
import { canonicalJson } from "../json.ts";
import { DEFAULT_DETECTORS, DEFAULT_KEYS } from "../redact.ts";
import {
  allowlistMembers,
  allowlistsOf,
  type ByWindow,
  canonically,
  hasBudget,
  intersectAllowlists,
  type LookBack,
  type PolicyDocument,
  type Rule,
  sortedApprovers,
  sortedDetectors,
  sortedNumbers,
  sortedRisks,
  sortedSet,
  storedUsd,
  strictestLoops,
  strictestRates,
} from "./document.ts";
import { indexOf, isGlob } from "./patterns.ts";

/** One of the documents that hold for an agent together: the tenant's, the agent's. */
export interface Layer {
  readonly name: string;
  readonly version: number;
  readonly document: PolicyDocument;
}

/**
 * What records call several layers together: `name@version` of each, in order, joined by `+`. No policy's name has either sign, so whoever reads it
 * can fetch every layer and merge them again.
 */
export const nameOfLayers = (layers: readonly Pick<Layer, "name" | "version">[]): string =>
  layers.map(({ name, version }) => `${name}@${version}`).join("+");

/** A member on which layers disagree, and what counts. */
export interface Conflict {
  readonly pointer: string;
  readonly message: string;
}

export interface Merged {
  readonly document: PolicyDocument;
  /** At most 100, for people; the document is exact whatever they say. */
  readonly conflicts: readonly Conflict[];
}

/**
 * The policy that is as strict as all layers together: what it permits, each of them permits. Deny lists, approvals, rules, requirements, schemas
 * and redaction unite, allowlists intersect exactly, limits and time-outs take the minimum, rates the smaller count of every window's length,
 * `strict_mode` holds when one layer is strict, `post` wins over `release`, a price that is denied over one that is reserved. Each layer's permit
 * rules must be satisfied on their own. Winding down loosens: it stands only if every layer with a budget has it, for the patterns they share.
 * A layer counts with its defaults; a section that it does not have says nothing.
 * Order and grouping of the layers do not matter, and one layer alone, or the same one again, is itself.
 */
export function mergePolicies(named: readonly Layer[]): Merged {
  const layers = [...new Map(named.map((layer) => [canonicalJson(layer.document), layer])).values()];
  const [first, ...others] = layers;
  assert(first !== undefined, "a merge has at least one layer: none would permit everything");
  if (others.length === 0) return { document: first.document, conflicts: [] };

  const settle = settling(layers);
  const document: PolicyDocument = {
    version: 1,
    ...optional(
      "name",
      joined(
        saying(layers, ({ name }) => name),
        "+",
      ),
    ),
    strict_mode:
      settle(
        "/strict_mode",
        ({ strict_mode }) => strict_mode,
        (a, b) => a || b,
      ) ?? true,
    ...optional("budgets", mergedBudgets(layers, settle)),
    ...optional("denied_actions", union(saying(layers, ({ denied_actions }) => denied_actions))),
    ...allowlistMembers(intersectAllowlists(layers.flatMap((layer) => allowlistsOf(layer.document)))),
    ...optional("rate_limits", mergedRates(layers, settle)),
    ...optional(
      "concurrency",
      perPattern(
        layers,
        ({ concurrency }) => concurrency,
        (pattern, of) => settle(`/concurrency/${escaped(pattern)}`, of, Math.min),
      ),
    ),
    ...optional("loops", mergedLoops(layers, settle, "loops")),
    ...optional("retries", mergedLoops(layers, settle, "retries")),
    ...optional(
      "requires",
      perPattern(
        layers,
        ({ requires }) => requires,
        (_, of) => canonically(saying(layers, of).flat()),
      ),
    ),
    ...optional("history", mergedHistory(layers)),
    ...optional("approvals", mergedApprovals(layers, settle)),
    ...optional("rules", mergedRules(layers)),
    ...optional(
      "arguments",
      perPattern(
        layers,
        (document) => document.arguments,
        (_, of) => canonically(saying(layers, of).flat()),
      ),
    ),
    ...optional("redact", mergedRedact(layers, settle)),
    ...optional("wind_down", mergedWindDown(layers, settle)),
    ...optional(
      "compliance",
      perPattern(
        layers,
        ({ compliance }) => compliance,
        (key, of) => mergedNote(layers, settle, key, of),
      ),
    ),
  };
  const conflicts = [...settle.conflicts, ...allowlistConflicts(layers, document), ...sharedIds(layers), ...windDownConflicts(layers, document)];
  return { document, conflicts: conflicts.slice(0, MOST_CONFLICTS) };
}

const MOST_CONFLICTS = 100;

type Says<T> = (document: PolicyDocument) => T | undefined;
type Value = string | number | boolean;

interface Settling {
  /** The strictest of what the layers say; a difference between them is a conflict. `undefined`: none says anything. */
  <T extends Value>(pointer: string, of: Says<T>, stricter: (a: T, b: T) => T): T | undefined;
  readonly conflicts: readonly Conflict[];
}

function settling(layers: readonly Layer[]): Settling {
  const conflicts: Conflict[] = [];
  const settle = <T extends Value>(pointer: string, of: Says<T>, stricter: (a: T, b: T) => T): T | undefined => {
    const values = saying(layers, of);
    if (values.length === 0) return undefined;
    const strictest = values.reduce((a, b) => stricter(a, b));
    if (values.some((value) => value !== values[0]) && conflicts.length < MOST_CONFLICTS) {
      const said = layers.flatMap((layer) => {
        const value = of(layer.document);
        return value === undefined ? [] : [`${layer.name} (version ${layer.version}) says ${value}`];
      });
      conflicts.push({ pointer, message: `${said.join(", ")}; ${strictest} counts` });
    }
    return strictest;
  };
  return Object.assign(settle, { conflicts });
}

function mergedBudgets(layers: readonly Layer[], settle: Settling): PolicyDocument["budgets"] {
  const on_expiry = settle(
    "/budgets/on_expiry",
    ({ budgets }) => budgets?.on_expiry,
    (a, b) => (a === "post" ? a : b),
  );
  if (on_expiry === undefined) return undefined;
  return {
    ...optional(
      "session",
      settle("/budgets/session", ({ budgets }) => budgets?.session, lesserUsd),
    ),
    ...optional(
      "run",
      settle("/budgets/run", ({ budgets }) => budgets?.run, lesserUsd),
    ),
    ...optional(
      "actions",
      perPattern(
        layers,
        ({ budgets }) => budgets?.actions,
        (pattern, of) => settle(`/budgets/actions/${escaped(pattern)}`, of, lesserUsd),
      ),
    ),
    ...optional("agent", mergedWindows("agent", settle)),
    ...optional("tenant", mergedWindows("tenant", settle)),
    on_expiry,
    ...optional(
      "default_price",
      settle("/budgets/default_price", ({ budgets }) => budgets?.default_price, dearerPrice),
    ),
    ...optional(
      "alerts",
      unionOf(
        saying(layers, ({ budgets }) => budgets?.alerts),
        sortedNumbers,
      ),
    ),
  };
}

function mergedWindows(scope: "agent" | "tenant", settle: Settling): ByWindow | undefined {
  const amounts = BUDGET_WINDOWS.flatMap((window) => {
    const amount = settle(`/budgets/${scope}/${window}`, ({ budgets }) => budgets?.[scope]?.[window], lesserUsd);
    return amount === undefined ? [] : [[window, amount] as const];
  });
  return amounts.length === 0 ? undefined : Object.fromEntries(amounts);
}

function mergedRates(layers: readonly Layer[], settle: Settling): PolicyDocument["rate_limits"] {
  return perPattern(
    layers,
    ({ rate_limits }) => rate_limits,
    (pattern, of) => {
      const rates = strictestRates(saying(layers, of).flat());
      for (const { window_seconds, per } of rates) {
        const countOf: Says<number> = (document) =>
          of(document)?.find((rate) => rate.window_seconds === window_seconds && rate.per === per)?.max_count;
        settle(`/rate_limits/${escaped(pattern)}`, countOf, Math.min);
      }
      return rates;
    },
  );
}

function mergedLoops(layers: readonly Layer[], settle: Settling, section: "loops" | "retries"): PolicyDocument["loops"] {
  const of: Says<NonNullable<PolicyDocument["loops"]>> = (document) => document[section];
  const loops = strictestLoops(saying(layers, of).flat());
  for (const { window_seconds, ignore } of loops) {
    const alike = canonicalJson(ignore ?? []);
    const thresholdOf: Says<number> = (document) =>
      of(document)?.find((loop) => loop.window_seconds === window_seconds && canonicalJson(loop.ignore ?? []) === alike)?.threshold;
    settle(`/${section}`, thresholdOf, Math.min);
  }
  return loops.length === 0 ? undefined : loops;
}

function mergedHistory(layers: readonly Layer[]): readonly LookBack[] | undefined {
  return unionOf(
    saying(layers, ({ history }) => history),
    canonically,
  );
}

/**
 * What forbids or holds unites. Permit rules are alternatives within a layer, not across layers: each layer's are a group, and each group must be
 * satisfied. Groups are numbered by what they hold, so that their numbers do not depend on who is merged with whom first.
 * The order decides only which rule is named, and is that of the rules' texts.
 */
function mergedRules(layers: readonly Layer[]): readonly Rule[] | undefined {
  const refusing = layers.flatMap(({ document }) => (document.rules ?? []).filter(({ effect }) => effect !== "permit"));
  const groups = canonically(layers.flatMap(({ document }) => permitGroups(document)).map((rules) => canonically(rules)));
  const permitting = groups.flatMap((rules, index) => rules.map((rule) => ({ ...rule, group: String(index + 1) })));
  const rules = canonically<Rule>([...refusing, ...permitting]);
  return rules.length === 0 ? undefined : rules;
}

/** The groups of permit rules that count in a document, without their names. Next to an allowlist those without a group do not. */
function permitGroups({ rules, allowed_actions }: PolicyDocument): readonly (readonly Rule[])[] {
  const groups = new Map<string | undefined, Rule[]>();
  for (const { group, ...rule } of rules ?? []) {
    if (rule.effect !== "permit" || (group === undefined && allowed_actions !== undefined)) continue;
    const members = groups.get(group) ?? [];
    members.push(rule);
    groups.set(group, members);
  }
  return [...groups.values()];
}

function mergedRedact(layers: readonly Layer[], settle: Settling): PolicyDocument["redact"] {
  const least = <K extends string>(a: K, b: K): K => (KEPT.indexOf(a) <= KEPT.indexOf(b) ? a : b);
  const store_inputs = settle("/redact/store_inputs", ({ redact }) => redact?.store_inputs, least);
  const store_outputs = settle("/redact/store_outputs", ({ redact }) => redact?.store_outputs, least);
  if (store_inputs === undefined || store_outputs === undefined) return undefined;
  // Who names none hides what is hidden by default: that is written out as soon as another layer names any.
  const names = <K extends "keys" | "detect">(member: K): boolean => layers.some(({ document }) => document.redact?.[member] !== undefined);
  return {
    store_inputs,
    store_outputs,
    ...(names("keys") && { keys: sortedSet(layers.flatMap(({ document }) => document.redact?.keys ?? DEFAULT_KEYS)) }),
    ...(names("detect") && { detect: sortedDetectors(layers.flatMap(({ document }) => document.redact?.detect ?? DEFAULT_DETECTORS)) }),
  };
}

/** From the least that is kept to the most. */
const KEPT: readonly string[] = ["none", "digest", "full"];

/**
 * Only layers with a budget have a say: without one nothing is ever gone. One of them that has no reserve would deny what the others wind down with.
 * Patterns are shared when they are written alike: a common pattern of `save_*` and `*_state` would not be exact, and this is the safe side.
 */
function mergedWindDown(layers: readonly Layer[], settle: Settling): PolicyDocument["wind_down"] {
  const concerned = layers.filter(({ document }) => hasBudget(document));
  const lists = saying(concerned, ({ wind_down }) => wind_down?.actions);
  if (lists.length < concerned.length) return undefined;
  const actions = sortedSet(lists[0] ?? []).filter((pattern) => lists.every((list) => list.includes(pattern)));
  if (actions.length === 0) return undefined;
  const budget = settle("/wind_down/budget", (document) => (hasBudget(document) ? document.wind_down?.budget : undefined), lesserUsd);
  return budget === undefined ? undefined : { actions, budget };
}

function mergedApprovals(layers: readonly Layer[], settle: Settling): PolicyDocument["approvals"] {
  const timeout_seconds = settle("/approvals/timeout_seconds", ({ approvals }) => approvals?.timeout_seconds, Math.min);
  if (timeout_seconds === undefined) return undefined;
  const quorum = settle("/approvals/quorum", ({ approvals }) => approvals && (approvals.quorum ?? 1), Math.max) ?? 1;
  const risks = saying(layers, ({ approvals }) => approvals?.risk_levels).flat();
  return {
    ...optional("actions", union(saying(layers, ({ approvals }) => approvals?.actions))),
    ...optional("tags", union(saying(layers, ({ approvals }) => approvals?.tags))),
    ...(risks.length > 0 && { risk_levels: sortedRisks(risks) }),
    ...optional(
      "threshold_usd",
      settle("/approvals/threshold_usd", ({ approvals }) => approvals?.threshold_usd, lesserUsd),
    ),
    timeout_seconds,
    ...(quorum > 1 && { quorum }),
    ...optional(
      "approvers",
      unionOf(
        saying(layers, ({ approvals }) => approvals?.approvers),
        sortedApprovers,
      ),
    ),
    ...(layers.some(({ document }) => document.approvals?.four_eyes) && { four_eyes: true as const }),
  };
}

/** What layers note differently stands side by side: of two notes for an auditor neither is the stricter, and none may be lost. */
function mergedNote(layers: readonly Layer[], settle: Settling, key: string, of: Says<string>): string | undefined {
  const note = joined(saying(layers, of), "; ");
  return note === undefined ? undefined : settle(`/compliance/${escaped(key)}`, of, () => note);
}

function* allowlistConflicts(layers: readonly Layer[], merged: PolicyDocument): Iterable<Conflict> {
  const listing = layers.filter((layer) => layer.document.allowed_actions !== undefined);
  if (merged.allowed_actions?.length === 0 && listing.every((layer) => layer.document.allowed_actions?.length !== 0)) {
    yield {
      pointer: "/allowed_actions",
      message: `the allowlists of ${listing.map(({ name }) => name).join(", ")} have nothing in common; no action is allowed`,
    };
  }
  for (const denying of layers) {
    const denied = indexOf(denying.document.denied_actions ?? []);
    for (const allowing of listing) {
      if (allowing === denying) continue;
      for (const name of allowing.document.allowed_actions ?? []) {
        if (!isGlob(name) && denied.naming(name).length > 0) {
          yield { pointer: "/denied_actions", message: `${denying.name} denies ${name}, which ${allowing.name} allows; deny wins` };
        }
      }
    }
  }
}

/** Rules of one id in several layers all apply, each as its layer wrote it; the record names them alike. */
function* sharedIds(layers: readonly Layer[]): Iterable<Conflict> {
  for (const section of ["rules", "history"] as const) {
    const known = new Map<string, { readonly layer: Layer; readonly text: string }>();
    for (const layer of layers) {
      for (const rule of layer.document[section] ?? []) {
        if (rule.id === undefined) continue;
        const text = canonicalJson(rule);
        const other = known.get(rule.id);
        if (other === undefined) known.set(rule.id, { layer, text });
        else if (other.text !== text && other.layer !== layer) {
          yield { pointer: `/${section}`, message: `${other.layer.name} and ${layer.name} have different rules with the id ${rule.id}; both count` };
        }
      }
    }
  }
}

function* windDownConflicts(layers: readonly Layer[], merged: PolicyDocument): Iterable<Conflict> {
  const winding = layers.filter(({ document }) => document.wind_down !== undefined && hasBudget(document));
  if (merged.wind_down !== undefined || winding.length === 0) return;
  const without = layers.filter(({ document }) => document.wind_down === undefined && hasBudget(document));
  const why =
    without.length > 0
      ? `${without.map(({ name }) => name).join(", ")} has a budget and no reserve to wind down with`
      : `the lists of ${winding.map(({ name }) => name).join(", ")} share no pattern`;
  yield { pointer: "/wind_down", message: `${why}; nothing is allowed after a budget is gone` };
}

/** Merges a record member by member, over all patterns that any layer has. */
function perPattern<V, W>(
  layers: readonly Layer[],
  of: Says<{ readonly [pattern: string]: V }>,
  merge: (pattern: string, of: Says<V>) => W | undefined,
): { readonly [pattern: string]: W } | undefined {
  const patterns = sortedSet(saying(layers, of).flatMap(Object.keys));
  const members = patterns.flatMap((pattern) => {
    const merged = merge(pattern, (document) => {
      const record = of(document);
      return record !== undefined && Object.hasOwn(record, pattern) ? record[pattern] : undefined;
    });
    return merged === undefined ? [] : [[pattern, merged] as const];
  });
  return members.length === 0 ? undefined : Object.fromEntries(members);
}

const saying = <T>(layers: readonly Layer[], of: Says<T>): readonly T[] =>
  layers.flatMap((layer) => {
    const value = of(layer.document);
    return value === undefined ? [] : [value];
  });

const union = (lists: readonly (readonly string[])[]): readonly string[] | undefined => (lists.length === 0 ? undefined : sortedSet(lists.flat()));

const unionOf = <T>(lists: readonly (readonly T[])[], sort: (items: readonly T[]) => readonly T[]): readonly T[] | undefined =>
  lists.length === 0 ? undefined : sort(lists.flat());

/** One text as it is; several as the sorted set of their parts, so that joining again changes nothing. */
function joined(texts: readonly string[], separator: string): string | undefined {
  const [first] = texts;
  if (texts.every((text) => text === first)) return first;
  return sortedSet(texts.flatMap((text) => text.split(separator))).join(separator);
}

const lesserUsd = (a: string, b: string): string => (storedUsd(a) <= storedUsd(b) ? a : b);

/** What is reserved for an unknown price: nothing at all is the strictest, then the larger amount. */
const dearerPrice = (a: string, b: string): string => (a === "deny" || (b !== "deny" && storedUsd(a) >= storedUsd(b)) ? a : b);

const escaped = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1");

/** A member that is there only when it says something. */
const optional = <K extends string, V>(key: K, value: V | undefined): { readonly [key in K]?: V } =>
  // The computed key widens to `string`; it is K, and the member is there only with a value.
  (value === undefined ? {} : { [key]: value }) as { readonly [key in K]?: V };
