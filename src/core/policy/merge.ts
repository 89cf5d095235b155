import { assert } from "../assert.ts";
import { allowlistMembers, allowlistsOf, intersectAllowlists, type PolicyDocument, sortedRisks, sortedSet, storedUsd } from "./document.ts";
import { indexOf, isGlob } from "./patterns.ts";

/** One of the documents that hold for an agent together: the tenant's, the agent's. */
export interface Layer {
  readonly name: string;
  readonly version: number;
  readonly document: PolicyDocument;
}

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
 * The policy that is as strict as all layers together: what it permits, each of them permits. Deny lists and approvals unite, allowlists
 * intersect exactly, limits and time-outs take the minimum, rates the smaller count of every window's length, `strict_mode` holds when one layer
 * is strict, `post` wins over `release`. A layer counts with its defaults; a section that it does not have says nothing.
 * Order and grouping of the layers do not matter, and one layer alone is itself.
 */
export function mergePolicies(layers: readonly Layer[]): Merged {
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
    ...optional("approvals", mergedApprovals(layers, settle)),
    ...optional(
      "compliance",
      perPattern(
        layers,
        ({ compliance }) => compliance,
        (key, of) => mergedNote(layers, settle, key, of),
      ),
    ),
  };
  return { document, conflicts: [...settle.conflicts, ...allowlistConflicts(layers, document)].slice(0, MOST_CONFLICTS) };
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
    on_expiry,
  };
}

function mergedRates(layers: readonly Layer[], settle: Settling): PolicyDocument["rate_limits"] {
  return perPattern(
    layers,
    ({ rate_limits }) => rate_limits,
    (pattern, of) => {
      const windows = new Set(saying(layers, of).flatMap((rates) => rates.map((rate) => rate.window_seconds)));
      return [...windows]
        .sort((a, b) => a - b)
        .flatMap((window_seconds) => {
          const countOf: Says<number> = (document) => of(document)?.find((rate) => rate.window_seconds === window_seconds)?.max_count;
          const max_count = settle(`/rate_limits/${escaped(pattern)}`, countOf, Math.min);
          return max_count === undefined ? [] : [{ max_count, window_seconds }];
        });
    },
  );
}

function mergedApprovals(layers: readonly Layer[], settle: Settling): PolicyDocument["approvals"] {
  const timeout_seconds = settle("/approvals/timeout_seconds", ({ approvals }) => approvals?.timeout_seconds, Math.min);
  if (timeout_seconds === undefined) return undefined;
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

/** One text as it is; several as the sorted set of their parts, so that joining again changes nothing. */
function joined(texts: readonly string[], separator: string): string | undefined {
  const [first] = texts;
  if (first === undefined || texts.every((text) => text === first)) return first;
  return sortedSet(texts.flatMap((text) => text.split(separator))).join(separator);
}

const lesserUsd = (a: string, b: string): string => (storedUsd(a) <= storedUsd(b) ? a : b);

const escaped = (key: string): string => key.replaceAll("~", "~0").replaceAll("/", "~1");

/** A member that is there only when it says something. */
const optional = <K extends string, V>(key: K, value: V | undefined): { readonly [key in K]?: V } =>
  // The computed key widens to `string`; it is K, and the member is there only with a value.
  (value === undefined ? {} : { [key]: value }) as { readonly [key in K]?: V };
