import { DurableObject } from "cloudflare:workers";
import { assert } from "../core/assert.ts";
import type { Entry } from "../core/entry.ts";
import { type EventFilter, eventsOf, isWanted, type Place, placeOf } from "../core/events.ts";
import { refusal } from "../core/refusals.ts";
import { err, ok } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { EventFeed, Listening } from "../flow/ports.ts";
import type { TenantLedger } from "./tenant_ledger.ts";

/** What the feed needs of its surroundings. Of the tenant it knows only that it says whether a token is good. */
export interface FeedEnv {
  readonly LEDGERS: DurableObjectNamespace<TenantLedger>;
  readonly FEEDS: DurableObjectNamespace<TenantFeed>;
  readonly TENANTS: DurableObjectNamespace<TokenWitness>;
}

export type TokenWitness = Rpc.DurableObjectBranded & {
  isTokenGood(token: { readonly tokenId: string; readonly issuer?: string | undefined }): boolean | Promise<boolean>;
};

/** While somebody listens: how often the ledger is looked at unasked, and told that somebody listens. The longest that news can be late. */
const LOOK_MS = 10_000;
/** So often it is asked whether a listener's token is still good. */
const RECHECK_MS = 30_000;
const MOST_LISTENERS = 100;
/** So many events are sent without a word from the other side. Whoever is slower is let go, and comes back to where it was. */
export const MOST_UNHEARD = 1_000;
const PAGE = 500;

/** Why a listener was let go. It may come back with the id of the last event it saw. */
export const CLOSE = {
  slow: { code: 4000, reason: "resume: too many events without a word" },
  expired: { code: 4001, reason: "the token has expired" },
  revoked: { code: 4002, reason: "the token was revoked" },
} as const;

/** What is kept of a listener with its socket, also while this object sleeps. */
interface Listener {
  readonly filter: EventFilter;
  readonly token: Listening["token"];
  readonly expiresAt: Instant;
  readonly next: Place;
  readonly unheard: number;
  readonly checkedAt: Instant;
}

/**
 * Tells listeners of one tenant what is recorded, from where they wish. It reads the ledger in its order, at its own pace: neither the ledger nor any
 * decision waits for it or for those who listen. Sockets survive its sleep. What it has in memory is worth nothing: where each listener stands is kept
 * with its socket.
 */
export class TenantFeed extends DurableObject<FeedEnv> {
  #pumping = false;
  #hasNews = false;
  #lookedAt: Instant = 0;

  constructor(ctx: DurableObjectState, env: FeedEnv) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** A WebSocket that begins with the wanted events from its place on. 429 where there are too many listeners already. */
  override async fetch(request: Request): Promise<Response> {
    // Written by `openEvents` alone: nobody else reaches this object.
    const listening = JSON.parse(request.headers.get("X-Listening") ?? "{}") as Listening;
    if (this.ctx.getWebSockets().length >= MOST_LISTENERS) return new Response(null, { status: 429 });
    const from = listening.from ?? { index: await this.#ledger().listen(Date.now() + 3 * LOOK_MS), part: 0 };
    const { 0: theirs, 1: ours } = new WebSocketPair();
    this.ctx.acceptWebSocket(ours);
    const listener: Listener = {
      filter: listening.filter,
      token: listening.token,
      expiresAt: listening.expiresAt,
      next: from,
      unheard: 0,
      checkedAt: Date.now(),
    };
    ours.serializeAttachment(listener);
    await this.#look();
    return new Response(null, { status: 101, webSocket: theirs });
  }

  /** There is something new in the ledger. */
  async news(): Promise<void> {
    this.#hasNews = true;
    await this.#pump();
  }

  override async webSocketMessage(socket: WebSocket): Promise<void> {
    // Whatever it says, it is there and reads.
    socket.serializeAttachment({ ...listenerOf(socket), unheard: 0 });
    await this.news();
  }

  override webSocketClose(socket: WebSocket): void {
    socket.close();
  }

  override async alarm(): Promise<void> {
    try {
      await this.#letGo();
      await this.#look();
    } catch (fault) {
      console.error(`feed ${this.ctx.id.toString()}: ${String(fault)}`);
      await this.ctx.storage.setAlarm(Date.now() + LOOK_MS);
    }
  }

  /** Tells the ledger that somebody listens, and reads what is new; looks again in a while. */
  async #look(): Promise<void> {
    if (this.ctx.getWebSockets().length === 0) return;
    if (Date.now() - this.#lookedAt >= LOOK_MS) {
      this.#lookedAt = Date.now();
      await this.#ledger().listen(Date.now() + 3 * LOOK_MS);
    }
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + LOOK_MS);
    await this.news();
  }

  /** Lets go whose token is no longer good. */
  async #letGo(): Promise<void> {
    const now = Date.now();
    const good = new Map<string, Promise<boolean>>();
    const isGood = (token: Listening["token"]): Promise<boolean> => {
      const asked = good.get(token.tokenId) ?? Promise.resolve(this.env.TENANTS.getByName(this.#tenant()).isTokenGood(token));
      good.set(token.tokenId, asked);
      return asked;
    };
    for (const socket of this.ctx.getWebSockets()) {
      const listener = listenerOf(socket);
      if (now >= listener.expiresAt) close(socket, CLOSE.expired);
      else if (now - listener.checkedAt >= RECHECK_MS) {
        if (!(await isGood(listener.token))) close(socket, CLOSE.revoked);
        // Read again: it may have been told something while the tenant was asked.
        else socket.serializeAttachment({ ...listenerOf(socket), checkedAt: now });
      }
    }
  }

  /** Brings every listener up to the end of the ledger. One pump runs at a time; what comes meanwhile makes it go round once more. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#hasNews) {
        this.#hasNews = false;
        await this.#round();
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Reads from where the hindmost listener stands, page by page, and tells each what it wants of what it has not been told. */
  async #round(): Promise<void> {
    for (;;) {
      const sockets = this.ctx.getWebSockets().filter(isOpen);
      const from = Math.min(...sockets.map((socket) => listenerOf(socket).next.index));
      if (!Number.isFinite(from)) return;
      const page = await this.#ledger().readFrom(from, PAGE);
      if (page.length === 0) return;
      for (const socket of sockets) if (isOpen(socket)) tell(socket, page);
    }
  }

  #ledger() {
    return this.env.LEDGERS.getByName(this.#tenant());
  }

  #tenant(): string {
    const tenant = this.ctx.id.name;
    assert(tenant !== undefined, "a feed is named by its tenant");
    return tenant;
  }
}

/** An entry as the ledger hands it to the feed. */
export interface FeedEntry {
  readonly index: number;
  readonly canonical: string;
  readonly hash: string;
}

/** Sends a listener what it wants of a page. Where it stands moves on with every entry, wanted or not. Nothing waits here, so nothing comes between. */
function tell(socket: WebSocket, page: readonly FeedEntry[]): void {
  const listener = listenerOf(socket);
  let { next, unheard } = listener;
  for (const { index, canonical, hash } of page) {
    if (index < next.index) continue;
    // The ledger's own text: it was examined when the ledger took it.
    for (const event of eventsOf(JSON.parse(canonical) as Entry, hash, index)) {
      if (index === next.index && placeOf(event).part < next.part) continue;
      if (!isWanted(listener.filter, event)) continue;
      if (unheard >= MOST_UNHEARD) {
        close(socket, CLOSE.slow);
        return;
      }
      socket.send(JSON.stringify(event));
      unheard++;
    }
    next = { index: index + 1, part: 0 };
  }
  socket.serializeAttachment({ ...listener, next, unheard });
}

// Our own value, written with `serializeAttachment` above.
const listenerOf = (socket: WebSocket): Listener => socket.deserializeAttachment() as Listener;

const isOpen = (socket: WebSocket): boolean => socket.readyState === WebSocket.OPEN;

const close = (socket: WebSocket, { code, reason }: (typeof CLOSE)[keyof typeof CLOSE]): void => socket.close(code, reason);

/** The tenants' feeds behind the port of that name. */
export const openEvents = (env: Pick<FeedEnv, "FEEDS">): EventFeed => ({
  listen: async (tenant, listening) => {
    const headers = { Upgrade: "websocket", "X-Listening": JSON.stringify(listening) };
    const response = await env.FEEDS.getByName(tenant).fetch("https://feed/", { headers });
    if (response.status === 429) return err(refusal("throttled", `A tenant has at most ${MOST_LISTENERS} listeners at once.`));
    const socket = response.webSocket;
    return socket == null ? err(refusal("ledger_unavailable", "The stream cannot be opened just now.")) : ok(socket);
  },
});
