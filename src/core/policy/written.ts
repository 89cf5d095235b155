import * as z from "zod";
import { BUDGET_WINDOWS } from "../calendar.ts";
import { formatUsd, parseUsd } from "../money.ts";
import { DETECTORS } from "../redact.ts";
import { RISK_LEVELS } from "../request.ts";
import { type Bounds, DEFAULT_APPROVAL_TIMEOUT_SECONDS } from "./document.ts";
import { parsePath } from "./paths.ts";
import { MOST_STARS, PATTERN } from "./patterns.ts";

const DAY_SECONDS = 86_400;
/** Text without control characters and lone surrogates, which no store keeps faithfully. */
const TEXT = /^[^\p{Cc}\p{Cs}]+$/u;

const ID = /^[A-Za-z0-9_\-.:/]{1,128}$/;
/** A condition may have several lines. */
const CONDITION = /^(?:[^\p{Cc}\p{Cs}]|[\n\r\t])+$/u;
const MOST_WINDOW_SECONDS = 31 * DAY_SECONDS;
const MODES = ["enforce", "warn", "observe"] as const;
const REACHES = ["action", "run", "session"] as const;
const KEEPINGS = ["full", "digest", "none"] as const;

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

  const somePatterns = (what: string, most: number) =>
    z
      .array(pattern, wants(what))
      .min(1, wants("at least one action name or glob"))
      .max(most, wants(`at most ${most} patterns`));
  const condition = (what: string) => {
    const kind = wants(`${what}, a condition in CEL of 1 to ${bounds.condition} characters`);
    return z.string(kind).max(bounds.condition, kind).regex(CONDITION, kind);
  };
  const id = z.string(wants("an id")).regex(ID, wants("an id: 1 to 128 letters, digits, _ - . : /"));
  const mode = z.enum(MODES, wants('"enforce", "warn" or "observe"')).default("enforce").meta({
    description: "enforce: its no counts. warn: it is advice to the agent and a warning in the record. observe: only a warning in the record.",
  });
  const stops = z.enum(REACHES, wants('"action", "run" or "session"'));
  const path = (what: string, good: (path: readonly string[]) => boolean) =>
    z.string(wants(what)).refine((text) => good(parsePath(text) ?? []), wants(what));
  const paths = (item: z.ZodType<string, string>) =>
    z.array(item, wants("a list of paths")).max(bounds.lists, wants(`at most ${bounds.lists} paths`));
  /** One, or a list of them. The list stands first in the union: see `findingsOf` in parse.ts. */
  const oneOrMany = <V extends z.ZodType>(item: V, one: string, many: string, most: number, least = 1) => {
    const some = `${least} to ${most} ${many}`;
    return z.union([z.array(item).min(least, wants(some)).max(most, wants(some)), item], {
      error: (issue) => (Array.isArray(issue.input) ? found(some, issue.input) : found(`${one}, or a list of such ${many}`, issue.input)),
    });
  };
  const rate = z.strictObject(
    {
      max_count: wholeNumber(0, 1_000_000).meta({ description: "How many calls may be allowed within the window." }),
      window_seconds: seconds(0.001, 31 * DAY_SECONDS).meta({ description: "How long the sliding window is." }),
      per: z
        .enum(["session", "run", "agent", "tenant"], wants('"session", "run", "agent" or "tenant"'))
        .optional()
        .meta({ description: "Whose calls are counted together." }),
    },
    wants("max_count and window_seconds"),
  );
  const windowSeconds = seconds(0.001, MOST_WINDOW_SECONDS).meta({ description: "How long the sliding window is." });
  const loop = z.strictObject(
    {
      threshold: wholeNumber(2, 10_000).meta({ description: "The call of one action with the same inputs that is refused: 5 is the fifth." }),
      window_seconds: windowSeconds,
      ignore: paths(path("a path under the inputs, such as inputs.cursor", ([root, member]) => root === "inputs" && member !== undefined))
        .optional()
        .meta({ description: "Parts of the inputs that may differ and still count as the same." }),
    },
    wants("threshold and window_seconds"),
  );
  const retry = z.strictObject(
    {
      threshold: wholeNumber(1, 10_000).meta({ description: "How many failures of one action, whatever its inputs, are borne." }),
      window_seconds: windowSeconds,
    },
    wants("threshold and window_seconds"),
  );
  const requirement = z.strictObject(
    {
      after: somePatterns("a list of action names and globs", bounds.lists).meta({
        description: "Actions of which each (a glob: any it names) must stand earlier in the session.",
      }),
      within_seconds: windowSeconds.optional().meta({ description: "How long ago the earlier action may be. Absent: as long as the session." }),
      same: paths(path(SAME, isComparable))
        .optional()
        .meta({ description: "Places that must be alike in both requests: inputs.…, resource, resource.id or resource.type." }),
      where: condition("what must hold of the earlier action")
        .optional()
        .meta({ description: "A condition in CEL over the request and prior: its inputs, outputs, outcome and age." }),
    },
    wants("after, the actions that must come before"),
  );
  const lookBack = z.strictObject(
    {
      id: id.optional().meta({ description: "Names the rule in reasons and in the record. Unique among rules and history." }),
      forbid: oneOrMany(pattern, "an action's name or a glob", "patterns", bounds.actions).meta({
        description: "The actions that are forbidden while the condition holds.",
      }),
      when: condition("when it forbids").meta({ description: "A condition in CEL, with count, distinct and sum over this session's past." }),
      mode,
      stops: stops.default("action").meta({ description: "How far its no reaches." }),
    },
    wants("a rule with forbid and when"),
  );
  const rule = z
    .strictObject(
      {
        id: id.optional().meta({ description: "Names the rule in reasons and in the record. Unique among rules and history." }),
        effect: z.enum(["permit", "forbid", "hold"], wants('"permit", "forbid" or "hold"')).meta({
          description: "forbid wins over hold, hold over permit. Where allowed_actions is absent, one of the permits that name an action must hold.",
        }),
        actions: somePatterns("a list of action names and globs", bounds.actions).meta({ description: "The actions that it is about." }),
        when: condition("when the rule holds").optional().meta({ description: "A condition in CEL. Absent: always." }),
        mode,
        stops: stops.optional().meta({ description: "How far the no of a forbid reaches; action unless said." }),
        group: id
          .optional()
          .meta({ description: "Permits of one group are alternatives, and count beside allowed_actions too. Merged policies have them." }),
      },
      wants("a rule with effect and actions"),
    )
    .superRefine((rule, context) => {
      if (rule.stops !== undefined && rule.effect !== "forbid") {
        context.addIssue({
          code: "custom",
          path: ["stops"],
          message: `only a rule that forbids stops anything; this one's effect is "${rule.effect}"`,
        });
      }
      if (rule.group !== undefined && rule.effect !== "permit") {
        context.addIssue({ code: "custom", path: ["group"], message: `only rules that permit are grouped; this one's effect is "${rule.effect}"` });
      }
    });
  const argumentsSchema = z
    .union([z.boolean(), z.record(z.string(), z.unknown())], wants("a JSON Schema: a mapping, or true or false"))
    .refine((value) => isJson(value, bounds.depth), wants(`a JSON Schema of plain JSON values, at most ${bounds.depth} levels deep`));
  const approver = z.strictObject(
    {
      subjects: z
        .array(text("a subject"), wants("a list of subjects"))
        .max(bounds.names, wants(`at most ${bounds.names} subjects`))
        .optional()
        .meta({ description: "People by their subject." }),
      scopes: z
        .array(text("a scope"), wants("a list of scopes"))
        .max(bounds.names, wants(`at most ${bounds.names} scopes`))
        .optional()
        .meta({ description: "Whoever has one of these scopes." }),
    },
    wants("subjects or scopes"),
  );
  const byWindow = z
    .union(
      [
        usd.transform((total) => ({ total })),
        z.strictObject({ hour: usd.optional(), day: usd.optional(), month: usd.optional(), total: usd.optional() }),
      ],
      wants("USD amounts by window (hour, day, month, total), or one amount in all"),
    )
    .meta({
      examples: [
        { hour: 10, day: 50 },
        { day: 500, month: 5000 },
      ],
    });
  const keeping = z.enum(KEEPINGS, wants('"full", "digest" or "none"'));

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
              agent: byWindow.optional().meta({ description: "The most that all sessions of an agent may spend together, by window of UTC." }),
              tenant: byWindow.optional().meta({ description: "The most that all sessions of the tenant may spend together, by window of UTC." }),
              on_expiry: z
                .enum(["post", "release"], wants('"post" or "release"'))
                .default("post")
                .meta({ description: "What becomes of a reservation that nobody settles: post it at its estimate, or give it back." }),
              default_price: z
                .union([z.string(), z.number()], wants('"deny" or a USD amount'))
                .transform((price, context) => (price === "deny" ? price : usdOf(price, context)))
                .optional()
                .meta({
                  description: "An estimate that names a model without a known price: deny it, or take this amount.",
                  examples: ["deny", "0.05"],
                }),
              alerts: z
                .array(fraction, wants("a list of fractions of a limit"))
                .max(bounds.lists, wants(`at most ${bounds.lists} fractions`))
                .optional()
                .meta({ description: "Parts of a limit at which it is said that they were reached, once per crossing." }),
            },
            wants("the members session, run, actions, agent, tenant, on_expiry, default_price, alerts"),
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
        rate_limits: perPattern("a rate per action's name or glob", oneOrMany(rate, "max_count and window_seconds", "rates", bounds.rates))
          .optional()
          .meta({ description: "How often actions may be allowed per session or run, within sliding windows." }),
        concurrency: perPattern("a whole number per action's name or glob", wholeNumber(0, 100_000))
          .optional()
          .meta({ description: "How many reservations may be pending at once." }),
        loops: oneOrMany(loop, "threshold and window_seconds", "loops", bounds.rates, 0)
          .optional()
          .meta({ description: "The same call of an action over and over is refused." }),
        retries: oneOrMany(retry, "threshold and window_seconds", "limits", bounds.rates, 0)
          .optional()
          .meta({ description: "An action that failed too often is refused until the window has moved on." }),
        requires: perPattern(
          "a requirement per action's name or glob",
          oneOrMany(requirement, "after, the actions that must come before", "requirements", bounds.lists),
        )
          .optional()
          .meta({ description: "What must have happened in the session before an action may run." }),
        history: z
          .array(lookBack, wants("a list of rules with forbid and when"))
          .max(bounds.rules, wants(`at most ${bounds.rules} rules`))
          .optional()
          .meta({ description: "Rules over the session's past decisions." }),
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
              quorum: wholeNumber(1, 20).optional().meta({ description: "How many people must approve." }),
              approvers: oneOrMany(approver, "subjects or scopes", "groups", bounds.lists, 0)
                .optional()
                .meta({ description: "Who may approve. Of several groups each must be satisfied. Absent: whoever may approve at all." }),
              four_eyes: z.boolean(wants("true or false")).optional().meta({
                description: "Whether the agent's owner, the attribute owner of its entity, must not be among those who approve.",
              }),
            },
            wants("the members actions, tags, risk_levels, threshold_usd, timeout_seconds, quorum, approvers, four_eyes"),
          )
          .optional()
          .meta({ description: "When a person must answer before the action may run." }),
        rules: z
          .array(rule, wants("a list of rules with effect and actions"))
          .max(bounds.rules, wants(`at most ${bounds.rules} rules`))
          .optional()
          .meta({ description: "Permit, forbid or hold actions, under conditions." }),
        arguments: perPattern(
          "a JSON Schema per action's name or glob",
          oneOrMany(argumentsSchema, "a JSON Schema: a mapping, or true or false", "schemas", bounds.lists),
        )
          .optional()
          .meta({ description: "JSON Schemas (2020-12) that the inputs of an action must fit." }),
        redact: z
          .strictObject(
            {
              store_inputs: keeping.default("full").meta({ description: "What is kept of inputs: all, their digest, or nothing." }),
              store_outputs: keeping.optional().meta({ description: "What is kept of outputs. Absent: as of inputs." }),
              keys: z
                .array(text("a member's name"), wants("a list of members' names"))
                .max(bounds.names, wants(`at most ${bounds.names} keys`))
                .optional()
                .meta({
                  description:
                    "Members whose values are never kept, at any depth, in capitals or not, with _ and - or without. Absent: names of secrets (password, api_key, access_token, authorization, cvv, pin …). Empty: none.",
                }),
              detect: z
                .array(z.enum(DETECTORS, wants(`one of ${DETECTORS.join(", ")}`)), wants("a list of detectors"))
                .max(bounds.lists, wants(`at most ${bounds.lists} detectors`))
                .optional()
                .meta({ description: "What is recognised in texts and never kept. Absent: credit_card and private_key. Empty: nothing." }),
            },
            wants("the members store_inputs, store_outputs, keys, detect"),
          )
          .optional()
          .meta({ description: "What is left out before anything is stored, hashed or streamed. Absent: secrets, card numbers and private keys." }),
        wind_down: z
          .strictObject(
            {
              actions: somePatterns("a list of action names and globs", bounds.actions).meta({
                description: "Actions that are still allowed after a budget is gone.",
              }),
              budget: usd.meta({ description: "The reserve that they are paid from." }),
            },
            wants("the members actions, budget"),
          )
          .optional()
          .meta({ description: "What may still be done after a budget is gone, from a small reserve of its own." }),
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

const SAME = "a path such as inputs.order_id, or resource, resource.id or resource.type";
function isComparable([root, member, ...deeper]: readonly string[]): boolean {
  if (root === "inputs") return member !== undefined;
  return root === "resource" && deeper.length === 0 && (member === undefined || member === "id" || member === "type");
}

/** Whether JSON can carry the value, in so many levels. */
function isJson(value: unknown, levels: number): boolean {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (typeof value !== "object" || levels === 0) return false;
  if (Array.isArray(value)) return value.every((item) => isJson(item, levels - 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  return (prototype === Object.prototype || prototype === null) && Object.values(value).every((member) => isJson(member, levels - 1));
}

/** The members that each section has, to find the one that was meant. A section's members are those of its items, if it has items. */
export const MEMBERS: { readonly "": readonly string[]; readonly [section: string]: readonly string[] | undefined } = {
  "": [
    "version",
    "name",
    "strict_mode",
    "budgets",
    "denied_actions",
    "allowed_actions",
    "rate_limits",
    "concurrency",
    "loops",
    "retries",
    "requires",
    "history",
    "approvals",
    "rules",
    "arguments",
    "redact",
    "compliance",
    "wind_down",
  ],
  "/budgets": ["session", "run", "actions", "agent", "tenant", "on_expiry", "default_price", "alerts"],
  "/budgets/agent": BUDGET_WINDOWS,
  "/budgets/tenant": BUDGET_WINDOWS,
  "/rate_limits": ["max_count", "window_seconds", "per"],
  "/loops": ["threshold", "window_seconds", "ignore"],
  "/retries": ["threshold", "window_seconds"],
  "/requires": ["after", "within_seconds", "same", "where"],
  "/history": ["id", "forbid", "when", "mode", "stops"],
  "/approvals": ["actions", "tags", "risk_levels", "threshold_usd", "timeout_seconds", "quorum", "approvers", "four_eyes"],
  "/approvals/approvers": ["subjects", "scopes"],
  "/rules": ["id", "effect", "actions", "when", "mode", "stops"],
  "/redact": ["store_inputs", "store_outputs", "keys", "detect"],
  "/wind_down": ["actions", "budget"],
};

const usd = z
  .union([z.string(), z.number()], { error: (issue) => usdFault(issue.input) })
  .transform((amount, context) => usdOf(amount, context))
  .meta({ examples: ["0.05", 5] });

function usdOf(amount: string | number, context: z.RefinementCtx): string {
  const parsed = parseUsd(amount);
  if (parsed.ok) return formatUsd(parsed.value);
  context.addIssue({ code: "custom", message: usdFault(amount), input: amount });
  return z.NEVER;
}

function usdFault(input: unknown): string {
  if (input === null || input === undefined) return found("a USD amount", input);
  const parsed = parseUsd(input);
  return parsed.ok ? found("a USD amount", input) : parsed.error.message;
}

/** A part of a limit. Six decimals are as fine as money is. */
const aFraction = wants("a fraction above 0 and at most 1, with at most six decimals");
const fraction = z
  .number(aFraction)
  .gt(0, aFraction)
  .max(1, aFraction)
  .refine((part) => Number(part.toFixed(6)) === part, aFraction);

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
