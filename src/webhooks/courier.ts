import { WorkerEntrypoint } from "cloudflare:workers";
import type { Answer } from "../core/webhooks.ts";

const TIMEOUT_MS = 10_000;

/**
 * Carries one attempt to its receiver, each in an invocation of its own: the platform lets one invocation wait for six answers at once, and receivers that
 * are slow must not stand in each other's way. Redirects are not followed, and of an answer only the status and `Retry-After` are looked at.
 */
export class Courier extends WorkerEntrypoint {
  /** Answers whatever happens: what could not be sent is a fault in words of ours, since those of others may say what is not theirs to say. */
  async post(url: string, headers: { readonly [name: string]: string }, body: string): Promise<Answer> {
    try {
      const response = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) });
      await response.body?.cancel();
      return { status: response.status, retryAfter: response.headers.get("Retry-After") };
    } catch (fault) {
      const isLate = fault instanceof Error && fault.name === "TimeoutError";
      return { fault: isLate ? `no answer within ${TIMEOUT_MS / 1000} seconds` : "could not be reached" };
    }
  }
}
