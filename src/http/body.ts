import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";

/** What a body may have where its route says nothing else. */
export const MOST_BODY_BYTES = 256 * 1024;

/**
 * Reads the whole body as UTF-8 text. Refuses more than `most` bytes (`body_too_large`, whether announced or found while reading) and
 * what is not UTF-8 or did not come whole (`body_malformed`). An absent body is the empty text.
 */
export async function readText(request: Request, most: number): Promise<Result<string, Refusal>> {
  let octets: Uint8Array | null;
  try {
    octets = await readOctets(request, most);
  } catch {
    // Its sender went away, or broke off, or its chunks are none. Whoever can still read is told; for the others it makes no difference.
    return err(refusal("body_malformed", "The body did not come whole."));
  }
  if (octets === null) return err(refusal("body_too_large", `The body has more than ${most} bytes.`));
  try {
    return ok(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(octets));
  } catch {
    return err(refusal("body_malformed", "The body is not UTF-8."));
  }
}

/** `null`: there are more than a body may have. */
async function readOctets(request: Request, most: number): Promise<Uint8Array | null> {
  const announced = request.headers.get("Content-Length");
  if (Number(announced ?? 0) > most) return null;
  if (request.body === null) return new Uint8Array();
  if (announced !== null) {
    // HTTP ends the body where its length was announced to end, so it can be taken whole, which is cheaper. The check is for who calls without HTTP.
    const whole = new Uint8Array(await request.arrayBuffer());
    return whole.byteLength > most ? null : whole;
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  const reader: ReadableStreamDefaultReader<Uint8Array> = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return joined(chunks, size);
    size += value.byteLength;
    if (size > most) {
      // The rest is not wanted; whether its sender learns so in time makes no difference.
      reader.cancel().catch(() => undefined);
      return null;
    }
    chunks.push(value);
  }
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.byteLength;
  }
  return whole;
}

export type BodyFormat = "json" | "yaml";

const YAML_TYPES = new Set(["application/yaml", "application/x-yaml", "text/yaml"]);

/** Which format a `Content-Type` names, of those wanted. Refuses others, and charsets other than UTF-8, with `media_type_unsupported`. */
export function formatOf(contentType: string | null, wanted: readonly BodyFormat[]): Result<BodyFormat, Refusal> {
  const [type = "", ...parameters] = (contentType ?? "").split(";").map((part) => part.trim().toLowerCase());
  const charset = parameters
    .find((parameter) => parameter.startsWith("charset="))
    ?.slice(8)
    .replaceAll('"', "");
  const format: BodyFormat | null =
    type === "application/json" || /^[\w.-]+\/[\w.-]+\+json$/.test(type) ? "json" : YAML_TYPES.has(type) ? "yaml" : null;
  if (format !== null && wanted.includes(format) && (charset === undefined || charset === "utf-8" || charset === "utf8")) return ok(format);
  const offered = wanted.map((one) => (one === "json" ? "application/json" : "application/yaml")).join(" or ");
  const found = contentType === null ? "none was sent" : `found ${JSON.stringify(contentType.slice(0, 100))}`;
  return err(refusal("media_type_unsupported", `The body's media type must be ${offered}, in UTF-8; ${found}.`));
}
