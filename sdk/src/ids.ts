/** A UUIDv7 (RFC 9562 section 5.7): 48 bits of `now` in milliseconds, then 74 random bits. */
export const uuidv7 = (now: number): string =>
  // Of a finer clock whole milliseconds count. The time and the version, 7, in front of what follows the version in a UUIDv4; the variant is the same.
  `${(now - (now % 1)).toString(16).padStart(12, "0").replace(/.{8}/, "$&-")}-7${crypto.randomUUID().slice(15)}`;

/** A UUIDv8 (RFC 9562 section 5.8) that follows from texts: the same texts, the same UUID. */
export async function uuidOf(...texts: readonly string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(texts)));
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  // Two of the 32 digits that are taken give way to the version, 8, and the variant, 8.
  return hex.replace(/^(.{8})(.{4}).(...).(...)(.{12}).*$/, "$1-$2-8$3-8$4-$5");
}
