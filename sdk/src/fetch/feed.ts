import { frameReader } from "./frames.ts";
import type { UsageReader } from "./usage.ts";

/** Listens to the bytes of an answer on their way to the caller. */
export interface Feed {
  /** What the caller gets for these bytes: mostly the same. */
  push(chunk: Uint8Array): readonly Uint8Array[];
  /** What the caller still gets at the end. */
  end(): readonly Uint8Array[];
}

/** More than any answer in one piece has that is told while it is made. A longer one is passed on, and its usage stays unknown. */
const MOST_CHARACTERS = 32 * 1024 * 1024;

/**
 * Hears of usage in a stream of events. `strips`: takes out the event that is only there because we asked for it; then an event is passed on once it has
 * ended, and otherwise at once.
 */
export function eventFeed(usage: UsageReader, strips: boolean): Feed {
  const frames = frameReader();
  const kept = (found: ReturnType<typeof frames.push>): readonly Uint8Array[] =>
    found.filter(({ data }) => !(data !== null && usage.event(jsonOrNot(data)) && strips)).map(({ bytes }) => bytes);
  return {
    push(chunk) {
      const passed = kept(frames.push(chunk));
      return strips ? passed : [chunk];
    },
    end() {
      const left = kept(frames.end());
      return strips ? left : [];
    },
  };
}

/** Hears of usage at the end of one JSON text. */
export function textFeed(usage: UsageReader): Feed {
  const decoder = new TextDecoder();
  let text = "";
  return {
    push(chunk) {
      if (text.length <= MOST_CHARACTERS) text += decoder.decode(chunk, { stream: true });
      return [chunk];
    },
    end() {
      usage.whole(jsonOrNot(text + decoder.decode()));
      return [];
    },
  };
}

function jsonOrNot(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Such as `[DONE]`. It says nothing.
    return undefined;
  }
}
