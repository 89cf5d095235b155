import net from "node:net";

/** What came back on a socket. `null` in its place: nothing did, within the caller's patience or before the gateway was gone. */
export interface Heard {
  readonly status: number;
  readonly head: string;
  readonly body: string;
  readonly tookMs: number;
}

/**
 * Many callers over keep-alive connections, each with one question at a time. Over bare sockets, because two cores must carry the gateway and ten
 * times its load: a fuller client would be the slower of the two.
 */
export class Callers {
  readonly #target: URL;
  readonly #most: number;
  readonly #patienceMs: number;
  readonly #idle: Line[] = [];
  readonly #all = new Set<Line>();
  readonly #watch: NodeJS.Timeout;

  /** `most`: so many connections at once. Who waits longer than `patienceMs` hangs up. */
  constructor(target: URL, most: number, patienceMs: number) {
    this.#target = target;
    this.#most = most;
    this.#patienceMs = patienceMs;
    this.#watch = setInterval(() => this.#hangUp(), 50);
  }

  get waiting(): number {
    return this.#all.size - this.#idle.length;
  }

  /** `undefined`: every connection is waiting for an answer, and this was not asked. */
  ask(request: string): Promise<Heard | null> | undefined {
    const line = this.#idle.pop() ?? (this.#all.size < this.#most ? this.#open() : undefined);
    return line?.ask(request);
  }

  /** Hangs up on everybody. */
  end(): void {
    clearInterval(this.#watch);
    for (const line of this.#all) line.end();
  }

  #open(): Line {
    const line = new Line(
      this.#target,
      () => this.#idle.push(line),
      () => {
        this.#all.delete(line);
        const place = this.#idle.indexOf(line);
        if (place >= 0) this.#idle.splice(place, 1);
      },
    );
    this.#all.add(line);
    return line;
  }

  #hangUp(): void {
    const since = performance.now() - this.#patienceMs;
    for (const line of this.#all) if (line.askedAt !== null && line.askedAt < since) line.end();
  }
}

class Line {
  askedAt: number | null = null;
  readonly #socket: net.Socket;
  #received = "";
  #tell: ((heard: Heard | null) => void) | null = null;

  constructor(target: URL, onIdle: () => void, onEnd: () => void) {
    this.#socket = net.connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    this.#socket.setEncoding("latin1");
    // What went wrong with it is followed by `close`, which says all that matters: there will be no answer.
    this.#socket.on("error", () => undefined);
    this.#socket.on("close", () => {
      onEnd();
      this.#answer(null);
    });
    this.#socket.on("data", (chunk: string) => {
      this.#received += chunk;
      const whole = wholeOf(this.#received);
      if (whole === null) return;
      this.#received = "";
      const tookMs = performance.now() - (this.askedAt ?? Number.NaN);
      onIdle();
      this.#answer({ ...whole, tookMs });
    });
  }

  ask(request: string): Promise<Heard | null> {
    this.askedAt = performance.now();
    this.#socket.write(request, "latin1");
    return new Promise((resolve) => {
      this.#tell = resolve;
    });
  }

  end(): void {
    this.#socket.destroy();
  }

  #answer(heard: Heard | null): void {
    this.askedAt = null;
    const tell = this.#tell;
    this.#tell = null;
    tell?.(heard);
  }
}

/** A request as it goes over the wire; the body's text must be ASCII. */
export function post(target: URL, path: string, token: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\nhost: ${target.host}\r\nauthorization: Bearer ${token}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

export function get(target: URL, path: string, token: string): string {
  return `GET ${path} HTTP/1.1\r\nhost: ${target.host}\r\nauthorization: Bearer ${token}\r\n\r\n`;
}

/** One field of an answer's head; `null` where it has none. */
export const fieldOf = (head: string, name: string): string | null => new RegExp(`^${name}: *(.*)$`, "im").exec(head)?.[1]?.trim() ?? null;

/** One whole HTTP/1.1 answer of a known length; `null` while more is to come. */
function wholeOf(text: string): Omit<Heard, "tookMs"> | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const head = text.slice(0, end);
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  return text.length >= end + 4 + length ? { status: Number(text.slice(9, 12)), head, body: text.slice(end + 4) } : null;
}
