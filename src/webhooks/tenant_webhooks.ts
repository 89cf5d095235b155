import { DurableObject } from "cloudflare:workers";
import { createHash, createHmac } from "node:crypto";
import { assert } from "../core/assert.ts";
import { digestOf } from "../core/digest.ts";
import type { Entry } from "../core/entry.ts";
import { eventsOf, isWanted, type LedgerEvent, type Place, placeOf } from "../core/events.ts";
import { type DeliveryId, idFromDigest, type WebhookId } from "../core/ids.ts";
import { parsePublicUrl } from "../core/public_url.ts";
import { KEY_REUSED, type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import { formatInstant, type Instant } from "../core/time.ts";
import {
  type Answer,
  bodyOf,
  GIVEN_UP_AFTER_MS,
  headersOf,
  OLD_SECRET_SIGNS_MS,
  type Outcome,
  outcomeOf,
  parseSecret,
  secretOf,
} from "../core/webhooks.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type {
  Answered,
  DeliveryRow,
  DeliveryStatus,
  PageOf,
  PageQuery,
  WebhookCreated,
  WebhookNote,
  WebhookRotated,
  WebhookRotation,
  WebhookRow,
  WebhookWish,
} from "../flow/ports.ts";
import { type Claimed, type KeptWebhook, WebhookStore } from "./webhook_store.ts";

/** What webhooks need of their surroundings. Of the ledger they know that it can be read in its order, of the tenant that it puts on record what it is told. */
export interface WebhooksEnv {
  readonly WEBHOOKS: DurableObjectNamespace<TenantWebhooks>;
  readonly LEDGERS: DurableObjectNamespace<WatchedLedger>;
  readonly TENANTS: DurableObjectNamespace<Recorder>;
  /** "true" in development only: events may then be sent to private addresses, and without TLS. */
  readonly ALLOW_PRIVATE_WEBHOOKS: string;
}

export type WatchedLedger = Rpc.DurableObjectBranded & {
  watch(isWatched: boolean): number | Promise<number>;
  readFrom(index: number, most: number): Promise<readonly LedgerPageEntry[]>;
};

export type Recorder = Rpc.DurableObjectBranded & {
  recordWebhooks(notes: readonly WebhookNote[]): Result<null, Refusal> | Promise<Result<null, Refusal>>;
};

interface LedgerPageEntry {
  readonly index: number;
  readonly canonical: string;
  readonly hash: string;
}

/** Who posts an attempt: the {@link Courier}, in an invocation of its own. */
interface Post {
  post(url: string, headers: { readonly [name: string]: string }, body: string): Promise<Answer>;
}

export const MOST_WEBHOOKS = 16;
/** So many deliveries of one webhook wait here; what comes after them waits in the ledger. */
export const MOST_PENDING = 1_000;
/** More is read for it when fewer wait than this. */
const LOW_PENDING = MOST_PENDING / 2;
/** Attempts under way to one receiver; one where the last attempt failed. */
export const MOST_AT_ONCE = 4;
/** Secrets with which one webhook signs at once. */
const MOST_SECRETS = 5;
const SECRET_BYTES = 32;
/** The ledger tells what is new; should its word be lost, it is looked at after so long all the same. */
const LOOK_MS = 60_000;
/** The same after a look that failed. */
const LOOK_AGAIN_MS = 5_000;
/** An attempt of which nothing is heard for so long, since this object died under it, is made again. Longer than any attempt takes. */
const CLAIM_MS = 30_000;
/** So long a courier has to say what came of its attempt: longer than it waits for the receiver, and shorter than the claim stands. */
const COURIER_MS = 20_000;
const PAGE = 500;
/** What ended is kept so long, and of what was delivered only so many of each webhook: all of it is in the ledger. */
const KEPT_MS = 30 * 86_400_000;
const MOST_DELIVERED = 10_000;

type Outcomes<T> = Result<T, Refusal>;

/**
 * Sends one tenant's receivers what they want of its record, at least once and in no promised order. It reads the ledger in its order from where each
 * webhook stands; an event and the step past it are one transaction, and so are an attempt and the instant at which it is made again. What it has in
 * memory is worth nothing. Receivers do not know of each other: each has its own queue and its own attempts, and nobody waits for a slow one.
 */
export class TenantWebhooks extends DurableObject<WebhooksEnv> {
  /** A field, so that a test can say what time it is. Fields cannot be reached over RPC. */
  clock: () => Instant = Date.now;
  /** The same of how long anybody has for an answer: others wait behind whoever is asked. */
  patienceMs: number = ANSWER_MS;

  readonly #store = new WebhookStore(this.ctx.storage.sql);
  /** How many attempts are under way to each receiver, and all of them. */
  readonly #flying = new Map<WebhookId, number>();
  readonly #underway = new Set<Promise<void>>();
  #reading: Promise<void> | null = null;
  /** Something came while the ledger was read. */
  #hasNews = false;
  #reporting: Promise<void> | null = null;

  // What people ask

  async create(principal: Principal, wish: WebhookWish): Promise<Outcomes<Answered<WebhookCreated>>> {
    const url = parsePublicUrl(wish.url, this.#allowsPrivate());
    if (!url.ok) return unfit("/url", `${url.error}; wanted an https URL under a public name, without a user`);
    const secret = this.#secretFor(wish.secret);
    if (!secret.ok) return secret;
    const known = this.#created(wish);
    if (known !== null) return known;
    if (this.#store.count() >= MOST_WEBHOOKS) return TOO_MANY;
    // First, so that the ledger tells of whatever comes after the place where this webhook begins.
    const index = await this.#watch(true);
    if (index === null) return LEDGER_AWAY;
    const now = this.clock();
    const made = this.ctx.storage.transactionSync((): Outcomes<Answered<WebhookCreated>> => {
      // The same may have been asked twice at once.
      const meanwhile = this.#created(wish);
      if (meanwhile !== null) return meanwhile;
      if (this.#store.count() >= MOST_WEBHOOKS) return TOO_MANY;
      const { id, events, fingerprint } = wish;
      const created: WebhookCreated = { id, url: wish.url, events, secret: secret.value, createdAt: now, createdBy: principal.subject };
      this.#store.create({ ...created, fingerprint, next: { index, part: 0 } });
      this.#store.addSecret(id, { webhook: id, fingerprint, secret: secret.value, createdAt: now }, now);
      // An address may have a password in its path or query: what identifies it without telling it goes on record.
      this.#store.addNote(principal, { event: "webhook_created", id, origin: url.value.origin, url_digest: digestOf(sha256, wish.url), events });
      return ok({ answer: created, replayed: false });
    });
    if (made.ok) await this.#recorded();
    return made;
  }

  list(page: PageQuery): Outcomes<PageOf<WebhookRow>> {
    const rows = this.#store.list(page);
    return rows.ok ? ok({ ...rows.value, items: rows.value.items.map((row) => this.#shown(row)) }) : rows;
  }

  read(webhook: WebhookId): Outcomes<WebhookRow> {
    return this.#known(webhook, (kept) => ok(this.#shown(kept)));
  }

  async delete(principal: Principal, webhook: WebhookId): Promise<Outcomes<null>> {
    const done = this.#known(webhook, ({ id }): Outcomes<null> => {
      this.#store.delete(id, this.clock());
      this.#store.addNote(principal, { event: "webhook_deleted", id });
      return ok(null);
    });
    if (!done.ok) return done;
    await this.#recorded();
    // Where another is being made just now, its first look says again that it watches.
    if (this.#store.count() === 0) await this.#watch(false);
    return done;
  }

  async rotate(
    principal: Principal,
    { webhook, request, secret: wished, fingerprint }: WebhookRotation,
  ): Promise<Outcomes<Answered<WebhookRotated>>> {
    const secret = this.#secretFor(wished);
    if (!secret.ok) return secret;
    const done = this.#known(webhook, ({ id }): Outcomes<Answered<WebhookRotated>> => {
      const now = this.clock();
      const before = this.#store.findSecret(request);
      if (before !== null) {
        if (before.fingerprint !== fingerprint) return MISMATCH;
        return before.secret === null ? SECRET_GONE : ok({ answer: rotatedOf(id, before.secret, before.createdAt), replayed: true });
      }
      if (this.#store.signingSecrets(id, now).length >= MOST_SECRETS)
        return err(refusal("throttled", `A webhook signs with at most ${MOST_SECRETS} secrets at once; the oldest ends within a day.`));
      this.#store.addSecret(request, { webhook: id, fingerprint, secret: secret.value, createdAt: now }, now + OLD_SECRET_SIGNS_MS);
      this.#store.addNote(principal, { event: "webhook_rotated", id, old_secrets_until: formatInstant(now + OLD_SECRET_SIGNS_MS) });
      return ok({ answer: rotatedOf(id, secret.value, now), replayed: false });
    });
    if (done.ok) await this.#recorded();
    return done;
  }

  async resume(principal: Principal, webhook: WebhookId, from: Place | null): Promise<Outcomes<WebhookRow>> {
    if (this.#store.find(webhook) === null) return noSuchWebhook(webhook);
    const end = await this.#watch(true);
    if (end === null) return LEDGER_AWAY;
    if (from !== null && from.index >= end) return unfit("/from", "is no event's id yet");
    const done = this.#known(webhook, ({ id }): Outcomes<WebhookRow> => {
      this.#store.resume(id, this.clock());
      if (from !== null) this.#store.moveTo(id, from);
      this.#store.addNote(principal, { event: "webhook_resumed", id, from: from === null ? null : idOfPlace(from) });
      const kept = this.#store.find(id);
      assert(kept !== null, "what was just changed is there");
      return ok(this.#shown(kept));
    });
    if (!done.ok) return done;
    await this.#recorded();
    this.#workLater();
    return done;
  }

  listDeliveries(webhook: WebhookId, status: DeliveryStatus | null, page: PageQuery): Outcomes<PageOf<DeliveryRow>> {
    return this.#known(webhook, ({ id }) => this.#store.listDeliveries(id, status, page));
  }

  redeliver(webhook: WebhookId, delivery: DeliveryId): Outcomes<DeliveryRow> {
    const done = this.#known(webhook, ({ id }): Outcomes<DeliveryRow> => {
      const known = this.#store.findDelivery(id, delivery);
      if (known !== null) this.#store.requeue(delivery, this.clock());
      const queued = known === null ? null : this.#store.findDelivery(id, delivery);
      return queued === null ? err(refusal("not_found", `There is no delivery "${delivery}" of this webhook.`)) : ok(queued);
    });
    if (done.ok) this.#workLater();
    return done;
  }

  // What it does

  /** There is something new in the ledger. Answers when that is written down for whoever wants it; nobody waits for a receiver. */
  async news(): Promise<void> {
    await this.#readWell();
    await this.#wake();
  }

  /**
   * All that there is to do: has recorded what was done, reads what is new and sends what is due, to the end of every attempt that this leads to. What
   * fails of it is tried again by the alarm.
   */
  async work(): Promise<void> {
    this.#store.forget(this.clock(), this.clock() - KEPT_MS, MOST_DELIVERED);
    this.#send();
    await Promise.all([this.#report(), this.#look()]);
    while (this.#underway.size > 0) await Promise.all(this.#underway);
    await this.#wake();
  }

  /** Not waited for, so that it rings again in time however slow a receiver is. */
  override async alarm(): Promise<void> {
    this.#workLater();
    await this.#wake();
  }

  #workLater(): void {
    this.ctx.waitUntil(this.work().catch((fault: unknown) => this.#again("webhooks stopped", fault)));
  }

  /** Looks at the ledger unasked, and says again that it is watched. */
  async #look(): Promise<void> {
    if (this.#store.active().length === 0) return;
    await this.#watch(true);
    await this.#readWell();
  }

  #readWell(): Promise<void> {
    return this.#read().catch((fault: unknown) => this.#again("the ledger could not be read", fault));
  }

  /** One reader at a time; what comes while it reads makes it look once more. */
  #read(): Promise<void> {
    this.#hasNews = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = null;
      // What came after the last look and before this.
      return this.#hasNews ? this.#read() : undefined;
    });
    return this.#reading;
  }

  /** Reads from every place at which a webhook stands that has room, until each is at the end. */
  async #readAll(): Promise<void> {
    const ended = new Set<number>();
    for (;;) {
      if (this.#hasNews) ended.clear();
      this.#hasNews = false;
      const index = this.#readers()
        .map(({ next }) => next.index)
        .filter((place) => !ended.has(place))
        .sort((a, b) => a - b)[0];
      if (index === undefined) return;
      const read = await inTime(this.patienceMs, this.#ledger().readFrom(index, PAGE));
      // It goes no further than to whoever began this reading, and the alarm begins another.
      if (!read.ok) throw new Error("the ledger did not answer in time");
      if (read.value.length === 0) ended.add(index);
      else this.#take(index, read.value);
      this.#send();
    }
  }

  #readers(): readonly KeptWebhook[] {
    return this.#store.active().filter(({ id }) => this.#store.pendingOf(id) < LOW_PENDING);
  }

  /** Writes down what those who stand at a place want of a page, and that they have been told it: one transaction. */
  #take(index: number, page: readonly LedgerPageEntry[]): void {
    // The ledger's own text: it was examined when the ledger took it.
    const entries = page.map((entry) => ({ index: entry.index, events: eventsOf(JSON.parse(entry.canonical) as Entry, entry.hash, entry.index) }));
    const now = this.clock();
    this.ctx.storage.transactionSync(() => {
      for (const { id, events: types, next } of this.#readers()) {
        if (next.index !== index) continue;
        let room = MOST_PENDING - this.#store.pendingOf(id);
        let place = next;
        for (const entry of entries) {
          if (room <= 0) break;
          for (const event of entry.events) {
            if (entry.index === next.index && placeOf(event).part < next.part) continue;
            if (!isWanted({ types }, event)) continue;
            this.#store.add(id, { id: deliveryIdOf(id, event), event, body: bodyOf(event) }, now);
            room--;
          }
          place = { index: entry.index + 1, part: 0 };
        }
        this.#store.moveTo(id, place);
      }
    });
  }

  /** Begins what is due. */
  #send(): void {
    for (const { id } of this.#store.active()) this.#sendTo(id);
  }

  #sendTo(id: WebhookId): void {
    const webhook = this.#store.find(id);
    if (webhook === null || webhook.disabled !== null) return;
    const now = this.clock();
    const free = freeFor(webhook, this.#flying.get(id) ?? 0);
    if (free <= 0) return;
    // Written down before anything is sent: the platform lets nothing out before it is on disk, so that a crash never makes an attempt uncounted.
    const claimed = this.ctx.storage.transactionSync(() => this.#store.claim(id, now, free, now + CLAIM_MS));
    for (const delivery of claimed) {
      const attempt = this.#fly(webhook, delivery, now)
        .catch((fault: unknown) => this.#again("an attempt was not written down", fault))
        .finally(() => this.#underway.delete(attempt));
      this.#underway.add(attempt);
      this.ctx.waitUntil(attempt);
    }
  }

  /** One attempt, and after it what is due then. */
  async #fly(webhook: KeptWebhook, delivery: Claimed, now: Instant): Promise<void> {
    this.#flying.set(webhook.id, (this.#flying.get(webhook.id) ?? 0) + 1);
    try {
      await this.#attempt(webhook, delivery, now);
    } finally {
      this.#flying.set(webhook.id, (this.#flying.get(webhook.id) ?? 1) - 1);
    }
    this.#sendTo(webhook.id);
    await this.#wake();
  }

  async #attempt({ id, url }: KeptWebhook, { id: delivery, body, attempts }: Claimed, now: Instant): Promise<void> {
    const secrets = this.#store.signingSecrets(id, now).map(bytesOf);
    const answer = await this.#post(url, headersOf(hmac, { id: delivery, body, secrets }, now), body);
    const at = this.clock();
    const outcome = outcomeOf(answer, attempts, at, Math.random());
    this.ctx.storage.transactionSync(() => {
      this.#store.settle(delivery, outcome, at);
      const webhook = this.#store.find(id);
      if (webhook !== null) this.#settleWebhook(webhook, outcome, at);
    });
    // What was full has room again.
    if (this.#store.pendingOf(id) === LOW_PENDING - 1) this.ctx.waitUntil(this.#readWell());
  }

  async #post(url: string, headers: { readonly [name: string]: string }, body: string): Promise<Answer> {
    const parsed = parsePublicUrl(url, this.#allowsPrivate());
    // It was fit when it was registered; what is allowed may have changed since.
    if (!parsed.ok) return { fault: `the address ${parsed.error}` };
    try {
      // The Worker's own exports, of which this is one: the platform's type knows of none before it is generated.
      const { Courier } = this.ctx.exports as unknown as { readonly Courier: Post };
      const carried = await inTime(Math.min(this.patienceMs, COURIER_MS), Courier.post(url, headers, body));
      return carried.ok ? carried.value : { fault: "was not heard of again" };
    } catch {
      return { fault: "could not be sent" };
    }
  }

  #settleWebhook({ id, failingSince, disabled }: KeptWebhook, outcome: Outcome, now: Instant): void {
    if (outcome.kind === "delivered") {
      if (failingSince !== null) this.#store.noteFailing(id, null);
      return;
    }
    const since = failingSince ?? now;
    if (failingSince === null) this.#store.noteFailing(id, since);
    const why = outcome.kind === "gone" ? "gone" : now - since >= GIVEN_UP_AFTER_MS ? "failing" : null;
    if (why === null || disabled !== null) return;
    this.#store.disable(id, now, why);
    this.#store.addNote(null, { event: "webhook_disabled", id, why, failing_since: formatInstant(since) });
    this.ctx.waitUntil(this.#report());
  }

  /** Waits until what was done is on record; where the tenant does not answer, the alarm tells it again. */
  async #recorded(): Promise<void> {
    await this.#wake();
    await this.#report();
  }

  /** Tells the tenant what was done, in order, until it has put all of it on record. One telling at a time. */
  async #report(): Promise<void> {
    // The one under way may have looked before the newest note was there.
    await this.#reporting;
    this.#reporting ??= this.#reportAll()
      .catch((fault: unknown) => this.#again("what was done to webhooks is not on record yet", fault))
      .finally(() => {
        this.#reporting = null;
      });
    await this.#reporting;
  }

  async #reportAll(): Promise<void> {
    for (let notes = this.#store.notes(); ; notes = this.#store.notes()) {
      const last = notes.at(-1);
      if (last === undefined) return;
      const told = await inTime(this.patienceMs, this.env.TENANTS.getByName(this.#tenant()).recordWebhooks(notes));
      if (!told.ok) throw new Error("the tenant did not answer in time");
      if (!told.value.ok) throw new Error(told.value.error.detail);
      this.#store.dropNotes(last.seq);
    }
  }

  async #again(what: string, fault: unknown): Promise<void> {
    console.error(JSON.stringify({ event: "webhooks_behind", tenant: this.#tenant(), what, why: String(fault).slice(0, 200) }));
    await this.#wakeBy(this.clock() + LOOK_AGAIN_MS);
  }

  /** Sets the alarm for the next thing that is due by itself. */
  async #wake(): Promise<void> {
    const now = this.clock();
    const due = this.#store.active().map((webhook) => {
      // Who has as many attempts under way as it may is sent more when they end, or when they are known to be lost.
      if (freeFor(webhook, this.#flying.get(webhook.id) ?? 0) <= 0) return now + CLAIM_MS;
      return this.#store.nextDue(webhook.id) ?? now + LOOK_MS;
    });
    const hasNotes = this.#store.notes().length > 0;
    if (due.length === 0 && !hasNotes) return;
    await this.#wakeBy(Math.min(now + LOOK_MS, ...due, ...(hasNotes ? [now + LOOK_AGAIN_MS] : [])));
  }

  async #wakeBy(at: Instant): Promise<void> {
    const set = await this.ctx.storage.getAlarm();
    if (set === null || set > at) await this.ctx.storage.setAlarm(at);
  }

  /** What an earlier, equal request made; `null`: there was none. */
  #created(wish: WebhookWish): Outcomes<Answered<WebhookCreated>> | null {
    if (this.#store.wasDeleted(wish.id)) return err(refusal("not_found", "The webhook that this key made was deleted."));
    const kept = this.#store.find(wish.id);
    if (kept === null) return null;
    if (kept.fingerprint !== wish.fingerprint) return MISMATCH;
    const secret = this.#store.findSecret(wish.id)?.secret ?? null;
    if (secret === null) return SECRET_GONE;
    const { id, url, events, createdAt, createdBy } = kept;
    return ok({ answer: { id, url, events, secret, createdAt, createdBy }, replayed: true });
  }

  #secretFor(wished: string | null): Outcomes<string> {
    if (wished === null) return ok(secretOf(crypto.getRandomValues(new Uint8Array(SECRET_BYTES))));
    const parsed = parseSecret(wished);
    return parsed.ok ? ok(wished) : unfit("/secret", parsed.error);
  }

  #shown({ id, url, events, createdAt, createdBy, failingSince, disabled, oldSecretsUntil }: WebhookRow): WebhookRow {
    const isOver = oldSecretsUntil !== null && oldSecretsUntil <= this.clock();
    return { id, url, events, createdAt, createdBy, failingSince, disabled, oldSecretsUntil: isOver ? null : oldSecretsUntil };
  }

  /** Does something with a webhook that is there, in one transaction. */
  #known<T>(id: WebhookId, act: (webhook: KeptWebhook) => Outcomes<T>): Outcomes<T> {
    const kept = this.#store.find(id);
    if (kept === null) return noSuchWebhook(id);
    return this.ctx.storage.transactionSync(() => act(kept));
  }

  #allowsPrivate(): boolean {
    return this.env.ALLOW_PRIVATE_WEBHOOKS === "true";
  }

  /** Asks the ledger to tell of what is new, or not to; answers the index that its next entry gets, `null` where it does not answer. */
  async #watch(isWatched: boolean): Promise<number | null> {
    try {
      const watched = await inTime(this.patienceMs, this.#ledger().watch(isWatched));
      return watched.ok ? watched.value : null;
    } catch {
      return null;
    }
  }

  #ledger() {
    return this.env.LEDGERS.getByName(this.#tenant());
  }

  #tenant(): string {
    const tenant = this.ctx.id.name;
    assert(tenant !== undefined, "webhooks are named by their tenant");
    return tenant;
  }
}

/** How many attempts more may be under way. Who fails is tried by one at a time, however much waits. */
const freeFor = ({ failingSince }: KeptWebhook, flying: number): number => (failingSince === null ? MOST_AT_ONCE : 1) - flying;

/** The same event of the same webhook always has the same id: so whoever is told it twice can tell. */
const deliveryIdOf = (webhook: WebhookId, event: LedgerEvent): DeliveryId => idFromDigest("dlv", sha256(`${webhook} ${event.id}`));

const rotatedOf = (id: WebhookId, secret: string, createdAt: Instant): WebhookRotated => ({
  id,
  secret,
  createdAt,
  oldSecretsUntil: createdAt + OLD_SECRET_SIGNS_MS,
});

const idOfPlace = ({ index, part }: Place): string => (part === 0 ? String(index) : `${index}.${part}`);

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

const hmac = (key: Uint8Array, text: string): string => createHmac("sha256", key).update(text).digest("base64");

function bytesOf(secret: string): Uint8Array {
  const bytes = parseSecret(secret);
  assert(bytes.ok, "a secret was examined before it was kept");
  return bytes.value;
}

const unfit = (pointer: string, message: string) =>
  err(refusal("body_invalid", `The body is not valid: ${pointer} ${message}.`, [{ pointer, message }]));

const noSuchWebhook = (id: WebhookId) => err(refusal("not_found", `There is no webhook "${id}".`));

const LEDGER_AWAY = err(refusal("ledger_unavailable", "The ledger does not answer just now. The same request may be sent again."));
const MISMATCH = err(KEY_REUSED);
const SECRET_GONE = err(refusal("not_found", "The secret that this key made signs no longer, and is not shown again."));
const TOO_MANY = err(refusal("body_invalid", `A tenant has at most ${MOST_WEBHOOKS} webhooks.`, [{ pointer: "", message: "is one too many" }]));
