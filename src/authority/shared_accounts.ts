import { type Alert, millionthsOf, reached } from "../core/alerts.ts";
import { BUDGET_WINDOWS, type BudgetWindow, stretchAt } from "../core/calendar.ts";
import type { Digest } from "../core/digest.ts";
import type { SessionId } from "../core/ids.ts";
import { microUsdOf, ZERO_USD } from "../core/money.ts";
import { couldComeBack, EMPTY_POOL, give, giveCalls, type Holding, isOverdrawn, leasedTo, type Pool, type PoolKey, sliceWord } from "../core/pool.ts";
import type { Draw, PermitWord, SliceDraw, SliceWord, Word } from "../core/shares.ts";
import type { Instant } from "../core/time.ts";
import type { AccountStanding } from "../flow/ports.ts";
import type { PoliciesInForce } from "./policies_in_force.ts";
import type { CallKey, PoolStore } from "./pool_store.ts";

/** How long accounts of stretches that have ended are kept: longer than any clock of a session that draws of them is behind. */
const KEPT_MS: { readonly [W in BudgetWindow]: number } = { hour: 24 * 3_600_000, day: 3 * 86_400_000, month: 93 * 86_400_000, total: 0 };

/**
 * What the sessions of a tenant share: the accounts of its agents and its own, and rates counted over sessions. Of each it is known what every session
 * holds, so that what is free can be given once. Every call is inside the caller's transaction.
 */
export class SharedAccounts {
  readonly #pools: PoolStore;
  readonly #inForce: PoliciesInForce;
  readonly #alert: (alert: AccountAlert) => void;

  /** `alert` is told, once for each, when an account has reached a part of its limit. */
  constructor(pools: PoolStore, inForce: PoliciesInForce, alert: (alert: AccountAlert) => void) {
    this.#pools = pools;
    this.#inForce = inForce;
    this.#alert = alert;
  }

  /** Where an agent's accounts and the tenant's stand, in the windows of an instant. */
  standing(agent: string, at: Instant): readonly AccountStanding[] {
    return (["agent", "tenant"] as const).flatMap((scope) =>
      BUDGET_WINDOWS.map((window): AccountStanding => {
        const { startsAt, endsAt } = stretchAt(window, at);
        const pool = this.#pools.readPool({ scope, target: targetOf(scope, agent), window, startsAt });
        const { postedMicroUsd, pendingMicroUsd } = pool;
        return { scope, window, postedMicroUsd, pendingMicroUsd, leasedMicroUsd: leasedTo(pool), resetsAt: endsAt };
      }),
    );
  }

  /**
   * Writes down where a session stands in every account, and gives it what it needs. `partly`: also where that is less; otherwise nothing is given of
   * an account that lacks some while others hold some, which is then named.
   */
  give({ session, agent, draw, under, renews }: DrawCall, now: Instant, partly: boolean): Given {
    const isCurrent = under !== null && (this.#inForce.policyFor(agent)?.digest ?? null) === under;
    const scarce: Scarce[] = [];
    const overdrawn: Scarce[] = [];
    const slices: SliceWord[] = [];
    for (const scope of ["agent", "tenant"] as const) {
      for (const span of draw.spans) {
        const key: PoolKey = { scope, target: targetOf(scope, agent), window: span.window, startsAt: span.startsAt };
        const pool = this.#pools.readPool(key);
        const holding = this.#pools.readHolding(session, key);
        const asked = draw.slices.find((one) => one.scope === scope && one.window === span.window) ?? null;
        const wanted = asked === null || isCurrent ? asked : { ...asked, needsMicroUsd: ZERO_USD, leastMicroUsd: ZERO_USD };
        let given = give(pool, holding, span, wanted);
        if (wanted !== null && given.isShort && !partly && couldComeBack(given.pool, given.holding, wanted)) {
          scarce.push({ kind: "money", key });
          given = give(pool, holding, span, { ...wanted, needsMicroUsd: ZERO_USD, leastMicroUsd: ZERO_USD });
        }
        // Of a stretch that has begun since the session last asked it names no limit.
        const mayPassLimit = draw.hasOverrun && (asked === null || isOverdrawn(pool, holding, span, asked));
        if (mayPassLimit && leasedTo(given.pool) > leasedTo(given.holding)) overdrawn.push({ kind: "money", key });
        if (isMoved(pool, given.pool) || isMoved(holding, given.holding)) this.#writePool(session, key, pool, given, now);
        if (asked !== null) slices.push(sliceWord(asked, span.startsAt, given));
        this.#watch(key, given.pool, asked);
      }
    }
    const permits = draw.permits.map((asked): PermitWord => {
      const key: CallKey = { per: asked.per, target: targetOf(asked.per, agent), pattern: asked.pattern };
      const pool = this.#pools.readCalls(key);
      const holding = this.#pools.readCallHolding(session, key);
      const wanted = isCurrent ? asked : { ...asked, needs: 0 };
      let given = giveCalls(pool, holding, wanted, now);
      if (given.word.isShort && !partly && given.pool.unused > given.holding.unused) {
        scarce.push({ kind: "calls", key });
        given = giveCalls(pool, holding, { ...wanted, needs: 0 }, now);
      }
      const keepMs = Math.max(pool.keepMs, ...asked.limits.map(({ windowMs }) => windowMs));
      this.#pools.writeCalls(session, key, given.pool, keepMs, given.holding, given.fresh, now);
      return given.word;
    });
    // Who only tells or gives back was heard under whatever policy: without an answer its alarm would tell it again, every second and for ever.
    return { scarce, overdrawn, word: isCurrent || !renews ? { ask: draw.ask, slices, permits } : null };
  }

  #writePool(session: SessionId, key: PoolKey, before: Pool, { pool, holding }: ReturnType<typeof give>, now: Instant): void {
    // The first of a tenant to spend in a new stretch clears away what nobody looks at any more. A session's clock may be ahead; this is the tenant's to judge.
    const startsAt = Math.min(key.startsAt, stretchAt(key.window, now).startsAt);
    if (before === EMPTY_POOL && key.scope === "tenant") this.#pools.forgetBefore(key.window, startsAt - KEPT_MS[key.window]);
    this.#pools.write(session, key, pool, holding);
  }

  /** The limit and its parts are those that were last asked under. */
  #watch(key: PoolKey, { postedMicroUsd, pendingMicroUsd }: Pool, asked: SliceDraw | null): void {
    const known = this.#pools.readAlerted(key);
    const limit = asked !== null && asked.alerts.length > 0 ? asked : known;
    if (limit === null || limit.limitMicroUsd === 0) return;
    // Sessions under several policies see one account under several limits, each with thresholds of its own.
    const told = known?.told[limit.limitMicroUsd] ?? 0;
    const spentMicroUsd = microUsdOf(postedMicroUsd + pendingMicroUsd);
    const crossed = reached(limit.limitMicroUsd, spentMicroUsd, limit.alerts, told);
    const millionths = Math.max(told, ...crossed.map(millionthsOf));
    if (known?.limitMicroUsd !== limit.limitMicroUsd || millionths !== told)
      this.#pools.writeAlerted(key, {
        limitMicroUsd: limit.limitMicroUsd,
        alerts: limit.alerts,
        told: { ...known?.told, [limit.limitMicroUsd]: millionths },
      });
    for (const threshold of crossed) this.#alert({ key, limitMicroUsd: limit.limitMicroUsd, spentMicroUsd, threshold });
  }
}

/** An account that has reached a part of its limit. */
export interface AccountAlert extends Pick<Alert, "limitMicroUsd" | "spentMicroUsd" | "threshold"> {
  readonly key: PoolKey;
}

/** What a draw came to: the answer, and which accounts lack some while others hold some. */
export interface Given {
  readonly word: Word | null;
  readonly scarce: readonly Scarce[];
  /** Accounts of which more is spent or given than there is, because the session has overrun what was set aside. */
  readonly overdrawn: readonly Scarce[];
}

export type Scarce = { readonly kind: "money"; readonly key: PoolKey } | { readonly kind: "calls"; readonly key: CallKey };

/** What a session asks of its tenant. `under`: the policy that it acts under, without which nothing is given. */
export interface DrawCall {
  readonly session: SessionId;
  readonly agent: string;
  readonly draw: Draw;
  readonly under: Digest | null;
  /** `false`: it only gives back, and will not act. */
  readonly renews: boolean;
}

const isMoved = (before: Holding, after: Holding): boolean =>
  before.grantedMicroUsd !== after.grantedMicroUsd ||
  before.postedMicroUsd !== after.postedMicroUsd ||
  before.pendingMicroUsd !== after.pendingMicroUsd;

/** Whom an account is of: the tenant's own has no other name. */
const targetOf = (scope: "agent" | "tenant", agent: string): string => (scope === "agent" ? agent : "");
