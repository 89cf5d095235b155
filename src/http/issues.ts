import { distance } from "fastest-levenshtein";
import * as z from "zod";
import { type Issue, type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import { pointerOf } from "./pointer.ts";

/** What a thing is called in the sentence that sums the issues up. */
export type Subject = "body" | "query" | "request" | "entry";

/**
 * Parses outside input with a schema. A refusal has one issue for each mistake: where it is, what was found, what is wanted.
 * Its code is `money_precision` where too many decimals are all that is wrong, else `body_invalid`.
 */
export function parseWith<S extends z.ZodType>(schema: S, input: unknown, subject: Subject): Result<z.output<S>, Refusal> {
  // An object that has members it should not have tells its own members through this map, so that a near one can be named.
  const members = new Map<readonly string[], readonly string[]>();
  const parsed = schema.safeParse(input, {
    error: (issue) => {
      if (issue.code === "unrecognized_keys" && issue.inst instanceof z.ZodObject) members.set(issue.keys, Object.keys(issue.inst.shape));
      return messageOf(issue);
    },
  });
  if (parsed.success) return ok(parsed.data);
  const found = parsed.error.issues;
  const issues = found.flatMap((issue) => issuesFrom(issue, members)).slice(0, MOST_ISSUES);
  const precision = found.every((issue) => issue.code === "custom" && issue.params?.code === "money_precision");
  const [first] = issues;
  const where = first === undefined ? "" : ` ${first.pointer === "" ? "It" : first.pointer} ${first.message}.`;
  const sentence = issues.length === 1 ? `The ${subject} is not valid:${where}` : `The ${subject} has ${issues.length} mistakes.${where}`;
  return err(refusal(precision ? "money_precision" : "body_invalid", sentence, issues));
}

/** A body may be wrong in a thousand places; nobody reads them. */
const MOST_ISSUES = 50;

function issuesFrom(issue: z.core.$ZodIssue, members: ReadonlyMap<readonly string[], readonly string[]>): readonly Issue[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      pointer: pointerOf([...issue.path, key.slice(0, 100)]),
      message: `is unknown${didYouMean(key, members.get(issue.keys) ?? [])}`,
    }));
  }
  return [{ pointer: pointerOf(issue.path), message: issue.message }];
}

/** `; did you mean "x"?` where one of the known words is near enough, else what there is to choose from. */
export function didYouMean(word: string, known: readonly string[]): string {
  const short = word.slice(0, 100);
  const [nearest] = known.map((one) => ({ one, far: distance(short.toLowerCase(), one.toLowerCase()) })).sort((a, b) => a.far - b.far);
  if (nearest !== undefined && nearest.far <= Math.max(1, Math.floor(nearest.one.length / 3))) return `; did you mean "${nearest.one}"?`;
  return known.length === 0 ? "" : `; known are ${known.join(", ")}`;
}

/** One sentence for one mistake: what was found and what is wanted. */
export function found(input: unknown, wanted: string): string {
  return input === undefined ? `is missing; wanted ${wanted}` : `found ${shown(input)}; wanted ${wanted}`;
}

function shown(input: unknown): string {
  if (typeof input === "string") return JSON.stringify(input.length > 60 ? `${input.slice(0, 60)}…` : input);
  if (input === null) return "null";
  if (Array.isArray(input)) return input.length === 1 ? "an array of 1 item" : `an array of ${input.length} items`;
  return typeof input === "object" ? "an object" : String(input);
}

function messageOf(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return found(issue.input, NOUNS[issue.expected] ?? issue.expected);
    case "too_small":
      return found(issue.input, `at least ${sizeOf(issue.origin, Number(issue.minimum))}`);
    case "too_big":
      return found(issue.input, `at most ${sizeOf(issue.origin, Number(issue.maximum))}`);
    case "invalid_value": {
      const known = issue.values.map(String);
      const near = typeof issue.input === "string" ? didYouMean(issue.input, known) : "";
      return near.startsWith("; did you mean") ? `${found(issue.input, known.join(", "))}${near}` : found(issue.input, `one of ${known.join(", ")}`);
    }
    default:
      return found(issue.input, "another value");
  }
}

const NOUNS: { readonly [expected: string]: string } = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "an array",
  object: "an object",
  record: "an object",
};

function sizeOf(origin: string, size: number): string {
  const unit = origin === "string" ? "character" : origin === "array" ? "item" : null;
  return unit === null ? String(size) : `${size} ${unit}${size === 1 ? "" : "s"}`;
}
