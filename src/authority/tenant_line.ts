import type { Book } from "../core/book.ts";
import { type Order, orderAgainst } from "../core/orders.ts";
import { type Draw, draw, hear, holdsAnything, mustBeTold, rollSpans, type Short } from "../core/shares.ts";
import { isNewer, type OrderNews, ordersNews, type Standing } from "../core/standing.ts";
import type { Instant } from "../core/time.ts";
import { record } from "../core/turn.ts";
import { inTime } from "../flow/patience.ts";
import type { Lease } from "../flow/ports.ts";
import { LEASE_TERM_MS } from "./lease_term.ts";
import type { SessionBook } from "./session_book.ts";
import type { TenantAuthority } from "./tenant_authority.ts";

/** A lease is renewed in passing once less than this is left of it. */
const LEASE_HALF_MS = LEASE_TERM_MS / 2;
/** How long a session waits for its tenant, to renew a lapsed lease or to give more of what sessions share, before it goes on without. */
export const TENANT_PATIENCE_MS = 2_000;
/** So long a settlement that frees what is scarce waits for the tenant to have it back. */
const GIVE_BACK_PATIENCE_MS = 250;
/** A session that spends what it shares, or frees some of it, tells its tenant so often, at least, even where it lacks nothing and nobody asks any more. */
const TELL_MS = 5_000;

/**
 * What asking the tenant came to: everything that was asked for was given; less was; a newer word of this session has overtaken the question, or another
 * policy is in force; or the tenant could not be reached.
 */
export type Consulted = "full" | "short" | "overtaken" | "lost";

/** What the line needs of its session's object. */
export interface SessionEnd {
  /** Keeps the object alive until this is done. */
  waitUntil(promise: Promise<unknown>): void;
  /** Something was given, and must go back even if nobody asks any more. */
  given(): void;
  /** An order is in force, or is no more, since an entry that is on its way: approvals are not waited for under what is killed. */
  obeyed(): void;
}

/**
 * The line between a session and its tenant. Down it comes the lease: which policy is in force, what is stopped, who is revoked, and until when the session
 * may act on that. Up and down go the session's shares of what all sessions spend from: where it stands, what it is short of, and what goes back.
 */
export class TenantLine {
  readonly #book: SessionBook;
  readonly #tenantOf: (tenant: string) => DurableObjectStub<TenantAuthority>;
  readonly #end: SessionEnd;
  #lease: Lease | null = null;
  /** What the tenant told before the session was open. */
  #early: Lease | null = null;
  #renewal: Promise<Consulted> | null = null;
  /** The last of the calls to the tenant: they are made one after another, since only the newest word counts. */
  #lastConsult: Promise<unknown> = Promise.resolve();
  #consultedAt: Instant = 0;
  /** The one that asks for nothing and has not begun. */
  #nextPlain: Promise<Consulted> | null = null;
  /** What is no longer needed of what is scarce, on its way back to the tenant. */
  #goingBack: Promise<unknown> | null = null;

  constructor(book: SessionBook, tenantOf: (tenant: string) => DurableObjectStub<TenantAuthority>, end: SessionEnd) {
    this.#book = book;
    this.#tenantOf = tenantOf;
    this.#end = end;
  }

  /** What the tenant last told; `null`: nothing yet. */
  lease(): Lease | null {
    this.#lease ??= this.#book.store.readLease();
    return this.#lease;
  }

  /** The lease as a decision at `now` sees it. */
  standing(now: Instant): Standing {
    const lease = this.lease();
    return {
      fresh: lease !== null && lease.endsAt > now,
      policy: lease?.policy ?? null,
      // A lease that an older version of this code stored says nothing of entities or orders.
      entities: lease?.entities ?? 0,
      orders: this.orders(),
    };
  }

  /** What stops something, as far as this session has heard. */
  orders(): readonly Order[] {
    return this.lease()?.orders ?? [];
  }

  /** What stands against an action of this session. */
  orderAgainst({ tenant, agent, session }: Book, { run, action }: Pick<Parameters<typeof orderAgainst>[1], "run" | "action">): Order | null {
    return orderAgainst(this.orders(), { tenant, agent, session, run, action });
  }

  /** Whether what the tenant last told was in force before that. */
  isOlder(epoch: number): boolean {
    return (this.lease()?.epoch ?? 0) < epoch;
  }

  hasLapsed(): boolean {
    return (this.lease()?.endsAt ?? 0) <= this.#book.now();
  }

  /** The lease to open with. What was told while the tenant's answer was on its way is newer than the answer. */
  first(admitted: Lease): Lease {
    return this.#early !== null && isNewer(this.#early, admitted) ? this.#early : admitted;
  }

  /** Takes what the tenant tells a session that is not open yet. */
  receiveEarly(lease: Lease): void {
    if (this.#early === null || isNewer(lease, this.#early)) this.#early = lease;
  }

  /**
   * Takes what the tenant tells by itself. It does not lengthen the lease: nobody knows how long the message was under way. Answers where the session stands
   * in what it shares if another policy, and with it other limits, came into force.
   */
  receive(lease: Lease): Draw | null {
    const current = this.lease();
    const isNewPolicy = current?.policy?.digest !== lease.policy?.digest;
    this.#keep({ ...lease, endsAt: current?.endsAt ?? 0 });
    return isNewPolicy ? this.#makeDraw([], false) : null;
  }

  /** Renews a lapsed lease before a turn, for as long as patience lasts, and one that is half over in passing. */
  async freshen(): Promise<void> {
    const now = this.#book.now();
    const endsAt = this.lease()?.endsAt ?? 0;
    if (endsAt - now > LEASE_HALF_MS) return;
    this.#renewal ??= this.consult().finally(() => {
      this.#renewal = null;
    });
    if (endsAt > now) this.#end.waitUntil(this.#renewal);
    else await this.#renewal;
  }

  /**
   * Tells the tenant where the session stands, asks it for what is short, and renews the lease, which then runs from before it was asked for, by this
   * session's clock. For as long as patience lasts: what is not renewed runs out, and then everything is denied until the tenant answers again.
   */
  consult(shorts: readonly Short[] = [], { givesBack, renews } = { givesBack: false, renews: true }): Promise<Consulted> {
    const isPlain = shorts.length === 0 && !givesBack && renews;
    // One that has not begun says all that another would: while a tenant hangs, no queue grows before those who need it.
    if (isPlain && this.#nextPlain !== null) return this.#nextPlain;
    const consult = this.#lastConsult.then(() => {
      if (isPlain) this.#nextPlain = null;
      return this.#consultNow(shorts, givesBack, renews);
    });
    if (isPlain) this.#nextPlain = consult;
    this.#lastConsult = consult.catch(() => undefined);
    return consult;
  }

  /** The same for whom it does not matter what comes of it. */
  consultInPassing(): void {
    this.#end.waitUntil(this.consult().catch(() => undefined));
  }

  /** Says where the session stands in what it shares, after what is under way, which would otherwise be overtaken for as long as anybody looks. */
  report(): Promise<Draw> {
    const report = this.#lastConsult.then(() => this.#makeDraw([], false));
    this.#lastConsult = report.catch(() => undefined);
    return report;
  }

  /** The same at once, and nothing is kept of it unspent. */
  giveUp(): Draw {
    return this.#makeDraw([], true);
  }

  /** Sends on its way what others wait for and this session no longer needs. Once its lease has lapsed the alarm gives all of it back, and renews nothing by that. */
  giveBackScarce(): void {
    if (this.hasLapsed() || !mustBeTold(this.#book.read().shares)) return;
    const goingBack = this.consult()
      .catch(() => undefined)
      .finally(() => {
        if (this.#goingBack === goingBack) this.#goingBack = null;
      });
    this.#goingBack = goingBack;
    this.#end.waitUntil(goingBack);
  }

  /** Where little is left of what sessions share, what this one no longer needs is there for others when its caller hears of it. */
  async awaitReturn(): Promise<void> {
    if (this.#goingBack !== null) await inTime(GIVE_BACK_PATIENCE_MS, this.#goingBack);
  }

  /** Tells the tenant that the session is closed, and what others may have of what it shares with them. Rejects where something of it could not be told. */
  async tellWhatIsDue(): Promise<void> {
    if (Date.now() >= this.tellAt()) await this.consult([], { givesBack: false, renews: false });
    const isClosed = this.#book.read().closed;
    if (isClosed) await this.tellClosed();
    if ((isClosed || this.hasLapsed()) && holdsAnything(this.#book.read().shares)) {
      // Nobody asks any more: what was given to this session goes back, so that others may have it.
      const told = await this.consult([], { givesBack: true, renews: false });
      if (told === "lost") throw new Error("the tenant could not be told what comes back");
    }
  }

  /** Tells the tenant, once, that the session is closed; rejects where it is not known that it heard. */
  async tellClosed(): Promise<void> {
    if (this.#book.store.readOpening().tenantTold) return;
    const { tenant, session } = this.#book.read();
    await this.#tenantOf(tenant).closeSession(session, this.giveUp());
    this.#book.store.setTenantTold();
  }

  /**
   * When the tenant is to hear of what was spent or freed of what sessions share: soon, since others may need it, and not from every session all the time.
   * Who is over gives all of it back instead.
   */
  tellAt(): Instant {
    const { shares, closed } = this.#book.read();
    const tells = shares.untold && shares.slices.size + shares.permits.size > 0 && !closed && !this.hasLapsed();
    // A clock that was set back says nothing of when it was told.
    const toldAt = this.#consultedAt > Date.now() ? 0 : this.#consultedAt;
    return tells ? toldAt + TELL_MS : Number.POSITIVE_INFINITY;
  }

  /**
   * When what was given and is not spent goes back, should nobody ask any more. The lease may have lapsed while an alarm was under way: then `soonMs` from
   * now, and not at once, since whoever asks under a lapsed lease meanwhile would wait behind it for a tenant that hangs.
   */
  goesBackAt(soonMs: number): Instant {
    if (!holdsAnything(this.#book.read().shares)) return Number.POSITIVE_INFINITY;
    const endsAt = this.lease()?.endsAt ?? 0;
    return endsAt > Date.now() ? endsAt : Date.now() + soonMs;
  }

  async #consultNow(shorts: readonly Short[], givesBack: boolean, renews: boolean): Promise<Consulted> {
    const asked = this.#book.now();
    this.#consultedAt = Date.now();
    const { tenant, session, agent } = this.#book.read();
    const under = this.lease()?.policy?.digest ?? null;
    const draw = this.#makeDraw(shorts, givesBack);
    const call = this.#tenantOf(tenant).draw({ session, agent, draw, under, renews });
    const drawn = await inTime(
      TENANT_PATIENCE_MS,
      call.catch(() => null),
    );
    if (!drawn.ok || drawn.value === null || !drawn.value.ok) return "lost";
    const { lease, word } = drawn.value.value;
    if (renews) this.#keep({ ...lease, endsAt: asked + LEASE_TERM_MS });
    if (word === null) return "overtaken";
    const isHeard = this.#book.change(({ shares }) => {
      const isLast = hear(shares, word, draw);
      if (isLast) this.#book.store.writeShares(shares);
      return isLast;
    });
    if (!isHeard) return "overtaken";
    this.#end.given();
    return word.slices.some(({ isShort }) => isShort) || word.permits.some(({ isShort }) => isShort) ? "short" : "full";
  }

  /** What is said to be kept is kept no more than that, from here on and whatever becomes of the message. */
  #makeDraw(shorts: readonly Short[], givesBack: boolean): Draw {
    const now = this.#book.now();
    return this.#book.change(({ shares, closed, expiresAt }) => {
      const isOver = closed || now >= expiresAt;
      rollSpans(shares, now);
      const made = draw(shares, isOver ? [] : shorts, givesBack || isOver);
      this.#book.store.writeShares(shares);
      return made;
    });
  }

  /** An older lease never replaces a newer one, whatever order they arrive in. What it newly orders goes on record: since that entry it is obeyed. */
  #keep(lease: Lease): void {
    const current = this.lease();
    if (current !== null && lease.epoch < current.epoch) return;
    // Attributes are counted apart: of one epoch a message may be older than another in them alone.
    const kept = { ...lease, entities: Math.max(lease.entities, current?.entities ?? 0), endsAt: Math.max(lease.endsAt, current?.endsAt ?? 0) };
    const news = ordersNews(current?.orders ?? [], lease.orders, this.#book.read());
    if (news.length === 0) this.#book.store.writeLease(kept);
    else this.#obey(kept, news);
    this.#lease = kept;
    if (news.length > 0) this.#end.obeyed();
  }

  #obey(lease: Lease, news: readonly OrderNews[]): void {
    this.#book.turn((turn) => {
      this.#book.store.writeLease(lease);
      for (const { order, event } of news) {
        const { intervention, target, id } = order;
        const kind = event === "obeyed" ? (order.state === "killed" ? "kill" : "pause") : order.state === "killed" ? "revive" : "resume";
        record(turn, "intervention", { details: { event, intervention, target: { type: target, id }, kind } }, null);
      }
    });
  }
}
