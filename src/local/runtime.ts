import { type ChildProcess, spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import path from "node:path";
import type { Writable } from "node:stream";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare, type V4MiniflareOptions } from "miniflare";
import type { Built } from "./build.ts";

export interface Runtime {
  readonly url: string;
  readonly miniflare: Miniflare;
  /** Ends the runtime and waits until it is gone. What was answered is on disk: the runtime answers nothing before that. */
  stop(): Promise<void>;
}

export interface RuntimeOptions {
  readonly built: Built;
  readonly secrets: { readonly [name: string]: string };
  /** Where wrangler would keep its local state, so that `wrangler d1 … --local --persist-to` sees the same. */
  readonly state: string;
  /** 0: any free one. */
  readonly port: number;
  /** The runtime went away without having been asked to. */
  readonly onDeath: (how: string) => void;
}

/** Starts the Worker in workerd on 127.0.0.1, reached directly: no proxy stands between a caller and the Worker. */
export async function startRuntime({ built, secrets, state, port, onDeath }: RuntimeOptions): Promise<Runtime> {
  const options = {
    ...built.worker,
    name: "agentsentinel",
    modules: built.modules,
    modulesRoot: path.dirname(built.modules[0]?.path ?? state),
    bindings: { ...bindingsOf(built), ...DEVELOPMENT, ...secrets },
    unsafeDirectSockets: [{ host: "127.0.0.1", port }],
    host: "127.0.0.1",
    port: 0,
    cf: false,
    logRequests: false,
    log: new Log(LogLevel.WARN),
    telemetry: { enabled: false },
    resourcePersistencePath: path.join(state, "v3"),
  };
  let stopping = false;
  const guard = startWatchdog(state);
  let gone: Promise<void> = Promise.resolve();
  const onChild = (message: unknown): void => {
    const child = childOf(message);
    gone = new Promise((resolve) => {
      child?.once("spawn", () => guard.watch(child.pid));
      child?.once("exit", (code, signal) => {
        resolve();
        if (!stopping) onDeath(signal === null ? `exit code ${code}` : `signal ${signal}`);
      });
    });
  };
  // Miniflare keeps its process to itself; Node tells of every process it starts, and until the runtime is ready that is the only one.
  subscribe("child_process", onChild);
  let miniflare: Miniflare | null = null;
  try {
    // The options are wrangler's own, from its file, and these few; Miniflare parses them again and names what it does not like.
    miniflare = new Miniflare(convertV4MiniflareOptions(options as V4MiniflareOptions));
    const running = miniflare;
    await running.ready;
    const url = (await running.unsafeGetDirectURL()).origin;
    return {
      url,
      miniflare: running,
      async stop() {
        stopping = true;
        await running.dispose();
        await gone;
        guard.end();
      },
    };
  } catch (fault) {
    stopping = true;
    await miniflare?.dispose().catch(() => undefined);
    guard.end();
    throw fault;
  } finally {
    unsubscribe("child_process", onChild);
  }
}

/**
 * A shell that does nothing but wait on a pipe of ours. When this process is gone, however it went, the pipe ends and the shell ends the
 * runtime with it. In a group of its own, so that what kills us all does not kill it first.
 */
function startWatchdog(state: string): { watch(pid: number | undefined): void; end(): void } {
  const script = 'read -r pid || exit; read -r done || kill -9 "$pid"';
  const shell = spawn("/bin/sh", ["-c", script, "agentsentinel-watchdog", state], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  shell.unref();
  shell.once("error", () => undefined);
  const pipe: Writable = shell.stdin;
  pipe.on("error", () => undefined);
  return {
    watch: (pid) => pipe.write(`${pid}\n`),
    end: () => pipe.end("done\n"),
  };
}

function childOf(message: unknown): ChildProcess | null {
  // The channel's documented message is `{ process: ChildProcess }`.
  return typeof message === "object" && message !== null && "process" in message ? (message.process as ChildProcess) : null;
}

/** On this machine an issuer or a receiver to try with may be on this machine too. */
const DEVELOPMENT: { readonly [name: string]: string } = { ALLOW_PRIVATE_ISSUERS: "true", ALLOW_PRIVATE_WEBHOOKS: "true" };

const bindingsOf = (built: Built): object => (typeof built.worker.bindings === "object" ? (built.worker.bindings ?? {}) : {});
