import { createHash } from "node:crypto";
import type { Entry } from "../../../../src/core/entry.ts";
import type { ObjectHost } from "../platform/objects.ts";
import { demand } from "./violation.ts";

/** One chain of entries as it became durable: it only ever grows. */
export class Chain {
  readonly name: string;
  /** By `seq - 1`. */
  readonly hashes: string[] = [];
  /** When, by the world's clock, entries were written: up to which `seq` by when. */
  readonly #written: { readonly seq: number; readonly at: number }[] = [];

  constructor(name: string) {
    this.name = name;
  }

  get seq(): number {
    return this.hashes.length;
  }

  get head(): string {
    return this.hashes.at(-1) ?? "0".repeat(64);
  }

  /** Notes that entries up to `seq` had been written by now, durable or not. */
  note(seq: number, now: number): void {
    if (seq > (this.#written.at(-1)?.seq ?? 0)) this.#written.push({ seq, at: now });
  }

  /** What was written and did not become durable never was. */
  forgetUnwritten(): void {
    while ((this.#written.at(-1)?.seq ?? 0) > this.seq) this.#written.pop();
  }

  /** When an entry was written, by the world's clock. */
  writtenAt(seq: number): number {
    const found = this.#written.findLast((one, place) => one.seq >= seq && (this.#written[place - 1]?.seq ?? 0) < seq);
    return found?.at ?? 0;
  }

  /** Takes the entries that have become durable since the last look, one after another. */
  *take(host: ObjectHost): Generator<{ readonly entry: Entry; readonly payload: string | null }> {
    for (const { seq, canonical, hash, payload } of host.storage.look<OutboxRow>(
      "SELECT seq, canonical, hash, payload FROM outbox WHERE seq > ? ORDER BY seq",
      this.seq,
    )) {
      // Sealed by the gateway: whatever else it should be is demanded here.
      const entry = JSON.parse(canonical) as Entry;
      const details = () => ({ chain: this.name, seq, expected: this.seq + 1 });
      demand(seq === this.seq + 1 && entry.seq === seq, "a chain has no gap", details);
      demand(entry.prev_hash === this.head, "an entry names the hash of the one before it", details);
      demand(createHash("sha256").update(canonical).digest("hex") === hash, "an entry's hash is that of its text", details);
      this.hashes.push(hash);
      yield { entry, payload };
    }
  }

  /** The store's own word on where its chain stands. */
  demandHead(seq: number, hash: string): void {
    demand(seq === this.seq && hash === this.head, "a chain stands where its entries end, and what was durable stays", () => ({
      chain: this.name,
      stored: { seq, hash },
      seen: { seq: this.seq, hash: this.head },
    }));
  }

  /** An answer that names an entry is true: the entry is there. */
  demandEntry(seq: number, hash: string): void {
    demand(this.hashes[seq - 1] === hash, "what was answered is on record", () => ({
      chain: this.name,
      seq,
      hash,
      recorded: this.hashes[seq - 1] ?? null,
    }));
  }
}

interface OutboxRow {
  readonly seq: number;
  readonly canonical: string;
  readonly hash: string;
  readonly payload: string | null;
}
