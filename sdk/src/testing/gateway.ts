import { AgentSentinelError } from "../errors.ts";
import { LocalEngine, LocalRefusedError } from "../local.ts";
import { snake } from "../read.ts";
import type { ActionRequest, CommitReport, DecisionNow, Json, UsdInput } from "../surface.ts";
import type { Fetch } from "../transport.ts";
import { type Asked, Calls } from "./calls.ts";
import type { TestClock } from "./clock.ts";
import { type PolicyParts, Script } from "./script.ts";

/** What a test's gateway is made of. */
export interface GatewaySettings {
  readonly policy: string | object;
  readonly agent: string;
  readonly clock: TestClock;
  readonly newId: () => string;
}

/**
 * A gateway in the test's own process: the wire's routes for sessions, decisions and approvals over one `LocalEngine` for each session. It decides
 * nothing itself. What the engine does not have (interventions, leases, batches that are all or nothing) is refused as unknown.
 */
export class TestGateway {
  readonly calls = new Calls();
  readonly script = new Script();
  isReachable = true;
  readonly #settings: GatewaySettings;
  readonly #sessions = new Map<string, TestSession>();
  /** Who waits for something to happen to what is held. */
  readonly #waiting = new Set<() => void>();

  constructor(settings: GatewaySettings) {
    this.#settings = settings;
    // A policy with a mistake is told now, and not with the first session.
    new LocalEngine({ policy: settings.policy });
  }

  /** Puts the script in force in all sessions. */
  rescript(): void {
    for (const { engine, policy } of this.#sessions.values()) engine.use(this.script.over(policy));
  }

  /** Answers the oldest of what is held and waits for an answer; where nothing does, the next. */
  async answer(decision: "approve" | "reject", action: string | undefined, subject: string, note: string | null): Promise<DecisionNow> {
    for (;;) {
      for (const { verdict, action: held, decisionId, session } of this.calls.list()) {
        const engine = this.#sessions.get(session)?.engine;
        if (verdict !== "hold" || engine === undefined || (action !== undefined && action !== held)) continue;
        if (engine.read(decisionId).approval?.status !== "pending") continue;
        const now = engine.answer(decisionId, decision, { subject, note });
        this.#happened();
        return now;
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  readonly fetch: Fetch = async (url, { method, body, signal }) => {
    signal.throwIfAborted();
    if (!this.isReachable) throw new TypeError("The test says that the gateway cannot be reached");
    const { pathname, searchParams } = new URL(url);
    try {
      // What the SDK sends is an object.
      const asked = (body === null ? {} : JSON.parse(body)) as Body;
      return Response.json(spelled(await this.#answered(`${method} ${pathname}`, asked, Number(searchParams.get("wait_ms") ?? 0))));
    } catch (error) {
      return refusal(error);
    }
  };

  async #answered(route: string, body: Body, waitMs: number): Promise<unknown> {
    const [, sessionId, rest = ""] = /^\w+ \/v1\/sessions\/([^/]+)(?:\/(.*))?$/.exec(route) ?? [];
    if (route === "POST /v1/sessions") return this.#opened(body);
    if (sessionId === undefined) return this.#approval(route);
    const session = this.#sessions.get(sessionId);
    if (session === undefined) throw unknown(`There is no session "${sessionId}"`);
    const { engine } = session;
    if (route === `GET /v1/sessions/${sessionId}`) return this.#detail(session);
    if (rest === "decisions") return this.#decided(engine, body);
    if (rest === "decisions/batch") return this.#batch(engine, body);
    if (rest === "runs") return { id: engine.startRun() };
    if (rest === "close") {
      session.closed = true;
      engine.close();
      this.#happened();
      return undefined;
    }
    const [, run] = /^runs\/([^/]+)\/close$/.exec(rest) ?? [];
    if (run !== undefined) {
      engine.closeRun(run);
      // What waited for a person in it waits no more.
      this.#happened();
      return undefined;
    }
    const [, id = "", verb = "read"] = /^decisions\/([^/]+)(?:\/(\w+))?$/.exec(rest) ?? [];
    return this.#settled(engine, id, verb, body, waitMs);
  }

  #opened({ agent = this.#settings.agent, labels = {}, budget_usd, ttl_ms = DAY_MS }: Body): object {
    const { policy, clock, newId } = this.#settings;
    const engine = new LocalEngine({ policy, agent, budgetUsd: budget_usd, now: clock.now, newId });
    const openedAt = clock.now();
    // The engine's own document of a policy has these parts where it has them.
    const opened = { engine, policy: engine.document as PolicyParts, labels, openedAt, expiresAt: openedAt + ttl_ms, closed: false };
    this.#sessions.set(engine.session, opened);
    this.rescript();
    return this.#about(opened);
  }

  #about({ engine: { session, agent, run, policy }, expiresAt }: TestSession): object {
    return { id: session, agent, run, policy, expiresAt: new Date(expiresAt).toISOString() };
  }

  #detail(session: TestSession): object {
    const { engine, labels, openedAt, closed } = session;
    return {
      ...this.#about(session),
      ...engine.standing(),
      labels: new Map(Object.entries(labels)),
      state: closed ? "closed" : "active",
      openedAt: new Date(openedAt).toISOString(),
    };
  }

  #decided(engine: LocalEngine, body: Body): object {
    const answer = engine.decide(camel<ActionRequest>(body));
    this.calls.decided(body, answer);
    this.#happened();
    return answer;
  }

  #batch(engine: LocalEngine, { decisions = [], semantics = "independent" }: Body): object {
    if (semantics === "all_or_nothing") throw unknown("A test's gateway decides no batch that is all or nothing");
    const answers: object[] = [];
    for (const each of decisions) {
      const answer = this.#decided(engine, each);
      answers.push(answer);
      if (semantics === "stop_on_deny" && "verdict" in answer && answer.verdict !== "allow") break;
    }
    return { decisions: answers };
  }

  async #settled(engine: LocalEngine, id: string, verb: string, body: Body, waitMs: number): Promise<object> {
    switch (verb) {
      case "read":
        return this.#read(engine, id, waitMs);
      case "commit": {
        const report = camel<CommitReport>(body);
        const settlement = engine.commit(id, report);
        this.calls.ended(id, { outcome: report.outcome, costUsd: settlement.postedUsd, error: report.error ?? null });
        return settlement;
      }
      case "release": {
        const settlement = engine.release(id, { reason: body.reason });
        this.calls.ended(id, { outcome: "released", costUsd: null, error: null });
        return settlement;
      }
      case "extend":
        return engine.extend(id, body.ttl_ms ?? 0);
      case "topup":
        return engine.topup(id, body.estimate_usd ?? 0);
      default:
        throw unknown(`A test's gateway does not know "${verb}"`);
    }
  }

  /** As long as it waits for a person, and nobody's time is up. */
  async #read(engine: LocalEngine, id: string, waitMs: number): Promise<DecisionNow> {
    const { clock } = this.#settings;
    const end = clock.now() + waitMs;
    for (;;) {
      const found = engine.read(id);
      if (found.approval?.status !== "pending" || clock.now() >= end) return found;
      // Its own time may be up before.
      const next = Math.min(end, Date.parse(found.approval.expiresAt));
      let cancel = (): void => undefined;
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
        cancel = clock.schedule(resolve, next - clock.now());
      });
      cancel();
    }
  }

  #approval(route: string): object {
    const [, id] = /^GET \/v1\/approvals\/([^/]+)$/.exec(route) ?? [];
    for (const { session, decisionId } of this.calls.list()) {
      const found = this.#sessions.get(session)?.engine.read(decisionId).approval;
      if (found != null && found.id === id) return { ...found, answers: [], edits: null, usedBy: null };
    }
    throw unknown(`A test's gateway does not know "${route}"`);
  }

  #happened(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const each of waiting) each();
  }
}

interface TestSession {
  readonly engine: LocalEngine;
  readonly policy: PolicyParts;
  readonly labels: { readonly [key: string]: string };
  readonly openedAt: number;
  readonly expiresAt: number;
  closed: boolean;
}

/** A session without a `ttlMs`. */
const DAY_MS = 86_400_000;

/** What a request says, in the wire's spelling. Only this SDK asks here, and it asks what its types say. */
interface Body extends Asked {
  readonly action: string;
  readonly agent?: string;
  readonly labels?: { readonly [key: string]: string };
  readonly budget_usd?: UsdInput;
  readonly decisions?: readonly Body[];
  readonly semantics?: string;
  readonly reason?: string;
  readonly ttl_ms?: number;
}

/** A request as the SDK's callers spell it: it was one before it was sent. What lies below its members is the caller's own, or spelled alike on both sides. */
const camel = <Request extends ActionRequest | CommitReport>(body: Body): Request =>
  Object.fromEntries(
    Object.entries(body).map(([key, value]) => [key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()), value]),
  ) as unknown as Request;

/** An answer as the wire spells it. What a map has are names of the caller's own. */
function spelled(value: unknown): Json {
  if (value instanceof Map) return Object.fromEntries(value);
  if (Array.isArray(value)) return value.map(spelled);
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [snake(key), spelled(member)]));
  return (value ?? null) as Json;
}

const unknown = (detail: string): LocalRefusedError => new LocalRefusedError("answer", { code: "not_found", detail });

const STATUSES: { readonly [code: string]: number } = { not_found: 404, idempotency_mismatch: 409, decision_settled: 409, approval_closed: 409 };

/** A refusal as a gateway answers it. What is none is a mistake of this file's: it must not look like an outage. */
function refusal(error: unknown): Response {
  const {
    code,
    detail,
    issues = [],
  } = error instanceof LocalRefusedError
    ? error
    : { code: "body_invalid", detail: error instanceof AgentSentinelError ? error.message : String(error) };
  const status = STATUSES[code] ?? 422;
  return Response.json({ type: "about:blank", title: code, status, code, detail, issues }, { status });
}
