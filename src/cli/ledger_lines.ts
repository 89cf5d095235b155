import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { Stop } from "./command_line.ts";
import { whyNot } from "./files.ts";

/** A ledger of JSON Lines is read line by line: it may be longer than memory. */

export interface Line {
  /** `null`: its bytes are no UTF-8. */
  readonly text: string | null;
  /** From 1. */
  readonly number: number;
  /** Whether a line feed ends it. Only the last line may be without one: whoever wrote it may have been stopped half-way. */
  readonly isEnded: boolean;
  /** How much of the file has been read with this line; `null` where nobody knows how long it is. */
  readonly part: number | null;
}

const FEED = 0x0a;
const CHUNK_BYTES = 1 << 20;

/** What a ledger is called when it is talked about. */
export const shownName = (name: string): string => (name === "-" ? "(standard input)" : name);

/** The lines of a file (a packed one too), or of standard input for `-`, as they were written: only line feeds end them. */
export function* linesOf(name: string, directory: string): Generator<Line, void, void> {
  if (name.endsWith(".gz")) return yield* split(unpacked(name, directory), null);
  const fd = opened(name, directory);
  try {
    yield* split(chunksOf(fd, name), name === "-" ? null : fstatSync(fd).size);
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}

function* split(chunks: Iterable<Uint8Array>, bytes: number | null): Generator<Line, void, void> {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let parts: Uint8Array[] = [];
  let [number, read] = [0, 0];
  const line = (isEnded: boolean): Line => {
    const whole = parts.length === 1 ? (parts[0] ?? new Uint8Array()) : Buffer.concat(parts);
    parts = [];
    number++;
    read += whole.length + (isEnded ? 1 : 0);
    return { text: decoded(decoder, whole), number, isEnded, part: bytes === null || bytes === 0 ? null : Math.min(1, read / bytes) };
  };
  for (const chunk of chunks) {
    let from = 0;
    for (let at = chunk.indexOf(FEED); at >= 0; at = chunk.indexOf(FEED, from)) {
      parts.push(chunk.subarray(from, at));
      yield line(true);
      from = at + 1;
    }
    if (from < chunk.length) parts.push(chunk.subarray(from));
  }
  if (parts.length > 0) yield line(false);
}

/** A packed file is unpacked as a whole. */
function* unpacked(name: string, directory: string): Generator<Uint8Array, void, void> {
  try {
    yield gunzipSync(readFileSync(path.resolve(directory, name)));
  } catch (fault) {
    throw new Stop(`${name} cannot be read: ${whyNot(fault)}`);
  }
}

function* chunksOf(fd: number, name: string): Generator<Uint8Array, void, void> {
  for (let chunk = chunkOf(fd, name); chunk.length > 0; chunk = chunkOf(fd, name)) yield chunk;
}

function opened(name: string, directory: string): number {
  if (name === "-") return 0;
  try {
    return openSync(path.resolve(directory, name), "r");
  } catch (fault) {
    throw new Stop(`${name} cannot be read: ${whyNot(fault)}`);
  }
}

const MOMENT_MS = 10;
const clock = new Int32Array(new SharedArrayBuffer(4));

/** The next bytes; none at the end. */
function chunkOf(fd: number, name: string): Uint8Array {
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    try {
      return chunk.subarray(0, readSync(fd, chunk));
    } catch (fault) {
      const code = fault instanceof Error && "code" in fault ? fault.code : null;
      if (code === "EOF") return chunk.subarray(0, 0);
      // A pipe that somebody made non-blocking has nothing to say yet.
      if (code !== "EAGAIN") throw new Stop(`${shownName(name)} cannot be read: ${whyNot(fault)}`);
      Atomics.wait(clock, 0, 0, MOMENT_MS);
    }
  }
}

function decoded(decoder: { readonly decode: (bytes: Uint8Array) => string }, bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch {
    return null;
  }
}
