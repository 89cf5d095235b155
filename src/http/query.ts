import * as z from "zod";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, type Result } from "../core/result.ts";
import { parseWith } from "./issues.ts";
import { pointerOf } from "./pointer.ts";

/**
 * Parses a query string. A parameter that is unknown or stands twice is refused like a wrong one: a misspelt filter that is ignored answers
 * another question than the one that was asked.
 */
export function parseQuery<S extends z.ZodObject>(schema: S, parameters: URLSearchParams): Result<z.output<S>, Refusal> {
  const query: { [name: string]: unknown } = Object.create(null);
  for (const [name, text] of parameters) {
    if (Object.hasOwn(query, name)) {
      return err(
        refusal("body_invalid", `The query has ${name.slice(0, 100)} twice.`, [
          { pointer: pointerOf([name.slice(0, 100)]), message: "stands twice" },
        ]),
      );
    }
    query[name] = readValue(schema.shape[name], text);
  }
  return parseWith(schema, query, "query");
}

/** The value that a parameter's text stands for, where its schema wants a number or a boolean. What is neither stays a text, and is refused as such. */
function readValue(field: z.core.$ZodType | undefined, text: string): unknown {
  const inner = field instanceof z.ZodOptional ? field.unwrap() : field;
  if (inner instanceof z.ZodNumber && /^-?\d{1,15}$/.test(text)) return Number(text);
  if (inner instanceof z.ZodBoolean && (text === "true" || text === "false")) return text === "true";
  return text;
}
