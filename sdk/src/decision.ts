import { errorFor } from "./errors.ts";
import type { Read } from "./mapping.ts";
import type { CallOptions, DecisionAnswer, DecisionNow } from "./surface.ts";
import { type Ambience, type Ask, pause } from "./transport.ts";

/** A decision as `session.decide` gives it: the answer, and what can be done with it. */
export interface Decision extends DecisionAnswer {
  /** Throws the typed error for it unless the action may run. */
  assertAllowed(): void;
  /** Resolves when it is no longer held: at once unless its verdict is `hold`. How long to wait is the signal's business. */
  wait(options?: CallOptions): Promise<DecisionNow>;
}

/** The gateway holds an answer back for 30 s at most; proxies in between often for less. */
const WAIT_MS = 25_000;
/** A gateway that answers at once although the decision is held is not asked more often than this. */
const PACE_MS = 1_000;

export function decisionOf(
  answer: DecisionAnswer,
  ask: Ask,
  ambience: Ambience,
  path: string,
  read: Read<DecisionNow>,
  note: (now: DecisionNow) => void,
): Decision {
  return {
    ...answer,
    assertAllowed() {
      const error = errorFor(answer);
      if (error !== null) throw error;
    },
    async wait({ signal } = {}) {
      for (;;) {
        const asked = ambience.now();
        const found = await ask(
          { what: `wait for "${answer.action}"`, method: "GET", path: `${path}?wait_ms=${WAIT_MS}`, read, waitMs: WAIT_MS },
          signal,
        );
        note(found);
        if (found.state !== "held") return found;
        await pause(ambience, Math.max(0, asked + PACE_MS - ambience.now()), signal);
      }
    },
  };
}
