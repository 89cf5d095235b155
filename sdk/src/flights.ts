import { insideOf } from "./inside.ts";
import type { Running, Session } from "./session.ts";

/** The calls of a session that are in flight here, so that a kill stops them as it stops guarded functions. */
const flights = new WeakMap<Session, Set<Running>>();

/**
 * Puts a call among those that a kill stops, or stops it at once where that has come; what it returns takes it out again. A session tells its own calls through its methods `stop` and `check`, at a
 * kill and after a cut of the live stream; those of a session that guards fetches tell these too.
 */
export function takeOff(session: Session, call: Running): () => void {
  const known = flights.get(session);
  const all = known ?? new Set();
  if (known === undefined) {
    flights.set(session, all);
    const { stop, check } = session;
    session.stop = (reason, which) => {
      stop.call(session, reason, which);
      for (const each of all) if (which?.(each) ?? true) each.stop.abort(reason);
    };
    session.check = async (options) => {
      await check.call(session, options);
      for (const { decision } of [...all]) if (decision !== undefined) await session.readDecision(decision, options);
    };
  }
  all.add(call);
  const { ended } = insideOf(session);
  if (ended) call.stop.abort(ended);
  return () => void all.delete(call);
}
