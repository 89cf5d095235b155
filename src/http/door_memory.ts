import { assert } from "../core/assert.ts";
import { MOST_LOOKUPS, Ration } from "../core/ration.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { Ports, Settings } from "../flow/ports.ts";
import { Pace } from "./pace.ts";
import {
  DEFAULT_LIMIT,
  LONE_READS_OF_TENANT,
  LONE_READS_OF_TOKEN,
  MOST_TURN_MS,
  MOST_WAITS_OF_TENANT,
  MOST_WAITS_OF_TOKEN,
  READS_OF_TENANT,
  READS_OF_TOKEN,
  Throttle,
  type Throttled,
  URGENT_LIMIT,
  Waits,
  WORK_OF_TENANT,
  WORK_OF_TOKEN,
  type WorkLimit,
} from "./throttle.ts";

/** What is remembered of a tenant's settings, or of an origin, is at most so old: one lease term. */
const REMEMBERED_MS = 30_000;
const MOST_REMEMBERED = 10_000;
/** So long a tenant counts as asking after its last request: longer than an answer takes where reads have made the gateway slow. */
export const STILL_ASKING_MS = 5_000;
/** So long an answer that is made already waits to learn whether a page may read it. */
const PATIENCE_MS = 500;

interface Asking {
  readonly tenant: string;
  readonly at: Instant;
}

interface Remembered<T> {
  readonly value: T;
  readonly at: Instant;
}

/** What one isolate's door remembers: of tenants' settings, of pages' origins, and of who has asked how often. Values only, never a promise. */
export class DoorMemory {
  readonly #settings = new Map<string, Remembered<Settings>>();
  readonly #origins = new Map<string, Remembered<boolean>>();
  readonly #throttle = new Throttle();
  readonly #urgent = new Throttle();
  readonly #work = new Throttle();
  readonly #waits = new Waits();
  readonly #reads = new Throttle();
  /** Who asked last for something that is no long read, and when; and the last that was another. */
  #lastAsking: Asking = { tenant: "", at: Number.NEGATIVE_INFINITY };
  #anotherAsking: Asking = this.#lastAsking;
  readonly #paces = new Map<string, Pace>();
  /** When it was begun to ask a tenant for its settings. Whoever asked may be cut off without a word, so this holds for one lease term. */
  readonly #asking = new Map<string, Instant>();
  readonly #lookups = new Ration(MOST_LOOKUPS);

  /**
   * Counts a request against its token's limit, or, if it is urgent, against one of its own. The tenant's own limit is learned beside the request, not before it: until then the gateway's counts,
   * so that no decision ever waits for it.
   */
  admit({ tenant, tokenId }: Principal, isUrgent: boolean, ports: Ports, now: Instant, background: (work: Promise<unknown>) => void): Throttled {
    const known = this.#settings.get(tenant);
    const askedAt = this.#asking.get(tenant);
    const isAsking = askedAt !== undefined && now - askedAt < REMEMBERED_MS;
    if ((known === undefined || now - known.at >= REMEMBERED_MS) && !isAsking) {
      this.#asking.set(tenant, now);
      background(this.#learn(tenant, ports, now).finally(() => this.#asking.delete(tenant)));
    }
    if (isUrgent) return this.#urgent.admit(`${tenant} ${tokenId}`, URGENT_LIMIT, now);
    return this.#throttle.admit(`${tenant} ${tokenId}`, known?.value.throttle ?? DEFAULT_LIMIT, now);
  }

  /** Counts work of so many milliseconds against what the token, and what its tenant, may have done. The first of the two that has no room says so. */
  weigh(principal: Principal, workMs: number, now: Instant): Throttled {
    const counts = workCountsOf(principal);
    const found = counts.map(([key, limit]) => this.#work.admit(key, limit, now, 0));
    const refused = found.find(({ isLet }) => !isLet);
    if (refused !== undefined) return refused;
    const [ofToken] = counts.map(([key, limit]) => this.#work.admit(key, limit, now, workMs));
    assert(ofToken !== undefined, "work is counted for a token at least");
    return ofToken;
  }

  /**
   * What was held while a request was answered is given back, and what it cost is counted. What of it has come back by itself meanwhile is not given back
   * once more: another's would be.
   */
  settle(principal: Principal, held: { readonly workMs: number; readonly since: Instant }, spentMs: number, now: Instant): void {
    for (const [key, limit] of workCountsOf(principal)) {
      const cameBackMs = (Math.max(0, now - held.since) * limit.requests) / limit.windowMs;
      this.#work.add(key, limit, now, spentMs - Math.max(0, held.workMs - cameBackMs));
    }
  }

  /** A tenant asks for something that is no long read: reads of others leave it its time. */
  noteAsking(tenant: string, now: Instant): void {
    if (this.#lastAsking.tenant !== tenant) this.#anotherAsking = this.#lastAsking;
    this.#lastAsking = { tenant, at: now };
  }

  /** So long a read waits for its turn, and then it is counted; or the limit that leaves it none in time, and then it is not. */
  takeTurn(principal: Principal, workMs: number, now: Instant): Result<number, Throttled> {
    const found = this.#readCountsOf(principal, now).map(([key, limit]) => this.#reads.admit(key, limit, now, 0));
    const late = found.find(({ isLet, waitMs }) => !isLet && waitMs > MOST_TURN_MS);
    if (late !== undefined) return err(late);
    this.countRead(principal, workMs, now);
    return ok(Math.max(...found.map(({ isLet, waitMs }) => (isLet ? 0 : waitMs))));
  }

  /** Counts of a read what is known only now; less than nothing gives back what was counted before. */
  countRead(principal: Principal, workMs: number, now: Instant): void {
    for (const [key, limit] of this.#readCountsOf(principal, now)) this.#reads.add(key, limit, now, workMs);
  }

  /** So long an answer that is still being sent waits before more of it is read. It has begun, so nothing refuses it. */
  waitOfRead(principal: Principal, now: Instant): number {
    const found = this.#readCountsOf(principal, now).map(([key, limit]) => this.#reads.admit(key, limit, now, 0));
    return Math.max(...found.map(({ isLet, waitMs }) => (isLet ? 0 : waitMs)));
  }

  #readCountsOf({ tenant, tokenId }: Principal, now: Instant): readonly (readonly [string, WorkLimit])[] {
    const isBeside = [this.#lastAsking, this.#anotherAsking].some((asking) => asking.tenant !== tenant && now - asking.at < STILL_ASKING_MS);
    return [
      [`${tenant} ${tokenId}`, isBeside ? READS_OF_TOKEN : LONE_READS_OF_TOKEN],
      [tenant, isBeside ? READS_OF_TENANT : LONE_READS_OF_TENANT],
    ];
  }

  /** Takes a place among the answers that are held back. What is given back is called when it is answered; `null`: there is no place. */
  beginWait({ tenant, tokenId }: Principal, now: Instant, waitMs: number): (() => void) | null {
    const limits = [
      [`${tenant} ${tokenId}`, MOST_WAITS_OF_TOKEN],
      [tenant, MOST_WAITS_OF_TENANT],
    ] as const;
    return this.#waits.begin(limits, now, waitMs);
  }

  /** How quickly a tenant's decisions are answered. Each has its own: whose answers are slow for a reason of its own slows nobody else. */
  paceOf(tenant: string): Pace {
    const known = this.#paces.get(tenant);
    if (known !== undefined) return known;
    const pace = new Pace();
    remember(this.#paces, tenant, pace);
    return pace;
  }

  /** Whether pages of this origin may read answers to this tenant's tokens. Not, where that cannot be known in time. */
  async allowsOrigin(tenant: string, origin: string, ports: Ports, now: Instant): Promise<boolean> {
    const known = this.#settings.get(tenant);
    const isKnown = known !== undefined && now - known.at < REMEMBERED_MS;
    const settings = isKnown ? known.value : await Promise.race([this.#learn(tenant, ports, now), later(PATIENCE_MS)]);
    return settings?.corsOrigins.includes(origin) === true;
  }

  /** Whether any tenant lets pages of this origin read its answers: a preflight has no token that would say which. */
  async isOriginKnown(origin: string, ports: Ports, now: Instant): Promise<boolean> {
    const known = this.#origins.get(origin);
    if (known !== undefined && now - known.at < REMEMBERED_MS) return known.value;
    // An origin that some tenant listed is asked after once a lease term, however many are made up meanwhile.
    if (known?.value !== true && !this.#lookups.take(now)) return false;
    const value = await ports.directory.isOriginKnown(origin);
    remember(this.#origins, origin, { value, at: now });
    return value;
  }

  /** A tenant has chosen anew. */
  forget(tenant: string): void {
    this.#settings.delete(tenant);
    this.#origins.clear();
  }

  async #learn(tenant: string, ports: Ports, now: Instant): Promise<Settings | null> {
    try {
      const read = await ports.tenants.readSettings(tenant);
      if (!read.ok) return null;
      remember(this.#settings, tenant, { value: read.value, at: now });
      return read.value;
    } catch {
      // What was known counts on; the next request asks again.
      return this.#settings.get(tenant)?.value ?? null;
    }
  }
}

const workCountsOf = ({ tenant, tokenId }: Principal): readonly (readonly [string, WorkLimit])[] => [
  [`${tenant} ${tokenId}`, WORK_OF_TOKEN],
  [tenant, WORK_OF_TENANT],
];

const later = (ms: number): Promise<null> => new Promise((resolve) => setTimeout(resolve, ms, null));

function remember<T>(map: Map<string, T>, key: string, value: T): void {
  if (!map.has(key) && map.size >= MOST_REMEMBERED) {
    const oldest = map.keys().next();
    if (!oldest.done) map.delete(oldest.value);
  }
  map.set(key, value);
}
