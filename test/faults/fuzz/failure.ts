import type { Fault, Judge } from "./judge.ts";
import type { Connection, Outcome, Sent } from "./wire.ts";
import { isAnswer } from "./wire.ts";

/** A request whose answer was not as it must be, made as small as it can be while it still fails. */
export interface Failure {
  readonly fault: Fault;
  readonly seed: number;
  readonly lane: number;
  readonly turn: number;
  readonly sent: Sent;
  readonly outcome: Outcome;
  /** Whether the same request fails again. */
  readonly failsAgain: boolean;
}

const isSame = (fault: Fault) => (other: Fault) => other.kind === fault.kind && other.where === fault.where;

/** Sends what is left of a request without one part after another, and keeps each smaller one that fails in the same way. At most 60 tries. */
export async function shrink(sent: Sent, outcome: Outcome, fault: Fault, judge: Judge, connection: Connection, patienceMs: number) {
  let tries = 60;
  const fails = async (smaller: Sent): Promise<Outcome | null> => {
    if (tries-- <= 0) return null;
    const again = await connection.ask(smaller, patienceMs);
    return judge.of(smaller, again).some(isSame(fault)) ? again : null;
  };
  const first = await fails(sent);
  if (first === null) return { sent, outcome, failsAgain: false };
  let smallest = { sent, outcome: first, failsAgain: true };
  for (let isSmaller = true; isSmaller && tries > 0; ) {
    isSmaller = false;
    for (const smaller of smallerThan(smallest.sent)) {
      const again = await fails(smaller);
      if (again === null) continue;
      smallest = { sent: smaller, outcome: again, failsAgain: true };
      isSmaller = true;
      break;
    }
  }
  return smallest;
}

function* smallerThan(sent: Sent): Generator<Sent> {
  for (const header of sent.headers) yield { ...sent, headers: sent.headers.filter((one) => one !== header) };
  const [path = "", query] = sent.target.split("?", 2);
  if (query !== undefined) {
    yield { ...sent, target: path };
    const pairs = query.split("&");
    if (pairs.length > 1) for (const pair of pairs) yield { ...sent, target: `${path}?${pairs.filter((one) => one !== pair).join("&")}` };
  }
  if (sent.framing === "chunked") yield { ...sent, framing: "length" };
  const { body } = sent;
  if (body === null) return;
  yield { ...sent, body: null };
  const text = body.toString("utf8");
  const value = parsed(text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    for (const key of Object.keys(value)) {
      yield { ...sent, body: Buffer.from(JSON.stringify(Object.fromEntries(Object.entries(value).filter(([one]) => one !== key)))) };
    }
    for (const [key, member] of Object.entries(value)) {
      if (Array.isArray(member) && member.length > 1)
        yield { ...sent, body: Buffer.from(JSON.stringify({ ...value, [key]: member.slice(0, Math.ceil(member.length / 2)) })) };
      if (typeof member === "object" && member !== null && !Array.isArray(member)) {
        for (const inner of Object.keys(member)) {
          yield {
            ...sent,
            body: Buffer.from(JSON.stringify({ ...value, [key]: Object.fromEntries(Object.entries(member).filter(([one]) => one !== inner)) })),
          };
        }
      }
    }
  } else if (body.length > 1) {
    yield { ...sent, body: body.subarray(0, body.length >> 1) };
    yield { ...sent, body: body.subarray(body.length >> 1) };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** A failure as a person wants it: what is wrong, how to send it again, what came. `name` puts names in the place of tokens and ids. */
export function shown({ fault, seed, lane, turn, sent, outcome, failsAgain }: Failure, name: (text: string) => string): string {
  const answer = isAnswer(outcome) ? `${outcome.status} ${outcome.body.toString("utf8").slice(0, 1500)}` : `no answer (${outcome.fault})`;
  const again = failsAgain ? "fails again" : "does not fail again by itself: run the lane up to this turn";
  return name(
    `${fault.kind} at ${fault.where}: ${fault.what}\n  seed ${seed}, lane ${lane}, turn ${turn}; ${again}\n  ${curlOf(sent)}\n  answered ${answer}\n`,
  );
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf({ method, target, headers, body, framing }: Sent): string {
  const parts = [
    `curl -sS -i -X ${method} --path-as-is ${quoted(`$GATE${target}`)}`,
    ...headers.map(([header, value]) => `-H ${quoted(`${header}: ${value}`)}`),
  ];
  if (framing === "chunked") parts.push("-H 'Transfer-Encoding: chunked'");
  if (body !== null) {
    const isText = Buffer.from(body.toString("utf8")).equals(body) && !body.includes(0);
    const long = body.length > 2000 ? ` # of ${body.length} bytes, the first 2000` : "";
    parts.push(
      isText
        ? `--data-binary ${quoted(body.toString("utf8").slice(0, 2000))}${long}`
        : `--data-binary @<(echo ${body.subarray(0, 1500).toString("base64")} | base64 -d)${long}`,
    );
  }
  return parts.join(" ");
}
