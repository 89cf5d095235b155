import type { Sentinel } from "./sentinel.ts";
import type { Session, SessionContext } from "./session.ts";

/** How each sentinel and session asks, for the other entries of this package; nobody else reaches it. */
export const insides = new WeakMap<Sentinel | Session, SessionContext>();

/** How a sentinel or a session asks. Throws a `TypeError` for one that this copy of the package did not make. */
export function insideOf(asker: Sentinel | Session): SessionContext {
  const found = insides.get(asker);
  if (found === undefined) throw new TypeError("Cannot use this sentinel: wanted one that createSentinel of this very package has made");
  return found;
}
