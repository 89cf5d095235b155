import { DurableObject } from "cloudflare:workers";
import { assert } from "../core/assert.ts";
import type { Entry } from "../core/entry.ts";
import { type EventFilter, eventsOf, isWanted, MOST_LISTENERS_OF_ONE_TOKEN, type Place, placeOf } from "../core/events.ts";
import { refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
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
/** So often it is asked whether a listener's token is still good, besides what the record says of it. With the look at it that is less than a lease term. */
const RECHECK_MS = 20_000;
/** So long its tenant has for an answer. */
const ASK_MS = 5_000;
/** So long the last good word on a token is believed while its tenant does not answer. */
const BELIEVED_MS = 60_000;
const MOST_LISTENERS = 100;
/** So many events are sent without a word from the other side. Whoever is slower is let go, and comes back to where it was. */
export const MOST_UNHEARD = 1_000;
const PAGE = 500;

/** Why a listener was let go. It may come back with the id of the last event it saw. */
export const CLOSE = {
  slow: { code: 4000, reason: "resume: too many events without a word" },
  expired: { code: 4001, reason: "the token has expired" },
  revoked: { code: 4002, reason: "the token was revoked" },
  unproven: { code: 4003, reason: "resume: nobody could say whether the token is still good" },
} as const;

type Closing = (typeof CLOSE)[keyof typeof CLOSE];

/** What is kept of a listener with its socket, also while this object sleeps. */
interface Listener {
  readonly filter: EventFilter;
  readonly token: Listening["token"];
  readonly expiresAt: Instant;
  readonly next: Place;
  readonly unheard: number;
  /** When the tenant last said that the token is good. */
  readonly checkedAt: Instant;
}

/**
 * Tells listeners of one tenant what is recorded, from where they wish. It reads the ledger in its order, at its own pace: neither the ledger nor any
 * decision waits for it or for those who listen. Sockets survive its sleep. What it has in memory is worth nothing: where each listener stands is kept
 * with its socket.
 */
export class TenantFeed extends DurableObject<FeedEnv> {
  /** So long the ledger has for an answer: nobody else reads at a place meanwhile. A field, so that a test need not wait so long. */
  patienceMs: number = ANSWER_MS;

  /** Places from which the ledger is being read, and whether there was news meanwhile. */
  readonly #reading = new Map<number, boolean>();

  constructor(ctx: DurableObjectState, env: FeedEnv) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** A WebSocket that begins with the wanted events from its place on. 429 where there are too many listeners already, 503 where the ledger is silent. */
  override async fetch(request: Request): Promise<Response> {
    // Written by `openEvents` alone: nobody else reaches this object.
    const listening = JSON.parse(decodeURIComponent(request.headers.get("X-Listening") ?? "%7B%7D")) as Listening;
    const announced = await this.#announce();
    if (!announced.ok) return new Response(null, { status: 503 });
    const end = { index: announced.value, part: 0 };
    await this.#wakeLater();
    // From here on nothing waits, so nobody comes between the count and the place that is taken.
    const all = this.ctx.getWebSockets().filter(isOpen);
    const ofToken = all.filter((socket) => listenerOf(socket).token.tokenId === listening.token.tokenId);
    if (all.length >= MOST_LISTENERS || ofToken.length >= MOST_LISTENERS_OF_ONE_TOKEN) return new Response(null, { status: 429 });
    // Nobody has seen an event that is not there yet: such an id is another ledger's, and would be waited for in silence.
    const from = listening.from === null || listening.from.index >= end.index ? end : listening.from;
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
    // Not waited for: what lies behind is told as it is read, and a database that is away is asked again by the alarm.
    this.ctx.waitUntil(this.news().catch(() => undefined));
    return new Response(null, { status: 101, webSocket: theirs });
  }

  /** There is something new in the ledger: whoever stands at one place is told together, and nobody waits for those who stand elsewhere. */
  async news(): Promise<void> {
    const places = new Set(
      this.ctx
        .getWebSockets()
        .filter(isOpen)
        .map((socket) => listenerOf(socket).next.index),
    );
    const told = await Promise.allSettled([...places].map((place) => this.#tellFrom(place)));
    const failed = told.find((one) => one.status === "rejected");
    if (failed !== undefined) throw failed.reason;
  }

  override async webSocketMessage(socket: WebSocket): Promise<void> {
    // Whatever it says, it is there and reads.
    const listener = listenerOf(socket);
    if (listener.unheard === 0) return;
    socket.serializeAttachment({ ...listener, unheard: 0 });
  }

  override webSocketClose(socket: WebSocket): void {
    socket.close();
  }

  override async alarm(): Promise<void> {
    if (this.ctx.getWebSockets().length === 0) return;
    await this.#wakeLater();
    await this.#letGo();
    // Not waited for: however slowly what lies behind is read, the alarm rings again in time.
    this.ctx.waitUntil(this.#look().catch((fault: unknown) => console.error(`feed ${this.ctx.id.toString()}: ${String(fault)}`)));
  }

  /** Looks at the ledger unasked: that somebody listens, it may have forgotten. */
  async #look(): Promise<void> {
    const announced = await this.#announce();
    // The alarm looks again.
    if (announced.ok) await this.news();
  }

  /** Tells the ledger that somebody listens; answers the index that the next entry gets. */
  #announce(): Promise<Result<number, "late">> {
    return inTime(this.patienceMs, this.#ledger().listen(Date.now() + 3 * LOOK_MS));
  }

  async #wakeLater(): Promise<void> {
    if ((await this.ctx.storage.getAlarm()) === null) await this.ctx.storage.setAlarm(Date.now() + LOOK_MS);
  }

  /** Lets go whose token is no longer good, and of whose token nobody could say so for too long. */
  async #letGo(): Promise<void> {
    const now = Date.now();
    const words = new Map<string, Promise<boolean | null>>();
    const wordOn = (token: Listening["token"]): Promise<boolean | null> => {
      const word = words.get(token.tokenId) ?? this.#ask(token);
      words.set(token.tokenId, word);
      return word;
    };
    const check = async (socket: WebSocket): Promise<void> => {
      const { token, checkedAt, expiresAt } = listenerOf(socket);
      if (now >= expiresAt) close(socket, CLOSE.expired);
      if (now >= expiresAt || now - checkedAt < RECHECK_MS) return;
      const isGood = await wordOn(token);
      if (isGood === false) close(socket, CLOSE.revoked);
      // Read again: it may have been told something while the tenant was asked.
      else if (isGood) socket.serializeAttachment({ ...listenerOf(socket), checkedAt: now });
      else if (now - checkedAt >= BELIEVED_MS) close(socket, CLOSE.unproven);
    };
    await Promise.all(this.ctx.getWebSockets().map(check));
  }

  /** Whether a token is good; `null` where its tenant cannot be asked, or does not answer. */
  async #ask(token: Listening["token"]): Promise<boolean | null> {
    try {
      const word = await inTime(ASK_MS, this.env.TENANTS.getByName(this.#tenant()).isTokenGood(token));
      return word.ok ? word.value : null;
    } catch {
      return null;
    }
  }

  /**
   * Tells those who stand at a place what comes from there, page by page, up to the end of the ledger. One reader at a place at a time; what comes
   * while it reads makes it look once more.
   */
  async #tellFrom(place: number): Promise<void> {
    let from = place;
    while (!this.#reading.has(from)) {
      this.#reading.set(from, false);
      let page: readonly FeedEntry[] = [];
      try {
        do {
          this.#reading.set(from, false);
          const read = await inTime(this.patienceMs, this.#ledger().readFrom(from, PAGE));
          // The alarm looks again.
          if (!read.ok) return;
          page = read.value;
        } while (page.length === 0 && this.#reading.get(from) === true);
      } finally {
        this.#reading.delete(from);
      }
      const last = page.at(-1);
      if (last === undefined) return;
      for (const socket of this.ctx.getWebSockets()) if (isOpen(socket) && listenerOf(socket).next.index === from) tell(socket, page);
      from = last.index + 1;
    }
    this.#reading.set(from, true);
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
  const now = Date.now();
  const listener = listenerOf(socket);
  let { next, unheard } = listener;
  for (const { index, canonical, hash } of page) {
    if (index < next.index) continue;
    // The ledger's own text: it was examined when the ledger took it.
    const entry = JSON.parse(canonical) as Entry;
    // Sooner than the alarm would ask its tenant: what comes after its revocation is not told to a token.
    if (revokes(entry, listener.token.tokenId)) {
      close(socket, CLOSE.revoked);
      return;
    }
    for (const event of eventsOf(entry, hash, index)) {
      if (index === next.index && placeOf(event).part < next.part) continue;
      if (!isWanted(listener.filter, event)) continue;
      const over = whyOver(listener, unheard, now);
      if (over !== null) {
        close(socket, over);
        return;
      }
      socket.send(JSON.stringify(event));
      unheard++;
    }
    next = { index: index + 1, part: 0 };
  }
  socket.serializeAttachment({ ...listener, next, unheard });
}

const revokes = ({ kind, details }: Entry, token: string): boolean => kind === "token" && details?.event === "revoked" && details.id === token;

/** Why a listener is told no more; `null`: it is. The alarm, which lets go of those to whom nothing is told, may be late. */
function whyOver({ expiresAt, checkedAt }: Listener, unheard: number, now: Instant): Closing | null {
  if (now >= expiresAt) return CLOSE.expired;
  if (now - checkedAt >= BELIEVED_MS) return CLOSE.unproven;
  return unheard >= MOST_UNHEARD ? CLOSE.slow : null;
}

// Our own value, written with `serializeAttachment` above.
const listenerOf = (socket: WebSocket): Listener => socket.deserializeAttachment() as Listener;

const isOpen = (socket: WebSocket): boolean => socket.readyState === WebSocket.OPEN;

const close = (socket: WebSocket, { code, reason }: Closing): void => socket.close(code, reason);

/** The tenants' feeds behind the port of that name. */
export const openEvents = (env: Pick<FeedEnv, "FEEDS">): EventFeed => ({
  listen: async (tenant, listening) => {
    const headers = { Upgrade: "websocket", "X-Listening": encodeURIComponent(JSON.stringify(listening)) };
    const response = await env.FEEDS.getByName(tenant).fetch("https://feed/", { headers });
    if (response.status === 429) {
      const most = `A tenant has at most ${MOST_LISTENERS} listeners at once, of which one token is at most ${MOST_LISTENERS_OF_ONE_TOKEN}.`;
      return err(refusal("throttled", most));
    }
    const socket = response.webSocket;
    return socket == null ? err(refusal("ledger_unavailable", "The stream cannot be opened just now.")) : ok(socket);
  },
});
