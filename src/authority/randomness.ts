import { type EntryId, ID_DIGITS, type Id, type IdPrefix, idFromRandom } from "../core/ids.ts";

/** The salt of a payload's digest: sixteen bytes. */
const SALT_DIGITS = 32;

/** Random bytes are fetched, and printed, for many ids at once: the calls cost more than the bytes. Each digit is used once. */
const bytes = Buffer.alloc(4_096);
let digits = "";
let used = 0;

function draw(count: number): string {
  if (used + count > digits.length) {
    digits = crypto.getRandomValues(bytes).toString("hex");
    used = 0;
  }
  const from = used;
  used += count;
  return digits.slice(from, used);
}

/** A fresh id. */
export const freshId = <P extends IdPrefix>(prefix: P): Id<P> => idFromRandom(prefix, Date.now(), draw(ID_DIGITS));

/** What an entry needs of randomness: its id and the salt of its payload's digest. */
export const freshForEntry = (): { readonly entryId: EntryId; readonly salt: string } => ({ entryId: freshId("ent"), salt: draw(SALT_DIGITS) });
