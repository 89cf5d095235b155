import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { BrokenInvariant } from "../../src/core/assert.ts";
import type { PutIf } from "../../src/core/precondition.ts";
import { KEY_REUSED, refusal } from "../../src/core/refusals.ts";
import { err, ok } from "../../src/core/result.ts";
import { DEFAULT_SETTINGS, type DecideCall, type LedgerFilter, type OpenSession, type Ports, type Went } from "../../src/flow/ports.ts";
import { EXAMPLE_DIGEST, EXAMPLE_IDS } from "../../src/http/fields.ts";
import { openApiDocument } from "../../src/http/openapi.ts";
import type { Route } from "../../src/http/route.ts";
import { ROUTES } from "../../src/http/routes.ts";
import { MOST_WAITS_OF_TOKEN } from "../../src/http/throttle.ts";
import { AT, aDecision, appOver, aRow, aSettlement, aToken, bearer, portsOf, SERVICE } from "./http_world.ts";

const send = appOver();
const SESSION = `/v1/sessions/${EXAMPLE_IDS.ses}`;
const AGENT = bearer("agent", "ada");

const post = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  headers: { Authorization: SERVICE, "Content-Type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body),
});
const get = (headers: Record<string, string> = {}): RequestInit => ({ headers: { Authorization: SERVICE, ...headers } });

describe("the request's id", () => {
  it.each([
    ["abc-123", true],
    ["x".repeat(128), true],
    ["x".repeat(129), false],
    ["two words", false],
    ["", false],
  ])("%s is echoed: %s", async (sent, echoed) => {
    for (const path of ["/healthz", "/nowhere"]) {
      const got = (await send(path, { headers: { "X-Request-ID": sent } })).headers.get("X-Request-ID");
      if (echoed) expect(got).toBe(sent);
      else expect(got).toMatch(/^req_[0-9a-f-]{36}$/);
    }
  });
});

describe("a decision", () => {
  it("hands the story what the body says, with what it leaves out made plain", async () => {
    const calls: DecideCall[] = [];
    const decide = async (_tenant: string, _session: string, call: DecideCall) => {
      calls.push(call);
      return ok({ kind: "decided" as const, decisions: [{ answer: aDecision, replayed: true, superseded: null }] });
    };
    const response = await appOver({ sessions: { decide } })(
      `${SESSION}/decisions`,
      post('{"action":"pay","estimate_usd":0.1,"inputs":{"__proto__":{"a":1},"n":3}}', { "Idempotency-Key": "k" }),
    );
    expect(response.headers.get("Idempotency-Replayed")).toBe("true");
    expect(calls[0]?.key?.key).toBe("service ops k");
    const request = calls[0]?.items[0]?.request;
    expect(request).toMatchObject({ action: "pay", estimateMicroUsd: 100_000, tags: [], run: null, ttlMs: 300_000, confidence: null });
    // A member named __proto__ is data like any other, and changes no prototype.
    expect(JSON.stringify(request?.inputs)).toBe('{"__proto__":{"a":1},"n":3}');
    expect(Object.getPrototypeOf(request?.inputs)).toBe(Object.prototype);
  });

  it.each([
    ["gzip", 415],
    ["br, gzip", 415],
    ["nonsense", 415],
    ["identity", 200],
    ["IDENTITY", 200],
  ])("under Content-Encoding %s is answered with %i: a body is read as it stands", async (encoding, status) => {
    const decide = async () => ok({ kind: "decided" as const, decisions: [{ answer: aDecision, replayed: false, superseded: null }] });
    const response = await appOver({ sessions: { decide } })(`${SESSION}/decisions`, post('{"action":"pay"}', { "Content-Encoding": encoding }));
    expect(response.status).toBe(status);
    if (status === 415) expect(await response.json()).toMatchObject({ code: "media_type_unsupported" });
  });

  it.each([
    ["usage of no model", { usage: { input_tokens: 10 } }, { basis: "unpriced", known: false }],
    ["no tokens of a model", { model: { name: "m" }, usage: { input_tokens: 0 } }, { basis: "none", known: true }],
    ["tokens of a model that is known", { model: { name: "m" }, usage: { output_tokens: 7 } }, { basis: "computed", known: true }],
    ["tokens of one that is not", { model: { name: "x" }, usage: { output_tokens: 7 } }, { basis: "unpriced", known: false }],
    ["an estimate beside them", { model: { name: "x" }, usage: { output_tokens: 7 }, estimate_usd: "0" }, { basis: "stated", known: false }],
  ])("says what its price rests on: %s", async (_, body, price) => {
    const asked: DecideCall[] = [];
    const app = appOver({
      sessions: {
        decide: async (_tenant: string, _session: string, call: DecideCall) => {
          asked.push(call);
          return ok({ kind: "decided", decisions: [] });
        },
      },
    });
    await app(`${SESSION}/decisions/batch`, post({ decisions: [{ action: "a", ...body }] }));
    expect(asked[0]?.items[0]?.request.price).toEqual({ ...price, data: "test" });
    expect(asked[0]?.items[0]?.request.estimateMicroUsd).toBe(price.basis === "computed" ? 70 : 0);
  });

  it("is shown with an absolute URL of its approval, and an overrun account with nothing remaining", async () => {
    const response = await send(`https://gate.example${SESSION}/decisions`, post({ action: "pay" }));
    expect(await response.json()).toMatchObject({
      verdict: "hold",
      decision: false,
      approval: { id: EXAMPLE_IDS.apr, url: `https://gate.example/v1/approvals/${EXAMPLE_IDS.apr}`, expires_at: "2026-11-22T19:00:01.000Z" },
      budgets: [{ limit_usd: "1", posted_usd: "1.2", remaining_usd: "0" }],
    });
  });

  it.each([
    [0.1, 200, null],
    ["0.000001", 200, null],
    [1e-7, 422, "money_precision"],
    [0.1 + 0.2, 422, "money_precision"],
    ["0.0000001", 422, "money_precision"],
    ["-1", 422, "body_invalid"],
    ["1e2", 422, "body_invalid"],
    ["", 422, "body_invalid"],
  ])("with an estimate of %s is answered %s %s", async (estimate, status, code) => {
    const response = await send(`${SESSION}/decisions`, post({ action: "pay", estimate_usd: estimate }));
    expect(response.status).toBe(status);
    if (code !== null) expect(await response.json()).toMatchObject({ code, issues: [{ pointer: "/estimate_usd" }] });
  });

  it("is refused with body_invalid when money is not all that is wrong", async () => {
    const response = await send(`${SESSION}/decisions`, post({ action: "no spaces", estimate_usd: "0.0000001" }));
    const problem: { code: string; issues: { pointer: string }[] } = await response.json();
    expect(problem.code).toBe("body_invalid");
    expect(problem.issues.map(({ pointer }) => pointer).sort()).toEqual(["/action", "/estimate_usd"]);
  });

  it("takes the inputs or their digest, not both", async () => {
    const response = await send(`${SESSION}/decisions`, post({ action: "pay", inputs: {}, inputs_digest: `sha-256:${"0".repeat(64)}` }));
    const problem: { issues: { pointer: string; message: string }[] } = await response.json();
    expect(problem.issues).toEqual([{ pointer: "/inputs_digest", message: expect.stringContaining("in place of the inputs") }]);
  });

  it("names the member that was probably meant", async () => {
    const response = await send(`${SESSION}/decisions`, post({ action: "pay", estimate_us: 1, resource: { type: "a", idd: "b" } }));
    const problem: { issues: { pointer: string; message: string }[] } = await response.json();
    expect(problem.issues).toContainEqual({ pointer: "/estimate_us", message: 'is unknown; did you mean "estimate_usd"?' });
    expect(problem.issues).toContainEqual({ pointer: "/resource/idd", message: 'is unknown; did you mean "id"?' });
    expect(problem.issues).toContainEqual({ pointer: "/resource/id", message: expect.stringMatching(/^is missing; wanted 1 to 512 characters/) });
  });
});

describe("an Idempotency-Key", () => {
  it("makes the same session of the same key, and is refused when it is not visible ASCII of 1 to 255 characters", async () => {
    const orders: OpenSession[] = [];
    const app = appOver({
      sessions: {
        open: async (order) => {
          orders.push(order);
          return ok({ answer: { id: order.id, agent: order.agent, run: order.run, policy: null, expiresAt: 0 }, replayed: orders.length > 1 });
        },
      },
    });
    const first = await app("/v1/sessions", post("", { "Idempotency-Key": "one" }));
    const again = await app("/v1/sessions", post({}, { "Idempotency-Key": "one" }));
    expect([first.status, again.status]).toEqual([201, 201]);
    expect([first.headers.get("Idempotency-Replayed"), again.headers.get("Idempotency-Replayed")]).toEqual([null, "true"]);
    expect(await first.text()).toBe(await again.text());
    expect(orders[0]?.id).toBe(orders[1]?.id);
    for (const key of ["", "a b", "x".repeat(256)]) {
      const refused = await app("/v1/sessions", post({}, { "Idempotency-Key": key }));
      expect(await refused.json()).toMatchObject({ status: 422, issues: [{ pointer: "/Idempotency-Key" }] });
    }
  });

  it("that was used before with another body is refused as a conflict, which says so", async () => {
    const refused = await appOver({ sessions: { open: async () => err(KEY_REUSED) } })("/v1/sessions", post({}, { "Idempotency-Key": "one" }));
    expect(refused.status).toBe(409);
    const detail = "The Idempotency-Key was used before with another body.";
    expect(await refused.json()).toMatchObject({ code: "idempotency_mismatch", type: "/docs/problems#idempotency_mismatch", detail });
  });
});

describe("an ETag", () => {
  it.each(["/v1/policies/demo", "/v1/policies/demo/versions/3", "/v1/policies/effective"])("of %s saves sending it again", async (path) => {
    const first = await send(path, get());
    const tag = first.headers.get("ETag") ?? "";
    expect(tag).toMatch(/^"[0-9a-f]{32}"$/);
    for (const has of [tag, `W/${tag}`, `"other", ${tag}`, "*"]) {
      const again = await send(path, get({ "If-None-Match": has }));
      expect(again.status).toBe(304);
      expect(again.headers.get("ETag")).toBe(tag);
      expect(await again.text()).toBe("");
    }
    expect((await send(path, get({ "If-None-Match": '"other"' }))).status).toBe(200);
  });

  it("differs between the author's text and the JSON", async () => {
    const yaml = await send("/v1/policies/demo", get({ Accept: "text/yaml, application/json;q=0.5" }));
    expect(yaml.headers.get("Content-Type")).toBe("application/yaml");
    expect(await yaml.text()).toBe("version: 1 # the author's\n");
    expect(yaml.headers.get("ETag")).not.toBe((await send("/v1/policies/demo", get())).headers.get("ETag"));
  });
});

it("an extension that an older version of the session's object answers is told as it is: of an intervention that says nothing", async () => {
  const old = { answer: aSettlement, replayed: false };
  // What crosses to an object while a deployment goes round is of one version on one side and of another on the other.
  const app = appOver({ sessions: { extend: async () => ok(old as typeof old & { superseded: null }) } });
  const extended = await app(`${SESSION}/decisions/${EXAMPLE_IDS.dec}/extend`, post({ ttl_ms: 1000 }));
  expect([extended.status, "superseded" in Object(await extended.json())]).toEqual([200, false]);
});

describe("what a policy's writer says it saw", () => {
  const STANDING = { version: 3, active: true, scope: "tenant", target: null };

  /** Puts a policy with these headers, in which `<json>` and `<yaml>` stand for the tags of what is there, and answers what the tenant was told. */
  async function told(headers: Record<string, string>, overrides: Parameters<typeof appOver>[0] = {}) {
    const puts: (PutIf | null | undefined)[] = [];
    const app = appOver({
      tenants: {
        ...overrides.tenants,
        putPolicy: async (_tenant, _principal, { name, digest, onlyIf }) => {
          puts.push(onlyIf);
          return ok({ name, version: 4, digest, active: true, created: true });
        },
      },
    });
    const json = (await send("/v1/policies/demo", get())).headers.get("ETag") ?? "";
    const yaml = (await send("/v1/policies/demo", get({ Accept: "application/yaml" }))).headers.get("ETag") ?? "";
    const filled = Object.entries(headers).map(([name, value]) => [name, value.replace("<json>", json).replace("<yaml>", yaml)]);
    const response = await app("/v1/policies/demo", {
      method: "PUT",
      headers: { Authorization: SERVICE, "Content-Type": "application/yaml", ...Object.fromEntries(filled) },
      body: "version: 1",
    });
    return { response, puts };
  }

  it.each<[headers: Record<string, string>, onlyIf: unknown]>([
    [{}, null],
    [{ "If-Match": "<json>" }, { is: [STANDING], isNot: null }],
    [{ "If-Match": "<yaml>" }, { is: [STANDING], isNot: null }],
    [{ "If-Match": '"other,one" , <json>' }, { is: [STANDING], isNot: null }],
    [{ "If-Match": "*" }, { is: "anything", isNot: null }],
    [{ "If-Match": '"other"' }, { is: [], isNot: null }],
    [{ "If-Match": "W/<json>" }, { is: [], isNot: null }],
    [{ "If-Match": 'W/"other"' }, { is: [], isNot: null }],
    [{ "If-None-Match": "*" }, { is: null, isNot: "anything" }],
    [{ "If-None-Match": "<yaml>" }, { is: null, isNot: [STANDING] }],
    [{ "If-None-Match": "W/<json>" }, { is: null, isNot: [STANDING] }],
    [{ "If-None-Match": '"other"' }, { is: null, isNot: [] }],
    [
      { "If-Match": "<json>", "If-None-Match": "*" },
      { is: [STANDING], isNot: "anything" },
    ],
  ])("as %j reaches the tenant", async (headers, onlyIf) => {
    const { response, puts } = await told(headers);
    expect(response.status).toBe(201);
    expect(puts).toEqual([onlyIf]);
  });

  it("as a tag reaches the tenant where there is no such policy: nothing of it stands", async () => {
    const none = { tenants: { readPolicy: async () => err(refusal("not_found", "none")) } };
    expect((await told({ "If-Match": "<json>", "If-None-Match": "<json>" }, none)).puts).toEqual([{ is: [], isNot: [] }]);
  });

  it("is refused where nobody can say what is there, and nothing is put", async () => {
    const lost = { tenants: { readPolicy: async () => err(refusal("authority_unavailable", "lost")) } };
    const { response, puts } = await told({ "If-Match": "<json>" }, lost);
    expect([response.status, puts]).toEqual([503, []]);
  });

  it.each(["", "x", '"x', "**", '*, "x"', '"a" "b"', '"a",,"b"', 'w/"a"', "abc123", "W/*"])(
    "is refused where it is %j, and nothing is put",
    async (value) => {
      for (const name of ["If-Match", "If-None-Match"]) {
        const { response, puts } = await told({ [name]: value });
        expect(await response.json()).toMatchObject({ status: 422, code: "body_invalid", issues: [{ pointer: `/${name}` }] });
        expect(puts).toEqual([]);
      }
    },
  );

  it.each([
    ["<json>", false],
    ['"other"', false],
    ["W/<json>", true],
    ['"other", W/"x"', true],
  ])("and does not stand is refused with 412; with %s it is said that weak tags never match: %s", async (match, isSaid) => {
    const refused = { tenants: { putPolicy: async () => err(refusal("precondition_failed", "It is at version 4 now.")) } };
    const json = (await send("/v1/policies/demo", get())).headers.get("ETag") ?? "";
    const response = await appOver(refused)("/v1/policies/demo", {
      method: "PUT",
      headers: { Authorization: SERVICE, "Content-Type": "application/yaml", "If-Match": match.replace("<json>", json) },
      body: "version: 1",
    });
    expect([response.status, response.headers.get("ETag")]).toEqual([412, null]);
    const { code, detail }: { code: string; detail: string } = await response.json();
    expect([code, detail.includes("Accept-Encoding: identity")]).toEqual(["precondition_failed", isSaid]);
  });
});

describe("a policy", () => {
  const put = (body: string, type: string, query = ""): Promise<Response> =>
    send(`/v1/policies/demo${query}`, { method: "PUT", headers: { Authorization: SERVICE, "Content-Type": type }, body });

  it.each(["application/yaml", "application/x-yaml", "text/yaml", "application/json"])("is taken as %s", async (type) => {
    expect((await put('{"version": 1}', type)).status).toBe(201);
  });

  it("is refused with the places of its mistakes", async () => {
    const response = await put("version: 1\nbudgts:\n  session: 5\n", "application/yaml");
    expect(await response.json()).toMatchObject({ status: 422, code: "policy_invalid", issues: [{ pointer: "/budgts", line: 2 }] });
  });

  it("is validated with an answer, whether it is good or not", async () => {
    const validate = (body: string) =>
      send("/v1/policies/validate", { method: "POST", headers: { Authorization: SERVICE, "Content-Type": "application/yaml" }, body });
    expect(await (await validate("version: 1\n")).json()).toMatchObject({ valid: true, issues: [] });
    expect(await (await validate("version: [")).json()).toMatchObject({ valid: false });
    expect(await (await validate("budgts: 1")).json()).toMatchObject({
      valid: false,
      issues: expect.arrayContaining([expect.objectContaining({ line: 1 })]),
    });
  });

  it.each([
    ["?scope=agent", "/target"],
    ["?target=ada", "/target"],
    ["?scope=agents&target=a", "/scope"],
    ["?activate=yes", "/activate"],
  ])("is refused with the query %s", async (query, pointer) => {
    expect(await (await put("version: 1", "application/yaml", query)).json()).toMatchObject({ status: 422, issues: [{ pointer }] });
  });

  it.each(["a b", "-x", "x+y", "%00"])("cannot be called %s", async (name) => {
    const init = { method: "PUT", headers: { Authorization: SERVICE, "Content-Type": "application/yaml" }, body: "version: 1" };
    expect(await (await send(`/v1/policies/${encodeURIComponent(name)}`, init)).json()).toMatchObject({
      status: 422,
      issues: [{ pointer: "/name" }],
    });
  });
});

describe("an agent's token", () => {
  it("lists its own sessions and entries only, and is refused another's", async () => {
    const asked: (string | null | undefined)[] = [];
    const app = appOver({
      tenants: {
        listSessions: async (_tenant, _page, agent) => {
          asked.push(agent);
          return ok({ items: [], nextCursor: null });
        },
      },
      ledger: {
        list: async (_tenant: string, filter: LedgerFilter) => {
          asked.push(filter.agent);
          return ok({ items: [], nextCursor: null });
        },
      },
    });
    for (const path of ["/v1/sessions", "/v1/ledger"]) {
      expect((await app(path, get({ Authorization: AGENT }))).status).toBe(200);
      expect(await (await app(`${path}?agent=eve`, get({ Authorization: AGENT }))).json()).toMatchObject({ code: "not_your_session" });
      expect((await app(path, get())).status).toBe(200);
    }
    expect(asked).toEqual(["ada", null, "ada", undefined]);
  });

  it("does not find another agent's entry", async () => {
    const path = `/v1/ledger/${EXAMPLE_IDS.ent}`;
    expect((await send(path, get({ Authorization: AGENT }))).status).toBe(200);
    expect((await send(path, get({ Authorization: bearer("agent", "eve") }))).status).toBe(404);
  });

  it("reads what is stored of itself only: the rest is about customers and others", async () => {
    const reads = (path: string, kind: "agent" | "service") => send(path, get({ Authorization: bearer(kind, "ada", ["policies:read"]) }));
    expect((await reads("/v1/entities/agent/ada", "agent")).status).toBe(200);
    for (const path of ["/v1/entities/agent/eve", "/v1/entities/customer/ada", "/v1/entities"]) {
      expect(await (await reads(path, "agent")).json()).toMatchObject({ code: "not_your_session" });
      expect((await reads(path, "service")).status).toBe(200);
    }
  });

  it("is told its own sums only", async () => {
    const own = await send("/v1/costs?group_by=agent", get({ Authorization: AGENT }));
    expect(await own.json()).toEqual({
      items: [{ key: "ada", posted_usd: "0.1", count: 1, reported_usd: "0" }],
      total_usd: "0.1",
      reported_usd: "0",
    });
    expect(await (await send("/v1/costs?group_by=agent", get())).json()).toMatchObject({ total_usd: "0.100001" });
  });

  it("opens no session for another", async () => {
    expect(await (await send("/v1/sessions", post({ agent: "eve" }, { Authorization: AGENT }))).json()).toMatchObject({ code: "not_your_session" });
  });
});

describe("tokens", () => {
  const wish = { subject: "a", kind: "service", scopes: ["ledger:read"] };

  it("need a tenant from the root key, and find no other tenant from a token", async () => {
    expect(await (await send("/v1/tokens", post(wish, { Authorization: "Bearer root" }))).json()).toMatchObject({ issues: [{ pointer: "/tenant" }] });
    expect((await send("/v1/tokens", post({ ...wish, tenant: "demo" }, { Authorization: "Bearer root" }))).status).toBe(201);
    expect((await send("/v1/tokens", post({ ...wish, tenant: "other" }))).status).toBe(404);
    expect((await send("/v1/tokens", post(wish))).status).toBe(201);
    expect((await send("/v1/tokens?tenant=other", get())).status).toBe(404);
  });

  it("of kind agent never hold what widens their own authority", async () => {
    const response = await send("/v1/tokens", post({ ...wish, kind: "agent", scopes: ["ledger:read", "tokens:write"] }));
    expect(await response.json()).toMatchObject({ status: 422, issues: [{ pointer: "/scopes/1" }] });
  });
});

describe("a session", () => {
  it("shows the smaller of its two limits, a shared account for a glob, and the actions no budget names", async () => {
    const { budgets }: { budgets: unknown[] } = await (await send(SESSION, get())).json();
    expect(budgets).toEqual([
      { scope: "session", name: EXAMPLE_IDS.ses, limit_usd: "2", posted_usd: "0.3", pending_usd: "0", leased_usd: "0", remaining_usd: "1.7" },
      { scope: "run", name: EXAMPLE_IDS.run, limit_usd: "1", posted_usd: "0.3", pending_usd: "0", leased_usd: "0", remaining_usd: "0.7" },
      { scope: "action", name: "db.*", limit_usd: "0.2", posted_usd: "0.1", pending_usd: "0.05", leased_usd: "0", remaining_usd: "0.05" },
      { scope: "action", name: "send_email", limit_usd: null, posted_usd: "0.2", pending_usd: "0", leased_usd: "0", remaining_usd: null },
    ]);
  });

  it("has only its own limit where no policy can be read", async () => {
    const app = appOver({ tenants: { effectivePolicy: async () => ok(null) } });
    const { budgets }: { budgets: { limit_usd: string | null }[] } = await (await app(SESSION, get())).json();
    expect(budgets.map(({ limit_usd }) => limit_usd)).toEqual(["2", null, null, null, null]);
  });
});

describe("the ledger", () => {
  it("shows the hashed members as they were hashed, with the three beside them", async () => {
    const text = await (await send(`/v1/ledger/${EXAMPLE_IDS.ent}`, get())).text();
    expect(text).toBe(
      `{"agent_id":"ada","cost_usd":"0.05","id":"${EXAMPLE_IDS.ent}","principal":null,"score":1e21,"hash":"${"cd".repeat(32)}","index":4,"payload":null}`,
    );
  });

  it("is exported a line an entry, and read only as fast as the client takes it", async () => {
    let pagesRead = 0;
    let ended = false;
    const row = { index: 0, canonical: '{"agent_id":"ada"}', hash: "00", payload: null };
    const app = appOver({
      ledger: {
        async *export() {
          try {
            for (; pagesRead < 50; ) {
              pagesRead++;
              yield [row];
            }
          } finally {
            ended = true;
          }
        },
      },
    });
    const whole = await send("/v1/ledger/export", get());
    expect(whole.headers.get("Content-Type")).toBe("application/x-ndjson");
    const lines = (await whole.text()).trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line).index)).toEqual([4, 5, 6]);

    const response = await app("/v1/ledger/export", get());
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.read();
    expect(pagesRead).toBeLessThan(5);
    await reader?.cancel();
    expect(ended).toBe(true);
  });

  it("breaks a stream off rather than end it early, and refuses where nothing was sent yet", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const failing = (after: number) =>
      appOver({
        ledger: {
          async *export() {
            for (let page = 0; page < after; page++) yield [{ index: page, canonical: '{"a":1}', hash: "00", payload: null }];
            throw new Error("D1_ERROR: gone");
          },
        },
      })("/v1/ledger/export", get());
    const refused = await failing(0);
    expect(await refused.json()).toMatchObject({ code: "ledger_unavailable" });
    await expect((await failing(2)).text()).rejects.toThrow();
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe("who is turned away for now", () => {
  const throttled = async () => err(refusal("throttled", "Too many."));

  it("for the work that its policies were is told so, and its decisions and its kills go on; another tenant's policies too", async () => {
    let tenant = "demo";
    const { authenticate } = portsOf({}).identity;
    const known = async (authorization: string | null, now: number) => {
      const caller = await authenticate(authorization, now);
      return caller.ok && caller.value.kind === "bearer" ? ok({ ...caller.value, principal: { ...caller.value.principal, tenant } }) : caller;
    };
    const app = appOver({ identity: { authenticate: known } });
    const put = (spaces: number) => app("/v1/policies/validate", post(`version: 1${" ".repeat(spaces)}`, { "Content-Type": "application/yaml" }));
    // A third of a MiB is a second of work.
    expect((await put(340 * 1024)).status).toBe(200);
    const refused = await put(0);
    expect({ status: refused.status, problem: await refused.json() }).toMatchObject({ status: 429, problem: { code: "throttled" } });
    expect(refused.headers.get("RateLimit-Policy")).toBe('"token-work";q=1000;w=10;qu="milliseconds"');
    expect(refused.headers.get("RateLimit")).toMatch(/^"token-work";r=0/);
    expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect((await app(`/v1/sessions/${EXAMPLE_IDS.ses}/decisions`, post({ action: "a" }))).status).toBe(200);
    expect((await app("/v1/interventions", post({ target: { type: "agent", id: "ada" }, kind: "kill", reason: "r" }))).status).toBeLessThan(300);
    tenant = "other";
    expect((await put(0)).status).toBe(200);
  });

  const LONG_TOKEN = { ...aToken, subject: "a".repeat(60_000_000), revokedAt: null };
  const LONG_READS = {
    listSessions: "/v1/sessions",
    listApprovals: "/v1/approvals",
    readApprovalSignals: "/v1/approvals/signals",
    listInterventions: "/v1/interventions",
    listEntries: "/v1/ledger",
    exportEntries: "/v1/ledger/export",
    readEntry: `/v1/ledger/${EXAMPLE_IDS.ent}`,
    reportCosts: "/v1/costs",
    listEntities: "/v1/entities",
    listWebhooks: "/v1/webhooks",
    listDeliveries: `/v1/webhooks/${EXAMPLE_IDS.whk}/deliveries`,
    listTokens: "/v1/tokens",
    listIssuers: "/v1/issuers",
  };

  it("for what was read is told so, whatever it would read next, and its decisions and its kills go on; another tenant reads too", async () => {
    expect(ROUTES.flatMap(({ id, reads }) => (reads === null ? [] : [id])).sort()).toEqual(Object.keys(LONG_READS).sort());
    let tenant = "demo";
    const { authenticate } = portsOf({}).identity;
    const known = async (authorization: string | null, now: number) => {
      const caller = await authenticate(authorization, now);
      return caller.ok && caller.value.kind === "bearer" ? ok({ ...caller.value, principal: { ...caller.value.principal, tenant } }) : caller;
    };
    // Four million rows are twelve seconds of reading.
    const list: Ports["ledger"]["list"] = async (_tenant, _filter, _page, went) => {
      went?.({ rows: 4_000_000 });
      return ok({ items: [], nextCursor: null });
    };
    const app = appOver({ identity: { authenticate: known }, ledger: { list } });
    expect((await app("/v1/ledger?action=never", get())).status).toBe(200);
    for (const path of Object.values(LONG_READS)) {
      const refused = await app(path, get());
      expect({ path, status: refused.status, problem: await refused.json() }).toMatchObject({ path, status: 429, problem: { code: "throttled" } });
      expect(refused.headers.get("RateLimit-Policy")).toBe('"token-reads";q=700;w=1;qu="milliseconds"');
      expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(0);
    }
    expect((await app(`/v1/sessions/${EXAMPLE_IDS.ses}/decisions`, post({ action: "a" }))).status).toBe(200);
    expect((await app(SESSION, get())).status).toBe(200);
    expect((await app("/v1/interventions", post({ target: { type: "agent", id: "ada" }, kind: "kill", reason: "r" }))).status).toBeLessThan(300);
    tenant = "other";
    expect((await app("/v1/sessions", get())).status).toBe(200);
  });

  it.each<[string, Parameters<typeof portsOf>[0], string]>([
    [
      "six thousand sessions that it asked",
      { tenants: { liveSessions: async () => Array.from({ length: 6_000 }, () => EXAMPLE_IDS.ses) } },
      "/v1/costs",
    ],
    ["sixty million characters that it made", { tenants: { listTokens: async () => ok({ items: [LONG_TOKEN], nextCursor: null }) } }, "/v1/tokens"],
  ])("from its turn for as long as %s take, less what may come at once, waits for it", async (_, world, path) => {
    const app = appOver(world);
    expect((await app(path, get())).status).toBe(200);
    const before = Date.now();
    expect((await app("/v1/sessions?limit=1", get())).status).toBe(200);
    expect(Date.now() - before).toBeGreaterThanOrEqual(150);
  });

  it("comes round with an export too, where others of its tenant read on and on", async () => {
    let isOver = false;
    // As much as a page of a thousand entries is taken for.
    const list: Ports["ledger"]["list"] = async (_tenant, _filter, _page, went) => {
      went?.({ rows: 28_000 });
      return ok({ items: [], nextCursor: null });
    };
    async function* pages() {
      for (let index = 0; index < 3; index++) yield [{ ...aRow, index }];
    }
    const app = appOver({ ledger: { list, export: pages } }, Date.now);
    const readers = Array.from({ length: 16 }, async () => {
      while (!isOver) expect((await app("/v1/ledger?limit=1000", get())).status).toBe(200);
    });
    const exported = (await app("/v1/ledger/export", get())).text().then(() => "ended");
    const { promise: late, resolve } = Promise.withResolvers<string>();
    const timer = setTimeout(() => resolve("waits"), 8_000);
    expect(await Promise.race([exported, late])).toBe("ended");
    clearTimeout(timer);
    isOver = true;
    await Promise.all(readers);
  }, 20_000);

  it("reads on with an export only when it has its turn", async () => {
    const askedAt: number[] = [];
    async function* pages(_tenant: string, _filter: LedgerFilter, went?: Went) {
      for (let index = 0; index < 3; index++) {
        askedAt.push(Date.now());
        // 1.2 s of reading, of which one second may come at once.
        if (index === 0) went?.({ rows: 400_000 });
        yield [{ ...aRow, index }];
      }
    }
    const response = await appOver({ ledger: { export: pages } }, Date.now)("/v1/ledger/export", get());
    expect((await response.text()).trim().split("\n")).toHaveLength(3);
    const [first = 0, second = 0, third = 0] = askedAt;
    expect(second - first).toBeGreaterThanOrEqual(150);
    expect(third - second).toBeLessThan(100);
  });

  it("from waiting for a held decision, as one too many of its token, is told so before its tenant is asked, and reads it without waiting", async () => {
    const answers: (() => void)[] = [];
    const { readDecision } = portsOf({}).sessions;
    const asked = { tenant: 0 };
    let at = AT;
    const held: typeof readDecision = async (...of) => {
      if (of[4] > 0) await new Promise<void>((resolve) => answers.push(resolve));
      return readDecision(...of);
    };
    const isTokenGood = async () => {
      asked.tenant++;
      return true;
    };
    const app = appOver({ sessions: { readDecision: held }, tenants: { isTokenGood } }, () => at);
    const read = (query: string) => app(`${SESSION}/decisions/${EXAMPLE_IDS.dec}${query}`, get());
    const let_ = Array.from({ length: MOST_WAITS_OF_TOKEN }, () => read("?wait_ms=10000"));
    await vi.waitFor(() => expect(answers).toHaveLength(MOST_WAITS_OF_TOKEN));
    const refused = await read("?wait_ms=1");
    expect([refused.status, await refused.json()]).toMatchObject([429, { code: "throttled" }]);
    expect(refused.headers.get("RateLimit-Policy")).toBe(`"waiting";q=${MOST_WAITS_OF_TOKEN};qu="concurrent-requests"`);
    expect([refused.headers.get("RateLimit"), Number(refused.headers.get("Retry-After"))]).toEqual(['"waiting";r=0', 5]);
    expect(asked.tenant).toBe(MOST_WAITS_OF_TOKEN);
    for (const query of ["", "?wait_ms=0"]) expect((await read(query)).status).toBe(200);
    // One that is answered makes room for one, a refused one for none.
    answers.shift()?.();
    expect((await let_[0])?.status).toBe(200);
    const next = read("?wait_ms=20000");
    await vi.waitFor(() => expect(answers).toHaveLength(MOST_WAITS_OF_TOKEN));
    expect((await read("?wait_ms=1")).status).toBe(429);
    // Those that hung up say nothing, and hold no place longer than they asked for.
    at += 9_999;
    expect((await read("?wait_ms=1")).status).toBe(429);
    at += 1;
    const later = read("?wait_ms=1");
    await vi.waitFor(() => expect(answers).toHaveLength(MOST_WAITS_OF_TOKEN + 1));
    for (const answer of answers.splice(0)) answer();
    for (const one of [...let_, next, later]) expect((await one).status).toBe(200);
  });

  it("keeps nobody from a kill or an answer to an agent: those have a limit of their own, whatever the tenant's is", async () => {
    const scarce = { tenants: { readSettings: async () => ok({ ...DEFAULT_SETTINGS, throttle: { requests: 2, windowMs: 60_000 } }) } };
    const app = appOver(scarce);
    const kill = () => app("/v1/interventions", post({ target: { type: "tenant", id: "demo" }, kind: "kill", reason: "It mails the wrong people." }));
    const said = { decision: "approve", action_digest: EXAMPLE_DIGEST };
    const poll = () => app("/v1/sessions", get());
    // As often as it may, and until it is turned away.
    while ((await poll()).status !== 429);
    for (let n = 0; n < 10; n++) {
      expect((await kill()).status).toBe(201);
      expect((await app(`/v1/approvals/${EXAMPLE_IDS.apr}/decide`, post(said))).status).toBe(200);
      expect((await app("/v1/approvals/decide", post({ answers: [{ id: EXAMPLE_IDS.apr, ...said }] }))).status).toBe(200);
    }
    expect((await poll()).status).toBe(429);
    // Nor do kills use up what the token may ask besides.
    const fresh = appOver(scarce);
    await fresh("/v1/interventions", post({ target: { type: "tenant", id: "demo" }, kind: "pause", reason: "?" }));
    for (let n = 0; n < 10; n++) await fresh("/v1/interventions", post({ target: { type: "tenant", id: "demo" }, kind: "pause", reason: "?" }));
    expect((await fresh("/v1/sessions", get())).status).toBe(200);
  });

  it("for kills without a word that lets it kill has them counted with all else", async () => {
    const { authenticate } = portsOf({}).identity;
    const app = appOver({
      tenants: { readSettings: async () => ok({ ...DEFAULT_SETTINGS, throttle: { requests: 2, windowMs: 60_000 } }) },
      identity: {
        authenticate: async (authorization, now) => {
          const caller = await authenticate(authorization, now);
          return caller.ok && caller.value.kind === "bearer" ? ok({ ...caller.value, scopes: ["ledger:read"] }) : caller;
        },
      },
    });
    const kill = () => app("/v1/interventions", post({ target: { type: "tenant", id: "demo" }, kind: "kill", reason: "?" }));
    const statuses = [(await kill()).status, (await kill()).status, (await kill()).status, (await kill()).status];
    expect([statuses[0], statuses[3]]).toEqual([403, 429]);
  });

  it.each([
    ["checks", "/v1/policies/validate", (policy: string) => policy],
    ["simulates", "/v1/policies/simulate", (policy: string) => ({ policy })],
  ])("for regular expressions in what it %s is told so by what they are, not by how long they are", async (_, path, body) => {
    const app = appOver();
    const type = path.endsWith("validate") ? { "Content-Type": "application/yaml" } : {};
    const rules = Array.from({ length: 60 }, (__, n) => `{effect: forbid, actions: [a], when: 'inputs.t.matches("[^a${n}]{800}")'}`);
    // In 4 KiB 48,000 instructions, a fifth of a second's work: five of them are a second's, and the texts alone not a tenth of one.
    const ask = async (known: string) => (await app(path, post(body(`version: 1\nrules: [${rules.join(", ")}]\n${known}`), type))).status;
    const refused = path.endsWith("validate") ? 200 : 422;
    for (let n = 0; n < 2; n++) expect([await ask(""), await ask("unknown: 1\n")]).toEqual([200, refused]);
    expect([await ask(""), await ask("")]).toEqual([200, 429]);
  });

  it.each([
    [
      "as one token too often",
      { tenants: { readSettings: async () => ok({ ...DEFAULT_SETTINGS, throttle: { requests: 1, windowMs: 60_000 } }) } },
      "token",
    ],
    ["with tokens of issuers that nobody knows", { identity: { authenticate: throttled } }, "unknown-issuers"],
    ["as one listener too many", { events: { listen: throttled } }, "listeners"],
  ])("%s is told of which limit, that nothing of it is left, and when to come back", async (_, world, policy) => {
    const app = appOver(world);
    // The first request of a token learns its tenant's limit beside it.
    await app("/v1/events", get());
    const refused = await app("/v1/events", get());
    expect(refused.status).toBe(429);
    expect(refused.headers.get("RateLimit-Policy")).toMatch(new RegExp(`^"${policy}";q=[1-9]\\d*`));
    expect(refused.headers.get("RateLimit")).toMatch(new RegExp(`^"${policy}";r=0`));
    expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(0);
  });
});

describe("a page in a browser", () => {
  it("gets the answer though its tenant does not say whether it may read it, and may not read it then", async () => {
    const app = appOver({ tenants: { readSettings: () => new Promise(() => undefined) } });
    const response = await app(`${SESSION}/decisions`, post({ action: "pay" }, { Origin: "https://app.example" }));
    expect([response.status, response.headers.get("Access-Control-Allow-Origin")]).toEqual([200, null]);
  });

  it("of an origin that is made up makes nobody ask the directory more than a hundred times a second", async () => {
    let asked = 0;
    const isOriginKnown = async () => {
      asked++;
      return false;
    };
    const app = appOver({ directory: { isOriginKnown } });
    for (let n = 0; n < 150; n++) {
      const headers = { Origin: `https://${n}.example`, "Access-Control-Request-Method": "POST" };
      expect((await app("/v1/sessions", { method: "OPTIONS", headers })).status).toBe(405);
    }
    expect(asked).toBe(100);
  });
});

describe("a failure", () => {
  it.each([
    ["a port that is lost", new Error("Network connection lost. secret"), "authority_unavailable", 503],
    ["an object that is overloaded", Object.assign(new Error("overloaded secret"), { remote: true, overloaded: true }), "authority_unavailable", 503],
    ["a law that broke", new BrokenInvariant("secret"), "internal", 500],
    ["a fault of our own inside an object", Object.assign(new Error("secret"), { remote: true }), "internal", 500],
  ])("of %s says nothing from inside", async (_, error, code, status) => {
    const log = vi.spyOn(console, "error").mockImplementation(() => undefined);
    const app = appOver({ sessions: { read: () => Promise.reject(error) } });
    const response = await app(SESSION, get({ "X-Request-ID": "r-1" }));
    const text = await response.text();
    expect(JSON.parse(text)).toMatchObject({ code, status, request_id: "r-1" });
    expect(text).not.toContain("secret");
    expect(response.headers.get("Retry-After")).toBe(status === 503 ? "1" : null);
    expect(log).toHaveBeenCalledTimes(1);
    expect(log.mock.calls[0]?.[0]).toContain("r-1");
  });

  it("that a story tells is a problem with its own status", async () => {
    const app = appOver({ sessions: { commit: async () => err(refusal("decision_settled", "It was released.")) } });
    const response = await app(`${SESSION}/decisions/${EXAMPLE_IDS.dec}/commit`, post({ cost_usd: 1, outcome: "success" }));
    expect(response.status).toBe(409);
    expect(await response.json()).toMatchObject({ code: "decision_settled", type: "/docs/problems#decision_settled", detail: "It was released." });
  });
});

describe("whatever is sent", () => {
  const targets = ROUTES.filter(({ body }) => body !== null);
  const pathOf = (route: Route): string =>
    route.path
      .replace("{session}", EXAMPLE_IDS.ses)
      .replace("{decision}", EXAMPLE_IDS.dec)
      .replace("{run}", EXAMPLE_IDS.run)
      .replace("{name}", "demo");

  const sent = async (route: Route, body: string | Uint8Array<ArrayBuffer>, type: string): Promise<number> => {
    const headers = { Authorization: route.caller === "root" ? "Bearer root" : SERVICE, "Content-Type": type };
    return (await send(pathOf(route), { method: route.method, headers, body })).status;
  };

  it("as JSON is never our failure", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...targets), fc.json({ noUnicodeString: false, stringUnit: "binary" }), async (route, body) => {
        expect(await sent(route, body, "application/json")).toBeLessThan(500);
      }),
      { numRuns: 400 },
    );
  });

  it("as a near miss of a good body is never our failure", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...targets.filter(({ body }) => body?.schema !== null)),
        fc.dictionary(
          fc.constantFrom("id", "action", "labels", "usage", "inputs", "tags", "scopes", "ttl_ms", "cost_usd", "decisions", "resource"),
          fc.jsonValue(),
        ),
        async (route, members) => {
          expect(await sent(route, JSON.stringify({ ...(route.body?.example as object), ...members }), "application/json")).toBeLessThan(500);
        },
      ),
      { numRuns: 400 },
    );
  });

  it("as octets is never our failure", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...targets),
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom("application/json", "application/yaml"),
        async (route, octets, type) => {
          expect(await sent(route, new Uint8Array(octets), type)).toBeLessThan(500);
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe("the OpenAPI document", () => {
  // As a client gets it: through JSON.
  const document: {
    openapi: string;
    paths: Record<string, Record<string, Operation>>;
    components: { schemas: Record<string, unknown>; headers: Record<string, unknown>; securitySchemes: Record<string, unknown> };
  } = JSON.parse(JSON.stringify(openApiDocument(ROUTES)));

  interface Operation {
    readonly operationId: string;
    readonly parameters: readonly { name: string; in: string; required: boolean; schema: unknown }[];
    readonly requestBody?: { content: Record<string, { schema: unknown; example?: unknown }> };
    readonly responses: Record<string, { description: string; content?: Record<string, { schema: unknown; example?: unknown; examples?: unknown }> }>;
    readonly security: readonly Record<string, readonly string[]>[];
  }

  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, it]) => ({ path, method, it })),
  );

  function* nodes(value: unknown): Generator<Record<string, unknown>> {
    if (typeof value !== "object" || value === null) return;
    if (!Array.isArray(value)) yield value as Record<string, unknown>;
    for (const member of Object.values(value)) yield* nodes(member);
  }

  it("is served as it is made", async () => {
    expect(await (await send("/openapi.json")).json()).toEqual(document);
    expect(document.openapi).toBe("3.1.1");
  });

  it("has every documented route once, with its own operationId", () => {
    const documented = ROUTES.filter((route) => route.documented);
    expect(operations.map(({ path, method }) => `${method} ${path}`).sort()).toEqual(
      documented.map((r) => `${r.method.toLowerCase()} ${r.path}`).sort(),
    );
    expect(new Set(operations.map(({ it }) => it.operationId)).size).toBe(operations.length);
  });

  it("refers to nothing that is not there", () => {
    const pointers = [...nodes(document)].flatMap((node) => (typeof node.$ref === "string" ? [node.$ref] : []));
    expect(pointers.length).toBeGreaterThan(50);
    for (const pointer of pointers) {
      let at: unknown = document;
      for (const step of pointer.replace(/^#\//, "").split("/")) at = (at as Record<string, unknown>)[step];
      expect(at, pointer).toBeDefined();
    }
  });

  it("declares every parameter of every path, and no other", () => {
    for (const { path, it } of operations) {
      const declared = it.parameters.filter((parameter) => parameter.in === "path");
      expect(declared.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
      for (const { required } of declared) expect(required).toBe(true);
      expect(new Set(it.parameters.map(({ name }) => name)).size).toBe(it.parameters.length);
    }
  });

  it("gives every operation a success, its problems, and an example of each body", () => {
    for (const { it } of operations) {
      const statuses = Object.keys(it.responses);
      expect(statuses.some((status) => /^(2\d\d|101)$/.test(status))).toBe(true);
      expect(statuses).toContain("500");
      for (const response of Object.values(it.responses)) {
        expect(response.description).not.toBe("");
        for (const [type, content] of Object.entries(response.content ?? {})) {
          expect(content.schema, type).toBeDefined();
          if (type === "application/json" || type === "application/problem+json")
            expect(content.example ?? content.examples, it.operationId).toBeDefined();
        }
      }
      for (const content of Object.values(it.requestBody?.content ?? {})) expect(content.example).toBeDefined();
      for (const requirement of it.security) {
        for (const scheme of Object.keys(requirement)) expect(document.components.securitySchemes).toHaveProperty(scheme);
      }
    }
  });

  it("states the bounds that are checked", () => {
    const decision = JSON.stringify(document.components.schemas.DecisionRequest);
    expect(decision).toContain('"additionalProperties":false');
    expect(decision).toContain('"maxLength":8192');
    expect(decision).toContain('"required":["action"]');
    const session = JSON.stringify(document.components.schemas.OpenSessionRequest);
    expect(session).toContain('"maximum":2592000000');
    expect(session).toContain('"maxProperties":64');
    const limit = document.paths["/v1/ledger"]?.get?.parameters.find(({ name }) => name === "limit");
    expect(limit?.schema).toMatchObject({ type: "integer", minimum: 1, maximum: 1000, default: 100 });
  });
});

describe("the pages", () => {
  it("load nothing from elsewhere", async () => {
    for (const path of ["/docs", "/docs/problems"]) {
      const response = await send(path);
      expect(response.headers.get("Content-Security-Policy")).toContain("default-src 'none'");
      expect(await response.text()).not.toMatch(/(src|href)="(https?:)?\/\//);
    }
  });

  it("show every operation, with its problems, and run no script but the one that narrows their list down", async () => {
    const [docs, problems] = [await send("/docs"), await send("/docs/problems")];
    const text = await docs.text();
    for (const { id, documented } of ROUTES) expect(text.includes(`id="${id}"`)).toBe(documented);
    const scripts = [...text.matchAll(/<script>([\s\S]*?)<\/script>/g)].map(([, script = ""]) =>
      createHash("sha256").update(script).digest("base64"),
    );
    expect(scripts.length).toBe(1);
    expect(docs.headers.get("Content-Security-Policy")).toContain(`; script-src 'sha256-${scripts[0]}';`);
    expect(text.match(/<script|\son\w+=/g)).toEqual(["<script"]);
    expect(await problems.text()).not.toContain("<script");
    expect(problems.headers.get("Content-Security-Policy")).not.toContain("script-src");
  });

  it("greet a browser with a page and a program with JSON", async () => {
    expect((await send("/", { headers: { Accept: "text/html,application/xml;q=0.9,*/*;q=0.8" } })).headers.get("Content-Type")).toMatch("text/html");
    expect(await (await send("/")).json()).toMatchObject({ docs: "/docs" });
  });
});

describe("signals of the desk", () => {
  const NOW = new Date(AT).toISOString();
  const asked = async (query: string) => {
    const calls: string[][] = [];
    const approvalSignals = async (_tenant: string, from: number, to: number) => {
      calls.push([new Date(from).toISOString(), new Date(to).toISOString()]);
      return ok({ approved: 0, rejected: 0, medianMs: null, people: [], pending: 0, oldestPendingAt: null });
    };
    const headers = { Authorization: bearer("human", "ann") };
    const response = await appOver({ tenants: { approvalSignals } })(`/v1/approvals/signals${query}`, { headers });
    const { from, to, issues }: { from?: string; to?: string; issues?: { pointer: string }[] } = await response.json();
    if (response.status === 200) expect(calls).toEqual([[from, to]]);
    else expect(calls).toEqual([]);
    return [response.status, ...(calls[0] ?? issues?.map(({ pointer }) => pointer) ?? [])];
  };

  it.each([
    ["nothing", "", [200, "2026-11-21T19:00:00.000Z", NOW]],
    ["an end", "?to=2026-11-20T00:00:00.000Z", [200, "2026-11-19T00:00:00.000Z", "2026-11-20T00:00:00.000Z"]],
    ["the first instant that is kept", "?from=2026-10-23T19:00:00.000Z", [200, "2026-10-23T19:00:00.000Z", NOW]],
    ["one before it", "?from=2026-10-23T18:59:59.999Z", [200, "2026-10-23T19:00:00.000Z", NOW]],
    ["an end before it", "?to=2026-10-23T18:59:59.999Z", [422, "/from"]],
    ["one and the same instant", `?from=${NOW}&to=${NOW}`, [200, NOW, NOW]],
    ["what is to come", "?to=2026-11-23T00:00:00.000Z", [200, "2026-11-22T00:00:00.000Z", "2026-11-23T00:00:00.000Z"]],
  ])("asked for %s are of so long", async (_, query, expected) => {
    expect(await asked(query)).toEqual(expected);
  });
});
