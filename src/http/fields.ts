import * as z from "zod";
import type { Json, UsdInput } from "../../sdk/src/wire.ts";
import type { Digest } from "../core/digest.ts";
import { isDigest } from "../core/digest.ts";
import { type Id, type IdPrefix, isId } from "../core/ids.ts";
import type { JsonValue } from "../core/json.ts";
import { type MicroUsd, parseUsd } from "../core/money.ts";
import type { Instant } from "../core/time.ts";
import { parseInstant } from "../core/time.ts";
import { found } from "./issues.ts";

/** Adds a mistake in this place, or below it, to those of the whole. */
const flaw = (ctx: z.RefinementCtx, input: unknown, message: string, below: readonly string[] = [], code?: string): void => {
  ctx.addIssue({ code: "custom", input, message, path: [...below], ...(code === undefined ? {} : { params: { code } }) });
};

/**
 * Money in a request, as micro-USD.
 * zod looks at nothing here: what may stand in the place is told to clients by the JSON Schema beside it, and parsed by the core.
 */
export const usd = (z.unknown() as z.ZodType<UsdInput, UsdInput>)
  .transform((input, ctx): MicroUsd => {
    const parsed = parseUsd(input);
    if (parsed.ok) return parsed.value;
    flaw(ctx, input, input === undefined ? found(input, 'a USD amount like "0.05"') : parsed.error.message, [], parsed.error.code);
    return z.NEVER;
  })
  .meta({
    description: "USD: digits with at most six decimals, as a string or a number. No sign, no exponent; never rounded.",
    anyOf: [
      { type: "string", pattern: "^(0|[1-9]\\d*)(\\.\\d{1,6})?$", maxLength: 40 },
      { type: "number", minimum: 0, maximum: 9_007_199_254 },
    ],
    examples: ["0.05", 0.05],
  });

/** A text that a pattern describes, with words for people who miss it. */
export const patterned = (pattern: RegExp, wanted: string, most: number) =>
  z
    .string({ error: (issue) => found(issue.input, wanted) })
    .max(most, { error: (issue) => found(issue.input, wanted) })
    .regex(pattern, { error: (issue) => found(issue.input, wanted), abort: true });

/** A name that people and records refer to: one line, whole characters. */
export const oneLine = (most: number) => patterned(/^[^\p{Cc}\p{Cs}]+$/u, `1 to ${most} characters without control characters`, most);

export const id = <P extends IdPrefix>(prefix: P) =>
  z
    .string({ error: (issue) => found(issue.input, `an id like "${EXAMPLE_IDS[prefix]}"`) })
    .transform((text, ctx): Id<P> => {
      if (isId(prefix, text)) return text;
      flaw(ctx, text, found(text, `an id like "${EXAMPLE_IDS[prefix]}"`));
      return z.NEVER;
    })
    .meta({ pattern: `^${prefix}_${UUID_PATTERN}$`, examples: [EXAMPLE_IDS[prefix]] });

const UUID_PATTERN = "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";

export const EXAMPLE_IDS: { readonly [P in IdPrefix]: Id<P> } = {
  ses: "ses_019a9c1e-7f00-7abc-8def-000000000001",
  run: "run_019a9c1e-7f00-7abc-8def-000000000002",
  dec: "dec_019a9c1e-7f00-7abc-8def-000000000003",
  apr: "apr_019a9c1e-7f00-7abc-8def-000000000003",
  tok: "tok_019a9c1e-7f00-7abc-8def-000000000004",
  ent: "ent_019a9c1e-7f00-7abc-8def-000000000005",
  int: "int_019a9c1e-7f00-7abc-8def-000000000006",
  whk: "whk_019a9c1e-7f00-7abc-8def-000000000007",
  dlv: "dlv_019a9c1e-7f00-7abc-8def-000000000008",
  lse: "lse_019a9c1e-7f00-7abc-8def-000000000009",
};

export const EXAMPLE_DIGEST = `sha-256:${"6b86b273ff34fce19d6b804eff5a3f57".repeat(2)}`;

export const digest = z
  .string({ error: (issue) => found(issue.input, "sha-256: and 64 lower-case hexadecimal digits") })
  .transform((text, ctx): Digest => {
    if (isDigest(text)) return text;
    flaw(ctx, text, found(text, "sha-256: and 64 lower-case hexadecimal digits"));
    return z.NEVER;
  })
  .meta({ pattern: "^sha-256:[0-9a-f]{64}$", examples: [EXAMPLE_DIGEST] });

/** Whole numbers within bounds. */
export const whole = (least: number, most: number) => {
  const wanted = `a whole number from ${least} to ${most}`;
  const error = (issue: { readonly input?: unknown }) => found(issue.input, wanted);
  return z.int({ error }).min(least, { error }).max(most, { error });
};

export const SECOND_MS = 1000;
export const HOUR_MS = 3600 * SECOND_MS;
export const DAY_MS = 24 * HOUR_MS;

/** An instant in a query. */
export const instant = z
  .string()
  .transform((text, ctx): Instant => {
    const at = parseInstant(text);
    if (at !== null) return at;
    flaw(ctx, text, found(text, "an RFC 3339 date-time like 2026-11-22T19:00:00.000Z"));
    return z.NEVER;
  })
  .meta({ format: "date-time", examples: ["2026-11-22T19:00:00.000Z"] });

/**
 * Whatever JSON can carry, handed on untouched: depth and size were bounded when the body was read, and a schema that recursed would only copy.
 * The type is what JSON.parse gives.
 */
export const json = z.unknown() as z.ZodType<JsonValue, Json>;

type Labels = { readonly [key: string]: string };

/** Pairs of short texts. Looked at by hand, because zod's records drop a member named `__proto__` in silence. */
export const labels = (z.unknown() as z.ZodType<Labels, Labels>)
  .superRefine((input: unknown, ctx) => {
    if (!isObject(input)) return flaw(ctx, input, found(input, "an object of texts"));
    const pairs = Object.entries(input);
    if (pairs.length > 64) flaw(ctx, input, `found ${pairs.length} labels; wanted at most 64`);
    for (const [key, value] of pairs.slice(0, 64)) {
      if (!LABEL_KEY.test(key) || key === "__proto__") {
        flaw(ctx, key, `found ${JSON.stringify(key.slice(0, 60))} as a label's name; wanted 1 to 64 characters without control characters`, [key]);
      } else if (typeof value !== "string" || !LABEL_VALUE.test(value)) {
        flaw(ctx, value, found(value, "a text of at most 256 characters without control characters"), [key]);
      }
    }
  })
  .meta({
    description: "Up to 64 names of 1 to 64 characters, each with a text of at most 256 characters.",
    type: "object",
    maxProperties: 64,
    propertyNames: { minLength: 1, maxLength: 64 },
    additionalProperties: { type: "string", maxLength: 256 },
    examples: [{ team: "support" }],
  });

const LABEL_KEY = /^[^\p{Cc}\p{Cs}]{1,64}$/u;
const LABEL_VALUE = /^[^\p{Cc}\p{Cs}]{0,256}$/u;

/** The names by which a request itself says what it is about. A stored attribute of the same name would contradict it. */
const STATED_ATTRIBUTES = ["id", "type"] as const;
const MOST_ATTRIBUTE_BYTES = 64 * 1024;

type Attributes = { readonly [attribute: string]: JsonValue };
type AttributesIn = { readonly [attribute: string]: Json };

/**
 * What is stored of an entity. Looked at by hand, as labels are. Texts must be whole characters: what is stored, recorded and compared by rules is
 * one and the same.
 */
export const attributes = (z.unknown() as z.ZodType<Attributes, AttributesIn>)
  .superRefine((input: unknown, ctx) => {
    if (!isObject(input)) return flaw(ctx, input, found(input, "an object"));
    for (const name of STATED_ATTRIBUTES) {
      if (Object.hasOwn(input, name)) flaw(ctx, input, "cannot be stored: every request states it itself", [name]);
    }
    if (Object.hasOwn(input, "__proto__")) flaw(ctx, input, "is not an attribute's name", ["__proto__"]);
    const torn = tornText(input, []);
    if (torn !== null) flaw(ctx, input, "has half of a surrogate pair; wanted whole characters", torn);
    const bytes = new TextEncoder().encode(JSON.stringify(input)).length;
    if (bytes > MOST_ATTRIBUTE_BYTES) flaw(ctx, input, `found ${bytes} bytes of JSON; wanted at most ${MOST_ATTRIBUTE_BYTES}`);
  })
  .meta({
    description: `What rules may look at, at most ${MOST_ATTRIBUTE_BYTES} bytes of JSON. Whatever a request states itself cannot be stored: \`id\`, \`type\`, and of whoever may hold a token \`kind\`.`,
    type: "object",
    propertyNames: { not: { enum: [...STATED_ATTRIBUTES, "__proto__"] } },
    examples: [{ department: "support", cleared_for: ["crm"] }],
  });

/** Where a text, or a member's name, is no whole characters; `null` where all are. A body is at most 64 levels deep. */
function tornText(value: unknown, path: readonly string[]): readonly string[] | null {
  if (typeof value === "string") return value.isWellFormed() ? null : path;
  if (typeof value !== "object" || value === null) return null;
  for (const [key, member] of Object.entries(value)) {
    const torn = key.isWellFormed() ? tornText(member, [...path, key]) : path;
    if (torn !== null) return torn;
  }
  return null;
}

interface UsageIn {
  readonly model?: string | undefined;
  readonly input_tokens?: number | undefined;
  readonly output_tokens?: number | undefined;
  readonly [key: string]: Json | undefined;
}

/** What a model reports of its own use: three known members and whatever else its provider counts. */
export const usage = (z.unknown() as z.ZodType<{ readonly [key: string]: JsonValue }, UsageIn>)
  .superRefine((input: unknown, ctx) => {
    if (!isObject(input)) return flaw(ctx, input, found(input, "an object"));
    if (Object.keys(input).length > 64) flaw(ctx, input, "has more than 64 members");
    if (Object.hasOwn(input, "__proto__")) flaw(ctx, input, "is not a member's name", ["__proto__"]);
    if ("model" in input && (typeof input.model !== "string" || input.model.length < 1 || input.model.length > 128)) {
      flaw(ctx, input.model, found(input.model, "a text of 1 to 128 characters"), ["model"]);
    }
    for (const count of ["input_tokens", "output_tokens"]) {
      const tokens = input[count];
      if (Object.hasOwn(input, count) && !(Number.isSafeInteger(tokens) && Number(tokens) >= 0)) {
        flaw(ctx, tokens, found(tokens, "a whole number, not negative"), [count]);
      }
    }
  })
  .meta({
    description:
      "What a model reports of its own use. Members beyond the named ones are recorded as they are. Where the cost is left out it is reckoned from `model`, `provider`, `input_tokens` (cached ones included), `output_tokens`, `cache_read_tokens` and `cache_write_tokens`.",
    type: "object",
    maxProperties: 64,
    properties: {
      model: { type: "string", minLength: 1, maxLength: 128 },
      input_tokens: { type: "integer", minimum: 0 },
      output_tokens: { type: "integer", minimum: 0 },
    },
    additionalProperties: true,
    examples: [{ model: "small-1", input_tokens: 812, output_tokens: 96 }],
  });

const isObject = (input: unknown): input is { readonly [key: string]: unknown } =>
  typeof input === "object" && input !== null && !Array.isArray(input);
