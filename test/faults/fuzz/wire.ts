import net from "node:net";

/**
 * An HTTP/1.1 client over bare sockets, one request at a time on a connection that is kept. A fuller client would refuse to send what is to be
 * sent here, repair it, or hide how an answer came.
 */

export interface Sent {
  readonly method: string;
  /** As it goes over the wire: origin form, unless something else is tried. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Buffer | null;
  readonly framing: "length" | "chunked";
}

export interface Answer {
  readonly status: number;
  /** By their names in small letters; of several, joined with commas. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
  /** A stream that goes on is only looked at as far as its first words. */
  readonly isWhole: boolean;
  readonly tookMs: number;
}

/** No answer: the connection ended, nothing came in time, or what came is no HTTP. */
export interface NoAnswer {
  readonly fault: "closed" | "silent" | "garbled";
  readonly received: string;
  readonly tookMs: number;
}

export type Outcome = Answer | NoAnswer;

export const isAnswer = (outcome: Outcome): outcome is Answer => "status" in outcome;

export function bytesOf(sent: Sent, host: string): Buffer {
  const hasHost = sent.headers.some(([name]) => name.toLowerCase() === "host");
  const fields = [...(hasHost ? [] : [["Host", host] as const]), ...sent.headers];
  if (sent.body !== null) fields.push(sent.framing === "chunked" ? ["Transfer-Encoding", "chunked"] : ["Content-Length", String(sent.body.length)]);
  // Header values are octets; what is no Latin-1 goes out as UTF-8, as clients do by mistake.
  const head = Buffer.from(
    `${sent.method} ${sent.target} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`,
    "utf8",
  );
  if (sent.body === null) return head;
  return Buffer.concat([head, ...(sent.framing === "chunked" ? chunksOf(sent.body) : [sent.body])]);
}

function chunksOf(body: Buffer): readonly Buffer[] {
  const chunks: Buffer[] = [];
  const size = Math.max(1, Math.ceil(body.length / 3));
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    chunks.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
  }
  return [...chunks, Buffer.from("0\r\n\r\n")];
}

export class Connection {
  readonly #host: string;
  readonly #port: number;
  #socket: net.Socket | null = null;

  constructor(target: URL) {
    this.#host = target.hostname;
    this.#port = Number(target.port);
  }

  get host(): string {
    return `${this.#host}:${this.#port}`;
  }

  async ask(sent: Sent, patienceMs: number): Promise<Outcome> {
    const isKept = this.#socket !== null;
    const outcome = await this.#exchange(bytesOf(sent, this.host), sent.method, patienceMs);
    // The other side may let go of a connection that it kept, just as the next request leaves: that is no answer to it, so it is sent again once.
    if (isKept && !isAnswer(outcome) && outcome.fault === "closed" && outcome.received === "")
      return this.#exchange(bytesOf(sent, this.host), sent.method, patienceMs);
    return outcome;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  async #exchange(bytes: Buffer, method: string, patienceMs: number): Promise<Outcome> {
    const startedAt = performance.now();
    let socket = this.#socket;
    this.#socket = null;
    try {
      socket ??= await connect(this.#host, this.#port);
    } catch (error) {
      return {
        fault: "closed",
        received: `cannot connect: ${error instanceof Error ? error.message : String(error)}`,
        tookMs: performance.now() - startedAt,
      };
    }
    const reader = new Reader(method);
    const outcome = await readOne(socket, reader, patienceMs, startedAt, () => socket.write(bytes));
    if (isAnswer(outcome) && outcome.isWhole && reader.isKept) this.#socket = socket;
    else socket.destroy();
    return outcome;
  }
}

export const connect = (host: string, port: number): Promise<net.Socket> =>
  new Promise((resolve, reject) => {
    const socket = net.connect({ host, port, noDelay: true, allowHalfOpen: true });
    socket.once("connect", () => resolve(socket));
    // It stays: a late fault of a socket that nobody reads any more must not end the program.
    socket.on("error", reject);
  });

/** Reads one answer from a socket, after `begin` has sent something. */
export function readOne(socket: net.Socket, reader: Reader, patienceMs: number, startedAt: number, begin: () => void): Promise<Outcome> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => end("silent"), patienceMs);
    const tookMs = () => performance.now() - startedAt;
    const done = (outcome: Outcome): void => {
      clearTimeout(timer);
      socket.off("data", onData).off("end", onEnd).off("close", onEnd).off("error", onError);
      resolve(outcome);
    };
    const end = (fault: NoAnswer["fault"]) => done({ fault, received: reader.received.toString("latin1").slice(0, 2000), tookMs: tookMs() });
    const onData = (chunk: Buffer): void => {
      const read = reader.add(chunk);
      if (read === "garbled") end("garbled");
      else if (read !== null) done({ ...read, tookMs: tookMs() });
    };
    const onEnd = (): void => {
      const read = reader.atEnd();
      if (read !== null) done({ ...read, tookMs: tookMs() });
      else end("closed");
    };
    // A reset may come before what was answered was read; the data event, if there is one, comes first.
    const onError = (): void => onEnd();
    socket.on("data", onData).on("end", onEnd).on("close", onEnd).on("error", onError);
    begin();
  });
}

type Read = Omit<Answer, "tookMs">;

/** Reads one answer to a request of a method from octets as they come. */
export class Reader {
  readonly #method: string;
  received: Buffer = Buffer.alloc(0);
  #used = 0;
  #head: { readonly status: number; readonly headers: ReadonlyMap<string, string>; readonly end: number } | null = null;

  constructor(method: string) {
    this.#method = method;
  }

  /** Whether the connection may carry another request. */
  get isKept(): boolean {
    return this.#head?.headers.get("connection")?.toLowerCase() !== "close";
  }

  /** What came after the answer on the same connection. */
  rest(): Buffer {
    return this.received.subarray(this.#used);
  }

  add(chunk: Buffer): Read | "garbled" | null {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    return this.#read(false);
  }

  atEnd(): Read | null {
    const read = this.#read(true);
    return read === "garbled" ? null : read;
  }

  #read(isOver: boolean): Read | "garbled" | null {
    if (this.#head === null) {
      const end = this.received.indexOf("\r\n\r\n");
      if (end < 0) return this.received.length > 100_000 ? "garbled" : null;
      const [first = "", ...lines] = this.received.subarray(0, end).toString("latin1").split("\r\n");
      const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1] ?? Number.NaN);
      if (Number.isNaN(status)) return "garbled";
      if (status === 100) {
        this.received = this.received.subarray(end + 4);
        return this.#read(isOver);
      }
      const headers = new Map<string, string>();
      for (const line of lines) {
        const [, name = "", value = ""] = /^([^:]+):\s*(.*?)\s*$/.exec(line) ?? [];
        const known = headers.get(name.toLowerCase());
        headers.set(name.toLowerCase(), known === undefined ? value : `${known}, ${value}`);
      }
      this.#head = { status, headers, end: end + 4 };
    }
    const { status, headers, end } = this.#head;
    const rest = this.received.subarray(end);
    const whole = (body: Buffer, used = body.length): Read => {
      this.#used = end + used;
      return { status, headers, body, isWhole: true };
    };
    if (this.#method === "HEAD" || status === 204 || status === 304) return whole(Buffer.alloc(0));
    if (status === 101) return { status, headers, body: Buffer.alloc(0), isWhole: false };
    if (headers.get("transfer-encoding")?.toLowerCase() === "chunked") {
      const chunks = unchunk(rest);
      if (chunks === "garbled") return "garbled";
      if (chunks.isWhole) return whole(chunks.body, chunks.used);
      // A stream of events has no end; its first words are all that is waited for.
      if (headers.get("content-type")?.startsWith("text/event-stream") && chunks.body.length > 0)
        return { status, headers, body: chunks.body, isWhole: false };
      return null;
    }
    const length = headers.get("content-length");
    if (length !== undefined) return rest.length >= Number(length) ? whole(rest.subarray(0, Number(length))) : null;
    return isOver ? whole(rest) : null;
  }
}

function unchunk(bytes: Buffer): { readonly body: Buffer; readonly isWhole: boolean; readonly used: number } | "garbled" {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const line = bytes.indexOf("\r\n", at);
    if (line < 0) return { body: Buffer.concat(parts), isWhole: false, used: at };
    const text = bytes.subarray(at, line).toString("latin1");
    if (!/^[0-9a-f]+$/i.test(text)) return "garbled";
    const size = Number.parseInt(text, 16);
    if (size === 0) {
      const end = bytes.indexOf("\r\n", line + 2);
      return { body: Buffer.concat(parts), isWhole: end >= 0, used: end + 2 };
    }
    if (bytes.length < line + 2 + size + 2) return { body: Buffer.concat(parts), isWhole: false, used: at };
    parts.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
}
