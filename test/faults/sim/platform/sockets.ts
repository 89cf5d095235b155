import type { Network } from "./network.ts";
import type { ObjectHost } from "./objects.ts";
import type { Party, World } from "./world.ts";

/** One end of a WebSocket. What is sent arrives in order, or not at all from some point on. */
export class Socket {
  readyState = 1;
  /** The connection is gone, whether or not this end has noticed. */
  isGone = false;
  /** The object that has accepted this end; `null` at a client's. */
  owner: ObjectHost | null = null;
  /** Who hears what comes to a client's end. */
  listener: { readonly party: Party; message(text: string): void; closed(code: number): void } | null = null;
  peer: Socket | null = null;
  #attachment: unknown = null;
  /** What came before anybody listened. */
  readonly #early: string[] = [];
  #lastArrival = 0;
  readonly #world: World;
  readonly #network: Network;

  constructor(world: World, network: Network) {
    this.#world = world;
    this.#network = network;
  }

  serializeAttachment(value: unknown): void {
    this.#attachment = structuredClone(value);
  }

  deserializeAttachment(): unknown {
    return structuredClone(this.#attachment);
  }

  send(text: string): void {
    if (this.owner !== null) this.owner.emit(() => this.#carry(text));
    else this.#carry(text);
  }

  close(code = 1000): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    const tell = (): void => {
      this.isGone = true;
      const { peer } = this;
      if (peer === null || peer.isGone) return;
      this.#inOrder(peer, () => peer.#hearClose(code));
    };
    if (this.owner !== null) this.owner.emit(tell);
    else tell();
  }

  /** The connection breaks: what is under way is lost, and the other end finds out sooner or later. */
  breakOff(): void {
    this.isGone = true;
    this.readyState = 3;
    const { peer } = this;
    if (peer === null || peer.isGone) return;
    peer.isGone = true;
    const { random } = this.#world;
    const party = peer.owner ?? peer.listener?.party;
    if (party !== undefined)
      this.#world.plan(random.between(0, random.chance(0.7) ? 50 : 15_000), party, "finds its socket broken", () => peer.#hearClose(1006), true);
  }

  /** Begins to hear what came and what comes. */
  listen(listener: NonNullable<Socket["listener"]>): void {
    this.listener = listener;
    for (const text of this.#early.splice(0)) listener.message(text);
    if (this.isGone) listener.closed(1006);
  }

  #carry(text: string): void {
    const { peer } = this;
    if (peer === null || peer.isGone || this.isGone) return;
    this.#inOrder(peer, () => {
      if (!peer.isGone) peer.#hear(text);
    });
  }

  #inOrder(peer: Socket, run: () => void): void {
    const party = peer.owner ?? peer.listener?.party ?? NOBODY;
    this.#lastArrival = Math.max(this.#lastArrival + 1, this.#world.now + this.#network.latencyMs());
    this.#world.plan(this.#lastArrival - this.#world.now, party, "hears by a socket", run, true);
  }

  #hear(text: string): void {
    if (this.owner !== null) this.owner.hearSocket("webSocketMessage", this, text);
    else if (this.listener !== null) this.listener.message(text);
    else this.#early.push(text);
  }

  #hearClose(code: number): void {
    const wasOpen = this.readyState !== 3;
    this.readyState = 3;
    this.isGone = true;
    if (this.owner !== null) {
      this.owner.sockets = this.owner.sockets.filter((socket) => socket !== this);
      if (wasOpen) this.owner.hearSocket("webSocketClose", this, "");
    } else this.listener?.closed(code);
  }
}

/** An answer to `fetch`, as far as a feed needs one: the platform's own may not be made in Node with status 101. */
export class Answer {
  readonly status: number;
  readonly webSocket: Socket | null;

  constructor(_body: null, init: { readonly status: number; readonly webSocket?: Socket }) {
    this.status = init.status;
    this.webSocket = init.webSocket ?? null;
  }
}

const NOBODY: Party = { name: "nobody", offsetMs: 0, life: 0, emit: (send) => send(), settle: () => undefined };
