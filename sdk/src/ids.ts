/** A UUIDv7 (RFC 9562 section 5.7): 48 bits of `now` in milliseconds, then 72 random bits. */
export function uuidv7(now: number): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  const hex = now.toString(16).padStart(12, "0") + Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  // Two digits of chance give way to the version, 7, and the variant, 8.
  return hex.replace(/(.{8})(.{4}).(...).(...)/, "$1-$2-7$3-8$4-");
}
