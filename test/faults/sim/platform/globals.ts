import type { Network } from "./network.ts";
import { Answer, Socket } from "./sockets.ts";
import type { World } from "./world.ts";

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
  replace("scheduler", { wait });
  replace("setTimeout", (act: () => void, ms = 0) => {
    const { current } = here();
    if (current === null) throw new Error("nobody waits");
    here().plan(ms, current, "has waited", act);
  });
  replace("Response", Answer);
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
  Object.defineProperty(crypto, "getRandomValues", {
    value: <T extends Uint8Array>(bytes: T): T => {
      here().bytes.fill(bytes);
      return bytes;
    },
  });
}
