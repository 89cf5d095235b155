import { Hono } from "hono";
import { type Refusal, refusal } from "../core/refusals.ts";
import type { Principal } from "../core/request.ts";
import { err, ok, type Result } from "../core/result.ts";
import type { Instant } from "../core/time.ts";
import type { IdempotencyKey } from "../flow/idempotency.ts";
import type { Caller, Ports, Read, Went } from "../flow/ports.ts";
import { admit } from "./admit.ts";
import { type BodyFormat, formatOf, MOST_BODY_BYTES, readText } from "./body.ts";
import { corsFields, preflight } from "./cors.ts";
import { DoorMemory } from "./door_memory.ts";
import { guardPorts, PortLost } from "./guard_ports.ts";
import { found, parseWith } from "./issues.ts";
import { parseApart, parseJson } from "./json.ts";
import { negotiate } from "./negotiate.ts";
import { isParameter, PARAMETERS } from "./parameters.ts";
import { type Door, problemResponse } from "./problems.ts";
import { parseQuery } from "./query.ts";
import { DEFAULT_LIMIT } from "./requests.ts";
import { type Answer, type Asked, MS_OF_READING, type ReadWeight, type Route } from "./route.ts";
import { ROUTES } from "./routes.ts";
import { beyondMs, LISTENERS_SPENT, LOOKUPS_SPENT, rateFields, type Throttled, WAITS_SPENT, WORK_OF_TOKEN } from "./throttle.ts";

/** What the app needs of the world: the ports, and the clock, which is read once per request. */
export interface Wiring<E extends object> {
  ports(env: E): Ports;
  now?(): Instant;
}

/** The whole HTTP face of the gateway: the table of routes, mounted. */
export function createApp<E extends object>(wiring: Wiring<E>): Hono<{ Bindings: E }> {
  const app = new Hono<{ Bindings: E }>();
  const memory = new DoorMemory();
  const now = wiring.now ?? Date.now;
  // An environment's ports are made once: what they hold is only the environment.
  const watched = new WeakMap<Ports, Ports>();
  const portsOf = (ports: Ports): Ports => {
    const known = watched.get(ports) ?? guardPorts(ports);
    watched.set(ports, known);
    return known;
  };
  for (const [path, routes] of byPath(ROUTES)) {
    const pattern = path.replaceAll(/\{(\w+)\}/g, ":$1");
    const byMethod = new Map(routes.flatMap((route) => methodsOf(route).map((method) => [method, route])));
    const allowed = [...byMethod.keys()].join(", ");
    // One entry of the router for each path: Hono then calls its only match directly, and 405 needs no second entry.
    app.all(pattern, async (c): Promise<Response> => {
      const route = byMethod.get(c.req.method);
      if (route === undefined) {
        const door = enter(c.req.raw);
        const asks = c.req.method === "OPTIONS" && c.req.raw.headers.has("Access-Control-Request-Method");
        const origin = c.req.raw.headers.get("Origin");
        if (asks && origin !== null && (await isKnown(origin, portsOf(wiring.ports(c.env)), memory, now())))
          return preflight(origin, allowed, door.headers);
        return problemResponse(refusal("method_not_allowed", `Here are offered: ${allowed}.`), {
          ...door,
          headers: { ...door.headers, Allow: allowed },
        });
      }
      const world: World = {
        ports: () => portsOf(wiring.ports(c.env)),
        now: now(),
        clock: now,
        memory,
        background: (work) => inBackground(c, work),
      };
      const answer = await serve(route, c.req.raw, c.req.param(), world);
      return c.req.method === "HEAD" ? withoutBody(answer) : answer;
    });
  }
  app.notFound((c) => {
    const door = enter(c.req.raw);
    return problemResponse(refusal("not_found", "Nothing is served at this path."), door);
  });
  return app;
}

/** HEAD is answered as GET is, without the body. What opens a socket has no body to leave out: there HEAD would have nothing to say. */
const methodsOf = ({ method, answers }: Route): readonly string[] =>
  method === "GET" && answers.every(({ status }) => status !== 101) ? ["GET", "HEAD"] : [method];

interface World {
  readonly ports: () => Ports;
  readonly now: Instant;
  /** For what takes time: what an answer says is of `now`. */
  readonly clock: () => Instant;
  readonly memory: DoorMemory;
  /** Lets work go on after the answer. */
  readonly background: (work: Promise<unknown>) => void;
}

/** What became known of a request on its way in, for what every answer to it carries. */
interface Seen {
  tenant: string | null;
  throttled: Throttled | null;
  /** Ends the wait that it was let in to; `null`: there is none. "none left": it was not let in to one. */
  wait: (() => void) | "none left" | null;
}

/** A directory that cannot be asked lets no page in: its preflight is answered as if it were not known. */
const isKnown = (origin: string, ports: Ports, memory: DoorMemory, now: Instant): Promise<boolean> =>
  memory.isOriginKnown(origin, ports, now).catch(() => false);

function inBackground(c: { readonly executionCtx: { waitUntil(work: Promise<unknown>): void } }, work: Promise<unknown>): void {
  try {
    c.executionCtx.waitUntil(work);
  } catch {
    // Outside of Workers nothing ends with the answer.
  }
}

async function serve(route: Route, request: Request, segments: Record<string, string>, world: World): Promise<Response> {
  const entered = enter(request);
  const seen: Seen = { tenant: null, throttled: null, wait: null };
  let door = entered;
  try {
    const answer = await reach(route, request, segments, world, seen);
    const isThrottled = !answer.ok && answer.error.refusal.code === "throttled";
    const limits = isThrottled ? spentFields(seen) : littleFields(seen.throttled);
    door = { ...entered, headers: { ...entered.headers, ...limits, ...(await pageFields(request, world, seen.tenant, !answer.ok)) } };
    if (answer.ok && route.changesSettings && seen.tenant !== null) world.memory.forget(seen.tenant);
    if (!answer.ok && answer.error.refusal.code === "token_revoked") world.ports().identity.forget(request.headers.get("Authorization"));
    if (answer.ok) return toResponse(answer.value, door.headers);
    // A story may refuse for want of authority that no scope would give; only the door's own refusal names the scopes.
    const scopes = answer.error.atTheDoor ? route.scopes : [];
    return problemResponse(answer.error.refusal, door, scopes);
  } catch (error) {
    door = { ...door, headers: { ...door.headers, ...(await pageFields(request, world, seen.tenant, true).catch(() => ({}))) } };
    const refused = error instanceof PortLost ? error.refusal : refusal("internal", "The gateway made a mistake. Please report the request id.");
    console.error(JSON.stringify({ request_id: door.requestId, route: route.id, code: refused.code, error: lineOf(error) }));
    return problemResponse(refused, door);
  } finally {
    if (typeof seen.wait === "function") seen.wait();
  }
}

interface TurnedAway {
  readonly refusal: Refusal;
  readonly atTheDoor: boolean;
}

/** Every door in its order: who asks, what it may have, what it names, what it says. Then the answer. */
async function reach(
  route: Route,
  request: Request,
  segments: Record<string, string>,
  world: World,
  seen: Seen,
): Promise<Result<Answer, TurnedAway>> {
  const ports = world.ports();
  const caller = await admit(route, segments, request.headers.get("Authorization"), ports, world.now, (principal, mayUse) => {
    seen.tenant = principal.tenant;
    seen.throttled = world.memory.admit(principal, route.isUrgent && mayUse, ports, world.now, world.background);
    if (!seen.throttled.isLet) return TOO_MANY;
    const waitMs = waitOf(route, request.url);
    if (waitMs > 0) seen.wait = world.memory.beginWait(principal, world.now, waitMs) ?? "none left";
    return seen.wait === "none left" ? TOO_MANY_WAIT : null;
  });
  if (!caller.ok) return away(caller.error, true);
  const pace = isPaced(route, caller.value) ? world.memory.paceOf(caller.value.principal.tenant) : null;
  if (pace?.admits(world.now) === false) return away(CROWDED);
  const { weight } = route;
  const worker = weight !== null && caller.value?.kind === "bearer" ? caller.value.principal : null;
  const weigh = (workMs: number): Refusal | null => {
    if (worker === null) return null;
    const found = world.memory.weigh(worker, workMs, world.clock());
    if (found.isLet) return null;
    seen.throttled = found;
    return "of" in found.limit && found.limit.of === WORK_OF_TOKEN.of ? TOO_MUCH : TOO_MUCH_OF_ALL;
  };
  // Before the body is read, and again before it is looked at: only then is known how much it is.
  const tooMuch = weigh(weight?.request ?? 0);
  if (tooMuch !== null) return away(tooMuch);
  const accepts = acceptedType(route, request.headers.get("Accept"));
  if (!accepts.ok) return away(accepts.error);
  const parameters = parseParameters(segments, request.url);
  if (!parameters.ok) return away(parameters.error);
  const query = queryOf(route, request.url);
  if (!query.ok) return away(query.error);
  const key = route.creates ? parseKey(request.headers.get("Idempotency-Key")) : ok(null);
  if (!key.ok) return away(key.error);
  const held = { workMs: weight?.held ?? 0, since: world.clock() };
  const read = await readBody(route, request, (characters) => weigh(((weight?.kib ?? 0) * characters) / 1024 + held.workMs));
  if (!read.ok) return away(read.error);
  const reader = caller.value?.kind === "bearer" ? caller.value.principal : null;
  if (reader !== null && route.reads === null) world.memory.noteAsking(reader.tenant, world.now);
  const reading = reader !== null && route.reads !== null ? await beginReading(reader, route.reads, limitOf(query.value), world) : null;
  if (reading?.ok === false) {
    seen.throttled = reading.error;
    return away(TOO_MUCH_READ);
  }
  let spentMs = 0;
  const asked: Asked = {
    ports,
    now: world.now,
    origin: originOf(request.url),
    headers: request.headers,
    accepts: accepts.value,
    caller: caller.value,
    key: key.value,
    parameters: parameters.value,
    query: query.value,
    ...read.value,
    spend: (workMs) => {
      spentMs += workMs;
    },
    went: (through) => reading?.value.went(through),
    turn: async () => reading?.value.turn(),
  };
  if (worker !== null) {
    try {
      const answer = await route.answer(asked);
      return answer.ok ? answer : away(answer.error);
    } finally {
      world.memory.settle(worker, held, spentMs, world.clock());
    }
  }
  if (pace === null) {
    try {
      const answer = await route.answer(asked);
      if (!answer.ok) return away(answer.error);
      return reading === null ? answer : ok(printed(answer.value, reading.value.went));
    } finally {
      reading?.value.end();
    }
  }
  // Not from when it came: how slowly its caller sends a body says nothing of us.
  const began = world.clock();
  pace.begin();
  const answering = route.answer(asked).finally(() => pace.end(world.clock() - began, world.clock()));
  // Goes on when the caller hangs up: else nobody would say that it has ended.
  world.background(answering.catch(() => undefined));
  const answer = await answering;
  return answer.ok ? answer : away(answer.error);
}

interface Reading {
  readonly went: Went;
  readonly turn: () => Promise<void>;
  /** Nothing is held for it any more: it has cost what it went through. */
  readonly end: () => void;
}

/** Waits for a read's turn. Each waits by its own timer: a promise of another request's is none of its. */
async function beginReading(reader: Principal, weight: ReadWeight, items: number, { memory, clock }: World): Promise<Result<Reading, Throttled>> {
  let heldMs = weight.item * items;
  const turn = memory.takeTurn(reader, weight.request + heldMs, clock());
  if (!turn.ok) return turn;
  if (turn.value > 0) await pause(turn.value);
  let part = { workMs: weight.request, from: clock(), to: clock() };
  const end = () => {
    memory.countRead(reader, beyondMs(part.workMs, part.to - part.from) - heldMs, clock());
    heldMs = 0;
  };
  return ok({
    went: (through) => {
      const workMs = msOf(through);
      // Where it stands now: how slowly what was read is taken says nothing of us.
      part = { ...part, workMs: part.workMs + workMs, to: clock() };
      memory.countRead(reader, workMs, clock());
    },
    turn: async () => {
      end();
      const waitMs = memory.waitOfRead(reader, clock());
      // Counted before it waits, as what begins is: behind those who go on beginning its turn would never come.
      heldMs = weight.item * items;
      memory.countRead(reader, heldMs, clock());
      if (waitMs > 0) await pause(waitMs);
      part = { workMs: 0, from: clock(), to: clock() };
    },
    end,
  });
}

/** So many items a read asks for; one that says nothing of it is taken for a page. */
const limitOf = (query: unknown): number => {
  const limit = typeof query === "object" && query !== null && "limit" in query ? query.limit : undefined;
  return typeof limit === "number" ? limit : DEFAULT_LIMIT;
};

const msOf = ({ rows = 0, characters = 0, sessions = 0 }: Partial<Read>): number =>
  rows * MS_OF_READING.rows + characters * MS_OF_READING.characters + sessions * MS_OF_READING.sessions;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, Math.ceil(ms)));

/** An answer of JSON as its text, whose characters are counted. */
function printed(answer: Answer, went: Went): Answer {
  if (answer.body === null || !("json" in answer.body)) return answer;
  const text = JSON.stringify(answer.body.json);
  went({ characters: text.length });
  return { ...answer, body: { text, type: "application/json" } };
}

/** The longest that any query may ask for. */
const MOST_WAIT_MS = 30_000;

/** So long the answer may be held back. A query that is not valid is told so before anything is. */
function waitOf(route: Route, url: string): number {
  if (!route.waits || !url.includes("?")) return 0;
  return Math.min(MOST_WAIT_MS, Number(new URL(url).searchParams.get("wait_ms")) || 0);
}

/** What is asked again and again by agents, and can be asked again later. What they report is always taken, and people are always heard. */
const isPaced = (route: Route, caller: Caller | null): caller is Extract<Caller, { kind: "bearer" }> =>
  (route.id === "decide" || route.id === "decideBatch") && caller?.kind === "bearer" && caller.principal.kind !== "human";

/** Nobody reads the body of an answer to HEAD, and one that never ends would be made for ever. */
async function withoutBody(response: Response): Promise<Response> {
  await response.body?.cancel();
  return new Response(null, response);
}

/** What a route makes of no query at all, which is what nearly every request has. */
const NO_QUERY = new WeakMap<Route, Result<unknown, Refusal>>();

function queryOf(route: Route, url: string): Result<unknown, Refusal> {
  if (url.includes("?")) return parseQuery(route.query, new URL(url).searchParams);
  const known = NO_QUERY.get(route) ?? parseQuery(route.query, new URLSearchParams());
  NO_QUERY.set(route, known);
  return known;
}

/** A request's URL is absolute and normal when it gets here: its origin ends where its path begins. */
const originOf = (url: string): string => url.slice(0, url.indexOf("/", "https://".length));

const TOO_MANY = refusal("throttled", "This token has made too many requests; nothing was looked at. Come back when Retry-After says.");

const TOO_MANY_WAIT = refusal(
  "throttled",
  "Too many requests of this token, or of all its tenant's, wait for held decisions; nothing was looked at. Come back when Retry-After says, or ask without `wait_ms`.",
);

const TOO_MUCH = refusal(
  "throttled",
  "The checks of policies, simulations and reports of this token have kept the gateway busy for as long as they may; nothing was done. Come back when Retry-After says. Decisions go on.",
);
const TOO_MUCH_OF_ALL = refusal(
  "throttled",
  "The checks of policies, simulations and reports of this tenant's tokens together have kept the gateway busy for as long as they may; nothing was done. Come back when Retry-After says. Decisions go on.",
);

const TOO_MUCH_READ = refusal(
  "throttled",
  "So much that this token, or all tokens of its tenant together, asked to read waits for its turn that this would wait too long; nothing was read. Come back when Retry-After says. Decisions go on.",
);

const CROWDED = refusal(
  "authority_unavailable",
  "Too many requests are being answered; nothing was done. Come back when Retry-After says, with the same id.",
);

/** Said of a limit only when little of it is left. */
const LITTLE = 0.2;

const littleFields = (throttled: Throttled | null): Readonly<Record<string, string>> =>
  throttled !== null && throttled.remaining < throttled.limit.requests * LITTLE ? rateFields(throttled) : {};

/**
 * What a 429 says of its limit. Nobody is known yet: that of looking up issuers. Else the token's; or, of who was let in, that of waits, or that of
 * listeners.
 */
function spentFields({ throttled, wait }: Seen): Readonly<Record<string, string>> {
  if (throttled === null) return LOOKUPS_SPENT;
  if (wait === "none left") return WAITS_SPENT;
  return throttled.isLet ? LISTENERS_SPENT : rateFields(throttled);
}

/**
 * What an answer says to pages of the origins that its tenant lists; of a refusal that is no tenant's, such as that a token is not valid, to those that any
 * tenant lists. A page that may not read how it was refused would take the gateway for out of reach, and some actions may run then.
 */
async function pageFields(request: Request, world: World, tenant: string | null, isRefusal: boolean): Promise<Record<string, string>> {
  const origin = request.headers.get("Origin");
  if (origin === null || (tenant === null && !isRefusal)) return {};
  const ports = world.ports();
  const isListed = tenant === null ? isKnown(origin, ports, world.memory, world.now) : world.memory.allowsOrigin(tenant, origin, ports, world.now);
  return (await isListed) ? corsFields(origin) : { Vary: "Origin" };
}

const away = (refused: Refusal, atTheDoor = false) => err({ refusal: refused, atTheDoor });

/** Visible ASCII, so that it can be logged and sent back as it is. */
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

function enter(request: Request): Door {
  const sent = request.headers.get("X-Request-ID");
  const requestId = sent !== null && REQUEST_ID.test(sent) ? sent : `req_${crypto.randomUUID()}`;
  return {
    origin: originOf(request.url),
    requestId,
    headers: { "X-Request-ID": requestId, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store" },
  };
}

/** The type to answer with, of those that the route's successful answers have. A route that answers with nothing accepts everything. */
function acceptedType(route: Route, accept: string | null): Result<string, Refusal> {
  const { offered, also } = offersOf(route);
  const [preferred] = offered;
  if (preferred === undefined) return ok("");
  if (accept === null || accept === "*/*") return ok(preferred);
  const chosen = negotiate(accept, [...offered, ...also]);
  if (chosen === null) return err(refusal("not_acceptable", `Here are offered: ${offered.join(", ")}.`));
  return ok(offered.includes(chosen) ? chosen : preferred);
}

interface Offers {
  readonly offered: readonly string[];
  readonly also: readonly string[];
}

const OFFERS = new WeakMap<Route, Offers>();

function offersOf(route: Route): Offers {
  const known = OFFERS.get(route);
  if (known !== undefined) return known;
  const offers = {
    offered: [...new Set(route.answers.flatMap(({ types }) => types))],
    also: route.answers.flatMap(({ alsoAccepted }) => alsoAccepted ?? []),
  };
  OFFERS.set(route, offers);
  return offers;
}

/** A name that nothing can have names nothing: `not_found`, as for what merely is not there. */
function parseParameters(segments: Record<string, string>, url: string): Result<{ readonly [name: string]: unknown }, Refusal> {
  // The router leaves octets that are no UTF-8 as they were written: `%FC` would name what `%25FC` does.
  if (!isDecodable(url)) return err(refusal("not_found", "The path is not percent-encoded UTF-8."));
  const parameters: { [name: string]: unknown } = {};
  for (const [name, text] of Object.entries(segments)) {
    const value = isParameter(name) ? PARAMETERS[name].parse(text) : null;
    if (value === null) return err(refusal("not_found", `There is no such ${name}.`));
    parameters[name] = value;
  }
  return ok(parameters);
}

function isDecodable(url: string): boolean {
  if (!url.includes("%")) return true;
  try {
    decodeURIComponent(url.split("?", 1)[0] ?? "");
    return true;
  } catch {
    return false;
  }
}

function parseKey(header: string | null): Result<IdempotencyKey, Refusal> {
  if (header === null || /^[\x21-\x7e]{1,255}$/.test(header)) return ok(header);
  const message = found(header, "1 to 255 visible ASCII characters");
  return err(refusal("body_invalid", `The Idempotency-Key is not valid: ${message}.`, [{ pointer: "/Idempotency-Key", message }]));
}

type ReadBody = Pick<Asked, "body" | "text" | "format">;

const NO_BODY: ReadBody = { body: undefined, text: "", format: "json" };

/** `weigh` hears how long the text is before anything looks into it, and may refuse it. */
async function readBody(route: Route, request: Request, weigh: (characters: number) => Refusal | null): Promise<Result<ReadBody, Refusal>> {
  const wanted = route.body;
  if (wanted === null) {
    // Where nobody wants a body it is read all the same: what is left unread makes the runtime cut a long answer off.
    if (request.body !== null) await readText(request, MOST_BODY_BYTES);
    return ok(NO_BODY);
  }
  const encoding = request.headers.get("Content-Encoding");
  if (encoding !== null && encoding.toLowerCase() !== "identity") {
    return err(refusal("media_type_unsupported", "The body must not be encoded: send it without Content-Encoding."));
  }
  const text = await readText(request, wanted.mostBytes ?? MOST_BODY_BYTES);
  if (!text.ok) return text;
  const tooMuch = weigh(text.value.length);
  if (tooMuch !== null) return err(tooMuch);
  if (text.value === "" && wanted.optional) return wanted.schema === null ? ok(NO_BODY) : parsedBody(wanted.schema, {}, "", "json");
  if (text.value === "") return err(refusal("body_malformed", "The body is empty."));
  const format = formatOf(request.headers.get("Content-Type"), wanted.formats);
  if (!format.ok) return format;
  if (wanted.schema === null) return ok({ body: undefined, text: text.value, format: format.value });
  const value = wanted.apart === undefined ? parseJson(text.value) : parseApart(text.value, wanted.apart);
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

/** Headers stay a plain object up to here: each one set on a `Headers` crosses into the runtime by itself. */
function toResponse(answer: Answer, common: Record<string, string>): Response {
  const headers: Record<string, string> = { ...common, ...answer.headers };
  const vary = [common.Vary, answer.headers?.Vary].filter((field) => field !== undefined);
  if (vary.length > 0) headers.Vary = vary.join(", ");
  if (answer.body === null) return new Response(null, { status: answer.status, headers });
  if ("socket" in answer.body) return new Response(null, { status: 101, webSocket: answer.body.socket, headers });
  if ("json" in answer.body) {
    return new Response(JSON.stringify(answer.body.json), { status: answer.status, headers: { ...headers, "Content-Type": "application/json" } });
  }
  return new Response(answer.body.text, { status: answer.status, headers: { ...headers, "Content-Type": answer.body.type } });
}

/** Routes by path, in the table's order: among paths that fit the same request, the table has the fixed one before the one with a parameter. */
function byPath(routes: readonly Route[]): ReadonlyMap<string, readonly Route[]> {
  const paths = new Map<string, Route[]>();
  for (const route of routes) paths.set(route.path, [...(paths.get(route.path) ?? []), route]);
  return paths;
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
