import { ShapeFault } from "./read.ts";

/** Server-Sent Events (WHATWG HTML section 9.2.6), from text to messages. Its `retry` is passed over: when to come back is said here. */

export interface Message {
  /** Of the last message that had one; `""`: none had. */
  readonly id: string;
  /** `""`: it says nothing, but that the stream lives. */
  readonly data: string;
}

/** More than any event has. A stream that never ends a line must not fill the memory. */
const MOST_CHARACTERS = 1_000_000;

/** Reads a stream's text piece by piece, wherever it is cut; gives each message once its end was read. Throws a `ShapeFault` for one without end. */
export function messageReader(): (text: string) => readonly Message[] {
  let rest = "";
  let id = "";
  let data = "";
  return (text) => {
    // A carriage return at the end may be half a line end.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    const messages: Message[] = [];
    for (const line of lines) {
      if (line === "") {
        messages.push({ id, data });
        data = "";
      }
      // A line without a colon is a name alone, and one that begins with it is a comment.
      const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === "data") data += `${value}\n`;
      if (name === "id" && !value.includes("\0")) id = value;
    }
    if (rest.length + data.length > MOST_CHARACTERS) throw new ShapeFault("", "a stream of short messages");
    return messages;
  };
}
