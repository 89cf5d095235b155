import type { Faults } from "./faults.ts";
import type { ObjectHost } from "./platform/objects.ts";
import type { Platform } from "./platform/platform.ts";
import type { Random } from "./random.ts";

const SECOND_MS = 1_000;
const HOUR_MS = 3_600_000;

/** What happens to a world that nobody in it does: somebody falls, cannot be reached, sleeps, or looks at a clock that has jumped. */
export class Trouble {
  readonly counts = { crashes: 0, evictions: 0, outages: 0, jumps: 0, leaps: 0 };
  readonly #platform: Platform;
  readonly #faults: Faults;
  readonly #random: Random;
  #jumpMostMs = 0;

  constructor(platform: Platform, faults: Faults, random: Random) {
    this.#platform = platform;
    this.#faults = faults;
    this.#random = random;
  }

  /** Sets clocks apart, where they are to be. */
  begin(): void {
    const { clocks } = this.#faults;
    this.#jumpMostMs = clocks === "jumping" ? this.#random.pick([2 * SECOND_MS, 60 * SECOND_MS, 5 * HOUR_MS]) : 0;
    if (clocks === "true") return;
    for (const one of [...this.#platform.hosts(), ...this.#platform.isolates]) one.setClock(this.#random.between(-SECOND_MS, SECOND_MS));
  }

  /** Before each event. */
  strike(): void {
    const { crashes, outages, jumps, leaps } = this.#faults;
    const random = this.#random;
    if (random.chance(crashes)) this.#crash();
    if (random.chance(outages)) {
      const host = random.pick(this.#platform.hosts());
      const ms = random.chance(0.7) ? random.between(10, 3_000) : random.between(3_000, 90_000);
      this.#platform.network.cutOff(random.chance(0.1) ? this.#platform.database : host, ms);
      this.#platform.world.note(`${host.name} cannot be reached for ${ms} ms`);
      this.counts.outages++;
    }
    if (random.chance(jumps)) this.#jump();
    if (random.chance(leaps)) {
      const ms = random.pick([20, 35, 40, 70, 600, 3_600]) * SECOND_MS;
      this.#platform.world.leap(ms);
      this.#platform.world.note(`everybody pauses for ${ms} ms`);
      this.counts.leaps++;
    }
  }

  /** How long the clock that was set back most stands still at most. */
  standstillMs(): number {
    return Math.max(0, ...this.#platform.hosts().map(({ aheadMs, offsetMs }) => aheadMs - offsetMs));
  }

  #crash(): void {
    const random = this.#random;
    if (random.chance(0.1)) {
      const isolate = random.pick(this.#platform.isolates);
      isolate.crash();
      this.#platform.world.note(`${isolate.name} falls`);
      this.counts.crashes++;
      return;
    }
    // Who has just done something has most to lose.
    const host = this.#platform.hosts().find((one) => one === this.#platform.world.last && random.chance(0.5)) ?? random.pick(this.#platform.hosts());
    if (random.chance(0.3)) {
      if (!host.evict()) return;
      this.#platform.world.note(`${host.name} is evicted`);
      this.counts.evictions++;
      return;
    }
    const hosts = random.chance(0.03) ? this.#platform.hosts() : [host];
    for (const one of hosts) one.crash();
    this.#platform.world.note(`${hosts.length === 1 ? host.name : "every object"} falls`);
    this.counts.crashes += hosts.length;
  }

  #jump(): void {
    const random = this.#random;
    const among: readonly (ObjectHost | Platform["isolates"][number])[] = [...this.#platform.hosts(), ...this.#platform.isolates];
    const one = random.pick(among);
    const ms = random.between(-this.#jumpMostMs, this.#jumpMostMs);
    const next = Math.max(-this.#jumpMostMs, Math.min(this.#jumpMostMs, one.offsetMs + ms));
    one.setClock(next);
    this.#platform.world.note(`${one.name}: its clock jumps to ${next} ms`);
    this.counts.jumps++;
  }
}
