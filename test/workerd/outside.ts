import { type Request, Response } from "miniflare";
import { type Arrival, CONTROL, type Manner } from "./receiver.ts";

/** The network outside of the Worker, for its tests: whatever it fetches comes here. Receivers are hosts that tests make; all others are out of reach. */
export async function outside(request: Request): Promise<Response> {
  const url = new URL(request.url);
  if (url.hostname !== CONTROL) return hosts.get(url.hostname)?.take(request) ?? new Response("no such host", { status: 502 });
  const name = url.pathname.slice(1);
  const host = hosts.get(name) ?? new Host();
  hosts.set(name, host);
  if (request.method === "GET") return Response.json(await host.atLeast(Number(url.searchParams.get("least"))));
  // Sent by `receiver.ts`.
  host.become((await request.json()) as Manner);
  return new Response(null, { status: 204 });
}

class Host {
  readonly #arrivals: Arrival[] = [];
  #manner: Manner = { status: 204 };
  #letGo = Promise.withResolvers<void>();
  #waiting: (() => void)[] = [];

  async take(request: Request): Promise<Response> {
    const { promise } = this.#letGo;
    const manner = this.#manner;
    const body = await request.text();
    this.#arrivals.push({ path: new URL(request.url).pathname, headers: Object.fromEntries(request.headers), body });
    for (const wake of this.#waiting.splice(0)) wake();
    if (manner.holds === true) await promise;
    return new Response(null, { status: manner.status, headers: { ...manner.headers } });
  }

  async atLeast(count: number): Promise<readonly Arrival[]> {
    while (this.#arrivals.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.#arrivals;
  }

  become(manner: Manner): void {
    this.#manner = manner;
    this.#letGo.resolve();
    this.#letGo = Promise.withResolvers();
  }
}

const hosts = new Map<string, Host>();
