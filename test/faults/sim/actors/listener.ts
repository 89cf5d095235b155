import { type EventFilter, type Place, placeAfter } from "../../../../src/core/events.ts";
import type { TokenId } from "../../../../src/core/ids.ts";
import type { Oracle } from "../oracle/oracle.ts";
import type { TenantModel } from "../oracle/tenant.ts";
import { demand } from "../oracle/violation.ts";
import type { Platform } from "../platform/platform.ts";
import { Socket } from "../platform/sockets.ts";
import { Actor } from "./actor.ts";

/** Whoever listens to the stream, and comes back to where it was when it is let go or its connection breaks. */
export class Listener extends Actor {
  protected override readonly pauses = "comes back";
  readonly #tenant: TenantModel;
  readonly #filter: EventFilter;
  /** The last event it has heard. */
  #last: string | null = null;
  #first: Place;
  heard = 0;
  #end: (() => void) | null = null;

  constructor(name: string, tenant: TenantModel, filter: EventFilter, platform: Platform, oracle: Oracle) {
    super(name, platform, oracle);
    this.#tenant = tenant;
    this.#filter = filter;
    this.#first = { index: 0, part: 0 };
  }

  /** Whether it has heard all that the ledger has. */
  hasAll(): boolean {
    return this.#next(this.#place()).next().done === true;
  }

  protected async live(): Promise<void> {
    while (!this.isStopped) {
      const from = this.#place();
      const heard = await this.ask(
        "listen",
        (ports) =>
          ports.events.listen(this.#tenant.id, { filter: this.#filter, from, token: { tokenId: WATCHER }, expiresAt: Number.MAX_SAFE_INTEGER }),
        1,
      );
      if (heard?.ok !== true) {
        await this.pause(this.world.random.between(100, 3_000));
        continue;
      }
      // The platform's own socket, on this side of the world.
      const socket = heard.value as unknown as Socket;
      if (!(socket instanceof Socket)) throw new Error("a listener gets a socket");
      await new Promise<void>((resolve) => {
        this.#end = resolve;
        socket.listen({ party: this, message: (text) => this.#hear(socket, text), closed: () => resolve() });
      });
      await this.pause(this.world.random.between(0, 500));
    }
  }

  #hear(socket: Socket, text: string): void {
    // An event as the feed prints it.
    const { id } = JSON.parse(text) as { readonly id: string };
    const before = this.#last;
    this.oracle.check(() => {
      const expected = this.#next(this.#place()).next();
      demand(expected.done !== true && expected.value === id, "a listener is told everything it wants, once and in order", () => ({
        listener: this.name,
        before,
        expected,
        heard: id,
      }));
    });
    this.#last = id;
    this.heard++;
    const { random } = this.world;
    if (this.heard % 50 === 0) socket.send("ok");
    if (random.chance(0.002) && this.platform.network.faults.loss > 0) {
      socket.breakOff();
      this.#end?.();
    }
  }

  #place(): Place {
    return this.#last === null ? this.#first : (placeAfter(this.#last) ?? this.#first);
  }

  #next(from: Place): Generator<string> {
    return this.#tenant.ledger.events(from, this.#filter);
  }
}

/** The token of those who listen. */
export const WATCHER: TokenId = "tok_00000000-0000-7000-8000-000000000001";
