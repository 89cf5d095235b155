/// <reference lib="esnext.disposable" preserve="true" />
import { AgentKilledError } from "./errors.ts";
import { matchesGlob } from "./glob.ts";
import { insideOf } from "./inside.ts";
import { listen } from "./listen.ts";
import { nullable, object, oneOf, text } from "./read.ts";
import type { Sentinel } from "./sentinel.ts";
import type { Session } from "./session.ts";

/** What `follow` gives: it goes on until it is closed. */
export interface Following extends AsyncDisposable {
  /** Follows one more session. */
  add(session: Session): void;
  /** Follows it no more. */
  remove(session: Session): void;
  /** Lets go of the connection. What was stopped stays so. */
  close(): Promise<void>;
}

/**
 * Aborts, within about a second of a kill and without being asked anything, what runs of the sessions that are killed: all of a session, the run
 * that was killed, or the guarded calls of an action. A pause aborts nothing. It is one connection however many sessions it follows, and misses no
 * kill over a cut. It makes nothing safer, only sooner: without it the next decision denies. The token needs `events:read`.
 */
export function follow(sentinel: Sentinel, ...followed: readonly Session[]): Following {
  const inside = insideOf(sentinel);
  const stop = new AbortController();
  const { signal } = stop;
  const sessions = new Set(followed);
  /** What may have been killed before the stream stood, or while it was cut. */
  const unseen = new Set<Session>();
  let cut: ((why: unknown) => void) | null = null;

  /** The stream stands now: what is not told by it is in what is read. */
  const look = async (): Promise<void> => {
    for (const session of unseen) {
      await session.check({ signal });
      unseen.delete(session);
    }
  };
  const hear = async (): Promise<void> => {
    const wanted = {
      query: { types: "intervention.obeyed" },
      after: null,
      signal,
      read: obeyed,
      opened: (resumed: boolean, stopIt: (why: unknown) => void) => {
        cut = stopIt;
        if (!resumed) for (const session of sessions) unseen.add(session);
        return look();
      },
    };
    for await (const event of listen(inside, wanted)) for (const session of sessions) if (session.id === event.session) obey(session, event);
  };
  // It has been told to `onStream`; or it was closed.
  const ended = hear().catch(() => undefined);
  const close = (): Promise<void> => {
    stop.abort();
    return ended;
  };
  return {
    add(session) {
      sessions.add(session);
      unseen.add(session);
      if (cut !== null) look().catch(cut);
    },
    remove(session) {
      sessions.delete(session);
      unseen.delete(session);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

const obeyed = object({
  session: nullable(text),
  details: object({
    kind: oneOf("kill", "pause"),
    target: object({ type: oneOf("tenant", "agent", "session", "run", "action"), id: text }),
  }),
});

function obey(session: Session, { details: { kind, target } }: ReturnType<typeof obeyed>): void {
  if (kind === "pause") return;
  const { type, id } = target;
  const reason = new AgentKilledError(`Cannot go on: the ${type} "${id}" was killed`, `${type}_killed`);
  if (type === "run") session.stop(reason, ({ run }) => run === id);
  else if (type === "action") session.stop(reason, ({ action }) => action !== null && matchesGlob(id, action));
  else session.stop(reason);
}
