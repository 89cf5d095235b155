import { canonicalJson } from "../../../src/core/json.ts";
import type { Json } from "../surface.ts";

/** One place at which two values differ. `undefined`: it is not there. */
export interface Difference {
  /** RFC 6901. */
  readonly pointer: string;
  readonly recorded: Json | undefined;
  readonly now: Json | undefined;
}

/** The places at which two recorded values differ, at most so many, in the order of the recorded one. */
export function differences(recorded: Json, now: Json, most: number): readonly Difference[] {
  const found: Difference[] = [];
  compare(recorded, now, "", found, most);
  return found;
}

function compare(recorded: Json | undefined, now: Json | undefined, pointer: string, found: Difference[], most: number): void {
  if (found.length >= most) return;
  if (!isNested(recorded) || !isNested(now) || Array.isArray(recorded) !== Array.isArray(now)) {
    if (!isSame(recorded, now)) found.push({ pointer, recorded, now });
    return;
  }
  for (const name of new Set([...Object.keys(recorded), ...Object.keys(now)])) {
    compare(member(recorded, name), member(now, name), `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, found, most);
  }
}

/** A list is its members by their places here. */
type Nested = { readonly [name: string]: Json };

const isNested = (value: Json | undefined): value is Nested => typeof value === "object" && value !== null;
const member = (of: Nested, name: string): Json | undefined => (Object.hasOwn(of, name) ? of[name] : undefined);
const isSame = (a: Json | undefined, b: Json | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && canonicalJson(a) === canonicalJson(b));

/** A line for people: `/to: recorded "a", now "b"`. */
export const told = ({ pointer, recorded, now }: Difference): string =>
  `${pointer === "" ? "all of it" : pointer}: recorded ${shown(recorded)}, now ${shown(now)}`;

function shown(value: Json | undefined): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value);
  return text.length <= 120 ? text : `${text.slice(0, 117)}...`;
}
