import { closest, distance } from "fastest-levenshtein";
import type * as z from "zod";
import { canonicalJson } from "../json.ts";
import type { Issue } from "../refusals.ts";
import { err, ok, type Result } from "../result.ts";
import { type AuthorsWork, authorFindings, sizeOf } from "./authored.ts";
import { AUTHOR_BOUNDS, normalise, type PolicyDocument, STORED_BOUNDS } from "./document.ts";
import { EMPTY_POLICY, MOST_ISSUES, pointerOf, readText } from "./text.ts";
import { policyWarnings } from "./warnings.ts";
import { MEMBERS, policySchema, type WrittenPolicy } from "./written.ts";

/** A policy that can be enforced whole, and what its author may want to know about it. */
export interface ParsedPolicy {
  readonly document: PolicyDocument;
  readonly warnings: readonly Issue[];
}

/** Something to say about a place of a policy: its key (`key`: a member that should not be there), or its value. */
export interface Finding {
  readonly path: readonly PropertyKey[];
  readonly part: "key" | "value";
  readonly message: string;
  /** For a mistake within a text: the text, and where in it. */
  readonly inside?: { readonly text: string; readonly offset: number };
}

/** What a policy may come to once its aliases and defaults are written out: a store's row must carry it. */
const MOST_DOCUMENT_BYTES = 1_800_000;

/**
 * Parses an author's text. Refuses with every mistake at once (at most 100), each with a JSON pointer, line and column, saying what was found and
 * what is wanted: unknown members, members that this gateway does not enforce yet, empty sections, wrong values, anything ambiguous.
 * Never throws, and bounds its own work whatever the text; `work` is told what of it no length of the text tells.
 */
export function parsePolicy(text: string, format: "yaml" | "json", work?: AuthorsWork): Result<ParsedPolicy, readonly Issue[]> {
  const reading = readText(text, format);
  if (!reading.ok) return reading;
  const { value, issues, placeOf, placeWithin } = reading.value;
  const placed = (findings: Iterable<Finding>): readonly Issue[] =>
    distinct(findings).map((finding) => {
      const { path, part, inside } = finding;
      const place = inside === undefined ? null : placeWithin(path, inside.text, inside.offset);
      if (place !== null || inside === undefined) return { ...issueOf(finding), ...(place ?? placeOf(path, part)) };
      // Folded or escaped, the text does not stand as it is: its own place, and how far into it.
      return { ...issueOf({ ...finding, message: `${finding.message} (at its character ${inside.offset + 1})` }), ...placeOf(path, part) };
    });
  // Nothing has looked at the values yet: what aliases made too large is not worth a second look.
  if (sizeOf(value, MOST_DOCUMENT_BYTES) > MOST_DOCUMENT_BYTES) return err(placed([TOO_LARGE]));
  const parsed = check(AUTHORS, value);
  const asked = authorFindings(value, work);
  if (!parsed.ok || issues.length > 0 || asked.length > 0) {
    // What could not be read at all would be reported again as a wrong value.
    const read = new Set(issues.map(({ pointer }) => pointer));
    const mistaken = placed([...(parsed.ok ? [] : parsed.error), ...asked]).filter(({ pointer }) => !read.has(pointer));
    return err([...issues, ...mistaken].sort(byPlace).slice(0, MOST_ISSUES));
  }
  const document = normalise(parsed.value);
  if (new TextEncoder().encode(canonicalJson(document)).length > MOST_DOCUMENT_BYTES) return err(placed([TOO_LARGE]));
  return ok({ document, warnings: [...placed(policyWarnings(parsed.value, document))].sort(byPlace) });
}

/** Reads a policy that is already a value: a stored document, or one built in code. The bounds on an author's lists do not apply. Never throws. */
export function readPolicy(document: unknown): Result<PolicyDocument, readonly Issue[]> {
  const hidden = hiddenKey(document, []);
  if (hidden !== null) return err([{ pointer: pointerOf(hidden), message: "__proto__ cannot be a key" }]);
  const parsed = check(STORED, document);
  return parsed.ok ? ok(normalise(parsed.value)) : err(distinct(parsed.error).map(issueOf));
}

function check(schema: ReturnType<typeof policySchema>, value: unknown): Result<WrittenPolicy, readonly Finding[]> {
  if (typeof value === "object" && value !== null && Object.keys(value).length === 0) {
    return err([{ path: [], part: "value", message: EMPTY_POLICY }]);
  }
  const parsed = schema.safeParse(value);
  return parsed.success ? ok(parsed.data) : err(parsed.error.issues.flatMap((issue) => findingsOf(issue, value, [])));
}

const TOO_LARGE: Finding = {
  path: [],
  part: "value",
  message: `the policy is too large: with its aliases and defaults written out it may have ${MOST_DOCUMENT_BYTES} bytes of JSON`,
};

const AUTHORS = policySchema(AUTHOR_BOUNDS);
const STORED = policySchema(STORED_BOUNDS);

function findingsOf(issue: z.core.$ZodIssue, root: unknown, above: readonly PropertyKey[]): readonly Finding[] {
  const path = [...above, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: [...path, key], part: "key", message: unknownMember(path, key) }));
  }
  if (issue.code === "invalid_key") return [{ path, part: "key", message: issue.issues[0]?.message ?? issue.message }];
  if (issue.code === "invalid_union") {
    // A rate, a loop, a requirement may be one or a list of them, and the list stands first in the union: what is wrong inside says more than that neither fits.
    const branch = issue.errors[Array.isArray(valueAt(root, path)) ? 0 : 1] ?? [];
    const inside = branch.filter((nested) => nested.path.length > 0 || nested.code === "unrecognized_keys");
    if (inside.length > 0) return inside.flatMap((nested) => findingsOf(nested, root, path));
  }
  return [{ path, part: "value", message: issue.message }];
}

function unknownMember(path: readonly PropertyKey[], key: string): string {
  // Every rate has the same members, whatever its pattern, and every rule, whatever its place.
  const members = MEMBERS[pointerOf(path.slice(0, 2))] ?? MEMBERS[pointerOf(path.slice(0, 1))] ?? MEMBERS[""];
  const named = JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key);
  const meant = key.length <= 64 ? closest(key.toLowerCase(), members) : null;
  if (meant !== null && distance(key.toLowerCase(), meant) <= Math.max(2, Math.floor(meant.length / 3))) {
    return `${named} is not known here; did you mean "${meant}"?`;
  }
  return `${named} is not known here; wanted one of ${members.join(", ")}`;
}

/** The first `__proto__` among the members, which the schema library passes over in silence. What is deeper than a schema may be, the form refuses. */
function hiddenKey(value: unknown, path: readonly string[]): readonly string[] | null {
  if (typeof value !== "object" || value === null || path.length > MOST_DEPTH) return null;
  if (Object.hasOwn(value, "__proto__")) return [...path, "__proto__"];
  for (const [key, member] of Object.entries(value)) {
    const hidden = hiddenKey(member, [...path, key]);
    if (hidden !== null) return hidden;
  }
  return null;
}

const MOST_DEPTH = STORED_BOUNDS.depth + 8;

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce((value: unknown, step) => (typeof value === "object" && value !== null ? Reflect.get(value, step) : undefined), root);
}

/** Each thing once, and no more than fit an answer. */
function distinct(findings: Iterable<Finding>): readonly Finding[] {
  const byText = new Map<string, Finding>();
  for (const finding of findings) {
    if (byText.size === MOST_ISSUES) break;
    byText.set(`${pointerOf(finding.path)} ${finding.message}`, finding);
  }
  return [...byText.values()];
}

const issueOf = (finding: Finding): Issue => ({ pointer: pointerOf(finding.path), message: finding.message });

const byPlace = (a: Issue, b: Issue): number => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
