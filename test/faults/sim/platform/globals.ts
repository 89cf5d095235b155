import { createHash } from "node:crypto";
import type { Network } from "./network.ts";
import { Answer, Socket } from "./sockets.ts";
import type { Planned, World } from "./world.ts";

/** The world whose clock and chance everything of this process uses now. */
let world: World | null = null;
let network: Network | null = null;

function here(): World {
  if (world === null) throw new Error("there is no world");
  return world;
}

/** Lets this process live in a simulated world: its clock, its timers, its chance. */
export function enter(into: World, over: Network): void {
  world = into;
  network = over;
}

/** Waits as the party whose code runs. */
function wait(ms: number, { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
  const { current } = here();
  if (current === null) throw new Error("nobody waits");
  return new Promise((resolve, reject) => {
    const planned = here().plan(ms, current, "has waited", resolve);
    signal?.addEventListener("abort", () => {
      planned.cancel();
      reject(signal.reason);
    });
  });
}

/** Puts the simulated platform's globals in the place of Node's. Once, before any module of the gateway is imported. */
export function install(): void {
  // While modules are loaded there is no world yet.
  Date.now = () => (world === null ? 0 : world.clockOf(world.current));
  Math.random = () => here().random.next();
  const replace = (name: string, value: unknown): void => {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  };
  // Everybody's steady clock goes as the world does, wherever their other one has been set.
  replace("performance", { now: () => world?.now ?? 0 });
  replace("scheduler", { wait });
  replace("setTimeout", (act: () => void, ms = 0): Planned => {
    const { current } = here();
    if (current === null) throw new Error("nobody waits");
    return here().plan(ms, current, "has waited", act);
  });
  replace("clearTimeout", (planned: Planned | null | undefined) => planned?.cancel());
  // An answer that opens a socket is one of this platform; all others are Node's own.
  replace(
    "Response",
    new Proxy(globalThis.Response, {
      construct: (node, [body, init]: [BodyInit | null, ResponseInit & ConstructorParameters<typeof Answer>[1]]) =>
        init?.status === 101 ? new Answer(null, init) : new node(body, init),
    }),
  );
  replace("WebSocketRequestResponsePair", class {});
  replace(
    "WebSocketPair",
    class {
      readonly 0: Socket;
      readonly 1: Socket;

      constructor() {
        if (network === null) throw new Error("there is no network");
        this[0] = new Socket(here(), network);
        this[1] = new Socket(here(), network);
        this[0].peer = this[1];
        this[1].peer = this[0];
      }
    },
  );
  // Node's own is done by another thread, at a time of its own.
  Object.defineProperty(crypto.subtle, "digest", {
    value: async (algorithm: string, bytes: Uint8Array): Promise<ArrayBuffer> => {
      if (algorithm !== "SHA-256") throw new Error(`there is no ${algorithm} here`);
      return Uint8Array.from(createHash("sha256").update(bytes).digest()).buffer;
    },
  });
  // No process of a simulated world ends in peace: it falls. This process is none of them.
  const on = process.on.bind(process);
  Object.defineProperty(process, "on", {
    value: (event: string, listener: () => void) => (event === "beforeExit" ? process : on(event, listener)),
  });
  Object.defineProperty(crypto, "getRandomValues", {
    value: <T extends Uint8Array>(bytes: T): T => {
      here().bytes.fill(bytes);
      return bytes;
    },
  });
}
