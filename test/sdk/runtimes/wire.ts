import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Fault } from "./check.ts";

/**
 * A bad way to a good gateway: `/<fault>/<name>/v1/…` is the gateway's `/v1/…`, and what the fault says befalls the decisions that are asked for under
 * that name. `/sever/<name>` cuts the streams of events that stand on `cut` under it. `/provider/<name>/v1/…` is the provider of models, `/endless/<name>/v1/…` the same with answers that begin and
 * do not end. `/seen/<name>` tells what was asked and what became of it.
 */
export interface Wire extends AsyncDisposable {
  readonly url: string;
}

export async function openWire(gateway: string, provider: string): Promise<Wire> {
  const seen = new Map<string, string[]>();
  const streams = new Map<string, Socket[]>();
  const server = createServer(async (asked, response) => {
    const { method = "", url = "", headers } = asked;
    // A page of any origin may read what the wire itself says.
    const open = { "access-control-allow-origin": headers.origin ?? "*", "access-control-allow-headers": "authorization, content-type" };
    const body = await bodyOf(asked);
    const [, fault = "", name = "", path = ""] = /^\/(\w+)\/([\w-]+)(.*)$/.exec(url) ?? [];
    const lines = seen.get(name) ?? [];
    seen.set(name, lines);
    if (fault === "seen") return response.writeHead(200, { ...open, "content-type": "application/json" }).end(JSON.stringify(lines));
    if (fault === "sever") {
      for (const stream of streams.get(name) ?? []) stream.destroy();
      return response.writeHead(200, open).end("{}");
    }
    if (fault === "cut" && method === "GET" && path.startsWith("/v1/events")) streams.set(name, [...(streams.get(name) ?? []), asked.socket]);
    if (fault === "provider" || fault === "endless") {
      lines.push(`${method} ${path}`);
      if (method === "OPTIONS") return response.writeHead(204, open).end();
      return forward(provider + path, asked, body, response, fault === "endless" ? "endless" : "passed", open);
    }
    const isFaulty = method === "POST" && path.endsWith("/decisions");
    const before = lines.filter((line) => line.startsWith(`POST ${path} `)).length;
    const fate = isFaulty ? fateOf(fault as Fault, before) : "passed";
    lines.push(`${method} ${path} -> ${fate}`);
    switch (fate) {
      case "silent":
        return;
      case "dead":
        return asked.socket.destroy();
      case "busy":
        return response.writeHead(503, { ...open, "retry-after": "0", "content-type": "application/json" }).end("{}");
      case "elsewhere":
        return response.writeHead(307, { ...open, location: `/caught/${name}` }).end();
      case "garbled":
        return response.writeHead(200, { ...open, "content-type": "text/html" }).end("<html>It works!</html>");
      default:
        return forward(gateway + path, asked, body, response, fate);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What becomes of a decision that was asked for so often before on this way. */
function fateOf(fault: Fault, before: number): Fault | "passed" {
  if (fault === "cut" || ((fault === "lost" || fault === "short") && before > 0) || (fault === "busy" && before > 1)) return "passed";
  return fault;
}

/** Asks, and gives the answer on: whole; not at all (`lost`); half of it (`short`); or all of it and no end (`endless`). */
function forward(
  to: string,
  asked: IncomingMessage,
  body: Buffer,
  response: ServerResponse,
  fate: Fault | "passed" | "endless",
  more: Readonly<Record<string, string>> = {},
): void {
  const { host: _, connection: __, ...headers } = asked.headers;
  const onward = request(to, { method: asked.method ?? "GET", headers: { ...headers, connection: "close" } }, async (answer) => {
    answer.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    if (fate === "lost" || fate === "short") {
      const whole = await bodyOf(answer);
      if (fate === "lost") return asked.socket.destroy();
      const { "transfer-encoding": ___, ...kept } = answer.headers;
      response.writeHead(answer.statusCode ?? 500, { ...kept, "content-length": whole.length });
      response.write(whole.subarray(0, whole.length / 2), () => asked.socket.end());
      return undefined;
    }
    response.writeHead(answer.statusCode ?? 500, { ...answer.headers, ...more });
    response.flushHeaders();
    if (fate === "endless") return answer.pipe(response, { end: false });
    answer.pipe(response);
    return undefined;
  });
  onward.on("error", () => response.destroy());
  onward.end(body);
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk);
  return Buffer.concat(chunks);
}
