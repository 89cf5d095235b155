/** Server-Sent Events (WHATWG HTML section 9.2.6) as bytes: each event with just the bytes it came in, so that what is passed on is what came. */

export interface Frame {
  /** All of it, the empty line at its end included. */
  readonly bytes: Uint8Array;
  /** Its data. `null`: it has none, or it was too long to be looked at. */
  readonly data: string | null;
}

/** More than any event has. What goes on longer is passed on, and not looked at. */
const MOST_BYTES = 16 * 1024 * 1024;

const LF = 10;
const CR = 13;

export interface FrameReader {
  /** What came to its end with these bytes, wherever the stream is cut. */
  push(chunk: Uint8Array): readonly Frame[];
  /** What is left at the end of the stream: no event, because nothing ended it. */
  end(): readonly Frame[];
}

export function frameReader(mostBytes = MOST_BYTES): FrameReader {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let lineIsEmpty = true;
  let afterCr = false;
  let isFirst = true;
  /** Within an event whose beginning was passed on already. */
  let isTooLong = false;

  const cut = (isEvent: boolean): Frame => {
    const bytes = joined(held, heldBytes);
    const data = isEvent && !isTooLong ? dataOf(bytes, isFirst) : null;
    held = [];
    heldBytes = 0;
    isFirst = false;
    return { bytes, data };
  };
  const hold = (bytes: Uint8Array): void => {
    if (bytes.length === 0) return;
    held.push(bytes);
    heldBytes += bytes.length;
  };

  return {
    push(chunk) {
      const frames: Frame[] = [];
      let from = 0;
      for (let at = 0; at < chunk.length; at++) {
        const byte = chunk[at];
        const endsLine = byte === CR || (byte === LF && !afterCr);
        // The second half of a line end that was seen: it begins what follows, and says nothing.
        const isRest = byte === LF && afterCr;
        afterCr = byte === CR;
        if (isRest) continue;
        if (endsLine && lineIsEmpty) {
          hold(chunk.subarray(from, at + 1));
          frames.push(cut(true));
          isTooLong = false;
          from = at + 1;
        }
        lineIsEmpty = endsLine;
      }
      hold(chunk.subarray(from));
      if (heldBytes > mostBytes) {
        isTooLong = true;
        frames.push(cut(false));
      }
      return frames;
    },
    end: () => (heldBytes === 0 ? [] : [cut(false)]),
  };
}

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return only;
  const all = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The decoder takes a byte order mark away, which only the first event may begin with. */
function dataOf(bytes: Uint8Array, isFirst: boolean): string | null {
  const lines = new TextDecoder("utf-8", { fatal: false, ignoreBOM: !isFirst }).decode(bytes).split(/\r\n|\n|\r/);
  const data = lines.filter((line) => /^data(:|$)/.test(line)).map((line) => line.replace(/^data:? ?/, ""));
  return data.length === 0 ? null : data.join("\n");
}
