import type { RunId, SessionId } from "../core/ids.ts";
import type { Principal } from "../core/request.ts";
import { type IdempotencyKey, idFor } from "./idempotency.ts";
import type { Answered, Ports, Reply } from "./ports.ts";

/** Opens a run, which becomes the session's current one. */
export const openRun = (ports: Ports, principal: Principal, session: SessionId, key: IdempotencyKey): Reply<Answered<{ readonly id: RunId }>> =>
  ports.sessions.openRun(principal.tenant, session, principal, idFor(ports, "run", principal, key, session));
