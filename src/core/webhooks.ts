import { type LedgerEvent, type Place, placeAfter } from "./events.ts";
import { err, ok, type Result } from "./result.ts";
import type { Instant } from "./time.ts";

/** Webhooks as Standard Webhooks 1.0 has them: what is sent, how it is signed, and when it is tried again. */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** The wait after the first, the second, … attempt that failed. After the last of them there is none: the delivery is dead. */
export const RETRY_DELAYS_MS: readonly number[] = [
  5_000,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  5 * HOUR_MS,
  10 * HOUR_MS,
  14 * HOUR_MS,
  20 * HOUR_MS,
  DAY_MS,
];
export const MOST_ATTEMPTS = RETRY_DELAYS_MS.length + 1;
/** A wait is longer by up to this part of it, by chance: what failed together is not tried again together. Never shorter. */
const JITTER = 0.2;
/** A receiver may ask for a longer wait, and for no longer one than this. */
const MOST_RETRY_AFTER_MS = DAY_MS;
/** Who has answered nothing well for so long is sent nothing more until a person says so. */
export const GIVEN_UP_AFTER_MS = 5 * DAY_MS;
/** So long a secret goes on signing beside the one that took its place. */
export const OLD_SECRET_SIGNS_MS = DAY_MS;

/** What a receiver answered, or why there is no answer. */
export type Answer = { readonly status: number; readonly retryAfter: string | null } | { readonly fault: string };

/** What came of an attempt. `retryAt`: `null` where it was the last. `gone`: the receiver wants nothing more, ever. */
export type Outcome =
  | { readonly kind: "delivered"; readonly status: number }
  | { readonly kind: "failed" | "gone"; readonly status: number | null; readonly error: string; readonly retryAt: Instant | null };

/** Judges the `attempts`-th attempt, which ended `now`. `chance`: from 0 to 1. */
export function outcomeOf(answer: Answer, attempts: number, now: Instant, chance: number): Outcome {
  if ("fault" in answer) return { kind: "failed", status: null, error: answer.fault, retryAt: retryAt(attempts, null, now, chance) };
  const { status } = answer;
  if (status >= 200 && status < 300) return { kind: "delivered", status };
  const redirects = status >= 300 && status < 400;
  const error = redirects ? `answered ${status}: redirects are not followed` : `answered ${status}`;
  return { kind: status === 410 ? "gone" : "failed", status, error, retryAt: retryAt(attempts, answer.retryAfter, now, chance) };
}

function retryAt(attempts: number, retryAfter: string | null, now: Instant, chance: number): Instant | null {
  const delayMs = RETRY_DELAYS_MS[attempts - 1];
  if (delayMs === undefined) return null;
  const askedMs = Math.min(retryAfterMs(retryAfter, now), MOST_RETRY_AFTER_MS);
  return now + Math.max(Math.round(delayMs * (1 + JITTER * chance)), askedMs);
}

/** A `Retry-After` (RFC 9110 section 10.2.3) as a wait from now; 0 for none, for one that is past, and for what is no such thing. */
function retryAfterMs(text: string | null, now: Instant): number {
  if (text === null) return 0;
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) return 0;
  const at = Date.parse(text);
  return Number.isNaN(at) ? 0 : Math.max(0, at - now);
}

/** Base64 of an HMAC with SHA-256. Handed in by the shell: the core imports no cryptography. */
export type Hmac = (key: Uint8Array, text: string) => string;

/** What is sent of an event. The same event gives the same body. */
export const bodyOf = (event: LedgerEvent): string => JSON.stringify({ type: event.type, timestamp: event.at, data: event });

/** The headers of one attempt: one signature for each secret, so that whoever knows any of them can verify. */
export function headersOf(
  hmac: Hmac,
  { id, body, secrets }: { readonly id: string; readonly body: string; readonly secrets: readonly Uint8Array[] },
  now: Instant,
): { readonly [name: string]: string } {
  const timestamp = String(Math.floor(now / 1000));
  return {
    "content-type": "application/json",
    "user-agent": "AgentSentinel-Webhooks/1",
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    "webhook-signature": secrets.map((secret) => `v1,${hmac(secret, `${id}.${timestamp}.${body}`)}`).join(" "),
  };
}

const LEAST_SECRET_BYTES = 24;
const MOST_SECRET_BYTES = 64;
const SECRET = /^whsec_((?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)$/;
export const SECRET_WANTED = `whsec_ and the base64 of ${LEAST_SECRET_BYTES} to ${MOST_SECRET_BYTES} bytes`;

/** The bytes of a secret as it is written. The error says what is wrong and nothing of the secret. */
export function parseSecret(text: string): Result<Uint8Array, string> {
  const base64 = SECRET.exec(text)?.[1];
  if (base64 === undefined) return err(`wanted ${SECRET_WANTED}`);
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return bytes.length >= LEAST_SECRET_BYTES && bytes.length <= MOST_SECRET_BYTES
    ? ok(bytes)
    : err(`found ${bytes.length} bytes; wanted ${SECRET_WANTED}`);
}

export const secretOf = (bytes: Uint8Array): string => `whsec_${btoa(String.fromCharCode(...bytes))}`;

/** The place of the event with this id; `null`: no event has such an id. */
export function placeNamed(id: string): Place | null {
  const after = placeAfter(id);
  return after === null ? null : { index: after.index, part: after.part - 1 };
}
