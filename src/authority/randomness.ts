import { type EntryId, idOf } from "../core/ids.ts";

/** What one entry takes: ten bytes for its id, sixteen for the salt of its payload's digest. */
const ID_BYTES = 10;
const SALT_BYTES = 16;

/** Random bytes are fetched for many entries at once: the call costs more than the bytes. Each is used once. */
const pool = Buffer.alloc(128 * (ID_BYTES + SALT_BYTES));
let used = pool.length;

/** What an entry needs of randomness: its id and the salt of its payload's digest. */
export function freshForEntry(): { readonly entryId: EntryId; readonly salt: string } {
  if (used >= pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  const id = pool.subarray(used, used + ID_BYTES);
  const salt = pool.subarray(used + ID_BYTES, used + ID_BYTES + SALT_BYTES);
  used += ID_BYTES + SALT_BYTES;
  return { entryId: idOf("ent", Date.now(), id), salt: salt.toString("hex") };
}
