import type { Running, Session, Work } from "../session.ts";

/** Who hears what a session is told to stop, and what is closed here. */
export interface Listener {
  /** As `Session.stop` is told. */
  stop(reason: Error, which?: (work: Work) => boolean): void;
  /** A run is being closed, or, `null`, the session. */
  closes(run: string | null): void;
  /** Its calls under which the gateway has decided. */
  decided(): readonly Running[];
}

const listeners = new WeakMap<Session, Set<Listener>>();

/** Has a session's own methods tell a listener too, until what it returns is called. */
export function attend(session: Session, listener: Listener): () => void {
  const all = listeners.get(session) ?? begun(session);
  all.add(listener);
  return () => void all.delete(listener);
}

/** Has what a session's methods tell kept for a listener that comes later, until `leave` is called. */
export function overhear(session: Session): { readonly heard: readonly ((listener: Listener) => void)[]; readonly leave: () => void } {
  const heard: ((listener: Listener) => void)[] = [];
  const leave = attend(session, {
    stop: (reason, which) => void heard.push((listener) => listener.stop(reason, which)),
    closes: (run) => void heard.push((listener) => listener.closes(run)),
    decided: () => [],
  });
  return { heard, leave };
}

function begun(session: Session): Set<Listener> {
  const all = new Set<Listener>();
  listeners.set(session, all);
  const { stop, check, close, closeRun } = session;
  const closes = (run: string | null): void => {
    for (const each of all) each.closes(run);
  };
  session.stop = (reason, which) => {
    stop.call(session, reason, which);
    for (const each of all) each.stop(reason, which);
  };
  session.check = async (call) => {
    await check.call(session, call);
    for (const each of all) for (const { decision } of each.decided()) if (decision !== undefined) await session.readDecision(decision, call);
  };
  // Before the gateway is told: what is decided in between would be of a run that is over.
  session.close = (call) => {
    closes(null);
    return close.call(session, call);
  };
  session.closeRun = (call) => {
    closes(session.run);
    return closeRun.call(session, call);
  };
  return all;
}
