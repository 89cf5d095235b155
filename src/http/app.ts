import { Hono } from "hono/tiny";
import { type Refusal, refusal } from "../core/refusals.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { IdempotencyKey } from "../flow/idempotency.ts";
import type { Ports } from "../flow/ports.ts";
import { admit } from "./admit.ts";
import { type BodyFormat, formatOf, readText } from "./body.ts";
import { guardPorts, PortLost } from "./guard_ports.ts";
import { found, parseWith } from "./issues.ts";
import { parseJson } from "./json.ts";
import { negotiate } from "./negotiate.ts";
import { isParameter, PARAMETERS } from "./parameters.ts";
import { problemResponse } from "./problems.ts";
import { parseQuery } from "./query.ts";
import type { Answer, Asked, Route } from "./route.ts";
import { ROUTES } from "./routes.ts";

/** What the app needs of the world: the ports of one request, files for `/docs`, and the clock, which is read once per request. */
export interface Wiring<E extends object> {
  ports(env: E, context: ExecutionContext | null): Ports;
  /** The files of the page at `/docs`, by name; without them the page is plain. */
  assets?(env: E): Assets | null;
  now?(): Instant;
}

export interface Assets {
  fetch(request: Request): Promise<Response>;
}

/** The whole HTTP face of the gateway: the table of routes, mounted. */
export function createApp<E extends object>(wiring: Wiring<E>): Hono<{ Bindings: E }> {
  const app = new Hono<{ Bindings: E }>();
  const now = wiring.now ?? Date.now;
  for (const [path, routes] of byPath(ROUTES)) {
    const pattern = path.replaceAll(/\{(\w+)\}/g, ":$1");
    const byMethod = new Map(routes.map((route) => [route.method as string, route]));
    const allowed = routes.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method])).join(", ");
    // One entry of the router for each path: Hono then calls its only match directly, and 405 needs no second entry.
    app.all(pattern, (c) => {
      // Hono answers HEAD as it answers GET, and leaves the body out.
      const route = byMethod.get(c.req.method === "HEAD" ? "GET" : c.req.method);
      if (route === undefined) {
        const door = enter(c.req.raw);
        door.headers.set("Allow", allowed);
        return problemResponse(refusal("method_not_allowed", `Here are offered: ${allowed}.`), door.requestId, door.headers);
      }
      const world: World = {
        ports: () =>
          guardPorts(
            wiring.ports(
              c.env,
              executionOf(() => c.executionCtx),
            ),
          ),
        assets: wiring.assets?.(c.env) ?? null,
        now: now(),
      };
      return serve(route, c.req.raw, c.req.param(), world);
    });
  }
  app.notFound((c) => {
    const door = enter(c.req.raw);
    return problemResponse(refusal("not_found", "Nothing is served at this path."), door.requestId, door.headers);
  });
  return app;
}

interface World {
  readonly ports: () => Ports;
  readonly assets: Assets | null;
  readonly now: Instant;
}

/** What every answer carries, good or bad. */
interface Door {
  readonly requestId: string;
  readonly headers: Headers;
}

async function serve(route: Route, request: Request, segments: Record<string, string>, world: World): Promise<Response> {
  const door = enter(request);
  try {
    const answer = await reach(route, request, segments, world);
    if (answer.ok) return toResponse(answer.value, door.headers);
    // A story may refuse for want of authority that no scope would give; only the door's own refusal names the scopes.
    const scopes = answer.error.atTheDoor ? route.scopes : [];
    return problemResponse(answer.error.refusal, door.requestId, door.headers, scopes);
  } catch (error) {
    const refused = error instanceof PortLost ? error.refusal : refusal("internal", "The gateway made a mistake. Please report the request id.");
    console.error(JSON.stringify({ request_id: door.requestId, route: route.id, code: refused.code, error: lineOf(error) }));
    return problemResponse(refused, door.requestId, door.headers);
  }
}

interface TurnedAway {
  readonly refusal: Refusal;
  readonly atTheDoor: boolean;
}

/** Every door in its order: who asks, what it may have, what it names, what it says. Then the answer. */
async function reach(route: Route, request: Request, segments: Record<string, string>, world: World): Promise<Result<Answer, TurnedAway>> {
  const ports = world.ports();
  const caller = await admit(route, request.headers.get("Authorization"), ports, world.now);
  if (!caller.ok) return away(caller.error, true);
  const accepts = acceptedType(route, request.headers.get("Accept"));
  if (!accepts.ok) return away(accepts.error);
  const parameters = parseParameters(segments);
  if (!parameters.ok) return away(parameters.error);
  const url = new URL(request.url);
  const query = parseQuery(route.query, url.searchParams);
  if (!query.ok) return away(query.error);
  const key = route.creates ? parseKey(request.headers.get("Idempotency-Key")) : ok(null);
  if (!key.ok) return away(key.error);
  const read = await readBody(route, request);
  if (!read.ok) return away(read.error);
  const asked: Asked = {
    ports,
    assets: world.assets,
    now: world.now,
    origin: url.origin,
    headers: request.headers,
    accepts: accepts.value,
    caller: caller.value,
    key: key.value,
    parameters: parameters.value,
    query: query.value,
    ...read.value,
  };
  const answer = await route.answer(asked);
  return answer.ok ? answer : away(answer.error);
}

const away = (refused: Refusal, atTheDoor = false) => err({ refusal: refused, atTheDoor });

/** Visible ASCII, so that it can be logged and sent back as it is. */
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

function enter(request: Request): Door {
  const sent = request.headers.get("X-Request-ID");
  const requestId = sent !== null && REQUEST_ID.test(sent) ? sent : `req_${crypto.randomUUID()}`;
  return { requestId, headers: new Headers({ "X-Request-ID": requestId, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" }) };
}

/** The type to answer with, of those that the route's successful answers have. A route that answers with nothing accepts everything. */
function acceptedType(route: Route, accept: string | null): Result<string, Refusal> {
  const offered = [...new Set(route.answers.flatMap(({ types }) => types))];
  const also = route.answers.flatMap(({ alsoAccepted }) => alsoAccepted ?? []);
  const [preferred] = offered;
  if (preferred === undefined) return ok("");
  const chosen = negotiate(accept, [...offered, ...also]);
  if (chosen === null) return err(refusal("not_acceptable", `Here are offered: ${offered.join(", ")}.`));
  return ok(offered.includes(chosen) ? chosen : preferred);
}

/** A name that nothing can have names nothing: `not_found`, as for what merely is not there. */
function parseParameters(segments: Record<string, string>): Result<{ readonly [name: string]: unknown }, Refusal> {
  const parameters: { [name: string]: unknown } = {};
  for (const [name, text] of Object.entries(segments)) {
    const value = isParameter(name) ? PARAMETERS[name].parse(text) : null;
    if (value === null) return err(refusal("not_found", `There is no such ${name}.`));
    parameters[name] = value;
  }
  return ok(parameters);
}

function parseKey(header: string | null): Result<IdempotencyKey, Refusal> {
  if (header === null || /^[\x21-\x7e]{1,255}$/.test(header)) return ok(header);
  const message = found(header, "1 to 255 visible ASCII characters");
  return err(refusal("body_invalid", `The Idempotency-Key is not valid: ${message}.`, [{ pointer: "/Idempotency-Key", message }]));
}

type ReadBody = Pick<Asked, "body" | "text" | "format">;

const NO_BODY: ReadBody = { body: undefined, text: "", format: "json" };

async function readBody(route: Route, request: Request): Promise<Result<ReadBody, Refusal>> {
  const wanted = route.body;
  if (wanted === null) return ok(NO_BODY);
  const text = await readText(request);
  if (!text.ok) return text;
  if (text.value === "" && wanted.optional) return wanted.schema === null ? ok(NO_BODY) : parsedBody(wanted.schema, {}, "", "json");
  if (text.value === "") return err(refusal("body_malformed", "The body is empty."));
  const format = formatOf(request.headers.get("Content-Type"), wanted.formats);
  if (!format.ok) return format;
  if (wanted.schema === null) return ok({ body: undefined, text: text.value, format: format.value });
  const value = parseJson(text.value);
  return value.ok ? parsedBody(wanted.schema, value.value, text.value, format.value) : value;
}

function parsedBody(
  schema: NonNullable<NonNullable<Route["body"]>["schema"]>,
  value: unknown,
  text: string,
  format: BodyFormat,
): Result<ReadBody, Refusal> {
  const body = parseWith(schema, value, "body");
  return body.ok ? ok({ body: body.value, text, format }) : body;
}

function toResponse(answer: Answer, headers: Headers): Response {
  for (const [name, value] of Object.entries(answer.headers ?? {})) headers.set(name, value);
  if (answer.body === null) return new Response(null, { status: answer.status, headers });
  if ("json" in answer.body) {
    headers.set("Content-Type", "application/json");
    return new Response(JSON.stringify(answer.body.json), { status: answer.status, headers });
  }
  headers.set("Content-Type", answer.body.type);
  return new Response(answer.body.text, { status: answer.status, headers });
}

/** Routes by path, in the table's order: among paths that fit the same request, the table has the fixed one before the one with a parameter. */
function byPath(routes: readonly Route[]): ReadonlyMap<string, readonly Route[]> {
  const paths = new Map<string, Route[]>();
  for (const route of routes) paths.set(route.path, [...(paths.get(route.path) ?? []), route]);
  return paths;
}

/** Outside of the runtime there is no execution context, and Hono throws for who asks. */
function executionOf(ask: () => unknown): ExecutionContext | null {
  try {
    // Hono's own type lacks what the runtime's has beyond it; the runtime gave the object.
    return ask() as ExecutionContext;
  } catch {
    return null;
  }
}

/** For the operator's log only; nothing of it is sent. */
function lineOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const stack = (error.stack ?? "")
    .split("\n")
    .slice(1, 4)
    .map((line) => line.trim());
  return [`${error.name}: ${error.message}`, ...stack].join(" ");
}
