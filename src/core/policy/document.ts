import { assert } from "../assert.ts";
import { BUDGET_WINDOWS, type BudgetWindow } from "../calendar.ts";
import { canonicalJson, type JsonValue } from "../json.ts";
import { type MicroUsd, parseUsd } from "../money.ts";
import { DETECTORS, type Detector, type Keeping } from "../redact.ts";
import { RISK_LEVELS, type RiskLevel } from "../request.ts";
import type { Mode, Reach } from "./findings.ts";
import { formatPath, parsePath } from "./paths.ts";
import { indexOf, isGlob } from "./patterns.ts";
import type { WrittenPolicy } from "./written.ts";

/**
 * A policy as it is stored: checked, and in one normal form, so that `canonicalJson(document)` is its identity. Lists are sorted and free of
 * duplicates, money is canonical decimal strings, what has a default says it, and what says nothing is left out.
 * A normal form is itself a valid policy text. It is a `type`, not an interface, so that it is a `JsonValue`.
 */
export type PolicyDocument = {
  readonly version: 1;
  readonly name?: string;
  /** `false`: every rule observes only. */
  readonly strict_mode: boolean;
  readonly budgets?: {
    readonly session?: string;
    readonly run?: string;
    readonly actions?: { readonly [pattern: string]: string };
    /** What all sessions of an agent, or of the tenant, may spend together. */
    readonly agent?: ByWindow;
    readonly tenant?: ByWindow;
    readonly on_expiry: "post" | "release";
    /** What is asked for when a request names a model without a known price. */
    readonly default_price?: string;
    /** Parts of a limit, ascending. */
    readonly alerts?: readonly number[];
  };
  readonly denied_actions?: readonly string[];
  /** Absent: all. Empty: none. */
  readonly allowed_actions?: readonly string[];
  /**
   * Further allowlists, each of which must name the action too. Merging writes them where two lists with globs meet: `db.*` and `*.read` have no
   * common list of patterns that is exact, and anything wider than both would fail open.
   */
  readonly also_allowed_actions?: readonly (readonly string[])[];
  /** Several windows of one pattern all apply; they are sorted by length, each length once for each of those whose calls are counted. */
  readonly rate_limits?: { readonly [pattern: string]: readonly Rate[] };
  readonly concurrency?: { readonly [pattern: string]: number };
  readonly loops?: readonly Loop[];
  readonly retries?: readonly Retry[];
  /** All requirements of a pattern apply. */
  readonly requires?: { readonly [pattern: string]: readonly Required[] };
  /** In the author's order, which decides only which rule is named. */
  readonly history?: readonly LookBack[];
  readonly approvals?: {
    readonly actions?: readonly string[];
    readonly tags?: readonly string[];
    readonly risk_levels?: readonly RiskLevel[];
    readonly threshold_usd?: string;
    readonly timeout_seconds: number;
    /** Absent: one person is enough. */
    readonly quorum?: number;
    /** Each of these groups must be satisfied. */
    readonly approvers?: readonly Approvers[];
    /** Absent: the agent's owner may approve. */
    readonly four_eyes?: true;
  };
  /** In the author's order, which decides only which rule is named. */
  readonly rules?: readonly Rule[];
  /** All schemas of a pattern apply. */
  readonly arguments?: { readonly [pattern: string]: readonly JsonValue[] };
  readonly redact?: {
    readonly store_inputs: Keeping;
    readonly store_outputs: Keeping;
    /** In small letters. Absent: `DEFAULT_KEYS`. Empty: none. */
    readonly keys?: readonly string[];
    /** Absent: `DEFAULT_DETECTORS`. Empty: none. */
    readonly detect?: readonly Detector[];
  };
  readonly wind_down?: { readonly actions: readonly string[]; readonly budget: string };
  readonly compliance?: { readonly [key: string]: string };
};

export type ByWindow = { readonly [W in BudgetWindow]?: string };
/** Without `per` it is the session's calls that are counted. */
export type Rate = { readonly max_count: number; readonly window_seconds: number; readonly per?: "run" | "agent" | "tenant" };
export type Loop = { readonly threshold: number; readonly window_seconds: number; readonly ignore?: readonly string[] };
export type Retry = { readonly threshold: number; readonly window_seconds: number };
export type Required = {
  readonly after: readonly string[];
  readonly within_seconds?: number;
  readonly same?: readonly string[];
  readonly where?: string;
};
export type LookBack = {
  readonly id?: string;
  readonly forbid: readonly string[];
  readonly when: string;
  readonly mode: Mode;
  readonly stops: Reach;
};
export type Approvers = { readonly subjects?: readonly string[]; readonly scopes?: readonly string[] };
export type Rule = {
  readonly id?: string;
  readonly effect: "permit" | "forbid" | "hold";
  readonly actions: readonly string[];
  /** Absent: always. */
  readonly when?: string;
  readonly mode: Mode;
  /** Only a rule that forbids has it. */
  readonly stops?: Reach;
  /**
   * Permits of one group are alternatives, whether or not there is an allowlist. Merging writes groups: each layer's permits must be satisfied
   * on their own. Permits without a group are one group together, and matter only where there is no allowlist.
   */
  readonly group?: string;
};

/** How much an author may write. What the gateway stored itself is not counted again: a merge of good policies is never refused for its size. */
export interface Bounds {
  /** Patterns in one section. */
  readonly patterns: number;
  /** Patterns of one rule. */
  readonly actions: number;
  readonly rates: number;
  /** Items of a list that belongs to one thing. */
  readonly lists: number;
  readonly notes: number;
  /** Keys of `redact`, people of a group. */
  readonly names: number;
  /** Of one text. */
  readonly characters: number;
  readonly rules: number;
  /** Characters of one condition. */
  readonly condition: number;
  /** Levels of one JSON Schema. */
  readonly depth: number;
}

export const AUTHOR_BOUNDS: Bounds = {
  patterns: 10_000,
  actions: 1000,
  rates: 16,
  lists: 16,
  notes: 100,
  names: 1000,
  characters: 256,
  rules: 20_000,
  condition: 4096,
  depth: 32,
};
const UNBOUNDED = Number.MAX_SAFE_INTEGER;
export const STORED_BOUNDS: Bounds = {
  patterns: UNBOUNDED,
  actions: UNBOUNDED,
  rates: UNBOUNDED,
  lists: UNBOUNDED,
  notes: UNBOUNDED,
  names: UNBOUNDED,
  characters: UNBOUNDED,
  rules: UNBOUNDED,
  condition: UNBOUNDED,
  // No good policy comes near it, and what is deeper could exhaust the stack.
  depth: 64,
};

export const DEFAULT_APPROVAL_TIMEOUT_SECONDS = 3600;

/** Brings a checked policy into its normal form; the normal form of a normal form is itself. */
export function normalise(written: WrittenPolicy): PolicyDocument {
  const { budgets, approvals, redact, wind_down } = written;
  const approvers = approvals?.approvers === undefined ? [] : sortedApprovers(listOf(approvals.approvers));
  const allowlists = intersectAllowlists([
    ...(written.allowed_actions === undefined ? [] : [written.allowed_actions]),
    ...(written.also_allowed_actions ?? []),
  ]);
  return {
    version: 1,
    ...(written.name !== undefined && { name: written.name }),
    strict_mode: written.strict_mode,
    ...(budgets !== undefined && {
      budgets: {
        ...(budgets.session !== undefined && { session: budgets.session }),
        ...(budgets.run !== undefined && { run: budgets.run }),
        ...(hasMembers(budgets.actions) && { actions: budgets.actions }),
        ...normalWindows("agent", budgets.agent),
        ...normalWindows("tenant", budgets.tenant),
        on_expiry: budgets.on_expiry,
        ...(budgets.default_price !== undefined && { default_price: budgets.default_price }),
        ...(hasItems(budgets.alerts) && { alerts: sortedNumbers(budgets.alerts) }),
      },
    }),
    ...(hasItems(written.denied_actions) && { denied_actions: sortedSet(written.denied_actions) }),
    ...allowlistMembers(allowlists),
    ...(hasMembers(written.rate_limits) && {
      rate_limits: Object.fromEntries(
        Object.entries(written.rate_limits).map(([pattern, rates]) => [pattern, strictestRates(listOf(rates).map(normalRate))]),
      ),
    }),
    ...(hasMembers(written.concurrency) && { concurrency: written.concurrency }),
    ...(written.loops !== undefined && listOf(written.loops).length > 0 && { loops: strictestLoops(listOf(written.loops).map(normalLoop)) }),
    ...(written.retries !== undefined && listOf(written.retries).length > 0 && { retries: strictestLoops(listOf(written.retries)) }),
    ...(hasMembers(written.requires) && {
      requires: Object.fromEntries(Object.entries(written.requires).map(([pattern, required]) => [pattern, listOf(required).map(normalRequired)])),
    }),
    ...(hasItems(written.history) && { history: written.history.map(normalLookBack) }),
    ...(approvals !== undefined && {
      approvals: {
        ...(hasItems(approvals.actions) && { actions: sortedSet(approvals.actions) }),
        ...(hasItems(approvals.tags) && { tags: sortedSet(approvals.tags) }),
        ...(hasItems(approvals.risk_levels) && { risk_levels: sortedRisks(approvals.risk_levels) }),
        ...(approvals.threshold_usd !== undefined && { threshold_usd: approvals.threshold_usd }),
        timeout_seconds: approvals.timeout_seconds,
        ...(approvals.quorum !== undefined && approvals.quorum > 1 && { quorum: approvals.quorum }),
        ...(approvers.length > 0 && { approvers }),
        ...(approvals.four_eyes === true && { four_eyes: true as const }),
      },
    }),
    ...(hasItems(written.rules) && { rules: written.rules.map(normalRule) }),
    ...(hasMembers(written.arguments) && {
      arguments: Object.fromEntries(
        Object.entries(written.arguments).map(([pattern, schemas]) => [pattern, listOf<unknown>(schemas).map(normalSchema)]),
      ),
    }),
    ...(redact !== undefined && {
      redact: {
        store_inputs: redact.store_inputs,
        store_outputs: redact.store_outputs ?? redact.store_inputs,
        ...(redact.keys !== undefined && { keys: sortedSet(redact.keys.map((key) => key.toLowerCase())) }),
        ...(redact.detect !== undefined && { detect: sortedDetectors(redact.detect) }),
      },
    }),
    ...(wind_down !== undefined && { wind_down: { actions: sortedSet(wind_down.actions), budget: wind_down.budget } }),
    ...(hasMembers(written.compliance) && { compliance: written.compliance }),
  };
}

/**
 * The normal form of "every one of these lists must name the action". Where one list has exact names only, its names that all others name are the
 * whole answer, and exact. Otherwise the lists stand side by side, without those that hold all of another. `[]` leaves nothing.
 * It depends on the set of lists alone, so that merging in any order and any grouping comes out the same.
 */
export function intersectAllowlists(lists: readonly (readonly string[])[]): readonly (readonly string[])[] {
  const exact = lists.find((list) => !list.some(isGlob));
  if (exact !== undefined) {
    const indexes = lists.map(indexOf);
    return [sortedSet(exact.filter((name) => indexes.every((index) => index.naming(name).length > 0)))];
  }
  const distinct = [...new Map(lists.map((list) => [JSON.stringify(sortedSet(list)), new Set(list)])).entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  return distinct
    .filter(([, list]) => !distinct.some(([, other]) => other !== list && [...other].every((pattern) => list.has(pattern))))
    .map(([, list]) => sortedSet([...list]));
}

/** How lists that must all name the action are written: the first as `allowed_actions`, the others beside it. */
export function allowlistMembers(lists: readonly (readonly string[])[]): Pick<PolicyDocument, "allowed_actions" | "also_allowed_actions"> {
  const [first, ...others] = lists;
  return first === undefined ? {} : { allowed_actions: first, ...(others.length > 0 && { also_allowed_actions: others }) };
}

/** All allowlists of a document; none when everything is allowed. */
export const allowlistsOf = (document: PolicyDocument): readonly (readonly string[])[] =>
  document.allowed_actions === undefined ? [] : [document.allowed_actions, ...(document.also_allowed_actions ?? [])];

/** Whether some money can be gone. */
export const hasBudget = ({ budgets }: PolicyDocument): boolean =>
  budgets?.session !== undefined ||
  budgets?.run !== undefined ||
  budgets?.actions !== undefined ||
  budgets?.agent !== undefined ||
  budgets?.tenant !== undefined;

/** Of each window's length, and of whose calls are counted, the smallest count; the shortest window first, and then the session's. */
export function strictestRates(rates: readonly Rate[]): readonly Rate[] {
  const strictest = new Map<string, Rate>();
  for (const rate of rates) {
    const { max_count, ...counted } = rate;
    const key = canonicalJson(counted);
    if (max_count < (strictest.get(key)?.max_count ?? Number.POSITIVE_INFINITY)) strictest.set(key, rate);
  }
  return [...strictest.values()].sort((a, b) => a.window_seconds - b.window_seconds || byCodeUnits(a.per ?? "", b.per ?? ""));
}

/** Of each window's length, and of each set of what is ignored, the smallest threshold; the shortest window first. */
export function strictestLoops<L extends Loop>(loops: readonly L[]): readonly L[] {
  const strictest = new Map<string, L>();
  for (const loop of loops) {
    const key = canonicalJson([loop.window_seconds, loop.ignore ?? []]);
    if (loop.threshold < (strictest.get(key)?.threshold ?? Number.POSITIVE_INFINITY)) strictest.set(key, loop);
  }
  return [...strictest].sort(([a, { window_seconds: x }], [b, { window_seconds: y }]) => x - y || byCodeUnits(a, b)).map(([, loop]) => loop);
}

export const sortedSet = (items: readonly string[]): readonly string[] => [...new Set(items)].sort();

export const sortedNumbers = (numbers: readonly number[]): readonly number[] => [...new Set(numbers)].sort((a, b) => a - b);

/** Equal ones once, in the order of their canonical texts, whatever their order was. */
export const canonically = <T>(items: readonly T[]): readonly T[] =>
  [...new Map(items.map((item) => [canonicalJson(item), item]))].sort(([a], [b]) => byCodeUnits(a, b)).map(([, item]) => item);

/** Groups that name nobody say nothing. */
export const sortedApprovers = (groups: readonly WrittenApprovers[]): readonly Approvers[] =>
  canonically<Approvers>(
    groups
      .map(({ subjects, scopes }) => ({
        ...(hasItems(subjects) && { subjects: sortedSet(subjects) }),
        ...(hasItems(scopes) && { scopes: sortedSet(scopes) }),
      }))
      .filter(hasMembers),
  );

export const sortedDetectors = (detectors: readonly Detector[]): readonly Detector[] => DETECTORS.filter((detector) => detectors.includes(detector));

/** From `low` to `critical`. */
export const sortedRisks = (levels: readonly RiskLevel[]): readonly RiskLevel[] => RISK_LEVELS.filter((level) => levels.includes(level));

/** Reads back an amount of a stored document, which was checked when it was parsed. */
export function storedUsd(amount: string): MicroUsd {
  const parsed = parseUsd(amount);
  assert(parsed.ok, `a stored policy's amounts are USD, found ${JSON.stringify(amount)}`);
  return parsed.value;
}

/** Whole milliseconds of a number of seconds that has at most three decimals. */
export const millisecondsOf = (wholeMsSeconds: number): number => Math.round(wholeMsSeconds * 1000);

type Item<T> = T extends readonly (infer I)[] ? I : never;
type Written<Section extends keyof WrittenPolicy> = Item<NonNullable<WrittenPolicy[Section]>>;
type WrittenApprovers = { readonly subjects?: readonly string[] | undefined; readonly scopes?: readonly string[] | undefined };

function normalRate(rate: { readonly max_count: number; readonly window_seconds: number; readonly per?: Rate["per"] | "session" | undefined }): Rate {
  const { max_count, window_seconds, per } = rate;
  return { max_count, window_seconds, ...(per !== undefined && per !== "session" && { per }) };
}

/** The shortest window first; one that names no window says nothing. */
function normalWindows(
  scope: "agent" | "tenant",
  written: { readonly [W in BudgetWindow]?: string | undefined } | undefined,
): { readonly [S in typeof scope]?: ByWindow } {
  const amounts = BUDGET_WINDOWS.flatMap((window) => (written?.[window] === undefined ? [] : [[window, written[window]] as const]));
  return amounts.length === 0 ? {} : { [scope]: Object.fromEntries(amounts) };
}

function normalLoop(loop: Written<"loops">): Loop {
  const { threshold, window_seconds, ignore } = loop;
  return { threshold, window_seconds, ...(hasItems(ignore) && { ignore: sortedPaths(ignore) }) };
}

function normalRequired(required: Item<NonNullable<WrittenPolicy["requires"]>[string]>): Required {
  const { after, within_seconds, same, where } = required;
  return {
    after: sortedSet(after),
    ...(within_seconds !== undefined && { within_seconds }),
    ...(hasItems(same) && { same: sortedPaths(same) }),
    ...(where !== undefined && { where }),
  };
}

function normalLookBack({ id, forbid, when, mode, stops }: Written<"history">): LookBack {
  return { ...(id !== undefined && { id }), forbid: sortedSet(listOf(forbid)), when, mode, stops };
}

function normalRule({ id, effect, actions, when, mode, stops, group }: Written<"rules">): Rule {
  return {
    ...(id !== undefined && { id }),
    effect,
    actions: sortedSet(actions),
    ...(when !== undefined && { when }),
    mode,
    ...(effect === "forbid" && { stops: stops ?? "action" }),
    ...(group !== undefined && { group }),
  };
}

// Parsing saw to it that it is JSON. Printed and read again it has no -0, and shares nothing with what it was read from.
const normalSchema = (schema: unknown): JsonValue => JSON.parse(JSON.stringify(schema));

const sortedPaths = (texts: readonly string[]): readonly string[] => sortedSet(texts.map((text) => formatPath(parsePath(text) ?? [])));

/** What an author may write alone or as a list. */
const listOf = <T>(oneOrMany: T | readonly T[]): readonly T[] =>
  // The cast says what `isArray` cannot for a readonly list: T itself is never one.
  Array.isArray(oneOrMany) ? (oneOrMany as readonly T[]) : [oneOrMany as T];

const byCodeUnits = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const hasItems = <T>(list: readonly T[] | undefined): list is readonly T[] => list !== undefined && list.length > 0;
const hasMembers = <T extends object>(record: T | undefined): record is T => record !== undefined && Object.keys(record).length > 0;
