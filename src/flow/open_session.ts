import type { MicroUsd } from "../core/money.ts";
import { refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err } from "../core/result.ts";
import { fingerprintOf, type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Ports, Reply, SessionOpened } from "./ports.ts";

export interface SessionWish {
  /** `null`: the token's subject. */
  readonly agent: string | null;
  readonly labels: { readonly [key: string]: string };
  readonly budgetMicroUsd: MicroUsd | null;
  readonly ttlMs: number;
}

/** Opens a session with its first run. An agent opens its own sessions only: a fresh name would be a fresh budget. */
export async function openSession(ports: Ports, principal: Principal, wish: SessionWish, key: IdempotencyKey): Reply<Answered<SessionOpened>> {
  const agent = wish.agent ?? principal.subject;
  if (principal.kind === "agent" && agent !== principal.subject) {
    return err(refusal("not_your_session", `An agent's token opens sessions for its own subject only: asked for "${agent}".`));
  }
  return ports.sessions.open({
    id: idFor(ports, "ses", principal, key, "session"),
    run: idFor(ports, "run", principal, key, "session"),
    principal,
    agent,
    labels: wish.labels,
    budgetMicroUsd: wish.budgetMicroUsd,
    ttlMs: wish.ttlMs,
    fingerprint: fingerprintOf(ports, [agent, wish.labels, wish.budgetMicroUsd, wish.ttlMs]),
  });
}
