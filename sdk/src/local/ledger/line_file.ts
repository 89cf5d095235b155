import { parsedLine } from "./chain.ts";
import type { Files } from "./files.ts";
import type { LedgerLine } from "./line.ts";

/** Reading a file of lines without reading all of it: its last line from the end, and what comes after a place by halves. */

const CHUNK_BYTES = 64 * 1024;
const LINE_FEED = 0x0a;

export function readBytes(files: Files, fd: number, from: number, to: number): Uint8Array {
  const bytes = new Uint8Array(Math.max(0, to - from));
  let at = 0;
  while (at < bytes.length) {
    const read = files.readSync(fd, bytes, at, bytes.length - at, from + at);
    // Somebody cut it off meanwhile.
    if (read === 0) return bytes.subarray(0, at);
    at += read;
  }
  return bytes;
}

/** What stands at the end of a file: its last whole line, and the bytes behind it, which are half a line or none. */
export interface Tail {
  /** `null`: there is no whole line. */
  readonly last: string | null;
  readonly rest: Uint8Array;
}

/** The tail of what lies between two places, the first of which is the beginning of a line. */
export function tailOf(files: Files, fd: number, from: number, to: number): Tail {
  let start = to;
  let bytes: Uint8Array = new Uint8Array(0);
  while (start > from) {
    start = Math.max(from, start - Math.max(CHUNK_BYTES, bytes.length));
    bytes = readBytes(files, fd, start, to);
    const end = bytes.lastIndexOf(LINE_FEED);
    const before = end <= 0 ? -1 : bytes.lastIndexOf(LINE_FEED, end - 1);
    if (end !== -1 && (before !== -1 || start === from)) return { last: textOf(bytes.subarray(before + 1, end)), rest: bytes.subarray(end + 1) };
  }
  return { last: null, rest: bytes };
}

/** The first line of a file that can be read as one; `null`: there is none. */
export function firstLine(files: Files, fd: number, size: number): LedgerLine | null {
  for (const text of linesFrom(files, fd, 0, size)) {
    const line = parsedLine(text);
    if (line !== null) return line;
  }
  return null;
}

/** The lines after a `seq`, at most so many. What cannot be read as a line is passed over: to find it is the verifier's part. */
export function linesAfter(files: Files, fd: number, size: number, seq: number, most: number): readonly LedgerLine[] {
  const found: LedgerLine[] = [];
  for (const text of linesFrom(files, fd, startAfter(files, fd, size, seq), size)) {
    if (found.length >= most) break;
    const line = parsedLine(text);
    if (line !== null && line.seq > seq) found.push(line);
  }
  return found;
}

/** The beginning of a line at or before the first one after `seq`, and not far from it: lines stand in the order of their `seq`. */
function startAfter(files: Files, fd: number, size: number, seq: number): number {
  let low = 0;
  let high = size;
  while (high - low > 2 * CHUNK_BYTES) {
    const middle = Math.floor((low + high) / 2);
    const feed = lineFeedAfter(files, fd, middle, high);
    const end = feed === null ? null : lineFeedAfter(files, fd, feed + 1, size);
    const line = feed === null || end === null ? null : parsedLine(textOf(readBytes(files, fd, feed + 1, end)));
    if (feed !== null && line !== null && line.seq <= seq) low = feed + 1;
    else if (line !== null || feed === null) high = middle;
    // A line that cannot be read says nothing of its place: from here on everything is read.
    else return low;
  }
  return low;
}

function* linesFrom(files: Files, fd: number, from: number, to: number): Generator<string> {
  /** Where the line that is being read began. */
  let begin = from;
  for (let at = from; at < to; at += CHUNK_BYTES) {
    const chunk = readBytes(files, fd, at, Math.min(to, at + CHUNK_BYTES));
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, begin - at)) {
      // What began in an earlier piece is read again, whole: joining piece to piece takes the square of a long line's time.
      yield textOf(begin < at ? readBytes(files, fd, begin, at + end) : chunk.subarray(begin - at, end));
      begin = at + end + 1;
    }
  }
}

function lineFeedAfter(files: Files, fd: number, from: number, to: number): number | null {
  for (let at = from; at < to; at += CHUNK_BYTES) {
    const place = readBytes(files, fd, at, Math.min(to, at + CHUNK_BYTES)).indexOf(LINE_FEED);
    if (place !== -1) return at + place;
  }
  return null;
}

const textOf = (bytes: Uint8Array): string => new TextDecoder("utf-8", { fatal: false, ignoreBOM: true }).decode(bytes);
