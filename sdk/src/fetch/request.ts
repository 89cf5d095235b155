/** What `fetch` was asked for, before anything of it is used up. */
export interface Asked {
  readonly url: URL;
  readonly method: string;
  readonly headers: Headers;
  /** The caller's own. */
  readonly signal: AbortSignal | undefined;
  /** The body's text. `null`: there is none, or it is no text. Leaves the caller's request as it was. */
  readonly text: () => Promise<string | null>;
}

/** `null`: its address is none; `fetch` says so better. */
export function askedOf(input: string | URL | Request, init: RequestInit | undefined): Asked | null {
  const request = typeof input === "object" && "url" in input ? input : undefined;
  let url: URL;
  try {
    // A page's own address stands before one without a host; no model is asked there.
    url = new URL(request?.url ?? String(input), "http://localhost");
  } catch {
    return null;
  }
  return {
    url,
    method: (init?.method ?? request?.method ?? "GET").toUpperCase(),
    headers: new Headers(init?.headers ?? request?.headers),
    // As `fetch` has it: what is said beside a request replaces what the request says.
    signal: (init?.signal === undefined ? request?.signal : init.signal) ?? undefined,
    async text() {
      const body = init?.body ?? null;
      if (typeof body === "string") return body;
      if (body === null && request === undefined) return null;
      const bytes = body === null ? request?.clone().arrayBuffer() : new Response(body).arrayBuffer();
      try {
        return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(await bytes);
      } catch {
        return null;
      }
    },
  };
}
