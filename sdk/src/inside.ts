import type { Sentinel } from "./sentinel.ts";
import type { SessionContext } from "./session.ts";

/** How each sentinel asks, for the other entries of this package; nobody else reaches it. */
export const insides = new WeakMap<Sentinel, SessionContext>();

/** How a sentinel asks. Throws a `TypeError` for one that this copy of the package did not make. */
export function insideOf(sentinel: Sentinel): SessionContext {
  const found = insides.get(sentinel);
  if (found === undefined) throw new TypeError("Cannot use this sentinel: wanted one that createSentinel of this very package has made");
  return found;
}
