import { type EntryId, idOf } from "../core/ids.ts";

/** What an entry needs of randomness: its id and the salt of its payload's digest. */
export function freshForEntry(): { readonly entryId: EntryId; readonly salt: string } {
  const bytes = crypto.getRandomValues(new Uint8Array(26));
  return { entryId: idOf("ent", Date.now(), bytes), salt: Buffer.from(bytes.buffer, 10, 16).toString("hex") };
}
