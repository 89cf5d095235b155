import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import type * as wire from "../../sdk/src/wire.ts";
import * as answers from "../../src/http/answers.ts";

declare global {
  namespace Cloudflare {
    interface GlobalProps {
      mainModule: typeof import("../../src/index.ts");
    }
  }
}

/** The gateway as a client meets it: HTTP in, HTTP out, and behind it the real objects and the real D1. */

const ORIGIN = "https://gate.example";
const POLICY = `version: 1
budgets:
  session: 1.0
  actions:
    "db.*": 0.30
denied_actions: [delete_database]
rate_limits:
  ping: { max_count: 2, window_seconds: 60 }
approvals:
  actions: [send_money]
`;

interface Sent {
  readonly token?: string | null;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

async function send(method: string, path: string, { token, body, headers }: Sent = {}): Promise<Response> {
  const all: Record<string, string> = { ...headers };
  if (token != null) all.Authorization = `Bearer ${token}`;
  const init: RequestInit = { method, headers: all };
  if (body !== undefined) {
    all["Content-Type"] ??= "application/json";
    init.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  return exports.default.fetch(`${ORIGIN}${path}`, init);
}

/** The answer's JSON, once its status is the one expected; otherwise the test shows what came instead. */
async function json<T>(status: number, response: Promise<Response>): Promise<T> {
  const got = await response;
  const text = await got.text();
  expect(got.status, text).toBe(status);
  // The shape is held against the schema where it matters; here the caller says which it reads.
  return JSON.parse(text) as T;
}

/** Read as octets: the runtime warns of texts whose media type does not say text, and these two types have no charset to say. */
const textOf = async (response: Response): Promise<string> => new TextDecoder().decode(await response.arrayBuffer());

const ROOT = env.ROOT_KEY;

const newToken = async (tenant: string, subject: string, kind: wire.TokenKind, scopes: readonly wire.Scope[]): Promise<wire.IssuedToken> =>
  json(201, send("POST", "/v1/tokens", { token: ROOT, body: { tenant, subject, kind, scopes } }));

const AGENT_SCOPES: readonly wire.Scope[] = ["sessions:write", "decisions:write", "ledger:read", "policies:read"];

let agent: string;
let other: string;
let operator: string;
let stranger: string;

beforeAll(async () => {
  for (const id of ["http-a", "http-b"]) await json(201, send("POST", "/v1/tenants", { token: ROOT, body: { id } }));
  agent = (await newToken("http-a", "ada", "agent", AGENT_SCOPES)).token;
  other = (await newToken("http-a", "eve", "agent", AGENT_SCOPES)).token;
  operator = (await newToken("http-a", "ops", "human", ["policies:read", "policies:write", "ledger:read", "tokens:write"])).token;
  stranger = (await newToken("http-b", "ada", "agent", AGENT_SCOPES)).token;
  const put = await send("PUT", "/v1/policies/main", { token: operator, body: POLICY, headers: { "Content-Type": "application/yaml" } });
  expect(put.status, await put.text()).toBe(201);
});

const open = (token = agent, body: wire.OpenSessionRequest = {}): Promise<wire.OpenedSession> =>
  json(201, send("POST", "/v1/sessions", { token, body }));

const decide = (session: string, body: wire.DecisionRequest, token = agent): Promise<wire.Decision> =>
  json(200, send("POST", `/v1/sessions/${session}/decisions`, { token, body }));

const code = async (status: number, response: Promise<Response>): Promise<string> => (await json<wire.Problem>(status, response)).code;

describe("the main job over HTTP", () => {
  it("is asked, decided, charged, recorded and read back", async () => {
    const session = answers.openedSession.parse(await open());
    expect(session).toMatchObject({ agent: "ada", policy: { name: "main", version: 1 } });

    const allowed = await decide(session.id, { action: "send_email", estimate_usd: "0.05", tags: ["email"], inputs: { to: "a@example.org" } });
    answers.decision.parse(allowed);
    expect(allowed).toMatchObject({ verdict: "allow", decision: true, reservation: { amount_usd: "0.05" }, stops: null });

    const posted = await json<wire.Settlement>(
      200,
      send("POST", `/v1/sessions/${session.id}/decisions/${allowed.id}/commit`, {
        token: agent,
        body: { cost_usd: 0.06, outcome: "success", outputs: 1 },
      }),
    );
    answers.settlement.parse(posted);
    expect(posted).toMatchObject({ state: "posted", posted_usd: "0.06", overrun_usd: "0.01", late: false });

    const read = await json<wire.DecisionNow>(200, send("GET", `/v1/sessions/${session.id}/decisions/${allowed.id}`, { token: agent }));
    expect(answers.decisionNow.parse(read)).toMatchObject({ state: "posted", posted_usd: "0.06", verdict: "allow" });

    const detail = await json<wire.SessionDetail>(200, send("GET", `/v1/sessions/${session.id}`, { token: agent }));
    answers.sessionDetail.parse(detail);
    expect(detail.totals).toMatchObject({ posted_usd: "0.06", pending_usd: "0", decisions: { allow: 1, deny: 0, hold: 0 } });
    expect(detail.budgets).toContainEqual({
      scope: "session",
      name: session.id,
      limit_usd: "1",
      posted_usd: "0.06",
      pending_usd: "0",
      leased_usd: "0",
      remaining_usd: "0.94",
    });

    const ledger = await json<wire.Page<wire.LedgerEntry>>(200, send("GET", `/v1/ledger?session=${session.id}`, { token: agent }));
    for (const entry of answers.ledgerPage.parse(ledger).items) expect(entry.agent_id).toBe("ada");
    expect(ledger.items.map(({ kind }) => kind).slice(0, 2)).toEqual(["commit", "decision"]);
    const one = await json<wire.LedgerEntry>(200, send("GET", `/v1/ledger/${allowed.entry.id}`, { token: agent }));
    expect(one.hash).toBe(allowed.entry.hash);
    expect(await code(404, send("GET", `/v1/ledger/${allowed.entry.id}`, { token: other }))).toBe("not_found");
    expect(await code(404, send("GET", `/v1/ledger/${allowed.entry.id}`, { token: stranger }))).toBe("not_found");

    const exported = await send("GET", `/v1/ledger/export?session=${session.id}`, { token: agent });
    const lines = (await textOf(exported))
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines).toEqual(ledger.items.toReversed());

    const costs = await json<wire.CostReport>(200, send("GET", "/v1/costs?group_by=session", { token: operator }));
    expect(costs.items).toContainEqual(expect.objectContaining({ key: session.id, posted_usd: "0.06", count: 1 }));
  });

  it("names a run that is none of the session's where the body has it", async () => {
    const session = await open();
    const pointer = async (path: string, body: object) =>
      (await json<wire.Problem>(422, send("POST", `/v1/sessions/${session.id}/decisions${path}`, { token: agent, body }))).issues?.[0]?.pointer;
    const stray = { action: "send_email", run: "run_00000000-0000-7000-8000-000000000000" };
    expect(await pointer("", stray)).toBe("/run");
    expect(await pointer("/batch", { decisions: [{ action: "send_email" }, stray] })).toBe("/decisions/1/run");
  });

  it("says no with 200, and why", async () => {
    const session = await open();
    expect(await decide(session.id, { action: "delete_database" })).toMatchObject({ verdict: "deny", reason: { code: "action_denied" } });
    expect(await decide(session.id, { action: "db.write", estimate_usd: "0.31" })).toMatchObject({
      verdict: "deny",
      reason: { code: "action_budget_exceeded" },
    });
    const held = await decide(session.id, { action: "send_money" });
    expect(held).toMatchObject({ verdict: "hold", decision: false, reservation: null, reason: { code: "approval_required" } });
    expect(held.approval?.url).toBe(`${ORIGIN}/v1/approvals/${held.approval?.id}`);
    for (const wanted of ["allow", "allow", "deny"]) expect((await decide(session.id, { action: "ping" })).verdict).toBe(wanted);
    await json(200, send("POST", `/v1/sessions/${session.id}/close`, { token: agent }));
    expect(await decide(session.id, { action: "ping" })).toMatchObject({ verdict: "deny", stops: "session", reason: { code: "session_closed" } });
  });

  it("gives the same answer to the same id, and refuses another body under it", async () => {
    const session = await open();
    const id = `dec_${crypto.randomUUID()}`;
    const path = `/v1/sessions/${session.id}/decisions`;
    const first = await send("POST", path, { token: agent, body: { id, action: "x", estimate_usd: "0.1" } });
    const again = await send("POST", path, { token: agent, body: { estimate_usd: 0.1, action: "x", id } });
    expect([first.headers.get("Idempotency-Replayed"), again.headers.get("Idempotency-Replayed")]).toEqual([null, "true"]);
    expect(await again.text()).toBe(await first.text());
    expect(await code(409, send("POST", path, { token: agent, body: { id, action: "y" } }))).toBe("idempotency_mismatch");
  });

  it("allows exactly what the budget holds when many ask at once", async () => {
    const session = await open();
    const all = await Promise.all(Array.from({ length: 60 }, () => decide(session.id, { action: "x", estimate_usd: 0.18 })));
    expect(all.filter(({ verdict }) => verdict === "allow")).toHaveLength(5);
  });

  it("decides a batch in one answer", async () => {
    const session = await open();
    const body = { decisions: [{ action: "a" }, { action: "delete_database" }, { action: "b" }], semantics: "stop_on_deny" };
    const batch = await json<wire.DecisionBatch>(200, send("POST", `/v1/sessions/${session.id}/decisions/batch`, { token: agent, body }));
    expect(answers.decisionBatch.parse(batch).decisions.map(({ verdict }) => verdict)).toEqual(["allow", "deny"]);
  });
});

describe("whose it is", () => {
  it("is 403 for another agent, and 404 for another tenant, on every route of a session", async () => {
    const session = await open();
    const decision = await decide(session.id, { action: "x", estimate_usd: "0.1" });
    const base = `/v1/sessions/${session.id}`;
    const tries: readonly (readonly [string, string, unknown?])[] = [
      ["GET", base],
      ["POST", `${base}/close`],
      ["POST", `${base}/runs`],
      ["POST", `${base}/runs/${session.run}/close`],
      ["POST", `${base}/decisions`, { action: "x" }],
      ["POST", `${base}/decisions/batch`, { decisions: [{ action: "x" }] }],
      ["GET", `${base}/decisions/${decision.id}`],
      ["POST", `${base}/decisions/${decision.id}/commit`, { cost_usd: 0, outcome: "success" }],
      ["POST", `${base}/decisions/${decision.id}/release`],
      ["POST", `${base}/decisions/${decision.id}/extend`, { ttl_ms: 1000 }],
      ["POST", `${base}/decisions/${decision.id}/topup`, { estimate_usd: 1 }],
    ];
    for (const [method, path, body] of tries) {
      expect(await code(403, send(method, path, { token: other, body })), `${method} ${path}`).toBe("not_your_session");
      expect(await code(404, send(method, path, { token: stranger, body })), `${method} ${path}`).toBe("not_found");
    }
    const listed = await json<wire.Page<wire.SessionSummary>>(200, send("GET", "/v1/sessions", { token: other }));
    expect(listed.items.map(({ id }) => id)).not.toContain(session.id);
  });

  it("ends with a token's revocation", async () => {
    const { id, token } = await newToken("http-a", "brief", "agent", AGENT_SCOPES);
    const session = await open(token);
    expect((await send("DELETE", `/v1/tokens/${id}`, { token: operator })).status).toBe(204);
    const refused = await send("GET", "/v1/sessions", { token });
    expect(refused.headers.get("WWW-Authenticate")).toContain('error="invalid_token"');
    expect(await code(401, Promise.resolve(refused))).toBe("token_revoked");
    expect(await code(401, send("POST", `/v1/sessions/${session.id}/decisions`, { token, body: { action: "x" } }))).toBe("token_revoked");
  });
});

describe("what is made with an Idempotency-Key", () => {
  it("is made once", async () => {
    const key = crypto.randomUUID();
    const asked = { token: agent, body: { budget_usd: "0.5" }, headers: { "Idempotency-Key": key } };
    const [first, again] = [await send("POST", "/v1/sessions", asked), await send("POST", "/v1/sessions", asked)];
    expect([first.status, again.status, again.headers.get("Idempotency-Replayed")]).toEqual([201, 201, "true"]);
    expect(await again.text()).toBe(await first.text());
    expect(await code(409, send("POST", "/v1/sessions", { ...asked, body: { budget_usd: "0.6" } }))).toBe("idempotency_mismatch");

    const token = { token: ROOT, body: { tenant: "http-a", subject: "once", kind: "service", scopes: [] }, headers: { "Idempotency-Key": key } };
    expect(await (await send("POST", "/v1/tokens", token)).text()).toBe(await (await send("POST", "/v1/tokens", token)).text());
  });

  it.each([
    ["a decision", "a batch of it", ["decisions", "decisions/batch"]],
    ["a batch of one decision", "that decision", ["decisions/batch", "decisions"]],
  ] as const)("as %s is not %s, and is still answered as before", async (_first, _then, [first, then]) => {
    const session = await open();
    for (const one of [
      { action: "x", estimate_usd: "0.1" },
      { id: `dec_${crypto.randomUUID()}`, action: "y" },
    ]) {
      const headers = { "Idempotency-Key": crypto.randomUUID() };
      const ask = (path: string): Promise<Response> => {
        const body = path === "decisions" ? one : { decisions: [one] };
        return send("POST", `/v1/sessions/${session.id}/${path}`, { token: agent, body, headers });
      };
      const made = await (await ask(first)).text();
      expect(await code(409, ask(then))).toBe("idempotency_mismatch");
      const again = await ask(first);
      expect([again.status, again.headers.get("Idempotency-Replayed"), await again.text()]).toEqual([200, "true", made]);
    }
  });
});

describe("policies", () => {
  const put = (name: string, body: string): Promise<Response> =>
    send("PUT", `/v1/policies/${name}?activate=false`, { token: operator, body, headers: { "Content-Type": "application/yaml" } });

  it("keep their version while they do not change, and are read as they were written", async () => {
    expect((await put("notes", "version: 1 # mine\n")).status).toBe(201);
    expect((await put("notes", "version: 1 # mine\n")).status).toBe(200);
    expect(answers.policyPut.parse(await (await put("notes", "version: 1\nallowed_actions: []\n")).json())).toMatchObject({
      version: 2,
      active: false,
    });
    const versions = await json<wire.Page<wire.PolicyVersion>>(200, send("GET", "/v1/policies/notes/versions", { token: operator }));
    expect(answers.policyVersionPage.parse(versions).items.map(({ version }) => version)).toEqual([2, 1]);
    const text = await send("GET", "/v1/policies/notes/versions/1", { token: operator, headers: { Accept: "application/yaml" } });
    expect(await textOf(text)).toBe("version: 1 # mine\n");
    expect((await send("DELETE", "/v1/policies/notes", { token: operator })).status).toBe(204);
    expect(await code(404, send("GET", "/v1/policies/notes", { token: operator }))).toBe("not_found");
  });

  describe("written over by somebody who says what they saw", () => {
    const YAML = { "Content-Type": "application/yaml" };
    const write = (name: string, body: string, headers: Record<string, string> = {}, query = ""): Promise<Response> =>
      send("PUT", `/v1/policies/${name}?scope=agent&target=nobody${query}`, { token: operator, body, headers: { ...YAML, ...headers } });
    const tagsOf = async (name: string): Promise<readonly string[]> => {
      const read = (accept: string) => send("GET", `/v1/policies/${name}`, { token: operator, headers: { Accept: accept } });
      return [(await read("application/json")).headers.get("ETag") ?? "", (await read("application/yaml")).headers.get("ETag") ?? ""];
    };
    const textOfNow = async (name: string): Promise<string> =>
      textOf(await send("GET", `/v1/policies/${name}`, { token: operator, headers: { Accept: "application/yaml" } }));

    it("are changed by exactly one of many who saw the same, and by the next who looks again", async () => {
      expect((await write("raced", "denied_actions: [a]")).status).toBe(201);
      for (const round of [0, 1]) {
        const [json = "", yaml = ""] = await tagsOf("raced");
        const tags = [json, yaml, `"x", ${json}`, yaml];
        const came = await Promise.all(tags.map((tag, n) => write("raced", `denied_actions: [b${round}${n}]`, { "If-Match": tag })));
        expect(came.map(({ status }) => status).sort()).toEqual([201, 412, 412, 412]);
        const winner = came.findIndex(({ status }) => status === 201);
        expect(await textOfNow("raced")).toBe(`denied_actions: [b${round}${winner}]`);
        const lost: wire.Problem[] = await Promise.all(came.filter(({ status }) => status === 412).map(async (response) => response.json()));
        for (const { code: why, detail } of lost) {
          expect(why).toBe("precondition_failed");
          expect(detail).toContain(`version ${round + 2} is in force now`);
        }
      }
    });

    it("are made by exactly one of many who want to be the first, also where one was deleted", async () => {
      const first = { "If-None-Match": "*" };
      for (const round of [0, 1]) {
        const came = await Promise.all([0, 1, 2].map((n) => write("only-once", `denied_actions: [c${round}${n}]`, first)));
        expect(came.map(({ status }) => status).sort()).toEqual([201, 412, 412]);
        expect((await send("DELETE", "/v1/policies/only-once", { token: operator })).status).toBe(204);
      }
      expect(await code(412, write("only-once", "denied_actions: [d]", { "If-Match": "*" }))).toBe("precondition_failed");
      expect(await code(412, write("only-once", "denied_actions: [d]", { "If-Match": '"x"' }))).toBe("precondition_failed");
    });

    it.each(["yaml", "json"])("are known again by what a PUT of %s answered, and are done once however often they are asked for", async (format) => {
      const type = { "Content-Type": `application/${format}` };
      const name = `chain-${format}`;
      const text = (action: string) => JSON.stringify({ denied_actions: [action] });
      const made = await write(name, text("a"), type);
      const tag = made.headers.get("ETag") ?? "";
      expect([made.status, tag]).toEqual([201, (await tagsOf(name))[1]]);
      const next = await write(name, text("b"), { ...type, "If-Match": tag });
      expect([next.status, next.headers.get("ETag")]).toEqual([201, (await tagsOf(name))[1]]);
      // Nobody heard the answer, and asks again: it was their own hand.
      const again = await write(name, text("b"), { ...type, "If-Match": tag });
      expect([again.status, await again.json()]).toEqual([200, expect.objectContaining({ version: 2, active: true })]);
      expect(await code(412, write(name, text("c"), { ...type, "If-Match": tag }))).toBe("precondition_failed");
      // The same document, and yet it would bring something about.
      await json(200, send("POST", `/v1/policies/${name}/activate`, { token: operator, body: { version: 1 } }));
      const [now = ""] = await tagsOf(name);
      expect(await code(412, write(name, text("b"), { ...type, "If-Match": next.headers.get("ETag") ?? "" }))).toBe("precondition_failed");
      expect((await write(name, text("b"), { ...type, "If-Match": now })).status).toBe(200);
    });

    it("tell no tag where a GET shows something else", async () => {
      await write("asleep", "denied_actions: [a]");
      const later = await write("asleep", "denied_actions: [b]", {}, "&activate=false");
      expect([later.status, later.headers.get("ETag")]).toEqual([201, null]);
      const spaced = await write("asleep", '{"denied_actions":["c"]}', { "Content-Type": "application/json" });
      expect(spaced.headers.get("ETag")).toBe((await tagsOf("asleep"))[1]);
      const same = await write("asleep", '{ "denied_actions": ["c"] }', { "Content-Type": "application/json" });
      expect([same.status, same.headers.get("ETag")]).toEqual([200, null]);
    });

    it("are known though no version is in force, and are another thing when one is", async () => {
      await write("dormant", "denied_actions: [a]", {}, "&activate=false");
      const again = { "If-Match": (await tagsOf("dormant"))[0] ?? "" };
      expect((await write("dormant", "denied_actions: [b]", again, "&activate=false")).status).toBe(201);
      const then = { "If-Match": (await tagsOf("dormant"))[0] ?? "" };
      await json(200, send("POST", "/v1/policies/dormant/activate", { token: operator, body: { version: 2 } }));
      expect(await code(412, write("dormant", "denied_actions: [c]", then, "&activate=false"))).toBe("precondition_failed");
    });

    it("are told their mistakes before what they saw", async () => {
      await write("mistaken", "denied_actions: [a]");
      expect(await code(422, write("mistaken", "denied_action: [a]", { "If-Match": '"x"' }))).toBe("policy_invalid");
      expect(await code(422, send("PUT", "/v1/policies/mistaken", { token: operator, body: POLICY, headers: { ...YAML, "If-Match": '"x"' } }))).toBe(
        "body_invalid",
      );
      expect(await textOfNow("mistaken")).toBe("denied_actions: [a]");
    });
  });

  it("in force are read with an ETag", async () => {
    const first = await send("GET", "/v1/policies/effective", { token: agent });
    answers.effectivePolicy.parse(await first.json());
    const again = await send("GET", "/v1/policies/effective", { token: agent, headers: { "If-None-Match": first.headers.get("ETag") ?? "" } });
    expect(again.status).toBe(304);
  });
});

describe("what was done about a session", () => {
  it("is listed beside what it met, for a person; its agent is shown what it met", async () => {
    const { id } = await open();
    await decide(id, { action: "delete_database" });
    const { token } = await newToken("http-a", "stopper", "human", ["interventions:write"]);
    const kill = { target: { type: "session", id }, kind: "kill", reason: "It deletes." };
    const killed = await json<wire.Intervened>(201, send("POST", "/v1/interventions", { token, body: kill }));
    expect(answers.intervened.parse(killed)).toMatchObject({ lifted: null, known: true, evidence: { acknowledged: [{ session: id }] } });
    const listed = async (by: string) =>
      (await json<wire.Page<{ id: string; kind: string }>>(200, send("GET", `/v1/interventions?session=${id}`, { token: by }))).items;
    const found = await listed(token);
    expect(found.map(({ kind }) => kind).sort()).toEqual(["deny", "kill"]);
    expect(found.find(({ kind }) => kind === "kill")?.id).toBe(killed.id);
    expect((await listed(agent)).map(({ kind }) => kind)).toEqual(["deny"]);
  });
});

describe("what is served to anyone", () => {
  it.each(["/healthz", "/openapi.json", "/.well-known/jwks.json", "/v1/policy-schema.json", "/docs", "/docs/problems", "/approve", "/"])(
    "%s",
    async (path) => {
      const response = await send("GET", path);
      expect(response.status).toBe(200);
      expect((await response.text()).length).toBeGreaterThan(10);
      expect((await send("HEAD", path)).status).toBe(200);
      expect(await code(405, send("POST", path))).toBe("method_not_allowed");
    },
  );

  it("refers on its pages only to what it serves", async () => {
    const links = new Set<string>();
    for (const path of ["/", "/docs"]) {
      const page = await (await send("GET", path, { headers: { Accept: "text/html" } })).text();
      for (const [, link = ""] of page.matchAll(/(?:src|href)="([^"#]+)/g)) links.add(link);
    }
    expect(links.size).toBeGreaterThan(4);
    for (const link of links) expect((await send("GET", link)).status, link).toBe(200);
  });

  it("has no private part of a key", async () => {
    const { keys } = await json<{ keys: Record<string, unknown>[] }>(200, send("GET", "/.well-known/jwks.json"));
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) expect(key).not.toHaveProperty("d");
  });
});
