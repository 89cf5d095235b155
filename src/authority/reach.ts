import { refusal } from "../core/refusals.ts";
import { err } from "../core/result.ts";
import type { Reply } from "../flow/ports.ts";

/** Tries at one call, the first included, and the wait before each further one. */
export const TRIES = 3;
const WAIT_MS = 25;

/** The platform's word on a failed call. */
interface CallFault {
  readonly retryable?: boolean;
  readonly overloaded?: boolean;
  /** Thrown by code inside the object. */
  readonly remote?: boolean;
  /** The object was restarted under the call. */
  readonly durableObjectReset?: boolean;
}

/**
 * Calls an object whose answer to a repeated call is the same; with one try, any other. A new stub for each try, since one that threw may stay broken. What cannot be
 * reached is a refusal, never a verdict: nobody knows whether the call was served, and asking again under the same id finds out.
 */
export async function reach<T>(call: () => Reply<T>, tries = TRIES): Reply<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await call();
    } catch (fault) {
      // What the object's own code threw is a broken law, and asking again breaks it again: that is no outage.
      if (isOwnFault(fault)) throw fault;
      if (tried >= tries || !mayRetry(fault)) {
        console.error(`an authority object could not be reached: ${String(fault)}`);
        return err(
          refusal("authority_unavailable", "The authority could not be reached. Nothing is known to have been done; ask again with the same id."),
        );
      }
      await scheduler.wait(WAIT_MS * tried * (0.5 + Math.random() / 2));
    }
  }
}

const mayRetry = (fault: unknown): boolean => marksOf(fault).retryable === true && marksOf(fault).overloaded !== true;

function isOwnFault(fault: unknown): boolean {
  const { remote, retryable, overloaded, durableObjectReset } = marksOf(fault);
  return remote === true && retryable !== true && overloaded !== true && durableObjectReset !== true;
}

/** The platform puts these marks on what it throws; whatever else was thrown has none. */
const marksOf = (fault: unknown): CallFault => (typeof fault === "object" && fault !== null ? fault : {});
