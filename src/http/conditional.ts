import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Ports } from "../flow/ports.ts";
import { found } from "./issues.ts";
import type { Answer } from "./route.ts";

/** A representation that a client may keep: its text, and as what it is read. */
export interface Representation {
  readonly text: string;
  readonly type: string;
}

/** The strong `ETag` of a representation: equal for equal bytes of an equal type, and for nothing else. */
export const tagOf = ({ sha256 }: Pick<Ports, "sha256">, { text, type }: Representation): string => `"${sha256(`${type}\n${text}`).slice(0, 32)}"`;

/** An answer that a client may keep, with an `ETag` of its bytes; 304 where the client has exactly these already (RFC 9110 section 13.1.2). */
export function conditional(ports: Ports, asked: Headers, representation: Representation): Answer {
  const tag = tagOf(ports, representation);
  const headers = { ETag: tag, "Cache-Control": "private, no-cache", Vary: "Accept, Authorization" };
  const has = asked.get("If-None-Match");
  const fresh = has !== null && (has.trim() === "*" || has.split(",").some((one) => one.trim().replace(/^W\//, "") === tag));
  return fresh ? { status: 304, body: null, headers } : { status: 200, body: representation, headers };
}

/** What the header of a condition names: anything at all, or the tags of what its sender saw. */
export type Named = "*" | readonly string[];

/** What a writer says of what it means to write over; `null`: nothing. */
export interface Preconditions {
  readonly match: Named | null;
  readonly noneMatch: Named | null;
}

/** A condition that cannot be read is refused: whoever sends one relies on it, and nothing may be written as if it were not there. */
export function parsePreconditions(asked: Headers): Result<Preconditions, Refusal> {
  const match = parseNamed(asked, "If-Match");
  if (!match.ok) return match;
  const noneMatch = parseNamed(asked, "If-None-Match");
  return noneMatch.ok ? ok({ match: match.value, noneMatch: noneMatch.value }) : noneMatch;
}

const ENTITY_TAG = '(?:W/)?"[\\x21\\x23-\\x7e\\x80-\\xff]*"';
/** RFC 9110 sections 8.8.3 and 5.6.1. */
export const TAGS = `^(?:\\*|${ENTITY_TAG}(?:[ \\t]*,[ \\t]*${ENTITY_TAG})*)$`;
const IS_TAGS = new RegExp(TAGS);
const EACH_TAG = new RegExp(ENTITY_TAG, "g");

function parseNamed(asked: Headers, name: "If-Match" | "If-None-Match"): Result<Named | null, Refusal> {
  const text = asked.get(name);
  if (text === null) return ok(null);
  if (!IS_TAGS.test(text)) {
    const message = found(text, `* or entity tags in double quotes, as they came in an ETag, with commas between them`);
    return err(refusal("body_invalid", `The header ${name} is not valid: ${message}.`, [{ pointer: `/${name}`, message }]));
  }
  return ok(text === "*" ? "*" : (text.match(EACH_TAG) ?? []));
}

/** Strong comparison (section 8.8.3.2): a weak tag is never one of them. */
export const namesStrongly = (named: readonly string[], tags: readonly string[]): boolean => named.some((one) => tags.includes(one));

/** Weak comparison. */
export const namesWeakly = (named: readonly string[], tags: readonly string[]): boolean =>
  named.some((one) => tags.includes(one.replace(/^W\//, "")));
