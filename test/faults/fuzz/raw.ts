import type { Chance } from "./chance.ts";
import type { Tenant } from "./gateway.ts";
import { type Answer, connect, isAnswer, Reader, readOne } from "./wire.ts";

/**
 * What no client sends: requests that drip, stop, contradict themselves or are no HTTP. Most of it the runtime refuses before the Worker sees it, in
 * words of its own. What is looked at: nobody is kept waiting for ever, nothing is answered twice or by half, and whoever asks properly meanwhile is served.
 */
export interface RawCase {
  readonly name: string;
  /** The octets in the order in which they go out, with pauses between them in milliseconds. */
  readonly parts: (at: RawPlace) => readonly (string | number)[];
  /** `end`: our side of the connection ends after the last octet. `leave`: it is cut. `stay`: it stays open, and is cut when patience ends. */
  readonly ending: "end" | "leave" | "stay";
  /** The answers that there may be, one status for each; `null` stands for an end without an answer. */
  readonly wanted: readonly (number | null)[];
  /** How many answers at most may come. */
  readonly most: number;
}

export interface RawPlace {
  readonly host: string;
  readonly tenant: Tenant;
  readonly session: string;
}

const decide = ({ host, tenant, session }: RawPlace, more: string, body: string): string =>
  `POST /v1/sessions/${session}/decisions HTTP/1.1\r\nHost: ${host}\r\nAuthorization: Bearer ${tenant.tokens.agent}\r\nContent-Type: application/json\r\n${more}\r\n${body}`;

const BODY = '{"action":"search"}';
const health = ({ host }: RawPlace, more = ""): string => `GET /healthz HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`;
const drip = (text: string, pauseMs: number): readonly (string | number)[] => [...text].flatMap((letter) => [letter, pauseMs]);
/** How the runtime itself refuses what is no HTTP, in plain words of its own. */
const REFUSED = [400, 408, 411, 413, 414, 417, 431, null] as const;

export const RAW_CASES: readonly RawCase[] = [
  {
    name: "a body that drips",
    parts: (at) => [decide(at, `Content-Length: ${BODY.length}\r\n`, ""), ...drip(BODY, 15)],
    ending: "stay",
    wanted: [200],
    most: 1,
  },
  { name: "a head that drips", parts: (at) => drip(health(at), 5), ending: "stay", wanted: [200], most: 1 },
  {
    name: "a chunked body that drips",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\n", ""), ...[...BODY].flatMap((letter) => [`1\r\n${letter}\r\n`, 10]), "0\r\n\r\n"],
    ending: "stay",
    wanted: [200],
    most: 1,
  },
  { name: "a body that never comes", parts: (at) => [decide(at, "Content-Length: 100\r\n", "")], ending: "leave", wanted: [null], most: 0 },
  {
    name: "half a body, and our side ends",
    parts: (at) => [decide(at, "Content-Length: 100\r\n", BODY)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  { name: "half a body, and cut", parts: (at) => [decide(at, "Content-Length: 100\r\n", BODY), 30], ending: "leave", wanted: [null], most: 0 },
  { name: "half a head, and our side ends", parts: (at) => [health(at).slice(0, 20)], ending: "end", wanted: [...REFUSED], most: 1 },
  { name: "half a head, and cut", parts: (at) => [health(at).slice(0, 20), 20], ending: "leave", wanted: [null], most: 0 },
  { name: "nothing at all, and our side ends", parts: () => [], ending: "end", wanted: [null, 400], most: 1 },
  {
    name: "a chunked body without its end, and our side ends",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\n", `13\r\n${BODY}\r\n`)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  {
    name: "a chunk that is longer than it says",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\n", `5\r\n${BODY}\r\n0\r\n\r\n`)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  {
    name: "a chunk size that is no number",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\n", `zz\r\n${BODY}\r\n0\r\n\r\n`)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  {
    name: "a chunk size beyond all bounds",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\n", `ffffffffffffffffff\r\n${BODY}`)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  { name: "a negative length", parts: (at) => [decide(at, "Content-Length: -1\r\n", BODY)], ending: "end", wanted: [...REFUSED], most: 1 },
  { name: "a length that is no number", parts: (at) => [decide(at, "Content-Length: 1e2\r\n", BODY)], ending: "end", wanted: [...REFUSED], most: 1 },
  {
    name: "a length beyond all bounds",
    parts: (at) => [decide(at, "Content-Length: 99999999999999999999\r\n", BODY)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  {
    name: "a length and chunks",
    parts: (at) => [decide(at, `Content-Length: ${BODY.length}\r\nTransfer-Encoding: chunked\r\n`, `13\r\n${BODY}\r\n0\r\n\r\n`)],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  {
    name: "two lengths",
    parts: (at) => [decide(at, `Content-Length: 4\r\nContent-Length: ${BODY.length}\r\n`, BODY)],
    ending: "end",
    wanted: [...REFUSED],
    most: 1,
  },
  {
    name: "a request hidden behind chunks within a length",
    parts: (at) => {
      const hidden = health(at, "X-Request-ID: hidden\r\n");
      const body = `0\r\n\r\n${hidden}`;
      return [decide(at, `Content-Length: ${body.length}\r\nTransfer-Encoding: chunked\r\n`, body)];
    },
    ending: "end",
    // Chunks count before a length (RFC 9112 section 6.3), and what follows them on the connection is the next request or nothing.
    wanted: [200, ...REFUSED],
    most: 2,
  },
  {
    name: "chunks under a name that only looks like it",
    parts: (at) => [decide(at, `Transfer-Encoding : chunked\r\nContent-Length: ${BODY.length}\r\n`, BODY)],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  {
    name: "an encoding of transfers that nobody knows",
    parts: (at) => [decide(at, "Transfer-Encoding: x\r\n", BODY)],
    ending: "end",
    wanted: [501, ...REFUSED],
    most: 1,
  },
  {
    name: "ten requests at once",
    parts: (at) => [Array.from({ length: 10 }, (_, index) => health(at, `X-Request-ID: r${index}\r\n`)).join("")],
    ending: "stay",
    wanted: [200],
    most: 10,
  },
  {
    name: "ten decisions at once",
    parts: (at) => [
      Array.from({ length: 10 }, (_, index) => decide(at, `Content-Length: ${BODY.length}\r\nX-Request-ID: r${index}\r\n`, BODY)).join(""),
    ],
    ending: "stay",
    wanted: [200],
    most: 10,
  },
  { name: "HTTP/1.0", parts: () => ["GET /healthz HTTP/1.0\r\n\r\n"], ending: "end", wanted: [200, 505, ...REFUSED], most: 1 },
  { name: "HTTP/0.9", parts: () => ["GET /healthz\r\n"], ending: "end", wanted: [505, ...REFUSED], most: 1 },
  { name: "HTTP/9.9", parts: () => ["GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n"], ending: "end", wanted: [200, 505, ...REFUSED], most: 1 },
  { name: "the preface of HTTP/2", parts: () => ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], ending: "end", wanted: [501, 505, ...REFUSED], most: 1 },
  {
    name: "a TLS hello",
    parts: () => ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".padEnd(300, "\x00")],
    ending: "end",
    wanted: [501, ...REFUSED],
    most: 1,
  },
  { name: "no host", parts: () => ["GET /healthz HTTP/1.1\r\n\r\n"], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  { name: "two hosts", parts: () => ["GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  {
    name: "a host that is no host",
    parts: () => ["GET /healthz HTTP/1.1\r\nHost: ///?#@\r\n\r\n"],
    ending: "end",
    wanted: [200, 404, ...REFUSED],
    most: 1,
  },
  {
    name: "an absolute target",
    parts: (at) => [`GET http://${at.host}/healthz HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [200, 404, ...REFUSED],
    most: 1,
  },
  { name: "the target *", parts: (at) => [`OPTIONS * HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`], ending: "end", wanted: [404, 405, ...REFUSED], most: 1 },
  {
    name: "a target without a slash",
    parts: (at) => [`GET healthz HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [200, 404, ...REFUSED],
    most: 1,
  },
  {
    name: "CONNECT",
    parts: (at) => [`CONNECT ${at.host} HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [500, 501, ...REFUSED],
    most: 1,
  },
  {
    name: "TRACE",
    parts: (at) => [`TRACE /healthz HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [404, 405, 501, ...REFUSED],
    most: 1,
  },
  {
    name: "a method that nobody knows",
    parts: (at) => [`BREW /healthz HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [501, ...REFUSED],
    most: 1,
  },
  {
    name: "a method in small letters",
    parts: (at) => [`get /healthz HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [501, ...REFUSED],
    most: 1,
  },
  { name: "a header without a colon", parts: (at) => [health(at, "nonsense\r\n")], ending: "end", wanted: [...REFUSED], most: 1 },
  { name: "a header without a name", parts: (at) => [health(at, ": x\r\n")], ending: "end", wanted: [...REFUSED], most: 1 },
  { name: "a header with NUL", parts: (at) => [health(at, "X-A: a\0b\r\n")], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  { name: "a header that is folded", parts: (at) => [health(at, "X-A: a\r\n b\r\n")], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  { name: "lines that end with LF alone", parts: (at) => [health(at).replaceAll("\r\n", "\n")], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  {
    name: "a thousand headers",
    parts: (at) => [health(at, Array.from({ length: 1000 }, (_, index) => `X-${index}: a\r\n`).join(""))],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  { name: "a header of 200 KB", parts: (at) => [health(at, `X-A: ${"a".repeat(200_000)}\r\n`)], ending: "end", wanted: [200, ...REFUSED], most: 1 },
  {
    name: "a target of 200 KB",
    parts: (at) => [`GET /healthz?${"a".repeat(200_000)} HTTP/1.1\r\nHost: ${at.host}\r\n\r\n`],
    ending: "end",
    wanted: [422, ...REFUSED],
    most: 1,
  },
  {
    name: "a client that waits for 100 Continue",
    parts: (at) => [decide(at, `Expect: 100-continue\r\nContent-Length: ${BODY.length}\r\n`, ""), 100, BODY],
    ending: "stay",
    wanted: [200],
    most: 1,
  },
  {
    name: "an expectation that nobody knows",
    parts: (at) => [decide(at, `Expect: x\r\nContent-Length: ${BODY.length}\r\n`, BODY)],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  {
    name: "a wish for HTTP/2 in clear",
    parts: (at) => [health(at, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  {
    name: "a trailer",
    parts: (at) => [decide(at, "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n", `13\r\n${BODY}\r\n0\r\nX-A: b\r\n\r\n`)],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  {
    name: "a body after GET",
    parts: (at) => [health(at, `Content-Length: ${BODY.length}\r\n`) + BODY],
    ending: "end",
    wanted: [200, ...REFUSED],
    most: 1,
  },
  { name: "bytes that are nothing", parts: () => ["\x00\xff\xfe\r\n\r\n\r\n"], ending: "end", wanted: [501, ...REFUSED], most: 1 },
];

/** Bodies beyond every bound: the answer may come before all of it was sent, and must come. */
export const enormousCase = (chance: Chance): RawCase => {
  const bytes = chance.pick([300_000, 1_000_000, 5_000_000]);
  const isChunked = chance.isLucky(0.5);
  const filler = chance.pick(["a", "[", '{"a":', "0", " "]);
  return {
    name: `a body of ${bytes} bytes${isChunked ? " in chunks" : ""}`,
    parts: (at) => {
      const body = filler.repeat(Math.ceil(bytes / filler.length)).slice(0, bytes);
      return isChunked
        ? [decide(at, "Transfer-Encoding: chunked\r\n", `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`)]
        : [decide(at, `Content-Length: ${body.length}\r\n`, body)];
    },
    ending: "stay",
    // Who goes on sending after the answer may have its connection cut.
    wanted: [413, null],
    most: 1,
  };
};

export interface RawOutcome {
  readonly answers: readonly Answer[];
  /** What is wrong with it, in a sentence; `null`: nothing. */
  readonly fault: string | null;
  /** What went out, for the report. */
  readonly sent: string;
}

const LEAVES_AFTER_MS = 300;

export async function runRaw(one: RawCase, at: RawPlace, patienceMs: number): Promise<RawOutcome> {
  const [hostname = "", port = ""] = at.host.split(":");
  const parts = one.parts(at);
  const sent = parts.filter((part) => typeof part === "string").join("");
  const startedAt = performance.now();
  const socket = await connect(hostname, Number(port));
  const write = async (): Promise<void> => {
    for (const part of parts) {
      if (socket.destroyed) return;
      if (typeof part === "number") await new Promise((resolve) => setTimeout(resolve, part));
      else socket.write(Buffer.from(part, "latin1"));
    }
    if (one.ending === "end") socket.end();
    if (one.ending === "leave") setTimeout(() => socket.destroy(), LEAVES_AFTER_MS);
  };
  const answers: Answer[] = [];
  let end: string | null = null;
  let left: Buffer = Buffer.alloc(0);
  let isFirst = true;
  while (end === null) {
    const reader = new Reader("GET");
    const already = left.length === 0 ? null : reader.add(left);
    const outcome =
      already !== null && already !== "garbled"
        ? { ...already, tookMs: 0 }
        : await readOne(socket, reader, answers.length < Math.max(1, one.most) ? patienceMs : 200, startedAt, () => {
            if (isFirst) void write();
            isFirst = false;
          });
    if (isAnswer(outcome)) {
      answers.push(outcome);
      left = reader.rest();
      if (answers.length > one.most + 2) end = "more";
      if (one.ending === "stay" && answers.length >= one.most && left.length === 0) end = "enough";
      if (!reader.isKept && left.length === 0) end = "closed";
    } else end = outcome.fault === "garbled" ? `garbled: ${outcome.received.slice(0, 200)}` : outcome.fault;
    if ((socket.destroyed || socket.readableEnded) && left.length === 0) end ??= "closed";
  }
  socket.destroy();
  const statuses: readonly (number | null)[] = answers.length === 0 ? [null] : answers.map(({ status }) => status);
  const odd = statuses.find((status) => !one.wanted.includes(status));
  const told = `${one.name}: answered ${JSON.stringify(statuses)}, ${end}`;
  if (end.startsWith("garbled")) return { answers, fault: `${told}.`, sent };
  if (end === "silent" && answers.length === 0 && one.ending !== "leave")
    return { answers, fault: `${told}: nothing came within ${patienceMs} ms.`, sent };
  if (answers.length > one.most) return { answers, fault: `${told}: at most ${one.most} answers were wanted.`, sent };
  if (odd !== undefined)
    return {
      answers,
      fault: `${told}: wanted ${JSON.stringify(one.wanted)}. ${
        answers
          .find(({ status }) => status === odd)
          ?.body.toString("utf8")
          .slice(0, 200) ?? ""
      }`,
      sent,
    };
  // What the runtime answers by itself says so in plain text. A problem document is ours, and ours is never a 5xx here.
  const ours = answers.find(({ status, headers }) => status >= 500 && headers.get("content-type") === "application/problem+json");
  if (ours !== undefined) return { answers, fault: `${told}: ${ours.body.toString("utf8").slice(0, 300)}`, sent };
  if (one.most === 10 && answers.length !== 10) return { answers, fault: `${told}: all ten are answered.`, sent };
  const order = answers.map(({ headers }) => headers.get("x-request-id"));
  if (one.most === 10 && order.some((id, index) => id !== `r${index}`)) return { answers, fault: `${told}: in the order ${order.join(" ")}.`, sent };
  return { answers, fault: null, sent };
}
