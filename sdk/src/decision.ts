import { errorFor } from "./errors.ts";
import type { CallOptions, DecisionAnswer, DecisionNow } from "./surface.ts";
import { type Ambience, pause } from "./transport.ts";

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

/** `look` reads it again; the gateway holds that answer back for `waitMs` while the decision is held. */
export function decisionOf(answer: DecisionAnswer, ambience: Ambience, look: (call: CallOptions, waitMs: number) => Promise<DecisionNow>): Decision {
  return {
    ...answer,
    assertAllowed() {
      const error = errorFor(answer);
      if (error !== null) throw error;
    },
    async wait(call = {}) {
      for (;;) {
        const asked = ambience.now();
        const found = await look(call, WAIT_MS);
        if (found.state !== "held") return found;
        await pause(ambience, Math.max(0, asked + PACE_MS - ambience.now()), call.signal);
      }
    },
  };
}
