import net from "node:net";
import { quantile } from "./rounds.ts";

/** What one round of load measured. */
export interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  /** Processor time of the gateway's runtime for each step; absent where nobody looked. */
  readonly cpuMs?: number;
}

export interface Load {
  readonly target: URL;
  readonly connections: number;
  readonly durationMs: number;
  /** The next request of a connection, which has had so many answers. */
  readonly next: (connection: number, answered: number) => string;
  readonly accept: (head: string, body: string, connection: number) => boolean;
  /** So many requests, one after the other, are one step, and it is steps that are counted and timed. One, unless said. */
  readonly requestsPerStep?: number;
  /** A connection begins a step when so long has passed since it began the one before, all of them taking turns. Without it, at once. */
  readonly everyMs?: number;
  /** Ends the load before its time, each connection after the step that is under way. */
  readonly signal?: AbortSignal;
}

/**
 * Sends requests over keep-alive connections, one at a time on each, for as long as told. A client of our own over bare sockets: on two cores, a fuller
 * one would measure itself. Rejects on any answer that `accept` does not like.
 */
export async function load(wanted: Load): Promise<Round> {
  const latencies: number[] = [];
  const start = performance.now();
  const ending = { at: start + wanted.durationMs };
  const drives = Array.from({ length: wanted.connections }, (_, connection) => drive(wanted, connection, start, ending, latencies));
  try {
    await Promise.all(drives);
  } catch (fault) {
    // The others stop as well: nobody waits for what they would measure.
    ending.at = 0;
    await Promise.allSettled(drives);
    throw fault;
  }
  return roundOf(latencies, performance.now() - start);
}

/** Sends these requests over one connection, each when the one before it was answered. */
export async function sendAll(target: URL, texts: readonly string[], accept: Load["accept"]): Promise<void> {
  const stop = new AbortController();
  const next = (_: number, answered: number): string => {
    if (answered >= texts.length - 1) stop.abort();
    return texts[answered] ?? "";
  };
  if (texts.length > 0) await load({ target, connections: 1, durationMs: Number.POSITIVE_INFINITY, signal: stop.signal, next, accept });
}

/** What so many latencies within so long come to. */
export function roundOf(latenciesMs: readonly number[], elapsedMs: number): Round {
  const at = (part: number) => quantile(latenciesMs, part);
  return { perSecond: (latenciesMs.length / elapsedMs) * 1000, p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
}

export function post(target: URL, path: string, headers: { readonly [name: string]: string }, body: string): string {
  const fields = Object.entries({
    host: target.host,
    "content-type": "application/json",
    ...headers,
    "content-length": String(Buffer.byteLength(body)),
  });
  return `POST ${path} HTTP/1.1\r\n${fields.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
}

export const get = (target: URL, path: string, headers: { readonly [name: string]: string }): string =>
  `GET ${path} HTTP/1.1\r\nhost: ${target.host}\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("")}\r\n`;

export const is200 = (head: string): boolean => head.startsWith("HTTP/1.1 200");
export const is201 = (head: string): boolean => head.startsWith("HTTP/1.1 201");
export const isAllowed = (head: string, body: string): boolean => is200(head) && body.includes('"verdict":"allow"');

function drive(
  { target, connections, next, accept, requestsPerStep = 1, everyMs = 0, signal }: Load,
  connection: number,
  start: number,
  ending: { readonly at: number },
  latencies: number[],
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    let parts: string[] = [];
    let length = 0;
    let wanted = 0;
    let answered = 0;
    let stepBegan = 0;
    let due = start + (everyMs * connection) / connections;
    const send = () => {
      if (answered % requestsPerStep === 0) stepBegan = performance.now();
      socket.write(next(connection, answered));
    };
    const goOn = () => {
      const isStepOver = answered % requestsPerStep === 0;
      if (!isStepOver) return send();
      const now = performance.now();
      if (now >= ending.at || due >= ending.at || signal?.aborted === true) return socket.end(resolve);
      // Who is late begins at once, and owes nothing for the steps it missed.
      const waitMs = due - now;
      due = Math.max(due, now) + everyMs;
      if (waitMs > 1) setTimeout(send, waitMs);
      else send();
    };
    socket.setEncoding("latin1");
    socket.on("connect", goOn);
    socket.on("error", reject);
    // After the last answer this says nothing any more.
    socket.on("close", () => reject(new Error("the other side closed the connection")));
    socket.on("data", (chunk: string) => {
      parts.push(chunk);
      length += chunk.length;
      // A long answer is looked at again when it can be whole, not at every piece.
      if (length < wanted) return;
      const text = parts.length === 1 ? chunk : parts.join("");
      const answer = whole(text);
      if (typeof answer === "number") {
        parts = [text];
        wanted = answer;
        return;
      }
      parts = [];
      length = 0;
      wanted = 0;
      if (!accept(answer.head, answer.body, connection)) {
        socket.destroy();
        reject(new Error(`unexpected answer: ${answer.head.slice(0, 200)} ${answer.body.slice(0, 400)}`));
        return;
      }
      answered++;
      if (answered % requestsPerStep === 0) latencies.push(performance.now() - stepBegan);
      goOn();
    });
  });
}

/** One whole HTTP/1.1 answer, by its length or its last chunk; how long it is at least, while more is to come. */
function whole(text: string): { readonly head: string; readonly body: string } | number {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return text.length + 1;
  const head = text.slice(0, end);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  const least = end + 4 + Number(length ?? 5);
  if (text.length < least) return least;
  if (length === undefined && !text.endsWith("0\r\n\r\n")) return text.length + 1;
  return { head, body: text.slice(end + 4) };
}
