import type { Faults } from "../faults.ts";
import type { Party, World } from "./world.ts";

/** The marks that the platform puts on what it throws. */
export interface Marks {
  readonly retryable?: boolean;
  readonly remote?: boolean;
  readonly durableObjectReset?: boolean;
}

/** What the network or the platform throws: nobody's broken law. */
export class Outage extends Error {
  override readonly name = "Outage";

  constructor(message: string, marks: Marks) {
    super(message);
    Object.assign(this, marks);
  }
}

export const isOutage = (fault: unknown): boolean => fault instanceof Outage || (fault instanceof Error && fault.message.includes("[outage]"));

/** What becomes of a message. */
type Fate = { readonly kind: "arrives" | "fails"; readonly inMs: number };

/** Carries messages between parties, and loses, delays and reorders them as it is told. */
export class Network {
  readonly #world: World;
  faults: Faults;
  /** Who cannot be reached, and until when. */
  readonly #out = new Map<Party, number>();

  constructor(world: World, faults: Faults) {
    this.#world = world;
    this.faults = faults;
  }

  cutOff(party: Party, forMs: number): void {
    this.#out.set(party, this.#world.now + forMs);
  }

  heal(faults: Faults): void {
    this.faults = faults;
    this.#out.clear();
  }

  isOut(party: Party): boolean {
    return (this.#out.get(party) ?? 0) > this.#world.now;
  }

  /** Decides about one message from one to another. */
  fate(from: Party, to: Party): Fate {
    const { random } = this.#world;
    if (this.isOut(from) || this.isOut(to) || random.chance(this.faults.loss)) return { kind: "fails", inMs: this.#untilNoticed() };
    return { kind: "arrives", inMs: this.latencyMs() };
  }

  latencyMs(): number {
    const { random } = this.#world;
    if (random.chance(this.faults.delays)) return random.between(20, random.chance(0.1) ? 8_000 : 1_500);
    return random.between(0, 3);
  }

  /** A broken connection shows at once, mostly; sometimes nothing comes back for long. */
  #untilNoticed(): number {
    const { random } = this.#world;
    return random.chance(0.6) ? random.between(0, 50) : random.between(5_000, 90_000);
  }
}
