import type { Instant } from "./time.ts";

/** The kinds of ids there are. An id is its prefix, an underscore and a UUIDv7 (RFC 9562 section 5.7). */
export type IdPrefix = "ses" | "run" | "dec" | "apr" | "tok" | "ent" | "int" | "whk" | "dlv" | "lse";
export type Id<P extends IdPrefix> = `${P}_${string}`;

export type SessionId = Id<"ses">;
export type RunId = Id<"run">;
export type DecisionId = Id<"dec">;
export type ApprovalId = Id<"apr">;
export type TokenId = Id<"tok">;
export type EntryId = Id<"ent">;
export type InterventionId = Id<"int">;
export type WebhookId = Id<"whk">;
export type DeliveryId = Id<"dlv">;
export type LeaseId = Id<"lse">;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Whether `text` is an id with this prefix. A client may make decision ids, and any RFC 9562 UUID will do there. */
export const isId = <P extends IdPrefix>(prefix: P, text: string): text is Id<P> =>
  text.startsWith(`${prefix}_`) && UUID.test(text.slice(prefix.length + 1));

/** Makes an id from an instant and ten random bytes (later bytes are ignored). */
export const idOf = <P extends IdPrefix>(prefix: P, now: Instant, random: Uint8Array): Id<P> =>
  idFromRandom(prefix, now, hex(random.subarray(0, ID_DIGITS / 2)));

/** So many random hexadecimal digits an id needs. */
export const ID_DIGITS = 20;

/** Makes an id from an instant and as many random hexadecimal digits as `ID_DIGITS` says. */
export const idFromRandom = <P extends IdPrefix>(prefix: P, now: Instant, digits: string): Id<P> =>
  shaped(prefix, Math.max(0, now).toString(16).padStart(12, "0").slice(-12) + digits);

/** Makes an id from at least 32 hexadecimal digits of a digest: the same digest gives the same id, so that a repeated request names the same thing. */
export const idFromDigest = <P extends IdPrefix>(prefix: P, digestHex: string): Id<P> => shaped(prefix, digestHex.slice(0, 32));

function shaped<P extends IdPrefix>(prefix: P, digits: string): Id<P> {
  const variant = ((Number.parseInt(digits.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return `${prefix}_${digits.slice(0, 8)}-${digits.slice(8, 12)}-7${digits.slice(13, 16)}-${variant}${digits.slice(17, 20)}-${digits.slice(20, 32)}`;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hex(bytes: Uint8Array): string {
  let digits = "";
  for (const byte of bytes) digits += HEX[byte];
  return digits;
}
