import { AgentSentinelError } from "../errors.ts";

/**
 * A replayed run asked for something that is not on record, so nothing was run and nothing is given back.
 * `inputs_differ`: the action is on record, with other inputs; `message` says which. `not_recorded`: the action is not, or not so often.
 * `unfinished`: it was begun, and how it ended is not on record. `lossy`: how it ended is, but what it gave could not be recorded whole.
 */
export class ReplayDivergenceError extends AgentSentinelError {
  override readonly name = "ReplayDivergenceError";
  declare readonly code: "inputs_differ" | "not_recorded" | "unfinished" | "lossy";
  declare readonly action: string;

  constructor(code: ReplayDivergenceError["code"], action: string, message: string) {
    super(message, { recoverable: false });
    Object.assign(this, { code, action });
  }
}
