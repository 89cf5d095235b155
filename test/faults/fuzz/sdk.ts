import { createSentinel, type Decision, isAgentSentinelError } from "../../../sdk/src/index.ts";
import { openApiDocument } from "../../../src/http/openapi.ts";
import { ROUTES } from "../../../src/http/routes.ts";
import type { Chance } from "./chance.ts";
import { type Look, main, type Seen } from "./loop.ts";
import { spoiltBody } from "./mutate.ts";
import { treeOf } from "./tree.ts";
import { fitting, type Known, type Schema } from "./values.ts";

/**
 * What stands between the SDK and its gateway may answer anything. The SDK must never take for an allow what was none, and must never throw anything but
 * its own errors; and whatever the OpenAPI document says that the gateway answers, it must be able to read.
 */

// The document's own shape, as `operations.ts` reads it from the wire.
const document = openApiDocument(ROUTES) as unknown as { readonly components: { readonly schemas: { readonly [name: string]: Schema } } };
const { schemas } = document.components;
const find = (ref: string): Schema => schemas[ref.slice("#/components/schemas/".length)] ?? {};

const SESSION = "ses_019a9c1e-7f00-7abc-8def-000000000001";
const RUN = "run_019a9c1e-7f00-7abc-8def-000000000002";
const LATER = "2099-11-22T19:00:00.000Z";

/** Members that agree with each other, as the contract says in words: the schema alone would let an allow carry a reason to deny. */
function decisionBody(chance: Chance, asked: Asked, isNow: boolean): { readonly [member: string]: unknown } {
  const verdict = chance.pick(["allow", "allow", "allow", "deny", "hold"]);
  const reasons = (schemas.ReasonCode?.enum ?? []).filter((code): code is string => typeof code === "string");
  const others = reasons.filter((code) => code !== "permitted" && code !== "approval_required");
  const code = verdict === "allow" ? "permitted" : verdict === "hold" ? "approval_required" : chance.pick(others);
  const meant: { readonly [member: string]: unknown } = {
    "": null,
    id: asked.id,
    session: SESSION,
    run: RUN,
    action: asked.action,
    verdict,
    decision: verdict === "allow",
    stops: verdict === "deny" ? chance.pick(["action", "run", "session"]) : null,
    approval: verdict === "hold" ? { id: `apr_${chance.uuid()}`, url: "https://gate.example/v1/approvals/x", expires_at: LATER } : null,
    reservation: verdict === "allow" ? { amount_usd: "0.05", expires_at: LATER } : null,
    state: verdict === "allow" ? "pending" : verdict === "deny" ? "denied" : "held",
  };
  const known: Known = (at) => {
    const [name = ""] = at;
    if (at.length === 1 && Object.hasOwn(meant, name) && meant[name] !== null) return meant[name];
    return at.join("/") === "reason/code" ? code : null;
  };
  const tree = fitting(schemas[isNow ? "DecisionNow" : "Decision"] ?? {}, chance, known, find);
  const made: { [member: string]: unknown } = JSON.parse(JSON.stringify(meaningOf(tree)));
  for (const name of ["stops", "approval", "reservation"]) if (meant[name] === null) made[name] = null;
  // Nobody is told of an intervention but by an answer that is superseded, which is a no of its own.
  if (chance.isLucky(0.9)) delete made.superseded;
  return made;
}

const meaningOf = (tree: ReturnType<typeof treeOf>): unknown =>
  "items" in tree
    ? tree.items.map(meaningOf)
    : "members" in tree
      ? Object.fromEntries(tree.members.map(([key, member]) => [JSON.parse(key), meaningOf(member)]))
      : JSON.parse(tree.raw);

interface Asked {
  readonly id: string;
  /** `null`: the request did not name it. */
  readonly action: string | null;
}

/** One answer on the wire, and whether it is as the document has it. */
interface Wire {
  readonly status: number;
  readonly body: Buffer;
  readonly isHonest: boolean;
  readonly headers: Record<string, string>;
}

function wireOf(chance: Chance, body: unknown, status: number): Wire {
  const isHonest = chance.isLucky(0.35);
  const text = JSON.stringify(body);
  if (isHonest) return { status, body: Buffer.from(text), isHonest, headers: { "content-type": "application/json" } };
  const isOtherStatus = chance.isLucky(0.2);
  return {
    status: isOtherStatus
      ? chance.pick([200, 201, 202, 204, 206, 299, 301, 302, 304, 400, 401, 403, 404, 409, 422, 429, 500, 501, 502, 503, 504, 599])
      : status,
    body: chance.isLucky(0.1) ? oddBody(chance) : chance.isLucky(0.2) && isOtherStatus ? Buffer.from(text) : spoiltBody(treeOf(body), chance),
    isHonest: false,
    headers: chance.isLucky(0.2)
      ? { "retry-after": chance.pick(["0", "1", "-1", "x", "999999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "1e3"]), "content-type": "text/html" }
      : {},
  };
}

const oddBody = (chance: Chance): Buffer =>
  Buffer.from(
    chance.pick([
      "",
      "null",
      "true",
      '"allow"',
      "[]",
      "{}",
      "<html>",
      '{"verdict":"allow"}',
      '{"verdict":"allow","decision":true}',
      '{"decisions":[]}',
      '{"decisions":null}',
      `{"code":"internal","detail":${JSON.stringify("x".repeat(100_000))}}`,
      '{"code":{},"detail":[],"issues":{}}',
      '{"code":"x","detail":"d","issues":[null,1,{"pointer":1},{"pointer":"/a","message":"m"}],"request_id":7}',
      '{"__proto__":{"verdict":"allow"}}',
    ]),
  );

/** Whether a text says an allow of just what was asked. Read by itself, and not as the SDK reads it. */
function saysAllow(text: string, asked: Asked): boolean {
  let value: unknown;
  try {
    value = JSON.parse(withoutMark(text));
  } catch {
    return false;
  }
  return isAllow(value, asked);
}

function isAllow(value: unknown, asked: Asked): boolean {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const own = new Map(Object.entries(value));
  const reason: unknown = own.get("reason");
  const code = typeof reason === "object" && reason !== null ? new Map(Object.entries(reason)).get("code") : undefined;
  const isOfIt = own.get("id") === asked.id && own.get("session") === SESSION && (asked.action === null || own.get("action") === asked.action);
  const says = isOfIt && own.get("verdict") === "allow";
  return (
    says &&
    own.get("decision") === true &&
    code === "permitted" &&
    (own.get("stops") ?? null) === null &&
    (own.get("superseded") ?? null) === null &&
    (own.get("approval") ?? null) === null
  );
}

const ODD_FAULTS = [
  new TypeError("fetch failed"),
  undefined,
  null,
  "text",
  7,
  { name: "AbortError" },
  Object.create(null),
  new Error("x", { cause: { code: "ECONNRESET" } }),
];

/** One session and one call in it, whose answers come from chance. */
export const look: Look = async (chance) => {
  let wire: Wire | null = null;
  let last: Asked = { id: "", action: "" };
  const script: ((asked: Asked) => Wire)[] = [];
  let ids = 0;
  const uuid = (): string => `019a9c1e-7f00-7abc-8def-${String(++ids).padStart(12, "0")}`;
  let clock = Date.UTC(2026, 10, 22);
  const sentinel = createSentinel({
    url: "http://gate.example",
    token: "a.b.c",
    newId: uuid,
    now: () => clock,
    random: () => 0,
    // A pause is over at once; a call's end is far away.
    schedule: (callback, ms) => {
      if (ms > 9_000) return () => undefined;
      clock += ms;
      queueMicrotask(callback);
      return () => undefined;
    },
    retries: chance.below(2),
    timeoutMs: 60_000,
    fetch: async (_url, init) => {
      const body: unknown = init.body == null ? {} : JSON.parse(init.body);
      const decisions: unknown = Reflect.get(Object(body), "decisions");
      const members = new Map<string, unknown>(Object.entries(Object(Array.isArray(decisions) ? decisions[0] : body)));
      last = { id: String(members.get("id") ?? last.id), action: String(members.get("action") ?? last.action) };
      if (script.length === 0 && chance.isLucky(0.05)) throw chance.pick(ODD_FAULTS);
      wire = script.shift()?.(last) ?? wire;
      if (wire === null) throw new Error("nothing was scripted");
      const isEmpty = [204, 205, 304].includes(wire.status);
      return new Response(isEmpty ? null : new Uint8Array(wire.body), { status: wire.status, headers: wire.headers });
    },
  });
  script.push(() => ({
    status: 201,
    isHonest: true,
    headers: {},
    body: Buffer.from(JSON.stringify({ id: SESSION, agent: "bot", run: RUN, policy: null, expires_at: LATER })),
  }));
  const session = await sentinel.openSession();
  const action = chance.pick(["search", "send_email"]);
  const kind = chance.pick(["decide", "decide", "guard", "guard", "batch", "topup", "read", "commit", "session", "open"]);
  const answer = (asked: Asked): Wire => {
    switch (kind) {
      case "batch":
        return wireOf(chance, { decisions: [decisionBody(chance, { id: asked.id, action }, false)] }, 200);
      case "read":
        return wireOf(chance, decisionBody(chance, { id: READ_ID, action }, true), 200);
      case "topup":
        return wireOf(chance, decisionBody(chance, { id: READ_ID, action }, false), 200);
      case "commit":
        return wireOf(chance, meaningOf(fitting(schemas.Settlement ?? {}, chance, (at) => (at.join("/") === "id" ? READ_ID : null), find)), 200);
      case "session":
        return wireOf(
          chance,
          meaningOf(fitting(schemas.SessionDetail ?? {}, chance, (at) => ({ id: SESSION, run: RUN })[at.join("/")] ?? null, find)),
          200,
        );
      case "open":
        return wireOf(
          chance,
          meaningOf(fitting(schemas.OpenedSession ?? {}, chance, (at) => ({ id: SESSION, run: RUN })[at.join("/")] ?? null, find)),
          201,
        );
      default:
        return wireOf(chance, decisionBody(chance, { id: asked.id, action }, false), 200);
    }
  };
  script.push(answer);

  let ran = 0;
  const judged = (found: Decision): Seen => {
    let isLet = true;
    try {
      found.assertAllowed();
    } catch (error) {
      isLet = false;
      if (!isAgentSentinelError(error)) return odd("assertAllowed threw no error of the SDK", error, wire);
    }
    return allowance(isLet || found.verdict === "allow" ? isLet : false);
  };
  const allowance = (isLet: boolean): Seen => {
    const asked = kind === "topup" ? { id: READ_ID, action: null } : { id: last.id, action };
    const text = wire?.body.toString("utf8") ?? "";
    const isSaid =
      wire !== null && (wire.status === 200 || wire.status === 201) && (kind === "batch" ? saysAllowInBatch(text, asked) : saysAllow(text, asked));
    if (isLet && !isSaid) return { fault: `${kind}: an allow that was not one`, input: shownWire(wire) };
    if (!isLet && isSaid && wire?.isHonest) return { fault: `${kind}: an honest allow that was not taken`, input: shownWire(wire) };
    return { outcome: `${kind}: ${isLet ? "allowed" : "not allowed"}` };
  };
  try {
    switch (kind) {
      case "decide":
        return judged(await session.decide({ action }));
      case "batch": {
        const [one] = await session.decideAll([{ action }]);
        return one === undefined ? { fault: "batch: an answer of no decisions", input: shownWire(wire) } : judged(one);
      }
      case "topup":
        return judged(await session.topup(READ_ID, "0.05"));
      case "guard": {
        script.push(() => ({ status: 200, isHonest: false, headers: {}, body: Buffer.from("{}") }));
        const asked = wireBefore(() => wire);
        const guarded = session.guard({ action, costUsd: "0" }, async () => {
          ran++;
          asked.hold();
          return "done";
        });
        const thrown = await guarded().then(
          () => null,
          (error: unknown) => ({ error }),
        );
        if (ran > 1) return { fault: "guard: ran more than once", input: shownWire(wire) };
        if (ran === 1 && !saysAllow(asked.wire()?.body.toString("utf8") ?? "", { id: last.id, action })) {
          return { fault: "guard: ran without an allow", input: shownWire(asked.wire()) };
        }
        if (thrown !== null) throw thrown.error;
        return { outcome: `guard: ${ran === 1 ? "ran" : "did not run"}` };
      }
      case "read":
        await session.readDecision(READ_ID);
        return { outcome: "read: read" };
      case "commit":
        await session.commit(READ_ID, { costUsd: "0.01", outcome: "success" });
        return { outcome: "commit: told" };
      case "session":
        await sentinel.session(SESSION);
        return { outcome: "session: taken up" };
      default:
        await sentinel.openSession();
        return { outcome: "open: opened" };
    }
  } catch (error) {
    if (!isAgentSentinelError(error)) return odd(`${kind}: threw no error of the SDK`, error, wire);
    const honest = wire as Wire | null;
    if (honest?.isHonest && honest.status < 300 && error.code === "answer_malformed") {
      return {
        fault: `${kind}: an answer as documented was not read: ${error.message.replace(/\/\d+/g, "/n").replaceAll(`"${action}"`, "an action")}`,
        input: shownWire(honest),
      };
    }
    return { outcome: `${kind}: ${error.name}` };
  }
};

const READ_ID = "dec_019a9c1e-7f00-7abc-8def-00000000abcd";

/** Keeps the answer that stood when the guarded function began: later ones are about its commit. */
function wireBefore(now: () => Wire | null): { hold(): void; wire(): Wire | null } {
  let held: Wire | null = null;
  return {
    hold: () => {
      held = now();
    },
    wire: () => held,
  };
}

function saysAllowInBatch(text: string, asked: Asked): boolean {
  try {
    const value: unknown = JSON.parse(withoutMark(text));
    const decisions = typeof value === "object" && value !== null ? new Map(Object.entries(value)).get("decisions") : null;
    return Array.isArray(decisions) && isAllow(decisions[0], asked);
  } catch {
    return false;
  }
}

/** Whoever reads a body as text leaves a byte order mark out (Encoding Standard). */
const withoutMark = (text: string): string => text.replace(/^\ufeff/, "");

const shownWire = (wire: Wire | null): string => (wire === null ? "no answer" : `${wire.status} ${wire.body.toString("utf8").slice(0, 2500)}`);

const odd = (fault: string, error: unknown, wire: Wire | null): Seen => ({
  fault: `${fault}: ${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`,
  input: `${shownWire(wire)}\n${error instanceof Error ? (error.stack ?? "") : ""}`,
});

if (import.meta.main) {
  process.on("unhandledRejection", (reason) => {
    console.error("A promise was rejected and nobody was told:", reason);
    process.exit(1);
  });
  await main("SDK", look, 100_000);
}
