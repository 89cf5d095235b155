import { askApproval, type Edits } from "./approval.ts";
import { answered } from "./decision.ts";
import { type AgentSentinelError, ApprovalRequiredError, errorFor, GatewayRefusedError } from "./errors.ts";
import { uuidOf } from "./ids.ts";
import { insideOf } from "./inside.ts";
import { object, text } from "./read.ts";
import type { Session } from "./session.ts";
import type { CallOptions } from "./surface.ts";
import { link, pause, repeatAfter } from "./transport.ts";

/** A held decision, and the approval that it waits for. */
export interface Hold {
  readonly decisionId: string;
  readonly approvalId: string;
  readonly run: string;
  /** As it was told last; an answer that is read tells it anew. */
  readonly expiresAt: string;
}

/** With what a hold is used: under this decision id, and with what a person made of the request. */
export interface Leave {
  readonly id: string;
  readonly edits: Edits | null;
}

export interface Waiting {
  /** How long a person is waited for. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Whether the id of the use was known before, so that an earlier life of the call may have used it. */
  readonly isKept: boolean;
}

/** Between two looks where the gateway cannot be reached, or does not hold its answer back because it is the agent that was asked something. */
const PACE_MS = 5_000;

/**
 * Waits until a hold is answered, then has `use` ask for it again with its approval. Whatever the answer was, that question tells it: nothing is
 * concluded here. A gateway that cannot be reached is asked again, for the use under the same id, until the time is up or the approval expires.
 * Throws `ApprovalRequiredError` where nobody has answered in time.
 */
export async function takeUp<T>(session: Session, hold: Hold, useId: string, waiting: Waiting, use: (leave: Leave) => Promise<T>): Promise<T> {
  const { ambience, ask } = insideOf(session);
  const { now } = ambience;
  const end = now() + waiting.timeoutMs;
  const stop = new AbortController();
  const { signal } = stop;
  const unlink = [waiting.signal, hold.run === session.run ? session.signal : undefined].map((each) => {
    if (each?.aborted) stop.abort(each.reason);
    return link(each, stop);
  });
  const look = async (call: CallOptions, waitMs: number) => {
    const found = await session.readDecision(hold.decisionId, { ...call, waitMs });
    // A pause is waited out: its end may come before the person's answer.
    const stopped = found.superseded?.kind === "kill" ? errorFor(found) : null;
    if (stopped !== null) throw stopped;
    return found;
  };
  let id: string | null = waiting.isKept ? null : useId;
  let last = Math.min(end, Date.parse(hold.expiresAt));
  try {
    for (;;) {
      let pauseMs = PACE_MS;
      try {
        const found = await answered(look, ambience, { signal, timeoutMs: Math.max(0, end - now()) });
        const { status = found.state, expiresAt = "" } = found.approval ?? {};
        if (status !== "pending" && status !== "info_requested") {
          const mayHaveLived = status === "approved" || status === "consumed";
          id ??= mayHaveLived ? await goesOn(session, useId, { signal }) : useId;
          // Who may not read approvals sends what was asked for first: if it was changed, the gateway says so.
          const edits = await askApproval(ask, hold.approvalId, { signal }).then((read) => read.edits, unless(403, null));
          return await use({ id, edits });
        }
        if (now() >= end) throw new ApprovalRequiredError(found);
        last = Math.min(end, Date.parse(expiresAt));
      } catch (error) {
        const after = signal.aborted ? null : repeatAfter(error);
        // Only this SDK's errors may pass, and one with a decision is an answer.
        if (after === null || (error as AgentSentinelError).decision !== null || now() + after >= last) throw error;
        pauseMs = Math.max(after, PACE_MS);
      }
      await pause(ambience, Math.min(pauseMs, Math.max(0, end - now())), signal);
    }
  } finally {
    for (const each of unlink) each();
  }
}

/**
 * Under which id a use goes on that an earlier life of its call may have begun. A use that was denied is over and its approval is not: the id of the next
 * follows from its own. Where the call came to its end, an id that nobody has used is told so.
 */
export async function goesOn(session: Session, useId: string, { signal }: CallOptions): Promise<string> {
  const { ask, newId } = insideOf(session);
  for (let id = useId; ; id = `dec_${await uuidOf(id)}`) {
    // Read past the session, which an old denial would stop.
    const call = { what: `read ${id}`, path: `/v1/sessions/${session.id}/decisions/${id}`, read: object({ state: text }) };
    const state = await ask(call, signal).then((read) => read.state, unless(404, "pending"));
    if (state === "pending") return id;
    if (state !== "denied") return `dec_${newId()}`;
  }
}

/** What stands in for an answer that was refused with this status. */
const unless =
  <T>(status: number, otherwise: T) =>
  (error: unknown): T => {
    if (error instanceof GatewayRefusedError && error.status === status) return otherwise;
    throw error;
  };
