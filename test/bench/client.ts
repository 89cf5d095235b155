import net from "node:net";

/** What one round of load measured. */
export interface Round {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
}

/**
 * Sends the requests that `next` makes over keep-alive connections, one at a time on each, for as long as told. A client of our own over bare
 * sockets: on two cores, a fuller one would measure itself. Rejects on any answer that `accept` does not like.
 */
export async function load(
  target: URL,
  connections: number,
  durationMs: number,
  next: () => string,
  accept: (head: string, body: string) => boolean,
): Promise<Round> {
  const latencies: number[] = [];
  const start = performance.now();
  const until = start + durationMs;
  await Promise.all(Array.from({ length: connections }, () => drive(target, until, next, accept, latencies)));
  const elapsed = performance.now() - start;
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * share))] ?? Number.NaN;
  return { perSecond: (latencies.length / elapsed) * 1000, p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
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

function drive(target: URL, until: number, next: () => string, accept: (head: string, body: string) => boolean, latencies: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    let received = "";
    let sentAt = 0;
    const send = () => {
      sentAt = performance.now();
      socket.write(next());
    };
    socket.setEncoding("latin1");
    socket.on("connect", send);
    socket.on("error", reject);
    socket.on("data", (chunk: string) => {
      received += chunk;
      const answer = whole(received);
      if (answer === null) return;
      received = "";
      if (!accept(answer.head, answer.body)) {
        socket.destroy();
        reject(new Error(`unexpected answer: ${answer.head.slice(0, 200)} ${answer.body.slice(0, 400)}`));
        return;
      }
      const now = performance.now();
      latencies.push(now - sentAt);
      if (now < until) send();
      else socket.end(resolve);
    });
  });
}

/** One whole HTTP/1.1 answer, by its length or its last chunk; `null` while more is to come. */
function whole(text: string): { readonly head: string; readonly body: string } | null {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return null;
  const head = text.slice(0, end);
  const body = text.slice(end + 4);
  const length = /content-length: (\d+)/i.exec(head);
  if (length !== null) return body.length >= Number(length[1]) ? { head, body } : null;
  return body.endsWith("0\r\n\r\n") ? { head, body } : null;
}
