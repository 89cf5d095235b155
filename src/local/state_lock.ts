import { createHash } from "node:crypto";
import { mkdirSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

/**
 * Makes the state directory and holds it for this process: two runtimes on one state would be two owners of one account.
 * The lock is a socket somebody listens on, so it ends with its owner, however that ends. Answers whether it is ours.
 */
export async function lockState(directory: string): Promise<boolean> {
  mkdirSync(directory, { recursive: true });
  // In the temporary directory and by digest, because a socket's path is at most about a hundred bytes long.
  const name = createHash("sha256").update(realpathSync(directory)).digest("hex").slice(0, 24);
  const socket = path.join(tmpdir(), `agentsentinel-${process.getuid?.() ?? 0}-${name}.sock`);
  if (await listen(socket)) return true;
  if (await answers(socket)) return false;
  rmSync(socket, { force: true });
  return listen(socket);
}

/** So much is written for a try: the runtime's databases begin with about as much. */
const TRIED_BYTES = 1_048_576;

/** Why nothing can be kept in a directory, in a word of the system's; `null`: something can. That a disk is full shows only when one writes. */
export function whyUnwritable(directory: string): string | null {
  const tried = path.join(directory, `.writable-${process.pid}`);
  try {
    mkdirSync(directory, { recursive: true });
    writeFileSync(tried, Buffer.alloc(TRIED_BYTES), { flush: true });
    rmSync(tried);
    return null;
  } catch (fault) {
    try {
      rmSync(tried, { force: true });
    } catch {
      // Where nothing can be written nothing can be removed.
    }
    return fault instanceof Error && "code" in fault ? String(fault.code) : String(fault);
  }
}

function listen(socket: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer((connection) => connection.destroy());
    server.once("error", (fault: NodeJS.ErrnoException) => (fault.code === "EADDRINUSE" ? resolve(false) : reject(fault)));
    server.listen(socket, () => resolve(true));
    server.unref();
  });
}

function answers(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.once("connect", () => {
      connection.destroy();
      resolve(true);
    });
    connection.once("error", () => resolve(false));
  });
}
