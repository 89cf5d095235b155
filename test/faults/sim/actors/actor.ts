import type { Ports } from "../../../../src/flow/ports.ts";
import type { Oracle } from "../oracle/oracle.ts";
import { type Platform, Unanswered } from "../platform/platform.ts";
import { GOES_ON, type Party, type World } from "../platform/world.ts";

/** Somebody outside who asks the gateway, waits as long as its patience lasts, and asks again under the same id. */
export abstract class Actor implements Party {
  readonly name: string;
  offsetMs = 0;
  life = 0;
  isStopped = false;
  /** What it does after a pause. Who goes on may be made to pause for longer. */
  protected readonly pauses: string = GOES_ON;
  protected readonly platform: Platform;
  protected readonly oracle: Oracle;

  constructor(name: string, platform: Platform, oracle: Oracle) {
    this.name = name;
    this.platform = platform;
    this.oracle = oracle;
  }

  emit(send: () => void): void {
    send();
  }

  settle(): void {}

  protected get world(): World {
    return this.platform.world;
  }

  /** Lives until it is stopped. */
  start(): void {
    this.world.plan(this.world.random.between(0, 50), this, "begins", () => {
      this.live().catch((fault: unknown) => {
        this.oracle.violation ??= fault instanceof Error ? fault : new Error(String(fault));
      });
    });
  }

  protected abstract live(): Promise<void>;

  protected pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.world.plan(ms, this, this.pauses, resolve));
  }

  /** Asks until it is answered, or has had enough. `null`: whether it was done is not known. */
  protected async ask<T>(what: string, story: (ports: Ports) => Promise<T>, tries = 4): Promise<T | null> {
    const { random } = this.world;
    for (let tried = 1; tried <= tries; tried++) {
      try {
        return await this.platform.ask(this, what, random.pick([1_500, 4_000, 12_000, 40_000]), story);
      } catch (fault) {
        // Whatever else is thrown at a client the gateway's door turns into a 5xx: nothing is known of what was done.
        if (!(fault instanceof Unanswered)) this.oracle.thrown(what, fault);
        await this.pause(random.between(0, random.chance(0.8) ? 100 : 5_000));
      }
    }
    return null;
  }
}
