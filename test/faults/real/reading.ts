import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { LedgerEntry } from "../../../sdk/src/wire.ts";
import { each } from "./calls.ts";
import { type Chance, drawn } from "./chance.ts";
import { parseEntries } from "./record.ts";

/**
 * How far one tenant's record was read, and that it stays as it was read. Of each entry the digest of its line is kept: what is read again must have
 * just these bytes. That new entries name the hashes of old ones says nothing of what the database has in the old ones' places; only reading them does.
 */
export class Reading {
  readonly #token: string;
  readonly #known: { readonly place: number; readonly id: string; readonly digest: string }[] = [];
  #readAgain = 0;

  /** Reads with a token that may see all of its tenant's entries. */
  constructor(token: string) {
    this.#token = token;
  }

  /** So many entries were read. */
  get entries(): number {
    return this.#known.length;
  }

  /** So often one of them was read again and was the same. */
  get readAgain(): number {
    return this.#readAgain;
  }

  /**
   * What is new, oldest first. In the same stream, right before it, stand the last `again` of what was read before, which must be the same to the byte;
   * with `Infinity` that is all of it, and the stream is the whole record.
   */
  async news(url: string, again = 1): Promise<readonly LedgerEntry[]> {
    const from = Math.max(0, this.#known.length - again);
    const text = await this.#read(`${url}/v1/ledger/export${from === 0 ? "" : `?after=${from - 1}`}`);
    assert.ok(text === "" || text.endsWith("\n"), "an export ends with the end of a line");
    const lines = text.split("\n").slice(0, -1);
    for (const [place, line] of lines.slice(0, this.#known.length - from).entries()) this.#assertSame(from + place, line);
    const had = from + lines.length;
    assert.ok(had >= this.#known.length, `the record ends after ${had} entries, and ${this.#known.length} were read of it before`);
    const added = lines.slice(this.#known.length - from);
    const entries = parseEntries(added.join("\n"));
    assert.equal(entries.length, added.length, "every line of an export is an entry");
    for (const [place, { id }] of entries.entries()) this.#known.push({ place: this.#known.length, id, digest: digestOf(added[place] ?? "") });
    return entries;
  }

  /** So many of what was read before, drawn from all of it and each read by itself, are the same to the byte. */
  async assertSome(url: string, chance: Chance, count: number): Promise<void> {
    const some = drawn(chance, this.#known, count);
    await each(some, 8, async ({ place, id }) => this.#assertSame(place, await this.#read(`${url}/v1/ledger/${id}`)));
  }

  #assertSame(place: number, line: string): void {
    const known = this.#known[place];
    if (digestOf(line) !== known?.digest) assert.fail(`entry ${place}, ${known?.id}, is not what was read before: ${line}`);
    this.#readAgain++;
  }

  async #read(address: string): Promise<string> {
    const answer = await fetch(address, { headers: { authorization: `Bearer ${this.#token}` } });
    const text = await answer.text();
    assert.equal(answer.status, 200, `${address} answered ${answer.status}: ${text.slice(0, 500)}`);
    return text;
  }
}

const digestOf = (line: string): string => createHash("sha256").update(line).digest("base64");
