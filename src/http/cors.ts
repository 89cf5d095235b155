/** What a page in a browser may send, beside what every page may (Fetch standard, section 3.2). */
const REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Request-ID, Last-Event-ID, If-Match, If-None-Match, Accept";
/** What it may read of an answer. */
const ANSWER_HEADERS = "X-Request-ID, RateLimit, RateLimit-Policy, Retry-After, Idempotency-Replayed, ETag, WWW-Authenticate, Allow";
const PREFLIGHT_SECONDS = 600;

/** What an answer carries so that a page of this origin may read it. Never credentials: a token is sent by hand, or not at all. */
export const corsFields = (origin: string): Record<string, string> => ({
  "Access-Control-Allow-Origin": origin,
  "Access-Control-Expose-Headers": ANSWER_HEADERS,
  Vary: "Origin",
});

/** The answer to a preflight from an origin that some tenant lists. */
export const preflight = (origin: string, allowed: string, headers: Record<string, string>): Response =>
  new Response(null, {
    status: 204,
    headers: {
      ...headers,
      "Access-Control-Allow-Origin": origin,
      "Access-Control-Allow-Methods": allowed,
      "Access-Control-Allow-Headers": REQUEST_HEADERS,
      "Access-Control-Max-Age": String(PREFLIGHT_SECONDS),
      Vary: "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    },
  });
