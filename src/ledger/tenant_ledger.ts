import { DurableObject } from "cloudflare:workers";
import { createHash } from "node:crypto";
import { assert } from "../core/assert.ts";
import { seal } from "../core/entry.ts";
import { KEY_REUSED, type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import { draftOf, TESTIMONY_CHAIN, type Testimony } from "../core/testimony.ts";
import type { Instant } from "../core/time.ts";
import { ANSWER_MS, inTime } from "../flow/patience.ts";
import type { Answered, EntryBatch, Report, ShippedEntry, Taken } from "../flow/ports.ts";
import { Journal } from "./journal.ts";
import { entriesFrom, hashAt } from "./queries.ts";
import { payloadRowOf, rowOf } from "./row.ts";
import type { EntryRow, PayloadRow } from "./schema.ts";
import { fitsD1, writeRows } from "./shipment.ts";
import type { FeedEntry } from "./tenant_feed.ts";

/** What the ledger object needs of its surroundings. */
export interface LedgerEnv {
  readonly DB: D1Database;
  readonly FEEDS: DurableObjectNamespace<Newsreader>;
  readonly WEBHOOKS: DurableObjectNamespace<Newsreader>;
}

/** Of the feed and of webhooks the ledger knows only that they want to hear of news. */
type Newsreader = Rpc.DurableObjectBranded & { news(): Promise<void> };

/** So long a burst is gathered before it is shipped. */
const GATHER_MS = 100;
/** When the alarm looks whether something was left behind, by a crash or an eviction. */
const SAFETY_MS = 5_000;
const MOST_ENTRIES = 500;
const MOST_OCTETS = 900_000;
/** So much text is read for listeners at once: they may stand at a hundred places, and all of it is in the feed's memory. */
export const MOST_READ_CHARACTERS = 500_000;
/** While so many wait for D1, only what sessions and the tenant recorded is taken. */
const MOST_WAITING = 20_000;
const SALT_BYTES = 16;
const SETTLE_MS = 5_000;
const FIRST_BACKOFF_MS = 1_000;
const MOST_BACKOFF_MS = 60_000;

/**
 * The record of one tenant, named by the tenant's id. It gives every entry its place in the tenant's ledger (the index of its leaf in the tree that is
 * to stand on it), keeps it until D1 has confirmed it, and ships to D1 in the background. What it has answered for is stored here; D1 being away
 * delays reading and nothing else.
 */
export class TenantLedger extends DurableObject<LedgerEnv> {
  /** Where entries are shipped to. A field, so that a test can put a database between that fails. Fields cannot be reached over RPC. */
  database: D1Database = this.env.DB;
  /** So long D1 has to take a shipment: there is no other meanwhile. A field, so that a test need not wait so long. */
  patienceMs: number = ANSWER_MS;

  readonly #journal = new Journal(this.ctx.storage);
  /** Rows of entries that were examined and are not in D1 yet, by hash: parsed once where memory lasts. */
  readonly #rows = new Map<string, EntryRow>();
  /** Until when somebody listens, as far as this memory knows. */
  #listenedUntil: Instant = 0;
  /** The shipment under way: one at a time, whoever asks. Answers whether D1 took it. */
  #inFlight: Promise<boolean> | null = null;
  #gathering = false;
  /** `undefined`: this instance has not looked yet. */
  #alarmAt: number | null | undefined = undefined;
  /** Halved when D1 refuses a shipment, so that one it cannot take ends up alone, behind everything that came before it. */
  #mostEntries = MOST_ENTRIES;

  /**
   * Takes the next entries of a chain, in order, and answers how far it has that chain. What it has already, it ignores; at a gap it stops.
   * An entry that does not fit (another hash in a place that is taken, another predecessor, a hash that is not its text's, a row that D1 could not
   * store) is not taken, nor anything after it, and a line naming it is logged. The answer is never more than what was compared: a late repeat is
   * answered with its own last place, a batch that differs from the recorded chain (or cannot be compared with it just now) with the place before it.
   * So a sender that was set back and recorded another history is never told that the ledger has it.
   */
  async accept(batch: EntryBatch): Promise<{ readonly acceptedThrough: number }> {
    const { sound, fault } = this.#examine(batch);
    if (fault !== null) this.#report(batch.chain, fault.seq, fault.why);
    const first = sound[0];
    const last = sound.at(-1);
    if (first === undefined || last === undefined)
      return { acceptedThrough: Math.min(this.#journal.head(batch.chain).seq, ...before(batch.entries[0])) };

    const recorded = await this.#recordedHash(batch.chain, last.seq);
    if (this.#alarmAt === undefined) this.#alarmAt = await this.ctx.storage.getAlarm();

    // Point of no return: from here to the end of the transaction nothing waits.
    const outcome = this.#journal.transact((): { through: number; added: number; forked: boolean } => {
      const head = this.#journal.head(batch.chain);
      const known = head.seq - first.seq + 1;
      if (known < 0) return { through: head.seq, added: 0, forked: false };
      // What the batch says of the last place that both have, and what is recorded there.
      const claimed = known < sound.length ? sound[known]?.prevHash : last.hash;
      const there = known <= sound.length ? head.hash : recorded;
      if (claimed !== there) return { through: first.seq - 1, added: 0, forked: there !== null };
      const added = sound.slice(known).map(({ shipped }) => shipped);
      this.#journal.append(batch.chain, added);
      return { through: last.seq, added: added.length, forked: false };
    });
    if (outcome.forked) this.#report(batch.chain, first.seq, "from here or later it differs from the recorded chain");
    if (outcome.added > 0) this.#spread();
    return { acceptedThrough: outcome.through };
  }

  /**
   * Takes what was reported, the JSON of a {@link Report}, and answers what became of each line, in order. Each is an entry once: what was taken, its
   * place in the chain, that it was taken and what is answered under the report's key are one transaction. `null`: so much waits for D1 that more is
   * not taken; its reporter has it.
   */
  async ingest(text: string): Promise<Result<Answered<readonly Taken[]>, Refusal> | null> {
    // Printed from a value of this very type by the other side of the port: a text crosses faster than what it says.
    const { lines, key } = JSON.parse(text) as Report;
    if (this.#alarmAt === undefined) this.#alarmAt = await this.ctx.storage.getAlarm();

    // From here to the end of the transaction nothing waits: whoever tells the same report meanwhile finds its answer.
    const earlier = this.#answered(key);
    if (earlier !== null) return earlier;
    const { accepted, shipped } = this.#journal.progress();
    if (accepted - shipped >= MOST_WAITING) return null;
    const salts = crypto.getRandomValues(Buffer.alloc(lines.length * SALT_BYTES)).toString("hex");
    const at = Date.now();
    // Point of no return.
    const { taken, added } = this.#journal.transact(() => {
      const news: (ShippedEntry & Pick<Testimony, "entry" | "fingerprint">)[] = [];
      const known = new Map<string, string>();
      let head = this.#journal.head(TESTIMONY_CHAIN);
      const taken = lines.map((line, place): Taken => {
        const earlier = known.get(line.entry) ?? this.#journal.reported(line.entry);
        if (earlier !== null) return earlier === line.fingerprint ? "known" : "other";
        const salt = salts.slice(place * SALT_BYTES * 2, (place + 1) * SALT_BYTES * 2);
        const payload = line.payload === null ? null : { salt, ...line.payload };
        const { entry, canonical, hash, beside } = seal(sha256, head, draftOf(this.#tenant(), line, at), payload);
        const shipped = { seq: entry.seq, canonical, hash, beside };
        const row = rowOf(this.#tenant(), 0, shipped);
        // An entry that D1 cannot store would stand in the way of all that come after it.
        if (!row.ok || !fitsD1(row.value, beside)) return "too_large";
        this.#remember(row.value);
        known.set(line.entry, line.fingerprint);
        news.push({ ...shipped, entry: line.entry, fingerprint: line.fingerprint });
        head = { seq: entry.seq, hash };
        return "recorded";
      });
      if (news.length > 0) {
        this.#journal.append(TESTIMONY_CHAIN, news);
        this.#journal.noteReported(news);
      }
      if (key !== null) this.#journal.noteAnswered(key, taken, at);
      return { taken, added: news.length };
    });
    if (added > 0) this.#spread();
    return ok({ answer: taken, replayed: false });
  }

  /** What was answered under a report's key; `null`: nothing was, or the report has none. */
  #answered(key: Report["key"]): Result<Answered<readonly Taken[]>, Refusal> | null {
    const known = key === null ? null : this.#journal.answered(key.key);
    if (known === null) return null;
    return known.fingerprint === key?.fingerprint ? ok({ answer: known.taken, replayed: true }) : err(KEY_REUSED);
  }

  /** What is new goes to D1 and to those who wait for news. */
  #spread(): void {
    this.#shipSoon();
    if (Date.now() < this.#listenedUntil) this.#tell(this.env.FEEDS);
    if (this.#journal.isWatched()) this.#tell(this.env.WEBHOOKS);
  }

  /** Nobody waits for those who are told; should they not hear of it, they look by themselves. */
  #tell(readers: DurableObjectNamespace<Newsreader>): void {
    this.ctx.waitUntil(
      readers
        .getByName(this.#tenant())
        .news()
        .catch(() => undefined),
    );
  }

  /** From now on, also after a sleep, webhooks are told of what is new, or are not; answers the index that the next entry gets. */
  watch(isWatched: boolean): number {
    this.#journal.transact(() => this.#journal.watch(isWatched));
    return this.#journal.progress().accepted;
  }

  /** Somebody listens until then, and is told of what is new; answers the index that the next entry gets. */
  listen(until: Instant): number {
    this.#listenedUntil = until;
    return this.#journal.progress().accepted;
  }

  /**
   * Entries from an index on, in order and without a gap: those that D1 has from there, the others from here. At most so many, and fewer where they are
   * large; none only at the end. Throws where D1 does not answer.
   */
  async readFrom(index: number, most: number): Promise<readonly FeedEntry[]> {
    return fitting(await this.#readFrom(index, most));
  }

  async #readFrom(index: number, most: number): Promise<readonly FeedEntry[]> {
    const { shipped } = this.#journal.progress();
    if (index >= shipped) return this.#journal.waitingFrom(index, most);
    const read = await entriesFrom(this.database, this.#tenant(), index, Math.min(most, shipped - index));
    if (!read.ok) throw new Error(read.error.detail);
    const last = read.value.at(-1);
    const isWhole = last !== undefined && read.value.length === last.index - index + 1;
    // What D1 has confirmed it has without a gap; a reader that was told less would take the gap for the end.
    if (!isWhole) throw new Error("D1 does not show all that it has confirmed");
    // What was waiting may have been shipped while D1 was asked: then it is there, and read next.
    const rest = this.#journal.waitingFrom(last.index + 1, most - read.value.length);
    return rest[0]?.index === last.index + 1 ? [...read.value, ...rest] : read.value;
  }

  /** Waits until everything accepted so far is in D1, shipping it now; refuses with `ledger_unavailable` when D1 does not take it in time. */
  async settle(): Promise<Result<null, Refusal>> {
    const target = this.#journal.progress().accepted;
    if (this.#journal.progress().shipped >= target) return ok(null);
    let isOver = false;
    const ship = async (): Promise<void> => {
      let pauseMs = GATHER_MS;
      while (!isOver && this.#journal.progress().shipped < target) {
        if (await this.#shipOnce()) continue;
        await scheduler.wait(pauseMs);
        pauseMs *= 2;
      }
    };
    const shipped = await inTime(SETTLE_MS, ship());
    isOver = true;
    return shipped.ok
      ? ok(null)
      : err(refusal("ledger_unavailable", "The record is safe but cannot be read just now: the database does not take it."));
  }

  /** The safety net: ships what an eviction, a crash or an absent D1 left behind. Catches its own failures, because the platform gives up on alarms that fail. */
  override async alarm(): Promise<void> {
    this.#alarmAt = null;
    await this.#shipAll();
  }

  /** The entries, up to the first that is not what it claims to be, with what D1 will store of each. */
  #examine(batch: EntryBatch): { readonly sound: readonly Examined[]; readonly fault: Fault | null } {
    const sound: Examined[] = [];
    for (const shipped of batch.entries) {
      const expected = (sound.at(-1)?.seq ?? shipped.seq - 1) + 1;
      if (shipped.seq !== expected) break;
      const row = rowOf(this.#tenant(), 0, shipped);
      if (!row.ok) return { sound, fault: { seq: shipped.seq, why: row.error } };
      const why = this.#faultOf(batch.chain, shipped, row.value, sound.at(-1));
      if (why !== null) return { sound, fault: { seq: shipped.seq, why } };
      this.#remember(row.value);
      sound.push({ seq: shipped.seq, hash: shipped.hash, prevHash: row.value.prevHash, shipped });
    }
    return { sound, fault: null };
  }

  #faultOf(chain: string, shipped: ShippedEntry, row: EntryRow, previous: Examined | undefined): string | null {
    if (chainOf(row) !== chain) return "it belongs to another chain";
    if (previous !== undefined && previous.hash !== row.prevHash) return "it names another predecessor";
    if (sha256(shipped.canonical) !== shipped.hash) return "its hash is not that of its text";
    if (!fitsD1(row, shipped.beside)) return "it is larger than D1 can store";
    return null;
  }

  /**
   * The recorded hash at a place below the chain's head, for a repeat that comes late; `null` when it is not known (yet). Places from the head on are
   * settled in the transaction. Never an error: what cannot be compared is not answered for.
   */
  async #recordedHash(chain: string, seq: number): Promise<string | null> {
    if (seq >= this.#journal.head(chain).seq) return null;
    const waiting = this.#journal.waitingHash(chain, seq);
    if (waiting !== null) return waiting;
    const read = await hashAt(this.database, this.#tenant(), chain, seq);
    return read.ok ? read.value : null;
  }

  /** Ships after the burst; the alarm stands behind it. While D1 is failing the alarm alone decides when to try again. */
  #shipSoon(): void {
    if (this.#alarmAt === null || this.#alarmAt === undefined) this.#wakeAt(Date.now() + SAFETY_MS);
    if (this.#gathering || this.#inFlight !== null || this.#journal.progress().failures > 0) return;
    this.#gathering = true;
    setTimeout(() => {
      this.#gathering = false;
      this.ctx.waitUntil(this.#shipAll());
    }, GATHER_MS);
  }

  async #shipAll(): Promise<void> {
    while (this.#hasWaiting()) {
      if (!(await this.#shipOnce())) return;
    }
  }

  #hasWaiting(): boolean {
    const { accepted, shipped } = this.#journal.progress();
    return accepted > shipped;
  }

  #shipOnce(): Promise<boolean> {
    this.#inFlight ??= this.#shipNext().finally(() => {
      this.#inFlight = null;
      // What came while the last shipment was under way found it so, and set no timer of its own.
      if (this.#hasWaiting()) this.#shipSoon();
    });
    return this.#inFlight;
  }

  /** One shipment. D1 first, the journal after: a crash between the two ships again, which D1 passes over. */
  async #shipNext(): Promise<boolean> {
    const batch = this.#journal.next(this.#mostEntries, MOST_OCTETS);
    const last = batch.at(-1);
    if (last === undefined) return true;
    try {
      const rows: EntryRow[] = [];
      const beside: PayloadRow[] = [];
      for (const waiting of batch) {
        const row = this.#rowOf(waiting);
        rows.push(row);
        const payload = payloadRowOf(row.tenant, row.id, waiting.beside);
        if (payload !== null) beside.push(payload);
      }
      const written = await inTime(this.patienceMs, writeRows(this.database, rows, beside));
      if (!written.ok) throw new Error(`D1 did not answer within ${this.patienceMs} ms`);
    } catch (error) {
      this.#retryLater(batch, error);
      return false;
    }
    this.#journal.transact(() => this.#journal.confirm(last.index));
    for (const { hash } of batch) this.#rows.delete(hash);
    this.#mostEntries = MOST_ENTRIES;
    return true;
  }

  /** The row of an accepted entry: as it was examined, where memory still has that, else made again from its text. */
  #rowOf(waiting: ShippedEntry & { readonly index: number }): EntryRow {
    const known = this.#rows.get(waiting.hash);
    if (known !== undefined) return { ...known, index: waiting.index };
    const row = rowOf(this.#tenant(), waiting.index, waiting);
    assert(row.ok, "what was accepted can be stored");
    return row.value;
  }

  #remember(row: EntryRow): void {
    // Few are so large. While D1 is away, all that are remembered must have room beside everything else in 128 MB.
    if (row.canonical.length > MOST_REMEMBERED_CHARACTERS) return;
    if (this.#rows.size >= MOST_REMEMBERED) this.#rows.clear();
    this.#rows.set(row.hash, row);
  }

  #retryLater(batch: readonly { readonly index: number }[], error: unknown): void {
    this.#journal.noteFailure();
    this.#mostEntries = Math.max(1, Math.floor(batch.length / 2));
    const { failures, shipped, accepted } = this.#journal.progress();
    this.#wakeAt(Date.now() + Math.min(MOST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 16)));
    const why = error instanceof Error ? error.message.slice(0, 200) : "unknown";
    console.error(JSON.stringify({ event: "ledger_not_shipped", tenant: this.#tenant(), from: shipped, waiting: accepted - shipped, failures, why }));
  }

  #wakeAt(at: number): void {
    this.#alarmAt = at;
    // Not awaited: it belongs to the same atomic write as what it follows, and the answer waits for both.
    void this.ctx.storage.setAlarm(at);
  }

  #report(chain: string, seq: number, why: string): void {
    console.error(JSON.stringify({ event: "ledger_chain_broken", tenant: this.#tenant(), chain, seq, why }));
  }

  #tenant(): string {
    const tenant = this.ctx.id.name;
    assert(tenant !== undefined, "a ledger object is named by its tenant");
    return tenant;
  }
}

/** What was reported may name a session, and is no part of that one's chain. */
const chainOf = ({ kind, session, tenant }: EntryRow): string => (kind === "ingest" ? TESTIMONY_CHAIN : (session ?? tenant));

/** The first entries of a page, as many as are not too much text together; always one where there is any. */
function fitting(page: readonly FeedEntry[]): readonly FeedEntry[] {
  let characters = 0;
  const end = page.findIndex(({ canonical }, place) => {
    characters += canonical.length;
    return place > 0 && characters > MOST_READ_CHARACTERS;
  });
  return end < 0 ? page : page.slice(0, end);
}

/** More entries than this waiting are parsed a second time rather than held in memory. */
const MOST_REMEMBERED = 2_000;
const MOST_REMEMBERED_CHARACTERS = 16_384;

interface Examined {
  readonly seq: number;
  readonly hash: string;
  readonly prevHash: string;
  readonly shipped: ShippedEntry;
}

interface Fault {
  readonly seq: number;
  readonly why: string;
}

/** The place before an entry, where there is one. */
const before = (entry: ShippedEntry | undefined): readonly number[] => (entry === undefined || !(entry.seq >= 1) ? [] : [entry.seq - 1]);

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");
