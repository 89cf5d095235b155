import { builtin } from "./builtin.ts";

/** SHA-256 of a UTF-8 text as 64 hexadecimal digits, at once: browsers and Workers offer it only as a promise, and a guard does not wait. */
export const sha256: (text: string) => string = nativeSha256() ?? computedSha256;

/** The runtime's own where it has one that does not wait. */
function nativeSha256(): ((text: string) => string) | null {
  const crypto = builtin<{ readonly createHash?: (name: string) => NodeHash }>("node:crypto");
  const createHash = crypto?.createHash;
  return createHash === undefined ? null : (text) => createHash("sha256").update(text, "utf8").digest("hex");
}

interface NodeHash {
  update(text: string, encoding: "utf8"): NodeHash;
  digest(encoding: "hex"): string;
}

/** FIPS 180-4, section 6.2. */
export function computedSha256(text: string): string {
  const bytes = padded(new TextEncoder().encode(text));
  const view = new DataView(bytes.buffer);
  const hash = START.slice();
  const words = new Int32Array(64);
  for (let at = 0; at < bytes.length; at += 64) {
    for (let place = 0; place < 16; place++) words[place] = view.getInt32(at + 4 * place);
    for (let place = 16; place < 64; place++) {
      const early = word(words, place - 15);
      const late = word(words, place - 2);
      words[place] =
        word(words, place - 16) +
        (turned(early, 7) ^ turned(early, 18) ^ (early >>> 3)) +
        word(words, place - 7) +
        (turned(late, 17) ^ turned(late, 19) ^ (late >>> 10));
    }
    compress(hash, words);
  }
  let hex = "";
  for (const part of hash) hex += (part >>> 0).toString(16).padStart(8, "0");
  return hex;
}

function compress(hash: Int32Array, words: Int32Array): void {
  let a = word(hash, 0);
  let b = word(hash, 1);
  let c = word(hash, 2);
  let d = word(hash, 3);
  let e = word(hash, 4);
  let f = word(hash, 5);
  let g = word(hash, 6);
  let h = word(hash, 7);
  for (let round = 0; round < 64; round++) {
    const first = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + ((e & f) ^ (~e & g)) + word(ROUNDS, round) + word(words, round)) | 0;
    const second = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  for (const [place, part] of [a, b, c, d, e, f, g, h].entries()) hash[place] = word(hash, place) + part;
}

/** The message, a one bit, zeros, and its length in bits: a whole number of blocks. */
function padded(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  bytes.set(message);
  bytes[message.length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setUint32(bytes.length - 8, Math.floor(message.length / 0x2000_0000));
  view.setUint32(bytes.length - 4, (message.length << 3) >>> 0);
  return bytes;
}

const turned = (value: number, by: number): number => (value >>> by) | (value << (32 - by));
const word = (words: Int32Array, place: number): number => words[place] ?? 0;

/** The first 32 bits of the fractional parts of the square roots (`2`) or cube roots (`3`) of the first primes. */
function rootsOfPrimes(count: number, root: 2 | 3): Int32Array {
  const found: number[] = [];
  for (let candidate = 2; found.length < count; candidate++) if (found.every((prime) => candidate % prime !== 0)) found.push(candidate);
  return Int32Array.from(found, (prime) => {
    const exact = root === 2 ? Math.sqrt(prime) : Math.cbrt(prime);
    return Math.floor((exact - Math.floor(exact)) * 0x1_0000_0000) | 0;
  });
}

const START = rootsOfPrimes(8, 2);
const ROUNDS = rootsOfPrimes(64, 3);
