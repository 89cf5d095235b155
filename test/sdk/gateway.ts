import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { createSentinel, type Fetch, type SentinelOptions } from "../../sdk/src/index.ts";
import type * as wire from "../../sdk/src/wire.ts";
import { deskAnswers, type LeaseDesk, newDesk } from "./lease_desk.ts";

/** A gateway in miniature on loopback: the wire contract, a verdict for each action, and two ways to fail. */

type Written =
  | keyof wire.DecisionRequest
  | keyof wire.CommitRequest
  | keyof wire.OpenSessionRequest
  | keyof wire.GrantLeaseRequest
  | keyof wire.SettleLeaseRequest
  | "decisions"
  | "semantics"
  | "reason"
  | "response"
  | "note";

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** A request's parsed body; a test knows what it sent. */
  readonly body: { readonly [Member in Written]?: wire.Json };
}

/** What befalls one request. `did nothing`: the connection dies first. `did it`: it dies after acting, before the reply. */
export type Fate = "did nothing" | "did it" | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: unknown };

export interface FakeGateway extends AsyncDisposable {
  readonly url: string;
  readonly seen: Seen[];
  /** Taken one for each request, the first first; then all goes well. */
  readonly fates: Fate[];
  /** How an action is answered; `allow` when it says nothing. For one that is held `<action> approved` says how its use is. */
  readonly answers: Map<string, Partial<wire.Decision>>;
  /** What stands in its book. */
  readonly decisions: Map<string, wire.Decision & { state: wire.DecisionState; posted_usd: string; commits: number }>;
  readonly sessions: Map<string, string>;
  /** What its holds wait for; a test answers by writing into them. */
  readonly approvals: Map<string, FakeApproval>;
  /** Called one for each wait for an answer, the first first, before it is looked at. */
  readonly meanwhile: (() => void)[];
  /** What whoever reads an approval, responds or cancels is refused with. */
  readonly unread: Map<string, { readonly status: number; readonly body: unknown }>;
  /** Sessions that read as killed, and those that read as closed. */
  readonly killed: Set<string>;
  readonly closed: Set<string>;
  /** What it leases, and what it is told of that. */
  readonly desk: LeaseDesk;
  /** Who listens to its events. */
  readonly listeners: Set<ServerResponse>;
  /** Records an event, and tells it to who listens. */
  tell(event: Partial<wire.LedgerEvent>): void;
  /** Breaks the connections of all who listen. */
  cut(): void;
  count(path: RegExp): number;
}

export interface FakeApproval {
  status: wire.ApprovalStatus;
  edits: wire.ApprovalEdits | null;
  readonly answers: wire.ApprovalAnswer[];
  used_by: string | null;
  readonly decision_id: string;
  readonly asked: wire.DecisionRequest;
}

/** A person answers what waits. */
export function answer(gateway: FakeGateway, status: wire.ApprovalStatus, edits: wire.ApprovalEdits | null = null): void {
  for (const approval of gateway.approvals.values()) Object.assign(approval, { status, edits });
}

export const TOKEN = "token-eyJhbGciOiJFZERTQSJ9";
export const SESSION = "ses_01890000-0000-7000-8000-000000000001";
export const RUN = "run_01890000-0000-7000-8000-000000000001";

export async function fakeGateway(): Promise<FakeGateway> {
  const seen: Seen[] = [];
  const fates: Fate[] = [];
  const answers: FakeGateway["answers"] = new Map();
  const decisions: FakeGateway["decisions"] = new Map();
  const sessions: FakeGateway["sessions"] = new Map();
  const approvals: FakeGateway["approvals"] = new Map();
  const meanwhile: FakeGateway["meanwhile"] = [];
  const unread: FakeGateway["unread"] = new Map();
  const bodies = new Map<string, string>();
  const killed: FakeGateway["killed"] = new Set();
  const closed: FakeGateway["closed"] = new Set();
  const desk = newDesk();
  const listeners: FakeGateway["listeners"] = new Set();
  const record: wire.LedgerEvent[] = [];
  let runs = 1;

  /** As the gateway does: from after the event that is named, or from what comes next. */
  const listen = ({ path }: Seen, response: ServerResponse): void => {
    const last = new URL(path, "http://gate.test").searchParams.get("last_event_id");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("retry: 1000\n\n");
    if (last !== null) for (const event of record.slice(Number(last) + 1)) response.write(messageOf(event));
    listeners.add(response);
    response.on("close", () => listeners.delete(response));
  };

  const act = ({ method, path, headers, body }: Seen): { status: number; body: unknown } => {
    if (!headersAreGood({ headers })) return problem(401, "token_invalid");
    if (method === "POST" && path === "/v1/sessions") {
      const key = String(headers["idempotency-key"]);
      if (!sessions.has(key)) sessions.set(key, SESSION);
      return { status: 201, body: { id: SESSION, agent: body.agent ?? "subject", run: RUN, policy: POLICY, expires_at: LATER } };
    }
    const [, approvalId = "", verb_] = /^\/v1\/approvals\/(\w+)(?:\/(\w+))?$/.exec(path) ?? [];
    const approval = approvals.get(approvalId);
    if (approval !== undefined) {
      const refused = unread.get(approvalId);
      if (refused !== undefined) return refused;
      if (verb_ === "respond") {
        approval.status = "pending";
        approval.answers.push({ subject: "support-bot", decision: "respond", note: String(body.response), at: LATER });
      }
      if (verb_ === "cancel") {
        approval.status = "cancelled";
        approval.answers.push({ subject: "support-bot", decision: "cancel", note: body.note === undefined ? null : String(body.note), at: LATER });
      }
      const { asked: _, ...shown } = approval;
      return { status: 200, body: { id: approvalId, expires_at: LATER, ...shown } };
    }
    const [, session = "", rest = ""] = /^\/v1\/sessions\/([^/?]+)(.*)$/.exec(path) ?? [];
    if (rest === "" && method === "GET") {
      return {
        status: 200,
        body: { ...SESSION_DETAIL, id: session, state: killed.has(session) ? "killed" : closed.has(session) ? "closed" : "active" },
      };
    }
    if (rest === "/runs") return { status: 201, body: { id: `run_01890000-0000-7000-8000-00000000000${++runs}` } };
    if (rest === "/close" || /^\/runs\/[^/]+\/close$/.test(rest)) return { status: 200, body: {} };
    if (rest.startsWith("/leases")) {
      const stamp = { session, expires_at: LATER, policy: POLICY, entry: ENTRY };
      return deskAnswers(desk, rest, String(headers["idempotency-key"]), body, problem, stamp);
    }
    // The SDK's own bodies; what they hold is what the tests look at.
    if (rest === "/decisions") {
      const known = bodies.get(String(body.id));
      if (known !== undefined && known !== fingerprintOf(body)) return problem(409, "idempotency_mismatch");
      return { status: 200, body: decide(body as unknown as wire.DecisionRequest, session) };
    }
    if (rest === "/decisions/batch") {
      return { status: 200, body: { decisions: (body as unknown as wire.DecisionBatchRequest).decisions.map((each) => decide(each, session)) } };
    }
    const [, id = "", verb] = /^\/decisions\/([^/?]+)(?:\/(\w+))?/.exec(rest) ?? [];
    const found = decisions.get(id);
    if (found === undefined) return problem(404, "not_found");
    if (verb === "topup") {
      return { status: 200, body: { ...found, reservation: { amount_usd: String(body.estimate_usd), expires_at: LATER } } };
    }
    if (verb === "commit") {
      if (found.verdict !== "allow") return problem(409, "decision_settled");
      found.state = "posted";
      found.posted_usd = String(body.cost_usd);
      found.commits++;
    } else if (verb === "release") {
      found.state = "released";
    } else if (verb === undefined) {
      if (path.includes("wait_ms=")) meanwhile.shift()?.();
      const status = approvals.get(found.approval?.id ?? "")?.status;
      if (found.approval === null || status === undefined) return { status: 200, body: { ...found, overrun_usd: "0" } };
      const state = status === "expired" ? "expired" : status === "rejected" || status === "cancelled" ? "denied" : "held";
      return { status: 200, body: { ...found, state, approval: { ...found.approval, status }, overrun_usd: "0" } };
    }
    const { state, posted_usd, reservation } = found;
    return { status: 200, body: { id, state, posted_usd, overrun_usd: "0", late: false, reservation, budgets: [], entry: ENTRY } };
  };

  const decide = (request: wire.DecisionRequest, session: string): wire.Decision => {
    const id = request.id ?? "";
    const known = decisions.get(id);
    if (known !== undefined) return known;
    bodies.set(id, fingerprintOf(request));
    const answer = { ...allowed(id, request), session, ...judged(id, request) };
    decisions.set(id, {
      ...answer,
      state: answer.verdict === "allow" ? "pending" : answer.verdict === "hold" ? "held" : "denied",
      posted_usd: "0",
      commits: 0,
    });
    return answer;
  };

  /** As the action is answered; a hold opens an approval, and an approval that is shown is used once and for just what it was given. */
  const judged = (id: string, request: wire.DecisionRequest): Partial<wire.Decision> => {
    const says = answers.get(request.action) ?? {};
    if (says.verdict !== "hold") return says;
    const shown = approvals.get(request.approval ?? "");
    if (shown === undefined) {
      const opened = `apr_${approvals.size + 1}`;
      approvals.set(opened, { status: "pending", edits: null, answers: [], used_by: null, decision_id: id, asked: request });
      return { ...says, approval: { id: opened, url: `https://gate.test/v1/approvals/${opened}`, expires_at: LATER } };
    }
    const { status, asked, edits } = shown;
    const of = ({ action, run, resource, inputs, estimate_usd, ...said }: wire.DecisionRequest): string =>
      JSON.stringify([
        action,
        run,
        resource ?? null,
        inputs ?? null,
        Number(estimate_usd ?? 0),
        said.tags,
        said.risk_level,
        said.confidence,
        said.model,
      ]);
    if (status === "pending" || status === "info_requested") {
      return { ...says, approval: { id: String(request.approval), url: "https://gate.test/v1/approvals", expires_at: LATER } };
    }
    if (status === "consumed") return denied("approval_consumed", "The approval was used before.");
    if (status === "expired") return denied("approval_expired", "Nobody has answered in time.");
    if (status !== "approved") return denied("approval_rejected", "A person said no.");
    if (of(request) !== of({ ...asked, ...edits })) return denied("approval_mismatch", "The approval was given for something else.");
    shown.status = "consumed";
    shown.used_by = id;
    return answers.get(`${request.action} approved`) ?? {};
  };

  const server = createServer(async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const asked = { method: request.method ?? "", path: request.url ?? "", headers: request.headers, body: text === "" ? {} : JSON.parse(text) };
    seen.push(asked);
    const fate = fates.shift();
    if (fate === "did nothing") return request.socket.destroy();
    if (typeof fate === "object") return send(response, fate.status, fate.body ?? {}, fate.headers);
    if (asked.path.startsWith("/v1/events") && headersAreGood(asked)) return listen(asked, response);
    const reply = act(asked);
    if (fate === "did it") return request.socket.destroy();
    send(response, reply.status, reply.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A server that listens on a port has an address with a port.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    seen,
    fates,
    answers,
    decisions,
    sessions,
    approvals,
    meanwhile,
    unread,
    killed,
    closed,
    desk,
    listeners,
    tell(event) {
      const told = { ...EVENT, ...event, id: String(record.length), entry: { ...ENTRY, index: record.length } };
      record.push(told);
      for (const listener of listeners) listener.write(messageOf(told));
    },
    cut() {
      for (const listener of listeners) listener.destroy();
    },
    count: (path) => seen.filter((each) => path.test(each.path)).length,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Two bodies with the same members have the same one. */
const fingerprintOf = (body: object): string => JSON.stringify(Object.entries(body).sort(([a], [b]) => (a < b ? -1 : 1)));

const headersAreGood = ({ headers }: Pick<Seen, "headers">): boolean => headers.authorization === `Bearer ${TOKEN}`;

const messageOf = (event: wire.LedgerEvent): string => `id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;

function send(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "content-type": status < 400 ? "application/json" : "application/problem+json", ...headers });
  response.end(text);
}

/** A clock that moves only while nothing is in flight: pauses and time-outs pass in no time, and answers always come first. */
export function fakeTime() {
  const timers = new Map<object, { readonly at: number; readonly callback: () => void }>();
  const paused: number[] = [];
  let now = Date.parse("2026-11-22T12:00:00.000Z");
  let inFlight = 0;
  let ticking = false;
  const tick = (): void => {
    ticking = false;
    const [next] = [...timers].sort(([, a], [, b]) => a.at - b.at);
    if (next === undefined) return;
    if (inFlight === 0) {
      timers.delete(next[0]);
      paused.push(next[1].at - now);
      now = Math.max(now, next[1].at);
      next[1].callback();
    }
    wake();
  };
  const wake = (): void => {
    if (ticking || timers.size === 0) return;
    ticking = true;
    setTimeout(tick, 0);
  };
  return {
    now: () => now,
    random: () => 0.5,
    /** How long each passed timer had still to run. */
    paused,
    live: () => timers.size,
    schedule(callback: () => void, ms: number) {
      const key = {};
      timers.set(key, { at: now + ms, callback });
      wake();
      return () => void timers.delete(key);
    },
    /** The real fetch, whole answers only, and counted as in flight until they are there. */
    fetch: (async (url, init) => {
      inFlight++;
      try {
        const response = await fetch(url, init);
        const body = await response.arrayBuffer();
        return new Response(body.byteLength === 0 ? null : body, { status: response.status, headers: response.headers });
      } finally {
        inFlight--;
      }
    }) satisfies Fetch,
  };
}

/** A clock that only a test moves, and the real fetch: for connections that stay. */
export function handTime() {
  const timers = new Set<{ readonly at: number; readonly callback: () => void }>();
  let now = Date.parse("2026-11-22T12:00:00.000Z");
  return {
    now: () => now,
    random: () => 0.5,
    /** How long each timer has still to run, the shortest first. */
    left: () => [...timers].map(({ at }) => at - now).sort((a, b) => a - b),
    schedule(callback: () => void, ms: number) {
      const timer = { at: now + ms, callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    advance(ms: number) {
      now += ms;
      for (const timer of timers) {
        if (timer.at > now) continue;
        timers.delete(timer);
        timer.callback();
      }
    },
  };
}

/** A client of the fake gateway whose time is the fake's, with a session open and nothing seen yet. */
export async function openFake(gateway: FakeGateway, options: Partial<SentinelOptions> = {}) {
  const time = fakeTime();
  const sentinel = createSentinel({ url: gateway.url, token: TOKEN, ...time, ...options });
  const session = await sentinel.openSession({ agent: "support-bot" });
  gateway.seen.length = 0;
  return { sentinel, session, time };
}

/** A client whose gateway is one function, for answers that no honest server would give. */
export function clientOf(fetch: Fetch, options: Partial<SentinelOptions> = {}) {
  const time = fakeTime();
  const opening: Fetch = async (url, init) =>
    url.endsWith("/v1/sessions") ? json(201, { id: SESSION, agent: "a", run: RUN, policy: null, expires_at: LATER }) : fetch(url, init);
  return { time, open: () => createSentinel({ url: "https://gate.test", token: TOKEN, ...time, fetch: opening, ...options }).openSession() };
}

export const json = (status: number, body: unknown, headers: Record<string, string> = {}): Response =>
  new Response(JSON.stringify(body), { status, headers: { "content-type": "application/json", ...headers } });

export const problem = (status: number, code: string, more: object = {}) => ({
  status,
  body: { type: "about:blank", title: code, status, detail: `It is ${code}.`, code, request_id: "req_1", ...more },
});

export const LATER = "2026-11-22T12:01:00.000Z";
const ENTRY = { id: "ent_1", seq: 1, hash: "0".repeat(64) };
/** An event that says nothing. */
export const EVENT: wire.LedgerEvent = {
  id: "0",
  type: "session.opened",
  at: LATER,
  session: SESSION,
  run: null,
  agent: "support-bot",
  action: null,
  decision: null,
  verdict: null,
  reason: null,
  rule: null,
  estimate_usd: null,
  cost_usd: "0",
  overrun_usd: "0",
  outcome: null,
  details: null,
  entry: { ...ENTRY, index: 0 },
};

/** What a session's chain says once it obeys. */
export const obeyed = (type: wire.InterventionTargetType, id: string, kind: "kill" | "pause" = "kill"): Partial<wire.LedgerEvent> => ({
  type: "intervention.obeyed",
  details: { event: "obeyed", intervention: "int_1", target: { type, id }, kind },
});

const POLICY = { name: "demo", version: 1, digest: `sha-256:${"0".repeat(64)}` };

export const reason = (code: wire.ReasonCode, message = "Every check passed.", more: Partial<wire.Reason["remediation"]> = {}): wire.Reason => ({
  code,
  message,
  rule: null,
  remediation: { retry_after_ms: null, hint: null, ...more },
});

export const allowed = (id: string, request: Pick<wire.DecisionRequest, "action" | "run" | "estimate_usd">): wire.Decision => ({
  id,
  session: SESSION,
  run: request.run ?? RUN,
  action: request.action,
  verdict: "allow",
  decision: true,
  stops: null,
  reason: reason("permitted"),
  reservation: { amount_usd: String(request.estimate_usd ?? "0"), expires_at: LATER },
  budgets: [{ scope: "run", name: RUN, limit_usd: "1", posted_usd: "0", pending_usd: "0.05", remaining_usd: "0.95" }],
  rates: [{ name: "all", limit: 10, remaining: 9, reset_ms: 60_000 }],
  policy: POLICY,
  obligations: [],
  advice: [],
  warnings: [],
  approval: null,
  entry: ENTRY,
});

export const denied = (code: wire.ReasonCode, message: string, more: Partial<wire.Decision> = {}): Partial<wire.Decision> => ({
  verdict: "deny",
  decision: false,
  stops: "action",
  reason: reason(code, message),
  reservation: null,
  ...more,
});

export const held = (): Partial<wire.Decision> => ({
  verdict: "hold",
  decision: false,
  reason: reason("approval_required", "A person must approve it first."),
  reservation: null,
  approval: { id: "apr_1", url: "https://gate.test/approvals/apr_1", expires_at: LATER },
});

const SESSION_DETAIL: wire.SessionDetail = {
  id: SESSION,
  agent: "support-bot",
  run: RUN,
  policy: POLICY,
  labels: { team: "a" },
  state: "active",
  opened_at: LATER,
  expires_at: LATER,
  budgets: [
    { scope: "session", name: SESSION, limit_usd: null, posted_usd: "0", pending_usd: "0", leased_usd: "0", remaining_usd: null },
    { scope: "tenant", name: "t", limit_usd: "5", posted_usd: "0", pending_usd: "0", leased_usd: "0", remaining_usd: "5", resets_at: LATER },
  ],
  totals: { posted_usd: "0", pending_usd: "0", prevented_usd: "0", overrun_usd: "0", decisions: { allow: 1, deny: 0, hold: 0 } },
};
