import type { DecisionAnswer, Json, UsdInput, Verdict } from "../surface.ts";

/** One thing that was asked for, and what came of it. */
export interface TestCall {
  readonly decisionId: string;
  readonly session: string;
  readonly run: string;
  readonly action: string;
  /** What the gateway was shown; `undefined`: nothing. */
  readonly inputs: Json | undefined;
  readonly tags: readonly string[];
  readonly estimateUsd: UsdInput;
  readonly verdict: Verdict;
  /** The reason's code: `permitted`, `action_denied`, ... */
  readonly reason: string;
  /** How it ended; `null`: it did not run, has not ended, or nobody has said so. */
  readonly outcome: "success" | "error" | "released" | null;
  /** What it cost by its own word; `null` with no `success` and no `error`. */
  readonly costUsd: string | null;
  /** What it threw, as text. */
  readonly error: string | null;
}

/** What is read of a request, in the wire's spelling; it has been decided, so it is one. */
export interface Asked {
  readonly inputs?: Json;
  readonly tags?: readonly string[];
  readonly estimate_usd?: UsdInput;
}

/** What was asked for, in its order. The same request again is the same call. */
export class Calls {
  readonly #calls = new Map<string, TestCall>();

  list(): readonly TestCall[] {
    return [...this.#calls.values()];
  }

  decided({ inputs, tags = [], estimate_usd = "0" }: Asked, { id, session, run, action, verdict, reason }: DecisionAnswer): void {
    const call = { decisionId: id, session, run, action, inputs, tags, estimateUsd: estimate_usd, verdict, reason: reason.code };
    if (!this.#calls.has(id)) this.#calls.set(id, { ...call, outcome: null, costUsd: null, error: null });
  }

  ended(id: string, end: Pick<TestCall, "outcome" | "costUsd" | "error">): void {
    const call = this.#calls.get(id);
    if (call !== undefined) this.#calls.set(id, { ...call, ...end });
  }
}
