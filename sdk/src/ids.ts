/** A UUIDv7 (RFC 9562 section 5.7): 48 bits of `now` in milliseconds, then 74 random bits. */
export function uuidv7(now: number): string {
  const random = crypto.getRandomValues(new Uint8Array(10));
  const hex = now.toString(16).padStart(12, "0") + Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const variant = ((Number.parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`;
}
