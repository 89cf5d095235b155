import { canonicalJson, type JsonValue } from "../core/json.ts";
import { DEFAULT_APPROVAL_TIMEOUT_SECONDS, type PolicyDocument, type Rule, storedUsd } from "../core/policy/document.ts";
import { indexOf } from "../core/policy/patterns.ts";
import { DEFAULT_DETECTORS, DEFAULT_KEYS, plainKey } from "../core/redact.ts";
import { RISK_LEVELS } from "../core/request.ts";

/** `tighter`: nothing that was refused is allowed by this alone, and more is refused. `different`: neither can be said of every request. */
export type Direction = "tighter" | "looser" | "different";

/** One thing that two policies say otherwise. */
export interface Difference {
  readonly section: string;
  /** A pointer into the normal form; a rule by its id. */
  readonly at: string;
  readonly change: "added" | "removed" | "changed";
  readonly direction: Direction;
  /** Absent where it was added, or removed. */
  readonly before?: JsonValue;
  readonly after?: JsonValue;
}

/**
 * What the second policy says otherwise than the first, in normal form: what only looks different is not told. Each difference is judged alone, as if the
 * rest were alike. No difference means that both decide every request alike.
 */
export function policyDifferences(a: PolicyDocument, b: PolicyDocument): readonly Difference[] {
  const sections = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort((x, y) => rank(x) - rank(y));
  return sections.flatMap((section) => {
    const before = sectionOf(a, section);
    const after = sectionOf(b, section);
    if (canonicalJson(meant(section, before)) === canonicalJson(meant(section, after))) return [];
    const compare = COMPARED[section];
    const found = compare === undefined ? [] : compare(a, b).map((difference) => ({ section, ...difference }));
    // A section, or a member of one, that this table does not know yet differs all the same.
    return found.length > 0 ? found : [{ section, ...differ(`/${section}`, before, after, "different") }];
  });
}

/** Of several differences together. */
export function overall(directions: readonly Direction[]): Direction | "same" {
  const [first, ...others] = new Set(directions);
  return first === undefined ? "same" : others.length === 0 ? first : "different";
}

type Found = Omit<Difference, "section">;
type Compare = (a: PolicyDocument, b: PolicyDocument) => readonly Found[];

const ORDER = [
  ...["version", "name", "strict_mode", "denied_actions", "allowed_actions", "also_allowed_actions", "rules", "arguments", "requires", "history"],
  ...["loops", "retries", "concurrency", "rate_limits", "budgets", "wind_down", "approvals", "redact", "compliance"],
];

const rank = (section: string): number => (ORDER.indexOf(section) + ORDER.length + 1) % (ORDER.length + 1);

// A normal form is JSON, and its sections are its members.
const sectionOf = (document: PolicyDocument, section: string): JsonValue | undefined =>
  (document as { readonly [section: string]: JsonValue | undefined })[section];

type Redact = NonNullable<PolicyDocument["redact"]>;

const NOTHING_SAID: Redact = { store_inputs: "full", store_outputs: "full" };

/** What is in force where a section is not written. Others say nothing then. */
const UNWRITTEN: { readonly [section: string]: JsonValue } = {
  redact: NOTHING_SAID,
  approvals: { timeout_seconds: DEFAULT_APPROVAL_TIMEOUT_SECONDS },
};

/** A section as it is obeyed, to be held against another. */
function meant(section: string, written: JsonValue | undefined): JsonValue {
  const says = written ?? UNWRITTEN[section] ?? null;
  if (section !== "redact") return says;
  const { keys = DEFAULT_KEYS, detect = DEFAULT_DETECTORS, ...rest } = says as Redact; // as the section is typed
  return { ...rest, detect, keys: [...new Set(keys.map(plainKey))].sort() };
}

const COMPARED: { readonly [section: string]: Compare } = {
  strict_mode: (a, b) => [differ("/strict_mode", a.strict_mode, b.strict_mode, b.strict_mode ? "tighter" : "looser")],
  denied_actions: (a, b) => lists("/denied_actions", a.denied_actions ?? [], b.denied_actions ?? [], "tighter"),
  allowed_actions: allowlists,
  also_allowed_actions: (a, b) => values("/also_allowed_actions", a.also_allowed_actions ?? [], b.also_allowed_actions ?? [], "tighter"),
  rules: (a, b) => [...rules(a, b), ...order("/rules", (a.rules ?? []).map(nameOfRule), (b.rules ?? []).map(nameOfRule))],
  arguments: (a, b) => byKey("/arguments", a.arguments, b.arguments, (at, x, y) => values(at, x ?? [], y ?? [], "tighter")),
  requires: (a, b) => byKey("/requires", a.requires, b.requires, requirements),
  history: (a, b) => [
    ...named((a.history ?? []).map(withName("history")), (b.history ?? []).map(withName("history")), (x, y) => {
      const one = (x ?? y)?.rule;
      if (x === undefined || y === undefined) return one?.mode === "enforce" ? (x === undefined ? "tighter" : "looser") : "different";
      return overallOf([
        modes(x.rule.mode, y.rule.mode),
        reaches(x.rule.stops, y.rule.stops),
        sets(x.rule.forbid, y.rule.forbid),
        same(x.rule.when, y.rule.when),
      ]);
    }),
    ...order(
      "/history",
      (a.history ?? []).map((rule, place) => rule.id ?? `/history/${place}`),
      (b.history ?? []).map((rule, place) => rule.id ?? `/history/${place}`),
    ),
  ],
  loops: (a, b) => limited("/loops", a.loops ?? [], b.loops ?? [], ({ threshold, ...rest }) => [threshold, rest]),
  retries: (a, b) => limited("/retries", a.retries ?? [], b.retries ?? [], ({ threshold, ...rest }) => [threshold, rest]),
  concurrency: (a, b) => byKey("/concurrency", a.concurrency, b.concurrency, (at, x, y) => one(at, x, y, lowerIsTighter)),
  rate_limits: (a, b) =>
    byKey("/rate_limits", a.rate_limits, b.rate_limits, (at, x, y) => limited(at, x ?? [], y ?? [], ({ max_count, ...rest }) => [max_count, rest])),
  budgets,
  wind_down: (a, b) => {
    if (a.wind_down === undefined || b.wind_down === undefined)
      return one("/wind_down", a.wind_down, b.wind_down, () => (a.wind_down === undefined ? "looser" : "tighter"));
    return [
      ...lists("/wind_down/actions", a.wind_down.actions, b.wind_down.actions, "looser"),
      ...one("/wind_down/budget", a.wind_down.budget, b.wind_down.budget, moneyLowerIsTighter),
    ];
  },
  approvals,
  redact: ({ redact: a = NOTHING_SAID }, { redact: b = NOTHING_SAID }) => [
    ...one("/redact/store_inputs", a.store_inputs, b.store_inputs, keepings),
    ...one("/redact/store_outputs", a.store_outputs, b.store_outputs, keepings),
    ...keys("/redact/keys", a.keys ?? DEFAULT_KEYS, b.keys ?? DEFAULT_KEYS),
    ...lists("/redact/detect", a.detect ?? DEFAULT_DETECTORS, b.detect ?? DEFAULT_DETECTORS, "tighter"),
  ],
  compliance: (a, b) => byKey("/compliance", a.compliance, b.compliance, (at, x, y) => one(at, x, y, () => "different")),
};

function allowlists(a: PolicyDocument, b: PolicyDocument): readonly Found[] {
  const [before, after] = [a.allowed_actions, b.allowed_actions];
  if (before !== undefined && after !== undefined) return lists("/allowed_actions", before, after, "looser");
  // Without an allowlist the permit rules count, and with one they do not: then it is no longer the same question.
  const permits = [a, b].some(({ rules = [] }) => rules.some(({ effect, group }) => effect === "permit" && group === undefined));
  return one("/allowed_actions", before, after, () => (permits ? "different" : before === undefined ? "tighter" : "looser"));
}

const nameOfRule = (rule: Rule, place: number): string => rule.id ?? `/rules/${place}`;

function rules(a: PolicyDocument, b: PolicyDocument): readonly Found[] {
  const permitting = (document: PolicyDocument) => (document.rules ?? []).filter(({ effect }) => effect === "permit");
  const matter = (document: PolicyDocument, rule: Rule) => rule.group !== undefined || document.allowed_actions === undefined;
  return named((a.rules ?? []).map(withName("rules")), (b.rules ?? []).map(withName("rules")), (x, y) => {
    const [before, after] = [x?.rule, y?.rule];
    if (before !== undefined && after !== undefined) {
      if (before.effect !== after.effect || before.group !== after.group) return effects(before, after);
      const patterns = before.effect === "permit" ? (same(before.actions, after.actions) ?? null) : sets(before.actions, after.actions);
      return overallOf([
        modes(before.mode, after.mode),
        reaches(before.stops ?? "action", after.stops ?? "action"),
        patterns,
        conditions(before, after),
      ]);
    }
    const rule = after ?? before;
    if (rule === undefined || rule.mode !== "enforce") return "different";
    const added = before === undefined;
    if (rule.effect !== "permit") return added ? "tighter" : "looser";
    // The first rule that permits an action asks for something that nobody asked for before; one more is one more way.
    const holder = added ? b : a;
    const others = permitting(holder).filter((other) => other !== rule && other.group === rule.group && other.mode === "enforce");
    if (!matter(holder, rule)) return "different";
    const elsewhere = indexOf(others.flatMap(({ actions }) => actions));
    const known = new Set(others.flatMap(({ actions }) => actions));
    if (rule.actions.every((pattern) => known.has(pattern) || (!pattern.includes("*") && elsewhere.naming(pattern).length > 0)))
      return added ? "looser" : "tighter";
    return others.length === 0 ? (added ? "tighter" : "looser") : "different";
  });
}

const effects = (before: Rule, after: Rule): Direction => {
  const rest = ({ effect: _effect, ...others }: Rule) => canonicalJson({ ...others, stops: null });
  if (before.mode !== "enforce" || rest(before) !== rest(after)) return "different";
  if (before.effect === "hold" && after.effect === "forbid") return "tighter";
  return before.effect === "forbid" && after.effect === "hold" ? "looser" : "different";
};

/** Whether a condition went or came. A rule that says no without one says it always. */
const conditions = (before: Rule, after: Rule): Direction | null => {
  if (before.when === after.when) return null;
  if (before.when !== undefined && after.when !== undefined) return "different";
  const wider = after.when === undefined;
  return wider === (before.effect === "permit") ? "looser" : "tighter";
};

function requirements(at: string, before: readonly JsonValue[] | undefined, after: readonly JsonValue[] | undefined): readonly Found[] {
  const [x, ...moreBefore] = (before ?? []) as NonNullable<PolicyDocument["requires"]>[string]; // as the section is typed
  const [y, ...moreAfter] = (after ?? []) as NonNullable<PolicyDocument["requires"]>[string];
  if (x === undefined || y === undefined || moreBefore.length > 0 || moreAfter.length > 0) return values(at, before ?? [], after ?? [], "tighter");
  const within = [x.within_seconds ?? Number.POSITIVE_INFINITY, y.within_seconds ?? Number.POSITIVE_INFINITY] as const;
  const where = x.where === y.where ? null : x.where === undefined ? "tighter" : y.where === undefined ? "looser" : "different";
  const direction = overallOf([
    within[0] === within[1] ? null : lowerIsTighter(...within),
    sets(x.after, y.after),
    sets(x.same ?? [], y.same ?? []),
    where,
  ]);
  return direction === null ? [] : [differ(at, x, y, direction)];
}

function budgets({ budgets: a }: PolicyDocument, { budgets: b }: PolicyDocument): readonly Found[] {
  const found: Found[] = [
    ...byKey("/budgets/actions", a?.actions, b?.actions, (at, x, y) => one(at, x, y, moneyLowerIsTighter)),
    ...one("/budgets/run", a?.run, b?.run, moneyLowerIsTighter),
    ...one("/budgets/session", a?.session, b?.session, moneyLowerIsTighter),
    ...byKey("/budgets/agent", a?.agent, b?.agent, (at, x, y) => one(at, x, y, moneyLowerIsTighter)),
    ...byKey("/budgets/tenant", a?.tenant, b?.tenant, (at, x, y) => one(at, x, y, moneyLowerIsTighter)),
    ...one("/budgets/default_price", a?.default_price, b?.default_price, prices),
    ...one("/budgets/on_expiry", a?.on_expiry ?? "post", b?.on_expiry ?? "post", (_before, after) => (after === "post" ? "tighter" : "looser")),
    ...one("/budgets/alerts", a?.alerts, b?.alerts, () => "different"),
  ];
  const told = ["actions", "run", "session", "agent", "tenant", "default_price", "on_expiry", "alerts"];
  const others = (of: object | undefined) => Object.fromEntries(Object.entries(of ?? {}).filter(([member]) => !told.includes(member)));
  return [...found, ...byKey<JsonValue>("/budgets", others(a), others(b), (at, x, y) => one(at, x, y, () => "different"))];
}

/** An unknown price that is denied is the tightest; a higher one that is taken instead takes more of every budget. */
function prices(before: string | undefined, after: string | undefined): Direction {
  if (after === "deny") return "tighter";
  if (before === "deny") return "looser";
  return before === undefined || after === undefined ? "different" : storedUsd(after) > storedUsd(before) ? "tighter" : "looser";
}

function approvals({ approvals: a }: PolicyDocument, { approvals: b }: PolicyDocument): readonly Found[] {
  const levels = (of: readonly string[] | undefined) => RISK_LEVELS.filter((level) => of?.includes(level));
  return [
    ...lists("/approvals/actions", a?.actions ?? [], b?.actions ?? [], "tighter"),
    ...lists("/approvals/tags", a?.tags ?? [], b?.tags ?? [], "tighter"),
    ...lists("/approvals/risk_levels", levels(a?.risk_levels), levels(b?.risk_levels), "tighter"),
    ...one("/approvals/threshold_usd", a?.threshold_usd, b?.threshold_usd, moneyLowerIsTighter),
    ...(a === undefined || b === undefined ? [] : one("/approvals/timeout_seconds", a.timeout_seconds, b.timeout_seconds, () => "different")),
    ...one("/approvals/quorum", a?.quorum, b?.quorum, (before, after) => ((after ?? 1) > (before ?? 1) ? "tighter" : "looser")),
    ...values("/approvals/approvers", a?.approvers ?? [], b?.approvers ?? [], "tighter"),
    ...one("/approvals/four_eyes", a?.four_eyes, b?.four_eyes, (_, after) => (after === true ? "tighter" : "looser")),
  ];
}

/** Absent is no limit at all. */
const lowerIsTighter = (before: number | undefined, after: number | undefined): Direction =>
  (after ?? Number.POSITIVE_INFINITY) < (before ?? Number.POSITIVE_INFINITY) ? "tighter" : "looser";

const moneyLowerIsTighter = (before: string | undefined, after: string | undefined): Direction =>
  lowerIsTighter(before === undefined ? undefined : storedUsd(before), after === undefined ? undefined : storedUsd(after));

const KEEPINGS = ["full", "digest", "none"];
const keepings = (before = "full", after = "full"): Direction => (KEEPINGS.indexOf(after) > KEEPINGS.indexOf(before) ? "tighter" : "looser");

/** Names of members to hide. Those that hide the same members are one, and none is a glob. */
function keys(at: string, before: readonly string[], after: readonly string[]): readonly Found[] {
  const missing = (of: readonly string[], from: readonly string[]) => {
    const hidden = new Set(from.map(plainKey));
    return of.filter((key) => !hidden.has(plainKey(key)));
  };
  return [
    ...missing(before, after).map((key) => differ(at, key, undefined, "looser")),
    ...missing(after, before).map((key) => differ(at, undefined, key, "tighter")),
  ];
}

const MODES = ["observe", "warn", "enforce"];
const REACHES = ["action", "run", "session"];

/** Among what is not enforced nothing is refused either way. */
function modes(before: string, after: string): Direction | null {
  if (before === after) return null;
  if (before !== "enforce" && after !== "enforce") return "different";
  return MODES.indexOf(after) > MODES.indexOf(before) ? "tighter" : "looser";
}

const reaches = (before: string, after: string): Direction | null =>
  before === after ? null : REACHES.indexOf(after) > REACHES.indexOf(before) ? "tighter" : "looser";

const same = (before: unknown, after: unknown): Direction | null => (canonicalJson(before) === canonicalJson(after) ? null : "different");

/** Of lists that say no, or ask for more: the longer is the tighter. */
function sets(before: readonly string[], after: readonly string[]): Direction | null {
  const more = after.some((item) => !before.includes(item));
  const fewer = before.some((item) => !after.includes(item));
  return more && fewer ? "different" : more ? "tighter" : fewer ? "looser" : null;
}

const overallOf = (directions: readonly (Direction | null)[]): Direction | null => {
  const all = overall(directions.filter((direction) => direction !== null));
  return all === "same" ? null : all;
};

/** Items of two lists of patterns. `more`: what a further item makes it. One that a glob of the other list names already changes nothing. */
function lists(at: string, before: readonly string[], after: readonly string[], more: Direction): readonly Found[] {
  const less: Direction = more === "tighter" ? "looser" : "tighter";
  const covered = (list: readonly string[]) => {
    const index = indexOf(list);
    return (item: string) => !item.includes("*") && index.naming(item).length > 0;
  };
  const [byBefore, byAfter] = [covered(before), covered(after)];
  return [
    ...before.flatMap((item) => (after.includes(item) ? [] : [differ(at, item, undefined, byAfter(item) ? "different" : less)])),
    ...after.flatMap((item) => (before.includes(item) ? [] : [differ(at, undefined, item, byBefore(item) ? "different" : more)])),
  ];
}

/** Things of which every one must be met. */
function values(at: string, before: readonly JsonValue[], after: readonly JsonValue[], more: Direction): readonly Found[] {
  const less: Direction = more === "tighter" ? "looser" : "tighter";
  const texts = [new Set(before.map(canonicalJson)), new Set(after.map(canonicalJson))] as const;
  const gone = before.filter((item) => !texts[1].has(canonicalJson(item)));
  const come = after.filter((item) => !texts[0].has(canonicalJson(item)));
  const [x] = gone;
  const [y] = come;
  if (gone.length === 1 && come.length === 1) return [differ(at, x, y, "different")];
  return [...gone.map((item) => differ(at, item, undefined, less)), ...come.map((item) => differ(at, undefined, item, more))];
}

/** Limits that are told apart by all but their number, of which the lower is the tighter. */
function limited<T extends JsonValue>(at: string, before: readonly T[], after: readonly T[], split: (item: T) => readonly [number, JsonValue]) {
  const keyed = (items: readonly T[]) =>
    Object.fromEntries(
      items.map((item) => {
        const [limit, rest] = split(item);
        return [canonicalJson(rest), { limit, item }];
      }),
    );
  const [x, y] = [keyed(before), keyed(after)];
  return [...new Set([...Object.keys(x), ...Object.keys(y)])].flatMap((key) =>
    one(at, x[key]?.item, y[key]?.item, () => lowerIsTighter(x[key]?.limit, y[key]?.limit)),
  );
}

interface Named<R> {
  readonly name: string;
  readonly rule: R;
}

const withName =
  (section: string) =>
  <R extends { readonly id?: string }>(rule: R, place: number): Named<R> => ({ name: rule.id ?? `/${section}/${place}`, rule });

/** Rules by their ids; those without one by what they say. */
function named<R extends JsonValue & { readonly id?: string }>(
  before: readonly Named<R>[],
  after: readonly Named<R>[],
  judge: (x: Named<R> | undefined, y: Named<R> | undefined) => Direction | null,
): readonly Found[] {
  const keyOf = ({ rule }: Named<R>) => (rule.id === undefined ? canonicalJson(rule) : `id ${rule.id}`);
  const [x, y] = [new Map(before.map((one) => [keyOf(one), one])), new Map(after.map((one) => [keyOf(one), one]))];
  return [...new Set([...x.keys(), ...y.keys()])].flatMap((key) => {
    const [was, is] = [x.get(key), y.get(key)];
    if (canonicalJson(was?.rule ?? null) === canonicalJson(is?.rule ?? null)) return [];
    return [differ((is ?? was)?.name ?? "", was?.rule, is?.rule, judge(was, is) ?? "different")];
  });
}

/** The order of rules decides only which of them is named as the reason. */
function order(at: string, before: readonly string[], after: readonly string[]): readonly Found[] {
  const kept = (list: readonly string[], other: readonly string[]) => list.filter((name) => !name.startsWith("/") && other.includes(name));
  const [x, y] = [kept(before, after), kept(after, before)];
  return canonicalJson(x) === canonicalJson(y) ? [] : [differ(`${at} (order)`, x, y, "different")];
}

function byKey<T>(
  at: string,
  before: { readonly [key: string]: T } | undefined,
  after: { readonly [key: string]: T } | undefined,
  compare: (at: string, x: T | undefined, y: T | undefined) => readonly Found[],
): readonly Found[] {
  const [x, y] = [new Map(Object.entries(before ?? {})), new Map(Object.entries(after ?? {}))];
  return [...new Set([...x.keys(), ...y.keys()])]
    .sort()
    .flatMap((key) => compare(`${at}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`, x.get(key), y.get(key)));
}

function one<T extends JsonValue>(
  at: string,
  before: T | undefined,
  after: T | undefined,
  judge: (before: T | undefined, after: T | undefined) => Direction,
): readonly Found[] {
  return canonicalJson(before ?? null) === canonicalJson(after ?? null) ? [] : [differ(at, before, after, judge(before, after))];
}

const differ = (at: string, before: JsonValue | undefined, after: JsonValue | undefined, direction: Direction): Found => ({
  at,
  change: before === undefined ? "added" : after === undefined ? "removed" : "changed",
  direction,
  ...(before !== undefined && { before }),
  ...(after !== undefined && { after }),
});
