import type { Principal } from "../core/request.ts";
import type { Instant } from "../core/time.ts";
import type { Ports, Settings } from "../flow/ports.ts";
import { DEFAULT_LIMIT, Throttle, type Throttled } from "./throttle.ts";

/** What is remembered of a tenant's settings, or of an origin, is at most so old: one lease term. */
const REMEMBERED_MS = 30_000;
const MOST_REMEMBERED = 10_000;

interface Remembered<T> {
  readonly value: T;
  readonly at: Instant;
}

/** What one isolate's door remembers: of tenants' settings, of pages' origins, and of who has asked how often. Values only, never a promise. */
export class DoorMemory {
  readonly #settings = new Map<string, Remembered<Settings>>();
  readonly #origins = new Map<string, Remembered<boolean>>();
  readonly #throttle = new Throttle();
  readonly #asking = new Set<string>();

  /**
   * Counts a request against its token's limit. The tenant's own limit is learned beside the request, not before it: until then the gateway's counts,
   * so that no decision ever waits for it.
   */
  admit({ tenant, tokenId }: Principal, ports: Ports, now: Instant, background: (work: Promise<unknown>) => void): Throttled {
    const known = this.#settings.get(tenant);
    if ((known === undefined || now - known.at >= REMEMBERED_MS) && !this.#asking.has(tenant)) {
      this.#asking.add(tenant);
      background(this.#learn(tenant, ports, now).finally(() => this.#asking.delete(tenant)));
    }
    return this.#throttle.admit(`${tenant} ${tokenId}`, known?.value.throttle ?? DEFAULT_LIMIT, now);
  }

  /** Whether pages of this origin may read answers to this tenant's tokens. Not, where that cannot be known. */
  async allowsOrigin(tenant: string, origin: string, ports: Ports, now: Instant): Promise<boolean> {
    const known = this.#settings.get(tenant);
    const settings = known !== undefined && now - known.at < REMEMBERED_MS ? known.value : await this.#learn(tenant, ports, now);
    return settings?.corsOrigins.includes(origin) === true;
  }

  /** Whether any tenant lets pages of this origin read its answers: a preflight has no token that would say which. */
  async isOriginKnown(origin: string, ports: Ports, now: Instant): Promise<boolean> {
    const known = this.#origins.get(origin);
    if (known !== undefined && now - known.at < REMEMBERED_MS) return known.value;
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

function remember<T>(map: Map<string, Remembered<T>>, key: string, value: Remembered<T>): void {
  if (!map.has(key) && map.size >= MOST_REMEMBERED) {
    const oldest = map.keys().next();
    if (!oldest.done) map.delete(oldest.value);
  }
  map.set(key, value);
}
