import type { RunId, SessionId } from "../../../../src/core/ids.ts";
import { noShares, type Shares } from "../../../../src/core/shares.ts";
import { Authority } from "../authority.ts";
import type { Desk } from "../desk.ts";

/** What decides about one session here: the desk under the floor, and the mirror under the gateway's policy. */
export interface Both {
  readonly desk: Desk;
  readonly mirror: Authority;
}

/** Some edge runtimes cannot tell what nobody holds any more. There, a session that is opened again begins anew. */
const FORGETS = typeof WeakRef === "function" && typeof FinalizationRegistry === "function";

/**
 * The authorities of all sessions of one sentinel. A session has one pair, however many objects stand for it; sessions of one agent share what that
 * agent and its tenant spend. A session that nobody holds any more is forgotten, and what its agent spent in it is not.
 */
export class Authorities {
  readonly #now: () => number;
  readonly #sessions = new Map<SessionId, WeakRef<Both>>();
  readonly #byAgent = new Map<string, { readonly floor: Shares; readonly mirror: Shares }>();
  readonly #gone = FORGETS
    ? new FinalizationRegistry<SessionId>((session) => {
        if (this.#sessions.get(session)?.deref() === undefined) this.#sessions.delete(session);
      })
    : null;

  constructor(now: () => number) {
    this.#now = now;
  }

  of(session: SessionId, run: RunId, agent: string, deskOf: (shares: Shares) => Desk): Both {
    const known = this.#sessions.get(session)?.deref();
    if (known !== undefined) return known;
    const shares = this.#sharesOf(agent);
    const desk = deskOf(shares.floor);
    const { tenant } = desk.authority.book;
    const mirror = new Authority({ tenant, session, agent, run, now: this.#now, budgetMicroUsd: null, shares: shares.mirror });
    const made = { desk, mirror };
    if (this.#gone !== null) {
      this.#sessions.set(session, new WeakRef(made));
      this.#gone.register(made, session);
    }
    return made;
  }

  #sharesOf(agent: string): { readonly floor: Shares; readonly mirror: Shares } {
    const known = this.#byAgent.get(agent);
    if (known !== undefined) return known;
    const now = this.#now();
    const made = { floor: noShares(now), mirror: noShares(now) };
    this.#byAgent.set(agent, made);
    return made;
  }
}
