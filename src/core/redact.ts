import type { JsonValue } from "./json.ts";

export type Detector = "email" | "credit_card" | "private_key" | "token";

export const DETECTORS: readonly Detector[] = ["email", "credit_card", "private_key", "token"];

export type Keeping = "full" | "digest" | "none";

/**
 * Members whose values a policy hides that does not name any itself. Names of secrets only, each whole: a `token` may be a currency or a page, a `key` a
 * record's, `pwd` a directory and `pin_code` a town, and whoever approves must see those.
 */
export const DEFAULT_KEYS: readonly string[] = [
  ...["password", "passwd", "passphrase", "passcode", "new_password", "old_password", "current_password", "user_password", "db_password"],
  ...["secret", "client_secret", "app_secret", "api_secret", "signing_secret", "webhook_secret", "secret_key", "secret_access_key"],
  ...["aws_secret_access_key", "api_key", "x_api_key", "private_key", "api_token", "access_token", "refresh_token", "id_token", "auth_token"],
  ...["x_auth_token", "session_token", "bearer_token", "authorization", "proxy_authorization", "cookie", "set_cookie", "credentials"],
  ...["cvv", "cvv2", "cvc", "security_code", "pin", "otp", "ssn", "social_security_number", "seed_phrase"],
];

/** What a policy hides in texts that does not say: not addresses, for who approves a mail must see to whom it goes. */
export const DEFAULT_DETECTORS: readonly Detector[] = ["credit_card", "private_key"];

/** A policy's `redact` section, ready: plain data that crosses object RPC and is stored with a decision. */
export interface Redaction {
  readonly storeInputs: Keeping;
  readonly storeOutputs: Keeping;
  readonly keys: readonly string[];
  readonly detect: readonly Detector[];
}

/**
 * The value without what the redaction names; `count` is how many places were replaced.
 *
 * A member whose name is one of `keys` (whatever its case, `_` and `-`) has its whole value replaced by `"[redacted]"`, at any depth. What the
 * detectors find in strings, in the names of members and in whole numbers that are card numbers becomes `"[redacted:email]"` and so on.
 * Never throws; takes time linear in the value; done twice it changes nothing more; a value without a hit comes back as the same reference.
 * Two names of one object that become alike are told apart by `#2`, `#3`. What is nested deeper than 512 levels cannot be looked at and is replaced whole.
 */
export function redactJson(value: JsonValue, redaction: Redaction): { readonly value: JsonValue; readonly count: number } {
  const keys = plainKeys(redaction.keys);
  const tally = { count: 0 };
  return { value: redactValue(value, keys, redaction, tally, 0), count: tally.count };
}

/** The text without what the detectors find; `keys` play no part. Linear in the text. See {@link redactJson}. */
export function redactText(text: string, redaction: Pick<Redaction, "detect">): { readonly text: string; readonly count: number } {
  let clean = text;
  let count = 0;
  // What is cut out may free a neighbour that touched it, as a token's beginning is only seen after a character that is in no word. Seldom a second round.
  for (let round = 0; round < ROUNDS; round++) {
    const hits = hitsIn(clean, redaction.detect);
    if (hits.length === 0) break;
    clean = replaced(clean, hits);
    count += hits.length;
  }
  return { text: clean, count };
}

const ROUNDS = 16;
const DEEPEST = 512;
const WHOLE = "[redacted]";

/** A key as keys are compared: `api_key`, `apiKey` and `API-KEY` are one. */
export const plainKey = (key: string): string => key.replace(/[_-]/g, "").toLowerCase();

const plainKeys = (keys: readonly string[]): ReadonlySet<string> => (isDefault(keys) ? PLAIN_DEFAULT_KEYS : new Set(keys.map(plainKey)));

const PLAIN_DEFAULT_KEYS: ReadonlySet<string> = new Set(DEFAULT_KEYS.map(plainKey));

/** Most policies' keys are these, and to look is much cheaper than to make them plain at every decision. Over RPC they come as a copy. */
const isDefault = (keys: readonly string[]): boolean =>
  keys === DEFAULT_KEYS || (keys.length === DEFAULT_KEYS.length && keys.every((key, place) => key === DEFAULT_KEYS[place]));

type Tally = { count: number };

function redactValue(value: JsonValue, keys: ReadonlySet<string>, redaction: Redaction, tally: Tally, depth: number): JsonValue {
  if (typeof value === "string") return countedText(value, redaction, tally);
  if (typeof value === "number") return redactNumber(value, redaction, tally);
  if (value === null || typeof value !== "object") return value;
  if (depth >= DEEPEST) {
    tally.count++;
    return WHOLE;
  }
  // A readonly array is not narrowed by `Array.isArray`; what is neither null nor an array is an object.
  return Array.isArray(value)
    ? redactItems(value as readonly JsonValue[], keys, redaction, tally, depth + 1)
    : redactMembers(value as { readonly [key: string]: JsonValue }, keys, redaction, tally, depth + 1);
}

function countedText(text: string, redaction: Redaction, tally: Tally): string {
  const clean = redactText(text, redaction);
  tally.count += clean.count;
  return clean.text;
}

/**
 * A whole number that is a card number. Above 2^53 a parsed number has lost its last digits and with them the check digit: there, length and issuer suffice.
 */
function redactNumber(value: number, redaction: Redaction, tally: Tally): JsonValue {
  if (!redaction.detect.includes("credit_card") || !Number.isInteger(value)) return value;
  const digits = String(Math.abs(value));
  const isCard = /^[0-9]{13,19}$/.test(digits) && isIssued(digits) && (!Number.isSafeInteger(value) || passesLuhn(digits));
  if (!isCard) return value;
  tally.count++;
  return marker("credit_card");
}

function redactItems(items: readonly JsonValue[], keys: ReadonlySet<string>, redaction: Redaction, tally: Tally, depth: number): JsonValue {
  let changed = false;
  const clean = items.map((item) => {
    const kept = redactValue(item, keys, redaction, tally, depth);
    changed ||= !Object.is(kept, item);
    return kept;
  });
  return changed ? clean : items;
}

function redactMembers(
  object: { readonly [key: string]: JsonValue },
  keys: ReadonlySet<string>,
  redaction: Redaction,
  tally: Tally,
  depth: number,
): JsonValue {
  let changed = false;
  let renamed = false;
  const members = Object.entries(object).map(([name, value]): [name: string, value: JsonValue, was: string] => {
    const newName = countedText(name, redaction, tally);
    const kept = keys.has(plainKey(name)) ? redactWhole(value, tally) : redactValue(value, keys, redaction, tally, depth);
    renamed ||= newName !== name;
    changed ||= newName !== name || !Object.is(kept, value);
    return [newName, kept, name];
  });
  if (!changed) return object;
  // `fromEntries` defines members rather than setting them: a member called `__proto__` stays one.
  return Object.fromEntries(renamed ? toldApart(members) : members.map(([name, value]) => [name, value]));
}

function redactWhole(value: JsonValue, tally: Tally): JsonValue {
  if (value !== WHOLE) tally.count++;
  return WHOLE;
}

/** The members with names that differ; names that were not changed are never taken from their owners. */
function toldApart(members: readonly (readonly [name: string, value: JsonValue, was: string])[]): [string, JsonValue][] {
  const taken = new Set(members.filter(([name, , was]) => name === was).map(([name]) => name));
  const next = new Map<string, number>();
  return members.map(([name, value, was]) => {
    if (name === was) return [name, value];
    let free = name;
    let n = next.get(name) ?? 2;
    while (taken.has(free)) free = `${name}#${n++}`;
    next.set(name, n);
    taken.add(free);
    return [free, value];
  });
}

/** A stretch of text to be replaced, from `start` up to and without `end`. */
type Hit = { readonly start: number; readonly end: number; readonly detector: Detector };

const marker = (detector: Detector): string => `[redacted:${detector}]`;

function replaced(text: string, hits: readonly Hit[]): string {
  const parts: string[] = [];
  let at = 0;
  for (const { start, end, detector } of hits) {
    parts.push(text.slice(at, start), marker(detector));
    at = end;
  }
  parts.push(text.slice(at));
  return parts.join("");
}

/** What the detectors find, in order and apart: hits that overlap are one, named by the graver. */
function hitsIn(text: string, detect: readonly Detector[]): readonly Hit[] {
  if (text.length < SHORTEST) return [];
  const tokens = detect.includes("token") ? tokensIn(text) : [];
  const hits = [...tokens];
  if (detect.includes("private_key")) for (const hit of privateKeysIn(text)) hits.push(hit);
  if (detect.includes("credit_card")) for (const hit of cardsIn(text)) hits.push(hit);
  if (detect.includes("email")) for (const hit of emailsIn(text, new Set(tokens.map(({ end }) => end)))) hits.push(hit);
  if (hits.length < 2) return hits;
  hits.sort((a, b) => a.start - b.start);
  const merged: Hit[] = [];
  for (const hit of hits) {
    const last = merged.at(-1);
    if (last === undefined || hit.start >= last.end) merged.push(hit);
    else merged[merged.length - 1] = { start: last.start, end: Math.max(last.end, hit.end), detector: graver(last.detector, hit.detector) };
  }
  return merged;
}

/** The shortest thing any detector knows is an address such as `a@b.io`. */
const SHORTEST = 6;

const GRAVITY: { readonly [detector in Detector]: number } = { email: 0, credit_card: 1, token: 2, private_key: 3 };

const graver = (a: Detector, b: Detector): Detector => (GRAVITY[a] >= GRAVITY[b] ? a : b);

// ---- Addresses. Every `@` is looked at once, and from it to the left and to the right up to what no address holds: nothing is read more than twice.

const ATOM = /[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]/;
const DOMAIN = /[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*/y;
const DOMAIN_BEYOND_ASCII = /[\p{L}\p{M}\p{N}-]+(?:\.[\p{L}\p{M}\p{N}-]+)*/uy;
const ADDRESS_LITERAL = /\[(?:IPv6:)?[0-9A-Fa-f:.]{2,45}\]/y;
/** `pkg@1.2.3-beta.rc` is a version, not a host. */
const VERSION = /^[0-9]+\.[0-9]+\.[0-9]+(?:[.-]|$)/;

function* emailsIn(text: string, credentialEnds: ReadonlySet<number>): Generator<Hit> {
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    // In `https://user:password@host` the sign belongs to the credentials.
    if (credentialEnds.has(at)) continue;
    const end = endOfHost(text, at + 1);
    if (end === null) continue;
    const start = startOfLocalPart(text, at);
    if (start < at) yield { start, end, detector: "email" };
  }
}

function startOfLocalPart(text: string, at: number): number {
  // One quotation mark alone opens nothing.
  if (at > 1 && text[at - 1] === '"') {
    const open = text.lastIndexOf('"', at - 2);
    if (open !== -1 && at - open <= 66) return open;
  }
  let start = at;
  while (start > 0 && ATOM.test(text.charAt(start - 1))) start--;
  const local = text.slice(start, at);
  // A slash may stand in an address, but a path that ends in `@name` is none: of what looks like a path only the last segment counts.
  if (local.startsWith("/") || local.endsWith("/") || local.includes("//")) start += local.lastIndexOf("/") + 1;
  const dots = text.slice(start, at).lastIndexOf("..");
  if (dots !== -1) start += dots + 2;
  while (start < at && text[start] === ".") start++;
  return start;
}

function endOfHost(text: string, from: number): number | null {
  const literal = matchAt(ADDRESS_LITERAL, text, from);
  if (literal !== null) return from + literal.length;
  const ascii = matchAt(DOMAIN, text, from);
  const end = ascii === null ? null : endOfDomain(ascii, /^(?:xn--[A-Za-z0-9-]*[A-Za-z0-9]|[A-Za-z]{2,}(?![A-Za-z0-9]))/);
  if (end !== null) return from + end;
  const wide = matchAt(DOMAIN_BEYOND_ASCII, text, from);
  if (wide === null || wide === ascii) return null;
  const wideEnd = endOfDomain(wide, /^(?:\p{L}\p{M}*){2,}(?![\p{L}\p{M}\p{N}])/u);
  return wideEnd === null ? null : from + wideEnd;
}

/** The length of the longest beginning of the labels whose last is a top-level domain. */
function endOfDomain(domain: string, topLevel: RegExp): number | null {
  if (VERSION.test(domain)) return null;
  const labels = domain.split(".");
  for (let last = labels.length - 1, end = domain.length; last > 0; last--) {
    const label = labels[last] ?? "";
    const found = topLevel.exec(label);
    if (found !== null && !labels[last - 1]?.endsWith("-")) return end - label.length + found[0].length;
    end -= label.length + 1;
  }
  return null;
}

function matchAt(sticky: RegExp, text: string, at: number): string | null {
  sticky.lastIndex = at;
  return sticky.exec(text)?.[0] ?? null;
}

// ---- Card numbers: 13 to 19 digits of a known issuer that pass the Luhn check, in one run or in groups as cards print them.

const DIGIT_GROUPS = /[0-9]+(?:[ -][0-9]+)*/g;

/** An issuer's first digits, from and to, and the lengths of its numbers. */
const ISSUERS: readonly (readonly [from: string, to: string, shortest: number, longest: number])[] = [
  ["4", "4", 13, 13],
  ["4", "4", 16, 16],
  ["4", "4", 19, 19], // Visa
  ["51", "55", 16, 16],
  ["2221", "2720", 16, 16], // Mastercard
  ["34", "34", 15, 15],
  ["37", "37", 15, 15], // American Express
  ["300", "305", 14, 19],
  ["3095", "3095", 14, 19],
  ["36", "36", 14, 19],
  ["38", "39", 14, 19], // Diners Club
  ["3528", "3589", 16, 19], // JCB
  ["6011", "6011", 16, 19],
  ["644", "659", 16, 19], // Discover, RuPay
  ["62", "62", 16, 19],
  ["81", "81", 16, 19], // UnionPay
  ["50", "50", 13, 19],
  ["56", "58", 13, 19],
  ["60", "61", 13, 19],
  ["63", "63", 13, 19],
  ["66", "69", 13, 19], // Maestro, Verve, RuPay
  ["2200", "2204", 16, 19], // Mir
  ["82", "82", 16, 16], // RuPay
  ["9792", "9792", 16, 16], // Troy
];

/** Whether there are so many digits at all: most texts have no number, and are passed over at once. */
function hasDigits(text: string, least: number): boolean {
  let found = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit >= 0x30 && unit <= 0x39 && ++found === least) return true;
  }
  return false;
}

const FEWEST_CARD_DIGITS = 13;

/** A UUID, or 24 hexadecimal digits or more with a letter among them: of such ids and digests one in some hundred has the digits of a card by chance. */
const HEX_CODES = /(?<![0-9a-z])(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[0-9]*[a-f])[0-9a-f]{24,})(?![0-9a-z])/gi;

function* cardsIn(text: string): Generator<Hit> {
  if (!hasDigits(text, FEWEST_CARD_DIGITS)) return;
  let codes: readonly Pick<Hit, "start" | "end">[] | null = null;
  let next = 0;
  for (const { 0: chain, index } of text.matchAll(DIGIT_GROUPS)) {
    if (chain.length < FEWEST_CARD_DIGITS) continue;
    const groups = groupsOf(chain);
    for (let first = 0; first < groups.length; first++) {
      const end = endOfCard(groups, first);
      if (end === null) continue;
      const hit: Hit = { start: index + (groups[first]?.at ?? 0), end: index + end, detector: "credit_card" };
      codes ??= Array.from(text.matchAll(HEX_CODES), ({ 0: code, index: at }) => ({ start: at, end: at + code.length }));
      // Both come in the order of the text.
      while ((codes[next]?.end ?? text.length) < hit.end) next++;
      if ((codes[next]?.start ?? text.length) > hit.start) yield hit;
    }
  }
}

type Group = { readonly at: number; readonly digits: string };

function groupsOf(chain: string): readonly Group[] {
  const groups: Group[] = [];
  let at = 0;
  for (const digits of chain.split(/[ -]/)) {
    groups.push({ at, digits });
    at += digits.length + 1;
  }
  return groups;
}

/**
 * Where the longest card number that begins with this group ends. Of several groups the first has four digits or more and those between have three or
 * more, as on cards: small numbers in a row are no card. At most nineteen digits are looked at.
 */
function endOfCard(groups: readonly Group[], first: number): number | null {
  let digits = "";
  let end: number | null = null;
  for (let last = first; last < groups.length; last++) {
    const group = groups[last];
    if (group === undefined || digits.length + group.digits.length > 19) break;
    digits += group.digits;
    if (digits.length >= FEWEST_CARD_DIGITS && isIssued(digits) && passesLuhn(digits)) end = group.at + group.digits.length;
    if (group.digits.length < (last === first ? 4 : 3)) break;
  }
  return end;
}

const isIssued = (digits: string): boolean =>
  ISSUERS.some(([from, to, shortest, longest]) => {
    const head = digits.slice(0, from.length);
    return head >= from && head <= to && digits.length >= shortest && digits.length <= longest;
  });

function passesLuhn(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - 48;
    const weighed = i % 2 === 0 ? digit : digit * 2;
    sum += weighed > 9 ? weighed - 9 : weighed;
  }
  return sum % 10 === 0;
}

// ---- Private keys, from the line that begins the block to the line that ends it, or to the end of the text where that is missing.

const KEY_BEGINS = /-{4,5} ?BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|PuTTY-User-Key-File-[0-9]|AGE-SECRET-KEY-1[A-Z0-9]{10,}/g;
const KEY_ENDS = /-{4,5} ?END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}/g;
const PUTTY_ENDS = /Private-MAC: ?[0-9A-Fa-f]+/g;

function* privateKeysIn(text: string): Generator<Hit> {
  KEY_BEGINS.lastIndex = 0;
  for (let begin = KEY_BEGINS.exec(text); begin !== null; begin = KEY_BEGINS.exec(text)) {
    const end = endOfKey(text, begin[0], KEY_BEGINS.lastIndex);
    yield { start: begin.index, end, detector: "private_key" };
    KEY_BEGINS.lastIndex = end;
  }
}

function endOfKey(text: string, begin: string, from: number): number {
  if (begin.startsWith("AGE-")) return from;
  const ends = begin.startsWith("PuTTY") ? PUTTY_ENDS : KEY_ENDS;
  ends.lastIndex = from;
  return ends.exec(text) === null ? text.length : ends.lastIndex;
}

// ---- Tokens, by the prefixes their issuers publish. Every part begins with a literal and ends in a run that nothing follows: no way back to try again.

/** Not within a word; an escaped line break or tab, two characters, is no part of a word. */
const OUTSIDE_A_WORD = String.raw`(?<=^|[^A-Za-z0-9]|\\[nrt])`;

const TOKENS: readonly string[] = [
  // GitHub; since 2026 an installation token holds a JWT.
  "gh[opru]_[A-Za-z0-9]{36}[A-Za-z0-9_]*",
  String.raw`ghs_[A-Za-z0-9_]{36}[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){0,2}`,
  String.raw`ghs_[0-9]+_eyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){0,2}`,
  "github_pat_[A-Za-z0-9_]{22,}",
  // GitLab, npm, PyPI, Hugging Face.
  String.raw`gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_-]{20}[A-Za-z0-9_-]*(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?`,
  "npm_[A-Za-z0-9]{36,}",
  "pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{20,}",
  "hf_[A-Za-z0-9]{30,}",
  // Anthropic; OpenAI, OpenRouter and others who took `sk-`; xAI, Groq, Perplexity, Replicate.
  "sk-ant-[A-Za-z0-9_-]{16,}",
  "sk-(?:proj|svcacct|admin|None|or-v1|lf)-[A-Za-z0-9_-]{16,}",
  "sk-[A-Za-z0-9]{20}[A-Za-z0-9_-]*",
  "xai-[A-Za-z0-9]{32,}",
  "gsk_[A-Za-z0-9]{32,}",
  "pplx-[A-Za-z0-9]{32,}",
  "r8_[A-Za-z0-9]{37,}",
  // Amazon Web Services, key ids.
  "A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])",
  // Google: API keys, OAuth tokens and client secrets.
  "AIza[A-Za-z0-9_-]{35,}",
  String.raw`ya29\.[A-Za-z0-9_-]{20,}`,
  "GOCSPX-[A-Za-z0-9_-]{24,}",
  // Slack: tokens, and webhooks, whose path is the secret.
  String.raw`xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9%-]{10,}`,
  "xapp-[0-9]-[A-Za-z0-9-]{16,}",
  String.raw`hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{16,}`,
  // Stripe, SendGrid, Shopify, DigitalOcean.
  "[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}",
  "whsec_[A-Za-z0-9+/]{24,}={0,2}",
  String.raw`SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,}`,
  "shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}",
  "do[opr]_v1_[a-f0-9]{64}",
];

/** In `Authorization: Bearer …` and the like only what follows the scheme is secret. A scheme's name in prose is followed by words, not by these. */
const CREDENTIALS: readonly string[] = [
  // Twenty characters or more, or six and more with a digit among the first twenty.
  String.raw`(?<=\b[Bb](?:earer|EARER)(?: {1,4}|%20|\+|\t))(?:[A-Za-z0-9._~+/-]{20}|(?=[A-Za-z._~+/-]{0,19}[0-9])[A-Za-z0-9._~+/-]{6})[A-Za-z0-9._~+/=-]*`,
  String.raw`(?<=[Aa](?:uthorization|UTHORIZATION)\\?["']?[:=] {0,4}\\?["']?(?:[Bb](?:asic|ASIC|earer|EARER)|[Tt]oken) {1,4})[A-Za-z0-9._~+/-]{4}[A-Za-z0-9._~+/=-]*`,
];

const KNOWN_TOKEN = new RegExp(`${OUTSIDE_A_WORD}(?:${TOKENS.join("|")})|${CREDENTIALS.join("|")}`, "g");

function tokensIn(text: string): readonly Hit[] {
  const hits: Hit[] = [];
  for (const { 0: token, index } of text.matchAll(KNOWN_TOKEN)) hits.push({ start: index, end: index + token.length, detector: "token" });
  for (const hit of jwtsIn(text)) hits.push(hit);
  for (const hit of urlCredentialsIn(text)) hits.push(hit);
  return hits;
}

const BASE64URL_RUN = /[A-Za-z0-9_-]+/y;

/** Three base64url parts that begin with `{"`. Of a run of these characters only the first beginning counts: the rest lies within it. */
function* jwtsIn(text: string): Generator<Hit> {
  for (let start = text.indexOf("eyJ"); start !== -1; ) {
    const header = matchAt(BASE64URL_RUN, text, start) ?? "";
    let end = start + header.length;
    const payload = text[end] === "." ? matchAt(BASE64URL_RUN, text, end + 1) : null;
    const isJwt = header.length >= 10 && payload !== null && payload.length >= 4 && text[end + 1 + payload.length] === ".";
    if (isJwt) {
      end += 1 + payload.length + 1;
      // The signature of an unsecured one is empty; an encrypted one has five parts.
      for (let part = 0; part < 3; part++) {
        end += matchAt(BASE64URL_RUN, text, end)?.length ?? 0;
        if (part === 2 || text[end] !== "." || matchAt(BASE64URL_RUN, text, end + 1) === null) break;
        end++;
      }
      yield { start, end, detector: "token" };
    }
    start = text.indexOf("eyJ", end);
  }
}

const AUTHORITY = /[^/\\?#\s"'<>`]*/y;
const MARKER = /^\[redacted:[a-z_]+\]$/;

/** `user:password` in `scheme://user:password@host`. The host stays. */
function* urlCredentialsIn(text: string): Generator<Hit> {
  for (let at = text.indexOf("://"); at !== -1; at = text.indexOf("://", at + 3)) {
    const start = at + 3;
    const authority = matchAt(AUTHORITY, text, start) ?? "";
    const end = authority.lastIndexOf("@");
    const colon = authority.indexOf(":");
    if (end !== -1 && colon !== -1 && colon + 1 < end && !MARKER.test(authority.slice(0, end))) yield { start, end: start + end, detector: "token" };
  }
}
