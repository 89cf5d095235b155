/**
 * A response with another body: same status, headers, address. What was said of the old body's bytes is left out. The constructor cannot be told where an
 * answer came from, so its three members are told here, to copies as well.
 */
export function responseLike(original: Response, body: BodyInit): Response {
  const headers = new Headers(original.headers);
  headers.delete("content-length");
  headers.delete("content-encoding");
  return comingFrom(original, new Response(body, { status: original.status, statusText: original.statusText, headers }));
}

function comingFrom({ url, redirected, type }: Response, made: Response): Response {
  const { clone } = made;
  return Object.defineProperties(made, {
    url: { value: url },
    redirected: { value: redirected },
    type: { value: type },
    clone: { value: () => comingFrom(made, clone.call(made)) },
  });
}
