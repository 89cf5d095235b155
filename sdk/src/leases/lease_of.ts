import { GatewayRefusedError } from "../errors.ts";
import { mayHaveReserved } from "../guard.ts";
import { insideOf } from "../inside.ts";
import { wireNames } from "../mapping.ts";
import { type Read, ShapeFault } from "../read.ts";
import { assertId, type Session } from "../session.ts";
import type { CallOptions, UsdInput } from "../surface.ts";
import { pause, repeatAfter } from "../transport.ts";
import { usdText } from "../usd.ts";
import type * as wire from "../wire.ts";
import { type Granted, granted, settlementOf } from "./answers.ts";
import { ClientLease } from "./client_lease.ts";
import { microUsdOf } from "./micro_usd.ts";
import { overhear } from "./orders.ts";
import { Term } from "./term.ts";

export interface LeaseOptions {
  /** How much of the session's budget, above zero. It counts as taken, in every budget that it could be spent from, until it is spent or given back. */
  readonly amountUsd: UsdInput;
  /** The names of actions that are decided with it, or globs of them: 1 to 20. */
  readonly actions: readonly string[];
  /** 1000 to 60,000. Default 30,000. A kill that nobody hears of here takes effect at its end. */
  readonly ttlMs?: number | undefined;
  /** Default: the session's current one. */
  readonly run?: string | undefined;
  /** How long what has been done waits for others to be told together with. Default 1000. */
  readonly settleMs?: number | undefined;
}

const TTL_MS = 30_000;
const SETTLE_MS = 1_000;
/** So long it waits before it asks again for what is to be given back. */
const AGAIN_MS = 2_000;
/** What is given back before the gateway's end is given back in time. */
const MARGIN_MS = 1_000;

/**
 * Leases a slice of a session's budget, with which the actions that it names are decided in this process, in microseconds, and while the gateway is out of
 * reach. Throws `GatewayRefusedError` with the code `lease_refused` where the policy must see each of these actions by itself, where a budget does not
 * have so much left, or where something is stopped: then the gateway is asked about each, as `session.guard` does. The token needs `decisions:write`.
 */
export async function leaseOf(session: Session, options: LeaseOptions, { signal }: CallOptions = {}): Promise<ClientLease> {
  const { settleMs = SETTLE_MS, ttlMs = TTL_MS, run = session.run, ...asked } = options;
  const context = insideOf(session);
  assertId(run);
  // A session that is known to be over gets none.
  if (run === session.run) session.signal.throwIfAborted();
  const { ask, ambience, newId } = context;
  const amountUsd = usdText(asked.amountUsd, "amountUsd");
  const path = `/v1/sessions/${session.id}/leases`;
  const call = {
    what: `lease ${amountUsd} USD`,
    path,
    body: wireNames({ amountUsd, actions: asked.actions, ttlMs, run }) satisfies wire.GrantLeaseRequest,
    idempotencyKey: newId(),
    read: leaseLike({ ...asked, amountUsd, session: session.id, run, ttlMs }),
  };
  const term = new Term(ambience.now);
  // A kill that is heard while the answer travels is about the lease too.
  const { heard, leave } = overhear(session);
  try {
    const lease = await ask(call, signal);
    term.lasts(lease.ttlMs - Math.min(MARGIN_MS, lease.ttlMs / 10));
    return new ClientLease(session, context, lease, term, settleMs, heard);
  } catch (error) {
    if (mayHaveReserved(error, signal) || namedIn(error) !== undefined) void giveBack().catch(() => undefined);
    throw error;
  } finally {
    leave();
  }

  /**
   * It may have been granted all the same: the same question tells, asked for as long as it would last, also where what was granted is not given again. What
   * is not given back then counts as spent.
   */
  async function giveBack(): Promise<void> {
    const until = ambience.now() + ttlMs;
    for (;;) {
      try {
        const id = await ask({ ...call, tries: 1 }).then(
          (lease) => lease.id,
          (error: unknown) => {
            const named = namedIn(error);
            if (named === undefined) throw error;
            return named;
          },
        );
        await ask({ what: `give back ${id}`, path: `${path}/${id}/settle`, body: { entries: [], final: true }, read: settlementOf(id, 0) });
        return;
      } catch (error) {
        const again = repeatAfter(error);
        if (again === null || ambience.now() >= until) throw error;
        await pause(ambience, Math.max(again, AGAIN_MS), undefined);
      }
    }
  }
}

/** The lease that a refusal names: its answer was lost, and since then something was stopped, or its time was up. */
const namedIn = (error: unknown): string | undefined =>
  error instanceof GatewayRefusedError && error.code === "lease_refused" ? /"(lse_[\w-]+)" was granted/.exec(error.detail)?.[1] : undefined;

/** Another lease than the one that was asked for is none: it could let run what nobody has counted. */
function leaseLike(asked: Pick<Granted, "session" | "run" | "actions" | "ttlMs" | "amountUsd">): Read<Granted> {
  return (value, at) => {
    const lease = granted(value, at);
    const agrees = {
      session: lease.session === asked.session,
      run: lease.run === asked.run,
      amountUsd: microUsdOf(lease.amountUsd) === microUsdOf(asked.amountUsd),
      ttlMs: lease.ttlMs > 0 && lease.ttlMs <= asked.ttlMs,
      actions: lease.actions.every((glob) => asked.actions.includes(glob)),
    };
    for (const [member, agreed] of Object.entries(agrees)) if (!agreed) throw new ShapeFault(`${at}/${member}`, "as it was asked for");
    return lease;
  };
}
