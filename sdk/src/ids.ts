/** A UUIDv7 (RFC 9562 section 5.7): 48 bits of `now` in milliseconds, then 72 random bits. */
export function uuidv7(now: number): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  const hex = now.toString(16).padStart(12, "0") + Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  // Two digits of chance give way to the version, 7, and the variant, 8.
  return hex.replace(/(.{8})(.{4}).(...).(...)/, "$1-$2-7$3-8$4-");
}

/** A UUIDv8 (RFC 9562 section 5.8) that follows from texts: the same texts, the same UUID. */
export async function uuidOf(...texts: readonly string[]): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(JSON.stringify(texts)));
  const hex = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  // Two of the 32 digits that are taken give way to the version, 8, and the variant, 8.
  return hex.replace(/^(.{8})(.{4}).(...).(...)(.{12}).*$/, "$1-$2-8$3-8$4-$5");
}
