import { BrokenInvariant } from "../core/assert.ts";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Ports } from "../flow/ports.ts";

/** A port that threw instead of answering: its object or its database could not be reached. Whether it did what it was asked is not known. */
export class PortLost extends Error {
  override readonly name = "PortLost";
  readonly refusal: Refusal;
  constructor(port: keyof typeof LOST, cause: unknown) {
    super(`${port}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.refusal = LOST[port];
  }
}

const LOST = {
  sessions: refusal("authority_unavailable", "The session's authority cannot be reached. The same request may be sent again."),
  tenants: refusal("authority_unavailable", "The tenant's authority cannot be reached. The same request may be sent again."),
  directory: refusal("authority_unavailable", "The directory cannot be reached. The same request may be sent again."),
  policies: refusal("authority_unavailable", "The policy in force cannot be fetched. The same request may be sent again."),
  events: refusal("ledger_unavailable", "The stream cannot be opened just now."),
  webhooks: refusal("authority_unavailable", "The tenant's webhooks cannot be reached. The same request may be sent again."),
  ledger: refusal("ledger_unavailable", "The ledger cannot be reached. The same request may be sent again."),
} as const;

/** The same ports, whose calls to the outside throw {@link PortLost} where they would throw something that only their own room understands. */
export const guardPorts = (ports: Ports): Ports => ({
  ...ports,
  identity: ports.identity,
  sha256: ports.sha256,
  newId: (prefix) => ports.newId(prefix),
  sessions: guarded("sessions", ports.sessions),
  tenants: guarded("tenants", ports.tenants),
  directory: guarded("directory", ports.directory),
  policies: guarded("policies", ports.policies),
  ledger: guarded("ledger", ports.ledger),
  events: guarded("events", ports.events),
  webhooks: guarded("webhooks", ports.webhooks),
});

function guarded<T extends object>(port: keyof typeof LOST, target: T): T {
  return new Proxy(target, {
    get(of, name) {
      const member: unknown = Reflect.get(of, name, of);
      if (typeof member !== "function") return member;
      return (...args: unknown[]): unknown => watched(port, () => Reflect.apply(member, of, args));
    },
  });
}

function watched(port: keyof typeof LOST, call: () => unknown): unknown {
  try {
    const answer = call();
    if (answer instanceof Promise) return answer.catch((error: unknown) => lose(port, error));
    return isAsyncIterable(answer) ? watchedPages(port, answer) : answer;
  } catch (error) {
    return lose(port, error);
  }
}

async function* watchedPages(port: keyof typeof LOST, pages: AsyncIterable<unknown>): AsyncGenerator<unknown> {
  try {
    yield* pages;
  } catch (error) {
    lose(port, error);
  }
}

const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === "object" && value !== null && Symbol.asyncIterator in value;

function lose(port: keyof typeof LOST, error: unknown): never {
  // What broke a law here, or was thrown by our own code inside an object, will break it again: that is no outage to wait out.
  if (error instanceof BrokenInvariant || isOwnFault(error)) throw error;
  throw new PortLost(port, error);
}

/** The runtime marks what an object's code threw `remote`, and what may be tried again `retryable` or `overloaded`. */
const isOwnFault = (error: unknown): boolean =>
  error instanceof Error && flag(error, "remote") && !flag(error, "retryable") && !flag(error, "overloaded") && !flag(error, "durableObjectReset");

const flag = (error: Error, name: string): boolean => Reflect.get(error, name) === true;
