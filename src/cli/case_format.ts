import * as z from "zod";
import { EMPTY_POLICY, MOST_ISSUES, readText } from "../core/policy/text.ts";
import { REASONS } from "../core/reasons.ts";
import type { Issue } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import { attributes, instant, oneLine, usd } from "../http/fields.ts";
import { found, parseWith } from "../http/issues.ts";
import * as requests from "../http/requests.ts";
import type { Source } from "./files.ts";

/** A place in a case file, both counted from 1. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

const MOST_SECONDS = 31 * 86_400;

const usdByWindow = (whose: string) =>
  z
    .strictObject({ hour: usd.optional(), day: usd.optional(), month: usd.optional(), total: usd.optional() })
    .superRefine((value, ctx) => reportEmpty(value, ctx, "a window with its amount"))
    .meta({ description: `By the window of the ${whose}'s budget.` });

/** Whole milliseconds of a number of seconds. */
const seconds = z
  .number({ error: (issue) => found(issue.input, "a number of seconds") })
  .min(0, { error: (issue) => found(issue.input, "a number of seconds that is not negative") })
  .max(MOST_SECONDS, { error: (issue) => found(issue.input, `at most ${MOST_SECONDS} seconds (31 days)`) });

const { id: _id, run: _run, approval: _approval, ...wire } = requests.decision.shape;
const asked = {
  ...wire,
  run: oneLine(64)
    .optional()
    .meta({ description: "A name for a run of the session. One that was not named before is opened. Absent: the present run." }),
};

const VERDICTS = ["allow", "deny", "hold"] as const;
const OUTCOMES = ["success", "error", "pending", "released", "expired"] as const;

const expectation = z
  .preprocess(
    (value) => (typeof value === "string" ? { verdict: value } : value),
    z
      .strictObject({
        verdict: z.enum(VERDICTS).optional(),
        reason: z.enum(REASONS).optional().meta({ description: "The reason's code." }),
        rule: z
          .string()
          .nullable()
          .optional()
          .meta({ description: "The id of the rule that decides, or a pointer into the policy; null where none does." }),
        stops: z.enum(["action", "run", "session"]).nullable().optional(),
        warnings: z.array(z.string()).max(100).optional().meta({
          description: "All that a policy or rule which only observes would have refused it for: reason codes, or ids of rules. []: nothing.",
        }),
        advice: z
          .array(z.enum(["rule_warns", "budget_threshold", "wind_down"]))
          .max(100)
          .optional(),
        reserved_usd: usd.nullable().optional().meta({ description: "What was reserved; null where nothing was." }),
        remaining_usd: z
          .strictObject({
            run: usd.optional(),
            session: usd.optional(),
            wind_down: usd.optional(),
            agent: usdByWindow("agent").optional(),
            tenant: usdByWindow("tenant").optional(),
            actions: z
              .record(z.string(), usd)
              .superRefine((value, ctx) => reportEmpty(value, ctx, "the pattern of an action's budget with its amount"))
              .optional()
              .meta({ description: "By the pattern of the action's budget." }),
          })
          .superRefine((value, ctx) => reportEmpty(value, ctx, "an account with its amount"))
          .optional()
          .meta({ description: "What accounts have left afterwards." }),
      })
      .superRefine((value, ctx) => reportEmpty(value, ctx, "a verdict, or more of the answer")),
  )
  .meta({ id: "expectation", description: "A verdict, or parts of the answer. What is not named may be anything." });

/** What expects nothing would pass whatever came out. */
function reportEmpty(value: object, ctx: z.RefinementCtx, wanted: string) {
  if (Object.keys(value).length === 0) ctx.addIssue({ code: "custom", message: `expects nothing; wanted ${wanted}` });
}

const became = {
  outcome: z.enum(OUTCOMES).optional().meta({
    description:
      "What became of it once it was allowed. success and error commit it, released gives it back, pending leaves it, expired lets it run out.",
    default: "success",
  }),
  outputs: requests.commit.shape.outputs,
  cost_usd: usd.optional().meta({ description: "What it cost in the end. Absent: its estimate." }),
};

const earlier = z
  .strictObject({
    ...asked,
    ...became,
    ago_seconds: seconds
      .optional()
      .meta({ description: "How long before the request it was made. Absent: when the call before it was made, or just now." }),
    given: z.boolean().optional().meta({ description: "It happened, whatever this policy says of it." }),
    expect: expectation.optional().meta({ description: "Absent: the policy must allow it, since what it denies did not happen." }),
  })
  .superRefine((call, ctx) => {
    if (call.given === true && call.expect !== undefined)
      ctx.addIssue({ code: "custom", path: ["expect"], message: "goes not with given, which asks nothing of the policy" });
    reportFits(call, ctx);
  });

const step = z
  .strictObject({
    ...asked,
    ...became,
    after_seconds: seconds.optional().meta({ description: "How long after the step before it.", default: 0 }),
    expect: expectation,
  })
  .superRefine(reportFits);

function reportFits(call: { readonly outcome?: string | undefined; readonly outputs?: unknown; readonly cost_usd?: unknown }, ctx: z.RefinementCtx) {
  if (call.outcome === undefined || call.outcome === "success" || call.outcome === "error") return;
  for (const member of ["outputs", "cost_usd"] as const) {
    if (call[member] !== undefined)
      ctx.addIssue({ code: "custom", path: [member], message: `goes with the outcomes success and error, found ${call.outcome}` });
  }
}

const oneCase = z
  .strictObject({
    name: oneLine(200).meta({ description: "A sentence about what must hold." }),
    agent: oneLine(255).optional().meta({ description: "Instead of the file's." }),
    history: z.array(earlier).max(10_000).optional().meta({ description: "What happened before in the session, the oldest first." }),
    request: z.strictObject(asked).optional(),
    expect: expectation.optional(),
    steps: z.array(step).min(1).max(10_000).optional().meta({ description: "Instead of request and expect: several requests, one after the other." }),
  })
  .superRefine((value, ctx) => {
    const { request, expect, steps, history = [] } = value;
    const wrong = (path: string[], message: string) => ctx.addIssue({ code: "custom", path, message });
    if (steps === undefined) {
      if (request === undefined) wrong([], "asks nothing; wanted request and expect, or steps");
      else if (expect === undefined) wrong([], "has no expect; wanted what must come out for the request");
    } else if (request !== undefined || expect !== undefined) {
      wrong([request === undefined ? "expect" : "request"], "goes not with steps, each of which is a request with its own expect");
    }
    let ago = Number.POSITIVE_INFINITY;
    for (const [place, call] of history.entries()) {
      if (call.ago_seconds === undefined) continue;
      if (call.ago_seconds > ago)
        wrong(["history", String(place), "ago_seconds"], `${call.ago_seconds} is before the call above it (${ago}); wanted the oldest first`);
      ago = call.ago_seconds;
    }
  });

const suite = z
  .strictObject({
    policy: z
      .unknown()
      .refine((value) => (typeof value === "string" && value !== "") || isMapping(value), {
        error: (issue) => found(issue.input, "the path of a policy from this file's directory, or the policy itself"),
      })
      .meta({ description: "The path of a policy, from this file's directory; or the policy itself.", type: ["string", "object"] }),
    agent: oneLine(255).optional().meta({ description: "Whose session it is.", default: "agent" }),
    now: instant
      .refine((at) => at >= 0, { error: "is before 1970, when time begins here; wanted 1970-01-01T00:00:00Z or later" })
      .optional()
      .meta({ description: "When the requests are made, for rules that look at the time.", default: "2026-01-01T12:00:00.000Z" }),
    session: z.strictObject({ budget_usd: usd.optional() }).optional().meta({ description: "The session's own cap." }),
    defaults: z.strictObject(asked).omit({ action: true }).optional().meta({ description: "What every request says that does not say it itself." }),
    entities: z
      .record(z.string(), z.record(z.string(), attributes))
      .optional()
      .meta({ description: "Stored attributes, by type and id: {agent: {support-bot: {department: support}}}." }),
    cases: z.array(oneCase).min(1).max(10_000),
  })
  .superRefine((value, ctx) => {
    const known = new Map<string, number>();
    for (const [place, { name }] of value.cases.entries()) {
      const other = known.get(name);
      if (other !== undefined) ctx.addIssue({ code: "custom", path: ["cases", place, "name"], message: `is the name of case ${other + 1} already` });
      else known.set(name, place);
    }
    const { now } = value;
    if (now === undefined || now < 0) return;
    for (const [place, { history = [] }] of value.cases.entries()) {
      for (const [call, { ago_seconds }] of history.entries()) {
        if (ago_seconds !== undefined && ago_seconds * 1000 > now)
          ctx.addIssue({
            code: "custom",
            path: ["cases", place, "history", call, "ago_seconds"],
            message: "is before 1970, with the now of this file",
          });
      }
    }
  });

type Suite = z.output<typeof suite>;
export type Case = Suite["cases"][number];
export type Earlier = z.output<typeof earlier>;
export type Step = z.output<typeof step>;
export type Expectation = z.output<typeof expectation>;
export type AskedWire = z.output<z.ZodObject<typeof asked>>;

/** A case file that was read, and the way back to its lines. */
export interface CaseFile {
  readonly suite: Suite;
  readonly placeOf: (path: readonly (string | number)[]) => Place;
}

/** Reads a case file. Refuses with every mistake at once, each with a pointer, line and column. */
export function readCases(source: Source): Result<CaseFile, readonly Issue[]> {
  return readAs(suite, source, "case file", (value, placeOf) => ({ suite: value, placeOf }));
}

const historyFile = z.strictObject({ history: z.array(earlier).max(10_000) });

/** Reads a file with nothing but a `history`. */
export const readHistory = (source: Source): Result<readonly Earlier[], readonly Issue[]> =>
  readAs(historyFile, source, "history file", ({ history }) => history);

const entitiesFile = z.strictObject({ entities: z.record(z.string(), z.record(z.string(), attributes)) });
export type Entities = z.output<typeof entitiesFile>["entities"];

/** Reads a file with nothing but `entities`. */
export const readEntities = (source: Source): Result<Entities, readonly Issue[]> =>
  readAs(entitiesFile, source, "entities file", ({ entities }) => entities);

/** Reads one request. */
export const readRequest = (source: Source): Result<AskedWire, readonly Issue[]> =>
  readAs(z.strictObject({ ...asked, id: requests.decision.shape.id }), source, "request", ({ id: _given, ...request }) => request);

function readAs<S extends z.ZodType, T>(
  schema: S,
  source: Source,
  what: string,
  made: (value: z.output<S>, placeOf: CaseFile["placeOf"]) => T,
): Result<T, readonly Issue[]> {
  const reading = readText(source.text, source.format, { mergeKeys: true });
  // The reader speaks of what it was made for.
  const said = (issue: Issue): Issue => ({
    ...issue,
    message: (issue.message === EMPTY_POLICY ? "the policy is empty" : issue.message).replace(
      /\b(a|the|is not a) policy\b/,
      (_, article: string) => `${article} ${what}`,
    ),
  });
  if (!reading.ok) return err(reading.error.map(said));
  const { value, issues, placeOf } = reading.value;
  const parsed = parseWith(schema, value, "body");
  if (parsed.ok && issues.length === 0) return ok(made(parsed.value, (path) => placeOf(path.map(String), "value")));
  const mistakes = parsed.ok ? [] : (parsed.error.issues ?? []);
  const placed = mistakes.map((issue) => ({ ...issue, ...placeOf(pathOf(issue.pointer), issue.message.startsWith("is unknown") ? "key" : "value") }));
  return err([...issues.map(said), ...placed].sort(byPlace).slice(0, MOST_ISSUES));
}

const byPlace = (a: Issue, b: Issue): number => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);

/** The names in an RFC 6901 pointer. */
export const pathOf = (pointer: string): readonly string[] =>
  pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));

/** The JSON Schema of case files, for editors. */
export const caseSchema = (): object =>
  z.toJSONSchema(suite, {
    io: "input",
    unrepresentable: "any",
    // A verdict alone is brought into the longer form before it is looked at, which the schema library cannot tell.
    override: ({ jsonSchema }) => {
      if (jsonSchema.id !== "expectation") return;
      const { $schema: _schema, ...object } = z.toJSONSchema(expectation, { io: "output", unrepresentable: "any" });
      jsonSchema.anyOf = [{ enum: [...VERDICTS] }, object];
    },
  });

const isMapping = (value: unknown): value is object => typeof value === "object" && value !== null && !Array.isArray(value);
