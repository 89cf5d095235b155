import * as z from "zod";
import { assert } from "../assert.ts";
import { formatUsd, type MicroUsd, parseUsd } from "../money.ts";
import { RISK_LEVELS, type RiskLevel } from "../request.ts";
import { indexOf, isGlob } from "./patterns.ts";

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
    readonly on_expiry: "post" | "release";
  };
  readonly denied_actions?: readonly string[];
  /** Absent: all. Empty: none. */
  readonly allowed_actions?: readonly string[];
  /**
   * Further allowlists, each of which must name the action too. Merging writes them where two lists with globs meet: `db.*` and `*.read` have no
   * common list of patterns that is exact, and anything wider than both would fail open.
   */
  readonly also_allowed_actions?: readonly (readonly string[])[];
  /** Several windows of one pattern all apply; they are sorted by length, each length once. */
  readonly rate_limits?: { readonly [pattern: string]: readonly Rate[] };
  readonly concurrency?: { readonly [pattern: string]: number };
  readonly approvals?: {
    readonly actions?: readonly string[];
    readonly tags?: readonly string[];
    readonly risk_levels?: readonly RiskLevel[];
    readonly threshold_usd?: string;
    readonly timeout_seconds: number;
  };
  readonly compliance?: { readonly [key: string]: string };
};

export type Rate = { readonly max_count: number; readonly window_seconds: number };

/** How much an author may write. What the gateway stored itself is not counted again: a merge of good policies is never refused for its size. */
export interface Bounds {
  readonly patterns: number;
  readonly rates: number;
  readonly lists: number;
  readonly notes: number;
  readonly characters: number;
}

export const AUTHOR_BOUNDS: Bounds = { patterns: 10_000, rates: 16, lists: 16, notes: 100, characters: 256 };
const UNBOUNDED = Number.MAX_SAFE_INTEGER;
export const STORED_BOUNDS: Bounds = { patterns: UNBOUNDED, rates: UNBOUNDED, lists: UNBOUNDED, notes: UNBOUNDED, characters: UNBOUNDED };

export const DEFAULT_APPROVAL_TIMEOUT_SECONDS = 3600;

const DAY_SECONDS = 86_400;
const MOST_STARS = 16;
const PATTERN = /^[A-Za-z0-9_\-.:/*]{1,128}$/;
/** Text without control characters and lone surrogates, which no store keeps faithfully. */
const TEXT = /^[^\p{Cc}\p{Cs}]+$/u;

/** The shape of a policy as an author writes it. Every refusal names what was found and what is wanted. */
export function policySchema(bounds: Bounds) {
  const pattern = z
    .string(wants("an action's name or a glob"))
    .regex(PATTERN, wants("an action's name or a glob: 1 to 128 letters, digits, _ - . : / and *"))
    .refine((text) => text.split("*").length - 1 <= MOST_STARS, wants(`a glob with at most ${MOST_STARS} stars`));
  const text = (what: string) => {
    const kind = wants(`${what}: 1 to ${bounds.characters} characters, none of them a control character`);
    return z.string(wants(what)).max(bounds.characters, kind).regex(TEXT, kind);
  };
  const patterns = (what: string) => z.array(pattern, wants(what)).max(bounds.patterns, wants(`at most ${bounds.patterns} patterns`));
  const perPattern = <V extends z.ZodType>(what: string, value: V) =>
    z
      .record(pattern, value, wants(what))
      .refine((record) => Object.keys(record).length <= bounds.patterns, wants(`at most ${bounds.patterns} patterns`))
      .meta({ maxProperties: bounds.patterns });

  const someRates = `1 to ${bounds.rates} rates`;
  const rate = z.strictObject(
    {
      max_count: wholeNumber(0, 1_000_000).meta({ description: "How many calls may be allowed within the window." }),
      window_seconds: seconds(0.001, 31 * DAY_SECONDS).meta({ description: "How long the sliding window is." }),
      per: z
        .literal("session", { error: (issue) => (PER_LATER.has(issue.input) ? notYet(`per: ${issue.input}`) : found('"session"', issue.input)) })
        .optional()
        .meta({ description: "Whose calls are counted together." }),
    },
    wants("max_count and window_seconds"),
  );

  return z
    .strictObject(
      {
        version: z.literal(1, wants("1, the version of the policy language")).optional().meta({ description: "The version of the policy language." }),
        name: text("a name").optional().meta({ description: "The policy's name, for people." }),
        strict_mode: z
          .boolean(wants("true or false"))
          .default(true)
          .meta({ description: "true: enforce. false: observe only; the record says what would have happened." }),
        budgets: z
          .strictObject(
            {
              session: usd.optional().meta({ description: "The most that a session may spend." }),
              run: usd.optional().meta({ description: "The most that one run may spend." }),
              actions: perPattern("a USD amount per action's name or glob", usd)
                .optional()
                .meta({ description: "The most that a session may spend on an action. What a glob names shares one account." }),
              on_expiry: z
                .enum(["post", "release"], wants('"post" or "release"'))
                .default("post")
                .meta({ description: "What becomes of a reservation that nobody settles: post it at its estimate, or give it back." }),
            },
            wants("the members session, run, actions, on_expiry"),
          )
          .optional()
          .meta({ description: "Limits on money, in USD." }),
        denied_actions: patterns("a list of action names and globs").optional().meta({ description: "Actions that are never allowed." }),
        allowed_actions: patterns("a list of action names and globs ([] allows none)")
          .optional()
          .meta({ description: "The only actions that are allowed. Absent: all. Empty: none." }),
        also_allowed_actions: z
          .array(patterns("a list of action names and globs"), wants("a list of allowlists"))
          .max(bounds.lists, wants(`at most ${bounds.lists} lists`))
          .optional()
          .meta({ description: "Further allowlists, each of which must name the action too. Merged policies have them." }),
        rate_limits: perPattern(
          "a rate per action's name or glob",
          z.union([z.array(rate).min(1, wants(someRates)).max(bounds.rates, wants(someRates)), rate], {
            error: (issue) =>
              Array.isArray(issue.input)
                ? found(someRates, issue.input)
                : found("max_count and window_seconds, or a list of such rates", issue.input),
          }),
        )
          .optional()
          .meta({ description: "How often actions may be allowed per session, within sliding windows." }),
        concurrency: perPattern("a whole number per action's name or glob", wholeNumber(0, 100_000))
          .optional()
          .meta({ description: "How many reservations may be pending at once." }),
        approvals: z
          .strictObject(
            {
              actions: patterns("a list of action names and globs").optional().meta({ description: "Actions that a person must approve." }),
              tags: z
                .array(text("a tag"), wants("a list of tags"))
                .max(bounds.patterns, wants(`at most ${bounds.patterns} tags`))
                .optional()
                .meta({ description: "A request with one of these tags must be approved." }),
              risk_levels: z
                .array(z.enum(RISK_LEVELS, wants("low, medium, high or critical")), wants("a list of risk levels"))
                .max(bounds.patterns, wants(`at most ${bounds.patterns} risk levels`))
                .optional()
                .meta({ description: "A request of one of these risk levels must be approved." }),
              threshold_usd: usd.optional().meta({ description: "A request whose estimate is above this amount must be approved." }),
              timeout_seconds: seconds(1, 30 * DAY_SECONDS)
                .default(DEFAULT_APPROVAL_TIMEOUT_SECONDS)
                .meta({ description: "How long an approval is waited for." }),
              quorum: z
                .literal(1, { error: (issue) => (isMoreThanOne(issue.input) ? notYet(`a quorum of ${issue.input}`) : found("1", issue.input)) })
                .optional()
                .meta({ description: "How many people must approve." }),
            },
            wants("the members actions, tags, risk_levels, threshold_usd, timeout_seconds"),
          )
          .optional()
          .meta({ description: "When a person must answer before the action may run." }),
        compliance: z
          .record(
            z.string().regex(/^[A-Za-z0-9_.-]{1,64}$/, wants("a key of 1 to 64 letters, digits, _ . -")),
            text("a text (numbers and true or false in quotes)"),
            wants("texts by key"),
          )
          .refine((record) => Object.keys(record).length <= bounds.notes, wants(`at most ${bounds.notes} keys`))
          .meta({ maxProperties: bounds.notes })
          .optional()
          .meta({ description: "Copied into every record: risk_level, system, oversight and what else an auditor wants." }),
      },
      wants("a policy: sections like budgets, denied_actions, rate_limits"),
    )
    .meta({ minProperties: 1 });
}

export type WrittenPolicy = z.output<ReturnType<typeof policySchema>>;

/** Brings a checked policy into its normal form; the normal form of a normal form is itself. */
export function normalise(written: WrittenPolicy): PolicyDocument {
  const { budgets, approvals } = written;
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
        on_expiry: budgets.on_expiry,
      },
    }),
    ...(hasItems(written.denied_actions) && { denied_actions: sortedSet(written.denied_actions) }),
    ...allowlistMembers(allowlists),
    ...(hasMembers(written.rate_limits) && {
      rate_limits: Object.fromEntries(
        Object.entries(written.rate_limits).map(([pattern, rates]) => [pattern, strictestRates("length" in rates ? rates : [rates])]),
      ),
    }),
    ...(hasMembers(written.concurrency) && { concurrency: written.concurrency }),
    ...(approvals !== undefined && {
      approvals: {
        ...(hasItems(approvals.actions) && { actions: sortedSet(approvals.actions) }),
        ...(hasItems(approvals.tags) && { tags: sortedSet(approvals.tags) }),
        ...(hasItems(approvals.risk_levels) && { risk_levels: sortedRisks(approvals.risk_levels) }),
        ...(approvals.threshold_usd !== undefined && { threshold_usd: approvals.threshold_usd }),
        timeout_seconds: approvals.timeout_seconds,
      },
    }),
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

/** Of each window's length the smallest count, the shortest window first. */
export function strictestRates(rates: readonly Rate[]): readonly Rate[] {
  const byWindow = new Map<number, number>();
  for (const { window_seconds, max_count } of rates) byWindow.set(window_seconds, Math.min(max_count, byWindow.get(window_seconds) ?? max_count));
  return [...byWindow].sort(([a], [b]) => a - b).map(([window_seconds, max_count]) => ({ max_count, window_seconds }));
}

export const sortedSet = (items: readonly string[]): readonly string[] => [...new Set(items)].sort();

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

/** What this gateway will understand one day, and what it says of it until then: a policy weaker than written is never accepted. */
export const notYet = (what: string): string => `this gateway does not enforce ${what} yet, and a policy weaker than written is not accepted`;

/** Members of the policy language that are refused until they are enforced, by the pointer of their section. */
export const NOT_YET: { readonly [section: string]: readonly string[] } = {
  "": ["loops", "retries", "requires", "history", "rules", "arguments", "redact", "wind_down"],
  "/budgets": ["agent", "tenant", "default_price", "alerts"],
  "/approvals": ["approvers"],
};

/** The members that each section has, to find the one that was meant. */
export const MEMBERS: { readonly [section: string]: readonly string[] } = {
  "": ["version", "name", "strict_mode", "budgets", "denied_actions", "allowed_actions", "rate_limits", "concurrency", "approvals", "compliance"],
  "/budgets": ["session", "run", "actions", "on_expiry"],
  "/approvals": ["actions", "tags", "risk_levels", "threshold_usd", "timeout_seconds", "quorum"],
  "/rate_limits": ["max_count", "window_seconds", "per"],
};

const PER_LATER = new Set<unknown>(["agent", "run", "tenant"]);
const isMoreThanOne = (input: unknown): boolean => Number.isInteger(input) && Number(input) > 1;

const usd = z
  .union([z.string(), z.number()], { error: (issue) => usdFault(issue.input) })
  .transform((amount, context) => {
    const parsed = parseUsd(amount);
    if (parsed.ok) return formatUsd(parsed.value);
    context.addIssue({ code: "custom", message: usdFault(amount), input: amount });
    return z.NEVER;
  })
  .meta({ examples: ["0.05", 5] });

function usdFault(input: unknown): string {
  if (input === null || input === undefined) return found("a USD amount", input);
  const parsed = parseUsd(input);
  return parsed.ok ? found("a USD amount", input) : parsed.error.message;
}

function wholeNumber(least: number, most: number) {
  const range = wants(`a whole number from ${least} to ${most}`);
  return z.int(range).min(least, range).max(most, range);
}

/** Seconds in whole milliseconds, so that inside they are an integer. */
function seconds(least: number, most: number) {
  const range = wants(`a number of seconds from ${least} to ${most}, with at most three decimals`);
  return z
    .number(range)
    .min(least, range)
    .max(most, range)
    .refine((n) => Number(n.toFixed(3)) === n, range);
}

function wants(what: string): { error: (issue: { readonly input?: unknown }) => string } {
  return { error: (issue) => found(what, issue.input) };
}

function found(what: string, input: unknown): string {
  if (input === undefined) return `wanted ${what}, but it is missing`;
  if (input === null) return `wanted ${what}, found nothing; leave the key out to say nothing`;
  return `wanted ${what}, found ${describe(input)}`;
}

export function describe(input: unknown): string {
  if (typeof input === "string") return JSON.stringify(input.length > 60 ? `${input.slice(0, 60)}…` : input);
  if (typeof input === "number" || typeof input === "boolean") return String(input);
  if (Array.isArray(input)) return input.length === 0 ? "an empty list" : `a list of ${input.length}`;
  return input === null ? "nothing" : typeof input === "object" ? "a mapping" : `a value of type ${typeof input}`;
}

const hasItems = <T>(list: readonly T[] | undefined): list is readonly T[] => list !== undefined && list.length > 0;
const hasMembers = <T extends object>(record: T | undefined): record is T => record !== undefined && Object.keys(record).length > 0;
