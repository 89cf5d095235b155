import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";

/** Where the next page begins: the last row's place in its order. Opaque to clients; what is none of ours is refused rather than guessed at. */
export const CURSORS = {
  /** An instant and an id, for lists in the order of time. */
  time: /^(\d{1,15})\.([a-z]{3}_[0-9a-f-]{36})$/,
  name: /^after\.([^\s]{1,200})$/,
  version: /^before\.(\d{1,9})$/,
  /** A row's number in the order in which rows were made. */
  place: /^place\.(\d{1,15})$/,
} as const;

/** The parts of a cursor of this shape; `null` for the first page. */
export function parseCursor(cursor: string | null, shape: RegExp): Result<readonly string[] | null, Refusal> {
  if (cursor === null) return ok(null);
  const parts = shape.exec(cursor);
  if (parts !== null) return ok(parts.slice(1));
  return err(
    refusal("body_invalid", "The query is not valid: the cursor is none of this list.", [
      { pointer: "/cursor", message: "wanted the next_cursor of an earlier page" },
    ]),
  );
}
