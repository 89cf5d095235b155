import type { Ports } from "../flow/ports.ts";
import type { Answer } from "./route.ts";

/** An answer that a client may keep, with an `ETag` of its bytes; 304 where the client has exactly these already (RFC 9110 section 13.1.2). */
export function conditional(ports: Ports, asked: Headers, text: string, type: string): Answer {
  const tag = `"${ports.sha256(`${type}\n${text}`).slice(0, 32)}"`;
  const headers = { ETag: tag, "Cache-Control": "private, no-cache", Vary: "Accept, Authorization" };
  const has = asked.get("If-None-Match");
  const fresh = has !== null && (has.trim() === "*" || has.split(",").some((one) => one.trim().replace(/^W\//, "") === tag));
  return fresh ? { status: 304, body: null, headers } : { status: 200, body: { text, type }, headers };
}
